"""How a text file is encoded: UTF-8, or a line that says what it looks like instead and how to convert it."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_warn

LOOK = 2**20  # bytes by which an encoding is guessed, and that are read at a time
LIKE = 0.9  # share of the bytes above 127 that an encoding's usual characters take, at least, where it is the one
ONE_SIDE = 0.95  # share of the zero bytes of UTF-16 that stand on the same side of its pairs, at least
ZEROS = 1 / 3  # share of zero bytes in UTF-16, at least, where what is left would be UTF-8

_LOW = re.compile(rb"[\x00-\x7f]+")
_MARKS = {  # of files that begin so; the longer marks first
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_NO_TEXT = {
    b"\x1f\x8b": "compressed by gzip: unpack it",
    b"PK\x03\x04": "a zip archive, or a workbook: unpack it, or save it as a text file",
    b"PAR1": "in Parquet's format: save it as a text file",
}
# The usual characters of encodings of several bytes, without ASCII: kana, hangul, and the frequent half of the others.
_USUAL = {
    "CP932 (Shift-JIS)": re.compile(rb"(?:[\x82\x83\x88-\x97][\x40-\x7e\x80-\xfc]|\x81[\x41-\x7e\x80-\xac])"),
    "EUC-KR": re.compile(rb"[\xa1\xb0-\xc8][\xa1-\xfe]"),
    "GB18030": re.compile(rb"[\xa1-\xa3\xb0-\xd7][\xa1-\xfe]"),
    "EUC-JP": re.compile(rb"[\xa1\xa4\xa5\xb0-\xcf][\xa1-\xfe]"),
    "BIG5": re.compile(rb"[\xa1\xa4-\xc6][\x40-\x7e\xa1-\xfe]"),
}


def codec_of(path: Path, flag: str, eight_bit: bool = False) -> str:
    """The codec that a text file is opened with: "utf-8-sig", which takes a byte order mark off.

    Args:
        path: of the file.
        flag: that names it on the command line, for messages.
        eight_bit: take a file that is neither UTF-8 nor seems to be in an encoding of several bytes for "latin-1",
            with a warning: every byte is a character then, so that no two names become one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no text, or encoded in another way, with the line and the command that converts it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: give {flag} a text file")
    with path.open("rb") as file:
        head = file.read(LOOK)
    for mark, what in _NO_TEXT.items():
        if head.startswith(mark):
            raise ValueError(f"{path} is no text but {what}")
    name = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None) or _without_mark(head)
    fault = f"{path} is not UTF-8"
    if name is None:
        line, reason = _fault(path)
        if line == 0:
            return "utf-8-sig"
        if reason == "zero":
            raise ValueError(f"{path}, line {line}: a zero byte, which no text has: the file is damaged or no text")
        fault = f"{path} is not UTF-8, line {line}: {reason}"
        names = _of_several_bytes(path, line)
        if not names and eight_bit:
            rank_zero_warn(f"{fault}; its names are read as Latin-1")
            return "latin-1"
        name = " or ".join(names)
    if not name:
        raise ValueError(f"{fault}; save it as UTF-8, from Latin-1: iconv -f LATIN1 -t UTF-8 OLD > NEW")
    raise ValueError(f"{fault}; it looks like {name}: iconv -f {name.split()[0]} -t UTF-8 OLD > NEW")


def _fault(path: Path) -> tuple[int, str]:
    """The number of the first line that is not UTF-8, and why, or "zero" for a zero byte; (0, "") where all is well."""
    decoder, line = codecs.getincrementaldecoder("utf-8")(), 1
    with path.open("rb") as file:
        while True:
            part = file.read(LOOK)
            pending = decoder.getstate()[0]  # of a character that the part before began
            try:
                decoder.decode(part, final=not part)
            except UnicodeDecodeError as error:
                return line + (pending + part)[: error.start].count(b"\n"), error.reason
            if (zero := part.find(b"\0")) >= 0:
                return line + part[:zero].count(b"\n"), "zero"
            if not part:
                return 0, ""
            line += part.count(b"\n")


def _without_mark(head: bytes) -> str | None:
    """UTF-16 without a byte order mark: its line feeds and spaces have a zero byte, all on the same side."""
    zeros, right = head.count(b"\0"), head[1::2].count(b"\0")
    for name, share in (("UTF-16LE", right), ("UTF-16BE", zeros - right)):
        if not zeros or share < ONE_SIDE * zeros or (zeros < ZEROS * len(head) and _decoded(head, "utf-8") is not None):
            continue  # a zero byte of a damaged file
        text = _decoded(head, name)
        if text is not None and ("\n" in text or b"\n" not in head):
            return name
    return None


def _decoded(some: bytes, codec: str) -> str | None:
    """A file's beginning as text; None where it is none. A character that the end cuts in two is left out."""
    try:
        return codecs.getincrementaldecoder(codec)().decode(some)
    except UnicodeDecodeError:
        return None


def _of_several_bytes(path: Path, line: int) -> list[str]:
    """The encodings of several bytes, at most two, whose usual characters the bytes from this line on are."""
    with path.open("rb") as file:
        for _ in range(line - 1):
            file.readline()
        text = file.read(LOOK)
    high, share = len(_LOW.sub(b"", text)), {}
    for name, usual in _USUAL.items():
        if high and _decoded(text, name.split()[0]) is not None:
            share[name] = len(_LOW.sub(b"", b"".join(usual.findall(text)))) / high
    best = max(share.values(), default=0)
    return [name for name, value in share.items() if value == best][:2] if best >= LIKE else []
