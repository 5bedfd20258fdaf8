"""StarGAN: Unified Generative Adversarial Networks for Multi-Domain Image-to-Image Translation, 2018."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning import batches, losses, optim
from gan_lightning.batches import Attributed
from gan_lightning.core import Columns, ImageShape, OptimizerCallable, Step, Terms, Translator, evaluating
from gan_lightning.networks import AttributeDiscriminator, AttributeTranslator

AttributeNetwork = Callable[[ImageShape, int], nn.Module]  # builds a network for a shape and so many attributes


class StarGAN(Translator):
    """One generator for every attribute (Choi et al. 2018, arXiv:1711.09020), by Wasserstein distance and a classifier.

    Equations 1 to 6: the critic's loss with gradient penalty 10 and the attributes of real images, by binary cross
    entropy summed over them; the generator's with the attributes asked for, and 10 |x - G(G(x, c'), c)|. Wanted
    attributes are those of other images of the batch, drawn with replacement where the authors' code permutes, and
    anew in the generator's turn, where that code keeps those of the discriminator's turn on the same batch. The
    penalty is of the sum of an image's patch scores, the critic's loss of their mean, as in the authors' code.

    Args:
        attributes: names, in the order of the data's columns.
        generator: builds a network for (image_shape, number of attributes), from images and attributes to images.
        discriminator: builds one from images to scores of patches and logits of attributes.
        penalty_weight, class_weight, reconstruction_weight: lambda_gp, lambda_cls, lambda_rec.
        n_critic: discriminator turns for each generator turn.
        exclusive: attributes of which an image has one at the most, such as colours of hair: where one is asked for,
            the others are taken away.

    Raises:
        ValueError: no attributes, or an exclusive one that is not among them.
    """

    pairs = {"cycle": ("cycle", "input")}
    domains = {"": ("translated", "input")}
    inference_networks = ("generator", "discriminator")  # which reads the attributes that an image has

    def __init__(
        self,
        image_shape: ImageShape,
        attributes: list[str],
        generator: AttributeNetwork = lambda image_shape, attributes: AttributeTranslator(image_shape, attributes),
        discriminator: AttributeNetwork = lambda image_shape, attributes: AttributeDiscriminator(
            image_shape, attributes
        ),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=1e-4, beta1=0.5),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=1e-4, beta1=0.5),
        penalty_weight: float = 10.0,
        class_weight: float = 1.0,
        reconstruction_weight: float = 10.0,
        n_critic: int = 5,
        exclusive: list[str] | None = None,
        step: Step = Step(),
    ) -> None:
        if not attributes:
            raise ValueError("StarGAN needs data with attributes: choose other data")
        if unknown := [name for name in exclusive or [] if name not in attributes]:
            raise ValueError(f"exclusive: {unknown[0]} is not among the attributes {', '.join(attributes)}")
        if n_critic < 1:
            raise ValueError(f"n_critic must be at least 1, not {n_critic}")
        networks = generator(image_shape, len(attributes)), discriminator(image_shape, len(attributes))
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, step)
        self.attributes, self.n_critic, self.multiple = list(attributes), n_critic, self.generator.multiple
        self.exclusive = [self.attributes.index(name) for name in exclusive or []]
        self.penalty_weight, self.class_weight = penalty_weight, class_weight
        self.reconstruction_weight = reconstruction_weight

    def wanted(self, batch: Attributed) -> Tensor:
        """(n, attributes) of other images of the batch."""
        everyone = batches.gather_batch(batch.attributes)
        return everyone[self.noise.integers(len(everyone), len(batch.attributes))]

    def classification(self, logits: Tensor, attributes: Tensor) -> Tensor:
        """-log D_cls(c | x): summed over the attributes of an image."""
        return F.binary_cross_entropy_with_logits(logits, attributes.to(logits.dtype), reduction="sum") / len(logits)

    def total_score(self, image: Tensor) -> Tensor:
        """(n,) the sum of each image's patch scores, whose gradient is penalised."""
        return self.discriminator(image)[0].flatten(1).sum(1)

    def discriminator_loss(self, batch: Attributed) -> Terms:
        fake = self.generator(batch.image, self.wanted(batch)).detach()
        (real_scores, logits), (fake_scores, _) = self.discriminator(batch.image), self.discriminator(fake)
        epsilon = self.noise.uniform(len(fake), 1, 1, 1)
        penalty = losses.gradient_penalty(self.total_score, batch.image, fake, epsilon)
        return {
            "critic": losses.wasserstein_discriminator(real_scores, fake_scores),
            "attributes": self.class_weight * self.classification(logits, batch.attributes),
            "penalty": self.penalty_weight * penalty,
        }

    def generator_loss(self, batch: Attributed) -> Terms:
        wanted = self.wanted(batch)
        fake = self.generator(batch.image, wanted)
        scores, logits = self.discriminator(fake)
        back = losses.absolute_error(batch.image, self.generator(fake, batch.attributes)).mean()
        return {
            "critic": losses.wasserstein_generator(scores),
            "attributes": self.class_weight * self.classification(logits, wanted),
            "reconstruction": self.reconstruction_weight * back,
        }

    @torch.no_grad()
    def classify(self, image: Tensor) -> Tensor:
        """(n, attributes) in {0, 1}: what the discriminator reads from images (n, *image_shape) in [-1, 1]."""
        with evaluating(self.discriminator):
            return (self.discriminator(image)[1] > 0).to(image.dtype)

    def asked(self, attributes: Tensor, name: str, present: bool) -> Tensor:
        """Attributes (n, attributes) with one of them set, and without those that it excludes."""
        place, attributes = self.attributes.index(name), attributes.clone()
        if present and place in self.exclusive:
            attributes[:, self.exclusive] = 0.0
        attributes[:, place] = float(present)
        return attributes

    def edit(self, image: Tensor, attributes: Tensor) -> Tensor:
        """Images (n, C, H, W) with these attributes (n, attributes), in evaluation mode."""
        return self.made_by(self.generator, image, attributes)

    def translate(self, image: Tensor, attributes: dict[str, bool]) -> Tensor:
        """Images (n, C, H, W) with some attributes as asked for, the others as the discriminator reads them.

        The discriminator reads an image at the size of training.

        Args:
            image: in [-1, 1]; sides are multiples of `multiple`.
            attributes: whether an image shall have them, by name; others are kept.

        Raises:
            ValueError: an unknown attribute.
        """
        if unknown := [name for name in attributes if name not in self.attributes]:
            raise ValueError(f"StarGAN was trained on {', '.join(self.attributes)}, not on {unknown[0]}")
        seen = F.interpolate(image, self.image_shape[1:], mode="bilinear", antialias=True)
        found = self.classify(seen)
        for name, present in sorted(attributes.items(), key=lambda item: item[1]):  # what is to be there comes last
            found = self.asked(found, name, present)
        return self.edit(image, found)

    def columns(self, batch: Attributed) -> Columns:
        found = {"input": batch.image}
        for place, name in enumerate(self.attributes):  # one at a time, turned over; of exclusive ones, asked for
            with_it, without = (self.asked(batch.attributes, name, present) for present in (True, False))
            has = (batch.attributes[:, place : place + 1] > 0) & (place not in self.exclusive)
            found[f"{name} turned"] = self.edit(batch.image, torch.where(has, without, with_it))
        found["translated"] = self.edit(batch.image, batch.attributes.roll(1, 0))
        found["cycle"] = self.edit(found["translated"], batch.attributes)
        return found
