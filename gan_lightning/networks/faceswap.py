"""The auto-encoder of face swapping: one encoder for both faces, a decoder for each (deepfakes, 2017; no paper)."""

from __future__ import annotations

from torch import Tensor, nn

SLOPE = 0.1  # of every LeakyReLU


def _shuffled(before: int, after: int) -> list[nn.Module]:
    """Twice the size: a convolution to four times the channels, whose pixels then stand side by side."""
    return [nn.Conv2d(before, 4 * after, 3, padding=1), nn.LeakyReLU(SLOPE), nn.PixelShuffle(2)]


class FaceEncoder(nn.Module):
    """Four 5x5 convolutions with stride 2, two linear layers, one doubling; 64 px -> 512 maps of 8.

    The linear layers mix all places, so that the code is of the whole face.

    Args:
        image_shape: (channels, height, width); sides must be multiples of 16.
        width: channels of the first layer, doubled by each further one.
        code: units between the linear layers.

    Raises:
        ValueError: a side that is no multiple of 16.
    """

    def __init__(self, image_shape: tuple[int, int, int], *, width: int = 128, code: int = 1024) -> None:
        super().__init__()
        channels, height, breadth = image_shape
        if height % 16 or breadth % 16:
            raise ValueError(f"FaceEncoder halves four times: sides must be multiples of 16, not {height}x{breadth}")
        layers: list[nn.Module] = []
        for before, after in zip((channels, width, 2 * width, 4 * width), (1, 2, 4, 8), strict=True):
            layers += [nn.Conv2d(before, after * width, 5, 2, 2), nn.LeakyReLU(SLOPE)]
        maps = (8 * width, height // 16, breadth // 16)
        flat = maps[0] * maps[1] * maps[2]
        mixed = [nn.Flatten(), nn.Linear(flat, code), nn.Linear(code, flat), nn.Unflatten(1, maps)]
        self.layers = nn.Sequential(*layers, *mixed, *_shuffled(8 * width, 4 * width))

    def forward(self, image: Tensor) -> Tensor:
        """(n, *image_shape) -> (n, 4 * width, height / 8, width / 8)."""
        return self.layers(image)


class FaceDecoder(nn.Module):
    """Three doublings and a 5x5 convolution; the output is sigmoid(x), here as tanh(x / 2) in [-1, 1].

    Args:
        channels: of images.
        width: of the encoder: 4, 2, 1 and 0.5 times as many channels.
    """

    def __init__(self, channels: int, *, width: int = 128) -> None:
        super().__init__()
        sizes = [4 * width, 2 * width, width, width // 2]
        ups = [layer for before, after in zip(sizes, sizes[1:], strict=False) for layer in _shuffled(before, after)]
        self.layers = nn.Sequential(*ups, nn.Conv2d(sizes[-1], channels, 5, padding=2))

    def forward(self, code: Tensor) -> Tensor:
        """(n, 4 * width, h, w) -> (n, channels, 8 h, 8 w) in [-1, 1]."""
        return (self.layers(code) / 2).tanh()


class FaceSwapper(nn.Module):
    """A shared encoder and two decoders.

    Args:
        image_shape: (channels, height, width); sides must be multiples of 16.
        width: channels of the encoder's first layer.
        code: units that the encoder narrows to.
    """

    multiple = 16

    def __init__(self, image_shape: tuple[int, int, int], *, width: int = 128, code: int = 1024) -> None:
        super().__init__()
        self.encoder = FaceEncoder(image_shape, width=width, code=code)
        self.decoders = nn.ModuleList(FaceDecoder(image_shape[0], width=width) for _ in range(2))

    def forward(self, image: Tensor, who: int) -> Tensor:
        """(n, *image_shape), anyone's -> the same faces as those of identity `who`, 0 or 1."""
        return self.decoders[who](self.encoder(image))
