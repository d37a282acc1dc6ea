# ---
# jupyter:
#   course:
#     number: 0
#     slug: start_here
#     title: Start here
#     question: "How does this course work, and is your machine ready?"
#     modules: [check, doctor]
#     explorer: cookie now or cake later
#     read: 20
#     run: 15
# ---

# %% [markdown]
# # 00 · Start here
#
# **How does this course work, and is your machine ready?**
#
# This is a course you run. It goes from the Bellman equation to the methods that train today's language models: policy gradients,
# PPO, reward models, DPO, GRPO. Formulas are small tested functions, claims are measured in cells, and sliders call the same tested
# functions. It needs two processor cores and no internet. Chapters that are still planned are marked so on the map below.
#
# After this chapter you can
#
# - move a slider and read what it shows;
# - write a function, have it checked, and understand the answer when it is wrong;
# - find your way: chapters, notation, concepts, devices.
#
# **Needs** some Python, and what the five warm-up questions at the end ask. **Minutes** 20 to read and do, seconds to run.
#
# To run a cell press Shift+Enter. To run all of them use the menu *Run → Run All Cells*.

# %%
from pathlib import Path

import torch

from rlcore import check, doctor, masked
from rlcore.view import course, plots
from rlcore.view.explore import explore, patience

# %% [markdown]
# ## Your first slider
#
# **Before you run:** a cookie lies one step to your left, a cake five times as good six steps to your right. Each step into the future
# multiplies what a reward is worth today by the *discount* γ; the reward of your first step counts in full. From which γ on do you walk to the
# cake?

# %% tags=["concept:return-and-discount"]
explore(patience.draw, **patience.controls())

# %% [markdown]
# **Try it.** Drag γ, or click the slider and use the arrow keys. Find the γ at which your choice flips. Then put the cake twelve steps away.
#
# <details><summary>What you should see</summary>
#
# The cake after $n$ steps is worth $5\gamma^{n-1}$ today, the cookie 1. They are equal at $\gamma=(1/5)^{1/(n-1)}$. The further away a reward
# is, the more patience it needs. Chapter 01 starts from here.
# </details>

# %% tags=["concept:return-and-discount"]
for steps in (6, 12):
    print(f"{steps} steps: equal at γ = {(1 / 5) ** (1 / (steps - 1)):.3f}")
assert 5 * 0.72**5 < 1 < 5 * 0.73**5 and 5 * 0.86**11 < 1 < 5 * 0.87**11

# %% [markdown]
# Every explorer is like this one: the picture at rest makes the point, the text below it says it in numbers, and a question follows
# that the ends of the sliders answer.

# %% [markdown]
# ## Is your machine ready?
#
# The doctor lists versions, threads, device and free memory. The same report comes from `python -m rlcore.doctor` in a terminal.

# %% tags=["nbval-ignore-output"]
assert doctor.main() == 0

# %% [markdown]
# **Device.** The chapters run on the CPU. The functions of rlcore run wherever their tensors are, so the same function runs on a GPU when you
# hand it tensors from there; worlds take a `device`. `doctor.device()` names the best one here. **Models.** Every language model of this
# course is small enough to be trained on your machine. Chapter 06 shows the one door to a larger one from a hub, where there is internet:
# `lm.load(name, hub=True)`, off by default.

# %% tags=["nbval-ignore-output"]
device = doctor.device()
print("best device here:", device)
masked.mean_over_tokens(torch.ones(2, 3, device=device), torch.ones(2, 3, dtype=torch.bool, device=device))

# %% [markdown]
# ## The map
#
# Drawn from the chapters' own metadata: each notebook says which question it answers, which module it builds, and how long it takes.

# %%
chapters = course.read(Path("."))
assert [chapter.number for chapter in chapters] == list(range(16))
plots.show(course.draw_map(chapters))

# %%
written = [chapter for chapter in chapters if not chapter.planned]
print("chapter                   minutes to read   seconds to run")
for chapter in written:
    print(f"{chapter.number:02d} {chapter.title:22} {chapter.read:>14} {chapter.run:>16}")

# %% [markdown]
# Do them in order the first time. Later, open any of them alone: no chapter needs the results of another.
# [The concept index](concepts.md) leads from a term, English or Chinese, to the cell that shows it.
#
# ## Write → check → use
#
# In each chapter you write the few functions that matter. You write in a cell, a check compares your function with examples worked by
# hand, and from then on you use it. Try it on a function that many language-model losses use: the mean over the *real* tokens of a batch,
# where a mask says which tokens are real.
#
# ### Write it: `mean_over_tokens`
#
# *Difficulty ★☆☆ · importance ★★★ · 5 minutes.* `x` and `mask` have axes [B, T]: sequences, tokens. Replace the dots. While they are there,
# rlcore's own version stands in, so the notebook runs either way.

# %% tags=["exercise"]
@check.exercise(masked.mean_over_tokens)
def mean_over_tokens(x, mask):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# Indexing with a boolean mask, `x[mask]`, keeps the entries where it is True.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def mean_over_tokens(x, mask):
#     return x[mask].mean()
# ```
# </details>
#
# What does a wrong answer look like? Here is a common one: it zeroes the padding but still divides by it. The check shows what came out, what
# was wanted, and **which mistake it looks like**.

# %%
def padded_mean(x, mask):
    return (x * mask).mean()

try:
    check.same(padded_mean, masked.mean_over_tokens)
except check.CheckFailed as failure:
    print(failure)

# %% [markdown]
# The function that runs in the package is never hidden. `check.show` prints its source. (`_kept` puts 0 behind the mask, `_count` counts, and
# both check what they are given.)

# %%
check.show(masked.mean_over_tokens)

# %% [markdown]
# Mistakes are the subject of the **clinics** too. There, formulas that circulate in wrong form are find-the-bug exercises, and a number
# gives the verdict. A first one, short: *"multiply by the mask, and padding no longer matters."* Look at what stands in the padding.

# %%
x = torch.tensor([[1.0, 2.0, float("nan")]])
mask = torch.tensor([[True, True, False]])
print("x * mask        ", (x * mask).sum() / mask.sum())
print("mean_over_tokens", mean_over_tokens(x, mask))
assert mean_over_tokens(x, mask) == 1.5

# %% [markdown]
# **Verdict.** $0\cdot\mathrm{NaN}$ is NaN: one bad number in the padding would poison the whole loss. Select, never multiply.

# %% [markdown]
# ## Notation
#
# One symbol, one name: in formulas, code, sliders and figures. Where the literature gives a letter two meanings, the table names both.
#
# | symbol | in code | English | 中文 |
# |---|---|---|---|
# | $s,\ a,\ s'$ | axes S, A | state, action, next state | 状态、动作、下一状态 |
# | $P(s'\mid s,a)$ | `transitions [S,A,S]` | transition probabilities | 转移概率 |
# | $r,\ R$ | `rewards` | reward that follows the action; expected reward | 奖励、期望奖励 |
# | $\gamma$ | `gamma`; per step `discounts [B,T]` | discount factor | 折扣因子 |
# | $G$ | `returns` | return | 回报 |
# | $V,\ Q$ | `v [S]`, `q [S,A]`; along episodes `values [B,T+1]` | state value, action value | 状态价值、动作价值 |
# | $A,\ \delta$ | `advantages`, `td_errors` | advantage, TD error | 优势、时序差分误差 |
# | $\lambda$ | `lam` | trace decay of GAE | GAE 的衰减系数 |
# | $\pi,\ \log\pi$ | `policy`; `logps [B,T]`, `seq_logps [B]` | policy; log-probability of tokens, of sequences | 策略；词元与序列的对数概率 |
# | $\pi_{\rm old},\ \pi_{\rm ref}$ | `old_logps`, `ref_logps` | policy that sampled; reference policy | 采样策略、参考策略 |
# | $\rho=\pi/\pi_{\rm old}$ | `ratio` | probability ratio; $\rho_0$ is the distribution of the first state | 概率比；初始状态分布 |
# | $\varepsilon$ of clipping | `eps_clip` (`eps_low`, `eps_high`) | clip range | 裁剪范围 |
# | $\varepsilon$ of exploration | `eps_explore` | exploration rate | 探索率 |
# | $\beta$ | `beta` | strength of the KL penalty | KL 惩罚系数 |
# | $\tau$ | `temperature` | sampling temperature; $\tau$ is also a trajectory, as in $P(\tau)$ | 采样温度；轨迹 |
# | $\alpha$ | `lr` | step size, learning rate | 步长、学习率 |
# | $y_w,\ y_l$ | `chosen`, `rejected` | preferred and rejected reply | 优选回复、劣选回复 |
# | $G$ of GRPO | `group_size`, axis K | replies per prompt | 组大小 |
# | mask | `mask`, True = a token the policy chose | real tokens: EOS yes, prompt and padding no | 掩码 |
#
# Axes: B sequences, K per group, T steps, V vocabulary, S states, A actions, H hidden. Logarithms are natural, so information is in *nats*.
#
# ## Five warm-up questions
#
# If one of them is new to you, its answer says where to look it up.

# %%
check.quiz(
    "A fair die pays its number of points. What is the expected pay?", ["3", "3.5", "6"], answer=1,
    why="(1 + 2 + … + 6) / 6 = 3.5: an expectation is a mean weighted by probabilities. Look up: expected value.")

# %%
check.quiz(
    "P(rain) = 0.3 and P(late | rain) = 0.5, P(late | dry) = 0.1. What is P(late)?", ["0.15", "0.22", "0.6"], answer=1,
    why="0.3 · 0.5 + 0.7 · 0.1 = 0.22. Look up: law of total probability. A Bellman backup is this sum, with values.")

# %%
check.quiz(
    "What is log(½ · ¼) in terms of logs, and why do people add log-probabilities?",
    ["log ½ · log ¼; it is faster", "log ½ + log ¼; a product of many probabilities underflows"], answer=1,
    why="The probability of a long text is soon smaller than the smallest float. Look up: log-likelihood.")

# %%
check.quiz(
    "x has shape [2, 3] and w has shape [3]. What is the shape of x * w?", ["[2, 3]", "[3, 2]", "an error"], answer=0,
    why="Axes are matched from the right, and w is used for each row. Look up: broadcasting in PyTorch. "
        "It is also the most common silent bug, so this course checks shapes by name.")

# %%
check.quiz(
    "y = x.detach() * x for x = 3 with gradient. What is dy/dx according to autograd?", ["6", "3", "0"], answer=1,
    why="detach makes its factor a constant: 3 · x has derivative 3. Look up: torch.Tensor.detach. "
        "Policy-gradient losses detach their advantages: chapter 03.")

# %% [markdown]
# ## Sources
#
# - Okabe & Ito 2008, *Color Universal Design*: the colours. Yu et al. 2025 (DAPO), arXiv:2503.14476, eq. 8: the mean over tokens.
#
# Next: [chapter 01, MDP and Bellman](01_mdp.ipynb).
