"""Chapter 11's table: runs differ in what they say and in nothing else, columns are what they are called, and a run
made anew begins as the table does."""

import csv
import inspect
import time
from types import SimpleNamespace

import pytest
import torch

from rlcore import kl, lm, trust_region
from rlcore.loops import arithmetic, grpo, grpo_curves, tables
from rlcore.worlds import arithmetic as world

DIFFERS = {  # from GRPO
    **{"GRPO": set(), "Dr. GRPO": {"advantages", "reduce"}, "DAPO": {"policy_loss", "reduce", "draws"}},
    **{"RLOO": {"advantages", "policy_loss", "reduce"}},
    **{"REINFORCE, batch baseline": {"advantages", "policy_loss", "reduce", "keep"}},
    **{"mean over tokens": {"reduce", "updates"}, "sum over a constant": {"reduce", "updates"}},
    **{f"G = {size}": {"size", "updates"} for size in (2, 4, 16, 32)},
    **{"four passes, clip": {"how", "updates"}, "four passes, no clip": {"how", "updates", "policy_loss"}},
    **{
        f"four passes, {name}": {"how", "updates", "policy_loss"}
        for name in ("GSPO", "CISPO", "clip-higher", "no ratio")
    },
    **{"four passes, clip, KL": {"how", "updates", "beta"}},
    **{"four passes, no clip, KL": {"how", "updates", "beta", "policy_loss"}},
    **{"learning rate times ten": {"how", "updates"}, "noise of a thousandth": {"reward", "updates", "keep"}},
    **{f"{name}": {"reward", "updates"} for name in ("a charge for each token", "rewards of the row above")},
}
MASK = torch.tensor([[True, True, False], [True, True, True]])
OLD = torch.tensor([[-1.0, -2.0, 0.0], [-1.5, -0.5, -1.0]])
FAR = OLD + torch.tensor([[0.5, -0.1, 0.0], [-0.5, 0.25, 0.1]])
BATCH = grpo.Batch(OLD, OLD - 0.5, torch.tensor([[1.0], [-2.0]]), MASK)
REWARDS = torch.tensor([[1.0, 0.0, 0.0, 1.0], [2.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.5, 0.5]])


@pytest.mark.parametrize("name", grpo_curves.RUNS)
def test_a_run_differs_from_grpo_in_exactly_these_fields(name):
    one, plain = grpo_curves.RUNS[name], grpo_curves.GRPO
    assert {field for field in one._fields if getattr(one, field) != getattr(plain, field)} == DIFFERS[name]


def test_advantages_denominators_and_groups_are_those_of_the_papers():
    def parts(name):
        one = grpo_curves.RUNS[name]
        return one.advantages(REWARDS), one.reduce(OLD, MASK), one.keep(REWARDS).tolist()

    centred, std = REWARDS - REWARDS.mean(1, keepdim=True), REWARDS.std(1, keepdim=True)
    others = (REWARDS.sum(1, keepdim=True) - REWARDS) / 3
    by_sequence, by_token, by_constant = (-1.5 - 1.0) / 2, -6 / 5, -6 / (2 * 96)
    wanted = {
        "GRPO": (torch.where(std > 0, centred / std, 0), by_sequence, [True, True, False]),
        "Dr. GRPO": (centred, by_constant, [True, True, False]),
        "DAPO": (torch.where(std > 0, centred / std, 0), by_token, [True, True, False]),
        "RLOO": (REWARDS - others, by_constant, [True, True, False]),
        "REINFORCE, batch baseline": ((REWARDS - REWARDS.mean()) / REWARDS.std(), by_token, [True] * 3),
        "mean over tokens": (torch.where(std > 0, centred / std, 0), by_token, [True, True, False]),
        "sum over a constant": (torch.where(std > 0, centred / std, 0), by_constant, [True, True, False]),
        "noise of a thousandth": (torch.where(std > 0, centred / std, 0), by_sequence, [True] * 3),
    }
    for name, (advantages, reduced, kept) in wanted.items():
        found = parts(name)
        torch.testing.assert_close(found[0], advantages, msg=name)
        assert found[1].item() == pytest.approx(reduced), name
        assert found[2] == kept, name


def clipped(low, high):
    return trust_region.clipped_loss(FAR, OLD, BATCH.advantages, low, high)


def slopes(loss):
    logps = FAR.clone().requires_grad_()
    return torch.autograd.grad(loss(logps, BATCH).sum(), logps)[0]


def test_policy_losses_are_those_of_their_names():
    runs, ratios, weights = grpo_curves.RUNS, (FAR - OLD).exp(), BATCH.advantages
    torch.testing.assert_close(runs["GRPO"].policy_loss(FAR, BATCH), clipped(0.2, 0.2))
    torch.testing.assert_close(runs["DAPO"].policy_loss(FAR, BATCH), clipped(0.2, 0.28))
    torch.testing.assert_close(runs["four passes, clip-higher"].policy_loss(FAR, BATCH), clipped(0.2, 0.28))
    for name in ("four passes, no clip", "four passes, no clip, KL"):
        torch.testing.assert_close(runs[name].policy_loss(FAR, BATCH), -ratios * weights, msg=name)
    for name in ("RLOO", "REINFORCE, batch baseline", "four passes, no ratio"):
        torch.testing.assert_close(slopes(runs[name].policy_loss), (-weights).expand(2, 3), msg=name)
    cut = (-ratios.clamp(max=1.28) * weights).expand(2, 3)
    torch.testing.assert_close(slopes(runs["four passes, CISPO"].policy_loss), cut)
    once = runs["four passes, GSPO"].policy_loss(FAR, BATCH)  # mean log-ratios: 0.2 and −0.05, both out of range
    torch.testing.assert_close(once, torch.tensor([-1.0004, 2 * 0.9997]))


class Enough(Exception):
    pass


@pytest.fixture
def given(monkeypatch):
    """What a run passes to the loop, without a training; few prompts, nothing measured."""
    monkeypatch.setattr(arithmetic, "POOL", 4)
    monkeypatch.setattr(grpo_curves, "measured", lambda policy, seed: {})

    def of(name, updates=None):
        seen = []

        def train(*args, **how):
            seen.append(inspect.signature(real).bind(*args, **how).arguments)
            raise Enough
            yield

        real = grpo.train
        with monkeypatch.context() as patch:
            patch.setattr(grpo, "train", train)
            with pytest.raises(Enough):
                list(grpo_curves.run(name, 5, updates))
        return SimpleNamespace(**seen[0])

    return of


@pytest.mark.parametrize("name", grpo_curves.RUNS)
def test_a_run_gives_the_loop_what_it_says_and_otherwise_the_settings_that_were_measured(given, name):
    one, told = grpo_curves.RUNS[name], given(name)
    parts = (told.advantages, told.policy_loss, told.reduce, told.keep)
    assert parts == (one.advantages, one.policy_loss, one.reduce, one.keep)
    usual = {"epochs": 1, "minibatches": 1, "lr": 3e-4, "longest": 96, "max_norm": 1.0}
    if "passes" in name:
        usual |= {"epochs": 4, "minibatches": 2}
    if name == "learning rate times ten":
        usual["lr"] = 3e-3
    assert {key: getattr(told, key) for key in usual} == pytest.approx(usual)
    assert told.groups * told.group_size == 256
    assert told.group_size == (int(name[4:]) if name.startswith("G = ") else 8)
    assert told.draws == (3 if name == "DAPO" else 1)
    assert told.updates == one.updates
    assert told.anchor.beta == (0.05 if name.endswith("KL") else 0.0)


def test_a_run_starts_at_the_shipped_model_which_stays_the_reference(given):
    told, (model, _) = given("GRPO", 7), grpo_curves.start()
    assert told.updates == 7
    assert len({id(told.policy), id(told.anchor.reference), id(model)}) == 3
    for found in (told.policy, told.anchor.reference):
        assert all(map(torch.equal, found.parameters(), model.parameters()))
    assert told.anchor.follow is grpo.still
    torch.testing.assert_close(told.anchor.penalty(FAR, BATCH), kl.k3_loss(FAR, OLD, OLD - 0.5))
    assert told.prompts.mask.sum(1).tolist() == [8, 9, 8, 9]  # four and five numbers, in turn


def replies():
    """Right at once; right at the second try; gives up; false. Lengths with EOS: 7, 13, 8, 7."""
    said = ["2 + 12 = 14 yes", "13 + 11 = 24 high 2 + 12 = 14 yes", "13 + 2 = 15 high stop", "13 + 2 = 14 yes"]
    tokenizer = grpo_curves.start()[1]
    return tokenizer, lm.encode(tokenizer, ["make 14 from 13 11 2 12 ="] * 4, said)


def test_rewards_are_what_the_runs_say():
    tokenizer, said = replies()
    found = {name: reward(tokenizer, said) for name, reward in grpo_curves.REWARDS.items()}
    assert found["right"].tolist() == [1, 1, 0, 0]
    torch.testing.assert_close(found["charged"], torch.tensor([1.0, 1, 0, 0]) - 0.05 * torch.tensor([7, 13, 8, 7]))
    assert found["shifted"].tolist() == [0, 1, 1, 0]
    noise = found["noisy"] - found["right"]
    assert 0 < noise.abs().max() < 0.006
    assert len(set(noise.tolist())) == 4
    assert torch.equal(found["noisy"], grpo_curves.noisy(tokenizer, said))
    assert {one.reward for one in grpo_curves.RUNS.values()} == set(grpo_curves.REWARDS)


def test_the_noise_is_a_thousandth():
    tokenizer, said = replies()
    many = said.rows(torch.arange(4).repeat(500))
    noise = grpo_curves.noisy(tokenizer, many) - arithmetic.correct(tokenizer, many)
    assert noise.std().item() == pytest.approx(0.001, rel=0.08)  # five standard errors
    assert abs(noise.mean().item()) < 0.001 * 5 / 2000**0.5


def test_the_loop_gets_the_reward_of_the_run(given):
    _, said = replies()
    assert given("a charge for each token").reward(said)[0] == pytest.approx(1 - 0.05 * 7)
    assert given("rewards of the row above").reward(said).tolist() == [0, 1, 1, 0]
    assert given("GRPO").reward(said).tolist() == [1, 1, 0, 0]


def test_what_is_measured_is_what_it_is_called(monkeypatch):
    monkeypatch.setattr(grpo_curves, "FRESH", 20)
    policy, tokenizer = grpo_curves.start()
    found = grpo_curves.measured(policy, 3)
    for name, numbers in (("four", 4), ("five", 5), ("six", 6)):
        generator = torch.Generator().manual_seed(1000 * numbers + 3)
        asked = lm.encode_prompts(tokenizer, [world.prompt(one) for one in world.problems(20, numbers, generator)])
        drawn = lm.sample(policy, asked, longest=96, temperature=1.0, generator=generator)
        said = zip(lm.read(tokenizer, drawn), drawn.ended.tolist(), strict=True)
        right = [world.reward(*text, ended) for text, ended in said]
        assert found[name] == pytest.approx(sum(right) / 20)
        if name == "five":
            assert found["length of five"] == pytest.approx(drawn.mask.sum().item() / 20)
    assert set(found) == {"four", "five", "six", "length of five"}


def test_rows_tell_the_record_and_measure_now_and_then_off_the_clock(monkeypatch):
    clock = SimpleNamespace(now=0.0)

    def train(*_, updates, **__):
        for k in range(1, updates + 1):
            clock.now += 1
            rewards = torch.tensor([[0.0, k]])
            told = {"signal": 0.1 * k, "kl": 0.2 * k, "entropy": 0.3 * k, "length": 0.4 * k, "clipped": 0.5 * k}
            rest = {"rollout": None, "advantages": None, "trained": None, "steps": 1, "loss": 9.0}
            yield grpo.Record(update=k, rewards=rewards, **told, **rest)

    def measured(policy, seed):
        clock.now += 100
        return {"four": 0.4, "five": 0.5, "six": 0.6, "length of five": float(seed)}

    monkeypatch.setattr(arithmetic, "POOL", 4)
    monkeypatch.setattr(grpo, "train", train)
    monkeypatch.setattr(grpo_curves, "measured", measured)
    monkeypatch.setattr(grpo_curves, "EVERY", 2)
    monkeypatch.setattr(time, "process_time", lambda: clock.now)
    rows = [row for row, _ in grpo_curves.run("DAPO", 4, 3)]
    assert [row["update"] for row in rows] == [0, 1, 2, 3]
    assert [row["seconds"] for row in rows] == [0, 1, 2, 3]
    assert [row.get("five") for row in rows] == [0.5, None, 0.5, None]
    assert tuple(rows[2]) == grpo_curves.COLUMNS
    numbers = {"reward": 1.0, "signal": 0.2, "entropy": 0.6, "kl": 0.4, "clipped": 1.0, "length": 0.8, "seconds": 2.0}
    told = {"run": "DAPO", "seed": 4, "update": 2} | numbers
    assert rows[2] == told | {"four": 0.4, "five": 0.5, "six": 0.6, "length of five": 4.0}
    assert tables.told(rows[1])["signal"] == "0.1000"
    assert tables.told(rows[1])["seed"] == 4


@pytest.fixture(scope="module")
def table():
    with open(lm.SHIPPED / "arithmetic_grpo.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_holds_every_run_seed_and_update_once(table):
    assert tuple(table[0]) == grpo_curves.COLUMNS
    found = [(row["run"], int(row["seed"]), int(row["update"])) for row in table]
    runs = grpo_curves.RUNS.items()
    assert found == [
        (name, seed, k) for name, one in runs for seed in grpo_curves.SEEDS for k in range(one.updates + 1)
    ]
    for row in table:
        update = int(row["update"])
        told = [row[name] != "" for name in grpo_curves.COLUMNS[3:9]]
        assert all(told) if update else not any(told)
        assert (row["five"] != "") == (update % grpo_curves.EVERY == 0)


def test_all_runs_of_a_seed_begin_alike(table):
    """The same model before the first update; and where groups have one size, the same first replies."""
    start = {row["seed"]: row["five"] for row in table if (row["run"], row["update"]) == ("GRPO", "0")}
    assert all(row["five"] == start[row["seed"]] for row in table if row["update"] == "0")
    first = {(row["run"], row["seed"]): row for row in table if row["update"] == "1"}
    for (name, seed), row in first.items():
        if grpo_curves.RUNS[name].size != 8 or name == "DAPO":
            continue
        plain = first["GRPO", seed]
        assert (row["length"], row["entropy"]) == (plain["length"], plain["entropy"]), name
        charge = 0.05 * float(row["length"]) if name == "a charge for each token" else 0
        assert float(row["reward"]) == pytest.approx(float(plain["reward"]) - charge, abs=4e-4), name
        assert float(row["kl"]) == pytest.approx(0, abs=1e-3), name


def test_a_run_made_anew_begins_as_the_table(table):
    told = [row for row in table if (row["run"], row["seed"]) == ("GRPO", "0")]
    for row, _ in grpo_curves.run("GRPO", 0, updates=2):
        wanted = told[row["update"]]
        for name, close in {"reward": 0.02, "signal": 0.07, "entropy": 0.02, "length": 0.8, "five": 0.01}.items():
            if wanted[name]:  # a rounding elsewhere may turn a token, and with it a reply or two
                assert row[name] == pytest.approx(float(wanted[name]), abs=close), (row["update"], name)


def test_every_member_of_the_family_teaches_patience_on_every_seed(table):
    """The worst of five methods and three seeds."""
    ends = {(row["run"], row["seed"]): row for row in table if row["run"] in grpo_curves.FAMILY and row["five"]}
    assert len(ends) == len(grpo_curves.FAMILY) * 3
    for place, row in ends.items():
        assert int(row["update"]) == 60
        assert float(row["five"]) > 0.85, place
        assert float(row["length of five"]) > 25, place


def test_what_is_broken_shows_in_the_curves_on_every_seed(table):
    """After twenty updates, beside GRPO then: four signatures."""
    rows = {(row["run"], row["seed"]): row for row in table if row["update"] == "20"}
    for seed in "012":
        names = ("GRPO", *grpo_curves.BROKEN)
        found = [{column: float(rows[name, seed][column]) for column in grpo_curves.COLUMNS[3:]} for name in names]
        good, hurried, charged, noisy, shifted = found
        assert good["five"] > 0.85
        assert good["signal"] < 0.7
        assert hurried["kl"] > 10 * good["kl"]  # it has left all that it knew
        assert hurried["five"] < 0.5
        assert charged["length"] < 4  # the shortest reply is dearest
        assert charged["five"] < 0.05
        assert noisy["signal"] == 1  # every group is said to teach something
        assert noisy["reward"] > 0.9
        assert shifted["five"] < 0.15  # worse than before: every reply earns what another one deserves
