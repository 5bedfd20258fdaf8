"""What turns images into the numbers that scores compare: a frozen network with a name and a weights hash."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gan_lightning.metrics.images import to_uint8
from gan_lightning.runtime import torchfile
from gan_lightning.runtime.errors import one_line


class Features(NamedTuple):
    """What one pass of an extractor shows of a batch; every score reads what it needs."""

    pooled: Tensor  # (B, D) float32
    logits: Tensor | None = None  # (B, K) float32, where the extractor is a classifier
    label: Tensor | None = None  # (B,) int64, the classes that a conditional generator was asked for

    def at(self, rows: Tensor) -> Features:
        """Those rows of every field."""
        return Features(*(None if field is None else field[rows] for field in self))


class Extractor(nn.Module):
    """Base of every extractor, and the adapter for a network of your own: name it, and say in :meth:`look` how it sees.

    The network is frozen in evaluation mode, runs in float32 without autocast or TF32, and is never part of a model.
    Whoever changes what `look` does with the same weights must change `name` or `resizer` too: these and the hash are
    all that the cache of real statistics knows an extractor by.

    Attributes:
        name: stands in the names of the scores made with it.
        resizer: how images come to the size of the network.
        feature_dim: numbers in a feature vector.
        num_classes: of the logits; None for a network that is no classifier.
        channels: that images may have; None for any number.
        distance: what the Fréchet distance of its features is called: FID-<name>, or FD-<name>.
        hash: SHA-256 of the weights. Scores with different hashes are different scores.

    Args:
        network: with its weights.
        hash: of the file they came from; None to compute it from the weights themselves.
    """

    name: str
    resizer: str
    feature_dim: int
    num_classes: int | None = None
    channels: tuple[int, ...] | None = None
    distance: str = "FID"

    def __init__(self, network: nn.Module, hash: str | None = None) -> None:
        super().__init__()
        self.network = network
        self.hash = hash or weights_hash(network)
        self.requires_grad_(False).eval()

    def look(self, images: Tensor) -> Features:
        """Features of images (B, C, H, W) uint8, by `self.network`."""
        raise TypeError(f"{type(self).__name__} must define look(images)")

    def require(self, channels: int) -> None:
        """Refuse images that the network cannot see.

        Raises:
            ValueError: they have so many channels.
        """
        if self.channels is not None and channels not in self.channels:
            seen = " or ".join(map(str, self.channels))
            raise ValueError(
                f"{type(self).__name__} sees images of {seen} channels, not {channels}: score them by an extractor of "
                "your own, or leave the score out"
            )

    @torch.no_grad()
    def forward(self, images: Tensor) -> Features:
        """Features of images (B, C, H, W), uint8 or float in [-1, 1], which are rounded to bytes first.

        Raises:
            ValueError: the images are not finite, or of a kind that the extractor cannot see.
        """
        self.require(images.shape[1])
        with torch.autocast(images.device.type, enabled=False), full_float32():
            return self.look(to_uint8(images))

    def train(self, mode: bool = True) -> Extractor:
        """Stay in evaluation mode: a score's network never changes."""
        return super().train(False)


@contextmanager
def full_float32() -> Iterator[None]:
    """Keep GPUs from rounding float32 to the 10 bits of TF32, as they do by default in convolutions.

    By torch's newer switches: the older `allow_tf32`, once set, makes `get_float32_matmul_precision` raise.
    """
    switches = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
    before = [switch.fp32_precision for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = "ieee"
        yield
    finally:
        for switch, precision in zip(switches, before, strict=True):
            switch.fp32_precision = precision


def weights_hash(network: nn.Module) -> str:
    """SHA-256 of a network's state, names, types and shapes included."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        if isinstance(value, Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def read_weights(path: str | Path, what: str, sha256: str | None = None) -> tuple[dict[str, Any], str]:
    """The state of a weights file, and the file's SHA-256.

    Args:
        what: whose weights, for the messages.
        sha256: that the file must have; None for any.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another file, or not one of weights.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"{what}: there is no weights file {path}")
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if sha256 not in (None, digest):
        raise ValueError(f"{what}: {path} is not the file of this version: its SHA-256 differs")
    try:
        state = torchfile.load_open(io.BytesIO(data))
    except torchfile.UnreadableError as error:
        raise ValueError(f"{what}: the weights file {path} {error}") from error
    if not isinstance(state, dict):
        raise ValueError(f"{what}: {path} does not hold a state_dict")
    return state, digest


def fit_weights(network: nn.Module, state: dict[str, Any], what: str, path: str | Path) -> None:
    """Load a state into a network.

    Raises:
        ValueError: it is another network's.
    """
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(f"{what}: {path} holds the weights of another network ({one_line(error, 80)})") from error
