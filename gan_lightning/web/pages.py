"""The page of the demo: a tab for each checkpoint, by the kind of its model; and the server."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import gradio as gr
from PIL import Image

from gan_lightning import reporting
from gan_lightning.cli.samples import require_images
from gan_lightning.cli.translation import require_pictures
from gan_lightning.core import AdversarialModule, ImageGenerator, Manipulator, Ranker, SequenceGenerator, Translator
from gan_lightning.loading import load_model
from gan_lightning.runtime.errors import printable
from gan_lightning.runtime.processes import device_named
from gan_lightning.runtime.reading import MAX_PIXELS
from gan_lightning.text import padded
from gan_lightning.web import words
from gan_lightning.web.answers import answered, seed_of
from gan_lightning.web.image_page import comparison_page, generator_page, redraw, seed_box
from gan_lightning.web.translation_page import one_picture_page, translator_page

MOST_SENTENCES = 50
# Fonts of the system: Gradio's themes may name those of a server elsewhere.
THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
STYLE = """
footer { display: none !important; }
.pixels img { image-rendering: pixelated; object-fit: contain !important; }
.pixels img { width: 100% !important; height: auto !important; }
.pixels .grid-container { grid-template-columns: repeat(var(--grid-cols), minmax(0, 1fr)); }
.pixels .grid-wrap { max-height: none; height: auto; }
.pixels .image-frame, .pixels .image-container, .pixels .image-container button { width: 100% !important; }
.heading { opacity: 0.75; overflow: visible; }
.about { opacity: 0.75; }
table.sentences { width: 100%; border-collapse: collapse; }
table.sentences td, table.sentences th, table.sentences tr { border: 0 !important; }
table.sentences td, table.sentences th { padding: 4px 8px; text-align: left; vertical-align: top; }
table.sentences tr { border-bottom: 1px solid rgba(128, 128, 128, 0.3); }
.word { display: inline-block; margin: 2px; padding: 2px 6px; border-radius: 4px; text-align: center; }
.word small { display: block; opacity: 0.7; font-size: 70%; }
.end { opacity: 0.6; font-style: italic; }
iframe.report { width: 100%; height: 85vh; border: 0; background: white; }
"""


class Shown(NamedTuple):
    """A model and where it is from."""

    module: AdversarialModule
    path: Path

    @property
    def name(self) -> str:
        """Of the model."""
        return type(self.module).__name__

    @property
    def file(self) -> str:
        """The file with its folder."""
        return printable(Path(*self.path.absolute().parts[-2:]))

    @property
    def about(self) -> str:
        """A line of HTML."""
        module, data = self.module, self.module.trained_on.get("name")
        parts = [self.file, *([f"trained on {data}"] if data else []), f"{module.images_seen:,} examples seen"]
        if shape := getattr(module, "image_shape", None):
            parts.insert(1, "{2}x{1} pixels, {0} channel{3}".format(*shape, "s" * (shape[0] > 1)))
        return f'<p class="about">{html.escape(printable("; ".join(parts)))}</p>'


def load(paths: Sequence[Path], device: str = "auto", trust: Sequence[str] = ()) -> list[Shown]:
    """The models of checkpoints, in float32: a page should answer within a second.

    Raises:
        FileNotFoundError, ValueError: see :func:`loading.load_model`; or a model makes nothing that a page can show.
    """
    found = []
    for path in paths:
        module = load_model(path, device_named(device), trust).float().eval()
        if isinstance(module, ImageGenerator) and not isinstance(module, Manipulator):
            require_images(module)
        elif isinstance(module, (Translator, Manipulator)):
            require_pictures(module)
        elif not isinstance(module, SequenceGenerator) and not (isinstance(module, Ranker) and module.users):
            raise ValueError(f"{type(module).__name__} makes nothing that a page can show")
        found.append(Shown(module, path))
    return found


def page(models: Sequence[Shown], run: Path | None = None) -> gr.Blocks:
    """The whole page.

    Args:
        models: a tab each; generators of images side by side too.
        run: a folder whose report is the first tab.
    """
    names = [one.name for one in models]
    titles = [one.name if names.count(one.name) == 1 else f"{one.name}, {one.file}" for one in models]
    generators = [(title, one.module) for title, one in zip(titles, models, strict=True) if is_sampled(one.module)]
    with gr.Blocks(title="gan_lightning", analytics_enabled=False, delete_cache=(3600, 24 * 3600)) as whole, gr.Tabs():
        if run is not None:
            with gr.Tab("Report"):
                report_page(whole, run)
        if len(generators) > 1:
            with gr.Tab("Side by side"):
                comparison_page(whole, generators)
        for title, one in zip(titles, models, strict=True):
            with gr.Tab(title):
                gr.HTML(one.about)
                model_page(whole, one.module)
    return whole


def is_sampled(module: AdversarialModule) -> bool:
    """Whether it makes images of latents, and not of one picture."""
    return isinstance(module, ImageGenerator) and not isinstance(module, Manipulator)


def model_page(whole: gr.Blocks, module: AdversarialModule) -> None:
    """Lay out the page of a model of any kind."""
    if isinstance(module, Manipulator):
        one_picture_page(whole, module)
    elif isinstance(module, ImageGenerator):
        generator_page(whole, module)
    elif isinstance(module, Translator):
        translator_page(whole, module)
    elif isinstance(module, SequenceGenerator):
        sentences_page(whole, module)
    else:
        ranking_page(whole, module)


def sentences_page(whole: gr.Blocks, module: SequenceGenerator) -> None:
    """Lay out the page of a model of sequences."""
    with gr.Row():
        with gr.Column(scale=1, min_width=200):
            seed = seed_box()
            n = gr.Slider(1, MOST_SENTENCES, 10, step=1, label="Sentences")
        with gr.Column(scale=4):
            made = gr.HTML()
            if padded(module.vocabulary):  # an oracle's words are numbers
                own = gr.Textbox(label="A sentence of your own, and Enter", submit_btn=True)
                verdict = gr.HTML()

    @answered
    def said(seed: int, n: int) -> str:
        return words.sheet(words.sentences(module, int(n), seed_of(seed)))

    redraw(whole, said, [seed, n], made)
    if padded(module.vocabulary):
        own.submit(answered(lambda text: words.sheet(words.judged(module, text))), own, verdict)


def ranking_page(whole: gr.Blocks, module: Ranker) -> None:
    """Lay out the page of a model of what users choose."""
    with gr.Row():
        with gr.Column(scale=1, min_width=200):
            user = gr.Dropdown(module.users, value=module.users[0], label="User", allow_custom_value=True)
            k = gr.Slider(1, min(100, len(module.items)), min(10, len(module.items)), step=1, label="Items")
        with gr.Column(scale=3):
            table = gr.Dataframe(headers=["place", "item", "score"], label="The best of those not chosen yet")
    redraw(whole, answered(lambda user, k: words.recommended(module, user, int(k))), [user, k], table)


def report_page(whole: gr.Blocks, run: Path) -> None:
    """Lay out a run's report, as it is when the page is opened."""

    @answered
    def report() -> str:
        document = html.escape(reporting.html([run]), quote=True)
        return f'<iframe class="report" sandbox="allow-scripts" srcdoc="{document}"></iframe>'

    whole.load(report, None, gr.HTML())


def serve(whole: gr.Blocks, host: str = "127.0.0.1", port: int | None = None, share: bool = False) -> None:
    """Serve a page until the user interrupts; says where. Pictures that Gradio decodes before we see them are limited.

    Raises:
        OSError: the port is taken, or the host is none of this machine.
    """
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MAX_PIXELS  # Pillow refuses twice as many
    try:
        print(f"{open_page(whole, host, port, share)}: open it in a browser; Ctrl-C ends it", flush=True)
        whole.block_thread()
    finally:
        Image.MAX_IMAGE_PIXELS = before


def open_page(whole: gr.Blocks, host: str = "127.0.0.1", port: int | None = None, share: bool = False) -> str:
    """The address at which a page is served from now on; see :func:`serve`."""
    off = {"ssr_mode": False, "enable_monitoring": False, "mcp_server": False, "pwa": False, "footer_links": []}
    how = {"prevent_thread_lock": True, "quiet": True, "show_error": True, "inbrowser": False}
    where = {"server_name": host, "server_port": port, "share": share}
    try:
        _, local, public = whole.launch(theme=THEME, css=STYLE, **where, **how, **off)
    except OSError as error:  # Gradio's message names its own arguments
        raise OSError(f"cannot serve on {host}, port {port or 'from 7860 on'}: choose another --port") from error
    return public or local
