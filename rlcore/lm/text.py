"""Which words, which tokens? Prompts and replies as tensors, and back as text.

Prompts are padded at the left, so that every reply begins in the same column; replies are padded at the right.
Left out: chat templates, which a hub model's own tokenizer brings.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple, Self

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

PAD, EOS, UNKNOWN = "<pad>", "<eos>", "<unk>"


class Prompts(NamedTuple):
    """B prompts, padded at the left to the longest."""

    tokens: Tensor  # [B, P] int64
    mask: Tensor  # [B, P] bool, False where there is padding


@dataclass(frozen=True)
class Replies:
    """B prompts, and a reply to each: T tokens at most, padded at the right."""

    prompts: Tensor  # [B, P] int64
    prompt_mask: Tensor  # [B, P] bool, False where there is padding
    tokens: Tensor  # [B, T] int64
    mask: Tensor  # [B, T] bool, True where the policy chose the token: EOS yes, padding no
    ended: Tensor  # [B] bool, True where the reply closed with EOS, False where it was cut off

    def __len__(self) -> int:
        return len(self.tokens)

    def rows(self, index: Tensor | slice) -> Self:
        """Some of the rows, by number, by mask or by slice."""
        return type(self)(*(getattr(self, field.name)[index] for field in fields(self)))

    def to(self, device: torch.device | str) -> Self:
        """The same on another device."""
        return type(self)(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True)
class Rollout(Replies):
    """Replies that a policy drew, and how likely each token was when it was drawn."""

    logps: Tensor  # [B, T] nats, under the distribution that was drawn from; 0 behind the mask


def tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer with one token for each word, and three of its own: <pad>, <eos>, <unk>.

    Args: words, without blanks, each one once.
    Returns: transformers' fast tokenizer; it splits at blanks and pads at the left.
    Raises:  ValueError when a word is empty, holds a blank, or comes twice.

    >>> tokenizer(["please", "wait"])("wait please please")["input_ids"]
    [4, 3, 3]
    """
    vocabulary = {}
    for word in (PAD, EOS, UNKNOWN, *words):
        if not word or word.split() != [word] or word in vocabulary:
            raise ValueError(f"words holds {word!r}, expected words without blanks, each one once")
        vocabulary[word] = len(vocabulary)
    core = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": PAD, "eos_token": EOS, "unk_token": UNKNOWN}
    return PreTrainedTokenizerFast(tokenizer_object=core, padding_side="left", **special)


def encode_prompts(tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str]) -> Prompts:
    """Prompts as tokens, padded at the left; whatever the tokenizer puts at the front of a text comes with them.

    Returns: Prompts with tokens, mask [B, P].
    Raises:  ValueError when there is no prompt, one is empty, or one holds a word outside the vocabulary.

    >>> encode_prompts(tokenizer(["please", "wait"]), ["please wait", "wait"])
    Prompts(tokens=tensor([[3, 4], [0, 4]]), mask=tensor([[ True, True], [False, True]]))
    """
    rows = _ids(tokenizer, "prompts", prompts, add_special_tokens=True)
    for number, row in enumerate(rows):
        if not row:
            raise ValueError(f"prompts holds {prompts[number]!r} at {number}, expected at least one token")
    width = max(map(len, rows))
    tokens = torch.tensor([[tokenizer.pad_token_id] * (width - len(row)) + row for row in rows])
    return Prompts(tokens, torch.tensor([[False] * (width - len(row)) + [True] * len(row) for row in rows]))


def encode(
    tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str], replies: Sequence[str], *, ended: bool = True
) -> Replies:
    """Prompts and replies as tokens.

    Args:
        prompts, replies: as many of the one as of the other; a reply may be empty.
        ended:            True puts EOS behind every reply; False leaves all of them unfinished.
    Returns: Replies of B rows.
    Raises:  ValueError when the numbers differ, a prompt is empty, or a word is outside the vocabulary.

    >>> said = encode(tokenizer(["please", "wait"]), ["wait", "wait"], ["please wait", ""])
    >>> said.tokens.tolist(), said.mask.tolist()
    ([[3, 4, 1], [1, 0, 0]], [[True, True, True], [True, False, False]])
    """
    if len(prompts) != len(replies):
        raise ValueError(f"replies has {len(replies)} texts, expected {len(prompts)}, one for each prompt")
    asked = encode_prompts(tokenizer, prompts)
    end = [tokenizer.eos_token_id] * ended
    rows = [row + end for row in _ids(tokenizer, "replies", replies, add_special_tokens=False)]
    width = max(map(len, rows))
    tokens = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row in rows], dtype=torch.int64)
    mask = torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in rows], dtype=torch.bool)
    return Replies(*asked, tokens, mask, torch.full((len(rows),), ended))


def read(tokenizer: PreTrainedTokenizerFast, replies: Replies) -> list[tuple[str, str]]:
    """Prompts and replies as text, without EOS and padding: what worlds take.

    >>> words = tokenizer(["please", "wait"])
    >>> read(words, encode(words, ["wait"], ["please wait"]))
    [('wait', 'please wait')]
    """
    kept = replies.mask.clone()
    kept[replies.ended, replies.mask.sum(1)[replies.ended] - 1] = False  # EOS
    prompts = (row[mask].tolist() for row, mask in zip(replies.prompts, replies.prompt_mask, strict=True))
    said = (row[mask].tolist() for row, mask in zip(replies.tokens, kept, strict=True))
    return [(tokenizer.decode(x), tokenizer.decode(y)) for x, y in zip(prompts, said, strict=True)]


def _ids(tokenizer: PreTrainedTokenizerFast, name: str, texts: Sequence[str], add_special_tokens: bool) -> list:
    if isinstance(texts, str) or not len(texts):
        raise ValueError(f"{name} is {texts!r}, expected a list of at least one text")
    rows = tokenizer(list(texts), add_special_tokens=add_special_tokens, return_offsets_mapping=True)
    strange = tokenizer.unk_token_id if tokenizer.unk_token_id != tokenizer.eos_token_id else None  # GPT-2 has no other
    for text, ids, places in zip(texts, rows["input_ids"], rows["offset_mapping"], strict=True):
        if strange in ids:
            start, end = places[ids.index(strange)]
            raise ValueError(f"{name} holds {text[start:end]!r}, which is outside the vocabulary, in {text!r}")
    return rows["input_ids"]
