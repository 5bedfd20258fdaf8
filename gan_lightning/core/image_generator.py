"""A generator of images from latents, whatever the game that trains it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning import batches
from gan_lightning.batches import Labeled
from gan_lightning.core.module import AdversarialModule
from gan_lightning.core.sampling import evaluating, in_own_precision
from gan_lightning.core.step import ImageShape, ImageStep
from gan_lightning.ema import EMA
from gan_lightning.noise import Noise, SampleNoise, drawn_by, drawn_by_layers, key, require_truncation, truncated_normal
from gan_lightning.runtime.errors import nearest

STANDING = -1  # seed of the latents of standing statistics: none that a user would give
LAYERS = 1  # makes the key of the noise in layers another one than that of the latents
BATCH_NORMS = nn.modules.batchnorm._BatchNorm


class ImageGenerator(AdversarialModule):
    """A kind of model: images from latents, of classes or of whatever else they are conditioned on.

    A game of any number of players trains it. Sample i of a seed depends on the seed and on i alone: its latent, its
    condition, and the noise of the generator's layers.

    Args:
        image_shape: (channels, height, width).
        generator: network from (n, latent_dim), and a condition where there is one, to (n, *image_shape) in [-1, 1],
            with a `latent_dim`.
        step: see :class:`ImageStep`.

    Raises:
        ValueError: `step` is a plain :class:`Step`.
    """

    inference_networks: tuple[str, ...] = ("generator",)
    num_classes: int | None = None  # of a conditional model, which sets it: its networks then take labels
    uniform_latents = False  # latents are from U[-1, 1), not from N(0, 1)
    codes = 0  # of latents that have some: how many :meth:`traverse` knows
    step: ImageStep
    generator: Any  # a network with what its kind of model asks it for

    def __init__(self, image_shape: ImageShape, generator: nn.Module, step: ImageStep) -> None:
        if not isinstance(step, ImageStep):
            raise ValueError(f"{type(self).__name__} takes step=ImageStep(...), not {step}")
        super().__init__(step)
        self.image_shape = tuple(image_shape)
        self.generator = generator
        self.keep_averages("generator", generator)

    def keep_averages(self, name: str, network: nn.Module) -> None:
        """Average a network of a player: `averages[name]`, `<name>_<half-life>` and `<name>_power_<1000 sigma_rel>`.

        Raises:
            ValueError: two averages of one name, since they are next to the same.
        """
        step = self.step
        half_lives = step.ema_half_life if isinstance(step.ema_half_life, (list, tuple)) else [step.ema_half_life]
        named: list[tuple[str, Any, float | None]] = [(name, half_lives[0], None)]
        named += [(f"{name}_{one:.0f}", one, None) for one in half_lives[1:]]
        named += [(f"{name}_power_{1000 * sigma:03.0f}", 0.0, sigma) for sigma in step.ema_power or []]
        if len({called for called, *_ in named}) < len(named):
            raise ValueError(
                f"ema_half_life {half_lives}, ema_power {step.ema_power}: two would be averages of one name, leave one "
                "out"
            )
        for called, half_life, sigma in named:
            how = step.ema_rampup, step.ema_every, step.ema_start, step.ema_statistics
            self.averages[called] = EMA(network, half_life, *how, sigma)

    @property
    def ema(self) -> EMA:
        """The generator's average that is sampled and scored unless another is named."""
        return self.averages["generator"]

    def weights(self, live: bool = False, average: str | None = None) -> Any:
        """The generator with its trained weights, or with an average of them.

        Args:
            live: the trained weights.
            average: name of one of the generator's averages; None for the first.

        Raises:
            ValueError: there is no such average, both are asked for, or one of a model that was exported with one.
        """
        if self.exported is not None and (live or average is not None):
            raise ValueError(f"an exported folder holds one set of weights, here {self.exported}: ask for no other")
        if live and average is not None:
            raise ValueError(f"live weights or the average {average}, not both")
        names = [name for name, one in self.averages.items() if one.live is self.generator]
        if average is not None and average not in names:
            has = ", ".join(names)
            raise ValueError(f"{type(self).__name__} has no average {average!r}{nearest(average, names)}: it has {has}")
        return self.generator if live else self.averages[average or "generator"].network

    # What the generator is given.

    def latent(self, noise: Noise, n: int) -> Tensor:
        """(n, latent_dim), the generator's input."""
        shape = n, self.generator.latent_dim
        return noise.uniform(*shape).mul_(2.0).sub_(1.0) if self.uniform_latents else noise.normal(*shape)

    def truncate(self, z: Tensor, psi: float) -> Tensor:
        """Latents (n, latent_dim) of the same distribution without what lies beyond +-psi, each at its own quantile.

        Of normal latents the truncation of Brock et al. 2019 (arXiv:1809.11096, section 3.1), without jumps in psi.

        Args:
            z: (n, latent_dim).
            psi: positive; uniform latents have nothing beyond 1.
        """
        return min(psi, 1.0) * z if self.uniform_latents else truncated_normal(z, psi)

    def traverse(self, z: Tensor, code: int, steps: int) -> Tensor:
        """(values, n, latent_dim) latents in which one code alone takes one value after the other.

        Args:
            z: (n, latent_dim).
            code: number, from 0 to `codes` - 1.
            steps: values of a code that has no values of its own, such as categories.
        """
        raise TypeError(f"{type(self).__name__} must define traverse(z, code, steps)")

    def condition_like(self, batch: Any) -> Tensor | None:
        """What the fakes of a training batch are conditioned on: labels (n,), uniform over the classes, or None.

        A model whose paper has other classes returns `batch.label`, the real images', or :meth:`classes_as_in_data`.
        """
        return self.noise.integers(self.num_classes, batches.size(batch)) if self.num_classes else None

    def classes_as_in_data(self, n: int) -> Tensor | None:
        """Labels (n,) drawn with the shares that the classes have of the training data, or None without classes.

        Raises:
            ValueError: the data does not say how many images each class has.
        """
        if not self.num_classes:
            return None
        if not (counts := self.trained_on.get("class_counts")):
            raise ValueError(
                f"{type(self).__name__} draws classes as in the data, which does not say how many images each has: "
                "use a data module of this package, or give the set a property class_counts"
            )
        counts = torch.tensor(counts, dtype=torch.float32, device=self.device)
        return drawn_by(counts.expand(n, -1), self.noise.uniform(n, 1))[:, 0]

    def condition_of(self, numbers: Sequence[int]) -> Tensor | None:
        """What samples of these numbers are conditioned on: labels (n,), each class in turn, or None."""
        return torch.tensor(numbers, device=self.device) % self.num_classes if self.num_classes else None

    def asked_of(self, numbers: Sequence[int]) -> list[str] | None:
        """What samples of these numbers are conditioned on, in words: names of classes; None of nothing."""
        if (labels := self.condition_of(numbers)) is None:
            return None
        names = dict(enumerate(self.trained_on.get("classes") or []))
        return [str(names.get(label, label)) for label in labels.tolist()]

    def condition_as(self, asked: Any, n: int) -> Tensor:
        """What n samples are conditioned on that are all to be alike in it: labels (n,) of a class."""
        return torch.full((n,), asked, device=self.device)

    def mixable(self, condition: Tensor) -> Tensor:
        """Conditions (n, ...) float between which there are others: shares of classes (n, classes), of labels (n,)."""
        assert self.num_classes  # else there are no labels
        return F.one_hot(condition, self.num_classes).to(self.dtype)

    # Fakes in training.

    def fake_like(self, batch: tuple) -> Labeled:
        """As many fakes as the batch has samples, with conditions of their own; see :meth:`condition_like`."""
        z = self.latent(self.noise, batches.size(batch))
        condition = self.condition_like(batch)
        fake = self.fakes_of(z, condition)
        return Labeled(fake, z.new_zeros(len(z), dtype=torch.int64) if condition is None else condition)

    def fakes_of(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """The generator's images (n, *image_shape) of latents."""
        return self.watched(self.generator(z) if condition is None else self.generator(z, condition))

    def watched(self, fake: Tensor) -> Tensor:
        """The fakes (n, *image_shape) of a turn, whose deviation is logged."""
        if self.watching and len(fake) > 1:  # one image alone has no deviation
            self.watch("generator/deviation", fake.detach().float().std(0).mean())
        return fake

    # Samples of a trained generator.

    def latents(self, numbers: Sequence[int], seed: int = 0) -> Tensor:
        """(n, latent_dim) the latents of samples; arguments as of :meth:`sample`."""
        z = self.latent(SampleNoise(seed, numbers, self.device), len(numbers))
        own: Any = self.dtype  # which Lightning says might be a str
        return z.to(torch.promote_types(z.dtype, own))

    @torch.no_grad()
    def sample(
        self,
        numbers: Sequence[int] | int,
        seed: int = 0,
        live: bool = False,
        truncation: float | None = None,
        condition: Tensor | None = None,
        average: str | None = None,
    ) -> Tensor:
        """Images by number: each depends on the seed, on its number and on its condition alone.

        Args:
            numbers: of the images; n for the first n.
            seed: of the latents.
            live: the trained weights in place of their average.
            truncation: limit of the latents, see `truncate`; None for none.
            condition: what they are conditioned on, labels (n,); None for each class in turn.
            average: name of the average, of a model that keeps several; None for the first.

        Returns:
            (n, *image_shape), float32 in [-1, 1].

        Raises:
            ValueError: a truncation that is not positive, or no such average.
        """
        numbers = range(numbers) if isinstance(numbers, int) else numbers
        condition = self.condition_of(numbers) if condition is None else condition
        return self.generate(self.latents(numbers, seed), live, condition, numbers, seed, truncation, average)

    @torch.no_grad()
    def generate(
        self,
        z: Tensor,
        live: bool = False,
        condition: Tensor | None = None,
        numbers: Sequence[int] | None = None,
        seed: int = 0,
        truncation: float | None = None,
        average: str | None = None,
    ) -> Tensor:
        """Images (n, *image_shape), float32 in [-1, 1], in evaluation mode; other arguments as of :meth:`sample`.

        Args:
            z: (n, latent_dim).
            condition: labels (n,) int64, or (n, num_classes) shares of a mixture, of a model with classes.
            numbers, seed: key of the noise that the generator's layers draw; the numbers 0 to n - 1 where None.
        """
        require_truncation(truncation)
        network = self.weights(live, average)
        with self.drawing(network, range(len(z)) if numbers is None else numbers, seed):
            return self.bounded(self.images_of(network, z, condition, truncation).float())

    @contextmanager
    def drawing(self, network: nn.Module, numbers: Sequence[int], seed: int = 0) -> Iterator[None]:
        """Within it a generator is in evaluation mode, and its layers draw the noise of these samples of the seed."""
        with evaluating(network), drawn_by_layers(SampleNoise(key(seed, LAYERS), numbers, self.device)):
            yield

    def images_of(
        self, network: nn.Module, z: Tensor, condition: Tensor | None = None, truncation: float | None = None
    ) -> Tensor:
        """A generator's images in its own precision; arguments as of :meth:`generate`."""
        return in_own_precision(network, z if truncation is None else self.truncate(z, truncation), condition)

    def bounded(self, image: Tensor) -> Tensor:
        """Samples (n, *image_shape) in [-1, 1] of the generator's output; itself, unless a model's has no bounds."""
        return image

    @contextmanager
    def standing_statistics(
        self, count: int, size: int = 64, live: bool = False, average: str | None = None
    ) -> Iterator[None]:
        """Within it the generator's batch statistics are those of `count` batches of its own images.

        Standing statistics (Brock et al. 2019, arXiv:1809.11096, section 4.1): averages over fresh samples, in place
        of those that were gathered while the weights changed.

        Args:
            count: batches; 0 leaves the statistics as they are.
            size: images in each.
            live, average: whose; see :meth:`weights`.
        """
        network = self.weights(live, average)
        norms = [layer for layer in network.modules() if isinstance(layer, BATCH_NORMS)]
        # Not their state_dict: to ask for it shards a sharded network again.
        before = [{name: value.clone() for name, value in norm.named_buffers()} for norm in norms]
        momenta, training = [norm.momentum for norm in norms], network.training
        try:
            if count:
                network.eval()  # but for its batch norms: no dropout, no step of spectral norm's power iteration
                for norm in norms:
                    norm.reset_running_stats()
                    norm.momentum = None  # torch's way to say: the average of all batches alike
                    norm.train()
                for first in range(0, count * size, size):
                    numbers = range(first, first + size)
                    with torch.no_grad(), drawn_by_layers(SampleNoise(key(STANDING, LAYERS), numbers, self.device)):
                        self.images_of(network, self.latents(numbers, STANDING), self.condition_of(numbers))
                network.eval()
            yield
        finally:
            for norm, values, momentum in zip(norms, before, momenta, strict=True):
                for name, buffer in norm.named_buffers():
                    buffer.copy_(values[name])
                norm.momentum = momentum
            network.train(training)
