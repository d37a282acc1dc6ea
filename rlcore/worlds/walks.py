"""What does a random walker see? A corridor with an end on either side, and episodes of any MDP as tensors.

Left out: values (mdp solves for them, td learns them).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from rlcore.mdp import MDP
from rlcore.shapes import need, probabilities, whole

LEFT, RIGHT = 0, 1


class Episodes(NamedTuple):
    """Episodes side by side, in the form that td and returns take.

    Args:
        states:    [B, T+1] int64; after the end the terminal state stays.
        actions:   [B, T]   int64.
        rewards:   [B, T]   0 after the end.
        discounts: [B, T]   γ, or 0 where the episode ended (and after); γ in the last column where it was cut off.
        mask:      [B, T]   bool, False where the episode is already over.
    """

    states: Tensor
    actions: Tensor
    rewards: Tensor
    discounts: Tensor
    mask: Tensor


def random_walk(length: int, dtype: torch.dtype = torch.float64) -> MDP:
    """States 0 … length + 1 in a row, an end on either side; actions left and right. Leaving on the right pays 1.

    Undiscounted. Walked with a coin, state i is worth i / (length + 1): the chance to leave on the right.

    Args:
        length: states between the ends, at least 1.
    Raises: ValueError when length is no whole number above 0.
    Source: Sutton & Barto 2018, Example 6.2 (length 5) and 7.1 (length 19, whose left end pays −1 instead of 0).

    >>> from rlcore import mdp
    >>> mdp.solve(random_walk(3), torch.full((5, 2), 0.5, dtype=torch.float64))
    tensor([0.0000, 0.2500, 0.5000, 0.7500, 0.0000], dtype=torch.float64)
    """
    whole(1, length=length)
    inner = torch.arange(1, length + 1)
    transitions = torch.zeros(length + 2, 2, length + 2, dtype=dtype)
    transitions[inner, LEFT, inner - 1] = transitions[inner, RIGHT, inner + 1] = 1.0
    transitions[[0, -1], :, [0, -1]] = 1.0
    rewards = torch.zeros(length + 2, 2, dtype=dtype)
    rewards[length, RIGHT] = 1.0
    return MDP(transitions, rewards, gamma=1.0)


def sample(
    world: MDP, policy: Tensor, start: int | Tensor, episodes: int, most_steps: int, generator: torch.Generator
) -> Episodes:
    """Play episodes of an MDP; all of them at once.

    Args:
        world:      dense, without leading axes. A step pays the expected reward R(s,a).
        policy:     [S, A] rows sum to 1.
        start:      the state where episodes begin, or one for each, [B].
        episodes:   B.
        most_steps: an episode that has not ended by then is cut off. T is the length of the longest.
    Raises: ValueError when the policy does not fit or is none, a start is no state or a terminal one, or a count is no
            whole number above 0.

    >>> end_of_corridor = torch.tensor([[0.0, 1.0]]).double().expand(4, 2)         # always right
    >>> played = sample(random_walk(2), end_of_corridor, 1, 1, most_steps=9, generator=torch.Generator())
    >>> played.states.tolist(), played.rewards.tolist(), played.discounts.tolist()
    ([[1, 2, 3]], [[0.0, 1.0]], [[1.0, 0.0]])
    """
    whole(1, episodes=episodes, most_steps=most_steps)
    need(policy=(policy, f"{world.states} {world.actions}"))
    probabilities(policy=policy)
    check_start(world, start)
    states, steps = [torch.as_tensor(start).expand(episodes)], []
    choose, reach = policy.cumsum(-1), world.transitions.cumsum(-1)
    for _ in range(most_steps):
        here, chance = states[-1], torch.rand(2, episodes, generator=generator, dtype=torch.float64)
        going = ~world.terminal[here]
        if not going.any():
            break
        actions = reached(choose[here], chance[0])
        states.append(reached(reach[here, actions], chance[1]))
        alive = ~world.terminal[states[-1]]
        steps.append((actions, world.rewards[here, actions], torch.where(alive, world.discount, 0.0), going))
    return Episodes(torch.stack(states, 1), *(torch.stack(column, 1) for column in zip(*steps, strict=True)))


def check_start(world: MDP, start: int | Tensor) -> None:
    """Raise unless an action is to be chosen in start, in every one of several.

    >>> check_start(random_walk(3), 4)
    Traceback (most recent call last):
    ...
    ValueError: start is 4, a terminal state, expected one where an action is to be chosen
    """
    for state in torch.as_tensor(start).unique().tolist():
        if isinstance(state, float) or not 0 <= state < world.states:
            raise ValueError(f"start is {state}, expected a state from 0 to {world.states - 1}")
        if world.terminal[state]:
            raise ValueError(f"start is {state}, a terminal state, expected one where an action is to be chosen")


def reached(sums: Tensor, chance: Tensor) -> Tensor:
    """The index at which running sums [B, N] of probabilities pass uniform numbers [B]: a draw, [B] int64."""
    return (sums <= chance[:, None]).sum(-1).clamp(max=sums.shape[-1] - 1)
