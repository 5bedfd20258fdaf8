"""Spectral Normalization for Generative Adversarial Networks, 2018."""

from typing import Literal

from gan_lightning import losses, optim
from gan_lightning.batches import Labeled
from gan_lightning.core import (
    ClassNetwork,
    ImageShape,
    ImageStep,
    OptimizerCallable,
    Terms,
    TwoPlayerGAN,
    require_classes,
    require_one_of,
)
from gan_lightning.networks import ResNetDiscriminator, ResNetGenerator


class SNGAN(TwoPlayerGAN):
    """A discriminator whose layers all have spectral norm 1, and the hinge loss (Miyato et al. 2018, arXiv:1802.05957).

    The ResNets of the paper's table 4, Adam(0, 0.9) at 2e-4 and five discriminator steps, as for its residual networks.
    With `conditioning: projection` the data's classes are used as in cGANs with Projection Discriminator (Miyato and
    Koyama 2018, arXiv:1802.05637): conditional batch norm in the generator, an inner product in the discriminator.
    Deviations: the generator's batch is as large as the discriminator's, not twice; the learning rate is constant
    unless `step` has a scheduler (the paper: linear to zero over 100,000 steps); spectral norm begins with 15 power
    iterations (:func:`networks.layers.maybe_spectral`), the authors' with none. The generator upsamples by repeating
    pixels, as the authors' code does; the FIDs of mimicry (arXiv:2005.02494) are of bilinear upsampling
    (:class:`ResNetGenerator` has it by choice).

    Args:
        conditioning: whether the networks are told the class, and how.

    Raises:
        ValueError: conditioning on data without classes, or of another kind.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int | None = None,
        conditioning: Literal["none", "projection"] = "none",
        generator: ClassNetwork = lambda image_shape, num_classes: ResNetGenerator(
            image_shape, num_classes, latent_dim=128, width=256
        ),
        discriminator: ClassNetwork = lambda image_shape, num_classes: ResNetDiscriminator(
            image_shape, num_classes, width=128
        ),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.0, beta2=0.9),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.0, beta2=0.9),
        n_critic: int = 5,
        step: ImageStep = ImageStep(),
    ) -> None:
        require_one_of("SNGAN: conditioning", conditioning, "none", "projection")
        classes = require_classes("SNGAN", num_classes) if conditioning == "projection" else None
        networks = generator(image_shape, classes), discriminator(image_shape, classes)
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, n_critic, step)
        self.num_classes = classes

    def discriminator_loss(self, batch: Labeled) -> Terms:
        real, fake = self.score_pair(batch, self.fake_like(batch).detach())
        return {"adversarial": losses.hinge_discriminator(real, fake)}

    def generator_loss(self, batch: Labeled) -> Terms:
        return {"adversarial": losses.hinge_generator(self.discriminate(self.fake_like(batch)))}
