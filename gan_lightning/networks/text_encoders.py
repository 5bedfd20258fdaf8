"""Encoders of captions for text-to-image models: tokens (n, T) -> embeddings (n, dim).

Each is built for a vocabulary and a length, and says the size of its embeddings in `dim`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.runtime.errors import one_line
from gan_lightning.text import PADDING, SPACE, SPECIAL, of_characters, sentence

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"/\\|_@#$%^&*~`+=<>()[]{} "  # the authors' characters


class GRUEncoder(nn.Module):
    """An embedding of words and a GRU (Cho et al. 2014, arXiv:1406.1078): its state after the last word, normalised.

    A GRU's state is small at first, and the noise of the condition that is drawn around it would drown it. What follows
    the last word changes nothing; a caption without words gives the state after one padding.

    Args:
        vocabulary: the word of each token.
        length: tokens of a caption; a GRU reads any number.
        embedding: numbers of a word.
        dim: numbers of a caption.
    """

    def __init__(self, vocabulary: list, length: int, *, embedding: int = 128, dim: int = 256) -> None:
        super().__init__()
        self.dim = dim
        self.embedding = nn.Embedding(len(vocabulary), embedding)
        self.gru = nn.GRU(embedding, dim, batch_first=True)
        self.norm = nn.LayerNorm(dim)

    def forward(self, token: Tensor) -> Tensor:
        """(n, T) int64 -> (n, dim)."""
        states, _ = self.gru(self.embedding(token))  # (n, T, dim)
        last = (token != PADDING).sum(1).sub(1).clamp(min=0)
        return self.norm(states[torch.arange(token.shape[0], device=token.device), last])


class CharCNNRNN(nn.Module):
    """Convolutions over characters, then a recurrent network (Reed et al. 2016, arXiv:1605.05395, section 4).

    Captions are spelled out in an alphabet of 69 characters; any other is a column of zeros, and so is what follows the
    last one. Three convolutions of four characters, the first two each followed by max pooling over three, then a GRU,
    the mean of whose states a linear layer maps to the embedding: the authors' "hybrid" network for 201 characters.
    Deviation: their GRU has no reset gate and no state before the first step, which torch's has.

    Args:
        vocabulary: the word, or the character, of each token.
        length: tokens of a caption; not used, since `characters` says what is read.
        characters: how many of a caption are read.
        widths: channels of the three convolutions; the last one is the GRU's size too.
        dim: numbers of a caption.

    Raises:
        ValueError: so few characters that the convolutions leave nothing, or not three widths.
    """

    def __init__(
        self,
        vocabulary: list,
        length: int,
        *,
        characters: int = 201,
        widths: list[int] | tuple[int, ...] = (384, 512, 256),
        dim: int = 1024,
    ) -> None:
        super().__init__()
        if len(widths) != 3:
            raise ValueError(f"CharCNNRNN has three convolutions: give three widths, not {list(widths)}")
        if characters < 48:  # 48 -> 45 -> 15 -> 12 -> 4 -> 1
            raise ValueError(f"CharCNNRNN reads at least 48 characters, not {characters}")
        self.dim, self.characters = dim, characters
        self.register_buffer("spelling", spelling(vocabulary), persistent=False)
        first, second, third = widths
        self.convolutions = nn.Sequential(
            nn.Conv1d(len(ALPHABET), first, 4), nn.ReLU(), nn.MaxPool1d(3),
            nn.Conv1d(first, second, 4), nn.ReLU(), nn.MaxPool1d(3),
            nn.Conv1d(second, third, 4), nn.ReLU(),
        )  # fmt: skip
        self.gru = nn.GRU(third, third, batch_first=True)
        self.linear = nn.Linear(third, dim)

    def spelled(self, token: Tensor) -> Tensor:
        """(n, characters) int64: the place in the alphabet of each character of captions (n, T), -1 for none."""
        found = self.spelling[token].flatten(1)  # (n, T * longest), with gaps behind shorter words
        order = (found == GAP).int().argsort(dim=1, stable=True)
        found = found.gather(1, order)[:, : self.characters]
        return F.pad(found, (0, self.characters - found.shape[1]), value=GAP).clamp(min=-1)

    def forward(self, token: Tensor) -> Tensor:
        """(n, T) int64 -> (n, dim)."""
        places = self.spelled(token)
        one_hot = F.one_hot(places + 1, len(ALPHABET) + 1)[:, :, 1:].to(self.linear.weight.dtype)
        states, _ = self.gru(self.convolutions(one_hot.mT).mT)  # (n, steps, width)
        return self.linear(states.mean(1))


GAP = -2  # fills up the spelling of a word; a character that is not in the alphabet is -1


def spelling(vocabulary: list) -> Tensor:
    """(words, longest + 1) int64: each word's characters by their places in the alphabet, with a space after words."""
    after = "" if of_characters(vocabulary) else SPACE
    words = ["" if word in SPECIAL else f"{word}{after}" for word in vocabulary]
    table = torch.full((len(words), max(map(len, words))), GAP)
    for row, word in zip(table, words, strict=True):
        row[: len(word)] = torch.tensor([ALPHABET.find(character) for character in word.lower()])
    return table


class PretrainedTextEncoder(nn.Module):
    """A language model of the package `transformers`, which does not move: the mean of its last layer over the words.

    Tokens are turned back into sentences, which the model's own tokenizer reads: on a GPU each step waits for that. It
    is read from a folder, or by its name from what is on this machine: nothing is downloaded and no code of a file is
    run, because a checkpoint, which may be a stranger's, can name it. Its weights must be a safetensors file.

    Args:
        vocabulary: the word of each token.
        length: tokens of a caption; not used.
        name: of a model, such as "distilbert-base-uncased", or its folder.

    Raises:
        ValueError: `transformers` is not installed, or there is no such model on this machine.
    """

    def __init__(self, vocabulary: list, length: int, *, name: str) -> None:
        super().__init__()
        self.vocabulary = list(vocabulary)
        self.tokenizer, self.model = pretrained(name)
        self.dim = self.model.config.hidden_size
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> PretrainedTextEncoder:
        """Stay in evaluation mode: no dropout."""
        return super().train(False)

    def forward(self, token: Tensor) -> Tensor:
        """(n, T) int64 -> (n, dim)."""
        sentences = [sentence(row, self.vocabulary) for row in token.tolist()]
        read = self.tokenizer(sentences, padding=True, truncation=True, return_tensors="pt").to(token.device)
        with torch.no_grad():
            states = self.model(**read).last_hidden_state  # (n, S, dim)
        shown = read["attention_mask"][:, :, None].to(states.dtype)
        return (states * shown).sum(1) / shown.sum(1)


def pretrained(name: str) -> tuple[Any, nn.Module]:
    """The tokenizer and the encoder of a language model; see :class:`PretrainedTextEncoder`.

    Raises:
        ValueError: `transformers` is not installed, or there is no such model.
    """
    try:
        from transformers import AutoModel, AutoTokenizer
    except ImportError:
        raise ValueError(
            'PretrainedTextEncoder needs the package transformers: pip install "gan_lightning[text]"'
        ) from None
    how = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **how)
        model = AutoModel.from_pretrained(name, use_safetensors=True, **how)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"there is no language model {name!r} on this machine ({one_line(error, 200)}): give a folder, or run "
            f"`hf download {name}` first"
        ) from error
    if tokenizer.pad_token is None or not hasattr(model.config, "hidden_size"):
        raise ValueError(
            f"{name!r} is no encoder of texts of several lengths, as distilbert-base-uncased: choose another"
        )
    return tokenizer, (model.get_encoder() if model.config.is_encoder_decoder else model).float()
