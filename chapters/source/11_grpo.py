# ---
# jupyter:
#   course:
#     number: 11
#     slug: grpo
#     title: GRPO and its family
#     question: "Can the group replace the critic?"
#     modules: [grpo, policy_gradient, trust_region, masked, kl, loops]
#     explorer: a group of rewards you edit
#     read: 75
#     run: 120
# ---

# %% [markdown]
# # 11 · GRPO and its family
#
# **Can the group replace the critic?**
#
# After this chapter you can
#
# - compute a group's advantages, and say which gradient each kind of them has on average;
# - write GRPO's loss as it is printed and as it is run, and point at the line in which RLOO, Dr. GRPO, DAPO, GSPO and CISPO differ;
# - train a model that gives up too early until it searches longer and is right, without a critic and without a demonstration;
# - read the curves of such a run, and find out from them what is broken.
#
# **Needs** [chapter 03](03_policy_gradient.ipynb): baselines; [chapter 05](05_ppo.ipynb): the clipped loss; [chapter 06](06_language_models.ipynb): a language model as a policy; [chapter 08](08_rlhf.ipynb): RLHF with PPO, estimates of the KL. **Minutes** 75 to read and do, 2 to run.

# %%
import itertools

import torch

from rlcore import check, grpo, kl, masked, policy_gradient, trust_region
from rlcore.view import plots, style
from rlcore.worlds import arithmetic, phrases

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.set_printoptions(precision=4, sci_mode=False, linewidth=110)

# %% [markdown]
# ## Before you run
#
# A small language model is asked to make a number out of two of those listed. It tries pairs aloud, and it says correctly whether a sum is too low or too high; but after a failed try it likes to give up. With five numbers it is right about one time in four.
# Now it gets ten updates: eight replies to each prompt, a rule that says right or wrong, no critic, no solution shown. **Guess: how often is it right then? And are its replies shorter or longer?** Write both guesses down. The answers are in [the run](#The-run).
#
# ## The smallest example, by hand
#
# ![One prompt, four replies, a rule's rewards and three kinds of advantages](../figures/11_group.svg)
#
# Four replies to *one* prompt earn 1, 0, 0, 0. Which of them was better than expected, and by how much? A critic would be asked for the expectation. The group answers it itself: its mean is ¼.
#
# | | reply 1 | the others |
# |---|---|---|
# | minus the mean | $1-\tfrac14=0.75$ | $-0.25$ |
# | minus the mean of the *other* three | $1-0=1$ | $0-\tfrac13=-0.333$ |
# | minus the mean, divided by the standard deviation | $0.75/0.433=1.732$ | $-0.25/0.433=-0.577$ |

# %% tags=["concept:group-baseline", "concept:rloo"]
rewards = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
kinds = {"centred (Dr. GRPO)": grpo.group_centered, "leave-one-out (RLOO)": policy_gradient.leave_one_out,
         "normalised (GRPO), ddof 0": lambda r: grpo.group_normalized(r, ddof=0),
         "normalised (GRPO), ddof 1": lambda r: grpo.group_normalized(r, ddof=1)}
for name, advantages in kinds.items():
    print(f"{name:26}", advantages(rewards).numpy().round(4))

# %% tags=["concept:group-baseline"]
known = ([0.75, -0.25], [1, -1 / 3], [1.732051, -0.577350], [1.5, -0.5])
for advantages, want in zip(kinds.values(), known, strict=True):
    assert (advantages(rewards)[0, :2] - torch.tensor(want)).abs().max() < 1e-6

# %% [markdown]
# The last two differ by what the variance is divided by, K = 4 or K − 1 = 3 (*ddof*, numpy's and PyTorch's habit). The paper does not say; libraries do one or the other. It is a constant factor: a learning rate for plain gradient steps, and nothing at all for Adam.
#
# ## A rule is the judge
#
# No reward model: a program checks the answer. That is a **verifiable reward**: $r=1$ if right, else 0. It cannot be flattered by tone; what it overlooks is exploited all the same (code that answers the unit tests and nothing else).

# %% tags=["concept:verifiable-reward"]
asked = "make 14 from 13 11 2 12 ="
tried = {"right": "13 + 11 = 24 high 2 + 12 = 14 yes", "gave up": "13 + 11 = 24 high stop",
         "a lie": "13 + 2 = 14 yes", "a number that is not listed": "10 + 4 = 14 yes",
         "no verdict": "2 + 12 = 14"}
print(asked)
for name, reply in tried.items():
    print(f"  {arithmetic.reward(asked, reply, ended=True):.0f}  {reply:36} ({name})")

# %% tags=["concept:verifiable-reward"]
earned = [arithmetic.reward(asked, reply, ended=True) for reply in tried.values()]
assert earned == [1, 0, 0, 0, 0] and arithmetic.reward(asked, tried["right"], ended=False) == 0

# %% [markdown]
# The rule reads the last try alone. It does not say *how* to search, nor that one should: whatever the model does better after training, this 0 or 1 has taught it. Systems that learn from unit tests, proof checkers or exact answers are the same case.
#
# ## The group as a baseline
#
# **GRPO** draws $G$ replies $y_1,\dots,y_G$ to a prompt from the old policy, scores them, and normalises within the group:
# $$A_i=\frac{r_i-\bar r}{\operatorname{std}(r)},\qquad\text{the same }A_i\text{ for every token of reply }i.$$
# Each reply is compared with the *other replies to its own prompt*. Groups are never compared with each other, and there are no pairs: it is a policy gradient (chapter 03) with a baseline made of siblings.
#
# ### Write it: `group_normalized`
#
# *Difficulty ★★☆ · importance ★★★ · 5 minutes.* `rewards` is [B, K], one row for each prompt. Equal rewards must give exact zeros, not 0/0.

# %% tags=["exercise"]
@check.exercise(grpo.group_normalized)
def group_normalized(rewards, ddof):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# `rewards.std(-1, correction=ddof, keepdim=True)`. Divide only where it is not 0: `torch.where`. Take the differences to the first reward before the mean: equal numbers then give exact zeros.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def group_normalized(rewards, ddof):
#     centred = rewards - rewards[:, :1]
#     centred = centred - centred.mean(-1, keepdim=True)
#     spread = centred.std(-1, correction=ddof, keepdim=True)
#     return torch.where(spread > 0, centred / torch.where(spread > 0, spread, 1.0), 0.0)
# ```
# </details>
#
# ### Use it: which gradient is it, on average?
#
# The smallest policy there is: right with chance $p=\sigma(\theta)$. Its reward is $p$, and the true gradient is $p(1-p)$. All $2^G$ groups can be weighed, so the mean of every estimator is *exact*:

# %% tags=["concept:group-baseline", "concept:rloo"]
def mean_gradient(advantages, p, size):
    """Mean of (1/G) Σ A ∇log π over all groups of a coin that is right with chance p, by enumeration."""
    groups = torch.tensor(list(itertools.product((0.0, 1.0), repeat=size)))
    chances = torch.where(groups == 1, p, 1 - p).prod(-1)
    return (chances * (advantages(groups) * (groups - p)).mean(-1)).sum().item()   # ∇log π = right − p

estimators = {"leave-one-out": policy_gradient.leave_one_out, "centred": grpo.group_centered,
              "normalised": lambda r: group_normalized(r, 0)}
print(f"p = 0.3: the true gradient is {0.3 * 0.7:.4f}")
for name, advantages in estimators.items():
    means = [f"G = {size}: {mean_gradient(advantages, 0.3, size):.4f}" for size in (2, 4, 8)]
    print(f"{name:14}", "  ".join(means))

# %% tags=["concept:group-baseline", "concept:rloo"]
for size in (2, 4, 8):
    loo, centred, normal = (mean_gradient(a, 0.3, size) for a in estimators.values())
    assert abs(loo - 0.21) < 1e-12 and abs(centred - 0.21 * (size - 1) / size) < 1e-12
assert abs(normal - 0.4122) < 1e-4

# %% [markdown]
# **Leave-one-out** (RLOO) is exact: the others' rewards do not depend on what *this* reply was. With oneself in the mean the gradient is too short by $(G-1)/G$, the same for all prompts: a learning rate. **Normalised** is not a learning rate. It is too long by a factor that depends on $p$:

# %% tags=["concept:group-baseline"]
fig, ax = plots.figure(height=3.0)
chances = torch.linspace(0.01, 0.99, 99)
for size, dashes in ((2, ":"), (8, "--"), (64, "-")):
    ax.plot(chances, grpo.normalized_weight(chances, size, ddof=0), dashes, color=style.COLOR["advantage"],
            label=f"normalised, G = {size}")
ax.axhline(1.0, color=style.COLOR["exact"], linewidth=1.2, label="leave-one-out")
ax.set(xlabel="chance p that a reply is right", ylabel="weight of the prompt", ylim=(0, 8))
ax.set_title("Dividing by the spread favours what is nearly never or nearly always right")
ax.legend()
at = grpo.normalized_weight(torch.tensor([0.5, 0.02]), 64, ddof=0).tolist()
plots.show(plots.caption(fig, "Factor on a prompt's true gradient, over the chance p of a right reply. "
    f"Leave-one-out: 1 everywhere. Normalised, G = 64: {at[0]:.2f} at p = 0.5 and {at[1]:.2f} at p = 0.02. "
    "With G = 2 it is 1 too: there the spread is the same whenever there is any."))

# %% tags=["concept:group-baseline"]
for p in (0.05, 0.3, 0.8):
    ours = mean_gradient(estimators["normalised"], p, 8) / (p * (1 - p))
    assert abs(ours - grpo.normalized_weight(p, 8, ddof=0).item()) < 1e-9
assert at[0] < 2.1 and at[1] > 5

# %% [markdown]
# For large $G$ the factor is $1/\sqrt{p(1-p)}$: GRPO climbs $\sum2\arcsin\sqrt{p}$ instead of $\sum p$, and both ends of difficulty count more. Whether that is wanted is a choice; **Dr. GRPO** leaves the division out. One thing is never wanted. Two replies that are *nearly* alike:

# %% tags=["concept:group-baseline", "concept:grpo-diagnostics"]
for name, group in (("right and wrong", [1.0, 0.0, 0.0, 1.0]), ("noise of 0.001", [0.001, 0.0, 0.0, 0.001]),
                    ("all the same", [0.7, 0.7, 0.7, 0.7]), ("the first, minus 5", [-4.0, -5.0, -5.0, -4.0])):
    group = torch.tensor([group])
    normal, centred = group_normalized(group, 0)[0], grpo.group_centered(group)[0]
    print(f"{name:16} normalised {normal.numpy()}   centred {centred.numpy()}")

# %% tags=["concept:group-baseline", "concept:grpo-diagnostics"]
signal, noise = torch.tensor([[1.0, 0.0, 0.0, 1.0]]), torch.tensor([[0.001, 0.0, 0.0, 0.001]])
assert torch.allclose(group_normalized(signal, 0), group_normalized(noise, 0))
assert torch.equal(group_normalized(torch.full((1, 4), 0.7), 0), torch.zeros(1, 4))

# %% [markdown]
# A spread of 0.001 counts as much as right against wrong: with a 0/1 rule that cannot happen, with a reward *model* it does in every group of equally good replies. A shift of the whole group changes nothing at all: a bad batch cannot push all of its replies down.
#
# **Two more baselines.** *ReMax* subtracts the reward of the greedy reply, one more generation for each prompt. *REINFORCE++* takes mean and spread of the whole batch (here its mean alone, so that the scales stay comparable). Which is the quietest? The phrase world (chapter 01): eight replies to each of three prompts, four hundred times. Once as it is, and once with prompts of unlike difficulty, where everything earns 2 more under the second prompt and 4 more under the third:

# %% tags=["concept:group-baseline", "concept:rloo"]
world = phrases.Phrases()
table = world.reference_logits().requires_grad_()
logps = world.logps(table)                                             # [3, 781]
greedy = logps.argmax(1, keepdim=True)
baselines = {"none": lambda r, g: r,
             "greedy reply (ReMax)": lambda r, g: policy_gradient.remax_advantages(r, g[:, 0]),
             "batch (REINFORCE++)": lambda r, g: r - r.mean(),
             "leave-one-out (RLOO)": lambda r, g: policy_gradient.leave_one_out(r)}

def noise(baseline, offsets, size=8):
    """Standard deviation of the gradient, all entries of the table together."""
    generator, seen = torch.Generator().manual_seed(0), []
    reward = world.reward + torch.tensor(offsets)[:, None]
    for _ in range(400):
        said = torch.multinomial(logps.exp().detach(), size, replacement=True, generator=generator)
        advantages = baseline(reward.gather(1, said), reward.gather(1, greedy))
        surrogate = (advantages * logps.gather(1, said)).mean(1).sum()
        seen.append(torch.autograd.grad(surrogate, table, retain_graph=True)[0])
    return torch.stack(seen).var(0).sum().sqrt().item()

# %% tags=["concept:group-baseline", "concept:rloo"]
spread = {}
for name, baseline in baselines.items():
    spread[name] = alike, unlike = noise(baseline, (0.0, 0.0, 0.0)), noise(baseline, (0.0, 2.0, 4.0))
    print(f"{name:21} noise {alike:.2f} where prompts are alike, {unlike:.2f} where they are not")

# %% tags=["concept:group-baseline", "concept:rloo"]
assert abs(spread["leave-one-out (RLOO)"][0] - spread["leave-one-out (RLOO)"][1]) < 1e-9
batch, siblings = spread["batch (REINFORCE++)"], spread["leave-one-out (RLOO)"]
assert batch[0] < siblings[0] < batch[1] - 0.2

# %% [markdown]
# Where prompts are alike the whole batch knows the mean best: it has 24 replies, siblings are seven. Where they are not, siblings know how hard *this* prompt is, and the batch does not. The greedy reply knows as well, but it is one reply and no mean: where prompts are alike, it is worse than no baseline here.
#
# ## One reply, many tokens: three denominators
#
# The policy's loss is one number for each token, $-A_i\,\rho_{i,t}$. How are tokens averaged? The papers differ in one line, and it is no detail:
# $$\underbrace{\frac1G\sum_i\frac1{|y_i|}\sum_t}_{\text{GRPO: each reply alike}}\qquad\underbrace{\frac1{\sum_i|y_i|}\sum_i\sum_t}_{\text{DAPO: each token alike}}\qquad\underbrace{\frac1{G\,L}\sum_i\sum_t}_{\text{Dr. GRPO: a constant}}$$
# A right reply of 2 tokens and a wrong one of 8. What does one token of each weigh?

# %% tags=["concept:loss-aggregation"]
mask = torch.arange(8) < torch.tensor([[2], [8]])
group = torch.tensor([[1.0], [-1.0]])                                  # advantages
ways = {"per reply (GRPO)": masked.mean_over_sequences, "per token (DAPO)": masked.mean_over_tokens,
        "constant 8 (Dr. GRPO)": lambda x, m: masked.sum_over_constant(x, m, 8.0)}
weights = {}
for name, reduce in ways.items():
    zeros = torch.zeros(2, 8, requires_grad=True)
    pull = torch.autograd.grad(-reduce(-group * zeros, mask), zeros)[0]
    weights[name] = pull[:, 0]
    print(f"{name:22} a token of the right reply {pull[0, 0]:+.4f}, of the wrong one {pull[1, 0]:+.4f}")

# %% tags=["concept:loss-aggregation"]
assert torch.allclose(weights["per reply (GRPO)"], torch.tensor([1 / 4, -1 / 16]))
assert torch.allclose(weights["per token (DAPO)"], torch.tensor([0.1, -0.1]))
assert torch.allclose(weights["constant 8 (Dr. GRPO)"], torch.tensor([1 / 16, -1 / 16]))

# %% [markdown]
# Averaged per reply, a long wrong answer is hardly punished at each of its tokens. Which of the three is the gradient of the expected reward? Take a policy with one parameter: after each token it stops with chance $s=\sigma(\theta)$, so the slope of $\log\pi$ is $1-s$ for stopping and $-s$ for going on; after token 8 there is no choice. In one task replies of a single token are better than others, in another the longest ones are worse, in a third length does not matter. All groups of two can be weighed, so the means are exact:

# %% tags=["concept:loss-aggregation"]
LONGEST, s = 8, 0.3
steps = torch.arange(1, LONGEST + 1)                                   # possible lengths
lengths_chance = torch.where(steps < LONGEST, s * (1 - s) ** (steps - 1), (1 - s) ** (LONGEST - 1))
token_slopes = torch.where(steps < steps[:, None], -s, 0.0) + torch.diag((1 - s) * (steps < LONGEST))
real_tokens = steps <= steps[:, None]                                  # [length, token], as the slopes are

def mean_slope(reduce, right_chance):
    """Mean of the estimator over all groups of two: leave-one-out advantages, one denominator."""
    total = 0.0
    for i, j in itertools.product(range(LONGEST), repeat=2):
        for right in itertools.product((0.0, 1.0), repeat=2):
            of_right = [right_chance[k] if r else 1 - right_chance[k] for k, r in zip((i, j), right)]
            advantages = policy_gradient.leave_one_out(torch.tensor([right]))[0, :, None]
            each = reduce(advantages * token_slopes[[i, j]], real_tokens[[i, j]])
            total += lengths_chance[i] * lengths_chance[j] * of_right[0] * of_right[1] * each
    return total.item()

# %% tags=["concept:loss-aggregation"]
tasks = {"single tokens are better": torch.where(steps == 1, 0.9, 0.1),
         "the longest are worse": torch.where(steps == LONGEST, 0.1, 0.9),
         "length does not matter": torch.full((8,), 0.5)}
share = {}
for task, right_chance in tasks.items():
    true = (lengths_chance * right_chance * token_slopes.sum(1)).sum().item()
    unit = true if abs(true) > 1e-9 else 1.0                   # where the true one is 0: the slope itself
    share[task] = [mean_slope(reduce, right_chance) / unit for reduce in ways.values()]
    told = "; ".join(f"{name} {abs(x):.3f}" for name, x in zip(ways, share[task]))
    print(f"{task:25} true {true:+.4f}; {'times that' if unit == true else 'in itself'}: {told}")

# %% tags=["concept:loss-aggregation"]
brief, long, same = share.values()
assert abs(brief[2] - 1 / 8) < 1e-12 and abs(long[2] - 1 / 8) < 1e-12
assert brief[0] > 3 * long[0] and brief[1] > 1.5 * long[1] and max(abs(x) for x in same) < 1e-12

# %% [markdown]
# Only the constant is the true gradient, up to one factor for all. Averaged per reply, what makes *long* replies wrong is unlearnt three times more slowly than what makes short ones right is learnt. That is the length bias. It is no force of its own: where length does not matter, none of the three moves it. (Over a large batch DAPO's denominator is nearly a constant; within one group of two, as here, it is not.)
#
# ## The clip, and how much is clipped at once
#
# GRPO is printed with the same clip as PPO:
# $$L=-\frac1G\sum_i\frac1{|y_i|}\sum_t\Big\{\min\big[\rho_{i,t}A_i,\ \mathrm{clip}(\rho_{i,t},1-\varepsilon_{\text{low}},1+\varepsilon_{\text{high}})A_i\big]-\beta\,k_3(i,t)\Big\},\qquad \rho_{i,t}=\frac{\pi(y_{i,t}\mid\cdot)}{\pi_{\text{old}}(y_{i,t}\mid\cdot)}.$$
# β is the price of KL, and $k_3=x-1-\log x$ with $x=\pi_{\mathrm{ref}}/\pi$ of the token (chapter 08; more under [Two anchors](#Two-anchors)); it stands inside the sums. The group is drawn from $\pi_{\text{old}}$. The paper has one ε for both sides; two are DAPO's.
#
# The ratio is one *token's*. Some texts print that of the whole reply. A hundred tokens, each only 1 % likelier:

# %% tags=["concept:sequence-vs-token-ratio"]
old_logps = torch.zeros(1, 100)
new_logps = torch.full((1, 100), 1.01).log()
everything = torch.ones(1, 100, dtype=torch.bool)
of_reply = (new_logps - old_logps).sum().exp().item()
per_token = grpo.sequence_ratio(new_logps, old_logps, everything).item()
print(f"each token 1.01; the reply {of_reply:.3f}, far outside 0.8 to 1.2")
print(f"GSPO's ratio, its hundredth root: {per_token:.4f}")
assert abs(of_reply - 1.01**100) < 1e-9 and abs(per_token - 1.01) < 1e-12

# %% [markdown]
# Unrooted, the whole reply would be clipped after the smallest step. **GSPO** takes the root, $s=\big(\pi(y)/\pi_{\text{old}}(y)\big)^{1/|y|}$, and clips whole replies by it. A mean over tokens hardly moves, so its limits are a thousand times narrower: $3\cdot10^{-4}$ and $4\cdot10^{-4}$ in the paper. The table below takes 0.2 only to compare; with the paper's limits this reply ($s=1.09$) would be dropped where $A>0$.
#
# ### Write it: `sequence_ratio`
#
# *Difficulty ★★☆ · importance ★★☆ · 5 minutes.* Log-probabilities [B, T], and a mask that is True for real tokens. What stands behind the mask must not matter.

# %% tags=["exercise"]
@check.exercise(grpo.sequence_ratio)
def sequence_ratio(logps, old_logps, mask):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# A mean of logarithms over the real tokens, then `exp`. `torch.where(mask, …, 0)` before the sum.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def sequence_ratio(logps, old_logps, mask):
#     change = torch.where(mask, logps - old_logps, 0)
#     return (change.sum(-1) / mask.sum(-1)).exp()
# ```
# </details>
#
# ### Use it: who still pulls?
#
# One reply of five tokens after a large step, and what is left of each token's pull $-\partial L/\partial\log\pi$ under four rules:

# %% tags=["concept:sequence-vs-token-ratio", "concept:dynamic-sampling-clip-higher"]
ratios = torch.tensor([[0.7, 1.0, 1.1, 1.25, 1.6]])
five, none = torch.ones(1, 5, dtype=torch.bool), torch.zeros(1, 5)
rules = {"clip 0.2 (GRPO)": lambda x, a: trust_region.clipped_loss(x, none, a, 0.2, 0.2),
         "clip-higher 0.28 (DAPO)": lambda x, a: trust_region.clipped_loss(x, none, a, 0.2, 0.28),
         "GSPO, 0.2": lambda x, a: 5 * grpo.gspo_loss(x, none, a[:, 0], five, 0.2, 0.2),
         "CISPO, up to 1.28": lambda x, a: grpo.cispo_loss(x, none, a, 1.0, 0.28)}
print("ratio                  ", ratios[0].numpy())
for sign in (1.0, -1.0):
    for name, rule in rules.items():
        x = ratios.log().requires_grad_()
        pull = -torch.autograd.grad(rule(x, torch.full((1, 1), sign)).sum(), x)[0][0]
        print(f"A = {sign:+.0f}  {name:24}", pull.numpy().round(3) + 0.0)

# %% [markdown]
# The clip takes single tokens out; *clip-higher* ($\varepsilon_{\text{high}}=0.28$) lets rare tokens rise a little further before it does. GSPO keeps or drops the reply as a whole, here by a mean change of $s$. CISPO drops nothing: it cuts the *weight*.
#
# The clip is no wall. It removes the *reason* to go on, not what momentum and the other tokens do:

# %% tags=["concept:clip-vs-kl"]
theta, before = torch.zeros(3, requires_grad=True), torch.full((3,), 1 / 3).log()
optimizer, path = torch.optim.Adam([theta], 0.1), []
advantages = torch.tensor([1.0, -0.5, -0.5])
for _ in range(8):
    each = trust_region.clipped_loss(theta.log_softmax(0), before, advantages, 0.2, 0.2)
    loss = (before.exp() * each).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    path.append((theta.log_softmax(0) - before).exp()[0].item())
print("the first action's ratio after each of eight steps:", [round(x, 3) for x in path])
assert abs(path[-1] - 1.831) < 2e-3 and path[0] < 1.2 < path[1]

# %% [markdown]
# And with *one* step for each batch, π is π_old: every ratio is 1, nothing is clipped, and GRPO's gradient, GSPO's and the plain policy gradient are the same.

# %% tags=["concept:sequence-vs-token-ratio", "concept:clip-vs-kl"]
generator = torch.Generator().manual_seed(0)
fresh = torch.randn(4, 6, generator=generator) - 3
real = torch.arange(6) < torch.tensor([[2], [6], [4], [1]])
gains = torch.tensor([[1.0], [-0.5], [2.0], [-1.0]])
first_step = {}
mean = masked.mean_over_sequences
rules = {"plain": lambda x: mean(policy_gradient.score_function_loss(x, gains), real),
         "clipped": lambda x: mean(trust_region.clipped_loss(x, fresh, gains, 0.2, 0.2), real),
         "GSPO": lambda x: grpo.gspo_loss(x, fresh, gains[:, 0], real, 0.2, 0.2).mean()}
for name, rule in rules.items():
    x = fresh.clone().requires_grad_()
    loss = rule(x)
    first_step[name] = torch.autograd.grad(loss, x)[0]
    print(f"{name:8} loss {loss.item():+.4f}   length of the gradient {first_step[name].norm():.6f}")

# %% tags=["concept:sequence-vs-token-ratio"]
assert all(torch.allclose(first_step["plain"], slope) for slope in first_step.values())

# %% [markdown]
# ## Explorer: a group you edit
#
# Eight replies of 12 to 48 tokens to one prompt. You say which are right, how they are compared and averaged, and where the clip cuts. Left: rewards and advantages. Middle: how hard each token is pulled; two tokens of each reply, black, have moved already. Right: the clip.

# %% tags=["concept:grpo", "concept:loss-aggregation"]
from rlcore.view.explore import explore
from rlcore.view.explore import group as editable

explore(editable.draw, **editable.controls())

# %% [markdown]
# **Try it.** At rest, which wrong reply is punished least for each of its tokens, and why? Then press all eight right and add a noise of 0.001: what do "/ std" and "r − mean" make of it? At last put ε_high to 0.28: which dot comes back?
#
# <details><summary>What you should see</summary>
#
# The longest wrong reply: GRPO's denominator divides by its 48 tokens. With DAPO's all tokens weigh alike; with the constant too. All right with a little noise: divided by its own tiny spread, the noise becomes advantages of 1 and more; the mean alone taken off, they stay at a thousandth. With ε_high = 0.28 the token
# at ρ = 1.25 pulls again wherever A > 0; nothing changes where A < 0.
# </details>

# %% tags=["concept:grpo-diagnostics", "concept:dynamic-sampling-clip-higher"]
everyone = tuple(str(n) for n in range(1, 9))
noisy, one = editable.rewarded(everyone, 0.001), editable.rewarded(("1",), 0.0)
divided, centred = (editable.group(noisy, way, "tokens of each reply (GRPO)", 0.2, 0.2)
                    for way in ("(r − mean) / std, ddof 0", "r − mean"))
assert divided.advantages.abs().max() > 1 and centred.advantages.abs().max() < 0.002
narrow, wide = (editable.group(one, "r − mean", "tokens of all (DAPO)", 0.2, high) for high in (0.2, 0.28))
assert narrow.moved[0, 1] == 0 < wide.moved[0, 1] and torch.equal(narrow.moved[1:], wide.moved[1:])

# %% [markdown]
# ## Two anchors
#
# The clip looks at $\pi_{\text{old}}$, the policy that drew this batch; it moves with every batch. A KL penalty looks at $\pi_{\mathrm{ref}}$, where the whole run began. They are not two strengths of one leash. GRPO has the penalty *in the loss*, as $k_3$ (chapter 08). Which gradient has that, on average over the policy's own samples? Three actions, all of them weighed:

# %% tags=["concept:clip-vs-kl", "concept:grpo"]
policy, reference = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.4, 0.4, 0.2])

def average_slope(estimator):
    """Gradient in the logits of an estimator used as a loss, on average over the policy's samples."""
    logits = policy.log().requires_grad_()
    x = logits.log_softmax(0)
    return torch.autograd.grad((policy * estimator(x, x.detach(), reference.log())).sum(), logits)[0]

def exact_slope(divergence):
    logits = policy.log().requires_grad_()
    return torch.autograd.grad(divergence(logits.log_softmax(0)), logits)[0]

toward = {"KL(π‖ref), exact": exact_slope(lambda x: (x.exp() * (x - reference.log())).sum()),
          "KL(ref‖π), exact": exact_slope(lambda x: (reference * (reference.log() - x)).sum()),
          "k1 as a loss": average_slope(lambda x, old, ref: kl.k1(x, ref)),
          "k2 as a loss": average_slope(lambda x, old, ref: kl.k2(x, ref)),
          "k3 as a loss (GRPO)": average_slope(lambda x, old, ref: kl.k3(x, ref)),
          "k3 times the ratio": average_slope(kl.k3_loss)}
for name, slope in toward.items():
    print(f"{name:20}", slope.numpy().round(6) + 0.0)

# %% tags=["concept:clip-vs-kl", "concept:grpo"]
forward, backward, one, two, three, repaired = toward.values()
assert one.abs().max() < 1e-12 and torch.allclose(two, forward) and torch.allclose(repaired, forward)
assert torch.allclose(three, backward) and not torch.allclose(three, forward, atol=1e-3)

# %% [markdown]
# As a number $k_3$ is right, unbiased and never below 0. As a loss it pulls along the gradient of the *other* KL. Near the reference the two hardly differ; far from it they do. $k_2$ has the right gradient, and so has $k_3$ times the ratio.
#
# **A reference that moves.** What if $\pi_{\mathrm{ref}}$ is replaced by the policy every so often, or follows it as a moving average? Solve the penalised problem exactly, again and again, on chapter 08's bandit, reference (½, 0.3, 0.2), rewards 0, 1, 2, β = 2:

# %% tags=["concept:reference-update"]
anchor, earned = torch.tensor([0.5, 0.3, 0.2]).log(), torch.tensor([0.0, 1.0, 2.0])

def solved(ref_logps, beta):
    return (ref_logps + earned / beta).log_softmax(0)

replaced = anchor
for round_ in range(1, 5):
    replaced = solved(replaced, 2.0)
    apart = (replaced - solved(anchor, 2.0 / round_)).abs().max()
    print(f"solved {round_} times: policy {replaced.exp().numpy().round(4)},",
          f"reward {replaced.exp() @ earned:.3f}; from π* of β = {2.0 / round_:.2f}: {apart:.0e}")
    assert apart < 1e-12
following = anchor
for _ in range(40):
    following = (0.9 * following + 0.1 * solved(following, 2.0)).log_softmax(0)
print(f"moving average, 40 steps of a tenth: reference {following.exp().numpy().round(4)},",
      f"reward {following.exp() @ earned:.3f}")
assert (following - solved(anchor, 2.0 / 4)).abs().max() < 1e-12

# %% [markdown]
# Solved $n$ times, each time from the last solution, the price of the whole run is $\beta/n$; a moving average (here of log-probabilities) does the same in small steps. It bounds the *speed*, no longer the distance. DeepSeek-R1 replaced its reference every 400 steps; TR-DPO does it for DPO. With a rule as judge that is often no harm, and many recipes drop the penalty altogether; with a learned judge it lets the policy walk away in instalments (chapter 08).

# %% [markdown]
# ## Groups without a signal
#
# If all $G$ replies are right, or all are wrong, every advantage is 0: the group was drawn for nothing. With a chance $p$ of a right reply the share of *useful* groups is
# $$1-p^G-(1-p)^G.$$
# The same 256 replies, cut into groups of one size or another:

# %% tags=["concept:group-size", "concept:dynamic-sampling-clip-higher"]
sizes = (2, 4, 8, 16, 64)
print("useful groups of 256 replies   " + "".join(f"G = {size:<6}" for size in sizes))
for p in (0.02, 0.1, 0.5):
    useful = [256 / size * grpo.useful_share(p, size) for size in sizes]
    numbers = "".join(f"{x:10.1f}" for x in useful)
    print(f"  p = {p:4}: share with G = 8 {grpo.useful_share(p, 8):.3f}", numbers)

# %% tags=["concept:group-size"]
known = {(0.02, 8): 0.149, (0.02, 64): 0.726, (0.05, 16): 0.560, (0.5, 4): 0.875}
assert all(abs(grpo.useful_share(p, size) - share) < 5e-4 for (p, size), share in known.items())
generator = torch.Generator().manual_seed(0)
coins = (torch.rand(20_000, 8, generator=generator) < 0.1).double()
assert abs(grpo.has_signal(coins).double().mean() - grpo.useful_share(0.1, 8)) < 0.015

# %% [markdown]
# ### Explorer: useful groups
#
# Move the chance p that a reply is right, and the size of the group.

# %% tags=["concept:group-size"]
from rlcore.view.explore import useful as worth_drawing

explore(worth_drawing.draw, **worth_drawing.controls())

# %% [markdown]
# **Try it.** At rest p = 0.05 and G = 8. How many replies do you pay for each useful group? Is it cheaper with larger groups, or with smaller ones? And at p = 0.5?
#
# <details><summary>What you should see</summary>
#
# About 24 replies for each useful group of 8. Larger groups are useful more often, but each costs more: about 29 replies in all for G = 16. At p = 0.5 nearly every group of 8 is useful, and half of the groups of 2 are: 4 replies each. Counted like this small groups are never dearer, even at p = 0.01. What speaks for large ones: a less noisy mean, more replies that teach in each useful group, and a given hard prompt is not lost at its only draw.
# </details>

# %% tags=["concept:group-size"]
price = {(p, size): size / grpo.useful_share(p, size) for p in (0.05, 0.5) for size in (2, 8, 16)}
assert abs(price[0.05, 8] - 23.8) < 0.1 and abs(price[0.05, 16] - 28.6) < 0.1 and price[0.5, 2] == 4
assert grpo.useful_share(0.5, 8) > 0.99 and 2 / grpo.useful_share(0.01, 2) < 64 / grpo.useful_share(0.01, 64)

# %% [markdown]
# Large groups are no matter of hard or easy *tasks* as such: published recipes with hard problems use 16 and 64, and 8 for predicting text. What counts is $p$. **Dynamic sampling** (DAPO) draws further *prompts* until the batch is full of useful groups. What one may *not* do is to repair a group by hand, for instance by dropping replies that occur twice: the group must be independent draws for one prompt.

# %% tags=["concept:group-size", "concept:group-baseline"]
worth_of = torch.tensor([0.0, 1.0, 3.0])                               # three possible replies

def estimate(group, score):
    """Leave-one-out gradient of a group of replies, given by their numbers."""
    if len(group) < 2:
        return torch.zeros(3)
    return (policy_gradient.leave_one_out(worth_of[group][None])[0][:, None] * score[group]).mean(0)

def mean_estimate(chance, repair):
    """Its mean over all groups of four; `repair` may take replies out first."""
    score, total = torch.eye(3) - chance, torch.zeros(3)
    for group in itertools.product(range(3), repeat=4):
        group = torch.tensor(group)
        total = total + chance[group].prod() * estimate(repair(group), score)
    return total

# %% tags=["concept:group-size"]
factor = {}
usual = {"one reply is usual": torch.tensor([0.9, 0.05, 0.05]), "all are usual": torch.full((3,), 1 / 3)}
for name, chance in usual.items():
    true = chance * (worth_of - chance @ worth_of)
    fair, repaired = mean_estimate(chance, lambda group: group), mean_estimate(chance, torch.unique)
    factor[name] = (repaired.norm() / true.norm()).item()
    print(f"{name:18} true {true.numpy().round(3)}, fair {fair.numpy().round(3)},",
          f"doubles dropped {repaired.numpy().round(3)}: times {factor[name]:.2f}")
    assert torch.allclose(fair, true)

# %% tags=["concept:group-size"]
assert factor["one reply is usual"] > 1.2 * factor["all are usual"]

# %% [markdown]
# The repaired groups exaggerate prompts with one usual reply: rare replies count as much as frequent ones. It is no longer the gradient of the expected reward.
#
# **Overlong replies.** A reply that is cut off at the limit earns 0, and its neighbour that just fitted 1: a cliff. DAPO adds a slope before it, and leaves the rule alone elsewhere. Mind the order: `has_signal` first, the penalty after, or lengths alone pass for a signal.

# %% tags=["concept:dynamic-sampling-clip-higher", "concept:loss-aggregation"]
at = torch.tensor([40, 48, 52, 56, 60, 64])
slope = grpo.overlong_penalty(at, longest=60, buffer=12).numpy().round(3) + 0.0
print("tokens ", at.numpy(), "\npenalty", slope)
right_all = torch.ones(1, 4)
lengths_of = torch.tensor([[40, 50, 55, 60]])
penalised = right_all + grpo.overlong_penalty(lengths_of, longest=60, buffer=12)
signals = [grpo.has_signal(rewards).item() for rewards in (right_all, penalised)]
print("all right: signal before the penalty", signals[0], "and after it", signals[1])

# %%
assert not grpo.has_signal(right_all) and grpo.has_signal(penalised)

# %% [markdown]
# ## The run
#
# The whole of GRPO, on a language model, without a class: draw, judge, compare, step.

# %% tags=["concept:grpo", "concept:verifiable-reward"]
import copy

from rlcore import lm
from rlcore.loops import arithmetic as game

torch.set_default_dtype(torch.float32)
sft, tokenizer = lm.shipped("arithmetic_sft")

def updates(policy, count, generator, groups=32, size=8, lr=3e-4):
    prompts = game.prompts(tokenizer, 4000, (4, 5), generator)           # four or five numbers; never six
    optimizer = torch.optim.Adam(policy.parameters(), lr)
    for _ in range(count):
        asked = torch.randint(4000, (groups,), generator=generator).repeat_interleave(size)
        chosen = lm.Prompts(*(part[asked] for part in prompts))
        drawn = lm.sample(policy, chosen, longest=96, temperature=1.0, generator=generator)
        rewards = game.correct(tokenizer, drawn).view(groups, size)      # the rule: 0 or 1
        kept = grpo.has_signal(rewards).repeat_interleave(size)
        advantages = grpo.group_normalized(rewards, ddof=1).view(-1, 1)[kept]
        batch = drawn.rows(kept)
        each = trust_region.clipped_loss(lm.logps(policy, batch), batch.logps, advantages, 0.2, 0.2)
        optimizer.zero_grad()
        masked.mean_over_sequences(each, batch.mask).backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        yield rewards, drawn

# %% [markdown]
# Against the printed loss: no KL (β = 0); one step for each batch, as in DeepSeekMath itself, so every ratio is 1 and the clip is idle; the spread with ddof 1; and groups without a signal are left out of the mean, where the paper counts them with advantages of 0.
#
# Neither critic nor reward model, reference or demonstration takes part. First, what the model can do already: 16 replies to each of 200 new problems of four, five and six numbers. **pass@1** is the chance that a single reply is right, here the share of right ones among all that were drawn for new problems.

# %% tags=["concept:grpo", "nbval-ignore-output"]
def measured(policy, problems=200, size=16):
    """pass@1 and length for 4, 5 and 6 numbers."""
    found = {}
    for numbers in game.SIZES:
        drawn = game.drawn(policy, tokenizer, numbers, problems, size, torch.Generator().manual_seed(numbers))
        told = game.measured(tokenizer, drawn, size)
        found[numbers] = told["pass@1"], told["length"]
        print(f"{numbers} numbers: right {told['pass@1']:.3f}, {told['length']:4.1f} tokens, "
              f"{told['tries']:.1f} tries, gave up {told['gave up']:.2f}, true tries {told['true']:.3f}")
    return found

before = measured(sft)

# %% [markdown]
# It can add and compare: nearly every try is true. It gives up. Ten updates:

# %% tags=["concept:grpo", "nbval-ignore-output"]
import time

from IPython.display import clear_output
from tqdm.auto import tqdm

policy, began = copy.deepcopy(sft), time.process_time()
lived = list(tqdm(updates(policy, 10, torch.Generator().manual_seed(3)), total=10, desc="GRPO", leave=False))
spent = time.process_time() - began
clear_output()                                                           # of the progress bar

# %% tags=["concept:grpo", "nbval-ignore-output"]
print(f"{spent:.0f} s of processor time; rewards", [round(rewards.mean().item(), 2) for rewards, _ in lived])
after = measured(policy)

# %% tags=["concept:grpo", "concept:verifiable-reward"]
assert before[4][0] < 0.55 and before[5][0] < 0.37 and before[6][0] < 0.32
assert after[4][0] > 0.85 and after[5][0] > 0.8 and after[6][0] > 0.7
assert all(after[numbers][1] > 1.4 * before[numbers][1] for numbers in (5, 6))

# %% [markdown]
# On five numbers right more than three times as often, and on six, which it never practised here. Read it aloud, the same problems before and after:

# %% tags=["concept:verifiable-reward", "nbval-ignore-output"]
for name, model in (("before", sft), ("after", policy)):
    print(f"\n{name}")
    replies = game.drawn(model, tokenizer, 5, 5, 1, torch.Generator().manual_seed(11))
    for right, (asked, said) in zip(game.correct(tokenizer, replies).tolist(), lm.read(tokenizer, replies)):
        print(f"  {right:.0f}  {asked}\n       {said}")

# %% [markdown]
# Nobody asked for long replies, and no reward saw a length. The model had *high* and *low* from the beginning; what it learnt is to go on. Replies grow because searching on pays: with each try the chance of an answer grows, and giving up earns 0. This is the small form of what was reported of DeepSeek-R1-Zero.
# (It is also the small form of a limit: it was taught to search before. Chapter 12 asks what such training adds to a model that could do it already, some of the time.)
#
# ## The curves
#
# Sixty updates take about a minute; all runs of this chapter on three seeds an hour. So the course ships the record of every run in this chapter; `python -m rlcore.loops.checkpoints arithmetic_grpo` makes it anew with `rlcore.loops.grpo`, the loop above with more to choose.

# %%
import csv

with open(lm.SHIPPED / "arithmetic_grpo.csv", encoding="utf-8") as file:
    record = list(csv.DictReader(file))

def told(name, column):
    """One column of a run, where it was measured: [3 seeds, updates]."""
    rows = [float(row[column]) for row in record if row["run"] == name and row[column]]
    return torch.tensor(rows).view(3, -1)

# %% tags=["concept:grpo-diagnostics"]
panels = {"reward": "share of right replies", "five": "pass@1, five numbers", "length": "tokens per reply",
          "kl": "KL(π‖start), nats", "entropy": "entropy per token, nats", "signal": "useful groups, share"}

def curves(names, colors, title, height=4.6):
    fig, axes = plots.figure(height=height, nrows=2, ncols=3)
    for ax, (column, label) in zip(axes.flat, panels.items()):
        for name, color in zip(names, colors):
            lines = told(name, column)
            at = 10 * torch.arange(7) if column == "five" else torch.arange(1, lines.shape[1] + 1)
            ax.plot(at, lines.mean(0), color=color, label=name)
            ax.fill_between(at, lines.amin(0), lines.amax(0), color=color, alpha=0.25, linewidth=0)
        ax.set(xlabel="update", ylabel=label)
    fig.suptitle(title, x=0.01, ha="left", fontsize=11)
    return fig

title = "GRPO on the number game: mean of three seeds, band from least to most"
fig = curves(["GRPO"], [style.COLOR["policy"]], title)
(from_, to), (short, long), kls = ([told("GRPO", column)[:, k].mean().item() for k in (0, -1)]
                                   for column in ("five", "length", "kl"))
plots.show(plots.caption(fig, "Six curves of GRPO over sixty updates. The share of right replies, pass@1 on "
    f"new problems ({from_:.2f} to {to:.2f}) and length ({short:.0f} to {long:.0f} tokens) rise steeply at "
    f"first; the KL rises to {kls[1]:.1f} nats; entropy per token and the share of useful groups fall."))

# %% [markdown]
# Learn to read the six together. The reward of the *batch* and pass@1 on *new* problems rise together: nothing is memorised. The share of useful groups falls, because problems become easy: less and less of each batch teaches. Entropy falls with it, and that is the usual price. The KL from the start is what was spent.

# %% tags=["concept:grpo", "concept:grpo-diagnostics"]
ends = {name: told("GRPO", name)[:, -1].min().item() for name in ("four", "five", "six")}
print("worst of three seeds after sixty updates:", {name: round(x, 3) for name, x in ends.items()},
      f"in at most {told('GRPO', 'seconds').max():.0f} s of processor time,",
      f"ten of them in {told('GRPO', 'seconds')[:, 10].max():.0f} s")
early = {name: told("GRPO", name)[:, 1].min().item() for name in ends}
assert early["four"] >= 0.8 and ends["four"] >= 0.93 and ends["five"] >= 0.82 and ends["six"] >= 0.72
assert (told("GRPO", "length of five")[:, -1] >= 2 * told("GRPO", "length of five")[:, 0]).all()
assert (told("GRPO", "signal")[:, -5:].mean(1) < told("GRPO", "signal")[:, :5].mean(1)).all()

# %% [markdown]
# ## The family, side by side
#
# Same start, same learning rate, three seeds, 256 replies an update (DAPO up to 768). One row each:
#
# | | advantage | policy's loss | denominator | groups |
# |---|---|---|---|---|
# | GRPO | normalised | clip 0.2 | each reply alike | with signal |
# | Dr. GRPO | centred | clip 0.2 | constant | with signal |
# | DAPO | normalised | clip 0.2, up 0.28 | each token alike | up to three draws, until 32 have signal |
# | RLOO | leave-one-out | none, REINFORCE | constant | with signal |
# | REINFORCE, batch baseline | batch mean and spread | none | each token alike | all |

# %% tags=["concept:rloo", "concept:dynamic-sampling-clip-higher", "concept:loss-aggregation"]
family = ("GRPO", "Dr. GRPO", "DAPO", "RLOO", "REINFORCE, batch baseline")
print("worst of three seeds           after 10: 4, 5, 6 numbers            after 60   length of 5   seconds")
for name in family:
    early, late = ("  ".join(f"{told(name, numbers)[:, k].min():.2f}" for numbers in ("four", "five", "six"))
                   for k in (1, -1))
    length, spent = (told(name, column)[:, -1].mean() for column in ("length of five", "seconds"))
    print(f"{name:27} {early:>28} {late:>19} {length:13.1f} {spent:9.0f}")

# %% tags=["concept:rloo", "concept:dynamic-sampling-clip-higher"]
last = {name: told(name, "five")[:, -1] for name in family}
assert min(x.min() for x in last.values()) > 0.93
apart = {column: (told("RLOO", column) - told("Dr. GRPO", column))[:, :20].abs().max().item()
         for column in ("reward", "length", "kl")}
print("RLOO against Dr. GRPO, most in twenty updates:", {name: round(x, 4) for name, x in apart.items()})
assert max(apart.values()) < 1e-3
extra = told("DAPO", "seconds")[:, -1].mean() / told("GRPO", "seconds")[:, -1].mean()
print(f"DAPO took {extra:.1f} times GRPO's time for its further draws")

# %% [markdown]
# Five names, one result: what they differ in is smaller than what seeds differ in. Two of them are even the *same run*, until rounding parts them: with one step for each batch the clip is idle, centred and leave-one-out differ by a factor, and Adam does not see factors. So before you believe a gap between two such methods, check that steps, lengths and tasks were the same. Here updates are counted, not replies: DAPO draws
# more for each, and late in the run three draws still do not find 32 useful groups. With one step its ε_high = 0.28 is idle, too. REINFORCE with a batch baseline needs no groups at all; it trains on all replies, also where nothing is to be learnt.

# %% [markdown]
# ### Only the denominator
#
# The rows above differ in more than one thing. Here GRPO keeps everything and changes its denominator alone, twenty updates:

# %% tags=["concept:loss-aggregation"]
denominators = ("GRPO", "mean over tokens", "sum over a constant")
for name in denominators:
    lengths, right = told(name, "length of five"), told(name, "five")
    print(f"{name:20} length of replies {lengths[:, 0].mean():.1f} → {lengths[:, 2].numpy().round(1)},"
          f" right {right[:, 2].numpy().round(3)}")

# %% tags=["concept:loss-aggregation"]
grown = torch.stack([told(name, "length of five")[:, 2] for name in denominators])
assert (grown > 1.8 * told("GRPO", "length of five")[:, 0]).all()
assert (grown.amax(0) - grown.amin(0)).max() < 2

# %% [markdown]
# Seed by seed the three are within two tokens of each other: here replies grow because searching pays, whatever the denominator. The bias that you computed is real. It needs what this game lacks, long *wrong* replies in large numbers: at the start nearly every wrong reply is one that stopped early.
#
# ### How large a group?
#
# Again 256 replies an update, cut into groups of 2 to 32; twenty updates:

# %% tags=["concept:group-size"]
for size in (2, 4, 8, 16, 32):
    name = "GRPO" if size == 8 else f"G = {size}"
    useful, right = told(name, "signal")[:, :20], told(name, "five")[:, [1, 2]]
    early, late = useful[:, :3].mean(), useful[:, -3:].mean()
    print(f"G = {size:2}: useful groups {early:.2f} at first, {late:.2f} at last; five numbers right,",
          f"worst seed, after 10 and 20 updates {right.amin(0).numpy().round(2)}")

# %% tags=["concept:group-size"]
named = ["G = 2", "G = 4", "GRPO", "G = 16", "G = 32"]
first = [told(name, "signal")[:, :3].mean().item() for name in named]
assert first == sorted(first) and min(told(name, "five")[:, 2].min() for name in named) > 0.9

# %% [markdown]
# Large groups are useful more often, small ones are more in number, and every reply of a useful group counts: it comes nearly to the same here, with the largest groups a little behind: 256 replies are only eight prompts then. A published G of 8, 16 or 64 says something about p and about the machine, less about how hard the tasks are.
#
# ### Many steps for one batch: ratio, clip and KL
#
# With one step for each batch every ratio is 1 and the clip is idle. Four passes over each batch in two parts make eight steps of it. Now ratios move. Take away the ratio (plain REINFORCE on samples that get older), or the clip; add a KL price in the loss ($k_3$ times the ratio, β = 0.05); twenty updates:

# %% tags=["concept:clip-vs-kl", "concept:sequence-vs-token-ratio", "concept:dynamic-sampling-clip-higher"]
kinds = ("no ratio", "no clip", "clip", "no clip, KL", "clip, KL", "clip-higher", "GSPO", "CISPO")
often = [f"four passes, {kind}" for kind in kinds]
for name in ("GRPO", *often):
    right, kls, out = told(name, "five")[:, 2], told(name, "kl")[:, 19], told(name, "clipped")[:, :20].mean()
    entropy = told(name, "entropy")[:, 15:20].mean()
    print(f"{name:24} five: right {right.numpy().round(2)}, KL {kls.mean():5.1f}, entropy {entropy:.2f},",
          f"no gradient {out:3.0%}")

# %% tags=["concept:clip-vs-kl"]
unweighted, free, step, anchor, both = (told(name, "five")[:, 2] for name in often[:5])
assert (unweighted < 0.3).all() and (free < 0.8).all() and (unweighted < free).all()
assert (step > 0.8).all() and (both > 0.8).all() and (anchor > free).all()
far = {name: told(f"four passes, {name}", "kl")[:, 19] for name in kinds}
assert far["no clip"].min() > 30 > 12 > far["no clip, KL"].max() and far["clip"].max() < 6
assert told("GRPO", "five")[:, 2].min() > max(told(name, "five")[:, 2].max() for name in often)

# %% [markdown]
# **The ratio** comes first: without it eight steps wreck the model on every seed, more than a hundred nats from the start. With it, and no clip, the model still loses its way, past thirty nats. The **clip** holds it below six: no batch may lead far. The **KL** price holds it, less tightly, for another reason: it pulls back to the *start*, whatever the batch said. Both together do what the clip alone does. Two anchors, two jobs.
#
# DAPO's clip-higher lets the entropy a little higher and goes a little further away; its seeds and the clip's overlap. GSPO (limits 3·10⁻⁴ and 4·10⁻⁴, as in its paper) holds as well, by taking the gradient from more than half of the tokens, whole replies at a time. CISPO, which never drops a token, goes ten nats and more away at this learning rate. And none of them comes up to plain GRPO, one step for each batch, on the same replies: reuse costs care, and buys something only where drawing is dear.

# %% [markdown]
# ## Beside PPO: the same task without a critic
#
# Chapter 08 trained a support desk with PPO and a *learned* judge. Same start, same judge 1, the same sixty updates of 128 replies (PPO's first five train its critic alone), now 16 prompts with 8 replies each and no critic. Advantages are left in the judge's units (leave-one-out) and nothing is divided by a length, so β means the same as there. What an update takes, both in one run, replies of at most 20 tokens where memory is counted:

# %% tags=["concept:grpo", "nbval-ignore-output"]
from rlcore.loops import grpo_desk

bills = grpo_desk.bills(updates=3)
for name, bill in bills.items():
    print(f"{name:4} {bill.models} models, {bill.parameters:,} parameters, {bill.trained:,} trained;",
          f"{bill.held / 1e6:.1f} MB stay, {bill.peak / 1e6:.1f} MB at most, {bill.seconds:.2f} s an update")

# %% tags=["concept:grpo"]
ppo_bill, grpo_bill = bills["PPO"], bills["GRPO"]
assert (ppo_bill.models, grpo_bill.models) == (4, 3) and ppo_bill.trained > 1.9 * grpo_bill.trained
assert grpo_bill.held < 0.7 * ppo_bill.held and grpo_bill.peak < ppo_bill.peak

# %% [markdown]
# The critic is a model of its own, with gradients and Adam's two means: half of everything that is trained. What the replies themselves take while a batch goes through the model is the same for both, and with batches this large it is the greater part.
#
# And what is learnt? Three seeds each, mean of the last ten updates:

# %%
def table(path):
    with open(lm.SHIPPED / f"{path}.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))

desks = {"PPO": table("replies_rlhf"), "GRPO": table("replies_grpo")}

def at_last(loop, run, column):
    rows = [float(row[column]) for row in desks[loop] if row["run"] == run and int(row["update"]) > 50]
    return torch.tensor(rows).view(3, 10).mean(1)

# %% tags=["concept:no-kl", "concept:grpo", "concept:clip-vs-kl"]
rows_of = {"β = 0.2, PPO": ("PPO", "beta 0.2"),
           "β = 0.2, GRPO, KL in the reward": ("GRPO", "beta 0.2 in the reward"),
           "β = 0.2, GRPO, KL in the loss": ("GRPO", "beta 0.2"),
           "β = 0, PPO": ("PPO", "beta 0"), "β = 0, GRPO": ("GRPO", "beta 0")}
for name, row in rows_of.items():
    numbers = {column: at_last(*row, column).numpy().round(2) for column in ("proxy", "gold", "kl")}
    print(f"{name:33} proxy {numbers['proxy']}, gold {numbers['gold']}, KL {numbers['kl']}")

# %% tags=["concept:no-kl", "concept:grpo", "concept:clip-vs-kl"]
ppo, reward, loss, hacked, bare = ({column: at_last(*row, column) for column in ("proxy", "gold", "kl")}
                                   for row in rows_of.values())
assert (reward["gold"] - ppo["gold"]).abs().max() < 0.15 and (reward["kl"] - ppo["kl"]).abs().max() < 0.4
assert loss["gold"].max() < reward["gold"].min() - 0.1 and loss["kl"].min() > reward["kl"].max() + 0.1
assert max(bare["gold"].max(), hacked["gold"].max()) < -0.5
assert bare["proxy"].min() > reward["proxy"].max() + 1

# %% [markdown]
# With the KL paid in the reward, as PPO has it, the group does what the critic did: same gold, same KL, a model less. **In the loss** the same β buys less: more KL, less gold. The estimator's gradient is right for each token *where it stands*; but a token also decides which texts come next, and what KL they will cost. Paid as a reward, that comes back to it; as a term of the loss, it does not.
#
# And **without a KL** the learned judge is flattered until its score means nothing, with a critic or without. In the number game β was 0 as well, and what was paid was what is wanted: reward and pass@1 rose together, and when nearly every group was right the pull ended. (A small KL is not a rule's doing: one of the runs below goes past fifty nats under the same rule.) So "β = 0" is above all a statement about the judge.

# %% tags=["concept:no-kl"]
assert told("GRPO", "kl")[:, -10:].mean(1).max() < 5 < 20 < bare["kl"].min()

# %% [markdown]
# ## What breaks: four runs
#
# Four runs of GRPO are broken on purpose, one fault each. Shuffled, A to D, beside the healthy run in grey; the mean of three seeds. *Reward* is what the run was paid, *pass@1* what it can really do.
#
# 1. The learning rate is ten times too large.
# 2. The rule also charges 0.05 for each token.
# 3. The rewards have a noise of 0.001, and every group trains.
# 4. Each reply is given the reward of the reply one row above it.

# %% tags=["concept:grpo-diagnostics"]
faults = ["learning rate times ten", "a charge for each token", "noise of a thousandth",
          "rewards of the row above"]
shuffled = dict(zip("ABCD", (faults[k] for k in (1, 3, 2, 0))))

columns = {"reward": "reward", "five": "pass@1, five", "length": "tokens", "kl": "KL, nats",
           "signal": "useful groups"}
fig, axes = plots.figure(height=6.2, nrows=4, ncols=5, sharex=True, sharey="col")
for letter, row in zip(shuffled, axes):
    for ax, (column, label) in zip(row, columns.items()):
        for name, color in (("GRPO", style.COLOR["reference"]), (shuffled[letter], style.COLOR["rejected"])):
            line = told(name, column).mean(0)
            at = torch.arange(len(line)) * 10 if column == "five" else torch.arange(1, len(line) + 1)
            ax.plot(at[at <= 20], line[at <= 20], color=color)
        ax.set(title=label if letter == "A" else "", xlim=(0, 20))
    row[0].set(ylabel=letter)
    row[3].set(yscale="symlog")
for ax in axes[-1]:
    ax.set(xlabel="update")
plots.show(plots.caption(fig, "Reward, pass@1 on new problems of five numbers, tokens of a reply, KL from "
    "the start, share of useful groups of four broken runs, A to D, over twenty updates; healthy: grey."))

# %% [markdown]
# ## Exercises
#
# **1 · By pencil.** *★☆☆ · 5 minutes.* Eight replies to a prompt, three of them right. What is GRPO's advantage of a right one (ddof 0)?

# %% tags=["exercise"]
of_a_right_one = ...

# %%
check.answer(
    of_a_right_one, 1.290994, atol=1e-3, mistakes={
    "ddof 1": 1.207615, "not divided by the spread": 0.625, "leave-one-out": 0.714286,
    "divided by the variance": 2.666667, "of a wrong one": -0.774597})
assert abs(grpo.group_normalized(torch.tensor([[1.0] * 3 + [0.0] * 5]), 0)[0, 0] - 1.290994) < 1e-5

# %% [markdown]
# <details><summary>Hint</summary>
#
# The mean is ⅜; the variance of rights and wrongs is p(1 − p).
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# of_a_right_one = (1 - 3 / 8) / (3 / 8 * 5 / 8) ** 0.5
# ```
# For 0/1 rewards it is √((1 − p)/p), with the group's own share p.
# </details>
#
# **2 · How many to draw.** *★★☆ · 5 minutes.* A model is right in one of ten replies. Dynamic sampling draws groups of eight, each for a new prompt, until 32 have a signal. How many *replies* is that, on average?

# %% tags=["exercise"]
replies_drawn = ...

# %%
useful_of_eight = 1 - 0.9**8 - 0.1**8
check.answer(
    replies_drawn, 32 * 8 / useful_of_eight, atol=0.5, mistakes={
    "counted groups, not replies": 32 / useful_of_eight, "one right reply for each group": 320.0,
    "groups with a right reply in the first half": 32 * 8 / (1 - 0.9**4), "no group is empty": 256.0})

# %% [markdown]
# <details><summary>Hint</summary>
#
# If a group is useful with chance u, the first useful one comes after 1/u groups on average.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# replies_drawn = 32 * 8 / (1 - 0.9**8 - 0.1**8)
# ```
# About 449 for the signal of 256.
# </details>
#
# **3 · The diagnosis.** *★★★ · 10 minutes.* Which fault has each of the [four broken runs](#What-breaks:-four-runs)? Four numbers, for A, B, C, D.

# %% tags=["exercise"]
diagnosis = ...

# %%
check.answer(
    diagnosis, [2, 4, 3, 1], atol=0, mistakes={
    "the charge and the wrong row exchanged": [4, 2, 3, 1], "noise and the wrong row exchanged": [2, 3, 4, 1],
    "learning rate and the wrong row exchanged": [2, 1, 3, 4],
    "learning rate and the charge exchanged": [1, 4, 3, 2]})

# %% tags=["concept:grpo-diagnostics"]
wanted = ("reward", "five", "kl", "signal", "length")
lr, charge, noisy, wrong_row = ({column: told(fault, column)[:, -1] for column in wanted} for fault in faults)
assert (lr["kl"] > 10 * told("GRPO", "kl")[:, 19]).all() and (lr["five"] < 0.5).all()
assert (charge["reward"] > told(faults[1], "reward")[:, 0]).all() and (charge["five"] < 0.1).all()
assert (charge["length"] < 4).all()
assert (told(faults[2], "signal") == 1).all() and (noisy["five"] > 0.8).all()
assert (wrong_row["reward"] < told(faults[3], "reward")[:, 0] - 0.1).all() and (wrong_row["kl"] < 10).all()

# %% [markdown]
# <details><summary>Hint</summary>
#
# Where do reward and pass@1 part? Where is every group "useful"? Of the two that are left, one goes more than fifty nats away, the other quietly does the opposite of what it should.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# diagnosis = [2, 4, 3, 1]
# ```
# A: the reward rises while pass@1 falls to 0 and replies shrink to two tokens. The rule is wrong, not the training: a long search costs more than the 1 it earns at its end, so silence pays.
#
# B: a calm KL, a healthy share of useful groups, and the reward *falls*. Its rewards belong to siblings. In a group with one right reply, the row above a right reply is never right: what is right is pushed down.
#
# C: every group counts as useful, also those that are all right; the spread that is divided by is the noise. It still learns, because most groups had a true signal. What it shows is the missing fall of the last column: from then on it trains on noise.
#
# D: the reward jumps at the second update and falls from then on; the KL ends twenty to two hundred times as far away. Steps too long, clip or none: with one step for each batch the clip never acts.
# </details>

# %% [markdown]
# ## Clinic: statements that circulate
#
# Find the flaw *before* you read the verdict.
#
# **1.** *"Group normalisation makes GRPO insensitive to the noise of single rewards."* Two equally good replies and a reward model's noise of 0.001: what happens to their probabilities?

# %% tags=["concept:group-baseline"]
generator = torch.Generator().manual_seed(0)
moved = {}
ways_two = {"normalised": lambda r: grpo.group_normalized(r, 0), "centred": grpo.group_centered}
for name, advantages in ways_two.items():
    logits = torch.zeros(2)
    for _ in range(200):
        said = torch.multinomial(logits.softmax(0), 8, replacement=True, generator=generator)
        noisy = 0.001 * torch.randn(1, 8, generator=generator)           # both replies are worth the same
        score = torch.eye(2)[said] - logits.softmax(0)
        logits = logits + 0.1 * (advantages(noisy)[0, :, None] * score).mean(0)
    moved[name] = (logits[0] - logits[1]).abs().item()
    print(f"{name:10} logits 200 steps later: {moved[name]:.4f} apart")
assert moved["normalised"] > 100 * moved["centred"]

# %% [markdown]
# **Verdict.** The opposite: division by the spread blows any spread up to 1. One more reason to drop it, as Dr. GRPO does for the weighing of prompts; a library's ε only damps it.
#
# **2.** *"From pairs to groups: GRPO asks which* group *of answers is better."* *"A bad batch has a biased mean, so the policy is punished for all of it."*

# %% tags=["concept:grpo", "concept:grpo-diagnostics"]
better, worse = torch.tensor([[0.9, 0.7, 0.8, 0.6]]), torch.tensor([[-4.1, -4.3, -4.2, -4.4]])
for name, group in (("a good group", better), ("the same, all worse by 5", worse)):
    advantages = grpo.group_normalized(group, 0)
    print(f"{name:25} {advantages[0].numpy().round(3)}   sum {advantages.sum().abs():.0e}")
assert torch.allclose(grpo.group_normalized(better, 0), grpo.group_normalized(worse, 0), atol=1e-9)

# %% [markdown]
# **Verdict.** Groups are never compared: a shift of a whole group changes nothing, and the advantages of each add up to 0. A bad batch cannot push all of its replies down. Suspect the learning rate, the rule, stale replies, a spread near 0.
#
# **3.** *"The clip is a hard bound: the ratio cannot leave [0.8, 1.2]." "Clip and KL are a hard and a soft form of one constraint."* The numbers stand [above](#The-clip,-and-how-much-is-clipped-at-once).
#
# **Verdict.** The first step of a batch is never clipped, and Adam went on to 1.83 after the gradient had died. The clip looks at the last policy, the KL at the first.
#
# **4.** *"k3 is used so that the KL stays positive."* True of the number. And of its gradient? The table stands [above](#Two-anchors).
#
# **Verdict.** As a loss, $k_3$ has the gradient of $\mathrm{KL}(\pi_{\mathrm{ref}}\Vert\pi)$.
#
# **5.** *"GRPO's official objective has the ratio of whole replies."* Compare a long reply under both readings, [above](#The-clip,-and-how-much-is-clipped-at-once).
#
# **Verdict.** DeepSeekMath's equation 3 has token ratios, and so has all code. DeepSeek-R1 prints the ratio of whole replies as a shorthand. The method that really clips replies is GSPO, and it needs the root.
#
# **6.** *"Outcome-supervised GRPO suits the correctness of steps: it compares processes."* What advantage has each token of a reply?

# %% tags=["concept:grpo"]
one_reply = grpo.group_normalized(torch.tensor([[1.0, 0.0]]), 0).flatten()[:, None].expand(2, 5)
print(one_reply)
assert (one_reply.std(1) == 0).all()

# %% [markdown]
# **Verdict.** The same for all: a right reply's bad steps are rewarded with it. Step rewards are a variant of their own (DeepSeekMath, section 4.1.3) and need a process reward model: chapter 12.
#
# **7.** *"DeepSeekMath judged by rules." "GRPO was made for code, where tests make a reward model unnecessary."*
#
# **Verdict.** DeepSeekMath trained reward models, for outcome and for process; rules as judges are DeepSeek-R1's. GRPO was made for mathematics. DeepSeek-Coder-V2 had compilers and tests at hand and trained a reward model all the same, because tests do not cover everything.
#
# **8.** *"The loss stands at 0: the run is not learning."* A group before its first step, every ratio 1:

# %% tags=["concept:grpo-diagnostics"]
old_logps, real = torch.tensor([[-1.0, -2.0], [-0.5, -3.0]]), torch.ones(2, 2, dtype=torch.bool)
new_logps = old_logps.clone().requires_grad_()
gains = grpo.group_normalized(torch.tensor([[1.0, 0.0]]), 0)[0, :, None]
loss = masked.mean_over_sequences(trust_region.clipped_loss(new_logps, old_logps, gains, 0.2, 0.2), real)
slope = torch.autograd.grad(loss, new_logps)[0]
print(f"loss {loss:.0f}, gradient {slope.numpy().tolist()}")
assert loss == 0 and slope.abs().min() > 0.2

# %% [markdown]
# **Verdict.** A value is not a gradient. With ratios of 1 and each reply averaged by itself the loss is minus the mean advantage: 0 in every group, whatever is learnt. (Averaged per token or over a constant, long replies count more and it is not 0. Neither number says anything about learning.) Some texts claim of PPO "of course the first loss is not 0": with whitened advantages and equal lengths it is.

# %% [markdown] tags=["concept:reasoning-recipes"]
# ## Recipes of known systems
#
# | recipe | G | KL in the loss | judge |
# |---|---|---|---|
# | DeepSeekMath 2024 | 64 | 0.04 | reward models |
# | DeepSeek-R1 2025 | 16 | 0.001, reference replaced every 400 steps | rules (R1-Zero); at last reward models as well |
# | DAPO 2025 | 16 | none | rules |
# | reinforcement pre-training 2025 | 8 | none | right if it matches the beginning of the true continuation |
#
# Kimi k1.5 (2025) does mirror descent, without a critic. Its objective has no group spread and no clip: its gradient is $(r_i-\bar r)\,\nabla\log\pi(y_i)$ minus that of a square, $\tfrac\tau2\big(\log\tfrac{\pi(y_i)}{\pi_{\text{old}}(y_i)}\big)^2$: a centred baseline, and $k_2$ to the last policy. You have both.

# %% [markdown]
# ## Summary
#
# | symbol | what it is | function | where |
# |---|---|---|---|
# | $r\in\{0,1\}$ | verifiable reward: a rule is the judge | `worlds.arithmetic.reward` | [rule](#A-rule-is-the-judge) |
# | $A_i$ | normalised, centred, leave-one-out | `grpo.group_normalized`, `grpo.group_centered`, `policy_gradient.leave_one_out` | [group](#The-group-as-a-baseline) |
# | $1/\sqrt{p(1-p)}$ | what dividing by the spread weighs a prompt with | `grpo.normalized_weight` | [group](#Use-it:-which-gradient-is-it,-on-average?) |
# | three denominators | each reply, each token, a constant | `masked` | [denominators](#One-reply,-many-tokens:-three-denominators) |
# | $\rho_{i,t}$ and $s_i$ | ratio of a token; GSPO's of a reply | `trust_region.ratio`, `grpo.sequence_ratio` | [clip](#The-clip,-and-how-much-is-clipped-at-once) |
# | $k_3\rho$ | KL in the loss, right for each token where it stands | `kl.k3_loss` | [anchors](#Two-anchors) |
# | moving reference | β/n after n solutions | `loops.grpo.renewed`, `moving_average` | [anchors](#Two-anchors) |
# | $1-p^G-(1-p)^G$ | share of useful groups | `grpo.useful_share` | [signal](#Groups-without-a-signal) |
# | the loop | draw, judge, compare, step | `loops.grpo.train` | [run](#The-run) |
# | the family | one line each | `loops.grpo_curves.RUNS` | [family](#The-family,-side-by-side) |
#
# ## Quiz

# %%
check.quiz(
    "All eight replies of a group are right. What does GRPO learn from it?",
    ["To make all eight likelier", "Nothing", "To make the shortest one likelier"], answer=1,
    why="Every advantage is 0. Centred or normalised, a group teaches by its differences alone.")

# %%
check.quiz(
    "Which of these is, on average, the true gradient up to one factor for all prompts?",
    ["Centred and leave-one-out", "Normalised", "All three"], answer=0,
    why="Dividing by the spread weighs each prompt by about 1/√(p(1−p)): another objective.")

# %%
check.quiz(
    "One step for each batch, no KL. What does the clip of 0.2 do?",
    ["It bounds the ratio at 1.2", "Nothing, every ratio is 1", "It replaces the KL"], answer=1,
    why="The ratio compares with the policy that drew the batch. On its first step that is the policy.")

# %%
check.quiz(
    "A group of two: wrong, 400 tokens; right, 100; GRPO's denominator. A token of which is pulled harder?",
    ["Of the wrong one", "Of the right one", "Both alike"], answer=1,
    why="Each reply is divided by its own length, so a token of the long wrong one weighs a quarter.")

# %%
check.quiz(
    "Reward rises to 1; the same answers, checked by hand, are no better. Where do you look first?",
    ["At the learning rate", "At the rule", "At the clip"], answer=1,
    why="The reward is what is optimised, not what is wanted. Where they part, the rule errs.")

# %% [markdown]
# ## Sources
#
# - Shao et al. 2024, *DeepSeekMath* ([2402.03300](https://arxiv.org/abs/2402.03300)): GRPO, equations 3 and 4; process rewards in section 4.1.3. DeepSeek-AI 2025, *DeepSeek-R1* ([2501.12948](https://arxiv.org/abs/2501.12948)): rules as judges. DeepSeek-Coder-V2 (2406.11931). Kimi k1.5 (2501.12599). Dong et al. 2025, *Reinforcement pre-training* (2506.08007).
# - Kool, van Hoof & Welling 2019; Ahmadian et al. 2024 (2402.14740): leave-one-out. Li et al. 2024, *ReMax* (2310.10505). Hu 2025, *REINFORCE++* (2501.03262): the batch as a baseline.
# - Liu et al. 2025, *Understanding R1-zero-like training* (2503.20783): Dr. GRPO. Yu et al. 2025, *DAPO* (2503.14476). Zheng et al. 2025, *GSPO* (2507.18071). MiniMax 2025, *MiniMax-M1* (2506.13585): CISPO.
# - Hu et al. 2025, *Open-Reasoner-Zero* (2503.24290): no KL. Schulman 2020; Tang & Munos 2025 (2506.09477): estimators of the KL and their gradients. Gorbatovski et al. 2024, *TR-DPO* (2404.09656): references that move.
#
# Next: chapter 12, what the longer replies are good for.
