"""What travels from a data module to a model, and how a batch is cut into parts and seen whole again.

A *part* is what one process computes in one piece: with W processes and k micro-batches the batch has W * k parts. The
batch is cut into micro-batches, and each micro-batch is shared by the processes: part m * W + r is of micro-batch m on
process r, and parts follow each other in the batch's order. So a micro-batch has the same rows on any number of
processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Batch = TypeVar("Batch", bound=tuple)
# Arguments of models that `fit` takes from the data module, before the data is read, and their names in messages.
LINKED_ARGUMENTS = {
    "image_shape": "image shape",
    "num_classes": "number of classes",
    "attributes": "attributes",
    "vocabulary": "vocabulary",
    "length": "length",
    "users": "users",
    "items": "items",
    "num_features": "number of features",
}


class Labeled(NamedTuple):
    """Images with one class each."""

    image: Tensor  # (B, C, H, W): float in [-1, 1] in a training step, uint8 as a data set gives it
    label: Tensor  # (B,) int64; all zero where the set has no classes

    def detach(self) -> Labeled:
        """The same without the images' graph."""
        return self._replace(image=self.image.detach())

    def differentiable(self) -> Labeled:
        """The same with images that scores can be differentiated by, for a penalty on their gradient."""
        return self._replace(image=differentiable(self.image))


class PartlyLabeled(NamedTuple):
    """Images without classes, and as many of the few that have one."""

    image: Tensor  # (B, C, H, W)
    labeled_image: Tensor  # (B, C, H, W)
    label: Tensor  # (B,) int64, of the second


class Paired(NamedTuple):
    """Images, and what each should become."""

    source: Tensor  # (B, C, H, W)
    target: Tensor  # (B, C, kH, kW), k the factor of super-resolution, else 1


class Unpaired(NamedTuple):
    """Images of two domains, no two of them a pair."""

    a: Tensor  # (B, C, H, W)
    b: Tensor  # (B, C, H, W)


class UnpairedWithFakes(NamedTuple):
    """Images of two domains, and fakes of each: what CycleGAN's discriminators see."""

    a: Tensor  # (B, C, H, W)
    b: Tensor
    fake_a: Tensor
    fake_b: Tensor


class Attributed(NamedTuple):
    """Images, and which attributes each has."""

    image: Tensor  # (B, C, H, W)
    attributes: Tensor  # (B, attributes) float32, 1 where it has it, else 0


class Masked(NamedTuple):
    """Whole images, and the holes to fill in them."""

    image: Tensor  # (B, C, H, W)
    hole: Tensor  # (B, 1, H, W) bool, true where the image is hidden


class Sequences(NamedTuple):
    """Sequences of tokens, all of one length."""

    token: Tensor  # (B, T) int64, indices into the vocabulary


class Captioned(NamedTuple):
    """Images, a caption of each, and one of another image, whose text differs."""

    image: Tensor  # (B, C, H, W)
    token: Tensor  # (B, T) int64, indices into the vocabulary
    wrong: Tensor  # (B, T) int64


class Ranked(NamedTuple):
    """Queries, and which of the columns that a ranker scores are relevant to each: items to a user, or documents.

    In training all items are candidates, those that a user chose too; in evaluation all but those.
    """

    query: Tensor  # (B,) int64, users; or (B, D, F) float, what describes D documents each
    relevant: Tensor  # (B, D) uint8, the grade of relevance, 0 for none
    candidate: Tensor  # (B, D) bool, false for what must not be ranked, and where shorter lists are filled up


def central_hole(height: int, width: int) -> Tensor:
    """(height, width) bool, true in the middle of half of each side: the hole of arXiv:1604.07379."""
    hole = torch.zeros(height, width, dtype=torch.bool)
    top, left = height // 4, width // 4
    hole[top : top + max(height // 2, 1), left : left + max(width // 2, 1)] = True
    return hole


class BatchIndex(NamedTuple):
    """Which examples make one batch: a sampler yields it. The epoch keys their augmentation."""

    epoch: int
    index: list[int]
    rows: list[int] | None = None  # of the epoch's order, where they stand; None for its first ones


def differentiable(image: Tensor) -> Tensor:
    """Images as the beginning of a graph, in float32 at least."""
    return image.detach().to(torch.promote_types(image.dtype, torch.float32)).requires_grad_(True)


def size(batch: tuple) -> int:
    """The number of samples in a batch (its first tensor's rows)."""
    return batch[0].shape[0]


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device, without waiting for what the device still has to do."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def pictures(batch: tuple) -> dict[str, Tensor]:
    """The fields of a batch that have a place in the plane, (B, C, H, W): its images and masks."""
    return {name: field for name, field in zip(batch._fields, batch, strict=True) if field.ndim == 4}


def split(batch: Batch, parts: int) -> list[Batch]:
    """Cut a batch of NamedTuple form into equal consecutive parts.

    Raises:
        ValueError: the batch does not divide.
    """
    if size(batch) % parts:
        raise ValueError(f"a batch of {size(batch)} cannot be cut into {parts} equal micro-batches")
    chunks = [field.chunk(parts) for field in batch]
    return [type(batch)(*fields) for fields in zip(*chunks, strict=True)]


class _Part:
    """Which micro-batch of this process is being computed, and what the others' rows were in the rehearsal."""

    def __init__(self, index: int, count: int, rehearsed: list[list[Tensor]] | None) -> None:
        self.index, self.count, self.rehearsed = index, count, rehearsed
        self.recorded: list[Tensor] = []

    def rows_of_process(self, rows: Tensor) -> list[Tensor]:
        """The rows of every micro-batch of this process, mine alive; in a rehearsal mine stand in for all."""
        call = len(self.recorded)
        self.recorded.append(rows.detach())
        if self.rehearsed is None:
            return [rows] * self.count
        return [rows if m == self.index else self.rehearsed[m][call] for m in range(self.count)]


_part: ContextVar[_Part | None] = ContextVar("part", default=None)


@contextmanager
def part(index: int, count: int, rehearsed: list[list[Tensor]] | None) -> Iterator[list[Tensor]]:
    """Within it, :func:`gather_batch` knows its place; yields the list that `gather_batch` records its rows in."""
    current = _Part(index, count, rehearsed)
    token = _part.set(current)
    try:
        yield current.recorded
    finally:
        _part.reset(token)


def within_turn() -> bool:
    """Whether a part of a training batch is being computed: all processes then do the same."""
    return _part.get() is not None


@contextmanager
def same_on_all() -> Iterator[None]:
    """Within it rows are no part of the batch, but the same on every process: batch norm takes their own statistics."""
    token = _part.set(None)
    try:
        yield
    finally:
        _part.reset(token)


def parts() -> int:
    """How many parts the batch that is computed now has, over all processes and micro-batches."""
    here = _part.get()
    return _world() * (here.count if here else 1)


def _world() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_batch(rows: Tensor, micro_batches: int = 1) -> Tensor:
    """The rows of the whole batch, over all processes and micro-batches, in the batch's order (see the module).

    A statistic of a batch (a relativistic average, a minibatch deviation) belongs to the whole batch, not to the part
    that one process happens to see. Gradients flow through this part's own rows, multiplied by the number of parts,
    because the base class averages gradients over parts: the sum of what all parts contribute is then the gradient
    of the loss of the whole batch, exactly.

    Args:
        rows: (b, ...) of this part; every part must have the same shape. Outside of a turn all rows of this process.
        micro_batches: outside of a turn, those that the rows will be cut into.

    Returns:
        (b * parts, ...); `rows` itself where there is a single part.
    """
    here, world, count = _part.get(), _world(), parts()
    if count == 1:
        return rows
    rows = rows + (count - 1) * (rows - rows.detach())  # the value stays, the gradient is multiplied by `count`
    mine = torch.cat(here.rows_of_process(rows)) if here else rows
    if here and here.count > 1 and here.rehearsed is None:  # a rehearsal stays within the process
        return torch.cat([mine] * world)
    if world == 1:
        return mine
    gathered = [torch.empty_like(mine) for _ in range(world)]
    dist.all_gather(gathered, mine.detach().contiguous())
    gathered[dist.get_rank()] = mine
    pieces = here.count if here else micro_batches
    return torch.stack([process.unflatten(0, (pieces, -1)) for process in gathered], 1).flatten(0, 2)


def of_process(rows: Tensor, micro_batches: int = 1) -> Tensor:
    """The rows (b, ...) of this process among those (b * processes, ...) that :func:`gather_batch` gives."""
    if (world := _world()) == 1:
        return rows
    return rows.unflatten(0, (micro_batches, world, -1))[:, dist.get_rank()].flatten(0, 1)
