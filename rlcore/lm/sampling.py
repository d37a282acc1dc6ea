"""What will it say? Replies drawn token by token, many at a time, each token read once.

Keys and values of attention are kept, so that a step reads one new token and not the whole text again. Left out: beam
search, penalties for repetition, and rows that leave the batch when they are done.
"""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlcore.lm.models import fits, inputs
from rlcore.lm.text import Prompts, Rollout
from rlcore.logprobs import narrowed
from rlcore.shapes import finite, whole


@torch.no_grad()
def sample(
    model: PreTrainedModel,
    prompts: Prompts,
    *,
    longest: int,
    temperature: float,
    top_k: int | None = None,
    top_p: float = 1.0,
    generator: torch.Generator,
) -> Rollout:
    """Draw a reply to each prompt, until EOS or until there are so many tokens.

    Args:
        model:   a causal language model.
        prompts: B of them; repeat a prompt for several replies to it.
        longest: tokens of a reply, EOS included. A reply that has none by then is cut off: `ended` is False there.
        temperature, top_k, top_p: see `logprobs.narrowed`.
        generator: draws the tokens.
    Returns: Rollout; its logps are those of the distribution that was drawn from, `narrowed` included.
    Raises:  ValueError when prompt and reply cannot fit into the model's context, or the model's logits are not finite.

    >>> from rlcore import lm
    >>> words = lm.tokenizer(["please", "wait"])
    >>> model = lm.build(words, hidden=16, layers=1, heads=2, context=8, seed=0)
    >>> prompts, draw = lm.encode_prompts(words, ["wait"] * 3), torch.Generator().manual_seed(0)
    >>> drawn = sample(model, prompts, longest=5, temperature=1.0, generator=draw)
    >>> torch.allclose(drawn.logps, lm.logps(model, drawn).where(drawn.mask, 0), atol=1e-5)
    True
    """
    whole(1, longest=longest)
    fits(model, prompts.tokens.shape[1] + longest)
    prompts = Prompts(*(part.to(model.device) for part in prompts))
    feed, end, pad = inputs(model, prompts), model.config.eos_token_id, model.config.pad_token_id
    alive, drawn = torch.ones(len(prompts.tokens), dtype=torch.bool, device=model.device), []
    while len(drawn) < longest and alive.any():
        out = model(**feed, use_cache=True, logits_to_keep=1)
        finite(logits=out.logits)
        logps = narrowed(out.logits[:, -1].float(), temperature, top_k, top_p).log_softmax(-1)
        chances = logps.exp().to(generator.device)
        tokens = torch.multinomial(chances, 1, generator=generator).to(model.device)
        logps = logps.gather(1, tokens)[:, 0]
        tokens = torch.where(alive, tokens[:, 0], pad)
        drawn.append((tokens, alive, torch.where(alive, logps, 0)))
        alive = alive & (tokens != end)
        feed = _next(feed, tokens[:, None], out.past_key_values)
    tokens, mask, logps = (torch.stack(column, 1) for column in zip(*drawn, strict=True))
    return Rollout(*prompts, tokens, mask, ~alive, logps)


def _next(feed: dict, tokens: Tensor, cache) -> dict:
    """What the model takes in its next step: one token of each row, and what it remembers of the others."""
    following = {"input_ids": tokens, "past_key_values": cache}
    if "attention_mask" in feed:
        seen = torch.ones_like(tokens, dtype=torch.bool)
        following["attention_mask"] = torch.cat([feed["attention_mask"], seen], 1)
        following["position_ids"] = feed["position_ids"][:, -1:] + 1
    return following
