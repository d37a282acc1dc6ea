"""rlcore.returns in blocks, in PyTorch alone: no loop over the steps of a row, so long rows cost little.

y_t = x_t + a_t y_{t+1} is cut into blocks of BLOCK steps. All blocks of all rows are walked from the back at once, as
if nothing came in from behind, with the product of the a's on the way; what does come in is the same recurrence over
the blocks' first steps, BLOCK times shorter; it is then added, weighted with those products. The gradient of a linear
recurrence is the same recurrence run the other way. Left out: k steps and TD errors, which have no loop over steps.
"""

import torch
from torch import Tensor

from rlcore import returns
from rlcore.shapes import need, within

BLOCK = 32  # steps: operations per level; rows of up to 2 · BLOCK steps are walked without blocks


def can_run(like: Tensor) -> bool:
    """Any device and any floating dtype will do."""
    return like.is_floating_point()


def discounted_returns(rewards: Tensor, discounts: Tensor, bootstrap: Tensor) -> Tensor:
    """Twin of `returns.discounted_returns`; see there."""
    need(rewards=(rewards, "B T"), discounts=(discounts, "B T"), bootstrap=(bootstrap, "B"))
    returns.check_steps(rewards, discounts, bootstrap=bootstrap[:, None])
    y = _fast(rewards, discounts, bootstrap)
    return y if _finite(y) else returns.discounted_returns(rewards, discounts, bootstrap)


def gae(rewards: Tensor, discounts: Tensor, values: Tensor, lam: float) -> Tensor:
    """Twin of `returns.gae`; see there."""
    within(0, 1, lam=lam)
    need(rewards=(rewards, "B T"), discounts=(discounts, "B T"), values=(values, "B T+1"))
    if discounts.requires_grad:  # an end hides the next value from its gradient
        deltas = returns.td_errors(rewards, discounts, values)
    else:
        returns.check_steps(rewards, discounts, values=values)
        deltas = torch.addcmul(rewards, discounts.to(values.dtype), values[:, 1:]).sub_(values[:, :-1])
    y = _fast(deltas, lam * discounts.to(deltas.dtype), torch.zeros_like(deltas[:, 0]))
    return y if _finite(y) else returns.gae(rewards, discounts, values, lam)


def lambda_returns(rewards: Tensor, discounts: Tensor, values: Tensor, lam: float) -> Tensor:
    """Twin of `returns.lambda_returns`; see there."""
    return gae(rewards, discounts, values, lam) + values[:, :-1]


def recurrence(x: Tensor, keep: Tensor, last: Tensor) -> Tensor:
    """Twin of `returns.recurrence`; see there."""
    y = _fast(x, keep, last)
    return y if _finite(y) else returns.recurrence(x, keep, last)


def _fast(x: Tensor, keep: Tensor, last: Tensor) -> Tensor:
    """Right where it comes out finite. Else a NaN may have crossed an end, 0 · NaN: the plain form keeps it there."""
    dtype = torch.promote_types(torch.promote_types(x.dtype, keep.dtype), last.dtype)
    return _Recurrence.apply(x.to(dtype), keep.to(dtype), last.to(dtype))


def _finite(y: Tensor) -> bool:
    return bool(torch.isfinite(y.detach().sum()))


class _Recurrence(torch.autograd.Function):
    """h_t = g_t + keep_{t-1} h_{t-1} is the gradient of x_t; what h_t met on its way is the gradient of keep_t."""

    @staticmethod
    def forward(ctx, x: Tensor, keep: Tensor, last: Tensor) -> Tensor:
        y = _blocks(x, keep, last)
        ctx.save_for_backward(keep, last, y)
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        keep, last, y = ctx.saved_tensors
        back = torch.nn.functional.pad(keep[:, :-1].flip(1), (0, 1))  # nothing comes in before the first step
        h = recurrence(grad.flip(1), back, torch.zeros_like(last)).flip(1)
        grad_keep = grad_last = None
        if ctx.needs_input_grad[1]:
            grad_keep = torch.where(keep == 0, 0, h * torch.cat([y[:, 1:], last[:, None]], dim=1))
        if ctx.needs_input_grad[2]:
            grad_last = keep[:, -1] * h[:, -1]
        return h, grad_keep, grad_last


def _blocks(x: Tensor, keep: Tensor, last: Tensor) -> Tensor:
    """The recurrence itself, on finite numbers of one dtype."""
    rows, steps = x.shape
    if steps <= 2 * BLOCK:
        y = _columns(x, steps)
        _walk(y, _columns(keep, steps), last)
        return y.t()
    y, product = _columns(x, BLOCK), _columns(keep, BLOCK)  # [BLOCK, B · blocks]
    _walk(y, product)
    heads, factors = y[0].view(rows, -1), product[0].view(rows, -1)  # [B, blocks]
    ahead = torch.cat([_blocks(heads, factors, last)[:, 1:], last[:, None]], dim=1)  # comes in from behind
    y.addcmul_(product, ahead.reshape(1, -1))
    return y.t().reshape(rows, -1)[:, -steps:]


def _columns(x: Tensor, block: int) -> Tensor:
    """[B, T] → [block, B · blocks], a copy with a step's numbers side by side; what fills it up is not read."""
    missing = -x.shape[1] % block
    padded = torch.nn.functional.pad(x, (missing, 0)) if missing else x
    return padded.reshape(-1, block).t().clone(memory_format=torch.contiguous_format)


def _walk(y: Tensor, product: Tensor, last: Tensor | None = None) -> None:
    """From the back, in place: y becomes the recurrence inside each column, product the product of what was kept."""
    rows, products = y.unbind(), product.unbind()  # indexing in the loop would cost as much as the sums
    if last is not None:
        rows[-1].addcmul_(products[-1], last)
    for t in range(len(rows) - 2, -1, -1):
        rows[t].addcmul_(products[t], rows[t + 1])
        if last is None:
            products[t].mul_(products[t + 1])
