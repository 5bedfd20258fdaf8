"""Self-Attention Generative Adversarial Networks, 2018."""

from gan_lightning import losses, optim
from gan_lightning.batches import Labeled
from gan_lightning.core import ClassNetwork, ImageShape, ImageStep, OptimizerCallable, Terms, TwoPlayerGAN
from gan_lightning.networks import ResNetDiscriminator, ResNetGenerator


class SAGAN(TwoPlayerGAN):
    """Self-attention, spectral norm in both players, two learning rates (Zhang et al. 2019, arXiv:1805.08318).

    Hinge losses, conditional batch norm and projection, one discriminator step with 4e-4 for each generator step with
    1e-4. Data without classes train it unconditionally. The networks' defaults are the paper's at 128 px, with
    attention on the 32x32 maps; smaller images want other numbers (configs/sagan). Deviations: keys and values are
    pooled 2x2, as in the authors' code; spectral norm begins with 15 power iterations
    (:func:`networks.layers.maybe_spectral`), theirs with none.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int | None = None,
        generator: ClassNetwork = lambda image_shape, num_classes: ResNetGenerator(
            image_shape, num_classes, latent_dim=128, width=64, widest=1024, attention=32, spectral_norm=True
        ),
        discriminator: ClassNetwork = lambda image_shape, num_classes: ResNetDiscriminator(
            image_shape, num_classes, width=64, widest=1024, plain_blocks=1, attention=32
        ),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=1e-4, beta1=0.0, beta2=0.9),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=4e-4, beta1=0.0, beta2=0.9),
        n_critic: int = 1,
        step: ImageStep = ImageStep(),
    ) -> None:
        networks = generator(image_shape, num_classes), discriminator(image_shape, num_classes)
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, n_critic, step)
        self.num_classes = num_classes

    def discriminator_loss(self, batch: Labeled) -> Terms:
        real, fake = self.score_pair(batch, self.fake_like(batch).detach())
        return {"adversarial": losses.hinge_discriminator(real, fake)}

    def generator_loss(self, batch: Labeled) -> Terms:
        return {"adversarial": losses.hinge_generator(self.discriminate(self.fake_like(batch)))}
