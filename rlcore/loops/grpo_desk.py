"""The support desk without a critic: chapter 08's task with groups in place of the critic, and what an update takes.

The same start, the same judge as the reward, the same number of updates and replies as PPO's. `python -m
rlcore.loops.checkpoints replies_grpo` runs it on three seeds: about five minutes. Left out: the loops (grpo, rlhf).
"""

import copy
import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from rlcore import grpo as equations
from rlcore import kl, lm, logprobs, masked, policy_gradient
from rlcore.lm import Rollout
from rlcore.loops import desk, grpo, rlhf, tables
from rlcore.loops.dpo_curves import SEEDS, bench
from rlcore.loops.league import Bytes
from rlcore.shapes import whole


class Price(NamedTuple):
    """β, units of reward per nat, and where it is paid."""

    loss: float = 0.0  # for each token's KL, with a gradient: as GRPO has it
    reward: float = 0.0  # for each reply's log π/π_ref, as a number: what PPO's runs pay


RUNS = {"beta 0.2": Price(loss=0.2), "beta 0": Price(), "beta 0.2 in the reward": Price(reward=0.2)}
"""The first two are named like PPO's, see `checkpoints.RUNS`."""
CLIP = {"eps_low": 0.2, "eps_high": 0.2}
HOW = {
    **{"updates": 60, "groups": 16, "group_size": 8, "draws": 1, "longest": desk.LONGEST, "epochs": 2},
    **{"minibatches": 2, "lr": 2e-4, "max_norm": 1.0},
}
"""lr and the rest are PPO's; but PPO's first five updates train the critic alone, and its 128 prompts differ freely."""
PPO = {
    **{"critic_first": 0, "batch": HOW["groups"] * HOW["group_size"], "longest": desk.LONGEST, "epochs": 2},
    **{"minibatches": 2, "lam": 0.95, "beta": 0.2, "next_beta": rlhf.fixed, "lr": 2e-4, "value_lr": 1e-3},
    "max_norm": 1.0,
}
"""PPO's, for `bills`."""
COLUMNS = ("run", "seed", "update", "beta", "proxy", "test", "gold", "kl", "entropy", "length", "ended", "echo")
COLUMNS += ("signal", "seconds")
"""As PPO's in `replies_rlhf`, and: share of groups with a signal; processor time since the start without measuring."""


def constant(x: Tensor, mask: Tensor) -> Tensor:
    """No length in the denominator, for loss and penalty: a nat of a reply costs β, however long it is, as in PPO."""
    return masked.sum_over_constant(x, mask, float(desk.LONGEST))


ALIKE = (policy_gradient.leave_one_out, rlhf.clipped(**CLIP), constant, equations.has_signal)
"""Parts of `grpo.train`. Advantages stay in units of reward: divided by a group's spread, each group has its own β."""


def penalty(logps: Tensor, batch: grpo.Batch) -> Tensor:
    """Each token's KL; a token is not charged for where it leads, as it is where the reward pays (`priced`).

    The estimator is the one that replies of a few steps ago do not lead astray.
    """
    return kl.k3_loss(logps, batch.old_logps, batch.ref_logps)


def judge(number: int) -> Callable[[Rollout], Tensor]:
    """A reward: what judge 1 says, with which PPO was trained, or judge 2, who only looks on."""
    return desk.proxy([bench().judges[number - 1]], lambda scores: scores[0])


@torch.no_grad()
def priced(rollout: Rollout, beta: float) -> Tensor:
    """What judge 1 says, less β · log π/π_ref of the reply, [B]."""
    log_ratios = rollout.logps - lm.logps(bench().reference, rollout)
    return judge(1)(rollout) - beta * logprobs.sequence_logps(log_ratios, rollout.mask)


def run(name: str, seed: int, **how: float) -> Iterator[tuple[dict[str, Any], PreTrainedModel]]:
    """One of RUNS: after each update a row of COLUMNS, and the policy.

    Args: how, instead of HOW's.
    """
    (reference, tokenizer, _), price = bench(), RUNS[name]
    policy, marking = copy.deepcopy(reference), torch.Generator().manual_seed(seed)
    how = HOW | {"anchor": grpo.Anchor(reference, penalty, price.loss, grpo.still)} | how
    reward = partial(priced, beta=price.reward) if price.reward else judge(1)
    generator = torch.Generator().manual_seed(seed)
    spent, began = 0.0, time.process_time()
    for record in grpo.train(policy, reward, desk.prompts(tokenizer), *ALIKE, **how, generator=generator):
        spent += time.process_time() - began
        row = {"run": name, "seed": seed, "update": record.update, "beta": sum(price)} | measured(record)
        marked = record.update % 10 == 0
        row["echo"] = desk.echo_accuracy(policy, tokenizer, 200, marking) if marked else ""
        yield row | {"signal": record.signal, "seconds": spent}, policy
        began = time.process_time()


def measured(record: grpo.Record) -> dict[str, float]:
    """An update's replies, as PPO's table tells them: means over replies; kl and entropy in nats per reply."""
    drawn = record.rollout
    numbers = {"proxy": judge(1)(drawn).mean(), "test": judge(2)(drawn).mean()}
    numbers |= {"gold": desk.gold(bench().tokenizer, drawn).mean(), "kl": record.kl}
    numbers |= {"entropy": record.entropy * record.length, "length": record.length}
    return {name: float(x) for name, x in (numbers | {"ended": drawn.ended.float().mean()}).items()}


CUT = 20  # tokens of the longest reply where bytes are counted: so both loops read batches of one shape


class Bill(NamedTuple):
    """What an update takes. Bytes count every tensor, numbers of 4 bytes most of them."""

    models: int  # that are held
    parameters: int  # of all of them together
    trained: int  # those of them with a gradient and Adam's two means
    held: int  # bytes of parameters, gradients and means: what stays from update to update
    peak: int  # bytes, the most at a time in an update of replies of at most CUT tokens; `held` is part of it
    seconds: float  # of processor time, median of some updates of replies as they come


def bills(updates: int) -> dict[str, Bill]:
    """What PPO and GRPO take on this task, β 0.2 in both, side by side: they make updates in turns.

    Args: updates, so many are timed, after a first one that is not; about a second each.
    """
    whole(1, updates=updates)
    loops = {name: _loop(name, _models(name), updates + 1, desk.LONGEST) for name in ("PPO", "GRPO")}
    times: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(updates + 1):
        for name, records in loops.items():
            began = time.process_time()
            next(records)
            times[name].append(time.process_time() - began)
    for name in loops:  # an operation's first use keeps more alive than the next ones
        _weighed(name)
    return {name: Bill(*_weighed(name), median(times[name][1:])) for name in loops}


def _models(name: str) -> dict[str, PreTrainedModel]:
    """Copies of all models that a loop needs; the critic begins as the judge, as it does in PPO's runs."""
    reference, first = bench().reference, bench().judges[0]
    needed = {"policy": reference, "reference": reference, "judge": first}
    needed |= {"critic": first} if name == "PPO" else {}
    return {role: copy.deepcopy(model) for role, model in needed.items()}


def _loop(name: str, models: dict[str, PreTrainedModel], updates: int, longest: int) -> Iterator[Any]:
    """So many updates of PPO or GRPO with these models."""
    policy, reference, prompts = models["policy"], models["reference"], desk.prompts(bench().tokenizer)
    reward = desk.proxy([models["judge"]], lambda scores: scores[0])
    how = {"updates": updates, "longest": longest, "generator": torch.Generator().manual_seed(0)}
    if name == "PPO":
        parts = (reward, prompts, rlhf.clipped(**CLIP))
        return rlhf.train(policy, models["critic"], reference, *parts, **PPO | how)
    anchor = grpo.Anchor(reference, penalty, PPO["beta"], grpo.still)
    return grpo.train(policy, reward, prompts, *ALIKE, **HOW | how, anchor=anchor)


def _weighed(name: str) -> tuple[int, int, int, int, int]:
    """A Bill without its seconds. From the second of the update's four steps on Adam's means are there."""
    with Bytes() as memory:
        models = _models(name)
        next(_loop(name, models, 1, CUT))
    counts = {role: sum(x.numel() for x in model.parameters()) for role, model in models.items()}
    trained = sum(counts[role] for role in ("policy", "critic") if role in counts)
    held = 4 * sum(counts.values()) + 3 * 4 * trained
    return len(models), sum(counts.values()), trained, held, memory.most


def make_table(name: str) -> None:
    """Write all rows of all runs beside the shipped models."""
    runs = itertools.product(RUNS, SEEDS)
    bars = (tqdm(run(one, seed), total=HOW["updates"], desc=f"{one}, seed {seed}") for one, seed in runs)
    tables.write(name, COLUMNS, (row for bar in bars for row, _ in bar))
