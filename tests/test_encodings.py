"""Text in other encodings and other scripts: what is said of it, and characters as tokens."""

from __future__ import annotations

import random
import unicodedata
import warnings
from pathlib import Path

import pytest
import torch

from gan_lightning import fit, sample
from gan_lightning.data import ImplicitFeedback, TextLines
from gan_lightning.data.encodings import LOOK, codec_of
from gan_lightning.text import PADDING, SPACE, SPECIAL, UNKNOWN, of_characters, sentence

TEXTS = {
    "zh": "春眠不觉晓，处处闻啼鸟。\n夜来风雨声，花落知多少。\n床前明月光，疑是地上霜。举头望明月，低头思故乡。\n",
    "tw": "春眠不覺曉，處處聞啼鳥。\n夜來風雨聲，花落知多少。\n床前明月光，疑是地上霜。舉頭望明月，低頭思故鄉。\n",
    "ja": "吾輩は猫である。名前はまだ無い。\nどこで生れたかとんと見当がつかぬ。\n",
    "ko": "나랏말싸미 중국과 달라 문자와로 서로 맞지 아니할새\n이런 젼차로 어린 백성이 이르고자 할 바 있어도\n",
    "ru": "Однажды весною, в час небывало жаркого заката,\nв Москве, на Патриарших прудах, появились два гражданина.\n",
    "fr": "Il était une fois, à l'école, un élève très naïf\nqui déjà rêvait de Noël.\n",
    "en": "one line\nand another\n",
}


def written(folder: Path, content: bytes) -> Path:
    (folder / "lines.txt").write_bytes(content)
    return folder / "lines.txt"


@pytest.mark.parametrize(
    ("language", "encoding", "looks"),
    [
        ("zh", "gb18030", "line 1: .*; it looks like GB18030: iconv -f GB18030 -t UTF-8"),
        ("tw", "big5", "line 1: .*; it looks like BIG5: "),
        ("ja", "cp932", r"line 1: .*; it looks like CP932 \(Shift-JIS\): iconv -f CP932 -t"),
        ("ja", "euc_jp", "line 1: .*; it looks like EUC-JP: "),
        ("ko", "euc_kr", "line 1: .*; it looks like EUC-KR"),
        ("ru", "cp1251", "line 1: .*; save it as UTF-8, from Latin-1: iconv -f LATIN1"),
        ("ru", "koi8_r", "line 1: .*; save it as UTF-8"),
        ("fr", "latin-1", "line 1: .*; save it as UTF-8, from Latin-1"),
        ("en", "utf-16", "is not UTF-8; it looks like UTF-16: iconv -f UTF-16 -t UTF-8"),
        ("ja", "utf-16", "is not UTF-8; it looks like UTF-16: "),
        ("en", "utf-32", "is not UTF-8; it looks like UTF-32: "),
        ("en", "utf-16-le", "is not UTF-8; it looks like UTF-16LE: "),  # valid UTF-8 with zero bytes
        ("en", "utf-16-be", "is not UTF-8; it looks like UTF-16BE: "),
        ("zh", "utf-16-le", "is not UTF-8; it looks like UTF-16LE: "),
        ("ko", "utf-16-be", "is not UTF-8; it looks like UTF-16BE: "),
    ],
)
def test_what_an_encoding_looks_like(tmp_path, language, encoding, looks):
    path = written(tmp_path, TEXTS[language].encode(encoding))
    with pytest.raises(ValueError, match=looks) as caught:
        _ = TextLines(str(path)).vocabulary
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("language", TEXTS)
def test_utf_8_is_read_in_any_script(tmp_path, language):
    for mark in ("", "\ufeff"):
        for end in ("\n", "\r\n"):
            path = written(tmp_path, (mark + TEXTS[language].replace("\n", end)).encode())
            data = TextLines(str(path), holdout=0)
            assert data.lines["train"] == [line.split() for line in TEXTS[language].splitlines()]


@pytest.mark.parametrize("fault", [b"\xff", b"\0", b"caf\xe9 ", b"\xe6\x98"])
def test_the_line_of_a_fault_is_named_wherever_it_is(tmp_path, fault):
    """On both sides of where the file is cut in pieces to be read, and beyond the part that is guessed by."""
    lines = [b"a line of text, \xe6\x98\xa5\n"] * (2 * LOOK // 20)
    for number in (1, 7, LOOK // 20, LOOK // 20 + 1, len(lines)):
        broken = [*lines[: number - 1], fault + b"\n", *lines[number:]]
        with pytest.raises(ValueError, match=f"line {number}: .*"):
            codec_of(written(tmp_path, b"".join(broken)), "--data.path")
    assert codec_of(written(tmp_path, b"".join(lines)), "--data.path") == "utf-8-sig"


@pytest.mark.parametrize("shift", range(4))
def test_characters_across_the_pieces_that_are_read(tmp_path, shift):
    path = written(tmp_path, b"a" * (LOOK - shift) + "🙂春é".encode())
    assert codec_of(path, "--data.path") == "utf-8-sig"
    for more, line in ((b"\xc3", 1), (b"\n\xff\n\n", 2), (b"\n\n\xff\n", 3)):
        with pytest.raises(ValueError, match=f"line {line}: "):
            codec_of(written(tmp_path, b"a" * (LOOK - shift) + "🙂".encode() + more), "--data.path")


def test_what_is_no_text_at_all(tmp_path):
    import gzip
    import zipfile

    with zipfile.ZipFile(tmp_path / "lines.txt", "w") as file:
        file.writestr("x", "y")
    found = {"a zip archive, or a workbook": (tmp_path / "lines.txt").read_bytes()}
    found |= {"compressed by gzip: unpack it": gzip.compress(b"a b"), "in Parquet's format": b"PAR1\0\0"}
    for message, content in found.items():
        for read in (lambda path: TextLines(path).vocabulary, lambda path: ImplicitFeedback(path).users):
            with pytest.raises(ValueError, match=f"is no text but {message}"):
                read(str(written(tmp_path, content)))
    with pytest.raises(FileNotFoundError, match="there is no file .*: give --data.path"):
        _ = ImplicitFeedback(str(tmp_path)).users


def test_names_of_users_in_other_encodings(tmp_path):
    """Eight bits are told apart; what has several bytes for a character is refused."""
    with pytest.warns(UserWarning, match="line 2: .*; its names are read as Latin-1"):
        latin = ImplicitFeedback(str(written(tmp_path, "a,x,5\ncafé,x,5\ncafè,y,5\n".encode("latin-1"))))
        assert latin.users == ["a", "cafè", "café"]
    with pytest.raises(ValueError, match="it looks like GB18030"):
        _ = ImplicitFeedback(str(written(tmp_path, "小明,春眠不觉晓,5\n".encode("gb18030")))).users
    with pytest.raises(ValueError, match="it looks like UTF-16"):  # Excel's "Unicode text"
        _ = ImplicitFeedback(str(written(tmp_path, "user\titem\trating\n1\t2\t5\n".encode("utf-16")))).users


# Characters


def test_characters_print_back_as_they_stand(tmp_path):
    """In normal form C, white space between words as one space; marks, pairs of code units and joiners whole."""
    draw = random.Random(0)
    some = [
        "春",
        "は",
        "が",
        "か\u3099",
        "é",
        "e\u0301",
        "🙂",
        "👩\u200d🚀",
        "가",
        "\u1100\u1161",
        "a",
        "<",
        "水",
        "q\u0323\u0307",
    ]
    lines = []
    for _ in range(80):
        words = ["".join(draw.choices(some, k=draw.randint(1, 5))) for _ in range(draw.randint(1, 4))]
        lines.append(draw.choice([" ", "\u3000", "\t", " \u00a0 "]).join(words))
    path = written(tmp_path, "".join(f" {line}\n" for line in lines).encode())
    data = TextLines(str(path), length=60, unit="character", holdout=0)
    wanted = [unicodedata.normalize("NFC", " ".join(line.split())) for line in lines]
    assert [sentence(row, data.vocabulary) for row in data.reference("train").every.token] == wanted
    assert data.vocabulary[:3] == [*SPECIAL, SPACE] and sorted(data.vocabulary[3:]) == sorted(
        set("".join(wanted)) - {" "}
    )
    assert sentence(data.encode("春e\u0301\u3000水?"), data.vocabulary) == "春é 水<unk>"


def test_a_vocabulary_says_how_sentences_are_joined(tmp_path):
    path = written(tmp_path, b"no spaces here, but there\nab\n")
    words, characters = (TextLines(str(path), unit=unit, holdout=0) for unit in ("word", "character"))
    assert not of_characters(words.vocabulary) and of_characters(characters.vocabulary)
    assert not of_characters(["0", "1", "2"]) and not of_characters([])
    none = TextLines(str(written(tmp_path, "春眠\n".encode())), unit="character", holdout=0)
    assert of_characters(none.vocabulary) and sentence([3, 4, PADDING, 3], none.vocabulary) == "春眠"
    assert none.reference("train").every.token.max() == 4 and none.encode(" 春 眠 ") == [3, 2, 4]
    with pytest.raises(ValueError, match='unit must be "word" or "character", not \'letter\''):
        TextLines("x.txt", unit="letter")


def test_a_minimum_and_a_length_are_of_characters(tmp_path):
    data = TextLines(str(written(tmp_path, b"aab\nabc c\nabcdefg\n")), length=5, minimum=2, unit="character", holdout=0)
    with pytest.warns(UserWarning, match="1 of the 3 lines .* more than 5 characters"):
        assert data.vocabulary == [*SPECIAL, " ", "a", "b", "c"]
    assert data.reference("train").every.token.tolist() == [[3, 3, 4, 0, 0], [3, 4, 5, 2, 5]]


def test_text_without_spaces_is_said(tmp_path):
    lines = [f"第{n}行没有空格的文字{n * n}" for n in range(300)]
    path = str(written(tmp_path, "\n".join(lines).encode()))
    with pytest.warns(UserWarning, match="100% of the held-out words .*: text without spaces needs --data.unit char"):
        words = TextLines(path, length=30)
        assert words.reference("val").every.token[:, 0].eq(UNKNOWN).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        characters = TextLines(path, length=30, unit="character")
        assert characters.reference("val").every.token.ne(UNKNOWN).all()
        few = TextLines(str(written(tmp_path, b"a b\nb a\n" * 50 + b"".join(b"x%d a\n" % n for n in range(40)))))
        _ = few.vocabulary  # some words are unknown, not most
    rare = "\n".join(f"{chr(0x4E00 + n)}{chr(0x6000 + n)}a" for n in range(100))
    with pytest.warns(UserWarning, match=r"67% of the held-out characters .* <unk>: .*more lines .*\(it is 2\)"):
        _ = TextLines(str(written(tmp_path, rare.encode())), unit="character", minimum=2).vocabulary


def test_a_line_of_megabytes_is_left_out(tmp_path):
    long = b"word " * 400_000 + b"x" * 2_000_000
    path = str(written(tmp_path, long + b"\nshort one\n" + b"y" * 2_000_000 + b"\n"))
    for unit, length in (("word", 3), ("character", 12)):
        with pytest.warns(UserWarning, match="[12] of the 3 lines"):
            data = TextLines(path, length=length, unit=unit, holdout=0)
            assert data.lines["train"][0] == (["short", "one"] if unit == "word" else list("short one"))


def test_a_fingerprint_is_of_tokens_and_vocabulary(tmp_path):
    def print_of(text: str, **options: str) -> str:
        return (
            TextLines(str(written(tmp_path, text.encode())), length=4, holdout=0, **options)
            .reference("train")
            .fingerprint
        )

    texts = ["a b\na c\n", "b a\nb c\n", "a c\na b\n", "a b\na d\n", "c a\nc b\n"]  # some have the same tokens
    assert len({print_of(text) for text in texts}) == len(texts) and print_of(texts[0]) == print_of(texts[0])
    assert print_of("a\nb\n") != print_of("a\nb\n", unit="character")


def test_a_model_of_characters_prints_sentences(tmp_path, monkeypatch, capsys):
    """From the checkpoint alone."""
    monkeypatch.chdir(tmp_path)
    lines = [f"春眠不覺 曉{n % 5}處處聞" for n in range(60)]
    path = written(tmp_path, "\n".join(lines).encode())
    flags = ["--model=SeqGAN", "--model.pretraining=40", "--data=TextLines", f"--data.path={path}", "--data.length=12"]
    flags += ["--data.unit=character", "--data.batch_size=16", "--trainer.max_steps=40", "--trainer.logger=false"]
    fit.main([*flags, "--trainer.enable_progress_bar=false", "--trainer.callbacks=[]", "--seed_everything=0"])
    last = next(tmp_path.glob("runs/*/*/last.ckpt"))
    path.unlink()
    capsys.readouterr()
    sample.main([str(last), "--n", "20"])
    made = capsys.readouterr().out.splitlines()
    assert len(made) == 20 and set("".join(made)) <= set("".join(lines)) | set("<unk>")
    assert sum(line in lines for line in made) >= 5 and all("春 眠" not in line for line in made)
    assert torch.load(last, weights_only=True)["hyper_parameters"]["vocabulary"][:3] == [*SPECIAL, SPACE]
