"""Geometric GAN, 2017."""

from gan_lightning import losses, optim
from gan_lightning.batches import Labeled
from gan_lightning.core import ImageNetwork, ImageShape, ImageStep, OptimizerCallable, Terms, TwoPlayerGAN
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
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.5),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.5),
        n_critic: int = 1,
        step: ImageStep = ImageStep(),
    ) -> None:
        networks = generator(image_shape), discriminator(image_shape)
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, n_critic, step)

    def discriminator_loss(self, batch: Labeled) -> Terms:
        real, fake = self.score_pair(batch, self.fake_like(batch).detach())
        return {"adversarial": losses.hinge_discriminator(real, fake)}

    def generator_loss(self, batch: Labeled) -> Terms:
        return {"adversarial": losses.hinge_generator(self.discriminate(self.fake_like(batch)))}
