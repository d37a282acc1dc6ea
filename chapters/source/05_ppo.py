# ---
# jupyter:
#   course:
#     number: 5
#     slug: ppo
#     title: Trust regions and PPO
#     question: "How far may one step go?"
#     modules: [trust_region, policies, mpo, loops]
#     explorer: the policy simplex, and clipping
#     read: 75
#     run: 65
# ---

# %% [markdown]
# # 05 · Trust regions and PPO
#
# **How far may one step go?**
#
# After this chapter you can
#
# - measure how much a *policy* has changed, and say why the length of the parameter step does not tell;
# - take the natural gradient step of a given KL, and say what TRPO adds to it;
# - write PPO's clipped loss, name the two cases out of six in which it stops pulling, and get every sign of the full loss right;
# - show what clipping does *not* promise, with numbers.
#
# **Needs** [chapter 01](01_mdp.ipynb): values and advantages; [chapter 03](03_policy_gradient.ipynb): the policy gradient; [chapter 04](04_gae.ipynb): GAE. **Minutes** 75 to read and do, under 2 to run.

# %%
import math

import torch

from rlcore import check, mdp, mpo, policies, trust_region
from rlcore.mdp import MDP
from rlcore.view import plots, style
from rlcore.view.explore import clip, explore, simplex
from rlcore.worlds import gridworld

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.set_printoptions(precision=4, sci_mode=False, linewidth=110)

# %% [markdown]
# ## Before you run
#
# Three arms, each pulled with chance ⅓; the first is better than average. You take **one** gradient step of size 2 on PPO's loss, clipped at 1.2. How many
# times as likely is the first arm now: less than 1.2, exactly 1.2, or more? Write it down.

# %% [markdown]
# ## The smallest example, by hand
#
# A policy draws a number from a normal distribution with mean $\mu$ and width $\sigma$. Move $\mu$ by 0.1. Has the policy changed much?
# The **Kullback–Leibler divergence** measures it: the mean log-ratio of two probabilities (or densities), where the first one draws.
# $$\mathrm{KL}(P\Vert Q)=\mathbb E_{x\sim P}\Big[\log\frac{P(x)}{Q(x)}\Big]\ge 0,\qquad
# \mathrm{KL}\big(\mathcal N(\mu,\sigma^2)\Vert\mathcal N(\mu+\delta,\sigma^2)\big)=\frac{\delta^2}{2\sigma^2}.$$
#
# By pencil: $0.1^2/2=0.005$ nats at $\sigma=1$, and $50$ at $\sigma=0.01$. The step is the same; one policy hardly noticed, the other has moved ten widths
# away. Softmax policies are no different: raise one logit of two by 1.

# %% tags=["concept:kl-divergence"]
def kl(old, new):
    """KL(old‖new) of log-probabilities over the last axis, in nats."""
    return (old.exp() * (old - new)).sum(-1)

# %% tags=["concept:kl-divergence"]
for logit in (0.0, 4.0):
    before, after = (torch.tensor([x, 0.0]).log_softmax(-1) for x in (logit, logit + 1))
    print(f"π {before[0].exp():.3f} → {after[0].exp():.3f}: KL {kl(before, after):.5f}")
    assert abs(kl(before, after) - (0.12011 if logit == 0 else 0.00655)) < 1e-5

# %% [markdown]
# ![Four policies before and after the same parameter step: two barely move, two change](../figures/05_same_step.svg)
#
# So the ruler for a policy is the KL, not the length of the parameter step.
#
# ### Both directions
#
# The KL is no distance: swap the two and it changes. Who draws matters.

# %% tags=["concept:kl-divergence"]
even, skewed = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.9, 0.1]).log()
print(f"KL(even‖skewed) {kl(even, skewed):.4f}, KL(skewed‖even) {kl(skewed, even):.4f}")
assert abs(kl(even, skewed) - 0.5108) < 1e-4 and abs(kl(skewed, even) - 0.3681) < 1e-4
assert abs(kl(skewed, skewed.flip(0)) - 1.7578) < 1e-4                  # 90/10 against 10/90

# %% [markdown]
# It matters most when you *fit*. Search for the single normal $Q$ nearest to a target of two humps, once each way.

# %% tags=["concept:kl-divergence"]
x = torch.linspace(-6, 6, 241)

def normal(mean, std):
    return (-((x - mean) ** 2) / (2 * std**2)).log_softmax(-1)           # log-probabilities on the grid

target = (0.6 * normal(-2.0, 0.7).exp() + 0.4 * normal(2.0, 0.7).exp()).log()
means, stds = torch.meshgrid(torch.linspace(-4, 4, 81), torch.linspace(0.3, 3, 55), indexing="ij")
fits = normal(means[..., None], stds[..., None])                         # [means, stds, x]
covering, seeking = kl(target, fits).argmin(), kl(fits, target).argmin()
for name, found in (("KL(target‖Q)", covering), ("KL(Q‖target)", seeking)):
    print(f"smallest {name}: mean {means.flatten()[found]:.1f}, width {stds.flatten()[found]:.2f}")

# %% tags=["concept:kl-divergence"]
mean = (target.exp() * x).sum()                                          # of the target itself
width = ((target.exp() * (x - mean) ** 2).sum()).sqrt()
assert abs(means.flatten()[covering] - mean) < 0.1 and abs(stds.flatten()[covering] - width) < 0.1
assert abs(means.flatten()[seeking] + 2) < 0.1 and abs(stds.flatten()[seeking] - 0.7) < 0.05

# %% tags=["concept:kl-divergence"]
fig, ax = plots.figure(height=2.6)
ax.plot(x, target.exp(), color=style.COLOR["exact"], linewidth=0.9, label="target")
ax.plot(x, fits.flatten(0, 1)[covering].exp(), "--", color=style.COLOR["value"], label="least KL(target‖Q)")
ax.plot(x, fits.flatten(0, 1)[seeking].exp(), ":", color=style.COLOR["policy"], label="least KL(Q‖target)")
ax.set(xlabel="x", ylabel="probability per grid point")
ax.set_title("One way covers both humps, the other settles on one")
ax.legend()
plots.show(plots.caption(fig, "A target of two humps at −2 and 2 and two fits: where the target draws, the "
    f"least KL has mean {plots.number(mean.item(), 1)} and width {width:.1f}, those of the whole target; "
    "where Q draws, it settles on the hump at −2."))

# %% [markdown]
# $\mathrm{KL}(\text{target}\Vert Q)$ punishes $Q$ for being small where the target is not: it **covers**. $\mathrm{KL}(Q\Vert\text{target})$ punishes $Q$ for
# going where the target does not: it **seeks one mode**. TRPO and PPO measure $\mathrm{KL}(\pi_{\text{old}}\Vert\pi)$, since the old policy drew the data.

# %% [markdown]
# ## The Fisher matrix: KL of a small step
#
# The KL of a parameter step $\Delta$ is 0 at $\Delta=0$ and never below, so its first derivative is 0, too. What remains is a
# parabola; its matrix is the **Fisher information**, the covariance of the score:
# $$\mathrm{KL}(\pi_\theta\Vert\pi_{\theta+\Delta})=\tfrac12\,\Delta^\top F\,\Delta+O(\lVert\Delta\rVert^3),\qquad F=\mathbb E_\pi\big[\nabla\log\pi\,\nabla\log\pi^\top\big].$$
# (One reads that the second order may be neglected. Of the *objective*, yes, and the methods below do so; of the KL it is all there is.)
# For softmax logits $F=\mathrm{diag}(\pi)-\pi\pi^\top$. Three ways to get it: closed form, covariance, second derivative of the KL.

# %% tags=["concept:fisher-information"]
policy = torch.tensor([0.5, 0.3, 0.2])                                   # π, three arms
logits = policy.log()

# %% tags=["concept:fisher-information"]
fisher = policies.softmax_fisher(logits)
scores = policies.softmax_score(logits.expand(3, 3), torch.arange(3))    # of each arm, [A, A]
covariance = torch.einsum("a,ai,aj->ij", policy, scores, scores)
second = torch.autograd.functional.hessian(lambda new: kl(logits, new.log_softmax(-1)), logits)
print(fisher, "\neigenvalues", torch.linalg.eigvalsh(fisher).abs())
assert torch.allclose(fisher, covariance) and torch.allclose(fisher, second)

# %% [markdown]
# One eigenvalue is 0: adding the same number to all logits changes no policy. Now shrink a step: the KL falls like the square, the parabola's error like the cube.

# %% tags=["concept:fisher-information"]
direction = torch.tensor([1.0, -0.5, 0.2])
sizes = torch.tensor([1.0, 0.1, 0.01, 0.001])
real = torch.stack([kl(logits, (logits + size * direction).log_softmax(-1)) for size in sizes])
parabola = sizes**2 * (direction @ fisher @ direction) / 2
errors = (real - parabola).abs()

# %% tags=["concept:fisher-information"]
for size, exact, near, error in zip(sizes, real, parabola, errors):
    print(f"step {size:5.3f}: KL {exact:.3e}, ½ΔᵀFΔ {near:.3e}, error {error:.0e}")
assert ((errors[1:3] / errors[:2]).log10() < -2.7).all()                 # 1000 times smaller, and 100 times:
assert ((real[1:] / real[:-1]).log10() + 2).abs().max() < 0.1

# %% [markdown]
# For a normal policy in $(\mu,\log\sigma)$ it is $F=\mathrm{diag}(1/\sigma^2,2)$, which gives back the 0.005 and 50 from above.

# %% tags=["concept:fisher-information"]
for std, pencil in ((1.0, 0.005), (0.01, 50.0)):
    gaussian = policies.gaussian_fisher(torch.tensor([std]).log())
    step = torch.tensor([0.1, 0.0])                                      # μ moves, log σ stays
    assert abs(step @ gaussian @ step / 2 - pencil) < 1e-9 * pencil

# %% [markdown]
# ## The natural gradient
#
# The gradient $g$ of the expected reward $J$ is the direction of steepest ascent *per parameter length*. Measure by KL instead: among all steps with
# $½\Delta^\top F\Delta=\delta$, which climbs most? It is
# $$\Delta=\sqrt{\frac{2\delta}{g^\top F^{-1}g}}\;F^{-1}g .$$
# The root is a **dynamic step size**: it makes every step as long as $\delta$ allows. With rewards $(0,1,2)$ for the three arms:

# %% tags=["concept:natural-policy-gradient"]
rewards = torch.tensor([0.0, 1.0, 2.0])

def value(policy):
    return (policy * rewards).sum(-1)                                    # J, the expected reward

# %% tags=["concept:natural-policy-gradient"]
gradient = policy * (rewards - value(policy))                            # of J, by the logits
natural = torch.linalg.pinv(fisher) @ gradient                           # F is singular: shortest solution
print("gradient ", gradient, "\nnatural  ", natural.round(decimals=9) + 0.0)
assert torch.allclose(gradient, torch.tensor([-0.35, 0.09, 0.26])) and torch.allclose(natural, rewards - 1)

# %% [markdown]
# The natural gradient is $(-1,0,1)$: the **advantages**, up to a constant. The plain gradient multiplies each by its probability, so it hardly lifts a good arm
# that is rarely tried; the natural gradient lifts it by what it is worth. A step of size $\alpha$ gives $\pi'\propto\pi\,e^{\alpha A}$. With $\alpha=0.7$:

# %% tags=["concept:natural-policy-gradient"]
after = (logits + 0.7 * natural).softmax(-1)
weighted = policy * (0.7 * (rewards - value(policy))).exp()
print(after)
assert torch.allclose(after, weighted / weighted.sum())
assert (after - torch.tensor([0.261074, 0.315443, 0.423483])).abs().max() < 1e-6

# %% [markdown]
# In a network $F$ has a row for every weight, too many to store. But $F^{-1}g$ is the $x$ that solves $Fx=g$, and **conjugate gradient** solves it with
# products $Fv$ alone: each step goes along a new direction, chosen so that it does not spoil what the earlier ones have solved.
#
# ### Write it: `conjugate_gradient`
#
# *Difficulty ★★★ · importance ★★☆ · 15 minutes.* Begin with $x=0$; what is left is $b$, and so is the direction $p$. Repeat at most `steps` times, and stop when $\lVert\text{left}\rVert\le$ `tol`
# $\lVert b\rVert$: stride $=\frac{\text{left}^\top\text{left}}{p^\top Fp}$; $x$ grows by stride · $p$, left shrinks by stride · $Fp$; the new direction is the new
# left plus $p$ times (new left² / old left²). `product(v)` gives $Fv$.

# %% tags=["exercise"]
@check.exercise(trust_region.conjugate_gradient)
def conjugate_gradient(product, b, steps, tol):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# `left @ left` is the squared norm. Compute `product(direction)` once per step: in a network it is what costs.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def conjugate_gradient(product, b, steps, tol):
#     x, left, direction = torch.zeros_like(b), b, b
#     for _ in range(steps):
#         squared = left @ left
#         if squared.sqrt() <= tol * b.norm():
#             break
#         moved = product(direction)
#         stride = squared / (direction @ moved)
#         x, left = x + stride * direction, left - stride * moved
#         direction = left + (left @ left / squared) * direction
#     return x
# ```
# </details>
#
# ### Use it: at most as many steps as F has rank

# %% tags=["concept:conjugate-gradient"]
for steps in (1, 2):
    solved = conjugate_gradient(lambda v: fisher @ v, gradient, steps, 1e-12)
    left = (fisher @ solved - gradient).norm()
    print(f"{steps} step(s): x = {solved.round(decimals=9) + 0.0}, left of g: {left:.4f}")
assert torch.allclose(solved, natural) and torch.linalg.matrix_rank(fisher) == 2

# %% [markdown]
# Three arms, rank 2, two steps. And $Fv$ comes without $F$: it is the derivative of (derivative of the KL, times $v$).

# %% tags=["concept:conjugate-gradient", "concept:fisher-information"]
def fisher_product(v):
    """F v by differentiating KL(old‖new) twice, at new = old."""
    new = logits.clone().requires_grad_()
    (slope,) = torch.autograd.grad(kl(logits, new.log_softmax(-1)), new, create_graph=True)
    return torch.autograd.grad(slope @ v, new)[0]

# %% tags=["concept:conjugate-gradient"]
assert torch.allclose(fisher_product(direction), fisher @ direction)
assert torch.allclose(conjugate_gradient(fisher_product, gradient, 2, 1e-12), natural)

# %% [markdown]
# ### Write it: `natural_step`
#
# *Difficulty ★★☆ · importance ★★★ · 10 minutes.* The formula with the root. Solve with your `conjugate_gradient`.

# %% tags=["exercise"]
@check.exercise(trust_region.natural_step)
def natural_step(gradient, fisher_product, max_kl, steps=10, tol=1e-10):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# With $x=F^{-1}g$ the denominator $g^\top F^{-1}g$ is $x^\top Fx$.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def natural_step(gradient, fisher_product, max_kl, steps=10, tol=1e-10):
#     x = conjugate_gradient(fisher_product, gradient, steps, tol)
#     return (2 * max_kl / (x @ fisher_product(x))).sqrt() * x
# ```
# </details>
#
# ### Use it: a KL of your choice

# %% tags=["concept:natural-policy-gradient", "concept:trpo"]
for max_kl, wanted in ((0.1, 0.106283), (0.01, 0.010253), (0.001, 0.001008)):
    moved = (logits + natural_step(gradient, fisher_product, max_kl)).log_softmax(-1)
    reached = kl(logits, moved)
    print(f"asked for {max_kl:5}: KL {reached:.6f}, J {value(policy):.4f} → {value(moved.exp()):.4f}")
    assert abs(reached - wanted) < 1e-6

# %% [markdown]
# Off by 6 %, 2.5 %, 0.8 %: the smaller the step, the better the parabola.
#
# ### Why it is called natural
#
# Describe the same policies by other parameters, $\text{logits}=M\varphi$ with any invertible $M$. A plain gradient step of the same size now leads to another
# policy; the natural step leads to the same one.

# %% tags=["concept:natural-policy-gradient"]
m = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.2]])
g_phi, f_phi = m.T @ gradient, m.T @ fisher @ m                          # chain rule
plain = [(logits + gradient).softmax(-1), (logits + m @ g_phi).softmax(-1)]

# %% tags=["concept:natural-policy-gradient"]
step_phi = natural_step(g_phi, lambda v: f_phi @ v, 0.01)
turned = (logits + m @ step_phi).softmax(-1)
same = (logits + natural_step(gradient, fisher_product, 0.01)).softmax(-1)
print("plain  ", *plain, "\nnatural", same, turned)
assert torch.allclose(same, turned) and (plain[0] - plain[1]).abs().max() > 0.05

# %% [markdown]
# ## Explorer: three steps on the simplex
#
# A policy over three arms is a point in a triangle; each corner is one arm for certain, with its reward. The thick ring is at the allowed KL from the present
# policy (black), the dashed ones at 4, 16 and 64 times that. Three ways lead away: the plain gradient step, the natural step, and forty passes of PPO, explained
# below. Right: what each gains for its KL; the thin line is the most that can be had.

# %% tags=["concept:natural-policy-gradient"]
explore(simplex.draw, **simplex.controls())

# %% [markdown]
# **Try it.** Set *skew* to 0, then to its largest value. What happens to the rings, and to the length of the plain step? Which steps stay near their ring?
#
# <details><summary>What you should see</summary>
#
# At skew 0 the rings are nearly circles and all steps point the same way. In a corner the rings are flat, and the plain step barely moves: the good arm is
# hardly tried and gets little gradient. The natural step reaches its ring, and in the corner overshoots it by a third: there the parabola is too flat. PPO goes
# the plain gradient's way; what ends it is the ratio, not the KL.
# </details>

# %% tags=["concept:natural-policy-gradient"]
middle, corner = (simplex.steps(skew, max_kl=0.05, lr=3.0) for skew in (0.0, 2.0))
assert corner.kl("plain") < middle.kl("plain") / 10
assert abs(middle.kl("natural") / 0.05 - 1) < 0.02 and 1.3 < corner.kl("natural") / 0.05 < 1.4

# %% [markdown]
# ## A limit or a price
#
# A limit, $\mathrm{KL}\le\delta$, can be turned into a price: $\max_\pi J(\pi)-\beta\,\mathrm{KL}(\pi_{\text{old}}\Vert\pi)$, the **Lagrangian** of the problem, with
# $\beta$ in reward per nat. Search all policies on a fine triangle, once with limits and once with prices.

# %% tags=["concept:kl-lagrangian"]
count = 300
first, second = torch.meshgrid(torch.arange(1, count), torch.arange(1, count), indexing="ij")
inside = first + second < count
grid = torch.stack([first[inside], second[inside], count - (first + second)[inside]], -1) / count   # [N, 3]
spent, earned = kl(logits, grid.log()), value(grid)

# %% tags=["concept:kl-lagrangian"]
limits = torch.tensor([0.01, 0.03, 0.1, 0.3, 0.6])
by_limit = torch.stack([earned[spent <= limit].max() for limit in limits])
prices = torch.logspace(-1, 1, 25)
by_price = torch.stack([(earned - price * spent).argmax() for price in prices])
best = torch.stack([earned[spent <= spent[chosen]].max() for chosen in by_price])
assert torch.equal(best, earned[by_price])           # no policy of the same KL or less earns more

# %% tags=["concept:kl-lagrangian"]
fig, ax = plots.figure(height=2.6)
ax.plot(spent[by_price], earned[by_price], "o", color=style.COLOR["policy"], label="a price β on KL")
ax.plot(limits, by_limit, "x", color=style.COLOR["rejected"], label="a limit δ on KL")
ax.set(xlabel="KL(old‖new) spent (nats)", ylabel="expected reward J")
ax.set_title("Prices and limits lie on one curve")
ax.legend()
plots.show(plots.caption(fig, "Expected reward against KL for 25 prices, from "
    f"{prices[-1]:.0f} down to {prices[0]:.1f}, and 5 limits: all on one rising curve, "
    f"from {earned[by_price].min():.2f} to {earned[by_price].max():.2f}."))

# %% [markdown]
# Both trace one frontier. But a limit holds whatever the reward's scale, while a price must be tuned: one $\beta$ means another KL in every task and at every
# stage. TRPO takes the limit; one form of PPO takes the price.

# %% [markdown]
# ## From a bandit to states
#
# With states a new policy also *visits* others. The **discounted state distribution** says where a policy spends its time:
# $$d^\pi(s)=(1-\gamma)\sum_{t\ge0}\gamma^t\,P(s_t=s\mid\pi).$$
# It is a linear system, $d=(1-\gamma)\rho_0+\gamma P_\pi^\top d$. And it can be sampled: play on with chance $\gamma$ at each step, and note where you
# stopped. The world is chapter 01's that throws you from A and from B.

# %% tags=["concept:discounted-state-distribution"]
world = gridworld.jumps_5x5().to_mdp(gamma=0.9)
start = torch.full((25,), 1 / 25)                                        # ρ₀: anywhere
walker = torch.full((25, 4), 0.25)
visits = mdp.occupancy(world, walker, start)                             # d, [S]

# %% tags=["concept:discounted-state-distribution"]
generator = torch.Generator().manual_seed(0)
state, stopped = torch.randint(25, (5_000,), generator=generator), torch.zeros(5_000, dtype=torch.bool)
while not stopped.all():
    stopped |= torch.rand(5_000, generator=generator) > world.gamma
    action = torch.randint(4, (5_000,), generator=generator)
    after = torch.multinomial(world.transitions[state, action], 1, generator=generator)[:, 0]
    state = torch.where(stopped, state, after)

# %% tags=["concept:discounted-state-distribution"]
shares = torch.bincount(state, minlength=25) / 5_000
errors = (visits * (1 - visits) / 5_000).sqrt()                         # standard error of each share
print(f"where A throws you: exact {visits[21]:.3f}, sampled {shares[21]:.3f} ± {errors[21]:.3f}; "
      f"a mean cell {1 / 25}")
assert abs(visits.sum() - 1) < 1e-12 and ((shares - visits).abs() < 4 * errors).all()

# %% [markdown]
# ### The performance-difference lemma
#
# $\pi'$ is better than $\pi$ by exactly what $\pi$'s advantages promise, *where $\pi'$ goes*:
# $$J(\pi')-J(\pi)=\frac1{1-\gamma}\,\mathbb E_{s\sim d^{\pi'},\,a\sim\pi'}\big[A^{\pi}(s,a)\big].$$
# On 300 random worlds at once, each with its own pair of policies:

# %% tags=["concept:performance-difference-lemma"]
gamma = 0.8
transitions = torch.rand(300, 6, 3, 6, generator=generator) ** 4          # [worlds, S, A, S]
payments = torch.randn(300, 6, 3, generator=generator)
worlds = MDP(transitions / transitions.sum(-1, keepdim=True), payments, gamma)
begin = torch.full((300, 6), 1 / 6)
old = torch.randn(300, 6, 3, generator=generator).log_softmax(-1)         # log π, [worlds, S, A]
moves = torch.randn(300, 6, 3, generator=generator)

# %% tags=["concept:performance-difference-lemma"]
def objective(logps):
    return (begin * mdp.solve(worlds, logps.exp())).sum(-1)

# %% tags=["concept:performance-difference-lemma"]
def promised(logps, where):
    """Old advantages, with the states of one policy and the actions of another: [worlds]."""
    v = mdp.solve(worlds, old.exp())
    advantages = mdp.q_from_v(worlds, v) - v[..., None]
    states = mdp.occupancy(worlds, where.exp(), begin)
    return (states * (logps.exp() * advantages).sum(-1)).sum(-1) / (1 - gamma)

# %% tags=["concept:performance-difference-lemma"]
new = (old + moves).log_softmax(-1)
gained = objective(new) - objective(old)
print(f"gains from {gained.min():.2f} to {gained.max():.2f}; lemma right to 1e-9:", end=" ")
print((promised(new, where=new) - gained).abs().max().item() < 1e-9)
assert (promised(new, where=new) - gained).abs().max() < 1e-9

# %% [markdown]
# ### The surrogate
#
# To know $d^{\pi'}$ you would have to run $\pi'$. With the old states instead it is the **surrogate advantage**:
# $$L_\pi(\pi')=\frac1{1-\gamma}\,\mathbb E_{s\sim d^{\pi},\,a\sim\pi}\Big[\frac{\pi'(a\mid s)}{\pi(a\mid s)}A^\pi(s,a)\Big].$$
# Only the old policy's data occur. At $\pi'=\pi$ it has the right value and the right slope; its error is of second order.

# %% tags=["concept:surrogate-advantage"]
scales = torch.tensor([1.0, 0.1, 0.01, 0.001])
gaps = []
for scale in scales:
    new = (old + scale * moves).log_softmax(-1)
    gained, surrogate = objective(new) - objective(old), promised(new, where=old)
    gaps.append((gained - surrogate).abs().mean())
    print(f"step {scale:5.3f}: mean gain {gained.abs().mean():.5f}, mean error {gaps[-1]:.7f}")
falls = (torch.stack(gaps)[1:] / torch.stack(gaps)[:-1]).log10()
assert ((falls[1:] + 2).abs() < 0.05).all()          # ten times shorter, a hundred times closer

# %% [markdown]
# ### Importance sampling, and what it costs
#
# The factor $\rho=\pi'/\pi$ makes old actions speak for a new policy: $\mathbb E_{\pi'}[f]=\mathbb E_{\pi}[\rho f]$, chapter 03's weight. That is **importance
# sampling**. It is right on average (if $\pi$ can do whatever $\pi'$ does), but its *variance* is another matter. Between two normals $\mu$ widths apart
# $\mathrm{KL}=\mu^2/2$, and the variance of $\rho$ is $e^{\mu^2}-1=e^{2\,\mathrm{KL}}-1$: exponential in the KL. The **effective share** of the draws, $1/(1+\mathrm{Var}\,\rho)$,
# says how many of them count; from a sample it is estimated by $(\sum\rho)^2/(N\sum\rho^2)$.

# %% tags=["concept:importance-sampling"]
draws = torch.randn(200_000, generator=generator)
for mu in (0.1, 0.5, 1.0, 3.0):
    weights = trust_region.ratio(-((draws - mu) ** 2) / 2, -(draws**2) / 2)
    exact, used = math.exp(mu**2) - 1, weights.sum() ** 2 / (weights**2).sum() / len(draws)
    print(f"KL {mu**2 / 2:5.3f}: variance {exact:7.2f}, effective share {1 / (1 + exact):6.2%}, "
          f"estimated {used:6.2%}")
    if mu <= 1:
        assert abs((weights * draws).mean() - mu) < 0.03             # the new policy's mean, from old draws
        assert abs(weights.var() / exact - 1) < 0.1
assert used < 0.01 and 1 / (1 + exact) < 1 / 8000

# %% [markdown]
# At a KL of 4.5 nats one draw in 8,000 counts. Two reasons, then, to stay near: the surrogate forgets that states change, and the ratios drown in noise.
#
# ### A bound
#
# How far does the surrogate hold for sure? With $A_{\max}=\max_{s,a}|A^\pi(s,a)|$ and the KL of the worst state,
# $$J(\pi')-J(\pi)\;\ge\;L_\pi(\pi')-\frac{4\gamma A_{\max}}{(1-\gamma)^2}\max_s\mathrm{KL}\big(\pi(\cdot\mid s)\Vert\pi'(\cdot\mid s)\big).$$
# Whoever raises the right side above 0 *must* do better. Check it for steps of all sizes, and see how much room it leaves.

# %% tags=["concept:monotonic-improvement-bound"]
scale = torch.logspace(-3, 0.3, 300)[:, None, None]                      # another one for every world
new = (old + scale * moves).log_softmax(-1)
v = mdp.solve(worlds, old.exp())
largest = (mdp.q_from_v(worlds, v) - v[..., None]).abs().amax((-1, -2))  # A_max

# %% tags=["concept:monotonic-improvement-bound"]
penalty = 4 * largest * gamma / (1 - gamma) ** 2 * kl(old, new).amax(-1)
gap = promised(new, where=old) - (objective(new) - objective(old))       # promised too much
print(f"the bound holds in {(gap <= penalty).sum()} of 300;",
      f"the gap is at most {(gap / penalty).max():.1%} of the penalty")
assert (gap <= penalty + 1e-12).all() and (gap / penalty).max() < 0.02

# %% [markdown]
# It holds, and it is more than fifty times too careful. TRPO keeps the idea and drops the constant: a limit on the *mean* KL, of a size that works.
#
# ## TRPO
#
# **Trust-region policy optimisation**, one update: (1) advantages of the present policy; (2) the natural step of KL $\delta$ on the surrogate; (3) a **line
# search**: shrink the step until the *real* mean KL is at most $\delta$ and the surrogate has really risen. All exact, in the throwing world, with 100 logits,
# eight updates for each $\delta$:

# %% tags=["concept:trpo", "concept:line-search"]
def trpo_update(logits, max_kl):
    """One exact TRPO update of a table of logits [S, A]: the search's result, and the full step's KL."""
    old, policy = logits.log_softmax(-1), logits.softmax(-1)
    v, visits = mdp.solve(world, policy), mdp.occupancy(world, policy, start)
    advantages = mdp.q_from_v(world, v) - v[:, None]

    def surrogate(flat):
        ratios = trust_region.surrogate(flat.view(25, 4).log_softmax(-1), old, advantages)
        return (visits[:, None] * policy * ratios).sum()

    def mean_kl(flat):
        return visits @ kl(old, flat.view(25, 4).log_softmax(-1))

    flat = logits.flatten()
    slope = torch.autograd.functional.jacobian(surrogate, flat)
    blocks = visits[:, None, None] * policies.softmax_fisher(logits) + 1e-10 * torch.eye(4)
    fisher = torch.block_diag(*blocks)                                   # [100, 100]
    step = natural_step(slope, lambda v: fisher @ v, max_kl, steps=100)
    found = trust_region.line_search(surrogate, mean_kl, flat, step, max_kl, shrink=0.8, tries=20)
    return found, mean_kl(flat + step).item(), mean_kl(found.parameters).item()

# %% tags=["concept:trpo", "concept:line-search"]
best = start @ mdp.policy_iteration(world).v
runs = {}
for max_kl in (0.001, 0.01, 0.1, 1.0):
    logits, told = torch.zeros(25, 4), []
    for _ in range(8):
        found, full, spent = trpo_update(logits, max_kl)
        logits = found.parameters.view(25, 4)
        told.append(((start @ mdp.solve(world, logits.softmax(-1))).item(), spent, full, found.rejected))
    runs[max_kl] = told
    value_now, _, full, rejected = (list(column) for column in zip(*told))
    print(f"δ {max_kl:5}: J {value_now[-1]:5.2f} of {best:.2f}, KL of the full steps "
          f"{min(full) / max_kl:.2f} to {max(full) / max_kl:.2f} δ, rejected {sum(rejected)}")

# %% [markdown]
# For $\delta\le0.01$ the full step's KL is within a tenth of $\delta$; where it was too long, the search shortened it. At large $\delta$ the
# parabola says little; with exact advantages this world forgives that. The KL never passed $\delta$, and $J$ never fell.

# %% tags=["concept:trpo", "concept:line-search"]
at_first = start @ mdp.solve(world, walker)                              # J of equal logits
for max_kl, told in runs.items():
    values, spent, full, rejected = (torch.tensor(column) for column in zip(*told))
    assert (spent <= max_kl).all() and values[0] > at_first and (values.diff() >= -1e-9).all()
    if max_kl <= 0.01:
        assert ((full / max_kl - 1).abs() < 0.1).all()

# %% [markdown]
# The search earns its keep where the good action is rare and the parabola far too flat. An arm pulled once in a hundred times:

# %% tags=["concept:line-search"]
rare = torch.tensor([0.95, 0.04, 0.01])
slope, curvature, rejected = rare * (rewards - value(rare)), policies.softmax_fisher(rare.log()), []
for max_kl in (0.001, 0.01, 0.1, 1.0):
    step = natural_step(slope, lambda v: curvature @ v, max_kl)
    full = kl(rare.log(), (rare.log() + step).log_softmax(-1))
    found = trust_region.line_search(lambda x: value(x.softmax(-1)),
        lambda x: kl(rare.log(), x.log_softmax(-1)), rare.log(), step, max_kl, shrink=0.8, tries=20)
    rejected.append(found.rejected)
    print(f"δ {max_kl:5}: full step's KL {full / max_kl:.2f} δ,",
          f"rejected {found.rejected}, fraction kept {found.fraction:.2f}")
assert rejected == sorted(rejected) and rejected[-1] >= 3 and full > 5 * max_kl

# %% [markdown]
# The limit is on a *mean* over visited states: one rare state may change a lot. And from samples, that mean and the surrogate are estimates.

# %% [markdown]
# ## PPO: clip the ratio
#
# TRPO needs second derivatives and a search. **Proximal policy optimisation** wants the same with plain gradient steps: many passes over one batch, and a loss that
# stops paying once the ratio $\rho=\pi/\pi_{\text{old}}$ has moved far enough in the good direction:
# $$L^{\mathrm{CLIP}}=\mathbb E\big[\min\big(\rho A,\;\mathrm{clip}(\rho,1-\epsilon,1+\epsilon)\,A\big)\big]\quad\text{(to be maximised)}.$$
#
# ### Write it: `clipped_loss`
#
# *Difficulty ★★☆ · importance ★★★ · 10 minutes.* As a loss, to be minimised, unreduced. The lower limit is `1 - eps_low`, the upper `1 + eps_high`.

# %% tags=["exercise"]
@check.exercise(trust_region.clipped_loss)
def clipped_loss(logps, old_logps, advantages, eps_low, eps_high):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# `ratio.clamp(low, high)` clips, `torch.minimum(x, y)` takes the smaller entry by entry. The sign comes last.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def clipped_loss(logps, old_logps, advantages, eps_low, eps_high):
#     ratio = (logps - old_logps).exp()
#     kept = ratio.clamp(1 - eps_low, 1 + eps_high)
#     return -torch.minimum(ratio * advantages, kept * advantages)
# ```
# </details>
#
# ### Use it: the six cases

# %% tags=["concept:ppo-clip"]
advantage = torch.tensor([1.0, 1.0, 1.0, -1.0, -1.0, -1.0])
ratio = torch.tensor([0.7, 1.0, 1.3] * 2)
logps = ratio.log().requires_grad_()
gained = -clipped_loss(logps, torch.zeros(6), advantage, 0.2, 0.2)
slopes = torch.autograd.grad(gained.sum(), logps)[0] / ratio             # ∂ρ/∂log π = ρ

# %% tags=["concept:ppo-clip"]
print("    A     ρ   objective  ∂/∂ρ")
for row in torch.stack([advantage, ratio, gained.detach(), slopes.round(decimals=6) + 0.0], -1).tolist():
    print("{:+5.0f} {:5.1f} {:+9.1f} {:+7.0f}".format(*row))
assert torch.allclose(gained, torch.tensor([0.7, 1.0, 1.2, -0.8, -1.0, -1.3]))
assert torch.equal(slopes.round(decimals=6) + 0.0, torch.tensor([1.0, 1.0, 0.0, 0.0, -1.0, -1.0]))

# %% [markdown]
# ![The clipped objective against the ratio for both signs of the advantage](../figures/05_clip.svg)
#
# Outside the interval only two of four cases are flat: a good action *already* much likelier, and a bad one *already* much rarer. In the other
# two the policy has moved the wrong way, and the full gradient pulls it back. So the minimum is **pessimistic**, never above $\rho A$.
#
# ## Explorer: which term counts?

# %% tags=["concept:ppo-clip"]
explore(clip.draw, **clip.controls())

# %% [markdown]
# **Try it.** Switch the advantage to +1 without moving the ratio. Where must the ratio be so that a *bad* action gets no gradient any more? Does $\epsilon$ change the
# size of the gradient?
#
# <details><summary>What you should see</summary>
#
# At ρ = 1.4 a good action is done with (gradient 0); a bad one is pulled back with full force, and gets no gradient only below 1 − ε. ε moves the place where
# the gradient ends; it never makes it smaller.
# </details>
#
# ### Your guess
#
# Three arms, each ⅓, advantages $(1,-½,-½)$, one step of size 2, ε = 0.2:

# %% tags=["concept:ppo-clip"]
def passes(optimizer, count):
    """Ratios of the first arm after each pass over one batch of a uniform policy, and gradients before."""
    gains = torch.tensor([1.0, -0.5, -0.5])
    logits, old = torch.zeros(3, requires_grad=True), torch.full((3,), 1 / 3).log()
    descent, ratios, slopes = optimizer([logits]), [], []
    for _ in range(count):
        loss = (old.exp() * clipped_loss(logits.log_softmax(-1), old, gains, 0.2, 0.2)).sum()
        descent.zero_grad()
        loss.backward()
        descent.step()
        ratios.append((logits.log_softmax(-1)[0] - old[0]).exp().item())
        slopes.append(logits.grad.norm().item())
    return ratios, slopes

# %% tags=["concept:ppo-clip"]
(reached,), _ = passes(lambda parameters: torch.optim.SGD(parameters, lr=2.0), 1)
print(f"ratio after one step: {reached:.3f}")
assert abs(reached - 1.728) < 1e-3

# %% [markdown]
# **1.728.** The first step of every batch starts at $\rho=1$, where nothing is clipped. The clip takes away the *reason* to go on, not the chance of having gone too far.
#
# ## The whole loss
#
# PPO trains policy and critic together. To be **maximised**: $L^{\mathrm{CLIP}}-c_1\,(V-G)^2/2+c_2H$, where $H$ is the entropy. As a loss, to be
# **minimised**, every sign turns:
# $$\mathcal L=\underbrace{-\min(\rho A,\ \mathrm{clip}(\rho)A)}_{\text{policy}}\;+\;c_1\,\underbrace{\tfrac12(V-G)^2}_{\text{critic}}\;-\;c_2\,\underbrace{H(\pi)}_{\text{entropy}},\qquad
# G=A^{\mathrm{GAE}}+V_{\text{old}}.$$
# $G$ is the target for *each step*: the estimated advantage (GAE, chapter 04) put back on the old value.
#
# Now a network, on chapter 03's cart-pole: each step with the pole up pays 1, and an episode is cut off after 500. A batch is 16 carts × 128 steps.

# %%
import copy
import time

from rlcore import masked, policy_gradient, returns
from rlcore.loops import experience, networks, ppo, reinforce, trpo
from rlcore.worlds.control import CartPole

torch.set_default_dtype(torch.float32)

def fresh(seed, rows=16):
    """A new policy, a new critic, a new batch of carts, and the generator that made them."""
    generator = torch.Generator().manual_seed(seed)
    policy = networks.SoftmaxPolicy(4, 2, hidden=64, generator=generator)
    return policy, networks.Critic(4, hidden=64, generator=generator), CartPole(rows, generator), generator

# %%
def batch(policy, critic, world, generator):
    """What was seen and done, old logits, whitened advantages, targets for the critic; all flat, [N]."""
    with torch.no_grad():
        lived = experience.collect(world, policy, 128, generator)
        rewards, discounts, values = experience.bootstrapped(lived, critic, gamma=0.99)    # [16, 128] (+ 1)
        advantages = returns.gae(rewards, discounts, values, lam=0.95)
        targets = advantages + values[:, :-1]
        white = (advantages - advantages.mean()) / advantages.std()
        old = policy(lived.observations)
        return [x.flatten(0, 1) for x in (lived.observations, lived.actions, old.logits, white, targets)]

# %% tags=["concept:ppo-total-objective"]
def total_loss(policy, critic, seen, actions, old_logits, advantages, targets, c1=0.5, c2=0.01):
    now, old = policy(seen), networks.Softmax(old_logits)               # distributions over actions
    policy_loss = clipped_loss(now.logp(actions), old.logp(actions), advantages, 0.2, 0.2).mean()
    value_loss = ((critic(seen) - targets) ** 2).mean() / 2
    return policy_loss + c1 * value_loss - c2 * now.entropy().mean(), policy_loss, value_loss

# %% [markdown]
# ### The first update
#
# Before any step every ratio is 1 and the policy's loss is $-\mathrm{mean}(A)$. With advantages *whitened* (mean 0, standard deviation 1), is there anything to learn from?

# %% tags=["concept:first-ppo-update"]
policy, critic, carts, generator = fresh(seed=0)
data = batch(policy, critic, carts, generator)
seen, actions, old_logits, advantages, targets = data

def slope_of(loss):
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(policy.parameters()))])

# %% tags=["concept:first-ppo-update"]
_, loss, _ = total_loss(policy, critic, *data)
clip_slope = slope_of(loss)
plain_slope = slope_of(policy_gradient.score_function_loss(policy(seen).logp(actions), advantages).mean())
print(f"policy loss {abs(loss.item()):.4f}; gradient is zero: {bool(clip_slope.norm() < 1e-3)}; "
      f"it is the plain policy gradient: {torch.allclose(clip_slope, plain_slope, atol=1e-6)}")
assert abs(loss) < 1e-6 and clip_slope.norm() > 1e-3 and torch.allclose(clip_slope, plain_slope, atol=1e-6)

# %% [markdown]
# The loss is 0 and the gradient is not. The *value* of the loss says nothing: watch the return, the KL, and the share of clipped samples instead.
#
# ### Epochs and minibatches
#
# One batch serves several passes (*epochs*), each dealt anew into *minibatches*. The first step is the policy gradient; the clip works later.

# %% tags=["concept:ppo-total-objective", "nbval-ignore-output"]
before = copy.deepcopy(policy)                       # π_old, for the curves below
optimizer, told = torch.optim.Adam([*policy.parameters(), *critic.parameters()], lr=3e-3), []
for epoch in range(1, 11):
    for picked in torch.randperm(len(seen), generator=generator).chunk(4):
        loss, _, value_loss = total_loss(policy, critic, *(x[picked] for x in data))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        now, old = policy(seen), networks.Softmax(old_logits)
        ratios = trust_region.ratio(now.logp(actions), old.logp(actions))
        outside, moved = ((ratios - 1).abs() > 0.2).float().mean(), now.kl(old).mean()     # KL(old‖now)
    least, most = ratios.min(), ratios.max()
    told.append([most, outside, moved])
    if epoch in (1, 2, 5, 10):
        print(f"epoch {epoch:2}: KL {moved:.4f}, ratios {least:.2f} to {most:.2f}, outside {outside:.1%}")
most, outside, moved = torch.tensor(told).amax(0)    # of all epochs
assert most > 1.25 and 0.01 < outside < 0.5 and moved < 0.1

# %% [markdown]
# Some ratios leave the interval; the KL stays small all the same.
#
# ### Between two real policies
#
# Walk on a straight line in parameters, from $\pi_{\text{old}}$ ($\alpha=0$) to the policy after this update ($\alpha=1$) and beyond. Four curves, as in the second figure of the PPO paper: the mean KL, the surrogate $L^{\mathrm{CPI}}=\mathbb E[\rho A]$,
# the clipped term alone, and their minimum, $L^{\mathrm{CLIP}}$.

# %% tags=["concept:ppo-interpolation"]
ends = [torch.nn.utils.parameters_to_vector(model.parameters()).detach() for model in (before, policy)]
between, alphas, curves = copy.deepcopy(policy), torch.linspace(0, 3, 31), []
with torch.no_grad():
    for alpha in alphas:
        torch.nn.utils.vector_to_parameters(ends[0] + alpha * (ends[1] - ends[0]), between.parameters())
        now = between(seen)
        ratios = trust_region.ratio(now.logp(actions), old.logp(actions))
        clipped = -clipped_loss(now.logp(actions), old.logp(actions), advantages, 0.2, 0.2)
        term = ratios.clamp(0.8, 1.2) * advantages
        curves.append(torch.stack([x.mean() for x in (now.kl(old), ratios * advantages, term, clipped)]))

# %% tags=["concept:ppo-interpolation"]
kls, cpi, term, lower = torch.stack(curves).T
peak = lower.argmax()
assert (lower <= cpi + 1e-6).all() and (lower <= term + 1e-6).all()
assert 0 < alphas[peak] < 3 and 0.001 < kls[peak] < 0.08              # a maximum inside, at a small KL
assert cpi.argmax() > peak and cpi.max() > 1.2 * lower.max() and lower[-1] < 0.9 * lower[peak]

# %% tags=["concept:ppo-interpolation", "nbval-ignore-output"]
fig, ax = plots.figure(height=3.0)
ax.plot(alphas, cpi, "--", color=style.COLOR["advantage"], label="E[ρA], the surrogate")
ax.plot(alphas, term, ":", color=style.COLOR["rejected"], label="E[clip(ρ)A]")
ax.plot(alphas, lower, color=style.COLOR["policy"], label="the minimum, L^CLIP")
ax.plot(alphas, kls, "-.", color=style.COLOR["reference"], label="KL(old‖new), nats")
ax.axvline(alphas[peak], color=style.COLOR["exact"], linewidth=0.9)
ax.set(xlabel="α: 0 = old policy, 1 = after the update", ylabel="objective; KL in nats",
       title="The surrogate goes on promising, the clipped objective turns back", ylim=(-0.03, 0.12))
ax.legend(loc="upper left")
plots.show(plots.caption(fig, "Four curves from the old policy (α = 0) past the updated (α = 1) to α = 3: "
    f"the minimum lies under the surrogate everywhere and peaks at α = {alphas[peak]:.1f}, "
    f"where the KL is {kls[peak]:.3f} nats."))

# %% [markdown]
# Where the surrogate still rises, the clipped objective has turned back: it stops counting gains, and goes on counting losses.
#
# ## PPO with a price on KL
#
# The PPO paper has a second form: $\mathbb E[\rho A]-\beta\,\mathrm{KL}(\pi_{\text{old}}\Vert\pi)$. After each update the price follows the measured KL: it doubles where that is above 1.5 times the
# target, halves below target / 1.5, and stays in between.
#
# ### Write it: `next_beta`
#
# *Difficulty ★☆☆ · importance ★★☆ · 3 minutes.*

# %% tags=["exercise"]
@check.exercise(trust_region.next_beta)
def next_beta(beta, kl, target):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# Two comparisons, three results.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def next_beta(beta, kl, target):
#     if kl > 1.5 * target:
#         return 2 * beta
#     return beta / 2 if kl < target / 1.5 else beta
# ```
# </details>
#
# ### Use it: a price that finds itself
#
# Begin far too cheap, at $\beta=0.01$. The loop yields a record after every update; then you change the price.

# %% tags=["concept:ppo-kl-penalty"]
settings = {"steps": 128, "epochs": 10, "minibatches": 4, "gamma": 0.99, "lam": 0.95, "lr": 3e-3,
            "value_coefficient": 0.5, "entropy_coefficient": 0.0, "max_norm": 0.5}

def priced(seed, beta, target=0.01, updates=24):
    """KL and price of every update of PPO with an adaptive price on KL."""
    policy, critic, carts, generator = fresh(seed)
    price, told = [beta], []

    def loss(now, old, actions, advantages):
        return ppo.unclipped(now, old, actions, advantages) + price[0] * now.kl(old)

    for record in ppo.train(policy, critic, carts, loss, updates=updates, generator=generator, **settings):
        told.append((record.kl, price[0]))
        price[0] = next_beta(price[0], record.kl, target)
    return told

tracked = torch.tensor([priced(seed, beta=0.01) for seed in range(3)])   # [seeds, updates, 2]

# %% tags=["concept:ppo-kl-penalty", "nbval-ignore-output"]
fig, (left, right) = plots.figure(height=2.8, ncols=2)
for seed, looks in enumerate(("-", "--", ":")):
    left.semilogy(range(1, 25), tracked[seed, :, 0], looks, color=style.COLOR["policy"], label=f"seed {seed}")
    right.semilogy(range(1, 25), tracked[seed, :, 1], looks, color=style.COLOR["value"], label=f"seed {seed}")
plots.exact(left, 0.01, "target")
left.set(xlabel="update", ylabel="KL of the update (nats)", title="The KL comes down to its target")
right.set(xlabel="update", ylabel="price β (reward per nat)", title="because its price rises")
left.legend()
late = tracked[:, 12:, 0].median(dim=1).values
plots.show(plots.caption(fig, f"Three seeds, begun far too cheap at β = 0.01: the first KL is at least "
    f"{tracked[:, 0, 0].min():.1f} nats; over the last twelve updates the medians are "
    f"{', '.join(f'{median:.3f}' for median in late)}; target 0.01."))
assert tracked[:, 0, 0].min() > 0.3 and (late > 0.002).all() and (late < 0.03).all()

# %% [markdown]
# It tracks the target, loosely: a rule that can only double and halve is always a little late.
#
# ## A relative: V-MPO
#
# Another way: turn the batch into a *target* and imitate it. **V-MPO** keeps the better half of the advantages and weighs them by
# $\psi\propto e^{A/\eta}$ (E-step), then raises $\sum\psi\log\pi$ under a KL limit (M-step). MPO is its off-policy parent.

# %% tags=["concept:v-mpo"]
torch.set_default_dtype(torch.float64)
four, policy_start = torch.tensor([2.0, 1.0, 0.0, -1.0]), torch.tensor([0.5, 0.3, 0.2])
print(mpo.e_step(four, temperature=1.0))
assert torch.allclose(mpo.e_step(four, 1.0), torch.tensor([0.731059, 0.268941, 0.0, 0.0]), atol=1e-6)

# %% [markdown]
# The temperature $\eta$ is learned as well: its loss $\eta\,\epsilon_\eta+\eta\log\overline{e^{A/\eta}}$ (the bar: mean over the better half) is least where the weights lie $\epsilon_\eta$ nats from
# even. The KL limit is kept by a price (`multiplier`) that rises while the KL is above it. On the bandit, 1,000 pulls a batch:

# %% tags=["concept:v-mpo"]
def v_mpo(seed, updates=60, eps_eta=0.1, max_kl=0.01):
    generator = torch.Generator().manual_seed(seed)
    logits = policy_start.log().clone().requires_grad_()
    temperature, multiplier = (torch.tensor(1.0, requires_grad=True) for _ in range(2))
    optimizer, spent = torch.optim.Adam([logits, temperature, multiplier], lr=0.02), []
    for _ in range(updates):
        old = logits.detach().log_softmax(-1)
        arms = torch.multinomial(old.exp(), 1000, replacement=True, generator=generator)
        advantages = rewards[arms] - value(old.exp())
        for _ in range(10):
            logps = logits.log_softmax(-1)
            weights = mpo.e_step(advantages, temperature).detach()
            loss = mpo.m_step_loss(logps[arms], weights).sum()
            loss = loss + mpo.temperature_loss(temperature, advantages, eps_eta)
            loss = loss + mpo.trust_region_loss(kl(old, logps), multiplier, max_kl)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                temperature.clamp_(min=1e-3), multiplier.clamp_(min=1e-3)
        spent.append(kl(old, logits.detach().log_softmax(-1)).item())
    return value(logits.detach().softmax(-1)).item(), max(spent)

# %% tags=["concept:v-mpo"]
earned, spent = zip(*(v_mpo(seed) for seed in range(3)))
print(f"J from {value(policy_start):.1f} to {min(earned):.2f} of 2, the worst of three seeds; "
      f"KL of an update at most {max(spent):.3f}")
assert min(earned) > 1.9 and 0.01 < max(spent) < 0.04

# %% [markdown]
# The limit was 0.01: a price keeps it only roughly.

# %% [markdown]
# ## One task, three methods
#
# REINFORCE (whole episodes, one step per batch), TRPO and PPO on the pole, three seeds, 61,440 steps each (REINFORCE finishes its last batch). 100 fresh episodes judge the result.

# %% tags=["concept:ppo-trpo-vpg"]
torch.set_default_dtype(torch.float32)
BUDGET = 30 * 16 * 128                               # steps of the world

def judged(policy, seed):
    """Mean return of 100 fresh episodes; 500 is the most."""
    carts = CartPole(100, torch.Generator().manual_seed(1000 + seed))
    return experience.evaluate(carts, policy, torch.Generator().manual_seed(2000 + seed)).mean().item()

def by_ppo(seed, policy_loss, updates=30):
    policy, critic, carts, generator = fresh(seed)
    training = ppo.train(policy, critic, carts, policy_loss, updates=updates, generator=generator, **settings)
    return list(training), judged(policy, seed)

def thrice(method):
    """Three seeds of a method: [(records, score)], and the seconds that one took."""
    begin = time.perf_counter()
    return [method(seed) for seed in range(3)], (time.perf_counter() - begin) / 3

# %% tags=["concept:ppo-trpo-vpg"]
methods, seconds = {}, {}
methods["PPO"], seconds["PPO"] = thrice(lambda seed: by_ppo(seed, ppo.clipped(0.2, 0.2)))
worst = min(score for _, score in methods["PPO"])
print("PPO keeps the pole up on every seed:", worst >= 475)
assert worst >= 475

# %% tags=["concept:ppo-trpo-vpg", "concept:trpo"]
def by_trpo(seed):
    policy, critic, carts, generator = fresh(seed)
    training = trpo.train(policy, critic, carts, updates=30, steps=128, gamma=0.99, lam=0.95, max_kl=0.01,
        cg_steps=5, damping=0.1, shrink=0.5, tries=10, critic_lr=3e-3, critic_steps=40, generator=generator)
    return list(training), judged(policy, seed)

# %% tags=["concept:ppo-trpo-vpg"]
def by_reinforce(seed):
    """One step per batch; rewards-to-go, whitened over the batch."""
    policy, _, _, generator = fresh(seed)

    def weigh(to_go, mask):
        centred = to_go - masked.mean_over_tokens(to_go, mask)
        return centred / masked.mean_over_tokens(centred**2, mask).sqrt() / mask.sum()

    records, world = [], lambda: CartPole(16, generator)
    for record in reinforce.train(policy, world, weigh, updates=200, gamma=0.99, lr=1e-2,
                                  entropy_coefficient=0.0, generator=generator):
        records.append(record)
        if record.steps >= BUDGET:
            return records, judged(policy, seed)

# %% tags=["concept:ppo-trpo-vpg", "nbval-ignore-output"]
methods["TRPO"], seconds["TRPO"] = thrice(by_trpo)
methods["REINFORCE"], seconds["REINFORCE"] = thrice(by_reinforce)
worst = {name: min(score for _, score in runs) for name, runs in methods.items()}
largest = {name: max(r.kl for records, _ in runs for r in records) for name, runs in methods.items()}
for name in methods:
    print(f"{name:10} worst return {worst[name]:.0f}, largest KL of an update {largest[name]:.3f},",
          f"{seconds[name]:.1f} s a run")

# %% tags=["concept:ppo-trpo-vpg"]
assert worst["PPO"] >= 475 and worst["TRPO"] >= 400 and worst["REINFORCE"] >= 300
assert largest["TRPO"] <= 0.01 + 1e-6 and largest["PPO"] < 0.15 and largest["REINFORCE"] > largest["TRPO"]

# %% tags=["concept:ppo-trpo-vpg"]
def line(records):
    """Steps so far and mean return of the episodes that finished, for the updates where any did."""
    return zip(*((record.steps, record.returns.mean()) for record in records if len(record.returns)))

def arrived(records):
    """Steps until the mean return of a batch first was 475 or more."""
    return min((steps for steps, mean in zip(*line(records)) if mean >= 475), default=math.inf)

until = {name: [arrived(records) for records, _ in runs] for name, runs in methods.items()}
assert max(until["PPO"]) < min(until["REINFORCE"])

# %% tags=["concept:ppo-trpo-vpg", "nbval-ignore-output"]
fig, ax = plots.figure(height=3.0)
looks = {"REINFORCE": ("--", "reference"), "TRPO": (":", "value"), "PPO": ("-", "policy")}
for name, (dash, colour) in looks.items():
    for seed, (records, _) in enumerate(methods[name]):
        label = name if seed == 0 else None
        ax.plot(*line(records), dash, color=style.COLOR[colour], linewidth=1.3, label=label)
plots.exact(ax, 500, "the most")
ax.set(xlabel="steps of the world", ylabel="return of an episode (steps)")
ax.set_title("All three learn; REINFORCE later and less steadily")
ax.legend()
told = ", ".join(f"{worst[name]:.0f} and {largest[name]:.3f} for {name}" for name in methods)
plots.show(plots.caption(fig, "Return against steps, three methods, three seeds each. Every PPO run reaches "
    f"475 within {max(until['PPO']):,} steps, no REINFORCE run before {min(until['REINFORCE']):,}. At the "
    f"end the worst of three, and the largest KL of any update, are {told}."))

# %% [markdown]
# What differs most is what an update *may do*. TRPO's KL never exceeded its limit; PPO's was kept small by the
# loss, without a promise; REINFORCE's was whatever its step size made of it.
#
# | | per batch | limit on the step | cost | guarantee |
# |---|---|---|---|---|
# | REINFORCE | one gradient step | its step size | one backward pass | none |
# | TRPO | one natural step | mean KL ≤ δ, checked | Fisher products and a search | a bound, for an idealised step |
# | PPO | many gradient steps | no reward for going further | epochs × minibatches | none |
#
# ## What breaks
#
# Take the clip away, and keep everything else: ten passes over each batch with the plain surrogate.

# %% tags=["concept:ppo-clip"]
without = [by_ppo(seed, ppo.unclipped, updates=15) for seed in range(3)]
kept = min(max(record.kl for record in records) for records, _ in without)
assert kept > 1 and kept > 20 * largest["PPO"]
lost = min(score for _, score in without)
assert lost < worst["PPO"] / 2

# %% tags=["concept:ppo-clip", "nbval-ignore-output"]
fig, (left, right) = plots.figure(height=2.8, ncols=2)
kinds = ((methods["PPO"], "-", "policy", "clip"), (without, "--", "rejected", "no clip"))
for runs, dash, colour, name in kinds:
    for seed, (records, _) in enumerate(runs):
        label = name if seed == 0 else None
        kls = [record.kl for record in records[:15]]
        left.semilogy(range(1, 16), kls, dash, color=style.COLOR[colour], label=label)
        right.plot(*line(records[:15]), dash, color=style.COLOR[colour], label=label)
left.set(xlabel="update", ylabel="KL of the update (nats)", ylim=(1e-4, 30))
left.set_title("Without the clip the KL explodes")
right.set(xlabel="steps of the world", ylabel="return of an episode")
right.set_title("and what was learned is lost again")
left.legend(loc="lower left")
plots.show(plots.caption(fig, "Fifteen updates with and without the clip, three seeds: without it every seed "
    f"has an update of {kept:.1f} nats or more, with it none exceeds {largest['PPO']:.3f}. "
    f"In 100 fresh episodes the worst policy without the clip returns {lost:.0f}."))

# %% tags=["concept:importance-sampling"]
def largest_ratios(runs):
    return [max(record.extra["largest_ratio"] for record in records) for records, _ in runs]

with_clip, no_clip = max(largest_ratios(methods["PPO"])), min(largest_ratios(without))
print("no clip: ratios above 100 on every seed:", no_clip > 100, "| clip: all below 5:", with_clip < 5)
assert no_clip > 100 and 1.2 < with_clip < 5

# %% [markdown]
# A sample that is a hundred times as likely as it was drowns all others: the surrogate is then about a handful of actions, and the climb goes anywhere. (Where the KL falls
# out of the picture, the policy has become certain, and wrong: nothing moves it any more.) The first step on a batch is the same with and without the clip; the *later* ones,
# on data that have grown old, need it.

# %% [markdown]
# ## Exercises
#
# **1 · Half of the sample.** *★☆☆ · 5 minutes.* Old and new policy are normals of the same width. At which KL (in nats) is the effective share one half?

# %% tags=["exercise"]
kl_of_half = ...

# %%
check.answer(
    kl_of_half, math.log(2) / 2, atol=1e-3, mistakes={"took μ² for the KL": math.log(2),
    "let the variance be one half": math.log(1.5) / 2, "gave μ instead of the KL": math.log(2) ** 0.5})

# %% [markdown]
# <details><summary>Hint</summary>
#
# The variance is $e^{2\,\mathrm{KL}}-1$. Which variance makes the share one half?
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# kl_of_half = math.log(2) / 2
# ```
# $1/e^{2\mathrm{KL}}=½$, so KL = ½ log 2 = 0.347 nats. A reply of 100 tokens spends that at 0.0035 nats per token.
# </details>
#
# **2 · The temperature of V-MPO.** *★★☆ · 10 minutes.* Advantages $(2,1,0,-1)$, $\epsilon_\eta=0.1$. At which temperature is `mpo.temperature_loss` least? Search, or solve by pencil.

# %% tags=["exercise"]
best_temperature = ...

# %%
check.answer(
    best_temperature, 1.0599, atol=0.01, mistakes={
    "weighed the whole batch": 2.4135, "forgot the KL limit: the best alone": 0.0, "kept temperature 1": 1.0})

# %% [markdown]
# <details><summary>Hint</summary>
#
# Make a grid with `torch.linspace(0.3, 5, 2000)`, and call the loss for each entry: it takes one temperature, a tensor without axes.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# best_temperature = min(torch.linspace(0.3, 5, 2000).double(),
#     key=lambda temperature: mpo.temperature_loss(temperature, four, eps_eta=0.1).item()).item()
# ```
# About 1.06. There the weights are (0.72, 0.28), 0.1 nats from (½, ½).
# </details>

# %% [markdown]
# ## Clinic: four statements that circulate
#
# Find the flaw *before* you read the verdict.
#
# **1.** *"Is the first PPO loss zero? Of course not: it is $-A$, and the advantages are not zero. That is why there is a gradient."* Three arms, each ⅓, four pulls, before any step; $A$ raw,
# whitened, and of a group of four replies that earned 1, 0, 0, 1 (chapter 11):

# %% tags=["concept:first-ppo-update"]
torch.set_default_dtype(torch.float64)
pulled, raw = torch.tensor([0, 1, 2, 0]), torch.tensor([1.2, 0.3, -0.4, 2.0])
kinds = {"raw": raw, "whitened": (raw - raw.mean()) / raw.std(), "group": torch.tensor([1.0, -1, -1, 1])}
begun = {}
for name, gains in kinds.items():
    untouched = torch.zeros(3, requires_grad=True)
    logps = untouched.log_softmax(-1)[pulled]
    loss = clipped_loss(logps, logps.detach(), gains, 0.2, 0.2).mean()
    begun[name] = loss.item(), torch.autograd.grad(loss, untouched)[0]
    print(f"{name:9} loss {loss.item():z.4f}   gradient", begun[name][1])

# %% tags=["concept:first-ppo-update"]
assert abs(begun["raw"][0] + 0.775) < 1e-9
for name, wanted in (("whitened", [-0.3941, 0.1134, 0.2806]), ("group", [-0.5, 0.25, 0.25])):
    assert abs(begun[name][0]) < 1e-9 and (begun[name][1] - torch.tensor(wanted)).abs().max() < 1e-4

# %% [markdown]
# **Verdict.** Value and gradient are two things. With ρ = 1 everywhere the loss is $-\mathrm{mean}(A)$: exactly 0 for whitened advantages, and for every group less its mean. The gradient
# is $-\mathrm{mean}(A\,\nabla\log\pi)$, the policy gradient, and it is not 0. A loss curve that starts at 0 is no error.
#
# **2.** *"If ratio × advantage lies outside $[1-\epsilon,1+\epsilon]$, PPO uses the clipped value."* Here $A=-1$ or $A=3$, ε = 0.2:

# %%
for a, rho in ((-1.0, 1.0), (-1.0, 1.3), (1.0, 0.7), (3.0, 1.1)):
    log_rho = torch.tensor([rho]).log().requires_grad_()
    gain = -clipped_loss(log_rho, torch.zeros(1), torch.tensor([a]), 0.2, 0.2)
    alive = torch.autograd.grad(gain, log_rho)[0].item() != 0
    print(f"A {a:+.0f}, ρ {rho}: ρA = {rho * a:+.1f}, objective {gain.item():+.1f}, gradient alive: {alive}")
    assert abs(gain.item() - rho * a) < 1e-9 and alive and not 0.8 <= rho * a <= 1.2

# %% [markdown]
# **Verdict.** In all four the product is outside the interval, and in none does clipping act. The interval is for the *ratio*, and outside it only the good side is clipped
# ($A>0$ above, $A<0$ below).
#
# **3.** *"The clip is a hard constraint: the ratio cannot leave $[1-\epsilon,1+\epsilon]$."* Eight passes with Adam on the three arms from above:

# %%
reached, slopes = passes(lambda parameters: torch.optim.Adam(parameters, lr=0.1), 8)
for number, (ratio, slope) in enumerate(zip(reached, slopes), start=1):
    print(f"pass {number}: gradient {slope:.3f}, then ratio {ratio:.3f}")
assert abs(reached[-1] - 1.831) < 1e-3 and slopes[2] > 0 and max(slopes[3:]) == 0

# %% [markdown]
# **Verdict.** 1.831 at ε = 0.2. From the fourth pass on the gradient *is* zero, and Adam's momentum carries the policy on. If you need a limit, measure the KL and stop.
#
# **4.** *"$\mathcal L_{\mathrm{PPO}}=\mathcal L_{\mathrm{policy}}+c_1\mathcal L_{\mathrm{VF}}+c_2\mathcal L_{\mathrm{entropy}}$, with $\mathcal L_{\mathrm{policy}}=\min(\rho A,\mathrm{clip}(\rho)A)$ and
# $\mathcal L_{\mathrm{entropy}}=H$; minimise it."* Rewards (0, 1, 2), three arms, 1,000 steps:

# %% tags=["concept:ppo-total-objective"]
def descended(policy_sign, entropy_sign, c2):
    logits = torch.zeros(3, requires_grad=True)
    for _ in range(1000):
        logps = logits.log_softmax(-1)
        old = logps.detach()
        gain = -(old.exp() * clipped_loss(logps, old, rewards - value(old.exp()), 0.2, 0.2)).sum()
        loss = policy_sign * gain + entropy_sign * c2 * policies.softmax_entropy(logits)
        logits = (logits - 0.5 * torch.autograd.grad(loss, logits)[0]).detach().requires_grad_()
    return logits.detach().softmax(-1)

as_written, right = descended(+1, +1, c2=0.01), descended(-1, -1, c2=1.0)
print("as written", as_written, "\nboth minus", right)
assert as_written[0] > 0.98                          # the worst arm
assert torch.allclose(right, rewards.softmax(-1), atol=1e-3)             # the best of E[R] + H

# %% [markdown]
# **Verdict.** As written it finds the *worst* arm, and is all but certain of it. A loss is $-\min(\cdot)+c_1\,\text{value error}-c_2H$. With these signs and $c_2=1$ it finds
# softmax(rewards), the exact optimum of reward plus entropy.
#
# ## Summary
#
# | symbol | what it is | function | where |
# |---|---|---|---|
# | $\mathrm{KL}(\pi_{\text{old}}\Vert\pi)$ | the ruler for policies | `networks.Softmax.kl` | [smallest example](#The-smallest-example,-by-hand) |
# | $F$ | curvature of the KL, covariance of the score | `policies.softmax_fisher` | [Fisher matrix](#The-Fisher-matrix:-KL-of-a-small-step) |
# | $\Delta\propto F^{-1}g$ | natural step of a given KL | `trust_region.natural_step` | [natural gradient](#The-natural-gradient) |
# | $d^\pi$ | where the discounted time is spent | `mdp.occupancy` | [states](#From-a-bandit-to-states) |
# | $\rho,\ L_\pi(\pi')$ | ratio, surrogate | `trust_region.ratio`, `surrogate` | [surrogate](#The-surrogate) |
# | TRPO | natural step and line search | `trust_region.line_search`, `loops.trpo` | [TRPO](#TRPO) |
# | $L^{\mathrm{CLIP}}$ | pessimistic surrogate | `trust_region.clipped_loss`, `loops.ppo` | [PPO](#PPO:-clip-the-ratio) |
# | $\beta$ | price on KL that follows the KL | `trust_region.next_beta` | [price](#PPO-with-a-price-on-KL) |
# | $\psi\propto e^{A/\eta}$ | the better half as a target | `mpo.e_step` | [V-MPO](#A-relative:-V-MPO) |
#
# ## Quiz

# %%
check.quiz(
    "PPO's policy loss is 0.000 at the first update. What does it mean?",
    ["The advantages were whitened; training goes on as usual", "There is nothing to learn from this batch",
     "A bug: the loss must be −A, which is not 0"], answer=0,
    why="At ratio 1 the loss is minus the mean advantage. Whitening makes that mean 0; the gradient is the "
        "policy gradient all the same.")

# %%
check.quiz(
    "A < 0 and the ratio is 1.5, with ε = 0.2. What does the gradient do?",
    ["It is 0: the ratio is out of the interval", "It pulls the ratio down, unclipped",
     "It pulls the ratio down, by 1.2 at most"], answer=1,
    why="The minimum takes −1.5, the unclipped term: the policy went the wrong way and is pulled back.")

# %%
check.quiz(
    "You write the logits as 10 φ and train φ. Which step leads to the same policy as it did on the logits?",
    ["The plain gradient step", "The natural step", "Neither"], answer=1,
    why="The natural step is measured in KL, and the KL knows nothing of how you wrote the policy down.")

# %%
check.quiz(
    "Does each PPO update improve the policy?",
    ["Yes, by the monotonic-improvement bound", "Yes, while no ratio leaves the interval",
     "There is no such guarantee"], answer=2,
    why="The bound holds for an idealised step with a penalty on the worst state's KL and exact advantages. "
        "PPO has none of these.")

# %% [markdown]
# ## Sources
#
# - Kullback & Leibler 1951; Amari 1998, *Natural gradient works efficiently in learning*; Kakade 2001, *A natural policy gradient*.
#   Hestenes & Stiefel 1952: conjugate gradient.
# - Kakade & Langford 2002: the performance-difference lemma. Sutton et al. 1999: the discounted state distribution in the policy gradient.
# - Schulman et al. 2015, *Trust region policy optimization* (February, [1502.05477](https://arxiv.org/abs/1502.05477)): bound, conjugate gradient, line search. GAE came
#   after it (June, 1506.02438).
# - Schulman et al. 2017, *Proximal policy optimization algorithms* ([1707.06347](https://arxiv.org/abs/1707.06347)): the clip (figure 1), the interpolation (figure 2), the price on KL (section 4).
# - Song et al. 2019, *V-MPO* ([1909.12238](https://arxiv.org/abs/1909.12238)); Abdolmaleki et al. 2018, *MPO* (1806.06920).
# - Kahn & Marshall 1953: importance sampling.
#
# Next: chapter 06, a language model as a policy.
