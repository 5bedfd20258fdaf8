"""What changes images before the discriminator sees them: real ones and fakes alike, differentiable."""

from gan_lightning.augment.ada import ADA
from gan_lightning.augment.base import Augment
from gan_lightning.augment.diffaugment import DiffAugment
from gan_lightning.augment.warp import random_warp

__all__ = ["ADA", "Augment", "DiffAugment", "random_warp"]
