"""The models: one paper, one file."""

from gan_lightning.models.dcgan import DCGAN
from gan_lightning.models.gan import GAN
from gan_lightning.models.geometric_gan import GeometricGAN
from gan_lightning.models.lsgan import LSGAN
from gan_lightning.models.relativistic_gan import RelativisticGAN
from gan_lightning.models.sngan import SNGAN
from gan_lightning.models.wgan import WGAN
from gan_lightning.models.wgangp import WGANGP

__all__ = ["DCGAN", "GAN", "GeometricGAN", "LSGAN", "RelativisticGAN", "SNGAN", "WGAN", "WGANGP"]
