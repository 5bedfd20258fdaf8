"""How many images a second reach the model from shards and from Parquet, against the same JPEG files in a folder.

    python benchmarks/streaming.py [--images 2000] [--pixels 256] [--size 128] [--workers 2] [--repeats 5]

The same made-up pictures stand in a folder of files (`ImageFolder`), in shards that `pack` makes of it
(`StreamedImages`) and in Parquet files with row groups of 100 (`ParquetImages`); all are brought to one size by equal
workers, as the trainer gets them. Epochs of the three alternate, and medians are printed, so that what else runs on the
machine hits all. The first epoch, in which workers start and Parquet's pictures are checked by Pillow, is printed
apart. With --workers 0 the processor's time counts, which a busy machine hardly changes. Ends with exit code 1 if a
later epoch of either is slower than 0.95 times the files'.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from gan_lightning.data import ImageFolder, ParquetImages, StreamedImages, packing
from gan_lightning.data.base import ImageData
from gan_lightning.data.loader import Loader, TrainingOrder

REQUIRED = 0.95


def make(root: Path, images: int, pixels: int) -> None:
    """The three sets, in folders `files`, `shards` and `parquet`."""
    random = np.random.default_rng(0)
    for folder in ("files", "shards", "parquet"):
        (root / folder).mkdir()
    rows = []
    for number in range(images):
        small = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)  # enlarged: JPEGs like those of photographs
        path = root / "files" / f"{number:06}.jpg"
        Image.fromarray(small).resize((pixels, pixels), Image.Resampling.BICUBIC).save(path, quality=90)
        rows.append({"bytes": path.read_bytes(), "path": path.name})
    packing.pack(str(root / "files"), root / "shards", val_fraction=0)
    pq.write_table(pa.table({"image": rows}), root / "parquet" / "train.parquet", row_group_size=100)


def epoch(data: ImageData, loader: Loader, clock: Callable[[], float]) -> float:
    """Images a second over one pass."""
    start, count = clock(), 0
    for batch in loader:
        count += len(data.on_after_batch_transfer(batch, 0).image)
    return count / (clock() - start)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--pixels", type=int, default=256, help="of a side of the files")
    parser.add_argument("--size", type=int, default=128, help="that they are brought to")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)  # as in a worker
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root, options.images, options.pixels)
        given = {"size": options.size, "batch_size": options.batch_size, "num_workers": options.workers}
        sets: dict[str, ImageData] = {
            "files": ImageFolder(str(root / "files"), val_fraction=0, **given),
            "shards": StreamedImages(str(root / "shards"), **given),
            "parquet": ParquetImages(str(root / "parquet"), val_fraction=0, **given),
        }
        loaders, seen = {}, [0]
        for name, data in sets.items():
            data.setup("fit")  # decodes every file of the folder once, which is not measured here
            examples = data.training_set()
            order = TrainingOrder(
                len(examples), options.batch_size, 0, lambda: seen[0], permutation=examples.permutation
            )
            loaders[name] = Loader(examples, order, options.workers)
        clock = time.perf_counter if options.workers else time.process_time
        rates: dict[str, list[float]] = {name: [] for name in sets}
        for number in range(options.repeats + 1):
            seen[0] = number * len(next(iter(loaders.values()))) * options.batch_size
            for name, data in sets.items():
                rates[name].append(epoch(data, loaders[name], clock))
        for loader in loaders.values():
            loader.close()
    print(f"{options.images} JPEGs of {options.pixels} px to {options.size} px, {options.workers} workers, images/s")
    medians = {name: statistics.median(found[1:]) for name, found in rates.items()}
    for name, found in rates.items():
        ratio = medians[name] / medians["files"]
        print(f"{name:8} {medians[name]:7,.0f}, {ratio:5.2f} of files; with the workers' start {found[0]:,.0f}")
    return int(min(medians.values()) < REQUIRED * medians["files"])


if __name__ == "__main__":
    sys.exit(main())
