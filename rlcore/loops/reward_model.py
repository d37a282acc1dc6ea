"""Learn what people prefer: a language model with one number at its end, trained on rankings of replies.

Pairs are rankings of two. Left out: the losses, which are in preferences, and who ranks.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlcore import lm
from rlcore.lm import Replies
from rlcore.loops.updates import descend, passes
from rlcore.shapes import need

RankingLoss = Callable[[Tensor, Tensor], Tensor]
"""(scores [B, K], ranking [B, K]) ↦ unreduced loss [B]: `preferences.pairwise_loss`, `preferences.listwise_loss`."""

ROWS = 512  # replies that are scored at a time without gradient


class Record(NamedTuple):
    """What one step saw, before it changed the model."""

    step: int  # from 1
    loss: float  # nats
    accuracy: float  # share of the batch's pairs in the right order


def train(
    judge: PreTrainedModel,
    replies: Replies,
    ranking: Tensor,
    loss: RankingLoss,
    *,
    epochs: int,
    batch: int,
    lr: float,
    max_norm: float,
    generator: torch.Generator,
) -> Iterator[Record]:
    """Fit scores to rankings of K replies to the same prompt. Changes the judge.

    Args:
        judge:   from `lm.scalar`.
        replies: N · K rows, the K replies to one prompt next to each other.
        ranking: [N, K] int64, the K replies from best to worst: for a pair [0, 1] where the first was preferred.
        loss:    see RankingLoss.
        epochs:  passes over the N rankings, in a new order each.
        batch:   rankings in a step.
        lr:      of AdamW, falling to nothing in a straight line.
        max_norm: the gradient is cut to this length.
    Yields: a Record per step.
    Raises: ValueError when the sizes do not fit; FloatingPointError when a number is not finite.
    Source: Ouyang et al. 2022, arXiv:2203.02155, section 3.5.
    """
    rankings, size = sizes(replies, ranking).values()
    optimizer = torch.optim.AdamW(judge.parameters(), lr=lr, weight_decay=0.01)
    for step, picked in passes(optimizer, rankings, batch, epochs, generator):
        rows = (picked[:, None] * size + torch.arange(size)).flatten()
        scores = lm.scores(judge, replies.rows(rows).to(judge.device)).view(-1, size)
        wanted = ranking[picked].to(judge.device)
        mean = loss(scores, wanted).mean()
        descend(optimizer, step, max_norm, loss=mean)
        yield Record(step, mean.item(), accuracy(scores.detach(), wanted))


@torch.no_grad()
def score(judge: PreTrainedModel, replies: Replies) -> Tensor:
    """Scores of many replies, a portion at a time, [B] on the CPU."""
    return torch.cat([lm.scores(judge, replies.rows(slice(k, k + ROWS))).cpu() for k in range(0, len(replies), ROWS)])


def accuracy(scores: Tensor, ranking: Tensor) -> float:
    """Share of pairs that scores [N, K] put in the order of the rankings [N, K]; a tie counts half.

    >>> accuracy(torch.tensor([[1., 0.], [0., 1.], [2., 2.]]), torch.tensor([[0, 1], [0, 1], [0, 1]]))
    0.5
    """
    need(scores=(scores, "N K"), ranking=(ranking, "N K"))
    ordered = scores.gather(1, ranking)
    better, worse = torch.triu_indices(*2 * ordered.shape[-1:], offset=1, device=scores.device)
    lead = ordered[:, better] - ordered[:, worse]
    return ((lead > 0).double() + (lead == 0).double() / 2).mean().item()


def sizes(replies: Replies, ranking: Tensor) -> dict[str, int]:
    """N rankings of K replies each, by name.

    Raises: ValueError where there are not N · K replies.
    """
    found = need(ranking=(ranking, "N K"))
    if len(replies) != found["N"] * found["K"]:
        raise ValueError(f"replies has {len(replies)} rows, expected N · K = {found['N']} · {found['K']}")
    return found
