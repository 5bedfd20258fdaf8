"""A file brings numbers, never code: an attack table, and what a file, a trusted package and the user may name."""

from __future__ import annotations

import copy
import importlib
import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import SHAPE, TINY, Noisy, game, own_networks, quiet, tiny, translator
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from torch import nn

from gan_lightning import build, command_line, data, evaluate, fit, load_model, models, networks, optim, sample, translate
from gan_lightning.checkpoints import AtomicCheckpointIO, read
from gan_lightning.command_line import config_of
from gan_lightning.core import AdversarialModule, Step
from gan_lightning.networks.resnet import orthogonal_init
from gan_lightning.trust import USER, Place, Source

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
        trainer = Trainer.__new__(Trainer)
        checkpoint = {"state_dict": model.state_dict(), "global_step": 1, "pytorch-lightning_version": "2.6.0"}
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
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
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
        "alias": {"class_path": "gan_lightning.checkpoints.os.system", "init_args": {"command": shell}},
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
        "sum": {
            "class_path": "torch.nn.TransformerEncoderLayer",
            "init_args": {"d_model": 2, "nhead": 1, "activation": "planted.hook"},
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
        for payload in "system run getoutput timeit runpy import hub alias class string text nested kwargs".split()
    ],
    ("load_model", "DCGAN", (*H, "generator"), "nested string"),
    ("load_model", "DCGAN", (*H, "generator"), "sum"),
    *[
        ("load_model", "DCGAN", (*H, place), payload)
        for place in ("discriminator", "generator_optimizer", "discriminator_optimizer", "scheduler", "augment")
        for payload in ("system", "getoutput")
    ],
    ("load_model", "DCGAN", (*H, "discriminator_optimizer"), "optimizer"),
    ("load_model", "DCGAN", (*H, "scheduler"), "rate"),
    ("load_model", "DCGAN", (*H, "augment"), "class"),
    ("load_model", "DCGAN", (*H, "step"), "class"),
    ("load_model", "DCGAN", (*H, "image_shape"), "class"),
    ("load_model", "DCGAN", ("gan_lightning", "class_path"), "model"),
    ("load_from_checkpoint", "DCGAN", (*H, "generator"), "system"),
    ("load_from_checkpoint", "DCGAN", (*H, "generator"), "class"),
    ("load_from_checkpoint", "SeqGAN", (*H, "generator"), "run"),
    ("load_from_checkpoint", "Pix2Pix", (*H, "discriminator_optimizer"), "getoutput"),
    ("sample", "DCGAN", (*H, "generator"), "system"),
    ("sample", "DCGAN", (*H, "augment"), "timeit"),
    ("sample", "DCGAN", ("gan_lightning", "class_path"), "model"),
    ("sample", "SeqGAN", (*H, "pretraining_optimizer"), "getoutput"),
    ("evaluate", "DCGAN", (*H, "generator"), "runpy"),
    ("evaluate", "DCGAN", (*C, "data"), "pictures"),
    ("evaluate", "SeqGAN", (*H, "generator"), "system"),
    ("evaluate", "SeqGAN", (*C, "data"), "pictures"),
    ("translate", "Pix2Pix", (*H, "generator"), "system"),
    ("translate", "Pix2Pix", (*H, "discriminator"), "hub"),
    ("translate", "Pix2Pix", (*H, "scheduler"), "import"),
    ("translate", "Pix2Pix", ("gan_lightning", "class_path"), "model"),
    ("fit", "DCGAN", (*C, "model", "init_args", "generator"), "system"),
    ("fit", "DCGAN", (*C, "model", "init_args", "generator_optimizer"), "getoutput"),
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
