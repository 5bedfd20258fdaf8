"""What the commands say to what users type by mistake, or by the habits of other programs: one line that helps."""

from __future__ import annotations

import os
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from conftest import Noisy, quiet, sgd, tiny
from lightning.pytorch import callbacks
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from gan_lightning import evaluate, fit, sample, translate
from gan_lightning.cli import arguments
from gan_lightning.models import IRGAN
from gan_lightning.runtime import errors, trainer_arguments

TINY = [
    "--model=DCGAN",
    "--model.generator=MLPGenerator",
    "--model.generator.width=8",
    "--model.discriminator=MLPDiscriminator",
    "--model.discriminator.width=8",
    "--data=Digits",
    "--data.batch_size=16",
    "--trainer.enable_progress_bar=false",
    "--trainer.max_steps=2",
]
QUIET = "--trainer.logger=false"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a command runs, with a home folder in it and no launcher around it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in trainer_arguments.CLUSTERS:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    return tmp_path


def told(capfd: pytest.CaptureFixture, main: object, args: list[str]) -> str:
    """The one line with which a command refuses."""
    with pytest.raises(SystemExit) as end:
        main(args)
    said = capfd.readouterr().err
    assert end.value.code == 2, said
    assert said.startswith("error: ") and said.count("\n") == 1, said
    return said


# flags -> words of the line
EARLY = {  # refused before anything is written
    "--trainer.accumulate_grad_batches=2": "--model.step.micro_batches",
    "--trainer.gradient_clip_val=0.5": "use --model.step.gradient_clip 0.5",
    "--trainer.max_steps=0": "--trainer.max_steps 0 leaves nothing to train",
    "--trainer.max_time=12h": "write DD:HH:MM:SS",
    "--trainer.callbacks+=EMAWeightAveraging": "--model.step.ema_half_life",
}
PARSED = {  # refused by the parser
    "--trainer.max_steps=1e5": "expected int, not 100000.0: write 100000",
    "--trainer.max_ste=5": "unknown flag --trainer.max_ste, did you mean '--trainer.max_steps'",
    "--seed=5": "give --seed_everything",
    "--lr=1": "give --model.generator_optimizer.lr and --model.discriminator_optimizer.lr",
    "--model.lr=1": "give --model.generator_optimizer.lr and --model.discriminator_optimizer.lr",
    "--scheduler=CosineDecay": "unknown flag --scheduler: give --model.step.scheduler",
    "--model.scheduler=CosineDecay": "unknown argument scheduler: give --model.step.scheduler",
    "--model.augment=DiffAugment": "unknown argument augment: give --model.step.augment",
    "--model.augment.p=0.1": "unknown flag --augment.p: give --model.step.augment",
    "--config=older.yaml": "unknown argument scheduler: give --model.step.scheduler",
    "--config=every.yaml": "give --trainer.callbacks.when.every_n_steps of a score, `when: {every_n_steps:",
    "--every_n_epochs=2": "unknown flag --every_n_epochs: give --trainer.callbacks.when.every_n_epochs of a score",
    "--config=when.yaml": "unknown argument every_n_step, did you mean 'every_n_steps'",
    "--model.step.schedular=CosineDecay": "unknown flag --step.schedular, did you mean '--step.scheduler'",
    "--config=step.yaml": "unknown argument schedular, did you mean 'scheduler'",
    "--model.step.scheduler=CosinDecay": "step.scheduler: unknown name CosinDecay, did you mean 'CosineDecay'",
    "--model.step.augment=DifAugment": "step.augment: unknown name DifAugment, did you mean 'DiffAugment'",
    "--epochs=3": "give --trainer.max_epochs, or --trainer.max_steps",
    "--dataroot=x": "give --data.root",
    "mine.yaml": "give --config mine.yaml",
    "a/last.ckpt": "give --ckpt_path a/last.ckpt",
    "WGAN": "give --model WGAN",
    "CIFAR10": "give --data CIFAR10",
    "--trainer.logger=wandb": "did you mean 'WandbLogger'",
    "--trainer.logger=csv": "did you mean 'CSVLogger'",
    "--trainer.logger=none": "false for none",
    "--trainer.logger=CSVLogger": "give --trainer.logger.save_dir",
    "--trainer.callbacks+=EarlyStopping": "give --trainer.callbacks.monitor",
    "--trainer.callbacks+=Timer": "use --trainer.max_time",
    "--data.root=": "an empty value after --data.root",
    "--config=empty.yaml": "not an empty one",
    "--config=list.yaml": "not - 1 - 2",
    "--config=tab.yaml": "line 2, column 1 is no YAML",
    "--data=tab.yaml": "tab.yaml, line 2, column 1 is no YAML",
    "--config=bytes.yaml": "not a text file",
    "--config=home": "home is a folder, not a file",
    "--trainer=list.yaml": "list.yaml is no file of `name: value` lines",
}
MADE = {  # refused by the Trainer, or when the run begins
    "--trainer.fast_dev_run=-1": "fast_dev_run=-1",
    "--trainer.devices=abc": "devices",
    "--trainer.accelerator=GPU": "Available names are",
    "--trainer.limit_train_batches=0.001": "limit_train_batches",
    "--trainer.profiler=foo": "profiler",
    "--trainer.callbacks+=LearningRateMonitor": "logger",
    "--trainer.callbacks+={class_path: FID, init_args: {when: {every_n_steps: 0}}}": "every_n_steps of a score must be",
    "--trainer.callbacks+=Health": "more than one",
    "--trainer.default_root_dir=file/x": "choose another --trainer.default_root_dir",
    "--checkpoint.folder=file": "file is a file, not a folder: choose another --checkpoint.folder",
}


@pytest.mark.parametrize("kind", ["EARLY", "PARSED", "MADE"])
def test_a_line_says_what_to_do(kind: str, folder: Path, capfd: pytest.CaptureFixture) -> None:
    (folder / "list.yaml").write_text("- 1\n- 2\n")
    (folder / "tab.yaml").write_text("model:\n\tclass_path: GAN\n")
    schedule = "{class_path: LinearDecay, init_args: {end: 9}}"
    (folder / "older.yaml").write_text(f"model: {{class_path: GAN, init_args: {{scheduler: {schedule}}}}}\n")
    (folder / "step.yaml").write_text(f"model: {{class_path: GAN, init_args: {{step: {{schedular: {schedule}}}}}}}\n")
    for file, settings in (("every", "every_n_steps: 5"), ("when", "when: {every_n_step: 5}")):
        score = f"{{class_path: FID, init_args: {{{settings}}}}}"
        (folder / f"{file}.yaml").write_text(f"trainer: {{callbacks: [{score}]}}\n")
    (folder / "bytes.yaml").write_bytes(b"\x80\x02}q\x00")
    for name in ("empty.yaml", "file"):
        (folder / name).touch()
    for flag, words in globals()[kind].items():
        # A name alone on the command line would be taken for what a flag before it lacks, so it comes first.
        said = told(capfd, fit.main, [*TINY, QUIET, flag] if flag.startswith("-") else [flag, *TINY])
        assert words in said, f"{flag}: {said}"
        assert kind == "MADE" or not (folder / "runs").exists(), f"{flag} left a folder behind"
        assert not list(folder.rglob("last.ckpt"))


def test_trainer_settings_of_a_file_are_looked_at_too(folder: Path, capfd: pytest.CaptureFixture) -> None:
    (folder / "a.yaml").write_text("trainer: {accumulate_grad_batches: 4}\n")
    assert "--model.step.micro_batches" in told(capfd, fit.main, [*TINY, "--config=a.yaml"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"accumulate_grad_batches": 0}, "step.micro_batches"),
        ({"gradient_clip_algorithm": "value"}, "clips by the norm"),
        ({"max_epochs": 0}, "--trainer.max_epochs 0 leaves nothing to train"),
        ({"limit_train_batches": 0.0}, "--trainer.limit_train_batches 0 leaves nothing to train"),
        ({"max_time": "00:00:00:00"}, "leaves nothing to train"),
        ({"max_time": ""}, "write DD:HH:MM:SS"),
        ({"max_time": {"hour": 2}}, "write DD:HH:MM:SS"),
        ({"strategy": "ddp_spawn"}, "use ddp"),
        ({"strategy": "ddp_notebook_find_unused_parameters_true"}, "use ddp"),
        ({"num_nodes": 2}, "use torchrun or srun"),
        ({"log_every_n_steps": -1}, "at least 0"),
        ({"callbacks": callbacks.LearningRateFinder()}, "LearningRateFinder cannot be used"),
        ({"callbacks": [callbacks.Callback(), callbacks.BatchSizeFinder()]}, "--data.batch_size"),
    ],
)
def test_arguments_that_do_not_fit(given: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        trainer_arguments.check(given)


@pytest.mark.parametrize(
    "given",
    [
        {"accumulate_grad_batches": 1, "gradient_clip_val": None, "max_steps": -1, "max_epochs": -1, "num_nodes": 1},
        {"max_time": "01:00:00:00", "limit_train_batches": None, "log_every_n_steps": 0, "strategy": "ddp"},
        {"max_time": {"minutes": 1}, "gradient_clip_val": 0.0, "strategy": "ddp_find_unused_parameters_true"},
        {"callbacks": [callbacks.LearningRateMonitor(), callbacks.ModelCheckpoint()], "limit_train_batches": 0.1},
    ],
)
def test_arguments_that_fit(given: dict) -> None:
    trainer_arguments.check(given)


@pytest.mark.skipif(find_spec("mlflow") is not None, reason="the package is there")
def test_a_logger_names_the_package_that_it_lacks(capfd: pytest.CaptureFixture) -> None:
    assert "MLFlowLogger: Requirement 'mlflow" in told(capfd, fit.main, [*TINY, "--trainer.logger=MLFlowLogger"])


RUNS = {  # flags that work -> words of the output, and the files that come of it
    ("--trainer.fast_dev_run=true",): ("nothing is kept of the model (--trainer.fast_dev_run)", 0),
    ("--trainer.enable_checkpointing=false",): ("(--trainer.enable_checkpointing false)", 0),
    ("--trainer.barebones=true",): ("nothing is kept of the model (--trainer.barebones)", 0),
    ("--trainer.callbacks+=ModelCheckpoint",): ("checkpoint  runs", 1),
    ("--trainer.enable_progress_bar=true", "--trainer.callbacks+=TQDMProgressBar"): ("checkpoint  runs", 1),
    ("--trainer.profiler=simple",): ("FIT Profiler Report", 1),
    ("--trainer.callbacks+=ModelSummary",): ("MLPGenerator", 1),
    ("--trainer.default_root_dir=~/mine",): ("checkpoint  home/mine/DCGAN-Digits", 1),
    ("--config=home.yaml",): ("checkpoint  home/elsewhere/DCGAN-Digits", 1),
}


@pytest.mark.parametrize("flags", RUNS, ids=lambda flags: flags[-1])
def test_what_works_ends_with_words_that_are_true(
    flags: tuple[str, ...], folder: Path, capfd: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "home.yaml").write_text("trainer: {default_root_dir: ~/elsewhere}\n")
    fit.main([*TINY, QUIET, *flags])
    words, files = RUNS[flags]
    out, err = capfd.readouterr()
    assert words in out + err + caplog.text  # Lightning's logger writes to the stderr of before the test
    assert len(list(folder.rglob("last.ckpt"))) == files and not (folder / "~").exists()


def test_early_stopping_without_its_metric_keeps_the_run(folder: Path, capfd: pytest.CaptureFixture) -> None:
    flags = ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=mine", "--trainer.max_steps=9"]
    said = told(capfd, fit.main, [*TINY, QUIET, *flags, "--trainer.limit_train_batches=3"])
    assert "logs no 'mine'; give strict false" in said and "but" not in said.split("or one of")[0]
    (kept,) = folder.rglob("last.ckpt")
    assert torch.load(kept, weights_only=True)["gan_lightning"]["iteration"] == 3


def test_a_fault_of_a_callback_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("mine")

    monkeypatch.setattr(callbacks.LambdaCallback, "on_train_start", fail)
    with pytest.raises(RuntimeError, match="mine"):
        fit.main([*TINY, QUIET, "--trainer.callbacks+=LambdaCallback"])


# In Python


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"accumulate_grad_batches": 3}, "accumulate_grad_batches 3: .*step.micro_batches"),
        ({"gradient_clip_val": 1.0}, "step.gradient_clip 1,"),
        ({"callbacks": [callbacks.GradientAccumulationScheduler({0: 2})]}, "step.micro_batches"),
        ({"callbacks": [callbacks.StochasticWeightAveraging(0.1)]}, "step.ema_half_life"),
        ({"callbacks": [type("Mine", (callbacks.BackboneFinetuning,), {})()]}, "the callback Mine cannot"),
    ],
)
def test_a_trainer_of_ones_own_is_answered_before_it_trains(options: dict, words: str) -> None:
    model = tiny("DCGAN", sgd())
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(ValueError, match=words):
        quiet(max_steps=1, **options).fit(model, Noisy())
    assert all(map(torch.equal, before, model.parameters()))


def test_a_callback_of_ones_own_may_bear_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = type("ModelPruning", (callbacks.Callback,), {"__module__": "mine"})()
    quiet(max_steps=1, callbacks=[mine], gradient_clip_val=0).fit(tiny("DCGAN", sgd()), Noisy())


# Other commands


@pytest.mark.parametrize(
    ("main", "args", "words"),
    [
        (sample.main, ["--ckpt", "a.ckpt"], "named without a flag"),
        (sample.main, ["--ckpt_path=a.ckpt"], "named without a flag"),
        (translate.main, ["--checkpoint", "a.ckpt", "--input=x"], "named without a flag"),
        (evaluate.main, ["a.ckpt", "b.ckpt"], "one argument too many: 'b.ckpt'"),
        (sample.main, ["a.ckpt", "--out="], "an empty value after --out"),
        (sample.main, ["a.ckpt", "--out", ""], "an empty value after --out"),
        (sample.main, [""], "an empty value:"),
        (sample.main, ["empty"], "empty is truncated or corrupt (0 bytes)\n"),
        (evaluate.main, ["empty"], "empty is truncated or corrupt (0 bytes)\n"),
        (translate.main, ["empty", "--input=home"], "empty is truncated or corrupt (0 bytes)\n"),
        (fit.main, ["--ckpt_path=empty"], "empty is truncated or corrupt (0 bytes)\n"),
        (evaluate.main, ["compare", "empty", "empty"], "empty is not a file that --json wrote"),
        (evaluate.main, ["a.ckpt", "--metrics=fid", "--json=home"], "--json home is a folder"),
        (evaluate.main, ["a.ckpt", "--metrics=fid", "--json=~/no/a.json"], "home/no does not exist"),
        (fit.main, ["--ckpt_path=~/a.ckpt"], "home/a.ckpt"),
        (fit.main, ["--config"], "argument --config/-c: expected one argument"),
        (
            fit.main,
            ["--data=ImplicitFeedback", "--model=IRGAN", "--data.path=~/no.csv"],
            "home/no.csv: give --data.path",
        ),
    ],
)
def test_other_commands(main: object, args: list[str], words: str, folder: Path, capfd: pytest.CaptureFixture) -> None:
    (folder / "empty").touch()
    assert words in told(capfd, main, args)


def test_a_user_is_called_by_the_name_that_was_given() -> None:
    model = IRGAN(["7", "b", "3"], ["x", "y"], None)
    model.seen[2] = True
    with pytest.raises(ValueError, match="user 3 has 0 items left"):
        model.recommend(model.users.index("3"), 1)


# errors


def test_nearest_completes_a_word_and_never_repeats_it() -> None:
    assert errors.nearest("csv", ["CSVLogger", "WGAN"]) == ", did you mean 'CSVLogger'?"
    assert errors.nearest("lr", ["lr"]) == ""
    assert errors.nearest("a", ["abc"]) == "", "one letter is the beginning of too many"
    assert errors.nearest("abc", ["abcd1", "abcd2", "abcd3", "abcd4"]).count("'") == 6


def test_typed_expands_home_where_a_shell_would(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = str(folder / "home")
    given = ["--a=~/x", "~/y", "--b=c=~/d", "--c=~", "x~/y", "--d=x/~/y", "-k", "--e=~.bak", "+A,-B"]
    expanded = [f"--a={home}/x", f"{home}/y", *given[2:]]
    assert arguments.typed(given) == expanded
    monkeypatch.setattr(sys, "argv", ["sample", "--out=~/z"])
    assert arguments.typed(None) == [f"--out={home}/z"]


def test_short_errors_know_misconfiguration(capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    @errors.short_errors()
    def main(error: Exception) -> None:
        raise error

    with pytest.raises(SystemExit) as end:
        main(MisconfigurationException("the trainer\nis wrong"))
    assert end.value.code == 2 and capfd.readouterr().err == "error: the trainer\nis wrong\n"
    with pytest.raises(SystemExit):
        main(FileNotFoundError(2, "No such file or directory", "a/b"))
    assert capfd.readouterr().err == "error: a/b: No such file or directory\n"
    monkeypatch.delitem(sys.modules, MisconfigurationException.__module__)
    assert errors.misconfiguration() == (), "Lightning would be loaded for it"


def test_make_folder_says_which_flag_chose_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "file").touch()
    errors.make_folder(folder / "a" / "b", "--x")
    assert (folder / "a" / "b").is_dir()
    with pytest.raises(FileExistsError):
        errors.make_folder(folder / "a", "--x", exist_ok=False)
    monkeypatch.setattr(os, "access", lambda *_: False)
    for path, words in (("file", "is a file"), ("file/c", "Not a directory"), ("a", "Permission denied")):
        with pytest.raises(OSError, match=f"{words}.* choose another --x"):
            errors.make_folder(folder / path, "--x")


@pytest.mark.parametrize("name", ["MASTER_ADDR", "SLURM_NTASKS"])
def test_nodes_are_believed_where_a_launcher_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = partial(trainer_arguments.check, {"num_nodes": 2})
    with pytest.raises(ValueError, match="torchrun"):
        ask()
    monkeypatch.setenv(name, "1")
    ask()
