"""What several processes need of a model whose players take turns."""

from __future__ import annotations

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch import nn


def allow_turns(strategy: Strategy) -> None:
    """Let DDP live with backward passes that leave the other players' parameters without a gradient.

    Raises:
        ValueError: the user asked DDP for the opposite; it would fail at the second turn, or never synchronise.
    """
    if not isinstance(strategy, DDPStrategy):
        return
    options = strategy._ddp_kwargs
    if options.get("static_graph") or not options.setdefault("find_unused_parameters", True):
        raise ValueError(
            "players take turns, so each backward leaves some parameters without a gradient: DDP needs "
            "find_unused_parameters=True and static_graph=False (leave --trainer.strategy out)"
        )


@torch.no_grad()
def average_batch_statistics(module: nn.Module) -> None:
    """Give all processes the mean of their batch norm statistics; under manual optimisation DDP never does."""
    if not (dist.is_available() and dist.is_initialized()):
        return
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is not None:
            for statistic in (layer.running_mean, layer.running_var):
                dist.all_reduce(statistic)
                statistic /= dist.get_world_size()
