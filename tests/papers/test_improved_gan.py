"""Improved GAN (arXiv:1606.03498): each technique against a loop, a closed form or the whole batch in one piece."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import (
    SHAPE,
    Noisy,
    adam,
    assert_same,
    draw,
    gap,
    in_two_processes,
    plain_networks,
    quiet,
    sgd,
    tensors,
    trained,
    within_turn,
)
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.utils import parameters_to_vector, parametrizations, parametrize

from gan_lightning.batches import BatchIndex, Labeled, PartlyLabeled
from gan_lightning.core import ImageStep
from gan_lightning.data.base import ImageData
from gan_lightning.data.partly_labeled import PartlyLabeledDigits
from gan_lightning.losses.semi_supervised import semi_supervised_score
from gan_lightning.models.dcgan import DCGAN
from gan_lightning.models.improved_gan import ImprovedGAN
from gan_lightning.networks import DCGANDiscriminator, improved
from gan_lightning.networks.improved import (
    ImprovedDiscriminator,
    ImprovedGenerator,
    MinibatchDiscrimination,
    VirtualBatchNorm2d,
)
from gan_lightning.networks.semi_supervised import (
    SemiSupervisedDiscriminator,
    SemiSupervisedGenerator,
    WeightNormLinear,
)

CLASSES = 3


def exact(**options: Any) -> dict[str, Any]:
    """The paper's networks where a sample meets others through what `whole` shows alone: no common batch norm."""
    return {
        "generator": partial(ImprovedGenerator, latent_dim=6, width=4, reference=4),
        "discriminator": partial(ImprovedDiscriminator, width=4, minibatch_kernels=3, reference=4, **options),
    }


def improved_gan(*options: dict[str, Any], seed: int = 0, **more: Any) -> ImprovedGAN:
    torch.manual_seed(seed)
    arguments: dict[str, Any] = {"image_shape": SHAPE} | exact()
    for option in (*options, more):
        arguments |= option
    return ImprovedGAN(**arguments)


def terms_of(model: ImprovedGAN, player: str, batch: tuple) -> dict[str, Tensor]:
    model.trainer, model.iteration = quiet(), 1
    with within_turn(model):
        return getattr(model, f"{player}_loss")(batch)


def fake_of(model: ImprovedGAN, batch: tuple) -> Tensor:
    """The fakes that :func:`terms_of` sees."""
    model.trainer, model.iteration = quiet(), 1
    with within_turn(model), torch.no_grad():
        return model.fake_like(batch).image


def images(n: int, seed: int = 0) -> Tensor:
    return draw(n, *SHAPE, seed=seed).tanh()


def labeled(n: int) -> Labeled:
    return Labeled(images(n), torch.arange(n) % CLASSES)


# Minibatch discrimination


def in_a_loop(layer: MinibatchDiscrimination, features: Tensor) -> Tensor:
    t = layer.transform.unflatten(1, (layer.kernels, layer.dims))
    rows = []
    for i in range(len(features)):
        o = []
        for b in range(layer.kernels):
            closeness = torch.zeros((), dtype=features.dtype)
            for j in range(len(features)):
                if j != i:
                    closeness = closeness + torch.exp(-(features[i] @ t[:, b] - features[j] @ t[:, b]).abs().sum())
            o.append(closeness)
        rows.append(torch.cat([features[i], torch.stack(o)]))
    return torch.stack(rows)


@pytest.mark.parametrize("pairs", [1, 20, 10_000])  # that are compared at once, of 7 * 7
def test_minibatch_discrimination_is_a_triple_loop(pairs, monkeypatch):
    monkeypatch.setattr(improved, "PAIRS", pairs)
    layer = MinibatchDiscrimination(4, kernels=3, dims=2).double()
    layer.transform.data = draw(4, 6, seed=1).double()
    gradients = []
    for compute in (layer, partial(in_a_loop, layer)):
        features = draw(7, 4).double().requires_grad_()
        out = compute(features)
        assert out.shape == (7, 7)
        weights = draw(7, 7, seed=2).double()
        gradients.append((out.detach(), *torch.autograd.grad((weights * out).sum(), [features, layer.transform])))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_minibatch_discrimination_of_one_image_and_of_twins():
    layer = MinibatchDiscrimination(4, kernels=3)
    one = draw(1, 4)
    assert_same(layer(one)[0, 4:], torch.zeros(3))  # nobody else is there
    torch.testing.assert_close(layer(one.expand(5, 4))[:, 4:], torch.full((5, 3), 4.0))  # exp(0) for each other


def test_minibatch_discrimination_spares_memory():
    layer, features, kept = MinibatchDiscrimination(32), draw(256, 32).requires_grad_(), 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        out = layer(features)
    assert out.shape == (256, 132)
    assert kept < 256 * 256 * 100 * 5 * 4 / 4  # bytes of all pairs, of which no quarter is kept


def test_minibatch_discrimination_allows_second_derivatives(monkeypatch):
    """For a gradient penalty of a model that uses the discriminator."""
    monkeypatch.setattr(improved, "PAIRS", 8)
    layer = MinibatchDiscrimination(3, kernels=2, dims=2).double()
    assert torch.autograd.gradgradcheck(layer, draw(5, 3).double().requires_grad_())


@pytest.mark.parametrize("model", ["ImprovedGAN", "DCGAN"])
def test_scores_are_of_the_whole_batch_in_training_and_of_own_rows_in_evaluation(model):
    kind = {"ImprovedGAN": ImprovedGAN, "DCGAN": DCGAN}[model]
    torch.manual_seed(0)
    network = kind(SHAPE, **exact()).discriminator
    image = images(8)
    whole = network(image)
    assert whole.shape == (8,)
    network.eval()
    assert network(image[:3]).shape == (3,)
    assert (network(image)[:3] - network(image[:3])).abs().max() > 0  # fewer others


# Virtual batch norm


def test_virtual_batch_norm_is_a_loop():
    n, layer = 5, VirtualBatchNorm2d(2, reference=5, eps=1e-3).double()
    layer.weight.data, layer.bias.data = draw(2, seed=1).double(), draw(2, seed=2).double()
    x = 2 * draw(8, 2, 3, 3, seed=3).double() + 1
    expected = torch.empty_like(x)
    for c in range(2):
        mean, square = x[:n, c].mean(), x[:n, c].square().mean()
        for i in range(8):
            m, s = mean, square
            if i >= n:
                m = (n * mean + x[i, c].mean()) / (n + 1)
                s = (n * square + x[i, c].square().mean()) / (n + 1)
            expected[i, c] = layer.weight[c] * (x[i, c] - m) / (s - m**2 + 1e-3).sqrt() + layer.bias[c]
    torch.testing.assert_close(layer(x), expected)
    plain = F.batch_norm(x[:n], None, None, layer.weight, layer.bias, training=True, eps=1e-3)
    torch.testing.assert_close(layer(x)[:n], plain)


def test_virtual_batch_norm_sees_no_other_sample():
    """In a whole network, in training: generator and discriminator give a sample the same, whatever is beside it."""
    model = improved_gan(discriminator=partial(ImprovedDiscriminator, width=4, reference=4))
    generator, discriminator = model.generator, model.discriminator
    z, other = draw(3, 6), 5 * draw(4, 6, seed=1)
    discriminator(images(6, seed=9))  # the reference is taken
    for network, x, y in ((generator, z, other), (discriminator, images(3), 2 * images(4, seed=1))):
        alone = torch.cat([network(row[None]) for row in x])
        torch.testing.assert_close(network(torch.cat([x, y]))[:3], alone)
        network.eval()
        torch.testing.assert_close(network(x), alone)  # no second mode either
    common = ImprovedGenerator(SHAPE, latent_dim=6, width=4)
    assert (common(torch.cat([z, other]))[:3] - common(z)).abs().max() > 1e-4  # which common batch norm does not do


def test_reference_images_are_the_first_of_training_and_in_the_checkpoint():
    model, seen = improved_gan(), []

    class First(Callback):
        def on_train_batch_start(self, trainer: Trainer, model: ImprovedGAN, batch: Labeled, *_: Any) -> None:
            seen.append(batch.image[:4].clone())

    assert not model.discriminator.filled
    trained(model, 2, callbacks=[First()])
    assert len(seen) == 2
    assert_same(model.discriminator.reference, seen[0])
    state = model.state_dict()
    assert {"discriminator.reference", "discriminator.filled", "generator.reference"} <= state.keys()
    again = improved_gan(seed=1)
    again.load_state_dict(state)
    again.discriminator(images(8, seed=4))
    assert_same(again.discriminator.reference, seen[0])  # not taken anew


def test_reference_that_is_too_large_is_a_clear_error():
    network = ImprovedDiscriminator(SHAPE, width=4, reference=9)
    with pytest.raises(ValueError, match="9 reference images are asked for, and a part of the batch has 8"):
        network(images(8))


def test_generators_reference_is_fixed():
    model = improved_gan()
    before = model.generator.reference.clone()
    assert before.shape == (4, 6) and before.abs().max() <= 1
    trained(model, 2)
    assert_same(model.generator.reference, before)
    assert_same(model.ema.network.reference, before)


# The discriminator's other options


def test_options_of_the_discriminator():
    def has(kind: type, **options: Any) -> bool:
        return any(isinstance(layer, kind) for layer in ImprovedDiscriminator(SHAPE, width=4, **options).modules())

    assert has(nn.BatchNorm2d) and not has(nn.BatchNorm2d, batch_norm=False)
    assert has(VirtualBatchNorm2d, reference=2) and not has(nn.BatchNorm2d, reference=2)
    assert has(MinibatchDiscrimination, minibatch_kernels=2) and not has(MinibatchDiscrimination)
    network = ImprovedDiscriminator(SHAPE, width=4, weight_norm=True)
    layers = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    assert len(layers) == 3 and all(parametrize.is_parametrized(layer, "weight") for layer in layers)


def test_noise_is_of_training_alone_and_of_the_given_size():
    quiet_one, noisy = improved.GaussianNoise(0.0), improved.GaussianNoise(0.3)
    x = draw(100, 100)
    assert_same(quiet_one(x), x)
    assert (noisy(x) - x).std().item() == pytest.approx(0.3, rel=0.05)
    assert_same(noisy.eval()(x), x)
    network = ImprovedDiscriminator(SHAPE, width=4, batch_norm=False, noise=0.1)
    assert (network(images(4)) - network(images(4))).abs().max() > 0
    network.eval()
    assert_same(network(images(4)), network(images(4)))


# Losses


@pytest.mark.parametrize("target", [0.9, 1.0, 0.5])
def test_smoothing_is_one_sided(target):
    """Fakes' target stays 0: smoothing it too would teach the discriminator to defend wrong samples (section 3.4)."""
    model, batch = improved_gan(plain_networks(), real_target=target), labeled(8)
    real, fake = model.discriminator(batch.image), model.discriminator(fake_of(model, batch))
    terms = terms_of(model, "discriminator", batch)
    p, q = real.double().sigmoid(), fake.double().sigmoid()
    expected = -(target * p.log() + (1 - target) * (1 - p).log()).mean() - (1 - q).log().mean()
    torch.testing.assert_close(terms["adversarial"].double(), expected)
    assert terms.keys() == {"adversarial"}


def test_feature_matching_replaces_the_adversarial_loss():
    model, batch = improved_gan(feature_matching=True), labeled(8)
    real, fake = model.discriminator.features(batch.image), model.discriminator.features(fake_of(model, batch))
    terms = terms_of(model, "generator", batch)
    assert terms.keys() == {"feature_matching"}
    expected = sum((real[:, k].mean() - fake[:, k].mean()) ** 2 for k in range(real.shape[1]))
    torch.testing.assert_close(terms["feature_matching"], expected)
    assert terms_of(model, "discriminator", batch).keys() == {"adversarial"}
    with pytest.raises(ValueError, match="needs a discriminator with features"):
        improved_gan(feature_matching=True, discriminator=partial(DCGANDiscriminator, width=4))


def test_score_of_a_classifier_is_a_softmax_of_one_class_more():
    logits = 3 * draw(6, 4).double()
    p = F.softmax(torch.cat([logits, torch.zeros(6, 1, dtype=torch.float64)], 1), 1)  # the last class: generated
    score = semi_supervised_score(logits)
    z = logits.exp().sum(1)
    torch.testing.assert_close(score.sigmoid(), z / (z + 1))
    torch.testing.assert_close(score.sigmoid(), 1 - p[:, -1])
    shifted = torch.cat([logits, torch.zeros(6, 1, dtype=torch.float64)], 1) + draw(6, 1, seed=1)
    torch.testing.assert_close(F.softmax(shifted, 1), p)  # why one logit can be fixed


def semi_supervised(*options: dict[str, Any], **more: Any) -> ImprovedGAN:
    kind = {"num_classes": CLASSES, "semi_supervised": True, "feature_matching": True}
    return improved_gan(kind, *options, **more)


def test_semi_supervised_losses_are_those_of_the_explicit_softmax():
    kinds = {"discriminator": partial(ImprovedDiscriminator, width=4, batch_norm=False), "real_target": 1.0}
    model = semi_supervised(**kinds, unsupervised_weight=0.7)
    batch = PartlyLabeled(images(8), images(8, seed=1), torch.arange(8) % CLASSES)

    def probabilities(image: Tensor) -> Tensor:
        logits = model.discriminator(image).double()
        return F.softmax(torch.cat([logits, torch.zeros(len(image), 1)], 1), 1)

    terms = terms_of(model, "discriminator", batch)
    generated = [probabilities(image)[:, -1] for image in (batch.image, fake_of(model, batch))]
    expected = -(1 - generated[0]).log().mean() - generated[1].log().mean()
    torch.testing.assert_close(terms["adversarial"].double(), 0.5 * 0.7 * expected)
    p = probabilities(batch.labeled_image)
    known = p[torch.arange(8), batch.label] / p[:, :-1].sum(1)  # p(y | x, y < K + 1)
    torch.testing.assert_close(terms["supervised"].double(), -known.log().mean())
    assert terms_of(model, "generator", batch).keys() == {"feature_matching"}


def test_historical_averaging_is_the_distance_to_the_mean_of_all_values():
    weight, past = 0.3, {"discriminator": [], "generator": []}
    model = improved_gan(sgd(0.05), historical_weight=weight, n_critic=2)
    noted: dict[str, list[float]] = {"discriminator": [], "generator": []}
    turn = model.turn

    def watched(name: str, objective: Any, batch: tuple, **more: Any) -> None:
        past[name].append(parameters_to_vector(getattr(model, name).parameters()).detach().double())

        def noting(part: tuple) -> dict[str, Tensor]:
            terms = objective(part)
            noted[name].append(float(terms["historical"].detach()))
            return terms

        turn(name, noting, batch, **more)

    model.turn = watched
    trained(model, 3)
    assert [len(values) for values in past.values()] == [6, 3]
    for name, values in past.items():
        for t, (value, found) in enumerate(zip(values, noted[name], strict=True)):
            mean = torch.stack(values[: t + 1]).mean(0)
            expected = weight * float((value - mean).square().sum())
            assert found == pytest.approx(expected, rel=1e-3, abs=1e-9)
        assert noted[name][0] == 0 and noted[name][-1] > 0


def test_historical_averaging_survives_resume(tmp_path):
    def model(seed: int = 0) -> ImprovedGAN:
        return improved_gan(adam(), historical_weight=0.1, feature_matching=True, seed=seed)

    unbroken = model()
    trained(unbroken, 4)
    assert {"past_discriminator", "past_generator"} <= {name for name, _ in unbroken.named_buffers()}
    trained(model(), 2).save_checkpoint(tmp_path / "a.ckpt")
    resumed = model(seed=1)
    trained(resumed, 4, ckpt_path=tmp_path / "a.ckpt")
    assert_same(tensors(resumed), tensors(unbroken))


def test_without_history_there_is_none():
    assert not [name for name, _ in improved_gan().named_buffers() if "past" in name]


# Partly labelled data


@pytest.fixture(scope="module")
def digits() -> PartlyLabeledDigits:
    return PartlyLabeledDigits(size=16, labels=30, batch_size=64)


def test_labels_are_few_balanced_and_fixed(digits):
    rows = digits.labeled_rows()
    label = digits.reference("train").label[rows]
    assert len(set(rows.tolist())) == 30 and label.bincount().tolist() == [3] * 10
    assert rows.tolist() == PartlyLabeledDigits(size=16, labels=30).labeled_rows().tolist()
    other = PartlyLabeledDigits(size=16, labels=30, choice=1).labeled_rows()
    assert len(set(rows.tolist()) & set(other.tolist())) < 15


def test_labelled_images_are_drawn_by_key(digits):
    few = digits.labeled_rows()
    images_, images_again = digits.training_set(), digits.training_set()
    every = digits.reference("train")
    allowed = {(every.image[row].numpy().tobytes(), int(every.label[row])) for row in few}
    index = torch.randperm(len(every), generator=torch.Generator().manual_seed(0)).tolist()
    batch = images_.training_batch(BatchIndex(0, index))
    assert isinstance(batch, PartlyLabeled) and torch.equal(batch.image, every.image[index])
    pairs = [(image.numpy().tobytes(), int(k)) for image, k in zip(batch.labeled_image, batch.label, strict=True)]
    assert set(pairs) == allowed  # all of the few, each with its own label, and no others
    assert_same(images_again.training_batch(BatchIndex(0, index)), batch)
    parts = BatchIndex(0, index[:700]), BatchIndex(0, index[700:], list(range(700, len(index))))  # two processes
    halves = [images_.training_batch(part) for part in parts]
    assert_same(PartlyLabeled(*map(torch.cat, zip(*halves, strict=True))), batch)
    anew = images_.training_batch(BatchIndex(1, index))  # in each epoch
    assert (anew.label != batch.label).float().mean() > 0.8
    rounds = [[image.tobytes() for image in part.numpy()] for part in batch.labeled_image.split(30)]
    assert all(len(set(part)) == len(part) for part in rounds)  # each of the few once, before any comes again
    assert rounds[0] != rounds[1] and len(set(rounds[0])) == 30


def test_seed_changes_the_draws(digits, monkeypatch):
    index = list(range(200))
    first = digits.training_set().training_batch(BatchIndex(0, index)).label
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    assert (digits.training_set().training_batch(BatchIndex(0, index)).label != first).float().mean() > 0.8


def test_loader_gives_the_same_batches_in_workers(digits):
    alone, worker = (PartlyLabeledDigits(size=16, labels=30, num_workers=n).train_dataloader() for n in (0, 1))
    for index, (ours, theirs) in enumerate(zip(alone, worker, strict=True)):
        assert isinstance(ours, PartlyLabeled) and isinstance(theirs, PartlyLabeled)
        assert_same(theirs, ours)
        if index == 3:
            break
    worker.close()


def test_resume_draws_what_the_unbroken_run_drew(digits, tmp_path):
    class Seen(Callback):
        def __init__(self) -> None:
            self.batches: list[PartlyLabeled] = []

        def on_train_batch_start(self, trainer: Trainer, model: ImprovedGAN, batch: PartlyLabeled, *_: Any) -> None:
            self.batches.append(batch)

    def model() -> ImprovedGAN:
        return semi_supervised(num_classes=10)

    unbroken, resumed = Seen(), Seen()
    trained(model(), 4, digits, callbacks=[unbroken])
    trained(model(), 2, digits).save_checkpoint(tmp_path / "a.ckpt")
    trained(model(), 4, digits, callbacks=[resumed], ckpt_path=tmp_path / "a.ckpt")
    assert len(unbroken.batches) == 4 and len(resumed.batches) == 2
    assert_same(resumed.batches, unbroken.batches[2:])
    assert unbroken.batches[0].labeled_image.min() == -1 and unbroken.batches[0].labeled_image.max() == 1


def test_labels_that_cannot_be_shared_out_are_a_clear_error():
    with pytest.raises(ValueError, match="must be a multiple of the 10 classes"):
        PartlyLabeledDigits(labels=25)
    with pytest.raises(ValueError, match="fewer than 1000 images"):
        PartlyLabeledDigits(size=16, labels=10_000).training_set()


def test_data_of_the_other_kind_is_a_clear_error(digits):
    for model, data, message in (
        (semi_supervised(), Noisy(), "semi_supervised needs data of which a part is labelled"),
        (improved_gan(num_classes=10), digits, "these data are partly labelled"),
    ):
        with pytest.raises(ValueError, match=message):
            trained(model, 1, data)
        assert not model.begun  # so that `fit` says it in a line
    with pytest.raises(ValueError, match="needs data with classes"):
        improved_gan(semi_supervised=True)


def test_validation_shows_the_errors_of_averaged_and_of_trained_weights(digits):
    own = {"discriminator": partial(SemiSupervisedDiscriminator, width=16), "generator": improved_generator}
    model = semi_supervised(adam(0.05), num_classes=10, **own, step=ImageStep(ema_half_life=2000.0, ema_rampup=None))
    options = {"limit_val_batches": 1.0, "check_val_every_n_epoch": None, "val_check_interval": 2}
    trainer = trained(model, 4, digits, num_sanity_val_steps=0, **options)
    val = digits.reference("val")
    batch = digits.on_after_batch_transfer(val.__getitems__(list(range(len(val)))), 0)
    model.eval()
    networks = {"error": model.averages["discriminator"].network, "error_live": model.discriminator}
    with torch.no_grad():
        classes = {name: network(batch.image).argmax(1) for name, network in networks.items()}
    wrong = {name: float((found != batch.label).double().mean()) for name, found in classes.items()}
    assert wrong["error"] != wrong["error_live"]
    for name, expected in wrong.items():
        assert float(trainer.callback_metrics[f"validation/{name}"]) == pytest.approx(expected, abs=1e-6)
    assert trainer.global_step == 4
    assert_same(model.train().classify(batch.image), classes["error"])
    with pytest.raises(ValueError, match="no classifier"):
        improved_gan().classify(batch.image)


def test_the_classifiers_average_keeps_the_authors_share():
    """1 - 1e-4 of itself in each batch of 100: here of batches of 8, a half-life of ln 2 / 1e-4 * 8 images."""
    step = ImageStep(ema_half_life=math.log(2) / 1e-4 * 8, ema_rampup=None)
    model = semi_supervised(sgd(0.5), num_classes=2, step=step)
    average = parameters_to_vector(model.discriminator.parameters()).detach().double()
    turn = model.discriminator_turn

    def watched(batch: PartlyLabeled) -> None:
        nonlocal average
        turn(batch)
        now = parameters_to_vector(model.discriminator.parameters()).detach().double()
        average = average + 1e-4 * (now - average)

    model.discriminator_turn = watched
    trained(model, 3, Shaped(batch_size=8))
    kept = parameters_to_vector(model.averages["discriminator"].network.parameters()).double()
    torch.testing.assert_close(kept, average, rtol=1e-5, atol=1e-7)
    assert (kept - parameters_to_vector(model.discriminator.parameters())).abs().max() > 1e-2


def test_only_a_classifier_is_averaged():
    assert list(improved_gan().averages) == ["generator"]
    assert list(semi_supervised().averages) == ["generator", "discriminator"]


def test_resume_of_a_classifier_is_exact(tmp_path):
    def model(seed: int = 0) -> ImprovedGAN:
        own = {"discriminator": partial(SemiSupervisedDiscriminator, width=16), "generator": improved_generator}
        return semi_supervised(adam(), num_classes=2, seed=seed, **own)

    unbroken = model()
    trained(unbroken, 4, Shaped())
    trained(model(), 2, Shaped()).save_checkpoint(tmp_path / "a.ckpt")
    resumed = model(seed=1)
    trained(resumed, 4, Shaped(), ckpt_path=tmp_path / "a.ckpt")
    assert_same(tensors(resumed), tensors(unbroken))


def improved_generator(image_shape: tuple[int, int, int]) -> SemiSupervisedGenerator:
    return SemiSupervisedGenerator(image_shape, latent_dim=6, width=8)


def test_default_perceptron_is_the_papers():
    network = SemiSupervisedDiscriminator((1, 28, 28), 10)
    dense = [layer for layer in network.modules() if isinstance(layer, WeightNormLinear)]
    assert [len(layer.bias) for layer in dense] == [1000, 500, 250, 250, 250, 10]
    noise = [layer.deviation for layer in network.modules() if isinstance(layer, improved.GaussianNoise)]
    assert noise == [0.3, 0.5, 0.5, 0.5, 0.5, 0.5]
    image = draw(4, 1, 28, 28).tanh()
    assert network.eval()(image).shape == (4, 10) and network.features(image).shape == (4, 250)


def test_weight_norm_is_that_of_torch():
    layer, own = WeightNormLinear(5, 4, trained_length=True).double(), nn.Linear(5, 4).double()
    layer.length.data, layer.bias.data = draw(4, seed=1).double(), draw(4, seed=2).double()
    own.weight.data, own.bias.data = layer.direction.data.clone(), layer.bias.data.clone()
    parametrizations.weight_norm(own)
    parametrized = own.parametrizations.weight
    parametrized.original0.data = layer.length.data[:, None].clone()
    x = draw(3, 5).double()
    torch.testing.assert_close(layer(x), own(x))
    ours = torch.autograd.grad(layer(x).square().sum(), [layer.direction, layer.length, layer.bias])
    wanted = [parametrized.original1, parametrized.original0, own.bias]
    theirs = torch.autograd.grad(own(x).square().sum(), wanted)
    torch.testing.assert_close(ours, (theirs[0], theirs[1][:, 0], theirs[2]))


def test_perceptron_is_initialised_by_the_first_images_of_training():
    """Each unit then has mean 0 and deviation 1 before its ReLU, and a logit too; without noise it can be seen."""
    network, image = SemiSupervisedDiscriminator(SHAPE, 3, width=16, noise_image=0.0, noise=0.0), images(32)
    network.eval()(image)
    assert not network.initialised
    logits = network.train()(image)
    outs, x = [], (image + 1) / 2
    for layer in (*network.layers, *network.head):
        x = layer(x)
        outs += [x] if isinstance(layer, WeightNormLinear) else []
    assert len(outs) == 6 and torch.equal(outs[-1], logits)
    for out in outs:
        torch.testing.assert_close(out.mean(0), torch.zeros(out.shape[1]), atol=1e-4, rtol=0)
        torch.testing.assert_close(out.std(0, correction=0), torch.ones(out.shape[1]), atol=1e-4, rtol=0)
    before = [value.clone() for value in network.state_dict().values()]
    network(3 * image)
    assert_same(list(network.state_dict().values()), before)  # once


def test_perceptrons_hidden_weights_keep_their_length():
    """Else they grow, and the noise means nothing to them."""
    network = SemiSupervisedDiscriminator(SHAPE, 3, width=16)
    network(images(6))  # sets the lengths
    *hidden, last = [layer for layer in network.modules() if isinstance(layer, WeightNormLinear)]
    before = [layer.length.detach().clone() for layer in (*hidden, last)]
    directions = [layer.direction.detach().clone() for layer in (*hidden, last)]
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(network(images(6)), torch.arange(6) % 3).backward()
        optimizer.step()
    for layer, old in zip((*hidden, last), directions, strict=True):
        assert (layer.direction - old).abs().max() > 1e-3
    assert_same([layer.length for layer in hidden], before[:-1])
    assert (last.length - before[-1]).abs().max() > 1e-3


def test_discriminator_sees_the_range_that_is_asked_for():
    plain, unit = (ImprovedDiscriminator(SHAPE, width=4, reference=0, unit_range=range_) for range_ in (False, True))
    unit.load_state_dict(plain.state_dict())
    image = images(4)
    torch.testing.assert_close(unit(image), plain((image + 1) / 2))


def test_dropout_takes_whole_channels_in_training_alone():
    torch.manual_seed(0)
    network, image = ImprovedDiscriminator(SHAPE, width=4, batch_norm=False, dropout=0.5), images(64)
    kept = network.features(image).unflatten(1, (-1, 4 * 4)) != 0  # SHAPE's last feature map is 4 x 4
    alive = kept.any(2).float().mean()
    assert (kept.any(2) == kept.all(2)).all() and 0.4 < alive < 0.6
    assert (network.eval().features(image) != 0).all()


# Parts equal the whole


class Shaped(Noisy):
    """Noisy images, of which some have labels too: for micro-batches and processes."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        batch = super().on_after_batch_transfer(batch, dataloader_idx)
        return PartlyLabeled(batch.image, batch.image.flip(3), batch.label)


CASES: dict[str, tuple[dict[str, Any], type[ImageData]]] = {
    "adversarial": ({}, Noisy),
    "feature matching, historical averaging": ({"feature_matching": True, "historical_weight": 0.1}, Noisy),
    "semi-supervised": ({"semi_supervised": True, "num_classes": 2, "feature_matching": True}, Shaped),
    "semi-supervised, no minibatch discrimination": (
        {
            "semi_supervised": True,
            "num_classes": 2,
            "discriminator": partial(ImprovedDiscriminator, width=4, batch_norm=False),
        },
        Shaped,
    ),
}


def run(case: str, **options: Any) -> dict[str, Tensor]:
    differs, data = CASES[case]
    step = options.pop("step", ImageStep())
    model = improved_gan(sgd(0.01), differs, step=step)
    trained(model, 4, data(), **options)
    return tensors(model)


@pytest.mark.parametrize("case", CASES)
def test_micro_batches_equal_the_whole(case):
    assert gap(run(case, step=ImageStep(micro_batches=2)), run(case)) <= 1e-5


def test_micro_batches_would_differ_without_the_whole(monkeypatch):
    """The test above can fail."""
    monkeypatch.setattr(improved, "gather_batch", lambda rows: rows)
    assert gap(run("adversarial", step=ImageStep(micro_batches=2)), run("adversarial")) > 1e-4


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Tensor]]]:
    """What each of two processes has trained."""
    return in_two_processes(main, tmp_path_factory.mktemp("two"))


def main(folder: Path) -> dict[str, dict[str, Tensor]]:
    """What each process does."""
    results = {case: run(case, devices=2) for case in CASES}
    perceptron = semi_supervised(num_classes=2, discriminator=partial(SemiSupervisedDiscriminator, width=16))
    trained(perceptron, 1, Shaped(), devices=2)
    results["perceptron"] = tensors(perceptron.discriminator)
    results["adversarial, micro-batches"] = run("adversarial", devices=2, step=ImageStep(micro_batches=2))
    return results


@pytest.mark.slow  # bar 1 holds the first case
@pytest.mark.parametrize("case", [*CASES, "adversarial, micro-batches"])
def test_two_processes_equal_one(case, two):
    assert_same(two[1][case], two[0][case])  # reference images too
    assert gap(two[0][case], run(case.removesuffix(", micro-batches"))) <= 1e-5


@pytest.mark.slow
def test_processes_initialise_a_perceptron_alike(two):
    assert_same(two[1]["perceptron"], two[0]["perceptron"])
