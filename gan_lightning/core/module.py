"""The only training mechanism: players that take turns.

A model says what the game is; :meth:`AdversarialModule.turn` says how a player moves: its gradients alone, in any
precision, on any number of processes and micro-batches, counted, checked, logged and resumable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule
from torch import Tensor, nn

from gan_lightning import batches
from gan_lightning.core import batch_norm, execution, resume
from gan_lightning.core.hyperparameters import loaded, plain_hyperparameters
from gan_lightning.core.step import Move, Player, Rates, Step, Terms, freeze, total
from gan_lightning.core.training_log import TrainingLog
from gan_lightning.noise import Noise, PartNoise, drawn_by_layers, global_seed, key, seed_torch
from gan_lightning.runtime import processes, sharding, trainer_arguments
from gan_lightning.runtime.errors import NotFiniteError, nearest
from gan_lightning.runtime.strategy import exchanging, take_turns
from gan_lightning.runtime.trust import Source

if TYPE_CHECKING:
    from typing_extensions import Self

Objective = Callable[[Any], Terms]
DEAD_SCALE = 2.0**-14  # of a float16 scaler, which begins at 2**16 and halves with each step that it skips


class AdversarialModule(execution.QuickHooks, sharding.Sharded, LightningModule):
    """Base of every model. A subclass names its :meth:`players` and lets them take turns in `training_step`.

    Attributes:
        iteration: batches begun, all epochs together; inside a step the number of the batch, from 1.
        images_seen: training images, or whatever an example is, of those batches, over all processes.
        clock: what schedules in images are functions of: images that each player has seen before this batch.
        turns: by player, the turns that it has taken.
        noise: where a loss draws its random numbers from; keyed by seed, iteration, turn and place in the batch.
        averages: of its networks, by name; each follows its network after each turn that moves any of it.
        trained_on: facts of the training data that no argument holds: its "name", the "fingerprint" of its examples,
            its "classes" (their names, None where there are none) and their "class_counts"; empty before a fit.
    """

    inference_networks: tuple[str, ...] = ()  # names of those that are of use after training
    exported: str | None = None  # of one from an exported folder: whose weights it has, see `exported.weights_name`
    scored_by = ""  # the callback that scores it, where there is one that fits this model alone
    finished = False  # of a model that ends by itself: whether nothing is left to train
    sync_batchnorm = False  # of a model whose paper takes batch statistics over all processes
    batches_per_step = 1  # of a model whose players each see a batch of their own in a step: the clock counts one

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.step = step
        self._rates = Rates(step)
        self.seed = global_seed()
        self.seed_wins = False  # over a checkpoint's: where the user of a resumed run named one
        self.iteration = self.images_seen = self.clock = self._turn_in_batch = 0
        self.noise: Noise = Noise()
        self.averages: Any = nn.ModuleDict()  # of EMA
        self.trained_on: dict[str, Any] = {}
        self.turns: dict[str, int] = {}
        self.training_log = TrainingLog()
        self._moves: dict[str, Move] = {}
        self._run: execution.Run = execution.eagerly
        self._log_every = 0  # batches

    # What a model says.

    def players(self) -> dict[str, Player]:
        """The players by name, in an order that never changes: checkpoints hold their optimizers in it."""
        raise TypeError(f"{type(self).__name__} must define players()")

    def batch_size(self, images_seen: int) -> int | None:
        """The whole batch that follows so many images, of a model whose phases differ in it; None: the data's own."""
        return None

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]  # Lightning's passes any arguments on
        cls,
        checkpoint_path: str | Path,
        map_location: Any = "cpu",
        strict: bool = True,
        weights_only: bool = True,
        trust: Sequence[str] = (),
    ) -> Self:
        """The model of a file, of this class; Lightning's own method would let a parser call what the file names.

        Args:
            checkpoint_path: the file.
            map_location: where its tensors go, as in `torch.load`; the model follows them.
            strict: whether all weights must be there, and no others.
            weights_only, trust: nothing else is ever loaded; packages of your own that the file may name.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is no checkpoint of this class, or names what a file may not name.
        """
        if not weights_only:
            raise ValueError("weights_only=False would run what a file holds: the file must do without")
        return loaded(cls, checkpoint_path, map_location, Source.file(checkpoint_path, trust), strict)

    # What a turn is.

    def turn(
        self, name: str, objective: Objective, batch: tuple, advances_step: bool = False, counts: bool = True
    ) -> None:
        """One optimizer step of one player on `objective(batch)`; the other players' networks are frozen meanwhile.

        Args:
            name: the player.
            objective: returns the terms whose sum the player minimises, each a mean over the batch it is given.
            batch: a NamedTuple of tensors; cut into `step.micro_batches` parts.
            advances_step: whether this turn advances `trainer.global_step`: the generator's do, so that `max_steps`
                and checkpoint names count generator steps, as papers do. Once `max_steps` is reached, further such
                turns of the batch are left out.
            counts: whether schedules and averages count this turn; not that of a lazy regulariser, which belongs to
                a turn of the game (arXiv:1912.04958, appendix B).
        """
        trainer, log = self.trainer, self.training_log
        if advances_step and -1 != trainer.max_steps <= trainer.global_step:
            return
        move = self._move_of(name)
        self._turn_in_batch += 1
        log.begin(name, self.iteration, self._log_every, apart=not counts)
        count = self.step.micro_batches
        parts = [batch] if count == 1 else batches.split(batch, count)

        def gradients() -> None:
            move.forget_gradients()
            with move.alone():
                known = self._dry_run(objective, parts) if count > 1 else None
                for index, part in enumerate(parts):
                    with self._part(index, known), exchanging(trainer.strategy, name, index == count - 1):
                        terms = objective(part)
                        loss = total(terms) if count == 1 else total(terms) / count
                        with execution.without_autocast(self.device):  # or penalties lose their float32
                            self.differentiate(loss)
                    log.record(terms)

        def closure() -> None:
            self._run(name, gradients)
            if self.device.type == "cpu" or log.many_unchecked:  # a look costs a wait: with log lines and before a save
                self.check_finite()

        try:
            if advances_step:  # only LightningOptimizer.step() is counted by Lightning
                move.optimizer.step(closure)
            else:
                trainer.strategy.optimizer_step(move.optimizer.optimizer, closure)
        finally:
            log.end()
        if not counts:
            return
        self.turns[name] = self.turns.get(name, 0) + 1
        if move.scheduler is not None and self.turns[name] % self._players[name].turns_per_step == 0:
            move.scheduler.step()
        for average in move.averages:
            shown = batches.size(batch) * trainer.world_size
            average.update(self.images_seen // self.batches_per_step, shown, only_moved=True)

    def reset_optimizer(self, name: str) -> None:
        """Let a player's optimizer forget its moments, as if its next turn were its first; its rate stays."""
        self._move_of(name).optimizer.optimizer.state.clear()

    def _move_of(self, name: str) -> Move:
        """What a player's turns need, found once.

        Raises:
            ValueError: there is no such player.
        """
        if name not in self._moves:
            if name not in self._players:
                raise ValueError(f"{type(self).__name__} has no player {name!r}{nearest(name, self._players)}")
            optimizer, scheduler = self._optimizers(counting=True)[name], self._schedulers.get(name)
            self._moves[name] = Move.of(name, self._players, optimizer, scheduler, self.averages)
        return self._moves[name]

    @contextmanager
    def _part(self, index: int, known: list[list[Tensor]] | None) -> Iterator[list[Tensor]]:
        """Random numbers and :func:`batches.gather_batch` for one micro-batch of this process."""
        count, rank, world = self.step.micro_batches, self.global_rank, self.trainer.world_size
        turn, device = (self.seed, self.iteration, self._turn_in_batch), self.device
        seed_torch(key(*turn, rank, index), device)  # for layers of others that draw by torch
        self.noise = PartNoise(key(*turn), index * world + rank, world * count, device)
        with drawn_by_layers(self.noise), batches.part(index, count, known) as recorded:
            yield recorded

    @torch.no_grad()
    def _dry_run(self, objective: Objective, parts: list[tuple]) -> list[list[Tensor]] | None:
        """What micro-batches show to `batches.gather_batch`, found by a pass that leaves no trace; None if nothing."""
        buffers = [(buffer, buffer.clone()) for buffer in self.buffers()]
        recorded, log = [], self.training_log
        watching, log.watching = log.watching, False  # the pass that counts will show its figures
        for index, part in enumerate(parts):
            with self._part(index, None) as rows:
                objective(part)
            recorded.append(rows)
            if not rows:  # a loss of means over samples: the parts have nothing to show each other
                break
        for buffer, before in buffers:
            buffer.copy_(before)
        log.watching = watching
        return recorded if recorded[0] else None

    def configure_optimizers(self) -> tuple[list, list]:
        self._players, self._moves = self.players(), {}
        optimizers = [player.build_optimizer(name) for name, player in self._players.items()]
        self._rates.check(optimizers)
        # GradScaler leaves it to a fused step to unscale gradients, which are clipped and measured before that.
        for optimizer in optimizers:
            optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
        made = zip(self._players.items(), optimizers, strict=True)
        self._schedulers = {name: one.scheduler(optimizer) for (name, one), optimizer in made if one.scheduler}
        return optimizers, list(self._schedulers.values())

    # What is watched.

    @property
    def begun(self) -> bool:
        """Whether a batch of this fit has begun."""
        return self.training_log.begun

    @property
    def logging(self) -> bool:
        """Whether this batch ends with a log line (`trainer.log_every_n_steps` batches apart)."""
        return bool(self._log_every) and self.iteration % self._log_every == 0

    def watch(self, name: str, value: Tensor | float) -> None:
        """Put a figure on the next log line (see :class:`TrainingLog`); a tensor stays on its device until then."""
        self.training_log.watch(name, value)

    @property
    def watching(self) -> bool:
        """Whether figures that cost time to compute are wanted of this turn."""
        return self.training_log.watching

    def check_finite(self) -> None:
        """Stop the run if a loss since the last check was NaN or infinite; all processes decide alike.

        float16 overflows now and then, and its gradient scaler skips such a step; with one the run stops when the
        scaler has skipped so many that its scale is next to nothing.

        Raises:
            NotFiniteError: naming the player and the term that was the first.
        """
        trainer, log = self.trainer, self.training_log
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        good = log.all_finite() if scaler is None else scaler.get_scale() >= DEAD_SCALE
        if not trainer.strategy.reduce_boolean_decision(good, all=True):
            what = log.first_not_finite() if scaler is None else "every step overflows float16"
            raise NotFiniteError(
                f"{what} (generator step {trainer.global_step}): lower the learning rate, or look at the data"
            )
        log.clear_losses()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip and measure here: gradients are unscaled and exchanged by now, and nowhere else."""
        if self.step.gradient_clip is None and not self.watching:
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = sharding.full(nn.utils.get_total_norm([p.grad for p in parameters]))
        self.watch(f"{self.training_log.player}/gradient_norm", norm)
        if self.step.gradient_clip is not None:
            nn.utils.clip_grads_with_norm_(parameters, self.step.gradient_clip, norm)

    # What Lightning calls.

    def configure_callbacks(self) -> list[Callback]:
        """None of its own. The first thing that Lightning asks for, before it complains in its own words.

        Raises:
            ValueError: the trainer's arguments or callbacks do not fit players that take turns.
        """
        trainer_arguments.check_made(self.trainer)
        return []

    def setup(self, stage: str) -> None:
        take_turns(self.trainer.strategy)
        batch_norm.synchronise(self, self.trainer.strategy, self.sync_batchnorm)
        freeze(self, self.step.freeze or [])
        if stage == "fit" and self.step.channels_last:  # before DDP lays out its buckets as the weights lie
            self.to(memory_format=torch.channels_last)  # convolutions give images in that order, whatever theirs is
        data: Any = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and hasattr(data, "reference"):  # the data has been set up before
            facts = resume.facts(data) if self.trainer.is_global_zero else {}  # to hash all the data is work for one
            self.trained_on = self.trainer.strategy.broadcast(facts)

    def on_fit_start(self) -> None:
        self.training_log.begin_fit()
        self._log_every = getattr(self.trainer, "log_every_n_steps", None) or 0  # Lightning does not declare it
        self._run = execution.prepared(self, self._players)

    def on_train_start(self) -> None:
        execution.lay_out(self.trainer.optimizers)
        last, step = self.trainer.max_steps, self.trainer.global_step
        if not self.training_log.tell_of_end(self._schedulers.values(), last) and step > 0:
            self.training_log.watch_rates(self._optimizers(), step)

    def on_train_batch_start(self, batch: tuple, batch_idx: int) -> None:
        self.training_log.start_clock(self.images_seen)
        within = self.iteration % self.batches_per_step  # batches of this step that other players saw
        size = batches.size(batch) * self.trainer.world_size
        self.iteration += 1
        self.clock = (self.images_seen - within * size) // self.batches_per_step
        if self._rates.scheduled:
            self._rates.set(list(self._optimizers().values()), self.clock)
        self.images_seen += size
        self._turn_in_batch = 0
        if self.logging:
            self.training_log.watch_rates(self._optimizers(), self.trainer.global_step)
        seed_torch(key(self.seed, self.iteration, 0, self.global_rank), self.device)

    def _optimizers(self, counting: bool = False) -> dict[str, Any]:
        """By player; torch's, or Lightning's around them, whose steps are counted."""
        made = self.optimizers(use_pl_optimizer=counting)  # Lightning hands over a single one without a list
        return dict(zip(self._players, made if isinstance(made, list) else [made], strict=True))

    def on_train_batch_end(self, outputs: Any, batch: tuple, batch_idx: int) -> None:
        self.write_log_line()

    def write_log_line(self) -> None:
        """Write the figures of this batch where it ends with a log line."""
        if self.logging:
            self.check_finite()
            self.training_log.write(self.trainer, self.images_seen)

    def average_batch_statistics(self) -> None:
        """Give all processes one generator to score or save; every process must call it."""
        processes.average_batch_statistics(self)

    def on_validation_start(self) -> None:
        self.average_batch_statistics()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.average_batch_statistics()  # in place: the state_dict that is saved shares the buffers' memory
        checkpoint[self.CHECKPOINT_HYPER_PARAMS_KEY] = plain_hyperparameters(self)  # in place of Lightning's objects
        checkpoint["gan_lightning"] = resume.position(self)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the counters and the seed up again: see :func:`resume.take_up`."""
        resume.take_up(self, checkpoint, in_fit=self._trainer is not None)
