"""A kind of model: images of what a text says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gan_lightning import text
from gan_lightning.batches import Captioned
from gan_lightning.core.image_generator import ImageGenerator
from gan_lightning.core.step import ImageShape, ImageStep
from gan_lightning.runtime.errors import nearest, printable

KEPT = 1000  # captions that a checkpoint holds


class TextToImage(ImageGenerator):
    """A generator of images whose condition is a text: tokens (n, T) int64, or their embeddings (n, dim) float.

    Samples are of the first captions of the validation images in turn, which a checkpoint holds.

    Args:
        image_shape: (channels, height, width).
        vocabulary: the word, or character, of each token; see `gan_lightning.text`.
        length: tokens of a text, T.
        generator: network from (n, latent_dim) and embeddings (n, dim) to (n, *image_shape).
        step: see :class:`ImageStep`.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        vocabulary: Sequence[str],
        length: int,
        generator: nn.Module,
        step: ImageStep,
    ) -> None:
        super().__init__(image_shape, generator, step)
        self.vocabulary, self.length = list(vocabulary), length

    def embed(self, token: Tensor) -> Tensor:
        """(n, dim) of texts (n, T) int64, alike in training and evaluation: without dropout or batch statistics."""
        raise TypeError(f"{type(self).__name__} must define embed(token)")

    def setup(self, stage: str) -> None:
        super().setup(stage)
        data: Any = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and hasattr(data, "reference"):
            split = "val" if len(data.reference("val")) else "train"
            self.trained_on["captions"] = list(data.reference(split).captions[:KEPT])

    def tokens_of(self, prompts: Sequence[str]) -> Tensor:
        """(n, T) int64, the tokens of prompts.

        Raises:
            ValueError: a prompt without words, with more than the model reads, or with words that it does not know.
        """
        unit: text.Unit = "character" if text.of_characters(self.vocabulary) else "word"
        known = self.vocabulary[len(text.SPECIAL) :]
        for prompt in prompts:
            parts = text.caption_parts(prompt, unit)
            if not 1 <= len(parts) <= self.length:
                raise ValueError(
                    f"the prompt {printable(prompt)!r} has {len(parts)} {unit}s: the model reads 1 to {self.length}"
                )
            if unknown := list(dict.fromkeys(part for part in parts if part not in known)):
                named = "; ".join(f"{printable(part)!r}{nearest(part, known)}" for part in unknown)
                raise ValueError(f"the captions that the model was trained on have no {unit} {named}")
        return text.tokens_of(prompts, self.vocabulary, self.length).to(self.device)

    def condition_like(self, batch: Captioned) -> Tensor:
        """(n, T) the captions of a training batch."""
        return batch.token

    def condition_of(self, numbers: Sequence[int]) -> Tensor:
        """(n, T) the captions of samples of these numbers.

        Raises:
            ValueError: the model has not been trained on a data module that has captions.
        """
        if (asked := self.asked_of(numbers)) is None:
            raise ValueError(f"this {type(self).__name__} holds no captions: give its samples a condition, a prompt")
        return text.tokens_of(asked, self.vocabulary, self.length).to(self.device)

    def asked_of(self, numbers: Sequence[int]) -> list[str] | None:
        """The captions of samples of these numbers, each of the data's in turn; None where it holds none."""
        captions = self.trained_on.get("captions") or []
        return [captions[number % len(captions)] for number in numbers] if captions else None

    def condition_as(self, asked: str, n: int) -> Tensor:
        """(n, T) a prompt; see :meth:`tokens_of`."""
        return self.tokens_of([asked]).expand(n, -1)

    def mixable(self, condition: Tensor) -> Tensor:
        """(n, dim) the embeddings of texts (n, T)."""
        with torch.no_grad():
            return self.embed(condition)

    def fakes_of(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return super().fakes_of(z, self.embedded(condition))

    def images_of(
        self, network: nn.Module, z: Tensor, condition: Tensor | None = None, truncation: float | None = None
    ) -> Tensor:
        return super().images_of(network, z, self.embedded(condition), truncation)

    def embedded(self, condition: Tensor | None) -> Tensor:
        """(n, dim) of texts (n, T) int64, or of embeddings, which stay."""
        assert condition is not None  # no image is without a text
        return condition if condition.is_floating_point() else self.embed(condition)
