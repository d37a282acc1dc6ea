"""Around the loss: rejection sampling against enumeration and simulation, β-DPO's direction, merging and shrinking."""

import math

import pytest
import torch
from scipy.stats import chisquare

from rlcore import dpo
from rlcore import dpo_training as around

REF, REWARDS = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.0, 1.0, 2.0]).double()
OPTIMUM = torch.tensor([0.036667, 0.162559, 0.800774]).double()  # β = ½


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_what_is_kept_of_the_reference_is_distributed_like_the_optimum():
    kept = REF * around.acceptance_probabilities(REWARDS, beta=0.5)
    torch.testing.assert_close(kept / kept.sum(), OPTIMUM, atol=1e-6, rtol=0)
    everything = around.acceptance_probabilities(REWARDS, beta=1e9)
    torch.testing.assert_close(everything, torch.ones(3).double())


@pytest.mark.parametrize("seed", range(3))
def test_kept_draws_pass_a_chi_squared_test(seed):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.multinomial(REF, 60_000, replacement=True, generator=generator)
    chances = around.acceptance_probabilities(REWARDS, beta=0.5)[drawn]
    kept = drawn[torch.rand(60_000, generator=generator, dtype=torch.float64) < chances]
    counts = kept.bincount(minlength=3).double()
    assert chisquare(counts.numpy(), (OPTIMUM / OPTIMUM.sum() * counts.sum()).numpy()).pvalue > 1e-3


def test_among_a_few_candidates_the_best_is_always_kept():
    """With the largest reward of K draws instead of all, chances are relative to the best drawn."""
    chances = around.acceptance_probabilities(torch.tensor([[0.0, 1.0], [5.0, 4.0]]), beta=1e-3)
    assert chances.tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_large_margins_give_a_large_beta_and_a_large_beta_moves_less():
    """The gradient at a margin of 20 is 0.00002 with β = ½ and 0.01345 with 0.05: easy pairs are left in peace."""
    usual = {"beta": 0.1, "alpha": 0.6, "mean_margin": 2.0, "least": 1e-3}
    easy = around.dynamic_beta(torch.tensor([4.0, 6.0]), **usual)
    hard = around.dynamic_beta(torch.tensor([0.0, 1.0]), **usual)
    assert easy.item() == pytest.approx(0.28)
    assert hard.item() == pytest.approx(0.01)
    assert around.dynamic_beta(torch.tensor([1.0, 3.0]), **usual).item() == pytest.approx(0.1)  # as usual: β_0
    h = torch.tensor([20.0], dtype=torch.float64, requires_grad=True)
    slopes = [torch.autograd.grad(dpo.dpo_loss(h, beta).sum(), h)[0].item() for beta in (0.05, 0.5)]
    assert slopes == pytest.approx([-0.01345, -0.00002], abs=5e-6)


def test_beta_has_no_gradient_and_fits_the_loss():
    h = torch.tensor([1.0, 3.0], requires_grad=True)
    beta = around.dynamic_beta(h, 0.1, 0.5, 1.0, 1e-3)
    assert not beta.requires_grad
    torch.testing.assert_close(dpo.dpo_loss(h, beta), dpo.dpo_loss(h, beta.item()))


def test_keep_weights_are_a_normal_density_and_cut_both_tails():
    h = torch.tensor([-8.0, 1.0, 2.0, 3.0, 12.0]).double()
    weights = around.keep_weights(h, mean_margin=2.0, std_margin=1.5)
    density = torch.distributions.Normal(2.0, 1.5).log_prob(h).exp()
    torch.testing.assert_close(weights, density / density.sum())
    assert weights.argmax() == 2
    assert weights[0].item() == pytest.approx(weights[4].item())
    far = around.keep_weights(torch.tensor([500.0, 501.0]), mean_margin=0.0, std_margin=1.0)
    assert far.tolist() == [1.0, 0.0]  # no 0/0 where all are unusual
    assert not around.keep_weights(h.requires_grad_(), 2.0, 1.5).requires_grad


def test_a_margin_is_the_policys_gap_over_the_references():
    four = [numbers(seed, 5) for seed in range(4)]
    gap = around.reference_gap(four[0], four[1]) - around.reference_gap(four[2], four[3])
    torch.testing.assert_close(gap, dpo.margin(*four))


def test_a_merge_adds_changes_and_keeps_each_where_the_other_is_silent():
    start, change = numbers(0, 6), torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]).double()
    merged = around.parallel_merge(start, start + change, start - 2 * (1 - change), share=1.0, weight=1.0)
    torch.testing.assert_close(merged, start + change - 2 * (1 - change))
    torch.testing.assert_close(around.parallel_merge(start, start + 1, start - 7, share=0.5, weight=0.0), start + 0.5)


def test_shrink_is_where_the_penalised_distance_is_least():
    change, grid = numbers(0, 20), torch.linspace(-4, 4, 80_001, dtype=torch.float64)
    cost = (grid - change[:, None]) ** 2 / 2 + 0.4 * grid.abs()
    torch.testing.assert_close(around.shrink(change, 0.4), grid[cost.argmin(-1)], atol=1e-4, rtol=0)
    assert (around.shrink(change, 0.4)[change.abs() < 0.4] == 0).all()


one, nan = torch.ones(1), torch.tensor([math.nan])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: around.acceptance_probabilities(torch.ones(2, 0), 1.0), "expected at least 1 reply"),
        (lambda: around.acceptance_probabilities(nan, 1.0), "rewards holds nan"),
        (lambda: around.acceptance_probabilities(one, 0.0), "beta is 0"),
        (lambda: around.dynamic_beta(torch.ones(0), 0.1, 0.5, 0.0, 0.1), "margin has no pairs"),
        (lambda: around.dynamic_beta(nan, 0.1, 0.5, 0.0, 0.1), "margin holds nan"),
        (lambda: around.dynamic_beta(one, 0.0, 0.5, 0.0, 0.1), "beta is 0"),
        (lambda: around.dynamic_beta(one, 0.1, -0.5, 0.0, 0.1), "alpha is -0.5"),
        (lambda: around.dynamic_beta(one, 0.1, 0.5, math.nan, 0.1), "mean_margin holds nan"),
        (lambda: around.dynamic_beta(one, 0.1, 0.5, 0.0, 0.0), "least is 0"),
        (lambda: around.keep_weights(torch.ones(0), 0.0, 1.0), "margin has no pairs"),
        (lambda: around.keep_weights(torch.ones(1, 1), 0.0, 1.0), r"margin has shape \[1, 1\]"),
        (lambda: around.keep_weights(one, 0.0, 0.0), "std_margin is 0"),
        (lambda: around.keep_weights(one, math.inf, 1.0), "mean_margin holds inf"),
        (lambda: around.reference_gap(one, torch.ones(2)), r"ref_rejected_logps has shape \[2\]"),
        (lambda: around.reference_gap(nan, one), "ref_chosen_logps holds nan"),
        (lambda: around.parallel_merge(one, torch.ones(2), one, 1.0, 1.0), r"tuned has shape \[2\]"),
        (lambda: around.parallel_merge(one, one, nan, 1.0, 1.0), "preferred holds nan"),
        (lambda: around.parallel_merge(one, one, one, math.nan, 1.0), "share holds nan"),
        (lambda: around.shrink(nan, 1.0), "change holds nan"),
        (lambda: around.shrink(one, -1.0), "threshold is -1"),
    ],
)
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
