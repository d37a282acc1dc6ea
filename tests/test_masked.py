"""masked: the three denominators against loops over tokens, by value and by gradient."""

import pytest
import torch

from rlcore import masked

LENGTHS = [3, 1, 4]
x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
mask = torch.arange(4) < torch.tensor(LENGTHS)[:, None]
REDUCTIONS = [masked.mean_over_tokens, masked.mean_over_sequences, lambda x, m: masked.sum_over_constant(x, m, 4)]
# What one token weighs, from the definition: 1/Σ lengths;  1/(B · own length);  1/(B · constant).
WEIGHTS = [[1 / 8] * 3, [1 / 9, 1 / 3, 1 / 12], [1 / 12] * 3]


@pytest.mark.parametrize(("reduce", "weights"), zip(REDUCTIONS, WEIGHTS, strict=True))
def test_value_and_gradient_are_those_of_the_definition(reduce, weights):
    want = sum(weights[b] * x[b, t].item() for b in range(3) for t in range(LENGTHS[b]))
    leaf = x.clone().requires_grad_()
    got = reduce(leaf, mask)
    got.backward()
    assert got.item() == pytest.approx(want, abs=1e-12)
    assert torch.allclose(leaf.grad, torch.tensor(weights, dtype=torch.float64)[:, None] * mask, atol=1e-12)


@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_what_stands_behind_the_mask_reaches_neither_value_nor_gradient(reduce, poison):
    leaf = torch.where(mask, x, poison).requires_grad_()
    got = reduce(leaf, mask)
    got.backward()
    assert torch.equal(got, reduce(x, mask))
    assert torch.isfinite(leaf.grad).all()


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_with_equal_lengths_the_two_means_agree(reduce):
    full = torch.ones_like(mask)
    assert reduce(x, full).item() == pytest.approx(x.mean().item(), abs=1e-12)


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_bad_input_is_named(reduce):
    with pytest.raises(ValueError, match=r"mask .*has no True"):
        reduce(x, torch.zeros_like(mask))
    with pytest.raises(ValueError, match=r"mask has dtype torch.float64, expected torch.bool"):
        reduce(x, mask.double())
    with pytest.raises(ValueError, match=r"mask has shape \[4\]"):
        reduce(x, mask[0])


def test_an_empty_sequence_has_no_mean():
    some = mask.clone()
    some[1] = False
    with pytest.raises(ValueError, match="mask has no True in sequence 1"):
        masked.mean_over_sequences(x, some)


def test_the_constant_must_be_positive():
    with pytest.raises(ValueError, match="constant is 0, expected a finite number above 0"):
        masked.sum_over_constant(x, mask, 0)
