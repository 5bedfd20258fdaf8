"""What `sample` makes with a model of each kind."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gan_lightning.cli import flags, painting, pictures
from gan_lightning.cli.arguments import program
from gan_lightning.cli.parser import ModelParser
from gan_lightning.core import (
    AdversarialModule,
    Encoder,
    ImageGenerator,
    Manipulator,
    Ranker,
    SequenceGenerator,
    TextToImage,
    Translator,
)
from gan_lightning.networks.lapgan import PyramidGenerator
from gan_lightning.networks.style import StyleGenerator
from gan_lightning.runtime.errors import nearest, out_of_memory, printable
from gan_lightning.runtime.layout import ARITHMETIC, LATENTS, RECONSTRUCTIONS, SHEETS
from gan_lightning.runtime.reading import reading_of
from gan_lightning.text import sentence


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
        ValueError: the model has no such class, or none at all.
    """
    if not {"label", "labels"} & set(given.set):
        return [None]
    if not module.num_classes:
        raise ValueError(f"--label: {type(module).__name__} has no classes")
    names = module.trained_on.get("classes") or []
    text = given.labels if given.label is None else given.label
    words = [text] if given.label is not None or text in names else text.split(",")
    labels = [label_of(word.strip(), names, module.num_classes) for word in words]
    for word, label in dict(zip(words, labels, strict=True)).items():
        if names and names[label] != str(label):
            print(f"{printable(word)}: class {printable(names[label])}, number {label}")
    return labels


def asked_prompts(module: TextToImage, given: argparse.Namespace) -> list[str | None]:
    """The prompts of --prompt or --prompts, None for the captions in turn.

    Raises:
        FileNotFoundError, ValueError: there is no such file of text, or the model cannot read a prompt.
    """
    if given.prompt is None and given.prompts is None:
        return [None]
    prompts = [given.prompt] if given.prompts is None else read_prompts(given.prompts)
    module.tokens_of(prompts)  # what it cannot read is refused before anything is drawn
    return prompts


def read_prompts(path: Path) -> list[str]:
    """The lines of a text file that are not empty.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no text, or has no such line.
    """
    from gan_lightning.data.encodings import codec_of  # nothing else that is made here needs data

    lines = path.read_text(encoding=codec_of(path, "--prompts")).splitlines()
    if not (prompts := [line for line in lines if line.strip()]):
        raise ValueError(f"--prompts {printable(path)} is empty: write a prompt on each line")
    return prompts


def class_list(module: ImageGenerator) -> str:
    """A line for each class, its number and its name."""
    names = module.trained_on.get("classes") or [""] * module.num_classes
    return "\n".join(f"{label:>4}  {printable(name)}".rstrip() for label, name in enumerate(names))


# What each kind of model does.


def draw_images(module: ImageGenerator, given: argparse.Namespace, how: dict[str, Any]) -> None:
    """Write the pictures that the flags ask for.

    Raises:
        ValueError: a class, a code or a folder that cannot be.
    """
    name = type(module).__name__
    code, reconstructed = getattr(given, "traverse", None), getattr(given, "reconstruct", None)
    table, film = getattr(given, "mix", None), getattr(given, "animate", None)
    refuse_alone(given)
    if reconstructed is None and (of_pictures := [flag for flag in ("white", "max_pixels") if flag in given.set]):
        raise ValueError(f"--{of_pictures[0]} is of the pictures of --reconstruct: give that too")
    if code is not None and not 0 <= code < module.codes:
        raise ValueError(f"--traverse {code}: {name} has the codes 0 to {module.codes - 1}")
    if getattr(given, "classes", False):
        return print(class_list(module))
    given.asked = asked_prompts(module, given) if isinstance(module, TextToImage) else asked_labels(module, given)
    painter, sheets = painting.Painter(module, given, how), given.out / SHEETS
    if painter.stored is not None:
        given.n = len(painter.stored.points)
    refuse_latents(painter, given)
    own = [flag for flag in how if flag in given.set and flag not in {"truncation", *painter.how_of_points}]
    if own and (given.walk or table or given.arithmetic or code is not None or not painter.by_number):
        raise ValueError(f"--{own[0]} is of samples by number: leave it out, or what moves latents, such as --walk")
    pictures.refuse_older(given.out, given.n * len(given.asked), module.image_shape[0])
    originals = None
    if reconstructed is not None:
        originals = pictures.read_pictures(reconstructed, module.image_shape, reading_of(given))
        pictures.refuse_older(given.out / RECONSTRUCTIONS, *originals.shape[:2])
    fitting = within_memory("--batch_size or --size" if "size" in how else "--batch_size")
    with fitting, module.standing_statistics(given.standing, live=given.live, average=given.average):
        grid = painting.draw(painter, given)
        weights = "live" if given.live else given.average or "averaged"
        word = "prompt" if isinstance(module, TextToImage) else "label"
        each = f" of each {word}" if len(given.asked) > 1 else ""
        print(f"{given.n} images{each} of {name} ({weights} weights, seed {given.seed}): {printable(given.out)}")
        if given.grid:
            pictures.save(grid, sheets / "grid.png")
        if given.walk is not None:
            pictures.save_film(painting.walk(painter, given), given.walk)
        if film is not None:
            pictures.save_film(painting.animate(painter, given), film, "animate")
        if table is not None:
            pictures.save(painting.mix(painter, given), sheets / "mix.png")
        if given.arithmetic is not None:
            sheet, image, latents = painting.arithmetic(painter, given)
            pictures.save(sheet, given.out / f"{ARITHMETIC}.png")
            pictures.write([image], given.out / ARITHMETIC, 0)
            latents.save(given.out / ARITHMETIC / LATENTS, painter.space)
        if getattr(given, "levels", False):
            pictures.save(painting.levels(painter, given), sheets / "levels.png")
        if code is not None:
            pictures.save(painting.traverse(painter, given), sheets / "traverse.png")
        if originals is not None:
            pictures.save(painting.reconstruct(painter, given, originals), given.out / f"{RECONSTRUCTIONS}.png")


@contextmanager
def within_memory(flags_of_size: str) -> Iterator[None]:
    """Answer what does not fit into memory in a line.

    Raises:
        ValueError: saying which flags to make smaller.
    """
    try:
        yield
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise ValueError(f"this does not fit into memory: use a smaller {flags_of_size}") from error


def refuse_alone(given: argparse.Namespace) -> None:
    """Refuse flags of what is not asked for, and what no model can do.

    Raises:
        ValueError: naming the flag.
    """
    films = {name: path for name in ("walk", "animate") if (path := getattr(given, name, None)) is not None}
    owners = {"interpolate": "walk", "strength": "direction", "directions": "direction", "crossover": "mix"}
    owners |= {"alpha": "animate", "beta": "animate"} | ({} if films else {"seconds": "walk"})
    animates = hasattr(given, "animate")
    for flag, owner in owners.items():
        if flag in given.set and getattr(given, owner) is None:
            either = "--walk or --animate" if flag == "seconds" and animates else f"--{owner}"
            raise ValueError(f"--{flag} is of {either}: give that too")
    if "animate" in films and (moved := {"truncation", "direction"} & set(given.set)):
        raise ValueError(f"--{moved.pop()} is of samples, not of the walk of --animate: leave one of them out")
    if len({path.resolve() for path in films.values()}) < len(films):
        raise ValueError("--walk and --animate name one file: name two")
    for name, path in films.items():
        if path.suffix.lower() not in pictures.FILMS:
            raise ValueError(f"--{name} {printable(path)}: give a file that ends in {' or '.join(pictures.FILMS)}")
    if given.arithmetic is not None and given.latents is not None:
        result = given.out / ARITHMETIC / LATENTS
        if given.latents.resolve() == result.resolve():
            raise ValueError(f"{printable(result)} is read, and would be overwritten: choose another --out")
    if given.latents is not None and "n" in given.set:
        raise ValueError("--n is of latents by number: leave it out, --latents draws all that the file holds")
    if given.strength is not None and not math.isfinite(given.strength):
        raise ValueError(f"--strength must be a finite number, not {given.strength}")


def refuse_latents(painter: painting.Painter, given: argparse.Namespace) -> None:
    """Refuse flags that do not fit the latents of a file, the classes or the number of styles.

    Raises:
        ValueError: naming the flag.
    """
    held, styles = given.n, painter.space.shape[0]
    if painter.stored is not None:
        if given.walk is not None and held < 2:
            raise ValueError(f"--walk goes from latent to latent, and {printable(given.latents)} holds one")
        if given.walk is not None and given.asked == [None] and painter.stored.has_several_classes:
            raise ValueError(
                f"--walk is of one class, and {printable(given.latents)} holds latents of several: give --label"
            )
        if painter.space.has_styles and (of_class := {"label", "labels"} & set(given.set)):
            raise ValueError(f"--{of_class.pop()} is of latents by number: styles of a file have their classes in them")
    texts = isinstance(painter.module, TextToImage)
    word, several, one = ("prompt", "captions", "--prompt") if texts else ("class", "classes", "--label")
    if given.interpolate is not None and len(given.asked) > 1:
        raise ValueError(f"--interpolate is of a walk from latent to latent: leave it out, or {one}s")
    if getattr(given, "levels", False) and len(given.asked) > 1:
        raise ValueError("--levels is of one class, or of each in turn: give --label, or leave --labels out")
    mixed = sum(getattr(given, "mix", None) or [], [])
    summed = [number for term in given.arithmetic or [] for number in term.numbers]
    for flag, named in {"mix": mixed, "arithmetic": summed}.items():
        if named and len(given.asked) > 1:
            raise ValueError(f"--{flag} is of one {word}: give {one}")
        if named and painter.stored is not None and max(named) >= held:
            raise ValueError(f"--{flag} {max(named)}: {printable(given.latents)} holds the latents 0 to {held - 1}")
    if summed and not painter.space.has_styles:
        condition = painter.condition(given.asked[0], summed)
        if condition is not None and (condition != condition[0]).any():
            raise ValueError(
                f"--arithmetic: the samples are of several {several}, and its result is of one: give {one}"
            )
    if mixed:
        given.crossover = styles // 2 if given.crossover is None else given.crossover
        if not 0 < given.crossover < styles:
            raise ValueError(f"--crossover must be from 1 to {styles - 1}, not {given.crossover}")


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
    items, scores = module.recommend(module.user_number(given.user), **how)
    print(f"the {given.k} best items for user {given.user}, of those not chosen yet, with their scores:")
    for place, (item, score) in enumerate(zip(items.tolist(), scores.tolist(), strict=True), 1):
        print(f"{place:>4}  {module.items[item]}  {score:.3f}")


def require_images(module: AdversarialModule) -> None:
    """Refuse a model that makes no images from latents.

    Raises:
        ValueError: saying what to use instead.
    """
    name = type(module).__name__
    if not isinstance(module, ImageGenerator):
        instead = f": use {program('translate')}" if isinstance(module, Translator) else ", so it cannot be sampled"
        raise ValueError(f"{name} makes no images from latents{instead}")
    if math.prod(module.image_shape[1:]) == 1:
        raise ValueError(f"{name} was trained on points of shape {module.image_shape}, not on images")


def of_kind(module: AdversarialModule, parser: ModelParser) -> Callable[..., None]:
    """Add the flags of a model's kind; returns what acts on them.

    Raises:
        ValueError: it is of no kind that makes something from a checkpoint alone.
    """
    kind = type(module)
    if isinstance(module, SequenceGenerator):
        flags.of_sequences(parser)
        parser.add_method(kind, "sample")
        return print_sequences
    if isinstance(module, Ranker) and module.users:
        flags.of_rankings(parser)
        parser.add_method(kind, "recommend")
        return print_recommendations
    require_images(module)
    able = {
        "classes": module.num_classes,
        "codes": module.codes,
        "encoder": isinstance(module, Encoder),
        "styles": isinstance(module.generator, StyleGenerator),
        "levels": isinstance(module.generator, PyramidGenerator),
        "animates": isinstance(module, Manipulator),
        "texts": isinstance(module, TextToImage),
    }
    flags.of_images(parser, {ability for ability, has in able.items() if has})
    parser.add_method(kind, "sample")
    return draw_images
