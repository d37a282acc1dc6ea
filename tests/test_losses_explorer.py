"""The explorer of losses against a search on a fine grid, and formulas written out."""

import math
import re

import pytest
import torch

from rlcore.view.explore import choices, corners, losses

PLAIN = {  # loss of one pair at margin h, in plain Python
    "DPO": lambda h, b, e: softplus(-b * h),
    "IPO": lambda h, b, e: (h - 1 / (2 * b)) ** 2,
    "hinge": lambda h, b, e: max(0.0, 1 - b * h),
    "squared hinge": lambda h, b, e: max(0.0, 1 - b * h) ** 2,
    "exponential": lambda h, b, e: math.exp(-b * h),
    "cDPO": lambda h, b, e: (1 - e) * softplus(-b * h) + e * softplus(b * h),
    "robust DPO": lambda h, b, e: ((1 - e) * softplus(-b * h) - e * softplus(b * h)) / (1 - 2 * e),
}
SETTINGS = [(0.5, 0.0, 0.1), (0.5, 0.2, 0.1), (0.1, 0.3, 0.3), (1.0, 0.1, 0.2), (0.3, 0.4, 0.0)]


def softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def mean(name, h, beta, turned, assumed):
    return (1 - turned) * PLAIN[name](h, beta, assumed) + turned * PLAIN[name](-h, beta, assumed)


def searched(name, beta, turned, assumed):
    """The best margin by golden-section search; infinite where the loss still falls far out."""
    low, high, golden = 0.0, 60 / beta, (5**0.5 - 1) / 2
    if mean(name, high, beta, turned, assumed) < mean(name, 0.5 * high, beta, turned, assumed):
        return math.inf
    for _ in range(200):
        a, b = high - golden * (high - low), low + golden * (high - low)
        fa, fb = (mean(name, x, beta, turned, assumed) for x in (a, b))
        low, high = (low, b) if fa <= fb else (a, high)
    return (low + high) / 2


@pytest.mark.parametrize("values", SETTINGS)
@pytest.mark.parametrize("name", losses.MEMBERS)
def test_the_best_margin_is_the_one_that_a_search_finds(name, values):
    beta, turned, _ = values
    found, wanted = losses.MEMBERS[name].best(*values), searched(name, *values)
    if name == "hinge" and turned == 0:  # flat from 1/β on: the first of many
        assert mean("hinge", found, *values) == 0 < mean("hinge", found - 1e-6, *values)
    elif math.isinf(found):
        far = [mean(name, h / beta, *values) for h in (2.0, 4.0, 8.0, 16.0)]
        assert far == sorted(far, reverse=True)
        assert len(set(far)) == 4  # it still falls
    else:
        assert found == pytest.approx(wanted, abs=2e-5 / beta)


@pytest.mark.parametrize("values", SETTINGS)
@pytest.mark.parametrize("name", losses.MEMBERS)
def test_curves_are_the_mean_loss_and_its_slope_in_units_of_the_pull_at_0(name, values):
    margins, scaled, pulls = (x.tolist() for x in losses.curves(name, *values))
    zero, small = margins.index(0.0), 1e-6
    slope = [(mean(name, h + small, *values) - mean(name, h - small, *values)) / (2 * small) for h in margins]
    corner = [name == "hinge" and abs(abs(h) * values[0] - 1) < 1e-6 for h in margins]
    for k in (k for k in range(0, len(margins), 7) if not corner[k]):
        assert scaled[k] == pytest.approx(
            (mean(name, margins[k], *values) - mean(name, 0.0, *values)) / -slope[zero], rel=1e-5, abs=1e-5
        )
        assert pulls[k] == pytest.approx(slope[k] / slope[zero], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("values", corners(losses.controls()))
def test_the_caption_says_the_best_margin_of_each_chosen_loss(values):
    said = losses.draw(**values).get_label().replace("−", "-")
    assert said.startswith(f"β = {values['beta']:g}; {values['turned']:.0%} of the labels")
    for name in values["methods"]:
        wanted = losses.MEMBERS[name].best(values["beta"], values["turned"], values["assumed"])
        told = re.search(rf"(?:, |: ){name} (none|-?[\d.]+?)(?:,|\.$)", said)[1]
        assert told == "none" if math.isinf(wanted) else float(told) == pytest.approx(wanted, abs=0.0051)
    assert ("no loss is chosen" in said) == (not values["methods"])


def test_at_rest_dpo_has_no_best_margin_and_the_others_have_the_known_ones():
    values = {name: control.value for name, control in losses.controls().items()}
    assert values["turned"] == 0
    said = losses.draw(**values).get_label()
    assert "DPO none, IPO 1.00, hinge 2.00, cDPO 4.39." in said  # 1/2β, 1/β, log 9 / β at β = ½


def test_robust_dpo_has_the_clean_optimum_of_none_when_it_assumes_what_is_true():
    assert losses.MEMBERS["robust DPO"].best(0.5, 0.3, 0.3) == math.inf
    assert losses.MEMBERS["DPO"].best(0.5, 0.3, 0.0) == pytest.approx(math.log(7 / 3) / 0.5)


def test_buttons_and_value_of_choices_follow_each_other():
    control = choices.Choices(["c", "a"], options=("a", "b", "c"), name="letters", width=50)
    assert control.value == ("a", "c")
    seen = []
    control.observe(lambda change: seen.append(change["new"]), "value")
    control.value = ("b",)
    assert [name for name, button in control.buttons.items() if button.value] == ["b"]
    control.buttons["a"].value = True
    assert seen == [("b",), ("a", "b")]
    assert control.buttons["a"].tooltip == "letters: a"


def test_losses_are_those_of_the_library_in_every_precision():
    h = torch.tensor([-3.0, 0.0, 2.5], dtype=torch.float64)
    for name in losses.MEMBERS:
        got = losses.mean_loss(name, h, 0.4, 0.2, 0.1)
        torch.testing.assert_close(got, torch.tensor([mean(name, x, 0.4, 0.2, 0.1) for x in h.tolist()]).double())
