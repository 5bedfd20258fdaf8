"""Bases of the models that turn an image into another: translation, refinement, faces, resolution; and holes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn

from gan_lightning.batches import central_hole
from gan_lightning.core.module import AdversarialModule
from gan_lightning.core.sampling import evaluating, in_own_precision
from gan_lightning.core.step import ImageShape, Player, Step, Terms

Columns = dict[str, Tensor]  # pictures by the name of their column, (n, C, H, W) in [-1, 1] each


class Translator(AdversarialModule):
    """A kind of model: images from images, by a generator and a discriminator of what it makes.

    A paper writes the two losses, :meth:`translate` and :meth:`columns`, and says by the attributes below what its
    pictures are compared with. Nothing is averaged over training: the papers use the last weights.

    Attributes:
        directions: names of what :meth:`translate` can do, the usual one first, where it takes a `direction`.
        attributes: names of what it can change, where it takes `attributes`.
        scale: sides of a translated image, in sides of its source.
        multiple: the sides of a source must be multiples of this; pad and crop back.
        any_size: whether sources may have other sizes than `image_shape`.
        pairs: by the name of a comparison, the columns of the image made and of the one that it should equal.
        domains: by the name of a comparison, the columns of images made and of real ones that should look alike.
        n_critic: discriminator turns for each generator turn, each on a batch of its own.

    Args:
        image_shape: (channels, height, width) of what is made.
        generator: the network, or networks that move together.
        discriminator: the same of the other player; None where there is none.
        generator_optimizer, discriminator_optimizer: build the optimizers.
        step: see :class:`Step`.
    """

    inference_networks: tuple[str, ...] = ("generator",)
    directions: ClassVar[tuple[str, ...]] = ()
    attributes: Sequence[str] = ()
    scale: int = 1
    multiple: int = 1
    any_size: bool = True
    pairs: ClassVar[dict[str, tuple[str, str]]] = {}
    domains: ClassVar[dict[str, tuple[str, str]]] = {}
    n_critic: int = 1

    def __init__(
        self,
        image_shape: ImageShape,
        generator: nn.Module,
        discriminator: nn.Module | None,
        generator_optimizer: OptimizerCallable,
        discriminator_optimizer: OptimizerCallable,
        step: Step,
    ) -> None:
        super().__init__(step)
        self.image_shape = tuple(image_shape)
        self.generator, self.discriminator = generator, discriminator
        self._players_of = (generator_optimizer, discriminator_optimizer)

    def players(self) -> dict[str, Player]:
        generator_optimizer, discriminator_optimizer = self._players_of
        both = {"generator": Player(self.generator, generator_optimizer, self.step.scheduler)}
        if self.discriminator is not None:
            both["discriminator"] = Player(
                self.discriminator, discriminator_optimizer, self.step.scheduler, self.n_critic
            )
        return both

    def training_step(self, batch: tuple, batch_idx: int) -> None:
        if self.discriminator is not None:
            self.turn("discriminator", self.discriminator_loss, batch)
        if self.iteration % self.n_critic == 0:
            self.turn("generator", self.generator_loss, batch, advances_step=True)

    def discriminator_loss(self, batch: tuple) -> Terms:
        """What the discriminator minimises on real images and the generator's."""
        raise TypeError(f"{type(self).__name__} must define discriminator_loss(batch)")

    def generator_loss(self, batch: tuple) -> Terms:
        """What the generator minimises."""
        raise TypeError(f"{type(self).__name__} must define generator_loss(batch)")

    def translate(self, image: Tensor) -> Tensor:
        """Translated images (n, C, scale * H, scale * W) of (n, C, H, W), both in [-1, 1], in evaluation mode.

        A model with several ways takes further arguments, such as `direction: str | None = None` (one of `directions`,
        the first where None) or `attributes: dict[str, bool]` (of `attributes`, whether an image shall have them).

        Args:
            image: sources; their sides are multiples of `multiple`.
        """
        raise TypeError(f"{type(self).__name__} must define translate(image)")

    def columns(self, batch: tuple) -> Columns:
        """What a batch of validation looks like, sources and what is made of them, in the order of a grid's columns."""
        raise TypeError(f"{type(self).__name__} must define columns(batch)")

    def which(self, direction: str | None) -> int:
        """The place of a direction among `directions`, 0 for None.

        Raises:
            ValueError: there is no such direction.
        """
        if direction is None:
            return 0
        if direction not in self.directions:
            known = " and ".join(self.directions)
            raise ValueError(f"direction {direction!r}: {type(self).__name__} knows {known}")
        return self.directions.index(direction)

    @torch.no_grad()
    def made_by(self, network: nn.Module, *inputs: Tensor) -> Tensor:
        """A network's images of these inputs, float32, in evaluation mode and the network's own precision."""
        with evaluating(network):
            return in_own_precision(network, *inputs).float()


class Inpainter(Translator):
    """A translator that fills holes of any form: a paper writes :meth:`fill`, the losses and :meth:`columns`."""

    def fill(self, image: Tensor, hole: Tensor) -> Tensor:
        """Images (n, C, H, W) in [-1, 1] whose holes (n, 1, H, W), bool, are filled; the rest stays as it is."""
        raise TypeError(f"{type(self).__name__} must define fill(image, hole)")

    def translate(self, image: Tensor) -> Tensor:
        """Images whose middle quarter, of half their sides, is filled anew."""
        hole = central_hole(*image.shape[2:]).to(image.device)
        return self.fill(image, hole.expand_as(image[:, :1]))
