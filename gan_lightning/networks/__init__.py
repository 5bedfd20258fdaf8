"""Networks: nn.Modules built for an image shape; no loss, no optimizer."""

from gan_lightning.networks.acgan import AuxiliaryDiscriminator
from gan_lightning.networks.began import BEGANDiscriminator, BEGANGenerator
from gan_lightning.networks.bigbigan import BigBiGANDiscriminator, BigBiGANEncoder
from gan_lightning.networks.cogan import CoupledDiscriminator, CoupledGenerator
from gan_lightning.networks.context_encoder import ContextGenerator
from gan_lightning.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from gan_lightning.networks.faceswap import FaceSwapper
from gan_lightning.networks.factorial import CodeDecoder, CodeEncoder, Predictors
from gan_lightning.networks.features import RandomFeatures, ResNet56Features, VGG19Features
from gan_lightning.networks.growing import ProGANDiscriminator, ProGANGenerator
from gan_lightning.networks.improved import ImprovedDiscriminator, ImprovedGenerator
from gan_lightning.networks.infogan import InfoGANDiscriminator, InfoGANGenerator
from gan_lightning.networks.lapgan import LAPGANDiscriminator, LAPGANGenerator
from gan_lightning.networks.mlp import (
    ConditionalMaxoutDiscriminator,
    ConditionalMLPGenerator,
    MaxoutDiscriminator,
    MLPDiscriminator,
    MLPGenerator,
)
from gan_lightning.networks.patchgan import PatchDiscriminator
from gan_lightning.networks.r3gan import R3GANDiscriminator, R3GANGenerator
from gan_lightning.networks.r3gan2 import R3GAN2Discriminator, R3GAN2Generator
from gan_lightning.networks.rankers import LinearScorer, MatrixFactorisation, MLPScorer, RankingNetwork, RankingSizes
from gan_lightning.networks.residual import (
    AttributeDiscriminator,
    AttributeTranslator,
    LocalDiscriminator,
    Refiner,
    ResNetTranslator,
)
from gan_lightning.networks.resnet import BigGANDiscriminator, BigGANGenerator, ResNetDiscriminator, ResNetGenerator
from gan_lightning.networks.semi_supervised import SemiSupervisedDiscriminator, SemiSupervisedGenerator
from gan_lightning.networks.singan import SinGANDiscriminators, SinGANGenerator
from gan_lightning.networks.srgan import SRDiscriminator, SRResNet
from gan_lightning.networks.stackgan import (
    ImageEncoder,
    StackedGenerator,
    StackGANDiscriminator,
    Stage1Generator,
    Stage2Generator,
)
from gan_lightning.networks.stylegan import StyleGANGenerator
from gan_lightning.networks.stylegan2 import StyleGAN2Discriminator, StyleGAN2Generator
from gan_lightning.networks.text import LSTMGenerator, TextDiscriminator
from gan_lightning.networks.text_encoders import CharCNNRNN, GRUEncoder, PretrainedTextEncoder
from gan_lightning.networks.unet import UNetGenerator

__all__ = [
    "AttributeDiscriminator",
    "AttributeTranslator",
    "AuxiliaryDiscriminator",
    "BEGANDiscriminator",
    "BEGANGenerator",
    "BigBiGANDiscriminator",
    "BigBiGANEncoder",
    "BigGANDiscriminator",
    "BigGANGenerator",
    "CharCNNRNN",
    "CodeDecoder",
    "CodeEncoder",
    "ConditionalMLPGenerator",
    "ConditionalMaxoutDiscriminator",
    "ContextGenerator",
    "CoupledDiscriminator",
    "CoupledGenerator",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "FaceSwapper",
    "GRUEncoder",
    "ImageEncoder",
    "ImprovedDiscriminator",
    "ImprovedGenerator",
    "InfoGANDiscriminator",
    "InfoGANGenerator",
    "LAPGANDiscriminator",
    "LAPGANGenerator",
    "LSTMGenerator",
    "LinearScorer",
    "LocalDiscriminator",
    "MLPDiscriminator",
    "MLPGenerator",
    "MLPScorer",
    "MatrixFactorisation",
    "MaxoutDiscriminator",
    "PatchDiscriminator",
    "Predictors",
    "PretrainedTextEncoder",
    "ProGANDiscriminator",
    "ProGANGenerator",
    "R3GAN2Discriminator",
    "R3GAN2Generator",
    "R3GANDiscriminator",
    "R3GANGenerator",
    "RandomFeatures",
    "RankingNetwork",
    "RankingSizes",
    "Refiner",
    "ResNet56Features",
    "ResNetDiscriminator",
    "ResNetGenerator",
    "ResNetTranslator",
    "SRDiscriminator",
    "SRResNet",
    "SemiSupervisedDiscriminator",
    "SemiSupervisedGenerator",
    "SinGANDiscriminators",
    "SinGANGenerator",
    "StackGANDiscriminator",
    "StackedGenerator",
    "Stage1Generator",
    "Stage2Generator",
    "StyleGANGenerator",
    "StyleGAN2Discriminator",
    "StyleGAN2Generator",
    "TextDiscriminator",
    "UNetGenerator",
    "VGG19Features",
]
