"""How fast SeqGAN's roll-outs are against a loop over prefixes: `python benchmarks/rollout.py [--threads 1]`.

64 sequences of 20 tokens, 16 roll-outs, the paper's LSTM. The loop is what the authors' code does, with the same
network and the same numbers to choose tokens at: for each roll-out and each prefix it begins at the first token, reads
the prefix and completes it, all 64 sequences at once. That both give the same tokens is checked before any time is
taken. They take turns inside one process, so that the machine's moods hit both alike, and the medians over rounds of
their speeds and of the ratios of neighbours are printed. A token is one of the 64 * 16 * 19 * 20 of all completed
sequences, those of the prefixes too. The loop's roll-outs do the same work each: `--loop` of the 16 are timed, and
multiplied.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from gan_lightning.networks import LSTMGenerator

BATCH, ROLLOUTS, LENGTH = 64, 16, 20


@torch.no_grad()
def by_prefixes(network: LSTMGenerator, token: Tensor, uniform: Tensor) -> Tensor:
    """(n, roll-outs, T - 1, T): the completions of :meth:`LSTMGenerator.roll_out`, one prefix at a time."""
    completed = token[:, None, None].repeat(1, *uniform.shape[1:3], 1)
    for rollout in range(uniform.shape[1]):
        for prefix in range(1, LENGTH):
            made = completed[:, rollout, prefix - 1]
            last, state = torch.zeros_like(token[:, :1]), None
            for t in range(LENGTH):
                h, state = network.lstm(network.embedding(last), state)
                if t >= prefix:
                    total = network.output(h[:, 0]).softmax(1).cumsum(1)
                    at = uniform[:, rollout, prefix - 1, t, None] * total[:, -1:]
                    made[:, t, None] = torch.searchsorted(total, at, right=True)
                last = made[:, t, None].clone()
    return completed


def seconds(work: Callable[[], Tensor]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def agreement(network: LSTMGenerator, token: Tensor, uniform: Tensor) -> bool:
    """Whether both ways complete alike: in double precision, in which no rounding changes a choice."""
    network.double()
    some = uniform[:, :1].double()
    same = torch.equal(network.roll_out(token, some), by_prefixes(network, token, some))
    network.float()
    return same


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabularies", default="5000,100", help="default %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default %(default)s")
    parser.add_argument(
        "--loop", type=int, default=2, help="roll-outs of the loop that are timed (default %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=1, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    options = parser.parse_args()
    if not 1 <= options.loop <= ROLLOUTS:
        parser.error(f"--loop: from 1 to {ROLLOUTS} roll-outs")
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    tokens = BATCH * ROLLOUTS * (LENGTH - 1) * LENGTH
    print(f"{options.threads} thread(s); of the loop {options.loop} of {ROLLOUTS} roll-outs are timed\n")
    print("| vocabulary | loop, tokens/s | roll_out, tokens/s | ratio |\n|---|---|---|---|")
    for vocabulary in map(int, options.vocabularies.split(",")):
        network = LSTMGenerator(vocabulary, LENGTH, std=1.0)
        token = network.sample(torch.rand(BATCH, LENGTH))
        uniform = torch.rand(BATCH, ROLLOUTS, LENGTH - 1, LENGTH)
        if not agreement(network, token, uniform):
            print(f"vocabulary {vocabulary}: the two ways do not complete alike", file=sys.stderr)
            return 1
        slow, fast = [], []
        for _ in range(options.rounds):
            some = seconds(lambda: by_prefixes(network, token, uniform[:, : options.loop]))  # noqa: B023
            slow.append(some * ROLLOUTS / options.loop)
            fast.append(seconds(lambda: network.roll_out(token, uniform)))  # noqa: B023
        ratio = statistics.median(a / b for a, b in zip(slow, fast, strict=True))
        speeds = (f"{tokens / statistics.median(times):,.0f}" for times in (slow, fast))
        print(f"| {vocabulary:,} | {' | '.join(speeds)} | {ratio:.1f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
