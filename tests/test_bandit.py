"""rlcore.bandit against enumeration over arms, autograd, loops, and the published guarantee of UCB1."""

from math import inf, log, nan, sqrt

import pytest
import torch
from torch import Tensor

from rlcore import bandit
from rlcore.cases import of
from rlcore.check import agrees


def close(got, want, atol=1e-12) -> bool:
    return torch.allclose(torch.as_tensor(got), torch.as_tensor(want, dtype=torch.float64), rtol=0, atol=atol)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- regret -------------------------------------------------------------------------------------------------------


def test_regret_is_the_sum_of_gaps_counted_one_pull_at_a_time():
    means, actions = normal(3, 4), torch.randint(4, (3, 7), generator=torch.Generator().manual_seed(1))
    got, shared = bandit.regret(means, actions), bandit.regret(means[0], actions)
    for run in range(3):
        lost = lost_shared = 0.0
        for t in range(7):
            lost += max(means[run].tolist()) - float(means[run, actions[run, t]])
            lost_shared += max(means[0].tolist()) - float(means[0, actions[run, t]])
            assert close(got[run, t], lost)
            assert close(shared[run, t], lost_shared)


def test_regret_never_falls_and_is_0_only_for_the_best_arm():
    means = normal(5)
    assert torch.equal(bandit.regret(means, means.argmax().expand(9)), torch.zeros(9, dtype=torch.float64))
    every = bandit.regret(means, torch.arange(5))
    assert (every.diff() >= 0).all()
    assert close(every[-1], 5 * (means.max() - means.mean()))


# --- UCB ----------------------------------------------------------------------------------------------------------


def test_with_confidence_root_2_the_bound_is_that_of_ucb1_arm_by_arm():
    counts, sums = torch.tensor([3.0, 7.0, 90.0]).double(), torch.tensor([2.0, 3.0, 60.0]).double()
    want = [2 / 3 + sqrt(2 * log(100) / 3), 3 / 7 + sqrt(2 * log(100) / 7), 60 / 90 + sqrt(2 * log(100) / 90)]
    assert close(bandit.ucb(counts, sums, 100, sqrt(2)), want)


def test_arms_never_tried_come_first_and_their_sums_are_not_read():
    counts, sums = torch.tensor([[0, 5], [5, 0]]), torch.tensor([[nan, 5.0], [5.0, nan]]).double()
    got = bandit.ucb(counts, sums, torch.tensor([5, 5]), 1.0)
    assert got.argmax(-1).tolist() == [0, 1]
    assert close(got[0, 1], 1 + sqrt(log(5) / 5))


def test_a_bound_holds_the_true_mean_as_often_as_hoeffding_promises():
    n, step = 20, 50  # the bound fails with probability at most step ** -(2 confidence²), here 50 ** -1 = 0.02
    sums = torch.randint(2, (100_000, n), generator=torch.Generator().manual_seed(0)).sum(-1).double()
    bounds = bandit.ucb(torch.full_like(sums, n)[:, None], sums[:, None], step, sqrt(0.5))
    assert 0.001 < (bounds < 0.5).double().mean() <= 0.02


def test_ucb1_keeps_its_regret_below_the_bound_of_its_theorem():
    means, runs, horizon = torch.tensor([0.9, 0.5, 0.3]).double(), 200, 400
    counts, sums = torch.zeros(runs, 3).double(), torch.zeros(runs, 3).double()
    actions, generator = [], torch.Generator().manual_seed(0)
    for t in range(horizon):
        action = bandit.ucb(counts, sums, max(t, 1), sqrt(2)).argmax(-1)
        reward = (torch.rand(runs, generator=generator) < means[action]).double()
        hit = torch.nn.functional.one_hot(action, 3)
        counts, sums = counts + hit, sums + hit * reward[:, None]
        actions.append(action)
    mean_regret = bandit.regret(means, torch.stack(actions, -1))[:, -1].mean()
    gaps = [0.4, 0.6]
    bound = sum(8 * log(horizon) / gap for gap in gaps) + (1 + torch.pi**2 / 3) * sum(gaps)  # Auer et al. 2002, thm 1
    assert mean_regret < bound
    assert mean_regret < bandit.regret(means, torch.arange(horizon) % 3)[-1] / 2  # round robin


# --- softmax and its gradient -------------------------------------------------------------------------------------


def test_softmax_policy_goes_from_the_best_arm_to_all_arms_alike():
    preferences = torch.tensor([0.0, 1.0, 3.0]).double()
    assert close(bandit.softmax_policy(preferences, 0.01), [0, 0, 1])
    assert close(bandit.softmax_policy(preferences, 1e9), [1 / 3] * 3, 1e-8)
    odds = bandit.softmax_policy(preferences, 2.0)
    assert close((odds[2] / odds[1]).log(), 1.0)  # (3 − 1) / 2


@pytest.mark.parametrize("baseline", [0.0, -3.0, 10.0])
def test_the_mean_update_is_a_step_along_the_gradient_of_the_expected_reward_whatever_the_baseline(baseline):
    preferences, means = normal(5).requires_grad_(), normal(5, seed=1)
    policy = preferences.exp() / preferences.exp().sum()
    (gradient,) = torch.autograd.grad(policy @ means, preferences)
    each = bandit.gradient_bandit(preferences.detach().expand(5, -1), torch.arange(5), means, baseline, 0.3)
    mean_step = policy.detach() @ (each - preferences.detach())
    assert close(mean_step, 0.3 * gradient)


def test_one_update_is_advantage_times_the_gradient_of_the_log_probability():
    preferences, reward = normal(4, 5).requires_grad_(), normal(4, seed=1)
    action, baseline, lr = torch.tensor([0, 4, 2, 2]), normal(4, seed=2), torch.tensor([0.1, 0.2, 0.3, 0.4]).double()
    logps = preferences - preferences.logsumexp(-1, keepdim=True)
    chosen = logps[torch.arange(4), action]
    (want,) = torch.autograd.grad((lr * (reward - baseline) * chosen).sum(), preferences)
    got = bandit.gradient_bandit(preferences.detach(), action, reward, baseline, lr)
    assert close(got - preferences.detach(), want)


def test_a_reward_equal_to_the_baseline_changes_nothing():
    preferences = normal(3)
    got = bandit.gradient_bandit(preferences, torch.tensor(1), torch.tensor(2.0).double(), 2.0, 0.5)
    assert torch.equal(got, preferences)


def test_preferences_never_gain_or_lose_in_total():
    preferences, actions = normal(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    got = bandit.gradient_bandit(preferences, actions, normal(6, seed=1), 0.5, 0.7)
    assert close((got - preferences).sum(-1), [0.0] * 6)


def test_gradients_pass_and_nothing_given_is_changed():
    preferences, action, reward = normal(2, 3).requires_grad_(), torch.tensor([0, 2]), normal(2, seed=1)
    before = preferences.detach().clone()
    assert torch.autograd.gradcheck(lambda h: bandit.gradient_bandit(h, action, reward, 0.1, 0.5), (preferences,))
    assert torch.autograd.gradcheck(lambda h: bandit.softmax_policy(h, 0.7), (preferences,))
    assert torch.autograd.gradcheck(lambda m: bandit.regret(m, torch.tensor([[0, 1], [2, 2]])), (preferences,))
    assert torch.equal(preferences, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_given_is_the_dtype_returned(dtype):
    x, action = torch.ones(2, 3, dtype=dtype), torch.tensor([0, 2])
    results = [
        bandit.regret(x, action[:, None]),
        bandit.ucb(x.long(), x, 3, 1.0),
        bandit.softmax_policy(x, 1.0),
        bandit.gradient_bandit(x, action, x[:, 0], 0.0, 0.1),
    ]
    assert {result.dtype for result in results} == {dtype}


# --- bad input ----------------------------------------------------------------------------------------------------

H, ARMS, PAID = torch.zeros(2, 3), torch.tensor([0, 2]), torch.ones(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bandit.regret(H[0], ARMS + 1), "actions holds 3, expected whole numbers from 0 to 2"),
        (lambda: bandit.regret(H[0], PAID), "actions has dtype torch.float32, expected torch.int64"),
        (lambda: bandit.regret(H[0] * nan, ARMS), r"means holds nan at index \[0\]"),
        (lambda: bandit.regret(H, ARMS), r"means has shape \[2, 3\], expected \[3\]"),
        (lambda: bandit.ucb(H, PAID, 1, 1.0), r"sums has shape \[2\], expected \[2, 3\]"),
        (lambda: bandit.ucb(H - 1, H, 1, 1.0), r"counts is -1, expected a number in \[0, inf\]"),
        (lambda: bandit.ucb(H + 1, H * nan, 1, 1.0), r"sums holds nan at index \[0, 0\]"),
        (lambda: bandit.ucb(H, H, 0, 1.0), r"step is 0, expected a number in \[1, inf\]"),
        (lambda: bandit.ucb(H, H, torch.ones(3), 1.0), r"step has shape \[3\], expected one number, or \[2\]"),
        (lambda: bandit.ucb(H, H, 1, 0.0), "confidence is 0, expected a finite number above 0"),
        (lambda: bandit.softmax_policy(H * nan, 1.0), r"preferences holds nan at index \[0, 0\]"),
        (lambda: bandit.softmax_policy(H, 0.0), "temperature is 0, expected a finite number above 0"),
        (lambda: bandit.gradient_bandit(H / 0, ARMS, PAID, 0.0, 0.1), r"preferences holds nan at index \[0, 0\]"),
        (lambda: bandit.gradient_bandit(H, ARMS + 1, PAID, 0.0, 0.1), "action holds 3, expected whole numbers"),
        (lambda: bandit.gradient_bandit(H, ARMS[:1], PAID, 0.0, 0.1), r"action has shape \[1\], expected \[2\]"),
        (lambda: bandit.gradient_bandit(H, ARMS, PAID[:1], 0.0, 0.1), r"reward has shape \[1\], expected \[2\]"),
        (lambda: bandit.gradient_bandit(H, ARMS, PAID / 0, 0.0, 0.1), r"reward holds inf at index \[0\]"),
        (lambda: bandit.gradient_bandit(H, ARMS, PAID, inf, 0.1), r"baseline holds inf at index \[0\]"),
        (lambda: bandit.gradient_bandit(H, ARMS, PAID, H, 0.1), r"baseline has shape \[2, 3\], expected one number"),
        (lambda: bandit.gradient_bandit(H, ARMS, PAID, 0.0, 0.0), "lr is 0, expected a finite number above 0"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("function", [bandit.regret, bandit.ucb, bandit.softmax_policy, bandit.gradient_bandit])
def test_every_function_has_cases(function):
    assert all(agrees(function(**case.args), case.want, case.atol) for case in of(function))
