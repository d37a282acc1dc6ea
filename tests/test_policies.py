"""Softmax and Gaussian policies against torch.distributions, autograd, enumeration and numerical integration."""

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, Normal, kl_divergence

from rlcore import policies as m

LOGITS = torch.randn(4, 2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
ACTION = torch.randint(5, (4, 2), generator=torch.Generator().manual_seed(1))
MEAN, LOG_STD, POINT = torch.randn(3, 4, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
O8 = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
nan, inf = float("nan"), float("inf")


def close(a, b, atol=1e-12):
    return torch.allclose(a, torch.as_tensor(b, dtype=a.dtype), rtol=0, atol=atol)


def normal(mean, log_std):
    return Independent(Normal(mean, log_std.exp()), 1)


# --- against torch.distributions and autograd ----------------------------------------------------------------------


def test_log_probability_and_entropy_are_those_of_torch_distributions():
    assert close(m.softmax_logp(LOGITS, ACTION), Categorical(logits=LOGITS).log_prob(ACTION))
    assert close(m.softmax_entropy(LOGITS), Categorical(logits=LOGITS).entropy())
    assert close(m.gaussian_logp(MEAN, LOG_STD, POINT), normal(MEAN, LOG_STD).log_prob(POINT))
    assert close(m.gaussian_entropy(LOG_STD), normal(MEAN, LOG_STD).entropy())


def test_the_softmax_score_is_the_gradient_of_the_log_probability():
    logits = LOGITS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(Categorical(logits=logits).log_prob(ACTION).sum(), logits)
    assert close(m.softmax_score(LOGITS, ACTION), gradient)


def test_the_gaussian_score_is_the_gradient_of_the_log_probability():
    mean, log_std = MEAN.clone().requires_grad_(), LOG_STD.clone().requires_grad_()
    gradients = torch.autograd.grad(normal(mean, log_std).log_prob(POINT).sum(), (mean, log_std))
    assert close(m.gaussian_score(MEAN, LOG_STD, POINT), torch.cat(gradients, -1), atol=1e-10)


def test_a_shared_log_std_is_the_same_one_everywhere():
    shared = LOG_STD[0, 0]
    assert close(m.gaussian_logp(MEAN, shared, POINT), normal(MEAN, shared).log_prob(POINT))
    alone = m.gaussian_score(MEAN, shared.expand_as(MEAN), POINT)
    assert close(m.gaussian_score(MEAN, shared, POINT), alone)


def test_every_function_has_the_gradient_of_its_value():
    logits, mean, log_std = (x[:2, 0].clone().requires_grad_() for x in (LOGITS, MEAN, LOG_STD))
    for function, args in (
        (lambda x: m.softmax_logp(x, ACTION[:2, 0]), (logits,)),
        (lambda x: m.softmax_score(x, ACTION[:2, 0]), (logits,)),
        (m.softmax_entropy, (logits,)),
        (m.softmax_fisher, (logits,)),
        (lambda mu, s: m.gaussian_logp(mu, s, POINT[:2, 0]), (mean, log_std)),
        (lambda mu, s: m.gaussian_score(mu, s, POINT[:2, 0]), (mean, log_std)),
        (m.gaussian_entropy, (log_std,)),
        (m.gaussian_fisher, (log_std,)),
    ):
        assert torch.autograd.gradcheck(function, args)


# --- Fisher information --------------------------------------------------------------------------------------------


def test_the_softmax_fisher_is_the_mean_outer_product_of_the_score():
    every = torch.arange(5).expand(4, 2, 5)
    scores = m.softmax_score(LOGITS[..., None, :].expand(4, 2, 5, 5), every)  # [..., action, logit]
    weighted = torch.einsum("...a,...ai,...aj->...ij", LOGITS.softmax(-1), scores, scores)
    assert close(m.softmax_fisher(LOGITS), weighted)


def test_the_softmax_fisher_is_the_curvature_of_the_kl():
    logits = LOGITS[0, 0]
    old = Categorical(logits=logits)
    curvature = torch.autograd.functional.hessian(lambda x: kl_divergence(old, Categorical(logits=x)), logits)
    assert close(m.softmax_fisher(logits), curvature)


def test_the_softmax_fisher_of_the_bandit_has_the_known_eigenvalues():
    fisher = m.softmax_fisher(O8.log())
    assert close(torch.linalg.eigvalsh(fisher), [0, 0.231898, 0.388102], atol=1e-6)
    assert close(fisher @ torch.ones(3, dtype=torch.float64), torch.zeros(3))


def test_the_fisher_of_a_bernoulli_logit_is_p_times_1_minus_p():
    for p in (0.1, 0.5, 0.982):
        fisher = m.softmax_fisher(torch.tensor([math.log(p / (1 - p)), 0.0], dtype=torch.float64))
        assert close(fisher[0, 0], p * (1 - p))


def test_the_gaussian_fisher_is_the_mean_outer_product_of_the_score():
    mean, log_std = torch.tensor([[0.3, -1.0], [-0.7, 0.4]], dtype=torch.float64)
    grid = torch.linspace(-12, 12, 401, dtype=torch.float64)
    action = mean + log_std.exp() * torch.cartesian_prod(grid, grid)  # ±12 σ around the mean
    density = m.gaussian_logp(mean.expand_as(action), log_std, action).exp()
    weights = density * log_std.exp().prod() * (grid[1] - grid[0]) ** 2
    scores = m.gaussian_score(mean.expand_as(action), log_std, action)
    assert close(weights.sum(), 1.0)
    assert close(weights @ scores, torch.zeros(4))
    assert close(torch.einsum("n,ni,nj->ij", weights, scores, scores), m.gaussian_fisher(log_std))


def test_the_gaussian_fisher_is_the_curvature_of_the_kl():
    mean, log_std = MEAN[0, 0], LOG_STD[0, 0]
    old = normal(mean, log_std)

    def kl(parameters):
        return kl_divergence(old, normal(*parameters.chunk(2)))

    curvature = torch.autograd.functional.hessian(kl, torch.cat([mean, log_std]))
    assert close(m.gaussian_fisher(log_std), curvature)


def test_with_sigma_itself_as_parameter_the_fisher_is_2_over_variance():
    log_std = torch.tensor([math.log(3.0)], dtype=torch.float64)
    change = torch.diag(torch.tensor([1.0, 1 / 3], dtype=torch.float64))  # ∂ log σ / ∂ σ = 1/σ
    assert close(
        change @ m.gaussian_fisher(log_std) @ change, torch.diag(torch.tensor([1 / 9, 2 / 9], dtype=torch.float64))
    )


@pytest.mark.parametrize(("std", "kl"), [(1.0, 0.005), (0.01, 50.0)])
def test_the_same_shift_of_the_mean_is_little_or_much_by_sigma(std, kl):
    log_std = torch.tensor([std], dtype=torch.float64).log()
    step = torch.tensor([0.1, 0.0], dtype=torch.float64)
    assert close(step @ m.gaussian_fisher(log_std) @ step / 2, kl, atol=1e-9)


# --- shape of things -----------------------------------------------------------------------------------------------


def test_the_score_is_zero_on_average():
    every = m.softmax_score(O8.log().expand(3, 3), torch.arange(3))
    assert close(O8 @ every, torch.zeros(3))


def test_the_score_of_a_gaussian_grows_as_it_narrows():
    lengths = [
        m.gaussian_score(torch.zeros(1), torch.tensor([std]).log(), torch.tensor([std]))[0].item()
        for std in (1.0, 0.1, 0.01)  # one standard deviation away each time
    ]
    assert lengths == pytest.approx([1, 10, 100], rel=1e-4)


@pytest.mark.parametrize("scale", [1.0, 0.5, 4.0])
def test_reward_plus_entropy_is_greatest_at_the_softmax_of_the_reward(scale):
    rewards = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    logits = (rewards / scale).requires_grad_()
    objective = logits.softmax(-1) @ rewards + scale * m.softmax_entropy(logits)
    (gradient,) = torch.autograd.grad(objective, logits)
    assert close(gradient, torch.zeros(3))
    if scale == 1:
        assert close(logits.softmax(-1), [0.0900, 0.2447, 0.6652], atol=1e-4)
        assert close(m.softmax_entropy(logits), 0.8324, atol=1e-4)


def test_very_sure_policies_stay_finite_in_float32():
    logits, action = torch.tensor([1e4, 0.0]).requires_grad_(), torch.tensor(1)
    assert m.softmax_logp(logits, action).item() == -1e4
    (gradient,) = torch.autograd.grad(m.softmax_logp(logits, action) + m.softmax_entropy(logits), logits)
    assert torch.equal(gradient, torch.tensor([-1.0, 1.0]))
    assert torch.equal(m.softmax_fisher(logits), torch.zeros(2, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_given_is_the_dtype_returned(dtype):
    logits, mean, log_std, point = (x.to(dtype) for x in (LOGITS, MEAN, LOG_STD, POINT))
    results = [m.softmax_logp(logits, ACTION), m.softmax_score(logits, ACTION), m.softmax_entropy(logits)]
    results += [m.softmax_fisher(logits), m.gaussian_logp(mean, log_std, point), m.gaussian_entropy(log_std)]
    results += [m.gaussian_score(mean, log_std, point), m.gaussian_fisher(log_std)]
    assert {result.dtype for result in results} == {dtype}
    assert [list(r.shape[:2]) for r in results] == [[4, 2]] * 8


# --- bad input -----------------------------------------------------------------------------------------------------

L, A, ONE = torch.zeros(2, 3), torch.tensor([0, 1]), torch.zeros(2, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: m.softmax_logp(L, torch.tensor([0])), r"action has shape \[1\], expected \[2\]"),
        (lambda: m.softmax_score(L, torch.tensor(0)), r"action has shape \[\], expected \[2\]"),
        (lambda: m.softmax_score(L, torch.tensor([0, 3])), "action is 3, expected a number from 0 to 2"),
        (lambda: m.softmax_logp(L, torch.tensor([-1, 0])), "action is -1, expected a number from 0 to 2"),
        (lambda: m.softmax_logp(L, A.float()), r"action has dtype torch.float32, expected whole numbers"),
        (lambda: m.softmax_logp(L, A.bool()), r"action has dtype torch.bool, expected whole numbers"),
        (lambda: m.softmax_logp(L * nan, A), r"logits holds nan at index \[0, 0\]"),
        (lambda: m.softmax_entropy(L - inf), "logits holds -inf"),
        (lambda: m.softmax_fisher(torch.tensor(1.0)), r"logits has shape \[\], expected \[\.\.\., A\]"),
        (lambda: m.softmax_fisher([0.0]), "logits is list, expected a tensor"),
        (lambda: m.gaussian_logp(ONE, ONE, torch.zeros(2)), r"action has shape \[2\], expected \[2, 1\]"),
        (lambda: m.gaussian_score(ONE, torch.zeros(2), ONE), r"log_std has shape \[2\], expected \[1\]"),
        (lambda: m.gaussian_score(ONE, torch.zeros(3, 1), ONE), r"log_std has shape \[3, 1\], expected \[2, 1\]"),
        (lambda: m.gaussian_logp(ONE, ONE - inf, ONE), "log_std holds -inf"),
        (lambda: m.gaussian_logp(ONE, ONE, ONE * nan), "action holds nan"),
        (lambda: m.gaussian_score(ONE * nan, ONE, ONE), "mean holds nan"),
        (lambda: m.gaussian_entropy(ONE * nan), "log_std holds nan"),
        (lambda: m.gaussian_fisher(torch.tensor(0.0)), r"log_std has shape \[\], expected \[\.\.\., D\]"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
