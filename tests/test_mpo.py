"""V-MPO's weights, temperature, likelihood and multiplier against enumeration, search, and a KL computed apart."""

import math

import pytest
import torch

from rlcore import mpo as m

ADVANTAGES = torch.tensor([0.4, -1.3, 2.1, 0.9, -0.2, 1.7, -2.5], dtype=torch.float64)  # the better three: 2, 5, 3
nan = float("nan")


def close(a, b, atol=1e-9):
    return torch.allclose(a, torch.as_tensor(b, dtype=a.dtype), rtol=0, atol=atol)


def scalar(x):
    return torch.tensor(x, dtype=torch.float64, requires_grad=True)


def kl_from_even(temperature):
    """KL of the weights from even weights on the better three, number by number."""
    powers = [math.exp(a / temperature) for a in (2.1, 1.7, 0.9)]
    shares = [power / sum(powers) for power in powers]
    return sum(share * math.log(3 * share) for share in shares)


def test_weights_are_a_softmax_of_the_better_half_number_by_number():
    powers = [math.exp(a / 0.7) for a in (2.1, 0.9, 1.7)]
    wanted = torch.zeros(7)
    wanted[[2, 3, 5]] = torch.tensor(powers) / sum(powers)
    assert close(m.e_step(ADVANTAGES, 0.7), wanted, atol=1e-7)


def test_adding_a_constant_to_all_advantages_changes_no_weight():
    assert close(m.e_step(ADVANTAGES + 50, 0.7), m.e_step(ADVANTAGES, 0.7))


@pytest.mark.parametrize(("temperature", "third"), [(1e-4, 0.0), (1e7, 1 / 3)])
def test_a_cold_temperature_takes_the_best_alone_and_a_hot_one_weighs_the_half_evenly(temperature, third):
    weights = m.e_step(ADVANTAGES, temperature)
    assert close(weights[[3, 5, 2]], [third, third, 1 - 2 * third], atol=1e-6)
    assert close(weights[[0, 1, 4, 6]], torch.zeros(4))


def test_huge_advantages_give_finite_weights_and_a_finite_loss():
    huge = torch.tensor([1e5, -1e5, 0.0, 9e4])
    assert close(m.e_step(huge, 0.1), [1.0, 0.0, 0.0, 0.0])
    assert torch.isfinite(m.temperature_loss(torch.tensor(0.1), huge, 0.1))


def test_the_weights_have_the_gradient_of_their_value():
    assert torch.autograd.gradcheck(m.e_step, (ADVANTAGES.clone().requires_grad_(), scalar(0.7)))


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_is_pulled_by_limit_minus_kl(temperature):
    eta = scalar(temperature)
    m.temperature_loss(eta, ADVANTAGES, 0.1).backward()
    assert close(eta.grad, 0.1 - kl_from_even(temperature))


def test_where_the_temperatures_loss_is_least_the_weights_use_up_their_kl():
    grid = torch.linspace(0.2, 5.0, 4801, dtype=torch.float64)
    losses = torch.stack([m.temperature_loss(eta, ADVANTAGES, 0.1) for eta in grid])
    best = grid[losses.argmin()].item()
    assert abs(kl_from_even(best) - 0.1) < 1e-3
    assert (losses.diff().diff() > -1e-12).all()  # convex


def test_the_least_loss_is_what_the_best_weights_within_the_kl_earn():
    """Duality, by random search: no weights within the limit earn more, and some earn nearly as much."""
    grid = torch.linspace(0.2, 5.0, 4801, dtype=torch.float64)
    least = min(m.temperature_loss(eta, ADVANTAGES, 0.1).item() for eta in grid)
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(20_000, 3, dtype=torch.float64, generator=generator)
    weights = weights / weights.sum(-1, keepdim=True)
    fits = (weights * (3 * weights).log()).sum(-1) <= 0.1
    earned = (weights @ torch.tensor([2.1, 1.7, 0.9], dtype=torch.float64))[fits].max()
    assert least - 0.01 < earned <= least + 1e-9


def test_with_the_weights_of_the_e_step_the_m_step_climbs_the_better_half_alone():
    logits = torch.zeros(7, dtype=torch.float64, requires_grad=True)
    m.m_step_loss(logits.log_softmax(-1), m.e_step(ADVANTAGES, 0.7)).sum().backward()
    assert close(-logits.grad, m.e_step(ADVANTAGES, 0.7) - 1 / 7)  # Σ ψ (1[b = i] − π_b) = ψ_b − π_b


def test_the_policy_pays_the_price_and_the_price_follows_the_kl():
    kl, multiplier = scalar(0.03), scalar(2.0)
    m.trust_region_loss(kl, multiplier, 0.01).backward()
    assert close(kl.grad, 2.0)
    assert close(multiplier.grad, 0.01 - 0.03)  # descent raises it while KL is above the limit


def test_repeated_e_and_m_steps_reach_the_best_arm_of_a_bandit():
    """Exact expectation: 1,000 samples in proportion to the policy, and the M-step solved by counting weights."""
    policy, rewards = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), torch.tensor([0.0, 1.0, 2.0])
    for _ in range(12):
        arms = torch.repeat_interleave(torch.arange(3), (1000 * policy).round().long())
        weights = m.e_step(rewards[arms].double() - policy @ rewards.double(), temperature=1.0)
        fitted = torch.zeros(3, dtype=torch.float64).index_add(0, arms, weights)
        policy = 0.7 * policy + 0.3 * fitted
    assert policy[2] > 0.98


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: m.top_half(torch.tensor([1.0])), "advantages has 1 samples, expected at least 2"),
        (lambda: m.top_half(torch.zeros(2, 2)), r"advantages has shape \[2, 2\], expected \[N\]"),
        (lambda: m.e_step(torch.tensor([1.0, nan]), 1.0), r"advantages holds nan at index \[1\]"),
        (lambda: m.e_step(ADVANTAGES, 0.0), "temperature is 0, expected a finite number above 0"),
        (lambda: m.temperature_loss(torch.ones(1), ADVANTAGES, 0.1), r"temperature has shape \[1\], expected \[\]"),
        (lambda: m.temperature_loss(torch.tensor(1.0), ADVANTAGES, -0.1), "eps_eta is -0.1, expected a finite"),
        (
            lambda: m.temperature_loss(torch.tensor(-1.0), ADVANTAGES, 0.1),
            "temperature is -1, expected a finite",
        ),
        (lambda: m.m_step_loss(torch.zeros(3), torch.zeros(2)), r"weights has shape \[2\], expected \[3\]"),
        (lambda: m.trust_region_loss(torch.zeros(3), torch.ones(3), 0.1), r"multiplier has shape \[3\], expected \[\]"),
        (lambda: m.trust_region_loss(torch.zeros(3), torch.tensor(0.0), 0.1), "multiplier is 0, expected a finite"),
        (lambda: m.trust_region_loss(torch.zeros(3), torch.tensor(1.0), 0.0), "max_kl is 0, expected a finite number"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
