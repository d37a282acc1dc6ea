"""What does a thought buy, and what is lost? Chapter 12's runs of reinforcement pre-training, and its start.

All begin with the shipped `reader`; what differs is where they think, what they read beside it, and one does not think.
"""

import itertools
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from rlcore import lm
from rlcore.loops import pretraining as rpt
from rlcore.loops import tables

SEEDS = (0, 1, 2)
TEXTS, READ = 800, 16  # texts whose places are thought at; texts in each step of those that go on reading
TAU = 1.5  # nats: places of less entropy are left out
EVERY, FRESH = 12, 200  # updates for a row; places of each kind, and texts, that it is measured on
RUNS: dict[str, tuple[str, float]] = {
    "filtered": ("entropy", 0.0),
    "all places": ("all", 0.0),
    **{f"filtered, texts {weight:g}": ("entropy", weight) for weight in (0.1, 1.0)},
    "at once": ("entropy", 0.0),
}
"""Name of a run: which places it trains at, weight of the loss on texts. "at once" is plain next-token training."""
LONGER = 16  # "at once" makes so many times the steps of the others
KEYS = (*rpt.KINDS, *(f"{kind} at once" for kind in rpt.KINDS), "words", "nats")
COLUMNS = ("run", "seed", "update", *KEYS, "reward", "signal", "length")
"""KEYS: see `pretraining.measured`; reward, signal, length: means over the updates since the last row."""


def chosen(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, where: str, generator: torch.Generator
) -> list[rpt.Position]:
    """Places of TEXTS new texts: "all", or those of more "entropy" than TAU."""
    found = rpt.places(TEXTS, generator)
    if where == "entropy":
        unsure = (rpt.surprise(model, tokenizer, found)[0] > TAU).tolist()
        return [one for one, keep in zip(found, unsure, strict=True) if keep]
    return found


def run(name: str, seed: int, updates: int) -> Iterator[tuple[dict[str, Any], PreTrainedModel]]:
    """One of RUNS: before the first update and after every EVERY a row of COLUMNS, and the policy."""
    policy, tokenizer = lm.shipped("reader")
    (where, weight), generator, drawing = RUNS[name], *(torch.Generator().manual_seed(k + seed) for k in (0, 2000))
    found = chosen(policy, tokenizer, where, generator)
    texts = (weight, (rpt.texts(tokenizer, READ, generator) for _ in repeat(None))) if weight else None
    told_at = {*range(EVERY, updates + 1, EVERY), updates}
    if name == "at once":
        told_at.add(LONGER * updates)
        records = rpt.at_once(policy, tokenizer, found, generator, steps=LONGER * updates)
    else:
        records = rpt.think(policy, tokenizer, found, texts, generator, updates=updates)

    def row(update: int, seen: list) -> tuple[dict[str, Any], PreTrainedModel]:
        told = {"run": name, "seed": seed, "update": update} | rpt.measured(policy, tokenizer, FRESH, drawing)
        if not seen or name == "at once":
            return told | dict.fromkeys(COLUMNS[-3:], ""), policy
        means = torch.tensor([(one.rewards.mean(), one.signal, one.length) for one in seen]).mean(0).tolist()
        return told | dict(zip(COLUMNS[-3:], means, strict=True)), policy

    seen = []
    yield row(0, seen)
    for update, record in enumerate(records, 1):
        seen.append(record)
        if update in told_at:
            yield row(update, seen)
            seen = []


def make_table(name: str) -> None:
    """Write all rows of all runs beside the shipped models."""
    runs = itertools.product(RUNS, SEEDS)
    bars = (tqdm(run(one, seed, rpt.RPT["updates"]), desc=f"{one}, seed {seed}") for one, seed in runs)
    tables.write(name, COLUMNS, (row for bar in bars for row, _ in bar))


def make_reader(name: str) -> None:
    """The model that all runs begin with."""
    model, tokenizer = rpt.reader(0, rpt.STAGES)
    good = rpt.measured(model, tokenizer, 1000, torch.Generator().manual_seed(1000))
    made = {"loop": "rlcore.loops.sft.train", "settings": rpt.READER | rpt.LESSONS | {"stages": rpt.STAGES}, "seed": 0}
    quality = {key: round(value, 4) for key, value in good.items()}
    lm.save(model, tokenizer, lm.SHIPPED / name, made | {"quality": quality})
