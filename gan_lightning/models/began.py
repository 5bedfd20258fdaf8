"""BEGAN: Boundary Equilibrium Generative Adversarial Networks, 2017."""

import torch
from torch import Tensor

from gan_lightning import batches, optim
from gan_lightning.batches import Labeled
from gan_lightning.core import ImageNetwork, ImageShape, ImageStep, OptimizerCallable, Terms, TwoPlayerGAN
from gan_lightning.losses.reconstruction import absolute_error
from gan_lightning.networks.began import BEGANDiscriminator, BEGANGenerator


class BEGAN(TwoPlayerGAN):
    """An auto-encoder against a generator, held in balance by a gain k (Berthelot et al. 2017, arXiv:1703.10717).

    With L(v) the auto-encoder's error: L_D = L(x) - k L(G(z_D)), L_G = L(G(z_G)), and after both turns
    k <- k + lambda_k (gamma L(x) - L(G(z_G))), within [0, 1]. Each log line holds `k` and `convergence`, the paper's
    M = L(x) + |gamma L(x) - L(G(z_G))|, less is better; `--checkpoint.monitor convergence` keeps its best. A score is
    minus an image's error. Deviations: the players move in turn, where the paper updates them at once; learning rates
    follow a schedule and not M; the generator's images, linear as the auto-encoder's, are clamped when they are
    samples; no skip connections.

    Args:
        gamma: the diversity ratio E L(G(z)) / E L(x) that k aims at, in [0, 1]. Where the auto-encoder does too well
            on real images, gamma L(x) stays below L(G(z)) and k at 0: raise gamma, or take a smaller code.
        lambda_k: the learning rate of k.

    Attributes:
        k: (), how much the discriminator cares for fakes; a buffer, 0 at first.

    Raises:
        ValueError: gamma or lambda_k out of range.
    """

    boundary = None  # an error of an auto-encoder says by itself neither real nor fake
    uniform_latents = True
    k: Tensor

    def __init__(
        self,
        image_shape: ImageShape,
        generator: ImageNetwork = lambda image_shape: BEGANGenerator(image_shape, latent_dim=64, width=64),
        discriminator: ImageNetwork = lambda image_shape: BEGANDiscriminator(image_shape, hidden=64, width=64),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=1e-4, beta1=0.5),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=1e-4, beta1=0.5),
        gamma: float = 0.5,
        lambda_k: float = 0.001,
        n_critic: int = 1,
        step: ImageStep = ImageStep(),
    ) -> None:
        if not 0 <= gamma <= 1 or lambda_k < 0:
            raise ValueError(f"BEGAN needs gamma in [0, 1] and lambda_k of at least 0, not {gamma} and {lambda_k}")
        networks = generator(image_shape), discriminator(image_shape)
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, n_critic, step)
        self.gamma, self.lambda_k = gamma, lambda_k
        self.register_buffer("k", torch.zeros(()))

    def discriminate(self, sample: Labeled) -> Tensor:
        """(n,) minus the auto-encoder's error of each image."""
        image = self.augmented(sample.image)
        return -absolute_error(image, self.discriminator(image))

    def discriminator_loss(self, batch: Labeled) -> Terms:
        real, fake = self.score_pair(batch, self.fake_like(batch).detach())
        self._real_error = self._whole_error(real)
        return {"real": -real.mean(), "fake": self.k * fake.mean()}

    def generator_loss(self, batch: Labeled) -> Terms:
        fake = self.discriminate(self.fake_like(batch))
        self._fake_error = self._whole_error(fake)
        return {"fake": -fake.mean()}

    @staticmethod
    def _whole_error(score: Tensor) -> Tensor:
        """() the mean error over all processes and micro-batches, without a gradient."""
        return -batches.gather_batch(score.detach()).mean()

    def generator_turn(self, batch: Labeled) -> None:
        super().generator_turn(batch)
        self.balance(self._real_error, self._fake_error)

    @torch.no_grad()
    def balance(self, real: Tensor, fake: Tensor) -> None:
        """Move k by the mean errors of real images and fakes."""
        surplus = self.gamma * real - fake
        self.k.add_(self.lambda_k * surplus).clamp_(0.0, 1.0)
        self.watch("k", self.k.clone())
        self.watch("convergence", real + surplus.abs())

    def bounded(self, image: Tensor) -> Tensor:
        return image.clamp(-1.0, 1.0)
