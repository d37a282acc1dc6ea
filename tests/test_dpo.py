"""Losses of a margin against pencil, finite differences, exact optima and the policies they train."""

import inspect
import math
from functools import partial

import pytest
import torch
from scipy.optimize import minimize_scalar

from rlcore import dpo, rankings
from rlcore.preferences import bradley_terry

REF, REWARDS = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.0, 1.0, 2.0]).double()
PAIR = [torch.tensor([x]).double() for x in (-12, -15, -13, -14)]
MARGIN_LOSSES = {
    "dpo": dpo.dpo_loss,
    "cdpo": partial(dpo.cdpo_loss, flip_rate=0.2),
    "robust": partial(dpo.robust_dpo_loss, flip_rate=0.2),
    "ipo": dpo.ipo_loss,
    "hinge": dpo.hinge_loss,
}


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def optimum(beta: float, rewards=REWARDS) -> torch.Tensor:
    """π* of RLHF, by its definition."""
    return (REF * (rewards / beta).exp()) / (REF * (rewards / beta).exp()).sum()


def trained(loss, logits=None, steps=300):
    """Log-probabilities of the three replies that minimise loss(log_ratios [3]), by L-BFGS."""
    logits = torch.zeros(3).double() if logits is None else logits
    logits.requires_grad_()
    tolerance = {"tolerance_grad": 1e-12, "tolerance_change": 1e-16}
    optimiser = torch.optim.LBFGS([logits], max_iter=steps, line_search_fn="strong_wolfe", **tolerance)

    def closure():
        optimiser.zero_grad()
        value = loss(logits.log_softmax(-1) - REF.log())
        value.backward()
        return value

    optimiser.step(closure)
    return logits.detach().log_softmax(-1), closure().detach()


def expected_over_pairs(loss, chances):
    """E over all ordered pairs and both labels; chances[i, j] that i is preferred to j."""
    i, j = (~torch.eye(3, dtype=torch.bool)).nonzero().T
    return lambda log_ratios: (chances[i, j] * loss(log_ratios[i] - log_ratios[j])).mean()


BT = bradley_terry(REWARDS[:, None].expand(3, 3), REWARDS.expand(3, 3))


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        (lambda h: dpo.dpo_loss(h, 0.1), 0.598139),
        (lambda h: dpo.cdpo_loss(h, 0.1, flip_rate=0.1), 0.618139),
        (lambda h: dpo.robust_dpo_loss(h, 0.1, flip_rate=0.1), 0.573139),
        (lambda h: dpo.ipo_loss(h, 0.1), 9.0),
        (lambda h: dpo.hinge_loss(h, 0.1), 0.8),
        (lambda h: dpo.tdpo1_loss(h, torch.tensor([0.3]).double(), torch.tensor([0.5]).double(), 0.1), 0.607192),
        (lambda h: dpo.dpop_loss(*PAIR, beta=0.1, penalty=50), 0.598139),
        (lambda h: dpo.dpop_loss(PAIR[0] - 2, *PAIR[1:], beta=0.1, penalty=50), 5.006715),
    ],
)
def test_the_known_losses_of_one_pair(call, wanted):
    """log π(y_w) = −12, log π(y_l) = −15, reference −13 and −14: margin 2."""
    h = dpo.margin(*PAIR)
    assert h.item() == 2
    assert call(h).item() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(
    ("beta", "h", "loss", "slope"),
    [
        (0.3, 0, math.log(2), -0.15),
        (0.5, 2, 0.313262, -0.134471),
        (0.5, -2, 1.313262, -0.365529),
        (0.1, 10, 0.313262, -0.026894),
    ],
)
def test_dpo_pulls_hardest_where_the_pair_is_ordered_wrongly(beta, h, loss, slope):
    margin = torch.tensor([float(h)], dtype=torch.float64, requires_grad=True)
    value = dpo.dpo_loss(margin, beta)
    assert value.item() == pytest.approx(loss, abs=1e-6)
    assert torch.autograd.grad(value.sum(), margin)[0].item() == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize("name", MARGIN_LOSSES)
def test_gradients_are_those_of_finite_differences(name):
    loss = partial(MARGIN_LOSSES[name], beta=0.3)
    assert torch.autograd.gradcheck(loss, (3 * numbers(0, 6)).requires_grad_())
    assert loss(numbers(0, 6)).shape == (6,)


def test_gradients_of_the_losses_with_more_arguments_are_those_of_finite_differences():
    four = [numbers(seed, 5).requires_grad_() for seed in range(4)]
    assert torch.autograd.gradcheck(dpo.margin, four)
    assert torch.autograd.gradcheck(partial(dpo.dpop_loss, beta=0.3, penalty=2.0), four)
    lengths = torch.tensor([1, 5, 9, 2, 3]), torch.tensor([4, 5, 1, 2, 8])
    assert torch.autograd.gradcheck(lambda h: dpo.rdpo_loss(h, *lengths, beta=0.3, alpha=0.1), four[:1])
    kls = [numbers(seed, 5).abs().requires_grad_() for seed in (4, 5)]
    assert torch.autograd.gradcheck(partial(dpo.tdpo1_loss, beta=0.3), [four[0], *kls])
    assert torch.autograd.gradcheck(
        lambda h, rejected: dpo.tdpo_loss(h, kls[0], rejected, beta=0.3, alpha=0.5), [four[0], kls[1]]
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_huge_margins_stay_finite_and_dtypes_stay(dtype):
    margin = torch.tensor([-1e4, 1e4], dtype=dtype, requires_grad=True)
    for loss in MARGIN_LOSSES.values():
        value = loss(margin, beta=1.0)
        assert value.dtype is dtype
        assert torch.isfinite(value).all()
        assert torch.isfinite(torch.autograd.grad(value.sum(), margin)[0]).all()
    assert dpo.dpo_loss(margin, 1.0).tolist() == [1e4, 0.0]


@pytest.mark.parametrize(
    ("loss", "p", "beta", "wanted"),
    [
        (dpo.dpo_loss, 0.9, 0.1, 21.972),
        (dpo.dpo_loss, 0.7, 0.1, 8.473),
        (dpo.dpo_loss, 0.9, 0.5, 4.394),
        (dpo.ipo_loss, 1.0, 0.1, 5.0),
        (dpo.ipo_loss, 0.9, 0.1, 4.0),
        (dpo.ipo_loss, 0.7, 0.1, 2.0),
        (dpo.ipo_loss, 0.9, 0.5, 0.8),
        (partial(dpo.cdpo_loss, flip_rate=0.1), 1.0, 0.5, 4.394),
        (partial(dpo.cdpo_loss, flip_rate=0.2), 1.0, 0.5, 2.773),
        (dpo.hinge_loss, 0.9, 0.1, 10.0),
    ],
)
def test_where_the_best_margin_is_when_a_share_p_prefers_the_chosen_reply(loss, p, beta, wanted):
    def mean(h):
        h = torch.tensor([h], dtype=torch.float64)
        return (p * loss(h, beta=beta) + (1 - p) * loss(-h, beta=beta)).item()

    assert minimize_scalar(mean, bounds=(0, 60), options={"xatol": 1e-8}).x == pytest.approx(wanted, abs=1e-3)


def test_at_flip_rate_zero_both_noisy_losses_are_dpo():
    h = numbers(0, 5)
    torch.testing.assert_close(dpo.cdpo_loss(h, 0.5, flip_rate=0.0), dpo.dpo_loss(h, 0.5))
    torch.testing.assert_close(dpo.robust_dpo_loss(h, 0.5, flip_rate=0.0), dpo.dpo_loss(h, 0.5))


def test_over_flipped_labels_robust_dpo_is_the_clean_loss_and_conservative_dpo_is_not():
    h, flips = torch.tensor([1.3]).double(), 0.2

    def expected(loss):
        return ((1 - flips) * loss(h, 0.5, flips) + flips * loss(-h, 0.5, flips)).item()

    assert dpo.dpo_loss(h, 0.5).item() == pytest.approx(0.420055, abs=1e-6)
    assert expected(dpo.robust_dpo_loss) == pytest.approx(0.420055, abs=1e-6)
    assert expected(dpo.cdpo_loss) == pytest.approx(0.628055, abs=1e-6)


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_with_all_pairs_seen_dpo_finds_the_optimum_of_rlhf(beta):
    found, _ = trained(expected_over_pairs(partial(dpo.dpo_loss, beta=beta), BT))
    torch.testing.assert_close(found.exp(), optimum(beta), atol=1e-5, rtol=0)


def test_the_inverted_ratio_has_the_same_loss_and_finds_the_worst_policy():
    loss = expected_over_pairs(partial(dpo.dpo_loss, beta=0.5), BT)
    right, low = trained(loss)
    wrong, low_as_well = trained(lambda log_ratios: loss(-log_ratios))
    assert low_as_well.item() == pytest.approx(low.item(), abs=1e-9)
    torch.testing.assert_close(wrong.exp(), optimum(0.5, -REWARDS), atol=1e-5, rtol=0)
    assert wrong.exp()[0].item() == pytest.approx(0.918672, abs=1e-5)
    assert right.exp()[2].item() == pytest.approx(0.800774, abs=1e-5)


def test_arguments_in_the_inverted_order_train_the_rejected_reply_and_the_loss_looks_as_good():
    """Policy and reference swapped: 200 steps on one pair, then 0.9897 stands at the other reply."""
    ends = {}
    for name, policy_first in (("right", True), ("inverted", False)):
        logits = torch.zeros(3, requires_grad=True)
        ref = torch.zeros(3).log_softmax(-1)
        optimiser = torch.optim.SGD([logits], lr=1.0)
        for _ in range(200):
            logps = logits.log_softmax(-1)
            first, second = (logps, ref) if policy_first else (ref, logps)
            loss = dpo.dpo_loss(dpo.margin(first[:1], first[1:2], second[:1], second[1:2]), beta=0.5).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        ends[name] = loss.item(), logits.softmax(-1).tolist()
    assert ends["right"][0] == pytest.approx(ends["inverted"][0], abs=1e-6) == pytest.approx(0.0103, abs=1e-4)
    assert ends["right"][1] == pytest.approx([0.9897, 0.0001, 0.0102], abs=1e-4)
    assert ends["inverted"][1] == pytest.approx([0.0001, 0.9897, 0.0102], abs=1e-4)


def test_implicit_rewards_of_the_optimum_are_the_rewards_up_to_a_constant():
    """β log π*/π_ref + β log Z = r: so the margin of π*, times β, is the difference of rewards."""
    best = optimum(0.5).log()
    three = best[[0, 0, 1]], best[[1, 2, 2]], REF.log()[[0, 0, 1]], REF.log()[[1, 2, 2]]
    torch.testing.assert_close(0.5 * dpo.margin(*three), REWARDS[[0, 0, 1]] - REWARDS[[1, 2, 2]])


def test_replies_in_no_pair_are_free():
    """Two policies with the same loss, 0.259 and 1.153 nats from the reference."""
    losses = []
    for policy in ([0.4, 0.1, 0.5], [0.08, 0.02, 0.9]):
        policy = torch.tensor(policy).double().log()
        losses.append(dpo.dpo_loss(dpo.margin(policy[:1], policy[1:2], REF.log()[:1], REF.log()[1:2]), 0.5).item())
    assert losses == pytest.approx([0.498043] * 2, abs=1e-6)


@pytest.mark.parametrize(("penalty", "lr", "steps", "chosen"), [(0.0, 0.5, 100, 0.0001), (5.0, 0.05, 3000, 0.335)])
def test_dpo_may_kill_the_chosen_reply_and_dpop_does_not(penalty, lr, steps, chosen):
    """Replies share features; chosen, rejected and another start at ⅓ each."""
    features = torch.tensor([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.3]])
    weights, ref = torch.zeros(2, requires_grad=True), torch.zeros(3).log_softmax(-1)
    optimiser = torch.optim.SGD([weights], lr=lr)
    for _ in range(steps):
        logps = (features @ weights).log_softmax(-1)
        loss = dpo.dpop_loss(logps[:1], logps[1:2], ref[:1], ref[1:2], beta=0.5, penalty=penalty).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.46  # both look trained
    assert (features @ weights).softmax(-1)[0].item() == pytest.approx(chosen, abs=2e-4)


def test_dpop_without_penalty_or_above_the_reference_is_dpo():
    four = [numbers(seed, 6) for seed in range(4)]
    h = dpo.margin(*four)
    torch.testing.assert_close(dpo.dpop_loss(*four, beta=0.3, penalty=0.0), dpo.dpo_loss(h, 0.3))
    above = [four[2].abs() + four[2], *four[1:]]
    torch.testing.assert_close(dpo.dpop_loss(*above, beta=0.3, penalty=9.0), dpo.dpo_loss(dpo.margin(*above), 0.3))


def test_with_probability_one_dpo_runs_away_and_ipo_stops_at_its_target():
    """A deterministic preference, Adam: 3.24, 9.91 after 100 and 1,000 steps, against 1.00 at both."""
    seen = {}
    for name, loss in (("dpo", dpo.dpo_loss), ("ipo", dpo.ipo_loss)):
        logits = torch.zeros(3, requires_grad=True)
        optimiser = torch.optim.Adam([logits], lr=0.02)
        seen[name] = []
        for step in range(1001):
            logps = logits.log_softmax(-1)
            h = logps[:1] - logps[1:2]
            value = loss(h, beta=0.5).sum()
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            seen[name] += [h.item()] if step in (100, 1000) else []
    assert seen["dpo"] == pytest.approx([3.24, 9.91], abs=0.01)
    assert seen["ipo"] == pytest.approx([1.0, 1.0], abs=0.01)


def test_ipo_finds_the_policy_that_wins_most_often_near_the_reference():
    """Its population optimum is π ∝ π_ref exp(p(y beats a random reply) / τ), also where no rewards explain p."""
    chances = torch.tensor([[0.5, 0.9, 0.3], [0.1, 0.5, 0.8], [0.7, 0.2, 0.5]]).double()
    found, _ = trained(expected_over_pairs(partial(dpo.ipo_loss, beta=0.4), chances))
    wanted = (REF * (chances.mean(-1) / 0.4).exp()).log().log_softmax(-1)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)


def test_rdpo_finds_the_rewards_when_the_optimum_pays_for_length():
    """π is the optimum for r − 0.1 |y|; with plus the probability is Bradley–Terry's of r, with minus 0.1978."""
    lengths, beta, alpha = torch.tensor([3, 10, 20]), 0.5, 0.1
    best = optimum(beta, REWARDS - alpha * lengths).log()
    h = dpo.margin(best[2:], best[:1], REF.log()[2:], REF.log()[:1])
    loss = dpo.rdpo_loss(h, lengths[2:], lengths[:1], beta, alpha)
    assert (-loss).exp().item() == pytest.approx(BT[2, 0].item()) == pytest.approx(0.8808, abs=1e-4)
    assert (-dpo.rdpo_loss(h, lengths[2:], lengths[:1], beta, -alpha)).exp().item() == pytest.approx(0.1978, abs=1e-4)


def test_rdpo_pushes_less_where_the_chosen_reply_is_longer_and_is_dpo_without_alpha():
    h = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([9, 5, 2]), torch.tensor([5, 5, 5])
    slopes = torch.autograd.grad(dpo.rdpo_loss(h, *lengths, beta=0.5, alpha=0.2).sum(), h)[0]
    assert slopes[0] > slopes[1] > slopes[2]
    torch.testing.assert_close(dpo.rdpo_loss(h, *lengths, beta=0.5, alpha=0.0), dpo.dpo_loss(h, 0.5))


def test_tdpo_goes_to_dpo_with_alpha_and_holds_only_the_rejected_reply():
    h, chosen, rejected = numbers(0, 4), numbers(1, 4).abs().requires_grad_(), numbers(2, 4).abs().requires_grad_()
    torch.testing.assert_close(dpo.tdpo_loss(h, chosen, rejected, 0.3, alpha=0.0), dpo.dpo_loss(h, 0.3))
    torch.testing.assert_close(dpo.tdpo_loss(h, chosen, rejected, 0.3, 1.0), dpo.tdpo1_loss(h, chosen, rejected, 0.3))
    gradients = torch.autograd.grad(
        dpo.tdpo_loss(h, chosen, rejected, 0.3, alpha=0.5).sum(), (chosen, rejected), allow_unused=True
    )
    assert gradients[0] is None
    assert (gradients[1] > 0).all()  # descending lowers the rejected reply's KL
    towards = torch.autograd.grad(dpo.tdpo1_loss(h, chosen, rejected, 0.3).sum(), (chosen, rejected))
    torch.testing.assert_close(towards[0], -towards[1])


def test_the_hinge_is_flat_beyond_its_margin():
    h = torch.tensor([9.0, 11.0], requires_grad=True)
    assert torch.autograd.grad(dpo.hinge_loss(h, 0.1).sum(), h)[0].tolist() == pytest.approx([-0.1, 0.0])


def test_a_beta_may_be_a_tensor():
    torch.testing.assert_close(
        dpo.dpo_loss(numbers(0, 3), torch.tensor(0.3).double()), dpo.dpo_loss(numbers(0, 3), 0.3)
    )


@pytest.mark.parametrize(
    ("name", "arguments"),
    {
        "margin": "chosen_logps rejected_logps ref_chosen_logps ref_rejected_logps",
        "dpo_loss": "margin beta",
        "ipo_loss": "margin beta",
        "hinge_loss": "margin beta",
        "cdpo_loss": "margin beta flip_rate",
        "robust_dpo_loss": "margin beta flip_rate",
        "dpop_loss": "chosen_logps rejected_logps ref_chosen_logps ref_rejected_logps beta penalty",
        "rdpo_loss": "margin chosen_lengths rejected_lengths beta alpha",
        "simpo_loss": "chosen_logps rejected_logps chosen_lengths rejected_lengths beta target",
        "orpo_loss": "chosen_logps rejected_logps chosen_lengths rejected_lengths weight",
        "cpo_loss": "chosen_logps rejected_logps beta weight",
        "tdpo_loss": "margin chosen_seq_kl rejected_seq_kl beta alpha",
        "plackett_luce_dpo_loss": "log_ratios ranking beta",
    }.items(),
)
def test_the_family_stands_in_one_module_under_its_names_without_defaults(name, arguments):
    parameters = inspect.signature(getattr(dpo, name)).parameters
    assert list(parameters) == arguments.split()
    assert all(parameter.default is inspect.Parameter.empty for parameter in parameters.values())
    assert dpo.simpo_loss is rankings.simpo_loss


one, nan = torch.ones(1), torch.tensor([math.nan])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: dpo.margin(one, one, one, torch.ones(2)), r"ref_rejected_logps has shape \[2\], expected \[B\]"),
        (lambda: dpo.margin(one, nan, one, one), "rejected_logps holds nan"),
        (lambda: dpo.margin(one, one, -torch.inf * one, one), "ref_chosen_logps holds -inf"),
        (lambda: dpo.margin(one[0], one[0], one[0], one[0]), r"chosen_logps has shape \[\], expected \[B\]"),
        (lambda: dpo.dpo_loss(nan, 0.1), "margin holds nan"),
        (lambda: dpo.dpo_loss(torch.ones(1, 2), 0.1), r"margin has shape \[1, 2\], expected \[B\]"),
        (lambda: dpo.dpo_loss(one, 0.0), "beta is 0, expected a finite number above 0"),
        (lambda: dpo.ipo_loss(one, -0.1), "beta is -0.1, expected a finite number above 0"),
        (lambda: dpo.hinge_loss(one, math.nan), "beta is nan"),
        (lambda: dpo.cdpo_loss(one, 0.1, flip_rate=1.1), r"flip_rate is 1.1, expected a number in \[0, 1\]"),
        (lambda: dpo.robust_dpo_loss(one, 0.1, flip_rate=0.5), "flip_rate is 0.5, expected below 0.5"),
        (lambda: dpo.robust_dpo_loss(one, 0.1, flip_rate=0.6), r"flip_rate is 0.6, expected a number in \[0, 0.5\]"),
        (lambda: dpo.dpop_loss(one, one, one, one, 0.1, penalty=-1.0), "penalty is -1"),
        (lambda: dpo.rdpo_loss(one, 0 * one, one, 0.1, 0.1), "chosen_lengths is 0, expected a number in"),
        (lambda: dpo.rdpo_loss(one, one, torch.ones(2), 0.1, 0.1), r"rejected_lengths has shape \[2\]"),
        (lambda: dpo.rdpo_loss(one, one, one, 0.1, math.nan), "alpha holds nan"),
        (lambda: dpo.tdpo_loss(one, one, one, 0.1, alpha=-1.0), "alpha is -1"),
        (lambda: dpo.tdpo_loss(one, -one, one, 0.1, alpha=1.0), "chosen_seq_kl is -1"),
        (lambda: dpo.tdpo1_loss(one, one, torch.ones(2), 0.1), r"rejected_seq_kl has shape \[2\]"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
