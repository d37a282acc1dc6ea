"""REINFORCE: play whole episodes, weigh each action's log-probability with what came after it, take one step.

Left out: critics (actor_critic) and more than one step per batch (ppo).
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from rlcore import masked, policy_gradient, returns
from rlcore.loops.experience import episodes
from rlcore.loops.updates import Record, descend, frozen


def train(
    policy: nn.Module,
    fresh_world: Callable,
    weigh: Callable[[Tensor, Tensor], Tensor],
    *,
    updates: int,
    gamma: float,
    lr: float,
    entropy_coefficient: float,
    generator: torch.Generator,
) -> Iterator[Record]:
    """Monte Carlo policy gradient with Adam; changes the policy.

        ĝ = 1/B Σ_episodes Σ_t ∇log π(a_t|s_t) Ψ_t

    Args:
        policy:      observations → a distribution.
        fresh_world: () ↦ a batched world whose rows all begin an episode.
        weigh:       (rewards-to-go [B, T], mask [B, T]) ↦ Ψ [B, T], to be maximised; for instance the rewards-to-go
                     themselves, or those less a baseline. A time limit ends an episode here: nothing is bootstrapped.
        gamma:       in [0, 1].
        lr:          of Adam.
        entropy_coefficient: 0 or more, in units of reward per nat.
    Yields: a Record per update.
    Raises: FloatingPointError with update and quantity when a number is not finite; the parameters stay the last good.
    Source: Williams 1992; Sutton et al. 2000.
    """
    optimizer, steps = torch.optim.Adam(policy.parameters(), lr=lr), 0
    for update in range(1, updates + 1):
        lived = episodes(fresh_world(), policy, generator)
        steps += int(lived.mask.sum())
        rewards = torch.where(lived.mask, lived.rewards, 0)
        over = lived.ended | lived.cut_off
        discounts = torch.where(over, 0, torch.full_like(rewards, gamma))
        to_go = returns.discounted_returns(rewards, discounts, torch.zeros_like(rewards[:, 0]))
        now = policy(lived.observations)
        before = frozen(now)
        losses = policy_gradient.score_function_loss(now.logp(lived.actions), weigh(to_go, lived.mask).detach())
        entropy = now.entropy()
        descend(
            optimizer,
            update,
            float("inf"),
            policy_loss=masked.sum_over_constant(losses, lived.mask, constant=1),
            entropy_loss=-entropy_coefficient * masked.sum_over_constant(entropy, lived.mask, constant=1),
        )
        with torch.no_grad():
            kl = masked.mean_over_tokens(policy(lived.observations).kl(before), lived.mask).item()
        mean_entropy = masked.mean_over_tokens(entropy.detach(), lived.mask).item()
        yield Record(update, steps, rewards.sum(1), kl, mean_entropy, {})
