"""How likely is an action, and which way do the parameters move it? Softmax and Gaussian policies in closed form.

For each: log-probability, score (the gradient of the log-probability), entropy, Fisher information. The parameters are
the logits, or mean and log_std; a network that produces them takes over by the chain rule. Everything is differentiable
and batched over leading axes. Left out: sampling (torch.distributions), log-probabilities of token sequences.
"""

import math

import torch
from torch import Tensor

from rlcore.shapes import axes, finite, need


def softmax_logp(logits: Tensor, action: Tensor) -> Tensor:
    """Log-probability of an action: log π(a) = logit_a − log Σ_b exp(logit_b).

    Args:
        logits: [..., A].
        action: [...] whole numbers from 0 to A − 1.
    Returns: [...] nats.
    Raises:  ValueError when the shapes disagree, a logit is not finite, or an action is none of the A.
    Source:  Sutton & Barto 2018, eq. 13.2.

    >>> softmax_logp(torch.tensor([0., 0.]), torch.tensor(1))           # log ½
    tensor(-0.6931)
    """
    _check_softmax(logits, action)
    return logits.log_softmax(-1).gather(-1, action.long()[..., None])[..., 0]


def softmax_score(logits: Tensor, action: Tensor) -> Tensor:
    """Gradient of log π(action) with respect to the logits: what was done, minus what is usually done.

        ∂ log π(a) / ∂ logit_b = 1[a = b] − π(b)

    Args:
        logits: [..., A].
        action: [...] whole numbers from 0 to A − 1.
    Returns: [..., A]; sums to 0 over A, and its mean under the policy is 0.
    Raises:  ValueError when the shapes disagree, a logit is not finite, or an action is none of the A.
    Source:  Sutton & Barto 2018, eq. 13.9, with the actions themselves as features.

    >>> softmax_score(torch.tensor([0., 0.]), torch.tensor(1))
    tensor([-0.5000,  0.5000])
    """
    _check_softmax(logits, action)
    chosen = torch.nn.functional.one_hot(action.long(), logits.shape[-1])
    return chosen - logits.softmax(-1)


def softmax_entropy(logits: Tensor) -> Tensor:
    """Entropy of a softmax policy: H = −Σ_a π(a) log π(a).

    Args:
        logits: [..., A].
    Returns: [...] nats, from 0 (one action for certain) to log A (all alike).
    Raises:  ValueError when a logit is not finite.
    Source:  Williams & Peng 1991.

    >>> softmax_entropy(torch.zeros(4))                                 # log 4
    tensor(1.3863)
    """
    _check_logits(logits)
    logps = logits.log_softmax(-1)
    return -(logps.exp() * logps).sum(-1)


def softmax_fisher(logits: Tensor) -> Tensor:
    """Fisher information of the logits: the mean of score scoreᵀ under the policy.

        F = diag(π) − π πᵀ

    Singular: adding a constant to all logits changes nothing, so F · 1 = 0.

    Args:
        logits: [..., A].
    Returns: [..., A, A].
    Raises:  ValueError when a logit is not finite.
    Source:  Amari 1998; Kakade 2001.

    >>> softmax_fisher(torch.tensor([0., 0.]))
    tensor([[ 0.2500, -0.2500],
            [-0.2500,  0.2500]])
    """
    _check_logits(logits)
    policy = logits.softmax(-1)
    return torch.diag_embed(policy) - policy[..., :, None] * policy[..., None, :]


def gaussian_logp(mean: Tensor, log_std: Tensor, action: Tensor) -> Tensor:
    """Log-density of an action whose D coordinates are independent and normal.

        log π(a) = −Σ_d [½ z_d² + log σ_d + ½ log 2π],     z = (a − μ) / σ

    A density, not a probability: it can be above 0.

    Args:
        mean:    [..., D] μ.
        log_std: [..., D] log σ, or [D] when it is the same everywhere.
        action:  [..., D].
    Returns: [...] nats.
    Raises:  ValueError when the shapes disagree or a number is not finite.
    Source:  Sutton & Barto 2018, eq. 13.19.

    >>> gaussian_logp(torch.tensor([1.]), torch.tensor([0.]), torch.tensor([1.]))       # −½ log 2π
    tensor(-0.9189)
    """
    _check_gaussian(mean, log_std, action)
    z = (action - mean) / log_std.exp()
    return -(z**2 / 2 + log_std + math.log(2 * math.pi) / 2).sum(-1)


def gaussian_score(mean: Tensor, log_std: Tensor, action: Tensor) -> Tensor:
    """Gradient of log π(action) with respect to mean and log_std, in that order, side by side.

        ∂ log π / ∂ μ = (a − μ) / σ²,     ∂ log π / ∂ log σ = z² − 1,     z = (a − μ) / σ

    Its length grows like 1/σ: the score of a policy that narrows gets longer and longer.

    Args:
        mean:    [..., D] μ.
        log_std: [..., D] log σ, or [D] when it is the same everywhere.
        action:  [..., D].
    Returns: [..., 2D]; its mean under the policy is 0.
    Raises:  ValueError when the shapes disagree or a number is not finite.
    Source:  Williams 1992, section 6.

    >>> gaussian_score(torch.tensor([1.]), torch.tensor([0.]), torch.tensor([3.]))      # 2,  2² − 1
    tensor([2., 3.])
    """
    _check_gaussian(mean, log_std, action)
    std = log_std.exp()
    z = (action - mean) / std
    return torch.cat([z / std, z**2 - 1], -1)


def gaussian_entropy(log_std: Tensor) -> Tensor:
    """Entropy of a Gaussian policy: H = Σ_d [log σ_d + ½ log 2πe]. The mean does not matter.

    Args:
        log_std: [..., D] log σ.
    Returns: [...] nats; below 0 where the policy is narrow.
    Raises:  ValueError when a number is not finite.
    Source:  Cover & Thomas 2006, example 8.1.2.

    >>> gaussian_entropy(torch.zeros(1))
    tensor(1.4189)
    """
    _check_log_std(log_std)
    return (log_std + math.log(2 * math.pi * math.e) / 2).sum(-1)


def gaussian_fisher(log_std: Tensor) -> Tensor:
    """Fisher information of (mean, log_std), in that order: the mean of score scoreᵀ under the policy.

        F = diag(1/σ², 2)

    With σ itself as the parameter the second block would be 2/σ².

    Args:
        log_std: [..., D] log σ.
    Returns: [..., 2D, 2D], diagonal.
    Raises:  ValueError when a number is not finite.
    Source:  Amari 1998.

    >>> gaussian_fisher(torch.tensor([0.]))
    tensor([[1., 0.],
            [0., 2.]])
    """
    _check_log_std(log_std)
    return torch.diag_embed(torch.cat([(-2 * log_std).exp(), torch.full_like(log_std, 2)], -1))


def _check_logits(logits: Tensor) -> None:
    need(logits=(logits, "... A"))
    finite(logits=logits)


def _check_softmax(logits: Tensor, action: Tensor) -> None:
    _check_logits(logits)
    need(action=(action, axes(logits.shape[:-1])))
    if action.is_floating_point() or action.dtype is torch.bool:
        raise ValueError(f"action has dtype {action.dtype}, expected whole numbers")
    bad = action[(action < 0) | (action >= logits.shape[-1])]
    if bad.numel():
        raise ValueError(f"action is {bad[0].item()}, expected a number from 0 to {logits.shape[-1] - 1}")


def _check_log_std(log_std: Tensor) -> None:
    need(log_std=(log_std, "... D"))
    finite(log_std=log_std)


def _check_gaussian(mean: Tensor, log_std: Tensor, action: Tensor) -> None:
    need(mean=(mean, "... D"))
    shared = isinstance(log_std, Tensor) and log_std.ndim == 1
    need(action=(action, axes(mean.shape)), log_std=(log_std, axes(mean.shape[-1:] if shared else mean.shape)))
    finite(mean=mean, log_std=log_std, action=action)
