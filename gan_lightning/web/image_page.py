"""The layout of the pages of generators of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from gan_lightning.cli import flags
from gan_lightning.cli.painting import AROUND
from gan_lightning.core import ImageGenerator, TextToImage
from gan_lightning.web.answers import answered, file_of, folder, seed_of
from gan_lightning.web.images import Centre, Explorer

Tiles = list[tuple[str, str | None]]  # files of a gallery's pictures with their captions

IN_TURN = "each in turn"
FAST: dict[str, Any] = {"trigger_mode": "always_last", "show_progress": "hidden"}  # of what follows a slider
SPAN = 4.0  # standard deviations that a direction can be moved along, either way


def generator_page(page: gr.Blocks, module: ImageGenerator) -> None:
    """Lay out the page of a model: samples, and below them what can be done with the one that is clicked."""
    explorer = Explorer(module)
    with gr.Row():
        with gr.Column(scale=1, min_width=260):
            inputs = [seed_box(), asked_box(explorer), truncation_box(explorer)]
        with gr.Column(scale=2):
            grid = gallery("Samples: click one, and it becomes the centre below")
    redraw(page, tiles_of(explorer), inputs, grid)
    centre_part(explorer, inputs, grid)
    if explorer.space.has_styles:
        mixing_part(explorer, inputs)


def comparison_page(page: gr.Blocks, models: Sequence[tuple[str, ImageGenerator]]) -> None:
    """Lay out several generators, with their titles, side by side: the same seed gives all of them the same latents."""
    explorers = [(title, Explorer(module)) for title, module in models]
    first, *others = [explorer for _, explorer in explorers]
    alike = all(one.reads == first.reads for one in others)
    with gr.Row():
        with gr.Column():
            seed = seed_box()
        asked = asked_box(first) if alike else gr.State(None)
        truncation = truncation_box(first, *others)
    if len({one.module.generator.latent_dim for one in (first, *others)}) > 1:
        gr.Markdown(
            "The latents of these models have different lengths: pictures share their numbers, not their latents."
        )
    with gr.Row():
        for title, explorer in explorers:
            with gr.Column(min_width=260):
                redraw(page, tiles_of(explorer), [seed, asked, truncation], gallery(title))


# Controls.


def gallery(label: str, columns: int = 4) -> gr.Gallery:
    """Pictures that are clicked, not enlarged."""
    gr.Markdown(label, elem_classes="heading")
    how = {"columns": columns, "object_fit": "contain", "show_label": False, "elem_classes": "pixels", "buttons": []}
    return gr.Gallery(label=label, format="png", allow_preview=False, interactive=False, **how)


def still(label: str, format: str = "png") -> gr.Image:
    """A picture that is shown."""
    gr.Markdown(label, elem_classes="heading")
    how = {"show_label": False, "elem_classes": "pixels", "buttons": []}
    return gr.Image(label=label, format=format, interactive=False, **how)


def seed_box() -> gr.Number:
    """A seed, and a button for the next one."""
    seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1)
    gr.Button("Next seed", size="sm").click(lambda value: seed_of(value) + 1, seed, seed, show_progress="hidden")
    return seed


def asked_box(explorer: Explorer) -> gr.Dropdown | gr.Textbox | gr.State:
    """What all samples are to be of: a class or a prompt, where the model has such."""
    if isinstance(explorer.module, TextToImage):
        return gr.Textbox(label="Prompt, and Enter", placeholder="captions of the data, in turn", submit_btn=True)
    if explorer.classes:
        return gr.Dropdown([IN_TURN, *explorer.classes], value=IN_TURN, label="Class")
    return gr.State(None)


def asked_of(explorer: Explorer, value: str | None) -> int | str | None:
    """A class's number or a prompt; None for each in turn."""
    if isinstance(explorer.module, TextToImage):
        return (value or "").strip() or None
    return None if value in (None, IN_TURN) else explorer.classes.index(value)


def truncation_box(*explorers: Explorer) -> gr.Slider:
    """A slider whose greatest value is no truncation."""
    most = max(one.truncations[1] for one in explorers)
    return gr.Slider(explorers[0].truncations[0], most, most, step=0.05, label=f"Truncation ({most:g}: none)")


def redraw(page: gr.Blocks, draw: Callable, controls: Sequence[Any], outputs: Any) -> None:
    """Let a function draw when the page is opened, and when a control changes; a text when it is done."""
    shown = [one for one in controls if not isinstance(one, gr.State)]
    changes = [one.submit if isinstance(one, gr.Textbox) else one.change for one in shown]
    gr.on([page.load, *changes], draw, controls, outputs, **FAST)


def tiles_of(explorer: Explorer) -> Callable[[int, str | None, float], Tiles]:
    """What draws the gallery of a model's samples."""

    @answered
    def draw(seed: int, asked: str | None, truncation: float) -> Tiles:
        wanted = asked_of(explorer, asked)
        files = map(file_of, explorer.samples(seed_of(seed), wanted, truncation))
        return list(zip(files, explorer.names(wanted), strict=True))

    return draw


# The centre.


def centre_part(explorer: Explorer, inputs: Sequence[Any], grid: gr.Gallery) -> None:
    """Lay out what can be done with a sample that is clicked: move it, look around it, walk to it."""
    centre, before, near = gr.State(None), gr.State(None), gr.State([])
    with gr.Row(visible=False) as part:
        with gr.Column(scale=1, min_width=260):
            large = still("The centre")
            with gr.Row():
                files = [gr.DownloadButton(f"Download the {what}", size="sm") for what in ("latents", "picture")]
        with gr.Column(scale=2), gr.Tabs():
            with gr.Tab("Directions"):
                method, strengths = direction_boxes(explorer)
            values = code_boxes(explorer)
            with gr.Tab("Around it") as around_tab:
                radius = gr.Slider(0.05, 2.0, AROUND, step=0.05, label="Radius, in units of the latents")
                around = gallery("Neighbours: click one, and it becomes the centre", columns=3)
            with gr.Tab("Walk"):
                gr.Markdown("A film from the centre before to this one, and back.")
                seconds = gr.Slider(1.0, 8.0, 3.0, step=0.5, label="Seconds")
                walk = gr.Button("Make the film")
                film = still("Film", format="gif")
    moves = [method, *strengths, *values]

    def moved(centre: Centre, method: str, *amounts: float) -> Centre:
        along, of_codes = amounts[: len(strengths)], amounts[len(strengths) :]
        return explorer.moved(centre, along, [int(value) for value in of_codes], method)

    def instead(chosen: Centre, old: Centre | None, *amounts: Any) -> list:
        """The new centre and the one before as it was moved, and sliders in the middle."""
        before = None if old is None else moved(old, *amounts)
        return [chosen, before, gr.Row(visible=True), *[0] * (len(moves) - 1)]

    @answered
    def choose(event: gr.SelectData, seed: int, asked: str | None, truncation: float, *old: Any) -> list:
        return instead(explorer.centre(event.index, seed_of(seed), asked_of(explorer, asked), truncation), *old)

    @answered
    def choose_neighbour(event: gr.SelectData, near: list[Centre], *old: Any) -> list:
        return instead(near[event.index], *old)

    @answered
    def show(centre: Centre | None, *amounts: Any) -> list:
        if centre is None:
            return [None, None, None]
        latents, picture = map(str, explorer.save(moved(centre, *amounts), folder()))
        return [picture, latents, picture]

    @answered
    def surround(centre: Centre | None, radius: float, *amounts: Any) -> tuple[Tiles, list[Centre]]:
        if centre is None:
            return [], []
        found = explorer.around(moved(centre, *amounts), radius, centre.seed)
        return [(file_of(explorer.pictures(one)[0]), None) for one in found], found

    @answered
    def walked(before: Centre | None, centre: Centre, seconds: float, *amounts: Any) -> str:
        if before is None:
            raise ValueError("a walk needs two pictures: click another one, and it goes there from this one")
        return str(explorer.film(before, moved(centre, *amounts), seconds, folder() / "walk.gif"))

    chosen = [centre, before, part, *moves[1:]]
    for clicked in (
        grid.select(choose, [*inputs, centre, *moves], chosen, show_progress="hidden"),
        around.select(choose_neighbour, [near, centre, *moves], chosen, show_progress="hidden"),
    ):
        shown = clicked.then(show, [centre, *moves], [large, *files], show_progress="hidden")
        shown.then(surround, [centre, radius, *moves], [around, near], show_progress="hidden")
    sliders = [one.change for one in moves if not isinstance(one, gr.State)]
    if sliders:
        gr.on(sliders, show, [centre, *moves], [large, *files], **FAST)
    gr.on([radius.change, around_tab.select], surround, [centre, radius, *moves], [around, near], **FAST)
    walk.click(walked, [before, centre, seconds, *moves], film)


def direction_boxes(explorer: Explorer) -> tuple[gr.Radio | gr.State, list[gr.Slider]]:
    """How directions are found, where there is a choice, and a slider for each of the first ones."""
    if explorer.space.has_styles:
        method = gr.Radio(flags.METHODS, value=flags.METHODS[0], label="How they are found")
        count = min(len(explorer.directions(name)) for name in flags.METHODS)
    else:
        method, count = gr.State(flags.METHODS[0]), len(explorer.directions())
    if not count:
        name = type(explorer.module.generator).__name__
        gr.Markdown(f"No layer of {name} is linear in the latents: there are no directions to be found.")
    labels = [f"Direction {number}, in standard deviations" for number in range(count)]
    return method, [gr.Slider(-SPAN, SPAN, 0, step=0.1, label=label) for label in labels]


def code_boxes(explorer: Explorer) -> list[gr.Slider]:
    """A slider for each code of the latents, where they have some."""
    if not explorer.values:
        return []
    with gr.Tab("Codes"):
        labels = [f"Code {code}: its value (0: as it is)" for code in range(len(explorer.values))]
        return [gr.Slider(0, most, 0, step=1, label=label) for label, most in zip(labels, explorer.values, strict=True)]


def mixing_part(explorer: Explorer, inputs: Sequence[Any]) -> None:
    """Lay out the table of styles of a generator that has them."""
    styles = explorer.space.shape[0]
    seed, asked, _ = inputs

    @answered
    def mixed(rows: str, columns: str, crossover: int, seed: int, asked: str | None) -> str:
        numbers = flags.numbers(rows), flags.numbers(columns)
        return file_of(explorer.table(*numbers, int(crossover), seed_of(seed), asked_of(explorer, asked)))

    with gr.Accordion("Mix styles", open=False), gr.Row():
        with gr.Column(scale=1, min_width=260):
            rows = gr.Textbox("0,1,2", label="Coarse styles of these samples, a row each")
            columns = gr.Textbox("3,4,5,6", label="Fine styles of these, a column each")
            crossover = gr.Slider(1, styles - 1, styles // 2, step=1, label="The first fine style")
            button = gr.Button("Mix")
        with gr.Column(scale=2):
            table = still("Styles mixed")
    button.click(mixed, [rows, columns, crossover, seed, asked], table)
