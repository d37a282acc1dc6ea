"""CRINGE and unlikelihood, token by token, against their definitions and finite differences."""

import math
from functools import partial

import pytest
import torch
from torch.nn.functional import cross_entropy

from rlcore import token_feedback as feedback

MASK = torch.tensor([[True, True, False], [True, False, False], [True, True, True]])
LABELS = torch.tensor([True, False, False])


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def below_zero(seed: int) -> torch.Tensor:
    return -0.05 - numbers(seed, 3, 3).abs()


def test_unlikelihood_is_minus_the_log_chance_of_anything_else():
    logps = below_zero(0)
    wanted = (-(1 - logps.exp()).log() * MASK).sum(-1)
    torch.testing.assert_close(feedback.unlikelihood_loss(logps, MASK), wanted)
    assert torch.autograd.gradcheck(partial(feedback.unlikelihood_loss, mask=MASK), logps.requires_grad_())


def test_unlikelihood_pushes_likely_tokens_hard_and_leaves_unlikely_ones():
    logps = torch.tensor([[math.log(0.9), math.log(0.5), -50.0]], dtype=torch.float64, requires_grad=True)
    loss = feedback.unlikelihood_loss(logps, torch.ones(1, 3, dtype=torch.bool))
    gradient = torch.autograd.grad(loss.sum(), logps)[0][0].tolist()
    assert gradient == pytest.approx([9.0, 1.0, 0.0], abs=1e-12)  # π / (1 − π)


def test_cringe_is_likelihood_for_good_replies_and_a_choice_of_two_for_bad_ones():
    """As in the official code: cross-entropy over (token, rival) of their logits, the rival being right."""
    logits, tokens, rivals = numbers(0, 3, 3, 5), torch.randint(0, 5, (3, 3)), torch.randint(0, 5, (3, 3))
    logps = logits.log_softmax(-1)

    def of(x, which):
        return x.gather(-1, which[..., None])[..., 0]

    two = torch.stack([of(logits, tokens), of(logits, rivals)], -1).flatten(0, 1)
    contrast = cross_entropy(two, torch.ones(9, dtype=torch.long), reduction="none").view(3, 3)
    wanted = (torch.where(LABELS[:, None], -of(logps, tokens), 0.7 * contrast) * MASK).sum(-1)
    found = feedback.cringe_loss(of(logps, tokens), of(logps, rivals), LABELS, MASK, weight=0.7)
    torch.testing.assert_close(found, wanted)


def test_gradients_of_cringe_are_those_of_finite_differences_and_go_to_the_rival_as_well():
    pair = below_zero(0).requires_grad_(), below_zero(1).requires_grad_()
    loss = partial(feedback.cringe_loss, desirable=LABELS, mask=MASK, weight=0.7)
    assert torch.autograd.gradcheck(loss, pair)
    token, rival = torch.autograd.grad(loss(*pair).sum(), pair)
    bad = MASK & ~LABELS[:, None]
    assert (token[bad] > 0).all()  # descending lowers the bad token and raises its rival
    torch.testing.assert_close(token[bad], -rival[bad])
    assert (rival[~bad] == 0).all()


def test_what_hides_behind_the_mask_has_no_say_and_gets_no_gradient():
    clean = below_zero(0)
    logps = torch.where(MASK, clean, math.nan).requires_grad_()
    for loss in (
        lambda x: feedback.unlikelihood_loss(x, MASK),
        lambda x: feedback.cringe_loss(x, torch.where(MASK, below_zero(1), math.nan), LABELS, MASK, 0.7),
    ):
        assert torch.isfinite(loss(logps)).all()
        assert (torch.autograd.grad(loss(logps).sum(), logps)[0][~MASK] == 0).all()


@pytest.mark.parametrize("k", [1, 2, 4])
def test_rivals_are_drawn_among_the_k_likeliest_other_tokens(k):
    logits, tokens = numbers(0, 6, 5), torch.tensor([0, 1, 2, 3, 4, 0])
    chances = feedback.rival_probs(logits, tokens, k)
    for row, token in enumerate(tokens.tolist()):
        others = sorted((v for v in range(5) if v != token), key=lambda v: -logits[row, v].item())[:k]
        total = sum(math.exp(logits[row, v].item()) for v in others)
        wanted = [math.exp(logits[row, v].item()) / total if v in others else 0.0 for v in range(5)]
        assert chances[row].tolist() == pytest.approx(wanted, abs=1e-12)
    assert not feedback.rival_probs(logits.requires_grad_(), tokens, k).requires_grad


def test_the_gate_closes_with_the_margin_and_is_a_step_when_it_is_cold():
    chosen, rejected = numbers(0, 5).requires_grad_(), numbers(1, 5).requires_grad_()
    gate = partial(feedback.pairwise_cringe_gate, target=0.5, temperature=0.8)
    assert torch.autograd.gradcheck(gate, (chosen, rejected))
    assert (torch.autograd.grad(gate(chosen, rejected).sum(), chosen)[0] < 0).all()
    cold = feedback.pairwise_cringe_gate(chosen, rejected, target=0.5, temperature=1e-9)
    assert cold.tolist() == (chosen - rejected < 0.5).double().tolist()


two = torch.tensor([[-1.0, -2.0]])
both, label = torch.ones(1, 2, dtype=torch.bool), torch.tensor([True])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: feedback.unlikelihood_loss(0 * two, both), "logps reaches 0, expected below 0: a certain token stays"),
        (lambda: feedback.unlikelihood_loss(two * math.nan, both), "logps holds nan"),
        (lambda: feedback.unlikelihood_loss(two, both.long()), "mask has dtype torch.int64"),
        (lambda: feedback.unlikelihood_loss(two, both[0]), r"mask has shape \[2\]"),
        (lambda: feedback.cringe_loss(two, two[0], label, both, 1.0), r"rival_logps has shape \[2\]"),
        (lambda: feedback.cringe_loss(two, two, label.float(), both, 1.0), "desirable has dtype"),
        (lambda: feedback.cringe_loss(two, two, both[0], both, 1.0), r"desirable has shape \[2\]"),
        (lambda: feedback.cringe_loss(two, math.inf * two, label, both, 1.0), "rival_logps holds -inf"),
        (lambda: feedback.cringe_loss(two, two, label, both, -1.0), "weight is -1"),
        (lambda: feedback.rival_probs(two, torch.tensor([0, 1]), 1), r"tokens has shape \[2\], expected \[1\]"),
        (lambda: feedback.rival_probs(two, torch.tensor([0]), 2), "k is 2, expected below the 2 tokens"),
        (lambda: feedback.rival_probs(two, torch.tensor([0]), 0), "k is 0"),
        (lambda: feedback.rival_probs(two * math.nan, torch.tensor([0]), 1), "logits holds nan"),
        (lambda: feedback.pairwise_cringe_gate(two[0], two[0, :1], 1.0, 1.0), r"rejected_logps has shape \[1\]"),
        (lambda: feedback.pairwise_cringe_gate(two[0], two[0], math.nan, 1.0), "target holds nan"),
        (lambda: feedback.pairwise_cringe_gate(two[0], two[0], 1.0, 0.0), "temperature is 0"),
    ],
)
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
