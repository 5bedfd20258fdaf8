"""Spectral Normalization for Generative Adversarial Networks, 2018."""

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
from gan_lightning.networks import ResNetDiscriminator, ResNetGenerator


class SNGAN(TwoPlayerGAN):
    """A discriminator whose layers all have spectral norm 1, and the hinge loss (Miyato et al. 2018, arXiv:1802.05957).

    The ResNets of the paper's table 4, Adam(0, 0.9) at 2e-4 and five discriminator steps, as for its residual networks.
    Deviations: the generator's batch is as large as the discriminator's, not twice; the learning rate is constant
    unless a `scheduler` is given (the paper: linear to zero over 100,000 steps).
    """

    def __init__(
        self,
        image_shape: ImageShape,
        generator: ImageNetwork = lambda image_shape: ResNetGenerator(image_shape, latent_dim=128, width=256),
        discriminator: ImageNetwork = lambda image_shape: ResNetDiscriminator(image_shape, width=128),
        generator_optimizer: OptimizerCallable = lambda params: optim.PaperAdam(params, lr=2e-4, beta1=0.0, beta2=0.9),
        discriminator_optimizer: OptimizerCallable = lambda params: optim.PaperAdam(
            params, lr=2e-4, beta1=0.0, beta2=0.9
        ),
        scheduler: LRSchedulerCallable | None = None,
        n_critic: int = 5,
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
        real, fake = self.judge(batch, self.fake_like(batch).detach())
        return {"adversarial": losses.hinge_discriminator(real, fake)}

    def generator_loss(self, batch: Labeled) -> Terms:
        return {"adversarial": losses.hinge_generator(self.discriminate(self.fake_like(batch)))}
