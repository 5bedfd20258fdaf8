"""`gan COMMAND`, or `python -m gan_lightning COMMAND`: the same as `python -m gan_lightning.COMMAND`."""

from __future__ import annotations

import sys
from importlib import import_module

from gan_lightning import fit
from gan_lightning.runtime.errors import leave, nearest

COMMANDS = {
    "fit": "train a model, or go on with a run",
    "sample": "what a checkpoint alone can make: images, sentences, lists of items",
    "project": "find the latents of a picture",
    "directions": "show what directions in latent space change",
    "translate": "turn pictures into others with a checkpoint",
    "demo": "play with checkpoints on a page in the browser",
    "evaluate": "score a checkpoint, or anyone's images",
    "benchmark": "train, score and keep the results as rows and pictures",
    "report": "show runs beside each other on a page: curves, scores, samples, what to try",
    "export": "take a model away: safetensors, ONNX, torch.export, the Hugging Face Hub",
    "pack": "make shards of a folder of pictures, for sets that no memory or disk of one machine holds",
    "convert": "turn published weights of others into a checkpoint",
}


def main(args: list[str] | None = None) -> None:
    """Run a command; with none, or with `--help`, say which there are. Exit code 2 for one that there is not."""
    name, *rest = (sys.argv[1:] if args is None else args) or ["--help"]
    if name in ("-h", "--help"):
        print("usage: gan COMMAND [ARGUMENT ...]\n")
        print("\n".join(f"  {command:<10}  {words}" for command, words in COMMANDS.items()))
        print("\n`gan COMMAND --help` shows what a command takes, `gan fit --list` the models and the data.")
    elif name not in COMMANDS:
        leave(f"there is no command {name}{nearest(name, COMMANDS) or ': give ' + ', '.join(COMMANDS)}")
    elif name == "fit":
        fit.main(rest, own_process=True)
    else:
        import_module(f"gan_lightning.{name}").main(rest)


if __name__ == "__main__":
    main()
