"""What would a customer like to hear? A support desk with a hidden, exact taste, and annotators who only compare.

A prompt names a thing and what is wrong with it. A reply is made of sentences, each with a worth nobody is told. All of
it is words apart by single spaces, so that a word-level tokenizer is enough. Left out: tokens, models, training.
"""

import itertools
import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from rlcore.shapes import axes, finite, need, positive, whole, within

ITEMS = ("phone", "laptop", "camera", "bike", "watch", "lamp")
TROUBLES = ("broken", "late", "lost", "wrong")
FIRST, LAST = "hello !", "have a nice day !"  # where a reply begins and ends with courtesy
WORTH = {
    "nice": {
        FIRST: 0.3,
        "i am so sorry about your ITEM .": 1.0,
        "i understand how you feel .": 0.5,
        "you will get a full refund .": 1.2,
        "we will send a new ITEM today .": 1.2,
        "please call us any time .": 0.6,
        "thank you for your patience !": 0.4,
        LAST: 0.3,
    },
    "neutral": {"please wait .": -0.2, "we got your message .": 0.0, "fill in the form .": -0.3},
    "rude": {
        "that is not my problem .": -1.0,
        "stop whining !": -1.5,
        "read the manual .": -0.8,
        "you broke it yourself .": -1.2,
        "go away !": -0.7,
    },
}
SENTENCES = {text: worth for kind in WORTH.values() for text, worth in kind.items()}  # 16
REPEATED, WRONG_ITEM, MALFORMED, UNFINISHED, TOO_LONG, LONG = -0.7, -1.0, -1.0, -1.0, -0.1, 18
MOODS = {("nice", "neutral"): 0.35, ("rude", "neutral"): 0.35, ("nice", "neutral", "rude"): 0.3}
COUNTS = {1: 0.25, 2: 0.35, 3: 0.25, 4: 0.15}  # sentences of a demonstration
RIGHT_ITEM = 0.85  # chance that a demonstration names the right thing
PROMPTS = tuple(f"user : my {item} is {trouble} . agent :" for item, trouble in itertools.product(ITEMS, TROUBLES))
ECHO = "user : repeat {} . agent :"  # a chore beside the desk: say these words again
ECHOED = 3  # words, each one of ITEMS or TROUBLES
WORDS = tuple(sorted({word for text in (*PROMPTS, *SENTENCES, ECHO) for word in text.split()} - {"ITEM", "{}"}))


class Said(NamedTuple):
    """A reply taken apart."""

    sentences: tuple[str, ...]  # as in SENTENCES, in order
    items: tuple[str, ...]  # the things they name, in order
    malformed: int  # stretches up to a full stop or exclamation mark that are no sentence
    unfinished: bool  # words behind the last mark


def parse(reply: str) -> Said:
    """Take a reply apart at its full stops and exclamation marks.

    >>> parse("hello ! i am so sorry about your bike . no refund . please")
    Said(sentences=('hello !', 'i am so sorry about your ITEM .'), items=('bike',), malformed=1, unfinished=True)
    """
    sentences, items, malformed, words = [], [], 0, []
    for word in reply.split():
        words.append(word)
        if word not in ".!":
            continue
        named = [word for word in words if word in ITEMS]
        text = " ".join("ITEM" if word in ITEMS else word for word in words)
        if text in SENTENCES:
            sentences.append(text)
            items += named
        malformed, words = malformed + (text not in SENTENCES), []
    return Said(tuple(sentences), tuple(items), malformed, bool(words))


def terms(prompt: str, reply: str, ended: bool) -> dict[str, float]:
    """What a reply is worth, term by term; their sum is `gold`.

    Args:
        prompt: one of PROMPTS.
        reply:  words apart by spaces, without EOS.
        ended:  True where the reply closed with EOS, False where it was cut off.
    Returns: worth of the distinct sentences; −0.7 per repeated one; −1 per wrong thing; −1 per malformed stretch; −1 if
             the last sentence or EOS is missing; −0.1 per word beyond 18.
    Raises:  ValueError when the prompt is none of PROMPTS.
    """
    said, item = parse(reply), _item(prompt)
    distinct = set(said.sentences)
    return {
        "worth": sum(SENTENCES[text] for text in sorted(distinct)),
        "repeated": REPEATED * (len(said.sentences) - len(distinct)),
        "wrong item": WRONG_ITEM * sum(named != item for named in said.items),
        "malformed": MALFORMED * said.malformed,
        "unfinished": UNFINISHED * (said.unfinished or not ended),
        "too long": TOO_LONG * max(0, len(reply.split()) - LONG),
    }


def gold(prompt: str, reply: str, ended: bool) -> float:
    """The hidden reward of a reply, see `terms`.

    >>> gold("user : my bike is lost . agent :", "we will send a new bike today . have a nice day !", ended=True)
    1.5
    >>> gold("user : my bike is lost . agent :", "we will send a new lamp today . go", ended=False)
    -0.8
    """
    return round(sum(terms(prompt, reply, ended).values()), 10)


def demonstrations(count: int, generator: torch.Generator) -> list[tuple[str, str]]:
    """Prompts and replies as an untidy office wrote them: nice, rude, and mixed, the wrong thing now and then.

    A prompt is drawn evenly; then a mood (MOODS), a number of sentences (COUNTS), so many different ones of the mood in
    random order, but hello first and the farewell last; each ITEM is the right one with chance 0.85.

    Args: count, at least 1.
    Returns: pairs (prompt, reply).
    Raises:  ValueError when count is no whole number above 0.
    """
    whole(1, count=count)
    moods, counts = list(MOODS), list(COUNTS)
    drawn = zip(
        torch.randint(len(PROMPTS), (count,), generator=generator).tolist(),
        torch.multinomial(torch.tensor(list(MOODS.values())), count, True, generator=generator).tolist(),
        torch.multinomial(torch.tensor(list(COUNTS.values())), count, True, generator=generator).tolist(),
        strict=True,
    )
    return [_demonstration(PROMPTS[p], moods[mood], counts[number], generator) for p, mood, number in drawn]


def echoes(count: int, generator: torch.Generator) -> list[tuple[str, str]]:
    """Another task for the same model, with one right reply: repeat three words. What training at the desk may cost.

    Args: count, at least 1.
    Returns: pairs (prompt, reply), each word drawn evenly from ITEMS and TROUBLES.
    Raises:  ValueError when count is no whole number above 0.

    >>> echoes(1, torch.Generator().manual_seed(0))
    [('user : repeat watch wrong bike . agent :', 'watch wrong bike .')]
    """
    whole(1, count=count)
    pool = (*ITEMS, *TROUBLES)
    drawn = torch.randint(len(pool), (count, ECHOED), generator=generator).tolist()
    texts = [" ".join(pool[k] for k in row) for row in drawn]
    return [(ECHO.format(text), f"{text} .") for text in texts]


def _demonstration(prompt: str, mood: tuple[str, ...], number: int, generator: torch.Generator) -> tuple[str, str]:
    pool, item = _pool(mood), _item(prompt)
    order = torch.randperm(len(pool), generator=generator)[:number].tolist()
    texts = sorted((pool[k] for k in order), key=lambda text: (text != FIRST) + (text == LAST))  # the rest stays
    wrong = [other for other in ITEMS if other != item]
    for k, text in enumerate(texts):
        if "ITEM" in text:
            chance, which = torch.rand(2, generator=generator).tolist()
            texts[k] = text.replace("ITEM", item if chance < RIGHT_ITEM else wrong[int(which * len(wrong))])
    return prompt, " ".join(texts)


def demonstration_logp(prompt: str, reply: str) -> float:
    """Log-probability of a reply to this prompt among `demonstrations`, exactly; −∞ for what nobody would write.

    >>> round(math.exp(demonstration_logp(PROMPTS[0], "please wait .")), 6)       # ¼ (0.35/11 + 0.35/8 + 0.3/16)
    0.02358
    """
    said, item = parse(reply), _item(prompt)
    chance = 0.0 if said.malformed or said.unfinished else _order_chance(said.sentences)
    for named in said.items:
        chance *= RIGHT_ITEM if named == item else (1 - RIGHT_ITEM) / (len(ITEMS) - 1)
    return math.log(chance) if chance else -math.inf


@cache
def demonstration_entropy() -> float:
    """Entropy of a demonstration given its prompt, nats, summed over every order of every choice of sentences.

    The least that supervised fine-tuning can reach, per reply.
    """
    total = 0.0
    of_item = -RIGHT_ITEM * math.log(RIGHT_ITEM) - (1 - RIGHT_ITEM) * math.log((1 - RIGHT_ITEM) / (len(ITEMS) - 1))
    for number in COUNTS:
        for texts in itertools.permutations(SENTENCES, number):
            chance = _order_chance(texts)
            if chance:
                total += chance * (-math.log(chance) + of_item * sum("ITEM" in text for text in texts))
    return total


def annotate(
    gold_a: Tensor,
    gold_b: Tensor,
    *,
    temperature: float,
    flip_rate: float,
    words_a: Tensor,
    words_b: Tensor,
    length_bias: float,
    generator: torch.Generator,
) -> Tensor:
    """Which of two replies an annotator prefers: Bradley–Terry on what they see, sometimes slipping.

        P(a ≻ b) = (1 − f) p + f (1 − p),     p = σ((gold_a − gold_b) / temperature + length_bias · (words_a − words_b))

    Args:
        gold_a, gold_b:   [N] in units of reward.
        temperature:      above 0, in units of reward: small is a sure judge.
        flip_rate:        f in [0, ½], the share of labels that are turned round.
        words_a, words_b: [N] lengths.
        length_bias:      nats per word; above 0 likes long replies.
    Returns: [N] bool, True where a is preferred.
    Raises:  ValueError when shapes disagree or a number is out of range.
    """
    shape = axes(gold_a.shape)
    need(gold_a=(gold_a, "N"))
    need(gold_b=(gold_b, shape), words_a=(words_a, shape), words_b=(words_b, shape))
    finite(gold_a=gold_a, gold_b=gold_b)
    positive(temperature=temperature)
    within(0, 0.5, flip_rate=flip_rate)
    chance = ((gold_a - gold_b) / temperature + length_bias * (words_a - words_b)).sigmoid()
    chance = (1 - flip_rate) * chance + flip_rate * (1 - chance)
    return torch.rand(len(chance), generator=generator).to(chance) < chance


def _item(prompt: str) -> str:
    if prompt not in PROMPTS:
        raise ValueError(f"prompt is {prompt!r}, expected one like {PROMPTS[0]!r}")
    return prompt.split()[3]


@cache
def _pool(mood: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(text for kind in mood for text in WORTH[kind])


@cache
def _order_chance(texts: tuple[str, ...]) -> float:
    """Chance of these sentences in this order, whatever things they name."""
    if len(set(texts)) < len(texts) or FIRST in texts[1:] or LAST in texts[:-1] or len(texts) not in COUNTS:
        return 0.0
    free = len(texts) - (FIRST in texts) - (LAST in texts)
    orders = math.factorial(free)
    moods = sum(
        share / math.comb(len(_pool(mood)), len(texts))
        for mood, share in MOODS.items()
        if set(texts) <= set(_pool(mood))
    )
    return COUNTS[len(texts)] * moods / orders
