# ---
# jupyter:
#   course:
#     number: 12
#     slug: reasoning
#     title: Reasoning
#     question: "Why do replies grow longer when only the answer is rewarded?"
#     modules: [reasoning, grpo, worlds, loops]
#     explorer: pass@k and majority vote
#     read: 75
#     run: 100
# ---

# %% [markdown]
# # 12 · Reasoning
#
# **Why do replies grow longer when only the answer is rewarded?**
#
# After this chapter you can
#
# - say when thinking aloud pays, and watch it appear though nobody rewards it;
# - estimate pass@k without bias, set it beside pass@1 and the majority vote, and say what RL did to each;
# - train a judge of answers and a judge of steps on the same solutions, and say what each is good for;
# - tell rewards on the way that leave the goal alone from rewards that replace it;
# - describe reinforcement pre-training as the paper has it, and measure it against plain next-token training.
#
# **Needs** [chapter 01](01_mdp.ipynb): value iteration; [chapter 06](06_language_models.ipynb): a language model as a policy; [chapter 08](08_rlhf.ipynb): SFT, KL, PPO-ptx; [chapter 11](11_grpo.ipynb): group advantages, denominators, the number game. **Minutes** 75 to read and do, 2 to run.

# %%
import copy
import csv
import itertools
import math
import time
from functools import partial

import torch

from rlcore import check, grpo, lm, masked, mdp, reasoning
from rlcore.loops import arithmetic, process, rlhf, sums
from rlcore.loops import grpo as loop
from rlcore.mdp import MDP
from rlcore.view import plots, style
from rlcore.view.explore import explore, passk
from rlcore.worlds import gridworld
from rlcore.worlds import sums as adding

torch.set_num_threads(1)
torch.set_printoptions(precision=4, sci_mode=False, linewidth=110)

# %% [markdown]
# ## Before you run
#
# A small language model adds digits and gives the last digit of the sum. It *can* do it step by step, with running sums between `<think>` and `</think>`. But half of the time it blurts out a digit, and often it stops half-way and guesses. Now it gets 30 updates of GRPO. A rule pays 1 for a right last digit and nothing else: no word about thinking, steps or length.
# **Guess: how often does it think afterwards? And if you let it try 64 times, is one of the tries right more often than before?** Write both guesses down.
#
# ## The smallest example, by hand
#
# Two digits to add, modulo 10, and an answer at once that is a guess: right once in ten. Thinking is right nine times in ten, say, and costs tokens that are neither paid nor charged. The policy thinks with chance $p=½$. It earns $½\cdot0.9+½\cdot0.1=0.5$ on average, so the advantage of thinking is $0.9-0.5=+0.4$, that of blurting $0.1-0.5=-0.4$.
# The policy gradient in the logit of thinking is
# $$p\,(1-p)\,(0.9-0.1)=0.2 .$$
# The reward never sees a thought. The gradient does: the *choice* to think stands in the reply, and it is followed by right answers. That is the whole mechanism: **replies grow longer because long ones are right more often**. If length did not help, nothing would move it (chapter 11, [three denominators](11_grpo.ipynb)).

# %% tags=["concept:process-vs-outcome-reward"]
logit = torch.zeros((), requires_grad=True)
thinks = logit.sigmoid()
earned = thinks * 0.9 + (1 - thinks) * 0.1
(slope,) = torch.autograd.grad(earned, logit)
print(f"earned {earned:.2f}, slope in the logit of thinking {slope:.2f}")
assert abs(slope - 0.2) < 1e-6

# %% [markdown]
# And pass@k: is at least one of k replies right? You drew n = 5 replies to a problem, c = 2 of them are right. Of the 10 pairs you could have picked, 3 hold no right reply. So pass@2 is estimated as $1-\frac3{10}=0.7$. Putting $c/n=0.4$ into $1-(1-p)^2$ gives 0.64, which is too low on average: the same reply may be drawn twice.
# $$\text{pass@}k\;\approx\;1-\binom{n-c}{k}\Big/\binom nk .$$
#
# ### Write it: `pass_at_k`
#
# *Difficulty ★★☆ · importance ★★★ · 5 minutes.* `samples` is n, a number or a tensor; `correct` is a tensor of counts c; the result is a float64. Do not compute factorials: of 64 replies they overflow int64.

# %% tags=["exercise"]
@check.exercise(reasoning.pass_at_k)
def pass_at_k(samples, correct, k):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# Draw one reply after the other: the i-th one is wrong, too, with chance $(n-c-i)/(n-i)$. A factor of 0 among them is right: then there are fewer than k wrong ones.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def pass_at_k(samples, correct, k):
#     wrong, miss = (samples - correct).double(), 1.0
#     for i in range(k):
#         miss = miss * (wrong - i).clamp(min=0) / (samples - i)
#     return 1 - miss
# ```
# </details>
#
# ### Use it: is it without bias?
#
# A reply is right with p = 0.2, ten are drawn. Over all counts c from 0 to 10, weighted by how likely they are:

# %%
p, counts = 0.2, torch.arange(11)
likely = (
    torch.distributions.Binomial(10, torch.tensor(p, dtype=torch.float64)).log_prob(counts.double()).exp()
)
for k in (1, 2, 5, 10):
    mean, plug = likely @ pass_at_k(10, counts, k), likely @ (1 - (1 - counts.double() / 10) ** k)
    print(
        f"k {k:2}: true {1 - (1 - p) ** k:.4f}, mean of the estimator {mean:.4f}, of the plug-in {plug:.4f}"
    )
    assert abs(mean - (1 - (1 - p) ** k)) < 1e-7 and plug < mean + 1e-7

# %% [markdown]
# Exactly right for each k up to n, the plug-in is too low. For k > n there is no unbiased estimate.
#
# ## Thinking, and answering at once
#
# The shipped model first learnt to think without a fault (1,000 steps), then it was shown careless people (150 steps): half of them answer at once, some stop half-way, some slip. `python -m rlcore.loops.checkpoints sums_sft` makes it anew. *Mind:* of two seeds of the first stage with the same settings, seed 0 learnt it and is shipped; seed 1 learnt some lengths only. What follows is three seeds of RL from that one model.

# %%
sft, tokenizer = lm.shipped("sums_sft")
generator = torch.Generator().manual_seed(0)
asked = sums.prompts(tokenizer, 500, (5,), generator)
replies = sums.drawn(sft, tokenizer, asked, 4, 1.0, generator)
for prompt, reply in lm.read(tokenizer, replies)[:24:4]:
    print(f"{prompt:18} {reply:36} right: {sum(adding.read(prompt)) % 10}")

# %% [markdown]
# Is it the thinking that makes answers right? Compare within one model: forbid it (the first token must be a digit), let it choose, demand it (write `<think>` for it; it may still stop early). And split the replies it thought out to the end from those it did not:

# %%
def forced(model, prompts, count):
    """Replies that begin with <think>."""
    texts = [tokenizer.decode(row[m]) + " " + adding.THINK for row, m in zip(prompts.tokens, prompts.mask)]
    begun = lm.encode_prompts(tokenizer, texts)
    drawn = sums.drawn(model, tokenizer, begun, count, 1.0, generator)
    said = [(text.removesuffix(adding.THINK).strip(), f"{adding.THINK} {reply}")
            for text, reply in lm.read(tokenizer, drawn)]
    return torch.tensor([adding.reward(text, reply, end) for (text, reply), end in zip(said, drawn.ended)])

def answers_at_once(model, prompts):
    """How likely is the right digit, if the first token must be one? [B]"""
    true = [sum(adding.read(tokenizer.decode(row[m]))) % 10 for row, m in zip(prompts.tokens, prompts.mask)]
    return sums.at_once(model, tokenizer, prompts)[torch.arange(len(true)), true]

# %%
chosen = sums.correct(tokenizer, replies)
lengths = replies.mask.sum(1)
at_once, made = answers_at_once(sft, asked), forced(sft, asked, 4)
whole = lengths == 5 + 4                                               # five sums, two marks, answer, EOS
print(f"at once {at_once.mean():.2f}; as it likes {chosen.mean():.2f}; forced to begin {made.mean():.2f};")
print(f"thought to the end {chosen[whole].mean():.2f} right, the others {chosen[~whole].mean():.2f}")

# %%
assert abs(at_once.mean() - 0.1) < 0.03 and made.mean() > chosen.mean() + 0.08
assert chosen[whole].mean() > 0.5 > 0.16 > chosen[~whole].mean()

# %% [markdown]
# At once it is a guess, one in ten. Thought to the end it is right in six of ten replies (behind `</think>` it has learnt to guess as well), and that is one reply of six: all of its pass@1 above a guess.
#
# ## Paid for the answer alone
#
# GRPO as in chapter 11: 32 prompts of three to six digits, eight replies to each, centred rewards, a mean over tokens. Three seeds, a few seconds each:

# %% tags=["nbval-ignore-output"]
def trained(seed):
    """The policy after GRPO, and the record of each update."""
    policy, draw = copy.deepcopy(sft), torch.Generator().manual_seed(seed)
    prompts = sums.prompts(tokenizer, sums.POOL, sums.REWARDED, draw)
    records = loop.train(policy, partial(sums.correct, tokenizer), prompts, grpo.group_centered,
                         rlhf.clipped(0.2, 0.2), masked.mean_over_tokens, grpo.has_signal,
                         **sums.GRPO, generator=draw)
    return policy, list(records)

runs = [trained(seed) for seed in range(3)]
policies, lived = zip(*runs)
for update in (0, 4, 9, 19, 29):
    print(f"update {update + 1:2}: right", [round(one[update].rewards.mean().item(), 2) for one in lived],
          " tokens per reply", [round(one[update].length, 1) for one in lived])

# %% tags=["concept:process-vs-outcome-reward"]
curves = torch.tensor([[(one.rewards.mean(), one.length) for one in of_seed] for of_seed in lived])
assert (curves[:, 0, 0] < 0.35).all() and (curves[:, -1, 0] > 0.9).all()
assert (curves[:, -1, 1] > 1.5 * curves[:, 0, 1]).all()

# %%
fig, axes = plots.figure(height=2.7, ncols=2)
for ax, k, name, colour in (
    (axes[0], 0, "share right", "reward"),
    (axes[1], 1, "tokens per reply", "policy"),
):
    for line, dash in zip(curves[:, :, k], ("-", "--", ":")):
        ax.plot(range(1, 31), line, dash, color=style.COLOR[colour])
    ax.set(xlabel="update", ylabel=name, ylim=(0, None))
axes[0].set_title("Only the answer is paid")
axes[1].set_title("and the replies grow")
plots.show(
    plots.caption(
        fig,
        "Share of right replies and tokens per reply, 30 updates of GRPO, three "
        "seeds. Both rise together within about ten updates and then stay: right from below "
        "0.35 to above 0.9, length by more than half.",
    )
)

# %% [markdown]
# What is left after 30 updates on new problems, of five digits and of eight, which were demonstrated but never rewarded? Guess first: does the *whole* chain carry over to eight?

# %%
def flawless(drawn, digits):
    """Of the replies with all running sums, the share with every one right."""
    read = [(adding.read(prompt), adding.parse(reply)) for prompt, reply in lm.read(tokenizer, drawn)]
    done = [adding.right_sums(task, it.sums) for task, it in read if it and len(it.sums or ()) == digits]
    return sum(map(all, done)) / len(done)

# %% tags=["nbval-ignore-output"]
found = {}
for digits, count in ((5, 50), (8, 100)):
    fresh = sums.prompts(tokenizer, count, (digits,), torch.Generator().manual_seed(5))
    for name, model in (("before", sft), *zip(("seed 0", "seed 1", "seed 2"), policies)):
        drawn = sums.drawn(model, tokenizer, fresh, 64, 1.0, torch.Generator().manual_seed(6))
        found[digits, name] = sums.measured(tokenizer, drawn, 64), drawn
        told = found[digits, name][0] | {"flawless": flawless(drawn, digits)}
        shown = ("pass@1", "length", "thinks", "whole", "true", "flawless")
        print(f"{digits} digits, {name:7}", {key: round(told[key], 2) for key in shown})

# %%
before, after = found[5, "before"][0], [found[5, f"seed {seed}"][0] for seed in range(3)]
assert before["thinks"] < 0.6 and min(one["thinks"] for one in after) > 0.98
assert before["pass@1"] < 0.25 and min(one["pass@1"] for one in after) > 0.9
far = [found[8, f"seed {seed}"][0] for seed in range(3)]
assert min(one["whole"] for one in far) > 0.9 and max(one["pass@1"] for one in far) > 0.6
assert min(one["pass@1"] for one in far) < 0.4                         # not on every seed

# %%
clean = {name: flawless(found[8, name][1], 8) for name in ("before", "seed 0")}
assert clean["before"] > 0.55 and clean["seed 0"] < 0.4                 # whole chains without a slip

# %% [markdown]
# Your first guess is answered: it always thinks, and to the end. With five digits it is right nearly always, on all three seeds. With eight it also *writes* all eight sums, but they are not all right, and on one seed most answers are wrong. What carried over is the **habit**. The *skill* on eight digits was there before: some seven in ten of the chains that it finished had no slip. A reward on three to six does not look after it, and one seed harmed it: fewer than one in five.
#
# ## pass@k: what RL adds and what it takes
#
# Sixty-four replies to each of those problems, and the estimator you wrote. Intervals are two standard errors over problems.

# %%
def curve(drawn, size, correct=None):
    """pass@k at k = 1, 2, 4 … and two standard errors over problems, [2, ks]."""
    right = (sums.correct(tokenizer, drawn) if correct is None else correct).view(-1, size).sum(1)
    each = torch.stack([pass_at_k(size, right, 2**j) for j in range(size.bit_length())])
    return torch.stack([each.mean(1), 2 * each.std(1) / each.shape[1] ** 0.5])

ks = [2**j for j in range(7)]
passed = {place: curve(drawn, 64) for place, (_, drawn) in found.items()}
for (digits, name), (mean, spread) in passed.items():
    print(
        f"{digits} digits, {name:7}",
        "  ".join(f"@{k} {m:.2f}±{s:.2f}" for k, m, s in zip(ks, mean, spread)),
    )

# %%
rl = torch.stack([passed[8, f"seed {seed}"][0] for seed in range(3)])
base, spread = passed[8, "before"]
assert (rl[:, 0] > base[0]).all() and base[-1] > 0.97                  # pass@1 at temperature 1: RL
assert (base[-1] > rl[:, -1] + 0.01).all()                             # pass@64: the model before

# %% [markdown]
# Your second guess: with 64 tries the model *before* RL finds nearly every answer, and after RL some problems of eight digits are never solved, however often you ask. All at temperature 1. A colder model before RL sharpens as well: at 0.4 it has pass@1 0.49 on eight digits, seed 0 after RL 0.21 (explorer below). "RL raises pass@1" needs a temperature, too. Such crossings are what Yue et al. (2025) found with large models: RL makes *likely* what the base can do, and narrows what is tried.
#
# Mind what guessing scores, though. There are ten answers, and a **guess** is right once in ten tries: 64 guesses succeed with chance $1-0.9^{64}=0.999$. So this crossing says little about reasoning: a model that still guesses covers all answers, one that is sure covers one. Ask of every pass@k plot what guessing would score, and whether a right *answer* is a right solution. Where answers can hardly be guessed, chapter 11's number game (both models are shipped; six numbers were never rewarded):

# %% tags=["nbval-ignore-output"]
games = {}
for name in ("arithmetic_sft", "arithmetic_grpo"):
    model, words = lm.shipped(name)
    drawn = arithmetic.drawn(model, words, 6, 60, 32, torch.Generator().manual_seed(3))
    games[name] = curve(None, 32, arithmetic.correct(words, drawn))
    print(f"{name:16}", "  ".join(f"@{k} {m:.2f}±{s:.2f}" for k, m, s in zip(ks, *games[name])))

# %%
print(f"14 tries in a row without giving up, before RL: {0.65**14:.4f}")

# %%
first, second = games["arithmetic_sft"][0], games["arithmetic_grpo"][0]
assert (second > first + 0.2).all()                                    # every k up to 32: RL

# %%
fig, axes = plots.figure(height=3.0, ncols=2, sharey=True)
for seed, dash in zip(range(3), ("-", "--", ":")):
    axes[0].plot(ks, rl[seed], dash, color=style.COLOR["policy"], label=f"after RL, seed {seed}")
axes[0].errorbar(ks, base, spread, color=style.COLOR["reference"], marker="o", markersize=3, label="before")
axes[0].plot(ks, [1 - 0.9**k for k in ks], color=style.COLOR["exact"], linewidth=0.9, label="guessing")
for (mean, error), colour, label in zip(games.values(), ("reference", "policy"), ("before", "after RL")):
    axes[1].errorbar(ks[:6], mean, error, color=style.COLOR[colour], marker="o", markersize=3, label=label)
for ax, title in zip(axes, ("Sums of 8 digits: they cross", "Number game, 6 numbers: no")):
    ax.set(xscale="log", xlabel="k", xticks=ks, xticklabels=ks, ylim=(0, 1.04), title=title)
    ax.minorticks_off()
axes[1].legend(*axes[0].get_legend_handles_labels(), fontsize=9, loc="lower right")
axes[0].set_ylabel("pass@k")
plots.show(plots.caption(fig, "pass@k against k. Sums of eight digits: after RL three seeds start above "
    "the model before and end below it at k = 64, where pure guessing reaches 1. Number game with six "
    "numbers: after RL above the model before at each k up to 32; bars are two standard errors."))

# %% [markdown]
# There the curves do not meet: RL is ahead at every k measured, by much. To solve a hard problem 14 tries in a row may be needed; the model before gives up after a failed try with chance 0.35, as the people it was shown did (chapter 11), and hardly ever gets so far. In principle it can; with 32 replies it does not. So "RL adds nothing that the base cannot do" is a statement about *some* k. It depends on *why* the base fails. A guess that misses is made good by a few more tries; giving up at each of 14 steps is not.
#
# ## The majority
#
# pass@k needs someone who *knows* which of the k is right. Without one you can vote: the answer given most often. By hand: a reply is right with chance 0.6, else it gives the one wrong answer. Of three votes the right one wins with $0.6^3+3\cdot0.6^2\cdot0.4=0.648$. With 0.4 in place of 0.6 it is 0.352: *voting strengthens what is likeliest*, right or wrong.
#
# ### Write it: `majority_vote`
#
# *Difficulty ★☆☆ · importance ★★☆ · 5 minutes.* Answers [B, N] as whole numbers; the winner [B]; of answers given equally often the one that came first.

# %% tags=["exercise"]
@check.exercise(reasoning.majority_vote)
def majority_vote(answers):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# How many votes has the answer in place n? Compare all with all: `answers[:, :, None] == answers[:, None, :]`. `argmax` takes the first of equals.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def majority_vote(answers):
#     votes = (answers[:, :, None] == answers[:, None, :]).sum(-1)
#     return answers.gather(1, votes.argmax(1, keepdim=True))[:, 0]
# ```
# </details>
#
# ### Use it: votes of 1, 8 and 64

# %%
def truths(replies, size):
    """The right answer to each problem, [B]; `size` replies to each, next to each other."""
    return torch.tensor([sum(adding.read(text)) % 10 for text, _ in lm.read(tokenizer, replies)[::size]])

# %%
votes = {}
for (digits, name), (_, drawn) in found.items():
    given = sums.answers(tokenizer, drawn).view(-1, 64)  # [B, 64]
    true = truths(drawn, 64)
    share = (given == true[:, None]).double().mean(1)
    leads = torch.stack([(given == digit).double().mean(1) for digit in range(10)], 1)
    winner = [
        (majority_vote(given.view(-1, k)).view(len(true), -1) == true[:, None]).double().mean()
        for k in (1, 8, 64)
    ]
    votes[digits, name] = [x.item() for x in winner], (share == leads.amax(1)).double().mean().item()
    print(
        f"{digits} digits, {name:7} vote of 1 {winner[0]:.2f}, of 8 {winner[1]:.2f}, of 64 {winner[2]:.2f};",
        f"pass@64 {passed[digits, name][0, -1]:.2f}; the right answer leads at {votes[digits, name][1]:.2f}",
    )

# %%
for place, ((one, eight, all_), leads) in votes.items():
    assert all_ <= passed[place][0, -1] + 1e-9 and abs(all_ - leads) < 0.12
assert (
    votes[5, "before"][0][2] > votes[5, "before"][0][0] + 0.3
)  # half a guesser, and the vote is often right
assert min(votes[8, f"seed {s}"][0][2] - votes[8, f"seed {s}"][0][0] for s in range(3)) < 0.1
by_formula = reasoning.majority_at_k(torch.tensor([[0.6, 0.4], [0.4, 0.6]]), torch.tensor([0, 0]), k=3)
assert torch.allclose(by_formula, torch.tensor([0.648, 0.352]))

# %% [markdown]
# With five digits the model before RL is right once in five, and its *majority* of 64 about three times as often: its guesses spread over ten answers, its thoughts agree. A good part of what RL does to pass@1 could be had without training, for 64 times the price. After RL little is left to gain: where seed 0 is wrong on eight digits, it is mostly wrong *the same way*, and a vote does nothing. 64 votes tend to the share of problems whose right answer is the likeliest, and no vote beats pass@k.
#
# ## Explorer: pass@k and majority vote
#
# The model before RL and the shipped one after it, 64 counted replies to each of 50 problems at each temperature.

# %%
explore(passk.draw, **passk.controls())

# %% [markdown]
# **Try it.** Five digits before RL: lower the temperature to 0.4. What happens to one try, to the vote, to pass@32? How much did GRPO add to that? Then eight digits *after* RL (the shipped model is seed 0, the bad one), 32 tries, and the temperature from 0.4 to 1.6: which of the two rises, pass@32 or the vote?
#
# <details><summary>What you should see</summary>
#
# At 0.4 the model before RL is right in two of three single tries, not in one of five, and its vote in six of seven; pass@32 stays at 1. Its guesses are spread over ten digits, thin at each; a low temperature cuts them and leaves the thoughts. GRPO brought one try to 1.00 and the vote to 1.00 there: from 0.66 and 0.86, so more than half of its gain at temperature 1 (0.18 to 0.97) was in the model, and a slider finds it. After RL on eight digits pass@32 rises from 0.22 to 0.72 with the temperature, while the vote stays at 0.21 to 0.22: more variety covers more answers, but the wrong answer stays the likeliest, and no vote turns that round.
# </details>

# %%
watched = (("before RL", 5, 0.4), ("after RL", 5, 0.4), ("before RL", 8, 0.4), ("after RL", 8, 0.4),
           ("after RL", 8, 1.6))
five_low, five_after, base_low, after_low, after_high = (passk.curves(*place) for place in watched)
for place in watched:
    ours = passk.curves(*place)
    print(*place, f"one try {ours.passed[0]:.2f}, pass@32 {ours.passed[-1]:.2f}, vote {ours.voted[-1]:.2f}")

# %%
assert five_low.passed[0] > 0.6 and five_low.passed[-1] > 0.99 and five_low.voted[-1] > 0.8
assert five_after.passed[0] > 0.995 and five_after.voted[-1] > 0.995
assert five_low.passed[0] - 0.18 > (0.97 - 0.18) / 2                   # half of the gain at temperature 1
assert base_low.passed[0] > after_low.passed[0] + 0.2 and base_low.voted[-1] > after_low.voted[-1] + 0.4
assert (
    after_high.passed[-1] > after_low.passed[-1] + 0.4
    and abs(after_high.voted[-1] - after_low.voted[-1]) < 0.05
)

# %% [markdown]
# ## Who judges: the answer, or every step?
#
# With n solutions and no rule at hand, a learned judge may choose. An **outcome reward model** (ORM) is told of each solution only whether its answer was right; a **process reward model** (PRM) is told of each step. By hand: a PRM finds the steps right with chances 0.9, 0.5, 0.8. As one score: the product 0.36 (all right, if each is judged by itself), or the minimum 0.5 (the weakest link).
#
# ![Two judges of one solution with four running sums: the outcome model has one label, for the answer, the process model five, one for each step](../figures/12_judges.svg)
#
# The writer here slips in one step of five and goes on from the wrong sum. Two slips can cancel: a right answer by wrong steps.

# %% tags=["concept:process-vs-outcome-reward"]
draw = torch.Generator().manual_seed(0)
written = process.solutions(tokenizer, 400, 8, draw)
cut = process.steps(tokenizer, written)
answer = cut.right[:, -1] == 1
sound = process.first_wrong(cut.right.bool(), cut.mask) == cut.mask.sum(1)
exactly = adding.demonstration_accuracy(5, **process.WRITER)
print(f"right answers {answer.float().mean():.3f}, exactly {exactly:.3f};",
      f"of them by wrong steps {(~sound)[answer].float().mean():.2f}")
for index in (answer & ~sound).nonzero()[:2, 0].tolist():
    print(*lm.read(tokenizer, written)[index], " steps right:", cut.right[index].int().tolist())
assert (sound <= answer).all() and 0.03 < (~sound)[answer].float().mean() < 0.2

# %% [markdown]
# Both judges are the same small recurrent network, from the same start, on the *same solutions* and for the same 600 steps. It reads, step by step, what the language model expected (chances of the ten digits) and which digit was written. One in six of the PRM's labels is the ORM's (the picture has four digits, the solutions here five). Fifty solutions:

# %% tags=["concept:process-vs-outcome-reward"]
def judge_of(told, seen, right):
    judge = process.Judge(0)
    for _ in process.train_judge(judge, seen, right, told, **process.JUDGE,
                                 generator=torch.Generator().manual_seed(0)):
        pass
    return judge

few = process.solutions(tokenizer, 50, 1, draw)
few_cut = process.steps(tokenizer, few)
seen = process.features(sft, tokenizer, few, few_cut.ends)
test = process.features(sft, tokenizer, written, cut.ends)
judges = {"outcome": judge_of(process.outcome_mask(few_cut.mask), seen, few_cut.right),
          "process": judge_of(few_cut.mask, seen, few_cut.right)}
for name, judge in judges.items():
    told = process.judged(judge, test, cut, 8)
    print(f"{name}: best of 8 by the last step {told['last']:.2f}, by the product {told['product']:.2f},",
          f"by the minimum {told['minimum']:.2f}; finds the first wrong step {told['found']:.2f}")

# %% [markdown]
# From 25 to 800 solutions, three seeds (`python -m rlcore.loops.checkpoints sums_judges`). The ORM's score is its chance at the end, the PRM's the product. At best about 0.96 can be had on the table's problems (in expectation $1-0.644^8=0.97$; on the 400 problems above 0.98): in the others none of the eight is right. Below the table, what you would have without a judge.

# %% tags=["concept:process-vs-outcome-reward"]
with open(lm.SHIPPED / "sums_judges.csv", encoding="utf-8") as file:
    marks = list(csv.DictReader(file))

def column(kind, name):
    """[sizes, 3 seeds]"""
    return torch.tensor(
        [
            [float(row[name]) for row in marks if (row["judge"], int(row["labelled"])) == (kind, size)]
            for size in process.LABELLED
        ]
    )

orm, prm = column("outcome", "last"), column("process", "product")
spotted = {kind: column(kind, "found") for kind in ("outcome", "process")}
print("solutions  best of 8: ORM, PRM (mean of seeds, worst)     first wrong step found: ORM, PRM")
for row, size in enumerate(process.LABELLED):
    print(
        f"{size:9} {orm[row].mean():14.2f} {orm[row].min():.2f}   {prm[row].mean():.2f} {prm[row].min():.2f}",
        f"{spotted['outcome'][row].mean():26.2f} {spotted['process'][row].mean():.2f}",
    )

# %% tags=["concept:process-vs-outcome-reward"]
chance, reach = answer.float().mean(), answer.view(-1, 8).any(1).float().mean()
voted = majority_vote(sums.answers(tokenizer, written).view(-1, 8)) == truths(written, 8)
print(f"one solution {chance:.2f}, the vote of 8 {voted.float().mean():.2f}, the best of 8 {reach:.2f},",
      f"in expectation {1 - (1 - exactly) ** 8:.2f}")

# %% tags=["concept:process-vs-outcome-reward"]
texts = [reply for _, reply in lm.read(tokenizer, written)]
different = [dict(zip(texts[i:i + 8], answer[i:i + 8].tolist())) for i in range(0, len(texts), 8)]
lot = sum(sum(marked.values()) / len(marked) for marked in different) / len(different)
always_first = (process.first_wrong(cut.right.bool(), cut.mask)[~sound] == 0).double().mean()
print(f"one of the different texts by lot {lot:.2f}; always naming the first step {always_first:.2f}")

# %% tags=["concept:process-vs-outcome-reward"]
assert prm[1].min() > orm[1].max() + 0.1                               # 50 solutions: every seed
assert (prm[1] - orm[4]).abs().max() < 0.08                            # 300 step labels, 400 answers
assert orm[-1].min() > 0.9 and prm[-1].min() > 0.9                     # 800: both
assert spotted["process"][-1].min() > 0.95 and spotted["outcome"].max() < 0.6
assert (spotted["outcome"].mean(1) - always_first).abs().max() < 0.06  # no skill at finding the step
assert lot < orm[0].mean() < chance

# %% [markdown]
# For the same *solutions* the PRM is far ahead: with 50 it chooses nearly as well as can be, the ORM needs some hundreds. For the same number of *labels* it is not: those 50 solutions hold 300 step labels, and 200 to 400 answers do as much. With 800 solutions both choose equally well. So count what is dear: solutions, or labels. What the ORM does not learn is *where* a solution went wrong: 0.3 is what you score by always naming the first step. It says how likely a right *end* is, which early on is less than ½ for sound solutions as well; and with many answers its doubt comes a step too late:

# %% tags=["concept:process-vs-outcome-reward"]
many = process.solutions(tokenizer, 800, 1, torch.Generator().manual_seed(1))
many_cut = process.steps(tokenizer, many)
read_many = process.features(sft, tokenizer, many, many_cut.ends)
taught = judge_of(process.outcome_mask(many_cut.mask), read_many, many_cut.right)
slip = process.first_wrong(cut.right.bool(), cut.mask)[~sound, None]   # where it went wrong
for size, judge in ((50, judges["outcome"]), (800, taught)):
    with torch.no_grad():
        believed = judge(test).sigmoid()                               # [solutions, steps]
    at, behind = (believed[~sound].gather(1, slip + k).mean() for k in (0, 1))
    print(f"ORM of {size}: chance at the first wrong step {at:.2f}, behind it {behind:.2f};",
          f"at the first step of sound ones below ½: {(believed[sound, 0] < 0.5).float().mean():.2f}")

# %% tags=["concept:process-vs-outcome-reward"]
assert at > 0.5 > 0.2 > behind

# %% [markdown]
# One number surprises. With 25 solutions an ORM scores *below* one random solution, 0.36: among eight candidates the right solution is *one* text, written several times, the wrong ones are many. The largest of many noisy scores is likely a wrong one. (Choose one of the different texts by lot: 0.20.) And the vote, which needs no label at all, does as well as an ORM from 50 solutions. A judge earns its price with labels of steps or with many of answers, and where answers cannot be counted.
#
# What is a PRM's label? Here: is the sum what it ought to be, from the start. Other choices: is this step right *given the last one*; does a right end still come from here (Math-Shepherd: draw continuations and count). They differ behind a slip. And by labels of people both are dear: 800,000 step labels in Lightman et al. (2023).
#
# ### In the policy's reward
#
# Chapter 11's GRPO gives every token of a reply the same advantage, from the answer. **Process supervision** gives each step its own: normalise all step rewards of a group together, then sum from each step to the end. Here the rule itself is the judge, and the answer is a step, too. By hand, two right steps beside a single wrong one: mean ⅔, standard deviation $\sqrt2/3$, so the steps score $0.707,\,0.707$ and $-1.414$; summed to the end $(1.414,\,0.707)$ and $-1.414$.

# %% tags=["concept:process-vs-outcome-reward"]
right = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])                       # [1 prompt, 2 replies, 2 steps]
mask = torch.tensor([[[True, True], [True, False]]])

# %% tags=["concept:process-vs-outcome-reward"]
print("process", *reasoning.process_advantages(right, mask, ddof=0)[0].numpy().round(3))
print("outcome", *process.by_outcome(right, mask, ddof=0)[0].numpy().round(3))
assert torch.allclose(
    reasoning.process_advantages(right, mask, ddof=0)[0, 0], torch.tensor([2**0.5, 0.5**0.5])
)

# %% tags=["nbval-ignore-output", "concept:process-vs-outcome-reward"]
ways = {
    "outcome": partial(process.by_outcome, ddof=1),
    "process": partial(reasoning.process_advantages, ddof=1),
}
small = {"updates": 8, "groups": 16, "group_size": 8, "lr": 1e-3, "max_norm": 1.0}
learnt = {name: [] for name in ways}
for (name, advantages), seed in itertools.product(ways.items(), range(3)):
    draw, policy = torch.Generator().manual_seed(seed), copy.deepcopy(sft)
    prompts = sums.prompts(tokenizer, 500, (5, 8), draw)
    drawn = process.train_policy(policy, tokenizer, prompts, advantages, **small, generator=draw)
    learnt[name].append([sums.correct(tokenizer, one).mean().item() for one in drawn])
for name, lines in learnt.items():
    print(
        f"{name}: right at updates 1, 3, 5, 8:",
        [[round(line[k], 2) for k in (0, 2, 4, 7)] for line in lines],
    )

# %% tags=["concept:process-vs-outcome-reward"]
last = {name: torch.tensor(lines)[:, -1] for name, lines in learnt.items()}
assert min(one.min() for one in last.values()) > 0.6                   # every seed, both ways
assert abs(last["process"].mean() - last["outcome"].mean()) < 0.15     # and no winner

# %% [markdown]
# No difference to speak of in 8 updates, with the rule as the judge. The steps of this task are few, and eight replies to a prompt already tell which habit is right. Where it *might* pay is where a reply has hundreds of steps and hardly any right end. What it brings for certain is a danger, which the section on shaping makes exact: a sum of marks over steps also pays for *having* steps.
#
# ## Length
#
# Why did replies grow? Because the ones that think are right. Does the denominator push as well? Chapter 11 has the exact statement: where length does not matter to the reward, no denominator moves it; where it does, the mean per reply unlearns long wrong replies more slowly. On the number game GRPO (mean per reply, divided by the standard deviation) and Dr. GRPO (a constant, not divided), 60 updates, three seeds:

# %%
with open(lm.SHIPPED / "arithmetic_grpo.csv", encoding="utf-8") as file:
    recorded = [row for row in csv.DictReader(file) if row["five"]]
for name in ("GRPO", "Dr. GRPO"):
    lines = torch.tensor(
        [
            [
                float(row["length of five"])
                for row in recorded
                if (row["run"], row["seed"]) == (name, str(seed))
            ]
            for seed in range(3)
        ]
    )
    print(
        f"{name:8} tokens with five numbers after 0, 10, 60 updates:",
        lines[:, [0, 1, -1]].round().int().tolist(),
    )
    assert (lines[:, 1] > 1.8 * lines[:, 0]).all() and ((lines[:, -1] / lines[:, 1] - 1).abs() < 0.1).all()

# %% [markdown]
# Both double within ten updates, and then both stay: the replies are as long as the search needs. A longer reply is no proof of thought, though. Length grows *without* thought where wrong replies are long and weigh less per token (Dr. GRPO's finding), or where steps are paid.

# %% [markdown]
# ## A reward for every step, and what it does to the goal
#
# A right answer pays 1, at the very end. You would like to pay on the way, too: for getting nearer to a goal, for a right step. That is **shaping**. Whether it only helps, or changes what is learned, can be said exactly.
#
# A room of 4 × 4 cells; entering the corner G pays 1; γ = 0.9. Exact values, chapter 01's solver:

# %%
torch.set_default_dtype(torch.float64)
grid = gridworld.from_text("....\n....\n....\n...G")
room = grid.to_mdp(gamma=0.9)
exact = mdp.policy_iteration(room)
inside = ~room.terminal                                                # [S]
away = torch.tensor([6.0 - sum(grid.cell(s)) for s in range(16)])      # [S] steps from G

# %% [markdown]
# That is **potential-based** shaping (Ng, Harada & Russell 1999): take any function Φ of the state, its *potential*, 0 where the episode ends, and add to each reward by how much Φ rises:
# $$r'_t=r_t+\gamma\,\Phi(s_{t+1})-\Phi(s_t).$$
# Along a path the Φ in the middle cancel. What is left of them is $-\Phi(s_0)$, whatever you do: every return from a state falls by the same number, so $Q'=Q-\Phi$, $V'=V-\Phi$, $A'=A$. Here for two hundred potentials that nobody thought about:

# %% tags=["concept:potential-based-shaping"]
def shaped(phi):                                                       # [S], 0 at the end
    return mdp.policy_iteration(MDP(room.transitions, mdp.q_from_v(room, phi) - phi[:, None], 0.9))

drawn = torch.Generator().manual_seed(0)
potentials = 5 * torch.randn(200, 16, generator=drawn) * inside       # [200, S]
solved = [shaped(phi) for phi in potentials]
fall = max((one.q + phi[:, None] - exact.q)[inside].abs().max() for one, phi in zip(solved, potentials))
gaps = [one.q - one.v[:, None] for one in [exact, *solved]]  # advantages [S, A]; first the exact ones
moved = max((gap - gaps[0])[inside].abs().max() for gap in gaps[1:])
print(f"Q' + Φ and Q differ by {fall:.0e} at most, the advantages by {moved:.0e}")
assert fall < 1e-12 and moved < 1e-12

# %% [markdown]
# Which actions are best? Those of advantage 0, up to rounding:

# %% tags=["concept:potential-based-shaping"]
def best(q):
    return q > q.amax(-1, keepdim=True) - 1e-9                         # [S, A] bool

assert all((best(one.q) == best(exact.q))[inside].all() for one in solved)

# %% [markdown]
# If nothing changes, what is it good for? The optimum stays, the way there does not. With $\Phi=V^*$ one look ahead is enough: the shaped reward of a best step is 0, of any other less. Start value iteration from nothing and count the sweeps until the
# policy is right. A rough guess of $V^*$ will do:

# %% tags=["concept:potential-based-shaping"]
def sweeps(rewards):
    world, v, count = MDP(room.transitions, rewards, 0.9), torch.zeros(16), 0
    while not (best(mdp.q_from_v(world, v)) == best(exact.q))[inside].all():
        v, count = mdp.bellman_optimality(world, v), count + 1
    return count

closer = torch.where(inside, -0.1 * away, 0)
guesses = {"no shaping": 0 * away, "Φ = −0.1 · steps to G": closer, "Φ = V*": exact.v * inside}
needed = {name: sweeps(mdp.q_from_v(room, phi) - phi[:, None]) for name, phi in guesses.items()}
print(needed)
assert list(needed.values()) == [5, 0, 0]

# %% [markdown]
# ### Paid for getting nearer, not charged for going away
#
# Now the natural idea: a bonus $b$ for each step that gets nearer to G, nothing for the others. **Before you run: with b = 0.3, what does the best policy do?**

# %% tags=["concept:potential-based-shaping"]
def naive(b):
    nearer = (room.transitions @ away < away[:, None]) & inside[:, None]               # [S, A]
    return mdp.policy_iteration(MDP(room.transitions, room.rewards + b * nearer, 0.9))

def walk(solution, steps):
    states = [0]
    for _ in range(steps):
        states.append(int(room.transitions[states[-1], solution.q[states[-1]].argmax()].argmax()))
    return [grid.cell(s) for s in states]

for b in (0.0, 0.3):
    path = walk(naive(b), 400)
    print(f"b = {b}: {path[:9]} …  entered G {path.count((3, 3)) > 0}")
assert walk(naive(0.0), 6)[-1] == (3, 3) and (3, 3) not in walk(naive(0.3), 400)

# %% [markdown]
# It steps back and forth for ever. Back is free, forth pays. Next to G you can enter, for $1+b$, or step back, forth, back, forth, for $\gamma b+\gamma^3b+\ldots=\gamma b/(1-\gamma^2)$. The loop wins from
# $b=(1-\gamma^2)/(\gamma+\gamma^2-1)$ on:

# %% tags=["concept:potential-based-shaping"]
limit = (1 - 0.9**2) / (0.9 + 0.9**2 - 1)
ends = {scale: (3, 3) in walk(naive(scale * limit), 400) for scale in (0.99, 1.01)}
print(f"the goal is given up from b = {limit:.4f} on; 1 % below and above it is entered:", ends)
assert ends == {0.99: True, 1.01: False}

# %% [markdown]
# Charge the step back as much as the step forth pays, discounted rightly, and you are at $\Phi=-b\cdot$ distance. The bonus was half of a potential. (A simulated bicycle that was rewarded for driving towards the goal and not punished for driving away rode in circles: Randløv & Alstrøm 1998.)
#
# ### The same with running sums
#
# To add 3 5 9 the running sums are 3, 8, 7. Suppose a judge looks at each step *by itself* and pays 0.1 for every running sum that is one. A reply may go on to the next sum, say the last one again, or stop and answer with what it has. All replies of
# at most eight steps, each with its pay for steps, γ = 1:

# %% tags=["concept:potential-based-shaping"]
problem, cap = (3, 5, 9), 8
true = adding.running_sums(problem)

def reply(choices):                                                    # "on" or "again" for each step
    reached, said = 0, []
    for choice in choices:
        reached = min(reached + (choice == "on"), len(true))
        said.append(reached)                                           # how many sums are known by then
    return said

tried = [reply(c) for n in range(cap) for c in itertools.product(("on", "again"), repeat=n)]
ends_right = torch.tensor([float(r[-1:] == [len(true)]) for r in tried])  # [N] its answer is right

# %% tags=["concept:potential-based-shaping"]
def returns_of(pay):                                                # pay(known before, known after) of a step
    told = [sum(pay(a, b) for a, b in zip([0, *r], r)) for r in tried]
    return ends_right + torch.tensor(told)

each = returns_of(lambda before, after: 0.1 * (after > 0))             # every sum that is true
for name, score in (("outcome alone", ends_right), ("0.1 for each true sum", each)):
    top = [r for r, s in zip(tried, score) if s > score.max() - 1e-9]
    print(f"{name:22}: best {score.max():.1f}, with {min(map(len, top))} to {max(map(len, top))} sums")
assert (ends_right.max(), each.max()) == (1.0, 1.7) and {len(r) for r in top} == {cap - 1}

# %% [markdown]
# Paid by the step, the best replies are those that fill all the room there is: they say true things again. Length grows, and nothing is thought. Now the same pay as a potential, Φ = 0.1 · sums known, 0 at the end, with the library:

# %% tags=["concept:potential-based-shaping"]
straight, padded, hasty = [1, 2, 3], [1, 1, 1, 2, 2, 3, 3], [1, 2]
for name, r in (("straight", straight), ("padded", padded), ("hasty", hasty)):
    phi = 0.1 * torch.tensor([[0.0, *r, 0.0]])                         # [1, T+1]; the last step is the answer
    discounts = torch.tensor([[1.0] * len(r) + [0.0]])
    paid = torch.tensor([[0.0] * len(r) + [float(r[-1] == 3)]])        # [1, T]
    pays = reasoning.shaped_rewards(paid, discounts, phi)
    print(f"{name:9} {[round(x, 2) for x in pays[0].tolist()]}  sum {pays.sum():.1f}")
    assert abs(pays.sum() - paid.sum()) < 1e-12

# %% [markdown]
# Each new sum is paid at once, a repeated one is not, and the answer gives the advance back. The totals are those of the outcome: the credit comes earlier, and the goal stays. A **judge of steps** is safe in this form, or when it marks what the step *adds*.
# A sum of marks over steps, without the part that is taken back, pays for length. The same holds for a bonus for long replies, for citations, for sentences that sound like a proof.
#
# ### Write it: `shaped_rewards`
#
# *Difficulty ★★☆ · importance ★★☆ · 5 minutes.* Rewards and discounts [B, T], the latter 0 where the episode ended; potentials [B, T+1]. Where a discount is 0, nothing of the next Φ may be paid, not even if it is infinite.

# %% tags=["exercise"]
@check.exercise(reasoning.shaped_rewards)
def shaped_rewards(rewards, discounts, potentials):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# The next potential is `potentials[:, 1:]`, the present one `potentials[:, :-1]`. 0 · ∞ is NaN: choose with `torch.where`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def shaped_rewards(rewards, discounts, potentials):
#     ahead = torch.where(discounts == 0, 0.0, discounts * potentials[:, 1:])
#     return rewards + ahead - potentials[:, :-1]
# ```
# </details>

# %% [markdown]
# ## A thought before the next word: reinforcement pre-training
#
# So far a human wrote the problems and a rule knew the answers. There is a larger supply of both: any text is a row of questions, *what comes next?*, and the text itself has the answers. **Plain pre-training** says the next token at once and maximises
# $$J_{\mathrm{NTP}}=\sum_t\log\pi(x_t\mid x_{<t}).$$
# **Reinforcement pre-training** (RPT; Dong et al. 2025) lets the model think first. For a context $x_{<t}$ it draws a thought $c$ and a prediction $y$. The reward is one rule, **prefix matching**:
# $$r=1\ \text{ if the text goes on with exactly } y \text{ and } y \text{ ends where a token ends, else } 0;\qquad J_{\mathrm{RPT}}=\mathbb E[r].$$
# The rest you know from chapter 11: a group of thoughts for each context, advantages within the group, on policy.
#
# | | in the paper | here |
# |---|---|---|
# | corpus | OmniMATH, 4,428 problems with solutions | sentences with a sum in them |
# | start | R1-Distill-Qwen-14B: it can already reason | a small model that can add, but is hasty |
# | filter | entropy of the next token, 16 likeliest tokens, of a 1.5B proxy | the same, of the start without a thought |
# | group | 8, temperature 0.8 | 8, temperature 1 |
# | KL, critic, replay, LM loss | none | none (later: an LM loss) |
# | dynamic sampling: groups without a signal | replaced from step 500 of 1,000 on | left out from the first update, nothing drawn again |
# | contexts a step, learning rate | 256, 10⁻⁶ | 32, 10⁻³ |
#
# The corpus, and every place in one of its texts:

# %%
torch.set_default_dtype(torch.float32)
from rlcore.loops import pretraining as rpt
from rlcore.loops import rpt_curves

start, words = lm.shipped("reader")
one = rpt.text((3, 5, 9, 4))
for place in rpt.positions((3, 5, 9, 4)):
    print(f"{place.context:38}│ {place.continuation.split()[0]:4} {place.kind}")

# %% [markdown]
# Eight tokens are easy. Four digits are **dice**: no thought in the world tells what they will be. One token has to be **worked out**: $3+5+9+4=21$, so 1. **Before you run: how large is the entropy of a good predictor at each of the three kinds, if it has no time to think?**
#
# ### Where is there something to think about?
#
# Thinking everywhere is a waste. (Each context counts once, so most dice are the fourth digit.) RPT drops the contexts at which a small **proxy** model is sure. `surprise` gives, for each place, the entropy of the next token said at once, and the chance of the token that comes.

# %% tags=["concept:next-token-prediction", "concept:entropy-filtering"]
corpus = rpt.places(rpt_curves.TEXTS, torch.Generator().manual_seed(0))        # each context once
unsure, chance = rpt.surprise(start, words, corpus)                           # [places] nats, and probability
kinds = {kind: torch.tensor([place.kind == kind for place in corpus]) for kind in rpt.KINDS}
for kind, rows in kinds.items():
    low, high = unsure[rows].min(), unsure[rows].max()
    print(f"{kind:11} {rows.sum():5} places, entropy {low:.2f} to {high:.2f} nats, at once "
          f"right {chance[rows].mean():.3f}, −log π {-chance[rows].log().mean():.3f}")

# %% tags=["concept:entropy-filtering"]
fourth = sum(place.kind == "dice" and len(place.context.split()) == 6 for place in corpus)
print(f"{fourth} of the dice are the fourth digit")
assert fourth > 0.7 * kinds["dice"].sum()

# %% tags=["concept:entropy-filtering"]
tau = rpt_curves.TAU
kept = unsure > tau
for kind, rows in kinds.items():
    part, left = rows.sum() / len(corpus), (rows & kept).sum() / kept.sum()
    print(f"{kind:11} {part:4.0%} of all places, {left:4.0%} of those kept")
useful = [(kinds["worked out"] & some).sum() / some.sum() for some in (kinds["worked out"] | True, kept)]
print(f"of what is thought at, {useful[0]:.0%} is worth it without the filter, {useful[1]:.0%} with it")
assert not (kept & kinds["easy"]).any() and kept[kinds["worked out"]].all()
assert useful[1] > 3.5 * useful[0]

# %% [markdown]
# The filter throws out all that is easy and loses nothing that has to be worked out. And it keeps every die. **Entropy cannot tell the hard from the random**: said at once, both are ten equal chances, log 10 = 2.30 nats. No threshold keeps the hard ones and drops the dice: those here have a hair *more* entropy, an accident of the fit.

# %% tags=["concept:entropy-filtering"]
hard, random = unsure[kinds["worked out"]], unsure[kinds["dice"]]
print(f"worked out: most {hard.max():.3f} nats, dice: least {random.min():.3f}; log 10 {math.log(10):.3f}")
assert abs(hard.mean() - math.log(10)) < 0.02 and abs(random.mean() - math.log(10)) < 0.02
assert hard.max() < random.min()                                       # keep the hard ones: keep every die

# %% [markdown]
# What *can* tell them apart is the group: after a thought, the hard ones become right and the dice stay at one in ten. That costs the thoughts that the filter was to save. In a real corpus the random part are names, numbers, the author's taste.
#
# ### The reward
#
# A prediction may be one word or several. Half a word, or a right word behind a thought that does not close, earns nothing:

# %% tags=["concept:reinforcement-pretraining"]
told = "1 in the end ."
for reply in ("3 8 7 1 </think> 1", "3 8 </think> 1 in", "</think> 1 in th", "3 8 7 1 </think> 7", "3 8 7 1"):
    print(f"{reply:20} {rpt.matched(reply, told)}")
assert [rpt.matched(reply, told) for reply in ("</think> 1", "</think> 1 in", "</think> 1 i")] == [1, 1, 0]

# %% [markdown]
# The rule looks at the prediction alone. A lucky guess after nonsense is paid like an insight: one in ten here.
#
# ### Think, live
#
# The start thinks when it is asked to: `<think>`, running sums, `</think>`, prediction. It was taught by a hasty person: it stops early and slips. Two copies, the same places, 32 contexts in each of 16 updates: one thinks, one is trained to say the next token at once.

# %% tags=["concept:reinforcement-pretraining", "nbval-ignore-output"]
places = [place for place, keep in zip(corpus, kept.tolist()) if keep]
thinker, quick = copy.deepcopy(start), copy.deepcopy(start)
seconds = {}
clock = time.process_time()
for record in rpt.think(thinker, words, places, None, torch.Generator().manual_seed(0), updates=16):
    if record.update % 4 == 0:
        print(f"update {record.update:2}  reward {record.rewards.mean():.2f}  "
              f"useful groups {record.signal:.0%}  tokens {record.length:.1f}")
seconds["thinks"] = time.process_time() - clock

# %% tags=["nbval-ignore-output", "concept:next-token-prediction"]
clock = time.process_time()
for record in rpt.at_once(quick, words, places, torch.Generator().manual_seed(0), steps=16):
    pass
seconds["at once"] = time.process_time() - clock
assert seconds["thinks"] > 3 * seconds["at once"]

# %% tags=["concept:reinforcement-pretraining", "nbval-ignore-output"]
print({name: f"{took:.2f} s of processor time for 16 steps" for name, took in seconds.items()})
print(f"a step of thinking costs {seconds['thinks'] / seconds['at once']:.1f} times as much")
skills = {name: rpt.measured(model, words, 500, torch.Generator().manual_seed(1))
         for name, model in (("start", start), ("RPT", thinker), ("next token", quick))}
for name, mark in skills.items():
    print(f"{name:11}", "  ".join(f"{key} {value:.2f}" for key, value in mark.items()))
assert skills["RPT"]["worked out"] > 0.8 > 0.5 > skills["start"]["worked out"]
assert skills["next token"]["worked out at once"] < 0.2

# %% [markdown]
# Read the columns: right *after a thought* at each kind, right *at once*, tokens of a thought at the hard places, and nats per token of ordinary texts. Look at a few predictions before and after:

# %% tags=["concept:reinforcement-pretraining", "nbval-ignore-output"]
hard_ones = rpt.of_kind("worked out", 5, torch.Generator().manual_seed(2))
hard_asked = lm.encode_prompts(words, rpt.asked(hard_ones))
for name, model in (("start", start), ("RPT", thinker)):
    said = lm.sample(model, hard_asked, longest=8, temperature=1.0,
                     generator=torch.Generator().manual_seed(3))
    for place, (_, reply) in zip(hard_ones, lm.read(words, said)):
        print(f"{name:6} {place.context[11:26]}│ {reply:22} text: {place.continuation.split()[0]}")

# %% [markdown]
# ### Three seeds, and what each ingredient does
#
# The shipped table has five runs of 24 updates, each on three seeds (`python -m rlcore.loops.checkpoints reader_rpt` makes it anew). Plain next-token training went on sixteen times as long, which is at least the processor time of thinking (a step of it costs some ten times as much here, you printed it above).

# %%
with open(lm.SHIPPED / "reader_rpt.csv", encoding="utf-8") as file:
    rpt_rows = list(csv.DictReader(file))

def run(name, column):
    """One column of a run: [3 seeds, times it was measured]."""
    told = [float(row[column]) for row in rpt_rows if row["run"] == name and row[column]]
    return torch.tensor(told).view(3, -1)

updates = [int(row["update"]) for row in rpt_rows if row["run"] == "filtered" and row["seed"] == "0"]

# %% tags=["concept:reinforcement-pretraining", "concept:entropy-filtering"]
fig, axes = plots.figure(height=3.0, ncols=3)
shown = {"filtered": "policy", "all places": "value", "at once": "rejected"}
for ax, kind in zip(axes, ("worked out", "dice", "easy")):
    for name, color in shown.items():
        lines = run(name, f"{kind} at once" if name == "at once" else kind)[:, :len(updates)]
        ax.plot(updates, lines.mean(0), color=style.COLOR[color], label=name)
        low, high = lines.amin(0), lines.amax(0)
        ax.fill_between(updates, low, high, color=style.COLOR[color], alpha=0.25, linewidth=0)
    ax.set(xlabel="updates", ylabel="share right", ylim=(0, 1.02), title=kind)
axes[1].legend(fontsize=8)
ends = {name: run(name, "worked out")[:, -1].mean() for name in ("filtered", "all places")}
late = run("at once", "worked out at once")[:, -1].mean()
plots.show(plots.caption(fig, "Right next tokens by kind, three seeds, band from least to most. Worked out: "
    + ", ".join(f"{name} {x:.2f}" for name, x in ends.items())
    + f"; trained to say it at once {late:.2f} after sixteen times as long."))

# %% tags=["concept:reinforcement-pretraining", "concept:next-token-prediction"]
before, after = run("filtered", "worked out")[:, 0], run("filtered", "worked out")[:, -1]
longest = run("at once", "worked out at once")[:, -1]                  # 384 steps
print("plain training, nats of texts after 0, 12, 24, 384 steps:", run("at once", "nats").mean(0))
print(f"thinks: {before.max():.2f} → {after.min():.2f} (worst); at once, 16 times on: {longest.max():.2f}")
print(f"useful groups at the dice: {grpo.useful_share(0.1, 8):.0%}")
print(f"dice after a thought {run('filtered', 'dice')[:, -1].mean():.2f}")
assert after.min() > 0.85 and longest.max() < 0.25 and before.max() < 0.5
assert (run("filtered", "dice")[:, -1] - 0.1).abs().max() < 0.06      # no thought helps

# %% [markdown]
# - At the hard places a thought makes the difference between a die and knowledge. More plain training at the same places, 384 steps, does not: still one in ten. (Trained for long, a small network can learn a modular sum in one pass: Nanda et al. 2023, 2301.05217, two summands. A thought gives it room for steps that it already knows.)
# - At the dice nothing helps. Yet many of their groups have a signal, one lucky guess among eight: `grpo.useful_share(0.1, 8)` of them, and what they teach is noise.
# - At the easy places the filtered run gets *worse* after a thought: it never thinks there any more, and what it learns elsewhere spills over. Thinking at all places keeps them, at a price:

# %% tags=["concept:entropy-filtering"]
first = {name: run(name, "worked out")[:, 1].mean() for name in ("filtered", "all places")}
spare = {name: run(name, "easy")[:, -1].min() for name in first}
for name in first:
    print(f"{name:17} hard ones after 12 updates {first[name]:.2f}, at last {ends[name]:.2f}; "
          f"easy {spare[name]:.2f} (worst); useful groups {run(name, 'signal').mean():.0%}")
assert first["filtered"] > first["all places"] and spare["all places"] > spare["filtered"]

# %% [markdown]
# ### What a thought costs
#
# Said at once, a prediction is one token. A thought is many, and they come one after the other:

# %% tags=["nbval-ignore-output", "concept:reinforcement-pretraining"]
fresh = rpt.of_kind("worked out", 500, torch.Generator().manual_seed(4))
spent = {}
asking = {"thought": (rpt.asked(fresh), 8), "word": ([place.context for place in fresh], 1)}
for name, (texts, longest) in asking.items():
    prompts, clock = lm.encode_prompts(words, texts), time.process_time()
    for seed in range(5):
        drawn = lm.sample(thinker, prompts, longest=longest, temperature=1.0,
                          generator=torch.Generator().manual_seed(seed))
    spent[name] = (time.process_time() - clock, drawn.mask.sum().item() / 500)

# %% tags=["concept:rl-vs-pretraining", "nbval-ignore-output"]
print(f"{spent['thought'][1]:.1f} tokens in place of {spent['word'][1]:.0f}: "
      f"{spent['thought'][0] / spent['word'][0]:.1f} times the processor time")
assert spent["thought"][0] > spent["word"][0]

# %% [markdown]
# And one pass over a text trains plain prediction at *every* token at once, while each thought serves a single place.

# %% [markdown]
# ## Can RL replace pre-training?
#
# *"With rewards alone, no imitation is needed."* A 0/1 reward says at most one bit for a whole reply; a token of text up to $\log_2|V|$, here 4.6 bits. And the bit is only worth something if some replies are right. A model that knows nothing hits an answer of $L$ given tokens
# with probability $|V|^{-L}$, so you wait $|V|^L$ replies for the first reward, on average:

# %% tags=["nbval-ignore-output", "concept:rl-vs-pretraining"]
blank = lm.build(words, **rpt.READER, seed=0)
V = len(words)
places_of_sums = rpt.of_kind("worked out", 2000, torch.Generator().manual_seed(6))
prompts = lm.encode_prompts(words, rpt.asked(places_of_sums))
judge = rpt.reward(words, places_of_sums)
for name, model in (("untrained", blank), ("pre-trained and hasty", start)):
    said = lm.sample(model, prompts, longest=8, temperature=1.0, generator=torch.Generator().manual_seed(7))
    print(f"{name:22} {judge(said).sum():4.0f} of 2000 replies right")
for length in (1, 2, 3, 7):
    print(f"{length} given tokens by chance: once in {V ** length:,} replies")

# %% tags=["concept:rl-vs-pretraining"]
lucky = sum(((V - 2) / V) ** n for n in range(6)) / V**3               # n words, then </think>, digit, EOS
print(f"a right reply of at most 8 random tokens: once in {1 / lucky:,.0f}; {math.log2(V):.1f} bits a token")
assert V == 24 and abs(1 / lucky - 2832.5) < 0.1

# %% [markdown]
# The shortest right reply is `</think>`, a digit, EOS; with anything in front of it, up to eight tokens, about one random reply in 2,800 is right, by luck. *One given* reply that works has seven tokens. RL finds what the start already does now and then, and makes it certain. So RPT does not do without pre-training: it starts from a model that has been pre-trained **and** taught to reason. How long does
# an untrained model train before the first reward?

# %% tags=["concept:rl-vs-pretraining", "nbval-ignore-output"]
generator, paid = torch.Generator().manual_seed(0), {}
hard_places = [place for place in places if place.kind == "worked out"]
for name, model in (("untrained", blank), ("pre-trained", start)):
    records = rpt.think(copy.deepcopy(model), words, hard_places, None, generator, updates=5)
    paid[name] = [int(record.rewards.sum()) for record in records]
    print(f"{name:12} rewards in 256 replies, update by update: {paid[name]}")
assert 20 * sum(paid["untrained"]) < sum(paid["pre-trained"]) and paid["pre-trained"][0] > 60

# %% [markdown]
# One lucky reply in 1,280, and it taught nothing: a single reward is a digit that matched. Of the pre-trained model's first 256 replies a third are paid. With each further token that must be right the first reward is 24 times farther away.

# %% [markdown]
# ## Keeping the language: RL and the language-model loss together
#
# The thinker's *plain* reading was not rewarded. It suffers (column nats above). InstructGPT's remedy, PPO-ptx (chapter 08), works here as well:
# $$L=L_{\mathrm{RL}}+\gamma\,L_{\mathrm{LM}},\qquad L_{\mathrm{LM}}=-\text{mean}\log\pi(x_t\mid x_{<t})\text{ on ordinary texts}.$$
# (γ here is a weight, as in the paper, no discount.) RPT itself does not do this; `loops.grpo.train` takes `texts=(γ, batches)`. Two weights, three seeds, loss on new texts:

# %% tags=["concept:mixed-rl-lm-training"]
mixed = {0.0: "filtered"} | {weight: f"filtered, texts {weight:g}" for weight in (0.1, 1.0)}
print(f"before: {run('filtered', 'nats')[:, 0].mean():.3f} nats per token of ordinary texts")
quickly = run("at once", "nats").mean(0)                               # after 0, 12, 24 and 384 steps
print(f"plain training at the filtered places alone, 24 steps: {quickly[2]:.3f}, 384: {quickly[3]:.3f}")
for weight, name in mixed.items():
    nats, hard = run(name, "nats")[:, -1], run(name, "worked out")[:, -1]
    print(f"γ = {weight:4}: {nats.mean():.3f} nats (worst {nats.max():.3f}), worked out {hard.mean():.2f} "
          f"(worst {hard.min():.2f}), easy after a thought {run(name, 'easy')[:, -1].mean():.2f}")

# %% tags=["concept:mixed-rl-lm-training"]
kept_nats = {weight: run(name, "nats")[:, -1] - run(name, "nats")[:, 0] for weight, name in mixed.items()}
print("loss lost, nats per token:", {weight: round(x.mean().item(), 3) for weight, x in kept_nats.items()})
assert kept_nats[0.0].min() > 0.05 and kept_nats[1.0].max() < kept_nats[0.0].min() / 3
assert quickly[2] - quickly[0] < 0.01 and quickly[3] > run("filtered", "nats")[:, -1].max()
assert run(mixed[1.0], "worked out")[:, -1].min() > 0.85

# %% [markdown]
# A small weight keeps what was read, and costs nothing that can be seen at the hard places. A narrow diet harms without a reward, too, only more slowly: plain training at the filtered places alone has lost hardly anything after 24 steps (there is little to learn, so little moves), and after 384 more than RL after its 24. What the mixture does *not* protect is what it does not contain: thinking at easy places stays as it fell. Remember with texts of the kind you want to keep.
#
# ## Relatives
#
# | method | what it thinks about | what it is paid | how |
# |---|---|---|---|
# | STaR (Zelikman et al. 2022, 2203.14465) | questions with known answers | 0/1, the answer | keep thoughts that end right, SFT on them, repeat |
# | Quiet-STaR (Zelikman et al. 2024, 2403.09629) | every token of a text | log-probability of the next tokens, less the mean over its other thoughts | REINFORCE, a thought at each token in parallel, a mixing head |
# | RPT (Dong et al. 2025, 2506.08007) | tokens of high entropy | 0/1, prefix matching | GRPO, no KL |
# | RLP (Hatamizadeh et al. 2025, 2510.01265) | tokens of a text | gain in log-probability over a slow copy that does not think | group baseline, clipped |
# | RLPT (Li et al. 2025, 2509.19249) | the next *segment* | a model judges whether it means the same | RL on pre-training text |
#
# The reward of Quiet-STaR and RLP is **dense**: a thought that makes the right token a little likelier earns a little. On the start's own thoughts, eight at each of 200 hard places, both rewards:

# %% tags=["concept:rpt-relatives"]
two_hundred = rpt.of_kind("worked out", 200, torch.Generator().manual_seed(8))
group = [place for place in two_hundred for _ in range(8)]
thoughts = lm.sample(start, lm.encode_prompts(words, rpt.asked(group)), longest=8, temperature=1.0,
                     generator=torch.Generator().manual_seed(9))
said = [reply.partition("</think>")[0] for _, reply in lm.read(words, thoughts)]
contexts = [" ".join(f"{ask} {reply} </think>".split()) for ask, reply in zip(rpt.asked(group), said)]
nexts = [place.continuation.split()[0] for place in group]

# %% tags=["concept:rpt-relatives"]
with torch.no_grad():
    with_thought = lm.logps(start, lm.encode(words, contexts, nexts, ended=False))[:, 0]
    plain = lm.encode(words, [place.context for place in group], nexts, ended=False)
    without = lm.logps(start, plain)[:, 0]
dense = reasoning.information_gain(with_thought, without).view(200, 8).double()
sparse = rpt.reward(words, group)(thoughts).view(200, 8).double()
shares = [(x.std(1) > 0).double().mean() for x in (sparse, dense)]
print(f"0/1 : mean {sparse.mean():.2f}, useful groups {shares[0]:.0%}")
print(f"gain: mean {dense.mean():.2f} nats ({dense.min():.1f} to {dense.max():.1f}), useful {shares[1]:.0%}")
expected = with_thought.exp().view(200, 8).double()
luck = (expected * (1 - expected)).mean() / sparse.var(1).mean()
print(f"variance of the 0/1 reward that comes from drawing the token: {luck:.0%}")
assert (dense.std(1) > 0).all() and (sparse.std(1) == 0).any() and 0.2 < luck < 0.35

# %% [markdown]
# Here nearly every 0/1 group has a signal, too (97 %). What is gained is the noise: a quarter of the 0/1 reward's variance within a group came from drawing the token, 27 %, and the gain has none of it. The price: the gain is paid for *confidence*, a wrong thought costs many nats, and you need the probabilities of a second model for each token.
#
# ### Other rewards
#
# Anything that can be computed can be a reward. Among those in use: unit tests for **code** (CodeRL, Le et al. 2022, 2207.01780), satisfaction of users or success of the task for **dialogue**, a classifier or a metric for **style**. The rule of chapter 11 holds for each: what is measured is what you get. Four programs for *absolute value*,
# and tests as the judge:

# %% tags=["concept:other-rl-rewards"]
programs = {"honest": lambda x: x if x > 0 else -x, "sloppy": lambda x: x, "broken": lambda x: x / 0,
            "learned by heart": lambda x: {-2: 2, 0: 0, 3: 3}.get(x, 7)}

def passes(program, inputs):
    """Share of tests that pass; a program that fails to run passes none."""
    def right(x):
        try:
            return program(x) == abs(x)
        except ArithmeticError:
            return False
    return sum(map(right, inputs)) / len(inputs)

for name, program in programs.items():
    print(f"{name:17} tests it has seen {passes(program, [-2, 0, 3]):.2f}, "
          f"new ones {passes(program, range(-50, 50)):.2f}")
cheat = programs["learned by heart"]
assert passes(cheat, [-2, 0, 3]) == 1 and passes(cheat, range(-50, 50)) < 0.1

# %% [markdown]
# All tests passed or a share of them is a choice as well: the share pays the sloppy one, too, which is shaping again.

# %% [markdown]
# ## What breaks
#
# ### pass@k from too few replies
#
# Four replies to each problem, and pass@8 is asked for. There is no unbiased estimate, and `rlcore` refuses:

# %%
try:
    reasoning.pass_at_k(4, torch.tensor([1, 2]), k=8)
except ValueError as reason:
    print(reason)
else:
    raise AssertionError("pass@8 of four replies passed")

# %% [markdown]
# ### One group, all the same
#
# At a prompt that is always or never solved all advantages are 0: outcome rewards teach nothing there. Process rewards do, if the steps differ:

# %% tags=["concept:process-vs-outcome-reward"]
never = torch.tensor([[[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]])             # both answers wrong; one began well
steps_there = torch.ones(1, 2, 3, dtype=torch.bool)
print("outcome", *process.by_outcome(never, steps_there, ddof=0)[0].numpy().round(2))
print("process", *reasoning.process_advantages(never, steps_there, ddof=0)[0].numpy().round(2))
assert (process.by_outcome(never, steps_there, ddof=0) == 0).all()

# %% [markdown]
# ### A judge that is right by itself, and a sum that is not
#
# The product of step chances falls with every further step: of two careful solutions the longer one loses. Ten steps at 0.95 score 0.60, three at 0.84 score 0.59:

# %% tags=["concept:process-vs-outcome-reward"]
chances = torch.tensor([[0.95] * 10, [0.84] * 3 + [0.0] * 7])
real = torch.arange(10) < torch.tensor([[10], [3]])
print("product", reasoning.step_product(chances, real), " minimum", reasoning.step_minimum(chances, real))
assert abs(reasoning.step_product(chances, real) - torch.tensor([0.5987, 0.5927])).max() < 1e-4

# %% [markdown]
# ## Exercises
#
# **1 · By pencil.** *★☆☆ · 3 minutes.* Of six replies two are right. What is the estimate of pass@3?

# %% tags=["exercise"]
passed_three = ...

# %%
check.answer(
    passed_three, 0.8, atol=0.001, mistakes={
    "put c/n in for p": 0.7037, "gave the chance of none": 0.2, "took the share of right replies": 0.3333})

# %% [markdown]
# <details><summary>Hint</summary>
#
# There are 20 ways to pick three of six. How many of them pick wrong ones only?
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# passed_three = 1 - 4 / 20
# ```
# Three of the four wrong ones: 4 ways.
# </details>
#
# **2 · By pencil.** *★★☆ · 5 minutes.* A reply gives the right answer with chance 0.4, and the wrong answers A and B with 0.3 each. How likely does the right one win a vote of three, ties broken by chance?

# %% tags=["exercise"]
vote_of_three = ...

# %%
check.answer(
    vote_of_three, 0.424, atol=0.001, mistakes={
    "asked for more than half of the votes": 0.352, "gave the right answer every tie": 0.568,
    "took pass@3": 0.784, "took one draw": 0.4})

# %% [markdown]
# <details><summary>Hint</summary>
#
# Three votes: 0.4³. Two votes: 3 · 0.4² · 0.6. One vote each: six orders of right, A, B; a third of them is won.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# vote_of_three = 0.4**3 + 3 * 0.4**2 * 0.6 + 6 * 0.4 * 0.3 * 0.3 / 3
# ```
# `reasoning.majority_at_k` agrees. Against one wrong answer of 0.6 it would be 0.352: wrong answers that *disagree* help the vote.
# </details>
#
# **3 · Open.** *★★★ · 20 minutes.* On eight digits one seed lost the skill. Add problems of eight digits to the prompts (`sums.REWARDED`), or mix in the language-model loss of demonstrations. Which of the two keeps it, and for how many updates?
#
# ## Clinic
#
# Find the flaw in each statement *before* you open the verdict.
#
# **1.** *"GRPO's comparison within a group suits the correctness of the process very well."* Two replies with the same answer, right and wrong on the way:

# %% tags=["concept:process-vs-outcome-reward"]
same_answer = torch.tensor(
    [[[1.0, 1.0, 1.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]]
)  # the last step is the answer
everywhere = torch.ones_like(same_answer, dtype=torch.bool)
by_answer = process.by_outcome(same_answer, everywhere, ddof=0)[0]
print(*by_answer.numpy().round(2))

# %% tags=["concept:process-vs-outcome-reward"]
assert torch.equal(by_answer[0], by_answer[1])                         # the lucky one is praised alike

# %% [markdown]
# <details><summary>Verdict</summary>
#
# **Verdict.** With outcome rewards every token gets the *same* advantage, also a wrong step that luck made up for. Process supervision is another variant (DeepSeekMath, section 4.1.3), and needs a judge of steps.
# </details>
#
# **2.** *"DeepSeek chose GRPO for code because unit tests make a reward model unnecessary."*
#
# <details><summary>Verdict</summary>
#
# **Verdict.** GRPO was introduced for *mathematics*. For code DeepSeek-Coder-V2 has 0/1 feedback from the compiler and still trains a reward model on it, as tests cover a part only. The cell "learned by heart" above is what they fear.
# </details>
#
# **3.** *"KL keeps the model near the pre-trained one, like PPO's trust region."*
#
# <details><summary>Verdict</summary>
#
# **Verdict.** Two anchors (chapter 11): the penalty holds on to $\pi_{\mathrm{ref}}$, usually the SFT model, for the whole run; PPO's clip to $\pi_{\mathrm{old}}$, a moment ago. RPT has no KL at all.
# </details>
#
# **4.** *"The DPO paper shows that a model trained on summaries also gets better at dialogue."*
#
# <details><summary>Verdict</summary>
#
# **Verdict.** Its test outside the training data is *news* summaries after training on Reddit ones. Dialogue is an experiment of its own. No transfer from one task to another is claimed.
# </details>

# %% [markdown]
# ### What RPT is said to be
#
# These statements circulate.
#
# **5.** *"RPT turns the corpus into RL data: each document is a trajectory, each token an action; episodes end with the document."*
#
# <details><summary>Verdict</summary>
#
# **Verdict.** Invented. Each *selected place* is a question of its own: context in, thought and prediction out, reward, end. Several thoughts for one context make the group. What is trained are the tokens of the thought and the prediction, none of the corpus.
# </details>
#
# **6.** *"Its reward has layers: perplexity under GPT-2, facts checked in Wikidata (+1, −2), a bonus for the source (Wikipedia +0.8, forum −0.1), scores for sentences and documents, potential-based shaping."*
#
# <details><summary>Verdict</summary>
#
# **Verdict.** Nothing of this is in the paper. The reward is 0 or 1 by prefix matching, chosen because there is no scorer that could be gamed. Potential-based shaping is real (above), and not part of RPT.
# </details>
#
# **7.** *"It is optimised with V-MPO and A2C, on a replay buffer of good trajectories, with truncated importance weights; every fifth step is language modelling."*
#
# <details><summary>Verdict</summary>
#
# **Verdict.** GRPO, on policy, 8 thoughts a context, no KL, dynamic sampling from step 500 of 1,000. No critic, no replay, no LM loss. V-MPO and A2C are on-policy methods: old trajectories of high reward have no place in either without weights, as the cell below shows. (V-MPO is *on-policy* maximum a posteriori policy optimisation: Song et al. 2019, 1909.12238.)
# </details>

# %% tags=["concept:reinforcement-pretraining"]
old, now = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.2, 0.6])  # who drew; the policy today
earned = torch.tensor([1.0, 0.0, 0.5])
score = torch.eye(3) - now                                             # [drawn, logits] ∇ log π of a softmax
exact_slope = (now[:, None] * earned[:, None] * score).sum(0)
replayed = (old[:, None] * earned[:, None] * score).sum(0)
weighted = (old[:, None] * (now / old * earned)[:, None] * score).sum(0)
print("gradient", exact_slope, " replayed", replayed, " replayed with weights", weighted)
assert torch.allclose(weighted, exact_slope) and not torch.allclose(replayed, exact_slope, atol=0.05)

# %% [markdown]
# **8.** *"The first model pre-trained by RL: RL replaces pre-training."*
#
# <details><summary>Verdict</summary>
#
# **Verdict.** It starts from a distilled reasoning model and reads mathematics alone; the paper names both as limits, and Quiet-STaR as the closest work before it. From an untrained model there is next to nothing to reward: you counted.
# </details>

# %% [markdown]
# ## Summary
#
# | symbol | what it is | function | where |
# |---|---|---|---|
# | pass@k | at least one of k is right; $1-\binom{n-c}{k}/\binom nk$ | `reasoning.pass_at_k` | [by hand](#The-smallest-example,-by-hand) |
# | maj@k | the likeliest answer, in the end | `reasoning.majority_vote`, `majority_at_k` | [majority](#The-majority) |
# | ORM, PRM | a judge of answers, of steps | `process.train_judge` | [judges](#Who-judges:-the-answer,-or-every-step?) |
# | $\prod_s$, $\min_s$ | one score from steps | `reasoning.step_product`, `step_minimum` | [judges](#Who-judges:-the-answer,-or-every-step?) |
# | $A_s=\sum_{j\ge s}\tilde r_j$ | advantage of a step | `reasoning.process_advantages` | [policy](#In-the-policy's-reward) |
# | $\gamma\Phi(s')-\Phi(s)$ | shaping that leaves the optimum alone | `reasoning.shaped_rewards` | [shaping](#A-reward-for-every-step,-and-what-it-does-to-the-goal) |
# | prefix match | RPT's reward | `reasoning.prefix_match` | [RPT](#A-thought-before-the-next-word:-reinforcement-pre-training) |
# | top-16 entropy | where RPT trains | `reasoning.top_entropy` | [RPT](#Where-is-there-something-to-think-about?) |
# | $L_{\mathrm{RL}}+\gamma L_{\mathrm{LM}}$ | keep the language | `loops.grpo.train(texts=…)` | [mixing](#Keeping-the-language:-RL-and-the-language-model-loss-together) |
#
# ## Quiz

# %%
check.quiz(
    "Only the answer is rewarded, and replies grow from 4.5 to 9 tokens. Why?",
    [
        "The denominator favours long replies",
        "Replies that think are right more often",
        "The KL penalty is missing",
    ],
    answer=1,
    why="The choice to think stands in the reply. Where length does not matter no denominator moves it.",
)

# %%
check.quiz(
    "After RL pass@1 is higher and pass@64 lower than before. What do you know?",
    [
        "RL taught new problems",
        "The model is sure of more, and tries fewer answers",
        "Sampling is too cold",
    ],
    answer=1,
    why="The mass went to what was likely to be right. With ten possible answers a guesser passes at "
    "k = 64 as well.",
)

# %%
check.quiz(
    "When can a majority vote not help?",
    ["When the right answer is not the likeliest one", "When replies are long", "When pass@k is high"],
    answer=0,
    why="More votes make the likeliest answer win more surely, right or wrong.",
)

# %%
check.quiz(
    "You pay 0.1 for each step that a process judge calls right, summed over the reply. What may RL find?",
    [
        "Longer replies whose steps are right and add nothing",
        "Shorter replies",
        "The same best replies as before",
    ],
    answer=0,
    why="A sum of marks pays for steps. Only differences of a function of the state cancel over a reply.",
)

# %%
check.quiz(
    "RPT's filter keeps the tokens at which a proxy has a high entropy. What does it keep besides those "
    "worth a thought?",
    ["Nothing", "Tokens that are random, whatever one thinks", "Tokens that the proxy gets right"],
    answer=1,
    why="Entropy measures doubt, not whether thinking removes it. Here nearly half of those kept were dice.",
)

# %%
check.quiz(
    "A thought reaches the right token by a wrong path. What does prefix matching pay?",
    ["1", "0", "Something between"], answer=0,
    why="It sees the prediction alone: an outcome reward. Here one guess in ten is paid.")

# %% [markdown]
# ## Sources
#
# - Wei et al. 2022, *Chain of thought* (2201.11903). Wang et al. 2022, *Self-consistency* ([2203.11171](https://arxiv.org/abs/2203.11171)). Chen et al. 2021, *Codex* ([2107.03374](https://arxiv.org/abs/2107.03374)), equation 1: pass@k.
# - Yue et al. 2025, *Does RL really incentivize reasoning capacity beyond the base model?* ([2504.13837](https://arxiv.org/abs/2504.13837)).
# - Cobbe et al. 2021 (2110.14168): verifiers. Lightman et al. 2023, *Let's verify step by step* ([2305.20050](https://arxiv.org/abs/2305.20050)). Wang et al. 2023, *Math-Shepherd* (2312.08935).
# - Shao et al. 2024, *DeepSeekMath* ([2402.03300](https://arxiv.org/abs/2402.03300)), section 4.1.3: process supervision. Liu et al. 2025, *Dr. GRPO* (2503.20783): length.
# - Ng, Harada & Russell 1999, *Policy invariance under reward transformations*. Randløv & Alstrøm 1998: the bicycle.
# - Nanda et al. 2023, *Progress measures for grokking via mechanistic interpretability* ([2301.05217](https://arxiv.org/abs/2301.05217)): modular sums in one pass.
# - Dong et al. 2025, *Reinforcement pre-training* ([2506.08007](https://arxiv.org/abs/2506.08007)). Relatives: 2203.14465, 2403.09629, 2510.01265, 2509.19249.
#
# Next: chapter 13, where nobody labels the data.
