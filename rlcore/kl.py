"""How far is the policy from the reference? Exact divergences, and the estimators k1, k2, k3 from samples.

Every KL here is KL(policy‖ref) = Σ_a π(a) (log π(a) − log π_ref(a)): averaged under the policy, in nats. The estimators
take log-probabilities of actions drawn *from the policy*. A good estimate of the value is not a good loss: what the
gradient of its mean is, each docstring says. Left out: whole sequences (sum over tokens), and where the penalty goes.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from rlcore.shapes import axes, finite, need, within
from rlcore.trust_region import ratio


def exact(logits: Tensor, ref_logits: Tensor) -> Tensor:
    """KL(policy‖ref), summed over all actions. To know the other direction, swap the arguments.

        Σ_a π(a) (log π(a) − log π_ref(a))

    Args:
        logits, ref_logits: [..., A] of policy and reference.
    Returns: [...] nats, 0 or more.
    Raises:  ValueError when the shapes disagree or a logit is not finite.
    Source:  Kullback & Leibler 1951.

    >>> half, nine = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.9, 0.1]).log()
    >>> exact(half, nine), exact(nine, half)
    (tensor(0.5108), tensor(0.3681))
    """
    logps, ref_logps = _both(logits, ref_logits)
    return (logps.exp() * (logps - ref_logps)).sum(-1)


def k1(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """KL(policy‖ref), sampled from policy: log π − log π_ref. Unbiased, noisy, often negative.

    As a loss it does nothing: the mean of its gradient is 0. In the *reward*, detached, −k1 gives the right gradient.

    Args:
        logps, ref_logps: [...] nats, of the same sampled actions.
    Returns: [...] nats.
    Raises:  ValueError when the shapes disagree.
    Source:  Schulman 2020, "Approximating KL divergence".

    >>> k1(torch.tensor([-1., -2.]), torch.tensor([-2., -1.]))
    tensor([ 1., -1.])
    """
    return _log_ratio(logps, ref_logps)


def k2(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """KL(policy‖ref), sampled from policy: ½ (log π − log π_ref)². Biased, little noise, never negative.

    As a loss its mean has exactly the gradient of KL(policy‖ref), though its value is not the KL.

    Args:
        logps, ref_logps: [...] nats, of the same sampled actions.
    Returns: [...] nats.
    Raises:  ValueError when the shapes disagree.
    Source:  Schulman 2020, "Approximating KL divergence".

    >>> k2(torch.tensor([-1., -2.]), torch.tensor([-2., -4.]))
    tensor([0.5000, 2.0000])
    """
    return _log_ratio(logps, ref_logps) ** 2 / 2


def k3(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """KL(policy‖ref), sampled from policy: x − 1 − log x with x = π_ref / π. Unbiased, little noise, never negative.

    As a loss its mean has the gradient of the *other* direction, KL(ref‖policy). Times the ratio π / π_old it is right
    again: `k3_loss`. Computed with expm1: in float32 exp(d) − 1 − d is 0 for small d.

    Args:
        logps, ref_logps: [...] nats, of the same sampled actions.
    Returns: [...] nats, 0 or more.
    Raises:  ValueError when the shapes disagree.
    Source:  Schulman 2020, "Approximating KL divergence"; Shao et al. 2024 (GRPO), arXiv:2402.03300, eq. 4.

    >>> k3(torch.tensor([-1., -2.]), torch.tensor([-2., -1.]))              # e⁻¹ − 1 + 1,  e − 1 − 1
    tensor([0.3679, 0.7183])
    """
    log_ratio = _log_ratio(logps, ref_logps)
    return torch.expm1(-log_ratio) + log_ratio


def k3_loss(logps: Tensor, old_logps: Tensor, ref_logps: Tensor) -> Tensor:
    """KL(policy‖ref), sampled from the old policy, to be minimised: k3 times the ratio. Right in value and in gradient.

        L = ρ k3,     ρ = π / π_old with its gradient,     ∂L/∂ log π = ρ (log π − log π_ref)

    On the policy's own samples, old_logps = logps.detach(), every sample has the gradient it has under k2 and the value
    it has under k3. From older samples k2 is off, and this is not.
    Token by token it is the KL of the next token, after prefixes as they came. That a token also decides which prefixes
    come is left out, as with k2 and k3: for the KL of whole replies, use log-probabilities of replies, or pay −β k1 in
    the reward (`rlhf.token_rewards`).

    Args:
        logps, old_logps, ref_logps: [...] nats, of the same actions; only logps with gradient.
    Returns: [...] nats, 0 or more.
    Raises:  ValueError when the shapes disagree.
    Source:  DeepSeek-AI 2025 (DeepSeek-V3.2), arXiv:2512.02556, eq. 7; Tang & Munos 2025, arXiv:2506.09477.

    >>> logps = torch.tensor([-1., -2.], requires_grad=True)
    >>> k3_loss(logps, logps.detach(), torch.tensor([-2., -1.])).sum().backward()
    >>> logps.grad                                                          # k3 alone: 1 − e⁻¹, 1 − e
    tensor([ 1.0000, -1.0000])
    """
    return ratio(logps, old_logps) * k3(logps, ref_logps)


def f_divergence(logits: Tensor, ref_logits: Tensor, f: Callable[[Tensor], Tensor]) -> Tensor:
    """How far the policy is from the reference, measured by a convex f of the probability ratio.

        D_f(policy‖ref) = Σ_a π_ref(a) f(π(a) / π_ref(a)),     f(1) = 0

    Args:
        logits, ref_logits: [..., A] of policy and reference.
        f: convex, with f(1) = 0; below: reverse_kl, forward_kl, jensen_shannon, alpha(…).
    Returns: [...] nats, 0 or more.
    Raises:  ValueError when the shapes disagree or a logit is not finite.
    Source:  Csiszár 1967; Wang et al. 2023, arXiv:2309.16240, section 3.

    >>> half, nine = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.9, 0.1]).log()
    >>> f_divergence(half, nine, reverse_kl), f_divergence(half, nine, forward_kl)
    (tensor(0.5108), tensor(0.3681))
    """
    logps, ref_logps = _both(logits, ref_logits)
    return (ref_logps.exp() * f((logps - ref_logps).exp())).sum(-1)


def reverse_kl(u: Tensor) -> Tensor:
    """f(u) = u log u: gives KL(policy‖ref), the one of RLHF. Settles on a mode."""
    return torch.xlogy(u, u)


def forward_kl(u: Tensor) -> Tensor:
    """f(u) = −log u: gives KL(ref‖policy), the one of maximum likelihood. Covers every mode."""
    return -u.log()


def jensen_shannon(u: Tensor) -> Tensor:
    """f(u) = u log u − (u + 1) log((u + 1) / 2): gives *twice* the Jensen–Shannon divergence, at most 2 log 2."""
    return torch.xlogy(u, u) - (u + 1) * ((u + 1) / 2).log()


def alpha(alpha: float) -> Callable[[Tensor], Tensor]:
    """f(u) = (u^(1−α) − (1−α) u − α) / (α (α − 1)): between reverse KL (α → 0) and forward KL (α → 1).

    Raises: ValueError when alpha is not inside (0, 1).

    >>> alpha(0.5)(torch.tensor([1.0, 4.0]))                               # (2 − 2 − ½) / −¼
    tensor([-0., 2.])
    """
    within(0, 1, alpha=alpha)
    if alpha in (0, 1):
        raise ValueError(f"alpha is {alpha}, expected a number inside (0, 1): the ends are reverse_kl and forward_kl")
    return lambda u: (u ** (1 - alpha) - (1 - alpha) * u - alpha) / (alpha * (alpha - 1))


def _both(logits: Tensor, ref_logits: Tensor) -> tuple[Tensor, Tensor]:
    need(logits=(logits, "... A"), ref_logits=(ref_logits, axes(logits.shape)))
    finite(logits=logits, ref_logits=ref_logits)
    return logits.log_softmax(-1), ref_logits.log_softmax(-1)


def _log_ratio(logps: Tensor, ref_logps: Tensor) -> Tensor:
    need(logps=(logps, "..."), ref_logps=(ref_logps, axes(logps.shape)))
    return logps - ref_logps
