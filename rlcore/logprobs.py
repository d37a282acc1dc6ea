"""How likely was each token? From logits, or straight from hidden states, to log-probabilities and entropies, in nats.

Logits at position t belong to the token at position t: shifting, so that a prefix predicts the next token, is the
caller's. Left out: drawing tokens, which is in lm; and faster forms, which are in kernels.
"""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rlcore.shapes import need, positive, whole, within
from rlcore.tables import exist

ROWS = 1024  # tokens whose logits are held at a time by linear_token_logps


def token_logps(logits: Tensor, tokens: Tensor) -> Tensor:
    """Log-probability of each token: log π(y_t | x, y_<t) = logit of y_t − log Σ_v exp(logit_v).

    Args:
        logits: [B, T, V] as the model gives them, unnormalised.
        tokens: [B, T] int64, from 0 to V − 1; padding needs a token of the vocabulary as well.
    Returns: [B, T] nats.
    Raises:  ValueError when the shapes disagree or a token is outside the vocabulary.
    Source:  Bengio et al. 2003, eq. 1.

    >>> token_logps(torch.tensor([[[0., 0.], [0., 3.]]]).log1p(), torch.tensor([[1, 1]]))      # log ½, log ⅘
    tensor([[-0.6931, -0.2231]])
    """
    sizes = need(logits=(logits, "B T V"), tokens=(tokens, "B T"))
    exist(sizes["V"], tokens=tokens)
    return logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0]


def sequence_logps(logps: Tensor, mask: Tensor) -> Tensor:
    """Log-probability of a whole reply: the sum over the tokens that the policy chose. Not a mean: see grpo for those.

    Args:
        logps: [B, T] nats per token; behind the mask anything, a NaN included.
        mask:  [B, T] bool, True where the policy chose the token (EOS yes; prompt, padding no).
    Returns: [B] nats; 0 for a row without a True, whose probability of doing nothing is 1.
    Raises:  ValueError when the shapes disagree or the mask is not boolean.

    >>> sequence_logps(torch.tensor([[-1., -2., float("nan")]]), torch.tensor([[True, True, False]]))
    tensor([-3.])
    """
    need(logps=(logps, "B T"), mask=(mask, "B T"))
    if mask.dtype is not torch.bool:
        raise ValueError(f"mask has dtype {mask.dtype}, expected torch.bool")
    return torch.where(mask, logps, 0).sum(-1)


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the next token: H = −Σ_v π(v) log π(v).

    Args:
        logits: [..., V] unnormalised; −∞ for a token that cannot come.
    Returns: [...] nats, from 0 to log V.
    Raises:  ValueError when there is no axis V.
    Source:  Shannon 1948.

    >>> entropy(torch.tensor([0., 0., -torch.inf]))                                            # log 2
    tensor(0.6931)
    """
    need(logits=(logits, "... V"))
    logps = logits.log_softmax(-1)
    return -(logps.exp() * torch.where(logps.isneginf(), 0, logps)).sum(-1)


def narrowed(logits: Tensor, temperature: float, top_k: int | None = None, top_p: float = 1.0) -> Tensor:
    """The logits that a reply is really drawn from: a temperature, then the k likeliest, then the likeliest share p.

    Args:
        logits:      [..., V] unnormalised.
        temperature: above 0; below 1 sharpens, above 1 flattens.
        top_k:       only so many tokens, the likeliest; None keeps all.
        top_p:       in (0, 1], only the likeliest that together reach p of what top_k left ("nucleus"); 1 keeps all.
    Returns: [..., V] logits / temperature, −∞ for a token that cannot come.
    Raises:  ValueError when a number is out of range.
    Source:  Fan et al. 2018, arXiv:1805.04833 (top-k); Holtzman et al. 2020, arXiv:1904.09751, section 3.1 (top-p).

    >>> narrowed(torch.tensor([1., 3., 2.]), temperature=0.5, top_k=2)
    tensor([-inf, 6., 4.])
    >>> narrowed(torch.tensor([0.2, 0.5, 0.3]).log(), temperature=1.0, top_p=0.5).exp()        # one alone reaches ½
    tensor([0.0000, 0.5000, 0.0000])
    """
    need(logits=(logits, "... V"))
    positive(temperature=temperature, top_p=top_p)
    within(0, 1, top_p=top_p)
    logits = logits / temperature
    if top_k is None and top_p == 1:
        return logits
    ranked, order = logits.sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        whole(1, top_k=top_k)
        ranked[..., top_k:] = -torch.inf
    chances = ranked.softmax(-1)
    ahead = chances.cumsum(-1) - chances  # of the likelier ones
    ranked = ranked.masked_fill(ahead >= top_p, -torch.inf) if top_p < 1 else ranked
    return torch.empty_like(logits).scatter(-1, order, ranked)


def linear_token_logps(hidden: Tensor, weight: Tensor, tokens: Tensor) -> Tensor:
    """`token_logps` of the logits hidden · weightᵀ, which are never held: [B, T, V] is the largest tensor of training.

    The tokens go through in portions of ROWS, whose logits are thrown away and made again in the backward pass.

    Args:
        hidden: [B, T, H] last hidden states.
        weight: [V, H] the output matrix (tied to the input embedding or not).
        tokens: [B, T] int64, from 0 to V − 1.
    Returns: [B, T] nats.
    Raises:  ValueError when the shapes disagree or a token is outside the vocabulary.
    Source:  Hsu et al. 2024 (Liger kernel), arXiv:2410.10989, section 3.2.

    >>> hidden, weight = torch.ones(1, 1, 2), torch.tensor([[0., 0.], [2., 1.]])
    >>> linear_token_logps(hidden, weight, torch.tensor([[1]]))                                # −log(1 + e⁻³)
    tensor([[-0.0486]])
    """
    sizes = need(hidden=(hidden, "B T H"), weight=(weight, "V H"), tokens=(tokens, "B T"))
    exist(sizes["V"], tokens=tokens)
    portions = zip(hidden.flatten(0, 1).split(ROWS), tokens.flatten().split(ROWS), strict=True)
    logps = [checkpoint(_portion, rows, weight, wanted, use_reentrant=False) for rows, wanted in portions]
    return torch.cat(logps).view(tokens.shape)


def _portion(hidden: Tensor, weight: Tensor, tokens: Tensor) -> Tensor:
    return (hidden @ weight.T).log_softmax(-1).gather(-1, tokens[:, None])[:, 0]
