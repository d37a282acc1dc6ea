"""Log-probabilities of tokens, forward and backward: from logits [B, T, V], and from hidden states and the matrix.

Ours are first checked as a whole: to 5e-6 of float64, gradients in bfloat16 to its last digit. Peers are checked in all
log-probabilities and some rows of the gradient, and keep their row however wrong: in bfloat16 they are off by 0.06.
From logits: TRL's selective_log_softmax as installed, and three usual forms. From hidden states, 1024 tokens: the
logits themselves; TRL's and Liger's chunked functions, called as their own losses call them; a frozen matrix, for which
no gradient is asked of anybody, and one that learns. Memory is what a run needs above what is there before it: answers
and gradients included.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.measure import Entry, Missing, compare
from rlcore import logprobs
from rlcore.kernels import logprobs as twins

try:
    from trl.kernels import ChunkedLogProbFunction
    from trl.trainer.utils import selective_log_softmax
except ImportError:
    selective_log_softmax = ChunkedLogProbFunction = None
try:
    from liger_kernel.chunked_loss.fused_linear_ppo import LigerFusedLinearPPOBase
except ImportError:
    LigerFusedLinearPPOBase = None

SHAPES = [(4, 256, 32000), (2, 512, 128000)]  # [B, T, V]
SIZES = [(256, 32000), (256, 128000), (1024, 32000)]  # H, V
TOKENS = 1024
TOL_OURS = 5e-6
TOL = {torch.float32: 2e-5, torch.bfloat16: 0.1}  # of peers; log-probabilities reach −30
LAST_DIGIT = {torch.float32: 0.0, torch.bfloat16: 2**-8}
CHECKED = 2  # rows of a large gradient that are part of the answer: more of them would show in its memory
BUDGET = 3.5  # seconds of repetitions of each that works from hidden states


def run() -> None:
    """Print a table per column, and the ratios of time and memory together at the end."""
    lines = []
    for dtype in TOL:
        for shape in SHAPES:
            title = f"{list(shape)} {str(dtype).removeprefix('torch.')}"
            lines += _ratios(title, _from_logits(title, shape, dtype), _megabytes(shape, dtype))
    for features, words in SIZES:
        given = _states(features, words)
        reference = _reference(*given)
        for frozen in (True, False):
            title = f"H = {features}, V = {words}, {'frozen matrix' if frozen else 'both gradients'}"
            entries = _from_states(title, reference, *given, frozen)
            lines += _ratios(title, entries, None if frozen else _megabytes((words, features), torch.float32))
    print("how many times our time and our memory; our own memory in MB")
    print("\n".join(lines), flush=True)


def _megabytes(shape: tuple[int, ...], dtype: torch.dtype) -> float:
    return np.prod(shape) * dtype.itemsize / 2**20


def _ratios(title: str, entries: list[Entry], gradient: float | None) -> list[str]:
    ours, *others = entries
    known = ours.memory is not None
    share = f", {ours.memory / 1024 / gradient:.2f} × the largest gradient" if known and gradient else ""
    head = f"  {title}: {ours.memory / 1024:.1f} MB{share}" if known else f"  {title}"
    return [head] + [
        f"    {other.name:<40}time {min(other.times) / min(ours.times):>6.2f}"
        + f"    memory {other.memory / ours.memory:>6.2f}" * known
        for other in others
        if other.times
    ]


def _from_logits(title: str, shape: tuple[int, int, int], dtype: torch.dtype) -> list[Entry]:
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(shape, generator=generator)).to(dtype).requires_grad_()
    tokens = torch.randint(shape[-1], shape[:2], generator=generator)
    upstream = torch.randn(shape[:2], generator=generator).bfloat16().float()  # the same number in every dtype
    reference = _check_all(logits.detach(), tokens, upstream)

    def entry(name: str, form: Callable, ours: bool = False) -> Entry:
        return Entry(name, lambda: _answer(form(logits, tokens), upstream, logits), ours)

    entries = [
        entry(f"rlcore, {_engine()}", twins.token_logps, ours=True),
        entry("TRL selective_log_softmax", _trl),
        entry("log_softmax and gather (rlcore, plain)", logprobs.token_logps),
        entry("cross_entropy", lambda x, y: -cross_entropy(x.flatten(0, 1), y.flatten(), reduction="none").view_as(y)),
        entry("gather − logsumexp", lambda x, y: x.gather(-1, y[..., None])[..., 0] - x.logsumexp(-1)),
    ]
    compare(title, reference, TOL[dtype], entries)
    return entries


def _engine() -> str:
    return twins.engine(torch.zeros(1)).__name__.rpartition(".")[2]


def _answer(logps: Tensor, upstream: Tensor, *leaves: Tensor) -> np.ndarray:
    """Log-probabilities, and of each gradient evenly spaced rows, all of them where it is small."""
    gradients = torch.autograd.grad(logps, leaves, upstream.to(logps.dtype))
    return _flat(logps.detach(), *gradients)


def _flat(logps: Tensor, *gradients: Tensor) -> np.ndarray:
    rows = [x.view(-1, x.shape[-1]) for x in gradients]
    some = [x[:: len(x) // CHECKED] if x.numel() > 2**21 else x for x in rows]
    answer = torch.cat([x.flatten() for x in (logps, *some)])
    return answer.to(torch.promote_types(answer.dtype, torch.float32)).numpy()


def _check_all(logits: Tensor, tokens: Tensor, upstream: Tensor) -> np.ndarray:
    """The answer in float64; stops unless ours agrees with it in every number."""
    leaf = logits.requires_grad_()
    logps = twins.token_logps(leaf, tokens)
    (gradient,) = torch.autograd.grad(logps, leaf, upstream)
    rows = zip(logits.detach().flatten(0, 1), tokens.flatten(), upstream.flatten(), strict=True)
    answers, every = [], tokens.numel() // CHECKED
    kept = []
    for i, (row, token, weight) in enumerate(rows):
        exact = row.double().log_softmax(0)
        want = -weight * exact.exp()
        want[token] += weight
        off = (gradient.view(-1, len(row))[i] - want).abs() - LAST_DIGIT[logits.dtype] * want.abs()
        _stop_unless(off.max().item(), TOL_OURS, "a gradient from logits")
        _stop_unless(abs(logps.flatten()[i].item() - exact[token].item()), TOL_OURS, "a log-probability from logits")
        answers.append(exact[token])
        if i % every == 0:
            kept.append(want)
    return torch.cat([torch.stack(answers), *kept]).numpy()


def _stop_unless(off: float, tol: float, what: str) -> None:
    if not off <= tol:
        raise SystemExit(f"{what} of ours is off by {off:.2g}, more than {tol:g}")


def _trl(logits: Tensor, tokens: Tensor) -> Tensor:
    """huggingface/trl, trl/trainer/utils.py, itself."""
    if selective_log_softmax is None:
        raise Missing("trl is not installed")
    return selective_log_softmax(logits, tokens)


def _states(features: int, words: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(1, TOKENS, features, generator=generator)
    weight = torch.randn(words, features, generator=generator).mul_(3 / features**0.5)  # logits like those above
    tokens = torch.randint(words, (1, TOKENS), generator=generator)
    return states, weight, tokens, torch.randn(1, TOKENS, generator=generator)


def _from_states(
    title: str,
    reference: np.ndarray,
    states: Tensor,
    weight: Tensor,
    tokens: Tensor,
    upstream: Tensor,
    frozen: bool,
) -> list[Entry]:
    states, weight = states.detach().requires_grad_(), weight.detach().requires_grad_(not frozen)
    leaves = [states] if frozen else [states, weight]

    def entry(name: str, form: Callable, ours: bool = False) -> Entry:
        return Entry(name, lambda: _answer(form(states, weight, tokens), upstream, *leaves), ours)

    entries = [
        entry(f"rlcore, {_engine()}", twins.linear_token_logps, ours=True),
        entry("Liger chunked", _liger),
        entry("TRL chunked", _trl_chunked),
        entry("plain logits", lambda h, w, y: logprobs.token_logps(h @ w.T, y)),
    ]
    known = reference[: tokens.numel() + states.numel()] if frozen else reference
    compare(title, known, TOL[torch.float32], entries, BUDGET)
    _stop_unless(entries[0].error, TOL_OURS, title)
    return entries


def _reference(states: Tensor, weight: Tensor, tokens: Tensor, upstream: Tensor) -> np.ndarray:
    leaves = [x.double().requires_grad_() for x in (states, weight)]
    logps = logprobs.linear_token_logps(*leaves, tokens)
    return _flat(logps.detach(), *torch.autograd.grad(logps, leaves, upstream.double()))


def _liger(hidden: Tensor, weight: Tensor, tokens: Tensor) -> Tensor:
    """linkedin/Liger-Kernel, the log-probabilities of its chunked GRPO loss, itself."""
    if LigerFusedLinearPPOBase is None:
        raise Missing("liger-kernel is not installed")
    return LigerFusedLinearPPOBase.chunk_forward(hidden, weight, tokens).view_as(tokens)


def _trl_chunked(hidden: Tensor, weight: Tensor, tokens: Tensor) -> Tensor:
    """huggingface/trl, trl/kernels/chunked_logprob.py, itself, with the chunks of its trainers."""
    if ChunkedLogProbFunction is None:
        raise Missing("trl is not installed")
    given = hidden.flatten(0, 1), weight, None, tokens.flatten(), 1.0, 32768, None, 1.0, ()
    return ChunkedLogProbFunction.apply(*given)[0].view_as(tokens)
