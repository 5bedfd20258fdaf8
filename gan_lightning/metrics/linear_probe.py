"""What a discriminator has learned of images: a linear classifier on its features (Radford et al. 2016,
arXiv:1511.06434, section 5.1)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_lightning.metrics.convolutions import rectified_maps

GRID = 4  # cells a side that each layer's map is pooled to
STRENGTHS = tuple(10.0**power for power in range(-2, 5))  # of the support vector machine: C times the images


@torch.no_grad()
def probe_features(discriminator: nn.Module, images: Tensor) -> Tensor:
    """(B, D) float32 of images (B, C, H, W) in [-1, 1]: the output of every convolution, rectified, pooled by maximum
    to 4x4 cells and concatenated, as in the paper; see :func:`rectified_maps`.

    Raises:
        ValueError: the discriminator has no convolution whose map is at least 4x4.
    """
    cells = rectified_maps(discriminator, lambda maps: F.adaptive_max_pool2d(maps, GRID).flatten(1), images)
    return torch.cat(cells, 1).float()


def linear_probe(train: Tensor, train_label: Tensor, test: Tensor, test_label: Tensor) -> tuple[float, float]:
    """Accuracy on the test set of a linear L2 support vector machine, and its penalty C.

    Features are scaled to unit deviation. C, in proportion to the number of images, is chosen on 2,000 of the training
    images, a fifth of them held out for it: it is raised until they lose.

    Args:
        train, test: (N, D).
        train_label, test_label: (N,) int64.
    """
    from sklearn.svm import LinearSVC  # here, because it takes a second to import

    mean, deviation = train.mean(0), train.std(0).clamp(min=1e-6)
    x, x_test = ((part - mean).div(deviation).numpy() for part in (train, test))
    y, y_test = train_label.numpy(), test_label.numpy()

    def fitted(strength: float, rows: np.ndarray) -> LinearSVC:
        machine = LinearSVC(C=strength / len(rows), dual="auto", random_state=0, max_iter=200, tol=1e-2)
        return machine.fit(x[rows], y[rows])

    few = np.arange(0, len(x), max(1, len(x) // 2000))  # all over the set, which may be sorted by class
    held, others = few[::5], np.setdiff1d(few, few[::5])
    chosen, best, losses = STRENGTHS[0], 0.0, 0  # losses: strengths in a row that were worse than the best
    for strength in STRENGTHS:
        score = fitted(strength, others).score(x[held], y[held])
        if score >= best:
            chosen, best, losses = strength, score, 0
        else:
            losses += 1
        if losses == 2:  # the greater ones take long to converge
            break
    return float(fitted(chosen, np.arange(len(x))).score(x_test, y_test)), chosen / len(x)
