"""The notebooks run from top to bottom, in an empty folder, and show pictures."""

from __future__ import annotations

import ast
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
PICTURES = {"latent_directions": 5, "own_gan": 2, "scores": 4, "text_games": 3, "translation": 3}  # that each shows


def test_every_notebook_is_tested_and_saved_without_outputs():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == {"quickstart", *PICTURES}
    for path in NOTEBOOKS.glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        assert not any(cell.get("outputs") for cell in notebook.cells), path


def test_the_quick_start_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user runs it, in a kernel."""
    monkeypatch.setenv("NOTEBOOK_STEPS", "3")
    notebook = nbformat.read(NOTEBOOKS / "quickstart.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    pictures = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 2, "a grid and a walk"
    assert list(tmp_path.glob("runs/quickstart/last.ckpt"))


def shown_by(source: str, names: dict[str, Any]) -> Iterator[Image.Image]:
    """Run a cell; the pictures that a notebook would show below it: its last value, or the figures that it drew."""
    body = ast.parse(source).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "<cell>", "exec"), names)
    value = None if last is None else eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)
    if isinstance(value, Image.Image):
        yield value
    for number in plt.get_fignums():
        figure = plt.figure(number)
        figure.canvas.draw()
        yield Image.fromarray(np.asarray(figure.canvas.buffer_rgba()))
    plt.close("all")


@pytest.mark.parametrize("name", PICTURES)
def test_the_other_notebooks_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: a kernel of its own would import torch again."""
    monkeypatch.setenv("NOTEBOOK_STEPS", "2")
    monkeypatch.setenv("NOTEBOOK_IMAGES", "40")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: None)
    monkeypatch.setattr(logging.getLogger("lightning.pytorch"), "setLevel", lambda level: None)  # other tests read it
    matplotlib.use("agg")
    cells = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
    names: dict[str, Any] = {"__name__": "__main__"}
    pictures = [shown for cell in cells if cell.cell_type == "code" for shown in shown_by(cell.source, names)]
    assert len(pictures) == PICTURES[name]
    for picture in pictures:
        assert np.asarray(picture).std() > 1, "a picture of one colour"
