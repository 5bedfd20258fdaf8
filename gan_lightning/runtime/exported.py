"""An exported folder: what `export` writes of a model and `load` builds it from, `config.json` and `model.safetensors`.

The config is what a checkpoint says of its model, in JSON: class, arguments and counters. The weights are those of the
networks that the model uses after training, by dotted names. Nothing in a folder names a file, and nothing runs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_lightning.runtime.errors import printable

if TYPE_CHECKING:  # commands look for a folder before they load torch, which takes seconds
    from torch import Tensor

CONFIG, WEIGHTS, PAGE = "config.json", "model.safetensors", "demo.html"
FILES = (CONFIG, WEIGHTS, "*.onnx", "*.pt2", PAGE)  # that an export may write, beside the card
LARGEST = 2**26  # bytes of a config: a vocabulary and a thousand captions take one
PARTS = {"gan_lightning": dict, "hyper_parameters": dict, "global_step": int}


def is_exported(path: str | Path) -> bool:
    """Whether it is an exported folder, by the name of its config."""
    return Path(path, CONFIG).is_file()


def write(folder: Path, record: dict[str, Any], hyperparameters: dict[str, Any], step: int, weights: dict) -> None:
    """Write both files.

    Args:
        folder: that is there.
        record: what the model is and where it stands; its "exported" says whose weights these are.
        hyperparameters: of the model, in plain values.
        step: generator steps of its training.
        weights: tensors by dotted names.

    Raises:
        ValueError: what should be plain values is not.
    """
    from safetensors.torch import save

    config = dict(zip(PARTS, (record, hyperparameters, step), strict=True))
    try:
        (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", "utf-8")
    except (TypeError, ValueError) as error:
        raise ValueError(f"the checkpoint holds more about its model than JSON can: {error}") from error
    own = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}  # no views
    (folder / WEIGHTS).write_bytes(save(own))


def read(folder: str | Path) -> dict[str, Any]:
    """What a folder holds, in the form of a checkpoint's content: its parts, and the weights as "state_dict".

    Raises:
        FileNotFoundError: there is a config, and no weights.
        ValueError: a file is damaged or too large, or another program wrote it.
    """
    config, weights = Path(folder, CONFIG), Path(folder, WEIGHTS)
    if not weights.is_file():
        raise FileNotFoundError(f"{printable(folder)} holds no {WEIGHTS}: export it with --format safetensors")
    if config.stat().st_size > LARGEST:
        raise ValueError(f"{printable(config)} has more than {LARGEST} bytes: no export writes that")
    try:
        content = json.loads(config.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{printable(config)} is damaged, or no JSON") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(name), kind) for name, kind in PARTS.items()):
        raise ValueError(f"{printable(config)} was not written by gan_lightning's export")
    about = content["gan_lightning"].get("exported")
    if not isinstance(about, str):
        raise ValueError(f"{printable(config)} does not say whose weights the folder holds: export it again")
    return {name: content[name] for name in PARTS} | {"state_dict": tensors(weights)}


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        ValueError: it is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"{printable(path)} is truncated or corrupt ({printable(error)})") from error
