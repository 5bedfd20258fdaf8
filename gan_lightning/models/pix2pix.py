"""Image-to-Image Translation with Conditional Adversarial Networks, 2017."""

import torch
from torch import Tensor

from gan_lightning import losses, optim
from gan_lightning.batches import Paired
from gan_lightning.core import Columns, ImageNetwork, ImageShape, OptimizerCallable, Step, Terms, Translator
from gan_lightning.networks import PatchDiscriminator, UNetGenerator
from gan_lightning.noise import key, seed_torch


class Pix2Pix(Translator):
    """From pairs: a U-Net against a discriminator of patches that sees the source too, and L1.

    Isola et al. 2017, arXiv:1611.07004, equations 1 to 4: the discriminator's loss is halved, the generator's is
    -E log D(x, G(x)) + 100 |y - G(x)|. Dropout stays at test time, where it is the noise; a picture is translated by
    itself, with the same draws each time. Deviations: instance norm with gain and bias for batch norm over the test
    batch, which is the same at the paper's batch of 1; 32 px and more in place of 256 alone.

    Args:
        generator: builds a network for image_shape, from (n, *image_shape) to the same in [-1, 1].
        discriminator: builds one for twice the channels, from a source beside a target to scores of patches.
        l1_weight: lambda of the absolute error.
    """

    pairs = {"": ("output", "target")}
    domains = {"": ("output", "target")}

    def __init__(
        self,
        image_shape: ImageShape,
        generator: ImageNetwork = lambda image_shape: UNetGenerator(image_shape, width=64),
        discriminator: ImageNetwork = lambda image_shape: PatchDiscriminator(image_shape, layers=3),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.5),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.5),
        l1_weight: float = 100.0,
        step: Step = Step(),
    ) -> None:
        channels, height, width = image_shape
        networks = generator(image_shape), discriminator((2 * channels, height, width))
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, step)
        self.multiple, self.l1_weight = self.generator.multiple, l1_weight

    def score(self, source: Tensor, target: Tensor) -> Tensor:
        """(n, 1, rows, columns), scores of the patches of targets with their sources."""
        return self.discriminator(torch.cat([source, target], 1))

    def discriminator_loss(self, batch: Paired) -> Terms:
        fake = self.generator(batch.source).detach()
        real_scores, fake_scores = self.score(batch.source, batch.target), self.score(batch.source, fake)
        return {"adversarial": 0.5 * losses.logistic_discriminator(real_scores, fake_scores)}

    def generator_loss(self, batch: Paired) -> Terms:
        fake = self.generator(batch.source)
        return {
            "adversarial": losses.non_saturating_generator(self.score(batch.source, fake)),
            "l1": self.l1_weight * losses.absolute_error(batch.target, fake).mean(),
        }

    def translate(self, image: Tensor) -> Tensor:
        made = []
        for one in image.split(1):  # each by itself, so that its dropout does not depend on the others
            with torch.random.fork_rng(devices=[one.device] if one.is_cuda else []):
                seed_torch(key(0), one.device)
                made.append(self.made_by(self.generator, one))
        return torch.cat(made)

    def columns(self, batch: Paired) -> Columns:
        return {"input": batch.source, "output": self.translate(batch.source), "target": batch.target}
