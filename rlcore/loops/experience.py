"""What has the policy lived through? Rows of steps from a batched world.

A world has `observations` [B, D] and `step(actions)`; rows that ended or were cut off start anew by themselves. Left
out: replay, workers, frame stacking.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Experience(NamedTuple):
    """T steps of B rows; `after` is what was seen after the action, before a new episode began."""

    observations: Tensor  # [B, T, D]
    actions: Tensor  # [B, T] or [B, T, dims]
    rewards: Tensor  # [B, T]
    after: Tensor  # [B, T, D]
    ended: Tensor  # [B, T] bool, a terminal state was reached
    cut_off: Tensor  # [B, T] bool, the time limit was
    mask: Tensor  # [B, T] bool, False behind the first episode of a row where only that one counts


@torch.no_grad()
def collect(world, policy: nn.Module, steps: int, generator: torch.Generator) -> Experience:
    """Act for so many steps in every row, over the ends of episodes."""
    walked = [_act(world, policy, generator) for _ in range(steps)]
    return Experience(*_stacked(walked), mask=torch.ones_like(walked[0][-1])[:, None].expand(-1, steps))


@torch.no_grad()
def episodes(world, policy: nn.Module, generator: torch.Generator) -> Experience:
    """One whole episode per row, from where the rows stand: start with a fresh world. Rows that are done are masked."""
    walked, alive = [], [torch.ones(len(world.observations), dtype=torch.bool, device=world.observations.device)]
    while alive[-1].any():
        walked.append(_act(world, policy, generator))
        alive.append(alive[-1] & ~walked[-1][-2] & ~walked[-1][-1])
    return Experience(*_stacked(walked), mask=torch.stack(alive[:-1], dim=1))


def evaluate(world, policy: nn.Module, generator: torch.Generator) -> Tensor:
    """Undiscounted return [B] of one episode per row of a fresh world, with actions drawn as in training."""
    lived = episodes(world, policy, generator)
    return torch.where(lived.mask, lived.rewards, 0).sum(1)


def bootstrapped(lived: Experience, critic: Callable[[Tensor], Tensor], gamma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Rewards, discounts, values, as `rlcore.returns` takes them: [B, T], [B, T], [B, T+1].

    A row may be cut off in its middle, where the next column belongs to a new episode. There the value of what was
    seen last is paid with the reward, and the discount is 0: V of that state still counts, the new episode does not.
    """
    behind = critic(lived.after)
    rewards = lived.rewards + gamma * torch.where(lived.cut_off, behind, 0)
    discounts = torch.where(lived.ended | lived.cut_off, 0, torch.full_like(rewards, gamma))
    return rewards, discounts, torch.cat([critic(lived.observations), behind[:, -1:]], dim=1)


def _act(world, policy: nn.Module, generator: torch.Generator) -> tuple[Tensor, ...]:
    seen = world.observations
    actions = policy(seen).act(generator)
    step = world.step(actions)
    return seen, actions, step.rewards, step.after, step.ended, step.cut_off


def _stacked(walked: list[tuple[Tensor, ...]]) -> list[Tensor]:
    return [torch.stack(column, dim=1) for column in zip(*walked, strict=True)]
