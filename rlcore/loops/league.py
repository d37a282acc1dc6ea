"""Which way of preference optimisation goes how far? All methods on one task, with one budget, measured alike.

The task is the support desk, the start its fine-tuned model. Every method gets the same 8,000 replies and the same
annotator, and one pass over them; what it may look at depends on its kind. `python -m rlcore.loops.checkpoints
replies_league` runs all methods on three seeds: half an hour. Left out: the methods (entrants, schedules).
"""

import copy
import csv
import time
import weakref
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from rlcore import lm
from rlcore.loops import desk, dpo, reward_model
from rlcore.loops.dpo_curves import SEEDS, bench, measured
from rlcore.loops.entrants import METHODS
from rlcore.loops.schedules import STEPS, K, Method, Pool, fit, seen

PROMPTS, TEST, FRESH, ECHOES = (
    2000,
    1000,
    1000,
    500,
)  # to learn from; held-out pairs; replies and echoes to measure with

OUTCOME = ("gold", "kl", "entropy", "length", "ended", "proxy", "test")  # of FRESH replies: see `dpo_curves.measured`
HELD_OUT = ("label", "order", "average", "chosen", "rejected")
"""Of held-out pairs. label, order: share that the implicit reward puts in the labels' and in the hidden order; average:
share that the mean log-probability per token puts in the labels' order; chosen, rejected: mean log π/π_ref, nats."""
COST = ("seconds", "bytes", "models", "passes")
"""seconds: of processor time, a step, what the reference says of the data included; bytes: the most at a time in one
step beyond the models' weights, gradients included; models: that are held in a step; passes: forward, each of 128
replies, for a step, the reference's one over the data included."""
COLUMNS = ("method", "kind", "reference", "settings", "seed", "steps", *OUTCOME, "echo", *HELD_OUT, *COST)


@lru_cache(maxsize=1)
def pool(seed: int) -> Pool:
    """A seed's data: replies of the fine-tuned model, what they are worth to the annotator, and held-out pairs."""
    reference, tokenizer, _ = bench()
    generator = torch.Generator().manual_seed(seed)
    replies = desk.groups(reference, tokenizer, PROMPTS, K, generator)
    felt = desk.felt(desk.gold(tokenizer, replies).view(-1, K), generator)
    fresh = desk.groups(reference, tokenizer, TEST, 2, generator)
    golds = desk.gold(tokenizer, fresh).view(-1, 2)
    return Pool(seed, reference, replies, felt, dpo.Ranked(fresh, desk.felt(golds, generator).argsort(1, True), golds))


def enter(method: Method | str, seed: int, steps: int = STEPS) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Train by one method and measure what came of it.

    Args:
        method: a Method, or the name of one of `entrants.METHODS`.
        seed:   of data, order and measuring.
        steps:  the first so many of the 63, each of 128 replies.
    Returns: the policy, and a row of COLUMNS.
    """
    method = METHODS[method] if isinstance(method, str) else method
    given = pool(seed)
    began = time.process_time()
    policy = fit(method, given, steps)
    seconds = (time.process_time() - began) / steps
    row = {"method": method.name, "kind": method.kind, "reference": method.reference, "settings": settings(method)}
    row |= {"seed": seed, "steps": steps} | evaluate(policy, given)
    return policy, row | {"seconds": seconds} | cost(method, given)


def settings(method: Method) -> str:
    """As the table tells them.

    >>> settings(METHODS["cDPO"])
    'beta 0.1, flip_rate 0.1'
    """
    return ", ".join(f"{name} {value:g}" for name, value in method.settings.items())


def evaluate(policy: PreTrainedModel, given: Pool) -> dict[str, float]:
    """A policy by fresh replies, by echoes, and by held-out pairs: columns OUTCOME, echo and HELD_OUT."""
    generator = torch.Generator().manual_seed(1000 + given.seed)
    numbers = measured(policy, FRESH, generator)
    numbers["echo"] = desk.echo_accuracy(policy, bench().tokenizer, ECHOES, generator)
    replies, ranking, golds = given.test
    logps, ref_logps = (dpo.sequence_logps(model, replies).view_as(golds) for model in (policy, given.reference))
    ratios = logps - ref_logps
    numbers["label"] = reward_model.accuracy(ratios, ranking)
    numbers["order"] = desk.order_accuracy(ratios, golds)
    numbers["average"] = reward_model.accuracy(logps / replies.mask.sum(1).view_as(golds), ranking)
    return numbers | dict(zip(("chosen", "rejected"), ratios.gather(1, ranking).mean(0).tolist(), strict=True))


def cost(method: Method, given: Pool) -> dict[str, int]:
    """What one step of a method takes: columns bytes, models, passes. The same every time."""
    _step(method, given)  # an operation's first use keeps more alive than the next ones
    return _step(method, given)


def _step(method: Method, given: Pool) -> dict[str, int]:
    policy, loss = copy.deepcopy(given.reference), method.make()
    batch = dpo.as_batch(policy, given.reference, seen(given, method.kind, 0, 1))
    models = [policy, given.reference, *(loss.children() if isinstance(loss, nn.Module) else ())]
    calls: list[nn.Module] = []
    hooks = [model.register_forward_pre_hook(lambda model, _: calls.append(model)) for model in models]
    with Bytes() as memory:
        loss(batch).mean().backward()
    for hook in hooks:
        hook.remove()
    held = len(models) - (not method.reference)
    return {"bytes": memory.most, "models": held, "passes": len(calls) + method.reference}


class Bytes(TorchDispatchMode):
    """Bytes of the tensors made inside that are alive, and the most there were at a time."""

    now = most = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for x in tree_leaves(made):
            if isinstance(x, Tensor) and not hasattr(store := x.untyped_storage(), "counted"):
                store.counted = True
                self.now += store.nbytes()
                weakref.finalize(store, self.free, store.nbytes())
        self.most = max(self.most, self.now)
        return made

    def free(self, size: int) -> None:
        """A storage of so many bytes is gone."""
        self.now -= size


def rows(seed: int) -> Iterator[dict[str, Any]]:
    """The rows of all methods on a seed."""
    for method in METHODS.values():
        yield told(enter(method, seed)[1])


def told(row: dict[str, Any]) -> dict[str, Any]:
    """A row as it is written: numbers that were measured with four decimals."""
    return {name: f"{value:.4f}" if isinstance(value, float) else value for name, value in row.items()}


def make_table(name: str) -> None:
    """Write the rows of all seeds beside the shipped models."""
    with open(lm.SHIPPED / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for seed in SEEDS:
            writer.writerows(tqdm(rows(seed), total=len(METHODS), desc=f"{name}, seed {seed}"))
