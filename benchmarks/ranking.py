"""What IRGAN's game adds to its own first stage: BPR, DNS and IRGAN on choices of made-up users.

    python benchmarks/ranking.py [--only BPR,DNS,IRGAN] [--seeds 0,1,2]

IRGAN is `configs/irgan/synthetic.yaml`. BPR is matrix factorisation of the same dimension by the first stage alone with
one candidate, DNS with the config's candidates; both take as many batches as IRGAN, and their figures are those of the
batch that is best for them on the very held-out choices that are reported, looked at every 100: no handicap for them.
IRGAN's are those of its last batch. A seed draws the users as well as the initial weights. Prints a table, means and
standard deviations over the seeds, beside popularity and the scores that the choices were drawn from. Ends with exit
code 1 if IRGAN's NDCG@10 is not above BPR's on every seed.
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

from gan_lightning.callbacks import RankingScores
from gan_lightning.command_line import Parser
from gan_lightning.core import AdversarialModule
from gan_lightning.data import ImplicitFeedback

CONFIG = Path(__file__).parents[1] / "configs" / "irgan" / "synthetic.yaml"
FIGURES = ("P@5", "NDCG@5", "NDCG@10", "MAP", "MRR")


def built(options: dict[str, Any], data: ImplicitFeedback) -> AdversarialModule:
    """The model of a config's section."""
    parser = Parser()
    parser.add_subclass_arguments(AdversarialModule, "model")
    facts = {"users": data.users, "items": data.items, "features": None}
    model = options | {"init_args": options["init_args"] | facts}
    return parser.instantiate_classes(parser.parse_object({"model": model})).model


class Best(Callback):
    """The figures of the batch with the highest NDCG@10 of those looked at."""

    def __init__(self, scores: RankingScores, every: int) -> None:
        self.scores, self.every = scores, every
        self.figures: dict[str, float] = {}
        self.batch = 0

    def on_train_batch_end(self, trainer: Trainer, model: AdversarialModule, *_: object) -> None:
        if model.iteration % self.every:
            return
        figures, _about = self.scores.measure(trainer, model)
        if figures["NDCG@10"] > self.figures.get("NDCG@10", 0.0):
            self.figures, self.batch = figures, model.iteration


def run(name: str, config: dict[str, Any], seed: int) -> tuple[dict[str, float], int]:
    """One ranker's figures, and the batch that they are of."""
    seed_everything(seed, verbose=False)
    data = ImplicitFeedback(**config["data"]["init_args"] | {"seed": seed})
    options = config["model"]["init_args"]
    batches = config["trainer"]["max_steps"] - options["pretraining"]  # the generator's, of the game
    turns = options["discriminator_turns"] / options["generator_turns"]
    total = options["pretraining"] + round(batches * (1 + turns))
    if name != "IRGAN":
        # Without the game, and so without the schedule that leads over to it.
        alone = {"pretraining": total, "scheduler": None, "pretrain_discriminator": False}
        options = options | alone | ({"candidates": 1} if name == "BPR" else {})
    scores = RankingScores(at_end=name == "IRGAN")
    best = Best(scores, 100)
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=-1,
        max_steps=total if name != "IRGAN" else config["trainer"]["max_steps"],
        callbacks=[scores] if name == "IRGAN" else [best],
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    model = built(config["model"] | {"init_args": options}, data)
    trainer.fit(model, data)
    return (scores.scores, model.iteration) if name == "IRGAN" else (best.figures, best.batch)


def row(name: str, figures: list[dict[str, float]], suffix: str = "") -> str:
    """A line of the table: means, and standard deviations over the seeds."""
    cells = []
    for figure in FIGURES:
        values = [found[figure + suffix] for found in figures if figure + suffix in found]
        spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
        cells.append(f"{statistics.mean(values):.4f}{spread}" if values else "")
    return f"| {name} | {' | '.join(cells)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="BPR,DNS,IRGAN", help="rankers (default: all)")
    parser.add_argument("--seeds", default="0,1,2", help="default %(default)s")
    options = parser.parse_args()
    names, seeds = options.only.split(","), [int(seed) for seed in options.seeds.split(",")]
    if unknown := set(names) - {"BPR", "DNS", "IRGAN"}:
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}, but BPR, DNS and IRGAN")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    config = yaml.safe_load(CONFIG.read_text())
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for seed in seeds:
        for name in names:
            figures, batch = run(name, config, seed)
            found[name].append(figures)
            print(
                f"seed {seed}  {name:<6} NDCG@10 {figures['NDCG@10']:.4f} at batch {batch}", file=sys.stderr, flush=True
            )
    print(f"\n| ranker | {' | '.join(FIGURES)} |\n|---|{'---|' * len(FIGURES)}")
    for name in names:
        print(row(name, found[name]))
    print(row("popularity", found[names[0]], "/popularity"))
    print(row("truth", found[names[0]], "/truth"))
    if not {"BPR", "IRGAN"} <= set(names):
        return 0
    pairs = zip(found["IRGAN"], found["BPR"], strict=True)
    return int(not all(irgan["NDCG@10"] > bpr["NDCG@10"] for irgan, bpr in pairs))


if __name__ == "__main__":
    sys.exit(main())
