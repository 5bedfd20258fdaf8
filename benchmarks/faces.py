"""How often edited faces are read as asked: `python benchmarks/faces.py CKPT [CKPT ...] --root FOLDER`.

Of StarGAN and CycleGAN, on held-out photos of the data that a checkpoint's run had, which FOLDER holds. A small
convolutional network, trained here on the real images of the training split and their mirror images from a fixed seed,
reads what an image shows; how often it is right on real held-out ones is printed first.
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
import yaml
from shapes import fitted, in_parts, report, whole
from torch import Tensor, nn

from gan_lightning import data
from gan_lightning.core.translator import Translator
from gan_lightning.data.base import to_unit
from gan_lightning.data.sets import Examples
from gan_lightning.loading import model_of
from gan_lightning.runtime.checkpoint_io import read

SIDE = 64  # pixels of the longer side that a judge sees, at most


def small(image: Tensor) -> Tensor:
    """Images as a judge sees them."""
    share = min(1.0, SIDE / max(image.shape[2:]))
    sides = [max(8, round(share * side)) for side in image.shape[2:]]
    return F.interpolate(image, sides, mode="bilinear", antialias=True)


def judge(image: Tensor, target: Tensor) -> nn.Module:
    """A network from small images to logits of targets (n, outputs) in {0, 1}, trained on mirror images as well."""
    seen = small(image)
    return fitted(torch.cat([seen, seen.flip(3)]), target.repeat(2, 1), F.binary_cross_entropy_with_logits)


def read_by(network: nn.Module, image: Tensor) -> Tensor:
    """(n, outputs) bool: what the judge reads."""
    return in_parts(lambda x: network(small(x)), image) > 0


def stargan(model: Translator, module: data.AttributeImages) -> None:
    """Each attribute turned over, of exclusive ones given to those that lack it; see `StarGAN.columns`.

    `edited` is the share of edited images that show what was asked for; `others_kept` that of the other attributes,
    without those that exclude it, that are read as they were; `cycle_l1` the mean |x - G(G(x, c'), c)|, of images in
    [0, 1].
    """
    train, held = whole(module, "train"), whole(module)
    network = judge(train.image, train.attributes)
    before, truth = read_by(network, held.image), held.attributes > 0.5
    for place, name in enumerate(module.attributes):
        right = (before == truth)[:, place].float().mean()
        exclusive = model.exclusive if place in model.exclusive else []
        asked = ~truth[:, place] | (place not in model.exclusive)
        image, own = held.image[asked], held.attributes[asked]
        turned = torch.where(
            truth[asked, place, None], model.asked(own, name, False), model.asked(own, name, True)
        )  # of exclusive attributes, the others go
        made = in_parts(model.edit, image, turned)
        after = read_by(network, made)
        others = [k for k in range(len(model.attributes)) if k not in {place, *exclusive}]
        kept = (after == before[asked])[:, others].float()
        print(name, end="  ")
        report(
            classifier_right_on_real_ones=right,
            edited=(after[:, place] == (turned[:, place] > 0.5)).float().mean(),
            **({"others_kept": kept.mean()} if others else {}),
            cycle_l1=(in_parts(model.edit, made, own) - image).abs().mean() / 2,
        )


def cyclegan(model: Translator, module: data.UnpairedImages) -> None:
    """`read_as_the_other` is the share of translated images that are, beside that of the images themselves.

    `cycle_l1` is the mean |x - F(G(x))|, of images in [0, 1].
    """
    train, held = module.reference("train"), module.reference("val")
    real = [[to_unit(images_of(x)) for x in (domains.a, domains.b)] for domains in (train, held)]
    known = torch.cat(real[0])
    network = judge(known, torch.cat([torch.full((len(x), 1), float(k)) for k, x in enumerate(real[0])]))
    for domain, image in enumerate(real[1]):
        there, back = model.directions[domain], model.directions[1 - domain]
        made = in_parts(lambda x, there=there: model.translate(x, there), image)
        again = in_parts(lambda x, back=back: model.translate(x, back), made)
        other, itself = ((read_by(network, x)[:, 0] == bool(1 - domain)).float().mean() for x in (made, image))
        print(there, end="  ")
        report(
            classifier_right_on_real_ones=1 - itself,
            read_as_the_other=other,
            before_translation=itself,
            cycle_l1=(again - image).abs().mean() / 2,
        )


def images_of(pictures: Examples) -> Tensor:
    """(n, c, h, w): all of a domain, each in its own place and none mirrored."""
    return pictures.__getitems__(list(range(len(pictures))))[0]


MEASURES = {"StarGAN": stargan, "CycleGAN": cyclegan}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", nargs="+")
    parser.add_argument("--root", required=True, help="the folder of the photos")
    args = parser.parse_args()
    for path in args.checkpoint:
        content = read(path)
        model = model_of(content, path).eval().requires_grad_(False)
        name = type(model).__name__
        if name not in MEASURES:
            parser.error(f"{path} is a {name}: faces are measured of {' and '.join(MEASURES)}")
        if "config" not in content:
            parser.error(f"{path} does not say what data it was trained on: train it by `python -m gan_lightning.fit`")
        settings = yaml.safe_load(content["config"])["data"]
        kind = getattr(data, settings["class_path"].rsplit(".", 1)[-1])
        print(path, flush=True)
        MEASURES[name](model, kind(**settings["init_args"] | {"root": args.root}))


if __name__ == "__main__":
    main()
