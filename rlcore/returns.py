"""How good was each step? Rewards-to-go and advantages of rows of steps that end or are cut off.

A row holds T steps. A step that *ended* an episode has discount 0: nothing behind it, a NaN included, reaches back over
it, and the row may go on with padding or with the next episode. A row that was *cut off* keeps its discount and
bootstraps, once, from the value behind its last step. All of it is differentiable in rewards, values and discounts,
except that an end is an end: a discount of 0 gets no gradient through what it hides. Left out: normalising advantages.
"""

import torch
from torch import Tensor

from rlcore.shapes import finite, need, whole, within
from rlcore.tables import k_step_targets


def discounted_returns(rewards: Tensor, discounts: Tensor, bootstrap: Tensor) -> Tensor:
    """Rewards-to-go: what was collected from each step on.

        G_t = r_t + γ_t G_{t+1},     G_T = bootstrap

    Args:
        rewards:   [B, T] r_t, received after action t.
        discounts: [B, T] γ, or 0 where the episode ended at t.
        bootstrap: [B]    value of the state a row was cut off in; does not matter where the last step ended.
    Returns: [B, T] in units of reward.
    Raises:  ValueError when shapes disagree, a discount is outside [0, 1], or something before an end is not finite.
    Source:  Sutton & Barto 2018, eq. 3.9.

    >>> from torch import tensor
    >>> discounted_returns(tensor([[1., 2., 3.]]), tensor([[.5, .5, .5]]), bootstrap=tensor([4.]))
    tensor([[3.2500, 4.5000, 5.0000]])
    """
    need(rewards=(rewards, "B T"), discounts=(discounts, "B T"), bootstrap=(bootstrap, "B"))
    check_steps(rewards, discounts, bootstrap=bootstrap[:, None])
    return recurrence(rewards, discounts, bootstrap)


def td_errors(rewards: Tensor, discounts: Tensor, values: Tensor) -> Tensor:
    """One-step surprise: the reward and the next value, less the value expected.

        δ_t = r_t + γ_t V(s_{t+1}) − V(s_t)

    With the exact values its mean is 0; a single one is not.

    Args:
        rewards:   [B, T]   r_t, received after action t.
        discounts: [B, T]   γ, or 0 where the episode ended at t.
        values:    [B, T+1] V(s_t); the last column bootstraps what was cut off.
    Returns: [B, T] in units of reward.
    Raises:  ValueError when shapes disagree, a discount is outside [0, 1], or something before an end is not finite.
    Source:  Sutton & Barto 2018, eq. 6.5.

    >>> from torch import tensor
    >>> td_errors(tensor([[0., 1.]]), tensor([[.5, 0.]]), tensor([[1., 4., 9.]]))
    tensor([[ 1., -3.]])
    """
    need(rewards=(rewards, "B T"), discounts=(discounts, "B T"), values=(values, "B T+1"))
    check_steps(rewards, discounts, values=values)
    return rewards + discounted(discounts, values[:, 1:]) - values[:, :-1]


def k_step_advantages(rewards: Tensor, discounts: Tensor, values: Tensor, k: int) -> Tensor:
    """k rewards and then the value, less the value expected; fewer than k where the row stops before.

        A_t = r_t + γ_t r_{t+1} + … + γ_t ⋯ γ_{t+k−1} V(s_{t+k}) − V(s_t)

    Args:
        rewards:   [B, T]   r_t, received after action t.
        discounts: [B, T]   γ, or 0 where the episode ended at t.
        values:    [B, T+1] V(s_t); the last column bootstraps what was cut off.
        k:         steps, 1 or more; 1 = TD error, T or more = return minus value.
    Returns: [B, T] in units of reward.
    Raises:  ValueError as td_errors, or when k is no whole number above 0.
    Source:  Schulman et al. 2016, arXiv:1506.02438, eq. 14.

    >>> from torch import tensor
    >>> k_step_advantages(tensor([[1., 2., 3.]]), torch.ones(1, 3), tensor([[0., 0., 10., 2.]]), k=2)
    tensor([[13.,  7., -5.]])
    """
    whole(1, k=k)
    need(rewards=(rewards, "B T"), discounts=(discounts, "B T"), values=(values, "B T+1"))
    check_steps(rewards, discounts, values=values)
    return k_step_targets(rewards, discounts, values, k) - values[:, :-1]


def gae(rewards: Tensor, discounts: Tensor, values: Tensor, lam: float) -> Tensor:
    """Generalised advantage estimates: how much better than expected was each step?

        δ_t = r_t + γ_t V(s_{t+1}) − V(s_t),     A_t = δ_t + γ_t λ A_{t+1}

    Args:
        rewards:   [B, T]   r_t, received after action t.
        discounts: [B, T]   γ, or 0 where the episode ended at t.
        values:    [B, T+1] V(s_t); the last column bootstraps what was cut off.
        lam:       in [0, 1]; 0 = one-step TD error, 1 = return minus value.
    Returns: [B, T] advantages, in units of reward.
    Raises:  ValueError as td_errors, or when lam is outside [0, 1].
    Source:  Schulman et al. 2016, arXiv:1506.02438, eq. 16.

    >>> from torch import tensor
    >>> gae(tensor([[0., 1.]]), tensor([[.5, 0.]]), tensor([[0., 0., 9.]]), lam=1.0)
    tensor([[0.5000, 1.0000]])
    """
    within(0, 1, lam=lam)
    deltas = td_errors(rewards, discounts, values)
    return recurrence(deltas, lam * discounts.to(deltas.dtype), torch.zeros_like(deltas[:, 0]))


def lambda_returns(rewards: Tensor, discounts: Tensor, values: Tensor, lam: float) -> Tensor:
    """What a value should have been: the λ-weighted mixture of k-step returns. G_t = A_t + V(s_t)

    Args:
        rewards:   [B, T]   r_t, received after action t.
        discounts: [B, T]   γ, or 0 where the episode ended at t.
        values:    [B, T+1] V(s_t); the last column bootstraps what was cut off.
        lam:       in [0, 1]; 0 = reward and next value, 1 = the return.
    Returns: [B, T] targets for V(s_t), in units of reward.
    Raises:  ValueError as gae.
    Source:  Sutton & Barto 2018, eq. 12.2.

    >>> from torch import tensor
    >>> lambda_returns(tensor([[0., 1.]]), tensor([[.5, 0.]]), tensor([[3., 0., 9.]]), lam=1.0)
    tensor([[0.5000, 1.0000]])
    """
    return gae(rewards, discounts, values, lam) + values[:, :-1]


def recurrence(x: Tensor, keep: Tensor, last: Tensor) -> Tensor:
    """From the last step to the first: y_t = x_t + keep_t y_{t+1}, with y_T = last. Checks nothing.

    Args:
        x, keep: [B, T].
        last:    [B].
    Returns: [B, T].
    """
    y, ahead = [], last
    for x_now, keep_now in zip(reversed(x.unbind(1)), reversed(keep.unbind(1)), strict=True):
        ahead = x_now + discounted(keep_now, ahead)
        y.append(ahead)
    return torch.stack(y[::-1], dim=1)


def discounted(keep: Tensor, ahead: Tensor) -> Tensor:
    """keep · ahead, and 0 where keep is 0, whatever ahead is: 0 · NaN is NaN, in the gradient too."""
    return keep * torch.where(keep == 0, torch.zeros_like(ahead), ahead)


def check_steps(rewards: Tensor, discounts: Tensor, **values: Tensor) -> None:
    """Raise unless there is a step, discounts lie in [0, 1], and the first episode of each row is finite.

    Behind an end there may be anything: padding cannot be told from the next episode. It stays there.

    Args:
        rewards, discounts: [B, T].
        values: [B, T+1], or [B, 1] for the last column alone, by the name to complain about.
    """
    if not rewards.numel():
        raise ValueError(f"rewards has shape {list(rewards.shape)}, expected at least one row and one step")
    within(0, 1, discounts=torch.stack(discounts.detach().aminmax()))
    for name, x in {"rewards": rewards, **values}.items():
        if torch.isfinite(x.detach().sum()):  # the usual case, in one pass
            continue
        before = (discounts == 0).cumsum(1).bool()  # an end at t or earlier
        over = torch.cat([torch.zeros_like(before[:, :1]), before], dim=1)  # [B, T+1]: an end earlier than t
        over = over[:, :-1] if name == "rewards" else over[:, -x.shape[1] :]
        finite(**{name: torch.where(over, torch.zeros_like(x), x)})
