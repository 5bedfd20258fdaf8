"""Least Squares Generative Adversarial Networks, 2016."""

from gan_lightning import losses, optim
from gan_lightning.batches import Labeled
from gan_lightning.core import ImageNetwork, ImageShape, ImageStep, OptimizerCallable, Terms, TwoPlayerGAN
from gan_lightning.networks import DCGANDiscriminator, DCGANGenerator


class LSGAN(TwoPlayerGAN):
    """Least squares in place of cross-entropy (Mao et al. 2017, arXiv:1611.04076, equation 2); no sigmoid anywhere.

    Deviations: DCGAN's networks in place of the paper's VGG-like ones; learning rate 2e-4
    (the paper for scenes: 1e-3).

    Args:
        a, b, c: targets of fakes and of real images for the discriminator, and of fakes for the generator:
            (0, 1, 1), equation 9, or (-1, 1, 0), equation 8.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        generator: ImageNetwork = lambda image_shape: DCGANGenerator(image_shape, latent_dim=100, width=128),
        discriminator: ImageNetwork = lambda image_shape: DCGANDiscriminator(image_shape, width=128),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.5),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.5),
        a: float = 0.0,
        b: float = 1.0,
        c: float = 1.0,
        n_critic: int = 1,
        step: ImageStep = ImageStep(),
    ) -> None:
        networks = generator(image_shape), discriminator(image_shape)
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, n_critic, step)
        self.a, self.b, self.c = a, b, c
        self.boundary = (a + b) / 2

    def discriminator_loss(self, batch: Labeled) -> Terms:
        real, fake = self.score_pair(batch, self.fake_like(batch).detach())
        return {"adversarial": losses.least_squares_discriminator(real, fake, self.a, self.b)}

    def generator_loss(self, batch: Labeled) -> Terms:
        return {"adversarial": losses.least_squares_generator(self.discriminate(self.fake_like(batch)), self.c)}
