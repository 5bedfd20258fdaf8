"""What holds on a CPU holds on a GPU: `pytest -m gpu`, on a machine that has one."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Noisy, adam, gap, made, plain_networks, tensors, tiny, trained
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor

from gan_lightning import evaluate, fit, models, noise, sample, translate
from gan_lightning.core import ImageGenerator, ImageStep
from gan_lightning.data import base

DEVICE = os.environ.get("GAN_LIGHTNING_TEST_DEVICE", "cuda")  # "cpu" shows that the tests themselves run
ACCELERATOR = {"cuda": "gpu", "cpu": "cpu"}[DEVICE]
STEPS = 4
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="there is no GPU"),
]
every_model = pytest.mark.parametrize("name", models.__all__)


def on(device: str, name: str, steps: int = STEPS, made_of: dict[str, Any] | None = None, **options: Any) -> Trainer:
    model, data = made(name, **(made_of or {}))
    accelerator = {"cuda": "gpu", "cpu": "cpu"}[device]
    return trained(model, steps, data, accelerator=accelerator, log_every_n_steps=1, **options)


@pytest.fixture
def one_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same numbers on every device: a GPU's generator has its own, and it divides bytes by another rounding."""
    rows, init = noise.PartNoise._rows, noise.PartNoise.__init__

    def on_cpu(self: noise.PartNoise, seed: int, part: int, parts: int, device: torch.device) -> None:
        init(self, seed, part, parts, torch.device("cpu"))
        self.goes_to = device

    monkeypatch.setattr(noise.PartNoise, "__init__", on_cpu)
    monkeypatch.setattr(noise.PartNoise, "_rows", lambda self, *draw: rows(self, *draw).to(self.goes_to))
    scaled = base.to_unit
    monkeypatch.setattr(base, "to_unit", lambda image: scaled(image.cpu()).to(image.device))
    monkeypatch.setattr(torch.nn.functional, "dropout", lambda x, *_, **__: x)
    monkeypatch.setattr(torch.nn.functional, "dropout2d", lambda x, *_, **__: x)


@pytest.fixture
def deterministic() -> Iterator[None]:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@every_model
def test_trains_as_on_the_cpu(name: str, one_noise: None) -> None:
    """Four generator steps in float64 end at the same weights, averages and statistics."""
    ends = [
        on(device, name, made_of={"exact": True}, precision="64-true").lightning_module.cpu()
        for device in ("cpu", DEVICE)
    ]
    assert gap(tensors(ends[1]), tensors(ends[0])) <= 1e-8


@every_model
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_every_precision_trains(name: str, precision: str) -> None:
    """Weights move and stay finite and in float32; with float16 a scaler of Lightning's takes part."""
    before = tensors(made(name)[0])
    trainer = on(DEVICE, name, precision=precision)
    after = tensors(trainer.lightning_module.cpu())
    assert gap(after, before) > 0 and all(value.isfinite().all() for value in after.values())
    assert not any(value.dtype in (torch.float16, torch.bfloat16) for value in after.values())
    figures = {figure: float(value) for figure, value in trainer.callback_metrics.items()}
    assert all(math.isfinite(value) for figure, value in figures.items() if "gradient_norm" not in figure)


@every_model
@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_resume_goes_on_as_if_unbroken(name: str, precision: str, tmp_path: Path, deterministic: None) -> None:
    """Weights, moments, pools and the scaler; to rounding, since some kernels add up in an order of their own."""
    whole = on(DEVICE, name, precision=precision)
    on(DEVICE, name, 2, precision=precision).save_checkpoint(tmp_path / "a.ckpt")
    rest = on(DEVICE, name, precision=precision, ckpt_path=tmp_path / "a.ckpt")
    assert gap(tensors(rest.lightning_module), tensors(whole.lightning_module)) <= 1e-4
    if precision == "16-mixed" and DEVICE == "cuda":
        scales = [one.precision_plugin.scaler.state_dict() for one in (whole, rest)]
        assert scales[0]["scale"] == scales[1]["scale"] and scales[0]["_growth_tracker"] == scales[1]["_growth_tracker"]


@pytest.mark.parametrize("name", [name for name in models.__all__ if issubclass(getattr(models, name), ImageGenerator)])
def test_samples_are_those_of_the_cpu(name: str) -> None:
    model = on(DEVICE, name).lightning_module.to(DEVICE)
    assert next(model.averages["generator"].parameters()).device.type == DEVICE
    found = model.sample(8, seed=3).cpu()
    assert found == pytest.approx(model.cpu().sample(8, seed=3), abs=2e-3)  # TF32 in convolutions


class Waits(Callback):
    """Notes the warnings of steps that make the host wait for the device."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.watched = 0

    def on_train_batch_start(self, *_: Any) -> None:
        self._caught = warnings.catch_warnings(record=True)
        self._list = self._caught.__enter__()
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        torch.cuda.set_sync_debug_mode("default")
        self._caught.__exit__(None, None, None)
        self.watched += trainer.global_step > 6
        if trainer.global_step > 6:  # before, networks grow and filters are built for each of their levels
            self.found += [f"{w.filename}:{w.lineno}" for w in self._list if "synchroniz" in str(w.message)]


@pytest.mark.skipif(DEVICE == "cpu", reason="a CPU has nothing to wait for")
@every_model
def test_a_step_between_log_lines_waits_for_nothing(name: str) -> None:
    waits, (model, data) = Waits(), made(name)
    if name == "SinGAN":
        model.steps_per_scale = 4  # else it ends before the watch begins
    trained(model, 10, data, accelerator=ACCELERATOR, log_every_n_steps=100, callbacks=[waits])
    assert waits.watched and sorted(set(waits.found)) == []


@pytest.mark.skipif(DEVICE == "cpu", reason="the same twice")
def test_the_average_is_the_formula_of_the_weights() -> None:
    model = tiny("DCGAN", plain_networks(), adam(), step=ImageStep(ema_half_life=20.0, ema_rampup=None))
    states: list[dict[str, Tensor]] = [tensors(model.generator)]

    class Seen(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            states.append({name: value.cpu() for name, value in tensors(model.generator).items()})

    trained(model, STEPS, Noisy(), accelerator=ACCELERATOR, callbacks=[Seen()])
    beta = 0.5 ** (16 / 20)  # of a batch of 16
    expected = states[0]
    for state in states[1:]:
        expected = {name: beta * expected[name] + (1 - beta) * state[name] for name in state}
    assert gap({n: v.cpu() for n, v in tensors(model.ema.network).items()}, expected) <= 1e-5


@pytest.mark.skipif(DEVICE == "cpu", reason="an H100 compiles in seconds, two cores in minutes")
@pytest.mark.parametrize("name", ["DCGAN", "LSGAN", "R3GAN", "SNGAN"])
def test_compiled_players_train_as_others(name: str) -> None:
    """The same weights as without compiling, up to float32's rounding after four steps.

    torch 2.11 changes spectral norm's vector of one row too early where it is compiled: that player falls back.
    """
    ends = []
    for compiled in (False, True):
        model, data = made(name, exact=True, compile=compiled)
        trained(model, STEPS, data, accelerator=ACCELERATOR)
        ends.append(tensors(model.cpu()))
    assert gap(ends[1], ends[0]) <= 1e-3


@pytest.mark.parametrize("name", ["DCGAN", "SNGAN", "Pix2Pix"])
def test_channels_last_trains_as_others(name: str) -> None:
    ends = []
    for last in (False, True):
        model, data = made(name, exact=True, channels_last=last)
        trained(model, STEPS, data, accelerator=ACCELERATOR)
        ends.append(tensors(model.cpu()))
    assert gap(ends[1], ends[0]) <= 1e-3  # TF32 in convolutions


def test_float16_overflow_of_one_player_skips_that_player_only() -> None:
    """Both players share one scaler, which an infinite loss of the generator's third turn halves once."""
    model = tiny("DCGAN", plain_networks(), adam())
    losses, states = model.generator_loss, []

    def generator_loss(batch: Any) -> Any:
        factor = math.inf if model.iteration == 3 else 1.0
        return {name: factor * term for name, term in losses(batch).items()}

    class Seen(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            states.append([tensors(network) for network in (model.generator, model.discriminator)])

    model.generator_loss = generator_loss
    plugin = MixedPrecision("16-mixed", DEVICE, torch.amp.GradScaler(DEVICE, init_scale=256.0))
    trained(model, 6, Noisy(), accelerator=ACCELERATOR, plugins=[plugin], callbacks=[Seen()])
    moved = [
        [gap(now, then) > 0 for now, then in zip(*both, strict=True)] for both in zip(states[1:], states, strict=False)
    ]
    assert moved == [[True, True], [False, True], [True, True], [True, True], [True, True]]
    assert plugin.scaler.get_scale() == 128.0


class Profiled(Callback):
    """Profiles the batches after the sixth; other log lines than the last are none."""

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 6 and not hasattr(self, "profiler"):
            self.profiler = torch.profiler.profile()
            self.profiler.start()

    def on_train_end(self, *_: Any) -> None:
        self.profiler.stop()
        self.names = [event.name for event in self.profiler.events()]


@pytest.mark.parametrize("name", ["DCGAN", "SNGAN", "BigGAN", "R3GAN", "StyleGAN2", "CycleGAN", "SeqGAN"])
def test_the_profiler_sees_no_wait_between_log_lines(name: str) -> None:
    """Neither a call that waits for the device, nor a copy from it, which waits too."""
    profiled, (model, data) = Profiled(), made(name)
    trained(model, 12, data, accelerator=ACCELERATOR, log_every_n_steps=1000, callbacks=[profiled])
    assert any("optimizer" in event.lower() for event in profiled.names)  # steps were seen
    waits = [event for event in profiled.names if "Synchronize" in event or "DtoH" in event]
    # The profiler waits for the device itself where it begins and ends.
    assert sum("DeviceSynchronize" not in event for event in waits) == 0, sorted(set(waits))


@pytest.mark.skipif(DEVICE == "cuda" and torch.cuda.device_count() < 2, reason="there are no two GPUs")
def test_two_devices_train_as_one(tmp_path: Path) -> None:
    """By NCCL, or on a CPU by gloo: the same weights in float64, by the command that a user gives."""
    ends = []
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        flags = ["--model=R3GAN", "--data=Digits", "--model.generator.width=16", "--model.discriminator.width=16"]
        flags += [f"--trainer.devices={devices}", f"--trainer.accelerator={ACCELERATOR}", "--trainer.max_steps=4"]
        flags += ["--trainer.precision=64-true", "--trainer.logger=false", f"--trainer.default_root_dir={folder}"]
        subprocess.run([sys.executable, "-m", "gan_lightning.fit", *flags], check=True, timeout=300, cwd=tmp_path)
        (checkpoint,) = folder.rglob("last.ckpt")
        ends.append(torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"])
    numbers = [{name: value for name, value in end.items() if torch.is_tensor(value)} for end in ends]
    assert gap(numbers[1], numbers[0]) <= 1e-8


# The commands.


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last checkpoint of a run that chose the GPU by itself."""
    folder, before = tmp_path_factory.mktemp("gpu"), Path.cwd()
    os.chdir(folder)
    try:
        of_run = ["--trainer.max_steps=20", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]
        accelerator = f"--trainer.accelerator={'auto' if DEVICE == 'cuda' else 'cpu'}"
        fit.main(["--model=DCGAN", "--data=Digits", "--model.generator.width=8", *of_run, accelerator])
    finally:
        os.chdir(before)
    (found,) = folder.rglob("last.ckpt")
    return found


def test_scores_are_those_of_the_cpu(run: Path, tmp_path: Path) -> None:
    figures = []
    for device in ("cpu", DEVICE):
        file = tmp_path / f"{device}.json"
        flags = ["--metrics", "fid,kid,is,prdc", "--n", "500", "--subset_size", "100", "--device", device]
        evaluate.main([str(run), *flags, "--json", str(file)])
        figures.append({name: entry["value"] for name, entry in json.loads(file.read_text()).items()})
    assert figures[0].keys() == figures[1].keys() and figures[0]
    for name, value in figures[0].items():
        # A neighbour more or less at the edge of a ball moves precision and its kin by 1 of 500.
        assert figures[1][name] == pytest.approx(value, rel=5e-3, abs=5e-3), name


def test_sample_and_translate_run_there(run: Path, tmp_path: Path) -> None:
    sample.main([str(run), "--n", "4", "--out", str(tmp_path / "a"), "--device", DEVICE])
    assert len(list((tmp_path / "a").glob("*.png"))) == 4
    on(DEVICE, "CycleGAN").save_checkpoint(tmp_path / "b.ckpt")
    translate.main(
        [str(tmp_path / "b.ckpt"), "--input", str(tmp_path / "a"), "--out", str(tmp_path / "b"), "--device", DEVICE]
    )
    assert len(list((tmp_path / "b").glob("*.png"))) == 4
