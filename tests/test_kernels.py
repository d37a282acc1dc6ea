"""A fast twin is chosen by name, and only where it can run; what it computes is tested beside each module of twins."""

import inspect

import pytest
import torch

from rlcore import kernels, masked, returns
from rlcore.kernels import returns as twins
from rlcore.loops import tabular

PAIRS = [
    (getattr(returns, name), getattr(twins, name))
    for name in ("discounted_returns", "gae", "lambda_returns", "recurrence")
]
pairs = pytest.mark.parametrize(("plain", "fast"), PAIRS, ids=lambda f: f.__name__)


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
    assert kernels.best(tabular.control, like=like) is tabular.control  # a loop, rooms below it have no such module
    assert kernels.best(test_without_a_twin_the_reference_comes_back, like=like).__module__ == __name__


def test_whole_numbers_keep_the_reference():
    assert kernels.best(returns.gae, like=torch.zeros(2, 3, dtype=torch.long)) is returns.gae


def test_what_is_no_tensor_is_named():
    with pytest.raises(ValueError, match=r"like is 'cuda' \(str\), expected a tensor"):
        kernels.best(returns.gae, like="cuda")
