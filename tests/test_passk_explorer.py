"""The explorer of many tries: its curves against all subsets and all votes, its table against fresh replies."""

import csv
import itertools
import math
import re
from collections import Counter

import pytest
import torch

from rlcore import lm
from rlcore.loops import passk_curves, sums
from rlcore.view import plots
from rlcore.view.explore import passk


def rest():
    return {name: control.value for name, control in passk.controls().items()}


@pytest.fixture
def small(monkeypatch):
    """A table of three problems and five replies to each; two answers and none."""
    given = torch.tensor([[1, 3, 1], [4, 0, 1], [2, 2, 1]])
    counts = passk.Counts(torch.tensor([0, 0, 1]), given)
    monkeypatch.setattr(passk, "table", lambda: {("sums_sft", 5, 1.0): counts})
    monkeypatch.setattr(passk, "TRIES", (1, 2, 3))
    passk.curves.cache_clear()
    yield counts
    passk.curves.cache_clear()


def replies(counts):
    """The answers of each problem one by one, with the right one."""
    for right, given in zip(counts.right.tolist(), counts.given.tolist(), strict=True):
        yield right, [answer for answer, count in enumerate(given) for _ in range(count)]


def test_passed_is_the_share_of_all_subsets_that_hold_a_right_reply(small):
    found = passk.curves("before RL", 5, 1.0)
    for k, ours in zip((1, 2, 3), found.passed.tolist(), strict=True):
        shares = []
        for right, told in replies(small):
            subsets = list(itertools.combinations(told, k))
            shares.append(sum(right in subset for subset in subsets) / len(subsets))
        assert ours == pytest.approx(sum(shares) / 3)


def test_voted_is_the_mean_over_all_rows_of_draws_with_ties_shared(small):
    found = passk.curves("before RL", 5, 1.0)
    for k, ours in zip((1, 2, 3), found.voted.tolist(), strict=True):
        total = 0.0
        for right, told in replies(small):
            rows = list(itertools.product(told, repeat=k))
            for row in rows:
                votes = Counter(row)
                top = [answer for answer, count in votes.items() if count == max(votes.values())]
                total += (right in top) / len(top) / len(rows)
        assert ours == pytest.approx(total / 3)


def test_problems_are_sorted_and_coloured_by_whether_the_right_answer_is_the_most_frequent(small):
    found = passk.curves("before RL", 5, 1.0)
    assert found.shares.tolist() == pytest.approx([0.2, 0.4, 0.8])
    assert found.wins.tolist() == [False, False, True]  # a tie is no win


def test_the_table_has_every_place_and_counts_all_replies():
    table = passk.table()
    wanted = set(itertools.product(passk_curves.MODELS, passk_curves.DIGITS, passk_curves.TEMPERATURES))
    assert set(table) == wanted
    assert set(passk.MODELS.values()) == set(passk_curves.MODELS)
    assert passk.temperatures() == list(passk_curves.TEMPERATURES)
    for right, given in table.values():
        assert given.shape == (passk_curves.PROBLEMS, passk_curves.ANSWERS)
        assert (given.sum(1) == passk_curves.REPLIES).all()
        assert ((right >= 0) & (right <= 9)).all()
    assert tuple(passk.DIGITS.values()) == passk_curves.DIGITS
    for size in passk_curves.DIGITS:  # the same problems for all
        rights = [right for (_, digits, _), (right, _) in table.items() if digits == size]
        assert all(torch.equal(right, rights[0]) for right in rights)
    assert max(passk.TRIES) <= passk_curves.REPLIES
    with open(lm.SHIPPED / "sums_passk.csv", encoding="utf-8") as file:
        assert tuple(next(csv.reader(file))) == passk_curves.COLUMNS


def test_counting_reads_the_replies_that_the_loop_draws():
    right, given = passk_curves.counted("sums_grpo", 8, 0.6, 4)
    policy, tokenizer = lm.shipped("sums_grpo")
    draw = torch.Generator().manual_seed(passk_curves.SEED)
    asked = sums.prompts(tokenizer, 4, (8,), draw)
    drawn = sums.drawn(policy, tokenizer, asked, 64, 0.6, draw)
    assert given.gather(1, right[:, None])[:, 0].tolist() == sums.correct(tokenizer, drawn).view(4, 64).sum(1).tolist()
    assert (given.sum(1) == 64).all()


def test_a_fresh_count_agrees_with_the_table():
    right, given = passk.table()["sums_sft", 8, 1.0]
    share = (given.gather(1, right[:, None]).sum() / given.sum()).item()
    policy, tokenizer = lm.shipped("sums_sft")
    draw = torch.Generator().manual_seed(77)
    asked = sums.prompts(tokenizer, 200, (8,), draw)
    fresh = sums.correct(tokenizer, sums.drawn(policy, tokenizer, asked, 8, 1.0, draw)).mean().item()
    assert share == pytest.approx(fresh, abs=0.04)


def test_the_caption_says_what_the_curves_say():
    for digits, temperature, k in ((5, 1.0, 32), (8, 0.4, 4)):
        both = {name: passk.curves(name, digits, temperature) for name in passk.MODELS}
        at = passk.TRIES.index(k)
        for name in passk.MODELS:
            said = passk.draw(k, temperature, name, digits).get_label()
            other = next(one for one in passk.MODELS if one != name)
            wanted = [both[name].passed[at], both[name].voted[at], both[name].passed[0]]
            wanted += [both[other].passed[at], both[other].voted[at], both[other].passed[0]]
            wanted.append(torch.tensor(1 - 0.9**k))
            told = [float(x) for x in re.findall(r"([\d.]+)%", said)]
            assert told == pytest.approx([100 * x.item() for x in wanted], abs=0.051)
            after, before = (both[one].passed[at].item() for one in passk.MODELS)
            lead = f"{'after' if after > before else 'before'} RL solves more" if after != before else "as many"
            assert f"{lead}." in said
            assert f"In {int((~both[name].wins).sum())} of {passk_curves.PROBLEMS} problems" in said


def test_points_stand_where_the_curves_are():
    figure = passk.draw(8, 1.0, "after RL", 5)
    found, at = passk.curves("after RL", 5, 1.0), passk.TRIES.index(8)
    points = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [line.get_xydata()[0].tolist() for line in points] == [
        [at, pytest.approx(found.passed[at].item())],
        [at, pytest.approx(found.voted[at].item())],
    ]
    dots = sorted(tuple(xy) for line in figure.axes[1].lines for xy in line.get_xydata().tolist())
    assert dots == [(k, pytest.approx(share)) for k, share in enumerate(found.shares.tolist())]
    assert len(figure.axes[1].lines[0].get_xydata()) == int(found.wins.sum())


def test_at_rest_many_tries_make_up_for_what_one_lacks_and_rl_makes_one_enough():
    assert rest() == {"k": 32, "temperature": 1.0, "name": "before RL", "digits": 5}
    after, before = (passk.curves(name, 5, 1.0) for name in passk.MODELS)
    assert before.passed[0] < 0.3 < 0.9 < before.passed[-1]
    assert before.voted[-1] < before.passed[-1] - 0.1
    assert after.passed[0] > 0.9
    titles = [axes.get_title(loc="left") for axes in passk.draw(**rest()).axes]
    assert titles[0] == f"before RL: pass@32 {before.passed[-1]:.0%}, vote {before.voted[-1]:.0%}"
    assert titles[1] == f"One try is right: {before.passed[0]:.0%}"


def test_on_longer_problems_rl_gave_up_the_luck_that_many_tries_need():
    after, before = (passk.curves(name, 8, 1.0) for name in passk.MODELS)
    assert before.passed[0] < after.passed[0]
    assert before.passed[-1] > 0.95 > 0.6 > after.passed[-1]
    assert before.passed[-1].item() == pytest.approx(1 - 0.9**32, abs=0.03)  # little more than guessing


def test_one_try_is_the_same_by_pass_and_by_vote():
    for place in itertools.product(passk.MODELS, passk.DIGITS.values(), passk.temperatures()):
        found = passk.curves(*place)
        assert found.passed[0].item() == pytest.approx(found.voted[0].item(), abs=1e-12)
        assert (found.passed.diff() >= -1e-12).all()
        assert not math.isnan(found.voted.sum())


def test_every_value_of_every_control_has_a_picture_and_a_caption_of_its_own():
    ranges = {
        "k": passk.TRIES,
        "temperature": passk.temperatures(),
        "name": passk.MODELS,
        "digits": passk.DIGITS.values(),
    }
    for here in (rest(), {"k": 1, "temperature": 0.4, "name": "after RL", "digits": 8}):
        for name, values in ranges.items():
            drawn = [passk.draw(**here | {name: value}) for value in values]
            assert len({figure.get_label() for figure in drawn}) == len(drawn)
            assert len({plots.png(figure) for figure in drawn}) == len(drawn)
