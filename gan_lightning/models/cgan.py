"""Conditional Generative Adversarial Nets, 2014."""

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
from gan_lightning.networks import ConditionalMaxoutDiscriminator, ConditionalMLPGenerator


class CGAN(TwoPlayerGAN):
    """Both players are told the class (Mirza and Osindero 2014, arXiv:1411.1784, equation 2).

    The label joins the noise in the generator and the image in the discriminator, and the losses are the logistic ones
    of the first GAN. A fake comes to the discriminator with the label that it was made for, drawn uniformly, not with
    that of some real image. Deviations: images lie in [-1, 1] with tanh; Adam in place of SGD with momentum and a
    decay for each update.

    Raises:
        ValueError: data without classes.
    """

    uniform_latents = True

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int | None = None,
        generator: ClassNetwork = lambda image_shape, num_classes: ConditionalMLPGenerator(
            image_shape, num_classes, latent_dim=100, noise_units=200, label_units=1000, joint_units=1200
        ),
        discriminator: ClassNetwork = lambda image_shape, num_classes: ConditionalMaxoutDiscriminator(
            image_shape, num_classes, image_units=240, label_units=50, joint_units=240
        ),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.5),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.5),
        n_critic: int = 1,
        step: ImageStep = ImageStep(),
    ) -> None:
        require_classes("CGAN", num_classes)
        networks = generator(image_shape, num_classes), discriminator(image_shape, num_classes)
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, n_critic, step)
        self.num_classes = num_classes

    def discriminator_loss(self, batch: Labeled) -> Terms:
        real, fake = self.score_pair(batch, self.fake_like(batch).detach())
        return {"adversarial": losses.logistic_discriminator(real, fake)}

    def generator_loss(self, batch: Labeled) -> Terms:
        return {"adversarial": losses.non_saturating_generator(self.discriminate(self.fake_like(batch)))}
