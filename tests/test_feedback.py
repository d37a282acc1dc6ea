"""Losses of single replies against their definitions, finite differences, limits, and the optimum of RLHF."""

import math
from functools import partial

import pytest
import torch

from rlcore import dpo, feedback

REF, REWARDS = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.0, 1.0, 2.0]).double()
GOOD, BAD = torch.tensor([True]), torch.tensor([False])
KTO = partial(feedback.kto_loss, beta=0.4, weight_desirable=1.0, weight_undesirable=1.0)


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels(*shape: int) -> torch.Tensor:
    return torch.arange(math.prod(shape)).view(shape) % 2 == 0


def slope(loss, at: float) -> float:
    x = torch.tensor([at], dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(loss(x).sum(), x)[0].item()


def test_kto_is_weight_minus_value_on_both_branches():
    """λ − λ σ(β (ρ − z)) for good ones, λ − λ σ(β (z − ρ)) for bad ones: prospect theory's value of a reply."""
    ratios, z, beta = numbers(0, 6), 0.3, 0.4
    found = feedback.kto_loss(ratios, labels(6), z, beta, weight_desirable=1.0, weight_undesirable=1.5)
    for rho, desirable, loss in zip(ratios.tolist(), labels(6).tolist(), found.tolist(), strict=True):
        sign, weight = (1, 1.0) if desirable else (-1, 1.5)
        value = weight / (1 + math.exp(-sign * beta * (rho - z)))
        assert loss == pytest.approx(weight - value, abs=1e-12)


def test_good_and_bad_of_the_same_reply_share_one_unit_of_value():
    ratios = numbers(0, 6)
    good, bad = (KTO(ratios, torch.full((6,), label), 0.3) for label in (True, False))
    torch.testing.assert_close(good + bad, torch.ones(6).double())


def test_kto_moves_most_at_the_reference_point_and_gives_up_on_both_sides():
    slopes = [slope(lambda x: KTO(x, GOOD, 2.0), at) for at in (-28.0, -8.0, 2.0, 12.0, 32.0)]
    assert slopes[2] == pytest.approx(-0.4 / 4)
    assert slopes[0] > slopes[1] > slopes[2] < slopes[3] < slopes[4]
    assert slopes[0] == pytest.approx(slopes[4])
    assert slope(lambda x: dpo.dpo_loss(x, 0.4), -28.0) == pytest.approx(-0.4, abs=1e-4)  # DPO does not give up


def test_no_gradient_flows_through_a_reference_point_or_a_shift():
    ratios, point = numbers(0, 4).requires_grad_(), torch.tensor(0.5).double().requires_grad_()
    for loss in (KTO(ratios, labels(4), point), feedback.bco_loss(ratios, labels(4), point, beta=0.4)):
        assert torch.autograd.grad(loss.sum(), (ratios, point), allow_unused=True)[1] is None
    assert not feedback.kto_reference_point(ratios).requires_grad
    assert not feedback.bco_shift(ratios, labels(4), 0.4).requires_grad


def test_weights_make_up_for_classes_of_different_size():
    """One good to five bad: at the reference the pulls balance when λ_D n_D = λ_U n_U."""
    ratios, desirable = torch.zeros(6, requires_grad=True), torch.tensor([True] + [False] * 5)
    loss = feedback.kto_loss(ratios, desirable, 0.0, 0.4, weight_desirable=5.0, weight_undesirable=1.0)
    assert torch.autograd.grad(loss.sum(), ratios)[0].sum().item() == pytest.approx(0, abs=1e-7)


def test_the_reference_point_is_a_mean_cut_at_zero():
    assert feedback.kto_reference_point(torch.tensor([1.0, 2.0, 6.0])).item() == 3.0
    assert feedback.kto_reference_point(torch.tensor([1.0, -2.0])).item() == 0.0


LOSSES = {
    "kto": lambda x: feedback.kto_loss(x, labels(6), 0.3, 0.4, 1.0, 1.5),
    "bco": lambda x: feedback.bco_loss(x, labels(6), 0.3, 0.4),
    "npo": lambda x: feedback.npo_loss(x, 0.4),
    "d2o, samples": lambda x: feedback.d2o_loss(x.view(2, 3), numbers(1, 2), 0.4, 0.7),
    "d2o, rejected": lambda x: feedback.d2o_loss(numbers(1, 6, 3), x, 0.4, 0.7),
    "dro, policy": lambda x: feedback.dro_loss(x, numbers(1, 6), numbers(2, 6), 0.4),
    "dro, value": lambda x: feedback.dro_loss(numbers(1, 6), numbers(2, 6), x, 0.4),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_finite_differences(name):
    assert torch.autograd.gradcheck(LOSSES[name], numbers(0, 6).requires_grad_())


def test_huge_ratios_stay_finite():
    ratios = torch.tensor([-1e4, 1e4], requires_grad=True)
    both = torch.tensor([True, False])
    for loss in (KTO(ratios, both, 0.0), feedback.bco_loss(ratios, both, 0.0, 1.0), feedback.npo_loss(ratios, 1.0)):
        assert torch.isfinite(loss).all()
        assert torch.isfinite(torch.autograd.grad(loss.sum(), ratios)[0]).all()


def test_bco_is_cross_entropy_of_good_and_bad_and_bounds_dpo_from_above():
    ratios, beta, shift = numbers(0, 6), 0.4, 0.3
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(
        beta * ratios - shift, labels(6).double(), reduction="none"
    )
    torch.testing.assert_close(feedback.bco_loss(ratios, labels(6), shift, beta), wanted)
    good, bad = 3 * numbers(1, 50), 3 * numbers(2, 50)
    every = torch.ones(50, dtype=torch.bool)
    for shift in (-1.0, 0.0, 0.7):
        both = feedback.bco_loss(good, every, shift, beta) + feedback.bco_loss(bad, ~every, shift, beta)
        assert (both > dpo.dpo_loss(good - bad, beta)).all()


def test_the_shift_weighs_both_kinds_alike_however_many_there_are():
    ratios = torch.tensor([4.0, 0.0, 0.0, 0.0, 0.0])
    shift = feedback.bco_shift(ratios, torch.tensor([True, False, False, False, False]), beta=0.5)
    assert shift.item() == 1.0  # the mean over all replies is 0.4


def test_dro_has_its_only_minimum_at_the_optimum_of_rlhf_and_the_value_of_the_prompt():
    beta, data = 0.5, torch.tensor([0.2, 0.2, 0.6]).double()  # any data that hold every reply
    logits, value = torch.zeros(3).double().requires_grad_(), torch.zeros(()).double().requires_grad_()
    tolerance = {"tolerance_grad": 1e-12, "tolerance_change": 1e-18}
    optimiser = torch.optim.LBFGS([logits, value], max_iter=500, line_search_fn="strong_wolfe", **tolerance)

    def closure():
        optimiser.zero_grad()
        loss = data @ feedback.dro_loss(logits.log_softmax(-1) - REF.log(), REWARDS, value.expand(3), beta)
        loss.backward()
        return loss

    optimiser.step(closure)
    assert value.item() == pytest.approx(1.306369, abs=1e-5)  # β log Z
    wanted = torch.tensor([0.036667, 0.162559, 0.800774]).double()
    torch.testing.assert_close(logits.detach().softmax(-1), wanted, atol=1e-5, rtol=0)
    assert closure().item() < 1e-10


def test_npo_is_half_of_dpo_scaled_and_has_the_known_value():
    ratios = numbers(0, 6)
    torch.testing.assert_close(feedback.npo_loss(ratios, 0.4), 2 / 0.4 * dpo.dpo_loss(-ratios, 0.4))
    assert feedback.npo_loss(torch.tensor([-1.0]), 0.1).item() == pytest.approx(12.887933, abs=1e-5)


def test_npo_becomes_gradient_ascent_as_beta_goes_to_zero_and_stops_otherwise():
    ratios = numbers(0, 6)
    beta = 1e-5
    torch.testing.assert_close(feedback.npo_loss(ratios, beta) - 2 / beta * math.log(2), ratios, atol=1e-4, rtol=0)
    assert slope(lambda x: feedback.npo_loss(x, beta), -50.0) == pytest.approx(1, abs=1e-3)
    for at in (-50.0, 0.0, 3.0):
        wanted = 2 / (1 + math.exp(-0.4 * at))
        assert slope(lambda x: feedback.npo_loss(x, 0.4), at) == pytest.approx(wanted, abs=1e-9)


def test_of_one_sample_d2o_is_dpo_and_of_many_each_counts_a_share():
    samples, rejected = numbers(0, 5, 4), numbers(1, 5)
    one = feedback.d2o_loss(samples[:, :1], rejected, 0.4, 0.4)
    torch.testing.assert_close(one, dpo.dpo_loss(samples[:, 0] - rejected, 0.4))
    samples.requires_grad_()
    gradient = torch.autograd.grad(feedback.d2o_loss(samples, rejected, 0.4, 0.7).sum(), samples)[0]
    torch.testing.assert_close(gradient, gradient[:, :1].expand(5, 4))
    each = torch.stack([dpo.dpo_loss(samples[:, k] - rejected, 0.4) for k in range(4)])
    assert (feedback.d2o_loss(samples, rejected, 0.4, 0.4) < each.mean(0)).all()  # Jensen


one, nan = torch.ones(1), torch.tensor([math.nan])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: KTO(nan, GOOD, 0.0), "log_ratios holds nan"),
        (lambda: KTO(one, torch.ones(1), 0.0), "desirable has dtype torch.float32, expected torch.bool"),
        (lambda: KTO(one, torch.tensor([True, False]), 0.0), r"desirable has shape \[2\]"),
        (lambda: KTO(one, GOOD, -1.0), "reference_point is -1"),
        (lambda: KTO(one, GOOD, one), r"reference_point has shape \[1\], expected \[\]"),
        (lambda: KTO(one, GOOD, math.nan), "reference_point holds nan"),
        (lambda: feedback.kto_loss(one, GOOD, 0.0, 0.0, 1.0, 1.0), "beta is 0"),
        (lambda: feedback.kto_loss(one, GOOD, 0.0, 0.1, 0.0, 1.0), "weight_desirable is 0"),
        (lambda: feedback.kto_loss(one, GOOD, 0.0, 0.1, 1.0, -1.0), "weight_undesirable is -1"),
        (lambda: feedback.kto_reference_point(torch.ones(0)), "mismatched_log_ratios is empty"),
        (lambda: feedback.kto_reference_point(nan), "mismatched_log_ratios holds nan"),
        (lambda: feedback.bco_loss(one, GOOD, torch.ones(1), 0.1), r"shift has shape \[1\]"),
        (lambda: feedback.bco_loss(one, GOOD, math.inf, 0.1), "shift holds inf"),
        (lambda: feedback.bco_loss(one, GOOD, 0.0, 0.0), "beta is 0"),
        (lambda: feedback.bco_loss(one, one, 0.0, 0.1), "desirable has dtype"),
        (lambda: feedback.bco_shift(one, GOOD, 0.1), "desirable is the same for all replies"),
        (lambda: feedback.bco_shift(one, BAD, 0.1), "desirable is the same for all replies"),
        (lambda: feedback.bco_shift(torch.ones(2), labels(2), -0.1), "beta is -0.1"),
        (lambda: feedback.dro_loss(one, one, torch.ones(2), 0.1), r"values has shape \[2\]"),
        (lambda: feedback.dro_loss(one, nan, one, 0.1), "rewards holds nan"),
        (lambda: feedback.dro_loss(one, one, one, 0.0), "beta is 0"),
        (lambda: feedback.npo_loss(torch.ones(1, 1), 0.1), r"log_ratios has shape \[1, 1\]"),
        (lambda: feedback.npo_loss(nan, 0.1), "log_ratios holds nan"),
        (lambda: feedback.npo_loss(one, 0.0), "beta is 0"),
        (lambda: feedback.d2o_loss(torch.ones(1, 0), one, 0.1, 0.1), "expected at least 1 sample"),
        (lambda: feedback.d2o_loss(torch.ones(2, 1), one, 0.1, 0.1), r"rejected_log_ratios has shape \[1\]"),
        (lambda: feedback.d2o_loss(torch.ones(1, 1), nan, 0.1, 0.1), "rejected_log_ratios holds nan"),
        (lambda: feedback.d2o_loss(torch.ones(1, 1), one, 0.1, 0.0), "alpha is 0"),
    ],
)
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
