"""Blocks in PyTorch alone, on any device and in any dtype: no loop over the steps of a row, so long rows cost little.

y_t = x_t + a_t y_{t+1} is cut into blocks of BLOCK steps. All blocks of all rows are walked from the back at once, as
if nothing came in from behind, with the product of the a's on the way; what does come in is the same recurrence over
the blocks' first steps, BLOCK times shorter; it is then added, weighted with those products.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from rlcore import returns

BLOCK = 32  # steps: operations per level; rows of up to 2 · BLOCK steps are walked without blocks


def scan(rewards: Tensor, discounts: Tensor, values: Tensor, lam: float) -> tuple[Tensor, bool]:
    """Advantages, and whether all of them are finite and all discounts in [0, 1]; see `kernels.returns`.

    Args:
        rewards, discounts: [B, T].
        values: [B, T+1], of the same dtype.
    """
    deltas = torch.addcmul(rewards, discounts, values[:, 1:]).sub_(values[:, :-1])
    y = _blocks(deltas, lam * discounts)
    if not torch.isfinite(y.sum()):  # a NaN may have crossed an end, 0 · NaN: the plain form keeps it there
        deltas = rewards + returns.discounted(discounts, values[:, 1:]) - values[:, :-1]
        return returns.recurrence(deltas, lam * discounts, torch.zeros_like(deltas[:, 0])), False
    low, high = discounts.aminmax()
    return y, bool((low >= 0) & (high <= 1))


def _blocks(x: Tensor, keep: Tensor) -> Tensor:
    """The recurrence itself, from 0, on finite numbers."""
    rows, steps = x.shape
    if steps <= 2 * BLOCK:
        y = _columns(x, steps)
        _walk(y, _columns(keep, steps))
        return y.t()
    y, product = _columns(x, BLOCK), _columns(keep, BLOCK)  # [BLOCK, B · blocks]
    _walk(y, product)
    heads, factors = y[0].view(rows, -1), product[0].view(rows, -1)  # [B, blocks]
    ahead = pad(_blocks(heads, factors)[:, 1:], (0, 1))  # comes in from behind
    y.addcmul_(product, ahead.reshape(1, -1))
    return y.t().reshape(rows, -1)[:, -steps:]


def _columns(x: Tensor, block: int) -> Tensor:
    """[B, T] → [block, B · blocks], a copy with a step's numbers side by side; what fills it up is not read."""
    missing = -x.shape[1] % block
    padded = pad(x, (missing, 0)) if missing else x
    return padded.reshape(-1, block).t().clone(memory_format=torch.contiguous_format)


def _walk(y: Tensor, product: Tensor) -> None:
    """From the back, in place: y becomes the recurrence inside each column, product the product of what was kept."""
    rows, products = y.unbind(), product.unbind()  # indexing in the loop would cost as much as the sums
    for t in range(len(rows) - 2, -1, -1):
        rows[t].addcmul_(products[t], rows[t + 1])
        products[t].mul_(products[t + 1])
