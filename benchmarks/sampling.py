"""Replies of the shipped support-desk model, at temperature 1: 64, 256 and 512 at a time, until all have ended.

Ours keeps keys and values; the same loop without them reads the whole text at every step; transformers' own `generate`
keeps them as well. All three draw with the same numbers, so all must say the same, token by token. Tokens per second
are real ones: EOS counts, padding does not.
"""

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from benchmarks.measure import Entry, compare
from rlcore import lm
from rlcore.lm import Prompts
from rlcore.worlds.replies import PROMPTS

BATCHES = (64, 256, 512)
LONGEST = 40
TOL = 0.5  # of a token's number


def run() -> None:
    """Print a table per batch size, and tokens per second with their ratios at the end."""
    model, tokenizer = lm.shipped("replies_sft")
    lines = []
    for rows in BATCHES:
        prompts = lm.encode_prompts(tokenizer, [PROMPTS[n % len(PROMPTS)] for n in range(rows)])
        drawn = _ours(model, prompts)
        entries = [
            Entry("rlcore, keys and values kept", lambda p=prompts: _padded(_ours(model, p).tokens), ours=True),
            Entry("rlcore's loop, the whole text every time", lambda p=prompts: _padded(_anew(model, p))),
            Entry("transformers, generate", lambda p=prompts: _padded(_generate(model, p))),
        ]
        compare(f"{rows} replies, {int(drawn.mask.sum())} tokens", _padded(drawn.tokens), TOL, entries)
        speeds = [int(drawn.mask.sum()) / min(entry.times) for entry in entries]
        lines += [
            f"  {rows:>4}  {entry.name:<42}{speed:>10,.0f}{speeds[0] / speed:>9.2f}"
            for entry, speed in zip(entries, speeds, strict=True)
        ]
    print("tokens per CPU second, and how many times as fast ours is")
    print("\n".join(lines), flush=True)


def _ours(model: PreTrainedModel, prompts: Prompts) -> lm.Rollout:
    return lm.sample(model, prompts, longest=LONGEST, temperature=1.0, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def _anew(model: PreTrainedModel, prompts: Prompts) -> Tensor:
    """The prompts here are equally long: no mask is needed."""
    text, generator, end = prompts.tokens, torch.Generator().manual_seed(0), model.config.eos_token_id
    alive = torch.ones(len(text), dtype=torch.bool)
    for _ in range(LONGEST):
        chances = model(input_ids=text, use_cache=False, logits_to_keep=1).logits[:, -1].softmax(-1)
        tokens = torch.multinomial(chances, 1, generator=generator)[:, 0]
        tokens = torch.where(alive, tokens, model.config.pad_token_id)
        alive &= tokens != end
        text = torch.cat([text, tokens[:, None]], 1)
        if not alive.any():
            break
    return text[:, prompts.tokens.shape[1] :]


@torch.no_grad()
def _generate(model: PreTrainedModel, prompts: Prompts) -> Tensor:
    """It draws from the global generator; top_k 0 turns off the 50 that it would keep by default."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mask = prompts.mask.long()
        settings = {"max_new_tokens": LONGEST, "do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
        text = model.generate(input_ids=prompts.tokens, attention_mask=mask, **settings)
    return text[:, prompts.tokens.shape[1] :]


def _padded(tokens: Tensor) -> np.ndarray:
    return torch.nn.functional.pad(tokens, (0, LONGEST - tokens.shape[1])).numpy()
