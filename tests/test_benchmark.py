"""`benchmark`: rows of runs, and the page that is written from them."""

from __future__ import annotations

import io
import json
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

from gan_lightning import benchmark, fit, models
from gan_lightning.cli import measuring, results
from gan_lightning.core import ImageGenerator
from gan_lightning.runtime import runs

ROOT = Path(__file__).parents[1]
ARENA = ROOT / "benchmarks" / "arena.yaml"
CONFIG = """
model:
  class_path: GAN
  init_args:
    generator: {class_path: MLPGenerator, init_args: {latent_dim: 2, width: 4}}
    discriminator: {class_path: MLPDiscriminator, init_args: {width: 4}}
data: {class_path: Digits, init_args: {size: 8, batch_size: 16}}
trainer: {max_steps: 2, logger: false, enable_progress_bar: false, accelerator: cpu}
"""
MACHINE = {"processor": "P", "cores": 2, "threads": 1, "torch": "2.14", "lightning": "2.6"}


def row(**fields: object) -> results.Row:
    made = {"model": "GAN", "config": "a.yaml", "flags": [], "seed": 0, "date": "2026-01-01", "machine": MACHINE}
    return made | {"cost": {"seconds": 60, "steps": 1000}, "scores": {"FID": 1.0}} | fields


# Rows and tables.


def test_the_page_shows_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make results` has been run, and no file of rows is left out."""
    monkeypatch.chdir(ROOT)
    text = results.PAGE.read_text("utf-8")
    assert results.page(text) == text
    assert not results.unused(text)
    for found in results.ROWS.glob("*.json"):
        rows = results.read(found)
        assert found.read_text("utf-8") == results.text_of(rows), "one row a line"
        for one in rows:
            assert "origin" in one or {"seed", "commit", "machine", "cost"} <= one.keys(), found  # by hand too
            assert "picture" not in one or (results.IMAGES / one["picture"]).exists(), one["picture"]
            assert "origin" in one or (results.IMAGES / one.get("picture", "")).stat().st_size <= measuring.MOST


def test_a_table_of_seeds_and_models(tmp_path: Path) -> None:
    rows = [row(seed=seed, scores={"FID": value}) for seed, value in ((2, 5.0), (0, 1.0), (1, 3.0))]
    rows += [row(model="B", flags=["--x", "1"], scores={"FID": 2.5, "FID/std": 0.25}, picture="b.png", note="c | d")]
    rows += [{"model": "Old", "config": "`b.yaml`, wide", "cost": {"seconds": "2 min"}, "scores": {"FID": "1,2"}}]
    (tmp_path / "x.json").write_text(results.text_of(rows))
    columns = "model | config | steps | cost = time | FID | FID, steps = both | note | picture"
    header = f"<!-- results: x, by FID | {columns} -->\n"
    page = results.page(f"`<!-- results: y -->`\n{header}what stood here\n<!-- end -->\nbelow", tmp_path)
    begin, how, empty, *lines, end, below = page.splitlines()[1:]
    # The mean of 1, 3 and 5 is 3, their sample standard deviation 2; the least mean stands first.
    assert [begin + "\n", empty, end, below] == [header, "", "<!-- end -->", "below"]
    assert how == "Of the rows measured last: 1 thread of P; torch 2.14, lightning 2.6; seeds 0, 1, 2; 2026-01-01."
    assert lines == [
        "| model | config | steps | time | FID | both | note | |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        "| B | `a.yaml --x 1` | 1,000 | 1 min | 2.50 ± 0.25 | 2.50 ± 0.25, 1,000 | c \\| d | ![B](images/b.png) |",
        "| GAN | `a.yaml`, seeds 0, 1, 2 | 1,000 | 1 min | 3.0 ± 2.0 | 3.0 ± 2.0, 1,000 | | |",
        "| Old | `b.yaml`, wide | | 2 min | 1,2 | 1,2 | | |",
    ]
    assert results.page(page, tmp_path) == page
    by_hand = [{"what": word, "seed": 0, "scores": {"FID": 1.0}} for word in ("a", "b")]
    assert results.grouped(by_hand) == [[one] for one in by_hand]
    with pytest.raises(ValueError, match="no row of .*x.json has a KID"):
        results.page("<!-- results: x | model | KID -->\n<!-- end -->", tmp_path)
    assert "no rows in" in results.page("<!-- results: z | model -->\n<!-- end -->", tmp_path)
    assert results.unused(page, tmp_path) == [] and results.unused("", tmp_path) == ["x"]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (results.with_deviation(93.2, 8.52), "93.2 ± 8.5"),
        (results.with_deviation(1201.4, 94.2), "1201 ± 94"),
        (results.with_deviation(0.00123, 0.000456), "0.00123 ± 0.00046"),
        (results.with_deviation(10.0, 0.0), "10 ± 0"),
        (results.duration(362), "6 min 2 s"),
        (results.duration(7261), "2 h 1 min"),
        (results.duration(59.6), "1 min"),
    ],
)
def test_numbers_are_shown_as_people_write_them(shown: str, expected: str) -> None:
    assert shown == expected


def test_rows_are_added_whole_and_replace_their_own(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.json"
    threads = [threading.Thread(target=results.add, args=(path, row(seed=seed))) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one["seed"] for one in results.read(path)) == list(range(8))
    results.add(path, row(seed=3, scores={"FID": 7.0}))
    results.add(path, row(seed=3, budget="8m"))  # another run
    lines = path.read_text().splitlines()
    assert len(lines) == 9 + 2 and json.loads(lines[-2])["budget"] == "8m"
    assert [one["scores"]["FID"] for one in results.read(path) if one["seed"] == 3] == [7.0, 1.0]
    path.write_text('{"seed": 1}')
    with pytest.raises(ValueError, match="x.json is no list of rows"):
        results.add(path, row())


# The command.


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "name a config"),
        (["no.yaml"], "there is no config no.yaml"),
        (["a.yaml", "--budget", "8"], "--budget 8: write 90s, 8m or 1h"),
        (["a.yaml", "--metrics", "fidd"], "did you mean 'fid'?"),
        (["a.yaml", "--seeds", "0,x"], "argument --seeds"),
        (["a.yaml", "--into", "a/b"], "--into a/b"),
        (["--suite", "a.yaml"], "--suite a.yaml: expected `NAME:`"),
        (["--suite", "s.yaml", "--into", "on"], "--into on: s.yaml has no such list, did you mean 'one'?"),
        (["--page"], "docs/results.md: No such file"),
    ],
)
def test_bad_input_is_answered_in_a_line(
    args: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text("model: GAN\n")
    Path("s.yaml").write_text("one: [a.yaml --data MNIST]\ntwo: [a.yaml]\n")
    with pytest.raises(SystemExit) as end:
        benchmark.main(args)
    err = capsys.readouterr().err
    assert end.value.code == 2 and said in err and err.count("\n") == 1


def test_a_suite_lists_command_lines(tmp_path: Path) -> None:
    suite, config = tmp_path / "s.yaml", tmp_path / "a.yaml"
    config.write_text("")
    suite.write_text(f"one:\n  - {config} --data MNIST\ntwo: [{config}]\n")
    found = benchmark.runs_of([], None, suite, ["--x=1"], [0, 5])
    assert [(run.into, run.flags, run.seed) for run in found] == [
        ("one", ["--data", "MNIST", "--x=1"], 0),
        ("one", ["--data", "MNIST", "--x=1"], 5),
        ("two", ["--x=1"], 0),
        ("two", ["--x=1"], 5),
    ]
    assert [run.into for run in benchmark.runs_of([], "two", suite, [], [0])] == ["two"]


@pytest.fixture
def in_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A folder to work in, where `fit` runs in this process; the command lines that it was given."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "git_commit", lambda *paths: ("0123456789abcdef", False))
    given: list[list[str]] = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        assert command[1:3] == ["-m", "gan_lightning.fit"]
        given.append(command[3:])
        try:
            fit.main(command[3:])
        except SystemExit as end:
            return SimpleNamespace(returncode=end.code)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(measuring, "subprocess", SimpleNamespace(run=run))
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "digits.yaml").write_text(CONFIG)
    return given


def test_runs_become_rows(in_process: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    args = ["tiny/digits.yaml", "--seeds", "3,4", "--n", "20", "--metrics", "fid,is"]
    benchmark.main(args)
    rows = results.read(results.ROWS / "tiny-digits.json")
    assert [one["seed"] for one in rows] == [3, 4] and len(in_process) == 2
    for one in rows:
        assert (one["model"], one["config"], one["flags"]) == ("GAN", "digits.yaml", [])
        assert (one["commit"], one["dirty"], "budget" in one) == ("0123456789", False, False)
        assert (one["cost"]["steps"], one["cost"]["images"]) == (2, 32)
        assert 0 < one["cost"]["training_seconds"] <= one["cost"]["seconds"] + 0.1
        assert list(one["scores"]) == ["FID-digits", "IS-digits", "IS-digits/std"] and one["scores"]["FID-digits"] > 0
        (card,) = one["cards"]
        assert (card["n_fake"], card["n_real"], card["weights"]) == (20, 1500, "ema") and "step" not in card
        assert not {"gpu", "host"} & one["machine"].keys() and one["machine"]["threads"] >= 1
    assert rows[0]["scores"] != rows[1]["scores"]
    assert [one.get("picture") for one in rows] == ["tiny-digits-gan.png", None]  # the first seed's
    assert Image.open(results.IMAGES / "tiny-digits-gan.png").mode == "L"
    assert str(Path.cwd()) not in (results.ROWS / "tiny-digits.json").read_text()

    benchmark.main(args)
    assert len(in_process) == 2 and "has a row in results/tiny-digits.json" in capsys.readouterr().out
    benchmark.main([*args[:1], "--seeds", "4", *args[3:], "--again"])
    assert len(in_process) == 3
    assert [one["seed"] for one in results.read(results.ROWS / "tiny-digits.json")] == [3, 4]


def test_a_run_that_fails_does_not_stop_the_others(
    in_process: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("tiny/bad.yaml").write_text(CONFIG.replace("width: 4", "widht: 4"))
    with pytest.raises(SystemExit) as end:
        benchmark.main(
            ["tiny/bad.yaml", "tiny/digits.yaml", "--budget", "1s", "--into", "both", "--n", "20", "--", "--x=1"]
        )
    err = capsys.readouterr().err
    assert end.value.code == 1
    assert "error: tiny/bad.yaml --x=1, seed 0: fit ended with exit code 2" in err and not results.ROWS.exists()
    with pytest.raises(SystemExit) as end:
        flags = ["--data.batch_size", "8"]
        benchmark.main(
            ["tiny/bad.yaml", "tiny/digits.yaml", "--budget", "1s", "--into", "both", "--n", "20", "--", *flags]
        )
    (found,) = results.read(results.ROWS / "both.json")
    assert end.value.code == 1 and (found["budget"], found["flags"]) == ("1s", flags)
    assert (
        1 <= found["cost"]["training_seconds"] < 20 and found["cost"]["steps"] > 2
    )  # the time, not the config's steps


@pytest.mark.parametrize(
    ("seconds", "limit"), [(90, "00:00:01:30"), (8 * 60, "00:00:08:00"), (26 * 3600, "01:02:00:00")]
)
def test_a_budget_is_a_limit_of_time(seconds: int, limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = []
    run = lambda command, check: given.extend(command) or subprocess.CompletedProcess(command, 1)  # noqa: E731
    monkeypatch.setattr(measuring.subprocess, "run", run)
    with pytest.raises(RuntimeError, match="exit code 1"):
        measuring.trained(results.Run("a.yaml", ["--x"], 7, None), SimpleNamespace(seconds=seconds, trust=["mine"]))
    last = {flag.split("=")[0]: flag.split("=")[-1] for flag in given}
    assert (
        last["--trainer.max_time"] == limit
        and last["--seed_everything"] == "7"
        and given[-3:] == ["--trust", "mine", "--x"]
    )
    assert (last["--trainer.max_steps"], last["--trainer.callbacks"]) == ("-1", "null")
    assert given.index("--config=a.yaml") < given.index(f"--trainer.max_time={limit}")


def test_a_picture_fits_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for name, pixels in {
        "noise": random.integers(0, 256, (400, 500, 3), dtype=np.uint8),
        "grey": random.integers(0, 256, (40, 50, 1), dtype=np.uint8).repeat(3, 2),
    }.items():
        Image.fromarray(pixels).save(f"{name}.png")
        assert measuring.keep_picture(Path(f"{name}.png"), f"{name}.png") == f"{name}.png"
        kept = (results.IMAGES / f"{name}.png").read_bytes()
        assert len(kept) <= 60_000
    assert np.array_equal(Image.open(io.BytesIO(kept)), pixels[..., 0])  # the small one, as it was


def test_no_row_names_a_folder_of_the_machine() -> None:
    run = results.Run(
        "a.yaml", ["--data.root", "/somewhere/of/mine", "--data.path=/x/y.txt", "--data.lr", "1/2"], 0, None
    )
    assert measuring.identity(run, None)["flags"] == ["--data.root", "mine", "--data.path=y.txt", "--data.lr", "1/2"]


def test_the_arena_has_every_model_of_images() -> None:
    """But those of pairs, of one picture and of captions."""
    suite = benchmark.suite_of(ARENA)
    kinds = {name for name in models.__all__ if issubclass(getattr(models, name), ImageGenerator)}
    for lines in suite.values():
        configs = [yaml.safe_load((ROOT / line.split()[0]).read_text()) for line in lines]
        assert {config["model"]["class_path"] for config in configs} == kinds - {"CoGAN", "SinGAN", "StackGAN"}
    assert all("MNIST" in line or "mnist" in line for line in suite["arena-mnist"])
