"""`demo`: what its pages compute, and the pages themselves in a real browser."""

from __future__ import annotations

import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlparse

import numpy as np
import pytest
import torch
from conftest import COLOURS, game, text_to_image, tiny, trained, translator
from PIL import Image

from gan_lightning import demo, sample, translate
from gan_lightning.cli.pictures import picture, pixels
from gan_lightning.latents import LatentSpace, directions
from gan_lightning.runtime.reading import MAX_PIXELS

pytest.importorskip("gradio", reason="the demo's page needs gradio")

from gan_lightning.web import answers, pages, translation, words  # noqa: E402 - they import gradio
from gan_lightning.web.images import Explorer  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
QUIET += ["--disable-sync", "--no-first-run"]
WAIT = 60_000  # milliseconds, of a machine that does other things too


def array(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB")).astype(int)


def same(left: Image.Image, right: Image.Image, apart: int = 1) -> bool:
    """Whether pictures are equal but for rounding."""
    return left.size == right.size and np.abs(array(left) - array(right)).max() <= apart


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a run leaves it: of a tiny StyleGAN2 after two steps."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    trained(tiny("StyleGAN2"), 2).save_checkpoint(folder / "last.ckpt")
    shutil.copy(folder / "last.ckpt", folder / "best.ckpt")
    return folder


def evaluated(module: Any) -> Any:
    """A model as a page has it."""
    return module.float().eval()


# What is typed.


def refused(capsys: pytest.CaptureFixture, *args: object) -> str:
    with pytest.raises(SystemExit) as end:
        demo.main([str(arg) for arg in args])
    message = capsys.readouterr().err
    assert (end.value.code, message.count("\n")) == (2, 1)
    return message


def test_flags_that_cannot_be_followed(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = run_folder / "last.ckpt"
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    assert "name checkpoints, or a run's folder by --run" in refused(capsys)
    assert "not both" in refused(capsys, last, "--run", run_folder)
    assert "--port must be from 1 to 65535, not 0" in refused(capsys, last, "--port=0")
    assert "there is no such folder" in refused(capsys, "--run", tmp_path / "none")
    assert "it holds no best.ckpt or last.ckpt" in refused(capsys, "--run", tmp_path)
    assert f"there is no file {tmp_path / 'a.ckpt'}" in refused(capsys, last, tmp_path / "a.ckpt")
    assert "did you mean '--port'" in refused(capsys, last, "--prot=1")
    assert refused(capsys, last) == "error: a page in the browser needs Gradio: pip install 'gan_lightning[demo]'\n"


def test_what_makes_nothing_that_a_page_shows(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    trained(game("PredictabilityMinimization"), 0).save_checkpoint(path := tmp_path / "a.ckpt")
    assert "PredictabilityMinimization makes nothing that a page can show" in refused(capsys, path)


def test_a_run_is_shown_by_its_best_checkpoint_on_this_machine_alone(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(pages, "load", lambda paths, *how: asked.append((paths, *how)))
    monkeypatch.setattr(pages, "page", lambda models, run: asked.append(run))
    monkeypatch.setattr(pages, "serve", lambda page, *where: asked.append(where))
    demo.main(["--run", str(run_folder), "--trust=mine", "--port=7999"])
    assert asked == [([run_folder / "best.ckpt"], "auto", ["mine"]), run_folder, ("127.0.0.1", 7999, False)]


# What is computed.


def of_classes() -> Explorer:
    return Explorer(evaluated(tiny("CGAN")))


@pytest.mark.parametrize("name", ["GAN", "StyleGAN2", "CGAN"])
def test_what_is_downloaded_is_what_sample_draws(name: str, tmp_path: Path) -> None:
    """In float64 there, in float32 here: but for rounding."""
    trained(module := tiny(name), 0).save_checkpoint(tmp_path / "a.ckpt")
    explorer = Explorer(evaluated(module))
    centre = explorer.centre(3, 5, 1 if name == "CGAN" else None, 0.7)
    assert same(explorer.pictures(centre)[0], explorer.samples(5, 1 if name == "CGAN" else None, 0.7)[3])
    moved = explorer.moved(centre, [1.5, -1.0])
    latents, file = explorer.save(moved, tmp_path / "saved")
    sample.main([str(tmp_path / "a.ckpt"), f"--latents={latents}", f"--out={tmp_path / 'out'}", "--batch_size=1"])
    assert same(Image.open(file), Image.open(tmp_path / "out" / "000000.png"))
    assert not same(Image.open(file), explorer.pictures(centre)[0], 3)


def test_a_move_is_the_shift_of_sample() -> None:
    explorer = Explorer(evaluated(tiny("StyleGAN2")))
    space = LatentSpace(explorer.module, noise="const")
    space.shift = 2.0 * directions(space)[1].float()
    centre = explorer.centre(0, 0)
    expected = explorer.pictures(explorer.moved(centre, [0.0, 2.0]))
    shifted = picture(pixels(space.draw(centre.point, None, [0]))[0])
    assert same(expected[0], shifted) and not same(shifted, explorer.pictures(centre)[0], 3)


def test_a_truncation_at_the_end_of_the_slider_is_none() -> None:
    explorer = Explorer(evaluated(tiny("GAN")))
    plain, most, half = (explorer.samples(0, None, psi, 4) for psi in (None, explorer.truncations[1], 0.5))
    assert all(map(same, plain, most)) and not any(map(same, plain, half))


def test_codes_take_their_values() -> None:
    explorer = Explorer(evaluated(tiny("InfoGAN")))
    module, centre = explorer.module, explorer.centre(2, 0)
    assert explorer.values == [module.categories] + [10] * module.continuous
    point = explorer.moved(centre, [], [3, 0, 10][: module.codes]).point[0]
    place = module.noise_dim
    assert point[place : place + module.categories].tolist() == np.eye(module.categories)[2].tolist()
    assert torch.equal(point[:place], centre.point[0, :place])
    assert torch.equal(explorer.moved(centre, [], [0] * module.codes).point, centre.point)


def test_a_film_goes_to_the_other_picture_and_back(tmp_path: Path) -> None:
    """Between two classes: the class changes on the way, too."""
    explorer = of_classes()
    start, end = explorer.centre(0, 1, 0), explorer.centre(4, 1, 1)._replace(number=0)
    film = Image.open(explorer.film(start, end, 0.4, tmp_path / "walk.gif"))
    assert film.n_frames == 10
    frames = []
    for number in range(10):
        film.seek(number)
        frames.append(film.convert("RGB"))
    assert same(frames[0], explorer.pictures(start)[0]) and same(frames[5], explorer.pictures(end)[0])
    assert same(frames[2], frames[8], 2) and not same(frames[2], frames[5])


def test_neighbours_stand_around_the_centre() -> None:
    explorer = Explorer(evaluated(tiny("DCGAN")))
    centre = explorer.centre(1, 0)
    nine = explorer.around(centre, 0.5, 0)
    apart = [float((one.point - centre.point).abs().max()) for one in nine]
    assert apart[4] == 0 and all(0 < distance <= 0.5 for place, distance in enumerate(apart) if place != 4)


def test_a_mixture_is_that_of_its_parents() -> None:
    """The margin shows samples; a table of one crossover after the last style but one is nearest to its row."""
    explorer = Explorer(evaluated(tiny("StyleGAN2")))
    table = array(explorer.table([0], [1], explorer.space.shape[0] - 1, 0))
    row, column = (array(picture) for picture in explorer.samples(0)[:2])
    side, step = row.shape[0], row.shape[0] + 2
    cells = [[table[2 + i * step :][:side, 2 + j * step :][:, :side] for j in (0, 1)] for i in (0, 1)]
    assert not cells[0][0].any()
    assert np.abs(cells[1][0] - row).max() <= 1 and np.abs(cells[0][1] - column).max() <= 1
    assert np.abs(cells[1][1] - row).mean() < np.abs(cells[1][1] - column).mean()


def photo(path: Path) -> Path:
    """A phone's photo: on its side, as EXIF says."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.effect_noise((24, 16), 90).convert("RGB").save(path, exif=exif)
    return path


def test_what_a_page_makes_of_a_picture_is_what_translate_makes(tmp_path: Path) -> None:
    module = evaluated(translator("CycleGAN", image_shape=(3, 16, 16)))
    trained(module, 0).save_checkpoint(tmp_path / "a.ckpt")
    folder = tmp_path / "in"
    folder.mkdir()
    photo(folder / "photo.jpg")
    glass = Image.effect_noise((20, 18), 90).convert("RGBA")
    glass.putalpha(Image.linear_gradient("L").resize((20, 18)))
    glass.save(folder / "glass.png")
    direction = module.directions[1]
    translate.main([str(tmp_path / "a.ckpt"), f"--input={folder}", f"--out={tmp_path}/out", f"--direction={direction}"])
    for name, size, mode in (("photo.jpg", (16, 24), "RGB"), ("glass.png", (20, 18), "RGBA")):
        before, after = translation.changed(module, folder / name, translation.AS_READ, {"direction": direction})
        expected = Image.open((tmp_path / "out" / name).with_suffix(".png"))
        assert (before.size, after.size, after.mode) == (size, size, mode)
        assert np.array_equal(np.asarray(after), np.asarray(expected))


def test_large_pictures_are_made_smaller_and_keep_their_proportions(tmp_path: Path) -> None:
    module = evaluated(translator("SRGAN"))
    before, after = translation.changed(module, photo(tmp_path / "photo.jpg"), 12, {})
    assert before.size == after.size == (4 * 8, 4 * 12)


def test_what_is_painted_is_a_hole() -> None:
    background = Image.new("RGB", (4, 3), (10, 20, 30))
    layer = Image.new("RGBA", (4, 3))
    layer.putpixel((2, 1), (255, 0, 255, 255))
    hole = translation.holed(background, [layer], 3)
    expected = torch.full((3, 4), 255)
    expected[1, 2] = 0
    assert torch.equal(hole.alpha.int(), expected.int())
    assert hole.image[:, 0, 0].tolist() == [10, 20, 30] and hole.image.shape == (3, 3, 4)
    assert translation.holed(background, [layer], 1).image.shape == (1, 3, 4)
    with pytest.raises(ValueError, match="paint one with the brush"):
        translation.holed(background, [Image.new("RGBA", (4, 3))], 3)


VOCABULARY = ["<pad>", "<unk>", "the", "cat", "<b>"]


def test_words_have_the_probabilities_of_the_softmax() -> None:
    """Token by token by the logits, and together the model's own likelihood of the sentence."""
    module = evaluated(game("SeqGAN", vocabulary=VOCABULARY))
    token = torch.tensor([[2, 3, 0, 0, 0], [3, 3, 4, 2, 1]])
    chances = module.generator(token).softmax(2)
    first, second = words.read(module, token)
    assert [word for word, _ in first.words] == ["the", "cat", "(end)"] and len(second.words) == 5
    for said, row, tokens in ((first, 0, [2, 3, 0]), (second, 1, [3, 3, 4, 2, 1])):
        expected = [float(chances[row, place, one]) for place, one in enumerate(tokens)]
        assert [chance for _, chance in said.words] == pytest.approx(expected, rel=1e-5)
        assert said.nll == pytest.approx(-np.mean(np.log(expected)), rel=1e-5)
    assert "&lt;b&gt;" in words.sheet([second]) and "<b>" not in words.sheet([second])
    assert [word for word, _ in words.judged(module, "The cat!")[0].words] == ["the", "cat", "(end)"]
    with pytest.raises(ValueError, match="the sentence has 6 words: the model reads 1 to 5"):
        words.judged(module, "the " * 6)


def test_items_are_those_of_recommend() -> None:
    module = evaluated(game("IRGAN"))
    items, scores = module.recommend(1, 3)
    rows = words.recommended(module, module.users[1], 3)
    assert [row[1] for row in rows] == [module.items[item] for item in items]
    assert [float(row[2]) for row in rows] == pytest.approx(scores.tolist(), abs=5e-4)
    with pytest.raises(ValueError, match="there is no user 'nobody'"):
        words.recommended(module, "nobody", 3)


# The pages in a browser.


class Tab:
    """One browser, one page with a tab for each kind of model, and every request that it sent."""

    def __init__(self, page: Any, requests: list[str]) -> None:
        self.page, self.requests = page, requests

    def open(self, name: str) -> None:
        self.page.get_by_role("tab", name=name, exact=True).first.click()

    def button(self, name: str) -> None:
        self.page.get_by_text(name, exact=True).locator("visible=true").first.click()
        self.page.wait_for_timeout(500)  # an accordion lays out now what it holds, and a click before that is lost

    def find(self, selector: str) -> Any:
        return self.page.locator(f"{selector}:visible")

    def picture(self, selector: str = ".pixels .thumbnail-lg img", number: int = 0) -> Image.Image:
        """What an <img> shows, as it came over the wire."""
        image = self.find(selector).nth(number)
        image.wait_for(timeout=WAIT)
        answer = self.page.context.request.get(image.get_attribute("src"))
        return Image.open(io.BytesIO(answer.body())).convert("RGB")

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something."""
        end = time.monotonic() + WAIT / 1000
        while not holds():
            assert time.monotonic() < end, "it did not happen"
            self.page.wait_for_timeout(150)

    def changed_from(self, before: Image.Image, **where: Any) -> Image.Image:
        """The picture that takes another's place."""
        self.until(lambda: not same(self.picture(**where), before, 0))
        return self.picture(**where)

    def type(self, label: str, text: str) -> None:
        box = self.page.get_by_label(label, exact=True).locator("visible=true").first
        box.fill(text)
        box.press("Enter")

    def upload(self, path: Path) -> None:
        if (other := self.page.get_by_label("Clear").locator("visible=true")).count():
            other.first.click()
        self.page.locator("input[type=file]").first.wait_for(state="attached", timeout=WAIT)
        self.page.locator("input[type=file]").first.set_input_files(path)

    def said(self, text: str) -> None:
        """Wait for a sentence, and for nothing that a programmer alone reads."""
        self.page.get_by_text(text).first.wait_for(timeout=WAIT)
        assert "Traceback" not in self.page.content() and 'File "' not in self.page.content()


LARGE = ".pixels .image-frame img"
SLIDER = ".slider-wrap img"  # before and after


def shown(name: str, module: Any) -> pages.Shown:
    return pages.Shown(evaluated(module), Path(name.lower()) / "last.ckpt")


@pytest.fixture(scope="module")
def tab(run_folder: Path) -> Iterator[Tab]:
    playwright = pytest.importorskip("playwright.sync_api", reason="the pages are opened by playwright")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium to open the pages in")
    stackgan = text_to_image()
    stackgan.trained_on = {"captions": [f"a {colour} one" for colour in COLOURS]}
    models = {
        "InfoGAN": tiny("InfoGAN"),
        "StackGAN": stackgan,
        "StarGAN": translator("StarGAN"),
        "ContextEncoder": translator("ContextEncoder"),
        "SinGAN": game("SinGAN"),
        "SeqGAN": game("SeqGAN", vocabulary=VOCABULARY),
        "IRGAN": game("IRGAN"),
    }
    every = [*pages.load([run_folder / "best.ckpt"]), *(shown(name, module) for name, module in models.items())]
    with pytest.MonkeyPatch.context() as patch, playwright.sync_playwright() as driver:
        patch.setattr("gan_lightning.reporting.html", lambda folders: f"<h1>Of {folders[0].name}</h1>")
        whole = pages.page(every, run_folder)
        address = pages.open_page(whole)
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page, requests = browser.new_page(viewport={"width": 1500, "height": 900}), []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        yield Tab(page, requests)
        browser.close()
        whole.close()


def test_a_port_that_is_taken_is_named(tab: Tab) -> None:
    port = urlparse(tab.page.url).port
    with pytest.raises(OSError, match=f"^cannot serve on 127.0.0.1, port {port}: choose another --port$"):
        pages.open_page(pages.page([]), port=port)


def test_the_report_of_a_run_is_its_first_tab(tab: Tab) -> None:
    tab.page.frame_locator("iframe.report").get_by_text("Of run").wait_for(timeout=WAIT)


def test_pictures_follow_the_seed(tab: Tab) -> None:
    tab.open("StyleGAN2")
    first = tab.picture()
    assert first.size == (16, 16)
    tab.type("Seed", "1")
    second = tab.changed_from(first)
    tab.type("Seed", "0")
    tab.changed_from(second)
    tab.until(lambda: same(tab.picture(), first, 0))  # a picture may come between


def test_the_centre_is_moved_walked_to_and_downloaded(tab: Tab, tmp_path: Path) -> None:
    tab.open("StyleGAN2")
    large = {"selector": LARGE}
    clicked = tab.picture(number=2)
    tab.find(".pixels button.thumbnail-lg").nth(2).click()
    assert same(tab.picture(**large), clicked, 0)
    tab.type("number input for Direction 0, in standard deviations", "3")
    moved = tab.changed_from(clicked, **large)
    with tab.page.expect_download() as download:
        tab.button("Download the picture")
    download.value.save_as(tmp_path / "a.png")
    assert same(Image.open(tmp_path / "a.png"), moved, 0)
    tab.open("Around it")
    tab.until(lambda: same(tab.picture(number=16 + 4), moved, 0))
    tab.open("Walk")
    tab.button("Make the film")
    tab.said("a walk needs two pictures")
    tab.find(".pixels button.thumbnail-lg").nth(5).click()
    other = tab.changed_from(moved, **large)
    tab.button("Make the film")
    film = {**large, "number": 1}
    assert same(tab.picture(**film), moved) and not same(other, moved)


def test_styles_are_mixed(tab: Tab) -> None:
    tab.open("StyleGAN2")
    tab.button("Mix styles")
    tab.type("Coarse styles of these samples, a row each", "x")
    tab.button("Mix")
    tab.said("write numbers of samples, such as 0,1,2, not 'x'")
    tab.type("Coarse styles of these samples, a row each", "0,1")
    tab.button("Mix")
    frames = tab.find(LARGE)
    table = 5 * 18 + 2, 3 * 18 + 2  # cells of 16, a margin of 2: two rows and four columns below and beside the parents
    tab.until(lambda: table in [tab.picture(LARGE, number).size for number in range(frames.count())])


def test_codes_have_sliders(tab: Tab) -> None:
    tab.open("InfoGAN")
    tab.find(".pixels button.thumbnail-lg").first.click()
    large = {"selector": LARGE}
    before = tab.picture(**large)
    tab.open("Codes")
    tab.type("number input for Code 0: its value (0: as it is)", "7")
    tab.changed_from(before, **large)


def test_two_models_stand_side_by_side(tab: Tab) -> None:
    tab.open("Side by side")
    tab.until(lambda: tab.find(".pixels .thumbnail-lg img").count() == 3 * 16)
    pair = [tab.picture(number=number) for number in (0, 16)]
    tab.open("StyleGAN2")
    assert same(tab.picture(), pair[0], 0)
    tab.open("InfoGAN")
    assert same(tab.picture(), pair[1], 0)


def test_a_prompt_is_drawn(tab: Tab) -> None:
    tab.open("StackGAN")
    before = tab.picture(number=1)
    tab.type("Prompt, and Enter", "a red one")
    tab.changed_from(before, number=1)
    tab.type("Prompt, and Enter", "a purple one")
    tab.said("the captions that the model was trained on have no word 'purple'")


def test_a_picture_is_translated_and_what_is_none_is_refused_in_a_sentence(tab: Tab, tmp_path: Path) -> None:
    tab.open("StarGAN")
    (tmp_path / "text.png").write_text("no picture at all")
    tab.upload(tmp_path / "text.png")
    tab.said("text.png cannot be read: it is no image of a kind that Pillow knows")
    photo(tmp_path / "photo.jpg")
    Image.open(tmp_path / "photo.jpg").save(whole := tmp_path / "broken.png")
    whole.write_bytes(whole.read_bytes()[:-200])
    tab.upload(whole)
    tab.said("broken.png cannot be read")
    tab.upload(tmp_path / "photo.jpg")
    after = {"selector": SLIDER, "number": 1}
    first = tab.picture(**after)
    assert first.size == (16, 24)
    tab.page.get_by_label("with", exact=True).locator("visible=true").first.check()
    tab.changed_from(first, **after)


def test_a_hole_is_painted_and_filled(tab: Tab, tmp_path: Path) -> None:
    tab.open("ContextEncoder")
    tab.button("Fill")
    tab.said("there is no picture yet")
    Image.new("RGB", (160, 120), (0, 90, 200)).save(tmp_path / "plain.png")
    tab.page.locator("input[type=file]").first.wait_for(state="attached", timeout=WAIT)
    tab.page.locator("input[type=file]").first.set_input_files(tmp_path / "plain.png")
    tab.until(lambda: tab.find("canvas").count() > 0)
    tab.page.wait_for_timeout(1000)  # the editor fits its canvas to the picture
    canvas = tab.find("canvas").first.bounding_box()
    x, y = canvas["x"] + canvas["width"] / 2, canvas["y"] + canvas["height"] / 2
    tab.page.mouse.move(x - 10, y)
    tab.page.mouse.down()
    tab.page.mouse.move(x + 30, y, steps=5)
    tab.page.mouse.up()
    tab.button("Fill")
    after = array(tab.picture(SLIDER, number=1))
    assert after.shape == (120, 160, 3)
    grey = after[0, 0]
    assert (after[:, :20] == grey).all() and (after[60, 80] != grey).any()


def test_variants_of_one_picture(tab: Tab) -> None:
    tab.open("SinGAN")
    first = tab.picture()
    tab.type("Seed", "1")
    tab.changed_from(first)


def test_sentences_have_likelihoods(tab: Tab) -> None:
    tab.open("SeqGAN")
    rows = tab.find("table.sentences tr")
    tab.until(lambda: rows.count() == 1 + 10)
    before = rows.nth(1).inner_text()
    tab.type("Seed", "1")
    tab.until(lambda: rows.nth(1).inner_text() != before)
    tab.type("A sentence of your own, and Enter", "the cat")
    tab.until(lambda: tab.find("table.sentences").count() == 2)
    assert tab.find("table.sentences").nth(1).locator(".word").count() == 3


def test_a_users_list(tab: Tab) -> None:
    tab.open("IRGAN")
    cells = tab.find("[role=gridcell]")
    tab.until(lambda: cells.count() == 3 * 10)
    before = cells.all_inner_texts()
    tab.type("User", "2")
    tab.until(lambda: cells.all_inner_texts() != before)


def test_nothing_is_asked_of_another_machine(tab: Tab) -> None:
    """The last of these tests: every page has been used."""
    hosts = {urlparse(url).hostname for url in tab.requests if not url.startswith(("data:", "blob:"))}
    assert hosts == {"127.0.0.1"} and len(tab.requests) > 100


def test_an_empty_field_is_the_seed_0() -> None:
    assert [answers.seed_of(value) for value in (None, 0, 7.0)] == [0, 0, 7]


def test_a_page_makes_no_picture_that_others_would_wait_for() -> None:
    translation.refuse_large(2048, 2048)
    with pytest.raises(ValueError, match="4000x2000 has more than 4,194,304 pixels"):
        translation.refuse_large(2000, 4000)


def test_old_files_of_a_page_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "FILES", SimpleNamespace(name=str(tmp_path)))
    monkeypatch.setattr(answers, "KEPT", 3)
    for number in range(6):
        answers.file_of(Image.new("L", (1, 1), number))
        answers.folder()
    assert len(list(tmp_path.iterdir())) == 12, "a browser may still be about to ask for each"
    monkeypatch.setattr(answers, "ASKED_FOR", -1.0)
    answers.folder()
    assert len(list(tmp_path.iterdir())) <= 4


def test_a_picture_that_is_drawn_again_is_as_new_as_its_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "FILES", SimpleNamespace(name=str(tmp_path)))
    monkeypatch.setattr(answers, "KEPT", 2)
    pictures = [Image.new("L", (1, 1), number) for number in range(4)]
    old = answers.file_of(pictures[0])
    os.utime(old, (1, 1))
    assert answers.file_of(pictures[0]) == old
    assert all(Path(answers.file_of(picture)).exists() for picture in pictures) and Path(old).exists()


def test_a_picture_of_too_many_pixels_is_not_decoded_for_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a page is served Pillow has a limit again, which it refuses twice as many pixels by."""
    limits = []
    monkeypatch.setattr(pages, "open_page", lambda *given: limits.append(Image.MAX_IMAGE_PIXELS))
    pages.serve(SimpleNamespace(block_thread=lambda: limits.append(Image.MAX_IMAGE_PIXELS)))
    assert limits == [MAX_PIXELS] * 2 and Image.MAX_IMAGE_PIXELS is None
