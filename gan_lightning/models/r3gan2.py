"""Magnitude-preserving Discriminators Enable Efficient GANs, 2026."""

from functools import partial

from torch import Tensor

from gan_lightning import losses, optim, schedules
from gan_lightning.batches import Labeled
from gan_lightning.core import (
    ClassNetwork,
    ImageShape,
    ImageStep,
    OptimizerCallable,
    Player,
    Terms,
    TwoPlayerGAN,
    require_classes,
)
from gan_lightning.networks import R3GAN2Discriminator, R3GAN2Generator
from gan_lightning.networks.r3gan2 import normalize_weights
from gan_lightning.schedules import Scheduled


class R3GAN2(TwoPlayerGAN):
    """The game of R3GAN (arXiv:2501.05441, equations 2 and 3) between networks that preserve magnitudes.

    By the same authors (github.com/IFeelBloated/R3GAN2). All filters have one length, to which each step of the
    optimizer is followed by a scaling, as in EDM2 (Karras et al. 2024, arXiv:2312.02696): a rate then means the same in
    every layer and at any time. The generator's blocks draw noise, the rate is EDM2's, averages are power functions.
    The defaults are those of CIFAR-10 in the authors' code, at its batch of 512.

    Each player has a real batch of its own: `images_seen` counts both, schedules one.

    Deviations: an average by half-life is kept, too, and is sampled unless another is named; augmentation draws for
    each image, not for each pair, and cutout leaves grey where theirs leaves noise; images alone, no latents of an
    autoencoder; no attention, which no preset has either.

    Args:
        conditional: whether the networks are told the class.
        gamma: weight of both penalties, a number or a schedule in images.

    Raises:
        ValueError: `conditional` on data without classes.
    """

    shardable = False  # filters are brought to one length after each step

    boundary = None  # only differences of scores mean something
    batches_per_step = 2

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int | None = None,
        conditional: bool = False,
        generator: ClassNetwork = lambda image_shape, num_classes: R3GAN2Generator(
            image_shape, num_classes, latent_dim=64, width=512
        ),
        discriminator: ClassNetwork = lambda image_shape, num_classes: R3GAN2Discriminator(
            image_shape, num_classes, width=512
        ),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=1e-2, beta1=0.0, beta2=0.9),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=1e-2, beta1=0.0, beta2=0.9),
        gamma: Scheduled = partial(schedules.Cosine, start=0.05, end=0.005, images=20e6),
        step: ImageStep = ImageStep(
            learning_rate=partial(schedules.EDM2Rate, value=1.0, constant=512e3, warmup=1e6),
            beta2=partial(schedules.Cosine, start=0.9, end=0.99, images=20e6),
            ema_power=[0.01, 0.05, 0.1],
        ),
    ) -> None:
        classes = require_classes("R3GAN2", num_classes) if conditional else None
        networks = generator(image_shape, classes), discriminator(image_shape, classes)
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, 1, step)
        self.num_classes = classes
        self.gamma = schedules.of(gamma)

    def players(self) -> dict[str, Player]:
        def forced(player: Player) -> Player:
            return player._replace(
                optimizer=optim.followed(player.optimizer, lambda: normalize_weights(player.network))
            )

        return {name: forced(player) for name, player in super().players().items()}

    def training_step(self, batch: Labeled, batch_idx: int) -> None:
        if self.iteration % 2:
            self.discriminator_turn(batch)
        else:
            self.generator_turn(batch)

    def discriminator_loss(self, batch: Labeled) -> Terms:
        real, fake = batch.differentiable(), self.fake_like(batch).differentiable()
        with losses.exact_gradients(self.device):
            real_score, fake_score = self.score_pair(real, fake)
        gamma = self.gamma.at(self.clock)
        return {
            "adversarial": losses.relativistic(real_score, fake_score),
            "r1": gamma * losses.zero_centred_penalty(real_score, real.image),
            "r2": gamma * losses.zero_centred_penalty(fake_score, fake.image),
        }

    def generator_loss(self, batch: Labeled) -> Terms:
        fake_score, real_score = self.discriminate(self.fake_like(batch)), self.discriminate(batch)
        return {"adversarial": losses.relativistic(fake_score, real_score)}

    def condition_like(self, batch: Labeled) -> Tensor | None:
        """The class of the real partner, or None."""
        return batch.label if self.num_classes else None

    def bounded(self, image: Tensor) -> Tensor:
        return image.clamp(-1.0, 1.0)
