"""What two processes exchange and keep, in bytes: `python benchmarks/bytes.py [--only DCGAN,StyleGAN2]`.

Counted from the parameters of models with their default networks, in float32; nothing is trained. The first table has
the megabytes (10^6) of gradients that a turn of each player exchanges (see `runtime/strategy.py`), and what one engine
for all players would exchange at every turn. The second has the MiB (2^20) that the first of two processes keeps
between turns, with Adam and one average of the generator, whole (DDP) and as `fully_shard` cuts tensors, by their first
dimension (fsdp2, see `runtime/sharding.py`). That a run exchanges and keeps as much is tested with tiny networks, in
`tests/test_processes.py` and `tests/test_sharding.py`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable

from torch import Tensor, nn

from gan_lightning import models

SIZES = {"DCGAN": 64, "BigGAN": 32, "BigBiGAN": 32, "StyleGAN2": 256, "CycleGAN": 256, "Pix2Pix": 256}
CLASSES = {"BigGAN": 10}
SHARDED = ("BigGAN", "StyleGAN2")


def of_first(tensor: Tensor, processes: int) -> int:
    """Bytes of a tensor that the first of some processes keeps; a scalar stands on all."""
    rows = tensor.shape[0] if tensor.ndim else 1
    return tensor.nbytes // rows * -(-rows // processes)


def kept(tensors: Iterable[Tensor], processes: int) -> float:
    """MiB."""
    return sum(of_first(tensor, processes) for tensor in tensors) / 2**20


def exchanged(network: nn.Module) -> float:
    """Megabytes of a network's gradients."""
    return sum(parameter.nbytes for parameter in network.parameters() if parameter.requires_grad) / 1e6


def row(*cells: str | float) -> str:
    return f"| {' | '.join(cell if isinstance(cell, str) else f'{cell:.1f}' for cell in cells)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SIZES), help="models (default: %(default)s)")
    names = parser.parse_args().only.split(",")
    if unknown := set(names) - set(SIZES):
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}, but {', '.join(SIZES)}")
    made = {}
    for name in names:
        classes = {"num_classes": CLASSES[name]} if name in CLASSES else {}
        made[name] = getattr(models, name)((3, SIZES[name], SIZES[name]), **classes)
    print("| model | one engine for all | generator's turn | discriminator's turn |\n| --- | --- | --- | --- |")
    for name, model in made.items():
        turns = [exchanged(player.network) for player in model.players().values()]
        classes = f", {CLASSES[name]} classes" if name in CLASSES else ""
        print(row(f"{name}, {SIZES[name]} px{classes}", sum(turns), *turns))
    sharded = [name for name in names if name in SHARDED]
    if sharded:
        print("\n| model | strategy | parameters | average | gradients | moments | all |\n|" + " --- |" * 7)
    for name in sharded:
        networks = [player.network for player in made[name].players().values()]
        for strategy, processes in (("DDP", 1), ("fsdp2", 2)):
            parameters = kept((p for network in networks for p in network.parameters()), processes)
            average = kept(made[name].averages["generator"].parameters(), processes)
            cells = parameters, average, parameters, 2 * parameters
            print(row(f"{name}, {SIZES[name]} px", strategy, *cells, sum(cells)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
