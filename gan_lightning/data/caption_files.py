"""Captions of image files as people keep them: tables, COCO's json, and text files beside the pictures or apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from gan_lightning.data.encodings import codec_of
from gan_lightning.data.finding import holds, identity, image_files, listed, named_images
from gan_lightning.data.tables import LONG, names_files, records, short, shown
from gan_lightning.runtime.errors import nearest, printable
from gan_lightning.text import caption_parts

FLAG = "--data.captions"
FILES = ("captions.csv", "captions.txt", "captions.tsv", "captions.json")
FOLDERS = ("text", "text_c10", "captions")  # of CUB's text files, beside `images`
IMAGES = ("images", "CUB_200_2011/images")
MARKS = ("\t", ",", ";", "|")
CAPTIONS = ("caption", "captions", "text", "comment", "sentence", "description")


class Row(NamedTuple):
    """A caption of an image, as a file has it."""

    image: str  # its name, as :func:`named_images` finds it
    caption: str
    place: str  # of the row in the file, for messages


def read_captions(root: Path, given: str | None) -> dict[Path, list[str]]:
    """The captions of each picture below a folder, in the order of their source; see :class:`CaptionedImages`.

    A picture counts once, whatever its names; so does a caption that it has twice, which a line tells.

    Args:
        root: the folder.
        given: the file or the folder of the captions, from `root` on; None to look for it.

    Raises:
        FileNotFoundError: there is no source, or no picture of a caption.
        ValueError: rows that cannot be used, which are named; or several sources to choose from.
    """
    source = source_of(root, given)
    if source.is_dir():
        paths, rows = _of_texts(source, root)
    else:
        rows = list(_of_json(source) if source.suffix.lower() == ".json" else _of_table(source))
        names = list(dict.fromkeys(row.image for row in rows))
        paths = dict(zip(names, named_images(root, names, source), strict=True))
    faults = [f"{row.place}: an empty caption" for row in rows if not caption_parts(row.caption, "word")]
    if faults:
        raise ValueError(
            f"{printable(source)}: {len(faults)} captions have no words: {listed(faults)}; take them out, or write them"
        )
    if not rows:
        raise ValueError(f"{printable(source)} has no captions")
    first: dict[object, Path] = {}
    found: dict[Path, dict[str, None]] = {}
    for name, caption, _ in rows:
        path = first.setdefault(identity(paths[name]), paths[name])
        found.setdefault(path, {})[" ".join(caption.split())] = None
    again = len(rows) - sum(map(len, found.values()))
    if again:
        rank_zero_warn(f"{printable(source)}: {again} captions are there twice for their picture, and count once")
    return {path: list(captions) for path, captions in found.items()}


def source_of(root: Path, given: str | None) -> Path:
    """The file, or the folder of text files, that has the captions.

    Raises:
        FileNotFoundError: the given one is not there.
        ValueError: there are several to choose from.
    """
    if given is not None:
        source = root / Path(given).expanduser()
        if not source.exists():
            near = nearest(source.name, [path.name for path in source.parent.glob("*")])
            raise FileNotFoundError(f"there is no {printable(source)}{near}: give {FLAG} a file or folder of captions")
        return source
    found = [path for name in FILES if (path := root / name).is_file()]
    found += [path for name in FOLDERS if (path := root / name).is_dir()]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise ValueError(f"{printable(root)} has captions in {names}: name one by {FLAG}")
    return found[0] if found else _images(root)


def _images(root: Path) -> Path:
    return next((path for name in IMAGES if (path := root / name).is_dir()), root)


def _of_table(path: Path) -> Iterator[Row]:
    codec = codec_of(path, FLAG)
    with path.open(encoding=codec) as file:
        head = file.readline(LONG)
    lines = records(path, codec, next((mark for mark in MARKS if mark in head), ","))
    line, names = next(lines, (0, []))
    of_image = [place for place, name in enumerate(names) if names_files(name)]
    of_caption = [place for place, name in enumerate(names) if name.lower() in CAPTIONS]
    if len(of_image) != 1 or len(of_caption) != 1:
        near = [word for word in ("image", "caption") if nearest(word, names)]
        also = "".join(f"; {name!r} for {word!r}?" for word in near for name in names if nearest(word, [name]))
        raise ValueError(
            f"{printable(path)}, line {line or 1}: the columns are {shown(names) or 'missing'}, and one must be called "
            f"image, one caption{also}"
        )
    for line, fields in lines:
        if len(fields) != len(names):
            raise ValueError(
                f"{printable(path)}, line {line}: {len(fields)} fields under {len(names)} columns, {shown(fields)}: a "
                "caption with the mark that parts columns needs quotes around it"
            )
        yield Row(fields[of_image[0]], fields[of_caption[0]], f"line {line}")


def _of_json(path: Path) -> Iterator[Row]:
    """COCO's images and annotations, or an object of file names, each with its caption or a list of them."""
    try:
        content = json.loads(path.read_text(encoding=codec_of(path, FLAG)))
    except json.JSONDecodeError as error:
        raise ValueError(f"{printable(path)}, line {error.lineno}: no JSON: {error.msg}") from None
    forms = "captions are COCO's 'images' and 'annotations', or lists of texts by the names of their images"
    if not isinstance(content, dict):
        raise ValueError(f"{printable(path)}: {forms}; this is {short(repr(content))}")
    keys = list(content)
    if "images" in keys and "annotations" not in keys:
        raise ValueError(f"{printable(path)}: {forms}; this has 'images' and no 'annotations'")
    if {"images", "annotations"} <= set(keys):
        for name in ("images", "annotations"):
            if not isinstance(content[name], list):
                raise ValueError(f"{printable(path)}: {name!r} must be a list, not {short(repr(content[name]))}")
        yield from _of_coco(path, content["images"], content["annotations"])
        return
    texts = {name: [value] if isinstance(value, str) else value for name, value in content.items()}
    for name, captions in texts.items():
        if not isinstance(captions, list) or not all(isinstance(text, str) for text in captions):
            raise ValueError(
                f"{printable(path)}: {forms}; {short(name)!r} is neither{nearest(name, ['images', 'annotations'])}"
            )
        yield from (Row(name, text, short(name)) for text in captions or [""])


def _of_coco(path: Path, images: list[dict], annotations: list[dict]) -> Iterator[Row]:
    def field(row: object, name: str, place: str) -> Any:
        if not isinstance(row, dict) or name not in row:
            known, near = (shown(row), nearest(name, row)) if isinstance(row, dict) else (short(repr(row)), "")
            raise ValueError(f"{printable(path)}, {place} has no {name!r}, but {known}{near}")
        if not isinstance(row[name], str if name in ("file_name", "caption") else (str, int)):
            raise ValueError(f"{printable(path)}, {place}: its {name!r} is {short(repr(row[name]))}")
        return row[name]

    names = {}
    for number, row in enumerate(images, 1):
        names[field(row, "id", f"image {number}")] = field(row, "file_name", f"image {number}")
    for number, row in enumerate(annotations, 1):
        place = f"annotation {number}"
        image, caption = field(row, "image_id", place), field(row, "caption", place)
        if image not in names:
            raise ValueError(f"{printable(path)}, {place}: there is no image with the id {image!r}")
        yield Row(names[image], caption, place)


def _of_texts(folder: Path, root: Path) -> tuple[dict[str, Path], list[Row]]:
    """Pictures and captions where each picture has a text file of its name, a caption on each line.

    Raises:
        ValueError: there are no pictures or no texts.
        FileNotFoundError: texts of a folder of their own have no picture.
    """
    images = _images(root)
    pictures = {path.relative_to(images).with_suffix("").as_posix(): path for path in image_files(images)}
    texts = {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.txt"))}
    if not pictures:
        raise ValueError(holds(images))
    if not pictures.keys() & texts.keys():
        raise ValueError(
            f"no picture in {printable(images)} has captions: {printable(root)} needs {', '.join(FILES)}, a folder "
            f"{' or '.join(FOLDERS)}, or a .txt file beside each picture; or name the file or folder by {FLAG}"
        )
    missing = [printable(texts[name]) for name in texts if name not in pictures]
    if missing and folder != images:
        raise FileNotFoundError(f"{len(missing)} files of captions have no picture in {images}: {listed(missing)}")
    without = [printable(path) for name, path in pictures.items() if name not in texts]
    for found, what in ((missing, "text files have no picture"), (without, "pictures have no captions")):
        if found:
            rank_zero_warn(f"{printable(root)}: {len(found)} {what}, and are left out: {listed(found)}")
    rows = []
    for name, path in texts.items():
        if name not in pictures:
            continue
        with path.open(encoding=codec_of(path, FLAG)) as file:
            lines = [(number, line) for number, line in enumerate(file, 1) if line.strip()]
        rows += [Row(name, line, f"{printable(path)}, line {number}") for number, line in lines or [(1, "")]]
    return pictures, rows
