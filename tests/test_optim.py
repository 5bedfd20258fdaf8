"""Adam against the paper's algorithm, in each form that torch has of it."""

from __future__ import annotations

import copy
from typing import Any
from unittest.mock import patch

import pytest
import torch
from conftest import draw
from torch import Tensor, nn

from gan_lightning.optim import PaperAdam

FORMS = {"default": None, "loop": False, "fused": True}
SHAPES = ((5, 7), (3,), (1,))  # no multiple of the length of a vector register, so that the rest is tested too
SETTINGS = {"lr": 0.02, "beta1": 0.5, "beta2": 0.9, "eps": 0.1, "weight_decay": 0.3}  # the place of epsilon is felt


def parameters(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    return [nn.Parameter(draw(*shape, seed=i).to(dtype)) for i, shape in enumerate(SHAPES)]


def move(optimizer: torch.optim.Optimizer, moved: list[nn.Parameter], first: int, last: int) -> None:
    """Steps first .. last - 1 on gradients that depend on the number of the step alone."""
    for step in range(first, last):
        for i, p in enumerate(moved):
            p.grad = draw(*p.shape, seed=100 * step + i).to(p.dtype)
        optimizer.step()


def papers_algorithm(steps: int, settings: dict[str, float], dtype: torch.dtype) -> list[Tensor]:
    """Algorithm 1 of arXiv:1412.6980 in float64, on the same parameters and gradients, which `dtype` can hold."""
    ended = []
    for i, shape in enumerate(SHAPES):
        theta = draw(*shape, seed=i).to(dtype).double()
        m, v = torch.zeros_like(theta), torch.zeros_like(theta)
        for t in range(1, steps + 1):
            g = draw(*shape, seed=100 * (t - 1) + i).to(dtype).double() + settings["weight_decay"] * theta
            m = settings["beta1"] * m + (1 - settings["beta1"]) * g
            v = settings["beta2"] * v + (1 - settings["beta2"]) * g**2
            m_hat, v_hat = m / (1 - settings["beta1"] ** t), v / (1 - settings["beta2"] ** t)
            theta = theta - settings["lr"] * m_hat / (v_hat.sqrt() + settings["eps"])
        ended.append(theta)
    return ended


@pytest.mark.parametrize(
    ("dtype", "error", "form"),
    [
        *((torch.float64, 1e-13, form) for form in FORMS),
        *((torch.float32, 2e-6, form) for form in FORMS),
        (torch.float16, 2e-2, "fused"),  # the loop rounds each of its operations to float16, and loses epsilon
    ],
)
@pytest.mark.parametrize("changed", [{}, {"beta1": 0.0, "eps": 1e-8, "weight_decay": 0.0}])
def test_every_form_is_the_papers_algorithm_to_rounding(dtype: torch.dtype, error: float, form: str, changed: Any):
    settings = SETTINGS | changed
    moved = parameters(dtype)
    move(PaperAdam(moved, fused=FORMS[form], **settings), moved, 0, 20)
    for p, expected in zip(moved, papers_algorithm(20, settings, dtype), strict=True):
        torch.testing.assert_close(p.detach().double(), expected, rtol=error, atol=error)


@pytest.mark.parametrize(("form", "kernels"), [("default", 1), ("loop", 0), ("fused", 1)])
def test_the_default_form_is_the_fused_one(form: str, kernels: int) -> None:
    moved = parameters()
    optimizer = PaperAdam(moved, fused=FORMS[form])
    with patch.object(torch, "_fused_adam_", wraps=torch._fused_adam_) as kernel:
        move(optimizer, moved, 0, 1)
    assert kernel.call_count == kernels


@pytest.mark.parametrize(
    "other", [torch.zeros(2, device="meta"), torch.zeros(2, dtype=torch.complex64)], ids=["device", "complex"]
)
def test_torch_chooses_where_there_is_no_fused_form(other: Tensor) -> None:
    groups = [{"params": parameters()}, {"params": [*parameters(), nn.Parameter(other)]}]
    optimizer = PaperAdam(groups)
    optimizer.add_param_group({"params": parameters()})
    optimizer.add_param_group({"params": parameters(), "fused": False})
    assert [group["fused"] for group in optimizer.param_groups] == [True, None, True, False]


def test_no_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="empty parameter list"):
        PaperAdam([])


@pytest.mark.parametrize("before", FORMS)
@pytest.mark.parametrize("after", FORMS)
def test_a_state_goes_on_in_either_form(before: str, after: str) -> None:
    unbroken, moved = parameters(), parameters()
    move(PaperAdam(unbroken, fused=FORMS[after], **SETTINGS), unbroken, 0, 6)
    first = PaperAdam(moved, fused=FORMS[before], **SETTINGS)
    move(first, moved, 0, 3)
    state = copy.deepcopy(first.state_dict())
    resumed = PaperAdam(moved, fused=FORMS[after], **SETTINGS | {"lr": 1.0})  # the rate is the state's
    own = resumed.param_groups[0]["fused"]
    resumed.load_state_dict(state)
    assert resumed.param_groups[0]["fused"] is own
    move(resumed, moved, 3, 6)
    exact = {} if before != after and "loop" in (before, after) else {"rtol": 0.0, "atol": 0.0}
    torch.testing.assert_close(moved, unbroken, **exact)
    assert state["param_groups"][0]["fused"] is (before != "loop")  # what was loaded is left alone


def test_a_state_of_other_groups_is_refused() -> None:
    one, two = PaperAdam(parameters()), PaperAdam([{"params": parameters()}, {"params": parameters()}])
    for optimizer, other in ((one, two), (two, one)):
        with pytest.raises(ValueError, match="different number of parameter groups"):
            optimizer.load_state_dict(other.state_dict())
