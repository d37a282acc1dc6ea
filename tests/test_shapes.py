"""shapes: the checks at the door name the variable, what it is, and what was expected."""

import math

import pytest
import torch

from rlcore import shapes

x = torch.zeros(2, 3)


def test_need_returns_the_size_of_every_axis():
    assert shapes.need(a=(x, "B T"), b=(torch.zeros(4), "T+1"), c=(torch.zeros(1, 2), "T-2 2")) == {"B": 2, "T": 3}


def test_need_lets_any_leading_axes_pass_where_the_shape_begins_with_dots():
    assert shapes.need(v=(torch.zeros(7, 5, 3), "... S"), q=(torch.zeros(3, 4), "... S A")) == {"S": 3, "A": 4}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"a": (x, "B")}, r"a has shape \[2, 3\], expected \[B\]: 1 axes, it has 2"),
        ({"a": (x[0], "... B T")}, r"a has shape \[3\], expected \[\.\.\., B, T\]: 2 axes at least, it has 1"),
        ({"a": (x, "B T"), "b": (x, "T B")}, r"b .* with B=2, T=3: axis T should be 3, it is 2"),
        ({"a": (x, "2 4")}, r"a has shape \[2, 3\], expected \[2, 4\]: axis 4 should be 4, it is 3"),
        ({"a": ([1.0], "B")}, r"a is list, expected a tensor of shape \[B\]"),
        ({"a": (None, "B")}, r"a is None"),
    ],
)
def test_need_names_the_tensor_that_does_not_fit(tensors, message):
    with pytest.raises(ValueError, match=message):
        shapes.need(**tensors)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_finite_names_the_place(bad):
    rewards = torch.zeros(2, 2)
    rewards[1, 0] = bad
    with pytest.raises(ValueError, match=rf"rewards holds {bad} at index \[1, 0\]"):
        shapes.finite(rewards=rewards)


def test_finite_looks_into_a_sparse_tensor():
    sparse = torch.tensor([[0.0, math.nan]]).to_sparse_csr()
    with pytest.raises(ValueError, match="transitions holds nan"):
        shapes.finite(transitions=sparse)


@pytest.mark.parametrize("bad", [-0.01, 1.01, math.nan, torch.tensor([0.5, 2.0])])
def test_within_refuses_what_lies_outside_and_nan(bad):
    with pytest.raises(ValueError, match=r"lam is .*, expected a number in \[0, 1\]"):
        shapes.within(0, 1, lam=bad)


@pytest.mark.parametrize("bad", ["0.5", None, True])
def test_within_refuses_what_is_no_number(bad):
    with pytest.raises(ValueError, match=r"lam is .*expected a number"):
        shapes.within(0, 1, lam=bad)


def test_within_accepts_both_ends():
    shapes.within(0, 1, lam=0, gamma=1.0, both=torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize("bad", [0, -1.0, math.inf, math.nan])
def test_positive_refuses_zero_less_and_what_is_not_finite(bad):
    with pytest.raises(ValueError, match=r"beta is .*, expected a finite number above 0"):
        shapes.positive(beta=bad)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0.5, 0.5], [0.7, 0.7]], r"policy sums to 1.4 at row \[1\]"),
        ([[1.5, -0.5]], r"policy is -0.5 at index \[0, 1\], expected 0 or more"),
        ([0.5, 0.4], r"policy sums to 0.9 at row \[\]"),
        ([[math.nan, 1.0]], "policy holds nan"),
    ],
)
def test_probabilities_names_the_row(rows, message):
    with pytest.raises(ValueError, match=message):
        shapes.probabilities(policy=torch.tensor(rows))


def test_probabilities_is_stricter_in_float64():
    almost = torch.tensor([0.5, 0.5 + 1e-6], dtype=torch.float64)
    shapes.probabilities(policy=almost.float())
    with pytest.raises(ValueError, match="policy sums to 1"):
        shapes.probabilities(policy=almost)


@pytest.mark.parametrize("bad", [0, 1.0, True, "1", None])
def test_whole_refuses_what_is_too_small_or_not_whole(bad):
    with pytest.raises(ValueError, match=r"k is .*, expected a whole number, 1 or more"):
        shapes.whole(1, k=bad)


def test_whole_accepts_the_least():
    shapes.whole(0, k=0, n=7)


@pytest.mark.parametrize("shape", [(2, 3), (2, 1), (1, 3), (1, 1)])
def test_beside_accepts_the_same_axes_and_axes_of_size_one(shape):
    shapes.beside(logps=x, advantages=torch.zeros(shape))


@pytest.mark.parametrize("shape", [(2,), (3,), (3, 2), (1, 2, 3)])
def test_beside_refuses_other_axes(shape):
    with pytest.raises(ValueError, match=r"advantages has shape .*, expected \[2, 3\]"):
        shapes.beside(logps=x, advantages=torch.zeros(shape))


def test_numbers_are_checked_in_double_precision():
    shapes.positive(beta=1e-300)
    with pytest.raises(ValueError, match="gamma is 1"):
        shapes.within(0, 1, gamma=1 + 1e-12)
