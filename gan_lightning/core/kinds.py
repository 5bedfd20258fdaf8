"""Kinds of models beside those of images: the commands tell models apart by these base classes.

See :class:`ImageGenerator` and :class:`Translator` for the two kinds that make images.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gan_lightning.batches import Ranked
from gan_lightning.core.module import AdversarialModule
from gan_lightning.runtime.errors import nearest, printable
from gan_lightning.text import padded, spoken


class SequenceGenerator(AdversarialModule):
    """A kind of model: sequences of tokens.

    Attributes:
        vocabulary: the word of each token.
        length: tokens in a sequence.
    """

    scored_by = "TextScores"
    vocabulary: list[str]
    length: int

    def sample(self, numbers: Sequence[int] | int, seed: int = 0) -> Tensor:
        """(n, length) int64, sequences by number: each depends on the seed and on its number alone.

        Args:
            numbers: of the sequences; n for the first n.
            seed: of the draws.
        """
        raise TypeError(f"{type(self).__name__} must define sample(numbers, seed)")

    def log_likelihood(self, token: Tensor) -> Tensor:
        """(n, length) the log-likelihood of each token of sequences (n, length), given those before it, in nats."""
        raise TypeError(f"{type(self).__name__} must define log_likelihood(token)")

    def nll(self, token: Tensor) -> Tensor:
        """(n,) the mean negative log-likelihood of the tokens of sequences (n, length), in nats.

        Where there is padding, of the tokens up to its first.
        """
        counted = spoken(token) if padded(self.vocabulary) else torch.ones_like(token)
        return -(self.log_likelihood(token) * counted).sum(1) / counted.sum(1)


class Ranker(AdversarialModule):
    """A kind of model: the order of what is relevant to a query, such as items to a user.

    Attributes:
        users, items: their names, of a model of choices; None of a model of documents.
    """

    scored_by = "RankingScores"
    users: list[str] | None = None
    items: list[str] | None = None

    def user_number(self, name: str) -> int:
        """The number of a user.

        Raises:
            ValueError: there is none of this name.
        """
        users = self.users or []
        if name not in users:
            raise ValueError(f"there is no user {printable(name)!r}{nearest(name, users)}")
        return users.index(name)

    def rank(self, batch: Ranked) -> Tensor:
        """(B, D) float32, scores of all columns, in evaluation mode."""
        raise TypeError(f"{type(self).__name__} must define rank(batch)")

    def recommend(self, user: int, k: int = 10) -> tuple[Tensor, Tensor]:
        """The k best items of those that a user did not choose in training.

        Args:
            user: number.
            k: how many items.

        Returns:
            numbers of items (k,) int64 and their scores (k,), the best first.

        Raises:
            ValueError: a model of documents, an unknown user, or fewer items left than k.
        """
        raise TypeError(f"{type(self).__name__} must define recommend(user, k)")


class Encoder:
    """A kind of model, which another kind may be too: codes of images, and images of codes."""

    def encode(self, image: Tensor) -> Tensor:
        """(n, code) of images (n, *image_shape) in [-1, 1], in evaluation mode."""
        raise TypeError(f"{type(self).__name__} must define encode(image)")

    def reconstruct(self, image: Tensor) -> Tensor:
        """(n, *image_shape) in [-1, 1], what is left of images when only their codes are known.

        Raises:
            ValueError: the model was built without what makes images of codes.
        """
        raise TypeError(f"{type(self).__name__} must define reconstruct(image)")
