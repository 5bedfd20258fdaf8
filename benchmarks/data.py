"""How many images a second reach the model: our in-memory sets against torchvision's, with the same workers.

    python benchmarks/data.py

Both give shuffled float batches in [-1, 1] of the same made-up images: ours as the trainer gets them (loader and
`on_after_batch_transfer`), torchvision's through ToTensor and Normalize in a DataLoader. Epochs of the two alternate,
and the median is printed, so that what else runs on the machine hits both. Ends with exit code 1 if a ratio is
below 10.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from gan_lightning.batches import Labeled
from gan_lightning.data.base import ImageData, InMemory, Split

REQUIRED = 10.0


class Made(ImageData):
    """Images that are given."""

    def __init__(self, name: str, image: Tensor, label: Tensor, batch_size: int, num_workers: int) -> None:
        super().__init__(name, tuple(image.shape[1:]), 10, batch_size, num_workers)
        self._given = InMemory(image, label)

    def load(self, split: Split) -> InMemory:
        return self._given


def torchvision_set(image: Tensor, label: Tensor) -> datasets.VisionDataset:
    """torchvision's MNIST (grey) or CIFAR10 (colour) holding these images, without their files."""
    kind = datasets.MNIST if image.shape[1] == 1 else datasets.CIFAR10
    made = object.__new__(kind)
    made.data = image[:, 0] if kind is datasets.MNIST else image.permute(0, 2, 3, 1).contiguous().numpy()
    made.targets = label if kind is datasets.MNIST else label.tolist()
    made.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(0.5, 0.5)])
    made.target_transform = None
    return made


def rate(loader: Iterable[Labeled], batch_size: int, epochs: int, finish: Callable[[Labeled], object]) -> float:
    """Images a second over some epochs."""
    start, count = time.perf_counter(), 0
    for _ in range(epochs):
        for batch in loader:
            finish(batch)
            count += 1
    return count * batch_size / (time.perf_counter() - start)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)  # as in a worker; with more, the threads' waits on a busy machine would be measured
    lowest = float("inf")
    for name, channels, size in (("MNIST", 1, 28), ("CIFAR10", 3, 32)):
        pixels = np.random.default_rng(0).integers(0, 256, (options.images, channels, size, size), dtype=np.uint8)
        image, label = torch.from_numpy(pixels), torch.arange(options.images) % 10
        for workers in (0, 2):
            data = Made(name, image, label, options.batch_size, workers)
            ours = data.train_dataloader()
            theirs = DataLoader(
                torchvision_set(image, label),
                options.batch_size,
                shuffle=True,
                drop_last=True,
                num_workers=workers,
                persistent_workers=workers > 0,
            )
            for loader in (ours, theirs):
                next(iter(loader))  # starts the workers, which stay: starting them is not the question here
            measured: tuple[list[float], list[float]] = ([], [])
            for _ in range(options.repeats):
                # Ten of our epochs still take less time than one of theirs; a single one is too short to measure.
                scale = partial(data.on_after_batch_transfer, dataloader_idx=0)
                measured[0].append(rate(ours, options.batch_size, 10, scale))
                measured[1].append(rate(theirs, options.batch_size, 1, lambda batch: batch))
            mine, other = map(statistics.median, measured)
            lowest = min(lowest, mine / other)
            print(
                f"{name:8} {workers} workers: {mine:9,.0f} images/s, torchvision {other:7,.0f}, "
                f"ratio {mine / other:5.1f}",
                flush=True,
            )
            data.teardown("fit")
    return int(lowest < REQUIRED)


if __name__ == "__main__":
    sys.exit(main())
