"""Extractors: the same features as other programs make, from weights with a name and a hash."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from conftest import draw, random_inception, run_in_copies
from torch import Tensor, nn

from gan_lightning.callbacks import FID, KID, PRDC, InceptionScore
from gan_lightning.data import MNIST, Digits, StackedDigits
from gan_lightning.data.sets import InMemory
from gan_lightning.metrics import (
    CIFARResNet56,
    DigitFeatures,
    Extractor,
    Features,
    Inception,
    StackedDigitFeatures,
    frechet_distance,
    to_uint8,
)
from gan_lightning.metrics import inception as inception_module
from gan_lightning.metrics.digits import WEIGHTS
from gan_lightning.metrics.inception import resize_like_tensorflow
from gan_lightning.networks.features import ResNet56
from gan_lightning.scoring import Protocol, extractor_named, scores_of

needs_data = pytest.mark.skipif("GAN_LIGHTNING_DATA" not in os.environ, reason="needs files under GAN_LIGHTNING_DATA")
fidelity = pytest.importorskip("torch_fidelity")


def distance_of(real: Features, fake: Features) -> float:
    moments = [part for seen in (real, fake) for part in (seen.pooled.mean(0), seen.pooled.T.cov())]
    return frechet_distance(*moments).item()


# Inception.


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_inception(tmp_path_factory.mktemp("weights") / "inception.pth")


def pictures(n: int, size: int | tuple[int, int], seed: int = 0) -> Tensor:
    """Smooth random colour images, uint8."""
    height, width = (size, size) if isinstance(size, int) else size
    coarse = nn.functional.interpolate(draw(n, 3, 5, 5, seed=seed), (height, width), mode="bilinear")
    return to_uint8(coarse.clamp(-1, 1))


@pytest.mark.parametrize("size", [299, 32, 64, (40, 56)])
def test_inception_sees_what_torch_fidelity_sees(weights: Path, size: int | tuple[int, int]) -> None:
    theirs = fidelity.feature_extractor_inceptionv3.FeatureExtractorInceptionV3(
        "theirs", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(weights)
    )
    images = pictures(3, size)
    with torch.no_grad():
        expected = theirs(images)
    for found, other in zip(Inception(weights)(images)[:2], expected, strict=True):
        assert found.dtype == torch.float32
        assert ((found - other).norm() / other.norm()).item() <= 1e-4  # 4e-7 in fact


@pytest.mark.parametrize("size", [299, 32, 64, 512, (40, 56)])
def test_bar_22_images_are_resized_as_tensorflow_did(size: int | tuple[int, int]) -> None:
    images = pictures(2, size).float()
    expected = fidelity.interpolate_compat_tensorflow.interpolate_bilinear_2d_like_tensorflow1x(
        images, size=(299, 299), align_corners=False
    )
    torch.testing.assert_close(resize_like_tensorflow(images), expected, rtol=0, atol=1e-3)


class Given(torch.utils.data.Dataset):
    """uint8 images for torch-fidelity."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def test_all_scores_of_images_are_those_of_torch_fidelity(weights: Path, tmp_path: Path) -> None:
    """From the pixels on, in one pass of ours and one call of theirs."""
    n = 16
    real, fake = pictures(n, 64), pictures(n, 64, seed=1)
    protocol = Protocol(n_fake=n, batch_size=7)
    score = {"fid": FID, "is": InceptionScore, "kid": KID, "prc": PRDC}
    own = {"is": {"splits": 4}, "kid": {"subsets": 10, "subset_size": 12}, "prc": {"k": 3}}
    requests = [kind(protocol=protocol, **own.get(name, {})).request for name, kind in score.items()]
    sides = (InMemory(images, torch.zeros(n, dtype=torch.int64)) for images in (fake, real))
    extractor = Inception(weights)
    found = scores_of(requests, extractor, *sides, "made", {"model": "made"}, torch.device("cpu"))
    # With other weights than the published ones the scores have another name.
    ours = {name.replace(f"-{extractor.name}", ""): v for figures, _ in found for name, v in figures.items()}
    theirs = fidelity.calculate_metrics(
        input1=Given(fake),
        input2=Given(real),
        feature_extractor="inception-v3-compat",
        cuda=False,
        cache_root=str(tmp_path),  # else each score computes the features anew
        input1_cache_name="fake",
        input2_cache_name="real",
        verbose=False,
        batch_size=n,
        feature_extractor_weights_path=str(weights),
        **{name: True for name in score},
        isc=True,
        isc_splits=4,
        kid_subsets=10,
        kid_subset_size=12,
        prc_neighborhood=3,
    )
    assert ours["FID"] == pytest.approx(theirs["frechet_inception_distance"], rel=1e-3)
    for name, other in {
        "IS": "inception_score_mean",
        "IS/std": "inception_score_std",
        "KID": "kernel_inception_distance_mean",
        "precision": "precision",
        "recall": "recall",
    }.items():
        assert ours[name] == pytest.approx(theirs[other], rel=1e-4, abs=1e-6), name
    # Their kernels are float32, ours float64, which shows in the small differences between subsets.
    assert ours["KID/std"] == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-3)


def test_inception_carries_its_files_hash_and_takes_grey_images(weights: Path) -> None:
    extractor = Inception(weights)
    assert extractor.hash == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert extractor.name == f"inception-{extractor.hash[:6]}", "only the published weights make a FID"
    grey = pictures(2, 40)[:, :1]
    assert extractor(grey).pooled.equal(extractor(grey.expand(-1, 3, -1, -1)).pooled)
    with pytest.raises(ValueError, match="1 or 3 channels, not 4"):
        extractor(grey.expand(-1, 4, -1, -1))


def test_published_weights_are_fetched_once_and_checked(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    data = weights.read_bytes()
    monkeypatch.setattr(inception_module, "URL", weights.as_uri())
    place = tmp_path / "checkpoints" / weights.name
    with pytest.raises(FileNotFoundError, match="could not be downloaded .*hash.*or name a copy of it"):
        Inception()
    assert not list(tmp_path.rglob("*.pth")), "a file with a wrong hash is not kept"
    monkeypatch.setattr(inception_module, "SHA256", hashlib.sha256(data).hexdigest())
    assert Inception().hash == inception_module.SHA256
    assert Inception().name == "inception"
    assert place.read_bytes() == data
    weights_moved = weights.rename(weights.with_suffix(".away"))
    assert Inception().hash == inception_module.SHA256, "the second time no network is needed"
    weights_moved.rename(weights)
    place.write_bytes(data[:-1] + b"x")
    with pytest.raises(ValueError, match="its SHA-256 differs"):
        Inception()


def test_no_network_and_no_weights_are_a_line_with_both_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(FileNotFoundError) as caught:
        Inception()
    message = str(caught.value)
    assert "Name or service not known" in message and str(tmp_path / "checkpoints") in message
    assert "weights-inception-2015-12-05-6726825d.pth" in message and "`weights`" in message
    assert "\n" not in message


def test_files_of_other_networks_are_refused(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(3)}, tmp_path / "other.pth")
    torch.save([1], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("no weights")
    for kind in (Inception, CIFARResNet56):
        with pytest.raises(FileNotFoundError, match="no weights file"):
            kind(tmp_path / "none.pth")
        for name in ("other", "list", "text"):
            with pytest.raises(ValueError, match=f"{name}.pth"):
                kind(tmp_path / f"{name}.pth")


# ResNet-56 of CIFAR-10.


def test_resnet56_reads_its_state_by_path(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = ResNet56().eval()
    assert sum(p.numel() for p in network.parameters()) == 853_018  # the 0.85M of the paper's table 6
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state, "best_prec1": 1.0}, tmp_path / "r.th")
    extractor = CIFARResNet56(tmp_path / "r.th")
    assert extractor.hash == hashlib.sha256((tmp_path / "r.th").read_bytes()).hexdigest()
    images = pictures(4, 32)
    seen = extractor(images)
    assert (seen.pooled.shape, seen.logits.shape) == ((4, 64), (4, 10))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        x = ((images.permute(0, 2, 3, 1) / 255 - mean) / std).permute(0, 3, 1, 2)
        torch.testing.assert_close(seen.logits, network.linear(network(x)))


def test_resnet56_says_where_its_weights_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAN_LIGHTNING_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="cifar10_resnet56-4bfd9763.th: name the file"):
        CIFARResNet56()


@needs_data
def test_resnet56_is_right_on_the_images_it_was_trained_on() -> None:
    with np.load(Path(os.environ["GAN_LIGHTNING_DATA"], "cifar10", "cifar10_lossless_train4000.npz")) as file:
        image = torch.from_numpy(file["image"][:500]).permute(0, 3, 1, 2)
        label = torch.from_numpy(file["label"][:500]).long()
    extractor = CIFARResNet56()
    assert extractor.hash.startswith("4bfd97631478")
    seen = torch.cat([extractor(part).logits for part in image.split(100)])
    assert (seen.argmax(1) == label).all()


# One's own network.


class Own(Extractor):
    name, resizer, feature_dim = "own", "none", 6

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        super().__init__(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 6), nn.Dropout(0.5)))

    def look(self, images: Tensor) -> Features:
        return Features(self.network(images.float()))


def test_an_extractor_is_a_frozen_network_with_the_hash_of_its_weights() -> None:
    extractor = Own()
    assert extractor.hash == Own().hash != Own(seed=1).hash
    assert not extractor.train().training and not extractor.network[2].training
    assert not any(p.requires_grad for p in extractor.parameters())
    images = pictures(3, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert extractor(images).pooled.equal(extractor(images / 127.5 - 1).pooled)
    with pytest.raises(ValueError, match="not finite"):
        extractor(torch.full((1, 3, 8, 8), float("nan")))


class Spy(Extractor):
    """Notes the precisions under which it looks."""

    name, resizer, feature_dim = "spy", "none", 3

    def look(self, images: Tensor) -> Features:
        self.seen = precisions()
        return Features(images.float().mean((2, 3)))


def precisions() -> list[str]:
    return [torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision]


def look_under(setting: str) -> None:
    exec(setting)
    before, spy = precisions(), Spy(nn.Identity())
    spy(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))
    assert spy.seen == ["ieee", "ieee"], spy.seen
    assert precisions() == before, (precisions(), before)
    if "fp32_precision" not in setting:
        torch.get_float32_matmul_precision()  # raises where older and newer switches were mixed


@pytest.mark.parametrize(
    "setting",
    [
        "",
        "torch.set_float32_matmul_precision('medium')",
        "torch.set_float32_matmul_precision('high')",
        "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
    ],
)
def test_an_extractor_computes_in_full_float32_and_leaves_the_setting(setting: str) -> None:
    """In a copy of this process: torch's precision is global, and some of its states cannot be left again."""
    run_in_copies(look_under, [(setting,)])


def test_extractors_are_found_by_name() -> None:
    assert type(extractor_named("DigitFeatures")) is DigitFeatures
    assert type(extractor_named("gan_lightning.metrics.StackedDigitFeatures")) is StackedDigitFeatures
    with pytest.raises(ValueError, match="did you mean 'DigitFeatures'"):
        extractor_named("DigitFeature")
    for name in ("nowhere.Own", "gan_lightning.metrics.FID", "FID"):
        with pytest.raises(ValueError, match="extractor"):
            extractor_named(name)


# The digit classifier.


@pytest.fixture(scope="module")
def extractor() -> DigitFeatures:
    return DigitFeatures()


def share_right(extractor: DigitFeatures, data: MNIST | Digits) -> float:
    held_out = data.reference("val")
    seen = torch.cat([extractor(part).logits.argmax(1) for part in held_out.image.split(500)])
    return (seen == held_out.label).double().mean().item()


def test_shipped_weights_are_small_and_named_by_their_hash(extractor: DigitFeatures) -> None:
    data = WEIGHTS.read_bytes()
    assert len(data) < 2**20
    assert hashlib.sha256(data).hexdigest() == extractor.hash
    assert extractor.name == "digits"


def test_other_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no weights file"):
        DigitFeatures(tmp_path / "none.pt")
    cut = tmp_path / "digits.pt"
    cut.write_bytes(WEIGHTS.read_bytes()[:-1])
    with pytest.raises(ValueError, match="SHA-256 differs"):
        DigitFeatures(cut)


@pytest.mark.parametrize("size", [28, 32, 64])
def test_classifier_reads_held_out_digits(extractor: DigitFeatures, size: int) -> None:
    assert share_right(extractor, Digits(size=size)) >= 0.97


@needs_data
@pytest.mark.parametrize("size", [28, 32, 64])
def test_classifier_reads_held_out_mnist(extractor: DigitFeatures, size: int) -> None:
    assert share_right(extractor, MNIST(size=size)) >= 0.99


def test_extractor_takes_any_image_and_is_never_trained(extractor: DigitFeatures) -> None:
    for shape in ((1, 28, 28), (3, 32, 32), (1, 64, 48), (3, 7, 7)):
        features = extractor(draw(5, *shape).clamp(-1, 1)).pooled
        assert features.shape == (5, extractor.feature_dim)
        assert features.dtype == torch.float32
    image = to_uint8(draw(5, 1, 32, 32))
    expected = extractor(image).pooled
    assert extractor(image / 127.5 - 1).pooled.equal(expected)
    torch.testing.assert_close(extractor(image.expand(-1, 3, -1, -1)).pooled, expected)
    assert not extractor.train().training
    assert not any(p.requires_grad for p in extractor.parameters())
    with pytest.raises(ValueError, match="1 or 3"):
        extractor(draw(5, 2, 28, 28))


def test_bar_21_extractor_ignores_autocast(extractor: DigitFeatures) -> None:
    image = draw(5, 1, 28, 28).clamp(-1, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = extractor(image).pooled
    assert features.equal(extractor(image).pooled)


def test_distance_grows_with_damage(extractor: DigitFeatures) -> None:
    """Held-out digits are nearest; noise, a missing class and one class alone are farther, in this order."""
    data = Digits(size=28)
    train, held_out = data.reference("train"), data.reference("val")
    real = extractor(train.image)
    fakes = [
        held_out.image,
        to_uint8(held_out.image / 127.5 - 1 + 0.3 * draw(*held_out.image.shape)),
        held_out.image[held_out.label != 3],
        held_out.image[held_out.label == 3],
    ]
    near, *far = (distance_of(real, extractor(fake)) for fake in fakes)
    assert all(2 * near < distance for distance in far)
    assert far[-1] == max(far)


def test_stacked_digits_are_read_channel_by_channel(extractor: DigitFeatures) -> None:
    data = StackedDigits(size=28, n=300).reference("train")
    image, label = data.__getitems__(list(range(300)))
    seen = StackedDigitFeatures()(image)
    assert (seen.pooled.shape, seen.logits.shape) == ((300, 192), (300, 1000))
    assert (seen.logits.argmax(1) == label).float().mean() > 0.97
    green = extractor(image[:, 1:2])
    torch.testing.assert_close(seen.pooled[:, 64:128], green.pooled)
    # Probabilities of a number are the product of its digits': summed over the others they are those of a digit.
    tens = seen.logits.softmax(1).view(-1, 10, 10, 10).sum((1, 3))
    torch.testing.assert_close(tens, green.logits.softmax(1), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="3 channels, not 1"):
        StackedDigitFeatures()(image[:, :1])


def test_the_documented_adapter_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """DINO as docs/scores.md has it, with a stand-in for the network that no one can download here."""
    text = (Path(__file__).parents[1] / "docs" / "scores.md").read_text()
    code = re.search(r"```python\n(.+?)```", text, re.S).group(1)
    asked = []

    def load(*names: str) -> nn.Module:
        asked.append(names)
        torch.manual_seed(0)
        return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 384))

    monkeypatch.setattr(torch.hub, "load", load)
    space: dict = {}
    exec(compile(code.replace("from __future__ import annotations", ""), "docs/scores.md", "exec"), space)
    extractor = space["DINO"]()
    assert asked == [("facebookresearch/dino:main", "dino_vits16")]
    protocol = Protocol(n_fake=20, batch_size=8)
    requests = [FID(protocol=protocol).request, PRDC(protocol=protocol).request]
    sides = (InMemory(pictures(20, 30, seed), torch.zeros(20, dtype=torch.int64)) for seed in (0, 1))
    (fid, card), (prdc, _) = scores_of(requests, extractor, *sides, "made", {}, torch.device("cpu"))
    assert list(fid) == ["FID-dino-vits16"] and "recall-dino-vits16" in prdc
    assert (card["hash"], card["resizer"]) == (extractor.hash[:12], "bicubic-antialias-224")
