"""What if the better half of the batch were all there is to imitate? V-MPO: weights from advantages, then likelihood.

The E-step turns advantages into weights, the temperature's loss decides how sharp they are, the M-step fits the policy
to them, and a multiplier keeps it near the old one. Left out: the critic, and the loop.
"""

import math

import torch
from torch import Tensor

from rlcore.shapes import axes, finite, need, positive


def top_half(advantages: Tensor) -> Tensor:
    """Which samples are among the better half? Of an odd number the smaller half; of equals the earlier ones.

    Args:
        advantages: [N], 2 or more.
    Returns: [N] bool, N // 2 of them True.
    Raises:  ValueError when advantages are not finite, not [N], or fewer than 2.
    Source:  Song et al. 2019, arXiv:1909.12238, section 4.1.

    >>> top_half(torch.tensor([2., -1., 1., 0.]))
    tensor([ True, False,  True, False])
    """
    size = need(advantages=(advantages, "N"))["N"]
    finite(advantages=advantages)
    if size < 2:
        raise ValueError(f"advantages has {size} samples, expected at least 2: one has no better half")
    best = advantages.argsort(descending=True, stable=True)[: size // 2]
    return torch.zeros_like(advantages, dtype=torch.bool).index_fill(0, best, True)


def e_step(advantages: Tensor, temperature: Tensor | float) -> Tensor:
    """The weights that the policy is to imitate: a softmax of advantages over their better half, 0 elsewhere.

        ψ_i = exp(A_i / η) / Σ_{j in the better half} exp(A_j / η)

    Args:
        advantages:  [N] in units of reward, 2 or more.
        temperature: η, above 0, in units of reward: small takes the best alone, large weighs the half evenly.
    Returns: [N], sums to 1; detach it for the M-step.
    Raises:  ValueError when advantages are not finite, not [N], or fewer than 2, or temperature is not above 0.
    Source:  Song et al. 2019, arXiv:1909.12238, eq. 3.

    >>> e_step(torch.tensor([2., 1., 0., -1.]), temperature=1.0)
    tensor([0.7311, 0.2689, 0.0000, 0.0000])
    """
    positive(temperature=temperature)
    return (advantages / temperature).masked_fill(~top_half(advantages), -math.inf).softmax(-1)


def temperature_loss(temperature: Tensor, advantages: Tensor, eps_eta: float) -> Tensor:
    """The loss of the temperature, to be minimised: where it is least, ψ is eps_eta away from even weights.

        L = η ε_η + η log( mean over the better half of exp(A / η) ),     ∂L/∂η = ε_η − KL(ψ‖even)

    Args:
        temperature: [] η, above 0, in units of reward.
        advantages:  [N] detached, 2 or more.
        eps_eta:     nats, above 0; below log(N // 2), the KL of taking the best sample alone.
    Returns: [] in units of reward, convex in η.
    Raises:  ValueError when a shape does not fit, a number is not finite, or temperature or eps_eta is not above 0.
    Source:  Song et al. 2019, arXiv:1909.12238, eq. 4.

    >>> temperature_loss(torch.tensor(1.), torch.tensor([2., 1., 0., -1.]), eps_eta=0.1)     # 0.1 + log ½(e² + e)
    tensor(1.7201)
    """
    need(temperature=(temperature, ""))
    positive(temperature=temperature, eps_eta=eps_eta)
    better = advantages[top_half(advantages)]
    return temperature * (eps_eta + (better / temperature).logsumexp(-1) - math.log(len(better)))


def m_step_loss(logps: Tensor, weights: Tensor) -> Tensor:
    """The policy's loss, to be minimised: weighted likelihood, −ψ log π. Its sum over the batch is what V-MPO uses.

    Args:
        logps:   [N] log π of what was done, nats.
        weights: [N] of the E-step, detached.
    Returns: [N] unreduced; add it up, since the weights sum to 1.
    Raises:  ValueError when the shapes disagree.
    Source:  Song et al. 2019, arXiv:1909.12238, eq. 2.

    >>> m_step_loss(torch.tensor([-1., -2.]), torch.tensor([0.75, 0.25]))
    tensor([0.7500, 0.5000])
    """
    need(weights=(weights, axes(logps.shape)))
    return -weights * logps


def trust_region_loss(kl: Tensor, multiplier: Tensor, max_kl: float) -> Tensor:
    """A KL limit as a loss for two: the policy pays α per nat, and the price α rises while the KL is above its limit.

        L = α (ε_α − sg[KL]) + sg[α] KL,     sg: without gradient

    Args:
        kl:         [...] KL(old‖policy) in each visited state, nats.
        multiplier: [] α, above 0.
        max_kl:     ε_α, nats, above 0.
    Returns: [...] unreduced, to be minimised over policy and multiplier alike; its value is α ε_α, whatever the KL.
    Raises:  ValueError when multiplier is not [], or multiplier or max_kl is not above 0.
    Source:  Song et al. 2019, arXiv:1909.12238, eq. 5.

    >>> trust_region_loss(torch.tensor([0.03]), torch.tensor(2.), max_kl=0.01)
    tensor([0.0200])
    """
    need(multiplier=(multiplier, ""))
    positive(multiplier=multiplier, max_kl=max_kl)
    return multiplier * (max_kl - kl.detach()) + multiplier.detach() * kl
