"""Networks: nn.Modules built for an image shape; no loss, no optimizer."""

from gan_lightning.networks.acgan import AuxiliaryDiscriminator
from gan_lightning.networks.dcgan import DCGANDiscriminator, DCGANGenerator
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
    "BigGANDiscriminator",
    "BigGANGenerator",
    "ConditionalMLPGenerator",
    "ConditionalMaxoutDiscriminator",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "MLPDiscriminator",
    "MLPGenerator",
    "MaxoutDiscriminator",
    "ResNetDiscriminator",
    "ResNetGenerator",
]
