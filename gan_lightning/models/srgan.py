"""Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network, 2017."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning import losses, optim
from gan_lightning.batches import Paired
from gan_lightning.core import Columns, ImageNetwork, ImageShape, OptimizerCallable, Player, Step, Terms, Translator
from gan_lightning.networks import SRDiscriminator, SRResNet, VGG19Features


class SRGAN(Translator):
    """Images of four times the sides, sharp rather than average (Ledig et al. 2017, arXiv:1609.04802).

    Equations 1 to 6: first `pretraining` turns on the squared error of pixels, without a discriminator (SRResNet), by
    an optimizer of their own with a constant rate; then the squared error of features phi, divided by 12.75^2 as
    section 3.2 rescales VGG's, plus 10^-3 times -log D(G(x)). The learning rate is 1e-4; `step.scheduler` counts the
    adversarial turns of each player and makes it 1e-5 after half of them (section 3.2). Deviation: low-resolution
    images are in [-1, 1] like all others, not in [0, 1].

    Args:
        generator: builds a network for image_shape with a `scale`, from low to high resolution.
        discriminator: builds one from images of image_shape to scores.
        features: builds phi, from images to features; needed in training alone, and in no checkpoint.
        pretraining: generator turns on the pixels; 1,000,000 in the paper.
        content_weight: of the features' squared error.
        adversarial_weight: of the generator's adversarial loss.

    Raises:
        ValueError: a negative number of pretraining turns.
    """

    pairs = {"": ("output", "target"), "bicubic": ("input", "target")}
    domains = {"": ("output", "target")}

    def __init__(
        self,
        image_shape: ImageShape,
        generator: ImageNetwork = lambda image_shape: SRResNet(image_shape, scale=4, blocks=16, width=64),
        discriminator: ImageNetwork = lambda image_shape: SRDiscriminator(image_shape, width=64),
        features: Callable[[], nn.Module] = lambda: VGG19Features(),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=1e-4, beta1=0.9),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=1e-4, beta1=0.9),
        pretraining: int = 1_000_000,
        content_weight: float = 1 / 12.75**2,
        adversarial_weight: float = 1e-3,
        step: Step = Step(),
    ) -> None:
        if pretraining < 0:
            raise ValueError(f"SRGAN cannot pretrain for {pretraining} turns: 0 leaves it out")
        networks = generator(image_shape), discriminator(image_shape)
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, step)
        self.scale, self.multiple, self.pretraining = self.generator.scale, self.generator.multiple, pretraining
        self.content_weight, self.adversarial_weight = content_weight, adversarial_weight
        self._make_features = features
        self._features: list[nn.Module] = []  # in a list, so that no checkpoint, optimizer or process group holds it

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self._features = [self._make_features().to(self.device, self.dtype)]

    def players(self) -> dict[str, Player]:
        optimizer, _ = self._players_of
        return {"pretraining": Player(self.generator, optimizer)} | super().players()

    def training_step(self, batch: Paired, batch_idx: int) -> None:
        if self.iteration <= self.pretraining:
            self.turn("pretraining", self.pixel_loss, batch, advances_step=True)
        else:
            super().training_step(batch, batch_idx)

    def pixel_loss(self, batch: Paired) -> Terms:
        return {"pixels": F.mse_loss(self.generator(batch.source), batch.target)}

    def discriminator_loss(self, batch: Paired) -> Terms:
        fake = self.generator(batch.source).detach()
        return {
            "adversarial": losses.logistic_discriminator(self.discriminator(batch.target), self.discriminator(fake))
        }

    def generator_loss(self, batch: Paired) -> Terms:
        (phi,) = self._features
        fake = self.generator(batch.source)
        return {
            "content": self.content_weight * F.mse_loss(phi(fake), phi(batch.target)),
            "adversarial": self.adversarial_weight * losses.non_saturating_generator(self.discriminator(fake)),
        }

    def translate(self, image: Tensor) -> Tensor:
        return self.made_by(self.generator, image).clamp(-1.0, 1.0)

    def columns(self, batch: Paired) -> Columns:
        bicubic = F.interpolate(batch.source, scale_factor=float(self.scale), mode="bicubic").clamp(-1.0, 1.0)
        return {"input": bicubic, "output": self.translate(batch.source), "target": batch.target}
