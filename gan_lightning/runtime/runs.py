"""Where a run writes, and how it is tracked: one folder, a CSV file and Weights & Biases."""

from __future__ import annotations

import csv
import logging
import netrc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlparse

from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only

from gan_lightning.runtime.errors import is_utf8, make_folder, one_line, printable

log = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]  # of the checkout
_FOLDERS = ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR")  # where a user lets W&B write
_OF_WANDB = ("WANDB_SILENT", "WANDB_MODE", *_FOLDERS)  # what we, and Lightning, set for a run
_temporary: list[Path] = []  # folders that W&B has made when it was loaded
_FOLDER = "GAN_LIGHTNING_RUN"  # how the processes that a run starts learn its folder


def new_folder(root: str, name: str) -> Path:
    """Make `root/name/<date and time>`, never one that exists; the other processes of the run are told of it.

    Raises:
        OSError: it cannot be made.
    """
    if rank_zero_only.rank != 0:
        return Path(os.environ.get(_FOLDER, Path(root, name)))
    stem = Path(root, name, datetime.now().strftime("%Y-%m-%d_%H-%M-%S"))
    folder, count = stem, 1
    while True:
        try:
            make_folder(folder, "--trainer.default_root_dir", exist_ok=False)
            break
        except FileExistsError:
            count += 1
            folder = stem.with_name(f"{stem.name}_{count}")
    os.environ[_FOLDER] = str(folder)
    return folder


def latest_checkpoint(root: str, name: str = "*") -> Path:
    """The `last.ckpt` that was written last among the runs `root/name/*`.

    Raises:
        FileNotFoundError: there is none.
    """
    found = list(Path(root).glob(f"{name}/*/last.ckpt"))
    if not found:
        runs = f"of {name} " if name != "*" else ""
        raise FileNotFoundError(f"--ckpt_path last: no run {runs}under {root}/ has a last.ckpt; give the file's path")
    return max(found, key=lambda path: path.stat().st_mtime)


class _AppendingWriter(ExperimentWriter):
    """Continues a CSV file of an earlier part of the run, where Lightning's own would delete it.

    Args:
        log_dir: the run's folder.
        reached: generator steps and images of the checkpoint that the run goes on from. Rows of what came after it,
            which will be done again, go when the first row is written.
    """

    def __init__(self, log_dir: str, reached: tuple[int, int] | None) -> None:
        super().__init__(log_dir)
        self.reached = reached
        if Path(self.metrics_file_path).exists():
            with open(self.metrics_file_path, newline="") as file:
                self.metrics_keys = next(csv.reader(file), [])

    def save(self) -> None:
        if self.metrics and self.reached:
            if Path(self.metrics_file_path).exists():
                self._rewrite_with_new_header(self.metrics_keys)
            self.reached = None
        super().save()

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        """Write the file anew, whole at every instant."""
        path = Path(self.metrics_file_path)
        with open(path, newline="") as file:
            text = file.read()
        whole = text[: text.rfind("\n") + 1].splitlines(keepends=True)  # a crash may have cut the last line off
        rows = [row for row in csv.DictReader(whole) if self.reached is None or self._stays(row)]
        part = path.with_suffix(".csv.part")
        with open(part, "w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=fieldnames)
            writer.writeheader()
            writer.writerows(rows)
        os.replace(part, path)

    def _stays(self, row: dict[str, str]) -> bool:
        """Whether a row is of what the checkpoint has behind it; a line that a crash cut off is not."""
        step, images = self.reached
        if None in row or None in row.values():  # more fields than names, or fewer
            return False
        try:
            return float(row["images_seen"]) <= images if row.get("images_seen") else int(row["step"]) <= step
        except (KeyError, TypeError, ValueError):
            return False

    def _check_log_dir_exists(self) -> None:
        """The folder holds the whole run: nothing in it is in the way."""


class RunCSVLogger(CSVLogger):
    """`metrics.csv` in the run's folder; a resumed run goes on in the same file, from what it had `reached`."""

    def __init__(self, folder: Path, reached: tuple[int, int] | None = None) -> None:
        super().__init__(folder, name="", version="", flush_logs_every_n_steps=1)  # a kill loses no row
        if rank_zero_only.rank == 0:
            self._experiment = _AppendingWriter(str(folder), reached)


def _logged_in() -> bool:
    """Whether W&B has a key for its server, found without a prompt and without the network."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def with_wandb(folder: Path) -> ModuleType:
    """W&B, with the two temporary folders that its import makes in the run's: of one that is killed they stay there.

    Args:
        folder: of the run; what an earlier part of it has left behind goes.
    """
    own, before, first = folder / "wandb" / "tmp", tempfile.tempdir, "wandb" not in sys.modules
    with suppress(OSError):
        if first:
            shutil.rmtree(own, ignore_errors=True)
            own.mkdir(parents=True)
            tempfile.tempdir = str(own)
        for made in _temporary:  # the user may have removed that run
            made.mkdir(parents=True, exist_ok=True)
    try:
        import wandb
    finally:
        tempfile.tempdir = before
    if first:
        _temporary.extend(own.glob("*"))
    return wandb


@contextmanager
def finished() -> Iterator[None]:
    """A run of W&B that is opened within ends with it, and what it has said to the environment.

    Else a second run of this process would go on in the first one's record. A run that was open before stays so.
    """

    def opened() -> Any:
        return getattr(sys.modules.get("wandb"), "run", None)

    before, environment = opened(), {name: os.environ.get(name) for name in _OF_WANDB}
    code = 1
    try:
        yield
        code = 0
    finally:
        if (run := opened()) is not None and run is not before:
            run.finish(exit_code=code)
        for name, value in environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def git_commit(*paths: str) -> tuple[str, bool] | None:
    """The commit of the code that runs, and whether something changed since; None outside a git checkout.

    Args:
        paths: where given, the last commit that changed one of them, and changes of them alone.
    """

    def git(*args: str) -> str:
        command = ["git", "-C", str(ROOT), *args, "--", *paths]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("log", "-1", "--format=%H"), bool(git("status", "--porcelain"))
    except (OSError, subprocess.CalledProcessError):
        return None


def _choose_folders(own: str) -> None:
    """Where W&B keeps what it has not sent: the run's own folder, or what the user has chosen and can be written to."""
    os.environ.setdefault("WANDB_DATA_DIR", own)  # of tables
    for name in _FOLDERS:
        try:
            if name in os.environ and os.environ[name] != own:
                make_folder(os.environ[name], name)
        except OSError as error:
            rank_zero_only(log.warning)(f"W&B: {error}; it is {own} until then")
            os.environ[name] = own


class _Tracker(WandbLogger):
    """Lightning's logger, which loads W&B when its run begins, on the first process alone."""

    def __init__(self, save_dir: Path, **options: Any) -> None:
        super().__init__(save_dir=save_dir, **options)
        self._wandb_init.pop("anonymous", None)  # Lightning always passes it, and W&B warns of it

    @property
    def experiment(self) -> Any:
        if self._experiment is None and rank_zero_only.rank == 0:
            wandb = with_wandb(Path(self.save_dir))
            self._wandb_init["settings"] = wandb.Settings(init_timeout=30, silent=True)
            try:
                return super().experiment
            except (OSError, wandb.errors.Error) as error:  # such as a full disk
                if not (self._offline or isinstance(error, OSError)):
                    raise
                why = one_line(error)
                log.warning("W&B cannot keep a record (%s): this run is tracked by metrics.csv alone", why)
                self._experiment = wandb.init(mode="disabled")
        return super().experiment


def loggers(folder: Path, name: str, config: dict, reached: tuple[int, int] | None = None) -> list[Logger]:
    """The default trackers: `metrics.csv`, and W&B: online where the user is logged in, else offline.

    Args:
        folder: of the run.
        name: model and data.
        config: for W&B.
        reached: see :class:`_AppendingWriter`.

    W&B's run is named after the folder, so that a resumed run continues the same curves; in a sweep its agent chooses
    id and project. WANDB_MODE wins over both; a
    server that does not answer within half a minute is done without, and `wandb sync` sends the run later. W&B keeps
    the command line and the folder, and fails where these are no UTF-8: it is done without there, too.
    """
    if odd := next((text for text in (*sys.argv, str(folder.absolute())) if not is_utf8(text)), None):
        rank_zero_only(log.warning)(f"W&B cannot hold {printable(odd)}: this run is tracked by metrics.csv alone")
        return [RunCSVLogger(folder, reached)]
    os.environ.setdefault("WANDB_SILENT", "true")
    _choose_folders(str(folder.absolute() / "wandb"))
    commit = git_commit()

    sweep = "WANDB_SWEEP_ID" in os.environ  # its agent has chosen both
    own = {} if sweep else {"project": "gan_lightning", "id": f"{name}-{folder.name}"}

    def tracker(offline: bool) -> _Tracker:
        name_, about = f"{name}/{folder.name}", {**config, "git_commit": commit and commit[0]}
        # Absolute: W&B's own process writes the record, and its working folder is that of the first run.
        return _Tracker(name=name_, **own, save_dir=folder.absolute(), offline=offline, config=about)

    offline = os.environ.get("WANDB_MODE", "online" if _logged_in() else "offline") == "offline"
    wandb_logger = tracker(offline)
    if not offline and rank_zero_only.rank == 0:
        wandb = with_wandb(folder)
        try:
            _ = wandb_logger.experiment  # connects
        except wandb.errors.Error as error:
            log.warning("W&B does not answer (%s): this run is tracked offline", one_line(error))
            wandb.teardown()  # else the run that could not connect keeps the name
            wandb_logger = tracker(offline=True)
    return [RunCSVLogger(folder, reached), wandb_logger]
