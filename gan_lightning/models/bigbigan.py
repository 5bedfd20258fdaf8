"""Large Scale Adversarial Representation Learning, 2019."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from gan_lightning import optim
from gan_lightning.batches import Labeled
from gan_lightning.core import (
    Encoder,
    ImageNetwork,
    ImageShape,
    ImageStep,
    OptimizerCallable,
    Player,
    Terms,
    TwoPlayerGAN,
)
from gan_lightning.losses.bidirectional import pair_encoder_generator, pair_hinge_discriminator
from gan_lightning.networks import BigGANGenerator
from gan_lightning.networks.bigbigan import SCORES, BigBiGANDiscriminator, BigBiGANEncoder


class BigBiGAN(TwoPlayerGAN, Encoder):
    """BigGAN without classes and with an encoder (Donahue and Simonyan 2019, arXiv:1907.02544): a game of pairs.

    The discriminator tells (x, E(x)) from (G(z), z) by three scores, of the image, of the latent and of both. Generator
    and encoder are one player with one loss and one optimizer, on the same forward pass. No term ever compares an image
    with its reconstruction G(E(x)); that they resemble each other is the game's equilibrium. The optimizers and the
    spectral norm are BigGAN's. `encode`, `represent` and `reconstruct` use averages of both networks, in evaluation
    mode.

    Args:
        discriminator: builds a network for (image_shape, latent_dim) from images and latents to (n, 3) scores.
        encoder: builds one for (image_shape, latent_dim) from images to means and deviations of latents, with a
            method `represent` for :meth:`represent`.
        encoder_rate: the encoder's learning rate in multiples of the generator's; the paper's best model has 10.
        sync_batchnorm: take batch statistics over all processes, as the paper does.
    """

    inference_networks = ("generator", "encoder")

    def __init__(
        self,
        image_shape: ImageShape,
        generator: ImageNetwork = lambda image_shape: BigGANGenerator(image_shape, latent_dim=120, width=256),
        discriminator: Callable[[ImageShape, int], nn.Module] = lambda image_shape, latent_dim: BigBiGANDiscriminator(
            image_shape, latent_dim, width=256
        ),
        encoder: Callable[[ImageShape, int], nn.Module] = lambda image_shape, latent_dim: BigBiGANEncoder(
            image_shape, latent_dim, width=64
        ),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(
            p, lr=5e-5, beta1=0.0, beta2=0.999, eps=1e-6
        ),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(
            p, lr=2e-4, beta1=0.0, beta2=0.999, eps=1e-6
        ),
        encoder_rate: float = 10.0,
        sync_batchnorm: bool = True,
        n_critic: int = 2,
        step: ImageStep = ImageStep(),
    ) -> None:
        if encoder_rate <= 0:
            raise ValueError(f"encoder_rate must be positive, not {encoder_rate}")
        made = generator(image_shape)
        networks = made, discriminator(image_shape, made.latent_dim)
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, n_critic, step)
        self.encoder = encoder(image_shape, made.latent_dim)
        self.keep_averages("encoder", self.encoder)
        self.encoder_rate, self.sync_batchnorm = encoder_rate, sync_batchnorm

    def players(self) -> dict[str, Player]:
        players = super().players()
        generator = players["generator"]

        def optimizer(_: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
            groups = [{"params": list(network.parameters())} for network in (self.generator, self.encoder)]
            made = generator.optimizer(groups)
            made.param_groups[1]["lr"] *= self.encoder_rate  # before a schedule takes it for its start
            return made

        both = nn.ModuleList([self.generator, self.encoder])
        return players | {"generator": generator._replace(network=both, optimizer=optimizer)}

    def infer(self, image: Tensor) -> Tensor:
        """(n, latent_dim), drawn from the encoder's distribution for images."""
        mean, deviation = self.encoder(image)
        return mean + deviation * self.noise.normal(*mean.shape)

    def discriminate(self, sample: Labeled) -> Tensor:
        """(n, 3) scores of images with latents that are drawn for them."""
        image = self.augmented(sample.image)  # the encoder sees what the discriminator sees
        return self.discriminator(image, self.infer(image))

    def discriminator_loss(self, batch: Labeled) -> Terms:
        z = self.latent(self.noise, len(batch.image))
        image = self.augmented(batch.image)
        data, generated = self.discriminator(image, self.infer(image).detach()), self.show(self.fakes_of(z).detach(), z)
        self.watch_scores(data[:, -1], generated[:, -1])
        return dict(zip(SCORES, pair_hinge_discriminator(data, generated).unbind(), strict=True))

    def generator_loss(self, batch: Labeled) -> Terms:
        """What generator and encoder minimise."""
        z = self.latent(self.noise, len(batch.image))
        data, generated = self.discriminate(batch), self.show(self.fakes_of(z), z)
        return dict(zip(SCORES, pair_encoder_generator(data, generated).unbind(), strict=True))

    @torch.no_grad()
    def encode(self, image: Tensor) -> Tensor:
        """(n, latent_dim), the means of the latents of images (n, *image_shape) in [-1, 1]"""
        with torch.autocast(image.device.type, enabled=False):
            return self.averages["encoder"].network(image.to(self.dtype))[0]

    @torch.no_grad()
    def represent(self, image: Tensor) -> Tensor:
        """(n, numbers), what the encoder represents images (n, *image_shape) in [-1, 1] by: for a linear probe."""
        with torch.autocast(image.device.type, enabled=False):
            return self.averages["encoder"].network.represent(image.to(self.dtype))

    def reconstruct(self, image: Tensor) -> Tensor:
        """G(E(x)), float32 in [-1, 1], of images (n, *image_shape) in [-1, 1]."""
        return self.generate(self.encode(image))
