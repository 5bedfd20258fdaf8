"""What the commands answer from the source files alone, before torch is loaded: lists, help, unknown names."""

from __future__ import annotations

import configparser
import dataclasses
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gan_lightning import __main__ as gan
from gan_lightning import data, fit, models
from gan_lightning.cli import catalog

EXPORTED = [("models", name) for name in models.__all__] + [("data", name) for name in data.__all__]
SLOW = ("torch", "lightning", "jsonargparse", "numpy", "PIL", "sklearn", "yaml")


def refused(capfd: pytest.CaptureFixture, main: object, args: list[str]) -> str:
    """The one line that a command ends with, after it has printed nothing else."""
    with pytest.raises(SystemExit) as end:
        main(args)
    out, err = capfd.readouterr()
    assert (end.value.code, out, err.count("\n")) == (2, "", 1)
    return err


def imported(room: str, name: str) -> dict[str, object]:
    """The defaults of a constructor as Python itself gives them, a dataclass as its fields."""
    found = {}
    for parameter in inspect.signature({"models": models, "data": data}[room].__dict__[name]).parameters.values():
        if dataclasses.is_dataclass(value := parameter.default):
            found |= {f"{parameter.name}.{one.name}": getattr(value, one.name) for one in dataclasses.fields(value)}
        else:
            found[parameter.name] = value
    return found


def test_the_catalog_is_what_the_packages_export() -> None:
    assert (catalog.names("models"), catalog.names("data")) == (models.__all__, data.__all__)
    listed = catalog.listing()
    for name in data.__all__:
        summary = inspect.getdoc(getattr(data, name)).splitlines()[0]
        assert re.search(rf"^  {name} +{re.escape(summary)}$", listed, re.M), name


@pytest.mark.parametrize(("room", "name"), EXPORTED, ids=lambda value: value)
def test_arguments_are_those_of_the_constructor(room: str, name: str) -> None:
    shown = {argument.name: argument for argument in catalog.arguments(room, name)}
    expected = imported(room, name)
    assert list(shown) == list(expected)
    for argument, value in expected.items():
        default = shown[argument].default
        if value is inspect.Parameter.empty:
            assert default is None, argument
        elif value is None or isinstance(value, bool):
            assert default == {None: "null", True: "true", False: "false"}[value], argument
        elif isinstance(value, (int, float)):
            assert eval(default) == value, argument  # such as 120 * 156
        elif isinstance(value, str):
            assert default == value, argument
        elif isinstance(value, (list, dict)):
            assert yaml.safe_load(default) == value, argument
        else:  # a factory, or a function
            assert re.match(r"[\w.]+(\((\w+=[^=]+)+\))?$", default), argument


def test_defaults_metavars_and_words_of_some() -> None:
    dcgan = {argument.name: argument for argument in catalog.arguments("models", "DCGAN")}
    assert dcgan["generator"].default == "DCGANGenerator(latent_dim=100, width=128)"
    assert dcgan["generator_optimizer"].default == "PaperAdam(lr=0.0002, beta1=0.5)"
    r3gan = {argument.name: argument for argument in catalog.arguments("models", "R3GAN")}
    assert r3gan["gamma"].default == "Cosine(start=0.05, end=0.005, images=20000000.0)"  # a partial in the signature
    assert dcgan["n_critic"].doc.startswith("discriminator turns for each generator turn"), "the base class's words"
    assert dcgan["real_target"].doc.startswith("below 1 for one-sided label smoothing"), "its own words"
    assert [dcgan[name].metavar for name in ("generator", "n_critic", "real_target")] == ["NAME", "INT", "FLOAT"]
    (generator,) = (one for one in catalog.arguments("models", "InfoGAN") if one.name == "generator")
    assert generator.doc == "builds a network for (image_shape, latent_dim).", "its own words, not the base class's"
    wgan = {argument.name: argument for argument in catalog.arguments("models", "WGAN")}
    assert wgan["generator_optimizer"].default.startswith("torch.optim.RMSprop("), "an import path that can be typed"
    assert {argument.name: argument.default for argument in catalog.arguments("models", "SeqGAN")}[
        "step.gradient_clip"
    ] == "5.0", "what the model says, not the dataclass"
    holes = {argument.name: argument for argument in catalog.arguments("data", "MaskedImages")}
    assert holes["hole"].metavar == "{centre,random}", "by another name of the type"
    assert holes["flip"].metavar == "{true,false}"


def page(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, *args: str) -> list[str]:
    """The lines of a page of help on a terminal of 80 columns, none of which is broken by it."""
    monkeypatch.setenv("COLUMNS", "80")
    fit.main(list(args))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    return lines


def test_the_help_of_a_model_is_a_screen_of_its_own_arguments(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = page(capsys, monkeypatch, "DCGAN", "--help")
    assert page(capsys, monkeypatch, "--model=gan_lightning.models.DCGAN", "-h") == lines
    assert len(lines) < 72 and not any("trainer" in line for line in lines)
    text = " ".join(" ".join(lines).split())
    assert text.startswith("usage: python -m gan_lightning.fit DCGAN ")
    assert "Unsupervised Representation Learning with Deep Convolutional GANs, 2015." in text
    assert "--model.n_critic INT discriminator turns for each generator turn" in text
    assert "taken from the data: image_shape" in text and "--model.image_shape" not in text
    assert "`--model.generator.latent_dim 100` sets an argument of it" in text
    for field in ("micro_batches 1", "ema_half_life 10000.0"):
        assert any(line.startswith(f"  {field} ") for line in lines), field


def test_the_help_of_data(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = page(capsys, monkeypatch, "--data", "PairedImages", "--help")
    assert page(capsys, monkeypatch, "PairedImages", "--help") == lines
    assert any(re.match("  --data.root TEXT +.*", line) for line in lines) and "(required)" in "\n".join(lines)
    both = page(capsys, monkeypatch, "DCGAN", "--data=PairedImages", "--help")
    assert both[-len(lines) :] == lines and both[0].endswith("fit DCGAN [--model.ARGUMENT VALUE ...]")


def test_every_class_has_a_page(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    for room, name in EXPORTED:
        lines = page(capsys, monkeypatch, name, "--help")
        root = Path(catalog.__file__).parents[2]
        (more,) = (line.removeprefix("More about it: ") for line in lines if line.startswith("More about it: "))
        assert re.search(rf"^class {name}\(", (root / more).read_text(), re.M), f"{room}.{name}"


def test_a_class_of_ones_own_is_not_read(capsys: pytest.CaptureFixture) -> None:
    fit.main(["--model=mine.ToyGAN", "--help"])
    assert "`python -m gan_lightning.fit --model.help mine.ToyGAN`" in capsys.readouterr().out


def test_the_help_of_fit_is_a_screen_and_true(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = page(capsys, monkeypatch, "--help")
    assert len(lines) < 50
    named = set(re.findall(r"--[a-z_]+(?:\.[a-z_]+)?", "\n".join(lines))) - {"--list", "--help", "--help_all"}
    monkeypatch.setattr(sys, "argv", ["gan"])
    with pytest.raises(SystemExit) as end:
        fit.main(["DCGAN", "--help_all"])
    every = capsys.readouterr().out
    assert end.value.code == 0 and every.startswith("usage: gan fit ")
    flags = set(re.findall(r"^  (?:-\w \w+, )?(--[\w.]+)", every, re.M))
    assert len(flags) > 40
    assert {flag for flag in named if not re.match(r"--(model|data)\.", flag)} <= flags


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["DCGAM"], "model: unknown name DCGAM, did you mean 'DCGAN'"),
        (["wgangp", "--data=MNIST"], "did you mean 'WGANGP'"),
        (["qqqq"], "unknown name qqqq: `python -m gan_lightning.fit --list`"),
        (["--model=DCGAM", "--help"], "did you mean 'DCGAN'"),
        (["--data", "Digitz", "--help"], "data: unknown name Digitz, did you mean 'Digits'"),
        (["--model", "--help"], "--model: expected one argument"),
    ],
)
def test_unknown_names(args: list[str], words: str, capfd: pytest.CaptureFixture) -> None:
    assert words in refused(capfd, fit.main, args)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["DCGAN", "--data", "MNIST"], ["--model=DCGAN", "--data", "MNIST"]),
        (["DCGAN"], ["--model=DCGAN"]),
        (["mine.ToyGAN"], ["--model=mine.ToyGAN"]),
        # The rest is for the parser of all flags, which says what is wrong.
        ([], []),
        (["--data=MNIST", "DCGAN"], ["--data=MNIST", "DCGAN"]),
        (["DCGAN", "--model", "WGAN"], ["DCGAN", "--model", "WGAN"]),
        (["DCGAN", "--model=WGAN"], ["DCGAN", "--model=WGAN"]),
        (["MNIST"], ["MNIST"]),
        (["mine.yaml"], ["mine.yaml"]),
        (["a/last.ckpt"], ["a/last.ckpt"]),
    ],
)
def test_a_model_may_stand_first(args: list[str], expected: list[str]) -> None:
    assert fit.with_flag(args) == expected


def test_a_model_that_stands_first_is_trained(capsys: pytest.CaptureFixture) -> None:
    said = []
    for first in ("LSGAN", "--model=LSGAN"):
        with pytest.raises(SystemExit):
            fit.main([first, "--model.n_critic=3", "--print_config"])
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] and "class_path: gan_lightning.models.LSGAN" in said[0] and "n_critic: 3" in said[0]


# gan


COMMANDS = [
    "sample",
    "project",
    "directions",
    "translate",
    "demo",
    "evaluate",
    "benchmark",
    "report",
    "export",
    "pack",
    "convert",
]  # beside fit


def test_gan_names_its_commands(capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    gan.main(["--help"])
    text = capfd.readouterr().out
    monkeypatch.setattr(sys, "argv", ["gan"])
    gan.main()
    assert capfd.readouterr().out == text
    assert re.findall(r"^  (\w+) ", text, re.M) == ["fit", *COMMANDS]
    assert "did you mean 'sample'" in refused(capfd, gan.main, ["smaple"])
    assert f": give fit, {', '.join(COMMANDS)}" in refused(capfd, gan.main, ["--list"])


def test_the_script_is_that_of_setup_cfg() -> None:
    config = configparser.ConfigParser()
    config.read(Path(catalog.__file__).parents[2] / "setup.cfg")
    name, target = config["options.entry_points"]["console_scripts"].split(" = ")
    assert (name.strip(), pkgutil.resolve_name(target)) == ("gan", gan.main)


@pytest.mark.parametrize(
    "command",
    COMMANDS,
)
def test_gan_runs_a_command_under_its_name(
    command: str, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program, usage in (("/usr/bin/gan", f"gan {command}"), ("-m", f"python -m gan_lightning.{command}")):
        monkeypatch.setattr(sys, "argv", [program, command, "--help"])
        with pytest.raises(SystemExit) as end:
            gan.main()
        assert end.value.code == 0 and capfd.readouterr().out.startswith(f"usage: {usage} [-h]")
    assert "unknown argument '--sede', did you mean '--seed'" in refused(capfd, gan.main, ["sample", "a", "--sede=1"])


def test_gan_fit_hears_signals_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr(fit, "main", lambda args, own_process=False: told.append((args, own_process)))
    gan.main(["fit", "DCGAN", "--data=MNIST"])
    assert told == [(["DCGAN", "--data=MNIST"], True)]


def test_no_answer_waits_for_torch() -> None:
    """In a process of its own: in this one everything has been imported long since."""
    answers = [
        *(["fit", *args] for args in (["--list"], ["--help"], ["DCGAN", "--help"], ["--data=MNIST", "-h"], ["DCGAM"])),
        *([command, flag] for command in gan.COMMANDS if command != "fit" for flag in ("--help", "--no_such_flag")),
        ["--help"],
        ["smaple"],
    ]
    code = f"""
import sys
from gan_lightning.__main__ import main
for args in {answers}:
    try:
        main(args)
    except SystemExit as end:
        assert end.code == (0 if set(args) & {{"--help", "-h"}} else 2), args
    found = {{name.split(".")[0] for name in sys.modules}} & set({SLOW})
    assert not found, f"{{args}} loads {{found}}"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
