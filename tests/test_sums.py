"""Running sums: every verdict by plain addition, every demonstration one that could have been written, exact rates."""

import itertools
from collections import Counter

import pytest
import torch

from rlcore.worlds import sums
from rlcore.worlds.sums import Said

TEXT = "add 3 5 9 ="


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def demonstrations(count, length, settings, seed=0):
    chances = generator(seed)
    return [
        (digits, sums.demonstration(digits, chances, **settings)) for digits in sums.problems(count, length, chances)
    ]


def near(share, wanted, count):
    """Within four standard errors."""
    return abs(share - wanted) <= 4 * (wanted * (1 - wanted) / count) ** 0.5


def test_prompts_are_written_and_read_back():
    for digits in sums.problems(50, 5, generator()):
        assert sums.read(sums.prompt(digits)) == digits
        assert set(sums.prompt(digits).split()) <= set(sums.WORDS)


@pytest.mark.parametrize("length", [1, 2, 10])
def test_problems_are_rows_of_even_digits(length):
    found = sums.problems(2000, length, generator())
    assert all(len(digits) == length for digits in found)
    counts = Counter(itertools.chain(*found))
    assert set(counts) == set(range(10))
    assert all(near(counts[digit] / (2000 * length), 0.1, 2000 * length) for digit in range(10))


def test_running_sums_are_sums_of_what_was_read_so_far():
    for digits in sums.problems(50, 7, generator()):
        assert sums.running_sums(digits) == tuple(sum(digits[:k]) % 10 for k in range(1, 8))


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        ("7", Said(None, 7)),
        ("<think> 3 8 7 </think> 7", Said((3, 8, 7), 7)),
        ("<think> </think> 7", Said((), 7)),
        ("<think> 3 8 7 </think>", None),
        ("<think> 3 8 7", None),
        ("3 8 7", None),
        ("3 8 7 </think> 7", None),
        ("<think> 3 8 7 </think> 7 7", None),
        ("<think> 3 = 7 </think> 7", None),
        ("<think> <think> 3 </think> 7", None),
        ("<think> 3 </think> <think> 3 </think> 7", None),
        ("</think> 7", None),
        ("7 <think> 3 </think>", None),
        ("37", None),
        ("7\n", None),
        ("", None),
    ],
)
def test_a_reply_is_a_digit_or_running_sums_between_marks_and_a_digit(reply, wanted):
    assert sums.parse(reply) == wanted


@pytest.mark.parametrize(
    ("reply", "ended", "wanted"),
    [
        ("7", True, 1.0),
        ("8", True, 0.0),
        ("<think> 3 8 7 </think> 7", True, 1.0),
        ("<think> 3 8 7 </think> 8", True, 0.0),
        ("<think> 3 1 2 </think> 7", True, 1.0),  # only the answer counts
        ("<think> </think> 7", True, 1.0),
        ("<think> 3 8 7 </think> 7", False, 0.0),  # no EOS
        ("7", False, 0.0),
        ("3 8 7", True, 0.0),
        ("<think> 3 8 7", True, 0.0),
        ("17", True, 0.0),  # the sum before it is taken modulo 10
        ("", True, 0.0),
    ],
)
def test_the_rule_rewards_right_answers_alone(reply, ended, wanted):
    assert sums.reward(TEXT, reply, ended) == wanted


def test_a_sum_of_0_is_an_answer_like_any_other():
    assert sums.reward("add 5 5 =", "0", True) == 1.0
    assert sums.reward("add 0 =", "<think> 0 </think> 0", True) == 1.0


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ((3, 8, 7, 8), (True, True, True, True)),
        ((3, 8), (True, True)),
        ((), ()),
        ((3, 7, 6, 7), (True, False, False, False)),  # one slip, carried on
        ((3, 7, 7, 8), (True, False, True, True)),  # made good by a second one
        ((3, 8, 7, 8, 8), (True, True, True, True, False)),  # one more than there are digits
    ],
)
def test_each_running_sum_is_right_or_wrong(said, wanted):
    assert sums.right_sums((3, 5, 9, 1), said) == wanted


def test_patient_demonstrations_think_to_the_end_and_are_right():
    for digits, reply in demonstrations(200, 6, sums.PATIENT):
        assert sums.parse(reply) == Said(sums.running_sums(digits), sum(digits) % 10)
        assert sums.reward(sums.prompt(digits), reply, ended=True) == 1.0
        assert set(reply.split()) <= set(sums.WORDS)
        assert len(reply.split()) == 6 + 3


def test_hasty_demonstrations_guess_stop_and_slip_as_often_as_they_were_told():
    settings = {"direct": 0.5, "give_up": 0.2, "slip": 0.03}
    assert settings == sums.HASTY
    said = [(digits, sums.parse(reply)) for digits, reply in demonstrations(6000, 5, settings)]
    assert all(found is not None for _, found in said)
    assert near(sum(found.sums is None for _, found in said) / 6000, 0.5, 6000)
    thinkers = [(digits, found) for digits, found in said if found.sums is not None]
    assert {len(found.sums) for _, found in thinkers} == {1, 2, 3, 4, 5}
    chances_to_stop = sum(min(len(found.sums), 4) for _, found in thinkers)  # not behind the last one
    stops = sum(len(found.sums) < 5 for _, found in thinkers)
    assert near(stops / chances_to_stop, 0.2, chances_to_stop)
    made = [
        (now - before) % 10 == digit
        for digits, found in thinkers
        for digit, before, now in zip(digits, (0, *found.sums), found.sums, strict=False)
    ]
    assert near(1 - sum(made) / len(made), 0.03, len(made))
    assert all(found.answer == found.sums[-1] for _, found in thinkers if len(found.sums) == 5)


@pytest.mark.parametrize("settings", [{"direct": 1.0, "give_up": 0.0}, {"direct": 0.0, "give_up": 1.0}])
def test_who_answers_at_once_or_stops_early_guesses_evenly(settings):
    """Zeros to add: who stopped and said the sum so far would always be right."""
    chances = generator()
    said = [sums.parse(sums.demonstration((3, 0, 0), chances, **settings, slip=0.0)) for _ in range(4000)]
    assert {found.sums for found in said} == {None if settings["direct"] else (3,)}
    answers = Counter(found.answer for found in said)
    assert all(near(answers[digit] / 4000, 0.1, 4000) for digit in range(10))


def test_a_slip_is_one_of_the_nine_wrong_digits_evenly():
    said = [
        (d, sums.parse(reply)) for d, reply in demonstrations(4000, 1, {"direct": 0.0, "give_up": 0.0, "slip": 1.0})
    ]
    off = Counter((found.sums[0] - digits[0]) % 10 for digits, found in said)
    assert set(off) == set(range(1, 10))
    assert all(near(off[error] / 4000, 1 / 9, 4000) for error in off)


def by_chain(length, direct, give_up, slip):
    """[10] chances of each error of the answer: sum by sum, with a 10 × 10 matrix of slips."""
    turn = torch.full((10, 10), slip / 9, dtype=torch.float64).fill_diagonal_(1 - slip)
    even, error, total = torch.full((10,), 0.1, dtype=torch.float64), torch.eye(10)[0].double(), 0
    going = 1 - direct
    for step in range(length):
        if step:
            total, going = total + going * give_up * even, going * (1 - give_up)
        error = error @ turn
    return direct * even + total + going * error


@pytest.mark.parametrize("length", [1, 2, 5, 8])
@pytest.mark.parametrize("settings", [sums.PATIENT, sums.HASTY, {"direct": 0.2, "give_up": 0.6, "slip": 1.0}])
def test_the_accuracy_of_demonstrations_is_exact_and_wrong_answers_are_equally_likely(length, settings):
    errors = by_chain(length, **settings)
    assert sums.demonstration_accuracy(length, **settings) == pytest.approx(errors[0].item(), abs=1e-12)
    assert torch.allclose(errors[1:], errors[1].expand(9), rtol=0, atol=1e-12)


@pytest.mark.parametrize("length", [2, 5])
def test_demonstrations_are_right_as_often_as_that(length):
    rewards = [
        sums.reward(sums.prompt(d), reply, True) for d, reply in demonstrations(6000, length, sums.HASTY, seed=1)
    ]
    assert near(sum(rewards) / 6000, sums.demonstration_accuracy(length, **sums.HASTY), 6000)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: sums.read("add ="), "text is 'add =', expected a prompt like 'add 3 5 9 ='"),
        (lambda: sums.read("add 3 x ="), "expected a prompt like"),
        (lambda: sums.read("please add 3 ="), "expected a prompt like"),
        (lambda: sums.read("add 3 12 ="), "expected a prompt like"),
        (lambda: sums.reward("3 5 9", "7", True), "text is '3 5 9'"),
        (lambda: sums.problems(0, 4, generator()), "count is 0"),
        (lambda: sums.problems(1, 0, generator()), "length is 0, expected a whole number, 1 or more"),
        (lambda: sums.demonstration((3,), generator(), direct=1.5, give_up=0.0, slip=0.0), "direct is 1.5"),
        (lambda: sums.demonstration((3,), generator(), direct=0.0, give_up=-1.0, slip=0.0), "give_up is -1"),
        (lambda: sums.demonstration_accuracy(0, **sums.HASTY), "length is 0"),
        (lambda: sums.demonstration_accuracy(2, direct=0.0, give_up=0.0, slip=1.1), "slip is 1.1"),
    ],
)
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
