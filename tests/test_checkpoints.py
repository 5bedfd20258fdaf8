"""Checkpoints survive kills, full disks and NaNs, hold data only, rebuild their model, and come when they should."""

from __future__ import annotations

import csv
import enum
import inspect
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SHAPE, TEXT_TO_IMAGE, Noisy, assert_same, gap, quiet, shapes_alone, tensors
from lightning.pytorch import Callback, Trainer

from gan_lightning import losses, models, networks, optim
from gan_lightning.augment import ADA, DiffAugment
from gan_lightning.callbacks import Checkpoint, ScheduledScore, When
from gan_lightning.core import AdversarialModule, ImageShape, ImageStep, Step
from gan_lightning.core.hyperparameters import instantiate, plain_hyperparameters, resolve
from gan_lightning.loading import build, load_model
from gan_lightning.runtime.checkpoint_io import AtomicCheckpointIO, previous, read
from gan_lightning.runtime.errors import NotFiniteError
from gan_lightning.runtime.runs import RunCSVLogger

LATENT = 6


def small(kind: type = models.DCGAN, seed: int = 0, **arguments: Any) -> AdversarialModule:
    """A tiny model, built directly."""
    torch.manual_seed(seed)
    small_networks = {
        "generator": partial(networks.DCGANGenerator, latent_dim=LATENT, width=4),
        "discriminator": partial(networks.DCGANDiscriminator, width=4),
    }
    return kind(SHAPE, **(small_networks | arguments))


def fit(
    model: AdversarialModule,
    checkpoint: Checkpoint,
    steps: int,
    *others: Callback,
    ckpt_path: str | None = None,
    **options: Any,
) -> Trainer:
    trainer = quiet(max_steps=steps, enable_checkpointing=True, callbacks=[*others, checkpoint], **options)
    trainer.fit(model, Noisy(), ckpt_path=ckpt_path)
    return trainer


def in_child(work: Callable[[], None]) -> int:
    """Start `work` in a copy of this process; its process id."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child


class At(Callback):
    """Calls `what(trainer, module)` at the end of batch `iteration`."""

    def __init__(self, what: dict[int, Callable[[Trainer, Any], None]]) -> None:
        self.what = what

    def on_train_batch_end(self, trainer: Trainer, pl_module: AdversarialModule, *_: Any) -> None:
        if pl_module.iteration in self.what:
            self.what[pl_module.iteration](trainer, pl_module)


class Spy(AtomicCheckpointIO):
    """Notes the generator step of every file."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        super().save_checkpoint(checkpoint, path, storage_options)
        self.steps.append(checkpoint["global_step"])


# The file.


def test_bar_11_kill_while_saving_leaves_a_whole_file(tmp_path: Path) -> None:
    """With $TMPDIR on another file system, where Lightning would stage the file."""
    path = tmp_path / "last.ckpt"
    newest = cut_off = 0
    elsewhere = tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)

    def save_for_ever() -> None:
        os.environ["TMPDIR"] = tempfile.tempdir = elsewhere.name
        version = newest
        while True:
            version += 1
            AtomicCheckpointIO().save_checkpoint(
                {"version": version, "weights": [torch.full((100_000,), version) for _ in range(8)]}, path
            )

    AtomicCheckpointIO().save_checkpoint({"version": 0, "weights": []}, path)
    chance = random.Random(0)
    for number in range(20):
        child = in_child(save_for_ever)
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(f".*-{child}")) and time.monotonic() < deadline:
            time.sleep(0.0005)
        time.sleep(chance.uniform(0.0, 0.08) if number % 2 else 0.0)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        cut_off += bool(list(tmp_path.glob(f".*-{child}")))
        content = read(path)
        assert content["version"] >= newest
        assert all((weight == content["version"]).all() for weight in content["weights"])
        if previous(path).exists():
            assert content["version"] - 1 <= read(previous(path))["version"] <= content["version"]
        newest = content["version"]
    assert cut_off, "no kill came while a file was half written"
    AtomicCheckpointIO().save_checkpoint({"version": 0}, path)
    with elsewhere:
        assert not os.listdir(elsewhere.name)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["last.ckpt", "last.previous.ckpt"]
    assert read(previous(path))["version"] == newest


def test_bar_15_a_full_disk_is_one_line_and_leaves_the_file_before(tmp_path: Path) -> None:
    path, message = tmp_path / "last.ckpt", tmp_path / "message"
    AtomicCheckpointIO().save_checkpoint({"version": 1}, path)

    def save_too_much() -> None:
        message.write_text("no error")
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            AtomicCheckpointIO().save_checkpoint({"version": 2, "weight": torch.zeros(100_000)}, path)
        except OSError as error:
            message.write_text(str(error))

    os.waitpid(in_child(save_too_much), 0)
    assert message.read_text() == f"cannot write the checkpoint {path}: File too large"
    assert read(path) == {"version": 1}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["last.ckpt", "message"]


def test_copies_where_links_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    for version in range(2):
        AtomicCheckpointIO().save_checkpoint({"version": version}, tmp_path / "last.ckpt")
    assert (read(tmp_path / "last.previous.ckpt"), read(tmp_path / "last.ckpt")) == ({"version": 0}, {"version": 1})


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize(
    "bad", [np.float64(1.0), Path("x"), Colour.RED, lambda: 0, Step(), np.zeros(2)], ids=lambda bad: type(bad).__name__
)
def test_refuses_what_would_not_load(tmp_path: Path, bad: Any) -> None:
    kind = type(bad).__name__
    with pytest.raises(ValueError, match=rf"checkpoint\['callbacks'\]\['best'\]\[1\] is a .*{kind}.*weights_only"):
        AtomicCheckpointIO().save_checkpoint({"callbacks": {"best": [1.0, bad]}}, tmp_path / "last.ckpt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "overwritten"])
def test_a_damaged_file_names_the_previous_good_one(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "last.ckpt"
    for version in range(2):
        AtomicCheckpointIO().save_checkpoint({"version": version, "weight": torch.ones(10_000)}, path)
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(
        {
            "truncated": whole[:middle],
            "empty": b"",
            "text": b"epoch: 3",
            "overwritten": whole[:middle] + b"\0" * 100 + whole[middle + 100 :],
        }[damage]
    )
    with pytest.raises(ValueError) as error:
        AtomicCheckpointIO().load_checkpoint(path)
    assert str(error.value).startswith(f"{path} is truncated or corrupt")
    assert str(error.value).endswith(f"the previous good one is {previous(path)}")
    assert "\n" not in str(error.value)
    previous(path).write_bytes(b"")
    with pytest.raises(ValueError) as error:
        read(path)
    assert "previous" not in str(error.value)


def test_code_in_a_file_is_refused(tmp_path: Path) -> None:
    torch.save({"function": os.getcwd}, tmp_path / "evil.ckpt")
    with pytest.raises(ValueError, match="holds more than data, and could run code"):
        read(tmp_path / "evil.ckpt")
    torch.save([1], tmp_path / "list.ckpt")
    with pytest.raises(ValueError, match="is not a checkpoint"):
        read(tmp_path / "list.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    with pytest.raises(ValueError, match="not a checkpoint of gan_lightning"):
        load_model(tmp_path / "foreign.ckpt")


def test_a_missing_file_names_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no \*.ckpt"):
        read(tmp_path / "last.ckpt")
    for name in ("last.ckpt", "best.ckpt"):
        torch.save({}, tmp_path / name)
    with pytest.raises(FileNotFoundError, match="did you mean 'last.ckpt'"):
        read(tmp_path / "lst.ckpt")
    with pytest.raises(FileNotFoundError, match="holds best.ckpt, last.ckpt"):
        read(tmp_path / "xyz")
    with pytest.raises(FileNotFoundError, match="is a folder, which holds best.ckpt, last.ckpt"):
        read(tmp_path)
    with pytest.raises(FileNotFoundError, match="the folder .*nowhere does not exist"):
        read(tmp_path / "nowhere" / "last.ckpt")


# The model of a file.


def assert_loads(model: AdversarialModule, path: Path) -> AdversarialModule:
    loaded = load_model(path)
    assert type(loaded) is type(model)
    assert_same(model.state_dict(), loaded.state_dict())
    assert_same(model.sample(3), loaded.sample(3))
    assert (loaded.iteration, loaded.images_seen) == (model.iteration, model.images_seen)
    assert plain_hyperparameters(loaded) == plain_hyperparameters(model)
    return loaded


def test_a_model_built_in_python_loads_from_the_file_alone(tmp_path: Path) -> None:
    model = models.DCGAN(SHAPE, step=ImageStep(ema_half_life=50.0))  # its hparams hold lambdas and a dataclass
    fit(model, Checkpoint(str(tmp_path)), 2)
    path = tmp_path / "last.ckpt"
    loaded = assert_loads(model, path)
    assert gap(tensors(loaded.ema.network), tensors(loaded.generator)) > 0  # the average is not the live network
    assert torch.serialization.get_unsafe_globals_in_checkpoint(path) == []
    hparams = read(path)["hyper_parameters"]
    values = {"num_classes": None, "latent_dim": 100, "width": 128}  # today's defaults
    assert hparams["generator"]["init_args"] == values
    assert hparams["step"]["ema_half_life"] == 50.0
    # A loaded model is saved and loaded as well as the first.
    fit(loaded, Checkpoint(str(tmp_path / "again")), 1)
    assert_loads(loaded, tmp_path / "again" / "last.ckpt")
    # Plain torch reads the file, with nothing of this package at hand.
    script = f"import torch; print(torch.load({str(path)!r}, weights_only=True)['global_step'])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert result.stdout == "2\n", result.stderr


def test_factories_in_python_become_names_in_the_file(tmp_path: Path) -> None:
    model = small(
        models.RelativisticGAN,
        discriminator=networks.DCGANDiscriminator,
        loss=losses.relativistic,
        generator_optimizer=partial(torch.optim.Adam, lr=1e-3, betas=(0.5, 0.9)),
    )
    fit(model, Checkpoint(str(tmp_path)), 1)
    loaded = assert_loads(model, tmp_path / "last.ckpt")
    assert loaded.loss is losses.relativistic
    optimizer = loaded.players()["generator"].optimizer(loaded.generator.parameters())
    assert isinstance(optimizer, torch.optim.Adam)
    assert (optimizer.defaults["lr"], tuple(optimizer.defaults["betas"])) == (1e-3, (0.5, 0.9))


def test_a_built_model_loads_from_the_file_alone(tmp_path: Path) -> None:
    model = build(
        "DCGAN",
        image_shape=SHAPE,
        generator={"class_path": "DCGANGenerator", "init_args": {"width": 4}},
        step={"micro_batches": 2, "scheduler": {"class_path": "LinearDecay", "init_args": {"end": 10}}},
        real_target=0.9,
    )
    assert model.generator.latent_dim == 100
    fit(model, Checkpoint(str(tmp_path)), 2)
    loaded = assert_loads(model, tmp_path / "last.ckpt")
    assert (loaded.real_target, loaded.step.micro_batches) == (0.9, 2)
    assert loaded.players()["generator"].scheduler(torch.optim.SGD([torch.zeros(1)], lr=1.0)).end == 10


@pytest.mark.parametrize("name", models.__all__)
def test_the_parser_builds_what_the_defaults_say(name: str) -> None:
    kind = getattr(models, name)
    torch.manual_seed(0)
    arguments = {"image_shape": SHAPE}
    if "num_classes" in inspect.signature(kind).parameters:
        arguments["num_classes"] = 2
    if "attributes" in inspect.signature(kind).parameters:
        arguments |= {"attributes": ["Left", "Right"], "image_shape": (3, 64, 64)}
    if "image_shape" not in inspect.signature(kind).parameters:
        arguments = {"vocabulary": list("abc"), "length": 4, "users": list("ab"), "items": list("cde")}
        arguments |= {"num_features": None}
        arguments = {name: arguments[name] for name in inspect.signature(kind).parameters if name in arguments}
    if name in ("CycleGAN", "Pix2Pix", "SinGAN"):  # their discriminators need more than 16 pixels
        arguments |= {"image_shape": (3, 32, 32)}
    if name in TEXT_TO_IMAGE:
        arguments |= {"image_shape": (3, 128, 128), "vocabulary": list("abc"), "length": 4}
    large = name == "BigBiGAN" or name in TEXT_TO_IMAGE  # at its default
    with shapes_alone() if large else nullcontext():
        direct = kind(**arguments)
        torch.manual_seed(0)
        parsed = instantiate(kind, resolve(kind, arguments))
    if large:
        assert str(direct) == str(parsed)
    else:
        assert_same(direct.state_dict(), parsed.state_dict())
    assert plain_hyperparameters(direct) == plain_hyperparameters(parsed)


def test_a_class_keeps_its_own_defaults_not_those_of_the_models_default() -> None:
    """CycleGAN's own default is this very class without gain and bias."""
    for given in (networks.PatchDiscriminator, partial(networks.PatchDiscriminator, layers=1)):
        model = models.CycleGAN((1, 32, 32), discriminator=given)
        again = instantiate(models.CycleGAN, plain_hyperparameters(model))
        assert again.state_dict().keys() == model.state_dict().keys()


def test_what_no_file_can_hold_is_refused_before_training(tmp_path: Path) -> None:
    model = small(generator=lambda shape: networks.DCGANGenerator(shape, latent_dim=LATENT, width=4))
    with pytest.raises(ValueError, match=r"DCGAN\(generator=...\) is <function .*gan_lightning.build"):
        fit(model, Checkpoint(str(tmp_path)), 1)
    assert model.iteration == 0


class Prepared(models.DCGAN):
    """A model whose own default says what the discriminator sees, and how its rates fall."""

    def __init__(
        self,
        image_shape: ImageShape,
        step: ImageStep = ImageStep(scheduler=partial(optim.LinearDecay, end=50), augment=partial(ADA, p=0.25)),
    ) -> None:
        parts = {"generator": networks.DCGANGenerator, "discriminator": networks.DCGANDiscriminator}
        super().__init__(image_shape, **{name: partial(kind, width=4) for name, kind in parts.items()}, step=step)


DECAY = {"class_path": "gan_lightning.optim.LinearDecay", "init_args": {"end": 50, "start": 0, "warmup": 0}}
SEEN = {"class_path": "gan_lightning.augment.ADA", "init_args": {"p": 0.25}}


@pytest.mark.parametrize(
    ("make", "augment", "p"),
    {
        "partial": (lambda: small(step=ImageStep(augment=partial(ADA, p=0.25))), ADA, 0.25),
        "class": (lambda: small(step=ImageStep(augment=ADA)), ADA, 0.0),
        "other class": (lambda: small(step=ImageStep(augment=DiffAugment)), DiffAugment, None),
        "plain": (lambda: build("GAN", image_shape=SHAPE, step={"augment": SEEN}), ADA, 0.25),
        "default": (lambda: Prepared(SHAPE), ADA, 0.25),
        "default, built": (lambda: build(f"{__name__}.Prepared", image_shape=SHAPE), ADA, 0.25),
    }.values(),
)  # fmt: skip
def test_factories_within_a_step_are_in_the_file(
    make: Callable[[], AdversarialModule], augment: type, p: float | None, tmp_path: Path
) -> None:
    model = make()
    fit(model, Checkpoint(str(tmp_path)), 1)
    held = torch.load(tmp_path / "last.ckpt", weights_only=True)["hyper_parameters"]["step"]
    assert held["scheduler"] == (DECAY if "Prepared" in type(model).__name__ else None)
    assert held["augment"]["class_path"] == f"gan_lightning.augment.{augment.__name__}"
    loaded = load_model(tmp_path / "last.ckpt", trust=[__name__])
    assert type(loaded.augment) is augment and held["augment"]["init_args"].get("p") == p


def test_a_lambda_within_a_step_is_refused_before_training(tmp_path: Path) -> None:
    model = small(step=ImageStep(augment=lambda: ADA(p=0.25)))
    with pytest.raises(ValueError, match=r"DCGAN\(step=...\).augment is <function .*functools.partial") as error:
        fit(model, Checkpoint(str(tmp_path)), 1)
    assert model.iteration == 0 and "\n" not in str(error.value)


def test_a_model_of_images_takes_a_step_of_images() -> None:
    with pytest.raises(ValueError, match=r"^DCGAN takes step=ImageStep\(\.\.\.\), not Step\(micro_batches=2") as error:
        small(step=Step(micro_batches=2))
    assert "\n" not in str(error.value)


def test_build_names_what_is_wrong() -> None:
    for arguments, message in [
        (("DCGN",), "no model 'DCGN', did you mean 'DCGAN'"),
        (("nowhere.DCGAN",), "cannot be imported"),
        (("torch.nn.Linear",), "the model names torch.nn.Linear, which is no AdversarialModule"),
    ]:
        with pytest.raises(ValueError, match=message):
            build(*arguments, image_shape=SHAPE)
    for options, message in [
        ({"image_shap": SHAPE}, "DCGAN has no argument 'image_shap', did you mean 'image_shape'"),
        ({"n_critic": "five"}, "n_critic.*five"),
        ({"generator": "DCGANGenerato"}, "generator.*DCGANGenerato"),
        ({"step": {"micro": 1}}, "micro"),
    ]:
        with pytest.raises(ValueError, match=message) as error:
            build("DCGAN", **({"image_shape": SHAPE} | options))
        assert "\n" not in str(error.value)


def test_a_class_that_has_changed_or_gone_is_one_line(tmp_path: Path) -> None:
    fit(small(), Checkpoint(str(tmp_path)), 1)
    content = read(tmp_path / "last.ckpt")
    changed = content | {"hyper_parameters": content["hyper_parameters"] | {"generator": "MLPGenerator"}}
    gone = content | {"gan_lightning": content["gan_lightning"] | {"class_path": "gan_lightning.models.old.DCGAN"}}
    for file, message in ((changed, "does not fit gan_lightning.models.dcgan.DCGAN"), (gone, "cannot be imported")):
        torch.save(file, tmp_path / "other.ckpt")
        with pytest.raises(ValueError, match=message) as error:
            load_model(tmp_path / "other.ckpt")
        assert "\n" not in str(error.value)


# When.


@pytest.mark.parametrize(
    "n_critic, every, until, expected", [(1, 7, 20, [7, 14, 20]), (2, 5, 10, [5, 10]), (3, 1, 3, [1, 2, 3])]
)
def test_bar_10_saves_at_generator_steps(
    tmp_path: Path, n_critic: int, every: int, until: int, expected: list[int]
) -> None:
    spy = Spy()
    fit(small(n_critic=n_critic), Checkpoint(str(tmp_path), every_n_steps=every), until, plugins=[spy])
    assert spy.steps == expected


def test_bar_10_saves_by_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spy, clock = Spy(), [0.0]

    def tick() -> float:
        clock[0] += 30.0  # each batch asks once, each save once more
        return clock[0]

    monkeypatch.setattr("gan_lightning.callbacks.checkpoint.time.monotonic", tick)
    fit(small(), Checkpoint(str(tmp_path), every_minutes=2.0), 10, plugins=[spy])
    assert spy.steps == [4, 8, 10]


def test_keeps_the_best_and_its_score(tmp_path: Path) -> None:
    scores = {2: 5.0, 3: 3.0, 5: 4.0, 6: float("nan"), 7: 2.5}

    def log(trainer: Trainer, module: AdversarialModule) -> None:
        trainer.callback_metrics["score"] = torch.tensor(scores[module.iteration])

    checkpoint = Checkpoint(str(tmp_path), monitor="score")
    fit(small(), checkpoint, 6, At(dict.fromkeys(scores, log)))
    assert (checkpoint.best_score, checkpoint.best_step) == (3.0, 3)
    assert checkpoint.best_path == str(tmp_path / "best.ckpt")
    assert (read(tmp_path / "best.ckpt")["global_step"], read(tmp_path / "last.ckpt")["global_step"]) == (3, 6)
    # A resumed run knows the score to beat.
    scores[7] = 3.5
    resumed = Checkpoint(str(tmp_path), monitor="score")
    fit(small(), resumed, 8, At(dict.fromkeys(scores, log)), ckpt_path=str(tmp_path / "last.ckpt"))
    assert (resumed.best_score, resumed.best_path) == (3.0, checkpoint.best_path)
    scores[9] = 2.0
    resumed = Checkpoint(str(tmp_path), monitor="score")
    fit(small(), resumed, 10, At(dict.fromkeys(scores, log)), ckpt_path=str(tmp_path / "last.ckpt"))
    assert (resumed.best_score, read(resumed.best_path)["global_step"]) == (2.0, 9)
    # In a new folder the best is found anew.
    scores[11] = 4.0
    moved = Checkpoint(str(tmp_path / "new"), monitor="score")
    fit(small(), moved, 12, At(dict.fromkeys(scores, log)), ckpt_path=str(tmp_path / "last.ckpt"))
    assert (moved.best_score, read(moved.best_path)["global_step"]) == (4.0, 11)


def test_the_greatest_score_can_be_the_best(tmp_path: Path) -> None:
    def log(trainer: Trainer, module: AdversarialModule) -> None:
        trainer.callback_metrics["score"] = torch.tensor({1: 1.0, 2: 3.0, 3: 2.0}[module.iteration])

    checkpoint = Checkpoint(str(tmp_path), monitor="score", mode="max")
    fit(small(), checkpoint, 3, At(dict.fromkeys((1, 2, 3), log)))
    assert (checkpoint.best_score, checkpoint.best_step) == (3.0, 2)


class Scripted(ScheduledScore):
    """A score of known values by step, made with a card of one's own."""

    def __init__(self, values: dict[int, float], **about: Any) -> None:
        super().__init__(When(every_n_steps=1))
        self.values, self.about = values, about

    def compute(self, module: AdversarialModule, data: Any) -> tuple[dict[str, float], dict[str, Any]]:
        return {"FID-pixels": self.values[module.trainer.global_step]}, self.about


def test_a_finished_run_that_is_scored_when_it_goes_on_keeps_its_best(tmp_path: Path) -> None:
    """Lightning leaves `on_train_end` out of it, and takes the model from its device before `on_fit_end`."""
    last, where = tmp_path / "last.ckpt", []

    class Placed(Scripted):
        def compute(self, module: AdversarialModule, data: Any) -> tuple[dict[str, float], dict[str, Any]]:
            where.append(module.device)
            return super().compute(module, data)

    fit(small(), Checkpoint(str(tmp_path)), 3)
    before = read(last)
    for taken in (1, 1):  # the second time the file says that it is scored
        checkpoint = Checkpoint(str(tmp_path))
        fit(small(), checkpoint, 3, Placed({3: 2.0}), ckpt_path=str(last))
        assert (checkpoint.best_score, len(where)) == (2.0, taken)
        assert checkpoint._saved is None, "a validation that follows would save"
    assert where == [torch.device("cpu")]
    for kept in (last, tmp_path / "best.ckpt"):
        after = read(kept)
        assert after["global_step"] == 3
        for name in ("state_dict", "optimizer_states", "loops", "epoch", "gan_lightning"):
            assert_same(after[name], before[name], name)


def test_the_best_score_is_the_best_of_its_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def goes_on(until: int, value: float, **about: Any) -> tuple[float, int, str]:
        """A run that goes on from `last.ckpt`, one step more: its best score, the step of its file, what it said."""
        checkpoint, last = Checkpoint(str(tmp_path)), str(tmp_path / "last.ckpt")
        score = Scripted(dict.fromkeys(range(1, until), 3.0) | {until: value}, **about)
        fit(small(), checkpoint, until, score, ckpt_path=last if until > 2 else None)
        said = capsys.readouterr().out
        return checkpoint.best_score, read(tmp_path / "best.ckpt")["global_step"], said

    assert goes_on(2, 2.0, n_fake=100, weights="ema")[:2] == (2.0, 2)
    assert goes_on(3, 9.0, n_fake=100, weights="ema") == (2.0, 2, "")
    assert goes_on(4, float("nan"), n_fake=200, weights="live") == (2.0, 2, "")
    best, step, said = goes_on(5, 9.0, n_fake=200, weights="live")
    assert (best, step) == (9.0, 5)
    assert said == (
        "best.ckpt begins anew at step 5: FID-pixels cannot be compared with the best so far, the cards differ in "
        "n_fake: 100, 200; weights: ema, live\n"
    )
    assert goes_on(6, 9.5, n_fake=200, weights="live") == (9.0, 5, "")
    assert goes_on(7, 8.5, n_fake=200, weights="live") == (8.5, 7, "")


def test_the_config_is_in_the_file_and_the_trainer_folder_is_the_default(tmp_path: Path) -> None:
    checkpoint = Checkpoint()
    checkpoint.config = "model: DCGAN\n"
    fit(small(), checkpoint, 1, default_root_dir=str(tmp_path))
    assert checkpoint.last_path == str(tmp_path / "last.ckpt")
    assert read(checkpoint.last_path)["config"] == "model: DCGAN\n"


def test_never_overwrites_another_run(tmp_path: Path) -> None:
    fit(small(), Checkpoint(str(tmp_path)), 2)
    with pytest.raises(ValueError, match="last.ckpt belongs to another run"):
        fit(small(), Checkpoint(str(tmp_path)), 1)
    assert read(tmp_path / "last.ckpt")["global_step"] == 2


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="every_n_steps"):
        Checkpoint(every_n_steps=0)
    with pytest.raises(ValueError, match="mode"):
        Checkpoint(mode="least")


# How a run ends.


class Broken(models.DCGAN):
    """Does something between the discriminator's turn and the generator's of one batch."""

    def __init__(self, image_shape: tuple[int, int, int], event: str = "", at: int = 3) -> None:
        super().__init__(
            image_shape,
            partial(networks.DCGANGenerator, latent_dim=LATENT, width=4),
            partial(networks.DCGANDiscriminator, width=4),
        )
        self.event, self.at = event, at

    def generator_loss(self, batch: Any) -> dict[str, torch.Tensor]:
        terms = super().generator_loss(batch)
        if self.iteration == self.at:
            if self.event == "nan":
                terms["adversarial"] = terms["adversarial"] * float("nan")
            elif self.event == "error":
                raise RuntimeError("out of memory")
            else:
                os.kill(os.getpid(), getattr(signal, self.event))
        return terms


def test_nan_stops_the_run_and_leaves_the_last_good_file(tmp_path: Path) -> None:
    with pytest.raises(NotFiniteError, match="generator/adversarial"):
        fit(Broken(SHAPE, "nan"), Checkpoint(str(tmp_path), every_n_steps=1), 9)
    assert read(tmp_path / "last.ckpt")["global_step"] == 2


def test_nan_weights_are_never_saved(tmp_path: Path) -> None:
    def poison(trainer: Trainer, module: AdversarialModule) -> None:
        with torch.no_grad():
            next(module.generator.parameters())[0] = float("inf")

    with pytest.raises(NotFiniteError, match="the weights of generator.layers.0.weight are not finite"):
        fit(small(), Checkpoint(str(tmp_path), every_n_steps=1), 9, At({3: poison}))
    assert read(tmp_path / "last.ckpt")["global_step"] == 2


def test_an_error_in_the_middle_of_a_batch_saves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        fit(Broken(SHAPE, "error"), Checkpoint(str(tmp_path)), 9)
    assert not list(tmp_path.iterdir())


def test_an_error_between_two_batches_saves_what_was_reached(tmp_path: Path) -> None:
    def fail(trainer: Trainer, module: AdversarialModule) -> None:
        raise RuntimeError("a callback broke")

    with pytest.raises(RuntimeError, match="a callback broke"):
        fit(small(), Checkpoint(str(tmp_path)), 9, At({3: fail}))
    assert read(tmp_path / "last.ckpt")["gan_lightning"]["iteration"] == 3


@pytest.mark.parametrize("event", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
def test_bar_13_signals_finish_the_batch_and_save_it(tmp_path: Path, signals_at_default: None, event: str) -> None:
    torch.manual_seed(0)
    began = time.monotonic()
    with pytest.raises(SystemExit) as end:
        fit(Broken(SHAPE, event), Checkpoint(str(tmp_path)), 9)
    assert time.monotonic() - began < 5
    assert end.value.code == {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129, "SIGUSR1": 138}[event]  # 128 + its number
    content = read(tmp_path / "last.ckpt")
    assert (content["global_step"], content["gan_lightning"]["iteration"]) == (3, 3)
    whole, resumed = small(), small(seed=1)
    fit(whole, Checkpoint(str(tmp_path / "whole")), 6)
    fit(resumed, Checkpoint(str(tmp_path)), 6, ckpt_path=str(tmp_path / "last.ckpt"))
    assert_same(whole.state_dict(), resumed.state_dict())


def test_the_batch_that_a_signal_ends_has_its_row(tmp_path: Path, signals_at_default: None) -> None:
    torch.manual_seed(0)
    with pytest.raises(SystemExit):
        fit(Broken(SHAPE, "SIGTERM"), Checkpoint(str(tmp_path)), 9, logger=RunCSVLogger(tmp_path), log_every_n_steps=1)
    with open(tmp_path / "metrics.csv", newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [1, 2, 3]


# Going on.


class Diary(Callback):
    """What every batch was."""

    def __init__(self) -> None:
        self.pages: list[tuple[int, int, float]] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: AdversarialModule, batch: Any, batch_idx: int) -> None:
        self.pages.append((pl_module.iteration, trainer.current_epoch, float(batch.image.sum())))


class Validated(models.DCGAN):
    """With a score that comes with the validation."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("score", torch.tensor(1.0))


@pytest.mark.parametrize("stop", [3, 4, 6])  # within an epoch of 4 batches, at its end, within the next one
@pytest.mark.parametrize("how", ["end", "trigger", "validation"])
def test_resumes_without_repeating_or_skipping_a_batch(tmp_path: Path, stop: int, how: str) -> None:
    whole, book = small(), Diary()
    unbroken = Checkpoint(str(tmp_path / "whole"))
    fit(whole, unbroken, 10, book)

    first, second = Diary(), Diary()
    score = At({stop: lambda trainer, _: trainer.callback_metrics.update(score=torch.tensor(1.0))})
    if how == "end":  # the file that is written when the run ends
        fit(small(), Checkpoint(str(tmp_path)), stop, first)
    elif how == "trigger":  # at the end of a batch, while the run goes on
        fit(small(), Checkpoint(str(tmp_path), monitor="score"), stop + 1, first, score)
    else:  # when a validation ends
        validated = {"limit_val_batches": 1, "val_check_interval": stop, "check_val_every_n_epoch": None}
        fit(small(Validated), Checkpoint(str(tmp_path), monitor="score"), stop, first, **validated)
    path = tmp_path / ("last.ckpt" if how == "end" else "best.ckpt")
    assert read(path)["gan_lightning"]["iteration"] == stop

    resumed = small(seed=1)
    again = Checkpoint(str(tmp_path / "resumed"))
    fit(resumed, again, 10, second, ckpt_path=str(path))
    assert first.pages[:stop] + second.pages == book.pages
    assert_same(whole.state_dict(), resumed.state_dict())
    one, other = read(unbroken.last_path), read(again.last_path)
    assert_same(one["optimizer_states"], other["optimizer_states"])
    assert (one["global_step"], one["epoch"]) == (other["global_step"], other["epoch"])


def test_resumes_again_and_again(tmp_path: Path) -> None:
    """By epochs, by steps at an epoch's end, and by steps within one."""
    whole, book = small(), Diary()
    fit(whole, Checkpoint(str(tmp_path / "whole")), 14, book)
    pages, last = [], None
    for number, limit in enumerate([{"max_epochs": 1}, {"max_steps": 8}, {"max_steps": 10}, {"max_steps": 14}]):
        model, diary, checkpoint = small(seed=number), Diary(), Checkpoint(str(tmp_path / str(number)))
        fit(model, checkpoint, limit.pop("max_steps", -1), diary, ckpt_path=last, **limit)
        pages, last = pages + diary.pages, checkpoint.last_path
    assert pages == book.pages
    assert_same(whole.state_dict(), model.state_dict())
