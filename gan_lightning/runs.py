"""Where a run writes, and how it is tracked: one folder, a CSV file and Weights & Biases."""

from __future__ import annotations

import csv
import logging
import netrc
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from urllib.parse import urlparse

import wandb
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only

from gan_lightning.errors import is_utf8, printable

log = logging.getLogger(__name__)
_FOLDER = "GAN_LIGHTNING_RUN"  # how the processes that a run starts learn its folder


def new_folder(root: str, name: str) -> Path:
    """Make `root/name/<date and time>`, never one that exists; the other processes of the run are told of it."""
    if rank_zero_only.rank != 0:
        return Path(os.environ.get(_FOLDER, Path(root, name)))
    stem = Path(root, name, datetime.now().strftime("%Y-%m-%d_%H-%M-%S"))
    folder, count = stem, 1
    while True:
        try:
            folder.mkdir(parents=True)
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
    """Continues a CSV file of an earlier part of the run, where Lightning's own would delete it."""

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        if Path(self.metrics_file_path).exists():
            with open(self.metrics_file_path, newline="") as file:
                self.metrics_keys = next(csv.reader(file), [])

    def _check_log_dir_exists(self) -> None:
        """The folder holds the whole run: nothing in it is in the way."""


class RunCSVLogger(CSVLogger):
    """`metrics.csv` in the run's folder; a resumed run goes on in the same file."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="", version="")
        if rank_zero_only.rank == 0:
            self._experiment = _AppendingWriter(str(folder))


def _logged_in() -> bool:
    """Whether W&B has a key for its server, found without a prompt and without the network."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _git_commit() -> str | None:
    """The commit of the code that runs, None outside a git checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def loggers(folder: Path, name: str, config: dict) -> list[Logger]:
    """The default trackers: `metrics.csv`, and W&B: online where the user is logged in, else offline.

    W&B's run is named after the folder, so that a resumed run continues the same curves. WANDB_MODE wins over both; a
    server that does not answer within half a minute is done without, and `wandb sync` sends the run later. W&B keeps
    the command line and the folder, and fails where these are no UTF-8: it is done without there, too.
    """
    if odd := next((text for text in (*sys.argv, str(folder.absolute())) if not is_utf8(text)), None):
        rank_zero_only(log.warning)(f"W&B cannot hold {printable(odd)}: this run is tracked by metrics.csv alone")
        return [RunCSVLogger(folder)]
    os.environ.setdefault("WANDB_SILENT", "true")

    def tracker(offline: bool) -> WandbLogger:
        logger = WandbLogger(
            project="gan_lightning",
            name=f"{name}/{folder.name}",
            id=f"{name}-{folder.name}",
            save_dir=folder,
            offline=offline,
            config={**config, "git_commit": _git_commit()},
            settings=wandb.Settings(init_timeout=30, silent=True),
        )
        logger._wandb_init.pop("anonymous", None)  # Lightning always passes it, and W&B warns of it
        return logger

    offline = os.environ.get("WANDB_MODE", "online" if _logged_in() else "offline") == "offline"
    wandb_logger = tracker(offline)
    if not offline and rank_zero_only.rank == 0:
        try:
            _ = wandb_logger.experiment  # connects
        except wandb.errors.Error as error:
            log.warning("W&B does not answer (%s): this run is tracked offline", str(error).splitlines()[0])
            wandb.teardown()  # else the run that could not connect keeps the name
            wandb_logger = tracker(offline=True)
    return [RunCSVLogger(folder), wandb_logger]
