# ---
# jupyter:
#   course:
#     number: 1
#     slug: mdp
#     title: MDP and Bellman
#     question: "What is a situation worth, and what is the best thing to do, when you know the rules?"
#     modules: [mdp, worlds]
#     explorer: value iteration on a slippery floor
#     read: 60
#     run: 40
# ---

# %% [markdown]
# # 01 · MDP and Bellman
#
# **What is a situation worth, and what is the best thing to do, when you know the rules?**
#
# After this chapter you can
#
# - write a task as states, actions, transitions, rewards and a discount, and check that it is one;
# - compute what any policy is worth, by one linear solve or by repeated backups, and say why both agree;
# - find the best policy by value iteration and by policy iteration, and say how sure you are of the result;
# - say what stops all of this at the size of a language model, with numbers.
#
# **Needs** [chapter 00](00_start_here.ipynb): expectation, conditional probability, tensors with named axes.
# **Minutes** 60 to read and do, under 1 to run.

# %%
from itertools import product

import numpy as np
import torch

from rlcore import check, mdp
from rlcore.mdp import MDP
from rlcore.view import plots, style
from rlcore.worlds import gridworld, phrases

torch.set_default_dtype(torch.float64)
torch.set_printoptions(precision=4, sci_mode=False, linewidth=110)

# %% [markdown]
# ## Before you run
#
# A 4 × 4 room has exits in two opposite corners. A walker chooses each step at random among up, right, down and left, and stays
# put when a wall is in the way. **How many steps until an exit, on average, from a corner that has none?** The nearest exit is
# 3 steps away. Write your guess down; you will compute the number below.

# %% [markdown]
# ## The smallest example, by hand
#
# You stand at the start. *Safe* pays 1 and ends. *Risky* pays nothing now; with chance ½ it leads to a bonus room, where any
# action pays 4 and ends, and with chance ½ it just ends.
#
# ![The smallest example drawn as a graph: start, bonus, end, with the two actions at the start](../figures/01_smallest.svg)
#
# Five things describe it, and nothing else does: the **states** $\mathcal S$, the **actions** $\mathcal A$, the **transitions**
# $P(s'\mid s,a)$, the **rewards** $R(s,a)$ and the **discount** $\gamma$. This is a *Markov decision process*: what happens next
# depends on the present state and action, not on how you got here.

# %% tags=["concept:mdp"]
START, BONUS, END = 0, 1, 2
SAFE, RISKY = 0, 1
transitions = torch.zeros(3, 2, 3)                   # [S, A, S]
transitions[START, SAFE, END] = 1.0
transitions[START, RISKY, [BONUS, END]] = 0.5
transitions[BONUS, :, END] = transitions[END, :, END] = 1.0
rewards = torch.tensor([[1.0, 0.0], [4.0, 4.0], [0.0, 0.0]])   # [S, A]
small = MDP(transitions, rewards, gamma=0.9)

# %% [markdown]
# A row of `transitions` is a distribution over next states, so it sums to 1. `MDP` checks that at the door. The end leads to
# itself and pays nothing: such a state is *terminal*.

# %% tags=["concept:mdp"]
assert torch.equal(small.transitions.sum(-1), torch.ones(3, 2))
try:
    MDP(transitions * 0.9, rewards, gamma=0.9)
except ValueError as error:
    print(error)

# %% [markdown]
# By pencil: *safe* is worth $1$. *Risky* is worth $0+\gamma\,(½\cdot 4+½\cdot 0)=2\gamma$, which is $1.8$ at $\gamma=0.9$.
# So you should take the risk. At $\gamma=0.4$ it is worth $0.8$, and you should not.

# %% [markdown]
# ### Trajectories have probabilities
#
# A **policy** $\pi(a\mid s)$ says how likely each action is. Policy and transitions together give every path its probability:
# $$P(\tau)=\rho_0(s_0)\prod_{t=0}^{T-1}\pi(a_t\mid s_t)\,P(s_{t+1}\mid s_t,a_t).$$

# %% tags=["concept:trajectory-probability"]
def trajectories(world, policy, state):
    """Every path from a state to a terminal one, with its probability."""
    if world.terminal[state]:
        yield (state,), 1.0
        return
    for action, after in product(range(2), range(3)):
        chance = policy[state, action] * world.transitions[state, action, after]
        if chance > 0:
            for path, rest in trajectories(world, policy, after):
                yield (state, action, *path), (chance * rest).item()

# %% tags=["concept:trajectory-probability"]
coin = torch.full((3, 2), 0.5)                       # every action with chance one half
paths = dict(trajectories(small, coin, START))
for path, chance in paths.items():
    print(chance, path)
assert sum(paths.values()) == 1.0

# %% [markdown]
# Four paths, and their probabilities sum to 1. Sampling must agree: play the game 10,000 times and count visits to the bonus
# room. The chance is ¼, and a count of 10,000 tosses strays by about $\sqrt{¼\cdot¾/10000}\approx 0.004$.

# %% tags=["concept:trajectory-probability"]
generator = torch.Generator().manual_seed(0)
action = torch.multinomial(coin[[START] * 10_000], 1, generator=generator)[:, 0]
after = torch.multinomial(transitions[START, action], 1, generator=generator)[:, 0]
share = (after == BONUS).double().mean()
print(f"visited the bonus room in {share:.4f} of the games; expected 0.25 ± 0.013, three standard errors")
assert abs(share - 0.25) < 3 * 0.00433

# %% [markdown]
# ## Return and discount
#
# The **return** adds the rewards from step $t$ on, each later one multiplied by another $\gamma$:
# $$G_t=r_t+\gamma r_{t+1}+\gamma^2 r_{t+2}+\dots=r_t+\gamma\,G_{t+1}.$$
# Here $r_t$ is the reward that follows action $a_t$. The second form is the seed of everything below: the return *now* is one
# reward plus a discounted return *later*. Compute both forms on three rewards.

# %% tags=["concept:return-and-discount"]
rewards_seen, gamma = [1.0, 2.0, 4.0], 0.5
direct = sum(gamma**k * reward for k, reward in enumerate(rewards_seen))
backward = 0.0
for reward in reversed(rewards_seen):
    backward = reward + gamma * backward
print(direct, backward)
assert direct == backward == 3.0

# %% [markdown]
# Why discount at all? Because later may matter less to you; because the game may stop with chance $1-\gamma$ at each step;
# because it keeps an endless sum finite. The last reason holds **for bounded rewards only**, and where episodes end you need
# no discount: language-model training uses $\gamma=1$. As a rule of thumb you look $1/(1-\gamma)$ steps ahead.
#
# `MDP` takes a whole vector of discounts, and every function of `rlcore.mdp` then answers for all of them in one call.

# %% tags=["concept:return-and-discount"]
gammas = torch.linspace(0.0, 1.0, 101)[:-1]
swept = mdp.policy_iteration(MDP(transitions, rewards, gamma=gammas))
q_start = swept.q[:, START]                          # [γ, A]
threshold = gammas[q_start[:, RISKY] > q_start[:, SAFE] + 1e-12].min()
print(f"risky is better from γ = {threshold:.2f} on; pencil: 2γ > 1")
assert 0.5 < threshold <= 0.51 + 1e-9

# %% tags=["concept:return-and-discount"]
fig, ax = plots.figure(height=2.6)
ax.plot(gammas, q_start[:, SAFE], "--", color=style.COLOR["reference"], label="Q(start, safe)")
ax.plot(gammas, q_start[:, RISKY], color=style.COLOR["value"], label="Q(start, risky)")
ax.axvline(0.5, color=style.COLOR["exact"], linewidth=0.9, label="γ = ½, by pencil")
ax.set(xlabel="discount γ", ylabel="value (reward)", title="Above γ = ½ the risk pays")
ax.legend()
plots.show(plots.caption(fig, "Value of both actions at the start against the discount γ: safe stays at 1, "
    f"risky is 2γ; they cross at one half, and on the grid risky wins from {threshold:.2f} on."))

# %% [markdown]
# ## What "best" means
#
# The **objective** is the expected return $J(\pi)=\mathbb E_{\tau\sim\pi}[G_0]$, and an **optimal policy** maximises it. In a
# world this small you can try every deterministic policy: $2^3=8$ of them.

# %% tags=["concept:objective-and-optimal-policy"]
def always(choices):
    """The policy [S, A] that always takes the given action in each state."""
    return torch.nn.functional.one_hot(torch.tensor(choices), 2).double()

every = product((SAFE, RISKY), repeat=3)
objective = {choices: mdp.solve(small, always(choices))[START].item() for choices in every}
print(objective)
assert max(objective.values()) == 1.8

# %% [markdown]
# The best of the eight is worth 1.8, as by pencil. Four policies reach it, because the action in the bonus room and at the end
# makes no difference. Trying all $|\mathcal A|^{|\mathcal S|}$ policies does not go far: 16 cells with 4 actions already give
# 4 billion. Values do better.

# %% [markdown]
# ## Values
#
# $V^\pi(s)$ is the expected return from state $s$ under policy $\pi$; $Q^\pi(s,a)$ the same when the first action is $a$; their
# difference, the **advantage** $A^\pi(s,a)=Q^\pi(s,a)-V^\pi(s)$, says how much better $a$ is than what $\pi$ does on average.
#
# Two lines connect them. One step of the rules leads from $V$ to $Q$, one average over the policy leads back:
# $$Q^\pi(s,a)=R(s,a)+\gamma\sum_{s'}P(s'\mid s,a)\,V^\pi(s'),\qquad V^\pi(s)=\sum_a\pi(a\mid s)\,Q^\pi(s,a).$$

# %% [markdown]
# ### Write it: `q_from_v`
#
# *Difficulty ★☆☆ · importance ★★★ · 5 minutes.* Replace the dots. When the cell runs, your function is compared with examples worked
# by hand; while it is unwritten, rlcore's stands in. `mdp.transitions` has axes [S, A, S], `mdp.rewards` [S, A], `v` [S].

# %% tags=["exercise"]
@check.exercise(mdp.q_from_v)
def q_from_v(mdp, v):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# A matrix product sums over the last axis of the first factor: `mdp.transitions @ v` has axes [S, A].
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def q_from_v(mdp, v):
#     return mdp.rewards + mdp.gamma * (mdp.transitions @ v)
# ```
# </details>

# %% tags=["concept:value-functions"]
v = mdp.solve(small, coin)
q = q_from_v(small, v)
print("V", v, "\nQ", q)
assert torch.allclose(v, (coin * q).sum(-1), atol=1e-12)

# %% [markdown]
# With a coin for a policy, the start is worth 1.4: the mean of *safe*, 1, and *risky*, 1.8. Averaged over the policy, advantages
# vanish in every state; an advantage can only compare.

# %% tags=["concept:advantage-function"]
advantages = q - v[:, None]
print(advantages)
assert (coin * advantages).sum(-1).abs().max() < 1e-12

# %% [markdown]
# ## The Bellman expectation equation
#
# Put the two lines into each other. Step by step, from the definition:
# $$\begin{aligned}
# V^\pi(s)&=\mathbb E_\pi[G_t\mid s_t=s]&&\text{definition}\\
# &=\mathbb E_\pi[r_t+\gamma G_{t+1}\mid s_t=s]&&\text{the return is recursive}\\
# &=\mathbb E_\pi[r_t\mid s_t=s]+\gamma\,\mathbb E_\pi[G_{t+1}\mid s_t=s]&&\text{expectation is linear}\\
# &=\mathbb E_\pi[r_t\mid s_t=s]+\gamma\,\mathbb E_\pi[V^\pi(s_{t+1})\mid s_t=s]&&\text{Markov, and the tower rule}\\
# &=\sum_a\pi(a\mid s)\Big[R(s,a)+\gamma\sum_{s'}P(s'\mid s,a)\,V^\pi(s')\Big]&&\text{write the expectations out.}
# \end{aligned}$$
#
# ![Backup diagram: from a state over the policy's actions to rewards and next states, the four parts marked](../figures/01_backup.svg)
#
# Four parts: the **policy's average** $\sum_a\pi(a\mid s)$, the **reward now** $R(s,a)$, the **discount** $\gamma$, and the
# **expected value of what follows** $\sum_{s'}P(s'\mid s,a)V^\pi(s')$. Reading the right side as an instruction — put any $v$ in,
# get a new one out — makes it a *backup*.

# %% [markdown]
# ### Write it: `bellman_expectation`
#
# *Difficulty ★☆☆ · importance ★★★ · 5 minutes.* `policy` has axes [S, A]. Use your `q_from_v`.

# %% tags=["exercise"]
@check.exercise(mdp.bellman_expectation)
def bellman_expectation(mdp, policy, v):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# Multiply by the policy and sum over the last axis, as in the assertion two cells above.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def bellman_expectation(mdp, policy, v):
#     return (policy * q_from_v(mdp, v)).sum(-1)
# ```
# </details>

# %% [markdown]
# ### Use it: the random walker's room
#
# Back to the room with two exits. Every step costs 1 and $\gamma=1$, so a value is minus the expected number of steps. Start
# from zero and back up until nothing changes by more than $10^{-4}$.

# %% tags=["concept:bellman-expectation-equation"]
room = gridworld.corners_4x4()
grid = room.to_mdp(gamma=1.0)
walker = torch.full((16, 4), 0.25)                   # [S, A]
v, history = torch.zeros(16), []
while not history or (history[-1] - v).abs().max() > 1e-4:
    history.append(v)
    v = bellman_expectation(grid, walker, v)
sweeps = len(history)
print(room.picture(v), f"after {sweeps} sweeps")

# %% [markdown]
# The corner without an exit is worth −22: **22 steps on average**, though the exit is 3 steps away. How near was your guess?
# The same table stands in Sutton and Barto's book (Figure 4.1), and so do the first sweeps.

# %% tags=["concept:bellman-expectation-equation"]
book = torch.tensor([0.0, -14, -20, -22, -14, -18, -20, -20, -20, -20, -18, -14, -22, -20, -14, 0])
assert (v - book).abs().max() < 0.01
assert sweeps == 173
assert torch.allclose(history[2][[1, 2]], torch.tensor([-1.75, -2.0]))       # after two sweeps
assert torch.allclose(history[3][[1, 2]], torch.tensor([-2.4375, -2.9375]))  # after three

# %% [markdown]
# ## The matrix form
#
# For a fixed policy the equation is *linear*. With $P_\pi(s,s')=\sum_a\pi(a\mid s)P(s'\mid s,a)$ and
# $R_\pi(s)=\sum_a\pi(a\mid s)R(s,a)$ it reads $V=R_\pi+\gamma P_\pi V$, hence
# $$V^\pi=(I-\gamma P_\pi)^{-1}R_\pi .$$
# `mdp.solve` does this, without ever forming the inverse. The 5 × 5 world throws you from A at the top to the bottom for +10, and from B
# half-way down for +5; bumping into the edge costs 1.

# %% tags=["concept:matrix-form-direct-solve"]
jumps = gridworld.jumps_5x5()
thrown = jumps.to_mdp(gamma=0.9)
exact = mdp.solve(thrown, torch.full((25, 4), 0.25))
print(jumps.picture(exact))
assert (exact[[1, 3]] - torch.tensor([8.78929, 5.32237])).abs().max() < 1e-5

# %% [markdown]
# A is worth 8.79, *less* than its reward of 10, because it throws you to the bottom edge, where a random walker bumps. B is worth
# *more* than its 5. Repeated backups reach the same numbers, and each sweep shrinks the error at least by the factor $\gamma$:
# the backup is a **contraction**.

# %% tags=["concept:bellman-expectation-equation", "concept:matrix-form-direct-solve"]
v, errors = torch.zeros(25), []
for _ in range(250):
    errors.append((v - exact).abs().max().item())
    v = bellman_expectation(thrown, torch.full((25, 4), 0.25), v)
ratios = torch.tensor(errors[1:]) / torch.tensor(errors[:-1])
print(f"largest shrink factor of a sweep {ratios[:100].max():.4f}")
assert ratios[:100].max() <= 0.9 + 1e-6                 # later the errors are as small as rounding
assert (v - exact).abs().max() < 1e-8

# %% tags=["concept:bellman-expectation-equation"]
fig, ax = plots.figure(height=2.6)
ax.semilogy(errors[:120], color=style.COLOR["value"], label="error of the backups")
bound = [errors[0] * 0.9**k for k in range(120)]
ax.semilogy(bound, color=style.COLOR["exact"], linewidth=0.9, label="γ per sweep, the bound")
ax.set(xlabel="sweep", ylabel="largest error (reward)", title="Every sweep shrinks the error by γ or more")
ax.legend()
plots.show(plots.caption(fig, f"Largest error against sweeps on a log axis: it starts at {errors[0]:.2f}, "
    f"stays under the line of slope γ = 0.9 and is {errors[119]:.1e} after 119 sweeps."))

# %% [markdown]
# ## The Bellman optimality equation
#
# To act best, replace the policy's average by a maximum:
# $$V^*(s)=\max_a\Big[R(s,a)+\gamma\sum_{s'}P(s'\mid s,a)\,V^*(s')\Big].$$
# The maximum makes it *non-linear*: there is no matrix to invert. The backup is a contraction all the same, so repeating it
# leads to $V^*$ from anywhere.
#
# ### Write it: `bellman_optimality`
#
# *Difficulty ★☆☆ · importance ★★★ · 3 minutes.*

# %% tags=["exercise"]
@check.exercise(mdp.bellman_optimality)
def bellman_optimality(mdp, v):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# In PyTorch, `x.max(-1)` returns values *and* indices; `x.amax(-1)` returns values alone.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def bellman_optimality(mdp, v):
#     return q_from_v(mdp, v).amax(-1)
# ```
# </details>

# %% [markdown]
# ## Three ways to the best policy
#
# **Value iteration** repeats the optimality backup.

# %% tags=["concept:value-iteration", "concept:bellman-optimality-equation"]
v = torch.zeros(25)
for sweep in range(400):
    v = bellman_optimality(thrown, v)
print(jumps.picture(v))
assert abs(v[1] - 10 / (1 - 0.9**5)) < 1e-8            # A: 10 now, and A again after five steps
assert (bellman_optimality(thrown, v) - v).abs().max() < 1e-12

# %% [markdown]
# Played best, A is worth $10/(1-0.9^5)=24.42$: jump, walk four steps up, jump again. The second assertion says that $V^*$ is a
# *fixed point*: one more backup changes nothing.
#
# **Policy iteration** alternates an exact solve with a greedy improvement: act best with respect to the present values.

# %% tags=["concept:policy-iteration"]
policy, values = torch.full((25, 4), 0.25), []
while len(values) < 2 or (values[-1] - values[-2]).abs().max() > 1e-9:
    values.append(mdp.solve(thrown, policy))
    policy = mdp.greedy(mdp.q_from_v(thrown, values[-1]))
print(f"{len(values)} solves, largest difference to value iteration {(values[-1] - v).abs().max():.0e}")
assert len(values) <= 10
assert (values[-1] - v).abs().max() < 1e-8

# %% [markdown]
# Each improvement is at least as good *in every state*, and there are finitely many policies: it must end, and it ends at $V^*$.

# %% tags=["concept:policy-iteration"]
by_improvement = torch.stack(values)                 # [improvement, S]
print("value of the top left cell by improvement:", by_improvement[:, 0])
assert (by_improvement.diff(dim=0) >= -1e-9).all()

# %% [markdown]
# **Modified policy iteration** stands between: improve, then a few cheap backups of the fixed policy instead of a solve. One
# backup is value iteration, infinitely many are policy iteration. Count improvements in the same world with a patient discount.

# %% tags=["concept:value-iteration", "concept:policy-iteration"]
patient = jumps.to_mdp(gamma=0.99)
by_value = mdp.value_iteration(patient, tol=1e-6)
by_policy = mdp.policy_iteration(patient)
between = mdp.modified_policy_iteration(patient, sweeps=20, tol=1e-6)
print("improvements:", by_value.sweeps, "value iteration,", between.sweeps, "modified,",
      by_policy.sweeps, "policy iteration")
assert by_value.sweeps > 500 and by_policy.sweeps <= 10
assert max((x.v - by_policy.v).abs().max() for x in (by_value, between)) <= 1e-6

# %% [markdown]
# All three agree to the $10^{-6}$ that was asked for. That tolerance is *certified*: the true $V^*$ provably lies that close
# (clinic 3 shows a stopping rule that does not hold its word).
#
# ## Explorer: value iteration on a slippery floor
#
# The goal (G) pays +1, the pit (P) −1, each step a little. With probability *slip* you move sideways instead of where you
# aimed. *Sweep* plays value iteration. Press cells to build walls.

# %%
from rlcore.view.explore import explore
from rlcore.view.explore import gridworld as floor

explore(floor.draw, **floor.controls())

# %% [markdown]
# **Try it.** Set slip to 0 and then to 0.4: which way does the robot take, and why? Then raise the step cost until it changes
# its mind again. Finally take *sweep* back to where the arrows are already right: how wrong are the numbers still?
#
# <details><summary>What you should see</summary>
#
# Without slip the short way past the pit is free of danger. The more the floor slips, the more the detour is worth its steps,
# until walking is so expensive that risking the pit is the lesser evil. The arrows are right long before the numbers are: a
# policy only needs the *order* of the actions, and that settles first.
# </details>

# %% [markdown]
# ## What breaks
#
# The linear solve is exact, so why not always use it? Four reasons, measured.
#
# **Time.** Solving $S$ equations costs on the order of $S^3$ operations. Time it, and fit the slope on log–log axes.

# %% tags=["nbval-ignore-output", "concept:matrix-form-direct-solve"]
import time

def solve_seconds(states):
    chain = MDP(torch.rand(states, 1, states).softmax(-1), torch.rand(states, 1), gamma=0.9)
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        mdp.solve(chain, torch.ones(states, 1))
        best = min(best, time.perf_counter() - start)
    return best

threads = torch.get_num_threads()
torch.set_num_threads(1)                             # one core, so that seconds mean arithmetic
sizes = torch.tensor([400, 800, 1600, 3200])
seconds = torch.tensor([solve_seconds(int(size)) for size in sizes])
torch.set_num_threads(threads)
slope, _ = np.polyfit(sizes.log(), seconds.log(), deg=1)
print("seconds", seconds, f"slope {slope:.2f}")
assert 1.5 < slope < 4

# %% tags=["nbval-ignore-output", "concept:matrix-form-direct-solve"]
fig, ax = plots.figure(height=2.8)
ax.loglog(sizes, seconds, "o-", color=style.COLOR["value"], label="one solve")
cubic = seconds[-1] * (sizes / sizes[-1]) ** 3
ax.loglog(sizes, cubic, color=style.COLOR["exact"], linewidth=0.9, label="slope 3")
ax.set(xlabel="states", ylabel="seconds", title=f"Twice the states, {2**slope:.1f} times the work")
ax.legend()
plots.show(plots.caption(fig, f"Seconds of one direct solve against the number of states, log–log, {sizes[0]} to "
    f"{sizes[-1]} states: the fitted slope is {slope:.2f}; the thin line has slope 3."))

# %% [markdown]
# **Memory.** A dense matrix has $S^2$ entries. A 200 × 200 room is small for a picture and large for a matrix. But from a cell you
# reach only a handful of others, so store only these (`sparse=True`) and back up instead of solving.

# %% tags=["concept:matrix-form-direct-solve"]
big = gridworld.slip_room(200, slip=0.2, step_reward=-0.01).to_mdp(gamma=0.99, sparse=True)
stored = big.transitions.values().numel()
print(f"{big.states:,} states; one dense [S, S] matrix {big.states**2 * 8 / 1e9:.1f} GB; "
      f"stored numbers {stored:,}, {stored * 16 / 1e6:.1f} MB with their indices")
assert big.states**2 * 8 > 10e9 and stored * 16 < 20e6

# %% [markdown]
# **Size.** A language model's state is the whole text so far. With 50,000 tokens and replies of 100 tokens there are about
# $10^{470}$ states, against some $10^{80}$ atoms in the universe.

# %%
digits = 100 * torch.tensor(50_000.0).log10()
print(f"50,000^100 is about 10^{digits:.0f}")
assert 469 < digits < 471

# %% [markdown]
# **The rules.** All of this needs $P$ and $R$. A robot, a user, a marker of essays does not hand them out. Chapter 02 learns from
# samples instead.

# %% [markdown]
# ## The world of this course: phrases
#
# Now the task you came for. The **phrase world** has a few prompts, five words and an end-of-sequence sign (EOS). A reply has at
# most four words, so there are 781 replies to each prompt, and everything about them can be computed. A *state* is the prompt with
# the words so far, an *action* is the next token, the *transition* appends it, the *reward* comes once, at the end, and $\gamma=1$.
# That is the **token-level MDP** of every language model, small enough to look at.

# %% tags=["concept:token-level-mdp"]
world = phrases.Phrases()
print(f"{len(world.prompts)} prompts, {len(world.responses)} replies each")
for prompt, reward in zip(world.prompts, world.reward):
    best, worst = reward.argmax(), reward.argmin()
    print(f"{prompt + ':':20} best {world.responses[best]!r} {reward[best]:+.2f}",
          f"worst {world.responses[worst]!r} {reward[worst]:+.2f}", sep=", ")

# %% [markdown]
# The value of a prompt under a policy is the expected reward of its reply. Compute it twice: by listing all replies, and by
# solving the Bellman equation over prefixes. Nothing says these must agree, except the theory.

# %% tags=["concept:token-level-mdp", "concept:contextual-bandit"]
logits = world.reference_logits()                    # [P, S, V]
listed = world.value(logits)                         # [P] Σ over replies of π(y) r(y)
tokens = world.to_mdp()
solved = mdp.solve(tokens, world.mdp_policy(logits))[world.roots]
print("by listing", listed, "\nby Bellman", solved)
assert (listed - solved).abs().max() < 1e-12

# %% [markdown]
# They agree to the last digits. Mind that these are two decision processes: listing treats a whole reply as *one* action, which
# makes a contextual bandit without transitions or discount; Bellman treats each token as an action. Say which one you mean.
#
# And the best policy? Policy iteration finds, for each prompt, the best of all 781 replies, by
# looking one token ahead at a time.

# %% tags=["concept:token-level-mdp", "concept:policy-iteration"]
best = mdp.policy_iteration(tokens)
print(best.v[world.roots], f"after {best.sweeps} improvements")
assert torch.allclose(best.v[world.roots], world.reward.amax(-1))

# %% [markdown]
# This world returns in every chapter: a policy-gradient problem in 03, RLHF in 08, DPO in 09, GRPO in 11, always next to
# its exact answer.

# %% [markdown]
# ## Exercises
#
# **1 · Act greedily.** *★☆☆ · 5 minutes.* Turn `q [S, A]` into the one-hot policy that takes the best action (the first of equals).

# %% tags=["exercise"]
@check.exercise(mdp.greedy)
def greedy(q):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# `torch.nn.functional.one_hot(index, number_of_classes)` returns integers; a policy is made of floats.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def greedy(q):
#     return torch.nn.functional.one_hot(q.argmax(-1), q.shape[-1]).to(q.dtype)
# ```
# </details>
#
# **2 · Solve for the values.** *★★☆ · 10 minutes.* Write the matrix form: build $P_\pi$ and $R_\pi$, then `torch.linalg.solve`. A
# terminal state leads to itself, so at $\gamma=1$ its row of $I-\gamma P_\pi$ would be all zeros. Its value is 0: let its row of
# $P_\pi$ be zero instead (`mdp.terminal [S]` tells which).

# %% tags=["exercise"]
@check.exercise(mdp.solve)
def solve(mdp, policy):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# `torch.einsum("sa,sat->st", policy, mdp.transitions)` is $P_\pi$.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def solve(mdp, policy):
#     p_pi = torch.einsum("sa,sat->st", policy, mdp.transitions) * ~mdp.terminal[:, None]
#     r_pi = (policy * mdp.rewards).sum(-1)
#     return torch.linalg.solve(torch.eye(mdp.states).to(r_pi) - mdp.gamma * p_pi, r_pi)
# ```
# </details>
#
# **3 · The price of a step.** *★★☆ · 10 minutes.* In the explorer's world at $\gamma=0.95$ and slip 0.2, from which step cost on does
# the robot walk past the pit? Sweep the cost, and look at `path`. The cell below shows how to ask for one cost.

# %%
def way(step_cost):
    place = gridworld.playground(slip=0.2, step_cost=step_cost)
    policy = mdp.policy_iteration(place.to_mdp(gamma=0.95)).policy
    return place.path(policy.argmax(-1))

print(len(way(0.0)) - 1, "steps when steps are free")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# for step_cost in torch.arange(0, 0.2, 0.01).tolist():
#     print(f"{step_cost:.2f} {len(way(step_cost)) - 1} steps")
# ```
# The long way has 13 steps, the short way 9. Read off where the number drops.
# </details>

# %% [markdown]
# ## Clinic: three statements that circulate
#
# Each is copied from text to text, and each is wrong. Find the flaw *before* you run the cell with the verdict.
#
# **1.** *"If $V$ is right then $V(s_t)=r_t+\gamma V(s_{t+1})$, so any difference measures the error of $V$."*
#
# A walk on five states, left or right with a coin, reward 1 for leaving on the right: its exact values are 1/6 … 5/6.

# %%
walk = gridworld.Gridworld(1, 7, terminals={(0, 0): 0.0, (0, 6): 1.0})
sides = torch.tensor([0.0, 0.5, 0.0, 0.5]).expand(7, 4)            # up, right, down, left
v = mdp.solve(walk.to_mdp(gamma=1.0), sides)
differences = torch.stack([0.0 + v[4] - v[3], 0.0 + v[2] - v[3]])   # a step right, a step left
print(v, differences)

# %%
assert torch.allclose(v[1:6], torch.arange(1, 6) / 6)
print(f"mean {differences.mean().abs():.4f}, standard deviation {differences.std(unbiased=False):.4f}")
assert differences.mean().abs() < 1e-12 and abs(differences.std(unbiased=False) - 1 / 6) < 1e-12

# %% [markdown]
# **Verdict.** The expectation is missing. With the *exact* values each sample is off by 1/6, and only the mean is zero. The right
# form is $V^\pi(s)=\mathbb E_\pi[r_t+\gamma V^\pi(s_{t+1})\mid s_t=s]$. In chapter 02 this difference becomes the *TD error*.
#
# **2.** *"The discount makes sure that the return is finite."* Rewards that double at every step, $\gamma=0.9$, against rewards of
# 1 for ten steps without any discount:

# %%
doubling = [sum(0.9**k * 2.0**k for k in range(steps)) for steps in (10, 20, 40)]
print([f"{x:.3g}" for x in doubling], "discounted;", sum([1.0] * 10), "undiscounted")
assert doubling[2] > 1000 * doubling[1] > 1000 * doubling[0]

# %% [markdown]
# **Verdict.** A discount below 1 is enough for *bounded* rewards: then $|G|\le r_{\max}/(1-\gamma)$. It is not enough for growing
# ones, and not needed where episodes end.
#
# **3.** *"Stop value iteration when all values change by nearly the same amount: the policy will not change any more."* True for
# the policy. A well-known package stops that way, with the span $\max\Delta-\min\Delta$ of the last change, and reports the values it has. Its own example:

# %%
example = MDP(
    torch.tensor([[[0.5, 0.5], [0.0, 1.0]], [[0.8, 0.2], [0.1, 0.9]]]),  # [S, A, S]
    torch.tensor([[5.0, 10.0], [-1.0, 2.0]]), gamma=0.9)

def stop_on_span(world, tol):
    v = torch.zeros(2)
    while True:
        change = mdp.bellman_optimality(world, v) - v
        v = v + change
        if change.max() - change.min() < tol * (1 - world.gamma) / world.gamma:
            return v, change

# %%
v, change = stop_on_span(example, tol=0.01)
true = mdp.policy_iteration(example).v
print("reported", v, "\ntrue    ", true)
assert (v - true).abs().max() > 2

# %% [markdown]
# **Verdict.** Reported 40.05, true 42.44: off by 2.4 where 0.01 was asked for. When *all* values still rise by the same amount, the policy is
# settled and the values are not. The remedy costs one line. All later changes lie between $\gamma\min\Delta$ and
# $\gamma\max\Delta$, shrinking by $\gamma$ each time, so $V^*$ lies between $v+\frac{\gamma}{1-\gamma}\min\Delta$ and
# $v+\frac{\gamma}{1-\gamma}\max\Delta$. Return the middle.

# %%
middle = v + 0.9 / (1 - 0.9) * (change.max() + change.min()) / 2
print(middle, f"off by {(middle - true).abs().max():.4f}")
assert (middle - true).abs().max() <= 0.01

# %% [markdown]
# `mdp.value_iteration` stops on these bounds and returns the middle. That is why its tolerance is a promise.
#
# ## Summary
#
# | symbol | what it is | function | section |
# |---|---|---|---|
# | $(\mathcal S,\mathcal A,P,R,\gamma)$ | the task | `MDP` | The smallest example, by hand |
# | $G_t$ | discounted sum of rewards | | Return and discount |
# | $J(\pi)$ | expected return, to be maximised | `mdp.solve` | What "best" means |
# | $V^\pi,\,Q^\pi,\,A^\pi$ | value, action value, advantage | `q_from_v` | Values |
# | $V=\sum_a\pi[R+\gamma PV]$ | expectation backup, linear | `bellman_expectation` | The Bellman expectation equation |
# | $(I-\gamma P_\pi)^{-1}R_\pi$ | exact values of a policy | `solve` | The matrix form |
# | $V=\max_a[R+\gamma PV]$ | optimality backup, not linear | `bellman_optimality` | The Bellman optimality equation |
# | $V^*,\,\pi^*$ | best values and policy | `value_iteration`, `policy_iteration`, `modified_policy_iteration` | Three ways to the best policy |
#
# ## Quiz

# %%
check.quiz(
    "You multiply every reward by 10. What happens to the best policy?",
    ["It stays the same", "It becomes ten times as greedy", "It depends on γ"], answer=0,
    why="All values are multiplied by 10, so the order of the actions is the same.")

# %%
check.quiz(
    "Why can V* not be had by one matrix inversion?",
    ["The matrix is too large", "The maximum makes the equation non-linear", "It needs the transition probabilities"], answer=1,
    why="Size hurts V of a policy just as much, and that one needs P too. The maximum is what is new. "
        "If you knew the best policy, its values would be one solve away: that is policy iteration's idea.")

# %%
check.quiz(
    "After 12 sweeps the greedy policy no longer changes. What do you know?",
    ["The values are exact", "The policy is optimal", "Neither of the two, yet"], answer=2,
    why="A policy can rest for several sweeps and still change later. What certifies is the bound of clinic 3 "
        "or policy iteration's test: the policy is greedy for its own exact values.")

# %% [markdown]
# ## Sources
#
# - Bellman 1957, *Dynamic Programming*: the equations. Howard 1960, *Dynamic Programming and Markov Processes*: policy iteration.
# - Puterman 1994, *Markov Decision Processes*, section 6.3 and proposition 6.6.5 for the bounds (MacQueen 1966, Porteus 1971), section 6.5 for modified
#   policy iteration (Puterman & Shin 1978).
# - Sutton & Barto 2018, *Reinforcement Learning*, 2nd edition: examples 3.5, 3.8 and 4.1, figure 4.1.
#
# Next: chapter 02, learning from samples when nobody hands you the rules.
