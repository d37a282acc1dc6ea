"""KL(policy‖ref) and its estimators, for value and gradient, against enumeration and closed forms."""

import math
from functools import partial

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from rlcore import kl
from rlcore.worlds.phrases import Phrases

POLICY, REF = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), torch.tensor([0.4, 0.4, 0.2]).double()
ESTIMATORS = {"k1": kl.k1, "k2": kl.k2, "k3": kl.k3}
DIVERGENCES = {
    "reverse": kl.reverse_kl,
    "forward": kl.forward_kl,
    "jensen_shannon": kl.jensen_shannon,
    "alpha 0.3": kl.alpha(0.3),
}


def logits(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mean(estimator, policy=POLICY, ref=REF):
    """E over actions drawn from the policy, by enumeration."""
    return (policy * estimator(policy.log(), ref.log())).sum()


def test_exact_is_the_sum_that_torch_takes():
    ours, theirs = logits(0, 4, 5), logits(1, 4, 5)
    wanted = kl_divergence(Categorical(logits=ours), Categorical(logits=theirs))
    torch.testing.assert_close(kl.exact(ours, theirs), wanted)
    assert kl.exact(POLICY.log(), REF.log()).item() == pytest.approx(0.025267, abs=1e-6)
    assert kl.exact(REF.log(), POLICY.log()).item() == pytest.approx(0.025815, abs=1e-6)


def test_the_gradient_of_exact_is_that_of_finite_differences():
    assert torch.autograd.gradcheck(kl.exact, (logits(0, 2, 3).requires_grad_(), logits(1, 2, 3).requires_grad_()))


def test_k1_and_k3_are_unbiased_and_k2_is_not():
    assert mean(kl.k1).item() == pytest.approx(0.025267, abs=1e-6)
    assert mean(kl.k3).item() == pytest.approx(0.025267, abs=1e-6)
    assert mean(kl.k2).item() == pytest.approx(0.024862, abs=1e-6)


@pytest.mark.parametrize(("name", "std"), [("k1", 0.22155), ("k2", 0.01434), ("k3", 0.01596)])
def test_their_noise_is_what_enumeration_gives(name, std):
    values = ESTIMATORS[name](POLICY.log(), REF.log())
    assert (POLICY * (values - mean(ESTIMATORS[name])) ** 2).sum().sqrt().item() == pytest.approx(std, abs=1e-5)


def test_k2_and_k3_are_never_negative_and_k1_is():
    assert kl.k1(POLICY.log(), REF.log()).min() < 0
    for estimator in (kl.k2, kl.k3):
        assert (estimator(logits(0, 100), logits(1, 100)) >= 0).all()


@pytest.mark.parametrize(
    ("estimator", "wanted"),
    [
        (kl.k1, [0.0, 0.0, 0.0]),
        (kl.k2, [0.098938, -0.093885, -0.005053]),  # ∇ KL(π‖ref)
        (kl.k3, [0.1, -0.1, 0.0]),  # ∇ KL(ref‖π) = π − π_ref
    ],
)
def test_the_mean_gradient_of_an_estimator_used_as_a_loss(estimator, wanted):
    """Samples are drawn, then the estimator is differentiated: the policy that draws has no gradient."""
    free = POLICY.log().requires_grad_()
    logps = free.log_softmax(-1)
    loss = (logps.exp().detach() * estimator(logps, REF.log())).sum()
    torch.testing.assert_close(torch.autograd.grad(loss, free)[0], torch.tensor(wanted).double(), atol=2e-6, rtol=0)


def test_the_directions_of_those_gradients_are_those_of_the_two_exact_ones():
    free = POLICY.log().requires_grad_()
    (towards,) = torch.autograd.grad(kl.exact(free, REF.log()), free)
    (other,) = torch.autograd.grad(kl.exact(REF.log(), free), free)
    torch.testing.assert_close(
        towards, torch.tensor([0.098938, -0.093885, -0.005053], dtype=torch.float64), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(other, torch.tensor([0.1, -0.1, 0.0], dtype=torch.float64), atol=1e-9, rtol=0)


OLD = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)


@pytest.mark.parametrize("old", [POLICY, OLD, REF])
def test_k3_times_the_ratio_is_right_in_value_and_gradient_whoever_drew_the_samples(old):
    free = POLICY.log().requires_grad_()
    loss = (old * kl.k3_loss(free.log_softmax(-1), old.log(), REF.log())).sum()
    true = kl.exact(free, REF.log())
    torch.testing.assert_close(loss, true)
    torch.testing.assert_close(*(torch.autograd.grad(x, free)[0] for x in (loss, true)))


def test_from_old_samples_neither_k2_nor_k3_has_the_right_gradient():
    free = POLICY.log().requires_grad_()
    (true,) = torch.autograd.grad(kl.exact(free, REF.log()), free)
    for estimator in (kl.k2, kl.k3):
        loss = (OLD * estimator(free.log_softmax(-1), REF.log())).sum()
        assert (torch.autograd.grad(loss, free)[0] - true).abs().max() > 0.02


def test_on_its_own_samples_k3_loss_has_the_gradient_of_k2_and_the_value_of_k3_sample_by_sample():
    logps, ref_logps = logits(0, 50).requires_grad_(), logits(1, 50)
    loss = kl.k3_loss(logps, logps.detach(), ref_logps)
    torch.testing.assert_close(loss, kl.k3(logps, ref_logps))
    ours, k2s = (torch.autograd.grad(x.sum(), logps)[0] for x in (loss, kl.k2(logps, ref_logps)))
    torch.testing.assert_close(ours, k2s)


def test_the_gradient_of_k3_loss_is_that_of_finite_differences():
    logps, fixed = logits(0, 5).requires_grad_(), (logits(2, 5), logits(1, 5))
    assert torch.autograd.gradcheck(lambda x: kl.k3_loss(x, *fixed), logps)
    (slope,) = torch.autograd.grad(kl.k3_loss(logps, *fixed).sum(), logps)
    torch.testing.assert_close(slope, (logps - fixed[0]).exp().detach() * (logps - fixed[1]).detach())


def replies():
    """A world, a policy, a reference, its log-probabilities of tokens [P, N, 4] twice, and how likely each reply is."""
    world = Phrases()
    table, ref = logits(7, 3, 156, 6).requires_grad_(), world.reference_logits()
    ours, theirs = (
        torch.where(world.mask, x.log_softmax(-1)[:, world.states, world.tokens], 0.0) for x in (table, ref)
    )
    return world, table, ref, ours, theirs, ours.sum(-1).exp().detach()


def test_over_whole_replies_three_ways_have_the_exact_gradient():
    """The penalty in the loss on log-probabilities of replies, by k2 or k3_loss; or −k1 in the reward."""
    world, table, ref, ours, theirs, chances = replies()
    true = world.kl(world.logps(table), world.logps(ref)).sum()
    (wanted,) = torch.autograd.grad(true, table, retain_graph=True)
    ours, theirs = ours.sum(-1), theirs.sum(-1)
    for loss in (kl.k2(ours, theirs), kl.k3_loss(ours, ours.detach(), theirs)):
        (got,) = torch.autograd.grad((chances * loss).sum(), table, retain_graph=True)
        torch.testing.assert_close(got, wanted)
    paid = world.exact_gradient(table.detach(), -kl.k1(ours, theirs).detach())
    torch.testing.assert_close(paid, -wanted / 3)


def test_token_by_token_the_penalty_forgets_that_a_token_decides_which_prefixes_come():
    """What is left is each prefix's own KL, as often as it comes: KL(policy‖ref) by k3_loss, KL(ref‖policy) by k3."""
    world, table, ref, ours, theirs, chances = replies()
    (whole,) = torch.autograd.grad(world.kl(world.logps(table), world.logps(ref)).sum(), table, retain_graph=True)
    steps = torch.where(world.mask, chances[..., None], 0.0).flatten(1)
    visits = torch.zeros(3, 156).double().index_add(1, world.states.flatten(), steps)
    for loss, one_way in (
        (kl.k3_loss(ours, ours.detach(), theirs), kl.exact(table, ref)),
        (kl.k3(ours, theirs), kl.exact(ref, table)),
    ):
        (got,) = torch.autograd.grad((chances[..., None] * loss).sum(), table, retain_graph=True)
        (partly,) = torch.autograd.grad((visits * one_way).sum(), table, retain_graph=True)
        torch.testing.assert_close(got, partly)
        assert (got - whole).abs().max() > 0.1


@pytest.mark.parametrize("shift", [0.1, 1.0])
def test_between_two_gaussians_bias_and_noise_are_those_of_the_closed_form(shift):
    """q = N(0, 1), p = N(μ, 1): KL = μ²/2; the relative biases and standard deviations of Schulman's note."""
    x = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    density = torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi) * (x[1] - x[0])
    logps, ref_logps, true = -(x**2) / 2, -((x - shift) ** 2) / 2, shift**2 / 2
    bias = {"k1": 0.0, "k2": shift**2 / 4, "k3": 0.0}
    std = {
        "k1": 2 / shift,
        "k2": math.sqrt(2 + shift**2),
        "k3": 2 * math.sqrt(math.expm1(shift**2) - shift**2) / shift**2,
    }
    for name, estimator in ESTIMATORS.items():
        values = estimator(logps, ref_logps)
        average = (density * values).sum()
        assert (average / true - 1).item() == pytest.approx(bias[name], abs=1e-6)
        assert ((density * (values - average) ** 2).sum().sqrt() / true).item() == pytest.approx(std[name], rel=1e-5)


def test_k3_keeps_its_digits_in_float32_where_the_ratio_is_near_one():
    near = torch.tensor([1e-4])
    assert kl.k3(near, torch.zeros(1)).item() == pytest.approx(5e-9, rel=1e-3)
    assert (torch.exp(-near) - 1 + near).item() != pytest.approx(5e-9, rel=0.5)  # as it is often written


@pytest.mark.parametrize("name", DIVERGENCES)
def test_a_divergence_is_zero_at_the_reference_and_above_elsewhere(name):
    f = DIVERGENCES[name]
    ref = logits(0, 4)
    assert kl.f_divergence(ref + 2, ref, f).abs() < 1e-12
    assert kl.f_divergence(logits(1, 50, 4), ref.expand(50, 4), f).min() > 0


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_gradient_of_a_divergence_is_that_of_finite_differences(name):
    divergence = partial(kl.f_divergence, ref_logits=logits(1, 4), f=DIVERGENCES[name])
    assert torch.autograd.gradcheck(divergence, logits(0, 4).requires_grad_())


def test_the_named_divergences_are_what_their_names_say():
    ours, theirs = logits(0, 6), logits(1, 6)
    policy, ref = ours.softmax(-1), theirs.softmax(-1)
    middle = ((policy + ref) / 2).log()
    torch.testing.assert_close(kl.f_divergence(ours, theirs, kl.reverse_kl), kl.exact(ours, theirs))
    torch.testing.assert_close(kl.f_divergence(ours, theirs, kl.forward_kl), kl.exact(theirs, ours))
    twice = kl.exact(ours, middle) + kl.exact(theirs, middle)
    torch.testing.assert_close(kl.f_divergence(ours, theirs, kl.jensen_shannon), twice)
    torch.testing.assert_close(kl.f_divergence(ours, theirs, kl.alpha(1e-6)), kl.exact(ours, theirs), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        kl.f_divergence(ours, theirs, kl.alpha(1 - 1e-6)), kl.exact(theirs, ours), atol=1e-4, rtol=0
    )


def test_a_policy_that_never_does_something_is_at_a_finite_distance():
    assert kl.exact(torch.tensor([0.0, -200.0]), torch.zeros(2)).item() == pytest.approx(math.log(2))
    assert kl.f_divergence(torch.tensor([0.0, -200.0]), torch.zeros(2), kl.reverse_kl).item() == pytest.approx(
        math.log(2)
    )


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: kl.exact(torch.zeros(2), torch.zeros(3)), r"ref_logits has shape \[3\], expected \[2\]"),
        (lambda: kl.exact(torch.tensor([0.0, math.inf]), torch.zeros(2)), "logits holds inf"),
        (lambda: kl.k3(torch.zeros(2, 2), torch.zeros(2)), r"ref_logps has shape \[2\], expected \[2, 2\]"),
        (
            lambda: kl.k3_loss(torch.zeros(2), torch.zeros(3), torch.zeros(2)),
            r"old_logps has shape \[3\], expected \[2\]",
        ),
        (
            lambda: kl.k3_loss(torch.zeros(2), torch.zeros(2), torch.zeros(1)),
            r"ref_logps has shape \[1\], expected \[2\]",
        ),
        (lambda: kl.alpha(1.0), r"alpha is 1.0, expected a number inside \(0, 1\)"),
        (lambda: kl.alpha(-0.5), r"alpha is -0.5, expected a number in \[0, 1\]"),
    ],
)
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
