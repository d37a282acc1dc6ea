"""Chapter 09's table: the pairs are judge 1's, the numbers are what they are called, and a run goes on as the table."""

import csv

import pytest
import torch

from rlcore import lm, logprobs
from rlcore.loops import checkpoints, desk, dpo, dpo_curves, reward_model
from rlcore.loops.dpo_curves import bench


@pytest.fixture(autouse=True)
def forget():
    """Small tables must not stay in the cache."""
    yield
    dpo_curves.compared.cache_clear()


def test_the_pairs_are_those_that_made_judge_1(monkeypatch):
    class Enough(Exception):
        pass

    seen = []

    def stop(judge, replies, ranking, *_, **__):
        seen.append((replies, ranking))
        raise Enough

    monkeypatch.setattr(reward_model, "train", stop)
    with pytest.raises(Enough):
        checkpoints.judge(*lm.shipped("replies_sft"), pairs=60, seed=1)
    ((replies, ranking),) = seen
    data = dpo_curves.compared(60, 1)
    assert torch.equal(data.replies.tokens, replies.tokens)
    assert torch.equal(data.ranking, ranking)
    assert torch.equal(data.rewards.flatten(), desk.gold(bench().tokenizer, replies))
    assert (checkpoints.PAIRS, checkpoints.TASTE) == (dpo_curves.PAIRS, desk.TASTE)
    assert lm.files.made("replies_judge_1")["seed"] == 1


def test_what_is_measured_is_what_it_is_called():
    policy, _ = lm.shipped("replies_ppo")
    found = dpo_curves.measured(policy, 40, torch.Generator().manual_seed(0))
    reference, tokenizer, (first, second) = bench()
    drawn = desk.groups(policy, tokenizer, 40, 1, torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = lm.logits(policy, drawn)
        ratios = (lm.logps(policy, drawn) - lm.logps(reference, drawn)).where(drawn.mask, 0).sum(1)
        scores = [lm.scores(judge, drawn) for judge in (first, second)]
    assert drawn.ended.all()
    assert found == {
        "gold": pytest.approx(desk.gold(tokenizer, drawn).mean().item()),
        "kl": pytest.approx(ratios.mean().item(), abs=1e-4),
        "entropy": pytest.approx(logprobs.entropy(logits)[drawn.mask].mean().item(), abs=1e-5),
        "length": pytest.approx(drawn.mask.sum().item() / 40),
        "ended": 1.0,
        "proxy": pytest.approx(scores[0].mean().item(), abs=1e-5),
        "test": pytest.approx(scores[1].mean().item(), abs=1e-5),
    }


def test_a_run_begins_at_the_reference_tells_every_seventh_step_and_is_the_loop_with_the_loss_of_dpo(monkeypatch):
    for name, number in {"PAIRS": 900, "TEST": 100, "FRESH": 50}.items():
        monkeypatch.setattr(dpo_curves, name, number)
    policies, rows = [], []
    for row, policy in dpo_curves.run("beta 0.5", seed=4, pairs=512):
        rows.append(row)
        policies.append([p.detach().clone() for p in policy.parameters()])
    assert [row["step"] for row in rows] == [0, 7]
    assert tuple(rows[0]) == dpo_curves.COLUMNS
    assert [rows[0][name] for name in ("chosen", "rejected", "accuracy")] == [0, 0, 0.5]
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-4)
    assert rows[1]["accuracy"] > 0.55
    assert dpo_curves.told(rows[0]) | {"gold": ""} == {
        **{"run": "beta 0.5", "seed": 4, "step": 0, "beta": 0.5, "gold": "", "ended": "1.0000", "accuracy": "0.5000"},
        **{k: f"{rows[0][k]:.4f}" for k in ("kl", "entropy", "length", "proxy", "test", "chosen", "rejected")},
    }
    data, reference = dpo_curves.compared(900, 1), bench().reference
    policy = lm.shipped("replies_sft")[0]
    first = dpo.Ranked(data.replies.rows(slice(1024)), data.ranking[:512], data.rewards[:512])
    how = dpo_curves.HOW | {"generator": torch.Generator().manual_seed(4)}
    records = dpo.train(policy, reference, first, lambda b: -torch.nn.functional.logsigmoid(0.5 * b.margin), **how)
    for record in records:
        if record.step == 7:
            break
    for found, wanted in zip(policies[1], policy.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_three_epochs_are_three_times_the_steps_with_three_times_the_way_between_rows(monkeypatch):
    for name, number in {"PAIRS": 512, "TEST": 20, "FRESH": 10}.items():
        monkeypatch.setattr(dpo_curves, name, number)
    given = []

    def train(*_, epochs, batch, **__):
        given.append(epochs)
        yield from (dpo.Record(step, 0.0, 0.0, 0.0, 0.0) for step in range(1, epochs * 512 // batch + 1))

    monkeypatch.setattr(dpo, "train", train)
    rows = [row for row, _ in dpo_curves.run("beta 0.2, 3 epochs", seed=0)]
    assert [(row["run"], row["beta"], row["step"]) for row in rows] == [
        ("beta 0.2, 3 epochs", 0.2, 0),
        ("beta 0.2, 3 epochs", 0.2, 21),
    ]
    assert given == [3]


def test_the_table_begins_at_one_model_and_a_smaller_beta_goes_further():
    with open(lm.SHIPPED / "replies_dpo.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(abs(float(row["kl"])) < 1e-3 for row in rows if row["step"] == "0")
    one_pass = [f"beta {beta:g}" for beta in dpo_curves.BETAS]
    last = {(float(row["beta"]), row["seed"]): row for row in rows if row["step"] == "63" and row["run"] in one_pass}
    for seed in "012":
        kls = [float(last[beta, seed]["kl"]) for beta in (0.05, 0.2, 0.5, 1.0)]
        assert kls == sorted(kls, reverse=True), seed
        assert all(float(last[beta, seed]["accuracy"]) > 0.65 for beta in dpo_curves.BETAS), seed
    longest = [row for row in rows if row["step"] == "189"]
    assert len(longest) == 6
    assert all(float(row["kl"]) > float(last[float(row["beta"]), row["seed"]]["kl"]) + 0.3 for row in longest)
