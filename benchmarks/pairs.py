"""Whether the two images of a CoGAN's latent belong together: `python benchmarks/pairs.py CKPT [--n 1000]`.

The data is that of the checkpoint; `--data.root FOLDER` finds MNIST elsewhere. For each kind of pairs: the share of
pixels in which domain B's image is the transform of domain A's, and the IoU of the white pixels. Edges are almost all
black, so that pairs of different latents agree in most pixels too, and nothing at all in more; their IoU is low. Right
edges a pixel to the side say how exact a pair must be.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from gan_lightning.cli.score_sides import Checkpoint, data_of
from gan_lightning.data import DigitDomains
from gan_lightning.metrics import pair_iou, pixel_agreement


def mismatched(pairs: Tensor) -> Tensor:
    """Domain A's images (n, c, h, 2 w) beside domain B's of the next pair."""
    a, b = pairs.chunk(2, 3)
    return torch.cat([a, b.roll(1, 0)], 3)


def rows(made: Tensor, data: DigitDomains) -> dict[str, Tensor]:
    """Kinds of pairs, (n, 1, h, 2 w) each: generated ones, and held-out digits beside their transform."""
    a = data.reference("val").image.chunk(2, 3)[0]
    b = data.transform(a)
    real = torch.cat([a, b], 3)
    return {
        "one latent": made,
        "different latents": mismatched(made),
        "real pairs": real,
        "different real images": mismatched(real),
        "real, B one pixel aside": torch.cat([a, b.roll(1, 3)], 3),
        "real, B all black": torch.cat([a, torch.full_like(b, b.min())], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("--n", type=int, default=1000, help="generated pairs")
    parser.add_argument("--data", help=argparse.SUPPRESS)
    given, for_data = parser.parse_known_args()
    checkpoint = Checkpoint.load(given.checkpoint, torch.device("cpu"), ())
    data = data_of(given, for_data, checkpoint)
    if not isinstance(data, DigitDomains):
        parser.error(f"{given.checkpoint} was trained on {data.name}: this benchmark reads checkpoints of DigitDomains")
    made = torch.cat([checkpoint.module.sample(part.tolist()) for part in torch.arange(given.n).split(250)])
    for kind, pairs in rows(made, data).items():
        agreed, iou = pixel_agreement(pairs, data.transform), pair_iou(pairs, data.transform)
        print(f"{kind:24} {len(pairs):6,} pairs  pixels that agree {agreed.mean():6.1%}  IoU {iou.mean():.3f}")


if __name__ == "__main__":
    main()
