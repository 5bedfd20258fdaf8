"""BigBiGAN (arXiv:1907.02544): a hinge for each score, signs, what each part sees, and one move of two networks."""

from __future__ import annotations

import argparse
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SHAPE, Noisy, assert_same, both, draw, gap, quiet, sgd, tensors, trained, within_turn
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gan_lightning import evaluate, networks, optim
from gan_lightning.augment import Augment
from gan_lightning.batches import Labeled
from gan_lightning.cli import codes
from gan_lightning.cli.discriminators import settle
from gan_lightning.cli.score_sides import Checkpoint
from gan_lightning.core import ImageStep
from gan_lightning.data import Digits, StackedDigits
from gan_lightning.data.base import to_unit
from gan_lightning.loading import load_model
from gan_lightning.losses.bidirectional import pair_hinge_discriminator
from gan_lightning.metrics import linear_probe
from gan_lightning.models.bigbigan import BigBiGAN
from gan_lightning.networks.bigbigan import BigBiGANDiscriminator, BigBiGANEncoder

OWN = {
    "generator": partial(networks.BigGANGenerator, latent_dim=6, width=8, embedding=4),
    "discriminator": partial(BigBiGANDiscriminator, width=8, units=8, blocks=1),
    "encoder": partial(BigBiGANEncoder, width=4, widest=8, units=8, blocks=1),
}


class PlainEncoder(nn.Module):
    """A perceptron, in which a sample never meets another sample."""

    def __init__(self, image_shape: tuple[int, int, int], latent_dim: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(image_shape), 12), nn.LeakyReLU(0.2))
        self.heads = nn.ModuleList(nn.Linear(12, latent_dim) for _ in range(2))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(n, *image_shape) -> mean and deviation, (n, latent_dim)."""
        mean, deviation = (head(self.features(image)) for head in self.heads)
        return mean, deviation.exp()


class PlainPairs(nn.Module):
    """Likewise: three perceptrons."""

    def __init__(self, image_shape: tuple[int, int, int], latent_dim: int) -> None:
        super().__init__()
        pixels = math.prod(image_shape)
        self.parts = nn.ModuleList(
            nn.Sequential(nn.Linear(inputs, 12), nn.LeakyReLU(0.2), nn.Linear(12, 1))
            for inputs in (pixels, latent_dim, pixels + latent_dim)
        )

    def forward(self, image: Tensor, z: Tensor) -> Tensor:
        """(n, *image_shape), (n, latent_dim) -> (n, 3)."""
        x = image.flatten(1)
        return torch.cat([part(seen) for part, seen in zip(self.parts, (x, z, torch.cat([x, z], 1)), strict=True)], 1)


PLAIN = {
    "generator": partial(networks.MLPGenerator, latent_dim=6, width=12),
    "discriminator": PlainPairs,
    "encoder": PlainEncoder,
}


class LinearGenerator(nn.Module):
    """x = W z."""

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.image_shape, self.latent_dim = image_shape, 6
        self.weight = nn.Parameter(draw(math.prod(image_shape), 6, seed=2) / 10)

    def forward(self, z: Tensor) -> Tensor:
        return (z @ self.weight.T).unflatten(1, self.image_shape)


class LinearEncoder(nn.Module):
    """z = V x + t eps."""

    def __init__(self, image_shape: tuple[int, int, int], latent_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(draw(latent_dim, math.prod(image_shape), seed=3) / 10)
        self.deviation = nn.Parameter(draw(latent_dim, seed=4).abs())

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        mean = image.flatten(1) @ self.weight.T
        return mean, self.deviation.expand_as(mean)


class LinearPairs(nn.Module):
    """a x, b z and c x + d z."""

    def __init__(self, image_shape: tuple[int, int, int], latent_dim: int) -> None:
        super().__init__()
        pixels = math.prod(image_shape)
        self.a, self.c = (nn.Parameter(draw(pixels, seed=seed)) for seed in (5, 6))
        self.b, self.d = (nn.Parameter(draw(latent_dim, seed=seed)) for seed in (7, 8))

    def forward(self, image: Tensor, z: Tensor) -> Tensor:
        x = image.flatten(1)
        return torch.stack([x @ self.a, z @ self.b, x @ self.c + z @ self.d], 1)


LINEAR = {"generator": LinearGenerator, "discriminator": LinearPairs, "encoder": LinearEncoder}


def bigbigan(*options: dict[str, Any], seed: int = 0, **more: Any) -> BigBiGAN:
    torch.manual_seed(seed)
    arguments: dict[str, Any] = {"image_shape": SHAPE} | OWN
    for option in (*options, more):
        arguments |= option
    model = BigBiGAN(**arguments)
    model.trainer = quiet()
    return model


def a_batch(n: int = 8, seed: int = 1) -> Labeled:
    return Labeled(draw(n, *SHAPE, seed=seed).clamp(-1, 1), torch.zeros(n, dtype=torch.int64))


def terms_of(model: BigBiGAN, player: str, batch: Labeled) -> dict[str, Tensor]:
    with within_turn(model):
        return getattr(model, f"{player}_loss")(batch)


def draws(model: BigBiGAN, n: int) -> tuple[Tensor, Tensor]:
    """The latents and the encoder's normal numbers of the losses on n images."""
    with within_turn(model):
        return model.noise.normal(n, 6), model.noise.normal(n, 6)


# The losses


def test_hinge_is_of_each_score():
    """By hand: the sums of these scores are far beyond the margin, and a hinge of them would be 0."""
    data, generated = torch.tensor([[2.0, -1.0, 0.0], [9.0, 0.5, 1.0]]), torch.tensor([[-3.0, 1.0, 1.0], [-9.0, 0, -1]])
    torch.testing.assert_close(pair_hinge_discriminator(data, generated), torch.tensor([0, 1.25 + 1.5, 0.5 + 1.0]))
    of_sums = (1 - data.sum(1)).clamp(min=0).mean() + (1 + generated.sum(1)).clamp(min=0).mean()
    assert of_sums == 0


def test_losses_are_the_papers():
    """L_D and L_EG (section 2), written out again over the pairs that the two networks make."""
    for player in ("discriminator", "generator"):
        model, batch = bigbigan(PLAIN), a_batch()
        z, eps = draws(model, 8)
        mean, deviation = model.encoder(batch.image)
        data, generated = (
            model.discriminator(batch.image, mean + deviation * eps),
            model.discriminator(model.generator(z), z),
        )
        total = 0.0
        for s in range(3):
            for i in range(8):
                if player == "discriminator":
                    total = total + max(0.0, 1 - data[i, s].item()) + max(0.0, 1 + generated[i, s].item())
                else:
                    total = total + data[i, s].item() - generated[i, s].item()
        terms = terms_of(model, player, batch)
        assert list(terms) == ["image", "latent", "joint"]
        assert sum(terms.values()).item() == pytest.approx(total / 8, rel=1e-4)


def test_signs_of_both_domains():
    """Linear networks: dL/dV = (b + d) E[x]^T, dL/dt = (b + d) E[eps], dL/dW = -(a + c) E[z]^T."""
    model, batch = bigbigan(LINEAR), a_batch()
    z, eps = draws(model, 8)
    sum(terms_of(model, "generator", batch).values()).backward()
    judge, x = model.discriminator, batch.image.flatten(1)
    latents, pixels = (judge.b + judge.d).detach(), (judge.a + judge.c).detach()
    torch.testing.assert_close(model.encoder.weight.grad, latents[:, None] * x.mean(0))
    torch.testing.assert_close(model.encoder.deviation.grad, latents * eps.mean(0))
    torch.testing.assert_close(model.generator.weight.grad, -pixels[:, None] * z.mean(0))


def test_a_step_lowers_the_data_and_raises_the_fakes():
    model, batch = bigbigan(PLAIN), a_batch()
    z, eps = draws(model, 8)

    def scores() -> tuple[float, float]:
        mean, deviation = model.encoder(batch.image)
        pairs = (batch.image, mean + deviation * eps), (model.generator(z), z)
        data, fakes = (model.discriminator(*pair).sum(1).mean().item() for pair in pairs)
        return data, fakes

    before = scores()
    optimizer = model.players()["generator"].optimizer([])
    sum(terms_of(model, "generator", batch).values()).backward()
    for group in optimizer.param_groups:
        for p in group["params"]:
            p.data -= 1e-3 * p.grad
    after = scores()
    assert after[0] < before[0] and after[1] > before[1]


def test_reconstruction_is_never_trained():
    """The generator is given the prior's latents alone, the encoder real images alone; neither's gradient depends on
    the other's weights."""
    batch, gradients = a_batch(), []
    for disturbed in ("", "encoder", "generator"):
        model, seen = bigbigan(PLAIN), {"generator": [], "encoder": []}
        for name, inputs in seen.items():
            getattr(model, name).register_forward_pre_hook(lambda _, given, inputs=inputs: inputs.append(given[0]))
        if disturbed:
            with torch.no_grad():
                for p in getattr(model, disturbed).parameters():
                    p.add_(draw(*p.shape, seed=9))
        sum(terms_of(model, "generator", batch).values()).backward()
        assert_same(seen, {"generator": [draws(model, 8)[0]], "encoder": [batch.image]})
        gradients.append({name: [p.grad for p in getattr(model, name).parameters()] for name in seen})
    assert_same(gradients[1]["generator"], gradients[0]["generator"])
    assert_same(gradients[2]["encoder"], gradients[0]["encoder"])


class Darker(Augment):
    """Halves every image."""

    def forward(self, image: Tensor, noise: Any) -> Tensor:
        return image / 2


def test_encoder_sees_what_the_discriminator_sees():
    seen: dict[str, list[Tensor]] = {"encoder": [], "discriminator": []}
    model = bigbigan(PLAIN, sgd(), step=ImageStep(augment=Darker), n_critic=1)
    for name, inputs in seen.items():
        getattr(model, name).register_forward_pre_hook(lambda _, given, inputs=inputs: inputs.append(given[0].clone()))
    trained(model, 1, Noisy(n=16))
    pixels = Noisy(n=16)
    pixels.setup("fit")
    half = to_unit(pixels.reference("train").image) / 2
    for turn in (0, 1):
        real, fake = seen["discriminator"][2 * turn : 2 * turn + 2]
        assert_same(seen["encoder"][turn], real)
        torch.testing.assert_close(real.flatten(1).norm(dim=1).sort()[0], half.flatten(1).norm(dim=1).sort()[0])
        assert fake.abs().max() <= 0.5


# The networks


def test_each_part_sees_its_own():
    network, x, z = (
        BigBiGANDiscriminator(SHAPE, 6, width=8, units=16, blocks=2).eval(),
        draw(2, 4, *SHAPE),
        draw(2, 4, 6),
    )
    scores = network(x[0], z[0])
    assert scores.shape == (4, 3)
    other_z, other_x = network(x[0], z[1]), network(x[1], z[0])
    assert_same(other_z[:, 0], scores[:, 0])  # s_x, of F
    assert_same(other_x[:, 1], scores[:, 1])  # s_z, of H
    assert (other_z[:, 1:] != scores[:, 1:]).all() and (other_x[:, ::2] != scores[:, ::2]).all()


def test_discriminator_is_spectrally_normalised_and_the_encoder_batch_normalised():
    model = bigbigan()
    for _ in range(200):
        model.discriminator(draw(2, *SHAPE), draw(2, 6))
    layers = [m for m in model.discriminator.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    assert len(layers) == 3 + 2 * 2 + 3 + 2 * 3  # F's down-block and two plain ones, three scores, H and J
    assert all(len(layer.parametrizations.weight) == 1 for layer in layers)  # F's not twice
    norms = [torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() for layer in layers]
    assert norms == pytest.approx([1] * len(norms), rel=1e-3)
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.discriminator.modules())

    convolutions = [m for m in model.encoder.blocks.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    normed = [m for m in model.encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(normed) == len(convolutions) + 1 == 9  # before each, and before the pooling
    assert not any(parametrize.is_parametrized(m) for m in model.encoder.modules())
    used: list[nn.Module] = []
    for norm in normed:
        norm.register_forward_hook(lambda norm, *_: used.append(norm))
    image = draw(4, *SHAPE)
    model.encoder(image)
    assert set(used) == set(normed)
    apart = [
        float((model.encoder.train(mode)(image)[0][:2] - model.encoder(image[:2])[0]).abs().max())
        for mode in (True, False)
    ]
    assert apart[0] > 1e-4 and apart[1] < 1e-6  # in training an image meets the others of its batch


def test_latents_are_drawn_from_the_encoders_distribution():
    """20,000 draws for one image; the deviation is softplus of the head's second half."""
    model = bigbigan()
    model.encoder.eval()
    image = draw(1, *SHAPE)
    head = model.encoder.linear(model.encoder.mlp(model.encoder.features(image)))[0]
    mean, deviation = head[:6], (1 + head[6:].exp()).log()
    with within_turn(model), torch.no_grad():
        z = model.infer(image.expand(20_000, -1, -1, -1))
    torch.testing.assert_close(z.mean(0), mean, atol=4 * deviation.max().item() / math.sqrt(20_000), rtol=0)
    torch.testing.assert_close(z.std(0), deviation, rtol=0.03, atol=0)
    assert torch.corrcoef(z.T).fill_diagonal_(0).abs().max() < 0.03


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 48)])
def test_encoder_builds_for_every_image(shape):
    network = BigBiGANEncoder(shape, 5, width=4, widest=6, units=8)
    features, (mean, deviation) = network.features(draw(2, *shape)), network(draw(2, *shape))
    assert features.shape == (2, 6) and mean.shape == deviation.shape == (2, 5) and (deviation > 0).all()
    with pytest.raises(ValueError, match="cannot build 30x30"):
        BigBiGANEncoder((1, 30, 30), 5)


@pytest.mark.parametrize("pooled", [1, 2])
def test_encoder_represents_by_both_signs_of_cells(pooled):
    """By hand: means over the cells of a 4x4 map, of what is positive and of what is negative."""
    network = BigBiGANEncoder(SHAPE, 5, width=4, widest=6, units=8, pooled=pooled).eval()
    image = draw(3, *SHAPE)
    map = network.maps(image)
    side = 4 // pooled
    cells = map.reshape(3, -1, pooled, side, pooled, side).movedim(3, 4)
    expected = torch.cat([cells.clamp(min=0).mean((4, 5)).flatten(1), -cells.clamp(max=0).mean((4, 5)).flatten(1)], 1)
    assert map.shape[2:] == (4, 4) and (map < 0).any() and network.feature_dim * 2 == expected.shape[1]
    torch.testing.assert_close(network.represent(image), expected)
    torch.testing.assert_close(network.features(image), expected[:, : network.feature_dim])
    assert network(image)[0].shape == (3, 5)
    with pytest.raises(ValueError, match=r"pooled must be 1 \.\. 4 for these images, not 5"):
        BigBiGANEncoder(SHAPE, 5, pooled=5)


# Two networks, one player


def test_both_move_in_one_turn_the_encoder_ten_times_as_far():
    """Without momentum Adam's first step is the learning rate, whatever the gradient; both rates decay alike."""
    calls = {"generator": 0, "encoder": 0}
    decay = partial(optim.LinearDecay, end=4)
    # As small as the gradients of these networks are, the paper's eps of 1e-6 would shorten the step.
    adam = both(partial(optim.PaperAdam, lr=1e-4, beta1=0.0, eps=1e-20))
    model = bigbigan(PLAIN, adam, step=ImageStep(scheduler=decay), n_critic=1)
    for name in calls:
        getattr(model, name).register_forward_hook(lambda *_, name=name: calls.update({name: calls[name] + 1}))
    free: list[bool] = []
    model.encoder.register_forward_hook(lambda network, *_: free.append(network.heads[0].weight.requires_grad))
    before = {name: tensors(getattr(model, name)) for name in (*calls, "discriminator")}
    trainer = trained(model, 1)
    assert free == [False, True]  # frozen in the discriminator's turn
    assert calls == {"generator": 2, "encoder": 2}  # once for each turn
    step = {
        name: max(
            (value - before[name][key]).abs().max().item() for key, value in tensors(getattr(model, name)).items()
        )
        for name in before
    }
    assert step == {
        name: pytest.approx(rate, rel=0.01)
        for name, rate in (("generator", 1e-4), ("encoder", 1e-3), ("discriminator", 1e-4))
    }
    optimizer = trainer.optimizers[0]
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.75e-4, 0.75e-3])
    owned = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert owned == {id(p) for network in (model.generator, model.encoder) for p in network.parameters()}


def test_defaults_are_the_papers():
    with torch.device("meta"):
        model = BigBiGAN((3, 32, 32))
    groups = model.players()["generator"].optimizer([]).param_groups
    (other,) = model.players()["discriminator"].optimizer(model.discriminator.parameters()).param_groups
    assert [group["lr"] for group in (*groups, other)] == pytest.approx([5e-5, 5e-4, 2e-4])
    assert all(group["betas"] == (0.0, 0.999) for group in (*groups, other))
    assert model.n_critic == 2 and model.generator.latent_dim == 120
    assert model.generator.embedding.num_embeddings == 1 and not model.num_classes  # one embedding that all share
    with pytest.raises(ValueError, match="encoder_rate must be positive, not 0"):
        bigbigan(encoder_rate=0)


def test_micro_batches_equal_the_whole_batch():
    runs = []
    for count in (1, 2):
        model = bigbigan(PLAIN, sgd(1e-3), step=ImageStep(micro_batches=count))
        trained(model, 2)
        runs.append(tensors(model))
    assert gap(runs[1], runs[0]) <= 1e-6


def test_checkpoint_holds_the_encoder_and_resuming_is_exact(tmp_path):
    def state(trainer: Any) -> list[Any]:
        return [trainer.lightning_module.state_dict(), [optimizer.state_dict() for optimizer in trainer.optimizers]]

    unbroken = trained(bigbigan(), 3)
    trained(bigbigan(), 1).save_checkpoint(tmp_path / "a.ckpt")
    resumed = trained(bigbigan(seed=1), 3, ckpt_path=tmp_path / "a.ckpt")
    assert_same(state(resumed), state(unbroken))
    resumed.save_checkpoint(tmp_path / "b.ckpt")
    loaded, image = load_model(tmp_path / "b.ckpt"), a_batch().image
    assert_same(tensors(loaded.encoder), tensors(resumed.lightning_module.encoder))
    assert_same(loaded.encode(image), resumed.lightning_module.encode(image))


# What the encoder is for


def test_encoder_has_an_average_like_the_generators():
    """After one step beta = 0.5 ** (images / half-life) of the weights is the old ones'."""
    model = bigbigan(sgd(0.5), n_critic=1, step=ImageStep(ema_half_life=32.0, ema_rampup=None))
    before = [p.detach().clone() for p in model.encoder.parameters()]
    trained(model, 1)
    beta = 0.5 ** (16 / 32)
    for p, old, new in zip(
        model.averages["encoder"].network.parameters(), before, model.encoder.parameters(), strict=True
    ):
        torch.testing.assert_close(p, beta * old + (1 - beta) * new)
    assert gap(tensors(model.averages["encoder"].network), tensors(model.encoder)) > 0


@pytest.mark.parametrize("double", [False, True])
def test_reconstruct_is_the_generator_of_the_mean(double):
    model, image = bigbigan(), a_batch(5).image
    trained(model, 2)
    model = (model.double() if double else model).train()
    z, again = model.encode(image), model.reconstruct(image)
    assert z.shape == (5, 6) and again.shape == (5, *SHAPE) and again.dtype == torch.float32
    assert again.abs().max() <= 1 and again.std() > 0
    network = model.averages["encoder"].network
    torch.testing.assert_close(z, network(image.to(model.dtype))[0])  # the mean, not a draw
    torch.testing.assert_close(model.represent(image), network.represent(image.to(model.dtype)))
    torch.testing.assert_close(again, model.generate(z))
    torch.testing.assert_close(model.reconstruct(image[3:]), again[3:], atol=1e-5, rtol=0)  # evaluation mode
    assert model.generator.training and model.encoder.training


def test_untrained_networks_take_their_statistics_from_images():
    """Those of two batches are their mean, whatever the norm held before."""
    network = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5))
    network[0].running_mean.fill_(9.0)
    first, second = draw(8, 3), 5 + draw(8, 3, seed=1)
    settle(network, [first, second])
    torch.testing.assert_close(network[0].running_mean, (first.mean(0) + second.mean(0)) / 2)
    torch.testing.assert_close(network[0].running_var, (first.var(0) + second.var(0)) / 2)
    assert not any(module.training for module in network.modules())


def test_evaluate_probes_the_encoder(tmp_path: Path):
    """The command's accuracy is that of a probe on the average's features, made by hand."""
    data = Digits(size=16)
    model = bigbigan(n_critic=1)
    trained(model, 2, data).save_checkpoint(tmp_path / "model.ckpt")
    flags = ["--data", "Digits", "--data.size", "16", "--metrics", "linear_probe", "--json", str(tmp_path / "a.json")]
    evaluate.main([str(tmp_path / "model.ckpt"), *flags])
    found = json.loads((tmp_path / "a.json").read_text())
    cards = {name: one["card"] for name, one in found.items()}
    assert {name: card["features"] for name, card in cards.items()} == {
        "linear_probe": "encoder's average, 16",
        "linear_probe/untrained": "untrained encoder's average, 16, seed 0",
        "linear_probe/pixels": "pixels, 256",
    }
    assert all(card["n_train"] == 1500 for card in cards.values())
    parts = {split: data.reference(split) for split in ("train", "val")}
    parts = {split: images.__getitems__(list(range(len(images)))) for split, images in parts.items()}
    fresh = bigbigan(n_critic=1).averages["encoder"].network  # of the same seed; its norms see all images at once
    with torch.no_grad():
        fresh.train()
        for norm in (m for m in fresh.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.momentum = 1.0
        fresh(to_unit(parts["train"].image))
        fresh.eval()
        for name, look in (
            ("linear_probe", model.averages["encoder"].network.represent),
            ("linear_probe/untrained", fresh.represent),
            ("linear_probe/pixels", lambda image: image.flatten(1)),
        ):
            sides = [side for part in parts.values() for side in (look(to_unit(part.image)), part.label)]
            # The order of the images differs.
            assert found[name]["value"] == pytest.approx(linear_probe(*sides)[0], abs=0.05)


def test_reconstructions_are_read_by_the_digit_classifier(monkeypatch):
    """Of perfect ones as many are right as of the images, 295 of 297; a black image is one digit, whatever it was."""
    data = Digits(size=28)
    given = argparse.Namespace(extractor=None, weights=None, batch_size=100)
    model = bigbigan(image_shape=data.image_shape)
    known = data.reference("val")
    image, label = known.image, known.label

    def found(reconstruct: Any) -> list[float]:
        monkeypatch.setattr(model, "reconstruct", reconstruct)
        figures = codes.reconstruction(Checkpoint("a.ckpt", model, {}, 0), data, given)
        names = ["reconstruction", "reconstruction/images", "reconstruction/error"]
        assert list(figures) == names
        return [one["value"] for one in figures.values()]

    assert found(lambda image: image) == pytest.approx([295 / 297, 295 / 297, 0])
    kept, read, error = found(lambda image: -torch.ones_like(image))
    assert read == pytest.approx(295 / 297) and round(kept * 297) in label.bincount().tolist()
    assert error == pytest.approx((image.double() / 127.5).square().mean().item(), rel=1e-5)
    with pytest.raises(ValueError, match="digits knows 10, and StackedDigits has 1000"):
        given.extractor = "DigitFeatures"
        codes.reconstruction(Checkpoint("a.ckpt", model, {}, 0), StackedDigits(n=20), given)
    with pytest.raises(ValueError, match="reconstruction needs a model with an encoder, and Linear has none"):
        codes.reconstruction(Checkpoint("a.ckpt", nn.Linear(1, 1), {}, 0), data, given)


def test_the_joint_score_may_see_where_strokes_are():
    """Shifted by half the sides, round the corner, cells change places, and only they: the sums over all stay."""
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"width": 4, "widest": 8, "plain_blocks": 0, "units": 16, "blocks": 1}
    seen: list[Tensor] = []
    for pooled in (1, 2):
        network = BigBiGANDiscriminator((1, 16, 16), 3, pooled=pooled, **arguments).double()
        maps = torch.rand(2, network.image.feature_dim, 4, 4, dtype=torch.float64)
        network.joint.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        for there in (maps, maps.roll(2, 3)):
            network.image.maps = lambda image, there=there: there
            network(torch.zeros(2, 1, 16, 16, dtype=torch.float64), torch.zeros(2, 3, dtype=torch.float64))
    (once, moved, cells, moved_cells), places = seen, network.image.feature_dim
    torch.testing.assert_close(once, moved)
    halves = maps.unflatten(3, (2, 2)).unflatten(2, (2, 2)).sum((3, 5))
    torch.testing.assert_close(cells[:, : 4 * places], halves.flatten(1))
    torch.testing.assert_close(moved_cells[:, : 4 * places], halves.roll(1, 3).flatten(1))
    with pytest.raises(ValueError, match="pooled must be 1 .. 4 for these images, not 5"):
        BigBiGANDiscriminator((1, 16, 16), 3, pooled=5, **arguments)
