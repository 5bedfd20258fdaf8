"""Scores and pictures of translators while they train: right, the same on any number of processes, without a trace."""

from __future__ import annotations

import csv
import json
import os
import warnings
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from conftest import (
    TRANSLATORS,
    NoisyBatches,
    assert_same,
    in_two_processes,
    plain_networks,
    quiet,
    tensors,
    tiny,
    trained,
    translator,
)
from lightning.pytorch.loggers import CSVLogger
from PIL import Image
from scipy.ndimage import gaussian_filter
from test_scores import Pixels
from test_translate import Doubled, Gain, Linear, Negatives
from torch import Tensor, nn

from gan_lightning import evaluate, fit
from gan_lightning.batches import Paired
from gan_lightning.callbacks import Checkpoint, SampleGrid, TranslationScores, When
from gan_lightning.callbacks.sample_grid import side_by_side
from gan_lightning.core import ImageShape, Step
from gan_lightning.core.translator import Translator
from gan_lightning.data.sets import Split
from gan_lightning.metrics import DigitFeatures, PairScores, frechet_distance

SHAPE = (1, 16, 24)


class Learning(Linear):
    """Learns, with batch norm, dropout, and noise in evaluation too."""

    pairs: ClassVar = {"AtoB": ("made", "target"), "noisy": ("noisy", "target")}

    def __init__(self, image_shape: ImageShape = SHAPE, step: Step = Step()) -> None:
        adam = partial(torch.optim.Adam, lr=1e-2)
        channels = image_shape[0]
        network = nn.Sequential(
            nn.Conv2d(channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, channels, 1)
        )
        Translator.__init__(self, image_shape, network, None, adam, adam, step)

    def columns(self, batch: Paired) -> dict[str, Tensor]:
        return super().columns(batch) | {"noisy": torch.rand_like(batch.target.float())}


class Named(Linear):
    """With attributes from its data, and an error rate."""

    def __init__(self, image_shape: ImageShape, attributes: list[str], step: Step = Step()) -> None:
        still = partial(torch.optim.SGD, lr=0.0)
        Translator.__init__(self, image_shape, Gain(0.0, 1), None, still, still, step)
        self.attributes = attributes

    def translate(self, image: Tensor, attributes: dict[str, bool] | None = None) -> Tensor:
        return super().translate(image)

    def validation_step(self, batch: Paired, batch_idx: int) -> None:
        self.log("validation/error", 0.25)


class NamedData(Negatives):
    extractor = "DigitFeatures"
    attributes: ClassVar = ["Warm", "Large"]


class Trained(Negatives):
    """Without validation images."""

    def load(self, split: Split) -> Any:
        images = super().load("train")
        if split == "val":
            images.image = images.image[:0]
        return images


def pairs_of(n: int | None = None, shape: tuple[int, int, int] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """(n, C, H, W) float64 in [0, 1]: the validation set's sources and targets."""
    source = Negatives(shape).reference("val").image[:n].numpy() / 255
    return source, 1 - source


def scored(
    gain: float, scores: TranslationScores, shape: tuple[int, int, int] = SHAPE, **options: Any
) -> dict[str, float]:
    trained(Linear(shape, gain), 1, Negatives(shape), callbacks=[scores], **options)
    return scores.scores


def ssim_of(a: np.ndarray, b: np.ndarray) -> float:
    """Of one pair (C, H, W) in [0, 1], as Wang et al. 2004 write it."""

    def blur(x: np.ndarray) -> np.ndarray:
        return np.stack([gaussian_filter(channel, 1.5, truncate=3.5, mode="mirror") for channel in x])

    mean_a, mean_b, c1, c2 = blur(a), blur(b), 0.01**2, 0.03**2
    var_a, var_b, cov = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2, blur(a * b) - mean_a * mean_b
    top = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
    return float((top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())


# The figures.


@pytest.mark.parametrize("gain", [0.0, 0.5, 1.0])
def test_figures_are_those_of_the_formulas(gain: float) -> None:
    source, target = pairs_of()
    made = gain * (source - 0.5) + 0.5
    mse = ((made - target) ** 2).mean((1, 2, 3))
    found = scored(gain, TranslationScores(extractor=None))
    assert list(found) == ["l1", "psnr", "ssim"]
    assert found["l1"] == pytest.approx(np.abs(made - target).mean(), rel=1e-5)
    assert found["psnr"] == pytest.approx((10 * np.log10(1 / mse)).mean(), rel=1e-5)
    assert found["ssim"] == pytest.approx(
        np.mean([ssim_of(*pair) for pair in zip(made, target, strict=True)]), abs=1e-5
    )


def test_equal_images() -> None:
    found = scored(-1.0, TranslationScores(extractor=None))
    assert found["l1"] < 1e-7 and found["psnr"] > 140 and found["ssim"] == pytest.approx(1, abs=1e-6)
    exact = PairScores()
    image = torch.rand(2, 1, 16, 16)
    exact.update(image, image, (image.flatten(1), 4 * image.flatten(1)))
    figures = exact.compute()
    assert figures["l1"] == 0 and figures["psnr"] == torch.inf
    assert figures["ssim"].item() == pytest.approx(1, abs=1e-12) and figures["features"] < 1e-30


def test_images_smaller_than_the_window_have_no_ssim() -> None:
    assert list(scored(0.0, TranslationScores(extractor=None), (1, 8, 40))) == ["l1", "psnr"]
    for size, names in (((10, 40), ["l1", "psnr"]), ((11, 11), ["l1", "psnr", "ssim"])):
        scores = PairScores()
        scores.update(torch.zeros(1, 1, *size), torch.ones(1, 1, *size))
        assert list(scores.compute()) == names


def test_values_that_no_file_can_hold_are_clamped() -> None:
    far, white = torch.full((1, 1, 4, 4), 9.0), torch.ones(1, 1, 4, 4)
    scores = PairScores()
    scores.update(far, -white)
    assert scores.compute()["l1"] == 1 and scores.compute()["psnr"] == 0
    for bad, message in ((far * torch.nan, "not finite"), (far[..., :2], "do not compare")):
        with pytest.raises(ValueError, match=message):
            scores.update(bad, white)
    with pytest.raises(ValueError, match="no pairs"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        PairScores().compute()


def test_features_and_frechet_distances() -> None:
    source, target = (torch.from_numpy((255 * x).round()).byte() for x in pairs_of())
    found = scored(1.0, TranslationScores(Pixels(), batch_size=3))
    assert list(found) == ["l1", "psnr", "ssim", "features-pixels", "fid/AtoB-pixels"]
    made, wanted = (Pixels()(x).pooled.double() for x in (source, target))
    cosine = (made * wanted).sum(1) / (made.norm(dim=1) * wanted.norm(dim=1))
    assert found["features-pixels"] == pytest.approx(float((2 - 2 * cosine).mean()), rel=1e-6)
    moments = [m for x in (made, wanted) for m in (x.mean(0), x.T.cov())]
    assert found["fid/AtoB-pixels"] == pytest.approx(float(frechet_distance(*moments)), rel=1e-6)


def test_the_first_samples_alone() -> None:
    source, target = pairs_of(7)
    scores = TranslationScores(extractor=None, n=7, batch_size=2)
    assert scored(1.0, scores)["l1"] == pytest.approx(np.abs(source - target).mean(), rel=1e-5)
    assert scores.card["n"] == 7 and scores.card["split"] == "val" and scores.card["model"] == "Linear"


def test_the_extractor_that_the_data_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    scores = TranslationScores()
    trained(Linear((1, 16, 16)), 1, NamedData(), callbacks=[scores])
    assert isinstance(scores.extractor, DigitFeatures)
    assert {"features-digits", "fid/AtoB-digits"} < set(scores.scores)

    def missing(name: str) -> None:
        raise FileNotFoundError(f"{name}: there is no weights file")

    monkeypatch.setattr("gan_lightning.callbacks.scores.translation.extractor_named", missing)
    scores = TranslationScores()
    with pytest.warns(UserWarning, match="leaves features out: the weights of Inception cannot be had"):
        found = scored(0.0, scores)
    assert list(found) == ["l1", "psnr", "ssim"] and scores.card["extractor"] == "none"


def test_domains_alone_without_an_extractor_are_warned_of() -> None:
    class Unpaired(Linear):
        pairs: ClassVar = {}

    scores = TranslationScores(extractor=None)
    with pytest.warns(UserWarning, match="nothing that TranslationScores can say of Unpaired"):
        trained(Unpaired(SHAPE), 1, Negatives(SHAPE), callbacks=[scores])
    assert scores.scores == {}
    scores = TranslationScores(Pixels())
    trained(Unpaired(SHAPE), 1, Negatives(SHAPE), callbacks=[scores])
    assert list(scores.scores) == ["fid/AtoB-pixels"]


# When, and where to.


def test_figures_reach_loggers_and_the_best_checkpoint(tmp_path: Path) -> None:
    scores, best = (
        TranslationScores(Pixels(), when=When(every_n_steps=2)),
        Checkpoint(str(tmp_path), monitor="AtoB/psnr", mode="max"),
    )
    options = {"callbacks": [scores, best], "logger": CSVLogger(tmp_path, "", ""), "enable_checkpointing": True}
    trainer = trained(Learning(), 5, Negatives(SHAPE), **options)
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("AtoB/psnr")]
    assert [int(row["step"]) for row in rows] == [2, 4, 5]
    psnr = [float(row["AtoB/psnr"]) for row in rows]
    assert best.best_score == pytest.approx(max(psnr)) and best.best_step == (2, 4, 5)[int(np.argmax(psnr))]
    for name, value in scores.scores.items():
        assert trainer.callback_metrics[name].item() == value
        assert float(rows[-1][name]) == pytest.approx(value)
    noisy = [float(row["noisy/l1"]) for row in rows]
    assert noisy[0] == noisy[1] == noisy[2], "the same noise at every step"
    resumed = TranslationScores(Pixels(), when=When(every_n_steps=2))
    trained(Learning(), 5, Negatives(SHAPE), callbacks=[resumed], ckpt_path=tmp_path / "last.ckpt")
    assert resumed.scores == scores.scores and resumed.card == scores.card


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "64-true"])
def test_precision_does_not_matter(precision: str) -> None:
    expected = scored(0.5, TranslationScores(Pixels()))
    assert scored(0.5, TranslationScores(Pixels()), precision=precision) == pytest.approx(expected, rel=1e-5)


def after(callbacks: list, **options: Any) -> tuple[dict[str, Tensor], Tensor]:
    torch.manual_seed(1)
    model = Learning()
    trained(model, 4, Negatives(SHAPE), callbacks=callbacks, **options)
    return tensors(model), torch.get_rng_state()


def test_neither_scores_nor_pictures_leave_a_trace(tmp_path: Path) -> None:
    plain = after([])
    watched = after([TranslationScores(Pixels(), when=When(every_n_steps=1)), SampleGrid(1, 2, str(tmp_path))])
    assert_same(watched, plain)


def test_measuring_without_a_trainer_leaves_no_trace_either() -> None:
    scores, model = TranslationScores(Pixels(), when=When(every_n_steps=1)), Learning()
    trained(model, 2, Negatives(SHAPE), callbacks=[scores])
    before, random = tensors(model), torch.get_rng_state()
    figures, card = TranslationScores(Pixels()).measure(model, Negatives(SHAPE))
    assert figures == scores.scores and card.items() <= scores.card.items()
    assert_same(tensors(model), before)
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("name", TRANSLATORS)
def test_every_model_is_scored_and_drawn_without_a_trace(name: str, tmp_path: Path) -> None:
    runs = []
    scores, grid = (
        TranslationScores(Pixels(), when=When(every_n_steps=1), batch_size=3),
        SampleGrid(1, 3, str(tmp_path)),
    )
    for callbacks in ([], [scores, grid]):
        model = translator(name)
        trained(model, 4, NoisyBatches(name), callbacks=callbacks)
        runs.append(tensors(model))
    assert_same(*runs)
    for pair in model.pairs:
        assert 0 <= scores.scores[f"{pair}/l1" if pair else "l1"] <= 1
    for domain in model.domains:
        assert scores.scores[f"fid/{domain}-pixels" if domain else "fid-pixels"] >= 0
    data = NoisyBatches(name)
    columns = len(model.columns(data.on_after_batch_transfer(data.reference("val").__getitems__([0, 1]), 0)))
    assert Image.open(grid.path).size == (18 * columns + 2, 3 * 18 + 2)


# What is refused.


def test_what_cannot_be_scored_is_refused_before_training() -> None:
    for make, message in {
        (lambda: TranslationScores(n=0)): r"n \(0; null takes all\)",
        (lambda: TranslationScores(batch_size=0)): "batch_size",
        (lambda: TranslationScores("Pixels")): "for the one that the data names",
    }.items():
        with pytest.raises(ValueError, match=message):
            make()
    refused = {
        "asks for 11 validation samples, Negatives has 10": [TranslationScores(None, n=11)],
        "needs at least 2 validation samples of Negatives, not 1": [TranslationScores(Pixels(), n=1)],
        "called TranslationScores": [TranslationScores(None), TranslationScores(Pixels())],
    }
    for message, scores in refused.items():
        model = Linear(SHAPE)
        with pytest.raises(ValueError, match=message):
            trained(model, 1, Negatives(SHAPE), callbacks=scores)
        assert model.iteration == 0, "before training"
    with pytest.raises(ValueError, match="asks for some validation samples, Negatives has 0"):
        trained(Linear(SHAPE), 1, Trained(SHAPE), callbacks=[TranslationScores(None)])
    with pytest.raises(ValueError, match="scores translators, and LSGAN is none"):
        trained(tiny("LSGAN", plain_networks()), 1, callbacks=[TranslationScores(None)])
    for callback in (TranslationScores(None), SampleGrid()):
        with pytest.raises(ValueError, match="needs a data module"):
            quiet(max_steps=1, callbacks=[callback]).fit(Linear(SHAPE), Negatives(SHAPE).train_dataloader())


def test_few_images_for_a_frechet_distance_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="FID-pixels of 8 images: .* lacks full rank"):
        scored(0.5, TranslationScores(Pixels(), n=8))


# Pictures.


def test_the_grid_shows_samples_in_rows_and_columns_side_by_side(tmp_path: Path) -> None:
    grid = SampleGrid(every_n_steps=2, rows=3, folder=str(tmp_path))
    shape = (3, 16, 24)
    trained(Doubled(shape, 1.0), 3, Negatives(shape), callbacks=[grid])
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == ["step-000002.png", "step-000003.png"]
    shown = np.asarray(Image.open(grid.path)).astype(int)
    height, width = 32, 48
    assert shown.shape == (3 * (height + 2) + 2, 3 * (width + 2) + 2, 3)
    source = Negatives(shape).reference("val").image[:3].permute(0, 2, 3, 1).numpy().astype(int)
    grown = source.repeat(2, 1).repeat(2, 2)
    for row in range(3):
        for column, expected in enumerate((grown[row], grown[row], 255 - grown[row])):
            top, left = 2 + row * (height + 2), 2 + column * (width + 2)
            assert np.abs(shown[top : top + height, left : left + width] - expected).max() <= 1


def test_columns_of_other_sizes_and_channels_are_brought_together() -> None:
    small, large = torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1), torch.zeros(2, 3, 4, 6)
    shown = side_by_side({"mask": small, "image": large})
    assert shown.shape == (4, 3, 4, 6)
    assert shown[:, 0, 0, 0].tolist() == [-1, 0, 1, 0] and (shown[0] == -1).all()


def test_fewer_samples_than_rows_and_none_for_validation(tmp_path: Path) -> None:
    for data, count in ((Negatives(SHAPE), 10), (Trained(SHAPE), 8)):
        grid = SampleGrid(rows=12, folder=str(tmp_path))
        trained(Linear(SHAPE, 1.0), 1, data, callbacks=[grid])
        assert Image.open(grid.path).size == (3 * 26 + 2, count * 18 + 2)


# On the command line.


@pytest.fixture
def ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Any:
    def run(*flags: str) -> str:
        monkeypatch.chdir(tmp_path)
        more = ["--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
        fit.main([*flags, "--trainer.max_steps=2", *more])
        return capsys.readouterr().out

    return run


def test_a_run_ends_with_its_figures_and_the_command_that_translates(ended: Any, tmp_path: Path) -> None:
    names = ["--model=test_translation_scores.Named", "--data=test_translation_scores.NamedData"]
    said = ended(*names, "--trainer.callbacks+=TranslationScores", "--checkpoint.monitor=l1")
    (made,) = tmp_path.glob("runs/Named-NamedData/*")
    lines = said.splitlines()
    for start in ("l1 ", "psnr ", "ssim ", "features-digits ", "fid/AtoB-digits ", "validation/error        0.25"):
        assert any(line.startswith(start) for line in lines), start
    folder = made.relative_to(tmp_path)
    last = f"{folder}/last.ckpt --trust test_translation_scores"  # its model is of a package of the user's own
    flags = f"--input DIR --out {folder}/translated --attributes +Warm"
    assert f"  python -m gan_lightning.translate {last} {flags}" in lines
    assert "gan_lightning.sample" not in said and "gan_lightning.evaluate" not in said
    for name in ("best.ckpt", "samples.png", "config.yaml"):
        assert (made / name).exists()
    saved = torch.load(made / "last.ckpt", weights_only=True)
    evaluate.main([str(made / "last.ckpt"), "--trust=test_translation_scores", f"--json={tmp_path / 'found.json'}"])
    found = json.loads((tmp_path / "found.json").read_text())
    (of_run,) = (state for key, state in saved["callbacks"].items() if key.startswith("TranslationScores"))
    assert {name: entry["value"] for name, entry in found.items()} == pytest.approx(of_run["scores"], rel=1e-6)
    assert all(entry["card"] == of_run["card"] for entry in found.values())
    assert saved["hyper_parameters"]["attributes"] == ["Warm", "Large"]


def test_attributes_are_linked_only_where_both_know_them(ended: Any) -> None:
    said = ended("--model=test_translate.Linear", "--data=test_translation_scores.NamedData")
    assert "gan_lightning.translate" in said and "validation/error" not in said
    assert "gan_lightning.translate" in ended("--model=test_translate.Linear", "--data=test_translate.Negatives")
    assert "gan_lightning.sample" in ended("--model=DCGAN", "--data=Digits", "--data.size=16", "--grid.rows=2")


def test_a_translator_without_attributes_is_scored(ended: Any, tmp_path: Path) -> None:
    ended("--model=test_translate.Linear", "--data=test_translate.Negatives")
    (made,) = tmp_path.glob("runs/Linear-Negatives/*/last.ckpt")
    evaluate.main([str(made), "--trust=test_translate", f"--json={tmp_path / 'found.json'}"])
    assert {"l1", "psnr"} <= set(json.loads((tmp_path / "found.json").read_text()))


# Two processes.


def figures(devices: int) -> dict[str, Any]:
    several = {"devices": devices} | ({"strategy": "ddp"} if devices > 1 else {})
    found: dict[str, Any] = {}
    for case, batch_size in (("many batches", 1), ("three batches", 4), ("one batch", 100)):
        scores = TranslationScores(Pixels(), batch_size=batch_size)
        trained(Linear(SHAPE, 0.5), 1, Negatives(SHAPE), callbacks=[scores], **several)
        found[case] = scores.scores
    return found


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes found."""
    return in_two_processes(main_of_two, tmp_path_factory.mktemp("two"))


def test_two_processes_score_what_one_scores(two: list[dict[str, Any]]) -> None:
    alone = figures(1)
    for case, found in two[0]["figures"].items():
        assert found == two[1]["figures"][case] and list(found) == list(alone[case])
        assert found == pytest.approx(alone[case], rel=1e-9)


def test_on_two_processes_nothing_leaves_a_trace(two: list[dict[str, Any]]) -> None:
    for found in two:
        assert_same(found["watched"], found["plain"])
    assert two[0]["noisy"] == two[1]["noisy"]


def test_an_error_of_one_process_ends_both(two: list[dict[str, Any]]) -> None:
    assert "not finite" in two[1]["error"]
    assert two[0]["error"].startswith("process 1 failed: the images are not finite")


class Broken(Linear):
    """Makes NaN on the second process."""

    def columns(self, batch: Paired) -> dict[str, Tensor]:
        bad = torch.nan if int(os.environ.get("LOCAL_RANK", 0)) else 1.0
        return {name: image * bad for name, image in super().columns(batch).items()}


def main_of_two(folder: Path) -> dict[str, Any]:
    """What each process does."""
    found: dict[str, Any] = {"figures": figures(2)}
    several = {"devices": 2, "strategy": "ddp"}
    found["plain"] = after([], **several)[0]
    scores = TranslationScores(Pixels(), when=When(every_n_steps=1), batch_size=3)
    found["watched"] = after([scores, SampleGrid(1, 2, str(folder))], **several)[0]
    found["noisy"] = scores.scores["noisy/l1"]
    try:
        trained(Broken(SHAPE), 1, Negatives(SHAPE), callbacks=[TranslationScores(None, batch_size=1)], **several)
    except (RuntimeError, ValueError) as error:
        found["error"] = str(error)
    return found
