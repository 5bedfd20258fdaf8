"""The evaluate command as a user types it: checkpoints, folders, statistics, comparisons, and bad input."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Noisy, draw, plain_networks, quiet, random_inception, tiny
from PIL import Image
from torch import Tensor

from gan_lightning import fit, models, networks
from gan_lightning.data import MNIST, Digits, Gaussians
from gan_lightning.evaluate import main
from gan_lightning.loading import load_model
from gan_lightning.metrics import DigitFeatures, frechet_distance, load_reference
from gan_lightning.runtime.checkpoint_io import AtomicCheckpointIO
from gan_lightning.scoring import differences

Found = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short run of `fit` on 16 px digits."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        small = {"generator": "DCGANGenerator", "discriminator": "DCGANDiscriminator"}
        widths = [f"--model.{part}.width=4" for part in small]
        flags = ["--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.max_steps=30"]
        fit.main(["--model=DCGAN", *[f"--model.{k}={v}" for k, v in small.items()], *widths, "--data.size=16", *flags])
    (path,) = folder.glob("runs/*/*/last.ckpt")
    return path.parent


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GAN_LIGHTNING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "stats"


@pytest.fixture
def scores(tmp_path: Path) -> Callable[..., Found]:
    """Runs the command and reads what it wrote."""

    def run_it(*args: str) -> Found:
        main([*map(str, args), "--json", str(tmp_path / "scores.json")])
        return json.loads((tmp_path / "scores.json").read_text())

    return run_it


def error_of(*args: str, capsys: pytest.CaptureFixture) -> str:
    """The one line that bad input is answered with."""
    with pytest.raises(SystemExit) as stop:
        main([str(arg) for arg in args])
    said = capsys.readouterr().err.strip()
    assert stop.value.code == 2
    assert said.startswith("error: ") and len(said.splitlines()) == 1, said
    return said


def folder_of(images: Tensor, folder: Path) -> Path:
    """Write uint8 images (n, c, h, w) as PNG files."""
    folder.mkdir(parents=True)
    for i, image in enumerate(images):
        array = image[0].numpy() if len(image) == 1 else image.movedim(0, 2).numpy()
        Image.fromarray(array).save(folder / f"{i:05d}.png")
    return folder


# A checkpoint.


def test_a_checkpoint_is_scored_on_the_data_it_was_trained_on(
    run: Path, cache: Path, scores: Callable[..., Found], capsys: pytest.CaptureFixture
) -> None:
    found = scores(run / "last.ckpt", "--metrics", "fid,is,prdc,modes,memorisation", "--n", "300")
    images, extractor = load_model(run / "last.ckpt").sample(300), DigitFeatures()
    sides = [extractor(x).pooled.double() for x in (Digits(size=16).reference("train").image, images)]
    expected = frechet_distance(*(m for side in sides for m in (side.mean(0), side.T.cov()))).item()
    assert found["FID-digits"]["value"] == pytest.approx(expected, rel=1e-6)
    card = found["FID-digits"]["card"]
    assert {name: card[name] for name in ("model", "step", "images_seen", "n_real", "n_fake", "weights", "data")} == {
        "model": "DCGAN",
        "step": 30,
        "images_seen": 1920,
        "n_real": 1500,
        "n_fake": 300,
        "weights": "ema",
        "data": "Digits",
    }
    assert found["coverage-digits"]["card"]["n_real"] == 300, "as many as fakes"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["FID-digits", f"{expected:.4g}"]
    said = " ".join(" ".join(lines).split())
    for field in ("data Digits", "n_real 1500", "n_real 300", "n_fake 300", "weights ema", "is_splits 10", "prdc_k 5"):
        assert said.count(field) == (2 if field in ("data Digits", "n_fake 300", "weights ema") else 1), field


def test_the_command_finds_what_the_callback_found(run: Path, cache: Path, scores: Callable[..., Found]) -> None:
    from conftest import trained

    from gan_lightning.callbacks import FID, KID
    from gan_lightning.scoring import Protocol

    protocol = Protocol(n_fake=200, n_real=150)
    callbacks = [FID(protocol=protocol), KID(protocol=protocol, subsets=7, subset_size=60)]
    model = tiny("DCGAN")
    trainer = trained(model, 3, Digits(size=16, batch_size=32), callbacks=callbacks, plugins=[AtomicCheckpointIO()])
    trainer.save_checkpoint(cache.parent.parent / "x.ckpt", weights_only=False)
    flags = ["--n", "200", "--n_real", "150", "--subsets", "7", "--subset_size", "60"]
    found = scores(cache.parent.parent / "x.ckpt", "--data", "Digits", "--metrics", "fid,kid", *flags)
    for callback in callbacks:
        for name, value in callback.scores.items():
            assert found[name]["value"] == pytest.approx(value, rel=1e-6)
            assert found[name]["card"] == callback.card


def test_live_weights_another_split_and_another_seed_are_other_scores(
    run: Path, cache: Path, scores: Callable[..., Found]
) -> None:
    flags = [run / "last.ckpt", "--n", "100"]
    cards = [
        scores(*flags, *more)["FID-digits"]
        for more in ([], ["--live"], ["--split", "val"], ["--seed", "1"], ["--batch_size", "7"])
    ]
    assert len({entry["value"] for entry in cards[:4]}) == 4
    assert cards[4] == {"value": pytest.approx(cards[0]["value"], rel=1e-6), "card": cards[0]["card"]}
    fields = zip(cards, ("weights", "weights", "split", "seed"), strict=False)
    assert [entry["card"][field] for entry, field in fields] == ["ema", "live", "val", 1]


@pytest.mark.parametrize("command", ["", "stats"])
def test_a_checkpoint_is_read_once(command: str, run: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be of gigabytes."""
    reads, load = [], torch.load

    def counted(*args: Any, **kwargs: Any) -> Any:
        reads.append(args)
        return load(*args, **kwargs)

    monkeypatch.setattr(torch, "load", counted)
    main([*filter(None, [command]), str(run / "last.ckpt"), "--n", "100", "--extractor", "DigitFeatures"])
    checkpoints = [args for args in reads if getattr(args[0], "name", "").endswith(".ckpt")]
    assert len(checkpoints) == 1 and list(cache.iterdir())


def test_standing_statistics_and_truncation_are_flags_and_part_of_the_card(
    run: Path, tmp_path: Path, cache: Path, scores: Callable[..., Found], capsys: pytest.CaptureFixture
) -> None:
    found = scores(run / "last.ckpt", "--n", "100", "--standing", "2")["FID-digits"]
    module, extractor = load_model(run / "last.ckpt"), DigitFeatures()
    with module.standing_statistics(2):
        images = module.sample(100)
    sides = [extractor(x).pooled.double() for x in (Digits(size=16).reference("train").image, images)]
    expected = frechet_distance(*(m for side in sides for m in (side.mean(0), side.T.cov()))).item()
    assert found["value"] == pytest.approx(expected, rel=1e-5)
    plain = scores(run / "last.ckpt", "--n", "100")["FID-digits"]
    assert differences(plain["card"], found["card"]) == ["batch_norm: running averages, standing, 2 batches"]

    trainer = quiet(max_steps=1, plugins=[AtomicCheckpointIO()])
    trainer.fit(tiny("BigGAN"), Noisy())
    trainer.save_checkpoint(tmp_path / "big.ckpt", weights_only=False)
    flags = [tmp_path / "big.ckpt", "--data", "Digits", "--data.size", "16", "--n", "80"]
    plain, found = (scores(*flags, *more)["FID-digits"] for more in ([], ["--truncation", "0.3"]))
    assert differences(plain["card"], found["card"]) == ["truncation: -, 0.3"]
    assert abs(found["value"] - plain["value"]) > 1e-3 * plain["value"]


def test_a_linear_probe_reads_the_discriminator(run: Path, scores: Callable[..., Found]) -> None:
    found = scores(run / "last.ckpt", "--metrics", "linear_probe", "--n", "600")["linear_probe"]
    assert 0.6 < found["value"] <= 1, "digits are easy even for features that were trained for seconds"
    card = found["card"]
    assert (card["n_train"], card["n_test"], card["split"]) == (600, 297, "val")
    assert card["features"].startswith("discriminator, 192,")  # (4 + 8) channels of 4x4 cells


# Folders of images.


def test_folders_of_anyones_images_are_scored(tmp_path: Path, cache: Path, scores: Callable[..., Found]) -> None:
    digits = Digits(size=28).reference("train").image
    real, fake = folder_of(digits[:90], tmp_path / "real"), folder_of(digits[90:170], tmp_path / "fake")
    flags = ["--real", real, "--fake", fake, "--extractor", "DigitFeatures", "--metrics", "fid,is,kid"]
    found = scores(*flags, "--splits", "4", "--subset_size", "50")
    sides = [DigitFeatures()(x).pooled.double() for x in (digits[:90], digits[90:170])]
    expected = frechet_distance(*(m for side in sides for m in (side.mean(0), side.T.cov()))).item()
    assert found["FID-digits"]["value"] == pytest.approx(expected, rel=1e-6)
    card = found["FID-digits"]["card"]
    assert (card["n_real"], card["n_fake"], card["data"], card["model"]) == (90, 80, str(real), str(fake))
    assert "step" not in card and "weights" not in card
    (file,) = (path for path in cache.iterdir() if load_reference(path).gaussian.n == 90)
    again = scores("--real", file, "--fake", fake, "--extractor", "DigitFeatures")
    assert again["FID-digits"]["value"] == pytest.approx(expected, rel=1e-6)
    same = scores("--real", real, "--fake", folder_of(digits[:90], tmp_path / "copy"), "--extractor", "DigitFeatures")
    assert same["FID-digits"]["value"] == pytest.approx(0, abs=1e-6)


def test_colour_folders_meet_inception(tmp_path: Path, cache: Path, scores: Callable[..., Found]) -> None:
    """With random weights by path, statistics in pytorch-fid's form, and images of other sizes brought to one."""
    weights = random_inception(tmp_path / "w.pth")
    fake = folder_of((draw(6, 3, 20, 24).clamp(-1, 1) * 127.5 + 127.5).byte(), tmp_path / "fake")
    np.savez(tmp_path / "theirs.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    flags = ["--real", tmp_path / "theirs.npz", "--fake", fake, "--weights", weights]
    ((name, found),) = scores(*flags).items()
    assert name.startswith("FID-inception-"), "with other weights it is no FID"
    assert (found["card"]["n_real"], found["card"]["data"]) == (None, "theirs.npz")
    ((_, other),) = scores(*flags, "--size", "16").items()
    assert other["value"] != found["value"]
    assert differences(found["card"], other["card"]) == ["image_shape: 3x20x24, 3x16x16, by Pillow to 16"]


# Statistics.


def test_statistics_are_made_once_and_found_again(
    run: Path, cache: Path, scores: Callable[..., Found], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = cache.parent.parent / "digits.npz"
    main(["stats", "--data", "Digits", "--data.size", "16", "--out", str(out)])
    path, copy = map(Path, capsys.readouterr().out.split())
    assert path.parent == cache and copy == out
    reference = load_reference(out)
    assert reference.protocol["n_real"] == reference.gaussian.n == 1500
    assert reference.protocol["extractor"] == "digits" and reference.features is None
    with np.load(out) as file:
        assert {"mu", "sigma"} <= set(file.files), "pytorch-fid's form"

    looked = []
    look = DigitFeatures.look
    monkeypatch.setattr(DigitFeatures, "look", lambda self, images: (looked.append(len(images)), look(self, images))[1])
    found = scores(run / "last.ckpt", "--n", "100")
    assert sum(looked) == 100, "no pass over real images"
    assert scores("--real", out, "--fake", _drawn(run, cache), "--extractor", "DigitFeatures")["FID-digits"][
        "value"
    ] == (pytest.approx(found["FID-digits"]["value"], rel=1e-5))


def _drawn(run: Path, cache: Path) -> Path:
    """The first 100 images of the run as files."""
    image = load_model(run / "last.ckpt").sample(100)
    return folder_of(((image + 1) * 127.5).round().byte(), cache.parent.parent / "drawn")


def test_statistics_keep_features_where_scores_need_them(
    cache: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["stats", "--data", "Digits", "--metrics", "fid,kid,prdc", "--n_real", "120", "--subset_size", "50"])
    (path,) = cache.iterdir()
    assert load_reference(path).features.shape == (120, 64)
    said = error_of("stats", "--data", "Digits", "--metrics", "is,modes", capsys=capsys)
    assert "compare with no real images" in said


# Comparison.


def test_scores_with_the_same_card_are_compared_and_others_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    card = {"n_fake": 100, "n_real": 50, "weights": "ema", "model": "DCGAN", "step": 3, "images_seen": 9}
    files = {
        "a": {"FID": {"value": 20.0, "card": card}, "IS": {"value": 2.0, "card": card}},
        "b": {"FID": {"value": 15.5, "card": card | {"step": 6, "images_seen": 18, "model": "WGAN"}}},
        "c": {"FID": {"value": 15.5, "card": card | {"n_fake": 200, "weights": "live"}}},
        "d": {"KID": {"value": 1.0, "card": card}},
    }
    path = {name: tmp_path / f"{name}.json" for name in files}
    for name, content in files.items():
        path[name].write_text(json.dumps(content))
    main(["compare", str(path["a"]), str(path["b"])])
    title, row = capsys.readouterr().out.splitlines()
    assert title.split() == ["a", "b", "difference"] and row.split() == ["FID", "20", "15.5", "-4.5"]
    said = error_of("compare", path["a"], path["c"], capsys=capsys)
    assert "n_fake: 100, 200" in said and "weights: ema, live" in said and "--force" in said and "n_real" not in said
    main(["compare", str(path["a"]), str(path["c"]), "--force"])
    assert "cards differ" in capsys.readouterr().out
    assert "no score in common" in error_of("compare", path["a"], path["d"], capsys=capsys)
    (tmp_path / "e.json").write_text('{"x": 3}')
    for name in ("e", "none"):
        assert f"{name}.json" in error_of("compare", path["a"], tmp_path / f"{name}.json", capsys=capsys)


# Several processes.


@pytest.mark.slow  # test_scores.py holds the same of the callbacks
def test_two_processes_print_once_what_one_finds(run: Path, cache: Path, scores: Callable[..., Found]) -> None:
    flags = [str(run / "last.ckpt"), "--metrics", "fid,is,kid,prdc", "--n_fake", "131", "--subset_size", "100"]
    alone = scores(*flags)
    out = cache.parent.parent / "two.json"
    launch = ["torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "gan_lightning.evaluate"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GAN_LIGHTNING_CACHE": str(cache.parent / "other")}
    done = subprocess.run(
        [sys.executable, "-m", *launch, *flags, "--batch_size", "10", "--json", str(out)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("FID-digits") == 1
    for name, entry in json.loads(out.read_text()).items():
        assert entry == {"value": pytest.approx(alone[name]["value"], rel=1e-6, abs=1e-9), "card": alone[name]["card"]}


# Bad input.


def test_bad_input_is_answered_in_a_line(
    run: Path, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = run / "last.ckpt"
    digits = Digits(size=16).reference("train").image
    real, fake = folder_of(digits[:40], tmp_path / "real"), folder_of(digits[40:80], tmp_path / "fake")
    larger = folder_of(digits[:3].repeat_interleave(2, 2).repeat_interleave(2, 3), tmp_path / "larger")
    mixed = folder_of(digits[:5], tmp_path / "mixed")
    Image.new("L", (9, 16)).save(mixed / "00003.png")
    broken = folder_of(digits[:5], tmp_path / "broken")
    (broken / "00002.png").write_bytes((broken / "00002.png").read_bytes()[:60])
    (tmp_path / "empty").mkdir()
    digit = ["--extractor", "DigitFeatures"]
    cases = {
        ("--real", real, "--fake", tmp_path / "none"): "there is no folder",
        ("--real", real, "--fake", tmp_path / "empty"): "empty holds no images",
        ("--real", mixed, "--fake", fake, *digit): "unequal image sizes: .*00003.png has 9x16 pixels, .* 16x16",
        ("--real", larger, "--fake", fake, *digit): "unequal image sizes: .*larger has 32x32 pixels, .*fake has 16x16",
        ("--real", broken, "--fake", fake, *digit): "broken/00002.png cannot be read",
        ("--real", real, "--fake", fake, "--n", "41", *digit): "n_fake=41, there are 40 fake images",
        ("--real", real, "--fake", fake, "--n_real", "41", *digit): "n_real=41, .*real has 40 images",
        ("--real", real, "--fake", fake, "--metrics", "fib", *digit): "there is no fib, did you mean 'fid'",
        ("--real", real, "--fake", fake, "--extractor", "DigitFeature"): "did you mean 'DigitFeatures'",
        ("--real", real, "--fake", fake, "--weights", "none.pth"): "no weights file none.pth",
        ("--real", real, "--fake", fake, "--metrics", "label_accuracy", *digit): "no class was asked for",
        ("--data", "Digits", "--fake", fake): "unequal image sizes: Digits has 32x32 pixels, .*fake has 16x16",
        ("stats", "--data", "Digits", "--n_real", "5000"): "n_real=5000, Digits has 1500 images",
        ("stats", "--data", "Digits", "--fake", fake): "unknown argument '--fake'",
        ("stats", "--data", "Digits", "--json", "x.json"): "unknown argument '--json'",
        ("stats", "--n_real", "100"): "give the real images",
        ("--data", "Digits", "--make_stats"): "--make_stats is a command now: .*evaluate stats --data NAME$",
        ("--compare", "a.json", "b.json"): "--compare is a command now: .*evaluate compare A.json B.json$",
        ("comapre", "a.json", "b.json"): "neither a command nor a checkpoint comapre, did you mean 'compare'",
        ("compare", "a.json", "b.json", "--forse"): "unknown argument '--forse', did you mean '--force'",
        ("stats", "--data", "Digits", "--metrics", "fid,kid", "--n", "1200", "--out", "x.npz"): "need 2 files",
        ("--real", real, "--fake", fake, "--metrics", ","): "--metrics: name one of",
        ("--real", real, "--fake", fake, "--split", "val"): "--data .with its --split. or --real, not both",
        ("--real", real, "--fake", fake, "--metrics", "kid", "--subset_size", "1", *digit): "at least 2 images, not 1",
        (checkpoint, "--data", "digits"): "unknown name digits, did you mean 'Digits'",
        ("--real", real, "--fake", fake, "--metrics", "kid", *digit): "KID-digits as it is set needs at least 1000",
        ("--real", tmp_path / "none.npz", "--fake", fake, *digit): "no file of real statistics",
        (checkpoint, "--data", "Digit"): "unknown name Digit, did you mean 'Digits'",
        (checkpoint, "--data", "Digits", "--data.siz", "16"): "unknown argument siz, did you mean 'size'",
        (checkpoint, "--data", "Digits", "--data.size", "32"): "makes 1x16x16 images, Digits has 1x32x32",
        (checkpoint, "--data", "Gaussians"): "makes 1x16x16 images, Gaussians has 2x1x1",
        (checkpoint, "--real", larger): "unequal image sizes: .*larger has 32x32 pixels, .*last.ckpt has 16x16",
        ("--real", real, "--fake", fake, "--standing", "3"): "--standing is for the generator of a checkpoint",
        ("--real", real, "--fake", fake, "--truncation", "1"): "--truncation is for the generator of a checkpoint",
        (checkpoint, "--standing", "-1"): "standing must be a number of batches, 0 for none, not -1",
        (checkpoint, "--truncation", "-1"): "truncation must be a number above 0, not -1.0",
        (checkpoint, "--n", "0"): "--n must be at least 1, not 0",
        (checkpoint, "--jsn", "x"): "unknown argument '--jsn', did you mean '--json'",
        (checkpoint, "--json", tmp_path / "no" / "x.json"): "folder .*no does not exist",
        (checkpoint, "--real", real, "--data", "Digits"): "or --real, not both",
        (checkpoint, "--fake", fake): "give a checkpoint, or --fake",
        ("--fake", fake): "give the real images",
        ("--data", "Digits"): "give a checkpoint, or --fake",
        (tmp_path / "none.ckpt",): "there is no checkpoint",
        ("stats", "--real", "x.npz"): "is a file of statistics already",
        ("--fake", fake, "--real", real, "--metrics", "linear_probe"): "linear_probe takes a checkpoint",
    }
    for args, message in cases.items():
        assert re.search(message, error_of(*args, capsys=capsys)), args

    def fail(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    said = error_of("--real", real, "--fake", fake, capsys=capsys)
    assert "Inception's weights could not be downloaded (no network): copy weights-inception" in said


def test_a_model_without_images_or_convolutions_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    points = tiny("LSGAN", plain_networks(), image_shape=(2, 1, 1))
    trainer = quiet(max_steps=1, plugins=[AtomicCheckpointIO()])
    trainer.fit(points, Gaussians(batch_size=16))
    trainer.save_checkpoint(tmp_path / "points.ckpt", weights_only=False)
    assert "LSGAN was trained on points" in error_of(tmp_path / "points.ckpt", "--data", "Gaussians", capsys=capsys)
    dense = models.LSGAN(
        (1, 16, 16), partial(networks.MLPGenerator, width=8), partial(networks.MLPDiscriminator, width=8)
    )
    trainer = quiet(max_steps=1, plugins=[AtomicCheckpointIO()])
    trainer.fit(dense, Digits(size=16, batch_size=16))
    trainer.save_checkpoint(tmp_path / "dense.ckpt", weights_only=False)
    said = error_of(tmp_path / "dense.ckpt", "--data", "Digits", "--metrics", "linear_probe", capsys=capsys)
    assert "needs convolutions" in said
    for metric, needed in (("reconstruction", "an encoder"), ("codes", "continuous codes")):
        said = error_of(tmp_path / "dense.ckpt", "--data", "Digits", "--metrics", metric, capsys=capsys)
        assert f"{metric} needs a model with {needed}, and LSGAN has none" in said
    assert "give --data NAME" in error_of(tmp_path / "dense.ckpt", capsys=capsys), "the file holds no config"


@pytest.mark.skipif("GAN_LIGHTNING_DATA" not in os.environ, reason="needs MNIST's files under GAN_LIGHTNING_DATA")
def test_real_digits_score_well_against_real_digits(tmp_path: Path, cache: Path, scores: Callable[..., Found]) -> None:
    """MNIST's test images against its training images: the least that any generator could hope for."""
    held_out = folder_of(MNIST().reference("val").image[:1000], tmp_path / "val")
    flags = ["--metrics", "fid,is,prdc,modes", "--n_real", "1000"]
    found = scores("--data", "MNIST", "--fake", held_out, *flags)
    assert found["FID-digits"]["value"] < 60 and found["modes-digits"]["value"] == 10
    assert found["IS-digits"]["value"] > 9
    assert min(found[f"{name}-digits"]["value"] for name in ("precision", "recall", "coverage")) > 0.7
