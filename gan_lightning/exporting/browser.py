"""A page beside an ONNX file, which runs it in the browser by onnxruntime-web."""

from __future__ import annotations

import html
import json
import shutil
from pathlib import Path
from string import Template
from typing import Any

from gan_lightning.core import AdversarialModule, ImageGenerator, Inpainter, TextToImage
from gan_lightning.exporting.graphs import Traceable, least_sides
from gan_lightning.models import InfoGAN
from gan_lightning.runtime import exported
from gan_lightning.runtime.errors import printable

PAGE = Path(__file__).with_name(exported.PAGE)
VERSION = "1.30.0"  # of onnxruntime-web, that the page was tried with
RUNTIME = f"https://cdn.jsdelivr.net/npm/onnxruntime-web@{VERSION}/dist/"  # the npm package's files, at a usual address
SCRIPT = "ort.wasm.min.js"
FILES = (SCRIPT, "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")  # what the script loads
CHOICES = 1000  # classes or texts to choose from, at most


def require_runtime(web: Path) -> None:
    """Refuse a folder that is not `dist` of the npm package onnxruntime-web.

    Raises:
        FileNotFoundError: it lacks a file.
    """
    for name in FILES:
        if not (web / name).is_file():
            raise FileNotFoundError(f"--web {printable(web)}: no {name}, as in dist of onnxruntime-web {VERSION}")


def write(folder: Path, module: AdversarialModule, parts: list[Traceable], web: Path | None) -> str:
    """Write the page, and copy the runtime's files beside it.

    Args:
        folder: with the ONNX files.
        module: the model.
        parts: what the files hold.
        web: the folder `dist` of the npm package onnxruntime-web; None to take the files from :data:`RUNTIME`.

    Returns:
        a line on how it is opened.
    """
    settings = settings_of(module, parts)
    if (condition := settings.get("condition")) and not condition["options"]:
        return f"no {exported.PAGE}: the model knows no text that the page could offer"
    for name in FILES if web is not None else ():
        shutil.copyfile(web / name, folder / name)
    base = RUNTIME if web is None else "./"
    inline = json.dumps(settings | {"runtime": base}).replace("<", "\\u003c")  # nothing in it ends the element
    data = module.trained_on.get("name")
    title = html.escape(type(module).__name__ + (f": {printable(data)}" if data else ""))
    page = Template(PAGE.read_text("utf-8")).safe_substitute(title=title, settings=inline, script=base + SCRIPT)
    (folder / exported.PAGE).write_text(page, "utf-8")
    where = "" if web is None else ", also without the internet"
    return f"{exported.PAGE:<18} in a browser{where}: python -m http.server, in the folder"


def settings_of(module: AdversarialModule, parts: list[Traceable]) -> dict[str, Any]:
    """What the page must know of the model."""
    about: dict[str, Any] = {"model": type(module).__name__, "shape": module.image_shape}
    if isinstance(module, ImageGenerator):
        return about | {"kind": "draw", "latent": latent_parts(module), "condition": condition_of(module)}
    sides = parts[0].sides
    return about | {
        "kind": "translate",
        "files": [f"{part.name}.onnx" for part in parts],
        "attributes": list(module.attributes),
        "hole": isinstance(module, Inpainter),
        "sides": sides,
        "least": sides and least_sides(sides),
        "source": [side // module.scale for side in module.image_shape[1:]],
    }


def latent_parts(module: ImageGenerator) -> list[tuple[str, int]]:
    """How a latent is drawn, part by part."""
    if isinstance(module, InfoGAN):
        drawn = ("uniform", module.noise_dim), ("category", module.categories), ("uniform", module.continuous)
        return [part for part in drawn if part[1]]
    return [("uniform" if module.uniform_latents else "normal", module.generator.latent_dim)]


def condition_of(module: ImageGenerator) -> dict[str, Any] | None:
    """What one can choose to have drawn: classes, or texts that the model has seen; None where there is no choice."""
    if isinstance(module, TextToImage):
        texts = list(dict.fromkeys(module.trained_on.get("captions") or []))[:CHOICES]
        options = list(zip(texts, module.tokens_of(texts).tolist(), strict=True)) if texts else []
        return {"title": "Text", "input": "token", "options": options}
    if not module.num_classes:
        return None
    names = module.trained_on.get("classes") or map(str, range(module.num_classes))
    return {"title": "Class", "input": "label", "options": [(str(name), [i]) for i, name in enumerate(names)]}
