"""The support desk as an experiment: replies of a language model, what they are truly worth, and who prefers which.

What several loops, chapters and shipped models share about `worlds.replies`. Left out: the world's own rules.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from rlcore import lm
from rlcore.lm import Prompts, Replies, Rollout
from rlcore.loops import reward_model
from rlcore.shapes import whole
from rlcore.worlds import replies as world

LONGEST = 40  # tokens of a reply, EOS included; the longest demonstration has 29
UNFINISHED = -1.0  # added to a reward model's score where a reply was cut off
TASTE = {"temperature": 1.0, "flip_rate": 0.0, "length_bias": 0.0}  # the annotator who makes the shipped data: `rank`


def prompts(tokenizer: PreTrainedTokenizerFast) -> Prompts:
    """All 24 prompts."""
    return lm.encode_prompts(tokenizer, world.PROMPTS)


def echoed(tokenizer: PreTrainedTokenizerFast, count: int, generator: torch.Generator) -> Replies:
    """So many new echoes, as tokens; see `worlds.replies.echoes`."""
    asked, said = zip(*world.echoes(count, generator), strict=True)
    return lm.encode(tokenizer, asked, said)


def echo_accuracy(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, count: int, generator: torch.Generator
) -> float:
    """Share of echoes that a policy gets right, word for word, when it draws its replies."""
    asked, right = zip(*world.echoes(count, generator), strict=True)
    drawn = lm.sample(
        policy, lm.encode_prompts(tokenizer, asked), longest=LONGEST, temperature=1.0, generator=generator
    )
    return sum(said == wanted for (_, said), wanted in zip(lm.read(tokenizer, drawn), right, strict=True)) / count


def demonstrated(tokenizer: PreTrainedTokenizerFast, count: int, generator: torch.Generator) -> Replies:
    """So many new demonstrations, as tokens."""
    asked, said = zip(*world.demonstrations(count, generator), strict=True)
    return lm.encode(tokenizer, asked, said)


def groups(
    policy: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, count: int, size: int, generator: torch.Generator
) -> Rollout:
    """Replies to compare: prompts drawn evenly, several replies to each, next to each other.

    Args:
        count: N prompts.
        size:  K replies to each.
    Returns: Rollout of N · K rows.
    """
    whole(1, count=count, size=size)
    asked = torch.randint(len(world.PROMPTS), (count,), generator=generator).repeat_interleave(size)
    drawn = Prompts(*(part[asked] for part in prompts(tokenizer)))
    return lm.sample(policy, drawn, longest=LONGEST, temperature=1.0, generator=generator)


def gold(tokenizer: PreTrainedTokenizerFast, replies: Replies) -> Tensor:
    """The hidden reward of each reply, [B]; see `worlds.replies.gold`."""
    said = zip(lm.read(tokenizer, replies), replies.ended.tolist(), strict=True)
    return torch.tensor([world.gold(prompt, reply, ended) for (prompt, reply), ended in said])


def rank(golds: Tensor, replies: Replies, generator: torch.Generator, **taste: float) -> Tensor:
    """Which reply of each pair an annotator prefers, as a ranking [N, 2].

    Args:
        golds:   [N, 2].
        replies: 2 N rows, the two of a pair next to each other.
        taste:   temperature, flip_rate, length_bias; see `worlds.replies.annotate`.
    """
    words = replies.mask.sum(1).view(-1, 2).to(golds)
    first = world.annotate(*golds.T, words_a=words[:, 0], words_b=words[:, 1], generator=generator, **taste)
    return torch.where(first[:, None], torch.tensor([0, 1]), torch.tensor([1, 0]))


def felt(golds: Tensor, generator: torch.Generator) -> Tensor:
    """What replies are worth to one annotator, [N, K]: sorted, it is a ranking drawn by Plackett–Luce.

    Args:
        golds: [N, K], the scores of that model.
    Source: Yellott 1977: scores with Gumbel noise.
    """
    return golds - (-torch.rand(golds.shape, generator=generator).clamp(min=1e-12).log()).log()


def order_accuracy(scores: Tensor, golds: Tensor) -> float:
    """Share of pairs that scores [N, 2] put in the order of the hidden rewards [N, 2]; pairs of equal worth are out."""
    differ = golds[:, 0] != golds[:, 1]
    return reward_model.accuracy(scores[differ], golds[differ].argsort(1, descending=True))


def proxy(judges: list[PreTrainedModel], join: Callable[[Tensor], Tensor]) -> Callable[[Rollout], Tensor]:
    """A reward for `loops.rlhf`: what reward models say, joined; a reply that was cut off gets UNFINISHED on top.

    Args:
        judges: from `lm.scalar`, at least one.
        join:   [judges, B] ↦ [B], for instance `lambda scores: scores.mean(0)`.
    """

    @torch.no_grad()
    def reward(rollout: Rollout) -> Tensor:
        scores = join(torch.stack([lm.scores(judge, rollout) for judge in judges]))
        return torch.where(rollout.ended, scores, scores + UNFINISHED)

    return reward
