"""The loop of RLHF: one update against its definition, who changes and who does not, and three short trainings."""

import copy

import pytest
import torch
from torch import nn

from rlcore import kl, lm, masked
from rlcore.lm import Prompts
from rlcore.loops import checkpoints, desk, rlhf

WORDS = ["please", "wait", "go", "away"]
TOKENIZER = lm.tokenizer(WORDS)
PROMPTS = lm.encode_prompts(TOKENIZER, ["please", "wait", "go"])
SETTINGS = {
    **{"updates": 1, "critic_first": 0, "batch": 8, "longest": 5, "epochs": 1, "minibatches": 1, "lam": 0.9},
    **{"beta": 0.3, "next_beta": rlhf.fixed, "lr": 1e-2, "value_lr": 1e-2, "max_norm": 1e9},
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def models(seed=0):
    """Policy, critic and a reference that is another model, in float64 and so small that everything is quick."""
    policy, reference = (
        lm.build(TOKENIZER, hidden=16, layers=1, heads=2, context=12, seed=s).double() for s in (seed, 99)
    )
    return policy, lm.scalar(policy, seed).double(), reference


def please(rollout):
    """Pays 1 for each "please"."""
    return (rollout.tokens == TOKENIZER.vocab["please"]).where(rollout.mask, False).sum(1).double()


def train(policy, critic, reference, reward=please, loss=None, **changes):
    settings = SETTINGS | {"generator": generator()} | changes
    return list(rlhf.train(policy, critic, reference, reward, PROMPTS, loss or rlhf.clipped(0.2, 0.2), **settings))


def weights(model):
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def defined(policy, critic, reference, rollout, beta, lam):
    """Rewards, advantages and targets of every token, written down one by one; lists of rows."""
    with torch.no_grad():
        logps, refs, values = lm.logps(policy, rollout), lm.logps(reference, rollout), lm.values(critic, rollout)
    scores, lengths, found = please(rollout), rollout.mask.sum(1).tolist(), []
    for row, length in enumerate(lengths):
        advantages, ahead, after = [], 0.0, 0.0
        for t in reversed(range(length)):
            reward = -beta * (logps[row, t] - refs[row, t]).item()
            if t == length - 1:
                reward += scores[row].item()
            ahead = reward + after - values[row, t].item() + lam * ahead
            after = values[row, t].item()
            advantages.insert(0, ahead)
        found.append([(a, a + values[row, t].item()) for t, a in enumerate(advantages)])
    return found


def columns(found, mask):
    """The rows as [B, T] advantages, whitened, and targets."""
    advantages, targets = torch.zeros(mask.shape).double(), torch.zeros(mask.shape).double()
    for row, pairs in enumerate(found):
        for t, (advantage, target) in enumerate(pairs):
            advantages[row, t], targets[row, t] = advantage, target
    real = advantages[mask]
    return (advantages - real.mean()) / real.std(), targets


def replay(seed=0):
    """The replies that the loop will draw from this generator."""
    policy, _, _ = models()
    draw = generator(seed)
    asked = torch.randint(len(PROMPTS.tokens), (SETTINGS["batch"],), generator=draw)
    drawn = Prompts(*(part[asked] for part in PROMPTS))
    return lm.sample(policy, drawn, longest=SETTINGS["longest"], temperature=1.0, generator=draw)


def test_one_update_is_one_step_of_adam_down_the_losses_of_the_definition():
    policy, critic, reference = models()
    by_hand = [copy.deepcopy(model) for model in (policy, critic)]
    (record,) = train(policy, critic, reference)
    rollout = replay()
    assert torch.equal(record.rollout.tokens, rollout.tokens)
    found = defined(*by_hand, reference, rollout, SETTINGS["beta"], SETTINGS["lam"])
    white, targets = columns(found, rollout.mask)
    for model in by_hand:
        model.requires_grad_(True)
    ratio = (lm.logps(by_hand[0], rollout) - rollout.logps).exp()
    losses = (-ratio * white, (lm.values(by_hand[1], rollout)[:, :-1] - targets) ** 2 / 2)
    for model, loss, lr in zip(by_hand, losses, (SETTINGS["lr"], SETTINGS["value_lr"]), strict=True):
        loss[rollout.mask].mean().backward()
        torch.optim.Adam(model.parameters(), lr).step()
    torch.testing.assert_close(weights(policy), weights(by_hand[0]), rtol=0, atol=1e-5)
    torch.testing.assert_close(weights(critic), weights(by_hand[1]), rtol=0, atol=1e-5)


def test_the_record_says_what_the_replies_say_before_the_update():
    policy, critic, reference = models()
    old, judge = copy.deepcopy(policy), copy.deepcopy(critic)
    (record,) = train(policy, critic, reference)
    rollout = record.rollout
    with torch.no_grad():
        ratios = torch.where(rollout.mask, lm.logps(old, rollout) - lm.logps(reference, rollout), 0).sum(1)
        surprise = -torch.where(rollout.mask, lm.logps(old, rollout), 0).sum(1)
    assert record.update == 1
    assert record.beta == SETTINGS["beta"]
    assert torch.equal(record.scores, please(rollout))
    assert record.kl == pytest.approx(ratios.mean().item(), abs=1e-6)
    assert record.entropy == pytest.approx(surprise.mean().item(), abs=1e-6)
    found = defined(old, judge, reference, rollout, SETTINGS["beta"], SETTINGS["lam"])
    errors = [advantage**2 / 2 for row in found for advantage, _ in row]
    assert record.value_loss == pytest.approx(sum(errors) / len(errors), abs=1e-5)


def test_the_first_minibatchs_ratio_is_1_and_a_later_one_is_not():
    seen = []

    def watching(logps, batch):
        seen.append((logps - batch.old_logps).detach())
        return rlhf.clipped(0.2, 0.2)(logps, batch)

    records = train(*models(), loss=watching, epochs=2, minibatches=2)
    assert len(seen) == 4
    mask = records[0].rollout.mask
    order = torch.randperm(8, generator=_after_sampling()).chunk(2)[0]
    assert seen[0][mask[order]].abs().max() < 1e-6
    assert seen[2].abs().max() > 1e-3


def _after_sampling():
    """The generator as it stands when the first epoch is dealt."""
    draw = generator()
    asked = torch.randint(len(PROMPTS.tokens), (SETTINGS["batch"],), generator=draw)
    drawn = Prompts(*(part[asked] for part in PROMPTS))
    lm.sample(models()[0], drawn, longest=SETTINGS["longest"], temperature=1.0, generator=draw)
    return draw


def test_what_a_policy_loss_is_given_is_whitened_and_without_gradient():
    given = []

    def watching(logps, batch):
        given.append(batch)
        return rlhf.clipped(0.2, 0.2)(logps, batch)

    policy, critic, reference = models()
    (record,) = train(policy, critic, reference, loss=watching)
    (batch,) = given
    assert not any(part.requires_grad for part in batch)
    order = torch.randperm(8, generator=_after_sampling())
    real = batch.advantages[record.rollout.mask[order]]
    assert real.mean().abs() < 1e-6
    assert real.std().item() == pytest.approx(1.0, abs=1e-5)


def test_critic_first_leaves_the_policy_untouched_and_trains_the_critic():
    policy, critic, reference = models()
    before = weights(policy), weights(critic)
    training = rlhf.train(
        *(policy, critic, reference, please, PROMPTS, rlhf.clipped(0.2, 0.2)),
        **SETTINGS | {"updates": 3, "critic_first": 2, "generator": generator()},
    )
    for update in range(1, 4):
        next(training)
        assert torch.equal(weights(policy), before[0]) == (update <= 2)
    assert not torch.equal(weights(critic), before[1])


def test_the_reference_and_a_reward_model_never_change_and_get_no_gradient():
    policy, critic, reference = models()
    judge = lm.scalar(reference, seed=3).double()
    before = weights(reference), weights(judge)
    train(policy, critic, reference, reward=desk.proxy([judge], checkpoints.mean), updates=3)
    assert torch.equal(weights(reference), before[0])
    assert torch.equal(weights(judge), before[1])
    assert all(p.grad is None for model in (reference, judge) for p in model.parameters())


def test_the_price_of_the_next_update_follows_the_kl_of_this_one():
    asked = []

    def follow(beta, measured):
        asked.append((beta, measured))
        return beta + 1

    records = train(*models(), updates=3, next_beta=follow)
    assert [record.beta for record in records] == pytest.approx([0.3, 1.3, 2.3])
    assert asked[:2] == [(record.beta, record.kl) for record in records][:2]


def test_beta_0_pays_the_score_alone():
    policy, critic, reference = models()
    old, judge = copy.deepcopy(policy), copy.deepcopy(critic)
    (record,) = train(policy, critic, reference, beta=0.0, lam=1.0)
    values = lm.values(judge, record.rollout).detach()
    mask = record.rollout.mask
    advantages = please(record.rollout)[:, None] - values[:, :-1]
    assert record.value_loss == pytest.approx((advantages[mask] ** 2 / 2).mean().item(), abs=1e-5)
    assert not torch.equal(weights(old), weights(policy))


# --- what may be added to the loss -----------------------------------------------------------------------------------


def _batch(seed=0):
    draw = generator(seed)
    logps, old, refs, advantages = torch.randn(4, 3, 4, generator=draw, dtype=torch.float64)
    return logps, rlhf.Batch(old, refs, advantages)


@pytest.mark.parametrize("estimator", [kl.k1, kl.k2, kl.k3])
def test_with_kl_adds_the_estimator_and_its_gradient(estimator):
    logps, batch = _batch()
    leaf = logps.clone().requires_grad_()
    plain = rlhf.clipped(0.2, 0.3)
    (found,) = torch.autograd.grad(rlhf.with_kl(plain, estimator, 0.7)(leaf, batch).sum(), leaf)
    (base,) = torch.autograd.grad(plain(leaf, batch).sum(), leaf)
    log_ratio = logps - batch.ref_logps
    slope = {kl.k1: torch.ones_like(logps), kl.k2: log_ratio, kl.k3: 1 - (-log_ratio).exp()}[estimator]
    torch.testing.assert_close(found, base + 0.7 * slope)


def test_clipped_is_ppos_loss_on_the_stored_log_probabilities():
    logps, batch = _batch(1)
    ratio = (logps - batch.old_logps).exp()
    pessimist = torch.minimum(ratio * batch.advantages, ratio.clamp(0.8, 1.3) * batch.advantages)
    torch.testing.assert_close(rlhf.clipped(0.2, 0.3)(logps, batch), -pessimist)


def test_ptx_adds_the_gradient_of_minus_its_coefficient_times_the_mean_log_probability():
    """With a policy loss of 0 the step is that of supervised fine-tuning on the text, times the coefficient."""
    policy, critic, reference = models()
    text = lm.encode(TOKENIZER, ["go", "wait"], ["away please", "wait"])
    by_hand = copy.deepcopy(policy).requires_grad_(True)
    loss = -0.4 * masked.mean_over_tokens(lm.logps(by_hand, text), text.mask)
    loss.backward()
    slopes = []

    def nothing(logps, batch):
        logps.register_hook(lambda slope: slopes.append(slope))
        return 0 * logps

    train(policy, critic, reference, loss=nothing, ptx=(0.4, iter([text])))
    for ours, theirs in zip(policy.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    assert (slopes[0] == 0).all()


def test_each_step_of_the_policy_takes_one_batch_of_old_texts_and_the_critics_first_steps_none():
    text = lm.encode(TOKENIZER, ["go"], ["away"])
    taken = []

    def texts():
        while True:
            taken.append(1)
            yield text

    train(*models(), updates=3, critic_first=1, epochs=2, minibatches=2, ptx=(0.1, texts()))
    assert len(taken) == 2 * 2 * 2


# --- numbers that are none ------------------------------------------------------------------------------------------


def test_a_nan_score_stops_before_anything_has_changed():
    policy, critic, reference = models()
    before = weights(policy), weights(critic)

    def broken(rollout):
        return torch.full((len(rollout),), float("nan"), dtype=torch.float64)

    with pytest.raises(ValueError, match=r"scores holds nan at index \[0\], expected finite numbers"):
        train(policy, critic, reference, reward=broken)
    assert torch.equal(weights(policy), before[0])
    assert torch.equal(weights(critic), before[1])


def test_a_loss_that_is_not_finite_stops_with_a_good_policy():
    policy, critic, reference = models()
    before = weights(policy)
    with pytest.raises(FloatingPointError, match=r"update 1: policy_loss is nan; the parameters are still good"):
        train(policy, critic, reference, loss=lambda logps, batch: logps * float("nan"))
    assert torch.equal(weights(policy), before)


# --- it learns ------------------------------------------------------------------------------------------------------


def test_on_the_desk_nine_updates_raise_the_score_on_every_seed_and_the_kl_stays_small():
    sft, tokenizer = lm.shipped("replies_sft")
    judge, _ = lm.shipped("replies_judge_1")
    gains, spent = [], []
    for seed in range(3):
        policy, critic = copy.deepcopy(sft), copy.deepcopy(judge)
        settings = checkpoints.RLHF | {"updates": 9, "critic_first": 2, "batch": 96}
        records = list(
            rlhf.train(
                *(policy, critic, sft, desk.proxy([judge], checkpoints.mean), desk.prompts(tokenizer)),
                rlhf.clipped(**checkpoints.CLIP),
                **settings,
                beta=0.2,
                next_beta=rlhf.fixed,
                generator=generator(seed),
            )
        )
        gains.append((records[-1].scores.mean() - torch.cat([r.scores for r in records[:3]]).mean()).item())
        spent.append(records[-1].kl)
    assert min(gains) > 0.6
    assert 0.1 < max(spent) < 3
