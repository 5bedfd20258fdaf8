"""Data modules: each one knows its `image_shape` and `num_classes` before it reads anything."""

from gan_lightning.data.attributes import AttributeImages
from gan_lightning.data.captioned import CaptionedImages
from gan_lightning.data.captioned_shapes import CaptionedShapes
from gan_lightning.data.cifar10 import CIFAR10
from gan_lightning.data.digits import Digits
from gan_lightning.data.domains import DigitDomains
from gan_lightning.data.factorial_patterns import FactorialPatterns
from gan_lightning.data.folder import ImageFolder
from gan_lightning.data.gaussians import Gaussians
from gan_lightning.data.implicit_feedback import ImplicitFeedback
from gan_lightning.data.low_resolution import LowResolutionImages, ShapeResolution
from gan_lightning.data.masked import MaskedImages, ShapeHoles
from gan_lightning.data.mnist import MNIST, FashionMNIST
from gan_lightning.data.oracle_sequences import OracleSequences
from gan_lightning.data.paired import PairedImages
from gan_lightning.data.parquet import ParquetImages
from gan_lightning.data.partly_labeled import PartlyLabeledDigits
from gan_lightning.data.patches import DigitPatches
from gan_lightning.data.ranking_pairs import RankingPairs
from gan_lightning.data.shapes import ShapeAttributes, ShapeDomains, ShapeIdentities, ShapePairs, ShapeRefinement
from gan_lightning.data.single_image import SingleImage
from gan_lightning.data.stacked import StackedDigits
from gan_lightning.data.streamed import StreamedImages
from gan_lightning.data.text_lines import TextLines
from gan_lightning.data.unpaired import UnpairedImages

__all__ = [
    "AttributeImages",
    "CIFAR10",
    "CaptionedImages",
    "CaptionedShapes",
    "DigitDomains",
    "DigitPatches",
    "Digits",
    "FactorialPatterns",
    "FashionMNIST",
    "Gaussians",
    "ImageFolder",
    "ImplicitFeedback",
    "LowResolutionImages",
    "MNIST",
    "MaskedImages",
    "OracleSequences",
    "PairedImages",
    "ParquetImages",
    "PartlyLabeledDigits",
    "RankingPairs",
    "ShapeAttributes",
    "ShapeDomains",
    "ShapeHoles",
    "ShapeIdentities",
    "ShapePairs",
    "ShapeRefinement",
    "ShapeResolution",
    "SingleImage",
    "StackedDigits",
    "StreamedImages",
    "TextLines",
    "UnpairedImages",
]
