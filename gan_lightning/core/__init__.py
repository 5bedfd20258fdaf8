"""The training mechanism, and the kinds of models that stand on it."""

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable

from gan_lightning.core.gan import TwoPlayerGAN, require_classes
from gan_lightning.core.growth import Growth
from gan_lightning.core.image_generator import ImageGenerator
from gan_lightning.core.kinds import Encoder, Ranker, SequenceGenerator
from gan_lightning.core.manipulator import Manipulator
from gan_lightning.core.module import AdversarialModule
from gan_lightning.core.sampling import evaluating, in_own_precision
from gan_lightning.core.step import (
    Augmentation,
    ClassNetwork,
    ImageNetwork,
    ImageShape,
    ImageStep,
    Player,
    Step,
    Terms,
)
from gan_lightning.core.text_to_image import TextToImage
from gan_lightning.core.translator import Columns, Inpainter, Translator
from gan_lightning.runtime.errors import require_one_of

__all__ = [
    "AdversarialModule",
    "Augmentation",
    "ClassNetwork",
    "Columns",
    "Encoder",
    "Growth",
    "ImageGenerator",
    "ImageNetwork",
    "ImageShape",
    "ImageStep",
    "Inpainter",
    "LRSchedulerCallable",
    "Manipulator",
    "OptimizerCallable",
    "Player",
    "Ranker",
    "SequenceGenerator",
    "Step",
    "Terms",
    "TextToImage",
    "Translator",
    "TwoPlayerGAN",
    "evaluating",
    "in_own_precision",
    "require_classes",
    "require_one_of",
]
