"""Progressive Growing of GANs for Improved Quality, Stability, and Variation, 2017."""

from torch import Tensor

from gan_lightning import losses, optim
from gan_lightning.batches import Labeled
from gan_lightning.core import Growth, ImageNetwork, ImageShape, ImageStep, OptimizerCallable, Terms, TwoPlayerGAN
from gan_lightning.networks import ProGANDiscriminator, ProGANGenerator
from gan_lightning.networks.growing import enlarge, require_growing


class ProGAN(TwoPlayerGAN):
    """Networks that grow from 4 px to the whole size (Karras et al. 2018, arXiv:1710.10196).

    WGAN-GP with a penalty that keeps scores near 0. Each level is trained, then the next one fades in, by the images
    seen: in both networks and in the real images. Adam begins anew at the start and at the end of each fade. Samples
    of a level below the last are shown in the whole size. As in the authors' code gradients are by pixels of the whole
    size, to which lower levels are enlarged: their norm is that by the pixels in use, divided by the factor.
    Deviations: the level changes with each batch, in the code with every fourth; all settings use two turns, where the
    authors' CIFAR-10 run moves both players by one pass; real images of lower levels are not rounded to bytes.

    Args:
        growth: the phases, and what changes with them.
        penalty_weight: lambda.
        target: gamma, the norm that the penalty asks for; its weight is penalty_weight / target^2.
        drift_weight: of the mean square of the real images' scores.

    Raises:
        ValueError: networks that cannot grow.
    """

    boundary = None  # a critic has no score that means "half real"

    def __init__(
        self,
        image_shape: ImageShape,
        generator: ImageNetwork = lambda image_shape: ProGANGenerator(
            image_shape, latent_dim=512, base=16384, widest=512
        ),
        discriminator: ImageNetwork = lambda image_shape: ProGANDiscriminator(image_shape, base=16384, widest=512),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=1e-3, beta1=0.0, beta2=0.99),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=1e-3, beta1=0.0, beta2=0.99),
        growth: Growth = Growth(),
        penalty_weight: float = 10.0,
        target: float = 1.0,
        drift_weight: float = 0.001,
        n_critic: int = 1,
        step: ImageStep = ImageStep(ema_half_life=11_085.0, ema_rampup=None),  # 0.999 a step of 16 images
    ) -> None:
        networks = generator(image_shape), discriminator(image_shape)
        require_growing("ProGAN", *networks)
        growing = growth.step_of(step, networks[0].sides)
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, n_critic, growing)
        self.growth = growth
        self.penalty_weight, self.target, self.drift_weight = penalty_weight, target, drift_weight

    def setup(self, stage: str) -> None:
        super().setup(stage)
        self.growth.check(self)

    def batch_size(self, images_seen: int) -> int | None:
        return self.growth.batch_size_after(images_seen, self.generator.sides)

    def training_step(self, batch: Labeled, batch_idx: int) -> None:
        self.growth.grow(self, self.generator, self.discriminator)
        super().training_step(batch, batch_idx)

    def bounded(self, image: Tensor) -> Tensor:
        return enlarge(image, self.image_shape)

    def discriminator_loss(self, batch: Labeled) -> Terms:
        real = batch._replace(image=self.discriminator.shrink(batch.image))
        fake = self.fake_like(batch).detach()
        real_score, fake_score = self.score_pair(real, fake)
        epsilon = self.noise.uniform(len(fake.image), 1, 1, 1)
        return {
            "critic": losses.wasserstein_discriminator(real_score, fake_score),
            "penalty": self.penalty_weight
            / self.target**2
            * losses.gradient_penalty(self.by_whole_pixels, real.image, fake.image, epsilon, self.target),
            "drift": self.drift_weight * real_score.float().square().mean(),
        }

    def by_whole_pixels(self, image: Tensor) -> Tensor:
        """(n,) scores, divided so that their gradient has the norm of that by the enlarged image."""
        return self.show(image) / self.discriminator.reduction

    def generator_loss(self, batch: Labeled) -> Terms:
        return {"critic": losses.wasserstein_generator(self.discriminate(self.fake_like(batch)))}
