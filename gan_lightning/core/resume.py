"""How a run goes on under other settings: what was said wins where it can change, and is told; the rest is refused.

Settings are compared in plain form, by the names that flags have: `model.generator.width`, a class by its own name.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_type_hints

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from gan_lightning.batches import LINKED_ARGUMENTS
from gan_lightning.core.hyperparameters import own_record, plain_hyperparameters

if TYPE_CHECKING:
    from gan_lightning.core.module import AdversarialModule

Changes = dict[str, tuple[Any, Any]]  # name of a setting -> its value in the checkpoint, its value now
LEAVE = "a run goes on with what it began with; leave the change out, or begin anew without a checkpoint"
# Settings that do not move a bit of the training. Where files are is not what is in them: that has a line of its own.
UNFELT = (
    "checkpoint.",
    "grid.",
    "data.num_workers",
    *(f"data.{name}" for name in ("root", "path", "val_path", "second")),
    *(f"trainer.{name}" for name in ("max_", "min_", "enable_", "limit_", "check_val", "val_check", "num_sanity")),
    *(f"trainer.{name}" for name in ("logger", "callbacks", "default_root_dir", "log_every_n_steps", "profiler")),
)


def flat(settings: Any, name: str = "") -> dict[str, Any]:
    """Nested settings by dotted names; `class_path` and `init_args` go under the name of what they describe."""
    if isinstance(settings, (list, tuple)) and any(isinstance(item, Mapping) for item in settings):
        listed: dict[str, Any] = {}
        for item in settings:
            called = _short(str(item.get("class_path", ""))) if isinstance(item, Mapping) else str(item)
            number = sum(known.split("#")[0] == called for known in listed)
            listed[f"{called}#{number + 1}" if number else called] = item
        settings = listed
    if not isinstance(settings, Mapping) or not settings:
        return {name: list(settings) if isinstance(settings, tuple) else settings}
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if key == "class_path":
            found[name] = _short(value)
        elif key == "init_args":
            found |= flat(value, name) if value else {}
        else:
            found |= flat(value, f"{name}.{key}" if name else str(key))
    return found


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Changes:
    """The settings that differ; of a class that is another one only its name, not its arguments."""
    one, other = flat(before), flat(now)
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    within = [name for name in names if any(name.startswith(f"{other}.") for other in names)]
    return {name: (one.get(name), other.get(name)) for name in names if name not in within}


def lines(changed: Changes) -> list[str]:
    """What to tell of each change, but that there is a checkpoint now."""
    return [
        f"changed on resume: {name} {_said(before)} -> {_said(now)}"
        + ("" if name.startswith(UNFELT) else " (no longer bit for bit the run that it was)")
        for name, (before, now) in changed.items()
        if name != "ckpt_path"
    ]


def facts(data: Any) -> dict[str, Any]:
    """What a model keeps of its training data, see `AdversarialModule.trained_on`."""
    examples = data.reference("train")
    found = {"name": data.name, "fingerprint": examples.quick_fingerprint}
    return found | {"classes": data.classes, "class_counts": examples.class_counts}


def position(module: AdversarialModule) -> dict[str, Any]:
    """Where a module stands in its training, in plain values: what a checkpoint holds beside weights and optimizers."""
    kind = type(module)
    return {
        "class_path": f"{kind.__module__}.{kind.__qualname__}",
        "players": list(module.players()),
        "seed": module.seed,
        "iteration": module.iteration,
        "images_seen": module.images_seen,
        "turns": module.turns,
        "trained_on": module.trained_on,
    }


def take_up(module: AdversarialModule, checkpoint: dict[str, Any], in_fit: bool) -> None:
    """Put a module where a checkpoint's run stood.

    Args:
        module: of the same arguments, or in a fit of others: then its own win where they can change, see :func:`adapt`.
        checkpoint: the file's content.
        in_fit: whether training goes on.

    Raises:
        ValueError: the file is of another program, its players are not the module's, in this order, or an argument is
            another one that cannot change within a run.
    """
    saved = own_record(checkpoint, "it")
    if saved["players"] != list(module.players()):
        raise ValueError(f"the checkpoint's players are {saved['players']}, this model's {list(module.players())}")
    if in_fit:
        adapt(module, checkpoint)
        module.trainer.precision_plugin.convert_module(module)  # Lightning does it later: float64 would be rounded
    module.seed = module.seed if module.seed_wins else saved["seed"]
    module.iteration, module.images_seen = saved["iteration"], saved["images_seen"]
    module.turns = dict(saved["turns"])
    module.trained_on = module.trained_on or saved.get("trained_on", {})  # a fit has its data's already


def adapt(module: AdversarialModule, checkpoint: dict[str, Any]) -> None:
    """Let a checkpoint say what the module's arguments say, before the rest of it is restored.

    Rates, betas and the like come from the arguments, and a schedule's place from the number of its player's turns,
    as if the run had had these arguments from its beginning.

    Args:
        module: as it was built for this run, with `trained_on` filled in.
        checkpoint: the file's content; its optimizers' settings and schedules change in place.

    Raises:
        ValueError: an argument that cannot change within a run, or data that the model does not fit.
    """
    saved = checkpoint["gan_lightning"]
    _compare_data(module, saved.get("trained_on", {}))
    before, now = checkpoint["hyper_parameters"], plain_hyperparameters(module)
    shared = before.keys() & now.keys() & inspect.signature(type(module)).parameters.keys()
    for name, word in LINKED_ARGUMENTS.items():
        if name in shared and (there := _list(before.get(name))) != (here := _list(now.get(name))):
            raise ValueError(f"the data and the checkpoint differ in {word}: {_difference(here, there)}: {LEAVE}")
    changed = changes(*({n: value for n, value in each.items() if n in shared} for each in (before, now)))
    if (there := _short(saved["class_path"])) != (here := type(module).__name__):
        changed = {"the model": (there, here)} | changed
    if not changed:
        return  # the file's state as it is: a callback may have moved a rate
    for name, (there, here) in changed.items():
        if name == "step.freeze" or _asked_for(type(module), name) == (OptimizerCallable, []):
            raise ValueError(f"{name} is {_said(here)}, and {_said(there)} in the checkpoint: {LEAVE}")
    weights, own = (
        {name: value.shape for name, value in state.items() if isinstance(value, torch.Tensor)}
        for state in (checkpoint["state_dict"], module.state_dict())
    )
    moves = (OptimizerCallable, LRSchedulerCallable, LRSchedulerCallable | None)  # what no weight depends on
    built = {name: values for name, values in changed.items() if _asked_for(type(module), name)[0] not in moves}
    if weights != own and built:
        told = "; ".join(f"{name} is {_said(here)}, and {_said(there)}" for name, (there, here) in built.items())
        raise ValueError(f"{told} in the checkpoint, whose weights do not fit: {LEAVE}")
    _set_rates(module, checkpoint)


def _asked_for(kind: Any, name: str) -> tuple[Any, list[str]]:
    """The annotation of the argument that a setting belongs to, or of a dataclass's field, and the names below it.

    Of `step.scheduler.end` that is what annotates `scheduler` in the class of `step`, and ["end"].
    """
    first, *below = name.split(".")
    hint = get_type_hints(kind.__init__).get(first)
    while below and dataclasses.is_dataclass(hint):
        hint, below = get_type_hints(hint).get(below[0]), below[1:]
    return hint, below


def _set_rates(module: AdversarialModule, checkpoint: dict[str, Any]) -> None:
    """Put the settings of optimizers and schedules as they would be by now in the place of the file's."""
    schedules = []
    turns = checkpoint["gan_lightning"]["turns"]
    for (name, player), saved in zip(module.players().items(), checkpoint["optimizer_states"], strict=True):
        optimizer = player.build_optimizer(name)
        if player.scheduler is not None:
            schedule = player.scheduler(optimizer)
            for _ in range(
                turns.get(name, 0) // player.turns_per_step
            ):  # step by step: some of torch's schedules have no closed form
                schedule.step()
            schedules.append(schedule.state_dict())
        for group, fresh in zip(saved["param_groups"], optimizer.param_groups, strict=True):
            kept = group["params"]
            group.clear()
            group.update({name: value for name, value in fresh.items() if name != "params"}, params=kept)
    checkpoint["lr_schedulers"] = schedules


def _compare_data(module: AdversarialModule, before: dict[str, Any]) -> None:
    """Refuse other classes of a model that knows classes; tell of other examples."""
    now = module.trained_on
    if not before or not now:
        return
    if missing := {"name", "fingerprint", "classes"} - before.keys():
        raise ValueError(f"the checkpoint is damaged: it does not say the {min(missing)} of its training data")
    there, here = before["classes"], now["classes"]
    if getattr(module, "num_classes", None) and there and here and there != here:
        raise ValueError(f"the data and the checkpoint differ in classes: {_difference(here, there)}: {LEAVE}")
    if before["fingerprint"] != now["fingerprint"]:
        one, other = (f"{facts['name']} {facts['fingerprint'][:12]}" for facts in (before, now))
        rank_zero_warn(
            f"the training data is not what the checkpoint was trained on ({one}, now {other}): from here on this is "
            "not bit for bit the run that it was"
        )


def _difference(here: Any, there: Any) -> str:
    """How two values differ: of long lists the first place where they do."""
    if isinstance(here, list) and isinstance(there, list) and len(here) + len(there) > 12:
        if len(here) != len(there):
            return f"{len(here)} of them and {len(there)}"
        place = next(i for i, (a, b) in enumerate(zip(here, there, strict=True)) if a != b)
        return f"number {place} is {here[place]!r} and {there[place]!r}"
    return f"{_said(here)} and {_said(there)}"


def _short(path: str) -> str:
    return path.rsplit(".", 1)[-1]


def _list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _said(value: Any, most: int = 60) -> str:
    """A value as yaml has it, not too long."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= most else text[:most] + " ..."
