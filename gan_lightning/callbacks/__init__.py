"""What happens beside training: scores, pictures, checkpoints, alarms."""

from gan_lightning.callbacks.checkpoint import Checkpoint
from gan_lightning.callbacks.fid import FID
from gan_lightning.callbacks.health import Health
from gan_lightning.callbacks.progress import GANProgressBar
from gan_lightning.callbacks.sample_grid import SampleGrid

__all__ = ["Checkpoint", "FID", "GANProgressBar", "Health", "SampleGrid"]
