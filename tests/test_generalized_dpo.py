"""GPO and f-DPO: members of one f, Taylor's expansion, and the exact optima under other divergences."""

import math
from functools import partial

import pytest
import torch

from rlcore import dpo, kl
from rlcore import generalized_dpo as gpo
from rlcore.preferences import bradley_terry

FUNCTIONS = [gpo.logistic, gpo.hinge, gpo.squared, gpo.squared_hinge, gpo.exponential]
SCORES = {
    "reverse": (gpo.reverse_kl_score, kl.reverse_kl),
    "forward": (gpo.forward_kl_score, kl.forward_kl),
    "jensen_shannon": (gpo.jensen_shannon_score, kl.jensen_shannon),
    "alpha 0.3": (gpo.alpha_score(0.3), kl.alpha(0.3)),
}
REF, REWARDS = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.0, 1.0, 2.0]).double()


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def minimised(loss) -> torch.Tensor:
    """The policy of three replies whose loss(logps) is least."""
    logits = REF.log().clone().requires_grad_()
    tolerance = {"tolerance_grad": 1e-12, "tolerance_change": 1e-16}
    optimiser = torch.optim.LBFGS([logits], max_iter=500, line_search_fn="strong_wolfe", **tolerance)

    def closure():
        optimiser.zero_grad()
        value = loss(logits.log_softmax(-1))
        value.backward()
        return value

    optimiser.step(closure)
    return logits.detach().softmax(-1)


def test_one_function_of_the_margin_gives_dpo_ipo_and_the_hinge():
    h, beta = 3 * numbers(0, 9), 0.4
    torch.testing.assert_close(gpo.gpo_loss(h, beta, gpo.logistic), dpo.dpo_loss(h, beta))
    torch.testing.assert_close(gpo.gpo_loss(h, beta, gpo.hinge), dpo.hinge_loss(h, beta))
    torch.testing.assert_close(gpo.gpo_loss(h, beta, gpo.squared), beta**2 * dpo.ipo_loss(h, beta / 2))


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
def test_each_function_is_convex_and_its_gradient_is_that_of_finite_differences(f):
    a, b = 2 * numbers(0, 50), 2 * numbers(1, 50)
    assert (f((a + b) / 2) <= (f(a) + f(b)) / 2 + 1e-12).all()
    assert torch.autograd.gradcheck(lambda h: gpo.gpo_loss(h, 0.4, f), numbers(0, 6).requires_grad_())


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
def test_the_expansion_is_off_by_the_third_power_of_the_margin(f):
    """Ten times nearer, a thousand times better; a polynomial of degree two is met exactly."""
    h = torch.tensor([1.0, -0.7]).double()
    errors = [(gpo.gpo_taylor(h * s, 0.5, f) - gpo.gpo_loss(h * s, 0.5, f)).abs().max().item() for s in (1e-1, 1e-2)]
    assert errors[0] < 0.002
    assert errors[1] < errors[0] / 900 or errors[0] < 1e-15


def test_the_expansion_of_the_logistic_function_is_known():
    wanted = [math.log(2) - 0.5 + 1 / 8, math.log(2) + 1 + 4 / 8]
    assert gpo.gpo_taylor(torch.tensor([2.0, -4.0]), 0.5, gpo.logistic).tolist() == pytest.approx(wanted)


def test_near_the_reference_the_mean_squared_margin_is_four_times_the_kl():
    policy = (REF.log() + 1e-3 * numbers(0, 3)).log_softmax(-1)
    ratios = policy - REF.log()
    squares = (REF[:, None] * REF * (ratios[:, None] - ratios) ** 2).sum()
    assert (squares / kl.exact(policy, REF.log())).item() == pytest.approx(4, abs=0.01)


@pytest.mark.parametrize("name", SCORES)
def test_each_score_is_the_derivative_of_its_convex_function_up_to_a_constant(name):
    score, f = SCORES[name]
    u = torch.tensor([0.1, 0.7, 1.0, 3.0], dtype=torch.float64, requires_grad=True)
    slope = torch.autograd.grad(f(u).sum(), u)[0]
    difference = score(u.detach().log()) - slope
    torch.testing.assert_close(difference, difference[:1].expand(4))


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_with_all_pairs_seen_f_dpo_finds_the_optimum_under_that_divergence(name, beta):
    """Least f-DPO loss, and largest E[r] − β D_f: the same policy, found twice."""
    score, f = SCORES[name]
    chances = bradley_terry(REWARDS[:, None].expand(3, 3), REWARDS.expand(3, 3))
    i, j = (~torch.eye(3, dtype=torch.bool)).nonzero().T

    def loss(logps):
        ratios = logps - REF.log()
        return (chances[i, j] * gpo.f_dpo_loss(ratios[i], ratios[j], beta, score)).sum()

    def penalised(logps):
        return beta * kl.f_divergence(logps, REF.log(), f) - logps.exp() @ REWARDS

    torch.testing.assert_close(minimised(loss), minimised(penalised), atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", SCORES)
def test_gradients_of_f_dpo_are_those_of_finite_differences(name):
    pair = numbers(0, 5).requires_grad_(), numbers(1, 5).requires_grad_()
    assert torch.autograd.gradcheck(partial(gpo.f_dpo_loss, beta=0.3, score=SCORES[name][0]), pair)


def test_with_the_reverse_kl_f_dpo_is_dpo_and_the_ends_of_alpha_are_the_two_kls():
    chosen, rejected = numbers(0, 5), numbers(1, 5)

    def loss(score):
        return gpo.f_dpo_loss(chosen, rejected, 0.3, score)

    torch.testing.assert_close(loss(gpo.reverse_kl_score), dpo.dpo_loss(chosen - rejected, 0.3))
    torch.testing.assert_close(loss(gpo.alpha_score(1e-7)), loss(gpo.reverse_kl_score), atol=1e-6, rtol=0)
    torch.testing.assert_close(loss(gpo.alpha_score(1 - 1e-7)), loss(gpo.forward_kl_score), atol=1e-6, rtol=0)


def test_the_known_values_of_one_pair():
    pair = torch.tensor([1.0]), torch.tensor([-1.0])
    for score, wanted in ((gpo.forward_kl_score, 0.582517), (gpo.jensen_shannon_score, 0.644397)):
        assert gpo.f_dpo_loss(*pair, 0.1, score).item() == pytest.approx(wanted, abs=1e-6)


one = torch.ones(1)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: gpo.gpo_loss(one, 0.0, gpo.logistic), "beta is 0"),
        (lambda: gpo.gpo_loss(one * math.nan, 0.1, gpo.logistic), "margin holds nan"),
        (lambda: gpo.gpo_loss(torch.ones(1, 1), 0.1, gpo.logistic), r"margin has shape \[1, 1\]"),
        (lambda: gpo.gpo_loss(one, 0.1, lambda x: (1 + x) ** 2), "f has slope 2 at 0, expected below 0"),
        (lambda: gpo.gpo_taylor(one, -1.0, gpo.logistic), "beta is -1"),
        (lambda: gpo.f_dpo_loss(one, torch.ones(2), 0.1, gpo.reverse_kl_score), r"rejected_log_ratios has shape \[2\]"),
        (lambda: gpo.f_dpo_loss(one * math.nan, one, 0.1, gpo.reverse_kl_score), "chosen_log_ratios holds nan"),
        (lambda: gpo.f_dpo_loss(one, one, 0.0, gpo.reverse_kl_score), "beta is 0"),
        (lambda: gpo.f_dpo_loss(one, -100 * one, 0.1, gpo.forward_kl_score), "score of rejected_log_ratios holds -inf"),
        (lambda: gpo.alpha_score(0.0), "alpha is 0.0, expected inside"),
        (lambda: gpo.alpha_score(1.5), "alpha is 1.5, expected a number in"),
    ],
)
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
