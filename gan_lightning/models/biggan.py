"""Large Scale GAN Training for High Fidelity Natural Image Synthesis, 2018."""

from gan_lightning import losses, optim
from gan_lightning.batches import Labeled
from gan_lightning.core import ClassNetwork, ImageShape, ImageStep, OptimizerCallable, Terms, TwoPlayerGAN
from gan_lightning.networks import BigGANDiscriminator, BigGANGenerator


class BigGAN(TwoPlayerGAN):
    """SAGAN grown large (Brock et al. 2019, arXiv:1809.11096): big batches, one class embedding that all layers share,
    a piece of the latent for each block, orthogonal weights, an average of the generator, truncated latents.

    Hinge losses, spectral norm in both players, two discriminator steps with 2e-4 for each generator step with 5e-5.
    Data without classes train it unconditionally. The networks' defaults are those of 32 px; the paper's at 128 px are
    width 96, widest 1536, attention 64 (configs/biggan). Deviations: the discriminator's steps each have a batch of
    `data.batch_size`; at 32 px too the embedding is shared and the latent in pieces (a generator of 4,373,251
    parameters for 10 classes), which the CIFAR-10 script of the authors' PyTorch code leaves out (4,304,387);
    spectral norm begins with 15 power iterations (:func:`networks.layers.maybe_spectral`), the authors' with none.

    Args:
        orthogonal_weight: beta of the generator's penalty on what is not orthogonal between its filters, equation 3;
            the paper's is 1e-4. The class embedding is left out.
        sync_batchnorm: take batch statistics over all processes, as the paper does.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int | None = None,
        generator: ClassNetwork = lambda image_shape, num_classes: BigGANGenerator(
            image_shape, num_classes, latent_dim=128, width=256
        ),
        discriminator: ClassNetwork = lambda image_shape, num_classes: BigGANDiscriminator(
            image_shape, num_classes, width=256
        ),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(
            p, lr=5e-5, beta1=0.0, beta2=0.999, eps=1e-6
        ),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(
            p, lr=2e-4, beta1=0.0, beta2=0.999, eps=1e-6
        ),
        orthogonal_weight: float = 1e-4,
        sync_batchnorm: bool = True,
        n_critic: int = 2,
        step: ImageStep = ImageStep(),
    ) -> None:
        networks = generator(image_shape, num_classes), discriminator(image_shape, num_classes)
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, n_critic, step)
        self.num_classes = num_classes
        self.orthogonal_weight, self.sync_batchnorm = orthogonal_weight, sync_batchnorm

    def discriminator_loss(self, batch: Labeled) -> Terms:
        real, fake = self.score_pair(batch, self.fake_like(batch).detach())
        return {"adversarial": losses.hinge_discriminator(real, fake)}

    def generator_loss(self, batch: Labeled) -> Terms:
        terms = {"adversarial": losses.hinge_generator(self.discriminate(self.fake_like(batch)))}
        if self.orthogonal_weight:
            filters = [w for name, w in self.generator.named_parameters() if w.ndim > 1 and "embedding" not in name]
            terms["orthogonal"] = self.orthogonal_weight * losses.off_diagonal_penalty(filters)
        return terms
