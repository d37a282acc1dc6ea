"""What may a method look at, and in which steps? The league's replies by kind of feedback, and unusual schedules.

Pairs say which of two is better, lists the order of four, thumbs judge each reply alone, marks are a number for each
reply, negatives are bad replies beside others that nobody has judged. All kinds are views of the same replies and of
the same annotator. Left out: losses (entrants), and how the outcome is measured (league).
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlcore import dpo_training, lm
from rlcore.lm import Rollout
from rlcore.loops import reward_model
from rlcore.loops.dpo import Loss, Ranked, train

K, ROWS, STEPS = 4, 128, 63  # replies to a prompt, replies in a step, steps: one pass over 2,000 prompts
HOW = {"epochs": 1, "lr": 5e-4, "max_norm": 1.0}
NOISE = 0.5772156649  # mean of what the annotator adds to the gold reward: Gumbel noise


class Pool(NamedTuple):
    """What a seed has to learn from, and what is held out."""

    seed: int
    reference: PreTrainedModel
    replies: Rollout  # N · K rows drawn from the reference, K to each prompt
    felt: Tensor  # [N, K] worth to the annotator: gold reward and Gumbel noise, so that choices are Plackett–Luce
    test: Ranked  # held-out pairs; their rewards are the gold rewards


class Method(NamedTuple):
    """An entrant."""

    name: str
    kind: str  # pairs, lists, thumbs, marks, negatives
    reference: bool  # True where the loss asks what the reference thinks
    loss: Callable[..., Any]  # (Batch, **settings) ↦ what to minimise; or a class, made from the settings, that does it
    settings: dict[str, float]
    fit: Callable[["Method", Pool, int], PreTrainedModel] | None = None  # where data or schedule differ from `fit`

    def make(self) -> Loss:
        """The loss with its settings and, where it keeps state, with a new one."""
        return self.loss(**self.settings) if isinstance(self.loss, type) else partial(self.loss, **self.settings)


def seen(pool: Pool, kind: str, start: int = 0, stop: int = STEPS) -> Ranked:
    """What methods of a kind may look at in some of the steps; without marks, rewards are 0."""
    pairs = pool.felt.view(-1, 2)
    ranking, rewards = pairs.argsort(1, descending=True), torch.zeros_like(pairs)
    if kind == "marks":
        rewards = pairs - NOISE
    elif kind == "lists":
        ranking, rewards = pool.felt.argsort(1, descending=True), torch.zeros_like(pool.felt)
    elif kind == "negatives":  # two pairs of a prompt side by side: the rejected ones are at 1 and 3
        ranking, rewards = (ranking.view(-1, 2, 2) + torch.tensor([[0], [2]])).flatten(1), torch.zeros_like(pool.felt)
    size = ranking.shape[1]
    prompts = slice(start * ROWS // size, stop * ROWS // size)
    rows = slice(start * ROWS, stop * ROWS)
    return Ranked(pool.replies.rows(rows), ranking[prompts], rewards[prompts])


def trained(pool: Pool, reference: PreTrainedModel, data: Ranked, loss: Loss) -> PreTrainedModel:
    """A copy of the reference after one pass over the data."""
    policy, generator = copy.deepcopy(reference), torch.Generator().manual_seed(pool.seed)
    batch = ROWS // data.ranking.shape[1]
    for _ in train(policy, reference, data, loss, **HOW, batch=batch, generator=generator):
        pass
    return policy


def fit(method: Method, pool: Pool, steps: int) -> PreTrainedModel:
    """What a method makes of the pool in so many steps."""
    if method.fit:
        return method.fit(method, pool, steps)
    return trained(pool, pool.reference, seen(pool, method.kind, 0, steps), method.make())


def stepwise(method: Method, pool: Pool, steps: int) -> PreTrainedModel:
    """sDPO: half of the data, and then the other half with the first result as start and reference."""
    half = -(-steps // 2)
    first = trained(pool, pool.reference, seen(pool, method.kind, 0, half), method.make())
    return trained(pool, first, seen(pool, method.kind, half, steps), method.make())


def parallel(method: Method, pool: Pool, steps: int) -> PreTrainedModel:
    """PAFT: likelihood on one half of the data, preferences on the other, both from the same start; changes added."""
    half, start = -(-steps // 2), pool.reference
    tuned = trained(pool, start, seen(pool, method.kind, 0, half), lambda b: -b.logps[:, 0])
    merged = trained(pool, start, seen(pool, method.kind, half, steps), method.make())
    share, weight, threshold = (method.settings[name] for name in ("share", "weight", "threshold"))
    with torch.no_grad():
        for before, one, other in zip(start.parameters(), tuned.parameters(), merged.parameters(), strict=True):
            sparse = before + dpo_training.shrink(one - before, threshold)
            other.copy_(dpo_training.parallel_merge(before, sparse, other, share, weight))
    return merged


def accepted(pool: Pool, temperature: float) -> Ranked:
    """RSO's pairs: of each prompt's replies some are kept by judge 1's score; two of them, in the judge's order."""
    scores = reward_model.score(lm.shipped("replies_judge_1")[0], pool.replies).view(-1, K)
    chances = dpo_training.acceptance_probabilities(scores, temperature)
    kept = torch.rand(chances.shape, generator=torch.Generator().manual_seed(pool.seed)) < chances
    groups = (kept.sum(1) >= 2).nonzero()
    places = kept.int().argsort(dim=1, descending=True, stable=True)[:, :2][groups[:, 0]]  # the first two that are kept
    ranking = scores[groups, places].argsort(1, descending=True)
    return Ranked(pool.replies.rows((groups * K + places).flatten()), ranking, torch.zeros_like(scores[groups, places]))


def sampled(method: Method, pool: Pool, steps: int) -> PreTrainedModel:
    """RSO: as many pairs as the others have, going round those that were accepted."""
    pairs = accepted(pool, method.settings["temperature"])
    again = torch.arange(min(steps * ROWS, len(pool.replies)) // 2) % len(pairs.ranking)
    rows = (again[:, None] * 2 + torch.arange(2)).flatten()
    data = Ranked(pairs.replies.rows(rows), pairs.ranking[again], pairs.rewards[again])
    return trained(pool, pool.reference, data, method.make())
