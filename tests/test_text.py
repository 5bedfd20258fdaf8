"""Text: lines as tokens, BLEU against nltk, and the scores that a run logs, each against a second way to get it."""

from __future__ import annotations

import math
import os
import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Noisy, adam, assert_same, plain_networks, quiet, tensors, tiny
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import OptimizerCallable
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from torch import Tensor, nn

from gan_lightning.batches import Sequences
from gan_lightning.callbacks import TextScores, When
from gan_lightning.core import Player, SequenceGenerator, Step, Terms
from gan_lightning.data import TextLines
from gan_lightning.data.base import Data
from gan_lightning.data.sets import Rows, Split
from gan_lightning.metrics import bleu, distinct, self_bleu
from gan_lightning.noise import SampleNoise
from gan_lightning.text import PADDING, SPECIAL, UNKNOWN, sentence, words

REAL = os.environ.get("GAN_LIGHTNING_DATA")
ORDERS = [tuple([1 / n] * n) for n in range(1, 6)]


def written(folder: Path, lines: list[str], end: str = "\n") -> str:
    path = folder / "lines.txt"
    path.write_bytes("".join(line + end for line in lines).encode())
    return str(path)


def random_lines(n: int, seed: int = 0) -> list[str]:
    """Words of many scripts parted by all kinds of white space, and lines without any."""
    draw = random.Random(seed)
    alphabet = ["a", "B", "é", "e\u0301", "ß", "水", "и", "🙂", "ﬁ", "\u200d", "-", '"', "<", "0"]
    some = ["".join(draw.choices(alphabet, k=draw.randint(1, 3))) for _ in range(40)] + ["<pad>", "<unk>"]
    space = [" ", "\t", "  ", "\u00a0", "\u2003", "\u2028", "\x0b", " \t "]
    return [
        draw.choice(["", " ", "\t"])
        + "".join(draw.choice(some) + draw.choice(space) for _ in range(draw.randint(0, 9)))
        for _ in range(n)
    ]


def read(data: TextLines, split: Split = "train") -> list[str]:
    return [sentence(row, data.vocabulary) for row in data.reference(split).every.token]


# Lines.


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_line_with_words_is_read_once_and_reads_as_it_stands(tmp_path, seed, end):
    lines = random_lines(60, seed)
    data = TextLines(written(tmp_path, lines, end), length=9, holdout=0)
    wanted = [" ".join("<unk>" if word == "<pad>" else word for word in line.split()) for line in lines if line.split()]
    assert 0 < len(wanted) < 60 and read(data) == wanted
    token = data.reference("train").every.token
    assert token.dtype == torch.int64 and token.shape == (len(wanted), 9)
    for row in token.tolist():  # nothing but padding behind the first padding, and no word is one
        assert set(row[len(words(row)) :]) <= {PADDING}


@pytest.mark.parametrize("seed", range(5))
def test_the_vocabulary_is_of_the_training_lines_the_frequent_first(tmp_path, seed):
    data = TextLines(written(tmp_path, random_lines(200, seed)), length=6, minimum=7, holdout=0.3)
    counts = Counter(word for line in data.lines["train"] for word in line if word not in SPECIAL)
    assert data.vocabulary[:2] == list(SPECIAL) and data.vocabulary[PADDING] == "<pad>"
    own = data.vocabulary[2:]
    assert set(own) == {word for word, count in counts.items() if count >= 7} and len(own) < len(counts)
    for before, after in zip(own, own[1:], strict=False):
        assert counts[before] > counts[after] or (counts[before] == counts[after] and before < after)
    held = data.reference("val").every.token
    assert (held == UNKNOWN).any() and held.max() < len(data.vocabulary)
    assert data.encode(f"{own[0]}\tnever-seen <pad> {own[1]}") == [2, UNKNOWN, UNKNOWN, 3]
    assert data.encode(" \t") == []


def test_words_of_held_out_lines_alone_are_unknown(tmp_path):
    data = TextLines(written(tmp_path, [f"line number{i}" for i in range(50)]), length=2, holdout=0.4)
    assert set(read(data, "val")) == {"line <unk>"}
    assert len(data.vocabulary) == 2 + 1 + len(data.lines["train"])


def test_what_is_held_out_does_not_depend_on_anything_else(tmp_path):
    lines = [f"{i} " + "x " * (i % 7) for i in range(2000)]
    path = written(tmp_path, lines)
    whole = TextLines(path, length=8, holdout=0.2)
    held = {line[0] for line in whole.lines["val"]}
    assert abs(len(held) - 400) < 5 * math.sqrt(2000 * 0.2 * 0.8)
    other = TextLines(path, length=4, minimum=2, holdout=0.2, batch_size=3)
    assert {line[0] for line in other.lines["val"]} == {i for i in held if int(i) % 7 < 4}
    more = TextLines(written(tmp_path, [*lines, *(f"new {i}" for i in range(500))]), length=8, holdout=0.2)
    assert {line[0] for line in more.lines["val"]} - {"new"} == held
    fewer = TextLines(path, length=8, holdout=0.1)
    assert {line[0] for line in fewer.lines["val"]} - {"new"} < held


def test_no_line_is_on_both_sides(tmp_path):
    draw = random.Random(0)
    lines = [" ".join(draw.choices("abc", k=draw.randint(1, 4))) for _ in range(3000)]
    data = TextLines(written(tmp_path, lines), length=4, holdout=0.3)
    train, held = (Counter(map(tuple, data.lines[split])) for split in ("train", "val"))
    assert train and held and not set(train) & set(held)
    assert train + held == Counter(tuple(line.split()) for line in lines)  # repeated ones stay as many


def test_lines_that_are_too_long_are_left_out_whole(tmp_path):
    path = written(tmp_path, ["a b c", "a b c d", "e"])
    with pytest.warns(UserWarning, match="1 of the 3 lines .* more than 3 words"):
        data = TextLines(path, length=3, holdout=0)
        assert data.reference("train").every.token.tolist() == [[2, 3, 4], [5, 0, 0]]
    assert "d" not in data.vocabulary


def test_a_byte_order_mark_is_no_letter_and_the_last_line_needs_no_end(tmp_path):
    (tmp_path / "bom.txt").write_bytes(b"\xef\xbb\xbffirst\r\n\r\nlast")
    data = TextLines(str(tmp_path / "bom.txt"), holdout=0)
    assert data.vocabulary == [*SPECIAL, "first", "last"] and len(data.reference("val")) == 0


def test_training_batches_are_sequences(tmp_path):
    data = TextLines(written(tmp_path, [f"a b{i}" for i in range(20)]), length=5, holdout=0, batch_size=4)
    rows = [row for batch in data.train_dataloader() for row in batch.token.tolist()]
    assert sorted(rows) == sorted(data.reference("train").every.token.tolist())
    assert isinstance(next(iter(data.train_dataloader())), Sequences) and list(data.val_dataloader()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, r"length \(0\) and minimum \(1\)"),
        ({"minimum": 0}, r"minimum \(0\) must be at least 1"),
        ({"holdout": 1.0}, "holdout must be at least 0 and less than 1, not 1.0"),
        ({"holdout": -0.1}, "holdout"),
        ({"holdout": math.nan}, "holdout"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_arguments_out_of_range_are_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        TextLines("nowhere.txt", **options)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", {}, "has no words"),
        (b" \n\t\r\n\n", {}, "has no words"),
        (b"good\nb\xffd\n", {}, "is not UTF-8, line 2: invalid start byte"),
        ("word\n".encode("utf-16"), {}, "is not UTF-8; it looks like UTF-16: iconv -f UTF-16 -t UTF-8"),
        (b"a b c\nd e f\n", {"length": 2}, "none of the 2 lines .* more than 2 words"),
        (b"only\n", {"holdout": 0.999999}, "none of the 1 lines .* held out"),
        (b"a b\nc d\n", {"minimum": 2, "holdout": 0}, "no word of .* occurs 2 times"),
        (b"<pad> <unk>\n", {"holdout": 0}, "no word of .* occurs 1 times"),
    ],
)
def test_files_without_anything_to_learn_are_refused(tmp_path, content, options, message):
    (tmp_path / "bad.txt").write_bytes(content)
    data = TextLines(str(tmp_path / "bad.txt"), **options)
    with pytest.raises(ValueError, match=message) as error:
        _ = data.vocabulary
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_LIGHTNING_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"text is not in {tmp_path}/text .* put text_coco.txt there"):
        _ = TextLines().vocabulary
    with pytest.raises(FileNotFoundError, match="there is no file .*lines.txt: give --data.path"):
        _ = TextLines(str(tmp_path / "lines.txt")).vocabulary
    with pytest.raises(FileNotFoundError, match="there is no file"):
        _ = TextLines(str(tmp_path)).vocabulary


@pytest.mark.skipif(not (REAL and Path(REAL, "text/text_coco.txt").is_file()), reason="needs the captions")
def test_captions():
    data = TextLines()
    assert sum(map(len, data.lines.values())) == 9998  # of 10,000, two have 33 and 35 words
    assert data.vocabulary[2] == "a" and read(data, "val")[0].startswith("a black honda motorcycle")


def test_sentences_end_at_the_first_padding():
    assert words(torch.tensor([3, 2, 0, 4])) == [3, 2] and words([0, 5]) == [] and words([1, 2]) == [1, 2]
    assert sentence(torch.tensor([3, 2, 0, 4]), ["<pad>", "<unk>", "b", "a", "c"]) == "a b"


# BLEU.


def of_nltk(sentences: list, references: list) -> Tensor:
    smooth = SmoothingFunction().method1
    values = [sentence_bleu(references, one, ORDERS, smooth) for one in sentences]
    return torch.tensor(values, dtype=torch.float64)


def random_sentences(n: int, seed: int, vocabulary: int, longest: int) -> list[list[int]]:
    """Some are empty, some shorter than the n-grams, and few words make n-grams that occur several times."""
    draw = random.Random(seed)
    return [[draw.randrange(vocabulary) for _ in range(draw.randint(0, longest))] for _ in range(n)]


@pytest.mark.parametrize("vocabulary", [1, 2, 5, 50])
@pytest.mark.parametrize("longest", [3, 8, 20])
def test_bleu_is_that_of_nltk(vocabulary, longest):
    for seed in range(4):
        sentences = random_sentences(25, seed, vocabulary + 1, longest)
        for count in (1, 2, 12):
            references = random_sentences(count, seed + 100, vocabulary, longest)
            torch.testing.assert_close(bleu(sentences, references), of_nltk(sentences, references), rtol=0, atol=1e-12)


@pytest.mark.parametrize("vocabulary", [1, 2, 5, 50])
@pytest.mark.parametrize("longest", [3, 8, 20])
def test_self_bleu_is_that_of_nltk_with_each_sentence_left_out(vocabulary, longest):
    for seed in range(4):
        for count in (2, 3, 15):
            sentences = random_sentences(count, seed, vocabulary, longest)
            wanted = [of_nltk([one], sentences[:i] + sentences[i + 1 :]) for i, one in enumerate(sentences)]
            torch.testing.assert_close(self_bleu(sentences), torch.cat(wanted), rtol=0, atol=1e-12)


def test_bleu_of_known_sentences():
    """Papineni et al.'s example: seven times "the" has a precision of 2/7; and what may stand in for a word."""
    the = ["the"] * 7
    references = [line.split() for line in ("the cat is on the mat", "there is a cat on the mat")]
    assert bleu([the], references, 1).item() == pytest.approx(2 / 7, abs=1e-15)
    assert bleu([references[0]], references).tolist() == [[1.0] * 5]
    short = bleu([["the", "cat"]], references, 2).squeeze()
    assert short.tolist() == pytest.approx([math.exp(1 - 6 / 2)] * 2, abs=1e-15)
    assert bleu([[], ["dog"]], references).eq(0).all() and bleu([], references).shape == (0, 5)
    assert self_bleu([the, the, the]).eq(1).all()
    assert self_bleu([the, references[0]], 1)[0].item() == pytest.approx(2 / 7, abs=1e-15)
    assert distinct([the, the, [], list(the)]) == 0.5 and distinct(references) == 1


def test_bleu_needs_something_to_compare_with():
    for wrong, message in (
        (lambda: bleu([[1]], []), "there are none"),
        (lambda: bleu([[1]], [[1]], 0), "at least 1 word, not 0"),
        (lambda: self_bleu([[1]]), "needs 2, not 1"),
        (lambda: distinct([]), "no sentences"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()


def test_thousands_of_sentences_take_seconds():
    sentences, references = (random_sentences(1000, seed, 2000, 20) for seed in (1, 2))
    begin = time.process_time()
    bleu(sentences, references)
    self_bleu(sentences)
    assert time.process_time() - begin < 5


# Scores of a run.


def table_nll(logits: Tensor, token: Tensor) -> Tensor:
    """Of sequences whose tokens depend on the one before, (words + 1, words); the last row is for the first token."""
    before = torch.cat([torch.full_like(token[:, :1], logits.shape[1]), token[:, :-1]], 1)
    return -logits.log_softmax(1)[before, token].mean(1)


class Bigram(SequenceGenerator):
    """Each token depends on the one before it alone; maximum likelihood."""

    def __init__(
        self,
        vocabulary: list[str] | None,
        length: int | None,
        optimizer: OptimizerCallable = lambda params: torch.optim.Adam(params, lr=0.3),
        step: Step = Step(),
    ) -> None:
        super().__init__(step)
        if vocabulary is None or length is None:
            raise ValueError("Bigram needs vocabulary and length")
        self.words, self.length, self.optimizer = vocabulary, length, optimizer
        self.table = nn.Embedding(len(vocabulary) + 1, len(vocabulary))
        nn.init.zeros_(self.table.weight)

    def players(self) -> dict[str, Player]:
        return {"generator": Player(self.table, self.optimizer)}

    def training_step(self, batch: Sequences, batch_idx: int) -> None:
        self.turn("generator", self.objective, batch, advances_step=True)

    def objective(self, batch: Sequences) -> Terms:
        return {"likelihood": self.nll(batch.token).mean()}

    def nll(self, token: Tensor) -> Tensor:
        return table_nll(self.table.weight, token)

    def sample(self, numbers: Sequence[int] | int, seed: int = 0) -> Tensor:
        numbers = range(numbers) if isinstance(numbers, int) else numbers
        n = len(numbers)
        chance = SampleNoise(seed, numbers, self.device).uniform(n, self.length)
        token, made = torch.full((n,), len(self.words)), []
        for column in chance.unbind(1):
            below = self.table(token).double().softmax(1).cumsum(1)
            token = (column[:, None] > below).sum(1).clamp(max=len(self.words) - 1)
            made.append(token)
        return torch.stack(made, 1)


class Table(nn.Module):
    """An oracle that knows the table."""

    def __init__(self, words: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.register_buffer("logits", torch.randn(words + 1, words, generator=generator))

    def nll(self, token: Tensor) -> Tensor:
        return table_nll(self.logits, token)


class Drawn(Data):
    """Integers from 0 on, each a word, with an oracle."""

    def __init__(self, held: int = 40) -> None:
        super().__init__("Drawn", 8, 0)
        self.length, self.vocabulary, self.oracle, self.held = 6, [str(i) for i in range(5)], Table(5), held

    def load(self, split: Split) -> Rows:
        generator = torch.Generator().manual_seed(len(split))
        n = 64 if split == "train" else self.held
        return Rows(Sequences(torch.randint(5, (n, self.length), generator=generator)))


@pytest.fixture
def captions(tmp_path: Path) -> TextLines:
    draw = random.Random(0)
    lines = [
        f"{draw.choice(['a', 'the'])} {draw.choice(['cat', 'dog', 'horse'])} {draw.choice(['sits', 'runs off'])}"
        for _ in range(200)
    ]
    lines += [f"a bird {i % 30} sits there" for i in range(60)]
    return TextLines(written(tmp_path, lines), length=7, minimum=2, holdout=0.2, batch_size=16)


def scored(data: Data, *callbacks: TextScores, steps: int = 30, **options: Any) -> tuple[Bigram, Trainer]:
    model = Bigram(data.vocabulary, data.length)
    trainer = quiet(max_steps=steps, callbacks=list(callbacks), **options)
    trainer.fit(model, data)
    return model, trainer


def test_figures_of_text(captions):
    score = TextScores(n=50, when=When(every_n_steps=10), batch_size=16)
    model, trainer = scored(captions, score)
    held = captions.reference("val").every.token
    made = [words(row) for row in model.sample(50, 0)]
    references = [words(row) for row in held]
    others = [of_nltk([one], made[:i] + made[i + 1 :]) for i, one in enumerate(made)]
    likelihood = model.table.weight.detach().double().softmax(1)
    each = []
    for row in held.tolist():
        each += [-math.log(likelihood[a, b]) for a, b in zip([len(likelihood) - 1, *row[:-1]], row, strict=True)]
    wanted = {"NLL_generator": sum(each) / len(each)}
    for name, values in (("BLEU", of_nltk(made, references)), ("self-BLEU", torch.cat(others))):
        wanted |= {f"{name}-{n}": values.mean(0)[n - 1].item() for n in (2, 3, 4, 5)}
    wanted["distinct"] = len({tuple(one) for one in made}) / 50
    assert list(score.scores) == list(wanted) and 0.1 < wanted["BLEU-2"] < 1
    assert score.scores == pytest.approx(wanted, abs=1e-6)
    assert {name: trainer.callback_metrics[name].item() for name in wanted} == score.scores
    assert score.card["references"] == len(held) and score.card["n"] == 50 and score.card["step"] == 30


def test_figures_of_data_with_an_oracle_whose_token_0_is_a_word():
    score = TextScores(n=30, order=3)
    data = Drawn()
    model, _ = scored(data, score)
    made = model.sample(30, 0)
    assert (made == 0).any()
    rows = made.tolist()
    others = torch.cat([of_nltk([one], rows[:i] + rows[i + 1 :]) for i, one in enumerate(rows)]).mean(0)
    assert score.scores == pytest.approx(
        {
            "NLL_oracle": data.oracle.nll(made).mean().item(),
            "NLL_generator": model.nll(data.reference("val").every.token).mean().item(),
            "self-BLEU-2": others[1].item(),
            "self-BLEU-3": others[2].item(),
            "distinct": len(set(map(tuple, rows))) / 30,
        },
        abs=1e-6,
    )
    assert list(score.scores)[0] == "NLL_oracle" and len(set(score.scores.values())) == 5


def test_training_improves_the_figures_and_a_collapse_shows(captions):
    before, after = TextScores(n=100), TextScores(n=100)
    scored(captions, before, steps=1)
    scored(captions, after, steps=200)
    assert after.scores["NLL_generator"] < before.scores["NLL_generator"] - 1
    assert after.scores["BLEU-3"] > before.scores["BLEU-3"] + 0.1
    model = Bigram(captions.vocabulary, captions.length)
    model.table.weight.data[:, 2] = 50.0  # nothing but the most frequent word
    collapsed, _ = TextScores(n=100).measure(model, captions)
    assert collapsed["self-BLEU-5"] == 1 and collapsed["distinct"] == 0.01
    assert collapsed["NLL_generator"] > after.scores["NLL_generator"]


def test_neither_batches_nor_scores_change_anything(captions):
    one, many = TextScores(n=33, when=When(every_n_steps=4), batch_size=1), TextScores(n=33, batch_size=1000)
    first, _ = scored(captions, one)
    second, _ = scored(captions, many)
    third, _ = scored(captions)
    assert_same(tensors(first), tensors(third))
    assert_same(tensors(second), tensors(third))
    assert one.scores == pytest.approx(many.scores, abs=1e-6)


def test_fewer_references_and_no_bleu(captions):
    score = TextScores(n=20, references=7, bleu=False)
    model, _ = scored(captions, score)
    assert list(score.scores) == ["NLL_generator", "distinct"] and score.card["references"] == 7
    few = model.nll(captions.reference("val").every.token[:7]).mean().item()
    assert score.scores["NLL_generator"] == pytest.approx(few, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 1}, "at least 2 sequences"),
        ({"order": 1}, "order=1"),
        ({"batch_size": 0}, r"batch_size \(0\)"),
        ({"references": 0}, r"references \(0; null takes all\)"),
    ],
)
def test_numbers_that_make_no_score_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TextScores(**options)


def test_what_has_no_sequences_is_refused_in_a_line(captions):
    def fit(model: LightningModule, data: Data, *scores: TextScores) -> None:
        quiet(max_steps=1, callbacks=list(scores)).fit(model, data)

    def bigram(data: Data) -> Bigram:
        return Bigram(data.vocabulary, data.length)

    empty, image_model = Drawn(held=0), tiny("GAN", plain_networks(), adam())
    for model, data, scores, message in (
        (image_model, Noisy(), [TextScores()], "GAN generates none"),
        (Bigram(["0"] * 5, 6), Noisy(), [TextScores()], "Noisy has none: use data such as TextLines"),
        (bigram(captions), captions, [TextScores(references=1000)], "asks for 1000 held-out sequences, .* has"),
        (bigram(empty), empty, [TextScores()], "asks for some held-out sequences, Drawn has 0"),
        (bigram(captions), captions, [TextScores(), TextScores(n=3)], "two scores would be called TextScores"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            fit(model, data, *scores)
        assert "\n" not in str(error.value)


def test_likelihoods_that_are_not_finite_are_named():
    data = Drawn()
    model = Bigram(data.vocabulary, data.length)
    model.table.weight.data[:, 1] = -math.inf
    with pytest.raises(ValueError, match="NLL_generator is not finite"):
        TextScores(n=4).measure(model, data)
