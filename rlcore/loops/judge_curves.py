"""How much do a reward model's data, size and labels matter? The runs of chapter 07, as a table.

Five sweeps, each on pairs of its own for every seed: number of pairs, many passes over few of them, flipped labels,
width, and all pairs of a prompt together against the same pairs shuffled. The judges themselves are not kept.
"""

import csv
from collections.abc import Iterator
from math import ceil
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from rlcore import lm, preferences
from rlcore.lm import Rollout
from rlcore.loops import desk, reward_model

SEEDS = (0, 1, 2)
PAIRS = (125, 250, 500, 1000, 2000, 4000)
WIDTHS = (4, 8, 16, 32, 64)  # of models trained from nothing; two layers, two heads
FLIPS = (0.1, 0.2, 0.3, 0.4)
FEW, SOME, TEST = 125, 2000, 1000  # pairs for many passes; for the sweeps of width and flips; pairs held out
PROMPTS, K, EPOCHS = 250, 4, 5  # rankings of four, and passes over them
MANY, MAX_NORM = 32, 1.0  # passes over few pairs
HOW = {
    "sft": {"epochs": 2, "batch": 16, "lr": 1e-3},  # a trunk that has learnt to write,
    "new": {"epochs": 3, "batch": 64, "lr": 5e-3},  # and one that has learnt nothing
}

SETTINGS = ("sweep", "seed", "start", "hidden", "pairs", "flip_rate", "epoch")
COLUMNS = (*SETTINGS, "gold", "label", "ceiling", "loss", "least")
"""On held-out pairs: share in the hidden order (gold) and in the labels' order (label; ceiling: of the hidden reward
itself), mean loss on the labels, and that of the hidden reward (least), in nats."""


class Pool(NamedTuple):
    """Pairs of replies and their hidden rewards; the last TEST pairs are held out."""

    replies: Rollout  # 2 N rows
    golds: Tensor  # [N, 2]
    seed: int

    def labels(self, flip_rate: float) -> Tensor:
        """One annotator's ranking of every pair, [N, 2]; a higher rate turns more of the same labels round."""
        generator = torch.Generator().manual_seed(self.seed)
        return desk.rank(self.golds, self.replies, generator, **desk.TASTE | {"flip_rate": flip_rate})


def pool(policy: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, pairs: int, seed: int) -> Pool:
    """So many pairs to learn from, and TEST more, drawn from a policy."""
    drawn = desk.groups(policy, tokenizer, pairs + TEST, 2, torch.Generator().manual_seed(seed))
    return Pool(drawn, desk.gold(tokenizer, drawn).view(-1, 2), seed)


def fit(
    judge: PreTrainedModel, among: Pool, *, pairs: int, flip_rate: float, epochs: int, batch: int, lr: float
) -> Iterator[reward_model.Record]:
    """Train on the first pairs of a pool."""
    settings = {"epochs": epochs, "batch": batch, "lr": lr, "max_norm": MAX_NORM}
    replies, ranking = among.replies.rows(slice(2 * pairs)), among.labels(flip_rate)[:pairs]
    generator = torch.Generator().manual_seed(among.seed)
    return reward_model.train(judge, replies, ranking, preferences.pairwise_loss, **settings, generator=generator)


def quality(judge: PreTrainedModel, among: Pool, flip_rate: float) -> dict[str, float]:
    """A judge on the pool's held-out pairs: COLUMNS from gold on."""
    golds, labels = among.golds[-TEST:], among.labels(flip_rate)[-TEST:]
    scores = reward_model.score(judge, among.replies.rows(slice(-2 * TEST, None))).view(-1, 2)
    return {
        "gold": desk.order_accuracy(scores, golds),
        "label": reward_model.accuracy(scores, labels),
        "ceiling": reward_model.accuracy(golds, labels),
        "loss": preferences.pairwise_loss(scores, labels).mean().item(),
        "least": preferences.pairwise_loss(golds, labels).mean().item(),
    }


def ranked(golds: Tensor, generator: torch.Generator) -> Tensor:
    """Rankings [N, K] of one annotator: Plackett–Luce with the hidden rewards [N, K] as scores."""
    return desk.felt(golds, generator).argsort(1, descending=True)


def as_pairs(replies: Rollout, ranking: Tensor) -> Rollout:
    """All K(K−1)/2 pairs of every ranking, 2 rows each, the better one first."""
    count, size = ranking.shape
    rows = ranking + size * torch.arange(count)[:, None]
    return replies.rows(rows[:, torch.triu_indices(size, size, offset=1).T].flatten())


def passes(judge: PreTrainedModel, replies: Rollout, ranking: Tensor, batch: int, seed: int) -> Iterator[int]:
    """Train for EPOCHS passes, and stop after each one: yields its number."""
    settings = {"epochs": EPOCHS, "batch": batch, "lr": HOW["sft"]["lr"], "max_norm": MAX_NORM}
    generator, steps = torch.Generator().manual_seed(seed), ceil(len(ranking) / batch)
    for record in reward_model.train(
        judge, replies, ranking, preferences.pairwise_loss, **settings, generator=generator
    ):
        if record.step % steps == 0:
            yield record.step // steps


def sweeps(seed: int) -> Iterator[dict[str, Any]]:
    """All rows of a seed, one after the other."""
    policy, tokenizer = lm.shipped("replies_sft")
    among = pool(policy, tokenizer, max(PAIRS), seed)
    for pairs in PAIRS:
        yield _row("pairs", lm.scalar(policy, seed), "sft", among, pairs=pairs, **HOW["sft"])
    yield _row("passes", lm.scalar(policy, seed), "sft", among, pairs=FEW, **HOW["sft"] | {"epochs": MANY})
    for flip_rate in FLIPS:
        yield _row("flips", lm.scalar(policy, seed), "sft", among, flip_rate=flip_rate, **HOW["sft"])
    for hidden in WIDTHS:
        trunk = lm.build(tokenizer, hidden=hidden, layers=2, heads=2, context=64, seed=seed)
        yield _row("width", lm.scalar(trunk, seed), "new", among, **HOW["new"])
    yield from _together_and_shuffled(policy, tokenizer, among)


def _row(
    sweep: str, judge: PreTrainedModel, start: str, among: Pool, pairs: int = SOME, flip_rate: float = 0.0, **how: Any
) -> dict[str, Any]:
    for _ in fit(judge, among, pairs=pairs, flip_rate=flip_rate, **how):
        pass
    row = {"sweep": sweep, "seed": among.seed, "start": start, "hidden": judge.config.hidden_size, "pairs": pairs}
    return row | {"flip_rate": flip_rate, "epoch": how["epochs"]} | quality(judge, among, flip_rate)


def _together_and_shuffled(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, among: Pool
) -> Iterator[dict[str, Any]]:
    generator = torch.Generator().manual_seed(1000 + among.seed)
    drawn = desk.groups(policy, tokenizer, PROMPTS, K, generator)
    ranking = ranked(desk.gold(tokenizer, drawn).view(-1, K), generator)
    pairs, each = as_pairs(drawn, ranking), K * (K - 1) // 2
    first = torch.tensor([0, 1]).expand(PROMPTS * each, 2)
    ways = {"together": (drawn, ranking, 16), "shuffled": (pairs, first, 16 * each)}
    for sweep, (replies, order, batch) in ways.items():
        judge = lm.scalar(policy, among.seed)
        row = {"sweep": sweep, "seed": among.seed, "start": "sft", "hidden": judge.config.hidden_size}
        for epoch in passes(judge, replies, order, batch, among.seed):
            yield row | {"pairs": len(first), "flip_rate": 0.0, "epoch": epoch} | quality(judge, among, 0.0)


def make_table(name: str) -> None:
    """Write all rows of all seeds beside the shipped models."""
    rows = len(PAIRS) + 1 + len(FLIPS) + len(WIDTHS) + 2 * EPOCHS
    with open(lm.SHIPPED / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for seed in SEEDS:
            for row in tqdm(sweeps(seed), total=rows, desc=f"{name}, seed {seed}"):
                writer.writerow({k: v if k in SETTINGS else f"{v:.4f}" for k, v in row.items()})
