"""What the layouts of several programs have in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]  # of one network, by its names in a file
Arguments = dict[str, Any]  # of a network of ours; sides of `image_shape` that no tensor shows are None
STATISTICS = re.compile(r"\.(running_mean|running_var|num_batches_tracked)$")  # of norms


def renamed(weights: Weights, *rules: tuple[str, str | Callable[[re.Match], str]]) -> dict[str, Tensor]:
    """Weights by other names: patterns are replaced in this order."""
    found = {}
    for name, value in weights.items():
        for pattern, ours in rules:
            name = re.sub(pattern, ours, name)
        found[name] = value
    return found


def without(weights: Weights, pattern: re.Pattern) -> dict[str, Tensor]:
    """Weights but for those whose name a pattern finds."""
    return {name: value for name, value in weights.items() if not re.search(pattern, name)}


def count(weights: Weights, pattern: str) -> int:
    """How many names match a pattern from the first letter to the last."""
    return sum(bool(re.fullmatch(pattern, name)) for name in weights)


def counted(weights: Weights) -> dict[str, Tensor]:
    """Weights with the counters of batches that torch's batch norm has and the file does not."""
    means = [name for name in weights if name.endswith(".running_mean")]
    counters = {name.replace("running_mean", "num_batches_tracked"): torch.tensor(0) for name in means}
    return {**counters, **weights}
