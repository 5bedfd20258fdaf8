"""Analyzing and Improving the Image Quality of StyleGAN, 2020."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gan_lightning import batches, losses, optim
from gan_lightning.batches import Labeled
from gan_lightning.core import (
    ClassNetwork,
    ImageShape,
    ImageStep,
    OptimizerCallable,
    Terms,
    TwoPlayerGAN,
    in_own_precision,
    require_classes,
)
from gan_lightning.networks import StyleGAN2Discriminator, StyleGAN2Generator
from gan_lightning.networks.style import StyleGenerator, crossovers, mix


class StyleGAN2(TwoPlayerGAN):
    """Modulated convolutions, path length regularisation, lazy R1 (Karras et al. 2020, arXiv:1912.04958); with
    `step.augment: ADA` StyleGAN2-ADA (Karras et al. 2020, arXiv:2006.06676).

    Non-saturating logistic losses. Every `path_interval` batches the generator takes a step on the path length penalty
    alone, every `r1_interval` the discriminator one on R1 alone, each multiplied by its interval; the rates and betas
    of Adam are scaled for it (appendix B, :func:`optim.lazy`). The generator moves first, and each step has fresh
    latents. The defaults are those of 1024 px (config F); rates and betas are given before they are scaled.

    Deviations: the authors' code replaces gradients that are NaN by 0 and bounds infinite ones, here the run stops and
    names the loss; the mean path length and the mean of w are of the whole batch, not of one GPU's; the mean of w
    follows the generator's game alone, in the code all passes of the mapping; the average follows before the step on
    path lengths, in the code after all steps of a batch; ADA counts signs in the game alone, in the code those of R1
    too; each image has a crossover of its own, not each GPU's batch; R1 and path lengths are computed in float32
    throughout; groups of the minibatch deviation are consecutive samples, not strided ones.

    Args:
        conditional: whether the networks are told the class; fakes have classes as in the data.
        mixing: probability that an image has the styles of two latents, changed at a random layer (arXiv:1812.04948).
        gamma: weight of R1, E |grad D(x)|^2 gamma / 2; the authors' heuristic is 0.0002 pixels / batch.
        r1_interval: batches for one step on R1.
        path_weight: of the path length penalty; 0 for none.
        path_interval: batches for one step on it.
        path_shrink: it is computed for a part of the batch, one in so many.
        path_decay: share by which the mean path length follows a batch's.
        w_decay: share of itself that the mean of w, which truncation leads to, keeps in a step.

    Raises:
        ValueError: a generator without styles, conditioning on data without classes, or an interval below 1.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int | None = None,
        conditional: bool = False,
        generator: ClassNetwork = lambda image_shape, num_classes: StyleGAN2Generator(
            image_shape, num_classes, latent_dim=512
        ),
        discriminator: ClassNetwork = lambda image_shape, num_classes: StyleGAN2Discriminator(
            image_shape, num_classes, group=4
        ),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-3, beta1=0.0, beta2=0.99),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-3, beta1=0.0, beta2=0.99),
        mixing: float = 0.9,
        gamma: float = 10.0,
        r1_interval: int = 16,
        path_weight: float = 2.0,
        path_interval: int = 4,
        path_shrink: int = 2,
        path_decay: float = 0.01,
        w_decay: float = 0.995,
        step: ImageStep = ImageStep(ema_rampup=None),
    ) -> None:
        if min(r1_interval, path_interval, path_shrink) < 1:
            raise ValueError("StyleGAN2: r1_interval, path_interval and path_shrink must be at least 1")
        classes = require_classes("StyleGAN2", num_classes) if conditional else None
        networks = generator(image_shape, classes), discriminator(image_shape, classes)
        if not isinstance(networks[0], StyleGenerator):
            raise ValueError(f"StyleGAN2 needs a generator with styles, not a {type(networks[0]).__name__}")
        optimizers = optim.lazy(generator_optimizer, path_interval), optim.lazy(discriminator_optimizer, r1_interval)
        super().__init__(image_shape, *networks, *optimizers, 1, step)
        self.num_classes = classes
        self.mixing, self.gamma, self.r1_interval = mixing, gamma, r1_interval
        self.path_weight, self.path_interval, self.path_shrink = path_weight, path_interval, path_shrink
        self.path_decay, self.w_decay = path_decay, w_decay
        self.path_mean: Tensor
        self.register_buffer("path_mean", torch.zeros(()))

    def training_step(self, batch: Labeled, batch_idx: int) -> None:
        before = self.iteration - 1
        self.generator_turn(batch)
        if self.path_weight and before % self.path_interval == 0:
            self.path_turn(batch)
        self.discriminator_turn(batch)
        if self.gamma and before % self.r1_interval == 0:
            self.turn("discriminator", self.r1_penalty, batch, counts=False)

    def generator_turn(self, batch: Labeled) -> None:
        w_before = self.generator.mapping.w_average.clone()
        self.turn("generator", lambda part: self.generator_loss(part, w_before), batch, advances_step=True)

    def path_turn(self, batch: Labeled) -> None:
        parts, mean_before = self.step.micro_batches, self.path_mean.clone()
        few = -(-batches.size(batch) // (self.path_shrink * parts)) * parts  # rounded up to whole micro-batches
        fewer = Labeled(*(field[:few] for field in batch))
        self.turn("generator", lambda part: self.path_penalty(part, mean_before), fewer, counts=False)

    # The losses.

    def generator_loss(self, batch: Labeled, w_before: Tensor | None = None) -> Terms:
        """The adversarial loss; the mean of w moves from what it was before the turn, once for all micro-batches."""
        w, label = self.w_like(batch)
        if w_before is not None:
            self.generator.track(w, w_before, self.w_decay)
        return {"adversarial": losses.non_saturating_generator(self.discriminate(self.fake_of(w, label)))}

    def path_penalty(self, batch: Labeled, mean_before: Tensor) -> Terms:
        """E (|J^T y| - a)^2 of equation 4, a the moving mean of the lengths, times the interval."""
        with losses.exact_gradients(self.device):
            ws = self.mixed(*self.w_like(batch))
            image = self.generator.synthesis(ws)
            lengths = losses.path_lengths(image, ws, self.noise.normal(*image.shape))
        lengths = batches.gather_batch(lengths)
        mean = mean_before.lerp(lengths.mean(), self.path_decay)
        self.path_mean.copy_(mean.detach())
        self.watch("generator/path_mean", mean)
        return {"path_length": self.path_interval * self.path_weight * (lengths - mean).square().mean()}

    def discriminator_loss(self, batch: Labeled) -> Terms:
        real, fake = self.score_pair(batch, self.fake_like(batch).detach())
        return {"adversarial": losses.logistic_discriminator(real, fake)}

    def r1_penalty(self, batch: Labeled) -> Terms:
        """gamma / 2 E |grad D(x)|^2 by the image before augmentation, times the interval."""
        real = batch.differentiable()
        with losses.exact_gradients(self.device):
            score = self.discriminate(real)
        return {"r1": self.r1_interval * self.gamma * losses.zero_centred_penalty(score, real.image)}

    # The fakes.

    def w_like(self, batch: Labeled) -> tuple[Tensor, Tensor | None]:
        """(n, style_dim) of as many fresh latents as the batch has samples, and the labels that they are of."""
        label = self.condition_like(batch)
        return self.generator.mapping(self.latent(self.noise, batches.size(batch)), label), label

    def mixed(self, w: Tensor, label: Tensor | None) -> Tensor:
        """(n, num_styles, style_dim), of some images from a layer on those of other latents of the same label."""
        n, styles = len(w), self.generator.num_styles
        if not self.mixing:
            return self.generator.styles(w)
        crossover = crossovers(self.noise, n, styles, self.mixing)
        return mix(w, self.generator.mapping(self.latent(self.noise, n), label), crossover, styles)

    def fake_of(self, w: Tensor, label: Tensor | None) -> Labeled:
        """Images of w (n, style_dim) and of labels (n,), mixed with others."""
        image = self.watched(self.generator.synthesis(self.mixed(w, label)))
        return Labeled(image, torch.zeros(len(w), dtype=torch.int64, device=w.device) if label is None else label)

    def fake_like(self, batch: Labeled) -> Labeled:
        return self.fake_of(*self.w_like(batch))

    def condition_like(self, batch: Labeled) -> Tensor | None:
        return self.classes_as_in_data(batches.size(batch))

    # Samples.

    def images_of(
        self, network: nn.Module, z: Tensor, condition: Tensor | None = None, truncation: float | None = None
    ) -> Tensor:
        """Truncation is of w, towards its mean, not of z."""
        return in_own_precision(network, z, condition, truncation)

    def bounded(self, image: Tensor) -> Tensor:
        return image.clamp(-1.0, 1.0)
