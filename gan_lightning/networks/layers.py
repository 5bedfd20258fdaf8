"""What several networks share: the sizes they build and spectral normalisation."""

from __future__ import annotations

from torch import nn
from torch.nn.utils import parametrizations


def pyramid(name: str, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """How to reach a size by doubling: (doublings, height, width to start from), the shorter start in 4 .. 7.

    Raises:
        ValueError: no such start; the message names the nearest sizes that do.
    """
    _, height, width = image_shape
    short = min(height, width)
    doublings = max(0, (short // 4).bit_length() - 1)
    step = 2**doublings
    if doublings == 0 or height % step or width % step:
        near = sorted({start * 2**k for start in range(4, 8) for k in range(1, 9)}, key=lambda s: (abs(s - short), s))
        raise ValueError(
            f"{name} cannot build {height}x{width} images: the size must be 4, 5, 6 or 7 times a power of two "
            f"(nearest: {near[0]}, {near[1]}); set the data's size or choose another network"
        )
    return doublings, height // step, width // step


def maybe_spectral(layer: nn.Module, wanted: bool) -> nn.Module:
    """The layer with its weight divided by its largest singular value (Miyato et al. 2018, arXiv:1802.05957).

    One power iteration for each forward pass in training mode, none in evaluation mode.
    """
    return parametrizations.spectral_norm(layer, n_power_iterations=1) if wanted else layer


def normal_init(module: nn.Module, std: float = 0.02) -> None:
    """Weights from N(0, std), batch norm gains from N(1, std), biases 0: DCGAN's (arXiv:1511.06434, section 4)."""
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(layer.weight, 0.0, std)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, std)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
