"""What does experience teach a table? Monte Carlo, TD(0), n-step, TD(λ), SARSA, Expected SARSA, Q-learning; ε-greedy.

Leading axes `...` are independent learners, each with its own table: one call makes the same step in all of them, for
instance in a hundred repetitions of an experiment. Within one call the tables stand still: every error is measured
against the table given, and changes that hit the same entry add up. A single-transition update never does that; for a
batch of N transitions on one table, give each its own copy and add the changes:

    v + (td_zero(v.expand(N, -1), states, rewards, discounts, next_states, lr) - v).sum(0)

The discount is 0 where the episode ended; what stands behind it (next state, next action, its value, a NaN) is not
read. Tables are never written to: a new one comes back. Left out: drawing actions (loops), Q-networks, traces on-line.
"""

import torch
from torch import Tensor

from rlcore import tables
from rlcore.shapes import finite, need, positive, probabilities, whole, within
from rlcore.tables import Number, alive_at, boolean, entries, exist, hide, like, next_rows, per_learner, rate, td_error


def monte_carlo(v: Tensor, states: Tensor, returns: Tensor, mask: Tensor, lr: Number) -> Tensor:
    """Every visit moves the state's value towards the return that followed it.

        V(s) ← V(s) + α Σ_{t: s_t = s} (G_t − V(s))

    The visits of one call add up: k visits move a value k·α of the way, so keep α below 1 / k. To update visit by
    visit instead, call once per step with slices of T = 1.

    Args:
        v:       [..., S] one table per learner.
        states:  [..., T] int64, the states of each learner's episode.
        returns: [..., T] G_t, the discounted sum of rewards from t on.
        mask:    [..., T] bool, False where the episode is already over.
        lr:      above 0, or [...] one per learner.
    Returns: [..., S].
    Raises:  ValueError when shapes disagree, a state does not exist, or a real number is not finite.
    Source:  Sutton & Barto 2018, eq. 6.1, applied at the end of the episode.

    >>> v, mask = torch.tensor([0., 4.]), torch.tensor([True, True, True])
    >>> monte_carlo(v, torch.tensor([0, 1, 0]), torch.tensor([1., 2., 3.]), mask, lr=0.5)   # 0 + ½ (1 + 3), 4 + ½ (−2)
    tensor([2., 3.])
    """
    need(v=(v, "... S"), mask=(mask, "... T"))
    like((*v.shape[:-1], mask.shape[-1]), mask=boolean(mask), states=states, returns=returns)
    states, lr = hide(mask, states), rate(v.shape[:-1], lr, v)
    returns, visited = hide(mask, returns), hide(mask, entries(v, states=states))
    finite(returns=returns, **{"v at states": visited})
    return v.scatter_add(-1, states, lr[..., None] * (returns - visited))


def td_zero(v: Tensor, states: Tensor, rewards: Tensor, discounts: Tensor, next_states: Tensor, lr: Number) -> Tensor:
    """One transition moves the state's value towards the reward plus the value of where it led.

        V(s) ← V(s) + α (r + γ V(s') − V(s))

    Args:
        v:           [..., S] one table per learner.
        states:      [...] int64, one transition per learner.
        rewards:     [...].
        discounts:   [...] γ, or 0 where the episode ended.
        next_states: [...] int64, not read where the discount is 0.
        lr:          above 0, or [...] one per learner.
    Returns: [..., S].
    Raises:  ValueError when shapes disagree, a state does not exist, a discount is outside [0, 1], or a number that
             is read is not finite.
    Source:  Sutton 1988; Sutton & Barto 2018, eq. 6.2.

    >>> v, gamma, end = torch.tensor([4., 8.]), torch.tensor(0.5), torch.tensor(0.)
    >>> td_zero(v, torch.tensor(0), torch.tensor(2.), gamma, torch.tensor(1), lr=0.5)       # 4 + ½ (2 + ½ · 8 − 4)
    tensor([5., 8.])
    >>> td_zero(v, torch.tensor(0), torch.tensor(2.), end, torch.tensor(1), lr=0.5)         # 4 + ½ (2 − 4)
    tensor([3., 8.])
    """
    need(v=(v, "... S"))
    like(v.shape[:-1], states=states, rewards=rewards, discounts=discounts, next_states=next_states)
    alive = alive_at(discounts)
    following = hide(alive, entries(v, next_states=hide(alive, next_states)[..., None])[..., 0])
    error = td_error(entries(v, states=states[..., None])[..., 0], rewards, discounts, following, "v")
    return v.scatter_add(-1, states[..., None], (rate(v.shape[:-1], lr, v) * error)[..., None])


def n_step_targets(rewards: Tensor, discounts: Tensor, values: Tensor, n: int) -> Tensor:
    """The return of n steps, then the value of where they led. n = 1 is TD(0)'s target, n ≥ T Monte Carlo's.

        G_{t:t+n} = r_t + γ_t G_{t+1:t+n},     G_{t:t} = V(s_t)

    Past the last column there are no rewards: targets near the end take fewer steps and bootstrap from it.

    Args:
        rewards:   [..., T].
        discounts: [..., T]   γ, or 0 where the episode ended at t.
        values:    [..., T+1] V(s_t); the last column bootstraps what was cut off.
        n:         steps, at least 1.
    Returns: [..., T], in units of reward.
    Raises:  ValueError when shapes disagree, a discount is outside [0, 1], or n is no whole number above 0.
    Source:  Sutton & Barto 2018, eq. 7.1.

    >>> rewards, values = torch.tensor([1., 2., 4.]), torch.tensor([9., 9., 9., 16.])
    >>> n_step_targets(rewards, torch.tensor([.5, .5, .5]), values, n=2)     # 1 + ½ · 2 + ¼ · 9, 2 + ½ · 4 + ¼ · 16, …
    tensor([ 4.2500,  8.0000, 12.0000])
    """
    need(rewards=(rewards, "... T"), values=(values, "... T+1"))
    like(rewards.shape, discounts=discounts, **{"values[..., 1:]": values[..., 1:]})
    whole(1, n=n)
    finite(rewards=rewards, values=hide(alive_at(discounts), values[..., 1:]))
    return tables.k_step_targets(rewards, discounts, values, n)


def td_lambda(
    v: Tensor, states: Tensor, rewards: Tensor, discounts: Tensor, mask: Tensor, lam: float, lr: Number
) -> Tensor:
    """Every TD error is credited to all states visited before it, the more recent and frequent the more.

        δ_t = r_t + γ_t V(s_{t+1}) − V(s_t),    e_t(s) = γ_{t−1} λ e_{t−1}(s) + 1[s = s_t],    V ← V + α Σ_t δ_t e_t

    Off-line: V stands still during the episode. So it equals moving every visit towards its λ-return; λ = 1 is
    `monte_carlo`, λ = 0 the sum of the TD(0) changes. A row may hold several episodes: a discount of 0 cuts the trace.

    Args:
        v:         [..., S]   one table per learner.
        states:    [..., T+1] int64; the last one bootstraps what was cut off.
        rewards:   [..., T].
        discounts: [..., T]   γ, or 0 where the episode ended at t.
        mask:      [..., T]   bool, False where there is no step.
        lam:       in [0, 1].
        lr:        above 0, or [...] one per learner.
    Returns: [..., S].
    Raises:  ValueError when shapes disagree, a state does not exist, a discount or lam is outside [0, 1], or a number
             that is read is not finite.
    Source:  Sutton 1988; Sutton & Barto 2018, section 12.1 (off-line) and eq. 12.5.

    >>> v, mask, discounts = torch.zeros(2), torch.tensor([True, True]), torch.tensor([0.5, 0.])
    >>> td_lambda(v, torch.tensor([0, 1, 0]), torch.tensor([0., 8.]), discounts, mask, lam=0.5, lr=1.0)
    tensor([2., 8.])
    """
    need(v=(v, "... S"), states=(states, "... T+1"), mask=(mask, "... T"))
    shape = (*v.shape[:-1], mask.shape[-1])
    like(shape, mask=boolean(mask), rewards=rewards, discounts=discounts, **{"states[..., 1:]": states[..., 1:]})
    within(0, 1, lam=lam)
    discounts, rewards, lr = hide(mask, discounts), hide(mask, rewards), rate(v.shape[:-1], lr, v)
    alive, here = alive_at(discounts), hide(mask, states[..., :-1])
    following = hide(alive, entries(v, states=hide(alive, states[..., 1:])))
    errors = td_error(hide(mask, entries(v, states=here)), rewards, discounts, following, "v")  # 0 behind the mask
    visits = torch.nn.functional.one_hot(here, v.shape[-1]).to(v)  # [..., T, S]
    trace, change = torch.zeros_like(v), torch.zeros_like(v)
    for t in range(mask.shape[-1]):
        trace = trace + visits[..., t, :]
        change = change + errors[..., t, None] * trace
        trace = discounts[..., t, None] * lam * trace
    return v + lr[..., None] * change


def sarsa(
    q: Tensor,
    states: Tensor,
    actions: Tensor,
    rewards: Tensor,
    discounts: Tensor,
    next_states: Tensor,
    next_actions: Tensor,
    lr: Number,
) -> Tensor:
    """On-policy control: bootstrap from the action that is really taken next.

        Q(s,a) ← Q(s,a) + α (r + γ Q(s',a') − Q(s,a))

    Args:
        q:            [..., S, A] one table per learner.
        states, actions:   [...] int64, one transition per learner.
        rewards, discounts: [...] the discount is γ, or 0 where the episode ended.
        next_states, next_actions: [...] int64, not read where the discount is 0.
        lr:           above 0, or [...] one per learner.
    Returns: [..., S, A].
    Raises:  ValueError as `td_zero`, and when an action does not exist.
    Source:  Rummery & Niranjan 1994; Sutton & Barto 2018, eq. 6.7.
    """
    rows, alive = next_rows(q, discounts, next_states)
    like(q.shape[:-2], next_actions=next_actions)
    following = entries(rows, next_actions=hide(alive, next_actions)[..., None])[..., 0]
    return _control(q, states, actions, rewards, discounts, following, lr)


def expected_sarsa(
    q: Tensor,
    states: Tensor,
    actions: Tensor,
    rewards: Tensor,
    discounts: Tensor,
    next_states: Tensor,
    next_policy: Tensor,
    lr: Number,
) -> Tensor:
    """Bootstrap from the policy's mean over next actions: the expectation of `sarsa`, without its sampling noise.

        Q(s,a) ← Q(s,a) + α (r + γ Σ_a' π(a'|s') Q(s',a') − Q(s,a))

    Args: as `sarsa`, but
        next_policy: [..., A] probabilities of the actions in next_states, not read where the discount is 0.
    Returns: [..., S, A].
    Raises:  ValueError as `td_zero`, and when an action does not exist or next_policy is no distribution.
    Source:  van Seijen et al. 2009; Sutton & Barto 2018, eq. 6.9.
    """
    rows, alive = next_rows(q, discounts, next_states)
    like(rows.shape, next_policy=next_policy)
    uniform = torch.full_like(next_policy, 1 / q.shape[-1])
    next_policy = torch.where(alive[..., None], next_policy, uniform)  # rows behind an end are 0
    probabilities(next_policy=next_policy)
    return _control(q, states, actions, rewards, discounts, (next_policy * rows).sum(-1), lr)


def q_learning(
    q: Tensor, states: Tensor, actions: Tensor, rewards: Tensor, discounts: Tensor, next_states: Tensor, lr: Number
) -> Tensor:
    """Off-policy control: bootstrap from the best next action, whichever is taken.

        Q(s,a) ← Q(s,a) + α (r + γ max_a' Q(s',a') − Q(s,a))

    Args: as `sarsa`, without next_actions.
    Returns: [..., S, A].
    Raises:  ValueError as `td_zero`, and when an action does not exist.
    Source:  Watkins & Dayan 1992; Sutton & Barto 2018, eq. 6.8.
    """
    rows, _ = next_rows(q, discounts, next_states)
    return _control(q, states, actions, rewards, discounts, rows.amax(-1), lr)


def epsilon_greedy(q: Tensor, eps_explore: Number) -> Tensor:
    """With probability ε any action, else a best one; equally good actions share evenly.

        π(a) = ε / A + (1 − ε) 1[a is best] / (number of best actions)

    Args:
        q:           [..., A].
        eps_explore: in [0, 1], or [...] one per row.
    Returns: [..., A] probabilities.
    Raises:  ValueError when q is not finite or eps_explore is outside [0, 1] or does not fit.
    Source:  Sutton & Barto 2018, section 2.2.

    >>> epsilon_greedy(torch.tensor([0., 1., 0., 0.]), eps_explore=0.1)
    tensor([0.0250, 0.9250, 0.0250, 0.0250])
    """
    need(q=(q, "... A"))
    finite(q=q)
    within(0, 1, eps_explore=eps_explore)
    eps_explore = per_learner(q.shape[:-1], q, eps_explore=eps_explore)[..., None]
    best = (q == q.amax(-1, keepdim=True)).to(q.dtype)
    return eps_explore / q.shape[-1] + (1 - eps_explore) * best / best.sum(-1, keepdim=True)


def linear_decay(step: Number, start: float, end: float, steps: int) -> Number:
    """ε in a straight line from start to end within so many steps, then constant.

    Args: step ≥ 0, a number or a tensor; start and end in [0, 1]; steps above 0.
    Returns: a number in [0, 1], or a tensor like step.
    Raises:  ValueError when one of them is out of range.

    >>> [round(linear_decay(step, 1.0, 0.1, steps=10), 2) for step in (0, 5, 10, 99)]
    [1.0, 0.55, 0.1, 0.1]
    """
    within(0, torch.inf, step=step), within(0, 1, start=start, end=end), positive(steps=steps)
    part = (step / steps).clamp(max=1) if isinstance(step, Tensor) else min(step / steps, 1)
    return start + (end - start) * part


def exponential_decay(step: Number, start: float, end: float, half_life: float) -> Number:
    """ε from start towards end; every half_life steps halve the distance. end + (start − end) 2^(−step / half_life)

    Args: step ≥ 0, a number or a tensor; start and end in [0, 1]; half_life above 0, in steps.
    Returns: a number in [0, 1], or a tensor like step.
    Raises:  ValueError when one of them is out of range.

    >>> [exponential_decay(step, 1.0, 0.0, half_life=10) for step in (0, 10, 20)]
    [1.0, 0.5, 0.25]
    """
    within(0, torch.inf, step=step), within(0, 1, start=start, end=end), positive(half_life=half_life)
    return end + (start - end) * 2.0 ** (-step / half_life)


def _control(
    q: Tensor, states: Tensor, actions: Tensor, rewards: Tensor, discounts: Tensor, following: Tensor, lr: Number
) -> Tensor:
    """Move Q(s,a) towards r + γ · following."""
    leading, (many, choices) = q.shape[:-2], q.shape[-2:]
    like(leading, states=states, actions=actions, rewards=rewards)
    exist(many, states=states)
    exist(choices, actions=actions)
    flat, cell = q.flatten(-2), (states * choices + actions)[..., None]
    error = td_error(flat.gather(-1, cell)[..., 0], rewards, discounts, following, "q")
    return flat.scatter_add(-1, cell, (rate(leading, lr, q) * error)[..., None]).view(q.shape)
