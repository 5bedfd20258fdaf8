"""The pictures that a run ends with: curves of its figures, and a film of its samples."""

from __future__ import annotations

import random
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Noisy, assert_same, game, plain_networks, played, quiet, tensors, tiny
from lightning.pytorch.loggers import CSVLogger
from PIL import Image

from gan_lightning.callbacks import RunSummary, SampleGrid, run_summary
from gan_lightning.callbacks.run_summary import draw_curves, means, panels, read_curves, save_film

# Curves


def test_figures_are_read_where_they_have_a_value(tmp_path: Path) -> None:
    """Not of a card, nor of a line that a crash has cut off; a value that is no number is a gap in its curve."""
    path = tmp_path / "metrics.csv"
    path.write_text('FID,FID/card,generator/loss,step\n,,0.5,2\n7.25,"{""n"": 3}",,2\n,,nan,4\n,,0.25,6\n,,0.1\n')
    curves = read_curves(path)
    assert curves["FID"] == ([2], [7.25])
    steps, losses = curves["generator/loss"]
    assert steps == [2, 4, 6] and losses[::2] == [0.5, 0.25] and np.isnan(losses[1])
    assert set(curves) == {"FID", "generator/loss", "step"}


def test_one_panel_a_subject_and_a_score() -> None:
    names = [
        *(f"critic/{name}" for name in ("loss", "wasserstein", "penalty", "gradient_norm", "accuracy_real")),
        *(f"generator/{name}" for name in ("loss", "wasserstein", "gradient_norm", "learning_rate_1", "deviation")),
        *("FID-digits", "IS-digits", "IS-digits/std", "NDCG@10", "NDCG@10/popularity", "AtoB/l1", "augment/p", "k"),
        *("step", "epoch", "hours", "images_seen", "images_per_second"),
    ]
    found = panels(names)
    assert list(found) == [
        *("loss", "critic: terms", "accuracy", "gradient norm", "learning rate", "deviation"),
        *("FID-digits", "IS-digits", "NDCG@10", "AtoB/l1", "augment/p", "k"),
    ]
    assert found["loss"] == {"critic": "critic/loss", "generator": "generator/loss"}
    assert found["critic: terms"] == {"wasserstein": "critic/wasserstein", "penalty": "critic/penalty"}
    assert found["accuracy"] == {"critic real": "critic/accuracy_real"}
    assert found["learning rate"] == {"generator 1": "generator/learning_rate_1"}
    assert list(found["NDCG@10"]) == ["NDCG@10", "NDCG@10/popularity"] and list(found["IS-digits"]) == ["IS-digits"]


def test_scores_are_not_too_many() -> None:
    assert list(panels(["a/loss", *(f"score{n}" for n in range(40))])) == ["loss", *(f"score{n}" for n in range(12))]


def test_long_curves_are_of_means() -> None:
    assert means(([2, 4], [1.0, 3.0])) == ([2, 4], [1.0, 3.0])
    steps, values = means((list(range(1, 202)), [float(n % 5) for n in range(1, 202)]))  # 40 fives, and one
    assert steps == [*range(3, 201, 5), 201] and values == [2.0] * 40 + [1.0]


def test_panels_show_the_figures() -> None:
    curves = {
        "generator/loss": ([10, 20, 30], [3.0, -1.0, 2.0]),
        "generator/gradient_norm": ([10, 20, 30], [0.1, 1.0, 10.0]),
        "FID_$x$": ([30], [12.5]),
    }
    loss, norm, score = draw_curves(curves).axes
    assert [ax.get_title() for ax in (loss, norm, score)] == ["loss", "gradient norm", "FID_$x$"]
    for ax, (steps, values) in zip((loss, norm, score), curves.values(), strict=True):
        (line,) = ax.lines
        assert line.get_xdata().tolist() == steps and line.get_ydata().tolist() == values
        assert line.get_marker() == "o"  # a single point has no line
        assert ax.get_xlim()[0] == 0 and ax.get_xlim()[1] >= 30 and ax.get_xlabel() == "generator steps"
    assert norm.get_yscale() == "log" and {loss.get_yscale(), score.get_yscale()} == {"linear"}
    assert loss.get_legend().get_texts()[0].get_text() == "generator" and score.get_legend() is None


# The film


def paint(folder: Path, number: int, level: int, size: tuple[int, int] = (20, 10)) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"step-{number:06d}.png"
    Image.new("RGB", size, (level, level, level)).save(path)
    return path


def frames(path: Path) -> tuple[list[int], list[int]]:
    """The grey level of each frame's first pixel, and its milliseconds."""
    levels, durations = [], []
    with Image.open(path) as film:
        for number in range(film.n_frames):
            film.seek(number)
            levels.append(film.convert("RGB").getpixel((0, 0))[0])
            durations.append(film.info["duration"])
    return levels, durations


def test_a_film_shows_the_grids_in_order_and_holds_the_last(tmp_path: Path) -> None:
    pictures = [paint(tmp_path, n, 50 * n) for n in range(5)]
    film = save_film(pictures, tmp_path / "progress.gif")
    assert frames(film) == ([0, 50, 100, 150, 200], [100, 100, 100, 100, 2000])
    with Image.open(film) as image:
        assert image.size == (20, 10) and image.info["loop"] == 0


def test_a_film_is_neither_long_nor_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_summary, "FRAMES", 4)
    pictures = [paint(tmp_path, n, 20 * n, (1024, 256)) for n in range(10)]
    film = save_film(pictures, tmp_path / "progress.gif")
    assert frames(film)[0] == [0, 60, 120, 180]  # the first, every third, the last
    with Image.open(film) as image:
        assert image.size == (512, 128)


def test_a_film_needs_two_pictures_of_one_size(tmp_path: Path) -> None:
    """A run that goes on with grids of another size has a film of these."""
    others = [paint(tmp_path, n, 10, (8, 8)) for n in range(2)]
    pictures = [paint(tmp_path, n, 90 * n) for n in range(2, 4)]
    assert save_film([], tmp_path / "a.gif") is save_film([*others, pictures[0]], tmp_path / "a.gif") is None
    assert not (tmp_path / "a.gif").exists()
    assert len(frames(save_film(others + pictures, tmp_path / "b.gif"))[0]) == 2


# A run


def state() -> list:
    return [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()]


def test_a_run_ends_with_both_and_trains_as_without(tmp_path: Path) -> None:
    """A grid of a step that this run has not reached is of another one."""
    weights, states = [], []
    paint(tmp_path / "samples", 90, 0, (38, 38))
    for summary in (None, RunSummary()):
        model = tiny("DCGAN", plain_networks())
        callbacks = [SampleGrid(every_n_steps=2, rows=2)] + [summary] * (summary is not None)
        trainer = quiet(
            max_steps=6,
            log_every_n_steps=1,
            default_root_dir=tmp_path,
            callbacks=callbacks,
            logger=CSVLogger(tmp_path, name="", version=""),
        )
        trainer.fit(model, Noisy())
        weights.append(tensors(model)), states.append(state())
        if summary is None:
            assert not list(tmp_path.glob("*.gif")) and not list(tmp_path.glob("curves.png"))
    assert_same(*weights)
    assert_same(*states)
    assert (summary.curves, summary.progress) == (tmp_path / "curves.png", tmp_path / "progress.gif")
    assert len(frames(summary.progress)[0]) == 3
    with Image.open(summary.progress) as film, Image.open(tmp_path / "samples.png") as newest:
        film.seek(2)
        assert np.array_equal(film.convert("RGB"), newest.convert("RGB"))
    with Image.open(summary.curves) as image:
        assert image.size[0] == 1200 and len(image.convert("RGB").getcolors(2**24)) > 50


def test_what_cannot_be_drawn_costs_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space\nleft")

    monkeypatch.setattr(run_summary, "draw_curves", fail)
    summary = RunSummary()
    trainer = quiet(
        max_steps=2,
        log_every_n_steps=1,
        default_root_dir=tmp_path,
        callbacks=[SampleGrid(every_n_steps=1, rows=2), summary],
        logger=CSVLogger(tmp_path, name="", version=""),
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        trainer.fit(tiny("DCGAN", plain_networks()), Noisy())
    assert ["no space left" in str(w.message) for w in told if "picture" in str(w.message)] == [True]
    assert summary.curves is None and summary.progress is not None and trainer.global_step == 2


def test_a_run_of_sentences_has_no_film(tmp_path: Path) -> None:
    summary = RunSummary()
    trainer = quiet(
        max_steps=4,
        log_every_n_steps=1,
        default_root_dir=tmp_path,
        callbacks=[SampleGrid(every_n_steps=1, rows=1), summary],
        logger=CSVLogger(tmp_path, name="", version=""),
    )
    trainer.fit(game("SeqGAN"), played("SeqGAN"))
    assert summary.curves.exists() and summary.progress is None and len(list(tmp_path.glob("samples/*.txt"))) == 4


def test_a_run_without_a_csv_file_has_no_curves(tmp_path: Path) -> None:
    summary = RunSummary()
    quiet(max_steps=1, default_root_dir=tmp_path, callbacks=[summary]).fit(tiny("DCGAN", plain_networks()), Noisy())
    assert summary.curves is None and summary.progress is None and not list(tmp_path.iterdir())
