"""Captions as tokens, and the sets of images with captions: what is drawn, what is read, and which caption is wrong."""

from __future__ import annotations

import pytest

from gan_lightning.text import PADDING, SPACE, SPECIAL, UNKNOWN, caption_parts, tokens, tokens_of, vocabulary_of

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
    assert tokens("A red cat, 3!", WORDS, 6) == [2, 3, UNKNOWN, 6, PADDING, PADDING]
    assert tokens("well-fed red a red", WORDS, 2) == [5, 3]
    assert tokens("<pad> <unk>", [*SPECIAL, "pad"], 3) == [2, UNKNOWN, PADDING], "words that are spelled like tokens"
    assert tokens("", WORDS, 2) == [PADDING, PADDING]
    assert tokens("Ab a", [*SPECIAL, SPACE, "a", "b"], 5) == [3, 4, 2, 3, PADDING]
    assert tokens_of(["a", "red"], WORDS, 2).tolist() == [[2, 0], [3, 0]]
    assert tokens_of([], WORDS, 2).shape == (0, 2)


def test_a_vocabulary_is_counted():
    texts = [["b", "a", "b"], ["c", "a", "<unk>", "<unk>"]]
    assert vocabulary_of(texts, "word", 1) == [*SPECIAL, "a", "b", "c"]
    assert vocabulary_of(texts, "word", 2) == [*SPECIAL, "a", "b"]
    assert vocabulary_of([["a", " ", "b", "b"]], "character", 1) == [*SPECIAL, SPACE, "b", "a"]
