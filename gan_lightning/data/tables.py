"""Tables in text files: their records, and what their numbers and times mean."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

MARKS = ("::", "\t", ",", ";")  # what parts the fields of a record
LONG = 2**20  # characters of a line that no table has
SHOWN, LONGEST = 12, 30  # fields of a message, and characters of each
FILES = {"imageid", "image", "img", "imagename", "file", "filename", "name", "path"}  # columns that name image files

_NO_VALUE = {"null", "na", "n/a", "nan", "none", "nil", "\\n", "-", "?"}
_MOMENT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?(?: ?(?:(Z|UTC)|([+-]\d\d):?(\d\d)?))?)?",
    re.ASCII | re.IGNORECASE,
)
_UNNAMED = re.compile(r"(?:unnamed: \d+(?:[._]\d+)*)?", re.IGNORECASE)


class Time(NamedTuple):
    """A moment, comparable with others of its kind."""

    kind: str  # "a number", "a date without an offset" or "a date with an offset"
    value: float  # the number, or seconds since 1970


def records(path: Path, codec: str, mark: str) -> Iterator[tuple[int, list[str]]]:
    """The fields of each record without the white space around them, and the number of the line that it begins on.

    Blank records are left out. Fields are quoted as in csv, with `mark` or line ends inside, but for those that `::` or
    white space (a `mark` of " ") parts, and those that tabs part where the first line is not quoted all over.

    Raises:
        ValueError: quotes that do not close or close early, or a field or a line that is too long, with its number.
    """
    with path.open(encoding=codec, newline="") as file:
        if mark in ("::", " "):
            lines = _bounded(file, path)
            parted = (line.split() if mark == " " else [field.strip() for field in line.split(mark)] for line in lines)
            yield from _filled(enumerate(parted, 1))
            return
        head = file.readline(LONG).strip().split(mark)
        quoted = mark != "\t" or all(len(field) > 1 and field[0] == field[-1] == '"' for field in head)
        file.seek(0)
        how: Any = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        reader = csv.reader(_bounded(file, path), delimiter=mark, quoting=how, strict=True)
        yield from _filled(_numbered(reader, path))


def _bounded(lines: Iterable[str], path: Path) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if len(line) > LONG:
            raise ValueError(f"{path}, line {number}: {len(line):,} characters, and no table has such lines")
        yield line


def _filled(lines: Iterable[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    for number, fields in lines:
        if any(fields):
            yield number, fields


def _numbered(reader: Any, path: Path) -> Iterator[tuple[int, list[str]]]:
    number = 1
    try:
        for fields in reader:
            yield number, [field.strip() for field in fields]
            number = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}, line {number}: quotes or fields that are no table's: {error}") from None


def number(text: str, decimal_comma: bool = False) -> float | None:
    """The finite number, in digits of any script, that a field is; None where it is none.

    Args:
        text: of the field.
        decimal_comma: "4,5" is four and a half.
    """
    if decimal_comma and "." not in text:
        text = text.replace(",", ".", 1)
    try:
        value = math.nan if "_" in text else float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def moment(text: str, decimal_comma: bool = False) -> Time | None:
    """The time that a field is: a number, or a date of ISO 8601 with or without hours and offset; None for neither."""
    if (value := number(text, decimal_comma)) is not None:
        return Time("a number", value)
    if not (found := _MOMENT.fullmatch(text)):
        return None
    *whole, fraction, zulu, hours, minutes = found.groups()
    try:
        year, month, day, hour, minute, second = (int(part or 0) for part in whole)
        when = datetime(year, month, day, hour, minute, second, int((fraction or "0")[:6].ljust(6, "0")))
    except ValueError:  # no such day or hour
        return None
    offset = timedelta()
    if hours:
        offset = timedelta(hours=int(hours), minutes=int(hours[0] + (minutes or "0")))
    seconds = (when.replace(tzinfo=timezone.utc) - offset - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds()
    return Time("a date with an offset" if zulu or hours else "a date without an offset", seconds)


def names_columns(fields: Iterable[str]) -> bool:
    """Whether a record can be a header: no field is a number, a date or a mark of what is missing."""
    return all(moment(field, True) is None and field.lower() not in _NO_VALUE for field in fields)


def unnamed(column: str) -> bool:
    """Whether a column is an index that pandas wrote: without a name, or "Unnamed: 0"."""
    return _UNNAMED.fullmatch(column) is not None


def names_files(column: str) -> bool:
    """Whether a column has the names of image files, by its own name: image, image_id, file name or the like."""
    return re.sub(r"[\s_-]", "", column).lower() in FILES


def short(field: str) -> str:
    """A field for a message: not the whole of a long one."""
    return field if len(field) <= LONGEST else field[: LONGEST - 3] + "..."


def shown(fields: Iterable[str]) -> str:
    """Fields for a message: some of them, quoted."""
    fields = list(fields)
    more = f" and {len(fields) - SHOWN} more" if len(fields) > SHOWN else ""
    return ", ".join(repr(short(field)) for field in fields[:SHOWN]) + more
