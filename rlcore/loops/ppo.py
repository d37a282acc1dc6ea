"""PPO: several passes over one batch, with a loss that stops paying once the policy has moved far enough.

The policy's loss is a function you pass: `clipped(0.2, 0.2)`, or `unclipped` to see what the clip is for, or your own,
say with a price on `now.kl(old)` that you change between two records. Left out: learning-rate schedules, normalised
observations, early stopping.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from rlcore import trust_region
from rlcore.loops.experience import collect
from rlcore.loops.updates import Record, Tally, descend, frozen, judged, normalised

PolicyLoss = Callable[..., Tensor]
"""(now, old, actions [N], advantages [N]) ↦ unreduced loss [N]; now and old are distributions at the same places."""


def clipped(eps_low: float, eps_high: float) -> PolicyLoss:
    """PPO's loss, see `trust_region.clipped_loss`."""

    def policy_loss(now, old, actions: Tensor, advantages: Tensor) -> Tensor:
        return trust_region.clipped_loss(now.logp(actions), old.logp(actions), advantages, eps_low, eps_high)

    return policy_loss


def unclipped(now, old, actions: Tensor, advantages: Tensor) -> Tensor:
    """Minus the surrogate, see `trust_region.surrogate`: nothing holds the policy near the old one."""
    return -trust_region.surrogate(now.logp(actions), old.logp(actions), advantages)


def train(
    policy: nn.Module,
    critic: nn.Module,
    world,
    policy_loss: PolicyLoss,
    *,
    updates: int,
    steps: int,
    epochs: int,
    minibatches: int,
    gamma: float,
    lam: float,
    lr: float,
    value_coefficient: float,
    entropy_coefficient: float,
    max_norm: float,
    generator: torch.Generator,
) -> Iterator[Record]:
    """Sample with the old policy, then take many small steps on the same batch; changes policy and critic.

        L = mean[policy_loss] + c₁ mean[½ (V(s) − G)²] − c₂ mean[H(π(·|s))],    G = A + V_old, without gradient

    Args:
        policy, critic: observations → a distribution, → values.
        world:       batched; goes on where it stands.
        policy_loss: gets advantages normalised over the batch.
        steps:       T of every row between two updates; a batch has N = B · T entries.
        epochs, minibatches: passes over the batch, and parts it is dealt into, anew for every pass.
        gamma, lam:  in [0, 1].
        lr:          of Adam.
        value_coefficient, entropy_coefficient: c₁ and c₂, 0 or more.
        max_norm:    the gradient is cut to this length.
    Yields: a Record per update; extra: value_loss before it, in units of reward²; largest_ratio after it.
    Raises: FloatingPointError with update and quantity when a number is not finite; the parameters stay the last good.
    Source: Schulman et al. 2017, arXiv:1707.06347, algorithm 1 and eq. 9.
    """
    optimizer = torch.optim.Adam([*policy.parameters(), *critic.parameters()], lr=lr)
    tally, rows = Tally(), len(world.observations)
    for update in range(1, updates + 1):
        lived = collect(world, policy, steps, generator)
        seen, actions = lived.observations.flatten(0, 1), lived.actions.flatten(0, 1)  # [N, D], [N]
        critic_errors, targets = (x.flatten() for x in judged(lived, critic, gamma, lam))  # the advantages: G − V_old
        advantages = normalised(critic_errors)
        with torch.no_grad():
            before = frozen(policy(seen))
        for _ in range(epochs):
            for picked in torch.randperm(rows * steps, generator=generator).to(seen.device).chunk(minibatches):
                now, old = policy(seen[picked]), type(before)(*(x[picked] if x.ndim > 1 else x for x in before))
                descend(
                    optimizer,
                    update,
                    max_norm,
                    policy_loss=policy_loss(now, old, actions[picked], advantages[picked]).mean(),
                    value_loss=value_coefficient * ((critic(seen[picked]) - targets[picked]) ** 2).mean() / 2,
                    entropy_loss=-entropy_coefficient * now.entropy().mean(),
                )
        with torch.no_grad():
            after = policy(seen)
            ratios = trust_region.ratio(after.logp(actions), before.logp(actions))
            told = {"value_loss": (critic_errors**2).mean().item() / 2, "largest_ratio": ratios.max().item()}
            kl, entropy = after.kl(before).mean().item(), before.entropy().mean().item()
        yield Record(update, update * rows * steps, tally.finished(lived), kl, entropy, told)
