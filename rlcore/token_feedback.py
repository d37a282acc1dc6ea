"""If a reply is bad, what should stand there instead? CRINGE and unlikelihood, which look at tokens one by one.

Losses are [B], one per reply, summed over its tokens, unreduced and to be minimised. Whatever stands behind a False of
the mask, a NaN included, does not matter. Left out: drawing rivals, whose probabilities are given here, and losses of
whole replies (feedback).
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rlcore.rankings import log1mexp
from rlcore.shapes import finite, need, positive, whole, within


def unlikelihood_loss(logps: Tensor, mask: Tensor) -> Tensor:
    """Unlikelihood: raise the chance of writing anything else than each token of a bad reply.

        L = −Σ_t log(1 − π(y_t|s_t)),     ∂L/∂ log π = π / (1 − π)

    Its gradient dies as the token becomes unlikely; that of −(−log π), gradient ascent, is 1 for ever.

    Args:
        logps: [B, T] nats, below 0: a certain token cannot be avoided.
        mask:  [B, T] bool, True where the policy chose the token.
    Returns: [B] nats.
    Raises:  ValueError when the shapes disagree, the mask is not boolean, or a log-probability is not below 0.
    Source:  Welleck et al. 2019, arXiv:1908.04319, the unlikelihood loss, with the reply as negative candidates.

    >>> unlikelihood_loss(torch.tensor([[0.5, 0.75]]).log(), torch.tensor([[True, True]]))          # log 2 + log 4
    tensor([2.0794])
    """
    logps = _kept(mask, logps=logps)
    if (logps >= 0).any():
        raise ValueError(f"logps reaches {logps.max().item() + 0.0:.6g}, expected below 0: a certain token stays")
    return torch.where(mask, -log1mexp(logps), 0).sum(-1)


def cringe_loss(logps: Tensor, rival_logps: Tensor, desirable: Tensor, mask: Tensor, weight: float) -> Tensor:
    """CRINGE: likelihood of good replies; each token of a bad one against a rival that the model itself would write.

        L = −Σ_t log π(y_t)   where desirable
        L = −α Σ_t log( e^{s(rival_t)} / (e^{s(rival_t)} + e^{s(y_t)}) )   where not,     s: logits or log-probabilities

    Only the difference of the two counts, so log-probabilities do as well as logits.

    Args:
        logps:       [B, T] nats, of the reply's tokens.
        rival_logps: [B, T] nats, of other tokens in their place, drawn with `rival_probs`; they have a gradient too.
        desirable:   [B] bool.
        mask:        [B, T] bool, True where the policy chose the token.
        weight:      α, 0 or more.
    Returns: [B] nats; the official code averages over tokens, here they are summed.
    Raises:  ValueError when shapes disagree, a mask is not boolean, a kept number is not finite, or weight is negative.
    Source:  Adolphs et al. 2022, arXiv:2211.05826; as in the official code (ParlAI, projects/cringe).

    >>> logps, rivals, both = torch.tensor([[0.2], [0.2]]).log(), torch.tensor([[0.6], [0.6]]).log(), torch.ones(2, 1)
    >>> cringe_loss(logps, rivals, torch.tensor([True, False]), both.bool(), weight=1.)             # log 5, log 4/3
    tensor([1.6094, 0.2877])
    """
    need(logps=(logps, "B T"), rival_logps=(rival_logps, "B T"), desirable=(desirable, "B"))
    if desirable.dtype is not torch.bool:
        raise ValueError(f"desirable has dtype {desirable.dtype}, expected torch.bool")
    within(0, math.inf, weight=weight)
    logps, rival_logps = _kept(mask, logps=logps), _kept(mask, rival_logps=rival_logps)
    contrast = -weight * logsigmoid(rival_logps - logps)
    return torch.where(mask, torch.where(desirable[:, None], -logps, contrast), 0).sum(-1)


def rival_probs(logits: Tensor, tokens: Tensor, k: int) -> Tensor:
    """CRINGE's rivals: with which chance is each other token drawn? A softmax over the k likeliest, the token left out.

    Args:
        logits: [..., V], V above k.
        tokens: [...] int64, the tokens that should not have been written.
        k:      1 or more; 1 always takes the likeliest other token.
    Returns: [..., V], sums to 1, without gradient; 0 for the token itself.
    Raises:  ValueError when shapes disagree, a logit is not finite, or k is below 1 or not below V.
    Source:  Adolphs et al. 2022, arXiv:2211.05826; as in the official code.

    >>> rival_probs(torch.tensor([4., 3., 1., 2.]).log(), torch.tensor(0), k=2)                     # 3 : 2
    tensor([0.0000, 0.6000, 0.0000, 0.4000])
    """
    size = need(logits=(logits, "... V"))["V"]
    if tokens.shape != logits.shape[:-1]:
        raise ValueError(f"tokens has shape {list(tokens.shape)}, expected {list(logits.shape[:-1])}")
    whole(1, k=k)
    if k >= size:
        raise ValueError(f"k is {k}, expected below the {size} tokens of logits: one of them is left out")
    finite(logits=logits)
    others = logits.detach().scatter(-1, tokens[..., None], -math.inf)
    best = others.topk(k, dim=-1)
    return torch.zeros_like(others).scatter(-1, best.indices, best.values.softmax(-1))


def pairwise_cringe_gate(chosen_logps: Tensor, rejected_logps: Tensor, target: float, temperature: float) -> Tensor:
    """Pairwise CRINGE: how much of CRINGE a pair still gets. Nothing once the chosen reply is far enough ahead.

        g = σ((b − (log π(y_w) − log π(y_l))) / τ),     L = g · (CRINGE of the chosen as good, of the rejected as bad)

    Args:
        chosen_logps, rejected_logps: [B] nats, of whole replies.
        target:      b, nats: at this margin the gate is half open.
        temperature: τ, nats, above 0: how softly it closes.
    Returns: [B] in (0, 1), with its gradient: detach it, and the loss is a weighted CRINGE.
    Raises:  ValueError when shapes disagree, a number is not finite, or temperature is not above 0.
    Source:  Xu et al. 2023, arXiv:2312.16682, the soft margin of its pairwise loss.

    >>> pairwise_cringe_gate(torch.tensor([-10., -10.]), torch.tensor([-10., -30.]), target=10., temperature=10.)
    tensor([0.7311, 0.2689])
    """
    need(chosen_logps=(chosen_logps, "B"), rejected_logps=(rejected_logps, "B"))
    finite(chosen_logps=chosen_logps, rejected_logps=rejected_logps, target=torch.as_tensor(target))
    positive(temperature=temperature)
    return ((target - (chosen_logps - rejected_logps)) / temperature).sigmoid()


def _kept(mask: Tensor, **named: Tensor) -> Tensor:
    """Log-probabilities where the mask is True, −1 elsewhere, once those that count are finite."""
    ((name, logps),) = named.items()
    need(**{name: (logps, "B T"), "mask": (mask, "B T")})
    if mask.dtype is not torch.bool:
        raise ValueError(f"mask has dtype {mask.dtype}, expected torch.bool")
    kept = torch.where(mask, logps, -1)
    finite(**{name: kept})
    return kept
