"""Improved Techniques for Training GANs, 2016."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from gan_lightning import losses, optim
from gan_lightning.batches import Labeled, PartlyLabeled, gather_batch
from gan_lightning.core import (
    ClassNetwork,
    ImageNetwork,
    ImageShape,
    ImageStep,
    OptimizerCallable,
    Terms,
    TwoPlayerGAN,
    in_own_precision,
    require_classes,
)
from gan_lightning.losses.semi_supervised import semi_supervised_score
from gan_lightning.networks import ImprovedDiscriminator, ImprovedGenerator


class ImprovedGAN(TwoPlayerGAN):
    """Salimans et al. 2016 (arXiv:1606.03498): each technique by an argument, here or of `ImprovedDiscriminator`.

    Feature matching (3.1), historical averaging (3.3) and one-sided label smoothing (3.4) are of the losses; minibatch
    discrimination (3.2) and virtual batch norm (3.5) of the networks, which other models can use too. With
    `semi_supervised` the discriminator is a classifier of K classes, and "generated" is one more, whose logit is fixed
    at 0: D(x) = Z / (Z + 1) with Z = sum_k exp l_k (section 5). As in the authors' code the classifier is validated and
    used by an average of its weights, one of `averages` (theirs keeps 1 - 1e-4 of itself in each batch of 100:
    `step.ema_half_life` ln 2 / 1e-4 * 100 = 693,000 images), and the unsupervised terms count half, a deviation from
    the paper. Deviations from the code: features are matched on the images that the discriminator has just seen, where
    theirs draws others, and by the sum over features, where theirs is the mean; their Adam adds 1e-8 within the root,
    `eps` 1e-4 here (with 1e-4, and 1.25e-2 for the sum over 125 features, as many errors after 4,000 batches).

    Args:
        discriminator: builds a network with `features(image)`; for (image_shape, num_classes) where semi-supervised.
        feature_matching: the generator matches the mean of the discriminator's features, in place of fooling it.
        historical_weight: of |theta - mean theta|^2 for both players, the mean of all values so far, the first and the
            present one too.
        real_target: of real images, one-sided: that of fakes stays 0. Of a classifier it is the target of D(x).
        semi_supervised: see above; needs batches of partly labelled data (`PartlyLabeledDigits`).
        unsupervised_weight: 0 trains the classifier on the labelled images alone.

    Raises:
        ValueError: semi-supervised without classes, or on batches of another kind; feature matching without features.
    """

    uniform_latents = True

    def __init__(
        self,
        image_shape: ImageShape,
        num_classes: int | None = None,
        generator: ImageNetwork = lambda image_shape: ImprovedGenerator(image_shape, latent_dim=100, width=64),
        discriminator: ClassNetwork = lambda image_shape, num_classes: ImprovedDiscriminator(
            image_shape, num_classes, width=64, minibatch_kernels=100
        ),
        generator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=3e-4, beta1=0.5),
        discriminator_optimizer: OptimizerCallable = lambda p: optim.PaperAdam(p, lr=3e-4, beta1=0.5),
        feature_matching: bool = False,
        historical_weight: float = 0.0,
        real_target: float = 0.9,
        semi_supervised: bool = False,
        unsupervised_weight: float = 1.0,
        n_critic: int = 1,
        step: ImageStep = ImageStep(),
    ) -> None:
        classes = require_classes("a semi-supervised ImprovedGAN", num_classes) if semi_supervised else None
        networks = generator(image_shape), discriminator(image_shape, classes)
        super().__init__(image_shape, *networks, generator_optimizer, discriminator_optimizer, n_critic, step)
        if feature_matching and not hasattr(self.discriminator, "features"):
            kind = type(self.discriminator).__name__
            raise ValueError(f"feature_matching needs a discriminator with features: ImprovedDiscriminator, not {kind}")
        self.feature_matching, self.real_target = feature_matching, real_target
        self.semi_supervised, self.unsupervised_weight = semi_supervised, unsupervised_weight
        if semi_supervised:
            self.keep_averages("discriminator", self.discriminator)
        self.historical_weight = historical_weight
        self.shardable = not (historical_weight or semi_supervised)  # both read weights between turns
        if historical_weight:  # as buffers, the means are in the checkpoint
            self.register_buffer("past_discriminator", parameters_to_vector(self.discriminator.parameters()).detach())
            self.register_buffer("past_generator", parameters_to_vector(self.generator.parameters()).detach())

    def discriminate(self, sample: Labeled) -> Tensor:
        """Scores (n,), which for a classifier are made of its logits."""
        out = self.show(sample.image)
        return semi_supervised_score(out) if self.semi_supervised else out

    def on_train_batch_start(self, batch: Labeled | PartlyLabeled, batch_idx: int) -> None:
        if self.semi_supervised and not isinstance(batch, PartlyLabeled):
            raise ValueError("semi_supervised needs data of which a part is labelled: PartlyLabeledDigits")
        if isinstance(batch, PartlyLabeled) and not self.semi_supervised:
            raise ValueError("these data are partly labelled: set semi_supervised: true, or choose other data")
        super().on_train_batch_start(batch, batch_idx)

    def discriminator_turn(self, batch: Labeled | PartlyLabeled) -> None:
        super().discriminator_turn(batch)
        self._remember("discriminator", self.iteration)

    def generator_turn(self, batch: Labeled | PartlyLabeled) -> None:
        super().generator_turn(batch)
        self._remember("generator", self.iteration // self.n_critic)

    def discriminator_loss(self, batch: Labeled | PartlyLabeled) -> Terms:
        real, fake = self.score_pair(batch, self.fake_like(batch).detach())
        terms = {"adversarial": losses.logistic_discriminator(real, fake, self.real_target)}
        if self.semi_supervised:
            terms["adversarial"] = 0.5 * self.unsupervised_weight * terms["adversarial"]
            logits = self.show(batch.labeled_image)
            label = batch.label if len(logits) == len(batch.label) else gather_batch(batch.label)  # as the logits are
            terms["supervised"] = F.cross_entropy(logits, label)
        return terms | self._historical("discriminator")

    def generator_loss(self, batch: Labeled | PartlyLabeled) -> Terms:
        fake = self.fake_like(batch)
        if self.feature_matching:
            real_features, fake_features = (
                gather_batch(self.discriminator.features(self.augmented(x.image))) for x in (batch, fake)
            )
            terms = {"feature_matching": losses.feature_matching(real_features, fake_features)}
        else:
            terms = {"adversarial": losses.non_saturating_generator(self.discriminate(fake))}
        return terms | self._historical("generator")

    def _historical(self, name: str) -> Terms:
        if not self.historical_weight:
            return {}
        now = parameters_to_vector(getattr(self, name).parameters())
        return {"historical": self.historical_weight * (now - getattr(self, f"past_{name}")).square().sum()}

    @torch.no_grad()
    def _remember(self, name: str, turns: int) -> None:
        """Take a player's new weights into the mean: value number `turns` after the initial one."""
        if self.historical_weight:
            now = parameters_to_vector(getattr(self, name).parameters())
            getattr(self, f"past_{name}").lerp_(now, 1.0 / (turns + 1))

    @torch.no_grad()
    def classify(self, image: Tensor) -> Tensor:
        """(n,) int64: the classes of images (n, *image_shape) in [-1, 1], by the average of the classifier's weights.

        Raises:
            ValueError: the model is not semi-supervised.
        """
        if not self.semi_supervised:
            raise ValueError("this ImprovedGAN is no classifier: train one with semi_supervised: true")
        return in_own_precision(self.averages["discriminator"].network, image).argmax(1)

    def validation_step(self, batch: Labeled, batch_idx: int) -> None:
        """Log the shares of validation images that the classifier gets wrong, by averaged and by trained weights."""
        if self.semi_supervised:
            found = {"error": self.classify(batch.image), "error_live": self.discriminator(batch.image).argmax(1)}
            for name, classes in found.items():
                wrong = (classes != batch.label).float().mean()
                self.log(f"validation/{name}", wrong, batch_size=len(classes), sync_dist=True)
