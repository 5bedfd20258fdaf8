"""The wall of pictures above the README, a tile a model: `make gallery`.

The pictures are those of docs/results.md, cut out at their left margin.
"""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

IMAGES = Path(__file__).parents[1] / "docs" / "images"
WALL = IMAGES / "gallery.jpg"
PICTURES = {  # model -> its picture, the side of the square that is shown and, unless 0, its first row, in pixels
    "PredictabilityMinimization": ("predictability_minimization-digits.png", 208),
    "GAN": ("gan-digits.png", 138),
    "CGAN": ("arena-mnist-cgan.png", 138),
    "LAPGAN": ("lapgan-mnist.png", 138),
    "DCGAN": ("dcgan-celeba_few-ada.png", 138),
    "ContextEncoder": ("context_encoder-shapes.png", 104),
    "ImprovedGAN": ("arena-mnist-improvedgan.png", 138),
    "InfoGAN": ("infogan.png", 122),
    "CoGAN": ("cogan-edges28.png", 122),
    "SRGAN": ("srgan-photos.png", 295),
    "SeqGAN": ("seqgan-oracle.png", 240),
    "ACGAN": ("acgan-digits.png", 138),
    "LSGAN": ("arena-mnist-lsgan.png", 138),
    "Pix2Pix": ("pix2pix-facades256.png", 259),
    "StackGAN": ("stackgan-flickr8k.png", 264),
    "SimGAN": ("simgan-shapes.png", 104),
    "WGAN": ("arena-mnist-wgan.png", 138),
    "WGANGP": ("arena-mnist-wgangp.png", 138),
    "CycleGAN": ("cyclegan-celeba.png", 266),
    "BEGAN": ("codes-began-celeba.png", 138),
    "GeometricGAN": ("arena-mnist-geometricgan.png", 138),
    "IRGAN": ("irgan-synthetic.png", 240),
    "FaceSwap": ("faceswap-shapes.png", 138),
    "ProGAN": ("progan-digits.png", 138, 186),
    "StarGAN": ("stargan-celeba.png", 266),
    "SNGAN": ("arena-mnist-sngan.png", 138),
    "SAGAN": ("sagan-digits.png", 138),
    "RelativisticGAN": ("arena-mnist-relativisticgan.png", 138),
    "BigGAN": ("arena-mnist-biggan.png", 138),
    "StyleGAN": ("arena-digits-stylegan.png", 138),
    "SinGAN": ("singan-balloons.png", 200),
    "BigBiGAN": ("bigbigan-mnist.png", 138),
    "StyleGAN2": ("stylegan2-mnist.png", 138),
    "R3GAN": ("r3gan-celeba64.png", 266),
    "R3GAN2": ("arena-mnist-r3gan2.png", 138),
}
COLUMNS, SIDE, LABEL, GAP = 7, 138, 18, 8  # tiles a row; pixels of a tile, of the line below it, between tiles
MOST = 300_000  # bytes


def tile(name: str, side: int, top: int = 0) -> Image.Image:
    """A square of a picture, in the size of a tile."""
    with Image.open(IMAGES / name) as file:
        image = file.convert("RGB")
    shown = image.crop((0, top, min(side, image.width), min(top + side, image.height)))
    share = SIDE / max(shown.size)
    shown = shown.resize([round(share * length) for length in shown.size], Image.Resampling.LANCZOS)
    square = Image.new("RGB", (SIDE, SIDE))
    square.paste(shown, ((SIDE - shown.width) // 2, (SIDE - shown.height) // 2))
    return square


def wall() -> Image.Image:
    """All tiles, with the names of their models."""
    rows = math.ceil(len(PICTURES) / COLUMNS)
    width, height = GAP + COLUMNS * (SIDE + GAP), GAP + rows * (SIDE + LABEL + GAP)
    image = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(11)
    for number, (model, cut) in enumerate(PICTURES.items()):
        row, column = divmod(number, COLUMNS)
        left, top = GAP + column * (SIDE + GAP), GAP + row * (SIDE + LABEL + GAP)
        image.paste(tile(*cut), (left, top))
        draw.text((left + SIDE / 2, top + SIDE + LABEL / 2), model, "black", font, anchor="mm")
    return image


def main() -> None:
    wall().save(WALL, quality=85, optimize=True)
    assert WALL.stat().st_size <= MOST, f"{WALL} has more than {MOST:,} bytes"
    print(WALL)


if __name__ == "__main__":
    main()
