"""Reinforcement pre-training in miniature: its texts and places, its reward, what trains, and that a thought pays."""

import copy
import csv
import itertools
import math
import re

import pytest
import torch
from torch import nn

from rlcore import lm
from rlcore.loops import pretraining as rpt
from rlcore.loops import rpt_curves
from rlcore.worlds import sums

TOKENIZER = lm.tokenizer(rpt.WORDS)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def model(seed=0):
    return lm.build(TOKENIZER, hidden=16, layers=1, heads=2, context=32, seed=seed)


def weights(policy):
    return nn.utils.parameters_to_vector(policy.parameters()).detach().clone()


# --- texts and places -----------------------------------------------------------------------------------------------


def test_a_text_is_the_sentence_with_its_sum_and_has_words_of_the_vocabulary_alone():
    for digits in sums.problems(50, rpt.LENGTH, generator()):
        told = rpt.text(digits)
        found = re.fullmatch(r"now we add (\d) (\d) (\d) (\d) and get (\d) in the end \.", told)
        *parts, total = map(int, found.groups())
        assert tuple(parts) == digits
        assert total == sum(digits) % 10
        assert set(told.split()) <= set(rpt.WORDS)


def test_the_places_of_a_text_cut_it_at_every_word_and_one_kind_each():
    places = rpt.positions((3, 5, 9, 4))
    assert {f"{one.context} {one.continuation}" for one in places} == {rpt.text((3, 5, 9, 4))}
    assert [len(one.context.split()) for one in places] == list(range(1, 14))
    kinds = [one.kind for one in places]
    assert kinds == ["easy"] * 2 + ["dice"] * 4 + ["easy"] * 2 + ["worked out"] + ["easy"] * 4
    assert [one.continuation[0] for one in places if one.kind == "worked out"] == ["1"]


def test_a_context_comes_once_with_the_continuation_of_the_first_text_that_has_it():
    places = rpt.places(300, generator())
    contexts = [one.context for one in places]
    assert len(set(contexts)) == len(contexts)
    texts = [rpt.text(digits) for digits in sums.problems(300, rpt.LENGTH, generator())]
    for one in places[:: len(places) // 200]:
        first = next(text for text in texts if text.startswith(f"{one.context} "))
        assert f"{one.context} {one.continuation}" == first
    assert sum(one.kind == "worked out" for one in places) == len({text.split(" get")[0] for text in texts})


def test_of_kind_takes_new_texts_and_any_of_their_places_of_that_kind():
    found = rpt.of_kind("dice", 400, generator())
    assert {one.kind for one in found} == {"dice"}
    lengths = [len(one.context.split()) for one in found]
    assert all(70 < lengths.count(k) < 130 for k in (3, 4, 5, 6))


def test_a_patient_thought_is_right_where_something_is_worked_out_and_empty_elsewhere():
    for place in rpt.positions((3, 5, 9, 4)):
        said = rpt.thought(place, generator(), **sums.PATIENT)
        wanted = "3 8 7 1 </think> 1" if place.kind == "worked out" else f"</think> {place.continuation.split()[0]}"
        assert said == wanted


def test_a_hasty_thought_is_right_as_often_as_a_hasty_demonstration():
    place, draw = rpt.positions((3, 5, 9, 4))[8], generator()
    share = sum(rpt.thought(place, draw, **rpt.HASTY).endswith("</think> 1") for _ in range(4000)) / 4000
    wanted = sums.demonstration_accuracy(4, **rpt.HASTY)
    assert share == pytest.approx(wanted, abs=4 * math.sqrt(wanted * (1 - wanted) / 4000))


def test_lessons_are_texts_and_thoughts_three_in_four_of_them_at_what_is_worked_out():
    batch = next(rpt.lessons(TOKENIZER, generator(), **sums.PATIENT))
    read = lm.read(TOKENIZER, batch)
    assert batch.ended.all()
    assert [prompt for prompt, _ in read[: rpt.TEXTS]] == ["now"] * rpt.TEXTS
    thoughts = read[rpt.TEXTS :]
    assert len(thoughts) == rpt.THOUGHTS
    assert all(prompt.endswith(" <think>") for prompt, _ in thoughts)
    hard = sum(prompt.endswith("get <think>") for prompt, _ in thoughts)
    assert 0.75 * rpt.THOUGHTS <= hard < rpt.THOUGHTS


# --- surprise -------------------------------------------------------------------------------------------------------


def test_surprise_is_the_entropy_of_the_sixteen_likeliest_and_the_chance_of_what_comes():
    policy, places = model(), rpt.positions((3, 5, 9, 4))
    entropies, chances = rpt.surprise(policy, TOKENIZER, places)
    for place, entropy, chance in zip(places, entropies.tolist(), chances.tolist(), strict=True):
        ids = torch.tensor([TOKENIZER(place.context)["input_ids"]])
        with torch.no_grad():
            probs = policy(input_ids=ids).logits[0, -1].softmax(-1)
        assert chance == pytest.approx(probs[TOKENIZER.vocab[place.continuation.split()[0]]].item(), abs=1e-5)
        top = sorted(probs.tolist())[-16:]
        assert entropy == pytest.approx(-sum(x / sum(top) * math.log(x / sum(top)) for x in top), abs=1e-4)


# --- the reward -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "paid"),
    [
        *(("3 8 7 1 </think> 1", 1), ("</think> 1", 1), ("</think> 1 in", 1), ("</think> 1 in the end .", 1)),
        *(("</think> 7", 0), ("</think> 1 the", 0), ("1", 0), ("3 8 7 1", 0), ("</think>", 0), ("</think> ", 0)),
        *(("3 </think> 8 </think> 1", 0), ("</think> in", 0), ("</think> 1 in the end . .", 0)),
    ],
)
def test_a_reply_is_paid_for_a_prefix_behind_its_first_thought(reply, paid):
    assert rpt.matched(reply, "1 in the end .") == paid


def test_a_prediction_without_eos_is_not_paid_and_each_reply_is_judged_by_its_own_place():
    places = [rpt.positions(digits)[8] for digits in ((3, 5, 9, 4), (0, 0, 0, 2))]
    replies = ["</think> 1", "</think> 1"]
    for ended, wanted in ((True, [1, 0]), (False, [0, 0])):
        said = lm.encode(TOKENIZER, rpt.asked(places), replies, ended=ended)
        assert rpt.reward(TOKENIZER, places)(said).tolist() == wanted


def test_a_context_that_goes_on_in_two_ways_is_refused():
    places = [rpt.positions(digits)[2] for digits in ((3, 5, 9, 4), (0, 0, 0, 2))]
    with pytest.raises(ValueError, match="found goes on in two ways after 'now we add', expected each context once"):
        rpt.reward(TOKENIZER, places)


# --- what trains ----------------------------------------------------------------------------------------------------


def test_thinking_learns_from_the_rewards_of_its_own_groups_on_policy_without_kl():
    policy, places = lm.shipped("reader")[0], rpt.places(30, generator())
    before = weights(policy)
    (record,) = rpt.think(policy, TOKENIZER, places, None, generator(), updates=1)
    assert record.rewards.shape == (rpt.RPT["groups"], rpt.RPT["group_size"])
    assert torch.equal(record.rewards.flatten(), rpt.reward(TOKENIZER, places)(record.rollout))
    rows, wanted = record.rewards, []
    for group in rows.tolist():
        mean = sum(group) / len(group)
        spread = math.sqrt(sum((x - mean) ** 2 for x in group) / (len(group) - 1))
        wanted.append([(x - mean) / spread if spread else 0.0 for x in group])
    torch.testing.assert_close(record.advantages, torch.tensor(wanted), rtol=1e-4, atol=1e-5)
    assert record.steps == 1
    assert record.kl == record.clipped == 0.0
    assert not torch.equal(weights(policy), before)


def test_texts_are_read_along_when_they_are_given():
    places, read = rpt.places(30, generator()), []

    def batches():
        for k in itertools.count():
            read.append(k)
            yield rpt.texts(TOKENIZER, 4, generator(k))

    records = rpt.think(lm.shipped("reader")[0], TOKENIZER, places, (0.5, batches()), generator(), updates=2)
    assert sum(record.steps for record in records) == len(read) == 2


def test_at_once_trains_the_next_word_alone_at_as_many_places_as_thinking_does():
    policy, places = model(), rpt.places(30, generator())
    other = copy.deepcopy(policy)
    (record,) = rpt.at_once(policy, TOKENIZER, places, generator(), steps=1)
    assert record.tokens == rpt.RPT["groups"]
    draw = generator()
    picked = [places[int(torch.randint(len(places), (), generator=draw))] for _ in range(rpt.RPT["groups"])]
    chances = rpt.surprise(other, TOKENIZER, picked)[1]
    assert record.loss == pytest.approx(-chances.log().mean().item(), abs=1e-5)


def test_what_is_measured_is_what_it_is_called():
    policy = lm.shipped("reader")[0]
    found, draw = rpt.measured(policy, TOKENIZER, 60, generator()), generator()
    for kind in rpt.KINDS:
        places = rpt.of_kind(kind, 60, draw)
        prompts = lm.encode_prompts(TOKENIZER, [f"{one.context} <think>" for one in places])
        drawn = lm.sample(policy, prompts, longest=8, temperature=1.0, generator=draw)
        said = [reply for _, reply in lm.read(TOKENIZER, drawn)]
        right = sum(
            bool(ended) and f"{one.continuation} ".startswith(f"{reply.split('</think> ', 1)[1]} ")
            for one, reply, ended in zip(places, said, drawn.ended, strict=True)
            if "</think> " in reply
        )
        assert found[kind] == pytest.approx(right / 60)
        assert found[f"{kind} at once"] == pytest.approx(rpt.surprise(policy, TOKENIZER, places)[1].mean().item())
        if kind == "worked out":
            assert found["words"] == drawn.mask.sum().item() / 60


# --- the shipped start, and the runs --------------------------------------------------------------------------------


def test_the_start_is_made_by_its_recipe_from_both_stages():
    stages = {name: (2, *stage[1:]) for name, stage in rpt.STAGES.items()}
    first, again = (rpt.reader(0, stages)[0] for _ in range(2))
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(rpt.reader(0, {"skill": stages["skill"]})[0]))
    assert lm.files.made("reader")["settings"] == json_like(rpt.READER | rpt.LESSONS | {"stages": rpt.STAGES})


def json_like(settings):
    return {k: {a: list(b) for a, b in v.items()} if k == "stages" else v for k, v in settings.items()}


def test_at_the_start_entropy_keeps_what_is_worked_out_and_the_dice_and_drops_what_is_easy():
    policy, tokenizer = lm.shipped("reader")
    places = rpt.places(150, generator(5))
    kept = rpt.surprise(policy, tokenizer, places)[0] > rpt_curves.TAU
    assert kept.tolist() == [one.kind != "easy" for one in places]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_sixteen_updates_of_thinking_pay_where_something_is_worked_out(seed):
    policy, tokenizer = lm.shipped("reader")
    before = rpt.measured(policy, tokenizer, 200, generator(50 + seed))["worked out"]
    places = rpt_curves.chosen(policy, tokenizer, "entropy", generator(seed))
    for _ in rpt.think(policy, tokenizer, places, None, generator(seed), updates=16):
        pass
    after = rpt.measured(policy, tokenizer, 200, generator(50 + seed))
    assert before < 0.5
    assert after["worked out"] > 0.8
    assert after["worked out at once"] < 0.2
    assert after["dice"] < 0.25


def test_chosen_places_are_those_of_the_run():
    policy, tokenizer = lm.shipped("reader")
    everything = rpt_curves.chosen(policy, tokenizer, "all", generator(3))
    assert everything == rpt.places(rpt_curves.TEXTS, generator(3))
    unsure = rpt_curves.chosen(policy, tokenizer, "entropy", generator(3))
    assert unsure == [one for one in everything if one.kind != "easy"]


@pytest.mark.parametrize("name", ["filtered, texts 0.1", "at once"])
def test_a_run_tells_rows_at_the_start_at_every_few_updates_and_at_its_end(name, monkeypatch):
    monkeypatch.setattr(rpt_curves, "EVERY", 2)
    monkeypatch.setattr(rpt_curves, "TEXTS", 40)
    monkeypatch.setattr(rpt_curves, "FRESH", 10)
    rows, policies = zip(*((row, weights(policy)) for row, policy in rpt_curves.run(name, 1, 3)), strict=True)
    assert [row["update"] for row in rows] == [0, 2, 3] + [48] * (name == "at once")
    assert all(set(row) == set(rpt_curves.COLUMNS) for row in rows)
    assert not torch.equal(policies[0], policies[1])
    assert rows[0]["reward"] == ""
    assert (rows[1]["reward"] == "") == (name == "at once")


def test_the_table_is_whole_and_says_what_the_chapter_says():
    with open(lm.SHIPPED / "reader_rpt.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == rpt_curves.COLUMNS
    last = {(row["run"], int(row["seed"])): row for row in rows}  # the last of each run
    assert set(last) == set(itertools.product(rpt_curves.RUNS, rpt_curves.SEEDS))
    updates = rpt.RPT["updates"]
    for name, seed in last:
        told = [int(row["update"]) for row in rows if (row["run"], int(row["seed"])) == (name, seed)]
        assert told == [*range(0, updates + 1, rpt_curves.EVERY)] + [rpt_curves.LONGER * updates] * (name == "at once")
    worst = {kind: min(float(last["filtered", seed][kind]) for seed in rpt_curves.SEEDS) for kind in rpt.KINDS}
    assert worst["worked out"] > 0.85
    assert max(float(last["at once", seed]["worked out at once"]) for seed in rpt_curves.SEEDS) < 0.25
