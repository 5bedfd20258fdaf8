"""Image files of every kind that Pillow reads, and .npy arrays, as upright pixels; one that is cut off is refused."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from gan_lightning.data.levels import FULL, as_levels, greatest, scaled, with_channels, with_white
from gan_lightning.runtime.errors import DataError, one_line, printable
from gan_lightning.runtime.layout import ARRAYS
from gan_lightning.runtime.reading import Reading, opened, opened_array
from gan_lightning.runtime.sizes import Sides, Size, largest_crop, middle, sides_of

Reduction = Callable[[Sides], int]  # by how much a JPEG of a height and width may be decoded smaller
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # of Pillow's pictures, by channels; an array may have any number
ORIENTATION = 0x0112  # the EXIF tag
SIDEWAYS = {5, 6, 7, 8}  # its values that exchange height and width
BITS_PER_SAMPLE = 258  # the TIFF tag
END_OF_JPEG = b"\xff\xd9"
ENDS = {"JPEG": END_OF_JPEG, "PNG": b"IEND\xaeB`\x82"}
# Eight times 256 bytes that a JPEG decoder takes for pixels where some are missing, each with a restart marker.
FILLER = b"".join(bytes(range(255)) + bytes([0xFF, 0xD0 + number]) for number in range(8))
# OpenCV's flags for a JPEG at a part of its size; those of colour have one more bit.
REDUCED = {
    1: cv2.IMREAD_GRAYSCALE,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
MISSING = {127, 128}  # what it makes of missing pixels: the middle of the range, or of the inverted range of inks

cv2.setNumThreads(0)  # loader processes are what reads in parallel; OpenCV's own threads do not survive a fork
Image.MAX_IMAGE_PIXELS = None  # `Reading.max_pixels` is the limit, and refuses where Pillow's own would warn


def require_channels(channels: int) -> None:
    """Refuse what no image file gives.

    Raises:
        ValueError: another number of channels than 1, 3 or 4.
    """
    if channels not in MODES:
        raise ValueError(f"channels must be 1 (grey), 3 (RGB) or 4 (RGBA), not {channels}")


def reduction_of(own: Sides, wanted: Sides) -> int:
    """By how much a JPEG may be decoded smaller, 8, 4, 2 or 1: to exactly the size that is wanted, or twice that.

    With less than twice, what is left to resize blurs what the decoder has averaged.
    """
    for by in (8, 4, 2):
        have = [(side / by, want) for side, want in zip(own, wanted, strict=True)]
        if all(side == want for side, want in have) or all(side >= 2 * want for side, want in have):
            return by
    return 1


def read_pixels(
    path: Path,
    channels: int,
    reading: Reading = Reading(),
    fast: bool = False,
    reduction: Reduction | None = None,
) -> np.ndarray:
    """A picture as (height, width, channels), upright: uint8, or uint16 where the file has more levels than 256.

    The first frame of a file counts; what is transparent shows white, unless the picture keeps its alpha channel (4
    channels); CMYK and palettes are converted. An array (.npy) is (height, width), (height, width, channels) or, where
    only that fits, (channels, height, width), and its channels are never converted. Levels of 16 bits and floats fill 0
    to 65535, their white at the end.

    Args:
        path: the file.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA); of an array any number.
        reading: which level is white, and how many pixels are too many.
        fast: by OpenCV where it knows the kind: twice as fast, and the same pixels, but only for files that Pillow has
            read before: OpenCV reads some that Pillow refuses.
        reduction: with `fast`, see :func:`reduction_of`: the decoder averages within its blocks, in a fraction of the
            time.

    Raises:
        DataError: naming the file: it is not there, is no image, is cut off, has several pages, too many pixels or
            other channels, or holds numbers whose white is not given.
    """
    try:
        if path.suffix.lower() == ARRAYS:
            return _of_array(opened_array(path), channels, reading)
        return _of_image(path.read_bytes(), channels, reading, fast, reduction)
    except Exception as error:  # a damaged file fails in as many ways as there are formats
        raise DataError(f"{printable(path)} cannot be read: {_reason(error)}") from None


def pixels_of(
    content: bytes,
    name: str,
    channels: int,
    reading: Reading = Reading(),
    fast: bool = False,
    reduction: Reduction | None = None,
) -> np.ndarray:
    """The same of a file's content that is in memory; its name says whether it is an array, and stands in messages."""
    try:
        if name.lower().endswith(ARRAYS):
            return _of_array(opened_array(io.BytesIO(content)), channels, reading)
        return _of_image(content, channels, reading, fast, reduction)
    except Exception as error:
        raise DataError(f"{printable(name)} cannot be read: {_reason(error)}") from None


def _of_image(content: bytes, channels: int, reading: Reading, fast: bool, reduction: Reduction | None) -> np.ndarray:
    """The pixels of an image file, (height, width, channels).

    Raises:
        Exception: any, of a file that is damaged.
    """
    with opened(io.BytesIO(content)) as file:  # reads the header only
        _refuse_large(file.height, file.width, reading)
        if channels not in MODES:
            raise ValueError(f"{channels} channels come from {ARRAYS} files only; an image file gives 1, 3 or 4")
        if file.format == "TIFF" and (pages := getattr(file, "n_frames", 1)) > 1:
            raise ValueError(f"it has {pages} pages: save each as a file, or all as channels of a {ARRAYS}")
        pixels = _by_opencv(content, file, reading, reduction) if fast else None
        image = _by_pillow(content, file, reading) if pixels is None else Image.fromarray(pixels)
        if isinstance(image, np.ndarray):
            return with_channels(image, channels)
        if channels < 4 and image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        if pixels is None or image.mode != MODES[channels]:
            pixels = np.asarray(image.convert(MODES[channels]))
        return pixels.reshape(image.height, image.width, channels)


def _refuse_large(height: int, width: int, reading: Reading) -> None:
    if height * width > reading.max_pixels:
        raise ValueError(f"it has {width}x{height} pixels, more than max_pixels ({reading.max_pixels}) allows")


def _of_array(array: np.ndarray, channels: int, reading: Reading) -> np.ndarray:
    """What a file of numpy's holds, as (height, width, channels) uint8 or uint16.

    Raises:
        ValueError: another shape, other channels, or numbers whose white is not known.
    """
    shape: tuple[int, ...] = getattr(array, "shape", ())
    if len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(f"it has the shape {shape}, not (height, width) or (height, width, channels)")
    if len(shape) == 2:
        array = array[..., None]
    elif shape[0] == channels != shape[2]:
        array = np.moveaxis(array, 0, 2)
    if array.shape[2] != channels:
        raise ValueError(f"its shape {shape} has {array.shape[2]} channels, the last ones, and channels is {channels}")
    _refuse_large(array.shape[0], array.shape[1], reading)
    return as_levels(np.array(array), reading.white)


def _reason(error: Exception) -> str:
    """What is wrong with a file, without its name, which the system and Pillow repeat."""
    if isinstance(error, UnidentifiedImageError):
        return "it is no image of a kind that Pillow knows"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return one_line(error)


def _by_opencv(
    content: bytes, header: Image.Image, reading: Reading, reduction: Reduction | None = None
) -> np.ndarray | None:
    """OpenCV's pixels, (h, w) or (h, w, 3), of a whole JPEG or upright PNG file of grey levels or RGB, else None."""
    if header.format not in ("JPEG", "PNG") or header.mode not in ("L", "RGB") or header.has_transparency_data:
        return None
    if reading.white is not None or _is_deep(content, header):
        return None
    jpeg = header.format == "JPEG"
    # Pillow would decode all pixels of a PNG to say which way up it is.
    turn = header.getexif().get(ORIENTATION, 1) if jpeg or b"eXIf" in content else 1
    if turn != 1 and not jpeg:
        return None
    if not content.endswith(ENDS[header.format]):  # OpenCV would fill what is missing with grey, and print warnings
        return None
    colour = header.mode == "RGB"
    by = 1 if reduction is None or not jpeg else reduction(header.size if turn in SIDEWAYS else header.size[::-1])
    flags = REDUCED[by] | cv2.IMREAD_IGNORE_ORIENTATION | (cv2.IMREAD_COLOR if colour else 0)
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if pixels is None:
        return None
    pixels = pixels[: header.height // by, : header.width // by]  # without blocks that the picture fills in part
    pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if colour else pixels
    return pixels if turn == 1 else _upright(pixels, turn)


def _by_pillow(content: bytes, file: Image.Image, reading: Reading) -> Image.Image | np.ndarray:
    """All of the image, which Pillow decodes here, upright: of 8 bits, or (h, w, 1, 3 or 4) uint16 of more.

    Raises:
        Exception: any, of a file that is damaged.
    """
    file.load()
    if file.format == "JPEG" and _lacks_pixels(content, file):
        raise ValueError("it ends before its last pixels")
    if file.mode == "F" or file.mode.startswith("I"):
        return scaled(np.asarray(ImageOps.exif_transpose(file)), reading.white or greatest(file))[..., None]
    if file.mode in ("LA", "RGB", "RGBA") and _is_deep(content, file):
        deep = _deep_colours(content, file, reading.white or FULL)
        if deep is not None:
            return deep
    return with_white(ImageOps.exif_transpose(file), reading.white)


def _lacks_pixels(content: bytes, image: Image.Image) -> bool:
    """Whether a JPEG file ends, properly, before its last pixels: the decoder makes them grey, without a word.

    It ignores what follows the last pixel, so more bytes change nothing in a whole image, and something in another.
    They are tried where the corner has the grey of what is missing; of progressive files, where it may have any
    colour, always. That is a second decoding.
    """
    corner = set(np.atleast_1d(np.asarray(image.getpixel((image.width - 1, image.height - 1)))).tolist())
    if not (image.info.get("progressive") or corner <= MISSING):
        return False
    end = content.rfind(END_OF_JPEG)
    with opened(io.BytesIO(content[:end] + FILLER + content[end:])) as longer:
        return longer.tobytes() != image.tobytes()


def _is_deep(content: bytes, file: Image.Image) -> bool:
    """Whether a PNG or TIFF file has 16 bits a channel; of colours Pillow keeps the upper 8 alone."""
    if file.format == "PNG":
        return content[24] == 16  # the bit depth in the first chunk
    return isinstance(file, TiffImageFile) and max(file.tag_v2.get(BITS_PER_SAMPLE, (8,))) == 16


def _deep_colours(content: bytes, file: Image.Image, white: int) -> np.ndarray | None:
    """(h, w, 3 or 4) uint16 of a file of colours of 16 bits, by OpenCV; None where that does not know it."""
    levels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if levels is None or levels.dtype != np.uint16 or levels.ndim != 3:
        return None
    bands = [scaled(levels[..., band], white) for band in (2, 1, 0)]  # from BGR
    bands += [levels[..., band] for band in range(3, levels.shape[2])]  # alpha
    turn = file.getexif().get(ORIENTATION, 1)
    return np.stack([_upright(band, turn) for band in bands], 2)


def _upright(band: np.ndarray, turn: int) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(band))
    image.getexif()[ORIENTATION] = turn
    return np.asarray(ImageOps.exif_transpose(image))


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """An image (h, w, c) of integers at another size: averages of areas where it shrinks, bicubic where it grows."""
    if image.shape[:2] == (height, width):
        return image
    if (channels := image.shape[2]) > 4:  # which is the most that OpenCV averages
        parts = [image[..., first : first + 4] for first in range(0, channels, 4)]
        return np.concatenate([resized(np.ascontiguousarray(part), height, width) for part in parts], 2)
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    found = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return found.reshape(height, width, channels)


def read_image(
    path: Path, size: Size | Sides | None, channels: int, reading: Reading = Reading(), fast: bool = False
) -> np.ndarray:
    """A picture as (channels, height, width): cropped in the middle to the proportions of `size`, and resized.

    A size of None keeps the picture's own height and width. Resized bicubically with antialiasing, by Pillow.

    Returns:
        uint8 or uint16, see :func:`read_pixels`.

    Raises:
        DataError: see :func:`read_pixels`.
    """
    return image_of(read_pixels(path, channels, reading, fast), size)


def image_of(pixels: np.ndarray, size: Size | Sides | None) -> np.ndarray:
    """(channels, height, width) of pixels (h, w, channels); see :func:`read_image`."""
    if size is not None and pixels.shape[:2] != (sides := sides_of(size)):
        pixels = _fitted(pixels, *sides)
    return pixels.transpose(2, 0, 1)


def reduced_image(read: Callable[[Reduction], np.ndarray], sides: Sides) -> np.ndarray:
    """A picture for training, as :func:`read_image` has it, but a large JPEG is decoded smaller, then averaged by area.

    Args:
        read: the pixels (height, width, channels), decoded by as much smaller as the function says that it is given.
        sides: height and width of what is wanted.

    Returns:
        (channels, height, width) uint8 or uint16.
    """
    by = 1

    def reduction(own: Sides) -> int:
        nonlocal by
        by = reduction_of(largest_crop(own[0], own[1], sides), sides)
        return by

    pixels = read(reduction)
    if by == 1:
        return image_of(pixels, sides)
    height, width = pixels.shape[:2]
    rows, columns = middle((height, width), largest_crop(height, width, sides))
    return resized(pixels[rows, columns], *sides).transpose(2, 0, 1)


def _fitted(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    def fitted(image: Image.Image) -> np.ndarray:
        return np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC))

    if pixels.dtype == np.uint8 and pixels.shape[2] in MODES:
        return fitted(Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)).reshape(height, width, -1)
    bands = [fitted(Image.fromarray(band.astype(np.float32))) for band in np.moveaxis(pixels, 2, 0)]
    return np.stack(bands, 2).round().clip(0, np.iinfo(pixels.dtype).max).astype(pixels.dtype)


def batch_of(pictures: Sequence[np.ndarray]) -> torch.Tensor:
    """Pictures (C, H, W) each, as a batch (N, C, H, W).

    Bytes if all pictures have 8 bits; else float32 in [-1, 1], in which 65536 levels stay apart. A picture has the same
    values in a training step either way.
    """
    deep = any(picture.dtype == np.uint16 for picture in pictures)
    batch = np.empty((len(pictures), *pictures[0].shape), np.float32 if deep else np.uint8)
    for row, picture in enumerate(pictures):
        batch[row] = picture
        if deep:
            batch[row] /= np.iinfo(picture.dtype).max / 2
            batch[row] -= 1
    return torch.from_numpy(batch)
