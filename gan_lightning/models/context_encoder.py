"""Context Encoders: Feature Learning by Inpainting, 2016."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gan_lightning import losses, optim
from gan_lightning.batches import Masked
from gan_lightning.core import Columns, ImageNetwork, ImageShape, Inpainter, OptimizerCallable, Step, Terms
from gan_lightning.networks import ContextGenerator, DCGANDiscriminator

CONTEXT = 0.0  # what stands in a hole; the authors' code has ImageNet's mean, -0.08 to -0.18 by channel


class ContextEncoder(Inpainter):
    """Holes filled from what is around them (Pathak et al. 2016, arXiv:1604.07379).

    Equations 1 to 3: 0.999 times the squared error within the hole and 0.001 times the adversarial loss; a band of
    known pixels around the hole is predicted too, with ten times the weight (section 4: 7 pixels of 128; the authors'
    code takes 4), so that the filling joins its surroundings. The generator's learning rate is ten times the
    discriminator's. Deviations: any hole, not the centre alone, so that the network makes whole images, and the
    discriminator sees the image with its filling where the authors' sees the filled square; the hole is an input.

    Args:
        generator: builds a network for image_shape, from the context and the hole to whole images in [-1, 1].
        discriminator: builds one from whole images to scores.
        reconstruction_weight: lambda_rec; the adversarial loss has 1 minus it.
        overlap: pixels of the band around a hole.
        overlap_weight: of the band's error.

    Raises:
        ValueError: a weight that is not in [0, 1].
    """

    any_size = False
    pairs = {"": ("output", "target")}
    domains = {"": ("output", "target")}

    def __init__(
        self,
        image_shape: ImageShape,
        generator: ImageNetwork = lambda image_shape: ContextGenerator(image_shape, width=64, bottleneck=4000),
        discriminator: ImageNetwork = lambda image_shape: DCGANDiscriminator(image_shape, width=64),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-3, beta1=0.5),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.5),
        reconstruction_weight: float = 0.999,
        overlap: int = 4,
        overlap_weight: float = 10.0,
        step: Step = Step(),
    ) -> None:
        if not 0 <= reconstruction_weight <= 1 or overlap < 0:
            raise ValueError("ContextEncoder needs a reconstruction_weight in [0, 1] and an overlap of at least 0")
        networks = generator(image_shape), discriminator(image_shape)
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, step)
        self.reconstruction_weight = reconstruction_weight
        self.overlap, self.overlap_weight = overlap, overlap_weight

    def predict(self, batch: Masked) -> Tensor:
        """(n, *image_shape), the whole image as the network makes it of its context."""
        return self.generator(batch.image.masked_fill(batch.hole, CONTEXT), batch.hole)

    def reconstruction(self, batch: Masked, predicted: Tensor) -> Tensor:
        """Weighted squared error of the hole and of the band around it, a mean over both."""
        wide = F.max_pool2d(batch.hole.float(), 2 * self.overlap + 1, 1, self.overlap)
        weight = torch.where(batch.hole, 1.0, self.overlap_weight * wide)
        error = (weight * (predicted - batch.image).float().square()).flatten(1).sum(1)
        return (error / (wide.flatten(1).sum(1) * batch.image.shape[1]).clamp(min=1)).mean()

    def discriminator_loss(self, batch: Masked) -> Terms:
        filled = torch.where(batch.hole, self.predict(batch).detach(), batch.image)
        scores = self.discriminator(batch.image), self.discriminator(filled)
        return {"adversarial": losses.logistic_discriminator(*scores)}

    def generator_loss(self, batch: Masked) -> Terms:
        predicted = self.predict(batch)
        scores = self.discriminator(torch.where(batch.hole, predicted, batch.image))
        return {
            "reconstruction": self.reconstruction_weight * self.reconstruction(batch, predicted),
            "adversarial": (1 - self.reconstruction_weight) * losses.non_saturating_generator(scores),
        }

    def fill(self, image: Tensor, hole: Tensor) -> Tensor:
        made = self.made_by(self.generator, image.masked_fill(hole, CONTEXT), hole)
        return torch.where(hole, made, image.float())

    def columns(self, batch: Masked) -> Columns:
        return {
            "input": batch.image.masked_fill(batch.hole, CONTEXT),
            "output": self.fill(batch.image, batch.hole),
            "target": batch.image,
        }
