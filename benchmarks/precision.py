"""In which precisions every model trains: `python benchmarks/precision.py [--only GAN,R3GAN] [--steps 50]`.

Each model is tiny, with the networks of the tests, and takes `--steps` generator steps on noise. A cell says whether
all weights, averages and statistics are finite after that and any has moved; of `no` the reason stands below the table.
On a CPU 16-mixed has a gradient scaler of its own, since Lightning takes bfloat16 for it there. `penalties` are the
types of numbers in which scores are computed whose gradients are penalised, and these gradients, in a run with
bf16-mixed. Runs from the checkout, with the package's `test` extra.
"""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gan_lightning import losses, models
from gan_lightning.losses import regularizers

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from conftest import gap, made, tensors, trained  # noqa: E402

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true")


class Types(TorchDispatchMode):
    """Notes the types of the floating-point numbers that operations make."""

    def __init__(self, found: set[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        floats = (x.dtype for x in tree_leaves(out) if isinstance(x, Tensor) and x.is_floating_point())
        self.found |= {str(dtype).removeprefix("torch.") for dtype in floats}
        return out


@contextmanager
def watched_penalties() -> Iterator[set[str]]:
    """The types in which penalties are computed meanwhile: within `exact_gradients`, and the gradients themselves."""
    found: set[str] = set()
    exact, gradient = regularizers.exact_gradients, regularizers.gradient_of

    @contextmanager
    def watched(device: torch.device) -> Iterator[None]:
        with exact(device), Types(found):
            yield

    def gradient_of(score: Tensor, x: Tensor) -> Tensor:
        with Types(found):
            return gradient(score, x)

    with (
        patch.object(regularizers, "exact_gradients", watched),
        patch.object(losses, "exact_gradients", watched),
        patch.object(regularizers, "gradient_of", gradient_of),
    ):
        yield found


def train(name: str, precision: str, steps: int, device: str = "cpu", scale: float = 2.0**16) -> tuple[Any, Any]:
    """The tensors of a model by name before some steps, and the model after them.

    Args:
        scale: that a CPU's float16 scaler begins with.

    Raises:
        RuntimeError, TypeError, ValueError: it does not train so.
    """
    model, data = made(name)
    if name == "SinGAN":  # it would end by itself
        model.steps_per_scale = -(-steps // len(model.generator.scales))
    before = tensors(model)
    how: dict[str, Any] = {"precision": precision, "accelerator": "gpu" if device == "cuda" else "cpu"}
    if precision == "16-mixed" and device == "cpu":
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        how = {"plugins": [MixedPrecision("16-mixed", device="cpu", scaler=scaler)]}
    trained(model, steps, data, **how)
    return before, model.cpu()


def verdict(before: dict[str, Tensor], after: dict[str, Tensor]) -> str:
    if not all(value.isfinite().all() for value in after.values()):
        return "not finite"
    return "yes" if gap(after, before) > 0 else "does not move"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(models.__all__), help="models (default: all)")
    parser.add_argument("--steps", type=int, default=50, help="of the generator (default %(default)s)")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cpu")
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := set(names) - set(models.__all__):
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}, but {', '.join(models.__all__)}")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    torch.set_num_threads(1)
    reasons: dict[str, str] = {}
    failed = 0
    print(f"| model | {' | '.join(PRECISIONS)} | penalties |\n|{'---|' * (len(PRECISIONS) + 2)}")
    for name in names:
        cells, penalties = [], ""
        for precision in PRECISIONS:
            try:
                with watched_penalties() as types:
                    before, model = train(name, precision, options.steps, options.device)
                cells.append(verdict(before, tensors(model)))
            except (RuntimeError, TypeError, ValueError) as error:
                reasons[f"{name}, {precision}"] = reason = str(error).strip().splitlines()[0]
                cells.append("refused" if isinstance(error, ValueError) and "float32" in reason else "no")
            failed += cells[-1] not in ("yes", "refused")
            if precision == "bf16-mixed":
                penalties = ", ".join(sorted(types))
        print(f"| {name} | {' | '.join(cells)} | {penalties} |", flush=True)
    for where, reason in reasons.items():
        print(f"\n{where}: {reason}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
