"""Arithmetic of samples: what is read, and what is drawn against sums that are written out."""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path

import pytest
import torch
from conftest import SHAPE, tiny
from test_latents import by_hand, cells, double, noisy, refused, strong, w_of
from test_sample import kept, pixels

from gan_lightning import sample
from gan_lightning.cli.arithmetic import terms
from gan_lightning.latents import Latents, LatentSpace
from gan_lightning.metrics import to_uint8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def plain(folder: Path) -> str:
    return kept(strong(tiny("DCGAN")), folder / "plain.ckpt", SHAPE, 1)


@pytest.fixture(scope="module")
def style(folder: Path) -> str:
    return kept(noisy(tiny("StyleGAN2")), folder / "style.ckpt", SHAPE, 1)


@pytest.fixture(scope="module")
def labelled(folder: Path) -> str:
    return kept(tiny("CGAN"), folder / "labelled.ckpt", SHAPE, 1)


# What is read.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", [(1, [7])]),
        ("mean(1,5,9) - mean(2,3,4) + mean(7,8,0)", [(1, [1, 5, 9]), (-1, [2, 3, 4]), (1, [7, 8, 0])]),
        ("0.5*mean(1,2)-3", [(0.5, [1, 2]), (-1, [3])]),
        ("  1 -2 * 0.25*mean( 3 ) ", [(1, [1]), (-0.5, [3])]),
        ("2*3 + 4", [(2, [3]), (1, [4])]),
    ],
)
def test_sums_of_terms_are_read(text: str, expected: list) -> None:
    assert terms(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it needs the number of a sample or mean(...) at its end (character 1)"),
        ("mean(1,5", "it needs ',' or ')' at its end (character 9)"),
        ("mean(1,x) + 2", "it needs the number of a sample at 'x) + 2' (character 8)"),
        ("mean() + 2", "it needs the number of a sample at ') + 2' (character 6)"),
        ("mean 1", "it needs '(' at '1' (character 6)"),
        ("1 2", "it needs '+' or '-' at '2' (character 3)"),
        ("1 + ", "it needs the number of a sample or mean(...) at its end (character 5)"),
        ("0.5", "it needs the number of a sample or mean(...) at '0.5' (character 1)"),
        ("1 - 1.5.2*3", "it needs a number before '*' at '1.5.2*3' (character 5)"),
        ("mean*2", "it needs a number before '*' at 'mean*2' (character 1)"),
        ("-1", "it needs the number of a sample or mean(...) at '-1' (character 1)"),
        ("2**3", "it needs the number of a sample or mean(...) at '*3' (character 3)"),
        ("1e9*2", "it needs a number before '*' at '1e9*2' (character 1)"),
        ("(1 + 2)", "it needs the number of a sample or mean(...) at '(1 + 2)' (character 1)"),
        ("12345678901", "it needs the number of a sample or mean(...) at '12345678901' (character 1)"),
        ("mean(0.5)", "it needs the number of a sample at '0.5)' (character 6)"),
        ("٣", "it needs the number of a sample or mean(...) at '٣' (character 1)"),
        ("__import__('os').system('true')", "it needs the number of a sample or mean(...) at \"__import__('os').sys\""),
        ("1 + \n\x1b[2J", "it needs the number of a sample or mean(...) at '\\x1b[2J' (character 6)"),
        ("99999*" * 100 + "1", "its factors are too large"),
        ("mean(" * 100_000, "it needs the number of a sample at 'mean(mean(mean(mean(' (character 6)"),
        ("1+" * 100_000, "it needs the number of a sample or mean(...) at its end (character 200001)"),
    ],
    ids=lambda words: words[:30],
)
def test_other_text_is_refused_at_its_place(text: str, said: str) -> None:
    with pytest.raises(ArgumentTypeError) as refusal:
        terms(text)
    assert said in str(refusal.value) and str(refusal.value).isprintable()


# What is drawn.


def test_the_sheet_shows_operands_and_the_result_among_its_neighbours(plain: str, tmp_path: Path) -> None:
    text = "mean(1,4,2) - 0.5*mean(0,3) + 2"
    sample.main([plain, "--n", "5", "--out", str(tmp_path), "--arithmetic", text, "--batch_size", "4"])
    module, drawn = double(plain), pixels(tmp_path)
    z = module.latents(range(5))
    means = torch.stack([(z[1] + z[4] + z[2]) / 3, (z[0] + z[3]) / 2])
    result = means[0] - 0.5 * means[1] + z[2]

    def images(points: torch.Tensor) -> torch.Tensor:
        return to_uint8(module.generate(points)).flatten(1)

    table = cells(tmp_path / "sheets" / "arithmetic.png", 7, 4)
    assert torch.equal(table[0, :3], drawn[[1, 4, 2]]) and torch.equal(table[0, 3], images(means)[0])
    assert torch.equal(table[1, :2], drawn[[0, 3]]) and torch.equal(table[1, 2], images(means)[1])
    assert torch.equal(table[2, 0], drawn[2])
    assert not table[1, 3].any() and not table[2, 1:].any() and not table[3].any() and not table[4:, 3].any()
    nine = table[4:, :3].reshape(9, -1)
    assert torch.equal(nine[4], images(result[None])[0])
    assert torch.equal(pixels(tmp_path / "sheets" / "arithmetic"), nine[4:5])
    near = LatentSpace(module).neighbours(result[None], 8, 0.25)
    assert torch.equal(nine[[0, 1, 2, 3, 5, 6, 7, 8]], images(near))
    assert len({tuple(image.tolist()) for image in nine}) == 9


def test_neighbours_fill_the_cube_around_a_point_by_their_seed(plain: str, style: str) -> None:
    for path in (plain, style):
        space = LatentSpace(double(path))
        point = torch.full((1, *space.shape), 3.0, dtype=torch.float64)
        near = space.neighbours(point, 1000, 0.25, seed=1)
        apart = near - point
        assert near.shape == (1000, *space.shape) and apart.abs().max() <= 0.25
        assert apart.mean().abs() < 0.01 and apart.std() == pytest.approx(0.5 / 12**0.5, rel=0.03)
        assert torch.equal(near[:8], space.neighbours(point, 8, 0.25, seed=1))
        assert not torch.equal(near[:8], space.neighbours(point, 8, 0.25, seed=2))
        if space.has_styles:
            assert torch.equal(apart, apart[:, :1].expand_as(apart)), "one w for all layers"


def test_the_result_can_be_drawn_again(plain: str, style: str, tmp_path: Path) -> None:
    for name, path, how in (("z", plain, []), ("w", style, ["--noise", "random", "--truncation", "0.7"])):
        out = tmp_path / name
        how = [path, "--seed", "3", *how]
        sample.main([*how, "--n", "1", "--out", str(out), "--arithmetic", "4 - mean(2,1) + 0"])
        found = out / "sheets" / "arithmetic"
        sample.main([*how, "--latents", str(found / "latents.pt"), "--out", str(out / "again")])
        assert torch.equal(pixels(found), pixels(out / "again"))


def test_styles_are_summed_in_w(style: str, tmp_path: Path) -> None:
    flags = ["--n", "1", "--noise", "const", "--truncation", "0.5", "--out", str(tmp_path)]
    sample.main([style, *flags, "--arithmetic", "mean(1,2) - 3 + 4"])
    module = double(style)
    w, mean = w_of(module, range(5)), module.ema.network.mapping.w_average
    result = mean + 0.5 * ((w[1] + w[2]) / 2 - w[3] + w[4] - mean)
    expected = by_hand(module, result[None, None].expand(-1, 6, -1))
    assert torch.equal(pixels(tmp_path / "sheets" / "arithmetic"), expected)


def test_a_result_has_the_class_of_its_samples(labelled: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    flags = [labelled, "--n", "1", "--out", str(tmp_path)]
    module = double(labelled)
    z = module.latents(range(5))
    result = (z[1] + z[3] - z[2])[None]
    for label, text in (("0", "1 + 3 - 2"), ("1", "1 + 3 - 2")):
        sample.main([*flags, "--label", label, "--arithmetic", text])
        expected = to_uint8(module.generate(result, condition=torch.tensor([int(label)])))
        assert torch.equal(pixels(tmp_path / "sheets" / "arithmetic"), expected.flatten(1))
        space = LatentSpace(module)
        held = Latents.load(tmp_path / "sheets" / "arithmetic" / "latents.pt", space)
        torch.testing.assert_close(held.points, result)
        assert held.label.tolist() == [int(label)]
    sample.main([*flags, "--arithmetic", "1 + 3"])  # both of class 1 by themselves
    assert "of several classes, and its result is of one" in refused(
        sample.main, [*flags, "--arithmetic", "1 + 3 - 2"], capsys
    )
    said = refused(sample.main, [*flags, "--labels", "0,1", "--arithmetic", "1 + 3"], capsys)
    assert "--arithmetic is of one class" in said


def test_latents_of_a_file_are_summed(plain: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    module = double(plain)
    z = module.latents(range(7, 10))
    Latents(z).save(tmp_path / "z.pt", LatentSpace(module))
    flags = [plain, "--latents", str(tmp_path / "z.pt"), "--out", str(tmp_path / "out")]
    sample.main([*flags, "--arithmetic", "2 - mean(0,1)"])
    expected = to_uint8(module.generate((z[2] - (z[0] + z[1]) / 2)[None])).flatten(1)
    assert torch.equal(pixels(tmp_path / "out" / "sheets" / "arithmetic"), expected)
    said = refused(sample.main, [*flags, "--arithmetic", "2 - mean(0,3)"], capsys)
    assert "--arithmetic 3: " in said and "holds the latents 0 to 2" in said
    said = refused(sample.main, [plain, "--arithmetic", "mean(1,"], capsys)
    assert "argument --arithmetic: it needs the number of a sample at its end (character 8)" in said
