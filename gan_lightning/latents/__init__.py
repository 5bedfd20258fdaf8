"""What can be done with the latents of a trained generator of images: move them, find a picture's, tell directions."""

from gan_lightning.latents.directions import directions
from gan_lightning.latents.projection import Projection, distance_to, project
from gan_lightning.latents.space import LatentSpace
from gan_lightning.latents.stored import Latents

__all__ = ["LatentSpace", "Latents", "Projection", "directions", "distance_to", "project"]
