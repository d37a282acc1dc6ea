"""The explorer's chances, wins and fits against plain Python and scipy, and what its caption says."""

import math
import re
from itertools import pairwise

import pytest
import torch
from scipy.optimize import minimize

from rlcore.view.explore import strengths

TRUTH = (1.5, 0.5, -0.5, -1.5)


def chance(strong, weak, flip_rate):
    sure = math.exp(strong) / (math.exp(strong) + math.exp(weak))
    return sure * (1 - flip_rate) + (1 - sure) * flip_rate


def fitted(wins):
    """The likeliest scores by a general optimiser, mean 0."""

    def loss(scores):
        rows = [(i, j) for i in range(4) for j in range(4) if i != j]
        return sum(wins[i][j] * math.log1p(math.exp(scores[j] - scores[i])) for i, j in rows)

    found = minimize(loss, [0.0] * 4, method="BFGS", options={"gtol": 1e-9}).x
    return found - found.mean()


@pytest.mark.parametrize(("truth", "flip_rate"), [(TRUTH, 0.0), ((0.3, -2.0, 1.1, 0.0), 0.25)])
def test_chances_are_those_of_a_pencil(truth, flip_rate):
    found = strengths.play(truth, 100, flip_rate).chances
    wanted = [[chance(a, b, flip_rate) for b in truth] for a in truth]
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64))


def test_every_pair_is_compared_as_often_as_asked_and_wins_come_as_often_as_their_chance():
    found = strengths.play(TRUTH, 500, 0.1)
    games = found.wins + found.wins.T
    assert torch.equal(games, 500 * (1 - torch.eye(4, dtype=torch.float64)))
    error = (found.chances * (1 - found.chances) / 500).sqrt()
    assert ((found.wins / 500 - found.chances)[games > 0].abs() < 3.5 * error[games > 0]).all()


def test_more_comparisons_keep_the_earlier_ones():
    few, many = strengths.play(TRUTH, 50, 0.0).wins, strengths.play(TRUTH, 55, 0.0).wins
    assert ((many - few) >= 0).all()
    assert (many - few).sum() == 6 * 5


@pytest.mark.parametrize(("truth", "comparisons", "flip_rate"), [(TRUTH, 200, 0.2), ((0.3, -1.0, 1.1, 0.0), 60, 0.0)])
def test_fit_and_limit_are_those_of_a_general_optimiser(truth, comparisons, flip_rate):
    found = strengths.play(truth, comparisons, flip_rate)
    assert found.fit.scores.tolist() == pytest.approx(fitted(found.wins.tolist()), abs=1e-5)
    expected = [[chance(a, b, flip_rate) for b in truth] for a in truth]
    assert found.limit.tolist() == pytest.approx(fitted(expected), abs=1e-5)


def test_without_flips_the_limit_is_the_truth_and_with_them_it_is_closer_to_nought():
    assert strengths.play(TRUTH, 5, 0.0).limit.tolist() == pytest.approx(TRUTH, abs=1e-8)
    limits = [strengths.play(TRUTH, 5, rate).limit.abs() for rate in (0.0, 0.1, 0.2, 0.3, 0.4)]
    assert all((after < before).all() for before, after in pairwise(limits))


def test_a_constant_added_to_all_strengths_changes_nothing():
    here, there = (strengths.play(tuple(x + shift for x in TRUTH), 100, 0.1) for shift in (0.0, 0.5))
    assert torch.equal(here.wins, there.wins)
    torch.testing.assert_close(here.truth, there.truth)


def test_intervals_hold_the_truth_in_most_tournaments_without_noise():
    """Other strengths, other luck: 95 % in the long run; of 80 intervals at least 68 with a chance above 99.9 %."""
    generator, held = torch.Generator().manual_seed(0), 0
    for _ in range(20):
        truth = tuple((torch.rand(4, generator=generator, dtype=torch.float64) * 3 - 1.5).tolist())
        held += strengths.play(truth, 300, 0.0).held
    assert 68 <= held <= 80


def test_a_reply_that_never_wins_has_no_finite_fit_and_the_picture_says_so():
    values = {"a": 2.0, "b": -2.0, "c": 2.0, "d": 2.0, "comparisons": 5, "flip_rate": 0.0}
    found = strengths.play((2.0, -2.0, 2.0, 2.0), 5, 0.0)
    assert not found.wins[1].any()
    assert found.fit is None
    figure = strengths.draw(**values)
    assert figure.axes[1].get_title(loc="left") == "No finite fit"
    assert "No finite fit" in figure.get_label()


def test_the_caption_says_the_numbers():
    values = {"a": 1.0, "b": 0.0, "c": -0.3, "d": 0.5, "comparisons": 120, "flip_rate": 0.1}
    truth = tuple(list(values.values())[:4])
    found = strengths.play(truth, 120, 0.1)
    caption = strengths.draw(**values).get_label().replace("−", "-")
    said = [float(x) for x in re.findall(r"-?\d+\.?\d*", caption.replace("10%", "0.10"))]
    fits = [x for pair in zip(found.fit.scores, strengths.WIDE * found.fit.errors, strict=True) for x in pair]
    inside = [abs(s - t) <= 1.96 * e for s, e, t in zip(*found.fit[:2], found.truth, strict=True)]
    centred = [x - sum(truth) / 4 for x in truth]
    wanted = [*truth, 120, 0.1, *fits, *centred, sum(inside), 4, *found.limit]
    assert said == pytest.approx([float(x) for x in wanted], abs=5.1e-3)


def test_at_rest_many_labels_give_narrow_intervals_that_all_miss_and_without_flips_all_hold():
    rest = {name: control.value for name, control in strengths.controls().items()}
    truth = tuple(list(rest.values())[:4])
    found = strengths.play(truth, rest["comparisons"], rest["flip_rate"])
    assert found.held == 0
    assert found.fit.errors.max() < 0.1
    assert strengths.play(truth, rest["comparisons"], 0.0).held == 4
    assert strengths.play(truth, strengths.MOST, rest["flip_rate"]).held == 0
    assert strengths.draw(**rest).axes[1].get_title(loc="left") == "0 of 4 intervals hold the truth"
