"""Ratios, clipping and natural steps against pencil, enumeration, dense linear algebra and finite differences."""

import math

import pytest
import torch

from rlcore import mdp as bellman
from rlcore import policies
from rlcore import trust_region as m

POLICY = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
GRADIENT = torch.tensor([-0.35, 0.09, 0.26], dtype=torch.float64)  # of J = Σ π r, rewards (0, 1, 2)
REWARDS = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
FISHER = policies.softmax_fisher(POLICY.log())
nan, inf = float("nan"), float("inf")


def close(a, b, atol=1e-12):
    return torch.allclose(a, torch.as_tensor(b, dtype=a.dtype), rtol=0, atol=atol)


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def kl(old, logits):
    """KL(old‖policy) of softmax policies over the last axis."""
    return (old.softmax(-1) * (old.log_softmax(-1) - logits.log_softmax(-1))).sum(-1)


# --- the ratio -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weigh", "mean", "variance"),
    [(m.ratio, 0.5, 2.25), (lambda new, old: m.truncated_ratio(new, old, limit=2.0), 0.2, 0.36)],
    ids=["full", "truncated"],
)
def test_importance_sampling_trades_bias_for_variance(weigh, mean, variance):
    behaviour = torch.tensor([0.9, 0.1], dtype=torch.float64)
    weighted = weigh(torch.full_like(behaviour, 0.5).log(), behaviour.log()) * torch.tensor([0.0, 1.0])
    assert close(behaviour @ weighted, mean)
    assert close(behaviour @ weighted**2 - (behaviour @ weighted) ** 2, variance)


def test_the_mean_ratio_under_the_old_policy_is_1():
    old, new = random(4, 6).log_softmax(-1), random(4, 6, seed=1).log_softmax(-1)
    assert close((old.exp() * m.ratio(new, old)).sum(-1), torch.ones(4))


def test_a_truncated_ratio_has_no_gradient_where_it_is_cut():
    logps = torch.tensor([math.log(0.7), math.log(1.3), 1000.0], requires_grad=True)  # exp(1000) overflows
    m.truncated_ratio(logps, torch.zeros(3), limit=1.2).sum().backward()
    assert close(logps.grad, [0.7, 0.0, 0.0], atol=1e-6)


# --- clipping ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("advantage", "ratio", "objective", "slope"),
    [
        (1, 0.7, 0.7, 1),
        (1, 1.0, 1.0, 1),
        (1, 1.3, 1.2, 0),
        (-1, 0.7, -0.8, 0),
        (-1, 1.0, -1.0, -1),
        (-1, 1.3, -1.3, -1),
    ],
)
def test_the_six_cases_of_clipping_in_value_and_gradient(advantage, ratio, objective, slope):
    logps = torch.tensor([ratio], dtype=torch.float64).log().requires_grad_()
    advantages = torch.tensor([float(advantage)], dtype=torch.float64)
    loss = m.clipped_loss(logps, torch.zeros_like(logps), advantages, 0.2, 0.2)
    loss.backward()
    assert close(-loss.detach(), [objective])
    assert close(-logps.grad / ratio, [slope])  # ∂ρ / ∂ log π = ρ


def test_the_clipped_loss_is_the_minimum_of_both_branches():
    log_ratio, advantages = random(2000), random(2000, seed=1)
    for low, high in ((0.2, 0.28), (0.0, 0.0), (1.0, 3.0)):
        wanted = [
            -min(math.exp(x) * a, min(max(math.exp(x), 1 - low), 1 + high) * a)
            for x, a in zip(log_ratio.tolist(), advantages.tolist(), strict=True)
        ]
        assert close(m.clipped_loss(log_ratio, torch.zeros(2000), advantages, low, high), wanted)


def test_clipping_never_promises_more_than_the_surrogate():
    logps, old_logps, advantages = random(3, 500)
    promise = -m.clipped_loss(logps, old_logps, advantages, 0.2, 0.2)
    assert (promise <= m.surrogate(logps, old_logps, advantages) + 1e-12).all()


def test_losses_have_the_gradient_of_their_value():
    logps, old_logps, advantages = random(3, 12)
    logps.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: m.surrogate(x, old_logps, advantages), (logps,))
    assert torch.autograd.gradcheck(lambda x: m.clipped_loss(x, old_logps, advantages, 0.2, 0.3), (logps,))
    assert torch.autograd.gradcheck(lambda x: m.truncated_ratio(x, old_logps, 1.5), (logps,))
    assert torch.autograd.gradcheck(lambda x: m.clipped_value_loss(x, old_logps, advantages, 0.4), (logps,))


@pytest.mark.parametrize("loss", [lambda *x: m.clipped_loss(*x, 0.2, 0.2), lambda *x: -m.surrogate(*x)])
def test_at_the_old_policy_value_and_gradient_are_those_of_the_policy_gradient(loss):
    logits = random(5, 4).requires_grad_()
    logps = logits.log_softmax(-1)[:, 0]
    advantages = random(5, seed=1)
    got = loss(logps, logps.detach(), advantages)
    assert close(got.detach(), -advantages)
    (gradient,) = torch.autograd.grad(got.sum(), logits)
    score = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64) - logits.detach().softmax(-1)
    assert close(gradient, -advantages[:, None] * score)


def test_a_huge_ratio_in_the_good_direction_leaves_a_finite_loss_and_gradient():
    logps = torch.tensor([0.0, 0.0], requires_grad=True)
    loss = m.clipped_loss(logps, torch.tensor([-1000.0, -1000.0]), torch.tensor([1.0, 0.0]), 0.2, 0.2)
    loss.sum().backward()
    assert close(loss.detach(), [-1.2, 0.0], atol=1e-6)
    assert torch.equal(logps.grad, torch.zeros(2))


def steps_on_three_arms(optimizer, logits, count):
    """The ratio of the first arm and the largest gradient, at each step on A = (1, −½, −½)."""
    advantages = torch.tensor([1.0, -0.5, -0.5], dtype=torch.float64)
    old_logps, ratios, gradients = logits.detach().log_softmax(-1), [], []
    for _ in range(count):
        optimizer.zero_grad()
        logps = logits.log_softmax(-1)
        (old_logps.exp() * m.clipped_loss(logps, old_logps, advantages, 0.2, 0.2)).sum().backward()
        gradients.append(logits.grad.abs().max().item())
        optimizer.step()
        ratios.append((logits.detach().log_softmax(-1) - old_logps).exp()[0].item())
    return ratios, gradients


def test_clipping_does_not_bound_the_ratio():
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    ratios, _ = steps_on_three_arms(torch.optim.SGD([logits], lr=2.0), logits, 1)
    assert ratios[0] == pytest.approx(1.728, abs=1e-3)
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    ratios, gradients = steps_on_three_arms(torch.optim.Adam([logits], lr=0.1), logits, 8)
    assert ratios[-1] == pytest.approx(1.831, abs=1e-3)
    assert [gradient == 0 for gradient in gradients] == [False] * 3 + [True] * 5


def test_the_critic_is_pulled_to_its_target_unless_it_has_moved_far_towards_it():
    values = torch.tensor([1.2, 2.0, 2.0], dtype=torch.float64, requires_grad=True)
    old_values, returns = torch.ones(3, dtype=torch.float64), torch.tensor([3.0, 3.0, 1.0], dtype=torch.float64)
    m.clipped_value_loss(values, old_values, returns, eps_clip=0.5).sum().backward()
    assert close(values.grad, [-1.8, 0.0, 1.0])  # V − R; clipped; V − R again, on the way back


def test_a_tie_of_both_branches_of_the_value_loss_keeps_the_whole_gradient():
    values = torch.tensor([1.25], requires_grad=True)
    m.clipped_value_loss(values, torch.tensor([1.0]), torch.tensor([3.0]), eps_clip=0.5).backward()
    assert values.grad.item() == -1.75


def test_an_entry_stays_by_itself():
    logps = torch.tensor([0.0, nan, 0.0])
    loss = m.clipped_loss(logps, torch.zeros(3), torch.tensor([1.0, 1.0, -3.0]), 0.2, 0.2)
    assert loss.nan_to_num(7.0).tolist() == [-1, 7, 3]


# --- the surrogate and the true objective --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world():
    transitions = random(4, 3, 4).softmax(-1)
    return bellman.MDP(transitions, random(4, 3, seed=1), gamma=0.8)


START = torch.full((4,), 0.25, dtype=torch.float64)


def weighed(world, old, new, visits):
    """Σ_s visits(s) Σ_a π_old(a|s) ρ A_old(s, a) / (1 − γ)"""
    q = bellman.q_from_v(world, bellman.solve(world, old.softmax(-1)))
    advantages = q - (old.softmax(-1) * q).sum(-1, keepdim=True)
    parts = m.surrogate(new.log_softmax(-1), old.log_softmax(-1), advantages)
    return visits @ (old.softmax(-1) * parts).sum(-1) / 0.2


def test_with_the_new_policys_visits_the_surrogate_is_the_exact_difference(world):
    old, new = random(2, 4, 3, seed=2)
    visits = bellman.occupancy(world, new.softmax(-1), START)
    difference = START @ (bellman.solve(world, new.softmax(-1)) - bellman.solve(world, old.softmax(-1)))
    assert close(weighed(world, old, new, visits), difference, atol=1e-9)


def test_with_the_old_policys_visits_the_surrogate_is_true_to_first_order(world):
    old, direction = random(2, 4, 3, seed=2)
    visits = bellman.occupancy(world, old.softmax(-1), START)
    errors = []
    for size in (1e-2, 1e-3):
        new = old + size * direction
        difference = START @ (bellman.solve(world, new.softmax(-1)) - bellman.solve(world, old.softmax(-1)))
        errors.append((weighed(world, old, new, visits) - difference).abs().item())
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.05)  # quadratic
    new = old.clone().requires_grad_()
    (guess,) = torch.autograd.grad(weighed(world, old, new, visits), new)
    (truth,) = torch.autograd.grad(START @ bellman.solve(world, new.softmax(-1)), new)
    assert close(guess, truth, atol=1e-10)


# --- the KL penalty ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("measured", "beta"), [(0.004, 1.5), (0.0066, 1.5), (0.0067, 3), (0.010, 3), (0.0149, 3), (0.016, 6), (0.020, 6)]
)
def test_beta_follows_the_measured_kl(measured, beta):
    assert m.next_beta(3.0, measured, target=0.01) == beta
    assert m.next_beta(3.0, torch.tensor(measured), target=0.01) == beta


def test_an_estimated_kl_below_zero_halves_beta():
    assert m.next_beta(1.0, kl=-0.001, target=0.01) == 0.5


def test_on_the_thresholds_beta_stays():
    assert m.next_beta(1.0, kl=1.5, target=1.0) == 1.0
    assert m.next_beta(1.0, kl=2.0, target=3.0) == 1.0


# --- conjugate gradient --------------------------------------------------------------------------------------------


def spd(size, dtype=torch.float64):
    root = random(size, size)
    return (root @ root.T + 0.5 * torch.eye(size, dtype=torch.float64)).to(dtype)


@pytest.mark.parametrize("size", [1, 2, 7, 20])
def test_conjugate_gradient_agrees_with_a_dense_solve(size):
    matrix, b = spd(size), random(size, seed=3)
    x = m.conjugate_gradient(lambda v: matrix @ v, b, steps=3 * size, tol=1e-13)
    assert close(x, torch.linalg.solve(matrix, b), atol=1e-9)


def test_it_takes_as_many_products_as_there_are_distinct_eigenvalues():
    eigenvalues = torch.tensor([1.0, 1.0, 4.0, 4.0, 9.0], dtype=torch.float64)
    basis = torch.linalg.qr(random(5, 5)).Q
    matrix, b, calls = basis @ torch.diag(eigenvalues) @ basis.T, random(5, seed=1), []

    def product(v):
        calls.append(v)
        return matrix @ v

    x = m.conjugate_gradient(product, b, steps=50, tol=1e-10)
    assert len(calls) == 3
    assert close(matrix @ x, b, atol=1e-9)


def test_on_the_singular_fisher_matrix_two_products_give_the_pseudo_inverse():
    x = m.conjugate_gradient(lambda v: FISHER @ v, GRADIENT, steps=2, tol=1e-12)
    assert close(x, [-1.0, 0.0, 1.0], atol=1e-10)
    assert close(x, torch.linalg.pinv(FISHER) @ GRADIENT, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tol", [1e-4, 1e-10, 1e-30])
def test_more_steps_than_needed_do_no_harm(tol, dtype):
    fisher = FISHER.to(dtype)
    x = m.conjugate_gradient(lambda v: fisher @ v, GRADIENT.to(dtype), steps=50, tol=tol)
    assert x.dtype is dtype
    assert close(x, [-1.0, 0.0, 1.0], atol=1e-4)


def test_each_step_comes_closer_in_the_norm_of_the_matrix():
    matrix, b = spd(8), random(8, seed=4)
    exact = torch.linalg.solve(matrix, b)
    gaps = [m.conjugate_gradient(lambda v: matrix @ v, b, steps=n, tol=1e-14) - exact for n in range(1, 9)]
    sizes = [(gap @ matrix @ gap).item() for gap in gaps]
    assert sizes == sorted(sizes, reverse=True)


def test_tol_is_relative_to_the_right_hand_side():
    matrix, b = spd(5), random(5, seed=3)
    for scale in (1e-12, 1e12):
        x = m.conjugate_gradient(lambda v: matrix @ v, scale * b, steps=20, tol=1e-10)
        assert close(x / scale, torch.linalg.solve(matrix, b), atol=1e-7)


def test_nothing_to_solve_is_solved_by_zero():
    assert torch.equal(m.conjugate_gradient(lambda v: v, torch.zeros(3), steps=5, tol=1e-6), torch.zeros(3))


# --- the natural step ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("max_kl", "real", "value"), [(0.1, 0.106283, 1.077455), (0.01, 0.010253, 0.814516), (0.001, 0.001008, 0.735367)]
)
def test_the_natural_step_of_the_bandit(max_kl, real, value):
    step = m.natural_step(GRADIENT, lambda v: FISHER @ v, max_kl)
    logits = POLICY.log() + step
    assert close(step @ FISHER @ step / 2, max_kl, atol=1e-10)
    assert close(kl(POLICY.log(), logits), real, atol=1e-6)
    assert close(logits.softmax(-1) @ REWARDS, value, atol=1e-6)


def test_the_natural_step_multiplies_weights():
    direction = m.conjugate_gradient(lambda v: FISHER @ v, GRADIENT, steps=2, tol=1e-12)
    new = (POLICY.log() + 0.7 * direction).softmax(-1)
    weights = POLICY * (0.7 * (REWARDS - 0.7)).exp()
    assert close(new, weights / weights.sum())
    assert close(new, [0.261074, 0.315443, 0.423483], atol=1e-6)


def test_no_other_step_of_that_kl_climbs_more():
    step = m.natural_step(GRADIENT, lambda v: FISHER @ v, max_kl=0.1)
    others = random(1000, 3)
    lengths = torch.einsum("ni,ij,nj->n", others, FISHER, others) / 2
    others = others * (0.1 / lengths).sqrt()[:, None]
    assert (others @ GRADIENT).max() <= step @ GRADIENT + 1e-9
    assert (others @ GRADIENT).max() > 0.99 * step @ GRADIENT


def test_the_natural_step_does_not_depend_on_the_parameters_chosen():
    """Logits = M θ: the same policies by other names; the change of the logits is the same."""
    change = random(3, 3, seed=5)
    step = m.natural_step(GRADIENT, lambda v: FISHER @ v, max_kl=0.01)
    fisher, gradient = change.T @ FISHER @ change, change.T @ GRADIENT
    other = change @ m.natural_step(gradient, lambda v: fisher @ v, max_kl=0.01)
    assert close(other - other.mean(), step - step.mean(), atol=1e-8)


def test_a_product_by_double_backpropagation_is_enough():
    old, states = random(6, 4), 6

    def product(v):
        logits = old.clone().requires_grad_()
        (first,) = torch.autograd.grad(kl(old, logits).mean(), logits, create_graph=True)
        (second,) = torch.autograd.grad((first.flatten() * v).sum(), logits)
        return second.flatten()

    gradient = (policies.softmax_score(old, torch.zeros(6, dtype=torch.long)) * random(6, 1, seed=6)).flatten()
    dense = torch.block_diag(*policies.softmax_fisher(old)) / states
    x = torch.linalg.pinv(dense) @ gradient
    step = m.natural_step(gradient, product, max_kl=0.01, steps=40, tol=1e-12)
    assert close(step, (0.02 / (x @ dense @ x)).sqrt() * x, atol=1e-8)


def test_line_search_brings_the_real_kl_under_the_limit():
    old = POLICY.log()
    step = m.natural_step(GRADIENT, lambda v: FISHER @ v, max_kl=0.1)  # real KL 0.106283
    found = m.line_search(lambda x: x.softmax(-1) @ REWARDS, lambda x: kl(old, x), old, step, 0.1, 0.8, 10)
    assert (found.fraction, found.rejected) == (0.8, 1)
    assert torch.equal(found.parameters, old + 0.8 * step)
    assert kl(old, found.parameters) <= 0.1


def test_line_search_rejects_what_is_not_a_number():
    def log_of(x):
        return x.log().sum()  # NaN where x is below 0

    start = torch.ones(1)
    found = m.line_search(lambda x: -log_of(x), lambda x: x.sum() * 0, start, torch.tensor([-1.5]), 1.0, 0.5, 5)
    assert (found.fraction, found.rejected) == (0.5, 1)
    never = m.line_search(lambda x: x.sum(), lambda x: x.sum() * nan, start, start, 1.0, 0.5, 5)
    assert torch.equal(never.parameters, start)
    assert (never.fraction, never.rejected) == (0.0, 5)


def test_line_search_leaves_what_it_was_given():
    start, step = torch.zeros(2), torch.ones(2)
    m.line_search(lambda x: x.sum(), lambda x: x.sum() / 8, start, step, 0.1, 0.5, 5)
    assert torch.equal(start, torch.zeros(2))
    assert torch.equal(step, torch.ones(2))


# --- bad input -----------------------------------------------------------------------------------------------------

X, Y, B2 = torch.zeros(2, 2), torch.zeros(2), torch.ones(2)


def search(objective=torch.sum, start=Y, step=B2, max_kl=1.0, shrink=0.5, tries=3):
    return m.line_search(objective, lambda x: x.sum() * 0, start, step, max_kl, shrink, tries)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: m.ratio(X, Y), r"old_logps has shape \[2\], expected \[2, 2\]"),
        (lambda: m.truncated_ratio(X, X, limit=0.0), "limit is 0, expected a finite number above 0"),
        (lambda: m.truncated_ratio(X, Y, limit=1.0), r"old_logps has shape \[2\]"),
        (lambda: m.surrogate(X, X, Y), r"advantages has shape \[2\], expected \[2, 2\]"),
        (lambda: m.surrogate(X, X[:1], X), r"old_logps has shape \[1, 2\], expected \[2, 2\]"),
        (lambda: m.clipped_loss(X, X, Y, 0.2, 0.2), r"advantages has shape \[2\], expected \[2, 2\]"),
        (
            lambda: m.clipped_loss(X, X, torch.zeros(3, 1), 0.2, 0.2),
            r"advantages has shape \[3, 1\], expected \[2, 1\]",
        ),
        (lambda: m.clipped_loss(X, X, 1.0, 0.2, 0.2), "advantages is 1.0"),
        (lambda: m.clipped_loss(X, X, X, 1.2, 0.2), r"eps_low is 1.2, expected a number in \[0, 1\]"),
        (lambda: m.clipped_loss(X, X, X, 0.2, -0.2), "eps_high is -0.2, expected a number in"),
        (lambda: m.clipped_loss(X, X, X, 0.2, nan), "eps_high is nan"),
        (lambda: m.clipped_value_loss(X, Y, X, 0.2), r"old_values has shape \[2\], expected \[2, 2\]"),
        (lambda: m.clipped_value_loss(X, X, X[:, :1], 0.2), r"returns has shape \[2, 1\], expected \[2, 2\]"),
        (lambda: m.clipped_value_loss(X, X, X, 0.0), "eps_clip is 0, expected a finite number above 0"),
        (lambda: m.next_beta(0.0, 0.1, 0.1), "beta is 0, expected a finite number above 0"),
        (lambda: m.next_beta(1.0, nan, 0.1), "kl holds nan"),
        (lambda: m.next_beta(1.0, 0.1, -1.0), "target is -1, expected a finite number above 0"),
        (lambda: m.conjugate_gradient(lambda v: v, X, 2, 1e-6), r"b has shape \[2, 2\], expected \[N\]"),
        (lambda: m.conjugate_gradient(lambda v: v, Y / 0, 2, 1e-6), "b holds nan"),
        (lambda: m.conjugate_gradient(lambda v: v, B2, 0, 1e-6), "steps is 0, expected a whole number, 1 or more"),
        (lambda: m.conjugate_gradient(lambda v: v, B2, 2.0, 1e-6), "steps is 2.0, expected a whole number, 1 or more"),
        (lambda: m.conjugate_gradient(lambda v: v, B2, 2, 0.0), "tol is 0, expected a finite number above 0"),
        (lambda: m.conjugate_gradient(lambda v: v[:1], B2, 2, 1e-6), r"product\(v\) has shape \[1\], expected \[2\]"),
        (lambda: m.conjugate_gradient(lambda v: v * nan, B2, 2, 1e-6), r"product\(v\) holds nan"),
        (lambda: m.conjugate_gradient(lambda v: -v, B2, 2, 1e-6), "pᵀ p = -1 for a part p of b, expected it above 0"),
        (lambda: m.conjugate_gradient(lambda v: v * torch.tensor([1.0, 0]), B2, 5, 1e-6), "expected it above 0"),
        (lambda: m.natural_step(B2, lambda v: v, 0.0), "max_kl is 0, expected a finite number above 0"),
        (lambda: m.natural_step(Y, lambda v: v, 0.1), "gradient is 0 everywhere, expected a direction"),
        (lambda: search(start=X), r"start has shape \[2, 2\], expected \[N\]"),
        (lambda: search(step=torch.ones(3)), r"step has shape \[3\], expected \[N\] with N=2"),
        (lambda: search(step=B2 * nan), "step holds nan"),
        (lambda: search(objective=lambda x: x.sum() / 0), r"objective\(start\) holds nan"),
        (lambda: search(max_kl=0.0), "max_kl is 0, expected a finite number above 0"),
        (lambda: search(shrink=1.0), "shrink is 1.0, expected a number below 1"),
        (lambda: search(tries=0), "tries is 0, expected a whole number, 1 or more"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
