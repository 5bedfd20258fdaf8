"""DINOv2's features by a second implementation, and FD-DINOv2 by scipy's matrix root, as its published code has it."""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import linalg
from torch import Tensor

from gan_lightning import evaluate, fit
from gan_lightning.callbacks import FID, KID, PRDC
from gan_lightning.data.sets import InMemory
from gan_lightning.metrics import DINOv2
from gan_lightning.metrics.dinov2 import resize_like_pillow
from gan_lightning.networks.vit import VisionTransformer
from gan_lightning.runtime.trust import Source
from gan_lightning.scoring import Protocol, extractor_named, figure_name, scores_of

WIDTH, DEPTH, GRID = 128, 2, 37  # two heads; the grid of 518 px


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """A small network's weights by DINOv2's names, the token of its training included."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"cls_token": (1, 1, WIDTH), "pos_embed": (1, 1 + GRID**2, WIDTH), "mask_token": (1, WIDTH)}
    shapes |= {"patch_embed.proj.weight": (WIDTH, 3, 14, 14), "patch_embed.proj.bias": (WIDTH,)}
    for block in range(DEPTH):
        layers = {"attn.qkv": (3 * WIDTH, WIDTH), "attn.proj": (WIDTH, WIDTH)}
        layers |= {"mlp.fc1": (4 * WIDTH, WIDTH), "mlp.fc2": (WIDTH, 4 * WIDTH)}
        for name, shape in layers.items():
            shapes |= {f"blocks.{block}.{name}.weight": shape, f"blocks.{block}.{name}.bias": shape[:1]}
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "ls1.gamma", "ls2.gamma"):
            shapes[f"blocks.{block}.{name}"] = (WIDTH,)
    shapes |= {"norm.weight": (WIDTH,), "norm.bias": (WIDTH,)}
    return {name: torch.randn(shape, generator=generator) / shape[-1] ** 0.5 for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def weights(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dinov2") / "dinov2.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def extractor(weights: Path) -> DINOv2:
    return DINOv2(weights)


def pictures(n: int, size: int, seed: int) -> Tensor:
    return torch.randint(256, (n, 3, size, size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def normal(x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    return (x - mean) / ((x - mean).square().mean(-1, keepdim=True) + 1e-6).sqrt() * gain + bias


def class_token(state: dict[str, Tensor], image: Tensor) -> Tensor:
    """The network by sums and products: patches by hand, attention head by head."""
    state = {name: value.double() for name, value in state.items()}

    def linear(x: Tensor, name: str) -> Tensor:
        return torch.einsum("...i,oi->...o", x, state[f"{name}.weight"]) + state[f"{name}.bias"]

    side = image.shape[2] // 14
    patches = image.reshape(len(image), 3, side, 14, side, 14).permute(0, 2, 4, 1, 3, 5).reshape(len(image), -1, 588)
    embedded = patches @ state["patch_embed.proj.weight"].reshape(WIDTH, 588).T + state["patch_embed.proj.bias"]
    places = state["pos_embed"][0, 1:].reshape(GRID, GRID, WIDTH)
    if side != GRID:  # Keys' cubic with a = -3/4, at the places that a factor of (side + 0.1) / GRID gives
        for axis in (0, 1):
            at = (torch.arange(side).double() + 0.5) / ((side + 0.1) / GRID) - 0.5
            total = 0.0
            for tap in range(-1, 3):
                far = (at - (at.floor() + tap)).abs()
                near = 1.25 * far**3 - 2.25 * far**2 + 1
                outer = -0.75 * (far**3 - 5 * far**2 + 8 * far - 4)
                rows = (at.floor().long() + tap).clamp(0, GRID - 1)
                taken = places.index_select(axis, rows)
                total = total + torch.where(far <= 1, near, outer).view((-1, 1, 1) if axis == 0 else (1, -1, 1)) * taken
            places = total
    own = (state["cls_token"] + state["pos_embed"][:, :1]).expand(len(image), -1, -1)
    x = torch.cat([own, embedded + places.reshape(-1, WIDTH)], 1)
    for block in range(DEPTH):
        at = f"blocks.{block}"
        h = linear(normal(x, state[f"{at}.norm1.weight"], state[f"{at}.norm1.bias"]), f"{at}.attn.qkv")
        query, key, value = h.split(WIDTH, 2)
        heads = []
        for part in (slice(0, 64), slice(64, 128)):
            share = torch.softmax(query[..., part] @ key[..., part].mT / 8, -1)
            heads.append(share @ value[..., part])
        x = x + state[f"{at}.ls1.gamma"] * linear(torch.cat(heads, 2), f"{at}.attn.proj")
        h = linear(normal(x, state[f"{at}.norm2.weight"], state[f"{at}.norm2.bias"]), f"{at}.mlp.fc1")
        h = h * (1 + torch.erf(h / 2**0.5)) / 2
        x = x + state[f"{at}.ls2.gamma"] * linear(h, f"{at}.mlp.fc2")
    return normal(x, state["norm.weight"], state["norm.bias"])[:, 0]


@pytest.mark.parametrize("size", [224, 518])
def test_the_network_is_dinov2_s(size: int, state: dict[str, Tensor]) -> None:
    network = VisionTransformer(width=WIDTH, depth=DEPTH).double()
    network.load_state_dict({name: value for name, value in state.items() if name != "mask_token"})
    image = torch.randn(2 if size == 224 else 1, 3, size, size, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        torch.testing.assert_close(network(image), class_token(state, image), rtol=0, atol=1e-10)


def test_it_sees_images_as_the_published_code_does(extractor: DINOv2, state: dict[str, Tensor]) -> None:
    images = pictures(2, 64, 0)
    seen = torch.stack(
        [
            torch.from_numpy(np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).resize((224, 224), 3)).copy())
            for image in images
        ]
    )
    ours = resize_like_pillow(images).permute(0, 2, 3, 1)
    assert (ours - seen).abs().max() <= 2 and (ours - seen).abs().mean() < 0.01
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    given = ((ours / 255 - mean) / std).permute(0, 3, 1, 2).double()
    torch.testing.assert_close(extractor(images).pooled.double(), class_token(state, given), rtol=1e-3, atol=1e-4)
    grey = images[:, :1]
    assert extractor(grey).pooled.equal(extractor(grey.expand(-1, 3, -1, -1)).pooled)
    with pytest.raises(ValueError, match="1 or 3 channels, not 4"):
        extractor(torch.zeros(1, 4, 8, 8, dtype=torch.uint8))


@pytest.fixture(scope="module")
def sets() -> tuple[Tensor, Tensor]:
    return pictures(24, 28, 0), pictures(24, 28, 1) // 2


def test_fd_dinov2_is_that_of_the_published_formula(extractor: DINOv2, sets: tuple[Tensor, Tensor]) -> None:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 sqrt(C1 C2)) with scipy's root, in float64, on the same features: of full rank."""
    protocol = Protocol(n_fake=24, batch_size=7)
    requests = [FID(protocol=protocol).request, KID(protocol=protocol, subsets=2, subset_size=20).request]
    requests.append(PRDC(protocol=protocol, k=3).request)
    real, fake = sets
    narrow = Narrow(extractor)
    found = scores_of(requests, narrow, *map(labelled, (fake, real)), "made", {}, torch.device("cpu"))
    (fd, card), (kid, _), (prdc, _) = found
    (m1, c1), (m2, c2) = (
        (rows.mean(0), np.cov(rows, rowvar=False)) for rows in (narrow(x).pooled.double().numpy() for x in (real, fake))
    )
    expected = ((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * linalg.sqrtm(c1 @ c2).real)
    assert list(fd) == ["FD-DINOv2-128"] and fd["FD-DINOv2-128"] == pytest.approx(expected, rel=1e-8)
    assert {"KID-DINOv2-128", "recall-DINOv2-128"} <= kid.keys() | prdc.keys()
    assert (card["extractor"], card["hash"], card["resizer"]) == (
        "DINOv2-128",
        extractor.hash[:12],
        "bicubic-antialias-224",
    )


def labelled(images: Tensor) -> InMemory:
    return InMemory(images, torch.zeros(len(images), dtype=torch.int64))


class Narrow(DINOv2):
    """The first eight features: fewer than there are images, so that scipy's root is well conditioned."""

    def __init__(self, extractor: DINOv2) -> None:
        torch.nn.Module.__init__(self)
        self.whole, self.hash, self.name, self.feature_dim = extractor, extractor.hash, extractor.name, 8

    def look(self, images: Tensor):
        seen = self.whole.look(images)
        return seen._replace(pooled=seen.pooled[:, :8])


@pytest.mark.parametrize(("width", "name"), [(384, "DINOv2-S"), (768, "DINOv2-B"), (1024, "DINOv2")])
def test_only_the_paper_s_size_has_the_paper_s_name(
    width: int, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = VisionTransformer(width=width, depth=1, grid=2)
    torch.save(network.state_dict(), tmp_path / "a.pth")
    extractor = DINOv2(tmp_path / "a.pth")
    assert figure_name("FID", extractor) == f"FD-{name}" and figure_name("KID/std", extractor) == f"KID-{name}/std"


def test_weights_come_from_safetensors_and_from_timm(
    state: dict[str, Tensor], extractor: DINOv2, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header, numbers = {}, b""
    for name, value in state.items():
        part = value.contiguous().numpy().tobytes()
        about = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [len(numbers), len(numbers) + len(part)]}
        header[name], numbers = about, numbers + part
    text = json.dumps(header).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + numbers)
    images = pictures(1, 28, 0)
    other = DINOv2(tmp_path / "a.safetensors")
    assert other(images).pooled.equal(extractor(images).pooled)
    assert extractor.hash == hashlib.sha256(weights.read_bytes()).hexdigest() != other.hash

    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match="timm, which is not installed: pip install timm"):
        DINOv2("vit_large_patch14_dinov2")
    asked = []

    def create_model(name: str, pretrained: bool, num_classes: int) -> VisionTransformer:
        asked.append((name, pretrained, num_classes))
        return extractor.network

    monkeypatch.setitem(sys.modules, "timm", types.SimpleNamespace(create_model=create_model))
    assert DINOv2("vit_large_patch14_dinov2")(images).pooled.equal(extractor(images).pooled)
    assert asked == [("vit_large_patch14_dinov2", True, 0)]


def test_other_weights_are_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    registers = {**state, "register_tokens": torch.zeros(1, 4, WIDTH)}
    gated = {name.replace("mlp.fc1", "mlp.w12"): value for name, value in state.items()}
    for content, words in (
        (registers, "of the variant with registers"),
        (gated, "weights of another network"),
        ({"x": torch.zeros(1)}, "weights of another network .no 'patch_embed.proj.weight'"),
        ({**state, "x": print}, "could run code"),
    ):
        torch.save(content, tmp_path / "a.pth")
        with pytest.raises(ValueError, match=words):
            DINOv2(tmp_path / "a.pth")
    with pytest.raises(FileNotFoundError, match="there is no weights file .*none.pth"):
        DINOv2(tmp_path / "none.pth")
    with pytest.raises(FileNotFoundError, match="dinov2_vitl14_pretrain.pth of github.com/facebookresearch/dinov2"):
        extractor_named("dinov2")


def test_evaluate_takes_it(weights: Path, tmp_path: Path) -> None:
    for folder, seed in (("real", 0), ("fake", 1)):
        (tmp_path / folder).mkdir()
        for at, image in enumerate(pictures(3, 28, seed)):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / folder / f"{at}.png")
    how = ["--extractor", "dinov2", "--weights", str(weights), "--json", str(tmp_path / "a.json")]
    evaluate.main(["--real", str(tmp_path / "real"), "--fake", str(tmp_path / "fake"), *how])
    assert list(json.loads((tmp_path / "a.json").read_text())) == ["FD-DINOv2-128"]


def test_a_run_is_scored_by_it(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = [f"--model.{player}.width=4" for player in ("generator", "discriminator")]
    score = ["--trainer.callbacks+=FID", "--trainer.callbacks.extractor=DINOv2"]
    score += [f"--trainer.callbacks.extractor.weights={weights}"]
    score += ["--trainer.callbacks.protocol.n_fake=4", "--trainer.callbacks.protocol.n_real=4"]
    quiet = ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=.", "--trainer.enable_progress_bar=false"]
    fit.main(["DCGAN", *small, "--trainer.max_steps=1", "--grid.every_n_steps=null", *score, *quiet])
    heads = [path.read_text().splitlines()[0] for path in Path().rglob("metrics.csv")]
    assert any("FD-DINOv2-128" in head.split(",") for head in heads)


def test_a_file_may_name_weights_that_are_here_and_no_download(tmp_path: Path) -> None:
    (tmp_path / "here.pth").touch()
    given = {"class_path": "DINOv2", "init_args": {"weights": str(tmp_path / "here.pth")}}
    source = Source.file("a.ckpt")
    source.check_arguments(FID, {"extractor": given}, "FID")
    for name in ("vit_small_patch14_dinov2", "vit_small_patch14_dinov2.lvd142m"):
        with pytest.raises(ValueError, match="a.ckpt: FID.extractor.weights is .*, a download"):
            source.check_arguments(FID, {"extractor": given | {"init_args": {"weights": name}}}, "FID")
