"""Tabular control fast enough for a slider: the numba twin of loops.tabular.control, same numbers from same draws.

All episodes of all learners run in one compiled function. Left out: replay, and updates other than the three of td.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from rlcore.mdp import MDP
from rlcore.shapes import positive, whole, within
from rlcore.worlds.walks import check_start

METHODS = ("sarsa", "expected_sarsa", "q_learning")
ROWS = 2048  # of draws, made at once


class Curves(NamedTuple):
    """What loops.tabular.control yields, stacked: returns [E, L], steps [E, L], visits [E, L, S]; and the last q."""

    returns: Tensor
    steps: Tensor
    visits: Tensor
    q: Tensor


def control(
    update: Callable[..., Tensor],
    world: MDP,
    start: int,
    *,
    learners: int,
    episodes: int,
    lr: float | Callable[[int], float],
    eps_explore: float | Callable[[int], float],
    limit: int,
    generator: torch.Generator,
) -> Curves:
    """Twin of `loops.tabular.control`; see there. The generator may end some draws further on.

    Args: as there, but update is one of rlcore.td's own three, and rates are the same for all learners.
    Raises: ValueError when update is another function, or a number is out of range.
    """
    whole(1, learners=learners, episodes=episodes, limit=limit), check_start(world, start)
    name = getattr(update, "__name__", update)
    if getattr(update, "__module__", None) != "rlcore.td" or name not in METHODS:
        raise ValueError(f"update is {name!r}, expected td.{', td.'.join(METHODS)}")
    rates = np.array([[x(e) if callable(x) else x for e in range(episodes)] for x in (lr, eps_explore)])
    positive(lr=torch.from_numpy(rates[0])), within(0, 1, eps_explore=torch.from_numpy(rates[1]))
    reach, after, rewards = _successors(world)
    ends, gamma = world.terminal.numpy(), float(world.gamma)
    q = np.zeros((learners, world.states, world.actions))
    returns, steps = np.zeros((episodes, learners)), np.zeros((episodes, learners), np.int64)
    visits = np.zeros((episodes, learners, world.states), np.int32)
    walk, clock = np.zeros((3, learners), np.int64), np.array([0, -1])  # state, action, walking; episode, step
    method = METHODS.index(name)
    while clock[0] < episodes:
        draws = torch.rand(ROWS, 2, learners, generator=generator, dtype=torch.float64).numpy()
        _advance(
            method,
            start,
            limit,
            gamma,
            *rates,
            reach,
            after,
            rewards,
            ends,
            draws,
            clock,
            walk,
            q,
            returns,
            steps,
            visits,
        )
    return Curves(*map(torch.from_numpy, (returns, steps, visits, q)))


def _successors(world: MDP) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Running sums of the chances of the states in reach [S, A, K], these states [S, A, K], and R [S, A]."""
    chances = world.transitions.double().numpy()
    most = int((chances > 0).sum(-1).max())
    order = np.argsort(chances == 0, axis=-1, kind="stable")[..., :most]  # those in reach first, by index
    sums = np.take_along_axis(chances.cumsum(-1), order, -1)
    sums[np.take_along_axis(chances, order, -1) == 0] = np.inf  # never passed: the last in reach stays
    return sums, order, world.rewards.double().numpy()


@njit(cache=True)
def _advance(
    method, start, limit, gamma, lr, eps, reach, after, rewards, ends, draws, clock, walk, q, returns, steps, visits
):
    """Use up the draws, one row per step: tables, records and the state of the walk change in place."""
    learners, actions = q.shape[0], q.shape[2]
    policy = np.empty(actions)
    for row in range(len(draws)):
        episode, step = clock
        if episode == len(returns):
            return
        chance = draws[row]
        if step < 0:
            for i in range(learners):
                walk[0, i], walk[2, i] = start, 1
                _epsilon_greedy(q[i, start], eps[episode], policy)
                walk[1, i] = _pick(policy, chance[1, i])
            clock[1] = 0
            continue
        anyone = False
        for i in range(learners):
            if not walk[2, i]:
                continue
            s, a = walk[0, i], walk[1, i]
            k = 0
            while k < reach.shape[2] - 1 and reach[s, a, k] <= chance[0, i]:
                k += 1
            s_next = after[s, a, k]
            _epsilon_greedy(q[i, s_next], eps[episode], policy)
            a_next = _pick(policy, chance[1, i])
            following = _following(method, q[i, s_next], policy, a_next)
            discount = 0.0 if ends[s_next] else gamma
            target = rewards[s, a] if discount == 0 else rewards[s, a] + discount * following
            q[i, s, a] += lr[episode] * (target - q[i, s, a])
            returns[episode, i] += gamma ** steps[episode, i] * rewards[s, a]
            visits[episode, i, s] += 1
            steps[episode, i] += 1
            walk[0, i], walk[1, i], walk[2, i] = s_next, a_next, discount > 0
            anyone |= discount > 0
        clock[1] += 1
        if not anyone or clock[1] == limit:
            clock[0], clock[1] = episode + 1, -1


@njit(cache=True)
def _epsilon_greedy(row, eps_explore, policy):
    top, best = row.max(), 0
    for value in row:
        best += value == top
    for a in range(len(row)):
        policy[a] = eps_explore / len(row) + (1 - eps_explore) * (row[a] == top) / best


@njit(cache=True)
def _pick(policy, chance):
    total = 0.0
    for a in range(len(policy) - 1):
        total += policy[a]
        if total > chance:
            return a
    return len(policy) - 1


@njit(cache=True)
def _following(method, row, policy, action):
    if method == 0:
        return row[action]
    if method == 1:
        return (policy * row).sum()
    return row.max()
