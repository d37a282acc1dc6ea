"""One Triton program per row of logits, which is read once on the way out, and read and written once on the way back.

From hidden states: tiles of logits by the GPU's own matrix products, in the dtype of hidden, summed in float32.
"""

from functools import partial

import torch
import triton
import triton.language as tl
from torch import Tensor

from rlcore.kernels import chunked_logprobs
from rlcore.kernels.chunked_logprobs import Steps, wide

BLOCK = 4096  # numbers a program holds at a time
TOKENS, WORDS = 2048, 8192  # of a tile: 64 MB of logits


def token_logps(logits: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """[B, T], and log Σ_v exp(logit_v), for the way back."""
    return _summarise(logits, tokens)


def token_gradient(logits: Tensor, tokens: Tensor, logps: Tensor, normalisers: Tensor, grad: Tensor) -> Tensor:
    """grad · (1[v = y] − π(v)), as [B, T, V]."""
    return _differentiate(logits, tokens, None, normalisers, grad)


def entropy(logits: Tensor) -> tuple[Tensor, Tensor]:
    """[...], and log Σ_v exp(logit_v), for the way back."""
    return _summarise(logits, None)


def entropy_gradient(logits: Tensor, entropies: Tensor, normalisers: Tensor, grad: Tensor) -> Tensor:
    """−grad · π(v) (log π(v) + H), as [..., V]."""
    return _differentiate(logits, None, entropies, normalisers, grad)


def linear_token_logps(
    hidden: Tensor, weight: Tensor, tokens: Tensor, with_slopes: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """See `chunked_logprobs.linear_token_logps`."""
    return chunked_logprobs.linear_token_logps(hidden, weight, tokens, with_slopes, _steps(hidden))


def linear_gradient(hidden: Tensor, weight: Tensor, tokens: Tensor, normalisers: Tensor, grad: Tensor) -> Tensor:
    """See `chunked_logprobs.linear_gradient`."""
    return chunked_logprobs.linear_gradient(hidden, weight, tokens, normalisers, grad, _steps(hidden))


def _steps(hidden: Tensor) -> Steps:
    """Factors in half precision with sums in float32 are a GPU's."""
    dtype = hidden.dtype if hidden.is_cuda else wide(hidden.dtype)
    return Steps(partial(_fold, dtype), partial(_slopes, dtype), TOKENS, WORDS, dtype)


def _summarise(logits: Tensor, tokens: Tensor | None) -> tuple[Tensor, Tensor]:
    """Log-probabilities of tokens, or without tokens entropies; and normalisers."""
    rows, answers = _rows(logits), logits.new_empty(logits.shape[:-1], dtype=wide(logits.dtype))
    normalisers = torch.empty_like(answers)
    if answers.numel():
        given = rows, (normalisers if tokens is None else tokens.contiguous()), answers, normalisers
        with torch.cuda.device_of(logits):
            _summary[(answers.numel(),)](*given, *_layout(rows), tokens is None, _block(rows), num_warps=8)
    return answers, normalisers


def _differentiate(
    logits: Tensor,
    tokens: Tensor | None,
    entropies: Tensor | None,
    normalisers: Tensor,
    grad: Tensor,
    dtype: torch.dtype | None = None,
) -> Tensor:
    rows, gradient = _rows(logits), torch.empty(logits.shape, dtype=dtype or logits.dtype, device=logits.device)
    if gradient.numel():
        index, sums = (normalisers if x is None else x.contiguous() for x in (tokens, entropies))
        given = rows, index, sums, normalisers.contiguous(), grad.contiguous(), gradient
        grid = normalisers.numel(), triton.cdiv(logits.shape[-1], _block(rows))
        with torch.cuda.device_of(logits):
            _gradient[grid](*given, *_layout(rows), tokens is None, _block(rows), num_warps=8)
    return gradient


def _fold(dtype: torch.dtype, logits: Tensor, top: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    powers = logits if dtype is logits.dtype else torch.empty_like(logits, dtype=dtype)
    shrink = torch.empty_like(top)
    with torch.cuda.device_of(logits):
        _online[(len(logits),)](logits, powers, top, total, shrink, logits.shape[1], _block(logits), num_warps=8)
    return powers, shrink


def _slopes(dtype: torch.dtype, logits: Tensor, local: Tensor, normalisers: Tensor, grad: Tensor) -> Tensor:
    return _differentiate(logits, local, None, normalisers, grad, dtype)


def _rows(logits: Tensor) -> Tensor:
    """[B, T, V], not copied where rows lie together as in logits[:, :-1]."""
    if logits.ndim == 3 and logits.stride(-1) == 1:
        return logits
    return logits.contiguous().view(1, -1, logits.shape[-1])


def _layout(rows: Tensor) -> tuple[int, int, int, int]:
    return rows.stride(0), rows.stride(1), rows.shape[1], rows.shape[2]


def _block(rows: Tensor) -> int:
    return min(triton.next_power_of_2(rows.shape[-1]), BLOCK)


@triton.jit
def _level(top):
    """−∞ − (−∞) is NaN: where nothing can come yet, nothing is subtracted."""
    return tl.where(top == float("-inf"), 0, top)


@triton.jit
def _summary(
    logits, tokens, answers, normalisers, per_batch, per_row, steps, words, ENTROPY: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    start = logits + row // steps * per_batch + row % steps * per_row
    wide = normalisers.dtype.element_ty
    top, total, weighted = tl.full([], float("-inf"), wide), tl.full([], 0, wide), tl.full([], 0, wide)
    for first in range(0, words, BLOCK):
        column = first + tl.arange(0, BLOCK)
        x = tl.load(start + column, column < words, other=float("-inf")).to(wide)
        new_top = tl.maximum(top, tl.max(x, 0))
        level = _level(new_top)
        shrink, powers = tl.exp(top - level), tl.exp(x - level)
        if ENTROPY:  # Σ power · log power, moved to the new level
            before = tl.where(total == 0, 0, shrink * (weighted + (top - level) * total))
            weighted = before + tl.sum(tl.where(powers == 0, 0, powers * (x - level)), 0)
        total = total * shrink + tl.sum(powers, 0)
        top = new_top
    log_total = tl.log(total)
    tl.store(normalisers + row, top + log_total)
    if ENTROPY:
        tl.store(answers + row, log_total - weighted / total)
    else:
        tl.store(answers + row, tl.load(start + tl.load(tokens + row)).to(wide) - top - log_total)


@triton.jit
def _gradient(
    logits,
    tokens,
    entropies,
    normalisers,
    grad,
    gradient,
    per_batch,
    per_row,
    steps,
    words,
    ENTROPY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    here, there = column < words, row // steps * per_batch + row % steps * per_row + column
    logps = tl.load(logits + there, here, other=0).to(normalisers.dtype.element_ty) - tl.load(normalisers + row)
    policy = tl.exp(logps)
    if ENTROPY:
        slopes = tl.where(policy == 0, 0, -policy * (logps + tl.load(entropies + row)))
    else:
        slopes = tl.where(column == tl.load(tokens + row), 1 - policy, -policy)
    slopes *= tl.load(grad + row)
    tl.store(gradient + row * words + column, slopes.to(gradient.dtype.element_ty), here)


@triton.jit
def _online(logits, powers, top, total, shrink, words, BLOCK: tl.constexpr):
    """A tile's row: exp(logit − the largest so far), written over the logits where dtypes allow it."""
    row = tl.program_id(0).to(tl.int64)
    old_top = tl.load(top + row)
    new_top = old_top
    for first in range(0, words, BLOCK):
        column = first + tl.arange(0, BLOCK)
        x = tl.load(logits + row * words + column, column < words, other=float("-inf"))
        new_top = tl.maximum(new_top, tl.max(x, 0))
    level = _level(new_top)
    factor = tl.exp(old_top - level)
    sums = tl.load(total + row) * factor
    for first in range(0, words, BLOCK):
        column = first + tl.arange(0, BLOCK)
        x = tl.load(logits + row * words + column, column < words, other=float("-inf"))
        power = tl.exp(x - level)
        sums += tl.sum(power, 0)
        tl.store(powers + row * words + column, power.to(powers.dtype.element_ty), column < words)
    tl.store(top + row, new_top)
    tl.store(total + row, sums)
    tl.store(shrink + row, factor)
