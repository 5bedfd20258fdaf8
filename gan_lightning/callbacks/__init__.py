"""What happens beside training: scores, pictures, checkpoints, alarms."""

from gan_lightning.callbacks.checkpoint import Checkpoint
from gan_lightning.callbacks.health import Health
from gan_lightning.callbacks.progress import GANProgressBar
from gan_lightning.callbacks.run_summary import RunSummary
from gan_lightning.callbacks.sample_grid import SampleGrid
from gan_lightning.callbacks.scores.base import ScheduledScore, When
from gan_lightning.callbacks.scores.codes import CodeScores
from gan_lightning.callbacks.scores.images import (
    FID,
    KID,
    PRDC,
    InceptionScore,
    LabelAccuracy,
    MemorisationDistance,
    ModeCoverage,
    Score,
)
from gan_lightning.callbacks.scores.overfitting import Overfitting
from gan_lightning.callbacks.scores.ranking import RankingScores
from gan_lightning.callbacks.scores.single_image import SingleImageScores
from gan_lightning.callbacks.scores.text import TextScores
from gan_lightning.callbacks.scores.translation import TranslationScores
from gan_lightning.callbacks.watch import Watch

__all__ = [
    "Checkpoint",
    "CodeScores",
    "FID",
    "GANProgressBar",
    "Health",
    "InceptionScore",
    "KID",
    "LabelAccuracy",
    "MemorisationDistance",
    "ModeCoverage",
    "Overfitting",
    "PRDC",
    "RankingScores",
    "RunSummary",
    "SampleGrid",
    "ScheduledScore",
    "Score",
    "SingleImageScores",
    "TextScores",
    "TranslationScores",
    "Watch",
    "When",
]
