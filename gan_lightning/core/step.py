"""What a model says of its players: who they are, how each is optimised, and how it steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from gan_lightning.augment import Augment
from gan_lightning.ema import EMA

Terms = dict[str, Tensor]  # the named, weighted summands of one loss
ImageShape = tuple[int, int, int]  # (channels, height, width)
ImageNetwork = Callable[[ImageShape], nn.Module]  # builds a network for images of a shape
ClassNetwork = Callable[[ImageShape, int | None], nn.Module]  # ... and a number of classes, None for none
Augmentation = Callable[[], Augment]


class Player(NamedTuple):
    """Networks that move together, and how they are optimised."""

    network: nn.Module
    optimizer: OptimizerCallable
    scheduler: LRSchedulerCallable | None = None  # its own, stepped after its turns
    turns_per_step: int = 1  # for each step of the schedule; a critic's n_critic, so that it counts generator steps


@dataclass(frozen=True)
class Step:
    """How every player of every model moves: nothing that a paper's equations say.

    Attributes:
        micro_batches: pieces that each process computes its batch in, to save memory; the result is the same.
        gradient_clip: the greatest norm of a player's gradients; None for no clipping.
        scheduler: builds the schedule of each player's learning rate, in that player's own turns (a critic's
            `n_critic` turns are one step, so that its schedule counts generator steps); None for constant rates.
        compile: compile every player's network in place.
    """

    micro_batches: int = 1
    gradient_clip: float | None = None
    scheduler: LRSchedulerCallable | None = None
    compile: bool = False


@dataclass(frozen=True)
class ImageStep(Step):
    """A :class:`Step` of an :class:`ImageGenerator`, with the generator's averages and what a discriminator sees.

    Attributes:
        ema_half_life: of the generator's average, in training images; several for as many averages, of which the first
            is the one that is sampled and scored.
        ema_rampup: share of the images seen so far that a half-life may reach; None for no ramp-up.
        ema_every: turns of the generator between two updates of an average.
        ema_start: turns of the generator before the average begins; until then it equals the trained weights.
        ema_statistics: average the generator's batch statistics like its weights, and do not copy the newest.
        augment: builds what changes images before the discriminator sees them; None for nothing.
    """

    ema_half_life: float | list[float] = 10_000.0
    ema_rampup: float | None = 0.05
    ema_every: int = 1
    ema_start: int = 0
    ema_statistics: bool = False
    augment: Augmentation | None = None


class Move(NamedTuple):
    """What the turns of one player need, found once."""

    optimizer: Any  # Lightning's
    scheduler: Any  # torch's; None without one
    others: list[tuple[dict[str, nn.Parameter], str]]  # where the parameters stand that the player does not own
    averages: list[EMA]  # of what is its own, or is so in part

    @classmethod
    def of(cls, name: str, players: dict[str, Player], optimizer: Any, scheduler: Any, averages: nn.ModuleDict) -> Move:
        network, others = players[name].network, []
        mine = {id(p) for p in network.parameters()}
        for player in players.values():
            for module in player.network.modules():
                owned = ((module._parameters, key) for key, p in module._parameters.items() if p is not None)
                others += [(held, key) for held, key in owned if id(held[key]) not in mine]
        followed = [one for one in averages.values() if any(id(p) in mine for p in one.live.parameters())]
        return cls(optimizer, scheduler, others, followed)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Freeze what the player does not own. By module, not by optimizer: FSDP2 swaps parameters in and out."""
        frozen = [p for held, key in self.others if (p := held[key]).requires_grad]
        for p in frozen:
            p.requires_grad = False
        try:
            yield
        finally:
            for p in frozen:
                p.requires_grad = True
