"""One Triton program per block of rows: chunks of steps from the last to the first, each scanned at once on the GPU."""

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 1024  # numbers a program holds at a time: part of one long row, or several short rows
TINY = tl.constexpr(1.2e-38)  # about the smallest normal float32


def scan(rewards: Tensor, discounts: Tensor, values: Tensor, lam: float) -> tuple[Tensor, bool]:
    """Advantages, and whether all of them are finite and all discounts in [0, 1]; see `kernels.returns`.

    Args:
        rewards, discounts: [B, T] in float32 or float64.
        values: [B, T+1], of the same dtype.
    """
    given = [x.contiguous() for x in (rewards, discounts, values)]
    rows, steps = rewards.shape
    chunk = min(triton.next_power_of_2(steps), TILE)
    block = TILE // chunk
    programs = triton.cdiv(rows, block)
    y, sound = torch.empty_like(given[0]), torch.empty(programs, dtype=torch.int32, device=rewards.device)
    with torch.cuda.device_of(y):
        _walk[(programs,)](*given, y, sound, rows, steps, lam, block, chunk)
    return y, bool(sound.all())


@triton.jit
def _then(keep, y, keep_before, y_before):
    """Two stretches of steps as one. An end keeps exactly 0, 0 · NaN is NaN, and a long product must not pass for 0."""
    product = keep * keep_before
    product = tl.where((product == 0) & (keep != 0) & (keep_before != 0), TINY, product)
    return product, tl.where(keep_before == 0, y_before, y_before + keep_before * y)


@triton.jit
def _walk(rewards, discounts, values, y, sound, rows, steps, lam: tl.float64, BLOCK: tl.constexpr, CHUNK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)[:, None]
    column = tl.arange(0, CHUNK)[None, :]
    ahead = tl.zeros([BLOCK, 1], y.dtype.element_ty)  # comes in from the chunk behind
    all_sound = tl.full([BLOCK, CHUNK], 1, tl.int32)
    for chunk in range(tl.cdiv(steps, CHUNK)):
        t = steps - 1 - chunk * CHUNK - column  # descending: tl.associative_scan's own reverse flag has open bugs
        here, there = (row < rows) & (t >= 0), row * steps + t
        discount = tl.load(discounts + there, here, other=0)
        value = tl.load(values + there + row, here, other=0)  # a row of values is one longer
        next_value = tl.load(values + there + row + 1, here & (discount != 0), other=0)
        delta = tl.load(rewards + there, here, other=0) + discount * next_value - value
        keep, inside = tl.associative_scan(((discount * lam).to(delta.dtype), delta), 1, _then)
        advantage = tl.where(keep == 0, inside, inside + keep * ahead)
        tl.store(y + there, advantage, here)
        all_sound &= ((discount >= 0) & (discount <= 1) & (tl.abs(advantage) < float("inf"))).to(tl.int32)
        ahead = tl.sum(tl.where(column == CHUNK - 1, advantage, 0), 1, keep_dims=True)
    tl.store(sound + tl.program_id(0), tl.min(all_sound))
