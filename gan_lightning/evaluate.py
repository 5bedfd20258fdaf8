"""Scores of a checkpoint, or of anyone's images.

    python -m gan_lightning.evaluate CKPT --data MNIST --metrics fid,is,kid,prdc --n 10000 --json scores.json
    python -m gan_lightning.evaluate --real FOLDER|STATS.npz --fake FOLDER
    python -m gan_lightning.evaluate --make_stats --data MNIST
    python -m gan_lightning.evaluate --compare a.json b.json

A model of what is not an image to be looked at, such as sequences or rankings, has figures of its own, which no flags
name: `python -m gan_lightning.evaluate CKPT`.

Every score comes with its protocol card, and scores whose cards differ are not compared. Under torchrun the processes
share the images, and find what one finds.

A score that cannot be had is answered in a line and loses no other: the exit code is then 1, or 2 where none is left.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from gan_lightning.errors import Parser, PeerError, complain, nearest, printable, program, short_errors
from gan_lightning.reading import Reading, add_flags, reading_of

if TYPE_CHECKING:  # loaded when the flags are known to be right: they take seconds
    import torch
    from lightning.pytorch import LightningDataModule

    from gan_lightning.core import AdversarialModule, TwoPlayerGAN
    from gan_lightning.data.sets import Examples
    from gan_lightning.metrics import Extractor
    from gan_lightning.scoring import Ask, Protocol

METRICS = ("fid", "is", "kid", "prdc", "memorisation", "modes", "label_accuracy", "linear_probe")
Found = dict[str, dict[str, Any]]  # figure -> {"value": float, "card": dict}


def arguments(argv: list[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The flags, and those that go to the data module (`--data.size 32`)."""
    parser = Parser(program("evaluate"), description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("checkpoint", nargs="?", help="a .ckpt file, whose generator is scored")
    parser.add_trust()
    parser.add_argument("--metrics", help=f"of {','.join(METRICS)} (default fid, or what a model is scored by)")
    real = parser.add_argument_group("real images")
    real.add_argument("--data", help="a data module; --data.size 32 and the like set it (default: the checkpoint's)")
    real.add_argument("--split", choices=["train", "val"], help="of --data (default train)")
    real.add_argument("--real", type=Path, help="in place of --data: a folder of images, or an npz file of statistics")
    real.add_argument("--n_real", type=int, help="real images (default: all; as many as fakes for kid and prdc)")
    fake = parser.add_argument_group("fake images")
    fake.add_argument("--fake", type=Path, help="in place of a checkpoint: a folder of images")
    # Its second name is for torchrun, which takes `--n` for a flag of its own.
    fake.add_argument("--n", "--n_fake", type=int, help="images (default: 10,000 of a checkpoint, all of a folder)")
    fake.add_argument("--seed", type=int, default=0, help="of the latents (default %(default)s)")
    fake.add_argument("--live", action="store_true", help="the trained weights in place of their average")
    fake.add_argument("--standing", type=int, metavar="N", help="batch statistics of N batches of the model's samples")
    fake.add_argument("--truncation", type=float, metavar="PSI", help="of the latents, for a model that knows it")
    how = parser.add_argument_group("how")
    how.add_argument("--size", type=int, help="bring the images of folders to this height and width")
    add_flags(how)
    how.add_argument(
        "--extractor", help="of gan_lightning.metrics, or an import path (default: the data's, else Inception)"
    )
    how.add_argument("--weights", help="the extractor's weights file")
    how.add_argument("--splits", type=int, default=10, help="of is (default %(default)s)")
    how.add_argument("--subsets", type=int, default=100, help="of kid (default %(default)s)")
    how.add_argument("--subset_size", type=int, default=1000, help="of kid (default %(default)s)")
    how.add_argument("--k", type=int, default=5, help="neighbours of prdc (default %(default)s)")
    how.add_argument("--batch_size", type=int, default=100, help="images at a time (default %(default)s)")
    how.add_argument("--device", choices=["cpu", "cuda", "auto"], default="auto", help="default %(default)s")
    out = parser.add_argument_group("what comes of it")
    out.add_argument("--json", type=Path, metavar="FILE", help="write the scores with their cards")
    out.add_argument("--make_stats", action="store_true", help="only look at the real images, and keep what was found")
    out.add_argument("--out", type=Path, help="with --make_stats: write it to this npz file too")
    out.add_argument("--compare", nargs=2, type=Path, metavar=("A", "B"), help="two --json files")
    out.add_argument("--force", action="store_true", help="compare although the cards differ")
    ours, for_data = _divided(argv)
    given = parser.parse_args(ours)
    given.metrics = [name for name in ("fid" if given.metrics is None else given.metrics).split(",") if name]
    for name in given.metrics:
        if name not in METRICS:
            parser.error(f"--metrics: there is no {name}{nearest(name, METRICS) or ', but ' + ', '.join(METRICS)}")
    for name in ("n", "n_real", "size", "splits", "subsets", "subset_size", "k", "batch_size"):
        if (value := getattr(given, name)) is not None and value < 1:
            parser.error(f"--{name} must be at least 1, not {value}")
    if not given.metrics:
        parser.error(f"--metrics: name one of {', '.join(METRICS)}")
    if given.compare:
        return given, []
    if (given.checkpoint is None) == (given.fake is None) and not given.make_stats:
        parser.error("give a checkpoint, or --fake with a folder of images")
    if given.real is not None and (given.data is not None or for_data or given.split is not None):
        parser.error("give --data (with its --split) or --real, not both")
    for flag in ("standing", "truncation"):
        if given.checkpoint is None and getattr(given, flag) is not None:
            parser.error(f"--{flag} is for the generator of a checkpoint: leave it out")
    for flag in ("white", "max_pixels"):
        if flag in given.set and given.real is None and given.fake is None:
            parser.error(f"--{flag} is for folders of images: with --data it is --data.{flag}")
    if given.make_stats and given.json is not None:
        parser.error("--json is of scores, and --make_stats makes none: use --out")
    if given.make_stats and given.fake is not None:
        parser.error("--make_stats looks at real images alone: leave --fake out")
    if given.checkpoint is None and given.data is None and given.real is None:
        parser.error("give the real images: --data NAME, or --real with a folder or an npz file")
    if given.make_stats and given.real is not None and given.real.suffix == ".npz":
        parser.error(f"--real {given.real} is a file of statistics already")
    if "linear_probe" in given.metrics and (given.checkpoint is None or given.real is not None):
        parser.error("linear_probe takes a checkpoint, and --data with labels")
    for flag in ("json", "out"):
        if (path := getattr(given, flag)) is not None and not path.parent.is_dir():
            parser.error(f"--{flag} {path}: the folder {path.parent} does not exist")
        if path is not None and path.is_dir():
            parser.error(f"--{flag} {path} is a folder, not a file")
    given.split = given.split or "train"
    return given, for_data


def _divided(argv: list[str] | None) -> tuple[list[str], list[str]]:
    """The arguments without and with those that begin with `--data.`."""
    ours: list[str] = []
    for_data: list[str] = []
    words = iter(sys.argv[1:] if argv is None else argv)
    for word in words:
        if not word.startswith("--data."):
            ours.append(word)
        else:
            for_data += [word] if "=" in word else [word, next(words, "")]
    return ours, for_data


# The two sides.


def folder_of_images(path: Path, size: int | None, reading: Reading) -> Examples:
    """The images of a folder that count, as RGB, in their own size or brought to one; prints what does not count.

    Raises:
        FileNotFoundError, ValueError: see :func:`data.scored.images_to_score`; or a first one that cannot be read.
    """
    import torch

    from gan_lightning.data.folder import Files
    from gan_lightning.data.scored import images_to_score
    from gan_lightning.processes import place

    paths, remarks = images_to_score(path, size)
    if place()[0] == 0:
        for remark in remarks:
            print(remark, file=sys.stderr)
    return Files(paths, torch.zeros(len(paths), dtype=torch.int64), size, 3, reading)


def data_of(given: argparse.Namespace, for_data: list[str], module: AdversarialModule | None) -> LightningDataModule:
    """The data module that was named, or that the checkpoint was trained with, in the size of the model's images.

    Raises:
        ValueError: it cannot be built, or is of another kind than what the model was trained on: images of another
            shape, other words, other users.
    """
    import inspect

    from gan_lightning import command_line, data
    from gan_lightning.batches import LINKED_ARGUMENTS
    from gan_lightning.processes import place, together

    config = None
    if module is not None:
        config = (command_line.config_of(given.checkpoint, given.trust) or {}).get("data")
    shape = getattr(module, "image_shape", None)
    if config is not None and given.data in (None, config["class_path"].rsplit(".", 1)[-1], config["class_path"]):
        args = [f"--data={json.dumps(config)}"]
    elif given.data is None:
        raise ValueError(f"{given.checkpoint} does not say what it was trained on: give --data NAME")
    else:
        args = [f"--data={given.data}"]
        kind = getattr(data, given.data) if given.data in data.__all__ else None
        if shape is not None and kind is not None and "size" in inspect.signature(kind).parameters:
            args.append(f"--data.size={shape[1]}")
    found = command_line.data_module([*args, *for_data])
    if shape is not None and found.image_shape is not None and tuple(found.image_shape) != tuple(shape):
        made, real = ("x".join(map(str, sizes)) for sizes in (shape, found.image_shape))
        raise ValueError(f"{type(module).__name__} makes {made} images, {found.name} has {real}: set --data.size")
    if found.image_shape is None and (module is None or shape is not None):
        raise ValueError(f"{found.name} has no images")
    for fact in (fact for fact in LINKED_ARGUMENTS if fact not in ("image_shape", "num_classes")):
        own, there = getattr(module, fact, None), getattr(found, fact, None)
        if own is not None and own != there:
            has = f"another {fact} than" if there else f"no {fact}, unlike"
            raise ValueError(f"{found.name} has {has} what {given.checkpoint} was trained on")
    if tuple((found.image_shape or ())[1:]) == (1, 1) and not getattr(module, "scored_by", ""):
        raise ValueError(f"{found.name} has points, not images")
    with together():
        if place()[0] == 0:
            found.prepare_data()  # a download, by one
    return found


@contextmanager
def alone(lost: list[str]) -> Iterator[None]:
    """Within it is what one score needs alone: where that cannot be had, why is kept, and no other score is lost.

    All processes find the same, as in :func:`processes.together`.
    """
    from gan_lightning.processes import together

    try:
        with together():
            yield
    except (ValueError, OSError, PeerError) as error:
        broke = isinstance(error, PeerError) and not error.bad_input  # that process ends, and this one with it
        if broke or os.environ.get("GAN_LIGHTNING_TRACEBACK"):
            raise
        if str(error) not in lost:
            lost.append(str(error))


def asks_of(given: argparse.Namespace, protocol: Protocol, lost: list[str]) -> list[Ask]:
    """What `--metrics` names, but for linear_probe and for what cannot be set so."""
    from gan_lightning import callbacks

    own = {
        "is": {"splits": given.splits},
        "kid": {"subsets": given.subsets, "subset_size": given.subset_size},
        "prdc": {"k": given.k},
    }
    kinds = {
        "fid": callbacks.FID,
        "is": callbacks.InceptionScore,
        "kid": callbacks.KID,
        "prdc": callbacks.PRDC,
        "memorisation": callbacks.MemorisationDistance,
        "modes": callbacks.ModeCoverage,
        "label_accuracy": callbacks.LabelAccuracy,
    }
    asks = []
    for name in given.metrics:
        if name in kinds:
            with alone(lost):
                asks.append(kinds[name](protocol=protocol, **own.get(name, {})).ask._replace(flags="--"))
    return asks


def probe(module: TwoPlayerGAN, data: LightningDataModule, given: argparse.Namespace, about: dict[str, Any]) -> Found:
    """Accuracy on the data's "val" split of a linear classifier on the features that the model represents images by,
    or on its discriminator's where it has none."""
    import torch

    from gan_lightning.data.base import to_unit
    from gan_lightning.metrics import ProbeFeatures, linear_probe
    from gan_lightning.scoring import CHOICE, subset

    if not data.num_classes or data.num_classes < 2:
        raise ValueError(f"linear_probe needs labels, and {data.name} has none")
    if hasattr(module, "represent"):
        seen, features = module.represent, "encoder's average, {}, means over places"
    elif hasattr(module, "discriminator"):
        seen, features = ProbeFeatures(module.discriminator), "discriminator, {}, maxima of 4x4 cells"
    else:
        raise ValueError(f"linear_probe reads a discriminator, and {type(module).__name__} has none")
    sides = []
    for split, most in (("train", given.n or 10_000), ("val", None)):
        images = data.reference(split)
        if not len(images):
            raise ValueError(f"linear_probe needs images in both splits, and {data.name} has none in {split}")
        rows = subset(len(images), min(most or len(images), len(images)), CHOICE)
        parts = [images.__getitems__(part.tolist()) for part in rows.split(given.batch_size)]
        sides += [
            torch.cat([seen(to_unit(part.image).to(module.device)).cpu() for part in parts]),
            torch.cat([part.label for part in parts]),
        ]
    accuracy, penalty = linear_probe(*sides)
    card = {
        "data": data.name,
        "data_hash": data.reference("train").fingerprint[:12],
        "split": "val",
        "n_train": len(sides[0]),
        "n_test": len(sides[2]),
        "features": features.format(sides[0].shape[1]),
        "classifier": f"linear L2-SVM, C={penalty:g}",
        "precision": "float32",
        **about,
    }
    return {"linear_probe": {"value": accuracy, "card": card}}


def own_scores(given: argparse.Namespace, for_data: list[str], module: AdversarialModule) -> Found:
    """What a model is scored by while it trains, with the arguments of that run; every process finds all of it.

    Raises:
        ValueError: a flag that is for images; see :func:`data_of` and the score's `setup`.
    """
    from gan_lightning import callbacks, checkpoints, command_line

    for flag in given.set:
        if flag not in ("checkpoint", "data", "device", "json", "trust"):
            raise ValueError(f"{type(module).__name__} is scored by {module.scored_by}: leave --{flag} out")
    content = checkpoints.read(given.checkpoint)
    config = command_line.config_of(given.checkpoint, given.trust, content) or {}
    used = (config.get("trainer") or {}).get("callbacks") or []
    used = [used] if isinstance(used, dict) else used
    known = [one.get("init_args") for one in used if one["class_path"].rsplit(".", 1)[-1] == module.scored_by]
    score = getattr(callbacks, module.scored_by)(**(known[0] if known else None) or {})
    run = SimpleNamespace(
        datamodule=data_of(given, for_data, module),
        callbacks=[score],
        global_step=content["global_step"],
        callback_metrics={},
        is_global_zero=False,  # there is nowhere to log to
    )
    score.setup(run, module, "fit")
    return {name: {"value": value, "card": score.card} for name, value in score.score(run, module).items()}


@contextmanager
def processes_of_torchrun(device: str) -> Iterator[torch.device]:
    """This process's device; under torchrun, within the group of all its processes."""
    import torch
    import torch.distributed as dist

    from gan_lightning.processes import device_named

    here = device_named(device)
    cuda = here.type == "cuda"
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield here
        return
    if cuda:
        torch.cuda.set_device(here)
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield here
        dist.barrier()  # nobody hangs up while another still listens
    finally:
        dist.destroy_process_group()


def real_side(
    given: argparse.Namespace, for_data: list[str], module: TwoPlayerGAN | None
) -> tuple[Examples | None, str, LightningDataModule | None]:
    """The real images (None where a file of statistics stands for them), their name, and their data module."""
    if given.real is None:
        data = data_of(given, for_data, module)
        reals = data.reference(given.split)
        if not len(reals):
            other = "val" if given.split == "train" else "train"
            raise ValueError(f"{data.name} has no images in its split {given.split}: use --split {other}")
        return reals, data.name, data
    if given.real.suffix == ".npz":
        return None, printable(given.real), None
    return folder_of_images(given.real, given.size, reading_of(given)), printable(given.real), None


def refuse_unequal_sizes(real: tuple[str, Sequence[int]], fake: tuple[str, Sequence[int]]) -> None:
    """Scores of images in two sizes tell of the sizes.

    Args:
        real, fake: name, and (channels, height, width).

    Raises:
        ValueError: heights or widths differ.
    """
    if tuple(real[1][1:]) != tuple(fake[1][1:]):
        said = [f"{name} has {shape[2]}x{shape[1]} pixels" for name, shape in (real, fake)]
        raise ValueError(f"unequal image sizes: {', '.join(said)}: bring them to one with --size or --data.size")


def evaluated(
    given: argparse.Namespace, for_data: list[str], device: torch.device
) -> tuple[Found | list[Path], list[str]]:
    """The scores that were asked for, with `--make_stats` the files of the real side alone; and why others are lost."""
    from gan_lightning import checkpoints, processes, sample, scoring
    from gan_lightning.data.scored import refuse_nested, refuse_one_folder

    module = fakes = None
    lost: list[str] = []
    if given.checkpoint is not None:
        module = checkpoints.load_model(given.checkpoint, device, given.trust)
        if module.scored_by:
            return own_scores(given, for_data, module), lost
        sample.require_images(module)
    elif given.fake is not None:
        if given.real is not None:
            refuse_nested(given.real, given.fake)
        fakes = folder_of_images(given.fake, given.size, reading_of(given))
    reals, real_name, data = real_side(given, for_data, module)
    if fakes is not None:
        refuse_one_folder(getattr(reals, "paths", ()), fakes.paths)
    if reals is not None and not given.make_stats:
        fake_name = given.checkpoint if fakes is None else printable(given.fake)
        fake_shape = module.image_shape if fakes is None else fakes.shape
        refuse_unequal_sizes((real_name, reals.__getitems__([0]).image.shape[1:]), (fake_name, fake_shape))
    protocol = scoring.Protocol(
        n_fake=given.n or (10_000 if fakes is None else len(fakes)),
        n_real=given.n_real,
        split="all" if data is None else given.split,
        weights="live" if given.live else "ema",
        seed=given.seed,
        batch_size=given.batch_size,
        stats=printable(given.real) if reals is None else None,
        standing=given.standing or 0,
        truncation=given.truncation,
    )
    asked = asks_of(given, protocol, lost)
    extractor: Extractor | None = None
    if asked:
        name = given.extractor or ("Inception" if data is None else data.extractor)
        with alone(lost):
            extractor = scoring.extractor_named(name, given.weights).to(device)
    if given.make_stats:
        if lost:
            raise ValueError(lost[0])
        return made_stats(given, asked, extractor, reals, real_name, protocol, device), lost
    if module is not None:
        about = scoring.card_of(module, protocol, checkpoints.read(given.checkpoint)["global_step"])
        fakes = scoring.Samples(module, protocol)
    else:
        resized = f", by Pillow to {given.size}" if given.size else ""
        about = {"model": printable(given.fake), "image_shape": "x".join(map(str, fakes.shape)) + resized}
    found: Found = {}
    asks = []
    for ask in () if extractor is None else asked:
        with alone(lost):
            scoring.check_ask(ask, extractor, fakes, reals, real_name)
            asks.append(ask)
    if asks:
        shown = processes.place()[0] == 0
        for figures, card in scoring.scores_of(asks, extractor, fakes, reals, real_name, about, device, shown):
            found |= {name: {"value": value, "card": card} for name, value in figures.items()}
    if "linear_probe" in given.metrics:
        with alone(lost):
            found |= probe(module, data, given, {name: about[name] for name in ("model", "step", "images_seen")})
    return found, lost


def made_stats(
    given: argparse.Namespace,
    asks: list[Any],
    extractor: Extractor,
    reals: Examples,
    real_name: str,
    protocol: Protocol,
    device: torch.device,
) -> list[Path]:
    """Look at the real images for these scores; the files where the result is kept."""
    from gan_lightning import scoring
    from gan_lightning.processes import place

    wanted = scoring.wanted_of(asks, reals)
    if not wanted:
        raise ValueError(f"--make_stats: {', '.join(given.metrics)} compare with no real images")
    if given.out is not None and len(wanted) > 1:
        raise ValueError(f"--out {given.out}: these metrics need {len(wanted)} files; set --n_real, or ask for one")
    for ask in asks:
        if not ask.kind.conditional:
            scoring.check_ask(ask, extractor, None, reals, real_name)
    first = place()[0] == 0
    known = scoring.references(wanted, extractor, reals, real_name, protocol, device, progress=first)
    if given.out is not None and first:
        scoring.save_reference(given.out, next(iter(known.values())))
    paths = [scoring.reference_file(reference.protocol) for reference in known.values()]
    return [path for path in (*paths, given.out) if path is not None and path.is_file()]


# What comes of it.


def show(found: Found) -> str:
    """The table for the terminal, and below it how the scores were made."""
    from gan_lightning.scoring import card_lines, table

    lines = table({name: entry["value"] for name, entry in found.items()})
    return "\n".join([*lines, *card_lines([entry["card"] for entry in found.values()])])


def compared(paths: list[Path], force: bool) -> str:
    """The table of two files' scores.

    Raises:
        FileNotFoundError, ValueError: a file that is not there or not ours, no score in common, or cards that differ.
    """
    from gan_lightning.scoring import differences

    one, other = (_read(path) for path in paths)
    names = [name for name in one if name in other]
    if not names:
        raise ValueError(f"{paths[0]} and {paths[1]} have no score in common")
    apart = {name: differences(one[name]["card"], other[name]["card"]) for name in names}
    if not force and (different := {line: None for lines in apart.values() for line in lines}):
        raise ValueError(
            f"these scores cannot be compared, their cards differ in {'; '.join(different)} (--force does)"
        )
    lines = [f"{'':<24}{paths[0].stem:>14}{paths[1].stem:>14}{'difference':>14}"]
    for name in names:
        a, b = one[name]["value"], other[name]["value"]
        lines.append(f"{name:<24}{a:>14.4g}{b:>14.4g}{b - a:>+14.4g}" + ("  (cards differ)" if apart[name] else ""))
    return "\n".join(lines)


def _read(path: Path) -> Found:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        found = json.loads(path.read_text())
        return {name: {"value": float(entry["value"]), "card": dict(entry["card"])} for name, entry in found.items()}
    except (ValueError, AttributeError, TypeError, KeyError):
        raise ValueError(f"{path} is not a file that --json wrote") from None


@short_errors()
def main(argv: list[str] | None = None) -> None:
    given, for_data = arguments(argv)
    if given.compare:
        print(compared(given.compare, given.force))
        return
    with processes_of_torchrun(given.device) as device:
        from gan_lightning.processes import place

        found, lost = evaluated(given, for_data, device)
        if place()[0] == 0:
            if found:
                print("\n".join(map(printable, found)) if isinstance(found, list) else show(found))
            if found and given.json is not None:
                given.json.write_text(json.dumps(found, indent=1) + "\n")
            for line in lost:
                complain(line)
    if lost:
        sys.exit(1 if found else 2)


if __name__ == "__main__":
    main()
