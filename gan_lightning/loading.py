"""Models from a checkpoint file or an exported folder alone, and from arguments as a config file has them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gan_lightning import models
from gan_lightning.core import AdversarialModule
from gan_lightning.core.hyperparameters import instantiate, own_record, rebuilt, resolve
from gan_lightning.runtime import hub
from gan_lightning.runtime.checkpoint_io import read
from gan_lightning.runtime.errors import nearest
from gan_lightning.runtime.trust import USER, Source


def load(
    name: str | Path, device: str | torch.device = "cpu", trust: Sequence[str] = (), revision: str | None = None
) -> AdversarialModule:
    """A model for use: of a checkpoint, of an exported folder, or of a repository on the Hugging Face Hub.

    For example `load("drawn/by/export").sample(16)`, or `load("user/name").translate(image)`: images are float32 in
    [-1, 1].

    Args:
        name: a path, or "user/name" where there is no such path.
        device, trust: see :func:`load_model`.
        revision: a branch, tag or commit of the repository; None for its newest.

    Raises:
        FileNotFoundError, ValueError: see :func:`load_model` and :func:`hub.download`.
    """
    path = Path(name).expanduser()
    if not path.exists() and hub.is_name(str(name)):
        path = hub.download(str(name), revision)
    return load_model(path, device, trust).eval()


def load_model(path: str | Path, device: str | torch.device = "cpu", trust: Sequence[str] = ()) -> AdversarialModule:
    """The model of a checkpoint, from the file alone: its class, networks, weights, average and counters.

    Args:
        path: the file, or an exported folder.
        device: where the model goes.
        trust: packages that the file may name beside this one, torch's and Lightning's; so may those that the
            environment's GAN_LIGHTNING_TRUST lists.

    Raises:
        FileNotFoundError, ValueError: see :func:`read`; or the file is not this package's, names what no file may
            name, or its class cannot be imported, or has changed since.
    """
    return model_of(read(path), path, device, trust)


def model_of(
    content: dict[str, Any], path: str | Path, device: str | torch.device = "cpu", trust: Sequence[str] = ()
) -> AdversarialModule:
    """The model of a checkpoint that has been read; see :func:`load_model`.

    Args:
        content: what :func:`read` returned.
        path: the file, for messages.
        device, trust: see :func:`load_model`.

    Raises:
        ValueError: see :func:`load_model`.
    """
    source = Source.file(path, trust)
    kind = source.find(own_record(content, path).get("class_path"), AdversarialModule, "its model")
    return rebuilt(kind, content, source).to(device)


def init_from(module: AdversarialModule, path: str | Path) -> str:
    """Give a model the weights of a checkpoint that fit: of its networks and averages, by name and shape.

    An average that the file does not have, or not whole, begins at its network's weights. Counters, optimizers and
    the augmentation's strength stay new: the run is another one. Nothing that the file names is built.

    Args:
        module: a model, of the same or of another class.
        path: the checkpoint.

    Returns:
        what was taken and what was not, in a line.

    Raises:
        FileNotFoundError, ValueError: see :func:`read`; or the file is not this package's, or nothing in it fits.
    """
    content = read(path)
    record, state = own_record(content, path), content.get("state_dict")
    given = {name: value for name, value in state.items() if torch.is_tensor(value)} if isinstance(state, dict) else {}
    own = {name: value for name, value in module.state_dict().items() if torch.is_tensor(value) and "." in name}
    own = {name: value for name, value in own.items() if name.split(".")[0] != "augment"}
    fitting = {name for name, value in own.items() if name in given and given[name].shape == value.shape}
    if not fitting:
        raise ValueError(f"{path}: no weight of it fits {type(module).__name__}: name a checkpoint of like networks")
    with torch.no_grad():
        for name in fitting:
            own[name].copy_(given[name])
        for name, average in module.averages.items():
            within = {key for key in own if key.startswith(f"averages.{name}.network.")}
            if not within <= fitting:
                fitting -= within
                average.network.load_state_dict(average.live.state_dict())
    networks = {name for name in own if not name.startswith("averages.")}
    others = {"of another shape": networks & given.keys() - fitting, "not in the file": networks - given.keys()}
    said = [f"{why}: {', '.join(_parts(names))}" for why, names in others.items() if names]
    shapes = (content.get("hyper_parameters") or {}).get("image_shape"), getattr(module, "image_shape", None)
    if None not in shapes and list(shapes[0]) != list(shapes[1]):  # some networks number their levels from the finest
        said.append(f"the file's images are {'x'.join(map(str, shapes[0]))}: names are matched, not resolutions")
    called = f"{path} ({str(record.get('class_path')).rpartition('.')[2]}, step {content.get('global_step')})"
    return "; ".join([f"{len(networks & fitting)} of {len(networks)} tensors from {called}", *said])


def _parts(names: set[str], most: int = 8) -> list[str]:
    """The modules that tensors are of, not too many."""
    parts = sorted({name.rpartition(".")[0] for name in names})
    return parts if len(parts) <= most else [*parts[:most], f"and {len(parts) - most} more"]


def build(model: str | type[AdversarialModule], **arguments: Any) -> AdversarialModule:
    """A model from arguments as a config file has them, whose checkpoint loads from the file alone.

    For example `build("DCGAN", image_shape=(1, 32, 32), generator={"class_path": "DCGANGenerator", "init_args":
    {"width": 32}})`: names are short or import paths, as on the command line.

    Raises:
        ValueError: no such model or argument, or an argument of the wrong type.
    """
    kind = model
    if isinstance(model, str):
        if "." not in model and model not in models.__all__:
            raise ValueError(f"there is no model {model!r}{nearest(model, models.__all__)}")
        if "." not in model:
            kind = getattr(models, model)
        elif (kind := USER.find(model, AdversarialModule, "the model")) is None:
            raise ValueError(f"the model {model} cannot be imported here")
    return instantiate(kind, resolve(kind, arguments))
