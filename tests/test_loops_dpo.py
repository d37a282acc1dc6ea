"""The loop of direct preference optimisation: a batch against definitions, one step, who changes, three short runs."""

import copy
import math

import pytest
import torch
from torch import nn

from rlcore import dpo as losses
from rlcore import lm
from rlcore.loops import desk, dpo
from rlcore.loops.dpo import Batch, Ranked

WORDS = lm.tokenizer(["please", "wait", "no", "yes", "bike"])
SAID = lm.encode(
    WORDS,
    ["wait", "wait", "wait", "please bike no", "please bike no", "please bike no"],  # padding at the left
    ["no yes please", "bike", "yes", "wait", "no no", "please please please bike"],  # and at the right
)
RANKING = torch.tensor([[2, 0, 1], [0, 2, 1]])
REWARDS = torch.tensor([[0.5, -1.0, 2.0], [3.0, -2.0, 0.0]])
DATA = Ranked(SAID, RANKING, REWARDS)
ORDER = [2, 0, 1, 3, 5, 4]  # rows of SAID, best first within a prompt
PAIRS = Ranked(SAID.rows(torch.tensor([0, 1, 3, 4])), torch.tensor([[1, 0], [0, 1]]), torch.zeros(2, 2))
SETTINGS = {"epochs": 1, "batch": 2, "lr": 1e-2, "max_norm": 1e9}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def small(seed):
    return lm.build(WORDS, hidden=8, layers=1, heads=2, context=12, seed=seed).double()


def plain(batch):
    return losses.dpo_loss(batch.margin, beta=0.5)


def train(policy, reference, data=PAIRS, loss=plain, **changes):
    return list(dpo.train(policy, reference, data, loss, **SETTINGS | {"generator": generator()} | changes))


def weights(model):
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def logp(model, row, prompt_of=None):
    """log π(y|x) of one row of SAID, one token at a time without any padding; behind another row's prompt if asked."""
    asked = row if prompt_of is None else prompt_of
    prompt, reply = SAID.prompts[asked][SAID.prompt_mask[asked]], SAID.tokens[row][SAID.mask[row]]
    text, total = torch.cat([prompt, reply]), 0.0
    for t in range(len(prompt), len(text)):
        logits = model(input_ids=text[None, :t], use_cache=False).logits[0, -1]
        total = total + logits[text[t]] - logits.logsumexp(0)
    return total


def all_logps(model, rows=ORDER):
    with torch.no_grad():
        return torch.stack([logp(model, row) for row in rows])


def close(x, y):
    torch.testing.assert_close(x, y, atol=1e-6, rtol=1e-6)  # Llama's norm rounds to float32 within


class Silent(nn.Module):
    """A model that must not be asked."""

    config, device = None, "cpu"

    def forward(self, *_, **__):
        raise AssertionError("the reference was asked")


def test_a_batch_is_laid_out_best_first_and_says_what_the_definitions_say():
    policy, reference = small(0), small(1)
    batch = dpo.as_batch(policy, reference, DATA)
    assert lm.read(WORDS, batch.replies) == [lm.read(WORDS, SAID)[row] for row in ORDER]
    assert batch.rewards.tolist() == [[2.0, 0.5, -1.0], [3.0, 0.0, -2.0]]
    own, refs = all_logps(policy).view(2, 3), all_logps(reference).view(2, 3)
    close(batch.logps, own)
    close(batch.ref_logps, refs)
    close(batch.log_ratios, own - refs)
    for given, wanted in zip(batch.pair, (own[:, 0], own[:, 1], refs[:, 0], refs[:, 1]), strict=True):
        close(given, wanted)
    close(batch.margin, own[:, 0] - refs[:, 0] - own[:, 1] + refs[:, 1])
    assert batch.lengths.tolist() == [[2, 4, 2], [2, 5, 3]]
    assert batch.logps.requires_grad
    assert not batch.ref_logps.requires_grad


def test_logits_and_token_logps_stand_where_the_tokens_stand():
    policy, reference = small(0), small(1)
    batch = dpo.as_batch(policy, reference, DATA)
    assert batch.logits.shape == (6, 5, len(WORDS))
    close(batch.token_logps.where(batch.replies.mask, 0).sum(1), all_logps(policy))
    ref_logits = batch.ref_logits
    assert not ref_logits.requires_grad
    told = ref_logits.log_softmax(-1).gather(-1, batch.replies.tokens[..., None])[..., 0]
    close(told.where(batch.replies.mask, 0).sum(1), all_logps(reference))


def test_mismatched_puts_each_reply_behind_the_other_prompt():
    """Two prompts: the replies of the one behind the other, and no gradient."""
    policy, reference = small(0), small(1)
    batch = dpo.as_batch(policy, reference, DATA)
    with torch.no_grad():
        wanted = [logp(m, row, 3 if row < 3 else 0) for m in (policy, reference) for row in ORDER]
    close(batch.mismatched, torch.stack(wanted[:6]) - torch.stack(wanted[6:]))
    assert not batch.mismatched.requires_grad


def test_mismatched_of_three_prompts_takes_another_prompt_for_each_row():
    three = lm.encode(WORDS, ["wait", "please", "no"], ["yes"] * 3)
    policy, reference = small(0), small(1)
    batch = Batch(policy, reference, three, torch.zeros(3, 1), torch.zeros(3, 1))
    moved = lm.encode(WORDS, ["no", "wait", "please"], ["yes"] * 3)
    close(batch.mismatched, dpo.sequence_logps(policy, moved) - dpo.sequence_logps(reference, moved))


def test_what_a_loss_does_not_ask_for_is_not_computed():
    batch = Batch(small(0), Silent(), PAIRS.replies, torch.zeros(2, 2), torch.zeros(2, 2))
    assert plain(batch).shape == (2,)
    with pytest.raises(AssertionError, match="was asked"):
        _ = batch.ref_logits
    unread = Batch(Silent(), Silent(), PAIRS.replies, torch.zeros(2, 2), torch.ones(2, 2))
    assert unread.lengths.tolist() == [[4, 2], [2, 3]]


def test_many_replies_are_read_in_portions(monkeypatch):
    monkeypatch.setattr(dpo, "ROWS", 4)
    close(dpo.sequence_logps(small(0), SAID), all_logps(small(0), range(6)))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (Ranked(SAID, torch.tensor([[0, 1]] * 2), torch.zeros(2, 2)), r"replies has 6 rows, expected N · K = 2 · 2"),
        (Ranked(SAID, RANKING, torch.zeros(3, 2)), r"rewards has shape \[3, 2\]"),
        (Ranked(SAID, RANKING[0], torch.zeros(3)), r"ranking has shape \[3\], expected \[N, K\]"),
    ],
)
def test_sizes_that_do_not_fit_are_named(data, said):
    policy = small(0)
    for call in (lambda: train(policy, policy, data), lambda: dpo.held_out(policy, policy, data)):
        with pytest.raises(ValueError, match=said):
            call()


@pytest.mark.parametrize("name", ["epochs", "batch"])
def test_counts_are_whole_numbers_above_0(name):
    with pytest.raises(ValueError, match=f"{name} is 0"):
        train(small(0), small(1), **{name: 0})


def dpo_by_hand(policy, reference):
    """−log σ(½ h), mean over the two pairs of PAIRS, from log-probabilities that were added token by token."""
    total = 0.0
    for chosen, rejected in ((1, 0), (3, 4)):
        h = logp(policy, chosen) - logp(reference, chosen) - logp(policy, rejected) + logp(reference, rejected)
        total = total + torch.log1p((-0.5 * h).exp()) / 2
    return total


def test_the_gradient_of_a_step_is_that_of_the_loss_by_hand_and_of_finite_differences(monkeypatch):
    policy, reference = small(0), small(1)
    given = []
    monkeypatch.setattr(dpo, "descend", lambda optimizer, step, max_norm, loss: given.append(loss))
    monkeypatch.setattr(torch.optim.lr_scheduler.LinearLR, "step", lambda self, epoch=None: None)
    train(policy, reference)
    assert given[0].item() == pytest.approx(dpo_by_hand(policy, reference).item(), abs=1e-6)
    parameters = dict(policy.named_parameters())
    slopes = torch.autograd.grad(given[0], parameters.values())
    wanted = torch.autograd.grad(dpo_by_hand(policy, reference), parameters.values())
    step = 3e-3  # not smaller: Llama's norm rounds to float32 within
    for (name, numbers), slope, other in zip(parameters.items(), slopes, wanted, strict=True):
        torch.testing.assert_close(slope, other, atol=1e-6, rtol=1e-5)
        at, sides = slope.abs().argmax(), []
        for shift in (step, -step):
            with torch.no_grad():
                numbers.view(-1)[at] += shift
                sides.append(dpo_by_hand(policy, reference).item())
                numbers.view(-1)[at] -= shift
        measured = (sides[0] - sides[1]) / (2 * step)
        assert slope.view(-1)[at].item() == pytest.approx(measured, rel=2e-3, abs=1e-4), name


def test_a_record_tells_what_was_before_the_step():
    policy, reference = small(0), small(1)
    own, refs = (all_logps(m, [1, 0, 3, 4]).view(2, 2) for m in (policy, reference))
    loss, ratios = dpo_by_hand(policy, reference).item(), own - refs
    (record,) = train(policy, reference)
    assert record.step == 1
    assert record.loss == pytest.approx(loss, abs=1e-6)
    assert [record.chosen, record.rejected] == pytest.approx(ratios.mean(0).tolist(), abs=1e-6)
    assert record.accuracy == (ratios[:, 0] > ratios[:, 1]).double().mean()


def test_the_policy_and_the_losss_own_parameters_learn_and_the_reference_does_not():
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(()).double())

        def forward(self, batch):
            return losses.dpo_loss(batch.margin + self.shift, beta=0.5)

    policy, reference, loss = small(0), small(1), Shifted()
    before, theirs = weights(policy), weights(reference)
    train(policy, reference, loss=loss)
    assert (weights(policy) != before).any()
    assert loss.shift > 0  # a larger margin is a smaller loss
    assert torch.equal(weights(reference), theirs)
    assert all(p.grad is None for p in reference.parameters())


def test_every_prompt_is_seen_once_a_pass_in_an_order_of_its_own():
    four = Ranked(SAID, torch.tensor([[0]] * 6), torch.arange(6.0)[:, None])  # K = 1; the mark tells which one it is
    seen = []

    def note(batch):
        seen.extend(batch.rewards[:, 0].tolist())
        return batch.logps[:, 0] * 0

    train(small(0), small(1), four, note, epochs=2, batch=4)
    assert sorted(seen[:6]) == sorted(seen[6:]) == list(range(6))
    assert seen[:6] != seen[6:]


def test_the_learning_rate_falls_in_a_straight_line(monkeypatch):
    rates, step = [], torch.optim.AdamW.step

    def noted(self, *given):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *given)

    monkeypatch.setattr(torch.optim.AdamW, "step", noted)
    train(small(0), small(1), epochs=4, lr=1.0)
    assert rates == pytest.approx([1, 13 / 16, 10 / 16, 7 / 16])  # to a fourth, one more step would reach it


def test_a_loss_that_is_not_finite_stops_it_with_good_parameters():
    policy, reference = small(0), small(1)
    before = weights(policy)
    with pytest.raises(FloatingPointError, match="update 1: loss is inf; the parameters are still good"):
        train(policy, reference, loss=lambda batch: batch.logps[:, 0] * math.inf * -1)
    assert torch.equal(weights(policy), before)


def test_held_out_is_the_definition_and_changes_nothing():
    policy, reference = small(0), small(1)
    ratios = (all_logps(policy) - all_logps(reference)).view(2, 3)
    before = weights(policy)
    record = dpo.held_out(policy, reference, DATA)
    h = ratios[:, 0] - ratios[:, 2]
    assert record.loss == pytest.approx(torch.log1p((-h).exp()).mean().item(), abs=1e-6)
    assert [record.chosen, record.rejected] == pytest.approx(ratios.mean(0)[[0, 2]].tolist(), abs=1e-6)
    assert record.accuracy == (h > 0).double().mean()
    assert torch.equal(weights(policy), before)
    assert dpo.held_out(policy, policy, DATA).accuracy == 0.5


def test_on_three_seeds_a_short_run_prefers_what_was_preferred_and_earns_more():
    """Eight steps on 512 pairs in the order of the hidden reward: right on new pairs, and better replies."""
    reference, tokenizer = lm.shipped("replies_sft")
    for seed in range(3):
        draw = generator(seed)
        drawn = desk.groups(reference, tokenizer, 712, 2, draw)
        golds = desk.gold(tokenizer, drawn).view(-1, 2)
        ranking = golds.argsort(dim=1, descending=True, stable=True)
        data, test = (
            Ranked(drawn.rows(slice(2 * a, 2 * b)), ranking[a:b], golds[a:b]) for a, b in ((0, 512), (512, 712))
        )
        policy = copy.deepcopy(reference)
        settings = {"epochs": 1, "batch": 64, "lr": 1e-3, "max_norm": 1.0, "generator": draw}
        records = list(dpo.train(policy, reference, data, lambda b: losses.dpo_loss(b.margin, beta=0.2), **settings))
        assert [record.step for record in records] == list(range(1, 9))
        assert records[0].loss == pytest.approx(math.log(2), abs=1e-4)
        assert dpo.held_out(policy, reference, test).accuracy > 0.7, seed
        earned = [
            desk.gold(tokenizer, desk.groups(model, tokenizer, 400, 1, generator(seed))).mean()
            for model in (reference, policy)
        ]
        assert earned[1] > earned[0] + 0.3, (seed, earned)
