"""Tables of ratings: which column is the user, the item, the rating and the time, and the ratings in them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from gan_lightning.data.encodings import codec_of
from gan_lightning.data.tables import MARKS, Time, moment, names_columns, number, records, short, shown, unnamed
from gan_lightning.runtime.errors import nearest

# What the columns are usually called, without case, spaces, hyphens and underscores.
NAMES = {
    "user": "user userid uid username visitor visitorid reviewer reviewerid customer customerid member memberid "
    "account accountid",
    "item": "item itemid iid movie movieid mid book bookid product productid asin isbn song songid track trackid "
    "artist artistid anime animeid game gameid article articleid business businessid",
    "rating": "rating ratings score scores star stars overall bookrating userrating itemrating movierating",
    "time": "time timestamp ts date datetime unixreviewtime",
}


class Rating(NamedTuple):
    """A line of a file."""

    user: str
    item: str
    rating: float  # infinite where the file has choices alone
    time: float  # NaN where there is none


class Columns(NamedTuple):
    """Where a record's parts are."""

    user: int
    item: int
    rating: int | None
    time: int | None
    width: int  # fields of a record
    decimal_comma: bool


def ratings(path: Path, named: Mapping[str, str | None]) -> Iterator[Rating]:
    """The ratings of a file, see :class:`ImplicitFeedback` for its form.

    Args:
        path: of the file.
        named: the column that is the "user", "item", "rating" or "time"; None for one of the usual names, "" for none.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: columns that cannot be told apart, or a line that is no rating, by its number.
    """
    codec = codec_of(path, "--data.path", eight_bit=True)
    mark = _mark(path, codec, named)
    lines = records(path, codec, mark)
    line, first = next(lines, (0, []))
    if not line:
        raise ValueError(f"{path} is empty: expected lines of user, item, rating and perhaps time")
    if len(first) < 2:
        raise ValueError(f"{path}, line {line}: no tab, comma, semicolon or :: between user, item, rating and time")
    if names_columns(first):
        columns = _by_name(path, first, named, mark == ";")
        following = next(lines, None)
        if following is None:
            raise ValueError(f"{path} has no line beneath its header")
        lines = chain([following], lines)
    elif any(name is not None for name in named.values()):
        flag = next(role for role, name in named.items() if name is not None)
        raise ValueError(f"{path} has no header for --data.{flag}_column: line {line} is {shown(first)}")
    elif len(first) == 2:
        raise _broken(path, line, "2 fields; choices without ratings need a header, such as user,item")
    else:
        lines = chain([(line, first)], lines)
        width = min(len(first), 4)
        columns = Columns(0, 1, 2, 3 if width == 4 else None, width, mark == ";")
    kind = None
    for line, fields in lines:
        rating, time = _read(path, line, fields, columns)
        if time is not None and time.kind != (kind := kind or time.kind):
            raise _broken(path, line, f"its time is {time.kind}, that of the lines before is {kind}")
        yield Rating(fields[columns.user], fields[columns.item], rating, math.nan if time is None else time.value)


def _mark(path: Path, codec: str, named: Mapping[str, str | None]) -> str:
    """What parts the fields: the mark under which the first record makes sense, and of several that of most fields."""

    def sense(mark: str) -> tuple[bool, int]:
        try:
            fields = next(records(path, codec, mark), (0, []))[1]
        except ValueError:
            return False, 0
        good = 3 <= len(fields) <= 4 and number(fields[2], mark == ";") is not None
        good = good and all(moment(field, mark == ";") for field in fields[3:])
        return good or _names_both(fields, named), len(fields)

    return max(MARKS, key=sense)


def _found(role: str, fields: list[str], named: Mapping[str, str | None]) -> list[int]:
    """The columns that can be the user, the item, the rating or the time."""
    if named[role] is not None:
        return [place for place, field in enumerate(fields) if named[role] and field == named[role]]
    taken = set(named.values())
    usual = NAMES[role].split()
    return [
        place
        for place, field in enumerate(fields)
        if re.sub(r"[\s_-]", "", field).lower() in usual and field not in taken
    ]


def _names_both(fields: list[str], named: Mapping[str, str | None]) -> bool:
    return bool(_found("user", fields, named) and _found("item", fields, named))


def _by_name(path: Path, fields: list[str], named: Mapping[str, str | None], decimal_comma: bool) -> Columns:
    found = {role: _found(role, fields, named) for role in NAMES}
    has = f"{path} has the columns {shown(fields)}"
    for role, places in found.items():
        name = named[role]
        if name and not places:
            raise ValueError(
                f"{has}, none of which is --data.{role}_column {name!r}{nearest(name, map(short, fields))}"
            )
        if len(places) > 1:
            several = shown(fields[place] for place in places)
            raise ValueError(f"{has}: {several} can each be the {role}: name one by --data.{role}_column")
    missing = [role for role in ("user", "item") if not found[role]]
    if missing:
        flags = " and ".join(f"--data.{role}_column" for role in missing)
        raise ValueError(f"{has}: name the {' and the '.join(missing)} by {flags}, or mend that line if it is data")
    other = [f for place, f in enumerate(fields) if [place] not in found.values() and not unnamed(f)]
    if not found["rating"] and named["rating"] is None and other:
        raise ValueError(f'{has}: name the rating by --data.rating_column, or give it "" where every line is a choice')
    user, item, rating, time = (places[0] if places else None for places in found.values())
    if len({user, item, rating, time} - {None}) < 4 - (rating is None) - (time is None):
        raise ValueError(f"{has}: --data.user_column, item_column, rating_column and time_column must differ")
    assert user is not None and item is not None  # neither is missing
    return Columns(user, item, rating, time, len(fields), decimal_comma)


def _read(path: Path, line: int, fields: list[str], columns: Columns) -> tuple[float, Time | None]:
    """The rating and the time of a record."""
    if len(fields) != columns.width:
        raise _broken(path, line, f"{len(fields)} fields, not {columns.width}")
    for role in ("user", "item"):
        if not fields[getattr(columns, role)]:
            raise _broken(path, line, f"no {role}")
    rating, time = math.inf, None
    if columns.rating is not None:
        given = number(fields[columns.rating], columns.decimal_comma)
        if given is None:
            raise _broken(path, line, f"the rating {shown([fields[columns.rating]])} is not a finite number")
        rating = given
    if columns.time is not None:
        time = moment(fields[columns.time], columns.decimal_comma)
        if time is None:
            raise _broken(
                path, line, f"the time {shown([fields[columns.time]])} is neither a number nor a date like 2019-04-01"
            )
    return rating, time


def _broken(path: Path, line: int, fault: str) -> ValueError:
    return ValueError(f"{path}, line {line}: expected user, item, rating and perhaps time: {fault}")
