"""Which images a score is of: all that were asked for, nothing beside them, and none lost without a word."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import random_inception
from PIL import Image
from torch import Tensor

from gan_lightning.data.decoding import read_image
from gan_lightning.data.levels import as_bytes
from gan_lightning.data.scored import images_to_score
from gan_lightning.evaluate import main
from gan_lightning.metrics import DigitFeatures, frechet_distance
from gan_lightning.runtime.errors import printable

DIGIT = ("--extractor", "DigitFeatures")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAN_LIGHTNING_CACHE", str(tmp_path / "cache"))


def noise(n: int, seed: int, low: int = 0, high: int = 256, size: int = 28, channels: int = 3) -> np.ndarray:
    """(n, size, size, channels) uint8."""
    return np.random.default_rng(seed).integers(low, high, (n, size, size, channels), dtype=np.uint8)


def folder_of(pixels: np.ndarray, folder: Path, suffix: str = ".png", start: str = "") -> Path:
    """Six digits each, as `sample` numbers them, behind `start`."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(pixels):
        Image.fromarray(image.squeeze()).save(folder / f"{start}{i:06d}{suffix}")
    return folder


def distance(real: np.ndarray, fake: np.ndarray) -> float:
    """The Fréchet distance of the digits' features, from the pixels, without a file between."""
    moments: list[Tensor] = []
    for pixels in (real, fake):
        seen = DigitFeatures()(torch.from_numpy(pixels).movedim(3, 1)).pooled.double()
        moments += [seen.mean(0), seen.T.cov()]
    return frechet_distance(*moments).item()


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, float], str]]:
    """Runs `evaluate`: its exit code, the figures in the JSON file, what it said on stderr."""

    def run(*args: Any) -> tuple[int, dict[str, float], str]:
        file, code = tmp_path / "scores.json", 0
        file.unlink(missing_ok=True)
        capsys.readouterr()
        try:
            main([*map(str, args), *([] if "stats" in args else ["--json", str(file)])])
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr()
        figures = (
            {name: entry["value"] for name, entry in json.loads(file.read_text()).items()} if file.exists() else {}
        )
        assert all(name.split("/")[0] in said.out for name in figures)
        return code, figures, said.err

    return run


# The real side's cache.


def test_two_folders_of_equal_names_sizes_and_times_have_their_own_scores(tmp_path: Path, command: Callable) -> None:
    sets = [noise(80, 0), noise(80, 1, 100, 140), noise(80, 2)]
    folders = [folder_of(pixels, tmp_path / str(i), ".bmp") for i, pixels in enumerate(sets)]
    for path in sorted(tmp_path.glob("?/*.bmp")):
        os.utime(path, (1.6e9, 1.6e9))
    for real, pixels in zip(folders[:2], sets[:2], strict=True):
        _, found, _ = command("--real", real, "--fake", folders[2], *DIGIT)
        assert found["FID-digits"] == pytest.approx(distance(pixels, sets[2]), rel=1e-6)


def test_equal_contents_are_looked_at_once_wherever_they_lie(
    tmp_path: Path, command: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = folder_of(noise(70, 1), tmp_path / "fake")
    looked: list[int] = []
    look = DigitFeatures.look
    monkeypatch.setattr(DigitFeatures, "look", lambda self, images: (looked.append(len(images)), look(self, images))[1])
    cards = []
    for name, start in (("one", ""), ("another", "renamed-"), (os.fsdecode(b"caf\xe9\n"), "[x]")):
        real = folder_of(noise(75, 0), tmp_path / name, start=start)
        command("--real", real, "--fake", fake, *DIGIT)
        cards.append(json.loads((tmp_path / "scores.json").read_text())["FID-digits"]["card"])
    assert sum(looked) == 75 + 3 * 70
    assert [card["data"].rpartition("/")[2] for card in cards] == ["one", "another", r"caf\xe9\n"]
    assert len({card["data_hash"] for card in cards}) == 1


# Folders of fakes.


def sheet(folder: Path, name: str, frames: int = 1, size: int = 90, **how: Any) -> Path:
    """A picture of another size; of several frames an animation."""
    folder.mkdir(parents=True, exist_ok=True)
    first, *more = (Image.fromarray(image) for image in noise(frames, 9, size=size))
    first.save(folder / name, **how, **({"save_all": True, "append_images": more} if more else {}))
    return folder / name


def test_what_sample_wrote_beside_its_pictures_is_not_scored(tmp_path: Path, command: Callable) -> None:
    pixels = noise(70, 1)
    real, fake = folder_of(noise(80, 0), tmp_path / "real"), folder_of(pixels, tmp_path / "fake")
    expected = pytest.approx(distance(noise(80, 0), pixels), rel=1e-6)
    sheet(fake / "sheets", "grid.png")
    sheet(fake / "sheets", "walk.gif", 3)
    folder_of(noise(5, 3), fake / "sheets" / "reconstructions")
    code, found, said = command("--real", real, "--fake", fake, *DIGIT)
    assert (code, found["FID-digits"]) == (0, expected)
    assert "left out" not in said, "their own place"
    # Where other programs, and older versions, put them; also when pictures are brought to one size.
    for name, frames in (("grid.png", 1), ("walk.gif", 3), ("reconstruction-000000.png", 1), ("deeper/000071.png", 1)):
        (fake / name).parent.mkdir(exist_ok=True)
        sheet(fake, name, frames)
    code, found, said = command("--real", real, "--fake", fake, *DIGIT, "--size", "28")
    assert (code, found["FID-digits"]) == (0, expected)
    assert f"{fake}: 70 numbered pictures count, left out: deeper/000071.png; grid.png; reconstruction-0" in said
    assert len(said.splitlines()) == 1


def test_of_any_other_folder_what_does_not_count_is_said(tmp_path: Path) -> None:
    folder = folder_of(noise(9, 1, size=8), tmp_path / "any", start="photo")
    assert images_to_score(folder, None) == ([*sorted(folder.iterdir())], [])
    (folder / "sheets").mkdir()
    sheet(folder / "sheets", "bed.png", size=8)  # a class of somebody's
    still = sheet(folder, "still.gif", size=8)
    pages = sheet(folder, "pages.tif", 2, size=8)
    photo = sheet(folder, "phone.jpg", 2, size=8, format="MPO")
    counted = images_to_score(folder, None)
    assert {still, pages, photo, folder / "sheets" / "bed.png"} < {*counted.paths}
    assert len(counted.paths) == 13 and not counted.remarks
    films = [sheet(folder, name, 3) for name in ("a.gif", "b.png", "c.webp", os.fsdecode(b"\xe9\n.gif"))]
    left = images_to_score(folder, 8)
    assert left.paths == counted.paths
    assert left.remarks == [rf"{folder}: animations are left out: a.gif; b.png; c.webp; \xe9\n.gif"]
    for path in films:
        path.unlink()
    sheet(folder, "grid.png")
    (remark,) = images_to_score(folder, 8).remarks
    assert (
        remark.startswith(f"{folder}: 13 pictures have 8x8 pixels, 1 others, which count too") and "grid.png" in remark
    )
    assert len(images_to_score(folder, 8).paths) == 14
    assert not images_to_score(folder, None).remarks, "unequal sizes are then an error, which names the file"


def test_photos_of_many_sizes_are_not_remarked(tmp_path: Path) -> None:
    for i in range(6):
        sheet(tmp_path / "photos", f"{i}.png", size=20 + i // 2)
    assert images_to_score(tmp_path / "photos", 16).remarks == []
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    for i in range(3):
        Image.new("RGB", (9, 5)).save(sheet(tmp_path / "upright", f"{i}.jpg"))
        Image.new("RGB", (5, 9)).save(sheet(tmp_path / "upright", f"{i}-turned.jpg"), exif=exif)
    assert images_to_score(tmp_path / "upright", 16).remarks == []


def test_a_folder_of_animations_holds_no_images(tmp_path: Path) -> None:
    sheet(tmp_path / "films", "a.gif", 2)
    with pytest.raises(ValueError, match="films holds no images but animations"):
        images_to_score(tmp_path / "films", None)


def test_real_and_fake_images_are_kept_apart(
    tmp_path: Path, command: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    real, fake = folder_of(noise(4, 0), tmp_path / "real"), folder_of(noise(4, 1), tmp_path / "fake")
    inner, hidden = folder_of(noise(4, 2), real / "drawn"), folder_of(noise(4, 2), real / ".drawn")
    (tmp_path / "alias").symlink_to(real)
    (tmp_path / "linked").mkdir()
    folder_of(noise(4, 3), tmp_path / "linked", start="own")
    (tmp_path / "linked" / "link").symlink_to(fake)
    same, within, among = "are the same folder", "is within --", "are among the real ones too"
    for sides, message in {
        (real, real): same,
        (real, "real/../real"): same,
        (real, tmp_path / "alias"): same,
        (real, inner): within,
        (real, hidden): within,
        (inner, real): within,
        ("alias", inner): within,
        (tmp_path / "linked", fake): among,
    }.items():
        code, _, said = command("--real", sides[0], "--fake", sides[1], *DIGIT)
        assert code == 2 and message in said and len(said.splitlines()) == 1, (sides, said)
    data = ["--data", "ImageFolder", "--data.root", real, "--data.size", "28", *DIGIT]
    assert among in command(*data, "--fake", inner)[2], "a data module's folder too"
    assert command(*data, "--fake", fake, "--metrics", "prdc", "--k", "2")[0] == 0


def test_files_of_any_name_are_split_and_hashed(tmp_path: Path, command: Callable) -> None:
    root, names = tmp_path / "[a-z]*", [os.fsdecode(b"\xe9"), "new\nline", "[0-9]*"]
    for i, name in enumerate(names):
        folder_of(noise(20, i), root, start=name)
    fake = folder_of(noise(30, 5), tmp_path / "fake")
    data = ["--data", "ImageFolder", "--data.root", root, "--data.size", "28", "--data.val_fraction", "0.5", *DIGIT]
    held = 0
    for split in ("train", "val"):
        code, _, said = command(*data, "--fake", fake, "--split", split)
        assert code == 0, said
        held += json.loads((tmp_path / "scores.json").read_text())["FID-digits"]["card"]["n_real"]
    assert held == 60


# One score that cannot be had loses no other.


@pytest.mark.parametrize(
    ("flags", "lines"),
    [
        (["--metrics", "fid,kid"], ["KID-digits .*at least 1000 images, not n_fake=40: use --subset_size 40 or less"]),
        (
            ["--metrics", "kid,fid", "--n_real", "30", "--subset_size", "35"],
            ["35 real .* not 30: use --subset_size 30 "],
        ),
        (
            ["--metrics", "is,fid", "--splits", "21"],
            ["IS-digits .*least 42 images, not n_fake=40: use --splits 20 or less"],
        ),
        (["--metrics", "prdc,fid", "--k", "40"], ["precision-digits .*at least 41 images, .*: use --k 39 or less"]),
        (["--metrics", "fid,label_accuracy"], ["label_accuracy-digits is for conditional models"]),
        (["--metrics", "fid,kid", "--subset_size", "1"], ["KID needs subsets .* of at least 2 images, not 1"]),
        (["--metrics", "kid,is,prdc,fid", "--splits", "40", "--k", "77"], ["subset_size 40", "splits 20", "k 39"]),
    ],
)
def test_scores_that_can_be_had_are_had(tmp_path: Path, command: Callable, flags: list[str], lines: list[str]) -> None:
    real, fake = folder_of(noise(50, 0), tmp_path / "real"), folder_of(noise(40, 1), tmp_path / "fake")
    code, found, said = command("--real", real, "--fake", fake, *DIGIT, *flags)
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert code == 1 and len(errors) == len(lines)
    for line, pattern in zip(errors, lines, strict=True):
        assert re.search(pattern, line), line
        if flag := re.search(r"use (--\w+) (\d+) or less", line):  # what it says is true
            name = {"--subset_size": "kid", "--splits": "is", "--k": "prdc"}[flag[1]]
            more = ["--n_real", "30"] if "--n_real" in flags else []
            again = command("--real", real, "--fake", fake, *DIGIT, "--metrics", name, flag[1], flag[2], *more)
            assert again[0] == 0 and again[1], again
    assert [*found] == ["FID-digits"]


def test_scores_none_of_which_can_be_had_are_a_line_each(tmp_path: Path, command: Callable) -> None:
    real, fake = folder_of(noise(9, 0), tmp_path / "real"), folder_of(noise(8, 1), tmp_path / "fake")
    code, found, said = command("--real", real, "--fake", fake, *DIGIT, "--metrics", "kid,is,label_accuracy")
    assert (code, found) == (2, {})
    names = [re.match(r"error: (\w+)-digits", line)[1] for line in said.splitlines()]
    assert names == ["KID", "IS", "label_accuracy"]


def test_statistics_without_features_still_serve_fid(tmp_path: Path, command: Callable) -> None:
    fake = folder_of(noise(70, 1), tmp_path / "fake")
    np.savez(tmp_path / "real.npz", mu=np.zeros(64), sigma=np.eye(64))
    code, found, said = command("--real", tmp_path / "real.npz", "--fake", fake, *DIGIT, "--metrics", "prdc,fid,modes")
    assert (code, [*found]) == (1, ["FID-digits", "modes-digits", "modes-digits/KL"])
    assert "holds no features" in said


def test_a_split_without_images_is_a_line(tmp_path: Path, command: Callable) -> None:
    real, fake = folder_of(noise(4, 0), tmp_path / "real"), folder_of(noise(4, 1), tmp_path / "fake")
    data = ["--data", "ImageFolder", "--data.root", real, "--data.size", "28", "--data.val_fraction", "0"]
    for metrics in ("fid", "fid,kid", "is"):
        code, _, said = command(*data, "--fake", fake, "--split", "val", "--metrics", metrics, *DIGIT)
        assert code == 2 and len(said.splitlines()) == 1
        assert "has no images in its split val: use --split train" in said
    code, _, said = command("stats", *data, "--split", "val", *DIGIT)
    assert code == 2 and "no images in its split val" in said


def test_one_picture_is_no_set(tmp_path: Path, command: Callable) -> None:
    one, many = folder_of(noise(1, 0), tmp_path / "one"), folder_of(noise(4, 1), tmp_path / "many")
    for sides in (("--real", one, "--fake", many), ("--real", many, "--fake", one)):
        for metrics in ("fid", "kid", "prdc", "memorisation"):
            code, _, said = command(*sides, *DIGIT, "--metrics", metrics)
            assert code == 2 and len(said.splitlines()) == 1 and "at least" in said, said


# Pictures that are not 8-bit RGB, beside torch-fidelity's reading of them.


def fidelitys(path: Path) -> np.ndarray:
    """(H, W, 3) uint8, what torch-fidelity scores."""
    datasets = pytest.importorskip("torch_fidelity.datasets")
    return datasets.ImagesPathDataset([path])[0].movedim(0, 2).numpy()


def ours(path: Path) -> np.ndarray:
    """(H, W, 3) uint8, what we score: see `folder_of_images`."""
    return as_bytes(read_image(path, None, 3)).transpose(1, 2, 0)


def test_pictures_of_other_kinds_are_read_as_documented(tmp_path: Path) -> None:
    """Grey and opaque ones as torch-fidelity does; alpha, 16 bits and photos on their side otherwise."""
    path, (colour, grey) = tmp_path / "x.png", (noise(1, c, channels=c)[0] for c in (3, 1))
    Image.fromarray(grey[..., 0]).save(path)
    assert (ours(path) == grey).all() and (fidelitys(path) == grey).all(), "a grey picture: three equal channels"
    alpha = noise(1, 5, channels=1)[0]
    for pixels, mode in ((colour, "RGBA"), (grey, "LA")):
        Image.fromarray(np.concatenate([pixels, np.full_like(alpha, 255)], 2), mode).save(path)
        assert (ours(path) == pixels).all() and (fidelitys(path) == pixels).all(), "opaque"
        Image.fromarray(np.concatenate([pixels, alpha], 2), mode).save(path)
        on_white = (pixels * (alpha / 255) + 255 * (1 - alpha / 255)).repeat(3 // pixels.shape[2], 2)
        assert np.abs(ours(path) - on_white).max() <= 1, "white behind"
        assert (fidelitys(path) == pixels).all(), "alpha dropped: what lies below is uncovered"
    deep = np.random.default_rng(0).integers(0, 65536, (9, 9), dtype=np.uint16)
    Image.fromarray(deep).save(path)
    assert (ours(path) == (deep / 257).round()[..., None]).all(), "16 bits: scaled"
    assert (fidelitys(path) == deep.clip(max=255)[..., None]).all(), "clipped: nearly all of it white"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (7, 5)).save(tmp_path / "x.jpg", exif=exif)
    assert (ours(tmp_path / "x.jpg").shape, fidelitys(tmp_path / "x.jpg").shape) == ((7, 5, 3), (5, 7, 3))


def test_scores_of_such_pictures_are_those_of_what_is_read(tmp_path: Path, command: Callable) -> None:
    """Ours of pictures with alpha is that of the same on white, theirs that of the same without; grey is RGB."""
    real, colour, alpha = noise(70, 0), noise(66, 1), noise(66, 2, channels=1)
    on_white = (colour * (alpha / 255) + 255 * (1 - alpha / 255)).round().astype(np.uint8)
    at_real = folder_of(real, tmp_path / "real")
    clear = folder_of(np.concatenate([colour, alpha], 3), tmp_path / "clear")
    theirs = np.stack([fidelitys(path) for path in sorted(clear.iterdir())])
    found = {
        name: command("--real", at_real, "--fake", folder, *DIGIT)[1]["FID-digits"]
        for name, folder in {"ours": clear, "theirs": folder_of(theirs, tmp_path / "dropped")}.items()
    }
    assert found["ours"] == pytest.approx(distance(real, on_white), rel=1e-3)  # pixels rounded otherwise, by 1
    assert found["theirs"] == pytest.approx(distance(real, colour), rel=1e-6)
    assert found["ours"] > 1.5 * found["theirs"]
    grey = noise(66, 3, channels=1)
    found = command("--real", at_real, "--fake", folder_of(grey, tmp_path / "grey"), *DIGIT)[1]["FID-digits"]
    assert found == pytest.approx(distance(real, grey.repeat(3, 3)), rel=1e-6)


@pytest.mark.slow
def test_torch_fidelity_scores_pictures_with_alpha_without_it(tmp_path: Path, command: Callable) -> None:
    """From the files to the figure, by one network: equal to ours where alpha was dropped, and another where it is."""
    fidelity = pytest.importorskip("torch_fidelity")
    weights = random_inception(tmp_path / "inception.pth")
    colour, alpha = noise(8, 1), noise(8, 2, channels=1)
    real, clear = (
        folder_of(noise(8, 0), tmp_path / "real"),
        folder_of(np.concatenate([colour, alpha], 3), tmp_path / "clear"),
    )
    theirs = fidelity.calculate_metrics(
        input1=str(clear),
        input2=str(real),
        fid=True,
        cuda=False,
        cache=False,
        verbose=False,
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(weights),
    )["frechet_inception_distance"]
    (with_alpha,), (without,) = (
        command("--real", real, "--fake", folder, "--weights", weights)[1].values()
        for folder in (clear, folder_of(colour, tmp_path / "dropped"))
    )
    assert without == pytest.approx(theirs, rel=1e-3)
    assert abs(with_alpha - theirs) > 0.05 * theirs


def test_names_are_printed_in_one_line() -> None:
    names = {b"caf\xe9": r"caf\xe9", b"a\nb\t": r"a\nb\t", "né 猫".encode(): "né 猫", b"[x] %s": "[x] %s"}
    for name, shown in names.items():
        assert printable(Path(os.fsdecode(name))) == shown
    assert printable("\ud800\u2028") == r"\ud800\u2028"
    assert printable(os.fsdecode(bytes(range(1, 256)))).encode(sys.getfilesystemencoding())
