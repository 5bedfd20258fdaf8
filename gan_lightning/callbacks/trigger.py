"""When something happens again during training."""

from __future__ import annotations


def passed(every: int | None, before: int, now: int) -> bool:
    """Whether a multiple of `every` lies in (before, now]; never for None.

    Generator steps stay where they are during a critic's extra batches, so being at a multiple is not enough.
    """
    return every is not None and now // every > before // every
