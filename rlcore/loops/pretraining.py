"""Is the next token worth a thought? Reinforcement pre-training in miniature, beside plain next-token training.

    now we add 3 5 9 4 and get 1 in the end .

Most next tokens are easy, the digits of the task are dice, and one token, behind "get", has to be worked out. The model
can say at once what comes next, or think first, when asked to by <think>: running sums, </think>, the prediction.
Left out: the filter's threshold, and prefix matching itself (`reasoning`).
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from rlcore import grpo as equations
from rlcore import lm, masked, reasoning
from rlcore.lm import Replies, Rollout
from rlcore.loops import grpo, rlhf, sft
from rlcore.worlds import sums

WORDS = ("now", "we", "add", "and", "get", "in", "the", "end", ".", *"0123456789", sums.THINK, sums.ANSWER)
LENGTH = 4  # digits to add up
KINDS = ("worked out", "dice", "easy")
HASTY = {"direct": 0.0, "give_up": 0.3, "slip": 0.03}  # how the model was taught to think; see `sums.demonstration`
READER = {"hidden": 64, "layers": 2, "heads": 4, "context": 32}
STAGES = {"skill": (300, 5e-3, sums.PATIENT), "haste": (80, 2e-3, HASTY)}  # steps, learning rate, manner
LESSONS = {"weight_decay": 0.01, "max_norm": 1.0}
TEXTS, THOUGHTS = 16, 48  # in a batch of the lessons
RPT = {
    **{"updates": 24, "groups": 32, "group_size": 8, "draws": 1, "longest": 8, "epochs": 1, "minibatches": 1},
    **{"lr": 1e-3, "max_norm": 1.0},
}
"""Settings of `loops.grpo.train`: on policy, no KL."""
TOP = 16  # likeliest tokens that the filter takes the entropy of


class Position(NamedTuple):
    """A place in a text: what stands before it, what follows, and what the next token is: one of KINDS."""

    context: str
    continuation: str
    kind: str


def text(digits: sums.Digits) -> str:
    """
    >>> text((3, 5, 9, 4))
    'now we add 3 5 9 4 and get 1 in the end .'
    """
    return f"now we add {' '.join(map(str, digits))} and get {sum(digits) % 10} in the end ."


def positions(digits: sums.Digits) -> list[Position]:
    """All places of a text but the first one.

    >>> [one.continuation.split()[0] for one in positions((3, 5, 9, 4)) if one.kind == "dice"]
    ['3', '5', '9', '4']
    """
    words = text(digits).split()
    cuts = [(" ".join(words[:k]), " ".join(words[k:])) for k in range(1, len(words))]
    return [Position(before, after, _kind(before)) for before, after in cuts]


def _kind(context: str) -> str:
    if context.endswith("get"):
        return "worked out"
    return "dice" if "add" in context and len(_digits(context)) < LENGTH else "easy"


def _digits(context: str) -> sums.Digits:
    return tuple(int(word) for word in context.split() if word.isdigit())


def thought(position: Position, generator: torch.Generator, **manner: float) -> str:
    """What a demonstrator says behind <think>: running sums where there is something to work out, then the next token.

    What is worked out comes out as the sums do, right or wrong; anything else is what the text really says.

    Args: manner, see `sums.demonstration`.
    """
    if position.kind != "worked out":
        return f"{sums.ANSWER} {position.continuation.split()[0]}"
    return sums.demonstration(_digits(position.context), generator, **manner).removeprefix(f"{sums.THINK} ")


def asked(found: Sequence[Position]) -> list[str]:
    """Prompts that ask for a thought."""
    return [f"{one.context} {sums.THINK}" for one in found]


def texts(tokenizer: PreTrainedTokenizerFast, count: int, generator: torch.Generator) -> Replies:
    """New texts as tokens; the first word is the prompt."""
    told = [text(digits).split(" ", 1) for digits in sums.problems(count, LENGTH, generator)]
    return lm.encode(tokenizer, *zip(*told, strict=True))


def lessons(tokenizer: PreTrainedTokenizerFast, generator: torch.Generator, **manner: float) -> Iterator[Replies]:
    """Batches that teach to read and to think: texts, and thoughts at one place of each of other texts.

    Half of the thoughts are where something is to be worked out, half anywhere.
    """
    while True:
        told = [text(digits).split(" ", 1) for digits in sums.problems(TEXTS, LENGTH, generator)]
        for k, digits in enumerate(sums.problems(THOUGHTS, LENGTH, generator)):
            places = positions(digits)
            place = places[-5] if k % 4 else _any(places, generator)
            told.append((*asked([place]), thought(place, generator, **manner)))
        yield lm.encode(tokenizer, *zip(*told, strict=True))


def _any(choices: Sequence, generator: torch.Generator) -> Any:
    return choices[int(torch.randint(len(choices), (), generator=generator))]


def reader(seed: int, stages: dict[str, tuple]) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The model that everything starts from: it reads texts, and thinks when asked to, but stops too soon and slips.

    Args: stages as STAGES, perhaps with fewer steps.
    """
    generator, tokenizer = torch.Generator().manual_seed(seed), lm.tokenizer(WORDS)
    model = lm.build(tokenizer, **READER, seed=seed)
    for name, (steps, lr, manner) in stages.items():
        batches = lessons(tokenizer, generator, **manner)
        for _ in tqdm(sft.train(model, batches, steps=steps, lr=lr, **LESSONS), total=steps, desc=name):
            pass
    return model, tokenizer


def places(count: int, generator: torch.Generator) -> list[Position]:
    """Every place of so many texts, each context once: of two texts that begin alike the first one goes on."""
    found: dict[str, Position] = {}
    for digits in sums.problems(count, LENGTH, generator):
        for one in positions(digits):
            found.setdefault(one.context, one)
    return list(found.values())


def of_kind(kind: str, count: int, generator: torch.Generator) -> list[Position]:
    """So many places of one kind, each in a text of its own."""
    texts = map(positions, sums.problems(count, LENGTH, generator))
    return [_any([one for one in found if one.kind == kind], generator) for found in texts]


@torch.no_grad()
def surprise(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, found: Sequence[Position]
) -> tuple[Tensor, Tensor]:
    """What comes next, said at once: [B] entropy of it in nats, and [B] chance of the word that really comes."""
    contexts, words = [one.context for one in found], [_next(one) for one in found]
    parts = [
        lm.logits(model, lm.encode(tokenizer, contexts[k : k + 1000], words[k : k + 1000], ended=False))[:, 0]
        for k in range(0, len(found), 1000)
    ]
    logits = torch.cat(parts)
    true = torch.tensor(tokenizer.convert_tokens_to_ids(words))
    return reasoning.top_entropy(logits, TOP), logits.softmax(-1).gather(1, true[:, None])[:, 0]


def _next(position: Position) -> str:
    return position.continuation.split()[0]


def matched(reply: str, continuation: str) -> float:
    """Prefix matching of what stands behind the thought; 0 where the thought does not end.

    >>> [matched(reply, "1 in the end .") for reply in ("3 8 7 1 </think> 1", "</think> 1 in", "3 8 </think> 8", "1")]
    [1.0, 1.0, 0.0, 0.0]
    """
    ends = [match.end() for match in re.finditer(r"\S+", continuation)]
    return reasoning.prefix_match(reply.partition(f"{sums.ANSWER} ")[2], continuation, ends)


def reward(tokenizer: PreTrainedTokenizerFast, found: Sequence[Position]) -> Callable[[Rollout], Tensor]:
    """Rollout ↦ [B]: 1 where the reply closed with EOS and its prediction is how the text goes on, else 0.

    Raises: ValueError when one context goes on in two ways.
    """
    follows = dict(zip(asked(found), (one.continuation for one in found), strict=True))
    for prompt, one in zip(asked(found), found, strict=True):
        if follows[prompt] != one.continuation:
            raise ValueError(f"found goes on in two ways after {one.context!r}, expected each context once")

    def paid(rollout: Rollout) -> Tensor:
        return _paid(tokenizer, rollout, [follows[prompt] for prompt, _ in lm.read(tokenizer, rollout)])

    return paid


def _paid(tokenizer: PreTrainedTokenizerFast, replies: Replies, continuations: Sequence[str]) -> Tensor:
    said = zip(lm.read(tokenizer, replies), replies.ended.tolist(), continuations, strict=True)
    return torch.tensor([ended * matched(reply, continuation) for (_, reply), ended, continuation in said])


def think(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    found: Sequence[Position],
    texts: tuple[float, Iterator[Replies]] | None,
    generator: torch.Generator,
    **changes: int,
) -> Iterator[grpo.Record]:
    """Reinforcement pre-training: thoughts in groups, prefix matching, advantages within a group, no KL.

    Args: found, the places to think at; texts, see `grpo.train`; changes of RPT. Changes the policy.
    Source: Dong et al. 2025, arXiv:2506.08007, section 3.2 and 3.3.
    """
    return grpo.train(
        policy,
        reward(tokenizer, found),
        lm.encode_prompts(tokenizer, asked(found)),
        partial(equations.group_normalized, ddof=1),
        rlhf.clipped(0.2, 0.2),
        masked.mean_over_tokens,
        equations.has_signal,
        **RPT | changes,
        texts=texts,
        generator=generator,
    )


def at_once(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    found: Sequence[Position],
    generator: torch.Generator,
    *,
    steps: int,
) -> Iterator[sft.Record]:
    """Plain next-token training at the same places, as many in a step as RPT thinks at. Changes the policy."""

    def batches() -> Iterator[Replies]:
        while True:
            drawn = [_any(found, generator) for _ in range(RPT["groups"])]
            told = [one.context for one in drawn], [_next(one) for one in drawn]
            yield lm.encode(tokenizer, *told, ended=False)

    return sft.train(policy, batches(), steps=steps, lr=RPT["lr"], **LESSONS)


def measured(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, count: int, generator: torch.Generator
) -> dict[str, float]:
    """How often the next word is right, at temperature 1, and what reading and thinking cost.

    Returns: for each of KINDS the share that is right after a thought, and "… at once" without one; words, tokens of a
             thought with its prediction where something is to be worked out; nats, per token of fresh texts.
    """
    numbers = {}
    for kind in KINDS:
        found = of_kind(kind, count, generator)
        prompts = lm.encode_prompts(tokenizer, asked(found))
        drawn = lm.sample(policy, prompts, longest=RPT["longest"], temperature=1.0, generator=generator)
        numbers[kind] = _paid(tokenizer, drawn, [one.continuation for one in found]).mean().item()
        numbers[f"{kind} at once"] = surprise(policy, tokenizer, found)[1].mean().item()
        numbers.setdefault("words", drawn.mask.sum().item() / count)
    return numbers | {"nats": sft.evaluate(policy, texts(tokenizer, count, generator))[0]}
