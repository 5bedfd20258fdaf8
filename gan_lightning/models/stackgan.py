"""StackGAN: Text to Photo-realistic Image Synthesis with Stacked Generative Adversarial Networks, 2017."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning import losses, optim
from gan_lightning.batches import Captioned, gather_batch
from gan_lightning.core import (
    ImageShape,
    ImageStep,
    LRSchedulerCallable,
    OptimizerCallable,
    Player,
    Terms,
    TextToImage,
    evaluating,
)
from gan_lightning.networks import (
    GRUEncoder,
    ImageEncoder,
    StackedGenerator,
    StackGANDiscriminator,
    Stage1Generator,
    Stage2Generator,
)

TextEncoder = Callable[[list, int], nn.Module]  # builds a network for a vocabulary and a length
TextNetwork = Callable[[ImageShape, int], nn.Module]  # builds a network for images of a shape and texts of a size
SecondNetwork = Callable[[ImageShape, int, int], nn.Module]  # ... and small images with a shorter side


class StackGAN(TextToImage):
    """Images of a text in two stages (Zhang et al. 2017, arXiv:1612.03242): a sketch, then its details.

    Stage I makes a small image of noise and a condition that is drawn around the text's embedding; Stage II corrects
    and enlarges it, with a condition of its own. Each has a discriminator that is shown real images with their texts,
    real images with wrong texts, and fakes (equations 3 to 6; wrong and fake pairs count half each, as in the authors'
    code). Stage I is trained first, then Stage II, with Stage I frozen: in one run. Until then samples are Stage I's,
    enlarged; as Stage II begins Stage I becomes its average. Deviations: the authors average nothing; each turn draws
    fakes of its own; a wrong pair is a real image with another image's caption (the authors' TensorFlow code takes
    another class's image); in Stage II's turns Stage I's batch norm uses its running averages, as in sampling, and does
    not move; fakes have the batch's own captions.

    The text encoder is a choice: one that is trained with Stage I's discriminator, which has to know what words mean;
    one that is trained before, for `text_images`, to match captions with images (Reed et al. 2016, arXiv:1605.05395);
    or one that is given and does not move. The generators' losses never move it, and Stage II's no more than Stage I.

    Args:
        vocabulary: the word of each token; see `gan_lightning.text`.
        length: tokens of a caption.
        text_encoder: builds a network for (vocabulary, length), from tokens to embeddings, with a `dim`.
        generator_1, discriminator_1: build networks for (Stage I's image shape, `dim`).
        generator_2: builds one for (image_shape, `dim`, stage_1_side).
        discriminator_2: builds one for (image_shape, `dim`).
        image_encoder: builds a network for (Stage I's image shape, `dim`), with which a text encoder is trained before.
        stage_1_side: the shorter side of Stage I's images, in pixels.
        text_images: for which the text encoder is trained alone; 0 to train it with Stage I's discriminator.
        stage_1_images: for which Stage I is trained: 600 epochs of the 8,855 of CUB.
        stage_2_batch: the whole batch in Stage II; None for the data's.
        stage_2_scheduler: builds the schedule of Stage II's rates, in its own turns; None for `step.scheduler`.
        kl_weight: of the condition's divergence from N(0, I), a mean; 2 in the authors' code, 1 in the paper.

    Raises:
        ValueError: data without captions, sizes that the stages cannot make, negative numbers, or an encoder that is
            asked to learn and cannot.
    """

    inference_networks = ("generator", "text_encoder")

    def __init__(
        self,
        image_shape: ImageShape,
        vocabulary: list | None,
        length: int | None,
        text_encoder: TextEncoder = lambda vocabulary, length: GRUEncoder(vocabulary, length, embedding=128, dim=256),
        generator_1: TextNetwork = lambda image_shape, text_dim: Stage1Generator(image_shape, text_dim, width=128),
        discriminator_1: TextNetwork = lambda image_shape, text_dim: StackGANDiscriminator(
            image_shape, text_dim, width=64
        ),
        generator_2: SecondNetwork = lambda image_shape, text_dim, side: Stage2Generator(
            image_shape, text_dim, side, width=128
        ),
        discriminator_2: TextNetwork = lambda image_shape, text_dim: StackGANDiscriminator(
            image_shape, text_dim, width=64
        ),
        image_encoder: TextNetwork = lambda image_shape, dim: ImageEncoder(image_shape, dim, width=32),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.5),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.5),
        text_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=2e-4, beta1=0.5),
        stage_1_side: int = 64,
        text_images: int = 0,
        stage_1_images: int = 600 * 8855,
        stage_2_batch: int | None = None,
        stage_2_scheduler: LRSchedulerCallable | None = None,
        kl_weight: float = 2.0,
        step: ImageStep = ImageStep(),
    ) -> None:
        if not vocabulary or not length:
            raise ValueError("StackGAN needs images with captions, such as CaptionedShapes or CaptionedImages")
        if stage_1_side < 4:
            raise ValueError(f"stage_1_side must be at least 4 pixels, not {stage_1_side}")
        if min(text_images, stage_1_images, kl_weight) < 0 or (stage_2_batch is not None and stage_2_batch < 1):
            raise ValueError("StackGAN's numbers of images and its weights are not negative, and a batch has an image")
        if step.augment is not None:
            raise ValueError("StackGAN shows its discriminators images as they are: leave step.augment out")
        encoder = text_encoder(list(vocabulary), length)
        factor = min(image_shape[1:]) / stage_1_side
        small = (image_shape[0], *(int(side / factor) for side in image_shape[1:]))
        second = generator_2(image_shape, encoder.dim, stage_1_side)  # the first to say which sizes cannot be
        generator = StackedGenerator(image_shape, generator_1(small, encoder.dim), second)
        super().__init__(image_shape, vocabulary, length, generator, step)
        self.text_encoder = encoder
        self.discriminator_1 = discriminator_1(small, encoder.dim)
        self.discriminator_2 = discriminator_2(image_shape, encoder.dim)
        self.image_encoder = image_encoder(small, encoder.dim) if text_images else None
        learns = any(parameter.requires_grad for parameter in encoder.parameters())
        if text_images and not learns:
            raise ValueError(f"{type(encoder).__name__} does not learn: leave text_images at 0")
        self.joint = learns and not text_images
        self.small, self.text_images, self.stage_1_images = small, text_images, stage_1_images
        self.stage_2_batch, self.stage_2_scheduler, self.kl_weight = stage_2_batch, stage_2_scheduler, kl_weight
        self._players_of = (generator_optimizer, discriminator_optimizer, text_optimizer)

    def players(self) -> dict[str, Player]:
        generator, discriminator, text = self._players_of
        schedule, second = self.step.scheduler, self.stage_2_scheduler or self.step.scheduler
        learning = [self.text_encoder] if self.joint else []
        found = {
            "generator_1": Player(self.generator.first, generator, schedule),
            "discriminator_1": Player(nn.ModuleList([self.discriminator_1, *learning]), discriminator, schedule),
            "generator_2": Player(self.generator.second, generator, second),
            "discriminator_2": Player(self.discriminator_2, discriminator, second),
        }
        if self.text_images:
            matching = nn.ModuleList([self.text_encoder, self.image_encoder])
            found["text_encoder"] = Player(matching, text, schedule)
        return found

    # Which stage.

    def stage_after(self, images: int) -> int:
        """1 or 2, what is trained after so many images; 0 while the text encoder is trained alone."""
        return (images >= self.text_images) + (images >= self.text_images + self.stage_1_images)

    def batch_size(self, images_seen: int) -> int | None:
        return self.stage_2_batch if self.stage_after(images_seen) == 2 else None

    def setup(self, stage: str) -> None:
        super().setup(stage)
        parts = self.trainer.world_size * self.step.micro_batches
        if (self.stage_2_batch or 0) % parts:
            raise ValueError(
                f"stage_2_batch: {self.stage_2_batch} images cannot be shared by {parts} processes and micro-batches: "
                "choose a multiple"
            )

    def training_step(self, batch: Captioned, batch_idx: int) -> None:
        stage = self.stage_after(self.clock)
        if stage == 0:
            self.turn("text_encoder", self.matching_loss, batch, advances_step=True)
            return
        if stage == 2 and not self.turns.get("generator_2"):
            self.finish_first()
        self.generator.stage.fill_(stage)
        self.turn(f"discriminator_{stage}", self.discriminator_loss, batch)
        self.turn(f"generator_{stage}", self.generator_loss, batch, advances_step=True)

    def finish_first(self) -> None:
        """Make Stage I its average, which samples are drawn by, so that Stage II learns from what it will be given."""
        self.average_batch_statistics()
        self.generator.first.load_state_dict(self.ema.network.first.state_dict())
        self.generator.first.zero_grad()  # averages leave alone what has no gradient

    # What the players minimise.

    def matching_loss(self, batch: Captioned) -> Terms:
        """That captions match their own images best, over the whole batch."""
        image, text = gather_batch(self.image_encoder(self.reduced(batch.image))), gather_batch(self.embed(batch.token))
        token = gather_batch(batch.token)
        alike = (token[:, None] == token[None, :]).all(2)
        return {"matching": losses.structural_matching(image, text, alike)}

    def discriminator_loss(self, batch: Captioned) -> Terms:
        discriminator, text = self.discriminator, self.embed(batch.token)
        with torch.no_grad():
            fake = self.fake(text)
        real = discriminator.features(batch.image if self.stage == 2 else self.reduced(batch.image))
        made = discriminator.features(fake)
        right, wrong = discriminator.judge(real, text), discriminator.judge(real, self.embed(batch.wrong))
        scores = {"real": (right, 1), "wrong": (wrong, 0), "fake": (discriminator.judge(made, text), 0)}
        if discriminator.alone is not None:
            scores |= {"real_alone": (discriminator.judge_alone(real), 1)}
            scores |= {"fake_alone": (discriminator.judge_alone(made), 0)}
        if self.watching:
            for name, (score, target) in scores.items():
                self.watch(f"discriminator_{self.stage}/accuracy_{name}", ((score > 0) == target).float().mean())
        kinds = [target for _, target in scores.values()]  # the mean over those that are right, and over the others
        return {name: bce(score, target) / kinds.count(target) for name, (score, target) in scores.items()}

    def generator_loss(self, batch: Captioned) -> Terms:
        text = self.embed(batch.token)
        discriminator, augmentation = self.discriminator, self.stage_generator.augmentation
        features = discriminator.features(self.watched(self.fake(text)))
        divergence = losses.divergence_from_normal(*augmentation.moments(text))
        terms = {"adversarial": losses.non_saturating_generator(discriminator.judge(features, text))}
        if discriminator.alone is not None:
            terms["adversarial_alone"] = losses.non_saturating_generator(discriminator.judge_alone(features))
        return terms | {"kl": self.kl_weight * divergence}

    @property
    def stage(self) -> int:
        """Of this batch."""
        return self.stage_after(self.clock)

    @property
    def discriminator(self) -> nn.Module:
        return self.discriminator_2 if self.stage == 2 else self.discriminator_1

    @property
    def stage_generator(self) -> nn.Module:
        return self.generator.second if self.stage == 2 else self.generator.first

    def fake(self, text: Tensor) -> Tensor:
        """(n, C, h, w) this stage's images of texts (n, dim)."""
        z, rest = self.generator.parts(self.latent(self.noise, len(text)))
        if self.stage == 1:
            return self.generator.first(z, text)
        with torch.no_grad(), evaluating(self.generator.first):
            image = self.generator.first(z, text)
        return self.generator.second(rest, image, text)

    def reduced(self, image: Tensor) -> Tensor:
        """(n, C, h, w) images (n, *image_shape) at Stage I's size, each pixel the mean of what it covers."""
        return F.adaptive_avg_pool2d(image, self.small[1:])

    def embed(self, token: Tensor) -> Tensor:
        return self.text_encoder(token)


def bce(score: Tensor, target: int) -> Tensor:
    """-E log D of pairs that are to be called right (1), -E log(1 - D) of others (0); of scores (n,)."""
    return F.binary_cross_entropy_with_logits(score, torch.full_like(score, target))
