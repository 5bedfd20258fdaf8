"""How many images a second reach the model: our sets in memory and of files against torchvision's, with equal workers.

    python benchmarks/data.py [--sets memory|files|photos]

Both give shuffled float batches in [-1, 1] of the same made-up images: ours as the trainer gets them (loader and
`on_after_batch_transfer`), torchvision's through ToTensor and Normalize in a DataLoader. Files are JPEGs of 256 pixels,
resized to 286, cropped at random to 256 and mirrored; an image of a pair or of a domain counts as one. Epochs of the
two alternate, and the median is printed, so that what else runs on the machine hits both. Photos are JPEGs of 1,024
pixels brought to 256 by ImageFolder, and by torchvision's with Resize and CenterCrop; then each JPEG decoder that is
installed does so by itself, in one process. Ends with exit code 1 if a ratio is below 10 in memory, 1.5 for files, or 3
for photos, in seconds of the processor: with few cores the clock measures what else runs.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, default_collate
from torchvision import datasets, transforms

from gan_lightning.batches import Labeled
from gan_lightning.data import ImageFolder, PairedImages, UnpairedImages
from gan_lightning.data.base import ImageData
from gan_lightning.data.decoding import resized
from gan_lightning.data.sets import InMemory, Split

REQUIRED = {"memory": 10.0, "files": 1.5, "photos": 3.0}


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


def compare(
    name: str, data: ImageData, theirs: DataLoader, images: tuple[int, int], epochs: int, repeats: int
) -> float:
    """Print both rates, and return their ratio.

    Args:
        images: in one of our batches, and in one of theirs.
        epochs: of ours for one of theirs, where ours would be too short to measure.
    """
    data.setup("fit")  # as the trainer does; files that were read before are read faster
    ours = data.train_dataloader()
    for loader in (ours, theirs):
        next(iter(loader))  # starts the workers, which stay: starting them is not the question here
    measured: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        scale = partial(data.on_after_batch_transfer, dataloader_idx=0)
        measured[0].append(rate(ours, images[0], epochs, scale))
        measured[1].append(rate(theirs, images[1], 1, lambda batch: batch))
    mine, other = map(statistics.median, measured)
    print(
        f"{name:14} {data.num_workers} workers: {mine:9,.0f} images/s, torchvision {other:7,.0f}, "
        f"ratio {mine / other:5.1f}",
        flush=True,
    )
    data.teardown("fit")
    return mine / other


def in_memory(images: int, batch_size: int, repeats: int) -> float:
    """The lowest ratio of the sets in memory."""
    ratios = []
    for name, channels, size in (("MNIST", 1, 28), ("CIFAR10", 3, 32)):
        pixels = np.random.default_rng(0).integers(0, 256, (images, channels, size, size), dtype=np.uint8)
        image, label = torch.from_numpy(pixels), torch.arange(images) % 10
        for workers in (0, 2):
            theirs = DataLoader(
                torchvision_set(image, label),
                batch_size,
                shuffle=True,
                drop_last=True,
                num_workers=workers,
                persistent_workers=workers > 0,
            )
            data = Made(name, image, label, batch_size, workers)
            ratios.append(compare(name, data, theirs, (batch_size, batch_size), 10, repeats))
    return min(ratios)


def of_files(images: int, batch_size: int, repeats: int) -> float:
    """The lowest ratio of the sets of files."""
    with tempfile.TemporaryDirectory() as folder:
        root, random = Path(folder), np.random.default_rng(0)
        for inner in ("pairs/train", "domains/trainA", "domains/trainB"):
            (root / inner).mkdir(parents=True)
        for number in range(images // 2):
            small = random.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)  # enlarged: JPEGs like those of photographs
            a, b = (Image.fromarray(one).resize((256, 256), Image.Resampling.BICUBIC) for one in small)
            both = Image.new("RGB", (512, 256))
            both.paste(a, (0, 0))
            both.paste(b, (256, 0))
            for image, name in ((a, "domains/trainA"), (b, "domains/trainB"), (both, "pairs/train")):
                image.save(root / name / f"{number:05}.jpg", quality=90)
        steps = [
            transforms.Resize(286, transforms.InterpolationMode.BICUBIC),
            transforms.RandomCrop(256),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(0.5, 0.5),
        ]
        theirs = DataLoader(
            datasets.ImageFolder(str(root / "domains"), transforms.Compose(steps)),
            batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=2,
            persistent_workers=True,
        )
        given = {"val_fraction": 0.0, "batch_size": batch_size // 2, "num_workers": 2}
        made = [UnpairedImages(str(root / "domains"), **given), PairedImages(str(root / "pairs"), **given)]
        names = ("UnpairedImages", "PairedImages")
        return min(compare(n, d, theirs, (batch_size,) * 2, 1, repeats) for n, d in zip(names, made, strict=True))


def photo(seed: int, side: int) -> Image.Image:
    """Noise at four scales, and an edge: a JPEG of as many bytes as a photograph's."""
    random, made = np.random.default_rng(seed), np.full((side, side, 3), 128, np.float32)
    for cells, height in ((4, 60), (16, 40), (side // 16, 25), (side // 4, 15)):
        noise = random.normal(0, height, (cells, cells, 3)).astype(np.float32)
        made += cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
    made[side // 3 : side // 2, side // 4 : side // 2] = random.integers(0, 256, 3)
    return Image.fromarray(made.clip(0, 255).astype(np.uint8))


def of_photos(images: int, batch_size: int, repeats: int, side: int = 1024, size: int = 256) -> float:
    """The ratio for photos; prints what decoders do by themselves, too."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "one").mkdir()
        for number in range(images):
            photo(number, side).save(Path(folder) / "one" / f"{number:05}.jpg", quality=85)
        plain = [transforms.Resize(size), transforms.CenterCrop(size)]
        steps = transforms.Compose([*plain, transforms.ToTensor(), transforms.Normalize(0.5, 0.5)])
        theirs = DataLoader(
            datasets.ImageFolder(folder, steps), batch_size, shuffle=True, num_workers=2, persistent_workers=True
        )
        ours = ImageFolder(folder, size, val_fraction=0.0, batch_size=batch_size, num_workers=2)
        compare("ImageFolder", ours, theirs, (batch_size, batch_size), 1, repeats)
        examples = ours.training_set()
        work: dict[str, Callable[[list[int]], object]] = {
            "ours": lambda rows: ours.on_after_batch_transfer(examples.__getitems__(rows), 0),
            "torchvision": lambda rows: default_collate([theirs.dataset[row] for row in rows]),
        }
        spent = decoded([list(range(first, first + 8)) for first in range(0, images - 7, 8)], work, repeats)
        ratio = spent["torchvision"] / spent["ours"]
        print(
            f"a batch of 8 photos takes {1000 * spent['ours']:.0f} ms of a processor, torchvision "
            f"{1000 * spent['torchvision']:.0f}, quotient {ratio:.1f}"
        )
        contents = [path.read_bytes() for path in sorted(Path(folder).rglob("*.jpg"))[:16]]
    print("\n| one process | ms a photo | times as fast as Pillow and Resize |\n| --- | --- | --- |")
    took = decoded(contents, decoders(size), repeats)
    if torch.cuda.is_available():
        took["nvjpeg, by the clock"] = by_nvjpeg(contents, size, repeats)
    for name, seconds in took.items():
        print(f"| {name} | {seconds * 1000:.1f} | {took['Pillow, Resize'] / seconds:.2f} |")
    return ratio


def by_nvjpeg(contents: list[bytes], size: int, repeats: int) -> float:
    """Seconds for a photo that a GPU decodes, all at once, and brings to a size, by the clock: cores rest meanwhile."""
    from torchvision.io import decode_jpeg

    encoded = [torch.frombuffer(bytearray(content), dtype=torch.uint8) for content in contents]
    took = []
    for _ in range(repeats + 1):  # the first makes the decoder
        torch.cuda.synchronize()
        start = time.perf_counter()
        for image in decode_jpeg(encoded, device="cuda"):
            transforms.functional.resize(image, size, antialias=True)
        torch.cuda.synchronize()
        took.append((time.perf_counter() - start) / len(contents))
    return statistics.median(took[1:])


def decoders(size: int) -> dict[str, Callable[..., object]]:
    """What brings a JPEG to a size, by name: each library that is here, whole and reduced."""

    def shrunk(pixels: np.ndarray) -> np.ndarray:
        return resized(pixels, size, size)

    def opencv(content: bytes, flag: int) -> np.ndarray:
        return shrunk(cv2.imdecode(np.frombuffer(content, np.uint8), flag))

    def draft(content: bytes) -> np.ndarray:
        image = Image.open(io.BytesIO(content))
        image.draft("RGB", (size, size))
        return shrunk(np.asarray(image))

    def of_torchvision(content: bytes) -> np.ndarray:
        return shrunk(decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8)).permute(1, 2, 0).numpy())

    found: dict[str, Callable[..., object]] = {
        "Pillow, Resize": lambda content: transforms.functional.resize(Image.open(io.BytesIO(content)), size),
        "Pillow, draft": draft,
        "OpenCV, whole": partial(opencv, flag=cv2.IMREAD_COLOR),
        "OpenCV, 1/2": partial(opencv, flag=cv2.IMREAD_REDUCED_COLOR_2),
        "OpenCV, 1/4": partial(opencv, flag=cv2.IMREAD_REDUCED_COLOR_4),
    }
    with suppress(ImportError):  # going to be removed from torchvision
        from torchvision.io import decode_jpeg

        found["torchvision.io"] = of_torchvision
    with suppress(ImportError):
        import simplejpeg

        found["simplejpeg, whole"] = lambda content: shrunk(simplejpeg.decode_jpeg(content))
        found["simplejpeg, reduced"] = lambda content: shrunk(
            simplejpeg.decode_jpeg(content, min_height=size, min_width=size, min_factor=1)
        )
    with suppress(ImportError, RuntimeError):  # the second where libturbojpeg is not installed
        import turbojpeg

        turbo = turbojpeg.TurboJPEG()
        found["PyTurboJPEG, whole"] = lambda content: shrunk(turbo.decode(content))
        found["PyTurboJPEG, 1/4"] = lambda content: shrunk(turbo.decode(content, scaling_factor=(1, 4)))
    return found


def decoded(contents: list, ways: dict[str, Callable[..., object]], repeats: int) -> dict[str, float]:
    """Processor seconds for one of these files, or rows, the median of each way; the ways take turns."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, decode in ways.items():
            start = time.process_time()
            for content in contents:
                decode(content)
            took[name].append((time.process_time() - start) / len(contents))
    return {name: statistics.median(seconds) for name, seconds in took.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", choices=tuple(REQUIRED), help="measure these only")
    parser.add_argument("--images", type=int, help="10,000 in memory, 1,000 in files, 96 photos")
    parser.add_argument("--batch_size", type=int, help="64 in memory, 16 of files and photos")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)  # as in a worker; with more, the threads' waits on a busy machine would be measured
    failed = False
    ways = (("memory", in_memory, 10_000, 64), ("files", of_files, 1000, 16), ("photos", of_photos, 96, 16))
    for sets, measure, images, batch_size in ways:
        if options.sets in (None, sets):
            lowest = measure(options.images or images, options.batch_size or batch_size, options.repeats)
            failed |= lowest < REQUIRED[sets]
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
