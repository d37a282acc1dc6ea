"""Log-probabilities and entropies a few rows at a time, in PyTorch: buffers stay small enough for a processor's cache.

The output matrix is taken in parts too, with an online softmax: a running maximum, and sums that shrink when it rises.
`linear_token_logps` and `linear_gradient` do this for any `Steps`; those of a GPU are in `triton_logprobs`.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

CHUNK = 2**18  # numbers of a buffer, 1 MB in float32
ZERO = -800.0  # of a log-probability: its exponential is exactly 0, also in float64, and 0 times it is no NaN


def token_logps(logits: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """[B, T], and what PyTorch's softmax of a row adds up to, for the way back.

    That softmax is the fastest pass over a row, but of 128,000 words it is off by 1e-5: its own sum loses digits.
    """
    logps, wanted, start = logits.new_empty(tokens.numel(), dtype=wide(logits.dtype)), tokens.flatten(), 0
    totals = torch.empty_like(logps)
    for rows, buffer in _chunks(logits):
        here = slice(start, start := start + len(rows))
        given = _widened(rows, buffer)
        below = given.gather(1, wanted[here, None])[:, 0] - given.amax(1)
        policy = torch.softmax(given, 1, out=buffer)
        torch.sum(policy, 1, out=totals[here])
        logps[here] = below + (policy.amax(1) / totals[here]).log_()  # the largest is 1 over the softmax's own sum
    return logps.view(tokens.shape), totals


def token_gradient(logits: Tensor, tokens: Tensor, logps: Tensor, totals: Tensor, grad: Tensor) -> Tensor:
    """grad · (1[v = y] − π(v)), as [B, T, V]."""
    gradient, wanted, start = logits.new_empty(tokens.numel(), logits.shape[-1]), tokens.flatten(), 0
    weights = -grad.flatten()
    at_token = (logps.flatten().expm1() * weights).to(gradient.dtype)  # grad · (1 − π)
    weights = weights / totals
    for rows, buffer in _chunks(logits):
        here = slice(start, start := start + len(rows))
        policy = torch.softmax(_widened(rows, buffer), 1, out=buffer)
        torch.mul(policy, weights[here, None], out=gradient[here]).scatter_(1, wanted[here, None], at_token[here, None])
    return gradient.view(logits.shape)


def entropy(logits: Tensor) -> tuple[Tensor, Tensor]:
    """[...], and what PyTorch's softmax of a row adds up to, for the way back."""
    entropies, start = logits.new_empty(logits.shape[:-1].numel(), dtype=wide(logits.dtype)), 0
    totals = torch.empty_like(entropies)
    for rows, buffer in _chunks(logits):
        here = slice(start, start := start + len(rows))
        logps = torch.log_softmax(_widened(rows, buffer), 1, out=buffer)
        policy = logps.exp()
        torch.sum(policy, 1, out=totals[here])
        entropies[here] = totals[here].log() - policy.mul_(logps.clamp_(min=ZERO)).sum(1) / totals[here]
    return entropies.view(logits.shape[:-1]), totals


def entropy_gradient(logits: Tensor, entropies: Tensor, totals: Tensor, grad: Tensor) -> Tensor:
    """−grad · π(v) (log π(v) + H), as [..., V]."""
    gradient, start = logits.new_empty(entropies.numel(), logits.shape[-1]), 0
    weights, shifts = -grad.flatten() / totals, entropies.flatten() - totals.log()
    for rows, buffer in _chunks(logits):
        here = slice(start, start := start + len(rows))
        logps = torch.log_softmax(_widened(rows, buffer), 1, out=buffer)
        policy = logps.exp().mul_(weights[here, None])
        torch.mul(logps.clamp_(min=ZERO).add_(shifts[here, None]), policy, out=gradient[here])
    return gradient.view(logits.shape)


def wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype that sums are made in."""
    return torch.promote_types(dtype, torch.float32)


def _chunks(logits: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows [n, V] in order, and a buffer for them."""
    words = logits.shape[-1]
    most = max(1, CHUNK // max(1, words))
    buffer = logits.new_empty(min(most, logits.shape[:-1].numel()), words, dtype=wide(logits.dtype))
    for rows in _rows(logits, most):
        yield rows, buffer[: len(rows)]


def _rows(logits: Tensor, most: int) -> Iterator[Tensor]:
    """A slice such as logits[:, :-1] is not copied as a whole to make rows of it."""
    if logits.ndim <= 2 or logits.is_contiguous() or logits.numel() <= CHUNK:
        yield from logits.reshape(logits.shape[:-1].numel(), logits.shape[-1]).split(most)
    else:
        for part in logits:
            yield from _rows(part, most)


def _widened(rows: Tensor, buffer: Tensor) -> Tensor:
    return rows if rows.dtype is buffer.dtype else buffer.copy_(rows)


class Steps(NamedTuple):
    """How a tile of logits [n, W] is worked on.

    Args:
        fold:   (logits, top [n, 1], total [n, 1]) → exp(logits − new top), and how much what was summed before has to
                shrink [n, 1]; brings top and total up to date.
        slopes: (logits, tokens − first word of the tile [n], normalisers [n], grad [n]) → grad · (1[v = y] − π(v)).
        tokens, words: of a tile, at most.
        dtype:  of the factors of products; None for the one that sums are made in.
    """

    fold: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    slopes: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    tokens: int
    words: int
    dtype: torch.dtype | None = None


def linear_token_logps(
    hidden: Tensor, weight: Tensor, tokens: Tensor, with_slopes: bool, steps: Steps | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Log-probabilities [B, T], log Σ_v exp(logit_v) [B·T] and, if asked for, W[y] − E_π[W] [B, T, H]."""
    steps = steps or STEPS
    states, wanted = hidden.flatten(0, 1), tokens.flatten()
    top = states.new_full((len(states), 1), -torch.inf, dtype=wide(hidden.dtype))
    total, at_token = torch.zeros_like(top), torch.zeros_like(top)
    mean = torch.zeros_like(states, dtype=top.dtype) if with_slopes else None
    for first, words, tiles in _tiles(states, weight, steps):
        for here, logits in tiles:
            local, inside = _within(wanted[here] - first, logits)
            at_token[here] = torch.where(inside, logits.gather(1, local), at_token[here])
            powers, shrink = steps.fold(logits, top[here], total[here])
            if with_slopes:
                _add_product(mean[here].mul_(shrink), powers, words)
    if with_slopes:
        mean.div_(total)
        for here in _slices(len(states), steps.tokens):
            torch.sub(weight[wanted[here]], mean[here], out=mean[here])
        mean = mean.view(hidden.shape)
    log_total = total.log_()
    return (at_token - top - log_total).view(tokens.shape), (top + log_total)[:, 0], mean


def linear_gradient(
    hidden: Tensor, weight: Tensor, tokens: Tensor, normalisers: Tensor, grad: Tensor, steps: Steps | None = None
) -> Tensor:
    """Σ grad · (1[v = y] − π(v)) h over the tokens, as [V, H]."""
    steps = steps or STEPS
    states, wanted, weights = hidden.flatten(0, 1), tokens.flatten(), grad.flatten()
    gradient = torch.empty_like(weight)
    for first, words, tiles in _tiles(states, weight, steps):
        sums = torch.zeros_like(words, dtype=normalisers.dtype)
        for here, logits in tiles:
            slopes = steps.slopes(logits, wanted[here] - first, normalisers[here], weights[here])
            _add_product(sums, slopes.T, states[here].to(slopes.dtype))
        gradient[first : first + len(words)] = sums
    return gradient


def _tiles(states: Tensor, weight: Tensor, steps: Steps) -> Iterator[tuple[int, Tensor, Iterator]]:
    """The matrix in parts, outside, so that each is cast once; inside, the tokens in parts, with their logits."""
    dtype = wide(states.dtype)
    buffer = states.new_empty(min(len(states), steps.tokens) * min(len(weight), steps.words), dtype=dtype)
    for first in range(0, len(weight), steps.words):
        words = weight[first : first + steps.words].to(steps.dtype or dtype)
        yield (
            first,
            words,
            ((here, _logits(states[here], words, buffer)) for here in _slices(len(states), steps.tokens)),
        )


def _slices(size: int, most: int) -> Iterator[slice]:
    return (slice(start, start + most) for start in range(0, size, most))


def _logits(states: Tensor, words: Tensor, buffer: Tensor) -> Tensor:
    out = buffer[: len(states) * len(words)].view(len(states), len(words))
    if words.dtype is out.dtype:
        return torch.mm(states.to(words.dtype), words.T, out=out)
    return torch.mm(states.to(words.dtype), words.T, out_dtype=out.dtype, out=out)


def _add_product(sums: Tensor, a: Tensor, b: Tensor) -> None:
    if a.dtype is sums.dtype:
        sums.addmm_(a, b)
    else:
        torch.addmm(sums, a, b, out_dtype=sums.dtype, out=sums)


def _within(local: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Columns of a tile [n, 1], and whether a token's own is among them."""
    last = logits.shape[1] - 1
    return local.clamp(0, last)[:, None], ((local >= 0) & (local <= last))[:, None]


def _fold(logits: Tensor, top: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    new_top = torch.maximum(top, logits.amax(1, keepdim=True))
    level = new_top.masked_fill(new_top.isneginf(), 0)  # −∞ − (−∞) is NaN
    shrink = torch.exp(top - level)
    powers = logits.sub_(level).exp_()
    total.mul_(shrink).add_(powers.sum(1, keepdim=True))
    top.copy_(new_top)
    return powers, shrink


def _slopes(logits: Tensor, local: Tensor, normalisers: Tensor, grad: Tensor) -> Tensor:
    index, inside = _within(local, logits)
    slopes = logits.sub_(normalisers[:, None]).exp_().mul_(-grad[:, None])
    return slopes.scatter_add_(1, index, torch.where(inside, grad[:, None], 0))


STEPS = Steps(_fold, _slopes, tokens=512, words=1024)  # 2 MB of logits
