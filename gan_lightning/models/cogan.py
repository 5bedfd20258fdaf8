"""Coupled Generative Adversarial Networks, 2016."""

import torch
from torch import Tensor

from gan_lightning import losses, optim
from gan_lightning.batches import Labeled
from gan_lightning.core import ImageNetwork, ImageShape, ImageStep, OptimizerCallable, Terms, TwoPlayerGAN
from gan_lightning.networks.cogan import CoupledDiscriminator, CoupledGenerator

DOMAINS = ("domain_a", "domain_b")  # the left half and the right half of an image


class CoGAN(TwoPlayerGAN):
    """A joint distribution of two domains, learnt without pairs (Liu and Tuzel 2016, arXiv:1606.07536, section 3).

    Two GANs, whose losses are summed: one latent makes both domains' images, by generators that share all but their
    last layer; the discriminators share all but their first. That the two images of a latent belong together is the
    sharing's work alone: each discriminator sees the images of its own domain, and real ones need not be pairs.
    A pair is one image with the domains side by side, real and generated.

    The authors' code has Adam's L2 penalty on both players, with a weight of 5e-4 beside the mean of the domains'
    losses. Beside their sum, which the paper has, the same penalty is 1e-3: `weight_decay` of the optimizers.
    """

    uniform_latents = True

    def __init__(
        self,
        image_shape: ImageShape,
        generator: ImageNetwork = lambda image_shape: CoupledGenerator(image_shape, latent_dim=100, width=128),
        discriminator: ImageNetwork = lambda image_shape: CoupledDiscriminator(image_shape, width=20, units=500),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.5),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.5),
        n_critic: int = 1,
        step: ImageStep = ImageStep(),
    ) -> None:
        networks = generator(image_shape), discriminator(image_shape)
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, n_critic, step)

    def augmented(self, image: Tensor) -> Tensor:
        """Pairs (n, *image_shape) as the discriminators see them: each half by itself, none moves into the other."""
        return torch.cat([super(CoGAN, self).augmented(half) for half in image.chunk(2, 3)], 3)

    def discriminate(self, sample: Labeled) -> tuple[Tensor, Tensor]:
        """Scores (n,) of the left halves and of the right halves."""
        return self.show(sample.image)

    def discriminator_loss(self, batch: Labeled) -> Terms:
        real, fake = self.discriminate(batch), self.discriminate(self.fake_like(batch).detach())
        self.watch_scores(torch.cat(real), torch.cat(fake))
        return {domain: losses.logistic_discriminator(r, f) for domain, r, f in zip(DOMAINS, real, fake, strict=True)}

    def generator_loss(self, batch: Labeled) -> Terms:
        scores = self.discriminate(self.fake_like(batch))
        return {d: losses.non_saturating_generator(score) for d, score in zip(DOMAINS, scores, strict=True)}
