"""The real set's side of a score, kept on disk so that real images are looked at once."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gan_lightning.metrics.fid import Gaussian


class Reference(NamedTuple):
    """What scores need to know of a set of real images."""

    gaussian: Gaussian
    features: Tensor | None = None  # (n, D) float32, in the set's order; None where no score has asked for them
    protocol: dict[str, Any] = {}  # noqa: RUF012  how it was made; empty in files of other programs


def save_reference(path: str | Path, reference: Reference) -> None:
    """Write an npz file whose `mu` and `sigma` are those of pytorch-fid, with `n`, `protocol` and perhaps `features`.

    Written beside its place and moved there, so that no other process ever reads half a file.

    Raises:
        OSError: it cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    mean, covariance, n = reference.gaussian
    content = {"mu": mean.cpu().numpy(), "sigma": covariance.cpu().numpy(), "n": np.array(-1 if n is None else n)}
    content["protocol"] = np.array(json.dumps(reference.protocol))
    if reference.features is not None:
        content["features"] = reference.features.cpu().numpy()
    part = path.with_name(f".{path.name}.part-{uuid.uuid4().hex}")
    try:
        with open(part, "wb") as file:
            np.savez(file, **content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load_reference(path: str | Path) -> Reference:
    """Read what :func:`save_reference` wrote, or a file of pytorch-fid's form (`mu` and `sigma` alone).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of real statistics {path}")
    try:
        with np.load(path, allow_pickle=False) as file:
            mean, covariance = (torch.from_numpy(file[name].astype(np.float64)) for name in ("mu", "sigma"))
            n = int(file["n"]) if "n" in file else -1
            protocol = json.loads(str(file["protocol"])) if "protocol" in file else {}
            features = torch.from_numpy(file["features"]) if "features" in file else None
    except Exception as error:  # a damaged file fails in as many ways as there are bytes
        raise ValueError(f"{path} is not an npz file of statistics with mu and sigma ({error})") from error
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise ValueError(f"{path}: mu is {tuple(mean.shape)} and sigma {tuple(covariance.shape)}, not (D,) and (D, D)")
    return Reference(Gaussian(mean, covariance, None if n < 0 else n), features, protocol)
