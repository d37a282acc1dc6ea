"""Learn from ranked replies without a reward model: any loss of the family, under one loop.

A loss is a function of a Batch: the replies of B prompts, the best first, and what policy and reference say about them.
What a loss does not ask for is not computed; the reference's log-probabilities are, once, before the first step. Left
out: the losses (dpo, rankings, feedback, token_feedback), and where replies and their ranks come from.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlcore import dpo, lm, logprobs
from rlcore.lm import Replies
from rlcore.loops import reward_model
from rlcore.loops.updates import descend, passes
from rlcore.shapes import need, whole

ROWS = 512  # replies that the reference reads at a time


class Ranked(NamedTuple):
    """K replies to each of N prompts, and what was said about them."""

    replies: Replies  # N · K rows, the K replies to one prompt next to each other
    ranking: Tensor  # [N, K] int64, replies from best to worst: for a pair [0, 1] where the first was preferred
    rewards: Tensor  # [N, K], a mark for each reply in the order of `replies`; only some losses look at it


class Batch:
    """B prompts with K replies each, the best first: in a pair column 0 was chosen, column 1 rejected.

    Args:
        policy, reference: language models; the reference is only asked by `ref_logits` and `mismatched`.
        replies:   B · K rows, best first within a prompt.
        ref_logps: [B, K] nats.
        rewards:   [B, K], best first too.
    """

    def __init__(
        self,
        policy: PreTrainedModel,
        reference: PreTrainedModel,
        replies: Replies,
        ref_logps: Tensor,
        rewards: Tensor,
    ) -> None:
        self.policy, self.reference, self.replies = policy, reference, replies
        self.ref_logps, self.rewards = ref_logps, rewards

    @cached_property
    def logits(self) -> Tensor:
        """What each token was drawn from, [B·K, T, V]; rows in the order of `replies`."""
        return lm.logits(self.policy, self.replies)

    @cached_property
    def token_logps(self) -> Tensor:
        """[B·K, T] nats, of the policy; something of no meaning behind `replies.mask`."""
        return logprobs.token_logps(self.logits, self.replies.tokens)

    @cached_property
    def logps(self) -> Tensor:
        """[B, K] nats, of whole replies."""
        return logprobs.sequence_logps(self.token_logps, self.replies.mask).view_as(self.ref_logps)

    @property
    def log_ratios(self) -> Tensor:
        """log π/π_ref of whole replies, [B, K] nats."""
        return self.logps - self.ref_logps

    @property
    def pair(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log-probabilities of the best and the second reply, of the policy and of the reference; [B] each."""
        return *self.logps[:, :2].unbind(1), *self.ref_logps[:, :2].unbind(1)

    @property
    def margin(self) -> Tensor:
        """h of `dpo.margin`, [B] nats."""
        return dpo.margin(*self.pair)

    @cached_property
    def lengths(self) -> Tensor:
        """Tokens of the replies, EOS included, [B, K]."""
        return self.replies.mask.sum(1).view_as(self.ref_logps)

    @cached_property
    def ref_logits(self) -> Tensor:
        """As `logits`, of the reference, without gradient."""
        with torch.no_grad():
            return lm.logits(self.reference, self.replies)

    @cached_property
    def mismatched(self) -> Tensor:
        """log π/π_ref of each reply behind the prompt before its own in the batch, [B·K] nats, without gradient."""
        said, size = self.replies, self.ref_logps.shape[1]
        moved = type(said)(said.prompts.roll(size, 0), said.prompt_mask.roll(size, 0), *_rest(said))
        with torch.no_grad():
            return sequence_logps(self.policy, moved) - sequence_logps(self.reference, moved)


Loss = Callable[[Batch], Tensor]
"""What is to be minimised, unreduced, [B] or [B·K]. An `nn.Module` brings parameters that are trained as well."""


class Record(NamedTuple):
    """What one step saw, before it changed the policy."""

    step: int  # from 1
    loss: float
    chosen: float  # mean log π/π_ref of the best replies, nats
    rejected: float  # and of the worst
    accuracy: float  # share of prompts where the best has the larger log ratio; a tie counts half


def train(
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    data: Ranked,
    loss: Loss,
    *,
    epochs: int,
    batch: int,
    lr: float,
    max_norm: float,
    generator: torch.Generator,
) -> Iterator[Record]:
    """Move a policy by what was preferred. Changes the policy, and the loss's own parameters where it has some.

    Args:
        policy:    what is trained; usually a copy of the reference.
        reference: stays as it is.
        data:      N prompts with K ranked replies each.
        loss:      see Loss: `lambda batch: dpo.dpo_loss(batch.margin, beta=0.1)` is DPO.
        epochs, batch: passes over the prompts, in a new order each; prompts in a step.
        lr:        of AdamW, falling to nothing in a straight line.
        max_norm:  the gradient is cut to this length.
    Yields: a Record per step.
    Raises: ValueError when the sizes do not fit; FloatingPointError when a number is not finite.
    Source: Rafailov et al. 2023, arXiv:2305.18290, section 4.
    """
    whole(1, epochs=epochs, batch=batch)
    replies, rewards, ref_logps = _in_order(reference, data)
    count, size = ref_logps.shape
    own = list(loss.parameters()) if isinstance(loss, nn.Module) else []
    optimizer = torch.optim.AdamW([*policy.parameters(), *own], lr=lr, weight_decay=0.0)
    for step, picked in passes(optimizer, count, batch, epochs, generator):
        rows = (picked[:, None] * size + torch.arange(size)).flatten()
        seen = Batch(policy, reference, replies.rows(rows).to(policy.device), ref_logps[picked], rewards[picked])
        mean = loss(seen).mean()
        descend(optimizer, step, max_norm, loss=mean)
        yield _record(step, mean, seen.log_ratios.detach())


@torch.no_grad()
def sequence_logps(model: PreTrainedModel, replies: Replies) -> Tensor:
    """Log-probabilities of many whole replies, a portion at a time, [B] nats."""
    parts = [replies.rows(slice(k, k + ROWS)).to(model.device) for k in range(0, len(replies), ROWS)]
    return torch.cat([logprobs.sequence_logps(lm.logps(model, part), part.mask) for part in parts])


def as_batch(policy: PreTrainedModel, reference: PreTrainedModel, data: Ranked) -> Batch:
    """All of the data as a single Batch: what a loss would see of it.

    >>> from rlcore import lm
    >>> from rlcore.loops import desk
    >>> policy, words = lm.shipped("replies_sft")
    >>> pairs = desk.groups(policy, words, 2, 2, torch.Generator().manual_seed(0))
    >>> batch = as_batch(policy, policy, Ranked(pairs, torch.tensor([[0, 1], [1, 0]]), torch.zeros(2, 2)))
    >>> dpo.dpo_loss(batch.margin, beta=0.1)                                              # log 2 at the reference
    tensor([0.6931, 0.6931], grad_fn=<NegBackward0>)
    """
    replies, rewards, ref_logps = _in_order(reference, data)
    return Batch(policy, reference, replies.to(policy.device), ref_logps, rewards)


@torch.no_grad()
def held_out(policy: PreTrainedModel, reference: PreTrainedModel, data: Ranked) -> Record:
    """What a step would see on all of the data, without one: log ratios and accuracy; its loss is that of DPO at β = 1.

    >>> from rlcore import lm
    >>> from rlcore.loops import desk
    >>> policy, words = lm.shipped("replies_sft")
    >>> pairs = desk.groups(policy, words, 4, 2, torch.Generator().manual_seed(0))
    >>> held_out(policy, policy, Ranked(pairs, torch.tensor([[0, 1]] * 4), torch.zeros(4, 2))).accuracy
    0.5
    """
    replies, _, ref_logps = _in_order(reference, data)
    log_ratios = sequence_logps(policy, replies).view_as(ref_logps) - ref_logps
    return _record(0, dpo.dpo_loss(log_ratios[:, 0] - log_ratios[:, -1], beta=1.0).mean(), log_ratios)


def _in_order(reference: PreTrainedModel, data: Ranked) -> tuple[Replies, Tensor, Tensor]:
    """Replies with the best first, their marks and the reference's log-probabilities, [N, K]."""
    need(ranking=(data.ranking, "N K"), rewards=(data.rewards, "N K"))
    sizes = reward_model.sizes(data.replies, data.ranking)
    rows = (torch.arange(sizes["N"])[:, None] * sizes["K"] + data.ranking).flatten()
    ordered = data.replies.rows(rows)
    ref_logps = sequence_logps(reference, ordered).view(sizes["N"], sizes["K"])
    return ordered, data.rewards.gather(1, data.ranking).to(ref_logps), ref_logps


def _rest(said: Replies) -> tuple[Tensor, ...]:
    """Everything but the prompts."""
    return tuple(value for name, value in vars(said).items() if name not in ("prompts", "prompt_mask"))


def _record(step: int, loss: Tensor, log_ratios: Tensor) -> Record:
    best, worst = log_ratios[:, 0], log_ratios[:, -1]
    right = ((best > worst).double() + (best == worst).double() / 2).mean()
    return Record(step, loss.item(), best.mean().item(), worst.mean().item(), right.item())
