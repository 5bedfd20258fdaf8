"""How right the translations of a checkpoint are, on the drawn sets: `python benchmarks/shapes.py CKPT`.

An SRGAN is measured on photos too: `--root FOLDER` takes the held-out ones of that folder, and adds a distance by
trained features, the last map of the CIFAR-10 classifier in weights/ of $GAN_LIGHTNING_DATA. `--light` is that of the
real images that a SimGAN was trained on.

The validation sets of `gan_lightning.data.Shape*` are drawn, so the right answer is known. Classifiers and estimators
are small convolutional networks, trained here on real drawings from a fixed seed, and their own error is printed first.
"""

from __future__ import annotations

import argparse
import functools
import inspect
from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning import data
from gan_lightning.batches import Attributed, Masked, Paired
from gan_lightning.core.translator import Translator
from gan_lightning.data.base import ImageData, to_unit
from gan_lightning.data.drawing import hue_class, shape_mask
from gan_lightning.data.sets import Split
from gan_lightning.loading import load_model
from gan_lightning.metrics import DigitFeatures, grid_peak
from gan_lightning.metrics.fid import frechet_distance
from gan_lightning.networks import RandomFeatures, ResNet56Features
from gan_lightning.runtime.sizes import Size, size_of

STEPS, BATCH = 600, 64  # of the classifiers and estimators


def whole(module: ImageData, split: Split = "val") -> tuple:
    """All of a split, images in [-1, 1]."""
    images = module.reference(split)
    batch = images.__getitems__(list(range(len(images))))
    return type(batch)(*(to_unit(field) if field.dtype == torch.uint8 else field for field in batch))


def in_parts(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    return torch.cat([function(*part) for part in zip(*(x.split(50) for x in inputs), strict=True)])


def fitted(image: Tensor, target: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
    """A small network from images (n, c, h, w) to targets (n, outputs)."""
    torch.manual_seed(0)
    channels, flat = image.shape[1], 64 * (image.shape[2] // 8) * (image.shape[3] // 8)
    widths = [channels, 32, 64, 64]
    layers = [
        layer for a, b in zip(widths, widths[1:], strict=False) for layer in (nn.Conv2d(a, b, 4, 2, 1), nn.ReLU())
    ]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, 128), nn.ReLU(), nn.Linear(128, target.shape[1]))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for step in range(STEPS):
        rows = torch.randperm(len(image))[:BATCH]
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (1 - step / STEPS)
        value = loss(network(image[rows]), target[rows])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return network.eval().requires_grad_(False)


def psnr(a: Tensor, b: Tensor, where: Tensor | None = None) -> float:
    """Mean over the images of the decibels between two batches in [-1, 1], within a mask where one is given."""
    square = ((a - b) / 2).square()
    if where is None:
        return float((-10 * square.flatten(1).mean(1).log10()).mean())
    share = (square * where).flatten(1).sum(1) / (where.flatten(1).sum(1) * a.shape[1])
    return float((-10 * share.log10()).mean())


def report(**figures: float) -> None:
    print("  ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in figures.items()), flush=True)


def pix2pix(model: Translator, size: Size) -> None:
    batch: Paired = whole(data.ShapePairs(size=size))
    made = in_parts(model.translate, batch.source)
    error, identity = ((x - batch.target).abs().mean() / 2 for x in (made, batch.source))
    report(l1=error, l1_of_the_source=identity, ratio=error / identity)


def cyclegan(model: Translator, size: Size) -> None:
    batch = whole(data.ShapeDomains(size=size))
    for domain, (direction, image) in enumerate(zip(model.directions, batch, strict=True)):
        made = in_parts(lambda x, direction=direction: model.translate(x, direction), image)
        a, b = shape_mask(image), shape_mask(made)
        iou = (a & b).flatten(1).sum(1) / (a | b).flatten(1).sum(1)
        right = hue_class(made) == 1 - domain
        print(direction, end="  ")
        report(right_hue=right.float().mean(), mean_iou=iou.mean(), iou_of_at_least_08=(iou >= 0.8).float().mean())


def stargan(model: Translator, size: Size) -> None:
    module = data.ShapeAttributes(size=size)
    known: Attributed = module.reference("train").every
    judge = fitted(to_unit(known.image), known.attributes, F.binary_cross_entropy_with_logits)
    batch: Attributed = whole(module)
    report(classifier_right=((judge(batch.image) > 0) == (batch.attributes > 0.5)).float().mean())
    for place, name in enumerate(module.attributes):
        wanted = batch.attributes.clone()
        wanted[:, place] = 1 - wanted[:, place]
        read = judge(in_parts(model.edit, batch.image, wanted)) > 0
        same = (read == (wanted > 0.5)).float().mean(0)
        others = [same[k] for k in range(len(same)) if k != place]
        print(name, end="  ")
        report(edited=same[place], others_kept=torch.stack(others).mean(), least_kept=min(others))


def simgan(model: Translator, size: Size, light: str = "random") -> None:
    module = data.ShapeRefinement(size=size, light=light)
    train, held = module.reference("train"), module.reference("val")
    synthetic, real = whole(module)
    refined = in_parts(model.translate, synthetic)
    before, after, least = (distance(x, real) for x in (synthetic, refined, to_unit(module.ideal("val"))))
    report(frechet_synthetic=before, frechet_refined=after, ratio=after / before)
    report(frechet_of_the_ideal_refiner=least, ratio_of_the_refined_to_it=after / least)
    sharp, photo = (to_unit(domain.image) for domain in (train.a, train.b))
    softer = in_parts(model.translate, sharp)
    read = fitted(photo, train.pose_b, F.l1_loss)  # knows real images: what it reads from refined ones is their pose
    error_real, error_refined = (
        (read(x) - pose).abs().mean() for x, pose in ((real, held.pose_b), (refined, held.pose_a))
    )
    report(pose_error_real=error_real, pose_error_refined=error_refined, ratio=error_refined / error_real)
    errors = {}
    for name, images, seen in (("synthetic", sharp, synthetic), ("refined", softer, refined)):
        learnt = fitted(images, train.pose_a, F.l1_loss)
        own, real_too = ((learnt(x) - pose).abs().mean() for x, pose in ((seen, held.pose_a), (real, held.pose_b)))
        print("an estimator trained on", name, end="  ")
        report(pose_error_on_the_same=own, on_real=real_too)
        errors[name] = real_too
    report(ratio_of_refined_to_synthetic_on_real=errors["refined"] / errors["synthetic"])


def distance(a: Tensor, b: Tensor) -> float:
    """Fréchet distance of grey images on the features of the digit classifier."""
    extractor = DigitFeatures()
    features = [in_parts(lambda x: extractor(x).pooled, images).double() for images in (a, b)]
    return float(frechet_distance(*(moment for f in features for moment in (f.mean(0), f.T.cov()))))


def faceswap(model: Translator, size: Size) -> None:
    module = data.ShapeIdentities(size=size)
    train, held = module.reference("train"), module.reference("val")
    faces = torch.cat([in_parts(model.middle, to_unit(domain.image)) for domain in (train.a, train.b)])
    who = torch.arange(2).repeat_interleave(len(train.a))
    names = fitted(faces, F.one_hot(who, 2).float(), F.cross_entropy)
    poses = fitted(faces, torch.cat([train.pose_a, train.pose_b]), F.l1_loss)
    batch = whole(module)
    for source, (image, pose) in enumerate(zip(batch, (held.pose_a, held.pose_b), strict=True)):
        face = in_parts(model.middle, image)
        made = in_parts(lambda x, to=1 - source: model.swap(x, to), image)
        target = (names(made).argmax(1) == 1 - source).float().mean()
        own, swapped = ((poses(x) - pose).abs().mean() for x in (face, made))
        random = (pose - pose.roll(1, 0)).abs().mean()
        print(model.directions[source], end="  ")
        report(target=target, pose_error=swapped, of_the_source=own, of_a_random_pair=random, ratio=swapped / random)


def context_encoder(model: Translator, size: Size) -> None:
    batch: Masked = whole(data.ShapeHoles(size=size))
    filled = {"model": in_parts(model.fill, batch.image, batch.hole)}
    images = ((batch.image + 1) * 127.5).round().byte().movedim(1, 3).numpy()
    holes = batch.hole[:, 0].numpy().astype(np.uint8)
    for name, method in (("navier-stokes", cv2.INPAINT_NS), ("telea", cv2.INPAINT_TELEA)):
        done = [cv2.inpaint(np.ascontiguousarray(x), h, 3, method) for x, h in zip(images, holes, strict=True)]
        filled[name] = to_unit(torch.from_numpy(np.stack(done)).movedim(3, 1))
    for name, made in filled.items():
        print(name, end="  ")
        report(hole_psnr=psnr(made, batch.image, batch.hole))


def srgan(model: Translator, size: Size, root: str | None = None) -> None:
    kind = functools.partial(data.LowResolutionImages, root) if root else data.ShapeResolution
    batch: Paired = whole(kind(size=size, factor=model.scale))
    columns = {"bicubic": "input", "model": "output"}
    made = {name: in_parts(lambda s, t, c=c: model.columns(Paired(s, t))[c], *batch) for name, c in columns.items()}
    features = {"random_features": RandomFeatures(seed=1)}  # not those that were trained on
    features |= {"trained_features": ResNet56Features(stage=3)} if root else {}
    for name, image in made.items():
        far = {
            f"distance_of_{kind}": (in_parts(phi, image) - in_parts(phi, batch.target)).square().mean()
            for kind, phi in features.items()
        }
        steep, real = ((x[:, :, 1:] - x[:, :, :-1]).square().mean() for x in (image, batch.target))
        print(name, end="  ")
        report(
            psnr=psnr(image, batch.target),
            **far,
            gradient_energy_of_the_target=steep / real,
            grid_peak_in_decibels=grid_peak(image, model.scale),
        )
    print("target", end="  ")
    report(grid_peak_in_decibels=grid_peak(batch.target, model.scale))


MEASURES = {
    "Pix2Pix": pix2pix,
    "CycleGAN": cyclegan,
    "StarGAN": stargan,
    "SimGAN": simgan,
    "FaceSwap": faceswap,
    "ContextEncoder": context_encoder,
    "SRGAN": srgan,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("--root", help="a folder of photos, for an SRGAN")
    parser.add_argument("--light", choices=("random", "left"), help="as the data had it, for a SimGAN; random")
    args = vars(parser.parse_args())
    model = load_model(args.pop("checkpoint"))
    name = type(model).__name__
    given = {flag: value for flag, value in args.items() if value is not None}
    for flag in given.keys() - inspect.signature(MEASURES[name]).parameters.keys():
        parser.error(f"a {name} is measured without --{flag}: leave it out")
    model.eval().requires_grad_(False)
    MEASURES[name](model, size_of(model.image_shape[1:]), **given)


if __name__ == "__main__":
    main()
