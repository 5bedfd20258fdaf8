"""The design's walls: which file may import which, and what may stand in one place only."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gan_lightning"
FILES = sorted(PACKAGE.rglob("*.py"))

# What each part may import of the package: a file at its root, or a room.
ALLOWED: dict[str, set[str]] = {
    "runtime": set(),
    "batches": set(),
    "noise": set(),
    "optim": set(),
    "schedules": set(),
    "ema": {"schedules"},
    "text": set(),
    "losses": {"batches"},
    "networks": {"batches", "noise", "runtime", "text"},
    "augment": {"batches", "noise", "schedules"},
    "metrics": {"batches", "networks", "noise", "runtime", "text"},
    "data": {"batches", "networks", "noise", "runtime", "text"},
    "core": {"augment", "batches", "ema", "noise", "runtime", "schedules", "text"},
    "models": {"augment", "batches", "core", "losses", "networks", "noise", "optim", "schedules", "text"},
    "latents": {"core", "networks", "noise", "runtime"},
    "scoring": {"batches", "core", "metrics", "runtime"},
    "callbacks": {"batches", "core", "metrics", "noise", "runtime", "scoring", "text"},
    "loading": {"core", "models", "runtime"},
    "cli": {
        "augment",
        "batches",
        "callbacks",
        "core",
        "data",
        "latents",
        "loading",
        "metrics",
        "models",
        "networks",
        "noise",
        "optim",
        "reporting",
        "runtime",
        "scoring",
        "text",
    },
    "fit": {"cli", "runtime"},
    "sample": {"cli", "loading", "runtime"},
    "project": {"cli", "runtime"},
    "directions": {"cli", "runtime"},
    "translate": {"cli", "core", "runtime"},
    "evaluate": {"cli", "loading", "runtime"},
    "benchmark": {"cli", "evaluate", "runtime"},
    "convert": {"cli", "runtime"},
    "pack": {"cli", "runtime"},
    "demo": {"cli", "runtime", "web"},
    "report": {"cli", "reporting", "runtime"},
    "reporting": {"callbacks", "core", "models", "runtime", "scoring"},
    "exporting": {"cli", "core", "loading", "models", "networks", "noise", "runtime", "scoring"},
    "export": {"cli", "exporting", "runtime"},
    "web": {
        "batches",
        "callbacks",
        "cli",
        "core",
        "data",
        "latents",
        "loading",
        "metrics",
        "networks",
        "reporting",
        "runtime",
        "scoring",
        "text",
    },
    "__main__": {"cli", "fit", "runtime"},
    "__init__": {"loading"},
}
TRAINING_ONLY = {"lightning", "torchmetrics", "torchvision", "albumentations", "wandb"}
NO_LIGHTNING = {"losses", "networks", "augment", "optim", "ema", "noise", "batches", "metrics", "schedules", "text"}
LONGEST = 350  # lines of a file
OPENS = {  # may ask Pillow to open a file: never PostScript; may ask numpy: one thread at a time, or files of npz
    "Image.open(": {"runtime/reading.py", "data/cifar10.py"},
    "np.load(": {"runtime/reading.py", "data/cifar10.py", "data/oracle_sequences.py", "metrics/reference.py"},
}
COMMANDS = {
    "fit",
    "sample",
    "translate",
    "evaluate",
    "project",
    "directions",
    "benchmark",
    "convert",
    "pack",
    "demo",
    "report",
    "export",
}
ROOT = 12  # modules at the package's root beside the commands, at most


def part_of(path: Path) -> str:
    """The package's first level: `models` for gan_lightning/models/gan.py, `fit` for gan_lightning/fit.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it, as a dotted name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def within_package(path: Path) -> set[str]:
    """The parts of the package that a file imports."""
    names = {name for name in imports_of(path) if name.split(".")[0] == "gan_lightning"}
    return {name.split(".")[1] for name in names if "." in name}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    part = part_of(path)
    assert part in ALLOWED, "a file without a rule: say what it may import"
    assert within_package(path) <= ALLOWED[part] | {part}
    if part in NO_LIGHTNING:
        allowed = {"torchmetrics"} if part == "metrics" else set()
        outside = {name.split(".")[0] for name in imports_of(path)}
        assert not outside & (TRAINING_ONLY - allowed)


def test_a_reader_opens_few_files_and_short_ones():
    lines = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in FILES}
    assert not {name: count for name, count in lines.items() if count > LONGEST}
    assert len({path.stem for path in PACKAGE.glob("*.py")} - COMMANDS) <= ROOT


def test_a_reader_of_wgangp_meets_both_losses_within_a_screen():
    source = (PACKAGE / "models" / "wgangp.py").read_text()
    (kind,) = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    ends = {node.name: node.end_lineno for node in kind.body if isinstance(node, ast.FunctionDef)}
    assert max(ends["discriminator_loss"], ends["generator_loss"]) <= 50


@pytest.mark.parametrize("path", sorted((PACKAGE / "models").glob("*.py")), ids=lambda path: path.name)
def test_no_model_imports_a_model(path):
    if path.name != "__init__.py":
        assert "models" not in within_package(path)


def test_callbacks_know_no_model_and_no_data():
    for path in (PACKAGE / "callbacks").rglob("*.py"):
        assert not within_package(path) & {"models", "data", "losses", "networks"}, path


def test_bar_07_the_step_is_taken_in_one_place():
    """A `loss.backward()` of one's own never synchronises processes, without a word; one stands behind a check."""
    forbidden = re.compile(r"\.backward\(|optimizer\w*\.step\(|scheduler\w*\.step\(|\.manual_backward\(|opt\w*\.step\(")
    for path in FILES:
        if part_of(path) != "core":
            assert not forbidden.search(path.read_text()), path
    core = "".join(path.read_text() for path in (PACKAGE / "core").glob("*.py"))
    checked = "if self.unheard:\n            loss.backward()\n        else:\n            self.manual_backward(loss)"
    assert checked in core
    assert len(re.findall(r"manual_backward\(", core)) == len(re.findall(r"(?<!manual_)backward\(", core)) == 1


def test_models_are_short_and_one_class_each():
    for path in (PACKAGE / "models").glob("*.py"):
        if path.name == "__init__.py":
            continue
        source = path.read_text()
        classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
        assert len(source.splitlines()) <= 250, path
        assert len(classes) == 1 and "arXiv:" in (ast.get_docstring(classes[0]) or ""), path


def test_no_arguments_are_passed_through_unseen():
    """`**kwargs` hides what a function takes, from readers and from the command line."""
    for path in FILES:
        if part_of(path) not in ("models", "networks", "losses", "core", "data"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert node.args.kwarg is None, f"{path}: {node.name}"


def test_the_wheel_holds_every_package(monkeypatch):
    setuptools, given = pytest.importorskip("setuptools"), {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    monkeypatch.chdir(PACKAGE.parent)
    runpy.run_path("setup.py")
    folders = {path.parent.relative_to(PACKAGE.parent) for path in FILES}
    assert set(given["packages"]) == {".".join(folder.parts) for folder in folders} | {"gan_lightning.configs"}


def test_nothing_is_left_undone():
    marks = re.compile(r"\bTODO\b|\bFIXME\b|\bXXX\b|NotImplementedError")
    for path in FILES:
        assert not marks.search(path.read_text()), path


def test_no_path_of_one_machine():
    """Nor of a home folder: what runs here must run elsewhere."""
    absolute = re.compile(r"""["'`\s(=](/(?:home|root|Users|work|tmp|mnt|scratch)/[\w.-]+)""")
    root, kinds = PACKAGE.parent, (".py", ".yaml", ".md", ".sbatch", ".toml", ".cfg", ".txt", ".ipynb")
    folders = ("gan_lightning", "configs", "docs", "scripts", "benchmarks", "notebooks", "tests")
    texts = [path for folder in folders for path in (root / folder).rglob("*")] + [*root.glob("*"), root / "Makefile"]
    for path in texts:
        if path.suffix in kinds or path.name == "Makefile":
            assert path == Path(__file__) or not absolute.search(path.read_text()), path


def test_every_bar_has_tests_and_a_line_that_names_them():
    """The 25 bars of docs/reliability.md: what is promised in numbers."""
    here, page = Path(__file__).parent, PACKAGE.parent / "docs" / "reliability.md"
    found = {(path.name, name) for path in here.rglob("test_*.py") for name in names_of_tests(path.read_text())}
    section = page.read_text().split("\n## The 25 bars\n")[1].split("\n#")[0]
    lines = re.findall(r"^\| (\d+) \|(.*)$", section, re.M)
    named = {int(bar): set(re.findall(r"`(test_\w+\.py)::(\w+)`", line)) for bar, line in lines}
    assert list(named) == list(range(1, 26))
    for bar in named:
        own = {(file, name) for file, name in found if name.startswith(f"test_bar_{bar:02}_")}
        assert own, f"no test of bar {bar}"
        assert named[bar] == own, f"the line of bar {bar}"


def names_of_tests(source: str) -> list[str]:
    return re.findall(r"^def (test_\w+)", source, re.M)


@pytest.mark.parametrize(("call", "where"), OPENS.items())
def test_files_of_others_are_opened_in_one_place(call: str, where: set[str]) -> None:
    """Elsewhere PostScript would be run by Ghostscript, and threads would disturb each other's arrays.

    See `runtime.reading.opened` and `runtime.reading.opened_array`.
    """
    assert {str(file.relative_to(PACKAGE)) for file in FILES if call in file.read_text("utf-8")} == where
