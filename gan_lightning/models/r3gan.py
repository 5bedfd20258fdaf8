"""The GAN is dead; long live the GAN! A Modern GAN Baseline, 2024."""

from functools import partial

from torch import Tensor

from gan_lightning import losses, optim, schedules
from gan_lightning.batches import Labeled
from gan_lightning.core import (
    ClassNetwork,
    ImageShape,
    ImageStep,
    OptimizerCallable,
    Terms,
    TwoPlayerGAN,
    require_classes,
)
from gan_lightning.networks import R3GANDiscriminator, R3GANGenerator
from gan_lightning.schedules import Scheduled


class R3GAN(TwoPlayerGAN):
    """Is the real image more real than the fake? Pairs, two penalties, no tricks (Huang et al. 2024, arXiv:2501.05441).

    The classic game, equation 1, scores real images and fakes apart. Equation 2 scores them in pairs: the discriminator
    minimises -E log sigmoid(D(x) - D(G(z))), the generator -E log sigmoid(D(G(z)) - D(x)). Equation 3 lets the game
    converge: gamma / 2 E |grad D|^2 of real images (R1) and of fakes (R2), in every turn of the discriminator.

    Each player has a real batch of its own, so that a step takes two (`images_seen` counts both, schedules one), and a
    fake has the class of its real partner. The defaults are those of CIFAR-10 in the authors' code: rate, beta2, gamma
    and the average's half-life follow half a cosine over 20 million images. Any networks will do; samples are clamped.
    Deviation: the scores whose gradients are penalised are computed in float32 but for the networks' own `bf16_stages`,
    whatever the trainer's precision.

    Args:
        conditional: whether the networks are told the class.
        gamma: weight of both penalties, a number or a schedule in images.

    Raises:
        ValueError: `conditional` on data without classes.
    """

    boundary = None  # only differences of scores mean something
    batches_per_step = 2

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int | None = None,
        conditional: bool = False,
        generator: ClassNetwork = lambda image_shape, num_classes: R3GANGenerator(
            image_shape, num_classes, latent_dim=64, width=768
        ),
        discriminator: ClassNetwork = lambda image_shape, num_classes: R3GANDiscriminator(
            image_shape, num_classes, width=768
        ),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.0, beta2=0.9),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.0, beta2=0.9),
        gamma: Scheduled = partial(schedules.Cosine, start=0.05, end=0.005, images=20e6),
        step: ImageStep = ImageStep(
            learning_rate=partial(schedules.Cosine, start=1.0, end=0.25, images=20e6),
            beta2=partial(schedules.Cosine, start=0.9, end=0.99, images=20e6),
            ema_half_life=partial(schedules.Cosine, start=0.0, end=5e6, images=20e6),
            ema_rampup=None,
        ),
    ) -> None:
        classes = require_classes("R3GAN", num_classes) if conditional else None
        networks = generator(image_shape, classes), discriminator(image_shape, classes)
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, 1, step)
        self.num_classes = classes
        self.gamma = schedules.of(gamma)

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
