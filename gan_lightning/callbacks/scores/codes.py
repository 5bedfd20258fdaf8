"""Scores of a binary code, and the same scores of linear codes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from gan_lightning import metrics
from gan_lightning.callbacks.scores.base import Measured, ScheduledScore, When, held_out
from gan_lightning.core import AdversarialModule
from gan_lightning.runtime.processes import from_first, together


class CodeScores(ScheduledScore):
    """How independent the units of a binary code are, and what the code keeps of the validation images.

    A unit is on where its value is above 1/2. The figures:

    - `pairwise_mi` and `pairwise_mi_max`: the mean and the greatest mutual information of two units, in bits.
    - `total_correlation` and `code_entropy`: of all units together, in bits.
    - `reconstruction`: the mean squared error of images, in [-1, 1], that are reconstructed from the code words by
      :func:`metrics.readout_error`.
    - `recovered`, only where the data knows the causes of its images: the share of examples whose causes a table of
      code words gives back.
    - `unexplained`, only where the data knows the causes: the entropy of the causes given the code, in bits.
    - `reconstruction/decoder`, only where the model has a decoder: the error of the decoder, from codes that are not
      rounded.

    Each figure but the last exists with "/pca" and "/ica" too: for the code of as many components of PCA and FastICA,
    fitted to training examples (:func:`metrics.linear_code`). The information figures are plug-in estimates; the card
    gives the bias of the estimate for two independent units.

    Args:
        when: when the scores are taken.
        linear_examples: number of training examples, from the first on, for PCA and FastICA; 0 leaves both out.

    Raises:
        ValueError: at construction, a negative number of examples; in `check`, a model without codes, data without
            images, or fewer than two validation images.
    """

    def __init__(self, when: When = When(), linear_examples: int = 10_000) -> None:
        super().__init__(when)
        if linear_examples < 0:
            raise ValueError(f"CodeScores' linear_examples must not be negative, and is {linear_examples}")
        self.linear_examples = linear_examples
        self._linear: dict[str, Tensor] = {}  # bits of the linear codes, which do not change in training

    def check(self, module: AdversarialModule, data: Any) -> None:
        super().check(module, data)
        if getattr(module, "scored_by", "") != type(self).__name__:
            raise ValueError(f"CodeScores needs a model that makes codes, which {type(module).__name__} does not")
        if data.image_shape is None or len(data.reference("val")) < 2:
            raise ValueError("CodeScores needs data with images for validation, at least two")
        self._linear = {}

    def compute(self, module: AdversarialModule, data: LightningDataModule) -> Measured:
        with together():
            image, label = _examples(data, "val")
            causes = data.bits(label) if hasattr(data, "bits") else None
        codes = {"": metrics.bits_of(_by_parts(module, module.encode, image))}
        units = codes[""].shape[1]
        if self.linear_examples and not self._linear:
            train, _ = _examples(data, "train", self.linear_examples)
            for kind in ("pca", "ica"):
                with together():
                    self._linear[kind] = metrics.linear_code(kind, train, image, units)
        codes |= {f"/{kind}": bits for kind, bits in self._linear.items()}
        figures = {}
        for suffix, bits in codes.items():
            with together():
                figures |= {f"{name}{suffix}": value for name, value in code_figures(bits, image, causes).items()}
        if getattr(module, "decoder", None) is not None:
            made = _by_parts(module, module.reconstruct, image)
            figures["reconstruction/decoder"] = float((made.double() - image.double()).square().mean())
        return from_first(figures), held_out(data) | {
            "linear_examples": self.linear_examples,
            "examples": len(image),
            "units": units,
            "bias": 1 / (2 * len(image) * math.log(2)),  # of the mutual information of two independent bits
            "data_entropy": metrics.entropy(image.flatten(1) if causes is None else causes),
        }


def code_figures(bits: Tensor, image: Tensor, causes: Tensor | None) -> dict[str, float]:
    """The figures of one code (n, units) bool of images (n, C, H, W), and of their causes (n, causes) where known."""
    mean, greatest = metrics.pairwise_information(bits)
    figures = {
        "pairwise_mi": mean,
        "pairwise_mi_max": greatest,
        "total_correlation": metrics.total_correlation(bits),
        "code_entropy": metrics.entropy(bits),
        "reconstruction": metrics.readout_error(bits, image),
    }
    if causes is not None:
        figures["recovered"] = metrics.recovered(bits, causes)
        figures["unexplained"] = metrics.conditional_entropy(causes, bits)
    return figures


def _examples(data: Any, split: str, count: int | None = None) -> tuple[Tensor, Tensor]:
    """The first images of a split, floats in [-1, 1] (n, C, H, W), and labels (n,)."""
    examples = data.reference(split)
    index = list(range(min(count or len(examples), len(examples))))
    batch = data.on_after_batch_transfer(examples.__getitems__(index), 0)
    return batch.image.float(), batch.label


def _by_parts(module: AdversarialModule, function: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """What a model's function makes of images, a thousand at a time, on the CPU."""
    made = []
    for part in image.split(1000):
        with together():
            made.append(function(part.to(module.device)).cpu())
    return torch.cat(made)
