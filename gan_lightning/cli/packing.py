"""What `pack` does: refuse a folder that holds anything else, write shards, and say what to type next."""

from __future__ import annotations

import argparse
from pathlib import Path

from gan_lightning.cli.arguments import program
from gan_lightning.data import packing
from gan_lightning.runtime.errors import make_folder, printable
from gan_lightning.runtime.reading import reading_of

FLAGS = {"--data.root": "FOLDER", "--data.list_path": "--list_path", "--data.captions": "--captions"}  # as named here
MODELS = {"captions": "StackGAN", "attributes": "StarGAN", "classes": "BigGAN"}  # that take what stands beside pictures


def pack(given: argparse.Namespace) -> None:
    """Write the shards, and print what they hold.

    Raises:
        FileNotFoundError, ValueError: see :func:`gan_lightning.data.packing.pack`.
        FileExistsError: the folder holds a set already, shards of another program, or other files.
    """
    out: Path = given.out
    make_folder(out, "--out")
    if not packing.of_pack(out):
        raise FileExistsError(f"--out {printable(out)} holds other files than shards: give another folder")
    if any(out.iterdir()) and not packing.interrupted(out) and not given.overwrite:
        raise FileExistsError(f"--out {printable(out)} holds shards: give another folder, or --overwrite")
    names = None if given.attributes is None else [name for name in given.attributes.split(",") if name]
    try:
        index = packing.pack(
            given.folder,
            out,
            given.shard_images,
            given.size,
            given.channels,
            given.val_fraction,
            names,
            given.list_path,
            given.captions,
            reading_of(given),
        )
    except (ValueError, FileNotFoundError) as error:
        text = str(error)
        for flag, here in FLAGS.items():
            text = text.replace(flag, here)
        raise type(error)(text) from error
    train, val = (sum(shard["images"] for shard in index["shards"][split]) for split in ("train", "val"))
    count = sum(map(len, index["shards"].values()))
    print(f"{printable(out)}: {train:,} images to train on, {val:,} held out, {count} shards, {index['bytes']:,} bytes")
    if index["left_out"]:
        print(f"left out, for want of attributes or captions: {index['left_out']:,} images")
    beside = [kind for kind in MODELS if index[kind]]
    if index["classes"]:
        print(f"classes: {len(index['classes'])}")
    if index["attributes"]:
        print(f"attributes: {', '.join(map(printable, index['attributes']))}")
    if index["captions"]:
        print(f"captions: {len(index['captions']['word']['counts']):,} words")
    model = MODELS[beside[0]] if beside else "DCGAN"
    white = "" if given.white is None else f" --data.white {given.white}"
    print(f"next:\n  {program('fit')} {model} --data StreamedImages --data.root {printable(out)}{white}")
