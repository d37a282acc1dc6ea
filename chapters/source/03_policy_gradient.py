# ---
# jupyter:
#   course:
#     number: 3
#     slug: policy_gradient
#     title: Policy gradient
#     question: "How do you improve a policy when you can only sample it?"
#     modules: [policies, policy_gradient, loops]
#     explorer: cloud of gradient estimates
#     read: 75
#     run: 45
# ---

# %% [markdown]
# # 03 · Policy gradient
#
# **How do you improve a policy when you can only sample it?**
#
# After this chapter you can
#
# - derive the policy gradient from its definition, and say why the rules of the world drop out of it;
# - compute the score of a softmax and of a Gaussian policy, and the loss whose gradient is the policy gradient;
# - choose what to multiply the score with — return, rewards-to-go, baseline, advantage — and prove that the mean stays;
# - recognise a step that is too long, an entropy bonus with the wrong sign, and old data without weights.
#
# **Needs** [chapter 01](01_mdp.ipynb): values, advantages, the phrase world; near the end [chapter 02](02_samples.ipynb): Q-learning. Derivatives of $\log$ and $\exp$.
# **Minutes** 75 to read and do, 1 to run.

# %%
from itertools import product

import torch

from rlcore import check, mdp, policies, policy_gradient
from rlcore.loops import actor_critic, reinforce
from rlcore.loops.experience import evaluate
from rlcore.loops.networks import Critic, Gaussian, Softmax, SoftmaxPolicy
from rlcore.trust_region import truncated_ratio
from rlcore.view import plots, style
from rlcore.view.explore import explore, gradients
from rlcore.worlds import phrases
from rlcore.worlds.control import CartPole

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.set_printoptions(precision=4, sci_mode=False, linewidth=110)

# %% [markdown]
# ## Before you run
#
# A policy takes one of three actions with probabilities 0.5, 0.3 and 0.2. They pay 0, 1 and 2. You see **one** action and its
# reward, and estimate from it which way to change the policy. Now subtract the same number from every reward: 0, 0.7 or 5.
# **Which gives the noisiest estimate, and does any of them spoil it on average?** Write down a guess.

# %% [markdown]
# ## The smallest example, by hand
#
# One state, three actions: a *bandit*. The policy is a *softmax* of three numbers, its **logits** $\theta_1,\theta_2,\theta_3$:
# $\pi(a)=e^{\theta_a}/\sum_be^{\theta_b}$. Its objective is the expected reward, $J=0.5\cdot0+0.3\cdot1+0.2\cdot2=0.7$.
#
# Raise $\theta_b$ a little. By the quotient rule $\partial\pi(a)/\partial\theta_b=\pi(a)\,(1[a=b]-\pi(b))$, and therefore
# $$\frac{\partial J}{\partial\theta_b}=\sum_a r_a\,\pi(a)\,(1[a=b]-\pi(b))=\pi(b)\,(r_b-J).$$
# ($1[a=b]$ is 1 if $a=b$, else 0.) By pencil: $0.5\cdot(0-0.7)=-0.35$, $0.3\cdot(1-0.7)=0.09$, $0.2\cdot(2-0.7)=0.26$. Actions that
# pay less than the average go down, the others up.

# %% tags=["concept:gradient-ascent"]
policy = torch.tensor([0.5, 0.3, 0.2])
reward = torch.tensor([0.0, 1.0, 2.0])

def expected(theta):
    return theta.softmax(-1) @ reward

# %% tags=["concept:gradient-ascent"]
theta = policy.log()
by_pencil = policy * (reward - policy @ reward)
nudge = 1e-6 * torch.eye(3)
by_nudging = torch.stack([(expected(theta + n) - expected(theta - n)) / 2e-6 for n in nudge])
print("J", expected(theta), "gradient", by_pencil)
assert torch.allclose(by_pencil, torch.tensor([-0.35, 0.09, 0.26]))
assert torch.allclose(by_nudging, by_pencil, atol=1e-9)

# %% [markdown]
# **Gradient ascent** walks along it: $\theta\leftarrow\theta+\alpha\,\nabla J$, with a **learning rate** $\alpha$. One step of $\alpha=1$ raises $J$:

# %% tags=["concept:gradient-ascent"]
after = expected(theta + 1.0 * by_pencil)
promised = by_pencil.square().sum()
print(f"J {expected(theta):.4f} before the step, {after:.4f} after; the slope promised {promised:.4f} more")
assert abs(after - 0.7 - promised) < 0.01

# %% [markdown]
# ## From all actions to a few samples
#
# That used all actions. In general you only *sample*: a policy $\pi_\theta$ plays, and a **trajectory**
# $\tau=(s_0,a_0,r_0,s_1,\dots)$ of $T$ steps comes out, with the return $R(\tau)=\sum_{t=0}^{T-1}r_t$ (the $G_0$ of chapter 01, $\gamma=1$). The objective is
# $J(\theta)=\mathbb E_{\tau\sim\pi_\theta}[R(\tau)]=\sum_\tau P_\theta(\tau)R(\tau)$.
#
# You cannot differentiate a sampled return: a drawn action is a discrete event, and the world that answers is unknown. The way out is one line of algebra, $\nabla P=P\,\nabla\log P$:
# $$\begin{aligned}
# \nabla_\theta J&=\nabla_\theta\sum_\tau P_\theta(\tau)\,R(\tau)&&\text{definition}\\
# &=\sum_\tau\nabla_\theta P_\theta(\tau)\,R(\tau)&&\text{the return of a given trajectory has no }\theta\\
# &=\sum_\tau P_\theta(\tau)\,\nabla_\theta\log P_\theta(\tau)\,R(\tau)&&\nabla P=P\,\nabla\log P\\
# &=\mathbb E_{\tau\sim\pi_\theta}\big[\nabla_\theta\log P_\theta(\tau)\,R(\tau)\big]&&\text{an expectation again: sample it.}
# \end{aligned}$$
# $\nabla_\theta\log P_\theta$ is the **score**: how to change $\theta$ to make what happened likelier. *Score times return* is a
# gradient you can sample.
#
# ### The score of a softmax
#
# With $\log\pi(a)=\theta_a-\log\sum_be^{\theta_b}$ the score is $1[a=b]-\pi(b)$: **what was done, minus what is usually done.**
#
# ![Scores of three actions as bars: the action that was taken gets an upward bar, all others a downward one](../figures/03_score.svg)
#
# ### Write it: `softmax_score`
#
# *Difficulty ★☆☆ · importance ★★★ · 5 minutes.* `logits` has axes [..., A], `action` holds whole numbers with axes [...]; return
# the gradient of $\log\pi(\text{action})$ with respect to the logits, [..., A].

# %% tags=["exercise"]
@check.exercise(policies.softmax_score)
def softmax_score(logits, action):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# `torch.nn.functional.one_hot(action, logits.shape[-1])` is $1[a=b]$ for every $b$; `logits.softmax(-1)` is $\pi$.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def softmax_score(logits, action):
#     return torch.nn.functional.one_hot(action, logits.shape[-1]) - logits.softmax(-1)
# ```
# </details>
#
# ### Use it: the trick, exactly and sampled
#
# The mean of score times reward, over all actions, must be the pencil's gradient. The mean of the score alone must be zero,
# because probabilities add to 1 whatever $\theta$ is.

# %% tags=["concept:score-function-trick", "concept:softmax-policy-score"]
score = softmax_score(theta.expand(3, 3), torch.arange(3))    # [action, logit]
print(score)
assert torch.allclose(policy @ (score * reward[:, None]), by_pencil)
assert torch.allclose(policy @ score, torch.zeros(3))

# %% tags=["concept:score-function-trick"]
generator = torch.Generator().manual_seed(0)
action = torch.multinomial(policy, 100_000, replacement=True, generator=generator)
samples = score[action] * reward[action][:, None]    # [n, logit]: one estimate from each action
for n in (100, 10_000, 100_000):
    print(f"mean of {n:7,} samples", samples[:n].mean(0))
error = samples.std(0) / 100_000**0.5
assert ((samples.mean(0) - by_pencil).abs() < 4 * error).all()

# %% [markdown]
# Every single sample is **unbiased**: its *expectation equals* the gradient. (That the mean of many comes ever closer is *consistency*.)
#
# Logits may come from features: $\theta_a=\phi(a)\cdot w$. The chain rule turns the score into the **features of the action minus
# the mean features**, $\nabla_w\log\pi(a)=\phi(a)-\sum_b\pi(b)\phi(b)$. Autograd agrees.

# %% tags=["concept:softmax-policy-score"]
features = torch.tensor([[1.0, 0.0], [0.5, 2.0], [-1.0, 1.0]])         # φ(a): [A, 2]
w = torch.tensor([0.3, -0.2], requires_grad=True)
(features @ w).log_softmax(-1)[1].backward()         # action 1 was taken
chances = (features @ w).softmax(-1).detach()
minus_mean = features[1] - chances @ features
print("autograd", w.grad, "feature minus mean feature", minus_mean)
assert torch.allclose(w.grad, minus_mean)

# %% [markdown]
# ## The policy gradient: the rules drop out
#
# A trajectory's probability is a product, $P_\theta(\tau)=\rho_0(s_0)\prod_{t=0}^{T-1}\pi_\theta(a_t\mid s_t)\,P(s_{t+1}\mid s_t,a_t)$
# (chapter 01), so its logarithm is a sum:
# $$\nabla_\theta\log P_\theta(\tau)=\underbrace{\nabla_\theta\log\rho_0(s_0)}_{0}+\sum_{t=0}^{T-1}\nabla_\theta\log\pi_\theta(a_t\mid s_t)
# +\sum_{t=0}^{T-1}\underbrace{\nabla_\theta\log P(s_{t+1}\mid s_t,a_t)}_{0}.$$
# Start and transitions drop out **because they do not depend on $\theta$**, however random they are. What is left is the **policy gradient**:
# $$\nabla_\theta J=\mathbb E_{\tau\sim\pi_\theta}\Big[\sum_{t=0}^{T-1}\nabla_\theta\log\pi_\theta(a_t\mid s_t)\;\Psi_t\Big],\qquad\Psi_t=R(\tau)\text{ to begin with.}$$
# It needs no model of the world. Check it on four states, three actions and two steps, with transitions and
# rewards drawn at random. `two_steps` walks all $4\cdot3\cdot4\cdot3=144$ trajectories. (Its second result, a variance, is for later.)

# %% tags=["concept:policy-gradient-theorem"]
generator = torch.Generator().manual_seed(0)
P = torch.randn(4, 3, 4, generator=generator).softmax(-1)               # [S, A, S] random transitions
R = torch.randn(4, 3, generator=generator)                              # [S, A]
logits = torch.randn(4, 3, generator=generator, requires_grad=True)     # the policy's parameters
pi = logits.softmax(-1)
last = (pi * R).sum(-1)                                                 # V with one step to go
J = (pi * (R + P @ last)).sum(-1).mean()                                # start anywhere with chance ¼
true, = torch.autograd.grad(J, logits)

# %% tags=["concept:policy-gradient-theorem"]
def two_steps(weigh):
    """Mean and variance of the estimate Σ_t score_t Ψ_t over all trajectories; weigh: (r₀, r₁) ↦ (Ψ₀, Ψ₁)."""
    mean, square, table = torch.zeros(4, 3), 0.0, pi.detach()
    for s, a, after, b in product(range(4), range(3), range(4), range(3)):
        chance = table[s, a] * P[s, a, after] * table[after, b] / 4
        first, second = weigh(R[s, a], R[after, b])
        estimate = torch.zeros(4, 3)
        estimate[s] += first * softmax_score(logits.detach()[s], torch.tensor(a))
        estimate[after] += second * softmax_score(logits.detach()[after], torch.tensor(b))
        mean, square = mean + chance * estimate, square + chance * estimate.square().sum()
    return mean, (square - mean.square().sum()).item()

# %% tags=["concept:policy-gradient-theorem"]
mean, plain = two_steps(lambda r0, r1: (r0 + r1, r0 + r1))
print("score times return, averaged over 144 trajectories\n", mean, "\nautograd\n", true)
assert (mean - true).abs().max() < 1e-12

# %% [markdown]
# ## REINFORCE
#
# **REINFORCE** (Williams 1992): (1) Play $|\mathcal D|$ episodes with the present policy. (2) Add up each episode's return.
# (3) Estimate $\hat g=\frac1{|\mathcal D|}\sum_{\tau\in\mathcal D}\sum_t\nabla_\theta\log\pi_\theta(a_t\mid s_t)\,R(\tau)$. (4) Step
# $\theta\leftarrow\theta+\alpha\hat g$. (5) **Throw the episodes away** and start again: they came from a policy that no longer exists.
#
# With a network, build a *loss* whose gradient is $-\hat g$ and let autograd do the scores. The loss's value means nothing; do not plot it.
#
# ### Write it: `score_function_loss`
#
# *Difficulty ★☆☆ · importance ★★★ · 3 minutes.* `logps` holds $\log\pi$ of what was done, `advantages` what to weigh it with. Return one loss per
# entry of `logps`, to be *minimised*.

# %% tags=["exercise"]
@check.exercise(policy_gradient.score_function_loss)
def score_function_loss(logps, advantages):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# Descent on the loss must be ascent on $J$: mind the sign. Do not average.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def score_function_loss(logps, advantages):
#     return -advantages * logps
# ```
# </details>
#
# ### Use it: on every reply there is
#
# In the phrase world an episode is a reply: 781 to each of three prompts. A policy is a table of logits for 3 prompts, 156 prefixes, 6 tokens. The mean
# over *all* episodes must be the exact gradient, which `world.exact_gradient` computes without autograd.

# %% tags=["concept:reinforce"]
world = phrases.Phrases()
reference = world.reference_logits()                 # [P, S, V] has seen the task, not mastered it
table = reference.clone().requires_grad_()
logps = world.logps(table)                           # [P, N] of every reply
chance = logps.detach().exp() / 3                    # each prompt is as likely
(chance * score_function_loss(logps, world.reward)).sum().backward()
exact = world.exact_gradient(reference)
print(f"{exact.numel():,} logits, all slopes equal: {torch.allclose(-table.grad, exact, atol=1e-12)}")
assert (-table.grad - exact).abs().max() < 1e-9

# %% [markdown]
# Now from 64 replies. How much of the estimate is signal?

# %% tags=["concept:reinforce", "concept:policy-gradient-variance"]
def estimate(replies, generator):
    """REINFORCE's gradient from some sampled replies, by autograd."""
    table = reference.clone().requires_grad_()
    seen = torch.multinomial(chance.flatten(), replies, replacement=True, generator=generator)
    score_function_loss(world.logps(table).flatten()[seen], world.reward.flatten()[seen]).mean().backward()
    return -table.grad

# %% tags=["concept:reinforce", "concept:policy-gradient-variance"]
found = torch.stack([estimate(64, torch.Generator().manual_seed(seed)) for seed in range(200)])
alike = torch.cosine_similarity(found.flatten(1), exact.flatten()[None], dim=-1)
print(f"length of the gradient {exact.norm():.3f}, of an estimate {found.flatten(1).norm(dim=-1).mean():.3f}")
print(f"cosine between the two: {alike.mean():.2f}; uphill in {(alike > 0).sum()} of 200")
assert alike.mean() < 0.75 and (alike > 0).double().mean() > 0.9

# %% [markdown]
# The estimate is longer than the gradient; the excess is noise.

# %% [markdown]
# ## Less noise, same mean
#
# Judge an estimator by two numbers: its **mean**, which must be the exact gradient, and its **total variance**, the expected squared
# distance from that mean. Half the variance means half the samples for the same precision. First the bandit again.
#
# ### A baseline
#
# Subtract a number $b$ from the reward. The mean stays, since $\mathbb E[\nabla\log\pi\cdot b]=b\,\nabla\sum_a\pi(a)=b\,\nabla1=0$.

# %% tags=["concept:baseline"]
def with_baseline(b):
    """Mean and total variance of the one-sample estimate: score times (reward − b)."""
    each = score * (reward - b)[:, None]             # [action, logit]
    mean = policy @ each
    return mean, policy @ (each - mean).square().sum(-1)

# %% tags=["concept:baseline"]
best = policy_gradient.optimal_baseline(score, reward, policy)
for name, b in {"none": 0.0, "J": 0.7, "optimal": best, "five": 5.0}.items():
    mean, variance = with_baseline(b)
    print(f"b {name:8} {b:.3f}   mean {mean.round(decimals=4).tolist()}   variance {variance:8.4f}")
    assert torch.allclose(mean, by_pencil)

# %% [markdown]
# How was your guess? No constant spoils the mean. The mean reward cuts the variance to less than a third. Five is twelve times *worse* than nothing. The optimal constant, $b^*=\mathbb E[\|\nabla\log\pi\|^2r]/\mathbb E[\|\nabla\log\pi\|^2]=1.01$, is *not* the mean reward, 0.7: it weighs each
# reward with how far its action moves the logits.
#
# A baseline may look at the *state*, never at the *action*. Subtract each action's own reward and nothing is left:

# %% tags=["concept:baseline"]
assert abs(with_baseline(0.0)[1] - 0.8198) < 1e-9 and abs(with_baseline(0.7)[1] - 0.2472) < 1e-9
assert abs(with_baseline(best)[1] - 0.18774) < 1e-5 and abs(with_baseline(5.0)[1] - 10.0598) < 1e-9
mean, variance = with_baseline(reward)               # b depends on the action
print("mean", mean, f"variance {variance:.1f}: no noise, and no gradient")
assert mean.abs().max() == variance == 0

# %% [markdown]
# ### Rewards-to-go
#
# An action cannot change what was paid *before* it, so credit it with what follows: $\Psi_t=\sum_{t'\ge t}r_{t'}$, the **rewards-to-go**. (This is *one sample* of $Q^\pi(s_t,a_t)$, not $Q^\pi$ itself.)
#
# ![Which rewards credit which action: a full square for plain REINFORCE, a triangle for rewards-to-go](../figures/03_credit.svg)

# %% tags=["concept:rewards-to-go"]
mean, to_go = two_steps(lambda r0, r1: (r0 + r1, r1))
print(f"two random steps: total variance {plain:.3f} with the full return, {to_go:.3f} with rewards-to-go")
assert (mean - true).abs().max() < 1e-12 and to_go < 0.8 * plain

# %% [markdown]
# The phrase world pays at the end of a reply. Pay every word when it is said instead: the reward of the prefix with the word, minus that of the prefix
# before; the differences add up to the reply's reward. `world.tokens` [N, 4] holds every reply's tokens, `world.states` the number of the prefix that each token was added to.

# %% tags=["concept:rewards-to-go"]
said = world.said[world.states, world.tokens]        # the number of the prefix with the token
pay = world.reward[:, said] - world.reward[:, world.states]             # [P, N, 4]
later = pay.flip(-1).cumsum(-1).flip(-1)             # rewards-to-go
number = world.index("sorry friend friend")
print("sorry friend friend, EOS  pays", pay[2, number], "to go", later[2, number])
assert (pay.sum(-1) - world.reward).abs().max() < 1e-12

# %% [markdown]
# *sorry* fits *you are late*, the first *friend* is courteous, the second repeats, and no longer profits from the good start.
#
# ### Every estimator on every reply
#
# Average over all 2,343 replies. No reply meets a prefix twice, so the squared lengths of its tokens' contributions add up.

# %% tags=["concept:policy-gradient-variance"]
def mean_and_variance(table, weights, drawn_from=None):
    """Of Σ_t score_t Ψ_t for one reply, in all logits; weights: Ψ [P, N, 4]."""
    chance = world.logps(table if drawn_from is None else drawn_from).exp() / 3       # [P, N]
    tokens = world.tokens.expand(3, -1, -1)
    each = weights[..., None] * softmax_score(table[:, world.states], tokens) * world.mask[..., None]
    mean = torch.zeros(3, 156, 6)
    mean.index_add_(1, world.states.flatten(), (chance[..., None, None] * each).flatten(1, 2))
    return mean, ((chance * each.square().sum((-1, -2))).sum() - mean.square().sum()).item()

# %% tags=["concept:baseline", "concept:rewards-to-go", "concept:policy-gradient-variance"]
full = world.reward[..., None].expand(-1, -1, 4)     # the return, for every token
prompt_value = world.value(reference)[:, None, None] # V(x)
q = world.q_values(reference)                        # [P, S, V] expected reward of the reply after a token
v = (reference.softmax(-1) * q).sum(-1)              # [P, S]    ... after a prefix
state_value = v[:, world.states]
token_value = q[:, world.states, world.tokens]
psi = {
    "plain": full, "constant 5": full - 5, "mean reward": full - prompt_value.mean(),
    "V(prompt)": full - prompt_value, "rewards-to-go": later, "V(prefix)": full - state_value,
    "to go − V": later - (state_value - world.reward[:, world.states]),
    "advantage": token_value - state_value}

# %% tags=["concept:baseline", "concept:rewards-to-go", "concept:policy-gradient-theorem", "concept:sparse-reward-credit-assignment"]
variances = {}
for name, weights in psi.items():
    mean, variances[name] = mean_and_variance(reference, weights)
    assert (mean - exact).abs().max() < 1e-9, name
    share = variances[name] / variances["plain"]
    print(f"{name:14} total variance {variances[name]:7.3f}   {share:6.2f} of plain")
ratio_to_plain = {name: variance / variances["plain"] for name, variance in variances.items()}
assert ratio_to_plain["advantage"] < 0.31 < 0.55 < ratio_to_plain["V(prefix)"] < 0.56
assert 0.79 < ratio_to_plain["rewards-to-go"] < 0.8 and ratio_to_plain["constant 5"] > 19

# %% [markdown]
# All eight have the same mean, to $10^{-9}$. Read the variances:
#
# - *plain* gives every token the reward that came at the very end. Such a reward is **sparse**, and which token earned it only many replies can tell: the problem of **credit
#   assignment**. All that follows helps with it;
# - *rewards-to-go* saves a fifth, the value of the *prompt* a sixth, the value of the *prefix* almost half;
# - with a state value the rewards-to-go add nothing: the reward already paid stands in both, and cancels;
# - the **advantage** $A^\pi=Q^\pi-V^\pi$ has 30 % left: it also averages over everything that comes after. No one hands you $A^\pi$; the next chapter estimates it.

# %% tags=["concept:baseline", "concept:policy-gradient-variance"]
fig, ax = plots.figure(height=2.8)
names = [name for name in psi if name != "constant 5"]
heights = [ratio_to_plain[name] for name in names]
ax.barh(names[::-1], heights[::-1], color=style.COLOR["advantage"], height=0.6)
ax.bar_label(ax.containers[0], fmt="%.2f", padding=3)
ax.set(xlabel="total variance (share of plain REINFORCE)", ylabel="Ψ", xlim=(0, 1.12),
       title="The same mean, down to 30 % of the variance")
plots.show(plots.caption(fig, "Total variance of seven estimators relative to plain REINFORCE, exact: "
    + ", ".join(f"{name} {height:.2f}" for name, height in zip(names, heights)) + "."))

# %% [markdown]
# The mean reward saves little because it happens to be near zero here. Add 3 to every reward, like a judge who gives
# one to five stars. The gradient stays:

# %% tags=["concept:baseline"]
shifted = {"plain": full + 3, "V(prompt)": (full + 3) - (prompt_value + 3)}
for name, weights in shifted.items():
    mean, variance = mean_and_variance(reference, weights)
    assert (mean - exact).abs().max() < 1e-9
    print(f"rewards + 3, {name:10} total variance {variance:6.2f}, before {variances[name]:.2f}")
assert abs(variance - variances["V(prompt)"]) < 1e-9

# %% [markdown]
# **A baseline makes the estimate indifferent to where the rewards have their zero.** But a saving is not guaranteed. For a policy half-way from the reference
# to the best one ($\pi\propto\pi_{\text{ref}}\,e^{r}$; it comes back in chapter 08), the value of the prompt makes it worse:

# %% tags=["concept:baseline"]
half_way = world.token_logits(world.optimum(world.logps(reference), beta=1.0))
own_value = world.value(half_way)[:, None, None]
without = mean_and_variance(half_way, full)[1]
with_value = mean_and_variance(half_way, full - own_value)[1]
moved = mean_and_variance(half_way, torch.ones_like(full))[1]     # E‖score‖²: a parabola in b
best_b = (without + moved - mean_and_variance(half_way, full - 1)[1]) / (2 * moved)
print(f"variance {without:.3f} without a baseline, {with_value:.3f} with V(prompt)")
print(f"mean reward {own_value.mean():.2f}, best constant {best_b:.2f}")
assert 1.15 < with_value / without < 1.25 and best_b < 0.1 < 0.4 < own_value.mean()

# %% [markdown]
# The replies that move the logits most earn less than the mean, so the best constant is far below it, as in exercise 1.
# Only the *optimal* baseline is safe by construction.
#
# ### Leave one out
#
# Where do you get $V(x)$, the value of prompt $x$, without a second model? Ask the policy $K$ times, and compare each reply with the *others*:
# $A_i=r_i-\frac1{K-1}\sum_{j\ne i}r_j$. The others do not depend on reply $i$, so nothing is biased. Chapter 11 builds on it.
#
# ### Write it: `leave_one_out`
#
# *Difficulty ★★☆ · importance ★★★ · 5 minutes.* `rewards` has axes [B, K]: K replies to each of B prompts. Return the advantages, [B, K].

# %% tags=["exercise"]
@check.exercise(policy_gradient.leave_one_out)
def leave_one_out(rewards):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# The others' sum is the row's sum minus the own reward; there are `rewards.shape[-1] - 1` others.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def leave_one_out(rewards):
#     others = (rewards.sum(-1, keepdim=True) - rewards) / (rewards.shape[-1] - 1)
#     return rewards - others
# ```
# </details>
#
# ### Use it: every pair of replies
#
# With $K=2$, average over all $781^2$ pairs of replies to *you are late*. `scores` holds each reply's score in all logits of
# that prompt, `gram` their scalar products.

# %% tags=["concept:baseline"]
late, rewards = world.logps(reference)[2].exp(), world.reward[2]
scores = torch.zeros(781, 156, 6)
token_scores = softmax_score(reference[2, world.states], world.tokens) * world.mask[..., None]
scores.index_put_((torch.arange(781)[:, None], world.states), token_scores, accumulate=True)
scores = scores.flatten(1)                           # [N, S·V]
target, gram = (late * rewards) @ scores, scores @ scores.T
length = gram.diag()

# %% tags=["concept:baseline"]
pairs = leave_one_out(torch.cartesian_prod(rewards, rewards)).unflatten(0, (781, 781))      # [i, j, 2]
joint = late[:, None] * late
first, second = pairs.unbind(-1)
mean = ((joint * first).sum(1) @ scores + (joint * second).sum(0) @ scores) / 2
square = (joint * (first**2 * length[:, None] + second**2 * length + 2 * first * second * gram)).sum() / 4
pair = (square - mean.square().sum()).item()         # total variance of the estimate from one pair
assert (mean - target).abs().max() < 1e-9
assert (mean - 3 * exact[2].flatten()).abs().max() < 1e-9
print(f"{joint.numel():,} pairs: the mean is the exact gradient; total variance of a pair {pair:.3f}")

# %% [markdown]
# A pair costs two replies, so compare twice its variance with one reply's. For larger groups Hoeffding (1948) gives the variance per reply,
# $\big[(K-2)\,\sigma_V^2+2\,\sigma_{\text{pair}}^2\big]/(K-1)$, where $\sigma_V^2$ belongs to the baseline $V(x)$.

# %% tags=["concept:baseline"]
alone = ((late * rewards**2) @ length - target.square().sum()).item()
value = (late @ rewards).item()
exact_value = ((late * (rewards - value) ** 2) @ length - target.square().sum()).item()
per_reply = {K: ((K - 2) * exact_value + 2 * pair) / (K - 1) for K in (2, 4, 8, 16, 64)}
print(f"no baseline {alone:.2f}, exact V(x) {exact_value:.2f}; leave one out",
      ", ".join(f"K = {K}: {variance:.2f}" for K, variance in per_reply.items()))
assert per_reply[2] > alone > per_reply[4] > per_reply[64] > exact_value

# %% [markdown]
# Two replies are too few here: the baseline is as noisy as what it is subtracted from. With four it pays, with 64 it is nearly exact.
#
# ### Longer episodes, more noise
#
# Toss a coin $T$ times; each head pays 1; one logit, now 0, sets its chance of heads. The gradient is $T\cdot½\cdot½=T/4$. Compare with it the *spread*
# (standard deviation) of a one-episode estimate. `by_hand` holds the exact spreads.

# %% tags=["concept:policy-gradient-variance"]
def spread(T, generator, games=20_000):
    heads = torch.randint(2, (games, T), generator=generator).double()
    ahead = heads.flip(-1).cumsum(-1).flip(-1)       # rewards-to-go
    left = 0.5 * torch.arange(T, 0, -1)              # their expectation: the state value
    weights = [heads.sum(-1, keepdim=True), ahead, ahead - left]
    return torch.stack([((heads - 0.5) * psi_t).sum(-1).std() / (T / 4) for psi_t in weights])

# %% tags=["concept:policy-gradient-variance"]
lengths = torch.tensor([5, 10, 20, 50, 100, 200])
spreads = torch.stack([spread(int(T), torch.Generator().manual_seed(0)) for T in lengths])
by_hand = torch.stack([(lengths + 2 - 2 / lengths) ** 0.5, ((lengths + 1) * (2 * lengths + 1) / lengths / 6
    + (lengths - 1) / lengths / 2) ** 0.5, ((lengths - 1) / lengths / 2) ** 0.5], dim=-1)
print(torch.cat([lengths[:, None], spreads], dim=-1))
assert ((spreads / by_hand - 1).abs() < 0.05).all()

# %% tags=["concept:policy-gradient-variance"]
fig, ax = plots.figure(height=2.9)
for name, look, colour, found, line in zip(("full return", "rewards-to-go", "to go − V"), "os^",
                                           ("policy", "reward", "advantage"), spreads.T, by_hand.T):
    ax.loglog(lengths, line, color=style.COLOR["exact"], linewidth=0.9)
    ax.loglog(lengths, found, look, color=style.COLOR[colour], label=name)
ax.set(xlabel="steps of an episode T", ylabel="spread / gradient",
       title="Noise grows with the episode, unless a baseline takes it away")
ax.legend()
plots.show(plots.caption(fig, "Spread of a one-episode estimate over the gradient, 5 to 200 steps, "
    f"log axes: full return {spreads[0, 0]:.1f} to {spreads[-1, 0]:.1f}, "
    f"rewards-to-go {spreads[0, 1]:.1f} to {spreads[-1, 1]:.1f}, "
    f"minus the value {spreads[0, 2]:.2f} to {spreads[-1, 2]:.2f}; thin lines by hand."))

# %% [markdown]
# The spread grows like $\sqrt T$, so the episodes you need grow like $T$; with the state value it stays.

# %% [markdown]
# ## Explorer: a cloud of estimates
#
# Each dot is an estimate from a batch of replies to *you are late*: along the exact gradient (right), and along the direction across it in
# which plain REINFORCE scatters most (up). The arrow is the exact gradient; the ellipse would hold 95 % of a normal cloud with the exact covariance.
# Dots right of the dotted line point uphill.

# %% tags=["concept:policy-gradient-variance", "concept:baseline", "concept:rewards-to-go"]
explore(gradients.draw, **gradients.controls())

# %% [markdown]
# **Try it.** (1) Which moves the centre of the cloud: batch size, baseline, rewards-to-go? (2) Take the baseline *constant 5*: how many replies
# bring the cloud back to its size at 8 replies without a baseline? (3) Compare *leave one out* at 2 and at 16 replies with *none*.
#
# <details><summary>What you should see</summary>
#
# (1) None: all are unbiased. (2) The variance is 18 times as large, and falls with one over the batch: it takes 146 replies, between 128 and 256. (3) With
# two replies leave-one-out is noisier than no baseline, with sixteen it has about three quarters of the variance.
# </details>

# %% [markdown]
# ## Actor–critic: learn the baseline
#
# Nobody gives you the state value. So learn it: the **critic** $V_\phi(s)$ is a second network or, on a language model, a linear head, the *value head*. The policy is the **actor**. The simplest form, advantage actor–critic or **A2C**, minimises
# $$L=\underbrace{-\hat A_t\log\pi_\theta(a_t\mid s_t)}_{\text{actor}}+c_1\,\underbrace{\tfrac12\big(V_\phi(s_t)-\hat R_t\big)^2}_{\text{critic}}
# -c_2\,\underbrace{H(\pi_\theta(\cdot\mid s_t))}_{\text{entropy}}$$
# with the advantage $\hat A_t=\hat R_t-V_\phi(s_t)$; no gradient flows through $\hat A_t$ and $\hat R_t$. The entropy comes in *What breaks*; here $c_2=0$.
# A2C need not wait for an episode's end. It plays rows of $n$ steps in many worlds, and where a row stops, $k\le n$ steps later, the critic stands in for the rest:
# $\hat R_t=r_t+\gamma r_{t+1}+\dots+\gamma^{k}V_\phi(s_{t+k})$. (The workers of A3C, which came first, do not wait for each other.)
#
# Cart-pole: push a cart left or right so that its pole does not fall, for 200 steps at most. A random policy lasts about 20. Five ways,
# 40,000 steps and three runs each: REINFORCE with rewards-to-go from 8 episodes at a time, the same minus the batch's mean at the same step, and A2C with
# $n=20$, 5 and 1, in as many worlds as make 160 steps per update.

# %% tags=["concept:actor-critic", "concept:a2c-a3c"]
BUDGET, LIMIT, BATCH = 40_000, 200, 160

def pole(rows, generator):
    return CartPole(rows, generator, limit=LIMIT, dtype=torch.float64)

# %% tags=["concept:actor-critic", "concept:a2c-a3c"]
def lasted(policy, records, generator):
    """[(steps, mean return of finished episodes)] while training, and the mean of 100 episodes after it."""
    curve = []
    for record in records:
        if len(record.returns):
            curve.append((record.steps, record.returns.mean().item()))
        if record.steps >= BUDGET:
            break
    return curve, evaluate(pole(100, generator), policy, generator).mean().item()

# %% tags=["concept:reinforce"]
def by_reinforce(seed, weigh):
    generator = torch.Generator().manual_seed(seed)
    policy = SoftmaxPolicy(inputs=4, actions=2, hidden=32, generator=generator)
    return lasted(policy, reinforce.train(policy, lambda: pole(8, generator), weigh, updates=1000, gamma=0.99,
        lr=0.01, entropy_coefficient=0.0, generator=generator), generator)

# %% tags=["concept:actor-critic", "concept:a2c-a3c"]
def by_a2c(seed, n):
    generator = torch.Generator().manual_seed(seed)
    policy = SoftmaxPolicy(inputs=4, actions=2, hidden=32, generator=generator)
    critic = Critic(inputs=4, hidden=32, generator=generator)
    world, updates = pole(BATCH // n, generator), BUDGET // BATCH
    return lasted(policy, actor_critic.train(policy, critic, world, updates=updates, steps=n, gamma=0.99,
        lam=1.0, lr=0.003, value_coefficient=0.5, entropy_coefficient=0.0, max_norm=0.5,
        generator=generator), generator)

# %% tags=["concept:reinforce"]
def minus_mean(to_go, mask):
    return to_go - (to_go * mask).sum(0) / mask.sum(0).clamp(min=1)

# %% tags=["concept:reinforce", "concept:actor-critic", "concept:a2c-a3c", "nbval-ignore-output"]
learners = {
    "REINFORCE, to go": lambda seed: by_reinforce(seed, lambda to_go, mask: to_go),
    "REINFORCE, to go − mean": lambda seed: by_reinforce(seed, minus_mean),
    "A2C, n = 20": lambda seed: by_a2c(seed, n=20),
    "A2C, n = 5": lambda seed: by_a2c(seed, n=5),
    "A2C, n = 1": lambda seed: by_a2c(seed, n=1)}
runs = {}
for name, balance in learners.items():
    runs[name] = [balance(seed) for seed in range(3)]
    print(f"{name:23} steps survived, three runs:", *(f"{end:5.0f}" for _, end in runs[name]))

# %% tags=["concept:actor-critic", "concept:a2c-a3c"]
after = {name: torch.tensor([end for _, end in three]) for name, three in runs.items()}
assert after["REINFORCE, to go − mean"].min() > 150 and after["A2C, n = 1"].max() < 90  # worst of 3
assert min(after["A2C, n = 20"].min(), after["A2C, n = 5"].min()) > 100
assert after["REINFORCE, to go"].mean() < after["REINFORCE, to go − mean"].mean()

# %% tags=["concept:actor-critic", "concept:a2c-a3c"]
def smooth(curve, width=2000):
    """Mean return in every stretch of so many steps."""
    steps, returns = torch.tensor(curve).T
    ends = torch.arange(width, BUDGET + 1, width)
    means = [returns[(steps > end - width) & (steps <= end)].mean() for end in ends]
    return ends / 1000, torch.stack(means)

# %% tags=["concept:actor-critic", "concept:a2c-a3c", "nbval-ignore-output"]
fig, axes = plots.figure(height=3.0, ncols=2, sharey=True)
looks = zip(runs, (0, 0, 1, 1, 1), ("--", "-", "-", "--", ":"),
            ("reference", "policy", "value", "advantage", "rejected"))
for name, panel, line, colour in looks:
    for k, (curve, _) in enumerate(runs[name]):
        label = None if k else name.rpartition(", ")[2]
        axes[panel].plot(*smooth(curve), line, color=style.COLOR[colour], linewidth=1.3, label=label)
axes[0].set(ylabel="mean return (steps)", title="REINFORCE: a baseline steadies it")
axes[1].set(ylim=(0, 250), title="A2C: one step ahead is too few here")
for ax in axes:
    ax.set(xlabel="thousand steps played")
    ax.legend(fontsize=9, ncols=3, loc="upper left")
plots.show(plots.caption(fig, "Mean return against steps played, all runs. After training, worst of three: "
    + ", ".join(f"{name} {ends.min():.0f}" for name, ends in after.items()) + " of 200 steps."))

# %% [markdown]
# Rounding decides details, so another processor may draw other lines; what is asserted held for nine seeds.
#
# - The **baseline** steadies REINFORCE; without it some runs fall back. (Its mean counts the own episode, which biases it slightly.)
# - **A2C with $n=20$** and 5 learns too, not faster: it must learn its critic first. In return it learns from any 20 steps.
# - **$n=1$** leans on the critic alone, which learns from its own guesses and is still wrong after 250 updates. Less noise was bought with *bias*: chapter 04.

# %% [markdown]
# ## Actions that are numbers: the Gaussian policy
#
# Let the policy draw a torque or a price, $a\sim\mathcal N(\mu,\sigma^2)$. Its scores are
# $$\frac{\partial\log\pi}{\partial\mu}=\frac{a-\mu}{\sigma^2},\qquad\frac{\partial\log\pi}{\partial\log\sigma}=\frac{(a-\mu)^2}{\sigma^2}-1,$$
# and with $\mu=\phi(s)\cdot w$ the first is multiplied by $\phi(s)$. Check against autograd:

# %% tags=["concept:gaussian-policy-score"]
mu, log_std = torch.tensor([0.5], requires_grad=True), torch.tensor([-1.0], requires_grad=True)
policies.gaussian_logp(mu, log_std, torch.tensor([1.2])).backward()
by_formula = policies.gaussian_score(mu.detach(), log_std.detach(), torch.tensor([1.2]))
print("autograd", mu.grad, log_std.grad, "formula", by_formula)
assert torch.allclose(torch.cat([mu.grad, log_std.grad]), by_formula)

# %% [markdown]
# A bandit with a number for an action: the reward is $-(a-1)^2$. Start at $\mu=-2$, $\sigma=1$, and follow the sampled gradient with
# leave-one-out on 32 actions.

# %% tags=["concept:gaussian-policy-score"]
def aim(seed, updates=600, lr=0.02):
    """[update, (μ, σ, root mean square of the score in μ)]."""
    generator, path = torch.Generator().manual_seed(seed), []
    mean, log_std = torch.tensor([-2.0]), torch.zeros(1)
    for _ in range(updates):
        action = mean + log_std.exp() * torch.randn(32, 1, generator=generator)
        score = policies.gaussian_score(mean.expand(32, 1), log_std, action)
        path.append((mean.item(), log_std.exp().item(), score[:, 0].square().mean().sqrt().item()))
        weights = leave_one_out(-((action - 1.0) ** 2).T).T
        step_mean, step_log_std = (weights * score).mean(0)
        mean, log_std = mean + lr * step_mean, log_std + lr * step_log_std
    return torch.tensor(path)

# %% tags=["concept:gaussian-policy-score"]
aims = torch.stack([aim(seed) for seed in range(3)])                    # [seed, update, 3]

# %% tags=["concept:gaussian-policy-score"]
print("after 600 updates: μ", aims[:, -1, 0].round(decimals=2), "σ", aims[:, -1, 1].round(decimals=2))
growth = aims[:, -50:, 2].mean() / aims[:, :5, 2].mean()
print(f"the score in μ is {growth:.1f} times as long as at the start")
assert ((aims[:, -1, 0] - 1).abs() < 0.1).all() and (aims[:, -1, 1] < 0.25).all()
product_with_std = (aims[..., 1] * aims[..., 2]).mean(1)
assert ((product_with_std - 1).abs() < 0.02).all()

# %% [markdown]
# All three runs find $\mu=1$ and become more certain, which *lengthens* the score: its root mean square is $1/\sigma$, and explodes as
# $\sigma\to0$. The exact gradient in $\mu$, $-2(\mu-1)$, does not. And the estimates? Hold $\mu$ at 1 and shrink $\sigma$, with this reward and
# with one that a judge blurs by noise of standard deviation 1:

# %% tags=["concept:gaussian-policy-score"]
generator = torch.Generator().manual_seed(0)
for std in (1.0, 0.1, 0.01):
    action = 1 + std * torch.randn(100_000, 1, generator=generator)
    exactly = -((action[:, 0] - 1) ** 2)
    noisily = exactly + torch.randn(100_000, generator=generator)
    score_in_mu = policies.gaussian_score(torch.ones(100_000, 1), torch.tensor([std]).log(), action)[:, 0]
    calm, wild = (score_in_mu * exactly).std(), (score_in_mu * noisily).std()
    print(f"σ = {std:<4}  spread of an estimate {calm:.2f}, judged with noise {wild:.0f}")
    assert abs(calm / (15**0.5 * std) - 1) < 0.05 and abs(wild / (1 / std**2 + 15 * std**2) ** 0.5 - 1) < 0.05

# %% [markdown]
# Without noise the rewards differ less and less, and that makes up for the score. With noise **the surest policy gets the
# wildest estimates**.

# %% [markdown]
# ## Where a policy must be random
#
# A corridor of three cells and a goal; a step costs 1. In the middle cell *left* and *right* are swapped, and the walker cannot tell the cells apart: it has one
# probability of *right* for all three. (Sutton and Barto, example 13.1.)

# %%
LEFT, RIGHT = 0, 1
moves = torch.zeros(4, 2, 4)
for cell, (to_left, to_right) in enumerate([(0, 1), (2, 0), (1, 3), (3, 3)]):
    moves[cell, LEFT, to_left] = moves[cell, RIGHT, to_right] = 1.0
corridor = mdp.MDP(moves, torch.tensor([[-1.0], [-1.0], [-1.0], [0.0]]).expand(4, 2), gamma=1.0)

# %%
def worth(right):
    return mdp.solve(corridor, torch.tensor([1 - right, right]).expand(4, 2))[0].item()

best_right = 2 - 2**0.5
for right in (0.05, 0.95, best_right):
    print(f"right with {100 * right:4.1f} %: worth {worth(right):.2f}")
assert abs(worth(best_right) - -(6 + 4 * 2**0.5)) < 1e-9
assert worth(best_right) > max(worth(best_right - 0.02), worth(best_right + 0.02))

# %% [markdown]
# Always left or always right never arrives. The best policy is *random*, right with $2-\sqrt2=58.6$ %, and needs 11.66 steps. A greedy policy on
# values cannot express it; a policy gradient walks there. REINFORCE with leave-one-out from 95 %, 50 games per update:

# %% tags=["concept:reinforce"]
def play(logit, games, generator):
    """Returns and scores of whole games, side by side; the score of a game is Σ_t (1[right] − π(right))."""
    right, cell = torch.sigmoid(logit), torch.zeros(games, dtype=torch.long)
    steps, score = torch.zeros(games), torch.zeros(games)
    while (cell < 3).any():
        walking = cell < 3
        goes_right = torch.rand(games, generator=generator) < right
        score, steps = score + walking * (goes_right.double() - right), steps + walking
        way = torch.where(goes_right ^ (cell == 1), 1, -1)
        cell = torch.where(walking, (cell + way).clamp(min=0), cell)
    return -steps, score

# %% tags=["concept:reinforce"]
def walk_up(seed):
    generator, logit = torch.Generator().manual_seed(seed), torch.tensor(0.95).logit()
    for _ in range(150):
        payoff, score = play(logit, 50, generator)
        logit = logit + 0.01 * (leave_one_out(payoff[None])[0] * score).mean()
    return torch.sigmoid(logit).item()

# %% tags=["concept:reinforce"]
rights = [walk_up(seed) for seed in range(3)]
print("right with", [f"{right:.2f}" for right in rights])
print("worth", [f"{worth(right):.1f}" for right in rights])
assert min(worth(right) for right in rights) > -11.9

# %% [markdown]
# ## What breaks
#
# ### A step too long cannot be taken back
#
# The bandit again, one sample per update, no baseline, 300 updates, from equal chances; 1,500 runs for each learning rate.

# %% tags=["concept:overshooting-policy-collapse", "concept:gradient-ascent"]
def learn(lr, seed, updates=300, start=None, coefficient=None):
    """Logits [runs, 3] after one-sample REINFORCE; coefficient: share of the updates done ↦ bonus c."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.zeros(500, 3) if start is None else start
    for update in range(updates):
        logps = logits.log_softmax(-1)
        action = torch.multinomial(logps.exp(), 1, generator=generator)[:, 0]
        gradient = softmax_score(logits, action) * reward[action][:, None]
        if coefficient:
            entropy = policies.softmax_entropy(logits)[:, None]
            gradient -= coefficient(update / updates) * logps.exp() * (logps + entropy)         # c ∇H
        logits = logits + lr * gradient
    return logits

# %% tags=["concept:overshooting-policy-collapse", "concept:gradient-ascent"]
def shares(logits):
    """Share of the runs that found the best arm (π > 0.9), and that are sure of a wrong one (π > 0.99)."""
    pi = logits.softmax(-1)
    return [(pi[:, 2] > 0.9).double().mean().item(), (pi[:, :2].amax(-1) > 0.99).double().mean().item()]

# %% tags=["concept:overshooting-policy-collapse", "concept:gradient-ascent"]
rates = [0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]
swept = torch.tensor([[shares(learn(lr, seed)) for seed in range(3)] for lr in rates])  # [lr, seed, 2]
for lr, (found, lost) in zip(rates, swept.mean(1).tolist()):
    print(f"α = {lr:<6} found the best arm {100 * found:3.0f} %, sure of a wrong one {100 * lost:3.0f} %")
found, lost = swept.unbind(-1)
assert found[1].max() < 0.01 and lost[:4].max() < 0.01          # too short: not there yet, nothing lost
assert found[3].min() > 0.97                                    # about right
assert lost[6].min() > 0.2 and lost[7].min() > 0.4              # too long

# %% tags=["concept:overshooting-policy-collapse"]
fig, ax = plots.figure(height=2.8)
ax.fill_between(rates, found.amin(1), found.amax(1), color=style.COLOR["reward"], alpha=0.25)
ax.semilogx(rates, found.mean(1), "o-", color=style.COLOR["reward"], label="found the best arm")
ax.semilogx(rates, lost.mean(1), "s--", color=style.COLOR["rejected"], label="sure of a wrong arm")
ax.set(xlabel="learning rate α", ylabel="share of runs", title="Too short is slow, too long is final")
ax.legend()
plots.show(plots.caption(fig, "Share of 1,500 runs against α, log axis: the best arm is found in "
    f"{100 * found[1].mean():.0f} % at 0.01, {100 * found[3].mean():.0f} % at 0.1, "
    f"{100 * found[7].mean():.0f} % at 10; "
    f"sure of a wrong arm are {100 * lost[3].mean():.0f} % at 0.1 and {100 * lost[7].mean():.0f} % at 10."))

# %% [markdown]
# Too small an $\alpha$ **undershoots**: 300 updates are not enough. Too large a one **overshoots**, and the policy **collapses**: often the first arm that pays takes
# everything, and nothing else is sampled any more. In supervised learning the next batch can correct a bad step. Here it comes *from the bad
# policy*. Take runs that got lost at $\alpha=10$ and go on with the good $\alpha=0.1$:

# %% tags=["concept:overshooting-policy-collapse"]
ruined = learn(10.0, seed=0)
ruined = ruined[ruined.softmax(-1)[:, :2].amax(-1) > 0.99]
slope = (ruined.softmax(-1) * (reward - expected(ruined)[:, None])).norm(dim=-1)     # of the exact gradient
later_on = learn(0.1, seed=1, updates=1000, start=ruined)
print(f"{len(ruined)} lost runs, longest exact gradient {slope.max():.0e};",
      f"{shares(later_on)[0]:.1%} found after 1,000 more updates")
assert slope.max() < 1e-3 and shares(later_on)[0] < 0.01

# %% [markdown]
# No length is safe, because length in $\theta$ says little about the change of the policy. Measure that change by the KL divergence,
# $\mathrm{KL}(\pi_{\text{old}}\|\pi_{\text{new}})=\sum_a\pi_{\text{old}}(a)\log\frac{\pi_{\text{old}}(a)}{\pi_{\text{new}}(a)}$ nats, which is 0 only where the two agree. The same step, twice each:

# %% tags=["concept:overshooting-policy-collapse"]
coin = torch.tensor([[0.0, 0.0], [4.0, 0.0]])        # certain to 50 % and to 98.2 %
raised = Softmax(coin + torch.tensor([1.0, 0.0])).kl(old=Softmax(coin))
stds = torch.tensor([[1.0], [0.01]])
shifted = torch.cat([Gaussian(torch.tensor([0.1]), s.log()).kl(old=Gaussian(torch.zeros(1), s.log()))[None]
                     for s in stds])
print("a logit raised by 1, at 50 % and at 98 %:", raised, "\na mean moved by 0.1, σ = 1 and 0.01:", shifted)
assert torch.allclose(raised, torch.tensor([0.12011, 0.00655]), atol=1e-5)
assert torch.allclose(shifted, torch.tensor([0.005, 50.0]))

# %% [markdown]
# As the policy grows sure, a logit's step shrinks from 0.12 to 0.007 nats, a mean's step grows from 0.005 to 50.
#
# ### The entropy bonus
#
# One remedy is to reward indecision: maximise $J+c\,H(\pi)$ with the entropy $H=-\sum_a\pi(a)\log\pi(a)$. For a bandit the optimum is known,
# $\pi\propto e^{r/c}$: never quite sure, and less sure the larger $c$. Climb the exact gradient:

# %% tags=["concept:entropy-bonus"]
def climb(c, start, steps=500):
    """Chances after exact ascent on J + c H from the given ones."""
    logits = start.log()
    for _ in range(steps):
        logits = logits.requires_grad_()
        slope, = torch.autograd.grad(expected(logits) + c * policies.softmax_entropy(logits), logits)
        logits = (logits + 0.5 * slope).detach()
    return logits.softmax(-1)

# %% tags=["concept:entropy-bonus"]
for c in (1.0, 2.0):
    print(f"c = {c}: climbed to", climb(c, policy), "closed form", (reward / c).softmax(-1))
    assert torch.allclose(climb(c, policy), (reward / c).softmax(-1), atol=1e-6)

# %% [markdown]
# What the optimum is worth, reward and bonus together, has a closed form as well: the **soft value** $c\log\sum_ae^{r_a/c}$. It tends to the maximum as $c\to0$. Put it in the place of
# the maximum in Bellman's optimality equation, and you have *maximum-entropy RL*; chapter 10 comes back to it.

# %% tags=["concept:maximum-entropy-rl"]
for c in (1.0, 0.1, 0.01):
    together = (reward / c).softmax(-1) @ reward + c * policies.softmax_entropy(reward / c)
    soft = c * (reward / c).logsumexp(-1)
    print(f"c = {c:4}: J + c H at its best {together:.4f}, soft value {soft:.4f}; largest reward 2")
    assert abs(together - soft) < 1e-9
assert abs(soft - reward.max()) < 1e-9

# %% [markdown]
# The bonus has a price: at $c=1$ the best arm gets 67 %. **Annealing** lowers $c$ to zero on the way: explore first, decide later. With the
# too long step $\alpha=1$ and the same 300 updates:

# %% tags=["concept:entropy-bonus"]
plans = {"no bonus": None, "c = 1": lambda share: 1.0,
         "c from 1 to 0": lambda share: max(0.0, 1.0 - share / 0.8)}
ended = {name: [learn(1.0, seed, coefficient=plan) for seed in range(3)] for name, plan in plans.items()}
found = {name: [shares(logits)[0] for logits in three] for name, three in ended.items()}
for name, three in ended.items():
    earned = torch.stack([expected(logits).mean() for logits in three]).mean()
    percent = [f"{100 * share:.0f} %" for share in found[name]]
    print(f"{name:14} best arm found in", percent, f"mean reward {earned:.2f}")
assert min(found["c from 1 to 0"]) > 0.95 > max(found["no bonus"]) and max(found["c = 1"]) < 0.01

# %% [markdown]
# Annealed, nearly all runs decide for the best arm; without a bonus about one in twelve is lost. A bonus that stays never decides.
#
# ### Old data
#
# Samples are dear. Why not use the replies of an *older* policy again? They follow the wrong distribution. The correction is
# a **weight** $\rho=\pi(y)/\pi_{\text{old}}(y)$ on each reply $y$. It makes the estimate unbiased, and noisy where $\rho$ is large. **Truncating** it at a limit, $\min(\rho,\text{limit})$, gives up some of
# the correction for less noise. Smallest example: two actions pay 0 and 1, the policy tosses a fair coin, the data took the second with 10 %.

# %% tags=["concept:truncated-importance-sampling"]
new, old, pays = torch.tensor([0.5, 0.5]), torch.tensor([0.9, 0.1]), torch.tensor([0.0, 1.0])
for name, limit in (("all of ρ", 100.0), ("min(ρ, 2)", 2.0)):
    each = truncated_ratio(new.log(), old.log(), limit) * pays
    mean = old @ each
    variance = old @ (each - mean) ** 2
    print(f"{name:10} mean {mean:.2f} (true 0.50), variance {variance:.2f}")
    wanted = [0.5, 2.25] if limit > 2 else [0.2, 0.36]
    assert torch.allclose(torch.stack([mean, variance]), torch.tensor(wanted))

# %% [markdown]
# Now the gradient of the half-way policy from all replies of the *reference*.
# Bias is the length of the mean's error over the length of the gradient.

# %% tags=["concept:truncated-importance-sampling"]
old_logps, new_logps = world.logps(reference), world.logps(half_way)
wanted = world.exact_gradient(half_way)

def replayed(weight):
    """Bias (share of the length) and variance of the half-way gradient from the reference's replies."""
    mean, variance = mean_and_variance(half_way, weight[..., None] * full, drawn_from=reference)
    return ((mean - wanted).norm() / wanted.norm()).item(), variance

# %% tags=["concept:truncated-importance-sampling"]
limits = [0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0]
none = replayed(torch.ones(3, 781))
cut = torch.tensor([replayed(truncated_ratio(new_logps, old_logps, limit)) for limit in limits])
told = {"no weight": none, "min(ρ, 1)": cut[3], "min(ρ, 2)": cut[5], "all of ρ": cut[-1]}
for name, (bias, variance) in told.items():
    print(f"{name:10} bias {bias:.3f}, variance {variance:.3f}")
assert (new_logps - old_logps).exp().max() < 4                  # so the limit 4 cuts nothing
assert none[0] > 0.8 and cut[-1, 0] < 1e-9 and 0.1 < cut[5, 0] < cut[3, 0] < none[0]
assert (cut.diff(dim=0)[:, 0] <= 1e-12).all() and cut[5, 1] < cut[-1, 1] < none[1]

# %% tags=["concept:truncated-importance-sampling"]
fig, ax = plots.figure(height=2.8)
ax.plot(limits, cut[:, 0], "o-", color=style.COLOR["rejected"], label="bias / gradient")
ax.plot(limits, cut[:, 1], "s--", color=style.COLOR["policy"], label="total variance")
ax.axhline(none[0], color=style.COLOR["rejected"], linewidth=0.9, linestyle=":", label="bias without weights")
ax.set(xlabel="limit of the weight min(ρ, limit)", ylabel="bias, variance",
       title="A lower limit trades noise for bias")
ax.legend()
plots.show(plots.caption(fig, "Bias and variance of the gradient from old replies against the limit: "
    f"bias {cut[0, 0]:.2f} at 0.1, {cut[3, 0]:.2f} at 1, {cut[-1, 0]:.2f} at 4; "
    f"variance {cut[0, 1]:.2f}, {cut[3, 1]:.2f}, {cut[-1, 1]:.2f}. "
    f"Without weights the bias is {none[0]:.2f} and the variance {none[1]:.2f}."))

# %% [markdown]
# Without weights the gradient is off by almost its own length, with the full weight by nothing, with a limit by something in between; the lower the
# limit, the less the noise. Here no weight exceeds 4, and the full weight is affordable; the farther two policies part, the more a limit is worth. (Keeping only the *best* old replies
# repairs nothing: it imitates the winners, a fair method with another objective, chapter 12.)
#
# ### Why not learn values, and take the best?
#
# *DQN* (chapter 02) is Q-learning with a network: its target is $r+\gamma\max_{a'}Q(s',a')$. Why do language models not learn that way? Two
# measurements on a bandit whose actions are the tokens of a vocabulary. One token pays 1. A pretrained model gives
# probabilities proportional to $1/\text{rank}$; the right token has rank 5. First: the expected tries until a table has seen the right token pay, or until the policy takes it
# with 90 %. (Only a success changes the policy, and with chance $x$ it takes $1/x$ tries.)

# %% tags=["concept:dqn-vs-policy-gradient"]
def tries(V, lr=2.0):
    """Expected tries: a table from scratch, one that explores with the model, a policy from the model."""
    logits, right, needed = (1 / torch.arange(1.0, V + 1)).log(), torch.tensor(4), 0.0
    explores = 1 / logits.softmax(-1)[right]
    while (chance := logits.softmax(-1)[right]) < 0.9:
        needed = needed + 1 / chance                 # until the next success; failures change nothing
        logits = logits + lr * softmax_score(logits, right)
    return [float(V), explores.item(), needed.item()]      # all values 0: from scratch any token will do

# %% tags=["concept:dqn-vs-policy-gradient"]
sizes = [10, 100, 1000, 10_000]
counted = torch.tensor([tries(V) for V in sizes])
for V, (scratch, explores, learns) in zip(sizes, counted.tolist()):
    print(f"{V:6,} tokens: values {scratch:6,.0f}, exploring with the model {explores:3.0f},",
          f"policy {learns:3.0f}")
growth = counted[3] / counted[0]
assert growth[0] == 1000 and growth[1:].max() < 5 and counted[3, 1:].max() < 100

# %% [markdown]
# From scratch a table needs as many tries as there are tokens; with the model they grow like the logarithm. The middle column is the control:
# what saves tries is the *pretrained model*, not the gradient. But the model *is* a policy, and no table of
# values. Second: all tokens are worth 0, each value is estimated with an error of standard deviation 1:

# %% tags=["concept:dqn-vs-policy-gradient"]
generator = torch.Generator().manual_seed(0)
for V in sizes:
    errors = torch.randn(400, V, generator=generator)          # 400 tables of estimated values
    prior = (1 / torch.arange(1.0, V + 1)).log().softmax(-1)
    largest, average = errors.amax(-1).mean(), (errors @ prior).mean().item()
    print(f"{V:6,} tokens: max of the estimates {largest:.2f}, mean under the policy {average:z.2f}")
    assert abs(average) < 0.1
assert 3.7 < errors.amax(-1).mean() < 4.0

# %% [markdown]
# The maximum picks the luckiest error; the more tokens, the luckier. A target with a max hands it on from token to token; an
# average under the policy stays at 0. Methods exist that tame the max. RLHF improves the policy it has.

# %% [markdown]
# ## Exercises
#
# **1 · The rare action.** *★★☆ · 10 minutes.* Two actions. The policy takes the first with 0.9; it pays 1, the other 0. Which constant baseline gives the least total variance?
# By pencil: the squared lengths of the two scores are $2\cdot0.1^2$ and $2\cdot0.9^2$.

# %% tags=["exercise"]
best_constant = ...

# %%
check.answer(
    best_constant, 0.1, atol=1e-3, mistakes={
    "took the mean reward": 0.9, "did not weigh with the chances": 0.0122, "did not square the lengths": 0.5})

# %% [markdown]
# <details><summary>Hint</summary>
#
# $b^*=\frac{\sum_a\pi(a)\,\|\text{score}_a\|^2\,r_a}{\sum_a\pi(a)\,\|\text{score}_a\|^2}$, and only one reward is not zero.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# best_constant = 0.9 * 2 * 0.1**2 / (0.9 * 2 * 0.1**2 + 0.1 * 2 * 0.9**2)
# ```
# $0.018/0.18=0.1$, far from the mean reward of 0.9: the rare action moves the logits nine times as far. With it both actions give the
# *same* estimate: no noise at all.
# </details>

# %% tags=["concept:baseline"]
lopsided = torch.tensor([0.9, 0.1])
two_scores = softmax_score(lopsided.log().expand(2, 2), torch.arange(2))
two_estimates = two_scores * (torch.tensor([1.0, 0.0]) - 0.1)[:, None]
assert torch.allclose(two_estimates[0], two_estimates[1])
assert torch.allclose(two_estimates[0], lopsided * (torch.tensor([1.0, 0.0]) - 0.9))

# %% [markdown]
# **2 · How many replies?** *★★☆ · 5 minutes.* In the phrase world, how many replies must you average until the noise (the root of the total variance of the average) of
# the estimator with $V(\text{prefix})$ is as long as the exact gradient? Use `variances["V(prefix)"]`, for one reply, and `exact`.

# %% tags=["exercise"]
replies_needed = ...

# %%
squared_length = exact.square().sum().item()
check.answer(
    replies_needed, variances["V(prefix)"] / squared_length, atol=1.0, mistakes={
    "took plain REINFORCE": variances["plain"] / squared_length,
    "did not square the gradient": variances["V(prefix)"] / squared_length**0.5})

# %% [markdown]
# <details><summary>Hint</summary>
#
# The variance of a mean of $n$ is $1/n$ of the variance of one. Set it equal to the squared length of the gradient.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# replies_needed = variances["V(prefix)"] / exact.square().sum().item()
# ```
# 52 and a little, so 53; plain REINFORCE needs 95.
# </details>

# %%
assert 52 < variances["V(prefix)"] / squared_length < 53
assert 94 < variances["plain"] / squared_length < 95

# %% [markdown]
# ## Clinic: three statements that circulate
#
# Each is wrong. Find the flaw *before* you read the verdict.
#
# **1.** *"With rewards-to-go:* $\hat g=\frac1N\sum_i\big(\sum_t\nabla\log\pi(a_{i,t}\mid s_{i,t})\big)\big(\sum_{t'=t}^{T-1}r_{i,t'}\big)$*."* Which $t$ does the second bracket mean?
# Read it as the first step, then as the last, in the world of two random steps.

# %% tags=["concept:rewards-to-go"]
readings = {"t = first": lambda r0, r1: (r0 + r1, r0 + r1), "t = last": lambda r0, r1: (r1, r1),
            "bracket in place": lambda r0, r1: (r0 + r1, r1)}
for name, weigh in readings.items():
    mean, variance = two_steps(weigh)
    worst = (mean - true).abs().max()
    print(f"{name:17} largest error of the mean {worst:.4f}, total variance {variance:.4f}")

# %%
assert two_steps(readings["t = first"])[1] == plain
assert (two_steps(readings["t = last"])[0] - true).abs().max() > 0.05
assert (two_steps(readings["bracket in place"])[0] - true).abs().max() < 1e-12

# %% [markdown]
# **Verdict.** The sum over $t'$ stands outside the sum over $t$, so its $t$ is nobody's. Read as the first step it is the full return: unbiased, nothing
# saved. Read as the last it is biased. It belongs inside: $\sum_t\big(\nabla\log\pi(a_t\mid s_t)\sum_{t'\ge t}r_{t'}\big)$. So do $-b(s_t)$ and $A(s_t,a_t)$.
#
# **2.** *"The transition drops out of $\nabla\log P(\tau)$ because the next state is determined by state and action."* One decision: action 1 (chance 0.3) leads to a room that
# pays 4 with chance 0.9, action 0 with chance 0.2.

# %% tags=["concept:policy-gradient-theorem"]
act, arrive = torch.tensor([0.7, 0.3]), torch.tensor([0.2, 0.9])
one_score = torch.tensor([-0.3, 0.7])                # ∂ log π / ∂ logit of action 1
by_reinforce_alone = (act * one_score * arrive * 4).sum()        # all outcomes; 0 where not arrived
by_derivative = 0.3 * 0.7 * 4 * (0.9 - 0.2)          # ∂π/∂logit times the difference in value
generator = torch.Generator().manual_seed(0)
a = torch.multinomial(act, 400_000, replacement=True, generator=generator)
arrived = torch.rand(400_000, generator=generator) < arrive[a]
sampled = (one_score[a] * 4 * arrived).mean()
print(f"REINFORCE {by_reinforce_alone:.4f}, sampled {sampled:.3f}, derivative of J {by_derivative:.4f}")
assert abs(by_reinforce_alone - by_derivative) < 1e-12 and abs(sampled - by_derivative) < 0.01

# %% [markdown]
# **Verdict.** The next room is a matter of luck, and REINFORCE is right all the same. The transition drops out because it **does not depend on $\theta$**. So
# the method works where a user answers at random.
#
# **3.** *"Total loss: policy loss plus $c_1$ value loss plus $c_2$ entropy."* A policy that leans towards the worst arm, $(0.8,0.15,0.05)$, climbs its exact
# gradient with $c=1$. Adding the entropy to a loss is $c=-1$:

# %% tags=["concept:entropy-bonus"]
leaning = torch.tensor([0.8, 0.15, 0.05])
kinds = {"objective + H": 1.0, "no bonus": 0.0, "loss + H": -1.0}
ends = {name: climb(c, leaning) for name, c in kinds.items()}
for name, pi_end in ends.items():
    left_over = policies.softmax_entropy(pi_end.log())
    print(f"{name:14}", pi_end, f"J {pi_end @ reward:.3f}, entropy {left_over:.3f}")
assert torch.allclose(ends["objective + H"], reward.softmax(-1), atol=1e-6)
assert ends["no bonus"][2] > 0.95 and ends["loss + H"][0] > 0.95

# %% [markdown]
# **Verdict.** The entropy belongs to what is *maximised*, so it enters a loss with a minus: $L=L_{\text{policy}}+c_1L_{\text{value}}-c_2H$. Added, it punishes indecision, and the
# policy runs to the arm that it happens to prefer, the worst. Without any bonus it finds the best.
#
# ## Summary
#
# | symbol | what it is | function | where |
# |---|---|---|---|
# | $\nabla_\theta\log\pi$ | score: done minus usually done | `policies.softmax_score`, `policies.gaussian_score` | [score](#The-score-of-a-softmax) |
# | $\mathbb E[\sum_t\nabla\log\pi(a_t\mid s_t)\Psi_t]$ | policy gradient | `policy_gradient.score_function_loss` | [the rules drop out](#The-policy-gradient:-the-rules-drop-out) |
# | $\sum_{t'\ge t}r_{t'}$ | rewards-to-go | `returns.discounted_returns` | [rewards-to-go](#Rewards-to-go) |
# | $b(s)$ | baseline: same mean, other variance | `policy_gradient.optimal_baseline`, `policy_gradient.leave_one_out` | [baseline](#A-baseline) |
# | $\hat A_t=\hat R_t-V_\phi(s_t)$ | advantage from a learned critic | `loops.actor_critic` | [actor–critic](#Actor–critic:-learn-the-baseline) |
# | $c\,H(\pi)$ | entropy bonus, *added* to what is maximised | `policies.softmax_entropy` | [entropy](#The-entropy-bonus) |
# | $\min(\rho,\text{limit})$ | truncated weight of old data | `trust_region.truncated_ratio` | [old data](#Old-data) |
#
# ## Quiz

# %%
check.quiz(
    "Every reward is multiplied by 10, and the learning rate of gradient ascent stays. What happens?",
    ["Nothing, the best policy is the same", "The steps are ten times as long", "The gradient turns"], answer=1,
    why="The gradient scales with the rewards. A step ten times as long may be the one that cannot be taken back.")

# %%
check.quiz(
    "Which of these may a baseline look at, if the gradient is to stay unbiased?",
    ["The state, but not the action", "The action, but not the state", "The reward of the same step"], answer=0,
    why="Given the state, the mean score is zero, and so is any number times it. A number that varies with the action "
        "(or with its reward) takes part of the gradient away.")

# %%
check.quiz(
    "Your policy's entropy has fallen to 0.01 and the reward is poor. Will a smaller learning rate help?",
    ["Yes, it overshot", "Hardly: it no longer samples anything else", "Only with a larger batch"], answer=1,
    why="The gradient and the data have both gone. Go back to an earlier policy; next time take shorter steps, "
        "an entropy bonus, or a trust region (chapter 05).")

# %%
check.quiz(
    "The loss of REINFORCE falls from 0.4 to 0.1 during training. What do you know?",
    ["The policy has improved", "The critic fits", "Nothing"], answer=2,
    why="Only the gradient of that loss means something. Look at the return of fresh episodes.")

# %% [markdown]
# ## Sources
#
# - Williams 1992: REINFORCE, baselines, the Gaussian score. Glynn 1990: the score-function estimator.
# - Sutton, McAllester, Singh & Mansour 2000: the policy-gradient theorem. Sutton & Barto 2018, chapter 13: example 13.1, softmax and Gaussian policies.
# - Weaver & Tao 2001; Greensmith, Bartlett & Baxter 2004: variance and the optimal baseline.
# - Kool, van Hoof & Welling 2019; Ahmadian et al. 2024, arXiv:2402.14740: leave one out. Hoeffding 1948: means over pairs.
# - Konda & Tsitsiklis 2000: actor–critic. Mnih et al. 2016, arXiv:1602.01783: A3C. Mnih et al. 2013, arXiv:1312.5602: DQN.
# - Williams & Peng 1991: the entropy bonus. Kakade 2001; Kakade & Langford 2002: measure a step on the policy.
# - Kahn & Marshall 1953; Ionides 2008; Espeholt et al. 2018, arXiv:1802.01561: importance weights, and truncating them.
#
# Next: chapter 04, estimating the advantage.
