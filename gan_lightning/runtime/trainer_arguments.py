"""Which arguments and callbacks of Lightning's Trainer fit players that take turns, and what to use for the others.

Lightning answers some of them with a traceback, some in the middle of the run, and some with nothing at all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, Timer
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from gan_lightning.runtime.errors import one_line
from gan_lightning.runtime.sharding import adopt

AVERAGE = "the generator's average is built in, see --model.step.ema_half_life"
INSTEAD = {  # a callback of Lightning's that does not fit -> what to use
    "GradientAccumulationScheduler": "players step their optimizers themselves, use --model.step.micro_batches",
    "WeightAveraging": AVERAGE,
    "StochasticWeightAveraging": AVERAGE,
    "LearningRateFinder": "a game has no one loss that falls; set the rates of --model.generator_optimizer and others",
    "BatchSizeFinder": "set --data.batch_size, and --model.step.micro_batches where memory is short",
    "BaseFinetuning": "no model here has a backbone",
    "ModelPruning": "its checkpoints would not load",
    "SpikeDetection": "a game has no one loss; a loss that is not finite stops the run by itself",
}
TIMER = "use --trainer.max_time"
CLUSTERS = (  # what tells a process that others were started beside it
    "MASTER_ADDR",
    "NODE_RANK",
    "SLURM_NTASKS",
    "LSB_JOBID",
    "OMPI_COMM_WORLD_SIZE",
    "PMI_SIZE",
    "KUBERNETES_PORT",
)
NOTHING = "leaves nothing to train: give more, or leave it out"


def check(given: Mapping[str, Any]) -> None:
    """Refuse arguments of a Trainer that do not fit, before it is made.

    Args:
        given: by name; those that are not there are at their defaults.

    Raises:
        ValueError: one does not fit; the message names it and what to use.
    """
    _require_turns(
        given.get("accumulate_grad_batches", 1), given.get("gradient_clip_val"), given.get("gradient_clip_algorithm")
    )
    callbacks = given.get("callbacks") or []
    _require_known(callbacks if isinstance(callbacks, list) else [callbacks])
    for name in ("max_steps", "max_epochs", "limit_train_batches"):
        if given.get(name) == 0:
            raise ValueError(f"--trainer.{name} 0 {NOTHING}")
    if (most := given.get("max_time")) is not None:
        _require_time(most)
    every = given.get("log_every_n_steps")
    if every is not None and every < 0:
        raise ValueError(f"--trainer.log_every_n_steps must be at least 0 (for none), not {every}")
    strategy = given.get("strategy")
    if isinstance(strategy, str) and re.search(r"_(spawn|fork|notebook)", strategy):
        raise ValueError(
            f"--trainer.strategy {strategy} trains in processes that end with what they have learned: use ddp"
        )
    nodes = given.get("num_nodes", 1)
    if nodes > 1 and not any(name in os.environ for name in CLUSTERS):
        raise ValueError(
            f"--trainer.num_nodes {nodes}: no launcher has started this process; use torchrun or srun, or set "
            "MASTER_ADDR, MASTER_PORT and NODE_RANK on each node"
        )


def check_made(trainer: Trainer) -> None:
    """The same of a Trainer that somebody has made, and of its callbacks.

    Raises:
        ValueError: an argument or a callback does not fit.
    """
    adopt(trainer.strategy)
    algorithm = trainer.gradient_clip_algorithm
    _require_turns(trainer.accumulate_grad_batches, trainer.gradient_clip_val, algorithm and algorithm.value)
    _require_known(trainer.callbacks)


def metric_not_there(error: RuntimeError) -> str | None:
    """The line for EarlyStopping's error at the end of an epoch that has not logged its metric; None for others."""
    if found := re.match(r"Early stopping conditioned on metric `(.*?)` which.+following: (.+)", str(error), re.S):
        name, logged = found[1], found[2].replace("`", "").strip(".") or "nothing"
        return f"EarlyStopping: this epoch logs no {name!r}; give strict false to wait for it, or one of {logged}"
    return None


@contextmanager
def refused() -> Iterator[None]:
    """While a Trainer is made: what it refuses, in whatever way, is bad input.

    Raises:
        ValueError: what Lightning says, or the package that it misses.
    """
    try:
        yield
    except (MisconfigurationException, ImportError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"trainer: {one_line(error, 1000)}") from error


def _require_turns(accumulate: int, clip: float | None, algorithm: str | None) -> None:
    if accumulate != 1:
        raise ValueError(
            f"--trainer.accumulate_grad_batches {accumulate}: players step their optimizers themselves; use "
            "--model.step.micro_batches, which computes the batch of --data.batch_size in so many parts"
        )
    if clip:
        raise ValueError(
            f"--trainer.gradient_clip_val {clip:g}: players step their optimizers themselves; use "
            f"--model.step.gradient_clip {clip:g}, the greatest norm of a player's gradients"
        )
    if algorithm is not None:
        raise ValueError(
            f"--trainer.gradient_clip_algorithm {algorithm} does nothing: --model.step.gradient_clip clips by the norm"
        )


def _require_known(callbacks: list[Callback]) -> None:
    for callback in callbacks:
        for kind in type(callback).__mro__:
            if kind.__module__.startswith(("lightning.", "pytorch_lightning.")) and kind.__name__ in INSTEAD:
                raise ValueError(f"the callback {type(callback).__name__} cannot be used: {INSTEAD[kind.__name__]}")


def _require_time(most: Any) -> None:
    try:
        seconds = Timer(duration=most).time_remaining()
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise ValueError(
            f"--trainer.max_time: {most!r} is no time: write DD:HH:MM:SS (00:12:00:00 for 12 hours) or {{hours: 12}}"
        ) from error
    if not seconds or seconds <= 0:
        raise ValueError(f"--trainer.max_time {most} {NOTHING}")
