# ---
# jupyter:
#   course:
#     number: 9
#     slug: dpo
#     title: DPO
#     question: "Can you skip the reward model, and when?"
#     modules: [dpo, loops]
#     explorer: "β, margin and coverage"
#     read: 75
#     run: 100
# ---

# %% [markdown]
# # 09 · DPO
#
# **Can you skip the reward model, and when?**
#
# After this chapter you can
#
# - derive DPO's loss from RLHF's optimum in four lines, and check each line with numbers;
# - say under which conditions DPO reaches the same policy as RLHF, and show what happens when one of them fails;
# - read a training curve of DPO: margin, both log-probabilities, and what they do not tell;
# - choose between DPO and PPO by what each was given, what it cost and where it ended.
#
# **Needs** [chapter 07](07_reward_models.ipynb): Bradley–Terry and Plackett–Luce; [chapter 08](08_rlhf.ipynb): $\pi^*$, $Z$ and the phrase world. **Minutes** 75 to read and do, under 2 to run.

# %%
import csv

import torch

from rlcore import check, dpo, dpo_tokens, lm, mdp, rankings, td
from rlcore.view import plots, style
from rlcore.view.explore import dpo as coverage
from rlcore.view.explore import explore
from rlcore.worlds import gridworld, phrases
from rlcore.worlds import replies as office

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.set_printoptions(precision=4, sci_mode=False, linewidth=110)

# %% [markdown]
# ## Before you run
#
# You train a language model on pairs, a chosen and a rejected reply each. The loss falls, and on fresh pairs the chosen reply gains on the rejected one ever more often. **What happens to the mean log-probability of the
# chosen replies: up, unchanged, or down? And if you had pairs without end, would you get the policy that RLHF gets?** Write both guesses down.
#
# ## The smallest example, by hand
#
# Chapter 08's three replies. The reference says them with chances ½, 0.3, 0.2; they earn 0, 1, 2; a nat costs $\beta=½$. The best policy and its $Z$ were
# $$\pi^*(y)=\frac{\pi_{\mathrm{ref}}(y)\,e^{r(y)/\beta}}{Z}=(0.037,\,0.163,\,0.801),\qquad Z=\sum_y\pi_{\mathrm{ref}}(y)\,e^{r(y)/\beta}=13.64 .$$
# There the reward was given and the policy wanted. **Turn it round**: given the policy, which reward is it the best for? Take the logarithm, multiply by β:
# $$r(y)=\beta\log\frac{\pi^*(y)}{\pi_{\mathrm{ref}}(y)}+\beta\log Z .$$
# $Z$ appears once, with a plus.

# %% tags=["concept:kl-regularised-optimum", "concept:reward-reparameterisation"]
start, earned, beta = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.0, 1.0, 2.0]), 0.5
weights = start * (earned / beta).exp()
z = weights.sum()
optimum = weights / z
first, second = beta * (optimum / start).log(), beta * z.log()
print("π*               ", optimum, f"  Z {z:.4f}")
print("β log(π*/π_ref)  ", first, f"  β log Z {second:.4f}")
print("together         ", first + second)

# %% tags=["concept:kl-regularised-optimum", "concept:reward-reparameterisation"]
assert torch.allclose(first + second, earned) and abs(z - 13.636347) < 1e-6
assert torch.allclose(optimum, torch.tensor([0.036667, 0.162559, 0.800774]), atol=1e-6)

# %% [markdown]
# The rewards are back. The policy alone gives them too, all lower by $\beta\log Z$. For *differences* you need no $Z$.
#
# ## Four lines
#
# 1. RLHF's optimum: $\pi^*(y\mid x)=\pi_{\mathrm{ref}}(y\mid x)\,e^{r(x,y)/\beta}/Z(x)$, with one $Z$ for each prompt $x$.
# 2. Turned round: $r(x,y)=\beta\log\frac{\pi^*(y\mid x)}{\pi_{\mathrm{ref}}(y\mid x)}+\beta\log Z(x)$.
# 3. Bradley–Terry asks for a difference of two replies to *one* prompt, and $\beta\log Z(x)$ cancels: $P(y_w\succ y_l)=\sigma\big(\beta\log\frac{\pi^*(y_w\mid x)}{\pi_{\mathrm{ref}}(y_w\mid x)}-\beta\log\frac{\pi^*(y_l\mid x)}{\pi_{\mathrm{ref}}(y_l\mid x)}\big)$.
# 4. So write your policy $\pi_\theta$ where $\pi^*$ stands, and maximise the likelihood of the choices that were made.
#
# The quantity $\hat r_\theta(x,y)=\beta\log\frac{\pi_\theta(y\mid x)}{\pi_{\mathrm{ref}}(y\mid x)}$ is the **implicit reward**: *every* policy is a reward model, up to a constant for each prompt. The phrase world has 781 replies to each of three prompts,
# every sum exact:

# %%
world, P, N = phrases.Phrases(), phrases.P, phrases.N
reference = world.reference_logits()                                   # [P, S, V]: prompts, prefixes, tokens
ref_logps = world.logps(reference)                                     # [P, N] nats, of whole replies
star = world.optimum(ref_logps, beta)                                  # [P, N] nats, of the best policy

# %% tags=["concept:implicit-reward", "concept:reward-reparameterisation"]
implicit = beta * (star - ref_logps)                                   # [P, N]
apart = world.reward - implicit
for prompt, name in enumerate(world.prompts):
    print(f"{name:19} reward − implicit reward: from {apart[prompt].min():.6f} to {apart[prompt].max():.6f}")
print("β log Z(x)         ", beta * world.log_partition(ref_logps, beta))

# %% tags=["concept:implicit-reward"]
assert torch.allclose(apart, beta * world.log_partition(ref_logps, beta)[:, None].expand(P, N))
any_table = reference + torch.randn(reference.shape, generator=torch.Generator().manual_seed(0))
any_policy = world.logps(any_table)                                    # some policy, trained by nobody
its_reward = beta * (any_policy - ref_logps)
assert torch.allclose(world.optimum(ref_logps, beta, its_reward), any_policy)   # is the best for its own

# %% [markdown]
# One number for each prompt: nothing that compares replies to one prompt can see it. And any policy is RLHF's optimum for its own implicit reward.
#
# ## The loss
#
# Write $\pi$ for the policy, $y_w$ for the chosen and $y_l$ for the rejected reply (winner, loser). The **margin** is how much more than the reference the policy prefers the chosen reply, in nats:
# $$h=\log\frac{\pi(y_w\mid x)}{\pi_{\mathrm{ref}}(y_w\mid x)}-\log\frac{\pi(y_l\mid x)}{\pi_{\mathrm{ref}}(y_l\mid x)},\qquad L_{\mathrm{DPO}}=-\log\sigma(\beta h).$$
# It is a *loss*, minimised, where $\mathbb E[r]-\beta\,\mathrm{KL}$ was an objective, maximised. It is chapter 07's reward-model loss with the implicit reward as the score.
#
# ![From the pairs two routes: above, a reward model is fitted and PPO draws new replies that it scores, priced by the reference; below, the policy is fitted to the pairs themselves, and the reference gives the log-probabilities of the same replies](../figures/09_routes.svg)
#
# ### Write it: `margin`
#
# *Difficulty ★☆☆ · importance ★★★ · 5 minutes.* All four are log-probabilities of whole replies, axis [B]; the result is [B].

# %% tags=["exercise"]
@check.exercise(dpo.margin)
def margin(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# The log of a ratio is a difference of logs, policy minus reference. Chosen minus rejected.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def margin(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps):
#     return (chosen_logps - ref_chosen_logps) - (rejected_logps - ref_rejected_logps)
# ```
# </details>
#
# ### Write it: `dpo_loss`
#
# *Difficulty ★☆☆ · importance ★★★ · 5 minutes.* From margins [B] and β, unreduced. As in chapter 07, a sigmoid may be 0 in floating point: use `torch.nn.functional.logsigmoid`.

# %% tags=["exercise"]
@check.exercise(dpo.dpo_loss)
def dpo_loss(margin, beta):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# β goes inside, in front of the margin. One minus sign outside.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def dpo_loss(margin, beta):
#     return -torch.nn.functional.logsigmoid(beta * margin)
# ```
# </details>
#
# ### Use it: four margins

# %% tags=["concept:dpo-loss", "concept:role-of-beta"]
rows = torch.tensor([[0.5, 0.0], [0.5, 2.0], [0.5, -2.0], [0.1, 10.0]])
for price, h in rows:
    at = h.reshape(1).requires_grad_()
    loss = dpo_loss(at, price.item())
    (slope,) = torch.autograd.grad(loss.sum(), at)
    print(f"β {price:.1f}  margin {h:+3.0f}: loss {loss.item():.6f}, slope {slope.item():+.6f}")
    assert abs(slope + price * (-price * h).sigmoid()) < 1e-12         # −β σ(−β h)

# %% tags=["concept:dpo-loss"]
assert torch.allclose(dpo_loss(rows[1:, 1], 0.5)[:2], torch.tensor([0.313262, 1.313262]), atol=1e-6)

# %% [markdown]
# At the reference the margin is 0 and the loss $\log2=0.693$, whatever β is. A loss of 0.313 is margin 2 at β = 0.5, or margin 10 at β = 0.1: *losses at different β cannot be compared*.
#
# ## The gradient
#
# Only $\log\pi$ depends on θ. With $\hat r_w,\hat r_l$ for the implicit rewards of the two replies, $\beta h=\hat r_w-\hat r_l$ and
# $$\nabla_\theta L=-\beta\;\underbrace{\sigma(\hat r_l-\hat r_w)}_{\text{weight}}\;\big[\nabla_\theta\log\pi(y_w)-\nabla_\theta\log\pi(y_l)\big].$$
# Push the chosen up and the rejected down, harder where the implicit reward orders the pair *wrongly*. By pencil, β = 0.5 and $\hat r_w=0.2$, $\hat r_l=0.8$: the weight is $\sigma(0.6)=0.646$. On the phrase world, some policy and three pairs:

# %% tags=["concept:dpo-gradient"]
table = any_table.clone().requires_grad_()
chosen, rejected = (torch.tensor([world.index(text) for text in texts]) for texts in
                    (("thanks friend", "thanks", "sorry"), ("hello", "whatever", "thanks sorry friend")))
logps = world.logps(table)[1]                                          # to "someone helped you"
h = margin(logps[chosen], logps[rejected], ref_logps[1, chosen], ref_logps[1, rejected])
weight = (-beta * h).sigmoid().detach()                                # σ(r̂_l − r̂_w)

# %% tags=["concept:dpo-gradient"]
for w, l, gap, pull in zip(chosen, rejected, (beta * h).tolist(), weight.tolist()):
    first, other = world.responses[w], world.responses[l]
    print(f"{first:13} over {other:19}: r̂_w − r̂_l = {gap:+.3f}, weight {pull:.3f}")

# %% tags=["concept:dpo-gradient"]
def slope(loss):
    return torch.autograd.grad(loss.sum(), table, retain_graph=True)[0]

# %% tags=["concept:dpo-gradient"]
by_autograd = slope(dpo_loss(h, beta))
by_hand = -beta * sum(pull * (slope(logps[w]) - slope(logps[l]))
                      for pull, w, l in zip(weight, chosen, rejected))
for prefix in ("", "thanks"):
    row = world.index(prefix)
    print(f"after “{prefix}”: by autograd", by_autograd[1, row], "\n      by hand    ", by_hand[1, row])
assert torch.allclose(by_autograd, by_hand) and abs(torch.tensor(0.6).sigmoid() - 0.645656) < 1e-6

# %% [markdown]
# ### What β does
#
# Let annotators prefer $y_w$ with chance $p$ and average the loss over both labels. It is least where $\sigma(\beta h)=p$:
# $$h^*=\frac{1}{\beta}\log\frac{p}{1-p}=\frac{\mathrm{logit}(p)}\beta .$$

# %% tags=["concept:role-of-beta"]
fine = torch.linspace(-60, 60, 120_001)
for p, price in ((0.7, 0.1), (0.9, 0.1), (0.9, 0.5)):
    mean = p * dpo_loss(fine, price) + (1 - p) * dpo_loss(-fine, price)
    exact = torch.tensor(p).logit() / price
    print(f"p {p}, β {price}: least on a grid at {fine[mean.argmin()]:.3f}, logit(p)/β = {exact:.3f}")
    assert abs(fine[mean.argmin()] - exact) < 0.001

# %% [markdown]
# The same labels ask for a margin five times as large at β = 0.1 as at β = 0.5: β is the strength of the anchor. And if *everybody* agrees, $p=1$, then $h^*=\infty$. One label for each pair is such a case. Nothing stops the margin but the end of training:

# %% tags=["concept:role-of-beta", "concept:dpo-limitations"]
logit = torch.zeros(1, requires_grad=True)
optimizer, reached = torch.optim.Adam([logit], 0.05), {}
for step in range(1, 4001):
    optimizer.zero_grad()
    dpo_loss(logit, 0.1).sum().backward()
    optimizer.step()
    reached[step] = logit.item()
print({step: round(reached[step], 1) for step in (100, 1000, 4000)})
assert reached[1000] > 4 * reached[100] and reached[4000] > 1.5 * reached[1000]

# %% [markdown]
# ## Does it reach RLHF's policy?
#
# Now the claim itself. First in the limit: all pairs of replies, weighted by how often the reference draws them, each with its exact Bradley–Terry chances. That is the loss of pairs without end. The policy is a table of
# logits, begun at the reference; plain Adam; no reward model, no sampling from the policy.

# %%
preferred = (world.reward[..., None] - world.reward[:, None]).sigmoid()         # [P, N, N]: row over column

def endless(draws, beta, sign=1, preferred=preferred):
    """The loss of endless pairs; both replies of a pair are drawn with chances `draws` [P, N]."""
    some = draws.sum(0).nonzero().flatten()                            # replies that occur
    pairs = 2 * draws[:, some, None] * draws[:, None, some] / P         # twice: either may be drawn first
    share = pairs * preferred[:, some][..., some]                      # of (chosen, rejected), sums to 1
    def loss(policy):                                                  # a table, or logits of replies [P, N]
        logps = world.logps(policy) if policy.ndim == 3 else policy.log_softmax(-1)
        ratio = (logps - ref_logps)[:, some]
        h = sign * (ratio[..., None] - ratio[:, None])                 # chosen: row; rejected: column
        return (share.flatten() * dpo_loss(h.flatten(), beta)).sum()
    return loss

# %%
def descend(loss, steps, begin=reference):
    """Minimise a loss of a table by Adam; the table after each step."""
    table = begin.clone().requires_grad_()
    optimizer = torch.optim.Adam([table], 0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(table).backward()
        optimizer.step()
        yield table.detach().clone()

def variation(logps, other=star):
    return (logps.exp() - other.exp()).abs().sum(-1) / 2               # total variation, [..., P]

# %% tags=["concept:dpo-loss", "concept:kl-regularised-optimum"]
by_reference = ref_logps.exp()
half_even = by_reference / 2 + 0.5 / N                                 # another way to draw pairs
limit = {"the reference": by_reference, "half of them evenly": half_even}
limit = {name: list(descend(endless(draws, beta), 120)) for name, draws in limit.items()}
print(f"total variation to π*, mean of three prompts; the reference: {variation(ref_logps).mean():.4f}")
for name, tables in limit.items():
    marks = {step: f"{variation(world.logps(tables[step - 1])).mean():.4f}" for step in (10, 30, 60, 120)}
    print(f"pairs drawn by {name:20}", marks)

# %% tags=["concept:dpo-loss", "concept:kl-regularised-optimum"]
ends = torch.stack([variation(world.logps(tables[-1])) for tables in limit.values()])
assert ends.max() < 1e-2 and variation(ref_logps).min() > 0.4          # every prompt, both ways of drawing

# %% [markdown]
# Both runs end at $\pi^*$, on every prompt: within a total variation of a hundredth. *Which* pairs were drawn did not matter, as long as each has a chance. So DPO **is** RLHF here, and your second guess is answered: yes, *if*. The conditions:
#
# 1. preferences follow Bradley–Terry for *some* reward;
# 2. every reply that matters has a chance to be drawn: **coverage**;
# 3. the policy can express $\pi^*$: **realisability**;
# 4. pairs without end;
# 5. the optimiser gets to the least loss.
#
# The rest of the chapter drops the first four; the first steps of each run show the fifth.
#
# ### Tokens
#
# A language model chooses tokens. Is its policy token by token the same thing? Play the phrase world backwards, with
# $$Q^*(s,a)=r(s,a)+\beta\log\pi_{\mathrm{ref}}(a\mid s)+V^*(s'),\qquad V^*(s)=\beta\log\sum_a e^{Q^*(s,a)/\beta}:$$
# $s$ is the prompt and the words so far, $a$ the next token, $s'$ both together; $r$ is 0 until the reply ends. $V^*$ is a *soft* maximum; its policy is $e^{(Q^*-V^*)/\beta}$.

# %% tags=["concept:kl-regularised-optimum"]
value, token_logps = torch.zeros(P, N), torch.zeros_like(reference)
count = (world.tokens[: phrases.S] != phrases.EOS).sum(-1)             # words of each prefix
for words in (3, 2, 1, 0):
    at = (count == words).nonzero().flatten()
    said = world.said[at]                                              # [prefixes, V]: the reply so far
    over = (said >= phrases.S) | (torch.arange(phrases.V) == phrases.EOS)
    paid = torch.where(over, world.reward[:, said], 0.0)               # at the end
    after = torch.where(over, 0.0, value[:, said])
    q = dpo_tokens.soft_q(paid, after, reference.log_softmax(-1)[:, at], beta)
    value[:, at], token_logps[:, at] = dpo_tokens.soft_value(q, beta), dpo_tokens.soft_logps(q, beta)

# %% tags=["concept:kl-regularised-optimum"]
print("V* before the first token", value[:, 0], "\nβ log Z                  ",
      beta * world.log_partition(ref_logps, beta))
assert torch.allclose(world.logps(token_logps), star)                  # all replies, all prompts
assert torch.allclose(value[:, 0], beta * world.log_partition(ref_logps, beta))

# %% [markdown]
# The product of the token policies is the sequence-level $\pi^*$, and $V^*$ before the first token is $\beta\log Z$. So a policy over tokens loses nothing: the table can express $\pi^*$.
#
# ## With pairs that end
#
# Now draw pairs: two replies from the reference, one label from Bradley–Terry. For each prompt 1,000 pairs, or 4, 16, 64 times as many; three seeds; the same 150 steps on all of them. (Condition 4.)

# %%
def pairs_of(source, count, generator):
    """So many pairs for each prompt, both replies from `source` [P, N] logps: [P, count, 2], chosen first."""
    said = torch.multinomial(source.exp(), 2 * count, replacement=True, generator=generator).view(P, count, 2)
    lead = world.reward.gather(1, said.flatten(1)).view(said.shape).diff(dim=-1)[..., 0]
    second = torch.rand(lead.shape, generator=generator) < lead.sigmoid()
    return torch.where(second[..., None], said.flip(-1), said)

def sampled(pairs, beta, refs=ref_logps):
    """The mean loss of these pairs."""
    best, worst = pairs.unbind(-1)
    def loss(table):
        logps = world.logps(table)
        four = logps.gather(1, best), logps.gather(1, worst), refs.gather(1, best), refs.gather(1, worst)
        return dpo_loss(margin(*(x.flatten() for x in four)), beta).mean()
    return loss

# %% tags=["concept:dpo-limitations"]
counts, curves, rewards, furthest = (1000, 4000, 16_000, 64_000), {}, {}, {}
for count in counts:
    runs = [torch.stack(list(descend(sampled(pairs_of(ref_logps, count, torch.Generator().manual_seed(seed)),
                                             beta), 150))) for seed in range(3)]
    runs = torch.stack(runs)                                           # [3, 150, P, S, V]
    curves[count] = variation(world.logps(runs)).mean(-1)              # [3, 150]
    rewards[count] = world.value(runs[:, -1]).mean(-1)                 # [3]
    furthest[count] = variation(world.logps(runs[:, -1])).max()        # worst seed and prompt
mean_reward = (star.exp() * world.reward).sum(-1).mean()
print(f"reference: total variation {variation(ref_logps).mean():.2f}, reward "
      f"{world.value(reference).mean():.2f}; π*: reward {mean_reward:.2f}")
for count, line in curves.items():
    print(f"{count:6,} pairs: nearest {line.amin(1).mean():.2f}, after 150 steps {line[:, -1].mean():.2f},",
          f"reward {rewards[count].mean():+.2f}")

# %% tags=["concept:dpo-limitations"]
last = torch.stack([curves[count][:, -1] for count in counts])         # [4, seeds]
assert (last.mean(1).diff() < 0).all() and (last[:2].amin(1) > last[1:3].amax(1)).all()    # more is nearer
assert last[-1].max() < 0.04 and (curves[1000].amin(1) < 0.25).all() and last[0].min() > 0.3
assert rewards[1000].max() < rewards[64_000].min() - 0.3

# %% tags=["concept:dpo-limitations"]
few = sampled(pairs_of(ref_logps, 1000, torch.Generator().manual_seed(0)), beta)
falling = [few(table).item() for table in descend(few, 150)]
print("1,000 pairs, their loss after 10, 40, 150 steps:", [round(falling[k - 1], 3) for k in (10, 40, 150)])
assert falling[9] > falling[39] > falling[149]

# %% tags=["concept:dpo-limitations"]
fig, ax = plots.figure(height=2.9)
for count, dash in zip(counts, (":", "--", "-.", "-")):
    lines = ax.plot(range(1, 151), curves[count].T, dash, color=style.COLOR["policy"], linewidth=1.2)
    lines[0].set_label(f"{count:,} pairs")
exactly = [variation(world.logps(table)).mean() for table in limit["the reference"]]
ax.plot(range(1, 121), exactly, color=style.COLOR["exact"], linewidth=0.9, label="pairs without end")
ax.set(xlabel="step", ylabel="total variation to π*", ylim=(0, 0.6))
ax.set_title("Few pairs: DPO comes near the optimum, and leaves again")
ax.legend(ncols=3, loc="upper center")
plots.show(plots.caption(fig, "Total variation between DPO's policy and the optimum over 150 steps, three "
    f"seeds each. With 1,000 pairs for each prompt it falls to {curves[1000].amin(1).mean():.2f} and rises "
    f"to {last[0].mean():.2f}; with 64,000 it ends at {last[3].mean():.2f}, endless at {exactly[-1]:.4f}."))

# %% [markdown]
# The direction is right at first. Then DPO fits the labels of pairs that occurred once, $p=1$ as far as it knows, and runs away, while the loss goes on falling. Practice: few passes, a small step size, and a look at fresh pairs.
#
# ### Replies that nobody compared
#
# Next, coverage, condition 2. Annotators see replies of at most two words: 31 of 781. Labels exact, pairs without end. Two policies:

# %% tags=["concept:dpo-limitations"]
short = (world.tokens != phrases.EOS).sum(-1) <= 2                     # [N]
draws = ref_logps.exp() * short
draws = draws / draws.sum(-1, keepdim=True)
shown = endless(draws, beta)

# %% tags=["concept:dpo-limitations"]
inside = star.masked_fill(~short, -torch.inf).log_softmax(-1)          # π*, among the short ones
strange = torch.where(short, inside.exp() * 0.05, 0.95 / (~short).sum()).log()
for name, logps in (("π*", star), ("another", strange)):
    loss, worth = shown(world.token_logits(logps)), (logps.exp() * world.reward).sum(-1).mean()
    print(f"{name:8} loss {loss:.10f}   reward {worth:+.2f}   KL {world.kl(logps, ref_logps).mean():.2f}")

# %% tags=["concept:dpo-limitations"]
assert abs(shown(world.token_logits(star)) - shown(world.token_logits(strange))) < 1e-12
assert world.kl(strange, ref_logps).min() > 2

# %% [markdown]
# Ten equal digits of loss. The second policy says something long and arbitrary 95 times in 100. RLHF's optimum is *one* policy: its KL counts every reply. DPO's least loss is a whole family. Which member you get is the optimiser's business. From the reference, by Adam:

# %% tags=["concept:dpo-limitations"]
leaked, endings = {}, {}
for price in (0.5, 0.1):
    losing, wanted = endless(draws, price), world.optimum(ref_logps, price)
    *_, found = descend(losing, 600)
    *_, free = descend(losing, 1500, begin=ref_logps)
    endings[price] = world.logps(found), free.log_softmax(-1)          # a table; one logit for each reply
    leaked[price] = [(logps.exp() * ~short).sum(-1).mean().item()
                     for logps in (ref_logps, wanted, *endings[price])]
    above = max(losing(logps) - losing(wanted) for logps in endings[price])
    before, best_has, has, alone = leaked[price]
    print(f"β {price}: replies of three or four words: reference {before:.3f}, π* {best_has:.4f},",
          f"DPO {has:.4f}, one logit each {alone:.5f}; loss above the least {above:.6f}")
    assert above < 1e-5

# %% tags=["concept:dpo-limitations"]
assert leaked[0.5][2] > 1.5 * leaked[0.5][1] and leaked[0.1][2] > 20 * leaked[0.1][1]      # too much
assert leaked[0.5][3] > 1.2 * leaked[0.5][1] and leaked[0.1][3] < leaked[0.1][1] / 5       # and too little

# %% [markdown]
# The loss is at its least, and the wrong mass is on replies that nobody compared: more than one and a half times what $\pi^*$ has at β = 0.5, many times as much at β = 0.1. Nothing in the loss sets this mass. The chosen logits grow and the normaliser with them, so untouched replies shrink; replies that begin with a liked word are carried up. With one logit for each reply 0.11 and 0.00003 are left.
#
# ## Explorer: β, margin and coverage
#
# Five replies, a logit for each. Left: the loss of one pair whose better reply leads by 1, against its margin; its weight; and the mean over both labels, with its least (triangle). Right: the policy that gradient descent leaves when *every pair of the replies
# you choose* has its least loss. Strokes: the reference (dotted) and $\pi^*$.

# %% tags=["concept:role-of-beta", "concept:dpo-limitations", "concept:dpo-gradient"]
explore(coverage.draw, **coverage.controls())

# %% [markdown]
# **Try it.** At rest D, the best reply, occurs in no pair, and the margin is at its best. How much mass should D have, and how much has it? Change β: can it help? Then show all five and turn a fifth of the labels: where does the triangle go? Last, show A and D alone at β = 1: which replies gain that nobody compared?
#
# <details><summary>What you should see</summary>
#
# D should have 0.71 and has 0.02. No β repairs it; with a small β the gap grows to almost 1. With all five shown the policy is $\pi^*$ exactly. Turned labels move the triangle to the left, and the policy stays nearer to the reference. With A and D alone, B, C and E are never
# touched, yet their chances rise together, good or bad: what A loses is more than what D gains.
# </details>

# %% tags=["concept:dpo-limitations", "concept:role-of-beta"]
rest, whole = (coverage.outcome(0.5, 0.0, name) for name in (coverage.NO_BEST, coverage.ALL))
two = coverage.outcome(1.0, 0.0, coverage.TWO).dpo / torch.tensor(coverage.REFERENCE)
assert abs(rest.star[3] - 0.71) < 0.005 and abs(rest.dpo[3] - 0.02) < 0.005 and whole.off < 1e-6
assert coverage.outcome(0.1, 0.0, coverage.NO_BEST).off > 0.99 and (two[[1, 2, 4]] > 1.05).all()
noisy = coverage.outcome(0.5, 0.2, coverage.ALL).dpo.log() - torch.tensor(coverage.REFERENCE).log()
assert noisy.std() < (whole.dpo.log() - torch.tensor(coverage.REFERENCE).log()).std()

# %% [markdown]
# ## Where do the chosen replies go?
#
# The loss knows the margin alone. It may grow while *both* log-probabilities fall, and that is what is seen in practice: **likelihood displacement**. Part of it is no defect. At $\pi^*$ itself, $\log\frac{\pi^*}{\pi_{\mathrm{ref}}}=\big(r-\beta\log Z\big)/\beta$: every reply that earns
# less than $\beta\log Z$ loses, and among the chosen ones are many that merely beat something worse. Exactly, over pairs drawn from the reference:

# %% tags=["concept:dpo-limitations"]
share = 2 / P * by_reference[..., None] * by_reference[:, None] * preferred
print("   β   mean log π*/π_ref: chosen, rejected   mean π*/π_ref, chosen   drawn from π_ref that lose")
moved = {}
for price in (2.0, 1.0, 0.5, 0.1):
    ratio = world.optimum(ref_logps, price) - ref_logps
    moved[price] = ((share.sum(-1) * ratio).sum(), (share.sum(-2) * ratio).sum())
    loses = (by_reference * (ratio < 0)).sum() / P
    grown = (share.sum(-1) * ratio.exp()).sum()
    print(f"{price:4} {moved[price][0]:+25.2f} {moved[price][1]:+9.2f} {grown:20.2f} {loses:23.0%}")
    assert grown > 1 and torch.isclose(sum(moved[price]) / 2, (by_reference * ratio).sum() / P)
assert all(lost < won for won, lost in moved.values())
assert all(moved[price][0] < 0 for price in (1.0, 0.5, 0.1))

# %% [markdown]
# From β = 1 down even the exact optimum takes log-probability from the chosen replies *on average*: it gives the mass to the few that are best. On pairs from the reference both log-ratios together average $-\mathrm{KL}(\pi_{\mathrm{ref}}\Vert\pi)$, whatever the policy: some fall is bound to come. It is a statement about logarithms, ruled by the replies that lose most; the chance itself, averaged over the chosen, *rises*. So a falling mean proves nothing. The question is **where the mass goes**. If parameters are shared between replies, $\pi^*$ *may* be out of reach (condition 3), and raising one reply moves others. Three replies, two features, one pair; the third
# reply is in no pair, and its first feature has the opposite sign:

# %% tags=["concept:dpo-limitations"]
features = torch.tensor([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.3]])         # chosen, rejected, never compared
w = torch.zeros(2, requires_grad=True)
for step in range(101):
    logps = (features @ w).log_softmax(-1)
    ratios = logps + torch.tensor(3.0).log()                           # the reference: ⅓ each
    loss = dpo_loss((ratios[0] - ratios[1]).reshape(1), 0.5).sum()
    if step in (0, 10, 100):
        print(f"step {step:3}: loss {loss:.3f}, chances", [f"{x:.4f}" for x in logps.exp().tolist()])
    w = (w - 0.5 * torch.autograd.grad(loss, w)[0]).detach().requires_grad_()
logps_of_three, loss_of_three = logps.detach(), loss.item()
assert logps[0].exp() < 0.001 and logps[2].exp() > 0.999 and loss < 0.1

# %% [markdown]
# The loss falls from 0.693 to 0.086 and the chosen reply goes from a third to almost nothing. Three conditions fail at once: coverage, realisability, one label. Chosen and rejected look alike, so what separates them pushes along the one feature they share, and a stranger inherits everything.
#
# ## Who wrote the pairs?
#
# In the limit it did not matter. With 4,000 pairs for each prompt it does. Three sources: the reference itself; a *better writer* (the optimum at β = 0.2), both replies good; a *rude writer* who likes "whatever". DPO from the reference, 50 steps. And a
# second recipe: first **SFT on the chosen replies**, 50 steps; then DPO with *that* model as the reference.

# %%
rude = reference.clone()
rude[..., phrases.WORDS.index("whatever")] += 3.0
sources = {"the model itself": ref_logps, "a better writer": world.optimum(ref_logps, 0.2),
           "a rude writer": world.logps(rude)}

def both_ways(source, seed):
    """Tables after DPO; after SFT on the chosen; after SFT and DPO. And the pairs."""
    pairs = pairs_of(source, 4000, torch.Generator().manual_seed(seed))
    *_, alone = descend(sampled(pairs, beta), 50)
    *_, copied = descend(lambda table: -world.logps(table).gather(1, pairs[..., 0]).mean(), 50)
    *_, then = descend(sampled(pairs, beta, refs=world.logps(copied)), 50, begin=copied)
    return (alone, copied, then), pairs

# %% tags=["concept:preference-distribution-shift", "concept:sft-before-dpo"]
def objective(table):
    return (world.value(table) - beta * world.kl(world.logps(table), ref_logps)).mean()

def outcome(table, pairs):
    """Reward, KL, reward − β KL; mass on replies in no pair; mean log π/π_ref of chosen and rejected."""
    logps, unseen = world.logps(table), torch.ones(P, N).scatter(1, pairs.flatten(1), 0.0)
    gained = (logps - ref_logps).gather(1, pairs.flatten(1)).view(pairs.shape).mean((0, 1))
    return torch.stack([world.value(table).mean(), world.kl(logps, ref_logps).mean(), objective(table),
                        (unseen * logps.exp()).sum() / P, *gained])

# %% tags=["concept:preference-distribution-shift", "concept:sft-before-dpo"]
recipes, found = ("before", "DPO", "SFT", "SFT, then DPO"), {}
for name, source in sources.items():
    runs = [both_ways(source, seed) for seed in range(3)]
    found[name] = torch.stack([torch.stack([outcome(table, pairs) for table in (reference, *tables)])
                               for tables, pairs in runs])             # [3 seeds, 4 recipes, 6]

# %% tags=["concept:preference-distribution-shift", "concept:sft-before-dpo"]
print("mean of three seeds               reward   KL   reward − β KL   in no pair",
      "  log π/π_ref: chosen rejected")
for name, values in found.items():
    for recipe, (earns, spent, both, unseen, won, lost) in zip(recipes, values.mean(0)):
        print(f"{name:17} {recipe:14} {earns:+8.2f} {spent:4.2f} {both:+15.2f} {unseen:12.2f}",
              f"{won:+21.2f} {lost:+8.2f}")

# %% tags=["concept:preference-distribution-shift", "concept:sft-before-dpo"]
own, better, ruder = (values[:, 1:, 0] for values in found.values())   # rewards [seeds, (DPO, SFT, both)]
assert own[:, 0].min() > max(better[:, 0].max(), ruder[:, 0].max()) + 0.15
assert (better[:, 2] > better[:, 1]).all() and (better[:, 2] > better[:, 0] + 0.5).all()
assert (better[:, 2] > own.amax(1)).all()
assert ruder[:, 1].max() < -1.5 and (ruder[:, 2] < ruder[:, 0]).all()
nets = torch.stack([values[:, 1:, 2] for values in found.values()])    # reward − β KL, [sources, seeds, 3]
assert nets[0, :, 0].min() > nets[1:].max()
assert (found["a better writer"][:, 1:, 4] > 0.5).all() and found["the model itself"][:, 1, 4].max() < 0
assert found["a better writer"][:, 2:, 3].max() < 0.05

# %% [markdown]
# For DPO alone, pairs by the model itself serve best: labels fall where the policy has its mass. The better writer's pairs leave out 0.39 of it, and there DPO has no say. After SFT 0.02 of the mass is in no pair, most of the gain is there already, and DPO adds the rest: the highest reward of the table, for 1.7 nats instead of 0.7, as DPO now holds on to the SFT model, not to the reference. By reward − β KL own pairs are best. And the chosen replies of a better writer *gain*, with DPO alone as well: displacement is no law. But SFT copies
# whatever was chosen, and among a rude writer's replies the chosen ones are rude. Bring the policy to the pairs if the pairs are good; else bring the pairs to the policy: draw them from it.
#
# ### Draw again
#
# Pairs from the reference grow stale as the policy moves. Equal labels, 1,600 for each prompt, equal steps: drawn at once from the reference, or in eight rounds of 200 from the *present* policy. (Chapter 13 makes a method of this.)

# %% tags=["concept:dpo-limitations", "concept:preference-distribution-shift"]
def in_rounds(rounds, seed, labels=1600, steps=160):
    """Tables after each step; all pairs so far are used in each round."""
    generator, now, pairs = torch.Generator().manual_seed(seed), reference, torch.empty(P, 0, 2).long()
    for _ in range(rounds):
        pairs = torch.cat([pairs, pairs_of(world.logps(now), labels // rounds, generator)], 1)
        tables = list(descend(sampled(pairs, beta), steps // rounds, begin=now))
        now = tables[-1]
        yield from tables

def stopped(seed):
    """Pairs drawn at once, 1,400 to learn from; the value where the loss on the other 200 is least."""
    pairs = pairs_of(ref_logps, 1600, torch.Generator().manual_seed(seed))
    return objective(min(descend(sampled(pairs[:, :1400], beta), 160), key=sampled(pairs[:, 1400:], beta)))

# %% tags=["concept:dpo-limitations", "concept:preference-distribution-shift"]
best_worth = (beta * world.log_partition(ref_logps, beta)).mean()
scores = {rounds: torch.tensor([[objective(table) for table in in_rounds(rounds, seed)] for seed in range(3)])
          for rounds in (1, 8)}
print(f"reward − β KL of the best policy {best_worth:.2f}, of the reference {objective(reference):.2f}")
for rounds, line in scores.items():
    print(f"{rounds} round{'s' * (rounds > 1)}: each seed at the end {line[:, -1].numpy().round(2)},",
          f"at its best step {line.amax(1).numpy().round(2)}")
held_back = torch.stack([stopped(seed) for seed in range(3)])
print("1 round, stopped by 200 pairs held back:", held_back.numpy().round(2))
assert (scores[8][:, -1] > scores[1][:, -1] + 0.2).all() and (scores[8][:, -1] > 0.2).all()
assert (held_back > scores[1][:, -1] + 0.2).all() and (held_back > scores[1].amax(1) - 0.06).all()

# %% [markdown]
# Drawn at once, training overshoots; stopped at the least loss on 200 pairs held back, it ends near its best step. Rounds end close to the best there is without a stop: each overshoot puts replies into the next round's pairs, and is corrected.
#
# ## On the support desk
#
# Now chapter 08's language model, its SFT checkpoint, and **the very 4,000 pairs** that made judge 1, PPO's reward model. One pass, 63 steps of 64 pairs, β = 0.5. No judge is asked.

# %% tags=["nbval-ignore-output", "concept:dpo-loss"]
import copy

from IPython.display import clear_output
from tqdm.auto import tqdm

from rlcore.loops import checkpoints, desk, dpo_curves
from rlcore.loops import dpo as loop

torch.set_default_dtype(torch.float32)
sft, tokenizer = lm.shipped("replies_sft")
data = dpo_curves.compared(dpo_curves.PAIRS, 1)                        # 8,000 replies, and who was preferred
policy = copy.deepcopy(sft)
training = loop.train(policy, sft, data, lambda batch: dpo_loss(batch.margin, beta=0.5), **dpo_curves.HOW,
                      generator=torch.Generator().manual_seed(3))
lived = list(tqdm(training, total=63, desc="DPO", leave=False))
clear_output()                                       # of the progress bar

# %% [markdown]
# **Accuracy** is the share of pairs with a margin above 0, a tie counting half. It is not the share with $\pi(y_w)>\pi(y_l)$, which the last line gives.

# %% tags=["nbval-ignore-output", "concept:dpo-loss"]
test = dpo_curves.compared(400, 1003)                                  # fresh pairs
held = loop.held_out(policy, sft, test)
with torch.no_grad():
    fresh = loop.as_batch(policy, sft, test)                           # [400, 2], the chosen first
    gained, ahead = fresh.log_ratios[:, 0], (fresh.logps[:, 0] > fresh.logps[:, 1]).float().mean()
    ahead_before = (fresh.ref_logps[:, 0] > fresh.ref_logps[:, 1]).float().mean()
likelier = (gained > 0).float().mean()
for one in lived[::12]:
    print(f"step {one.step:2}: loss {one.loss:.3f}, accuracy {one.accuracy:.2f}, log π/π_ref of the chosen "
          f"{one.chosen:+.2f}, of the rejected {one.rejected:+.2f}")
print(f"fresh pairs: accuracy {held.accuracy:.2f}, chosen {held.chosen:+.2f}, rejected {held.rejected:+.2f}")
print(f"of the chosen {likelier:.0%} are likelier than before; mean π/π_ref {gained.exp().mean():.2f}")
print(f"π(y_w) > π(y_l) in {ahead:.2f} of the pairs; before training in {ahead_before:.2f}")

# %% tags=["concept:dpo-loss"]
assert held.accuracy > 0.65 and held.rejected + 0.8 < held.chosen < -0.2 and lived[0].accuracy == 0.5
assert 0.35 < likelier < 0.6 and gained.exp().mean() > 1 and ahead_before < ahead < held.accuracy - 0.05

# %% [markdown]
# Both mean log-probabilities fall, on fresh pairs as well, and the accuracy is far above ½: your first guess is answered. Yet about half of the chosen replies became likelier, and their chance itself rose on average. Where did the mass go? Read:

# %% tags=["concept:dpo-loss", "nbval-ignore-output"]
written = {}
for name, model in (("before", sft), ("after", policy)):
    replies = desk.groups(model, tokenizer, 400, 1, torch.Generator().manual_seed(0))
    texts, golds = lm.read(tokenizer, replies), desk.gold(tokenizer, replies)
    broken = sum(office.parse(said).malformed for _, said in texts) / 400
    written[name] = golds.mean().item(), broken
    print(f"\n{name}: gold {golds.mean():+.2f}, malformed {broken:.0%}")
    for (asked, said), gold in list(zip(texts, golds))[:5]:
        print(f"  gold {gold:+.1f} | {asked[7:-8]}\n      {said}")

# %% tags=["concept:dpo-loss", "nbval-ignore-output"]
in_pairs = [said for _, said in lm.read(tokenizer, data.replies)]
flawed = torch.tensor([office.parse(said).malformed for said in in_pairs]).view(-1, 2).gather(1, data.ranking)
known = set(in_pairs)
new = [said not in known for _, said in texts if office.parse(said).malformed]
print("malformed: of the chosen {:.1%}, of the rejected {:.1%};".format(*flawed.double().mean(0)),
      f"of {len(new)} written after training {sum(new)} are in no pair")

# %% tags=["concept:dpo-loss"]
assert flawed[:, 1].sum() > 1.5 * flawed[:, 0].sum() > 0 and sum(new) > len(new) / 2
assert written["after"][0] > written["before"][0] + 0.9 and written["after"][0] > 0.6
assert written["after"][1] > 1.5 * written["before"][1]

# %% [markdown]
# From mixed to mostly kind, without a reward model. But the share of broken replies has grown, though the pairs contain some and reject them more often: what raises good sentences also raises odd mixtures of them, and most of those are in no pair. The shipped record has five values of β, two of them with three passes as well, three seeds each, ten rows a run (`python -m rlcore.loops.checkpoints replies_dpo`):

# %% tags=["concept:dpo-limitations", "concept:role-of-beta"]
def recorded(name):
    with open(lm.SHIPPED / name, encoding="utf-8") as file:
        return list(csv.DictReader(file))

def told(rows, run, column):
    """[3 seeds, rows] of one run."""
    return torch.tensor([float(row[column]) for row in rows if row["run"] == run]).view(3, -1)

of_dpo, of_ppo = recorded("replies_dpo.csv"), recorded("replies_rlhf.csv")
prices, longer = ("0.05", "0.1", "0.2", "0.5", "1"), ("0.2, 3 epochs", "0.5, 3 epochs")
print("            β   gold: end best     KL  chosen rejected accuracy   (mean of three seeds, fresh pairs)")
for price in prices + longer:
    columns = ("gold", "kl", "chosen", "rejected", "accuracy")
    gold, *others = (told(of_dpo, f"beta {price}", column).mean(0) for column in columns)
    spent, up, down, right = (values[-1] for values in others)
    print(f"{price:>13} {gold[-1]:+9.2f} {gold.max():+6.2f} {spent:6.2f}",
          f"{up:+7.2f} {down:+8.2f} {right:8.2f}")

# %% tags=["concept:dpo-limitations", "concept:role-of-beta"]
final = {price: {name: told(of_dpo, f"beta {price}", name)[:, -1] for name in columns}
         for price in prices + longer}
for end in final.values():                                             # every run, every seed
    assert (end["chosen"] < 0).all() and (end["rejected"] < end["chosen"] - 0.5).all()
    assert (end["accuracy"] > 0.65).all()
assert (final["0.05"]["chosen"] < final["0.5"]["chosen"] - 3).all()

# %% tags=["concept:dpo-limitations", "concept:role-of-beta"]
slack = told(of_dpo, "beta 0.05", "gold")
assert (slack[:, -1] < slack.amax(1) - 0.2).all() and (final["0.5"]["gold"] > slack[:, -1]).all()

# %% [markdown]
# In every run the mean log-probability of the chosen replies falls, and the accuracy is much the same. Gold is not: at the smallest β it climbs, turns, and gives back a good part, while accuracy and margin look fine. Over-optimisation needs no reward model. Watch the KL, and read replies.
#
# ## DPO or PPO?
#
# Same checkpoint, same pairs. Chapter 08's plot with both: gold against KL, the last ten updates of PPO, the last row of DPO; the lines are the way there.

# %% tags=["concept:dpo-vs-ppo"]
fig, ax = plots.figure(height=3.6)
ways = {"PPO": (of_ppo, ("0.05", "0.1", "0.2", "0.5"), "", 10, "o", "value", "PPO: scores of new replies"),
        "DPO": (of_dpo, prices, "", 1, "s", "policy", "DPO: the pairs, one pass"),
        "DPO, 3 passes": (of_dpo, ("0.2", "0.5"), ", 3 epochs", 1, "D", "exact", "DPO: three passes")}
shift = {("DPO", "0.2"): (0, 9), ("DPO", "0.1"): (20, 5), ("DPO", "1"): (-16, 7), ("DPO", "0.5"): (0, -18),
         ("DPO", "0.05"): (0, -18), ("DPO, 3 passes", "0.2"): (0, -18), ("DPO, 3 passes", "0.5"): (12, 7)}
points, box, ink = {}, {"fc": "white", "ec": "none", "pad": 0.5}, style.COLOR | {"value": "#8a5c00"}
for way, (rows, runs, more, width, look, colour, label) in ways.items():
    for price in runs:
        spent, gold = (told(rows, f"beta {price}{more}", column) for column in ("kl", "gold"))
        ax.plot(spent.mean(0).clamp(min=0), gold.mean(0), color=style.COLOR[colour], linewidth=0.9, alpha=0.5)
        points[way, price] = spent[:, -width:].mean(1), gold[:, -width:].mean(1)       # [3] each
        marks = ax.plot(*points[way, price], look, color=style.COLOR[colour], markersize=5)
        at, lift = [x.mean() for x in points[way, price]], shift.get((way, price), (0, 8))
        ax.annotate(f"β {price}", at, lift, textcoords="offset points", ha="center", fontsize=9,
                    color=ink[colour], bbox=box)
    marks[0].set_label(label)

# %% tags=["concept:dpo-vs-ppo"]
ax.set_xscale("function", functions=(lambda x: abs(x) ** 0.5, lambda x: x**2))
ax.set(xlabel="KL(policy‖reference), nats per reply, drawn by its root", ylabel="gold", xlim=(0, 14))
ax.set(xticks=[0, 0.5, 1, 2, 4, 6, 9, 12], ylim=(-0.7, 2.2))
ax.set_title("PPO's best is ahead, three passes bring DPO near;\nat a small β both turn back")
ax.legend(loc="lower center")
say = {key: [plots.number(x.mean().item(), 1) for x in values] for key, values in points.items()}
(a, b), (c, d), (e, f), (g, h) = (say[key] for key in (
    ("PPO", "0.2"), ("DPO", "0.5"), ("DPO", "0.05"), ("DPO, 3 passes", "0.2")))
plots.show(plots.caption(fig, f"Gold against KL on the support desk, three seeds. PPO at β = 0.2 ends at "
    f"KL {a} with gold {b}; DPO after one pass at β = 0.5 at KL {c} with {d}, at β = 0.05 at KL {e} "
    f"with {f}; after three passes at β = 0.2 at KL {g} with {h}."))

# %% tags=["concept:dpo-vs-ppo"]
for way, (_, runs, *_) in ways.items():
    price = max(runs, key=lambda price: points[way, price][1].mean())
    spent, gold = points[way, price]
    print(f"{way:13} best at the end: β = {price}, gold {gold.mean():.2f} (worst seed {gold.min():.2f}),",
          f"KL {spent.mean():.1f}")

# %% tags=["concept:dpo-vs-ppo"]
for way in ways:
    spent, gold = points[way, "0.5"]
    print(f"{way:13} at β = 0.5: gold {gold.mean():.2f}, KL {spent.mean():.1f}")

# %% tags=["concept:dpo-vs-ppo"]
(ppo_kl, ppo_gold), (dpo_kl, dpo_gold), (_, more_gold) = (points[way, "0.5"] for way in ways)
assert abs(ppo_kl.mean() - dpo_kl.mean()) < 0.3 and 0.1 < ppo_gold.min() - dpo_gold.max() < 0.4
best_gold = points["PPO", "0.2"][1].mean()
assert best_gold > max(x[1].mean() for key, x in points.items() if key[0] != "PPO")
assert more_gold.min() > dpo_gold.max() + 0.1 and points["DPO, 3 passes", "0.2"][1].min() > best_gold - 0.4
assert points["DPO", "0.05"][1].max() < dpo_gold.min() and points["DPO", "0.05"][0].min() > 2 * dpo_kl.max()

# %% [markdown]
# After one pass DPO has 0.2 less gold than PPO at β = 0.5. That is mostly too little training: after three passes it has 1.36 at 1.5 nats, and at β = 0.2 it has 1.48 at 2.9 nats, where PPO has 1.59. At β = 0.05 both have turned back, PPO further out and further down: reward hacking, chapter 08. Now count what each was *given*.

# %% tags=["concept:dpo-vs-ppo"]
how, pairs = checkpoints.RLHF, dpo_curves.PAIRS
new = how["updates"] * how["batch"]                                    # replies that PPO drew
learnt = (how["updates"] - how["critic_first"]) * how["batch"] * how["epochs"]
for_ppo = checkpoints.JUDGE["epochs"] * 2 * pairs + learnt + new * how["epochs"]      # judge, policy, critic
needs = {"replies drawn for pairs": (2 * pairs, 2 * pairs, 2 * pairs), "new replies, scored": (0, 0, new),
         "models in memory": (2, 2, 4),
         "replies through forward and backward": (2 * pairs, 6 * pairs, for_ppo)}
for name, (once, thrice, of_new) in needs.items():
    print(f"{name:38} DPO {once:7,}   DPO, 3 passes {thrice:7,}   PPO {of_new:7,}")
trained, still = 16 * 7, 2 * 7                                         # GB, 7 billion parameters: chapter 08
print(f"memory for 7 billion parameters         DPO {trained + still} GB   PPO {2 * trained + 2 * still} GB")

# %% tags=["concept:dpo-vs-ppo"]
assert (trained + still, 2 * (trained + still)) == (126, 252)
assert for_ppo > 4 * 2 * pairs and 0.45 < 6 * pairs / for_ppo < 0.55

# %% [markdown]
# DPO took half the memory, no new replies, no critic. (The reference's log-probabilities can be computed once and its weights thrown away: 112 GB.) PPO drew thousands of *new* replies and had them scored: it learns about replies that occur in no pair, as far as its judge can be trusted. That is the difference: **offline** against **on-policy**. With
# PPO tuned well, Xu et al. and Ivison et al. found it ahead, too. But this is one task, one size, one set of pairs; and DPO went most of the way at about half the cost.
#
# ## More than two: rankings
#
# An annotator who ranks K replies says more than one who picks. With Plackett–Luce (chapter 07) and implicit rewards as scores, $\tau_1$ the best of the ranking $\tau$, $\tau_K$ the worst:
# $$L=-\sum_{k=1}^{K}\log\frac{e^{\hat r(y_{\tau_k})}}{\sum_{j\ge k}e^{\hat r(y_{\tau_j})}} .$$
# With the rewards themselves every exponential has one more factor, $e^{\beta\log Z}$: it cancels.
#
# ### Write it: `plackett_luce_dpo_loss`
#
# *Difficulty ★★☆ · importance ★★☆ · 10 minutes.* `log_ratios` [B, K] is log π/π_ref, before β; `ranking` [B, K] holds the *indices* of the replies from best to worst. Returns [B].

# %% tags=["exercise"]
@check.exercise(rankings.plackett_luce_dpo_loss)
def plackett_luce_dpo_loss(log_ratios, ranking, beta):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# Put the scores in order with `gather`. The sum over $j\ge k$ is a `logcumsumexp` from the end: flip, cumulate, flip.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def plackett_luce_dpo_loss(log_ratios, ranking, beta):
#     ordered = (beta * log_ratios).gather(-1, ranking)
#     rest = ordered.flip(-1).logcumsumexp(-1).flip(-1)
#     return (rest - ordered).sum(-1)
# ```
# </details>
#
# ### Use it: the same replies, ranked or in pairs
#
# 4,000 replies to each prompt: 2,000 pairs, or 1,000 rankings of four. 50 steps.

# %% tags=["concept:plackett-luce-dpo"]
torch.set_default_dtype(torch.float64)
two = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
first_best = torch.tensor([[0, 1]]).expand(6, 2)
of_two = plackett_luce_dpo_loss(two, first_best, 0.3)
assert torch.allclose(of_two, dpo_loss(two[:, 0] - two[:, 1], 0.3))    # K = 2 is DPO

def ranked(size, seed, replies=4000):
    """Replies from the reference in groups of `size`, ranked by score plus Gumbel noise: Plackett–Luce."""
    generator = torch.Generator().manual_seed(seed)
    said = torch.multinomial(by_reference, replies, replacement=True, generator=generator)
    noise = -torch.empty(said.shape).exponential_(generator=generator).log()
    order = (world.reward.gather(1, said) + noise).view(-1, size).argsort(-1, descending=True)
    return lambda table: plackett_luce_dpo_loss(
        (world.logps(table) - ref_logps).gather(1, said).view(-1, size), order, beta).mean()

# %% tags=["concept:plackett-luce-dpo"]
off = {size: torch.stack([variation(world.logps(list(descend(ranked(size, seed), 50))[-1])).mean()
                          for seed in range(3)]) for size in (2, 4)}
for size, values in off.items():
    print(f"groups of {size}: total variation to π* {values.mean():.3f} (worst seed {values.max():.3f})")
assert off[4].mean() < off[2].mean() - 0.01

# %% [markdown]
# A ranking of four holds six comparisons, two pairs only two. As in chapter 07 they are not independent, and the gain is smaller than that.
#
# ## DPO is logistic regression
#
# Take a policy with features, $\pi_\theta(y)\propto\pi_{\mathrm{ref}}(y)\,e^{\theta\cdot\varphi(y)}$. Then the margin is $h=\theta\cdot(\varphi(y_w)-\varphi(y_l))$: normaliser and reference have cancelled. DPO *is* logistic regression without intercept on the difference of features, every label "yes". Here φ are the four terms of the gold reward, and 1,000 pairs for each prompt:

# %% tags=["concept:dpo-as-contrastive-learning"]
terms = torch.stack(list(world.terms.values()), -1)                    # [P, N, 4]
pairs = pairs_of(ref_logps, 1000, torch.Generator().manual_seed(0))    # [P, 1000, 2]
theta = torch.full((4,), 0.3, requires_grad=True)
logps = (ref_logps + terms @ theta).log_softmax(-1)                    # [P, N]
best, worst = pairs.unbind(-1)
h = margin(*(x.gather(1, side).flatten() for x in (logps, ref_logps) for side in (best, worst)))
(of_dpo_loss,) = torch.autograd.grad(dpo_loss(h, beta).mean(), theta)

# %% tags=["concept:dpo-as-contrastive-learning"]
rows = torch.arange(P)[:, None]
contrast = (terms[rows, best] - terms[rows, worst]).flatten(0, 1)      # [P · 1000, 4]
logits = beta * contrast @ theta
regression = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
(of_regression,) = torch.autograd.grad(regression, theta)
print("DPO       ", of_dpo_loss, "\nregression", of_regression)
assert torch.allclose(of_dpo_loss, of_regression)

# %% tags=["concept:dpo-as-contrastive-learning"]
small = []
for seed in range(3):
    best, worst = pairs_of(ref_logps, 1000, torch.Generator().manual_seed(seed)).unbind(-1)
    contrast, weights = (terms[rows, best] - terms[rows, worst]).flatten(0, 1), torch.zeros(4)
    for _ in range(10):                                                # Newton's steps
        chance = (beta * contrast @ weights).sigmoid()
        curve = beta**2 * (contrast.T * (chance * (1 - chance))) @ contrast
        weights = weights + torch.linalg.solve(curve, beta * contrast.T @ (1 - chance))
    small.append(variation((ref_logps + terms @ weights).log_softmax(-1)).mean())
    told_weights = (beta * weights).numpy().round(2)                   # π* has 1, 1, 1, 1
    print(f"seed {seed}: β θ = {told_weights}, total variation to π* {small[-1]:.3f}")
assert max(small) < 0.06 < curves[1000].min()

# %% tags=["concept:dpo-limitations", "concept:dpo-as-contrastive-learning"]
def blind(weights):
    return (ref_logps + terms[..., :3] @ weights).log_softmax(-1)      # the fourth term left out

least = endless(by_reference, beta)
*_, three_weights = descend(lambda weights: least(blind(weights)), 80, torch.zeros(3))
short_of = variation(blind(three_weights)).mean()
print(f"three features, pairs without end: total variation to π* {short_of:.3f}")
assert abs(short_of - 0.21) < 0.005

# %% [markdown]
# Chosen features are pulled, rejected ones pushed: **contrastive learning**, and a batch of K candidates instead of two gives its K-way form, InfoNCA. Four weights, fitted to the *end* on 1,000 pairs, come nearer to $\pi^*$ than the table ever did. What is learnt about one reply holds for all that share its features: so language models get by with thin
# coverage, and so replies that look alike are dragged along. The price is condition 3: with one feature missing, even endless pairs end 0.21 off.
#
# ## Watching or playing?
#
# DPO watches: a record of who won. PPO plays. Take a board: chapter 01's slippery room, a short way that brushes the pit, a long way that does not. Three players of mixed skill have all learnt on a *dry* floor and prefer the short way. Watch their games and copy them; copy only the games that were won; plan with what they show; or play as many games yourself, by Q-learning.

# %% tags=["concept:watching-vs-playing"]
room = gridworld.playground(slip=0.2, step_cost=0.02)
board, dry = room.to_mdp(0.97), gridworld.playground(slip=0.0, step_cost=0.02).to_mdp(0.97)
belief, begin = mdp.policy_iteration(dry).q, room.index(room.start)
players = [(belief / temperature).softmax(-1) for temperature in (0.01, 0.03, 0.1)]

def worth_of(policy):
    return mdp.solve(board, policy)[begin].item()                      # exact value of the start

def watch(games, generator, limit=60):
    """Games of all players: states (−1 when over), actions, next states [games, limit]; returns [games]."""
    policy = torch.stack(players).repeat_interleave(games // 3, 0)     # [games, S, A]
    at, rows, returns, log = torch.full((len(policy),), begin), torch.arange(len(policy)), 0.0, []
    for step in range(limit):
        over = board.terminal[at]
        act = torch.multinomial(policy[rows, at], 1, generator=generator)[:, 0]
        after = torch.multinomial(board.transitions[at, act], 1, generator=generator)[:, 0]
        log.append((torch.where(over, -1, at), act, after))
        returns = returns + 0.97**step * torch.where(over, 0.0, board.rewards[at, act])
        at = torch.where(over, at, after)
    return *(torch.stack(x, 1) for x in zip(*log)), returns

# %% tags=["concept:watching-vs-playing"]
from rlcore.kernels import control

def copied(states, actions):
    """What was done most often in each cell; evenly where nobody has been."""
    counts = torch.zeros(board.states, board.actions).flatten()
    counts.index_add_(0, (4 * states + actions)[states >= 0], torch.ones(int((states >= 0).sum())))
    return mdp.greedy(counts.view(board.states, board.actions))

arrives = torch.full((board.states,), room.step_reward)                # what a step into each cell pays
for cell, pays in room.terminals.items():
    arrives[room.index(cell)] += pays

def planned(states, actions, after):
    """The best policy of the board as the record shows it; what nobody tried pays −1 and ends the game."""
    steps = (4 * states + actions)[states >= 0], after[states >= 0]
    led = torch.zeros(4 * board.states, board.states).index_put_(steps, torch.ones(()), accumulate=True)
    led, tried = led.view(board.states, 4, -1), led.sum(-1).view(-1, 4) > 0
    end = torch.nn.functional.one_hot(board.terminal.nonzero()[0], board.states).double()
    led = torch.where(tried[..., None], led / led.sum(-1, keepdim=True).clamp(min=1), end)
    pays = torch.where(tried, led @ arrives, torch.where(board.terminal, 0.0, -1.0)[:, None])
    return mdp.greedy(mdp.policy_iteration(mdp.MDP(led, pays, 0.97)).q)

# %% tags=["concept:watching-vs-playing"]
results = {}
for games in (300, 1500):
    seen = [watch(games, torch.Generator().manual_seed(seed)) for seed in range(3)]
    fade = lambda game, games=games: 0.3 * (1 - game / games)          # exploration and step size
    played = [control.control(td.q_learning, board, begin, learners=10, episodes=games, limit=100, lr=fade,
                              eps_explore=fade, generator=torch.Generator().manual_seed(seed))
              for seed in range(3)]
    results[games] = torch.tensor([
        [worth_of(copied(s, a)) for s, a, *_ in seen],
        [worth_of(copied(s[r > 0], a[r > 0])) for s, a, _, r in seen],
        [worth_of(planned(s, a, t)) for s, a, t, _ in seen],
        [sum(worth_of(mdp.greedy(q)) for q in one.q) / 10 for one in played]])         # [4 ways, seeds]

# %% tags=["concept:watching-vs-playing"]
door = room.index((0, 4))                                              # every long way leads through it
tried = [((s == door).any(1) & (r > 0)).double().mean().item() for s, _, _, r in seen]
takes = [sum((0, 4) in room.path(mdp.greedy(q).argmax(-1)) for q in one.q) / 10 for one in played]
print(f"won by the long way: {sum(tried) / 3:.1%} of the games watched;",
      f"who played 1,500 takes it: {sum(takes) / 3:.0%}")
print("players", [round(worth_of(player), 2) for player in players],
      f"  the best there is {mdp.policy_iteration(board).v[begin]:.2f}")
for games, values in results.items():
    names = ("copying all", "copying games that were won", "planning", "own play")
    print(f"{games:5} games:", ", ".join(f"{name} {value:.2f}" for name, value in zip(names, values.mean(1))))

# %% tags=["concept:watching-vs-playing"]
assert sum(takes) > 5 * sum(tried) and max(tried) < 0.05
assert all((values[3] > values[:2].amax(0)).all() for values in results.values())
assert results[1500][3].mean() > results[300][3].mean() + 0.01
assert results[1500][:2].max() < 0.25 < results[1500][3].min() < 0.35 < results[1500][2].min()

# %% [markdown]
# Copying what is done *most often* removes single slips, and does about as well as the best player. But all players aim past the pit, and for a copy five times as many games change little. Own play ends above every copy, gains from more games, and finds the long way in a good third of the runs. The record itself holds more than its players knew: whoever knows what each cell pays, counts in 1,500 games where each step led, and plans, finds the long way, because the players slipped onto it. What a record cannot tell is what no game in it tried.
#
# ## What breaks
#
# ### Labels that are wrong
#
# Condition 1: the labels follow Bradley–Terry for the reward. Pairs without end, but a fifth of the labels turned round:

# %% tags=["concept:role-of-beta", "concept:dpo-limitations"]
*_, turned = descend(endless(by_reference, beta, preferred=0.8 * preferred + 0.2 * (1 - preferred)), 120)
for name, logps in (("π*", star), ("labels turned", world.logps(turned)), ("reference", ref_logps)):
    earns, spent = (logps.exp() * world.reward).sum(-1).mean(), world.kl(logps, ref_logps).mean()
    print(f"{name:14} reward {earns:+.2f}, KL {spent:.2f}")
assert 0.05 < world.kl(world.logps(turned), ref_logps).mean() < 0.6 * world.kl(star, ref_logps).mean()

# %% [markdown]
# Noise looks like indifference: margins shrink, and you end nearer to the reference, much as with a larger β. (Robust DPO, chapter 10, corrects for it if it knows the rate.)
#
# ### A reference that moves
#
# The reference must be frozen, and another object than the policy. If both are one model and gradients flow through both, nothing is learnt:

# %% tags=["concept:dpo-loss"]
table = any_table.clone().requires_grad_()
logps = world.logps(table)[1]
four = logps[chosen], logps[rejected], logps[chosen], logps[rejected]
(push,) = torch.autograd.grad(dpo_loss(margin(*four), beta).mean(), table)
loss = dpo_loss(margin(*four), beta).mean()
print(f"loss {loss:.4f}, largest entry of the gradient {push.abs().max():.4f}")
assert push.abs().max() == 0

# %% [markdown]
# The loss stands at $\log2$. If the reference is copied anew after each step, the margin is 0 each time, the weight stays ½, and the anchor is gone.
#
# ### A log-probability that is no number
#
# A reply with chance 0 has log-probability −∞, and the margin would be ∞: `rlcore` refuses.

# %%
try:
    impossible = torch.tensor([-torch.inf])                            # a reply that the policy cannot write
    dpo.margin(torch.tensor([-1.0]), impossible, torch.zeros(1), torch.zeros(1))
except ValueError as reason:
    print(reason)
else:
    raise AssertionError("an infinite margin passed")

# %% [markdown]
# ## Exercises
#
# **1 · By pencil.** *★☆☆ · 3 minutes.* Four of five annotators prefer $y_w$. Which margin has the least mean loss at β = 0.2, in nats?

# %% tags=["exercise"]
best_margin = ...

# %%
check.answer(
    best_margin, 6.9315, atol=0.01, mistakes={
    "took the odds, not their logarithm": 20.0, "forgot β": 1.3863, "multiplied by β": 0.2773,
    "took log p": -1.1157, "turned it round": -6.9315})

# %% [markdown]
# <details><summary>Hint</summary>
#
# logit(0.8) is the logarithm of 0.8/0.2.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# best_margin = torch.tensor(4.0).log().item() / 0.2
# ```
# log 4 = 1.386; divided by 0.2: 6.93.
# </details>
#
# **2 · By pencil.** *★★☆ · 5 minutes.* $\log\pi(y_w)=-14$, $\log\pi(y_l)=-15$; the reference has −13 and −17; β = 0.5. With which *weight*, $\sigma(\hat r_l-\hat r_w)$, does this pair enter the gradient?

# %% tags=["exercise"]
pair_weight = ...

# %%
check.answer(
    pair_weight, 0.817574, atol=1e-3, mistakes={
    "turned the difference round": 0.182426, "forgot the reference": 0.377541, "left β out": 0.952574, "gave the slope, with β": 0.408787})
assert abs(torch.tensor(1.5).sigmoid() - 0.817574) < 1e-6

# %% [markdown]
# <details><summary>Hint</summary>
#
# Log-ratios first: −1 and +2. Then the implicit rewards.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# pair_weight = torch.tensor(0.5 * (2 - -1)).sigmoid().item()
# ```
# r̂_w = −0.5, r̂_l = 1.0: ordered wrongly, so a strong pull, 0.82.
# </details>
#
# **3 · Who gains?** *★★☆ · 10 minutes.* In the phrase world at β = 0.5, how many of the 781 replies to "you are late" (the last prompt) are *likelier* under $\pi^*$ than under the reference?

# %% tags=["exercise"]
gainers = ...

# %%
check.answer(
    gainers, (star > ref_logps)[2].sum().item(), atol=0, mistakes={
    "counted rewards above 0": (world.reward[2] > 0).sum().item(),
    "took the first prompt": (star > ref_logps)[0].sum().item(),
    "counted all prompts": (star > ref_logps).sum().item()})

# %% [markdown]
# <details><summary>Hint</summary>
#
# Those whose reward is above β log Z, or compare `world.optimum(ref_logps, 0.5)` with `ref_logps`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# gainers = (world.optimum(ref_logps, 0.5)[2] > ref_logps[2]).sum().item()
# ```
# </details>

# %% [markdown]
# ## Clinic: six statements that circulate
#
# Find the flaw *before* you read the verdict.
#
# **1.** *"Solving for the reward gives* $r=\beta\log\frac{\pi^*(y\mid x)\,Z(x)}{\pi_{\mathrm{ref}}(y\mid x)}+\beta\log Z(x)$*."* With the three replies of the beginning:

# %% tags=["concept:reward-reparameterisation"]
doubled = beta * (optimum * z / start).log() + beta * z.log()
print("rewards", earned.numpy(), " as claimed", doubled.numpy().round(4), f" β log Z {beta * z.log():.4f}")
assert torch.allclose(doubled - earned, beta * z.log())

# %% [markdown]
# **Verdict.** $Z$ is counted twice: every value is too high by $\beta\log Z(x)$. In a difference of two replies to one prompt the error cancels, so the loss that follows is right all the same, and the slip survives.
#
# **2.** *"It simplifies to* $r=\beta\log\frac{\pi_{\mathrm{SFT}}}{\pi^*}+\beta\log Z$*, hence* $L=-\log\sigma\big(\beta\log\frac{\pi_{\mathrm{SFT}}(y_w)}{\pi_\theta(y_w)}-\beta\log\frac{\pi_{\mathrm{SFT}}(y_l)}{\pi_\theta(y_l)}\big)$*."* Train it, on pairs without end, next to the right one. First the three replies, all pairs, with exact chances:

# %% tags=["concept:reward-reparameterisation", "concept:dpo-loss"]
turned = beta * (start / optimum).log() + beta * z.log()
print("rewards", earned.numpy(), " as claimed", turned.numpy().round(4))
w, l = torch.tensor([(a, b) for a in range(3) for b in range(3) if a != b]).T
often = (earned[w] - earned[l]).sigmoid() / 3                          # how often w is chosen over l
for name, sign in (("right ", 1), ("turned", -1)):
    logits = start.log().requires_grad_()
    optimizer = torch.optim.Adam([logits], 0.05)
    for _ in range(2000):
        optimizer.zero_grad()
        ratio = logits.log_softmax(-1) - start.log()
        loss = (often * dpo_loss(sign * (ratio[w] - ratio[l]), beta)).sum()
        loss.backward()
        optimizer.step()
    found = logits.detach().softmax(-1)
    print(f"{name}: loss {loss:.6f}, policy {found.numpy().round(4)}")
    assert torch.allclose(found, (start.log() + sign * earned / beta).softmax(-1), atol=2e-3)

# %% tags=["concept:reward-reparameterisation", "concept:dpo-loss"]
assert (turned.argsort() == earned.argsort().flip(0)).all()
assert (found - torch.tensor([0.918672, 0.074597, 0.006730])).abs().max() < 2e-3

# %% [markdown]
# The same loss, to every digit shown, and the best reply falls from 0.2 to 0.007. On the phrase world:

# %% tags=["concept:dpo-loss"]
wrong = list(descend(endless(by_reference, beta, sign=-1), 120))
said = world.index("sorry friend")                                     # to "you are late", the last prompt
ended = {}
for name, tables, sign in (("right ", limit["the reference"], 1), ("turned", wrong, -1)):
    loss = endless(by_reference, beta, sign)
    falls = [round(loss(tables[step - 1]).item(), 3) for step in (1, 10, 30, 120)]
    ended[sign] = world.value(tables[-1]).mean(), world.logps(tables[-1])[2, said].exp(), loss(tables[-1])
    print(f"{name}: loss {falls}, reward {ended[sign][0]:+.2f}, P(sorry friend | you are late) "
          f"{ref_logps[2, said].exp():.3f} → {ended[sign][1]:.4f}")

# %% tags=["concept:dpo-loss"]
assert abs(ended[1][2] - ended[-1][2]) < 2e-3 and ended[-1][1] < 0.001 < 0.2 < ended[1][1]
assert ended[-1][0] < world.value(reference).mean() - 2

# %% [markdown]
# **Verdict.** Dividing by β and moving terms keeps $\pi^*$ in the numerator; turned round, the ranking of the rewards is reversed. The loss falls just as nicely, to the *same* value: chosen and rejected are exchanged. The policy goes to $\pi\propto\pi_{\mathrm{ref}}e^{-r/\beta}$, and the reply that is preferred to all others dies. Only its probability, or an accuracy with the right sign, shows it.
#
# **3.** *"At the optimum DPO's loss and RLHF's objective are equivalent."* Where did that hold, where not? Gather what the cells above found:

# %% tags=["concept:dpo-limitations", "concept:kl-regularised-optimum"]
far = {"all five conditions": ends, "64,000 pairs": furthest[64_000], "1,000 pairs": furthest[1000],
       "two words at most, DPO's end": variation(endings[0.5][0]),
       "two words at most, another least loss": variation(strange)}
far = {name: distance.max() for name, distance in far.items()}
for name, distance in far.items():
    print(f"{name:38} total variation to π*, worst prompt: {distance:.3f}")

# %% tags=["concept:dpo-limitations", "concept:kl-regularised-optimum"]
three = torch.tensor([[0.4, 0.1, 0.5], [0.08, 0.02, 0.9]])             # a third reply, in no pair
h = (three[:, 0] / three[:, 1]).log() - (start[0] / start[1]).log()
spent = (three * (three / start).log()).sum(-1)
print("two policies: loss", dpo_loss(h, 0.5).numpy().round(6), " KL", spent.numpy().round(3))

# %% tags=["concept:dpo-limitations", "concept:kl-regularised-optimum"]
assert abs(dpo_loss(h, 0.5) - 0.498043).max() < 1e-6 and spent[1] > 4 * spent[0]
assert far["all five conditions"] < 0.01 and far["two words at most, another least loss"] > 0.8
assert 0.05 < far["two words at most, DPO's end"] < 0.15

# %% [markdown]
# **Verdict.** True under the five conditions, and they belong to the statement. Without coverage RLHF's optimum is still one policy, DPO's least loss is shared by many.
#
# **4.** *"DPO raises the probability of the chosen reply and lowers that of the rejected one."* (Also seen: *"the loss of both replies goes up"*.)

# %% tags=["concept:dpo-limitations"]
for price in prices:
    both = [f"{final[price][side].mean():+.1f}" for side in ("chosen", "rejected")]
    print(f"desk, β {price}: mean log π/π_ref of the chosen {both[0]}, of the rejected {both[1]}")
print(f"three replies, two features: chosen ⅓ → {logps_of_three[0].exp():.4f}, loss {loss_of_three:.3f}")
assert all(end["chosen"].max() < 0 for end in final.values()) and logps_of_three[0].exp() < 0.001

# %% [markdown]
# **Verdict.** The loss knows only the margin. Here both mean log-*probabilities* fall (the loss does not rise, it falls), and what they lose goes to others: at $\pi^*$ to the few best, which win their pairs; without coverage or with shared features it may go to a stranger.
#
# **5.** *"DPO gives preferred outputs a positive reward, then maximises* $\mathbb E_{y\sim\pi_\theta}[r]-\beta\,\mathrm{KL}$*."*

# %% tags=["concept:implicit-reward", "concept:dpo-vs-ppo"]
import inspect

print("the loop is given:", ", ".join(inspect.signature(loop.train).parameters))
implied = {price: round(float(price) * final[price]["chosen"].mean().item(), 2) for price in prices}
print("mean implicit reward of the chosen:", implied)
assert "reward" not in inspect.signature(loop.train).parameters
assert all((end["chosen"] < 0).all() for end in final.values())

# %% [markdown]
# **Verdict.** No reward function goes in, no reply of $\pi_\theta$ is drawn, no such expectation is formed: it is maximum likelihood on fixed pairs. And the implicit reward of the chosen is *negative* on average. Only the difference counts.
#
# **6.** *"DPO is insensitive to its hyper-parameters."*

# %% tags=["concept:role-of-beta"]
golds = {price: final[price]["gold"].mean().item() for price in prices}
print("gold at the end:", {price: round(gold, 2) for price, gold in golds.items()})
print("KL at the end:  ", {price: round(final[price]["kl"].mean().item(), 1) for price in prices})
assert max(golds.values()) > golds["0.05"] + 0.3
assert final["0.05"]["kl"].min() > 3 * final["1"]["kl"].max()

# %% [markdown]
# **Verdict.** It has fewer knobs than PPO, and they matter. β decides how far the policy goes, and at a small one the number of steps decides whether too far. (The step size, not shown here, matters as well.) Hence β-DPO (chapter 10).
#
# ## Summary
#
# | symbol | what it is | function | where |
# |---|---|---|---|
# | $\hat r=\beta\log\frac{\pi}{\pi_{\mathrm{ref}}}$ | implicit reward: the reward less $\beta\log Z(x)$ | `Phrases.optimum` turned round | [four lines](#Four-lines) |
# | $h$ | margin: what the policy prefers beyond the reference | `dpo.margin` | [loss](#The-loss) |
# | $-\log\sigma(\beta h)$ | DPO's loss | `dpo.dpo_loss` | [loss](#The-loss) |
# | $\sigma(\hat r_l-\hat r_w)$ | weight of a pair in the gradient | autograd | [gradient](#The-gradient) |
# | $\mathrm{logit}(p)/\beta$ | the best margin | exercise 1 | [β](#What-β-does) |
# | five conditions | when the least loss is $\pi^*$ | `endless`, above | [limit](#Does-it-reach-RLHF's-policy?) |
# | $V^*(s)$ | soft value; $\beta\log Z$ at the prompt | `dpo_tokens.soft_value` | [tokens](#Tokens) |
# | coverage | replies in no pair are free | explorer | [coverage](#Replies-that-nobody-compared) |
# | displacement | both mean log-probabilities fall | `loops.dpo.held_out` | [chosen](#Where-do-the-chosen-replies-go?) |
# | Plackett–Luce | rankings of K | `rankings.plackett_luce_dpo_loss` | [rankings](#More-than-two:-rankings) |
# | $\varphi_w-\varphi_l$ | contrast: DPO as logistic regression | autograd | [regression](#DPO-is-logistic-regression) |
#
# ## Quiz

# %%
check.quiz(
    "DPO's loss falls from 0.69 to 0.3, the accuracy on fresh pairs rises. What do you know of the chosen replies?",
    ["They have become likelier", "Only that they gained on the rejected ones", "They have become rarer"], answer=1,
    why="The loss sees the margin alone. On the desk both mean log-probabilities fell, at every β.")

# %%
check.quiz(
    "Where does Z(x) go on the way from RLHF's optimum to DPO's loss?",
    ["It is estimated from samples", "It is 1", "It is the same for both replies to a prompt, and cancels"], answer=2,
    why="β log Z(x) depends on the prompt alone. Bradley–Terry sees only the difference of two replies to one prompt.")

# %%
check.quiz(
    "No pair contains reply D, the best there is. What does the least DPO loss say about D?",
    ["Nothing", "That D is as good as the average reply", "That D is bad"], answer=0,
    why="Any probability of D gives the same loss. Where it ends is up to the start, the optimiser, and what D shares "
        "with replies in the pairs.")

# %%
check.quiz(
    "You have good pairs, written by a much better model than yours. What first?",
    ["DPO at once", "SFT on the chosen replies, then DPO", "DPO with a smaller β"], answer=1,
    why="Such pairs leave out much of what your model writes, and there DPO has no say. "
        "After SFT on the chosen it is where the pairs are.")

# %% [markdown]
# ## Sources
#
# - Rafailov et al. 2023, *Direct preference optimization* ([2305.18290](https://arxiv.org/abs/2305.18290)): equations 4 to 7, the gradient in section 4, Plackett–Luce in appendix A.3. Rafailov et al. 2024, *From r to Q\** ([2404.12358](https://arxiv.org/abs/2404.12358)): tokens.
# - Peters & Schaal 2007; Korbak et al. 2022 (2205.11275): the optimum as a tilted reference.
# - Pal et al. 2024, *Smaug* (2402.13228), and Razin et al. 2024, *Unintentional unalignment* ([2410.08847](https://arxiv.org/abs/2410.08847)): likelihood displacement.
# - Xu et al. 2024, *Is DPO superior to PPO for LLM alignment?* ([2404.10719](https://arxiv.org/abs/2404.10719)); Ivison et al. 2024, *Unpacking DPO and PPO* (2406.09279).
# - Tunstall et al. 2023, *Zephyr* (2310.16944): SFT, then DPO, on replies of other models. Tajwar et al. 2024 (2404.14367): on-policy pairs.
# - Chen et al. 2024 (2402.05369): InfoNCA and NCA. Wu et al. 2024, *β-DPO* (2407.08639).
#
# Next: chapter 10, thirty losses in the place of one.
