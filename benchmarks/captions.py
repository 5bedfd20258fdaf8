"""How right the pictures of a text-to-image checkpoint are, on CaptionedShapes: `python benchmarks/captions.py CKPT`.

Its scenes are drawn, so what a caption asks for is known. A convolutional network, trained here on real drawings from a
fixed seed, reads the pictures that are made of the validation captions; its own error on real ones is printed first.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from shapes import in_parts, report
from torch import Tensor, nn

from gan_lightning.core import TextToImage, evaluating
from gan_lightning.data import CaptionedShapes
from gan_lightning.data.base import to_unit
from gan_lightning.data.captioned_shapes import COLOURS, RELATIONS, SIZES
from gan_lightning.data.drawing import KINDS
from gan_lightning.loading import load_model
from gan_lightning.metrics.fid import frechet_distance
from gan_lightning.runtime.sizes import size_of

OF_A_SHAPE = (len(SIZES), len(COLOURS), len(KINDS))
VALUES = [2, *OF_A_SHAPE, *OF_A_SHAPE, len(RELATIONS)]  # of each factor of a scene
DRAWINGS = 20_000  # that the reader is trained on
STEPS, BATCH, RATE = 2000, 64, 3e-3  # of its training


def places(factors: np.ndarray) -> Tensor:
    """(n, factors) int64: each factor's value as a place from 0 on, of scenes that have one or two shapes."""
    return torch.from_numpy(factors) - torch.tensor([1] + [0] * (len(VALUES) - 1))


def read(logits: Tensor) -> list[Tensor]:
    """(n, values) log-probabilities of each factor."""
    return [part.log_softmax(1) for part in logits.split(VALUES, 1)]


def reader_of(image: Tensor, factors: Tensor) -> nn.Module:
    """A network that reads scenes (n, c, h, w): batch norm and a cycle of the rate, for shapes of a few pixels."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    before = image.shape[1]
    for width in (32, 64, 128):
        layers += [nn.Conv2d(before, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        before = width
    flat = before * (image.shape[2] // 8) * (image.shape[3] // 8)
    layers += [nn.Flatten(), nn.Linear(flat, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, sum(VALUES))]
    network = nn.Sequential(*layers)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    for _ in range(STEPS):
        rows = torch.randperm(len(image))[:BATCH]
        value = reading_error(network(image[rows]), factors[rows])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
    return network.eval().requires_grad_(False)


def reading_error(logits: Tensor, factors: Tensor) -> Tensor:
    """The mean cross entropy, summed over the factors that a scene has."""
    parts = zip(logits.split(VALUES, 1), factors.T, strict=True)
    return sum(F.cross_entropy(part, factor, ignore_index=-1) for part, factor in parts)


def shape_of(logs: list[Tensor], first: int) -> Tensor:
    """(n, 2) the likeliest colour and kind of the first (0) or the second (1) shape."""
    return torch.stack([logs[3 * first + 2].argmax(1), logs[3 * first + 3].argmax(1)], 1)


def right(logits: Tensor, factors: Tensor) -> dict[str, float]:
    """How many pictures (n, factors) are as asked.

    Shapes: as many as asked, each of its colour and kind, wherever they stand. The relation, of two shapes: the axis is
    the likelier one, and so is the order, by the colours, kinds and sizes of both places.
    """
    logs, rows = read(logits), torch.arange(len(logits))
    asked = [factors[:, 2:4], factors[:, 5:7]]
    found = [shape_of(logs, place) for place in (0, 1)]
    two = factors[:, 0] == 1
    same = (found[0] == asked[0]).all(1), (found[1] == asked[1]).all(1)
    crossed = (found[0] == asked[1]).all(1), (found[1] == asked[0]).all(1)
    shapes = torch.where(two, (same[0] & same[1]) | (crossed[0] & crossed[1]), same[0])
    number = logs[0].argmax(1) == factors[:, 0]

    def likely(here: int, there: int) -> Tensor:
        """(n,) the log-probability that the place `here` holds what was asked for `there`."""
        return sum(logs[3 * here + k][rows, factors[:, 3 * there + k].clamp(min=0)] for k in (1, 2, 3))

    ordered = likely(0, 0) + likely(1, 1) >= likely(0, 1) + likely(1, 0)
    relation = (ordered & (logs[7].argmax(1) == factors[:, 7]))[two]
    return {
        "colour_and_shape": float((shapes & number).float().mean()),
        "relation": float(relation.float().mean()),
        "one_shape": float((shapes & number)[~two].float().mean()),
        "two_shapes": float((shapes & number)[two].float().mean()),
    }


def energy(image: Tensor) -> float:
    """The mean square of the differences between neighbours."""
    return float((image.diff(dim=2).square().mean() + image.diff(dim=3).square().mean()) / 2)


def distance(features: nn.Module, a: Tensor, b: Tensor) -> float:
    """Fréchet distance of images on features."""
    found = [in_parts(features, images).double() for images in (a, b)]
    return float(frechet_distance(*(moment for f in found for moment in (f.mean(0), f.T.cov()))))


@torch.no_grad()
def measure(model: TextToImage) -> None:
    data = CaptionedShapes(n=DRAWINGS, size=size_of(model.image_shape[1:]))
    train, held = data.reference("train"), data.reference("val")
    drawings = to_unit(train.__getitems__(list(range(len(train)))).image)
    with torch.enable_grad():
        reader = reader_of(drawings, places(train.factors))
    factors, batch = places(held.factors), held.__getitems__(list(range(len(held))))
    image = to_unit(batch.image)
    print("real drawings", end="  ")
    report(**right(in_parts(reader, image), factors))

    text, z, generator = in_parts(model.embed, batch.token), model.latents(range(len(image))), model.weights()
    with evaluating(generator):
        first, rest = generator.parts(z)
        small = in_parts(generator.first, first, text)
        made = {"stage I": F.interpolate(small, image.shape[2:], mode="bilinear")}
        if generator.stage == 2:
            made["stage II"] = in_parts(generator.second, rest, small, text)
    for name, images in made.items():
        print(name, end="  ")
        report(
            **right(in_parts(reader, images), factors),
            gradient_energy_of_real=energy(images) / energy(image),
            feature_distance=distance(reader[:-1], images, image),
        )
    discriminators = {"stage I": (model.discriminator_1, model.reduced(image))}
    discriminators |= {"stage II": (model.discriminator_2, image)} if generator.stage == 2 else {}
    wrong = in_parts(model.embed, batch.wrong)
    for name, (discriminator, seen) in discriminators.items():
        lower = in_parts(discriminator, seen, wrong) < in_parts(discriminator, seen, text)
        print(f"discriminator of {name}", end="  ")
        report(wrong_caption_scores_lower=lower.float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    model = load_model(parser.parse_args().checkpoint)
    measure(model.eval().requires_grad_(False))


if __name__ == "__main__":
    main()
