"""When a run is saved: `last.ckpt` again and again, `best.ckpt` when the score improves."""

from __future__ import annotations

import copy
import math
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Trainer, callbacks
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from gan_lightning import scoring
from gan_lightning.callbacks import tracking
from gan_lightning.callbacks.scores.base import ScheduledScore
from gan_lightning.callbacks.trigger import passed
from gan_lightning.core import AdversarialModule, resume
from gan_lightning.core.hyperparameters import plain_hyperparameters
from gan_lightning.runtime import signals
from gan_lightning.runtime.checkpoint_io import AtomicCheckpointIO, link
from gan_lightning.runtime.errors import NotFiniteError, make_folder, one_line, require_one_of
from gan_lightning.runtime.processes import greatest
from gan_lightning.runtime.sharding import local

# How long several processes train before they tell each other of signals, and the first one of its clock: at most
AGREE_EVERY = 20  # batches
AGREE_SECONDS = 5.0  # and as many whole batches as fit in so many seconds


class Checkpoint(callbacks.Checkpoint):
    """Writes `last.ckpt` and `best.ckpt`, atomically, at the ends of batches only, and never with weights that are NaN.

    `last.ckpt` is written by steps, by the clock, when the score improves, and when the run ends: by itself, by an
    error, or by a signal: Ctrl-C, SIGTERM, SIGHUP or SIGUSR1 to any of the processes ends all of them after the batch
    that is being computed, with one file and `signals.Stopped`, a SystemExit of 128 + the signal's number. A second
    Ctrl-C or SIGTERM stops at once. Lightning's handlers, which save and talk to the other processes from within any
    step, are left out. `best.ckpt` is the `last.ckpt` of the moment of the best score, under a second name. Lightning's
    own ModelCheckpoint misses steps when n_critic > 1 and never saves by the clock under manual optimisation.

    Args:
        folder: where; None for the trainer's `default_root_dir`.
        every_n_steps: generator steps (`trainer.global_step`); at the first batch that reaches each multiple.
        every_minutes: by the clock of the first process, which the others follow.
        monitor: the logged score whose best is kept, with or without its extractor's name ("FID" for "FID-digits");
            it must be logged on every process. None for no `best.ckpt`. Scores with different cards are not compared:
            a run that goes on with another protocol begins with no best score, and a line says why.
        mode: whether the best score is the least ("min") or the greatest ("max").
        log_model: when the run has ended, hand W&B `best.ckpt`, else `last.ckpt`, as an artifact.

    Attributes:
        config: the run's resolved config as YAML, kept in every file as `checkpoint["config"]`, and written to
            config.yaml when training begins; a run that goes on tells in which settings it differs from the file's.
        last_path, best_path: the files; None while there is none.
        best_score, best_step: the best score so far, and the generator step it was reached at.
        best_card: how the best score was made (see :class:`ScheduledScore`); empty for a figure that is not a score.
    """

    def __init__(
        self,
        folder: str | None = None,
        every_n_steps: int | None = None,
        every_minutes: float | None = 10.0,
        monitor: str | None = "FID",
        mode: Literal["min", "max"] = "min",
        log_model: bool = True,
    ) -> None:
        super().__init__()
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, not {every_n_steps}; null turns it off")
        require_one_of("mode", mode, "min", "max")
        self.folder, self.every_n_steps, self.every_minutes = folder, every_n_steps, every_minutes
        self.monitor, self.mode, self.log_model = monitor, mode, log_model
        self.config: str | None = None
        self.last_path: str | None = None
        self.best_path: str | None = None
        self.best_score: float | None = None
        self.best_step: int | None = None
        self.best_card: dict[str, Any] = {}
        self._saved: int | None = None  # the iteration of the newest file; None outside of training
        self._step = 0  # generator steps at the last batch's end
        self._time = 0.0  # of the last save
        self._seen: Tensor | None = None  # the score that was looked at last
        self._listener, self._own = signals.Listener(), ExitStack()
        self._looked, self._look = (0, 0.0), 0  # the last look at the others: iteration, time; the next one's iteration
        self._end: tuple[int, int, dict] = (-1, 0, {})  # iteration, epoch, loops after what may be the last batch

    # When.

    def setup(self, trainer: Trainer, pl_module: AdversarialModule, stage: str) -> None:
        """Agree on the folder, and refuse before training what could not be saved.

        Raises:
            ValueError: the model has an argument that no checkpoint can hold.
            OSError: the folder cannot be written to.
        """
        if stage != "fit":
            return
        plain_hyperparameters(pl_module)
        self._listener = self._own.enter_context(signals.listening())
        self._listener.launcher = trainer.strategy.launcher
        trainer._signal_connector.register_signal_handlers = lambda: None  # Lightning's, called after this
        self.folder = trainer.strategy.broadcast(os.path.abspath(self.folder or trainer.default_root_dir))
        if not trainer.fast_dev_run:
            make_folder(self.folder, "--checkpoint.folder")
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # the default; a user's own choice stays
            trainer.strategy.checkpoint_io = AtomicCheckpointIO()

    def on_fit_start(self, trainer: Trainer, pl_module: AdversarialModule) -> None:
        """Refuse to overwrite another run (only now does Lightning say whether this one resumes).

        Raises:
            ValueError: the processes do not go on from the same file; or the folder holds a `last.ckpt`, and this run
                starts anew, or from a file of another folder.
        """
        last, file = os.path.join(self.folder, "last.ckpt"), trainer.ckpt_path
        first = trainer.strategy.broadcast(file)
        if not trainer.strategy.reduce_boolean_decision(file == first):
            what = f"goes on from {first}" if first else "begins anew"
            raise ValueError(
                f"the first process {what}, another one does not: give all nodes the same command, one folder of runs "
                "(--trainer.default_root_dir) and, under torchrun, a name of the job (--rdzv-id)"
            )
        elsewhere = file is None or os.path.realpath(os.path.dirname(file)) != os.path.realpath(self.folder)
        anew = elsewhere and self.last_path is None and not trainer.fast_dev_run
        if trainer.strategy.broadcast(anew and os.path.exists(last)):
            raise ValueError(f"{last} belongs to another run: resume it with ckpt_path, or choose another folder")

    def on_train_start(self, trainer: Trainer, pl_module: AdversarialModule) -> None:
        if trainer.fast_dev_run:
            return
        if self.config is not None and trainer.is_global_zero:  # now that nothing is refused any more
            Path(trainer.default_root_dir, "config.yaml").write_text(self.config, "utf-8", "surrogateescape")
        self._saved, self._step, self._time = pl_module.iteration, trainer.global_step, time.monotonic()
        best = os.path.join(self.folder, "best.ckpt")
        if trainer.strategy.broadcast(self.best_score is not None and os.path.exists(best)):
            self.best_path = best
        else:  # a run that goes on in a new folder finds its best anew
            self.best_score = self.best_step = self.best_path = None
            self.best_card = {}
        self._looked, self._look = (pl_module.iteration, self._time), pl_module.iteration + 1
        if trainer.world_size > 1:  # one process must not leave while another begins its first batch
            self._listener.saving = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: AdversarialModule, *_: Any) -> None:
        if not self._listener.saving and self._saved is not None:
            self._listener.saving = True
            if self._listener.received:  # somebody's code has caught what the handler raised
                self._listener.stop()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: AdversarialModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._saved is None:
            return
        before, self._step = self._step, trainer.global_step
        due = passed(self.every_n_steps, before, self._step)
        stop = 0
        if trainer.world_size == 1 or pl_module.iteration >= self._look:
            stop, late = self._agree(trainer, pl_module)
            due |= late
        if trainer.is_last_batch or trainer.should_stop or 0 < trainer.max_steps <= self._step:
            self._end = pl_module.iteration, trainer.current_epoch, copy.deepcopy(trainer.fit_loop.state_dict())
        improved = self._improved(trainer)
        if due or improved or stop:
            self._save(trainer, pl_module, improved)
        if stop:
            pl_module.write_log_line()  # the module's own hook comes after this one, and would be left out
            raise signals.Stopped(stop)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: AdversarialModule, *_: Any) -> None:
        if self._saved is not None and not trainer.sanity_checking:
            (stop,) = greatest([self._listener.received], pl_module.device)
            if stop:
                raise signals.Stopped(int(stop))

    def on_validation_end(self, trainer: Trainer, pl_module: AdversarialModule) -> None:
        if self._saved is not None and not trainer.sanity_checking and self._improved(trainer):
            self._save(trainer, pl_module, True)

    def on_train_end(self, trainer: Trainer, pl_module: AdversarialModule) -> None:
        if self._saved is None:
            return
        improved = self._improved(trainer)
        if improved or pl_module.iteration != self._saved:
            self._save(trainer, pl_module, improved)
        self._saved = None
        if trainer.world_size == 1:  # from now on nothing is to be saved, nor to be agreed on
            self._listener.saving = False

    def on_fit_end(self, trainer: Trainer, pl_module: AdversarialModule) -> None:
        """Save a finished run that is resumed and has only now been scored; then hand the model to trackers.

        Only now, since it may take minutes, in which the other processes need not stay (see `runtime.Peers`).
        """
        if not trainer.fast_dev_run and self._improved(trainer):
            self._save(trainer, pl_module, True)
            self._saved = None  # as after training: a validation that follows saves nothing
        if self.log_model and self.last_path is not None and trainer.is_global_zero:
            self._track(trainer)

    def _track(self, trainer: Trainer) -> None:
        """Hand the model to trackers; the run has its files, and does not end by what a tracker cannot take."""
        path, step, aliases = self.last_path, trainer.global_step, []
        if self.best_path is not None:
            path, step, aliases = self.best_path, self.best_step, ["best"]
        about = {"step": step, "score": self.best_score, "monitor": self.monitor, "card": self.best_card}
        try:
            tracking.log_model(trainer, Path(path), [*aliases, "latest", f"step-{step}"], about)
        except Exception as error:  # of W&B or of a disk: the run's own files are safe by now
            rank_zero_warn(f"W&B is not handed the model: {one_line(error)}")

    def on_exception(self, trainer: Trainer, pl_module: AdversarialModule, exception: BaseException) -> None:
        """Save what the run has reached, if every process is here, in between two batches, and the weights are good."""
        if isinstance(exception, signals.Stopped):
            self._listener.part()
        saved, self._saved = self._saved, None
        try:
            if saved not in (None, pl_module.iteration) and self._between_batches(trainer, exception):
                self._save(trainer, pl_module, False)
        except (NotFiniteError, OSError) as error:
            rank_zero_warn(f"the end of the run is not saved: {error}")
        finally:
            self._saved = None
            self._release(trainer)

    def _between_batches(self, trainer: Trainer, exception: BaseException) -> bool:
        """Whether what there is now is a state of the run, on all processes."""
        if isinstance(exception, NotFiniteError):
            return False
        if trainer.world_size > 1 and not isinstance(exception, signals.Stopped):
            return False  # the other processes may not have failed, and would not take part
        batches = trainer.fit_loop.epoch_loop.batch_progress.total
        return batches.ready == batches.processed  # within a batch one player has moved and another has not

    def teardown(self, trainer: Trainer, pl_module: AdversarialModule, stage: str) -> None:
        self._release(trainer)

    def _release(self, trainer: Trainer) -> None:
        """Give the signals back, to Lightning too."""
        self._own.close()
        vars(trainer._signal_connector).pop("register_signal_handlers", None)

    def _agree(self, trainer: Trainer, pl_module: AdversarialModule) -> tuple[int, bool]:
        """The signal that one of the processes has received (0 for none), and whether it is time to save."""
        now, (iteration, time_) = time.monotonic(), self._looked
        pace = (now - time_) / max(pl_module.iteration - iteration, 1)
        late = self.every_minutes is not None and now - self._time >= 60 * self.every_minutes
        known = [self._listener.received, late and trainer.is_global_zero, pace]
        stop, late, pace = greatest(known, pl_module.device)
        self._looked = pl_module.iteration, now
        self._look = pl_module.iteration + max(min(AGREE_EVERY, int(AGREE_SECONDS / max(pace, 1e-3))), 1)
        return int(stop), bool(late)

    def _improved(self, trainer: Trainer) -> bool:
        """Whether a new score is the best of its card, the same on all processes; if so it is noted."""
        named = (n for n in trainer.callback_metrics if n == self.monitor or n.startswith(f"{self.monitor}-"))
        name = next(named, None)
        score = trainer.callback_metrics.get(name)
        if score is None or score is self._seen:
            return False
        self._seen = score
        value = trainer.strategy.broadcast(float(score))
        if not math.isfinite(value):
            return False
        makers = (c for c in trainer.callbacks if isinstance(c, ScheduledScore) and name in c.scores)
        card = next((maker.card for maker in makers), {})
        if self.best_score is not None and (different := scoring.differences(self.best_card, card)):
            if trainer.is_global_zero:
                why = f"cannot be compared with the best so far, the cards differ in {'; '.join(different)}"
                print(f"best.ckpt begins anew at step {trainer.global_step}: {name} {why}", flush=True)
            self.best_score = None
        sign = 1 if self.mode == "min" else -1
        if self.best_score is not None and sign * value >= sign * self.best_score:
            return False
        self.best_score, self.best_step, self.best_card = value, trainer.global_step, card
        return True

    # What.

    def _save(self, trainer: Trainer, pl_module: AdversarialModule, best: bool) -> None:
        pl_module.check_finite()
        self._check_weights(trainer, pl_module)
        last = os.path.join(self.folder, "last.ckpt")
        trainer.save_checkpoint(last, weights_only=False)  # i.e. with the optimizers
        self.last_path, self._saved, self._time = last, pl_module.iteration, time.monotonic()
        if best:
            self.best_path = os.path.join(self.folder, "best.ckpt")
            if trainer.is_global_zero:
                link(last, self.best_path)

    @torch.no_grad()
    def _check_weights(self, trainer: Trainer, pl_module: AdversarialModule) -> None:
        """A loss shows a NaN only in the batch after the one that put it into the weights."""
        weights = {name: local(weight) for name, weight in pl_module.named_parameters()}
        finite = torch.stack([weight.isfinite().all() for weight in weights.values()])
        if not trainer.strategy.reduce_boolean_decision(bool(finite.all()), all=True):
            bad = [name for name, weight in weights.items() if not weight.isfinite().all()]
            raise NotFiniteError(
                f"the weights of {', '.join(bad[:3]) or 'another process'} are not finite at generator step "
                f"{trainer.global_step}: lower the learning rate, or look at the data"
            )

    def on_save_checkpoint(self, trainer: Trainer, pl_module: AdversarialModule, checkpoint: dict[str, Any]) -> None:
        if self.config is not None:
            checkpoint["config"] = self.config
        iteration, epoch, loops = self._end
        if iteration == pl_module.iteration:
            # When training ends, Lightning counts the epoch as complete; a run that goes on from its middle would count
            # it twice, and from its end would take one batch for an epoch. After the batch all counters are right.
            checkpoint["epoch"], checkpoint["loops"]["fit_loop"] = epoch, loops

    def on_load_checkpoint(self, trainer: Trainer, pl_module: AdversarialModule, checkpoint: dict[str, Any]) -> None:
        if self.config is not None and checkpoint.get("config") is not None and trainer.is_global_zero:
            changed = resume.changes(*(yaml.safe_load(text) for text in (checkpoint["config"], self.config)))
            print("\n".join(resume.lines(changed)) or "resumed with the same settings", flush=True)

    def state_dict(self) -> dict[str, Any]:
        best = {"best_score": self.best_score, "best_step": self.best_step, "best_card": self.best_card}
        return {"monitor": self.monitor, "mode": self.mode} | best

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if (state["monitor"], state.get("mode", self.mode)) == (self.monitor, self.mode):
            self.best_score, self.best_step = state["best_score"], state["best_step"]
            self.best_card = state["best_card"]
