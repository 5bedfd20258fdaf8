"""What `project` and `directions` do with a generator of images."""

from __future__ import annotations

import argparse
import shlex

import torch
from torch import Tensor
from tqdm import tqdm

from gan_lightning.cli import pictures
from gan_lightning.cli.arguments import program
from gan_lightning.cli.samples import asked_labels, require_images
from gan_lightning.core import AdversarialModule, ImageGenerator, TextToImage
from gan_lightning.data.base import to_unit
from gan_lightning.latents import Latents, LatentSpace, directions, distance_to, project
from gan_lightning.metrics import to_uint8
from gan_lightning.runtime.errors import printable
from gan_lightning.runtime.layout import LATENTS
from gan_lightning.runtime.reading import reading_of


def project_picture(module: AdversarialModule, given: argparse.Namespace) -> None:
    """Find the latents of --image; write them, and the picture beside what the generator makes of them.

    Args:
        module: in float32.
        given: the flags of `project`.

    Raises:
        FileNotFoundError, ValueError: the model makes no images, or a flag does not fit it or the picture.
    """
    require_images(module)
    name, (label,) = type(module).__name__, asked_labels(module, given)
    if isinstance(module, TextToImage):
        raise ValueError(f"{name} makes images of texts: project finds latents of models without them")
    space = LatentSpace(module, given.live, given.average, noise="const")
    where = given.space or space.name
    if where.startswith("w") != space.has_styles:
        raise ValueError(
            f"--space {where}: latents of {name} are looked for in {'w or w+' if space.has_styles else 'z'}"
        )
    if given.optimize_noise and not space.noise_buffers():
        raise ValueError(f"--optimize_noise: no layer of {name} has noise of its own")
    if module.num_classes and not space.has_styles and label is None:
        raise ValueError(f"{name} makes images of classes: give the picture's, --label CLASS")
    picture = pictures.read_files([given.image], module.image_shape, reading_of(given))
    target = to_unit(picture).to(module.device).float()
    with tqdm(total=given.steps, unit="step", disable=None, leave=False) as bar:

        def report(step: int, distance: float) -> None:
            bar.set_postfix(distance=f"{distance:.4g}", refresh=False)
            bar.update()

        how = where == "w+", given.optimize_noise, label, given.seed, report
        found = project(space, distance_to(target, given.vgg), given.steps, *how)
    made = space.draw(found.points, classes(module, label), [0], given.seed)
    error = (to_uint8(made).float() - to_uint8(target).float()).square().mean().sqrt()
    latents, sheet = given.out / LATENTS, given.out / "comparison.png"
    Latents(found.points, None if space.has_styles else classes(module, label), found.layers).save(latents, space)
    weights = "live" if given.live else given.average or "averaged"
    print(f"{printable(given.image)} in {where} of {name} ({weights} weights, {given.steps} steps, seed {given.seed})")
    print(f"distance {found.before:.4g} at first, {found.after:.4g} now; {error:.1f} grey levels (root mean square)")
    pictures.save(pictures.tiles([*pictures.pixels(target), *pictures.pixels(made)], 2), sheet)
    print(f"latents: {printable(latents)}")
    print(sample_line(given, "--latents", latents))


def sample_line(given: argparse.Namespace, *flags: object) -> str:
    """The command that samples with these flags, by the weights that were asked for."""
    weights = ["--live"] if given.live else ["--average", given.average] if given.average else []
    return f"  {program('sample')} {shlex.join(map(printable, (given.checkpoint, *flags, *weights)))}"


def classes(module: ImageGenerator, label: int | None) -> Tensor | None:
    """(1,) a class; None for none."""
    return None if label is None else module.condition_as(label, 1)


def draw_directions(module: AdversarialModule, given: argparse.Namespace) -> None:
    """Write the sheet of directions: a row each, a sample that is moved along it from column to column.

    Args:
        module: in float64.
        given: the flags of `directions`.

    Raises:
        ValueError: the model makes no images, or has no such directions.
    """
    require_images(module)
    space = LatentSpace(module, given.live, given.average, given.truncation)
    (label,) = asked_labels(module, given)
    found = directions(space, given.directions)[: given.k]
    condition = module.condition_of([given.number]) if label is None else classes(module, label)
    point = space.points(module.latents([given.number], given.seed), condition)
    strengths = torch.linspace(-given.strength, given.strength, given.columns).tolist()
    shown = []
    for direction in found:
        for strength in strengths:
            space.shift = strength * direction
            shown += pictures.pixels(space.draw(point, condition, [given.number], given.seed))
    pictures.save(pictures.tiles(shown, len(strengths)), given.out)
    columns = ", ".join(f"{strength:g}" for strength in strengths)
    print(f"rows: directions 0 to {len(found) - 1} ({given.directions}); columns: strengths {columns}")
    how = [] if given.directions == "closed_form" else ["--directions", given.directions]
    print(sample_line(given, "--direction", 0, "--strength", f"{given.strength:g}", *how))
