"""Devices and processes: what several processes need of a model whose players take turns."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import Strategy
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn
from torch.distributed.distributed_c10d import _get_default_store

from gan_lightning.runtime import signals
from gan_lightning.runtime.errors import PeerError

BAD_INPUT = (ValueError, OSError)  # errors of what a user can put right
TIMEOUT = "GAN_LIGHTNING_TIMEOUT"  # minutes that a process waits for another one; Lightning's default is 30
FIRST = "gan_lightning/first"  # in the store: the first process has done what the others wait for


def device_named(name: str) -> torch.device:
    """The device of `--device`: "cpu", "cuda", or "auto", a GPU where there is one; each process has its own GPU.

    Raises:
        ValueError: a GPU is asked for, and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch finds no GPU here; use --device cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


def longest_wait() -> timedelta | None:
    """How long processes wait for each other, as GAN_LIGHTNING_TIMEOUT says; None where it is not set.

    Raises:
        ValueError: it says no time.
    """
    if not (given := os.environ.get(TIMEOUT)):
        return None
    try:
        limit = timedelta(minutes=float(given))
    except (OverflowError, ValueError):
        limit = timedelta()
    if limit <= timedelta():
        raise ValueError(f"{TIMEOUT} is a number of minutes greater than 0, not {given!r}")
    return limit


def limit_waiting(strategy: Strategy) -> None:
    """Let processes wait for each other as long as :func:`longest_wait` says, whatever the strategy."""
    if (limit := longest_wait()) is not None:
        strategy._timeout = limit


def waited_in_vain(error: RuntimeError) -> str | None:
    """The line for an error of gloo's that another process did not answer in time, or could not be reached."""
    if not (found := re.search(r"(?:timed out (?:waiting|connecting)|application timeout)[^;\n]*", str(error), re.I)):
        return None
    return (
        f"process {place()[0]} has waited in vain for another one ({found[0].strip()}): it hangs or is gone, look at "
        f"its output; {TIMEOUT} sets how many minutes processes wait for each other"
    )


def of_connection(error: Exception) -> bool:
    """Whether an error is one of the operations that processes do in common."""
    return isinstance(error, dist.DistError) or re.search(r"gloo|NCCL|by peer", str(error), re.I) is not None


def meeting_place(device: torch.device) -> torch.device:
    """Where processes can exchange what is on a device: NCCL knows GPUs alone, and not all is kept on them.

    A model is on the CPU before Lightning moves it, and again when a fit is over.
    """
    elsewhere = dist.get_backend() == "nccl" and device.type != "cuda"
    return torch.device("cuda", torch.cuda.current_device()) if elsewhere else device


@torch.no_grad()
def average_batch_statistics(module: nn.Module) -> None:
    """Give all processes the mean of their batch norm statistics; under manual optimisation DDP never does."""
    if not grouped():
        return
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is not None:
            for statistic in (layer.running_mean, layer.running_var):
                # In float64 the mean of equal numbers of float32 is that number, also of three processes.
                shared = statistic.to(meeting_place(statistic.device), torch.float64, copy=True)
                dist.all_reduce(shared)
                statistic.copy_(shared / dist.get_world_size())


@torch.no_grad()
def take_from_first(module: nn.Module) -> None:
    """Give all processes the parameters and buffers of the first."""
    for tensor in (*module.parameters(), *module.buffers()):
        shared = tensor.to(meeting_place(tensor.device), copy=True)
        dist.broadcast(shared, 0)
        tensor.copy_(shared)


def know_rank() -> None:
    """Let the first process of all nodes alone count as the first one, before there is a Trainer.

    Where no launcher gives ranks, and NODE_RANK tells the nodes apart, Lightning takes the first process of every node
    for it until then.
    """
    if "RANK" not in os.environ and rank_zero_only.rank == 0:
        rank_zero_only.rank = int(os.environ.get("NODE_RANK") or 0)


def grouped() -> bool:
    """Whether this process is one of a group of torch's, which may be a group of one."""
    return dist.is_available() and dist.is_initialized()


def place() -> tuple[int, int]:
    """This process's rank, and how many there are."""
    if grouped():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def wait_for_first(seconds: float) -> None:
    """Go on when the first process has called this too, or after so many seconds; the first one does not wait."""
    rank, world = place()
    if world == 1:
        return
    with suppress(RuntimeError, ValueError):  # the limit, or the first process has gone on and ended
        store = _get_default_store()
        if rank == 0:
            store.set(FIRST, "")
        else:
            store.wait([FIRST], timedelta(seconds=seconds))


class Summed(torch.autograd.Function):
    """The sum of a tensor over all processes, which every process must call; differentiable any number of times.

    Each process's gradient of a sum over processes is such a sum again. torch's own is deprecated (2.14).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return Summed.apply(gradient)


def from_first(value: Any) -> Any:
    """What the first process has; every process must call. Plain values and tensors on the CPU."""
    if place()[1] == 1:
        return value
    shared = [value]
    dist.broadcast_object_list(shared)
    return shared[0]


def greatest(values: Sequence[float], device: torch.device) -> list[float]:
    """The greatest of each value over all processes, by one all-reduce; every process must call, with equally many."""
    if place()[1] == 1:
        return list(values)
    shared = torch.tensor(values, dtype=torch.float64, device=meeting_place(device))
    dist.all_reduce(shared, dist.ReduceOp.MAX)
    return shared.tolist()


def means(figures: Mapping[str, Tensor | float]) -> dict[str, float]:
    """Figures as numbers, tensors as their means over all processes, by one all-reduce; every process must call.

    Args:
        figures: tensors () on one device, the same names on all processes; a float is what this process has.
    """
    tensors = {name: value.float() for name, value in figures.items() if isinstance(value, Tensor)}
    if not tensors:
        return dict(figures)
    found = torch.stack(list(tensors.values()))
    if (world := place()[1]) > 1:
        dist.all_reduce(found)
        found /= world
    return {**figures, **dict(zip(tensors, found.tolist(), strict=True))}


@contextmanager
def together() -> Iterator[None]:
    """End the work of all processes if it fails on one, with its message, where the others would wait for it forever.

    Every process must enter and leave, as often as the others; within there must be nothing that they do in common.
    So its end is also a place where a signal that one of them has received ends the run of all.

    Raises:
        PeerError: on the processes that did not fail themselves, saying which did, and why.
        signals.Stopped: on all, within a run that a signal ends.
    """
    error: Exception | None = None
    try:
        yield
    except Exception as caught:  # whatever it is, the others must hear of it before it goes on
        error = caught
    rank, world = place()
    failed = error and (f"process {rank} failed: {error or type(error).__name__}", isinstance(error, BAD_INPUT))
    heard: list[tuple[tuple[str, bool] | None, int]] = [(failed, signals.received())]
    try:
        if world > 1:
            mine, heard = heard[0], [(None, 0)] * world
            dist.all_gather_object(heard, mine)
    finally:
        if error is not None:  # also where the others could not be told, because they are gone
            raise error
    if messages := [message for message, _ in heard if message]:
        raise PeerError(*messages[0])
    if number := max(number for _, number in heard):
        raise signals.Stopped(number)
