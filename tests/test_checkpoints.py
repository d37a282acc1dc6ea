"""What ships can be loaded, is small, says how it was made, and is as good as it says; a small one can be made anew."""

import csv
import json
import math

import pytest
import torch

from rlcore import lm
from rlcore.lm import files
from rlcore.loops import checkpoints, desk, dpo_curves, entrants, league, pretraining, reward_model, schedules
from rlcore.worlds import arithmetic, replies, sums

FOLDERS = sorted(path for path in lm.SHIPPED.iterdir() if path.is_dir())
MODELS = [name for name in checkpoints.RECIPES if (lm.SHIPPED / name).is_dir()]


def test_every_recipe_ships_and_everything_that_ships_has_a_recipe():
    tables = {path.stem for path in lm.SHIPPED.glob("*.csv")}
    assert {path.name for path in FOLDERS} | tables == set(checkpoints.RECIPES)


def test_shipped_files_are_small():
    sizes = [path.stat().st_size for path in lm.SHIPPED.rglob("*") if path.is_file()]
    assert max(sizes) <= 2e6
    assert sum(sizes) <= 8e6


@pytest.mark.parametrize("name", MODELS)
def test_a_shipped_model_says_loop_settings_seed_and_quality(name):
    made = files.made(name)
    assert set(made) == {"loop", "settings", "seed", "quality"}
    assert made["loop"].startswith("rlcore.loops.")
    assert made["quality"]


@pytest.mark.parametrize("name", MODELS)
def test_a_shipped_model_has_the_vocabulary_of_its_world(name):
    model, tokenizer = lm.shipped(name)
    world = {"replies": replies, "arithmetic": arithmetic, "sums": sums, "reader": pretraining}[name.split("_")[0]]
    words = world.WORDS
    assert set(words) < set(tokenizer.get_vocab())
    assert model.config.vocab_size == len(tokenizer) == len(words) + 3
    assert all(torch.isfinite(weights).all() for weights in model.parameters())


def test_the_shipped_policies_are_as_good_as_they_say():
    for name in ("replies_sft", "replies_ppo", "replies_hacked"):
        told = files.made(name)["quality"]
        measured = checkpoints.quality(*lm.shipped(name), seed=7)  # other draws than those of made.json
        assert abs(measured["gold"] - told["gold"]) < 0.15, name  # 2,000 replies each: four standard errors of the two
        assert abs(measured["echoes right"] - told["echoes right"]) < 0.07, name
    assert files.made("replies_sft")["quality"]["grammatical"] > 0.94


def test_the_shipped_judges_are_as_good_as_they_say():
    policy, tokenizer = lm.shipped("replies_sft")
    generator = torch.Generator().manual_seed(7)
    drawn = desk.groups(policy, tokenizer, 1000, 2, generator)
    golds = desk.gold(tokenizer, drawn).view(-1, 2)
    differ = golds[:, 0] != golds[:, 1]
    for name in checkpoints.JUDGES:
        scores = reward_model.score(lm.shipped(name)[0], drawn)
        right = reward_model.accuracy(scores.view(-1, 2)[differ], golds[differ].argsort(1, descending=True))
        assert right > 0.9, name
        assert abs(right - files.made(name)["quality"]["accuracy on gold"]) < 0.04, name
        assert abs(scores.mean()) < 0.15, name  # centred on the replies of the policy it was made for


def test_sft_made_anew_and_shorter_is_nearly_as_good_on_three_seeds():
    for seed in range(3):
        model, tokenizer = checkpoints.start(seed, steps=150)
        made = checkpoints.quality(model, tokenizer, seed)
        assert 0 < made["above the least, nats per reply"] < 0.7, (seed, made)  # 0.17 after all 400 steps
        assert made["grammatical"] > 0.85, (seed, made)


def test_a_judge_made_anew_from_fewer_pairs_is_nearly_as_good():
    policy, tokenizer = lm.shipped("replies_sft")
    for seed in range(3):
        _, good = checkpoints.judge(policy, tokenizer, pairs=1000, seed=seed)
        assert good["accuracy on gold"] > 0.8, seed


def test_a_run_of_ppo_made_anew_follows_the_table():
    """The same settings with another seed, ten updates: the gold reward rises as it does in the table's three seeds."""
    rows = [row for row, _ in checkpoints.ppo("beta 0.2", seed=11, updates=10)]
    assert list(rows[0]) == list(checkpoints.COLUMNS)
    with open(lm.SHIPPED / "replies_rlhf.csv", encoding="utf-8", newline="") as file:
        told = [row for row in csv.DictReader(file) if row["run"] == "beta 0.2" and int(row["update"]) == 10]
    golds, kls = ([float(row[key]) for row in told] for key in ("gold", "kl"))
    assert abs(float(rows[-1]["gold"]) - sum(golds) / 3) < 0.4, golds  # 128 replies: a standard error of 0.12
    assert abs(float(rows[-1]["kl"]) - sum(kls) / 3) < 0.5, kls
    assert float(rows[0]["kl"]) == pytest.approx(0, abs=1e-4)


def test_the_table_holds_every_run_seed_and_update_once():
    with open(lm.SHIPPED / "replies_rlhf.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = [(row["run"], int(row["seed"]), int(row["update"])) for row in rows]
    updates = range(1, checkpoints.RLHF["updates"] + 1)
    assert found == [(run, seed, k) for run in checkpoints.RUNS for seed in checkpoints.SEEDS for k in updates]


def table(name):
    with open(lm.SHIPPED / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_of_dpo_holds_every_run_and_seed_once_with_ten_rows_each():
    rows = table("replies_dpo")
    assert list(rows[0]) == list(dpo_curves.COLUMNS)
    found = [(row["run"], float(row["beta"]), int(row["seed"]), int(row["step"])) for row in rows]
    assert found == [
        (run, beta, seed, 7 * epochs * k)
        for run, (beta, epochs) in dpo_curves.RUNS.items()
        for seed in dpo_curves.SEEDS
        for k in range(10)
    ]
    assert all(math.isfinite(float(row[name])) for row in rows for name in dpo_curves.COLUMNS[3:])


def test_the_league_table_holds_every_method_and_seed_once_with_the_settings_of_today():
    rows = table("replies_league")
    assert list(rows[0]) == list(league.COLUMNS)
    found = [(row["method"], int(row["seed"])) for row in rows]
    assert found == [(name, seed) for seed in dpo_curves.SEEDS for name in entrants.METHODS]
    for row in rows:
        method = entrants.METHODS[row["method"]]
        told = (method.kind, str(method.reference), league.settings(method), str(schedules.STEPS))
        assert (row["kind"], row["reference"], row["settings"], row["steps"]) == told, row["method"]
        assert all(math.isfinite(float(row[name])) for name in league.COLUMNS[5:]), row["method"]


def test_a_missing_checkpoint_names_the_folder_and_the_command_that_makes_it():
    with pytest.raises(ValueError, match=r"(?s)'replies_nowhere'.*python -m rlcore.loops.checkpoints replies_nowhere"):
        lm.shipped("replies_nowhere")


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_checkpoint_names_the_folder_and_the_command(tmp_path, monkeypatch, file):
    model, tokenizer = lm.shipped("replies_sft")
    lm.save(model, tokenizer, tmp_path / "replies_sft")
    (tmp_path / "replies_sft" / file).write_bytes(b"not what it was")
    monkeypatch.setattr(files, "SHIPPED", tmp_path)
    with pytest.raises(ValueError, match=r"(?s)python -m rlcore.loops.checkpoints replies_sft.*replies_sft"):
        lm.shipped("replies_sft")


def test_a_checkpoint_without_some_parameters_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    lm.save(*lm.shipped("replies_judge_1"), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["score.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"score\.weight"):
        lm.load(tmp_path)


def test_the_settings_told_are_those_of_the_recipes():
    told = json.loads((lm.SHIPPED / "replies_ppo" / "made.json").read_text(encoding="utf-8"))["settings"]
    assert told == checkpoints.RLHF | checkpoints.CLIP | checkpoints.RUNS["beta 0.2"]
