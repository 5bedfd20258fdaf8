"""InfoGAN: Interpretable Representation Learning by Information Maximizing GANs, 2016."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning import batches, losses, optim
from gan_lightning.batches import Labeled
from gan_lightning.core import ImageShape, ImageStep, OptimizerCallable, Terms, TwoPlayerGAN, evaluating
from gan_lightning.networks import InfoGANDiscriminator, InfoGANGenerator
from gan_lightning.noise import Noise


class InfoGAN(TwoPlayerGAN):
    """Codes that can be read off the image (Chen et al. 2016, arXiv:1606.03657): a game with L_I, equation 6.

    The latent is noise, a one-hot category and continuous codes, all uniform. Q, which shares the discriminator's
    trunk, reads the codes from a fake; -L_I = -E log Q(c | G(z, c)) is minimised by both players, as in the authors'
    code: the discriminator's turn moves trunk and Q, the generator's the generator. H(c) is a constant and left out.
    No label is used. Deviations: the paper's leak of 0.1, where the authors' code has 0.01 (`leak` of the
    discriminator), and images in [-1, 1], where it has [0, 1] (`unit_range` of both networks).

    Args:
        generator: builds a network for (image_shape, latent_dim).
        discriminator: builds one for (image_shape, categories, continuous) that gives scores, logits and means.
        noise_dim: numbers without a meaning.
        categories: values of the categorical code.
        continuous: continuous codes, in [-1, 1].
        category_weight, continuous_weight: lambda of the two parts of L_I; the authors' code has 1 for both.

    Raises:
        ValueError: no category, or a negative number of codes.
    """

    uniform_latents = True

    def __init__(
        self,
        image_shape: ImageShape,
        generator: Callable[[ImageShape, int], nn.Module] = lambda image_shape, latent_dim: InfoGANGenerator(
            image_shape, latent_dim, width=64
        ),
        discriminator: Callable[[ImageShape, int, int], nn.Module] = lambda image_shape, categories, continuous: (
            InfoGANDiscriminator(image_shape, categories, continuous, width=64)
        ),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=1e-3, beta1=0.5),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.5),
        noise_dim: int = 62,
        categories: int = 10,
        continuous: int = 2,
        category_weight: float = 1.0,
        continuous_weight: float = 0.1,
        n_critic: int = 1,
        step: ImageStep = ImageStep(),
    ) -> None:
        if categories < 1 or continuous < 0 or noise_dim < 0:
            raise ValueError(
                f"categories must be at least 1, continuous and noise_dim at least 0, "
                f"not {categories}, {continuous} and {noise_dim}"
            )
        latent_dim = noise_dim + categories + continuous
        networks = generator(image_shape, latent_dim), discriminator(image_shape, categories, continuous)
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, n_critic, step)
        self.noise_dim, self.categories, self.continuous = noise_dim, categories, continuous
        self.category_weight, self.continuous_weight = category_weight, continuous_weight

    def latent(self, noise: Noise, n: int) -> Tensor:
        """(n, noise_dim + categories + continuous): U[-1, 1), one-hot, U[-1, 1)."""
        free = 2.0 * noise.uniform(n, self.noise_dim + self.continuous) - 1.0
        category = F.one_hot(noise.integers(self.categories, n), self.categories).to(free.dtype)
        return torch.cat([free[:, : self.noise_dim], category, free[:, self.noise_dim :]], 1)

    def truncate(self, z: Tensor, psi: float) -> Tensor:
        """Latents (n, latent_dim) whose noise lies within +-psi; their codes stay."""
        return torch.cat([super().truncate(z[:, : self.noise_dim], psi), z[:, self.noise_dim :]], 1)

    def codes_of(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The category, one-hot (n, categories), and the continuous codes (n, continuous) of latents."""
        return z[:, self.noise_dim :].split([self.categories, self.continuous], 1)

    def information(self, z: Tensor, logits: Tensor, means: Tensor) -> Terms:
        """-L_I, without its constant."""
        category, codes = self.codes_of(z)
        return {
            "category": self.category_weight * losses.categorical_code(logits, category),
            "continuous": self.continuous_weight * losses.continuous_code(means, codes),
        }

    def discriminator_loss(self, batch: Labeled) -> Terms:
        z = self.latent(self.noise, batches.size(batch))
        real, *_ = self.show(batch.image)
        fake, *codes = self.show(self.fakes_of(z).detach())
        self.watch_scores(real, fake)
        return {"adversarial": losses.logistic_discriminator(real, fake), **self.information(z, *codes)}

    def generator_loss(self, batch: Labeled) -> Terms:
        z = self.latent(self.noise, batches.size(batch))
        fake, *codes = self.show(self.fakes_of(z))
        return {"adversarial": losses.non_saturating_generator(fake), **self.information(z, *codes)}

    @torch.no_grad()
    def classify(self, image: Tensor) -> Tensor:
        """(n,) int64: the category that Q reads from images (n, *image_shape) in [-1, 1], in evaluation mode."""
        with evaluating(self.discriminator):
            _, logits, _ = self.discriminator(image)
        return logits.argmax(1)

    @property
    def codes(self) -> int:
        """How many codes :meth:`traverse` knows: 0 is the category, the continuous ones follow."""
        return 1 + self.continuous

    def traverse(self, z: Tensor, code: int, steps: int = 10, span: float = 2.0) -> Tensor:
        """Latents in which one code alone takes one value after the other (figure 2).

        Args:
            z: (n, latent_dim).
            code: 0 for the category, whose every value is taken; 1 .. `continuous` for the others.
            steps: values of a continuous code.
            span: they reach from -span to span; the paper's figure goes beyond what was trained, to 2.

        Returns:
            (values, n, latent_dim).

        Raises:
            ValueError: there is no such code.
        """
        if not 0 <= code < self.codes:
            raise ValueError(f"InfoGAN has the codes 0 (the category) to {self.codes - 1}, not {code}")
        if code == 0:
            rows = z.repeat(self.categories, 1, 1)
            ones = torch.eye(self.categories, dtype=z.dtype, device=z.device)
            rows[..., self.noise_dim : self.noise_dim + self.categories] = ones[:, None]
        else:
            rows = z.repeat(steps, 1, 1)
            values = torch.linspace(-span, span, steps, dtype=z.dtype, device=z.device)
            rows[..., self.noise_dim + self.categories + code - 1] = values[:, None]
        return rows
