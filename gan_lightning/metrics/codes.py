"""How far binary codes are from factorial, and what they keep: all of counts, in bits.

These are plug-in estimates: the observed frequencies stand for the probabilities. Of n samples they find information
where there is none: about 1 / (2 n ln 2) bits between two independent bits, and (2^k - k - 1) / (2 n ln 2) bits of
total correlation among k uniform ones, while there are many more samples than words (Miller 1955). Of a set with more
words than n samples can show, entropies are below log2 n whatever the truth is.
"""

from __future__ import annotations

import math
import warnings
from typing import Literal

import numpy as np
import torch
from torch import Tensor


def bits_of(code: Tensor) -> Tensor:
    """(n, units) bool: which units of codes in [0, 1] are on, above 1/2."""
    return code > 0.5


def _entropy_of(share: Tensor, dim: int | tuple[int, ...] = -1) -> Tensor:
    return -torch.special.xlogy(share, share).sum(dim) / math.log(2)


def entropy(rows: Tensor) -> float:
    """The entropy of the distinct rows of (n, k), of any type, in bits: from 0 to log2 n."""
    count = rows.unique(dim=0, return_counts=True)[1]
    return float(_entropy_of(count.double() / len(rows)))


def conditional_entropy(rows: Tensor, given: Tensor) -> float:
    """What is left of the entropy of rows (n, k) where the rows of (n, l) are known, in bits."""
    numbered = [part.unique(dim=0, return_inverse=True)[1] for part in (rows, given)]
    return max(entropy(torch.stack(numbered, 1)) - entropy(given), 0.0)


def mutual_information(bits: Tensor) -> Tensor:
    """(units, units) float64, between each two of the columns of (n, units) bool, in bits; the entropies on its
    diagonal."""
    on = bits.double()
    n, off = len(bits), 1 - on
    joint = torch.stack([a.T @ b for a in (off, on) for b in (off, on)]) / n  # (4, units, units)
    one = _entropy_of(torch.stack([off.mean(0), on.mean(0)]), 0)
    return (one[:, None] + one - _entropy_of(joint, 0)).clamp(min=0)


def pairwise_information(bits: Tensor) -> tuple[float, float]:
    """Mean and greatest mutual information between two different units of (n, units) bool, in bits.

    Raises:
        ValueError: fewer than two units.
    """
    units = bits.shape[1]
    if units < 2:
        raise ValueError(f"pairs need at least two units, not {units}")
    first, second = torch.triu_indices(units, units, 1)
    pairs = mutual_information(bits)[first, second]
    return float(pairs.mean()), float(pairs.max())


def total_correlation(bits: Tensor) -> float:
    """The sum of the units' entropies less that of the whole code (Watanabe 1960), in bits: 0 for a factorial code."""
    return max(float(mutual_information(bits).diagonal().sum()) - entropy(bits), 0.0)


def recovered(bits: Tensor, causes: Tensor) -> float:
    """Share of examples whose causes a table from code words gives back, all of them.

    The table holds for each word the commonest combination of causes among the examples of even number, and is asked
    for those of odd number; a word that it does not hold counts as wrong.

    Args:
        bits: (n, units) bool, n at least 2.
        causes: (n, causes).
    """
    word, cause = (part.unique(dim=0, return_inverse=True)[1] for part in (bits, causes))
    together = torch.zeros(int(word.max()) + 1, int(cause.max()) + 1, dtype=torch.int64)
    together.index_put_((word[::2], cause[::2]), torch.ones_like(word[::2]), accumulate=True)
    known, answer = together.amax(1) > 0, together.argmax(1)
    return float((known[word[1::2]] & (answer[word[1::2]] == cause[1::2])).double().mean())


def readout_error(bits: Tensor, image: Tensor) -> float:
    """Mean squared error of images that are read out of code words.

    A word's image is the mean of its examples of even number, drawn to what affine least squares on the bits says as
    if by one example more (which is all where a word is new); the error is that of the examples of odd number.

    Args:
        bits: (n, units) bool, n at least 2.
        image: (n, ...).
    """
    x = torch.cat([bits.double(), torch.ones(len(bits), 1, dtype=torch.float64)], 1)
    target = image.flatten(1).double()
    affine = x @ torch.linalg.lstsq(x[::2], target[::2], driver="gelsd").solution  # the driver for constant bits
    word = bits.unique(dim=0, return_inverse=True)[1]
    size = int(word.max()) + 1
    count = torch.bincount(word[::2], minlength=size).double()[:, None]
    sums = torch.zeros(size, target.shape[1], dtype=torch.float64).index_add_(0, word[::2], target[::2])
    made = (sums[word] + affine) / (count[word] + 1)
    return float((made - target)[1::2].square().mean())


def linear_code(kind: Literal["pca", "ica"], train: Tensor, test: Tensor, units: int) -> Tensor:
    """(n, units) bool, codes of test images by scikit-learn's PCA or FastICA: which components exceed their mean.

    The mean, which is zero, cuts two-valued components between their values, where the median, of unequal causes,
    lies on the greater one. There are fewer units where the images, numbers that never vary aside, have a lower rank:
    what is beyond it would be noise of rounding.

    Args:
        train, test: (N, ...) and (n, ...), what the components are fitted to and what is coded.
        units: how many components.
    """
    from sklearn.decomposition import PCA, FastICA  # here, because it takes a second to import
    from sklearn.exceptions import ConvergenceWarning

    varies = (train.flatten(1) != train.flatten(1)[0]).any(0)  # scikit-learn would make NaN of the others
    fitted, coded = (part.flatten(1)[:, varies].double().numpy() for part in (train, test))
    units = min(units, int(np.linalg.matrix_rank((fitted - fitted.mean(0)).astype(np.float32))))
    if not units:
        return torch.zeros(len(test), 0, dtype=torch.bool)
    if kind == "pca":
        components = PCA(units, svd_solver="full").fit(fitted)
    else:
        components = FastICA(units, whiten="unit-variance", max_iter=1000, random_state=0)
        with warnings.catch_warnings():  # images need not be a mixture; what was reached is compared
            warnings.simplefilter("ignore", ConvergenceWarning)
            components.fit(fitted)
    return torch.from_numpy(components.transform(coded)) > 0
