"""How far may one batch of old samples carry the policy? Ratios, clipping, KL penalties, and the natural step.

First the losses of PPO, then the parts of TRPO: solve F x = g without ever holding F, take the step whose KL is max_kl,
and shrink it until the real KL agrees. Left out: entropy (policies), KL estimators (kl), and the loops.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from rlcore.shapes import axes, beside, finite, need, positive, whole, within


class Search(NamedTuple):
    """What a line search found: the parameters, the fraction of the step taken (0: none fits), and the rejections."""

    parameters: Tensor
    fraction: float
    rejected: int


def ratio(logps: Tensor, old_logps: Tensor) -> Tensor:
    """How much likelier the policy makes what the old policy did: ρ = π(a|s) / π_old(a|s) = exp(logps − old_logps).

    Args:
        logps, old_logps: [...] nats, of the same actions; old_logps without gradient.
    Returns: [...], 1 where nothing has changed; its mean under the old policy is 1.
    Raises:  ValueError when the shapes disagree.
    Source:  Kahn & Marshall 1953; Schulman et al. 2017, arXiv:1707.06347, section 3.

    >>> ratio(torch.tensor([-1., -1.]), torch.tensor([-1., -2.]))
    tensor([1.0000, 2.7183])
    """
    return _log_ratio(logps, old_logps).exp()


def truncated_ratio(logps: Tensor, old_logps: Tensor, limit: float) -> Tensor:
    """The ratio, cut off above: min(ρ, limit). Less variance, at the price of a bias. No gradient where it is cut.

    Args:
        logps, old_logps: [...] nats.
        limit: above 0.
    Returns: [...]; detach it where it is the weight of another gradient.
    Raises:  ValueError when the shapes disagree or limit is not above 0.
    Source:  Ionides 2008; Espeholt et al. 2018, arXiv:1802.01561, section 4.1.

    >>> truncated_ratio(torch.tensor([-1., -1.]), torch.tensor([-1., -3.]), limit=2.0)
    tensor([1., 2.])
    """
    positive(limit=limit)
    return _log_ratio(logps, old_logps).clamp(max=math.log(limit)).exp()  # cut before exp: no inf, no NaN gradient


def surrogate(logps: Tensor, old_logps: Tensor, advantages: Tensor) -> Tensor:
    """The old samples' estimate of the policy's advantage over the old policy, ρ A. To be maximised.

    At the old policy its gradient is the policy gradient. It counts states as often as the *old* policy visits them, so
    it is true to first order only.

    Args:
        logps, old_logps: [...] nats.
        advantages:       [...] of the old policy, detached; an axis of size 1 is the same for all.
    Returns: [...] in units of reward.
    Raises:  ValueError when the axes disagree.
    Source:  Schulman et al. 2015, arXiv:1502.05477, eq. 14.

    >>> surrogate(torch.tensor([-1.]), torch.tensor([-2.]), torch.tensor([-3.]))
    tensor([-8.1548])
    """
    beside(logps=logps, advantages=advantages)
    return ratio(logps, old_logps) * advantages


def clipped_loss(logps: Tensor, old_logps: Tensor, advantages: Tensor, eps_low: float, eps_high: float) -> Tensor:
    """PPO's loss, to be minimised: the surrogate, without reward for moving on in the good direction.

        L = −min(ρ A, clip(ρ, 1 − ε_low, 1 + ε_high) A)

    The gradient is 0 in two cases only: A > 0 and ρ > 1 + ε_high, or A < 0 and ρ < 1 − ε_low. In the two others out of
    the range it pulls back. Nothing bounds the ratio itself: one large step can leave the range.
    Computed as −A min(ρ, 1 + ε_high) where A ≥ 0 and −A max(ρ, 1 − ε_low) where A < 0, which is the same.

    Args:
        logps, old_logps: [...] nats.
        advantages:       [...] detached; an axis of size 1 is the same for all.
        eps_low:          in [0, 1]; 1 = no lower limit.
        eps_high:         0 or more.
    Returns: [...] unreduced. At the old policy it is −A.
    Raises:  ValueError when the axes disagree, or eps_low or eps_high is out of range.
    Source:  Schulman et al. 2017, arXiv:1707.06347, eq. 7; two limits: Yu et al. 2025 (DAPO), arXiv:2503.14476, eq. 10.

    >>> old_logps = torch.zeros(2)
    >>> clipped_loss(torch.tensor([1.3, 1.3]).log(), old_logps, torch.tensor([1., -1.]), eps_low=0.2, eps_high=0.2)
    tensor([-1.2000,  1.3000])
    """
    beside(logps=logps, advantages=advantages)
    within(0, 1, eps_low=eps_low)
    within(0, math.inf, eps_high=eps_high)
    lowest = math.log1p(-eps_low) if eps_low < 1 else -math.inf
    log_ratio = _log_ratio(logps, old_logps)  # cut before exp: a huge ratio gives no NaN where its gradient is 0
    capped, floored = log_ratio.clamp(max=math.log1p(eps_high)), log_ratio.clamp(min=lowest)
    return -torch.where(advantages >= 0, capped, floored).exp() * advantages


def clipped_value_loss(values: Tensor, old_values: Tensor, returns: Tensor, eps_clip: float) -> Tensor:
    """PPO's loss for the critic, to be minimised: the worse of the value and the value kept near the old one.

        L = ½ max((V − R)², (clip(V, V_old − ε, V_old + ε) − R)²)

    Args:
        values, old_values: [...] in units of reward; old_values without gradient.
        returns:  [...] the targets, for instance advantages + old_values, without gradient.
        eps_clip: above 0, in units of *reward*, unlike the ratio's.
    Returns: [...] unreduced; where nothing is clipped its gradient is V − R.
    Raises:  ValueError when the shapes disagree or eps_clip is not above 0.
    Source:  Dhariwal et al. 2017, OpenAI Baselines, ppo2; Engstrom et al. 2020, arXiv:2005.12729, section 3.

    >>> clipped_value_loss(torch.tensor([2.]), torch.tensor([1.]), torch.tensor([3.]), eps_clip=0.5)    # ½ (1.5 − 3)²
    tensor([1.1250])
    """
    shape = axes(values.shape)
    need(old_values=(old_values, shape), returns=(returns, shape))
    positive(eps_clip=eps_clip)
    near = old_values + (values - old_values).clamp(-eps_clip, eps_clip)
    return torch.maximum((values - returns) ** 2, (near - returns) ** 2) / 2


def next_beta(beta: float, kl: float, target: float) -> float:
    """The coefficient of the KL penalty for the next batch: doubled where KL was far too large, halved if too small.

        2β when KL > 1.5 · target,     β/2 when KL < target / 1.5,     else β

    Args:
        beta:   above 0, in units of reward per nat.
        kl:     nats, what the last update gave; an estimate may be below 0.
        target: nats, above 0.
    Returns: the next beta.
    Raises:  ValueError when beta or target is not above 0, or kl is not finite.
    Source:  Schulman et al. 2017, arXiv:1707.06347, section 4.

    >>> next_beta(1.0, kl=0.016, target=0.01), next_beta(1.0, kl=0.004, target=0.01)
    (2.0, 0.5)
    """
    positive(beta=beta, target=target)
    finite(kl=torch.as_tensor(kl))
    if kl > 1.5 * target:
        return 2 * beta
    return beta / 2 if kl < target / 1.5 else beta


def conjugate_gradient(product: Callable[[Tensor], Tensor], b: Tensor, steps: int, tol: float) -> Tensor:
    """Solve F x = b when only products F v are at hand. Exact after one step for each distinct eigenvalue above 0.

    Starts from x = 0, so where F is singular x has no part in its null space. Fewer steps give an approximation.

    Args:
        product: v [N] ↦ F v [N], F symmetric and positive semidefinite.
        b:       [N], in the range of F; where that is in doubt, add damping: F v + damping · v.
        steps:   at most so many products, 1 or more.
        tol:     stop when ‖b − F x‖ ≤ tol ‖b‖; above 0.
    Returns: [N].
    Raises:  ValueError when shapes disagree, a number is not finite, or F has a direction p with pᵀ F p ≤ 0 in b.
    Source:  Hestenes & Stiefel 1952; Schulman et al. 2015, arXiv:1502.05477, appendix C.

    >>> conjugate_gradient(lambda v: torch.tensor([2., 4.]) * v, torch.tensor([2., 2.]), steps=2, tol=1e-6)
    tensor([1.0000, 0.5000])
    """
    need(b=(b, "N"))
    finite(b=b)
    positive(tol=tol)
    whole(1, steps=steps)
    x, left, direction, steepest = torch.zeros_like(b), b, b, 0.0
    for _ in range(steps):
        squared = left @ left
        if squared.sqrt() <= tol * b.norm():
            break
        moved = _applied(product, direction)
        curvature = (direction @ moved / (direction @ direction)).item()
        steepest = max(steepest, curvature)
        if curvature <= torch.finfo(b.dtype).eps * steepest:  # flat, but for rounding
            if squared.sqrt() <= torch.finfo(b.dtype).eps ** 0.5 * b.norm():
                break  # so is what is left of b
            raise ValueError(f"product gives pᵀ F p / pᵀ p = {curvature:.3g} for a part p of b, expected it above 0")
        stride = squared / (direction @ moved)
        x, left = x + stride * direction, left - stride * moved
        direction = left + (left @ left / squared) * direction
    return x


def natural_step(
    gradient: Tensor, fisher_product: Callable[[Tensor], Tensor], max_kl: float, steps: int = 10, tol: float = 1e-10
) -> Tensor:
    """The step that climbs most among those whose KL is max_kl, to second order.

        Δ = √(2 max_kl / xᵀ F x) x,     F x = g,     so that ½ Δᵀ F Δ = max_kl

    Args:
        gradient:       [N] g, of what is to be maximised.
        fisher_product: v [N] ↦ F v [N].
        max_kl:         nats, above 0.
        steps, tol:     of conjugate_gradient.
    Returns: [N], to be added to the parameters. The real KL differs by the third order: search the line.
    Raises:  ValueError when max_kl is not above 0, the gradient is 0, or conjugate_gradient refuses.
    Source:  Kakade 2001; Schulman et al. 2015, arXiv:1502.05477, appendix C.

    >>> natural_step(torch.tensor([3., 0.]), lambda v: torch.tensor([4., 1.]) * v, max_kl=0.5)      # ½ · 4 · ½² = ½
    tensor([0.5000, 0.0000])
    """
    positive(max_kl=max_kl)
    x = conjugate_gradient(fisher_product, gradient, steps, tol)
    length = x @ _applied(fisher_product, x)
    if not length > 0:
        raise ValueError("gradient is 0 everywhere, expected a direction to climb")
    return (2 * max_kl / length).sqrt() * x


def line_search(
    objective: Callable[[Tensor], Tensor],
    kl: Callable[[Tensor], Tensor],
    start: Tensor,
    step: Tensor,
    max_kl: float,
    shrink: float,
    tries: int,
) -> Search:
    """Shrink a step until the objective has risen and the real KL fits.

    Tries start + shrinkʲ step for j = 0, 1, … and takes the first with objective above that of start and KL ≤ max_kl. A
    point where either is NaN is rejected. If none is left, the parameters stay at start and the fraction is 0.

    Args:
        objective: parameters [N] ↦ what is to be maximised.
        kl:        parameters [N] ↦ KL(old‖policy), nats, a mean over the visited states.
        start, step: [N].
        max_kl:    nats, above 0.
        shrink:    above 0 and below 1.
        tries:     1 or more.
    Returns: Search(parameters [N], fraction of the step, rejected tries).
    Raises:  ValueError when shapes disagree, a number is out of range, or start or its objective is not finite.
    Source:  Schulman et al. 2015, arXiv:1502.05477, appendix C.

    >>> line_search(lambda x: -x @ x, lambda x: (x - 1) @ (x - 1), torch.ones(1), torch.tensor([-4.]), 1.0, 0.5, 5)
    Search(parameters=tensor([0.]), fraction=0.25, rejected=2)
    """
    need(start=(start, "N"), step=(step, "N"))
    before = torch.as_tensor(objective(start))
    finite(**{"start": start, "step": step, "objective(start)": before})
    positive(max_kl=max_kl, shrink=shrink)
    whole(1, tries=tries)
    if shrink >= 1:
        raise ValueError(f"shrink is {shrink}, expected a number below 1")
    for rejected in range(tries):
        fraction = shrink**rejected
        parameters = start + fraction * step
        if objective(parameters) > before and kl(parameters) <= max_kl:
            return Search(parameters, fraction, rejected)
    return Search(start, 0.0, tries)


def _log_ratio(logps: Tensor, old_logps: Tensor) -> Tensor:
    need(old_logps=(old_logps, axes(logps.shape)))
    return logps - old_logps


def _applied(product: Callable[[Tensor], Tensor], v: Tensor) -> Tensor:
    result = product(v)
    need(**{"product(v)": (result, axes(v.shape))})
    finite(**{"product(v)": result})
    return result
