# ---
# jupyter:
#   course:
#     number: 2
#     slug: samples
#     title: Learning from samples
#     question: "How do you learn values from experience alone?"
#     modules: [td, bandit]
#     explorer: ε and α on the cliff
#     read: 75
#     run: 45
# ---

# %% [markdown]
# # 02 · Learning from samples
#
# **How do you learn values from experience alone?**
#
# After this chapter you can
#
# - learn what states are worth from episodes, with Monte Carlo, TD(0) and what lies between, and say what each gets wrong;
# - learn to act with SARSA and Q-learning, and predict which of them earns more while it learns;
# - keep two questions apart: *whose* actions are in the data, and *when* were the data collected;
# - explore, and say what exploring costs;
# - notice that an observation is not a state, and repair it with memory.
#
# **Needs** [chapter 01](01_mdp.ipynb): values, backups, greedy policies. **Minutes** 75 to read and do, under 1 to run.

# %%
import torch

from rlcore import bandit, check, mdp, returns, td
from rlcore.kernels import control as fast
from rlcore.loops import tabular
from rlcore.view import plots, style
from rlcore.view.explore import cliff as cliff_walk
from rlcore.view.explore import explore
from rlcore.worlds import gridworld, walks
from rlcore.worlds.memory import Memory

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.set_printoptions(precision=4, sci_mode=False, linewidth=110)
SEEDS = (0, 1, 2)

def seeded(seed):
    return torch.Generator().manual_seed(seed)

# %% [markdown]
# ## Before you run
#
# Two learners walk from S to G along a cliff. A step costs 1; falling costs 100 and leads back to S. Both draw an action at random one
# time in ten. After 500 episodes the one, *Q-learning*, knows the shortest path, 13 steps along the edge. The other, *SARSA*, does not.
# **Which of the two has earned more on the way?** Write your guess down.

# %% [markdown]
# ## The smallest example, by hand
#
# Nobody tells you transitions or rewards. You watched eight episodes. One went through A, then B: reward 0, then 0. Six began in B
# and paid 1. One began in B and paid 0. **What are A and B worth?**
#
# *B* paid 1 in six of eight visits: $6/8$. For *A* there are two good answers.
#
# - **Monte Carlo** averages the returns that followed. One return followed A, and it was 0. So $V(A)=0$.
# - **Temporal difference (TD)** says: A has always led to B, with reward 0, and B is worth $¾$. So $V(A)=¾$.
#
# Both come out of the same nine transitions, by small steps repeated until nothing moves.

# %% tags=["concept:monte-carlo-evaluation", "concept:td-0"]
A, B, END = 0, 1, 2
states = torch.tensor([A, B, B, B, B, B, B, B, B])
next_states = torch.tensor([B] + 8 * [END])
rewards = torch.tensor([0.0, 0, 1, 1, 1, 1, 1, 1, 0])
discounts = torch.tensor([1.0] + 8 * [0.0])          # 0 where the episode ended
to_go = torch.tensor([0.0, 0, 1, 1, 1, 1, 1, 1, 0])  # the return from each visit on
real = torch.ones(9, dtype=torch.bool)               # the mask: True for a real step, False for padding

# %% tags=["concept:monte-carlo-evaluation", "concept:td-0"]
by_returns, by_steps = torch.zeros(3), torch.zeros(3)
for _ in range(1500):
    by_returns = td.monte_carlo(by_returns, states, to_go, real, lr=0.01)
    copies = by_steps.expand(9, -1)  # every transition changes a copy; then add the changes
    changed = td.td_zero(copies, states, rewards, discounts, next_states, lr=0.01)
    by_steps = by_steps + (changed - copies).sum(0)
print("Monte Carlo", by_returns[:2], " TD", by_steps[:2])
assert torch.allclose(by_returns[:2], torch.tensor([0.0, 0.75]), atol=1e-4)
assert torch.allclose(by_steps[:2], torch.tensor([0.75, 0.75]), atol=1e-4)

# %% [markdown]
# Monte Carlo fits the returns that were seen. TD answers as if the counted transitions were the rules. If the world *is* Markov, bet on ¾.

# %% [markdown]
# ## Two updates
#
# Move the value of a state by a small part $\alpha$ of the way towards a **target**:
# $$\text{Monte Carlo:}\quad V(s_t)\leftarrow V(s_t)+\alpha\,\big(G_t-V(s_t)\big)$$
# $$\text{TD(0):}\quad V(s_t)\leftarrow V(s_t)+\alpha\,\big(\underbrace{r_t+\gamma V(s_{t+1})}_{\text{target}}-V(s_t)\big)$$
# The bracket of TD(0) is the **TD error** $\delta_t$. Its target uses a value that is itself an estimate: that is *bootstrapping*. Where
# the episode ended nothing follows, so the discount is 0 there.
#
# ![Backup diagrams of Monte Carlo, TD(0), two steps, SARSA, Expected SARSA and Q-learning side by side](../figures/02_backups.svg)
#
# Time runs downwards: circles are states, dots actions, T is the end. Orange is where an estimate stands in for what was not seen. You
# meet the four on the right below.
#
# ### Write it: `td_zero`
#
# *Difficulty ★★☆ · importance ★★★ · 10 minutes.* L learners at once, each with its own table: `v` is [L, S] or just [S];
# `states`, `rewards`, `discounts`, `next_states` are [L] or single numbers as tensors. Do not write into `v`, return a new one. Beware
# of the value behind an end: it may be NaN, and 0 · NaN is NaN.

# %% tags=["exercise"]
@check.exercise(td.td_zero)
def td_zero(v, states, rewards, discounts, next_states, lr):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# `v.gather(-1, states[..., None])[..., 0]` reads one entry per learner; `v.scatter_add(-1, states[..., None], change[..., None])` adds
# to it in a copy. `torch.where(discounts > 0, following, 0.0)` hides what stands behind an end.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def td_zero(v, states, rewards, discounts, next_states, lr):
#     old = v.gather(-1, states[..., None])[..., 0]
#     following = v.gather(-1, next_states[..., None])[..., 0]
#     following = torch.where(discounts > 0, following, 0.0)
#     change = lr * (rewards + discounts * following - old)
#     return v.scatter_add(-1, states[..., None], change[..., None])
# ```
# </details>
#
# ### Use it: the random walk
#
# Five states in a row, a coin decides left or right, and leaving on the right pays 1. A value is the chance to leave on the right:
# $1/6,\dots,5/6$. Play 10,000 episodes from the middle: 100 runs of 100.

# %% tags=["concept:td-0", "concept:monte-carlo-evaluation"]
walk, coin = walks.random_walk(5), torch.full((7, 2), 0.5)
true = mdp.solve(walk, coin)
assert torch.allclose(true[1:6], torch.arange(1, 6) / 6)
guess = torch.tensor([0, 0.5, 0.5, 0.5, 0.5, 0.5, 0])

# %% tags=["concept:td-0", "concept:monte-carlo-evaluation"]
played = walks.sample(walk, coin, 3, 100 * 100, most_steps=500, generator=seeded(0))
to_go = returns.discounted_returns(played.rewards, played.discounts, torch.zeros(10_000))  # G of every step
runs = [x.unflatten(0, (100, 100)) for x in played]  # [run, episode, step]: states, actions, rewards, …
to_go, walking = to_go.unflatten(0, (100, 100)), runs[4]           # walking: the mask, True until the end

# %% [markdown]
# The error is the root mean square (RMS) over the five states. Both learners start from ½ everywhere: RMS 0.2357.

# %% tags=["concept:td-0"]
def rms(v):
    return (v - true)[..., 1:6].square().mean(-1).sqrt()

# %% tags=["concept:monte-carlo-evaluation"]
def monte_carlo_episode(v, episode, lr):
    parts = runs[0][:, episode, :-1], to_go[:, episode], walking[:, episode]     # states, returns, mask
    return td.monte_carlo(v, *(x.expand(len(v), -1, -1) for x in parts), lr)

# %% tags=["concept:td-0"]
def td_episode(v, episode, lr):
    s, _, r, d, mask = (x[:, episode].expand(len(v), -1, -1) for x in runs)
    for t in range(int(mask.any((0, 1)).sum())):  # a walk that is over stays at its end
        v = td_zero(v, s[..., t], r[..., t], d[..., t], s[..., t + 1], lr)
    return v

# %% tags=["concept:td-0", "concept:monte-carlo-evaluation"]
def curve(learn, rates):
    v, lr = guess.expand(len(rates), 100, 7), torch.tensor(rates)[:, None].expand(-1, 100)
    errors = [rms(v).mean(-1)]
    for episode in range(100):
        v = learn(v, episode, lr)
        errors.append(rms(v).mean(-1))
    return torch.stack(errors, -1)                   # [α, episode + 1], mean over 100 runs

mc_rates, td_rates = (0.01, 0.02, 0.04), (0.05, 0.1, 0.15)
mc_curves, td_curves = curve(monte_carlo_episode, mc_rates), curve(td_episode, td_rates)

# %% tags=["concept:td-0", "concept:monte-carlo-evaluation"]
fig, ax = plots.figure(height=3.2)
methods = ("Monte Carlo", mc_curves, mc_rates, "reference"), ("TD(0)", td_curves, td_rates, "value")
for name, curves, rates, color in methods:
    for errors, rate, look in zip(curves, rates, ("-", "--", ":")):
        ax.plot(errors, look, color=style.COLOR[color], label=f"{name}, α = {rate}")
plots.exact(ax, 0.0, "exact values")
least_mc, least_td = mc_curves.min(), td_curves.min()
ax.set(xlabel="episode", ylabel="RMS error (reward)", title="TD(0) comes closer than Monte Carlo")
ax.legend(ncols=2)
plots.show(plots.caption(fig, f"RMS error against episodes, mean of 100 runs. All curves start at "
    f"{mc_curves[0, 0]:.4f}; the least that Monte Carlo reaches is {least_mc:.3f}, TD(0) {least_td:.3f}."))

# %% tags=["concept:td-0", "concept:monte-carlo-evaluation"]
assert torch.allclose(mc_curves[:, 0], torch.tensor(0.2357), atol=1e-4)
assert least_td < 0.6 * least_mc and td_curves[1].min() < 0.06
assert td_curves[2, 5] < td_curves[0, 5] and td_curves[2, -1] > td_curves[0, -1]

# %% [markdown]
# A large $\alpha$ is quick and never settles, a small one is slow and comes closer. Each at the best of its three step sizes, TD(0) is far ahead, with
# the same data.

# %% [markdown]
# ## Between the two: n steps and λ
#
# Take $n$ real rewards, then a value: $G_{t:t+n}=r_t+\dots+\gamma^{n-1}r_{t+n-1}+\gamma^nV(s_{t+n})$. With $n=1$ that is TD(0), with $n$ beyond the end Monte
# Carlo. What does $n$ trade? Hold $V$ fixed at half of the true values, start in the middle (true value ½), and compute
# the target's mean and variance *exactly*: its mean is $n$ Bellman backups of $V$, and the mean of its square is the same from
# $V^2$ (a target is either the final reward, 0 or 1, or a value, never a sum of both). **Bias** is the mean less the true value.

# %%
wrong, horizon = true / 2, torch.tensor([1, 2, 4, 8, 16, 32, 64])
means, squares = [wrong], [wrong.square()]
for _ in range(64):
    means.append(mdp.bellman_expectation(walk, coin, means[-1]))
    squares.append(mdp.bellman_expectation(walk, coin, squares[-1]))
mean = torch.stack(means)[horizon, 3]
bias, variance = mean - true[3], torch.stack(squares)[horizon, 3] - mean.square()
print("n       ", horizon, "\nbias    ", bias, "\nvariance", variance)
assert (bias.diff() > -1e-12).all() and (variance.diff() > 0).all()      # less bias, more variance
assert bias[0] == -0.25 and bias[-1].abs() < 1e-4 and abs(variance[-1] - 0.25) < 1e-4

# %%
targets = torch.stack([
    td.n_step_targets(played.rewards, played.discounts, wrong[played.states], int(n))[:, 0] for n in horizon])
error = targets.std(-1) / 10_000**0.5                # standard error of the sampled mean
distance = ((targets.mean(-1) - mean).abs() / error).max()
print(f"largest distance of a sampled mean: {distance:.1f} standard errors")
assert distance < 4
assert torch.allclose(targets.var(-1), variance, rtol=0.05)

# %%
fig, ax = plots.figure(height=2.8)
names = [str(int(n)) for n in horizon]
ax.plot(names, bias.square(), color=style.COLOR["value"], label="bias², exact")
ax.plot(names, variance, "--", color=style.COLOR["advantage"], label="variance, exact")
ax.plot(names, targets.var(-1), "x", color=style.COLOR["reference"], label="variance, sampled")
ax.set(xlabel="n, steps before the value", ylabel="reward²", title="More steps: less bias, more variance")
ax.legend()
plots.show(plots.caption(fig, "Squared bias and variance of the n-step target in the middle of the walk: "
    f"{bias[0]**2:.4f}, {variance[0]:.4f} at n = 1, {bias[-1]**2:.4f}, {variance[-1]:.4f} at n = 64."))

# %% [markdown]
# One step takes over the whole error of $V$, with hardly any noise; the whole return is right on average, and as noisy as a coin. You need
# not choose one $n$: **TD(λ)** mixes all of them with weights $(1-\lambda)\lambda^{n-1}$, and the weight of all $n$ beyond the end goes to the whole
# return. λ = 0 is TD(0), λ = 1 is Monte Carlo. Which $n$ and which λ learn best? A walk of 11 states, the error over the first ten episodes, the
# best of six α for each:

# %%
long_walk, coin_13 = walks.random_walk(11), torch.full((13, 2), 0.5)
exact = mdp.solve(long_walk, coin_13)
ten = walks.sample(long_walk, coin_13, 6, 50 * 10, most_steps=2000, generator=seeded(2))
ten = [x.unflatten(0, (50, 10)) for x in ten]        # [run, episode, step]
rates = torch.tensor([0.0125, 0.025, 0.05, 0.1, 0.2, 0.4])

def least_error(learn):
    """RMS error over the first ten episodes, mean of 50 runs, at the best of six step sizes."""
    v, lr = torch.full((6, 50, 13), 0.5), rates[:, None].expand(-1, 50)
    v[..., [0, -1]], total = 0.0, 0.0
    for episode in range(10):
        v = learn(v, *(x[:, episode].expand(6, -1, -1) for x in ten), lr)
        total = total + (v - exact)[..., 1:-1].square().mean(-1).sqrt().mean(-1) / 10
    return total.nan_to_num(9.0).min().item()        # an α so large that the values blow up does not count

# %%
def n_steps(n):
    def learn(v, s, a, r, d, mask, lr):
        return td.monte_carlo(v, s[..., :-1], td.n_step_targets(r, d, v.gather(-1, s), n), mask, lr)
    return least_error(learn)

# %%
def trace(lam):
    return least_error(lambda v, s, a, r, d, mask, lr: td.td_lambda(v, s, r, d, mask, lam, lr))

# %%
n_values, lam_values = (1, 2, 4, 8, 16, 32, 1000), (0.0, 0.4, 0.8, 0.9, 0.95, 1.0)
by_n, by_lam = [n_steps(n) for n in n_values], [trace(lam) for lam in lam_values]
print("n ", [f"{x:.3f}" for x in by_n], "\nλ ", [f"{x:.3f}" for x in by_lam])
assert abs(by_n[0] - by_lam[0]) < 1e-9 and abs(by_n[-1] - by_lam[-1]) < 1e-9   # TD(0) and Monte Carlo
assert min(by_n) < 0.85 * min(by_n[0], by_n[-1]) and min(by_lam) < 0.85 * min(by_lam[0], by_lam[-1])

# %%
fig, (left, right) = plots.figure(height=2.8, ncols=2, sharey=True)
left.plot([str(n) for n in (*n_values[:-1], "∞")], by_n, "o-", color=style.COLOR["value"])
right.plot(lam_values, by_lam, "s--", color=style.COLOR["advantage"])
left.set(xlabel="n, steps before the value", ylabel="RMS error (reward)", title="Neither end is best")
right.set(xlabel="λ", title="The same with λ")
best_n, best_lam = n_values[by_n.index(min(by_n))], lam_values[by_lam.index(min(by_lam))]
plots.show(plots.caption(fig, "RMS error over the first ten episodes against n and against λ: "
    f"TD(0) {by_n[0]:.3f}, Monte Carlo {by_n[-1]:.3f}, n = {best_n} {min(by_n):.3f}, "
    f"λ = {best_lam} {min(by_lam):.3f}."))

# %% [markdown]
# The ends of both curves agree to the last digits. The best lies between. Chapter 04 meets this dial again: GAE is λ for advantages.

# %% [markdown]
# ## Learning to act
#
# To improve a policy without the rules you need *action* values: $V$ alone does not say which action leads where. Move $Q(s,a)$ towards
# $r+\gamma\,\cdot$ *something at* $s'$; the methods differ only in that something:
#
# | | target |
# |---|---|
# | SARSA | $r+\gamma\,Q(s',a')$, with the action $a'$ really taken next |
# | Expected SARSA | $r+\gamma\sum_{a'}\pi(a'\mid s')\,Q(s',a')$ |
# | Q-learning | $r+\gamma\max_{a'}Q(s',a')$ |
#
# To find out what other actions do, you must try them. **ε-greedy** takes any action with chance ε, else a best one:
# $$\pi(a\mid s)=\frac{\varepsilon}{|\mathcal A|}+(1-\varepsilon)\,\mathbb 1[a=\arg\max_{a'} Q(s,a')].$$
#
# ### Write it: `epsilon_greedy`
#
# *Difficulty ★★☆ · importance ★★★ · 5 minutes.* `q` is [..., A]. Equally good actions share the greedy part evenly.

# %% tags=["exercise"]
@check.exercise(td.epsilon_greedy)
def epsilon_greedy(q, eps_explore):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# `best = (q == q.amax(-1, keepdim=True)).to(q)` marks the best actions with 1; divide by their number.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def epsilon_greedy(q, eps_explore):
#     best = (q == q.amax(-1, keepdim=True)).to(q)
#     return eps_explore / q.shape[-1] + (1 - eps_explore) * best / best.sum(-1, keepdim=True)
# ```
# </details>
#
# ### Write it: `q_learning`
#
# *Difficulty ★★★ · importance ★★★ · 10 minutes.* `q` is [L, S, A] or [S, A]. Treat the table as one long row: cell $(s,a)$ is entry $s\cdot|\mathcal A|+a$.

# %% tags=["exercise"]
@check.exercise(td.q_learning)
def q_learning(q, states, actions, rewards, discounts, next_states, lr):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# The best value in each state is `q.amax(-1)`, a table [L, S] that you read as in `td_zero`. `q.flatten(-2)` is the long row, `.view(q.shape)` undoes it.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def q_learning(q, states, actions, rewards, discounts, next_states, lr):
#     row, cell = q.flatten(-2), (states * q.shape[-1] + actions)[..., None]
#     best = q.amax(-1).gather(-1, next_states[..., None])[..., 0]
#     best = torch.where(discounts > 0, best, 0.0)
#     change = lr * (rewards + discounts * best - row.gather(-1, cell)[..., 0])
#     return row.scatter_add(-1, cell, change[..., None]).view(q.shape)
# ```
# </details>

# %% [markdown]
# ### Use it: the cliff
#
# Back to the cliff: 4 rows of 12 cells, no discount. The loop around the update: draw an action, see reward and next state, update, go on; after
# `limit` steps an episode is cut off. `tabular.control` is that loop for many learners at once, with any update, yours included; `fast.control` its
# compiled twin, for rlcore's updates only. First see that both give the same tables.

# %% tags=["concept:q-learning"]
place = gridworld.cliff()
cliff, start = place.to_mdp(gamma=1.0), place.index(place.start)

# %% tags=["concept:q-learning"]
few = dict(learners=4, episodes=5, lr=0.5, eps_explore=0.1, limit=1000)
for record in tabular.control(q_learning, cliff, start, **few, generator=seeded(0)):
    pass
twin = fast.control(td.q_learning, cliff, start, **few, generator=seeded(0))
print("returns of the fifth episode", record.returns, "\nand by the twin             ", twin.returns[-1])
assert (record.q - twin.q).abs().max() < 1e-12

# %% [markdown]
# Now 50 learners, 500 episodes, α = 0.5, ε = 0.1, on three seeds.

# %% tags=["concept:sarsa", "concept:q-learning"]
def learn(update, seed, episodes=500, lr=0.5, eps_explore=0.1):
    return fast.control(update, cliff, start, learners=50, episodes=episodes, lr=lr,
                        eps_explore=eps_explore, limit=1000, generator=seeded(seed))

# %% tags=["concept:sarsa", "concept:q-learning"]
sarsa_runs, expected_runs, q_runs = (
    [learn(update, seed) for seed in SEEDS] for update in (td.sarsa, td.expected_sarsa, td.q_learning))
earned = torch.tensor([[run.returns.mean() for run in runs] for runs in (sarsa_runs, expected_runs, q_runs)])
print("return of an episode while learning, three seeds\nSARSA         ", earned[0],
      "\nExpected SARSA", earned[1], "\nQ-learning    ", earned[2])
assert earned[0].min() > earned[2].max() + 15 and earned[1].min() > earned[0].max() + 5

# %% [markdown]
# That answers the question at the top: SARSA loses about two thirds of what Q-learning loses, Expected SARSA half. Now stop exploring, and follow
# the greedy path of every learner.

# %% tags=["concept:sarsa", "concept:q-learning"]
def greedy_paths(run):
    return [place.path(q.argmax(-1)) for q in run.q]

# %% tags=["concept:sarsa", "concept:q-learning"]
EDGE = {(2, column) for column in range(1, 11)}      # the cells above the cliff
q_paths = [path for run in q_runs for path in greedy_paths(run)]
sarsa_paths = [path for run in sarsa_runs for path in greedy_paths(run)]
arrives = sum(len(path) == 14 and EDGE < set(path) for path in q_paths)
print(f"Q-learning: {arrives} of {len(q_paths)} learners take 13 steps, all along the edge")
assert arrives == len(q_paths) and mdp.policy_iteration(cliff).v[start].round() == -13

# %% tags=["concept:sarsa"]
beside = torch.tensor([len(EDGE & set(path)) for path in sarsa_paths]).double()
late = torch.stack([run.visits[-100:].double().mean((0, 1)) for run in sarsa_runs + q_runs])
edge = late[:, [place.index(cell) for cell in EDGE]].sum(-1) / late.sum(-1)
print(f"SARSA's greedy paths touch {beside.mean():.2f} of the 10 edge cells\n"
      f"share of steps there: SARSA {edge[:3].max():.2f}, Q-learning {edge[3:].min():.2f}")
assert beside.mean() < 1.5 and edge[:3].max() < 0.15 < 0.4 < edge[3:].min()

# %% [markdown]
# SARSA keeps away from the edge. Is that a mistake? A policy that must explore with chance ε is a policy in a world that replaces your
# action by a random one with chance ε. Policy iteration solves that world: the best **ε-soft** policy.

# %% tags=["concept:sarsa"]
def best_soft(eps_explore, world=cliff):
    mix = (1 - eps_explore) * torch.eye(4) + eps_explore / 4                       # [intended, done]
    return mdp.policy_iteration(mdp.MDP(
        torch.einsum("ab,sbt->sat", mix, world.transitions), world.rewards @ mix.T, gamma=world.gamma))

# %% tags=["concept:sarsa"]
soft = best_soft(0.1)
soft_path = place.path(soft.policy.argmax(-1))
print(f"best 0.1-soft policy: earns {soft.v[start]:.3f}, its greedy path takes {len(soft_path) - 1} steps")
assert abs(soft.v[start] + 20.708) < 1e-3 and len(soft_path) == 16
assert {row for row, column in soft_path[2:-2]} == {1}             # the cliff is row 3

# %% [markdown]
# With ε = 0.1 the best you can do is −20.7, on the row *two* above the cliff. What is each learner's ε-greedy policy worth after 500 episodes,
# exactly? The last line gives SARSA 3,000 episodes and an α that shrinks.

# %% tags=["concept:sarsa", "concept:q-learning"]
def worth(run):
    return mdp.solve(cliff, epsilon_greedy(run.q, 0.1))[:, start].median()

# %% tags=["concept:sarsa", "concept:q-learning"]
calm = [learn(td.sarsa, seed, episodes=3000, lr=lambda e: 0.5 / (1 + e / 100)) for seed in SEEDS]
values = torch.tensor([[worth(run) for run in runs] for runs in (q_runs, sarsa_runs, expected_runs, calm)])
print("value of the ε-greedy policy, median learner, three seeds")
for name, row in zip(("Q-learning", "SARSA", "Expected SARSA", "SARSA, α shrinking"), values):
    print(f"{name:18}", row)
assert values[0].max() < -40 and values[1].min() > -27 and values[2].min() > -21.5
assert -23 < values[3].min() and values[1:].max() < soft.v[start] + 1e-9
assert torch.tensor([len(path) - 1 for run in calm for path in greedy_paths(run)]).median() == 17

# %% [markdown]
# Expected SARSA is within 0.1 of the best: it averages over the next action instead of drawing one. SARSA stays two to four below, and with
# a shrinking α still 1.4: most of its learners keep to the top row.
#
# Each method is right about its own question. SARSA learns the value of *what it does*, exploring included; Q-learning the value of *what would
# be best* if exploring stopped. If falling hurts while you learn, the first question matters. If you can train in a simulator and then stop exploring, the second.

# %% [markdown]
# ## Explorer: the cliff
#
# Amber is where ten learners walk in the last 100 episodes, lines are their greedy paths. Choose two methods, ε (constant or halving) and α.

# %% tags=["concept:epsilon-greedy-exploration", "concept:sarsa", "concept:q-learning"]
explore(cliff_walk.draw, **cliff_walk.controls())

# %% [markdown]
# **Try it.** Take ε to 0.01 and to 0.3: what happens to the gap between the two curves? Then let ε halve every 100 episodes. At last set
# α = 1 with ε = 0.3 constant: why does SARSA fail there, and not Expected SARSA?
#
# <details><summary>What you should see</summary>
#
# The more both explore, the more Q-learning falls; at ε = 0.01 it hardly does, and is a little ahead. When ε fades, falling stops and
# Q-learning's path earns nearly −13: it ends ahead. With α = 1 one unlucky next action overwrites all that SARSA knew about a cell; Expected SARSA averages over the next actions, so nothing in its target is random
# here, and α = 1 does no harm.
# </details>

# %% [markdown]
# ## On-policy and off-policy, online and offline
#
# Two questions, often mixed up.
#
# - *Whose actions are in the data?* **On-policy**: those of the policy that is being learned about. **Off-policy**: those of another one.
# - *When were they collected?* **Online**: during training, by the learner. **Offline**: before, and the data set is fixed.
#
# All four combinations exist. A narrow cliff, three rows of six, shows them: each run learns the start's value for *its* question, next to the exact answer.

# %% tags=["concept:on-policy-off-policy-online-offline"]
narrow = gridworld.from_text("......\n......\nSCCCCG", goal=0.0, fall=-19.0, step_reward=-1.0)
small, home = narrow.to_mdp(gamma=0.95), narrow.index(narrow.start)
setting = dict(learners=10, lr=lambda e: 0.5 / (1 + e / 200), limit=300)
on_on = fast.control(td.sarsa, small, home, episodes=4000, eps_explore=0.2, generator=seeded(0), **setting).q
for record in tabular.control(td.q_learning, small, home, episodes=60, eps_explore=0.2, replays=3,
                              generator=seeded(0), **setting):
    off_on = record.q

# %% [markdown]
# Offline: nearly 3,000 logged steps of a walker who chooses at random, begun anywhere. Nothing is added. Every sweep sets each entry to the mean of its
# logged targets (α is one over the number of times the pair was logged).

# %% tags=["concept:on-policy-off-policy-online-offline"]
uniform, inside = torch.full((18, 4), 0.25), (~small.terminal).nonzero()[:, 0]
log = walks.sample(small, uniform, inside.repeat(12), 12 * len(inside), most_steps=22, generator=seeded(3))
kept = log.mask[:, :-1]                              # the last step has no logged next action
s, a, r, d, after, a_next = (x[kept] for x in (
    log.states[:, :-2], log.actions[:, :-1], log.rewards[:, :-1], log.discounts[:, :-1], log.states[:, 1:-1],
    log.actions[:, 1:]))
counts = torch.bincount(s * 4 + a, minlength=72).view(18, 4)
print(len(s), "logged steps; the rarest pair was tried", int(counts[inside].min()), "times")

# %% tags=["concept:on-policy-off-policy-online-offline"]
def from_log(update, keep, *more, sweeps=90):
    q, batch = torch.zeros(18, 4), [x[keep] for x in (s, a, r, d, after, *more)]
    for _ in range(sweeps):
        copies = q.expand(int(keep.sum()), -1, -1)
        q = q + (update(copies, *batch, 1 / counts[s, a][keep]) - copies).sum(0)
    return q

everything = torch.ones_like(s, dtype=torch.bool)
off_off, on_off = from_log(td.q_learning, everything, sweeps=20), from_log(td.sarsa, everything, a_next)

# %% tags=["concept:on-policy-off-policy-online-offline"]
best, best_exploring = mdp.policy_iteration(small).v, best_soft(0.2, small).v
logged, v_on_on = mdp.solve(small, uniform), (epsilon_greedy(on_on, 0.2) * on_on).sum(-1)
rows = {
    "on-policy,  online : SARSA, ε-greedy": (v_on_on[:, home].mean(), best_exploring),
    "off-policy, online : Q-learning, replay": (off_on.amax(-1)[:, home].mean(), best),
    "off-policy, offline: Q-learning on a log": (off_off.amax(-1)[home], best),
    "on-policy,  offline: SARSA on a log": ((uniform * on_off).sum(-1)[home], logged)}
for name, (learned, exact_v) in rows.items():
    print(f"{name:42} learned {learned:7.2f}, exact {exact_v[home]:7.2f}")

# %% tags=["concept:on-policy-off-policy-online-offline"]
errors = [abs(learned - exact_v[home]) / abs(exact_v[home]) for learned, exact_v in rows.values()]
assert max(errors[:2]) < 0.01 and errors[2] < 1e-6 and errors[3] < 0.02

# %% [markdown]
# Three find their exact answers to within 1 %, the fourth to within 2 %: that is the luck of the log. And offline learning has a trap. Take one
# pair out of the log, *down* beside the cliff, which nobody should try. Its entry is never corrected, and the maximum believes it:

# %% tags=["concept:on-policy-off-policy-online-offline"]
missing = narrow.index((1, 3)), gridworld.ACTIONS.index("down")
fooled = from_log(td.q_learning, (s != missing[0]) | (a != missing[1]), sweeps=20)
print(f"start worth {fooled.amax(-1)[home]:.2f} instead of {best[home]:.2f}; its path ends at",
      narrow.path(fooled.argmax(-1))[-1])
assert fooled.amax(-1)[home] > best[home] + 1 and narrow.path(fooled.argmax(-1))[-1] != (2, 5)

# %% [markdown]
# It walks to the edge, jumps, and begins again, for ever. Online, one fall would have taught it better. DPO (chapter 09) learns offline, too: a
# fixed set of preferences says nothing about replies that are not in it.
#
# The fourth corner is narrow: a log evaluates the policy that wrote it; improve that policy once, and the log is no longer its own. Nor is *on-policy*
# a yes or no in practice: PPO (chapter 05) uses each batch for several updates, and is a little off-policy from the second one on.
#
# Q-learning asks only what follows a state and an action, so it need not know who chose the action. *Averages* over actions need a correction. The
# **behaviour policy** $\mu$ acted, you ask about the **target policy** $\pi$: weigh each action by how much likelier $\pi$ takes it,
# $\mathbb E_\pi[f]=\mathbb E_\mu\big[\tfrac{\pi}{\mu}f\big]$. That holds as long as $\mu$ tries whatever $\pi$ may do.

# %% tags=["concept:on-policy-off-policy-online-offline"]
pays, behaviour, target = torch.tensor([0.0, 1.0]), torch.tensor([0.8, 0.2]), torch.tensor([0.3, 0.7])
arm = torch.multinomial(behaviour, 20_000, replacement=True, generator=seeded(0))
plain, weighted = pays[arm].mean(), ((target / behaviour)[arm] * pays[arm]).mean()
print(f"mean reward in the data {plain:.3f}, weighted {weighted:.3f}; exact under the target policy 0.700")
assert abs(plain - 0.2) < 0.02 and abs(weighted - 0.7) < 0.04

# %% [markdown]
# ## Experience replay
#
# Q-learning does not care who acted, so it may learn from the same step again. A **replay** memory $\mathcal D$ keeps transitions, and after every real step a
# few are drawn from it. In a 4 × 4 room where only the far corner pays, an episode without replay carries the good news about one cell back.

# %% tags=["concept:experience-replay"]
room = gridworld.slip_room(4, slip=0.0, step_reward=0.0)
room_mdp = room.to_mdp(gamma=0.9)

def steps_to_solve(replays, seed):
    """Real steps until a learner's greedy path is the shortest, 6 steps: the median of 20 learners."""
    taken, solved = torch.zeros(20, dtype=torch.int64), torch.full((20,), -1)
    for record in tabular.control(q_learning, room_mdp, 0, learners=20, episodes=100, lr=0.5, eps_explore=0.1,
                                  limit=200, generator=seeded(seed), replays=replays):
        taken = taken + record.steps
        paths = [room.path(q.argmax(-1)) for q in record.q]
        short = torch.tensor([len(path) == 7 and path[-1] == (3, 3) for path in paths])
        solved = torch.where((solved < 0) & short, taken, solved)
        if (solved >= 0).sum() >= 18:                # the slowest do not move the median
            break
    return torch.where(solved < 0, torch.inf, solved).median()

# %% tags=["concept:experience-replay"]
without = torch.stack([steps_to_solve(0, seed) for seed in SEEDS])
replayed = torch.stack([steps_to_solve(4, seed) for seed in SEEDS])
print("real steps to solve, median learner, three seeds\nwithout  ", without, "\nreplay 4 ", replayed)
assert replayed.max() < 0.6 * without.min()

# %% [markdown]
# About half the steps in the world, at five updates a step instead of one. SARSA could not do that: an old step does not say what *today's* policy would
# do next.
# DQN, the deep network that learned Atari games from pixels, is Q-learning with replay. (AlphaGo, sometimes named as an example of off-policy
# learning, is none: it learned from human games, then on-policy from playing itself.)

# %% [markdown]
# ## What exploring costs
#
# A **bandit** is one state with $K$ arms. The **regret** of a choice is what the best arm would have paid more, on average. Ten arms with means drawn from a
# normal distribution, rewards with standard deviation 1, 500 bandits side by side, 1,000 pulls. Arm $k$ has paid $m_k$ on average in $n_k$ of
# $t$ pulls. Four ways to choose: ε-greedy with ε = 0.1; with an ε that falls from 1 towards 0.01, half-way every 50 pulls; **softmax**, in proportion to
# $e^{m_k/\tau}$ with $\tau=0.2$; **UCB**, the largest upper confidence bound $m_k+\sqrt{\ln t/n_k}$.

# %% tags=["concept:epsilon-greedy-exploration"]
def play(choose, runs=500, pulls=1000):
    generator = seeded(0)
    means = torch.randn(runs, 10, generator=generator)
    counts, sums, chosen = torch.zeros(runs, 10), torch.zeros(runs, 10), []
    for step in range(1, pulls + 1):
        arm = torch.multinomial(choose(counts, sums, step), 1, generator=generator)
        reward = means.gather(1, arm) + torch.randn(runs, 1, generator=generator)
        counts, sums = counts.scatter_add(1, arm, torch.ones(runs, 1)), sums.scatter_add(1, arm, reward)
        chosen.append(arm)
    return bandit.regret(means, torch.cat(chosen, 1)).mean(0), means

# %%
def mean_of(counts, sums):
    return sums / counts.clamp(min=1)

# %%
def best_bound(counts, sums, step):
    return torch.nn.functional.one_hot(bandit.ucb(counts, sums, step, confidence=1.0).argmax(-1), 10).double()

# %% tags=["concept:epsilon-greedy-exploration"]
ways = {
    "ε = 0.1, constant": lambda n, x, step: epsilon_greedy(mean_of(n, x), 0.1),
    "ε decaying": lambda n, x, step: epsilon_greedy(mean_of(n, x), td.exponential_decay(step, 1.0, 0.01, 50)),
    "softmax": lambda n, x, step: bandit.softmax_policy(mean_of(n, x), temperature=0.2),
    "upper bounds (UCB)": best_bound}
regrets = {name: play(choose)[0] for name, choose in ways.items()}

# %% tags=["concept:epsilon-greedy-exploration"]
fig, ax = plots.figure(height=3.0)
for (name, regret), look, color in zip(regrets.items(), ("-", "--", ":", "-."),
                                       ("policy", "chosen", "reward", "rejected")):
    ax.plot(torch.arange(1, 1001), regret, look, color=style.COLOR[color], label=name)
plots.exact(ax, 0.0, "no regret")
slopes = {name: (regret[-1] - regret[-201]).item() / 200 for name, regret in regrets.items()}
ax.set(xlabel="pull", ylabel="regret so far (reward)", title="A constant ε pays for ever")
ax.legend()
each = [f"{name} {regret[-1]:.0f}, rising by {slopes[name]:.3f} a pull" for name, regret in regrets.items()]
plots.show(plots.caption(fig, "Regret against pulls, mean of 500 ten-armed bandits; after 1,000 pulls: "
    + "; ".join(each) + "."))

# %% tags=["concept:epsilon-greedy-exploration"]
means = play(ways["ε = 0.1, constant"], pulls=1)[1]
blind = 0.1 * (means.amax(-1) - means.mean(-1)).mean().item()      # what a random pull costs, one time in ten
print(f"rise per pull, constant ε: {slopes['ε = 0.1, constant']:.3f}; its exploring alone costs {blind:.3f}")
assert blind < slopes["ε = 0.1, constant"] < 1.4 * blind
assert slopes["ε decaying"] < 0.3 * slopes["ε = 0.1, constant"] and slopes["upper bounds (UCB)"] < 0.2 * blind
assert regrets["upper bounds (UCB)"][-1] == min(regret[-1] for regret in regrets.values())

# %% [markdown]
# A constant ε goes on paying for random pulls long after it knows the answer; softmax never stops either. A decaying ε pays early, and in the end
# about a quarter as much. UCB's bonus shrinks as an arm is pulled, so it tries what is *uncertain* rather than anything.

# %% [markdown]
# ## Rules or samples
#
# Value iteration uses $P$ and $R$: it is **model-based**. This chapter is **model-free**: it uses samples only. What does that cost? One world, one
# accuracy: all action values within 0.1.

# %% tags=["concept:model-based-vs-model-free"]
known = gridworld.playground(slip=0.2, step_cost=0.04).to_mdp(gamma=0.9)
exact_q = mdp.policy_iteration(known).q
v, sweeps = torch.zeros(known.states), 0
while (mdp.q_from_v(known, v) - exact_q).abs().max() > 0.1:
    v, sweeps = mdp.bellman_optimality(known, v), sweeps + 1
pairs = torch.arange(known.states * 4)
s, a = pairs // 4, pairs % 4

# %% tags=["concept:model-based-vs-model-free"]
def samples_needed(seed):
    """Q-learning that tries every state and action once per round, with α shrinking."""
    q, rounds, generator = torch.zeros(known.states, 4), 0, seeded(seed)
    while (q - exact_q).abs().max() > 0.1:
        rounds += 1
        after = torch.multinomial(known.transitions[s, a], 1, generator=generator)[:, 0]
        discounts, copies = 0.9 * ~known.terminal[after], q.expand(len(s), -1, -1)
        lr = 1 / (1 + 0.1 * rounds)
        q = q + (q_learning(copies, s, a, known.rewards[s, a], discounts, after, lr) - copies).sum(0)
    return rounds * len(s)

samples = [samples_needed(seed) for seed in SEEDS]
print(f"model-based: {sweeps} sweeps, {sweeps * len(s):,} backups; model-free: {samples} samples")
assert min(samples) > 2 * sweeps * len(s)

# %% [markdown]
# Each backup averages over what might happen; a sample shows one of it, and here every pair could be tried at will: who has to walk there needs more. In
# return samples come from any world you can act in, including one whose rules nobody can write down, such as a reader's opinion of a reply.

# %% [markdown]
# ## What breaks: when you do not see the state
#
# Often you see less than the state: an **observation** $o_t\sim O(\cdot\mid s_t)$. The task is then a *partially observable* MDP (POMDP).
#
# **Two cells that look alike.** You start at the left end or the right end of a corridor, each with chance ½. One step in, it is dark, and both
# dark cells look the same. From the left one you must go right to the exit, from the right one left; the wrong way ends the game.

# %% tags=["concept:pomdp"]
LEFT_END, DARK_L, EXIT, DARK_R, RIGHT_END = range(5)
go_left, go_right = 0, 1
P, R = torch.zeros(5, 2, 5), torch.zeros(5, 2)
P[LEFT_END, :, DARK_L] = P[RIGHT_END, :, DARK_R] = 1.0
P[[DARK_L, DARK_R], :, EXIT] = P[EXIT, :, EXIT] = 1.0
R[DARK_L, go_right] = R[DARK_R, go_left] = 1.0
corridor = mdp.MDP(P, R, gamma=1.0)

# %% tags=["concept:pomdp"]
chance_right = torch.linspace(0, 1, 101)             # one number for both dark cells: they look the same
memoryless = torch.stack([1 - chance_right, chance_right], -1)[:, None].expand(-1, 5, -1)
success = mdp.solve(corridor, memoryless)[:, [LEFT_END, RIGHT_END]].mean(-1)
remembers = torch.eye(2)[[0, go_right, 0, go_left, 0]]           # the dark cell, and where one came from
print(f"memoryless: {success.min():.2f} to {success.max():.2f}; with one step of history:",
      mdp.solve(corridor, remembers)[[LEFT_END, RIGHT_END]].mean().item())
assert torch.allclose(success, torch.tensor(0.5))
assert (mdp.solve(corridor, remembers)[[LEFT_END, RIGHT_END]] == 1).all()

# %% [markdown]
# No rule on the observation alone, random or not, gets beyond 50 %. One step of history gives 100 %.
#
# **State augmentation.** Take the last $k$ observations as the state: $\tilde s_t=(o_t,\dots,o_{t-k+1})$. A memory task: a cue says *left* or *right*, then come three corridor cells that
# look alike, then a junction where the cue must be obeyed. Tabular Q-learning on the last $k$ of four possible observations:

# %% tags=["concept:state-augmentation"]
def success_with_history(k, corridor=3, learners=60, episodes=250):
    """Share of right choices in the last 100 episodes, one per learner with its table of 4^k histories."""
    world, generator = Memory(learners, corridor, seeded(0), dtype=torch.float64), seeded(1)
    q, rows, right = torch.zeros(learners, 4**k, 2), torch.arange(learners), []
    for episode in range(episodes):
        history = world.codes
        for _ in range(corridor + 2):
            policy = td.epsilon_greedy(q[rows, history], 0.1)
            actions = torch.multinomial(policy, 1, generator=generator)[:, 0]
            step = world.step(actions)
            following = (history * 4 + world.codes) % 4**k      # forget the oldest, append the newest
            q = q_learning(q, history, actions, step.rewards, 1.0 - step.ended.double(), following, lr=0.2)
            history = following
        right.append(step.rewards)
    return torch.stack(right[-100:]).mean(0)

# %% tags=["concept:state-augmentation"]
by_k = {k: success_with_history(k) for k in (1, 3, 4, 5)}
for k, share in by_k.items():
    print(f"k = {k}: {4**k:4} states, right in {share.mean():.2f}; "
          f"worst learner {share.min():.2f}, best {share.max():.2f}")
assert all(abs(by_k[k].mean() - 0.5) < 0.02 and by_k[k].max() < 0.7 for k in (1, 3, 4))
assert by_k[5].min() > 0.85

# %% [markdown]
# Chance for every $k$ that does not reach back to the cue (the very same numbers: at the junction they see the same); then, at once, 95 %: all that ε = 0.1 allows with two actions. The price: $|\mathcal O|^k$ states, four times as many for each step of memory.

# %% [markdown]
# **Recurrent state.** Instead of storing the last $k$, *learn* what to keep: $h_t=f(h_{t-1},o_t)$. A GRU is such an $f$: a small network with gates that decide what to
# overwrite. It replaces the table; the targets are Monte Carlo returns. `remember=False` wipes $h$ after every step and changes nothing else.

# %% tags=["concept:recurrent-state"]
class QNetwork(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = torch.nn.GRUCell(4, 16), torch.nn.Linear(16, 2)

    def forward(self, observations, hidden):
        hidden = self.cell(observations, hidden)
        return self.head(hidden), hidden             # [B, A], and what is remembered

def episode(network, world, eps_explore, generator, remember):
    hidden, taken = None, []
    for _ in range(world.corridor + 2):
        q, hidden = network(world.observations, hidden if remember else None)
        actions = torch.multinomial(td.epsilon_greedy(q.detach(), eps_explore), 1, generator=generator)
        taken.append(q.gather(1, actions)[:, 0])
        step = world.step(actions[:, 0])
    return torch.stack(taken, 1), step.rewards       # [B, T], [B]; only the last step pays

# %% tags=["concept:recurrent-state"]
def train(corridor, seed, remember=True, updates=200):
    torch.manual_seed(seed)                          # initial weights
    network, generator = QNetwork(), seeded(seed)
    world = Memory(32, corridor, generator, dtype=torch.float64)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(updates):
        taken, reward = episode(network, world, 0.1, generator, remember)
        optimizer.zero_grad()
        (reward[:, None] - taken).square().mean().backward()  # every step's return is the last reward
        optimizer.step()
    with torch.no_grad():                            # greedy, on 640 fresh episodes
        return sum(episode(network, world, 0.0, generator, remember)[1].mean().item() for _ in range(20)) / 20

# %% tags=["concept:recurrent-state"]
recurrent = {corridor: [train(corridor, seed) for seed in SEEDS] for corridor in (3, 8)}
wiped = [train(3, seed, remember=False) for seed in SEEDS]

# %% tags=["concept:recurrent-state"]
for corridor, shares in recurrent.items():
    print(f"corridor {corridor}: GRU", " ".join(f"{share:.2f}" for share in shares))
print("corridor 3: wiped", " ".join(f"{share:.2f}" for share in wiped))
assert min(min(shares) for shares in recurrent.values()) > 0.95
assert max(abs(share - 0.5) for share in wiped) < 0.08

# %% [markdown]
# A memory of sixteen numbers does what a table of $4^5$ histories did, and does it at corridor 8, where the table would need $4^{10}$, about a million.
#
# **Attention.** A language model keeps no such $h$. It keeps the *whole* history, the text so far, and looks back: each position asks a question (query), earlier
# positions answer in proportion to how well their key fits. Here the junction's query asks for cues. Weights set by hand, corridors of 3 and of 100:

# %% tags=["concept:recurrent-state"]
query_of = torch.zeros(4, 4)
query_of[3, :2] = 10.0                               # who sees the junction asks for a cue, left or right

def look_back(history):                              # [B, T, 4] one-hot observations
    scores = (history @ history[:, -1:].matmul(query_of).mT)[..., 0]
    weights = scores.softmax(-1)                     # [B, T]
    return (weights[..., None] * history).sum(1)[:, :2].argmax(-1), weights

# %% tags=["concept:recurrent-state"]
for length in (3, 100):
    world, seen = Memory(500, length, seeded(0), dtype=torch.float64), []
    for _ in range(length + 2):
        seen.append(world.observations)
        choice, weights = look_back(torch.stack(seen, 1))
        step = world.step(choice)
    right, weight = step.rewards.mean(), weights[:, 0].min()
    print(f"corridor {length}: right in {right:.2f}, weight on the cue {weight:.3f}")
    assert right == 1 and weight > 0.99

# %% [markdown]
# The cue is one look away however long the corridor. So "the state is the text so far" is an honest sentence for a language model, as far as its
# context reaches.
#
# ## Exercises
#
# **1 · How little exploring keeps you from the edge?** *★★☆ · 10 minutes.* With ε = 0.1 the best soft policy leaves the edge. Find the smallest ε, in thousandths,
# at which its greedy path is longer than 13 steps. `best_soft(eps_explore).policy` is the policy [S, A], `place.path(actions)` the cells of a path.

# %% tags=["exercise"]
smallest_eps = ...

# %%
lengths = [len(place.path(best_soft(n / 1000).policy.argmax(-1))) - 1 for n in range(1, 21)]
leaves = next(n for n, steps in enumerate(lengths, 1) if steps > 13) / 1000
check.answer(
    smallest_eps, leaves, atol=1e-9, mistakes={"named the last ε that keeps to the edge": leaves - 0.001})
assert lengths[0] == 13 and lengths[-1] == 15

# %% [markdown]
# <details><summary>Hint</summary>
#
# Try `n / 1000` for n = 1, 2, … and look at `len(place.path(...)) - 1`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# smallest_eps = next(n / 1000 for n in range(1, 100)
#                     if len(place.path(best_soft(n / 1000).policy.argmax(-1))) - 1 > 13)
# ```
# Going round costs two steps. Beside ten cells of cliff, a slip down has the chance ε/4 at each step and costs about 100: roughly 250 ε, which is
# 2 at ε = 0.008.
# </details>
#
# **2 · The price of memory.** *★☆☆ · 3 minutes.* The corridor has six cells. How many states does the smallest table of last-$k$ histories have
# that can solve the memory task?

# %% tags=["exercise"]
table_states = ...

# %%
check.answer(
    table_states, 65_536, atol=0, mistakes={
    "counted the corridor alone": 4**6, "forgot the cue or the junction": 4**7, "multiplied instead of raising": 32})

# %% [markdown]
# <details><summary>Hint</summary>
#
# The history at the junction must hold the junction, six corridor cells, and the cue.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# table_states = 4**8
# ```
# </details>

# %% [markdown]
# ## Clinic: three statements that circulate
#
# Find the flaw before you run the verdict.
#
# **1.** *"On-policy means that the model generates its data during training; off-policy means that it uses data collected before."*
#
# Q-learning with replay, above, generated all its data during training. If the sentence were right, it would have learned the value of the policy that acted.

# %%
acted = mdp.solve(small, td.epsilon_greedy(off_on, 0.2))[:, home].mean()
learned = off_on.amax(-1)[:, home].mean()
print(f"learned {learned:.2f}; the policy that acted is worth {acted:.2f}, the best one {best[home]:.2f}")
assert abs(learned - best[home]) < 0.1 and acted < learned - 2

# %% [markdown]
# **Verdict.** The sentence defines *online* and *offline*. Q-learning learned the value of the greedy policy from the actions of an exploring one: online *and* off-policy.
#
# **2.** *"With ε = 0.1 the greedy action is taken with probability 0.9."* Four actions:

# %% tags=["concept:epsilon-greedy-exploration"]
policy = epsilon_greedy(torch.tensor([0.0, 1.0, 0.0, 0.0]), 0.1)
drawn = torch.multinomial(policy, 100_000, replacement=True, generator=seeded(0))
print(policy, f"frequency of the greedy action {(drawn == 1).double().mean():.3f}")
assert policy[1] == 0.925 and abs((drawn == 1).double().mean() - 0.925) < 0.004

# %% [markdown]
# **Verdict.** 0.925. Exploring draws among *all* actions, and hits the greedy one in a quarter of the cases: $1-\varepsilon+\varepsilon/|\mathcal A|$.
#
# **3.** *"The target is always $r+\gamma V(s')$."* Code often says so, and lets $V$ of the end be whatever the table was filled with. The random walk, every
# entry begun at ½, each state moved to the mean of its targets, with no zero discount at the ends:

# %%
v = torch.full((7,), 0.5)
for _ in range(300):
    from_left, from_right = v[:5], v[2:] + torch.tensor([0.0, 0, 0, 0, 1])
    v[1:6] = (from_left + from_right) / 2
print("learned", v[1:6], "\ntrue   ", true[1:6])
assert torch.allclose(v[1:6], true[1:6] + 0.5, atol=1e-6)

# %% [markdown]
# **Verdict.** Every value is too high by ½: the end was worth ½ though nothing follows it. Where an episode *ended*, the discount is 0. Where it was only *cut
# off* by a time limit, the value still counts. Your `td_zero` was checked for that.
#
# ## Summary
#
# | symbol | what it is | function | where |
# |---|---|---|---|
# | $V\leftarrow V+\alpha(G-V)$ | Monte Carlo: a target without bias, with much variance | `td.monte_carlo` | [two updates](#Two-updates) |
# | $V\leftarrow V+\alpha\,\delta$ | TD(0): bootstraps | `td.td_zero` | [two updates](#Two-updates) |
# | $G_{t:t+n}$, λ | what lies between | `td.n_step_targets`, `td.td_lambda` | [between](#Between-the-two:-n-steps-and-λ) |
# | $Q(s',a')$, $\max_{a'}Q(s',a')$ | SARSA, Q-learning | `td.sarsa`, `td.q_learning` | [learning to act](#Learning-to-act) |
# | ε | chance to explore | `td.epsilon_greedy` | [learning to act](#Learning-to-act) |
# | $\pi/\mu$ | correction for another's actions | | [on- and off-policy](#On-policy-and-off-policy,-online-and-offline) |
# | $\mathcal D$ | replay memory | `tabular.control(replays=…)` | [replay](#Experience-replay) |
# | regret | what choosing has cost | `bandit.regret`, `bandit.ucb` | [what exploring costs](#What-exploring-costs) |
# | $o_t,\ \tilde s_t,\ h_t$ | observation, stacked history, recurrent state | `worlds.memory` | [what breaks](#What-breaks:-when-you-do-not-see-the-state) |
#
# ## Quiz

# %%
check.quiz(
    "Q-learning on the cliff earns less than SARSA while it learns. What is wrong with its table?",
    ["It has not converged", "Nothing: it answers another question", "α is too large"], answer=1,
    why="Its greedy path is the best one, −13. It falls because it goes on exploring beside the edge, "
        "and its target does not count that.")

# %%
check.quiz(
    "You have a fixed log of another policy's steps and learn from it with Q-learning. Which is it?",
    ["on-policy and offline", "off-policy and online", "off-policy and offline"], answer=2,
    why="Another policy acted: off-policy. The log is fixed: offline.")

# %%
check.quiz(
    "You make n in the n-step target larger. What happens to it?",
    ["Less bias, more variance", "More bias, less variance", "Less of both"], answer=0,
    why="More of it is real reward, which is noisy, and less of it is an estimate, which is wrong.")

# %%
check.quiz(
    "A memoryless policy is right half of the time in the memory task. What would help?",
    ["More exploration", "A larger network on the same observation", "Any memory that reaches back to the cue"], answer=2,
    why="The observation at the junction is the same whatever the cue was: nothing computed from it alone can tell.")

# %% [markdown]
# ## Sources
#
# - Sutton & Barto 2018, *Reinforcement Learning*, 2nd edition: examples 6.2 (random walk), 6.4 (eight episodes), 6.6 (cliff), chapters 7 and 12 (n steps, λ), section 2.3 (bandits).
# - Sutton 1988: temporal differences. Watkins & Dayan 1992: Q-learning. Rummery & Niranjan 1994: SARSA. van Seijen et al. 2009: Expected SARSA.
# - Lin 1992; Mnih et al. 2013, arXiv:1312.5602: replay, DQN. Silver et al. 2016: AlphaGo. Levine et al. 2020, arXiv:2005.01643: learning offline.
# - Auer, Cesa-Bianchi & Fischer 2002: UCB1 and regret.
# - Kaelbling, Littman & Cassandra 1998: POMDPs. Cho et al. 2014, arXiv:1406.1078: GRU. Bakker 2001; Hausknecht & Stone 2015, arXiv:1507.06527: recurrent state. Vaswani et al. 2017, arXiv:1706.03762: attention.
#
# Next: chapter 03, which improves a policy directly, without any table of values.
