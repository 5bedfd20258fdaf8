"""What a discriminator has learned of images: a linear classifier on its features (Radford et al. 2016,
arXiv:1511.06434, section 5.1)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

GRID = 4  # cells a side that each layer's map is pooled to
STRENGTHS = tuple(10.0**power for power in range(-2, 5))  # of the support vector machine: C times the images


class ProbeFeatures:
    """The output of every convolution of a discriminator, rectified as it is there (or with LeakyReLU 0.2), pooled by
    maximum to 4x4 cells and concatenated, as in the paper.

    Args:
        discriminator: any network with convolutions; used in evaluation mode.

    Raises:
        ValueError: it has no convolution whose map is at least 4x4.
    """

    def __init__(self, discriminator: nn.Module) -> None:
        self.network = discriminator
        kinds = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SiLU)
        self.layers = [layer for layer in discriminator.modules() if isinstance(layer, kinds)]
        if not self.layers:  # activations that are functions: the convolutions before them
            self.layers = [layer for layer in discriminator.modules() if isinstance(layer, nn.Conv2d)]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """(B, D) float32 of images (B, C, H, W) in [-1, 1]."""
        maps: list[Tensor] = []

        def keep(layer: nn.Module, inputs: tuple, output: Tensor) -> None:
            if output.ndim == 4 and min(output.shape[2:]) >= GRID:
                activated = F.leaky_relu(output, 0.2) if isinstance(layer, nn.Conv2d) else output
                maps.append(F.adaptive_max_pool2d(activated, GRID).flatten(1))

        hooks = [layer.register_forward_hook(keep) for layer in self.layers]
        training = self.network.training
        try:
            self.network.eval()(images)
        finally:
            self.network.train(training)
            for hook in hooks:
                hook.remove()
        if not maps:
            raise ValueError(f"a linear probe needs convolutions, and {type(self.network).__name__} has none")
        return torch.cat(maps, 1).float()


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
