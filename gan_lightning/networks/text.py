"""SeqGAN's networks (Yu et al. 2017, arXiv:1609.05473): a recurrent generator and a convolutional discriminator."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_lightning.networks.layers import Dropout
from gan_lightning.noise import first_above

START = 0  # the token before the first one
CELLS = 320_000  # probabilities that are computed at a time: they stay in the processor's cache
KERNELS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20)
MAPS = (100, 200, 200, 200, 200, 100, 100, 100, 100, 100, 160, 160)


class LSTMGenerator(nn.Module):
    """Words one after another: an embedding, an LSTM and a softmax over the vocabulary (the paper's equations 9 to 11).

    All parameters begin at N(0, std^2), as in the authors' code: std 0.1 for a generator, 1 for an oracle.

    Args:
        vocabulary: tokens, 0 .. vocabulary - 1; 0 is also what stands before the first one.
        length: tokens of a sequence, T.
        embedding, hidden: units.
        std: of the initial parameters.
    """

    def __init__(
        self, vocabulary: int, length: int, *, embedding: int = 32, hidden: int = 32, std: float = 0.1
    ) -> None:
        super().__init__()
        self.length, self.hidden = length, hidden
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True)
        self.output = nn.Linear(hidden, vocabulary)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=std)
        with torch.no_grad():
            self.lstm.bias_hh_l0.zero_()  # torch adds two biases where the equations have one

    def forward(self, token: Tensor) -> Tensor:
        """(n, T, vocabulary) logits of each token of (n, T), given those before it."""
        return self.output(self.states(token))

    def log_likelihood(self, token: Tensor) -> Tensor:
        """(n, T) log probabilities of each token of (n, T), given those before it."""
        parts = self._parts(self.states(token).flatten(0, 1), token.flatten())
        losses = [F.cross_entropy(self.output(h), chosen, reduction="none") for h, chosen in parts]
        return -torch.cat(losses).view_as(token)

    def states(self, token: Tensor) -> Tensor:
        """(n, T, hidden) the state in which each token of (n, T) is chosen."""
        before = F.pad(token[:, :-1], (1, 0), value=START)
        with torch.autocast(token.device.type, enabled=False):  # some processors have no LSTM in bfloat16
            return self.lstm(self.embedding(before))[0]

    @torch.no_grad()
    def sample(self, uniform: Tensor) -> Tensor:
        """(n, T) int64 sequences, each token by inversion of its distribution at a number from U[0, 1) of (n, T)."""
        token = torch.full_like(uniform[:, 0], START, dtype=torch.int64)
        chosen, state = [], None
        for at in uniform.unbind(1):
            state = self._read(token, state)
            token = self._choose(state[0], at)
            chosen.append(token)
        return torch.stack(chosen, 1)

    @torch.no_grad()
    def roll_out(self, token: Tensor, uniform: Tensor) -> Tensor:
        """Complete every prefix of every sequence several times over, all in one batch.

        Each word is read once: the continuations of all prefixes advance together, and those of the next prefix join
        when its last word has been read.

        Args:
            token: (n, T) sequences, whose prefixes of 1 .. T - 1 tokens are kept.
            uniform: (n, roll-outs, T - 1, T) from U[0, 1), of which [:, :, p, t] chooses token t of prefix p + 1.

        Returns:
            (n, roll-outs, T - 1, T) int64.
        """
        n, rollouts, prefixes, length = uniform.shape
        made = token.expand(rollouts, prefixes, n, length).permute(1, 0, 2, 3).contiguous()
        at = uniform.permute(2, 1, 0, 3)  # prefixes first, to which the next is added
        true = self._read(torch.full_like(token[:, 0], START))
        h = c = true[0].new_empty(0, rollouts, n, true[0].shape[1])
        for last in range(prefixes):
            true = self._read(token[:, last], true)
            if last:
                read = self._read(made[:last, ..., last].flatten(), (h.flatten(0, 2), c.flatten(0, 2)))
                h, c = (part.view(last, rollouts, n, -1) for part in read)
            h, c = (torch.cat([part, new.expand(1, rollouts, n, -1)]) for part, new in zip((h, c), true, strict=True))
            chosen = self._choose(h.flatten(0, 2), at[: last + 1, ..., last + 1].flatten())
            made[: last + 1, ..., last + 1] = chosen.view(last + 1, rollouts, n)
        return made.permute(2, 1, 0, 3)

    def _read(self, token: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """The state (n, hidden) twice after one more token (n,)."""
        weights = self.lstm.weight_ih_l0, self.lstm.weight_hh_l0, self.lstm.bias_ih_l0, self.lstm.bias_hh_l0
        x = self.embedding(token)
        zeros = x.new_zeros(len(x), self.lstm.hidden_size)
        return torch.lstm_cell(x, state or (zeros, zeros), *weights)

    def _choose(self, h: Tensor, at: Tensor) -> Tensor:
        """(n,) tokens: where the cumulative distribution given (n, hidden) first exceeds (n,)."""
        return torch.cat([_inverted(self.output(part), numbers) for part, numbers in self._parts(h, at)])

    def _parts(self, h: Tensor, other: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows of two tensors, as many as shall have distributions over the vocabulary at a time."""
        cells = CELLS if h.device.type == "cpu" else 2**28  # elsewhere a gigabyte, and fewer calls
        rows = max(1, cells // self.output.out_features)
        return zip(h.split(rows), other.split(rows), strict=True)


def _inverted(logits: Tensor, at: Tensor) -> Tensor:
    """(n,) the first column at which the cumulative softmax of (n, columns) exceeds (n,) numbers from [0, 1).

    Sums of blocks of columns lead to the block, in which it is looked for: a fourth of the time of one long sum.
    """
    mass = logits.softmax(1, dtype=torch.promote_types(logits.dtype, torch.float32))
    width = math.isqrt(mass.shape[1] - 1) + 1
    blocks = F.pad(mass, (0, -mass.shape[1] % width)).unflatten(1, (-1, width))
    block, within = first_above(blocks.sum(2), at[:, None].to(mass.dtype))
    column, _ = first_above(blocks.gather(1, block[..., None].expand(-1, -1, width)).squeeze(1), within)
    return (block * width + column).squeeze(1).clamp_(max=logits.shape[1] - 1)  # of NaN too


class TextDiscriminator(nn.Module):
    """Scores of sequences: n-gram detectors, the strongest response of each, a highway layer (equations 12 to 14).

    They begin as in the authors' code: an embedding from U(-1, 1); detectors and the last layer with weights from
    N(0, 0.1^2) cut at two deviations, and biases of 0.1; the highway (Srivastava et al. 2015, arXiv:1505.00387) uniform
    by Glorot's rule, biases too.

    Args:
        vocabulary: tokens.
        length: of the sequences; wider kernels than this are left out.
        embedding: units.
        kernels, maps: widths of the detectors, and how many there are of each.
        dropout: of what the highway gives, in training.

    Raises:
        ValueError: not as many kernels as maps, or none that fits.
    """

    def __init__(
        self,
        vocabulary: int,
        length: int,
        *,
        embedding: int = 64,
        kernels: tuple[int, ...] = KERNELS,
        maps: tuple[int, ...] = MAPS,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        if len(kernels) != len(maps):
            raise ValueError(f"a number of maps for each kernel, not {len(maps)} for {len(kernels)}")
        fitting = [(width, count) for width, count in zip(kernels, maps, strict=True) if width <= length]
        if not fitting:
            raise ValueError(f"no kernel of {kernels} fits sequences of {length}")
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.detectors = nn.ModuleList(nn.Conv2d(embedding, count, (1, width)) for width, count in fitting)
        units = sum(count for _, count in fitting)
        self.gate, self.change = nn.Linear(units, units), nn.Linear(units, units)
        self.dropout, self.output = Dropout(dropout), nn.Linear(units, 1)
        for layer in (*self.detectors, self.output):
            nn.init.trunc_normal_(layer.weight, std=0.1, a=-0.2, b=0.2)
            nn.init.constant_(layer.bias, 0.1)
        for layer in (self.gate, self.change):
            for parameter in layer.parameters():  # both are of `units` each way
                nn.init.uniform_(parameter, -math.sqrt(3 / units), math.sqrt(3 / units))
        nn.init.uniform_(self.embedding.weight, -1, 1)

    def forward(self, token: Tensor) -> Tensor:
        """(n,) scores of sequences (n, T), high for real ones."""
        x = self.embedding(token).transpose(1, 2)[:, :, None]  # as an image of one row: convolved twice as fast
        h = F.relu(torch.cat([detector(x).amax((2, 3)) for detector in self.detectors], 1))
        gate = self.gate(h).sigmoid()
        h = gate * F.relu(self.change(h)) + (1 - gate) * h
        return self.output(self.dropout(h)).squeeze(1)
