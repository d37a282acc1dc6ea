"""Which arm next, and what did trying cost? Regret, the UCB index, the softmax policy and the gradient bandit.

A bandit is one state with K arms. Leading axes `...` are independent runs. Left out: drawing arms and rewards (loops);
ε-greedy, which td has.
"""

import torch
from torch import Tensor

from rlcore.shapes import finite, need, positive, within
from rlcore.tables import Number, entries, exist, hide, like, per_learner, rate


def regret(means: Tensor, actions: Tensor) -> Tensor:
    """What the choices so far have cost on average, against always pulling the best arm.

        regret_t = Σ_{i ≤ t} (max_k μ_k − μ_{a_i})

    It counts true means, not rewards that happened, so it never falls and carries no luck of the draw.

    Args:
        means:   [K] true mean reward of each arm, or [..., K] one bandit per run.
        actions: [..., T] int64, the arms pulled.
    Returns: [..., T], in units of reward.
    Raises:  ValueError when shapes disagree, an arm does not exist, or a mean is not finite.
    Source:  Auer et al. 2002, section 1 (with the counts in place of their expectation).

    >>> regret(torch.tensor([1., 3., 2.]), torch.tensor([0, 2, 1, 0]))
    tensor([2., 3., 3., 5.])
    """
    need(means=(means, "... K"), actions=(actions, "... T"))
    finite(means=means)
    if means.ndim == 1:
        means = means.expand(*actions.shape[:-1], -1)
    like((*actions.shape[:-1], means.shape[-1]), means=means)
    return (means.amax(-1, keepdim=True) - entries(means, actions=actions)).cumsum(-1)


def ucb(counts: Tensor, sums: Tensor, step: Number, confidence: float) -> Tensor:
    """Upper confidence bounds: pull the arm whose bound is largest. Mean so far, plus a bonus for the rarely tried.

        sums / counts + confidence √(ln step / counts),    +∞ for an arm never tried

    confidence = √2 is UCB1, made for rewards in [0, 1].

    Args:
        counts:     [..., K] how often each arm was pulled, 0 or more.
        sums:       [..., K] the rewards it paid in total; not read where the count is 0.
        step:       pulls so far, at least 1, or [...] one per run.
        confidence: above 0, in units of reward.
    Returns: [..., K], in units of reward.
    Raises:  ValueError when shapes disagree, a count is negative, a sum is not finite, or step or confidence is out of
             range.
    Source:  Auer et al. 2002, figure 1; Sutton & Barto 2018, eq. 2.10.

    >>> ucb(torch.tensor([1., 4., 0.]), torch.tensor([0.5, 4., 0.]), step=5, confidence=2 ** 0.5)
    tensor([2.2941, 1.8971, inf])
    """
    need(counts=(counts, "... K"))
    like(counts.shape, sums=sums)
    within(0, torch.inf, counts=counts), within(1, torch.inf, step=step), positive(confidence=confidence)
    tried = counts > 0
    sums = hide(tried, sums)
    finite(counts=counts, sums=sums)
    pulls = torch.where(tried, counts, 1).to(sums.dtype)
    bonus = confidence * (per_learner(counts.shape[:-1], sums, step=step).log()[..., None] / pulls).sqrt()
    return torch.where(tried, sums / pulls + bonus, torch.inf)


def softmax_policy(preferences: Tensor, temperature: float) -> Tensor:
    """Arms in proportion to exp(preference / temperature): the larger the temperature, the more evenly.

    Args:
        preferences: [..., K].
        temperature: above 0, in units of the preferences.
    Returns: [..., K] probabilities.
    Raises:  ValueError when a preference is not finite or temperature is not above 0.
    Source:  Sutton & Barto 2018, eq. 2.11, with a temperature.

    >>> softmax_policy(torch.tensor([0., 3.]).log1p(), temperature=1.0)                     # 1 : 4
    tensor([0.2000, 0.8000])
    """
    need(preferences=(preferences, "... K"))
    finite(preferences=preferences)
    positive(temperature=temperature)
    return (preferences / temperature).softmax(-1)


def gradient_bandit(preferences: Tensor, action: Tensor, reward: Tensor, baseline: Number, lr: Number) -> Tensor:
    """One pull moves the preferences: up for the arm that paid more than the baseline, down for all others.

        H(k) ← H(k) + α (r − baseline) (1[k = a] − π(k)),    π = softmax(H)

    Averaged over the arms drawn from π it is a step of α along the gradient of the expected reward, whatever the
    baseline.

    Args:
        preferences: [..., K] one row per run.
        action:      [...] int64, the arm pulled, drawn from π.
        reward:      [...] what it paid.
        baseline:    a number, or [...] one per run; usually the mean reward so far.
        lr:          above 0, or [...] one per run.
    Returns: [..., K].
    Raises:  ValueError when shapes disagree, an arm does not exist, or a number is not finite.
    Source:  Williams 1992; Sutton & Barto 2018, eq. 2.12.

    >>> gradient_bandit(torch.zeros(2), torch.tensor(0), torch.tensor(3.), baseline=1.0, lr=0.5)   # ½ · 2 · (1 − ½, −½)
    tensor([ 0.5000, -0.5000])
    """
    leading, policy = preferences.shape[:-1], softmax_policy(preferences, temperature=1.0)
    like(leading, action=action, reward=reward)
    exist(policy.shape[-1], action=action)
    baseline = per_learner(leading, preferences, baseline=baseline)
    finite(reward=reward, baseline=baseline)
    score = torch.nn.functional.one_hot(action, policy.shape[-1]) - policy  # ∇_H log π(a)
    return preferences + (rate(leading, lr, preferences) * (reward - baseline))[..., None] * score
