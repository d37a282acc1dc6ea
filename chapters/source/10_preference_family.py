# ---
# jupyter:
#   course:
#     number: 10
#     slug: preference_family
#     title: The preference-optimisation family
#     question: "Thirty losses: what does each one change?"
#     modules: [dpo, rankings, generalized_dpo, feedback, token_feedback, dpo_tokens, dpo_training, loops]
#     explorer: losses and the league table
#     read: 90
#     run: 110
# ---

# %% [markdown]
# # 10 · The preference-optimisation family
#
# **Thirty losses: what does each one change?**
#
# After this chapter you can
#
# - place a method by four questions: which feedback, which reference, which function, what beside it;
# - say for each what it changes, with the experiment that shows it and nothing else;
# - write IPO, conservative DPO, SimPO and KTO, and tell where papers and widely used code differ;
# - read a league table: what it can tell, and what it cannot.
#
# **Needs** [chapter 07](07_reward_models.ipynb): Bradley–Terry and Plackett–Luce; [chapter 08](08_rlhf.ipynb): $\pi^*$, KL, gold and proxy; [chapter 09](09_dpo.ipynb): DPO and its implicit reward. **Minutes** 90 to read and do, under 2 to run.

# %%
import math
from itertools import combinations
from types import SimpleNamespace

import torch

from rlcore import check, dpo, dpo_tokens, dpo_training, feedback, rankings, token_feedback
from rlcore import generalized_dpo as gpo
from rlcore.view import plots
from rlcore.view.explore import explore, league, losses
from rlcore.worlds import phrases

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.set_printoptions(precision=4, sci_mode=False, linewidth=110)

# %% [markdown]
# ## Before you run
#
# Thirty-nine ways of training get the same 8,000 replies, the same annotator and one pass. Some see pairs, some rankings, some a thumb up or down for single replies. **Guess: how many end with more gold reward than
# DPO at β = 0.1? And does a loss that looks at one reply at a time fall behind?** Write both guesses down. The answers are in [the league](#The-league).
#
# ## The smallest example, by hand
#
# One pair. The policy gives the chosen reply $\log\pi(y_w)=-12$ and the rejected one $\log\pi(y_l)=-15$; the frozen **reference** $-13$ and $-14$. They have 6 and 5 tokens. Everything a loss of this chapter sees is made of these numbers. The **margin**
# $$h=\log\frac{\pi(y_w)}{\pi_{\mathrm{ref}}(y_w)}-\log\frac{\pi(y_l)}{\pi_{\mathrm{ref}}(y_l)}=(-12+13)-(-15+14)=2\ \text{nats}$$
# says how much more than the reference the policy prefers what was chosen. With β = 0.1, DPO's loss is $-\log\sigma(0.2)=0.598$, IPO's $(2-5)^2=9$, the hinge's $1-0.2=0.8$.

# %% tags=["concept:gpo"]
def number(x):
    return torch.tensor([float(x)])

pair, lengths = [number(x) for x in (-12, -15, -13, -14)], [number(6), number(5)]
h, beta = dpo.margin(*pair), 0.1
row = {"DPO": dpo.dpo_loss(h, beta), "IPO": dpo.ipo_loss(h, beta), "hinge": dpo.hinge_loss(h, beta),
       "cDPO": dpo.cdpo_loss(h, beta, 0.1), "robust DPO": dpo.robust_dpo_loss(h, beta, 0.1),
       "SimPO": rankings.simpo_loss(*pair[:2], *lengths, beta=2.5, target=1.375),
       "NPO": feedback.npo_loss(number(-1), beta)}
print("; ".join(f"{name} {loss.item():.4f}" for name, loss in row.items()))

# %% tags=["concept:gpo"]
known = (0.598139, 9.0, 0.8, 0.618139, 0.573139, 0.281150, 12.887933)
assert all(abs(loss.item() - want) < 1e-6 for loss, want in zip(row.values(), known, strict=True))

# %% [markdown]
# The values cannot be compared: each loss has its own unit. What matters is where its gradient pulls, and where it stops.
#
# ## A map
#
# Surveys sort alignment methods by the reward (a model, or implicit), the feedback (pairs, lists, thumbs; by reply or by token), the learning (with a reference or without, online or offline), and by what goes on around it. Here is the family of DPO by two of these questions:
#
# ![A table of methods by feedback and reference: most learn from pairs with a frozen reference; marks have no method without one](../figures/10_family.svg)
#
# Letters are each paper's own: α, λ, γ and δ mean something else in another section, and each is said where it is used. You need not believe the picture: ask the functions what they take.

# %% tags=["concept:alignment-survey"]
import inspect

def asks(loss):
    """What a loss has to be given besides its settings."""
    given = inspect.signature(loss).parameters
    data = ("logp", "log_ratio", "margin", "ranking", "desirable", "rewards", "labels")
    return ", ".join(name for name in given if any(part in name for part in data) and "weight" not in name)

for loss in (dpo.dpo_loss, dpo.dpop_loss, rankings.simpo_loss, rankings.lipo_loss, feedback.kto_loss,
             feedback.dro_loss, feedback.npo_loss, token_feedback.cringe_loss):
    print(f"{loss.__name__:13} {asks(loss)}")

# %% [markdown]
# A `margin` or a `log_ratio` needs a reference; `logps` alone do not. Lists have a `ranking` or `labels`, thumbs are `desirable`, marks are `rewards`.
#
# ### Two small worlds
#
# **Short world**: the 31 replies of at most two words to *someone helped you* in the phrase world. All 961 ordered pairs can be weighed exactly, so every loss has a best policy that you can *find*, without sampling and without a step size.

# %%
world, size = phrases.Phrases(), 31
words = world.mask[:size].sum(-1).double()                             # tokens of each reply, EOS included
ref = world.logps(world.reference_logits())[1, :size].log_softmax(0)
gold = world.reward[1, :size]
first, second = torch.cartesian_prod(torch.arange(size), torch.arange(size)).T

def labels(reward):
    """How often the reference draws an ordered pair and an annotator prefers its first reply, [961]."""
    return (ref[first] + ref[second]).exp() * (reward[first] - reward[second]).sigmoid()

# %%
def best(loss, seen, begin=ref):
    """The policy [31] whose mean loss over all labelled pairs is least; loss: logps ↦ [961]."""
    logits = begin.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-10)
    def closure():
        optimizer.zero_grad()
        value = (seen * loss(logits.log_softmax(0))).sum()
        value.backward()
        return value
    optimizer.step(closure)
    return logits.detach().log_softmax(0)

# %%
def margins(logps):
    return (logps - ref)[first] - (logps - ref)[second]

def tell(name, logps):
    chances = logps.exp()
    likeliest = world.responses[logps.argmax()]
    print(f"{name:24} gold {chances @ gold:5.2f}   KL {chances @ (logps - ref):4.2f}   tokens",
          f"{chances @ words:4.2f}   entropy {-(chances @ logps):4.2f}   likeliest: {likeliest}")

def variation(logps, other):
    return ((logps.exp() - other.exp()).abs().sum() / 2).item()

# %%
star = (ref + gold / 0.5).log_softmax(0)                               # π* at β = ½
tell("reference", ref)
tell("π*, β = ½", star)
found = best(lambda logps: dpo.dpo_loss(margins(logps), 0.5), labels(gold))
tell("DPO, all pairs", found)
assert variation(found, star) < 1e-5

# %% [markdown]
# DPO on all pairs *is* $\pi^*$ (chapter 09). **The bench** is the whole phrase world, where a policy is a table of logits and the data are few: lists of replies drawn from the reference and ranked by a noisy annotator. What came of it is still measured exactly.

# %%
start = world.reference_logits()
start_logps = world.logps(start)

def drawn(count, size, seed, noise=1.0):
    """`count` lists of replies, best first: Plackett–Luce on the gold reward."""
    generator = torch.Generator().manual_seed(seed)
    prompt = torch.arange(phrases.P).repeat(count // phrases.P)
    said = torch.multinomial(start_logps[prompt].exp(), size, replacement=True, generator=generator)
    luck = -(-torch.rand(said.shape, generator=generator).log()).log()
    order = (world.reward[prompt[:, None], said] / noise + luck).argsort(1, descending=True)
    said = said.gather(1, order)
    return SimpleNamespace(prompt=prompt, said=said, ref=start_logps[prompt[:, None], said],
                           lengths=world.mask[said].sum(-1).double())

# %%
def fit(loss, data, steps=100, begin=start):
    """A table after so many steps of Adam; the loss sees logps, log ratios, h and the table."""
    table = begin.clone().requires_grad_()
    optimizer = torch.optim.Adam([table], 0.05)
    for _ in range(steps):
        data.table, data.logps = table, world.logps(table)[data.prompt[:, None], data.said]
        data.ratios = data.logps - data.ref
        data.h = data.ratios[:, 0] - data.ratios[:, -1]
        optimizer.zero_grad()
        loss(data).mean().backward()
        optimizer.step()
    return table.detach()

def worth(table):
    """Mean gold reward and KL of a table, exactly."""
    return world.value(table).mean().item(), world.kl(world.logps(table), start_logps).mean().item()

# %% [markdown]
# ## One function of the margin
#
# **GPO** writes many losses as one convex function: $L=f(\beta h)$. The logistic $\log(1+e^{-x})$ is DPO, $\max(0,1-x)$ the hinge, $e^{-x}$ is AdaBoost's, $(1-x)^2$ is IPO up to scale and with another β: its target is $1/\beta$ where IPO's is $1/(2\beta)$. What differs is the tail: *when does a pair stop to count?*
#
# **IPO.** DPO comes from the reward $\log\frac{p}{1-p}$ of a reply that wins with probability $p$. For $p=1$ it is infinite. IPO takes the win probability itself, which is bounded; the result is a regression on a target:
# $$L=\Big(h-\frac1{2\beta}\Big)^2 .$$
# ### Write it: `ipo_loss`
#
# *Difficulty ★☆☆ · importance ★★★ · 3 minutes.* `margin` is [B]; unreduced.

# %% tags=["exercise"]
@check.exercise(dpo.ipo_loss)
def ipo_loss(margin, beta):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# The target is in nats, like the margin: β stands in its denominator, with a 2.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def ipo_loss(margin, beta):
#     return (margin - 1 / (2 * beta)) ** 2
# ```
# </details>
#
# ### Use it: a pair whose label is certain
#
# Two replies, β = ½, all labels agree. Five losses, each with a margin of its own, under the same optimiser:

# %% tags=["concept:ipo", "concept:gpo"]
rules = {"logistic (DPO)": lambda h: dpo.dpo_loss(h, 0.5), "hinge (RSO)": lambda h: dpo.hinge_loss(h, 0.5),
         "exponential": lambda h: gpo.gpo_loss(h, 0.5, gpo.exponential),
         "squared (IPO)": lambda h: ipo_loss(h, 0.5), "cDPO, ε = 0.1": lambda h: dpo.cdpo_loss(h, 0.5, 0.1)}
ended = {}
for name, rule in rules.items():
    h, path = torch.zeros(1), []
    for step in range(2000):                         # plain gradient descent, steps of 0.2
        h.requires_grad_()
        h = (h - 0.2 * torch.autograd.grad(rule(h).sum(), h)[0]).detach()
        path.append(h.item())
    ended[name] = path
    print(f"{name:15} margin after 100, 500, 2,000 steps:", [round(path[n - 1], 2) for n in (100, 500, 2000)])

# %% tags=["concept:ipo"]
growing, hinged, also, fixed, smooth = ended.values()
assert growing[-1] > growing[499] + 1 and also[-1] > also[499] + 1
assert 2 <= hinged[-1] < 2.11 and abs(fixed[-1] - 1) < 1e-6 and abs(smooth[-1] - math.log(9) / 0.5) < 1e-3

# %% [markdown]
# DPO and the exponential never stop: with certain labels β has lost its meaning. The hinge stops once a step has carried it past $1/\beta$, IPO *at* $1/(2\beta)$. And if a share $p$ of the labels prefers the first reply? DPO's best margin is $\mathrm{logit}(p)/\beta$, IPO's $(p-½)/\beta$. The optimum of the mean loss, found by bisection:

# %% tags=["concept:ipo"]
def best_margin(loss, p):
    """Where p · loss(h) + (1 − p) · loss(−h) is least."""
    low, high = 0.0, 100.0
    for _ in range(60):
        h = torch.tensor([(low + high) / 2], requires_grad=True)
        (slope,) = torch.autograd.grad((p * loss(h) + (1 - p) * loss(-h)).sum(), h)
        low, high = (h.item(), high) if slope < 0 else (low, h.item())
    return low

print("   β    p     DPO    IPO")
for beta, p in ((0.1, 0.9), (0.1, 0.7), (0.5, 0.9)):
    both = [best_margin(lambda h, b=beta, f=f: f(h, b), p) for f in (dpo.dpo_loss, ipo_loss)]
    print(f"{beta:4} {p:4} {both[0]:7.3f} {both[1]:6.3f}")
    assert abs(both[0] - math.log(p / (1 - p)) / beta) < 1e-6 and abs(both[1] - (p - 0.5) / beta) < 1e-6

# %% [markdown]
# **SLiC-HF** is older than DPO and has no reference model: a hinge on the policy's own log-probabilities, and the likelihood of a *text*, $L=\max(0,\delta-\log\pi(y_w)+\log\pi(y_l))-\lambda\log\pi(y_{\mathrm{ref}})$. The hinge lets go at δ:

# %% tags=["concept:slic-hf"]
logits = torch.zeros(3)
for _ in range(200):
    logps = logits.requires_grad_().log_softmax(0)
    loss = rankings.slic_loss(logps[:1], logps[1:2], logps[:1], target=3.0, weight=0.0).sum()
    logits = (logits - 0.02 * torch.autograd.grad(loss, logits)[0]).detach()
gap = (logps[0] - logps[1]).item()
print(f"log π(y_w) − log π(y_l) = {gap:.2f} with δ = 3")
assert 3 <= gap < 3.05

# %% [markdown]
# **GPO's Taylor view.** Near the reference every $f$ says $f(0)+f'(0)\,\beta h+½f''(0)\,(\beta h)^2$: first "more margin", then a pull back. Over pairs drawn from the reference the mean of $h^2$ is about 4 KL, so the second term is a hidden KL price. Farther away the expansion fails, except for the square, and so does the 4:

# %% tags=["concept:gpo"]
for name, f in (("logistic", gpo.logistic), ("exponential", gpo.exponential), ("squared", gpo.squared)):
    far = torch.tensor([0.1, 1.0, 4.0])                                # β h, with β = 1
    off = (gpo.gpo_taylor(far, 1.0, f) - gpo.gpo_loss(far, 1.0, f)).abs()
    print(f"{name:12} error of the expansion at βh = 0.1, 1, 4:", [f"{x:.4f}" for x in off.tolist()])
for beta in (30.0, 2.0, 0.5):
    logps = (ref + gold / beta).log_softmax(0)
    square = ((ref[first] + ref[second]).exp() * margins(logps) ** 2).sum()
    print(f"π* of β = {beta:4}: mean h² is {square / (logps.exp() @ (logps - ref)):.2f} KL")

# %% [markdown]
# ## Explorer: losses
#
# Left: loss against margin. Right: minus its slope, the *pull*. Both are in units of the pull at margin 0, where every pair begins. A dot is the best margin.

# %% tags=["concept:gpo", "concept:ipo", "concept:cdpo", "concept:robust-dpo"]
explore(losses.draw, **losses.controls())

# %% [markdown]
# **Try it.** At rest all labels agree. Which loss has no dot? Turn 5 % of the labels: what happens to it, and to IPO? Then choose robust DPO as well and move *assumed turned* past *labels turned*: which one loses its dot?
#
# <details><summary>What you should see</summary>
#
# DPO has none while all labels agree; with 5 % turned it has one, far out, at 5.89. IPO only moves from 1 to 0.90. Robust DPO has a best margin only while it assumes fewer turned labels than there are: if it assumes as many or more, it has none.
# </details>

# %% tags=["concept:gpo", "concept:robust-dpo"]
dot = {name: member.best for name, member in losses.MEMBERS.items()}
assert dot["DPO"](0.5, 0.0, 0.1) == math.inf and abs(dot["DPO"](0.5, 0.05, 0.1) - 5.89) < 0.005
assert abs(dot["IPO"](0.5, 0.05, 0.1) - 0.9) < 1e-9
assert dot["robust DPO"](0.5, 0.2, 0.1) < math.inf == dot["robust DPO"](0.5, 0.2, 0.2)

# %% [markdown]
# ## Labels that lie
#
# Suppose a share ε of the labels is turned round. **Conservative DPO** smooths the label:
# $$L=(1-\varepsilon)\,\ell(h)+\varepsilon\,\ell(-h),\qquad \ell(h)=-\log\sigma(\beta h).$$
# Even where all labels of a pair agree, its best margin is finite: $\mathrm{logit}(1-\varepsilon)/\beta$.
#
# ### Write it: `cdpo_loss`
#
# *Difficulty ★☆☆ · importance ★★☆ · 3 minutes.* Use `dpo.dpo_loss` twice.

# %% tags=["exercise"]
@check.exercise(dpo.cdpo_loss)
def cdpo_loss(margin, beta, flip_rate):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# The turned label's loss is that of `-margin`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def cdpo_loss(margin, beta, flip_rate):
#     clean, turned = dpo.dpo_loss(margin, beta), dpo.dpo_loss(-margin, beta)
#     return (1 - flip_rate) * clean + flip_rate * turned
# ```
# </details>
#
# **Robust DPO** *subtracts* instead, and divides: $L=\dfrac{(1-\varepsilon)\,\ell(h)-\varepsilon\,\ell(-h)}{1-2\varepsilon}$. Its mean over turned labels is the clean loss, exactly.

# %% tags=["concept:robust-dpo", "concept:cdpo"]
h, rate = number(1.3), 0.2
for name, loss in (("DPO", lambda h: dpo.dpo_loss(h, 0.5)), ("cDPO", lambda h: cdpo_loss(h, 0.5, rate)),
                   ("robust DPO", lambda h: dpo.robust_dpo_loss(h, 0.5, rate))):
    mean = (1 - rate) * loss(h) + rate * loss(-h)
    print(f"{name:11} mean over turned labels {mean.item():.6f}")
print(f"DPO on the clean label {dpo.dpo_loss(h, 0.5).item():.6f}")
assert abs(mean - 0.420055) < 1e-6

# %% [markdown]
# ### Use it: 30 % turned
#
# First **few pairs and a flexible policy**: 20 pairs, 40 features, so that the policy can learn every wrong label by heart. Then **many pairs and few features**, where it cannot: 20,000 pairs, and how does the implicit reward $\beta h$ compare with the true one?

# %% tags=["concept:cdpo", "concept:robust-dpo"]
def descend(loss, pairs, steps, lr):
    """A policy linear in its features: h = pairs @ w. Margins on its own pairs on the way, and w."""
    w = torch.zeros(pairs.shape[1], requires_grad=True)
    optimizer, means = torch.optim.Adam([w], lr), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss(pairs @ w).mean().backward()
        optimizer.step()
        means.append((pairs @ w.detach()).mean().item())
    return w.detach(), means

# %% tags=["concept:cdpo", "concept:robust-dpo"]
noisy = {"DPO": lambda h: dpo.dpo_loss(h, 0.5), "cDPO": lambda h: cdpo_loss(h, 0.5, 0.3),
         "robust DPO": lambda h: dpo.robust_dpo_loss(h, 0.5, 0.3), "IPO": lambda h: ipo_loss(h, 0.5)}
few = torch.randn(20, 40, generator=torch.Generator().manual_seed(0))  # whatever their labels: it fits them
grown = {name: descend(loss, few, 1500, 0.01)[1] for name, loss in noisy.items()}
for name, means in grown.items():
    print(f"{name:11} mean margin, steps 100, 500, 1,500:", [round(means[n], 2) for n in (99, 499, 1499)])

# %% tags=["concept:cdpo"]
assert abs(grown["cDPO"][-1] - math.log(7 / 3) / 0.5) < 1e-6 and abs(grown["IPO"][-1] - 1) < 1e-6
assert grown["DPO"][-1] > grown["DPO"][499] + 1 and grown["robust DPO"][-1] > 3 * grown["DPO"][-1]

# %% tags=["concept:cdpo", "concept:robust-dpo"]
slopes = {name: [] for name in noisy}
for seed in range(3):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(10, generator=generator) / 2
    pairs, fresh = (torch.randn(20_000, 10, generator=generator) for _ in range(2))
    prefers = torch.rand(20_000, generator=generator) < (pairs @ truth).sigmoid()
    prefers ^= torch.rand(20_000, generator=generator) < 0.3           # turned round
    for name, loss in noisy.items():
        w, _ = descend(loss, torch.where(prefers, 1.0, -1.0)[:, None] * pairs, 120, 0.05)
        right = ((fresh @ w) * (fresh @ truth) > 0).double().mean()
        slopes[name].append((0.5 * w @ truth / (truth @ truth)).item())
        if seed == 0:
            print(f"{name:11} right on clean pairs {right:.3f}; reward {slopes[name][0]:.2f} of the true one")

# %% tags=["concept:robust-dpo"]
assert all(abs(x - 1) < 0.15 for x in slopes["robust DPO"]) and max(slopes["DPO"]) < 0.45
assert max(slopes["cDPO"]) < min(slopes["DPO"]) / 2

# %% [markdown]
# With few pairs, cDPO and IPO stop; DPO goes on learning lies by heart, and robust DPO, which has no lower bound, runs away. With many, all find the same *order*, and the size tells them apart: turned labels already flatten DPO's reward, cDPO flattens it again, robust DPO has the true size. (IPO's margin never was a log-odds.) Use cDPO against memorising, robust DPO when you know ε and have data.
#
# **β-DPO** lets each batch choose its β, larger where margins are larger than usual, and *filters* pairs with unusual margins:
# $$\beta_{\text{batch}}=\beta_0\,(1+\alpha(\bar h-M)),\qquad w_i\propto e^{-(h_i-M)^2/2s^2}.$$
# $\bar h$ is the mean margin of the batch, $M$ and $s$ are running mean and spread.

# %% tags=["concept:beta-dpo"]
generator = torch.Generator().manual_seed(0)
def batch(scale, turned, count=1000):
    """Margins of a policy that has the true rewards, on pairs of some size with some labels turned."""
    gaps = torch.randn(count, generator=generator) * scale
    wrong = torch.rand(count, generator=generator) < turned
    prefers = (torch.rand(count, generator=generator) < gaps.sigmoid()) ^ wrong
    return torch.where(prefers, 2.0, -2.0) * gaps, wrong               # β = ½

# %% tags=["concept:beta-dpo"]
usual = batch(1.5, 0)[0]
betas = {}
kinds = ("usual", 1.5, 0), ("close calls", 0.4, 0), ("easy", 4.0, 0), ("30 % turned", 1.5, 0.3)
pulls = {}
for name, scale, turned in kinds:
    h, wrong = batch(scale, turned)
    b = betas[name] = dpo_training.dynamic_beta(h, 0.5, 0.4, usual.mean().item(), least=0.001).item()
    pulls[name] = [(x * (-x * h).sigmoid()).mean().item() for x in (0.5, b)]
    print(f"{name:12} mean margin {h.mean():5.2f} → β {b:.2f}",
          "  mean pull at β = 0.5 {:.3f}, at this β {:.3f}".format(*pulls[name]))
weights = dpo_training.keep_weights(h, usual.mean().item(), usual.std().item())
before, after_it = wrong.double().mean(), weights[wrong].sum()
print(f"turned labels: {before:.0%} of the batch, {after_it:.0%} of the filter's weight")

# %% tags=["concept:beta-dpo"]
assert betas["easy"] > betas["usual"] > betas["close calls"] and after_it < before - 0.05
assert pulls["easy"][1] > pulls["easy"][0] and pulls["close calls"][1] < pulls["close calls"][0]

# %% [markdown]
# Easy pairs get a large β, close calls a small one. β does two things: it scales the pull, and it moves the end, $\mathrm{logit}(p)/\beta$. An easy batch therefore stops *sooner*, though for the moment it pulls harder, by the few pairs that are labelled against the policy. The filter lowers the share of wrong labels, at the price of easy right ones.
#
# ## The chosen reply must not fall
#
# DPO sees only the margin. Both log-probabilities may fall, if the rejected one falls faster (chapter 09). **DPOP** charges every nat by which the chosen reply drops below the reference, inside σ: $\beta\big[h-\lambda\max(0,\log\frac{\pi_{\mathrm{ref}}(y_w)}{\pi(y_w)})\big]$. Three replies that share
# features, so that pushing the rejected one down drags the chosen one along:

# %% tags=["concept:dpop"]
features = torch.tensor([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.3]])         # chosen, rejected, another

def after(penalty, lr, steps):
    w, even = torch.zeros(2, requires_grad=True), torch.full((3,), 1 / 3).log()
    for _ in range(steps):
        logps = (features @ w).log_softmax(0)
        four = logps[:1], logps[1:2], even[:1], even[1:2]
        (slope,) = torch.autograd.grad(dpo.dpop_loss(*four, 0.5, penalty).sum(), w)
        w = (w - lr * slope).detach().requires_grad_()
    return (features @ w).softmax(0).detach()

# %% tags=["concept:dpop"]
drowned, kept = after(0.0, 0.05, 3000), after(5.0, 0.05, 3000)
left = [dpo.dpo_loss((p[0] / p[1]).log()[None], 0.5).item() for p in (drowned, kept)]
print("start 0.3333 each\nDPO ", drowned, f" DPO's loss {left[0]:.2f}")
print("DPOP", kept, f" DPO's loss {left[1]:.2f}")
assert drowned[0] < 0.001 and kept[0] > 0.33 and kept[1] < 0.12 and left[0] < left[1]

# %% [markdown]
# DPO gave everything to the third reply, which nobody asked for; by DPO's loss that is the better policy all the same.
#
# ## Which reference, which replies
#
# **sDPO** splits the data: the policy of one step is the reference of the next. What is that in the limit? Tilt $\pi_{\mathrm{ref}}$ by $e^{r/\beta}$, then tilt the *result* again: $e^{2r/\beta}$. **Two steps with full data are one step with half the β.** With little data the reference merely sharpens: its own gap $\gamma=\log\pi_{\mathrm{ref}}(y_w)-\log\pi_{\mathrm{ref}}(y_l)$ rises.

# %% tags=["concept:sdpo"]
once = world.optimum(start_logps, 1.0)
apart = variation(world.optimum(once, 1.0), world.optimum(start_logps, 0.5))
print("two steps at β = 1 end where one at β = ½ ends: variation", round(apart, 12))

def gap(table, pairs):
    logps = world.logps(table)[pairs.prompt[:, None], pairs.said]
    return dpo_training.reference_gap(logps[:, 0], logps[:, 1])

pairs, stepped, fresh = drawn(600, 2, 0), drawn(600, 2, 1), drawn(3000, 2, 2)
one_step = fit(lambda d: dpo.dpo_loss(d.h, 0.2), pairs)
stepped.ref = world.logps(one_step)[stepped.prompt[:, None], stepped.said]
two_steps = fit(lambda d: dpo.dpo_loss(d.h, 0.2), stepped, begin=one_step)
gaps = [gap(table, fresh) for table in (start, one_step, two_steps)]
print("mean gap on fresh pairs: reference, step 1, step 2:", [round(g.mean().item(), 2) for g in gaps])
below = (gaps[2] < gaps[1]).double().mean()
print(f"pairs on which step 2 ends below its own reference: {below:.0%}")

# %% tags=["concept:sdpo"]
assert apart < 1e-9 and gaps[0].mean() < gaps[1].mean() < gaps[2].mean() and 0.2 < below < 0.5

# %% [markdown]
# The mean gap rises from step to step. It is no "lower bound" for each pair.
#
# **RSO.** Its authors want the pairs to come from $\pi^*$, which is to be estimated, and not from the reference. **Rejection sampling** makes draws of $\pi^*$ from draws of the reference: keep a reply with chance $e^{(r-r_{\max})/\beta}$. Exactly, over all 781 replies to the first prompt:

# %% tags=["concept:rso"]
from scipy.stats import chisquare

generator, optimum = torch.Generator().manual_seed(0), world.optimum(start_logps, 0.5)[0].exp()
tries = torch.multinomial(start_logps[0].exp(), 60_000, replacement=True, generator=generator)
chances = dpo_training.acceptance_probabilities(world.reward[0], beta=0.5)
kept = tries[torch.rand(60_000, generator=generator) < chances[tries]]
counts, wanted = kept.bincount(minlength=phrases.N).double(), optimum * len(kept)
common = wanted >= 20                                                  # the rest together, as the test asks
counts, wanted = (torch.cat([x[common], x[~common].sum()[None]]).numpy() for x in (counts, wanted))
test = chisquare(counts, wanted * counts.sum() / wanted.sum())
exact = start_logps[0].exp() * chances
print(f"kept {len(kept) / 60_000:.3f}, exactly {exact.sum():.3f}")
print(f"χ² test of {len(counts)} kinds of replies against π*: p = {test.pvalue:.2f}")

# %% tags=["concept:rso"]
assert test.pvalue > 0.001 and torch.allclose(exact / exact.sum(), optimum)

# %% [markdown]
# $r_{\max}$ is over *everything* the reference can say. Over the best of K candidates, as in the paper's algorithm, one is always kept: for small β that is best-of-K.
#
# ## Length
#
# Annotators like length. Let ours add 1 per token to the gold reward. DPO learns what it is told. **R-DPO** subtracts α per token from the reward, which puts $\alpha$ times the difference in length into the loss, with a *plus*: $-\log\sigma(\beta h+\alpha(|y_w|-|y_l|))$. **SimPO** divides each reply's log-probability by its length, drops the reference, and asks for a margin γ:
# $$L=-\log\sigma\Big(\frac\beta{|y_w|}\log\pi(y_w)-\frac\beta{|y_l|}\log\pi(y_l)-\gamma\Big).$$
# ### Write it: `simpo_loss`
#
# *Difficulty ★★☆ · importance ★★★ · 5 minutes.* All four tensors are [B]; `target` is γ. It is not multiplied by β.

# %% tags=["exercise"]
@check.exercise(rankings.simpo_loss)
def simpo_loss(chosen_logps, rejected_logps, chosen_lengths, rejected_lengths, beta, target):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# Two means per token, their difference times β, minus γ; then `torch.nn.functional.logsigmoid`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def simpo_loss(chosen_logps, rejected_logps, chosen_lengths, rejected_lengths, beta, target):
#     gap = chosen_logps / chosen_lengths - rejected_logps / rejected_lengths
#     return -torch.nn.functional.logsigmoid(beta * gap - target)
# ```
# </details>
#
# ### Use it: an annotator who likes length

# %% tags=["concept:length-bias-rdpo", "concept:simpo"]
long = labels(gold + 1.0 * words)                                      # +1 for each token
sides = words[first], words[second]
lengthy = {
    "DPO": lambda logps: dpo.dpo_loss(margins(logps), 0.5),
    "R-DPO, α = 1": lambda logps: dpo.rdpo_loss(margins(logps), *sides, beta=0.5, alpha=1.0),
    "SimPO": lambda logps: simpo_loss(logps[first], logps[second], *sides, beta=2.0, target=0.5),
    "SimPO, nothing divided": lambda logps: rankings.cpo_loss(logps[first], logps[second], 2.0, weight=0.0)}
tell("reference", ref)
optima = {name: best(loss, long) for name, loss in lengthy.items()}
for name, logps in optima.items():
    tell(name, logps)

# %% tags=["concept:length-bias-rdpo", "concept:simpo"]
count = {name: (logps.exp() @ words).item() for name, logps in optima.items()}
grew = {}
for name in ("DPO", "SimPO", "SimPO, nothing divided"):
    fair = best(lengthy[name], labels(gold)).exp() @ words
    grew[name] = count[name] - fair.item()
    print(f"{name:24} tokens with a fair annotator {fair:.2f}; the biased one adds {grew[name]:.2f}")

# %% tags=["concept:length-bias-rdpo", "concept:simpo"]
assert variation(optima["R-DPO, α = 1"], star) < 1e-5
assert count["SimPO"] < count["DPO"] - 0.2 and count["SimPO"] < count["SimPO, nothing divided"]
assert grew["SimPO"] > grew["DPO"] > grew["SimPO, nothing divided"]

# %% [markdown]
# R-DPO with α equal to the bias ends *exactly* at the $\pi^*$ of the unbiased annotator. SimPO's replies are shorter than DPO's, with a fair annotator as well, and the bias lengthens them by *more*. Dividing makes replies shorter whoever judges; it does not undo a bias, R-DPO does.
#
# ### Three methods, live
#
# Now the support desk's language model: 8,000 replies of the fine-tuned model, an annotator (Bradley–Terry on gold, no taste for length), 63 steps of 128 replies. DPO and SimPO see pairs. KTO sees the same pairs cut in two: a thumb up for the winner, a thumb down for the loser. This is seed 2 of the league's table, run again.

# %% tags=["concept:simpo", "concept:kto"]
from rlcore import lm
from rlcore.loops import desk, entrants, schedules
from rlcore.loops import league as contest
from rlcore.loops.dpo import as_batch

torch.set_default_dtype(torch.float32)
ours, live = contest.pool(2), {}                     # replies, annotator, held-out pairs

# %% tags=["concept:simpo"]
live["DPO β 0.1"] = contest.enter("DPO β 0.1", 2)    # policy, and a row of measurements; each about 20 s

# %% tags=["concept:simpo"]
live["SimPO"] = contest.enter("SimPO", 2)

# %% tags=["concept:kto"]
live["KTO"] = contest.enter("KTO", 2)

# %% tags=["nbval-ignore-output", "concept:simpo"]
sft = ours.reference
wrote = schedules.seen(ours, "pairs").replies.mask.sum(1).double().mean().item()
_, tokenizer = lm.shipped("replies_sft")
skilled = desk.echo_accuracy(sft, tokenizer, 500, torch.Generator().manual_seed(0))
print(f"before     tokens {wrote:4.1f}{'':59}echoes {skilled:.2f}")
for name, (policy, row) in live.items():
    print(f"{name:10} tokens {row['length']:4.1f}   gold {row['gold']:+.2f}   KL {row['kl']:.2f}",
          f"  labels right {row['label']:.2f}   chosen {row['chosen']:+.1f}",
          f"  rejected {row['rejected']:+.1f}   echoes {row['echo']:.2f}")

# %% tags=["concept:simpo", "concept:length-bias-rdpo"]
assert live["SimPO"][1]["length"] < wrote < live["DPO β 0.1"][1]["length"]
assert all(row["label"] > 0.65 and row["echo"] < 0.9 < skilled for _, row in live.values())

# %% [markdown]
# DPO's replies grow, SimPO's shrink, from the same pairs. Here length is no fault: chapter 08's PPO, which earns more, writes still longer replies. *Echoes* is a skill that fine-tuning taught and that nobody asks for now: repeat a sentence word for word.
#
# ## No reference
#
# Without a reference there is no second model to ask, and no anchor. **CPO** is DPO with a uniform reference and the chosen reply's likelihood beside it; **ORPO** is fine-tuning on the chosen reply plus the *odds* of it against the rejected one, $-\log P_w-\lambda\log\sigma\big(\log\frac{\mathrm{odds}(P_w)}{\mathrm{odds}(P_l)}\big)$ with $\mathrm{odds}(P)=\frac P{1-P}$ and $P$ the geometric mean of the tokens' probabilities. Do they care where training
# began? Change the beginning *and* the reference that DPO is given; the data stay.

# %% tags=["concept:reference-free", "concept:cpo", "concept:orpo"]
torch.set_default_dtype(torch.float64)
other = torch.randn(size, generator=torch.Generator().manual_seed(0)).log_softmax(0)
logps_of = lambda logps: (logps[first], logps[second])
free = {"DPO": None,
        "SimPO": lambda logps: simpo_loss(*logps_of(logps), *sides, beta=2.0, target=0.5),
        "ORPO": lambda logps: rankings.orpo_loss(*logps_of(logps), *sides, weight=1.0),
        "CPO": lambda logps: rankings.cpo_loss(*logps_of(logps), beta=0.5, weight=1.0)}

# %% tags=["concept:reference-free", "concept:cpo", "concept:orpo"]
apart = {}
for name, loss in free.items():
    ends = []
    for begin in (ref, other):
        anchored = lambda logps, b=begin: dpo.dpo_loss((logps - b)[first] - (logps - b)[second], 0.5)
        ends.append(best(loss or anchored, labels(gold), begin))
    apart[name] = variation(*ends)
    tell(name, ends[0])
    print(f"{'':24} from another beginning: variation {apart[name]:.4f} from this")

# %% tags=["concept:reference-free"]
assert apart["DPO"] > 0.1 and max(apart[name] for name in ("SimPO", "ORPO", "CPO")) < 1e-3

# %% [markdown]
# DPO stays near where it began; the others forget it. What holds them is the data's own distribution. And the price of a reference, for seven billion parameters in bfloat16, or as stored numbers:

# %% tags=["concept:reference-free"]
weights, stored = 7e9 * 2 / 1e9, 100_000 * 2 * 4 / 1e6
print(f"a frozen reference {weights:.0f} GB of weights, and one more forward pass for each reply;")
print(f"or its two log-probabilities of 100,000 pairs, written down once: {stored:.1f} MB")
for name in ("DPO β 0.1", "SimPO"):
    cost = contest.cost(entrants.METHODS[name], ours)
    print(f"{name:10} forward passes of a step {cost['passes']}; models held {cost['models']}")

# %% [markdown]
# Precomputed, the reference costs almost nothing offline. Reference-free methods save most where that is impossible.
#
# ## Two skills at once
#
# **ORPO** needs no fine-tuning before. From an untrained table on the bench, 200 steps: ORPO; plain fine-tuning on the chosen replies; or half fine-tuning, then DPO.

# %% tags=["concept:orpo"]
stages = {"fine-tuning": [], "ORPO": [], "fine-tuning, then DPO": []}
for seed in range(3):
    data, blank = drawn(600, 2, seed), torch.zeros_like(start)
    odds = lambda d: rankings.orpo_loss(*d.logps.T, *d.lengths.T, weight=1.0)
    stages["fine-tuning"].append(fit(lambda d: -d.logps[:, 0], data, 200, blank))
    stages["ORPO"].append(fit(odds, data, 200, blank))
    tuned = fit(lambda d: -d.logps[:, 0], data, 100, blank)
    data.ref = world.logps(tuned)[data.prompt[:, None], data.said]
    stages["fine-tuning, then DPO"].append(fit(lambda d: dpo.dpo_loss(d.h, 0.2), data, 100, tuned))
staged = {name: torch.tensor([worth(table) for table in tables]) for name, tables in stages.items()}
for name, numbers in staged.items():
    print(f"{name:22} gold of three seeds {numbers[:, 0].numpy().round(2)}",
          f"  KL from the data's policy {numbers[:, 1].mean():.2f}")

# %% tags=["concept:orpo"]
assert (staged["ORPO"][:, 0] > staged["fine-tuning"][:, 0]).all()

# %% [markdown]
# In one stage ORPO earns a little more than fine-tuning, and goes less far than two stages, in gold and in KL.
#
# **Catastrophic forgetting.** A later stage may erase what an earlier one taught: `echoes` above fell, and nobody asked for that. **PAFT** therefore trains both stages *from the same start, in parallel*, and adds the two changes of the weights, the first one made sparse. A policy linear in its features, task A by imitation, then preferences on other prompts:

# %% tags=["concept:paft", "concept:catastrophic-forgetting"]
generator = torch.Generator().manual_seed(0)
x, zero = torch.randn(40, 20, generator=generator), torch.zeros(20, 5)
right_a = torch.randint(5, (16,), generator=generator)                 # task A: prompts 0 to 15
good = torch.randint(5, (24,), generator=generator)                    # preferences: prompts 16 to 39
poor = (good + torch.randint(1, 5, (24,), generator=generator)) % 5
at = torch.arange(24)

def imitate(w):
    return -(x[:16] @ w).log_softmax(1)[torch.arange(16), right_a].mean()

def prefer(w, reference):
    ratios = (x[16:] @ w).log_softmax(1) - (x[16:] @ reference).log_softmax(1)
    return dpo.dpo_loss(ratios[at, good] - ratios[at, poor], 0.5).mean()

def climb(loss, w):
    for _ in range(400):
        w = w.detach().requires_grad_()
        w = w - torch.autograd.grad(loss(w), w)[0]
    return w.detach()

# %% tags=["concept:paft", "concept:catastrophic-forgetting"]
skill = climb(imitate, zero)
taste = climb(lambda w: prefer(w, zero), zero)
ways = {"A alone": skill, "A, then preferences": climb(lambda w: prefer(w, skill), skill),
        "parallel, added": dpo_training.parallel_merge(zero, skill, taste, share=1.0, weight=1.0),
        "parallel, A sparse": zero + dpo_training.shrink(skill - zero, 0.3) + (taste - zero),
        "both losses at once": climb(lambda w: imitate(w) + prefer(w, zero), zero)}
for name, w in ways.items():
    scores = x @ w
    on_a = (scores[:16].argmax(1) == right_a).double().mean()
    on_b = (scores[16:][at, good] > scores[16:][at, poor]).double().mean()
    print(f"{name:20} A right {on_a:4.0%}   preferences right {on_b:4.0%}")

# %% tags=["concept:paft", "concept:catastrophic-forgetting"]
assert (ways["A, then preferences"] - ways["parallel, added"]).abs().max() < 1e-10
assert ((x[:16] @ ways["A, then preferences"]).argmax(1) == right_a).double().mean() < 0.8

# %% [markdown]
# Nearly a third of skill A is gone. And here parallel *equals* sequential to the last digit: the normaliser cancels in the margin, so DPO's change of a linear policy does not depend on where it starts. (Making A sparse costs still more of it.) Whatever PAFT gains on networks comes from their curvature and from sparsity. Keeping A in the loss keeps A. How the merge does on the desk stands in the league.
#
# ## Thumbs and marks
#
# **KTO** needs no pairs. Each reply is good or bad; its log-ratio $\rho=\log\frac{\pi}{\pi_{\mathrm{ref}}}$ is worth something relative to a **reference point** $z$, with diminishing returns on both sides, as prospect theory says of people:
# $$L=\lambda_D\big(1-\sigma(\beta(\rho-z))\big)\ \text{if desirable},\qquad L=\lambda_U\big(1-\sigma(\beta(z-\rho))\big)\ \text{if not.}$$
# $z$ stands for $\mathrm{KL}(\pi\Vert\pi_{\mathrm{ref}})$, is never below 0 and carries no gradient.
#
# ### Write it: `kto_loss`
#
# *Difficulty ★★☆ · importance ★★★ · 5 minutes.* `log_ratios` is [B], `desirable` [B] boolean.

# %% tags=["exercise"]
@check.exercise(feedback.kto_loss)
def kto_loss(log_ratios, desirable, reference_point, beta, weight_desirable, weight_undesirable):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# $1-\sigma(x)=\sigma(-x)$. `torch.where(desirable, …, …)`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def kto_loss(log_ratios, desirable, reference_point, beta, weight_desirable, weight_undesirable):
#     value = beta * (log_ratios - reference_point)
#     return torch.where(desirable, weight_desirable * (-value).sigmoid(), weight_undesirable * value.sigmoid())
# ```
# </details>
#
# ### Use it: without pairs, and with few good ones
#
# In the short world a reply gets a thumb up with chance $\sigma(r-\bar r)$. And **BCO**, a classifier of good and bad replies: $-\log\sigma(\pm(\beta\rho-\delta))$ with a shift δ half-way between both kinds.

# %% tags=["concept:kto"]
def thumbs(loss, start, up, steps=400):
    """Full-batch Adam; loss(ρ, desirable, z) ↦ [N]; up: chance of a thumb up; z is the exact KL."""
    logits, yes = start.clone().requires_grad_(), torch.ones(len(start), dtype=torch.bool)
    optimizer = torch.optim.Adam([logits], 0.05)
    for _ in range(steps):
        logps = logits.log_softmax(0)
        ratios, z = logps - start, (logps.exp() @ (logps - start)).detach().clamp(min=0)
        both = up * loss(ratios, yes, z) + (1 - up) * loss(ratios, ~yes, z)
        optimizer.zero_grad()
        (start.exp() * both * (up > 0)).sum().backward()               # up = 0: never rated
        optimizer.step()
    return logits.detach().log_softmax(0)

# %% tags=["concept:kto"]
up = (gold - ref.exp() @ gold).sigmoid()
def bco(ratios, desirable, z, beta=0.5):
    kinds = torch.stack([ref.exp() * up, ref.exp() * (1 - up)])        # how often each reply is good, bad
    shift = beta * ((kinds @ ratios.detach()) / kinds.sum(1)).mean()
    return feedback.bco_loss(ratios, desirable, shift, beta)

# %% tags=["concept:kto"]
tell("reference", ref)
by_thumbs = {"KTO": thumbs(lambda *a: kto_loss(*a, 0.5, 1.0, 1.0), ref, up), "BCO": thumbs(bco, ref, up)}
for name, logps in by_thumbs.items():
    tell(name, logps)
print(f"variation of BCO from π*: {variation(by_thumbs['BCO'], star):.4f}")

# %% tags=["concept:kto"]
assert by_thumbs["KTO"].exp() @ gold > ref.exp() @ gold + 0.5 and variation(by_thumbs["BCO"], star) < 0.005

# %% [markdown]
# Thumbs suffice. With *this* annotator BCO even lands on $\pi^*$, within the variation that is printed, because its logit then has the right form. KTO's value is bounded, so a reply is either taken up or given up: it concentrates.
#
# KTO pushes a reply up if $\lambda_D\,u>\lambda_U\,(1-u)$, $u$ its share of thumbs up. Suppose good thumbs are rare: four replies with 35, 25, 10 and 5 % up, and a fifth that was *never rated*.

# %% tags=["concept:kto"]
five, rare = torch.tensor([0.3, 0.2, 0.2, 0.2, 0.1]).log(), torch.tensor([0.35, 0.25, 0.10, 0.05, 0.0])
for weight in (1.0, 5.0):
    end = thumbs(lambda *a, w=weight: kto_loss(*a, 0.5, w, 1.0), five, rare, 1000).exp()
    print(f"λ_D = {weight:.0f}, λ_U = 1:", end)
    assert (end[4] > 0.99) if weight == 1 else (end[:2].sum() > 0.99)

# %% [markdown]
# With equal weights all four are mostly bad, all are pushed down, and the mass flees to the reply nobody has seen. With $\lambda_D=5$ the threshold is 1/6: two survive. The paper advises $\lambda_Dn_D/\lambda_Un_U$ from 1 to 4/3. (So a loss weight repairs a class imbalance; it is not what makes KTO "human-aware". By its paper that is a value function with a reference point; whether SLiC has one is disputed, and the paper's first version counts it in one place and not in another.)
#
# **DRO-V** takes *marks*: numbers for single replies. At the optimum of RLHF $r=V+\beta\log\frac{\pi^*}{\pi_{\mathrm{ref}}}$ holds for every reply, so regress: $L=½\,(r-V(x)-\beta\rho)^2$. On chapter 08's bandit, reference (½, 0.3, 0.2), rewards 0, 1, 2, β = ½:

# %% tags=["concept:dro"]
three, marks = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.0, 1.0, 2.0])

def regress(value):
    """The best policy for a given V; None: V is fitted as well."""
    logits = three.log().requires_grad_()
    v = torch.zeros(1, requires_grad=True) if value is None else torch.tensor([value])
    free = [logits, v] if value is None else [logits]
    optimizer = torch.optim.LBFGS(free, max_iter=300, line_search_fn="strong_wolfe")
    def closure():
        optimizer.zero_grad()
        loss = (three * feedback.dro_loss(logits.log_softmax(0) - three.log(), marks, v.expand(3), 0.5)).sum()
        loss.backward()
        return loss
    for _ in range(3):
        optimizer.step(closure)
    return logits.detach().softmax(0), v.item()

# %% tags=["concept:dro"]
for value in (None, 0.0, (three @ marks).item()):
    policy, v = regress(value)
    print(f"V {'fitted' if value is None else 'held':6} {v:.4f}   policy", policy)
exact_z = 0.5 * (three * (marks / 0.5).exp()).sum().log()
print(f"β log Z  {exact_z:.4f}   π*    ", (three.log() + marks / 0.5).softmax(0))

# %% tags=["concept:dro"]
policy, v = regress(None)
assert (policy - torch.tensor([0.036667, 0.162559, 0.800774])).abs().max() < 1e-4 and abs(v - 1.306369) < 1e-3
assert (regress(0.0)[0] - policy).abs().max() > 0.2

# %% [markdown]
# The joint minimum is $(\pi^*,\beta\log Z)$. Hold V at 0 or at the mean reward, and the policy is another.
#
# ## Only what is bad
#
# **NPO** unlearns. Gradient *ascent* on $-\log\pi$ of the unwanted replies has a gradient that never dies; NPO's, $2\sigma(\beta\rho)$, dies once the reply is unlikely enough: $L=-\frac2\beta\log\sigma(-\beta\rho)$. Forget 8 of 40 prompts of a linear policy; the other 32 share its features:

# %% tags=["concept:npo"]
def unlearn(seed, loss, steps=2000):
    """Forget probability, share right on the rest, and how far the weights went, on the way."""
    generator = torch.Generator().manual_seed(seed)
    prompts, begin = torch.randn(40, 20, generator=generator), 1.5 * torch.randn(20, 5, generator=generator)
    said, w, told = (prompts @ begin).argmax(1), begin, []
    was = (prompts @ begin).log_softmax(1)[range(8), said[:8]]
    for step in range(1, steps + 1):
        w = w.detach().requires_grad_()
        logps = (prompts[:8] @ w).log_softmax(1)[range(8), said[:8]]
        w = w - 0.05 * torch.autograd.grad(loss(logps, was).mean(), w)[0]
        if step in (20, 200, 2000):
            right = ((prompts[8:] @ w).argmax(1) == said[8:]).double().mean().item()
            told.append((logps.exp().mean().item(), right, (w - begin).norm().item()))
    return torch.tensor(told)

# %% tags=["concept:npo"]
erased = {"gradient ascent": lambda logps, was: logps,
          "NPO, β = 1": lambda logps, was: feedback.npo_loss(logps - was, 1.0)}
runs = {name: torch.stack([unlearn(seed, loss) for seed in range(3)]) for name, loss in erased.items()}
for name, run in runs.items():
    for k, step in enumerate((20, 200, 2000)):
        chance, right, moved = run[:, k].mean(0)
        print(f"{name:16} step {step:4}: unwanted {chance:.2f}   the rest right {right:4.0%}",
              f"  weights moved {moved:6.1f}")

# %% tags=["concept:npo"]
assert runs["gradient ascent"][:, 2, 1].max() < 0.3 and runs["NPO, β = 1"][:, 2, 1].min() > 0.7
ascent, braked = (run.mean(0) for run in runs.values())                # [steps, numbers]
assert ascent[1, 0] > braked[2, 0] and ascent[1, 1] < braked[2, 1] - 0.2         # at equal forgetting
assert ascent[2, 2] > 10 * ascent[1, 2]
assert abs((braked[2, 2] - braked[1, 2]) / (braked[1, 2] - braked[0, 2]) - 1) < 0.2

# %% [markdown]
# Compare at equal forgetting: at step 200 ascent has forgotten less than NPO at step 2,000, and lost nearly half of the rest. Its weights move in proportion to the steps, NPO's like their logarithm.
#
# **Negating Negatives (D²O)** has human *negatives* and takes the mean of the model's own samples for the other side: $-\log\sigma(\beta\,\overline{\rho(y_i)}-\alpha\rho(y_l))$. With one sample and α = β it is DPO against an own reply; the mean steadies the gradient. In the short world *whatever* is bad:

# %% tags=["concept:negating-negatives"]
rude = torch.tensor(["whatever" in reply for reply in world.responses[:size]])
bad = (ref.exp() * rude) / (ref.exp() * rude).sum()                    # who writes the negatives

def negate(k, seed, steps=150):
    generator, logits = torch.Generator().manual_seed(seed), ref.clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], 0.05)
    for _ in range(steps):
        own = torch.multinomial(ref.exp().expand(16, -1), k, replacement=True, generator=generator)
        negative = torch.multinomial(bad, 16, replacement=True, generator=generator)
        ratios = logits.log_softmax(0) - ref
        optimizer.zero_grad()
        feedback.d2o_loss(ratios[own], ratios[negative], beta=0.5, alpha=0.5).mean().backward()
        optimizer.step()
    return logits.detach().log_softmax(0)

# %% tags=["concept:negating-negatives"]
tell("reference", ref)
kls = {}
for k in (1, 11):
    ends = [negate(k, seed) for seed in range(3)]
    left = [(end.exp() @ rude.double()).item() for end in ends]
    kls[k] = [(end.exp() @ (end - ref)).item() for end in ends]
    tell(f"D²O, {k} own sample{'s' * (k > 1)}", ends[0])
    print(f"{'':24} whatever: {ref.exp() @ rude.double():.3f} → at most {max(left):.3f}; KL of the seeds",
          [round(kl, 2) for kl in kls[k]])
    assert max(left) < 0.01

# %% tags=["concept:negating-negatives"]
assert max(kls[11]) - min(kls[11]) < max(kls[1]) - min(kls[1])

# %% [markdown]
# **CRINGE** looks at single tokens: each token of a bad reply is set against a *rival* that the model itself would write there, so it says what to write instead: with scores $s$ of the token and of its rival, $L=-\log\frac{e^{s(\text{rival})}}{e^{s(\text{rival})}+e^{s(\text{token})}}$. On the bench, replies with *whatever*, marked as a whole or at that word:

# %% tags=["concept:cringe", "concept:response-vs-token-reward"]
holds = (world.tokens == phrases.WORDS.index("whatever")).any(-1)      # [N]
def cringe(seed, by_token, steps=100):
    generator, data = torch.Generator().manual_seed(seed), drawn(600, 1, seed)
    marked = holds[data.said[:, 0]]
    prompt, said = data.prompt[marked], data.said[marked, 0]
    where = prompt[:, None], world.states[said]                        # prompt and prefix of each token
    tokens, mask = world.tokens[said], world.mask[said]
    mask = mask & (tokens == phrases.WORDS.index("whatever")) if by_token else mask
    bad = torch.zeros(len(said), dtype=torch.bool)
    def loss(d):
        chances = token_feedback.rival_probs(d.table[where], tokens, k=3).flatten(0, 1)
        rivals = torch.multinomial(chances, 1, generator=generator).view_as(tokens)
        logps = d.table[where].log_softmax(-1)
        own, rival = (logps.gather(-1, t[..., None])[..., 0] for t in (tokens, rivals))
        return token_feedback.cringe_loss(own, rival, bad, mask, weight=1.0)
    return fit(loss, data, steps)

# %% tags=["concept:cringe", "concept:response-vs-token-reward"]
share = lambda table: (world.logps(table).exp() @ holds.double()).mean().item()
print(f"reference        whatever {share(start):.3f}   gold {worth(start)[0]:+.2f}")
marked = {}
for name, by_token in (("reply", False), ("token", True)):
    tables = [cringe(seed, by_token) for seed in range(3)]
    marked[name] = torch.tensor([worth(table)[0] for table in tables])
    most = max(share(table) for table in tables)
    golds = marked[name].numpy().round(2)
    print(f"{name} is marked  whatever at most {most:.3f}   gold of three seeds", golds)
    assert most < 0.12

# %% tags=["concept:cringe", "concept:response-vs-token-reward"]
assert marked["token"].min() > 0.2 > 0 > marked["reply"].max()

# %% [markdown]
# The bad word goes either way. But a mark on the whole *reply* also drives out the innocent words in it, and gold hardly moves; with a mark on the *token* it rises, with the same loss. (Pairwise CRINGE fades the loss out once the chosen reply is far enough ahead: `token_feedback.pairwise_cringe_gate`.)
#
# ## Tokens
#
# RLHF with one score per reply is a bandit: each reply is one action. Chapter 08 wrote it as a token game. The two agree. **"From r to Q\*"**: with $Q^*(s,a)=r+\beta\log\pi_{\mathrm{ref}}(a\mid s)+V^*(s')$ and $V^*=\beta\log\sum_a e^{Q^*/\beta}$ the token-wise best policy is $\pi^*=e^{(Q^*-V^*)/\beta}$, and $\beta\log\frac{\pi^*}{\pi_{\mathrm{ref}}}$ *telescopes*:
# $$\sum_t\beta\log\frac{\pi^*(a_t\mid s_t)}{\pi_{\mathrm{ref}}(a_t\mid s_t)}=\sum_tr_t-V^*(s_0).$$
# The smallest case: two tokens, two choices each, β = 0.7, rewards at the end.

# %% tags=["concept:dpo-from-r-to-q"]
one_ref, two_ref = torch.tensor([0.6, 0.4]).log(), torch.tensor([[0.5, 0.5], [0.3, 0.7]]).log()
final, none = torch.tensor([[1.0, 0.0], [2.0, -1.0]]), torch.zeros(2)
q_two = dpo_tokens.soft_q(final, torch.zeros(2, 2), two_ref, 0.7)      # the last token: r + β log π_ref
q_one = dpo_tokens.soft_q(none, dpo_tokens.soft_value(q_two, 0.7), one_ref, 0.7)
v0 = dpo_tokens.soft_value(q_one, 0.7)
token_wise = dpo_tokens.soft_logps(q_one, 0.7)[:, None] + dpo_tokens.soft_logps(q_two, 0.7)
whole_ref = one_ref[:, None] + two_ref
reply_wise = (whole_ref + final / 0.7).flatten().log_softmax(0).view(2, 2)
print("token by token\n", token_wise.exp(), "\nreply by reply\n", reply_wise.exp())
print(f"V*(s0) {v0:.6f}\nΣ β log π*/π_ref\n", 0.7 * (token_wise - whole_ref), "\nR − V*(s0)\n", final - v0)

# %% tags=["concept:dpo-from-r-to-q", "concept:response-vs-token-reward"]
assert torch.allclose(token_wise, reply_wise, atol=1e-12) and abs(v0 - 0.917407) < 1e-6
assert torch.allclose(0.7 * (token_wise - whole_ref), final - v0, atol=1e-12)

# %% [markdown]
# ### Credit for each token
#
# So a model trained with DPO on whole replies carries a number for every *token*. Take the live one, and spoil replies: the wrong thing, and a rude sentence. (Whole sentences are nearly certain once begun, so their first words carry the credit.)

# %% tags=["concept:dpo-from-r-to-q", "concept:response-vs-token-reward", "nbval-ignore-output"]
torch.set_default_dtype(torch.float32)
_, tokenizer = lm.shipped("replies_sft")
asked = "user : my phone is broken . agent :"
replies = {"right": "i am so sorry about your phone .", "wrong thing": "i am so sorry about your bike .",
           "rude": "i am so sorry about your phone . stop whining !"}
credits = {}
for name, reply in replies.items():
    text = lm.encode(tokenizer, [asked], [reply])
    with torch.no_grad():
        both = lm.logps(live["DPO β 0.1"][0], text), lm.logps(sft, text)
    credits[name] = dpo_tokens.token_credits(*both, text.mask, beta=0.1)[0].tolist()
    told = zip([*reply.split(), "EOS"], credits[name])
    print(f"{name:12}", "  ".join(f"{word} {plots.number(c, 2)}" for word, c in told if abs(c) >= 0.005))

# %% tags=["concept:dpo-from-r-to-q"]
print("all other words: below 0.005 in size")
spoilt = {"wrong thing": ("bike",), "rude": ("stop", "whining")}
for name, words_of in spoilt.items():
    worst = replies[name].split()[min(range(len(replies[name].split())), key=credits[name].__getitem__)]
    assert worst in words_of, (name, worst)

# %% [markdown]
# Of all words the spoilt one has the lowest credit, though no token was ever labelled.
#
# ### Search by implicit reward
#
# Keep the $k$ best beginnings instead of sampling: **beam search**, here with the score $\sum_t\log\pi(a_t\mid s_t)$, or with the implicit reward $\sum_t\log\frac{\pi}{\pi_{\mathrm{ref}}}$. On the bench, with policies that DPO learnt from 600 pairs; the cost is the number of prefixes read.

# %% tags=["concept:implicit-reward-beam-search"]
def beam(scores, k):
    """The best of k beams in a table [S, V] of scores: its number, its score, prefixes read."""
    beams, read = [(0.0, 0, False)], 0
    for step in range(phrases.LONGEST):
        grown = [b for b in beams if b[2]]
        for score, place, ended in beams:
            if not ended:
                read += 1
                grown += [(score + scores[place, a].item(), world.said[place, a].item(),
                           a == phrases.EOS or step == phrases.LONGEST - 1) for a in range(phrases.V)]
        beams = sorted(grown, reverse=True)[:k]
    return beams[0][1], beams[0][0], read

# %% tags=["concept:implicit-reward-beam-search"]
def search(scores, k):
    """Means over the prompts: gold, score; and prefixes read in all."""
    found = [beam(scores[p], k) for p in range(phrases.P)]
    golds = [world.reward[p, n].item() for p, (n, _, _) in enumerate(found)]
    return sum(golds) / 3, sum(f[1] for f in found) / 3, sum(f[2] for f in found)

# %% tags=["concept:implicit-reward-beam-search"]
torch.set_default_dtype(torch.float64)
base, widths = start.log_softmax(-1), (1, 2, 4, 16, 64)
pair_loss = lambda d: dpo.dpo_loss(d.h, 0.2)
learnt = [fit(pair_loss, drawn(600, 2, seed), 150).log_softmax(-1) for seed in range(3)]
print("  k  prefixes   log π: score, gold      log π/π_ref: score, gold      (means of three policies)")
rows = []
for k in widths:
    by = [torch.tensor([search(t, k) for t in ts]).mean(0) for ts in (learnt, [t - base for t in learnt])]
    rows.append((by[0][0].item(), by[1][0].item()))
    print(f"{k:3} {by[0][2]:8.0f} {by[0][1]:13.2f} {by[0][0]:7.2f} {by[1][1]:19.2f} {by[1][0]:7.2f}")
mean_gold = sum(worth(t)[0] for t in learnt) / 3
print(f"sampling instead: gold {mean_gold:.2f}")

# %% tags=["concept:implicit-reward-beam-search"]
assert rows[1][0] >= rows[0][0] and rows[-1][1] < rows[0][1] - 0.5 and rows[-1][0] > mean_gold
stood = []
for seed, policy in enumerate(learnt):
    data = drawn(600, 2, seed)
    for p in range(phrases.P):
        reply = beam((policy - base)[p], 64)[0]
        stood.append((data.said[data.prompt == p] == reply).sum().item())
print("how often the replies found at k = 64 stand among the 1,200:", sorted(stood))
assert sum(n <= 2 for n in stood) >= 8

# %% [markdown]
# Under log π a little width helps, and more only costs. Under the implicit reward alone, a wider search finds *better-scored and worse* replies: all but one of those found stand once or twice among 1,200, so that the luck of one label decides their score. Over-optimisation needs no gradient.
#
# **TDPO.** Bradley–Terry on *token advantages* leaves at every prefix $\beta\log Z-\mathbb E_{\mathrm{ref}}[Q]=\beta\,\mathrm{KL}(\pi_{\mathrm{ref}}\Vert\pi^*)$. Summed along a reply that is the **sequential KL** $D=\sum_t\mathrm{KL}(\pi_{\mathrm{ref}}\Vert\pi)$. TDPO-1: $-\log\sigma(\beta[h-(D_l-D_w)])$. TDPO-2 weighs it with α and stops the gradient of $D_w$.

# %% tags=["concept:tdpo"]
def seq_kls(table, data):
    """D of the chosen and of the rejected replies, [B] each."""
    for column in (0, 1):
        where = data.prompt[:, None], world.states[data.said[:, column]]
        yield dpo_tokens.sequential_kl(table[where], start[where], world.mask[data.said[:, column]])

# %% tags=["concept:tdpo"]
token_losses = {"DPO": pair_loss,
                "TDPO-1": lambda d: dpo.tdpo1_loss(d.h, *seq_kls(d.table, d), 0.2),
                "TDPO-2, α = ½": lambda d: dpo.tdpo_loss(d.h, *seq_kls(d.table, d), 0.2, alpha=0.5)}
spent = {}
for name, loss in token_losses.items():
    rows = []
    for seed in range(3):
        data = drawn(600, 2, seed)
        table = fit(loss, data, 150)
        order = (data.h > 0).double().mean().item()
        rows.append([*(d.mean().item() for d in seq_kls(table, data)), *worth(table), order])
    spent[name] = torch.tensor(rows)
    d_w, d_l, golds, kls, order = spent[name].mean(0)
    print(f"{name:14} D of chosen {d_w:.2f}, of rejected {d_l:.2f}, difference {d_l - d_w:.2f};",
          f"KL {kls:.2f}, gold {golds:.2f}, own pairs right {order:.2f}")

# %% tags=["concept:tdpo"]
far, near, held = (spent[name] for name in token_losses)
assert ((near[:, 1] - near[:, 0]) < 0.75 * (far[:, 1] - far[:, 0])).all()
assert (held[:, :2] < 0.65 * far[:, :2]).all() and (held[:, 2] > far[:, 2] - 0.1).all()
assert (held[:, 4] > far[:, 4] - 0.02).all()

# %% [markdown]
# TDPO-1 brings the two KLs closer to each other; TDPO-2 lowers *both*, and keeps the order of its pairs.
#
# ## Other divergences
#
# **f-DPO** replaces the reverse KL in RLHF by another f-divergence. Then the implicit reward is $\beta f'(\pi/\pi_{\mathrm{ref}})$, and the constant still cancels in a pair. Forward KL: $f'(u)=-1/u$; Jensen–Shannon: $\log\frac{2u}{1+u}$; **α-divergence**, between both KLs: $\frac{1-u^{-\alpha}}\alpha$.

# %% tags=["concept:f-divergence", "concept:alpha-divergence"]
scores = {"reverse KL (DPO)": gpo.reverse_kl_score,
          "α = 0.3": gpo.alpha_score(0.3), "α = 0.7": gpo.alpha_score(0.7),
          "forward KL": gpo.forward_kl_score, "Jensen–Shannon": gpo.jensen_shannon_score}
ratios_of = lambda logps: ((logps - ref)[first], (logps - ref)[second])
ends = {}
for name, score in scores.items():
    loss = lambda logps, f=score: gpo.f_dpo_loss(*ratios_of(logps), 0.5, f)
    ends[name] = best(loss, labels(gold))
    tell(name, ends[name])
    implied = 0.5 * score(ends[name] - ref)          # β f': the reward, up to a constant
    assert ((implied - implied.mean()) - (gold - gold.mean())).abs().max() < 1e-3

doubled = best(lambda logps: gpo.f_dpo_loss(*ratios_of(logps), 1.0, gpo.jensen_shannon_score), labels(gold))
tell("Jensen–Shannon, β = 1", doubled)

# %% tags=["concept:f-divergence", "concept:alpha-divergence"]
spread = {name: -(logps.exp() @ logps).item() for name, logps in ends.items()}
line = [spread[name] for name in ("reverse KL (DPO)", "α = 0.3", "α = 0.7", "forward KL")]
assert line == sorted(line) and spread["Jensen–Shannon"] < line[0]

# %% [markdown]
# Each optimum reproduces the reward exactly, in its own way. From reverse to forward KL entropy rises steadily and the tail is kept. Jensen–Shannon concentrates most, *at the same β*: its curvature is $f''(1)=½$ where the others have 1, so near the reference it costs half, and its β = 1 is like β = ½ of DPO. A β means another thing under another divergence: compare at equal KL or equal gold.
#
# ## Lists
#
# An annotator ranked four replies. You can cut the ranking into all six pairs, take it as one object (**Plackett–Luce DPO**), or weigh each pair by what a swap would cost (**LiPO-λ**, labels $\psi$, $s=\beta\rho$):
# $$\Delta_{ij}=\big|2^{\psi_i}-2^{\psi_j}\big|\,\Big|\tfrac1{\log(1+\mathrm{rank}_i)}-\tfrac1{\log(1+\mathrm{rank}_j)}\Big|,\qquad L=\sum_{\psi_i>\psi_j}\Delta_{ij}\log\big(1+e^{-(s_i-s_j)}\big).$$
# Two go without a reference, on $p=\log\pi(y)/|y|$, with the best reply's likelihood beside it: **RRHF**, $\sum_{r_i<r_j}\max(0,p_i-p_j)-\log\pi(y_{\text{best}})$, and **PRO**, which is Plackett–Luce on $p$ with $-\lambda\log\pi(y_{\text{best}})$.

# %% tags=["concept:lipo"]
scored, grades = torch.tensor([[0.2, 0.5, -0.1]]), torch.tensor([[1.0, 0.5, 0.0]])
order = torch.tensor([[0, 1, 2]])
cut = [gpo.logistic(scored[:, a] - scored[:, b]) for a, b in combinations(range(3), 2)]
listed = rankings.plackett_luce_dpo_loss(scored, order, 1.0)
values = [rankings.lipo_loss(scored, grades, 1.0).item(), listed.item(), (sum(cut) / 3).item()]
print("LiPO-λ {:.6f}; Plackett–Luce {:.6f}; mean over the pairs {:.6f}".format(*values))
assert all(abs(got - want) < 1e-6 for got, want in zip(values, (0.501909, 1.565878, 0.615399)))

# %% [markdown]
# 300 lists of four on the bench, 100 steps:

# %% tags=["concept:lipo", "concept:rrhf", "concept:pro"]
def six(d):
    """DPO on all pairs of a list."""
    return sum(dpo.dpo_loss(d.ratios[:, a] - d.ratios[:, b], 0.2) for a, b in combinations(range(4), 2))

rank, places = torch.arange(4).expand(300, 4), torch.linspace(1, 0, 4).expand(300, 4)
of_lists = {
    "best against worst": pair_loss, "all six pairs": six,
    "Plackett–Luce": lambda d: rankings.plackett_luce_dpo_loss(d.ratios, rank, 0.2),
    "LiPO-λ": lambda d: rankings.lipo_loss(d.ratios, places, 0.2),
    "RRHF": lambda d: rankings.rrhf_loss(d.logps, d.lengths, places),
    "PRO": lambda d: rankings.pro_loss(d.logps, d.lengths, rank, weight=0.1)}

# %% tags=["concept:lipo", "concept:rrhf", "concept:pro", "nbval-ignore-output"]
table_of = {}
for name, loss in {"reference": None, **of_lists}.items():
    rows = []
    for seed in range(3):
        data = drawn(300, 4, seed, noise=0.3)
        table = fit(loss, data) if loss else start
        logps = world.logps(table)[data.prompt[:, None], data.said]
        score = logps / data.lengths if name in ("RRHF", "PRO", "reference") else logps - data.ref
        agree = [(score[:, a] > score[:, b]).double().mean() for a, b in combinations(range(4), 2)]
        rows.append([(score.argmax(1) == 0).double().mean(), sum(agree) / 6, *worth(table)])
    table_of[name] = torch.tensor(rows)
    top, order, golds, kls = table_of[name].mean(0)
    print(f"{name:19} best first {top:.2f}   pairs in order {order:.2f}   gold {golds:5.2f}   KL {kls:.2f}")

# %% tags=["concept:lipo", "concept:rrhf", "concept:pro"]
before = table_of.pop("reference")
for name, found in table_of.items():
    assert (found[:, 1] > before[:, 1] + 0.05).all() and (found[:, 2] > before[:, 2] + 0.3).all(), name
assert (table_of["Plackett–Luce"][:, 1] > table_of["best against worst"][:, 1]).all()

# %% [markdown]
# All rank the lists they were trained on better than before (by log-ratio; RRHF, PRO and the reference by mean log-probability). The whole ranking teaches more than its two ends; whether it is cut into pairs or taken as one matters little here. RRHF and PRO stay nearer to the start, held by the likelihood of the best reply.
#
# ## The league
#
# All methods on one task: the support desk, the same 8,000 replies, 63 steps, three seeds, and the same annotator but for RSO, whose pairs a reward model chose *and* ranked. What a method may look at depends on its kind. `python -m rlcore.loops.checkpoints replies_league` makes the table anew (about half an hour).

# %% tags=["concept:alignment-survey"]
entries = league.entries()
heads = {"gold": 5, "±": 4, "KL": 6, "tokens": 6, "labels": 6, "chosen": 6, "rejected": 8, "echoes": 6,
         "MB": 4, "models": 6, "passes": 6, "ms": 4}
assert len(entries) == 39
print(f"{'method':19} {'kind':9}", " ".join(f"{head:>{wide}}" for head, wide in heads.items()))
for e in sorted(entries.values(), key=lambda e: -e.mean("gold")):
    half = (e.numbers["gold"].max() - e.numbers["gold"].min()) / 2
    print(f"{e.name:19} {e.kind:9} {e.mean('gold'):5.2f} {half:4.2f} {e.mean('kl'):6.2f}",
          f"{e.mean('length'):6.1f} {e.mean('label'):6.2f} {e.mean('chosen'):z6.1f}",
          f"{e.mean('rejected'):8.1f} {e.mean('echo'):6.2f} {e.mean('bytes') / 1e6:4.0f}",
          f"{e.mean('models'):6.0f} {e.mean('passes'):6.0f} {1000 * e.mean('seconds'):4.0f}")

# %% [markdown]
# ± is half the range of three seeds; *labels*: held-out pairs that the log-ratio puts in the annotator's order; chosen and rejected: mean log-ratio of held-out replies; *echoes*: the old skill; MB: the most that one step holds besides the weights; models: policy, reference, and a value model; passes: forward, each over 128 replies, for one step; ms: processor time of a step, which another run changes by a fifth.
#
# ## Explorer: the league
#
# Every point is a method, an open one has no reference. The star is PPO of chapter 08. Press a method's button to take it out, or a kind of feedback to take out all of its methods.

# %% tags=["concept:alignment-survey", "concept:reference-free"]
explore(league.draw, **league.controls())

# %% [markdown]
# **Try it.** Mark *DPO β 0.1*, then *DPO β 0.5*: how far apart are they, and how many methods lie between? Choose *pairs* alone, then *thumbs* alone: do thumbs fall behind? Then look across at the echoes: who lost them?
#
# <details><summary>What you should see</summary>
#
# The two settings of one method lie as far apart as many methods do. Thumbs end a little behind DPO where a reference holds them (KTO, BCO), and earn far less where none does (CRINGE, unlikelihood). Echoes fall with the KL, and still more closely with how far the chosen replies were pushed down: choose that for *across*.
# </details>

# %% [markdown]
# Do the live runs agree with the table? They are its rows of seed 2, run again. Where processors round alike they agree to the last digit; elsewhere they must agree by less than another seed would move them, in every column.

# %% tags=["concept:alignment-survey", "nbval-ignore-output"]
measured, moved = ("gold", "kl", "length", "label", "chosen", "rejected", "echo"), {}
for name, (_, row) in live.items():
    told = {column: entries[name].numbers[column] for column in measured}
    moved[name] = max(abs(row[c] - told[c][2]) / (told[c].max() - told[c].min()) for c in measured)
    print(f"{name:10} gold live {row['gold']:+.4f}, table {told['gold'][2]:+.4f};",
          f"farthest of {len(measured)} numbers: {moved[name]:.3f} of the seeds' range")

# %% tags=["concept:alignment-survey"]
assert max(moved.values()) < 1

# %% [markdown]
# Do the effects of this chapter show here, too? Each line: a method, and DPO at β = 0.1, range of three seeds.

# %% tags=["concept:dpop", "concept:simpo", "concept:length-bias-rdpo", "concept:tdpo"]
effects = {"DPOP": "chosen", "SimPO": "length", "R-DPO": "length", "TDPO-2": "kl", "TDPO-1": "kl"}
ranges = {}
for name, column in effects.items():
    both = [entries[which].numbers[column] for which in (name, "DPO β 0.1")]
    ranges[name] = both
    told = [f"{plots.number(x.min(), 2)} to {plots.number(x.max(), 2)}" for x in both]
    print(f"{name:7} {column:7} {told[0]:16} DPO {told[1]}")

# %% tags=["concept:dpop", "concept:simpo", "concept:length-bias-rdpo", "concept:tdpo"]
assert all(ranges[name][0].max() < ranges[name][1].min() for name in ("SimPO", "R-DPO", "TDPO-2"))
assert all(ranges[name][0].min() > ranges[name][1].max() for name in ("DPOP", "TDPO-1"))

# %% [markdown]
# Four show. TDPO-1, which lowered the KL on the bench, has *more* of it here: its correction only wants the two KLs alike. A bench is not a task.
#
# Which of two methods for lists is better? Three methods at two βs each:

# %% tags=["concept:lipo"]
golds_of = {name: entry.mean("gold") for name, entry in entries.items()}
for method in ("DPO", "Plackett–Luce", "LiPO-λ"):
    at_both = [golds_of[f"{method} β {beta}"] for beta in (0.1, 0.5)]
    print("{:14} gold at β = 0.1: {:5.2f}   at β = 0.5: {:5.2f}".format(method, *at_both))
assert golds_of["LiPO-λ β 0.1"] < golds_of["Plackett–Luce β 0.1"] < golds_of["DPO β 0.1"]
assert golds_of["LiPO-λ β 0.5"] > golds_of["Plackett–Luce β 0.5"] > golds_of["DPO β 0.5"]

# %% [markdown]
# At β = 0.1 LiPO is last of the three, at β = 0.5 first. Had the table one row for each, its order would be β's.
#
# The guesses of the beginning, and what goes with what. All methods of a seed share its replies and labels, so compare seed by seed:

# %% tags=["concept:alignment-survey", "concept:kto"]
anchor = entries["DPO β 0.1"].numbers["gold"]
ahead = {name: e.numbers["gold"] - anchor for name, e in entries.items() if name != "DPO β 0.1"}
always = [name for name, by in ahead.items() if (by > 0).all()]
print(f"ahead of DPO at β = 0.1 on average: {sum(by.mean() > 0 for by in ahead.values())} of {len(ahead)};",
      f"on all three seeds: {len(always)}")
for name in ("DPO β 0.5", "IPO", "cDPO", "KTO", "BCO", "CRINGE", "unlikelihood"):
    print(f"{name:13} minus DPO β 0.1, seed by seed:", "  ".join(f"{by:+.2f}" for by in ahead[name]))

# %% tags=["concept:alignment-survey", "concept:kto"]
between = ahead["DPO β 0.5"].mean()
close = sum(abs(by.mean()) <= between for by in ahead.values())
print(f"β = 0.5 instead of 0.1: {between:+.2f}; {close} of {len(ahead)} are no farther from β = 0.1")
for name in ("KTO", "BCO"):
    assert (ahead[name] < 0).all() and ahead[name].mean() > -between
assert max(ahead[name].max() for name in ("CRINGE", "unlikelihood")) < -0.5 and close > len(ahead) / 3
assert len(always) > sum(by.mean() > 0 for by in ahead.values()) / 2 > len(ahead) / 6

# %% tags=["concept:alignment-survey", "concept:catastrophic-forgetting", "concept:npo"]
columns = ("gold", "kl", "echo", "chosen")
means = torch.tensor([[e.mean(column) for column in columns] for e in entries.values()])
fallen = [e.name for e in entries.values() if e.mean("gold") < -1]
print(f"collapsed (gold below −1): {', '.join(fallen)}")
print(f"the chosen reply's log-probability fell in {(means[:, 3] < 0).sum()} of {len(means)}")
ranks = means[means[:, 1] < 20].argsort(0).argsort(0).double().T     # without the collapsed
with_kl, with_chosen = (torch.corrcoef(ranks[[2, k]])[0, 1].item() for k in (1, 3))
print(f"rank correlation of echoes with KL {with_kl:.2f}, with the chosen log-ratio {with_chosen:.2f}")
assert set(fallen) == {"ascent on rejected", "NPO"} and (means[:, 3] < 0).double().mean() > 0.8
assert with_kl < -0.6 and with_chosen > 0.8 and ahead["D²O"].mean() > -0.3

# %% tags=["concept:alignment-survey"]
import csv

with open(lm.SHIPPED / "replies_dpo.csv", encoding="utf-8") as file:
    last = {(r["run"], r["seed"]): float(r["gold"]) for r in csv.DictReader(file)}   # chapter 09, last rows
once, thrice = ([last[run, seed] for seed in "012"] for run in ("beta 0.1", "beta 0.2, 3 epochs"))
print(f"best of the league {means[:, 0].max():.2f}; PPO {league.ppo()[0]['gold']:.2f};",
      f"DPO of chapter 09, three passes at β = 0.2: {min(thrice):.2f} to {max(thrice):.2f}")
print(f"DPO at β = 0.1, one pass: here {anchor.min():.2f} to {anchor.max():.2f},",
      f"in chapter 09 {min(once):.2f} to {max(once):.2f}")
assert max(once) - min(once) > 3 * (anchor.max() - anchor.min()) and min(thrice) > means[:, 0].max()

# %% [markdown]
# That answers both guesses: more than a third of the methods pass DPO *at this β*, most of these on every seed. Losses of single replies are behind it on all three seeds where a reference holds them, by less than another β moves it; without a reference they are far behind. (DRO-V was given marks, which tell more than an order.)
#
# **What such a table can tell**: which *kinds* of change matter on this task. Whoever only pushes down, with nothing to hold on to, collapses: ascent, and here NPO as well; its paper adds a loss on what is to be kept. (D²O sees bad replies alone, too, but has its own samples on the other side.) Almost everywhere the chosen reply falls, and old skills go with how far the data's own replies were pushed down.
#
# **What it cannot.** There is one task, one small model, one pass and *one setting* for each method. Three were changed after a look at seed 0, which is in the means: DPOP's λ from 5 to 1, CRINGE's weight from 1 to 0.1, LiPO's β from 0.1 to 0.5. sDPO and PAFT cut the pass in halves. A table of nearly forty rows is also a table of untuned βs, and one pass is not the end: chapter 09's three passes reach what no row here does. Nor are three seeds many. They lie closer together here than the same method's do in chapter 09, and three equal signs come by chance once in four.
#
# ## What breaks
#
# ### A formula that the code does not run
#
# Settings move between papers and libraries; the meaning does not always move with them. One pair, the same numbers:

# %% tags=["concept:ipo", "concept:simpo"]
h, sides_of = dpo.margin(*pair), [x.item() for x in lengths]
paper = ipo_loss(h, 0.1)
per_token = ipo_loss((pair[0] - pair[2]) / lengths[0] - (pair[1] - pair[3]) / lengths[1], 0.1)
print(f"IPO, sum over tokens (paper) {paper.item():.2f}; mean per token (TRL, HALOs) {per_token.item():.2f}")
in_reward, in_ratio = (simpo_loss(*pair[:2], *lengths, 2.5, target) for target in (0.5, 2.5 * 0.5))
print(f"SimPO with 0.5 as γ (paper) {in_reward.item():.3f}; as γ/β (official code) {in_ratio.item():.3f}")
print(f"CPO, likelihood of the reply (paper) {rankings.cpo_loss(*pair[:2], 0.1, 1.0).item():.2f};",
      f"per token (TRL) {rankings.cpo_loss(*pair[:2], 0.1, 1.0 / sides_of[0]).item():.2f}")
slope_at_2 = [gpo.alpha_score(alpha)(number(math.log(2))).item() for alpha in (0.3, 0.7)]
print("f'(2) of α = 0.3: {:.3f}; new TRL's coefficient 0.3 means α = 0.7: {:.3f}".format(*slope_at_2))

# %% [markdown]
# More: TRL's older releases take the paper's α, newer ones 1 − α. ORPO's λ is `beta` in TRL; PRO's official code multiplies its likelihood by $(K-1)^2$; RRHF's divides it by the padded length; HALOs takes the chosen reply for SLiC's text. The docstrings name both sides. Before you copy a setting, compute one pair.
#
# ### Odds of a certain reply
#
# A reply of one token that the model is sure of has infinite odds. ORPO's loss says so instead of returning inf:

# %%
try:
    rankings.orpo_loss(number(0), number(-3), number(2), number(3), weight=1.0)
except ValueError as reason:
    print(reason)

# %% [markdown]
# ## Exercises
#
# **1 · By pencil.** *★☆☆ · 5 minutes.* Eight of ten annotators prefer reply a. IPO with β = 0.25: which margin is best?

# %% tags=["exercise"]
ipo_margin = ...

# %%
check.answer(
    ipo_margin, 1.2, atol=1e-6, mistakes={
    "took the target of certain labels": 2.0, "took DPO's": math.log(4) / 0.25, "forgot to subtract ½": 3.2,
    "multiplied by β": 0.075})
assert abs(best_margin(lambda h: ipo_loss(h, 0.25), 0.8) - 1.2) < 1e-6

# %% [markdown]
# <details><summary>Hint</summary>
#
# Minimise $0.8\,(h-2)^2+0.2\,(-h-2)^2$.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# ipo_margin = (0.8 - 0.5) / 0.25
# ```
# The derivative is $1.6(h-2)+0.4(h+2)=2h-2.4$.
# </details>
#
# **2 · Thumbs.** *★★☆ · 5 minutes.* One thumb in nine is up. You leave $\lambda_U=1$. Which $\lambda_D$ makes $\lambda_Dn_D/\lambda_Un_U=1$, and so puts KTO's threshold at the average reply?

# %% tags=["exercise"]
weight_of_good = ...

# %%
check.answer(
    weight_of_good, 8.0, atol=1e-6, mistakes={
    "counted all thumbs instead of those down": 9.0, "turned it round": 1 / 8, "took the share": 1 / 9})
assert 8 * (1 / 9) == 1 * (8 / 9)

# %% [markdown]
# <details><summary>Hint</summary>
#
# For one good reply there are eight bad ones.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# weight_of_good = 8 / 1
# ```
# </details>
#
# **3 · Which α?** *★★☆ · 10 minutes.* An annotator adds 0.5 per token to the gold reward. In the short world, `labels(gold + 0.5 * words)`; with which α does R-DPO at β = ½ end with exactly as many tokens as $\pi^*$ of the gold reward?

# %% tags=["exercise"]
alpha_of_half = ...

# %%
check.answer(
    alpha_of_half, 0.5, atol=0.01, mistakes={
    "divided by β": 1.0, "multiplied by β": 0.25, "took the wrong sign": -0.5})
cured = best(lambda logps: dpo.rdpo_loss(margins(logps), *sides, 0.5, 0.5), labels(gold + 0.5 * words))
assert abs((cured.exp() - star.exp()) @ words) < 1e-4

# %% [markdown]
# <details><summary>Hint</summary>
#
# Both the bias and α are in units of reward per token.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# alpha_of_half = 0.5
# ```
# Inside σ stands $\beta h+\alpha\,\Delta|y|$, and it is fitted to $\Delta r+0.5\,\Delta|y|$: with α = 0.5 what is left for $\beta h$ is $\Delta r$.
# </details>

# %% [markdown]
# ## Clinic: nine statements that circulate
#
# Find the flaw *before* you read the verdict.
#
# **1.** *"β-DPO: the larger a batch's β, the more important are its pairs for learning."* How hard does a pair pull, and how far must it go?

# %% tags=["concept:beta-dpo"]
for beta in (0.05, 0.1, 0.5):
    pulls = [beta / (1 + math.exp(beta * h)) for h in (0, 10, 20)]
    print(f"β = {beta:4}: pull at margins 0, 10, 20:", [f"{x:.5f}" for x in pulls],
          f"  best margin for 90 %: {math.log(9) / beta:.1f}")
assert beta / (1 + math.exp(beta * 20)) < 3e-5

# %% [markdown]
# **Verdict.** The other way round. A large β goes to batches with *large* gaps, easy or mislabelled; it keeps the policy near the reference, and at such margins the pull has died. Informative pairs are close and get a small β.
#
# **2.** *"DPO uses the reverse KL; token-level DPO replaces it by a forward KL constraint."*

# %% tags=["concept:tdpo"]
q, refs = torch.tensor([0.3, -1.0, 2.0]), torch.tensor([0.5, 0.3, 0.2])
remains = 0.7 * (refs * (q / 0.7).exp()).sum().log()
optimal = (refs.log() + q / 0.7).log_softmax(0)                        # of E[Q] − β KL(π‖ref): the reverse KL
forward = (refs * (refs.log() - optimal)).sum()
reverse = (optimal.exp() * (optimal - refs.log())).sum()
print(f"β log Z {remains:.6f} = E_ref[Q] + β KL(ref‖π*) {refs @ q + 0.7 * forward:.6f};",
      f"with KL(π*‖ref) it would be {refs @ q + 0.7 * reverse:.6f}")
assert abs(remains - 1.024565) < 1e-6 and abs(remains - refs @ q - 0.7 * forward) < 1e-12

# %% [markdown]
# **Verdict.** The problem that TDPO solves is regularised by the *reverse* KL, token by token, as in RLHF. The forward KL appears because it is what is left in $\beta\log Z$ of a prefix.
#
# **3.** *"KTO's* $z_0$ *is the mean reward of the batch's prompts with their own replies."* Count three things on the live KTO policy: its own replies in the data, replies of *other* prompts, and the true KL.

# %% tags=["concept:kto", "nbval-ignore-output"]
torch.set_default_dtype(torch.float32)
policy, row = live["KTO"]
seen = as_batch(policy, sft, schedules.seen(ours, "thumbs", 0, 2))
with torch.no_grad():
    own, mixed = seen.log_ratios.mean().item(), seen.mismatched.mean().item()
point = feedback.kto_reference_point(seen.mismatched).item()
print(f"own replies {own:+.1f}, of other prompts {mixed:+.1f}, so z = {point:.1f}; KL {row['kl']:.2f}")

# %% tags=["concept:kto"]
assert mixed < 0 == point and own < 0 and row["kl"] > 0.2
torch.set_default_dtype(torch.float64)
end = by_thumbs["KTO"]                               # the short world, exactly
print(f"mean log-ratio of the reference's replies {ref.exp() @ (end - ref):.2f};",
      f"of the policy's, the KL, {end.exp() @ (end - ref):.2f}")

# %% [markdown]
# **Verdict.** $z$ is estimated with *mismatched* prompts and replies, cut at 0, without gradient. Replies of the data were drawn from the reference, so their mean log-ratio is $-\mathrm{KL}(\pi_{\mathrm{ref}}\Vert\pi)$, never above 0: as a reference point it would not move. Nor is the usual estimate the KL. Mismatched replies are data as well; here the cut leaves $z=0$ while the policy is two nats away.
#
# **4.** *"R-DPO:* $-\log\sigma(\beta h-\alpha(|y_w|-|y_l|))$*: the minus punishes length."*

# %% tags=["concept:length-bias-rdpo"]
lengths_of, r3 = torch.tensor([3.0, 10.0, 20.0]), torch.tensor([0.0, 1.0, 2.0])
penalised = (refs.log() + (r3 - 0.1 * lengths_of) / 0.5).log_softmax(0)            # π* of r − 0.1 |y|, β = ½
h20 = 0.5 * ((penalised - refs.log())[2] - (penalised - refs.log())[0])
chance = {sign: torch.sigmoid(h20 + s * 0.1 * 17).item() for sign, s in (("plus", 1), ("minus", -1))}
true = torch.sigmoid(r3[2] - r3[0])
print(f"Bradley–Terry {true:.4f}; plus {chance['plus']:.4f}; minus {chance['minus']:.4f}")
wrong = best(lambda logps: dpo.rdpo_loss(margins(logps), *sides, 0.5, -1.0), long)
tell("minus, annotator biased", wrong)
assert abs(chance["minus"] - 0.1978) < 1e-4 and wrong.exp() @ words > optima["DPO"].exp() @ words

# %% [markdown]
# **Verdict.** Plus. The optimum for $r-\alpha|y|$ has $r=\beta\log\frac{\pi}{\pi_{\mathrm{ref}}}+\alpha|y|+c$. With a minus replies grow even longer than DPO's.
#
# **5.** *"Length control without a reference: R-DPO, SimPO, RLOO."*

# %% tags=["concept:length-bias-rdpo", "concept:reference-free"]
for loss in (dpo.rdpo_loss, rankings.simpo_loss, rankings.orpo_loss, rankings.cpo_loss):
    print(f"{loss.__name__:11} takes {asks(loss)}")
assert "margin" in asks(dpo.rdpo_loss) and "ref" not in asks(rankings.simpo_loss)

# %% [markdown]
# **Verdict.** R-DPO takes a margin, hence a reference; only SimPO of the three has none. RLOO is neither: on-policy REINFORCE with a leave-one-out baseline (chapter 11), usually *with* a KL price.
#
# **6.** *"Listwise feedback: all* $\binom K2$ *comparisons of K responses."* At zero margins, for K = 4:

# %% tags=["concept:lipo"]
none = torch.zeros(1, 4)
cut = sum(gpo.logistic(none[:, a] - none[:, b]) for a, b in combinations(range(4), 2)).item()
listed = rankings.plackett_luce_dpo_loss(none, torch.arange(4)[None], 1.0).item()
print(f"six pairs {cut:.4f} = 6 log 2; one list {listed:.4f} = log 24")
assert abs(cut - 6 * math.log(2)) < 1e-6 and abs(listed - math.log(24)) < 1e-6

# %% [markdown]
# **Verdict.** All pairs of a ranking is the *pairwise* treatment (InstructGPT). Listwise takes the ranking as one object: one of 4! orders, not six independent coins.
#
# **7.** *"Negating Negatives, NPO and CPO all take the model's outputs as desired replies and learn from negatives."*

# %% tags=["concept:npo", "concept:cpo", "concept:negating-negatives"]
for loss in (feedback.d2o_loss, feedback.npo_loss, rankings.cpo_loss):
    print(f"{loss.__name__:9} takes {asks(loss)}")

# %% [markdown]
# **Verdict.** D²O alone takes own samples. NPO unlearns: only rejected replies. CPO takes pairs, no reference, and likelihood of the chosen (it was made for translation).
#
# **8.** *"IPO was needed because* $\Psi(p)=\log\frac p{1-p}$ *is not linear."* Three functions of the win probability, one of them bent and bounded. Which ask for an endless margin?

# %% tags=["concept:ipo"]
asked_for = {"p": lambda p: p, "p³": lambda p: p**3, "log-odds": lambda p: math.log(p / (1 - p))}
for name, psi in asked_for.items():
    ends = [(psi(p) - psi(1 - p)) / (2 * 0.5) for p in (0.9, 0.99, 0.9999)]
    print(f"{name:9} best margin, β = ½, where 90, 99, 99.99 % agree:", [round(end, 2) for end in ends])
    assert (ends[-1] > 9) == (name == "log-odds")

# %% [markdown]
# **Verdict.** Not the bend, the missing *bound*: p³ is bent and harmless, the log-odds are infinite at $p=1$.
#
# **9.** *"IPO's square is symmetric, so it does not matter which model's log-probabilities come first."* The loss agrees:

# %% tags=["concept:ipo"]
def trained(swapped):
    """Three replies, the first preferred; policy and reference in their places, or swapped. Policy, loss."""
    logits, even = torch.zeros(3, requires_grad=True), torch.zeros(3).log_softmax(0)
    optimizer = torch.optim.Adam([logits], 0.05)
    for _ in range(1000):
        now, then = logits.log_softmax(0)[:2, None], even[:2, None]
        loss = ipo_loss(dpo.margin(*then, *now) if swapped else dpo.margin(*now, *then), 0.1).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return logits.softmax(0).detach(), loss.item()

# %% tags=["concept:ipo"]
for swapped in (False, True):
    policy, loss = trained(swapped)
    print(f"{'swapped' if swapped else 'right':8} loss {loss:.6f}   preferred {policy[0]:.3f},",
          f"rejected {policy[1]:.3f}")
    assert loss < 1e-6 and (policy[0] < 0.01) == swapped

# %% [markdown]
# **Verdict.** Both losses are perfect, and with the swap the preferred reply is all but gone. The square is symmetric round its *target*, not round 0. A loss that reaches its minimum proves nothing about its sign: look at the preferred reply.
#
# ## Summary
#
# | symbol | what it changes | function | where |
# |---|---|---|---|
# | $f(\beta h)$ | when a pair stops to count | `gpo_loss`, `ipo_loss`, `hinge_loss`, `slic_loss` | [margin](#One-function-of-the-margin) |
# | ε | wrong labels: smoothed, or corrected | `cdpo_loss`, `robust_dpo_loss` | [noise](#Labels-that-lie) |
# | $\beta_{\text{batch}}$ | β by batch, odd pairs left out | `dynamic_beta`, `keep_weights` | [noise](#Labels-that-lie) |
# | λ max(0, …) | the chosen reply is held up | `dpop_loss` | [DPOP](#The-chosen-reply-must-not-fall) |
# | $\pi_{\mathrm{ref}}\leftarrow\pi$; draws of $\pi^*$ | reference and replies | `reference_gap`, `acceptance_probabilities` | [reference](#Which-reference,-which-replies) |
# | α, $\lvert y\rvert$ | length | `rdpo_loss`, `simpo_loss` | [length](#Length) |
# | odds, likelihood | no reference, one stage | `orpo_loss`, `cpo_loss` | [no reference](#No-reference) |
# | $\Delta_{\mathrm{SFT}}+\Delta_{\mathrm{DPO}}$ | stages side by side | `parallel_merge`, `shrink` | [two skills](#Two-skills-at-once) |
# | $z$, δ, V | single replies | `kto_loss`, `bco_loss`, `dro_loss` | [thumbs](#Thumbs-and-marks) |
# | $-\rho$, rivals | only negatives | `npo_loss`, `d2o_loss`, `cringe_loss` | [bad](#Only-what-is-bad) |
# | $Q^*,V^*,D$ | tokens | `soft_q`, `token_credits`, `tdpo_loss` | [tokens](#Tokens) |
# | $f'$ | the divergence | `f_dpo_loss` | [divergences](#Other-divergences) |
# | rankings | lists | `plackett_luce_dpo_loss`, `lipo_loss`, `rrhf_loss`, `pro_loss` | [lists](#Lists) |
#
# ## Quiz

# %%
check.quiz(
    "A pair on which all annotators agree, trained for ever. Which loss stops at a margin of its own accord?",
    ["DPO", "Robust DPO", "IPO", "All of them, β sees to it"], answer=2,
    why="IPO has the target 1/(2β). DPO's margin grows like a logarithm, robust DPO's without any bound.")

# %%
check.quiz(
    "A third of your labels is turned, you know it and have many pairs. Which reward has the right size?",
    ["DPO's", "Conservative DPO's", "Robust DPO's"], answer=2,
    why="Turned labels flatten DPO's, smoothing flattens it again; the order is the same in all three.")

# %%
check.quiz(
    "Few thumbs are up, and KTO runs with equal weights. What may happen?",
    ["The good ones win, slowly", "All rated replies are pushed down, and mass goes to replies nobody rated",
     "Nothing: thumbs carry no gradient"], answer=1,
    why="Below the threshold λ_U/(λ_D+λ_U) every reply counts as bad. Raise λ_D.")

# %%
check.quiz(
    "A league table says method X earns 0.1 more than DPO on one task, three seeds. What do you know?",
    ["X is better", "X's setting did better here; compare seed by seed whether it is luck", "Nothing at all"],
    answer=1,
    why="One task, one setting of each, one size, three seeds. Another β alone moves DPO.")

# %% [markdown]
# ## Sources
#
# Equation numbers stand in the docstrings of the functions.
#
# - One function: Tang et al. 2024, GPO ([2402.05749](https://arxiv.org/abs/2402.05749)). Azar et al. 2023, IPO ([2310.12036](https://arxiv.org/abs/2310.12036)). Zhao et al. 2023, SLiC-HF ([2305.10425](https://arxiv.org/abs/2305.10425)).
# - Noise: Mitchell 2023, *A note on DPO with noisy preferences*. Chowdhury et al. 2024, robust DPO ([2403.00409](https://arxiv.org/abs/2403.00409)). Wu et al. 2024, β-DPO ([2407.08639](https://arxiv.org/abs/2407.08639)). Pal et al. 2024, DPOP ([2402.13228](https://arxiv.org/abs/2402.13228)).
# - References and replies: Kim et al. 2024, sDPO ([2403.19270](https://arxiv.org/abs/2403.19270)). Liu et al. 2023, RSO ([2309.06657](https://arxiv.org/abs/2309.06657)). Wang et al. 2023, f-DPO ([2309.16240](https://arxiv.org/abs/2309.16240)).
# - Length and no reference: Park et al. 2024, R-DPO ([2403.19159](https://arxiv.org/abs/2403.19159)). Meng et al. 2024, SimPO ([2405.14734](https://arxiv.org/abs/2405.14734)). Hong et al. 2024, ORPO ([2403.07691](https://arxiv.org/abs/2403.07691)). Xu et al. 2024, CPO ([2401.08417](https://arxiv.org/abs/2401.08417)). Pentyala et al. 2024, PAFT ([2406.17923](https://arxiv.org/abs/2406.17923)). McCloskey & Cohen 1989: forgetting. Ahmadian et al. 2024, RLOO ([2402.14740](https://arxiv.org/abs/2402.14740)).
# - Single replies: Ethayarajh et al. 2024, KTO ([2402.01306](https://arxiv.org/abs/2402.01306)). Jung et al. 2024, BCO ([2404.04656](https://arxiv.org/abs/2404.04656)). Richemond et al. 2024, DRO ([2405.19107](https://arxiv.org/abs/2405.19107)). Zhang et al. 2024, NPO ([2404.05868](https://arxiv.org/abs/2404.05868)). Duan et al. 2024, D²O ([2403.03419](https://arxiv.org/abs/2403.03419)). Adolphs et al. 2022, CRINGE ([2211.05826](https://arxiv.org/abs/2211.05826)); Xu et al. 2023, pairwise ([2312.16682](https://arxiv.org/abs/2312.16682)). Welleck et al. 2019, unlikelihood ([1908.04319](https://arxiv.org/abs/1908.04319)).
# - Tokens: Rafailov et al. 2024, *From r to Q\** ([2404.12358](https://arxiv.org/abs/2404.12358)). Zeng et al. 2024, TDPO ([2404.11999](https://arxiv.org/abs/2404.11999)).
# - Lists: Liu et al. 2024, LiPO ([2402.01878](https://arxiv.org/abs/2402.01878)). Yuan et al. 2023, RRHF ([2304.05302](https://arxiv.org/abs/2304.05302)). Song et al. 2023, PRO ([2306.17492](https://arxiv.org/abs/2306.17492)). Ouyang et al. 2022, InstructGPT ([2203.02155](https://arxiv.org/abs/2203.02155)).
# - Surveys: Wang et al. 2024 ([2407.16216](https://arxiv.org/abs/2407.16216)). Rafailov et al. 2023, DPO ([2305.18290](https://arxiv.org/abs/2305.18290)).
#
# Next: chapter 11, groups of replies and rewards that a rule can check.
