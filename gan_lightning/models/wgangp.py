"""Improved Training of Wasserstein GANs, 2017."""

from gan_lightning import losses, optim
from gan_lightning.batches import Labeled
from gan_lightning.core import ImageNetwork, ImageShape, ImageStep, OptimizerCallable, Terms, TwoPlayerGAN
from gan_lightning.networks import ResNetDiscriminator, ResNetGenerator


class WGANGP(TwoPlayerGAN):
    """A critic kept Lipschitz by a penalty on its gradient (Gulrajani et al. 2017, arXiv:1704.00028, algorithm 1).

    Networks, batch and Adam(0, 0.9) of the paper's CIFAR-10 ResNet; no batch norm in the critic, since the penalty is
    on each sample's own gradient. Deviations: the generator's batch is as large as the critic's, not twice; a constant
    learning rate unless `step` has a scheduler (the paper: linear to zero over 100,000 steps).

    Args:
        penalty_weight: lambda.
    """

    boundary = None  # a critic has no score that means "half real"

    def __init__(
        self,
        image_shape: ImageShape,
        generator: ImageNetwork = lambda image_shape: ResNetGenerator(image_shape, latent_dim=128, width=128),
        discriminator: ImageNetwork = lambda image_shape: ResNetDiscriminator(
            image_shape, width=128, spectral_norm=False, sum_pool=False
        ),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.0, beta2=0.9),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.0, beta2=0.9),
        penalty_weight: float = 10.0,
        n_critic: int = 5,
        step: ImageStep = ImageStep(),
    ) -> None:
        networks = generator(image_shape), discriminator(image_shape)
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, n_critic, step)
        self.penalty_weight = penalty_weight

    def discriminator_loss(self, batch: Labeled) -> Terms:
        fake = self.fake_like(batch).detach()
        real_score, fake_score = self.score_pair(batch, fake)
        epsilon = self.noise.uniform(len(fake.image), 1, 1, 1)
        penalty = losses.gradient_penalty(self.show, batch.image, fake.image, epsilon)
        return {
            "critic": losses.wasserstein_discriminator(real_score, fake_score),
            "penalty": self.penalty_weight * penalty,
        }

    def generator_loss(self, batch: Labeled) -> Terms:
        return {"critic": losses.wasserstein_generator(self.discriminate(self.fake_like(batch)))}
