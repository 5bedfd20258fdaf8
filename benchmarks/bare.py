"""Training loops as one would write them by hand, each for the networks of one model: what our step is measured by.

Nothing of ours but the networks, and where `own` is said the optimizers: no logging, no checkpoints, no checks. Real
examples come from tensors in memory. Under bfloat16 losses are computed within autocast, and scores whose gradient is
penalised without, as a careful writer would.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.core import AdversarialModule
from gan_lightning.noise import PartNoise, drawn_by_layers


class BareLoop:
    """DCGAN: the generator's non-saturating loss.

    Args:
        model: whose networks are copied.
        rows: the fields of all examples, images as bytes or in [-1, 1].
        batch: examples of a batch.
        device: where it trains.
        half: whether within bfloat16 autocast.
        own: with the model's own optimizers and an average of the generator, in place of torch's default Adam and none.
    """

    betas = (0.5, 0.999)
    n_critic = 1

    def __init__(
        self,
        model: AdversarialModule,
        rows: tuple[Tensor, ...],
        batch: int,
        device: str = "cpu",
        half: bool = False,
        own: bool = False,
    ) -> None:
        self.rows, self.batch, self.device, self.half, self.own = rows, batch, device, half, own
        self.G, self.D = (copy.deepcopy(network).to(device) for network in (model.generator, model.discriminator))
        self.adam_g, self.adam_d = (
            model.players()[name].optimizer(list(network.parameters()))
            if own
            else torch.optim.Adam(network.parameters(), lr=2e-4, betas=self.betas)
            for name, network in (("generator", self.G), ("discriminator", self.D))
        )
        self.average = copy.deepcopy(self.G).requires_grad_(False) if own and model.averages else None
        self.n_critic = getattr(model, "n_critic", 1)
        self.steps = 0

    def real(self) -> tuple[Tensor, ...]:
        """Another batch, its images in [-1, 1]."""
        at = torch.randint(len(self.rows[0]), (self.batch,))
        found = (field[at] for field in self.rows)
        if self.device == "cuda":
            found = (field.pin_memory().to("cuda", non_blocking=True) for field in found)
        return tuple(field.float() / 127.5 - 1 if field.dtype == torch.uint8 else field for field in found)

    def latent(self, n: int) -> Tensor:
        return torch.rand(n, self.G.latent_dim, device=self.device) * 2 - 1

    def fake(self) -> Tensor:
        return self.G(self.latent(self.batch))

    def step(self) -> None:
        """One step of the generator, with what comes before it."""
        for _ in range(self.n_critic):
            self.move(self.adam_d, self.discriminator_loss)
        self.D.requires_grad_(False)
        self.move(self.adam_g, self.generator_loss)
        self.D.requires_grad_(True)
        self.follow()

    def move(self, adam: torch.optim.Optimizer, loss: Callable[[], Tensor]) -> None:
        adam.zero_grad()
        with torch.autocast(self.device, torch.bfloat16, enabled=self.half):
            value = loss()
        value.backward()
        adam.step()

    def follow(self) -> None:
        if self.average is not None:
            with torch.no_grad():
                torch._foreach_lerp_(list(self.average.parameters()), list(self.G.parameters()), 0.001)
                for copied, buffer in zip(self.average.buffers(), self.G.buffers(), strict=True):
                    copied.copy_(buffer)

    def in_float32(self, network: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        with torch.autocast(self.device, torch.float32, enabled=False):
            return network(*inputs)

    def discriminator_loss(self) -> Tensor:
        real, fake = self.D(self.real()[0]), self.D(self.fake().detach())
        return F.softplus(-real).mean() + F.softplus(fake).mean()

    def generator_loss(self) -> Tensor:
        return F.softplus(-self.D(self.fake())).mean()


class BareHinge(BareLoop):
    """SNGAN and, with labels, BigGAN."""

    def latent(self, n: int) -> Tensor:
        return torch.randn(n, self.G.latent_dim, device=self.device)

    def made(self) -> tuple[Tensor, ...]:
        if not self.labels:
            return (self.G(self.latent(self.batch)),)
        label = torch.randint(10, (self.batch,), device=self.device)
        return self.G(self.latent(self.batch), label), label

    labels = False

    def discriminator_loss(self) -> Tensor:
        image, label = self.real()
        fake, *fake_label = self.made()
        r, f = self.D(image, *[label][: self.labels]), self.D(fake.detach(), *fake_label)
        return F.relu(1 - r).mean() + F.relu(1 + f).mean()

    def generator_loss(self) -> Tensor:
        return -self.D(*self.made()).mean()


class BareBigGAN(BareHinge):
    labels = True


def squared_gradient(score: Tensor, x: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(score.sum(), x, create_graph=True)
    return gradient.square().flatten(1).sum(1)


class BareR3GAN(BareLoop):
    """Pairs, and two penalties in every step; with labels where the rows have them."""

    betas = (0.0, 0.9)

    def latent(self, n: int) -> Tensor:
        return torch.randn(n, self.G.latent_dim, device=self.device)

    def pair(self) -> tuple[Tensor, Tensor, list[Tensor]]:
        image, *label = self.real()
        return image, self.G(self.latent(self.batch), *label), label

    def discriminator_loss(self) -> Tensor:
        real, fake, label = self.pair()
        real, fake = real.requires_grad_(), fake.detach().float().requires_grad_()
        r, f = self.in_float32(self.D, real, *label), self.in_float32(self.D, fake, *label)
        with torch.autocast(self.device, enabled=False):
            penalty = squared_gradient(r, real).mean() + squared_gradient(f, fake).mean()
        return F.softplus(f - r).mean() + 0.5 * penalty

    def generator_loss(self) -> Tensor:
        real, fake, label = self.pair()
        return F.softplus(self.D(real, *label) - self.D(fake, *label)).mean()


class BareStyleGAN2(BareLoop):
    """With mixed styles; R1 each 16 steps, path lengths each 4 on half the batch, as Adam steps of their own."""

    betas = (0.0, 0.99)
    mean: Tensor | float = 0.0

    def latent(self, n: int) -> Tensor:
        return torch.randn(n, self.G.latent_dim, device=self.device)

    def fake(self) -> Tensor:
        return self.drawn(self.styles(self.batch))

    def drawn(self, ws: Tensor) -> Tensor:
        """Images, whose layers add noise."""
        with drawn_by_layers(PartNoise(int(torch.randint(2**31, ())), 0, 1, torch.device(self.device))):
            return self.G.synthesis(ws)

    def styles(self, n: int) -> Tensor:
        w, other = (self.G.mapping(self.latent(n)) for _ in range(2))
        crossover = torch.randint(1, self.G.num_styles, (n, 1, 1), device=self.device)
        first = torch.arange(self.G.num_styles, device=self.device)[:, None] < crossover
        return torch.where(first, w[:, None], other[:, None])

    def step(self) -> None:
        self.D.requires_grad_(False)
        self.move(self.adam_g, self.generator_loss)
        self.follow()
        if self.steps % 4 == 0:
            self.move(self.adam_g, self.path_loss)
        self.D.requires_grad_(True)
        self.move(self.adam_d, self.discriminator_loss)
        if self.steps % 16 == 0:
            self.move(self.adam_d, self.r1_loss)
        self.steps += 1

    def r1_loss(self) -> Tensor:
        real = self.real()[0].requires_grad_()
        score = self.in_float32(self.D, real)
        return 16 * 0.5 * squared_gradient(score, real).mean()

    def path_loss(self) -> Tensor:
        with torch.autocast(self.device, torch.float32, enabled=False):
            ws = self.styles(-(-self.batch // 2))
            image = self.drawn(ws)
            projection = (image * torch.randn_like(image)).sum() / image[0, 0].numel() ** 0.5
            (gradient,) = torch.autograd.grad(projection, ws, create_graph=True)
            lengths = gradient.square().sum(2).mean(1).sqrt()
            self.mean = self.mean + 0.01 * (lengths.mean().detach() - self.mean)
            return 4 * 2 * (lengths - self.mean).square().mean()


class BarePix2Pix(BareLoop):
    """A discriminator that sees the source too, and L1."""

    def score(self, source: Tensor, target: Tensor) -> Tensor:
        return self.D(torch.cat([source, target], 1))

    def step(self) -> None:
        self.source, self.target = self.real()
        super().step()

    def discriminator_loss(self) -> Tensor:
        fake = self.G(self.source).detach()
        real_score, fake_score = self.score(self.source, self.target), self.score(self.source, fake)
        return 0.5 * (F.softplus(-real_score).mean() + F.softplus(fake_score).mean())

    def generator_loss(self) -> Tensor:
        fake = self.G(self.source)
        return F.softplus(-self.score(self.source, fake)).mean() + 100 * F.l1_loss(fake, self.target)


class BareCycleGAN(BareLoop):
    """Both translators in one step, both discriminators in another, which see fakes of before; pools of 50."""

    def step(self) -> None:
        self.a, self.b = self.real()
        self.D.requires_grad_(False)
        self.move(self.adam_g, self.generator_loss)
        self.D.requires_grad_(True)
        self.shown = [self.exchange(number, fake) for number, fake in enumerate(self.made)]
        self.move(self.adam_d, self.discriminator_loss)

    def generator_loss(self) -> Tensor:
        (to_b, to_a), (judge_a, judge_b), a, b = self.G, self.D, self.a, self.b
        fake_b, fake_a = to_b(a), to_a(b)
        self.made = fake_a.detach(), fake_b.detach()
        adversarial = (judge_a(fake_a) - 1).square().mean() + (judge_b(fake_b) - 1).square().mean()
        cycles = F.l1_loss(to_a(fake_b), a) + F.l1_loss(to_b(fake_a), b)
        identities = F.l1_loss(to_a(a), a) + F.l1_loss(to_b(b), b)
        return adversarial + 10 * cycles + 5 * identities

    def discriminator_loss(self) -> Tensor:
        shown = zip(self.D, (self.a, self.b), self.shown, strict=True)
        return sum(0.5 * ((D(real) - 1).square().mean() + D(fake).square().mean()) for D, real, fake in shown)

    def exchange(self, number: int, fake: Tensor) -> Tensor:
        """Images of now or before."""
        self.pools: list[list[Tensor]] = getattr(self, "pools", [[], []])
        pool, shown = self.pools[number], []
        for image in fake:
            if len(pool) < 50:
                pool.append(image)
            elif torch.rand(()) > 0.5:
                at = int(torch.randint(50, ()))
                pool[at], image = image, pool[at]
            shown.append(image)
        return torch.stack(shown)


class BareSeqGAN(BareLoop):
    """One turn of the policy, whose rewards are the discriminator's of 16 roll-outs, and one of the discriminator."""

    clip, rollouts = 5.0, 16

    def step(self) -> None:
        self.policy: nn.Module = getattr(self, "policy", None) or copy.deepcopy(self.G).requires_grad_(False)
        self.move(self.adam_g, self.generator_loss)
        with torch.no_grad():
            for (name, old), new in zip(self.policy.named_parameters(), self.G.parameters(), strict=True):
                old.lerp_(new, 1.0 if name.startswith("embedding.") else 0.2)
        self.move(self.adam_d, self.discriminator_loss)

    def move(self, adam: torch.optim.Optimizer, loss: Callable[[], Tensor]) -> None:
        adam.zero_grad()
        with torch.autocast(self.device, torch.bfloat16, enabled=self.half):
            value = loss()
        value.backward()
        nn.utils.clip_grad_norm_([p for group in adam.param_groups for p in group["params"]], self.clip)
        adam.step()

    def sampled(self) -> Tensor:
        return self.G.sample(torch.rand(self.batch, self.G.length, device=self.device))

    @torch.no_grad()
    def rewards(self, token: Tensor) -> Tensor:
        n, length = token.shape
        completed = self.policy.roll_out(token, torch.rand(n, self.rollouts, length - 1, length, device=self.device))
        self.D.eval()
        of_prefixes = self.D(completed.flatten(0, 2)).sigmoid().view(n, self.rollouts, -1).mean(1)
        whole = self.D(token).sigmoid()[:, None]
        self.D.train()
        return torch.cat([of_prefixes, whole], 1)

    def generator_loss(self) -> Tensor:
        token = self.sampled()
        return -(self.G.log_likelihood(token) * self.rewards(token)).sum(1).mean()

    def discriminator_loss(self) -> Tensor:
        real, fake = self.D(self.real()[0]), self.D(self.sampled())
        decay = 0.1 * sum(p.square().sum() for p in self.D.output.parameters())
        return F.softplus(-real).mean() + F.softplus(fake).mean() + decay
