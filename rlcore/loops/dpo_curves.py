"""How far does DPO go for its KL? The runs of chapter 09, as a table: five values of β on the pairs that made judge 1.

The reward model that trained PPO in chapter 08 saw these very pairs, so both ways of learning start from equal data.
PPO takes many more steps: two values of β go over the pairs three times as well.
"""

import copy
import csv
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from rlcore import dpo as losses
from rlcore import lm, logprobs, masked
from rlcore.loops import desk, dpo

SEEDS = (0, 1, 2)
BETAS = (0.05, 0.1, 0.2, 0.5, 1.0)
RUNS = {f"beta {beta:g}": (beta, 1) for beta in BETAS} | {f"beta {beta:g}, 3 epochs": (beta, 3) for beta in (0.5, 0.2)}
"""Name of a run: β, passes over the pairs."""
PAIRS, TEST, FRESH, EVERY = 4000, 1000, 512, 7  # pairs to learn from and held out; replies and steps a pass for a row
HOW = {"epochs": 1, "batch": 64, "lr": 5e-4, "max_norm": 1.0}
COLUMNS = ("run", "seed", "step", "beta", *("gold", "kl", "entropy", "length", "ended", "proxy", "test"))
COLUMNS += ("chosen", "rejected", "accuracy")
"""gold to test: of FRESH replies, see `measured`; chosen, rejected, accuracy: of held-out pairs, see `dpo.Record`."""


class Bench(NamedTuple):
    """What policies are measured with."""

    reference: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    judges: tuple[PreTrainedModel, PreTrainedModel]  # proxy, and test


@lru_cache(maxsize=1)
def bench() -> Bench:
    """The fine-tuned model that everything starts from; judge 1, which PPO was trained with, and judge 2."""
    return Bench(*lm.shipped("replies_sft"), tuple(lm.shipped(f"replies_judge_{k}")[0] for k in (1, 2)))


@lru_cache(maxsize=4)
def compared(pairs: int, seed: int) -> dpo.Ranked:
    """Pairs drawn from the reference, and which reply an annotator prefers; a pair's rewards are its gold rewards.

    Seed 1 gives the pairs of `checkpoints.judge` with seed 1: what judge 1 was trained on.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = desk.groups(*bench()[:2], pairs, 2, generator)
    golds = desk.gold(bench().tokenizer, drawn).view(-1, 2)
    return dpo.Ranked(drawn, desk.rank(golds, drawn, generator, **desk.TASTE), golds)


@torch.no_grad()
def measured(policy: PreTrainedModel, count: int, generator: torch.Generator) -> dict[str, float]:
    """A policy by what it writes: means over so many fresh replies.

    Returns: gold; kl, KL(policy‖reference) in nats per reply; entropy, nats per token; length, tokens with EOS; ended,
             share; proxy and test, scores of judge 1 and judge 2 as PPO saw them.
    """
    reference, tokenizer, judges = bench()
    drawn = desk.groups(policy, tokenizer, count, 1, generator)
    kl = logprobs.sequence_logps(drawn.logps, drawn.mask) - dpo.sequence_logps(reference, drawn)
    spread = masked.mean_over_tokens(logprobs.entropy(lm.logits(policy, drawn)), drawn.mask)
    proxy, test = (desk.proxy([judge], lambda scores: scores[0])(drawn).mean() for judge in judges)
    numbers = {"gold": desk.gold(tokenizer, drawn).mean(), "kl": kl.mean(), "entropy": spread}
    numbers |= {"length": drawn.mask.sum() / count, "ended": drawn.ended.float().mean(), "proxy": proxy, "test": test}
    return {name: number.item() for name, number in numbers.items()}


def run(name: str, seed: int, pairs: int = PAIRS) -> Iterator[tuple[dict[str, Any], PreTrainedModel]]:
    """One of RUNS: before the first step and after every EVERY · passes steps a row of COLUMNS, and the policy.

    Args:
        name:  of RUNS.
        seed:  of the order of the pairs, and of what is held out and drawn to measure.
        pairs: the first so many; fewer for a shorter run.
    """
    (beta, epochs), policy, reference = RUNS[name], copy.deepcopy(bench().reference), bench().reference
    data, test = compared(PAIRS, 1), compared(TEST, 1000 + seed)
    data = dpo.Ranked(data.replies.rows(slice(2 * pairs)), *(part[:pairs] for part in data[1:]))
    generator, drawing = (torch.Generator().manual_seed(k + seed) for k in (0, 2000))

    def row(step: int) -> tuple[dict[str, Any], PreTrainedModel]:
        told = {"run": name, "seed": seed, "step": step, "beta": beta}
        told |= measured(policy, FRESH, drawing)
        return told | dict(zip(COLUMNS[-3:], dpo.held_out(policy, reference, test)[2:], strict=True)), policy

    def loss(batch: dpo.Batch) -> Tensor:
        return losses.dpo_loss(batch.margin, beta)

    yield row(0)
    for record in dpo.train(policy, reference, data, loss, **HOW | {"epochs": epochs}, generator=generator):
        if record.step % (EVERY * epochs) == 0:
            yield row(record.step)


def make_table(name: str) -> None:
    """Write all rows of all runs beside the shipped models."""
    rows = -(-PAIRS // HOW["batch"]) // EVERY + 1
    with open(lm.SHIPPED / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for one in RUNS:
            for seed in SEEDS:
                for row, _ in tqdm(run(one, seed), total=rows, desc=f"{one}, seed {seed}"):
                    writer.writerow(told(row))


def told(row: dict[str, Any]) -> dict[str, Any]:
    """A row as it is written: numbers that were measured with four decimals."""
    exact = ("seed", "step", "beta")
    return {k: v if k in exact or not isinstance(v, float) else f"{v:.4f}" for k, v in row.items()}
