"""What every score over features shares: how it is fed, and how several processes put together what each has seen."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics import Metric

from gan_lightning.metrics.extractor import Features
from gan_lightning.runtime.processes import meeting_place


class FeatureMetric(Metric):
    """Base of every score: real and fake images are shown as an extractor's features, by any number of processes.

    Attributes:
        names: of the figures that `compute` returns, in order.
        needs: what it compares fakes with: the real set's "gaussian", its "features", or nothing.
        classifies: whether it reads logits.
        conditional: whether it asks which classes the fakes were to be of.
        balanced: whether it is usually given as many real images as fake ones.
        settings: what its figures depend on beside the images, for the score's card.
    """

    names: tuple[str, ...]
    needs: Literal["gaussian", "features"] | None = None
    classifies = False
    conditional = False
    balanced = False
    is_differentiable = False
    full_state_update = False

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    def update(self, seen: Features, real: bool, index: Tensor | None = None) -> None:
        """Add a batch to one of the two sets.

        Args:
            seen: of the batch.
            real: which set.
            index: (B,) the samples' numbers in their set, where these came in another order than that (as they do
                on several processes); None for the next ones.
        """
        raise TypeError(f"{type(self).__name__} must define update(seen, real, index)")


def checked(rows: Tensor, kind: str, width: int) -> Tensor:
    """(B, width) rows without gradients.

    Raises:
        ValueError: another shape, NaN or infinity.
    """
    if rows.ndim != 2 or rows.shape[1] != width:
        raise ValueError(f"{kind} features must be (B, {width}), not {tuple(rows.shape)}")
    rows = rows.detach()
    if not rows.isfinite().all():
        bad = int((~rows.isfinite().all(1)).sum())
        raise ValueError(f"{bad} of {len(rows)} {kind} features are not finite: they hold NaN or infinity")
    return rows


def checked_logits(seen: Features, score: str) -> Tensor:
    """(B, K) logits, finite.

    Raises:
        ValueError: the extractor is no classifier, or they are not finite.
    """
    if seen.logits is None:
        raise ValueError(f"{score} needs a classifier, and this extractor gives no logits")
    return checked(seen.logits, "logits among the", seen.logits.shape[1])


class RowMetric(FeatureMetric):
    """Base of the scores that need every single feature vector of both sets.

    A process keeps the rows it was shown and sorts out the whole when it computes: rows stand in the order of their
    numbers, so that processes and batches make no difference.

    Args:
        dim: numbers in a feature vector.
        real: (n, dim) the real set's features, where they are known already; it is then closed for :meth:`update`.

    Raises:
        ValueError: `real` is of another dimension.
    """

    needs = "features"
    balanced = True

    def __init__(self, dim: int, real: Tensor | None = None) -> None:
        super().__init__(sync_on_compute=False)  # the rows are put together here, and a process may have none
        if real is not None and (real.ndim != 2 or real.shape[1] != dim):
            raise ValueError(f"the real set's features are {tuple(real.shape)}, the others have {dim} numbers")
        self.dim, self.real = dim, real
        for kind in ("real", "fake"):
            self.add_state(f"{kind}_rows", [], None)
            self.add_state(f"{kind}_index", [], None)

    def update(self, seen: Features, real: bool, index: Tensor | None = None) -> None:
        """See :meth:`FeatureMetric.update`.

        Raises:
            ValueError: wrong shape, NaN or infinity, or real features where the real set was given.
        """
        kind = "real" if real else "fake"
        if real and self.real is not None:
            raise ValueError("the real set was given: it takes no further features")
        # A copy: a view, such as one token of a transformer's output, would keep all of that in memory.
        rows = checked(seen.pooled, kind, self.dim).to(
            self.device, torch.float32, copy=True, memory_format=torch.contiguous_format
        )
        kept, numbers = getattr(self, f"{kind}_rows"), getattr(self, f"{kind}_index")
        if index is None:
            first = sum(map(len, numbers))
            index = torch.arange(first, first + len(rows))
        kept.append(rows)
        numbers.append(index.to(self.device))

    def rows(self, real: bool) -> Tensor:
        """(n, dim) float32, one set over all processes in the order of its numbers; every process must call."""
        if real and self.real is not None:
            return self.real.to(self.device)
        kind = "real" if real else "fake"
        empty = torch.empty(0, self.dim, device=self.device), torch.empty(0, dtype=torch.int64, device=self.device)
        rows = torch.cat([empty[0], *getattr(self, f"{kind}_rows")])
        index = torch.cat([empty[1], *getattr(self, f"{kind}_index")])
        rows, index = gathered(rows), gathered(index)
        return rows[index.argsort()]

    def compute(self) -> Any:
        """What the subclass makes of :meth:`both`; of this class the rows themselves."""
        return self.both()

    def both(self) -> tuple[Tensor, Tensor]:
        """The real and the fake rows.

        Raises:
            ValueError: a set of fewer than two.
        """
        sets = self.rows(True), self.rows(False)
        for kind, rows in zip(("real", "fake"), sets, strict=True):
            if len(rows) < 2:
                raise ValueError(f"{type(self).__name__} needs at least 2 {kind} features, there are {len(rows)}")
        return sets


def gathered(rows: Tensor) -> Tensor:
    """The rows of all processes, which may have different numbers of them, none too."""
    if not (dist.is_available() and dist.is_initialized()):
        return rows
    device = meeting_place(rows.device)
    counts = [torch.zeros((), dtype=torch.int64, device=device) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, torch.tensor(len(rows), device=device))
    padded = torch.zeros(int(max(counts)), *rows.shape[1:], dtype=rows.dtype, device=device)
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[: int(count)] for part, count in zip(parts, counts, strict=True)]).to(rows.device)


def total(state: Tensor, group: dist.ProcessGroup | None = None) -> list[Tensor]:
    """The sum of a state over processes, as a list of one: the memory of one state, where gathering takes one each."""
    summed = state.to(meeting_place(state.device), copy=True)
    dist.all_reduce(summed, group=group)
    return [summed.to(state.device)]
