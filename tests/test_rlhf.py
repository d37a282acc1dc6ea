"""Rewards of tokens against their definition, and against sums over every reply of the phrase world."""

import math
from dataclasses import dataclass

import pytest
import torch

from rlcore import returns, rlhf
from rlcore.worlds.phrases import N, P, Phrases

NAN = float("nan")
WORLD = Phrases()
REFERENCE = WORLD.reference_logits()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@dataclass
class Batch:
    """Random replies of different lengths; NaN behind the mask."""

    scores: torch.Tensor
    logps: torch.Tensor
    ref_logps: torch.Tensor
    mask: torch.Tensor


def batch(seed, rows=5, columns=6):
    draw = generator(seed)
    lengths = torch.randint(1, columns + 1, (rows,), generator=draw)
    mask = torch.arange(columns) < lengths[:, None]
    logps, ref_logps = -torch.rand(2, rows, columns, generator=draw, dtype=torch.float64) * 3
    scores = torch.randn(rows, generator=draw, dtype=torch.float64)
    return Batch(scores, logps.masked_fill(~mask, NAN), ref_logps.masked_fill(~mask, NAN), mask)


def everything(seed):
    """All replies of the phrase world under some policy: its table, and rows of tokens [P · N, 4]."""
    table = REFERENCE + torch.randn(REFERENCE.shape, generator=generator(seed), dtype=torch.float64)
    prompt, said = torch.arange(P).repeat_interleave(N), torch.arange(N).repeat(P)
    where = prompt[:, None], WORLD.states[said], WORLD.tokens[said]
    logps, refs = (x.log_softmax(-1)[where] for x in (table, REFERENCE))
    return table, logps, refs, WORLD.mask[said]


# --- the rewards ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_rewards_are_those_of_the_definition_token_by_token(seed, beta):
    drawn = batch(seed)
    found = rlhf.token_rewards(drawn.scores, drawn.logps, drawn.ref_logps, drawn.mask, beta)
    for row, mask in enumerate(drawn.mask.tolist()):
        for column, real in enumerate(mask):
            last = column == sum(mask) - 1
            ratio = (drawn.logps[row, column] - drawn.ref_logps[row, column]).item()
            want = -beta * ratio + (drawn.scores[row].item() if last else 0.0) if real else 0.0
            assert found[row, column].item() == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_a_replys_rewards_add_up_to_score_minus_beta_times_log_ratio(seed):
    drawn = batch(seed)
    found = rlhf.token_rewards(drawn.scores, drawn.logps, drawn.ref_logps, drawn.mask, 0.3).sum(1)
    ratios = torch.where(drawn.mask, drawn.logps - drawn.ref_logps, 0).sum(1)
    torch.testing.assert_close(found, drawn.scores - 0.3 * ratios)


@pytest.mark.parametrize("seed", range(3))
def test_over_all_replies_the_rewards_mean_score_minus_beta_kl(seed):
    table, logps, refs, mask = everything(seed)
    paid = rlhf.token_rewards(WORLD.reward.flatten(), logps, refs, mask, beta=0.4).sum(1).view(P, N)
    whole, ref_logps = WORLD.logps(table), WORLD.logps(REFERENCE)
    found = (whole.exp() * paid).sum(-1)
    torch.testing.assert_close(found, WORLD.value(table) - 0.4 * WORLD.kl(whole, ref_logps))


def test_rewards_are_constants():
    drawn = batch(0)
    leaves = [x.nan_to_num().requires_grad_() for x in (drawn.scores, drawn.logps, drawn.ref_logps)]
    found = rlhf.token_rewards(leaves[0], leaves[1], leaves[2], drawn.mask, 0.3)
    assert not found.requires_grad


@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_as_weights_of_the_score_the_rewards_give_the_gradient_of_the_objective(beta):
    """Each token's log-probability times what comes from it on: the gradient of E[score] − β KL, exactly."""
    table, logps, refs, mask = everything(1)
    leaf = table.clone().requires_grad_()
    rewards = rlhf.token_rewards(WORLD.reward.flatten(), logps, refs, mask, beta)
    to_go = rewards.flip(1).cumsum(1).flip(1)
    prompt, said = torch.arange(P).repeat_interleave(N), torch.arange(N).repeat(P)
    new = leaf.log_softmax(-1)[prompt[:, None], WORLD.states[said], WORLD.tokens[said]]
    chances = WORLD.logps(table).exp().flatten()[:, None]
    (found,) = torch.autograd.grad((chances * torch.where(mask, new * to_go, 0)).sum(), leaf)
    objective = (WORLD.value(leaf) - beta * WORLD.kl(WORLD.logps(leaf), WORLD.logps(REFERENCE))).sum()
    torch.testing.assert_close(found, torch.autograd.grad(objective, leaf)[0])


# --- discounts, and GAE on these rewards ----------------------------------------------------------------------------


def test_discounts_end_every_reply_at_its_own_last_token():
    mask = torch.tensor([[True] * 4, [True, True, False, False], [True, False, False, False]])
    want = torch.tensor([[1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert torch.equal(rlhf.discounts(mask), want)


@pytest.mark.parametrize("seed", range(3))
def test_with_lam_1_the_advantage_is_the_rest_of_the_sum_less_the_value(seed):
    drawn = batch(seed)
    rewards = rlhf.token_rewards(drawn.scores, drawn.logps, drawn.ref_logps, drawn.mask, 0.3)
    values = torch.randn(5, 7, generator=generator(seed + 9), dtype=torch.float64)
    values[:, 1:][~drawn.mask] = NAN  # what stands behind a reply is never read
    found = returns.gae(rewards, rlhf.discounts(drawn.mask).double(), values, lam=1.0)
    want = rewards.flip(1).cumsum(1).flip(1) - values[:, :-1]
    torch.testing.assert_close(found[drawn.mask], want[drawn.mask])
    ratios = torch.where(drawn.mask, drawn.logps - drawn.ref_logps, 0).sum(1)
    torch.testing.assert_close(found[:, 0], drawn.scores - 0.3 * ratios - values[:, 0])


# --- whitening ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_whitened_is_the_definition_over_real_tokens_and_0_behind_them(seed):
    drawn = batch(seed)
    found = rlhf.whitened(drawn.logps, drawn.mask)
    real = drawn.logps[drawn.mask].tolist()
    mean = sum(real) / len(real)
    spread = math.sqrt(sum((x - mean) ** 2 for x in real) / (len(real) - 1))
    assert found[drawn.mask].tolist() == pytest.approx([(x - mean) / spread for x in real], abs=1e-12)
    assert (found[~drawn.mask] == 0).all()


def test_whitened_forgets_units_and_zero_of_the_reward():
    drawn = batch(0)
    first, second = (rlhf.whitened(x, drawn.mask) for x in (drawn.logps, 1000 * drawn.logps + 5))
    torch.testing.assert_close(first, second)


def test_equal_numbers_become_zeros():
    assert torch.equal(rlhf.whitened(torch.full((2, 2), 0.5), torch.ones(2, 2, dtype=torch.bool)), torch.zeros(2, 2))


# --- the price, and best of n ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kl", "factor"), [(0.0, 0.9), (3.2, 0.9), (3.6, 0.95), (4.0, 1.0), (4.4, 1.05), (99.0, 1.1)])
def test_the_price_moves_by_a_tenth_at_most_and_the_right_way(kl, factor):
    assert rlhf.proportional_beta(0.3, kl, target=4.0, gain=0.5) == pytest.approx(0.3 * factor)


@pytest.mark.parametrize("n", [1, 2, 4, 16])
def test_best_of_n_costs_the_formula_where_no_two_scores_are_equal(n):
    """On a fine ladder of 20,000 replies, all as likely: sums of k-th order statistics."""
    count = 20_000
    edge = torch.linspace(0, 1, count + 1, dtype=torch.float64) ** n
    chances = edge.diff()
    kl = torch.special.xlogy(chances, chances * count).sum().item()
    assert rlhf.best_of_n_kl(n) == pytest.approx(kl, abs=2e-3)


@pytest.mark.parametrize("n", [2, 5, 40])
def test_with_few_replies_the_formula_is_a_bound(n):
    chances = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    best = (chances.cumsum(0) ** n).diff(prepend=torch.zeros(1, dtype=torch.float64))
    assert (best * (best / chances).log()).sum() < rlhf.best_of_n_kl(n) - 0.01


# --- bad inputs -----------------------------------------------------------------------------------------------------


def arguments(**changes):
    mask = torch.tensor([[True, True, False], [True, True, True]])
    good = {"scores": torch.ones(2), "logps": torch.zeros(2, 3), "ref_logps": torch.zeros(2, 3)}
    return good | {"mask": mask, "beta": 0.1} | changes


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"scores": torch.tensor([1.0, NAN])}, r"scores holds nan at index \[1\], expected finite"),
        ({"scores": torch.tensor([math.inf, 1.0])}, r"scores holds inf at index \[0\], expected finite"),
        ({"scores": torch.ones(3)}, r"scores has shape \[3\], expected \[B\]"),
        ({"scores": torch.ones(2, 3)}, r"scores has shape \[2, 3\], expected \[B\]"),
        ({"ref_logps": torch.zeros(2, 2)}, r"ref_logps has shape \[2, 2\]"),
        ({"mask": torch.zeros(2, 3, dtype=torch.bool)}, "mask has no True in row 0, expected a token there"),
        ({"mask": torch.tensor([[True] * 3, [False] * 3])}, "mask has no True in row 1"),
        (
            {"mask": torch.tensor([[True, False, True], [True] * 3])},
            "mask has a gap in row 0, expected real tokens first",
        ),
        ({"mask": torch.tensor([[True] * 3, [False, True, True]])}, "mask has a gap in row 1"),
        ({"mask": torch.ones(2, 3)}, "mask has dtype torch.float32, expected torch.bool"),
        ({"mask": torch.ones(2, 3, dtype=torch.int64)}, "mask has dtype torch.int64, expected torch.bool"),
        ({"beta": -0.1}, r"beta is -0.1, expected a number in \[0, inf\]"),
        ({"beta": NAN}, "beta is nan"),
    ],
)
def test_bad_inputs_of_token_rewards_are_named(changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        rlhf.token_rewards(**arguments(**changes))


@pytest.mark.parametrize(
    ("mask", "complaint"),
    [
        (torch.zeros(1, 3, dtype=torch.bool), "mask has no True in row 0"),
        (torch.tensor([[False, True]]), "mask has a gap in row 0"),
        (torch.ones(1, 3), "mask has dtype torch.float32, expected torch.bool"),
        (torch.ones(3, dtype=torch.bool), r"mask has shape \[3\], expected \[B, T\]"),
    ],
)
def test_bad_inputs_of_discounts_are_named(mask, complaint):
    with pytest.raises(ValueError, match=complaint):
        rlhf.discounts(mask)


@pytest.mark.parametrize(
    ("x", "mask", "complaint"),
    [
        (torch.zeros(2, 3), torch.ones(2, 2, dtype=torch.bool), r"mask has shape \[2, 2\]"),
        (torch.zeros(1, 3), torch.tensor([[True, False, False]]), "mask has 1 True, expected at least 2"),
        (torch.zeros(1, 3), torch.zeros(1, 3, dtype=torch.bool), "mask has 0 True, expected at least 2"),
        (torch.zeros(1, 3), torch.ones(1, 3), "mask has dtype torch.float32, expected torch.bool"),
    ],
)
def test_bad_inputs_of_whitened_are_named(x, mask, complaint):
    with pytest.raises(ValueError, match=complaint):
        rlhf.whitened(x, mask)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"beta": 0.0}, "beta is 0, expected a finite number above 0"),
        ({"target": -1.0}, "target is -1, expected a finite number above 0"),
        ({"gain": 0.0}, "gain is 0, expected a finite number above 0"),
        ({"kl": NAN}, "kl holds nan"),
    ],
)
def test_bad_inputs_of_proportional_beta_are_named(changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        rlhf.proportional_beta(**{"beta": 0.1, "kl": 1.0, "target": 1.0, "gain": 0.1} | changes)


@pytest.mark.parametrize("n", [0, -1, 2.0, True])
def test_best_of_n_needs_a_whole_number(n):
    with pytest.raises(ValueError, match=r"n is .*, expected a whole number, 1 or more"):
        rlhf.best_of_n_kl(n)
