"""rlcore.returns without a loop over steps in Python: numba on a CPU, Triton on a GPU, blocks in PyTorch elsewhere.

All of it is one walk from the last step to the first, which three modules here can do: `scan(rewards, discounts,
values, lam)` gives the advantages, and whether they and the discounts are sound; see `engine`. A return is an
advantage over values of 0. The gradient of a linear recurrence is the same recurrence run the other way, so the walk
is its own derivative, and that of its derivative. Left out: k steps and TD errors, which have no loop over steps.
"""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor
from torch.nn.functional import pad

from rlcore import returns
from rlcore.shapes import need, within


def can_run(like: Tensor) -> bool:
    """Any device and any floating dtype will do."""
    return like.is_floating_point()


def engine(like: Tensor) -> ModuleType:
    """Who walks tensors like this one: `numba_scan`, `triton_scan`, or `blocked`, which needs nothing but PyTorch.

    >>> engine(torch.zeros(2, 3)).__name__, engine(torch.zeros(2, 3, dtype=torch.bfloat16)).__name__
    ('rlcore.kernels.numba_scan', 'rlcore.kernels.blocked')
    """
    return _engine(like.device.type, like.dtype)


@cache
def _engine(device: str, dtype: torch.dtype) -> ModuleType:
    """Imported when first needed: importing numba takes half a second."""
    name = "blocked"
    if dtype in (torch.float32, torch.float64):
        if device == "cpu" and find_spec("numba"):
            name = "numba_scan"
        if device == "cuda" and find_spec("triton"):
            name = "triton_scan"
    return import_module(f"rlcore.kernels.{name}")


def discounted_returns(rewards: Tensor, discounts: Tensor, bootstrap: Tensor) -> Tensor:
    """Twin of `returns.discounted_returns`; see there."""
    need(rewards=(rewards, "B T"), discounts=(discounts, "B T"), bootstrap=(bootstrap, "B"))
    y, sound = _scan(rewards, discounts, _only_last(bootstrap, rewards.shape[1]), 1.0)
    if not sound:
        returns.check_steps(rewards, discounts, bootstrap=bootstrap[:, None])
    return y


def gae(rewards: Tensor, discounts: Tensor, values: Tensor, lam: float) -> Tensor:
    """Twin of `returns.gae`; see there."""
    within(0, 1, lam=lam)
    need(rewards=(rewards, "B T"), discounts=(discounts, "B T"), values=(values, "B T+1"))
    y, sound = _scan(rewards, discounts, values, lam)
    if not sound:  # which may be something behind an end, and no error
        returns.check_steps(rewards, discounts, values=values)
    return y


def lambda_returns(rewards: Tensor, discounts: Tensor, values: Tensor, lam: float) -> Tensor:
    """Twin of `returns.lambda_returns`; see there."""
    return gae(rewards, discounts, values, lam) + values[:, :-1]


def recurrence(x: Tensor, keep: Tensor, last: Tensor) -> Tensor:
    """Twin of `returns.recurrence`; see there."""
    return _scan(x, keep, _only_last(last, x.shape[1]), 1.0)[0]


def _only_last(last: Tensor, steps: int) -> Tensor:
    """[B] → [B, T+1], zeros before it."""
    return pad(last[:, None], (steps, 0))


def _scan(rewards: Tensor, discounts: Tensor, values: Tensor, lam: float) -> tuple[Tensor, bool]:
    if not rewards.numel():
        return rewards, False
    dtype = torch.promote_types(torch.promote_types(rewards.dtype, discounts.dtype), values.dtype)
    return _Scan.apply(rewards.to(dtype), discounts.to(dtype), values.to(dtype), float(lam))


class _Scan(torch.autograd.Function):
    """h_t = g_t + γ_{t−1} λ h_{t−1} is the gradient of r_t; what it meets on its way back is that of V_t and γ_t."""

    @staticmethod
    def forward(ctx, rewards: Tensor, discounts: Tensor, values: Tensor, lam: float) -> tuple[Tensor, bool]:
        y, sound = engine(rewards).scan(rewards, discounts, values, lam)
        ctx.save_for_backward(discounts, values, y)
        ctx.lam = lam
        return y, sound

    @staticmethod
    def backward(ctx, grad: Tensor, _) -> tuple[Tensor | None, ...]:
        discounts, values, y = ctx.saved_tensors
        back = pad(discounts[:, :-1].flip(1), (0, 1))  # nothing comes in before the first step
        h = _scan(grad.flip(1), back, torch.zeros_like(values), ctx.lam)[0].flip(1)
        grad_discounts = grad_values = None
        if ctx.needs_input_grad[1]:
            ahead = values[:, 1:] + ctx.lam * pad(y[:, 1:], (0, 1))
            grad_discounts = torch.where(discounts == 0, 0, h * ahead)  # an end gets no gradient through what it hides
        if ctx.needs_input_grad[2]:
            grad_values = pad(returns.discounted(discounts, h), (1, 0)) - pad(h, (0, 1))
        return h, grad_discounts, grad_values, None
