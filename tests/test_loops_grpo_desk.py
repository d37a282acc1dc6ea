"""GRPO beside chapter 08's PPO: what is the same, what columns and table say, and what an update of each takes."""

import csv
import inspect
import time
from types import SimpleNamespace

import pytest
import torch

from rlcore import lm
from rlcore.lm import Prompts
from rlcore.loops import checkpoints, desk, grpo, grpo_desk, rlhf, tables
from rlcore.loops.dpo_curves import bench

MASK = torch.tensor([[True, True, False], [True, True, True]])


class Enough(Exception):
    pass


@pytest.fixture
def given(monkeypatch):
    """What a run passes to the loop, without a training."""

    def of(name, **how):
        seen, signature = [], inspect.signature(grpo.train)

        def train(*args, **settings):
            seen.append(signature.bind(*args, **settings).arguments)
            raise Enough
            yield

        with monkeypatch.context() as patch:
            patch.setattr(grpo, "train", train)
            with pytest.raises(Enough):
                list(grpo_desk.run(name, 5, **how))
        return SimpleNamespace(**seen[0])

    return of


def test_the_budget_and_the_steps_are_those_of_ppo(given):
    theirs = checkpoints.RLHF | checkpoints.CLIP
    assert grpo_desk.CLIP == checkpoints.CLIP
    for name, beta in (("beta 0.2", 0.2), ("beta 0", 0.0)):
        told = given(name)
        assert told.groups * told.group_size == theirs["batch"]
        for setting in ("updates", "longest", "epochs", "minibatches", "lr", "max_norm"):
            assert getattr(told, setting) == theirs[setting], setting
        assert told.draws == 1
        assert told.anchor.beta == beta == checkpoints.RUNS[name]["beta"]
        assert told.prompts.tokens.shape == desk.prompts(bench().tokenizer).tokens.shape
    assert given("beta 0", updates=3).updates == 3
    assert list(grpo_desk.RUNS) == ["beta 0.2", "beta 0", "beta 0.2 in the reward"]
    assert given("beta 0.2 in the reward").anchor.beta == 0
    assert grpo_desk.SEEDS == checkpoints.SEEDS


def test_start_reference_and_reward_are_those_of_ppo(given):
    told, (sft, _) = given("beta 0.2"), lm.shipped("replies_sft")
    assert told.policy is not told.anchor.reference
    assert told.anchor.follow is grpo.still
    for model in (told.policy, told.anchor.reference):
        assert all(map(torch.equal, model.parameters(), sft.parameters()))
    drawn = desk.groups(sft, bench().tokenizer, 10, 2, torch.Generator().manual_seed(0))
    drawn.ended[3] = False  # cut off: pays one more
    scores = lm.scores(lm.shipped("replies_judge_1")[0], drawn).detach()
    scores[3] -= 1
    torch.testing.assert_close(told.reward(drawn), scores)
    torch.testing.assert_close(given("beta 0").reward(drawn), scores)
    other = lm.shipped("replies_ppo")[0]  # by another policy: then the log-ratios are not 0
    drawn = desk.groups(other, bench().tokenizer, 10, 2, torch.Generator().manual_seed(1))
    assert drawn.ended.all()
    log_ratios = (drawn.logps - lm.logps(sft, drawn)).where(drawn.mask, 0).sum(1)
    wanted = lm.scores(lm.shipped("replies_judge_1")[0], drawn) - 0.2 * log_ratios
    assert log_ratios.abs().max() > 1
    torch.testing.assert_close(given("beta 0.2 in the reward").reward(drawn), wanted.detach(), atol=1e-4, rtol=0)


def test_beta_is_a_price_in_units_of_reward_for_a_nat_of_a_reply(given):
    """The gradient at the old policy, by hand: Σ_t (−A + β (log π − log π_ref)) / (B · 40), A beside the others."""
    told = given("beta 0.2")
    rewards = torch.tensor([[3.0, 1.0]])
    advantages = told.advantages(rewards)
    assert advantages.tolist() == [[2.0, -2.0]]
    logps = torch.tensor([[-1.0, -2.0, 0.0], [-1.5, -0.5, -1.0]], requires_grad=True)
    ref_logps = torch.tensor([[-2.0, -1.5, 0.0], [-1.5, -0.7, -3.0]])
    batch = grpo.Batch(logps.detach(), ref_logps, advantages.flatten()[:, None], MASK)
    loss = told.reduce(told.policy_loss(logps, batch), MASK)
    loss = loss + told.anchor.beta * told.reduce(told.anchor.penalty(logps, batch), MASK)
    loss.backward()
    apart = torch.tensor([[1.0, -0.5, 0.0], [0.0, 0.2, 2.0]])
    wanted = torch.where(MASK, torch.tensor([[-2.0], [2.0]]) + 0.2 * apart, 0) / (2 * 40)
    torch.testing.assert_close(logps.grad, wanted)
    assert told.keep(torch.tensor([[1.0, 1.0], [1.0, 1.1]])).tolist() == [False, True]


def test_from_older_samples_the_price_is_weighed_by_the_ratio(given):
    """∂/∂ log π of ρ (x − 1 − log x) is ρ (log π − log π_ref); and the clip is at 0.2 on both sides."""
    told, logps = given("beta 0.2"), torch.tensor([[-1.0, -2.0]], requires_grad=True)
    old, ref = torch.tensor([[-1.5, -1.9]]), torch.tensor([[-2.0, -1.0]])
    batch = grpo.Batch(old, ref, torch.tensor([[1.0]]), torch.ones(1, 2, dtype=torch.bool))
    (slopes,) = torch.autograd.grad(told.anchor.penalty(logps, batch).sum(), logps)
    torch.testing.assert_close(slopes, ((logps - old).exp() * (logps - ref)).detach())
    losses = told.policy_loss(logps, batch)
    torch.testing.assert_close(losses, torch.tensor([[-1.2, -torch.tensor(-0.1).exp().item()]]))


def small(seed):
    prompts = desk.prompts(bench().tokenizer)
    asked = Prompts(*(part[:6] for part in prompts))
    return lm.sample(
        bench().reference, asked, longest=40, temperature=1.0, generator=torch.Generator().manual_seed(seed)
    )


def test_rows_are_what_the_columns_are_called_and_measuring_is_off_the_clock(monkeypatch):
    clock, drawn = SimpleNamespace(now=0.0), small(0)

    def train(*_, updates, **__):
        for k in range(1, updates + 1):
            clock.now += 2
            lists = {"rollout": drawn, "rewards": torch.tensor([[1.0, k, 4.0]]), "advantages": None, "trained": None}
            told = {"signal": 0.5, "kl": 0.25, "entropy": 0.3, "length": 12.0, "steps": 4, "loss": 0.0, "clipped": 0.0}
            yield grpo.Record(k, **lists, **told)

    def echo(policy, tokenizer, count, generator):
        clock.now += 100
        return 0.75

    monkeypatch.setattr(grpo, "train", train)
    monkeypatch.setattr(desk, "echo_accuracy", echo)
    monkeypatch.setattr(time, "process_time", lambda: clock.now)
    rows = [row for row, _ in grpo_desk.run("beta 0.2", 6, updates=11)]
    assert tuple(rows[0]) == grpo_desk.COLUMNS
    assert grpo_desk.COLUMNS[:12] == checkpoints.COLUMNS
    assert [row["seconds"] for row in rows] == [2.0 * k for k in range(1, 12)]
    assert [row["echo"] for row in rows] == [*[""] * 9, 0.75, ""]
    proxy, test = (lm.scores(lm.shipped(f"replies_judge_{k}")[0], drawn).mean().item() for k in (1, 2))
    assert drawn.ended.all()
    told = {"run": "beta 0.2", "seed": 6, "update": 4, "beta": 0.2, "echo": "", "signal": 0.5, "seconds": 8.0}
    told |= {
        "proxy": pytest.approx(proxy, abs=1e-5),
        "kl": 0.25,
        "entropy": pytest.approx(3.6),
        "length": 12.0,
        "ended": 1.0,
    }
    told |= {"test": pytest.approx(test, abs=1e-5)}
    assert rows[3] == told | {"gold": pytest.approx(desk.gold(bench().tokenizer, drawn).mean().item())}
    assert tables.told(rows[3])["beta"] == "0.2000"


@pytest.fixture(scope="module")
def shipped_rows():
    found = {}
    for name in ("replies_grpo", "replies_rlhf"):
        with open(lm.SHIPPED / f"{name}.csv", encoding="utf-8", newline="") as file:
            found[name] = list(csv.DictReader(file))
    return found


def last(rows, run, column):
    """Mean over the last ten updates, for each seed."""
    found = [[float(r[column]) for r in rows if (r["run"], r["seed"]) == (run, str(seed))][-10:] for seed in range(3)]
    return [sum(values) / 10 for values in found]


def test_the_table_holds_every_run_seed_and_update_once(shipped_rows):
    rows = shipped_rows["replies_grpo"]
    assert tuple(rows[0]) == grpo_desk.COLUMNS
    found = [(row["run"], int(row["seed"]), int(row["update"])) for row in rows]
    runs = grpo_desk.RUNS
    assert found == [(run, seed, k) for run in runs for seed in grpo_desk.SEEDS for k in range(1, 61)]
    assert all(float(row["beta"]) == sum(runs[row["run"]]) for row in rows)
    assert all((row["echo"] != "") == (int(row["update"]) % 10 == 0) for row in rows)


def test_a_run_made_anew_begins_as_the_table(shipped_rows):
    told = [row for row in shipped_rows["replies_grpo"] if (row["run"], row["seed"]) == ("beta 0.2", "0")]
    for row, _ in grpo_desk.run("beta 0.2", 0, updates=2):
        wanted = told[row["update"] - 1]
        for name in ("proxy", "test", "gold", "kl", "entropy", "length"):  # a rounding elsewhere may turn a token
            assert row[name] == pytest.approx(float(wanted[name]), abs=0.15), (row["update"], name)


def test_with_a_price_it_earns_what_ppo_earns_and_without_one_it_hacks_the_judge_on_every_seed(shipped_rows):
    ours, theirs = shipped_rows["replies_grpo"], shipped_rows["replies_rlhf"]
    held, free, paid = ({key: last(ours, run, key) for key in ("proxy", "gold", "kl")} for run in grpo_desk.RUNS)
    ppo = {key: last(theirs, "beta 0.2", key) for key in ("proxy", "gold", "kl")}
    for seed in range(3):
        assert held["gold"][seed] > 1.0, held
        assert abs(held["proxy"][seed] - sum(ppo["proxy"]) / 3) < 0.3, held
        assert 1 < held["kl"][seed] < 5, held
        assert free["proxy"][seed] > held["proxy"][seed] + 0.5, free  # the judge is pleased
        assert free["gold"][seed] < 0, free  # and nobody else
        assert free["kl"][seed] > 10, free
        for key, close in {
            "proxy": 0.1,
            "gold": 0.15,
            "kl": 0.3,
        }.items():  # paid where PPO pays it
            assert abs(paid[key][seed] - sum(ppo[key]) / 3) < close, (key, paid, ppo)
        assert held["kl"][seed] > max(ppo["kl"]), (held, ppo)  # paid token by token, it holds less


@pytest.fixture(scope="module")
def bills():
    return grpo_desk.bills(updates=1)


def test_a_bill_counts_models_parameters_and_what_stays(bills):
    policy = sum(x.numel() for x in lm.shipped("replies_sft")[0].parameters())
    scalar = sum(x.numel() for x in lm.shipped("replies_judge_1")[0].parameters())
    ppo, ours = bills["PPO"], bills["GRPO"]
    assert (ppo.models, ppo.parameters, ppo.trained) == (4, 2 * policy + 2 * scalar, policy + scalar)
    assert (ours.models, ours.parameters, ours.trained) == (3, 2 * policy + scalar, policy)
    assert ppo.held == 4 * (5 * policy + 5 * scalar)  # a trained parameter is held four times
    assert ours.held == 4 * (5 * policy + scalar)
    assert all(bill.peak > bill.held and bill.seconds > 0 for bill in bills.values())
    more = ppo.peak - ours.peak  # the activations are those of one model at a time, and alike
    assert 0.8 < more / (ppo.held - ours.held) < 1.2, bills


def test_what_stays_is_what_adam_has(monkeypatch):
    """Bytes of the optimisers' own numbers, looked at where they are made."""
    made, adam = [], torch.optim.Adam

    def noted(*args):
        made.append(adam(*args))
        return made[-1]

    monkeypatch.setattr(torch.optim, "Adam", noted)
    for name, count in (("PPO", 2), ("GRPO", 1)):
        made.clear()
        models = grpo_desk._models(name)
        next(grpo_desk._loop(name, models, 1, 10))
        assert len(made) == count
        means = [x for one in made for state in one.state.values() for x in state.values() if x.ndim]
        weights = [p for model in models.values() for p in model.parameters()]
        grads = [p.grad for p in weights if p.grad is not None]
        held = sum(x.nbytes for x in (*means, *weights, *grads))
        policy, scalar = (sum(x.numel() for x in models[role].parameters()) for role in ("policy", "judge"))
        assert held == 4 * (5 * policy + (5 if name == "PPO" else 1) * scalar)


def test_the_bill_is_for_the_settings_of_ppos_runs():
    assert grpo_desk.PPO["next_beta"] is rlhf.fixed
    assert grpo_desk.PPO["beta"] == grpo_desk.RUNS["beta 0.2"].loss
    rest = {key: value for key, value in grpo_desk.PPO.items() if key not in ("beta", "next_beta")}
    assert rest | {"updates": 60, "critic_first": 5} == checkpoints.RLHF


def test_bills_want_an_update_to_time():
    with pytest.raises(ValueError, match=r"updates is 0"):
        grpo_desk.bills(0)
