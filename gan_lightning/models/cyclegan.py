"""Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks, 2017."""

import torch
from torch import Tensor, nn

from gan_lightning import losses, optim
from gan_lightning.batches import Unpaired, UnpairedWithFakes
from gan_lightning.core import Columns, ImageNetwork, ImageShape, OptimizerCallable, Step, Terms, Translator
from gan_lightning.core.image_pools import ImagePool
from gan_lightning.networks import PatchDiscriminator, ResNetTranslator
from gan_lightning.noise import key


class CycleGAN(Translator):
    """Two domains without pairs, by two translators that undo each other (Zhu et al. 2017, arXiv:1703.10593).

    Equations 1 to 3 with least squares (section 4): per domain (D(G(x)) - 1)^2 for the generator and half the sum of
    both squares for the discriminator, 10 |F(G(x)) - x|, and 10 * 0.5 |G(y) - y| (section 5.2; the paper asks for it
    where colour must stay, the authors' code always). Discriminators see fakes from pools of 50. As in the authors'
    code both generators move in one turn, then both discriminators, with fakes made before it.

    Args:
        generator: builds each of the two, from (n, *image_shape) to the same in [-1, 1].
        discriminator: builds each of the two, from images to scores of patches.
        cycle_weight: lambda of the cycles.
        identity_weight: of the identities, in units of `cycle_weight`; 0 for none.
        pool: images of each domain that are kept; 0 for none.
    """

    shardable = False  # its pools are filled between turns
    directions = ("AtoB", "BtoA")
    pairs = {"cycle_a": ("A to B to A", "A"), "cycle_b": ("B to A to B", "B")}
    domains = {"AtoB": ("A to B", "B"), "BtoA": ("B to A", "A")}

    def __init__(
        self,
        image_shape: ImageShape,
        generator: ImageNetwork = lambda image_shape: ResNetTranslator(image_shape, width=64),
        discriminator: ImageNetwork = lambda image_shape: PatchDiscriminator(image_shape, layers=3, affine=False),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.5),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.5),
        cycle_weight: float = 10.0,
        identity_weight: float = 0.5,
        pool: int = 50,
        step: Step = Step(),
    ) -> None:
        networks = (nn.ModuleList(build(image_shape) for _ in "AB") for build in (generator, discriminator))
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, step)
        self.multiple = self.generator[0].multiple
        self.cycle_weight, self.identity_weight = cycle_weight, identity_weight
        self.pools = nn.ModuleList(ImagePool(pool, self.image_shape) for _ in "AB")

    def training_step(self, batch: Unpaired, batch_idx: int) -> None:
        to_b, to_a = self.generator
        with torch.no_grad():
            fakes = to_a(batch.b), to_b(batch.a)
        self.turn("generator", self.generator_loss, batch, advances_step=True)
        seeds, pieces = (key(self.seed, self.iteration, domain) for domain in range(2)), self.step.micro_batches
        shown = (pool.exchange(fake, seed, pieces) for pool, fake, seed in zip(self.pools, fakes, seeds, strict=True))
        self.turn("discriminator", self.discriminator_loss, UnpairedWithFakes(*batch, *shown))

    def generator_loss(self, batch: Unpaired) -> Terms:
        to_b, to_a = self.generator
        judge_a, judge_b = self.discriminator
        fake_b, fake_a = to_b(batch.a), to_a(batch.b)
        terms = {
            "adversarial_a": 2 * losses.least_squares_generator(judge_a(fake_a)),  # a whole square, not a half
            "adversarial_b": 2 * losses.least_squares_generator(judge_b(fake_b)),
            "cycle_a": self.cycle_weight * losses.absolute_error(batch.a, to_a(fake_b)).mean(),
            "cycle_b": self.cycle_weight * losses.absolute_error(batch.b, to_b(fake_a)).mean(),
        }
        if self.identity_weight:
            weight = self.cycle_weight * self.identity_weight
            terms["identity_a"] = weight * losses.absolute_error(batch.a, to_a(batch.a)).mean()
            terms["identity_b"] = weight * losses.absolute_error(batch.b, to_b(batch.b)).mean()
        return terms

    def discriminator_loss(self, batch: UnpairedWithFakes) -> Terms:
        judge_a, judge_b = self.discriminator
        return {
            "a": losses.least_squares_discriminator(judge_a(batch.a), judge_a(batch.fake_a)),
            "b": losses.least_squares_discriminator(judge_b(batch.b), judge_b(batch.fake_b)),
        }

    def translate(self, image: Tensor, direction: str | None = None) -> Tensor:
        """As :meth:`Translator.translate`.

        Args:
            image: of the domain that the direction begins with.
            direction: from which domain to which, the first where None.
        """
        return self.made_by(self.generator[self.which(direction)], image)

    def columns(self, batch: Unpaired) -> Columns:
        to_b, to_a = self.translate(batch.a, "AtoB"), self.translate(batch.b, "BtoA")
        return {
            "A": batch.a,
            "A to B": to_b,
            "A to B to A": self.translate(to_b, "BtoA"),
            "B": batch.b,
            "B to A": to_a,
            "B to A to B": self.translate(to_a, "AtoB"),
        }
