"""Predictability minimization: what reproductions of Schmidhuber 1992 get wrong, and the paper's own numbers."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Noisy, assert_same, gap, quiet, tensors
from torch import Tensor, nn

from gan_lightning import fit
from gan_lightning.batches import Labeled
from gan_lightning.callbacks import SampleGrid
from gan_lightning.core import Step
from gan_lightning.data import FactorialPatterns
from gan_lightning.loading import load_model
from gan_lightning.models import PredictabilityMinimization
from gan_lightning.networks import CodeDecoder, CodeEncoder, Predictors

SHAPE = (1, 4, 4)
CONFIGS = Path(__file__).parents[2] / "configs" / "predictability_minimization"


def model(seed: int = 0, units: int = 3, **arguments: Any) -> PredictabilityMinimization:
    torch.manual_seed(seed)
    networks = {
        "encoder": partial(CodeEncoder, units=units, width=8),
        "predictors": partial(Predictors, width=5),
        "decoder": partial(CodeDecoder, width=8),
    }
    return PredictabilityMinimization(SHAPE, **(networks | arguments))


def batch(n: int = 8) -> Labeled:
    generator = torch.Generator().manual_seed(1)
    return Labeled(2 * torch.rand(n, *SHAPE, generator=generator) - 1, torch.arange(n) % 2)


class Table(nn.Module):
    """The best predictors of a finite set of code words: conditional expectations, counted."""

    def forward(self, code: Tensor) -> Tensor:
        predicted = torch.empty_like(code)
        for i in range(code.shape[1]):
            others = torch.cat([code[:, :i], code[:, i + 1 :]], 1)
            for word in others.unique(dim=0):
                same = (others == word).all(1)
                predicted[same, i] = code[same, i].mean()
        return predicted


def ensemble(*words: tuple[int, int]) -> Tensor:
    """The paper's four patterns, seen 1, 2, 2 and 4 times of nine."""
    return torch.tensor(words).float().repeat_interleave(torch.tensor([1, 2, 2, 4]), 0)


FACTORIAL = ensemble((1, 1), (0, 1), (1, 0), (0, 0))  # the paper's code F
DEPENDENT = ensemble((0, 1), (0, 0), (1, 0), (1, 1))  # its code B: invertible, and not factorial
CONSTANT = torch.full((9, 2), 0.5)


# The losses


def test_the_papers_values_of_its_two_codes():
    """Section 6.2: V_C of nine patterns is 2 for the factorial code and 19/10 for the other."""
    judge = model(units=2)
    judge.predictors = Table()
    assert 9 * float(judge.unpredictability(FACTORIAL)) == pytest.approx(2)
    assert 9 * float(judge.unpredictability(DEPENDENT)) == pytest.approx(1.9)


def test_a_constant_code_is_the_encoders_worst():
    """Nothing is left to predict: V_C is 0, and so is V; only a decoder's absence could make it look good."""
    judge = model(units=2)
    judge.predictors = Table()
    assert float(judge.unpredictability(CONSTANT)) == 0 == float(judge.variance(CONSTANT))
    assert float(judge.variance(FACTORIAL)) == pytest.approx(2 / 9)
    losses = []
    for code in (FACTORIAL, DEPENDENT, CONSTANT):
        judge.encoder.forward = lambda image, code=code: code
        losses.append(float(sum(judge.encoder_loss(Labeled(torch.zeros(9, *SHAPE), torch.zeros(9))).values())))
    assert losses == pytest.approx([-2 / 9, -1.9 / 9, 0])


@pytest.mark.parametrize("code", [FACTORIAL, DEPENDENT, CONSTANT])
def test_of_the_best_predictors_it_is_variance_less_what_they_foretell(code):
    """V_C = V - H (section 5), H = 1/2 sum_i (P_i - mean y_i)^2."""
    judge = model(units=2)
    judge.predictors = Table()
    foretold = (Table()(code) - code.mean(0)).square().sum(1).mean() / 2
    torch.testing.assert_close(judge.unpredictability(code), judge.variance(code) - foretold)


def test_losses_are_the_equations():
    trained, given = model(unpredictability_weight=2.0, variance_weight=0.3, reconstruction_weight=5.0), batch()
    code = trained.encoder(given.image)
    v_c = 0.0
    for i in range(3):
        v_c += ((trained.predictors(code)[:, i] - code[:, i]) ** 2).mean() / 2
    terms = trained.encoder_loss(given)
    torch.testing.assert_close(terms["unpredictability"], -2 * v_c)
    torch.testing.assert_close(terms["variance"], -0.3 * ((code - code.mean(0)) ** 2).mean(0).sum() / 2)
    error = ((trained.decoder(code) - given.image) ** 2).mean()
    torch.testing.assert_close(terms["reconstruction"], 5 * error)
    torch.testing.assert_close(trained.predictor_loss(given)["unpredictability"], v_c)
    assert model().encoder_loss(given).keys() == {"unpredictability"} and model().decoder is None  # the plain form


# What flows where


def test_a_predictor_does_not_see_its_own_unit():
    torch.manual_seed(0)
    predictors = Predictors(4, width=6)
    code = torch.rand(5, 4, requires_grad=True)
    for i in range(4):
        (grad,) = torch.autograd.grad(predictors(code)[:, i].sum(), code)
        assert (grad[:, i] == 0).all()
        assert (grad[:, [j for j in range(4) if j != i]] != 0).all()


def test_predictors_equal_networks_of_their_own():
    torch.manual_seed(0)
    predictors, code = Predictors(3, width=4), torch.rand(6, 3)
    for i in range(3):
        hidden, out = nn.Linear(2, 4), nn.Linear(4, 1)
        with torch.no_grad():
            hidden.weight.copy_(predictors.hidden_weight[i].T), hidden.bias.copy_(predictors.hidden_bias[i])
            out.weight.copy_(predictors.weight[i][None]), out.bias.copy_(predictors.bias[i][None])
        alone = out(hidden(code[:, [j for j in range(3) if j != i]]).tanh()).sigmoid().squeeze(1)
        torch.testing.assert_close(predictors(code)[:, i], alone)


def test_the_encoder_is_pushed_from_both_ends():
    """d V_C / d y_k = (y_k - P_k) + sum_i (P_i - y_i) dP_i / dy_k: as a target, and as an input."""
    trained = model()
    code = torch.rand(1, 3, requires_grad=True)
    (found,) = torch.autograd.grad(trained.unpredictability(code), code)
    jacobian = torch.autograd.functional.jacobian(lambda y: trained.predictors(y[None])[0], code[0].detach())  # [i, k]
    with torch.no_grad():
        error = (trained.predictors(code) - code)[0]
        expected = -error + error @ jacobian
    torch.testing.assert_close(found[0], expected)
    assert (error @ jacobian).abs().min() > 0  # both parts count


def test_each_player_moves_alone():
    trained = model(reconstruction_weight=1.0, predictor_turns=2)
    moved: list[tuple[str, set[str]]] = []
    turn = trained.turn

    def watched(name: str, *arguments: Any, **options: Any) -> None:
        parts = {"encoder": trained.encoder, "predictors": trained.predictors, "decoder": trained.decoder}
        before = {part: tensors(network) for part, network in parts.items()}
        turn(name, *arguments, **options)
        moved.append((name, {part for part, network in parts.items() if gap(tensors(network), before[part]) > 0}))

    trained.turn = watched
    trainer = quiet(max_steps=2)
    trainer.fit(trained, Noisy(SHAPE))
    assert moved == 2 * (2 * [("predictors", {"predictors"})] + [("encoder", {"encoder", "decoder"})])
    assert trainer.global_step == 2 == trained.iteration


# The predictors


def errors_after(turns: int) -> float:
    """Mean distance of predictors from the conditional expectations of a known joint distribution, after some turns."""
    torch.manual_seed(0)
    joint = torch.tensor([[0, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 1], [1, 1, 1], [0, 0, 1]]).float()
    code = joint.repeat_interleave(torch.tensor([3, 1, 4, 1, 2, 5]), 0)
    trained = model(encoder=lambda image_shape: nn.Flatten(), **{"predictors": lambda units: Predictors(3, width=16)})
    optimizer = trained.players()["predictors"].optimizer(trained.predictors.parameters())
    for _ in range(turns):
        optimizer.zero_grad()
        trained.predictor_loss(Labeled(code[:, :, None, None], torch.zeros(16)))["unpredictability"].backward()
        optimizer.step()
    with torch.no_grad():
        return float((trained.predictors(code) - Table()(code)).abs().mean())


def test_more_turns_bring_predictors_to_the_conditional_expectation(monkeypatch):
    monkeypatch.setattr(nn.Flatten, "units", 3, raising=False)
    far, nearer, near = (errors_after(turns) for turns in (10, 100, 1000))
    assert far > 2 * nearer > 4 * near and near < 0.01


# Training


def test_resume_equals_the_unbroken_run(tmp_path):
    def trained(steps: int, seed: int = 0, **options: Any):
        trainer = quiet(max_steps=steps)
        trainer.fit(model(seed, reconstruction_weight=1.0, variance_weight=0.5), Noisy(SHAPE), **options)
        return trainer

    unbroken = trained(6)
    trained(3).save_checkpoint(tmp_path / "a.ckpt")
    resumed = trained(6, 1, ckpt_path=tmp_path / "a.ckpt")
    assert_same(resumed.lightning_module.state_dict(), unbroken.lightning_module.state_dict())
    assert_same(*([optimizer.state_dict() for optimizer in run.optimizers] for run in (resumed, unbroken)))
    resumed.save_checkpoint(tmp_path / "b.ckpt")
    image = batch().image
    loaded = load_model(tmp_path / "b.ckpt")
    assert_same(loaded.encode(image), unbroken.lightning_module.encode(image))


def test_micro_batches_equal_the_whole_batch():
    runs = []
    for count in (1, 2):
        sgd = partial(torch.optim.SGD, lr=0.5)
        optimizers = {"encoder_optimizer": sgd, "predictor_optimizer": sgd}
        weights = {"reconstruction_weight": 1.0, "variance_weight": 1.0}
        trained = model(**optimizers, **weights, step=Step(micro_batches=count))
        before = tensors(trained)
        quiet(max_steps=3).fit(trained, Noisy(SHAPE))
        assert gap(tensors(trained), before) > 1e-3
        runs.append(tensors(trained))
    assert gap(runs[1], runs[0]) <= 1e-6


def test_what_comes_out():
    trained, given = model(reconstruction_weight=1.0), batch(20)
    code, made = trained.encode(given.image), trained.reconstruct(given.image)
    assert code.shape == (20, 3) and code.min() >= 0 and code.max() <= 1 and not code.requires_grad
    assert made.shape == (20, *SHAPE) and made.abs().max() <= 1
    with pytest.raises(ValueError, match="no decoder"):
        model().reconstruct(given.image)


def test_what_it_refuses():
    for bad in ({"predictor_turns": 0}, {"variance_weight": -1.0}):
        with pytest.raises(ValueError, match="at least one predictor turn"):
            model(**bad)
    with pytest.raises(ValueError, match="at least two units"):
        model(units=1)


# Pictures


def test_a_picture_of_patterns_shows_the_code_beside_its_causes():
    data = FactorialPatterns(3, n=500)
    judge = PredictabilityMinimization(data.image_shape)
    every = data.load("val").every
    bits = data.bits(every.label).float()
    judge.encode = lambda image: torch.stack([1 - bits[:, 2], bits[:, 0], bits[:, 1]], 1)  # one against its cause
    cells = judge.picture(every)[0, 6::12, 6::12]
    assert judge.picture(every).shape == (1, 7 * 12, 8 * 12)
    expected = torch.tensor([[0, 1] * 4, [0, 0, 1, 1] * 2, [0] * 4 + [1] * 4]).float()
    assert cells[:3].equal(expected) and (cells[3] == 0.5).all() and torch.allclose(cells[4:], expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_of_images_shows_what_a_unit_is_on_for(channels):
    shape = (channels, 6, 6)
    judge = PredictabilityMinimization(shape, partial(CodeEncoder, units=2), reconstruction_weight=1.0)
    image = torch.zeros(4, *shape)
    image[:2] = 1.0
    judge.encode = lambda image: torch.tensor([[1.0, 0], [0.9, 0], [0.1, 1], [0, 0]])
    picture = judge.picture(Labeled(image, torch.zeros(4, dtype=torch.int64)))
    cell = 48 + 4
    assert picture.shape == (channels, 4 * cell, 2 * cell) and picture.min() >= 0 and picture.max() <= 1
    middle = picture[:, cell // 2 :: cell, cell // 2 :: cell]
    assert (middle[:, 0, 0] == 0.5).all() and (middle[:, 1, 0] == 1).all()  # off: images of 0; on: images of 1
    torch.testing.assert_close(middle[:, 0, 1], torch.full((channels,), 0.5 + 0.5 * 2 / 3))


# What it reaches


@pytest.mark.slow
def test_it_finds_a_factorial_code_of_mixed_patterns(tmp_path, monkeypatch):
    """The committed setting, of one seed: units a tenth as dependent as PCA's, and every cause recovered."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(SampleGrid, "_draw", lambda *_: None)
    start = time.process_time()
    quietly = ["--trainer.logger=false", "--trainer.enable_progress_bar=false"]
    fit.main([f"--config={CONFIGS / 'patterns.yaml'}", *quietly])
    seconds = time.process_time() - start
    (checkpoint,) = tmp_path.glob("runs/*/*/last.ckpt")
    callbacks = torch.load(checkpoint, weights_only=True)["callbacks"]
    (scores,) = (state["scores"] for name, state in callbacks.items() if name.startswith("CodeScores"))
    print(f"{scores}, {seconds:.0f} s")
    assert scores["pairwise_mi"] <= scores["pairwise_mi/pca"] / 10
    assert scores["recovered"] == 1 > scores["recovered/pca"]
    assert scores["total_correlation"] <= scores["total_correlation/pca"] / 10
    assert seconds <= 120  # of one core
