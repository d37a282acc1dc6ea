"""rlcore.returns against its definitions as double loops, a published table, identities and finite differences."""

import inspect
from math import inf, nan

import pytest
import torch
from torch import Tensor, tensor

from rlcore import returns as m
from rlcore.cases import of
from rlcore.check import agrees

B, T = 3, 7
FUNCTIONS = [m.discounted_returns, m.td_errors, m.k_step_advantages, m.gae, m.lambda_returns]
SETTINGS = {"k": 3, "lam": 0.7}


def steps(dtype=torch.float64, seed: int = 0) -> dict[str, Tensor]:
    """Rows with discounts that differ from step to step: ended twice, cut off, ended at the last step."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    discounts = torch.rand(B, T, generator=generator, dtype=torch.float64) / 2 + 0.5
    discounts[0, 2] = discounts[0, 5] = discounts[2, -1] = 0
    rows = {"rewards": draw(B, T), "discounts": discounts, "values": draw(B, T + 1)}
    return {name: row.to(dtype) for name, row in rows.items()}


def arguments(function, rows: dict[str, Tensor]) -> dict:
    known = {**rows, "bootstrap": rows["values"][:, -1], **SETTINGS}
    return {name: known[name] for name in inspect.signature(function).parameters}


def k_steps(rows: dict[str, Tensor], b: int, t: int, k: int) -> float:
    """The k-step advantage of one step, from its definition: rewards one by one, then the value, less the value."""
    rewards, discounts, values = (rows[name][b].tolist() for name in ("rewards", "discounts", "values"))
    weight, total, end = 1.0, 0.0, min(t + k, T)
    for i in range(t, end):
        total += weight * rewards[i]
        weight *= discounts[i]
    return total + weight * values[end] - values[t]


def summed_td_errors(rows: dict[str, Tensor], b: int, t: int, lam: float) -> float:
    """Generalised advantage estimate from its definition as a sum: Σ_l (Π γ λ) δ_{t+l}."""
    rewards, discounts, values = (rows[name][b].tolist() for name in ("rewards", "discounts", "values"))
    weight, total = 1.0, 0.0
    for i in range(t, T):
        total += weight * (rewards[i] + discounts[i] * values[i + 1] - values[i])
        weight *= discounts[i] * lam
    return total


def table(entry) -> Tensor:
    return tensor([[entry(b, t) for t in range(T)] for b in range(B)], dtype=torch.float64)


@pytest.mark.parametrize(("function", "case"), [(f, case) for f in FUNCTIONS for case in of(f)])
def test_hand_computed_cases_hold_in_float64_too(function, case):
    args = {name: arg.double() if isinstance(arg, Tensor) else arg for name, arg in case.args.items()}
    got = function(**args)
    assert got.dtype is torch.float64
    assert agrees(got, case.want, case.atol)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_dtype_is_the_one_given(function):
    assert function(**arguments(function, steps(torch.float32))).dtype is torch.float32


def test_a_return_is_the_discounted_sum_of_what_follows():
    rows = steps()
    got = m.discounted_returns(**arguments(m.discounted_returns, rows))
    want = table(lambda b, t: k_steps(rows, b, t, T) + rows["values"][b, t].item())
    assert torch.allclose(got, want, atol=1e-13)


@pytest.mark.parametrize("k", [1, 2, 3, T - 1, T, T + 5])
def test_a_k_step_advantage_is_k_rewards_and_a_value_less_the_value(k):
    rows = steps()
    want = table(lambda b, t: k_steps(rows, b, t, k))
    assert torch.allclose(m.k_step_advantages(**rows, k=k), want, atol=1e-13)


def test_one_step_is_the_td_error():
    rows = steps()
    assert torch.equal(m.k_step_advantages(**rows, k=1), m.td_errors(**rows))


@pytest.mark.parametrize("lam", [0.0, 0.3, 0.95, 1.0])
def test_gae_is_the_weighted_sum_of_td_errors(lam):
    rows = steps()
    want = table(lambda b, t: summed_td_errors(rows, b, t, lam))
    assert torch.allclose(m.gae(**rows, lam=lam), want, atol=1e-13)


@pytest.mark.parametrize("lam", [0.3, 0.95, 1.0])
def test_gae_is_the_finite_mixture_of_k_step_advantages(lam):
    """(1−λ) Σ_{n<T−t} λ^{n−1} A^(n) + λ^{T−t−1} A^(T−t): the last one takes what is left of the weights."""
    rows = steps()

    def mixture(b: int, t: int) -> float:
        left = T - t
        part = sum(lam ** (n - 1) * k_steps(rows, b, t, n) for n in range(1, left))
        return (1 - lam) * part + lam ** (left - 1) * k_steps(rows, b, t, left)

    assert torch.allclose(m.gae(**rows, lam=lam), table(mixture), atol=1e-13)


def test_gae_with_lam_0_is_the_td_error():
    rows = steps()
    assert torch.equal(m.gae(**rows, lam=0.0), m.td_errors(**rows))


def test_gae_with_lam_1_is_return_minus_value():
    rows = steps()
    returns = m.discounted_returns(rows["rewards"], rows["discounts"], rows["values"][:, -1])
    assert torch.allclose(m.gae(**rows, lam=1.0), returns - rows["values"][:, :-1], atol=1e-13)


def test_a_lambda_return_is_gae_and_the_value():
    rows = steps()
    want = table(lambda b, t: summed_td_errors(rows, b, t, 0.7) + rows["values"][b, t].item())
    assert torch.allclose(m.lambda_returns(**rows, lam=0.7), want, atol=1e-13)


@pytest.mark.parametrize(
    ("gamma", "lam", "want"),
    [
        (0.9, 0.0, [0.04, 0.12, 0.2]),
        (0.9, 0.5, [0.1345, 0.21, 0.2]),
        (0.9, 0.95, [0.288805, 0.291, 0.2]),
        (0.9, 1.0, [0.31, 0.3, 0.2]),
        (1.0, 0.0, [0.1, 0.2, 0.2]),
        (1.0, 0.95, [0.4705, 0.39, 0.2]),
        (1.0, 1.0, [0.5, 0.4, 0.2]),
    ],
)
def test_a_reward_at_the_end_only_worked_on_paper(gamma, lam, want):
    rewards, values = (tensor([x], dtype=torch.float64) for x in ([0, 0, 1], [0.5, 0.6, 0.8, 0.9]))
    discounts = tensor([[gamma, gamma, 0]], dtype=torch.float64)
    want = tensor([want], dtype=torch.float64)
    assert torch.allclose(m.gae(rewards, discounts, values, lam), want, atol=1e-12)
    assert torch.allclose(m.lambda_returns(rewards, discounts, values, lam), want + values[:, :-1], atol=1e-12)


def test_the_forgotten_mask_shows_in_every_step():
    rewards, values = (tensor([x], dtype=torch.float64) for x in ([0, 0, 1], [0.5, 0.6, 0.8, 0.9]))
    forgotten = m.gae(rewards, torch.ones_like(rewards), values, lam=0.95)
    assert torch.allclose(forgotten, tensor([[1.28275, 1.245, 1.1]], dtype=torch.float64), atol=1e-12)


def test_with_exact_values_td_errors_average_to_zero_and_are_not_zero():
    """A coin that pays 1 with chance 0.6 and ends: V = r + γV' holds on average, not for one toss."""
    rewards = tensor([[1.0], [0.0]], dtype=torch.float64)
    deltas = m.td_errors(rewards, torch.zeros(2, 1).double(), tensor([[0.6, nan], [0.6, nan]], dtype=torch.float64))
    chance = tensor([0.6, 0.4], dtype=torch.float64)
    assert (chance @ deltas[:, 0]).item() == pytest.approx(0, abs=1e-15)
    assert (chance @ deltas[:, 0] ** 2).item() == pytest.approx(0.6 * 0.4, abs=1e-15)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_ended_and_cut_off_differ_by_the_discounted_bootstrap_and_nothing_else(function):
    rows = steps()
    rows["discounts"][:] = 0.5
    cut = function(**arguments(function, rows))
    rows["discounts"][:, -1] = 0
    ended = function(**arguments(function, rows))
    weight = {
        "td_errors": [0.0],
        "k_step_advantages": [0.25, 0.5],
        "discounted_returns": [2.0**-n for n in range(6, 0, -1)],
    }
    reach = weight.get(function.__name__, [0.35**n for n in range(6, 0, -1)])  # γ of each step on the way, or γλ
    reach = tensor([*[0.0] * (T - 1 - len(reach)), *reach, 1.0], dtype=torch.float64)
    assert torch.allclose(cut - ended, reach * 0.5 * rows["values"][:, -1:], atol=1e-13)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("end", range(T))
def test_nothing_behind_an_end_reaches_back_over_it(function, end):
    rows = steps()
    rows["discounts"][:, end] = 0
    clean = function(**arguments(function, rows))
    for poison in (nan, inf, 1e30):
        bad = {name: row.clone() for name, row in rows.items()}
        bad["rewards"][:, end + 1 :] = poison
        bad["values"][:, end + 1 :] = poison
        leaves = {name: row.requires_grad_() for name, row in bad.items()}
        got = function(**arguments(function, leaves))
        assert torch.equal(got[:, : end + 1], clean[:, : end + 1])
        got[:, : end + 1].sum().backward()
        for name in ("rewards", "values"):
            assert torch.isfinite(bad[name].grad).all(), name
            assert (bad[name].grad[:, end + 1 :] == 0).all(), name
        assert torch.isfinite(bad["discounts"].grad[:, : end + 1]).all()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_gradients_are_those_of_finite_differences(function):
    rows = {name: row.requires_grad_() for name, row in steps().items()}
    alive = rows["discounts"].detach() > 0  # an end is no number: only the other discounts are moved

    def moved(rewards, discounts, values):
        discounts = torch.where(alive, discounts, torch.zeros_like(discounts))
        return function(**arguments(function, {"rewards": rewards, "discounts": discounts, "values": values}))

    assert torch.autograd.gradcheck(moved, tuple(rows.values()))
    assert torch.autograd.gradgradcheck(moved, tuple(rows.values()))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_arguments_are_left_as_they_were(function):
    rows = steps()
    function(**arguments(function, rows))
    assert all(torch.equal(row, steps()[name]) for name, row in rows.items())


@pytest.mark.parametrize("function", FUNCTIONS)
def test_discounts_may_be_booleans_that_say_whether_it_went_on(function):
    rows = steps()
    on = rows["discounts"] > 0
    want = function(**arguments(function, {**rows, "discounts": on.double()}))
    assert torch.equal(function(**arguments(function, {**rows, "discounts": on})), want)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        ("discounts", (1, 2), 1.01, r"discounts is 1.01, expected a number in \[0, 1\]"),
        ("discounts", (1, 2), -0.1, r"discounts is -0.1, expected a number in \[0, 1\]"),
        ("discounts", (1, 2), nan, r"discounts is nan, expected a number in \[0, 1\]"),
        ("rewards", (1, 2), nan, r"rewards holds nan at index \[1, 2\], expected finite numbers"),
        ("rewards", (0, 2), inf, r"rewards holds inf at index \[0, 2\], expected finite numbers"),
        ("values", (1, T), nan, r"(values|bootstrap) holds nan at index \[1, \d\], expected finite numbers"),
    ],
)
def test_bad_numbers_are_named(function, name, place, value, message):
    rows = steps()
    rows[name][place] = value
    with pytest.raises(ValueError, match=message):
        function(**arguments(function, rows))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_wrong_shapes_are_named(function):
    rows = steps()
    with pytest.raises(ValueError, match=r"discounts has shape \[3, 6\], expected \[B, T\] with B=3, T=7"):
        function(**arguments(function, {**rows, "discounts": rows["discounts"][:, :-1]}))
    with pytest.raises(ValueError, match=r"rewards has shape \[7\], expected \[B, T\]"):
        function(**arguments(function, {**rows, "rewards": rows["rewards"][0]}))
    empty = {"rewards": rows["rewards"][:, :0], "discounts": rows["discounts"][:, :0], "values": rows["values"][:, :1]}
    with pytest.raises(ValueError, match=r"rewards has shape \[3, 0\], expected at least one row and one step"):
        function(**arguments(function, empty))


@pytest.mark.parametrize("function", [m.td_errors, m.k_step_advantages, m.gae, m.lambda_returns])
def test_values_without_a_last_column_are_refused(function):
    rows = steps()
    with pytest.raises(ValueError, match=r"values has shape \[3, 7\], expected \[B, T\+1\] .* should be 8"):
        function(**arguments(function, {**rows, "values": rows["values"][:, :-1]}))


def test_a_bootstrap_of_another_shape_is_refused():
    rows = steps()
    with pytest.raises(ValueError, match=r"bootstrap has shape \[3, 1\], expected \[B\]"):
        m.discounted_returns(rows["rewards"], rows["discounts"], rows["values"][:, -1:])


@pytest.mark.parametrize("function", [m.gae, m.lambda_returns])
@pytest.mark.parametrize("lam", [-0.1, 1.1, nan, True])
def test_lam_outside_0_to_1_is_refused(function, lam):
    with pytest.raises(ValueError, match=r"lam is .*, expected a number in \[0, 1\]"):
        function(**steps(), lam=lam)


@pytest.mark.parametrize("k", [0, -1, 1.5, True])
def test_k_must_be_a_whole_number_above_0(k):
    with pytest.raises(ValueError, match=r"k is .*, expected a whole number, 1 or more"):
        m.k_step_advantages(**steps(), k=k)


def test_a_sum_that_overflows_is_not_taken_for_a_bad_number():
    big = torch.full((1, 3), 3e38)
    assert torch.equal(m.td_errors(big, torch.zeros(1, 3), torch.zeros(1, 4)), big)
