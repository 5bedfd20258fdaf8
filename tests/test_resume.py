"""A run that goes on under other settings: what is said wins where it can, what cannot change is refused."""

from __future__ import annotations

import copy
import csv
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import (
    GAMES,
    GANS,
    SMALL_GAN,
    TRANSLATORS,
    Noisy,
    NoisyBatches,
    NoisyCaptions,
    adam,
    assert_same,
    both,
    game,
    plain_networks,
    played,
    sgd,
    tensors,
    text_to_image,
    tiny,
    trained,
    translator,
)
from lightning.pytorch import Callback, Trainer
from PIL import Image
from test_core import state_of
from torch.optim import lr_scheduler

from gan_lightning import fit, models, optim
from gan_lightning.augment import ADA, DiffAugment
from gan_lightning.batches import Labeled
from gan_lightning.callbacks import Checkpoint
from gan_lightning.cli import fit_cli
from gan_lightning.core import AdversarialModule, ImageStep, TwoPlayerGAN, resume
from gan_lightning.data import ImplicitFeedback, TextLines
from gan_lightning.data.base import Data, ImageData
from gan_lightning.data.sets import InMemory, Split

QUIET = ["--trainer.logger=false", "--trainer.enable_progress_bar=false"]


class Rates(Callback):
    """Notes, for every batch, the rates and betas that it was trained with."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []
        self.betas: list[Any] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])
        self.betas.append(optimizer.param_groups[0].get("betas"))


def gan(*options: dict[str, Any], seed: int = 0, **more: Any) -> TwoPlayerGAN:
    return tiny("GAN", plain_networks(), *options, seed=seed, **more)


def on(path: Path, model: AdversarialModule, steps: int, data: Any = None, **options: Any) -> Rates:
    """The rates of a run that goes on from a file."""
    rates = Rates()
    trained(model, steps, data, ckpt_path=path, callbacks=[rates], **options)
    return rates


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a run of 4 steps under a schedule that ends at 8."""
    path = tmp_path_factory.mktemp("begun") / "a.ckpt"
    trained(gan(adam(), step=ImageStep(scheduler=partial(optim.LinearDecay, end=8))), 4).save_checkpoint(path)
    return path


# What wins.


def test_a_new_rate_and_new_betas_win(begun: Path) -> None:
    fresh = both(partial(optim.PaperAdam, lr=1e-3, beta1=0.25, beta2=0.75))
    rates = on(begun, gan(fresh, step=ImageStep(scheduler=partial(optim.LinearDecay, end=8))), 6)
    assert rates.rates == pytest.approx([1e-3 * 4 / 8] * 2 + [1e-3 * 3 / 8] * 2)
    assert rates.betas == [(0.25, 0.75)] * 4


@pytest.mark.parametrize(
    ("schedule", "shares"),
    {  # of the rate, in steps 4 and 5
        "extended": (partial(optim.LinearDecay, end=16), [12 / 16, 11 / 16]),
        "shortened": (partial(optim.LinearDecay, end=5), [1 / 5, 0.0]),
        "another": (partial(optim.CosineDecay, end=8), [0.5, 0.3086583]),  # (1 + cos(5 pi / 8)) / 2
        "without a closed form": (partial(lr_scheduler.MultiplicativeLR, lr_lambda=lambda _: 0.5), [1 / 16, 1 / 32]),
        "none": (None, [1.0, 1.0]),
    }.values(),
)  # fmt: skip
def test_another_schedule_counts_from_the_beginning_of_the_run(begun: Path, schedule: Any, shares: list[float]) -> None:
    model = gan(adam())
    if schedule is not None:  # one with a function in it has no plain form: it is handed to the players
        model = gan(adam(), step=ImageStep(scheduler=partial(optim.LinearDecay, end=99)))
        model.step = ImageStep(scheduler=schedule)
    assert on(begun, model, 6).rates == pytest.approx([1e-2 * share for share in shares for _ in range(2)], abs=1e-9)


def test_a_schedule_that_begins_later_counts_generator_steps(tmp_path: Path) -> None:
    """With two critic turns to a step, and none in the file."""
    trained(gan(adam(), n_critic=2), 4).save_checkpoint(tmp_path / "a.ckpt")
    model = gan(adam(), n_critic=2, step=ImageStep(scheduler=partial(optim.LinearDecay, end=8)))
    critic, share = 2, [4 / 8, 3 / 8]
    expected = [1e-2 * s for s in share for _ in range(critic + 1)]
    assert on(tmp_path / "a.ckpt", model, 6).rates == pytest.approx(expected)


def test_adam_in_another_form_goes_on(begun: Path) -> None:
    """The file is of the fused form; the loop computes the same to rounding."""
    loop = both(partial(optim.PaperAdam, lr=1e-2, beta1=0.5, beta2=0.9, fused=False))
    unbroken = gan(adam(), step=ImageStep(scheduler=partial(optim.LinearDecay, end=8)))
    resumed = gan(loop, step=ImageStep(scheduler=partial(optim.LinearDecay, end=8)), seed=1)
    assert [o.param_groups[0]["fused"] for o in trained(unbroken, 6).optimizers] == [True, True]
    trainer = trained(resumed, 6, ckpt_path=begun)
    assert [o.param_groups[0]["fused"] for o in trainer.optimizers] == [False, False]
    torch.testing.assert_close(tensors(resumed), tensors(unbroken), rtol=1e-4, atol=1e-5)
    settings = torch.load(begun, weights_only=True)["hyper_parameters"]["generator_optimizer"]["init_args"]
    assert settings == {"lr": 1e-2, "beta1": 0.5, "beta2": 0.9, "eps": 1e-8, "weight_decay": 0.0, "fused": None}


def test_what_is_said_again_goes_on_bit_for_bit(begun: Path, tmp_path: Path) -> None:
    def model() -> TwoPlayerGAN:
        return gan(adam(), step=ImageStep(scheduler=partial(optim.LinearDecay, end=8)))

    unbroken, resumed = model(), gan(adam(), step=ImageStep(scheduler=partial(optim.LinearDecay, end=8)), seed=1)
    trained(unbroken, 6)
    on(begun, resumed, 6)
    assert all(torch.equal(a, b) for a, b in zip(tensors(unbroken).values(), tensors(resumed).values(), strict=True))


def test_a_run_from_the_file_alone_equals_one_that_had_the_settings_from_the_beginning(tmp_path: Path) -> None:
    """A schedule is extended that has not begun to decay: nothing of what was done before is another."""

    def model(end: int) -> TwoPlayerGAN:
        return gan(adam(), step=ImageStep(scheduler=partial(optim.LinearDecay, end=end, start=4)))

    unbroken = model(16)
    trained(unbroken, 8)
    trained(model(8), 4).save_checkpoint(tmp_path / "a.ckpt")
    on(tmp_path / "a.ckpt", resumed := model(16), 8)
    assert all(torch.equal(a, b) for a, b in zip(tensors(unbroken).values(), tensors(resumed).values(), strict=True))


def test_a_rate_that_a_callback_moved_stays_where_nothing_is_said(tmp_path: Path) -> None:
    class Moves(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            for optimizer in trainer.optimizers:
                optimizer.param_groups[0]["lr"] = 0.125

    trained(gan(sgd()), 2, callbacks=[Moves()]).save_checkpoint(tmp_path / "a.ckpt")
    assert on(tmp_path / "a.ckpt", gan(sgd()), 3).rates == [0.125, 0.125]
    assert on(tmp_path / "a.ckpt", gan(sgd(0.5)), 3).rates == [0.5, 0.5]


EVERY = {
    **{name: (partial(tiny, name), Noisy) for name in GANS},
    **{name: (partial(translator, name), partial(NoisyBatches, name)) for name in TRANSLATORS},
    **{name: (partial(game, name), partial(played, name)) for name in GAMES},
    "StackGAN": (text_to_image, NoisyCaptions),
}


class Stops(Callback):
    """Saves within the first epoch, at its last batch and after its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: Trainer, model: AdversarialModule, *_: Any) -> None:
        if trainer.current_epoch == 0 and (trainer.is_last_batch or model.iteration == 3):
            trainer.save_checkpoint(self.folder / f"{'last batch' if trainer.is_last_batch else 'within'}.ckpt")

    def on_train_epoch_end(self, trainer: Trainer, model: AdversarialModule) -> None:
        if trainer.current_epoch == 0:
            trainer.save_checkpoint(self.folder / "end.ckpt")


WORKERS = [
    pytest.param(name, 2, marks=[] if name == "SeqGAN" else pytest.mark.slow, id=f"{name}, workers") for name in EVERY
]


@pytest.mark.parametrize(("name", "workers"), [*(pytest.param(name, 0, id=name) for name in EVERY), *WORKERS])
def test_bar_08_every_model_goes_on_bit_for_bit(name: str, workers: int, tmp_path: Path) -> None:
    """Two epochs: weights, averages, pools, moments and schedules; image by image in the order of the whole run."""
    make, data_of = EVERY[name]

    def data() -> Data:
        made = data_of()
        made.num_workers = workers
        return made

    unbroken = state_of(trained(make(), -1, data(), max_epochs=2, callbacks=[Stops(tmp_path)]))
    stops = ["within"] if name == "SinGAN" else ["within", "last batch", "end"]  # SinGAN ends within its first epoch
    for stop in stops:
        resumed = trained(make(seed=1), -1, data(), max_epochs=2, ckpt_path=tmp_path / f"{stop}.ckpt")
        assert_same(state_of(resumed), unbroken, stop)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[AdversarialModule, Path]]:
    """Each model after a step, by name, and its checkpoint; trained once."""
    folder, made = tmp_path_factory.mktemp("saved"), {}

    def after_a_step(name: str) -> tuple[AdversarialModule, Path]:
        if name not in made:
            make, data = EVERY[name]
            made[name] = make()
            checkpoint = Checkpoint(str(folder / name))
            trained(made[name], 1, data(), callbacks=[checkpoint], enable_checkpointing=True)
        return made[name], folder / name / "last.ckpt"

    return after_a_step


def test_bar_16_every_checkpoint_is_read_where_nothing_is_trusted(saved: Callable) -> None:
    """By torch alone, in a process of its own that has never heard of this package."""
    paths = {name: str(saved(name)[1]) for name in EVERY}
    script = "import sys, torch; print(*(torch.load(path, weights_only=True)['global_step'] for path in sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", script, *paths.values()], capture_output=True, text=True, cwd="/")
    assert done.stdout.split() == ["1"] * len(EVERY), done.stderr


@pytest.mark.parametrize("name", EVERY)
def test_every_model_goes_on_with_new_rates(name: str, saved: Callable) -> None:
    """Without a step: what optimizers and schedules are restored from says what the arguments say."""
    make, _ = EVERY[name]
    made, path = saved(name)
    content = torch.load(path, weights_only=True)
    arguments = {n for n, described in content["hyper_parameters"].items() if described and n.endswith("optimizer")}
    slower = {n: partial(_kind(content["hyper_parameters"][n]), lr=0.015625) for n in arguments}
    model = make(**slower, step=replace(made.step, scheduler=partial(optim.LinearDecay, end=2)))
    model.trained_on = content["gan_lightning"]["trained_on"]
    resume.adapt(model, content)
    rates = [[group["lr"] for group in state["param_groups"]] for state in content["optimizer_states"]]
    for (name_of_player, player), found in zip(made.players().items(), rates, strict=True):
        steps = content["gan_lightning"]["turns"].get(name_of_player, 0) // player.turns_per_step
        share = 1 - steps / 2 if model.players()[name_of_player].scheduler else 1.0
        lazy = LAZY[name_of_player] if name == "StyleGAN2" else 1.0
        # BigBiGAN's encoder has a rate of its own, in a second group.
        assert found[0] == pytest.approx(0.015625 * share * lazy, rel=1e-12)


LAZY = {"generator": 4 / 5, "discriminator": 16 / 17}  # path lengths each 4 steps, R1 each 16: k / (k + 1)


def _kind(described: dict[str, Any]) -> type:
    kind = described["class_path"].rsplit(".", 1)[-1]
    return getattr(optim, kind, None) or getattr(torch.optim, kind)


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_another_precision_and_other_workers_go_on(begun: Path, precision: str) -> None:
    model = gan(adam(), step=ImageStep(scheduler=partial(optim.LinearDecay, end=8)))
    on(begun, model, 6, Noisy(num_workers=1), precision=precision)
    assert model.iteration == 6 and all(weight.isfinite().all() for weight in model.parameters())


def test_another_batch_size_goes_on_with_the_rest_of_the_epoch(tmp_path: Path) -> None:
    """A batch of 24, one of 16, three of 8 see each of 64 images once; the counters go on."""

    class Seen(Callback):
        def __init__(self) -> None:
            self.images: list[torch.Tensor] = []

        def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Labeled, batch_idx: int) -> None:
            self.images += list(batch.image)

    seen = Seen()
    trained(gan(), 1, Noisy(batch_size=24), callbacks=[seen]).save_checkpoint(tmp_path / "a.ckpt")
    on = {"callbacks": [seen], "ckpt_path": tmp_path / "a.ckpt"}
    trained(gan(), 2, Noisy(batch_size=16), **on).save_checkpoint(tmp_path / "a.ckpt")
    trained(model := gan(), 5, Noisy(batch_size=8), **on)  # 24 + 16 + 3 times 8: all 64
    assert len({image.numpy().tobytes() for image in seen.images}) == 64 == len(seen.images)
    assert (model.iteration, model.images_seen) == (5, 64)


# What cannot change.


class Other(ImageData):
    """Images of classes with names."""

    def __init__(self, classes: list[str], shape: tuple[int, int, int] = (1, 16, 16), seed: int = 0) -> None:
        super().__init__("Other", shape, len(classes), 16, 0)
        self.classes, self.draw = classes, seed

    def load(self, split: Split) -> InMemory:
        image = torch.randint(256, (32, *self.image_shape), generator=torch.Generator().manual_seed(self.draw)).byte()
        return InMemory(image, torch.arange(32) % len(self.classes))


def refused(path: Path, model: AdversarialModule, data: Any = None) -> str:
    with pytest.raises(ValueError) as caught:
        trained(model, 9, data, ckpt_path=path)
    message = str(caught.value)
    assert "\n" not in message and "begin anew" in message
    return message


def test_another_width_is_refused_with_both_values(begun: Path) -> None:
    message = refused(begun, tiny("GAN", plain_networks(width=20), adam()))
    assert "generator.width is 20, and 12; discriminator.width is 20, and 12 in the checkpoint" in message
    assert "scheduler" not in message


def test_another_optimizer_is_refused(begun: Path) -> None:
    message = refused(begun, gan(sgd()))
    assert "generator_optimizer is SGD, and PaperAdam in the checkpoint" in message


def test_an_augmentation_is_refused_where_it_has_a_state_that_the_file_has_not(begun: Path) -> None:
    on(begun, model := gan(adam(), step=ImageStep(augment=DiffAugment)), 5)
    assert model.iteration == 5
    message = refused(begun, gan(adam(), step=ImageStep(2, augment=ADA)))
    assert "step.augment is ADA, and null in the checkpoint, whose weights do not fit" in message
    assert "scheduler" not in message


def test_another_model_is_refused_where_its_weights_do_not_fit(begun: Path) -> None:
    assert "the model is DCGAN, and GAN; generator is" in refused(begun, tiny("DCGAN", adam()))
    on(begun, model := tiny("LSGAN", plain_networks(), adam()), 5)  # other losses of the same networks
    assert model.iteration == 5


@pytest.mark.parametrize(
    ("there", "here", "said"),
    [
        (["a", "b", "c"], ["b", "c", "d"], ['["b", "c", "d"]', '["a", "b", "c"]']),
        (["cat", "dog"], ["dog", "cat"], ["dog", "cat"]),
        ([f"{i}" for i in range(12)], sorted(f"{i}" for i in range(12)), ["number 2 is '10' and '2'"]),
    ],
)
def test_other_classes_are_refused_of_a_model_that_knows_classes(
    tmp_path: Path, there: list[str], here: list[str], said: list[str]
) -> None:
    def model() -> TwoPlayerGAN:
        return tiny("CGAN", num_classes=len(there))

    trained(model(), 1, Other(there)).save_checkpoint(tmp_path / "a.ckpt")
    message = refused(tmp_path / "a.ckpt", model(), Other(here))
    assert all(text in message for text in said) and "classes" in message
    trained(gan(), 1, Other(there)).save_checkpoint(tmp_path / "b.ckpt")
    trained(gan(), 2, Other(here), ckpt_path=tmp_path / "b.ckpt")  # which knows none


def test_another_number_of_classes_or_shape_is_refused(tmp_path: Path) -> None:
    trained(tiny("CGAN", num_classes=2), 1).save_checkpoint(tmp_path / "a.ckpt")
    message = refused(tmp_path / "a.ckpt", tiny("CGAN", num_classes=3))
    assert "differ in number of classes: 3 and 2:" in message
    wide = tiny("GAN", plain_networks(), image_shape=(1, 8, 8))
    trained(gan(), 1).save_checkpoint(tmp_path / "b.ckpt")
    assert "differ in image shape: [1, 8, 8] and [1, 16, 16]:" in refused(
        tmp_path / "b.ckpt", wide, Other(["a"], (1, 8, 8))
    )


def test_ratings_in_another_order_go_on_and_of_other_users_are_refused(tmp_path: Path) -> None:
    lines = [f"{user}\t{item}\t5\n" for user in range(20) for item in range(user % 5, 9)]
    others = [line.replace("12\t", "120\t", 1) if line.startswith("12\t") else line for line in lines]
    for name, text in {"one": lines, "turned": lines[::-1], "other": others}.items():
        (tmp_path / f"{name}.tsv").write_text("".join(text))

    def run(name: str) -> tuple[AdversarialModule, ImplicitFeedback]:
        data = ImplicitFeedback(str(tmp_path / f"{name}.tsv"), batch_size=4)
        torch.manual_seed(0)
        return models.IRGAN(users=data.users, items=data.items, num_features=None), data

    model, data = run("one")
    trained(model, 2, data).save_checkpoint(tmp_path / "a.ckpt")
    ends = []
    for name in ("one", "turned"):
        model, data = run(name)
        trained(model, 4, data, ckpt_path=tmp_path / "a.ckpt")
        ends.append(tensors(model))
    assert all(torch.equal(a, b) for a, b in zip(*(end.values() for end in ends), strict=True))
    assert "differ in users: number 12 is '13' and '12'" in refused(tmp_path / "a.ckpt", *run("other"))


def test_a_permuted_vocabulary_is_refused(tmp_path: Path) -> None:
    files = {"one": "a a a b b c\n" * 40, "other": "c c c b b a\n" * 40}
    for name, text in files.items():
        (tmp_path / f"{name}.txt").write_text(text + text.replace(" ", "  "))

    def run(name: str) -> tuple[AdversarialModule, TextLines]:
        data = TextLines(str(tmp_path / f"{name}.txt"), length=6, batch_size=8)
        return game("SeqGAN", vocabulary=data.vocabulary, length=6), data

    model, data = run("one")
    trained(model, 1, data).save_checkpoint(tmp_path / "a.ckpt")
    message = refused(tmp_path / "a.ckpt", *run("other"))
    assert "vocabulary" in message and '"c", "b", "a"' in message and '"a", "b", "c"' in message


def test_attributes_in_another_order_are_refused(tmp_path: Path) -> None:
    trained(translator("StarGAN"), 1, NoisyBatches("StarGAN")).save_checkpoint(tmp_path / "a.ckpt")
    other = translator("StarGAN", attributes=["Right", "Left"])
    message = refused(tmp_path / "a.ckpt", other, NoisyBatches("StarGAN"))
    assert 'differ in attributes: ["Right", "Left"] and ["Left", "Right"]:' in message


def test_other_examples_are_told(tmp_path: Path) -> None:
    trained(gan(), 1, Other(["a"])).save_checkpoint(tmp_path / "a.ckpt")
    with pytest.warns(
        UserWarning, match=r"training data is not what the checkpoint was trained on \(Other \w{12}, now"
    ):
        trained(gan(), 2, Other(["a"], seed=1), ckpt_path=tmp_path / "a.ckpt")


# The command.


def here(folder: Path, monkeypatch: pytest.MonkeyPatch, *args: str) -> None:
    monkeypatch.chdir(folder)
    fit.main([*args, *QUIET])


def newest(folder: Path) -> dict[str, Any]:
    path = max(folder.glob("*/*/last.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    return torch.load(path, weights_only=True)


def test_what_is_named_beside_a_checkpoint_wins_and_the_rest_is_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The data too: a model that is named again does not swap the run's pictures for the quick start's."""
    for number in range(20):
        for name in ("a", "b"):
            (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
            grey = torch.randint(256, (16, 16), generator=torch.Generator().manual_seed(number)).byte()
            Image.fromarray(grey.numpy()).save(tmp_path / "photos" / name / f"{number}.png")
    photos = ["--data=ImageFolder", "--data.root=photos", "--data.size=16", "--data.channels=1", "--data.num_workers=0"]
    here(tmp_path, monkeypatch, "--model=GAN", *SMALL_GAN[1:], *photos, "--trainer.max_steps=1", "--seed_everything=7")
    (path,) = tmp_path.glob("runs/*/*/last.ckpt")
    assert torch.load(path, weights_only=True)["gan_lightning"]["trained_on"]["classes"] == ["a", "b"]
    (tmp_path / "more.yaml").write_text("model:\n  class_path: GAN\n  init_args:\n    n_critic: 2\n")
    capsys.readouterr()
    said = ["--model.generator_optimizer.lr=0.5", "--data.batch_size=8", "--trainer.max_steps=3"]
    here(
        tmp_path,
        monkeypatch,
        f"--ckpt_path={path}",
        "--model=GAN",
        "--config=more.yaml",
        *said,
        "--trainer.default_root_dir=b",
    )
    told = capsys.readouterr().out
    content = newest(tmp_path / "b")
    assert content["gan_lightning"]["trained_on"]["name"].startswith("ImageFolder(")
    assert content["gan_lightning"]["seed"] == 7
    assert content["optimizer_states"][0]["param_groups"][0]["lr"] == 0.5
    assert content["gan_lightning"]["images_seen"] == 16 + 3 * 8  # batches 2 and 4 are the generator's
    bits = " (no longer bit for bit the run that it was)\n"
    for line in (
        "model.generator_optimizer.lr 0.0002 -> 0.5" + bits,
        "model.n_critic 1 -> 2" + bits,
        "data.batch_size 16 -> 8" + bits,
        "trainer.max_steps 1 -> 3\n",
        "trainer.default_root_dir runs -> b\n",
    ):
        assert f"changed on resume: {line}" in told
    assert told.count("changed on resume") == 5

    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        here(tmp_path, monkeypatch, f"--ckpt_path={path}", "--model.generator.width=8", "--trainer.default_root_dir=c")
    assert ended.value.code == 2
    assert "generator.width is 8, and 16 in the checkpoint" in capsys.readouterr().err
    assert not list(tmp_path.glob("c/*/*"))


def test_a_seed_that_is_named_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the whole command again adds no second callback."""
    again = ["--model=GAN", *SMALL_GAN, "--trainer.callbacks+=SampleGrid", "--trainer.callbacks.every_n_steps=7"]
    here(tmp_path, monkeypatch, *again, "--trainer.max_steps=1")
    here(tmp_path, monkeypatch, "--ckpt_path=last", "--seed_everything=5", "--trainer.max_steps=2")
    assert newest(tmp_path / "runs")["gan_lightning"]["seed"] == 5
    here(tmp_path, monkeypatch, *again, "--ckpt_path=last", "--trainer.max_steps=3")
    content = newest(tmp_path / "runs")
    assert content["gan_lightning"]["seed"] == 5
    assert content["config"].count("every_n_steps: 7") == 1


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_csv_has_each_step_once_and_every_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """A kill leaves rows behind that are of steps after the last checkpoint; they are written again."""
    logged = ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=elsewhere", "--trainer.log_every_n_steps=1"]
    schedule = ["--model.step.scheduler=LinearDecay", "--model.step.scheduler.end=4", "--model.n_critic=2"]
    monkeypatch.chdir(tmp_path)
    fit.main(["--model=GAN", *SMALL_GAN, *schedule, "--trainer.max_steps=3", *logged, QUIET[1]])
    (made,) = tmp_path.glob("runs/*/*")
    first = rows(made / "metrics.csv")
    shutil.copy(made / "last.ckpt", tmp_path / "kept.ckpt")
    fit.main(["--ckpt_path=last", "--trainer.max_steps=5", *logged, QUIET[1]])
    assert len(rows(made / "metrics.csv")) == 10
    shutil.copy(tmp_path / "kept.ckpt", made / "last.ckpt")  # as if the run had been killed after row 10
    with open(made / "metrics.csv", "a") as file:
        file.write("0.25,0.5")  # and within a row
    fit.main(["--ckpt_path=last", "--trainer.max_steps=6", "--data.batch_size=8", *logged, QUIET[1]])
    found = rows(made / "metrics.csv")
    assert found[:6] == [row | {name: "" for name in found[0].keys() - row.keys()} for row in first]
    assert [int(row["step"]) for row in found] == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6]
    images = [16 * n for n in range(1, 7)] + [96 + 8 * n for n in range(1, 7)]
    assert [float(row["images_seen"]) for row in found] == images
    # The rate of a batch's turns, of both players, whether they move or not.
    shares = [1, 1, 3 / 4, 3 / 4, 2 / 4, 2 / 4, 1 / 4, 1 / 4, 0, 0, 0, 0]
    for player in ("discriminator", "generator"):
        assert [float(row[f"{player}/learning_rate"]) for row in found] == pytest.approx([2e-4 * s for s in shares])
    assert not list(made.glob("*.part"))
    told = [str(warning.message).split(":")[0] for warning in recwarn if "nothing is learned" in str(warning.message)]
    assert told == [
        f"the schedule of the learning rates ends at generator step 4, the run at {last}" for last in (5, 6)
    ]


def test_a_row_is_there_as_soon_as_it_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning keeps a hundred of them in memory."""
    found: list[int] = []

    class Looks(Callback):
        def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
            path = Path(trainer.default_root_dir, "metrics.csv")
            found.append(len(rows(path)) if path.exists() else 0)

    monkeypatch.setattr(fit_cli, "Health", Looks)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    fit.main(["--model=GAN", *SMALL_GAN, "--trainer.max_steps=4", "--trainer.log_every_n_steps=2", QUIET[1]])
    assert found == [0, 0, 1, 1]


def test_a_rest_at_rate_zero_is_told_and_the_proposal_extends_the_schedule(
    begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    schedule = ["--model.step.scheduler=CosineDecay", "--model.step.scheduler.end=2"]
    here(tmp_path, monkeypatch, "--model=GAN", *SMALL_GAN, *schedule, "--trainer.max_steps=2")
    (proposed,) = [line for line in capsys.readouterr().out.splitlines() if "--ckpt_path" in line]
    assert proposed.split("gan_lightning.fit ")[1].split()[2:] == [
        "--trainer.max_steps",
        "4",
        "--model.step.scheduler.end",
        "4",
    ]
    before = newest(tmp_path / "runs")["state_dict"]
    here(tmp_path, monkeypatch, *proposed.split("gan_lightning.fit ")[1].split())
    after = newest(tmp_path / "runs")
    moved = [
        name
        for name in before
        if name.startswith("generator") and not torch.equal(before[name], after["state_dict"][name])
    ]
    assert moved and after["lr_schedulers"][0]["end"] == 4
    # Torch's schedules do not say where they end: the rate itself does.
    model = gan(
        both(partial(torch.optim.SGD, lr=0.1)),
        step=ImageStep(scheduler=partial(lr_scheduler.PolynomialLR, total_iters=3)),
    )
    with pytest.warns(UserWarning, match="learning rate of generator is 0 at generator step 3: .* nothing is learned"):
        trained(model, 5, log_every_n_steps=1)


# Settings by name.


def test_settings_are_compared_by_the_names_of_flags() -> None:
    before = {
        "model": {
            "class_path": "a.b.GAN",
            "init_args": {"generator": {"class_path": "x.Net", "init_args": {"width": 8, "depth": 2}}, "w": 1.0},
        }
    }
    now = {
        "model": {
            "class_path": "GAN",
            "init_args": {"generator": {"class_path": "y.Other", "init_args": {"width": 9}}, "w": 2.0, "new": None},
        }
    }
    found = resume.changes(before, now)
    assert found == {"model.generator": ("Net", "Other"), "model.w": (1.0, 2.0)}
    listed = [
        {"trainer": {"callbacks": [{"class_path": "FID", "init_args": {"n": n}}, *more]}}
        for n, more in ((1, []), (2, [{"class_path": "KID"}]))
    ]
    assert resume.changes(*listed) == {"trainer.callbacks.FID.n": (1, 2), "trainer.callbacks.KID": (None, "KID")}
    assert resume.changes({"a": (1, 2), "b": {}, "c": None}, {"a": [1, 2], "b": {}}) == {}
    assert resume.lines({"ckpt_path": (None, "x"), "trainer.max_steps": (1, None)}) == [
        "changed on resume: trainer.max_steps 1 -> null"
    ]


DAMAGED: dict[str, tuple] = {
    "no optimizers": (("optimizer_states",), 5),
    "optimizers without groups": (("optimizer_states", 0), {"param_groups": None, "state": {}}),
    "an optimizer of text": (("optimizer_states", 0, "state"), {0: "x"}),
    "loops": (("loops",), 3),
    "counters of loops": (("loops", "fit_loop", "epoch_loop.batch_progress"), {}),
    "callbacks": (("callbacks", "Health"), "x"),
    "seed": (("gan_lightning", "seed"), "x"),
    "iteration": (("gan_lightning", "iteration"), None),
    "class": (("gan_lightning", "class_path"), 5),
    "players": (("gan_lightning", "players"), ["x"]),
    "facts": (("gan_lightning", "trained_on"), {"classes": 5}),
    "arguments": (("hyper_parameters",), "x"),
    "a number for a name of a weight": (("state_dict", 3), torch.zeros(1)),
    "a weight too many": (("state_dict", "x"), torch.zeros(1)),
    "text for a weight": (("state_dict", "generator.layers.0.weight"), "x"),
    "version": (("pytorch-lightning_version",), "0.0.1"),
    "step": (("global_step",), "x"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the file of a run holds."""
    with pytest.MonkeyPatch.context() as patch:
        here(folder := tmp_path_factory.mktemp("whole"), patch, "--model=GAN", *SMALL_GAN, "--trainer.max_steps=1")
    return newest(folder / "runs")


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_part_is_one_line(
    what: str, whole: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (*way, last), value = DAMAGED[what]
    content = copy.deepcopy(whole)
    part = content
    for name in way:
        part = part[name]
    part[last] = value
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(SystemExit) as end:
        here(tmp_path, monkeypatch, "--ckpt_path=a.ckpt", "--trainer.max_steps=2")
    message = capsys.readouterr().err.splitlines()[-1]
    assert end.value.code == 2 and message.startswith("error: ")
    assert not list(tmp_path.rglob("last.ckpt"))


def test_no_file_sends_a_run_into_the_folder_of_another(begun: Path, tmp_path: Path) -> None:
    trained(gan(adam()), 1, callbacks=[Checkpoint(str(tmp_path))], enable_checkpointing=True)
    before = (tmp_path / "last.ckpt").read_bytes()
    model = gan(adam(), step=ImageStep(scheduler=partial(optim.LinearDecay, end=8)))
    with pytest.raises(ValueError, match="belongs to another run"):
        trained(model, 5, ckpt_path=begun, callbacks=[Checkpoint(str(tmp_path))], enable_checkpointing=True)
    assert (tmp_path / "last.ckpt").read_bytes() == before
