"""`convert` of other collections' weights: files written here in their layouts, against what their code computed.

`reference/peers.npz` holds, for networks of those programs, the names and shapes of their tensors, and 8 of the numbers
that their code computed in float64 of weights and inputs by the formulas of :func:`tensor` and :func:`number`: of
github.com/junyanz (its networks as taesungp/contrastive-unpaired-translation has them, without antialiasing, in
training mode, as its test program uses them), yunjey/stargan (the same), ajbrock/BigGAN-PyTorch and kwotsin/mimicry (in
evaluation mode, with ReLUs that are not in place), each from its newest commit.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gan_lightning import convert, evaluate, fit, load_model, networks, sample, translate
from gan_lightning.networks.peers import LAYOUTS, layout_of
from gan_lightning.runtime import programs

REFERENCE = np.load(Path(__file__).parent / "reference" / "peers.npz")
OUTPUTS = 8


def number(shape: tuple[int, ...], key: int) -> Tensor:
    """Numbers in [-1, 1] that look random and are the same everywhere: sin(i^2 / 8 + key)."""
    i = torch.arange(int(np.prod(shape)), dtype=torch.float64)
    return (i * i / 8 + key).sin().view(shape)


def tensor(name: str, shape: tuple[int, ...], key: int) -> Tensor:
    """The value of a tensor of theirs, float32: variances are positive, singular vectors have length 1."""
    value, part = number(shape, key), name.rpartition(".")[2]
    if part in ("num_batches_tracked", "accumulation_counter"):
        return torch.zeros(shape, dtype=torch.int64)
    if "var" in part:
        value = 1 + 0.5 * value
    elif part in ("u0", "weight_u", "weight_v"):
        value = torch.nn.functional.normalize(value, dim=-1)
    elif value.ndim > 1:
        value = value * (2 / (value.numel() / len(value))) ** 0.5
    else:
        value = 0.5 + 0.1 * value
    return value.float()


def probed(outputs: Tensor | tuple[Tensor, ...]) -> np.ndarray:
    """8 numbers, spread over all."""
    flat = torch.cat([one.flatten() for one in (outputs if isinstance(outputs, tuple) else (outputs,))])
    return flat.detach()[torch.arange(OUTPUTS) * (len(flat) - 1) // (OUTPUTS - 1)].double().numpy()


def theirs(name: str, factor: float = 1.0) -> dict[str, Tensor]:
    """The weights of a network of the reference, by the names of its program."""
    shapes = json.loads(str(REFERENCE[f"{name}/tensors"]))
    return {key: factor * tensor(key, tuple(shape), at) for at, (key, shape) in enumerate(shapes)}


def written(folder: Path, **files: Any) -> list[str]:
    """Files of `torch.save`, by their name without `.pth`."""
    for name, content in files.items():
        torch.save(content, folder / f"{name}.pth")
    return [str(folder / f"{name}.pth") for name in files]


def converted(folder: Path, files: dict[str, Any], *args: str) -> Any:
    out = folder / "out.ckpt"
    convert.main([*written(folder, **files), f"--out={out}", "--overwrite", *args])
    return load_model(out)


def steps(weights: dict[str, Tensor]) -> dict[str, Any]:
    """As mimicry saves a network."""
    return {"model_state_dict": weights, "optimizer_state_dict": None, "global_step": 100000}


def parallel(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """As DataParallel names them."""
    return {f"module.{name}": value for name, value in weights.items()}


X, X1 = number((2, 3, 32, 32), 100), number((1, 3, 64, 64), 100)
WANTED = torch.tensor([[1, 0, 0, 1, 0], [0, 1, 0, 0, 1]])
LABEL = torch.tensor([0, 3, 6])


Z6, X3, X64, X128 = number((3, 6), 1), *(number((3, 3, size, size), 100) for size in (32, 64, 128))
PAIR = number((1, 6, 32, 32), 100)
INPUTS = {
    "resnet": (X,),
    "resnet old": (X,),
    "patch": (X,),
    "unet": (X1,),
    "unet instance": (number((1, 3, 128, 128), 100),),
    "patch pair": (PAIR,),
    "pixel pair": (PAIR,),
    "stargan G": (X, WANTED),
    "stargan D": (number((2, 3, 64, 64), 100),),
    "BigGAN G": (number((3, 24), 1), LABEL),
    "BigGAN G mybn": (number((3, 24), 1), LABEL),
    "BigGAN G unshared": (Z6, LABEL),
    "BigGAN G 64": (number((3, 10), 1), LABEL),
    "BigGAN D": (X3, LABEL),
    "BigGAN D 64": (X64, LABEL),
    "SNGAN G 32": (Z6,),
    "SNGAN G 48": (Z6,),
    "SNGAN G 64": (Z6,),
    "SNGAN G 128": (Z6,),
    "SNGAN D 32": (X3,),
    "SNGAN D 64": (X64,),
    "SNGAN D 128": (X128,),
}


@pytest.mark.parametrize("name", INPUTS)
def test_it_computes_what_the_other_code_computes(name: str) -> None:
    weights = {key: value.double() for key, value in theirs(name).items()}
    (layout, prefix), *_ = filter(None, (layout_of(weights, key, LAYOUTS) for key in weights))
    assert prefix == ""
    arguments = layout.arguments(weights)
    arguments["image_shape"] = tuple(side or 64 for side in arguments["image_shape"])
    network = getattr(networks, layout.network)(**arguments).double().eval()
    network.load_state_dict(layout.ours(weights))
    for layer in network.modules():
        if type(layer).__name__ == "NoisyDropout":
            layer.p = 0.0
    np.testing.assert_allclose(probed(network(*INPUTS[name])), REFERENCE[f"{name}/outputs"], rtol=1e-12, atol=1e-12)


# Which network is which.


def test_the_letters_of_cyclegan(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Their D_A judges what their G_A makes, which is of domain B; files may come in any order."""
    files = {f"latest_net_{part}_{letter}": (part, letter) for letter in "BA" for part in "DG"}
    factor = {"A": 1.0, "B": 0.5}
    given = {
        name: theirs("resnet" if part == "G" else "patch", factor[letter]) for name, (part, letter) in files.items()
    }
    given["latest_net_G_B"] = parallel(given["latest_net_G_B"])
    model = converted(tmp_path, given)
    first = theirs("resnet")["model.1.weight"]
    assert [torch.equal(model.generator[at].layers[0].weight, factor["AB"[at]] * first) for at in (0, 1)] == [True] * 2
    first = theirs("patch")["model.0.weight"]
    for at, letter in enumerate("BA"):
        assert torch.equal(model.discriminator[at].layers[0].weight, factor[letter] * first)
    said = capsys.readouterr().out
    assert "CycleGAN, images 3x256x256\n" in said and "\nG AtoB         from latest_net_G_A, " in said
    assert "\nD of B         from latest_net_D_A, " in said and "\nsize           256 px, the usual one; no" in said


def test_one_translator_and_no_letter(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    model = converted(tmp_path, {"horse2zebra": theirs("resnet")}, "--size=64,32")
    said = capsys.readouterr().out
    assert model.image_shape == (3, 64, 32)
    assert "\nG AtoB         from the file, " in said and "\nG BtoA         begins anew: the file has none, " in said
    assert "\nsize" not in said
    assert len(model.generator[1].layers) == len(model.generator[0].layers)


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (("unet",), "Pix2Pix"),
        (("unet", "patch pair"), "Pix2Pix"),
        (("unet", "patch"), "CycleGAN"),
        (("resnet", "patch pair"), "Pix2Pix"),
    ],
)
def test_a_discriminator_says_whether_there_are_pairs(files: tuple, kind: str, tmp_path: Path) -> None:
    model = converted(tmp_path, {name.replace(" ", "_"): theirs(name) for name in files})
    assert type(model).__name__ == kind
    if kind == "Pix2Pix" and "unet" in files:  # 64 px: one layer with all channels below the first, as unet_128 has two
        assert [at for at, layer in enumerate(model.generator.up) if len(layer) > 3] == [1]


def test_biggan_s_average_is_the_file_of_that_name(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    model = converted(tmp_path, {"G": theirs("BigGAN G"), "G_ema": theirs("BigGAN G", 0.5), "D": theirs("BigGAN D")})
    assert (model.num_classes, model.image_shape, model.generator.latent_dim) == (7, (3, 32, 32), 24)
    live, average = (network.embedding.weight for network in (model.generator, model.weights()))
    assert torch.equal(live, 2 * average)
    said = capsys.readouterr().out
    for player, name in (("generator", "G"), ("average", "G_ema"), ("discriminator", "D")):
        assert f"\n{player:<13}  from {name}, " in said


def test_stargan_s_attributes(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    model = converted(tmp_path, {"g": theirs("stargan G")})
    assert model.attributes == ["Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young"]
    assert (model.exclusive, model.image_shape) == ([0, 1, 2], (3, 128, 128))
    assert "no tensor shows them: --attributes" in capsys.readouterr().out
    files = {"g": theirs("stargan G"), "d": theirs("stargan D")}
    model = converted(tmp_path, files, "--attributes=a,b,Black_Hair,c,Gray_Hair")
    assert (model.attributes[0], model.exclusive, model.image_shape) == ("a", [2, 4], (3, 64, 64))


# What is done with it.


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders in the layouts of the data modules: 2 pictures in each, 64 px."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for folder in ("trainA", "trainB", "images", *(f"classes/{at}" for at in range(7))):
        (root / folder).mkdir(parents=True)
        for at in range(2):
            Image.fromarray(rng.integers(256, size=(64, 64, 3), dtype=np.uint8)).save(root / folder / f"{at}.png")
    names = "Black_Hair Blond_Hair Brown_Hair Male Young"
    rows = [f"{at}.png 1 -1 -1 {1 - 2 * at} 1" for at in range(2)]
    (root / "list_attr_celeba.txt").write_text("\n".join(["2", names, *rows, ""]))
    return root


@pytest.mark.parametrize(
    ("names", "folder"),
    [
        (("unet", "patch"), ""),
        (("stargan G", "stargan D"), ""),
        (("BigGAN G unshared", "BigGAN D"), "classes"),
    ],
)
def test_fit_begins_with_it_as_told(
    names: tuple[str, ...],
    folder: str,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """The command that `convert` prints builds the same networks, and takes all of their weights."""
    monkeypatch.chdir(tmp_path)
    model = converted(tmp_path, {name.replace(" ", "_"): theirs(name) for name in names})
    command = shlex.split(capsys.readouterr().out.splitlines()[-1].replace("FOLDER", str(pictures / folder)))
    quiet = ["--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.max_steps=1"]
    quiet += ["--data.batch_size=2", "--grid.every_n_steps=null", "--data.num_workers=0"]
    quiet += [] if folder else ["--data.jitter=null"]
    fit.main([*command[3:], *quiet])
    ours = [name for name in model.state_dict() if "." in name and not name.startswith("averages.")]
    assert f"{len(ours)} of {len(ours)} tensors from " in capsys.readouterr().out


def test_the_other_commands_take_it(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    out, picture = str(tmp_path / "out.ckpt"), str(pictures / "images" / "0.png")
    converted(tmp_path, {"g": theirs("BigGAN G")})
    sample.main([out, "--n", "2", "--out", "drawn"])
    assert len(list(Path("drawn").glob("*.png"))) == 2
    how = ["--real", str(pictures / "images"), "--size", "32", "--n", "2", "--extractor", "DigitFeatures"]
    evaluate.main([out, *how, "--json", "a.json"])
    assert json.loads(Path("a.json").read_text())["FID-digits"]["card"]["model"] == "BigGAN"
    for names, flags in (
        (["resnet"], ["--direction", "BtoA"]),
        (["stargan G", "stargan D"], ["--attributes", "+Male"]),
    ):
        converted(tmp_path, {name.replace(" ", "_"): theirs(name) for name in names})
        translate.main([out, "--input", picture, "--out", names[0], *flags])
        with Image.open(next(Path(names[0]).rglob("*.png"))) as made:
            assert made.size == (64, 64)


# What is refused.


class Evil:
    """What runs code when a pickle of it is read."""

    def __reduce__(self) -> tuple:
        return print, ("run",)


def changed(name: str, **tensors: Tensor) -> dict[str, Tensor]:
    return {**theirs(name), **{key.replace("__", "."): value for key, value in tensors.items()}}


HOSTILE = ("resnet", "stargan G", "BigGAN G", "SNGAN G 32")
NARROW = {"blocks.0.0.conv1.weight": torch.zeros(8, 4, 3, 3)}
REFUSED = {
    "batch norm": ({"a": changed("resnet", model__2__weight=torch.zeros(2))}, (), "model.2.weight is the gain of"),
    "a strange ResNet": ({"a": changed("resnet", extra=torch.zeros(2))}, (), "extra is no tensor of a ResNet"),
    "a strange U-Net": ({"a": changed("unet", extra=torch.zeros(2))}, (), "extra is no tensor of a U-Net"),
    "a strange patch": (
        {"a": theirs("resnet"), "b": changed("patch", model__9__bias=torch.zeros(9))},
        (),
        '"layers.9.bias"',
    ),
    "two of one letter": ({"G_A": theirs("resnet"), "x_A": theirs("resnet")}, (), "two of A"),
    "three translators": ({name: theirs("resnet") for name in "abc"}, (), "too many generators"),
    "two for pairs": ({"a": theirs("unet"), "b": theirs("unet"), "c": theirs("patch pair")}, (), "leave out the oth"),
    "unlike": ({"a": theirs("resnet"), "b": theirs("unet")}, (), "b: the two generators differ"),
    "size of a U-Net": ({"a": theirs("unet")}, ("--size=96",), "96x96 is no multiple of 64"),
    "attributes of CycleGAN": ({"a": theirs("resnet")}, ("--attributes=a",), "--attributes is for StarGAN"),
    "too few attributes": ({"a": theirs("stargan G")}, ("--attributes=a,b",), "5 attributes: name as many"),
    "two data sets": (
        {"a": theirs("stargan G"), "b": {**theirs("stargan D"), "conv2.weight": torch.zeros(3, 32, 1, 1)}},
        (),
        "conv2.weight is of 3 attributes, main.0.weight of 5",
    ),
    "size of StarGAN": ({"a": theirs("stargan G"), "b": theirs("stargan D")}, ("--size=96",), "those of 64 px"),
    "a strange StarGAN": ({"a": changed("stargan G", main__1__x=torch.zeros(1))}, (), "layers.1.x"),
    "no pieces": (
        {"a": {**theirs("BigGAN G"), "blocks.0.0.bn1.gain.weight": torch.zeros(16, 5)}},
        (),
        "blocks.0.0.bn1.gain.weight: the blocks see no piece of the latent",
    ),
    "twice attention": (
        {"a": changed("BigGAN G", blocks__2__1__gamma=torch.zeros(()))},
        (),
        "blocks.2.1.gamma: self-attention follows more than one block",
    ),
    "a narrow BigGAN": ({"a": {**theirs("BigGAN G"), **NARROW}}, (), "does not fit ours"),
    "two BigGANs": ({"a": theirs("BigGAN G 64"), "b": theirs("BigGAN D")}, (), "image_shape is (3, 64, 64), the discr"),
    "size of BigGAN": ({"a": theirs("BigGAN G")}, ("--size=64",), "--size 64: the tensors are those of 32 px"),
    "SNGAN at 48 px": (
        {"a": theirs("SNGAN G 48"), "b": theirs("SNGAN D 48")},
        (),
        "block5.c1.weight_orig: five blocks at 48 px",
    ),
    "half a SNGAN": (
        {"a": {key: value for key, value in theirs("SNGAN G 32").items() if key != "c5.weight"}},
        (),
        "'c5.weight'",
    ),
    "alone": ({"a": theirs("patch")}, (), "holds no network whose tensors are named as those of a generator"),
    "another program": ({"a": theirs("resnet")}, ("--from=stargan",), "of a generator of stargan\n"),
    "no program": ({"a": theirs("resnet")}, ("--from=stargam",), "did you mean 'stargan'"),
    **{f"code in {name}": ({"a": {**theirs(name), "x": Evil()}}, (), "could run code") for name in HOSTILE},
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_line_says_which_tensor(name: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    files, args, words = REFUSED[name]
    with pytest.raises(SystemExit) as end:
        convert.main([*written(tmp_path, **files), f"--out={tmp_path / 'out.ckpt'}", *args])
    said = capsys.readouterr()
    assert end.value.code == 2 and said.err.count("\n") == 1 and words in said.err
    assert said.out == "" and not (tmp_path / "out.ckpt").exists()


def test_a_bottleneck_without_a_bias_has_none(tmp_path: Path) -> None:
    """Theirs has no biases beside batch norm, ours at both ends of the way down."""
    model = converted(tmp_path, {"a": theirs("unet")})
    assert model.generator.down[0][0].bias.eq(0).all() and model.generator.down[-1][1].bias.eq(0).all()


def test_every_program_is_known_by_name(tmp_path: Path) -> None:
    converted(tmp_path, {"a": theirs("resnet")}, f"--from={programs.CYCLEGAN}")
    assert {layout.program for layout in LAYOUTS} == set(programs.PROGRAMS)
