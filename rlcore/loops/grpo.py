"""Several replies to the same prompt, compared with each other: policy gradient on a language model without a critic.

GRPO and its family under one loop. What tells the members apart is passed in: how rewards become advantages, the
policy's loss, its denominator, which groups train, and whether a reference holds the policy. Left out: all of these
functions (policy_gradient, grpo, trust_region, masked, kl).
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel

from rlcore import lm, logprobs, masked
from rlcore.lm import Prompts, Replies, Rollout
from rlcore.loops import sft
from rlcore.loops.updates import descend
from rlcore.shapes import axes, finite, need, whole, within


class Batch(NamedTuple):
    """What a policy loss may look at besides the policy's log-probabilities; nothing has a gradient."""

    old_logps: Tensor  # [B, T] nats, of the policy that drew the replies
    ref_logps: Tensor | None  # [B, T] nats; None without a reference
    advantages: Tensor  # [B, 1], the same for every token of a reply
    mask: Tensor  # [B, T] bool

    def rows(self, index: Tensor) -> "Batch":
        """Some of the replies, by number or by mask."""
        return Batch(*(x if x is None else x[index] for x in self))


PolicyLoss = Callable[[Tensor, Batch], Tensor]
"""(logps [B, T], batch) ↦ unreduced loss: [B, T] per token, or [B] per reply, whose mean is then taken.

`rlhf.clipped(0.2, 0.2)` is one.
"""

Reduce = Callable[[Tensor, Tensor], Tensor]
"""(x [B, T], mask [B, T]) ↦ scalar: the denominator, one of `masked`."""


class Anchor(NamedTuple):
    """What holds the policy: a price on KL *in the loss*. Mind the gradient that an estimator has; see `kl`."""

    reference: PreTrainedModel  # another model than the policy
    penalty: PolicyLoss  # for instance `lambda logps, batch: kl.k2(logps, batch.ref_logps)`
    beta: float  # units of reward per nat; 0 only measures
    follow: Callable[[PreTrainedModel, PreTrainedModel, int], None]  # (reference, policy, update): changes the first


class Record(NamedTuple):
    """What one update saw, before it changed the policy. All replies that were drawn count, also those dropped."""

    update: int  # from 1
    rollout: Rollout  # G · K rows, the K replies to one prompt next to each other
    rewards: Tensor  # [G, K]
    advantages: Tensor  # [G, K]
    trained: Tensor  # [G] bool, which groups the steps were made of
    signal: float  # share of groups whose advantages are not all 0
    kl: float  # KL(policy‖ref), nats per reply, from the replies; 0 without a reference
    entropy: float  # nats per token: −log π, from the replies
    length: float  # tokens per reply, EOS included
    steps: int  # of Adam; 0 where no group that might train had a signal
    loss: float  # mean over the steps; NaN without a step
    clipped: float  # share of tokens with an advantage that got no gradient from the policy loss; NaN without a step


def train(
    policy: PreTrainedModel,
    reward: Callable[[Rollout], Tensor],
    prompts: Prompts,
    advantages: Callable[[Tensor], Tensor],
    policy_loss: PolicyLoss,
    reduce: Reduce,
    keep: Callable[[Tensor], Tensor],
    *,
    updates: int,
    groups: int,
    group_size: int,
    draws: int,
    longest: int,
    epochs: int,
    minibatches: int,
    lr: float,
    max_norm: float,
    anchor: Anchor | None = None,
    texts: tuple[float, Iterator[Replies]] | None = None,
    generator: torch.Generator,
) -> Iterator[Record]:
    """Draw groups of replies, compare within each, take a few steps; changes the policy, and a reference that follows.

        L = reduce(policy_loss) + β · reduce(penalty) + γ · L_LM

    Args:
        policy:     a causal language model.
        reward:     Rollout ↦ [B].
        prompts:    each draw takes `groups` of them, evenly.
        advantages: rewards [G, K] ↦ [G, K], for instance `policy_gradient.leave_one_out`.
        policy_loss, reduce: see PolicyLoss and Reduce.
        keep:       rewards [G, K] ↦ [G] bool, which groups may train: `every`, or `grpo.has_signal`.
        groups, group_size: G and K.
        draws:      1; or more for dynamic sampling: G new groups at a time, at most so often, until G are kept. What is
                    above G does not train; where G are not reached, those that were kept do.
        longest:    tokens of a reply, EOS included.
        epochs, minibatches: passes over the kept replies, and parts they are dealt into; with 1 and 1 every ρ is 1.
        lr:         of Adam.
        max_norm:   the gradient is cut to this length.
        anchor:     a price on KL, or None.
        texts:      None, or (γ, batches) to go on learning to read, one batch in each step: see `sft.remembered`.
    Yields: a Record per update. Where no group that may train has a signal there is no step, not even down the penalty.
    Raises: ValueError when a number or something that a function gave does not fit; FloatingPointError when a loss is
            not finite: the parameters stay good.
    Source: Shao et al. 2024 (GRPO), arXiv:2402.03300, algorithm 1, one iteration; Yu et al. 2025 (DAPO),
            arXiv:2503.14476, algorithm 1, with a bound on drawing again.
    """
    whole(1, updates=updates, groups=groups, draws=draws, longest=longest, epochs=epochs, minibatches=minibatches)
    whole(2, group_size=group_size)
    _apart(policy, anchor)

    def draw() -> tuple[Rollout, Tensor]:
        asked = torch.randint(len(prompts.tokens), (groups,), generator=generator).repeat_interleave(group_size)
        drawn = Prompts(*(part[asked] for part in prompts))
        rollout = lm.sample(policy, drawn, longest=longest, temperature=1.0, generator=generator)
        return rollout, reward(rollout).detach().to(policy.device)

    optimizer = torch.optim.Adam(policy.parameters(), lr)
    for update in range(1, updates + 1):
        rollout, rewards, trained = _drawn(draw, keep, groups, group_size, draws)
        weights, ref_logps = _weighed(advantages, rewards), _ref_logps(anchor, rollout)
        rows = trained.repeat_interleave(group_size)
        part, seen = rollout.rows(rows), _batch(rollout, ref_logps, weights).rows(rows)
        told = []
        for _ in range(epochs if seen.advantages.any() else 0):
            for picked in torch.randperm(len(part), generator=generator).to(policy.device).chunk(minibatches):
                logps = lm.logps(policy, part.rows(picked))
                losses, clipped = _losses(logps, seen.rows(picked), policy_loss, reduce, anchor)
                losses |= sft.remembered(policy, texts)
                descend(optimizer, update, max_norm, **losses)
                told.append((sum(losses.values()).item(), clipped))
        if anchor:
            anchor.follow(anchor.reference, policy, update)
        yield _record(update, rollout, rewards, weights, trained, ref_logps, told)


def every(rewards: Tensor) -> Tensor:
    """All groups may train, [G, K] ↦ [G] bool: also those with advantages of 0, which count in the denominators."""
    return torch.ones(len(rewards), dtype=torch.bool, device=rewards.device)


def still(reference: PreTrainedModel, policy: PreTrainedModel, update: int) -> None:
    """The reference stays as it is."""


def moving_average(decay: float) -> Callable[[PreTrainedModel, PreTrainedModel, int], None]:
    """After every update the reference goes a little towards the policy: decay · reference + (1 − decay) · policy."""
    within(0, 1, decay=decay)

    @torch.no_grad()
    def follow(reference: PreTrainedModel, policy: PreTrainedModel, update: int) -> None:
        for old, new in zip(reference.parameters(), policy.parameters(), strict=True):
            old.lerp_(new, 1 - decay)

    return follow


def renewed(period: int) -> Callable[[PreTrainedModel, PreTrainedModel, int], None]:
    """After every so many updates the reference becomes what the policy is then."""
    whole(1, period=period)

    def follow(reference: PreTrainedModel, policy: PreTrainedModel, update: int) -> None:
        if update % period == 0:
            reference.load_state_dict(policy.state_dict())

    return follow


def _apart(policy: PreTrainedModel, anchor: Anchor | None) -> None:
    """Raise where an anchor cannot hold the policy."""
    if anchor and anchor.reference is policy:
        raise ValueError("reference is the policy itself, expected another model: copy.deepcopy(policy)")
    if anchor:
        within(0, math.inf, beta=anchor.beta)


def _drawn(
    draw: Callable[[], tuple[Rollout, Tensor]], keep: Callable[[Tensor], Tensor], groups: int, size: int, draws: int
) -> tuple[Rollout, Tensor, Tensor]:
    """All replies that were drawn, their rewards [G, K], which groups train [G]: of those kept the first `groups`."""
    rollouts, found = [], []
    for _ in range(draws):
        rollout, scores = draw()
        need(rewards=(scores, axes([groups * size])))
        finite(rewards=scores)
        rollouts.append(rollout)
        found.append(scores.view(groups, size))
        rewards = torch.cat(found)
        kept = keep(rewards)
        need(keep=(kept, axes([len(rewards)])))
        if kept.dtype is not torch.bool:
            raise ValueError(f"keep gave dtype {kept.dtype}, expected torch.bool")
        if kept.sum() >= groups:
            break
    return _joined(rollouts), rewards, kept & (kept.cumsum(0) <= groups)


def _joined(rollouts: list[Rollout]) -> Rollout:
    """One below the other; the replies get the same width."""
    width = max(one.tokens.shape[1] for one in rollouts)
    parts = []
    for one in rollouts:
        right = {name: pad(vars(one)[name], (0, width - one.tokens.shape[1])) for name in ("tokens", "mask", "logps")}
        parts.append((vars(one) | right).values())
    return Rollout(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _weighed(advantages: Callable[[Tensor], Tensor], rewards: Tensor) -> Tensor:
    weights = advantages(rewards).detach()
    need(advantages=(weights, axes(rewards.shape)))
    finite(advantages=weights)
    return weights


@torch.no_grad()
def _ref_logps(anchor: Anchor | None, rollout: Rollout) -> Tensor | None:
    return lm.logps(anchor.reference, rollout) if anchor else None


def _batch(rollout: Rollout, ref_logps: Tensor | None, weights: Tensor) -> Batch:
    return Batch(rollout.logps, ref_logps, weights.flatten()[:, None], rollout.mask)


def _losses(
    logps: Tensor, batch: Batch, policy_loss: PolicyLoss, reduce: Reduce, anchor: Anchor | None
) -> tuple[dict[str, Tensor], float]:
    """Scalars to descend, and the share of tokens with an advantage that the policy loss is flat in."""
    unreduced = policy_loss(logps, batch)
    per_reply = unreduced.ndim == 1
    need(policy_loss=(unreduced, axes(logps.shape[:1] if per_reply else logps.shape)))
    losses = {"policy_loss": unreduced.mean() if per_reply else reduce(unreduced, batch.mask)}
    (slopes,) = torch.autograd.grad(losses["policy_loss"], logps, retain_graph=True)
    weighed = batch.mask & (batch.advantages != 0)
    if anchor:
        losses["penalty"] = anchor.beta * reduce(anchor.penalty(logps, batch), batch.mask)
    return losses, (slopes[weighed] == 0).float().mean().item()


def _record(
    update: int,
    rollout: Rollout,
    rewards: Tensor,
    weights: Tensor,
    trained: Tensor,
    ref_logps: Tensor | None,
    told: list[tuple[float, float]],
) -> Record:
    signal = (weights != 0).any(1).float().mean().item()
    log_ratios = torch.zeros_like(rollout.logps) if ref_logps is None else rollout.logps - ref_logps
    kl = logprobs.sequence_logps(log_ratios, rollout.mask).mean().item()
    entropy = masked.mean_over_tokens(-rollout.logps, rollout.mask).item()
    length = rollout.mask.sum().item() / len(rollout)
    loss, clipped = torch.tensor(told).view(-1, 2).nanmean(0).tolist()
    return Record(update, rollout, rewards, weights, trained, signal, kl, entropy, length, len(told), loss, clipped)
