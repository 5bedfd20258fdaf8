"""What `export` does: a folder with a model's networks in the formats that were asked for, each checked, and a card."""

from __future__ import annotations

import argparse
import inspect
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan_lightning import loading
from gan_lightning.core import AdversarialModule, ImageGenerator, Translator
from gan_lightning.core.exported import tensors_of, used_networks, weights_name
from gan_lightning.core.hyperparameters import plain_hyperparameters
from gan_lightning.exporting import browser, card
from gan_lightning.exporting.graphs import Traceable, float32_alone, least_sides, traceable
from gan_lightning.runtime import checkpoint_io, exported, hub
from gan_lightning.runtime.errors import one_line, printable

BOUND = 1e-4  # of the difference from torch, of images in [-1, 1]
CHECKED = (1, 3)  # rows of the batches that are compared


class DifferentError(RuntimeError):
    """What was exported does not compute what torch computes."""


def export(given: argparse.Namespace) -> None:
    """Write the folder, and print what is in it, how far from torch it is, and how to load it.

    Raises:
        ValueError: the model or the flags do not fit; nothing is left behind.
        DifferentError: see :func:`check`; nothing is left behind.
    """
    if given.push is not None:
        hub.require_token(given.push)
    if given.web is not None:
        browser.require_runtime(given.web)
    content = checkpoint_io.read(given.checkpoint)
    module = loading.model_of(content, given.checkpoint, trust=given.trust).float().eval()
    if not isinstance(module, (ImageGenerator, Translator)):
        raise ValueError(f"{type(module).__name__} is neither a generator of images nor a translator: no export")
    weights = weights_name(module, given.live, given.average)
    if not isinstance(content.get("global_step"), int):
        raise ValueError(f"{given.checkpoint} is damaged: it does not say how long it was trained")
    with staged(given.out) as folder:
        lines, notes = write_formats(given, folder, module, weights, content)
        text = card.text(given, folder, module, weights, content, notes)
        (folder / card.NAME).write_text(text, "utf-8")
        files = sorted(path.name for path in folder.iterdir())
    print("\n".join([f"{type(module).__name__}, weights {weights}: {printable(given.out)}", *lines]))
    if given.push is not None:
        print(f"pushed to {hub.push(given.out, files, given.push, given.private)}")


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A folder beside `out`, whose files are moved into it when all is well; nothing is left of it otherwise."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.part-", dir=out.parent) as part:
        yield Path(part)
        out.mkdir(exist_ok=True)
        names = {path.name for path in Path(part).iterdir()}
        earlier = [path for pattern in exported.FILES for path in out.glob(pattern) if path.name not in names]
        for path in Path(part).iterdir():
            path.replace(out / path.name)  # a link that stands there is replaced, not followed
        for path in earlier:  # perhaps of another model
            path.unlink()


def write_formats(
    given: argparse.Namespace, folder: Path, module: AdversarialModule, weights: str, content: dict[str, Any]
) -> tuple[list[str], list[str]]:
    """Write the files of each format; a line for each, and what the card is to say of them.

    Raises:
        ValueError: the model cannot be exported so.
        DifferentError: see :func:`check`.
    """
    lines = []
    if "safetensors" in given.format:
        record = content["gan_lightning"] | {"exported": weights}
        networks = used_networks(module, weights)
        exported.write(folder, record, arguments_of(module), content["global_step"], tensors_of(networks))
        count = sum(p.numel() for network in networks.values() for p in network.parameters()) / 1e6
        lines.append(f"{exported.WEIGHTS:<18} {', '.join(networks)}: {count:.2f} M parameters")
    graphs = [name for name in ("onnx", "torch_export") if name in given.format]
    parts = traceable(module, weights) if graphs else []
    for part in parts:
        with float32_alone(), quiet():
            program = traced(part, type(module).__name__)
            for name in graphs:
                path = folder / f"{part.name}.{ENDINGS[name]}"
                run = write_onnx(program, part, path) if name == "onnx" else write_program(program, path)
                lines.append(f"{path.name:<18} {check(run, part, path.name)}")
    if "onnx" in given.format:
        lines.append(browser.write(folder, module, parts, given.web))
    sides = next((part.sides for part in parts), None)
    notes = [] if sides is None else [f"Sides of an image: multiples of {sides}."]
    return lines, notes + [f"Constant in the graph: {part.constant}." for part in parts[:1] if part.constant]


def arguments_of(module: AdversarialModule) -> dict[str, Any]:
    """The model's arguments in plain values, without facts of the data that it does not take."""
    known = inspect.signature(type(module)).parameters
    return {name: value for name, value in plain_hyperparameters(module).items() if name in known}


# Graphs.

ENDINGS = {"onnx": "onnx", "torch_export": "pt2"}


def traced(part: Traceable, model: str) -> torch.export.ExportedProgram:
    """The graph of a function, for any number of rows, and for sides that are multiples where it takes them.

    Raises:
        ValueError: it cannot be traced.
    """
    inputs = part.inputs(2, 1)
    rows = torch.export.Dim("rows", min=1)
    dynamic: list[dict[int, Any]] = [{0: rows} for _ in inputs]
    if part.sides is not None:
        least = min(least_sides(part.sides), *(side // part.sides for side in inputs["image"].shape[2:]))
        sides = (torch.export.Dim(name, min=least) for name in ("height", "width"))
        dynamic[0] |= {axis: part.sides * side for axis, side in zip((2, 3), sides, strict=True)}
    try:
        return torch.export.export(part.network, tuple(inputs.values()), dynamic_shapes=tuple(dynamic), strict=False)
    except Exception as error:  # torch fails in as many ways as there are networks
        raise ValueError(f"{model} cannot be exported as a graph: {one_line(error)}") from error


def write_onnx(program: torch.export.ExportedProgram, part: Traceable, path: Path) -> Any:
    """Write an ONNX file in one piece; returns what runs it.

    Raises:
        ValueError: a package is missing, or the graph has what ONNX does not.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  torch's exporter needs it
    except ImportError:
        raise ValueError("ONNX needs its packages: pip install 'gan_lightning[onnx]'") from None
    inputs = part.inputs(2, 1)
    try:
        made = torch.onnx.export(
            program, tuple(inputs.values()), dynamo=True, input_names=list(inputs), output_names=[part.output]
        )
        made.save(path, external_data=False)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # as above
        raise ValueError(f"{part.name} cannot be exported as ONNX: {one_line(error.__cause__ or error)}") from error

    def run(given: dict[str, Tensor]) -> Tensor:
        return torch.from_numpy(session.run(None, {name: value.numpy() for name, value in given.items()})[0])

    return run


def write_program(program: torch.export.ExportedProgram, path: Path) -> Any:
    """Write a file of `torch.export`; returns what runs it."""
    torch.export.save(program, path)
    network = torch.export.load(path).module()

    def run(given: dict[str, Tensor]) -> Tensor:
        return network(*given.values())

    return run


def check(run: Any, part: Traceable, name: str) -> str:
    """Compare what a file computes with torch, for other numbers of rows than it was traced with; a line about it.

    Raises:
        DifferentError: they differ by `BOUND` or more, or it cannot be run.
    """
    worst = 0.0
    for rows in CHECKED:
        inputs = part.inputs(rows, 2)
        if part.sides is not None:  # other sides too
            inputs["image"] = other_sides(inputs["image"], part.sides * rows)
        try:
            image = run(inputs)
        except Exception as error:  # as above
            raise DifferentError(f"{name} cannot be run for {rows} rows: {one_line(error)}") from error
        expected = part.network(*inputs.values())
        difference = float((image - expected).abs().max()) if image.shape == expected.shape else float("inf")
        worst = max(worst, difference) if difference == difference else float("nan")
    if not worst < BOUND:
        raise DifferentError(f"{name} differs from torch by {worst:.2g}, {BOUND:g} or more: it is not written")
    found = {name: list(map(str, value.shape[1:])) for name, value in part.inputs(1, 2).items()}
    free = ""
    if part.sides is not None:
        found["image"][1:] = "H", "W"
        free = "" if part.sides == 1 else f", H and W multiples of {part.sides}"
    shapes = ", ".join(f"{name} ({', '.join(['n', *shape])})" for name, shape in found.items())
    return f"{shapes}{free}: at most {worst:.2g} from torch"


def other_sides(image: Tensor, more: int) -> Tensor:
    """Images with longer sides: their reflection follows, or their repetition."""
    return torch.cat([image, image[:, :, :more].flip(2)], 2)


@contextmanager
def quiet() -> Iterator[None]:
    """Torch's exporters print and warn pages about themselves."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
