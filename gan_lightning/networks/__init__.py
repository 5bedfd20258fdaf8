"""Networks: nn.Modules built for an image shape; no loss, no optimizer."""

from gan_lightning.networks.acgan import AuxiliaryDiscriminator
from gan_lightning.networks.began import BEGANDiscriminator, BEGANGenerator
from gan_lightning.networks.bigbigan import BigBiGANDiscriminator, BigBiGANEncoder
from gan_lightning.networks.cogan import CoupledDiscriminator, CoupledGenerator
from gan_lightning.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from gan_lightning.networks.improved import (
    ImprovedDiscriminator,
    ImprovedGenerator,
    SemiSupervisedDiscriminator,
    SemiSupervisedGenerator,
)
from gan_lightning.networks.infogan import InfoGANDiscriminator, InfoGANGenerator
from gan_lightning.networks.mlp import (
    ConditionalMaxoutDiscriminator,
    ConditionalMLPGenerator,
    MaxoutDiscriminator,
    MLPDiscriminator,
    MLPGenerator,
)
from gan_lightning.networks.resnet import BigGANDiscriminator, BigGANGenerator, ResNetDiscriminator, ResNetGenerator

__all__ = [
    "AuxiliaryDiscriminator",
    "BEGANDiscriminator",
    "BEGANGenerator",
    "BigBiGANDiscriminator",
    "BigBiGANEncoder",
    "BigGANDiscriminator",
    "BigGANGenerator",
    "ConditionalMLPGenerator",
    "ConditionalMaxoutDiscriminator",
    "CoupledDiscriminator",
    "CoupledGenerator",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "ImprovedDiscriminator",
    "ImprovedGenerator",
    "InfoGANDiscriminator",
    "InfoGANGenerator",
    "MLPDiscriminator",
    "MLPGenerator",
    "MaxoutDiscriminator",
    "ResNetDiscriminator",
    "ResNetGenerator",
    "SemiSupervisedDiscriminator",
    "SemiSupervisedGenerator",
]
