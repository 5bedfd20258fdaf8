"""Where Parquet files are, by path, URL or name on the Hugging Face Hub, and what their footers say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from gan_lightning.data.finding import HELD_OUT, TRAINING
from gan_lightning.data.store import LOCAL, is_url, located, reached
from gan_lightning.runtime.errors import nearest, one_line, printable

ENDING = ".parquet"
INSTALL = "pip install 'gan_lightning[parquet]'"


def pyarrow_parquet() -> ModuleType:
    """The package pyarrow, which is optional.

    Raises:
        ValueError: it is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise ValueError(f"Parquet files need the package pyarrow: {INSTALL}") from None
    return pyarrow.parquet


class Columns(NamedTuple):
    """Where a file has its pictures and labels.

    Attributes:
        image: name of the column.
        content: of its leaf with the bytes: `image.bytes`, or the column itself.
        label: name of the column of classes; None where there is none.
        classes: their names.
    """

    image: str
    content: str
    label: str | None
    classes: list[str] | None


class Group(NamedTuple):
    """Rows of a row group: of a split, the first ones train and the last ones validate."""

    file: int
    number: int  # of the group in the file
    first: int
    rows: int


class ParquetFiles:
    """Parquet files of one split, and where their row groups are; no pixels are read.

    Args:
        names: paths or URLs, one at least.
        image_column, label_column: names; None to find them by type.

    Raises:
        FileNotFoundError, OSError, ValueError: a file cannot be read, or its columns are others.
    """

    def __init__(self, names: list[str], image_column: str | None, label_column: str | None) -> None:
        self.names = names
        self.sizes: list[int] = []  # of the files
        self.versions: list[str] = []  # of the files of URLs, as their store tells them: by hash or time, where it can
        self.rows: list[tuple[int, int, int]] = []  # a row group's file, its number there, and how many rows it has
        self.bytes: list[int] = []  # of each row group, in memory
        found = []
        for file, name in enumerate(names):
            with reached(name) as (system, path):
                self.sizes.append(int(system.size(path)))
                self.versions.append(str(system.ukey(path)) if is_url(name) else "")
                with system.open(path, "rb") as content:
                    footer = _footer(content, name)
            found.append(columns_of(footer.schema.to_arrow_schema(), printable(name), image_column, label_column))
            if found[-1] != found[0]:
                raise ValueError(f"{printable(name)} has other columns or classes than {printable(names[0])}")
            for number in range(footer.num_row_groups):
                group = footer.row_group(number)
                self.rows.append((file, number, group.num_rows))
                self.bytes.append(max(group.total_byte_size, 1))
        self.columns: Columns = found[0]

    def parted(self, fraction: float) -> tuple[list[Group], list[Group]]:
        """The groups' first rows to train on, and the last ones to hold out: such a share of all, evenly."""
        train, val = [], []
        seen = held = 0
        for file, number, count in self.rows:
            seen += count
            out = int(seen * fraction) - held
            held += out
            train.append(Group(file, number, 0, count - out))
            val.append(Group(file, number, count - out, out))
        return train, val


def _footer(content: Any, name: str) -> Any:
    try:
        return pyarrow_parquet().read_metadata(content)
    except Exception as error:
        reason = printable(str(error).split(". ")[0])[:200]
        raise ValueError(f"{printable(name)} is no Parquet file, or was cut off: {reason}") from None


def columns_of(schema: Any, name: str, image_column: str | None = None, label_column: str | None = None) -> Columns:
    """The columns of pictures and of labels, by their types and by what `datasets` keeps of them in the schema.

    A column of pictures is an `Image` of `datasets`, else a struct with the field `bytes`, else one of bytes. Labels
    are a `ClassLabel`, which names the classes.

    Args:
        schema: pyarrow's.
        name: of the file, for messages.
        image_column, label_column: names; None to find them.

    Raises:
        ValueError: there is no such column, or there are several.
    """
    types = {field.name: str(field.type) for field in schema}
    contents = {}
    for field in schema:
        inner = [field.type.field(i) for i in range(field.type.num_fields)] if str(field.type)[:6] == "struct" else []
        if any(part.name == "bytes" and str(part.type) in ("binary", "large_binary") for part in inner):
            contents[field.name] = f"{field.name}.bytes"
    features = _features(schema)
    images = [one for one in contents if features.get(one, {}).get("_type") == "Image"] or list(contents)
    if not images or image_column is not None:
        plain = {one: one for one, kind in types.items() if kind in ("binary", "large_binary")}
        images = images or list(plain)
        contents |= plain
    image = _one(images, list(contents), image_column, "pictures", "image_column", name, types)
    classes = {one: _names(about) for one, about in features.items() if about.get("_type") == "ClassLabel"}
    classes = {one: names for one, names in classes.items() if names and one in types}
    if label_column is None and not classes:
        return Columns(image, contents[image], None, None)
    label = _one(list(classes), list(classes), label_column, "class labels with names", "label_column", name, types)
    return Columns(image, contents[image], label, classes[label])


def _one(
    found: list[str], possible: list[str], asked: str | None, what: str, flag: str, name: str, types: dict[str, str]
) -> str:
    if asked is not None:
        if asked not in possible:
            near = nearest(asked, possible)
            raise ValueError(f"{name} has no column {asked!r} of {what}{near}: its columns are {_shown(types)}")
        return asked
    if len(found) != 1:
        number = "several columns" if found else "no column"
        raise ValueError(f"{name} has {number} of {what}: name one by --data.{flag}; its columns are {_shown(types)}")
    return found[0]


def _shown(types: dict[str, str]) -> str:
    return printable(", ".join(f"{name} ({kind})" for name, kind in list(types.items())[:20]))


def _features(schema: Any) -> dict[str, dict]:
    """What `datasets` says of each column; empty where a file is not of its making."""
    try:
        said = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {name: about for name, about in said.items() if isinstance(about, dict)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _names(about: dict) -> list[str] | None:
    names = about.get("names")
    if isinstance(names, dict):  # as older versions wrote them: by number
        names = [names[number] for number in sorted(names, key=int)]
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def parquet_files(root: str, config: str | None) -> dict[str, list[str]]:
    """The files of each split of a file, a folder, a URL or a name on the Hugging Face Hub.

    Raises:
        FileNotFoundError: there are none.
        ValueError: the Hub needs its package, or cannot be asked; or what it has are no Parquet files.
    """
    path = Path(located(root))
    if not is_url(root) and not path.exists():
        if root.startswith(LOCAL) or not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", root, re.ASCII):
            raise FileNotFoundError(
                f"there is no {printable(path)}: give --data.root a {ENDING} file or a folder of them"
            )
        return on_hub(root, config)
    if root.endswith(ENDING) and not path.is_dir():
        return {"train": [located(root)]}
    splits: dict[str, list[str]] = {}
    if is_url(root):
        with reached(located(root)) as (system, inner):
            for found in sorted(system.glob(f"{inner.rstrip('/')}/**/*{ENDING}")):
                split = _split_of(found.removeprefix(inner.rstrip("/")))
                splits.setdefault(split, []).append(str(system.unstrip_protocol(found)))
    else:
        for file in sorted(path.rglob(f"*{ENDING}")):
            splits.setdefault(_split_of(str(file.relative_to(path))), []).append(str(file))
    if not splits:
        raise FileNotFoundError(f"there are no {ENDING} files in {printable(root)}")
    return splits if "train" in splits else {"train": splits.pop("", []), **splits}


def _split_of(name: str) -> str:
    """What `train-00000-of-00002.parquet` or `train/0000.parquet` is of; empty where the name does not say it."""
    for part in reversed(Path(name).with_suffix("").parts):
        if TRAINING.fullmatch(part):
            return "train"
        if HELD_OUT.fullmatch(part):
            return re.split("[^a-z]", part.lower())[0]
    return ""


def on_hub(name: str, config: str | None) -> dict[str, list[str]]:
    """The files of each split of a data set on the Hugging Face Hub, as `datasets` finds them; no code of it is run."""
    try:
        import datasets
    except ImportError:
        raise ValueError(
            f"there is no file or folder {name} here, and a name on the Hugging Face Hub needs the package datasets: "
            f"{INSTALL}"
        ) from None
    try:
        found = datasets.load_dataset_builder(name, config).config.data_files or {}
    except Exception as error:  # of the network, of the Hub, of the data set
        raise ValueError(
            f"there is no file or folder {name} here, and the Hugging Face Hub does not give it: {one_line(error, 200)}"
        ) from None
    splits = {str(split): list(map(str, files)) for split, files in found.items()}
    if not splits or not all(file.endswith(ENDING) for files in splits.values() for file in files):
        raise ValueError(
            f"{name} on the Hugging Face Hub does not consist of {ENDING} files: try its copy that does, --data.root "
            f"hf://datasets/{name}@~parquet/{config or 'default'}"
        )
    return splits
