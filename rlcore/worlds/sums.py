"""Does thinking pay? Digits to add up modulo 10: the answer at once, or running sums first; a rule is the judge.

    add 3 5 9 =   →   7     or     <think> 3 8 7 </think> 7

Who answers at once can only guess. Each running sum is right or wrong by itself, which labels the steps of a reply
for nothing. All of it is words apart by single spaces. Left out: tokens, models, training.
"""

import itertools
import re
from typing import NamedTuple

import torch

from rlcore.shapes import whole, within

Digits = tuple[int, ...]
THINK, ANSWER = "<think>", "</think>"
WORDS = ("add", "=", THINK, ANSWER, *"0123456789")
PATIENT = {"direct": 0.0, "give_up": 0.0, "slip": 0.0}  # demonstrations that teach the skill
HASTY = {"direct": 0.5, "give_up": 0.2, "slip": 0.03}  # and those that teach not to use it
_PROMPT, _REPLY = re.compile("add((?: [0-9])+) ="), re.compile(f"(?:{THINK}((?: [0-9])*) {ANSWER} )?([0-9])")


class Said(NamedTuple):
    """A reply taken apart: the running sums, None where it does not think, and the answer."""

    sums: Digits | None
    answer: int


def prompt(digits: Digits) -> str:
    """The text of a problem.

    >>> prompt((3, 5, 9))
    'add 3 5 9 ='
    """
    return f"add {' '.join(map(str, digits))} ="


def read(text: str) -> Digits:
    """The digits of a prompt.

    Raises: ValueError when it does not read "add a b … =".

    >>> read("add 3 5 9 =")
    (3, 5, 9)
    """
    found = _PROMPT.fullmatch(text)
    if not found:
        raise ValueError(f"text is {text!r}, expected a prompt like 'add 3 5 9 ='")
    return tuple(map(int, found[1].split()))


def problems(count: int, length: int, generator: torch.Generator) -> list[Digits]:
    """Problems of so many digits each, every digit drawn evenly from 0 to 9.

    Args: count, at least 1; length, digits in each, at least 1.
    Raises: ValueError when one of them is out of range.
    """
    whole(1, count=count, length=length)
    return list(map(tuple, torch.randint(10, (count, length), generator=generator).tolist()))


def running_sums(digits: Digits) -> Digits:
    """The sum of the first digit, of the first two, and so on, modulo 10. The last one is the answer.

    >>> running_sums((3, 5, 9))
    (3, 8, 7)
    """
    return tuple(itertools.accumulate(digits, lambda total, digit: (total + digit) % 10, initial=0))[1:]


def parse(reply: str) -> Said | None:
    """Take a reply apart; None where it is neither a digit nor digits between the two marks and a digit behind them.

    >>> parse("<think> 3 8 </think> 4"), parse("4"), parse("3 8 4")
    (Said(sums=(3, 8), answer=4), Said(sums=None, answer=4), None)
    """
    found = _REPLY.fullmatch(reply)
    if not found:
        return None
    return Said(None if found[1] is None else tuple(map(int, found[1].split())), int(found[2]))


def reward(text: str, reply: str, ended: bool) -> float:
    """1 where the reply is well formed, its answer is right, and EOS follows; else 0. Running sums do not count.

    Args:
        text:  the prompt.
        reply: words without EOS.
        ended: True where the reply closed with EOS.

    >>> reward("add 3 5 9 =", "<think> 3 8 </think> 7", ended=True), reward("add 3 5 9 =", "8", ended=True)
    (1.0, 0.0)
    """
    digits, said = read(text), parse(reply)
    return float(bool(ended and said and said.answer == sum(digits) % 10))


def right_sums(digits: Digits, sums: Digits) -> tuple[bool, ...]:
    """Process labels: is each running sum right, whatever it was made from? One beyond the last digit is wrong.

    Behind a slip all are wrong, until a second one happens to make up for it. All right is not enough for a right
    answer: whoever stops early still has to guess.

    >>> right_sums((3, 5, 9, 1), (3, 7, 6))
    (True, False, False)
    """
    true = running_sums(digits)
    return tuple(k < len(true) and said == true[k] for k, said in enumerate(sums))


def demonstration(digits: Digits, generator: torch.Generator, *, direct: float, give_up: float, slip: float) -> str:
    """A reply as a patient or a hasty person writes it.

    Args:
        direct:  chance to answer at once, by a guess: any digit, evenly.
        give_up: chance to stop thinking after each running sum but the last, and to guess.
        slip:    chance that a running sum comes out as one of the nine wrong digits. The next one builds on it.
    Returns: the reply's words, without EOS.
    Raises:  ValueError when a chance is outside [0, 1].
    """
    within(0, 1, direct=direct, give_up=give_up, slip=slip)

    def chance() -> float:
        return torch.rand((), generator=generator).item()

    def upto(largest: int) -> int:
        return int(torch.randint(largest + 1, (), generator=generator))

    if chance() < direct:
        return str(upto(9))
    sums, total = [], 0
    for digit in digits:
        if sums and chance() < give_up:
            total = upto(9)
            break
        total = (total + digit + (1 + upto(8) if chance() < slip else 0)) % 10
        sums.append(total)
    return " ".join([THINK, *map(str, sums), ANSWER, str(total)])


def demonstration_accuracy(length: int, *, direct: float, give_up: float, slip: float) -> float:
    """How often a demonstration for so many digits has the right answer, exactly. Every wrong one is equally likely.

        P(the last of k sums is right) = 1/10 + 9/10 (1 − 10/9 slip)^k,     P(a guess is right) = 1/10

    It is what a perfect imitation of them scores.

    Args: length, digits of the problem, at least 1; the chances as in `demonstration`.
    Raises: ValueError when length is no whole number above 0 or a chance is outside [0, 1].

    >>> [round(demonstration_accuracy(k, **HASTY), 4) for k in (1, 5, 8)]
    [0.535, 0.2556, 0.172]
    """
    whole(1, length=length)
    within(0, 1, direct=direct, give_up=give_up, slip=slip)
    to_the_end = (1 - direct) * (1 - give_up) ** (length - 1)
    return 0.1 + 0.9 * to_the_end * (1 - slip * 10 / 9) ** length
