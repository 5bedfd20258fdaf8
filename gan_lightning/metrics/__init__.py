"""Scores over features: the extractors that make features, and the statistics that compare them."""

from gan_lightning.metrics.agreement import pair_iou, pixel_agreement
from gan_lightning.metrics.cifar import CIFARResNet56
from gan_lightning.metrics.classes import LabelAccuracy, ModeCoverage
from gan_lightning.metrics.clustering import matched_accuracy
from gan_lightning.metrics.codes import (
    bits_of,
    conditional_entropy,
    entropy,
    linear_code,
    mutual_information,
    pairwise_information,
    readout_error,
    recovered,
    total_correlation,
)
from gan_lightning.metrics.digits import DigitFeatures, StackedDigitFeatures
from gan_lightning.metrics.dinov2 import DINOv2
from gan_lightning.metrics.extractor import Extractor, Features
from gan_lightning.metrics.fid import FID, Gaussian, frechet_distance
from gan_lightning.metrics.images import PICTURE_CHANNELS, to_uint8, unit_interval, visible
from gan_lightning.metrics.inception import Inception
from gan_lightning.metrics.inception_score import InceptionScore
from gan_lightning.metrics.kid import KID
from gan_lightning.metrics.linear_probe import linear_probe, probe_features
from gan_lightning.metrics.pairs import PairScores
from gan_lightning.metrics.patches import PatchFeatures, RandomPatches, VGGPatches, diversity, patch_distance
from gan_lightning.metrics.prdc import PRDC, MemorisationDistance
from gan_lightning.metrics.ranking import ranking_figures
from gan_lightning.metrics.reference import Reference, load_reference, save_reference
from gan_lightning.metrics.spectrum import grid_peak
from gan_lightning.metrics.strokes import breadth, rank_correlation, slant, thickness
from gan_lightning.metrics.text import bleu, distinct, self_bleu
from gan_lightning.metrics.units import Guided, Strongest, guided_gradients, responses, spread

__all__ = [
    "CIFARResNet56",
    "DINOv2",
    "DigitFeatures",
    "Extractor",
    "FID",
    "Features",
    "Gaussian",
    "Guided",
    "Inception",
    "InceptionScore",
    "KID",
    "LabelAccuracy",
    "MemorisationDistance",
    "ModeCoverage",
    "PICTURE_CHANNELS",
    "PRDC",
    "PairScores",
    "PatchFeatures",
    "RandomPatches",
    "Reference",
    "StackedDigitFeatures",
    "Strongest",
    "VGGPatches",
    "bits_of",
    "bleu",
    "breadth",
    "conditional_entropy",
    "distinct",
    "diversity",
    "entropy",
    "frechet_distance",
    "grid_peak",
    "guided_gradients",
    "linear_code",
    "linear_probe",
    "load_reference",
    "matched_accuracy",
    "mutual_information",
    "pair_iou",
    "pairwise_information",
    "patch_distance",
    "pixel_agreement",
    "probe_features",
    "rank_correlation",
    "ranking_figures",
    "readout_error",
    "recovered",
    "responses",
    "save_reference",
    "self_bleu",
    "slant",
    "spread",
    "thickness",
    "to_uint8",
    "total_correlation",
    "unit_interval",
    "visible",
]
