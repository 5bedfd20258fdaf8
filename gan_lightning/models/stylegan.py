"""A Style-Based Generator Architecture for Generative Adversarial Networks, 2018."""

from torch import Tensor, nn

from gan_lightning import losses, optim
from gan_lightning.batches import Labeled
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
from gan_lightning.networks.style import crossovers, mix


class StyleGAN(TwoPlayerGAN):
    """A generator that styles control at each level (Karras et al. 2019, arXiv:1812.04948), grown as ProGAN's.

    The non-saturating loss with R1 at every step. As in the authors' code gradients are by pixels of the whole size, to
    which lower levels are enlarged, and Adam begins anew at the start and at the end of each fade. Samples are
    truncated in w, by the mean of w that the generator's turns track. Deviations: each image has a crossover of its
    own, in the code one batch has one; fakes have classes as in the data, in the code those of the discriminator's turn
    have the real images'; the mean of w follows the generator's turns alone, in the code both players';
    real images of lower levels are not rounded to bytes.

    Args:
        conditional: tell both networks the class.
        growth: the phases, and what changes with them; `growth.start` null trains without growth.
        gamma: of R1.
        mixing: share of the images that have the styles of two latents.
        w_decay: share of itself that the mean of w keeps in each turn of the generator.

    Raises:
        ValueError: networks that cannot grow; conditional on data without classes.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int | None = None,
        conditional: bool = False,
        generator: ClassNetwork = lambda image_shape, num_classes: StyleGANGenerator(
            image_shape, num_classes, latent_dim=512, base=16384, widest=512
        ),
        discriminator: ClassNetwork = lambda image_shape, num_classes: ProGANDiscriminator(
            image_shape, num_classes, base=16384, widest=512, blur=True
        ),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=1e-3, beta1=0.0, beta2=0.99),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=1e-3, beta1=0.0, beta2=0.99),
        growth: Growth = Growth(start=8, rate={128: 1.5, 256: 2.0, 512: 3.0}),
        gamma: float = 10.0,
        mixing: float = 0.9,
        w_decay: float = 0.995,
        n_critic: int = 1,
        step: ImageStep = ImageStep(ema_half_life=10_000.0, ema_rampup=None),
    ) -> None:
        classes = require_classes("StyleGAN", num_classes) if conditional else None
        networks = generator(image_shape, classes), discriminator(image_shape, classes)
        require_growing("StyleGAN", getattr(networks[0], "synthesis", networks[0]), networks[1])
        growing = growth.step_of(step, networks[1].sides)
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, n_critic, growing)
        self.num_classes, self.growth = classes, growth
        self.gamma, self.mixing, self.w_decay = gamma, mixing, w_decay

    def setup(self, stage: str) -> None:
        super().setup(stage)
        self.growth.check(self)

    def batch_size(self, images_seen: int) -> int | None:
        return self.growth.batch_size_after(images_seen, self.discriminator.sides)

    def training_step(self, batch: Labeled, batch_idx: int) -> None:
        self.growth.grow(self, self.generator.synthesis, self.discriminator)
        super().training_step(batch, batch_idx)

    def generator_turn(self, batch: Labeled) -> None:
        w_before = self.generator.mapping.w_average.clone()
        self.turn("generator", lambda part: self.generator_loss(part, w_before), batch, advances_step=True)

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

    def generator_loss(self, batch: Labeled, w_before: Tensor | None = None) -> Terms:
        """The adversarial loss; the mean of w moves from what it was before the turn, once for all micro-batches."""
        z, label = self.latent(self.noise, len(batch.image)), self.condition_like(batch)
        w = self.generator.mapping(z, label)
        if w_before is not None:
            self.generator.track(w, w_before, self.w_decay)
        fake = Labeled(self.fakes_of_w(w, label), label)
        return {"adversarial": losses.non_saturating_generator(self.discriminate(fake))}

    def condition_like(self, batch: Labeled) -> Tensor | None:
        return self.classes_as_in_data(len(batch.image))

    def fakes_of(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.fakes_of_w(self.generator.mapping(z, condition), condition)

    def fakes_of_w(self, w: Tensor, label: Tensor | None) -> Tensor:
        """Images of w (n, style_dim), most with the styles of another latent from a layer on that is drawn."""
        other = self.generator.mapping(self.latent(self.noise, len(w)), label)
        crossover = crossovers(self.noise, len(w), self.generator.synthesis.styles_in_use, self.mixing)
        return self.watched(self.generator.synthesis(mix(w, other, crossover, self.generator.num_styles)))

    def images_of(
        self, network: nn.Module, z: Tensor, condition: Tensor | None = None, truncation: float | None = None
    ) -> Tensor:
        return in_own_precision(network, z, condition, truncation)

    def bounded(self, image: Tensor) -> Tensor:
        return enlarge(image, self.image_shape)
