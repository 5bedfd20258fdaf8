"""Images that a discriminator sees again: pools of what the generator made before."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gan_lightning import batches
from gan_lightning.runtime.mirror import Mirror

# Both pools belong to the whole batch: each process sees the fakes of all, makes the same choices, and takes its rows.
# A run on several processes, or resumed from a checkpoint, therefore trains on the same images.


class Pool(nn.Module):
    """Base of both: images of before, in checkpoints.

    Args:
        size: images kept; 0 for no pool.
        image_shape: (channels, height, width).
    """

    images: Tensor
    count: Tensor  # () int64, how many of them there are yet

    def __init__(self, size: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(size, *image_shape))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self._count = Mirror()

    @torch.no_grad()
    def exchange(self, fake: Tensor, seed: int, micro_batches: int = 1) -> Tensor:
        """(n, *image_shape), fakes of now or before, in place of this process's fakes; without a graph.

        Args:
            fake: (n, *image_shape) of this process.
            seed: of the choices; the same on every process.
            micro_batches: that the rows will be cut into.
        """
        if not len(self.images):
            return fake.detach()
        everyone = batches.gather_batch(fake.detach().to(self.images.dtype), micro_batches).clone()
        self.mix(everyone, torch.Generator().manual_seed(seed))
        return batches.of_process(everyone, micro_batches).to(fake.dtype)

    def mix(self, shown: Tensor, choices: torch.Generator) -> None:
        """Put images of before in the place of some of the whole batch's fakes, and keep some of these."""
        raise TypeError(f"{type(self).__name__} must define mix(shown, choices)")


class ImagePool(Pool):
    """CycleGAN's pool (Zhu et al. 2017, arXiv:1703.10593, section 4; Shrivastava et al. 2017): the last fakes, mixed.

    While it is not full every image is kept and shown. Then, image by image, a coin decides whether the image is shown
    itself, or takes the place of one from the pool, at random, which is shown instead.
    """

    def mix(self, shown: Tensor, choices: torch.Generator) -> None:
        size, count = len(self.images), int(self._count.value(self.count))
        coins = torch.rand(len(shown), generator=choices).tolist()
        places = torch.randint(size, (len(shown),), generator=choices).tolist()
        for row, (coin, place) in enumerate(zip(coins, places, strict=True)):
            if count < size:
                self.images[count] = shown[row]
                count += 1
            elif coin > 0.5:
                kept = shown[row].clone()
                shown[row] = self.images[place]
                self.images[place] = kept
        self._count.set(self.count, count)


class HistoryBuffer(Pool):
    """SimGAN's history (Shrivastava et al. 2017, arXiv:1612.07828, section 2.3): half of each batch is from before.

    Half of the images shown are the batch's first ones, half are drawn from the buffer; then images of the batch
    replace as many of the buffer, at random. Until the buffer is full the batch is shown as it is, and kept.
    """

    def mix(self, shown: Tensor, choices: torch.Generator) -> None:
        size, count = len(self.images), self._count.value(self.count)
        if count < size:
            new = shown[: size - count]
            self.images[count : count + len(new)] = new
            self._count.set(self.count, count + len(new))
            return
        half = min(len(shown) // 2, size)
        drawn, replaced = (batches.sent(torch.randperm(size, generator=choices)[:half], shown.device) for _ in range(2))
        before = self.images[drawn]
        self.images[replaced] = shown[:half]
        shown[len(shown) - half :] = before
