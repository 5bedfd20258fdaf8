"""Each benchmark runs, at its tiniest, and prints what it promises: how fast anything is no test can say."""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import shared_memory
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torchmetrics.image
import yaml
from conftest import text_to_image, trained, translator
from lightning.pytorch import Callback, Trainer
from PIL import Image
from test_data import write_cifar, write_mnist

from gan_lightning import data, fit, metrics, models, networks
from gan_lightning.batches import Attributed
from gan_lightning.data.sets import Rows
from gan_lightning.data.shapes import ShapeData
from gan_lightning.networks.features import RESNET56_FILE, ResNet56

FOLDER = Path(__file__).parents[1] / "benchmarks"
NUMBER = r"-?[\d,]+(?:\.\d+)?(?:e-?\d+)?"
Run = Callable[..., tuple[int | None, str]]
linux = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")


sys.path.append(str(FOLDER))  # as Python does where it starts a script of it


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Calls a benchmark's main with flags; gives its exit code and what it printed."""
    # One thread does, and the machine may be busy. It is set all the same: a loader's worker that has more hangs, since
    # OpenMP's threads are not there after a fork.
    really = torch.set_num_threads
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: really(1))
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level

    def called(module: ModuleType, *flags: str) -> tuple[int | None, str]:
        monkeypatch.setattr(sys, "argv", ["benchmark", *flags])
        return module.main(), capsys.readouterr().out

    yield called
    logger.setLevel(level)


def rows(printed: str) -> list[list[str]]:
    """The cells of the rows of the last table."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines() if line.startswith("|")]
    rule = max(number for number, cells in enumerate(lines) if set("".join(cells)) == {"-"})
    return lines[rule + 1 :]


def number(text: str) -> float:
    return float(text.replace(",", ""))


# The training step.


def test_step_runs_every_kind_of_case(run: Run) -> None:
    code, printed = run(loaded("step"), "--only", "mlp,8", "--blocks", "1", "--steps", "2")
    found = rows(printed)
    assert [cells[:2] + cells[6:7] for cells in found] == [["mlp", "1", "1.35"], ["8", "2", "1.00"]]
    for cells in found:
        ours, ratio, bar = number(cells[3]), number(cells[4]), number(cells[6])
        assert ours > 0 and cells[7] == ("fail" if ratio > bar else "pass")
    assert code == any(cells[7] == "fail" for cells in found)


@pytest.mark.parametrize(("ours", "verdict"), [(6.0, "pass"), (7.0, "fail")])
def test_step_compares_a_block_with_its_neighbours(
    run: Run, monkeypatch: pytest.MonkeyPatch, ours: float, verdict: str
) -> None:
    """By a clock of our own: bare steps take 1 s, 2 s, ... of wall time in each further block, and 5 s of CPU time."""
    step = loaded("step")
    clock = {"cpu": 0.0, "wall": 0.0}

    def bare_block(self: Any, block: Callable[[Any], None] = step.TakeTurns.bare_block) -> None:
        clock["block"] = len(self.theirs) + 1
        block(self)

    def bare_step(self: Any) -> None:
        clock.update(cpu=clock["cpu"] + 5, wall=clock["wall"] + clock["block"])

    def our_step(*_: Any) -> None:
        clock.update(cpu=clock["cpu"] + ours, wall=clock["wall"] + 7)

    monkeypatch.setattr(step.Times, "now", lambda: step.Times(clock["cpu"], clock["wall"]))
    monkeypatch.setattr(step.TakeTurns, "bare_block", bare_block)
    monkeypatch.setattr(step.BareLoop, "step", bare_step)
    monkeypatch.setattr(step.TakeTurns, "on_train_batch_start", our_step)
    code, printed = run(step, "--only", "mlp", "--blocks", "1", "--steps", "3")
    # Blocks take turns: bare, ours, both to warm up, bare (2 s), ours, bare (3 s).
    figures = ["5000.00", f"{ours * 1000:.2f}", f"{ours / 5:.3f}", f"{7 / 2.5:.3f}", "1.35"]
    assert rows(printed) == [["mlp", "1", *figures, verdict]]
    assert code == (verdict == "fail")


@pytest.mark.parametrize("name", ["mlp", "r3gan", "stylegan2"])
def test_the_bare_loop_trains_both_networks(name: str) -> None:
    step = loaded("step")
    torch.manual_seed(0)
    model, made = step.made(name)
    bare = step.BARE.get(name, step.BareLoop)(model, (made.reference("train").image,), 8)
    for _ in range(2):  # R3GAN's last convolutions begin at 0, and let nothing through in the first step
        bare.step()
    for moved, left in ((bare.G, model.generator), (bare.D, model.discriminator)):
        assert all(p.requires_grad for p in moved.parameters())
        assert all(not torch.equal(p, q) for p, q in zip(moved.parameters(), left.parameters(), strict=True))


SLOW = pytest.mark.slow
CASES = ["dcgan", "pix2pix", "seqgan", *(pytest.param(n, marks=SLOW) for n in ("sngan", "biggan", "cyclegan"))]


@pytest.mark.parametrize("model", [*CASES, *(pytest.param(n, marks=SLOW) for n in ("stylegan2", "r3gan"))])
def test_gpu_runs_on_a_cpu_too(run: Run, model: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    how = ["--only", model, "--device", "cpu", "--tiny", "--seconds", "0.1", "--channels_last", "--out", str(file)]
    precisions = ["bf16-mixed", "32-true"] if model == "dcgan" else ["bf16-mixed"]
    code, printed = run(loaded("gpu"), *how, "--precisions", ",".join(precisions))
    written = json.loads(file.read_text())["rows"]
    ways = [[model, precision, "False", last] for last in ("False", "True") for precision in precisions]
    assert [cells[:4] for cells in rows(printed)] == ways
    assert code == any(row["ratio"] > 1.03 for row in written)
    for row in written:
        assert row["blocks"] >= 1 and row["kernels_per_step"] >= row["bare_kernels_per_step"] / 2 > 0
        assert min(row[key] for key in ("images_per_second", "bare_images_per_second", "share_of_peak")) > 0


def test_bytes_are_those_of_the_papers_networks(run: Run) -> None:
    """DCGAN's generator (the paper's figure 1) by hand; what the first of two keeps is half, or a row more."""
    code, printed = run(loaded("bytes"), "--only", "DCGAN")
    ends = [100, 1024, 512, 256, 128, 3]
    kernels = sum(16 * a * b for a, b in zip(ends, ends[1:], strict=False))
    (cells,) = rows(printed)
    assert code == 0 and cells[0] == "DCGAN, 64 px"
    assert float(cells[2]) == pytest.approx(4e-6 * (kernels + 2 * sum(ends[1:-1]) + 3), abs=0.05)
    assert float(cells[1]) == pytest.approx(float(cells[2]) + float(cells[3]), abs=0.1)
    of_first = loaded("bytes").of_first
    assert [of_first(torch.zeros(shape), 2) for shape in ((4, 3), (5, 3), (1, 3), ())] == [24, 36, 12, 4]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch needs a C++ compiler on a CPU")
def test_gpu_measures_compiled_rows(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    how = ["--only", "dcgan", "--device", "cpu", "--tiny", "--seconds", "0.1", "--compile", "--out", str(file)]
    _, printed = run(loaded("gpu"), *how, "--precisions", "32-true")
    assert [cells[:3] for cells in rows(printed)] == [["dcgan", "32-true", compiled] for compiled in ("False", "True")]
    assert all(row["images_per_second"] > 0 for row in json.loads(file.read_text())["rows"])


def test_the_tests_for_a_gpu_run_on_a_cpu() -> None:
    """Of one model here; of all: `GAN_LIGHTNING_TEST_DEVICE=cpu pytest -m gpu`."""
    only = "DCGAN and (on_the_cpu or precision or resume or channels)"
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-k", only, "-p", "no:cacheprovider", "tests/test_gpu.py"]
    environment = os.environ | {"GAN_LIGHTNING_TEST_DEVICE": "cpu"}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[1], timeout=500
    )
    assert done.returncode == 0 and int(re.search(r"(\d+) passed", done.stdout)[1]) == 7, done.stdout[-3000:]


def write_classifier(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Untrained weights where the CIFAR-10 classifier's are looked for."""
    (folder / "weights").mkdir()
    state = {f"module.{name}": value for name, value in ResNet56().state_dict().items()}
    torch.save({"state_dict": state}, folder / "weights" / RESNET56_FILE)
    monkeypatch.setenv("GAN_LIGHTNING_DATA", str(folder))


@pytest.mark.parametrize("model", ["sngan", *(pytest.param(n, marks=SLOW) for n in ("biggan", "r3gan"))])
def test_gpu_train_runs_on_a_cpu_too(run: Run, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cifar10").mkdir()
    write_cifar(tmp_path / "cifar10")
    write_classifier(tmp_path, monkeypatch)
    how = ["--only", model, "--device", "cpu", "--tiny", "--out", str(tmp_path / "out")]
    code, printed = run(loaded("gpu_train"), *how)
    (row,) = json.loads((tmp_path / "out" / "rows.json").read_text())["rows"]
    assert code == 0 and json.loads(printed.splitlines()[-1])["model"] == model
    assert row["steps"] == 2 and row["images"] > 0 and (tmp_path / "out" / f"{model}.png").is_file()
    assert all("cifar-resnet56" in name and math.isfinite(entry["value"]) for name, entry in row["scores"].items())


# The others.


def test_data(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    module = loaded("data")
    monkeypatch.setattr(module, "of_photos", partial(module.of_photos, side=128, size=32))
    code, printed = run(module, "--images", "32", "--batch_size", "8", "--repeats", "1")
    names = ["MNIST", "MNIST", "CIFAR10", "CIFAR10", "UnpairedImages", "PairedImages", "ImageFolder"]
    pattern = rf"(\w+) +\d workers: +({NUMBER}) images/s, torchvision +({NUMBER}), ratio +({NUMBER})"
    found = re.findall(pattern, printed)
    assert [line[0] for line in found] == names
    ratios = [number(line[3]) for line in found]
    assert ratios == pytest.approx([number(line[1]) / number(line[2]) for line in found], rel=0.02, abs=0.06)
    assert code in (0, 1)
    decoders = {cells[0]: number(cells[1]) for cells in rows(printed)}
    assert decoders.keys() >= {"Pillow, Resize", "Pillow, draft", "OpenCV, whole", "OpenCV, 1/4"}


def test_million(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    module = loaded("million")
    monkeypatch.setattr(module, "BATCHES", 1)
    module.write(tmp_path, 200)
    assert len(list(tmp_path.glob("class*/*.jpg"))) == 200
    module.start(str(tmp_path))
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found.keys() == {"seconds", "cpu", "rss", "own"} and 0 < found["own"] < found["rss"]


def test_streaming(run: Run) -> None:
    pytest.importorskip("pyarrow")
    flags = "--images 12 --pixels 32 --size 16 --batch_size 4 --workers 0 --repeats 1"
    code, printed = run(loaded("streaming"), *flags.split())
    found = re.findall(rf"^(\w+) +({NUMBER}), +({NUMBER}) of files; with the workers' start ({NUMBER})$", printed, re.M)
    assert [name for name, *_ in found] == ["files", "shards", "parquet"]
    for _, rate, ratio, _ in found:
        assert number(ratio) == pytest.approx(number(rate) / number(found[0][1]), rel=0.02, abs=0.006)
    assert code == int(min(number(ratio) for _, _, ratio, _ in found) < 0.95)


def test_ranking(run: Run, tmp_path: Path) -> None:
    ranking = loaded("ranking")
    config = yaml.safe_load(ranking.CONFIG.read_text())
    config["model"]["init_args"] |= {"pretraining": 4}
    config["trainer"]["max_steps"] = 5  # one batch of the generator, with five of the discriminator: 10 in all
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    code, printed = run(ranking, "--seeds", "0", "--every", "2", "--config", str(tmp_path / "tiny.yaml"))
    of = {name: cells for name, *cells in rows(printed)}
    names = ["BPR", "DNS", "IRGAN, start", "IRGAN, game", "game less start", "popularity", "truth"]
    assert code is None and list(of) == names
    assert all(0 < number(cell) < 1 for name in names[:4] for cell in of[name])
    for start, game, gain in zip(of["IRGAN, start"], of["IRGAN, game"], of["game less start"], strict=True):
        assert number(gain) == pytest.approx(number(game) - number(start), abs=2e-4)
    validation = printed[: printed.index("| test |")]
    assert rows(validation)[0][0] == "BPR" and rows(validation)[0][1:] != of["BPR"]  # other choices are reported


def test_rollout(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = loaded("rollout")
    monkeypatch.setattr(rollout, "BATCH", 2)
    monkeypatch.setattr(rollout, "LENGTH", 5)
    code, printed = run(rollout, "--vocabularies", "10,20", "--rounds", "1", "--loop", "1")
    assert code == 0
    assert [cells[0] for cells in rows(printed)] == ["10", "20"]
    for _, slow, fast, ratio in rows(printed):
        assert number(ratio) == pytest.approx(number(fast) / number(slow), rel=0.02, abs=0.06)


def test_rollout_tells_of_ways_that_differ(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = loaded("rollout")
    monkeypatch.setattr(rollout, "BATCH", 2)
    monkeypatch.setattr(rollout, "by_prefixes", lambda network, token, uniform: token)
    assert run(rollout, "--vocabularies", "10", "--rounds", "1")[0] == 1


def test_scores(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but `extract`; in this process, which a memory of its own is not the point of."""
    scores = loaded("scores")
    monkeypatch.setattr(scores, "in_own_process", scores.alone)
    sections = "frechet,cached,memory,prdc"
    code, printed = run(scores, "--only", sections, "--dim", "8", "--fakes", "32", "--prdc", "20")
    assert re.findall(r"^(\w+):", printed, re.MULTILINE) == sections.split(",")
    assert number(re.search(rf"relative difference: ({NUMBER})", printed)[1]) < 1e-6
    assert "reads of real images beyond the first one: 0 " in printed
    assert code == ("MISSED" in printed)


class Constant:
    """In the place of a score of torchmetrics."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def update(self, *_: Any, **__: Any) -> None: ...

    def compute(self) -> float:
        return 3.0


def test_scores_extract(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a small extractor in the place of Inception, which takes seconds to make, and without the other programs."""
    import torch_fidelity  # here, because it is slow to import

    scores = loaded("scores")
    monkeypatch.setattr(scores, "made_weights", lambda path: None)
    monkeypatch.setattr(metrics, "Inception", lambda path: metrics.DigitFeatures())
    monkeypatch.setattr(torch_fidelity, "calculate_metrics", lambda **_: {"frechet_inception_distance": 2.0})
    monkeypatch.setattr(torchmetrics.image.fid, "NoTrainInceptionV3", Constant)
    for name in ("FrechetInceptionDistance", "KernelInceptionDistance", "InceptionScore"):
        monkeypatch.setattr(torchmetrics.image, name, Constant)
    code, printed = run(scores, "--only", "extract", "--images", "16", "--size", "8")
    fid = dict(re.findall(rf"^  (\S+) +{NUMBER} s, FID ({NUMBER})", printed, re.MULTILINE))
    assert list(fid) == ["ours", "torch-fidelity", "torchmetrics"]
    assert number(fid["ours"]) > 0 and (fid["torch-fidelity"], fid["torchmetrics"]) == ("2", "3")
    assert code == ("MISSED" in printed)


@pytest.mark.slow
def test_scores_extract_agrees_with_torch_fidelity(run: Run) -> None:
    _, printed = run(loaded("scores"), "--only", "extract", "--images", "8", "--size", "8")
    ours, theirs, _ = map(number, re.findall(rf"FID ({NUMBER})", printed))
    assert ours == pytest.approx(theirs, rel=1e-4)


SHAPES: dict[str, tuple[type[ShapeData], dict[str, Any], int]] = {  # data, what a checkpoint needs, lines printed
    "Pix2Pix": (data.ShapePairs, {}, 1),
    "CycleGAN": (data.ShapeDomains, {}, 2),
    "StarGAN": (data.ShapeAttributes, {"attributes": ["Warm", "Filled", "Large"]}, 4),
    "SimGAN": (data.ShapeRefinement, {}, 6),
    "FaceSwap": (data.ShapeIdentities, {}, 2),
    "ContextEncoder": (data.ShapeHoles, {}, 3),
    "SRGAN": (data.ShapeResolution, {"features": partial(networks.RandomFeatures, width=4)}, 3),
}


def test_captions(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader's own error, both stages and both discriminators; how right pictures are, of readings known."""
    captions = loaded("captions")
    monkeypatch.setattr(captions, "STEPS", 4)
    monkeypatch.setattr(captions, "DRAWINGS", 64)
    module = data.CaptionedShapes(n=8, size=16, batch_size=8)
    facts = {"image_shape": module.image_shape, "vocabulary": module.vocabulary, "length": module.length}
    trained(text_to_image(facts, text_images=0, stage_1_images=8), 2, module).save_checkpoint(tmp_path / "a.ckpt")
    _, printed = run(captions, str(tmp_path / "a.ckpt"))
    begins = "real drawings", "stage I ", "stage II", "discriminator of stage I ", "discriminator of stage II"
    for line, begin in zip(printed.splitlines(), begins, strict=True):
        assert line.startswith(begin) and "nan" not in line

    factors = captions.places(np.array([[2, 0, 3, 1, 1, 2, 0, 1], [1, 1, 0, 2, -1, -1, -1, -1]]))
    turned = torch.tensor([[1, 1, 2, 0, 0, 3, 1, 1], [0, 1, 0, 2, 0, 0, 0, 0]])  # the first two shapes' places

    def reading(values: torch.Tensor) -> torch.Tensor:
        shown = [torch.nn.functional.one_hot(v.clamp(min=0), n) for v, n in zip(values.T, captions.VALUES, strict=True)]
        return 9.0 * torch.cat(shown, 1)

    assert captions.right(reading(factors), factors) == dict(colour_and_shape=1, relation=1, one_shape=1, two_shapes=1)
    assert captions.right(reading(turned), factors) == dict(colour_and_shape=1, relation=0, one_shape=1, two_shapes=1)
    turned[0, 2], turned[1, 3] = 4, 0
    assert captions.right(reading(turned), factors)["colour_and_shape"] == 0


def test_pairs(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real pairs are all right; the data is the checkpoint's own."""
    flags = ["--model=CoGAN", "--model.generator.width=4", "--model.discriminator.units=8", "--trainer.max_steps=1"]
    flags += ["--data=DigitDomains", "--data.transform=negative", "--data.size=8", "--trainer.logger=false"]
    monkeypatch.chdir(tmp_path)
    fit.main([*flags, "--trainer.enable_progress_bar=false", "--trainer.callbacks=null"])
    (checkpoint,) = tmp_path.glob("runs/*/*/last.ckpt")
    _, printed = run(loaded("pairs"), str(checkpoint), "--n", "300")
    found = re.findall(rf"^(.+?) +({NUMBER}) pairs  pixels that agree +({NUMBER})%  IoU ({NUMBER})$", printed, re.M)
    kinds = ["one latent", "different latents", "real pairs", "different real images"]
    kinds += ["real, B one pixel aside", "real, B all black"]
    assert [line[0] for line in found] == kinds and [line[1] for line in found] == ["300"] * 2 + ["148"] * 4
    assert found[2][2:] == ("100.0", "1.000") and 50 < number(found[3][2]) < 95


@pytest.fixture
def faces(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = loaded("faces")
    monkeypatch.setattr(sys.modules["shapes"], "STEPS", 100)
    return module


class Plain(NamedTuple):
    """Data of one colour an image, whose channels say which attributes there are."""

    attributes: tuple[str, ...] = ("Red", "Green", "Blue")

    def reference(self, split: str) -> Rows:
        torch.manual_seed(len(split))
        has = torch.randint(0, 2, (200, 3)).float()
        return Rows(Attributed(colours(has), has))


def colours(has: torch.Tensor) -> torch.Tensor:
    """(n, 3, 16, 16): a channel is 0.5 where the attribute is, -0.5 where it is not."""
    return (has - 0.5)[:, :, None, None].expand(-1, -1, 16, 16).clone()


@pytest.mark.parametrize(
    ("edit", "edited", "kept", "cycle"),
    [
        (lambda image, has: colours(has), 1, 1, 0),  # as asked
        (lambda image, has: image, 0, 1, 0),  # nothing
        (lambda image, has: -image, 1, 0, 0),  # everything turned, and back
        (lambda image, has: colours(torch.ones_like(has)), None, None, 0.25),  # there and back: half of the pixels by 1
    ],
)
def test_faces_measures_edits_of_known_images(
    faces: ModuleType, capsys: pytest.CaptureFixture[str], edit: Callable, edited: float, kept: float, cycle: float
) -> None:
    attributes = Plain().attributes
    model = SimpleNamespace(exclusive=[], attributes=list(attributes), edit=edit)
    model.asked = partial(models.StarGAN.asked, model)
    faces.stargan(model, Plain())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(attributes)
    for line in lines:
        right, *found = (number(value) for value in re.findall(rf"(?<= ){NUMBER}(?=  |$)", line))
        assert right == 1
        for value, expected in zip(found, (edited, kept, cycle), strict=True):
            assert expected is None or value == pytest.approx(expected, abs=0.05)


def test_faces_asks_for_exclusive_attributes_alone(faces: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """Black where Red is asked for takes Green away: only Blue is to be kept."""
    asked = []

    def edit(image: torch.Tensor, has: torch.Tensor) -> torch.Tensor:
        asked.append(has)
        return colours(has)

    model = SimpleNamespace(exclusive=[0, 1], attributes=["Red", "Green", "Blue"], edit=edit)
    model.asked = partial(models.StarGAN.asked, model)
    faces.stargan(model, Plain())
    for line in capsys.readouterr().out.splitlines():
        assert "edited 1  others kept 1" in line
    assert {tuple(row) for row in asked[0][:, :2].tolist()} == {(1.0, 0.0)}


@pytest.mark.parametrize("name", ["StarGAN", "CycleGAN"])
def test_faces(name: str, faces: ModuleType, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a folder, by the data that the checkpoint names."""
    (tmp_path / "images").mkdir()
    rows = []
    for row in range(60):
        picture = np.random.default_rng(row).integers(0, 256, (18, 16, 3), np.uint8)
        Image.fromarray(picture).save(tmp_path / "images" / f"{row}.png")
        rows.append(f"{row}.png {1 if row % 2 else -1} {1 if row % 3 else -1}")
    (tmp_path / "list_attr_celeba.txt").write_text("\n".join(["60", "Odd Rest", *rows]))
    for letter in "AB":
        (tmp_path / f"train{letter}.txt").write_text("\n".join(f"{row}.png" for row in range(letter == "A", 60, 2)))
    kind, settings = {
        "StarGAN": (data.AttributeImages, {"attributes": ["Odd", "Rest"], "size": 16}),
        "CycleGAN": (data.UnpairedImages, {"a": "trainA.txt", "b": "trainB.txt", "size": 16, "jitter": 18}),
    }[name]
    settings |= {"val_fraction": 0.3, "batch_size": 4, "num_workers": 0}
    module = kind(root=str(tmp_path), **settings)
    facts = {"image_shape": module.image_shape} | ({"attributes": ["Odd", "Rest"]} if name == "StarGAN" else {})
    trained(translator(name, facts), 1, module).save_checkpoint(tmp_path / "a.ckpt")
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    with pytest.raises(SystemExit):
        run(faces, str(tmp_path / "a.ckpt"), "--root", str(tmp_path))
    assert "does not say what data" in capsys.readouterr().err
    content["config"] = yaml.safe_dump(
        {"data": {"class_path": kind.__name__, "init_args": settings | {"root": "gone"}}}
    )
    torch.save(content, tmp_path / "a.ckpt")
    _, printed = run(faces, str(tmp_path / "a.ckpt"), str(tmp_path / "a.ckpt"), "--root", str(tmp_path))
    lines = printed.splitlines()
    assert len(lines) == 6 and lines[:3] == lines[3:]
    assert "nan" not in printed


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = loaded("shapes")
    assert list(shapes.MEASURES) == list(SHAPES)
    kind, arguments, lines = SHAPES[name]
    monkeypatch.setattr(ShapeData, "count", lambda self, split: 16)
    monkeypatch.setattr(shapes, "STEPS", 2)
    drawn = kind(size=32 if name == "SRGAN" else 16, batch_size=8)  # a grid of 4 pixels shows in 32
    trained(translator(name, arguments, image_shape=drawn.image_shape), 1, drawn).save_checkpoint(tmp_path / "a.ckpt")
    _, printed = run(shapes, str(tmp_path / "a.ckpt"))
    assert len(printed.splitlines()) == lines
    for line in printed.splitlines():
        figures = [number(value) for value in re.findall(rf"(?<= ){NUMBER}(?=  |$)", line)]
        assert figures and all(map(math.isfinite, figures)) and "nan" not in line
    if name == "SRGAN":
        for seed in range(60):  # a twentieth are held out
            picture = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), np.uint8)
            Image.fromarray(picture).save(tmp_path / f"{seed}.png")
        write_classifier(tmp_path, monkeypatch)
        _, photos = run(shapes, str(tmp_path / "a.ckpt"), "--root", str(tmp_path))
        assert len(photos.splitlines()) == lines and photos.count("trained features") == 2 and photos != printed
    elif name == "Pix2Pix":
        with pytest.raises(SystemExit):
            run(shapes, str(tmp_path / "a.ckpt"), "--root", str(tmp_path))


# Peers: a script of the collection's form, written here.

SCRIPT = """
import argparse
import numpy as np, torch, torch.nn as nn
import torchvision.transforms as transforms
from torchvision import datasets
parser = argparse.ArgumentParser()
for name, default in (("n_epochs", 1), ("batch_size", 8), ("img_size", 28), ("latent_dim", 5)):
    parser.add_argument(f"--{name}", type=int, default=default)
opt = parser.parse_args()

class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.calls = []

    def forward(self, noise, labels):
        self.calls.append((tuple(noise.shape), self.training))
        level = labels[:, None, None, None] / 9 * 2 - 1
        return level.expand(-1, 1, opt.img_size, opt.img_size) + self.weight

generator = Generator()
size = transforms.Resize(opt.img_size)
both = transforms.Compose([size, transforms.ToTensor()])
dataset = datasets.MNIST("../../data/mnist", train=True, download=True, transform=both)
loader = torch.utils.data.DataLoader(dataset, batch_size=opt.batch_size, shuffle=False)
for epoch in range(opt.n_epochs):
    for i, (imgs, labels) in enumerate(loader):
        first = imgs, labels
        print("[Epoch %d] [Batch %d]" % (epoch, i))
"""


def test_peers_stop_a_script_and_draw_by_its_generator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    peers = loaded("peers")
    arrays = write_mnist(tmp_path / "data" / "mnist", zipped=False)
    monkeypatch.setenv("GAN_LIGHTNING_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(peers, "FLAGS", ["--batch_size=12", "--img_size=28", "--n_epochs=1000000"])
    (tmp_path / "cgan.py").write_text(SCRIPT)
    began = time.monotonic()
    ran = peers.run_script(tmp_path / "cgan.py", 0.3, 0)
    assert 0.3 <= ran.seconds < time.monotonic() - began < 30 and ran.images >= 12 and capsys.readouterr().out == ""
    images, labels = ran.names["first"]  # the set's own, as torchvision gives them
    assert np.array_equal((images[:, 0] * 255).round().to(torch.uint8), arrays["train-images-idx3-ubyte"])
    assert np.array_equal(labels, arrays["train-labels-idx1-ubyte"])
    peers.draw(ran, 130, tmp_path / "fakes")
    assert ran.names["generator"].calls == [((100, 5), True), ((30, 5), True)]
    files = sorted((tmp_path / "fakes").iterdir())
    seen = [set(np.asarray(Image.open(path)).flat) for path in files]
    assert len(seen) == 130 and seen == [{round(k % 10 / 9 * 255)} for k in range(130)]  # ten classes, in turn

    (tmp_path / "empty.py").write_text("print(1)")
    with pytest.raises(ValueError, match="empty.py has no `generator`"):
        peers.run_script(tmp_path / "empty.py", 1, 0)


# Runs that are killed, and long ones.


@linux
def test_bar_12_a_run_that_is_killed_ends_where_an_unbroken_one_ends(tmp_path: Path) -> None:
    """Ten times -9 at random moments, then `--ckpt_path last`; as a program, whose copies have nothing of pytest."""
    code, rows = kills(tmp_path, "--models=DCGAN", "--processes=1", "--kills=10")
    (row,) = rows
    assert code == 0 and row["kills"] == 10 and row["in_a_save"] >= 1
    assert row["tensors"] > 100 and row["differ"] == row["left"] == [] and row["steps"] > 3


@linux
@pytest.mark.slow
def test_bar_12_every_kind_of_state_survives_kills(tmp_path: Path) -> None:
    """Pools, stages, ADA's p, k and several averages, on one and two processes."""
    code, rows = kills(tmp_path, "--kills=10")
    assert code == 0 and len(rows) == 10 and sum(row["kills"] for row in rows) == 100


@linux
@pytest.mark.slow
def test_bar_25_fifty_restarts_leave_one_checkpoint_and_nothing_else(tmp_path: Path) -> None:
    code, (row,) = kills(tmp_path, "--models=DCGAN", "--processes=1", "--kills=50")
    assert code == 0 and row["kills"] == 50 and row["left"] == []


def kills(folder: Path, *flags: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit code of benchmarks/kills.py, and its rows."""
    out = folder / "kills.json"
    done = subprocess.run(
        [sys.executable, str(FOLDER / "kills.py"), f"--out={out}", *flags],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert out.exists(), done.stderr[-3000:] + done.stdout
    return done.returncode, json.loads(out.read_text())["rows"]


def test_kills_tells_what_differs_and_what_is_left(tmp_path: Path) -> None:
    module = loaded("kills")
    one, other = ({"a": [torch.zeros(2), 1], "config": number, "b": {"c": torch.ones(1)}} for number in (1, 2))
    assert module.differences(one, other) == (2, [])
    other["a"][1], other["b"]["c"] = 2, torch.ones(1).double()
    other["d"] = None  # not there is another thing than nothing
    assert module.differences(one, other) == (2, ["/a/1", "/b/c", "/d"])

    runs = module.Runs(tmp_path / "runs", module.MODELS["BEGAN"], 1, tmp_path / "elsewhere")
    kept = runs.folder / "runs/BEGAN-Digits/1/last.ckpt"
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert runs.checkpoints() == [kept] and runs.left() == []
    for path in (kept.with_name(".last.ckpt.part-7"), kept.parents[1] / "2/last.ckpt", runs.elsewhere / "staged"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert len(runs.left()) == 3


@linux
def test_bar_25_a_soak_finds_nothing_that_grows(run: Run) -> None:
    code, printed = run(loaded("soak"), "--steps=120", "--every=30", "--images=50")
    found = rows(printed)
    assert [cells[0] for cells in found] == ["memory", "files", "threads", "shared", "children"]
    assert code == 0 and all(cells[3] == "flat" for cells in found)
    assert number(found[0][1]) > 100 and number(found[4][1]) >= 1, "the loader's worker is a child process"


class Leak(Callback):
    """Keeps something of each kind that a soak reads, at every tenth step."""

    def __init__(self) -> None:
        self.kept: list[Any] = []
        self.end = threading.Event()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step % 10 == 0:
            thread = threading.Thread(target=self.end.wait)
            thread.start()
            self.kept += [
                torch.ones(10 * 2**20),  # 40 MiB, more than an allocator takes from what it has
                os.open(os.devnull, os.O_RDONLY),
                thread,
                shared_memory.SharedMemory(create=True, size=64),
                subprocess.Popen(["sleep", "600"]),
            ]

    def release(self) -> None:
        self.end.set()
        for one in self.kept:
            if isinstance(one, shared_memory.SharedMemory):
                one.close(), one.unlink()
            elif isinstance(one, subprocess.Popen):
                one.kill(), one.wait()
            elif isinstance(one, int):
                os.close(one)


@linux
def test_a_soak_finds_a_leak_of_each_kind(run: Run) -> None:
    soak, leak = loaded("soak"), Leak()
    try:
        readings = soak.soak(120, 30, 50, 0, leak)
    finally:
        leak.release()
    assert all(half.grows for half in soak.halves(readings, 30).values())


@linux
@pytest.mark.slow
def test_bar_25_five_thousand_steps_grow_by_less_than_20_mib(tmp_path: Path) -> None:
    """By a process of its own; and a step costs at most 0.7 ms of CPU time above a loop that is written by hand.

    Of five measures the least counts, of the loop by hand and of ours: what else the machine does only adds.
    """
    script = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import soak, step\n"
        "memory = {row.step: row.memory for row in soak.soak(5000, 500, 500, 1)}\n"
        "theirs, ours, _ = map(min, zip(*(step.measure('mlp', 20, 50) for _ in range(5))))\n"
        "print(json.dumps([memory[5000] - memory[500], (ours.cpu - theirs.cpu) / 50 * 1000]))"
    )
    about = {"cwd": tmp_path, "env": os.environ | {"OMP_NUM_THREADS": "1"}}
    done = subprocess.run([sys.executable, "-c", script, str(FOLDER)], capture_output=True, text=True, **about)
    grown, milliseconds = json.loads(done.stdout.splitlines()[-1])
    assert grown < 20 and milliseconds <= 0.7
