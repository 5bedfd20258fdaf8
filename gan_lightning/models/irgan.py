"""IRGAN: A Minimax Game for Unifying Generative and Discriminative Information Retrieval Models, 2017."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_lightning import losses
from gan_lightning.batches import Ranked
from gan_lightning.core import (
    AdversarialModule,
    LRSchedulerCallable,
    OptimizerCallable,
    Player,
    Step,
    Terms,
    evaluating,
    plainly,
)
from gan_lightning.networks import MatrixFactorisation, MLPScorer, RankingNetwork, RankingSizes


class IRGAN(AdversarialModule):
    """PLACEHOLDER (Wang et al. 2017, arXiv:1705.10513)."""

    def __init__(
        self,
        users: list[str] | None,
        items: list[str] | None,
        features: int | None,
        generator: RankingNetwork | None = None,
        discriminator: RankingNetwork | None = None,
        generator_optimizer: OptimizerCallable = lambda params: torch.optim.SGD(params, lr=1e-3),
        discriminator_optimizer: OptimizerCallable = lambda params: torch.optim.SGD(params, lr=1e-3),
        scheduler: LRSchedulerCallable | None = None,
        temperature: float = 0.2,
        importance: float = 0.2,
        samples: int = 64,
        exact: bool = False,
        baseline: bool = False,
        pretraining: int = 1000,
        candidates: int = 5,
        pretrain_discriminator: bool = False,
        discriminator_turns: int = 100,
        generator_turns: int = 50,
        step: Step = Step(),
    ) -> None:
        if not (users and items) and not features:
            raise ValueError(
                "IRGAN needs users and items, or documents with features: use data such as ImplicitFeedback or "
                "RankingPairs"
            )
        super().__init__(step)
        sizes = RankingSizes(len(users), len(items)) if users and items else RankingSizes(features=features)
        kind = MatrixFactorisation if sizes.users else MLPScorer
        self.generator, self.discriminator = (generator or kind)(sizes), (discriminator or kind)(sizes)
        self._players_of = (generator_optimizer, discriminator_optimizer, scheduler)
        self.temperature, self.importance, self.samples, self.exact = temperature, importance, samples, exact
        self.baseline, self.pretraining, self.candidates = baseline, pretraining, candidates
        self.pretrain_discriminator = pretrain_discriminator
        self.discriminator_turns, self.generator_turns = discriminator_turns, generator_turns
        self.register_buffer("seen", torch.zeros(sizes.users or 0, sizes.items or 0, dtype=torch.bool))

    def players(self) -> dict[str, Player]:
        generator_optimizer, discriminator_optimizer, scheduler = self._players_of
        return {
            "discriminator": Player(self.discriminator, discriminator_optimizer, scheduler),
            "generator": Player(self.generator, generator_optimizer, scheduler),
        }

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit" and len(self.seen):
            training = self.trainer.datamodule.reference("train")
            for first in range(0, len(training), 256):
                batch = training.__getitems__(list(range(first, min(first + 256, len(training)))))
                self.seen[batch.query] = batch.relevant > 0

    def training_step(self, batch: Ranked, batch_idx: int) -> None:
        step = self.iteration - 1 - self.pretraining  # batches since the first stage
        if step < 0:
            self.turn("generator", self.generator_pretraining, batch, counts=True)
            if self.pretrain_discriminator:
                self.turn("discriminator", self.discriminator_pretraining, batch)
        elif step % (self.discriminator_turns + self.generator_turns) < self.discriminator_turns:
            self.turn("discriminator", self.discriminator_loss, batch)
        else:
            self.turn("generator", self.generator_loss, batch, counts=True)

    def generator_pretraining(self, batch: Ranked) -> Terms:
        return {"pairwise": self.pairwise(self.generator(batch.query).float(), batch)}

    def discriminator_pretraining(self, batch: Ranked) -> Terms:
        return {"pairwise": self.pairwise(self.discriminator(batch.query).float(), batch)}

    def pairwise(self, score: Tensor, batch: Ranked) -> Tensor:
        n, positive = len(score), batch.relevant > 0
        negative = batch.candidate & ~positive
        better = losses.drawn_by(positive, self.noise.uniform(n, self.samples))
        worse = losses.drawn_by(negative, self.noise.uniform(n, self.samples * self.candidates))
        hardest = score.gather(1, worse).unflatten(1, (self.samples, self.candidates)).amax(2)
        both = positive.any(1) & negative.any(1)
        return (losses.pairwise_logistic(score.gather(1, better), hardest) * both[:, None]).mean()

    def discriminator_loss(self, batch: Ranked) -> Terms:
        positive = batch.relevant > 0
        score = self.discriminator(batch.query).float()
        with torch.no_grad():
            p = self.probabilities(batch, self.temperature)
        real = -(torch.nn.functional.logsigmoid(score) * positive).sum(1) / positive.sum(1).clamp(min=1)
        if self.exact:
            fake = (p * torch.nn.functional.softplus(score)).sum(1)
        else:
            drawn = losses.drawn_by(p, self.noise.uniform(len(p), self.samples))
            fake = torch.nn.functional.softplus(score.gather(1, drawn)).mean(1)
        return {"adversarial": real.mean() + fake.mean()}

    def log_probabilities(self, batch: Ranked, temperature: float = 1.0) -> Tensor:
        score = self.generator(batch.query).float() / temperature
        return score.masked_fill(~batch.candidate, -torch.inf).log_softmax(1)

    def probabilities(self, batch, temperature):
        return self.log_probabilities(batch, temperature).exp()

    def generator_loss(self, batch: Ranked) -> Terms:
        log_p = self.log_probabilities(batch)
        p = log_p.exp()
        with torch.no_grad():
            reward = losses.ranking_reward(self.discriminator(batch.query).float())
        if self.exact:
            return {"reward": -(p * reward).sum(1).mean()}
        if self.baseline:
            reward = reward - (p.detach() * reward).sum(1, keepdim=True)
        p_n = losses.importance_mixture(p.detach(), batch.relevant > 0, self.importance)
        drawn = losses.drawn_by(p_n, self.noise.uniform(len(p), self.samples))
        weight = (p.detach() / p_n).gather(1, drawn)
        return {"reward": losses.policy_gradient(log_p.gather(1, drawn), reward.gather(1, drawn), weight)}

    @torch.no_grad()
    def rank(self, batch: Ranked) -> Tensor:
        with evaluating(self.generator):
            return plainly(self.generator, batch.query).float()
