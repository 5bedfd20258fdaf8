"""How models are scored: see `run` for the one pass that serves every score."""

from gan_lightning.scoring.cards import (
    SUBJECT,
    card,
    card_lines,
    card_of,
    differences,
    figure_name,
    merged,
    subject,
    table,
)
from gan_lightning.scoring.extractors import extractor_named
from gan_lightning.scoring.feature_pass import keeper, look
from gan_lightning.scoring.protocol import Protocol, ScoreRequest
from gan_lightning.scoring.references import given_reference, reference_file, references, wanted_of
from gan_lightning.scoring.run import check_request, scores_of
from gan_lightning.scoring.samples import CHOICE, Samples, subset

__all__ = [
    "CHOICE",
    "Protocol",
    "SUBJECT",
    "Samples",
    "ScoreRequest",
    "card",
    "card_lines",
    "card_of",
    "check_request",
    "differences",
    "extractor_named",
    "figure_name",
    "given_reference",
    "keeper",
    "look",
    "merged",
    "reference_file",
    "references",
    "scores_of",
    "subject",
    "subset",
    "table",
    "wanted_of",
]
