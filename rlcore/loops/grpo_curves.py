"""What does each member of GRPO's family do to the number game? The runs of chapter 11, as a table.

All start from the shipped model that gives up too early. One batch is 256 replies, however it is cut into groups.
Left out: the losses themselves (policy_gradient, grpo, trust_region) and the loop (loops.grpo).
"""

import copy
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from rlcore import grpo as losses
from rlcore import kl, lm, masked, policy_gradient, trust_region
from rlcore.lm import Rollout
from rlcore.loops import arithmetic, grpo, rlhf, tables
from rlcore.loops.grpo import Anchor, Batch

SEEDS = (0, 1, 2)
REPLIES, SIZE = 256, 8  # replies of an update, and G
CHARGE = 0.05  # for a token
EVERY, FRESH = 10, 500  # updates for a row with pass@1, on so many new problems of each size


class Run(NamedTuple):
    """What tells a run from the others."""

    advantages: Callable[[Tensor], Tensor]
    policy_loss: grpo.PolicyLoss
    reduce: grpo.Reduce
    keep: Callable[[Tensor], Tensor] = losses.has_signal
    updates: int = 60
    size: int = SIZE  # G
    draws: int = 1
    beta: float = 0.0
    reward: str = "right"  # of REWARDS
    how: Mapping[str, Any] = MappingProxyType({})  # instead of what `arithmetic.GRPO` says


def plain(x: Tensor, b: Batch) -> Tensor:
    """REINFORCE: the samples' age is not looked at."""
    return policy_gradient.score_function_loss(x, b.advantages)


def unclipped(x: Tensor, b: Batch) -> Tensor:
    """The ratio without a clip."""
    return -trust_region.surrogate(x, b.old_logps, b.advantages)


def gspo(x: Tensor, b: Batch) -> Tensor:
    return losses.gspo_loss(x, b.old_logps, b.advantages[:, 0], b.mask, 3e-4, 4e-4)


def cispo(x: Tensor, b: Batch) -> Tensor:
    return losses.cispo_loss(x, b.old_logps, b.advantages, 1.0, 0.28)


def constant(x: Tensor, mask: Tensor) -> Tensor:
    return masked.sum_over_constant(x, mask, float(arithmetic.LONGEST))


def charged(tokenizer: PreTrainedTokenizerFast, replies: Rollout) -> Tensor:
    """Right or wrong, less CHARGE for each token."""
    return arithmetic.correct(tokenizer, replies) - CHARGE * replies.mask.sum(1)


def shifted(tokenizer: PreTrainedTokenizerFast, replies: Rollout) -> Tensor:
    """The rewards of the replies one row above: a mistake in the bookkeeping."""
    return arithmetic.correct(tokenizer, replies).roll(1)


def noisy(tokenizer: PreTrainedTokenizerFast, replies: Rollout) -> Tensor:
    """Right or wrong, and a noise of a thousandth, as a learned judge would have."""
    right = arithmetic.correct(tokenizer, replies)
    noise = torch.Generator().manual_seed(len(replies.tokens) + int(replies.tokens.sum()))
    return right + 0.001 * torch.randn(len(right), generator=noise)


NORMALIZED, BATCH = (partial(f, ddof=1) for f in (losses.group_normalized, policy_gradient.batch_normalized))
PPO_CLIP = rlhf.clipped(0.2, 0.2)
GRPO = Run(NORMALIZED, PPO_CLIP, masked.mean_over_sequences)
OFTEN = {"epochs": 4, "minibatches": 2}
FAMILY = {
    "GRPO": GRPO,
    "Dr. GRPO": Run(losses.group_centered, PPO_CLIP, constant),
    "DAPO": Run(NORMALIZED, rlhf.clipped(0.2, 0.28), masked.mean_over_tokens, draws=3),
    "RLOO": Run(policy_gradient.leave_one_out, plain, constant),
    "REINFORCE, batch baseline": Run(BATCH, plain, masked.mean_over_tokens, grpo.every),
}
DENOMINATORS = {  # GRPO, but for the denominator
    "mean over tokens": GRPO._replace(reduce=masked.mean_over_tokens, updates=20),
    "sum over a constant": GRPO._replace(reduce=constant, updates=20),
}
SIZES = {f"G = {size}": GRPO._replace(size=size, updates=20) for size in (2, 4, 16, 32)}
MANY = {  # many steps for each batch: now the clip has something to do
    "four passes, no clip": GRPO._replace(policy_loss=unclipped, updates=20, how=OFTEN),
    "four passes, clip": GRPO._replace(updates=20, how=OFTEN),
    "four passes, no ratio": GRPO._replace(policy_loss=plain, updates=20, how=OFTEN),
    "four passes, clip-higher": GRPO._replace(policy_loss=rlhf.clipped(0.2, 0.28), updates=20, how=OFTEN),
    "four passes, GSPO": GRPO._replace(policy_loss=gspo, updates=20, how=OFTEN),
    "four passes, CISPO": GRPO._replace(policy_loss=cispo, updates=20, how=OFTEN),
    "four passes, clip, KL": GRPO._replace(updates=20, how=OFTEN, beta=0.05),
    "four passes, no clip, KL": GRPO._replace(policy_loss=unclipped, updates=20, how=OFTEN, beta=0.05),
}
BROKEN = {  # on purpose
    "learning rate times ten": GRPO._replace(updates=20, how={"lr": 3e-3}),
    "a charge for each token": GRPO._replace(updates=20, reward="charged"),
    "noise of a thousandth": GRPO._replace(updates=20, reward="noisy", keep=grpo.every),
    "rewards of the row above": GRPO._replace(updates=20, reward="shifted"),
}
RUNS: dict[str, Run] = FAMILY | DENOMINATORS | SIZES | MANY | BROKEN
"""By name."""
COLUMNS = ("run", "seed", "update", "reward", "signal", "entropy", "kl", "clipped", "length", "seconds")
COLUMNS += ("four", "five", "six", "length of five")
"""reward to length: see `grpo.Record`; seconds: of processor time since the start, measuring left out; four, five,
six: pass@1 on FRESH new problems of so many numbers, after every EVERY updates; and the length of replies to five."""


@lru_cache(maxsize=1)
def start() -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The shipped model, and its tokenizer."""
    return lm.shipped("arithmetic_sft")


def measured(policy: PreTrainedModel, seed: int) -> dict[str, float]:
    """pass@1 on new problems of four, five and six numbers, and the length of replies to five."""
    tokenizer, found = start()[1], {}
    for name, numbers in (("four", 4), ("five", 5), ("six", 6)):
        generator = torch.Generator().manual_seed(1000 * numbers + seed)
        drawn = arithmetic.drawn(policy, tokenizer, numbers, FRESH, 1, generator)
        told = arithmetic.measured(tokenizer, drawn, 1)
        found |= {name: told["pass@1"]} | ({"length of five": told["length"]} if numbers == 5 else {})
    return found


REWARDS: dict[str, Callable[..., Tensor]] = {
    "right": arithmetic.correct,
    "charged": charged,
    "noisy": noisy,
    "shifted": shifted,
}


def run(name: str, seed: int, updates: int | None = None) -> Iterator[tuple[dict[str, Any], PreTrainedModel]]:
    """One of RUNS: a row of COLUMNS after each update, row 0 before the first, and the policy."""
    one, (model, tokenizer) = RUNS[name], start()
    policy, generator = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    prompts = arithmetic.prompts(tokenizer, arithmetic.POOL, arithmetic.REWARDED, generator)
    anchor = Anchor(copy.deepcopy(model), lambda x, b: kl.k3_loss(x, b.old_logps, b.ref_logps), one.beta, grpo.still)
    how = arithmetic.GRPO | one.how | {"updates": updates or one.updates, "draws": one.draws}
    how |= {"groups": REPLIES // one.size, "group_size": one.size}
    reward, parts = partial(REWARDS[one.reward], tokenizer), (one.advantages, one.policy_loss, one.reduce, one.keep)
    records = grpo.train(policy, reward, prompts, *parts, **how, anchor=anchor, generator=generator)
    yield {"run": name, "seed": seed, "update": 0, "seconds": 0.0} | measured(policy, seed), policy
    spent, began = 0.0, time.process_time()
    for record in records:
        spent += time.process_time() - began
        row = {"run": name, "seed": seed, "update": record.update, "reward": record.rewards.mean().item()}
        row |= {column: getattr(record, column) for column in ("signal", "entropy", "kl", "clipped", "length")}
        row["seconds"] = spent
        if record.update % EVERY == 0:
            row |= measured(policy, seed)
        yield row, policy
        began = time.process_time()


def make_table(name: str) -> None:
    """Write all rows of all runs beside the shipped models."""
    runs = itertools.product(RUNS, SEEDS)
    bars = (tqdm(run(one, seed), total=RUNS[one].updates + 1, desc=f"{one}, seed {seed}") for one, seed in runs)
    tables.write(name, COLUMNS, (row for bar in bars for row, _ in bar))
