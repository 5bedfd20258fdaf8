"""SeqGAN: Sequence Generative Adversarial Nets with Policy Gradient, 2017."""

import copy
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn

from gan_lightning import losses
from gan_lightning.batches import Sequences, gather_batch, size
from gan_lightning.core import Player, SequenceGenerator, Step, Terms, evaluating
from gan_lightning.networks import LSTMGenerator, TextDiscriminator
from gan_lightning.noise import SampleNoise

SequenceNetwork = Callable[[int, int], nn.Module]  # builds a network for a vocabulary and a length


class SeqGAN(SequenceGenerator):
    """Sequences by policy gradient (Yu et al. 2017, arXiv:1609.05473): a discriminator's verdict is the reward.

    Algorithm 1. The generator first learns by maximum likelihood, then the discriminator tells its sequences from real
    ones, then both play: the reward of a token is the probability of being real that the discriminator gives to the
    sequence, averaged over roll-outs that complete it (equation 4), of the sequence itself for the last token; the
    generator climbs the sum over tokens of log-probability times reward (equations 6 to 8). Roll-outs are by a policy
    that follows the generator with delay, as the authors' code means to (its graph reads the generator itself: a
    `rollout_decay` of 0). That code's settings are the defaults: 120 epochs, 50 times 3 epochs, then 15 epochs of the
    discriminator to each turn of the generator, an epoch being 156 batches of 64 sequences. Deviations: each
    discriminator turn is shown fresh sequences, where the authors keep 10,000 for three epochs, and as many of both
    kinds as the batch has, where an epoch of theirs is 312 updates with 32 of each; its two-way softmax is one score,
    the difference of the two logits, which is the same function; the sum over tokens is averaged over sequences, not
    summed; gradients of both players are clipped.

    Args:
        vocabulary: the word of each token, str; see `gan_lightning.text` for a vocabulary with padding.
        length: tokens in a sequence, T.
        generator: builds a network with `sample`, `roll_out` and `log_likelihood`, see :class:`LSTMGenerator`.
        discriminator: builds a network from sequences (n, T) to scores (n,), high for real ones.
        generator_optimizer, pretraining_optimizer, discriminator_optimizer: build the optimizers, the generator's one
            for the game and one for maximum likelihood: moments of one loss are no measure for the other.
        pretraining: generator turns by maximum likelihood, one a batch.
        discriminator_pretraining: discriminator turns after them, which are no generator steps.
        generator_turns, discriminator_turns: in each round of the game, one a batch.
        rollouts: Monte-Carlo completions of each prefix, N.
        rollout_decay: what the roll-out policy keeps of itself after a generator turn; its embedding keeps nothing.
        baseline: what is taken off a reward, to lessen the gradient's variance: nothing; the mean over the batch of the
            rewards at the same token; or "learned", a linear function of the state in which the generator chooses the
            token (arXiv:1511.06732), which learns to tell the reward of the whole sequence by squared
            error, with a turn after each of the generator's. It begins at 1/2.
        baseline_optimizer: builds the optimizer of a learned baseline.
        reward: "discriminator", or "constant", 1/2 for every token: a control, which shows what a training owes to
            the discriminator.
        weight_decay: of the discriminator's last layer, its `output`, times half its squared norm. The authors' 0.2 is
            0.2 here: a difference w of two rows costs least as w/2 and -w/2, half of what w alone costs, and their
            cross-entropy is a mean over both kinds of sequences, half of the sum of two means that is minimised here.
        step: see :class:`Step`; a scheduler counts the generator's turns of the game, and all of the discriminator's.

    Raises:
        ValueError: no vocabulary, negative numbers, no roll-outs, a decay outside of [0, 1], an unknown baseline or
            reward, or a learned baseline of a generator that shows no `states`.
    """

    shardable = False  # roll-outs copy the generator's weights between turns

    def __init__(
        self,
        vocabulary: list | None,  # no list[str]: whoever reads a checkpoint would check every word, in quadratic time
        length: int | None,
        generator: SequenceNetwork = lambda vocabulary, length: LSTMGenerator(vocabulary, length),
        discriminator: SequenceNetwork = lambda vocabulary, length: TextDiscriminator(vocabulary, length),
        generator_optimizer: OptimizerCallable = lambda p: torch.optim.Adam(p, lr=1e-2),
        pretraining_optimizer: OptimizerCallable = lambda p: torch.optim.Adam(p, lr=1e-2),
        discriminator_optimizer: OptimizerCallable = lambda p: torch.optim.Adam(p, lr=1e-4),
        pretraining: int = 120 * 156,
        discriminator_pretraining: int = 150 * 156,
        generator_turns: int = 1,
        discriminator_turns: int = 15 * 156,
        rollouts: int = 16,
        rollout_decay: float = 0.8,
        baseline: Literal["none", "mean", "learned"] = "none",
        baseline_optimizer: OptimizerCallable = lambda p: torch.optim.Adam(p, lr=1e-2),
        reward: Literal["discriminator", "constant"] = "discriminator",
        weight_decay: float = 0.2,
        step: Step = Step(gradient_clip=5.0),
    ) -> None:
        if not vocabulary or not length:
            raise ValueError("SeqGAN needs data of sequences, such as OracleSequences or TextLines")
        not_negative = pretraining, discriminator_pretraining, discriminator_turns, weight_decay
        if min(not_negative) < 0 or min(generator_turns, rollouts) < 1:
            raise ValueError("SeqGAN needs at least one generator turn and one roll-out, and no negative numbers")
        if not 0 <= rollout_decay <= 1 or baseline not in ("none", "mean", "learned"):
            raise ValueError(
                f'rollout_decay ({rollout_decay}) is from 0 to 1, baseline ({baseline!r}) "none", "mean" or "learned"'
            )
        if reward not in ("discriminator", "constant"):
            raise ValueError(f'reward ({reward!r}) is "discriminator" or "constant"')
        super().__init__(step)
        self.vocabulary, self.length = list(vocabulary), length
        self.generator, self.discriminator = generator(len(vocabulary), length), discriminator(len(vocabulary), length)
        if weight_decay and not hasattr(self.discriminator, "output"):
            raise ValueError(f"{type(self.discriminator).__name__} has no `output` to decay: set weight_decay to 0")
        self.rollout_policy = copy.deepcopy(self.generator).requires_grad_(False)
        self._players_of = (generator_optimizer, pretraining_optimizer, discriminator_optimizer, baseline_optimizer)
        self.pretraining, self.discriminator_pretraining = pretraining, discriminator_pretraining
        self.generator_turns, self.discriminator_turns = generator_turns, discriminator_turns
        self.rollouts, self.rollout_decay = rollouts, rollout_decay
        self.baseline, self.reward, self.weight_decay = baseline, reward, weight_decay
        if baseline == "learned":
            if not hasattr(self.generator, "states"):
                raise ValueError(f'{type(self.generator).__name__} has no `states` for baseline "learned": use "mean"')
            self.value = nn.Linear(self.generator.hidden, 1)
            nn.init.zeros_(self.value.weight)
            nn.init.constant_(self.value.bias, 0.5)

    def players(self) -> dict[str, Player]:
        generator_optimizer, pretraining_optimizer, discriminator_optimizer, baseline_optimizer = self._players_of
        players = {
            "imitator": Player(self.generator, pretraining_optimizer),  # the generator, before there is a game
            "generator": Player(self.generator, generator_optimizer, self.step.scheduler),
            "discriminator": Player(self.discriminator, discriminator_optimizer, self.step.scheduler),
        }
        return players | ({"baseline": Player(self.value, baseline_optimizer)} if self.baseline == "learned" else {})

    def training_step(self, batch: Sequences, batch_idx: int) -> None:
        played = self.iteration - 1 - self.pretraining - self.discriminator_pretraining  # batches of the game so far
        if played < -self.discriminator_pretraining:
            self.turn("imitator", self.likelihood_loss, batch, advances_step=True)
        elif played < 0 or played % (self.generator_turns + self.discriminator_turns) >= self.generator_turns:
            self.turn("discriminator", self.discriminator_loss, batch)
        else:
            if played == 0:
                self.rollout_policy.load_state_dict(self.generator.state_dict())
            self.turn("generator", self.policy_loss, batch, advances_step=True)
            self.follow()
            if self.baseline == "learned":
                self.turn("baseline", self.baseline_loss, batch)

    def likelihood_loss(self, batch: Sequences) -> Terms:
        """The mean negative log-likelihood of a token."""
        return {"likelihood": -self.generator.log_likelihood(batch.token).mean()}

    def discriminator_loss(self, batch: Sequences) -> Terms:
        """Equation 5, of the batch and as many sequences of the generator, and the decay of the last layer."""
        real, fake = self.discriminator(batch.token), self.discriminator(self.made(size(batch)))
        if self.watching:
            self.watch("discriminator/accuracy_real", (real > 0).float().mean())
            self.watch("discriminator/accuracy_fake", (fake <= 0).float().mean())
        terms = {"adversarial": losses.logistic_discriminator(real, fake)}
        if self.weight_decay:
            decayed = sum(parameter.square().sum() for parameter in self.discriminator.output.parameters())
            terms["weight_decay"] = self.weight_decay / 2 * decayed
        return terms

    def policy_loss(self, batch: Sequences) -> Terms:
        """Minus equation 8: of as many sequences as the batch has, each token's log-probability times its reward."""
        token = self.made(size(batch))
        reward = self.rewards(token)
        if self.watching:
            self.watch("generator/reward", reward.mean())
        if self.baseline == "mean":
            reward = reward - gather_batch(reward).mean(0)
        elif self.baseline == "learned":
            reward = reward - self.values(token).detach()
        return {"policy": -(self.generator.log_likelihood(token) * reward).sum(1).mean()}

    def baseline_loss(self, batch: Sequences) -> Terms:
        """The squared error of the learned baseline: given the tokens before, a reward's mean is that of the last."""
        token = self.made(size(batch))
        return {"squared_error": (self.values(token) - self.verdict(token)[:, None]).square().mean()}

    def values(self, token: Tensor) -> Tensor:
        """(n, T) the learned baseline of each token of (n, T), by the tokens before it alone."""
        with torch.no_grad():
            state = self.generator.states(token)
        return self.value(state).squeeze(2)

    def made(self, n: int) -> Tensor:
        """(n, T) sequences by the generator as it is."""
        return self.generator.sample(self.noise.uniform(n, self.length))

    @torch.no_grad()
    def rewards(self, token: Tensor) -> Tensor:
        """(n, T) in [0, 1], equation 4: how real sequences seem that begin as (n, T) do, up to each token."""
        if self.reward == "constant":  # roll-outs would add nothing
            return self.verdict(token)[:, None].expand(token.shape)
        n, length = token.shape
        uniform = self.noise.uniform(n, self.rollouts, length - 1, length)
        completed = self.rollout_policy.roll_out(token, uniform)
        of_prefixes = self.verdict(completed.flatten(0, 2)).view(n, self.rollouts, length - 1).mean(1)
        return torch.cat([of_prefixes, self.verdict(token)[:, None]], 1)

    @torch.no_grad()
    def verdict(self, token: Tensor) -> Tensor:
        """(n,) in [0, 1], the reward of whole sequences (n, T)."""
        if self.reward == "constant":
            return torch.full(token.shape[:1], 0.5, device=token.device)
        with evaluating(self.discriminator):  # no dropout: the authors' code sets it aside for rewards too
            return self.discriminator(token).sigmoid()

    @torch.no_grad()
    def follow(self) -> None:
        """Move the roll-out policy after the generator."""
        pairs = zip(self.rollout_policy.named_parameters(), self.generator.parameters(), strict=True)
        for (name, old), new in pairs:
            old.lerp_(new, 1.0 if name.startswith("embedding.") else 1 - self.rollout_decay)

    # What a trained model says.

    @torch.no_grad()
    def sample(self, numbers: Sequence[int] | int, seed: int = 0) -> Tensor:
        numbers = range(numbers) if isinstance(numbers, int) else numbers
        noise = SampleNoise(seed, numbers, self.device)
        with evaluating(self.generator):
            return self.generator.sample(noise.uniform(len(numbers), self.length))

    @torch.no_grad()
    def log_likelihood(self, token: Tensor) -> Tensor:
        with evaluating(self.generator):
            return self.generator.log_likelihood(token)
