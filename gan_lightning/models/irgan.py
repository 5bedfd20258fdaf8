"""IRGAN: A Minimax Game for Unifying Generative and Discriminative Information Retrieval Models, 2017."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gan_lightning import losses
from gan_lightning.batches import Ranked
from gan_lightning.core import OptimizerCallable, Player, Ranker, Step, Terms, evaluating, in_own_precision
from gan_lightning.networks import MatrixFactorisation, MLPScorer, RankingNetwork, RankingSizes
from gan_lightning.noise import drawn_by


class IRGAN(Ranker):
    """A generator draws items for a user, a discriminator tells them from those chosen (Wang et al. 2017).

    arXiv:1705.10513, the pointwise form of equations 1 to 6, as the authors' code has it for item recommendation. The
    generator's p is the softmax of its scores over all candidates: a user's items, or a query's documents. First it
    alone learns from pairs, by BPR (arXiv:1205.2618) with the hardest of `candidates` negatives, as DNS does. Then the
    discriminator, from random weights, takes `discriminator_turns` batches, the generator `generator_turns`, and so
    forth. The discriminator minimises -E log D(chosen) - E log(1 - D(drawn)), drawn from p at a temperature; the
    generator -E p/p_n reward log p, with the reward 2 (D - 1/2), drawn from p_n = (1 - importance) p + importance on
    what was chosen. Both are drawn from all candidates, the chosen ones too. The ranker is the generator.

    Deviations: a batch is of users, and a loss is a mean over them, where the code takes a user (the generator)
    or sums over 16 pairs (the discriminator) at a time: its rate of 1e-3 times the 64 of a batch is the default, which
    learns slowly, the discriminator most of all, see `configs/irgan` for others; phases are counted in batches, where
    the paper alternates epochs (100 and 50); negatives are drawn anew for every batch, not every 5 epochs; each query
    has `samples` draws, not as many (or twice as many) as it has choices. The code's L2 terms are the optimizers'
    `weight_decay`. A query with nothing relevant takes part with what it has.

    Args:
        users, items: names, str, of data where users choose items; else None.
        num_features: numbers that describe a document, of data where queries have documents; else None.
        generator_optimizer, discriminator_optimizer: build the optimizers.
        pretraining_optimizer: the generator's one in the first stage, which the code leaves to another program with
            other rates; None: that of the game goes on.
        generator, discriminator: build rankers, from queries to scores (B, D); None for the code's, matrix
            factorisation with 5 dimensions for items, one hidden layer for documents.
        temperature: of p where the discriminator's negatives are drawn.
        importance: share of p_n that lies on what was chosen.
        samples: draws for each query, of pairs, of negatives, and of what the generator is rewarded for.
        exact: take expectations over all candidates in place of draws, in both players' losses of the game.
        baseline: subtract the mean reward under p from the reward, to lower the variance of draws.
        pretraining: batches of the first stage; 0 for a game from scratch.
        candidates: uniform negatives, of which the highest scored is the pair's; 1 is BPR.
        pretrain_discriminator: the discriminator takes turns in the first stage too, with pairs of its own.
        discriminator_turns, generator_turns: batches of each phase of a round.
        step: see :class:`Step`; a scheduler counts each player's own turns, those of the first stage too.

    Attributes:
        seen: (users, items) bool, what was chosen in training: a checkpoint alone can leave it out; empty of documents.

    Raises:
        ValueError: neither users and items nor num_features; numbers of turns or draws that are too small, a
            temperature or an importance out of range; in `setup`, no data module of this package to take `seen` from.
    """

    def __init__(
        self,
        users: list | None,  # no list[str]: whoever reads a checkpoint would check every name, in quadratic time
        items: list | None,
        num_features: int | None,
        generator: RankingNetwork | None = None,
        discriminator: RankingNetwork | None = None,
        generator_optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=64e-3),
        discriminator_optimizer: OptimizerCallable = lambda p: torch.optim.SGD(p, lr=64e-3),
        pretraining_optimizer: OptimizerCallable | None = None,
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
        if not (users and items) and not num_features:
            raise ValueError(
                "IRGAN needs users and items, or documents with features: use data such as ImplicitFeedback or "
                "RankingPairs"
            )
        if pretraining < 0 or min(samples, candidates, discriminator_turns, generator_turns) < 1:
            raise ValueError("IRGAN needs pretraining of at least 0, samples, candidates and turns of at least 1")
        if temperature <= 0 or not 0 <= importance < 1:
            raise ValueError(f"temperature ({temperature}) must be positive, importance ({importance}) lie in [0, 1)")
        super().__init__(step)
        self.users, self.items, self.num_features = users, items, num_features
        sizes = RankingSizes(len(users), len(items)) if users and items else RankingSizes(features=num_features)
        usual = MatrixFactorisation if sizes.users else MLPScorer
        self.generator, self.discriminator = (generator or usual)(sizes), (discriminator or usual)(sizes)
        self._players_of = (generator_optimizer, discriminator_optimizer, pretraining_optimizer)
        self.beginner = "generator" if pretraining_optimizer is None else "beginner"  # who plays the first stage
        self.temperature, self.importance, self.samples = temperature, importance, samples
        self.exact, self.baseline = exact, baseline
        self.pretraining, self.candidates = pretraining, candidates
        self.pretrain_discriminator = pretrain_discriminator
        self.discriminator_turns, self.generator_turns = discriminator_turns, generator_turns
        self.register_buffer("seen", torch.zeros(sizes.users or 0, sizes.items or 0, dtype=torch.bool))

    def players(self) -> dict[str, Player]:
        generator_optimizer, discriminator_optimizer, pretraining_optimizer = self._players_of
        players = {
            "generator": Player(self.generator, generator_optimizer, self.step.scheduler),
            "discriminator": Player(self.discriminator, discriminator_optimizer, self.step.scheduler),
        }
        return players | ({"beginner": Player(self.generator, pretraining_optimizer)} if pretraining_optimizer else {})

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage != "fit" or not len(self.seen):
            return
        if not hasattr(self.trainer.datamodule, "reference"):
            raise ValueError("IRGAN needs a data module of gan_lightning, for what users chose: train with one")
        for batch in self.trainer.datamodule.reference("train").parts(256):
            self.seen[batch.query] = (batch.relevant > 0).to(self.seen.device)

    def training_step(self, batch: Ranked, batch_idx: int) -> None:
        step = self.iteration - 1 - self.pretraining  # batches since the first stage
        if step < 0:
            self.turn(self.beginner, self.generator_pretraining, batch, advances_step=True)
            if self.pretrain_discriminator:
                self.turn("discriminator", self.discriminator_pretraining, batch)
        elif step % (self.discriminator_turns + self.generator_turns) < self.discriminator_turns:
            self.turn("discriminator", self.discriminator_loss, batch)
        else:
            self.turn("generator", self.generator_loss, batch, advances_step=True)

    # Before the game.

    def generator_pretraining(self, batch: Ranked) -> Terms:
        return {"pairwise": self.pairwise(self.generator(batch.query).float(), batch)}

    def discriminator_pretraining(self, batch: Ranked) -> Terms:
        return {"pairwise": self.pairwise(self.discriminator(batch.query).float(), batch)}

    def pairwise(self, score: Tensor, batch: Ranked) -> Tensor:
        """BPR's loss of scores (B, D), with the hardest of some negatives; 0 for a query that has no pairs."""
        positive, n = batch.relevant > 0, len(score)
        negative = batch.candidate & ~positive
        better = drawn_by(positive, self.noise.uniform(n, self.samples))
        worse = drawn_by(negative, self.noise.uniform(n, self.samples * self.candidates))
        hardest = score.gather(1, worse).unflatten(1, (self.samples, self.candidates)).amax(2)
        loss = losses.pairwise_logistic(score.gather(1, better), hardest)
        has_pairs = positive.any(1) & negative.any(1)
        return (loss * has_pairs[:, None]).mean()

    # The game.

    def log_probability(self, batch: Ranked, temperature: float = 1.0) -> Tensor:
        """(B, D) the generator's log p; -inf for what is no candidate."""
        score = self.generator(batch.query).float() / temperature
        return score.masked_fill(~batch.candidate, -torch.inf).log_softmax(1)

    def discriminator_loss(self, batch: Ranked) -> Terms:
        positive, score = batch.relevant > 0, self.discriminator(batch.query).float()
        with torch.no_grad():
            p = self.log_probability(batch, self.temperature).exp()
        if self.exact:
            drawn = (p * F.softplus(score)).sum(1)
        else:
            drawn = F.softplus(score.gather(1, drawn_by(p, self.noise.uniform(len(p), self.samples)))).mean(1)
        chosen = (positive * F.softplus(-score)).sum(1) / positive.sum(1).clamp(min=1)
        return {"chosen": chosen.mean(), "drawn": drawn.mean()}

    def generator_loss(self, batch: Ranked) -> Terms:
        log_p = self.log_probability(batch)
        p = log_p.exp()
        with torch.no_grad():
            reward = losses.ranking_reward(self.discriminator(batch.query).float())
        mean = (p * reward).sum(1, keepdim=True)
        if self.watching:
            self.watch("generator/reward", mean.mean())
        if self.exact:
            return {"policy": -mean.mean()}
        p = p.detach()
        p_n = losses.importance_mixture(p, batch.relevant > 0, self.importance)
        drawn = drawn_by(p_n, self.noise.uniform(len(p), self.samples))
        weight = p.gather(1, drawn) / p_n.gather(1, drawn)
        reward = reward - mean.detach() if self.baseline else reward
        return {"policy": losses.policy_gradient(log_p.gather(1, drawn), reward.gather(1, drawn), weight)}

    # What it is for.

    @torch.no_grad()
    def rank(self, batch: Ranked) -> Tensor:
        """(B, D) float32, the generator's scores in evaluation mode, of what is no candidate too."""
        with evaluating(self.generator):
            return in_own_precision(self.generator, batch.query).float()

    def recommend(self, user: int, k: int = 10) -> tuple[Tensor, Tensor]:
        """The k best items, of those that a user did not choose in training.

        Returns:
            Numbers of items (k,) int64, and their scores (k,), the best first.

        Raises:
            ValueError: a model of documents, a user that there is not, or fewer items left than k.
        """
        if not len(self.seen):
            raise ValueError("this IRGAN ranks documents, which it must be given: use rank(batch)")
        if not 0 <= user < len(self.seen):
            raise ValueError(f"user {user}: there are 0 to {len(self.seen) - 1}")
        left = ~self.seen[user]
        if not 1 <= k <= left.sum():
            raise ValueError(f"user {self.users[user]} has {int(left.sum())} items left: ask for 1 to as many, not {k}")
        everything = Ranked(torch.tensor([user], device=self.device), left[None], left[None])
        scores, items = self.rank(everything)[0].masked_fill(~left, -torch.inf).topk(k)
        return items, scores
