"""Geometric GAN, 2017."""

from __future__ import annotations

from gan_lightning import losses, optim
from gan_lightning.batches import Labeled
from gan_lightning.core import (
    Augmentation,
    ImageNetwork,
    ImageShape,
    LRSchedulerCallable,
    OptimizerCallable,
    Step,
    Terms,
    TwoPlayerGAN,
)
from gan_lightning.networks import DCGANDiscriminator, DCGANGenerator


class GeometricGAN(TwoPlayerGAN):
    """The hinge loss, from a support vector machine's margin (Lim and Ye 2017, arXiv:1705.02894).

    The discriminator separates the features of real and fake images by a hyperplane with margins of 1; the generator
    moves its images along the hyperplane's normal, without a margin. Deviation: Adam in place of RMSprop.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        generator: ImageNetwork = lambda image_shape: DCGANGenerator(image_shape, latent_dim=100, width=128),
        discriminator: ImageNetwork = lambda image_shape: DCGANDiscriminator(image_shape, width=128),
        generator_optimizer: OptimizerCallable = lambda params: optim.PaperAdam(params, lr=2e-4, beta1=0.5),
        discriminator_optimizer: OptimizerCallable = lambda params: optim.PaperAdam(params, lr=2e-4, beta1=0.5),
        scheduler: LRSchedulerCallable | None = None,
        n_critic: int = 1,
        augment: Augmentation | None = None,
        step: Step = Step(),
    ) -> None:
        super().__init__(
            image_shape,
            generator(image_shape),
            discriminator(image_shape),
            generator_optimizer,
            discriminator_optimizer,
            scheduler,
            n_critic,
            augment,
            step,
        )

    def discriminator_loss(self, batch: Labeled) -> Terms:
        real, fake = self.score_pair(batch, self.fake_like(batch).detach())
        return {"adversarial": losses.hinge_discriminator(real, fake)}

    def generator_loss(self, batch: Labeled) -> Terms:
        return {"adversarial": losses.hinge_generator(self.discriminate(self.fake_like(batch)))}
