"""Who judges, and what: the answer alone or every step? Judges of running sums, and what a policy learns from each.

An outcome reward model (ORM) is told once per solution whether its answer is right; a process reward model (PRM) is
told of every running sum. Solutions come from a writer who slips now and then and goes on from there, so that a right
answer may stand behind wrong steps. A judge reads, step by step, what a language model expected and what was said.
Left out: labels by rolling out from each step (Math-Shepherd), people who label, judges that read words.
"""

import csv
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, pad
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from rlcore import lm, masked, policy_gradient, reasoning
from rlcore.lm import Prompts, Replies, Rollout
from rlcore.loops import sums
from rlcore.loops.updates import descend, passes
from rlcore.shapes import whole
from rlcore.worlds import sums as world

SEEDS = (0, 1, 2)
WRITER = {"direct": 0.0, "give_up": 0.0, "slip": 0.2}  # who writes the solutions
DIGITS = (5,)
LABELLED = (25, 50, 100, 200, 400, 800)  # solutions that a judge learns from
CANDIDATES, TEST = 8, 500  # solutions to each of so many new problems, to choose from
WIDTH = 32  # of a judge's memory
JUDGE = {"steps": 600, "batch": 32, "lr": 5e-3, "max_norm": 1.0}


class Steps(NamedTuple):
    """Replies cut into steps: each running sum, and the answer as the last one."""

    right: Tensor  # [B, S] 1.0 or 0.0
    mask: Tensor  # [B, S] bool
    tokens: Tensor  # [B, T] int64, the step a token belongs to, −1 behind the reply
    ends: Tensor  # [B, S] int64, where in the reply a step's own digit stands; 0 behind the mask


def steps(tokenizer: PreTrainedTokenizerFast, replies: Replies) -> Steps:
    """Take replies apart and judge every step by the rule; a reply that is none is a single wrong step.

    <think> belongs to the first running sum; </think>, the answer and EOS are the last step.

    Args: replies as `worlds.sums` reads them, with EOS or cut off.
    """
    rows = []
    said = zip(lm.read(tokenizer, replies), replies.ended.tolist(), replies.mask.sum(1).tolist(), strict=True)
    for (prompt, reply), ended, length in said:
        found, answer = world.parse(reply), world.reward(prompt, reply, ended)
        thought = found.sums if found and found.sums else ()
        judged = [float(one) for one in world.right_sums(world.read(prompt), thought)] + [answer]
        marks = [0] if thought else []
        number = len(thought)
        owner = [*marks, *range(number), *[number] * (length - number - len(marks))]
        at = [len(marks) + k for k in range(number)] + [max(length - 1 - ended, 0)]
        rows.append((torch.tensor(judged), torch.tensor(owner), torch.tensor(at)))
    right, owners, ends = zip(*rows, strict=True)
    mask = [torch.ones(len(one), dtype=torch.bool) for one in right]
    wide = replies.tokens.shape[1]
    tokens = torch.stack([pad(one, (0, wide - len(one)), value=-1) for one in owners])
    return Steps(_table(right), _table(mask), tokens, _table(ends))


def solutions(tokenizer: PreTrainedTokenizerFast, count: int, size: int, generator: torch.Generator) -> Replies:
    """`size` solutions by the WRITER to each of so many new problems, next to each other."""
    asked = [digits for digits in sums.problems(count, DIGITS, generator) for _ in range(size)]
    said = [world.demonstration(digits, generator, **WRITER) for digits in asked]
    return lm.encode(tokenizer, [world.prompt(digits) for digits in asked], said)


class Judge(nn.Module):
    """A small recurrent network over steps: [B, S, 21] `features` ↦ [B, S] logits, each from the steps so far."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.memory, self.head = nn.GRU(21, WIDTH, batch_first=True), nn.Linear(WIDTH, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.head(self.memory(features)[0])[..., 0]


@torch.no_grad()
def features(reader: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, replies: Replies, ends: Tensor) -> Tensor:
    """What a language model expected of each step and what was said, [B, S, 21].

    The chances of the ten digits where the step's digit stands, among digits; which digit it is, as a one; its chance.
    """
    digits = torch.tensor([tokenizer.vocab[digit] for digit in "0123456789"])
    expected = lm.logits(reader, replies)[..., digits].softmax(-1)
    said = (replies.tokens[..., None] == digits).to(expected)
    all_three = torch.cat([expected, said, (expected * said).sum(-1, keepdim=True)], -1)  # [B, T, 21]
    return all_three.gather(1, ends[..., None].expand(-1, -1, all_three.shape[-1]))


def outcome_mask(mask: Tensor) -> Tensor:
    """[B, S] ↦ [B, S]: True at the last step alone. What an ORM is told."""
    return mask & ~pad(mask[:, 1:], (0, 1))


def train_judge(
    judge: nn.Module,
    seen: Tensor,
    right: Tensor,
    told: Tensor,
    *,
    steps: int,
    batch: int,
    lr: float,
    max_norm: float,
    generator: torch.Generator,
) -> Iterator[float]:
    """Logistic regression on the labels that are told; changes the judge.

    Args:
        judge: `seen` ↦ [B, S] logits.
        seen:  [B, S, F] features of the steps.
        right: [B, S] labels, 1.0 or 0.0.
        told:  [B, S] bool, which labels are known: all steps make a PRM, `outcome_mask` an ORM.
        steps: of AdamW, on batches of replies; passes are dealt anew.
    Yields: the loss of each step, nats per label.
    Source: Lightman et al. 2023, arXiv:2305.20050, section 2; Cobbe et al. 2021, arXiv:2110.14168 (ORM).
    """
    whole(1, steps=steps, batch=batch)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=lr, weight_decay=0.01)
    epochs = -(-steps // -(-len(seen) // batch))
    for step, picked in passes(optimizer, len(seen), batch, epochs, generator):
        if step > steps:
            return
        known = told[picked]
        loss = binary_cross_entropy_with_logits(judge(seen[picked])[known], right[picked][known])
        descend(optimizer, step, max_norm, loss=loss)
        yield loss.item()


def first_wrong(right: Tensor, mask: Tensor) -> Tensor:
    """The first step that is not right, [B] int64; the number of steps where all are.

    >>> right = torch.tensor([[True, False, False], [True, True, False]])
    >>> first_wrong(right, torch.tensor([[True, True, True], [True, True, False]]))
    tensor([1, 2])
    """
    return (right.long().cumprod(1) * mask).sum(1)


@torch.no_grad()
def judged(judge: nn.Module, seen: Tensor, cut: Steps, size: int) -> dict[str, float]:
    """What a judge is worth; `size` solutions to each problem, next to each other.

    Returns: best of n by three scores, the share of problems whose chosen solution has the right answer: the last
             step's chance, the product over the steps, their minimum; found, the share of solutions with a wrong step
             whose first one is where the judge first says less than ½; lucky seen, the share of right answers by wrong
             steps that the minimum puts below ½.
    """
    probs = judge(seen).sigmoid()
    answer = cut.right.gather(1, cut.mask.sum(1, keepdim=True) - 1)[:, 0]
    last = probs.gather(1, cut.mask.sum(1, keepdim=True) - 1)[:, 0]
    scores = {"last": last, "product": reasoning.step_product(probs, cut.mask)}
    scores["minimum"] = reasoning.step_minimum(probs, cut.mask)
    truth = first_wrong(cut.right.bool(), cut.mask)
    flawed = truth < cut.mask.sum(1)
    lucky = flawed & (answer == 1)
    chosen = {name: score.view(-1, size).argmax(1, keepdim=True) for name, score in scores.items()}
    told = {name: answer.view(-1, size).gather(1, one).mean().item() for name, one in chosen.items()}
    told["found"] = (first_wrong(probs > 0.5, cut.mask) == truth)[flawed].double().mean().item()
    return told | {"lucky seen": (scores["minimum"] < 0.5)[lucky].double().mean().item()}


def train_policy(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Prompts,
    advantages: Callable[[Tensor, Tensor], Tensor],
    *,
    updates: int,
    groups: int,
    group_size: int,
    lr: float,
    max_norm: float,
    generator: torch.Generator,
) -> Iterator[Rollout]:
    """Policy gradient whose advantages differ from step to step; one step of Adam for each batch. Changes the policy.

    Args:
        advantages: (right [G, K, S], mask [G, K, S]) ↦ [G, K, S], for instance `reasoning.process_advantages` with a
                    ddof, or `by_outcome`.
    Yields: the replies of each update, drawn before it.
    Source: Shao et al. 2024 (GRPO), arXiv:2402.03300, section 4.1.3, with the rule as the process reward model.
    """
    whole(1, updates=updates, groups=groups, group_size=group_size)
    optimizer = torch.optim.Adam(policy.parameters(), lr)
    for update in range(1, updates + 1):
        asked = torch.randint(len(prompts.tokens), (groups,), generator=generator)
        rollout = sums.drawn(policy, tokenizer, Prompts(*(part[asked] for part in prompts)), group_size, 1.0, generator)
        cut = steps(tokenizer, rollout)
        per_step = advantages(*(x.view(groups, group_size, -1) for x in (cut.right, cut.mask))).flatten(0, 1)
        weights = reasoning.to_tokens(per_step, cut.tokens)
        loss = policy_gradient.score_function_loss(lm.logps(policy, rollout), weights)
        descend(optimizer, update, max_norm, policy_loss=masked.mean_over_tokens(loss, rollout.mask))
        yield rollout


def by_outcome(right: Tensor, mask: Tensor, ddof: int) -> Tensor:
    """GRPO's advantages, the same at every step: those of the answer, the last step, normalised within the group."""
    last = (outcome_mask(mask.flatten(0, 1)).view(mask.shape) * right).sum(-1, keepdim=True)  # [G, K, 1]
    alone = torch.ones_like(last, dtype=torch.bool)
    return torch.where(mask, reasoning.process_advantages(last, alone, ddof), 0)


def rows(seed: int) -> Iterator[dict[str, Any]]:
    """For each number of labelled solutions an ORM and a PRM, from the same start, the same solutions and steps."""
    reader, tokenizer = lm.shipped("sums_sft")
    generator = torch.Generator().manual_seed(seed)

    def written(count: int, size: int) -> tuple[Tensor, Steps]:
        replies = solutions(tokenizer, count, size, generator)
        cut = steps(tokenizer, replies)
        return features(reader, tokenizer, replies, cut.ends), cut

    fresh, cut_fresh = written(TEST, CANDIDATES)
    for labelled in LABELLED:
        seen, cut = written(labelled, 1)
        for kind, told in {"outcome": outcome_mask(cut.mask), "process": cut.mask}.items():
            judge, dealing = Judge(seed), torch.Generator().manual_seed(seed)
            *_, _ = train_judge(judge, seen, cut.right, told, **JUDGE, generator=dealing)
            row = {"judge": kind, "seed": seed, "labelled": labelled, "labels": int(told.sum())}
            yield row | {name: f"{x:.4f}" for name, x in judged(judge, fresh, cut_fresh, CANDIDATES).items()}


def make_table(name: str) -> None:
    """Write all rows of all seeds beside the shipped models."""
    found = [row for seed in SEEDS for row in tqdm(rows(seed), total=2 * len(LABELLED), desc=f"{name}, seed {seed}")]
    with open(lm.SHIPPED / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, found[0])
        writer.writeheader()
        writer.writerows(found)


def _table(rows: tuple[Tensor, ...] | list[Tensor]) -> Tensor:
    """Rows of different lengths as one tensor, zeros at the right."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
