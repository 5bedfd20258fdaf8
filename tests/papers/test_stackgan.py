"""StackGAN (arXiv:1612.03242): its stages, what its discriminators are shown, its texts, and what they draw."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import (
    CAPTIONED_SHAPE,
    NoisyCaptions,
    assert_same,
    draw,
    gap,
    quiet,
    sgd,
    shapes_alone,
    tensors,
    text_to_image,
    trained,
    within_turn,
    without_batch_norm,
)
from lightning.pytorch import Callback, Trainer
from PIL import Image, ImageSequence
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from gan_lightning import losses, networks, sample
from gan_lightning.batches import Captioned
from gan_lightning.core import ImageStep
from gan_lightning.data import CaptionedShapes
from gan_lightning.loading import load_model
from gan_lightning.metrics import to_uint8
from gan_lightning.models import StackGAN
from gan_lightning.networks import stackgan, text_encoders
from gan_lightning.noise import truncated_normal
from gan_lightning.optim import PaperAdam
from gan_lightning.text import SPECIAL, tokens_of

DATA = NoisyCaptions()
WORDS = DATA.vocabulary
STAGE_1 = {"text_images": 0, "stage_1_images": 10**6}
STAGE_2 = {"text_images": 0, "stage_1_images": 0}


def batch(n: int = 6) -> Captioned:
    every = DATA.reference("train").__getitems__(list(range(n)))
    return every._replace(image=every.image.float() / 127.5 - 1)


def in_stage(stage: int, **more: Any) -> StackGAN:
    model = text_to_image({1: STAGE_1, 2: STAGE_2}[stage], **more)
    model.trainer = quiet()
    return model


class Moves(Callback):
    """Which tensors of the model each batch changed."""

    def __init__(self) -> None:
        self.before: dict[str, Tensor] = {}
        self.moved: list[set[str]] = []

    def on_train_batch_start(self, trainer: Trainer, model: StackGAN, *_: Any) -> None:
        self.before = tensors(model)

    def on_train_batch_end(self, trainer: Trainer, model: StackGAN, *_: Any) -> None:
        after = tensors(model)
        changed = {name for name in after if not torch.equal(after[name], self.before[name])}
        self.moved.append({name for name in changed if not name.startswith("averages.")})


def owners(names: set[str]) -> set[str]:
    parts = {"generator.first": "generator_1", "generator.second": "generator_2"}
    return {next((new for old, new in parts.items() if name.startswith(old)), name.split(".")[0]) for name in names}


# Stages


def test_each_phase_moves_its_own_players_and_nothing_else() -> None:
    """Stage I, its batch statistics included, and the text encoder stay as they are in Stage II."""
    model, moves = text_to_image(), Moves()
    trainer = trained(model, 5, NoisyCaptions(), callbacks=[moves], log_every_n_steps=1)
    assert trainer.global_step == 5
    first, second, third, fourth, last = ({n for n in names if n != "generator.stage"} for names in moves.moved)
    assert owners(first) == {"text_encoder", "image_encoder"}
    assert owners(second) == owners(third) == {"generator_1", "discriminator_1"}
    assert owners(fourth) == {"generator_1", "generator_2", "discriminator_2"}  # Stage I becomes its average
    assert owners(last) == {"generator_2", "discriminator_2"}
    assert any("running_mean" in name for name in third) and any("running_mean" in name for name in last)
    figures = trainer.callback_metrics
    told = {"loss", "accuracy_real", "accuracy_wrong", "accuracy_fake"}
    assert figures.keys() >= {f"discriminator_{stage}/{figure}" for stage in (1, 2) for figure in told}
    assert figures.keys() >= {"generator_1/kl", "generator_2/kl", "text_encoder/matching", "generator/deviation"}
    assert all(value.isfinite() for value in figures.values())


def test_an_encoder_is_trained_with_the_discriminator_of_stage_one() -> None:
    model, moves = text_to_image(text_images=0, stage_1_images=16), Moves()
    trained(model, 4, NoisyCaptions(), callbacks=[moves])
    assert [owners({n for n in names if n != "generator.stage"}) for names in moves.moved] == [
        *[{"generator_1", "discriminator_1", "text_encoder"}] * 2,
        {"generator_1", "generator_2", "discriminator_2"},
        {"generator_2", "discriminator_2"},
    ]
    assert set(model.players()) == {"generator_1", "discriminator_1", "generator_2", "discriminator_2"}


def test_generators_teach_the_encoder_nothing() -> None:
    """They would make captions mean what is easy to draw: it stands still where the discriminator does."""
    still = partial(torch.optim.SGD, lr=0.0)
    model = text_to_image(text_images=0, stage_1_images=16, discriminator_optimizer=still)
    before, drawn_before = tensors(model.text_encoder), tensors(model.generator)
    trained(model, 3, NoisyCaptions())
    assert_same(tensors(model.text_encoder), before)
    assert (
        gap(tensors(model.generator.first), {n[6:]: t for n, t in drawn_before.items() if n.startswith("first.")}) > 0
    )


@pytest.mark.parametrize("stage", [1, 2])
def test_each_loss_reaches_its_own_networks(stage: int) -> None:
    model = in_stage(stage)
    with within_turn(model):
        sum(model.generator_loss(batch()).values()).backward()
    own = model.generator.first if stage == 1 else model.generator.second
    other = model.generator.second if stage == 1 else model.generator.first
    assert all(p.grad is not None for p in own.parameters())
    assert all(p.grad is None for p in other.parameters())
    model.zero_grad()
    with within_turn(model):
        sum(model.discriminator_loss(batch()).values()).backward()
    assert all(p.grad is None for p in model.generator.parameters())
    assert all(p.grad is not None and p.grad.any() for p in model.text_encoder.gru.parameters())


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_run_resumes_in_and_between_its_phases(steps: int, tmp_path: Path) -> None:
    """The second phase begins with the second step, Stage II with the fourth."""

    def state(trainer: Trainer) -> list[Any]:
        return [trainer.lightning_module.state_dict(), [optimizer.state_dict() for optimizer in trainer.optimizers]]

    unbroken = state(trained(text_to_image(), 5, NoisyCaptions()))
    trained(text_to_image(), steps, NoisyCaptions()).save_checkpoint(tmp_path / "a.ckpt")
    resumed = trained(text_to_image(seed=1), 5, NoisyCaptions(), ckpt_path=tmp_path / "a.ckpt")
    assert_same(state(resumed), unbroken)


def test_stage_two_has_rates_and_moments_of_its_own() -> None:
    halved, tenth = (partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=gamma) for gamma in (0.5, 0.1))
    model = text_to_image(text_images=0, stage_1_images=24, step=ImageStep(scheduler=halved), stage_2_scheduler=tenth)
    trainer = trained(model, 5, NoisyCaptions())
    rates = {name: o.param_groups[0]["lr"] / 2e-4 for name, o in zip(model.players(), trainer.optimizers, strict=True)}
    first, second = pytest.approx(0.5**3), pytest.approx(0.1**2)
    assert rates == {n: first if n.endswith("1") else second for n in rates}
    counts = [{int(state["step"]) for state in optimizer.state.values()} for optimizer in trainer.optimizers]
    assert counts == [{3}, {3}, {2}, {2}]


def test_samples_are_of_the_first_stage_until_the_second_begins(tmp_path: Path) -> None:
    """Enlarged, each pixel repeated; from a checkpoint too."""
    for steps, repeated in ((3, True), (4, False)):
        trainer = trained(text_to_image(), steps, NoisyCaptions())
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        for model in (trainer.lightning_module, load_model(tmp_path / "a.ckpt")):
            image = model.sample(3)
            assert image.shape == (3, *CAPTIONED_SHAPE)
            assert torch.equal(image, image[:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3)) == repeated


def test_stage_two_learns_from_the_average_of_stage_one() -> None:
    """It is what samples are drawn by, and stays: several averages too."""
    fast = partial(PaperAdam, lr=0.05)
    step = ImageStep(ema_half_life=[100.0, 10.0], ema_rampup=None)
    model = text_to_image(text_images=0, stage_1_images=16, generator_optimizer=fast, step=step)
    trained(model, 2, NoisyCaptions())
    average, other = (tensors(one.network.first) for one in model.averages.values())
    assert gap(tensors(model.generator.first), average) > 0.01 < gap(other, average)
    model = text_to_image(text_images=0, stage_1_images=16, generator_optimizer=fast, step=step)
    trained(model, 4, NoisyCaptions())
    assert_same(tensors(model.generator.first), average)
    assert_same([tensors(one.network.first) for one in model.averages.values()], [average, other])


def test_stage_two_sees_what_stage_one_draws_in_evaluation() -> None:
    model, seen = in_stage(2), []
    model.generator.second.down.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    with within_turn(model):
        model.generator_loss(batch())
    with within_turn(model), torch.no_grad():
        z = model.latent(model.noise, 6)[:, :7]
        model.generator.first.eval()
        assert torch.equal(seen[0], model.generator.first(z, model.embed(batch().token)))
    assert not seen[0].requires_grad


def test_stage_two_may_have_a_batch_of_its_own() -> None:
    sizes = []

    class Sizes(Callback):
        def on_train_batch_start(self, trainer: Trainer, model: StackGAN, seen: Captioned, *_: Any) -> None:
            sizes.append(len(seen.image))

    trained(text_to_image(text_images=0, stage_2_batch=4), 4, NoisyCaptions(), callbacks=[Sizes()])
    assert sizes == [8, 8, 4, 4]
    model = text_to_image(stage_2_batch=5, step=ImageStep(micro_batches=2))
    with pytest.raises(ValueError, match="stage_2_batch: 5 images cannot be shared by 2"):
        trained(model, 1, NoisyCaptions())


# Losses


def test_divergence_is_a_mean_of_the_closed_form() -> None:
    mean, log_variance = draw(5, 7), draw(5, 7, seed=1)
    normal = torch.distributions.Normal(mean, (log_variance / 2).exp())
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(losses.divergence_from_normal(mean, log_variance), expected)
    assert losses.divergence_from_normal(torch.zeros(2, 3), torch.zeros(2, 3)) == 0


def test_nothing_stops_a_log_variance_from_coming_back() -> None:
    """A clamp would leave those beyond it without a gradient."""
    augmentation = stackgan.ConditioningAugmentation(3, 2)
    with torch.no_grad():
        augmentation.layers[0].weight.zero_()
        augmentation.layers[0].bias.copy_(torch.tensor([0.0, 0.0, -30.0, 12.0]))
    losses.divergence_from_normal(*augmentation.moments(torch.zeros(1, 3))).backward()
    gradient = augmentation.layers[0].bias.grad
    assert gradient[2] < -0.2 and gradient[3] > 1e4


@pytest.mark.parametrize("activation", ["none", "leaky_relu", "relu"])
def test_conditions_are_drawn_around_the_text(activation: str) -> None:
    augmentation, text = stackgan.ConditioningAugmentation(3, 2, activation), draw(9, 3)
    linear = augmentation.layers[0](text)
    expected = {
        "none": linear,
        "leaky_relu": torch.where(linear > 0, linear, 0.2 * linear),
        "relu": linear.clamp(min=0),
    }
    mean, log_variance = augmentation.moments(text)
    assert_same((mean, log_variance), (expected[activation][:, :2], expected[activation][:, 2:]))
    epsilon = draw(9, 2, seed=1)
    torch.testing.assert_close(augmentation(text, epsilon), mean + log_variance.exp().sqrt() * epsilon)


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("unconditional", [False, True])
def test_losses_are_the_papers(stage: int, unconditional: bool) -> None:
    """Of scores that are computed again: without batch norm, all pairs in one pass each."""
    discriminator = partial(networks.StackGANDiscriminator, condition_dim=3, width=4, unconditional=unconditional)
    both = {"discriminator_1": discriminator, "discriminator_2": discriminator}
    model = without_batch_norm(in_stage(stage, kl_weight=3.0, **both))
    judge, given = (model.discriminator_1 if stage == 1 else model.discriminator_2), batch()
    image = F.avg_pool2d(given.image, 2) if stage == 1 else given.image
    text, wrong = model.text_encoder(given.token), model.text_encoder(given.wrong)
    with within_turn(model):
        z = model.latent(model.noise, 6)
        fake = model.generator.first(z[:, :7], text)
        fake = fake if stage == 1 else model.generator.second(z[:, 7:], fake, text)
    d = {"right": judge(image, text), "wrong": judge(image, wrong), "fake": judge(fake, text)}
    d = {pair: score.sigmoid() for pair, score in d.items()}
    if unconditional:
        alone = {
            "real": judge.alone(judge.features(image)).sigmoid(),
            "fake": judge.alone(judge.features(fake)).sigmoid(),
        }
        expected = -(d["right"].log().mean() + alone["real"].log().mean()) / 2
        expected -= (
            (1 - d["wrong"]).log().mean() + (1 - d["fake"]).log().mean() + (1 - alone["fake"]).log().mean()
        ) / 3
    else:
        expected = -d["right"].log().mean() - ((1 - d["wrong"]).log().mean() + (1 - d["fake"]).log().mean()) / 2
    with within_turn(model):
        torch.testing.assert_close(sum(model.discriminator_loss(given).values()), expected)

    own = model.generator.first if stage == 1 else model.generator.second
    mean, log_variance = own.augmentation.layers(text).chunk(2, 1)
    divergence = (mean**2 + log_variance.exp() - 1 - log_variance).mean() / 2
    expected = -d["fake"].log().mean() + 3.0 * divergence
    expected = expected - (alone["fake"].log().mean() if unconditional else 0.0)
    with within_turn(model):
        torch.testing.assert_close(sum(model.generator_loss(given).values()), expected)


def test_a_wrong_pair_is_a_real_image_with_the_wrong_caption() -> None:
    """The wrong captions count, and are others than the right ones."""
    model, given = in_stage(1), batch()
    assert (given.token != given.wrong).any(1).all()
    values = []
    for one in (given, given._replace(wrong=given.wrong.roll(1, 0)), given._replace(wrong=given.token)):
        with within_turn(model):
            terms = {name: term.item() for name, term in model.discriminator_loss(one).items()}
        values.append(terms)
    assert values[0]["wrong"] != values[1]["wrong"] != values[2]["wrong"]
    assert all(term["real"] == values[0]["real"] and term["fake"] == values[0]["fake"] for term in values)


def test_matching_is_the_hinge_over_all_wrong_pairs() -> None:
    image, text = draw(4, 3), draw(4, 3, seed=1)
    alike = torch.eye(4, dtype=torch.bool)
    alike[0, 2] = alike[2, 0] = True  # two captions that say the same
    expected = 0.0
    for i in range(4):
        for j in range(4):
            if not alike[i, j]:
                right, others_text = image[i] @ text[i], image[i] @ text[j]
                expected += max(0.0, 1 + float(others_text - right))
                expected += max(0.0, 1 + float(image[j] @ text[i] - right))
    assert float(losses.structural_matching(image, text, alike)) == pytest.approx(expected / 16, rel=1e-5)


def test_matching_compares_the_whole_batch_and_passes_over_equal_captions() -> None:
    model, given = text_to_image(), batch()  # three captions, each twice
    model.trainer = quiet()
    with within_turn(model):
        (value,) = model.matching_loss(given).values()
        image = model.image_encoder(F.avg_pool2d(given.image, 2))
    colour = torch.arange(6) % 3
    alike = colour[:, None] == colour
    assert value.item() == pytest.approx(losses.structural_matching(image, model.embed(given.token), alike).item())


@pytest.mark.parametrize("options", [{}, {"text_images": 0}])
def test_micro_batches_equal_the_whole_batch(options: dict[str, Any]) -> None:
    runs = []
    for count in (1, 2):
        step = ImageStep(micro_batches=count)
        model = without_batch_norm(text_to_image(options, sgd(1e-2), step=step))
        trained(model, 4, NoisyCaptions(), precision="64-true")
        runs.append(tensors(model))
    assert gap(runs[1], runs[0]) <= 1e-9


# Networks


def outputs(network: nn.Module, *inputs: Tensor) -> list[tuple[int, ...]]:
    """The shapes (channels, h, w) that a network's layers give, one after another."""
    found: list[tuple[int, ...]] = []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda module, inputs, output: found.append(tuple(output.shape[1:])))
    network(*inputs)
    return found


def test_default_networks_are_the_papers() -> None:
    """64 px, then 256 px; the first stage from 1024 channels at 4 px to 64; discriminators down to 512 at 4 px."""
    with shapes_alone():
        model = StackGAN((3, 256, 256), [*SPECIAL, "a"], 5)
        text = torch.empty(2, model.text_encoder.dim)
        first, second = model.generator.first, model.generator.second
        assert first.latent_dim == 100 + 128 and model.generator.latent_dim == 100 + 2 * 128
        sketch = outputs(first, torch.empty(2, 228), text)
        assert sketch == [(512, 8, 8), (256, 16, 16), (128, 32, 32), (64, 64, 64), (3, 64, 64)]
        large = outputs(second, torch.empty(2, 128), torch.empty(2, 3, 64, 64), text)
        assert large[:3] == [(128, 64, 64), (256, 32, 32), (512, 16, 16)]
        assert large[3:12] == [(512, 16, 16)] * 9  # the joint layer and four residual blocks
        assert large[12:] == [(256, 32, 32), (128, 64, 64), (64, 128, 128), (32, 256, 256), (3, 256, 256)]
        assert second.joint[0].in_channels == 512 + 128
        small = outputs(model.discriminator_1, torch.empty(2, 3, 64, 64), text)
        assert small == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 4, 4), (1, 1, 1)]
        fine = outputs(model.discriminator_2, torch.empty(2, 3, 256, 256), text)
        assert fine[5:] == [(2048, 4, 4), (1024, 4, 4), (512, 4, 4), (512, 4, 4), (1, 1, 1)]
    for judge in (model.discriminator_1, model.discriminator_2):
        assert judge.joint[0].in_channels == 512 + 128 and judge.joint[0].kernel_size == (1, 1)
        assert judge.text[0].out_features == 128


def test_batch_norm_has_torchs_epsilon() -> None:
    """Not the 0.8 of copied code."""
    norms = [m for m in text_to_image().modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms and all(norm.eps == 1e-5 for norm in norms)


@pytest.mark.parametrize(("sides", "stage_1_side"), [((32, 32), 8), ((28, 28), 28 // 7 * 7 // 2), ((32, 48), 16)])
def test_networks_build_for_other_sizes(sides: tuple[int, int], stage_1_side: int) -> None:
    if stage_1_side % 4:
        with pytest.raises(ValueError, match="stage_1_side must be a multiple of 4"):
            text_to_image(image_shape=(1, *sides), stage_1_side=stage_1_side)
        return
    model = text_to_image(image_shape=(1, *sides), stage_1_side=stage_1_side)
    model.generator.stage.fill_(2)
    text = draw(2, 6)
    assert model.generator(draw(2, model.generator.latent_dim), text).shape == (2, 1, *sides)
    small = model.reduced(draw(2, 1, *sides))
    assert model.discriminator_1(small, text).shape == model.discriminator_2(draw(2, 1, *sides), text).shape == (2,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabulary": None}, "needs images with captions, such as CaptionedShapes"),
        ({"stage_1_side": 6}, "Stage II cannot make 16x16 images of 6 px"),
        ({"stage_1_side": 16}, "Stage II cannot make 16x16 images of 16 px"),
        ({"kl_weight": -1.0}, "are not negative"),
        ({"stage_2_batch": 0}, "a batch has an image"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        text_to_image(options)


# Text encoders


def test_a_gru_reads_up_to_the_last_word() -> None:
    """As torch's own packed sequences do; what the padding's embedding is does not matter."""
    encoder = networks.GRUEncoder(WORDS, 4, embedding=5, dim=3)
    token = tokens_of(["a red one", "blue", "a a a a"], WORDS, 4)
    packed = pack_padded_sequence(
        encoder.embedding(token), torch.tensor([3, 1, 4]), batch_first=True, enforce_sorted=False
    )
    torch.testing.assert_close(encoder(token), F.layer_norm(encoder.gru(packed)[1][0], (3,)))
    before = encoder(token)
    with torch.no_grad():
        encoder.embedding.weight[0] += 1
    assert torch.equal(encoder(token), before)
    assert encoder(torch.zeros(1, 4, dtype=torch.int64)).isfinite().all()


@pytest.mark.parametrize("unit", ["word", "character"])
def test_a_character_network_spells_captions_out(unit: str) -> None:
    """Words with a space between them, however short; characters as they are."""
    caption = "a red one"
    vocabulary = [*SPECIAL, " ", *sorted(set(caption) - {" "}), "é"] if unit == "character" else [*WORDS, "é"]
    token = tokens_of([caption, "one é"], vocabulary, 12)
    encoder = networks.CharCNNRNN(vocabulary, 12, characters=48, widths=(4, 5, 6), dim=3)
    places = encoder.spelled(token)
    assert places.shape == (2, 48)
    spelled = ["".join(text_encoders.ALPHABET[place] if place >= 0 else "?" for place in row) for row in places]
    assert [row[: len(expected)] for row, expected in zip(spelled, ("a red one", "one ?"), strict=True)] == [
        "a red one",
        "one ?",
    ]
    assert set(spelled[0][10:]) == {"?"} and encoder(token).shape == (2, 3)


def test_the_character_network_is_the_authors() -> None:
    """201 characters, 384, 512 and 256 channels; 18 steps of the recurrent network; 1024 numbers."""
    encoder = networks.CharCNNRNN(WORDS, 4)
    seen = []
    encoder.gru.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
    assert encoder(tokens_of(["a red one"], WORDS, 4)).shape == (1, 1024)
    assert seen == [(1, 18, 256)]
    convolutions = [layer for layer in encoder.convolutions if isinstance(layer, nn.Conv1d)]
    assert [(c.out_channels, c.kernel_size) for c in convolutions] == [(384, (4,)), (512, (4,)), (256, (4,))]
    with pytest.raises(ValueError, match="at least 48 characters, not 47"):
        networks.CharCNNRNN(WORDS, 4, characters=47)
    assert networks.CharCNNRNN(WORDS, 4, characters=48, widths=[2, 2, 2])(torch.ones(1, 4, dtype=torch.int64)).any()


def test_matching_teaches_captions() -> None:
    """In a few steps of its phase each caption is nearer to images of its colour than the two others are."""
    fast = partial(PaperAdam, lr=1e-2, beta1=0.9)
    model = text_to_image(text_images=10**6, text_optimizer=fast, stage_1_side=8)
    trained(model, 40, NoisyCaptions())
    every = batch(32)
    model.eval()
    with torch.no_grad():
        score = model.image_encoder(model.reduced(every.image)) @ model.embed(every.token[:3]).T
    assert (score.argmax(1) == torch.arange(32) % 3).float().mean() > 0.9


@pytest.mark.skipif(importlib.util.find_spec("transformers") is not None, reason="it is installed")
def test_without_transformers_a_line_says_how_to_install_it() -> None:
    with pytest.raises(ValueError, match=r'needs the package transformers: pip install "gan_lightning\[text\]"'):
        networks.PretrainedTextEncoder(WORDS, 4, name="any")


def test_a_pretrained_model_reads_the_sentence(tmp_path: Path) -> None:
    """A tiny one from a folder: the mean of its last layer over the words, frozen, whatever the padding."""
    transformers = pytest.importorskip("transformers")
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS[2:]]))
    transformers.BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    config = transformers.BertConfig(
        vocab_size=10, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    made = transformers.BertModel(config).eval()
    made.save_pretrained(tmp_path, safe_serialization=True)
    model = text_to_image(text_encoder=partial(networks.PretrainedTextEncoder, name=str(tmp_path)), text_images=0)
    token = tokens_of(["a red one", "blue"], WORDS, 4)
    expected = made(torch.tensor([[2, 9, 3]])).last_hidden_state.mean(1)  # [CLS] blue [SEP], without padding
    torch.testing.assert_close(model.embed(token)[1:], expected)
    before = tensors(model.text_encoder)
    trained(model, 2, NoisyCaptions()).save_checkpoint(tmp_path / "a.ckpt")
    assert_same(tensors(model.text_encoder), before)
    assert_same(load_model(tmp_path / "a.ckpt").sample(2), model.sample(2))
    with pytest.raises(ValueError, match="does not learn: leave text_images at 0"):
        text_to_image(text_encoder=partial(networks.PretrainedTextEncoder, name=str(tmp_path)))
    with pytest.raises(ValueError, match="no language model 'nothing-such' on this machine"):
        networks.PretrainedTextEncoder(WORDS, 4, name="nothing-such")
    (tmp_path / "model.safetensors").unlink()
    torch.save(made.state_dict(), tmp_path / "pytorch_model.bin")  # a pickle
    with pytest.raises(ValueError, match="no language model"):
        networks.PretrainedTextEncoder(WORDS, 4, name=str(tmp_path))


# Samples


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, StackGAN]:
    """A checkpoint in Stage II, and its model in the precision that samples are made in."""
    path = tmp_path_factory.mktemp("stackgan") / "last.ckpt"
    model = text_to_image(STAGE_2)
    for layer in model.modules():  # what it draws is seen to depend on texts and latents without long training
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_normal_(layer.weight)
    for stage in (model.generator.first, model.generator.second):
        stage.augmentation.layers[0].weight.data *= 10
    model.ema.network.load_state_dict(model.generator.state_dict())
    trained(model, 3, NoisyCaptions()).save_checkpoint(path)
    return str(path), load_model(path).double()


def test_a_sample_depends_on_its_number_alone(drawn: tuple[str, StackGAN]) -> None:
    _, model = drawn
    every = model.sample(7, seed=3)
    assert torch.equal(model.sample([5, 2], seed=3), every[[5, 2]])
    assert torch.equal(model.condition_of([4, 9, 10]), tokens_of(["a green one", "a red one", "a green one"], WORDS, 4))
    red = model.sample(7, seed=3, condition=model.condition_as("A red one!", 7))
    assert torch.equal(red[[0, 3, 6]], every[[0, 3, 6]]) and not torch.equal(red[1], every[1])
    embedded = model.mixable(model.condition_of([1]))
    assert torch.equal(model.generate(model.latents([1], 3), condition=embedded), every[1:2])


def test_truncation_draws_conditions_towards_their_mean(drawn: tuple[str, StackGAN]) -> None:
    _, model = drawn
    z = model.latents(range(50))
    assert z.shape == (50, 3 + 4 + 4)
    torch.testing.assert_close(model.truncate(z, 0.5), truncated_normal(z, 0.5))
    near = model.sample(6, truncation=1e-6, condition=model.condition_as("a red one", 6))
    assert near.std(0).max() < 1e-4 < model.sample(6, condition=model.condition_as("a red one", 6)).std(0).max()


def pixels(folder: Path) -> Tensor:
    files = sorted(folder.glob("[0-9]*.png"))
    return torch.stack([torch.frombuffer(bytearray(Image.open(file).tobytes()), dtype=torch.uint8) for file in files])


def rows(image: Tensor) -> Tensor:
    return to_uint8(image).movedim(1, 3).flatten(1)


def test_prompts_are_drawn_from_the_checkpoint_alone(
    drawn: tuple[str, StackGAN], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    checkpoint, model = drawn
    sample.main([checkpoint, "--prompt", "A blue one.", "--n", "3", "--out", str(tmp_path / "one")])
    blue = model.sample(3, condition=model.condition_as("a blue one", 3))
    assert torch.equal(pixels(tmp_path / "one"), rows(blue))
    (tmp_path / "prompts.txt").write_text("a red one\n\na blue one\n", encoding="utf-8-sig")
    film = tmp_path / "walk.gif"
    prompts = [checkpoint, "--prompts", str(tmp_path / "prompts.txt"), "--n", "3", "--batch_size", "2", "--grid"]
    sample.main([*prompts, "--out", str(tmp_path / "two"), "--walk", str(film), "--seconds", "0.16"])
    red = model.sample(3, condition=model.condition_as("a red one", 3))
    assert torch.equal(pixels(tmp_path / "two"), rows(torch.cat([red, blue])))
    assert (rows(red).int() - rows(blue).int()).abs().float().mean() > 16
    assert "3 images of each prompt of StackGAN" in capsys.readouterr().out
    with Image.open(tmp_path / "two" / "sheets" / "grid.png") as grid:
        assert grid.size == (3 * 18 + 2, 2 * 18 + 2)  # a row a prompt
    walked = model.embed(model.tokens_of(["a red one", "a blue one"]))
    with Image.open(film) as frames:  # red, half-way, blue, half-way; each 3 pictures in a square of 2x2
        shown = [frame.convert("RGB").copy() for frame in ImageSequence.Iterator(frames)]
    assert len(shown) == 4
    for frame, share in zip(shown, (0.0, 0.5, 1.0, 0.5), strict=True):
        text = ((1 - share) * walked[0] + share * walked[1]).expand(3, -1)
        expected = to_uint8(model.generate(model.latents(range(3)), condition=text))[0].movedim(0, 2)
        found = torch.frombuffer(bytearray(frame.crop((2, 2, 18, 18)).tobytes()), dtype=torch.uint8).view(16, 16, 3)
        assert (found.int() - expected.int()).abs().float().mean() < 8  # of a palette of 256 colours


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--prompt", "a gren one"], "have no word 'gren', did you mean 'green'?"),
        (["--prompt", "a purple xyz"], "have no word 'purple'; 'xyz'"),
        (["--prompt", "a a a a a"], "has 5 words: the model reads 1 to 4"),
        (["--prompt", "!"], "has 0 words"),
        (["--prompts", "nowhere.txt"], "there is no file nowhere.txt: give --prompts a text file"),
        (["--prompts", "empty.txt"], "--prompts empty.txt is empty: write a prompt on each line"),
        (["--prompt", "a", "--prompts", "empty.txt"], "not allowed with"),
        (["--label", "1"], "unknown argument '--label': StackGAN does not take it"),
    ],
)
def test_bad_prompts_are_answered_in_a_line(
    flags: list[str], message: str, drawn: tuple[str, StackGAN], tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(SystemExit) as ended:
        sample.main([drawn[0], *flags, "--out", "drawn"])
    error = capsys.readouterr().err.strip()
    assert ended.value.code == 2 and message in error and len(error.splitlines()) == 1
    assert not (tmp_path / "drawn").exists()


def test_a_model_without_captions_says_so() -> None:
    with pytest.raises(ValueError, match="holds no captions: give its samples a condition"):
        text_to_image().sample(2)
    assert text_to_image().sample(2, condition=torch.ones(2, 4, dtype=torch.int64)).shape == (2, *CAPTIONED_SHAPE)


def test_captions_of_the_data_are_kept() -> None:
    """Those that the data module of drawn scenes has, as text."""
    data = CaptionedShapes(n=8, size=16, batch_size=8)
    facts = {"image_shape": data.image_shape, "vocabulary": data.vocabulary, "length": data.length}
    model = text_to_image(facts)
    trained(model, 2, data)
    assert model.trained_on["captions"] == data.reference("val").captions[:1000]
    assert torch.equal(model.condition_of([3]), data.reference("val").__getitems__([3]).token)
