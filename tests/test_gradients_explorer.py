"""The cloud's exact numbers against every reply, every pair of replies, sampling, and the world's own gradient."""

import itertools
import math
import re

import pytest
import torch

from rlcore.policy_gradient import leave_one_out
from rlcore.view import explore
from rlcore.view.explore import gradients
from rlcore.worlds.phrases import Phrases

CHOICES = [(baseline, to_go) for baseline in gradients.NAMES for to_go in (False, True)]
each = pytest.mark.parametrize(("baseline", "to_go"), CHOICES)


REPLIES = torch.arange(0, 781, 13)


def backpropagated(weigh):
    """[61, D] some replies' estimates by autograd; weigh: (number of the reply) ↦ the weight of each of its tokens."""
    world, rows = Phrases(), []
    logits = world.reference_logits()[gradients.PROMPT].requires_grad_()
    logps = logits.log_softmax(-1)
    for reply in REPLIES.tolist():
        steps = int(world.mask[reply].sum())
        chosen = logps[world.states[reply, :steps], world.tokens[reply, :steps]]
        rows.append(torch.autograd.grad(chosen @ weigh(reply)[:steps], logits, retain_graph=True)[0].flatten())
    return torch.stack(rows)


def rewards_of_prefixes(reply):
    """Reward of what has been said before each token."""
    world = Phrases()
    words = [word for word in world.responses[reply].split() if word != "(silence)"]
    before = [world.index(" ".join(words[:count])) for count in range(4) if count <= len(words)]
    earned = world.reward[gradients.PROMPT, before]
    return torch.cat([earned, earned.new_zeros(4 - len(before))])


def test_the_parts_are_what_autograd_gives_for_every_reply():
    parts, reward = gradients.contributions(), Phrases().reward[gradients.PROMPT]
    ones = torch.ones(4, dtype=torch.float64)
    whole = backpropagated(lambda reply: reward[reply] * ones)
    to_go = backpropagated(lambda reply: reward[reply] - rewards_of_prefixes(reply))
    five_less = backpropagated(lambda reply: (reward[reply] - 5) * ones)
    assert torch.allclose(gradients.single("five", False)[REPLIES], five_less, atol=1e-12)
    assert torch.allclose(parts.score[REPLIES], backpropagated(lambda reply: ones), atol=1e-12)
    assert torch.allclose(parts.reward[0][REPLIES], whole, atol=1e-12)
    assert torch.allclose(parts.reward[1][REPLIES], to_go, atol=1e-12)


def test_the_arrow_is_the_worlds_exact_gradient():
    world, parts = Phrases(), gradients.contributions()
    exact = 3 * world.exact_gradient(world.reference_logits())[gradients.PROMPT].flatten()
    assert torch.allclose(parts.gradient, exact, atol=1e-12)
    assert torch.allclose(parts.gradient @ parts.directions, torch.tensor([exact.norm(), 0.0]).double(), atol=1e-12)
    assert torch.allclose(parts.directions.T @ parts.directions, torch.eye(2).double(), atol=1e-12)


@pytest.mark.parametrize(("baseline", "to_go"), [choice for choice in CHOICES if choice[0] != "others"])
def test_no_baseline_moves_the_mean(baseline, to_go):
    parts = gradients.contributions()
    assert torch.allclose(parts.chance @ gradients.single(baseline, to_go), parts.gradient, atol=1e-12)


def test_the_second_direction_is_where_plain_estimates_scatter_most_besides_the_gradient():
    parts = gradients.contributions()
    plain, along, across = parts.reward[0] - parts.gradient, *parts.directions.T
    rest = (plain - (plain @ along)[:, None] * along) * parts.chance[:, None].sqrt()
    largest = torch.linalg.svdvals(rest)[0].square()
    assert parts.chance @ (plain @ across).square() == pytest.approx(largest.item(), rel=1e-9)


def test_among_directions_as_wide_the_second_one_has_the_first_reply_at_its_farthest():
    parts = gradients.contributions()
    along, across = parts.directions.T
    rest = (parts.reward[0] - parts.gradient) * parts.chance[:, None].sqrt()
    rest = rest - (rest @ along)[:, None] * along
    widest = torch.linalg.svd(rest, full_matrices=False).Vh[:2]  # both of the same size, see the next line
    assert torch.linalg.svdvals(rest)[:3].round(decimals=6).unique().numel() == 2
    assert rest[1] @ across == pytest.approx((widest @ rest[1]).norm().item(), rel=1e-6)


@pytest.mark.parametrize("to_go", [False, True])
def test_of_two_replies_left_out_the_variance_is_that_over_every_pair(to_go):
    parts = gradients.contributions()
    reward, score = (part @ parts.directions for part in (parts.reward[int(to_go)], parts.score))
    joint = parts.chance[:, None] * parts.chance
    one = reward[:, None] - parts.rewards[None, :, None] * score[:, None]  # of reply i, the other being j
    pairs = (one + one.transpose(0, 1)) / 2
    mean = torch.einsum("ij,ijd->d", joint, pairs)
    covariance = torch.einsum("ij,ijd,ije->de", joint, pairs - mean, pairs - mean)
    assert torch.allclose(mean, parts.gradient @ parts.directions, atol=1e-12)
    assert torch.allclose(gradients.spread(2, "others", to_go)[0], covariance, atol=1e-12)


def test_of_two_replies_the_total_variance_left_out_is_that_over_every_pair():
    parts = gradients.contributions()
    pairs = leave_one_out(torch.cartesian_prod(parts.rewards, parts.rewards)).view(781, 781, 2)
    gram = parts.score @ parts.score.T
    squares = pairs[..., 0] ** 2 * gram.diag()[:, None] + pairs[..., 1] ** 2 * gram.diag()
    squares = (squares + 2 * pairs[..., 0] * pairs[..., 1] * gram) / 4
    total = (parts.chance[:, None] * parts.chance * squares).sum() - parts.gradient.square().sum()
    assert gradients.spread(2, "others", False)[1] == pytest.approx(total.item(), abs=1e-12)


@each
def test_dots_scatter_as_the_ellipse_says(baseline, to_go):
    dots = torch.cat([gradients.cloud(4, baseline, to_go, sample) for sample in range(40)])
    covariance = gradients.spread(4, baseline, to_go)[0]
    error = (covariance.diag() / len(dots)).sqrt()
    exact = gradients.contributions().gradient @ gradients.contributions().directions
    assert ((dots.mean(0) - exact).abs() < 4 * error).all()
    assert torch.allclose(dots.T.cov().diag(), covariance.diag(), rtol=0.06)


@each
def test_a_batch_twice_as_large_halves_the_variance_or_better(baseline, to_go):
    totals = [gradients.spread(batch, baseline, to_go)[1] for batch in (2, 4, 8, 16)]
    halves = [after / before for before, after in itertools.pairwise(totals)]
    assert all(half < 0.5 - 1e-6 if baseline == "others" else half == pytest.approx(0.5) for half in halves)


def test_with_a_state_value_rewards_to_go_change_nothing():
    assert torch.allclose(gradients.single("value", True), gradients.single("value", False), atol=1e-12)


def test_a_large_group_left_out_is_as_good_as_the_prompts_own_value():
    parts = gradients.contributions()
    each_reply = parts.reward[0] - (parts.chance @ parts.rewards) * parts.score
    exact = (parts.chance @ each_reply.square().sum(-1) - parts.gradient.square().sum()).item()
    assert 100_000 * gradients.spread(100_000, "others", False)[1] == pytest.approx(exact, rel=1e-4)


def test_the_ellipse_holds_95_percent_of_a_normal_cloud():
    cloud = torch.randn(200_000, 2, generator=torch.Generator().manual_seed(0))
    assert (cloud.norm(dim=-1) < gradients.REACH).double().mean() == pytest.approx(0.95, abs=0.003)
    assert pytest.approx(math.sqrt(-2 * math.log(0.05)), abs=1e-3) == gradients.REACH


def test_the_caption_counts_the_dots_and_tells_the_exact_variance():
    text = gradients.draw(batch=2, baseline="five", to_go=False, sample=3).get_label()
    said = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]
    dots = gradients.cloud(2, "five", False, 3)
    plain, five = (gradients.spread(2, baseline, False)[1] for baseline in ("none", "five"))
    uphill = 100 * (dots[:, 0] > 0).double().mean().item()
    length = gradients.contributions().gradient.norm().item()
    wanted = [400, 2, 5, 3, round(uphill), round(length, 3), round(five, 4), round(five / plain, 2)]
    assert said == pytest.approx(wanted, abs=1e-9)


def test_at_rest_the_cloud_is_wider_than_the_gradient_is_long():
    rest = {name: control.value for name, control in gradients.controls().items()}
    total = gradients.spread(rest["batch"], rest["baseline"], rest["to_go"])[1]
    assert total**0.5 > 2 * gradients.contributions().gradient.norm()
    assert explore.ends(gradients.controls()["batch"]) == [2**k for k in range(1, 9)]
