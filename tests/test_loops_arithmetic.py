"""The number game as an experiment: what is drawn, how it is judged, and the shipped model that gives up too soon."""

import json
import math

import pytest
import torch

from rlcore import lm
from rlcore.lm import files
from rlcore.loops import arithmetic, checkpoints
from rlcore.worlds import arithmetic as world

TOKENIZER = lm.tokenizer(world.WORDS)
TEXT = "make 14 from 13 11 2 12 ="


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_problems_take_the_sizes_in_turn():
    found = arithmetic.problems(8, (4, 5, 6), generator())
    assert [len(one.numbers) for one in found] == [4, 5, 6, 4, 5, 6, 4, 5]
    assert len(set(found)) == 8


def test_prompts_are_the_problems_of_the_same_generator():
    prompts = arithmetic.prompts(TOKENIZER, 6, (4, 6), generator(3))
    texts = [TOKENIZER.decode(row[mask]) for row, mask in zip(prompts.tokens, prompts.mask, strict=True)]
    assert texts == [world.prompt(one) for one in arithmetic.problems(6, (4, 6), generator(3))]
    assert prompts.mask.sum(1).tolist() == [8, 10] * 3


@pytest.mark.parametrize("give_up", [0.0, 0.35])
def test_demonstrations_search_in_order_and_only_the_impatient_stop(give_up):
    said = lm.read(TOKENIZER, arithmetic.demonstrated(TOKENIZER, 90, generator(), systematic=1.0, give_up=give_up))
    problems = [world.read(prompt) for prompt, _ in said]
    assert sorted({len(one.numbers) for one in problems}) == list(arithmetic.SIZES)
    for problem, (prompt, reply) in zip(problems, said, strict=True):
        tried = world.tries(reply)
        assert all(world.right(problem, one) for one in tried)
        assert (tried[0].first, tried[0].second) == problem.numbers[:2]
        assert reply.endswith(world.GIVE_UP) != (world.reward(prompt, reply, ended=True) == 1)
    stops = sum(reply.endswith(world.GIVE_UP) for _, reply in said)
    assert (stops > 40) if give_up else (stops == 0)


def test_the_longest_demonstration_fits():
    worst = world.Problem(29, (1, 2, 3, 4, 14, 15))
    reply = world.demonstration(worst, generator(), systematic=1.0, give_up=0.0)
    assert len(reply.split()) + 1 == 91 <= arithmetic.LONGEST
    assert len(world.prompt(worst).split()) + arithmetic.LONGEST <= checkpoints.SEARCH["context"]


# One problem, four replies: right at the second try; gives up; a false sum; words that are no tries.
SAID = ["13 + 11 = 24 high 2 + 12 = 14 yes", "13 + 2 = 15 high stop", "13 + 2 = 14 yes", "yes yes 2 + 12 = 14 yes"]
REPLIES = lm.encode(TOKENIZER, [TEXT] * 4, SAID)


def test_right_answers_are_counted_as_the_rule_counts_them():
    assert arithmetic.correct(TOKENIZER, REPLIES).tolist() == [1, 0, 0, 1]
    cut_off = lm.encode(TOKENIZER, [TEXT] * 4, SAID, ended=False)
    assert arithmetic.correct(TOKENIZER, cut_off).tolist() == [0, 0, 0, 0]


def test_what_is_measured_of_replies_is_counted_by_hand():
    told = arithmetic.measured(TOKENIZER, REPLIES, 2)
    assert told == {
        "pass@1": 0.5,
        "pass@2": 1.0,  # each pair of replies has a right one
        "length": (13 + 8 + 7 + 9) / 4,  # EOS included
        "gave up": 0.25,
        "tries": 4 / 3,  # of the three replies that are nothing but tries
        "true": 3 / 4,
    }
    assert arithmetic.measured(TOKENIZER, REPLIES, 4)["pass@4"] == 1.0
    assert arithmetic.measured(TOKENIZER, REPLIES.rows(slice(1, 3)), 2)["pass@2"] == 0.0


def test_without_a_row_of_tries_there_is_no_number_of_tries():
    told = arithmetic.measured(TOKENIZER, REPLIES.rows(slice(3, 4)), 1)
    assert math.isnan(told["tries"])
    assert math.isnan(told["true"])


def test_a_group_size_that_is_none_is_refused():
    with pytest.raises(ValueError, match="size is 0, expected a whole number, 1 or more"):
        arithmetic.measured(TOKENIZER, REPLIES, 0)
    with pytest.raises(ValueError, match="replies has 4 rows, expected a multiple of size, which is 3"):
        arithmetic.measured(TOKENIZER, REPLIES, 3)
    with pytest.raises(ValueError, match="sizes is 0, expected a whole number, 1 or more"):
        arithmetic.problems(3, (), generator())


def test_replies_to_one_problem_stand_next_to_each_other():
    model, tokenizer = lm.shipped("arithmetic_sft")
    drawn = arithmetic.drawn(model, tokenizer, 5, 3, 4, generator())
    asked = drawn.prompts.view(3, 4, -1)
    assert (asked == asked[:, :1]).all()
    assert len({tuple(one[0].tolist()) for one in asked}) == 3
    assert drawn.prompt_mask.sum(1).tolist() == [9] * 12


# --- the shipped model ----------------------------------------------------------------------------------------------


def test_the_shipped_searcher_is_as_good_as_it_says_and_can_search_but_gives_up():
    told = files.made("arithmetic_sft")["quality"]
    measured = checkpoints.search_quality(
        *lm.shipped("arithmetic_sft"), seed=7, count=250
    )  # other problems than in made.json
    for numbers, best in ((4, 0.6), (5, 0.4), (6, 0.3)):
        of = f", {numbers} numbers"
        assert abs(measured["pass@1" + of] - told["pass@1" + of]) < 0.09  # three standard errors of the two
        assert abs(measured["length" + of] - told["length" + of]) < 1.5
        assert measured["pass@1" + of] < best < measured["pass@8" + of] + 0.1
        assert measured["true" + of] > 0.97  # what it tries is true
        assert measured["gave up" + of] > 0.4
    assert told["loss of the first stage, nats per token"] < 0.005


def test_the_settings_told_are_those_of_the_recipe():
    told = files.made("arithmetic_sft")
    assert told["settings"] == json.loads(json.dumps(checkpoints.SEARCH | checkpoints.LESSONS | arithmetic.STAGES))
    assert told["seed"] == 0


def test_a_searcher_made_anew_with_less_of_everything_has_most_of_the_skill_on_three_seeds(monkeypatch):
    """Four numbers alone, half the steps and half the batch; a patient one would not give up at all."""
    monkeypatch.setattr(arithmetic, "SIZES", (4,))
    monkeypatch.setitem(checkpoints.LESSONS, "batch", checkpoints.LESSONS["batch"] // 2)
    halved = {name: stage | {"steps": stage["steps"] // 2} for name, stage in arithmetic.STAGES.items()}
    for seed in range(3):
        model, tokenizer, loss = checkpoints.searcher(seed, halved)
        told = checkpoints.search_quality(model, tokenizer, seed, count=100)
        assert loss < 0.06, seed
        assert told["true, 4 numbers"] > 0.75, (seed, told)
        assert 0.2 < told["pass@1, 4 numbers"] < 0.6, (seed, told)
        assert told["pass@8, 4 numbers"] > 0.6, (seed, told)
        assert 0.35 < told["gave up, 4 numbers"] < 0.75, (seed, told)
