"""Digits to add up as an experiment: what is drawn, how it is judged, and the shipped model that mostly guesses."""

import copy
import json
import math
from functools import partial

import pytest
import torch

from rlcore import grpo as equations
from rlcore import lm, masked
from rlcore.lm import files
from rlcore.loops import adders, grpo, rlhf, sums
from rlcore.worlds import sums as world

TOKENIZER = lm.tokenizer(world.WORDS)
TEXT = "add 3 5 9 ="  # 7; running sums 3 8 7
SAID = ["<think> 3 8 7 </think> 7", "7", "<think> 3 1 </think> 4", "3 8 7"]
REPLIES = lm.encode(TOKENIZER, [TEXT] * 4, SAID)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_problems_have_the_lengths_evenly():
    found = sums.problems(3000, (3, 4, 8), generator())
    for length in (3, 4, 8):
        share = sum(len(digits) == length for digits in found) / 3000
        assert abs(share - 1 / 3) < 4 * math.sqrt(2 / 9 / 3000)


def test_prompts_are_the_problems_of_the_same_generator():
    prompts = sums.prompts(TOKENIZER, 6, (3, 7), generator(3))
    texts = [TOKENIZER.decode(row[mask]) for row, mask in zip(prompts.tokens, prompts.mask, strict=True)]
    assert texts == [world.prompt(digits) for digits in sums.problems(6, (3, 7), generator(3))]


def test_patient_demonstrations_are_right_and_fit():
    replies = sums.demonstrated(TOKENIZER, 60, sums.LENGTHS, generator(), **world.PATIENT)
    assert sums.correct(TOKENIZER, replies).tolist() == [1.0] * 60
    longest = sums.demonstrated(TOKENIZER, 1, (max(sums.LENGTHS),), generator(), **world.PATIENT)
    assert longest.mask.sum() == 14 <= sums.LONGEST
    assert longest.prompts.shape[1] + sums.LONGEST <= adders.SIZE["context"]


def test_hasty_demonstrations_answer_at_once_as_often_as_they_were_told():
    replies = sums.demonstrated(TOKENIZER, 2000, (5,), generator(), **world.HASTY)
    direct = (replies.mask.sum(1) == 2).double().mean().item()
    assert abs(direct - 0.5) < 4 * math.sqrt(0.25 / 2000)


def test_right_answers_are_counted_as_the_rule_counts_them():
    assert sums.correct(TOKENIZER, REPLIES).tolist() == [1, 1, 0, 0]
    cut_off = lm.encode(TOKENIZER, [TEXT] * 4, SAID, ended=False)
    assert sums.correct(TOKENIZER, cut_off).tolist() == [0, 0, 0, 0]


def test_who_gives_no_answer_votes_for_ten():
    assert sums.answers(TOKENIZER, REPLIES).tolist() == [7, 7, 4, 10]
    assert sums.answers(TOKENIZER, lm.encode(TOKENIZER, [TEXT] * 4, SAID, ended=False)).tolist() == [10] * 4


def test_what_is_measured_of_replies_is_counted_by_hand():
    assert sums.measured(TOKENIZER, REPLIES, 2) == {
        "pass@1": 0.5,
        "pass@2": 0.5,  # the first pair, not the second
        "length": (7 + 2 + 6 + 4) / 4,  # EOS included
        "thinks": 0.5,
        "whole": 0.25,
        "true": 4 / 5,  # 3 8 7, 3
    }
    assert math.isnan(sums.measured(TOKENIZER, REPLIES.rows(slice(1, 2)), 1)["true"])
    with pytest.raises(ValueError, match="replies has 4 rows, expected a multiple of size, which is 3"):
        sums.measured(TOKENIZER, REPLIES, 3)


def test_what_is_said_at_once_is_the_first_token_among_the_digits():
    model = lm.build(TOKENIZER, hidden=16, layers=1, heads=2, context=24, seed=0)
    prompts = lm.encode_prompts(TOKENIZER, ["add 3 5 =", "add 1 2 3 4 ="])
    found = sums.at_once(model, TOKENIZER, prompts)
    for k, text in enumerate(("add 3 5 =", "add 1 2 3 4 =")):
        alone = model(input_ids=torch.tensor([TOKENIZER(text)["input_ids"]])).logits[0, -1]
        digits = torch.stack([alone[TOKENIZER.vocab[str(digit)]] for digit in range(10)])
        torch.testing.assert_close(found[k], digits.softmax(0), rtol=1e-4, atol=1e-6)
    assert torch.allclose(found.sum(1), torch.ones(2))


def test_replies_to_one_problem_stand_next_to_each_other():
    model = lm.build(TOKENIZER, hidden=16, layers=1, heads=2, context=40, seed=0)
    drawn = sums.drawn(model, TOKENIZER, sums.prompts(TOKENIZER, 3, (5,), generator()), 4, 1.0, generator())
    asked = drawn.prompts.view(3, 4, -1)
    assert (asked == asked[:, :1]).all()
    assert len({tuple(one[0].tolist()) for one in asked}) == 3


# --- the shipped model ----------------------------------------------------------------------------------------------


def test_the_shipped_adder_is_as_good_as_it_says_and_can_add_but_guesses():
    told = files.made("sums_sft")["quality"]
    measured = adders.quality(*lm.shipped("sums_sft"), seed=7, count=250)  # other problems
    assert told["loss of the first stage, nats per token"] < 0.005
    for digits in (3, 5, 8):
        of = f", {digits} digits"
        perfect = world.demonstration_accuracy(digits, **world.HASTY)
        assert abs(measured["pass@1" + of] - told["pass@1" + of]) < 0.06
        assert abs(measured["thinks" + of] - told["thinks" + of]) < 0.06
        assert 0.08 < measured["pass@1" + of] < perfect + 0.06
        assert 0.35 < measured["thinks" + of] < 0.65
        assert measured["true" + of] > 0.75


def test_the_settings_told_are_those_of_the_recipe():
    told = files.made("sums_sft")
    assert told["settings"] == json.loads(json.dumps(adders.SIZE | adders.LESSONS | sums.STAGES))
    assert told["seed"] == 0


def test_an_adder_made_anew_on_one_length_adds_and_then_guesses_on_three_seeds(monkeypatch):
    """One length alone is learnt in a fraction of the steps."""
    monkeypatch.setattr(sums, "LENGTHS", (4,))
    short = {"skill": sums.STAGES["skill"] | {"steps": 250}, "haste": sums.STAGES["haste"] | {"steps": 60}}
    for seed in range(3):
        model, tokenizer, loss = adders.adder(seed, short)
        assert loss < 0.05, seed
        asked = sums.prompts(tokenizer, 200, (4,), generator(seed))
        told = sums.measured(tokenizer, sums.drawn(model, tokenizer, asked, 8, 1.0, generator(seed)), 8)
        assert 0.15 < told["pass@1"] < 0.5, (seed, told)
        assert 0.3 < told["thinks"] < 0.7, (seed, told)


def test_grpo_teaches_it_to_think_on_three_seeds():
    """Eight digits are never trained."""
    model, tokenizer = lm.shipped("sums_sft")
    for seed in range(3):
        policy, draw = copy.deepcopy(model), generator(seed)
        records = grpo.train(
            *(policy, partial(sums.correct, tokenizer), sums.prompts(tokenizer, sums.POOL, sums.REWARDED, draw)),
            *(equations.group_centered, rlhf.clipped(0.2, 0.2), masked.mean_over_tokens, equations.has_signal),
            **sums.GRPO,
            generator=draw,
        )
        lengths = [record.length for record in records]
        told = {}
        for digits in (5, 8):
            asked = sums.prompts(tokenizer, 250, (digits,), draw)
            told[digits] = sums.measured(tokenizer, sums.drawn(policy, tokenizer, asked, 4, 1.0, draw), 4)
        assert told[5]["thinks"] > 0.95, (seed, told)
        assert told[5]["pass@1"] > 0.5, (seed, told)
        assert told[8]["whole"] > 0.85, (seed, told)  # the habit carries over; the skill not on every seed
        assert told[8]["pass@1"] > 0.12, (seed, told)
        assert lengths[-1] > 1.4 * lengths[0], (seed, lengths)


def test_the_shipped_thinker_is_the_recipes_and_thinks():
    made = files.made("sums_grpo")
    assert made["settings"] == sums.GRPO | adders.CLIP
    measured = adders.quality(*lm.shipped("sums_grpo"), seed=7, count=150)
    for name in ("pass@1, 5 digits", "thinks, 5 digits", "length, 8 digits"):
        assert measured[name] == pytest.approx(made["quality"][name], rel=0.05), name
    assert measured["pass@1, 5 digits"] > 0.9
