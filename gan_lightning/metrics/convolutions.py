"""What the convolutions of a network respond to images."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

LEAST = 4  # a side of a map that counts


def rectified_maps(network: nn.Module, keep: Callable[[Tensor], Tensor], *inputs: Tensor) -> list[Tensor]:
    """What is kept of the output of every convolution, rectified as it is in the network, or with LeakyReLU 0.2 where
    activations are functions; in evaluation mode, in the order of the computation.

    Args:
        network: any network with convolutions; it is left as it is.
        keep: what is kept of a map (B, K, h, w) of at least 4x4.
        inputs: of the network, the first one images (B, C, H, W).

    Raises:
        ValueError: it has no convolution whose map is at least 4x4.
    """
    rectifiers = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SiLU)
    layers = [layer for layer in network.modules() if isinstance(layer, rectifiers)]
    layers = layers or [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    kept: list[Tensor] = []

    def look(layer: nn.Module, _: tuple, output: Tensor) -> None:
        if output.ndim == 4 and min(output.shape[2:]) >= LEAST:
            output = output[-len(inputs[0]) :]  # after those of a reference batch
            kept.append(keep(F.leaky_relu(output, 0.2) if isinstance(layer, nn.Conv2d) else output))

    hooks = [layer.register_forward_hook(look) for layer in layers]
    modes = {layer: layer.training for layer in network.modules()}
    try:
        network.eval()(*inputs)
    finally:
        for layer, training in modes.items():
            layer.training = training
        for hook in hooks:
            hook.remove()
    if not kept:
        maps = f"whose maps are at least {LEAST}x{LEAST}"
        raise ValueError(f"it needs convolutions (Conv2d) {maps}, and {type(network).__name__} has none")
    return kept
