"""A model for use alone: the networks that it needs after training, with one set of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from gan_lightning.core.module import AdversarialModule

FIRST, LIVE = "ema", "live"  # the first average, as cards call it, and the trained weights


def weights_name(module: AdversarialModule, live: bool, average: str | None) -> str:
    """Whose weights are asked for: "ema", the name of another average, or "live" of a model that keeps none.

    Raises:
        ValueError: the model has no such weights.
    """
    if module.exported is not None and not live and average is None:
        return module.exported
    weights: Any = getattr(module, "weights", None)
    if weights is None:  # no image generator
        if average is not None:
            raise ValueError(f"{type(module).__name__} keeps no averages: leave --average out")
        return LIVE
    weights(live, average)
    return LIVE if live else FIRST if average in (None, "generator") else average


def used_networks(module: AdversarialModule, weights: str) -> dict[str, nn.Module]:
    """The networks that a model uses after training, by name, with the weights that :func:`weights_name` says.

    Of a network that the model does not average these are the trained ones.
    """
    found: dict[str, nn.Module] = {}
    for name in module.inference_networks:
        average = name if weights == FIRST else name + weights.removeprefix("generator")
        has = weights != LIVE and module.exported is None and average in module.averages
        found[name] = module.averages[average].network if has else getattr(module, name)
    return found


def tensors_of(networks: dict[str, nn.Module]) -> dict[str, Tensor]:
    """The tensors of networks by dotted names."""
    return {f"{name}.{key}": value for name, network in networks.items() for key, value in network.state_dict().items()}


def keep_exported(module: Any, state: dict[str, Any], weights: str) -> None:
    """Give a model the weights of an exported folder, and leave it the networks that it uses: it cannot be trained.

    Args:
        module: an :class:`AdversarialModule` as it was built.
        state: tensors by dotted names, of all of these networks and of nothing else.
        weights: see :func:`weights_name`.

    Raises:
        ValueError: of other networks.
        RuntimeError: names or shapes do not fit.
    """
    names = module.inference_networks
    if others := {key.split(".")[0] for key in state} - set(names):
        raise ValueError(f"it holds weights of {min(others)}, which the model does not use after training")
    for name in names:
        own = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
        getattr(module, name).load_state_dict(own)
    for name in [name for name, _ in module.named_children() if name not in (*names, "averages")]:
        setattr(module, name, None)
    module.averages = nn.ModuleDict({name: module.averages[name] for name in names if name in module.averages})
    for name, average in module.averages.items():
        average.network = getattr(module, name)
    module.exported = weights
    module.requires_grad_(False).eval()
