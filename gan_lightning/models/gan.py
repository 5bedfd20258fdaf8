"""Generative Adversarial Nets, 2014."""

from gan_lightning import losses, optim
from gan_lightning.batches import Labeled
from gan_lightning.core import ImageNetwork, ImageShape, ImageStep, OptimizerCallable, Terms, TwoPlayerGAN
from gan_lightning.networks import MaxoutDiscriminator, MLPGenerator


class GAN(TwoPlayerGAN):
    """The first GAN (Goodfellow et al. 2014, arXiv:1406.2661): two multi-layer perceptrons, logistic losses.

    Deviations: images lie in [-1, 1] with tanh, not in [0, 1] with sigmoid; Adam in place of SGD with momentum and a
    decay for each update (name `torch.optim.SGD` and `ExponentialLR` in a config to have it back).

    Args:
        minimax: the generator minimises E log(1 - D(G(z))), equation 1, not the non-saturating -E log D(G(z)).
    """

    uniform_latents = True

    def __init__(
        self,
        image_shape: ImageShape,
        generator: ImageNetwork = lambda image_shape: MLPGenerator(image_shape, latent_dim=100, width=1200),
        discriminator: ImageNetwork = lambda image_shape: MaxoutDiscriminator(image_shape, units=240, pieces=5),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.5),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.5),
        minimax: bool = False,
        n_critic: int = 1,
        step: ImageStep = ImageStep(),
    ) -> None:
        networks = generator(image_shape), discriminator(image_shape)
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, n_critic, step)
        self.minimax = minimax

    def discriminator_loss(self, batch: Labeled) -> Terms:
        real, fake = self.score_pair(batch, self.fake_like(batch).detach())
        return {"adversarial": losses.logistic_discriminator(real, fake)}

    def generator_loss(self, batch: Labeled) -> Terms:
        fake = self.discriminate(self.fake_like(batch))
        return {
            "adversarial": losses.minimax_generator(fake) if self.minimax else losses.non_saturating_generator(fake)
        }
