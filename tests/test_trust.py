"""A file brings numbers, never code: an attack table, and what a file, a trusted package and the user may name."""

from __future__ import annotations

import copy
import gc
import importlib
import inspect
import json
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import SHAPE, game, tiny, translator
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.loggers import Logger
from torch import nn

from gan_lightning import build, evaluate, fit, load_model, models, networks, optim, sample, translate
from gan_lightning.cli import command_line, fit_cli
from gan_lightning.cli.command_line import config_of
from gan_lightning.core import AdversarialModule, Step
from gan_lightning.core.hyperparameters import resolve
from gan_lightning.metrics.extractor import read_weights
from gan_lightning.networks.resnet import orthogonal_init
from gan_lightning.runtime import places
from gan_lightning.runtime.checkpoint_io import read
from gan_lightning.runtime.trust import Source, packages_beyond

CONFIGS = Path(__file__).parents[1] / "configs"
PLANTED = """
import os, pathlib
pathlib.Path(os.environ["MARKER"]).touch()
import torch
from lightning.pytorch import Callback, LightningDataModule
from lightning.pytorch.loggers import CSVLogger
from gan_lightning import metrics, models, networks

class Network(networks.DCGANGenerator): pass
class Model(models.DCGAN): pass
class SGD(torch.optim.SGD): pass
class Watcher(Callback): pass
class Log(CSVLogger): pass
class Pictures(LightningDataModule): pass
class Eye(metrics.Extractor): pass
def network(image_shape) -> torch.nn.Module: return networks.DCGANGenerator(image_shape)
def hook(*_): pass
def entry(*_): pass
"""
HUB = "import planted\n\ndef entry(*_): pass\n"
SETTINGS = {"batch_size": 8}
PARTS = {
    "DCGAN": ("Digits", {**SETTINGS, "size": 16}),
    "Pix2Pix": ("ShapePairs", {**SETTINGS, "size": 16}),
    "SeqGAN": ("OracleSequences", {**SETTINGS, "words": 12, "length": 5, "n": 40}),
}


@pytest.fixture(scope="module")
def contents() -> dict[str, dict[str, Any]]:
    """What honest checkpoints hold, as the command line writes them."""
    made = {"DCGAN": tiny("DCGAN"), "Pix2Pix": translator("Pix2Pix"), "SeqGAN": game("SeqGAN")}
    found = {}
    for name, model in made.items():
        checkpoint = {"state_dict": model.state_dict(), "global_step": 1, "pytorch-lightning_version": "2.6.0"}
        checkpoint |= {"optimizer_states": [], "lr_schedulers": [], "callbacks": {}, "loops": {}}
        model.on_save_checkpoint(checkpoint)
        arguments = {name: value for name, value in checkpoint["hyper_parameters"].items() if name != "_instantiator"}
        kind, settings = PARTS[name]
        config = {
            "model": {"class_path": f"gan_lightning.models.{name}", "init_args": arguments},
            "data": {"class_path": f"gan_lightning.data.{kind}", "init_args": settings},
            "trainer": {"max_steps": 1, "callbacks": None, "logger": False, "enable_progress_bar": False},
            "checkpoint": {"every_minutes": 10.0},
            "grid": {"every_n_steps": None},
        }
        found[name] = checkpoint | {"config": yaml.safe_dump(config)}
    return found


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What code that runs leaves; `planted` is a module that leaves it when it is imported."""
    path = tmp_path / "marker"
    monkeypatch.setenv("MARKER", str(path))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "planted.py").write_text(PLANTED)
    (tmp_path / "hubconf.py").write_text(HUB)
    for name, content in CONFIGS_PLANTED.items():
        (tmp_path / name).write_text(yaml.safe_dump(content))
    monkeypatch.delitem(sys.modules, "planted", raising=False)
    yield path
    sys.modules.pop("planted", None)


CONFIGS_PLANTED = {
    "part.yaml": {"callbacks": [{"class_path": "planted.Watcher"}]},
    "whole.yaml": {"trainer": {"callbacks": [{"class_path": "planted.Watcher"}]}},
    "one.yaml": {"class_path": "planted.Watcher"},
}


def calls(marker: Path) -> dict[str, Any]:
    """Payloads for where something is made: each leaves the marker when a parser has its way."""
    shell = f"touch {marker}"
    return {
        "system": {"class_path": "os.system", "init_args": {"command": shell}},
        "run": {"class_path": "subprocess.run", "dict_kwargs": {"args": shell, "shell": True}},
        "getoutput": {"class_path": "subprocess.getoutput", "init_args": {"cmd": shell}},
        "timeit": {"class_path": "timeit.timeit", "init_args": {"stmt": f"open({str(marker)!r}, 'w')", "number": 1}},
        "runpy": {"class_path": "runpy.run_path", "init_args": {"path_name": str(marker.with_name("planted.py"))}},
        "import": {"class_path": "importlib.import_module", "init_args": {"name": "planted"}},
        "hub": {
            "class_path": "torch.hub.load",
            "init_args": {"repo_or_dir": str(marker.parent), "model": "entry", "source": "local"},
        },
        "alias": {"class_path": "gan_lightning.data.folder.os.system", "init_args": {"command": shell}},
        "class": {"class_path": "planted.Network"},
        "optimizer": {"class_path": "planted.SGD"},
        "string": "planted.network",
        "text": f"{{class_path: os.system, init_args: {{command: touch {marker}}}}}",
        "nested": {
            "class_path": "gan_lightning.networks.ResNetGenerator",
            "init_args": {"initialise": {"class_path": "os.system", "init_args": {"command": shell}}},
        },
        "nested string": {
            "class_path": "gan_lightning.networks.ResNetGenerator",
            "init_args": {"initialise": "planted.hook"},
        },
        "kwargs": {
            "class_path": "gan_lightning.networks.ResNetGenerator",
            "dict_kwargs": {"initialise": {"class_path": "os.system", "init_args": {"command": shell}}},
        },
        "rate": {"class_path": "torch.optim.lr_scheduler.LambdaLR", "init_args": {"lr_lambda": "planted.hook"}},
        "list": [{"class_path": "planted.Watcher"}],
        "hooks": [{"class_path": "LambdaCallback", "init_args": {"on_fit_start": "planted.hook"}}],
        "average": [
            {
                "class_path": "lightning.pytorch.callbacks.StochasticWeightAveraging",
                "init_args": {"swa_lrs": 0.1, "avg_fn": "planted.hook"},
            }
        ],
        "eye": [{"class_path": "FID", "init_args": {"extractor": {"class_path": "planted.Eye"}}}],
        "log": {"class_path": "planted.Log", "init_args": {"save_dir": "."}},
        "pictures": {"class_path": "planted.Pictures"},
        "model": "planted.Model",
        "watcher": {"class_path": "planted.Watcher"},
        "file": "one.yaml",
        "part": "part.yaml",
        "whole": "whole.yaml",
        "listed text": "[{class_path: planted.Watcher}]",
    }


H, C = ("hyper_parameters",), ("config",)
CASES: list[tuple[str, str, tuple, str]] = [  # the way in, whose checkpoint, the place, the payload
    *[
        ("load_model", "DCGAN", (*H, "generator"), payload)
        for payload in (
            *("system", "run", "getoutput", "timeit", "runpy", "import", "hub"),
            *("alias", "class", "string", "text", "nested", "kwargs"),
        )
    ],
    ("load_model", "DCGAN", (*H, "generator"), "nested string"),
    *[
        ("load_model", "DCGAN", (*H, place), payload)
        for place in ("discriminator", "generator_optimizer", "discriminator_optimizer")
        for payload in ("system", "getoutput")
    ],
    *[
        ("load_model", "DCGAN", (*H, "step", place), payload)
        for place in ("scheduler", "augment")
        for payload in ("system", "getoutput", "string", "class", "text")
    ],
    ("load_model", "DCGAN", (*H, "discriminator_optimizer"), "optimizer"),
    ("load_model", "DCGAN", (*H, "step", "scheduler"), "rate"),
    ("load_model", "DCGAN", (*H, "step", "scheduler"), "optimizer"),
    ("load_model", "DCGAN", (*H, "step"), "class"),
    ("load_model", "DCGAN", ("gan_lightning", "class_path"), "model"),
    ("load_from_checkpoint", "DCGAN", (*H, "generator"), "system"),
    ("load_from_checkpoint", "DCGAN", (*H, "generator"), "class"),
    ("load_from_checkpoint", "SeqGAN", (*H, "generator"), "run"),
    ("load_from_checkpoint", "Pix2Pix", (*H, "discriminator_optimizer"), "getoutput"),
    ("sample", "DCGAN", (*H, "generator"), "system"),
    ("sample", "DCGAN", (*H, "step", "augment"), "timeit"),
    ("sample", "DCGAN", ("gan_lightning", "class_path"), "model"),
    ("sample", "SeqGAN", (*H, "pretraining_optimizer"), "getoutput"),
    ("evaluate", "DCGAN", (*H, "generator"), "runpy"),
    ("evaluate", "DCGAN", (*C, "data"), "pictures"),
    ("evaluate", "SeqGAN", (*H, "generator"), "system"),
    ("evaluate", "SeqGAN", (*C, "data"), "pictures"),
    ("translate", "Pix2Pix", (*H, "generator"), "system"),
    ("translate", "Pix2Pix", (*H, "discriminator"), "hub"),
    ("translate", "Pix2Pix", (*H, "step", "scheduler"), "import"),
    ("translate", "Pix2Pix", ("gan_lightning", "class_path"), "model"),
    ("fit", "DCGAN", (*C, "model", "init_args", "generator"), "system"),
    ("fit", "DCGAN", (*C, "model", "init_args", "generator_optimizer"), "getoutput"),
    ("fit", "DCGAN", (*C, "model", "init_args", "step", "scheduler"), "system"),
    ("fit", "DCGAN", (*C, "model", "init_args", "step", "augment"), "run"),
    ("fit", "DCGAN", (*C, "model", "init_args", "generator"), "kwargs"),
    ("fit", "DCGAN", (*C, "model", "class_path"), "model"),
    ("fit", "DCGAN", (*C, "model"), "model"),
    ("fit", "DCGAN", (*C, "data"), "pictures"),
    ("fit", "DCGAN", (*C, "trainer", "callbacks"), "list"),
    ("fit", "DCGAN", (*C, "trainer", "callbacks"), "hooks"),
    ("fit", "DCGAN", (*C, "trainer", "callbacks"), "average"),
    ("fit", "DCGAN", (*C, "trainer", "callbacks"), "eye"),
    ("fit", "DCGAN", (*C, "trainer", "callbacks"), "file"),
    ("fit", "DCGAN", (*C, "trainer", "callbacks"), "listed text"),
    ("fit", "DCGAN", (*C, "trainer", "callbacks+"), "watcher"),
    ("fit", "DCGAN", (*C, "trainer", "logger"), "log"),
    ("fit", "DCGAN", (*C, "trainer", "strategy"), "watcher"),
    ("fit", "DCGAN", (*C, "trainer", "plugins"), "list"),
    ("fit", "DCGAN", (*C, "trainer", "profiler"), "watcher"),
    ("fit", "DCGAN", (*C, "trainer", "accelerator"), "watcher"),
    ("fit", "DCGAN", (*C, "trainer"), "part"),
    ("fit", "DCGAN", (*C, "config"), "whole"),
    ("fit", "DCGAN", (*C, "trainer.callbacks"), "list"),
]


def poisoned(content: dict[str, Any], place: tuple, payload: Any, path: Path) -> Path:
    """A checkpoint with the payload at the place."""
    content = content | {name: copy.deepcopy(content[name]) for name in ("hyper_parameters", "gan_lightning")}
    top, *places, last = place
    inside = whole = yaml.safe_load(content["config"]) if top == "config" else content[top]
    for name in places:
        inside = inside[name]
    inside[last] = payload
    content[top] = yaml.safe_dump(whole) if top == "config" else whole
    torch.save(content, path)
    return path


def enter(way: str, whose: str, path: Path) -> None:
    """Give a checkpoint to a command, or to a function."""
    if way == "load_model":
        load_model(path)
    elif way == "load_from_checkpoint":
        getattr(models, whose).load_from_checkpoint(path)
    elif way == "sample":
        sample.main([str(path), "--n", "2", "--out", "drawn"])
    elif way == "evaluate":
        evaluate.main([str(path), *(["--n", "20"] if whose == "DCGAN" else [])])
    elif way == "translate":
        translate.main([str(path), "--input", str(path.parent), "--out", "out"])
    else:
        fit.main(["--ckpt_path", str(path)])


def named(case: tuple) -> str:
    way, whose, place, payload = case
    return f"{way}-{whose}-{'.'.join(place[1:])}-{payload}"


@pytest.mark.parametrize("case", CASES, ids=named)
def test_attack(case: tuple, contents: dict, marker: Path, capsys: pytest.CaptureFixture) -> None:
    way, whose, place, payload = case
    path = poisoned(contents[whose], place, calls(marker)[payload], marker.with_name("evil.ckpt"))
    if way.startswith("load"):
        with pytest.raises(ValueError) as error:
            enter(way, whose, path)
        message = str(error.value)
    else:
        with pytest.raises(SystemExit) as end:
            enter(way, whose, path)
        message = capsys.readouterr().err.removesuffix("\n")
        assert end.value.code == 2
    assert "\n" not in message and str(path) in message
    assert not marker.exists()
    assert "planted" not in sys.modules


@pytest.mark.parametrize("case", CASES, ids=named)
def test_attack_would_succeed(case: tuple, contents: dict, marker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table can fail: with the guard switched off the payloads run."""
    way, whose, place, payload = case
    for guard in ("refuse", "check", "check_arguments"):
        monkeypatch.setattr(Source, guard, lambda *_: None)
    path = poisoned(contents[whose], place, calls(marker)[payload], marker.with_name("evil.ckpt"))
    with suppress(Exception, SystemExit):
        enter(way, whose, path)
    assert marker.exists()


# What a file may name.


SETTINGS = sorted(path for path in CONFIGS.rglob("*.yaml") if path.parent.name not in ("cluster", "sweeps"))


@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_config_could_come_from_a_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAN_LIGHTNING_TRUST")
    content = yaml.safe_load(path.read_text())
    if isinstance(content.get("trainer"), str):  # the command line has put it together when it is saved
        content["trainer"] = yaml.safe_load((path.parent / content["trainer"]).read_text())
    command_line.check_config({"trainer": content} if path.parent.name == "trainer" else content, Source.file("a.ckpt"))


@pytest.mark.parametrize("name", models.__all__)
def test_every_models_arguments_could_come_from_a_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAN_LIGHTNING_TRUST")
    kind = getattr(models, name)
    facts = {"vocabulary": ["os.system", "a"], "length": 4, "users": ["a.b", "{c: d}"], "items": ["x"]}
    facts |= {"image_shape": (3, 64, 64), "num_classes": 2, "attributes": ["Left", "Right"], "num_features": None}
    known = inspect.signature(kind).parameters
    arguments = resolve(kind, {fact: value for fact, value in facts.items() if fact in known})
    Source.file("a.ckpt").check_arguments(kind, {n: v for n, v in arguments.items() if n in known}, name)


ALLOWED = [
    (AdversarialModule, "gan_lightning.models.DCGAN"),
    (AdversarialModule, "gan_lightning.models.dcgan.DCGAN"),
    (optim.PaperAdam, "PaperAdam"),
    (torch.optim.Optimizer, "torch.optim.SGD"),
    (torch.optim.lr_scheduler.LRScheduler, "torch.optim.lr_scheduler.StepLR"),
    (nn.Module, "torch.nn.Sequential"),
    (nn.Module, "torchvision.models.ResNet"),
    (Callback, "lightning.pytorch.callbacks.EarlyStopping"),
    (Callback, "LearningRateMonitor"),
    (Logger, "lightning.pytorch.loggers.CSVLogger"),
    (Logger, "lightning.pytorch.loggers.WandbLogger"),
    (Logger, "lightning.pytorch.loggers.TensorBoardLogger"),
]
REFUSED = [
    (nn.Module, "torch.optim.SGD", "which is no Module"),
    (torch.optim.Optimizer, "gan_lightning.networks.DCGANGenerator", "which is no Optimizer"),
    (Callback, "gan_lightning.callbacks.Nothing", "cannot be imported here"),
    (Callback, "Nothing", "there is no such Callback"),
    (nn.Module, "torchvision.models.resnet18", "is a function and no Module"),
    (nn.Module, "torch.nn.functional.relu", "is a function and no Module"),
    (nn.Module, "torch.nn", "is <module"),
    (nn.Module, "torch.nn.modules", "is <module"),
    (nn.Module, "torchvision.ops.MLP", "add --trust torchvision or set GAN_LIGHTNING_TRUST=torchvision"),
    (nn.Module, "torch.nnx.Linear", "add --trust torch "),
    (nn.Module, "gan_lightning_evil.Network", "add --trust gan_lightning_evil "),
    (nn.Module, "gan_lightning.callbacks.checkpoint.Trainer", "add --trust lightning"),
    (nn.Module, "subprocess.Popen", "which no file may name"),
    (nn.Module, "builtins.exec", "which no file may name"),
    (nn.Module, "gan_lightning.networks.", "cannot be imported here"),
    (nn.Module, 5, "names 5 in place of a class"),
    (nn.Module, ["os.system"], "in place of a class"),
]


@pytest.mark.parametrize(("kind", "path"), ALLOWED)
def test_a_file_may_name(kind: type, path: str) -> None:
    assert issubclass(Source.file("a.ckpt").find(path, kind, "place"), kind)


@pytest.mark.parametrize(("kind", "path", "message"), REFUSED)
def test_a_file_may_not_name(kind: type, path: Any, message: str) -> None:
    with pytest.raises(ValueError) as error:
        Source.file("a.ckpt").find(path, kind, "place")
    assert str(error.value).startswith("a.ckpt: place names ") and message in str(error.value)


class Asks:
    """Arguments of many kinds."""

    def __init__(
        self,
        text: str,
        words: list[str],
        bare: list | None,
        number: float | None,
        step: Step,
        network: Callable[[int], nn.Module],
        hook: Callable[[nn.Module], None] | None,
        loss: Callable[[torch.Tensor], torch.Tensor],
        either: str | Callback,
        several: list[Callback] | Callback | None,
        named: dict[str, Callback],
        kind: type[nn.Module],
        unsaid=None,  # noqa: ANN001
    ) -> None: ...


INITIALISER = "gan_lightning.networks.resnet.orthogonal_init"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", "os.system"),
        ("text", "{class_path: os.system}"),
        ("words", ["os.system", "- a"]),
        ("bare", ["os.system", "{a: b}", 3]),
        ("number", "1e-3"),
        ("step", {"micro_batches": 2}),
        ("network", {"class_path": "torch.nn.ReLU", "init_args": {"inplace": True}}),
        ("network", "torch.nn.ReLU"),
        ("network", "ReLU"),
        ("network", {"class_path": "gan_lightning.networks.RandomFeatures"}),
        ("hook", INITIALISER),
        ("hook", None),
        ("loss", "gan_lightning.losses.relativistic"),
        ("either", "auto"),
        ("either", {"class_path": "lightning.pytorch.callbacks.Timer"}),
        ("several", [{"class_path": "FID", "init_args": {"when": {"every_n_steps": 3}}}]),
        ("several", "Timer"),
        ("named", {"a": {"class_path": "Timer"}}),
        ("kind", "torch.nn.Linear"),
        ("unsaid", "a text"),
        ("unsaid", {"a": [1, "b"]}),
    ],
)
def test_arguments_of_a_file(name: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Source.file("a.ckpt", [__name__]).check_arguments(Asks, {name: value}, "Asks")


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", {"class_path": "os.system"}),
        ("words", [{"class_path": "os.system"}]),
        ("bare", [{"class_path": "os.system"}]),
        ("bare", "[{class_path: os.system}]"),
        ("number", {"a": {"class_path": "os.system"}}),
        ("step", "planted.Step"),
        ("step", "one.yaml"),
        ("step", {"class_path": "planted.Step"}),
        ("step", {"micro_batches": {"class_path": "os.system"}}),
        ("network", {"init_args": {}}),
        ("network", {"class_path": "torch.nn.ReLU", "init_args": "one.yaml"}),
        ("network", {"class_path": "torch.nn.ReLU", "__path__": "one.yaml"}),
        ("network", {"class_path": "torch.optim.SGD"}),
        ("network", {"class_path": INITIALISER}),
        ("network", {"class_path": "TransformerEncoderLayer", "init_args": {"activation": "planted.hook"}}),
        ("network", {"class_path": "torchvision.models.ResNet", "init_args": {"weights": "DEFAULT"}}),
        ("network", {"class_path": "VGG19Features", "init_args": {"weights": "https://example.com/vgg.pth"}}),
        ("network", "torch.hub.load"),
        ("network", "one"),
        ("network", "./one"),
        ("network", "memory://one"),
        ("hook", "gan_lightning.runtime.checkpoint_io.link"),
        ("hook", "gan_lightning.networks.features._weights"),
        ("hook", "os.system"),
        ("hook", orthogonal_init),
        ("either", "planted.Watcher"),
        ("either", "one"),
        ("either", "http://example.com/one.yaml"),
        ("several", ["one.yaml"]),
        ("several", "- {class_path: planted.Watcher}"),
        ("named", {"a": {"class_path": "planted.Watcher"}}),
        ("named", {"a.class_path": "planted.Watcher"}),
        ("kind", "planted.Network"),
        ("kind", "torch.optim.SGD"),
        ("unsaid", "planted.hook"),
        ("unsaid", "{class_path: planted.Watcher}"),
        ("unsaid", [{"class_path": "os.system"}]),
        ("unsaid", {"a": CIRCLE}),
        ("several+", {"class_path": "Timer"}),
        ("network.class_path", "os.system"),
        ("class_path", "os.system"),
        (5, "os.system"),
    ],
)
def test_arguments_that_no_file_gives(name: Any, value: Any, marker: Path) -> None:
    marker.with_name("one").write_text("class_path: planted.Watcher")
    with pytest.raises(ValueError) as error:
        Source.file("a.ckpt", [__name__]).check_arguments(Asks, {name: value}, "Asks")
    assert str(error.value).startswith("a.ckpt: Asks") and "\n" not in str(error.value) and len(str(error.value)) < 300
    assert not marker.exists()


def test_lightnings_hooks_are_the_users_alone() -> None:
    source = Source.file("a.ckpt", [__name__])
    for name, value in (("on_fit_start", INITIALISER), ("setup", {"class_path": "torch.nn.ReLU"})):
        with pytest.raises(ValueError, match=f"{name} is a function of the caller's"):
            source.check_arguments(LambdaCallback, {name: value}, "callbacks[0]")
    source.check_arguments(LambdaCallback, {"on_fit_start": None}, "callbacks[0]")


def test_a_second_class_of_the_same_name_is_not_taken_for_the_first() -> None:
    kind = type("RandomFeatures", (nn.Module,), {"__module__": "evil"})
    with pytest.raises(ValueError, match="network names RandomFeatures, which no file may name"):
        Source.file("a.ckpt").find("RandomFeatures", nn.Module, "network")
    del kind
    gc.collect()
    assert Source.file("a.ckpt").find("RandomFeatures", nn.Module, "network") is networks.RandomFeatures


# Whom the user trusts.


def test_a_trusted_package_is_loaded_by_every_way_in(
    contents: dict, marker: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, generator = (
        contents["DCGAN"],
        {"class_path": "planted.Network", "init_args": {"latent_dim": 6, "width": 4}},
    )
    place = (*H, "generator")
    path = poisoned(content, place, generator, marker.with_name("own.ckpt"))
    with pytest.raises(SystemExit):
        sample.main([str(path)])
    refusal = f"error: {path}: DCGAN.generator names planted.Network, which no file may name; if you trust it, add "
    assert capsys.readouterr().err == f"{refusal}--trust planted or set GAN_LIGHTNING_TRUST=planted\n"
    assert not marker.exists()
    sample.main([str(path), "--trust", "other", "--trust=planted", "--n", "1", "--out", "drawn"])
    assert marker.exists()
    for loaded in (load_model(path, trust=["planted"]), models.DCGAN.load_from_checkpoint(path, trust=("planted",))):
        assert type(loaded.generator).__module__ == "planted"
    with pytest.raises(ValueError, match="planted"):
        load_model(path, trust=["plant", "planted.Other", "planted.Network.deeper"])
    monkeypatch.setenv("GAN_LIGHTNING_TRUST", "other, planted")
    assert type(load_model(path).generator).__module__ == "planted"
    monkeypatch.delenv("GAN_LIGHTNING_TRUST")
    own = poisoned(content, (*C, "model", "init_args", "generator"), generator, marker.with_name("own.ckpt"))
    with pytest.raises(ValueError, match="model.generator names planted.Network"):
        config_of(own)
    assert config_of(own, ["planted"])["model"]["init_args"]["generator"] == generator
    trust, rest = fit_cli.trusted(["--trust", "planted", f"--ckpt_path={own}", "--trust=b"])
    assert (trust, rest) == (["planted", "b"], [f"--ckpt_path={own}"])
    (flag, text, _), _ = fit_cli.with_base_config(rest, trust)
    assert flag == "--config" and json.loads(text)["model"]["init_args"]["generator"] == generator


@pytest.mark.parametrize("trust", ["a b", "../a", "a..b", "a-b"])
def test_what_is_no_package_cannot_be_trusted(trust: str) -> None:
    with pytest.raises(ValueError, match="cannot be trusted: name a package"):
        Source.file("a.ckpt", [trust])
    with pytest.raises(ValueError, match="trust is a list"):
        Source.file("a.ckpt", "package")


def test_trust_is_a_flag_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "a.yaml").write_text("model: DCGAN\ndata: Digits\ntrust: os\n")
    for arguments in ([f"--config={tmp_path / 'a.yaml'}"], ["--trust"]):
        with pytest.raises(SystemExit) as end:
            fit.main(arguments)
        assert end.value.code == 2 and "--trust" in capsys.readouterr().err


def test_packages_beyond_those_that_a_file_may_name() -> None:
    paths = "b.C", "gan_lightning.models.DCGAN", "torch.nn.ReLU", "gan_lightning_more.X", "a.b.C", "a.D"
    config = "".join(f"x{n}:\n  class_path: {path}\n" for n, path in enumerate(paths))
    assert packages_beyond(config) == ["a", "b", "gan_lightning_more"]
    assert packages_beyond("class_path: lightning.pytorch.callbacks.ModelCheckpoint") == ["lightning"]


# The user's word.


@pytest.mark.parametrize(
    ("place", "payload"),
    [
        ("model.generator", "system"),
        ("model.discriminator_optimizer", "getoutput"),
        ("model.generator", "nested"),
        ("model.step.scheduler", "system"),
        ("model.step.augment", "run"),
        ("model.step", "system"),
        ("trainer.callbacks", "system"),
        ("trainer.logger", "system"),
        ("data", "system"),
        ("data", "watcher"),
        ("model", "optimizer"),
        ("trainer.callbacks", "optimizer"),
        ("model.generator", "optimizer"),
    ],
)
def test_what_the_user_names_is_of_its_places_kind(
    place: str, payload: str, marker: Path, capsys: pytest.CaptureFixture
) -> None:
    value, command = calls(marker)[payload], marker.with_name("command")
    flags = [f"--{name}={value}" for name, value in (("model", "DCGAN"), ("data", "Digits")) if name != place]
    importlib.import_module("planted")  # which the user may
    marker.unlink()
    for flag in (f"--{place}={json.dumps(value)}", f"--config={command}.yaml"):
        top, *rest = place.split(".")
        nested = value
        for name in reversed(rest):
            nested = {name: nested}
        nested = {"init_args": nested, "class_path": "DCGAN"} if top == "model" and rest else nested
        command.with_suffix(".yaml").write_text(yaml.safe_dump({"data": "Digits", "model": "DCGAN"} | {top: nested}))
        with pytest.raises(SystemExit) as end:
            fit.main([*(flags if "--config" not in flag else []), flag])
        message = capsys.readouterr().err.removesuffix("\n")
        assert end.value.code == 2 and "\n" not in message, message
        assert not marker.exists()


def test_the_user_names_any_class_and_functions_that_say_what_they_make(marker: Path) -> None:
    importlib.import_module("planted")
    arguments = {"image_shape": SHAPE} | {
        "discriminator": {"class_path": "DCGANDiscriminator", "init_args": {"width": 4}}
    }
    model = build("planted.Model", generator={"class_path": "planted.Network", "init_args": {"width": 4}}, **arguments)
    assert type(model).__module__ == type(model.generator).__module__ == "planted"
    model = build("DCGAN", generator="planted.network", **arguments)  # a function from an image's shape to a network
    assert isinstance(model.generator, networks.DCGANGenerator)
    with pytest.raises(ValueError, match=r"DCGAN.generator names os.system, which is a function and no Module"):
        build("DCGAN", generator=calls(marker)["system"], **arguments)
    with pytest.raises(ValueError, match="the model names torch.nn.Linear, which is no AdversarialModule"):
        build("torch.nn.Linear")
    with pytest.raises(ValueError, match="os.system"):
        command_line.data_module([f"--data={json.dumps(calls(marker)['system'])}"])


# Files of other kinds.


class Touch:
    """Runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


FILES = {
    "zip": (lambda o, p: torch.save(o, p), "is not loaded: it holds more than data, and could run code"),
    "legacy": (
        lambda o, p: torch.save(o, p, _use_new_zipfile_serialization=False),
        "is a legacy torch file, and not loaded: it holds more than data",
    ),
    **{
        f"pickle {protocol}": (
            lambda o, p, protocol=protocol: p.write_bytes(pickle.dumps(o, protocol)),
            "is a pickle, not a file of torch.save: it could run code, and is not loaded",
        )
        for protocol in range(6)
    },
}


@pytest.mark.parametrize("kind", FILES)
def test_code_in_a_file_is_called_what_it_is(kind: str, marker: Path, capsys: pytest.CaptureFixture) -> None:
    write, message = FILES[kind]
    path = marker.with_name("weights.pth")
    write({"features.0.weight": Touch(marker)}, path)
    with pytest.raises(ValueError) as error:
        read(path)
    assert str(error.value).startswith(f"{path} {message}")
    for read_by, named in (
        (lambda: networks.VGG19Features(weights=str(path)), "VGG-19's weights: "),
        (lambda: networks.ResNet56Features(path=str(path)), "ResNet-56's weights: "),
        (lambda: read_weights(path, "Eye"), "Eye: the weights file "),
        (lambda: models.DCGAN.load_from_checkpoint(path), ""),
    ):
        with pytest.raises(ValueError) as error:
            read_by()
        assert str(error.value).startswith(f"{named}{path} {message}")
    assert not marker.exists()
    pickle.loads(pickle.dumps(Touch(marker)))
    assert marker.exists()  # it would have run


def test_legacy_files_of_data_alone_load(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(3)}, tmp_path / "a.ckpt", _use_new_zipfile_serialization=False)
    assert read(tmp_path / "a.ckpt")["a"].tolist() == [0, 1, 2]
    (tmp_path / "b.ckpt").write_bytes((tmp_path / "a.ckpt").read_bytes()[:200])
    with pytest.raises(ValueError, match="b.ckpt is "):
        read(tmp_path / "b.ckpt")


def test_weights_that_are_a_pickle_are_one_line(marker: Path, capsys: pytest.CaptureFixture) -> None:
    FILES["pickle 4"][0](Touch(marker), path := marker.with_name("vgg.pth"))
    with pytest.raises(SystemExit) as end:
        quiet = ["--data.n=16", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]
        fit.main(["--model=SRGAN", "--data=ShapeResolution", f"--model.features.weights={path}", *quiet])
    message = capsys.readouterr().err
    assert end.value.code == 2 and message.count("\n") == 1 and f"{path} is a pickle" in message
    assert not marker.exists()


@pytest.mark.parametrize(
    "damage",
    [
        {"hyper_parameters": None},
        {"hyper_parameters": {"_instantiator": "planted.hook"}},
        {"hyper_parameters": {}, "hparams": {"generator": "planted.network"}},
        {"gan_lightning": 5},
        {"gan_lightning": {"class_path": ["planted.Model"]}},
        {"config": 5},
        {"config": "{"},
        {"config": "- planted.Watcher"},
        {"config": "!!python/object/apply:os.system ['touch marker']"},
        {"config": "model: !!python/name:os.system"},
    ],
    ids=str,
)
def test_other_files_are_one_line(damage: dict, contents: dict, marker: Path, capsys: pytest.CaptureFixture) -> None:
    torch.save(contents["DCGAN"] | damage, marker.with_name("a.ckpt"))
    for command in (fit.main, ["--ckpt_path", "a.ckpt"]), (sample.main, ["a.ckpt"]):
        if ("config" in damage) == (command[0] is fit.main):
            with pytest.raises(SystemExit) as end:
                command[0](command[1])
            message = capsys.readouterr().err
            assert end.value.code == 2 and message.count("\n") == 1 and "a.ckpt" in message, message
    assert not marker.exists()


# Text that a parser reads, what resolves to no type, what writes and removes.

RUN = '"class\\u005fpath": "subprocess.Popen", "init_args": {"args": "touch $MARKER", "shell": true}'
TEXTS = [
    "{" + RUN + "}",
    "[{" + RUN + "}]",
    "{" + RUN.replace("\\u005f", "\\\n  _") + "}",
    "? class_path\n: subprocess.Popen",
    "[planted.hook]",
    "planted.hook",
    " planted.hook",
    "- planted.hook",
    "./x.yaml",
]
PLACES = [  # where nothing says what an argument is, or says it in words that mean nothing where they are read
    ("torch.nn.Linear", "device", False),
    ("torch.nn.Linear", "device", True),
    ("torch.nn.ModuleList", "modules", False),
]
SCHEDULES = {"LambdaLR": "lr_lambda", "CyclicLR": "scale_fn", "MultiplicativeLR": "lr_lambda"}


@pytest.mark.parametrize("text", TEXTS)
def test_text_that_a_parser_could_read_as_more(text: str, contents: dict, marker: Path) -> None:
    def refused(place: str, value: Any) -> None:
        path = poisoned(contents["DCGAN"], (*H, *place.split(".")), value, marker.with_name("evil.ckpt"))
        with pytest.raises(ValueError, match=r"evil\.ckpt: DCGAN\.\w+") as error:
            load_model(path)
        assert "\n" not in str(error.value)

    for kind, argument, listed in PLACES:
        arguments = {"out_features": 3, argument: [text] if listed else text}
        refused("generator", {"class_path": kind, "init_args": arguments})
    for kind, argument in SCHEDULES.items():
        for value in (text, [text], {"class_path": "torch.nn.ReLU"}):
            path = f"torch.optim.lr_scheduler.{kind}"
            refused("step.scheduler", {"class_path": path, "init_args": {argument: value}})
    time.sleep(0.05)  # a shell would need a moment
    assert not marker.exists() and "planted" not in sys.modules


LOGGERS, CALLBACKS = "lightning.pytorch.loggers", "lightning.pytorch.callbacks"
ELSEWHERE = {
    "settings of W&B": ("logger", f"{LOGGERS}.WandbLogger", {"settings": {"silent": True}}),
    "a server": ("logger", f"{LOGGERS}.CSVLogger", {"save_dir": "http://127.0.0.1:9/x"}),
    "a chain of servers": ("logger", f"{LOGGERS}.CSVLogger", {"save_dir": "reference::http://127.0.0.1:9/x.json"}),
    "a folder of the user's": ("logger", f"{LOGGERS}.CSVLogger", {"save_dir": "/data/user", "name": "", "version": ""}),
    "a folder above": ("logger", f"{LOGGERS}.CSVLogger", {"save_dir": "logs", "name": "../../thesis"}),
    "an earlier run's table": ("logger", f"{LOGGERS}.CSVLogger", {"save_dir": "runs", "version": "2026"}),
    "an earlier run of W&B": ("logger", f"{LOGGERS}.WandbLogger", {"id": "a1b2"}),
    "home by a variable": ("logger", f"{LOGGERS}.TensorBoardLogger", {"save_dir": "$HOME/x"}),
    "another's words": ("logger", f"{LOGGERS}.TensorBoardLogger", {"save_dir": "x", "filename_suffix": "y"}),
    "a switch of W&B": ("logger", f"{LOGGERS}.WandbLogger", {"save_code": True}),
    "home": ("logger", f"{LOGGERS}.TensorBoardLogger", {"save_dir": "~/x"}),
    "files that are removed": ("callbacks", f"{CALLBACKS}.ModelCheckpoint", {"dirpath": "x"}),
    "a file that is removed": ("callbacks", f"{CALLBACKS}.OnExceptionCheckpoint", {"dirpath": "x"}),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_file_sends_no_writer_elsewhere(name: str, contents: dict, marker: Path) -> None:
    place, kind, arguments = ELSEWHERE[name]
    spec: Any = {"class_path": kind, "init_args": arguments}
    spec = [spec] if place == "callbacks" else spec
    path = poisoned(contents["DCGAN"], (*C, "trainer", place), spec, marker.with_name("evil.ckpt"))
    with pytest.raises(ValueError, match="--trust lightning") as error:
        config_of(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    assert config_of(path, ["lightning"])["trainer"][place] == spec


def test_a_file_does_not_say_where_checkpoints_and_grids_go(contents: dict, marker: Path) -> None:
    content = poisoned(contents["DCGAN"], (*C, "grid", "folder"), "/data/user", marker.with_name("evil.ckpt"))
    assert "folder" not in config_of(content)["grid"]
    content = poisoned(
        contents["DCGAN"], (*C, "trainer", "default_root_dir"), "ftp://127.0.0.1:9/x", marker.with_name("evil.ckpt")
    )
    assert "default_root_dir" not in config_of(content)["trainer"]


@pytest.mark.parametrize(
    ("place", "spec"),
    [
        (
            "logger",
            {"class_path": "gan_lightning.runtime.runs.RunCSVLogger", "init_args": {"folder": "x", "reached": [0, 0]}},
        ),
        ("callbacks", [{"class_path": "gan_lightning.callbacks.SampleGrid", "init_args": {"folder": "/data/user"}}]),
        ("callbacks", [{"class_path": "Checkpoint", "init_args": {"folder": "x"}}]),
        ("callbacks", [{"class_path": f"{CALLBACKS}.EMAWeightAveraging", "init_args": {"device": "planted.hook"}}]),
        ("callbacks", [{"class_path": "gan_lightning.cli.fit_cli.FitCLI", "init_args": {"args": []}}]),
    ],
)
def test_what_is_no_part_of_a_config(place: str, spec: Any, contents: dict, marker: Path) -> None:
    path = poisoned(contents["DCGAN"], (*C, "trainer", place), spec, marker.with_name("evil.ckpt"))
    with pytest.raises(ValueError, match=r"evil\.ckpt: trainer\."):
        config_of(path)
    assert not marker.exists() and "planted" not in sys.modules


def test_no_type_of_torch_is_read_from_text_that_could_be_imported(contents: dict, marker: Path) -> None:
    for text in ("planted.hook", '{"class_path": "planted.Network"}', "[planted.hook]", "antigravity.x"):
        norm = {"class_path": "torch.nn.LayerNorm", "init_args": {"normalized_shape": text}}
        layers = {"class_path": "torch.nn.TransformerEncoder", "init_args": {"num_layers": 1, "norm": norm}}
        path = poisoned(contents["DCGAN"], (*H, "generator"), layers, marker.with_name("evil.ckpt"))
        with pytest.raises(ValueError, match="normalized_shape"):
            load_model(path)
    assert not marker.exists() and "planted" not in sys.modules
    import jsonargparse._typehints as typehints  # the parser's own list of types that it reads from text

    for kind in places.TEXT:
        plain = kind in (type(None), bool, int, float, complex, bytes, str)
        assert plain or typehints.get_registered_type(kind) is not None, kind


def test_honest_writers_pass(contents: dict, marker: Path) -> None:
    loggers = [
        {"class_path": f"{LOGGERS}.CSVLogger", "init_args": {"save_dir": "elsewhere", "name": "a run"}},
        {"class_path": f"{LOGGERS}.WandbLogger", "init_args": {"project": "faces", "name": "second try (wide)"}},
        {
            "class_path": f"{LOGGERS}.TensorBoardLogger",
            "init_args": {"save_dir": "$GAN_LIGHTNING_RUN", "name": "tensorboard", "comment": "", "max_queue": 10},
        },
    ]
    path = poisoned(contents["DCGAN"], (*C, "trainer", "logger"), loggers, marker.with_name("own.ckpt"))
    assert config_of(path)["trainer"]["logger"] == loggers


@pytest.mark.parametrize("text", ["model: &a [x]\ndata: *a", "model: !!binary aGk=", "grid: {rows: !!binary aGk=}"])
def test_a_config_that_stands_for_more_than_it_says(text: str, contents: dict, tmp_path: Path) -> None:
    torch.save(contents["DCGAN"] | {"config": text}, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="holds no config that can be read"):
        config_of(tmp_path / "a.ckpt")
