"""Is the answer right? A number to make from two of those listed, by trying pairs aloud; a rule is the judge.

    make 14 from 13 11 2 12 =   →   13 + 11 = 24 high 13 + 2 = 15 high 2 + 12 = 14 yes

Every try adds two of the numbers and says whether the sum is too low, too high, or right (yes ends the reply). Who
gives up says stop. All of it is words apart by single spaces. Left out: tokens, models, training.
"""

import itertools
from typing import NamedTuple

import torch

from rlcore.shapes import whole, within

LARGEST = 15
WORDS = ("make", "from", "=", "+", "low", "high", "yes", "stop", *map(str, range(1, 2 * LARGEST + 1)))
GIVE_UP = "stop"


class Problem(NamedTuple):
    """What a prompt asks for."""

    target: int
    numbers: tuple[int, ...]


class Try(NamedTuple):
    """One try of a reply: what was added, what it was said to give, what was said about it."""

    first: int
    second: int
    total: int
    verdict: str


def prompt(problem: Problem) -> str:
    """The text of a problem.

    >>> prompt(Problem(14, (13, 11, 2, 12)))
    'make 14 from 13 11 2 12 ='
    """
    return f"make {problem.target} from {' '.join(map(str, problem.numbers))} ="


def read(text: str) -> Problem:
    """The problem of a prompt.

    Raises: ValueError when it does not read "make N from a b c … =".

    >>> read("make 14 from 13 11 2 12 =")
    Problem(target=14, numbers=(13, 11, 2, 12))
    """
    words = text.split()
    good = len(words) >= 6 and (words[0], words[2], words[-1]) == ("make", "from", "=")
    if not good or not all(word.isdecimal() for word in (words[1], *words[3:-1])):
        raise ValueError(f"text is {text!r}, expected a prompt like 'make 14 from 13 11 2 12 ='")
    return Problem(int(words[1]), tuple(map(int, words[3:-1])))


def problems(count: int, numbers: int, generator: torch.Generator) -> list[Problem]:
    """Problems that can be solved: different numbers from 1 to 15, and the sum of some two of them.

    Args: count, at least 1; numbers listed in each, from 2 to 15.
    Raises: ValueError when one of them is out of range.
    """
    whole(1, count=count), whole(2, numbers=numbers), within(2, LARGEST, numbers=numbers)
    found = []
    for _ in range(count):
        listed = (torch.randperm(LARGEST, generator=generator)[:numbers] + 1).tolist()
        pair = torch.randperm(numbers, generator=generator)[:2].tolist()
        found.append(Problem(listed[pair[0]] + listed[pair[1]], tuple(listed)))
    return found


def tries(reply: str) -> list[Try] | None:
    """The tries of a reply, or None where it is no row of tries, with `stop` behind them or not.

    >>> tries("13 + 11 = 24 high stop")
    [Try(first=13, second=11, total=24, verdict='high')]
    >>> tries("13 + 11 high") is None
    True
    """
    words = reply.split()
    words = words[:-1] if words[-1:] == [GIVE_UP] else words
    if len(words) % 6:
        return None
    found = []
    for a, plus, b, equals, total, verdict in _sixes(words):
        numbers = a.isdecimal() and b.isdecimal() and total.isdecimal()
        if (plus, equals) != ("+", "=") or not numbers or verdict not in ("low", "high", "yes"):
            return None
        found.append(Try(int(a), int(b), int(total), verdict))
    return found


def _sixes(words: list[str]) -> list[list[str]]:
    return [words[k : k + 6] for k in range(0, len(words), 6)]


def right(problem: Problem, tried: Try) -> bool:
    """Is one try true: two different numbers of the list, their real sum, and the right word about it?"""
    listed = tried.first != tried.second and {tried.first, tried.second} <= set(problem.numbers)
    return listed and tried.total == tried.first + tried.second and tried.verdict == _verdict(problem, tried.total)


def reward(text: str, reply: str, ended: bool) -> float:
    """1 where the reply's last try is right and says yes, and EOS follows; else 0. Earlier tries do not count.

    Args:
        text:  the prompt.
        reply: words without EOS.
        ended: True where the reply closed with EOS.

    >>> reward("make 14 from 13 11 2 12 =", "13 + 2 = 15 high 2 + 12 = 14 yes", ended=True)
    1.0
    >>> reward("make 14 from 13 11 2 12 =", "13 + 2 = 14 yes", ended=True)
    0.0
    """
    problem, words = read(text), reply.split()
    last = tries(" ".join(words[-6:])) if len(words) >= 6 else None
    return float(bool(ended and last and last[0].verdict == "yes" and right(problem, last[0])))


def demonstration(problem: Problem, generator: torch.Generator, *, systematic: float, give_up: float) -> str:
    """A search as a patient or an impatient person writes it.

    Args:
        systematic: chance to go through the pairs in the order of the list; else pairs come at random, with repeats.
        give_up:    chance to stop after each try that failed. 0 always finds the answer.
    Returns: the reply's words, without EOS.
    Raises:  ValueError when a chance is outside [0, 1].
    """
    within(0, 1, systematic=systematic, give_up=give_up)
    pairs = list(itertools.combinations(problem.numbers, 2))
    in_order = torch.rand((), generator=generator).item() < systematic
    words: list[str] = []
    for step in itertools.count():
        pick = step if in_order else int(torch.randint(len(pairs), (), generator=generator))
        first, second = pairs[pick]
        verdict = _verdict(problem, first + second)
        words += [str(first), "+", str(second), "=", str(first + second), verdict]
        if verdict == "yes":
            return " ".join(words)
        if torch.rand((), generator=generator).item() < give_up:
            return " ".join([*words, GIVE_UP])


def _verdict(problem: Problem, total: int) -> str:
    if total == problem.target:
        return "yes"
    return "low" if total < problem.target else "high"
