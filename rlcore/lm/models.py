"""What does the model make of these tokens? Logits, hidden states, values and scores of prompts with replies.

Every number stands where a reply's token stands: the logits *at* a token are those it was drawn from, made from what
came before it. Models stay in evaluation mode, also while they are trained: with dropout, the same model would give the
same reply another probability each time. Left out: training, and where the rewards come from.
"""

import copy

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from rlcore import logprobs
from rlcore.lm.text import Prompts, Replies
from rlcore.shapes import whole


def build(
    tokenizer: PreTrainedTokenizerFast, *, hidden: int, layers: int, heads: int, context: int, seed: int
) -> PreTrainedModel:
    """A new decoder-only language model, small and untrained: transformers' Llama with a tiny configuration.

    Rotary positions, a gated feed-forward layer three times as wide as the hidden state, input and output matrix tied.

    Args:
        hidden, layers, heads: H, a multiple of 2 · heads; number of blocks; attention heads in each.
        context: tokens of prompt and reply together, at most.
        seed:    of the first parameters.
    Returns: a causal language model in evaluation mode, in float32 on the CPU.
    Raises:  ValueError when a size is no whole number above 0 or does not divide.

    >>> from rlcore import lm
    >>> model = build(lm.tokenizer(["please", "wait"]), hidden=16, layers=1, heads=2, context=8, seed=0)
    >>> sum(weights.numel() for weights in model.parameters())
    3456
    """
    whole(1, hidden=hidden, layers=layers, heads=heads, context=context)
    if hidden % (2 * heads):
        raise ValueError(f"hidden is {hidden}, expected a multiple of 2 · heads = {2 * heads}")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=3 * hidden,
        max_position_embeddings=context,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
        initializer_range=0.8 / hidden**0.5,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def scalar(model: PreTrainedModel, seed: int) -> PreTrainedModel:
    """A copy of the model's trunk with one number after every token in place of V logits: a critic, or a reward model.

    Args:
        model: a causal language model; it stays as it is.
        seed:  of the new head's weights.
    Returns: a token classifier of one class, in evaluation mode; see `values` and `scores`.
    """
    config = copy.deepcopy(model.config)
    config.num_labels, config.classifier_dropout = 1, 0.0
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        judge = AutoModelForTokenClassification.from_config(config, dtype=model.dtype)
    judge.base_model.load_state_dict(model.base_model.state_dict())
    return judge.to(model.device).eval()


def logits(model: PreTrainedModel, replies: Replies) -> Tensor:
    """What each token of the replies was drawn from: [B, T, V] logits, made from the prompt and the tokens before.

    Raises: ValueError when prompt and reply are longer than the model's context.

    >>> from rlcore import lm
    >>> words = lm.tokenizer(["please", "wait"])
    >>> model = build(words, hidden=16, layers=1, heads=2, context=8, seed=0)
    >>> logits(model, lm.encode(words, ["wait"], ["please wait"])).shape                  # two words and EOS
    torch.Size([1, 3, 5])
    """
    keep = replies.tokens.shape[1] + 1  # from the prompt's last token on; what follows the last one is of no use
    return model(**inputs(model, replies), use_cache=False, logits_to_keep=keep).logits[:, :-1]


def logps(model: PreTrainedModel, replies: Replies) -> Tensor:
    """Log-probability of each token of the replies, [B, T] nats; something of no meaning behind the mask."""
    return logprobs.token_logps(logits(model, replies), replies.tokens)


def hidden(model: PreTrainedModel, replies: Replies) -> Tensor:
    """The last hidden states, [B, T, H], that `logits` are made from: for `logprobs.linear_token_logps`."""
    return _states(model.base_model, replies).last_hidden_state[:, -replies.tokens.shape[1] - 1 : -1]


def values(judge: PreTrainedModel, replies: Replies) -> Tensor:
    """One number before each token and one after the last: V(x, y_<t), [B, T+1], of a model from `scalar`."""
    return _states(judge, replies).logits[:, -replies.tokens.shape[1] - 1 :, 0]


def scores(judge: PreTrainedModel, replies: Replies) -> Tensor:
    """One number for each whole reply, [B]: what `values` says after the last token that the policy chose."""
    return values(judge, replies).gather(1, replies.mask.sum(1, keepdim=True))[:, 0]


def inputs(model: PreTrainedModel, texts: Prompts | Replies) -> dict[str, Tensor]:
    """What a model of transformers takes: token ids, and a mask with positions only where padding stands at the left.

    What stands at the right of a token cannot reach it, so padding there needs no mask.

    Raises: ValueError when the text is longer than the model's context.
    """
    said = isinstance(texts, Replies)
    tokens = torch.cat([texts.prompts, texts.tokens], 1) if said else texts.tokens
    mask = torch.cat([texts.prompt_mask, texts.mask], 1) if said else texts.mask
    fits(model, tokens.shape[1])
    if (texts.prompt_mask if said else texts.mask).all():
        return {"input_ids": tokens}
    return {"input_ids": tokens, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}


def fits(model: PreTrainedModel, length: int) -> None:
    """Raise where so many tokens are more than the model's context."""
    context = getattr(model.config, "max_position_embeddings", length)
    if length > context:
        raise ValueError(f"prompt and reply have {length} tokens, expected at most {context}, the model's context")


def _states(module: nn.Module, replies: Replies):
    return module(**inputs(module, replies), use_cache=False)
