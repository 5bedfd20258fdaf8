"""Deep Generative Image Models using a Laplacian Pyramid of Adversarial Networks, 2015."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from gan_lightning import losses
from gan_lightning.batches import Labeled
from gan_lightning.core import (
    ClassNetwork,
    ImageShape,
    ImageStep,
    OptimizerCallable,
    Terms,
    TwoPlayerGAN,
    require_classes,
)
from gan_lightning.networks import LAPGANDiscriminator, LAPGANGenerator, MLPDiscriminator, MLPGenerator
from gan_lightning.networks.lapgan import PyramidGenerator, gaussian_pyramid, level_shapes


class LAPGAN(TwoPlayerGAN):
    """A GAN for each level of a Laplacian pyramid, coarse to fine (Denton et al. 2015, arXiv:1506.05751).

    The coarsest level is an ordinary GAN. The generator of a finer one sees l, the level before it enlarged, and noise,
    and adds a residual h; its discriminator sees l + h, which of a real image is the image of that level. Levels are
    trained on the l of real images, apart from each other; samples are made level by level from generated ones
    (equation 5). Levels share no weights: one player whose loss is the sum over levels moves as a player for each
    would. The class joins every network as the paper's class-conditional model has it.

    Numbers are those of the paper and the authors' code for CIFAR-10. Deviations: the momentum stays at 0.5 and the
    rate at 0.02, where theirs rises by 0.0008 an epoch up to 0.7, and is divided by 1.000004 after each epoch; images
    lie in [-1, 1] and are not standardised for each pixel, the coarsest generator ends in tanh, its discriminator has
    LeakyReLU; the generator's turn has the l of the discriminator's, where theirs draws twice as many anew; the
    discriminator's loss is the sum of the means over reals and over fakes, where theirs is their mean; samples are of
    an average, with classes too the momentum is 0.5 from the start.

    Args:
        conditional: whether the networks are told the class.
        coarsest: the least shorter side of a level: images of 32 px have levels of 8, 16 and 32 px by 8, and images of
            28 px levels of 7, 14 and 28 by 7.
        coarsest_generator, coarsest_discriminator: build the networks of the coarsest level.
        generator, discriminator: build those of each finer level, for its image's shape.
        images_per_level: train the levels one after another, each for so many images, the last one until the end; null
            trains all of them on every batch.

    Raises:
        ValueError: images that cannot be halved, `conditional` on data without classes, or levels without images.
    """

    uniform_latents = True

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int | None = None,
        conditional: bool = False,
        coarsest: int = 8,
        coarsest_generator: ClassNetwork = lambda image_shape, num_classes: MLPGenerator(
            image_shape, num_classes, latent_dim=100, width=1200
        ),
        coarsest_discriminator: ClassNetwork = lambda image_shape, num_classes: MLPDiscriminator(
            image_shape, num_classes, width=600, dropout=0.5
        ),
        generator: ClassNetwork = lambda image_shape, num_classes: LAPGANGenerator(image_shape, num_classes, width=64),
        discriminator: ClassNetwork = lambda image_shape, num_classes: LAPGANDiscriminator(
            image_shape, num_classes, width=64
        ),
        generator_optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.5),
        discriminator_optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.5),
        images_per_level: int | None = None,
        n_critic: int = 1,
        step: ImageStep = ImageStep(),
    ) -> None:
        if images_per_level is not None and images_per_level < 1:
            raise ValueError(f"images_per_level must be at least 1, or null, not {images_per_level}")
        classes = require_classes("LAPGAN", num_classes) if conditional else None
        shapes = level_shapes(image_shape, coarsest)

        def networks(first: ClassNetwork, others: ClassNetwork) -> list[nn.Module]:
            return [first(shapes[0], classes), *(others(shape, classes) for shape in shapes[1:])]

        first, *finer = networks(coarsest_generator, generator)
        players = PyramidGenerator(shapes, first, finer), nn.ModuleList(networks(coarsest_discriminator, discriminator))
        super().__init__(image_shape, *players, generator_optimizer, discriminator_optimizer, n_critic, step)
        self.num_classes, self.images_per_level = classes, images_per_level

    @property
    def trained_levels(self) -> range:
        """The numbers of the levels that this batch trains."""
        count = len(self.generator.sizes)
        if self.images_per_level is None:
            return range(count)
        level = min(self.clock // self.images_per_level, count - 1)
        return range(level, level + 1)

    def games(self, batch: Labeled) -> Iterator[tuple[str, Labeled, Labeled]]:
        """The real images and the fakes of each level that is trained, with the name of its term."""
        real = gaussian_pyramid(batch.image, len(self.generator.sizes))
        z = self.generator.split(self.latent(self.noise, len(batch.image)))
        for level in self.trained_levels:
            below = real[level - 1] if level else None
            label = self.condition_like(batch) if self.num_classes and not level else batch.label
            fake = self.generator.picture(level, z[level], below, label if self.num_classes else None)
            name = f"adversarial_{self.generator.sizes[level][0]}"
            yield name, Labeled(real[level], batch.label), Labeled(self.watched(fake), label)

    def discriminator_loss(self, batch: Labeled) -> Terms:
        scores = ((name, self.score_pair(real, fake.detach())) for name, real, fake in self.games(batch))
        return {name: losses.logistic_discriminator(*pair) for name, pair in scores}

    def generator_loss(self, batch: Labeled) -> Terms:
        return {name: losses.non_saturating_generator(self.discriminate(fake)) for name, _, fake in self.games(batch)}

    def show(self, image: Tensor, *inputs: Tensor) -> Tensor:
        """(n,) scores of images of any level, and labels, by the discriminator of that level."""
        level = self.generator.sizes.index(tuple(image.shape[2:]))
        return self.discriminator[level](self.augmented(image), *inputs)

    def bounded(self, image: Tensor) -> Tensor:
        return image.clamp(-1.0, 1.0)
