"""Extractors by name."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from gan_lightning import metrics
from gan_lightning.metrics import Extractor
from gan_lightning.runtime.errors import nearest


def extractor_named(name: str, weights: str | None = None) -> Extractor:
    """An extractor by its class's name in `gan_lightning.metrics`, in any case, or by an import path.

    Raises:
        ValueError: there is none, or it takes no weights.
    """
    module, _, short = name.rpartition(".")
    names = [n for n in metrics.__all__ if _is_extractor(getattr(metrics, n))]
    short = short if module else next((n for n in names if n.lower() == short.lower()), short)
    try:
        kind = getattr(importlib.import_module(module or metrics.__name__), short)
    except (ImportError, AttributeError, ValueError) as error:
        hint = nearest(name, names) or f": there are {', '.join(names)}"
        raise ValueError(f"no extractor {name}{hint if not module else f' ({error})'}") from error
    if not _is_extractor(kind):
        raise ValueError(f"{name} is not an extractor: derive it from gan_lightning.metrics.Extractor")
    if weights is not None and "weights" not in inspect.signature(kind).parameters:
        raise ValueError(f"the extractor {name} takes no weights file")
    return kind() if weights is None else kind(weights=weights)


def _is_extractor(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Extractor) and kind is not Extractor
