"""The Relativistic Discriminator, 2018."""

from collections.abc import Callable

from gan_lightning import losses, optim
from gan_lightning.batches import Labeled, gather_batch
from gan_lightning.core import ImageNetwork, ImageShape, ImageStep, OptimizerCallable, Terms, TwoPlayerGAN
from gan_lightning.networks import DCGANDiscriminator, DCGANGenerator


class RelativisticGAN(TwoPlayerGAN):
    """How much more real than the fakes is the real? (Jolicoeur-Martineau 2018, arXiv:1807.00734).

    Both players minimise one function with its arguments exchanged, and both terms stand in both losses. Averages are
    over the whole batch, whatever the processes and micro-batches. Deviation: the paper's losses, not the halves of
    the author's code.

    Args:
        loss: of (scores that should be higher, scores that should be lower), as an import path
            `gan_lightning.losses.<name>`: relativistic (RSGAN), relativistic_average (RaSGAN),
            relativistic_average_least_squares (RaLSGAN) or relativistic_average_hinge (RaHingeGAN).
    """

    boundary = None  # only differences of scores mean something

    def __init__(
        self,
        image_shape: ImageShape,
        generator: ImageNetwork = lambda image_shape: DCGANGenerator(image_shape, latent_dim=100, width=128),
        discriminator: ImageNetwork = lambda image_shape: DCGANDiscriminator(image_shape, width=128),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.5),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.5),
        loss: Callable = losses.relativistic_average,
        n_critic: int = 1,
        step: ImageStep = ImageStep(),
    ) -> None:
        networks = generator(image_shape), discriminator(image_shape)
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, n_critic, step)
        self.loss = loss

    def discriminator_loss(self, batch: Labeled) -> Terms:
        real, fake = self.score_pair(batch, self.fake_like(batch).detach())
        return {"adversarial": self.loss(gather_batch(real), gather_batch(fake))}

    def generator_loss(self, batch: Labeled) -> Terms:
        real, fake = self.discriminate(batch), self.discriminate(self.fake_like(batch))
        return {"adversarial": self.loss(gather_batch(fake), gather_batch(real))}
