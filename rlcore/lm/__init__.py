"""What does the policy say? A small language model of transformers' own classes: its words, its numbers, its replies.

`text` turns words into tokens and back, `models` turns tokens into logits, values and scores, `sampling` draws
replies, `files` keeps models in folders. Left out: training, which is in loops.
"""

from rlcore.lm.files import SHIPPED, load, save, shipped
from rlcore.lm.models import build, hidden, logits, logps, scalar, scores, values
from rlcore.lm.sampling import sample
from rlcore.lm.text import Prompts, Replies, Rollout, encode, encode_prompts, read, tokenizer

__all__ = [
    "SHIPPED",
    "Prompts",
    "Replies",
    "Rollout",
    "build",
    "encode",
    "encode_prompts",
    "hidden",
    "load",
    "logits",
    "logps",
    "read",
    "sample",
    "save",
    "scalar",
    "scores",
    "shipped",
    "tokenizer",
    "values",
]
