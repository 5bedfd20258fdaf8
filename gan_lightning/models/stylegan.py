"""A Style-Based Generator Architecture for Generative Adversarial Networks, 2018."""

import torch
from torch import Tensor, nn

from gan_lightning import losses, optim
from gan_lightning.batches import Labeled, gather_batch
from gan_lightning.core import (
    ClassNetwork,
    Growth,
    ImageShape,
    ImageStep,
    OptimizerCallable,
    Terms,
    TwoPlayerGAN,
    in_own_precision,
    require_classes,
)
from gan_lightning.networks import ProGANDiscriminator, StyleGANGenerator
from gan_lightning.networks.growing import enlarge, require_growing
from gan_lightning.networks.style import mix


class StyleGAN(TwoPlayerGAN):
    """A generator that styles control at each level (Karras et al. 2019, arXiv:1812.04948), grown as ProGAN's.

    The non-saturating loss with R1 at every step. As in the authors' code gradients are by pixels of the whole size, to
    which lower levels are enlarged, and Adam begins anew at the start and at the end of each fade. Samples are
    truncated in w, by the mean of w that the generator's turns track. Deviations: each image has a crossover of its
    own, in the code one batch has one; the mean of w follows the generator's turns alone, in the code both players';
    real images of lower levels are not rounded to bytes.

    Args:
        conditional: tell both networks the class.
        growth: the phases, and what changes with them; `growth.start` null trains without growth.
        gamma: of R1.
        mixing: share of the images that have the styles of two latents.
        w_average_beta: what the mean of w keeps of itself in each turn of the generator.

    Raises:
        ValueError: networks that cannot grow; conditional on data without classes.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int | None = None,
        conditional: bool = False,
        generator: ClassNetwork = lambda image_shape, num_classes: StyleGANGenerator(
            image_shape, num_classes, latent_dim=512, channel_base=16384, channel_max=512
        ),
        discriminator: ClassNetwork = lambda image_shape, num_classes: ProGANDiscriminator(
            image_shape, num_classes, channel_base=16384, channel_max=512, blur=True
        ),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=1e-3, beta1=0.0, beta2=0.99),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=1e-3, beta1=0.0, beta2=0.99),
        growth: Growth = Growth(start=8, rate={128: 1.5, 256: 2.0, 512: 3.0}),
        gamma: float = 10.0,
        mixing: float = 0.9,
        w_average_beta: float = 0.995,
        n_critic: int = 1,
        step: ImageStep = ImageStep(ema_half_life=10_000.0, ema_rampup=None),
    ) -> None:
        classes = require_classes("StyleGAN", num_classes) if conditional else None
        networks = generator(image_shape, classes), discriminator(image_shape, classes)
        require_growing("StyleGAN", networks[0].synthesis, networks[1])
        growing = growth.step_of(step, networks[1].sides)
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, n_critic, growing)
        self.num_classes, self.growth = classes, growth
        self.gamma, self.mixing, self.w_average_beta = gamma, mixing, w_average_beta
        # The mean of w when a turn begins: all micro-batches of the turn move it from there.
        self.register_buffer("w_before", torch.zeros_like(self.generator.mapping.w_average), persistent=False)

    def batch_size(self, images_seen: int) -> int | None:
        return self.growth.batch_size_after(images_seen, self.discriminator.sides)

    def training_step(self, batch: Labeled, batch_idx: int) -> None:
        self.growth.grow(self, self.generator.synthesis, self.discriminator)
        super().training_step(batch, batch_idx)

    def generator_turn(self, batch: Labeled) -> None:
        self.w_before.copy_(self.generator.mapping.w_average)
        super().generator_turn(batch)

    def discriminator_loss(self, batch: Labeled) -> Terms:
        real = batch._replace(image=self.discriminator.shrink(batch.image)).differentiable()
        fake_score = self.discriminate(self.fake_like(batch).detach())
        with losses.exact_gradients(self.device):
            real_score = self.discriminate(real)
            by_whole_pixels = real_score / self.discriminator.reduction  # has the gradient by the enlarged image
        self.watch_scores(real_score, fake_score)
        return {
            "adversarial": losses.logistic_discriminator(real_score, fake_score),
            "r1": self.gamma * losses.zero_centred_penalty(by_whole_pixels, real.image),
        }

    def generator_loss(self, batch: Labeled) -> Terms:
        z, label = self.latent(self.noise, len(batch.image)), self.condition_like(batch)
        w = self.generator.mapping(z, label)
        self.track(w)
        fake = Labeled(self.fakes_of_w(w, label), label)
        return {"adversarial": losses.non_saturating_generator(self.discriminate(fake))}

    @torch.no_grad()
    def track(self, w: Tensor) -> None:
        """Let the mean of w follow that of a turn, once for all of its parts: each sees the whole batch."""
        mean = gather_batch(w.detach()).float().mean(0)
        self.generator.mapping.w_average.copy_(mean.lerp(self.w_before, self.w_average_beta))

    def fakes_of(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.fakes_of_w(self.generator.mapping(z, condition), condition)

    def fakes_of_w(self, w: Tensor, label: Tensor | None) -> Tensor:
        """Images of w (n, w_dim), most with the styles of another latent from a layer on that is drawn."""
        n, styles = len(w), self.generator.synthesis.styles_in_use
        other = self.generator.mapping(self.latent(self.noise, n), label)
        crossover = 1 + self.noise.integers(styles - 1, n)
        crossover = torch.where(self.noise.uniform(n) < self.mixing, crossover, styles)
        return self.watched(self.generator.synthesis(mix(w, other, crossover, self.generator.num_styles)))

    def images_of(
        self, network: nn.Module, z: Tensor, condition: Tensor | None = None, truncation: float | None = None
    ) -> Tensor:
        return in_own_precision(network, z, condition, truncation)

    def bounded(self, image: Tensor) -> Tensor:
        return enlarge(image, self.image_shape)
