"""Say it as they say it: supervised fine-tuning, maximum likelihood on demonstrated replies.

Left out: where demonstrations come from, several passes over the same ones, packing of several texts into one row.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlcore import lm, masked
from rlcore.lm import Replies
from rlcore.loops.updates import descend
from rlcore.shapes import whole


class Record(NamedTuple):
    """What one step saw, before it changed the model."""

    step: int  # from 1
    loss: float  # nats per token of the replies, EOS included
    reply_loss: float  # nats per reply
    tokens: int  # of replies in the batch


def train(
    model: PreTrainedModel,
    batches: Iterable[Replies],
    *,
    steps: int,
    lr: float,
    weight_decay: float,
    max_norm: float,
) -> Iterator[Record]:
    """Raise the log-probability of the demonstrated tokens; the prompt's own tokens are not learned. Changes the model.

        L = −Σ_bt m_bt log π(y_bt | x_b, y_b,<t) / Σ_bt m_bt

    Args:
        model:    a causal language model.
        batches:  demonstrations, one Replies for every step; at least `steps` of them.
        steps:    of AdamW; its learning rate rises to lr in the first third and falls to nothing (one cycle).
        lr:       at its highest.
        weight_decay, max_norm: of AdamW; the gradient is cut to this length.
    Yields: a Record per step.
    Raises: FloatingPointError with step and quantity when a number is not finite; the parameters stay the last good.
    Source: Ouyang et al. 2022, arXiv:2203.02155, section 3.5; Smith & Topin 2018, arXiv:1708.07120 (one cycle).
    """
    whole(1, steps=steps)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    for step, batch in zip(range(1, steps + 1), batches, strict=False):
        batch = batch.to(model.device)
        loss = masked.mean_over_tokens(-lm.logps(model, batch), batch.mask)
        descend(optimizer, step, max_norm, loss=loss)
        schedule.step()
        tokens = int(batch.mask.sum())
        yield Record(step, loss.item(), loss.item() * tokens / len(batch), tokens)


def imitation_loss(model: PreTrainedModel, replies: Replies) -> Tensor:
    """Minus the mean log-probability of the replies' tokens: nats per token, with its gradient."""
    return masked.mean_over_tokens(-lm.logps(model, replies), replies.mask)


def remembered(model: PreTrainedModel, texts: tuple[float, Iterator[Replies]] | None) -> dict[str, Tensor]:
    """A loss that keeps a policy at what it has read before, if that is wanted: for loops that train it on rewards.

        γ · L_LM,     L_LM = `imitation_loss` of the next batch

    Args: texts, None or (γ, batches).
    Returns: nothing, or the loss under its name.
    Source: Ouyang et al. 2022, arXiv:2203.02155, eq. 2 (PPO-ptx); there over texts, here over their tokens.
    """
    if texts is None:
        return {}
    coefficient, batches = texts
    return {"text_loss": coefficient * imitation_loss(model, next(batches).to(model.device))}


@torch.no_grad()
def evaluate(model: PreTrainedModel, replies: Replies) -> tuple[float, float]:
    """Mean loss of given replies: nats per token, nats per reply."""
    replies = replies.to(model.device)
    loss = imitation_loss(model, replies).item()
    return loss, loss * int(replies.mask.sum()) / len(replies)
