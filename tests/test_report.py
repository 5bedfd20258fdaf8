"""`report`: what it reads of a run's folder, what its page says, and the page in a browser."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml
from PIL import Image

from gan_lightning import report, reporting
from gan_lightning.reporting.findings import findings
from gan_lightning.reporting.folder import RunFolder
from gan_lightning.reporting.scores import columns, signs_of

CARD = {"data": "Digits", "data_hash": "01b362845a01", "n_fake": 2000, "extractor": "digits", "hash": "e81c9b0281fb"}
SUBJECT = {"model": "GAN", "step": 10, "images_seen": 640}


def run_in(
    folder: Path,
    rows: list[dict[str, Any]],
    grids: int = 3,
    model: str = "GAN",
    arguments: dict[str, Any] | None = None,
    machine: bool = True,
) -> Path:
    """A run's folder with these rows; its grids are pictures of one grey level each, 40 more at each step."""
    (folder / "samples").mkdir(parents=True)
    names = list(dict.fromkeys(name for row in rows for name in row))

    def field(value: Any) -> str:
        text = json.dumps(value) if isinstance(value, dict) else str(value)
        return '"' + text.replace('"', '""') + '"'

    lines = [",".join(names), *(",".join(field(row[name]) if name in row else "" for name in names) for row in rows)]
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    for number in range(grids):
        Image.new("RGB", (60, 30), (40 * number,) * 3).save(folder / "samples" / f"step-{10 * number:06d}.png")
    config = {"model": {"class_path": f"gan_lightning.models.{model}", "init_args": arguments or {}}}
    config |= {"data": {"class_path": "gan_lightning.data.Digits"}, "seed_everything": 0}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    if machine:
        (folder / "machine.json").write_text(json.dumps({"processor": "P8000", "cores": 2, "torch": "2.14"}))
    return folder


def curve(name: str, *values: float) -> list[dict[str, Any]]:
    return [{name: value, "step": 10 * number} for number, value in enumerate(values, 1)]


def scored(value: float, step: int = 10, **card: Any) -> dict[str, Any]:
    return {"FID-digits": value, "FID-digits/card": CARD | SUBJECT | card, "step": step}


LOSS = [{"generator/loss": 3.0 / n, "images_seen": 64.0 * n, "hours": n / 8, "step": 10 * n} for n in range(1, 5)]


class Page(HTMLParser):
    """The text, the tags with their attributes, and the tables of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.tags, self.table, self.skipped, self.cell = "", [], [], 0, False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        self.skipped += tag in ("style", "script")
        if tag == "tr":
            self.table.append([])
        elif tag in ("td", "th"):
            self.table[-1].append("")
            self.cell = True

    def handle_endtag(self, tag: str) -> None:
        self.skipped -= tag in ("style", "script")
        self.cell &= tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if not self.skipped:
            self.text += f" {data} "
            if self.cell:
                self.table[-1][-1] += data


# What is read


def test_a_folder_is_read_without_its_checkpoint(tmp_path: Path) -> None:
    rows = [*LOSS, scored(9.0), scored(7.0, 20), scored(8.0, 30) | {"health": "collapsed, at step 30"}]
    run = RunFolder.read(run_in(tmp_path / "GAN-Digits" / "one", rows))
    assert (run.name, run.model, run.data) == ("GAN-Digits/one", "GAN", "Digits")
    assert run.curves["generator/loss"] == ([10, 20, 30, 40], [3.0, 1.5, 1.0, 0.75])
    assert [(one.step, one.value, one.card) for one in run.scores["FID-digits"]] == [
        *((10, 9.0, CARD), (20, 7.0, CARD), (30, 8.0, CARD))
    ]
    assert run.best() == ("FID-digits", run.scores["FID-digits"][1])
    assert run.alarms == [(30, "collapsed, at step 30")] and list(run.grids) == [0, 10, 20]
    assert run.checkpoint is None and run.machine["processor"] == "P8000"
    (run.path / "last.ckpt").touch()
    assert run.checkpoint.name == "last.ckpt"
    (run.path / "best.ckpt").touch()
    assert run.checkpoint.name == "best.ckpt"


def test_the_best_is_of_scores_that_compare_with_the_newest(tmp_path: Path) -> None:
    run = RunFolder.read(run_in(tmp_path, [scored(1.0, 10, n_fake=50), scored(9.0, 20), scored(8.0, 30)]))
    assert run.best()[1].step == 30


def test_scores_without_a_card_compare_with_nothing(tmp_path: Path) -> None:
    run = RunFolder.read(run_in(tmp_path, [scored(1.0, 10), scored(9.0, 20)]))
    bare = [one._replace(card={}) for one in run.scores["FID-digits"]]
    run.scores["FID-digits"] = bare
    assert run.best()[1] is bare[-1]


def test_a_score_of_several_figures_has_one_card(tmp_path: Path) -> None:
    row = {"IS": 9.5, "IS/std": 0.1, "IS/card": CARD, "step": 5, "overfitting/r_v": 0.5, "overfitting/card": {"n": 8}}
    run = RunFolder.read(run_in(tmp_path, [row]))
    assert run.scores["IS"][0].std == 0.1 and run.scores["IS"][0].card == CARD
    assert run.scores["overfitting/r_v"][0].card == {"n": 8} and set(run.scores) == {"IS", "overfitting/r_v"}


BROKEN = {
    "cut off": b"generator/loss,step\n1.0,10\n0.5,2",
    "a card that is no JSON": b'FID,FID/card,step\n1.0,"{""n"": ",10\n',
    "empty": b"",
    "zeros": b"generator/loss,step\n1.0,10\n" + bytes(40),
    "no text": b"\xff\xfe\x00,step\n1,2\n",
    "without steps": b"generator/loss\n1.0\n",
    "a quote that is not closed": b'generator/loss,step\n1.0,10\n"' + bytes([65]) * 200_000,
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_damaged_file_still_gives_a_page(case: str, tmp_path: Path) -> None:
    run_in(tmp_path, [])
    (tmp_path / "metrics.csv").write_bytes(BROKEN[case])
    (tmp_path / "samples" / "step-000010.png").write_bytes(b"\x89PNG cut")
    (tmp_path / "config.yaml").write_text("model: {")
    page = Page(reporting.html([tmp_path]))
    assert ("alt", "samples at step 20") in [pair for _, attrs in page.tags for pair in attrs.items()]
    assert "samples at step 10" not in str(page.tags)


@pytest.mark.parametrize("setting", ["true", "[1, 2]", "FID"])
def test_a_setting_of_another_kind_still_gives_a_page(setting: str, tmp_path: Path) -> None:
    run_in(tmp_path, [])
    (tmp_path / "metrics.csv").write_text("FID,images_per_second,images_seen,step\n1.0,nan,inf,10\n")
    (tmp_path / "config.yaml").write_text(f"checkpoint: {setting}")
    assert "nan" in Page(reporting.html([tmp_path])).text


def test_a_run_without_figures_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").touch()
    assert "no metrics.csv" in Page(reporting.html([tmp_path])).text


def test_bad_input_gets_a_line(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    run = run_in(tmp_path / "runs" / "GAN-Digits" / "one", LOSS)
    cases = {
        "there is no folder": [str(tmp_path / "nowhere")],
        f"the newest within it is {run}": [str(tmp_path / "runs")],
        "is not the folder of a run": [str(run / "samples")],
        "give the run's folder": [str(run / "metrics.csv")],
        "a page's name ends in .html": [str(run), "--out", str(run / "metrics.csv")],
        "RUN": [],
    }
    for told, args in cases.items():
        with pytest.raises(SystemExit) as end:
            report.main(args)
        said = capfd.readouterr().err
        assert end.value.code == 2 and told in said and said.count("\n") == 1 and "Traceback" not in said
    out = tmp_path / "new" / "page.html"
    report.main([str(run), "--out", str(out)])
    assert capfd.readouterr().out == f"{out}\n" and "P8000" in Page(out.read_text()).text


def test_a_report_that_cannot_be_made_costs_a_warning(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="report of the run could not be made: .*not the folder of a run"):
        assert reporting.keep(tmp_path) is None
    run_in(tmp_path / "run", LOSS)
    assert reporting.keep(tmp_path / "run").read_text().startswith("<!doctype html>")


# What the page says


def test_the_page_holds_all_that_it_shows(tmp_path: Path) -> None:
    page = Page(reporting.html([run_in(tmp_path / "GAN-Digits" / "one", [*LOSS, scored(20.5)])]))
    for told in ("GAN on Digits", "GAN-Digits/one", "P8000, 2 cores, torch 2.14", "20.5 at step 10", "seed_everything"):
        assert told in page.text
    facts = dict(re.findall(r" (steps|images|time) +([\d.,]+(?: min)?) ", page.text))
    assert facts == {"steps": "40", "images": "256", "time": "30.0 min"}
    sources = [attrs["src"] for _, attrs in page.tags if "src" in attrs]
    assert sources and all(source.startswith("data:image/") for source in sources)
    assert not [tag for tag, _ in page.tags if tag in ("link", "iframe", "object")]
    links = [attrs["href"] for _, attrs in page.tags if "href" in attrs]
    assert all(link.startswith("https://arxiv.org/abs/") for link in links)
    levels = []
    for source in (one for one in sources if one.startswith("data:image/png")):
        with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as picture:
            levels.append(picture.getpixel((0, 0))[0])
    assert levels == [0, 40, 80]
    assert [attrs.get("max") for tag, attrs in page.tags if tag == "input"] == ["2"]
    assert {"loss", "FID-digits"} <= {attrs["alt"] for tag, attrs in page.tags if tag == "img"}


def test_names_with_html_in_them_are_text(tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>"
    rows = [{f"{bad}/loss": 1.0, "health": bad, "step": 1}, scored(2.0, data=bad)]
    folder = run_in(tmp_path / "<b>bold&amp;" / "one", rows, arguments={"name": bad})
    (folder / "samples" / "step-000099.txt").write_text(f"{bad} & more\n")
    (folder / "machine.json").write_text(json.dumps({"processor": bad}))
    page = Page(reporting.html([folder, folder]))
    assert [tag for tag, _ in page.tags].count("script") == 1 and "b" not in {tag for tag, attrs in page.tags if attrs}
    assert page.text.count(bad) >= 8 and "<b>bold&amp;/one" in page.text


def test_scores_of_different_cards_never_share_a_column(tmp_path: Path) -> None:
    folders = [
        run_in(tmp_path / "a", [*LOSS, scored(1.0)]),
        run_in(tmp_path / "b", [*LOSS, scored(2.0, model="DCGAN", data="another name")]),
        run_in(tmp_path / "c", [*LOSS, scored(3.0, n_fake=50)]),
        run_in(tmp_path / "d", LOSS),
        run_in(tmp_path / "e", [{"FID-digits": 4.0, "IS": 5.0, "IS/card": {"n_fake": 50}, "step": 3}]),
        run_in(tmp_path / "f", [{"FID-digits": 6.0, "FID-digits/card": "{", "step": 3}]),
    ]
    runs = [RunFolder.read(folder) for folder in folders]
    made = columns(runs)
    values = [[one and one.value for one in newest] for name, _, newest in made if name == "FID-digits"]
    assert values == [
        [1.0, 2.0, None, None, None, None],
        [None, None, 3.0, None, None, None],
        [None, None, None, None, 4.0, None],  # its row's only card
        [None, None, None, None, None, 6.0],
    ]
    signs, cards = signs_of(made)
    assert len(set(signs[:4])) == 4 and set(cards) == set(signs)
    table = Page(reporting.html(folders[:4])).table[:5]
    assert table[0] == ["run", "FID-digitsa", "FID-digitsb"]
    assert [row[1:] for row in table[1:]] == [["1", "–"], ["2", "–"], ["–", "3"], ["–", "–"]]


def test_curves_of_different_cards_never_share_a_panel(tmp_path: Path) -> None:
    cards = ({}, {"n_fake": 50}, {})
    folders = [run_in(tmp_path / str(n), [*LOSS, scored(1.0 + n, **card)]) for n, card in enumerate(cards)]
    drawn = {}
    with patch("gan_lightning.reporting.pictures._svg", lambda title, lines: drawn.update({title: lines}) or b""):
        reporting.html(folders)
    assert {name: list(lines) for name, lines in drawn.items()} == {
        "generator/loss": ["1", "2", "3"],
        "FID-digits (a)": ["1", "3"],
        "FID-digits (b)": ["2"],
    }


def test_the_settings_that_differ_are_told(tmp_path: Path) -> None:
    folders = [run_in(tmp_path / str(n), LOSS, arguments={"n_critic": n, "width": 8}) for n in (1, 5)]
    rows = Page(reporting.html(folders)).table
    assert ["model.n_critic", "1", "5"] in rows and not [row for row in rows if row[0] == "model.width"]


def test_a_long_run_shows_few_grids_and_small_ones(tmp_path: Path) -> None:
    folder = run_in(tmp_path, LOSS, grids=40)
    Image.effect_noise((1600, 800), 90).save(folder / "samples" / "step-000390.png")
    page = Page(reporting.html([folder]))
    shown = [attrs for tag, attrs in page.tags if tag == "img" and attrs["alt"].startswith("samples")]
    assert len(shown) == 16 and (shown[0]["alt"], shown[-1]["alt"]) == ("samples at step 0", "samples at step 390")
    assert (shown[-1]["width"], shown[-1]["height"]) == ("768", "384")


# What to try


def found(folder: Path, rows: list[dict[str, Any]], **options: Any) -> dict[str, str]:
    """Titles of the findings, with evidence and advice."""
    run = RunFolder.read(run_in(folder, rows, **options))
    return {one.title: f"{one.evidence} {' '.join(one.advice)}" for one in findings(run)}


def accuracies(real: float, fake: float) -> list[dict[str, Any]]:
    return [{"discriminator/accuracy_real": real, "discriminator/accuracy_fake": fake, "step": n} for n in range(1, 9)]


def test_a_healthy_run_has_no_finding(tmp_path: Path) -> None:
    rows = [*curve("generator/deviation", 0.1, 0.4, 0.35, 0.4), *accuracies(0.9, 0.7), scored(20.0), scored(19.0, 20)]
    rows += [*curve("overfitting/r_v", 0.3), *curve("images_seen", 64000.0)]
    assert found(tmp_path, rows, arguments={"step": {"ema_half_life": 10_000.0, "ema_rampup": 0.05}}) == {}


def test_collapse_is_told_by_the_alarm_and_by_the_deviation(tmp_path: Path) -> None:
    told = found(tmp_path / "a", [{"health": "the generator has collapsed: at step 40", "step": 40}])
    assert "at step 40" in told["The generator has collapsed"] and "2501.05441" in told["The generator has collapsed"]
    told = found(tmp_path / "b", curve("generator/deviation", 0.1, 0.4, 0.4, 0.03), model="R3GAN")
    assert "is 0.03, and was 0.4" in told["The generator has collapsed"]
    assert "--model.gamma" in told["The generator has collapsed"]
    assert not found(tmp_path / "c", curve("generator/deviation", 0.1, 0.4, 0.4, 0.05))


def test_a_discriminator_that_wins_is_told_its_rate(tmp_path: Path) -> None:
    arguments = {"discriminator_optimizer": {"class_path": "PaperAdam", "init_args": {"lr": 4e-4}}, "n_critic": 3}
    told = found(tmp_path / "a", accuracies(0.94, 0.98), arguments=arguments)["The discriminator wins"]
    for words in ("96%", "--model.discriminator_optimizer.lr 0.0002", "--model.n_critic 1", "+=Overfitting"):
        assert words in told
    assert not found(tmp_path / "b", accuracies(0.94, 0.95), arguments=arguments)
    assert not found(tmp_path / "c", accuracies(1.0, 1.0), model="WGANGP"), "a critic is to tell them apart"


def test_overfitting_asks_for_augmentation(tmp_path: Path) -> None:
    told = found(tmp_path / "a", curve("overfitting/r_v", 0.1, 0.7))["The discriminator knows its images by heart"]
    assert "0.7" in told and "DiffAugment" in told and "2006.06676" in told
    assert not found(tmp_path / "b", curve("overfitting/r_v", 0.7, 0.6))


@pytest.mark.parametrize(
    ("images", "half_life", "ramp_up", "lags"),
    [
        (10_000, 10_000.0, None, True),  # a half is left
        (60_000, 10_000.0, None, True),  # 1.6 %
        (70_000, 10_000.0, None, False),  # 0.8 %
        (10_000, 10_000.0, 0.05, False),  # the ramp-up bounds the half-life to 500 images: a millionth
        (10_000, [10_000.0, 5.0], 0.5, True),  # to 5000: a quarter
        (10_000, {"class_path": "Cosine"}, None, False),  # a schedule is not known here
    ],
)
def test_an_average_lags_that_is_still_of_the_first_weights(
    tmp_path: Path, images: int, half_life: Any, ramp_up: float | None, lags: bool
) -> None:
    step = {"ema_half_life": half_life, "ema_rampup": ramp_up}
    told = found(tmp_path / "a", curve("images_seen", images), arguments={"step": step})
    assert bool(told) == lags and (not lags or "2006.06676" in told["The average lags behind"])
    paired = found(tmp_path / "b", curve("images_seen", 2 * images), arguments={"step": step}, model="R3GAN")
    assert bool(paired) == lags, "R3GAN's players see a batch each: its clock counts one of them"


def test_a_score_that_got_worse_is_told(tmp_path: Path) -> None:
    told = found(tmp_path / "a", [scored(20.0, 10), scored(23.0, 20)])["The best was earlier"]
    assert "20 at step 10" in told and "23 at step 20" in told
    assert not found(tmp_path / "b", [scored(20.0, 10), scored(21.0, 20)])


# In a browser


def test_the_page_works_in_a_browser(tmp_path: Path) -> None:
    """From the file itself: no error, no request, a slider that moves, a figure in view, no page that is too wide."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium")
    folders = [run_in(tmp_path / name, [*LOSS, scored(20.0)]) for name in "ab"]
    path = tmp_path / "report.html"
    path.write_text(reporting.html(folders), "utf-8")
    services = [f"--disable-{name}" for name in ("background-networking", "component-update", "sync")]
    quiet = ["--no-sandbox", "--disable-gpu", "--no-first-run", *services]
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=quiet)
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        told: list[str] = []
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("request", lambda request: request.url.startswith("data:") or told.append(request.url))
        page.goto(path.as_uri())
        slider = page.locator(".grids").nth(1)
        assert slider.locator("figcaption:visible").all_inner_texts() == ["step 20"]
        before = slider.locator("img:visible").screenshot()
        slider.locator("input").fill("1")
        assert slider.locator("figcaption:visible").all_inner_texts() == ["step 10"]
        after = slider.locator("img:visible").screenshot()
        levels = [Image.open(io.BytesIO(shot)).convert("RGB").getpixel((30, 15))[0] for shot in (before, after)]
        assert levels == [80, 40]
        assert page.locator(".grids").nth(0).locator("figcaption:visible").all_inner_texts() == ["step 20"]
        figure = page.locator("img.curves").first
        figure.scroll_into_view_if_needed()
        shot = Image.open(io.BytesIO(figure.screenshot())).convert("RGB")
        assert len(shot.getcolors(2**24)) > 20, "the panel is blank"
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, "a phone would scroll sideways"
        browser.close()
    assert told == [path.as_uri()]
