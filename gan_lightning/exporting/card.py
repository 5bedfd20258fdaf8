"""The card of an exported folder, a README.md as the Hugging Face Hub reads it: a head of YAML, then Markdown."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from gan_lightning import scoring
from gan_lightning.cli import catalog
from gan_lightning.core import AdversarialModule, ImageGenerator, TextToImage
from gan_lightning.exporting import browser
from gan_lightning.runtime import exported
from gan_lightning.runtime.errors import printable

NAME = "README.md"


def text(
    given: argparse.Namespace,
    folder: Path,
    module: AdversarialModule,
    weights: str,
    content: dict[str, Any],
    notes: Sequence[str] = (),
) -> str:
    """The card.

    Args:
        given: the flags of `export`.
        folder: what has been written so far.
        module: the model.
        weights: whose they are.
        content: of the checkpoint.
        notes: on the graphs, sentences.
    """
    name, title = type(module).__name__, given.push or given.out.resolve().name
    files = sorted(path.name for path in folder.iterdir())
    parts = [f"---\n{yaml.safe_dump(head(given, module), sort_keys=False)}---", f"# {printable(title)}"]
    size = " x ".join(map(str, module.image_shape))
    classes = f", {module.num_classes} classes" if getattr(module, "num_classes", None) else ""
    trained = module.trained_on.get("name")
    parts.append(
        f"{name}: {paper(module)} Images of {size} (channels, height, width){classes}. "
        + (f"Trained on {printable(trained)}: " if trained else "Trained for ")
        + f"{content['global_step']} generator steps, {module.images_seen} images. Weights: {words(weights)}."
    )
    if exported.WEIGHTS in files:
        parts.append(f"## Use it\n\n```python\n{four_lines(title, module)}\n```\n\nIt needs the package gan_lightning.")
    if graphs := [file for file in files if file.endswith((".onnx", ".pt2"))]:
        parts.append(about_graphs(graphs, module, files, notes))
    parts.append(f"## Scores\n\n{scores(content)}")
    parts.append(f"License: {printable(given.license)}. Written by `gan_lightning.export`.")
    return "\n\n".join(parts) + "\n"


def head(given: argparse.Namespace, module: AdversarialModule) -> dict[str, Any]:
    """What the Hub reads of a card; see its documentation of model cards."""
    task = "image-to-image"
    if isinstance(module, ImageGenerator):
        task = "text-to-image" if isinstance(module, TextToImage) else "unconditional-image-generation"
    tags = ["gan", type(module).__name__.lower(), "pytorch", "lightning"]
    tags += ["onnx"] if "onnx" in given.format else []
    return {"license": given.license, "library_name": "gan_lightning", "pipeline_tag": task, "tags": tags}


def paper(module: AdversarialModule) -> str:
    """The paper's title, year and address, of a model of this package; the class's own words of any other."""
    kind = type(module)
    if kind.__name__ not in catalog.names("models") or not kind.__module__.startswith("gan_lightning."):
        return " ".join((kind.__doc__ or "").split("\n\n")[0].split())
    title, year, number = catalog.paper(kind.__name__)
    return f"{title}, {year}, [arXiv:{number}](https://arxiv.org/abs/{number})."


def words(weights: str) -> str:
    """Whose weights they are, in words."""
    return {"ema": "the generator's average", "live": "the trained ones"}.get(weights, f"the average {weights}")


def four_lines(title: str, module: AdversarialModule) -> str:
    """How it is loaded and used."""
    package = type(module).__module__.split(".")[0]
    trust = "" if package == "gan_lightning" else f', trust=["{package}"]'
    lines = ["import gan_lightning", "", f'model = gan_lightning.load("{printable(title)}"{trust})']
    if isinstance(module, ImageGenerator):
        size = ", ".join(map(str, module.image_shape))
        return "\n".join([*lines, f"images = model.sample(16)  # (16, {size}), float32 in [-1, 1]"])
    more = ""
    if module.attributes:
        more = f', {{"{module.attributes[0]}": True}}'
    elif module.directions:
        more = f', direction="{module.directions[0]}"'
    source = ", ".join([str(module.image_shape[0]), *(str(side // module.scale) for side in module.image_shape[1:])])
    return "\n".join([*lines, f"made = model.translate(image{more})  # image: (n, {source}), float32 in [-1, 1]"])


def about_graphs(graphs: list[str], module: AdversarialModule, files: list[str], notes: Sequence[str]) -> str:
    """How the graphs are called."""
    first = graphs[0]
    lines = ["## As a graph", f"Without this package: {', '.join(f'`{name}`' for name in graphs)}."]
    output = "image" if isinstance(module, ImageGenerator) else "translated"
    lines.append(f"Inputs: {inputs(module)}. Output: `{output}`, (n, C, H, W) in [-1, 1].")
    lines += notes
    if any(name.endswith(".onnx") for name in graphs):
        onnx = next(name for name in graphs if name.endswith(".onnx"))
        feed = "latent" if isinstance(module, ImageGenerator) else "image"
        code = f'session = onnxruntime.InferenceSession("{onnx}")\n'
        code += f'(made,) = session.run(None, {{"{feed}": {feed}}})  # and the other inputs, by name'
        lines.append(f"```python\nimport onnxruntime\n\n{code}\n```")
    else:
        lines.append(f'```python\nimport torch\n\nnetwork = torch.export.load("{first}").module()\n```')
    if exported.PAGE in files:
        lines.append(
            f"`{exported.PAGE}` draws in a browser: run `python -m http.server` in this folder, and open "
            f"http://localhost:8000/{exported.PAGE}."
        )
    return "\n\n".join(lines)


def inputs(module: AdversarialModule) -> str:
    """The inputs of a graph, with their shapes and ranges."""
    if not isinstance(module, ImageGenerator):
        found = ["`image` (n, C, H, W) float32 in [-1, 1]"]
        if module.attributes:
            found.append(f"`attributes` (n, {len(module.attributes)}) float32, 1 or 0: {', '.join(module.attributes)}")
        return ", ".join(found)
    words = {
        "uniform": "uniform in [-1, 1)",
        "normal": "standard normal",
        "category": "one of them 1, the others 0",
    }
    parts = browser.latent_parts(module)
    drawn = words[parts[0][0]] if len(parts) == 1 else ", then ".join(f"{n}: {words[kind]}" for kind, n in parts)
    found = [f"`latent` (n, {module.generator.latent_dim}) float32, {drawn}"]
    if isinstance(module, TextToImage):
        found.append(f"`token` (n, {module.length}) int64")
    elif module.num_classes:
        found.append(f"`label` (n,) int64, 0 to {module.num_classes - 1}")
    return ", ".join(found)


def scores(content: dict[str, Any]) -> str:
    """The figures that the run took last, each group with its card; of a run without scores a sentence."""
    states = content.get("callbacks")
    found = []
    for state in states.values() if isinstance(states, dict) else ():
        if isinstance(state, dict) and isinstance(state.get("scores"), dict) and state["scores"]:
            card = state.get("card") if isinstance(state.get("card"), dict) else {}
            known = {name: value for name, value in state["scores"].items() if isinstance(value, (int, float))}
            rows = [f"| {printable(name)} | {value:.4g} |" for name, value in known.items()]
            how = " ".join(" ".join(scoring.card_lines([card])).split()) or "no card"
            found.append("\n".join(["| score | value |", "| --- | --- |", *rows, "", f"How: {how}."]))
    return "\n\n".join(found) or "None were taken in training."
