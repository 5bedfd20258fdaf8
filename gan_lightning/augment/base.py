"""What an augmentation is."""

from __future__ import annotations

from torch import Tensor, nn

from gan_lightning.noise import Noise


class Augment(nn.Module):
    """Changes images at random before the discriminator sees them, so that it cannot learn the few real ones by heart.

    A subclass defines `forward`; one whose strength follows a schedule defines `begin`; one that adapts its strength
    sets `adaptive` and defines the other two as well. What it remembers are buffers, which a checkpoint holds.
    """

    adaptive = False

    def forward(self, image: Tensor, noise: Noise) -> Tensor:
        """(n, c, h, w) -> (n, c, h, w), differentiable; all random numbers come from `noise`, a row a sample."""
        raise TypeError(f"{type(self).__name__} must define forward(image, noise)")

    def begin(self, images_seen: int) -> None:
        """Called before each batch with the number of training images that each player has seen."""

    def see(self, real: Tensor) -> None:
        """Told the discriminator's scores (n,) of real images, less the boundary between real and fake."""

    def adapt(self, images_seen: int) -> None:
        """Called after each discriminator turn on every process, with the number of training images so far."""
