"""Image files of every kind that Pillow reads, as upright pixels of 8 bits; a file that is cut off is refused."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from gan_lightning.runtime.errors import printable
from gan_lightning.runtime.reading import Reading

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
ORIENTATION = 0x0112  # the EXIF tag
BITS_PER_SAMPLE = 258  # the TIFF tag
END_OF_JPEG = b"\xff\xd9"
# Eight times 256 bytes that a JPEG decoder takes for pixels where some are missing, each with a restart marker.
FILLER = b"".join(bytes(range(255)) + bytes([0xFF, 0xD0 + number]) for number in range(8))
MISSING = {127, 128}  # what it makes of missing pixels: the middle of the range, or of the inverted range of inks

cv2.setNumThreads(0)  # loader processes are what reads in parallel; OpenCV's own threads do not survive a fork
Image.MAX_IMAGE_PIXELS = None  # `Reading.max_pixels` is the limit, and refuses where Pillow's own would warn


def read_pixels(path: Path, channels: int, reading: Reading = Reading(), fast: bool = False) -> np.ndarray:
    """An image file as (height, width, channels) uint8, upright; of several frames the first.

    Levels of more than 8 bits are scaled to 8; what is transparent shows white, unless the image keeps its alpha
    channel (4 channels); CMYK and palettes are converted.

    Args:
        path: the file.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA).
        reading: which level is white, and how many pixels are too many.
        fast: by OpenCV where it knows the kind: twice as fast, and the same pixels of a file that Pillow has read
            before. Of one that Pillow refuses it makes others.

    Raises:
        ValueError: naming the file: it is no image, is cut off, has too many pixels, or holds floats whose white is
            not given.
    """
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as file:  # reads the header only
            if file.width * file.height > reading.max_pixels:
                size = f"{file.width}x{file.height}"
                raise ValueError(f"it has {size} pixels, more than max_pixels ({reading.max_pixels}) allows")
            pixels = _by_opencv(content, file, reading) if fast else None
            image = _by_pillow(content, file, reading) if pixels is None else Image.fromarray(pixels)
            if channels < 4 and image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            if pixels is None or image.mode != MODES[channels]:
                pixels = np.asarray(image.convert(MODES[channels]))
            return pixels.reshape(image.height, image.width, channels)
    except Exception as error:  # a damaged file fails in as many ways as there are formats
        raise ValueError(f"{printable(path)} cannot be read: {one_line(path, error)}") from None


def one_line(path: Path, error: Exception) -> str:
    """What is wrong with a file, without its name, which the system and Pillow repeat."""
    if isinstance(error, UnidentifiedImageError):
        return "it is no image of a kind that Pillow knows"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return printable(str(error) or type(error).__name__)


def _by_opencv(content: bytes, header: Image.Image, reading: Reading) -> np.ndarray | None:
    """OpenCV's pixels, (h, w) or (h, w, 3), of a whole upright JPEG or PNG file of grey levels or RGB, else None."""
    if header.format not in ("JPEG", "PNG") or header.mode not in ("L", "RGB") or header.has_transparency_data:
        return None
    if reading.white is not None:
        return None
    # Of a PNG Pillow would decode all pixels to say which way up it is.
    if (header.format == "JPEG" or b"eXIf" in content) and header.getexif().get(ORIENTATION, 1) != 1:
        return None
    if header.format == "JPEG" and not content.endswith(END_OF_JPEG):  # OpenCV would fill what is missing with grey
        return None
    colour = header.mode == "RGB"
    flags = (cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE) | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if colour and pixels is not None else pixels


def _by_pillow(content: bytes, file: Image.Image, reading: Reading) -> Image.Image:
    """All of the image, which Pillow decodes here, upright and of 8 bits.

    Raises:
        Exception: any, of a file that is damaged.
    """
    file.load()
    if file.format == "JPEG" and _lacks_pixels(content, file):
        raise ValueError("it ends before its last pixels")
    if file.mode in ("LA", "RGB", "RGBA") and (reading.white or 0) > 255:
        file = _deep_colours(content, file, reading.white) or file
    return _of_8_bits(ImageOps.exif_transpose(file), reading.white)


def _lacks_pixels(content: bytes, image: Image.Image) -> bool:
    """Whether a JPEG file ends, properly, before its last pixels: the decoder makes them grey, without a word.

    It ignores what follows the last pixel, so more bytes change nothing in a whole image, and something in another.
    They are tried where the corner has the grey of what is missing; of progressive files, where it may have any
    colour, always. That is a second decoding.
    """
    corner = set(np.atleast_1d(image.getpixel((image.width - 1, image.height - 1))).tolist())
    if not (image.info.get("progressive") or corner <= MISSING):
        return False
    end = content.rfind(END_OF_JPEG)
    with Image.open(io.BytesIO(content[:end] + FILLER + content[end:])) as longer:
        return longer.tobytes() != image.tobytes()


def _deep_colours(content: bytes, file: Image.Image, white: int) -> Image.Image | None:
    """A PNG or TIFF file of colours of 16 bits, of which Pillow keeps the upper 8 alone; None of any other file."""
    depth = {"PNG": lambda: content[24], "TIFF": lambda: max(file.tag_v2.get(BITS_PER_SAMPLE, (8,)))}.get(file.format)
    levels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) if depth and depth() == 16 else None
    if levels is None or levels.dtype != np.uint16 or levels.ndim != 3:
        return None
    colours = [_scaled(levels[..., 2::-1], white), _scaled(levels[..., 3:], 65535)]  # from BGR and alpha
    image = Image.fromarray(np.concatenate(colours, 2))
    image.getexif()[ORIENTATION] = file.getexif().get(ORIENTATION, 1)
    return image


def _scaled(levels: np.ndarray, white: int) -> np.ndarray:
    """uint8 of levels from 0 to white, what is above it clipped."""
    return (levels.astype(np.float64).clip(0, white) * 255 / white).round().astype(np.uint8)


def _of_8_bits(image: Image.Image, white: int | None) -> Image.Image:
    """The image with its white at 255. Pillow's own conversion of more bits to 8 would clip, not scale.

    Raises:
        ValueError: it holds floats, whose white is not given or that are not finite.
    """
    if image.mode == "F":
        if white is None:
            raise ValueError("32-bit float pixels: give the level that is white by the argument white")
        if not np.isfinite(np.asarray(image)).all():
            raise ValueError("it holds numbers that are not finite")
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_scaled(np.asarray(image), 65535 if white is None else white))
    if white is not None and white < 255 and image.mode in ("L", "LA", "RGB", "RGBA"):
        colours = len(image.getbands()) - image.mode.endswith("A")
        alpha = list(range(256)) * (len(image.getbands()) - colours)
        return image.point(_scaled(np.arange(256), white).tolist() * colours + alpha)
    return image


def read_image(
    path: Path, size: int | None, channels: int, reading: Reading = Reading(), fast: bool = False
) -> np.ndarray:
    """An image file as (channels, size, size) uint8: short side resized to `size`, centre cropped; else `read_pixels`.

    A size of None keeps the image's own height and width. Resized by Pillow, bicubic with antialiasing.

    Raises:
        ValueError: see :func:`read_pixels`.
    """
    pixels = read_pixels(path, channels, reading, fast)
    if size is not None and pixels.shape[:2] != (size, size):
        image = Image.fromarray(pixels.squeeze(2) if channels == 1 else pixels)
        image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
        pixels = np.asarray(image).reshape(size, size, channels)
    return pixels.transpose(2, 0, 1)
