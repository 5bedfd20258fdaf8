"""Sequences by a random recurrent network: text whose true likelihood is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gan_lightning.batches import Sequences
from gan_lightning.data.base import Data
from gan_lightning.data.sets import Rows, Split
from gan_lightning.networks.text import LSTMGenerator
from gan_lightning.noise import SampleNoise, key

AT_A_TIME = 1000  # sequences that the oracle makes at once


class Oracle(LSTMGenerator):
    """An LSTM that nobody trained, and what it thinks of sequences."""

    @torch.no_grad()
    def nll(self, token: Tensor) -> Tensor:
        """(n,) nats: mean negative log-likelihood of a token, of sequences (n, T)."""
        parts = [-self.log_likelihood(part).mean(1) for part in token.cpu().split(AT_A_TIME)]
        return torch.cat(parts).to(token.device)


class OracleSequences(Data):
    """Sequences of a random LSTM, the oracle of SeqGAN's synthetic data (Yu et al. 2017, arXiv:1609.05473).

    Its parameters are from N(0, 1). Words are the numbers 0 .. words - 1; 0 is also what the oracle reads before the
    first word, as in the authors' code. The oracle and its sequences are the same in every run.

    Args:
        words: in the vocabulary.
        length: words in a sequence.
        n: training sequences; a tenth as many are "val".
        parameters: an npz file of the 15 arrays of the authors' `target_params`, in their order or named arr_0 to
            arr_14, in place of the random ones; `words` must be theirs, 5,000.
        oracle_seed: of the random parameters.
        hidden: units of embedding and state.
        batch_size: over all processes.
        num_workers: loader processes; 0 is the fastest.

    Attributes:
        oracle: the network, see :class:`Oracle`.

    Raises:
        ValueError: numbers that are not positive, or a file that does not hold such an oracle.
        FileNotFoundError: no such file.
    """

    def __init__(
        self,
        words: int = 5000,
        length: int = 20,
        n: int = 10_000,
        parameters: str | None = None,
        oracle_seed: int = 0,
        hidden: int = 32,
        batch_size: int = 64,
        num_workers: int = 0,
    ) -> None:
        super().__init__("OracleSequences", batch_size, num_workers)
        if min(words, n, hidden) < 1 or length < 2:
            raise ValueError(
                f"OracleSequences needs words ({words}), n ({n}) and hidden ({hidden}) above 0, and a length above 1, "
                f"not {length}"
            )
        self.vocabulary, self.n = [str(word) for word in range(words)], n
        self.length: int = length
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key(oracle_seed))
            self.oracle = Oracle(words, length, embedding=hidden, hidden=hidden, std=1.0).requires_grad_(False)
        if parameters is not None:
            self.oracle.load_state_dict(of_authors(Path(parameters).expanduser(), self.oracle.state_dict()))

    def load(self, split: Split) -> Rows:
        n = self.n if split == "train" else max(1, self.n // 10)
        seed, parts = key(("train", "val").index(split)), []
        for first in range(0, n, AT_A_TIME):
            noise = SampleNoise(seed, range(first, min(first + AT_A_TIME, n)), torch.device("cpu"))
            parts.append(self.oracle.sample(noise.uniform(min(AT_A_TIME, n - first), self.length)))
        return Rows(Sequences(torch.cat(parts)))


def of_authors(path: Path, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state_dict of an :class:`Oracle` from the authors' 15 arrays.

    They are the embedding, then for each of the gates input, forget and output and for the candidate the weights from
    the embedding, the weights from the state and the biases, then the weights and the biases of the output.

    Args:
        path: of an npz file.
        expected: the state_dict that they are to fit.

    Raises:
        ValueError, FileNotFoundError: see :class:`OracleSequences`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path} with an oracle's parameters")
    try:
        with np.load(path) as file:
            arrays = [file[name] for name in sorted(file.files, key=_place)]
    except Exception as error:  # a damaged file fails in as many ways as there are bytes
        raise ValueError(f"{path} is not an npz file of arrays, as np.savez(FILE, *arrays) writes it") from error
    if len(arrays) != 15:
        raise ValueError(f"{path} holds {len(arrays)} arrays, an oracle has 15")
    for place, array in enumerate(arrays):
        if array.dtype.kind not in "fiu" or not (np.abs(array) <= np.finfo(np.float32).max).all():
            raise ValueError(f"{path} has an array {place} of {array.dtype}, not of finite numbers of single precision")
    arrays = [torch.from_numpy(array.astype(np.float32)) for array in arrays]
    words, units = expected["embedding.weight"].shape
    of_gate = [(units, units), (units, units), (units,)]
    shapes = [(words, units), *of_gate * 4, (units, words), (words,)]
    for place, (array, shape) in enumerate(zip(arrays, shapes, strict=True)):
        if array.shape != shape:
            raise ValueError(
                f"{path} has an array {place} of shape {tuple(array.shape)}, not {shape}: set words and hidden by it"
            )
    embedding, gates, (weight, bias) = arrays[0], arrays[1:13], arrays[13:]
    order = (0, 1, 3, 2)  # torch has the candidate before the output gate
    return {
        "embedding.weight": embedding,
        "lstm.weight_ih_l0": torch.cat([gates[3 * gate].T for gate in order]),
        "lstm.weight_hh_l0": torch.cat([gates[3 * gate + 1].T for gate in order]),
        "lstm.bias_ih_l0": torch.cat([gates[3 * gate + 2] for gate in order]),
        "lstm.bias_hh_l0": torch.zeros_like(expected["lstm.bias_hh_l0"]),
        "output.weight": weight.T,
        "output.bias": bias,
    }


def _place(name: str) -> int:
    """np.savez calls arrays arr_0, arr_1, ... where it is given no names; others stay as they were saved."""
    return int(name[4:]) if name.startswith("arr_") and name[4:].isdecimal() else 0
