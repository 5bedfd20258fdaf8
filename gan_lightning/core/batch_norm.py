"""Batch norm whose statistics are of the whole batch, not of the rows that one process has."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.plugins.layer_sync import LayerSync
from torch import Tensor, nn

from gan_lightning import batches
from gan_lightning.runtime.processes import Summed, place


class _WholeBatch(nn.modules.batchnorm._BatchNorm):
    """Within a turn the mean and variance of a layer are those of the rows of all processes.

    Unlike torch's `SyncBatchNorm` it computes on a CPU too, and can be differentiated twice, for penalties on
    gradients. With micro-batches the statistics are of one micro-batch, over all processes. Outside of a turn, where
    one process may compute alone, it is common batch norm.
    """

    def forward(self, x: Tensor) -> Tensor:
        rank, world = place()
        if not self.training or world == 1 or not batches.within_turn():
            return super().forward(x)
        self._check_input_dim(x)
        kind, x = x.dtype, x.to(torch.promote_types(x.dtype, torch.float32))
        own = torch.stack(torch.var_mean(x, [0, *range(2, x.ndim)], correction=0))
        every = own.new_zeros(world, *own.shape)
        every[rank] = own  # a sum over processes is then a collection, through which gradients flow twice
        variances, means = Summed.apply(every).unbind(1)
        mean, variance = means.mean(0), variances.mean(0) + means.var(0, correction=0)
        if self.running_mean is not None:
            self._follow(mean.detach(), variance.detach(), world * x.numel() // x.shape[1])
        scale = (variance + self.eps).rsqrt()
        if self.affine:
            scale = scale * self.weight
        shape = -1, *(1 for _ in x.shape[2:])
        normed = (x - mean.view(shape)) * scale.view(shape)
        return (normed + self.bias.view(shape) if self.affine else normed).to(kind)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics, the variance without bias, as common batch norm does."""
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var), share)


class BatchNorm1d(_WholeBatch, nn.BatchNorm1d):
    """See :class:`_WholeBatch`."""


class BatchNorm2d(_WholeBatch, nn.BatchNorm2d):
    """See :class:`_WholeBatch`."""


class BatchNorm3d(_WholeBatch, nn.BatchNorm3d):
    """See :class:`_WholeBatch`."""


class WholeBatchNorm(LayerSync):
    """What `--trainer.sync_batchnorm true` does: the layers stay the same objects, and change their class."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Let all batch norms of a module take their statistics over all processes."""
        return _changed(model, {common: whole for whole, common in COMMON.items()})

    def revert(self, model: nn.Module) -> nn.Module:
        """Let them be common ones again."""
        return _changed(model, COMMON)


COMMON: dict[type, type] = {BatchNorm1d: nn.BatchNorm1d, BatchNorm2d: nn.BatchNorm2d, BatchNorm3d: nn.BatchNorm3d}


def _changed(model: nn.Module, kinds: dict[type, type]) -> nn.Module:
    for layer in model.modules():
        if kind := kinds.get(type(layer)):
            layer.__class__ = kind
    return model


def synchronise(model: nn.Module, strategy: Any, by_default: bool) -> None:
    """Give a model batch norm over all processes where the trainer, or else the model, asks for it, and there are any.

    Args:
        strategy: the trainer's; what it has for `sync_batchnorm` is replaced, since torch's wants a GPU.
        by_default: whether the model asks for it.
    """
    if not by_default and getattr(strategy, "_layer_sync", None) is None:
        return
    strategy._layer_sync = WholeBatchNorm() if place()[1] > 1 else None
    if strategy._layer_sync is not None:
        strategy._layer_sync.apply(model)  # now: a strategy may change the layers before it looks for batch norms
