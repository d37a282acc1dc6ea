"""What is a state worth? Finite Markov decision processes: one Bellman backup, exact values, and three solvers.

Everything is pure and keeps the dtype and device it is given. Leading axes are a batch: one call solves a sweep over
gamma. Left out: how an MDP is stored (transitions), learning from samples (td), where the numbers come from (worlds).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from rlcore.shapes import finite, need, positive, probabilities, whole
from rlcore.transitions import MDP


@dataclass(frozen=True, eq=False)
class Solution:
    """What a solver found.

    Args:
        v:         [..., S]    values, the maximum of q over actions.
        q:         [..., S, A] action values.
        policy:    [..., S, A] a greedy policy, one-hot.
        sweeps:    greedy improvements made, each one backup over all states and actions.
        residuals: [sweeps, ...] sup-norm change of the values in each of them, in units of reward.
    """

    v: Tensor
    q: Tensor
    policy: Tensor
    sweeps: int
    residuals: Tensor


def q_from_v(mdp: MDP, v: Tensor) -> Tensor:
    """Action values one step ahead of state values.

        Q(s,a) = R(s,a) + γ Σ_s' P(s'|s,a) V(s')

    Args:
        v: [..., S].
    Returns: [..., S, A].
    Raises:  ValueError when v does not fit the states or is not finite.
    Source:  Sutton & Barto 2018, eq. 4.6.

    >>> mdp = MDP(torch.tensor([[[0.5, 0.5]], [[0., 1.]]]), torch.tensor([[1.], [0.]]), gamma=0.5)
    >>> q_from_v(mdp, torch.tensor([4., 0.]))       # 1 + 0.5 · (0.5 · 4 + 0.5 · 0)
    tensor([[2.], [0.]])
    """
    need(v=(v, f"... {mdp.states}"))
    finite(v=v)
    return _backup(mdp, v)


def bellman_expectation(mdp: MDP, policy: Tensor, v: Tensor) -> Tensor:
    """One backup towards the value of a policy: the policy's mean over its actions.

        (T_π V)(s) = Σ_a π(a|s) Q(s,a)

    Args:
        policy: [..., S, A] rows sum to 1.
        v:      [..., S].
    Returns: [..., S].
    Raises:  ValueError when a shape does not fit, a row of the policy is no distribution, or v is not finite.
    Source:  Sutton & Barto 2018, eq. 4.5.
    """
    _check_policy(mdp, policy)
    return (policy * q_from_v(mdp, v)).sum(-1)


def bellman_optimality(mdp: MDP, v: Tensor) -> Tensor:
    """One backup towards the optimal value: the best action's value. (T V)(s) = max_a Q(s,a)

    Args:
        v: [..., S].
    Returns: [..., S].
    Raises:  ValueError when v does not fit the states or is not finite.
    Source:  Sutton & Barto 2018, eq. 4.10.
    """
    return q_from_v(mdp, v).amax(-1)


def greedy(q: Tensor) -> Tensor:
    """The policy that takes the best action, the first of several equal ones.

    Args:
        q: [..., S, A].
    Returns: [..., S, A] one-hot rows, in the dtype of q.
    Raises:  ValueError when q has fewer than two axes or is not finite.

    >>> greedy(torch.tensor([[1., 3., 3.]]))
    tensor([[0., 1., 0.]])
    """
    need(q=(q, "... S A"))
    finite(q=q)
    return torch.nn.functional.one_hot(q.argmax(-1), q.shape[-1]).to(q.dtype)


def solve(mdp: MDP, policy: Tensor) -> Tensor:
    """The exact value of a policy: V = (I − γ P_π)⁻¹ R_π, with 0 at terminal states.

    Differentiable in transitions, rewards and policy, unless transitions are CSR.

    Args:
        policy: [..., S, A] rows sum to 1.
    Returns: [..., S].
    Raises:  ValueError when the policy does not fit, or gamma is 1 and from some state the policy never ends.
    Source:  Sutton & Barto 2018, eq. 4.4 solved as a linear system.

    >>> mdp = MDP(torch.tensor([[[0.5, 0.5]], [[0., 1.]]]), torch.tensor([[1.], [0.]]), gamma=1.0)
    >>> solve(mdp, torch.ones(2, 1))                # two steps on average
    tensor([2., 0.])
    """
    _check_policy(mdp, policy)
    _check_ends(mdp, policy)
    return _linear(mdp, policy, (policy * mdp.rewards).sum(-1))


def occupancy(mdp: MDP, policy: Tensor, start: Tensor) -> Tensor:
    """How much of its discounted time a policy spends in each state.

        d(s) = (1 − γ) Σ_t γ^t P(s_t = s)

    Args:
        policy: [..., S, A] rows sum to 1.
        start:  [..., S] distribution of the first state.
    Returns: [..., S], sums to 1.
    Raises:  ValueError when policy or start is no distribution or does not fit, or gamma is 1.
    Source:  Sutton et al. 2000, section 2, normalised.
    """
    _check_policy(mdp, policy)
    need(start=(start, f"... {mdp.states}"))
    probabilities(start=start)
    if (mdp.discount == 1).any():
        raise ValueError("gamma is 1, expected a number below 1: undiscounted time has no distribution")
    return _linear(mdp, policy, (1 - mdp.discount)[..., None] * start, transpose=True)


def value_iteration(mdp: MDP, tol: float, most_sweeps: int = 100_000) -> Solution:
    """Repeat the optimality backup from V = 0 until ‖V − V*‖∞ ≤ tol is certain.

    The same as modified policy iteration with no sweep of evaluation between two improvements; see there.

    Args:
        tol:         in units of reward, above 0.
        most_sweeps: give up after so many.
    Raises:  ValueError when tol is below what the dtype can resolve, or most_sweeps were not enough.
    Source:  Sutton & Barto 2018, section 4.4.

    >>> mdp = MDP(torch.ones(1, 2, 1), torch.tensor([[1., 2.]]), gamma=0.5)
    >>> value_iteration(mdp, tol=1e-3).v            # 2 / (1 − 0.5)
    tensor([4.])
    """
    return modified_policy_iteration(mdp, 0, tol, most_sweeps)


@torch.no_grad()
def policy_iteration(mdp: MDP, most_sweeps: int = 1000) -> Solution:
    """Solve for the policy's value, act greedily, repeat until no action is better. Starts from the uniform policy.

    An action is replaced only by one that is better beyond rounding, so equally good policies do not alternate.
    Exact, to the rounding of the linear solver.

    Args:
        most_sweeps: give up after so many.
    Raises:  ValueError when gamma is 1 and a policy on the way never ends, or most_sweeps were not enough.
    Source:  Howard 1960; Sutton & Barto 2018, section 4.3.
    """
    policy = torch.full_like(mdp.rewards, 1 / mdp.actions).expand(*mdp.leading, -1, -1)
    v, residuals = torch.zeros_like(policy[..., 0]), []
    for sweep in range(1, most_sweeps + 1):
        old, v = v, solve(mdp, policy)
        residuals.append((v - old).abs().amax(-1))
        q = _backup(mdp, v)
        slack = torch.finfo(v.dtype).eps ** 0.75 * v.abs().amax(-1, keepdim=True)
        better = (q.amax(-1) > (policy * q).sum(-1) + slack) | (policy.amax(-1) < 1)  # a mixed row is not greedy yet
        if not better.any():
            return Solution(v, q, policy, sweep, torch.stack(residuals))
        policy = torch.where(better[..., None], greedy(q), policy)
    raise ValueError(f"policy_iteration still improves after most_sweeps = {most_sweeps}, expected it to end before")


@torch.no_grad()
def modified_policy_iteration(mdp: MDP, sweeps: int, tol: float, most_sweeps: int = 100_000) -> Solution:
    """Value iteration with a few sweeps of policy evaluation after each improvement; certain to tol.

    With Δ = TV − V, the optimal value lies between TV + γ/(1−γ) min Δ and TV + γ/(1−γ) max Δ. The solver stops when
    half that span, with what rounding may add, fits into tol, *and returns the midpoint*: then ‖V − V*‖∞ ≤ tol, and
    the same holds for q. Where gamma is 1 there is no such bound: it stops when max |Δ| ≤ tol, and nothing is certain.

    Args:
        sweeps:      backups along the greedy policy after each improvement, 0 or more.
        tol:         in units of reward, above 0.
        most_sweeps: give up after so many improvements.
    Raises:  ValueError when tol is below what the dtype can resolve, or most_sweeps were not enough.
    Source:  Puterman & Shin 1978; the bounds: MacQueen 1966, Porteus 1971.
    """
    whole(0, sweeps=sweeps)
    positive(tol=tol)
    work = mdp.table.sweeps(mdp.rewards, mdp.discount, mdp.leading)  # holds V
    gammas, dtype = mdp.discount.expand(mdp.leading).flatten().tolist(), torch.finfo(mdp.rewards.dtype)
    residuals: list[list[float]] = []
    for sweep in range(most_sweeps):
        bounds = [_midpoint(gamma, *ends, tol, dtype) for gamma, ends in zip(gammas, work.improve(), strict=True)]
        residuals.append([largest for largest, _, _ in bounds])
        if all(certain for _, _, certain in bounds):
            shift = mdp.rewards.new_tensor([shift for _, shift, _ in bounds]).reshape(*mdp.leading, 1, 1)
            q = torch.where(mdp.terminal[..., None], 0, work.q_values() + shift)
            changes = mdp.rewards.new_tensor(residuals).reshape(-1, *mdp.leading)
            return Solution(q.amax(-1), q, greedy(q), sweep + 1, changes)
        work.evaluate(sweep % mdp.actions, sweeps)
    change = max(residuals[-1])
    raise ValueError(
        f"values still change by {change:.3g} after most_sweeps = {most_sweeps}, tol {tol:g} is not certain"
    )


def _midpoint(
    gamma: float, low: float, high: float, bottom: float, top: float, tol: float, dtype: torch.finfo
) -> tuple[float, float, bool]:
    """The largest change, how far the middle of the bounds is from TV, and whether it is certainly within tol of V*.

    low and high are the extremes of TV − V, bottom and top those of TV.
    """
    stretch = gamma / (1 - gamma) if gamma < 1 else 0.0
    shift, largest = stretch * (low + high) / 2, max(-low, high)
    gap = stretch * (high - low) / 2 if gamma < 1 else largest
    size = max(top + shift, -bottom - shift)  # max |v|; at least size - gap in the end
    unit = 4 * dtype.eps / (1 - gamma if gamma < 1 else 1)  # what rounding values of size 1 may add up to
    if 2 * unit * (size - gap) > tol:
        least = f"it takes at least {2 * unit * (size - gap):.2g}"
        raise ValueError(f"tol is {tol:g}, finer than {dtype.dtype} can certify here: {least}")
    return largest, shift, gap + unit * size <= tol


def _backup(mdp: MDP, v: Tensor) -> Tensor:
    return mdp.table.expected(v) * mdp.discount[..., None, None] + mdp.rewards


def _linear(mdp: MDP, policy: Tensor, right: Tensor, transpose: bool = False) -> Tensor:
    """Solve (I − γ P_π) x = right, or the transposed system. An undiscounted terminal state reads x = right."""
    keep = torch.where(mdp.terminal & (mdp.discount == 1)[..., None], 0, mdp.discount[..., None])  # [..., S]
    return mdp.table.solve(keep[..., None] * policy, right, transpose)


def _check_ends(mdp: MDP, policy: Tensor) -> None:
    """Where gamma is 1, a terminal state must be in reach of every state."""
    if not (mdp.discount == 1).any():
        return
    ends = mdp.terminal | (mdp.discount < 1)[..., None] | torch.zeros_like(policy[..., 0], dtype=torch.bool)
    policy = policy.detach()
    for _ in range(mdp.states):
        near = (policy * mdp.table.expected(ends.to(policy))).sum(-1) > 0
        if not (near & ~ends).any():
            break
        ends = ends | near
    stuck = (~ends).nonzero()
    if len(stuck):
        raise ValueError(
            f"gamma is 1 and under this policy state {stuck[0, -1].item()} never reaches a terminal state: "
            "expected a policy that ends from everywhere, or gamma below 1"
        )


def _check_policy(mdp: MDP, policy: Tensor) -> None:
    need(policy=(policy, f"... {mdp.states} {mdp.actions}"))
    probabilities(policy=policy)
