"""What several networks share: the sizes they build, normalisations, conditioning on classes, attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from gan_lightning.noise import dropped


def pyramid(name: str, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """How to reach a size by doubling: (doublings, height, width to start from), the shorter start in 4 .. 7.

    Raises:
        ValueError: no such start; the message names the nearest sides that do.
    """
    _, height, width = image_shape
    short, long = sorted((height, width))
    doublings = max(0, (short // 4).bit_length() - 1)
    step = 2**doublings
    if doublings and short % step == 0 and long % step:
        raise _impossible(name, image_shape, f"beside {short} the longer side must be a multiple of {step}", long, step)
    if doublings == 0 or short % step:
        side = "size" if short == long else "shorter side"
        raise _impossible(name, image_shape, f"the {side} must be 4, 5, 6 or 7 times a power of two", short)
    return doublings, height // step, width // step


def _impossible(
    name: str, image_shape: tuple[int, int, int], needs: str, side: int, step: int | None = None
) -> ValueError:
    """What a network needs of a side: a multiple of `step`, or else a size that :func:`pyramid` can start."""
    starts = {start * 2**k for start in range(4, 8) for k in range(1, 9)}
    fit = starts if step is None else {side // step * step, (side // step + 1) * step}
    first, second = sorted(fit, key=lambda other: (abs(other - side), other))[:2]
    return ValueError(
        f"{name} cannot build {image_shape[1]}x{image_shape[2]} images: {needs} (nearest: {first}, {second}); set the "
        "data's size or choose another network"
    )


def require_multiples_of_four(name: str, image_shape: tuple[int, int, int]) -> None:
    """Refuse images that two halvings and doublings would change, or leave no neighbours in.

    Raises:
        ValueError: sides that are no multiples of 4, or below 8.
    """
    _, height, width = image_shape
    if height % 4 or width % 4 or min(height, width) < 8:
        raise ValueError(
            f"{name} cannot build {height}x{width} images: sides must be multiples of 4, 8 at least; set the data's "
            "size or choose another network"
        )


def channels(levels: int, base: int, widest: int) -> list[int]:
    """Of each level from the coarsest on: base / resolution up to `widest`; the coarsest counts as a resolution of 4.

    Raises:
        ValueError: none are left at the finest.
    """
    if base < 4 * 2 ** (levels - 1):
        raise ValueError(f"base {base} leaves no channels at the finest of {levels} levels: take a greater one")
    return [min(base // (4 * 2**level), widest) for level in range(levels)]


def widths(stages: int, width: int, widest: int | None) -> list[int]:
    """Channels of stages from the finest to the coarsest: doubled with each up to `widest`; None: all `width`."""
    return [min(width * 2**stage, widest or width) for stage in range(stages)]


def attention_stage(network: str, attention: int | None, sizes: list[int]) -> int | None:
    """Which stage's map is followed by attention: the last of the greatest among these sizes that `attention` allows.

    Raises:
        ValueError: all maps are greater.
    """
    if attention is None:
        return None
    allowed = [size for size in sizes if size <= attention]
    if not allowed:
        raise ValueError(f"{network}: no map is as small as attention {attention}; the smallest is {min(sizes)}")
    return len(sizes) - 1 - sizes[::-1].index(max(allowed))


def maybe_spectral(layer: nn.Module, wanted: bool) -> nn.Module:
    """The layer with its weight divided by its largest singular value (Miyato et al. 2018, arXiv:1802.05957).

    One power iteration for each forward pass in training mode, none in evaluation mode. Deviation: torch's begins with
    15 more, so that the norm is near 1 from the start; the authors' begins with a random vector.
    """
    return parametrizations.spectral_norm(layer, n_power_iterations=1) if wanted else layer


def instance_norm(features: int, affine: bool = True) -> nn.Module:
    """Each channel of each image to mean 0 and variance 1 (Ulyanov et al. 2016, arXiv:1607.08022), always its own.

    Without running statistics: training and evaluation do the same. In evaluation a channel of a single pixel gives 0;
    torch refuses it in training.
    """
    return nn.InstanceNorm2d(features, affine=affine, track_running_stats=False)


def resize_conv(before: int, after: int, mode: str, padding_mode: str = "zeros", bias: bool = True) -> nn.Sequential:
    """A map enlarged twice, then convolved 3x3 (Odena et al. 2016, doi:10.23915/distill.00003).

    The four pixels that come from one share their filters, so that no grid is drawn by the filters alone.

    Args:
        before, after: channels.
        mode: "nearest" repeats pixels; "bilinear" goes from one to the next, which leaves less of a grid.
        padding_mode: of the convolution, as torch has it.
        bias: of the convolution.
    """
    conv = nn.Conv2d(before, after, 3, padding=1, padding_mode=padding_mode, bias=bias)
    return nn.Sequential(nn.Upsample(scale_factor=2.0, mode=mode), conv)


WEIGHTED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)


def normal_init(module: nn.Module, std: float = 0.02) -> None:
    """Weights from N(0, std), batch norm gains from N(1, std), biases 0: DCGAN's (arXiv:1511.06434, section 4)."""
    for layer in module.modules():
        if isinstance(layer, WEIGHTED):
            nn.init.normal_(layer.weight, 0.0, std)
        elif isinstance(layer, (nn.BatchNorm2d, nn.InstanceNorm2d)) and layer.affine:
            nn.init.normal_(layer.weight, 1.0, std)
    _zero_biases(module)


def glorot_init(module: nn.Module) -> None:
    """Weights by Glorot and Bengio 2010, biases 0."""
    for layer in module.modules():
        if isinstance(layer, WEIGHTED):
            nn.init.xavier_uniform_(layer.weight)
    _zero_biases(module)


def orthogonal_init(module: nn.Module) -> None:
    """Orthogonal weights, biases 0 (Saxe et al. 2014, arXiv:1312.6120), as in BigGAN (arXiv:1809.11096, appendix B)."""
    for layer in module.modules():
        if isinstance(layer, WEIGHTED):
            nn.init.orthogonal_(layer.weight)
    _zero_biases(module)


def _zero_biases(module: nn.Module) -> None:
    for layer in module.modules():
        if getattr(layer, "bias", None) is not None and isinstance(layer.bias, nn.Parameter):
            nn.init.zeros_(layer.bias)


def spectral_normalise(module: nn.Module, embeddings: bool = True) -> None:
    """Spectral norm on every convolution and linear layer of a module, and on embeddings; they must be initialised."""
    kinds = (nn.Linear, nn.Conv2d, nn.Embedding) if embeddings else (nn.Linear, nn.Conv2d)
    for layer in [layer for layer in module.modules() if isinstance(layer, kinds)]:
        maybe_spectral(layer, True)


def one_hot(label: Tensor, num_classes: int, like: Tensor) -> Tensor:
    """(n, num_classes) in the type of `like`: of labels (n,), or of a mixture of classes as it is."""
    return (label if label.is_floating_point() else F.one_hot(label, num_classes)).to(like.dtype)


class Dropout(nn.Dropout):
    """torch's dropout, but for where its choices come from: see `noise.dropped`."""

    def forward(self, x: Tensor) -> Tensor:
        return dropped(x, self.p) if self.training and self.p else x


class Dropout2d(nn.Dropout2d):
    """torch's dropout of channels (n, c, h, w), but for where its choices come from: see `noise.dropped`."""

    def forward(self, x: Tensor) -> Tensor:
        return dropped(x, self.p, channels=True) if self.training and self.p else x


class ClassEmbedding(nn.Embedding):
    """A vector for each class: of labels (n,) int64, or of mixtures (n, classes), whose vectors are mixed alike."""

    def forward(self, label: Tensor) -> Tensor:
        """(n,) or (n, classes) -> (n, dim)."""
        return label @ self.weight if label.is_floating_point() else super().forward(label)


class ConditionalBatchNorm2d(nn.Module):
    """Batch norm whose gain and bias depend on a condition: (1 + gain(y)) norm(x) + bias(y).

    Dumoulin et al. 2017, arXiv:1610.07629; with `gain` and `bias` zero it is batch norm without them.

    Args:
        features: channels.
        gain, bias: from the condition to (n, features).
    """

    def __init__(self, features: int, gain: nn.Module, bias: nn.Module) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(features, affine=False)
        self.gain, self.bias = gain, bias

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(n, features, h, w), (n, ...) -> (n, features, h, w)."""
        gain, bias = (layer(condition)[:, :, None, None] for layer in (self.gain, self.bias))
        return (1 + gain) * self.norm(x) + bias


def class_batch_norm(features: int, num_classes: int) -> ConditionalBatchNorm2d:
    """A gain and a bias for each class, 1 and 0 at first (Miyato and Koyama 2018, arXiv:1802.05637, appendix A)."""
    gain, bias = ClassEmbedding(num_classes, features), ClassEmbedding(num_classes, features)
    nn.init.zeros_(gain.weight)
    nn.init.zeros_(bias.weight)
    return ConditionalBatchNorm2d(features, gain, bias)


def normed(norm: nn.Module, x: Tensor, condition: Tensor | None) -> Tensor:
    """Batch norm, conditional where there is a condition."""
    return norm(x) if condition is None else norm(x, condition)


class SelfAttention(nn.Module):
    """Every place looks at every other: gamma o(x) + x (Zhang et al. 2019, arXiv:1805.08318, section 3).

    Queries and keys have an eighth of the channels, values half of them; the softmax runs over the places that are
    looked at, without a scale. `gamma` begins at 0, so that the network learns from near places first. Keys and values
    are pooled 2x2 as in the authors' code.

    Args:
        channels: at least 8.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.key = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.value = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.out = nn.Conv2d(channels // 2, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> the same shape."""
        query = self.query(x).flatten(2).mT  # (n, h w, c / 8)
        key = F.max_pool2d(self.key(x), 2).flatten(2).mT  # (n, h w / 4, c / 8)
        value = F.max_pool2d(self.value(x), 2).flatten(2).mT  # (n, h w / 4, c / 2)
        seen = self.attend(query, key, value)  # (n, h w, c / 2)
        return x + self.gamma * self.out(seen.mT.unflatten(2, x.shape[2:]))

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(n, places, d), (n, others, d), (n, others, e) -> (n, places, e): values by the softmax of inner products."""
        return F.scaled_dot_product_attention(query, key, value, scale=1.0)
