"""Advantage actor–critic (A2C): short rows of many worlds, a learned value as baseline, one step per batch.

Left out: A3C's asynchronous workers, and more than one step per batch (ppo).
"""

from collections.abc import Iterator

import torch
from torch import nn

from rlcore import policy_gradient
from rlcore.loops.experience import collect
from rlcore.loops.updates import Record, Tally, descend, frozen, judged


def train(
    policy: nn.Module,
    critic: nn.Module,
    world,
    *,
    updates: int,
    steps: int,
    gamma: float,
    lam: float,
    lr: float,
    value_coefficient: float,
    entropy_coefficient: float,
    max_norm: float,
    generator: torch.Generator,
) -> Iterator[Record]:
    """Policy and critic learn from the same rows; changes both.

        L = mean[−A log π(a|s)] + c₁ mean[½ (V(s) − G)²] − c₂ mean[H(π(·|s))],    G = A + V, without gradient

    Args:
        policy, critic: observations → a distribution, → values.
        world:    batched; goes on where it stands.
        steps:    T of every row between two updates; with lam = 1 that is the n of n-step returns.
        gamma, lam: in [0, 1].
        lr:       of Adam.
        value_coefficient, entropy_coefficient: c₁ and c₂, 0 or more.
        max_norm: the gradient is cut to this length.
    Yields: a Record per update; extra: value_loss, in units of reward².
    Raises: FloatingPointError with update and quantity when a number is not finite; the parameters stay the last good.
    Source: Mnih et al. 2016, arXiv:1602.01783, section 4.
    """
    optimizer = torch.optim.Adam([*policy.parameters(), *critic.parameters()], lr=lr)
    tally, rows = Tally(), len(world.observations)
    for update in range(1, updates + 1):
        lived = collect(world, policy, steps, generator)
        advantages, targets = judged(lived, critic, gamma, lam)
        now = policy(lived.observations)
        before = frozen(now)
        value_loss = ((critic(lived.observations) - targets) ** 2).mean() / 2
        entropy = now.entropy().mean()
        descend(
            optimizer,
            update,
            max_norm,
            policy_loss=policy_gradient.score_function_loss(now.logp(lived.actions), advantages).mean(),
            value_loss=value_coefficient * value_loss,
            entropy_loss=-entropy_coefficient * entropy,
        )
        with torch.no_grad():
            kl = policy(lived.observations).kl(before).mean().item()
        finished, told = tally.finished(lived), {"value_loss": value_loss.item()}
        yield Record(update, update * rows * steps, finished, kl, entropy.item(), told)
