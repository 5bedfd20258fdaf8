"""What a checkpoint alone can make: `python -m gan_lightning.sample CKPT --n 64 --out DIR`.

A model of images draws them, in grids and latent walks too; one of sequences says them; one of what users choose lists
items to one of them (`--user NAME --k 10`).

Pictures are numbered, and picture i depends on the seed and on i alone: not on how many are made, nor on the batch size
or the device, because networks are evaluated in float64 here and rounded once. With `--labels` they are numbered row by
row, `--n` to each label, and the i-th of every row is of the same latent. The same holds for sequences.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gan_lightning.errors import Parser, nearest, printable, program, short_errors
from gan_lightning.layout import SHEETS, is_numbered, numbered
from gan_lightning.reading import Reading, add_flags, reading_of

if TYPE_CHECKING:  # loaded by main() when the flags are known to be right: they take seconds
    from lightning.pytorch import LightningModule
    from PIL import Image
    from torch import Tensor

    from gan_lightning.core import AdversarialModule, TwoPlayerGAN

IMAGES, SENTENCES = 64, 20  # made where --n does not say how many
FOLDER = Path("samples")  # of images, where --out does not say which
FLAGS = {  # of models that make no images, what they must have -> the flags that they follow
    "vocabulary": ("n", "out", "seed", "batch_size"),
    "users": ("user", "k"),
}
GRID_MOST = 256  # images in a grid
WALKERS = 16  # latents that walk or are traversed side by side
STATIONS = 5  # latents that each of them visits
CODE_VALUES = 10  # of a code that is continuous
RECONSTRUCTIONS = f"{SHEETS}/reconstructions"  # where they are numbered
NEEDS = (  # flag, what the model must have, in words
    ("truncation", "truncate", "truncation"),
    ("traverse", "codes", "codes"),
    ("reconstruct", "reconstruct", "reconstruction"),
)
Between = Callable[["Tensor", "Tensor", float], "Tensor"]  # two points and a share of the way -> a point on it


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(program("sample"), description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("checkpoint", help="a .ckpt file")
    parser.add_trust()
    many = f"how many images (default {IMAGES}), of each of --labels; or sequences (default {SENTENCES})"
    parser.add_argument("--n", type=int, help=many)
    parser.add_argument("--out", type=Path, help=f"folder to write to (default {FOLDER}; sequences are printed)")
    parser.add_argument("--seed", type=int, default=0, help="of the latents (default %(default)s)")
    parser.add_argument("--grid", action="store_true", help=f"also {SHEETS}/grid.png, of the first {GRID_MOST} at most")
    classes = parser.add_mutually_exclusive_group()
    classes.add_argument("--label", metavar="CLASS", help="name or number of the class to draw (default: each in turn)")
    rows = "cat,dog or 0,1,2: a row of the grid for each, of the same latents"
    classes.add_argument("--labels", metavar="CLASSES", help=rows)
    classes.add_argument("--classes", action="store_true", help="print the classes and their numbers, no more")
    parser.add_argument("--truncation", type=float, metavar="PSI", help="of normal latents, for a model that knows it")
    parser.add_argument("--standing", type=int, default=0, metavar="N", help="batch statistics of N batches of samples")
    parser.add_argument(
        "--interpolate",
        choices=["slerp", "lerp"],
        help=f"also {SHEETS}/walk.gif, a closed walk from latent to latent: along great circles (slerp, for normal "
        "latents; White 2016, arXiv:1609.04468) or straight (lerp, for uniform ones), with --labels from label to "
        "label",
    )
    parser.add_argument("--frames", type=int, default=60, help="of the walk (default %(default)s)")
    values = f"also {SHEETS}/traverse.png, a row for each value of it"
    parser.add_argument("--traverse", type=int, metavar="CODE", help=values)
    also = f"also {RECONSTRUCTIONS}.png, a folder's pictures beside what the model makes of them, and numbered files"
    parser.add_argument("--reconstruct", type=Path, metavar="DIR", help=also)
    add_flags(parser)
    parser.add_argument("--live", action="store_true", help="the trained weights in place of their average")
    parser.add_argument("--user", metavar="NAME", help="whom to list items to, for a model of what users choose")
    parser.add_argument("--k", type=int, default=10, help="how many items (default %(default)s)")
    parser.add_argument("--batch_size", type=int, default=64, help="made at a time (default %(default)s)")
    parser.add_argument("--device", choices=["cpu", "cuda", "auto"], default="auto", help="default %(default)s")
    given = parser.parse_args(argv)
    for name, least in (("n", 1), ("frames", 2), ("batch_size", 1), ("standing", 0), ("k", 1)):
        if (value := getattr(given, name)) is not None and value < least:
            parser.error(f"--{name} must be at least {least}, not {value}")
    if given.truncation is not None and not 0 < given.truncation < math.inf:
        parser.error(f"--truncation must be a number above 0, not {given.truncation}")
    for flag in ("white", "max_pixels"):
        if flag in given.set and given.reconstruct is None:
            parser.error(f"--{flag} is of the pictures of --reconstruct: give that too")
    if given.out is not None and given.out.exists() and not given.out.is_dir():
        parser.error(f"--out {printable(given.out)} is a file, not a folder")
    return given


def refuse_older(folder: Path, n: int) -> None:
    """Refuse a folder where pictures of another call would stay among `n` new ones.

    Raises:
        ValueError: it holds pictures with greater numbers.
    """
    numbers = [int(file.stem) for file in folder.glob("*.png") if is_numbered(file.name)]
    if numbers and (last := max(numbers)) >= n:
        where = printable(folder)
        raise ValueError(f"--out: {where} holds more than the {n} pictures to come, up to {numbered(last)}: empty it")


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


def asked_labels(module: TwoPlayerGAN, given: argparse.Namespace) -> list[int]:
    """The numbers of the classes of --label or --labels; says what it took a word for that could mean two.

    Raises:
        ValueError: no such class.
    """
    names = module.trained_on.get("classes") or []
    text = given.labels if given.label is None else given.label
    words = [text] if given.label is not None or text in names else text.split(",")
    labels = [label_of(word.strip(), names, module.num_classes) for word in words]
    for word, label in dict(zip(words, labels, strict=True)).items():
        if names and names[label] != str(label):
            print(f"{printable(word)}: class {printable(names[label])}, number {label}")
    return labels


def class_list(module: TwoPlayerGAN) -> str:
    """A line for each class, its number and its name."""
    names = module.trained_on.get("classes") or [""] * module.num_classes
    return "\n".join(f"{label:>4}  {printable(name)}".rstrip() for label, name in enumerate(names))


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Latents (n, ...) on the way from a to b along great circles: the length of a normal latent is kept."""
    import torch

    x, y = a.flatten(1), b.flatten(1)
    cosine = torch.nn.functional.cosine_similarity(x, y).clamp(-1, 1)[:, None]
    angle = cosine.arccos()
    near = angle.sin() < 1e-6  # (anti)parallel: the formula would divide by zero
    sine = torch.where(near, 1.0, angle.sin())
    from_x = torch.where(near, 1 - share, ((1 - share) * angle).sin() / sine)
    from_y = torch.where(near, share, (share * angle).sin() / sine)
    return (from_x * x + from_y * y).view_as(a)


def lerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Latents (n, ...) on the straight way from a to b."""
    return (1 - share) * a + share * b


def closed_walk(stations: list[Tensor], frames: int, between: Between) -> Iterator[Tensor]:
    """So many points on the way from station to station and back to the first."""
    for frame in range(frames):
        at, past = divmod(frame * len(stations), frames)
        yield between(stations[at], stations[(at + 1) % len(stations)], past / frames)


def require_images(module: LightningModule) -> None:
    """Refuse a model that cannot be looked at.

    Raises:
        ValueError: it makes no images of 1 or 3 channels from latents.
    """
    name = type(module).__name__
    channels, height, width = getattr(module, "image_shape", (0, 1, 1))
    if not hasattr(module, "latent"):
        instead = (
            ": use python -m gan_lightning.translate" if hasattr(module, "translate") else ", so it cannot be sampled"
        )
        raise ValueError(f"{name} makes no images from latents{instead}")
    if channels not in (1, 3) or height * width == 1:
        raise ValueError(f"{name} was trained on points of shape {(channels, height, width)}, not on images")


def require_flags_of(module: AdversarialModule, given: argparse.Namespace, known: Sequence[str]) -> None:
    """Refuse flags that mean nothing to a model.

    Raises:
        ValueError: one that is not among those known was set.
    """
    for flag in given.set:
        if flag not in ("checkpoint", "device", "trust", *known):
            raise ValueError(f"--{flag} means nothing to {type(module).__name__}: leave it out")


def require_what_was_asked_for(module: TwoPlayerGAN, given: argparse.Namespace) -> None:
    """Refuse flags that the model cannot follow.

    Raises:
        ValueError: it has no such class or code, no truncation or no reconstruction.
    """
    name = type(module).__name__
    require_flags_of(module, given, [flag for flag in vars(given) if flag not in FLAGS["users"]])
    for flag, method, what in NEEDS:
        if getattr(given, flag) is not None and not hasattr(module, method):
            raise ValueError(f"{name} has no {what}: leave --{flag} out")
    for flag in ("label", "labels", "classes"):
        if flag in given.set and not module.num_classes:
            raise ValueError(f"{name} was trained without classes: leave --{flag} out")
    if given.traverse is not None and not 0 <= given.traverse < module.codes:
        raise ValueError(f"--traverse {given.traverse}: {name} has the codes 0 to {module.codes - 1}")


def read_pictures(folder: Path, image_shape: tuple[int, int, int], reading: Reading) -> Tensor:
    """(n, *image_shape) uint8: the pictures under a folder, sorted by name; see :func:`data.decoding.read_image`.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there are none, one cannot be read, or the model's images are not square.
    """
    import torch

    from gan_lightning.data.finding import holds, image_files
    from gan_lightning.data.folder import Files

    channels, height, width = image_shape
    if height != width:
        raise ValueError(f"--reconstruct brings pictures to squares, and the model's are {width}x{height}")
    if not folder.is_dir():
        raise FileNotFoundError(f"--reconstruct {printable(folder)}: there is no such folder")
    paths = image_files(folder)
    if not paths:
        raise ValueError(f"--reconstruct: {holds(folder)}")
    return Files(paths, torch.zeros(len(paths)), height, channels, reading).__getitems__(list(range(len(paths)))).image


class Painter:
    """Makes pictures of a checkpoint's latents.

    Args:
        module: in float64.
        given: the flags, which the model can follow.
    """

    def __init__(self, module: TwoPlayerGAN, given: argparse.Namespace) -> None:
        self.module, self.seed, self.truncation = module, given.seed, given.truncation
        self.live, self.batch_size = given.live, given.batch_size

    def latents(self, indices: range) -> Tensor:
        """(n, ...) the latents of these numbers."""
        from gan_lightning.noise import SampleNoise

        z = self.module.latent(SampleNoise(self.seed, indices, self.module.device), len(indices)).double()
        return z if self.truncation is None else self.module.truncate(z, self.truncation)

    def labels(self, label: int | None, indices: range) -> Tensor | None:
        """(n,) the class, or each in turn; None for a model without classes."""
        labels = self.module.sample_labels(indices.start, len(indices))
        return labels if label is None else labels.fill_(label)

    def paint(self, z: Tensor, label: Tensor | None) -> list[Tensor]:
        """(C, H, W) uint8 on the CPU each, of latents (n, ...) and labels (n,) or (n, classes), a batch at a time."""
        from gan_lightning.metrics import to_uint8

        parts = z.split(self.batch_size)
        labels = [None] * len(parts) if label is None else label.split(self.batch_size)
        batches = (self.module.generate(part, self.live, own) for part, own in zip(parts, labels, strict=True))
        return [image for batch in batches for image in to_uint8(batch).cpu()]


# What the flags ask for.


def draw(painter: Painter, given: argparse.Namespace) -> Image.Image:
    """Write the numbered pictures; returns the grid of the first ones."""
    labels, kept = given.labels or [None], []
    columns = min(given.n, max(1, GRID_MOST // len(labels)))
    for row, label in enumerate(labels):
        for first in range(0, given.n, given.batch_size):
            numbers = range(first, min(first + given.batch_size, given.n))
            images = painter.paint(painter.latents(numbers), painter.labels(label, numbers))
            write(images, given.out, row * given.n + first)
            kept += images[: max(0, columns - first)]
    return tiles(kept, columns if len(labels) > 1 else None)


def walk(painter: Painter, given: argparse.Namespace) -> list[Image.Image]:
    """Frames of a walk from the first images through other latents and back, or through labels with these latents."""
    labels, first = given.labels or [None], range(min(WALKERS, given.n))
    z, count = painter.latents(first), min(STATIONS, given.frames)
    if len(labels) > 1:
        classes = range(painter.module.num_classes)
        stations = [z.new_tensor([float(c == label) for c in classes]).repeat(len(z), 1) for label in labels]
        return [tiles(painter.paint(z, mixture)) for mixture in closed_walk(stations, given.frames, lerp)]
    stations = [painter.latents(range(i * len(z), (i + 1) * len(z))) for i in range(count)]
    points = closed_walk(stations, given.frames, slerp if given.interpolate == "slerp" else lerp)
    return [tiles(painter.paint(point, painter.labels(labels[0], first))) for point in points]


def traverse(painter: Painter, given: argparse.Namespace) -> Image.Image:
    """A row for each value of the code, a column for each latent."""
    columns = range(min(WALKERS, given.n))
    label = painter.labels(given.labels[0] if given.labels else None, columns)
    rows = painter.module.traverse(painter.latents(columns), given.traverse, CODE_VALUES)
    return tiles([image for z in rows for image in painter.paint(z, label)], len(columns))


def reconstruct(painter: Painter, given: argparse.Namespace, originals: Tensor) -> Image.Image:
    """Write the numbered reconstructions of (n, C, H, W) uint8; returns the first ones, each beside its original."""
    import torch

    from gan_lightning.data.base import to_unit
    from gan_lightning.metrics import to_uint8

    module, shown = painter.module, []
    for first in range(0, len(originals), given.batch_size):
        part = originals[first : first + given.batch_size]
        with torch.no_grad():
            made = list(to_uint8(module.reconstruct(to_unit(part).to(module.device).double())).cpu())
        write(made, given.out / RECONSTRUCTIONS, first)
        shown += [image for pair in zip(part, made, strict=True) for image in pair]
    shown = shown[:GRID_MOST]
    return tiles(shown, 2 * math.ceil(math.sqrt(len(shown)) / 2))


def picture(image: Tensor) -> Image.Image:
    """Of (C, H, W) uint8."""
    from PIL import Image

    return Image.fromarray(image[0].numpy() if len(image) == 1 else image.movedim(0, 2).numpy())


def tiles(images: list[Tensor], columns: int | None = None) -> Image.Image:
    """Of (C, H, W) uint8 each, in so many columns, or in a square."""
    from torchvision.utils import make_grid

    return picture(make_grid(images, nrow=columns or math.ceil(math.sqrt(len(images)))))


def write(images: list[Tensor], folder: Path, first: int) -> None:
    """Files numbered from `first`, of (C, H, W) uint8 each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images, first):
        picture(image).save(folder / numbered(number))


def save(image: Image.Image, path: Path, more: Sequence[Image.Image] = ()) -> None:
    """An image, or the frames of an endless film; says where."""
    film = {"save_all": True, "append_images": more, "duration": 50, "loop": 0} if more else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **film)
    print(f"{path.stem}: {printable(path)}")


# What is not an image.


def say(module: AdversarialModule, given: argparse.Namespace) -> None:
    """Print sequences, each in a line; with `--out` write them to sentences.txt there too."""
    from gan_lightning.text import sentence

    n = given.n or SENTENCES
    firsts = range(0, n, given.batch_size)
    parts = [module.sample(min(given.batch_size, n - first), given.seed, first).cpu() for first in firsts]
    sentences = [sentence(tokens, module.vocabulary) for part in parts for tokens in part]
    print("\n".join(sentences))
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        path = given.out / "sentences.txt"
        path.write_text("\n".join(sentences) + "\n", encoding="utf-8")
        print(f"{n} sequences of {type(module).__name__} (seed {given.seed}): {printable(path)}")


def recommend(module: AdversarialModule, given: argparse.Namespace) -> None:
    """Print the items that a user has not chosen yet and is likeliest to, the best first.

    Raises:
        ValueError: no user was named or there is none of that name, or fewer items are left.
    """
    if given.user is None:
        raise ValueError(f"{type(module).__name__} lists items to a user: give --user NAME, such as {module.users[0]}")
    if given.user not in module.users:
        raise ValueError(f"there is no user {given.user!r}{nearest(given.user, module.users)}")
    items, scores = module.recommend(module.users.index(given.user), given.k)
    print(f"the {given.k} best items for user {given.user}, of those not chosen yet, with their scores:")
    for place, (item, score) in enumerate(zip(items.tolist(), scores.tolist(), strict=True), 1):
        print(f"{place:>4}  {module.items[item]}  {score:.3f}")


@short_errors()
def main(argv: list[str] | None = None) -> None:
    given = arguments(argv)

    from gan_lightning.checkpoints import load_model
    from gan_lightning.processes import device_named

    module = load_model(given.checkpoint, device_named(given.device), given.trust).double()
    for what, act in (("vocabulary", say), ("users", recommend)):
        if getattr(module, what, None):
            require_flags_of(module, given, FLAGS[what])
            return act(module, given)
    require_images(module)
    require_what_was_asked_for(module, given)
    if given.classes:
        return print(class_list(module))
    given.labels = asked_labels(module, given) if {"label", "labels"} & set(given.set) else None
    given.n, given.out = given.n or IMAGES, given.out or FOLDER
    refuse_older(given.out, given.n * len(given.labels or [None]))
    originals = read_pictures(given.reconstruct, module.image_shape, reading_of(given)) if given.reconstruct else None
    if originals is not None:
        refuse_older(given.out / RECONSTRUCTIONS, len(originals))
    sheets, painter = given.out / SHEETS, Painter(module, given)
    with module.standing(given.standing, live=given.live):
        grid = draw(painter, given)
        weights, each = "live" if given.live else "averaged", " of each label" if len(given.labels or []) > 1 else ""
        how = f"{weights} weights, seed {given.seed}"
        print(f"{given.n} images{each} of {type(module).__name__} ({how}): {printable(given.out)}")
        if given.grid:
            save(grid, sheets / "grid.png")
        if given.interpolate:
            frames = walk(painter, given)
            save(frames[0], sheets / "walk.gif", frames[1:])
        if given.traverse is not None:
            save(traverse(painter, given), sheets / "traverse.png")
        if originals is not None:
            save(reconstruct(painter, given, originals), given.out / f"{RECONSTRUCTIONS}.png")


if __name__ == "__main__":
    main()
