"""Generalised advantages of rows with episode ends, in float32, to 1e-5 of float64.

The peer is the loop over steps as CleanRL writes it, in its own layout, time first: rewards[t] lies together in memory.
It is not made for gradients, so with them the blocked form meets rlcore's plain loop. Checks of input are timed.
"""

import numpy as np
import torch
from torch import Tensor

from benchmarks.measure import Entry, compare
from rlcore import kernels, returns

SHAPES = [(64, 512), (256, 4096), (8, 32768)]  # [B, T]
GAMMA, LAM, ENDS = 0.99, 0.95, 0.01  # one step in a hundred ends an episode
TOL = 1e-5  # advantages reach about 15
TOL_GRADIENTS = 3e-4  # gradients reach about 150


def run() -> None:
    """Print two tables per shape, and the ratios together at the end."""
    ratios = {}
    for rows, steps in SHAPES:
        done, steps_given = _rows(rows, steps)
        for name, compared in (("forward", _forward(done, *steps_given)), ("with gradients", _both(*steps_given))):
            title = f"[{rows}, {steps}], {name}"
            ratios[title] = compare(title, *compared)
    print("peer / ours")
    for name, ratio in ratios.items():
        print(f"  {name:<58}{ratio:>8.2f}")
    print(flush=True)


def _rows(rows: int, steps: int) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    done = torch.rand(rows, steps, generator=generator) < ENDS
    rewards, values = (torch.randn(rows, n, generator=generator) for n in (steps, steps + 1))
    return done, (rewards, GAMMA * (~done).float(), values)


def _forward(done: Tensor, *given: Tensor) -> tuple[np.ndarray, float, list[Entry]]:
    rewards, _, values = given
    time_first = [x.float().t().contiguous() for x in (rewards, values, done)]
    fast = kernels.best(returns.gae, like=rewards)
    entries = [
        Entry("rlcore in blocks", lambda: fast(*given, LAM).numpy(), ours=True),
        Entry("rlcore plain loop", lambda: returns.gae(*given, LAM).numpy(), ours=True),
        Entry("CleanRL's loop", lambda: _cleanrl(*time_first).t().numpy()),
    ]
    return returns.gae(*(x.double() for x in given), LAM).numpy(), TOL, entries


def _both(*given: Tensor) -> tuple[np.ndarray, float, list[Entry]]:
    fast = kernels.best(returns.gae, like=given[0])
    entries = [
        Entry("rlcore in blocks", lambda: _gradients(fast, *given), ours=True),
        Entry("rlcore plain loop", lambda: _gradients(returns.gae, *given)),
    ]
    return _gradients(returns.gae, *(x.double() for x in given)), TOL_GRADIENTS, entries


def _gradients(gae, rewards: Tensor, discounts: Tensor, values: Tensor) -> np.ndarray:
    """Of half the sum of squared advantages, in rewards and values."""
    leaves = [x.detach().requires_grad_() for x in (rewards, values)]
    advantages = gae(leaves[0], discounts, leaves[1], LAM)
    gradients = torch.autograd.grad(advantages, leaves, advantages.detach())
    return torch.cat(gradients, dim=1).numpy()


def _cleanrl(rewards: Tensor, values: Tensor, done: Tensor) -> Tensor:
    advantages, last = torch.zeros_like(rewards), 0.0
    for t in reversed(range(len(rewards))):
        going_on = 1.0 - done[t]
        delta = rewards[t] + GAMMA * values[t + 1] * going_on - values[t]
        advantages[t] = last = delta + GAMMA * LAM * going_on * last
    return advantages
