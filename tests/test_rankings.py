"""Losses of ranked replies against their definitions as loops, finite differences, limits, and exact optima."""

import itertools
import math
from decimal import Decimal, getcontext
from functools import partial

import pytest
import torch

from rlcore import dpo, preferences, rankings

PAIR = torch.tensor([-12.0]).double(), torch.tensor([-15.0]).double()
LENGTHS = torch.tensor([6]), torch.tensor([5])


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def replies(seed: int, *shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities below 0 and lengths of made-up replies."""
    lengths = torch.randint(1, 9, shape, generator=torch.Generator().manual_seed(seed))
    return -lengths * (0.1 + numbers(seed, *shape).abs()), lengths


def permutations(k: int) -> torch.Tensor:
    return torch.tensor(list(itertools.permutations(range(k))))


def test_of_two_replies_plackett_luce_dpo_is_dpo():
    ratios = numbers(0, 6, 2)
    first, second = torch.tensor([[0, 1]]).expand(6, 2), torch.tensor([[1, 0]]).expand(6, 2)
    h = ratios[:, 0] - ratios[:, 1]
    torch.testing.assert_close(rankings.plackett_luce_dpo_loss(ratios, first, 0.3), dpo.dpo_loss(h, 0.3))
    torch.testing.assert_close(rankings.plackett_luce_dpo_loss(ratios, second, 0.3), dpo.dpo_loss(-h, 0.3))


def test_plackett_luce_dpo_ranks_all_ways_alike_at_the_reference_and_its_chances_sum_to_one():
    reference = rankings.plackett_luce_dpo_loss(torch.zeros(24, 4), permutations(4), 0.3)
    torch.testing.assert_close(reference, torch.full((24,), math.log(24)))
    chances = (-rankings.plackett_luce_dpo_loss(numbers(0, 1, 4).expand(24, 4), permutations(4), 0.3)).exp()
    assert chances.sum().item() == pytest.approx(1, abs=1e-12)
    ranking = torch.tensor([[2, 0, 3, 1], [0, 1, 2, 3]])
    loss = partial(rankings.plackett_luce_dpo_loss, ranking=ranking, beta=0.3)
    assert torch.autograd.gradcheck(loss, numbers(0, 2, 4).requires_grad_())


def test_with_all_rankings_seen_plackett_luce_dpo_finds_the_optimum_of_rlhf():
    ref, rewards, beta = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.0, 1.0, 2.0]).double(), 0.5
    chances = preferences.plackett_luce_logps(rewards.expand(6, 3), permutations(3)).exp()
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=300, tolerance_change=1e-16, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        ratios = (logits.log_softmax(-1) - ref.log()).expand(6, 3)
        loss = (chances * rankings.plackett_luce_dpo_loss(ratios, permutations(3), beta)).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    wanted = torch.tensor([0.036667, 0.162559, 0.800774]).double()
    torch.testing.assert_close(logits.detach().softmax(-1), wanted, atol=1e-5, rtol=0)


def test_lipo_is_its_definition():
    ratios, labels = numbers(0, 3, 5), torch.tensor([[1.0, 0.5, 0.5, 0.0, 0.2]] * 3).double()
    for row, loss in zip(range(3), rankings.lipo_loss(ratios, labels, beta=0.7), strict=True):
        s = [0.7 * x for x in ratios[row].tolist()]
        rank = [1 + sum(other > own for other in s) for own in s]
        psi, wanted = labels[row].tolist(), 0.0
        for i, j in itertools.permutations(range(5), 2):
            if psi[i] > psi[j]:
                gain = abs(2 ** psi[i] - 2 ** psi[j])
                discount = abs(1 / math.log(1 + rank[i]) - 1 / math.log(1 + rank[j]))
                wanted += gain * discount * math.log1p(math.exp(s[j] - s[i]))
        assert loss.item() == pytest.approx(wanted, abs=1e-12)


def test_lipo_has_the_published_value_weighs_dpo_for_two_and_is_silent_without_an_order():
    published = torch.tensor([[0.2, 0.5, -0.1]]), torch.tensor([[1.0, 0.5, 0.0]])
    assert rankings.lipo_loss(*published, beta=1.0).item() == pytest.approx(0.501909, abs=1e-6)
    ratios, labels = numbers(0, 4, 2), torch.tensor([[1.0, 0.0]]).double().expand(4, 2)
    weight = 1 / math.log(2) - 1 / math.log(3)
    wanted = weight * dpo.dpo_loss(ratios[:, 0] - ratios[:, 1], 0.3)
    torch.testing.assert_close(rankings.lipo_loss(ratios, labels, 0.3), wanted)
    assert rankings.lipo_loss(ratios, torch.ones(4, 2).double(), 0.3).tolist() == [0.0] * 4
    same = rankings.lipo_loss(torch.zeros(1, 3), published[1], 1.0)  # equals: the earlier ranks first
    assert same.item() == pytest.approx(rankings.lipo_loss(torch.tensor([[2e-7, 1e-7, 0]]), published[1], 1.0).item())
    labels = torch.tensor([[1.0, 0.5, 0.0, 0.2]] * 2).double()
    assert torch.autograd.gradcheck(lambda x: rankings.lipo_loss(x, labels, 0.7), numbers(0, 2, 4).requires_grad_())


def test_slic_stops_at_its_target_and_then_only_its_text_counts():
    text = torch.tensor([-10.0]).double()
    assert rankings.slic_loss(*PAIR, text, target=5.0, weight=0.0).item() == 2
    assert rankings.slic_loss(*PAIR, text, target=1.0, weight=0.0).item() == 0
    three = [numbers(seed, 5).requires_grad_() for seed in range(3)]
    assert torch.autograd.gradcheck(partial(rankings.slic_loss, target=1.0, weight=0.3), three)
    gradients = torch.autograd.grad(rankings.slic_loss(*three, target=-0.0, weight=0.3).sum(), three)
    ahead = three[0] > three[1]
    assert (gradients[0][ahead] == 0).all()
    torch.testing.assert_close(gradients[2], torch.full((5,), -0.3).double())


def test_cpo_is_dpo_with_a_uniform_reference_and_the_likelihood_of_the_chosen_reply():
    chosen, rejected = numbers(0, 5).requires_grad_(), numbers(1, 5).requires_grad_()
    uniform = torch.full((5,), -7.0).double()
    wanted = dpo.dpo_loss(dpo.margin(chosen, rejected, uniform, uniform), 0.3) - 0.5 * chosen
    torch.testing.assert_close(rankings.cpo_loss(chosen, rejected, 0.3, weight=0.5), wanted)
    assert torch.autograd.gradcheck(partial(rankings.cpo_loss, beta=0.3, weight=0.5), (chosen, rejected))


def test_simpo_has_the_known_value_and_gradients_of_finite_differences():
    assert rankings.simpo_loss(*PAIR, *LENGTHS, beta=2.5, target=1.375).item() == pytest.approx(0.281150, abs=1e-6)
    (chosen, chosen_lengths), (rejected, rejected_lengths) = replies(0, 5), replies(1, 5)
    loss = partial(rankings.simpo_loss, beta=2.5, target=1.0)
    assert torch.autograd.gradcheck(
        lambda c, r: loss(c, r, chosen_lengths, rejected_lengths), (chosen.requires_grad_(), rejected.requires_grad_())
    )


def test_saying_everything_twice_changes_nothing_for_simpo_and_much_for_cpo():
    (chosen, chosen_lengths), (rejected, rejected_lengths) = replies(0, 5), replies(1, 5)
    once = rankings.simpo_loss(chosen, rejected, chosen_lengths, rejected_lengths, 2.0, 0.5)
    twice = rankings.simpo_loss(2 * chosen, rejected, 2 * chosen_lengths, rejected_lengths, 2.0, 0.5)
    torch.testing.assert_close(once, twice)
    first = rankings.cpo_loss(chosen, rejected, 2.0, weight=0.0)
    assert (rankings.cpo_loss(2 * chosen, rejected, 2.0, weight=0.0) - first).abs().min() > 1e-3


def test_orpo_is_its_definition_in_probabilities():
    (chosen, chosen_lengths), (rejected, rejected_lengths) = replies(0, 5), replies(1, 5)
    p_w, p_l = (chosen / chosen_lengths).exp(), (rejected / rejected_lengths).exp()
    ratio = (p_w / (1 - p_w)) / (p_l / (1 - p_l))
    wanted = -p_w.log() - 0.3 * (ratio / (1 + ratio)).log()
    torch.testing.assert_close(rankings.orpo_loss(chosen, rejected, chosen_lengths, rejected_lengths, 0.3), wanted)
    assert torch.autograd.gradcheck(
        lambda c, r: rankings.orpo_loss(c, r, chosen_lengths, rejected_lengths, weight=0.3),
        (chosen.requires_grad_(), rejected.requires_grad_()),
    )


@pytest.mark.parametrize("chosen", [-1e-30, -1e-8, -1e-3, -math.log(2), -1.0, -100.0, -1e4])
@pytest.mark.parametrize("rejected", [-1e-30, -1e-8, -1.0, -1e4])
def test_orpo_has_finite_gradients_from_near_certainty_to_near_impossibility(chosen, rejected):
    pair = torch.tensor([chosen], requires_grad=True), torch.tensor([rejected], requires_grad=True)
    loss = rankings.orpo_loss(*pair, torch.ones(1), torch.ones(1), weight=1.0)
    assert torch.isfinite(loss).all()
    gradients = torch.autograd.grad(loss.sum(), pair)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_log1mexp_is_exact_in_both_branches_and_so_is_its_gradient():
    getcontext().prec = 60
    x = [-1e-12, -1e-3, -0.6, -math.log(2), -0.7, -5.0, -40.0]
    wanted = [float((1 - Decimal(v).exp()).ln()) for v in x]
    slopes = [float(-1 / ((-Decimal(v)).exp() - 1)) for v in x]
    x = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(rankings.log1mexp(x).tolist(), wanted, rtol=1e-14, atol=0)
    gradient = torch.autograd.grad(rankings.log1mexp(x).sum(), x)[0].tolist()
    torch.testing.assert_close(gradient, slopes, rtol=1e-13, atol=0)


def test_rrhf_is_its_definition():
    logps, lengths = replies(0, 4, 5)
    rewards = numbers(1, 4, 5)
    for row, loss in zip(range(4), rankings.rrhf_loss(logps, lengths, rewards), strict=True):
        p, r = (logps[row] / lengths[row]).tolist(), rewards[row].tolist()
        rank = sum(max(0.0, p[i] - p[j]) for i in range(5) for j in range(5) if r[i] < r[j])
        assert loss.item() == pytest.approx(rank - logps[row, r.index(max(r))].item(), abs=1e-12)
    loss = partial(rankings.rrhf_loss, lengths=lengths, rewards=rewards)
    assert torch.autograd.gradcheck(loss, logps.requires_grad_())


def test_rrhf_of_replies_in_the_right_order_is_likelihood_and_of_two_it_is_slic_without_a_target():
    rewards = torch.tensor([[3.0, 2.0, 1.0]])
    loss = rankings.rrhf_loss(torch.tensor([[-1.0, -4.0, -9.0]]), torch.tensor([[1, 2, 3]]), rewards)
    assert loss.item() == 1.0
    logps = numbers(0, 6, 2)
    two = rankings.rrhf_loss(logps, torch.ones(6, 2), torch.tensor([[1.0, 0.0]]).expand(6, 2))
    chosen, rejected = logps.T
    torch.testing.assert_close(two, rankings.slic_loss(chosen, rejected, chosen, target=0.0, weight=1.0))


def test_pro_is_its_definition_with_and_without_rewards():
    logps, lengths = replies(0, 3, 4)
    rewards = numbers(1, 3, 4)
    ranking = rewards.argsort(-1, descending=True)
    plain = rankings.pro_loss(logps, lengths, ranking, weight=0.5)
    tempered = rankings.pro_reward_loss(logps, lengths, rewards, weight=0.5)
    for row in range(3):
        order = ranking[row].tolist()
        p = [(logps[row, i] / lengths[row, i]).item() for i in order]
        r = [rewards[row, i].item() for i in order]
        nll = -0.5 * logps[row, order[0]].item()
        wanted = sum(-math.log(math.exp(p[k]) / sum(math.exp(x) for x in p[k:])) for k in range(3))
        assert plain[row].item() == pytest.approx(wanted + nll, abs=1e-12)
        wanted = 0.0
        for k in range(3):
            own = math.exp(p[k] * max(r[k] - r[j] for j in range(k + 1, 4)))
            rivals = sum(math.exp(p[j] * (r[k] - r[j])) for j in range(k + 1, 4))
            wanted -= math.log(own / (own + rivals))
        assert tempered[row].item() == pytest.approx(wanted + nll, abs=1e-12)


def test_pro_has_gradients_of_finite_differences_and_takes_ties():
    logps, lengths = replies(0, 3, 4)
    rewards = numbers(1, 3, 4)
    rewards[0, 1] = rewards[0, 2] = 2.0
    plain = partial(rankings.pro_loss, lengths=lengths, ranking=rewards.argsort(-1), weight=0.5)
    tempered = partial(rankings.pro_reward_loss, lengths=lengths, rewards=rewards, weight=0.5)
    assert torch.autograd.gradcheck(plain, logps.requires_grad_())
    assert torch.autograd.gradcheck(tempered, logps)
    equal = rankings.pro_reward_loss(torch.tensor([[-1.0, -5.0]]), torch.ones(1, 2), torch.ones(1, 2), weight=0.0)
    assert equal.item() == pytest.approx(math.log(2))


one, two, nan = torch.ones(1), torch.ones(1, 2), torch.tensor([math.nan])
order = torch.tensor([[0, 1]])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: rankings.plackett_luce_dpo_loss(two, torch.tensor([[0, 0]]), 0.1), "expected each answer once"),
        (lambda: rankings.plackett_luce_dpo_loss(two, order[0], 0.1), r"ranking has shape \[2\], expected \[B, K\]"),
        (lambda: rankings.plackett_luce_dpo_loss(nan * two, order, 0.1), "log_ratios holds nan"),
        (lambda: rankings.plackett_luce_dpo_loss(two, order, 0.0), "beta is 0"),
        (lambda: rankings.lipo_loss(two, torch.ones(1, 3), 0.1), r"labels has shape \[1, 3\]"),
        (lambda: rankings.lipo_loss(two, nan * two, 0.1), "labels holds nan"),
        (lambda: rankings.lipo_loss(two, two, -1.0), "beta is -1"),
        (lambda: rankings.slic_loss(one, one, torch.ones(2), 1.0, 1.0), r"text_logps has shape \[2\]"),
        (lambda: rankings.slic_loss(one, one, one, -1.0, 1.0), "target is -1"),
        (lambda: rankings.cpo_loss(one, nan, 0.1, 1.0), "rejected_logps holds nan"),
        (lambda: rankings.cpo_loss(one, one, 0.1, -1.0), "weight is -1"),
        (lambda: rankings.cpo_loss(one, one, 0.0, 1.0), "beta is 0"),
        (lambda: rankings.simpo_loss(one, one, 0 * one, one, 0.1, 0.0), "chosen_lengths is 0"),
        (lambda: rankings.simpo_loss(one, one, one, two[0], 0.1, 0.0), r"rejected_lengths has shape \[2\]"),
        (lambda: rankings.simpo_loss(one, one, one, one, 0.1, -1.0), "target is -1"),
        (lambda: rankings.simpo_loss(one, one, one, one, 0.0, 0.0), "beta is 0"),
        (lambda: rankings.orpo_loss(-one, 0 * one, one, one, 1.0), "rejected_logps reaches 0, expected below 0"),
        (lambda: rankings.orpo_loss(nan, -one, one, one, 1.0), "chosen_logps holds nan"),
        (lambda: rankings.orpo_loss(-one, -one, one, one, -1.0), "weight is -1"),
        (lambda: rankings.rrhf_loss(two, 0 * two, two), "lengths is 0"),
        (lambda: rankings.rrhf_loss(two, two, nan * two), "rewards holds nan"),
        (lambda: rankings.pro_loss(two, two, torch.tensor([[1, 1]]), 0.1), "expected each answer once"),
        (lambda: rankings.pro_loss(two, two, order, -0.1), "weight is -0.1"),
        (lambda: rankings.pro_reward_loss(two, torch.ones(1, 3), two, 0.1), r"lengths has shape \[1, 3\]"),
        (lambda: rankings.pro_reward_loss(two, two, two, -0.1), "weight is -0.1"),
    ],
)
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
