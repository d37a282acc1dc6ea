"""The number game: every verdict by an independent rule, every demonstration a search that could have been written."""

import itertools

import pytest
import torch

from rlcore.worlds import arithmetic
from rlcore.worlds.arithmetic import Problem, Try

GAME = Problem(14, (13, 11, 2, 12))
TEXT = "make 14 from 13 11 2 12 ="


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_prompts_are_written_and_read_back():
    for problem in arithmetic.problems(50, 5, generator()):
        assert arithmetic.read(arithmetic.prompt(problem)) == problem


@pytest.mark.parametrize("numbers", [2, 4, 6, 15])
def test_every_problem_can_be_solved(numbers):
    for problem in arithmetic.problems(200, numbers, generator()):
        assert len(set(problem.numbers)) == len(problem.numbers) == numbers
        assert all(1 <= number <= 15 for number in problem.numbers)
        assert problem.target in {a + b for a, b in itertools.combinations(problem.numbers, 2)}


@pytest.mark.parametrize(
    ("reply", "ended", "wanted"),
    [
        ("2 + 12 = 14 yes", True, 1.0),
        ("12 + 2 = 14 yes", True, 1.0),
        ("13 + 11 = 24 high 2 + 12 = 14 yes", True, 1.0),
        ("13 + 11 = 9 low 2 + 12 = 14 yes", True, 1.0),  # only the answer counts
        ("nonsense at first 2 + 12 = 14 yes", True, 1.0),
        ("2 + 12 = 14 yes", False, 0.0),  # no EOS
        ("2 + 12 = 14 yes stop", True, 0.0),
        ("2 + 12 = 14 yes 13 + 11 = 24 high", True, 0.0),
        ("2 + 12 = 14 high", True, 0.0),
        ("13 + 2 = 14 yes", True, 0.0),  # is 15
        ("13 + 2 = 15 yes", True, 0.0),  # is not 14
        ("1 + 13 = 14 yes", True, 0.0),  # 1 is not listed
        ("7 + 7 = 14 yes", True, 0.0),
        ("2 + 12 = 14", True, 0.0),
        ("yes", True, 0.0),
        ("", True, 0.0),
    ],
)
def test_the_rule_rewards_right_answers_alone(reply, ended, wanted):
    assert arithmetic.reward(TEXT, reply, ended) == wanted


def test_one_number_may_not_be_used_twice():
    assert arithmetic.reward("make 14 from 7 1 13 =", "7 + 7 = 14 yes", True) == 0.0
    assert arithmetic.reward("make 14 from 7 1 13 =", "1 + 13 = 14 yes", True) == 1.0


@pytest.mark.parametrize(
    ("tried", "wanted"),
    [
        (Try(13, 11, 24, "high"), True),
        (Try(13, 11, 24, "low"), False),
        (Try(13, 11, 25, "high"), False),
        (Try(2, 11, 13, "low"), True),
        (Try(2, 2, 4, "low"), False),
        (Try(2, 9, 11, "low"), False),
        (Try(12, 2, 14, "yes"), True),
    ],
)
def test_each_try_is_right_or_wrong(tried, wanted):
    assert arithmetic.right(GAME, tried) is wanted


def test_what_is_no_row_of_tries_is_none():
    for reply in ("13 + 11 = 24", "13 - 11 = 2 low", "a + b = c low", "13 + 11 = 24 maybe", "stop stop"):
        assert arithmetic.tries(reply) is None
    assert arithmetic.tries("") == arithmetic.tries("stop") == []


@pytest.mark.parametrize("systematic", [0.0, 0.5, 1.0])
def test_a_patient_search_ends_with_the_answer_and_every_try_is_true(systematic):
    for problem in arithmetic.problems(100, 5, generator()):
        reply = arithmetic.demonstration(problem, generator(problem.target), systematic=systematic, give_up=0.0)
        found = arithmetic.tries(reply)
        assert arithmetic.reward(arithmetic.prompt(problem), reply, ended=True) == 1.0
        assert all(arithmetic.right(problem, tried) for tried in found)
        assert [tried.verdict == "yes" for tried in found] == [False] * (len(found) - 1) + [True]
        assert set(reply.split()) <= set(arithmetic.WORDS)


def test_a_systematic_search_goes_through_the_list_in_order():
    reply = arithmetic.demonstration(Problem(14, (13, 11, 2, 12)), generator(), systematic=1.0, give_up=0.0)
    assert reply == (
        "13 + 11 = 24 high 13 + 2 = 15 high 13 + 12 = 25 high 11 + 2 = 13 low 11 + 12 = 23 high 2 + 12 = 14 yes"
    )


def test_an_impatient_search_stops_as_often_as_it_was_told():
    """After each failed try with chance 0.35: the number of failed tries of those who stop or go on tells the rate."""
    chances, stops, failed = generator(1), 0, 0
    for problem in arithmetic.problems(3000, 5, generator()):
        reply = arithmetic.demonstration(problem, chances, systematic=0.2, give_up=0.35)
        found = arithmetic.tries(reply)
        stops += reply.endswith("stop")
        failed += sum(tried.verdict != "yes" for tried in found)
    assert abs(stops / failed - 0.35) < 4 * (0.35 * 0.65 / failed) ** 0.5


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: arithmetic.read("make from 1 2 ="), "text is 'make from 1 2 =', expected a prompt like"),
        (lambda: arithmetic.read("make x from 1 2 3 ="), "expected a prompt like"),
        (lambda: arithmetic.problems(0, 4, generator()), "count is 0"),
        (lambda: arithmetic.problems(1, 16, generator()), r"numbers is 16, expected a number in \[2, 15\]"),
        (
            lambda: arithmetic.demonstration(GAME, generator(), systematic=1.5, give_up=0.0),
            r"systematic is 1.5, expected a number in \[0, 1\]",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
