"""DINOv2's features, which agree with people's judgement better than Inception's do (Stein et al. 2023)."""

from __future__ import annotations

import hashlib
from pathlib import Path

from torch import Tensor
from torch.nn import functional as F

from gan_lightning.metrics.extractor import Extractor, Features, fit_weights
from gan_lightning.metrics.images import to_uint8
from gan_lightning.networks.features import Normalised
from gan_lightning.networks.vit import VisionTransformer, vit_arguments
from gan_lightning.runtime import published
from gan_lightning.runtime.errors import one_line

SIZE = 224  # height and width that the network is given
SIZES = {384: "DINOv2-S", 768: "DINOv2-B", 1024: "DINOv2"}  # by width; the paper's is ViT-L
WHERE = "a file such as dinov2_vitl14_pretrain.pth of github.com/facebookresearch/dinov2, or a model of timm"


class DINOv2(Extractor):
    """The class token of DINOv2 (arXiv:2304.07193), whose Fréchet distance is FD-DINOv2 (arXiv:2306.04675).

    As in the published code (layer6ai-labs/dgm-eval, without its `--clean_resize`): ViT-L/14, images at 224 px by
    Pillow's bicubic filter, ImageNet's mean and deviation. With ViT-S or ViT-B scores are called FD-DINOv2-S and
    FD-DINOv2-B: they are others.

    Args:
        weights: a file of facebookresearch/dinov2 or of timm, by `torch.save` or safetensors; or, where timm is
            installed, the name of a model of it, such as vit_large_patch14_dinov2.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds something else, such as the variant with registers or ViT-g; or timm is missing.
    """

    resizer, distance = "bicubic-antialias-224", "FD"
    channels = (1, 3)
    fetched_by_name = ("weights",)  # a checkpoint may not name what timm would download

    def __init__(self, weights: str | Path | None = None) -> None:
        if weights is None:
            raise FileNotFoundError(f"DINOv2 needs its `weights`: name {WHERE}")
        state, digest = _state(weights)
        if "register_tokens" in state or "reg_token" in state:
            raise ValueError(f"DINOv2: {weights} is of the variant with registers: FD-DINOv2 is of the one without")
        try:
            network = VisionTransformer(**vit_arguments(state))
        except (KeyError, IndexError) as error:
            raise ValueError(f"DINOv2: {weights} holds the weights of another network (no {error})") from error
        fit_weights(network, state, "DINOv2", weights)
        super().__init__(network, digest)
        self.feature_dim = network.norm.weight.numel()
        self.name = SIZES.get(self.feature_dim, f"DINOv2-{self.feature_dim}")
        self.normalised = Normalised()

    def look(self, images: Tensor) -> Features:
        return Features(self.network(self.normalised(resize_like_pillow(to_uint8(images)) / 255)))


def resize_like_pillow(images: Tensor, size: int = SIZE) -> Tensor:
    """Images (B, C, H, W) uint8 at (B, C, size, size), float32: bicubic along rows, to bytes, and along columns.

    What is above white after the first goes no further, as in Pillow; few pixels differ, by a grey level or two.
    """
    x = images.float()
    for sides in ((x.shape[2], size), (size, size)):
        if x.shape[2:] != sides:
            x = F.interpolate(x, sides, mode="bicubic", antialias=True).round().clamp(0, 255)
    return x


def _state(weights: str | Path) -> tuple[dict[str, Tensor], str | None]:
    """The weights of a file or of timm, and the SHA-256 of the file."""
    path = Path(weights).expanduser()
    if path.is_file():
        state, digest = published.read(path).tensors, hashlib.sha256(path.read_bytes()).hexdigest()
    elif str(weights).startswith("vit_"):
        state, digest = _of_timm(str(weights)), None
    else:
        raise FileNotFoundError(f"DINOv2: there is no weights file {weights}: name {WHERE}")
    return {name: value for name, value in state.items() if name != "mask_token"}, digest  # of its training alone


def _of_timm(name: str) -> dict[str, Tensor]:
    try:
        import timm
    except ImportError as error:
        raise ValueError(f"DINOv2: {name} is a model of timm, which is not installed: pip install timm") from error
    try:
        return timm.create_model(name, pretrained=True, num_classes=0).state_dict()
    except (RuntimeError, OSError) as error:
        raise ValueError(f"DINOv2: timm cannot make {name} ({one_line(error, 80)})") from error
