"""The vision transformer of DINOv2 (Oquab et al. 2023, arXiv:2304.07193), to look at images with trained weights."""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

OFFSET = 0.1  # patches more than there are, that DINOv2's own code tells the interpolation of positions
HEAD = 64  # channels of a head of attention in all sizes of DINOv2


class Attention(nn.Module):
    """Every patch looks at every other, by heads of :data:`HEAD` channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(n, tokens, width) -> the same shape."""
        query, key, value = self.qkv(x).unflatten(2, (3, -1, HEAD)).permute(2, 0, 3, 1, 4)  # (n, heads, tokens, 64)
        return self.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class LayerScale(nn.Module):
    """A factor for each channel (Touvron et al. 2021, arXiv:2103.17239)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.gamma * x


class TransformerBlock(nn.Module):
    """x + scaled attention of the norm of x, then the same with two linear layers and a GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=1e-6) for _ in range(2))
        self.attn = Attention(width)
        layers = {"fc1": nn.Linear(width, 4 * width), "act": nn.GELU(), "fc2": nn.Linear(4 * width, width)}
        self.mlp = nn.Sequential(OrderedDict(layers))
        self.ls1, self.ls2 = LayerScale(width), LayerScale(width)

    def forward(self, x: Tensor) -> Tensor:
        """(n, tokens, width) -> the same shape."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class VisionTransformer(nn.Module):
    """DINOv2 without registers: images to the class token of the last block, normalised.

    Parameters have the names and shapes of facebookresearch/dinov2 and of timm.

    Args:
        width: channels: 384 of ViT-S, 768 of ViT-B, 1024 of ViT-L; multiples of 64.
        depth: blocks: 12, 12, 24.
        patch: sides of a patch in pixels.
        grid: patches in a row of the images that the positions were learned on; of other images the positions are
            interpolated as DINOv2's own code does: bicubic, without antialiasing, by a factor that is too large by a
            tenth of a patch. (timm interpolates with antialiasing and the exact factor.)
    """

    def __init__(self, *, width: int = 1024, depth: int = 24, patch: int = 14, grid: int = 37) -> None:
        super().__init__()
        self.patch, self.grid = patch, grid
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid**2, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, patch)})
        self.blocks = nn.Sequential(*[TransformerBlock(width) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def positions(self, rows: int, columns: int) -> Tensor:
        """(1, 1 + rows * columns, width): the class token's, then those of the patches, row by row."""
        if rows == columns == self.grid:
            return self.pos_embed
        own, patches = self.pos_embed[:, :1], self.pos_embed[:, 1:].mT.unflatten(2, (self.grid, self.grid))
        scale = [(side + OFFSET) / self.grid for side in (rows, columns)]
        return torch.cat([own, F.interpolate(patches, scale_factor=scale, mode="bicubic").flatten(2).mT], 1)

    def forward(self, image: Tensor) -> Tensor:
        """(n, 3, h, w), sides multiples of `patch`, of ImageNet's mean 0 and deviation 1 -> (n, width)."""
        patches = self.patch_embed["proj"](image)
        tokens = torch.cat([self.cls_token.expand(len(image), -1, -1), patches.flatten(2).mT], 1)
        return self.norm(self.blocks(tokens + self.positions(*patches.shape[2:])))[:, 0]


def vit_arguments(state: dict[str, Tensor]) -> dict[str, int]:
    """The arguments of :class:`VisionTransformer` for the weights of one.

    Raises:
        KeyError: a tensor is missing that all have.
    """
    weight, places = state["patch_embed.proj.weight"], state["pos_embed"].shape[1] - 1
    depth = sum(name.startswith("blocks.") and name.endswith(".norm1.weight") for name in state)
    return {"width": weight.shape[0], "depth": depth, "patch": weight.shape[-1], "grid": math.isqrt(places)}
