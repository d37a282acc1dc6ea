"""Supervised fine-tuning against its definition, finite differences, and entropies that are known exactly."""

import math
from itertools import repeat

import pytest
import torch

from rlcore import lm, logprobs
from rlcore.loops import desk, sft
from rlcore.worlds import replies as office

SETTINGS = {"lr": 1e-2, "weight_decay": 0.0, "max_norm": 1.0}
WORDS = lm.tokenizer(["please", "wait", "no", "yes", "bike"])
BATCH = lm.encode(WORDS, ["wait", "please bike no"], ["no yes please", "bike"])  # padding at both sides


def small(seed: int = 0):
    return lm.build(WORDS, hidden=8, layers=1, heads=2, context=12, seed=seed)


def by_definition(model, batch: lm.Replies) -> torch.Tensor:
    """−Σ log π(y_t | x, y_<t) / number of tokens: one row and one token at a time, no padding anywhere."""
    total, count = 0.0, 0
    for prompt, asked, reply, real in zip(batch.prompts, batch.prompt_mask, batch.tokens, batch.mask, strict=True):
        text = torch.cat([prompt[asked], reply[real]])
        for t in range(int(asked.sum()), len(text)):
            logits = model(input_ids=text[None, :t], use_cache=False).logits[0, -1]
            total = total - (logits[text[t]] - logits.logsumexp(0))
            count += 1
    return total / count


def loss_of(model, batch: lm.Replies, monkeypatch) -> torch.Tensor:
    """The loss that `train` descends, with its graph; no step is taken."""
    seen = []
    monkeypatch.setattr(sft, "descend", lambda optimizer, step, max_norm, loss: seen.append(loss))
    monkeypatch.setattr(torch.optim.lr_scheduler.OneCycleLR, "step", lambda self, epoch=None: None)
    next(sft.train(model, [batch], steps=1, **SETTINGS))
    return seen[0]


def test_the_loss_is_its_definition_and_its_gradient_that_of_finite_differences(monkeypatch):
    model = small().double()
    loss = loss_of(model, BATCH, monkeypatch)
    with torch.no_grad():
        assert loss.item() == pytest.approx(by_definition(model, BATCH).item(), abs=1e-6)
    parameters = dict(model.named_parameters())
    gradients = dict(zip(parameters, torch.autograd.grad(loss, parameters.values()), strict=True))
    wanted = torch.autograd.grad(by_definition(model, BATCH), parameters.values())
    step = 3e-3  # not smaller: Llama's norm rounds to float32 within
    for (name, weights), slopes in zip(parameters.items(), wanted, strict=True):
        torch.testing.assert_close(gradients[name], slopes, atol=1e-6, rtol=1e-5)
        at = gradients[name].abs().argmax()
        sides = []
        for shift in (step, -step):
            with torch.no_grad():
                weights.view(-1)[at] += shift
                sides.append(by_definition(model, BATCH).item())
                weights.view(-1)[at] -= shift
        slope = (sides[0] - sides[1]) / (2 * step)
        assert gradients[name].view(-1)[at].item() == pytest.approx(slope, rel=2e-3, abs=1e-4), name


def test_only_the_positions_that_replies_were_drawn_from_are_taught(monkeypatch):
    """The prompt's own tokens, what follows EOS, and padding give no gradient."""
    model, seen = small(), []

    def keep(module, given):
        given[0].retain_grad()
        seen.append(given[0])

    model.lm_head.register_forward_pre_hook(keep)
    loss_of(model, BATCH, monkeypatch).backward()
    taught = seen[0].grad.abs().sum(-1) > 0
    width = BATCH.tokens.shape[1]
    assert taught[:, -1 - width : -1].tolist() == BATCH.mask.tolist()
    assert not taught[:, -1].any()
    assert not taught[:, : -1 - width].any()


def test_a_record_tells_the_loss_before_the_step():
    model = small()
    with torch.no_grad():
        wanted = by_definition(model, BATCH).item()
    before = [p.clone() for p in model.parameters()]
    record = next(sft.train(model, [BATCH], steps=1, **SETTINGS))
    assert record.step == 1
    assert record.tokens == 6
    assert record.loss == pytest.approx(wanted, abs=1e-5)
    assert record.reply_loss == pytest.approx(wanted * 6 / 2, abs=1e-5)
    assert all(not torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))


def test_evaluation_is_the_definition_and_changes_nothing():
    model = small()
    with torch.no_grad():
        wanted = by_definition(model, BATCH).item()
    per_token, per_reply = sft.evaluate(model, BATCH)
    assert per_token == pytest.approx(wanted, abs=1e-5)
    assert per_reply == pytest.approx(3 * wanted, abs=1e-5)
    assert all(p.grad is None for p in model.parameters())


def test_on_three_seeds_the_loss_falls_to_the_entropy_of_a_grammar_that_is_enumerated():
    """After *please* come three replies with chances ½, ¼, ¼; after *no* one. Entropies 1.5 log 2 and 0."""
    asked = ["please"] * 4 + ["no"] * 4
    said = ["wait", "wait", "yes bike", "bike"] + ["bike no"] * 4
    data = lm.encode(WORDS, asked, said)
    floor = 0.5 * 1.5 * math.log(2)
    for seed in range(3):
        model = lm.build(WORDS, hidden=16, layers=1, heads=2, context=8, seed=seed)
        records = list(sft.train(model, repeat(data), steps=150, **SETTINGS | {"lr": 3e-2}))
        assert len(records) == 150
        reached = sft.evaluate(model, data)[1]
        assert floor - 1e-6 < reached < floor + 0.01, seed
        assert records[0].reply_loss > 3 * floor
        drawn = lm.sample(
            model,
            lm.encode_prompts(WORDS, ["please"] * 400),
            longest=4,
            temperature=1.0,
            generator=torch.Generator().manual_seed(seed),
        )
        share = [reply for _, reply in lm.read(WORDS, drawn)].count("wait") / 400
        assert share == pytest.approx(0.5, abs=4 * 0.025), seed


def test_a_prompt_is_not_learned_while_its_reply_is():
    model, said = small(), lm.encode(WORDS, ["please wait no"], ["bike yes"])
    as_reply = lm.encode(WORDS, ["please"], ["wait no"], ended=False)
    with torch.no_grad():
        before = lm.logps(model, as_reply).sum().item()
    for _ in sft.train(model, repeat(said), steps=60, **SETTINGS):
        pass
    with torch.no_grad():
        assert lm.logps(model, said).sum() > math.log(0.6)
        assert lm.logps(model, as_reply).sum() < before + 1


def test_it_stops_after_its_steps_or_with_its_batches():
    assert len(list(sft.train(small(), repeat(BATCH), steps=3, **SETTINGS))) == 3
    assert len(list(sft.train(small(), [BATCH] * 2, steps=5, **SETTINGS))) == 2
    with pytest.raises(ValueError, match="steps is 0"):
        next(sft.train(small(), [BATCH], steps=0, **SETTINGS))


def test_a_number_that_is_not_finite_stops_it_with_good_parameters():
    model = small()
    run = sft.train(model, repeat(BATCH), steps=5, **SETTINGS)
    next(run)
    with torch.no_grad():
        model.model.norm.weight[0] = math.inf
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(FloatingPointError, match="update 2: loss is"):
        next(run)
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))


def test_the_shipped_model_is_near_the_entropy_of_its_demonstrations_and_never_below():
    model, tokenizer = lm.shipped("replies_sft")
    letters = desk.demonstrated(tokenizer, 1500, torch.Generator().manual_seed(7))
    truth = torch.tensor([office.demonstration_logp(*pair) for pair in lm.read(tokenizer, letters)])
    with torch.no_grad():
        own = logprobs.sequence_logps(lm.logps(model, letters), letters.mask)
    gap = truth - own  # its mean estimates KL(data‖model)
    assert -gap.std().item() / 1500**0.5 < gap.mean().item() < 0.035 * office.demonstration_entropy()
