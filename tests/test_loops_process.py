"""Judges of steps: replies cut by hand, labels that are told, scores by definition, and a policy's first step."""

import copy
import csv

import pytest
import torch
from torch import nn

from rlcore import lm
from rlcore.lm import Prompts
from rlcore.loops import process
from rlcore.worlds import sums as world

TOKENIZER = lm.tokenizer(world.WORDS)
TEXT = "add 3 5 9 ="  # 7; running sums 3 8 7
SAID = [
    "<think> 3 8 7 </think> 7",
    "7",
    "<think> 3 1 </think> 4",
    "<think> 4 9 7 </think> 7",
    "3 8 7",
    "<think> </think> 1",
]
REPLIES = lm.encode(TOKENIZER, [TEXT] * len(SAID), SAID)
RIGHT = [[1, 1, 1, 1], [1], [1, 0, 0], [0, 0, 1, 1], [0], [0]]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_replies_are_cut_into_running_sums_and_the_answer():
    cut = process.steps(TOKENIZER, REPLIES)
    assert [row[mask].tolist() for row, mask in zip(cut.right, cut.mask, strict=True)] == RIGHT
    assert cut.mask.sum(1).tolist() == [len(row) for row in RIGHT]
    assert cut.tokens[0].tolist() == [0, 0, 1, 2, 3, 3, 3]  # <think> 3, 8, 7, </think> 7 EOS
    assert cut.tokens[1].tolist() == [0, 0, -1, -1, -1, -1, -1]
    assert cut.tokens[2].tolist() == [0, 0, 1, 2, 2, 2, -1]
    assert cut.tokens[4].tolist() == [0, 0, 0, 0, -1, -1, -1]
    assert ((cut.tokens >= 0) == REPLIES.mask).all()


def test_a_step_ends_at_its_own_digit():
    cut = process.steps(TOKENIZER, REPLIES)
    at = REPLIES.tokens.gather(1, cut.ends)
    words = [TOKENIZER.convert_ids_to_tokens(row[mask].tolist()) for row, mask in zip(at, cut.mask, strict=True)]
    assert words == [[*"3877"], ["7"], [*"314"], [*"4977"], ["7"], ["1"]]


def test_a_reply_that_was_cut_off_has_a_wrong_last_step_and_ends_at_its_last_token():
    cut = process.steps(TOKENIZER, lm.encode(TOKENIZER, [TEXT], ["<think> 3 8 7 </think> 7"], ended=False))
    assert cut.right.tolist() == [[1, 1, 1, 0]]
    assert cut.ends[0, -1] == 5
    assert cut.tokens.tolist() == [[0, 0, 1, 2, 3, 3]]


def test_an_orm_is_told_of_the_last_step_alone():
    mask = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])
    wanted = [[False, False, True], [False, True, False], [True, False, False]]
    assert process.outcome_mask(mask).tolist() == wanted


def test_the_first_wrong_step():
    right = torch.tensor([[True, False, True], [True, True, False], [True, True, True], [False, True, True]])
    mask = torch.tensor([[True, True, True], [True, True, False], [True, True, True], [True, True, True]])
    assert process.first_wrong(right, mask).tolist() == [1, 2, 3, 0]


def test_solutions_stand_together_and_right_answers_by_wrong_steps_exist():
    found = process.solutions(TOKENIZER, 500, 4, generator())
    assert (found.prompts.view(500, 4, -1) == found.prompts.view(500, 4, -1)[:, :1]).all()
    cut = process.steps(TOKENIZER, found)
    answer = cut.right[:, -1]
    exact = world.demonstration_accuracy(5, **process.WRITER)
    assert answer.mean().item() == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 500) ** 0.5)
    flawed = process.first_wrong(cut.right.bool(), cut.mask) < 6
    assert 0.02 < (flawed & (answer == 1)).double().mean() < 0.15


def test_a_judge_that_knows_all_chooses_right_answers_and_finds_every_first_wrong_step():
    cut = process.steps(TOKENIZER, REPLIES)
    told = process.judged(lambda seen: 2 * seen - 1, cut.right, cut, 3)
    # Of the last three the last step alone is for the lucky 4 9 7 7; two wrong steps are below one.
    assert told == {"last": 1.0, "product": 0.5, "minimum": 1.0, "found": 1.0, "lucky seen": 1.0}


def test_scores_are_last_product_and_minimum():
    """Two solutions: a right one of one step at .6, a wrong one of three at .9 but its last at .7."""
    chances = torch.tensor([[0.6, 0.5, 0.5], [0.9, 0.9, 0.7]])
    cut = process.steps(TOKENIZER, REPLIES.rows(torch.tensor([1, 2])))
    told = process.judged(torch.logit, chances, cut, 2)
    assert (told["last"], told["product"], told["minimum"]) == (0.0, 1.0, 0.0)  # .6 < .7;  .6 > .567;  .6 < .7
    assert told["found"] == 0.0  # the wrong one's second step looked right


def test_features_are_what_was_expected_among_digits_and_what_was_said():
    model = lm.build(TOKENIZER, hidden=16, layers=1, heads=2, context=40, seed=0)
    cut = process.steps(TOKENIZER, REPLIES)
    seen = process.features(model, TOKENIZER, REPLIES, cut.ends)
    text = TOKENIZER(f"{TEXT} <think> 3 8")["input_ids"]
    after = model(input_ids=torch.tensor([text])).logits[0, -1]
    digits = torch.stack([after[TOKENIZER.vocab[str(digit)]] for digit in range(10)])
    torch.testing.assert_close(seen[0, 2, :10], digits.softmax(0), rtol=1e-4, atol=1e-6)
    assert seen[0, 2, 10:20].tolist() == [float(digit == 7) for digit in range(10)]
    assert seen[0, 2, 20] == seen[0, 2, 7]


def test_a_judge_says_of_a_step_what_the_steps_so_far_say():
    seen = torch.randn(2, 5, 21, generator=generator())
    judge = process.Judge(0)
    assert torch.allclose(judge(seen)[:, :3], judge(seen[:, :3]), atol=1e-6)
    assert not torch.allclose(judge(seen)[:, 4], judge(seen[:, 4:])[:, 0])
    assert torch.equal(judge(seen), process.Judge(0)(seen))


def test_a_judge_learns_from_the_labels_it_is_told_and_from_no_other():
    cut = process.steps(TOKENIZER, REPLIES)
    seen = torch.randn(*cut.right.shape, 21, generator=generator())
    how = {"steps": 1, "batch": 6, "lr": 1e-3, "max_norm": 1.0}
    for told in (cut.mask, process.outcome_mask(cut.mask)):
        logits, wanted = process.Judge(0)(seen), 0.0
        for row, mask, right in zip(logits, told.tolist(), cut.right.tolist(), strict=True):
            for logit, known, label in zip(row, mask, right, strict=True):
                if known:
                    chance = logit.sigmoid()
                    wanted = wanted - (chance if label else 1 - chance).log() / told.sum()
        (loss,) = process.train_judge(process.Judge(0), seen, cut.right, told, **how, generator=generator())
        assert loss == pytest.approx(wanted.item(), abs=1e-6)


def test_a_judge_takes_so_many_steps_whatever_the_number_of_solutions():
    cut = process.steps(TOKENIZER, REPLIES)
    seen = torch.randn(*cut.right.shape, 21, generator=generator())
    how = {"steps": 7, "batch": 4, "lr": 1e-3, "max_norm": 1.0, "generator": generator()}
    assert len(list(process.train_judge(process.Judge(0), seen, cut.right, cut.mask, **how))) == 7


def test_by_outcome_every_step_gets_what_the_answer_got():
    right = torch.tensor([[[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]], [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]])
    mask = torch.tensor([[[True, True, True], [True, False, False]], [[True, True, False], [True, True, False]]])
    found = process.by_outcome(right, mask, 0)
    assert found.tolist() == [[[1, 1, 1], [-1, 0, 0]], [[1, 1, 0], [-1, -1, 0]]]


def test_one_update_of_the_policy_is_the_definition():
    start, _ = lm.shipped("sums_sft")  # whose replies have steps
    policy, hand = copy.deepcopy(start), copy.deepcopy(start)
    prompts = lm.encode_prompts(TOKENIZER, [TEXT, "add 1 2 ="])
    seen = []

    def advantages(right, mask):
        seen.append(torch.randn(right.shape, generator=generator(5)))
        return seen[-1]

    how = {"updates": 1, "groups": 3, "group_size": 2, "lr": 1e-2, "max_norm": 1e9}
    (rollout,) = process.train_policy(policy, TOKENIZER, prompts, advantages, **how, generator=generator())
    cut = process.steps(TOKENIZER, rollout)
    assert cut.mask.shape[1] > 2
    logps, per_step, loss = lm.logps(hand, rollout), seen[0].view(6, -1), 0.0
    for row in range(6):
        for token in range(int(rollout.mask[row].sum())):
            loss = loss - per_step[row, cut.tokens[row, token]] * logps[row, token]
    (loss / rollout.mask.sum()).backward()
    ours, theirs = (torch.cat([p.grad.flatten() for p in one.parameters()]) for one in (policy, hand))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    before = nn.utils.parameters_to_vector(start.parameters())
    assert not torch.equal(nn.utils.parameters_to_vector(policy.parameters()), before)
    assert isinstance(prompts, Prompts)


# --- the shipped table ----------------------------------------------------------------------------------------------


def test_the_table_has_every_run_and_its_first_rows_come_out_again():
    with open(lm.SHIPPED / "sums_judges.csv", encoding="utf-8") as file:
        kept = list(csv.DictReader(file))
    found = [(row["judge"], int(row["seed"]), int(row["labelled"]), int(row["labels"])) for row in kept]
    digits = process.DIGITS[0]
    assert found == [
        (kind, seed, labelled, labelled * labels)
        for seed in process.SEEDS
        for labelled in process.LABELLED
        for kind, labels in (("outcome", 1), ("process", digits + 1))
    ]
    for anew, row in zip(process.rows(0), kept[:2], strict=False):
        for name in ("last", "product", "minimum", "found", "lucky seen"):
            assert abs(float(anew[name]) - float(row[name])) < 0.05, (row, anew)
