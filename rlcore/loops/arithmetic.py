"""The number game as an experiment: demonstrations to imitate, problems to draw, and who gives the right answer.

What several loops, chapters and shipped models share about `worlds.arithmetic`. Left out: the world's own rules.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from rlcore import lm
from rlcore.lm import Prompts, Replies, Rollout
from rlcore.shapes import whole
from rlcore.worlds import arithmetic as world

SIZES = (4, 5, 6)  # numbers in the problems that are demonstrated
REWARDED = (4, 5)  # and in those of reinforcement learning: six show whether what it taught carries over
POOL = 4000  # problems that a run of reinforcement learning takes its prompts from
STAGES: dict[str, dict[str, float]] = {
    "skill": {"steps": 500, "lr": 6e-3, "systematic": 1.0, "give_up": 0.0},
    "impatience": {"steps": 150, "lr": 1.5e-3, "systematic": 1.0, "give_up": 0.35},
}
"""How the shipped model was taught, one stage after the other: first to search, then to lose patience."""

LONGEST = 96  # tokens of a reply, EOS included; 91 go through all 15 pairs of six numbers
GRPO = {
    **{"updates": 60, "groups": 32, "group_size": 8, "draws": 1, "longest": LONGEST, "epochs": 1, "minibatches": 1},
    **{"lr": 3e-4, "max_norm": 1.0},
}
"""Settings of `loops.grpo.train` that were measured on three seeds."""


def problems(count: int, sizes: Sequence[int], generator: torch.Generator) -> list[world.Problem]:
    """So many problems, of each size as many as of the others (one more of the first ones), sizes in turn.

    >>> [len(one.numbers) for one in problems(3, (4, 5), torch.Generator().manual_seed(0))]
    [4, 5, 4]
    """
    whole(1, count=count, sizes=len(sizes))
    return [world.problems(1, sizes[k % len(sizes)], generator)[0] for k in range(count)]


def prompts(
    tokenizer: PreTrainedTokenizerFast, count: int, sizes: Sequence[int], generator: torch.Generator
) -> Prompts:
    """New problems, as tokens."""
    return lm.encode_prompts(tokenizer, [world.prompt(one) for one in problems(count, sizes, generator)])


def demonstrated(
    tokenizer: PreTrainedTokenizerFast, count: int, generator: torch.Generator, *, systematic: float, give_up: float
) -> Replies:
    """New demonstrations on problems of all SIZES, as tokens; see `worlds.arithmetic.demonstration`."""
    asked = problems(count, SIZES, generator)
    said = [world.demonstration(one, generator, systematic=systematic, give_up=give_up) for one in asked]
    return lm.encode(tokenizer, [world.prompt(one) for one in asked], said)


def correct(tokenizer: PreTrainedTokenizerFast, replies: Replies) -> Tensor:
    """1 where the answer is right, else 0, [B]; see `worlds.arithmetic.reward`.

    As a reward for `loops.grpo`: `functools.partial(correct, tokenizer)`.
    """
    said = zip(lm.read(tokenizer, replies), replies.ended.tolist(), strict=True)
    return torch.tensor([world.reward(prompt, reply, ended) for (prompt, reply), ended in said])


def drawn(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    numbers: int,
    count: int,
    size: int,
    generator: torch.Generator,
) -> Rollout:
    """Replies to `count` new problems of so many numbers, `size` to each, next to each other."""
    asked = prompts(tokenizer, count, (numbers,), generator)
    repeated = Prompts(*(part.repeat_interleave(size, 0) for part in asked))
    return lm.sample(policy, repeated, longest=LONGEST, temperature=1.0, generator=generator)


def measured(tokenizer: PreTrainedTokenizerFast, replies: Replies, size: int) -> dict[str, float]:
    """What replies achieve and how they search; `size` to each problem, next to each other.

    Returns: pass@1, the share of right answers; pass@size, the share of problems with a right answer among theirs;
             length, tokens with EOS; gave up, the share that says stop; tries per reply; true, the share of tries that
             are. Tries are those of replies that are nothing but tries.
    Raises:  ValueError when the replies do not come in groups of that size.
    """
    whole(1, size=size)
    if len(replies) % size:
        raise ValueError(f"replies has {len(replies)} rows, expected a multiple of size, which is {size}")
    right, said = correct(tokenizer, replies).view(-1, size), lm.read(tokenizer, replies)
    rows = [(world.read(prompt), world.tries(reply)) for prompt, reply in said]
    judged = [[world.right(problem, one) for one in tried] for problem, tried in rows if tried is not None]
    tried = sum(map(len, judged))
    return {
        "pass@1": right.mean().item(),
        f"pass@{size}": right.amax(1).mean().item(),
        "length": replies.mask.sum().item() / len(replies),
        "gave up": sum(reply.endswith(world.GIVE_UP) for _, reply in said) / len(said),
        "tries": tried / len(judged) if judged else math.nan,
        "true": sum(map(sum, judged)) / tried if tried else math.nan,
    }
