"""The loop of GRPO: one update against its definition, who trains and who does not, and three short trainings."""

import copy
import itertools
import math
from functools import partial

import pytest
import torch
from torch import nn

from rlcore import grpo as equations
from rlcore import kl, lm, masked, policy_gradient
from rlcore.lm import Prompts, files
from rlcore.loops import arithmetic, grpo, rlhf

TOKENIZER = lm.tokenizer(["please", "wait", "go", "away"])
PROMPTS = lm.encode_prompts(TOKENIZER, ["please", "wait away", "go"])
GROUPS, SIZE, LONGEST = 5, 4, 6
SETTINGS = {
    **{"updates": 1, "groups": GROUPS, "group_size": SIZE, "draws": 1, "longest": LONGEST, "epochs": 1},
    **{"minibatches": 1, "lr": 1e-2, "max_norm": 1e9},
}
CLIP = rlhf.clipped(0.2, 0.3)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def model(seed=0):
    """In float64, and so small that everything is quick."""
    return lm.build(TOKENIZER, hidden=16, layers=1, heads=2, context=12, seed=seed).double()


def please(rollout):
    """Pays 1 where the reply says "please" at all: some groups are equal, some are not."""
    return (rollout.tokens == TOKENIZER.vocab["please"]).where(rollout.mask, False).any(1).double()


def same(rollout):
    return torch.ones(len(rollout)).double()


def train(policy, *, reward=please, advantages=policy_gradient.leave_one_out, loss=CLIP, **changes):
    reduce, keep = changes.pop("reduce", masked.mean_over_tokens), changes.pop("keep", equations.has_signal)
    settings = SETTINGS | {"generator": generator()} | changes
    return list(grpo.train(policy, reward, PROMPTS, advantages, loss, reduce, keep, **settings))


def weights(policy):
    return nn.utils.parameters_to_vector(policy.parameters()).detach().clone()


def gradient(policy):
    return torch.cat([p.grad.flatten() for p in policy.parameters()])


def replay(seed=0, policy=None):
    """The replies that the loop draws from this generator, and the generator as it then stands."""
    draw = generator(seed)
    asked = torch.randint(len(PROMPTS.tokens), (GROUPS,), generator=draw).tolist()
    rows = torch.tensor([one for one in asked for _ in range(SIZE)])
    drawn = Prompts(*(part[rows] for part in PROMPTS))
    return lm.sample(policy or model(), drawn, longest=LONGEST, temperature=1.0, generator=draw), draw


def by_hand(rollout):
    """Each reply's reward less the mean of the others of its group, None where the group's rewards are equal."""
    scores, found = please(rollout).tolist(), []
    for start in range(0, len(scores), SIZE):
        group = scores[start : start + SIZE]
        for k, own in enumerate(group):
            others = group[:k] + group[k + 1 :]
            found.append(own - sum(others) / len(others) if len(set(group)) > 1 else None)
    return found


def weigh_tokens(reduce, lengths):
    """What each token of a reply of so many tokens counts, by the definition of the denominator."""
    if reduce is masked.mean_over_tokens:
        return [1 / sum(lengths)] * len(lengths)
    if reduce is masked.mean_over_sequences:
        return [1 / (len(lengths) * length) for length in lengths]
    return [1 / (len(lengths) * 7.0)] * len(lengths)  # the constant of CONSTANT


CONSTANT = partial(masked.sum_over_constant, constant=7.0)


@pytest.mark.parametrize("reduce", [masked.mean_over_tokens, masked.mean_over_sequences, CONSTANT])
def test_the_gradient_of_one_update_is_the_definition(reduce):
    """Σ over the replies of unequal groups of −A · weight · Σ_t log π(y_t), one reply at a time, without padding."""
    policy, hand = model(), model()
    before = weights(hand)
    (record,) = train(policy, reduce=reduce)
    rollout, _ = replay()
    assert torch.equal(record.rollout.tokens, rollout.tokens)
    advantages = by_hand(rollout)
    used = [k for k, advantage in enumerate(advantages) if advantage is not None]
    assert 0 < len(used) < len(advantages)
    lengths = [int(rollout.mask[k].sum()) for k in used]
    assert len(set(lengths)) > 1
    loss = 0.0
    for k, length, weight in zip(used, lengths, weigh_tokens(reduce, lengths), strict=True):
        asked = rollout.prompts[k][rollout.prompt_mask[k]]
        text = torch.cat([asked, rollout.tokens[k, :length]])
        logits = hand(input_ids=text[None], use_cache=False).logits[0, len(asked) - 1 : -1]
        logps = logits.log_softmax(-1)[torch.arange(length), text[len(asked) :]]
        loss = loss - advantages[k] * weight * logps.sum()
    loss.backward()
    torch.testing.assert_close(gradient(policy), gradient(hand), rtol=1e-5, atol=1e-7)
    torch.optim.Adam(hand.parameters(), SETTINGS["lr"]).step()
    torch.testing.assert_close(weights(policy), weights(hand), rtol=0, atol=1e-4)
    assert not torch.equal(weights(policy), before)


def test_the_record_says_what_the_replies_say_before_the_update():
    policy, old, reference = model(), model(), model(99)
    anchor = grpo.Anchor(reference, lambda logps, batch: kl.k2(logps, batch.ref_logps), 0.3, grpo.still)
    (record,) = train(policy, anchor=anchor)
    rollout, _ = replay()
    with torch.no_grad():
        logps, refs = lm.logps(old, rollout), lm.logps(reference, rollout)
    assert record.update == record.steps == 1
    assert torch.equal(record.rewards, please(rollout).view(GROUPS, SIZE))
    wanted = torch.tensor([advantage or 0.0 for advantage in by_hand(rollout)]).view(GROUPS, SIZE)
    torch.testing.assert_close(record.advantages, wanted.double())
    assert record.trained.tolist() == [len(set(group)) > 1 for group in record.rewards.tolist()]
    assert record.signal == pytest.approx(record.trained.float().mean().item())
    assert record.kl == pytest.approx(torch.where(rollout.mask, logps - refs, 0).sum(1).mean().item(), abs=1e-6)
    assert record.entropy == pytest.approx(-logps[rollout.mask].mean().item(), abs=1e-6)
    assert record.length == pytest.approx(rollout.mask.sum().item() / (GROUPS * SIZE))
    assert record.clipped == 0.0
    rows = record.trained.repeat_interleave(SIZE)
    mask, moved = rollout.mask[rows], (logps - refs)[rows]
    spent = -record.advantages.flatten()[rows, None].expand_as(mask)[mask].mean() + 0.3 * (moved**2 / 2)[mask].mean()
    assert record.loss == pytest.approx(spent.item(), abs=1e-6)
    assert train(model())[0].kl == 0.0


def test_each_reply_gets_the_advantage_of_its_own_reward_also_in_minibatches():
    seen = []

    def watching(logps, batch):
        seen.append(batch)
        return CLIP(logps, batch)

    (record,) = train(model(), loss=watching, epochs=2, minibatches=3)
    assert len(seen) == record.steps == 6
    rows, advantages = record.rollout.logps.tolist(), by_hand(record.rollout)
    wanted = [(row, advantage) for row, advantage in zip(rows, advantages, strict=True) if advantage is not None]
    orders = [[row for batch in epoch for row in batch.old_logps.tolist()] for epoch in (seen[:3], seen[3:])]
    assert orders[0] != orders[1]  # dealt anew
    for epoch in (seen[:3], seen[3:]):
        pairs = (zip(batch.old_logps.tolist(), batch.advantages[:, 0].tolist(), strict=True) for batch in epoch)
        given = sorted(pair for batch in pairs for pair in batch)
        for (ours, advantage), (theirs, earned) in zip(given, sorted(wanted), strict=True):
            assert ours == theirs
            assert advantage == pytest.approx(earned)
    assert not any(part.requires_grad for batch in seen for part in batch if part is not None)
    assert all(batch.ref_logps is None for batch in seen)
    assert all(torch.equal(batch.mask, batch.old_logps != 0) for batch in seen)


def test_rewards_are_paid_to_the_prompts_they_were_earned_at():
    (record,) = train(model())
    asked = record.rollout.prompts.view(GROUPS, SIZE, -1)
    assert (asked == asked[:, :1]).all()
    assert len({tuple(group[0].tolist()) for group in asked}) > 1


def test_a_loss_per_reply_is_averaged_over_replies():
    """GSPO at the old policy has the gradient of GRPO with the mean over sequences."""
    one, other = model(), model()

    def gspo(logps, batch):
        return equations.gspo_loss(logps, batch.old_logps, batch.advantages[:, 0], batch.mask, 0.1, 0.1)

    (record,) = train(one, loss=gspo, reduce=None)
    train(other, reduce=masked.mean_over_sequences)
    torch.testing.assert_close(gradient(one), gradient(other), rtol=1e-5, atol=1e-8)
    assert record.clipped == 0.0


@pytest.mark.parametrize("epochs", [1, 4])
def test_the_share_that_was_clipped_is_that_of_the_definition(epochs):
    parts = []

    def watching(logps, batch):
        ratio = (logps - batch.old_logps).exp().detach()
        up, down = (batch.advantages > 0) & (ratio > 1.3), (batch.advantages < 0) & (ratio < 0.8)
        parts.append((up | down)[batch.mask].float().mean().item())
        return CLIP(logps, batch)

    (record,) = train(model(), loss=watching, epochs=epochs, lr=3e-2)
    assert record.clipped == pytest.approx(sum(parts) / epochs)
    assert (record.clipped > 0.05) == (epochs > 1)


def test_a_token_without_an_advantage_is_not_counted_as_clipped():
    (record,) = train(model(), keep=grpo.every)
    assert record.clipped == 0.0
    assert record.trained.all()
    assert record.signal < 1


def test_one_advantage_that_is_not_0_makes_a_signal():
    (record,) = train(model(), advantages=lambda rewards: policy_gradient.leave_one_out(rewards).clamp(min=0))
    unequal = [len(set(group)) > 1 for group in record.rewards.tolist()]
    assert record.signal == pytest.approx(sum(unequal) / GROUPS)
    assert any((group == 0).any() and (group != 0).any() for group in record.advantages)


def test_groups_that_are_kept_count_in_the_denominator():
    dropped, kept = model(), model()
    (record,) = train(dropped)
    train(kept, keep=grpo.every)
    mask = record.rollout.mask
    share = mask[record.trained.repeat_interleave(SIZE)].sum() / mask.sum()
    torch.testing.assert_close(gradient(kept), gradient(dropped) * share, rtol=1e-4, atol=1e-7)


# --- no signal ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [grpo.every, equations.has_signal])
def test_equal_groups_give_no_step(keep):
    policy = model()
    before = weights(policy)
    anchor = grpo.Anchor(model(99), lambda logps, batch: kl.k2(logps, batch.ref_logps), 1.0, grpo.still)
    for record in train(policy, reward=same, keep=keep, anchor=anchor, updates=2):
        assert record.steps == 0
        assert record.signal == 0.0
        assert (record.advantages == 0).all()
        assert math.isnan(record.loss)
        assert math.isnan(record.clipped)
    assert torch.equal(weights(policy), before)


def test_an_update_without_a_signal_does_not_go_on_in_the_old_direction():
    policy, calls = model(), []

    def at_first(rollout):
        calls.append(1)
        return please(rollout) if len(calls) == 1 else same(rollout)

    run = grpo.train(
        *(policy, at_first, PROMPTS, policy_gradient.leave_one_out, CLIP, masked.mean_over_tokens, grpo.every),
        **SETTINGS | {"updates": 2, "generator": generator()},
    )
    assert next(run).steps == 1
    after_first = weights(policy)
    assert next(run).steps == 0
    assert torch.equal(weights(policy), after_first)


# --- dynamic sampling -----------------------------------------------------------------------------------------------


def fixed_rewards(*rounds):
    """A reward that marks each round's groups as told: True gives the group two different rewards."""
    told = iter(rounds)

    def reward(rollout):
        scores = torch.zeros(GROUPS, SIZE).double()
        scores[torch.tensor(next(told)), 0] = 1.0
        return scores.flatten()

    return reward


A, B, C = [True, False, True, False, False], [False, True, True, False, True], [True] * 5


def test_groups_are_drawn_again_until_enough_have_a_signal():
    (record,) = train(model(), reward=fixed_rewards(A, B), draws=4)
    assert record.rewards.shape == (2 * GROUPS, SIZE)
    assert record.trained.tolist() == A + B
    assert record.signal == 0.5


def test_what_is_drawn_above_the_wanted_number_does_not_train():
    (record,) = train(model(), reward=fixed_rewards(A, C), draws=2)
    assert record.trained.tolist() == [*A, True, True, True, False, False]


def test_drawing_again_has_a_bound_and_then_what_there_is_trains():
    (record,) = train(model(), reward=fixed_rewards(A, [False] * 5, [False] * 5, C), draws=3)
    assert record.rewards.shape == (3 * GROUPS, SIZE)
    assert record.trained.tolist() == A + [False] * 10
    assert record.steps == 1


def test_rounds_of_different_length_are_joined_without_loss(monkeypatch):
    longest, sample = iter([3, 6, 2]), lm.sample
    monkeypatch.setattr(lm, "sample", lambda *args, **kw: sample(*args, **kw | {"longest": next(longest)}))
    (record,) = train(model(), reward=fixed_rewards(A, [False] * 5, B), draws=3)
    rollout = record.rollout
    assert len(rollout) == 3 * GROUPS * SIZE
    with torch.no_grad():
        logps = lm.logps(model(), rollout)
    torch.testing.assert_close(rollout.logps.double(), torch.where(rollout.mask, logps, 0), rtol=0, atol=1e-5)
    assert rollout.mask.sum(1).view(3, -1).amax(1).tolist() == [3, 6, 2]
    assert (rollout.tokens == TOKENIZER.pad_token_id)[~rollout.mask].all()


# --- the reference --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [kl.k2, kl.k3])
def test_the_penalty_adds_beta_times_its_own_gradient(estimator):
    reference, plain, priced, hand = model(99), model(), model(), model()
    anchor = grpo.Anchor(reference, lambda logps, batch: estimator(logps, batch.ref_logps), 0.7, grpo.still)
    (record,) = train(plain)
    train(priced, anchor=anchor)
    part = record.rollout.rows(record.trained.repeat_interleave(SIZE))
    log_ratio = lm.logps(hand, part) - lm.logps(reference, part).detach()
    pull = log_ratio**2 / 2 if estimator is kl.k2 else (-log_ratio).exp() - 1 + log_ratio
    (0.7 * pull[part.mask].mean()).backward()
    torch.testing.assert_close(gradient(priced) - gradient(plain), gradient(hand), rtol=1e-5, atol=1e-7)
    assert all(p.grad is None for p in reference.parameters())


def test_texts_add_gamma_times_the_mean_loss_of_their_tokens():
    """Gradient and value, by hand, of two texts of different length; and one batch for each step that is made."""
    plain, mixed, hand, taken = model(), model(), model(), []
    text = lm.encode(TOKENIZER, ["go", "wait"], ["away please", "wait"])  # with EOS, five tokens
    tokens = [([5, 6, 3, 1], 1), ([4, 4, 1], 1)]

    def batches():
        while True:
            taken.append(1)
            yield text

    (before,), (record,) = train(plain), train(mixed, texts=(0.7, batches()))
    logps = [hand(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1) for ids, _ in tokens]
    picked = [logps[k][t - 1, ids[t]] for k, (ids, asked) in enumerate(tokens) for t in range(asked, len(ids))]
    loss = -0.7 * sum(picked) / 5
    loss.backward()
    torch.testing.assert_close(gradient(mixed) - gradient(plain), gradient(hand), rtol=1e-5, atol=1e-7)
    assert record.loss - before.loss == pytest.approx(loss.item(), abs=1e-6)
    assert len(taken) == 1
    train(mixed, texts=(0.7, batches()), updates=2, epochs=2, minibatches=2)
    assert len(taken) == 1 + 2 * 2 * 2
    train(mixed, reward=same, texts=(0.7, batches()))
    assert len(taken) == 9  # without a signal there is no step, and nothing is read


def follow(how, updates):
    """Weights of policy and reference after each update, the start first."""
    policy, reference = model(), model(99)
    found = [(weights(policy), weights(reference))]
    anchor = grpo.Anchor(reference, lambda logps, batch: kl.k2(logps, batch.ref_logps), 0.1, how)
    run = grpo.train(
        *(policy, please, PROMPTS, policy_gradient.leave_one_out, CLIP, masked.mean_over_tokens, grpo.every),
        **SETTINGS | {"updates": updates, "anchor": anchor, "generator": generator()},
    )
    for _ in run:
        found.append((weights(policy), weights(reference)))
    return found


def test_a_reference_stands_still_or_follows_slowly_or_is_renewed():
    still = follow(grpo.still, 2)
    assert all(torch.equal(reference, still[0][1]) for _, reference in still)
    slow = follow(grpo.moving_average(0.75), 3)
    for (_, before), (policy, after) in itertools.pairwise(slow):
        torch.testing.assert_close(after, 0.75 * before + 0.25 * policy)
    new = follow(grpo.renewed(2), 5)
    for update, (policy, reference) in enumerate(new):
        assert torch.equal(reference, new[update - update % 2][0 if update >= 2 else 1])
        assert torch.equal(reference, policy) == (update in (2, 4))


# --- repeats, refusals ------------------------------------------------------------------------------------------------


def test_a_seed_repeats_bit_for_bit_and_another_differs():
    runs = []
    for seed in (3, 3, 4):
        policy = model()
        records = train(policy, updates=3, epochs=2, minibatches=2, generator=generator(seed))
        runs.append((weights(policy), [record.loss for record in records]))
    assert torch.equal(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert not torch.equal(runs[0][0], runs[2][0])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"group_size": 1}, "group_size is 1, expected a whole number, 2 or more"),
        ({"draws": 0}, "draws is 0, expected a whole number, 1 or more"),
        ({"groups": 0}, "groups is 0"),
        ({"minibatches": 0}, "minibatches is 0"),
        ({"reward": lambda rollout: same(rollout) * float("nan")}, r"rewards holds nan at index \[0\]"),
        ({"reward": lambda rollout: same(rollout).view(GROUPS, SIZE)}, r"rewards has shape \[5, 4\], expected \[20\]"),
        ({"advantages": lambda rewards: rewards[:, 0]}, r"advantages has shape \[5\], expected \[5, 4\]"),
        ({"advantages": lambda rewards: rewards / 0}, r"advantages holds"),
        ({"keep": lambda rewards: rewards > 0}, r"keep has shape \[5, 4\], expected \[5\]"),
        ({"keep": lambda rewards: rewards[:, 0]}, r"keep gave dtype torch.float64, expected torch.bool"),
        ({"loss": lambda logps, batch: logps[:, :1]}, r"policy_loss has shape"),
        ({"loss": lambda logps, batch: logps.sum(0)}, r"policy_loss has shape"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_has_changed(changes, said):
    policy = model()
    before = weights(policy)
    with pytest.raises(ValueError, match=said):
        train(policy, **changes)
    assert torch.equal(weights(policy), before)


def test_a_reference_that_is_the_policy_is_refused():
    policy = model()
    with pytest.raises(ValueError, match="reference is the policy itself, expected another model"):
        train(policy, anchor=grpo.Anchor(policy, lambda logps, batch: logps, 0.1, grpo.still))


def test_a_price_below_0_is_refused():
    with pytest.raises(ValueError, match=r"beta is -0\.1, expected a number in"):
        train(model(), anchor=grpo.Anchor(model(99), lambda logps, batch: logps, -0.1, grpo.still))


def test_followers_refuse_numbers_out_of_range():
    with pytest.raises(ValueError, match=r"decay is 1.5, expected a number in \[0, 1\]"):
        grpo.moving_average(1.5)
    with pytest.raises(ValueError, match="period is 0"):
        grpo.renewed(0)


def test_a_loss_that_is_not_finite_stops_with_a_good_policy():
    policy = model()
    before = weights(policy)
    with pytest.raises(FloatingPointError, match=r"update 1: policy_loss is nan; the parameters are still good"):
        train(policy, loss=lambda logps, batch: logps * float("nan"))
    assert torch.equal(weights(policy), before)


# --- it learns ------------------------------------------------------------------------------------------------------


def test_ten_updates_teach_patience_on_every_seed_and_replies_get_longer():
    sft, tokenizer = lm.shipped("arithmetic_sft")
    right, stretch, carried = [], [], []
    for seed in range(3):
        policy, draw = copy.deepcopy(sft), generator(seed)
        prompts = arithmetic.prompts(tokenizer, arithmetic.POOL, arithmetic.REWARDED, draw)
        records = grpo.train(
            *(policy, partial(arithmetic.correct, tokenizer), prompts, partial(equations.group_normalized, ddof=1)),
            *(rlhf.clipped(0.2, 0.2), masked.mean_over_sequences, equations.has_signal),
            **arithmetic.GRPO | {"updates": 10},
            generator=draw,
        )
        assert len(list(records)) == 10
        four, five, six = (
            arithmetic.measured(tokenizer, arithmetic.drawn(policy, tokenizer, n, 250, 1, generator(1000 + seed)), 1)
            for n in (4, 5, 6)
        )
        right.append(four["pass@1"])
        stretch.append(five["length"])
        carried.append(six["pass@1"])
    before = files.made("arithmetic_sft")["quality"]
    assert before["pass@1, 4 numbers"] < 0.5
    assert min(right) > 0.88
    assert min(stretch) > 1.8 * before["length, 5 numbers"]
    assert before["pass@1, 6 numbers"] < 0.25
    assert min(carried) > 0.7  # and no problem of six numbers was among the prompts


# --- on a GPU -------------------------------------------------------------------------------------------------------

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.gpu
@on_gpu
def test_an_update_on_a_gpu_is_the_one_on_the_cpu():
    here, there = model(), model().cuda()
    (one,), (other,) = train(here), train(there)
    assert torch.equal(one.rollout.tokens, other.rollout.tokens.cpu())
    torch.testing.assert_close(weights(there).cpu(), weights(here), atol=1e-9, rtol=0)


def learnt(device, lr, **size):
    """The share of replies with "please" in the first and in the last of 12 updates."""
    policy = lm.build(TOKENIZER, **size, context=12, seed=0).to(device)
    records = train(policy, updates=12, groups=64, lr=lr)
    return records[0].rewards.mean().item(), records[-1].rewards.mean().item()


@pytest.mark.gpu
@on_gpu
def test_a_larger_model_learns_on_a_gpu():
    before, after = learnt("cuda", 3e-4, hidden=512, layers=8, heads=8)
    assert after > before + 0.2


def test_a_small_model_learns_the_same_on_the_cpu():
    before, after = learnt("cpu", 1e-3, hidden=32, layers=1, heads=2)
    assert after > before + 0.2
