"""CoGAN (arXiv:1606.07536): what is shared, what is private, and whether pairs belong together."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import SHAPE, draw, gap, quiet, sgd, tensors, trained, within_turn
from torch import Tensor, nn

from gan_lightning.augment import Augment
from gan_lightning.batches import Labeled
from gan_lightning.core import ImageStep
from gan_lightning.data import Digits
from gan_lightning.data.domains import DigitDomains, edges, negative
from gan_lightning.metrics.agreement import pair_iou, pixel_agreement
from gan_lightning.models.cogan import CoGAN
from gan_lightning.networks import MLPGenerator
from gan_lightning.networks.cogan import CoupledDiscriminator, CoupledGenerator

PAIR = (1, 16, 32)


def model(shape: tuple[int, int, int] = SHAPE, **options: Any) -> CoGAN:
    torch.manual_seed(0)
    arguments = {
        "generator": partial(CoupledGenerator, latent_dim=6, width=4),
        "discriminator": partial(CoupledDiscriminator, width=4, units=8),
        **sgd(1e-2),
    }
    return CoGAN(shape, **(arguments | options))


def within(cogan: CoGAN, what: str, batch: Labeled) -> Any:
    """The result of a method as a turn would call it, with the same random numbers each time."""
    cogan.trainer = quiet()
    with within_turn(cogan):
        return getattr(cogan, what)(batch)


def batch_of(shape: tuple[int, int, int], n: int = 8) -> Labeled:
    return Labeled(draw(n, *shape).clamp(-1, 1), torch.zeros(n, dtype=torch.int64))


# Networks


def test_layers_are_those_of_the_authors_for_digits():
    """100 -> 1024 -> 512 -> 256 -> 128 shared, then one layer each; 20 maps each, then 50, 500 and the score shared."""
    with torch.device("meta"):
        generator, discriminator = CoupledGenerator((1, 28, 56)), CoupledDiscriminator((1, 28, 56))
    deconvs = [layer for layer in generator.front if isinstance(layer, nn.ConvTranspose2d)]
    sides: list[int] = []
    for deconv in deconvs:
        deconv.register_forward_hook(lambda _, __, made: sides.append(made.shape[-1]))
    image = generator(torch.empty(2, 100, device="meta"))
    assert CoupledDiscriminator((1, 28, 56), padding=0).back[3].in_features == 50 * 4 * 4
    assert image.shape[1:] == (1, 28, 56)
    assert sides == [4, 7, 14, 28]
    assert [d.out_channels for d in deconvs] == [1024, 512, 256, 128] and deconvs[0].in_channels == 100
    assert sum(isinstance(layer, nn.PReLU) for layer in generator.front) == 4
    for end in generator.ends:
        assert [type(layer) for layer in end] == [nn.Conv2d, nn.Tanh]
    for front in discriminator.fronts:
        assert [type(layer) for layer in front] == [nn.Conv2d, nn.MaxPool2d] and front[0].out_channels == 20
    weighted = [layer for layer in discriminator.back if isinstance(layer, (nn.Conv2d, nn.Linear))]
    assert [(type(w), w.weight.shape[0]) for w in weighted] == [(nn.Conv2d, 50), (nn.Linear, 500), (nn.Linear, 1)]


def test_dropout_is_before_the_score_and_in_training_alone():
    """The linear layer is given each hidden number doubled or not at all."""
    network = CoupledDiscriminator(PAIR, width=4, units=400, dropout=0.5)
    *hidden, dropout, score, _ = network.back
    assert isinstance(dropout, nn.Dropout) and isinstance(score, nn.Linear)
    seen: dict[str, Tensor] = {}
    hidden[-1].register_forward_hook(lambda _, __, made: seen.update(hidden=made))
    score.register_forward_pre_hook(lambda _, given: seen.update(given=given[0]))
    for mode, kept in ((True, 0.5), (False, 1.0)):
        network.train(mode)(draw(8, *PAIR))
        on = seen["given"] != 0
        assert on.float().mean().item() == pytest.approx(kept, abs=0.05)
        torch.testing.assert_close(seen["given"][on], seen["hidden"][on] / kept)


@pytest.mark.parametrize("size", [(16, 16), (28, 28), (20, 24), (33, 50), (64, 64)])
def test_any_size_and_channels(size):
    with torch.device("meta"):
        shape = (3, size[0], 2 * size[1])
        image = CoupledGenerator(shape, latent_dim=6)(torch.empty(2, 6))
        scores = CoupledDiscriminator(shape)(image)
    assert image.shape == (2, *shape) and [score.shape for score in scores] == [(2,), (2,)]


@pytest.mark.parametrize("private", [1, 2])
def test_generator_shares_its_front_and_one_latent(private):
    """Domain A's image moves the shared front and A's end, and leaves B's end alone; so for B."""
    generator = CoupledGenerator(PAIR, latent_dim=6, width=4, private=private)
    image = generator(draw(8, 6))
    for place, half in enumerate(image.chunk(2, 3)):
        generator.zero_grad()
        half.square().sum().backward(retain_graph=True)
        assert all(p.grad.any() for p in generator.front.parameters())
        assert all(p.grad.any() for p in generator.ends[place].parameters())
        assert all(p.grad is None or not p.grad.any() for p in generator.ends[1 - place].parameters())
    for a, b in zip(*(end.parameters() for end in generator.ends), strict=True):
        assert a is not b
    with torch.no_grad():  # equal ends give equal halves: both see the features of the same latent
        generator.ends[1].load_state_dict(generator.ends[0].state_dict())
        left, right = generator(draw(8, 6)).chunk(2, 3)
    torch.testing.assert_close(left, right)


@pytest.mark.parametrize("private", [1, 2])
def test_discriminator_shares_its_back_not_its_front(private):
    network = CoupledDiscriminator(PAIR, width=4, units=8, private=private)
    scores = network(draw(8, *PAIR))
    for place, score in enumerate(scores):
        network.zero_grad()
        score.square().sum().backward(retain_graph=True)
        assert all(p.grad.any() for p in network.back.parameters())
        assert all(p.grad.any() for p in network.fronts[place].parameters())
        assert all(p.grad is None or not p.grad.any() for p in network.fronts[1 - place].parameters())
    first = network.fronts[0][0]  # private is what touches the pixels
    assert isinstance(first, nn.Conv2d) and first.in_channels == 1


def test_a_domain_is_scored_without_the_other():
    network = CoupledDiscriminator(PAIR, width=4, units=8)
    image, other = draw(4, *PAIR), draw(4, *PAIR, seed=1)
    mixed = torch.cat([image[..., :16], other[..., 16:]], 3)
    torch.testing.assert_close(network(mixed)[0], network(image)[0])
    torch.testing.assert_close(network(mixed)[1], network(other)[1])


@pytest.mark.parametrize("network", [CoupledGenerator, CoupledDiscriminator])
def test_what_has_no_halves_is_refused_in_a_line(network):
    with pytest.raises(ValueError, match="width of 33 has no halves") as error:
        network((1, 16, 33))
    assert "\n" not in str(error.value)
    if network is CoupledDiscriminator:
        assert network((1, 16, 32), padding=0)(torch.zeros(2, 1, 16, 32))[0].shape == (2,)
        with pytest.raises(ValueError, match="cannot read 15x15 images with a padding of 0"):
            network((1, 15, 30), padding=0)
    for private in (0, 9):
        with pytest.raises(ValueError, match="private must be"):
            network(PAIR, private=private)


# The model


def bce(score: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(score, torch.full_like(score, target))


def test_losses_of_the_two_domains_are_summed():
    cogan, batch = model(), batch_of(SHAPE)
    fake = within(cogan, "fake_like", batch)
    real, made = cogan.discriminator(batch.image), cogan.discriminator(fake.image)
    found = within(cogan, "discriminator_loss", batch)
    expected = sum(bce(r, 1) + bce(f, 0) for r, f in zip(real, made, strict=True))
    torch.testing.assert_close(sum(found.values()), expected)
    found = within(cogan, "generator_loss", batch)
    torch.testing.assert_close(sum(found.values()), bce(made[0], 1) + bce(made[1], 1))
    assert found.keys() == {"domain_a", "domain_b"}


def test_a_domains_loss_does_not_move_the_others_private_layers():
    cogan, batch = model(), batch_of(SHAPE)
    for player, private in (("discriminator", "fronts"), ("generator", "ends")):
        terms = within(cogan, f"{player}_loss", batch)
        for place, term in enumerate(terms.values()):
            network = getattr(cogan, player)
            other = getattr(network, private)[1 - place]
            grads = torch.autograd.grad(term, other.parameters(), retain_graph=True, allow_unused=True)
            assert all(g is None or not g.any() for g in grads)
            shared = network.back if player == "discriminator" else network.front
            grads = torch.autograd.grad(term, shared.parameters(), retain_graph=True)
            assert all(g.any() for g in grads)


class Roll(Augment):
    """Moves images one pixel to the right, the last column to the first."""

    def forward(self, image: Tensor, noise: object) -> Tensor:
        return image.roll(1, 3)


def test_each_half_is_augmented_by_itself():
    image = draw(4, *PAIR)
    moved = model(PAIR, step=ImageStep(augment=Roll)).augmented(image)
    for a, b in zip(moved.chunk(2, 3), image.chunk(2, 3), strict=True):
        assert torch.equal(a, b.roll(1, 3))


def test_two_micro_batches_equal_the_whole_batch():
    """With a generator in which a sample never meets another; the discriminator has no batch norm."""
    generator = {"generator": partial(MLPGenerator, latent_dim=6, width=12)}
    runs = []
    for count in (1, 2):
        cogan = model(**generator, step=ImageStep(micro_batches=count))
        trained(cogan, 2)
        runs.append(tensors(cogan))
    assert gap(runs[1], runs[0]) <= 1e-6


# Data


def by_hand(image: np.ndarray) -> np.ndarray:
    """The greatest of the 3x3 neighbours that lie within the image, less the pixel."""
    height, width = image.shape
    found = np.zeros_like(image)
    for i in range(height):
        for j in range(width):
            found[i, j] = image[max(0, i - 1) : i + 2, max(0, j - 1) : j + 2].max() - image[i, j]
    return found


def test_edges_and_negatives_by_hand():
    image = torch.randint(256, (3, 1, 7, 9), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    expected = np.stack([by_hand(one[0].numpy().astype(int)) for one in image])
    assert edges(image).dtype == torch.uint8
    np.testing.assert_array_equal(edges(image)[:, 0].numpy(), expected)
    assert torch.equal(negative(image).int() + image.int(), torch.full(image.shape, 255, dtype=torch.int32))


@pytest.mark.parametrize("split", ["train", "val"])
def test_no_digit_is_in_both_domains(split):
    """Each half holds half of the set, in their order; the negatives give away which."""
    data, digits = DigitDomains(transform="negative", size=8, contrast=1.0), Digits(8).reference(split).image
    pairs = data.reference(split)
    n = len(digits) // 2
    assert len(pairs) == n and data.image_shape == (1, 8, 16) and pairs.image.shape[1:] == data.image_shape
    left, right = pairs.image.chunk(2, 3)
    assert torch.equal(torch.stack([left, 255 - right], 1).flatten(0, 1), digits[: 2 * n])  # every other one
    assert torch.equal(DigitDomains(size=8, contrast=1.0).reference(split).image[..., 8:], edges(255 - right))
    assert not pairs.label.any() and data.num_classes is None


def test_contrast_is_taken_before_the_transform():
    """Levels go away from half grey, three times as far, within 0 .. 255; edges are those of what domain A shows."""
    digits = Digits(16).reference("train").image.int()
    expected = torch.where(digits < 85, 0, torch.where(digits > 170, 255, 3 * digits - 255))
    left, right = DigitDomains(size=16, contrast=3.0).reference("train").image.chunk(2, 3)
    assert torch.equal(left.int(), expected[: 2 * len(left) : 2])
    assert torch.equal(right, edges(expected[1 : 2 * len(left) : 2].to(torch.uint8)))
    with pytest.raises(ValueError, match="contrast must be positive"):
        DigitDomains(contrast=0.0)


def test_domains_of_mnist_and_wrong_names(tmp_path):
    data = DigitDomains("mnist", "negative", 32, root=str(tmp_path))
    assert data.image_shape == (1, 32, 64) and data.name == "MNISTDomains" and data.digits.root == tmp_path
    assert [DigitDomains(source).contrast for source in ("digits", "mnist")] == [3, 1]
    with pytest.raises(ValueError, match="edges, negative, not 'sepia'"):
        DigitDomains(transform="sepia")


def test_it_trains_on_its_data():
    data = DigitDomains(size=16, batch_size=16)
    cogan = model(data.image_shape)
    before = tensors(cogan.generator)
    trained(cogan, 2, data=data)
    assert gap(tensors(cogan.generator), before) > 0 and cogan.sample(3).shape == (3, 1, 16, 32)


# The rule


def test_agreement_of_true_pairs_and_of_spoilt_ones():
    """True pairs agree in every pixel; with a share of the right half turned over they agree in the rest."""
    image = Digits(16).reference("val").image[:20]
    for transform in (edges, negative):
        pairs = torch.cat([image, transform(image)], 3)
        assert (pixel_agreement(pairs, transform) == 1).all()
        spoilt = pairs.clone()
        spoilt[:, :, :4, 16:] = torch.where(spoilt[:, :, :4, 16:] > 127, 0, 255).to(torch.uint8)
        torch.testing.assert_close(pixel_agreement(spoilt, transform), torch.full((20,), 0.75))


def test_iou_of_drawn_pairs():
    """Squares of 8 and 6 pixels a side: what a dilation adds to them are rings of 10x10 - 8x8 and 8x8 - 6x6 pixels."""
    wide, small = torch.zeros(2, 1, 1, 16, 16, dtype=torch.uint8)
    wide[..., 4:12, 4:12] = small[..., 5:11, 5:11] = 255
    moved = edges(wide).roll(1, 3)  # its two rows of 10 meet those before in 9 pixels each, its columns in none
    black = torch.zeros_like(wide)
    pairs = [(wide, edges(wide)), (wide, edges(small)), (wide, moved), (black, black), (wide, black)]
    pairs = torch.cat([torch.cat(pair, 3) for pair in pairs])
    torch.testing.assert_close(pair_iou(pairs, edges), torch.tensor([1.0, 0.0, 18 / 54, 1.0, 0.0]))
    agreed = 1 - torch.tensor([0, 36 + 28, 36, 0, 36]) / 256
    torch.testing.assert_close(pixel_agreement(pairs, edges), agreed)


def test_agreement_is_of_each_pair_and_at_0():
    pairs = torch.tensor([[-0.1, 0.1, 0.9, -0.9], [-0.9, -0.9, 0.1, -0.1]]).view(2, 1, 1, 4)
    torch.testing.assert_close(pixel_agreement(pairs, negative), torch.tensor([1.0, 0.5]))
    with pytest.raises(ValueError, match="width of 3"):
        pixel_agreement(torch.zeros(1, 1, 2, 3), negative)
