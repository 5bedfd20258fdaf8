"""How several devices exchange gradients: those of the player that moves, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.overrides.distributed import (
    _register_ddp_comm_hook,
    _sync_module_states,
    prepare_for_backward,
)
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


class PlayersStrategy(DDPStrategy):
    """DDP with an engine for each player, so that a turn exchanges the gradients of one player alone.

    Lightning's own DDP has one engine for the whole module: each backward pass exchanges the gradients of all players,
    those that do not move as zeros. Here a player's network is given a `DistributedDataParallel` that never computes
    anything: it hears of gradients by its hooks, and exchanges them in the backward passes that it is armed for. Its
    arguments are those of Lightning's strategy; `find_unused_parameters` is on unless it is given, since growing
    networks and lazy regularisers touch a part of a player's parameters.
    """

    moving: str | None = None  # the player whose backward pass comes next

    def configure_ddp(self) -> None:
        """Give all processes the weights and buffers of the first, those that no player owns too, as DDP does."""
        assert self.model is not None
        _sync_module_states(self.model)

    def setup_optimizers(self, trainer: Trainer) -> None:
        """Make the optimizers, and an engine for each network that a player moves; two players may share one."""
        super().setup_optimizers(trainer)
        module: Any = self.lightning_module
        engines: dict[nn.Module, DistributedDataParallel] = {}
        for network in (player.network for player in module._players.values()):
            if network not in engines:
                engines[network] = self._setup_model(self._exchanged(network))
                hook = self._ddp_comm_state, self._ddp_comm_hook, self._ddp_comm_wrapper
                _register_ddp_comm_hook(engines[network], *hook)
        self.engines = {name: engines[player.network] for name, player in module._players.items()}

    def _exchanged(self, network: nn.Module) -> nn.Module:
        """A network, and one number that nothing uses: torch prints a warning where a first turn uses all there is."""
        if not self._ddp_kwargs.get("find_unused_parameters"):
            return network
        unused = next(p for p in network.parameters() if p.requires_grad).new_zeros(1)
        return nn.ModuleList([network, nn.ParameterList([unused])])

    def pre_backward(self, closure_loss: Tensor) -> None:
        """Arm the engine of the player that moves; those of the others ignore what they hear."""
        assert self.moving is not None, "a backward pass outside of a turn"
        prepare_for_backward(self.engines[self.moving], closure_loss)

    @contextmanager
    def block_backward_sync(self) -> Iterator[None]:  # type: ignore[override]
        """Within it the player that moves adds up its gradients, and exchanges none."""
        assert self.moving is not None, "a backward pass outside of a turn"
        with self.engines[self.moving].no_sync():
            yield

    def teardown(self) -> None:
        self.engines = {}
        super().teardown()


def take_turns(strategy: Strategy) -> None:
    """Make a strategy ready for players that take turns.

    DDP without an option of the user's, which is what Lightning chooses for several devices, becomes
    :class:`PlayersStrategy`. Any other DDP has to live with backward passes that leave the other players' parameters
    without a gradient; any other strategy stays as it is.

    Raises:
        ValueError: the user asked DDP for the opposite; it would fail at the second turn, or never synchronise.
    """
    if not isinstance(strategy, DDPStrategy):
        return
    options = strategy._ddp_kwargs
    if type(strategy) is DDPStrategy and not options and strategy._ddp_comm_hook is None:
        # Lightning chooses before it knows the model, and its launcher holds on to the object: it stays the same one.
        strategy.__class__ = PlayersStrategy
    unused = options.setdefault("find_unused_parameters", True) or isinstance(strategy, PlayersStrategy)
    if options.get("static_graph") or not unused:
        raise ValueError(
            "players take turns, so each backward leaves some parameters without a gradient: DDP needs "
            "find_unused_parameters=True and static_graph=False (leave --trainer.strategy out)"
        )


def exchanging(strategy: Strategy, player: str, last: bool) -> AbstractContextManager:
    """Within it backward passes are those of one player; its processes exchange gradients in the last micro-batch only.

    Args:
        strategy: the trainer's.
        player: who moves.
        last: whether this is the turn's last micro-batch.
    """
    if isinstance(strategy, PlayersStrategy):
        strategy.moving = player
    block = getattr(strategy, "block_backward_sync", None)
    return nullcontext() if last or block is None else block()
