"""Learning from Simulated and Unsupervised Images through Adversarial Training, 2017."""

import torch
from torch import Tensor

from gan_lightning import losses
from gan_lightning.batches import Unpaired
from gan_lightning.core import Columns, ImageNetwork, ImageShape, OptimizerCallable, Step, Terms, Translator
from gan_lightning.core.image_pools import HistoryBuffer
from gan_lightning.networks import LocalDiscriminator, Refiner
from gan_lightning.noise import key


class SimGAN(Translator):
    """Synthetic images made to look real, with their annotations (Shrivastava et al. 2017, arXiv:1612.07828).

    Domain a is synthetic, b real. Equations 1 to 4: the cross entropy of each local patch, summed over the image, and
    lambda |R(x) - x| summed over its pixels; the refiner alone first, on its own term, then the discriminator alone,
    then algorithm 1 with K_d = 1 and K_g = 2, as the text says (the algorithm's listing says 50). A batch is one turn.
    Half of the refined images that the discriminator sees are from a history. Deviations: the paper names neither
    optimizer nor lambda for the eye images; they are plain SGD and 0.5 here.

    Args:
        generator: builds the refiner, from (n, *image_shape) to the same in [-1, 1].
        discriminator: builds a network from images to scores of patches, high for real ones.
        regularization: lambda.
        refiner_warmup: refiner turns before all others.
        discriminator_warmup: discriminator turns after them.
        refiner_turns, discriminator_turns: K_g and K_d.
        history: images kept; 0 for none.

    Raises:
        ValueError: numbers of turns that are negative, or no turn of one player at all.
    """

    shardable = False  # the history is filled between turns
    pairs = {"change": ("refined", "synthetic")}
    domains = {"": ("refined", "real")}

    def __init__(
        self,
        image_shape: ImageShape,
        generator: ImageNetwork = lambda image_shape: Refiner(image_shape, blocks=4, width=64),
        discriminator: ImageNetwork = lambda image_shape: LocalDiscriminator(image_shape, width=64),
        generator_optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=1e-3),
        discriminator_optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=1e-3),
        regularization: float = 0.5,
        refiner_warmup: int = 1000,
        discriminator_warmup: int = 200,
        refiner_turns: int = 2,
        discriminator_turns: int = 1,
        history: int = 25_600,
        step: Step = Step(),
    ) -> None:
        if min(refiner_warmup, discriminator_warmup) < 0 or min(refiner_turns, discriminator_turns) < 1:
            raise ValueError("SimGAN needs warm-ups of at least 0 and at least one turn of each player")
        networks = generator(image_shape), discriminator(image_shape)
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, step)
        self.regularization, self.multiple = regularization, self.generator.multiple
        self.refiner_warmup, self.discriminator_warmup = refiner_warmup, discriminator_warmup
        self.refiner_turns, self.discriminator_turns = refiner_turns, discriminator_turns
        self.history = HistoryBuffer(history, self.image_shape)

    def training_step(self, batch: Unpaired, batch_idx: int) -> None:
        step = self.iteration - 1 - self.refiner_warmup  # batches since the first stage
        if step < 0:
            self.turn("generator", self.regularization_loss, batch, advances_step=True)
        elif step >= self.discriminator_warmup and self._refines(step - self.discriminator_warmup):
            self.turn("generator", self.generator_loss, batch, advances_step=True)
        else:
            with torch.no_grad():
                refined = self.generator(batch.a)
            shown = self.history.exchange(refined, key(self.seed, self.iteration), self.step.micro_batches)
            self.turn("discriminator", self.discriminator_loss, batch._replace(a=shown))

    def _refines(self, step: int) -> bool:
        """Whether a batch of the alternation is the refiner's."""
        return step % (self.refiner_turns + self.discriminator_turns) < self.refiner_turns

    def regularization_loss(self, batch: Unpaired) -> Terms:
        return {"regularization": self._change(batch.a, self.generator(batch.a))}

    def _change(self, synthetic: Tensor, refined: Tensor) -> Tensor:
        return self.regularization * (refined - synthetic).abs().flatten(1).sum(1).mean()

    def generator_loss(self, batch: Unpaired) -> Terms:
        refined = self.generator(batch.a)
        scores = self.discriminator(refined)
        return {
            "realism": losses.non_saturating_generator(scores) * scores[0].numel(),  # a sum over patches
            "regularization": self._change(batch.a, refined),
        }

    def discriminator_loss(self, batch: Unpaired) -> Terms:
        """Of refined images, now in place of the synthetic ones, and real ones."""
        refined, real = self.discriminator(batch.a), self.discriminator(batch.b)
        return {"adversarial": losses.logistic_discriminator(real, refined) * real[0].numel()}

    def translate(self, image: Tensor) -> Tensor:
        return self.made_by(self.generator, image)

    def columns(self, batch: Unpaired) -> Columns:
        return {"synthetic": batch.a, "refined": self.translate(batch.a), "real": batch.b}
