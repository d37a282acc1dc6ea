"""Digits to add up as an experiment: demonstrations, problems to draw, who is right, and did thinking do it?

What several loops, chapters and shipped models share about `worlds.sums`. Left out: the world's own rules.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from rlcore import lm, reasoning
from rlcore.lm import Prompts, Replies, Rollout
from rlcore.shapes import whole
from rlcore.worlds import sums as world

LENGTHS = tuple(range(2, 11))  # digits in the problems that are demonstrated
REWARDED = (3, 4, 5, 6)  # and in those of reinforcement learning: eight show whether what it taught carries over
POOL = 4000  # problems that a run of reinforcement learning takes its prompts from
STAGES: dict[str, dict[str, float]] = {
    "skill": {"steps": 1000, "lr": 5e-3, **world.PATIENT},
    "haste": {"steps": 150, "lr": 2e-3, **world.HASTY},
}
"""How the shipped model was taught, one stage after the other: first to think, then to guess."""

LONGEST = 16  # tokens of a reply, EOS included; 14 hold ten running sums, the two marks, the answer and EOS
GRPO = {
    **{"updates": 30, "groups": 32, "group_size": 8, "draws": 1, "longest": LONGEST, "epochs": 1, "minibatches": 1},
    **{"lr": 1e-3, "max_norm": 1.0},
}
"""Settings of `loops.grpo.train` that were measured on three seeds."""


def problems(count: int, lengths: Sequence[int], generator: torch.Generator) -> list[world.Digits]:
    """So many problems, each of one of the lengths, drawn evenly.

    >>> [len(digits) for digits in problems(4, (2, 9), torch.Generator().manual_seed(0))]
    [2, 2, 9, 2]
    """
    whole(1, count=count, lengths=len(lengths))

    def length() -> int:
        return lengths[int(torch.randint(len(lengths), (), generator=generator))]

    return [world.problems(1, length(), generator)[0] for _ in range(count)]


def prompts(
    tokenizer: PreTrainedTokenizerFast, count: int, lengths: Sequence[int], generator: torch.Generator
) -> Prompts:
    """New problems, as tokens."""
    return lm.encode_prompts(tokenizer, [world.prompt(digits) for digits in problems(count, lengths, generator)])


def demonstrated(
    tokenizer: PreTrainedTokenizerFast,
    count: int,
    lengths: Sequence[int],
    generator: torch.Generator,
    *,
    direct: float,
    give_up: float,
    slip: float,
) -> Replies:
    """New demonstrations, as tokens; see `worlds.sums.demonstration`."""
    asked = problems(count, lengths, generator)
    manner = {"direct": direct, "give_up": give_up, "slip": slip}
    said = [world.demonstration(digits, generator, **manner) for digits in asked]
    return lm.encode(tokenizer, [world.prompt(digits) for digits in asked], said)


def correct(tokenizer: PreTrainedTokenizerFast, replies: Replies) -> Tensor:
    """1 where the answer is right, else 0, [B]; see `worlds.sums.reward`.

    As a reward for `loops.grpo`: `functools.partial(correct, tokenizer)`.
    """
    said = zip(lm.read(tokenizer, replies), replies.ended.tolist(), strict=True)
    return torch.tensor([world.reward(prompt, reply, ended) for (prompt, reply), ended in said])


def answers(tokenizer: PreTrainedTokenizerFast, replies: Replies) -> Tensor:
    """The digit that each reply gives as its answer, [B] int64; 10 where it gives none: it has a vote, too."""
    said = zip(lm.read(tokenizer, replies), replies.ended.tolist(), strict=True)
    parsed = [(world.parse(reply), ended) for (_, reply), ended in said]
    return torch.tensor([found.answer if found and ended else 10 for found, ended in parsed])


def drawn(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    asked: Prompts,
    size: int,
    temperature: float,
    generator: torch.Generator,
) -> Rollout:
    """`size` replies to each of these prompts, next to each other."""
    repeated = Prompts(*(part.repeat_interleave(size, 0) for part in asked))
    return lm.sample(policy, repeated, longest=LONGEST, temperature=temperature, generator=generator)


@torch.no_grad()
def at_once(policy: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, asked: Prompts) -> Tensor:
    """Chances of the ten answers, [B, 10], where the policy must not think: its first token has to be a digit."""
    tokens, mask = asked
    none = torch.zeros(len(tokens), dtype=torch.bool)
    first = Replies(tokens, mask, torch.full((len(tokens), 1), tokenizer.pad_token_id), mask[:, -1:], none)
    digits = [tokenizer.vocab[digit] for digit in "0123456789"]
    return lm.logits(policy, first)[:, 0, digits].softmax(-1)


def measured(tokenizer: PreTrainedTokenizerFast, replies: Replies, size: int) -> dict[str, float]:
    """What replies achieve and whether they think; `size` to each problem, next to each other.

    Returns: pass@1, the share of right answers; pass@size; length, tokens with EOS; thinks, the share of replies with
             running sums; whole, the share with as many of them as there are digits; true, the share of running sums
             that are right.
    Raises:  ValueError when the replies do not come in groups of that size.
    """
    whole(1, size=size)
    if len(replies) % size:
        raise ValueError(f"replies has {len(replies)} rows, expected a multiple of size, which is {size}")
    right = correct(tokenizer, replies).view(-1, size)
    rows = [(world.read(prompt), world.parse(reply)) for prompt, reply in lm.read(tokenizer, replies)]
    thought = [(digits, found.sums) for digits, found in rows if found and found.sums is not None]
    judged = [one for digits, said in thought for one in world.right_sums(digits, said)]
    return {
        "pass@1": right.mean().item(),
        f"pass@{size}": reasoning.pass_at_k(size, right.sum(1), size).mean().item(),
        "length": replies.mask.sum().item() / len(replies),
        "thinks": len(thought) / len(replies),
        "whole": sum(len(said) == len(digits) for digits, said in thought) / len(replies),
        "true": sum(judged) / len(judged) if judged else float("nan"),
    }
