"""What a run's files say of its health, and what papers advise.

The bounds are those of this page: no paper gives them. They are chosen so that a finding is rare in runs that go well.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from typing import Any, NamedTuple

from gan_lightning import models
from gan_lightning.reporting.folder import RunFolder

FALLEN = 0.1  # of the greatest deviation of fakes so far: below it they have lost their variety
WON = 0.95  # share of images that the discriminator tells right: above it has won
BY_HEART = 0.6  # r_v, which is 0 without overfitting and 1 where held-out images score as fakes
BEGINNING = 0.01  # share of the average that is still of the first weights
WORSE = 0.1  # of the best score, which the last one is off by


class Finding(NamedTuple):
    """Something that is not as it should be.

    Attributes:
        title: what, in a few words.
        evidence: what the run's files say.
        advice: what to try; papers by their arXiv numbers, code within backticks.
    """

    title: str
    evidence: str
    advice: list[str]


def findings(run: RunFolder) -> list[Finding]:
    """Collapse, a discriminator that wins or overfits, an average that lags, a best score that was earlier."""
    checks = (_collapse, _discriminator_wins, _overfitting, _average_lags, _score_lost)
    return [found for check in checks for found in check(run)]


def _collapse(run: RunFolder) -> Iterator[Finding]:
    evidence = "; ".join(text for _, text in run.alarms)
    for name in [name for name in run.curves if name.endswith("/deviation") and not evidence]:
        late, greatest = _late(run, name), max(run.curves[name][1])
        if late < FALLEN * greatest:
            evidence = f"{name}, how much the fakes of a batch differ, is {late:.2g}, and was {greatest:.2g}"
    if evidence:
        advice = [
            "Let the discriminator see the batch as a whole: minibatch discrimination (`ImprovedGAN`, "
            "arXiv:1606.03498) or the minibatch standard deviation (`StyleGAN2`, arXiv:1710.10196).",
        ]
        if run.model in ("R3GAN", "R3GAN2"):
            advice += ["Penalise gradients more: a greater `--model.gamma` (arXiv:2501.05441)."]
        else:
            advice += [
                "Score each fake against a real image, with R1 and R2: `gan fit R3GAN`. In its paper this game keeps "
                "all 1,000 modes of StackedMNIST (arXiv:2501.05441)."
            ]
        advice += ["Go on from a checkpoint of before the collapse, with lower learning rates."]
        yield Finding("The generator has collapsed", evidence, advice)


def _discriminator_wins(run: RunFolder) -> Iterator[Finding]:
    if getattr(getattr(models, run.model, None), "boundary", 0.0) is None:
        return  # a critic, or a player of pairs: its scores are to lie apart
    players = [name.removesuffix("/accuracy_real") for name in run.curves if name.endswith("/accuracy_real")]
    for player in players:
        names = [f"{player}/accuracy_{kind}" for kind in ("real", "fake")]
        if not all(name in run.curves for name in names):
            continue
        right = fmean(_late(run, name) for name in names)
        if right <= WON:
            continue
        given = _arguments(run)
        rate = _of(given.get(f"{player}_optimizer"), "lr")
        lower = f"`--model.{player}_optimizer.lr {rate / 2:g}`, half of now" if rate else "its optimizer's `lr`"
        advice = [
            f"Lower its learning rate: {lower}. Two players may have two rates (arXiv:1706.08500).",
            "Penalise its gradients: R1 (`R3GAN`, `StyleGAN2`; arXiv:1801.04406) or a gradient penalty (`WGANGP`, "
            "arXiv:1704.00028).",
        ]
        if isinstance(turns := given.get("n_critic"), int) and turns > 1:
            advice += [f"Give it fewer turns: `--model.n_critic 1`, not {turns}."]
        if run.last("overfitting/r_v") is None:
            advice += [
                "See whether it knows its images by heart: `--trainer.callbacks+=Overfitting` measures r_v "
                "(arXiv:2006.06676)."
            ]
        yield Finding(
            f"The {player} wins",
            f"in the last quarter of the run it told {right:.0%} of images right; the generator learns little from it",
            advice,
        )


def _overfitting(run: RunFolder) -> Iterator[Finding]:
    r_v = run.last("overfitting/r_v")
    if r_v is not None and r_v > BY_HEART:
        yield Finding(
            "The discriminator knows its images by heart",
            f"r_v is {r_v:.2g}: images that it has not seen score much as fakes do (0: as seen ones, 1: as fakes)",
            [
                "Augment what it sees: `--model.step.augment DiffAugment` (arXiv:2006.10738), or "
                "`--model.step.augment ADA`, which finds the strength by itself (arXiv:2006.06676).",
                "Mirror the images, where mirrored ones are as good, or take more of them.",
            ],
        )


def _average_lags(run: RunFolder) -> Iterator[Finding]:
    given, images = _arguments(run), run.last("images_seen")
    step = given.get("step")
    step = step if isinstance(step, dict) else {}
    half_life, ramp_up = step.get("ema_half_life"), step.get("ema_rampup")
    half_life = half_life[0] if isinstance(half_life, list) and half_life else half_life
    if not images or not isinstance(half_life, (int, float)) or half_life <= 0:
        return
    images /= getattr(getattr(models, run.model, None), "batches_per_step", 1)  # the average's own clock
    reached = min(half_life, ramp_up * images) if isinstance(ramp_up, (int, float)) and ramp_up else half_life
    share = 0.5 ** (images / reached)
    if share > BEGINNING:
        yield Finding(
            "The average lags behind",
            f"after {images:.0f} images an average with a half-life of {reached:.0f} is still to {share:.0%} the first "
            "weights: samples and scores are worse than the generator",
            [
                "Bound the half-life by the images seen: `--model.step.ema_rampup 0.05`, as StyleGAN2's authors do "
                "(arXiv:2006.06676).",
                f"Shorten it: `--model.step.ema_half_life {images / 20:.0f}`; or train for more images.",
                "See the difference: `gan sample CKPT --live` draws with the trained weights.",
            ],
        )


def _score_lost(run: RunFolder) -> Iterator[Finding]:
    if (found := run.best()) is None:
        return
    name, best = found
    last = run.scores[name][-1]
    if abs(last.value - best.value) > WORSE * abs(best.value):
        yield Finding(
            "The best was earlier",
            f"{name} was {best.value:.4g} at step {best.step}, and is {last.value:.4g} at step {last.step}",
            [
                "Take `best.ckpt`, which is of that step.",
                "Let the learning rates fall: `--model.step.scheduler CosineDecay`, whose `end` is the last step, as "
                "in R3GAN's schedule (arXiv:2501.05441).",
            ],
        )


def _late(run: RunFolder, name: str) -> float:
    """The mean of a figure in the last quarter of the run."""
    values = run.curves[name][1]
    return fmean(values[-max(len(values) // 4, 1) :])


def _arguments(run: RunFolder) -> dict[str, Any]:
    """The model's, by name."""
    model = run.config.get("model")
    given = model.get("init_args") if isinstance(model, dict) else None
    return given if isinstance(given, dict) else {}


def _of(part: Any, argument: str) -> float | None:
    """A number among the arguments of a class of the config."""
    given = part.get("init_args") if isinstance(part, dict) else None
    value = given.get(argument) if isinstance(given, dict) else None
    return value if isinstance(value, (int, float)) else None
