"""What changes images before the discriminator sees them: real ones and fakes alike, differentiable."""

from gan_lightning.augment.base import Augment

__all__ = ["Augment"]
