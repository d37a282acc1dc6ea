"""How did the shipped models come about? Run again what made them:  python -m rlcore.loops.checkpoints [name …]

Each recipe is a loop of this room with its settings; the numbers it measures stand in the folder's `made.json`. The
runs of PPO that the course draws are remade here as well: `replies_rlhf`, a table beside the folders.
"""

import argparse
import copy
import csv
from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from rlcore import lm, preferences
from rlcore.lm import Replies
from rlcore.loops import (
    adders,
    arithmetic,
    desk,
    dpo_curves,
    grpo_curves,
    grpo_desk,
    judge_curves,
    league,
    passk_curves,
    process,
    reward_model,
    rlhf,
    rpt_curves,
    sft,
)
from rlcore.worlds import arithmetic as game
from rlcore.worlds import replies as world

SIZE = {"hidden": 64, "layers": 2, "heads": 4, "context": 64}
SFT = {"steps": 400, "lr": 5e-3, "weight_decay": 0.01, "max_norm": 1.0}
DESK, ECHOES = 64, 16  # demonstrations in a batch of SFT
PAIRS = 4000
TASTE = desk.TASTE
JUDGE = {"epochs": 2, "batch": 64, "lr": 1e-3, "max_norm": 1.0}
JUDGES = tuple(f"replies_judge_{k}" for k in (1, 2, 3, 4))  # each with pairs of its own: 1 trains, 2 tests
CLIP = {"eps_low": 0.2, "eps_high": 0.2}
RLHF = {
    **{"updates": 60, "critic_first": 5, "batch": 128, "longest": desk.LONGEST, "epochs": 2, "minibatches": 2},
    **{"lam": 0.95, "lr": 2e-4, "value_lr": 1e-3, "max_norm": 1.0},
}
SEEDS = (0, 1, 2)
SEARCH = SIZE | {"context": 112}
LESSONS = {"batch": 64, "weight_decay": 0.01, "max_norm": 1.0}


def mean(scores: Tensor) -> Tensor:
    """[judges, B] ↦ [B]."""
    return scores.mean(0)


def least(scores: Tensor) -> Tensor:
    """[judges, B] ↦ [B]: the most sceptical judge."""
    return scores.amin(0)


ONE, ENSEMBLE = (0,), (0, 2, 3)  # numbers in JUDGES; judge 2 never trains a policy
RUNS: dict[str, dict[str, Any]] = {
    **{f"beta {beta:g}": {"beta": beta} for beta in (0.0, 0.05, 0.1, 0.2, 0.5)},
    "mean of three": {"beta": 0.05, "judges": ENSEMBLE},
    "least of three": {"beta": 0.05, "judges": ENSEMBLE, "join": least},
    "beta 0.05 and ptx": {"beta": 0.05, "ptx": 0.3},
    "beta 0 and ptx": {"beta": 0.0, "ptx": 0.3},
}
"""The runs of PPO in `replies_rlhf`, by name: what differs from one judge, no ptx."""

COLUMNS = ("run", "seed", "update", "beta", "proxy", "test", "gold", "kl", "entropy", "length", "ended", "echo")
"""proxy: what trained the policy; test: judge 2; gold: the hidden truth; echo: share right, every tenth update."""


def mixed(tokenizer: PreTrainedTokenizerFast, generator: torch.Generator) -> Iterator[Replies]:
    """Batches for SFT: demonstrations of the desk and echoes, new ones every time."""
    while True:
        texts = world.demonstrations(DESK, generator) + world.echoes(ECHOES, generator)
        yield lm.encode(tokenizer, *zip(*texts, strict=True))


def start(seed: int, steps: int) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The model that everything else begins with: fine-tuned on demonstrations."""
    generator = torch.Generator().manual_seed(seed)
    tokenizer = lm.tokenizer(world.WORDS)
    model = lm.build(tokenizer, **SIZE, seed=seed)
    records = sft.train(model, mixed(tokenizer, generator), **SFT | {"steps": steps})
    for _ in tqdm(records, total=steps, desc="SFT"):
        pass
    return model, tokenizer


def quality(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, seed: int) -> dict[str, float]:
    """What `made.json` says of a policy: loss above the least possible, gold reward, share without a fault, echoes."""
    generator = torch.Generator().manual_seed(1000 + seed)
    drawn = desk.groups(model, tokenizer, 2000, 1, generator)
    said = [world.parse(reply) for _, reply in lm.read(tokenizer, drawn)]
    asked, held_out = zip(*world.demonstrations(4000, generator), strict=True)
    least_loss = -sum(map(world.demonstration_logp, asked, held_out)) / len(asked)  # on these very demonstrations
    return {
        "above the least, nats per reply": sft.evaluate(model, lm.encode(tokenizer, asked, held_out))[1] - least_loss,
        "gold": desk.gold(tokenizer, drawn).mean().item(),
        "grammatical": sum(not one.malformed and not one.unfinished for one in said) / len(said),
        "length": drawn.mask.sum().item() / len(drawn),
        "echoes right": desk.echo_accuracy(model, tokenizer, 1000, generator),
    }


def judge(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, pairs: int, seed: int
) -> tuple[PreTrainedModel, dict[str, float]]:
    """A reward model from pairs of its own, and its quality. Its mean over the policy's replies is set to 0."""
    generator = torch.Generator().manual_seed(seed)
    drawn = desk.groups(policy, tokenizer, pairs, 2, generator)
    ranking = desk.rank(desk.gold(tokenizer, drawn).view(-1, 2), drawn, generator, **TASTE)
    model = lm.scalar(policy, seed)
    records = reward_model.train(model, drawn, ranking, preferences.pairwise_loss, **JUDGE, generator=generator)
    for _ in tqdm(records, total=JUDGE["epochs"] * -(-pairs // JUDGE["batch"]), desc="reward model"):
        pass
    fresh = desk.groups(policy, tokenizer, 2000, 2, generator)
    golds, scores = desk.gold(tokenizer, fresh).view(-1, 2), reward_model.score(model, fresh)
    with torch.no_grad():
        model.score.bias -= scores.mean()
    scores, labels = scores.view(-1, 2), desk.rank(golds, fresh, generator, **TASTE)
    return model, {
        "accuracy on gold": desk.order_accuracy(scores, golds),
        "accuracy on labels": reward_model.accuracy(scores, labels),
    }


def ppo(name: str, seed: int, updates: int) -> Iterator[tuple[dict[str, Any], PreTrainedModel]]:
    """One of RUNS: after each update a row of COLUMNS, and the policy."""
    run = {"judges": ONE, "join": mean, "ptx": 0.0} | RUNS[name]
    reference, tokenizer = lm.shipped("replies_sft")
    judges = [lm.shipped(judge)[0] for judge in JUDGES]
    policy, critic = copy.deepcopy(reference), copy.deepcopy(judges[0])
    generator = torch.Generator().manual_seed(seed)
    old_texts = (desk.echoed(tokenizer, 32, generator) for _ in repeat(None))
    records = rlhf.train(
        policy,
        critic,
        reference,
        desk.proxy([judges[k] for k in run["judges"]], run["join"]),
        desk.prompts(tokenizer),
        rlhf.clipped(**CLIP),
        **RLHF | {"updates": updates},
        beta=run["beta"],
        next_beta=rlhf.fixed,
        ptx=(run["ptx"], old_texts) if run["ptx"] else None,
        generator=generator,
    )
    test, marking = desk.proxy([judges[1]], mean), torch.Generator().manual_seed(seed)
    for record in records:
        rollout = record.rollout
        row = {"run": name, "seed": seed, "update": record.update, "beta": record.beta}
        row |= {"proxy": record.scores.mean(), "test": test(rollout).mean()}
        row |= {"gold": desk.gold(tokenizer, rollout).mean(), "kl": record.kl, "entropy": record.entropy}
        row |= {"length": rollout.mask.sum() / len(rollout), "ended": rollout.ended.float().mean()}
        marked = record.update % 10 == 0
        row["echo"] = desk.echo_accuracy(policy, tokenizer, 200, marking) if marked else ""
        yield (
            {key: f"{value:.4f}" if isinstance(value, float | Tensor) else value for key, value in row.items()},
            policy,
        )


def searcher(seed: int, stages: dict[str, dict[str, float]]) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, float]:
    """A model that can search and gives up too soon, and the loss that its first stage ended with, nats per token.

    Args: stages as `arithmetic.STAGES`, perhaps with fewer steps.
    """
    generator = torch.Generator().manual_seed(seed)
    tokenizer = lm.tokenizer(game.WORDS)
    model = lm.build(tokenizer, **SEARCH, seed=seed)
    how = {"weight_decay": LESSONS["weight_decay"], "max_norm": LESSONS["max_norm"]}
    ends = []
    for name, stage in stages.items():
        manner = {key: stage[key] for key in ("systematic", "give_up")}
        batches = (arithmetic.demonstrated(tokenizer, LESSONS["batch"], generator, **manner) for _ in repeat(None))
        records = sft.train(model, batches, steps=stage["steps"], lr=stage["lr"], **how)
        for _ in tqdm(records, total=stage["steps"], desc=name):
            pass
        ends.append(sft.evaluate(model, arithmetic.demonstrated(tokenizer, 1000, generator, **manner))[0])
    return model, tokenizer, ends[0]


def search_quality(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, seed: int, count: int = 500
) -> dict[str, float]:
    """What `made.json` says of a searcher: 8 replies to each of so many new problems of 4, 5 and 6 numbers."""
    generator = torch.Generator().manual_seed(1000 + seed)
    told = {}
    for numbers in arithmetic.SIZES:
        drawn = arithmetic.drawn(model, tokenizer, numbers, count, 8, generator)
        told |= {f"{key}, {numbers} numbers": x for key, x in arithmetic.measured(tokenizer, drawn, 8).items()}
    return told


def make_searcher(name: str) -> None:
    model, tokenizer, loss = searcher(0, arithmetic.STAGES)
    made = {"loop": "rlcore.loops.sft.train", "settings": SEARCH | LESSONS | arithmetic.STAGES, "seed": 0}
    good = {"loss of the first stage, nats per token": loss} | search_quality(model, tokenizer, 0)
    lm.save(model, tokenizer, lm.SHIPPED / name, made | {"quality": _rounded(good)})


def make_grpo(name: str) -> None:
    """The table of all runs, and the model that GRPO with seed 0 ends with."""
    grpo_curves.make_table(name)
    *_, (_, policy) = tqdm(grpo_curves.run("GRPO", 0), total=arithmetic.GRPO["updates"] + 1, desc="GRPO")
    tokenizer = grpo_curves.start()[1]
    made = {"loop": "rlcore.loops.grpo.train", "settings": arithmetic.GRPO, "seed": 0}
    lm.save(policy, tokenizer, lm.SHIPPED / name, made | {"quality": _rounded(search_quality(policy, tokenizer, 0))})


def make_sft(name: str) -> None:
    model, tokenizer = start(seed=0, steps=SFT["steps"])
    settings = SIZE | SFT | {"batch": DESK + ECHOES}
    made = {"loop": "rlcore.loops.sft.train", "settings": settings, "seed": 0}
    lm.save(model, tokenizer, lm.SHIPPED / name, made | {"quality": _rounded(quality(model, tokenizer, 0))})


def make_judge(name: str) -> None:
    policy, tokenizer = lm.shipped("replies_sft")
    seed = int(name[-1])
    model, good = judge(policy, tokenizer, PAIRS, seed)
    settings = JUDGE | TASTE | {"pairs": PAIRS}
    made = {"loop": "rlcore.loops.reward_model.train", "settings": settings, "seed": seed, "quality": _rounded(good)}
    lm.save(model, tokenizer, lm.SHIPPED / name, made)


def make_policy(name: str, run: str) -> None:
    _, tokenizer = lm.shipped("replies_sft")
    for row, policy in tqdm(ppo(run, 0, RLHF["updates"]), total=RLHF["updates"], desc=run):
        last, trained = row, policy
    made = {"loop": "rlcore.loops.rlhf.train", "settings": RLHF | CLIP | RUNS[run], "seed": 0}
    good = _rounded(quality(trained, tokenizer, 0) | {key: float(last[key]) for key in ("proxy", "kl")})
    lm.save(trained, tokenizer, lm.SHIPPED / name, made | {"quality": good})


def make_table(name: str) -> None:
    with open(lm.SHIPPED / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for run in RUNS:
            for seed in SEEDS:
                rows = tqdm(ppo(run, seed, RLHF["updates"]), total=RLHF["updates"], desc=f"{run}, seed {seed}")
                writer.writerows(row for row, _ in rows)


RECIPES: dict[str, Callable[[str], None]] = {
    "replies_sft": make_sft,
    **dict.fromkeys(JUDGES, make_judge),
    "replies_ppo": partial(make_policy, run="beta 0.2"),
    "replies_hacked": partial(make_policy, run="beta 0"),
    "replies_rlhf": make_table,
    "replies_judges": judge_curves.make_table,
    "replies_dpo": dpo_curves.make_table,
    "replies_league": league.make_table,
    "replies_grpo": grpo_desk.make_table,
    "arithmetic_sft": make_searcher,
    "sums_sft": adders.make_adder,
    "sums_grpo": adders.make_thinker,
    "sums_judges": process.make_table,
    "arithmetic_grpo": make_grpo,
    "reader": rpt_curves.make_reader,
    "reader_rpt": rpt_curves.make_table,
    "sums_passk": passk_curves.make_table,
}


def _rounded(numbers: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 4) for key, value in numbers.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Make shipped models anew; all of them without a name: over an hour.")
    parser.add_argument("names", nargs="*", choices=[*RECIPES, []], help=", ".join(RECIPES))
    torch.set_num_threads(1)
    for name in parser.parse_args().names or RECIPES:
        print(name)
        RECIPES[name](name)


if __name__ == "__main__":
    main()
