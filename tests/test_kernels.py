"""A fast twin gives the answer and the gradient of what it copies, and is chosen only where it can run."""

import inspect
from math import inf, nan

import pytest
import torch
from torch import Tensor

from rlcore import kernels, masked, returns
from rlcore.cases import of
from rlcore.check import agrees
from rlcore.kernels import returns as blocked

PAIRS = [(getattr(returns, name), getattr(blocked, name)) for name in ("discounted_returns", "gae", "lambda_returns")]
LENGTHS = [1, 2, 31, 32, 33, 64, 65, 96, 100, 1024, 2500]  # around one block, two blocks, and blocks of blocks
pairs = pytest.mark.parametrize(("plain", "fast"), PAIRS, ids=lambda f: f.__name__)


def steps(length: int, dtype=torch.float64, rows: int = 3, ends: float = 0.05) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(length)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    chance, gammas = (torch.rand(rows, length, generator=generator, dtype=torch.float64) for _ in range(2))
    discounts = torch.where(chance < ends, 0, 0.9 + gammas / 10)
    made = {"rewards": draw(rows, length), "discounts": discounts, "values": draw(rows, length + 1)}
    return {name: row.to(dtype) for name, row in made.items()}


def call(function, rows: dict[str, Tensor]) -> Tensor:
    known = {**rows, "bootstrap": rows["values"][:, -1], "lam": 0.95}
    return function(**{name: known[name] for name in inspect.signature(function).parameters})


def value_and_gradients(function, rows: dict[str, Tensor], dtype: torch.dtype) -> list[Tensor]:
    leaves = {name: row.to(dtype).clone().requires_grad_() for name, row in rows.items()}
    got = call(function, leaves)
    weights = torch.linspace(-1, 1, got.numel(), dtype=torch.float64).reshape(got.shape).to(dtype)
    gradients = torch.autograd.grad(got, list(leaves.values()), weights)
    return [x.detach().double() for x in (got, *gradients)]


@pairs
def test_the_twin_is_chosen_by_name(plain, fast):
    assert kernels.best(plain, like=torch.zeros(2, 3)) is fast
    assert fast.__name__ == plain.__name__
    assert list(inspect.signature(fast).parameters) == list(inspect.signature(plain).parameters)


def test_without_a_twin_the_reference_comes_back():
    like = torch.zeros(2, 3)
    assert kernels.best(returns.td_errors, like=like) is returns.td_errors  # its module has twins, it has none
    assert kernels.best(masked.mean_over_tokens, like=like) is masked.mean_over_tokens
    assert kernels.best(torch.sum, like=like) is torch.sum
    assert kernels.best(test_without_a_twin_the_reference_comes_back, like=like).__module__ == __name__


def test_whole_numbers_keep_the_reference():
    assert kernels.best(returns.gae, like=torch.zeros(2, 3, dtype=torch.long)) is returns.gae


def test_what_is_no_tensor_is_named():
    with pytest.raises(ValueError, match=r"like is 'cuda' \(str\), expected a tensor"):
        kernels.best(returns.gae, like="cuda")


@pytest.mark.parametrize(("plain", "fast", "case"), [(p, f, case) for p, f in PAIRS for case in of(p)])
def test_hand_computed_cases_hold_for_the_twin(plain, fast, case):
    assert agrees(fast(**case.args), case.want, case.atol)


@pairs
@pytest.mark.parametrize("length", LENGTHS)
def test_value_and_gradient_are_the_reference_s_in_float64(plain, fast, length):
    rows = steps(length)
    want, got = (value_and_gradients(function, rows, torch.float64) for function in (plain, fast))
    for w, g in zip(want, got, strict=True):
        assert torch.allclose(g, w, rtol=1e-12, atol=1e-12)


@pairs
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [100, 2500])
def test_the_twin_errs_at_most_twice_as_much_as_the_reference(plain, fast, dtype, length):
    rows = {name: row.to(dtype).double() for name, row in steps(length, rows=8).items()}
    exact = value_and_gradients(plain, rows, torch.float64)
    errors = [
        [(x - e).abs().max().item() for x, e in zip(value_and_gradients(function, rows, dtype), exact, strict=True)]
        for function in (plain, fast)
    ]
    for name, theirs, ours in zip(("value", *rows), *errors, strict=True):
        assert ours <= 2 * theirs + 1e-6, name


@pytest.mark.parametrize("length", [3, 70])
def test_gradients_are_those_of_finite_differences(length):
    rows = [row.requires_grad_() for row in steps(length, rows=2, ends=0).values()]
    for function in (lambda r, d, v: blocked.gae(r, d, v, 0.9), lambda r, d, v: blocked.recurrence(r, d, v[:, -1])):
        assert torch.autograd.gradcheck(function, rows)
        assert torch.autograd.gradgradcheck(function, rows)


@pairs
@pytest.mark.parametrize("poison", [nan, inf, 1e300])
@pytest.mark.parametrize("end", [0, 40, 98])
def test_nothing_behind_an_end_reaches_back_over_it(plain, fast, poison, end):
    rows = steps(100)
    rows["discounts"][:, end] = 0
    clean = call(fast, rows)[:, : end + 1]
    leaves = {name: row.clone() for name, row in rows.items()}
    leaves["rewards"][:, end + 1 :] = leaves["values"][:, end + 1 :] = poison
    for row in leaves.values():
        row.requires_grad_()
    got = call(fast, leaves)[:, : end + 1]
    assert torch.allclose(got, clean, rtol=0, atol=1e-12)
    got.sum().backward()
    for name in ("rewards", "values"):
        assert torch.isfinite(leaves[name].grad).all(), name
        assert (leaves[name].grad[:, end + 1 :] == 0).all(), name


def test_a_gradient_that_is_not_finite_does_not_cross_an_end_either():
    x = torch.zeros(1, 100, requires_grad=True)
    keep = torch.full((1, 100), 0.5)
    keep[0, 49] = 0
    grad = torch.zeros(1, 100)
    grad[0, 10] = nan
    (got,) = torch.autograd.grad(blocked.recurrence(x, keep, torch.zeros(1)), x, grad)
    assert torch.isnan(got[0, 10:50]).all()
    assert (got[0, 50:] == 0).all()
    assert (got[0, :10] == 0).all()


@pairs
def test_rows_that_are_not_contiguous_and_mixed_dtypes_give_the_same(plain, fast):
    rows = steps(100)
    turned = {name: row.t().contiguous().t() for name, row in rows.items()}
    assert torch.allclose(call(fast, turned), call(plain, rows), atol=1e-12)
    mixed = {**rows, "rewards": rows["rewards"].float(), "discounts": rows["discounts"] > 0}
    assert torch.allclose(call(fast, mixed), call(plain, mixed), atol=1e-12)
    assert call(fast, mixed).dtype is call(plain, mixed).dtype


@pairs
def test_arguments_are_left_as_they_were(plain, fast):
    for length in (5, 100):
        rows = steps(length)
        call(fast, rows)
        assert all(torch.equal(row, steps(length)[name]) for name, row in rows.items())


@pairs
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("discounts", 1.5, r"discounts is 1.5, expected a number in \[0, 1\]"),
        ("discounts", nan, r"discounts is nan, expected a number in \[0, 1\]"),
        ("rewards", nan, r"rewards holds nan at index \[0, 0\], expected finite numbers"),
    ],
)
def test_bad_numbers_are_named_as_by_the_reference(plain, fast, name, value, message):
    rows = steps(5)
    rows[name][0, 0] = value
    for function in (plain, fast):
        with pytest.raises(ValueError, match=message):
            call(function, rows)


@pairs
def test_wrong_shapes_are_named_as_by_the_reference(plain, fast):
    rows = steps(5)
    rows["discounts"] = rows["discounts"][:, :4]
    for function in (plain, fast):
        with pytest.raises(ValueError, match=r"discounts has shape \[3, 4\], expected \[B, T\] with B=3, T=5"):
            call(function, rows)
