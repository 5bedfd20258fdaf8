"""Games beyond two players of images: one contract for all, and what their checkpoints say on the command line."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import GAMES, assert_same, game, gap, played, tensors, trained

from gan_lightning import callbacks, evaluate, fit, sample
from gan_lightning.cli.flags import SENTENCES
from gan_lightning.core import AdversarialModule, Manipulator, Ranker, SequenceGenerator
from gan_lightning.loading import load_model
from gan_lightning.runtime import signals
from gan_lightning.text import sentence

STAGES = 4  # generator steps, in which every player moves
SMALL = {  # what a user would type, the smallest of it
    "SeqGAN": [
        "--data=OracleSequences",
        *("--data.words=9", "--data.length=5", "--data.n=40", "--data.batch_size=8"),
        *("--model.pretraining=1", "--model.discriminator_pretraining=1", "--model.discriminator_turns=1"),
        *("--model.rollouts=2", "--trainer.callbacks+=TextScores", "--trainer.callbacks.n=12"),
    ],
    "IRGAN": [
        *("--data=ImplicitFeedback", "--data.batch_size=50", "--model.pretraining=1", "--model.discriminator_turns=1"),
        "--trainer.callbacks+=RankingScores",
    ],
    "PredictabilityMinimization": [
        *("--data=FactorialPatterns", "--data.causes=3", "--data.n=60", "--data.batch_size=20"),
        *("--trainer.callbacks+=CodeScores", "--trainer.callbacks.linear_examples=20"),
    ],
    "SinGAN": [
        *("--data=SingleImage", "--data.max_size=24", "--data.min_size=12", "--data.batch_size=2"),
        *("--model.min_size=12", "--model.generator.width=4", "--model.discriminator.width=4"),
        *("--model.steps_per_scale=1", "--trainer.callbacks+=SingleImageScores", "--trainer.callbacks.n=3"),
    ],
}
every_game = pytest.mark.parametrize("name", GAMES)


def output(model: AdversarialModule) -> Any:
    """What the model is for."""
    if isinstance(model, SequenceGenerator):
        return model.sample(4, seed=3)
    if isinstance(model, Manipulator):
        return model.sample(4, seed=3), model.manipulate(torch.zeros(1, *model.image_shape), 1)
    batch = played(type(model).__name__).reference("val").__getitems__([0, 1, 2])
    return model.rank(batch) if isinstance(model, Ranker) else model.encode(torch.zeros(2, *model.image_shape))


@every_game
def test_contract(name, tmp_path):
    """Who moves, what is logged, what comes out, and that a checkpoint gives it all back."""
    model = game(name)
    before = {player: tensors(spec.network) for player, spec in model.players().items()}
    trainer = trained(model, STAGES, played(name), log_every_n_steps=1)
    assert trainer.global_step == STAGES
    for player, spec in model.players().items():
        assert gap(tensors(spec.network), before[player]) > 0, player
    figures = {figure: float(value) for figure, value in trainer.callback_metrics.items()}
    expected = {f"{player}/{figure}" for player in model.players() for figure in ("loss", "gradient_norm")}
    assert figures.keys() >= expected | {"images_per_second", "images_seen"}
    assert all(map(math.isfinite, figures.values()))

    trainer.save_checkpoint(tmp_path / "model.ckpt")
    loaded = load_model(tmp_path / "model.ckpt")  # from the file alone
    assert type(loaded) is type(model) and loaded.iteration == model.iteration
    assert_same(tensors(loaded), tensors(model))
    assert_same(output(loaded), output(model))


@every_game
def test_scores_leave_no_trace(name):
    """A run with scores at every step trains bit for bit as one without."""
    plain, scored = game(name), game(name)
    trained(plain, STAGES, played(name))
    kind = getattr(callbacks, scored.scored_by)
    score = kind(when=callbacks.When(every_n_steps=1), **({"n": 10} if name == "SeqGAN" else {}))
    trained(scored, STAGES, played(name), callbacks=[score])
    assert score.scores and all(map(math.isfinite, score.scores.values()))
    assert_same(tensors(scored), tensors(plain))


@every_game
def test_a_score_obeys_a_signal_between_its_batches(name, monkeypatch):
    kinds = {"SeqGAN": callbacks.TextScores, "IRGAN": callbacks.RankingScores, "SinGAN": callbacks.SingleImageScores}
    small = {"n": 10} if name == "SeqGAN" else {}
    score = kinds[name](batch_size=3, **small) if name in kinds else callbacks.CodeScores()
    looks = []
    monkeypatch.setattr(signals, "received", lambda: looks.append(1) or (signal.SIGTERM if len(looks) == 2 else 0))
    monkeypatch.setattr("gan_lightning.metrics.linear_code", lambda *_: pytest.fail("one batch too many"))
    with pytest.raises(signals.Stopped):
        score.measure(game(name), played(name))
    assert len(looks) == 2


# The command line


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The last checkpoint of a small run of each game, by the command that a user would type."""
    folder, found = tmp_path_factory.mktemp("games"), {}
    quiet = ["--trainer.max_steps=3", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in GAMES:
            fit.main([f"--model={name}", *SMALL[name], *quiet])
            (checkpoint,) = folder.glob(f"runs/{name}-*/*/last.ckpt")
            found[name] = str(checkpoint)
    return found


@every_game
def test_evaluate_finds_what_the_run_found(name, runs, tmp_path, capsys):
    """The same figures by the same name, from the checkpoint alone; the arguments of the score are the run's."""
    evaluate.main([runs[name], "--json", str(tmp_path / "scores.json"), "--device", "cpu"])
    found = json.loads((tmp_path / "scores.json").read_text())
    printed = capsys.readouterr().out
    content = torch.load(runs[name], weights_only=True)
    (of_run,) = (
        state for key, state in content["callbacks"].items() if key.startswith(load_model(runs[name]).scored_by)
    )
    assert {figure: entry["value"] for figure, entry in found.items()} == pytest.approx(of_run["scores"], rel=1e-5)
    for entry in found.values():
        assert entry["card"] == of_run["card"]
    assert next(iter(found)) in printed and f"model {name}" in printed.replace("\n  ", " ")


@every_game
@pytest.mark.parametrize("flag", [["--metrics", "fid"], ["--n", "10"], ["--split", "val"]])
def test_evaluate_refuses_flags_of_images(name, flag, runs, capsys):
    with pytest.raises(SystemExit) as stopped:
        evaluate.main([runs[name], *flag])
    assert stopped.value.code == 2
    scored_by = load_model(runs[name]).scored_by
    assert capsys.readouterr().err == f"error: {name} is scored by {scored_by}: leave {flag[0]} out\n"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data.words=8"], "OracleSequences has another vocabulary than what"),
        (["--data.length=6"], "OracleSequences has another length than what"),
        (["--data=Digits"], "Digits has no vocabulary, unlike what"),
    ],
)
def test_evaluate_refuses_other_data(flags, message, runs, capsys):
    with pytest.raises(SystemExit) as stopped:
        evaluate.main([runs["SeqGAN"], *flags])
    assert stopped.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["IRGAN", "PredictabilityMinimization"])
def test_figures_of_other_data_are_not_compared(name, runs, tmp_path, capsys):
    other = {"IRGAN": "--data.seed=1", "PredictabilityMinimization": "--data.n=80"}[name]
    for path, flags in (("a.json", []), ("b.json", [other])):
        evaluate.main([runs[name], *flags, "--json", str(tmp_path / path)])
    with pytest.raises(SystemExit) as stopped:
        evaluate.main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")])
    assert stopped.value.code == 2 and "data_hash: " in capsys.readouterr().err


def test_sample_prints_sentences(runs, tmp_path, capsys):
    """One a line, number i the same however many are made at a time; with a folder they are written there too."""
    model = load_model(runs["SeqGAN"]).double()
    sample.main([runs["SeqGAN"], "--n", "5", "--seed", "3", "--device", "cpu"])
    lines = capsys.readouterr().out.splitlines()
    assert lines == [sentence(tokens, model.vocabulary) for tokens in model.sample(5, seed=3)]
    sample.main([runs["SeqGAN"], "--n", "5", "--seed", "3", "--batch_size", "2", "--out", str(tmp_path / "said")])
    *said, last = capsys.readouterr().out.splitlines()
    assert said == lines and last.startswith("5 sequences of SeqGAN (seed 3): ")
    assert (tmp_path / "said" / "sentences.txt").read_text().splitlines() == lines
    sample.main([runs["SeqGAN"]])
    assert len(capsys.readouterr().out.splitlines()) == SENTENCES


def test_sample_lists_items(runs, capsys):
    model = load_model(runs["IRGAN"]).double()
    sample.main([runs["IRGAN"], "--user", "7", "--k", "4", "--device", "cpu"])
    head, *lines = capsys.readouterr().out.splitlines()
    items, scores = model.recommend(model.users.index("7"), 4)
    rows = [line.split() for line in lines]
    assert "4 best items for user 7" in head
    assert rows == [
        [str(place), model.items[item], f"{score:.3f}"]
        for place, (item, score) in enumerate(zip(items, scores, strict=True), 1)
    ]


@pytest.mark.parametrize(
    ("name", "shown", "hidden"),
    [
        ("SeqGAN", ("--n N", "--seed SEED of the draws (default 0)"), ("--grid", "--live", "--user", "--k")),
        ("IRGAN", ("--user NAME", "--k K how many items (default 10)"), ("--n ", "--seed", "--out")),
    ],
)
def test_help_shows_what_this_model_takes(name, shown, hidden, runs, capsys):
    with pytest.raises(SystemExit) as stopped:
        sample.main([runs[name], "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert stopped.value.code == 0
    assert all(flag in text for flag in shown) and not any(flag in text for flag in hidden), text


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("SeqGAN", ["--grid"], "unknown argument '--grid': SeqGAN does not take it"),
        ("SeqGAN", ["--user", "1"], "unknown argument '--user': SeqGAN does not take it"),
        ("IRGAN", ["--n", "4"], "unknown argument '--n': IRGAN does not take it"),
        ("IRGAN", [], "IRGAN lists items to a user: give --user NAME, such as 0"),
        ("IRGAN", ["--user", "4999"], "there is no user '4999', did you mean '499'"),
        ("IRGAN", ["--user", "4", "--k", "1000"], "items left: ask for 1 to as many, not 1000"),
        ("IRGAN", ["--user", "4", "--k", "0"], "--k must be at least 1, not 0"),
        ("PredictabilityMinimization", [], "makes no images from latents, so it cannot be sampled"),
    ],
)
def test_sample_refuses_what_does_not_fit(name, flags, message, runs, capsys):
    with pytest.raises(SystemExit) as stopped:
        sample.main([runs[name], *flags])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        ("SeqGAN", "Digits", "SeqGAN needs data of sequences, such as OracleSequences or TextLines"),
        ("IRGAN", "Digits", "IRGAN needs users and items, or documents with features"),
        ("IRGAN", "OracleSequences", "IRGAN needs users and items, or documents with features"),
        ("PredictabilityMinimization", "OracleSequences", "images"),
        ("DCGAN", "ImplicitFeedback", "images"),
    ],
)
def test_a_game_with_data_of_another_kind(model, data, message, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        fit.main([f"--model={model}", f"--data={data}", "--trainer.max_steps=1", "--trainer.logger=false"])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and message in error and error.count("\n") == 1
    assert not (tmp_path / "runs").exists()
