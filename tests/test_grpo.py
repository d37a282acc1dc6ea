"""Group advantages and losses against pencil, every group of a two-armed bandit, every reply of the phrase world."""

import itertools
import math

import pytest
import torch

from rlcore import grpo, kl, masked
from rlcore.logprobs import sequence_logps
from rlcore.policy_gradient import leave_one_out, score_function_loss
from rlcore.trust_region import clipped_loss, ratio, surrogate
from rlcore.worlds.phrases import Phrases

nan, inf = float("nan"), float("inf")
OPEN = {"eps_low": 1.0, "eps_high": inf}  # clips nothing
PPO = {"eps_low": 0.2, "eps_high": 0.2}


def doubles(*rows) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(a, b, atol=1e-12):
    return torch.allclose(a, torch.as_tensor(b, dtype=a.dtype), rtol=0, atol=atol)


def cosine(a, b):
    return torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0)


# --- advantages of one group ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rewards", "by_k", "by_k_minus_1", "left_out", "centered"),
    [
        ([1, 0, 0, 1], [1, -1, -1, 1], 0.866025, 0.666667, 0.5),
        ([1, 0, 0, 0], [1.732051, -0.577350, -0.577350, -0.577350], 1.5, 1.0, 0.75),
        ([1, 0.5, 0, 0.5], [1.414214, 0, -1.414214, 0], 1.224745, 0.666667, 0.5),
        ([0.001, 0, 0, 0.001], [1, -1, -1, 1], 0.866025, 0.000667, 0.0005),
        ([0.7, 0.7, 0.7, 0.7], [0, 0, 0, 0], 0.0, 0.0, 0.0),
    ],
)
def test_the_known_advantages_of_a_group(rewards, by_k, by_k_minus_1, left_out, centered):
    """The second to last columns give the first reply's advantage; the others follow from it."""
    rewards = doubles(rewards)
    assert close(grpo.group_normalized(rewards, ddof=0), [by_k], atol=1e-6)
    assert grpo.group_normalized(rewards, ddof=1)[0, 0].item() == pytest.approx(by_k_minus_1, abs=1e-6)
    assert leave_one_out(rewards)[0, 0].item() == pytest.approx(left_out, abs=1e-6)
    assert grpo.group_centered(rewards)[0, 0].item() == pytest.approx(centered, abs=1e-6)


def test_the_three_advantages_differ_by_a_factor_for_each_group():
    rewards = numbers(0, 6, 5)
    centered = grpo.group_centered(rewards)
    assert close(leave_one_out(rewards), centered * 5 / 4)
    assert close(
        grpo.group_normalized(rewards, 0), (rewards - rewards.mean(-1, keepdim=True)) / rewards.std(-1, False)[:, None]
    )
    assert close(grpo.group_normalized(rewards, 1), grpo.group_normalized(rewards, 0) * math.sqrt(4 / 5))


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reward", [0.1, 1 / 3, -7.7, 1e6 + 0.1])
@pytest.mark.parametrize("size", [2, 3, 7, 64])
def test_equal_rewards_give_exact_zeros(size, reward, dtype, ddof):
    rewards = torch.full((2, size), reward, dtype=dtype)
    for advantages in (grpo.group_centered(rewards), grpo.group_normalized(rewards, ddof)):
        assert advantages.dtype is dtype
        assert torch.equal(advantages, torch.zeros(2, size, dtype=dtype))


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("size", [2, 3, 8])
def test_neither_a_shift_nor_a_scale_of_a_group_moves_normalized_advantages(size, ddof):
    rewards = numbers(size, 4, size)
    advantages = grpo.group_normalized(rewards, ddof)
    shift, scale = 3 * numbers(1, 4, 1), numbers(2, 4, 1).exp()
    assert close(grpo.group_normalized(rewards * scale + shift, ddof), advantages, atol=1e-10)
    assert close(grpo.group_normalized(-rewards, ddof), -advantages)
    assert close(grpo.group_centered(rewards + shift), grpo.group_centered(rewards), atol=1e-10)
    for given in (advantages, grpo.group_centered(rewards)):
        assert close(given.sum(-1), torch.zeros(4))


def test_a_uniformly_bad_group_cannot_push_all_its_replies_down():
    """One of the accounts of a sudden fall: five worse, and not one advantage has moved."""
    good = doubles([0.9, 0.7, 0.8, 0.6])
    for advantages in (grpo.group_centered, leave_one_out, lambda r: grpo.group_normalized(r, 0)):
        assert close(advantages(good - 5), advantages(good), atol=1e-9)
    assert close(grpo.group_normalized(good, 0), [[1.342, -0.447, 0.447, -1.342]], atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normalized_advantages_need_no_epsilon_at_any_scale(dtype):
    for spread in (1000 * torch.finfo(dtype).tiny, 1e-3, torch.finfo(dtype).max / 4):
        rewards = spread * torch.tensor([[1.0, 0.0, 0.0, 1.0]], dtype=dtype)
        assert close(grpo.group_normalized(rewards, 0), [[1, -1, -1, 1]], atol=1e-6)


def test_the_order_of_replies_and_prompts_changes_nothing():
    rewards = numbers(3, 4, 5)
    replies, prompts = torch.tensor([3, 0, 4, 1, 2]), torch.tensor([2, 0, 3, 1])
    for advantages in (
        grpo.group_centered,
        lambda r: grpo.group_normalized(r, 0),
        lambda r: grpo.group_normalized(r, 1),
    ):
        assert close(advantages(rewards[prompts][:, replies]), advantages(rewards)[prompts][:, replies])


def test_a_group_has_a_signal_exactly_where_an_advantage_is_not_zero():
    rewards = torch.tensor(list(itertools.product([0.0, 0.1, 0.2 + 0.1, 0.3], repeat=3)), dtype=torch.float64)
    signal = grpo.has_signal(rewards)
    assert signal.sum() == 4**3 - 4  # 0.2 + 0.1 is not 0.3
    assert torch.equal(signal, grpo.group_normalized(rewards, 1).any(-1))
    assert torch.equal(signal, grpo.group_centered(rewards).any(-1))


def test_lengths_alone_pass_for_a_signal_once_they_are_punished():
    right, lengths = torch.ones(1, 3), torch.tensor([[50, 90, 95]])
    assert not grpo.has_signal(right).any()
    assert grpo.has_signal(right + grpo.overlong_penalty(lengths, longest=100, buffer=20)).all()


@pytest.mark.parametrize(
    ("p", "shares"),
    [
        (0.02, {4: 0.078, 8: 0.149, 16: 0.276, 64: 0.726, 128: 0.925}),
        (0.05, {4: 0.185, 8: 0.337, 16: 0.56, 64: 0.962, 128: 0.999}),
        (0.5, {4: 0.875, 8: 0.992, 16: 1.0, 64: 1.0, 128: 1.0}),
    ],
)
def test_the_known_shares_of_useful_groups(p, shares):
    for size, share in shares.items():
        assert grpo.useful_share(p, size) == pytest.approx(share, abs=5e-4)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_share_of_useful_groups_is_what_counting_them_gives(size):
    p = 0.3
    share = 0.0
    for group in itertools.product([0.0, 1.0], repeat=size):
        chance = math.prod(p if reward else 1 - p for reward in group)
        share += chance * (size > 1 and grpo.has_signal(doubles(group)).item())
    assert grpo.useful_share(p, size) == pytest.approx(share, abs=1e-12)
    ends = grpo.useful_share(doubles(0.0, 1.0), size)
    assert torch.equal(ends, torch.zeros(2, dtype=torch.float64))


# --- what an estimator's gradient is on average: every group of a bandit with two arms ------------------------------


def mean_gradient(p: float, size: int, advantages, arms=(0.0, 1.0)) -> float:
    """E of the gradient of the clipped surrogate in the log-odds, over all 2ᴷ groups. The truth is p (1 − p)."""
    log_odds = doubles(p).logit().requires_grad_()
    both = torch.nn.functional.logsigmoid(torch.cat([-log_odds, log_odds]))
    groups = torch.tensor(list(itertools.product([0, 1], repeat=size)))  # [2ᴷ, K]
    rewards = doubles(*arms)[groups]
    logps = both[groups].flatten()[:, None]  # replies of one token
    loss = clipped_loss(logps, logps.detach(), advantages(rewards).flatten()[:, None], **PPO)
    chances = both.detach()[groups].sum(-1).exp()
    loss = (chances * loss.view_as(groups).mean(-1)).sum()
    return -torch.autograd.grad(loss, log_odds)[0].item()


@pytest.mark.parametrize("p", [0.05, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_leave_one_out_is_unbiased_and_its_own_reward_in_the_mean_costs_one_kth(size, p):
    true = p * (1 - p)
    assert mean_gradient(p, size, leave_one_out) == pytest.approx(true, rel=1e-9)
    assert mean_gradient(p, size, grpo.group_centered) == pytest.approx(true * (size - 1) / size, rel=1e-9)
    assert mean_gradient(p, size, lambda r: r) == pytest.approx(true, rel=1e-9)


@pytest.mark.parametrize(
    ("size", "centered", "normalized"), [(2, 0.105, 0.21), (4, 0.1575, 0.3433), (8, 0.18375, 0.4122)]
)
def test_the_known_mean_gradients_at_three_in_ten(size, centered, normalized):
    assert mean_gradient(0.3, size, grpo.group_centered) == pytest.approx(centered, abs=1e-6)
    assert mean_gradient(0.3, size, lambda r: grpo.group_normalized(r, 0)) == pytest.approx(normalized, abs=5e-5)


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("p", [0.05, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("size", [2, 3, 4, 7])
def test_dividing_by_the_deviation_weights_a_prompt_by_how_hard_it_is(size, p, ddof):
    got = mean_gradient(p, size, lambda r: grpo.group_normalized(r, ddof))
    assert got == pytest.approx(grpo.normalized_weight(p, size, ddof).item() * p * (1 - p), rel=1e-9)


@pytest.mark.parametrize("size", [2, 3, 8, 16])
def test_normalized_advantages_climb_another_objective(size):
    """Σ_k P(of K − 1 replies k or more are right) / √(k (K − k)): its slope in p is the weight."""
    p = doubles(0.01, 0.2, 0.5, 0.77, 0.99).requires_grad_()
    rest = size - 1
    objective = 0.0
    for least in range(1, size):
        tail = sum(math.comb(rest, j) * p**j * (1 - p) ** (rest - j) for j in range(least, size))
        objective = objective + tail / math.sqrt(least * (size - least))
    (slope,) = torch.autograd.grad(objective.sum(), p)
    assert close(grpo.normalized_weight(p.detach(), size, ddof=0), slope, atol=1e-10)


def test_the_weight_of_large_groups_is_the_slope_of_the_arcsine():
    p = doubles(0.1, 0.5, 0.8)
    assert torch.allclose(grpo.normalized_weight(p, 2000, 0), 1 / (p * (1 - p)).sqrt(), rtol=2e-3)
    assert torch.allclose(grpo.normalized_weight(p, 2, 0), torch.ones(3).double())
    assert grpo.normalized_weight(0.0, 64, 0).item() == pytest.approx(math.sqrt(63))


def test_noise_of_a_thousandth_is_climbed_like_a_right_answer():
    """Two arms that pay 0.3 and 0.301: the true gradient is a thousandth, the normalized one does not see it."""
    for ddof in (0, 1):
        noisy = mean_gradient(0.3, 4, lambda r, ddof=ddof: grpo.group_normalized(r, ddof), arms=(0.3, 0.301))
        plain = mean_gradient(0.3, 4, lambda r, ddof=ddof: grpo.group_normalized(r, ddof))
        assert noisy == pytest.approx(plain, rel=1e-9)
    assert mean_gradient(0.3, 4, leave_one_out, arms=(0.3, 0.301)) == pytest.approx(0.00021, rel=1e-6)


def test_throwing_equal_groups_away_leaves_the_direction_and_weights_the_prompt_once_more():
    """Dynamic sampling: the mean over the groups that are kept is the mean over all, divided by their share."""
    for p, size in ((0.1, 3), (0.5, 4)):
        groups = torch.tensor(list(itertools.product([0.0, 1.0], repeat=size)), dtype=torch.float64)
        chances = (p ** groups.sum(-1)) * (1 - p) ** (size - groups.sum(-1))
        kept = grpo.has_signal(groups)
        scores = groups - p
        estimates = (leave_one_out(groups) * scores).mean(-1)
        mean_of_kept = (chances * estimates)[kept].sum() / chances[kept].sum()
        assert mean_of_kept.item() == pytest.approx(p * (1 - p) / grpo.useful_share(p, size), rel=1e-9)


# --- the phrase world: groups of every pair and triple of rewards, every reply ----------------------------------------


@pytest.fixture(scope="module")
def world():
    return Phrases()


@pytest.fixture(scope="module")
def table():
    return numbers(7, 3, 156, 6)


@pytest.fixture(scope="module")
def lengths(world):
    return world.mask.sum(-1)


def mean_advantages(world, table, reward, advantages, size):
    """[P, N] each reply's advantage, averaged over all K − 1 others of its group; 44 different rewards."""
    chances, rows = world.logps(table).exp(), []
    for prompt in range(3):
        values, where = reward[prompt].unique(return_inverse=True)
        chance = torch.zeros_like(values).index_add(0, where, chances[prompt])
        groups = torch.cartesian_prod(*[torch.arange(len(values))] * size)
        others = chance[groups[:, 1:]].prod(-1)
        mean = torch.zeros_like(values).index_add(0, groups[:, 0], others * advantages(values[groups])[:, 0])
        rows.append(mean[where])
    return torch.stack(rows)


@pytest.mark.parametrize("size", [2, 3])
def test_on_the_phrase_world_leave_one_out_is_the_exact_gradient(world, table, size):
    exact = world.exact_gradient(table)
    for advantages, factor in ((leave_one_out, 1.0), (grpo.group_centered, (size - 1) / size)):
        mean = mean_advantages(world, table, world.reward, advantages, size)
        assert close(mean, factor * (world.reward - world.value(table)[:, None]), atol=1e-9)
        assert close(world.exact_gradient(table, mean), factor * exact, atol=1e-9)


def test_pairs_divided_by_their_deviation_see_only_who_won(world, table):
    """K = 2: ±1. The advantage is the chance to beat a reply of one's own policy, minus that to lose."""
    mean = mean_advantages(world, table, world.reward, lambda r: grpo.group_normalized(r, 0), 2)
    chances, margin = world.logps(table).exp(), world.reward[..., None] - world.reward[:, None]
    assert close(mean, (margin.sign() * chances[:, None]).sum(-1), atol=1e-9)
    ours, true = world.exact_gradient(table, mean).flatten(), world.exact_gradient(table).flatten()
    assert cosine(ours, true) < 0.999


@pytest.mark.parametrize("size", [2, 3, 4])
def test_with_a_verifier_each_prompt_of_the_phrase_world_gets_its_weight(world, table, size):
    verdict = (world.reward > 0.2).double()
    p = world.value(table, verdict)
    mean = mean_advantages(world, table, verdict, lambda r: grpo.group_normalized(r, 1), size)
    weighted = grpo.normalized_weight(p, size, ddof=1)[:, None, None] * world.exact_gradient(table, verdict)
    assert close(world.exact_gradient(table, mean), weighted, atol=1e-10)
    assert p.max() / p.min() > 1.5  # prompts of different difficulty


# --- ratios of sequences and of tokens ------------------------------------------------------------------------------


def test_a_hundred_tokens_each_one_per_cent_likelier():
    """Every token is in range, the reply is out of it at once, and per token it is in range again."""
    old_logps, mask, good = torch.zeros(1, 100).double(), torch.ones(1, 100).bool(), torch.ones(1).double()
    logps = torch.full((1, 100), math.log(1.01), dtype=torch.float64, requires_grad=True)

    def pull(loss):
        return -torch.autograd.grad(loss.sum(), logps)[0].sum().item()

    whole = ratio(sequence_logps(logps, mask), sequence_logps(old_logps, mask))
    assert whole.item() == pytest.approx(2.705, abs=5e-4)
    assert grpo.sequence_ratio(logps, old_logps, mask).item() == pytest.approx(1.01)
    assert pull(clipped_loss(sequence_logps(logps, mask), torch.zeros(1).double(), good, **PPO)) == 0
    assert pull(grpo.gspo_loss(logps, old_logps, good, mask, **PPO)) == pytest.approx(1.01)
    assert pull(clipped_loss(logps, old_logps, good[:, None], **PPO)) == pytest.approx(101)


def ragged(seed=0):
    logps, old_logps = numbers(seed, 3, 4).sigmoid().log(), numbers(seed + 1, 3, 4).sigmoid().log()
    return logps, old_logps, torch.arange(4) < torch.tensor([[4], [1], [2]])


def test_the_sequence_ratio_is_the_geometric_mean_of_the_tokens_ratios():
    logps, old_logps, mask = ragged()
    tokens = ratio(logps, old_logps)
    assert close(
        grpo.sequence_ratio(logps, old_logps, mask), [tokens[b, m].prod() ** (1 / m.sum()) for b, m in enumerate(mask)]
    )


def test_gradients_of_the_sequence_ratio_and_its_loss_are_those_of_finite_differences():
    logps, old_logps, mask = ragged()
    logps.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: grpo.sequence_ratio(x, old_logps, mask), logps)
    assert torch.autograd.gradcheck(lambda x: grpo.gspo_loss(x, old_logps, doubles(1, -2, 0.5), mask, **OPEN), logps)
    (slope,) = torch.autograd.grad(grpo.sequence_ratio(logps, old_logps, mask).sum(), logps)
    wanted = grpo.sequence_ratio(logps, old_logps, mask)[:, None] / mask.sum(-1, keepdim=True) * mask
    assert close(slope, wanted.detach())


def test_whatever_stands_behind_the_mask_reaches_neither_value_nor_gradient():
    logps, old_logps, mask = ragged()
    advantages = doubles(1, -2, 0.5)
    dirty = torch.where(mask, logps, nan).requires_grad_()
    clean = torch.where(mask, logps, -3.0).requires_grad_()
    gradients = []
    for x in (dirty, clean):
        loss = grpo.gspo_loss(x, old_logps, advantages, mask, **OPEN)
        gradients.append(torch.autograd.grad(loss.sum(), x)[0])
    assert torch.equal(*gradients)
    assert (gradients[0][~mask] == 0).all()


@pytest.mark.parametrize(
    ("s", "advantage", "pull"), [(1.3, 1, 0), (0.7, 1, 0.7), (1.3, -1, -1.3), (0.7, -1, 0), (1, 1, 1)]
)
def test_a_reply_out_of_range_is_given_up_whole(s, advantage, pull):
    """Two tokens whose ratios have the geometric mean s: one pull for both, or none."""
    logps = torch.log(doubles([2 * s, s / 2])).requires_grad_()
    loss = grpo.gspo_loss(logps, torch.zeros(1, 2).double(), doubles(advantage), torch.ones(1, 2).bool(), **PPO)
    assert close(-torch.autograd.grad(loss.sum(), logps)[0], [[pull / 2, pull / 2]])


@pytest.mark.parametrize("limits", [PPO, OPEN, {"eps_low": 3e-4, "eps_high": 4e-4}])
def test_the_token_form_with_one_advantage_is_gspo_again(limits):
    logps, old_logps, mask = ragged(4)
    logps.requires_grad_()
    advantages = doubles(1, -2, 0.5)
    whole = grpo.gspo_loss(logps, old_logps, advantages, mask, **limits).mean()
    tokens = masked.mean_over_sequences(
        grpo.gspo_token_loss(logps, old_logps, advantages[:, None], mask, **limits), mask
    )
    assert close(whole, tokens)
    assert close(*(torch.autograd.grad(loss, logps)[0] for loss in (whole, tokens)))


def test_the_token_form_weighs_each_tokens_own_advantage_by_the_ratio_of_the_reply():
    logps, old_logps, mask = ragged()
    logps.requires_grad_()
    advantages = numbers(9, 3, 4)
    loss = grpo.gspo_token_loss(logps, old_logps, advantages, mask, **OPEN)
    (slope,) = torch.autograd.grad(loss[mask].sum(), logps)
    s = grpo.sequence_ratio(logps, old_logps, mask).detach()[:, None]
    assert close(slope, -s * advantages * mask)
    assert close(loss.detach(), -s * advantages)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_at_the_old_policy_gspo_has_the_gradient_of_grpo(seed):
    _, old_logps, mask = ragged(seed)
    logps = old_logps.clone().requires_grad_()
    advantages = numbers(seed, 3)
    whole = grpo.gspo_loss(logps, old_logps, advantages, mask, **PPO).mean()
    tokens = masked.mean_over_sequences(clipped_loss(logps, old_logps, advantages[:, None], **PPO), mask)
    assert close(*(torch.autograd.grad(loss, logps)[0] for loss in (whole, tokens)))


@pytest.fixture(scope="module")
def moved(table):
    return table + numbers(8, 3, 156, 6) / 2


def token_logps(world, table):
    return torch.where(world.mask, table.log_softmax(-1)[:, world.states, world.tokens], 0.0)  # [P, N, 4]


def weighed(world, table, moved):
    """[P, N] each reply's weight under three ratios: the reply's own, the mean of its tokens', GSPO's."""
    logps, old_logps = token_logps(world, moved), token_logps(world, table)
    per_reply = torch.stack([grpo.sequence_ratio(logps[x], old_logps[x], world.mask) for x in range(3)])
    per_token = torch.where(world.mask, ratio(logps, old_logps), 0.0).sum(-1)
    return ratio(logps.sum(-1), old_logps.sum(-1)), per_token / world.mask.sum(-1), per_reply


def test_only_the_ratio_of_whole_replies_is_an_importance_weight(world, table, moved):
    """E_old[weight · reward]: the reply's ratio gives what the new policy earns, the others do not."""
    chances, earned = world.logps(table).exp(), world.value(moved)
    whole, per_token, per_reply = weighed(world, table, moved)
    assert close((chances * whole).sum(-1), torch.ones(3), atol=1e-9)
    assert close((chances * whole * world.reward).sum(-1), earned, atol=1e-9)
    for weights in (per_token, per_reply):
        assert ((chances * weights * world.reward).sum(-1) - earned).abs().max() > 0.2


def test_away_from_the_old_policy_only_the_ratio_of_whole_replies_has_the_exact_gradient(world, table):
    """A sum over tokens is exact where nothing has moved and turns away from there; GSPO is off from the start."""
    chances, over = world.logps(table).exp(), world.reward - world.value(table)[:, None]
    turned = []
    for distance in (0.0, 0.25, 0.5, 1.0):
        new = (table + distance * numbers(8, 3, 156, 6)).requires_grad_()
        whole, per_token, per_reply = weighed(world, table, new)
        exact = world.exact_gradient(new.detach())
        means = [(chances * w * over).sum() / 3 for w in (whole, per_token * world.mask.sum(-1), per_reply)]
        gradients = [torch.autograd.grad(mean, new, retain_graph=True)[0] for mean in means]
        assert close(gradients[0], exact, atol=1e-9)
        turned.append([cosine(gradient, exact).item() for gradient in gradients[1:]])
    by_token, by_reply = zip(*turned, strict=True)
    assert by_token[0] == pytest.approx(1)
    assert sorted(by_token, reverse=True) == list(by_token)
    assert by_token[-1] < 0.95
    assert max(by_reply) < 0.95


def test_at_the_old_policy_one_sum_over_tokens_is_exact_and_gspo_is_not(world, table, lengths):
    """GSPO, and GRPO with it, climbs E[(r − b) / |y|] with b held: good replies had better be short, bad ones long."""
    over = world.reward - world.value(table)[:, None]
    chances = world.logps(table).exp()
    logits = table.clone().requires_grad_()
    logps = token_logps(world, logits)
    for prompt in range(3):
        now, old, mask = logps[prompt], logps[prompt].detach(), world.mask
        advantages = len(now) * chances[prompt] * over[prompt]  # so that a mean over replies is E
        constant = masked.sum_over_constant(clipped_loss(now, old, advantages[:, None], **PPO), mask, constant=4)
        replies = masked.mean_over_sequences(clipped_loss(now, old, advantages[:, None], **PPO), mask)
        gspo = grpo.gspo_loss(now, old, advantages, mask, **PPO).mean()
        exact, shortened = (
            world.exact_gradient(table, reward)[prompt] * 3 for reward in (world.reward, over / lengths)
        )
        gradients = [
            -torch.autograd.grad(loss, logits, retain_graph=True)[0][prompt] for loss in (constant, replies, gspo)
        ]
        assert close(gradients[0], exact / 4, atol=1e-10)
        assert close(gradients[1], shortened, atol=1e-10)
        assert close(gradients[2], shortened, atol=1e-10)
        assert cosine(shortened, exact) < 0.999


# --- CISPO ----------------------------------------------------------------------------------------------------------


def test_where_nothing_is_cut_cispo_has_the_gradient_of_the_surrogate():
    logps, old_logps, _ = ragged()
    logps.requires_grad_()
    advantages = numbers(5, 3, 4)
    ours = torch.autograd.grad(grpo.cispo_loss(logps, old_logps, advantages, **OPEN).sum(), logps)[0]
    assert close(ours, -torch.autograd.grad(surrogate(logps, old_logps, advantages).sum(), logps)[0])


def test_at_the_old_policy_cispo_is_the_policy_gradient():
    logps = numbers(0, 3, 4).requires_grad_()
    advantages = numbers(5, 3, 1)
    ours = torch.autograd.grad(grpo.cispo_loss(logps, logps.detach(), advantages, **PPO).sum(), logps)[0]
    assert close(ours, torch.autograd.grad(score_function_loss(logps, advantages).sum(), logps)[0])


@pytest.mark.parametrize(("rho", "weight"), [(0.0, 0.8), (0.5, 0.8), (1.0, 1.0), (1.5, 1.2), (inf, 1.2)])
@pytest.mark.parametrize("advantage", [1.0, -2.0])
def test_cispo_pulls_every_token_and_ppo_gives_some_up(rho, weight, advantage):
    logps = doubles(0.0 if rho else -1000.0).requires_grad_()
    old_logps = doubles(-1000.0 if rho == inf else -math.log(rho) if rho else 0.0)
    pull = -torch.autograd.grad(grpo.cispo_loss(logps, old_logps, doubles(advantage), **PPO).sum(), logps)[0].item()
    assert pull == pytest.approx(weight * advantage)
    ppo = -torch.autograd.grad(clipped_loss(logps, old_logps, doubles(advantage), **PPO).sum(), logps)[0].item()
    if (rho, advantage) in {(0.0, -2.0), (0.5, -2.0), (1.5, 1.0), (inf, 1.0)}:
        assert ppo == 0


def test_cutting_the_weight_of_old_samples_costs_what_is_cut():
    """Two arms, drawn by an old policy: uncut the mean is the exact gradient p (1 − p), cut it is smaller."""
    p, old = 0.6, 0.2
    log_odds = doubles(p).logit().requires_grad_()
    logps = torch.nn.functional.logsigmoid(torch.cat([-log_odds, log_odds]))
    chances, rewards = doubles(1 - old, old), doubles(0.0, 1.0)

    def mean(**limits):
        loss = (chances * grpo.cispo_loss(logps, chances.log(), rewards, **limits)).sum()
        return -torch.autograd.grad(loss, log_odds, retain_graph=True)[0].item()

    assert mean(**OPEN) == pytest.approx(0.24)
    assert mean(eps_low=1.0, eps_high=0.5) == pytest.approx(0.2 * 1.5 * 0.4)  # ρ of the right arm is 3


# --- what a token weighs --------------------------------------------------------------------------------------------


def test_what_a_token_weighs_under_the_three_denominators():
    """Three replies of 1, 2 and 5 tokens: per token 1/(B |y|), 1/Σ|y|, 1/(B L); per reply 1/B, |y|/Σ|y|, |y|/(B L)."""
    mask = torch.arange(5) < torch.tensor([[1], [2], [5]])
    logps = torch.zeros(3, 5).double().requires_grad_()
    loss = clipped_loss(logps, logps.detach(), torch.ones(3, 1).double(), **PPO)
    weights = {
        "sequences": masked.mean_over_sequences(loss, mask),
        "tokens": masked.mean_over_tokens(loss, mask),
        "constant": masked.sum_over_constant(loss, mask, constant=10),
    }
    weights = {name: -torch.autograd.grad(value, logps, retain_graph=True)[0] for name, value in weights.items()}
    per_token = {"sequences": [1 / 3, 1 / 6, 1 / 15], "tokens": [1 / 8] * 3, "constant": [1 / 30] * 3}
    per_reply = {"sequences": [1 / 3] * 3, "tokens": [1 / 8, 2 / 8, 5 / 8], "constant": [1 / 30, 2 / 30, 5 / 30]}
    for name, weight in weights.items():
        assert close(weight, mask * doubles(*per_token[name])[:, None])
        assert close(weight.sum(-1), per_reply[name])


def choose(size: int, reduce, rewards=(0.0, 1.0, 1.0)):
    """E of the gradient on three logits over all 3ᴷ groups. A reply is one choice, then filler: 1, 2 or 4 tokens."""
    logits = doubles(0.0, 0.0, 0.0).requires_grad_()
    total = 0.0
    for group in itertools.product(range(3), repeat=size):
        picked = list(group)
        mask = torch.arange(4) < torch.tensor([1, 2, 4])[picked, None]
        logps = (
            torch.zeros(size, 4)
            .double()
            .index_put((torch.arange(size), torch.tensor(0)), logits.log_softmax(-1)[picked])
        )
        advantages = leave_one_out(doubles(*rewards)[picked][None]).flatten()[:, None]
        total = total + reduce(clipped_loss(logps, logps.detach(), advantages, **PPO), mask) / 3**size
    return -torch.autograd.grad(total, logits)[0]


@pytest.mark.parametrize("size", [2, 3])
def test_one_over_the_length_prefers_the_shorter_of_two_right_replies(size):
    """Three equally likely replies: wrong and short, right and short, right and long. The truth is (−2, 1, 1) / 9."""
    exact = doubles(-2, 1, 1) / 9
    assert close(choose(size, lambda x, m: masked.sum_over_constant(x, m, constant=4)), exact / 4)
    # E[(r − 2/3) / |y| ∇log π]: weights −2/3, 1/6, 1/12 on the replies, a third each, minus their mean
    weights = doubles(-2 / 3, 1 / 6, 1 / 12) / 3
    by_reply = choose(size, masked.mean_over_sequences)
    assert close(by_reply, weights - weights.sum() / 3)
    assert by_reply[1] > by_reply[2] > 0
    by_token = choose(size, masked.mean_over_tokens)
    assert by_token[1] != pytest.approx(by_token[2].item(), abs=1e-3)  # its denominator is drawn as well


def test_the_mean_over_tokens_of_pairs_by_hand():
    """K = 2: a pair (i, j) weighs both by 1/(|i| + |j|). Unequal rewards: (wrong, short right), (wrong, long right)."""
    # (0,1): −1/3 on reply 0, +1/3 on 1; (0,2): −1/5, +1/5; each pair comes in two orders, a ninth each
    weights = 2 / 9 * doubles(-1 / 3 - 1 / 5, 1 / 3, 1 / 5)
    assert close(choose(2, masked.mean_over_tokens), weights)


def test_a_wrong_reply_is_pushed_down_less_the_longer_it_is():
    """Two wrong replies of 1 and 4 tokens, and a right one: per token the long one is pushed a quarter as hard."""
    mask = torch.arange(4) < torch.tensor([[1], [4], [2]])
    logps = torch.zeros(3, 4).double().requires_grad_()
    advantages = grpo.group_centered(doubles([0.0, 0.0, 1.0])).flatten()[:, None]
    loss = clipped_loss(logps, logps.detach(), advantages, **PPO)
    (slope,) = torch.autograd.grad(masked.mean_over_sequences(loss, mask), logps)
    assert slope[1, 0] / slope[0, 0] == pytest.approx(0.25)
    assert slope[0, 0] > 0  # descent lowers it


def test_grpo_as_printed_is_one_visible_line():
    """DeepSeekMath's eq. 3, written out in loops over replies and tokens, value and gradient."""
    logps, old_logps, mask = ragged(6)
    logps, old_logps = (torch.cat([x, x.flip(0)])[:4] for x in (logps, old_logps))
    mask = torch.cat([mask, mask.flip(0)])[:4]
    ref_logps, rewards = (
        old_logps - 0.1 * numbers(3, 4, 4),
        doubles([1, 0], [0.5, 0.25]),
    )  # two prompts, two replies each
    logps.requires_grad_()
    advantages = grpo.group_normalized(rewards, ddof=0)
    per_token = clipped_loss(logps, old_logps, advantages.flatten()[:, None], **PPO) + 0.04 * kl.k3(logps, ref_logps)
    line = masked.mean_over_sequences(per_token, mask)

    objective = 0.0
    for x in range(2):
        for i in range(2):
            row, length = 2 * x + i, int(mask[2 * x + i].sum())
            advantage = (rewards[x, i] - rewards[x].mean()) / rewards[x].std(correction=0)
            for t in range(length):
                rho = (logps[row, t] - old_logps[row, t]).exp()
                off = (ref_logps[row, t] - logps[row, t]).exp()
                kept = torch.minimum(rho * advantage, rho.clamp(0.8, 1.2) * advantage)
                objective = objective + (kept - 0.04 * (off - off.log() - 1)) / length / 4
    assert close(line, -objective)
    assert close(*(torch.autograd.grad(loss, logps)[0] for loss in (line, -objective)))


# --- punishing length, and bad input --------------------------------------------------------------------------------


def test_the_papers_lengths_are_punished_as_printed():
    """L_max 20480, L_cache 4096: free up to 16384, half way down in the middle, −1 at the end."""
    penalty = grpo.overlong_penalty(torch.tensor([0, 16384, 18432, 20480, 30000]), longest=20480, buffer=4096)
    assert penalty.tolist() == [0, 0, -0.5, -1, -1]
    every = grpo.overlong_penalty(torch.arange(0, 121), longest=100, buffer=20)
    assert torch.allclose(every.diff()[80:100], torch.tensor(-0.05))
    assert (every.diff()[:80] == 0).all()


LOGPS, MASK = torch.zeros(2, 3), torch.ones(2, 3).bool()
NO_MASK = {"logps": LOGPS, "old_logps": LOGPS, "advantages": LOGPS}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: grpo.group_centered(torch.zeros(3)), r"rewards has shape \[3\], expected \[B, K\]"),
        (lambda: grpo.group_centered(torch.zeros(3, 1)), "rewards has groups of 1, expected at least 2 replies"),
        (lambda: grpo.group_centered(torch.tensor([[1.0, nan]])), r"rewards holds nan at index \[0, 1\]"),
        (lambda: grpo.group_normalized(torch.zeros(3, 1), 0), "rewards has groups of 1, expected at least 2 replies"),
        (lambda: grpo.group_normalized(torch.zeros(3, 2), 2), "ddof is 2, expected 0 .divide by K. or 1"),
        (lambda: grpo.has_signal(torch.zeros(3, 0)), "rewards has groups of 0, expected at least 2 replies"),
        (lambda: grpo.has_signal(torch.tensor([[1.0, inf]])), r"rewards holds inf at index \[0, 1\]"),
        (lambda: grpo.normalized_weight(1.5, 2, 0), r"p is 1.5, expected a number in \[0, 1\]"),
        (lambda: grpo.normalized_weight(0.5, 1, 0), "group_size is 1, expected a whole number, 2 or more"),
        (lambda: grpo.normalized_weight(0.5, 2, None), "ddof is None, expected 0"),
        (lambda: grpo.useful_share(-0.1, 2), r"p is -0.1, expected a number in \[0, 1\]"),
        (lambda: grpo.useful_share(0.5, 0), "group_size is 0, expected a whole number, 1 or more"),
        (lambda: grpo.overlong_penalty(torch.tensor([-1]), 10, 5), "lengths is -1, expected a number in"),
        (lambda: grpo.overlong_penalty(torch.tensor([1]), 10, 0), "buffer is 0, expected a whole number, 1 or more"),
        (
            lambda: grpo.overlong_penalty(torch.tensor([1]), 10, 11),
            "buffer is 11, expected at most longest, which is 10",
        ),
        (lambda: grpo.sequence_ratio(LOGPS, LOGPS[:1], MASK), r"old_logps has shape \[1, 3\], expected \[B, T\]"),
        (lambda: grpo.sequence_ratio(LOGPS, LOGPS, MASK.float()), "mask has dtype torch.float32, expected torch.bool"),
        (
            lambda: grpo.sequence_ratio(LOGPS, LOGPS, MASK & torch.tensor([[True], [False]])),
            "mask has no True in row 1",
        ),
        (
            lambda: grpo.gspo_loss(LOGPS, LOGPS, torch.zeros(2, 1), MASK, **PPO),
            r"advantages has shape \[2, 1\], expected \[2\]",
        ),
        (
            lambda: grpo.gspo_loss(LOGPS, LOGPS, torch.zeros(3), MASK, **PPO),
            r"advantages has shape \[3\], expected \[2\]",
        ),
        (lambda: grpo.gspo_loss(LOGPS, LOGPS, torch.zeros(2), MASK, 1.2, 0.2), "eps_low is 1.2, expected a number in"),
        (lambda: grpo.gspo_token_loss(LOGPS, LOGPS, torch.zeros(2), MASK, **PPO), r"advantages has shape \[2\]"),
        (
            lambda: grpo.cispo_loss(LOGPS, LOGPS, torch.zeros(2), **PPO),
            r"advantages has shape \[2\], expected \[2, 3\]",
        ),
        (lambda: grpo.cispo_loss(LOGPS, LOGPS[:1], LOGPS, **PPO), r"old_logps has shape \[1, 3\], expected \[2, 3\]"),
        (lambda: grpo.cispo_loss(**NO_MASK, eps_low=-0.1, eps_high=0.2), "eps_low is -0.1, expected a number in"),
        (lambda: grpo.cispo_loss(**NO_MASK, eps_low=0.2, eps_high=-0.2), "eps_high is -0.2, expected a number in"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
