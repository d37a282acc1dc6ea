"""The numbers that chapter 05's explorers say: the six cases by pencil, steps and rings by plain arithmetic."""

import math
import re

import numpy as np
import pytest
import torch

from rlcore.view.explore import clip, corners, simplex


def numbers(text):
    return [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", text.replace("−", "-"))]


def rest(module):
    return {name: control.value for name, control in module.controls().items()}


# --- clipping ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("advantage", "ratio", "objective", "slope", "counts"),
    [
        (1.0, 0.7, 0.7, 1.0, "the unclipped term ρ A counts"),
        (1.0, 1.0, 1.0, 1.0, "both terms are the same"),
        (1.0, 1.3, 1.2, 0.0, "the clipped term counts"),
        (-1.0, 0.7, -0.8, 0.0, "the clipped term counts"),
        (-1.0, 1.0, -1.0, -1.0, "both terms are the same"),
        (-1.0, 1.3, -1.3, -1.0, "the unclipped term ρ A counts"),
    ],
)
def test_the_caption_names_the_branch_and_the_numbers_of_the_six_cases(advantage, ratio, objective, slope, counts):
    caption = clip.draw(advantage, ratio, eps_clip=0.2).get_label()
    assert numbers(caption) == [advantage, ratio, 0.8, 1.2, objective, slope]
    assert counts in caption
    assert ("gradient is alive" in caption) == (slope != 0)


@pytest.mark.parametrize("advantage", [1.0, -1.0])
@pytest.mark.parametrize("eps_clip", [0.05, 0.5])
def test_the_curve_is_the_minimum_of_both_lines_and_its_slope_a_difference(advantage, eps_clip):
    objective, slope = clip.values(clip.RATIOS, advantage, eps_clip)
    ratios = clip.RATIOS.numpy()
    wanted = np.minimum(ratios * advantage, np.clip(ratios, 1 - eps_clip, 1 + eps_clip) * advantage)
    np.testing.assert_allclose(objective.numpy(), wanted, atol=1e-12)
    away = (np.abs(ratios - 1 - eps_clip) > 0.02) & (np.abs(ratios - 1 + eps_clip) > 0.02)
    np.testing.assert_allclose(slope.numpy()[away], np.gradient(wanted, ratios)[away], atol=1e-9)


def test_at_rest_a_ratio_far_outside_still_has_its_gradient():
    values = rest(clip)
    assert not 1 - values["eps_clip"] <= values["ratio"] <= 1 + values["eps_clip"]
    assert "the gradient is alive" in clip.draw(**values).get_label()


# --- the simplex ---------------------------------------------------------------------------------------------------


def plain_kl(old, new):
    return sum(a * math.log(a / b) for a, b in zip(old, new, strict=True))


def softmax(logits):
    powers = [math.exp(x) for x in logits]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("values", [rest(simplex), *corners(simplex.controls())])
def test_steps_are_those_of_plain_arithmetic(values):
    skew, max_kl, lr = values["skew"], values["max_kl"], values["lr"]
    old = softmax([skew, 0.0, -skew])
    mean = old[1] * 0.5 + old[2]
    advantages = [-mean, 0.5 - mean, 1 - mean]
    spread = sum(p * a * a for p, a in zip(old, advantages, strict=True))  # Var A = gᵀ F⁺ g
    eta = math.sqrt(2 * max_kl / spread)
    natural = softmax([math.log(p) + eta * a for p, a in zip(old, advantages, strict=True)])  # multiplicative weights
    plain = softmax([math.log(p) + lr * p * a for p, a in zip(old, advantages, strict=True)])
    found = simplex.steps(**values)
    assert found.natural.tolist() == pytest.approx(natural, abs=1e-9)
    assert found.plain.tolist() == pytest.approx(plain, abs=1e-12)
    assert found.kl("natural") == pytest.approx(plain_kl(old, natural), abs=1e-12)


def test_ppo_stops_where_every_arm_is_clipped_or_goes_on():
    found = simplex.steps(skew=1.0, max_kl=0.05, lr=6.0)
    ratios = found.clipped / found.old
    advantages = simplex.REWARDS - found.old @ simplex.REWARDS
    assert torch.equal(found.path[-1], found.path[-2])  # nothing pulls any more
    assert (torch.where(advantages > 0, ratios - 1.2, 0.8 - ratios) > 0).all()


@pytest.mark.parametrize("level", [0.005, 0.1, 1.0])
def test_a_ring_has_its_kl_all_around_and_lies_inside_the_triangle(level):
    old = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    ring = simplex.ring(old, level)
    assert all(plain_kl(old.tolist(), point) == pytest.approx(level, rel=1e-4) for point in ring.tolist())
    assert (ring > 0).all()
    assert torch.allclose(ring.sum(-1), torch.ones(len(ring), dtype=torch.float64))


def test_nothing_on_a_fine_grid_earns_more_than_the_frontier():
    old = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    spent, earned = (line.numpy() for line in simplex.frontier(old))
    for a in np.linspace(0.01, 0.98, 40):
        for b in np.linspace(0.01, 0.98, 40):
            if a + b < 0.995:
                point = [a, b, 1 - a - b]
                kl = plain_kl(old.tolist(), point)
                reward = b * 0.5 + point[2]
                if reward > 0.2 and kl < spent.max():
                    assert reward <= np.interp(kl, spent, earned) + 1e-3


def test_the_caption_says_the_steps_numbers_and_the_natural_step_earns_more_for_its_kl():
    values = rest(simplex)
    found, caption = simplex.steps(**values), simplex.draw(**values).get_label()
    said = numbers(caption)
    wanted = [*found.old.tolist(), values["skew"], found.reward("old"), values["max_kl"], values["lr"]]
    assert said[:7] == pytest.approx(wanted, abs=0.0051)
    for name in ("plain", "natural", "clipped"):
        assert f"KL {found.kl(name):.4f}, reward {found.reward(name):.3f}" in caption
    assert simplex.share(found, "natural") > simplex.share(found, "plain") + 0.1


def test_the_frontier_reaches_nearly_all_reward():
    _, earned = simplex.frontier(torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64))
    assert earned.max() > 0.99


@pytest.mark.parametrize(("end", "step"), [(0.013, 0.005), (0.08, 0.02), (0.31, 0.1), (1.7, 0.5), (2.0, 1.0)])
def test_ticks_are_round_and_few(end, step):
    places = list(simplex._round(end))
    assert np.diff(places) == pytest.approx(step)
    assert len(places) <= 5
    assert places[-1] <= end
