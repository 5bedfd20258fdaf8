"""Captions as tokens, and the sets of images with captions: what is drawn, what is read, and which caption is wrong."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from gan_lightning import data
from gan_lightning.batches import BatchIndex, Captioned
from gan_lightning.data.captioned import CaptionedExamples
from gan_lightning.data.captioned_shapes import FACTORS, VOCABULARY, parse, wordings
from gan_lightning.data.shapes import unlabeled
from gan_lightning.text import (
    PADDING,
    SPACE,
    SPECIAL,
    UNKNOWN,
    caption_parts,
    sentence,
    tokens_of,
    vocabulary_of,
)

REAL = os.environ.get("GAN_LIGHTNING_DATA")
WORDS = [*SPECIAL, "a", "red", "bird's", "well-fed", "3"]


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("A red Bird .", "a red bird"),
        ('a man,holding--a "dog"; it\'s well-fed!', "a man holding a dog it's well-fed"),
        ("the birds' nest - 3 eggs (white)\tand\n more", "the birds nest 3 eggs white and more"),
        ("A bird\N{RIGHT SINGLE QUOTATION MARK}s wing", "a bird's wing"),
        ("E\N{COMBINING ACUTE ACCENT}tang \N{DEVANAGARI LETTER KA}\N{DEVANAGARI VOWEL SIGN I}", "étang कि"),
        (" ... ", ""),
    ],
)
def test_words_of_a_caption(caption, words):
    assert caption_parts(caption, "word") == words.split()


def test_characters_of_a_caption():
    assert "".join(caption_parts("  A red\n bird. ", "character")) == "a red bird."


def test_tokens_are_padded_cut_and_unknown():
    assert tokens_of(["A red cat, 3!"], WORDS, 6).tolist() == [[2, 3, UNKNOWN, 6, PADDING, PADDING]]
    assert tokens_of(["well-fed red a red"], WORDS, 2).tolist() == [[5, 3]]
    spelled = tokens_of(["<pad> <unk>"], [*SPECIAL, "pad"], 3).tolist()
    assert spelled == [[2, UNKNOWN, PADDING]], "words that are spelled like tokens"
    assert tokens_of([""], WORDS, 2).tolist() == [[PADDING, PADDING]]
    assert tokens_of(["Ab a"], [*SPECIAL, SPACE, "a", "b"], 5).tolist() == [[3, 4, 2, 3, PADDING]]
    assert tokens_of(["a", "red"], WORDS, 2).tolist() == [[2, 0], [3, 0]]
    assert tokens_of([], WORDS, 2).shape == (0, 2)


def test_a_vocabulary_is_counted():
    texts = [["b", "a", "b"], ["c", "a", "<unk>", "<unk>"]]
    assert vocabulary_of(texts, "word", 1) == [*SPECIAL, "a", "b", "c"]
    assert vocabulary_of(texts, "word", 2) == [*SPECIAL, "a", "b"]
    assert vocabulary_of([["a", " ", "b", "b"]], "character", 1) == [*SPECIAL, SPACE, "b", "a"]


# Which caption is wrong.


def captioned(texts: list[list[str]], **settings) -> CaptionedExamples:
    """Images of one pixel, the row's number."""
    image = torch.arange(len(texts)).byte()[:, None, None, None]
    vocabulary = vocabulary_of([caption_parts(text, "word") for row in texts for text in row], "word", 1)
    return CaptionedExamples("Pixels", unlabeled(image), texts, vocabulary, 3, **settings)


def read(examples: CaptionedExamples, batch: Captioned) -> list[tuple[int, str, str]]:
    """Image, caption and wrong caption of each row."""
    texts = ([sentence(row, examples.vocabulary) for row in field] for field in (batch.token, batch.wrong))
    return list(zip(batch.image.flatten().tolist(), *texts, strict=True))


def drawn(examples: CaptionedExamples, epochs: int, seed: int = 1) -> list[tuple[int, str, str]]:
    training, every = examples.in_training(seed), list(range(len(examples)))
    return [row for epoch in range(epochs) for row in read(training, training.training_batch(BatchIndex(epoch, every)))]


TEXTS = {
    "each its own": [["a"], ["b"], ["c"]],
    "several": [["a", "b"], ["c", "d", "e"], ["f"], ["g", "a"]],
    "shared": [["a"], ["b"], ["a"], ["c", "b"]] + [["a"]] * 8,
    "of one image twice": [["a", "a"], ["b", "b", "c"]],
    "all but a long end": [["a a a b", "c"], ["a a a c"], ["d"]],
}


@pytest.mark.parametrize("texts", TEXTS.values(), ids=TEXTS)
def test_captions_are_drawn_evenly_of_all_that_are_right_and_all_that_are_wrong(texts):
    """Against a list of each, made by comparing all texts with all; what a model does not see is no difference."""
    seen = [[" ".join(text.split()[:3]) for text in row] for row in texts]
    epochs = 1000
    found = drawn(captioned(texts), epochs)
    for image, own in enumerate(seen):
        wrong = Counter(text for other in seen for text in other if text not in own)
        pairs = [(right, other) for number, right, other in found if number == image]
        assert len(pairs) == epochs
        for expected, place in ((Counter(own), 0), (wrong, 1)):
            count, total = Counter(pair[place] for pair in pairs), expected.total()
            assert count.keys() == expected.keys()
            for text, times in expected.items():
                share = times / total
                assert abs(count[text] - share * epochs) <= 5 * math.sqrt(epochs * share * (1 - share))


def test_what_no_wrong_caption_is_left_for_is_refused():
    for texts in ([["a"]], [["a"], ["A."]], [["a", "b"], ["b"], ["a"]], [["a b c d"], ["a b c e"]]):
        with pytest.raises(ValueError, match="^Pixels: no caption is wrong of the image with the caption 'a.*'"):
            captioned(texts)
    with pytest.raises(ValueError, match="no caption is wrong"):
        captioned([["a"], ["b"]], meanings=[[0], [0]])
    assert len(captioned([])) == 0


def test_meanings_decide_where_they_are_given():
    found = drawn(captioned([["a"], ["b"], ["c"]], meanings=[[0], [0], [1]]), 40)
    assert {(image, wrong) for image, _, wrong in found} == {(0, "c"), (1, "c"), (2, "a"), (2, "b")}


def test_outside_of_training_the_first_caption_and_one_wrong_one():
    examples = captioned(TEXTS["several"])
    first = read(examples, examples.__getitems__([0, 1, 2, 3]))
    assert [right for _, right, _ in first] == examples.captions == ["a", "c", "f", "g"]
    assert first == read(examples.in_training(9), examples.in_training(9).__getitems__([0, 1, 2, 3]))
    assert read(examples, examples.__getitems__([2, 0])) == [first[2], first[0]]


def test_draws_depend_on_seed_epoch_and_row_alone():
    texts = [[f"w{row} v{i}" for i in range(4)] for row in range(40)]
    training = captioned(texts).in_training(3)
    whole = training.training_batch(BatchIndex(2, list(range(40))))
    halves = [training.training_batch(BatchIndex(2, list(range(first, first + 20)))) for first in (0, 20)]
    assert all(torch.equal(field, torch.cat(parts)) for field, *parts in zip(whole, *halves, strict=True))
    for other in (training.training_batch(BatchIndex(3, list(range(40)))), captioned(texts).in_training(4)):
        batch = other if isinstance(other, Captioned) else other.training_batch(BatchIndex(2, list(range(40))))
        assert not torch.equal(batch.token, whole.token) and not torch.equal(batch.wrong, whole.wrong)


def test_a_fingerprint_is_of_images_and_captions():
    prints = [captioned(texts).fingerprint for texts in ([["a"], ["b"]], [["b"], ["a"]], [["a", "c"], ["b"]])]
    assert len(set(prints)) == 3 and captioned([["a"], ["b"]]).fingerprint == prints[0]


# Drawn scenes.

COLOURS = {"red": (255, 0, 0), "yellow": (255, 255, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
COLOURS["magenta"] = (255, 0, 255)


def measured(image: np.ndarray) -> list[int]:
    """The factors of a scene (3, h, w) as its pixels show them: what lies together, its area, mean colour and box."""
    _, height, width = image.shape
    cover = image.max(0) / 255.0
    labels, count = ndimage.label(cover > 0, np.ones((3, 3)))
    found = []
    for number in range(1, count + 1):
        inside = np.where(labels == number, cover, 0)
        area = inside.sum() / (height * width)
        colour = (image * inside).sum((1, 2)) / inside.sum()
        distance = [np.abs(colour - np.array(rgb)).max() for rgb in COLOURS.values()]
        assert min(distance) < 60 and sorted(distance)[1] > 2 * min(distance)
        boxed = inside.max(0).sum() * inside.max(1).sum() / (height * width)
        kind = int(np.argmin([abs(area / boxed - share) for share in (math.pi / 4, 1, 0.5)]))
        y, x = ndimage.center_of_mass(inside)
        found.append((x / width, y / height, [int(area > 0.05), int(np.argmin(distance)), kind]))
        assert 0.026 < area < 0.037 or 0.062 < area < 0.086
    if count == 1:
        return [1, *found[0][2], -1, -1, -1, -1]
    (x, y, _), (other_x, other_y, _) = found
    across, down = abs(x - other_x), abs(y - other_y)
    assert max(across, down) > 2.2 * min(across, down), "the relation is ambiguous"
    found.sort(key=lambda shape: shape[0] if across > down else shape[1])
    return [2, *found[0][2], *found[1][2], int(down > across)]


@pytest.fixture(scope="module")
def scenes():
    return data.CaptionedShapes(n=400, single=0.3).reference("train")


def test_pixels_show_what_every_caption_says(scenes):
    for row, texts in enumerate(scenes.texts):
        expected = measured(scenes.images.image[row].numpy())
        assert scenes.factors[row].tolist() == expected, texts
        assert {parse(text) for text in texts} == {tuple(expected)}
        assert len(set(texts)) == len(texts) == (4 if expected[0] == 2 else 2)


def test_shapes_keep_apart_at_every_size():
    for size in (16, [24, 40]):
        examples = data.CaptionedShapes(n=200, size=size).reference("train")
        for image, factors in zip(examples.images.image.numpy(), examples.factors, strict=True):
            assert ndimage.label(image.max(0) > 80)[1] == factors[0]


@pytest.mark.parametrize(
    ("text", "factors"),
    [
        ("a large green triangle", (1, 1, 2, 2, -1, -1, -1, -1)),
        ("A LITTLE magenta circle.", (1, 0, 4, 0, -1, -1, -1, -1)),
        ("a small red circle left of a large blue square", (2, 0, 0, 0, 1, 3, 1, 0)),
        ("a big blue square to the right of a little red circle", (2, 0, 0, 0, 1, 3, 1, 0)),
        ("a small yellow square over a small green circle", (2, 0, 1, 1, 0, 2, 0, 1)),
        ("a small yellow square under a small green circle", (2, 0, 2, 0, 0, 1, 1, 1)),
    ],
)
def test_parsing_by_hand(text, factors):
    assert len(factors) == len(FACTORS) and parse(text) == factors
    assert text.lower().strip(".") in wordings(factors)
    assert UNKNOWN not in tokens_of([text], VOCABULARY, 12)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a small read circle", "'read' stands where one of red, yellow, .* must, did you mean 'red'"),
        ("small red circle", "'small' stands where one of a must"),
        ("a small red", "'' stands where one of circle, square, triangle must"),
        ("a small red circle near a large blue square", "'near' is no relation of left of, "),
        ("a small red circle lift of a big red square", "'lift of' is no relation of .*, did you mean 'left of'"),
        ("a small red circle left of a large blue", "is no relation|stands where"),
        ("", "'' stands where one of a must"),
    ],
)
def test_what_is_no_caption_of_the_grammar_is_named(text, line):
    with pytest.raises(ValueError, match=line):
        parse(text)


def test_factors_are_even_and_independent():
    factors = data.CaptionedShapes(n=3000, size=16).reference("train").factors
    assert np.mean(factors[:, 0] == 1) == pytest.approx(0.25, abs=0.035)
    two = factors[factors[:, 0] == 2][:, 1:]
    for column, choices in zip(two.T, (2, 5, 3, 2, 5, 3, 2), strict=True):
        share = 1 / choices
        count = np.bincount(column, minlength=choices)
        assert np.abs(count - share * len(two)).max() < 4.5 * math.sqrt(len(two) * share * (1 - share))
    assert np.abs(np.corrcoef(two.T) - np.eye(7)).max() < 4.5 / math.sqrt(len(two))


def test_a_wrong_caption_describes_another_scene_and_every_wording_comes(scenes):
    training, every = scenes.in_training(0), list(range(len(scenes)))
    words, used = set(VOCABULARY[len(SPECIAL) :]), set()
    came = [set() for _ in every]
    for epoch in range(30):
        batch = training.training_batch(BatchIndex(epoch, every))
        for row in every:
            text, wrong = (sentence(field[row], VOCABULARY) for field in (batch.token, batch.wrong))
            assert text in scenes.texts[row] and parse(wrong) != tuple(scenes.factors[row])
            came[row].add(text)
            used.update(text.split())
    assert [len(texts) for texts in came] == [len(texts) for texts in scenes.texts] and used == words


def test_shares_of_single_shapes():
    for single in (0, 1):
        factors = data.CaptionedShapes(n=20, size=16, single=single).reference("train").factors
        assert (factors[:, 0] == 2 - single).all()
    for wrong in (-0.1, 1.1):
        with pytest.raises(ValueError, match="single must be from 0 to 1"):
            data.CaptionedShapes(single=wrong)


# Files.

BIRDS = {  # of each picture its captions; one has a comma, quotes and a line's end within
    "001.Auk/one.png": ["A black bird .", 'the bird, which is "black",\nswims'],
    "001.Auk/two.png": ["a white bird"],
    "002.Jay/one.png": ["a blue bird", "A BLUE bird", "bird of blue colour"],
    "002.Jay/six.png": ["a bird"],
}


def pictures(folder: Path, names: Sequence[str] = tuple(BIRDS)) -> None:
    """Grey ones, each in a tone of its own: ten times its place among the names."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 16), (10 * number,) * 3).save(folder / name)


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def write(root: Path, layout: str) -> str | None:
    """BIRDS in a layout; returns the argument `captions`."""
    rows = [(name, text) for name, texts in BIRDS.items() for text in texts]
    coco = {
        "images": [{"id": 7 * number, "file_name": name} for number, name in enumerate(BIRDS)],
        "annotations": [{"image_id": 7 * list(BIRDS).index(name), "caption": text, "id": 0} for name, text in rows],
    }
    mark = {"semicolons": ";", "bars": "|", "tabs": "\t"}.get(layout, ",")
    if layout in ("Flickr8k", "semicolons", "bars", "tabs", "other columns"):
        head, first = ("Image_ID", "number", "Comment"), ["1"]
        if layout != "other columns":
            head, first = ("image", "caption"), []
        table = [mark.join([name, *first, quoted(text)]) for name, text in rows]
        if layout == "tabs":  # as in tables that tabs part, quoted all over
            head, table = map(quoted, head), [mark.join([quoted(name), quoted(text)]) for name, text in rows]
        file = "captions.tsv" if layout == "tabs" else "captions.txt" if layout == "Flickr8k" else "captions.csv"
        (root / file).write_text("\n".join([mark.join(head), *table]) + "\n")
    elif layout == "COCO":
        (root / "captions.json").write_text(json.dumps(coco))
    elif layout == "COCO elsewhere":
        (root.parent / "annotations").mkdir()
        (root.parent / "annotations/captions_val.json").write_text(json.dumps(coco))
        return "../annotations/captions_val.json"
    elif layout == "names":
        (root / "captions.json").write_text(json.dumps({name: t[0] if len(t) == 1 else t for name, t in BIRDS.items()}))
    else:
        folder = {"CUB": root / "text_c10", "beside": root / "images", "named": root / "mine"}[layout]
        for name, texts in BIRDS.items():
            path = (folder / name).with_suffix(".txt")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n\n".join(" ".join(text.split()) for text in texts) + "\n")
        return "mine" if layout == "named" else None
    return None


LAYOUTS = ["Flickr8k", "semicolons", "bars", "tabs", "other columns", "COCO", "COCO elsewhere", "names"]
LAYOUTS += ["CUB", "beside", "named"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_says_the_same(tmp_path, layout):
    root = tmp_path / "birds"
    pictures(root / "images")
    module = data.CaptionedImages(str(root), write(root, layout), 8, val_fraction=0, num_workers=0)
    examples = module.reference("train")
    assert len(examples) == 4 and len(module.reference("val")) == 0
    assert examples.texts == [[" ".join(text.split()) for text in texts] for texts in BIRDS.values()]
    batch = examples.__getitems__([0, 1, 2, 3])
    assert batch.image.float().mean((1, 2, 3)).tolist() == [0, 10, 20, 30]
    words = ["bird", "a", "blue", "black", "the", "which", "is", "swims", "white", "of", "colour"]
    assert sorted(module.vocabulary) == sorted([*SPECIAL, *words]) and module.vocabulary[2:5] == ["bird", "a", "blue"]
    assert module.length == 6 and tuple(batch.token.shape) == (4, 6)
    assert [sentence(row, module.vocabulary) for row in batch.token] == [
        "a black bird", "a white bird", "a blue bird", "a bird",
    ]  # fmt: skip


def made(tmp_path: Path, table: str, names: list[str] | None = None, **settings) -> data.CaptionedImages:
    pictures(tmp_path, [f"{letter}.png" for letter in "abcdef"] if names is None else names)
    (tmp_path / "captions.csv").write_text(table)
    return data.CaptionedImages(str(tmp_path), **{"size": 8, "val_fraction": 0, "num_workers": 0, **settings})


HEAD = "image,caption\n"


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("", "captions.csv, line 1: the columns are missing, and one must be called image, one caption"),
        ("image,captoin\na.png,x\n", "line 1: the columns are 'image', 'captoin', .*; 'captoin' for 'caption'"),
        ("picture,caption\na.png,x\n", "line 1: the columns are 'picture', 'caption', and one must be called image"),
        ("image,caption,text\na.png,x,y\n", "and one must be called image, one caption"),
        (HEAD, "captions.csv has no captions"),
        (HEAD + "a.png,x\nb.png,\nc.png,...\n", "2 captions have no words: line 3: an empty caption; line 4: "),
        (HEAD + "a.png,x\nb.png,a dog, and a cat\n", "line 3: 3 fields under 2 columns, .*needs quotes around it"),
        (HEAD + 'a.png,"x\nb.png,y\n', "line 2: quotes or fields that are no table's"),
        (HEAD + "a.png,x\nz.png,y\n", "captions.csv names 1 images .*: z.png; take their lines out"),
        (HEAD + "a.png,x\nb.png,X .\n", "split train: no caption is wrong of the image with the caption 'x'"),
    ],
)
def test_a_damaged_table_is_named(tmp_path, table, line):
    with pytest.raises((ValueError, FileNotFoundError), match=line):
        made(tmp_path, table).reference("train")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("{", "captions.json, line 1: no JSON: "),
        ("[]", "or lists of texts by the names of their images; this is"),
        ('{"images": [], "annotations": 5}', "'annotations' must be a list, not"),
        ('{"images": []}', "this has 'images' and no 'annotations'"),
        ('{"a.png": 3}', "'a.png' is neither"),
        ('{"a.png": []}', "1 captions have no words: a.png: an empty caption"),
        ('{"image": [{"id": 1}], "annotations": []}', "'image' is neither, did you mean 'images'"),
        ('{"images": [{"id": 1, "file": "a.png"}], "annotations": []}', "image 1 has no 'file_name', but 'id', 'file'"),
        (
            '{"images": [{"id": 1, "file_name": "a.png"}], "annotations": [{"image_id": 2, "caption": "x"}]}',
            "annotation 1: there is no image with the id 2",
        ),
        ('{"images": [], "annotations": [{"image_id": 1, "captions": "x"}]}', "has no 'caption', .* mean 'captions'"),
    ],
)
def test_damaged_json_is_named(tmp_path, content, line):
    pictures(tmp_path, ["a.png"])
    (tmp_path / "captions.json").write_text(content)
    with pytest.raises(ValueError, match=line):
        data.CaptionedImages(str(tmp_path), size=8, val_fraction=0)


def test_damaged_text_files_are_named(tmp_path):
    pictures(tmp_path / "images", ["a.png", "b.png"])
    arguments = {"root": str(tmp_path), "size": 8, "val_fraction": 0}
    with pytest.raises(ValueError, match="no picture in .*images has captions: .* or a .txt file beside each picture"):
        data.CaptionedImages(**arguments)
    with pytest.raises(FileNotFoundError, match="there is no .*txt, did you mean 'text.txt'"):
        (tmp_path / "text.txt").touch()
        data.CaptionedImages(captions="texs.txt", **arguments)
    (tmp_path / "text").mkdir()
    (tmp_path / "text/a.txt").write_text("one\n")
    with pytest.warns(UserWarning, match="1 pictures have no captions, and are left out: .*b.png"):
        assert len(data.CaptionedImages(**arguments).texts) == 1
    (tmp_path / "text/b.txt").write_text("\n")
    with pytest.raises(ValueError, match="1 captions have no words: .*b.txt, line 1: an empty caption"):
        data.CaptionedImages(**arguments)
    (tmp_path / "text/b.txt").write_bytes("two\ncaf\xe9\n".encode("latin-1"))
    with pytest.raises(ValueError, match="b.txt is not UTF-8.*line 2"):
        data.CaptionedImages(**arguments)
    (tmp_path / "text/c.txt").write_text("three\n")
    with pytest.raises(FileNotFoundError, match="1 files of captions have no picture in .*images: .*c.txt"):
        data.CaptionedImages(**arguments)
    (tmp_path / "captions.csv").write_text(HEAD)
    with pytest.raises(ValueError, match="has captions in captions.csv and text: name one by --data.captions"):
        data.CaptionedImages(**arguments)


def test_damaged_pictures_are_named_before_training(tmp_path):
    module = made(tmp_path, HEAD + "".join(f"{name}.png,{name}\n" for name in "abc"), batch_size=2)
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:50])
    with pytest.raises(ValueError, match="1 files cannot be used: .*b.png"):
        module.setup("fit")


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"length": 0}, "length .0. and min_count .1. must be at least 1"),
        ({"min_count": 9}, "no word of the captions occurs 9 times: use a smaller --data.min_count"),
        ({"unit": "letter"}, 'unit must be "word" or "character"'),
        ({"crop": 0}, "crop must be positive"),
        ({"box_ratio": 0}, "box_ratio must be above 0 and at most 1"),
        ({"val_fraction": 0.9999}, "all 2 images of .* are held out: use a smaller --data.val_fraction"),
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path, settings, line):
    with pytest.raises(ValueError, match=line):
        made(tmp_path, HEAD + "a.png,x\nb.png,y\n", **settings)


def test_what_is_there_twice_counts_once(tmp_path):
    """A caption, and a picture under two names, whose captions are those of one."""
    pictures(tmp_path, ["a.png", "b.png"])
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    with pytest.warns(UserWarning, match="1 captions are there twice"):
        module = made(tmp_path, HEAD + "a.png,x\nb.png,z\na.png,x\nlink.png,y\n", ["a.png", "b.png"])
    assert module.reference("train").texts == [["x", "y"], ["z"]]


def test_words_are_those_of_training_and_pictures_are_apart(tmp_path):
    names = [f"{number}.png" for number in range(60)]
    table = HEAD + "".join(
        f"{name},{'ab'[int(name[0]) % 2]} w{name[:-4]} bird\n{name},again {name[:-4]}\n" for name in names
    )
    module = made(tmp_path, table, names, val_fraction=0.3, length=2)
    train, val = (module.reference(split) for split in ("train", "val"))
    assert len(train) + len(val) == 60 and 8 < len(val) < 30
    numbers = [{text.split()[1] for text in examples.captions} for examples in (train, val)]
    assert (
        not numbers[0] & numbers[1] and numbers[0] < set(module.vocabulary) and not numbers[1] & set(module.vocabulary)
    )
    assert val.images.paths == sorted(path for path in module.texts if path not in train.images.paths)
    assert train.token.shape[1] == module.length == 2 and (val.token[::2, 1] == UNKNOWN).all()
    few = made(tmp_path, table, names, val_fraction=0.3, min_count=2)
    assert set(few.vocabulary) == {*SPECIAL, "a", "b", "bird", "again"}


def test_characters(tmp_path):
    module = made(tmp_path, HEAD + "a.png,Ab!\nb.png,b  a\n", unit="character")
    assert module.vocabulary == [*SPECIAL, SPACE, "a", "b", "!"] and module.length == 3
    assert module.reference("train").token.tolist() == [[3, 4, 5], [4, 2, 3]]


# Boxes.


def boxed(tmp_path: Path, boxes: str, **settings) -> data.CaptionedImages:
    """Two pictures of 60 x 90 whose pixels say their row and column."""
    y, x = np.mgrid[:60, :90].astype(np.uint8)
    (tmp_path / "CUB/images").mkdir(parents=True, exist_ok=True)
    for name in ("a", "b"):
        Image.fromarray(np.stack([y, x, 0 * x], -1)).save(tmp_path / f"CUB/images/{name}.png")
    (tmp_path / "CUB/images.txt").write_text("1 a.png\n2 b.png\n3 c.png\n")
    (tmp_path / "CUB/bounding_boxes.txt").write_text(boxes)
    (tmp_path / "CUB/captions.csv").write_text(HEAD + "a.png,x\nb.png,y\n")
    return data.CaptionedImages(
        str(tmp_path / "CUB"), size=8, val_fraction=0, num_workers=0, boxes="bounding_boxes.txt", **settings
    )


@pytest.mark.parametrize(
    ("box", "ratio", "rows", "columns"),
    [
        ((40, 20, 12, 6), 0.75, (15, 31), (38, 54)),  # a side of 12 / .75 = 16 about (46, 23)
        ((40, 20, 6, 12), 0.5, (14, 38), (31, 55)),
        ((0, 0, 12, 6), 0.75, (0, 16), (0, 16)),  # moved into the picture
        ((78, 54, 12, 6), 0.75, (44, 60), (74, 90)),
        ((0, 0, 30, 60), 0.75, (0, 60), (0, 60)),  # there are no 80 rows
        ((40, 0, 30, 60), 0.75, (0, 60), (25, 85)),
    ],
)
def test_the_window_around_a_box(tmp_path, box, ratio, rows, columns):
    module = boxed(tmp_path, f"1 {' '.join(f'{one:.1f}' for one in box)}\n2 0.0 0.0 60.0 60.0\n", box_ratio=ratio)
    module.setup("predict")
    image = module.reference("train").__getitems__([0]).image[0]
    for channel, (first, end) in zip(image[:2].float(), (rows, columns), strict=True):
        edge = (end - first) / 8
        # The middle of the first of 8 pixels, and of the last.
        assert channel.min() == pytest.approx(first + edge / 2 - 0.5, abs=0.6)
        assert channel.max() == pytest.approx(end - edge / 2 - 0.5, abs=0.6)


@pytest.mark.parametrize(
    ("boxes", "line"),
    [
        ("1 0 0 9 9\n", "have no box of 1 pictures: .*b.png"),
        ("1 0 0 9 9\n2 0 0 9\n", "bounding_boxes.txt, line 2: 5 fields are expected, not '2', '0', '0', '9'"),
        ("1 0 0 9 9\n2 0 0 x 9\n", "the boxes of 2 are not x, y, a width and a height above 0"),
        ("1 0 0 0 9\n2 0 0 9 9\n", "the boxes of 1 are not"),
    ],
)
def test_damaged_boxes_are_named(tmp_path, boxes, line):
    with pytest.raises(ValueError, match=line):
        boxed(tmp_path, boxes).reference("train")


def test_boxes_are_part_of_the_fingerprint(tmp_path):
    prints = [boxed(tmp_path, f"1 0 0 9 {side}\n2 0 0 9 9\n").reference("train").fingerprint for side in (9, 9, 8)]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.skipif(
    not (REAL and Path(REAL, "flickr8k_1000").is_dir()), reason="GAN_LIGHTNING_DATA has no flickr8k_1000"
)
def test_real_captions():
    module = data.CaptionedImages(str(Path(REAL, "flickr8k_1000")), num_workers=0)
    train, val = (module.reference(split) for split in ("train", "val"))
    assert len(train) + len(val) == 1000 and all(len(texts) == 5 for texts in train.texts)
    batch = train.in_training(0).training_batch(BatchIndex(0, list(range(64))))
    assert not (batch.token == batch.wrong).all(1).any() and UNKNOWN not in batch.token
