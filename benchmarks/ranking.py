"""What IRGAN's game adds to its own first stage: BPR, DNS and IRGAN on choices of made-up users.

    python benchmarks/ranking.py [--only BPR,DNS,IRGAN] [--seeds 0,1,2] [--config FILE]

IRGAN is `configs/irgan/synthetic.yaml`, or another config of it. BPR is matrix factorisation of the same dimension by
the first stage alone with one candidate, DNS with the config's candidates; both take as many batches as IRGAN. Figures
are of the last batch; for BPR and DNS those of the best one are there too, of the batches looked at, every 100, judged
by the very held-out choices that are reported. A seed draws the users as well as the initial weights. Prints a table,
means and standard deviations over the seeds, beside popularity and the scores that the choices were drawn from.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback, Trainer, seed_everything

from gan_lightning.callbacks import RankingScores, When
from gan_lightning.cli.command_line import Parser
from gan_lightning.core import AdversarialModule
from gan_lightning.data import ImplicitFeedback

CONFIG = Path(__file__).parents[1] / "configs" / "irgan" / "synthetic.yaml"
FIGURES = ("P@5", "NDCG@5", "NDCG@10", "MAP", "MRR")


def built(options: dict[str, Any], data: ImplicitFeedback) -> AdversarialModule:
    """The model of a config's section."""
    parser = Parser()
    parser.add_subclass_arguments(AdversarialModule, "model")
    facts = {"users": data.users, "items": data.items, "num_features": None}
    model = options | {"init_args": options["init_args"] | facts}
    return parser.instantiate_classes(parser.parse_object({"model": model})).model


class Looks(Callback):
    """Figures every 100 batches, in their order."""

    def __init__(self) -> None:
        self.scores, self.figures = RankingScores(when=When(at_end=False)), []

    def on_train_batch_end(self, trainer: Trainer, model: AdversarialModule, *_: object) -> None:
        if model.iteration % 100 == 0:
            self.figures.append(self.scores.measure(model, trainer.datamodule)[0])


def run(name: str, config: dict[str, Any], seed: int) -> dict[str, dict[str, float]]:
    """One ranker's figures of the last batch by its name, and of the best one."""
    seed_everything(seed, verbose=False)
    data = ImplicitFeedback(**config["data"]["init_args"] | {"seed": seed})
    options = config["model"]["init_args"]
    batches = config["trainer"]["max_steps"] - options["pretraining"]  # the generator's, of the game
    turns = options["discriminator_turns"] / options["generator_turns"]
    total = options["pretraining"] + round(batches * (1 + turns))
    if name != "IRGAN":
        alone = {"pretraining": total, "pretrain_discriminator": False}  # with the game's schedule of rates
        options = options | alone | ({"candidates": 1} if name == "BPR" else {})
    scores, looks = RankingScores(), Looks()
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=-1,
        max_steps=total if name != "IRGAN" else config["trainer"]["max_steps"],
        callbacks=[scores] if name == "IRGAN" else [scores, looks],
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    model = built(config["model"] | {"init_args": options}, data)
    trainer.fit(model, data)
    best = {f"{name}, best": max(looks.figures, key=lambda figures: figures["NDCG@10"])} if looks.figures else {}
    return {name: scores.scores} | best


def row(name: str, figures: list[dict[str, float]], suffix: str = "") -> str:
    """A line of the table: means, and standard deviations over the seeds."""
    cells = []
    for figure in FIGURES:
        values = [found[figure + suffix] for found in figures if figure + suffix in found]
        spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
        cells.append(f"{statistics.mean(values):.4f}{spread}" if values else "")
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="BPR,DNS,IRGAN", help="rankers (default: all)")
    parser.add_argument("--seeds", default="0,1,2", help="default %(default)s")
    parser.add_argument("--config", type=Path, default=CONFIG, help="of IRGAN on made-up users (default: ours)")
    options = parser.parse_args()
    names, seeds = options.only.split(","), [int(seed) for seed in options.seeds.split(",")]
    if unknown := set(names) - {"BPR", "DNS", "IRGAN"}:
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}, but BPR, DNS and IRGAN")
    if not options.config.is_file():
        parser.error(f"--config: there is no file {options.config}")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    config = yaml.safe_load(options.config.read_text())
    found: dict[str, list[dict[str, float]]] = {}
    for seed in seeds:
        for name in names:
            for row_name, figures in run(name, config, seed).items():
                found.setdefault(row_name, []).append(figures)
                print(f"seed {seed}  {row_name:<10} NDCG@10 {figures['NDCG@10']:.4f}", file=sys.stderr, flush=True)
    print(f"\n| ranker | {' | '.join(FIGURES)} |\n|---|{'---|' * len(FIGURES)}")
    for name, figures in found.items():
        print(row(name, figures))
    print(row("popularity", found[names[0]], "/popularity"))
    print(row("truth", found[names[0]], "/truth"))


if __name__ == "__main__":
    main()
