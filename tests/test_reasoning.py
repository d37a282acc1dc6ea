"""Measures of thinking against every subset, every row of votes, every text; shaping against exact MDPs."""

import itertools
import math
from collections import Counter
from fractions import Fraction
from functools import partial

import pytest
import torch

from rlcore import grpo, logprobs, reasoning, returns
from rlcore.mdp import MDP, q_from_v, value_iteration
from rlcore.worlds.gridworld import Gridworld

nan, inf = float("nan"), float("inf")
MASK = torch.tensor([[True, True, False], [True, False, False], [True, True, True]])


def doubles(*rows) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(a, b, atol=1e-12):
    return torch.allclose(a, torch.as_tensor(b, dtype=a.dtype), rtol=0, atol=atol)


# --- pass@k -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_pass_at_k_is_the_share_of_all_subsets_that_hold_a_right_reply(n):
    for c, k in itertools.product(range(n + 1), range(1, n + 1)):
        picks = list(itertools.combinations(range(n), k))  # replies 0 to c − 1 are the right ones
        wanted = sum(min(pick) < c for pick in picks) / len(picks)
        found = reasoning.pass_at_k(torch.tensor([n]), torch.tensor([c]), k)
        assert found.item() == pytest.approx(wanted, abs=1e-12)


def binomial(p: torch.Tensor, n: int) -> torch.Tensor:
    """[n + 1] chances of 0 to n right replies."""
    return torch.stack([math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)])


@pytest.mark.parametrize(("p", "n", "k"), [(0.2, 10, 5), (0.2, 5, 5), (0.01, 16, 8), (0.9, 6, 1), (0.5, 64, 32)])
def test_its_mean_and_the_gradient_of_its_mean_are_those_of_the_chance_to_pass(p, n, k):
    p = torch.tensor(p, dtype=torch.float64, requires_grad=True)
    mean = binomial(p, n) @ reasoning.pass_at_k(n, torch.arange(n + 1), k)
    assert mean.item() == pytest.approx(1 - (1 - p.item()) ** k, abs=1e-12)
    (slope,) = torch.autograd.grad(mean, p)
    assert slope.item() == pytest.approx(k * (1 - p.item()) ** (k - 1), abs=1e-9)


@pytest.mark.parametrize("n", [5, 10, 40])
@pytest.mark.parametrize("k", [2, 5])
def test_the_plug_in_is_biased_downwards_by_what_jensen_leaves(n, k):
    counts = torch.arange(n + 1)
    plug_in = 1 - (1 - counts.double() / n) ** k
    for p in (0.05, 0.2, 0.6):
        chances = binomial(torch.tensor(p, dtype=torch.float64), n)
        assert chances @ plug_in < 1 - (1 - p) ** k - 1e-4
    assert close(reasoning.pass_at_k(n, counts, 1), counts / n, atol=1e-7)  # of one draw the two are the same


def test_the_bias_that_the_docstring_names():
    chances = binomial(torch.tensor(0.2, dtype=torch.float64), 10)
    assert (chances @ (1 - (1 - torch.arange(11) / 10) ** 5).double()).item() == pytest.approx(0.593591, abs=1e-6)
    assert (chances @ reasoning.pass_at_k(10, torch.arange(11), 5)).item() == pytest.approx(0.67232, abs=1e-9)


def test_large_groups_neither_overflow_nor_lose_digits():
    for n, c, k in ((1000, 3, 500), (1000, 999, 2), (10_000, 1, 10_000), (10_000, 1, 100)):
        wanted = 1 - Fraction(math.comb(n - c, k), math.comb(n, k))
        assert reasoning.pass_at_k(n, torch.tensor(c), k).item() == pytest.approx(float(wanted), abs=1e-11)


def test_none_right_is_exactly_0_and_more_right_than_can_be_left_out_exactly_1():
    found = reasoning.pass_at_k(torch.tensor([8, 8, 8, 8]), torch.tensor([0.0, 5.0, 7.0, 8.0]), 4)
    assert found.tolist() == [0.0, 1.0, 1.0, 1.0]


# --- votes ------------------------------------------------------------------------------------------------------------


def test_the_vote_goes_to_the_answer_given_most_often_and_among_equals_to_the_first():
    rows = list(itertools.product(range(4), repeat=5))
    for row, winner in zip(rows, reasoning.majority_vote(torch.tensor(rows)).tolist(), strict=True):
        votes = Counter(row)
        most = [answer for answer in votes if votes[answer] == max(votes.values())]  # in order of appearance
        assert winner == most[0]


def test_who_comes_first_among_equals_is_an_even_chance():
    orders = list(itertools.permutations([9, 9, 4, 4, 6]))
    wins = Counter(reasoning.majority_vote(torch.tensor(orders)).tolist())
    assert wins == {9: len(orders) / 2, 4: len(orders) / 2}


def by_enumeration(answer_probs: torch.Tensor, right: int, k: int) -> torch.Tensor:
    """Every row of k draws, its chance, and whether `majority_vote` names the right answer."""
    rows = torch.tensor(list(itertools.product(range(len(answer_probs)), repeat=k)))
    return answer_probs[rows].prod(-1) @ (reasoning.majority_vote(rows) == right).double()


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("probs", [[0.5, 0.3, 0.2], [0.25, 0.25, 0.25, 0.25], [0.0, 0.7, 0.3], [0.1, 0.2, 0.3, 0.4]])
def test_maj_at_k_is_the_sum_over_all_rows_of_draws(probs, k):
    probs = doubles(*probs)
    size = len(probs)
    found = reasoning.majority_at_k(probs.expand(size, size), torch.arange(size), k)
    assert close(found, [by_enumeration(probs, right, k) for right in range(size)])
    assert found.sum().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("k", [1, 2, 5, 6])
@pytest.mark.parametrize("probs", [[0.5, 0.3, 0.2], [0.0, 0.6, 0.4], [0.6, 0.0, 0.4]])
def test_gradients_of_maj_at_k_are_those_of_the_enumeration_also_at_an_answer_never_given(probs, k):
    probs = doubles(*probs).requires_grad_()
    (wanted,) = torch.autograd.grad(by_enumeration(probs, 0, k), probs)
    (found,) = torch.autograd.grad(reasoning.majority_at_k(probs, torch.tensor(0), k), probs)
    assert close(found, wanted)


def test_gradients_of_maj_at_k_are_those_of_finite_differences():
    def of(logits):
        return reasoning.majority_at_k(logits.softmax(-1), torch.tensor([0, 2]), 7)

    assert torch.autograd.gradcheck(of, numbers(0, 2, 4).requires_grad_())


@pytest.mark.parametrize("k", [1, 9, 51, 127])
def test_of_two_answers_it_is_condorcets_sum(k):
    p = 0.55
    wanted = sum(math.comb(k, v) * p**v * (1 - p) ** (k - v) for v in range(k // 2 + 1, k + 1))
    found = reasoning.majority_at_k(doubles(p, 1 - p), torch.tensor(0), k)
    assert found.item() == pytest.approx(wanted, abs=1e-9)
    even = reasoning.majority_at_k(doubles(p, 1 - p), torch.tensor(0), k + 1)  # a tie gives back what a draw adds
    assert even.item() == pytest.approx(wanted, abs=1e-9)


def test_votes_help_the_likeliest_answer_and_harm_the_others_and_never_beat_pass_at_k():
    probs, steps = doubles(0.3, *[0.7 / 9] * 9), (1, 4, 16, 64)
    helped = [reasoning.majority_at_k(probs, torch.tensor(0), k).item() for k in steps]
    harmed = [reasoning.majority_at_k(probs, torch.tensor(1), k).item() for k in steps]
    assert helped == sorted(helped)
    assert helped[0] == pytest.approx(0.3)
    assert helped[-1] > 0.99
    assert harmed == sorted(harmed, reverse=True)
    assert harmed[-1] < 1e-3
    assert all(vote <= 1 - 0.7**k + 1e-12 for vote, k in zip(helped, steps, strict=True))


@pytest.mark.parametrize("k", [1, 16, 64])
def test_float32_chances_come_back_as_float32_and_lose_no_more_than_k_roundings(k):
    probs = torch.tensor([0.3, *[0.7 / 9] * 9])
    found = reasoning.majority_at_k(probs, torch.tensor(0), k)
    exact = reasoning.majority_at_k(doubles(0.3, *[0.7 / 9] * 9), torch.tensor(0), k)
    assert found.dtype is torch.float32
    assert found.item() == pytest.approx(exact.item(), abs=k * 1.2e-7)


# --- steps ------------------------------------------------------------------------------------------------------------


def test_a_product_and_a_minimum_of_steps_are_what_they_say():
    probs = numbers(0, 3, 3).sigmoid()
    rows = [
        [p for p, kept in zip(*row, strict=True) if kept] for row in zip(probs.tolist(), MASK.tolist(), strict=True)
    ]
    assert close(reasoning.step_product(probs, MASK), [math.prod(row) for row in rows])
    assert close(reasoning.step_minimum(probs, MASK), [min(row) for row in rows])


@pytest.mark.parametrize("score", [reasoning.step_product, reasoning.step_minimum])
def test_gradients_of_step_scores_are_those_of_finite_differences_and_0_behind_the_mask(score):
    probs = numbers(0, 3, 3).sigmoid()
    assert torch.autograd.gradcheck(partial(score, mask=MASK), probs.clone().requires_grad_())
    hidden = torch.where(MASK, probs, nan).requires_grad_()
    (gradient,) = torch.autograd.grad(score(hidden, MASK).sum(), hidden)
    assert torch.isfinite(gradient).all()
    assert (gradient[~MASK] == 0).all()


def test_the_product_charges_for_length_and_the_minimum_does_not():
    careful = torch.full((2, 40), 0.97, dtype=torch.float64)
    mask = torch.arange(40) < torch.tensor([[5], [40]])
    assert close(reasoning.step_product(careful, mask), [0.97**5, 0.97**40])
    assert close(reasoning.step_minimum(careful, mask), [0.97, 0.97])


STEPS = torch.tensor([[[True, True, True], [True, False, False]], [[True, False, True], [True, True, False]]])


@pytest.mark.parametrize("ddof", [0, 1])
def test_process_advantages_are_normalised_over_steps_and_summed_to_the_end(ddof):
    """As in the paper's words: collect all step rewards of the group, normalise, sum what follows each step."""
    rewards = numbers(0, 2, 2, 3)
    found = reasoning.process_advantages(torch.where(STEPS, rewards, nan), STEPS, ddof)
    for group in range(2):
        listed = [rewards[group, k, s].item() for k in range(2) for s in range(3) if STEPS[group, k, s]]
        mean = sum(listed) / len(listed)
        spread = math.sqrt(sum((r - mean) ** 2 for r in listed) / (len(listed) - ddof))
        for k, s in itertools.product(range(2), range(3)):
            later = [j for j in range(s, 3) if STEPS[group, k, j]] if STEPS[group, k, s] else []
            wanted = sum((rewards[group, k, j].item() - mean) / spread for j in later)
            assert found[group, k, s].item() == pytest.approx(wanted, abs=1e-12)
    assert close(found[:, :, 0].sum(-1), [0.0, 0.0])  # first steps carry all of it


@pytest.mark.parametrize("ddof", [0, 1])
def test_of_one_step_each_process_advantages_are_those_of_grpo(ddof):
    rewards = numbers(0, 4, 6)
    found = reasoning.process_advantages(rewards[..., None], torch.ones(4, 6, 1, dtype=torch.bool), ddof)
    assert close(found[..., 0], grpo.group_normalized(rewards, ddof))


def test_gradients_of_process_advantages_are_those_of_finite_differences():
    of = partial(reasoning.process_advantages, mask=STEPS, ddof=1)
    assert torch.autograd.gradcheck(of, numbers(0, 2, 2, 3).requires_grad_())


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reward", [0.1, 1 / 3, -7.7, 1e6 + 0.1])
def test_equal_step_rewards_give_exact_zeros(reward, dtype, ddof):
    for mask in (STEPS, torch.ones(1, 3, 7, dtype=torch.bool)):
        found = reasoning.process_advantages(torch.full(mask.shape, reward, dtype=dtype), mask, ddof)
        assert found.dtype is dtype
        assert torch.equal(found, torch.zeros(mask.shape, dtype=dtype))


def test_one_more_good_step_pays_under_process_advantages():
    """Both replies do everything right but a third one does not: the longer of the two is preferred for its length."""
    mask = torch.tensor([[[True, True, False], [True, True, True], [True, True, True]]])
    rewards = doubles([[1, 1, 0], [1, 1, 1], [0, 0, 0]])
    found = reasoning.process_advantages(rewards, mask, ddof=0)[0, :, 0]
    assert found[1] > found[0] > found[2]
    assert close(found[1] / found[0], 1.5)


def test_tokens_get_what_their_step_got_and_give_its_gradient_back():
    per_step, steps = numbers(0, 2, 3), torch.tensor([[0, 0, 1, -1], [2, -1, 0, 0]])
    found = reasoning.to_tokens(per_step, steps)
    for row, t in itertools.product(range(2), range(4)):
        step = steps[row, t].item()
        assert found[row, t].item() == (per_step[row, step].item() if step >= 0 else 0)
    assert torch.autograd.gradcheck(partial(reasoning.to_tokens, steps=steps), per_step.requires_grad_())


# --- shaping ----------------------------------------------------------------------------------------------------------

DISCOUNTS = doubles([0.9, 0.9, 0.9, 0.0], [0.9, 0.9, 0.9, 0.9], [0.9, 0.0, 0.9, 0.9])  # ended, cut off, ended twice


def test_shaping_takes_the_potential_off_every_return_and_leaves_every_advantage():
    rewards, potentials, values = numbers(0, 3, 4), numbers(1, 3, 5), numbers(2, 3, 5)
    shaped = reasoning.shaped_rewards(rewards, DISCOUNTS, potentials)
    plain = returns.discounted_returns(rewards, DISCOUNTS, values[:, -1])
    moved = returns.discounted_returns(shaped, DISCOUNTS, (values - potentials)[:, -1])
    assert close(moved, plain - potentials[:, :-1])
    for lam in (0.0, 0.7, 1.0):
        wanted = returns.gae(rewards, DISCOUNTS, values, lam)
        assert close(returns.gae(shaped, DISCOUNTS, values - potentials, lam), wanted)


def test_shaping_by_the_value_pays_the_td_error():
    rewards, values = numbers(0, 3, 4), numbers(1, 3, 5)
    wanted = returns.td_errors(rewards, DISCOUNTS, values)
    assert close(reasoning.shaped_rewards(rewards, DISCOUNTS, values), wanted)


def test_gradients_of_shaping_are_those_of_finite_differences():
    pair = numbers(0, 3, 4).requires_grad_(), numbers(1, 3, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda r, phi: reasoning.shaped_rewards(r, DISCOUNTS, phi), pair)


def test_what_stands_behind_an_end_does_not_reach_back():
    ended = torch.tensor([[0.9, 0.0, 0.0]])
    found = reasoning.shaped_rewards(torch.tensor([[1.0, 2.0, nan]]), ended, torch.tensor([[0.0, 4.0, nan, nan]]))
    assert close(found[:, :2], [[4.6, -2.0]], atol=1e-6)


@pytest.mark.parametrize("slip", [0.0, 0.2])
def test_potentials_leave_the_best_policy_of_a_gridworld_and_other_pay_does_not(slip):
    """Theorem 1 of Ng et al. on a room of 4 × 4, for a sensible potential, a wrong-headed one and a random one."""
    room = Gridworld(4, 4, terminals={(0, 3): 1.0}, step_reward=-0.04, slip=slip)
    world = room.to_mdp(gamma=0.9)
    plain = value_iteration(world, tol=1e-10)
    goal = torch.tensor([abs(row) + abs(column - 3) for row in range(4) for column in range(4)]).double()
    for phi in (-goal, goal, numbers(0, 16)):
        phi = phi.masked_fill(world.terminal, 0)
        shaped = MDP(world.transitions, q_from_v(world, phi) - phi[:, None], world.gamma)
        solved = value_iteration(shaped, tol=1e-10)
        assert close(solved.v, plain.v - phi, atol=1e-8)
        assert close(solved.q, plain.q - phi[:, None], atol=1e-8)
    near = (6 - goal).masked_fill(world.terminal, 0)  # pay for being near, without taking it back on leaving
    naive = MDP(world.transitions, world.rewards + world.transitions @ near, world.gamma)
    circling = value_iteration(naive, tol=1e-10)
    best = plain.q >= plain.q.amax(-1, keepdim=True) - 1e-8
    lost = (circling.policy * ~best).sum(-1) > 0
    assert lost[~world.terminal].any()


def test_the_shaped_rewards_of_a_walk_are_those_of_the_shaped_mdp():
    world = Gridworld(1, 4, terminals={(0, 3): 1.0}, step_reward=-0.1).to_mdp(gamma=0.9)
    phi = doubles(0.3, -1.0, 2.0, 0.0)
    table = q_from_v(world, phi) - phi[:, None]
    states, right = torch.arange(4), 1
    walked = reasoning.shaped_rewards(
        world.rewards[states[:3], right][None], doubles([0.9, 0.9, 0.0]), phi[states][None]
    )
    assert close(walked[0], table[states[:3], right])


# --- reinforcement pre-training ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [str, bytes, list])
def test_a_guess_matches_when_it_is_the_first_tokens_of_the_text(kind):
    tokens = ["a", "ba", "aab"]
    text = "".join(tokens)
    ends = list(itertools.accumulate(map(len, tokens)))
    wholes = {"".join(tokens[: j + 1]) for j in range(len(tokens))}
    made = {str: str, bytes: str.encode, list: list}[kind]
    for length in range(len(text) + 2):
        for guess in map("".join, itertools.product("ab", repeat=length)):
            assert reasoning.prefix_match(made(guess), made(text), ends) == float(guess in wholes)


def test_boundaries_may_come_one_by_one_and_count_bytes_not_letters():
    text = "né".encode()
    assert reasoning.prefix_match(text, text, iter([1, 3])) == 1.0
    assert reasoning.prefix_match(text[:2], text, iter([1, 3])) == 0.0  # half a letter


def test_top_entropy_is_that_of_the_k_likeliest_and_of_all_where_k_is_all():
    logits = numbers(0, 5, 7)
    assert close(reasoning.top_entropy(logits, 7), logprobs.entropy(logits))
    for row, found in zip(logits.tolist(), reasoning.top_entropy(logits, 3).tolist(), strict=True):
        best = sorted(map(math.exp, row))[-3:]
        assert found == pytest.approx(-sum(p / sum(best) * math.log(p / sum(best)) for p in best), abs=1e-12)
    assert (reasoning.top_entropy(numbers(1, 100, 7) * 5, 3) <= math.log(3) + 1e-12).all()
    assert close(reasoning.top_entropy(torch.zeros(9, dtype=torch.float64), 4), math.log(4))


@pytest.mark.parametrize("k", [1, 3, 7])
def test_gradients_of_top_entropy_are_those_of_finite_differences(k):
    assert torch.autograd.gradcheck(partial(reasoning.top_entropy, k=k), numbers(0, 5, 7).requires_grad_())


def test_huge_logits_have_no_entropy_and_no_nan():
    logits = torch.tensor([[1e4, 0.0, -1e4]], requires_grad=True)
    found = reasoning.top_entropy(logits, 2)
    assert found.item() == 0
    assert (torch.autograd.grad(found.sum(), logits)[0] == 0).all()


def test_mean_information_gain_is_the_drop_in_cross_entropy_and_below_that_of_the_mixture():
    """Five next tokens as the corpus has them, a base model, three thoughts drawn by their chances; all summed out."""
    corpus, base = numbers(0, 5).softmax(-1), numbers(1, 5).log_softmax(-1)
    thinking, thoughts = numbers(2, 3, 5).log_softmax(-1), numbers(3, 3).softmax(-1)
    gains = reasoning.information_gain(thinking, base.expand(3, 5))
    mean = thoughts @ gains @ corpus
    drop = -(corpus @ base) + thoughts @ (thinking @ corpus)
    assert close(mean, drop)
    mixture = corpus @ ((thoughts @ thinking.exp()).log() - base)
    assert mean < mixture  # Jensen: a thought is drawn first, then judged


def test_no_gradient_flows_through_a_reward():
    logps = numbers(0, 3).requires_grad_()
    assert not reasoning.information_gain(logps, numbers(1, 3)).requires_grad


# --- the door ---------------------------------------------------------------------------------------------------------

one, row, yes = torch.ones(1), torch.tensor([[0.5, 0.5]]), torch.tensor([[True, True]])
group = torch.ones(1, 2, 2, dtype=torch.bool)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: reasoning.pass_at_k(4, torch.tensor([1]), 0), "k is 0, expected a whole number, 1 or more"),
        (lambda: reasoning.pass_at_k(4, torch.tensor([1]), 5), r"samples is 4, expected a number in \[5, inf\]"),
        (lambda: reasoning.pass_at_k(4, torch.tensor([5]), 2), "samples − correct is -1, expected a number in"),
        (lambda: reasoning.pass_at_k(4, torch.tensor([-1]), 2), "correct is -1"),
        (lambda: reasoning.pass_at_k(4, torch.tensor([0.5]), 2), "correct holds a fraction"),
        (lambda: reasoning.pass_at_k(4.5, torch.tensor([1]), 2), "samples or correct holds a fraction"),
        (lambda: reasoning.pass_at_k(4, torch.tensor([nan]), 2), "correct is nan"),
        (lambda: reasoning.pass_at_k(torch.tensor([4]), torch.tensor([1, 2]), 2), r"samples has shape \[1\]"),
        (lambda: reasoning.majority_vote(torch.tensor([1, 2])), r"answers has shape \[2\], expected \[B, N\]"),
        (lambda: reasoning.majority_vote(torch.ones(2, 0)), "expected at least one answer in each row"),
        (lambda: reasoning.majority_at_k(doubles(0.5, 0.6), torch.tensor(0), 2), "answer_probs sums to 1.1"),
        (lambda: reasoning.majority_at_k(doubles(0.5, 0.5), torch.tensor(2), 2), r"right is 2, expected .* \[0, 1\]"),
        (lambda: reasoning.majority_at_k(doubles(0.5, 0.5), torch.tensor([0]), 2), r"right has shape \[1\]"),
        (lambda: reasoning.majority_at_k(doubles(0.5, 0.5), torch.tensor(0), 0), "k is 0"),
        (lambda: reasoning.majority_at_k(doubles(0.5, 0.5), torch.tensor(0), 129), r"k is 129, .* \[1, 128\]"),
        (lambda: reasoning.step_product(row, yes[:, :1]), r"mask has shape \[1, 1\]"),
        (lambda: reasoning.step_product(row, yes.float()), "mask has dtype torch.float32, expected torch.bool"),
        (lambda: reasoning.step_product(row, ~yes), "mask has no True in row 0, expected at least one step"),
        (lambda: reasoning.step_minimum(row * 3, yes), r"step_probs is 1.5, expected a number in \[0, 1\]"),
        (lambda: reasoning.step_minimum(row * nan, yes), "step_probs is nan"),
        (lambda: reasoning.process_advantages(row, yes, 0), r"step_rewards has shape \[1, 2\], expected \[B, K, S\]"),
        (lambda: reasoning.process_advantages(group.float(), group.int(), 0), "mask has dtype torch.int32"),
        (lambda: reasoning.process_advantages(group.float(), group, 2), "ddof is 2, expected 0"),
        (lambda: reasoning.process_advantages(group * nan, group, 0), "step_rewards holds nan"),
        (lambda: reasoning.process_advantages(torch.ones(1, 1, 1), group[:, :1, :1], 0), "mask has 1 True in a group"),
        (lambda: reasoning.to_tokens(row, torch.tensor([[0, 2]])), r"steps is 2, expected a number in \[-1, 1\]"),
        (lambda: reasoning.to_tokens(row, torch.tensor([[-2]])), "steps is -2"),
        (lambda: reasoning.to_tokens(row, torch.tensor([[0], [0]])), r"steps has shape \[2, 1\]"),
        (lambda: reasoning.shaped_rewards(row, row, row), r"potentials has shape \[1, 2\], expected \[B, T\+1\]"),
        (lambda: reasoning.shaped_rewards(row, row * 3, torch.ones(1, 3)), "discounts is 1.5"),
        (lambda: reasoning.shaped_rewards(row, row, torch.ones(1, 3) * nan), "potentials holds nan"),
        (lambda: reasoning.prefix_match("a", b"ab", [1]), "predicted is str, expected bytes as the text"),
        (lambda: reasoning.prefix_match("a", "ab", [0]), "boundaries is 0"),
        (lambda: reasoning.prefix_match("a", "ab", [3]), r"boundaries is 3, expected a number in \[1, 2\]"),
        (lambda: reasoning.top_entropy(row, 0), "k is 0"),
        (lambda: reasoning.top_entropy(row, 3), r"k is 3, expected a number in \[1, 2\]"),
        (lambda: reasoning.top_entropy(row * inf, 1), "logits holds inf"),
        (lambda: reasoning.information_gain(one, torch.ones(2)), r"ref_logps has shape \[2\]"),
        (lambda: reasoning.information_gain(one, -one * inf), "ref_logps holds -inf"),
    ],
)
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
