"""SinGAN: Learning a Generative Model from a Single Natural Image, 2019."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from gan_lightning import losses, optim
from gan_lightning.batches import Labeled, same_on_all
from gan_lightning.core import ImageShape, ImageStep, Manipulator, OptimizerCallable, Player, Terms
from gan_lightning.networks import SinGANDiscriminators, SinGANGenerator
from gan_lightning.networks.singan import pyramid_sizes, resized
from gan_lightning.noise import PartNoise, key

Sizes = list[tuple[int, int]]  # (height, width) of every scale
ScaleNetworks = Callable[[ImageShape, Sizes], nn.Module]
REDRAWN = 1  # makes the key of z* another one than those of samples


class SinGAN(Manipulator):
    """A pyramid of GANs of the patches of one picture (Shaham et al. 2019, arXiv:1905.01164).

    Scales are trained one after another, the coarsest first, each against a WGAN-GP critic of patches of 11 pixels,
    whose penalty is on the gradient at each pixel, over channels. A fixed noise z* must give the picture back, and the
    error of what it gives says how much noise the next scale adds. A run ends by itself when all scales are trained.
    Deviations: z* of the coarsest scale is fixed as in the paper, where the authors' code draws it again in each step
    (`redraw`); each turn has a fresh fake, where the code's three generator turns share one, which torch refuses now,
    and all six turns one noise of their own scale; images between scales are resized as in
    :func:`networks.singan.resized`; Adam begins each scale with 5e-4 for the first 1,600 batches, one more than in the
    code. Super-resolution in the paper is by a training of its own, with `reconstruction_weight` 100, a `factor` of
    2^(-1/3) and a width of 128 in all scales.

    Args:
        generator, discriminator: build the networks of all scales from the image's shape and the scales' sizes.
        min_size: shorter side of the coarsest scale, in pixels.
        factor: between the sides of a scale and those of the next finer one; fitted, see :func:`pyramid_sizes`.
        steps_per_scale: batches that a scale trains for.
        decay_after: batches of a scale after which both rates are a tenth; `step.scheduler` or
            `step.learning_rate` replaces this.
        discriminator_turns, generator_turns: of each batch; the last one is a step.
        penalty_weight: of the gradient penalty.
        reconstruction_weight: alpha, of the squared error of what z* gives.
        noise: amplitude of a scale's noise, in root mean squared errors of the reconstruction below it, measured once,
            when the scale begins; 1 at the coarsest scale.
        redraw: draw z* of the coarsest scale anew for each batch while that scale trains.

    Raises:
        ValueError: a picture or sizes that make no pyramid, numbers of turns or batches that train nothing; in `setup`,
            data of more than one picture; at the start of a training, a checkpoint whose scales are all trained, or
            were trained for another number of steps.
    """

    shardable = False  # a scale begins with what the one below draws, between turns
    scored_by = "SingleImageScores"

    def __init__(
        self,
        image_shape: ImageShape,
        generator: ScaleNetworks = lambda image_shape, sizes: SinGANGenerator(image_shape, sizes, width=32, widest=128),
        discriminator: ScaleNetworks = lambda image_shape, sizes: SinGANDiscriminators(
            image_shape, sizes, width=32, widest=128
        ),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=5e-4, beta1=0.5, beta2=0.999),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=5e-4, beta1=0.5, beta2=0.999),
        min_size: int = 25,
        factor: float = 0.75,
        steps_per_scale: int = 2000,
        decay_after: int = 1600,
        discriminator_turns: int = 3,
        generator_turns: int = 3,
        penalty_weight: float = 0.1,
        reconstruction_weight: float = 10.0,
        noise: float = 0.1,
        redraw: bool = False,
        step: ImageStep = ImageStep(ema_half_life=0.0, ema_rampup=None),  # the last weights
    ) -> None:
        if min(steps_per_scale, discriminator_turns, generator_turns) < 1:
            raise ValueError(
                f"steps_per_scale ({steps_per_scale}), discriminator_turns ({discriminator_turns}) and generator_turns "
                f"({generator_turns}) must be at least 1"
            )
        self.sizes = pyramid_sizes(*image_shape[1:], min_size, factor)
        super().__init__(image_shape, generator(image_shape, self.sizes), step)
        self.discriminator = discriminator(image_shape, self.sizes)
        self._players_of = (generator_optimizer, discriminator_optimizer)
        self.steps_per_scale, self.decay_after = steps_per_scale, decay_after
        self.discriminator_turns, self.generator_turns = discriminator_turns, generator_turns
        self.penalty_weight, self.reconstruction_weight = penalty_weight, reconstruction_weight
        self.relative_noise, self.redraw = noise, redraw
        self._below: tuple[int, Tensor] | None = None  # a scale, and what z* gives one scale below it

    def players(self) -> dict[str, Player]:
        generator_optimizer, discriminator_optimizer = self._players_of
        rate = self.step.scheduler
        if rate is None and self.step.learning_rate is None:
            rate = partial(LambdaLR, lr_lambda=self.rate_after)
        return {
            "generator": Player(self.generator, generator_optimizer, rate, self.generator_turns),
            "discriminator": Player(self.discriminator, discriminator_optimizer, rate, self.discriminator_turns),
        }

    def rate_after(self, batches: int) -> float:
        """The factor on both rates after so many batches."""
        return 0.1 if batches % self.steps_per_scale >= self.decay_after else 1.0

    def scale_after(self, batches: int) -> int:
        """The scale that the next batch trains."""
        return min(batches // self.steps_per_scale, len(self.sizes) - 1)

    @property
    def scale(self) -> int:
        """The scale that this batch trains."""
        return self.scale_after(self.iteration - 1)

    @property
    def finished(self) -> bool:
        """Whether all scales are trained."""
        return self.iteration >= self.steps_per_scale * len(self.sizes)

    # Training.

    def setup(self, stage: str) -> None:
        super().setup(stage)
        data = self.trainer.datamodule
        if stage == "fit" and hasattr(data, "training_set"):
            first, last = data.training_set().__getitems__([0, len(data.training_set()) - 1]).image
            if not torch.equal(first, last):
                raise ValueError(f"SinGAN learns one picture, and {data.name} has several: use --data SingleImage")

    def on_train_start(self) -> None:
        super().on_train_start()
        self._below = None
        if self.finished:
            raise ValueError(
                f"all {len(self.sizes)} scales are trained: for a longer training begin anew, with a greater "
                "--model.steps_per_scale"
            )
        if self.iteration and (reached := int(self.generator.reached)) != self.scale:
            raise ValueError(
                f"scale {reached} was in training after {self.iteration} batches, and with steps_per_scale "
                f"{self.steps_per_scale} it would be scale {self.scale}: leave that as it was, or begin anew"
            )

    def training_step(self, batch: Labeled, batch_idx: int) -> None:
        scale, real = self.scale, resized(batch.image, self.sizes[self.scale])
        self.generator.scales[:scale].eval()
        self.generator.scales[scale].train()
        if self.iteration - 1 == scale * self.steps_per_scale:
            self.begin_scale(real)
        if self.redraw and scale == 0:
            noise = PartNoise(key(self.seed, REDRAWN, self.iteration), 0, 1, self.device)
            self.generator.anchor.copy_(noise.normal(*self.generator.anchor.shape))
        for _ in range(self.discriminator_turns):
            self.turn("discriminator", self.discriminator_loss, Labeled(real, batch.label))
        for turn in range(self.generator_turns):
            last = turn == self.generator_turns - 1
            self.turn("generator", self.generator_loss, Labeled(real, batch.label), advances_step=last)
        self.watch("scale", float(scale))
        self.trainer.should_stop = self.trainer.should_stop or self.finished

    @torch.no_grad()
    def begin_scale(self, real: Tensor) -> None:
        """Start this batch's scale from the one below, and measure the amplitude of its noise.

        Args:
            real: (n, C, h, w), the picture at this scale.
        """
        self.average_batch_statistics()  # of the scale below, which from here on are the same on all processes
        for network in (self.generator, *(average.network for average in self.averages.values())):
            network.begin(self.scale)
        self.discriminator.begin(self.scale)
        if self.scale > 0:
            below = resized(self.reconstruction_below(), self.sizes[self.scale])
            self.generator.amplitude[self.scale] = self.relative_noise * F.mse_loss(below, real[:1]).sqrt()
        for name in ("generator", "discriminator"):
            self.reset_optimizer(name)

    @torch.no_grad()
    def reconstruction_below(self) -> Tensor | None:
        """(1, C, h, w), what z* gives one scale below this batch's; None at the coarsest. It stays while one trains."""
        scale = self.scale
        if scale > 0 and (self._below is None or self._below[0] != scale):
            self._below = scale, self.generator.draw(self.generator.anchors()[:scale])[-1]
        return self._below[1] if scale > 0 else None

    def fake_like(self, batch: Labeled) -> Labeled:
        """As many fakes of this batch's scale, differentiable by that scale's generator alone."""
        n, scale = len(batch.image), self.scale
        *lower, own = [self.noise.normal(n, *shape) for shape in self.generator.shapes()[: scale + 1]]
        with torch.no_grad():
            below = self.generator.draw(lower)[-1] if lower else None
        return batch._replace(image=self.watched(self.generator.draw([own], below, scale)[-1]))

    def discriminator_loss(self, batch: Labeled) -> Terms:
        critic, fake = self.discriminator[self.scale], self.fake_like(batch).image.detach()
        epsilon = self.noise.uniform(len(fake), 1, 1, 1)
        penalty = losses.gradient_penalty(critic, batch.image, fake, epsilon, by_pixel=True)
        return {
            "critic": losses.wasserstein_discriminator(critic(batch.image), critic(fake)),
            "penalty": self.penalty_weight * penalty,
        }

    def generator_loss(self, batch: Labeled) -> Terms:
        critic, fake = self.discriminator[self.scale], self.fake_like(batch).image
        z = self.generator.anchors()[self.scale]
        with same_on_all():  # one row, where all rows of the batch are the picture
            rebuilt = self.generator.draw([z], self.reconstruction_below(), self.scale)[-1]
        return {
            "critic": losses.wasserstein_generator(critic(fake)),
            "reconstruction": self.reconstruction_weight * F.mse_loss(rebuilt.float(), batch.image[:1].float()),
        }
