"""Data modules against what is known of their data: which image comes when, which bytes it has, what is refused."""

from __future__ import annotations

import gzip
import io
import itertools
import math
import multiprocessing
import os
import pickle
import struct
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import EpsImagePlugin, Image

from gan_lightning import data
from gan_lightning.batches import BatchIndex, Labeled
from gan_lightning.cli import command_line, translation
from gan_lightning.core import AdversarialModule, Step
from gan_lightning.data import decoding
from gan_lightning.data.base import ImageData, data_root, resize
from gan_lightning.data.blocks import Blocks
from gan_lightning.data.decoding import read_image
from gan_lightning.data.gaussians import mode_statistics
from gan_lightning.data.loader import MESSAGE, BatchDataset, Loader, TrainingOrder, WholeOrder
from gan_lightning.data.sets import InMemory
from gan_lightning.noise import key
from gan_lightning.runtime.errors import DataError
from gan_lightning.runtime.reading import Reading

REAL = os.environ.get("GAN_LIGHTNING_DATA")


class Numbered(ImageData):
    """Grey images whose label is their index."""

    def __init__(self, count: int = 23, batch_size: int = 4, num_workers: int = 0, flip: bool = False) -> None:
        super().__init__("Numbered", (1, 2, 2), None, batch_size, num_workers, flip)
        self.count = count

    def load(self, split: str) -> InMemory:
        label = torch.arange(self.count if split == "train" else 7)
        pixels = torch.stack([label * 4 + corner for corner in range(4)], 1) % 256
        return InMemory(pixels.byte().reshape(-1, 1, 2, 2), label)


class Watcher(LightningModule):
    """Notes the batches that it is given."""

    def __init__(self, seed: int = 5) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seed, self.images_seen = seed, 0
        self.seen: list[Labeled] = []
        self.validated: list[int] = []

    def on_train_batch_start(self, batch: Labeled, batch_idx: int) -> None:
        self.images_seen += len(batch.image) * self.trainer.world_size

    def training_step(self, batch: Labeled, batch_idx: int) -> torch.Tensor:
        self.seen.append(batch)
        return self.weight * batch.image.mean()

    def validation_step(self, batch: Labeled, batch_idx: int) -> None:
        self.validated += batch.label.tolist()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["counters"] = (self.images_seen, self.seed)

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.images_seen, self.seed = checkpoint["counters"]


def trainer(tmp_path: Path, **settings) -> Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(
        default_root_dir=tmp_path, accelerator="cpu", devices=1, enable_checkpointing=False, **quiet, **settings
    )


@contextmanager
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings(
            "ignore", message=".*LeafSpec", category=FutureWarning
        )  # Lightning's own, on torch 2.14
        yield


def same(one: list[Labeled], other: list[Labeled]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.image, b.image) and torch.equal(a.label, b.label) for a, b in zip(one, other, strict=True)
    )


# The order.


def test_an_epoch_is_a_permutation_and_every_epoch_another():
    epochs = [[i for which in TrainingOrder(24, 4, 0, lambda s=start: s) for i in which.index] for start in (0, 24)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(24))
    assert epochs[0] != epochs[1]
    other_seed = [i for which in TrainingOrder(24, 4, 1, lambda: 0) for i in which.index]
    assert other_seed != epochs[0]
    assert {which.epoch for which in TrainingOrder(24, 4, 0, lambda: 24)} == {1}


def test_the_order_from_a_position_is_the_rest_of_the_order():
    stream = [*TrainingOrder(23, 4, 3, lambda: 0), *TrainingOrder(23, 4, 3, lambda: 20)]
    assert len(stream) == 10  # 23 images give 5 batches of 4, the rest is dropped
    for position in range(6):
        assert list(TrainingOrder(23, 4, 3, lambda p=position: 4 * p)) == stream[position : position + 5]


def test_the_position_is_asked_when_iteration_begins():
    seen = [8]
    batches = iter(TrainingOrder(23, 4, 3, lambda: seen[0]))
    seen[0] = 0
    assert next(batches) == list(TrainingOrder(23, 4, 3, lambda: 8))[0]


@pytest.mark.parametrize(
    ("before", "after", "batches"), [(4, 8, 4), (64, 100, 3), (64, 100, 76), (10, 3, 7), (7, 50, 142)]
)
def test_another_batch_size_goes_on_with_the_rest_of_the_epoch(before, after, batches):
    """An image that the epoch has shown is not shown again in it, whatever the sizes; no epoch comes again."""
    count, seen = 1000 if before > 4 else 24, before * batches
    origin = TrainingOrder(count, before, 0, lambda: seen).position()
    shown = [next(iter(TrainingOrder(count, before, 0, lambda n=n: n * before))) for n in range(batches)]
    new = TrainingOrder(count, after, 0, lambda: seen, origin=origin)
    following = list(new)
    assert [which.epoch for which in shown + following] == sorted(which.epoch for which in shown + following)
    for number in {which.epoch for which in shown + following}:
        rows = [i for which in shown + following if which.epoch == number for i in which.index]
        assert len(rows) == len(set(rows))
    assert following[0].epoch == origin.epoch + (count - origin.row < after)
    # And it goes on from anywhere in the new order, after a further change too.
    later = TrainingOrder(count, after, 0, lambda: seen + 2 * after, origin=origin)
    assert list(later)[: len(following) - 2] == following[2:]


@pytest.mark.parametrize(("world_size", "micro_batches"), [(2, 1), (4, 1), (2, 2), (2, 4)])
def test_the_ranks_parts_are_the_whole_batch(world_size, micro_batches):
    """Micro-batch after micro-batch, each of them shared by the ranks in turn."""
    whole = list(TrainingOrder(50, 8, 3, lambda: 2))
    share = [{"rank": rank, "world_size": world_size, "micro_batches": micro_batches} for rank in range(world_size)]
    parts = [list(TrainingOrder(50, 8, 3, lambda: 2, **of_rank)) for of_rank in share]
    for batch, shares in zip(whole, zip(*parts, strict=True), strict=True):
        n = 8 // world_size // micro_batches
        cut = [slice(first, first + n) for first in range(0, 8 // world_size, n)]
        index = [i for piece in cut for of_rank in shares for i in of_rank.index[piece]]
        rows = [row for piece in cut for of_rank in shares for row in of_rank.rows[piece]]
        assert batch == BatchIndex(batch.epoch, index, rows)
        assert batch.rows == list(range(batch.rows[0], batch.rows[0] + 8))


def test_a_batch_that_does_not_divide_by_micro_batches_is_left_whole():
    """Whoever cuts it refuses it, and says why."""
    assert next(iter(TrainingOrder(50, 8, 3, lambda: 0, micro_batches=3))).rows == list(range(8))


def test_validation_sees_every_image_once_in_equally_many_batches_none_of_them_empty():
    """Nor longer than its share of the batch size and one more; of one process, than the batch size."""
    some = itertools.product(range(1, 40), (1, 2, 3, 4, 7, 8, 16), range(1, 9))
    for count, batch_size, world_size in [(401, 2, 2), (100, 8, 8), (33, 32, 2), *some]:
        if count < world_size:
            continue
        ranks = [list(WholeOrder(count, batch_size, rank, world_size)) for rank in range(world_size)]
        assert {len(rank) for rank in ranks} == {len(WholeOrder(count, batch_size, 0, world_size))}
        assert sorted(i for rank in ranks for which in rank for i in which.index) == list(range(count))
        sizes = [len(which.index) for rank in ranks for which in rank]
        most = batch_size if world_size == 1 else math.ceil(batch_size / world_size) + 1
        assert min(sizes) >= 1 and max(sizes) <= most, (count, batch_size, world_size)


def test_fewer_validation_images_than_processes_are_not_shown(monkeypatch):
    with pytest.raises(ValueError, match="^3 images cannot be shared by 4 processes"):
        WholeOrder(3, 4, 3, 4)
    module = Numbered()  # of 7 validation images
    for rank, world_size, warned in ((0, 7, False), (0, 8, True), (7, 8, True)):
        monkeypatch.setattr(Numbered, "_processes", (rank, world_size))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            batches = list(module.val_dataloader())
        assert len(batches) == (not warned)
        assert [str(one.message).split(":")[0] for one in said] == ["Numbered"] * warned
    assert "its 7 validation examples are fewer than the 8 processes" in str(said[0].message)


# A batch size that is a function of the images seen.

# Of 23 images, batches of 8 until 24 images, of 4 until 48, then of 2: (epoch, first row, size) by hand. The rest of
# epoch 0 is too short for a batch of 8 (16 + 8 > 23), of epoch 1 for one of 4 (20 + 4 > 23), of epoch 2 for one of 2.
CUT = [(0, 0, 8), (0, 8, 8), (1, 0, 8), (1, 8, 4), (1, 12, 4), (1, 16, 4), (2, 0, 4), (2, 4, 4), (2, 8, 4)]
CUT += [(2, row, 2) for row in range(12, 22, 2)] + [(3, 0, 2), (3, 2, 2)]
SEEN = [sum(size for *_, size in CUT[:n]) for n in range(len(CUT))]  # images before each batch


def halving(images_seen: int) -> int:
    return 8 if images_seen < 24 else 4 if images_seen < 48 else 2


def cut_by_hand(seed: int) -> list[BatchIndex]:
    seeded = [torch.Generator().manual_seed(key(seed, epoch)) for epoch in range(4)]
    epochs = [torch.randperm(23, generator=generator).tolist() for generator in seeded]
    places = [(epoch, list(range(row, row + size))) for epoch, row, size in CUT]
    return [BatchIndex(epoch, [epochs[epoch][row] for row in rows], rows) for epoch, rows in places]


def test_batches_of_a_changing_size_are_cut_as_by_hand():
    """From the start, and from each batch on; an epoch shows no image twice; ranks have the halves of each batch."""
    expected = cut_by_hand(3)
    for number, seen in enumerate(SEEN):
        order = TrainingOrder(23, halving, 3, lambda seen=seen: seen)
        assert order.position() == (seen, *CUT[number][:2])
        following = list(order)
        assert len(following) == len(order) == 2  # 23 // 8: Lightning's epochs
        assert following[: len(CUT) - number] == expected[number : number + 2]
        halves = [list(TrainingOrder(23, halving, 3, lambda seen=seen: seen, rank, 2)) for rank in (0, 1)]
        joined = [BatchIndex(a.epoch, a.index + b.index, a.rows + b.rows) for a, b in zip(*halves, strict=True)]
        assert joined == following
        mid = TrainingOrder(23, halving, 3, lambda: 52, origin=order.position())  # as stored in a checkpoint
        assert next(iter(mid)) == expected[SEEN.index(52)]
    for epoch in range(4):
        shown = [i for batch in expected if batch.epoch == epoch for i in batch.index]
        assert len(shown) == len(set(shown))


def test_one_order_finds_every_position_in_any_sequence():
    """What it remembers makes it faster, and changes nothing; a run begun anew does not begin at the origin."""
    seen = 0
    order = TrainingOrder(23, halving, 3, lambda: seen, origin=TrainingOrder(23, halving, 3, lambda: 32).position())
    for seen in (52, 40, 56, 0, 16, 32):
        assert order.position() == (seen, *CUT[SEEN.index(seen)][:2])


@pytest.mark.parametrize(("size", "world_size"), [(24, 1), (0, 1), (5, 2)])
def test_a_batch_that_cannot_be_is_refused(size, world_size):
    order = TrainingOrder(23, lambda seen: 8 if seen < 8 else size, 0, lambda: 0, 0, world_size)
    batches = iter(order)
    next(batches)
    with pytest.raises(ValueError, match=f"batch after 8 images cannot be of {size}: .* 23 at most.* {world_size}$"):
        next(batches)


# The loaders.


def test_workers_change_no_batch():
    order = TrainingOrder(23, 4, 3, lambda: 3)
    images = Numbered().reference("train")
    alone, workers = (Loader(images, order, num_workers=n, flip_seed=9, group=3) for n in (0, 2))
    assert same(list(alone), list(workers))
    assert same(list(alone), list(workers))  # the workers are kept for another epoch
    workers.close()
    assert same(list(alone), list(workers))  # and come back


def test_large_batches_travel_from_a_worker_as_well():
    images = InMemory(torch.arange(256).byte().repeat(4, 3, 512, 1), torch.arange(4))
    loader = Loader(images, WholeOrder(4, 4), num_workers=1)
    assert next(iter(loader)).image.nbytes > MESSAGE
    assert same(list(loader), [images.__getitems__([0, 1, 2, 3])])
    loader.close()


def test_a_loader_leaves_the_global_random_stream_alone():
    before = torch.random.get_rng_state()
    for workers in (0, 1):
        loader = Loader(Numbered().reference("train"), WholeOrder(23, 8), workers)
        list(loader)
        loader.close()
    assert torch.equal(before, torch.random.get_rng_state())


def test_mirroring_depends_on_seed_epoch_and_index_alone():
    images = Numbered(64).reference("train")

    def mirrored(flip_seed: int, epoch: int, index: list[int]) -> list[bool]:
        batch = BatchDataset(images, flip_seed)[BatchIndex(epoch, index)]
        plain = images.__getitems__(index)
        flips = (batch.image == plain.image.flip(3)).flatten(1).all(1)
        assert torch.equal(torch.where(flips[:, None, None, None], plain.image.flip(3), plain.image), batch.image)
        return flips.tolist()

    whole = mirrored(1, 0, list(range(64)))
    assert [mirrored(1, 0, [i])[0] for i in range(64)] == whole
    assert mirrored(1, 0, list(range(63, -1, -1))) == whole[::-1]
    assert mirrored(1, 1, list(range(64))) != whole != mirrored(2, 0, list(range(64)))
    assert 16 < sum(whole) < 48
    # The set itself stays as it was.
    assert torch.equal(images.image, Numbered(64).load("train").image)


def test_mirrored_share_is_half():
    images = InMemory(torch.tensor([0, 1]).byte().repeat(20_000, 1, 1, 1), torch.zeros(20_000, dtype=torch.int64))
    flips = [BatchDataset(images, 0)[BatchIndex(e, list(range(20_000)))].image[:, 0, 0, 0].float() for e in range(2)]
    for flip in flips:
        assert abs(flip.mean().item() - 0.5) < 4 * 0.5 / math.sqrt(20_000)
    correlation = torch.corrcoef(torch.stack(flips))[0, 1].item()
    assert abs(correlation) < 4 / math.sqrt(20_000)


def test_bytes_are_scaled_to_exactly_minus_one_and_one():
    levels = torch.arange(256).byte().reshape(1, 1, 16, 16)
    batch = Numbered().on_after_batch_transfer(Labeled(levels, torch.tensor([3])), 0)
    assert batch.image.dtype == torch.float32 and batch.label.dtype == torch.int64
    assert batch.image.min() == -1 and batch.image.max() == 1
    assert torch.equal(((batch.image + 1) * 127.5).round().byte(), levels)
    points = Labeled(torch.rand(2, 2, 1, 1), torch.tensor([0, 1]))
    assert Numbered().on_after_batch_transfer(points, 0).image is points.image


def test_resize_is_pillows_and_keeps_extremes():
    image = torch.randint(0, 256, (3, 1, 28, 28), generator=torch.Generator().manual_seed(0)).byte()
    for size in (14, 32):
        pillow = [np.asarray(Image.fromarray(i[0].numpy()).resize((size, size), Image.BILINEAR)) for i in image]
        assert (resize(image, size)[:, 0].int() - torch.from_numpy(np.stack(pillow)).int()).abs().max() <= 1
    assert resize(torch.full((1, 1, 8, 8), 255).byte(), 32, "bicubic").min() == 255
    assert resize(image, 28) is image


# Lightning.


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [3, 5, 7])  # within the first epoch, at its end, within the second
def test_a_resumed_run_sees_the_batches_of_an_unbroken_one(tmp_path, workers, stop):
    with no_warnings():
        whole = Watcher()
        trainer(tmp_path, max_steps=12).fit(whole, Numbered(num_workers=workers, flip=True))
        first, second = Watcher(), Watcher(seed=99)  # the seed comes back from the checkpoint
        run = trainer(tmp_path, max_steps=stop)
        run.fit(first, Numbered(num_workers=workers, flip=True))
        run.save_checkpoint(tmp_path / "stop.ckpt")
        again = trainer(tmp_path, max_steps=12)
        again.fit(second, Numbered(num_workers=workers, flip=True), ckpt_path=tmp_path / "stop.ckpt")
    assert len(whole.seen) == 12 and same(whole.seen, first.seen + second.seen)


class Growing(Watcher):
    """Says the batch size of its phases, and writes a checkpoint after each batch."""

    def batch_size(self, images_seen: int) -> int:
        return halving(images_seen)

    def on_train_batch_end(self, *_) -> None:
        path = Path(self.trainer.default_root_dir) / f"{self.images_seen}.ckpt"
        if not path.exists():
            self.trainer.save_checkpoint(path)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_that_stops_anywhere_goes_on_with_its_phases_batches(tmp_path, workers):
    """The data's own batch size, 4, is for validation alone then."""
    whole = Growing()
    trainer(tmp_path, max_steps=len(CUT), limit_val_batches=0).fit(whole, Numbered(num_workers=workers))
    assert [batch.label.tolist() for batch in whole.seen] == [batch.index for batch in cut_by_hand(5)]
    for number in range(1, len(CUT), 1 if workers == 0 else 5):
        again = Growing(seed=99)
        run = trainer(tmp_path, max_steps=len(CUT), limit_val_batches=0)
        run.fit(again, Numbered(num_workers=workers), ckpt_path=tmp_path / f"{SEEN[number]}.ckpt")
        assert same(again.seen, whole.seen[number:])


def test_a_model_without_phases_leaves_the_batch_size_to_the_data(tmp_path):
    class Undecided(Watcher):
        def batch_size(self, images_seen: int) -> int | None:
            return None if images_seen < 8 else 2

    module = Undecided()
    trainer(tmp_path, max_steps=4, limit_val_batches=0).fit(module, Numbered())
    assert [len(batch.image) for batch in module.seen] == [4, 4, 2, 2]
    assert AdversarialModule(Step()).batch_size(0) is None


def test_fit_raises_no_warning_and_validates_everything_once(tmp_path):
    module = Watcher()
    with no_warnings():
        trainer(tmp_path, max_epochs=2, num_sanity_val_steps=0).fit(module, Numbered())
    assert module.validated == 2 * list(range(7))
    assert module.seen[0].image.dtype == torch.float32
    assert sorted({int(i) for batch in module.seen[:5] for i in batch.label}) != list(range(23))  # 3 are dropped
    assert len({int(i) for batch in module.seen[:5] for i in batch.label}) == 20


def test_limited_epochs_go_through_the_whole_set(tmp_path):
    module = Watcher()
    trainer(tmp_path, max_epochs=5, limit_train_batches=3, limit_val_batches=0).fit(module, Numbered())
    assert [batch.label.tolist() for batch in module.seen] == [
        which.index for start in (0, 20, 40) for which in TrainingOrder(23, 4, 5, lambda s=start: s)
    ]


def test_a_module_without_counters_trains_from_the_start(tmp_path):
    module = Watcher()
    del module.images_seen, module.seed
    module.on_train_batch_start = lambda batch, batch_idx: None
    module.on_save_checkpoint = lambda checkpoint: None
    trainer(tmp_path, max_steps=5).fit(module, Numbered())
    assert len({int(i) for batch in module.seen for i in batch.label}) == 20


@pytest.mark.slow  # bar 1 holds the same of every model
def test_two_processes_see_the_batches_of_one(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys
        sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[1])!r}]
        import torch
        from lightning.pytorch import Trainer
        from test_data import Numbered, Watcher, no_warnings

        if __name__ == "__main__":
            module = Watcher()
            run = Trainer(
                devices=2, accelerator="cpu", strategy="ddp", max_steps=8, logger=False, num_sanity_val_steps=0,
                enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
                default_root_dir={str(tmp_path)!r},
            )
            with no_warnings():
                run.fit(module, Numbered(num_workers=int(sys.argv[1]), flip=True))
            state = {{"seen": [tuple(b) for b in module.seen], "validated": module.validated}}
            torch.save(state, {str(tmp_path)!r} + f"/rank{{run.global_rank}}.pt")
        """)
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script), "2"], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    ranks = [torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1)]
    assert sorted(ranks[0]["validated"] + ranks[1]["validated"]) == list(range(7))  # one epoch of 5 batches ended

    whole = Watcher()
    trainer(tmp_path, max_steps=8).fit(whole, Numbered(flip=True))
    joined = [
        Labeled(torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]]))
        for a, b in zip(ranks[0]["seen"], ranks[1]["seen"], strict=True)
    ]
    assert same(whole.seen, joined)


# What is refused.


def test_too_few_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match="^Numbered has 3 training examples, fewer than one batch of 4: .*batch_size$"):
        trainer(tmp_path, max_steps=1).fit(Watcher(), Numbered(3))
    with pytest.raises(ValueError, match="Numbered has 0 training examples"):
        Numbered(0).setup("fit")
    Numbered(3).setup("validate")  # scores need no whole batch


def test_a_batch_that_processes_cannot_share_is_refused():
    module = Numbered(batch_size=5)
    module.trainer = type("Two", (), {"global_rank": 0, "world_size": 2})()
    with pytest.raises(ValueError, match="^--data.batch_size 5 is the whole batch, and 2 processes cannot share"):
        module.setup("fit")


@pytest.mark.parametrize("arguments", [{"batch_size": 0}, {"num_workers": -1}])
def test_impossible_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match="^Digits: "):
        data.Digits(**arguments)


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match='not "test"$'):
        Numbered().reference("test")


# Digits.


def test_digits_are_sklearns():
    from sklearn.datasets import load_digits

    small, digits = data.Digits(size=8, batch_size=16), data.Digits()
    assert digits.image_shape == (1, 32, 32) and digits.num_classes == 10 and digits.name == "Digits"
    train, val = small.reference("train"), small.reference("val")
    assert (len(train), len(val)) == (1500, 297)
    image, label = train.__getitems__(list(range(1500)))
    others = val.__getitems__(list(range(297)))
    published = load_digits()
    mine = {(i.tobytes(), int(n)) for i, n in zip(published.images.astype(np.uint8), published.target, strict=True)}
    levels = torch.cat([image, others.image]).float().mul(16 / 255).round().byte()
    found = {(i.numpy().tobytes(), int(n)) for i, n in zip(levels, torch.cat([label, others.label]), strict=True)}
    assert found == mine
    assert image.min() == 0 and image.max() == 255
    assert set(others.label.tolist()) == set(range(10))
    large = digits.reference("train").__getitems__([0, 1])
    assert large.image.shape == (2, 1, 32, 32) and large.image.dtype == torch.uint8
    assert torch.equal(large.label, label[:2])
    single = digits.reference("train")[1]
    assert torch.equal(single.image, large.image[1]) and single.label == large.label[1]


# MNIST.


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_mnist(folder: Path, zipped: bool) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    arrays = {}
    for stem, count in (("train", 12), ("t10k", 5)):
        arrays[f"{stem}-images-idx3-ubyte"] = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{stem}-labels-idx1-ubyte"] = random.integers(0, 10, count, dtype=np.uint8)
    for name, array in arrays.items():
        content = gzip.compress(idx(array)) if zipped else idx(array)
        (folder / (name + ".gz" * zipped)).write_bytes(content)
    return arrays


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("inner", ["", "raw"])
@pytest.mark.parametrize("kind", [data.MNIST, data.FashionMNIST])
def test_mnist_reads_its_files_in_either_layout_without_writing(tmp_path, monkeypatch, kind, inner, zipped):
    root = tmp_path / kind.__name__.lower()
    folder = root / kind.__name__ / inner if inner else root
    arrays = write_mnist(folder, zipped)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setenv("GAN_LIGHTNING_DATA", str(tmp_path))
    mnist = kind(batch_size=4)
    assert mnist.image_shape == (1, 28, 28) and mnist.name == kind.__name__
    for split, stem in (("train", "train"), ("val", "t10k")):
        images = mnist.reference(split)
        batch = images.__getitems__(list(range(len(images))))
        assert np.array_equal(batch.image[:, 0], arrays[f"{stem}-images-idx3-ubyte"])
        assert np.array_equal(batch.label, arrays[f"{stem}-labels-idx1-ubyte"])
        assert batch.label.dtype == torch.int64
    assert sorted(tmp_path.rglob("*")) == before
    assert kind(size=32).reference("train").image.shape == (12, 1, 32, 32)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("StackedMNIST", data.StackedDigits),
        ("PartlyLabeledMNIST", data.PartlyLabeledDigits),
        ("MNISTDomains", data.DigitDomains),
        ("MNISTPatches", data.DigitPatches),
    ],
)
def test_sets_made_of_digits_are_made_of_mnist_on_demand(tmp_path, name, kind):
    """Every image is found among MNIST's; the name says that it is MNIST; the old name leads to the class."""
    known = write_mnist(tmp_path / "mnist", zipped=False)["t10k-images-idx3-ubyte"]
    wide = data.MNIST(size=[28, 56], root=str(tmp_path / "mnist"))
    assert wide.image_shape == (1, 28, 56) and wide.reference("val").image.shape[1:] == wide.image_shape
    root, size = str(tmp_path / "mnist"), ["--data.size=28"] if kind is data.DigitPatches else []
    flags = [f"--data={kind.__name__}", "--data.source=mnist", f"--data.root={root}", *size]
    module = command_line.data_module(flags)
    assert type(module) is kind and module.name == name
    batch = next(module.reference("val").parts(1000))
    grey = batch.image[..., :28].flatten(0, 1).numpy()  # domain B is on the right
    assert len(grey) and all((known == image).all((1, 2)).any() for image in grey)
    assert kind().name == name.replace("MNIST", "Digits")
    assert kind().image_shape[1] == {"DigitDomains": 16, "DigitPatches": 8}.get(kind.__name__, 32)
    with pytest.raises(ValueError, match=f"unknown name {name}, did you mean '{kind.__name__}'"):
        command_line.data_module([f"--data={name}"])
    with pytest.raises(ValueError, match='source must be "digits" .* or "mnist", not \'cifar\''):
        kind("cifar")
    with pytest.raises(ValueError, match="add --data.source mnist"):
        kind(root=root)


def no_network(*args, **settings):
    raise RuntimeError("Error downloading train-images-idx3-ubyte.gz:\nTried somewhere, got: no route")


def test_without_a_network_one_line_says_where_the_files_belong(tmp_path, monkeypatch):
    monkeypatch.setattr(data.MNIST, "published", type("MNIST", (), {"__init__": no_network}))
    with pytest.raises(FileNotFoundError) as raised:
        data.MNIST(root=str(tmp_path)).reference("train")
    message = str(raised.value)
    assert "\n" not in message and str(tmp_path) in message and "GAN_LIGHTNING_DATA" in message
    assert "train-images-idx3-ubyte" in message
    monkeypatch.setattr("torchvision.datasets.CIFAR10.__init__", no_network)
    with pytest.raises(FileNotFoundError, match=r"^CIFAR10 is not in .*cifar-10-python.tar.gz.*holds cifar10/$"):
        data.CIFAR10(root=str(tmp_path)).prepare_data()


def slow_download(root: Path, download: bool) -> None:
    """Torchvision's part: writes files in their places, slowly, but none where they are."""
    names = [f"{stem}-{kind}" for stem in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    if not (root / names[-1]).exists():
        with (root / "downloads").open("a") as note:
            note.write("one ")
        for name in names:
            (root / name).touch()
        time.sleep(0.3)
        for name in names:
            (root / name).write_bytes(idx(np.zeros((2, 28, 28) if "images" in name else 2, np.uint8)))


@pytest.mark.parametrize("kind", [data.MNIST, data.CIFAR10])
def test_two_processes_do_not_download_into_a_folder_at_once(tmp_path, monkeypatch, kind):
    """Threads stand for processes: the lock is that of an open file."""
    monkeypatch.setattr(data.MNIST, "published", staticmethod(slow_download))
    monkeypatch.setattr(
        "torchvision.datasets.CIFAR10.__init__", lambda _, *args, **names: slow_download(*args, **names)
    )
    last = tmp_path / "t10k-labels-idx1-ubyte"

    def prepare(is_second: bool) -> int:
        while is_second and not last.exists():  # it comes when the files are there, and empty
            time.sleep(0.01)
        kind(root=str(tmp_path)).prepare_data()
        return last.stat().st_size

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(prepare, [False, True])) == [8 + 2] * 2  # the header and two labels
    assert (tmp_path / "downloads").read_text() == "one "
    assert len(list(tmp_path.iterdir())) == 6  # the four files, the note, the lock


def test_where_no_lock_can_be_had_data_is_looked_for_and_downloaded_without(tmp_path, monkeypatch):
    monkeypatch.setattr(data.MNIST, "published", staticmethod(slow_download))
    write_mnist(tmp_path / "there", zipped=False)
    (tmp_path / "absent").mkdir()
    for folder, count in (("there", 5), ("absent", 2)):
        (tmp_path / folder / ".download.lock").mkdir()  # no file can be opened there, by root neither
        assert len(data.MNIST(root=str(tmp_path / folder)).reference("val")) == count
    assert not (tmp_path / "there" / "downloads").exists()
    (tmp_path / "file").touch()  # no folder can be made below it
    with pytest.raises(FileNotFoundError, match="^MNIST is not in .*could not be downloaded .*Not a directory"):
        data.MNIST(root=str(tmp_path / "file" / "below")).prepare_data()


@pytest.mark.parametrize("zipped", [False, True])
def test_a_damaged_mnist_file_is_named(tmp_path, zipped):
    write_mnist(tmp_path / "m", zipped)
    file = next((tmp_path / "m").glob("train-images*"))
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=f"^{file} is damaged"):
        data.MNIST(root=str(tmp_path / "m")).reference("train")


def test_the_root(monkeypatch):
    monkeypatch.delenv("GAN_LIGHTNING_DATA", raising=False)
    monkeypatch.setenv("GAN_LIGHTNING_CACHE", "/kept")
    assert data_root("CIFAR10", None) == Path("/kept/cifar10")
    monkeypatch.delenv("GAN_LIGHTNING_CACHE")
    assert data_root("CIFAR10", None) == Path.home() / ".cache/gan_lightning/cifar10"
    monkeypatch.setenv("GAN_LIGHTNING_DATA", "/sets")
    assert data_root("FashionMNIST", None) == Path("/sets/fashionmnist")
    assert data_root("FashionMNIST", "here") == Path("here")


# CIFAR-10.


def write_cifar(root: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Both kinds of npz files; smooth images, which JPEG keeps."""
    random = np.random.default_rng(0)
    written = {}
    for name, count in (("cifar10_jpeg_train", 2003), ("cifar10_jpeg_test", 7)):
        colours = random.integers(0, 256, (count, 1, 1, 3), dtype=np.uint8)
        images, labels = np.broadcast_to(colours, (count, 32, 32, 3)), (np.arange(count) % 10).astype(np.uint8)
        files = []
        for image in images:
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "JPEG", quality=95, subsampling=0)
            files.append(np.frombuffer(buffer.getvalue(), np.uint8))
        offset = np.cumsum([0] + [len(file) for file in files])
        np.savez(root / f"{name}.npz", jpeg=np.concatenate(files), offset=offset, label=labels)
        written[name] = images, labels
    images = random.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    np.savez(root / "cifar10_lossless_train4000.npz", image=images, label=np.arange(20, dtype=np.uint8) % 10)
    return written | {"lossless": (images, np.arange(20) % 10)}


def test_cifar10_reads_the_npz_files(tmp_path):
    written = write_cifar(tmp_path)
    cifar = data.CIFAR10(root=str(tmp_path))
    assert cifar.source == "jpeg" and cifar.name == "CIFAR10-jpeg" and cifar.image_shape == (3, 32, 32)
    for split, name in (("train", "cifar10_jpeg_train"), ("val", "cifar10_jpeg_test")):
        image, label = cifar.reference(split).image, cifar.reference(split).label
        expected = torch.from_numpy(written[name][0].copy()).permute(0, 3, 1, 2)
        assert (image.int() - expected.int()).abs().max() <= 4
        assert np.array_equal(label, written[name][1])
    wide = data.CIFAR10(source="lossless4000", size=[16, 32], root=str(tmp_path)).reference("val").image
    lossless = data.CIFAR10(source="lossless4000", root=str(tmp_path))
    assert lossless.name == "CIFAR10-lossless4000"
    images, labels = written["lossless"]
    held_out = np.array([9, 19])
    for split, rows in (("val", held_out), ("train", np.setdiff1d(np.arange(20), held_out))):
        assert np.array_equal(lossless.reference(split).image, images[rows].transpose(0, 3, 1, 2))
        assert np.array_equal(lossless.reference(split).label, labels[rows])
    assert torch.equal(wide, lossless.reference("val").image[:, :, 8:24])  # the middle, neither stretched nor squeezed


def test_cifar10_prefers_the_official_batches(tmp_path):
    write_cifar(tmp_path)
    (tmp_path / "cifar-10-batches-py").mkdir()
    assert data.CIFAR10(root=str(tmp_path)).source == "official"
    assert data.CIFAR10(root=str(tmp_path / "nothing")).source == "official"
    with pytest.raises(FileNotFoundError, match="cifar10_jpeg_train.npz does not exist"):
        data.CIFAR10("jpeg", root=str(tmp_path / "nothing")).reference("train")
    (tmp_path / "cifar10_jpeg_train.npz").write_bytes(b"PK no")
    with pytest.raises(ValueError, match="cifar10_jpeg_train.npz is not the npz file"):
        data.CIFAR10("jpeg", root=str(tmp_path)).reference("train")


def test_the_official_batches_keep_pixels_and_order(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    pixels = {train: random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8) for train, count in ((1, 6), (0, 3))}

    def published(self, root, train=True, download=False):
        self.data, self.targets = pixels[train], list(range(len(pixels[train])))

    monkeypatch.setattr("torchvision.datasets.CIFAR10.__init__", published)
    cifar = data.CIFAR10("official", root=str(tmp_path))
    assert cifar.name == "CIFAR10"
    for split, train in (("train", 1), ("val", 0)):
        images = cifar.reference(split)
        assert np.array_equal(images.image, pixels[train].transpose(0, 3, 1, 2))
        assert images.label.tolist() == list(range(len(pixels[train])))


# Folders.


def save(path: Path, array: np.ndarray, **settings) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **settings)


def test_bar_23_every_kind_of_file_becomes_the_same_shape(tmp_path):
    left = np.zeros((8, 8), np.uint8)
    left[:, :4] = 200  # bright on the left
    colour = np.stack([left, left // 2, 255 - left], -1)

    save(tmp_path / "grey.png", left)
    save(tmp_path / "16.png", left.astype(np.uint16) * 257)
    save(tmp_path / "colour.png", colour)
    Image.fromarray(colour).convert("P", palette=Image.ADAPTIVE).save(tmp_path / "palette.png")
    Image.fromarray(colour).convert("CMYK").save(tmp_path / "cmyk.tif")
    Image.fromarray(left > 100).save(tmp_path / "bits.png")
    alpha = np.where(left[..., None] > 0, 255, 0).astype(np.uint8)
    save(tmp_path / "alpha.png", np.concatenate([colour, alpha], -1))

    grey = np.repeat(left[None], 3, 0)
    assert np.array_equal(read_image(tmp_path / "grey.png", 8, 3), grey)
    assert np.array_equal(read_image(tmp_path / "16.png", 8, 3), grey * np.uint16(257))
    assert np.array_equal(read_image(tmp_path / "16.png", 8, 1), left[None] * np.uint16(257))
    expected = colour.transpose(2, 0, 1)
    for name in ("colour.png", "palette.png", "cmyk.tif"):
        assert np.abs(read_image(tmp_path / name, 8, 3).astype(int) - expected).max() <= 1, name
    assert np.array_equal(read_image(tmp_path / "bits.png", 8, 1), (left[None] > 100) * np.uint8(255))
    on_white = read_image(tmp_path / "alpha.png", 8, 3)
    assert np.array_equal(on_white[:, :, :4], expected[:, :, :4]) and (on_white[:, :, 4:] == 255).all()
    kept = read_image(tmp_path / "alpha.png", 8, 4)
    assert np.array_equal(kept[3], alpha[..., 0]) and (read_image(tmp_path / "grey.png", 8, 4)[3] == 255).all()


def test_images_are_turned_upright_and_cropped_in_the_centre(tmp_path):
    left = np.zeros((8, 8), np.uint8)
    left[:, :4] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held turned: show it turned clockwise by 90 degrees
    save(tmp_path / "turned.png", left, exif=exif)
    assert np.array_equal(read_image(tmp_path / "turned.png", 8, 1)[0], np.rot90(left, -1))

    wide = np.full((16, 48), 90, np.uint8)
    wide[:, :16], wide[:, 32:] = 0, 255
    for array, name in ((wide, "wide.png"), (wide.T.copy(), "high.png")):
        save(tmp_path / name, array)
        assert (read_image(tmp_path / name, 16, 1) == 90).all()
        assert abs(read_image(tmp_path / name, 8, 1)[0, 2:-2, 2:-2].astype(int) - 90).max() <= 1
    # Antialiasing: a fine chessboard becomes grey, not black or white.
    save(tmp_path / "chess.png", (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8))
    assert abs(read_image(tmp_path / "chess.png", 16, 1).astype(int) - 128).max() <= 4


def fill(root: Path, names: list[str]) -> None:
    random = np.random.default_rng(0)
    for name in names:
        save(root / name, random.integers(0, 256, (20, 24, 3), dtype=np.uint8))


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    fill(tmp_path, [f"{i:02}.jpg" for i in range(20)] + ["cut.png"])
    whole = (tmp_path / "03.jpg").read_bytes()
    (tmp_path / "03.jpg").write_bytes(whole[: len(whole) * 3 // 4])
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:-300])
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "notes.txt").write_text("ignored")
    return tmp_path


def test_postscript_is_never_run(tmp_path, monkeypatch):
    """Whatever it is called: Pillow would hand it to Ghostscript, which runs it."""
    ran: list[Any] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given, **named: ran.append(given))
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) run\n%%EOF\n"
    (tmp_path / "x.png").write_bytes(program)
    for read in (
        lambda: decoding.read_pixels(tmp_path / "x.png", 3),
        lambda: decoding.pixels_of(program, "x.jpg", 1),
        lambda: translation.read(tmp_path / "x.png", 3, Reading()),
    ):
        with pytest.raises(DataError, match=r"x\.(png|jpg) cannot be read: it is PostScript"):
            read()
    assert not ran


class Slow(Blocks):
    """Ten blocks of ten rows, each of which takes a while to open."""

    def __init__(self) -> None:
        super().__init__([10] * 10, [1] * 10, 0)
        self.opens: list[int] = []

    def open_block(self, block: int) -> int:
        time.sleep(0.01)
        self.opens.append(block)
        return block

    def __getitems__(self, index: list[int]) -> tuple:
        return tuple(self.place(row) for row in index)


def test_threads_that_read_one_block_open_it_once():
    """They read it for scores; a window has one block here."""
    rows = Slow()
    with ThreadPoolExecutor(8) as threads:
        for block in range(10):
            found = list(threads.map(rows.__getitems__, [[10 * block + row] for row in range(10)]))
            assert found == [((block, row),) for row in range(10)]
    assert rows.opens == list(range(10))
    pickle.loads(pickle.dumps(rows)).place(7)  # in a worker


def test_damaged_files_are_named_and_refused(damaged):
    with pytest.raises(ValueError, match="^3 damaged files: ") as raised:
        data.ImageFolder(str(damaged), 16, batch_size=4).setup("fit")
    message = str(raised.value)
    assert all(name in message for name in ("03.jpg", "cut.png", "text.png")) and "--data.corrupt skip" in message
    assert "\n" not in message and "00.jpg" not in message


def test_damaged_files_are_named_and_skipped(damaged, caplog):
    folder = data.ImageFolder(str(damaged), 16, corrupt="skip", batch_size=4)
    folder.setup("fit")
    assert "3 damaged files are skipped" in caplog.text and "cut.png" in caplog.text
    names = {path.name for split in ("train", "val") for path in folder.reference(split).paths}
    assert names == {f"{i:02}.jpg" for i in range(20)} - {"03.jpg"}


def test_a_folder_trains(tmp_path):
    fill(tmp_path / "images", [f"{i:02}.png" for i in range(12)])
    module, validations = Watcher(), []
    module.on_validation_end = lambda: validations.append(module.images_seen)
    with no_warnings():
        folder = data.ImageFolder(str(tmp_path / "images"), 16, batch_size=4, val_fraction=0)
        trainer(tmp_path, max_steps=3).fit(module, folder)
    assert validations[-1] == 12 and module.validated == []  # no images are held out; its hooks run all the same
    assert folder.num_classes is None and folder.image_shape == (3, 16, 16)
    assert module.seen[0].image.shape == (4, 3, 16, 16) and module.seen[0].image.dtype == torch.float32


def test_sub_folders_are_classes(tmp_path):
    fill(tmp_path, [f"{kind}/deep/{i}.png" for kind in ("cat", "dog") for i in range(3)])
    fill(tmp_path, [".hidden/no.png"])
    folder = data.ImageFolder(str(tmp_path), 16, val_fraction=0, batch_size=2)
    assert folder.num_classes == 2 and folder.classes == ["cat", "dog"]
    images = folder.reference("train")
    assert [path.parts[-3] for path in images.paths] == ["cat"] * 3 + ["dog"] * 3
    assert images.__getitems__([0, 5]).label.tolist() == [0, 1]
    fill(tmp_path, ["loose.png"])
    assert data.ImageFolder(str(tmp_path), 16).num_classes is None


def test_the_split_of_a_folder_is_stable(tmp_path):
    fill(tmp_path, [f"{i:03}.png" for i in range(100)])
    before = data.ImageFolder(str(tmp_path), 8, val_fraction=0.2)
    val = {path.name for path in before.reference("val").paths}
    train = {path.name for path in before.reference("train").paths}
    assert len(val | train) == 100 and not val & train and 8 < len(val) < 35
    fill(tmp_path, [f"more{i:03}.png" for i in range(20)])
    after = {path.name for path in data.ImageFolder(str(tmp_path), 8, val_fraction=0.2).reference("val").paths}
    assert {name for name in after if not name.startswith("more")} == val


def test_folders_that_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="^there is no folder .*nowhere"):
        data.ImageFolder(str(tmp_path / "nowhere"))
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match="holds no images"):
        data.ImageFolder(str(tmp_path))
    fill(tmp_path, ["one.png"])
    with pytest.raises(ValueError, match="1 training examples, fewer than one batch of 64"):
        data.ImageFolder(str(tmp_path), val_fraction=0).setup("fit")
    for channels in (0, 2):
        with pytest.raises(ValueError, match=rf"must be 1 .grey., 3 .RGB. or 4 .* such as .*one.png, not {channels}"):
            data.ImageFolder(str(tmp_path), channels=channels)
    with pytest.raises(ValueError, match="val_fraction"):
        data.ImageFolder(str(tmp_path), val_fraction=1)
    Image.fromarray(np.zeros((8, 8), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(ValueError, match="float.tif cannot be read: 32-bit float"):
        data.ImageFolder(str(tmp_path), val_fraction=0, batch_size=1).setup("fit")


# Gaussians.


def test_gaussians_are_the_mixture():
    ring = data.Gaussians(n=40_000)
    assert ring.image_shape == (2, 1, 1) and ring.num_classes == 8
    assert torch.allclose(ring.centres.norm(dim=1), torch.full((8,), 0.8))
    image, label = ring.reference("train").__getitems__(list(range(40_000)))
    assert image.shape == (40_000, 2, 1, 1) and image.dtype == torch.float32 and image.abs().max() <= 1
    offset = image[:, :, 0, 0] - ring.centres[label]
    assert offset.mean(0).abs().max() < 5 * 0.02 / 200
    assert (offset.std(0) - 0.02).abs().max() < 5 * 0.02 / 280
    assert (torch.bincount(label) - 5000).abs().max() < 5 * math.sqrt(5000)
    found, share = ring.mode_statistics(image)
    assert found == 8 and abs(share - (1 - math.exp(-4.5))) < 0.003
    assert not torch.equal(ring.reference("val").image, image[:4000])
    assert len(ring.reference("val")) == 4000


def test_gaussians_come_from_workers_as_well():
    alone, workers = (data.Gaussians(n=10_000, batch_size=16, num_workers=n) for n in (0, 2))
    assert same(list(alone.train_dataloader()), list(workers.train_dataloader()))
    workers.teardown("fit")


def test_a_grid_has_a_square_number_of_modes():
    grid = data.Gaussians(25, "grid", radius=0.9)
    assert grid.centres.shape == (25, 2) and grid.centres.abs().max() == pytest.approx(0.9)
    assert len({tuple(c) for c in grid.centres.tolist()}) == 25
    with pytest.raises(ValueError, match="such as 4, not 8"):
        data.Gaussians(8, "grid")
    with pytest.raises(ValueError, match="radius"):
        data.Gaussians(radius=1.5)


def test_mode_statistics_of_known_points():
    centres = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    points = torch.cat([centres[:1].repeat(60, 1), centres[1:2].repeat(37, 1), torch.tensor([[0.0, 0.94]] * 2)])
    points = torch.cat([points, torch.tensor([[0.5, 0.5]])])  # 100 points: 60, 37, 2 near a mode, 1 nowhere
    found, share = mode_statistics(points[:, :, None, None], centres, std=0.021)
    assert found == 2 and share == pytest.approx(0.99)  # 2 points are under a tenth of 33
    assert mode_statistics(points, centres, std=0.019) == (2, pytest.approx(0.97))


def test_the_workers_of_a_loader_that_is_made_anew_end(tmp_path):
    alive = []

    class Counter(Watcher):
        def on_train_epoch_end(self) -> None:
            alive.append(len(multiprocessing.active_children()))

    module = Numbered(batch_size=4, num_workers=1)
    trainer(tmp_path, max_epochs=3, reload_dataloaders_every_n_epochs=1, limit_val_batches=0).fit(Counter(), module)
    assert alive == [1, 1, 1] and not multiprocessing.active_children()


# Real files, where there are any.


@pytest.mark.skipif(not REAL or not (Path(REAL) / "mnist").is_dir(), reason="GAN_LIGHTNING_DATA has no mnist")
def test_real_mnist():
    mnist = data.MNIST()
    assert len(mnist.reference("train")) == 60_000 and len(mnist.reference("val")) == 10_000
    assert mnist.reference("train").label[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.reference("train").image.float().mean().div(255).item() == pytest.approx(0.1307, abs=1e-4)


@pytest.mark.skipif(
    not REAL or not (Path(REAL) / "cifar10/cifar10_jpeg_train.npz").is_file(), reason="no CIFAR-10 npz files"
)
def test_real_cifar10_as_jpeg():
    cifar = data.CIFAR10("jpeg")
    images = cifar.reference("train")
    assert images.image.shape == (50_000, 3, 32, 32) and torch.bincount(images.label).tolist() == [5000] * 10
    means = images.image[::10].float().mean((0, 2, 3)).div(255)  # published: 0.4914 0.4822 0.4465
    assert (means - torch.tensor([0.4914, 0.4822, 0.4465])).abs().max() < 0.01
    with np.load(cifar.root / "cifar10_jpeg_train.npz") as file:
        jpeg, offset = file["jpeg"], file["offset"]
    for i in (0, 1234, 49_999):
        pillow = np.asarray(Image.open(io.BytesIO(jpeg[offset[i] : offset[i + 1]].tobytes())))
        assert np.abs(images.image[i].permute(1, 2, 0).numpy().astype(int) - pillow).max() <= 1
