"""Soft values, credits and sequential KL on token games small enough to enumerate."""

import math

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from rlcore import dpo_tokens as tokens

BETA = 0.7
REF_FIRST, REF_SECOND = torch.tensor([0.6, 0.4]).double(), torch.tensor([[0.5, 0.5], [0.3, 0.7]]).double()
REWARDS = torch.tensor([[1.0, 0.0], [2.0, -1.0]]).double()  # of the two-token replies; nothing before the end


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def solved():
    """Values and log-probabilities of the two-token game, from the end to the start."""
    second = tokens.soft_q(REWARDS, torch.zeros(2, 2).double(), REF_SECOND.log(), BETA)
    values = tokens.soft_value(second, BETA)  # of the state after each first token
    first = tokens.soft_q(torch.zeros(2).double(), values, REF_FIRST.log(), BETA)
    return (tokens.soft_value(first, BETA), values), (tokens.soft_logps(first, BETA), tokens.soft_logps(second, BETA))


def test_token_by_token_the_soft_optimum_is_the_optimum_over_whole_replies():
    (start, _), (first, second) = solved()
    weights = REF_FIRST[:, None] * REF_SECOND * (REWARDS / BETA).exp()
    assert start.item() == pytest.approx(BETA * weights.sum().log().item(), abs=1e-12)
    assert start.item() == pytest.approx(0.917407, abs=1e-6)
    torch.testing.assert_close((first[:, None] + second).exp(), weights / weights.sum(), atol=1e-15, rtol=0)


def test_credits_add_up_to_the_reward_less_the_value_of_the_start():
    (start, _), (first, second) = solved()
    logps = torch.stack([first[:, None].expand(2, 2), second], -1).view(4, 2)
    ref_logps = torch.stack([REF_FIRST.log()[:, None].expand(2, 2), REF_SECOND.log()], -1).view(4, 2)
    credits = tokens.token_credits(logps, ref_logps, torch.ones(4, 2, dtype=torch.bool), BETA)
    torch.testing.assert_close(credits.sum(-1), REWARDS.flatten() - start)
    wanted = torch.tensor([0.0826, -0.9174, 1.0826, -1.9174]).double()
    torch.testing.assert_close(credits.sum(-1), wanted, atol=1e-4, rtol=0)


def test_a_credit_is_a_soft_advantage_and_not_what_the_token_was_paid():
    """The first token is paid nothing, and gets V(s') − V(s); the second r − V(s')."""
    (start, values), (first, second) = solved()
    logps, ref_logps = torch.stack([first[0], second[0, 1]]), torch.stack([REF_FIRST.log()[0], REF_SECOND.log()[0, 1]])
    credits = tokens.token_credits(logps[None], ref_logps[None], torch.ones(1, 2, dtype=torch.bool), BETA)[0]
    torch.testing.assert_close(credits, torch.stack([values[0] - start, REWARDS[0, 1] - values[0]]))


def test_the_forward_kl_of_tdpo_comes_out_of_the_partition_function():
    """β log Z = E_ref[Q] + β KL(ref‖π*), Q without the reference; the other direction gives 0.873614."""
    q, ref = torch.tensor([[0.3, -1.0, 2.0], [0.5, 0.3, 0.2]], dtype=torch.float64)
    with_ref = tokens.soft_q(q, torch.zeros(3).double(), ref.log(), BETA)
    best, value = tokens.soft_logps(with_ref, BETA), tokens.soft_value(with_ref, BETA).item()
    forward = tokens.sequential_kl(best[None, None], ref.log()[None, None], torch.tensor([[True]]))[0]
    backward = tokens.sequential_kl(ref.log()[None, None], best[None, None], torch.tensor([[True]]))[0]
    assert value == pytest.approx(1.024565, abs=1e-6)
    assert (ref @ q + BETA * forward).item() == pytest.approx(value, abs=1e-12)
    assert (ref @ q + BETA * backward).item() == pytest.approx(0.873614, abs=1e-6)
    assert (ref @ (BETA * (best - ref.log()))).item() == pytest.approx(-0.774565, abs=1e-6)  # never above 0


def test_sequential_kl_adds_what_torch_gives_for_each_kept_position():
    logits, ref_logits = numbers(0, 2, 3, 5), numbers(1, 2, 3, 5)
    mask = torch.tensor([[True, True, False], [False, True, True]])
    wanted = (kl_divergence(Categorical(logits=ref_logits), Categorical(logits=logits)) * mask).sum(-1)
    torch.testing.assert_close(tokens.sequential_kl(logits, ref_logits, mask), wanted)
    assert tokens.sequential_kl(logits, logits, mask).abs().max() < 1e-15


def test_gradients_are_those_of_finite_differences():
    mask = torch.tensor([[True, True, False], [False, True, True]])
    logits = numbers(0, 2, 3, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: tokens.sequential_kl(x, numbers(1, 2, 3, 4), mask), logits)
    q = numbers(2, 3, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: tokens.soft_value(x, BETA), q)
    assert torch.autograd.gradcheck(lambda x: tokens.soft_logps(x, BETA), q)
    pair = numbers(3, 2, 3).requires_grad_(), numbers(4, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: tokens.token_credits(x, y, mask, BETA), pair)
    torch.testing.assert_close(
        torch.autograd.grad(tokens.soft_value(q, BETA).sum(), q)[0], tokens.soft_logps(q, BETA).exp().detach()
    )


def test_what_hides_behind_the_mask_has_no_say_and_gets_no_gradient():
    logps = torch.tensor([[-1.0, math.nan]], requires_grad=True)
    credits = tokens.token_credits(logps, torch.tensor([[-2.0, -1.0]]), torch.tensor([[True, False]]), beta=0.5)
    assert credits.tolist() == [[0.5, 0.0]]
    assert torch.autograd.grad(credits.sum(), logps)[0].tolist() == [[0.5, 0.0]]


def test_tokens_that_the_reference_never_writes_stay_impossible():
    q = tokens.soft_q(torch.zeros(2), torch.zeros(2), torch.tensor([0.0, -math.inf]), beta=1.0)
    assert tokens.soft_logps(q, 1.0).exp().tolist() == [1.0, 0.0]
    assert tokens.soft_value(q, 1.0).item() == 0.0


two, mask = torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: tokens.soft_q(two, torch.ones(2), two, 1.0), r"next_values has shape \[2\]"),
        (lambda: tokens.soft_q(two, two, torch.ones(1, 3), 1.0), r"ref_logps has shape \[1, 3\]"),
        (lambda: tokens.soft_q(two * math.nan, two, two, 1.0), "rewards holds nan"),
        (lambda: tokens.soft_q(two, two, two, 0.0), "beta is 0"),
        (lambda: tokens.soft_value(two * math.nan, 1.0), "q holds nan or inf"),
        (lambda: tokens.soft_value(two, 0.0), "beta is 0"),
        (lambda: tokens.soft_logps(torch.tensor(1.0), 1.0), "q has shape"),
        (lambda: tokens.token_credits(two, two, mask.float(), 1.0), "mask has dtype torch.float32"),
        (lambda: tokens.token_credits(two, two, mask[0], 1.0), r"mask has shape \[2\]"),
        (lambda: tokens.token_credits(two, two, mask, -1.0), "beta is -1"),
        (lambda: tokens.sequential_kl(two, two, mask), r"logits has shape \[1, 2\]"),
        (lambda: tokens.sequential_kl(two[None], torch.ones(1, 1, 3), mask[:, :1]), "ogits has shape"),
        (lambda: tokens.sequential_kl(two[None] * math.nan, two[None], mask[:, :1]), "logits holds nan"),
        (lambda: tokens.sequential_kl(two[None], two[None], mask[:, :1].long()), "mask has dtype torch.int64"),
    ],
)
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
