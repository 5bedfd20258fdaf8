"""The Inception network of December 2015, which published FID and IS are made with.

Szegedy et al. 2016 (arXiv:1512.00567) as TensorFlow published it (`inception-2015-12-05`). It differs from the paper's
Inception-v3 and from torchvision's: averages leave the padding out of their count, the last block pools by maximum,
there are 1,008 logits, and images are resized as TensorFlow 1 did, aligning neither corners nor pixel centres.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_lightning.metrics.extractor import Extractor, Features, fit_weights, read_weights
from gan_lightning.runtime.errors import one_line

URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
SIZE = 299  # height and width that the network takes
EPSILON = 1e-3  # of batch norm

# The graph. A layer is (name in the weights file, channels out, kernel, padded kernel keeps the size); a branch is a
# sequence of layers and pools; two layers side by side in a list both see what came before; a block's branches all see
# the block's input, and their outputs are concatenated.
Layer = tuple[str, int, tuple[int, int]]
square, row, column = (lambda k: (k, k)), (lambda k: (1, k)), (lambda k: (k, 1))
average = partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False)
maximum = partial(F.max_pool2d, kernel_size=3, stride=1, padding=1)
halve = partial(F.max_pool2d, kernel_size=3, stride=2)


def _a(pooled: int) -> list[list]:
    return [
        [("branch1x1", 64, square(1))],
        [("branch5x5_1", 48, square(1)), ("branch5x5_2", 64, square(5))],
        [("branch3x3dbl_1", 64, square(1)), ("branch3x3dbl_2", 96, square(3)), ("branch3x3dbl_3", 96, square(3))],
        [average, ("branch_pool", pooled, square(1))],
    ]


def _c(inner: int) -> list[list]:
    return [
        [("branch1x1", 192, square(1))],
        [("branch7x7_1", inner, square(1)), ("branch7x7_2", inner, row(7)), ("branch7x7_3", 192, column(7))],
        [
            ("branch7x7dbl_1", inner, square(1)),
            ("branch7x7dbl_2", inner, column(7)),
            ("branch7x7dbl_3", inner, row(7)),
            ("branch7x7dbl_4", inner, column(7)),
            ("branch7x7dbl_5", 192, row(7)),
        ],
        [average, ("branch_pool", 192, square(1))],
    ]


def _e(pool: Any) -> list[list]:
    return [
        [("branch1x1", 320, square(1))],
        [("branch3x3_1", 384, square(1)), [("branch3x3_2a", 384, row(3)), ("branch3x3_2b", 384, column(3))]],
        [
            ("branch3x3dbl_1", 448, square(1)),
            ("branch3x3dbl_2", 384, square(3)),
            [("branch3x3dbl_3a", 384, row(3)), ("branch3x3dbl_3b", 384, column(3))],
        ],
        [pool, ("branch_pool", 192, square(1))],
    ]


BLOCKS: dict[str, list[list]] = {
    "Mixed_5b": _a(32),
    "Mixed_5c": _a(64),
    "Mixed_5d": _a(64),
    "Mixed_6a": [
        [("branch3x3", 384, square(3))],
        [("branch3x3dbl_1", 64, square(1)), ("branch3x3dbl_2", 96, square(3)), ("branch3x3dbl_3", 96, square(3))],
        [halve],
    ],
    "Mixed_6b": _c(128),
    "Mixed_6c": _c(160),
    "Mixed_6d": _c(160),
    "Mixed_6e": _c(192),
    "Mixed_7a": [
        [("branch3x3_1", 192, square(1)), ("branch3x3_2", 320, square(3))],
        [
            ("branch7x7x3_1", 192, square(1)),
            ("branch7x7x3_2", 192, row(7)),
            ("branch7x7x3_3", 192, column(7)),
            ("branch7x7x3_4", 192, square(3)),
        ],
        [halve],
    ],
    "Mixed_7b": _e(average),
    "Mixed_7c": _e(maximum),
}
HALVING = {"Mixed_6a.branch3x3", "Mixed_6a.branch3x3dbl_3", "Mixed_7a.branch3x3_2", "Mixed_7a.branch7x7x3_4"}


def convolution(inputs: int, outputs: int, kernel: tuple[int, int], stride: int, padded: bool) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, (kernel[0] // 2, kernel[1] // 2) if padded else 0)


class InceptionNetwork(nn.Module):
    """Images (B, 3, 299, 299) in [-1, 1) to pooled features (B, 2048); `head` gives the logits.

    Batch norm, whose statistics never change here, is folded into the convolutions, and channels come last in memory:
    the same numbers to rounding, in two thirds of the time on a CPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential()
        for name, inputs, outputs, kernel, stride, padded in (
            ("Conv2d_1a_3x3", 3, 32, 3, 2, False),
            ("Conv2d_2a_3x3", 32, 32, 3, 1, False),
            ("Conv2d_2b_3x3", 32, 64, 3, 1, True),
            ("Conv2d_3b_1x1", 64, 80, 1, 1, False),
            ("Conv2d_4a_3x3", 80, 192, 3, 1, False),
        ):
            self.stem.add_module(name, convolution(inputs, outputs, square(kernel), stride, padded))
        self.blocks = nn.ModuleDict()
        channels = 192
        for name, branches in BLOCKS.items():
            block = self.blocks[name] = nn.ModuleDict()
            channels = sum(self._build(name, block, branch, channels) for branch in branches)
        self.head = nn.Linear(channels, 1008)

    @staticmethod
    def _build(name: str, block: nn.ModuleDict, branch: list, channels: int) -> int:
        """Make a branch's layers; its number of channels."""
        for item in branch:
            if callable(item):  # a pool
                continue
            side_by_side = item if isinstance(item, list) else [item]
            for layer, outputs, kernel in side_by_side:
                halving = f"{name}.{layer}" in HALVING
                block[layer] = convolution(channels, outputs, kernel, 2 if halving else 1, not halving)
            channels = sum(outputs for _, outputs, _ in side_by_side)
        return channels

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        for name, layer in self.stem.named_children():
            x = F.relu_(layer(x))
            if name in ("Conv2d_2b_3x3", "Conv2d_4a_3x3"):
                x = halve(x)
        for name, branches in BLOCKS.items():
            x = torch.cat([self._run(self.blocks[name], branch, x) for branch in branches], 1)
        return x.mean((2, 3))

    @staticmethod
    def _run(block: nn.ModuleDict, branch: list, x: Tensor) -> Tensor:
        for item in branch:
            if callable(item):
                x = item(x)
            elif isinstance(item, list):
                x = torch.cat([F.relu_(block[layer](x)) for layer, _, _ in item], 1)
            else:
                x = F.relu_(block[item[0]](x))
        return x


def folded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights file's state for :class:`InceptionNetwork`: y = g (Wx - m) / s + b is one convolution."""
    network: dict[str, Tensor] = {}
    for name, value in state.items():
        if name.endswith(".conv.weight"):
            layer = name.removesuffix(".conv.weight")
            gain, bias, mean, variance = (
                state[f"{layer}.bn.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
            )
            scale = gain / (variance + EPSILON).sqrt()
            place = f"blocks.{layer}" if layer.startswith("Mixed") else f"stem.{layer}"
            network[f"{place}.weight"] = (value.double() * scale[:, None, None, None]).float()
            network[f"{place}.bias"] = (bias - mean * scale).float()
    return network | {"head.weight": state["fc.weight"], "head.bias": state["fc.bias"]}


def resize_like_tensorflow(images: Tensor, size: int = SIZE) -> Tensor:
    """Images (B, C, H, W) at (B, C, size, size) as TensorFlow 1's `resize_bilinear` does: output pixel i is taken at
    i * (old size / new size), between whole pixels linearly, without antialiasing.

    Args:
        images: float32.
    """
    for axis in (2, 3):
        old = images.shape[axis]
        place = torch.arange(size, dtype=torch.float32) * torch.tensor(old / size, dtype=torch.float32)
        low = place.long()
        share = (place - low).to(images.device).view([-1 if axis == a else 1 for a in range(4)])
        below, above = (images.index_select(axis, i.to(images.device)) for i in (low, (low + 1).clamp_max(old - 1)))
        images = below + (above - below) * share
    return images


def weights_file() -> Path:
    """The published weights in torch's cache, downloaded when they are absent.

    Raises:
        FileNotFoundError: they could not be; the message says both ways out.
    """
    path = Path(torch.hub.get_dir(), "checkpoints", URL.rsplit("/", 1)[-1])
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Beside its place and moved when the hash is right: no half a file, and no harm if processes do it at once.
            torch.hub.download_url_to_file(URL, str(path), hash_prefix=SHA256)
        except (URLError, OSError, RuntimeError) as error:
            raise FileNotFoundError(
                f"Inception's weights could not be downloaded ({one_line(error, 80)}): copy {path.name} "
                f"(from {URL.rsplit('/', 1)[0]}) to {path.parent}, or name a copy of it as the extractor's `weights`"
            ) from error
    return path


class Inception(Extractor):
    """Inception of 2015 (arXiv:1512.00567): 2,048 pooled features and 1,008 logits, those of published FID and IS.

    The logits are the unbiased ones (without the head's bias), as the original scores used them. Grey images are seen
    as three equal channels.

    Args:
        weights: a file in the form of pytorch-fid and torch-fidelity; None for the published one (95 MB), which is
            downloaded once. With other weights the scores are called FID-inception-<hash>, and are no FID.

    Raises:
        FileNotFoundError: there is no such file, or the published one cannot be downloaded.
        ValueError: the file holds something else.
    """

    name, resizer, feature_dim, num_classes = "inception", "bilinear-tensorflow1-299", 2048, 1008
    channels = (1, 3)

    def __init__(self, weights: str | Path | None = None) -> None:
        published = weights is None
        path = weights_file() if published else weights
        state, digest = read_weights(path, "Inception", SHA256 if published else None)
        network = InceptionNetwork()
        try:
            state = folded(state)
        except (KeyError, AttributeError) as error:
            raise ValueError(f"Inception: {path} holds the weights of another network (no {error})") from error
        fit_weights(network, state, "Inception", path)
        super().__init__(network.to(memory_format=torch.channels_last), digest)
        if digest != SHA256:
            self.name = f"inception-{digest[:6]}"  # what it gives is no FID

    def look(self, images: Tensor) -> Features:
        x = resize_like_tensorflow(images.float())
        pooled = self.network(((x - 128) / 128).expand(-1, 3, -1, -1))
        return Features(pooled, F.linear(pooled, self.network.head.weight))
