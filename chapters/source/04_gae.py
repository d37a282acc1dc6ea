# ---
# jupyter:
#   course:
#     number: 4
#     slug: gae
#     title: Advantage and GAE
#     question: "How much better than expected was this step, and whom do you ask: the rewards or the critic?"
#     modules: [returns]
#     explorer: "λ, γ and the critic's error"
#     read: 45
#     run: 20
# ---

# %% [markdown]
# # 04 · Advantage and GAE
#
# **How much better than expected was this step, and whom do you ask: the rewards or the critic?**
#
# After this chapter you can
#
# - compute TD errors, k-step advantages and generalised advantage estimates, for rows that end and rows that are cut off;
# - derive GAE as a weighted mean of k-step advantages, with the finite sum done right;
# - say what λ trades for what, with exact numbers for bias and variance;
# - make the recursion fast without changing its answer.
#
# **Needs** [chapter 01](01_mdp.ipynb): values, the Bellman equation, the phrase world; from [chapter 03](03_policy_gradient.ipynb) the idea that a policy gradient
# weights every action with a number. **Minutes** 45 to read and do, about 20 seconds to run.

# %%
import torch

from rlcore import check, kernels, returns
from rlcore.kernels import blocked
from rlcore.view import plots, style
from rlcore.view.explore import explore
from rlcore.view.explore import gae as trace
from rlcore.worlds import phrases

torch.set_default_dtype(torch.float64)
torch.set_printoptions(precision=4, sci_mode=False, linewidth=110)
torch.set_num_threads(1)                             # tensors here are small: a second thread only waits

# %% [markdown]
# ## Before you run
#
# A *critic* guesses how much reward is still to come. To judge a step you can trust the critic at once, after one reward, or wait for
# all rewards and use no guess of what comes. λ = 0 is the first, λ = 1 the second, and a λ between them mixes both. You average four
# replies. **Which λ is best when the critic is exactly right? Which when it is off by half a point everywhere, up or down?** Write both guesses down.

# %% [markdown]
# ## The smallest example, by hand
#
# A reply of three tokens. The reward, 1, comes with the last. Before each token the critic expected 0.5, 0.6, 0.8. The discount is
# γ = 0.9. At each step compare *what came plus what is now expected* with *what was expected before*:
# $$\begin{aligned}\delta_0&=0+0.9\cdot0.6-0.5=0.04\\ \delta_1&=0+0.9\cdot0.8-0.6=0.12\\ \delta_2&=1+0.9\cdot0-0.8=0.2\end{aligned}$$
# Every step was a small good surprise. After the last token nothing follows, so its expected rest is 0, whatever the critic would say.
# Now give each step a share of the surprises after it, smaller by 0.9 · λ per step. With λ = ½ from the back:

# %% tags=["concept:gae", "concept:td-error"]
surprises, lam = [0.04, 0.12, 0.2], 0.5
advantage, by_hand = 0.0, []
for surprise in reversed(surprises):
    advantage = surprise + 0.9 * lam * advantage
    by_hand.insert(0, round(advantage, 4))
print(by_hand)
assert by_hand == [0.1345, 0.21, 0.2]

# %% [markdown]
# The first token gets 0.1345: its own 0.04 and a share of the later surprises. That is all the arithmetic; the rest is *why*.

# %% [markdown]
# ## Q, V, A once more
#
# $Q^\pi(s,a)$ is the expected return after action $a$, $V^\pi(s)$ the average of that over the policy, and the **advantage** is the difference:
# $$A^\pi(s,a)=Q^\pi(s,a)-V^\pi(s),\qquad\sum_a\pi(a\mid s)\,A^\pi(s,a)=0 .$$
# Why subtract? Someone arrives, and the reply began with the wrong word, *thanks*. What should come next?

# %% tags=["concept:advantage-function"]
world = phrases.Phrases()
logits = world.reference_logits()                    # [P, S, V]: prompts, prefixes, tokens
policy, q = logits.softmax(-1), world.q_values(logits)
v = (policy * q).sum(-1)                             # [P, S]
a = q - v[..., None]                                 # [P, S, V]
slip = 0, world.index("thanks")                      # first prompt; prefixes are numbered like replies
for word, worth, better in zip([*phrases.WORDS, "EOS"], q[slip], a[slip]):
    print(f"{word:9} Q {worth:+.2f}   A {better:+.2f}")

# %% [markdown]
# Every Q is negative, so weighting by Q would push down whatever is tried. The advantages say what to do: stop (+0.52). They
# average to zero, and of all numbers that you may subtract, depending on the state alone, $V$ leaves the smallest mean square.

# %% tags=["concept:advantage-function"]
assert (policy * a).sum(-1).abs().max() < 1e-12
shifts = torch.linspace(-3, 3, 601)
left_over = (policy[slip] * (q[slip] - shifts[:, None]) ** 2).sum(-1)
print(f"least mean square after subtracting {shifts[left_over.argmin()]:.2f}; V is {v[slip]:.2f}")
assert (shifts[left_over.argmin()] - v[slip]).abs() <= 0.01

# %% [markdown]
# ### Every token paid
#
# So far a reply is paid once, at its end. To have a reward at every step, pay each token what it adds: the reward of the words with it minus
# the reward of the words without it. Over a reply these sum to the same total. What is *left* to come falls by what has been paid, and
# advantages stay as they are. This is **potential-based shaping**: add $\gamma\Phi(s')-\Phi(s)$ to each reward, 0 at the end, with any function $\Phi$ of the
# state; Q and V both fall by $\Phi(s)$, so no advantage changes, and no best action. Here $\Phi$ is the reward of the words so far.

# %% tags=["concept:potential-based-shaping"]
after = world.said                                                                     # [S, V] words with it
over = (torch.arange(phrases.V) == phrases.EOS) | (after >= phrases.S)                 # [S, V] the reply ends
rewards = world.reward[:, after] - world.reward[:, :phrases.S, None]                   # [P, S, V]
left = v - world.reward[:, :phrases.S]                                                 # [P, S] exact values
follows = torch.where(over, 0.0, left[:, after.clamp(max=phrases.S - 1)])              # [P, S, V]
assert torch.allclose(rewards + follows - left[..., None], a, atol=1e-12)

# %% [markdown]
# ## The TD error: a one-step surprise
#
# $$\delta_t=r_t+\gamma V(s_{t+1})-V(s_t),\qquad V(s_{t+1})=0\text{ where the episode ended at }t.$$
# It is called *temporal-difference error*, yet it is no error of $V$. With the **exact** $V^\pi$ its mean over the policy is 0 in every
# state, because that is the Bellman equation; a single one is not 0.

# %% tags=["concept:td-error"]
surprise = rewards + follows - left[..., None]       # [P, S, V], γ = 1
mean = (policy * surprise).sum(-1)
spread = (policy * surprise**2).sum(-1).sqrt()
print(f"largest mean {mean.abs().max():.4f}; standard deviation {spread.min():.2f} to {spread.max():.2f}")
assert mean.abs().max() < 1e-12 and spread.min() > 0.3

# %% [markdown]
# Given the state *and* the action, its mean is the advantage: $\mathbb E[\delta_t\mid s_t,a_t]=Q^\pi-V^\pi=A^\pi$. With the exact critic
# one surprise is therefore an unbiased estimate of the advantage. Appending a token leaves nothing to chance, so here it even *is* the advantage.
#
# ### Write it: `td_errors`
#
# *Difficulty ★☆☆ · importance ★★★ · 8 minutes.* A batch has B rows of T steps. `rewards` and `discounts` have axes [B, T], `values` [B, T+1]: the
# last column is the critic's word on the state behind the last step. An end is written as discount 0. What stands behind an end may be padding, even NaN,
# and $0\cdot\text{NaN}$ is NaN: use `torch.where`.

# %% tags=["exercise"]
@check.exercise(returns.td_errors)
def td_errors(rewards, discounts, values):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# `values[:, 1:]` are the next values, `values[:, :-1]` the present ones. First put 0 in place of the next values where `discounts == 0`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def td_errors(rewards, discounts, values):
#     ahead = torch.where(discounts == 0, 0.0, values[:, 1:])
#     return rewards + discounts * ahead - values[:, :-1]
# ```
# </details>
#
# ### Use it: all 2,343 replies in one batch
#
# Write every reply to every prompt as a row of four steps. Shorter replies end earlier: discount 0 at their last token, nothing behind it.

# %%
mask, states, tokens = world.mask, world.states, world.tokens          # [N, 4] each, of N = 781 replies
goes_on = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], 1).double()
paid = torch.where(mask, rewards[:, states, tokens], 0.0)              # [P, N, 4]

def rows(critic, gamma):
    """Rewards, discounts and values of all replies, under a critic's values [P, S]."""
    values = torch.nn.functional.pad(torch.where(mask, critic[:, states], 0.0), (0, 1))
    return [x.flatten(0, 1) for x in (paid, (gamma * goes_on).expand_as(paid), values)]

# %% tags=["concept:td-error"]
deltas = td_errors(*rows(left, gamma=1.0)).view_as(paid)               # [P, N, 4]
assert torch.allclose(paid.sum(-1), world.reward)
assert torch.allclose(deltas, torch.where(mask, a[:, states, tokens], 0.0), atol=1e-12)
greeting = deltas[0, world.index("hello friend")]
print(f"{deltas[..., 0].numel():,} rows; one of them: {greeting.numpy().round(2)}")

# %% [markdown]
# For *hello friend* the surprises are +0.21, +0.35, +0.55 and, behind EOS, nothing.
#
# ## k steps
#
# Wait for k rewards before you ask the critic:
# $$A^{(k)}_t=r_t+\gamma r_{t+1}+\dots+\gamma^{k-1}r_{t+k-1}+\gamma^kV(s_{t+k})-V(s_t)=\sum_{i=0}^{k-1}\gamma^i\,\delta_{t+i}.$$
# The second form is a *telescope*: $\gamma V(s_{t+1})$ enters with $\delta_t$ and leaves with $\gamma\,\delta_{t+1}$, and so on; only the first and the last value stay.
# Where the episode ends within the k steps, the sum stops there and no value is added.
#
# ### Write it: `k_step_advantages`
#
# *Difficulty ★★☆ · importance ★★☆ · 10 minutes.* Use the telescope. Near the right edge fewer than k steps are left: then take those. Different steps may have
# different discounts: the weight of $\delta_{t+i}$ is the product of the discounts from $t$ to $t+i-1$.

# %% tags=["exercise"]
@check.exercise(returns.k_step_advantages)
def k_step_advantages(rewards, discounts, values, k):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# k − 1 times: `total = deltas + discounts * (total moved one step to the left)`. Start from `total = deltas`; behind the last step stands 0.
# `torch.nn.functional.pad(x[:, 1:], (0, 1))` moves x to the left. Hide what stands behind an end, as before.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def k_step_advantages(rewards, discounts, values, k):
#     deltas = td_errors(rewards, discounts, values)
#     total = deltas
#     for _ in range(k - 1):
#         ahead = torch.nn.functional.pad(total[:, 1:], (0, 1))
#         total = deltas + discounts * torch.where(discounts == 0, 0.0, ahead)
#     return total
# ```
# </details>
#
# ### Use it: more steps, less critic
#
# Make the critic wrong: half a point too high or too low at every prefix, by a coin. Then take the estimates for *every* reply, weighted with its
# probability. Nothing is sampled: these are exact moments, in units of reward.

# %%
generator = torch.Generator().manual_seed(0)
signs = torch.randint(2, left.shape, generator=generator) * 2.0 - 1.0  # [P, S]
wrong = left + 0.5 * signs
chance = torch.where(mask, world.logps(logits).exp()[..., None], 0.0)  # [P, N, 4]

def by_token(x):
    """Sum over the replies that take each token at each prefix: [P, N, 4] → [P, S, V]."""
    sums = torch.zeros(len(x), policy[0].numel())
    return sums.index_add(1, (states * phrases.V + tokens).flatten(), x.flatten(1)).view_as(policy)

# %% [markdown]
# One subtlety. If *all* estimates of a state are too high by the same amount, no decision changes, and a policy gradient does not notice: the shift acts as a
# baseline (chapter 03). So the bias that counts is the part that *differs between the tokens* of a state.

# %% tags=["concept:k-step-advantage"]
def moments(estimates):
    """Bias² that differs between tokens, variance, whole bias²: means over the steps of all replies."""
    mass, first, second = (by_token(chance * estimates.view_as(chance) ** k) for k in range(3))
    mean = first / mass
    share = mass / mass.sum()
    bias = mean - a
    felt = bias - (policy * bias).sum(-1, keepdim=True)
    variance = (second / mass - mean**2).clamp(min=0)          # rounding may leave a tiny minus
    return torch.stack([(share * x).sum() for x in (felt**2, variance, bias**2)])

# %% tags=["concept:k-step-advantage"]
by_k = torch.stack([moments(k_step_advantages(*rows(wrong, gamma=1.0), k=k)) for k in range(1, 5)])
for k, (felt, variance, whole) in enumerate(by_k, start=1):
    print(f"k = {k}   bias² {felt:.4f}   variance {variance:.4f}   (whole bias² {whole:.4f})")

# %% tags=["concept:k-step-advantage"]
felt, variance, whole = by_k.T
assert (felt.diff() < 0).all() and (variance.diff() > 0).all() and variance[0] < 1e-12
assert felt[3] < 1e-20 and abs(whole[3] - 0.5**2) < 1e-12

# %% [markdown]
# And the telescope, for k = 2 and γ = 0.9: $\delta_t+\gamma\,\delta_{t+1}$ where the reply goes on.

# %% tags=["concept:k-step-advantage"]
steps = td_errors(*rows(wrong, 0.9))
following = steps[:, 1:] * goes_on[:, :3].repeat(phrases.P, 1)         # 0 where the reply has ended
two = steps + 0.9 * torch.nn.functional.pad(following, (0, 1))
assert torch.allclose(returns.k_step_advantages(*rows(wrong, 0.9), k=2), two, atol=1e-12)

# %% [markdown]
# More rewards and less critic: the bias falls to exactly 0, and the variance rises from 0 to 0.39. With k = 4 every reply has ended, so the critic enters only
# as $-V(s_t)$, the same for all tokens: the whole bias² is $0.5^2$, and none of it is felt.
#
# ## GAE: all k at once
#
# Why choose one k? **Generalised advantage estimation** averages them all, the k-th with weight $(1-\lambda)\lambda^{k-1}$, a geometric distribution:
# $$\hat A_t=(1-\lambda)\sum_{k\ge1}\lambda^{k-1}A^{(k)}_t .$$
#
# ![A staircase: row k holds the surprises that the k-step advantage sums, with its weight at the right; below, the sum of each column](../figures/04_weights.svg)
#
# The picture has five steps left and λ = 0.6; its last row is explained below.
#
# Put the telescope in and collect what multiplies $\gamma^j\delta_{t+j}$. This surprise is part of $A^{(k)}$ only if $k\ge j+1$. With the first $K$ of them,
# $$\sum_{k=1}^{K}\lambda^{k-1}A^{(k)}_t=\sum_{j=0}^{K-1}\gamma^j\delta_{t+j}\sum_{k=j+1}^{K}\lambda^{k-1}
# =\sum_{j=0}^{K-1}\frac{\lambda^j-\lambda^K}{1-\lambda}\,\gamma^j\delta_{t+j}.$$
# Multiply by $1-\lambda$ and let $K\to\infty$ (for λ < 1): $\lambda^K$ vanishes, and
# $$\hat A_t=\sum_{j\ge0}(\gamma\lambda)^j\,\delta_{t+j}=\delta_t+\gamma\lambda\,\hat A_{t+1}.$$
#
# **An episode is finite.** With $n=T-t$ steps left there are only $n$ different estimates; all $k\ge n$ equal $A^{(n)}$. So the last one takes what is left
# of the weights, $\lambda^{n-1}$, and this holds exactly, for λ = 1 too:
# $$\hat A_t=(1-\lambda)\sum_{k=1}^{n-1}\lambda^{k-1}A^{(k)}_t+\lambda^{n-1}A^{(n)}_t=\sum_{j=0}^{n-1}(\gamma\lambda)^j\,\delta_{t+j}.$$
#
# ### Write it: `gae`
#
# *Difficulty ★★☆ · importance ★★★ · 10 minutes.* From the last step to the first. Each step has its own discount, 0 at an end; beware of NaN behind it once more.

# %% tags=["exercise"]
@check.exercise(returns.gae)
def gae(rewards, discounts, values, lam):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# Keep `ahead`, the advantage of the next step, [B]; it starts at 0. Walk `t` from T − 1 down to 0, append, and at the end `torch.stack(found[::-1], 1)`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def gae(rewards, discounts, values, lam):
#     deltas, ahead, found = td_errors(rewards, discounts, values), torch.zeros_like(rewards[:, 0]), []
#     for t in reversed(range(rewards.shape[1])):
#         ahead = torch.where(discounts[:, t] == 0, 0.0, ahead)
#         ahead = deltas[:, t] + discounts[:, t] * lam * ahead
#         found.append(ahead)
#     return torch.stack(found[::-1], 1)
# ```
# </details>
#
# ### Use it: the smallest example, in full

# %% tags=["concept:gae"]
small = torch.tensor([[0.0, 0.0, 1.0]])
expected = torch.tensor([[0.5, 0.6, 0.8, 0.0]])
for gamma in (0.9, 1.0):
    discounts = torch.tensor([[gamma, gamma, 0.0]])
    for lam in (0.0, 0.5, 0.95, 1.0):
        print(f"γ = {gamma}, λ = {lam:4}:", gae(small, discounts, expected, lam)[0].numpy().round(4))

# %% tags=["concept:gae"]
discounts = torch.tensor([[0.9, 0.9, 0.0]])
wanted = {0.0: [0.04, 0.12, 0.2], 0.5: [0.1345, 0.21, 0.2], 0.95: [0.288805, 0.291, 0.2],
          1.0: [0.31, 0.3, 0.2]}
for lam, row in wanted.items():
    assert torch.allclose(gae(small, discounts, expected, lam), torch.tensor([row]), atol=1e-12)
to_go = returns.discounted_returns(small, discounts, bootstrap=torch.zeros(1))     # nothing follows
assert torch.allclose(gae(small, discounts, expected, 1.0), to_go - expected[:, :-1], atol=1e-12)

# %% [markdown]
# **λ = 0** is the TD error. **λ = 1** is the return minus the value, $\sum_{l\ge0}\gamma^l r_{t+l}-V(s_t)$: no value of a later state is left in it. The finite mixture,
# on all replies with the wrong critic:

# %% tags=["concept:gae", "concept:k-step-advantage"]
batch, lam, n = rows(wrong, gamma=0.9), 0.7, 4
first = [returns.k_step_advantages(*batch, k=k)[:, 0] for k in range(1, n + 1)]   # A^(1) … A^(4)
mixed = (1 - lam) * sum(lam ** (k - 1) * first[k - 1] for k in range(1, n)) + lam ** (n - 1) * first[n - 1]
assert torch.allclose(gae(*batch, lam)[:, 0], mixed, atol=1e-12)

# %% tags=["concept:gae"]
to_go = returns.discounted_returns(batch[0], batch[1], bootstrap=batch[2][:, -1])
assert torch.allclose(gae(*batch, lam=1.0), to_go - batch[2][:, :-1], atol=1e-12)
print(f"{len(mixed):,} replies: GAE is the mixture, and with λ = 1 the return minus the value")

# %% [markdown]
# ## Bias against variance, exactly
#
# Now the question from the beginning. Say four replies of a batch go through the same token. Their mean has a quarter of the variance and all of the
# bias, so an expected squared error of bias² + variance / 4.

# %% tags=["concept:gae"]
def sweep(critic):
    """Bias² that is felt, variance and whole bias² for every λ: [3, λ]."""
    return torch.stack([moments(gae(*rows(critic, gamma=1.0), lam=lam.item())) for lam in lams]).T

lams, replies = torch.linspace(0, 1, 21), 4
right_critic, wrong_critic = sweep(left), sweep(wrong)

# %% tags=["concept:gae"]
error = wrong_critic[0] + wrong_critic[1] / replies                    # [λ]
best = lams[error.argmin()]
print(f"right critic: bias² at most {right_critic[0].max():.4f}, variance {right_critic[1][0].abs():.4f} to "
      f"{right_critic[1][-1]:.4f}")
print(f"wrong critic: error {error[0]:.4f} at λ = 0, {error.min():.4f} at λ = {best:.2f}, "
      f"{error[-1]:.4f} at λ = 1")

# %% tags=["concept:gae"]
assert right_critic[0].max() < 1e-20 and right_critic[1][0] < 1e-12    # no λ is biased, λ = 0 is exact
assert (right_critic[1].diff() > 0).all()
assert (wrong_critic[0].diff() < 0).all() and (wrong_critic[1].diff() > 0).all()
assert wrong_critic[0][-1] < 1e-20                                     # λ = 1: no critic can bias it
assert abs(wrong_critic[1][-1] - right_critic[1][-1]) < 1e-12          # nor change its variance
assert 0.3 < best < 0.8 and error.min() < 0.6 * min(error[0], error[-1])

# %% tags=["concept:gae"]
assert error.diff().sign().diff().count_nonzero() == 1            # down, then up: a U

# %% tags=["concept:gae"]
fig, axes = plots.figure(height=3.0, ncols=2, sharey=True)
titles = ["Right critic: λ = 0 is exact", f"Wrong critic: λ = {best:.2f} is best"]
for ax, found, title in zip(axes, (right_critic, wrong_critic), titles):
    ax.plot(lams, found[0], "--", color=style.COLOR["value"], label="bias²")
    ax.plot(lams, found[1] / replies, ":", color=style.COLOR["reward"], label="variance / 4")
    ax.plot(lams, found[0] + found[1] / replies, color=style.COLOR["advantage"], label="sum")
    ax.set(xlabel="λ", title=title)
axes[0].set(ylabel="squared error (reward²)")
axes[0].legend()
plots.show(plots.caption(fig, "Bias², variance of a mean of four, and their sum against λ. With the right "
    f"critic the bias is zero for every λ and the variance rises to {right_critic[1][-1] / 4:.3f}. With a "
    f"critic off by ±0.5 the sum falls from {error[0]:.3f} to {error.min():.3f} at λ = {best:.2f} and rises "
    f"to {error[-1]:.3f}."))

# %% [markdown]
# With the right critic every λ is unbiased, and waiting only adds noise: take λ = 0. With the wrong one, too little waiting costs bias and too much costs variance; the
# best lies between, here at 0.55. **λ is how far you distrust the critic.** At λ = 1 both critics give the same bias, none, and the same variance: that of the rewards to come.
#
# ## Explorer: whom do you trust?
#
# Left: one reply, token by token, estimated and exact advantages. Right: bias² and variance for every λ, over all replies. The critic is wrong by the amount
# you choose, up or down, with fixed signs. *Replies averaged* divides the variance.

# %% tags=["concept:gae"]
explore(trace.draw, **trace.controls())

# %% [markdown]
# **Try it.** Set the critic's error to 0: where is the best λ, and what does the left picture show at λ = 0? Raise the error slowly: when does the best λ leave 0? Then
# average 64 replies: why does the best λ move, and which way? Finally lower γ.
#
# <details><summary>What you should see</summary>
#
# With an exact critic λ = 0 lies on the exact line. From ±0.10 on the best λ is above 0; the more the critic errs, the more waiting pays. Averaging shrinks variance and
# leaves bias: at ±0.50 the best λ is 0.25 for one reply, 0.55 for four, 0.95 for 64. A smaller γ shrinks both, because later rewards *and* later guesses count less, so the
# best λ hardly moves. It also changes the task: the exact advantages move.
# </details>

# %% tags=["concept:gae"]
def best_lam(off, averaged, gamma=1.0):
    found = trace.errors(gamma, off)
    return (found.bias + found.variance / averaged).argmin() / trace.LAMS

assert [best_lam(off, 4) for off in (0.0, 0.05, 0.1)] == [0.0, 0.0, 0.05]
assert [best_lam(0.5, averaged) for averaged in (1, 4, 64)] == [0.25, 0.55, 0.95]
assert best_lam(0.5, 4, gamma=0.5) == 0.6

# %% [markdown]
# ## λ-returns: what the critic should learn
#
# The critic needs targets. Add the value again: $\hat G_t=\hat A_t+V(s_t)$ is the **λ-return**, and $\tfrac12(V(s_t)-\hat G_t)^2$, with $\hat G_t$ held fixed, the usual loss. The smallest example at λ = 0.5:

# %% tags=["concept:gae"]
targets = returns.lambda_returns(small, discounts, expected, lam=0.5)
print(targets.numpy().round(4))
assert torch.allclose(targets, torch.tensor([[0.6345, 0.81, 1.0]]), atol=1e-12)

# %% [markdown]
# ### Train: which λ learns best?
#
# On the random walk of chapter 02, where every step is a toss, a critic learnt best from a λ in between. The phrase world is the other extreme: four steps at most, and
# what a token leads to is certain. Train a policy there, its critic beside it, five values of λ, twenty learners each.

# %%
lam_of, P, S, V = [0.0, 0.5, 0.8, 0.95, 1.0], phrases.P, phrases.S, phrases.V

def estimate(earned, on, values):
    """GAE of rows of four tokens [L, P, B, 4]; each fifth of the L learners has its own λ."""
    values = torch.nn.functional.pad(values, (0, 1))
    parts = zip(earned.chunk(5), on.chunk(5), values.chunk(5), lam_of)
    return torch.cat([gae(*(x.flatten(0, 2) for x in part), lam).view_as(part[0]) for *part, lam in parts])

# %% [markdown]
# The step is the softmax score of chapter 03: a token that was said gets its advantage, and every token loses its share of it. The
# expected reward is exact at every update, a sum over all 781 replies.

# %%
def train(seed, updates=60, batch=4, learners=100):
    """Expected reward at each update, exactly: [updates, 5, 20]."""
    generator, history = torch.Generator().manual_seed(seed), []
    table, critic = logits.repeat(learners, 1, 1, 1), torch.zeros(learners * P * S)
    first, prompt = S * torch.arange(learners * P).view(learners, P, 1, 1), torch.arange(P)[:, None, None]
    for _ in range(updates):
        chances = world.logps(table).exp()                             # [L, P, N]
        history.append((chances * world.reward).sum(-1).mean(-1).view(5, -1))
        said = torch.multinomial(chances.flatten(0, 1), batch, True, generator=generator)
        said = said.view(learners, P, batch)
        at, words, real = first + states[said], tokens[said], mask[said]
        earned = torch.where(real, rewards[prompt, states[said], words], 0.0)
        better = estimate(earned, goes_on[said], torch.where(real, critic[at], 0.0))
        credit = torch.zeros(table.numel()).index_add(0, (at * V + words).flatten(), better.flatten())
        credit = credit.view_as(table)
        score = credit - table.softmax(-1) * credit.sum(-1, keepdim=True)
        table = table + 10.0 * score / (P * batch)                     # learning rates: policy 10, critic 0.1
        critic = critic.index_add(0, at.flatten(), 0.1 * better.flatten())
    return torch.stack(history)

# %% tags=["concept:gae"]
runs = torch.stack([train(seed) for seed in range(3)])                 # [seed, update, λ, learner]
final = runs[:, -1].mean(-1)                                           # [seed, λ]
for lam, worst in zip(lam_of, final.amin(0)):
    print(f"λ = {lam:4}   expected reward {worst:.2f} (worst of three seeds)")
print(f"best possible {world.reward.amax(-1).mean():.2f}")
assert final[:, 0].min() > final[:, 2:].max() + 0.02                   # worst of λ = 0, best of 0.8 and up
assert (final[:, 0] > final[:, 1]).all()

# %% tags=["concept:gae"]
fig, ax = plots.figure(height=2.6)
for place, line in ((0, "-"), (2, "--"), (4, ":")):
    curve = runs[:, :, place].mean((0, 2))
    ax.plot(curve, line, color=style.COLOR["policy"], label=f"λ = {lam_of[place]:g}")
plots.exact(ax, world.reward.amax(-1).mean(), "best possible")
ax.set(xlabel="update", ylabel="expected reward", title="In a world without luck λ = 0 learns best")
ax.legend()
plots.show(plots.caption(fig, "Exact expected reward of phrase policies during 60 updates, mean of three "
    f"seeds and twenty learners: it ends at {final[:, 0].mean():.2f} for λ = 0, {final[:, 2].mean():.2f} for "
    f"λ = 0.8 and {final[:, 4].mean():.2f} for λ = 1; 1.10 is possible."))

# %% [markdown]
# Here λ = 0 wins, just ahead of 0.5: a table of values is learnt quickly, and then all that λ > 0 adds is the luck of later tokens. On the walk λ = 0 was well behind.
# There is no best λ as such. Ask how wrong your critic is, how noisy the rest of the episode, and how much you average.
#
# ## Fast: loop, scan, kernel
#
# The recursion looks sequential: step t waits for step t + 1, and in PyTorch every step pays the fixed fee of a few calls. But two steps
# in a row make one step of the same kind: $y_t=x_t+a_t\,(x_{t+1}+a_{t+1}\,y_{t+2})=(x_t+a_t x_{t+1})+(a_ta_{t+1})\,y_{t+2}$. So pair up all steps at
# once, then pairs, then fours.
#
# ![Eight steps in a row; in three rounds each step takes in the step 1, then 2, then 4 places ahead, and then knows all that follow](../figures/04_scan.svg)
#
# This is a *scan* by doubling: $\log_2T$ rounds instead of $T$ steps.

# %% tags=["concept:gae"]
def doubling(rewards, discounts, values, lam):
    y, keep, reach = td_errors(rewards, discounts, values), lam * discounts, 1
    while reach < y.shape[1]:                        # y holds the surprises of `reach` steps
        ahead, further = (torch.nn.functional.pad(x[:, reach:], (0, reach)) for x in (y, keep))
        y = y + keep * torch.where(keep == 0, 0.0, ahead)
        keep, reach = keep * further, 2 * reach
    return y

check.same(doubling, returns.gae)

# %% [markdown]
# A scan in *blocks* needs fewer sums: it walks all blocks of 32 steps at once, then carries over from block to block. And a *kernel* is the plain loop again, but compiled.
# `kernels.best(returns.gae, like=rewards)` picks for you: on a CPU the kernel where *numba* is installed, else the blocks. All must agree.

# %%
def random_rows(count, steps, generator):
    """Rows as from a simulator: γ = 0.99, one step in a hundred ends an episode; float32."""
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float32)
    ends = torch.rand(count, steps, generator=generator) < 0.01
    return draw(count, steps), torch.where(ends, 0.0, 0.99).float(), draw(count, steps + 1)

# %%
wide, long = (random_rows(*shape, generator) for shape in ((64, 512), (8, 16_384)))
precise = [returns.gae(*(x.double() for x in batch), 0.95) for batch in (wide, long)]
forms = {"loop": returns.gae, "doubling": doubling, "blocks": lambda *batch: blocked.scan(*batch)[0],
         "kernel": kernels.best(returns.gae, like=long[0])}

# %% tags=["concept:gae"]
for name, form in forms.items():
    error = max((form(*batch, 0.95) - want).abs().max() for batch, want in zip((wide, long), precise))
    print(f"{name:9} within 0.00002 of the loop in float64: {bool(error < 2e-5)}")
    assert error < 2e-5

# %%
import time

def milliseconds(form, batch):
    times = []
    for _ in range(3):
        start = time.perf_counter()
        form(*batch, 0.95)
        times.append(1000 * (time.perf_counter() - start))
    return min(times)

# %% tags=["nbval-ignore-output", "concept:gae"]
spent = {name: [milliseconds(form, batch) for batch in (wide, long)] for name, form in forms.items()}
print("milliseconds   [64, 512]   [8, 16384]   loop / this")
for name, (small_one, long_one) in spent.items():
    print(f"{name:12}   {small_one:9.2f}   {long_one:11.2f}   {spent['loop'][1] / long_one:11.0f}")
print("the kernel is", forms["kernel"].__module__)
assert spent["loop"][1] > 20 * spent["kernel"][1]

# %% [markdown]
# On the long rows doubling is tens of times as fast as the loop, and the kernel hundreds of times or more (the cell asserts twenty). Doubling pays for its few
# calls with $T\log_2T$ sums instead of $T$. The answer is the same, to rounding.
#
# ## What breaks
#
# ### Ended is not cut off
#
# An episode that **ended** has nothing behind it: discount 0. An episode that was **cut off**, by a time limit or the end of your buffer, would have gone on: its discount stays,
# and it *bootstraps*: the last column of `values` stands in for the rest. The smallest example once more, γ = 1, λ = 0.95, with a critic that says 0.9 *after* the last token:

# %% tags=["concept:gae"]
critic = torch.tensor([[0.5, 0.6, 0.8, 0.9]])
ended = gae(small, torch.tensor([[1.0, 1.0, 0.0]]), critic, lam=0.95)
through = gae(small, torch.ones(1, 3), critic, lam=0.95)
print("ended            ", ended.numpy().round(4), "\nthrough the end  ", through.numpy().round(4))
assert torch.allclose(ended, torch.tensor([[0.4705, 0.39, 0.2]]))
assert torch.allclose(through, torch.tensor([[1.28275, 1.245, 1.1]]))

# %% [markdown]
# Bootstrapping through the end adds the critic's 0.9 to the last token and most of it to all others: every token looks far too good. (After EOS a language model's value head still
# prints a number. It means nothing.) The other way round, a row that was cut off, with rewards 1, 2, 3, values 0 and a last value of 2, counts that 2 **once**:

# %% tags=["concept:gae"]
steps, zeros = torch.tensor([[1.0, 2.0, 3.0]]), torch.zeros(1, 4)
last = torch.tensor([[0.0, 0.0, 0.0, 2.0]])
on, stop = torch.ones(1, 3), torch.tensor([[1.0, 1.0, 0.0]])
paid_out = steps + torch.tensor([[0.0, 0.0, 2.0]])   # the value paid as a last reward
cut = gae(steps, on, last, lam=1.0)
print("cut off", cut.numpy(), " taken for an end", gae(steps, stop, last, 1.0).numpy(),
      " counted twice", gae(paid_out, on, last, 1.0).numpy())
assert cut.tolist() == [[8.0, 7.0, 5.0]] == gae(paid_out, stop, zeros, 1.0).tolist()

# %% [markdown]
# The assertion shows a second right way: add γ · V(last state) to the last reward *and* set the discount to 0. You need it when the next episode follows in the same row. Do one or
# the other; both together count it twice.
#
# ### NaN behind an end
#
# Padding may hold anything, and multiplying by 0 does not hide a NaN:

# %% tags=["concept:td-error"]
nan = float("nan")
padded, values = torch.tensor([[0.0, 1.0, nan]]), torch.tensor([[0.5, 0.8, nan, nan]])
ends = torch.tensor([[1.0, 0.0, 0.0]])
naive, sound = padded + ends * values[:, 1:] - values[:, :-1], td_errors(padded, ends, values)
print("naive", naive.numpy().round(4), "  td_errors", sound.numpy().round(4))
assert naive[0, 1].isnan() and torch.allclose(sound[0, :2], torch.tensor([0.3, 0.2]))

# %% [markdown]
# One NaN in the padding has ruined the last *real* step, and the recursion would carry it to every step before. Behind the end it stays NaN, where a mask drops it.
#
# ### Normalising advantages
#
# Most PPO code replaces A by (A − mean) / (standard deviation) of the batch. What does this change? The scale and the zero of the *batch*; so rewards in points or in thousands of points
# give the same step:

# %%
def normalised(x):
    return (x - x.mean()) / (x.std() + 1e-8)

sample = torch.tensor([0.4, -0.1, 0.9, 0.0])
print(normalised(sample).numpy().round(3))
assert torch.allclose(normalised(sample), normalised(1000 * sample + 5), atol=1e-6)

# %% [markdown]
# And the gradient? Over *all* replies the mean drops out, because scores average to zero, and only the length changes:

# %%
def gradient(advantages):
    """Policy gradient from weighted log-probabilities of every token of every reply: [P, S, V]."""
    table = logits.clone().requires_grad_()
    logps = table.log_softmax(-1)[:, states, tokens]                   # [P, N, 4]
    return torch.autograd.grad((chance * advantages * logps).sum() / phrases.P, table)[0]

# %%
share = chance / chance.sum()
exact = torch.where(mask, a[:, states, tokens], 0.0)
centre = (share * exact).sum()
width = (share * (exact - centre) ** 2).sum().sqrt()
plain, scaled = gradient(exact), gradient((exact - centre) / width)
print(f"standard deviation {width:.2f}; the gradient is {scaled.norm() / plain.norm():.2f} times as long")
assert torch.allclose(plain, world.exact_gradient(logits), atol=1e-12)
assert torch.allclose(scaled, plain / width, atol=1e-12)

# %% [markdown]
# So normalising sets a step size, batch by batch: small differences are blown up, large ones shrunk. In a small batch this bends the direction too, because every batch is
# scaled by what it happened to hold. Three actions with rewards 0, 1 and 10; list *all* batches of four and average their gradients:

# %%
chances, reward = torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.0, 1.0, 10.0])
batches = torch.cartesian_prod(*[torch.arange(3)] * 4)                 # [81, 4] actions
weight, score = chances[batches].prod(1), torch.eye(3)[batches] - chances

def average(weights):
    """Expected gradient over all batches, each action's score weighted: [3]."""
    return (weight[:, None] * (weights[..., None] * score).mean(1)).sum(0)

# %%
straight = average(reward[batches])
bent = average(torch.stack([normalised(reward[batch]) for batch in batches]))
cosine = torch.nn.functional.cosine_similarity(straight, bent, dim=0)
print("plain     ", straight.numpy().round(2), "\nnormalised", bent.numpy().round(2), f" cosine {cosine:.2f}")
assert torch.allclose(straight, chances * (reward - chances @ reward)) and straight[1] < -0.05
assert bent.argmax() == 1 and 0.6 < cosine < 0.9

# %% [markdown]
# The second action earns less than the average of 1.3, so the gradient *lowers* its logit. Normalised in batches of four, that logit is raised most of all: a rare 10 lies in few batches, and there it is scaled down.
#
# The worst case is a batch of *equal* advantages. There is nothing to learn, and the right answer is 0:

# %%
equal = torch.full((7,), 0.7, dtype=torch.float32)
print("seven times 0.7 becomes seven times", round(normalised(equal)[0].item(), 2))
assert (equal == equal[0]).all() and normalised(equal)[0] > 0.5

# %% [markdown]
# Seven equal numbers came out as 0.8: in float32 their mean is off in the last digit, the standard deviation is that digit too, and the ratio is a full-sized step in no meaningful direction.
# Test for equality first, or add more than rounding to the standard deviation. (One advantage alone is worse: its standard deviation is NaN.) Chapter 11 meets this again, with groups that all earn the same.
#
# ## Exercises
#
# **1 · More replies.** *★☆☆ · 5 minutes.* `wrong_critic` holds bias² (row 0) and variance of one estimate (row 1) for every λ in `lams`. Which λ is best for the mean of **64** replies?

# %% tags=["exercise"]
lam_of_64 = ...

# %%
check.answer(
    lam_of_64, lams[(wrong_critic[0] + wrong_critic[1] / 64).argmin()].item(), atol=1e-6, mistakes={
    "divided the bias as well: averaging does not cure it": lams[(wrong_critic[0] + wrong_critic[1]).argmin()].item(),
    "took the bias alone": 1.0, "took the variance alone": 0.0})
assert abs(lams[(wrong_critic[0] + wrong_critic[1] / 64).argmin()] - 0.95) < 1e-9

# %% [markdown]
# <details><summary>Hint</summary>
#
# `wrong_critic[0] + wrong_critic[1] / 64` is the error for every λ; `argmin` tells where it is smallest.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# lam_of_64 = lams[(wrong_critic[0] + wrong_critic[1] / 64).argmin()].item()
# ```
# It is 0.95: with 64 replies the variance is small, and the bias decides.
# </details>
#
# **2 · By pencil.** *★★☆ · 5 minutes.* Two rewards, 1 and 1, then the time limit. γ = 0.5, λ = 0.5; the critic says 2 before the first step, 4 before the second, 8 behind it. What is the
# advantage of the first step?

# %% tags=["exercise"]
first_advantage = ...

# %%
check.answer(
    first_advantage, 1.25, atol=1e-6, mistakes={
    "took the time limit for an end": 0.25, "took λ = 1, or decayed by λ": 1.5, "took λ = 0": 1.0,
    "returned the target: forgot to subtract the value": 3.25})
assert abs(gae(torch.ones(1, 2), torch.full((1, 2), 0.5), torch.tensor([[2.0, 4.0, 8.0]]), 0.5)[0, 0] - 1.25) < 1e-12

# %% [markdown]
# <details><summary>Hint</summary>
#
# Two surprises first: $\delta_1=1+0.5\cdot8-4$ and $\delta_0=1+0.5\cdot4-2$.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# first_advantage = (1 + 0.5 * 4 - 2) + 0.5 * 0.5 * (1 + 0.5 * 8 - 4)
# ```
# $\delta_0=1,\ \delta_1=1$, so $\hat A_0=1+0.25\cdot1=1.25$.
# </details>
#
# ## Clinic: three statements that circulate
#
# Each is copied from text to text, and each is wrong. Find the flaw *before* you read the verdict.
#
# **1.** *"Of the first k estimates,* $A^{(1)}+\lambda A^{(2)}+\dots+\lambda^{k-1}A^{(k)}=\delta_t\frac{1-\lambda^k}{1-\lambda}+\gamma\delta_{t+1}\frac{\lambda(1-\lambda^k)}{1-\lambda}+\gamma^2\delta_{t+2}\frac{\lambda^2(1-\lambda^k)}{1-\lambda}+\dots$*"*
#
# Count for k = 5 and λ = 0.8 how much weight each surprise really gets:

# %% tags=["concept:gae"]
lam, k = 0.8, 5
counted = [sum(lam ** (n - 1) for n in range(1, k + 1) if n > j) for j in range(4)]
claimed = [lam**j * (1 - lam**k) / (1 - lam) for j in range(4)]
derived = [(lam**j - lam**k) / (1 - lam) for j in range(4)]
for name, row in (("counted", counted), ("claimed", claimed), ("derived", derived)):
    print(f"{name}  ", [round(x, 4) for x in row])
assert max(abs(x - y) for x, y in zip(counted, derived)) < 1e-12 and claimed[3] - counted[3] > 0.79

# %% [markdown]
# **Verdict.** $\delta_{t+j}$ is in $A^{(n)}$ only from $n=j+1$ on, so its weights are $\lambda^j+\dots+\lambda^{k-1}=\frac{\lambda^j-\lambda^k}{1-\lambda}$. The claim gives the fourth surprise 1.72 instead
# of 0.92. In the limit $k\to\infty$ both agree, which is why the slip survives; rows of a batch are finite.
#
# **2.** *"With λ = 1, GAE is* $r_t+\gamma r_{t+1}+\dots+\gamma^kV(s_{t+k})-V(s_t)$*."* On the smallest example, γ = 0.9:

# %% tags=["concept:gae", "concept:k-step-advantage"]
at_one = gae(small, discounts, expected, lam=1.0)[0, 0]
two_steps = k_step_advantages(small, discounts, expected, k=2)[0, 0]
print(f"λ = 1: {at_one:.4f}   return minus value: {0.9**2 * 1 - 0.5:.4f}")
print(f"two steps and a value: {two_steps:.4f}")
assert abs(at_one - 0.31) < 1e-12 and abs(two_steps - 0.148) < 1e-12

# %% [markdown]
# **Verdict.** λ = 1 puts all weight on the *longest* estimate, which runs to the end of the episode: $\sum_l\gamma^lr_{t+l}-V(s_t)=0.31$, with no later value in it. Two steps and a value are $A^{(2)}=0.148$. A
# value remains only where a row was cut off.
#
# **3.** *"The simplest advantage estimate is the reward minus the value,* $A_t=r_t-V(s_t)$*."* Take the exact values, pay replies at their end as a reward model does, and compare with the TD error
# on the same replies:

# %% tags=["concept:td-error"]
at_end = mask & (goes_on == 0)
late = torch.where(at_end, world.reward[..., None], 0.0)               # [P, N, 4]
simple = torch.where(mask, late - v[:, states], 0.0)
_, discounts, values = rows(v, gamma=1.0)            # v, not `left`: nothing is paid on the way
one_step = td_errors(late.flatten(0, 1), discounts, values).view_as(simple)
for name, x in (("r − V", simple), ("TD error", one_step)):
    wrong_sign = (chance * (x * exact < -1e-12)).sum() / chance.sum()
    print(f"{name:9} bias² that is felt {moments(x)[0]:.3f}; wrong sign at {wrong_sign:.0%} of all tokens")

# %%
assert torch.allclose(simple[:, at_end], exact[:, at_end], atol=1e-12)
assert moments(simple)[0] > 0.3 and moments(one_step)[0] < 1e-20
assert torch.equal(simple[:, ~at_end & mask], -v[:, states][:, ~at_end & mask])

# %% [markdown]
# **Verdict.** One reward is compared with the worth of everything to come. Before the last token the reward is 0, and what remains is $-V(s_t)$, the same for every token that could have been chosen:
# it says nothing about the choice. What is missing is $\gamma V(s_{t+1})$. Only at the last step of an episode is the statement right.
#
# ## Summary
#
# | symbol | what it is | function | where |
# |---|---|---|---|
# | $A^\pi=Q^\pi-V^\pi$ | how much better than the policy's average | | [Q, V, A](#Q,-V,-A-once-more) |
# | $\delta_t=r_t+\gamma V(s_{t+1})-V(s_t)$ | one-step surprise; its mean given s and a is the advantage | `returns.td_errors` | [TD error](#The-TD-error:-a-one-step-surprise) |
# | $A^{(k)}_t=\sum_{i<k}\gamma^i\delta_{t+i}$ | k rewards, then the critic | `returns.k_step_advantages` | [k steps](#k-steps) |
# | $\hat A_t=\delta_t+\gamma\lambda\hat A_{t+1}$ | weighted mean of all k | `returns.gae` | [GAE](#GAE:-all-k-at-once) |
# | $\hat G_t=\hat A_t+V(s_t)$ | target for the critic | `returns.lambda_returns` | [λ-returns](#λ-returns:-what-the-critic-should-learn) |
# | discount 0 | the episode ended; nothing behind it counts | | [ended or cut off](#Ended-is-not-cut-off) |
# | same name, faster | compiled or in blocks | `kernels.best` | [fast](#Fast:-loop,-scan,-kernel) |
#
# ## Quiz

# %%
check.quiz(
    "The critic is exactly right. What do you know about a single TD error?",
    ["It is zero", "Its mean over the policy is zero", "It is the error of the next value"], answer=1,
    why="The Bellman equation is about a mean. Given state and action, the mean is the advantage, which is rarely zero.")

# %%
check.quiz(
    "λ = 1 and a critic that is badly wrong. What happens to the policy gradient?",
    ["It is biased by the critic", "It is unbiased, but noisy", "It is zero"], answer=1,
    why="Only −V(s) is left of the critic, the same for all actions: a baseline. A bad baseline costs variance, no bias.")

# %%
check.quiz(
    "A game is stopped at the time limit of your simulator. What goes into its last step?",
    ["Discount 0, nothing behind it", "Discount γ, and the value of the last state", "Both: the value added to the reward, and discount γ"],
    answer=1, why="It would have gone on. Discount 0 would teach that the last state is worthless; the third counts its value twice.")

# %% [markdown]
# ## Sources
#
# - Schulman, Moritz, Levine, Jordan & Abbeel 2016, *High-dimensional continuous control using generalized advantage estimation*, arXiv:1506.02438:
#   equations 11–14 (k steps), 16 (GAE), 17 and 18 (λ = 0 and 1), and which estimators leave the gradient unbiased (*γ-just*, section 2).
# - Baird 1993, *Advantage updating*: the advantage function. Sutton 1988, *Learning to predict by the methods of temporal differences*: TD errors and λ.
# - Sutton & Barto 2018, *Reinforcement Learning*, 2nd edition: equations 6.5 (TD error), 7.1 (n steps), 12.2 and 12.3 (λ-return, finite form).
# - Pardo, Tavakoli, Levdik & Kormushev 2018, *Time limits in reinforcement learning*, arXiv:1712.00378: ended against cut off.
# - Ng, Harada & Russell 1999, *Policy invariance under reward transformations*: why paying every token changes no advantage.
# - Hillis & Steele 1986, *Data parallel algorithms*; Blelloch 1990, *Prefix sums and their applications*: scans, by doubling and in blocks.
#
# Next: chapter 05, how far one step may go.
