"""Unsupervised Representation Learning with Deep Convolutional GANs, 2015."""

from gan_lightning import losses, optim
from gan_lightning.batches import Labeled
from gan_lightning.core import ImageNetwork, ImageShape, ImageStep, OptimizerCallable, Terms, TwoPlayerGAN
from gan_lightning.networks import DCGANDiscriminator, DCGANGenerator


class DCGAN(TwoPlayerGAN):
    """A GAN of convolutions and batch norm (Radford et al. 2016, arXiv:1511.06434).

    Real and fake images go through the discriminator as separate batches, each with its own batch statistics.
    Deviation: kernels of 4x4 where the paper draws 5x5.

    Args:
        real_target: below 1 for one-sided label smoothing (arXiv:1606.03498); the paper has none.
    """

    uniform_latents = True

    def __init__(
        self,
        image_shape: ImageShape,
        generator: ImageNetwork = lambda image_shape: DCGANGenerator(image_shape, latent_dim=100, width=128),
        discriminator: ImageNetwork = lambda image_shape: DCGANDiscriminator(image_shape, width=128),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.5),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.5),
        real_target: float = 1.0,
        n_critic: int = 1,
        step: ImageStep = ImageStep(),
    ) -> None:
        networks = generator(image_shape), discriminator(image_shape)
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, n_critic, step)
        self.real_target = real_target

    def discriminator_loss(self, batch: Labeled) -> Terms:
        real, fake = self.score_pair(batch, self.fake_like(batch).detach())
        return {"adversarial": losses.logistic_discriminator(real, fake, self.real_target)}

    def generator_loss(self, batch: Labeled) -> Terms:
        return {"adversarial": losses.non_saturating_generator(self.discriminate(self.fake_like(batch)))}
