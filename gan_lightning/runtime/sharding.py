"""Sharded players (FSDP2): each process keeps a part of every network, of its gradients, moments and averages.

torch's `fully_shard` cuts the parameters, gathers them and scatters the gradients. A turn needs whole networks: a
penalty goes backward twice, a loss may read weights or call a part of a network. So the players are gathered when a
turn begins and sharded again when it ends, before the optimizer moves the shards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric.plugins.collectives.torch_collective import default_pg_timeout
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy, Strategy, StrategyRegistry
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from gan_lightning.runtime import processes

LISTS = (nn.ModuleList, nn.ModuleDict)  # of networks or layers, without a forward of their own
BLOCK = 1_000_000  # parameters from which an item of a list of layers is gathered and reduced by itself


class FSDP2Strategy(ModelParallelStrategy):
    """`--trainer.strategy fsdp2`: parameters, gradients, moments and averages are sharded over all processes.

    A checkpoint is one file, the same as one process writes: it is gathered tensor by tensor, and any number of
    processes goes on from it, sharded or not.

    Args:
        process_group_backend: of torch.distributed; None for NCCL on GPUs and gloo on a CPU.
        timeout: of a collective.
    """

    def __init__(
        self, process_group_backend: str | None = None, timeout: timedelta | None = default_pg_timeout
    ) -> None:
        super().__init__(process_group_backend=process_group_backend, timeout=timeout)

    def teardown(self) -> None:
        if self._layer_sync is not None and self.lightning_module is not None:  # as DDP does
            self._layer_sync.revert(self.lightning_module)
        super().teardown()

    def setup_environment(self) -> None:
        self._data_parallel_size, self._tensor_parallel_size = self.num_nodes * self.num_processes, 1
        super().setup_environment()

    # Checkpoints: whole tensors in the file, shards in memory.

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        """No: `on_fit_start` finds a run that goes on where it stands, as under every other strategy."""
        return False

    def lightning_module_state_dict(self) -> dict[str, Any]:
        return gathered(super(ModelParallelStrategy, self).lightning_module_state_dict(), self.is_global_zero)

    def optimizer_state(self, optimizer: Any) -> dict[str, Any]:
        return gathered(super(ModelParallelStrategy, self).optimizer_state(optimizer), self.is_global_zero)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        super(ModelParallelStrategy, self).save_checkpoint(checkpoint, filepath, storage_options)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        return super(ModelParallelStrategy, self).load_checkpoint(checkpoint_path, weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        assert self.lightning_module is not None
        own = self.lightning_module.state_dict()
        state = {name: part(value, own.get(name)) for name, value in checkpoint["state_dict"].items()}
        self.lightning_module.load_state_dict(state, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            numbers, parameters = (
                [one for group in groups for one in group["params"]]
                for groups in (saved["param_groups"], optimizer.param_groups)
            )
            of = dict(zip(numbers, parameters, strict=False))  # torch refuses another number of them
            state = {
                number: {name: part(value, of.get(number)) for name, value in values.items()}
                for number, values in saved["state"].items()
            }
            optimizer.load_state_dict({**saved, "state": state})


for _name in ("fsdp2", "modelparallelstrategy", "lightning.pytorch.strategies.modelparallelstrategy"):  # in lower case
    StrategyRegistry.register(_name, FSDP2Strategy, "Shards each player's networks over all processes (FSDP2)")


def adopt(strategy: Strategy) -> None:
    """Let Lightning's own ModelParallelStrategy be an :class:`FSDP2Strategy`.

    Raises:
        ValueError: it cuts layers (tensor parallelism), or is the strategy of FSDP1.
    """
    if isinstance(strategy, FSDPStrategy):
        raise ValueError(f"{type(strategy).__name__} (FSDP1) cannot toggle players: use --trainer.strategy fsdp2")
    if type(strategy) is ModelParallelStrategy:
        if strategy._tensor_parallel_size not in ("auto", 1):
            raise ValueError("tensor_parallel_size: networks here are sharded whole (FSDP2), leave it out")
        strategy.__class__ = FSDP2Strategy


class Sharded:
    """What a LightningModule of players does under :class:`FSDP2Strategy`.

    Attributes:
        shardable: whether it can be; not a model that uses its networks between turns, or changes weights in place by
            more than its optimizers' steps.
    """

    shardable = True

    def configure_model(self) -> None:
        """Shard each player's networks and their averages; under other strategies nothing.

        Raises:
            ValueError: what is asked for does not work with shards.
        """
        module: Any = self
        strategy = getattr(module._trainer, "strategy", None)
        if not isinstance(strategy, FSDP2Strategy):
            return
        refuse(module, module.trainer)
        if not any(isinstance(one, FSDPModule) for one in module.modules()):  # as before a first fit
            processes.take_from_first(module)  # as DDP does: scalars and buffers are not sharded
        mesh = strategy.device_mesh["data_parallel"]
        for player in module.players().values():
            shard(player.network, mesh)
        for average in module.averages.values():
            shard(average.network, mesh)

    def on_fit_end(self) -> None:
        """Leave whole networks behind."""
        Whole([self]).__enter__()  # type: ignore[list-item]


def refuse(module: Any, trainer: Trainer) -> None:
    """Refuse what does not work with shards.

    Raises:
        ValueError: in one line, with what to use.
    """
    name = "--trainer.strategy fsdp2"
    if not module.shardable:
        raise ValueError(f"{name}: {type(module).__name__} cannot be sharded, use ddp")
    if module.step.compile:
        raise ValueError(f"{name}: compiled networks cannot be sharded, leave --model.step.compile out")
    if module.step.channels_last:
        raise ValueError(f"{name}: sharded weights lie in one order alone, leave --model.step.channels_last out")
    if getattr(trainer.precision_plugin, "scaler", None) is not None:
        raise ValueError(f"{name}: float16's scaler would see each process's shards alone, use bf16-mixed")


def shard(network: nn.Module, mesh: Any) -> None:
    """Cut a network's parameters over a mesh, large items of its lists of layers first, then all the rest.

    A list of networks has no forward of its own: its items are cut one by one. Scalars cannot be cut, and stay whole.
    """
    if isinstance(network, LISTS):
        for item in network.children():
            shard(item, mesh)
        return
    lists = (module for module in network.modules() if isinstance(module, (nn.ModuleList, nn.Sequential)))
    blocks = [block for items in lists for block in items if sum(p.numel() for p in block.parameters()) >= BLOCK]
    for module in (*reversed(blocks), network):  # what stands within a block is cut before it
        if not isinstance(module, (FSDPModule, *LISTS)) and any(p.ndim for p in module.parameters()):
            scalars = {p for p in module.parameters() if not p.ndim}
            state = fully_shard(module, mesh=mesh, ignored_params=scalars)._get_fsdp_state()
            # They gather block by block, but give a parameter that a penalty does not reach a gradient of zeros, by
            # which Adam moves, in the place of none; and they know forward alone.
            state._pre_forward_hook_handle.remove()
            state._post_forward_hook_handle.remove()
            module.register_forward_pre_hook(require_whole)


def require_whole(unit: nn.Module, _: Any) -> None:
    """Refuse to compute with shards.

    Raises:
        ValueError: a model uses its networks outside of turns.
    """
    if any(isinstance(p, DTensor) for p in unit.parameters()):
        name = type(unit).__name__.removeprefix("FSDP")
        what = f"this model uses {name} outside of a player's turn, use ddp"
        raise ValueError(f"--trainer.strategy fsdp2: {what} (after training: load its checkpoint, which is whole)")


class Whole:
    """Within it the sharded networks among some modules are whole; at its end their gradients are reduced.

    To enter and to leave it is for all processes; within it one can use a network without the others.

    Args:
        modules: of which the sharded ones are found, once.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self.units: list[Any] = []  # whatever is cut by itself
        self.roots: list[Any] = []  # those of them that stand in no other
        for module in modules:
            for one in module.modules():
                if isinstance(one, FSDPModule) and one not in self.units:
                    self.roots.append(one)
                    self.units += [unit for unit in one.modules() if isinstance(unit, FSDPModule)]
        self.scalars = [p for root in self.roots for p in root.parameters() if not p.ndim]

    def __enter__(self) -> None:
        for root in self.roots:
            root._get_fsdp_state()._lazy_init()
        for unit in self.units:
            unit.unshard()

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None:
            self._reduce()
        for unit in self.units:
            unit.reshard()

    def _reduce(self) -> None:
        """Give each process its shards of the mean gradients, as FSDP2 does at the end of a backward pass."""
        for root in self.roots:
            root._get_fsdp_state()._root_post_backward_final_callback()
        if gradients := [p.grad for p in self.scalars if p.grad is not None]:
            mean = torch.stack(gradients)
            dist.all_reduce(mean)
            torch._foreach_copy_(gradients, list(mean / dist.get_world_size()))


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that this process has; itself, unless it is sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def full(tensor: Tensor) -> Tensor:
    """A whole tensor; every process must call where it is sharded."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(value: Any, keep: bool) -> Any:
    """A state with whole tensors in the place of sharded ones, on the CPU, one gathered after another.

    Args:
        value: dicts, lists and tensors; every process must call with the same ones.
        keep: whether this process keeps them; None stands in their place where not.
    """
    if isinstance(value, DTensor):
        tensor = value.full_tensor()
        return tensor.cpu() if keep else None
    if isinstance(value, dict):
        return type(value)((name, gathered(item, keep)) for name, item in value.items())
    return [gathered(item, keep) for item in value] if isinstance(value, list) else value


def part(value: Any, like: Any) -> Any:
    """A whole tensor cut as another one of its shape is; anything else as it is."""
    if isinstance(like, DTensor) and isinstance(value, Tensor) and value.shape == like.shape:
        return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)
    return value
