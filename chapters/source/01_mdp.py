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
from rlcore.view.explore import explore
from rlcore.view.explore import gridworld as floor
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
# Here $\rho_0$ is the chance to begin in $s_0$ (it is 1 for the start) and $T$ the number of steps. The next state may be as random as it
# likes; only the factors $\pi$ are yours to choose. The function below walks every branch, and multiplies on the way.

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
# A path is listed as state, action, state, and so on: `(0, 1, 2)` is *start, risky, end*. There are four, and their probabilities sum to 1.
# Sampling must agree: play 10,000 games and count visits to the bonus room. The chance is ¼; the share in $n$ games strays
# by about $\sqrt{¼\cdot¾/n}$, its standard error.

# %% tags=["concept:trajectory-probability"]
generator = torch.Generator().manual_seed(0)
action = torch.multinomial(coin[START].expand(10_000, 2), 1, generator=generator)[:, 0]
after = torch.multinomial(transitions[START, action], 1, generator=generator)[:, 0]
share, error = (after == BONUS).double().mean(), (0.25 * 0.75 / 10_000) ** 0.5
print(f"visited the bonus room in {share:.4f} of the games; standard error {error:.4f}")
assert abs(share - 0.25) < 3 * error

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
# because it keeps an endless sum finite. The last reason holds **for bounded rewards only**, and where every *episode* (the way from a
# start to a terminal state) ends, you need no discount: RLHF usually takes $\gamma=1$.
#
# The weights $1,\gamma,\gamma^2,\dots$ add up to $1/(1-\gamma)$, the **effective horizon**: at $\gamma=0.9$ you look about ten steps ahead.

# %% tags=["concept:return-and-discount"]
weights = 0.9 ** torch.arange(1000)
print(f"all weights {weights.sum():.4f}; the first ten hold {weights[:10].sum() / weights.sum():.2f} of them")
assert abs(weights.sum() - 1 / (1 - 0.9)) < 1e-9

# %% [markdown]
# How patient must you be to take the risk? Above, by pencil, *risky* is worth $2\gamma$.

# %% tags=["concept:return-and-discount"]
gammas = torch.linspace(0.0, 1.0, 101)[:-1]
safe, risky = torch.ones(100), gammas * (0.5 * 4 + 0.5 * 0)
threshold = gammas[risky > safe].min()
print(f"on a grid of hundredths, risky is better from γ = {threshold:.2f} on")
assert 0.5 < threshold < 0.511

# %% tags=["concept:return-and-discount"]
fig, ax = plots.figure(height=2.6)
ax.plot(gammas, safe, "--", color=style.COLOR["reference"], label="safe")
ax.plot(gammas, risky, color=style.COLOR["value"], label="risky")
ax.axvline(0.5, color=style.COLOR["exact"], linewidth=0.9, label="γ = ½, by pencil")
ax.set(xlabel="discount γ", ylabel="worth at the start (reward)", title="Above γ = ½ the risk pays")
ax.legend()
plots.show(plots.caption(fig, "Worth of both actions at the start against the discount γ: safe stays at 1, "
    f"risky is 2γ; they cross at one half, and on the grid risky wins from {threshold:.2f} on."))

# %% [markdown]
# ## What "best" means
#
# The **objective** is the expected return $J(\pi)=\mathbb E_{\tau\sim\pi}[G_0]$, and an **optimal policy** maximises it. In a
# world this small you can try every *deterministic* policy, one action per state: $2^3=8$ of them. `mdp.solve` gives the expected
# return from each state; how it does that, you see below.

# %% tags=["concept:objective-and-optimal-policy"]
def always(choices):
    """The policy [S, A] that always takes the given action in each state."""
    return torch.nn.functional.one_hot(torch.tensor(choices), 2).double()

every = product((SAFE, RISKY), repeat=3)
objective = {choices: mdp.solve(small, always(choices))[START].item() for choices in every}
print(objective)
assert max(objective.values()) == mdp.policy_iteration(small).v[START] == 1.8
print(f"policies of 16 cells with 4 actions: {4**16:,}")

# %% [markdown]
# The best of the eight is worth 1.8, as by pencil. Four policies reach it, because the action in the bonus room and at the end
# makes no difference. Trying all $|\mathcal A|^{|\mathcal S|}$ policies does not go far: 16 cells with 4 actions already have more
# than four billion. Values do better.

# %% [markdown]
# ## Values
#
# $V^\pi(s)$ is the expected return from state $s$ under policy $\pi$; $Q^\pi(s,a)$ the same when the first action is $a$ and $\pi$ acts from
# then on; their difference, the **advantage** $A^\pi(s,a)=Q^\pi(s,a)-V^\pi(s)$, says how much better $a$ is than what $\pi$ does on average.
#
# Two lines connect them. One step of the rules leads from $V$ to $Q$, one average over the policy leads back:
# $$Q^\pi(s,a)=R(s,a)+\gamma\sum_{s'}P(s'\mid s,a)\,V^\pi(s'),\qquad V^\pi(s)=\sum_a\pi(a\mid s)\,Q^\pi(s,a).$$

# %% [markdown]
# ### Write it: `q_from_v`
#
# *Difficulty ★☆☆ · importance ★★★ · 5 minutes.* Replace the dots. When the cell runs, your function is compared with examples worked
# by hand; while it is unwritten, rlcore's stands in. Inside the function `mdp` is the task that you are given (it hides the module of
# that name): `mdp.transitions` has axes [S, A, S], `mdp.rewards` [S, A], `mdp.gamma` is a number; `v` has axes [S].

# %% tags=["exercise"]
@check.exercise(mdp.q_from_v)
def q_from_v(mdp, v):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# A matrix product sums over the last axis of its first factor, so the transitions come first: `mdp.transitions @ v` has axes [S, A].
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def q_from_v(mdp, v):
#     return mdp.rewards + mdp.gamma * (mdp.transitions @ v)
# ```
# </details>
#
# ### Use it: what a coin is worth

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
# *Tower rule*: average over everything after $s_{t+1}$ first, and over $s_{t+1}$ then. *Markov*: given $s_{t+1}$, the inner average is
# $V^\pi(s_{t+1})$, whatever came before.
#
# ![Backup diagram: from a state over the policy's actions to rewards and next states, the four parts marked](../figures/01_backup.svg)
#
# Four parts: the **policy's average** $\sum_a\pi(a\mid s)$, the **reward now** $R(s,a)$, the **discount** $\gamma$, and the
# **expected value of what follows** $\sum_{s'}P(s'\mid s,a)V^\pi(s')$. Reading the right side as an instruction — put any $v$ in,
# get a new one out — makes it a *backup*; a backup of all states at once is a *sweep*. The four parts of the example above:

# %% tags=["concept:bellman-expectation-equation"]
reward_now = (coin * small.rewards).sum(-1)                   # policy's average of the reward
follows = (coin * (small.transitions @ v)).sum(-1)            # ... and of what follows
print(f"start: {reward_now[START]} + {small.gamma} · {follows[START]} = {v[START]}")
assert torch.allclose(v, reward_now + small.gamma * follows)

# %% [markdown]
# ### Write it: `bellman_expectation`
#
# *Difficulty ★☆☆ · importance ★★★ · 5 minutes.* `policy` has axes [S, A]. Call your `q_from_v`.

# %% tags=["exercise"]
@check.exercise(mdp.bellman_expectation)
def bellman_expectation(mdp, policy, v):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# The policy's average over actions is `(policy * q).sum(-1)`.
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
# The same table stands in Sutton and Barto's book (Figure 4.1), and so do the first sweeps. Stopping when changes fall below $10^{-4}$ has left
# an error twenty times as large; the exact numbers are whole.

# %% tags=["concept:bellman-expectation-equation"]
book = torch.tensor([0.0, -14, -20, -22, -14, -18, -20, -20, -20, -20, -18, -14, -22, -20, -14, 0])
assert torch.allclose(mdp.solve(grid, walker), book, atol=1e-9)
assert sweeps == 173 and 0.001 < (v - book).abs().max() < 0.0025
assert torch.allclose(history[2][[1, 2]], torch.tensor([-1.75, -2.0]))       # after two sweeps
assert torch.allclose(history[3][[1, 2]], torch.tensor([-2.4375, -2.9375]))  # after three

# %% [markdown]
# ## The matrix form
#
# For a fixed policy the equation is *linear*. With $P_\pi(s,s')=\sum_a\pi(a\mid s)P(s'\mid s,a)$ and
# $R_\pi(s)=\sum_a\pi(a\mid s)R(s,a)$ it reads $V=R_\pi+\gamma P_\pi V$, hence
# $$V^\pi=(I-\gamma P_\pi)^{-1}R_\pi .$$
# ### Write it: `solve`
#
# *Difficulty ★★☆ · importance ★★☆ · 10 minutes.* Build $P_\pi$ and $R_\pi$, then `torch.linalg.solve(matrix, right_hand_side)`, which never forms the
# inverse. A terminal state leads to itself, so at $\gamma=1$ its row of $I-\gamma P_\pi$ would be all zeros, and PyTorch would call the
# matrix *singular*. Its value is 0: let its row of $P_\pi$ be zero instead (`mdp.terminal [S]` tells which).

# %% tags=["exercise"]
@check.exercise(mdp.solve)
def solve(mdp, policy):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# `torch.einsum("sa,sat->st", policy, mdp.transitions)` is $P_\pi$, and `torch.eye(mdp.states)` is $I$. Multiply rows by `~mdp.terminal[:, None]`.
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
# ### Use it: a world that throws you
#
# The 5 × 5 world throws you from A (top row, second cell) to the bottom for +10, and from B (top row, fourth cell) half-way down for +5;
# bumping into the edge costs 1. A random walker, $\gamma=0.9$:

# %% tags=["concept:matrix-form-direct-solve"]
jumps = gridworld.jumps_5x5()
thrown = jumps.to_mdp(gamma=0.9)
exact = solve(thrown, torch.full((25, 4), 0.25))
print(jumps.picture(exact))
book = torch.tensor([3.3, 8.8, 4.4, 5.3, 1.5, 1.5, 3.0, 2.3, 1.9, 0.5, 0.1, 0.7, 0.7, 0.4, -0.4,
                     -1.0, -0.4, -0.4, -0.6, -1.2, -1.9, -1.3, -1.2, -1.4, -2.0])
assert (exact - book).abs().max() <= 0.05            # the book rounds to one decimal
assert (exact[[1, 3]] - torch.tensor([8.78929, 5.32237])).abs().max() < 1e-5

# %% [markdown]
# A is worth 8.79, *less* than its reward of 10, because it throws you to the bottom edge, where a random walker bumps. B is worth
# *more* than its 5. Repeated backups reach the same numbers, and for $\gamma<1$ each sweep shrinks the error at least by the factor
# $\gamma$: the backup is a **contraction**. (At $\gamma=1$ there is no such bound; in the room above the sweeps converged because every walk ends.)

# %% tags=["concept:bellman-expectation-equation", "concept:matrix-form-direct-solve"]
v, errors = torch.zeros(25), []
for _ in range(250):
    errors.append((v - exact).abs().max().item())
    v = bellman_expectation(thrown, torch.full((25, 4), 0.25), v)
before, after = torch.tensor(errors[:-1]), torch.tensor(errors[1:])
print(f"shrink factor of a sweep: first {after[0] / before[0]:.3f}, hundredth {after[99] / before[99]:.3f}")
assert (after <= 0.9 * before + 1e-12).all()         # at every sweep, to rounding
assert errors[-1] < 1e-8

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
# leads to $V^*$ from anywhere, for $\gamma<1$.
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
v, sweeps = torch.zeros(25), [torch.zeros(25)]
for _ in range(400):
    v = bellman_optimality(thrown, v)
    sweeps.append(v)
print(jumps.picture(v))
assert abs(v[1] - 10 / (1 - 0.9**5)) < 1e-8          # A: 10 now, and A again after five steps
assert (bellman_optimality(thrown, v) - v).abs().max() < 1e-12

# %% tags=["concept:value-iteration", "concept:bellman-optimality-equation"]
book = torch.tensor([22.0, 24.4, 22.0, 19.4, 17.5, 19.8, 22.0, 19.8, 17.8, 16.0, 17.8, 19.8, 17.8, 16.0, 14.4,
                     16.0, 17.8, 16.0, 14.4, 13.0, 14.4, 16.0, 14.4, 13.0, 11.7])
assert (v - book).abs().max() <= 0.05                # the book's figure 3.5, one decimal
errors = (torch.stack(sweeps) - v).abs().amax(-1)    # [sweep]
assert (errors[1:] <= 0.9 * errors[:-1] + 1e-12).all()
print(f"largest error after 0, 10, 100 sweeps: {errors[0]:.2f}, {errors[10]:.2f}, {errors[100]:.1e}")

# %% [markdown]
# Played best, A is worth $10/(1-0.9^5)=24.42$: jump, walk four steps up, jump again. $V^*$ is a *fixed point*: one more backup changes
# nothing. And the optimality backup contracts by $\gamma$ at every sweep, too.
#
# **Policy iteration** alternates an exact solve with a greedy improvement: act best with respect to the present values.
#
# ### Write it: `greedy`
#
# *Difficulty ★☆☆ · importance ★★☆ · 5 minutes.* Turn `q [S, A]` into the policy that takes the best action (the first of equals): a *one-hot*
# row per state, 1 at that action and 0 elsewhere.

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
# ### Use it: solve, improve, repeat

# %% tags=["concept:policy-iteration"]
policy, values = torch.full((25, 4), 0.25), []
while len(values) < 2 or (values[-1] - values[-2]).abs().max() > 1e-9:
    values.append(solve(thrown, policy))
    policy = greedy(q_from_v(thrown, values[-1]))
print(f"{len(values)} solves")
assert len(values) <= 10
assert (values[-1] - v).abs().max() < 1e-8

# %% [markdown]
# Each policy is at least as good as the one before *in every state*, and there are finitely many: it must end, and it ends at $V^*$.

# %% tags=["concept:policy-iteration"]
by_improvement = torch.stack(values)                 # [improvement, S]
print("sum of all values by solve:", by_improvement.sum(-1))
assert (by_improvement.diff(dim=0) >= -1e-9).all()

# %% [markdown]
# **Modified policy iteration** stands between: improve, then a few cheap *extra* backups of the fixed policy instead of a solve. No extra
# backup is value iteration; ever more approach policy iteration. Count improvements in the same world with a patient discount.

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
# ### One call, many discounts
#
# Every function of `rlcore.mdp` also takes a batch. Give `MDP` a vector of discounts, and one call answers for all of them: here the
# start of the smallest example, which you know to be worth the larger of $1$ and $2\gamma$.

# %% tags=["concept:policy-iteration", "concept:return-and-discount"]
swept = mdp.policy_iteration(MDP(transitions, rewards, gamma=gammas))
print(swept.v.shape, swept.v[[0, 50, 99], START])
assert torch.allclose(swept.v[:, START], torch.maximum(safe, risky))

# %% [markdown]
# ## Explorer: value iteration on a slippery floor
#
# The goal (G) pays +1, the pit (P) −1, each step a little. With probability *slip* you move sideways instead of where you
# aimed. *Sweep* plays value iteration. Press cells to build walls. The dashed line marks the sweep from which on all arrows are right.

# %% tags=["concept:value-iteration"]
explore(floor.draw, **floor.controls())

# %% [markdown]
# **Try it.** Set slip to 0 and then to 0.4: which way does the robot take, and why? Then raise the step cost until it changes
# its mind again. Finally take *sweep* back to where the arrows are already right: how wrong are the numbers still?
#
# <details><summary>What you should see</summary>
#
# Without slip the short way past the pit is free of danger. The more the floor slips, the more the detour is worth its steps,
# until walking is so expensive that risking the pit is the lesser evil. On a slippery floor the arrows are right long before the numbers
# are: a policy only needs the *order* of the actions. Exercise 2 puts numbers on the ways.
# </details>

# %% [markdown]
# ## What breaks
#
# The dense linear solve is exact, so why not always use it? Four reasons; three can be measured.
#
# **Time.** Solving $S$ equations costs on the order of $S^3$ operations. Time it, and fit the slope on log–log axes. (The assertion only
# guards the order of growth.)

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
ax.set(xlabel="states", ylabel="seconds", title=f"Twice the states, {2**slope:.1f} times the seconds")
ax.legend()
plots.show(plots.caption(fig, f"Seconds of one direct solve against the number of states, {sizes[0]} to "
    f"{sizes[-1]}, on log–log axes: the fitted slope is {slope:.2f}; the thin line has slope 3."))

# %% [markdown]
# **Memory.** A dense matrix has $S^2$ entries. A 200 × 200 room is small for a picture and large for a matrix. But from a cell you
# reach only a handful of others, so store only these (`sparse=True`) and back up instead of solving.

# %%
big = gridworld.slip_room(200, slip=0.2, step_reward=-0.01).to_mdp(gamma=0.99, sparse=True)
parts = (big.transitions.values(), big.transitions.col_indices(), big.transitions.crow_indices())
stored = sum(part.nbytes for part in parts)
dense = big.states**2 * 8                            # bytes of one [S, S] matrix
print(f"{big.states:,} states: one dense matrix {dense / 1e9:.1f} GB, stored {stored / 1e6:.1f} MB")
found = mdp.modified_policy_iteration(big, sweeps=50, tol=1e-3)
print(f"solved to 0.001 after {found.sweeps} improvements; the far corner is worth {found.v[0]:.3f}")
assert dense > 10e9 and stored < 20e6

# %% [markdown]
# **Size.** A language model's state is the whole text so far. With 50,000 tokens and replies of 100 tokens there are about
# $10^{470}$ replies, and $10^{465}$ prefixes to stand in, against some $10^{80}$ atoms in the universe.

# %%
digits = torch.tensor(50_000.0).log10()
print(f"replies 10^{100 * digits:.0f}, prefixes 10^{99 * digits:.0f}")

# %% [markdown]
# **The rules.** All of this needs $P$ and $R$, and that is no matter of size. A robot, a user, a marker of essays does not hand them out. Chapter 02 learns from
# samples instead.

# %% [markdown]
# ## The world of this course: phrases
#
# Now the task you came for. The **phrase world** has a few prompts, five words and an end-of-sequence sign (EOS). A reply has at
# most four words, so there are 781 replies to each prompt, and everything about them can be computed. A *state* is the prompt with
# the words so far, an *action* is the next token, the *transition* appends it, the *reward* comes once, at the end, and $\gamma=1$.
# That is the **token-level MDP** of every language model, small enough to look at.

# %%
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
# And the best policy? Policy iteration finds the best of all 781 replies to each prompt by choosing one token at a time, knowing
# what each prefix is worth.

# %% tags=["concept:token-level-mdp", "concept:policy-iteration"]
best = mdp.policy_iteration(tokens)
print(best.v[world.roots], f"after {best.sweeps} solves")
assert torch.allclose(best.v[world.roots], world.reward.amax(-1))

# %% [markdown]
# This world comes back: as a policy-gradient problem in chapter 03, as RLHF in 08, as DPO in 09, as GRPO in 11, always next to
# its exact answer.

# %% [markdown]
# ## Exercises
#
# **1 · The gambler.** *★★☆ · 10 minutes.* You have 1 to 99 coins and want 100. Each round you stake some of them on a toss that wins with chance 0.4.
# The reward is 1 for reaching 100 and 0 for ruin, $\gamma=1$: a value is the chance to make it. The world is built below. With your
# `bellman_optimality`, find the chance from 50 coins under the best stakes.

# %%
win, gambler_p, gambler_r = 0.4, torch.zeros(101, 50, 101), torch.zeros(101, 50)
for coins, choice in product(range(1, 100), range(50)):
    stake = min(choice + 1, coins, 100 - coins)
    gambler_p[coins, choice, coins + stake] += win
    gambler_p[coins, choice, coins - stake] += 1 - win
    gambler_r[coins, choice] = win * (coins + stake == 100)
gambler_p[0, :, 0] = gambler_p[100, :, 100] = 1.0
gambler = MDP(gambler_p, gambler_r, gamma=1.0)

# %% tags=["exercise"]
chance_from_50 = ...

# %%
check.answer(
    chance_from_50, 0.4, atol=1e-3, mistakes={
    "averaged over the stakes instead of taking the best": 0.3235, "took the chance of ruin": 0.6})

# %% [markdown]
# <details><summary>Hint</summary>
#
# Start from `torch.zeros(101)` and back up some 50 times; then look at entry 50. What happens if you stake everything at once?
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# v = torch.zeros(101)
# for _ in range(50):
#     v = bellman_optimality(gambler, v)
# chance_from_50 = v[50]
# ```
# Exactly 0.4: with odds against you, bold play (everything on one toss) is best.
# </details>
#
# **2 · The price of a step.** *★★☆ · 10 minutes.* In the explorer's world at $\gamma=0.95$ and slip 0.2, from which step cost on (in hundredths) does the
# robot walk past the pit? `way(step_cost)` lists the cells of its intended path.

# %%
def way(step_cost, slip=0.2):
    place = gridworld.playground(slip, step_cost)
    policy = mdp.policy_iteration(place.to_mdp(gamma=0.95)).policy
    return place.path(policy.argmax(-1))

print("steps when steps are free:", len(way(0.0)) - 1, "and without slip:", len(way(0.0, slip=0.0)) - 1)

# %% tags=["exercise"]
step_cost_of_the_risk = ...

# %%
lengths = {cost / 100: len(way(cost / 100)) - 1 for cost in range(21)}
check.answer(
    step_cost_of_the_risk, next(cost for cost, steps in lengths.items() if steps < 13), atol=1e-9,
    mistakes={"named the last cost of the detour": max(cost for cost in lengths if lengths[cost] == 13)})

# %% [markdown]
# <details><summary>Hint</summary>
#
# Print `len(way(cost)) - 1` for costs from 0 to 0.2 in steps of 0.01, and look where the number drops.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# costs = [cost / 100 for cost in range(21)]
# step_cost_of_the_risk = next(cost for cost in costs if len(way(cost)) - 1 < 13)
# ```
# The detour has 13 steps, the way past the pit 9. Up to a cost of 0.05 the detour pays, from 0.06 on the risk does.
# </details>

# %%
assert set(lengths.values()) == {13, 9}
assert lengths[0.05] == 13 and lengths[0.06] == 9

# %% [markdown]
# ## Clinic: three statements that circulate
#
# Each is copied from text to text, and each is wrong. Find the flaw *before* you read the verdict.
#
# **1.** *"If $V$ is right then $V(s_t)=r_t+\gamma V(s_{t+1})$, so any difference measures the error of $V$."*
#
# A walk on five states, left or right with a coin, reward 1 for leaving on the right: its exact values are 1/6 … 5/6.

# %%
walk = gridworld.Gridworld(1, 7, terminals={(0, 0): 0.0, (0, 6): 1.0})
sides = torch.tensor([0.0, 0.5, 0.0, 0.5]).expand(7, 4)            # up, right, down, left
v = mdp.solve(walk.to_mdp(gamma=1.0), sides)
inner = torch.arange(1, 6)
pays = (inner == 5).double()                         # reward of a step to the right
differences = torch.stack([pays + v[inner + 1], v[inner - 1]]) - v[inner]   # right, left: [2, 5]
print(v, differences, sep="\n")

# %%
assert torch.allclose(v[inner], inner / 6)
size = differences.abs().max()
print(f"mean of each column {differences.mean(0).abs().max():.4f}, size of each difference {size:.4f}")
assert differences.mean(0).abs().max() < 1e-12 and torch.allclose(differences.abs(), torch.tensor(1 / 6))

# %% [markdown]
# **Verdict.** The expectation is missing. With the *exact* values every single step is off by 1/6, and only the mean is zero. The right
# form is $V^\pi(s)=\mathbb E_\pi[r_t+\gamma V^\pi(s_{t+1})\mid s_t=s]$. In chapter 02 this difference becomes the *TD error*.
#
# **2.** *"The discount makes sure that the return is finite."* Rewards that double at every step, $\gamma=0.9$, against rewards of
# 1 for ten steps without any discount:

# %%
doubling = [sum(0.9**k * 2.0**k for k in range(steps)) for steps in (10, 20, 40)]
print([f"{x:.3g}" for x in doubling], "discounted;", sum([1.0] * 10), "undiscounted")
assert doubling[2] > 1000 * doubling[1] > 100_000 * doubling[0]
bounded = [sum(0.9**k * 1.0 for k in range(steps)) for steps in (10, 20, 40)]
assert max(bounded) <= 1 / (1 - 0.9)

# %% [markdown]
# **Verdict.** A discount below 1 is enough for *bounded* rewards: then $|G|\le r_{\max}/(1-\gamma)$. It is not enough for growing
# ones, and not needed where episodes end.
#
# **3.** *"Stop value iteration when all values change by nearly the same amount: you have the values to within the tolerance."* A well-known package,
# pymdptoolbox, stops that way, with the span $\max\Delta-\min\Delta$ of the last change, and reports the values it has. Its own example:

# %%
example = MDP(
    torch.tensor([[[0.5, 0.5], [0.0, 1.0]], [[0.8, 0.2], [0.1, 0.9]]]),  # [S, A, S]
    torch.tensor([[5.0, 10.0], [-1.0, 2.0]]), gamma=0.9)

def stop_on_span(world, tol):
    v = torch.zeros(world.states)
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
# **Verdict.** Reported 40.05, true 42.44: off by 2.4 where 0.01 was asked for. When *all* values still rise by the same amount, the greedy
# policy earns within the tolerance of the best, and the values may be far off. The remedy costs one line. The $k$-th later change lies between
# $\gamma^k\min\Delta$ and $\gamma^k\max\Delta$. Sum over $k\ge1$: $V^*$ lies between $v+\frac{\gamma}{1-\gamma}\min\Delta$ and
# $v+\frac{\gamma}{1-\gamma}\max\Delta$. Return the middle.

# %%
middle = v + 0.9 / (1 - 0.9) * (change.max() + change.min()) / 2
print(middle, f"off by {(middle - true).abs().max():.4f}")
assert (middle - true).abs().max() <= 0.01

# %% [markdown]
# `mdp.value_iteration` stops on these bounds and returns the middle. That is why its tolerance is a promise, for $\gamma<1$.
#
# ## Summary
#
# | symbol | what it is | function | where |
# |---|---|---|---|
# | $(\mathcal S,\mathcal A,P,R,\gamma)$ | the task | `MDP` | [smallest example](#The-smallest-example,-by-hand) |
# | $G_t$ | discounted sum of rewards | | [return](#Return-and-discount) |
# | $J(\pi)$ | expected return, to be maximised | `mdp.solve` | [what "best" means](#What-"best"-means) |
# | $V^\pi,\,Q^\pi,\,A^\pi$ | value, action value, advantage | `mdp.q_from_v` | [values](#Values) |
# | $V=\sum_a\pi[R+\gamma PV]$ | expectation backup, linear | `mdp.bellman_expectation` | [expectation equation](#The-Bellman-expectation-equation) |
# | $(I-\gamma P_\pi)^{-1}R_\pi$ | exact values of a policy | `mdp.solve` | [matrix form](#The-matrix-form) |
# | $V=\max_a[R+\gamma PV]$ | optimality backup, not linear | `mdp.bellman_optimality` | [optimality equation](#The-Bellman-optimality-equation) |
# | $V^*,\,\pi^*$ | best values and policy | `mdp.value_iteration`, `mdp.policy_iteration`, `mdp.modified_policy_iteration` | [three ways](#Three-ways-to-the-best-policy) |
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
# - Puterman 1994, *Markov Decision Processes*, chapter 6: value iteration, modified policy iteration (Puterman & Shin 1978), and the bounds
#   (MacQueen 1966, Porteus 1971).
# - Sutton & Barto 2018, *Reinforcement Learning*, 2nd edition: examples 3.5 and 3.8 (5 × 5), 4.1 with figure 4.1 (4 × 4), 4.3 (gambler), 6.2 (random walk).
# - pymdptoolbox 4.0-b3, `ValueIteration` on `example.small()`: clinic 3.
#
# Next: chapter 02, learning from samples when nobody hands you the rules.
