"""Where handwritten digits come from, for the sets that are made of them."""

from __future__ import annotations

from typing import Literal

from gan_lightning.data.digits import Digits
from gan_lightning.data.mnist import MNIST
from gan_lightning.runtime.sizes import Size

Source = Literal["digits", "mnist"]


def handwritten(source: Source, root: str | None, size: Size | None, enlarged: int = 32) -> Digits | MNIST:
    """scikit-learn's handwritten digits, or MNIST's.

    Args:
        source: which of the two.
        root: MNIST's folder, as for :class:`MNIST`; None for scikit-learn's.
        size: of the images; None for the size below.
        enlarged: size of scikit-learn's digits if no other is given; MNIST's have 28.

    Raises:
        ValueError: another source, or a root for scikit-learn's digits.
    """
    if source == "mnist":
        return MNIST(28 if size is None else size, root)
    if source != "digits":
        raise ValueError(f'source must be "digits" (scikit-learn\'s) or "mnist", not {source!r}')
    if root is not None:
        raise ValueError("root is MNIST's folder: add --data.source mnist, or leave --data.root out")
    return Digits(enlarged if size is None else size)
