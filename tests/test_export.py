"""`export` and `load`: a folder draws what its checkpoint draws, a graph and the page what torch draws."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import GANS, TRANSLATORS, adam, assert_same, draw, game, text_to_image, tiny, trained, translator
from torch import Tensor, nn

import gan_lightning
from gan_lightning import export, networks, sample
from gan_lightning.cli.conversion import save
from gan_lightning.core import AdversarialModule, ImageStep
from gan_lightning.exporting import files
from gan_lightning.exporting.graphs import traceable
from gan_lightning.runtime import exported, hub

WEB = os.environ.get("GAN_LIGHTNING_ORT_WEB")  # the folder dist of the npm package onnxruntime-web


def images(n: int, height: int = 16, width: int = 16) -> Tensor:
    return draw(n, 1, height, width, seed=3).clamp(-1, 1)


def kept(model: AdversarialModule, folder: Path) -> str:
    save(model, path := folder / "model.ckpt")
    return str(path)


def taken(model: AdversarialModule, folder: Path, *args: str) -> Path:
    """The folder that is exported of a model."""
    export.main([kept(model, folder), "--out", str(folder / "out"), *args])
    return folder / "out"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of a CGAN whose averages and trained weights all differ."""
    model = tiny("CGAN", adam(0.05), step=ImageStep(ema_rampup=None, ema_half_life=[200.0, 50.0]))
    trained(model, 3)
    model.trained_on = {"name": "Noisy", "classes": ["cat", "dog"]}
    return kept(model, tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def folder(checkpoint: str) -> Path:
    out = Path(checkpoint).parent / "exported"
    export.main([checkpoint, "--out", str(out), "--format", "safetensors,onnx", "--license", "mit"])
    return out


def refused(capsys: pytest.CaptureFixture, args: list[str], code: int = 2) -> str:
    with pytest.raises(SystemExit) as end:
        export.main(args)
    err = capsys.readouterr().err
    assert end.value.code == code and err.count("\n") == 1, err
    return err


# The folder.


@pytest.mark.parametrize("args", [[], ["--live"], ["--average", "generator_50"]], ids=["average", "live", "other"])
def test_a_folder_draws_what_its_weights_draw(
    args: list[str], checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    before = gan_lightning.load(checkpoint)
    drawn = [before.sample(4, **how) for how in ({}, {"live": True}, {"average": "generator_50"})]
    wanted = drawn.pop(["", "--live", "--average"].index(args[0] if args else ""))
    export.main([checkpoint, "--out", str(tmp_path / "out"), *args])
    found = gan_lightning.load(tmp_path / "out")
    assert_same(found.sample(4), wanted)
    assert not any(torch.equal(found.sample(4), other) for other in drawn)
    assert type(found) is type(before) and not found.training and found.discriminator is None
    with pytest.raises(ValueError, match="one set of weights"):
        found.sample(1, live=True)


def test_commands_take_a_folder(checkpoint: str, folder: Path, tmp_path: Path) -> None:
    for source in (checkpoint, str(folder)):
        sample.main([source, "--n", "2", "--label", "dog", "--out", str(tmp_path / Path(source).name)])
    one, other = (tmp_path / name for name in ("model.ckpt", "exported"))
    for name in ("000000.png", "000001.png"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.parametrize("name", ["CycleGAN", "StarGAN", "SRGAN", "BigBiGAN"])
def test_models_with_more_networks_than_a_generator(name: str, tmp_path: Path) -> None:
    """Both directions; what reads attributes; features that no file is needed for; the encoder's average."""
    model = tiny(name) if name == "BigBiGAN" else translator(name)

    def made(module: Any) -> list[Tensor]:
        if name == "BigBiGAN":
            return [module.reconstruct(images(2))]
        ways = {"CycleGAN": [{"direction": d} for d in ("AtoB", "BtoA")], "StarGAN": [{"attributes": {"Left": True}}]}
        return [module.translate(images(2), **how) for how in ways.get(name, [{}])]

    if name == "BigBiGAN":
        nn.init.normal_(next(model.averages["encoder"].network.parameters()))
    wanted = made(model)
    assert_same(made(gan_lightning.load(taken(model, tmp_path))), wanted)


def test_the_card(folder: Path, checkpoint: str) -> None:
    cards = pytest.importorskip("huggingface_hub").ModelCard
    card = cards.load(folder / "README.md")
    assert card.data.license == "mit" and card.data.pipeline_tag == "unconditional-image-generation"
    assert card.data.library_name == "gan_lightning" and {"gan", "cgan", "onnx"} <= set(card.data.tags)
    for words in ("arXiv:1411.1784", "Noisy", "`latent` (n, 6)", "`label` (n,) int64, 0 to 1", "None were taken"):
        assert words in card.content
    code = card.content.split("```python\n")[1].split("```")[0].replace('"exported"', repr(str(folder)))
    assert len(code.strip().splitlines()) == 4
    exec(code, found := {})
    assert_same(found["images"], gan_lightning.load(checkpoint).sample(16))


def test_scores_stand_on_the_card_with_their_own_cards() -> None:
    from gan_lightning.exporting import card

    fid = {"step": 3, "scores": {"FID-digits": 12.345}, "card": {"n_real": 1500, "extractor": "digits"}}
    text = card.scores({"callbacks": {"FID": fid, "Health": {"hours": 1.0}}})
    assert "| FID-digits | 12.35 |" in text or "| FID-digits | 12.34 |" in text
    assert "n_real 1500, extractor digits" in text and "hours" not in text
    assert "None were taken" not in card.scores({"callbacks": {"FID": fid | {"scores": {"FID": None}}}})  # and no error


def test_the_card_says_how_a_latent_with_parts_is_drawn() -> None:
    from gan_lightning.exporting import card

    module = tiny("InfoGAN")
    parts = f"{module.noise_dim}: uniform in [-1, 1), then {module.categories}: one of them 1, the others 0"
    assert parts in card.inputs(module)


def test_files_of_an_earlier_export_go(tmp_path: Path) -> None:
    for name in ("model.safetensors", "generator.onnx", "own.txt"):
        (tmp_path / name).write_text("old")
    with files.staged(tmp_path) as folder:
        (folder / "generator.onnx").write_text("new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"generator.onnx": "new", "own.txt": "old"}


def test_a_page_without_a_choice_is_not_written(tmp_path: Path) -> None:
    from gan_lightning.exporting import browser

    said = browser.write(tmp_path, text_to_image(), [], None)
    assert said.startswith("no demo.html") and not list(tmp_path.iterdir())


# Folders of others.


def damaged(folder: Path, tmp_path: Path, config: Any = None, weights: bytes | None = None) -> Path:
    """A copy of a folder with another config or other weights."""
    out = tmp_path / "damaged"
    out.mkdir()
    for name, changed in ((exported.CONFIG, config), (exported.WEIGHTS, weights)):
        shutil.copyfile(folder / name, out / name)
        if changed is not None:
            text = changed if isinstance(changed, (bytes, str)) else json.dumps(changed)
            (out / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: "{", "damaged, or no JSON"),
        (lambda c: "[" * 100_000, "damaged, or no JSON"),
        (lambda c: [1], "not written by"),
        (lambda c: c | {"gan_lightning": c["gan_lightning"] | {"class_path": "os.system"}}, "no file may name"),
        (lambda c: c | {"gan_lightning": c["gan_lightning"] | {"class_path": "gan_lightning.runtime.hub.push"}}, "may"),
        (lambda c: c | {"gan_lightning": c["gan_lightning"] | {"exported": None}}, "whose weights"),
        (
            lambda c: c | {"hyper_parameters": c["hyper_parameters"] | {"generator": {"class_path": "os.system"}}},
            "no file may name",
        ),
        (
            lambda c: c | {"hyper_parameters": c["hyper_parameters"] | {"image_shape": [1, 32, 32]}},
            "does not fit",
        ),
    ],
    ids=["cut", "deep", "list", "class", "function", "whose", "argument", "shape"],
)
def test_a_config_is_not_trusted(change: Any, words: str, folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / exported.CONFIG).read_text())
    bad = damaged(folder, tmp_path, change(config))
    with pytest.raises(ValueError, match=words) as error:
        gan_lightning.load(bad)
    assert "\n" not in str(error.value)


def test_weights_are_whole_and_no_others(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import load_file, save

    good = load_file(folder / exported.WEIGHTS)
    first = next(iter(good))
    for weights, words in (
        ((folder / exported.WEIGHTS).read_bytes()[:-1], "truncated or corrupt"),
        (b"", "truncated or corrupt"),
        (save({name: value for name, value in good.items() if name != first}), "does not fit"),
        (save(good | {"discriminator.x": torch.zeros(1)}), "weights of discriminator"),
        (save(good | {"generator.x": torch.zeros(1)}), "does not fit"),
    ):
        with pytest.raises(ValueError, match=words):
            gan_lightning.load(damaged(folder, tmp_path, weights=weights))
        shutil.rmtree(tmp_path / "damaged")
    monkeypatch.setattr(exported, "LARGEST", 10)
    with pytest.raises(ValueError, match="more than 10 bytes"):
        gan_lightning.load(folder)
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        gan_lightning.load(tmp_path / "nothing.ckpt")


def test_a_link_in_the_folder_is_replaced_not_followed(checkpoint: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "out" / exported.WEIGHTS).symlink_to(tmp_path / "mine")
    export.main([checkpoint, "--out", str(tmp_path / "out"), "--overwrite"])
    assert (tmp_path / "mine").read_text() == "precious"
    assert not (tmp_path / "out" / exported.WEIGHTS).is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out"], "nothing is left beside it"


# Graphs.


def run_onnx(path: Path, **inputs: Tensor) -> Tensor:
    session = pytest.importorskip("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {name: value.numpy() for name, value in inputs.items()})[0])


def test_an_onnx_generator_draws_what_the_model_samples(folder: Path, checkpoint: str) -> None:
    model, numbers = gan_lightning.load(checkpoint), range(7)
    made = run_onnx(folder / "generator.onnx", latent=model.latents(numbers), label=model.condition_of(numbers))
    assert (made - model.sample(7)).abs().max() < 1e-5 < model.sample(7).std()


@pytest.mark.parametrize("coordinates", [False, True])
def test_an_onnx_translator_takes_other_sides(coordinates: bool, tmp_path: Path) -> None:
    refiner = functools.partial(networks.Refiner, width=4, blocks=1, coordinates=coordinates)
    model, source = translator("SimGAN", {"generator": refiner}), images(3, 23, 41)
    out = taken(model, tmp_path, "--format", "onnx")
    assert (run_onnx(out / "generator.onnx", image=source) - model.translate(source)).abs().max() < 1e-5
    assert not exported.is_exported(out), "no folder to load: it holds no weights"


def test_each_direction_is_a_function() -> None:
    model, source = translator("CycleGAN"), images(3, 24, 40)
    made = {part.name: part.network(source) for part in traceable(model, "live")}
    assert list(made) == ["AtoB", "BtoA"]
    assert_same(made, {direction: model.translate(source, direction) for direction in made})


def test_what_layers_draw_becomes_constant(tmp_path: Path) -> None:
    """That of sample 0 in a generator; in Pix2Pix's dropout what it draws for an image of the size of training."""
    model = tiny("StyleGAN", image_shape=(1, 8, 8))
    for name, weight in model.ema.network.named_parameters():
        if name.endswith("strength"):
            nn.init.constant_(weight, 0.5)
    network = torch.export.load(taken(model, tmp_path, "--format", "torch_export") / "generator.pt2").module()
    made = network(model.latents([0, 0, 1]))
    assert (made[:1] - model.sample(1)).abs().max() < 1e-5 and torch.equal(made[0], made[1])
    assert (made[2:] - model.sample([1])).abs().max() > 1e-3, "sample 1 has other noise"
    assert "noise that its layers add" in (tmp_path / "out" / "README.md").read_text()
    shutil.rmtree(tmp_path / "out")
    model = translator("Pix2Pix", image_shape=(1, 8, 8))
    network = torch.export.load(taken(model, tmp_path, "--format", "torch_export") / "generator.pt2").module()
    source = images(3, 8, 8)
    assert (network(source) - model.translate(source)).abs().max() < 1e-5


def test_a_graph_that_differs_is_not_kept(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = files.write_program

    def off_by(difference: float) -> Any:
        return lambda *args: lambda given: write(*args)(given) + difference

    args = [checkpoint, "--out", str(tmp_path / "out"), "--format", "safetensors,torch_export"]
    monkeypatch.setattr(files, "write_program", off_by(1.1e-4))
    assert "generator.pt2 differs from torch by 0.00011" in refused(capsys, args, code=1)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(files, "write_program", off_by(5e-5))
    export.main(args)
    assert "at most 5e-05 from torch" in capsys.readouterr().out
    (part,) = traceable(tiny("CGAN"), "ema")
    for wrong in (float("nan"), torch.zeros(2, 1, 1, 1)):  # no number, another shape
        with pytest.raises(files.DifferentError):
            files.check(lambda given, wrong=wrong: part.network(*given.values())[:1] + wrong, part, "it")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*GANS, *TRANSLATORS, "StackGAN", "SinGAN"])
def test_every_model_in_every_format(name: str, tmp_path: Path) -> None:
    if name == "StackGAN":
        model: Any = text_to_image()
        model.trained_on["captions"] = ["a red one", "a blue one"]
    elif name == "SinGAN":
        model = game(name)
        model.ema.network.begin(len(model.generator.sizes) - 1)
    else:
        model = translator(name) if name in TRANSLATORS else tiny(name)
    with torch.no_grad():
        for weight in model.parameters():
            if not weight.any():  # such as the share of attention: what begins at 0 must count too
                weight.fill_(0.3)
    loaded = gan_lightning.load(taken(model, tmp_path, "--format", "safetensors,onnx,torch_export"))
    if name in TRANSLATORS:
        how = {"attributes": {"Left": True}} if name == "StarGAN" else {}
        assert_same(loaded.translate(images(2), **how), model.eval().translate(images(2), **how))
    else:
        assert_same(loaded.sample(3), model.sample(3))


# The page.


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def served(folder: Path) -> Iterator[str]:
    """The address of the exported folder on this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.skipif(WEB is None, reason="GAN_LIGHTNING_ORT_WEB names no folder dist of onnxruntime-web")
@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium")
def test_the_page_draws_what_torch_draws(checkpoint: str, folder: Path, served: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    export.main([checkpoint, "--out", str(folder), "--format", "safetensors,onnx", "--web", WEB, "--overwrite"])
    model, outside = gan_lightning.load(folder), []
    with playwright.sync_playwright() as browsers:
        flags = ("no-sandbox", "disable-gpu", "disable-background-networking", "disable-component-update")
        browser = browsers.chromium.launch(
            executable_path=shutil.which("chromium"), args=[f"--{flag}" for flag in flags]
        )
        page = browser.new_page()
        page.on("request", lambda request: request.url.startswith(served) or outside.append(request.url))
        page.goto(f"{served}/demo.html")

        def drawn() -> np.ndarray:
            page.wait_for_selector("body[data-state=ready]", timeout=120_000)
            assert page.inner_text("#status").endswith("ms"), page.inner_text("#status")
            w, h, data = page.evaluate(
                "(() => { const c = document.getElementById('grid'), {width: w, height: h} = c;"
                "return [w, h, [...c.getContext('2d').getImageData(0, 0, w, h).data]] })()"
            )
            tiles = np.array(data).reshape(h, w, 4)[:, :, 0]
            step = model.image_shape[1] + 2
            return np.stack(
                [tiles[r : r + step - 2, c : c + step - 2] for r in range(0, h, step) for c in range(0, w, step)]
            )

        seen = {}
        for seed, label, share in ((0, -1, 0), (1, 1, 0.4), (0, -1, 1)):
            page.fill("#seed", str(seed))
            page.select_option("#choice", str(label))
            page.fill("#share", str(share))
            found = seen[seed, label, share] = drawn()
            latent = torch.tensor(page.evaluate("demo.rows().map((row) => [...row])"))
            asked = torch.arange(16) % 2 if label < 0 else torch.full((16,), label)
            expected = ((model.generate(latent, condition=asked) + 1) * 127.5)[:, 0].numpy()
            assert np.abs(found - expected).max() <= 0.6, "a pixel is rounded"
            assert found.std() > 1
        page.fill("#share", "0")
        assert np.array_equal(drawn(), seen[0, -1, 0]) and not np.array_equal(seen[0, -1, 1], seen[0, -1, 0])
        browser.close()
    assert not outside


# The Hub.


class Api:
    """Stands for the Hub's API: keeps what it is asked for."""

    calls: list[tuple[str, Any]]
    private = False

    def create_repo(self, name: str, private: bool | None, exist_ok: bool) -> str:
        self.calls.append(("create", (name, private, exist_ok)))
        return f"https://hub/{name}"

    def repo_info(self, name: str) -> Any:
        return self

    def upload_folder(self, repo_id: str, folder_path: Path, allow_patterns: list[str], **how: Any) -> None:
        assert "*.onnx" in how["delete_patterns"]  # of an earlier export
        self.calls.append(("upload", (repo_id, Path(folder_path), sorted(allow_patterns))))


def test_push(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    library = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(library, "HfApi", Api)
    monkeypatch.setattr(library, "get_token", lambda: None)
    args = [checkpoint, "--out", str(tmp_path / "out"), "--push", "me/digits"]
    assert "HF_TOKEN" in refused(capsys, args) and not list(tmp_path.iterdir())
    assert "user/name" in refused(capsys, [*args[:-1], "digits"])
    monkeypatch.setattr(library, "get_token", lambda: "token")
    Api.calls = []
    export.main(args)
    assert "pushed to https://hub/me/digits" in capsys.readouterr().out
    files = ["README.md", exported.CONFIG, exported.WEIGHTS]
    assert Api.calls == [("create", ("me/digits", None, True)), ("upload", ("me/digits", tmp_path / "out", files))]
    assert 'gan_lightning.load("me/digits")' in (tmp_path / "out" / "README.md").read_text()
    Api.calls = []
    assert "and public" in refused(capsys, [*args, "--private", "--overwrite"])
    assert [name for name, _ in Api.calls] == ["create"], "nothing private goes into a public repository"
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install 'gan_lightning[hub]'" in refused(capsys, [*args, "--overwrite"])


def test_load_from_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library, asked = pytest.importorskip("huggingface_hub"), []

    def fetched(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision, allow_patterns))
        if name == "me/nothing":
            raise library.errors.LocalEntryNotFoundError("no such\nrepository")
        return str(folder if name == "me/digits" else folder.parent)

    monkeypatch.setattr(library, "snapshot_download", fetched)
    assert_same(gan_lightning.load("me/digits", revision="v1").sample(2), gan_lightning.load(folder).sample(2))
    assert asked == [("me/digits", "v1", [exported.CONFIG, exported.WEIGHTS])]
    with pytest.raises(ValueError, match="no file or folder me/nothing here.*no such repository"):
        gan_lightning.load("me/nothing")
    with pytest.raises(ValueError, match="no model that"):
        gan_lightning.load("me/else")
    for text in ("../secret", "a/b/c", "/etc/passwd", "me/x.ckpt", "me/..", "name"):
        assert not hub.is_name(text), text


# Flags.


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--format", "onxx"], "there is no onxx, did you mean 'onnx'"),
        (["--web", "."], "--web is for the page of --format onnx"),
        (["--private"], "--private is of --push"),
        (["--live", "--average", "x"], "not allowed with"),
        (["--average", "generator_5"], "no average 'generator_5'"),
        (["--format", "onnx", "--web", "."], "no ort.wasm.min.js"),
    ],
)
def test_bad_flags(args: list[str], words: str, checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert words in refused(capsys, [checkpoint, "--out", str(tmp_path / "out"), *args])
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    assert "is not empty" in refused(capsys, [checkpoint, "--out", str(tmp_path / "out")])


def test_a_model_that_makes_no_images(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = kept(game("PredictabilityMinimization"), tmp_path)
    assert "neither a generator of images nor a translator" in refused(capsys, [path, "--out", str(tmp_path / "out")])
