"""How the numbers of a turn are computed, not which: compiled networks, the order of memory, a look for GPUs."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import Strategy
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn

from gan_lightning.core.step import Player
from gan_lightning.runtime import processes
from gan_lightning.runtime.errors import RunError, death_of_a_worker, out_of_memory

if TYPE_CHECKING:
    from gan_lightning.core.module import AdversarialModule

Work = Callable[[], None]  # leaves gradients behind
Run = Callable[[str, Work], None]  # does the work of a player


def eagerly(player: str, work: Work) -> None:
    """A player's turn as it is."""
    work()


OF_A_STEP = frozenset(("_current_fx_name", "iteration", "images_seen", "clock", "noise", "_turn_in_batch"))


class QuickHooks:
    """What Lightning calls in a step, without the parts that have no effect in this run."""

    unheard = False  # whether a backward pass has hooks around it that do nothing: see `hears_nothing`

    def __setattr__(self, name: str, value: Any) -> None:
        """What each step sets, such as a hook's name at each of the 40 that are called, is set as in any object.

        A module looks first whether it is a parameter, a buffer or a module: 0.15 ms of a step.
        """
        if name in OF_A_STEP:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def differentiate(self, loss: Tensor) -> None:
        """Lightning's `manual_backward`, which looks for hooks around it: 0.1 ms, spared where there are none."""
        if self.unheard:
            loss.backward()
        else:
            self.manual_backward(loss)  # type: ignore[attr-defined]


BACKWARD = ("pre_backward", "backward", "post_backward")
HOOKS = ("on_before_backward", "on_after_backward")


def hears_nothing(module: LightningModule) -> bool:
    """Whether neither strategy nor precision, profiler, model or callback has anything to do around a backward pass.

    Asked once a fit, when it begins.
    """
    trainer: Any = module.trainer  # which declares neither its callbacks nor its profiler
    parts = [
        (trainer.strategy, Strategy, BACKWARD),
        (trainer.precision_plugin, Precision, BACKWARD),
        (module, LightningModule, ("backward", *HOOKS)),
        *((callback, Callback, HOOKS) for callback in trainer.callbacks),
    ]
    heard = any(is_overridden(name, one, base) for one, base, names in parts for name in names)
    return isinstance(trainer.profiler, PassThroughProfiler) and not heard


def without_autocast(device: torch.device) -> AbstractContextManager:
    """Where autocast is on, off within; where it is not, nothing."""
    kind = device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


FORMS = 64  # compiled forms that torch keeps of a function (by default 8): it runs further ones uncompiled


class Compiled:
    """Players whose networks are compiled in place: the names in the state_dict stay.

    A network is frozen and freed from turn to turn, and each state has code of its own. torch before 2.12 takes the
    code of one for the other where a module's dictionaries have not changed, unless it is told to look. A network that
    grows has code for each of its levels, which is made when the level begins. Both settings are of the whole process.

    Where a turn fails that runs compiled, such as one that differentiates a gradient outside of
    `losses.exact_gradients`, it is computed again without compiled code, from the buffers as they were, with the same
    random numbers, and so are all later turns of that player; a warning says so. Where processes exchange gradients,
    the failed turn has begun to, and the run ends with a line. Where torch can compile nothing in one of the processes,
    such as without a C++ compiler on a CPU, there is one warning, and all networks stay as they are.

    Args:
        players: by name.
        buffers: what turns change beside parameters.
        device: of the networks.
    """

    def __init__(self, players: dict[str, Player], buffers: Iterable[Tensor], device: torch.device) -> None:
        self.eager: set[str] = set()
        self._buffers = list(buffers)
        self._before = [torch.empty_like(buffer) for buffer in self._buffers]
        torch._dynamo.config.skip_tensor_guards_with_matching_dict_tags = False
        torch._dynamo.config.recompile_limit = FORMS
        failure = _failure(device)
        (failed,) = processes.greatest([failure is not None], device)
        if failed:
            self.eager |= set(players)
            why = failure or "it cannot in another process"
            rank_zero_warn(f"step.compile: torch cannot compile here, and nothing is compiled: {why}")
            return
        for player in players.values():
            several = player.network if isinstance(player.network, nn.ModuleList) else [player.network]
            for network in several:  # a list of networks has no forward of its own
                network.compile()

    def run(self, player: str, work: Work) -> None:
        """Do a player's work, with compiled code unless that has failed before.

        Raises:
            RunError: it fails, and cannot be done again because processes exchange gradients within it.
        """
        if player not in self.eager:
            _copy(self._buffers, self._before)
            try:
                work()
                return
            except RuntimeError as error:
                known = isinstance(error, RunError) or out_of_memory(error) or processes.of_connection(error)
                if known or death_of_a_worker(error):
                    raise
                failure = reason(error)
                if processes.grouped():
                    line = f"step.compile: a turn of the {player} fails: {failure}; leave --model.step.compile out"
                    raise RunError(line) from error
            _copy(self._before, self._buffers)
        with torch.compiler.set_stance("force_eager"):
            work()  # raises where the fault is not in compiled code
        if player not in self.eager:
            self.eager.add(player)
            rank_zero_warn(f"step.compile: turns of the {player} run without compiled code from now on: {failure}")


def _failure(device: torch.device) -> str | None:
    """Why torch cannot compile in this process; None where it can."""
    try:
        probe = nn.Softplus()
        probe.compile()
        probe(torch.zeros(1, device=device))
    except RuntimeError as error:
        return reason(error)
    return None


def _copy(source: list[Tensor], target: list[Tensor]) -> None:
    if source:
        with torch.no_grad():
            torch._foreach_copy_(target, source)


def reason(error: Exception) -> str:
    """An error in a line; the first one of a compiler's names the backend alone."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1])


def prepared(module: AdversarialModule, players: dict[str, Player]) -> Run:
    """What runs the turns, as `module.step` asks for it."""
    look_for_gpus_once()
    module.unheard = hears_nothing(module)
    training_step: Any = type(module).training_step  # Lightning asks for its signature at each step, 0.04 ms
    training_step.__signature__ = inspect.signature(training_step)
    return Compiled(players, module.buffers(), module.device).run if module.step.compile else eagerly


def look_for_gpus_once() -> None:
    """Where there is no GPU, spare torch to look for one at each step of an optimizer.

    It asks the CUDA library that torch has loaded, or, as Lightning tells it by this variable, NVML, for which it
    searches anew each time where there is none: 0.4 ms of the 2.8 ms that two turns of the smallest networks take.
    Lightning's reason, that the first way keeps forked processes from GPUs, needs a GPU.
    """
    if torch.cuda.device_count() == 0:
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"


def lay_out(optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Let what optimizers hold of a parameter lie in memory as it does: fused ones go through both as they lie.

    A checkpoint's moments lie as the weights did in the run that wrote it.
    """
    for optimizer in optimizers:
        for parameter, state in optimizer.state.items():
            for name, value in state.items():
                if (
                    isinstance(value, Tensor)
                    and value.shape == parameter.shape
                    and value.stride() != parameter.stride()
                ):
                    state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
