# ---
# jupyter:
#   course:
#     number: 8
#     slug: rlhf
#     title: RLHF with PPO
#     question: "How do you optimise a learned reward without ruining the model?"
#     modules: [rlhf, kl, trust_region, loops]
#     explorer: β and the frontier
#     read: 75
#     run: 100
# ---

# %% [markdown]
# # 08 · RLHF with PPO
#
# **How do you optimise a learned reward without ruining the model?**
#
# After this chapter you can
#
# - read the whole loop of RLHF and write its parts: pay every token, estimate advantages, take PPO's steps, and check it against the exact optimum;
# - say who is trained and who stands still among the four models, and what that costs in memory;
# - tell which estimate of the KL is right as a *number* and which as a *loss*;
# - predict reward hacking, and say what a price on KL, a second reward model, an ensemble or old texts do against it.
#
# **Needs** [chapter 01](01_mdp.ipynb): the phrase world; [chapter 04](04_gae.ipynb): GAE; [chapter 05](05_ppo.ipynb): the clipped loss and KL; [chapter 06](06_language_models.ipynb): a language
# model as a policy; [chapter 07](07_reward_models.ipynb): how comparisons become a reward. **Minutes** 75 to read and do, under 2 to run.

# %%
import csv

import torch

from rlcore import check, kl, masked, returns, rlhf, trust_region
from rlcore.view import plots, style
from rlcore.view.explore import explore, frontier
from rlcore.worlds import phrases

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.set_printoptions(precision=4, sci_mode=False, linewidth=110)

# %% [markdown]
# ## Before you run
#
# A support desk's language model writes replies; a reward model, fitted to comparisons, scores them. You train the policy on that score for sixty updates, and the
# score climbs from 0 to almost 4. Of two fresh replies of unequal worth, it puts the better one first in 94 of 100 cases. **What are the replies truly worth now: more than before, about as much, or less? And if less:
# what would have helped?** Write both guesses down.

# %% [markdown]
# ## The smallest example, by hand
#
# One prompt, three possible replies. The reference says them with chances ½, 0.3, 0.2; they earn 0, 1, 2. Maximise the expected reward, but pay $\beta=½$ for each nat of KL from
# the reference:
# $$\max_\pi\;\mathbb E_{y\sim\pi}[r(y)]-\beta\,\mathrm{KL}(\pi\Vert\pi_{\mathrm{ref}})\qquad\Longrightarrow\qquad
# \pi^*(y)=\frac{\pi_{\mathrm{ref}}(y)\,e^{r(y)/\beta}}{Z},\quad Z=\sum_y\pi_{\mathrm{ref}}(y)\,e^{r(y)/\beta}.$$
# By pencil: the weights are $0.5\cdot1=0.5$, $0.3\cdot e^2=2.217$, $0.2\cdot e^4=10.92$; together $Z=13.64$; so $\pi^*=(0.037,\,0.163,\,0.801)$.

# %% tags=["concept:three-stage-rlhf"]
start, earned = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.0, 1.0, 2.0])

def best(beta):
    """The best policy at a price β, and Z."""
    tilted = start * (earned / beta).exp()
    return tilted / tilted.sum(), tilted.sum()

# %% tags=["concept:three-stage-rlhf"]
def bill(policy):
    """Expected reward, and KL from the reference in nats."""
    return (policy * earned).sum(-1), (policy * (policy / start).log()).sum(-1)

print("  β   best policy                Z    reward      KL  reward − β KL  β log Z")
for beta in (0.5, 1.0, 2.0):
    optimum, z = best(beta)
    reward, spent = bill(optimum)
    print(f"{beta:3} {optimum.numpy().round(4)} {z:8.4f} {reward:8.4f} {spent:7.4f}",
          f"{reward - beta * spent:11.4f} {beta * z.log():11.4f}")
    assert abs(reward - beta * spent - beta * z.log()) < 1e-12

# %% tags=["concept:three-stage-rlhf"]
assert (best(0.5)[0] - torch.tensor([0.036667, 0.162559, 0.800774])).abs().max() < 1e-6
assert [round(x.item(), 6) for x in bill(best(1.0)[0])] == [1.350056, 0.322834]
assert abs(2 * best(2.0)[1].log() - 0.861320) < 1e-6

# %% [markdown]
# The last two columns agree: the optimum is worth $\beta\log Z$. The proof is one line. For *every* policy
# $$\mathbb E_\pi[r]-\beta\,\mathrm{KL}(\pi\Vert\pi_{\mathrm{ref}})=\beta\log Z-\beta\,\mathrm{KL}(\pi\Vert\pi^*),$$
# because $r=\beta\log(\pi^*/\pi_{\mathrm{ref}})+\beta\log Z$. A KL is never negative, and it is 0 at $\pi=\pi^*$ alone. Try a thousand policies:

# %% tags=["concept:three-stage-rlhf"]
generator = torch.Generator().manual_seed(0)
others = torch.rand(1000, 3, generator=generator)
others = others / others.sum(-1, keepdim=True)
optimum, z = best(0.5)
worth = bill(others)[0] - 0.5 * bill(others)[1]
away = (others * (others / optimum).log()).sum(-1)
print(f"best of a thousand {worth.max():.4f}, of all {0.5 * z.log():.4f}")

# %% tags=["concept:three-stage-rlhf"]
assert torch.allclose(worth, 0.5 * z.log() - 0.5 * away) and worth.max() < 0.5 * z.log()

# %% [markdown]
# This quantity is *maximised*: an **objective**. PPO's clipped loss, which is minimised, is one way to climb it. A language model has too many replies to write $\pi^*$ down. The rest of this
# chapter is how to get there from samples, how near one comes, and what happens when $r$ is only a model of what is wanted.
#
# ## Three stages, four models
#
# 1. **Supervised fine-tuning**: imitate demonstrations (chapter 06). The result is the *reference*.
# 2. **A reward model**: compare pairs of its replies, fit a score (chapter 07).
# 3. **Reinforcement learning**: maximise score − β KL. PPO sees *scores*. The pairs are used in stage 2 alone, and a rule that scores needs none.
#
# ![Prompts go to the policy, which writes replies; the reward model scores them, the reference prices each token, the critic values each token; advantages go back to policy and critic, the only two that are trained](../figures/08_models.svg)
#
# **InstructGPT** is this recipe on GPT-3: demonstrations, rankings of 4 to 9 replies to a prompt for a reward model of 6 billion parameters, then PPO at β = 0.02. On prompts from users of the API people preferred the replies of
# the policy with 1.3 billion parameters to those of GPT-3 itself, more than a hundred times as large. Its objective, expectation and ratio as in the paper:
# $$\mathbb E_{(x,y)\sim D_{\pi^{\mathrm{RL}}}}\Big[r(x,y)-\beta\log\frac{\pi^{\mathrm{RL}}(y\mid x)}{\pi^{\mathrm{SFT}}(y\mid x)}\Big]+\gamma\,\mathbb E_{x\sim D_{\text{pretrain}}}\big[\log\pi^{\mathrm{RL}}(x)\big].$$
# The replies come from the policy that is *trained*. The last term, γ = 27.8 there, is *PPO-ptx*: below.
#
# The four models, small: transformers of two layers, trained, as the course ships them.

# %% tags=["concept:four-models", "concept:instructgpt"]
import copy

from rlcore import lm
from rlcore.loops import desk
from rlcore.loops import rlhf as loop

torch.set_default_dtype(torch.float32)
sft, tokenizer = lm.shipped("replies_sft")
judges = [lm.shipped(f"replies_judge_{k}")[0] for k in (1, 2, 3, 4)]
trained = {"policy": copy.deepcopy(sft), "critic": copy.deepcopy(judges[0])}
four = {**trained, "reference": sft, "reward": judges[0]}

# %% tags=["concept:four-models"]
def gigabytes(parameters, trained, weight=2):
    """Of weights alone; trained: 16 bytes for each parameter.

    bfloat16: weight 2, gradient 2, float32 copy 4, Adam 8; float32: weight 4, gradient 4, Adam 8.
    """
    return parameters * (16 if trained else weight) / 1e9

print("model      trained  parameters   here (float32)   with 7 billion (bfloat16)")
for name, model in four.items():
    count, learns = sum(p.numel() for p in model.parameters()), name in trained
    here = 1000 * gigabytes(count, learns, weight=4)
    print(f"{name:10} {learns!s:7} {count:10,} {here:13.2f} MB {gigabytes(7e9, learns):19.0f} GB")
total = 2 * gigabytes(7e9, True) + 2 * gigabytes(7e9, False)
print(f"together, 7 billion each: {total:.0f} GB")

# %% tags=["concept:four-models"]
assert total == 252

# %% [markdown]
# Two are trained and cost eight times as much as the two that stand still (here, in float32, four times). The critic begins as a copy of the reward model: the same trunk, and one number per token instead of logits. That is the
# **value head**; here it is a model of its own, in many systems a second head on the policy.
#
# ## What one token is paid
#
# The objective speaks of whole replies, PPO of tokens. Since $\log\pi(y\mid x)$ is a sum over tokens, so is the price:
# $$r_t=-\beta\,\log\frac{\pi(y_t\mid x,y_{<t})}{\pi_{\mathrm{ref}}(y_t\mid x,y_{<t})}+\mathbb 1[t=T]\;r(x,y).$$
# The score alone is *sparse*: 0 up to the last token. With the KL term every token is paid. Some systems pay the KL for each token, as here; others pay the score alone and put a KL into the loss (see [below](#As-a-loss)). GAE carries the score back either way.
#
# ### Write it: `token_rewards`
#
# *Difficulty ★★☆ · importance ★★★ · 10 minutes.* `scores` has axis [B], the others [B, T]. `mask` is True for the reply's tokens, EOS included; replies have different lengths. Behind the mask there may be NaN: put 0.

# %% tags=["exercise"]
@check.exercise(rlhf.token_rewards)
def token_rewards(scores, logps, ref_logps, mask, beta):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# `torch.where(mask, …, 0.0)` for the price. The last token of row b stands in column `mask.sum(1)[b] - 1`; `rewards[torch.arange(B), last] += scores` pays there.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def token_rewards(scores, logps, ref_logps, mask, beta):
#     rewards = torch.where(mask, beta * (ref_logps - logps), 0.0)
#     rewards[torch.arange(len(mask)), mask.sum(1) - 1] += scores
#     return rewards
# ```
# </details>
#
# ### Use it: all replies of the phrase world
#
# Chapter 01's world: three prompts, five words, 781 replies each, every sum exact. Its *reference* greets well and apologises badly; a policy is a table of logits. Take some policy, pay the tokens of every reply, and
# add up.

# %%
torch.set_default_dtype(torch.float64)
world, P, N = phrases.Phrases(), phrases.P, phrases.N
reference = world.reference_logits()                                   # [P, S, V]: prompts, prefixes, tokens
ref_logps = world.logps(reference)                                     # [P, N] nats, of whole replies
everything = torch.arange(P).repeat_interleave(N), torch.arange(N).repeat(P)   # prompt and reply of each row

def at(prompt, said):
    """Where in a table [P, S, V] the tokens of replies stand: prompt, prefix, token; and the mask, [B, 4]."""
    return (prompt[:, None], world.states[said], world.tokens[said]), world.mask[said]

# %% tags=["concept:per-token-kl-reward"]
some = reference + torch.randn(reference.shape, generator=generator)
where, mask = at(*everything)
logps, refs = (table.log_softmax(-1)[where] for table in (some, reference))       # [P·N, 4]
paid = token_rewards(world.reward.flatten(), logps, refs, mask, beta=0.2).sum(1).view(P, N)
whole = world.logps(some)                                              # [P, N]
assert torch.allclose(paid, world.reward - 0.2 * (whole - ref_logps))

# %% tags=["concept:per-token-kl-reward"]
mean = (whole.exp() * paid).sum(-1)                                    # over replies, for each prompt
wanted = world.value(some) - 0.2 * world.kl(whole, ref_logps)
print("expected sum of token rewards", mean, "\nE[score] − β KL              ", wanted)
assert torch.allclose(mean, wanted)
share = (whole.exp() * (whole < ref_logps)).sum() / P
print(f"the log-ratio is negative for {share:.0%} of the replies drawn")

# %% tags=["concept:per-token-kl-reward"]
assert 0.1 < share < 0.5

# %% [markdown]
# Row by row the rewards add up to score − β log-ratio; on average to E[score] − β KL. One log-ratio is a *sample* of the KL, and often negative. Only its mean over the policy's own replies never is.
#
# ### Advantages of tokens
#
# The discount γ (not InstructGPT's weight of ptx) is 1: a token later is worth no less. After EOS nothing follows, so its discount is 0: `rlhf.discounts(mask)`. With that, GAE of chapter 04 works as it is. With λ = 1 the first token's advantage is the whole sum minus the
# critic's value:

# %% tags=["concept:per-token-kl-reward"]
real = torch.tensor([[True, True, True], [True, True, False]])
pay = token_rewards(torch.tensor([1.0, 0.5]), torch.tensor([[-1.0, -2.0, -0.5], [-1.0, -1.0, 0.0]]),
                        torch.tensor([[-1.5, -1.0, -0.5], [-3.0, -2.0, 0.0]]), real, beta=0.1)
guess = torch.tensor([[0.4, 0.5, 0.7, 9.0], [0.3, 0.2, 9.0, 9.0]])    # 9.0: the critic's word after EOS
advantages = returns.gae(pay, rlhf.discounts(real).double(), guess, lam=1.0)
print("rewards\n", pay, "\nadvantages\n", advantages)

# %% tags=["concept:per-token-kl-reward"]
assert torch.allclose(advantages[:, 0], pay.sum(1) - guess[:, 0])

# %% [markdown]
# (Behind the mask the numbers mean nothing.) Before the update advantages are **whitened** over all real tokens of the batch: mean 0, standard deviation 1. So multiplying the score *and* β by the same number leaves the step as it is. (The score alone has a scale that matters: β is weighed against it.)
#
# ### Write it: `whitened`
#
# *Difficulty ★☆☆ · importance ★★☆ · 5 minutes.* Over the real tokens of the whole batch, divided by n − 1; 0 behind the mask, and 0 everywhere if all real entries are the same.

# %% tags=["exercise"]
@check.exercise(rlhf.whitened)
def whitened(x, mask):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# `x[mask]` are the real entries, `.std()` divides by n − 1. Test the spread for 0 before you divide.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def whitened(x, mask):
#     real = x[mask]
#     spread = real.std() if real.std() > 0 else 1.0
#     return torch.where(mask, (x - real.mean()) / spread, 0.0)
# ```
# </details>
#
# ### Use it: padding must not count

# %% tags=["concept:token-level-ppo-loop"]
white = whitened(advantages, real)
careless = (advantages - advantages.mean()) / advantages.std()
print("whitened\n", white, "\nwith padding\n", careless)
assert abs(white[real].mean()) < 1e-12 and abs(white[real].std() - 1) < 1e-12
assert (careless[real].sign() != white[real].sign()).any()             # padding turned a sign

# %% [markdown]
# ## The loop, token by token
#
# Draw replies with the present policy; store $\log\pi_{\text{old}}$ and $V$; pay, estimate, whiten. Then a few passes of the clipped loss over this batch, policy and critic together. Then draw anew: the old batch is
# used up. On the phrase world policy and critic are tables, so nothing is hidden.

# %% tags=["concept:token-level-ppo-loop"]
def drawn(policy, batch, generator):
    """So many replies to each prompt: prompt and reply of each row."""
    said = torch.multinomial(world.logps(policy).exp(), batch, replacement=True, generator=generator)
    return torch.arange(P).repeat_interleave(batch), said.flatten()

# %% tags=["concept:token-level-ppo-loop"]
@torch.no_grad()
def judged(policy, critic, prompt, said, reward, beta):
    """What is stored before the update: log π_old, whitened advantages, the critic's targets; [B, 4] each."""
    where, mask = at(prompt, said)
    old_logps, refs = (table.log_softmax(-1)[where] for table in (policy, reference))
    rewards = token_rewards(reward[prompt, said], old_logps, refs, mask, beta)
    values = torch.nn.functional.pad(critic[where[:2]], (0, 1))        # [B, 5]
    advantages = returns.gae(rewards, rlhf.discounts(mask).double(), values, lam=0.95)
    return old_logps, whitened(advantages, mask), advantages + values[:, :-1]

# %% tags=["concept:token-level-ppo-loop"]
def step(policy, critic, optimizer, prompt, said, old_logps, white, targets):
    """One pass over the batch."""
    where, mask = at(prompt, said)
    logps = policy.log_softmax(-1)[where]
    policy_loss = trust_region.clipped_loss(logps, old_logps, white, eps_low=0.2, eps_high=0.2)
    value_loss = (critic[where[:2]] - targets) ** 2 / 2
    optimizer.zero_grad()
    masked.mean_over_tokens(policy_loss + value_loss, mask).backward()
    optimizer.step()

# %% tags=["concept:token-level-ppo-loop"]
def ppo(seed, reward, beta, updates=200, batch=256, lr=0.05, next_beta=lambda beta, kl: beta):
    """PPO from the reference, `batch` replies to each prompt; after each update logps [P, N] and β."""
    generator = torch.Generator().manual_seed(seed)
    policy, critic = reference.clone().requires_grad_(), torch.zeros(P, phrases.S, requires_grad=True)
    optimizer = torch.optim.Adam([{"params": policy, "lr": lr}, {"params": critic, "lr": 0.1}])
    cooling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, total_iters=updates)
    for _ in range(updates):
        prompt, said = drawn(policy.detach(), batch, generator)
        spent = (world.logps(policy.detach()) - ref_logps)[prompt, said].mean().item()
        stored = judged(policy, critic, prompt, said, reward, beta)
        for _ in range(2):                                             # epochs
            step(policy, critic, optimizer, prompt, said, *stored)
        cooling.step()
        whole = world.logps(policy.detach())
        yield whole, beta
        beta = next_beta(beta, spent)                                  # KL of the policy that drew

# %% [markdown]
# ### Against the exact optimum
#
# Here $\pi^*$ *can* be written down. How far is what PPO found? Measure the **total variation**, half the sum of absolute differences: the most by which the chances of any *set* of replies differ.

# %% tags=["concept:token-level-ppo-loop"]
found = torch.stack([list(ppo(seed, world.reward, beta=0.5))[-1][0] for seed in range(3)])   # [seeds, P, N]
star = world.optimum(ref_logps, beta=0.5)

def variation(logps, other):
    return (logps.exp() - other.exp()).abs().sum(-1) / 2               # [..., P]

off = variation(found, star)
print(f"reference to optimum {variation(ref_logps, star).mean():.2f}; "
      f"PPO to optimum at most 0.02: {bool(off.max() < 0.02)}")

# %% tags=["concept:token-level-ppo-loop"]
assert off.max() < 0.02 and variation(ref_logps, star).min() > 0.25    # the worst of three seeds and prompts

# %% tags=["nbval-ignore-output", "concept:token-level-ppo-loop"]
for prompt, name in enumerate(world.prompts):
    exact, learnt = star[prompt].exp(), found[0, prompt].exp()
    top = exact.argsort(descending=True)[:4]
    print(f"{name:19}", "; ".join(f"{world.responses[n]} {exact[n]:.2f} ({learnt[n]:.2f})" for n in top))

# %% [markdown]
# Exact chances, and PPO's in brackets. A loop of forty lines, from samples alone, lands within a total variation of 0.02 of a distribution over 781 replies, on every seed. PPO is no approximation to this
# objective: at $\pi^*$ score − β log-ratio is the same for every reply to a prompt, so with the right critic *every* advantage is 0. But whitening divides by their vanishing spread and keeps the steps large; the falling step size lets it land.
#
# ### On the frontier, or under it
#
# Every β gives one point: the reward and the KL of $\pi^*$. Together they are the **reward–KL frontier**: no policy earns more at the same KL. Equivalently, for *every* β, $\mathbb E[r]\le\beta\log Z_\beta+\beta\,\mathrm{KL}$: all
# policies lie below all these lines. Here are PPO's policies on the way, for three prices.

# %% tags=["concept:reward-kl-frontier"]
def place(logps, reward=world.reward):
    """KL and expected reward of policies [..., P, N], means over the prompts."""
    return world.kl(logps, ref_logps).mean(-1), (logps.exp() * reward).sum(-1).mean(-1)

runs = {beta: torch.stack([logps for logps, _ in ppo(0, world.reward, beta)]) for beta in (0.1, 0.3, 1.0)}
betas = torch.logspace(2, -1.6, 200).tolist()
spent, most = (x.mean(-1) for x in world.frontier(ref_logps, betas))   # [200] each
lines = torch.tensor([world.log_partition(ref_logps, beta).mean() * beta for beta in betas])   # β log Z

# %% tags=["nbval-ignore-output", "concept:reward-kl-frontier"]
above = []
for beta, logps in runs.items():
    moved, worth = place(logps)
    above.append((worth[:, None] - lines - torch.tensor(betas) * moved[:, None]).max())
    end, reached = moved[-1].item(), worth[-1].item()
    ideal = place(world.optimum(ref_logps, beta))
    print(f"β = {beta}: KL {end:.2f} and reward {reached:.2f}; exact {ideal[0]:.2f} and {ideal[1]:.2f}")
    assert abs(end - ideal[0]) < 0.05 and abs(reached - ideal[1]) < 0.02

# %% tags=["concept:reward-kl-frontier"]
assert max(above) < 1e-9                             # 600 policies, 200 lines, none above

# %% tags=["concept:reward-kl-frontier"]
fig, ax = plots.figure(height=2.9)
ax.plot(spent, most, color=style.COLOR["exact"], linewidth=0.9, label="exact frontier")
blue, gaps = style.COLOR["policy"], []
for (beta, logps), look in zip(runs.items(), ("s", "o", "^")):
    ax.plot(*place(logps[:40:2]), look, markersize=4, color=blue, alpha=0.4, label=f"PPO, β = {beta}")
    moved, worth = place(logps[-1])
    ax.plot(moved, worth, look, markersize=9, color=blue)
    gaps.append((most[(spent - moved).abs().argmin()] - worth).abs().item())
ax.set(xlabel="KL(policy‖ref), nats", ylabel="expected gold reward")
ax.set_title("PPO climbs under the frontier and ends on it")
ax.legend()
near = "" if max(gaps) < 0.02 else "not all "
plots.show(plots.caption(fig, "Reward against KL in the phrase world: the exact frontier, and PPO's policies "
    "every second update up to the fortieth for β = 0.1, 0.3 and 1. None lies above; the last ones (large) "
    f"are {near}within 0.02 of the line."))

# %% [markdown]
# ### A price that finds itself
#
# Which β? It depends on the reward's scale. You may rather know how many nats you want to spend. Then let the price follow: raise it where the last batch was too far, lower it where it was too near. One rule multiplies β:
# $$\beta\leftarrow\beta\,\Big(1+\text{gain}\cdot\mathrm{clip}\big(\tfrac{\mathrm{KL}}{\text{target}}-1,\,-0.2,\,0.2\big)\Big).$$
#
# ### Write it: `proportional_beta`
#
# *Difficulty ★☆☆ · importance ★★☆ · 3 minutes.*

# %% tags=["exercise"]
@check.exercise(rlhf.proportional_beta)
def proportional_beta(beta, kl, target, gain):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# `min(max(x, -0.2), 0.2)` clips a number.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def proportional_beta(beta, kl, target, gain):
#     error = min(max(kl / target - 1, -0.2), 0.2)
#     return beta * (1 + gain * error)
# ```
# </details>
#
# ### Use it: one nat, please
#
# Begin ten times too cheap, and ten times too dear.

# %% tags=["nbval-ignore-output", "concept:per-token-kl-reward"]
ended = []
for first in (0.03, 3.0):
    follow = lambda beta, kl: proportional_beta(beta, kl, target=1.0, gain=0.3)
    logps, price = zip(*ppo(0, world.reward, first, updates=300, next_beta=follow))
    ended.append((place(logps[-1])[0].item(), price[-1]))
    print(f"from β = {first}: KL {ended[-1][0]:.1f} nats, β {ended[-1][1]:.1f}")

# %% tags=["concept:per-token-kl-reward"]
assert all(abs(spent - 1) < 0.1 and 0.2 < beta < 0.45 for spent, beta in ended)

# %% [markdown]
# Both end at one nat and at the same price. A price fixed at 0.02, as in InstructGPT, is a choice for *that* reward model. And not everybody found one needed: Anthropic's paper of 2022 used 0.001 and says that this "might
# actually be wholly unnecessary". One often reads the opposite, that 0.001 was found to be best.
#
# ## Explorer: β and the frontier
#
# What you optimise is seldom what you want. The phrase world has a **proxy**: the gold reward without its term against repetition, what a careless judge would measure. Left: the likeliest replies of the exact best policy for the
# price and the reward you choose, the reference as grey strokes. Right: what such policies earn for their KL.

# %% tags=["concept:reward-kl-frontier", "concept:reward-hacking"]
explore(frontier.draw, **frontier.controls())

# %% [markdown]
# **Try it.** At rest you see the end of the story. Move β from 5 to 0.05 on the proxy: what happens to the proxy, what to the gold reward, and which reply takes over? Where is gold at its peak? Then maximise the gold reward instead: does it still turn?
#
# <details><summary>What you should see</summary>
#
# The proxy only rises. Gold rises with it at first, is at its best between β = 0.5 and 0.3, at less than a nat, and below where it began at β = 0.1: *hello friend friend friend*. Maximising gold
# itself, nothing turns: it rises to 1.10 and stays. The better policies exist at every KL; the proxy cannot see them.
# </details>

# %% tags=["concept:reward-hacking"]
near, far = (frontier.family((beta,), frontier.PROXY, world.prompts[0]) for beta in (0.4, 0.1))
begin = (ref_logps[0].exp() * world.reward[0]).sum()
assert far.proxy > near.proxy + 0.5 and near.gold > begin + 0.3 and far.gold < begin - 0.4
curve = frontier.family(frontier.GRID, frontier.PROXY, world.prompts[0])
assert (curve.proxy.diff() > 0).all() and curve.kl[curve.gold.argmax()] < 1
right = frontier.family(frontier.GRID, frontier.GOLD, world.prompts[0])

# %% tags=["concept:reward-hacking"]
assert (right.gold.diff() > 0).all() and abs(right.gold[-1] - 1.10) < 0.01

# %% [markdown]
# ## Reward hacking, live
#
# One often sees a picture in which the *reward model's* score rises with KL and then falls. Along the best policies it never falls: more KL can only buy more score. What falls is the **true** reward, and that is what over-optimisation, or
# **reward hacking**, means. Now the support desk. Gold, the hidden truth, adds up the worth of distinct sentences (kind ones above 0, rude ones below), and takes off for repetition, the wrong thing, garbled or unfinished text, and words beyond 18. The policy sees judge 1 alone (less 1 for a reply that is cut off at 40 tokens). Judge 2 was
# fitted to other pairs and trains nobody: it only *tests*.
#
# The runs: one price each, three seeds, sixty updates of 128 replies (the first five train the critic alone). They take half an hour, so the course ships their record; `python -m rlcore.loops.checkpoints replies_rlhf` makes it anew.

# %%
with open(lm.SHIPPED / "replies_rlhf.csv", encoding="utf-8") as file:
    record = list(csv.DictReader(file))

def told(name, column):
    """One column of a run: [3 seeds, 60 updates]; `echo` is there every tenth update."""
    rows = [float(row[column]) for row in record if row["run"] == name and row[column]]
    return torch.tensor(rows).view(3, -1)

def final(name, column, last=10):
    """Mean of the last updates, for each seed."""
    return told(name, column)[:, -last:].mean(1)

# %% tags=["concept:reward-hacking"]
print("worst of three seeds, mean of the last ten updates; gold begins at",
      plots.number(told("beta 0", "gold")[:, :5].mean().item(), 1))
for price in ("0", "0.05", "0.1", "0.2", "0.5"):
    name = f"beta {price}"
    proxy, gold, spent = (final(name, column) for column in ("proxy", "gold", "kl"))
    print(f"β = {price:4}  proxy {proxy.min():4.1f}   gold {gold.min():+4.1f}   KL {spent.max():5.1f}   "
          f"best gold on the way {told(name, 'gold').amax(1).min():4.1f}")

# %% tags=["concept:reward-hacking"]
free, priced = (told("beta 0", "gold"), told("beta 0.2", "gold"))
assert (final("beta 0.2", "gold") >= 1.3).all() and (final("beta 0.2", "kl") <= 4).all()
assert final("beta 0", "gold").max() <= final("beta 0.2", "gold").min() - 1.5
assert final("beta 0", "proxy").min() > final("beta 0.2", "proxy").max() + 1
assert (free.amax(1) > free[:, :5].mean(1) + 0.8).all()                # first it rises,
assert (final("beta 0", "gold") < free[:, :5].mean(1) - 0.3).all()     # then it falls below where it began

# %% tags=["concept:reward-hacking"]
fig, axes = plots.figure(height=3.0, ncols=2, sharey=True)
looks = {"proxy": ("--", "value", "judge 1 (trains)"), "test": (":", "reference", "judge 2 (tests)"),
         "gold": ("-", "reward", "gold")}
for ax, name, title in zip(axes, ("beta 0", "beta 0.2"), ("β = 0: proxy up, gold down", "β = 0.2: both up")):
    for column, (dash, colour, label) in looks.items():
        curves = ax.plot(range(1, 61), told(name, column).T, dash, color=style.COLOR[colour], linewidth=1.3)
        curves[0].set_label(label)
    ax.set(xlabel="update", title=title)
axes[0].set(ylabel="mean reward of a reply", ylim=(-2, 5.4))
axes[0].legend(loc="upper left", ncols=2)
ends = [[plots.number(final(name, column).mean().item(), 1) for column in looks]
        for name in ("beta 0", "beta 0.2")]
plots.show(plots.caption(fig, "Mean rewards of 60 updates, three seeds. Without a price judge 1, judge 2 and "
    f"gold end at {', '.join(ends[0])}, gold after a best of {free.amax(1).mean():.1f}. With β = 0.2 they "
    f"end at {', '.join(ends[1])}."))

# %% [markdown]
# Without a price gold rises for about ten updates of the policy, then collapses, on every seed; the score climbs all the way. That answers the first guess. With β = 0.2 gold ends high and stays. (Or stop early: but you would have to see gold to know when.)
#
# ### Before and after, to be read
#
# Three shipped policies: before (`replies_sft`), after sixty updates at β = 0.2 (`replies_ppo`), and at β = 0 (`replies_hacked`).

# %% tags=["concept:reward-hacking", "nbval-ignore-output"]
torch.set_default_dtype(torch.float32)
policies = {"before": sft, "β = 0.2": lm.shipped("replies_ppo")[0], "β = 0": lm.shipped("replies_hacked")[0]}
samples = {}
for name, model in policies.items():
    samples[name] = desk.groups(model, tokenizer, 400, 1, torch.Generator().manual_seed(0))
    gold, proxy = desk.gold(tokenizer, samples[name]), lm.scores(judges[0], samples[name]).detach()
    print(f"\n{name}: gold {gold.mean():+.2f}, proxy {proxy.mean():+.2f}")
    for k, (asked, said) in enumerate(lm.read(tokenizer, samples[name].rows(slice(0, 4)))):
        print(f"  gold {gold[k]:+.1f} proxy {proxy[k]:+.1f} | {asked[7:-8]}\n      {said}")

# %% [markdown]
# Before: kind, rude, or beside the point. At β = 0.2: kind, mostly to the point, sometimes twice the same promise or a garbled wish: the judge does not mind. At β = 0: rubble of words that occur in good replies. Nobody ever compared such texts, so nothing told
# the judge that they are bad.

# %% tags=["concept:reward-hacking"]
means = {name: (desk.gold(tokenizer, replies).mean().item(), lm.scores(judges[0], replies).mean().item())
         for name, replies in samples.items()}
assert means["β = 0.2"][0] > 1.3 and means["β = 0.2"][1] > means["before"][1] + 1.5
assert means["β = 0"][0] < means["before"][0] - 0.4 and means["β = 0"][1] > means["β = 0.2"][1] + 1

# %% [markdown]
# ### A short run of your own
#
# The same loop, `rlcore.loops.rlhf.train`, on a seed that is not in the record: sixteen updates at β = 0.2.

# %% tags=["concept:token-level-ppo-loop", "concept:four-models", "nbval-ignore-output"]
from IPython.display import clear_output
from tqdm.auto import tqdm

from rlcore.loops import checkpoints

reward = desk.proxy(judges[:1], checkpoints.mean)                      # rollout ↦ scores, one judge
settings = {**checkpoints.RLHF, "updates": 16, "beta": 0.2, "next_beta": loop.fixed}
before = {name: [p.clone() for p in model.parameters()] for name, model in four.items()}
generator = torch.Generator().manual_seed(3)
training = loop.train(four["policy"], four["critic"], four["reference"], reward, desk.prompts(tokenizer),
                      loop.clipped(**checkpoints.CLIP), **settings, generator=generator)
lived = list(tqdm(training, total=16, desc="PPO", leave=False))
clear_output()                                       # of the progress bar

# %% tags=["nbval-ignore-output", "concept:token-level-ppo-loop"]
golds = torch.tensor([desk.gold(tokenizer, one.rollout).mean() for one in lived])
for one, gold in list(zip(lived, golds))[::5]:
    print(f"update {one.update:2}: score {one.scores.mean():+.2f}, gold {gold:+.2f}, KL {one.kl:5.2f}")
shipped = told("beta 0.2", "gold")[:, 10:16].mean(1)
print(f"gold of updates 11 to 16: {golds[10:].mean():.2f}; record {shipped.min():.2f} to {shipped.max():.2f}")

# %% tags=["concept:token-level-ppo-loop"]
assert shipped.min() - 0.4 < golds[10:].mean() < shipped.max() + 0.4
assert abs(golds[:5].mean() - told("beta 0.2", "gold")[:, :5].mean()) < 0.4    # the critic alone has learnt

# %% tags=["concept:four-models"]
moved = {name: any(not torch.equal(p, old) for p, old in zip(model.parameters(), before[name]))
         for name, model in four.items()}
with_gradient = {name: any(p.grad is not None for p in model.parameters()) for name, model in four.items()}
print("changed", moved)
assert moved == with_gradient == {"policy": True, "critic": True, "reference": False, "reward": False}

# %% [markdown]
# Policy and critic received gradients, reference and reward model none: the figure at the beginning, checked.
#
# ### A judge that trains, a judge that tests
#
# Nobody has gold. But you can split your comparisons in two halves, fit **two reward models**, train on one and judge with the other. What judge 1 gives and judge 2 does not is what the policy found in judge 1's *errors*.

# %% tags=["concept:train-test-reward-models"]
names = ("beta 0", "beta 0.05", "beta 0.2", "beta 0.5")
gap = {name: told(name, "proxy") - told(name, "test") for name in names}
print("judge 1 − judge 2    begin    end (mean of three seeds)")
for name, line in gap.items():
    print(f"{name:18} {line[:, :5].mean():7.2f} {line[:, -10:].mean():7.2f}")
grown = gap["beta 0"][:, -10:].mean(1) - gap["beta 0"][:, :5].mean(1)

# %% tags=["concept:train-test-reward-models"]
assert grown.min() > 0.5 and told("beta 0", "test")[:, -10:].mean() > 2   # the worst seed; and the rubble
assert (gap["beta 0.5"][:, -10:].mean(1) < gap["beta 0"][:, -10:].mean(1) / 3).all()

# %% [markdown]
# The gap opens with the KL and is a signal you can have. It is no measure of the damage: judge 2 still gives the rubble more than two points, because both judges learnt from the same kind of texts. *A test judge shares the blind spots of its
# data.*
#
# ### Reward and √KL
#
# How much does a nat buy? Near the reference the best policy is $\pi_{\mathrm{ref}}\,(1+(r-\bar r)/\beta)$ to first order, which costs $\mathrm{KL}\approx\mathrm{Var}(r)/2\beta^2$ and gains $\mathrm{Var}(r)/\beta$ (mean and variance under $\pi_{\mathrm{ref}}$). So
# $$\text{gain}\approx\sqrt{2\,\mathrm{Var}(r)}\;\sqrt{\mathrm{KL}},$$
# linear in the *root* of the KL, not in the KL. On log–log axes the slope would be ½:

# %% tags=["concept:reward-sqrt-kl"]
torch.set_default_dtype(torch.float64)
cheap, bought = world.frontier(ref_logps, [50.0, 100.0, 200.0, 400.0])                # [4, P]
base = world.value(reference)                                          # [P]
slopes = (bought - base).log().diff(dim=0) / cheap.log().diff(dim=0)
variance = (ref_logps.exp() * (world.reward - base[:, None]) ** 2).sum(-1)
per_root = (bought - base) / cheap.sqrt()
print("slopes", slopes[-1], "\ngain / √KL", per_root[-1], "  √(2 Var)", (2 * variance).sqrt())

# %% tags=["concept:reward-sqrt-kl"]
assert (slopes - 0.5).abs().max() < 0.01
assert (per_root[-1] / (2 * variance).sqrt() - 1).abs().max() < 0.02

# %% [markdown]
# And in the runs at β = 0.1, up to six nats? Compare two straight lines, one in KL, one in √KL:

# %% tags=["concept:reward-sqrt-kl"]
def explained(x, y):
    """Share of the variance of y that a straight line in x explains."""
    return torch.corrcoef(torch.stack([x, y]))[0, 1] ** 2

for seed in range(3):
    x, y = told("beta 0.1", "kl")[seed], told("beta 0.1", "proxy")[seed]
    early = (x > 0.2) & (x < 6)
    root, plain = explained(x[early].sqrt(), y[early]), explained(x[early], y[early])
    print(f"seed {seed}: a line in √KL explains {root:.1%} of the score, a line in KL {plain:.1%}")
    assert root > plain and root > 0.97

# %% [markdown]
# This regularity is from Anthropic's paper of 2022; it is often retold as "linear in KL".
#
# ## The KL, estimated
#
# From samples $y\sim\pi$ there are three usual estimates of $\mathrm{KL}(\pi\Vert\pi_{\mathrm{ref}})$. With $x=\pi_{\mathrm{ref}}(y)/\pi(y)$:
# $$k_1=-\log x,\qquad k_2=\tfrac12\log^2x,\qquad k_3=x-1-\log x .$$
# ### As a number
#
# Over all replies, nothing sampled, for policies at three distances from the reference:

# %% tags=["concept:kl-estimators"]
estimators = {"k1": kl.k1, "k2": kl.k2, "k3": kl.k3}
for beta in (10.0, 2.0, 0.2):
    logps = world.optimum(ref_logps, beta)
    chances, true = logps.exp() / P, world.kl(logps, ref_logps).mean()
    print(f"policy of β = {beta}: KL {true:.4f}")
    for name, estimator in estimators.items():
        values = estimator(logps, ref_logps)
        mean = (chances * values).sum()
        spread = (chances * (values - mean) ** 2).sum().sqrt()
        print(f"  {name}  bias {mean - true:z7.4f}   standard deviation {spread:11.4f}",
              f"  least {values.min():7.3f}")

# %% tags=["concept:kl-estimators"]
near, far = (world.optimum(ref_logps, beta) for beta in (10.0, 0.2))

def moments(estimator, logps):
    values, chances = estimator(logps, ref_logps), logps.exp() / P
    mean = (chances * values).sum()
    return mean - world.kl(logps, ref_logps).mean(), (chances * (values - mean) ** 2).sum().sqrt()

# %% tags=["concept:kl-estimators"]
assert all(abs(moments(k, logps)[0]) < 1e-12 for k in (kl.k1, kl.k3) for logps in (near, far))
assert moments(kl.k3, near)[1] < moments(kl.k1, near)[1] / 3 and abs(moments(kl.k2, near)[0]) < 0.003
assert abs(moments(kl.k2, far)[0]) > 0.1 and moments(kl.k3, far)[1] > 1000

# %% [markdown]
# $k_1$ and $k_3$ are unbiased, $k_2$ is not. Near the reference $k_3$ is far less noisy than $k_1$, and never negative: there one reports $k_3$. Far off, $x=\pi_{\mathrm{ref}}/\pi$ is astronomically large for replies that the policy has all but given up,
# and the exact standard deviation of $k_3$ is absurd: unbiased, and useless. Drawn from the policy, such replies hardly ever come, and a mean of $k_3$ is too small until one does:

# %% tags=["concept:kl-estimators"]
few = torch.multinomial(far.exp(), 1000, replacement=True, generator=torch.Generator().manual_seed(0))
for name, estimator in (("k1", kl.k1), ("k3", kl.k3)):
    sampled = estimator(far, ref_logps).gather(1, few).mean()
    print(f"1,000 replies to each prompt: mean of {name} {sampled:.2f}")
print(f"exact {world.kl(far, ref_logps).mean():.2f}")

# %% [markdown]
# ### As a loss
#
# Now differentiate. In a loss the samples stand still and only $\log\pi(y)$ carries a gradient. The mean of what comes out, over all replies, against the true gradient of $\mathrm{KL}(\pi\Vert\pi_{\mathrm{ref}})$:

# %% tags=["concept:kl-estimators"]
table = world.token_logits(far).requires_grad_()
frozen = far.exp() / P                                                 # who drew the samples

def slope(loss, table):
    return torch.autograd.grad(loss, table)[0].flatten()

right = slope(world.kl(world.logps(table), ref_logps).mean(), table)
other = slope((ref_logps.exp() * (ref_logps - world.logps(table))).sum() / P, table)   # KL(ref‖policy)

# %% tags=["concept:kl-estimators"]
losses = {f"{name} in the loss": (lambda logps, k=k: k(logps, ref_logps)) for name, k in estimators.items()}
losses["ratio · k3 in the loss"] = lambda logps: (logps - far).exp() * kl.k3(logps, ref_logps)
losses["k1 in the reward"] = lambda logps: kl.k1(far, ref_logps) * logps              # the score function
slopes = {name: slope((frozen * loss(world.logps(table))).sum(), table) for name, loss in losses.items()}
for name, found in slopes.items():
    error = (found - right).norm() / right.norm()
    print(f"{name:23} length {found.norm() / right.norm():5.2f} of the right one,  error {error:5.1%}")

# %% tags=["concept:kl-estimators"]
assert slopes["k1 in the loss"].norm() < 1e-12
assert torch.allclose(slopes["k3 in the loss"], other) and (other - right).norm() > 0.3 * right.norm()
for name in ("k2 in the loss", "ratio · k3 in the loss", "k1 in the reward"):
    assert torch.allclose(slopes[name], right, atol=1e-12)

# %% [markdown]
# **$k_1$ in the loss has mean gradient 0**: it adds nothing but noise. **$k_3$ in the loss** has the gradient of the *other* direction, $\mathrm{KL}(\pi_{\mathrm{ref}}\Vert\pi)$. $k_2$ is biased as a number and, *on replies of the present policy*, exactly right as a loss. Times the ratio $\pi/\pi_{\text{old}}$, $k_3$
# is right again: then the sampling is differentiated, too. And $k_1$ in the *reward*, where this chapter has it, is right. A good estimate is one thing, a good gradient another.
#
# ## Another way to spend KL: best of n
#
# No training at all: draw n replies, keep the one with the best score. If no two replies score the same, that costs exactly $\log n-\frac{n-1}n$ nats. In the phrase world replies are few and ties common. Exactly, with $F(y)$ the
# chance that a draw scores at most as much as $y$, and $F^-(y)$ that it scores less:
# $$\pi_n(y)=\frac{\pi_{\mathrm{ref}}(y)}{F(y)-F^-(y)}\big(F(y)^n-F^-(y)^n\big).$$

# %% tags=["concept:reward-kl-frontier", "concept:best-of-n"]
apart = world.proxy[:, None, :] - world.proxy[..., None]               # [P, N, N]
chances = ref_logps.exp()
below, level = (torch.einsum("pm,pnm->pn", chances, which.double())
                for which in (apart < -1e-9, apart.abs() < 1e-9))      # F⁻, and F − F⁻

def best_of(n):
    """Log-probabilities [P, N] of the reply with the best proxy in n draws; among equals the first."""
    return (((below + level) ** n - below**n) * chances / level).log()

# %% tags=["concept:reward-kl-frontier", "concept:best-of-n"]
print("   n   bound     KL   proxy    gold")
for n in (1, 2, 4, 16, 64):
    chosen = best_of(n)
    spent, worth = place(chosen)
    bound = rlhf.best_of_n_kl(n)
    most_gold = min(beta * spent + line for beta, line in zip(betas, lines))
    print(f"{n:4} {bound:7.4f} {spent:6.3f} {place(chosen, world.proxy)[1]:7.2f} {worth:7.2f}")
    assert world.kl(chosen, ref_logps).max() <= bound + 1e-9 and worth <= most_gold + 1e-9

# %% tags=["concept:reward-hacking", "concept:best-of-n"]
wanted = {2: 0.193147, 4: 0.636294, 16: 1.835089, 64: 3.174508}
assert all(abs(rlhf.best_of_n_kl(n) - number) < 1e-6 for n, number in wanted.items())
by_n = torch.stack([place(best_of(n))[1] for n in range(1, 65)])
assert by_n.argmax() in range(2, 16) and by_n[-1] < by_n.max() - 0.2   # selection hacks the proxy as well

# %% [markdown]
# The formula is a bound here, not the value. And gold turns down again: it is not PPO that hacks, it is *choosing by the proxy*.
#
# ## Several judges
#
# If a judge's errors are its own, average several. Take an exact case: 200 candidates, true worth standard normal, every judge sees it with unit noise. The best of 200 is worth 2.75; one judge's score has
# correlation $1/\sqrt2$ with the truth, the mean of five $1/\sqrt{1.2}$, and the pick is worth that share of 2.75:

# %% tags=["concept:reward-model-ensembles"]
x = torch.linspace(-6, 8, 20_001)
normal = torch.distributions.Normal(0.0, 1.0)
density = 200 * normal.log_prob(x).exp() * normal.cdf(x) ** 199        # of the best of 200
top = torch.trapezoid(x * density, x)
generator = torch.Generator().manual_seed(0)
truth = torch.randn(2000, 200, generator=generator)
seen = truth + torch.randn(5, 2000, 200, generator=generator)
for name, score, exact in (("one judge", seen[0], top / 2**0.5), ("least of five", seen.amin(0), None),
                           ("mean of five", seen.mean(0), top / 1.2**0.5), ("the truth", truth, top)):
    sampled = truth.gather(1, score.argmax(1, keepdim=True)).mean()
    print(f"{name:14} worth of the pick {sampled:.2f}", "" if exact is None else f"  exact {exact:.2f}")
    assert (2.25 < sampled < 2.45) if exact is None else abs(sampled - exact) < 0.08

# %% [markdown]
# Three judges instead of one, on the desk at β = 0.05, the price at which one judge was hacked; and what all four say about the rubble:

# %% tags=["concept:reward-model-ensembles"]
for name in ("beta 0.05", "mean of three", "least of three"):
    gold, spent = (final(name, column).numpy().round(1) for column in ("gold", "kl"))
    print(f"{name:15} gold of each seed {gold}   KL {spent}")
torch.set_default_dtype(torch.float32)
rubble = torch.stack([lm.scores(judge, samples["β = 0"]).mean() for judge in judges]).detach()
one, mean, least = (final(name, "gold") for name in ("beta 0.05", "mean of three", "least of three"))

# %% tags=["concept:reward-model-ensembles", "nbval-ignore-output"]
print("rubble, judges 1 to 4:", rubble.numpy().round(1))
for name, join in (("mean of three", checkpoints.mean), ("least of three", checkpoints.least)):
    of_rubble = desk.proxy([judges[0], *judges[2:]], join)(samples["β = 0"]).mean()
    print(f"{name}: rubble {of_rubble:.1f}; its own run ended at {final(name, 'proxy').mean():.1f}")
    assert of_rubble > final(name, "proxy").max()

# %% tags=["concept:reward-model-ensembles"]
assert mean.min() > one.max() + 0.5 and least.min() > final("beta 0.2", "gold").max() and (rubble > 1.5).all()

# %% [markdown]
# At the same price the mean of three loses much less, and the *least* of three, the most sceptical judge, ends with the best gold of all runs, above what one judge reached at any price. (Judges 1, 3 and 4; judge 2 still only
# tests. With independent errors of one size the mean was better, above; here one judge is fooled far more than the others, and the least of three ignores it.)
#
# Not fooled, then? The rubble was found by exploiting judge 1 alone, and yet *all four* judges score it far above zero, though it is worth less than −1. Both ensembles even score it *higher* than the replies their own runs ended with: the judges saw other pairs, but the same *kind* of
# replies. What kept these runs away from it is the ensemble *and* the price. That is the answer to the second guess of the beginning: a price on KL, stopping early and
# sceptical judges all help, and none of them knows the truth.
#
# ## What it costs elsewhere
#
# The model had a second skill: repeat three words. Nobody trained it away, and nobody asked for it during RLHF. How far the accuracy on echoes falls is the **alignment tax**: a *measured loss* on other tasks, not a term in anybody's
# objective. **PPO-ptx** adds old texts' log-likelihood to the objective to reduce it (the γ-term of InstructGPT); here echoes, with weight 0.3.

# %% tags=["concept:ppo-ptx", "concept:alignment-tax"]
def echo(name):
    return told(name, "echo")[:, -1]                                   # after the last update

for name in ("beta 0", "beta 0.05", "beta 0.2", "beta 0.05 and ptx", "beta 0 and ptx"):
    gold = final(name, "gold").min()
    print(f"{name:18} worst seed: echoes right {told(name, 'echo')[:, 0].min():3.0%} at update 10,"
          f" {echo(name).min():4.0%} at the end; gold {gold:+.1f}")

# %% tags=["concept:ppo-ptx", "concept:instructgpt"]
assert told("beta 0.2", "echo")[:, 0].min() > 0.9                      # update 10: all could do it
assert echo("beta 0").max() < 0.2 and echo("beta 0.05").max() < 0.75
assert echo("beta 0.2").min() > 0.85
assert min(echo("beta 0.05 and ptx").min(), echo("beta 0 and ptx").min()) > 0.9
assert final("beta 0 and ptx", "gold").max() < 0                       # the skill is saved, the replies not

# %% [markdown]
# Cheap prices cost the skill. Old texts keep it, and β = 0.2 keeps most of it. But at β = 0 with ptx the desk's replies are as hacked as before: ptx keeps what you show it, nothing else.
#
# ## What breaks
#
# ### The sampler is not the trainer
#
# Large systems draw replies with one program and train with another: other kernels, other rounding, another temperature. Then $y\sim\mu$, not $y\sim\pi$, and the policy gradient is biased before the first step. The cure is the weight $\pi/\mu$,
# **truncated** at a limit $C$ so that one odd reply cannot drown the batch: $\min(\pi/\mu,\,C)$. By enumeration, π at β = 0.5 and two samplers: logits rounded to bfloat16, and temperature 0.7.

# %% tags=["concept:importance-sampling"]
torch.set_default_dtype(torch.float64)
table = world.token_logits(world.optimum(ref_logps, 0.5)).requires_grad_()
trainer = world.logps(table.detach())
better = world.reward - world.value(table.detach())[:, None]           # [P, N]
target = world.exact_gradient(table.detach()).flatten()
policy = table.detach().softmax(-1)
square = 1 - 2 * policy + (policy**2).sum(-1, keepdim=True)            # ‖∇ log π(a|s)‖², by the logits
squared_norms = torch.where(world.mask, square[:, world.states, world.tokens], 0.0).sum(-1)  # [P, N]

# %% tags=["concept:importance-sampling"]
def quality(sampler, limit):
    """Relative bias of the mean gradient; its standard deviation from one reply to each prompt; μ draws."""
    weights = trust_region.truncated_ratio(trainer, sampler, limit) if limit else torch.ones_like(trainer)
    mean = slope((sampler.exp() * weights * better * world.logps(table)).sum() / P, table)
    second = (sampler.exp() * (weights * better) ** 2 * squared_norms).sum() / P**2
    bias = (mean - target).norm() / target.norm()
    return bias.item(), (second - mean @ mean).sqrt().item()

samplers = {"bfloat16": table.detach().bfloat16().double(), "temperature 0.7": table.detach() / 0.7}
samplers = {name: world.logps(logits) for name, logits in samplers.items()}

# %% tags=["concept:importance-sampling"]
for name, sampler in samplers.items():
    for limit in (None, 1.2, 2.0, 1e9):
        bias, spread = quality(sampler, limit)
        label = {None: "no weights", 1e9: "no limit"}.get(limit, f"limit {limit}")
        print(f"{name:16} {label:11} bias {bias:6.1%}   standard deviation {spread:.2f}")
biases = {name: [quality(sampler, limit)[0] for limit in (None, 1.2, 2.0, 1e9)]
          for name, sampler in samplers.items()}
assert all(b[3] < 1e-10 and b[0] > b[2] for b in biases.values())      # full weights: no bias
hot = biases["temperature 0.7"]

# %% tags=["concept:importance-sampling"]
assert hot[0] > hot[1] > hot[2] > 0.01 and biases["bfloat16"][0] < 0.02

# %% [markdown]
# Rounding alone costs little here; temperature 0.7 left in the sampler bends the gradient by almost half. Full weights remove the bias and make the batch several times as noisy; a limit trades one for the other.
# Recomputing $\log\pi_{\text{old}}$ with the trainer is no substitute: PPO's ratio then begins at 1, the row *no weights*, and the replies still come from μ. You need both, the trainer's log π and the sampler's log μ. (Here a weight is
# a whole reply's; large systems mostly cut it token by token.)
#
# ### Discount 1 at EOS
#
# A model's value head goes on printing numbers behind EOS, and they mean nothing. With the example from above, whose critic says 9 there:

# %% tags=["concept:per-token-kl-reward"]
sound = returns.gae(pay, rlhf.discounts(real).double(), guess, lam=0.95)
leaking = returns.gae(pay, real.double(), guess, lam=0.95)
print("discounts(mask)", sound[0], "\nmask itself    ", leaking[0])
assert (leaking[0] - sound[0]).min() > 7

# %% [markdown]
# ### A score that is no number
#
# One NaN from a reward model, and after one step all parameters are NaN. So it is refused at the door, while they are still good:

# %%
try:
    scores, zeros = torch.tensor([1.0, float("nan")]), torch.zeros(2, 3)
    rlhf.token_rewards(scores, zeros, zeros, real, beta=0.1)
except ValueError as reason:
    print(reason)

# %% [markdown]
# ## Exercises
#
# **1 · By pencil.** *★☆☆ · 5 minutes.* A reply of three tokens with log-ratios log π − log π_ref of 0.5, −0.2 and 0.7; its score is 2, β = 0.1, and before the first token the critic said 1.5. With λ = 1, what is the first token's
# advantage (before whitening)?

# %% tags=["exercise"]
first_advantage = ...

# %%
check.answer(
    first_advantage, 0.4, atol=1e-6, mistakes={
    "forgot the KL": 0.5, "forgot the value": 1.9, "turned the log-ratio round": 0.6, "forgot β": -0.5,
    "took the first token's KL alone": 0.45})
assert abs(2 - 0.1 * (0.5 - 0.2 + 0.7) - 1.5 - 0.4) < 1e-12

# %% [markdown]
# <details><summary>Hint</summary>
#
# The three rewards add up to score − β · (sum of log-ratios).
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# first_advantage = 2 - 0.1 * (0.5 - 0.2 + 0.7) - 1.5
# ```
# The sum is 1.9; less the value, 0.4.
# </details>
#
# **2 · One nat.** *★★☆ · 10 minutes.* At which β does the exact optimum for the **gold** reward spend 1 nat, mean over the prompts? `world.frontier(ref_logps, [beta])` gives KL and reward.

# %% tags=["exercise"]
beta_of_one_nat = ...

# %%
low, high = 0.1, 2.0
for _ in range(50):
    middle = (low + high) / 2
    low, high = (middle, high) if world.frontier(ref_logps, [middle])[0].mean() > 1 else (low, middle)
check.answer(
    beta_of_one_nat, low, atol=0.004, mistakes={
    "maximised the proxy": 0.3462, "took the first prompt alone": 0.2622, "summed over the prompts": 0.8825})
assert abs(low - 0.35598) < 1e-4

# %% [markdown]
# <details><summary>Hint</summary>
#
# The KL falls as β rises. Try a grid: `torch.linspace(0.1, 1, 200)`, and take the β whose KL is nearest to 1.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# beta_of_one_nat = min(torch.linspace(0.1, 1, 200).tolist(),
#     key=lambda beta: abs(world.frontier(ref_logps, [beta])[0].mean().item() - 1))
# ```
# About 0.36, where the adaptive price ended as well.
# </details>

# %% [markdown]
# ## Clinic: four statements that circulate
#
# Find the flaw *before* you read the verdict.
#
# **1.** *"InstructGPT maximises* $\mathbb E_{(x,y)\sim D_{\pi_{\mathrm{SFT}}}}\big[R(x,y)-\beta\log\frac{\pi_{\mathrm{SFT}}(y\mid x)}{\pi_\theta(y\mid x)}\big]$*; the log-ratio is a form of* $\mathrm{KL}(\pi_\theta\Vert\pi_{\mathrm{SFT}})$*."* Climb it at β = 1, for two very
# different rewards:

# %% tags=["concept:instructgpt"]
def climb(objective, steps=3000):
    logits = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([logits], 0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        (-objective(logits.log_softmax(-1))).backward()
        optimizer.step()
    return logits.detach().softmax(-1)

log_start = start.log()
for r in (torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.0, 100.0, -100.0])):
    reached = climb(lambda logps, r=r: (start * (r - (log_start - logps))).sum())
    print("rewards", r.numpy(), "→", reached.numpy().round(4))
    assert torch.allclose(reached, start, atol=1e-4)

# %% [markdown]
# Repair one thing at a time. First the *trained* policy draws and the ratio stays upside down, next to the right objective (rewards 2, 1, 0 and β = 2.5). Then the ratio is right and the reference draws (rewards 0, 1, 2 and β = 1):

# %% tags=["concept:instructgpt"]
r = torch.tensor([2.0, 1.0, 0.0])
both = climb(lambda logps: (logps.exp() * (r - 2.5 * (logps - log_start))).sum())
inverted = climb(lambda logps: (logps.exp() * (r - 2.5 * (log_start - logps))).sum())
print("both right      ", both.numpy().round(4), "\nratio inverted  ", inverted.numpy().round(4))
assert torch.allclose(both, (log_start + r / 2.5).softmax(-1), atol=1e-4) and inverted.max() > 0.999
for gap_of_logits in (0.0, 50.0, 500.0):
    logps = torch.tensor([0.0, gap_of_logits, 0.0]).log_softmax(-1)
    value = (start * (earned - (logps - log_start))).sum()
    print(f"reference draws, one logit {gap_of_logits:3.0f} ahead: objective {value:.2f}")

# %% tags=["concept:instructgpt"]
assert abs(value - 349.67) < 0.01

# %% [markdown]
# **Verdict.** Where the frozen model draws, the reward does not depend on θ at all: the best policy is $\pi_{\mathrm{SFT}}$, whatever the reward. With the trained policy drawing and the ratio still upside down, leaving the reference is *rewarded*: all mass goes to one
# reply, here the worst. With the ratio repaired but the reference drawing, there is no maximum: 0.77, 34.67, 349.67 and on. The right one is $\mathbb E_{y\sim\pi_\theta}\big[R-\beta\log\frac{\pi_\theta}{\pi_{\mathrm{SFT}}}\big]$. And a log-ratio is a *sample* of a KL, with this sign.
#
# **2.** *"*$k_3=\frac{\pi}{\pi_{\mathrm{ref}}}-1-\log\frac{\pi}{\pi_{\mathrm{ref}}}$*, averaged over* $y\sim\pi$*, estimates* $\mathrm{KL}(\pi\Vert\pi_{\mathrm{ref}})$*; and so does* $k_1=\log\frac{\pi_{\mathrm{ref}}}{\pi}$*."*

# %% tags=["concept:kl-estimators"]
log_ratio = far - ref_logps
claimed = (frozen * (log_ratio.exp() - 1 - log_ratio)).sum()
true = world.kl(far, ref_logps).mean()
print(f"KL {true:.2f}; k3 as claimed {claimed:.2f}; k1 as claimed {-(frozen * log_ratio).sum():.2f}")
assert claimed > 2 * true and torch.allclose((frozen * kl.k3(far, ref_logps)).sum(), true)

# %% [markdown]
# **Verdict.** The ratio is upside down. $x=\pi_{\mathrm{ref}}/\pi$ has mean 1 under π, which is why $k_3$ is unbiased; $\pi/\pi_{\mathrm{ref}}$ has mean $1+\chi^2$, and the result is more than twice the KL. It is positive all the same, so it looks healthy. $k_1$ with the ratio turned is minus the KL.
#
# **3.** *"k3 is unbiased and never negative; therefore it is the right KL term for the loss."* The categorical case by pencil, π = (½, 0.3, 0.2), reference (0.4, 0.4, 0.2):

# %% tags=["concept:kl-estimators"]
ref = torch.tensor([0.4, 0.4, 0.2]).log()
logits = log_start.clone().requires_grad_()

def gradient(loss):
    return torch.autograd.grad(loss(logits.log_softmax(-1)), logits)[0]

rows = {"∇ KL(π‖ref)": gradient(lambda logps: (logps.exp() * (logps - ref)).sum()),
        "∇ KL(ref‖π)": gradient(lambda logps: (ref.exp() * (ref - logps)).sum())}
for name, k in estimators.items():
    rows[f"E ∇ {name}"] = gradient(lambda logps, k=k: (start * k(logps, ref)).sum())
for name, row in rows.items():
    print(f"{name:12}", [f"{x:z.4f}" for x in row.tolist()])

# %% tags=["concept:kl-estimators"]
assert (rows["∇ KL(π‖ref)"] - torch.tensor([0.098938, -0.093885, -0.005053])).abs().max() < 1e-6
assert (rows["E ∇ k3"] - torch.tensor([0.1, -0.1, 0.0])).abs().max() < 1e-9
assert torch.allclose(rows["E ∇ k2"], rows["∇ KL(π‖ref)"]) and rows["E ∇ k1"].abs().max() < 1e-12

# %% [markdown]
# **Verdict.** True of the value, not of the gradient: $k_3$ pulls along $\nabla\mathrm{KL}(\pi_{\mathrm{ref}}\Vert\pi)$. Near the reference the two are alike, so training works and nobody notices; far away they are not.
#
# **4.** *"DPO and PPO both need pairs of preferred and rejected replies."* Count what the loop above was given:

# %% tags=["concept:three-stage-rlhf"]
import inspect

given = list(inspect.signature(loop.train).parameters)
print(", ".join(given[:6]))
assert "reward" in given and not {"chosen", "rejected", "pairs", "ranking"} & set(given)

# %% [markdown]
# **Verdict.** A reward function, and no pair anywhere. Pairs fitted the reward model, before; with a rule as reward there are none at all (chapters 11 and 12).
#
# ## Summary
#
# | symbol | what it is | function | where |
# |---|---|---|---|
# | $\pi^*\propto\pi_{\mathrm{ref}}e^{r/\beta}$ | the exact optimum; objective $\beta\log Z$ | `Phrases.optimum` | [smallest example](#The-smallest-example,-by-hand) |
# | $r_t$ | price on every token, score on the last | `rlhf.token_rewards` | [tokens](#What-one-token-is-paid) |
# | discount 0 at EOS, whitening | what GAE and PPO need | `rlhf.discounts`, `rlhf.whitened` | [advantages](#Advantages-of-tokens) |
# | the loop | draw, store, pay, estimate, clip, draw anew | `loops.rlhf.train` | [loop](#The-loop,-token-by-token) |
# | reward–KL frontier | most reward for each KL | `Phrases.frontier` | [frontier](#On-the-frontier,-or-under-it) |
# | β | fixed, or following the KL | `rlhf.proportional_beta` | [price](#A-price-that-finds-itself) |
# | proxy and gold | what is optimised, what is wanted | `desk.proxy`, `desk.gold` | [hacking](#Reward-hacking,-live) |
# | $k_1,k_2,k_3$ | number and gradient are two things | `kl.k1`, `kl.k2`, `kl.k3` | [KL](#The-KL,-estimated) |
# | $\log n-\frac{n-1}n$ | most KL that best-of-n spends | `rlhf.best_of_n_kl` | [best of n](#Another-way-to-spend-KL:-best-of-n) |
# | PPO-ptx | old texts against the alignment tax | `loops.rlhf.train(ptx=…)` | [tax](#What-it-costs-elsewhere) |
# | $\min(\pi/\mu,C)$ | when the sampler is not the trainer | `trust_region.truncated_ratio` | [sampler](#The-sampler-is-not-the-trainer) |
#
# ## Quiz

# %%
check.quiz(
    "During PPO the reward model's score rises steadily. What do you know about the true reward?",
    ["It rises as well, more slowly", "Nothing: it may be falling", "It has fallen"], answer=1,
    why="The score is what is optimised. At β = 0.2 both rose, at β = 0 gold collapsed under a rising score. "
        "Look at replies, at the KL, and at a judge that does not train.")

# %%
check.quiz(
    "Which of the four models need memory for gradients and for Adam?",
    ["All four", "Policy and reward model", "Policy and critic", "The policy alone"], answer=2,
    why="Reference and reward model stand still. Policy and critic take about 16 bytes per parameter instead of 2.")

# %%
check.quiz(
    "You want KL(policy‖ref) as a term in the loss, on samples of the present policy. Which estimator has the right gradient?",
    ["k1, it is unbiased", "k2", "k3, it is unbiased and never negative"], answer=1,
    why="k2's value is biased, its gradient exact. k1's is zero on average, and k3's is that of the other direction.")

# %%
check.quiz(
    "Old texts in the loss (ptx) at β = 0: what do they save?",
    ["The old skill, if it is in the texts", "The desk's replies", "Both"], answer=0,
    why="Echoes stayed above 90 %, and gold ended below zero all the same: ptx is no price on leaving the reference.")

# %% [markdown]
# ## Sources
#
# - Christiano et al. 2017, *Deep reinforcement learning from human preferences* (1706.03741); Ziegler et al. 2019 ([1909.08593](https://arxiv.org/abs/1909.08593)): the KL in the reward, the adaptive β, whitening (in their code). Stiennon et al. 2020
#   (2009.01325): summaries, and the KL of best-of-n (appendix G.3).
# - Ouyang et al. 2022, *Training language models to follow instructions with human feedback* ([2203.02155](https://arxiv.org/abs/2203.02155)): InstructGPT; equation 2 is the objective with ptx; β = 0.02, γ = 27.8.
# - Bai et al. 2022, *Training a helpful and harmless assistant* ([2204.05862](https://arxiv.org/abs/2204.05862)): √KL and the train/test reward models (sections 4.2 and 4.3); the remark on 0.001 (4.1).
# - Gao, Schulman & Hilton 2022, *Scaling laws for reward model overoptimization* (2210.10760). Coste et al. 2023 (2310.02743), Eisenstein et al. 2023 (2312.09244): ensembles.
# - Schulman 2020, *Approximating KL divergence*: k1, k2, k3. Tang & Munos 2025 (2506.09477): their gradients.
# - Ionides 2008, *Truncated importance sampling*; Espeholt et al. 2018 (1802.01561): weights with a limit.
# - Korbak et al. 2022 (2205.11275); Rafailov et al. 2023 (2305.18290), appendix A.1: the exact optimum. Beirami et al. 2024 (2401.01879): the bound for best-of-n.
#
# Next: chapter 09, the same optimum without a reward model.
