"""What `sample` makes with a model of each kind, and the flags that it takes then."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gan_lightning.cli import pictures
from gan_lightning.core import AdversarialModule, Encoder, ImageGenerator, Ranker, SequenceGenerator, Translator
from gan_lightning.errors import Parser, nearest, printable, program
from gan_lightning.layout import SHEETS
from gan_lightning.reading import add_flags, reading_of
from gan_lightning.text import sentence

IMAGES, SENTENCES = 64, 20  # made where --n does not say how many
FOLDER = Path("samples")  # of images, where --out does not say which


def add_batches(parser: Parser, n: int, what: str) -> None:
    """The flags on how many are made, and how many at a time."""
    parser.add_argument("--n", type=int, default=n, help=f"how many {what} (default %(default)s)")
    parser.add_argument("--batch_size", type=int, default=64, help="made at a time (default %(default)s)")
    parser.least |= {"n": 1, "batch_size": 1}


def flags_of_images(parser: Parser, module: ImageGenerator) -> None:
    """Of an image generator: those of its `sample`, and of what is made of the images."""
    add_batches(parser, IMAGES, "images, of each of --labels")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to (default %(default)s)")
    parser.add_argument(
        "--grid", action="store_true", help=f"also {SHEETS}/grid.png, of the first {pictures.GRID_MOST} at most"
    )
    parser.add_method(type(module).sample, without=("numbers", "condition"))
    parser.add_argument("--standing", type=int, default=0, metavar="N", help="batch statistics of N batches of samples")
    if module.num_classes:
        classes = parser.add_mutually_exclusive_group()
        classes.add_argument("--label", metavar="CLASS", help="name or number of the class (default: each in turn)")
        rows = "cat,dog or 0,1,2: a row of the grid for each, of the same latents"
        classes.add_argument("--labels", metavar="CLASSES", help=rows)
        classes.add_argument("--classes", action="store_true", help="print the classes and their numbers, no more")
    parser.add_argument(
        "--interpolate",
        choices=["slerp", "lerp"],
        help=f"also {SHEETS}/walk.gif, a closed walk from latent to latent: along great circles (slerp, for normal "
        "latents; White 2016, arXiv:1609.04468) or straight (lerp, for uniform ones), with --labels from label to "
        "label",
    )
    parser.add_argument("--frames", type=int, default=60, help="of the walk (default %(default)s)")
    if hasattr(module, "traverse"):
        values = f"also {SHEETS}/traverse.png, a row for each value of it"
        parser.add_argument("--traverse", type=int, metavar="CODE", help=values)
    if isinstance(module, Encoder):
        also = f"also {pictures.RECONSTRUCTIONS}.png, a folder's pictures beside what the model makes of them"
        parser.add_argument("--reconstruct", type=Path, metavar="DIR", help=also)
        add_flags(parser)
    parser.least |= {"frames": 2, "standing": 0}


def flags_of_sequences(parser: Parser, module: SequenceGenerator) -> None:
    add_batches(parser, SENTENCES, "sequences")
    parser.add_argument("--out", type=Path, help="folder to write sentences.txt to; they are printed in any case")
    parser.add_method(type(module).sample, without=("numbers",))


def flags_of_rankings(parser: Parser, module: Ranker) -> None:
    parser.add_argument("--user", metavar="NAME", help=f"whom to list items to, such as {printable(module.users[0])}")
    parser.add_method(type(module).recommend, without=("user",))
    parser.least |= {"k": 1}


def label_of(word: str, names: Sequence[str], count: int) -> int:
    """The number of a class that is called by its name, or by its number where no class has that for a name.

    Args:
        word: name or number.
        names: of the classes, in the order of their numbers; none where they are not known.
        count: of the classes.

    Raises:
        ValueError: it is neither.
    """
    if word in names:
        return list(names).index(word)
    if re.fullmatch(r"-?[0-9]+", word):
        if 0 <= int(word) < count:
            return int(word)
        raise ValueError(f"label {word}: the classes are 0 to {count - 1}")
    known = nearest(word, names) or " (--classes lists them)" if names else f": the classes are 0 to {count - 1}"
    raise ValueError(f"there is no class {printable(word)!r}{known}")


def asked_labels(module: ImageGenerator, given: argparse.Namespace) -> list[int | None]:
    """The numbers of the classes of --label or --labels, None for each in turn; says what an ambiguous word is.

    Raises:
        ValueError: no such class.
    """
    if not {"label", "labels"} & set(given.set):
        return [None]
    names = module.trained_on.get("classes") or []
    text = given.labels if given.label is None else given.label
    words = [text] if given.label is not None or text in names else text.split(",")
    labels = [label_of(word.strip(), names, module.num_classes) for word in words]
    for word, label in dict(zip(words, labels, strict=True)).items():
        if names and names[label] != str(label):
            print(f"{printable(word)}: class {printable(names[label])}, number {label}")
    return labels


def class_list(module: ImageGenerator) -> str:
    """A line for each class, its number and its name."""
    names = module.trained_on.get("classes") or [""] * module.num_classes
    return "\n".join(f"{label:>4}  {printable(name)}".rstrip() for label, name in enumerate(names))


# What each kind of model does.


def require_pictures(module: ImageGenerator) -> None:
    """Refuse a generator of points, which cannot be looked at.

    Raises:
        ValueError: its images are no pictures of 1 or 3 channels.
    """
    if module.image_shape[0] not in (1, 3) or math.prod(module.image_shape[1:]) == 1:
        shape = module.image_shape
        raise ValueError(f"{type(module).__name__} was trained on points of shape {shape}, not on images")


def draw_images(module: ImageGenerator, given: argparse.Namespace, how: dict[str, Any]) -> None:
    """Write the pictures that the flags ask for.

    Raises:
        ValueError: a class, a code or a folder that cannot be.
    """
    require_pictures(module)
    name, reconstructed = type(module).__name__, getattr(given, "reconstruct", None)
    if reconstructed is None and (of_pictures := [flag for flag in ("white", "max_pixels") if flag in given.set]):
        raise ValueError(f"--{of_pictures[0]} is of the pictures of --reconstruct: give that too")
    if getattr(given, "classes", False):
        return print(class_list(module))
    given.labels = asked_labels(module, given)
    painter, sheets = pictures.Painter(module, given, how), given.out / SHEETS
    pictures.refuse_older(given.out, given.n * len(given.labels))
    originals = None
    if reconstructed is not None:
        originals = pictures.read_pictures(reconstructed, module.image_shape, reading_of(given))
        pictures.refuse_older(given.out / pictures.RECONSTRUCTIONS, len(originals))
    with module.standing_statistics(given.standing, live=given.live):
        grid = pictures.draw(painter, given)
        weights, each = "live" if given.live else "averaged", " of each label" if len(given.labels) > 1 else ""
        print(f"{given.n} images{each} of {name} ({weights} weights, seed {given.seed}): {printable(given.out)}")
        if given.grid:
            pictures.save(grid, sheets / "grid.png")
        if given.interpolate:
            frames = pictures.walk(painter, given)
            pictures.save(frames[0], sheets / "walk.gif", frames[1:])
        if getattr(given, "traverse", None) is not None:
            pictures.save(pictures.traverse(painter, given), sheets / "traverse.png")
        if originals is not None:
            pictures.save(
                pictures.reconstruct(painter, given, originals), given.out / f"{pictures.RECONSTRUCTIONS}.png"
            )


def print_sequences(module: SequenceGenerator, given: argparse.Namespace, how: dict[str, Any]) -> None:
    """Print sequences, each in a line; with `--out` write them to sentences.txt there too."""
    starts = range(0, given.n, given.batch_size)
    parts = [module.sample(range(k, min(k + given.batch_size, given.n)), **how).cpu() for k in starts]
    sentences = [sentence(tokens, module.vocabulary) for part in parts for tokens in part]
    print("\n".join(sentences))
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        path = given.out / "sentences.txt"
        path.write_text("\n".join(sentences) + "\n", encoding="utf-8")
        print(f"{given.n} sequences of {type(module).__name__} (seed {given.seed}): {printable(path)}")


def print_recommendations(module: Ranker, given: argparse.Namespace, how: dict[str, Any]) -> None:
    """Print the items that a user has not chosen yet and is likeliest to, the best first.

    Raises:
        ValueError: no user was named or there is none of that name, or fewer items are left.
    """
    if given.user is None:
        raise ValueError(f"{type(module).__name__} lists items to a user: give --user NAME, such as {module.users[0]}")
    if given.user not in module.users:
        raise ValueError(f"there is no user {given.user!r}{nearest(given.user, module.users)}")
    items, scores = module.recommend(module.users.index(given.user), **how)
    print(f"the {given.k} best items for user {given.user}, of those not chosen yet, with their scores:")
    for place, (item, score) in enumerate(zip(items.tolist(), scores.tolist(), strict=True), 1):
        print(f"{place:>4}  {module.items[item]}  {score:.3f}")


def of_kind(module: AdversarialModule) -> tuple[Any, Any, Any]:
    """Of a model's kind: what adds the flags, what acts on them, and the method whose arguments they are.

    Raises:
        ValueError: it is of no kind that makes something from a checkpoint alone.
    """
    name, kind = type(module).__name__, type(module)
    if isinstance(module, ImageGenerator):
        return flags_of_images, draw_images, kind.sample
    if isinstance(module, SequenceGenerator):
        return flags_of_sequences, print_sequences, kind.sample
    if isinstance(module, Ranker) and module.users:
        return flags_of_rankings, print_recommendations, kind.recommend
    instead = f": use {program('translate')}" if isinstance(module, Translator) else ", so it cannot be sampled"
    raise ValueError(f"{name} makes no images from latents{instead}")
