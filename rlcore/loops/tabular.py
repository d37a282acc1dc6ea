"""What does a learner do between two updates? Tabular control: act, observe, update; one loop for every method.

The update is one of td.sarsa, td.expected_sarsa and td.q_learning, or yours with the arguments of one of them. L
independent learners walk side by side, each in its own copy of the world. Only the target differs: in all methods the
next action is drawn before the update. Left out: networks; speed (kernels.control is the fast twin).
"""

from collections.abc import Callable, Iterator
from inspect import signature
from typing import NamedTuple

import torch
from torch import Tensor

from rlcore import td
from rlcore.loops.replay import Memory
from rlcore.mdp import MDP
from rlcore.shapes import whole
from rlcore.worlds.walks import check_start, reached

Schedule = float | Tensor | Callable[[int], float | Tensor]  # a number, one per learner, or a function of the episode


class Record(NamedTuple):
    """One episode of each learner: discounted returns [L], steps [L], visits [L, S] (steps begun), last q [L, S, A]."""

    episode: int
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
    lr: Schedule,
    eps_explore: Schedule,
    limit: int,
    generator: torch.Generator,
    replays: int = 0,
    capacity: int = 10_000,
) -> Iterator[Record]:
    """ε-greedy learning from Q = 0. The next episode begins when every learner has ended the present one.

    Args:
        update:    td.sarsa, td.expected_sarsa or td.q_learning, or a function with the arguments of one of them.
        world:     dense, without leading axes. A step pays the expected reward R(s,a).
        start:     the state where episodes begin.
        limit:     steps after which an episode is cut off; its last step still bootstraps.
        generator: two uniform numbers per learner and step, whether it still walks or waits for the others.
        replays, capacity: remembered steps to learn from again after every step (Q-learning only); how many are kept.
    Yields: a Record per episode.
    Raises: ValueError when a number is out of range, start is terminal, or SARSA or Expected SARSA is to replay.
    Source: Sutton & Barto 2018, sections 6.4 to 6.6; replay: Lin 1992.
    """
    whole(1, learners=learners, episodes=episodes, limit=limit, capacity=capacity)
    whole(0, replays=replays), check_start(world, start)
    extra = [name for name in ("next_actions", "next_policy") if name in signature(update).parameters]
    if replays and extra:
        raise ValueError(f"replays is {replays}, expected 0: old steps do not tell {extra[0]} of today's policy")
    q, memory = world.rewards.new_zeros(learners, world.states, world.actions), Memory(learners, capacity)
    rows, reach = torch.arange(learners), world.transitions.cumsum(-1)  # [S, A, S]
    for episode in range(episodes):
        alpha, eps = (x(episode) if callable(x) else x for x in (lr, eps_explore))
        states, walking = torch.full((learners,), start), torch.ones(learners, dtype=torch.bool)
        steps, returns, visits = torch.zeros_like(states), q.new_zeros(learners), torch.zeros_like(q[..., 0]).long()
        actions = reached(td.epsilon_greedy(q[rows, states], eps).cumsum(-1), _uniform(generator, learners)[1])
        while walking.any() and steps.max() < limit:
            floor, choice = _uniform(generator, learners)
            after = reached(reach[states, actions], floor)
            step = {"states": states, "actions": actions, "rewards": world.rewards[states, actions]}
            step |= {"discounts": torch.where(world.terminal[after], 0.0, world.discount), "next_states": after}
            policy = td.epsilon_greedy(q[rows, after], eps)
            following = {"next_policy": policy, "next_actions": reached(policy.cumsum(-1), choice)}
            q = update(q, **step, **{name: following[name] for name in extra}, lr=alpha)  # at an end, 0 stays 0
            returns = returns + world.discount**steps * step["rewards"] * walking
            visits[rows, states] += walking
            steps = steps + walking
            if replays:
                memory.add(walking, **step)
            for _ in range(replays):
                q = torch.where(walking[:, None, None], update(q, **memory.draw(generator), lr=alpha), q)
            states, actions, walking = after, following["next_actions"], walking & ~world.terminal[after]
        yield Record(episode, returns, steps, visits, q)


def _uniform(generator: torch.Generator, learners: int) -> Tensor:
    return torch.rand(2, learners, generator=generator, dtype=torch.float64)
