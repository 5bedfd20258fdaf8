"""`convert`: others' files, written here in their layout, become checkpoints that draw what their programs drew."""

from __future__ import annotations

import functools
import importlib
import io
import json
import os
import pickle
import shlex
import shutil
import struct
import sys
import types
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gan_lightning import convert, evaluate, fit, load_model, sample
from gan_lightning.networks.stylegan2 import published_arguments
from gan_lightning.runtime import published

REFERENCE = Path(__file__).parent / "reference"
Z, REAL = "a.in.z", "a.in.real"
BUFFERS = ("noise_const", "w_avg", "resample_filter", "Kernel")
FILTER = torch.outer(torch.tensor([1.0, 3.0, 3.0, 1.0]), torch.tensor([1.0, 3.0, 3.0, 1.0])) / 64


# Files in the layout of others.


def arrays(name: str) -> dict[str, Tensor]:
    with np.load(REFERENCE / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def below(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def reconstruct(meta: dict) -> None:
    """Stands for the function that runs `module_src` and makes the object."""


class EasyDict(dict):
    """Stands for NVlabs' dictionary, which their modules keep arguments in."""


class Persistent:
    """An object as NVlabs' `persistence` pickles it: a call with the source text of its class and its attributes."""

    source = ""

    def __init__(self, **state: Any) -> None:
        self.state = state

    def __reduce__(self) -> tuple:
        meta = {"type": "class", "version": 6, "module_src": self.source, "class_name": "Layer", "state": self.state}
        return reconstruct, (meta,), None


class Plain:
    """An object that is pickled as what it is, by the name of its class and its attributes: R3GAN's."""

    def __init__(self, **state: Any) -> None:
        self.__dict__.update(state)


@contextmanager
def theirs() -> Iterator[None]:
    """Within it these classes have the names of the authors' programs, as a pickle writes them."""
    places = {
        reconstruct: ("torch_utils.persistence", "_reconstruct_persistent_obj"),
        EasyDict: ("dnnlib.util", "EasyDict"),
        Plain: ("training.networks", "Generator"),
    }
    modules = {package: types.ModuleType(package) for package in ("torch_utils", "dnnlib", "training")}
    before = [(thing, thing.__module__, thing.__name__, thing.__qualname__) for thing in places]
    for thing, (module, name) in places.items():
        setattr(modules.setdefault(module, types.ModuleType(module)), name, thing)
        thing.__module__, thing.__name__, thing.__qualname__ = module, name, name
    try:
        with patch.dict(sys.modules, modules):
            yield
    finally:
        for thing, *names in before:
            thing.__module__, thing.__name__, thing.__qualname__ = names


def tree(weights: dict[str, Tensor], kind: type, settings: dict[str, Any], name: str = "") -> Any:
    """Modules within modules that hold these weights, and attributes of them by dotted names."""
    own, inner = {key: value for key, value in weights.items() if "." not in key}, {}
    for key in weights:
        if "." in key and (first := key.split(".")[0]) not in inner:
            part = f"{name}.{first}" if name else first
            inner[first] = tree(below(weights, f"{first}."), kind, settings, part)
    state = below(
        {key: value for key, value in settings.items() if key.rpartition(".")[0] == name}, name and f"{name}."
    )
    return kind(
        training=False,
        _parameters=OrderedDict((key, nn.Parameter(value)) for key, value in own.items() if key not in BUFFERS),
        _buffers=OrderedDict((key, value) for key, value in own.items() if key in BUFFERS),
        _non_persistent_buffers_set=set(),
        _backward_hooks=OrderedDict(),
        _modules=OrderedDict(inner),
        _init_args=(),
        _init_kwargs=EasyDict(z_dim=16, synthesis_kwargs=EasyDict(channel_base=256)),
        weight_gain=np.float64(0.25),
        **state,
    )


def pickled(content: Any, path: Path, protocol: int = 4) -> Path:
    with theirs(), open(path, "wb") as file:
        pickle.dump(content, file, protocol=protocol)
    return path


def safetensors(weights: dict[str, Tensor], path: Path) -> Path:
    """By the format's own page: a length, a header of JSON, the numbers."""
    header, numbers = {"__metadata__": {"format": "pt"}}, b""
    for name, value in weights.items():
        part = value.contiguous().numpy().tobytes()
        about = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [len(numbers), len(numbers) + len(part)]}
        header[name], numbers = about, numbers + part
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + numbers)
    return path


CLAMPS = {"synthesis.b4.conv1.conv_clamp": 200, "mapping.fc0.bias_gain": 0.01, "mapping.fc0.activation": "lrelu"}
JUDGED = {"b4.conv.conv_clamp": 100, "b4.mbstd.group_size": 4, "b4.mbstd.num_channels": 1}


@pytest.fixture(scope="module")
def given() -> dict[str, Tensor]:
    """The authors' StyleGAN2-ADA without classes."""
    return arrays("stylegan2_ada")


@pytest.fixture
def snapshot(given: dict[str, Tensor], marker: Path) -> dict[str, Any]:
    """What StyleGAN2-ADA's training loop pickles; the generator that is trained is another one than the average."""
    average, judge = below(given, "a.G."), below(given, "a.D.")
    average["synthesis.b8.conv0.resample_filter"] = judge["b16.conv1.resample_filter"] = FILTER
    weight = average["mapping.fc0.weight"]  # as a part of other numbers, in another order
    average["mapping.fc0.weight"] = torch.stack([torch.zeros_like(weight), weight.T])[1].T
    live = {name: value if name.split(".")[-1] in BUFFERS else value + 1 for name, value in average.items()}
    Persistent.source = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n"
    return {
        "training_set_kwargs": {"class_name": "training.dataset.ImageFolderDataset", "path": "images.zip"},
        "G": tree(live, Persistent, CLAMPS),
        "D": tree(judge, Persistent, JUDGED),
        "G_ema": tree(average, Persistent, CLAMPS),
        "augment_pipe": tree({"p": torch.zeros(())}, Persistent, {}),
    }


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """What code that runs leaves."""
    return tmp_path / "marker"


def converted(path: Path, *args: str) -> Path:
    convert.main([str(path), *args])
    return path.with_suffix(".ckpt")


def drawn(path: Path, z: Tensor, *how: Any) -> Tensor:
    with torch.no_grad():
        return load_model(path).weights()(z, *how)


# What comes out.


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_a_snapshot_draws_what_it_drew(
    protocol: int, snapshot: dict, given: dict, tmp_path: Path, marker: Path, capsys: pytest.CaptureFixture
) -> None:
    path = converted(pickled(snapshot, tmp_path / "ffhq.pkl", protocol))
    assert not marker.exists(), "the text of a class was run"
    said = capsys.readouterr().out
    model = load_model(path)
    for psi, name in ((None, "a.out.image, constant noise"), (0.7, "a.out.image, truncation 0.7, constant noise")):
        torch.testing.assert_close(drawn(path, given[Z][:2], None, psi, "const"), given[name], rtol=1e-4, atol=1e-4)
    groups = torch.arange(8).view(4, 2).T.flatten()  # theirs are every second sample, ours those in succession
    with torch.no_grad():
        scores = model.discriminator(given[REAL][groups])
    torch.testing.assert_close(scores, given["a.out.D(real)"].flatten()[groups], rtol=1e-4, atol=1e-4)
    affine = "synthesis.blocks.1.conv.affine.bias"
    live, average = model.generator.state_dict()[affine], model.weights().state_dict()[affine]
    torch.testing.assert_close(live, average + 1)
    assert model.generator.synthesis.blocks[0].conv.clamp == 200 and model.discriminator.conv.clamp == 100
    assert (model.iteration, model.images_seen, model.turns) == (0, 0, {})
    assert f"{tmp_path / 'ffhq.pkl'}: StyleGAN2, images 3x16x16\n" in said
    assert "left out       training_set_kwargs, augment_pipe\n" in said
    for player, name in (("generator", "G"), ("average", "G_ema"), ("discriminator", "D")):
        assert f"\n{player:<13}  from {name}, " in said


@pytest.mark.parametrize(
    "write",
    [
        lambda state, path: torch.save({"G_ema": state}, path),
        lambda state, path: torch.save({f"module.G_ema.{name}": value for name, value in state.items()}, path),
        lambda state, path: torch.save(state, path),
        lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False),
        lambda state, path: safetensors(state, path),
        lambda state, path: safetensors({f"G_ema.{name}": value for name, value in state.items()}, path),
    ],
    ids=["nested", "prefixed", "bare", "before torch 1.6", "safetensors", "safetensors, prefixed"],
)
def test_weights_alone(write: Callable, given: dict, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write(below(given, "a.G."), tmp_path / "weights")
    path = converted(tmp_path / "weights")
    image = drawn(path, given[Z][:2], None, None, "const")
    torch.testing.assert_close(image, given["a.out.image, constant noise"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(load_model(path).generator.state_dict(), load_model(path).weights().state_dict())
    said = capsys.readouterr().out
    assert "\ndiscriminator  begins anew: the file has none, " in said and "left out" not in said


@pytest.mark.parametrize("kind", [Plain, Persistent])
def test_r3gan_with_classes(kind: type, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    given = arrays("r3gan")
    networks = {name: {f"Model.{key}": value for key, value in below(given, f"{name}.").items()} for name in "GD"}
    content = {name: tree(weights, kind, {}) for name, weights in networks.items()}
    moments = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}
    content |= {"G_ema": content["G"], "cur_nimg": 5, "G_opt_state": moments}
    path = converted(pickled(content, tmp_path / "r3.pkl"))
    model = load_model(path)
    with torch.no_grad():
        torch.testing.assert_close(model.weights()(given["z"], given["label"]), given["G(z, label)"])
        scores = model.discriminator(given["real"], given["label"])
    torch.testing.assert_close(scores, given["D(real, label)"].flatten())
    said = capsys.readouterr().out
    assert model.num_classes == 3 and "R3GAN, images 3x16x16, 3 classes\n" in said
    assert "left out       cur_nimg, G_opt_state\n" in said


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(8):
        Image.fromarray(rng.integers(256, size=(18, 20, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


def fitted(said: str, folder: Path, capsys: pytest.CaptureFixture) -> str:
    """What `fit` says, as `convert` told to type it, with this folder of pictures and one step."""
    *_, after = said.splitlines()
    command = shlex.split(after.replace("FOLDER", str(folder)))
    assert command[:3] == ["python", "-m", "gan_lightning.fit"]
    quiet = ["--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.max_steps=1"]
    fit.main([*command[3:], *quiet, "--data.batch_size=4", "--grid.every_n_steps=null", "--data.num_workers=0"])
    return capsys.readouterr().out


def all_taken(path: Path, model: str) -> str:
    """The line of a run that begins with every tensor of a checkpoint."""
    count = len([name for name in load_model(path).state_dict() if "." in name and not name.startswith("averages.")])
    return f"{count} of {count} tensors from {path} ({model}, step 0)\n"


def test_the_commands_take_it(
    snapshot: dict, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    path = converted(pickled(snapshot, tmp_path / "ffhq.pkl"))
    said = capsys.readouterr().out
    assert all_taken(path, "StyleGAN2") in fitted(said, pictures, capsys)

    sample.main([str(path), "--n", "2", "--out", "drawn"])
    assert len(list(Path("drawn").glob("*.png"))) == 2
    (command,) = (line for line in said.splitlines() if "evaluate" in line)
    words = shlex.split(command.replace("FOLDER", str(pictures)))[3:]
    evaluate.main([*words, "--n", "8", "--extractor", "DigitFeatures", "--json", "a.json"])
    assert json.loads(Path("a.json").read_text())["FID-digits"]["card"]["step"] == 0
    capsys.readouterr()
    assert "begin one from them: --init_from" in refused(capsys, fit.main, ["--ckpt_path", str(path)])


@pytest.mark.parametrize("channels", [1, 3])
def test_fit_is_told_of_channels_and_classes(
    channels: int, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = {f"Model.{name}": value for name, value in below(arrays("r3gan"), "G.").items()}
    weights["Model.AggregationLayer.Layer.weight"] = weights["Model.AggregationLayer.Layer.weight"][:channels]
    torch.save({"G_ema": weights}, tmp_path / "r3.pt")
    for name in "abc":  # three classes
        shutil.copytree(pictures, tmp_path / "classes" / name)
    path = converted(tmp_path / "r3.pt")
    assert load_model(path).image_shape == (channels, 16, 16)
    assert all_taken(path, "R3GAN") in fitted(capsys.readouterr().out, tmp_path / "classes", capsys)


def test_channels_are_read_off_the_weights() -> None:
    """Those of FFHQ at 256 px by the authors' table: base 16384, at most 512."""
    counts = [512, 512, 512, 512, 256, 128, 64]
    state = {f"synthesis.b{4 * 2**level}.conv1.weight": torch.zeros(n, 1, 3, 3) for level, n in enumerate(counts)}
    state |= {"synthesis.b4.const": torch.zeros(512, 4, 4), "synthesis.b4.torgb.weight": torch.zeros(3, 512, 1, 1)}
    state |= {"mapping.w_avg": torch.zeros(512), "mapping.fc0.weight": torch.zeros(512, 512 + 512)}
    state |= {"mapping.fc1.weight": torch.zeros(512, 512), "mapping.embed.weight": torch.zeros(512, 10)}
    found = published_arguments(state)
    assert (found["base"], found["widest"], found["image_shape"]) == (16384, 512, (3, 256, 256))
    assert (found["latent_dim"], found["mapping_layers"], found["num_classes"]) == (512, 2, 10)


# What is refused.


def refused(capsys: pytest.CaptureFixture, main: Callable, args: list[str]) -> str:
    """The one line that a command ends with."""
    with pytest.raises(SystemExit) as end:
        main(args)
    message = capsys.readouterr().err
    assert (end.value.code, message.count("\n")) == (2, 1)
    return message


class Call:
    """A call that a pickle makes when it is read, and whose result it may call in turn."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.made = function, arguments

    def __call__(self) -> None: ...

    def __reduce__(self) -> tuple:
        return self.made


def tensor_of(source: bytes) -> Call:
    """A tensor of numbers that torch saved within the pickle."""
    storage = Call(torch.storage._load_from_bytes, source)
    return Call(torch._utils._rebuild_tensor_v2, storage, 0, (1,), (1,), False, OrderedDict())


def payloads(marker: Path) -> dict[str, Any]:
    """What leaves the marker where a pickle of it is run."""
    leave, evil = (str(marker), "w"), Call(open, str(marker), "w")
    legacy, zipped = io.BytesIO(), io.BytesIO()
    torch.save(evil, legacy, _use_new_zipfile_serialization=False)
    torch.save(evil, zipped)
    return {
        "open": evil,
        "system": Call(os.system, f"touch {shlex.quote(str(marker))}"),
        "eval": Call(eval, f"open({str(marker)!r}, 'w')"),
        "exec": Call(exec, f"open({str(marker)!r}, 'w')"),
        "getattr": Call(Call(getattr, Call(importlib.import_module, "io"), "open"), *leave),
        "partial": Call(functools.partial(open, *leave)),
        "array of objects": np.array([evil], dtype=object),
        "state": Persistent(_modules=OrderedDict(), _parameters=OrderedDict(weight=evil)),
        "tensor, a pickle": tensor_of(pickle.dumps(evil)),
        "tensor, legacy": tensor_of(legacy.getvalue()),
        "tensor, zipped": tensor_of(zipped.getvalue()),
    }


PAYLOADS = list(payloads(Path("marker")))
OVERLAPPING = json.dumps({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in ("a", "b")}).encode()


def poisoned(snapshot: dict[str, Any], place: str, payload: Any) -> Any:
    if place == "alone":
        return payload
    if place == "part":
        return snapshot | {"more": payload}
    state = snapshot["G_ema"].state
    if place == "weight":
        state["_modules"]["mapping"].state["_modules"]["fc0"].state["_parameters"]["weight"] = payload
    elif place == "module":
        state["_modules"]["mapping"] = payload
    else:
        state["_init_kwargs"]["layers"] = payload
    return snapshot


@pytest.mark.parametrize("place", ["alone", "part", "weight", "module", "argument"])
@pytest.mark.parametrize("name", PAYLOADS)
def test_attack(
    name: str, place: str, snapshot: dict, tmp_path: Path, marker: Path, capsys: pytest.CaptureFixture
) -> None:
    path = pickled(poisoned(snapshot, place, payloads(marker)[name]), tmp_path / "evil.pkl")
    if name.startswith("tensor") and place == "argument":  # nobody asks what is in it
        convert.main([str(path)])
    else:
        message = refused(capsys, convert.main, [str(path)])
        assert message.startswith(f"error: {path} ") and len(message) < 400 + len(str(path))
        assert not path.with_suffix(".ckpt").exists()
    assert not marker.exists()


@pytest.mark.parametrize("name", PAYLOADS)
def test_attack_would_succeed(name: str, tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table can fail: who runs these files leaves the marker."""
    monkeypatch.setattr(sys.modules[__name__], "reconstruct", lambda meta: None)
    monkeypatch.setattr(torch, "load", partial(torch.load, weights_only=False))
    with suppress(Exception):
        path = pickled(payloads(marker)[name], tmp_path / "evil.pkl")
        with theirs(), open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pickle.load(file)
    assert marker.exists() or name == "tensor, a pickle"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"cposix\nsystem\n(S'true'\ntR.", "names posix.system"),
        (b"(S'true'\niposix\nsystem\n.", "has INST in it"),
        (b"(cpip\nmain\nS'true'\no.", "has OBJ in it"),
        (b"\x80\x04\x8c\x08builtins\x8c\x0deval.__call__\x93.", "names builtins.eval.__call__"),
        (b"\x80\x04\x8c\x17collections.OrderedDict\x8c\x08__init__\x93.", "names collections.OrderedDict.__init__"),
        (b"\x80\x02ccopyreg\n_reconstructor\n.", "names copyreg._reconstructor"),
        (b"\x80\x02cpip\nmain\n)R)R.", "calls what is no class"),
        (b"\x80\x04K\x01K\x02\x93.", "by what is no text"),
        (b"\x80\x02\x82\x01.", "has EXT1 in it"),
        (b"Pname\n.", "has PERSID in it"),
        (b"\x80\x05\x97.", "has NEXT_BUFFER in it"),
        (b"\x80\x02cdnnlib.tflib.network\nNetwork\n)\x81.", "legacy.py"),
        (b"\x80\x02cpip\nmain\n)R.", "holds no network"),
        (b"\x80\x04}\x94.", "holds no network"),
        (b"\x80\x04]]e.", "corrupt"),
        (b"\x80\x04}h\x07.", "corrupt"),
        (b"\x80\x04}", "corrupt"),
        (b"\x80\x04" + b"\x8e" + b"\xff" * 8 + b".", "corrupt"),
        (b"\x80\x04" + 5000 * b"(" + 5000 * b"t" + b".", "holds no network"),
        (b"", "0 bytes"),
        (b"PK\x03\x04 no zip", "corrupt"),
        (b"\x10\0\0\0\0\0\0\0{}", "corrupt"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f{}", "neither a pickle"),
        (
            struct.pack("<Q", 62) + b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}        ' + b"12",
            "corrupt (a)",
        ),
        (struct.pack("<Q", len(OVERLAPPING)) + OVERLAPPING + b"1234", "tensors overlap"),
    ],
)
def test_bytes_of_no_checkpoint(content: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "a\x1b.pkl"
    path.write_bytes(content)
    message = refused(capsys, convert.main, [str(path)])
    assert message.startswith(f"error: {tmp_path}/a\\x1b.pkl ") and words in message


def test_nothing_of_a_pickle_is_set_or_made() -> None:
    """BUILD, which sets attributes, and a place in the memo that a list of places would take gigabytes for."""
    state = {"__class__": 1, "__setstate__": 2, "__dict__": {"name": 3}, "name": "other"}
    body = pickle.dumps(state, protocol=2)[2:-1]
    record = published.records(b"\x80\x02cpip\nmain\n)\x81" + body + b"b.")
    assert type(record) is published.Record and record.name == "pip.main" and record.state == state
    assert published.records(b"\x80\x02}r\xff\xff\xff\xff.") == {}


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_are_read_as_python_reads_them(protocol: int) -> None:
    shared = ["a", 1]
    value = [None, True, False, 0, -1, 2**40, -(2**70), 0.1, "\u00e9\n", (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)]
    value += [{"a": shared, 2: {}}, shared, [], OrderedDict(), "x" * 300, 70000, list(range(1500))]
    value += [b"b", b"b" * 300, bytearray(b"c")] if protocol == 5 else [b"b"] if protocol > 2 else []
    found = published.records(pickle.dumps(value, protocol=protocol))
    assert found == value and found[14]["a"] is found[15]


def test_what_has_no_end_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    circle: dict[str, Any] = {}
    circle["again"] = circle
    nameless: dict[str, Any] = {}
    nameless[""] = nameless
    laughs: dict[str, Any] = {}
    for _ in range(60):
        laughs = {"a": laughs, "b": laughs}
    for content, words in (
        (circle, "a name of more than 1000 characters"),
        (nameless, "recursion"),
        (laughs, "more than 100000 names"),
    ):
        assert words in refused(capsys, convert.main, [str(pickled(content, tmp_path / "a.pkl"))])


def test_tuples_are_no_keys(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Their hash looks into them: into 2^60 of one within another, and deeper than the stack is."""
    doubled = b"".join(b"\x94h" + bytes([number]) + b"\x86" for number in range(60))
    path = tmp_path / "a.pkl"
    for within in (doubled, 300_000 * b"\x85"):
        path.write_bytes(b"\x80\x04})" + within + b"Ns.")
        assert "holds no network" in refused(capsys, convert.main, [str(path)])
    assert published.records(b"\x80\x04}(K\x01K\x02)K\x03\x8c\x01aK\x04u.") == {1: 2, "a": 4}


def test_numbers_that_many_share_are_read_once_and_not_multiplied(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    _, (source,) = torch.arange(3.0)._typed_storage().__reduce__()
    storage = Call(torch.storage._load_from_bytes, source)
    rows = [Call(torch._utils._rebuild_tensor_v2, storage, 0, (3,), (1,), False, OrderedDict()) for _ in range(9)]
    path = pickled(dict(zip("abcdefgh", rows, strict=False)), tmp_path / "a.pkl")
    with patch.object(published.torchfile, "load_open", wraps=published.torchfile.load_open) as loaded:
        found = published.read(path).tensors
    assert loaded.call_count == 1 and list(found) == list("abcdefgh")
    assert all(torch.equal(value, torch.arange(3.0)) for value in found.values())
    path = pickled(dict(zip("abcdefghi", rows, strict=True)), tmp_path / "a.pkl")
    assert "gives the same numbers to more than 8 tensors" in refused(capsys, convert.main, [str(path)])


def test_more_networks_than_any_file_has(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    torch.save({f"G{number}": {"synthesis.b4.const": torch.zeros(1)} for number in range(9)}, tmp_path / "a.pt")
    assert "holds more than 8 networks" in refused(capsys, convert.main, [str(tmp_path / "a.pt")])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.update({"synthesis.b8.\x1b[1m": torch.zeros(1)}), r'"synthesis.blocks.1.\x1b[1m"'),
        (  # ours of a million channels would take 36 TB
            lambda state: state.update(
                {f"synthesis.b{size}.conv1.weight": torch.zeros(10**6, 1, 1, 1) for size in (4, 8, 16)}
            ),
            "size mismatch",
        ),
        (lambda state: state.update({"mapping.w_avg": torch.zeros(0, 10**12)}), "mapping.w_avg, which has no numbers"),
        (lambda state: state.update({"mapping.w_avg": torch.zeros(16, device="meta")}), "which has no numbers"),
        (lambda state: state.pop("mapping.fc1.bias"), 'Missing key(s) in state_dict: "mapping.layers.1.bias"'),
        (lambda state: state.pop("mapping.w_avg"), "holds a network that does not fit ours"),
        (lambda state: state.update({"synthesis.b8.skip.weight": torch.zeros(1)}), "Unexpected key(s)"),
        (
            lambda state: state.update({"synthesis.b8.conv1.resample_filter": torch.ones(4, 4)}),
            "is not [1, 3, 3, 1]",
        ),
        (lambda state: state.pop("synthesis.b4.const"), "holds no network"),
        (lambda state: state.update({"synthesis.b4.const": torch.zeros(())}), "does not fit ours"),
        (lambda state: state.update({"mapping.w_avg": torch.zeros(1).expand(10**12)}), "fewer numbers than places"),
    ],
)
def test_networks_that_are_none_of_ours(
    change: Callable, words: str, given: dict, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    change(state := below(given, "a.G."))
    torch.save(state, tmp_path / "a.pt")
    assert words in refused(capsys, convert.main, [str(tmp_path / "a.pt")])


def test_settings_that_ours_do_not_have(given: dict, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for settings in ({"mapping.fc0.activation": "relu"}, {"mapping.fc0.bias_gain": 1}):
        path = pickled({"G_ema": tree(below(given, "a.G."), Persistent, settings)}, tmp_path / "a.pkl")
        (name,) = settings
        assert f"its {name} is " in refused(capsys, convert.main, [str(path)])


def test_files(given: dict, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path, out = tmp_path / "a.pt", tmp_path / "mine.ckpt"
    torch.save(below(given, "a.G."), path)
    out.write_text("mine")
    for args, words in {
        (str(path), f"--out={out}"): "is there: give another --out, or --overwrite",
        (str(path), f"--out={tmp_path / 'no' / 'a.ckpt'}"): "does not exist",
        (str(path), f"--out={tmp_path / 'a.pth'}"): "ends in .ckpt",
        (str(tmp_path / "b.pt"),): "there is no file",
        (str(tmp_path),): "there is no file",
        (str(out), "--overwrite"): "is the file to convert: give another --out",
    }.items():
        assert words in refused(capsys, convert.main, list(args))
    assert out.read_text() == "mine"
    convert.main([str(path), f"--out={out}", "--overwrite"])
    assert load_model(out).image_shape == (3, 16, 16)
    assert (tmp_path / "mine.previous.ckpt").read_text() == "mine"
    assert "is a checkpoint of gan_lightning already" in refused(capsys, convert.main, [str(out), "--out=x.ckpt"])
