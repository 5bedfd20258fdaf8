"""What a model says of its players: who they are, how each is optimised, and how it steps."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from gan_lightning.augment import Augment
from gan_lightning.ema import EMA
from gan_lightning.runtime.errors import nearest
from gan_lightning.runtime.sharding import Whole
from gan_lightning.schedules import Schedule

Terms = dict[str, Tensor]  # the named, weighted summands of one loss
ImageShape = tuple[int, int, int]  # (channels, height, width)
ImageNetwork = Callable[[ImageShape], nn.Module]  # builds a network for images of a shape
ClassNetwork = Callable[[ImageShape, int | None], nn.Module]  # ... and a number of classes, None for none
Augmentation = Callable[[], Augment]


def total(terms: Terms) -> Tensor:
    """The sum of the terms, without the addition to 0 that `sum` begins with."""
    return reduce(operator.add, terms.values())


class Player(NamedTuple):
    """Networks that move together, and how they are optimised."""

    network: nn.Module
    optimizer: OptimizerCallable
    scheduler: LRSchedulerCallable | None = None  # its own, stepped after its turns
    turns_per_step: int = 1  # for each step of the schedule; a critic's n_critic, so that it counts generator steps

    def build_optimizer(self, name: str) -> torch.optim.Optimizer:
        """Its optimizer, of all parameters that are not frozen.

        Raises:
            ValueError: all are.
        """
        moving = [p for p in self.network.parameters() if p.requires_grad]
        if not moving:
            raise ValueError(f"step.freeze leaves the {name} nothing to move: freeze less of it")
        return self.optimizer(moving)


@dataclass(frozen=True)
class Step:
    """How every player of every model moves: nothing that a paper's equations say.

    Attributes:
        micro_batches: pieces that each process computes its batch in, to save memory; the result is the same.
        gradient_clip: the greatest norm of a player's gradients; None for no clipping.
        scheduler: builds the schedule of each player's learning rate, in that player's own turns (a critic's
            `n_critic` turns are one step, so that its schedule counts generator steps); None for constant rates.
        learning_rate: builds a schedule in images of a factor on every player's rate; None for 1.
        beta2: builds a schedule in images of Adam's second decay rate, of every player; None for the optimizer's own.
        freeze: modules or parameters by name, such as `discriminator.layers.0`, that do not move; None for none.
        compile: compile every player's network in place. Scores whose gradient is penalised are computed without
            compiled code, and so are all turns of a player whose compiled turn fails: see :class:`execution.Compiled`.
        channels_last: keep the weights of convolutions, and so their images, in the order of memory in which channels
            come last, which is faster on most devices; the numbers differ by rounding.

    Raises:
        ValueError: the learning rate has two schedules.
    """

    micro_batches: int = 1
    gradient_clip: float | None = None
    scheduler: LRSchedulerCallable | None = None
    learning_rate: Callable[[], Schedule] | None = None
    beta2: Callable[[], Schedule] | None = None
    freeze: list[str] | None = None
    compile: bool = False
    channels_last: bool = False

    def __post_init__(self) -> None:
        if self.scheduler is not None and self.learning_rate is not None:
            raise ValueError("step.scheduler and step.learning_rate both change the learning rate: leave one out")


@dataclass(frozen=True)
class ImageStep(Step):
    """A :class:`Step` of an :class:`ImageGenerator`, with the generator's averages and what a discriminator sees.

    Attributes:
        ema_half_life: of the generator's average, in training images, or builds its schedule; several for as many
            averages, of which the first is the one that is sampled and scored.
        ema_rampup: share of the images seen so far that a half-life may reach; None for no ramp-up.
        ema_every: turns of the generator between two updates of an average.
        ema_start: turns of the generator before the average begins; until then it equals the trained weights.
        ema_statistics: average the generator's batch statistics like its weights, and do not copy the newest.
        ema_power: sigma_rel of further averages in power-function form, such as 0.05 and 0.10; see :class:`EMA`.
        augment: builds what changes images before the discriminator sees them; None for nothing.
    """

    ema_half_life: float | list[float] | Callable[[], Schedule] = 10_000.0
    ema_rampup: float | None = 0.05
    ema_every: int = 1
    ema_start: int = 0
    ema_statistics: bool = False
    ema_power: list[float] | None = None
    augment: Augmentation | None = None


def freeze(module: nn.Module, names: list[str]) -> None:
    """Freeze modules or parameters by name.

    Raises:
        ValueError: there is none of a name.
    """
    parameters = dict(module.named_parameters())
    for name in names:
        found = [p for known, p in parameters.items() if known == name or known.startswith(f"{name}.")]
        if not found:
            known = {key.rsplit(".", n)[0] for key in parameters for n in range(key.count(".") + 1)}
            raise ValueError(f"step.freeze: {type(module).__name__} has no {name}{nearest(name, known)}")
        for parameter in found:
            parameter.requires_grad_(False)


class Rates:
    """The schedules in images of a :class:`Step`, for the optimizers of all players."""

    def __init__(self, step: Step) -> None:
        self.factor = step.learning_rate() if step.learning_rate is not None else None
        self.beta2 = step.beta2() if step.beta2 is not None else None
        self.scheduled = self.factor is not None or self.beta2 is not None

    def check(self, optimizers: list[torch.optim.Optimizer]) -> None:
        """Refuse a schedule of what an optimizer does not have.

        Raises:
            ValueError: `beta2` of an optimizer without betas.
        """
        for optimizer in optimizers:
            if self.beta2 is not None and "betas" not in optimizer.defaults:
                raise ValueError(f"step.beta2 is Adam's, and {type(optimizer).__name__} has no betas: leave it out")

    def set(self, optimizers: list[torch.optim.Optimizer], images: float) -> None:
        """Give all optimizers what the schedules say when so many images were seen."""
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            if self.factor is not None:
                group["lr"] = group.setdefault("initial_lr", group["lr"]) * self.factor.at(images)
            if self.beta2 is not None:
                group["betas"] = (group["betas"][0], self.beta2.at(images) ** group.get("lazy", 1.0))  # optim.lazy's c


class Move(NamedTuple):
    """What the turns of one player need, found once."""

    optimizer: Any  # Lightning's
    scheduler: Any  # torch's; None without one
    others: list[tuple[dict[str, nn.Parameter], str]]  # where the parameters stand that the player does not own
    averages: list[EMA]  # of what is its own, or is so in part
    parameters: list[nn.Parameter]  # that the optimizer moves
    whole: Whole  # gathers the networks of all players where they are sharded

    @classmethod
    def of(cls, name: str, players: dict[str, Player], optimizer: Any, scheduler: Any, averages: Any) -> Move:
        network = players[name].network
        others: list[tuple[dict[str, nn.Parameter], str]] = []
        mine = {id(p) for p in network.parameters()}
        for player in players.values():
            for module in player.network.modules():
                parameters: dict[str, Any] = module._parameters
                owned = (key for key, p in parameters.items() if p is not None)
                others += [(parameters, key) for key in owned if id(parameters[key]) not in mine]
        followed = [one for one in averages.values() if any(id(p) in mine for p in one.live.parameters())]
        moved = [p for group in optimizer.param_groups for p in group["params"]]
        return cls(optimizer, scheduler, others, followed, moved, Whole(player.network for player in players.values()))

    def forget_gradients(self) -> None:
        """As the optimizer's `zero_grad` does, which takes three times as long for a few parameters."""
        for parameter in self.parameters:
            parameter.grad = None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Freeze what the player does not own. By module, not by optimizer: FSDP2 swaps parameters in and out."""
        frozen = [p for held, key in self.others if (p := held[key]).requires_grad]
        for p in frozen:
            p.requires_grad = False
        try:
            with self.whole:
                yield
        finally:
            for p in frozen:
                p.requires_grad = True
