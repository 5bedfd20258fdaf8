"""What W&B, TensorBoard and other trackers are handed, read back from the files that they write."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import NoisyBatches, finish_wandb, quiet, tiny, trained, translator
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger
from PIL import Image
from test_configs import parse
from test_fit import TINY, here, offline_records

from gan_lightning.callbacks import Checkpoint, Health, RunSummary, SampleGrid, Watch, tracking
from gan_lightning.runtime import runs

SWEEPS = sorted((Path(__file__).parents[1] / "configs" / "sweeps").glob("*.yaml"))
SMALL = [
    *("--model=CGAN", "--data=Digits", *TINY, "--trainer.enable_progress_bar=false", "--grid.rows=2"),
    *("--trainer.log_every_n_steps=1", "--grid.every_n_steps=1", "--checkpoint.monitor=modes"),
    *(
        "--trainer.callbacks+=ModeCoverage",
        "--trainer.callbacks.protocol.n_fake=20",
        "--trainer.callbacks+=gan_lightning.callbacks.Watch",
    ),
    "--trainer.callbacks.every_n_turns=1",
]


def records(file: Path) -> Iterator[Any]:
    from wandb.proto import wandb_internal_pb2

    for data in offline_records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        yield record


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[list[Any]]]:
    """A run of two steps that goes on to four: its folder, and what W&B keeps of each part."""
    folder = tmp_path_factory.mktemp("tracked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        finish_wandb()  # a run that another test has left open would be taken for this one's
        here(patch, folder, *SMALL, "--trainer.max_steps=2")
        finish_wandb()
        here(patch, folder, "--ckpt_path=last", "--trainer.max_steps=4", "--trainer.enable_progress_bar=false")
        finish_wandb()
    (made,) = folder.glob("runs/*/*")
    files = sorted(made.glob("wandb/offline-run-*/*.wandb"))
    return made, [list(records(file)) for file in files]


def history(part: list[Any]) -> list[dict[str, Any]]:
    """The rows that were logged."""
    rows: list[dict[str, Any]] = []
    for record in part:
        rows.append({})
        for item in record.history.item:
            name, *within = item.nested_key or [item.key]
            value = json.loads(item.value_json)
            if within:
                rows[-1].setdefault(name, {})["/".join(within)] = value
            else:
                rows[-1][name] = value
    return rows


def test_both_parts_of_a_run_have_one_id(tracked: tuple) -> None:
    made, parts = tracked
    ids = [record.run.run_id for part in parts for record in part if record.run.run_id]
    assert len(parts) == 2 and set(ids) == {f"{made.parent.name}-{made.name}"}


def test_the_best_checkpoint_is_an_artifact_with_aliases(tracked: tuple) -> None:
    made, parts = tracked
    for part, folder in zip(parts, sorted(made.glob("wandb/offline-run-*")), strict=True):
        (model,) = [record.artifact for record in part if record.artifact.type == "model"]
        about = json.loads(model.metadata)
        assert set(model.aliases) == {"best", "latest", f"step-{about['step']}"}
        (entry,) = model.manifest.contents
        assert entry.path == "model.ckpt"
        kept = torch.load(folder / "model.ckpt", weights_only=True)
        assert kept["global_step"] == about["step"] and Path(entry.local_path) == folder / "model.ckpt"
        assert about["monitor"] == "modes" and about["card"]["n_fake"] == 20


def test_pictures_and_films_have_captions(tracked: tuple) -> None:
    made, (first, second) = tracked
    shown = [row["samples"] for row in history(first) + history(second) if "samples" in row]
    assert [one["captions"] for one in shown] == [
        [f"CGAN, step {step}, {16 * step} images"] for step in (1, 2, 2, 3, 4, 4)
    ]
    (film,) = [row["progress"] for row in history(second) if "progress" in row]
    assert film["captions"] == ["the same latents up to step 4"]
    (folder,) = [
        path for path in sorted(made.glob("wandb/offline-run-*")) if list(path.glob("files/media/videos/*.gif"))
    ][-1:]
    files = sorted(folder.glob("files/media/images/samples_*.png"), key=lambda file: int(file.stem.split("_")[1]))
    with Image.open(files[-1]) as handed, Image.open(made / "samples.png") as own:
        assert np.array_equal(np.asarray(handed), np.asarray(own)) and np.asarray(own).std() > 0


def test_a_table_shows_each_sample_with_its_class(tracked: tuple) -> None:
    made, parts = tracked
    file = sorted(made.glob("wandb/offline-run-*/files/media/table/samples/*.json"))[-1]
    table = json.loads(file.read_text())
    assert table["columns"] == ["number", "class", "picture"] and len(table["data"]) == 32
    assert [row[:2] for row in table["data"][9:12]] == [[9, "9"], [10, "0"], [11, "1"]]
    assert any("samples/table" in row for row in history(parts[-1]))
    assert list((made / "wandb" / "artifacts").rglob("*")), "pictures of the table lie outside of the run's folder"


def test_watch_hands_over_gradients_of_what_moves(tracked: tuple) -> None:
    names = {name for row in history(tracked[1][0]) for name in row if name.startswith("gradients/")}
    moving = {name.removeprefix("gradients/").split(".")[0] for name in names}
    assert moving == {"generator", "discriminator"}


def test_a_tracker_that_takes_no_model_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise ValueError("not this one")

    monkeypatch.setattr(tracking, "log_model", refuse)
    with pytest.warns(UserWarning, match="W&B is not handed the model: not this one"):
        trained(tiny("GAN"), 1, callbacks=[Checkpoint(str(tmp_path))], enable_checkpointing=True)


def test_health_makes_the_folder_that_it_writes_to(tmp_path: Path) -> None:
    trained(tiny("GAN"), 1, callbacks=[Health()], default_root_dir=tmp_path / "new")
    assert (tmp_path / "new" / "machine.json").exists()


@pytest.mark.parametrize("name", ["GAN-Digits-2026", "GAN-Digits-my run (1)", "größer"])
def test_any_folder_names_an_artifact(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"weights")
    (tmp_path / "run" / "files").mkdir(parents=True)
    kept: list[Any] = []
    run = SimpleNamespace(
        id=name, dir=str(tmp_path / "run" / "files"), log_artifact=lambda one, aliases: kept.append(one)
    )
    monkeypatch.setattr(tracking, "wandb_loggers", lambda trainer: [SimpleNamespace(experiment=run)])
    tracking.log_model(None, tmp_path / "last.ckpt", ["latest"], {})
    assert kept[0].name.isascii() and " " not in kept[0].name


def test_watch_needs_wandb() -> None:
    trained(tiny("GAN"), 1, callbacks=[Watch()], fast_dev_run=True)  # which has no trackers
    with pytest.raises(ValueError, match="W&B, which does not track this run"):
        trained(tiny("GAN"), 1, callbacks=[Watch()])
    with pytest.raises(ValueError, match="at least 1, not 0"):
        Watch(0)


# Other trackers


def test_tensorboard_has_the_curves_and_the_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run that goes on, in the run's folder."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    small = ["--model=GAN", "--data=Digits", *TINY, "--trainer.enable_progress_bar=false", "--grid.every_n_steps=2"]
    small += ["--trainer.log_every_n_steps=1", "--trainer.logger", "TensorBoardLogger", "--trainer.max_steps=2"]
    here(monkeypatch, tmp_path, *small)
    here(monkeypatch, tmp_path, "--ckpt_path=last", "--trainer.max_steps=4")
    (made,) = tmp_path.glob("runs/*/*")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"] and (made / "report.html").exists()
    events = accumulator.EventAccumulator(str(made / "tensorboard"), {"images": 0, "scalars": 0}).Reload()
    assert {"generator/loss", "discriminator/loss"} <= set(events.Tags()["scalars"])
    assert [(event.step, event.value) for event in events.Scalars("images_seen")] == [
        *((1, 16), (2, 32), (3, 48), (4, 64))
    ]
    pictures = events.Images("samples")
    assert [event.step for event in pictures] == [2, 2, 4, 4]  # at the step, and at the end
    with Image.open(io.BytesIO(pictures[-1].encoded_image_string)) as handed, Image.open(made / "samples.png") as own:
        difference = np.asarray(handed, float) - np.asarray(own, float)
    assert np.abs(difference).max() <= 1  # one rounds, the other cuts off


class Store:
    """Stands for an MLflow client: it takes what is sent, and refuses what MLflow refuses."""

    def __init__(self) -> None:
        self.metrics: list[Any] = []

    def log_batch(self, run_id: str, metrics: Any = (), **_: Any) -> None:
        assert all(isinstance(metric.value, float) for metric in metrics)
        self.metrics += metrics


def test_a_tracker_of_figures_alone_gets_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's logger as Lightning has it, without its package: pictures and words pass it by."""
    client = Store()

    class Figures(MLFlowLogger):
        def __init__(self) -> None:
            self._prefix, self._run_id = "", "1"

        experiment = property(lambda self: client)
        name = save_dir = version = property(lambda self: None)

        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            client.log_batch("1", [SimpleNamespace(key=key, value=float(value)) for key, value in metrics.items()])

        def log_hyperparams(self, params: Any) -> None: ...

        def finalize(self, status: str = "success") -> None: ...

        def after_save_checkpoint(self, checkpoint_callback: Any) -> None: ...

    callbacks = [SampleGrid(every_n_steps=1, rows=2), RunSummary(), Health(patience=1, share=10.0)]
    options = {"callbacks": callbacks, "log_every_n_steps": 1, "default_root_dir": tmp_path}
    trained(tiny("GAN"), 2, logger=Figures(), **options)
    assert {"generator/loss", "images_seen"} <= {metric.key for metric in client.metrics}


def test_an_alarm_is_in_the_csv_file(tmp_path: Path) -> None:
    csv = CSVLogger(tmp_path, name="", version="")
    callbacks = [Health(patience=2, share=10.0)]
    trained(tiny("GAN"), 3, logger=csv, callbacks=callbacks, log_every_n_steps=1, default_root_dir=tmp_path)
    text = (tmp_path / "metrics.csv").read_text()
    assert text.count("the generator has collapsed: at step 2") == 1
    machine = json.loads((tmp_path / "machine.json").read_text())
    assert machine["torch"] == torch.__version__ and machine["processes"] == 1


def test_a_translators_table_has_its_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = []
    monkeypatch.setattr(tracking, "wandb_loggers", lambda trainer: ["W&B"])
    monkeypatch.setattr(tracking, "log_table", lambda trainer, name, columns, rows: tables.append((columns, rows)))
    monkeypatch.setattr(tracking, "log_picture", lambda *_: None)
    model, data = translator("Pix2Pix"), NoisyBatches("Pix2Pix")
    trainer: Trainer = quiet(max_steps=1)
    trainer.fit(model, data)
    SampleGrid(rows=3)._tabulate(trainer, model)
    ((columns, rows),) = tables
    assert columns[0] == "number" and len(columns) >= 3 and [row[0] for row in rows] == [0, 1, 2]
    assert all(cell.shape[0] in (1, 3) and 0 <= cell.min() <= cell.max() <= 1 for row in rows for cell in row[1:])


# Sweeps


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_starts_fit_with_its_flags(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One draw of its parameters, put into the command by W&B's own agent, is parsed by `fit`."""
    utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    sweep = utils.load_sweep_config(str(path))
    assert sweep["metric"]["goal"] == "minimize" and sweep["metric"]["name"].startswith("FID")
    assert (path.parents[2] / sweep["program"]).is_file()
    drawn = {}
    for name, rule in sweep["parameters"].items():
        low, high = (rule["values"][0], rule["values"][-1]) if "values" in rule else (rule["min"], rule["max"])
        assert low < high
        drawn[name] = {"value": low}
    given = utils.create_sweep_command_args({"args": drawn})
    command = utils.create_sweep_command(sweep["command"])
    assert command[:4] == ["${env}", "${interpreter}", "-m", "gan_lightning.fit"] and command[-1] == "${args}"
    monkeypatch.chdir(path.parents[2])
    config = parse(*command[4:-1], *given["args"]).config
    settings = json.loads(json.dumps(config.as_dict(), default=str))
    for name, value in drawn.items():
        found = settings
        for part in name.split("."):
            found = found["init_args"][part] if "init_args" in found else found[part]
        assert found == value["value"], name
    assert any(one["class_path"].endswith(".FID") for one in settings["trainer"]["callbacks"])


def test_in_a_sweep_its_agent_names_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path))
    (_, own) = runs.loggers(tmp_path / "a", "GAN-Digits", {})
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    (_, swept) = runs.loggers(tmp_path / "a", "GAN-Digits", {})
    assert own._wandb_init["id"] == "GAN-Digits-a" and swept._wandb_init["id"] is None
