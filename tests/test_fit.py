"""`python -m gan_lightning.fit` as a user types it, in a temporary directory."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import Noisy, game, own_networks, tiny, trained
from PIL import Image

from gan_lightning import fit, models
from gan_lightning.cli import fit_cli
from gan_lightning.core import ImageStep
from gan_lightning.loading import init_from
from gan_lightning.networks import MLPDiscriminator

TINY = [
    "--model.generator=MLPGenerator",
    "--model.generator.width=16",
    "--model.discriminator=MLPDiscriminator",
    "--model.discriminator.width=16",
    "--data.batch_size=16",
]
QUIET = ["--trainer.logger=false", "--trainer.enable_progress_bar=false"]


def run(folder: Path, *args: str, **environment: str) -> subprocess.CompletedProcess:
    """The command in a process of its own; the network is never needed."""
    return subprocess.run(
        [sys.executable, "-m", "gan_lightning.fit", *args],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"} | environment,
    )


def here(monkeypatch: pytest.MonkeyPatch, folder: Path, *args: str) -> None:
    """The command in this process: the same `main`, without the seconds that imports take."""
    monkeypatch.chdir(folder)
    fit.main(list(args))


def folders(root: Path) -> list[Path]:
    return sorted(path.parent for path in root.glob("runs/*/*/last.ckpt"))


def weights(path: Path) -> dict[str, torch.Tensor]:
    return {
        name: value
        for name, value in torch.load(path, weights_only=True)["state_dict"].items()
        if isinstance(value, torch.Tensor)
    }


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess]:
    """The command with no model and no data named, cut to a few small steps."""
    folder = tmp_path_factory.mktemp("quickstart")
    small = ["--model.generator.width=8", "--model.discriminator.width=8", "--trainer.max_steps=6"]
    return folder, run(folder, *small, "--trainer.log_every_n_steps=2", "--grid.every_n_steps=3")


def test_the_quick_start_leaves_everything_in_one_folder(quickstart: tuple) -> None:
    folder, done = quickstart
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "a newcomer should not be warned of anything"
    (made,) = folders(folder)
    assert made.parent.parent == folder / "runs" and made.parent.name == "R3GAN-Digits"
    assert [path.name for path in folder.iterdir()] == ["runs"], "something was written outside of runs/"
    files = ["last.ckpt", "best.ckpt", "config.yaml", "metrics.csv", "samples.png", "samples/step-000003.png"]
    for name in (*files, "progress.gif", "curves.png", "report.html", "machine.json"):
        assert (made / name).stat().st_size > 0, name
    assert list(made.glob("wandb/offline-run-*/*.wandb"))


def test_the_quick_start_says_where_things_are_and_what_to_type_next(quickstart: tuple) -> None:
    folder, done = quickstart
    (made,) = folders(folder)
    relative = made.relative_to(folder)
    for line in (
        f"checkpoint  {relative}/last.ckpt",
        f"samples     {relative}/samples.png",
        f"progress    {relative}/progress.gif",
        f"curves      {relative}/curves.png",
        f"report      {relative}/report.html",
    ):
        assert line in done.stdout
    for score in ("FID-digits ", "IS-digits ", "precision-digits ", "coverage-digits ", "modes-digits "):
        assert f"\n{score}" in done.stdout
    for field in ("data Digits", "n_real 1500", "n_fake 2000", "extractor digits", "weights ema", "step 6", "prdc_k 5"):
        assert field in " ".join(done.stdout.split())
    typed = re.findall(r"^  python -m gan_lightning\.(\w+)", done.stdout, re.M)
    assert typed == ["sample", "evaluate", "fit", "fit"]
    assert re.search(r"discriminator=[\d.]+, generator=[\d.]+, images/s=\d+", done.stdout)


def test_the_csv_holds_every_player_and_the_score(quickstart: tuple) -> None:
    (made,) = folders(quickstart[0])
    with open(made / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for name in (
        "discriminator/adversarial",
        "generator/adversarial",
        "discriminator/gradient_norm",
        "generator/gradient_norm",
        "discriminator/accuracy_real",
        "discriminator/accuracy_fake",
        "images_per_second",
        "images_seen",
        "hours",
        "FID-digits",
    ):
        assert any(row[name] for row in rows), name
    assert max(int(row["step"]) for row in rows) == 6


def offline_records(content: bytes) -> Iterator[bytes]:
    """The records of a `.wandb` file: LevelDB's log format behind a header of 7 bytes."""
    block, position, record = 2**15, 7, b""
    while position + 7 <= len(content):
        if block - position % block < 7:  # a record's head never spans blocks
            position += block - position % block
            continue
        length, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
        record += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last piece of one
            yield record
            record = b""


def test_wandb_has_the_curves_and_the_pictures(quickstart: tuple) -> None:
    """Read the offline run back, from the file that `wandb sync` would send."""
    from wandb.proto import wandb_internal_pb2

    (made,) = folders(quickstart[0])
    (file,) = made.glob("wandb/offline-run-*/*.wandb")
    names, config = set(), ""
    for data in offline_records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        names |= {item.key or item.nested_key[0] for item in record.history.item}
        config += str(record.run.config) + str(record.config)
    assert {"discriminator/adversarial", "generator/loss", "samples", "FID-digits", "images_seen"} <= names
    assert "DCGANGenerator" in config and "git_commit" in config
    assert list(made.glob("wandb/offline-run-*/files/media/images/samples*.png"))


def test_a_second_run_overwrites_nothing_and_last_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """4 steps, then `--ckpt_path last` to 8, equal 8 unbroken ones bit for bit; CSV and folder go on."""
    base = ["--model=DCGAN", "--data=Digits", *TINY, "--trainer.enable_progress_bar=false"]
    csv_only = ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=elsewhere", "--trainer.log_every_n_steps=2"]
    here(monkeypatch, tmp_path, *base, *csv_only, "--trainer.max_steps=4")
    (first,) = folders(tmp_path)
    before = weights(first / "last.ckpt")
    here(monkeypatch, tmp_path, *base, *QUIET, "--trainer.max_steps=8")
    assert len(folders(tmp_path)) == 2
    assert all(torch.equal(before[name], value) for name, value in weights(first / "last.ckpt").items())
    (unbroken,) = (made for made in folders(tmp_path) if made != first)

    os.utime(first / "last.ckpt", (time.time() + 5, time.time() + 5))  # the newest is the one to go on with
    here(monkeypatch, tmp_path, *base, *csv_only, "--trainer.max_steps=8", "--ckpt_path=last")
    assert len(folders(tmp_path)) == 2
    expected, resumed = weights(unbroken / "last.ckpt"), weights(first / "last.ckpt")
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)
    with open(first / "metrics.csv", newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [2, 4, 6, 8]


def test_a_checkpoint_alone_says_what_to_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here(monkeypatch, tmp_path, "--model=LSGAN", "--data=Digits", *TINY, *QUIET, "--trainer.max_steps=2")
    (first,) = folders(tmp_path)
    here(monkeypatch, tmp_path, f"--ckpt_path={first / 'last.ckpt'}", "--trainer.max_steps=3")
    (second,) = (made for made in folders(tmp_path) if made != first)
    assert second.parent.name == "LSGAN-Digits"
    assert torch.load(second / "last.ckpt", weights_only=True)["global_step"] == 3


def test_resuming_a_finished_run_says_so_and_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """A cluster that submits a job once too often must not see it fail."""
    here(monkeypatch, tmp_path, "--model=GAN", "--data=Digits", *TINY, *QUIET, "--trainer.max_steps=2")
    (made,) = folders(tmp_path)
    before = (made / "last.ckpt").read_bytes()
    capsys.readouterr()
    here(monkeypatch, tmp_path, "--ckpt_path=last")
    assert "nothing left to train" in (said := capsys.readouterr().out) and "step 2" in said
    assert (made / "last.ckpt").read_bytes() == before


BAD = {
    "unknown model": (["--model=DCGAM"], "DCGAM", "DCGAN"),
    "unknown data": (["--data=Digitz"], "Digitz", "Digits"),
    "unknown network": (["--model=DCGAN", "--model.generator=DCGANGeneratr"], "DCGANGeneratr", "DCGANGenerator"),
    "unknown flag": (["--modl=DCGAN"], "--modl", "--model"),
    "unknown trainer flag": (["--trainer.max_stps=3"], "--trainer.max_stps", "--trainer.max_steps"),
    "unknown argument": (["--model=DCGAN", "--model.n_critik=3"], "n_critik", "n_critic"),
    "missing config": (["--config=nope.yaml"], "nope.yaml", "no such file"),
    "wrong type": (["--model=DCGAN", "--model.n_critic=three"], "n_critic", "int"),
    "impossible shape": (["--model=DCGAN", "--data=Digits", "--data.size=30"], "30x30", "nearest: 28, 32"),
    "missing folder": (["--data=ImageFolder", "--data.root=nowhere"], "nowhere", "folder"),
    "empty folder": (["--data=ImageFolder", "--data.root=empty"], "empty", "holds no images"),
    "truncated image": (["--data=ImageFolder", "--data.root=cut"], "cut.png", "damaged"),
    "text for an image": (["--data=ImageFolder", "--data.root=text"], "text.png", "damaged"),
    "without a partner": (["--model=Pix2Pix", "--data=PairedImages", "--data.root=pairs"], "1.png", "no partner"),
    "corrupt checkpoint": (["--ckpt_path=corrupt.ckpt"], "corrupt.ckpt", "truncated or corrupt"),
    "missing checkpoint": (["--ckpt_path=nope.ckpt"], "nope.ckpt", "no"),
    "missing weights": (["--model=DCGAN", "--init_from=nope.ckpt"], "there is no checkpoint nope.ckpt"),
    "missing weights in a config": (["--config=weights.yaml"], "there is no checkpoint nope.ckpt"),
    "nothing to resume": (["--model=DCGAN", "--ckpt_path=last"], "last", "runs"),
    "wrong strategy": (["--model=DCGAN", "--trainer.strategy=foo"], "foo", "strategy"),
    "no data": (["--config=model_only.yaml"], "--data", "no data"),
    "points for a convolution": (["--model=WGANGP", "--data=Gaussians"], "ResNetGenerator", "1x1"),
    "wrong precision": (["--model=DCGAN", "--trainer.precision=17"], "precision", "17"),
    "batch too large": (["--model=DCGAN", "--data=Digits", "--data.batch_size=5000"], "5000", "batch"),
}


def bad_files(root: Path) -> None:
    """Folders of images of which one is cut off, is text or lacks its partner, one without any, and half a file."""
    for folder, names in {"empty": "", "cut": "012", "text": "012", "pairs/trainA": "01", "pairs/trainB": "0"}.items():
        (root / folder).mkdir(parents=True)
        for name in names:
            Image.effect_noise((20, 20), 50).save(root / folder / f"{name}.png")
    (root / "cut/cut.png").write_bytes((root / "cut/0.png").read_bytes()[:-100])
    (root / "text/text.png").write_text("not an image")
    torch.save({"weight": torch.zeros(99)}, root / "corrupt.ckpt")
    (root / "corrupt.ckpt").write_bytes((root / "corrupt.ckpt").read_bytes()[:500])


@pytest.mark.parametrize("case", BAD)
def test_bar_23_bad_input_gets_a_line_and_code_2(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    args, *told = BAD[case]
    (tmp_path / "model_only.yaml").write_text("model: LSGAN\n")
    (tmp_path / "weights.yaml").write_text("model: LSGAN\ndata: Digits\ninit_from: nope.ckpt\n")
    bad_files(tmp_path)
    with pytest.raises(SystemExit) as end:
        here(monkeypatch, tmp_path, *args, *QUIET)
    assert end.value.code == 2
    message = capfd.readouterr().err
    assert "Traceback" not in message
    lines = [line for line in message.splitlines() if line.strip()]
    assert len(lines) <= 2 and lines[0].startswith("error: "), message
    for word in told:
        assert word in message
    if case.startswith("missing"):
        assert not list(tmp_path.glob("runs/*/*")), "the folder of a run that never was"


def test_a_named_model_comes_with_its_own_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Nothing of the model that would be trained by default is left in another."""
    with pytest.raises(SystemExit):
        here(monkeypatch, tmp_path, "--model=WGANGP", "--print_config")
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["data"]["class_path"] == "gan_lightning.data.Digits"
    arguments = config["model"]["init_args"]
    assert arguments["generator"]["class_path"] == "gan_lightning.networks.ResNetGenerator"
    assert arguments["discriminator_optimizer"]["init_args"]["beta1"] == 0.0


def test_a_step_is_said_in_files_and_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Flags win over a file, null takes away what it gives, and a part of a class is changed by itself."""
    step = {"scheduler": {"class_path": "LinearDecay", "init_args": {"end": 9, "warmup": 2}}, "augment": "DiffAugment"}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"model": {"class_path": "GAN", "init_args": {"step": step}}}))

    def parsed(*flags: str) -> dict[str, Any]:
        with pytest.raises(SystemExit):
            here(monkeypatch, tmp_path, "--config=a.yaml", "--data=Digits", *flags, "--print_config")
        return yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]["step"]

    flags = ["--model.step.scheduler.end", "20", "--model.step.augment.color", "false", "--model.step.micro_batches=2"]
    found = parsed(*flags)
    assert found["scheduler"]["init_args"] == {"end": 20, "start": 0, "warmup": 2}
    assert found["augment"]["init_args"] == {"color": False, "translation": True, "cutout": True}
    assert (found["micro_batches"], found["ema_half_life"]) == (2, 10_000.0)
    named = parsed("--model.step.scheduler=CosineDecay", "--model.step.scheduler.end=5", "--model.step.augment=ADA")
    assert named["scheduler"] == {
        "class_path": "gan_lightning.optim.CosineDecay",
        "init_args": {"end": 5, "start": 0, "warmup": 2},
    }
    assert named["augment"]["class_path"] == "gan_lightning.augment.ADA"
    without = parsed("--model.step.scheduler=null", "--model.step.augment", "null", "--model.step.ema_rampup=null")
    assert without["scheduler"] is without["augment"] is without["ema_rampup"] is None


def test_bad_input_as_typed(tmp_path: Path) -> None:
    done = run(tmp_path, "--model", "WGANPG")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [line for line in done.stderr.splitlines() if line][:2]
    assert "WGANGP" in done.stderr and "Traceback" not in done.stderr


def test_list_names_every_model_with_its_paper(capsys: pytest.CaptureFixture) -> None:
    fit.main(["--list"])
    text = capsys.readouterr().out
    for name in models.__all__:
        assert re.search(rf"^  {name} +(19|20)\d\d  arXiv:\d{{4}}\.\d{{4,5}} +\w", text, re.M), name
    for name in ("Digits", "MNIST", "CIFAR10", "ImageFolder", "Gaussians"):
        assert re.search(rf"^  {name} +\w", text, re.M), name


def test_print_config_shows_the_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Later files and flags win over earlier ones, and short class names are resolved."""
    (tmp_path / "later.yaml").write_text("trainer:\n  max_steps: 7\nmodel:\n  init_args:\n    n_critic: 3\n")
    (tmp_path / "trainer.yaml").write_text("precision: bf16-mixed\n")
    base = fit_cli.config_file("sngan/digits.yaml")
    args = [f"--config={base}", "--config=later.yaml", "--trainer=trainer.yaml", "--model.n_critic=4", "--print_config"]
    with pytest.raises(SystemExit) as end:
        here(monkeypatch, tmp_path, *args)
    assert end.value.code in (0, None)
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["model"]["class_path"] == "gan_lightning.models.SNGAN"
    assert config["model"]["init_args"]["n_critic"] == 4
    assert config["trainer"]["max_steps"] == 7 and config["trainer"]["precision"] == "bf16-mixed"
    assert config["trainer"]["callbacks"], "the file's callbacks stay"


def test_a_nan_stops_the_run_with_a_line_and_code_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    base = ["--model=WGANGP", "--data=Digits", *TINY, *QUIET, "--trainer.max_steps=40", "--checkpoint.every_n_steps=1"]
    with pytest.raises(SystemExit) as end:
        here(
            monkeypatch,
            tmp_path,
            *base,
            "--model.generator_optimizer=torch.optim.SGD",
            "--model.generator_optimizer.lr=1e30",
            "--model.discriminator_optimizer=torch.optim.SGD",
            "--model.discriminator_optimizer.lr=1e30",
            "--model.n_critic=1",
        )
    assert end.value.code == 1
    message = capfd.readouterr().err
    assert re.search(r"error: (discriminator|generator)/(critic|penalty) is not finite at iteration \d+", message)
    for file in tmp_path.glob("runs/*/*/last.ckpt"):
        assert all(value.isfinite().all() for value in weights(file).values())


@pytest.mark.slow  # bar 1 holds the same of every model
def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    """Nothing more than `--trainer.devices 2 --trainer.accelerator cpu`: each takes half of the same batches."""
    base = ["--model=WGANGP", "--data=Digits", *TINY, *QUIET, "--trainer.max_steps=3", "--trainer.accelerator=cpu"]
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir(), two.mkdir()
    for folder, devices in ((one, "1"), (two, "2")):
        done = run(folder, *base, f"--trainer.devices={devices}")
        assert done.returncode == 0, done.stderr
    (alone,), (together,) = folders(one), folders(two)
    expected, found = weights(alone / "last.ckpt"), weights(together / "last.ckpt")
    for name, value in expected.items():
        assert (value - found[name]).norm() <= 1e-5 * value.norm(), name


# Weights of another run.


@pytest.fixture(scope="module")
def donor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a DCGAN of width 4 after 2 steps, whose average is not its generator."""
    path = tmp_path_factory.mktemp("donor") / "donor.ckpt"
    trained(tiny("DCGAN"), 2, Noisy(batch_size=8)).save_checkpoint(path)
    return path


def test_a_run_starts_from_the_weights_that_fit(donor: Path) -> None:
    given, model = weights(donor), tiny("SNGAN", tiny_networks(), seed=5)
    before = {name: value.clone() for name, value in model.state_dict().items() if torch.is_tensor(value)}
    said = init_from(model, donor)
    after = {name: value for name, value in model.state_dict().items() if torch.is_tensor(value)}
    own = {name for name in after if name.startswith("generator.")}
    assert own and all(torch.equal(after[name], given[name]) for name in own)
    averaged = {name for name in after if name.startswith("averages.generator.network.")}
    assert averaged and all(torch.equal(after[name], given[name]) for name in averaged)
    left = {name for name in after if name.startswith("discriminator.") and name not in given}
    assert left and all(torch.equal(after[name], before[name]) for name in left)
    assert f" of {len(after) - len(averaged)} tensors from {donor} (DCGAN, step 2)" in said
    assert "not in the file: discriminator." in said


def tiny_networks() -> dict[str, Any]:
    """DCGAN's generator of the tests, and a discriminator that has nothing of its."""
    return {"generator": own_networks("DCGAN")["generator"], "discriminator": partial(MLPDiscriminator, width=7)}


def test_averages_that_the_file_does_not_have_begin_at_the_weights(donor: Path) -> None:
    model = tiny("DCGAN", seed=5, step=ImageStep(ema_power=[0.1]))
    init_from(model, donor)
    for name, value in model.generator.state_dict().items():
        assert torch.equal(model.averages["generator_power_100"].network.state_dict()[name], value)
    assert model.images_seen == 0 and not model.turns


def test_a_file_of_which_nothing_fits_is_refused(donor: Path) -> None:
    with pytest.raises(ValueError, match="no weight of it fits SeqGAN"):
        init_from(game("SeqGAN"), donor)


def test_init_from_and_freeze_are_flags(donor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    small = ["--model.generator.width=4", "--model.discriminator.width=4", "--trainer.max_steps=1"]
    here(
        monkeypatch,
        tmp_path,
        *QUIET,
        *small,
        f"--init_from={donor}",
        "--freeze",
        "generator.layers.3",
        "--freeze=discriminator.layers.2",
    )
    said = capsys.readouterr().out
    assert f"tensors from {donor} (DCGAN, step 2)" in said
    (folder,) = folders(tmp_path)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["model"]["init_args"]["step"]["freeze"] == ["generator.layers.3", "discriminator.layers.2"]
    here(monkeypatch, tmp_path, *QUIET, "--ckpt_path=last", "--trainer.max_steps=2")  # goes on, and takes nothing again
    assert "tensors from" not in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        here(monkeypatch, tmp_path, f"--init_from={donor}", "--ckpt_path=last")
    assert ended.value.code == 2 and "leave one of them out" in capsys.readouterr().err
