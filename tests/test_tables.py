"""Tables as the world writes them: ratings, LETOR's documents, lists of attributes, an oracle's arrays."""

from __future__ import annotations

import csv
import io
import random
import time
import warnings
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from sklearn.datasets import load_svmlight_file

from gan_lightning.cli import command_line
from gan_lightning.data import AttributeImages, ImplicitFeedback, OracleSequences, RankingPairs
from gan_lightning.data.tables import moment, number

Choice = tuple[str, str]


def written(path: Path, text: str, encoding: str = "utf-8") -> str:
    path.write_text(text, encoding=encoding, newline="")
    return str(path)


def choices(data: ImplicitFeedback, split: str) -> set[Choice]:
    """Who chose what, by name."""
    examples = data.reference(split)
    if not len(examples):
        return set()
    batch = examples.__getitems__(list(range(len(examples))))
    pairs = batch.relevant.nonzero().tolist()
    return {(data.users[batch.query[row]], data.items[column]) for row, column in pairs}


def everyone(path: str, **options: Any) -> set[Choice]:
    return choices(ImplicitFeedback(path, holdout=0.0, **options), "train")


def some_ratings(seed: int, n: int = 60) -> list[tuple[str, str, float, int]]:
    """No pair twice; names with everything that a csv may quote."""
    draw = random.Random(seed)
    users = [f"u{i}" for i in range(6)] + ["7", "07", "Zoë, A.", 'the "one"', "two\nlines", "a;b"]
    items = [str(i) for i in range(20)] + ["Tab\tbed", "x, y", "the::end"]
    pairs = draw.sample([(user, item) for user in users for item in items], n)
    return [(*pair, draw.randint(1, 10) / 2, draw.randint(0, 30)) for pair in pairs]


# Columns


HEADERS = [
    ("userId", "movieId", "rating", "timestamp"),
    ("USER_ID", "ITEM_ID", "RATING", "TIMESTAMP"),
    ("User-ID", "ISBN", "Book-Rating", "Date"),
    ("reviewerID", "asin", "overall", "unixReviewTime"),
    ("uid", "book id", "stars", "ts"),
]


@pytest.mark.parametrize("seed", range(6))
def test_columns_are_found_by_name(tmp_path, seed):
    """In any order, among others, with an index, quoted, with any mark between them and any line end."""
    draw, rows = random.Random(seed), some_ratings(seed)
    header = HEADERS[seed % len(HEADERS)]
    table = {name: [row[part] for row in rows] for part, name in enumerate(header)}
    table |= {"title": [draw.choice(["5", "", "a\nb", "x,y"]) for _ in rows], "title.1": ["0"] * len(rows)}
    names = draw.sample(list(table), len(table))
    table |= {"": list(range(len(rows)))} if seed % 2 else {"Unnamed: 0": list(range(len(rows)))}
    names.insert(0, "" if seed % 2 else "Unnamed: 0")
    out = io.StringIO()
    mark = ",;\t"[seed % 3]  # a table of tabs is quoted all over or not at all
    quoting = csv.QUOTE_NONNUMERIC if seed > 2 or mark == "\t" else csv.QUOTE_MINIMAL
    writer = csv.writer(out, delimiter=mark, quoting=quoting, lineterminator=["\n", "\r\n"][seed % 2])
    writer.writerow(names)
    writer.writerows(zip(*(table[name] for name in names), strict=True))
    path = written(tmp_path / "r.csv", ["", "\ufeff"][seed % 2] + out.getvalue())
    assert everyone(path) == {(user, item) for user, item, rating, _ in rows if rating >= 4}
    data = ImplicitFeedback(path, holdout=0.5)
    for user in data.users:
        times = {split: [r[3] for r in rows if r[:2] in choices(data, split) and r[0] == user] for split in SPLITS}
        assert max(times["train"]) <= min(times["val"], default=99)


SPLITS = ("train", "val")


def test_other_names_are_given_by_flags(tmp_path):
    path = written(tmp_path / "r.csv", "who,note,what,when\nann,5,x,2\nann,4,y,1\nbob,1,x,3\n")
    flags = ["--data.user_column=who", "--data.item_column=what", "--data.rating_column=note"]
    flags = ["--data=ImplicitFeedback", f"--data.path={path}", "--data.holdout=0.5", *flags]
    data = command_line.data_module([*flags, "--data.time_column=when"])
    assert choices(data, "train") == {("ann", "y")} and choices(data, "val") == {("ann", "x")}
    assert len(command_line.data_module([*flags, "--data.threshold=1"]).users) == 2
    alone = ImplicitFeedback(path, user_column="who", item_column="what", rating_column="", holdout=0)
    assert choices(alone, "train") == {("ann", "x"), ("ann", "y"), ("bob", "x")}


def test_choices_without_ratings_need_a_header(tmp_path):
    text = "ann,x\nbob,y\nann,y\n"
    assert everyone(written(tmp_path / "a.csv", "user,item\n" + text)) == {("ann", "x"), ("ann", "y"), ("bob", "y")}
    timed = ImplicitFeedback(written(tmp_path / "b.csv", "time,user,item\n3,a,x\n1,a,y\n2,a,z\n"), holdout=0.34)
    assert choices(timed, "val") == {("a", "x")}
    refused(tmp_path, text, "columns 'ann', 'x': name the user and the item")
    refused(tmp_path, "1,2\n3,4\n", "line 1: .*2 fields; choices without ratings need a header, such as user,item")


def refused(folder: Path, text: str, match: str, **options: Any) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        _ = ImplicitFeedback(written(folder / "bad.csv", text), **options).users
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700 + len(str(folder))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        # a first line that is broken is an error, and no header
        ("user1,item5,NULL\nuser1,item6,5\n", "line 1: .*the rating 'NULL' is not a finite number"),
        ("1,2,NaN\n1,3,5\n", "line 1: .*'NaN' is not"),
        ("u,i,?\nu,j,5\n", "line 1: .*the rating '\\?'"),
        ("ann,x,5,yesterday\nann,y,5,3\n", "line 1: .*the time 'yesterday' is neither a number nor a date"),
        ("ann,x,good,3\nann,y,5,3\n", "line 1: .*'good'"),
        ("ann,x,good,2019-04-01\nann,y,5,2019-04-01\n", "line 1: .*'good'"),
        ("ann,matrix,good\nbob,x,5\n", "columns 'ann', 'matrix', 'good': name the user and the item by --data.user_c"),
        ("user,movie,5\nuser,NULL,4,4\n", "line 2: .*4 fields, not 3"),
        # headers whose columns cannot be told apart
        ("who,what,rating\n1,2,5\n", "name the user and the item by --data.user_column and --data.item_column"),
        ("userId,what,rating\n1,2,5\n", "name the item by --data.item_column, or mend that line"),
        ("user,item,note\n1,2,5\n", 'name the rating by --data.rating_column, or give it ""'),
        ("user,userId,item,rating\n1,1,2,5\n", "'user', 'userId' can each be the user: name one by --data.user_col"),
        ("user,item,rating,rating\n1,2,5,4\n", "'rating', 'rating' can each be the rating"),
        ("user,item,rating,date,timestamp\n1,2,5,2019-04-01,3\n", "can each be the time"),
        ("user,item,rating\n", "no line beneath its header"),
        ("\n\n \n", "is empty"),
        ("", "is empty"),
        # lines
        ("user,item,rating\n1,2,5\n1,2\n", "line 3: .*2 fields, not 3"),
        ("user,item,rating\n1,,5\n", "line 2: .*no item"),
        (",x,5\n", "line 1: .*no user"),
        ("user,item,rating\n1,2,\n", "line 2: .*the rating '' is not"),
        ("user,item,rating\n1,2,4_5\n", "line 2: .*'4_5' is not"),
        ('user,title,item,rating\n1,"a\nb",2,5\n1,"a\n\nb",2,five\n', "line 4: .*'five'"),  # a record's first line
        ('a,x,5\nb,"y,5\nc,z,5\n', "line 2: quotes"),  # the rest of the file would be one name
        ("a,x,5,1\nb,y,5\n", "line 2: .*3 fields, not 4"),
        ("a,x,5,1\nb,y,5,2019-04-01\n", "line 2: .*its time is a date without .*lines before is a number"),
        ("a,x,5,2019-04-01T10:00Z\nb,y,5,2019-04-01\n", "line 2: .*date without an offset.* is a date with an offset"),
        ("a,x,5,2019-02-30\n", "line 1: .*'2019-02-30' is neither"),
        ("a,x,5,01/04/2019\n", "line 1: .*'01/04/2019' is neither"),
        ("1,2,3,4,5\n", "line 1: .*5 fields, not 4"),
        ("x" * 200_000 + ",y,5\nb\n", "line 1: quotes or fields|no tab, comma"),
        ("1,2,5," * 200_000, "line 1: 1,200,000 characters, and no table has such lines"),
        ("a,x,5\n" + "1::" * 400_000, "line 2: 1,200,000 characters"),
        ("x" * 100_000, "line 1: no tab, comma, semicolon or ::"),
        (",".join(f"column{i}" for i in range(5000)) + "\n1,2\n", "'column11' and 4988 more: name the user"),
        ("a,x,5\nb\0,y,5\n", "line 2: a zero byte"),
    ],
)
def test_what_is_no_table_of_ratings_is_said_in_a_line(tmp_path, text, match):
    refused(tmp_path, text, match)


def test_names_of_columns_that_do_not_fit(tmp_path):
    text = "userId,what,rating\n1,2,5\n"
    refused(tmp_path, text, "none of which is --data.item_column 'wat', did you mean 'what'", item_column="wat")
    refused(tmp_path, text, "must differ", item_column="what", time_column="what")
    refused(tmp_path, text, "name the item", item_column="")
    refused(tmp_path, "1,2,5\n", "no header for --data.item_column: line 1 is '1', '2', '5'", item_column="what")
    with pytest.raises(ValueError, match="names of columns need --data.path"):
        ImplicitFeedback(user_column="x")


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("user,item,5\nbob,x,5\n", {("user", "item"), ("bob", "x")}),  # a user called "user"
        ("1;2;4,5;9\n1;3;2,5;9\n", {("1", "2")}),
        ("user;item;rating\n1;2;4,5\n1;3;3,5\n", {("1", "2")}),
        ("1;2;4.5\n", {("1", "2")}),
        ("a;b;c,x,5\n", {("a;b;c", "x")}),
        ("a\tfoo, 3, 4\t5\n", {("a", "foo, 3, 4")}),
        ('"user"\t"item"\t"rating"\n"ann"\t"a\tb"\t5\n', {("ann", "a\tb")}),
        ("user::item::rating\nann::x, y::5\n", {("ann", "x, y")}),
        ("a,x,5\r\n\r\nb,y,5\r\n,,\r\n", {("a", "x"), ("b", "y")}),
        ("a,x,5\rb,y,5\r", {("a", "x"), ("b", "y")}),
        ("a,x,٥\nb,y,３\n", {("a", "x")}),  # a five and a three in other scripts
        (" ann , x , 5 \n", {("ann", "x")}),
        ("\n\nuser,item,rating\nann,x,5\n", {("ann", "x")}),
    ],
)
def test_hard_cases_that_are_right(tmp_path, text, pairs):
    assert everyone(written(tmp_path / "r.csv", text)) == pairs


def test_numbers_are_finite_and_whole_fields():
    for text, value in {"4.5": 4.5, "-1e3": -1000, " 2 ": 2, "٤": 4, "५": 5}.items():
        assert number(text) == value
    for text in ("", "nan", "inf", "-Infinity", "1e999", "1_0", "0x1", "4,5", "1 2"):
        assert number(text) is None
    assert number("4,5", True) == 4.5 and number("1.234,5", True) is None and number("1,2,3", True) is None


def test_times_are_seconds_since_1970():
    """Against strptime, and the calendar's own arithmetic."""
    draw = random.Random(0)
    for _ in range(200):
        when = datetime(1970, 1, 1) + timedelta(seconds=draw.randint(-(10**9), 4 * 10**9))
        minutes = draw.choice([0, 90, -330, 840])
        offset = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
        exact = when.replace(tzinfo=timezone(timedelta(minutes=minutes))).timestamp()
        for text in (f"{when:%Y-%m-%dT%H:%M:%S}{offset}", f"{when:%Y-%m-%d %H:%M:%S} {offset.replace(':', '')}"):
            assert moment(text) == ("a date with an offset", exact)
        plain = (when - datetime(1970, 1, 1)).total_seconds()
        for text in (f"{when:%Y-%m-%dT%H:%M:%S}", f"{when:%Y-%m-%d %H:%M:%S}.000"):
            assert moment(text) == ("a date without an offset", plain)
        assert moment(f"{when:%Y-%m-%d}").value == plain // 86400 * 86400
    assert moment("2019-04-01T12:30:00Z").value == moment("2019-04-01 12:30 UTC").value == 1554121800
    assert moment("2019-04-01 12:30:00.123456789").value == 1554121800.123456
    assert moment("1554121800") == ("a number", 1554121800)
    for text in (
        "2019-4-1",
        "2019-13-01",
        "2019-04-01T25:00",
        "2019-04-01T",
        "２０１９-04-01",
        "1.4.2019",
        "today",
        "",
    ):
        assert moment(text) is None


# What repeats, and the order of lines


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_of_lines_for_a_pair_the_latest_counts(tmp_path, seed, timed):
    draw = random.Random(seed)
    rows = [(draw.choice("abc"), draw.choice("vwxyz"), draw.randint(3, 5), draw.randint(0, 9)) for _ in range(60)]
    latest: dict[Choice, tuple[int, int]] = {}
    for user, item, rating, when in rows:
        if (user, item) not in latest or not timed or when >= latest[user, item][1]:
            latest[user, item] = rating, when
    ratings = Counter((user, item) for user, item, _ in {row[:3] for row in rows})
    wrong = sum(count > 1 for count in ratings.values())
    text = "".join(",".join(map(str, row if timed else row[:3])) + "\n" for row in rows)
    how = "line of the latest time" if timed else "last line"
    said = f"{60 - len(latest)} lines repeat a user and an item, and {wrong} of .* different ratings; the {how} counts"
    with pytest.warns(UserWarning, match=said):
        found = everyone(written(tmp_path / "r.csv", text))
    assert found == {pair for pair, (rating, _) in latest.items() if rating >= 4}


@pytest.mark.parametrize("form", ["no times", "times", "equal times"])
def test_the_order_of_lines_does_not_matter(tmp_path, form):
    draw, rows = random.Random(5), [row[:2] + (5.0, row[3]) for row in some_ratings(5)]
    rows = [(u.replace("\n", " "), i, r, 7 if form == "equal times" else t) for u, i, r, t in rows]
    found = []
    for attempt in range(3):
        draw.shuffle(rows)
        out = io.StringIO()
        csv.writer(out).writerows(row[:3] if form == "no times" else row for row in rows)
        found.append(ImplicitFeedback(written(tmp_path / f"{attempt}.csv", out.getvalue()), holdout=0.4))
    first = found[0]
    assert first.users[:2] == ["07", "7"] and first.users[2:] == sorted(first.users[2:])
    numbers = [int(name) for name in first.items if name.isdigit()]
    assert first.items[: len(numbers)] == list(map(str, sorted(numbers))) and len(numbers) > 10
    for other in found[1:]:
        assert (other.users, other.items) == (first.users, first.items)
        for split in SPLITS:
            a, b = first.reference(split), other.reference(split)
            assert np.array_equal(a.choices, b.choices) and a.fingerprint == b.fingerprint and len(a)


def test_what_is_held_out_of_a_user_depends_on_the_users_choices_alone(tmp_path):
    text = "".join(f"{user},{item},5\n" for user in range(30) for item in range(10))
    few = choices(ImplicitFeedback(written(tmp_path / "a.csv", text)), "val")
    more = "new,0,5\nnew,77,5\n" + text + "".join(f"{user},0,4\n" for user in range(100, 120))
    many = choices(ImplicitFeedback(written(tmp_path / "b.csv", more)), "val")
    assert {pair for pair in many if pair[0] != "new"} == few and len(few) == 60
    assert len({frozenset(item for user, item in few if user == str(n)) for n in range(30)}) > 15


def test_a_fingerprint_tells_permuted_users_and_items_apart(tmp_path):
    texts = [
        "a,x,5\na,y,5\nb,x,5\n",
        "b,x,5\nb,y,5\na,x,5\n",  # the users exchanged
        "a,y,5\na,x,5\nb,y,5\n",  # the items exchanged
        "a,x,5\na,y,5\nc,x,5\n",  # another name
        "a,x,5\na,y,5\n",
    ]
    sets = [
        ImplicitFeedback(written(tmp_path / f"{n}.csv", text), holdout=0).reference("train")
        for n, text in enumerate(texts)
    ]
    assert len({examples.fingerprint for examples in sets}) == len(texts)
    halves = [ImplicitFeedback(written(tmp_path / "0.csv", texts[0]), holdout=0.5).reference(s) for s in SPLITS]
    assert len({examples.fingerprint for examples in (*halves, *sets)}) == len(texts) + 2


def test_a_fingerprint_costs_no_dense_rows(tmp_path):
    lines = "".join(f"{number},{number % 4000},5\n" for number in range(20_000))
    data = ImplicitFeedback(written(tmp_path / "r.csv", lines))  # 80 million cells
    examples = data.reference("train")
    begin = time.process_time()
    assert len(examples.fingerprint) == 64
    assert time.process_time() - begin < 1


# Documents


def queries_of(folder: Path, text: str, **options: Any) -> RankingPairs:
    return RankingPairs(written(folder / "t.txt", text), **options)


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("1 qid:1 1:0.5 2:", "line 2: feature 2 has no value"),
        ("1 qid:1 1:0.5 2", "line 2: feature 2 has no value: expected `feature:value`"),
        ("1 qid:1 1:0.5 2:NULL", "line 2: feature 2 is NULL, LETOR's word for minus infinity: use the set's MIN or"),
        ("2.5 qid:1 1:1", "line 2: the grade 2.5 is not whole"),
        ("-2 qid:1 1:1", "line 2: the grade -2 is none from 0 to 30, nor -1"),
        ("31 qid:1 1:1", "line 2: the grade 31 is none"),
        ("nan qid:1 1:1", "line 2: 'nan' is no grade"),
        ("1:1 2:1", "line 2: '1:1' is no grade"),
        ("qid:1 1 1:1", "line 2: 'qid:1' is no grade"),
        ("1 1:0.5 2:1", "line 2: no qid, and only documents of one query are ranked"),
        ("1 1:0.5 qid:1", "line 2: qid must stand right after the grade"),
        ("1 QID:1 1:0.5", "line 2: no qid"),
        ("1 qid: 1:0.5", "line 2: the qid is empty"),
        ("1", "line 2: no qid"),
        ("1 qid:1 1:1 1:2", "line 2: feature 1 stands there twice"),
        ("1 qid:1 0:1", "line 2: feature 0: features are numbered from 1 on"),
        ("1 qid:1 -1:1", "line 2: '-1:1' is no `feature:value`"),
        ("1 qid:1 1.5:1", "line 2: '1.5:1' is no"),
        ("1 qid:1 a:1", "line 2: 'a:1' is no"),
        ("1 qid:1 1:2:3", "line 2: feature 1 is '2:3', no finite"),
        ("1 qid:1 1:nan", "line 2: feature 1 is 'nan', no finite number"),
        ("1 qid:1 1:-inf", "line 2: feature 1 is '-inf'"),
        ("1 qid:1 1:4e38", "line 2: feature 1 is '4e38', no finite number of single precision"),
        ("1 qid:1 1:1_0", "line 2: feature 1 is '1_0'"),
        ("1 qid:1 100001:1", "line 2: feature 100001: there can be features of up to 100,000"),
        ("1 qid:1 1:\0", "line 2: a zero byte"),
    ],
)
def test_each_odd_document_has_its_message(tmp_path, line, match):
    with pytest.raises(ValueError, match=match) as caught:
        _ = queries_of(tmp_path, f"0 qid:1 1:1\n{line}\n0 qid:1 1:2\n").num_features
    assert "\n" not in str(caught.value)


def test_documents_are_those_of_scikit_learn(tmp_path):
    """Tabs, comments, features in order, queries in one piece: what its reader of this form takes too."""
    draw = random.Random(1)
    lines = []
    for query in range(1, 6):
        for document in range(draw.randint(2, 5)):
            features = sorted(draw.sample(range(1, 9), draw.randint(0, 8)))
            words = [f"{document % 3}", f"qid:{query}", *(f"{f}:{draw.gauss(0, 9):.6g}" for f in features)]
            lines.append(draw.choice(" \t").join(words) + draw.choice(["", " ", f" #docid = {document} 9:1"]))
    data = queries_of(tmp_path, "\r\n".join(lines))
    table, grades, queries = load_svmlight_file(str(tmp_path / "t.txt"), query_id=True, zero_based=False)
    found = data._train
    np.testing.assert_array_equal(found.features, table.toarray().astype(np.float32))
    assert found.grades.tolist() == grades.tolist() and found.counts.tolist() == np.bincount(queries)[1:].tolist()


def test_the_order_of_features_and_of_queries_is_free(tmp_path):
    straight = queries_of(tmp_path, "1 qid:a 1:1 2:2\n0 qid:a 1:3\n2.0 qid:b 2:4\n0 qid:b 1:5\n")
    mixed = queries_of(tmp_path, "1 qid:a 2:2 1:1\n2 qid:b 2:4\n0 qid:a 1:3 # late\n\n-1 qid:b 1:5\n")
    a, b = (data.reference("train") for data in (straight, mixed))
    assert all(map(torch.equal, a.__getitems__([0, 1]), b.__getitems__([0, 1]))) and a.fingerprint == b.fingerprint


def test_a_fingerprint_tells_documents_apart(tmp_path):
    texts = [
        "1 qid:a 1:1 2:2\n0 qid:a 1:3\n1 qid:b 2:4\n0 qid:b 1:5\n",
        "1 qid:a 2:1 1:2\n0 qid:a 2:3\n1 qid:b 1:4\n0 qid:b 2:5\n",  # the features exchanged
        "2 qid:a 1:1 2:2\n0 qid:a 1:3\n1 qid:b 2:4\n0 qid:b 1:5\n",
        "1 qid:a 1:1 2:2\n0 qid:a 1:3\n1 qid:a 2:4\n0 qid:a 1:5\n",  # one query
        "1 qid:b 2:4\n0 qid:b 1:5\n1 qid:a 1:1 2:2\n0 qid:a 1:3\n",
    ]
    assert len({queries_of(tmp_path, text).reference("train").fingerprint for text in texts}) == len(texts)


def test_files_without_a_ranking_to_learn(tmp_path):
    with pytest.raises(ValueError, match="none of its 2 queries has a relevant document"):
        queries_of(tmp_path, "0 qid:1 1:1\n-1 qid:1 1:2\n2 qid:2 1:1\n").reference("train")
    with pytest.warns(UserWarning, match="1 of its 2 queries have no relevant document, or nothing else"):
        queries_of(tmp_path, "0 qid:1 1:1\n1 qid:1 1:2\n2 qid:2 1:1\n").reference("train")
    with pytest.raises(FileNotFoundError, match="there is no file .*: give --data.val_path"):
        queries_of(tmp_path, "0 qid:1 1:1\n1 qid:1 1:2\n", val_path=str(tmp_path)).reference("val")
    names = "1 qid:caf\xe9 1:1\n0 qid:caf\xe8 1:2\n"
    (tmp_path / "l.txt").write_bytes(names.encode("latin-1"))
    with pytest.warns(UserWarning, match="names are read as Latin-1"):
        assert len(RankingPairs(str(tmp_path / "l.txt"))._train) == 2


# Attributes


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for n in range(6):
        cv2.imwrite(str(tmp_path / f"images/{n}.png"), np.full((4, 4, 3), 40 * n, np.uint8))
    return tmp_path


MALE, YOUNG = [1, 0, 0, 1, 1, 0], [0, 0, 1, 1, 0, 1]


def rows_of(mark: str, no: int, suffix: str = ".png") -> str:
    lines = zip(MALE, YOUNG, strict=True)
    return "".join(mark.join([f"{n}{suffix}", *(str(v or no) for v in row)]) + "\n" for n, row in enumerate(lines))


def attributes_of(folder: Path, text: str, name: str = "list_attr_celeba.txt", **options: Any) -> AttributeImages:
    for other in folder.glob("list_attr*"):
        other.unlink()
    written(folder / name, text)
    return AttributeImages(str(folder), ["Young", "Male"], size=4, num_workers=0, val_fraction=0, **options)


CSV = "list_attr_celeba.csv"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("6\nMale Young\n" + rows_of("  ", -1), "list_attr_celeba.txt"),
        ("Male Young\n" + rows_of(" ", -1), "list_attr_celeba.txt"),  # without the count
        ("6\r\nMale Young \r\n" + rows_of(" ", 0).replace("\n", "\r\n") + "\r\n", "list_attr_celeba.txt"),
        ("image_id Male Young\n" + rows_of(" ", -1), "list_attr_celeba.txt"),
        ("\ufeffimage_id,Male,Young\n" + rows_of(",", -1), CSV),  # Kaggle's
        ("image_id,Male,Young\n" + rows_of(",", 0), CSV),
        ("image_id,Male,Young\n" + rows_of(",", -1), "list_attr_celeba.txt"),
        ('"image_id";"Male";"Young"\n' + rows_of(";", 0), CSV),
        (",Male,Young\n" + rows_of(",", -1), CSV),  # the images are pandas' index
        ("6\nFile\tMale\tYoung\n" + rows_of("\t", -1), CSV),
        (
            ",age,Young,file name,partition,Male\n"
            + "".join(f'{n},{20 + n},{YOUNG[n]}.0,{n}.png,"2, b",{MALE[n]}\n' for n in range(6)),
            CSV,
        ),
    ],
)
def test_forms_of_a_list_of_attributes(faces, text, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module = attributes_of(faces, text, name)
    batch = module.reference("train").__getitems__(list(range(6)))
    assert batch.attributes.tolist() == [list(map(float, row)) for row in zip(YOUNG, MALE, strict=True)]
    assert batch.image[:, 0, 0, 0].tolist() == [40 * n for n in range(6)]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("6\n" + rows_of(" ", -1), "line 2: write the attributes' names above the images, not '0.png', '1', '-1'"),
        (rows_of(",", 0), "line 1: write the attributes' names above"),
        ("6\nMale Young\n", "lists no images"),
        ("6\n", "lists no images"),
        ("", "lists no images"),
        ("6\nMale Young\n" + rows_of(" ", -1)[:-4], "line 8: expected a file name and 2 fields, 1 or -1"),
        ("Male Young\n0.png 1 yes\n", "line 2: expected a file name and 2 fields, 1 or -1, for Young, Male, not '0.p"),
        ("Male Young\n0.png 1 2\n", "line 2"),
        ("Male Young\n0.png 1\n", "line 2"),
        ("Male Young\n0.png 1 0\n1.png 1 1\n2.png -1 1\n", r"0 \(line 2\) and -1 \(line 4\): which is no"),
        ("Male Young Old\n0.png 1 0 -1\n", "which is no"),  # 0 is something else where another attribute has -1
        ("Male Young Male\n0.png 1 1 -1\n", "has the attribute Male 2 times"),
        ("Male,Old\n0.png,1\n", "has the attributes Old, not 'Young'"),
        ("image_id,male,Young\n0.png,1,1\n", "has the attributes male, Young, not 'Male', did you mean 'male'"),
        ("Male Young\n0.png 1 1\n1.png 1 1\n0.png 1 -1\n", "lists 0.png twice, with different attributes"),
        ("Male Young\n0.png 1 1\nimages/0.png 1 -1\n", "lists 0.png twice, with different attributes"),
    ],
)
def test_lists_of_attributes_that_are_refused(faces, text, match):
    with pytest.raises(ValueError, match=match) as caught:
        attributes_of(faces, text)
    assert "\n" not in str(caught.value)


def test_what_a_list_of_attributes_says(faces):
    with pytest.warns(UserWarning, match="says 202599 images and lists 6: it may have been cut off"):
        attributes_of(faces, "202599\nMale Young\n" + rows_of(" ", -1))
    again = "image_id,Male,Young\n" + rows_of(",", 0) * 2 + "./images/3.png,1,1\n"
    with pytest.warns(UserWarning, match="lists 7 images again, which count once"):
        assert len(attributes_of(faces, again).reference("train")) == 6
    with pytest.warns(UserWarning, match="6 of the images that .* have another suffix: 0.png for 0.jpg; "):
        other = attributes_of(faces, "Male Young\n" + rows_of(" ", -1, ".jpg"))
    assert [path.name for path in other.paths] == [f"{n}.png" for n in range(6)]
    (faces / "images/2.gif").touch()  # which of the two it is cannot be known
    with pytest.raises(FileNotFoundError, match="names 3 images that are neither in .*: 2.jpg; 7.png; 8.png; take"):
        attributes_of(faces, "Male Young\n" + rows_of(" ", -1, ".jpg") + "7.png 1 1\n8.png 1 1\n")


def test_where_a_list_of_attributes_is(faces):
    text = "image_id,Male,Young\n" + rows_of(",", 0)
    assert len(attributes_of(faces, text, "my.csv", list_path="my.csv").paths) == 6
    assert len(attributes_of(faces, text, "x.csv", list_path=str(faces / "my.csv")).paths) == 6
    with pytest.raises(FileNotFoundError, match="there is no .*list_attr_celeba.txt, nor .csv.* --data.list_path"):
        attributes_of(faces, text, "other.csv")
    with pytest.raises(FileNotFoundError, match="there is no file .*none.csv: give --data.list_path"):
        attributes_of(faces, text, list_path="none.csv")
    written(faces / CSV, text)
    with pytest.raises(ValueError, match="has both list_attr_celeba.txt and list_attr_celeba.csv: name one"):
        AttributeImages(str(faces), ["Male"])


# An oracle's arrays


def arrays_of(words: int, units: int) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    gate = [(units, units), (units, units), (units,)]
    return [draw.normal(size=shape) for shape in [(words, units), *gate * 4, (units, words), (words,)]]


def test_an_oracle_of_arrays_in_any_order_and_type(tmp_path):
    """The same as of arrays in their order, which tests/papers/test_seqgan.py holds to the authors' recurrence."""

    def oracle_of(**saved: np.ndarray) -> list[torch.Tensor]:
        np.savez(tmp_path / "oracle.npz", **saved)
        data = OracleSequences(words=7, length=4, n=10, parameters=str(tmp_path / "oracle.npz"), hidden=3)
        return list(data.oracle.state_dict().values())

    arrays = arrays_of(7, 3)
    wanted = oracle_of(**{f"w{n}": array.astype(np.float32) for n, array in enumerate(arrays)})
    for saved in (
        {f"arr_{n}": arrays[n] for n in reversed(range(15))},
        {f"w{n}": array.astype(">f8") for n, array in enumerate(arrays)},
        {f"w{n}": np.asfortranarray(array) for n, array in enumerate(arrays)},
    ):
        assert all(map(torch.equal, oracle_of(**saved), wanted))
    whole = {f"w{n}": np.full(array.shape, n, dtype=np.int16) for n, array in enumerate(arrays)}
    assert {value.item() for tensor in oracle_of(**whole) for value in tensor.flatten()} == set(range(15))


def test_arrays_that_are_no_oracle(tmp_path):
    arrays, path = arrays_of(7, 3), tmp_path / "oracle.npz"

    def refuse(message: str, kind: type[Exception] = ValueError) -> None:
        with pytest.raises(kind, match=message) as caught:
            OracleSequences(words=7, length=4, parameters=str(path), hidden=3)
        assert "\n" not in str(caught.value)

    refuse("there is no file", FileNotFoundError)
    for place, wrong in ((2, np.nan), (14, np.inf), (0, 1e300)):
        broken = [array.copy() for array in arrays]
        broken[place].flat[1] = wrong
        np.savez(path, *broken)
        refuse(f"array {place} of float64, not of finite numbers")
    np.savez(path, *arrays[:-1], np.array(["a"] * 7))
    refuse("array 14 of <U1, not of finite")
    np.savez(path, *arrays[:-1], arrays[14] * 1j)
    refuse("array 14 of complex128")
    np.savez(path, *arrays[:-1])
    refuse("holds 14 arrays, an oracle has 15")
    np.savez(path, *arrays_of(8, 3))
    refuse(r"array 0 of shape \(8, 3\), not \(7, 3\)")
    np.savez(path, *arrays[:-1], np.array([{}], dtype=object))
    refuse("is not an npz file of arrays")
    path.write_bytes(path.read_bytes()[:200])
    refuse("is not an npz file of arrays, as np.savez")
