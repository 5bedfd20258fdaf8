"""Wasserstein GAN, 2017."""

import torch

from gan_lightning import losses
from gan_lightning.batches import Labeled
from gan_lightning.core import ImageNetwork, ImageShape, ImageStep, OptimizerCallable, Terms, TwoPlayerGAN
from gan_lightning.networks import DCGANDiscriminator, DCGANGenerator


class WGAN(TwoPlayerGAN):
    """A critic kept Lipschitz by clipping its weights (Arjovsky et al. 2017, arXiv:1701.07875, algorithm 1).

    RMSprop, since momentum made the critic unstable. All weights of the critic are clipped after its
    step, batch norm's too, as in the authors' code. Deviation: no longer critic phases for the first generator steps.

    Args:
        clip: the critic's weights stay in [-clip, clip].
    """

    boundary = None  # a critic has no score that means "half real"

    def __init__(
        self,
        image_shape: ImageShape,
        generator: ImageNetwork = lambda image_shape: DCGANGenerator(image_shape, latent_dim=100, width=128),
        discriminator: ImageNetwork = lambda image_shape: DCGANDiscriminator(image_shape, width=128),
        generator_optimizer: OptimizerCallable = lambda p: torch.optim.RMSprop(p, lr=5e-5),
        discriminator_optimizer: OptimizerCallable = lambda p: torch.optim.RMSprop(p, lr=5e-5),
        clip: float = 0.01,
        n_critic: int = 5,
        step: ImageStep = ImageStep(),
    ) -> None:
        networks = generator(image_shape), discriminator(image_shape)
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, n_critic, step)
        self.clip = clip

    def discriminator_turn(self, batch: Labeled) -> None:
        super().discriminator_turn(batch)
        self.clip_weights()

    @torch.no_grad()
    def clip_weights(self) -> None:
        for weight in self.discriminator.parameters():
            weight.clamp_(-self.clip, self.clip)

    def discriminator_loss(self, batch: Labeled) -> Terms:
        real, fake = self.score_pair(batch, self.fake_like(batch).detach())
        return {"critic": losses.wasserstein_discriminator(real, fake)}

    def generator_loss(self, batch: Labeled) -> Terms:
        return {"critic": losses.wasserstein_generator(self.discriminate(self.fake_like(batch)))}
