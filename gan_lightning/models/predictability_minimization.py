"""Learning Factorial Codes by Predictability Minimization, 1992."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_lightning.batches import Labeled, gather_batch
from gan_lightning.core import (
    AdversarialModule,
    Encoder,
    ImageNetwork,
    ImageShape,
    OptimizerCallable,
    Player,
    Step,
    Terms,
    evaluating,
    in_own_precision,
)
from gan_lightning.networks import CodeDecoder, CodeEncoder, Predictors

CELL = 12  # pixels a side of one code symbol in a picture
ZOOM = 48  # least side of one image in a picture


class PredictabilityMinimization(AdversarialModule, Encoder):
    """A code whose units cannot be predicted from each other (Schmidhuber, Neural Computation 4(6), 863-879, 1992).

    The survey arXiv:1906.04493 tells how it relates to GANs. Unit i of the code is y_i in [0, 1], and P_i the output
    of its predictor, which sees all other units. With means over the patterns of a batch in place of sums,

    - the predictors minimise V_C = 1/2 sum_i (P_i - y_i)^2 (equation 1), and thereby learn E(y_i | y_k, k != i);
    - the encoder maximises the same V_C (section 5). Its gradient reaches y_i as the target of P_i, and y_k as input of
      all P_i, i != k; the predictors themselves are frozen. Where they are optimal V_C = V - H, the units' variance
      V = 1/2 sum_i (y_i - mean y_i)^2 less what the others foretell of it, H = 1/2 sum_i (P_i - mean y_i)^2. A constant
      code has V_C = 0, its least: it fools nobody, for there is nothing left to predict.

    To it may be added, of section 4, V itself, and the squared error I of a decoder that gives the pattern back. A
    batch is `predictor_turns` turns of the predictors on the same patterns, then one of the encoder and the decoder.
    Deviations: H is no term of its own; hidden units are tanh; Adam and batches in place of plain gradient descent.

    Args:
        encoder: builds a network from images (n, *image_shape) to codes (n, units) in [0, 1], with its `units`.
        predictors: builds, of the number of units, a network from codes to predictions of the same shape.
        decoder: builds, of the image's shape and the number of units, a network from codes to images; it is built only
            where `reconstruction_weight` is positive.
        encoder_optimizer, predictor_optimizer: build the optimizers; the encoder's moves the decoder too.
        predictor_turns: for each turn of the encoder.
        unpredictability_weight: of V_C in the encoder's loss; 0 leaves an ordinary autoencoder.
        variance_weight, reconstruction_weight: alpha of V and gamma of I.
        step: see :class:`Step`; a scheduler counts encoder steps, also for the predictors.

    Raises:
        ValueError: no predictor turns, or weights that are negative.
    """

    scored_by = "CodeScores"

    def __init__(
        self,
        image_shape: ImageShape,
        encoder: ImageNetwork = lambda image_shape: CodeEncoder(image_shape, units=6, width=64),
        predictors: Callable[[int], nn.Module] = lambda units: Predictors(units, width=32),
        decoder: Callable[[ImageShape, int], nn.Module] = lambda image_shape, units: CodeDecoder(
            image_shape, units, width=64
        ),
        encoder_optimizer: OptimizerCallable = lambda p: torch.optim.Adam(p, lr=1e-3),
        predictor_optimizer: OptimizerCallable = lambda p: torch.optim.Adam(p, lr=1e-2),
        predictor_turns: int = 4,
        unpredictability_weight: float = 1.0,
        variance_weight: float = 0.0,
        reconstruction_weight: float = 0.0,
        step: Step = Step(),
    ) -> None:
        if predictor_turns < 1 or min(unpredictability_weight, variance_weight, reconstruction_weight) < 0:
            raise ValueError("PredictabilityMinimization needs at least one predictor turn, and no negative weights")
        super().__init__(step)
        self.image_shape = tuple(image_shape)
        self.encoder = encoder(image_shape)
        self.predictors = predictors(self.encoder.units)
        self.decoder = decoder(image_shape, self.encoder.units) if reconstruction_weight else None
        self.predictor_turns = predictor_turns
        self.unpredictability_weight, self.variance_weight = unpredictability_weight, variance_weight
        self.reconstruction_weight = reconstruction_weight
        self._players_of = encoder_optimizer, predictor_optimizer

    def players(self) -> dict[str, Player]:
        encoder_optimizer, predictor_optimizer = self._players_of
        coder = nn.ModuleList([self.encoder] if self.decoder is None else [self.encoder, self.decoder])
        return {
            "encoder": Player(coder, encoder_optimizer, self.step.scheduler),
            "predictors": Player(self.predictors, predictor_optimizer, self.step.scheduler, self.predictor_turns),
        }

    def training_step(self, batch: Labeled, batch_idx: int) -> None:
        for _ in range(self.predictor_turns):
            self.turn("predictors", self.predictor_loss, batch)
        self.turn("encoder", self.encoder_loss, batch, advances_step=True)

    def predictor_loss(self, batch: Labeled) -> Terms:
        with torch.no_grad():
            code = self.encoder(batch.image)
        return {"unpredictability": self.unpredictability(code)}

    def encoder_loss(self, batch: Labeled) -> Terms:
        code = self.encoder(batch.image)
        terms = {"unpredictability": -self.unpredictability_weight * self.unpredictability(code)}
        if self.variance_weight:
            terms["variance"] = -self.variance_weight * self.variance(code)
        if self.decoder is not None:
            terms["reconstruction"] = self.reconstruction_weight * F.mse_loss(self.decoder(code), batch.image)
        return terms

    def unpredictability(self, code: Tensor) -> Tensor:
        """V_C of codes (n, units), in [0, units / 2]: its mean over them."""
        return (self.predictors(code) - code).square().sum(1).mean() / 2

    def variance(self, code: Tensor) -> Tensor:
        """V of the codes of the whole batch, in [0, units / 8]."""
        return gather_batch(code).var(0, unbiased=False).sum() / 2

    # What is looked at.

    def encode(self, image: Tensor) -> Tensor:
        """(n, units) in [0, 1], the codes of images (n, *image_shape) in [-1, 1]; above 1/2 a unit is on."""
        with torch.no_grad(), evaluating(self.encoder):
            return in_own_precision(self.encoder, image)

    def reconstruct(self, image: Tensor) -> Tensor:
        """(n, *image_shape) in [-1, 1], what the decoder makes of the images' codes.

        Raises:
            ValueError: there is no decoder.
        """
        if self.decoder is None:
            raise ValueError("there is no decoder: train with a reconstruction_weight above 0")
        return self._decode(self.encode(image))

    def _decode(self, code: Tensor) -> Tensor:
        with torch.no_grad(), evaluating(self.decoder):
            return in_own_precision(self.decoder, code)

    def picture(self, batch: Labeled) -> Tensor:
        """What the code's units stand for, of examples: (1 or 3, height, width) in [0, 1].

        Of patterns (dim, 1, 1): a column for each label, in order; above the label's bits, which are the causes in a
        set of factorial patterns, below them the mean code. A unit stands beside the cause that it goes with most, and
        is shown inverted where it goes against it. Of images: a column for each unit; the mean image while it is off,
        the mean while it is on, the second less the first, and what switching it on changes in the decoder's images.
        """
        code = self.encode(batch.image).float().cpu()
        image, label = batch.image.float().cpu(), batch.label.cpu()
        return _causes_and_code(code, label) if image.shape[2:] == (1, 1) else self._units(code, image)

    def _units(self, code: Tensor, image: Tensor) -> Tensor:
        on = (code > 0.5).float().T  # (units, n)
        off_mean, on_mean = (_means(mask, image) for mask in (1 - on, on))
        rows = [off_mean, on_mean, _contrast(on_mean - off_mean)]
        if self.decoder is not None:
            code = code.to(self.device)
            switched = []
            for unit in range(code.shape[1]):
                low, high = code.clone(), code.clone()
                low[:, unit], high[:, unit] = 0, 1
                switched.append((self._decode(high) - self._decode(low)).mean(0).float().cpu())
            rows.append(_contrast(torch.stack(switched)))
        cells = torch.stack(rows).clamp(-1, 1).add(1).div(2)  # (rows, units, C, H, W)
        cells = cells.repeat_interleave(zoom := -(-ZOOM // cells.shape[-1]), -1).repeat_interleave(zoom, -2)
        framed = F.pad(cells, (2, 2, 2, 2), value=1.0)
        return framed.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)


def _means(mask: Tensor, image: Tensor) -> Tensor:
    """(units, C, H, W), the mean of the images (n, C, H, W) that each row of a mask (units, n) chooses."""
    return torch.einsum("un,nchw->uchw", mask / mask.sum(1, keepdim=True).clamp(min=1), image)


def _contrast(change: Tensor) -> Tensor:
    """Changes (units, C, H, W) of which the greatest of each unit is 1 in size."""
    return change / change.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-6)


def _causes_and_code(code: Tensor, label: Tensor) -> Tensor:
    """(1, height, width) in [0, 1] of codes (n, units) and labels (n,); see `picture`."""
    found, which = label.unique(return_inverse=True)
    member = F.one_hot(which, len(found)).float()
    mean = (member.T @ code) / member.sum(0)[:, None]  # (labels, units)
    bits = (found[:, None] >> torch.arange(max(int(found.max()).bit_length(), 1))) & 1
    alike = torch.corrcoef(torch.cat([bits, mean], 1).T).nan_to_num()[: bits.shape[1], bits.shape[1] :]
    order = alike.abs().argmax(0).argsort(stable=True)
    cause = alike.abs().argmax(0)
    against = alike[cause, torch.arange(mean.shape[1])] < 0
    shown = torch.where(against, 1 - mean, mean)[:, order]
    rows = torch.cat([bits.float(), torch.full((len(found), 1), 0.5), shown], 1).T
    return rows.repeat_interleave(CELL, 0).repeat_interleave(CELL, 1)[None]
