"""rlcore.logprobs without copies of [B, T, V]: a few rows at a time in PyTorch, one pass per row in Triton on a GPU.

The gradient of a log-probability is the token itself minus the policy, which is made again from the logits on the way
back: nothing of their size is kept. Two engines do the work, `chunked_logprobs` and `triton_logprobs`; see `engine`.
Logits in half precision are summed in float32 and give answers in float32: rounded to bfloat16, a log-probability
near −10 would be off by 0.03. Second derivatives come from rlcore.logprobs itself, with its copies.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor

from rlcore import logprobs
from rlcore.shapes import need
from rlcore.tables import exist


def can_run(like: Tensor) -> bool:
    """Any device and any floating dtype will do."""
    return like.is_floating_point()


def engine(like: Tensor) -> ModuleType:
    """Who works on tensors like this one: `triton_logprobs` on a GPU with Triton, else `chunked_logprobs`.

    >>> engine(torch.zeros(2, 3)).__name__
    'rlcore.kernels.chunked_logprobs'
    """
    return _engine(like.device.type)


@cache
def _engine(device: str) -> ModuleType:
    """Imported when first needed: importing Triton takes half a second."""
    name = "triton_logprobs" if device == "cuda" and find_spec("triton") else "chunked_logprobs"
    return import_module(f"rlcore.kernels.{name}")


def token_logps(logits: Tensor, tokens: Tensor) -> Tensor:
    """Twin of `logprobs.token_logps`; see there. In float32 at least."""
    sizes = need(logits=(logits, "B T V"), tokens=(tokens, "B T"))
    exist(sizes["V"], tokens=tokens)
    return _TokenLogps.apply(logits, tokens)


def entropy(logits: Tensor) -> Tensor:
    """Twin of `logprobs.entropy`; see there. In float32 at least."""
    need(logits=(logits, "... V"))
    return _Entropy.apply(logits)


def linear_token_logps(hidden: Tensor, weight: Tensor, tokens: Tensor) -> Tensor:
    """Twin of `logprobs.linear_token_logps`; see there. In float32 at least.

    What W is on average, E_π[W], is summed up beside the normaliser, so that with a frozen matrix the way back is one
    multiplication: ∂ log π(y) / ∂h = W[y] − E_π[W]. A gradient of the matrix costs a second pass over the logits.
    """
    sizes = need(hidden=(hidden, "B T H"), weight=(weight, "V H"), tokens=(tokens, "B T"))
    exist(sizes["V"], tokens=tokens)
    # Inside `forward` grad mode is off, and needs_input_grad is true under no_grad too: it has to be told.
    with_slopes = hidden.requires_grad and torch.is_grad_enabled()
    return _LinearTokenLogps.apply(hidden, weight, tokens, with_slopes)


def _with_graph(reference: Callable, needed: tuple[bool, ...], grad: Tensor, *given: Tensor) -> list[Tensor | None]:
    """Gradients that can be differentiated once more."""
    answer = reference(*given)
    leaves = [x for x, wanted in zip(given, needed, strict=False) if wanted]
    got = iter(torch.autograd.grad(answer, leaves, grad.to(answer.dtype), create_graph=True))
    return [next(got) if wanted else None for wanted in needed]


class _TokenLogps(torch.autograd.Function):
    """∂ log π(y) / ∂ logit_v = 1[v = y] − π(v)."""

    @staticmethod
    def forward(ctx, logits: Tensor, tokens: Tensor) -> Tensor:
        logps, normalisers = engine(logits).token_logps(logits, tokens)
        ctx.save_for_backward(logits, tokens, logps, normalisers)
        return logps

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        logits, tokens, logps, normalisers = ctx.saved_tensors
        if torch.is_grad_enabled():
            return tuple(_with_graph(logprobs.token_logps, ctx.needs_input_grad, grad, logits, tokens))
        return engine(logits).token_gradient(logits, tokens, logps, normalisers, grad), None


class _Entropy(torch.autograd.Function):
    """∂H / ∂ logit_v = −π(v) (log π(v) + H)."""

    @staticmethod
    def forward(ctx, logits: Tensor) -> Tensor:
        entropies, normalisers = engine(logits).entropy(logits)
        ctx.save_for_backward(logits, entropies, normalisers)
        return entropies

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        logits, entropies, normalisers = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _with_graph(logprobs.entropy, ctx.needs_input_grad, grad, logits)[0]
        return engine(logits).entropy_gradient(logits, entropies, normalisers, grad)


class _LinearTokenLogps(torch.autograd.Function):
    """∂ log π(y) / ∂h = W[y] − E_π[W], and ∂ log π(y) / ∂W[v] = (1[v = y] − π(v)) h."""

    @staticmethod
    def forward(ctx, hidden: Tensor, weight: Tensor, tokens: Tensor, with_slopes: bool) -> Tensor:
        logps, normalisers, slopes = engine(hidden).linear_token_logps(hidden, weight, tokens, with_slopes)
        ctx.save_for_backward(hidden, weight, tokens, normalisers, slopes)
        return logps

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, tokens, normalisers, slopes = ctx.saved_tensors
        if torch.is_grad_enabled():
            given = hidden, weight, tokens
            return tuple(_with_graph(logprobs.linear_token_logps, ctx.needs_input_grad, grad, *given))
        grad_hidden = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_hidden = (slopes * grad[..., None]).to(hidden.dtype)
        if ctx.needs_input_grad[1]:
            grad_weight = engine(hidden).linear_gradient(hidden, weight, tokens, normalisers, grad)
        return grad_hidden, grad_weight, None, None
