"""Numbers that buffers hold, known to the host without waiting for the device."""

from __future__ import annotations

import torch
from torch import Tensor


class Mirror:
    """What a buffer of one number holds: the device is asked only after another hand has changed it.

    Checkpoints, averages and copies write to buffers; what is written here is known already.
    """

    def __init__(self) -> None:
        self._read: tuple[Tensor | None, int, float] = (None, -1, 0.0)

    def __deepcopy__(self, memo: dict) -> Mirror:
        return Mirror()  # a copied buffer counts its changes anew

    def set(self, buffer: Tensor, value: float) -> None:
        """Write a number that the buffer's type holds exactly."""
        buffer.fill_(value)
        self._read = buffer, buffer._version, value

    def value(self, buffer: Tensor) -> float:
        """The buffer's number, of Python's type for it."""
        read, version, value = self._read
        if torch.compiler.is_exporting():  # the buffer is a stand-in without numbers: the last known one counts
            return value
        if read is not buffer or version != buffer._version:
            value = buffer.item()
            self._read = buffer, buffer._version, value
        return value
