"""Reinforcement learning from human feedback: PPO on a language model's replies, with a price on leaving the reference.

Four models: the policy and the critic are trained, the reference and the reward stand still. The reward is a function
you pass: a reward model, several of them, a rule. Left out: generation and training on different machines.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlcore import lm, masked, returns, rlhf, trust_region
from rlcore.lm import Prompts, Replies, Rollout
from rlcore.loops import sft
from rlcore.loops.updates import descend


class Batch(NamedTuple):
    """What a policy loss may look at besides the policy's log-probabilities; [B, T] each, without gradient."""

    old_logps: Tensor  # nats, of the policy that drew the replies
    ref_logps: Tensor  # nats
    advantages: Tensor  # whitened


PolicyLoss = Callable[[Tensor, Batch], Tensor]
"""(logps [B, T], batch) ↦ unreduced loss [B, T]."""


class Record(NamedTuple):
    """What one update saw, before it changed the policy."""

    update: int  # from 1
    rollout: Rollout  # the replies
    scores: Tensor  # [B] what the reward said of them
    kl: float  # KL(policy‖ref), nats per reply, from the replies
    entropy: float  # nats per reply: −log π, from the replies
    beta: float  # price on KL, units of reward per nat
    value_loss: float  # of the critic before the update, units of reward²


def clipped(eps_low: float, eps_high: float) -> PolicyLoss:
    """PPO's loss, see `trust_region.clipped_loss`."""

    def policy_loss(logps: Tensor, batch: Batch) -> Tensor:
        return trust_region.clipped_loss(logps, batch.old_logps, batch.advantages, eps_low, eps_high)

    return policy_loss


def with_kl(policy_loss: PolicyLoss, estimator: Callable[[Tensor, Tensor], Tensor], coefficient: float) -> PolicyLoss:
    """A policy loss plus KL *in the loss*: coefficient · estimator(logps, ref_logps), as kl.k2. Mind the gradient."""

    def penalised(logps: Tensor, batch: Batch) -> Tensor:
        return policy_loss(logps, batch) + coefficient * estimator(logps, batch.ref_logps)

    return penalised


def train(
    policy: PreTrainedModel,
    critic: PreTrainedModel,
    reference: PreTrainedModel,
    reward: Callable[[Rollout], Tensor],
    prompts: Prompts,
    policy_loss: PolicyLoss,
    *,
    updates: int,
    critic_first: int,
    batch: int,
    longest: int,
    epochs: int,
    minibatches: int,
    lam: float,
    beta: float,
    next_beta: Callable[[float, float], float],
    lr: float,
    value_lr: float,
    max_norm: float,
    ptx: tuple[float, Iterator[Replies]] | None = None,
    generator: torch.Generator,
) -> Iterator[Record]:
    """Draw replies, pay every token, estimate advantages, take PPO's small steps; changes policy and critic.

    Args:
        policy, reference: causal language models; critic: from `lm.scalar`.
        reward:       Rollout ↦ scores [B]. A reply without EOS by `longest` is its business too: see `ended`.
        prompts:      each update draws `batch` of them, evenly.
        policy_loss:  `clipped(…)`, alone or inside `with_kl(…)`, or your own.
        critic_first: so many updates train the critic alone.
        longest:      tokens of a reply, EOS included.
        epochs, minibatches: passes over the batch, and parts it is dealt into.
        lam:          of GAE, over tokens; γ is 1.
        beta:         the first price on KL in the reward, 0 or more.
        next_beta:    (beta, kl) ↦ the price of the next update: `fixed`, or a controller.
        lr, value_lr: of Adam, for policy and critic.
        max_norm:     each of the two gradients is cut to this length.
        ptx:          (coefficient, texts): adds −coefficient · mean log π(text) to the loss, one batch in each step.
    Yields: a Record per update.
    Raises: ValueError when a score is not finite; FloatingPointError when a loss is not: the parameters stay good.
    Source: Ziegler et al. 2019, arXiv:1909.08593; Ouyang et al. 2022, arXiv:2203.02155, section 3.5 and eq. 2.
    """
    actor, judge = torch.optim.Adam(policy.parameters(), lr), torch.optim.Adam(critic.parameters(), value_lr)
    for update in range(1, updates + 1):
        asked = torch.randint(len(prompts.tokens), (batch,), generator=generator)
        drawn = Prompts(*(part[asked] for part in prompts))
        rollout = lm.sample(policy, drawn, longest=longest, temperature=1.0, generator=generator)
        scores = reward(rollout).detach()
        seen, targets, value_loss = _judged(rollout, scores, critic, reference, beta, lam)
        kl, surprise = (torch.where(rollout.mask, x, 0).sum(1).mean().item() for x in _log_ratios(seen))
        for _ in range(epochs):
            for picked in torch.randperm(batch, generator=generator).to(policy.device).chunk(minibatches):
                part, mask = rollout.rows(picked), rollout.mask[picked]
                errors = (lm.values(critic, part)[:, :-1] - targets[picked]) ** 2 / 2
                descend(judge, update, max_norm, value_loss=masked.mean_over_tokens(errors, mask))
                if update > critic_first:
                    unreduced = policy_loss(lm.logps(policy, part), Batch(*(x[picked] for x in seen)))
                    losses = {"policy_loss": masked.mean_over_tokens(unreduced, mask)}
                    descend(actor, update, max_norm, **losses, **sft.remembered(policy, ptx))
        yield Record(update, rollout, scores, kl, surprise, beta, value_loss)
        beta = next_beta(beta, kl)


def fixed(beta: float, kl: float) -> float:
    """The price on KL stays as it is."""
    return beta


@torch.no_grad()
def _judged(
    rollout: Rollout, scores: Tensor, critic: PreTrainedModel, reference: PreTrainedModel, beta: float, lam: float
) -> tuple[Batch, Tensor, float]:
    """What the update needs, the critic's targets A + V [B, T], and the critic's loss."""
    ref_logps = lm.logps(reference, rollout)
    rewards = rlhf.token_rewards(scores, rollout.logps, ref_logps, rollout.mask, beta)
    values = lm.values(critic, rollout)
    advantages = returns.gae(rewards, rlhf.discounts(rollout.mask), values, lam)
    value_loss = masked.mean_over_tokens(advantages**2 / 2, rollout.mask).item()
    seen = Batch(rollout.logps, ref_logps, rlhf.whitened(advantages, rollout.mask))
    return seen, advantages + values[:, :-1], value_loss


def _log_ratios(seen: Batch) -> tuple[Tensor, Tensor]:
    return seen.old_logps - seen.ref_logps, -seen.old_logps
