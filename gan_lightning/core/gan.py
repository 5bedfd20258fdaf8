"""The game of two losses: a generator of images against a discriminator."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn

from gan_lightning.batches import Labeled
from gan_lightning.core.image_generator import ImageGenerator
from gan_lightning.core.step import ImageShape, ImageStep, Player, Terms


class TwoPlayerGAN(ImageGenerator):
    """A generator and a discriminator that take turns: a paper overrides its two losses and nothing else.

    A sample is an image with its label, which a model without classes ignores. Where the model augments, images are
    augmented when the discriminator is shown them, by :meth:`show`: a penalty on its gradient is by the image before.

    Args:
        image_shape: (channels, height, width).
        generator: see :class:`ImageGenerator`.
        discriminator: network from (n, *image_shape), and labels, to (n,) scores.
        generator_optimizer, discriminator_optimizer: build the optimizers.
        n_critic: discriminator turns for each generator turn, each on a batch of its own.
        step: see :class:`ImageStep`.
    """

    boundary: float | None = 0.0  # scores above it mean "real"; None: half-way between the mean scores of the two

    def __init__(
        self,
        image_shape: ImageShape,
        generator: nn.Module,
        discriminator: nn.Module,
        generator_optimizer: OptimizerCallable,
        discriminator_optimizer: OptimizerCallable,
        n_critic: int,
        step: ImageStep,
    ) -> None:
        super().__init__(image_shape, generator, step)
        if n_critic < 1:
            raise ValueError(f"n_critic must be at least 1, not {n_critic}")
        self.discriminator = discriminator
        self.augment = step.augment() if step.augment is not None else None
        self.n_critic = n_critic
        self._players_of = (generator_optimizer, discriminator_optimizer)

    def players(self) -> dict[str, Player]:
        generator_optimizer, discriminator_optimizer = self._players_of
        return {
            "generator": Player(self.generator, generator_optimizer, self.step.scheduler),
            "discriminator": Player(self.discriminator, discriminator_optimizer, self.step.scheduler, self.n_critic),
        }

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if self.augment is not None and self.augment.adaptive and self.boundary is None:
            raise ValueError(
                f"{type(self.augment).__name__} adapts by the share of real images that the discriminator calls real, "
                f"and {type(self).__name__}'s scores do not say: give it a fixed strength, or use DiffAugment"
            )

    def on_train_batch_start(self, batch: tuple, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        if self.augment is not None:
            self.augment.begin(self.clock)

    def training_step(self, batch: Labeled, batch_idx: int) -> None:
        self.discriminator_turn(batch)
        if self.iteration % self.n_critic == 0:
            self.generator_turn(batch)

    def discriminator_turn(self, batch: Labeled) -> None:
        self.turn("discriminator", self.discriminator_loss, batch)
        if self.augment is not None and self.augment.adaptive:
            self.augment.adapt(self.images_seen // self.batches_per_step)
        if (p := getattr(self.augment, "p", None)) is not None:
            self.watch("augment/p", p.clone())

    def generator_turn(self, batch: Labeled) -> None:
        self.turn("generator", self.generator_loss, batch, advances_step=True)

    def discriminator_loss(self, batch: Labeled) -> Terms:
        """What the discriminator minimises on real images and the generator's fakes."""
        raise TypeError(f"{type(self).__name__} must define discriminator_loss(batch)")

    def generator_loss(self, batch: Labeled) -> Terms:
        """What the generator minimises."""
        raise TypeError(f"{type(self).__name__} must define generator_loss(batch)")

    def augmented(self, image: Tensor) -> Tensor:
        """Images (n, *image_shape) as the discriminator sees them."""
        return image if self.augment is None else self.augment(image, self.noise)

    def show(self, image: Tensor, *inputs: Tensor) -> Any:
        """What the discriminator says of images (n, *image_shape), which it sees augmented, and of other inputs."""
        return self.discriminator(self.augmented(image), *inputs)

    def discriminate(self, sample: Labeled) -> Tensor:
        """(n,) the discriminator's scores, of images with their labels where the model has classes."""
        return self.show(sample.image, sample.label) if self.num_classes else self.show(sample.image)

    def score_pair(self, real: Labeled, fake: Labeled) -> tuple[Tensor, Tensor]:
        """(n,) the discriminator's scores of both, each a batch of its own; see :meth:`watch_scores`."""
        real_score, fake_score = self.discriminate(real), self.discriminate(fake)
        self.watch_scores(real_score, fake_score)
        return real_score, fake_score

    def watch_scores(self, real: Tensor, fake: Tensor) -> None:
        """Log the share of scores (n,) that are right, and tell an adaptive augmentation."""
        if self.augment is not None and self.augment.adaptive:
            assert self.boundary is not None  # see setup
            self.augment.see(real.detach().float() - self.boundary)
        if self.watching:
            r, f = real.detach().float(), fake.detach().float()
            boundary = (r.mean() + f.mean()) / 2 if self.boundary is None else self.boundary
            self.watch("discriminator/accuracy_real", (r > boundary).float().mean())
            self.watch("discriminator/accuracy_fake", (f <= boundary).float().mean())


def require_classes(model: str, num_classes: int | None) -> int:
    """The number of classes, for a model that cannot do without.

    Raises:
        ValueError: there are none.
    """
    if not num_classes:
        raise ValueError(f"{model} needs data with classes, and these have none: choose other data or another model")
    return num_classes
