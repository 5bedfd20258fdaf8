"""Improved Training of Wasserstein GANs, 2017."""

from gan_lightning import losses, optim
from gan_lightning.batches import Labeled
from gan_lightning.core import ImageNetwork, ImageShape, ImageStep, OptimizerCallable, Terms, TwoPlayerGAN
from gan_lightning.networks import ResNetDiscriminator, ResNetGenerator


class WGANGP(TwoPlayerGAN):
    """A critic kept Lipschitz by a penalty on its gradient (Gulrajani et al. 2017, arXiv:1704.00028, algorithm 1).

    Networks, batch, Adam(0, 0.9) of the paper's CIFAR-10 ResNet, without batch norm in the critic. Deviations: the rate
    is constant unless `step` has a scheduler (paper: linear to 0), the generator's batch as large as the critic's.

    Args:
        penalty_weight: lambda.
        dequantise: U[0, dequantise) is added to real images; deviation: 1/128, a grey level, in the authors' code.
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
        dequantise: float = 0.0,
        n_critic: int = 5,
        step: ImageStep = ImageStep(),
    ) -> None:
        networks = generator(image_shape), discriminator(image_shape)
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, n_critic, step)
        self.penalty_weight, self.dequantise = penalty_weight, dequantise

    def discriminator_loss(self, batch: Labeled) -> Terms:
        fake = self.fake_like(batch).detach()
        epsilon = self.noise.uniform(len(fake.image), 1, 1, 1)
        real = self.dequantised(batch)
        return {
            "critic": losses.wasserstein_discriminator(*self.score_pair(real, fake)),
            "penalty": self.penalty_weight * losses.gradient_penalty(self.show, real.image, fake.image, epsilon),
        }

    def generator_loss(self, batch: Labeled) -> Terms:
        return {"critic": losses.wasserstein_generator(self.discriminate(self.fake_like(batch)))}

    def dequantised(self, batch: Labeled) -> Labeled:
        """The batch, its images with the noise that `dequantise` asks for."""
        if not self.dequantise:
            return batch
        return batch._replace(image=batch.image + self.dequantise * self.noise.uniform(*batch.image.shape))
