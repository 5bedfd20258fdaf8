"""The layout of the pages of models that make pictures of pictures."""

from __future__ import annotations

from typing import Any

import gradio as gr
from PIL import Image

from gan_lightning.cli.pictures import pixels
from gan_lightning.core import Inpainter, Manipulator, Translator
from gan_lightning.web.answers import answered, file_of, seed_of
from gan_lightning.web.image_page import FAST, gallery, redraw, seed_box
from gan_lightning.web.images import SAMPLES, shown
from gan_lightning.web.translation import AS_READ, beside, changed, holed, refuse_large

Compared = tuple[tuple[str, str] | None, str | None]  # files, of before and after, and the latter

SIDES = (("256", 256), ("512", 512), ("1024", 1024), ("as it is", AS_READ))  # the longest side of a picture
KEPT, WITH, WITHOUT = "keep", "with", "without"  # what shall become of an attribute
DRAWN, ENLARGED = "draw it anew from a scale on", "enlarge it"  # what a model of one picture does with others
HOLE = "#ff00ff"


def translator_page(page: gr.Blocks, module: Translator) -> None:
    """Lay out the page of a translator: a picture, how to change it, and the picture before and after."""
    if isinstance(module, Inpainter):
        return holes_page(module)
    with gr.Row():
        with gr.Column(scale=1, min_width=260):
            file, longest = upload(), longest_side(module)
            direction = gr.State(None)
            if module.directions:
                direction = gr.Radio(list(module.directions), value=module.directions[0], label="Direction")
            kinds = [KEPT, WITH, WITHOUT]
            attributes = [gr.Radio(kinds, value=KEPT, label=name.replace("_", " ")) for name in module.attributes]
        with gr.Column(scale=2):
            outputs = comparison()

    @answered
    def made(path: str | None, longest: int, direction: str | None, *wanted: str) -> Compared:
        if path is None:
            return None, None
        how: dict[str, Any] = {"direction": direction} if module.directions else {}
        if module.attributes:
            asked = zip(module.attributes, wanted, strict=True)
            how["attributes"] = {name: word == WITH for name, word in asked if word != KEPT}
        return compared(changed(module, path, longest, how))

    controls = [file, longest, direction, *attributes]
    gr.on([one.change for one in controls if not isinstance(one, gr.State)], made, controls, outputs)
    return None


def holes_page(module: Inpainter) -> None:
    """Lay out the page of a model that fills holes: a picture to paint them on."""
    with gr.Row():
        with gr.Column():
            brush = gr.Brush(default_size="auto", colors=[HOLE], color_mode="fixed")
            editor = gr.ImageEditor(
                label="A picture: paint what is to be filled",
                type="pil",
                format="png",
                sources=["upload", "clipboard"],
                brush=brush,
                transforms=(),
                layers=False,
            )
            button = gr.Button("Fill", variant="primary")
        with gr.Column():
            outputs = comparison()

    @answered
    def filled(drawing: dict[str, Any] | None) -> Compared:
        if drawing is None or drawing["background"] is None:
            raise ValueError("there is no picture yet: drop one, or choose a file")
        width, height = drawing["background"].size
        refuse_large(height, width)
        return compared(beside(module, holed(drawing["background"], drawing["layers"], module.image_shape[0]), {}))

    button.click(filled, editor, outputs)


def one_picture_page(page: gr.Blocks, module: Manipulator) -> None:
    """Lay out the page of a model of one picture: its variants, and what it makes of other pictures."""
    with gr.Tab("Variants"), gr.Row():
        with gr.Column(scale=1, min_width=260):
            seed = seed_box()
            scale = scale_box(0, module.finest, 0, "First scale with random noise (0: all)")
            size = gr.Textbox(label="Size, HEIGHTxWIDTH, and Enter", placeholder="that of the picture")
        with gr.Column(scale=2):
            grid = gallery("Variants", columns=3)

    @answered
    def variants(seed: int, scale: int, size: str | None) -> list[str]:
        size = (size or "").strip() or None
        height, width = module.generator.sizes_of(size)[-1]
        refuse_large(height, width)
        made = module.sample(SAMPLES // 2, seed_of(seed), size=size, from_scale=int(scale))
        return [file_of(picture) for picture in shown(pixels(made))]

    redraw(page, variants, [seed, scale, size], grid)
    with gr.Tab("Change a picture"), gr.Row():
        with gr.Column(scale=1, min_width=260):
            file, longest = upload(), longest_side(module)
            way = gr.Radio([DRAWN, ENLARGED], value=DRAWN, label="How")
            start = scale_box(1, module.finest, max(1, module.finest - 1), "From scale (1: it changes most)")
            factor = gr.Slider(1, 4, 2, step=0.5, label="Factor")
            noise = gr.Number(0, label="Seed", precision=0, minimum=0)
        with gr.Column(scale=2):
            outputs = comparison()

    @answered
    def made(path: str | None, longest: int, way: str, start: int, factor: float, noise: int) -> Compared:
        if path is None:
            return None, None
        asked = {"scale": None, "factor": factor} if way == ENLARGED else {"scale": int(start), "factor": None}
        return compared(changed(module, path, longest, {}, seed=seed_of(noise), dilation=None, **asked))

    controls = [file, longest, way, start, factor, noise]
    gr.on([one.change for one in controls if not isinstance(one, gr.State)], made, controls, outputs, **FAST)


def scale_box(least: int, most: int, value: int, label: str) -> gr.Slider | gr.State:
    """A choice of scales, where there are several."""
    return gr.Slider(least, most, value, step=1, label=label) if most > least else gr.State(least)


def upload() -> gr.File:
    """Where a picture is dropped: the file as it is, since a picture of Gradio's would be decoded twice."""
    return gr.File(label="A picture: drop it, or choose a file", file_types=["image"], height=140)


def longest_side(module: Translator | Manipulator) -> gr.Radio | gr.State:
    """How far a picture is made smaller first, where the model takes any size."""
    if not getattr(module, "any_size", True):
        return gr.State(AS_READ)
    return gr.Radio(list(SIDES), value=SIDES[1][1], label="Its longest side, in pixels, at the most")


def comparison() -> list[Any]:
    """A picture before and after, and a button to download the latter."""
    slider = gr.ImageSlider(label="Before and after", format="png", interactive=False, max_height=640, buttons=[])
    return [slider, gr.DownloadButton("Download the picture", size="sm")]


def compared(pictures: tuple[Image.Image, Image.Image]) -> Compared:
    """What :func:`comparison` shows."""
    before, after = map(file_of, pictures)
    return (before, after), after
