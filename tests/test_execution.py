"""How turns are computed: compiled, in another order of memory, in half precision."""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Noisy, adam, assert_same, gap, made, own_networks, plain_networks, sgd, tensors, tiny, trained
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch._dynamo.utils import counters

from gan_lightning import models
from gan_lightning.core import AdversarialModule, ImageStep, TwoPlayerGAN
from gan_lightning.core.execution import Compiled
from gan_lightning.core.step import Player, Terms
from gan_lightning.runtime import processes
from gan_lightning.runtime.errors import NotFiniteError, RunError
from gan_lightning.runtime.strategy import PlayersStrategy

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import precision  # noqa: E402


@pytest.fixture
def aot_eager(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compile by the backend that needs no compiler of C++, and has aot_autograd's limits."""
    compile = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self: compile(self, backend="aot_eager"))
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Graphs(Callback):
    """Counts the graphs that are compiled by the end of each batch, beside the generator steps."""

    def __init__(self) -> None:
        self.counts: list[tuple[int, int]] = []
        counters.clear()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.counts.append((trainer.global_step, counters["stats"]["unique_graphs"]))


def told(model: AdversarialModule, steps: int, data: Any = None, **options: Any) -> list[str]:
    """The warnings of ours in a training."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trained(model, steps, data, **options)
    return [str(warning.message) for warning in caught if "step.compile" in str(warning.message)]


def squared_slope(model: AdversarialModule, image: torch.Tensor) -> torch.Tensor:
    """A penalty that its writer forgot to compute in float32 and without compiled code."""
    image = image.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(model.discriminator(image).sum(), image, create_graph=True)
    return gradient.square().mean()


@pytest.mark.parametrize("begins", [1, 3])
def test_a_player_that_differentiates_a_gradient_falls_back_by_itself(aot_eager: None, begins: int) -> None:
    """At the first turn that needs it, with one warning, and ends where an uncompiled run ends: nothing is lost."""
    ends, lines = [], []
    for compiled in (False, True):
        model = tiny("DCGAN", own_networks("DCGAN"), sgd(), step=ImageStep(compile=compiled))
        plain = model.discriminator_loss

        def penalised(batch: Any, model: Any = model, plain: Any = plain) -> Terms:
            terms = plain(batch)
            return terms | ({"slope": squared_slope(model, batch.image)} if model.iteration >= begins else {})

        model.discriminator_loss = penalised
        lines.append(told(model, 5))
        ends.append(tensors(model))
    assert gap(ends[1], ends[0]) <= 1e-6  # weights, and statistics of batches that are seen once
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0] if name.endswith("num_batches_tracked"))
    assert lines[0] == [] and len(lines[1]) == 1
    assert "discriminator run without compiled code" in lines[1][0] and "double backward" in lines[1][0]
    assert "\n" not in lines[1][0]


def test_an_error_of_the_turn_itself_is_no_matter_of_compiling(aot_eager: None) -> None:
    model = tiny("DCGAN", plain_networks(), step=ImageStep(compile=True))

    def broken(batch: Any) -> Terms:
        raise RuntimeError("the loss is broken")

    model.discriminator_loss = broken
    with pytest.raises(RuntimeError, match="the loss is broken"):
        trained(model, 1)


def within_a_compiler(cause: Exception) -> Exception:
    """An error of torch's compiler that another one has led to."""
    error = RuntimeError("backend='inductor' raised:")
    error.__cause__ = cause
    return error


KILLED = RuntimeError("DataLoader worker (pid 4711) is killed by signal: Killed. ")


@pytest.mark.parametrize(
    "error",
    [
        KILLED,
        within_a_compiler(KILLED),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[gloo/tcp/pair.cc:561] Connection closed by peer [10.0.0.7]:2346"),
        torch.distributed.DistBackendError("remote process exited"),
        NotFiniteError("generator: nan"),
    ],
)
def test_what_compiled_code_cannot_cause_is_not_tried_again(aot_eager: None, error: Exception) -> None:
    players, tries = {"generator": Player(nn.Linear(1, 1), adam(1e-3))}, []

    def work() -> None:
        tries.append(1)
        raise error

    with pytest.raises(type(error)) as raised:
        Compiled(players, [], torch.device("cpu")).run("generator", work)
    assert raised.value is error and len(tries) == 1


@pytest.fixture
def group() -> None:
    """A process group of one; it ends with the test, see conftest."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)


def test_a_compiled_turn_whose_gradients_are_exchanged_is_not_tried_again(aot_eager: None, group: None) -> None:
    """The engine of DDP has heard of some gradients by then, and other processes are in the midst of theirs."""
    model = tiny("DCGAN", own_networks("DCGAN"), sgd(), step=ImageStep(compile=True))
    plain = model.discriminator_loss
    model.discriminator_loss = lambda batch: plain(batch) | {"slope": squared_slope(model, batch.image)}
    line = "turn of the discriminator fails: .*double backward.*; leave --model.step.compile out$"
    with pytest.raises(RunError, match=line) as raised:
        trained(model, 1, strategy="ddp")
    assert "\n" not in str(raised.value)


def test_nothing_is_compiled_where_another_process_cannot(aot_eager: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "greatest", lambda values, device: [max(*values, 1.0)])
    model = tiny("DCGAN", plain_networks(), step=ImageStep(compile=True))
    (line,) = told(model, 1)
    assert "nothing is compiled: it cannot in another process" in line
    assert model.generator._compiled_call_impl is None


def test_nothing_is_compiled_where_torch_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a CPU without a C++ compiler."""

    def fails(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("No working C++ compiler found")

    compile = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self: compile(self, backend=fails))
    model = tiny("DCGAN", plain_networks(), step=ImageStep(compile=True))
    (line,) = told(model, 2)
    assert "nothing is compiled" in line and "No working C++ compiler found" in line and "\n" not in line
    assert model.generator._compiled_call_impl is None


def every_model(quick: str) -> pytest.MarkDecorator:
    """A test of all models, of which one alone is not slow."""
    names = [pytest.param(name, marks=[] if name == quick else pytest.mark.slow) for name in models.__all__]
    return pytest.mark.parametrize("name", names)


@every_model("DCGAN")
def test_compiled_players_train_alike(name: str, aot_eager: None) -> None:
    """No player falls back, also not where a penalty is."""
    ends = []
    for compiled in (False, True):
        model, data = made(name, exact=True, compile=compiled)
        if name == "SinGAN":
            model.steps_per_scale = 4  # it would end by itself
        assert told(model, 10, data) == []
        ends.append(tensors(model))
    assert gap(ends[1], ends[0]) <= 1e-6


@every_model("GAN")
def test_nothing_is_compiled_after_a_hundred_steps(name: str, aot_eager: None) -> None:
    """Counted. Networks that grow are compiled for each level, which tiny ones have all reached by then."""
    graphs, (model, data) = Graphs(), made(name, exact=True, compile=True)
    if name == "SinGAN":
        model.steps_per_scale = 40  # of three scales: the last begins before the hundredth step, and ends after
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):
        assert told(model, 110, data, callbacks=[graphs]) == []
    after = [count for step, count in graphs.counts if step >= 100]
    assert after[0] > 0 and set(after) == {after[0]} and graphs.counts[-1][0] >= 110


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch needs a C++ compiler on a CPU")
def test_compiled_by_inductor() -> None:
    ends = []
    for compiled in (False, True):
        model = tiny("WGANGP", own_networks("WGANGP"), sgd(1e-2), n_critic=2, step=ImageStep(compile=compiled))
        assert told(model, 3) == []
        ends.append(tensors(model))
    assert gap(ends[1], ends[0]) <= 1e-5


# Channels last


@pytest.mark.parametrize("name", ["SNGAN", "Pix2Pix"])
def test_channels_last_changes_rounding_alone(name: str) -> None:
    ends, seen = [], []
    for last in (False, True):
        model, data = made(name, exact=True, channels_last=last)
        convolution = next(m for m in model.discriminator.modules() if isinstance(m, nn.Conv2d) and m.out_channels > 1)
        hook = convolution.register_forward_hook(
            lambda _, x, y: seen.append(y.is_contiguous(memory_format=torch.channels_last))
        )
        trained(model, 3, data)
        hook.remove()
        ends.append(tensors(model))
    assert gap(ends[1], ends[0]) <= 1e-5
    assert set(seen[: len(seen) // 2]) == {False} and set(seen[len(seen) // 2 :]) == {True}


def test_engines_of_ddp_find_the_weights_in_their_order(group: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else gradients do not lie as their buckets do, and each is copied."""
    found, exchanged = [], PlayersStrategy._exchanged

    def look(self: PlayersStrategy, network: nn.Module) -> nn.Module:
        weights = [m.weight for m in network.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
        found.extend(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
        return exchanged(self, network)

    monkeypatch.setattr(PlayersStrategy, "_exchanged", look)
    trained(tiny("DCGAN", adam(1e-3), step=ImageStep(channels_last=True)), 1, strategy="ddp")
    assert found and all(found)


@pytest.mark.parametrize("before", [False, True])
def test_a_resumed_run_may_change_the_order_of_memory(before: bool, tmp_path: Path) -> None:
    """Moments of Adam's that lie in another order than their weights would move other weights."""
    trainer: Trainer | None = None
    for last, steps in ((before, 3), (not before, 6)):
        model = tiny("DCGAN", adam(1e-2), step=ImageStep(channels_last=last))
        start = {"ckpt_path": tmp_path / "a.ckpt"} if trainer else {}
        trainer = trained(model, steps, Noisy(), **start)
        trainer.save_checkpoint(tmp_path / "a.ckpt")
    whole = tiny("DCGAN", adam(1e-2))
    trained(whole, 6, Noisy())
    assert gap(tensors(model), tensors(whole)) <= 1e-3


# Hooks around a backward pass


class Heard(Callback):
    """Counts backward passes, by the hooks of a callback."""

    before = after = 0

    def on_before_backward(self, *_: Any) -> None:
        self.before += 1

    def on_after_backward(self, *_: Any) -> None:
        self.after += 1


def test_backward_is_heard_by_a_callback_and_by_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody hears of it Lightning is not asked to look; the weights are the same in every bit."""
    asked: list[Any] = []
    manual_backward = LightningModule.manual_backward

    def counted(self: LightningModule, *loss: Any) -> None:
        asked.append(self)
        manual_backward(self, *loss)

    monkeypatch.setattr(LightningModule, "manual_backward", counted)
    ends = []
    for callbacks in ([], heard := [Heard()]):
        model = tiny("WGAN")
        trained(model, 2, callbacks=callbacks)
        ends.append(tensors(model))
        assert bool(asked) == bool(callbacks)
    turns = 2 * (1 + model.n_critic)
    assert heard[0].before == heard[0].after == len(asked) == turns
    assert_same(*ends)

    class Model(models.DCGAN):
        passes = 0

        def on_after_backward(self) -> None:
            self.passes += 1

    model = Model((1, 16, 16), **plain_networks())
    trained(model, 2)
    assert model.passes == 4
    trained(tiny("DCGAN"), 1, profiler="simple")
    trained(tiny("DCGAN"), 1, precision="bf16-mixed")
    assert len(asked) == turns + 4 + 2 + 2, "a profiler is told of the pass, and a precision plugin takes part"


# Precision: every model, in 50 steps the table of docs/reliability.md


@pytest.mark.parametrize("name", models.__all__)
@pytest.mark.parametrize("kind", ["bf16-mixed", "16-mixed"])
def test_half_precision_trains(name: str, kind: str) -> None:
    """Everything stays finite and in float32, and moves; penalties are computed in float32."""
    with precision.watched_penalties() as types:
        before, model = precision.train(name, kind, 3, scale=2.0**8)
    assert precision.verdict(before, tensors(model)) == "yes"
    assert not any(value.dtype in (torch.bfloat16, torch.float16) for value in tensors(model).values())
    assert types <= {"float32", "float64"}  # filters are made in the latter
    if isinstance(model, TwoPlayerGAN):
        assert model.sample(2).dtype == torch.float32


@pytest.mark.slow
@pytest.mark.parametrize("name", models.__all__)
@pytest.mark.parametrize("kind", precision.PRECISIONS)
def test_fifty_steps(name: str, kind: str) -> None:
    try:
        before, model = precision.train(name, kind, 50)
        assert precision.verdict(before, tensors(model)) == "yes"
    except ValueError as refused:
        assert kind == "bf16-true" and "needs weights in float32" in str(refused)


def test_penalties_refuse_weights_in_half_precision(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match="needs weights in float32.*use bf16-mixed"):
        precision.train("WGANGP", "bf16-true", 1)
    monkeypatch.setattr(sys, "argv", ["precision.py", "--only", "WGANGP", "--steps", "1"])
    assert precision.main() == 0
    assert "| WGANGP | yes | yes | yes | refused | float32 |" in capsys.readouterr().out
    monkeypatch.setattr(precision, "verdict", lambda *_: "not finite")
    assert precision.main() == 1
