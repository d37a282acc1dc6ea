"""The textbook loop, compiled for the CPU by numba when first called (under a second; then kept on disk)."""

import numpy as np
import torch
from numba import njit
from torch import Tensor


def scan(rewards: Tensor, discounts: Tensor, values: Tensor, lam: float) -> tuple[Tensor, bool]:
    """Advantages, and whether all of them are finite and all discounts in [0, 1]; see `kernels.returns`.

    Args:
        rewards, discounts: [B, T] in float32 or float64 on the CPU.
        values: [B, T+1], of the same dtype.
    """
    given = [x.detach().contiguous().numpy() for x in (rewards, discounts, values)]  # one layout, compiled once
    y = torch.empty_like(rewards, memory_format=torch.contiguous_format)
    return y, bool(_walk(*given, lam, y.detach().numpy()))


@njit(cache=True, fastmath={"contract"})  # a·b + c in one operation; NaN stays NaN
def _walk(rewards, discounts, values, lam, y):
    """In float64 whatever the arrays hold. Nothing is multiplied by a discount of 0: 0 · NaN would be NaN."""
    sound, total = True, 0.0
    for row in range(len(rewards)):
        reward, discount, value, advantage = rewards[row], discounts[row], values[row], y[row]
        ahead = 0.0
        for t in range(len(reward) - 1, -1, -1):
            keep = np.float64(discount[t])
            now = np.float64(reward[t]) - value[t]
            if keep != 0:
                now += keep * value[t + 1]
                now += keep * lam * ahead
            advantage[t] = ahead = now
            total += now
            sound &= 0 <= keep <= 1
    return sound and np.isfinite(total)
