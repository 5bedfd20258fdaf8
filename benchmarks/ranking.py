"""What IRGAN's game adds to its own first stage: BPR, DNS and IRGAN on choices of made-up users.

    python benchmarks/ranking.py [--only BPR,DNS,IRGAN] [--seeds 0,1,2] [--config FILE] [--by NDCG@10] [--every 100]

IRGAN is `configs/irgan/synthetic.yaml`, or another config of it. BPR is matrix factorisation of the same dimension by
the first stage alone with one candidate, DNS with the config's candidates; both take as many batches as IRGAN. Of the
batches looked at, every 100, the one of the best validation figure is taken, and its figures of the test choices are
the table's: of BPR, of DNS, of IRGAN's first stage ("start") and of its game. A seed draws the users as well as the
initial weights; of a file the held-out choices where it has no times. Prints the chosen figures by seed, then tables of
means and standard deviations over the seeds: on validation, on test, and what the game adds to its own start, beside
popularity and the scores that made-up choices were drawn from.
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
Figures = dict[str, float]
FIGURES = ("P@5", "NDCG@5", "NDCG@10", "MAP", "MRR")


def built(options: dict[str, Any], data: ImplicitFeedback) -> AdversarialModule:
    """The model of a config's section."""
    parser = Parser()
    parser.add_subclass_arguments(AdversarialModule, "model")
    facts = {"users": data.users, "items": data.items, "num_features": None}
    model = options | {"init_args": options["init_args"] | facts}
    return parser.instantiate_classes(parser.parse_object({"model": model})).model


class Looks(Callback):
    """Figures every so many batches, in their order: (batch, of validation, of test)."""

    def __init__(self, test: ImplicitFeedback, every: int) -> None:
        self.scores, self.test, self.every, self.figures = RankingScores(when=When(at_end=False)), test, every, []

    def on_train_batch_end(self, trainer: Trainer, model: AdversarialModule, *_: object) -> None:
        if model.iteration % self.every == 0:
            measured = [self.scores.measure(model, data)[0] for data in (trainer.datamodule, self.test)]
            self.figures.append((model.iteration, *measured))


def run(name: str, config: dict[str, Any], seed: int, by: str, every: int) -> dict[str, tuple[int, Figures, Figures]]:
    """The best look of each stage of one ranker, chosen by a validation figure."""
    seed_everything(seed, verbose=False)
    validation, test = (
        ImplicitFeedback(**config["data"]["init_args"] | {"seed": seed, "held_out": part})
        for part in ("validation", "test")
    )
    options = config["model"]["init_args"]
    first = options["pretraining"]
    batches = config["trainer"]["max_steps"] - first  # the generator's, of the game
    total = first + round(batches * (1 + options["discriminator_turns"] / options["generator_turns"]))
    if name != "IRGAN":
        alone = {"pretraining": total, "pretrain_discriminator": False}  # with the game's schedule of rates
        options = options | alone | ({"candidates": 1} if name == "BPR" else {})
    looks = Looks(test, every)
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=-1,
        max_steps=total if name != "IRGAN" else config["trainer"]["max_steps"],
        callbacks=[looks],
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(built(config["model"] | {"init_args": options}, validation), validation)
    stages = {name: looks.figures}
    if name == "IRGAN":
        stages = {
            "IRGAN, start": [look for look in looks.figures if look[0] <= first],
            "IRGAN, game": [look for look in looks.figures if look[0] > first],
        }
    return {stage: max(found, key=lambda look: look[1][by]) for stage, found in stages.items() if found}


def row(name: str, figures: list[Figures], suffix: str = "") -> str:
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
    parser.add_argument("--every", type=int, default=100, help="batches from look to look (default %(default)s)")
    parser.add_argument("--by", default="NDCG@10", choices=FIGURES, help="what is chosen by (default %(default)s)")
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
    found: dict[str, list[tuple[int, Figures, Figures]]] = {}
    for seed in seeds:
        for name in names:
            for stage, look in run(name, config, seed, options.by, options.every).items():
                found.setdefault(stage, []).append(look)
                batch, chosen, reported = look
                figures = f"validation {chosen[options.by]:.4f}, test {reported[options.by]:.4f}"
                print(f"seed {seed}  {stage:<12} batch {batch:<6} {options.by} {figures}", file=sys.stderr, flush=True)
    for place, part in ((1, "validation"), (2, "test")):
        print(f"\n| {part} | {' | '.join(FIGURES)} |\n|---|{'---|' * len(FIGURES)}")
        of = {stage: [look[place] for look in looks] for stage, looks in found.items()}
        for stage, figures in of.items():
            print(row(stage, figures))
        if "IRGAN, start" in of and "IRGAN, game" in of:
            pairs = zip(of["IRGAN, start"], of["IRGAN, game"], strict=True)
            print(row("game less start", [{f: game[f] - start[f] for f in FIGURES} for start, game in pairs]))
        for suffix in ("popularity", "truth"):
            print(row(suffix, next(iter(of.values())), f"/{suffix}"))


if __name__ == "__main__":
    main()
