"""Conditional Image Synthesis with Auxiliary Classifier GANs, 2016."""

import torch.nn.functional as F
from torch import Tensor

from gan_lightning import losses, optim
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
from gan_lightning.networks import AuxiliaryDiscriminator, DCGANGenerator


class ACGAN(TwoPlayerGAN):
    """The discriminator is not told the class, it names it (Odena et al. 2017, arXiv:1610.09585, section 3).

    The discriminator maximises L_S + L_C, source and class, the class of real images and of fakes alike; the generator
    maximises L_C - L_S, in the non-saturating form. Deviations: the generator is DCGAN's, with the label joined to the
    noise; no weight noise.

    Args:
        class_weight: of the generator's L_C; the paper's is 1.

    Raises:
        ValueError: data without classes.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int | None = None,
        generator: ClassNetwork = lambda image_shape, num_classes: DCGANGenerator(
            image_shape, num_classes, latent_dim=100, width=96
        ),
        discriminator: ClassNetwork = lambda image_shape, num_classes: AuxiliaryDiscriminator(
            image_shape, num_classes, width=16
        ),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.5),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.5),
        class_weight: float = 1.0,
        n_critic: int = 1,
        step: ImageStep = ImageStep(),
    ) -> None:
        require_classes("ACGAN", num_classes)
        networks = generator(image_shape, num_classes), discriminator(image_shape, num_classes)
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, n_critic, step)
        self.num_classes = num_classes
        self.class_weight = class_weight

    def discriminate(self, sample: Labeled) -> tuple[Tensor, Tensor]:
        """Scores (n,) and class logits (n, num_classes): the discriminator does not see the label."""
        return self.show(sample.image)

    def discriminator_loss(self, batch: Labeled) -> Terms:
        fake = self.fake_like(batch).detach()
        (real_score, real_class), (fake_score, fake_class) = self.discriminate(batch), self.discriminate(fake)
        self.watch_scores(real_score, fake_score)
        return {
            "source": losses.logistic_discriminator(real_score, fake_score),
            "class_real": F.cross_entropy(real_class, batch.label),
            "class_fake": F.cross_entropy(fake_class, fake.label),
        }

    def generator_loss(self, batch: Labeled) -> Terms:
        fake = self.fake_like(batch)
        score, logits = self.discriminate(fake)
        return {
            "source": losses.non_saturating_generator(score),
            "class": self.class_weight * F.cross_entropy(logits, fake.label),
        }
