"""The policy gradient against exact enumeration: a three-armed bandit and every reply of the phrase world."""

import itertools

import pytest
import torch

from rlcore import policy_gradient as m
from rlcore.worlds.phrases import Phrases

POLICY = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
REWARDS = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
SCORES = torch.eye(3, dtype=torch.float64) - POLICY
nan, inf = float("nan"), float("inf")


def close(a, b, atol=1e-12):
    return torch.allclose(a, torch.as_tensor(b, dtype=a.dtype), rtol=0, atol=atol)


# --- the bandit ----------------------------------------------------------------------------------------------------


def one_sample(advantages):
    """Mean and total variance of the one-sample gradient estimate, over every action, by backpropagation."""
    estimates = []
    for action in range(3):
        logits = POLICY.log().requires_grad_()
        m.score_function_loss(logits.log_softmax(-1)[action], advantages[action]).backward()
        estimates.append(-logits.grad)
    estimates = torch.stack(estimates)
    mean = POLICY @ estimates
    return mean, POLICY @ (estimates - mean).square().sum(-1)


@pytest.mark.parametrize(("baseline", "variance"), [(0.0, 0.8198), (0.7, 0.2472), (5.0, 10.0598), (1.00968, 0.18774)])
def test_a_constant_baseline_moves_the_variance_and_not_the_mean(baseline, variance):
    mean, spread = one_sample(REWARDS - baseline)
    assert close(mean, [-0.35, 0.09, 0.26])
    assert close(spread, variance, atol=1e-5)


def test_a_baseline_that_depends_on_the_action_takes_the_gradient_away():
    mean, spread = one_sample(REWARDS - REWARDS)
    assert close(mean, torch.zeros(3))
    assert close(spread, 0.0)


def test_no_constant_beats_the_optimal_baseline():
    best = m.optimal_baseline(SCORES, REWARDS, POLICY)
    assert close(best, 1.00968, atol=1e-5)
    grid = torch.linspace(-1, 3, 4001, dtype=torch.float64)
    spreads = torch.stack([one_sample(REWARDS - baseline)[1] for baseline in grid[::40]])
    assert one_sample(REWARDS - best)[1] < spreads.min()
    fine = [one_sample(REWARDS - best + shift)[1] for shift in (-1e-4, 0.0, 1e-4)]
    assert fine[1] < min(fine[0], fine[2])


def test_equal_rewards_are_their_own_optimal_baseline():
    assert close(m.optimal_baseline(SCORES, torch.full_like(REWARDS, 3.0), POLICY), 3.0)


def test_an_outcome_that_cannot_happen_does_not_count():
    policy = torch.tensor([0.4, 0.6, 0.0], dtype=torch.float64)
    alone = m.optimal_baseline(SCORES[:2], REWARDS[:2], policy[:2])
    assert close(m.optimal_baseline(SCORES, REWARDS, policy), alone)


def test_optimal_baselines_go_through_in_a_batch():
    many = torch.stack([REWARDS, REWARDS + 1, REWARDS * 2])
    got = m.optimal_baseline(SCORES.expand(3, 3, 3), many, POLICY.expand(3, 3))
    best = m.optimal_baseline(SCORES, REWARDS, POLICY)
    assert close(got, torch.stack([best, best + 1, best * 2]))


# --- leave one out -------------------------------------------------------------------------------------------------


def test_leave_one_out_is_the_reward_minus_the_mean_of_the_others():
    rewards = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = rewards.tolist()
    slow = [[r - sum(row[:i] + row[i + 1 :]) / 4 for i, r in enumerate(row)] for row in rows]
    assert close(m.leave_one_out(rewards), slow)


def test_leave_one_out_is_unbiased_for_every_group_size():
    """Over every group of K actions: the mean estimate is the gradient, for which K/(K−1) is needed."""
    for size in (2, 3, 4):
        total = torch.zeros(3, dtype=torch.float64)
        for group in itertools.product(range(3), repeat=size):
            picked = list(group)
            advantages = m.leave_one_out(REWARDS[None, picked])[0]
            total += POLICY[picked].prod() * (advantages[:, None] * SCORES[picked]).mean(0)
        assert close(total, [-0.35, 0.09, 0.26])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reward", [0.1, 1 / 3, -7.7, 1e6 + 0.1])
@pytest.mark.parametrize("size", [2, 3, 7, 64])
def test_equal_rewards_give_exact_zeros(size, reward, dtype):
    advantages = m.leave_one_out(torch.full((2, size), reward, dtype=dtype))
    assert advantages.dtype is dtype
    assert torch.equal(advantages, torch.zeros(2, size, dtype=dtype))


def test_leave_one_out_does_not_lose_small_differences_on_a_large_reward():
    rewards = torch.tensor([[4096.0, 4096.25, 4096.0]])  # exact in float32
    assert torch.equal(m.leave_one_out(rewards), torch.tensor([[-0.125, 0.25, -0.125]]))


# --- the mean and the deviation of the whole batch --------------------------------------------------------------------


def test_batch_normalized_is_its_definition_whatever_the_shape():
    rewards = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for ddof in (0, 1):
        wanted = (rewards - rewards.mean()) / rewards.std(correction=ddof)
        assert close(m.batch_normalized(rewards, ddof), wanted)
        assert close(m.batch_normalized(rewards.flatten(), ddof), wanted.flatten())
        assert close(m.batch_normalized(1e3 * rewards - 7, ddof), wanted, atol=1e-10)
        assert close(m.batch_normalized(rewards, ddof).sum(), 0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reward", [0.1, 1 / 3, -7.7, 1e6 + 0.1])
def test_a_batch_of_equal_rewards_gives_exact_zeros(reward, dtype):
    rewards = torch.full((3, 7), reward, dtype=dtype)
    for ddof in (0, 1):
        advantages = m.batch_normalized(rewards, ddof)
        assert advantages.dtype is dtype
        assert torch.equal(advantages, torch.zeros(3, 7, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batch_normalized_needs_no_epsilon_at_any_scale(dtype):
    for spread in (1000 * torch.finfo(dtype).tiny, torch.finfo(dtype).max / 4):
        rewards = spread * torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=dtype)
        assert m.batch_normalized(rewards, ddof=0).tolist() == [1, -1, -1, 1]


def weights(size, chances, advantages):
    """E[1/K Σ_i A_i ∇log π] / ∇p for each of two prompts with 0/1 rewards, over how many replies are right in each."""
    counts = list(itertools.product(range(size + 1), repeat=2))
    batches = torch.stack([torch.arange(size) < torch.tensor(pair)[:, None] for pair in counts]).double()
    likely = torch.stack(
        [torch.distributions.Binomial(size, p).log_prob(batches.sum(-1)[:, i]) for i, p in enumerate(chances)]
    )
    scores = torch.where(batches > 0, 1 / chances[:, None], -1 / (1 - chances[:, None]))  # per unit of ∇p, on average
    estimates = torch.stack([advantages(batch) for batch in batches]) * scores
    return (likely.sum(0).exp()[:, None] * estimates.mean(-1)).sum(0)


def test_over_a_large_batch_every_prompt_counts_the_same_and_in_groups_the_hard_one_counts_more():
    chances = torch.tensor([0.1, 0.5], dtype=torch.float64)
    apart = []
    for size in (4, 8, 16, 32):
        hard, even = weights(size, chances, lambda r: m.batch_normalized(r, 0))
        apart.append(abs(hard / even - 1).item())
    assert apart == sorted(apart, reverse=True)
    assert apart[-1] < 0.01
    hard, even = weights(32, chances, lambda r: torch.stack([m.batch_normalized(group, 0) for group in r]))
    assert hard / even > 1.5  # tends to √(0.25 / 0.09)


@pytest.mark.parametrize("size", [2, 3])
def test_the_mean_of_the_batch_costs_only_ones_own_share_of_it(size):
    """Without the deviation, that is: 1 of N = 2 K replies."""
    chances = torch.tensor([0.1, 0.5], dtype=torch.float64)
    own = 1 / (2 * size)
    got = weights(size, chances, lambda r: m.batch_normalized(r, 0) * r.std(correction=0))
    assert close(got, [1 - own, 1 - own])


# --- the phrase world: every reply of every prompt -----------------------------------------------------------------


@pytest.fixture(scope="module")
def world():
    return Phrases()


@pytest.fixture(scope="module")
def table():
    return torch.randn(3, 156, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


def expected_gradient(world, table, advantages):
    """Σ over every prompt and reply of π(reply) · autograd gradient of the loss; advantages [P, N] or [P, N, 4]."""
    logits = table.clone().requires_grad_()
    token_logps = logits.log_softmax(-1)[:, world.states, world.tokens]  # [P, N, 4]
    token_logps = torch.where(world.mask, token_logps, 0.0)
    logps = token_logps.sum(-1) if advantages.ndim == 2 else token_logps
    loss = m.score_function_loss(logps, advantages)
    loss = loss if advantages.ndim == 2 else loss.sum(-1)
    chances = token_logps.sum(-1).exp().detach()
    (gradient,) = torch.autograd.grad((chances * loss).sum() / 3, logits)
    return gradient


def paid_on_the_way(world):
    """[P, N, 4] the reward, with the price of each word paid when it is said and the rest at the end."""
    says = (world.tokens != 5) & world.mask
    last = world.mask.sum(-1) - 1
    paid = torch.where(says, -0.2, 0.0).to(torch.float64).expand(3, -1, -1).clone()
    rest = world.reward - paid.sum(-1)
    return paid.scatter_add(-1, last.expand(3, -1)[..., None], rest[..., None])


def test_the_expected_gradient_with_the_reward_is_the_exact_one(world, table):
    assert close(-expected_gradient(world, table, world.reward), world.exact_gradient(table), atol=1e-9)


def test_a_baseline_for_each_prompt_does_not_bias(world, table):
    advantages = world.reward - world.value(table)[:, None]
    assert close(-expected_gradient(world, table, advantages), world.exact_gradient(table), atol=1e-9)
    advantages = world.reward - torch.tensor([[5.0], [-3.0], [0.1]])
    assert close(-expected_gradient(world, table, advantages), world.exact_gradient(table), atol=1e-9)


def test_the_reward_of_the_greedy_reply_as_a_baseline_does_not_bias(world, table):
    greedy = []
    for prompt in range(3):
        prefix = said = 0
        for _ in range(4):
            token = table[prompt, prefix].argmax().item()
            said = world.said[prefix, token].item()
            if token == 5 or said >= 156:
                break
            prefix = said
        greedy.append(world.reward[prompt, said])
    advantages = m.remax_advantages(world.reward, torch.stack(greedy))
    assert not close(advantages, world.reward)
    assert close(-expected_gradient(world, table, advantages), world.exact_gradient(table), atol=1e-9)


def test_rewards_to_go_do_not_bias(world, table):
    paid = paid_on_the_way(world)
    assert close(paid.sum(-1), world.reward)
    to_go = paid.flip(-1).cumsum(-1).flip(-1)
    assert not close(to_go, paid.sum(-1, keepdim=True).expand_as(to_go))
    assert close(-expected_gradient(world, table, to_go), world.exact_gradient(table), atol=1e-9)


def test_rewards_to_go_minus_any_baseline_of_the_state_do_not_bias(world, table):
    baseline = torch.randn(3, 156, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    to_go = paid_on_the_way(world).flip(-1).cumsum(-1).flip(-1)
    advantages = to_go - baseline[:, world.states]
    assert close(-expected_gradient(world, table, advantages), world.exact_gradient(table), atol=1e-9)


def test_the_exact_advantage_does_not_bias(world, table):
    q = world.q_values(table)
    advantages = q - (table.softmax(-1) * q).sum(-1, keepdim=True)
    advantages = advantages[:, world.states, world.tokens]
    assert close(-expected_gradient(world, table, advantages), world.exact_gradient(table), atol=1e-9)


def test_one_later_reward_to_go_for_all_tokens_biases(world, table):
    """The sum of all scores times the rewards from step 1 on: the bracket that is often misplaced."""
    paid = paid_on_the_way(world)
    gradient = -expected_gradient(world, table, paid[..., 1:].sum(-1))
    assert (gradient - world.exact_gradient(table)).abs().max() > 0.01


def test_a_baseline_that_knows_the_token_biases(world, table):
    advantages = world.reward[..., None] - world.q_values(table)[:, world.states, world.tokens]
    gradient = -expected_gradient(world, table, advantages)
    assert close(gradient, torch.zeros_like(gradient), atol=1e-9)
    assert world.exact_gradient(table).abs().max() > 0.01


# --- the loss itself -----------------------------------------------------------------------------------------------


def test_whitened_advantages_make_the_first_loss_zero_and_not_the_gradient():
    logits = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    rewards = torch.tensor([1.0, 2.0, 3.0, 6.0], dtype=torch.float64)
    loss = m.score_function_loss(logits.log_softmax(-1), (rewards - rewards.mean()) / rewards.std()).mean()
    loss.backward()
    assert close(loss.detach(), 0.0)
    assert logits.grad.abs().max() > 0.1


def test_advantages_that_are_not_detached_push_the_critic():
    logps = torch.tensor([-1.0, -3.0], requires_grad=True)
    values = torch.tensor([0.5, 0.5], requires_grad=True)
    returns = torch.tensor([1.0, 0.0])
    m.score_function_loss(logps, (returns - values).detach()).sum().backward()
    assert values.grad is None
    expected = logps.grad.clone()
    m.score_function_loss(logps, returns - values).sum().backward()
    assert torch.equal(values.grad, logps.detach())  # descent raises both values, whatever the returns were
    assert torch.equal(logps.grad, 2 * expected)  # the policy's gradient cannot show it


def test_an_entry_stays_by_itself():
    loss = m.score_function_loss(torch.tensor([-1.0, nan, -2.0]), torch.tensor([1.0, 1.0, 3.0]))
    assert loss.nan_to_num(7.0).tolist() == [1, 7, 6]


def test_one_advantage_serves_a_whole_sequence_when_its_axis_is_written_out():
    logps = -torch.rand(2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    advantages = torch.tensor([2.0, -1.0], dtype=torch.float64)
    wide = advantages[:, None].expand(2, 2).clone()
    assert torch.equal(m.score_function_loss(logps, advantages[:, None]), m.score_function_loss(logps, wide))


# --- bad input -----------------------------------------------------------------------------------------------------

LOGPS = torch.zeros(2, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: m.score_function_loss(LOGPS, torch.zeros(2)), r"advantages has shape \[2\], expected \[2, 2\]"),
        (lambda: m.score_function_loss(LOGPS, torch.zeros(2, 3)), r"advantages has shape \[2, 3\], expected \[2, 2\]"),
        (lambda: m.score_function_loss(LOGPS, torch.zeros(1, 3)), r"advantages has shape \[1, 3\], expected \[1, 2\]"),
        (lambda: m.score_function_loss(LOGPS, torch.zeros(1, 2, 2)), r"advantages has shape \[1, 2, 2\]"),
        (lambda: m.score_function_loss(LOGPS[0], torch.tensor(1.0)), r"advantages has shape \[\], expected \[2\]"),
        (lambda: m.score_function_loss(LOGPS, 1.0), r"advantages is 1.0 \(float\), expected a tensor"),
        (lambda: m.leave_one_out(torch.zeros(3)), r"rewards has shape \[3\], expected \[B, K\]"),
        (lambda: m.leave_one_out(torch.zeros(3, 1)), "rewards has groups of 1, expected at least 2 replies"),
        (lambda: m.leave_one_out(torch.zeros(3, 0)), "rewards has groups of 0, expected at least 2 replies"),
        (lambda: m.leave_one_out(torch.tensor([[1.0, nan]])), r"rewards holds nan at index \[0, 1\]"),
        (lambda: m.remax_advantages(LOGPS, torch.zeros(3)), r"greedy_rewards has shape \[3\], expected \[B\]"),
        (lambda: m.remax_advantages(LOGPS[0], torch.zeros(2)), r"rewards has shape \[2\], expected \[B, K\]"),
        (lambda: m.remax_advantages(LOGPS, torch.tensor([0.0, nan])), r"greedy_rewards holds nan at index \[1\]"),
        (lambda: m.batch_normalized(torch.zeros(1), 0), "rewards has 1 entries, expected at least 2"),
        (lambda: m.batch_normalized(LOGPS, 2), "ddof is 2, expected 0 .divide by N. or 1"),
        (lambda: m.batch_normalized(torch.tensor([0.0, inf]), 1), r"rewards holds inf at index \[1\]"),
        (lambda: m.optimal_baseline(SCORES[0], REWARDS, POLICY), r"scores has shape \[3\], expected \[\.\.\., N, D\]"),
        (lambda: m.optimal_baseline(SCORES, REWARDS[:2], POLICY), r"rewards has shape \[2\], expected \[3\]"),
        (lambda: m.optimal_baseline(SCORES, REWARDS, POLICY[:2]), r"probabilities has shape \[2\], expected \[3\]"),
        (lambda: m.optimal_baseline(SCORES, REWARDS, POLICY / 2), "probabilities sums to 0.5"),
        (lambda: m.optimal_baseline(SCORES, REWARDS / 0, POLICY), "rewards holds nan"),
        (lambda: m.optimal_baseline(SCORES * inf, REWARDS, POLICY), "scores holds inf"),
        (lambda: m.optimal_baseline(SCORES * 0, REWARDS, POLICY), "scores are all 0 where probabilities are not"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
