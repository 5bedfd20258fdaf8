"""FaceSwap: one encoder and a decoder for each of two faces, 2017."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning import losses, optim
from gan_lightning.augment import random_warp
from gan_lightning.batches import Unpaired
from gan_lightning.core import Columns, ImageNetwork, ImageShape, OptimizerCallable, Step, Terms, Translator
from gan_lightning.networks import FaceSwapper

IDENTITIES = "ab"


class FaceSwap(Translator):
    """Two people's faces, each rebuilt from a warped one; decoded by the other decoder a face is swapped.

    The deepfakes program of 2017, which has no paper (surveyed in arXiv:1909.11573, section 2): absolute error of the
    face that was not warped, both identities in one turn. Optionally a discriminator for each identity, of patches,
    with least squares, as the later ports have it. What is seen and made is the middle of an image.

    Args:
        generator: builds the network, an `encoder` and two `decoders`, called with images and an identity, 0 or 1.
        discriminator: builds each identity's, from images to scores; None for no adversarial term.
        adversarial_weight: of the adversarial term.
        coverage: side of what is seen in sides of the image.
        jitter: standard deviation of the warp, in sides of the image.

    Raises:
        ValueError: a coverage that is not in (0, 1].
    """

    directions = ("AtoB", "BtoA")
    any_size = False
    pairs = {"a": ("A rebuilt", "A"), "b": ("B rebuilt", "B")}
    domains = {"AtoB": ("A as B", "B"), "BtoA": ("B as A", "A")}

    def __init__(
        self,
        image_shape: ImageShape,
        generator: ImageNetwork = lambda image_shape: FaceSwapper(image_shape, width=128, code=1024),
        discriminator: ImageNetwork | None = None,
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=5e-5, beta1=0.5),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.5),
        adversarial_weight: float = 0.1,
        coverage: float = 0.625,
        jitter: float = 5 / 256,
        step: Step = Step(),
    ) -> None:
        if not 0 < coverage <= 1:
            raise ValueError(f"coverage is a share of the image's sides, above 0 and up to 1, not {coverage}")
        judges = nn.ModuleList(discriminator(image_shape) for _ in IDENTITIES) if discriminator else None
        networks = generator(image_shape), judges
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, step)
        self.adversarial_weight, self.coverage, self.jitter = adversarial_weight, coverage, jitter
        self.multiple = self.generator.multiple

    def rebuilt(self, batch: Unpaired) -> list[tuple[Tensor, Tensor]]:
        """For each identity the rebuilt faces and those that they should be."""
        found = []
        for who, image in enumerate(batch):
            warped, target = random_warp(image, self.noise, self.coverage, self.jitter)
            found.append((self.generator(warped, who), target))
        return found

    def generator_loss(self, batch: Unpaired) -> Terms:
        terms = {}
        for who, (fake, target) in enumerate(self.rebuilt(batch)):
            terms[IDENTITIES[who]] = losses.absolute_error(target, fake).mean()
            if self.discriminator is not None:
                adversarial = losses.least_squares_generator(self.discriminator[who](fake))
                terms[f"adversarial_{IDENTITIES[who]}"] = self.adversarial_weight * adversarial
        return terms

    def discriminator_loss(self, batch: Unpaired) -> Terms:
        terms = {}
        for who, (fake, target) in enumerate(self.rebuilt(batch)):
            judge = self.discriminator[who]
            terms[IDENTITIES[who]] = losses.least_squares_discriminator(judge(target), judge(fake))
        return terms

    def middle(self, image: Tensor) -> Tensor:
        """(n, *image_shape), what the network sees of images (n, C, H, W): the middle, at the size of training."""
        line = torch.linspace(-self.coverage, self.coverage, 2, device=image.device, dtype=image.dtype)
        corners = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)[None]
        grid = F.interpolate(corners.movedim(3, 1), self.image_shape[1:], mode="bilinear", align_corners=True)
        return F.grid_sample(image, grid.movedim(1, 3).expand(image.shape[0], -1, -1, -1), align_corners=True)

    def swap(self, image: Tensor, who: int) -> Tensor:
        """(n, *image_shape): the middle of images, as identity 0 or 1."""
        code = self.made_by(self.generator.encoder, self.middle(image))
        return self.made_by(self.generator.decoders[who], code)

    def translate(self, image: Tensor, direction: str | None = None) -> Tensor:
        """Images whose middle is swapped: A to B makes them identity B's.

        Args:
            image: of identity A or B.
            direction: from which identity to which, the first where None.
        """
        height, width = image.shape[2:]
        face = self.swap(image, 1 - self.which(direction))
        rows, cols = (max(1, round(side * self.coverage)) for side in (height, width))
        top, left = (height - rows) // 2, (width - cols) // 2
        made = image.clone().to(face.dtype)
        face = F.interpolate(face, (rows, cols), mode="bilinear", antialias=True)
        made[:, :, top : top + rows, left : left + cols] = face
        return made

    def columns(self, batch: Unpaired) -> Columns:
        found = {}
        for who, (name, other) in enumerate((("A", "B"), ("B", "A"))):
            found[name] = self.middle(batch[who])
            found[f"{name} rebuilt"] = self.swap(batch[who], who)
            found[f"{name} as {other}"] = self.swap(batch[who], 1 - who)
        return found
