"""What a few minutes of a GPU make of CIFAR-10: `python benchmarks/gpu_train.py [--minutes 9] [--out gpu_train]`.

SNGAN and BigGAN with their presets of CIFAR-10, and R3GAN with its own, a third as wide, in batches of 128 and without
ADA: of it and StyleGAN2 the one that learns more in minutes (docs/results.md, on MNIST). Each has an equal share of
`--minutes`, trains in bf16-mixed for four fifths of it, and is scored with `evaluate`. The data is the set's npz files
in $GAN_LIGHTNING_DATA/cifar10, the extractor the classifier in $GAN_LIGHTNING_DATA/weights: its distance is no FID, and
of images recompressed as JPEG.

Runs, a grid NAME.png of each model and `rows.json` go into `--out`. What stands after `--` are further flags of `fit`
for every model. Ends with exit code 1 if a model could not be trained or scored. `--device cpu --tiny` runs small
networks for a few steps, to see that it runs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch

from gan_lightning import evaluate, fit

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
NAMES = {  # flags beside the config, and those of --tiny
    "sngan": ([], ["--model.generator.width=8", "--model.discriminator.width=8", "--model.n_critic=1"]),
    "biggan": ([], ["--model.generator.width=8", "--model.discriminator.width=8", "--model.n_critic=1"]),
    "r3gan": (
        [
            "--model.generator.width=256",
            "--model.discriminator.width=256",
            "--model.step.augment=null",
            "--data.batch_size=128",
        ],
        ["--model.generator.width=16", "--model.discriminator.width=16", "--data.batch_size=16"],
    ),
}
SCORES = "fid,is,prdc"  # of another extractor than Inception, and named after it


def row_of(name: str, seconds: float, options: argparse.Namespace) -> dict[str, Any]:
    """Train one model for four fifths of some seconds, and score it.

    Raises:
        SystemExit: `fit` or `evaluate` refused, or the run broke.
    """
    begun, folder = time.perf_counter(), Path(name)
    flags, tiny = NAMES[name]
    given = [f"--config={CONFIGS / name / 'cifar10.yaml'}", *flags, *(tiny if options.tiny else [])]
    cuda = options.device == "cuda"
    given += [f"--trainer.accelerator={'gpu' if cuda else 'cpu'}", "--trainer.devices=1", "--trainer.logger=false"]
    given += ["--trainer.enable_progress_bar=false", f"--trainer.default_root_dir={folder}"]
    if cuda:
        given.append("--trainer.precision=bf16-mixed")
    if options.tiny:
        given.append("--trainer.max_steps=2")
    else:
        minutes, rest = divmod(int(0.8 * seconds), 60)
        given.append(f"--trainer.max_time=00:{minutes // 60:02}:{minutes % 60:02}:{rest:02}")
    fit.main([*given, *options.flags])
    trained = time.perf_counter() - begun
    (checkpoint,) = folder.rglob("last.ckpt")
    file = Path(f"{name}.json")
    n = ["--n=50", "--n_real=50", "--k=3"] if options.tiny else ["--n=10000"]
    how = [f"--extractor={options.extractor}", f"--device={options.device}", f"--json={file}"]
    evaluate.main([str(checkpoint), f"--metrics={SCORES}", *how, *n])
    shutil.copy(checkpoint.with_name("samples.png"), f"{name}.png")
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    return {
        "model": name,
        "flags": given[1:] + options.flags,
        "steps": state["global_step"],
        "images": state["gan_lightning"]["images_seen"],
        "fit_seconds": round(trained, 1),
        "seconds": round(time.perf_counter() - begun, 1),
        "scores": json.loads(file.read_text()),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(NAMES), help="models (default: all)")
    parser.add_argument("--minutes", type=float, default=9.0, help="in all (default %(default)s)")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--extractor", default="CIFARResNet56", help="of `evaluate` (default %(default)s)")
    parser.add_argument("--tiny", action="store_true", help="small networks and two steps")
    parser.add_argument("--out", type=Path, default=Path("gpu_train"), metavar="FOLDER", help="default %(default)s")
    ours, flags = sys.argv[1:], []
    if "--" in ours:
        ours, flags = ours[: ours.index("--")], ours[ours.index("--") + 1 :]
    options = parser.parse_args(ours)
    options.flags = flags
    names = options.only.split(",")
    if unknown := set(names) - set(NAMES):
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}, but {', '.join(NAMES)}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here; --device cpu --tiny shows that the rest runs")
    if "GAN_LIGHTNING_DATA" in os.environ:  # the work is done in another folder
        os.environ["GAN_LIGHTNING_DATA"] = str(Path(os.environ["GAN_LIGHTNING_DATA"]).resolve())
    options.out.mkdir(parents=True, exist_ok=True)
    device = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    rows: list[dict[str, Any]] = []
    end = time.monotonic() + 60 * options.minutes
    before = Path.cwd()
    os.chdir(options.out)
    try:
        for number, name in enumerate(names):
            shutil.rmtree(name, ignore_errors=True)  # of a call before
            try:
                rows.append(row_of(name, (end - time.monotonic()) / (len(names) - number), options))
            except SystemExit as refused:
                rows.append({"model": name, "error": f"exit code {refused.code}: its line stands above"})
            facts = {"device": device, "torch": torch.__version__, "rows": rows}
            Path("rows.json").write_text(json.dumps(facts, indent=1))
            print(json.dumps({key: rows[-1][key] for key in rows[-1] if key != "flags"}), flush=True)
            if options.device == "cuda":
                torch.cuda.empty_cache()
    finally:
        os.chdir(before)
    return int(any("error" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main())
