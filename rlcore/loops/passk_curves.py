"""What do many tries hold? A model's answers counted before and after GRPO, by temperature: for explorer `passk`."""

import csv
import itertools

import torch
from torch import Tensor
from tqdm.auto import tqdm

from rlcore import lm
from rlcore.loops import sums

MODELS = ("sums_sft", "sums_grpo")
DIGITS = (5, 8)  # to add up: five were rewarded, eight never
TEMPERATURES = (0.4, 0.7, 1.0, 1.3, 1.6)
PROBLEMS, REPLIES, SEED = 50, 64, 0  # problems of each size; replies to each problem
ANSWERS = 11  # ten digits, and none
COLUMNS = ("model", "digits", "temperature", "right", *(str(k) for k in range(ANSWERS)))
"""right: the answer that is; then how many of the replies give which answer, 10 for those that give none."""


def counted(model: str, digits: int, temperature: float, problems: int) -> tuple[Tensor, Tensor]:
    """Replies to the same problems for every model and temperature.

    Returns: [B] int64 right answers, [B, ANSWERS] int64 how often each was given.
    """
    policy, tokenizer = lm.shipped(model)
    generator = torch.Generator().manual_seed(SEED)
    asked = sums.prompts(tokenizer, problems, (digits,), generator)
    drawn = sums.drawn(policy, tokenizer, asked, REPLIES, temperature, generator)
    given = torch.nn.functional.one_hot(sums.answers(tokenizer, drawn), ANSWERS)
    true = [sum(sums.world.read(prompt)) % 10 for prompt, _ in lm.read(tokenizer, drawn)[::REPLIES]]
    return torch.tensor(true), given.view(problems, REPLIES, ANSWERS).sum(1)


def make_table(name: str) -> None:
    """Write a row for each problem, model and temperature beside the shipped models."""
    with open(lm.SHIPPED / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for model, digits in itertools.product(MODELS, DIGITS):
            for temperature in tqdm(TEMPERATURES, desc=f"{model}, {digits} digits"):
                right, given = counted(model, digits, temperature, PROBLEMS)
                rows = zip(right.tolist(), given.tolist(), strict=True)
                writer.writerows((model, digits, temperature, true, *counts) for true, counts in rows)
