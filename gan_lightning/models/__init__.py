"""The models: one paper, one file."""

from gan_lightning.models.acgan import ACGAN
from gan_lightning.models.began import BEGAN
from gan_lightning.models.bigbigan import BigBiGAN
from gan_lightning.models.biggan import BigGAN
from gan_lightning.models.cgan import CGAN
from gan_lightning.models.cogan import CoGAN
from gan_lightning.models.context_encoder import ContextEncoder
from gan_lightning.models.cyclegan import CycleGAN
from gan_lightning.models.dcgan import DCGAN
from gan_lightning.models.faceswap import FaceSwap
from gan_lightning.models.gan import GAN
from gan_lightning.models.geometric_gan import GeometricGAN
from gan_lightning.models.improved_gan import ImprovedGAN
from gan_lightning.models.infogan import InfoGAN
from gan_lightning.models.irgan import IRGAN
from gan_lightning.models.lapgan import LAPGAN
from gan_lightning.models.lsgan import LSGAN
from gan_lightning.models.pix2pix import Pix2Pix
from gan_lightning.models.predictability_minimization import PredictabilityMinimization
from gan_lightning.models.progan import ProGAN
from gan_lightning.models.r3gan import R3GAN
from gan_lightning.models.r3gan2 import R3GAN2
from gan_lightning.models.relativistic_gan import RelativisticGAN
from gan_lightning.models.sagan import SAGAN
from gan_lightning.models.seqgan import SeqGAN
from gan_lightning.models.simgan import SimGAN
from gan_lightning.models.singan import SinGAN
from gan_lightning.models.sngan import SNGAN
from gan_lightning.models.srgan import SRGAN
from gan_lightning.models.stackgan import StackGAN
from gan_lightning.models.stargan import StarGAN
from gan_lightning.models.stylegan import StyleGAN
from gan_lightning.models.stylegan2 import StyleGAN2
from gan_lightning.models.wgan import WGAN
from gan_lightning.models.wgangp import WGANGP

__all__ = [
    "ACGAN",
    "BEGAN",
    "BigBiGAN",
    "BigGAN",
    "CGAN",
    "CoGAN",
    "ContextEncoder",
    "CycleGAN",
    "DCGAN",
    "FaceSwap",
    "GAN",
    "GeometricGAN",
    "ImprovedGAN",
    "IRGAN",
    "InfoGAN",
    "LAPGAN",
    "LSGAN",
    "Pix2Pix",
    "PredictabilityMinimization",
    "ProGAN",
    "R3GAN",
    "R3GAN2",
    "RelativisticGAN",
    "SAGAN",
    "SeqGAN",
    "SNGAN",
    "SRGAN",
    "SimGAN",
    "SinGAN",
    "StackGAN",
    "StarGAN",
    "StyleGAN",
    "StyleGAN2",
    "WGAN",
    "WGANGP",
]
