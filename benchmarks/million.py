"""How long training on very many files takes to begin, the first and the second time, and what a worker holds then.

    python benchmarks/million.py [--files 1000000] [--folder FOLDER]

Writes small JPEGs into 100 class folders below a temporary folder, 300 different contents in files of their own (hard
links would count once), and starts a run on them twice, with a cache that is empty before; then on 10,000 of them. Each
start is a process of its own: the time is from its first line, before any import, to the moment when the first batch
has come to the model, and memory is that of a worker after so many batches more: all that is mapped (RSS), and what it
shares with nobody. Files that were just written are known to the file system: a first start on files that are not takes
the time to look them up, too. Ends with exit code 1 if a start takes longer than it may in processor seconds, 180 and
30, since seconds of the clock depend on what else runs; or if a worker's own memory grows by more than 20 MiB.
"""

from __future__ import annotations

import time

BEGUN = time.time()

import argparse  # noqa: E402
import io  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402

FEW = 10_000
CLASSES = 100
BATCHES = 30
LIMITS = {"first start": 180.0, "second start": 30.0}  # processor seconds
GROWTH = 20.0  # MiB


def write(root: Path, count: int) -> None:
    """So many JPEGs of 32 pixels."""
    import numpy as np
    from PIL import Image

    random, contents = np.random.default_rng(0), []
    for _ in range(300):
        file = io.BytesIO()
        small = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        small.resize((32, 32)).save(file, "JPEG")
        contents.append(file.getvalue())
    for number in range(CLASSES):
        (root / f"class{number:03}").mkdir(parents=True)
    for number in range(count):
        (root / f"class{number % CLASSES:03}" / f"{number:07}.jpg").write_bytes(contents[number % len(contents)])


def memory(process: int) -> dict[str, float]:
    """MiB that a process has mapped, and that it shares with nobody."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    held = {name: int(value.split()[0]) / 1024 for name, value in (line.split(":") for line in lines)}
    return {"rss": held["Rss"], "own": held["Private_Dirty"] + held["Private_Clean"]}


def start(root: str) -> None:
    """Train for some batches, and print what was measured as json."""
    import multiprocessing

    import lightning

    from gan_lightning.data import ImageFolder
    from gan_lightning.models import DCGAN
    from gan_lightning.networks import DCGANDiscriminator, DCGANGenerator

    found: dict[str, float] = {}

    class Watch(lightning.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
            if batch_idx == 0:
                found.update(seconds=time.time() - BEGUN, cpu=time.process_time())
            if batch_idx == BATCHES:
                of_workers = [memory(worker.pid) for worker in multiprocessing.active_children()]
                found.update({name: max(one[name] for one in of_workers) for name in of_workers[0]})

    data = ImageFolder(root, size=32, batch_size=64, num_workers=2)
    model = DCGAN(
        data.image_shape,
        lambda shape: DCGANGenerator(shape, latent_dim=8, width=4),
        lambda shape: DCGANDiscriminator(shape, width=4),
    )
    trainer = lightning.Trainer(
        max_steps=BATCHES + 1,
        accelerator="cpu",
        logger=False,
        callbacks=[Watch()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(model, data)
    print(json.dumps(found))


def measured(name: str, root: Path, cache: Path) -> dict[str, float]:
    """What a process that starts on these files says."""
    environment = os.environ | {"GAN_LIGHTNING_CACHE": str(cache)}
    command = [sys.executable, __file__, "--start", str(root)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    found = json.loads(out.splitlines()[-1])
    print(
        f"{name:14} first step after {found['seconds']:6.1f} s ({found['cpu']:5.1f} s of a processor), "
        f"a worker maps {found['rss']:5.0f} MiB, {found['own']:4.0f} of its own",
        flush=True,
    )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--folder", help="where the files are written; there already: they are used, and stay")
    parser.add_argument("--start", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.start:
        start(given.start)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        many, few = Path(given.folder or f"{temporary}/many"), Path(temporary, "few")
        for root, count in ((many, given.files), (few, min(FEW, given.files))):
            if not root.is_dir():
                began = time.perf_counter()
                write(root, count)
                print(f"{count:,} files written in {time.perf_counter() - began:.0f} s", flush=True)
        time.sleep(3)  # until their times are past: before, no verdict is kept
        found = {name: measured(name, many, Path(temporary, "cache")) for name in LIMITS}
        small = measured(f"{min(FEW, given.files):,} files", few, Path(temporary, "cache"))
    late = [name for name, limit in LIMITS.items() if found[name]["cpu"] > limit]
    return int(bool(late) or found["second start"]["own"] - small["own"] > GROWTH)


if __name__ == "__main__":
    sys.exit(main())
