"""How did the models that add up digits come about? Taught to think, then to guess; then GRPO on the answer alone.

The recipes of `checkpoints` for `worlds.sums`. Left out: other ways to teach. Of seeds 0 and 1 only the first learnt
all lengths in the first stage.
"""

from functools import partial
from itertools import repeat

import torch
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from rlcore import lm, masked
from rlcore.grpo import group_centered, has_signal
from rlcore.loops import grpo, rlhf, sft, sums
from rlcore.worlds import sums as world

SIZE = {"hidden": 64, "layers": 2, "heads": 4, "context": 64}
LESSONS = {"batch": 64, "weight_decay": 0.01, "max_norm": 1.0}
CLIP = {"eps_low": 0.2, "eps_high": 0.2}


def adder(seed: int, stages: dict[str, dict[str, float]]) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, float]:
    """A model that can add up step by step and mostly guesses, and the loss that its first stage ended with.

    Args: stages as `sums.STAGES`, perhaps with fewer steps.
    """
    generator = torch.Generator().manual_seed(seed)
    tokenizer = lm.tokenizer(world.WORDS)
    model = lm.build(tokenizer, **SIZE, seed=seed)
    how = {"weight_decay": LESSONS["weight_decay"], "max_norm": LESSONS["max_norm"]}
    ends = []
    for name, stage in stages.items():
        manner = {key: stage[key] for key in ("direct", "give_up", "slip")}
        lesson = partial(sums.demonstrated, tokenizer, lengths=sums.LENGTHS, generator=generator, **manner)
        batches = (lesson(count=LESSONS["batch"]) for _ in repeat(None))
        records = sft.train(model, batches, steps=stage["steps"], lr=stage["lr"], **how)
        for _ in tqdm(records, total=stage["steps"], desc=name):
            pass
        ends.append(sft.evaluate(model, lesson(count=1000))[0])
    return model, tokenizer, ends[0]


def quality(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, seed: int, count: int = 500
) -> dict[str, float]:
    """What `made.json` says of an adder: 8 replies to each of so many new problems of 3, 5 and 8 digits."""
    generator = torch.Generator().manual_seed(1000 + seed)
    told = {}
    for digits in (3, 5, 8):
        asked = sums.prompts(tokenizer, count, (digits,), generator)
        replies = sums.drawn(model, tokenizer, asked, 8, 1.0, generator)
        told |= {f"{key}, {digits} digits": x for key, x in sums.measured(tokenizer, replies, 8).items()}
    return told


def make_adder(name: str) -> None:
    model, tokenizer, loss = adder(0, sums.STAGES)
    made = {"loop": "rlcore.loops.sft.train", "settings": SIZE | LESSONS | sums.STAGES, "seed": 0}
    good = {"loss of the first stage, nats per token": loss} | quality(model, tokenizer, 0)
    lm.save(model, tokenizer, lm.SHIPPED / name, made | {"quality": _rounded(good)})


def thinker(seed: int) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The shipped adder after GRPO: paid for the answer alone."""
    policy, tokenizer = lm.shipped("sums_sft")
    generator = torch.Generator().manual_seed(seed)
    records = grpo.train(
        *(policy, partial(sums.correct, tokenizer), sums.prompts(tokenizer, sums.POOL, sums.REWARDED, generator)),
        *(group_centered, rlhf.clipped(**CLIP), masked.mean_over_tokens, has_signal),
        **sums.GRPO,
        generator=generator,
    )
    for _ in tqdm(records, total=sums.GRPO["updates"], desc=f"GRPO, seed {seed}"):
        pass
    return policy, tokenizer


def make_thinker(name: str) -> None:
    model, tokenizer = thinker(0)
    made = {"loop": "rlcore.loops.grpo.train", "settings": sums.GRPO | CLIP, "seed": 0}
    lm.save(model, tokenizer, lm.SHIPPED / name, made | {"quality": _rounded(quality(model, tokenizer, 0))})


def _rounded(numbers: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 4) for key, value in numbers.items()}
