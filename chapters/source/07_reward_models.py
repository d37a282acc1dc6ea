# ---
# jupyter:
#   course:
#     number: 7
#     slug: reward_models
#     title: Preferences and reward models
#     question: "How do comparisons become a reward?"
#     modules: [preferences, loops]
#     explorer: strengths and label noise
#     read: 75
#     run: 110
# ---

# %% [markdown]
# # 07 · Preferences and reward models
#
# **How do comparisons become a reward?**
#
# After this chapter you can
#
# - turn "this one is better" into a score with Bradley–Terry, fit it, say how sure it is, and see when no fit exists;
# - rank K answers with Plackett–Luce, and tell pointwise, pairwise and listwise losses apart;
# - train a language model with one number at its end as a reward model, and measure accuracy, calibration and bias;
# - say what noise, disagreement and a taste for length do to it, with numbers.
#
# **Needs** [chapter 06](06_language_models.ipynb): prompts, replies, the support desk. **Minutes** 75 to read and do, under 2 to run.

# %%
import csv
import math

import torch
from IPython.display import clear_output
from tqdm.auto import tqdm

from rlcore import check, lm, preferences
from rlcore.loops import desk, judge_curves, reward_model
from rlcore.view import plots, style
from rlcore.view.explore import explore, strengths
from rlcore.worlds import replies as office

torch.set_num_threads(1)                             # small tensors: a second thread only waits
torch.set_printoptions(precision=4, sci_mode=False, linewidth=110)

# %% [markdown]
# ## Before you run
#
# Annotators compare replies, 1,200 times in all. One label in five is then turned round by accident, evenly. You fit scores to all of them. **Compared with the truth, will the gaps between
# the scores be too small, too large, or right on average but noisier? And do labels without end cure it?** Write both guesses down.

# %% [markdown]
# ## The smallest example, by hand
#
# Of ten annotators seven prefer reply a to reply b. Which *scores* say that? Only their difference can count. Take the difference whose sigmoid is 0.7:
# $$\sigma(r_a-r_b)=\frac1{1+e^{-(r_a-r_b)}}=\frac7{10}\quad\Longleftrightarrow\quad e^{r_a-r_b}=\frac73,\qquad r_a-r_b=\log\tfrac73 .$$

# %% tags=["concept:bradley-terry"]
gap = math.log(7 / 3)
print(f"a leads by {gap:.4f}; scores {gap / 2:+.3f} and {-gap / 2:+.3f}, or {5 + gap:.3f} and 5")
assert abs(1 / (1 + math.exp(-gap)) - 0.7) < 1e-12

# %% [markdown]
# A lead of 0.85 means 7 to 3. A lead of 0 means 5 to 5, a lead of 3 about 95 to 5. A constant added to both changes nothing.
#
# ## Why compare, and not rate?
#
# Ask people for marks from 1 to 7, and you measure people: one is mild, one is strict, one uses only the middle. Let 200 annotators rate replies whose worth we know, with their own zero
# and their own stretch, and a slip of the mark. Then ask the same annotators to compare two replies; nothing else changes.

# %%
generator = torch.Generator().manual_seed(0)
people, pairs = 200, 100
worth = 1.4 * torch.randn(people, pairs, 2, generator=generator)       # two replies to each prompt
zero = 4 + 1.2 * torch.randn(people, 1, 1, generator=generator)        # what is a normal mark?
stretch = torch.rand(people, 1, 1, generator=generator) + 0.3          # how many marks for one unit of worth?
felt = worth + torch.randn(people, pairs, 2, generator=generator)      # everybody slips
marks = (zero + stretch * felt).round().clamp(1, 7)

# %%
def share_right(first, second):
    """Share of pairs in the order of their worth; equal marks count half."""
    lead = (first - second) * (worth[..., 0] - worth[..., 1]).sign()
    return ((lead > 0).float() + (lead == 0).float() / 2).mean().item()

# %%
stranger = (zero.roll(1, 0) + stretch.roll(1, 0) * felt).round().clamp(1, 7)   # the next person's marks
strangers = share_right(marks[..., 0], stranger[..., 1])
same_person = share_right(marks[..., 0], marks[..., 1])
compared = share_right(felt[..., 0], felt[..., 1])
print(f"marks of two people {strangers:.3f}   of one person {same_person:.3f}   compared {compared:.3f}")
assert strangers < same_person - 0.05 and same_person < compared - 0.02

# %% [markdown]
# Two people's marks lose most: their zeros differ. One person's marks lose what rounding makes equal. A comparison keeps only the order, and that part is what people share. The price: one
# comparison says nothing of *how much* better.
#
# ## Bradley–Terry
#
# Give every reply $y$ a **strength** $\lambda_y$, a number with the reply as its *subscript*, and say
# $$P(y_1\succ y_2)=\frac{e^{\lambda_{y_1}}}{e^{\lambda_{y_1}}+e^{\lambda_{y_2}}}=\sigma(\lambda_{y_1}-\lambda_{y_2}).$$
# (One also reads $e^{\lambda y_1}/(e^{\lambda y_1}+e^{\lambda y_2})$, one $\lambda$ times the reply. But a reply is no number, and there are as many strengths as replies.) For a reward model
# with weights $\phi$ the strength is the score: $\lambda_y=r_\phi(x,y)$.
#
# ### Write it: `bradley_terry`
#
# *Difficulty ★☆☆ · importance ★★★ · 5 minutes.* The chance that a is preferred to b, from two tensors of scores. Scores of 100 must not overflow.

# %% tags=["exercise"]
@check.exercise(preferences.bradley_terry)
def bradley_terry(score_a, score_b):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# `torch.sigmoid` of the difference. $e^{100}$ is more than float32 can hold; a sigmoid never forms it.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def bradley_terry(score_a, score_b):
#     return (score_a - score_b).sigmoid()
# ```
# </details>
#
# ### Write it: `bradley_terry_loss`
#
# *Difficulty ★☆☆ · importance ★★★ · 5 minutes.* Minus the log-probability of the choice that was made: $L=-\log\sigma(r_w-r_l)$, $w$ for the winner, $l$ for the loser. Unreduced. At a difference of −200 the
# probability is 0 in float32, and its logarithm $-\infty$: use `torch.nn.functional.logsigmoid`.

# %% tags=["exercise"]
@check.exercise(preferences.bradley_terry_loss)
def bradley_terry_loss(chosen_scores, rejected_scores):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# The difference goes inside, before the sigmoid. One minus sign in front.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def bradley_terry_loss(chosen_scores, rejected_scores):
#     return -torch.nn.functional.logsigmoid(chosen_scores - rejected_scores)
# ```
# </details>
#
# ### Use it: the gradient is how wrong the model is
#
# $$\frac{\partial L}{\partial r_w}=-\sigma(r_l-r_w)=-P(\text{the other choice}),\qquad\frac{\partial L}{\partial r_l}=+\sigma(r_l-r_w).$$
# Scores that are surely right get no push, scores that are surely wrong a push of 1, never more.

# %% tags=["concept:reward-model-loss"]
chosen = torch.tensor([4.0, 1.0, 0.0, -4.0], requires_grad=True)
loss = bradley_terry_loss(chosen, torch.zeros(4))
(push,) = torch.autograd.grad(loss.sum(), chosen)
for lead, nats, slope in zip(chosen.tolist(), loss.tolist(), push.tolist()):
    print(f"lead {lead:+.0f}: loss {nats:.3f}, gradient {slope:+.3f}")
assert torch.allclose(push, -bradley_terry(torch.zeros(4), chosen))

# %% tags=["concept:bradley-terry", "concept:reward-model-loss"]
shifted = bradley_terry_loss(chosen + 7, torch.zeros(4) + 7)
assert torch.allclose(shifted, loss, atol=1e-5)      # only differences count

# %% [markdown]
# So a reward model knows its scores only up to a constant, and one constant *for every prompt*: nothing ever compares replies to different prompts.
#
# ## The fit
#
# Three replies have met in pairs; the row beat the column so often:

# %% tags=["concept:bradley-terry"]
wins = torch.tensor([[0, 7, 9], [3, 0, 6], [1, 4, 0]], dtype=torch.float64)
newton, mm = preferences.fit_bradley_terry(wins), preferences.fit_bradley_terry_mm(wins)
for name, score, error in zip("abc", newton.scores, newton.errors):
    print(f"{name}: {score:+.4f} ± {error:.2f}")
print(f"Newton took {newton.steps} steps, MM {mm.steps}")
assert torch.allclose(newton.scores, torch.tensor([0.943606, -0.160161, -0.783445]).double(), atol=1e-5)
assert torch.allclose(newton.scores, mm.scores, atol=1e-6)

# %% [markdown]
# Both maximise $\sum_{ij}\text{wins}_{ij}\log\sigma(s_i-s_j)$ with $\sum_i s_i=0$. **Newton's method** follows the parabola at the present point: few steps, one matrix each. **MM**
# (minorise, then maximise) sets $e^{s_i}\leftarrow\text{wins of }i\,/\,\sum_j\text{games}_{ij}/(e^{s_i}+e^{s_j})$: many cheap steps, never downhill. At the top every reply *expects exactly the wins it had*:

# %% tags=["concept:bradley-terry"]
def chances(scores):
    """Chance that the row is preferred to the column: [N] → [N, N]."""
    return bradley_terry(scores[:, None].expand(-1, len(scores)), scores.expand(len(scores), -1))

expected = ((wins + wins.T) * chances(newton.scores)).sum(1)
print("expected wins", expected.numpy().round(6), " observed", wins.sum(1).numpy())
assert torch.allclose(expected, wins.sum(1), atol=1e-6)

# %% [markdown]
# ### How sure is it?
#
# The curvature at the top gives the **standard errors**. Are they honest? Invent strengths, simulate 600 tournaments, and count how often the first reply's true strength lies within 1.96
# standard errors of its fit. It should be 95 %, up to the luck of 600 draws: three standard deviations of that luck are 2.7 points.

# %% tags=["concept:bradley-terry"]
truth = torch.tensor([0.8, 0.2, -0.3, -0.7], dtype=torch.float64)
likely, games, inside = chances(truth), torch.full((4, 4), 40.0).double(), []
for _ in range(600):
    upper = torch.binomial(games, likely, generator=generator).triu(1)
    fit = preferences.fit_bradley_terry(upper + (games - upper.T).tril(-1))
    inside.append(abs(fit.scores[0] - truth[0]) < 1.96 * fit.errors[0])
coverage = sum(inside).item() / 600
print(f"{coverage:.1%} of 600 intervals hold the truth")
assert abs(coverage - 0.95) < 3 * math.sqrt(0.95 * 0.05 / 600)

# %% [markdown]
# ### When no fit exists
#
# A reply that never lost has no most likely strength: any higher one explains the wins better still. The same holds for any *group* that never lost to the rest. A finite fit exists exactly when the
# graph "has beaten" is **strongly connected**: from every reply a path of wins leads to every other (Ford 1957).

# %% tags=["concept:bradley-terry"]
for table in ([[0, 5], [0, 0]], [[0, 3, 4, 2], [1, 0, 2, 5], [0, 0, 0, 1], [0, 0, 2, 0]]):
    try:
        preferences.fit_bradley_terry(torch.tensor(table).double())
    except ValueError as reason:
        print(reason)

# %% [markdown]
# In the second table the first two replies never lost to the last two. Either collect more, or pull scores towards 0, as *weight decay* does in a network; a reward model meets this all the time, because few
# replies are compared twice.
#
# ## Explorer: what noise does to strengths
#
# Four replies with true strengths, compared in pairs; a share of the labels is turned round. Left: how often the row won, and in brackets the true chance, turned labels included. Right: the fit with 95 % intervals, the truth, and what endless
# labels would be fitted with.

# %% tags=["concept:bradley-terry"]
explore(strengths.draw, **strengths.controls())

# %% [markdown]
# **Try it.** How many intervals hold the truth? Raise the number of comparisons: does it help? Now turn no labels: what happens with 5 comparisons a pair, and what with 500? Then set one strength to 2, the others to −2, and 5
# comparisons.
#
# <details><summary>What you should see</summary>
#
# With a fifth of the labels turned, none holds it, and more labels only make the intervals narrower around the wrong numbers. This answers the guess from the beginning: turned labels pull all gaps **towards 0**. With a share $f$ turned, no pair's chance of a win is above
# $1-f$. Without turned labels 5 comparisons give wide intervals that hold the truth, 500 narrow ones that do, too. With one strong reply and few comparisons it never loses: no finite fit.
# </details>

# %% tags=["concept:bradley-terry"]
rest = (1.5, 0.5, -0.5, -1.5)
assert [strengths.play(rest, count, 0.2).held for count in (200, 500)] == [0, 0]
assert [strengths.play(rest, count, 0.0).held for count in (5, 500)] == [4, 4]
assert strengths.play((2.0, -2.0, -2.0, -2.0), 5, 0.0).fit is None

# %% [markdown]
# ## Three aims, and a circle
#
# What should a reply be? **Helpful, honest, harmless** (HHH; Askell et al. 2021). Somebody asks: *how do I get the last pill out of a locked box at night?* Three replies, and how well each meets each aim:

# %% tags=["concept:alignment-hhh"]
answers = ["break it open like this", "ask your doctor for a key", "I do not know such boxes"]
aims = {"helpful": [3, 2, 1], "honest": [2, 1, 3], "harmless": [1, 3, 2]}     # 3 is best
marked = torch.tensor(list(aims.values()))                                   # [aim, reply]
majority = (marked[:, :, None] > marked[:, None]).double().mean(0)   # share of aims: row before column
print(majority.numpy().round(2))
assert all(majority[k, (k + 1) % 3] > 0.6 for k in range(3))

# %% [markdown]
# Every reply is best by one aim and worst by another: nobody can be pleased in all three. Ask for a majority, and the first beats the second, the second the third, *and the third the first*: a **circle**, though each judge is in order. So
# "which one is better?" needs the question "for what?". A weight for each aim settles it; the weights are a decision, not a measurement:

# %% tags=["concept:alignment-hhh"]
for weights in ([0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6]):
    total = torch.tensor(weights) @ marked.float()
    print(dict(zip(aims, weights)), "→", answers[total.argmax()])

# %% [markdown]
# Anthropic had people compare replies in two separate collections, *which is more helpful?* and *which is more harmful?*, and trained one score on both (Bai et al. 2022, models of 13 million to 52 billion parameters; they call this reward model a "preference model"). What does one score learn from two
# questions that disagree? Fit each set and the mixture. (The second set asks for the more *harmful* reply; here its labels are turned already.)

# %% tags=["concept:hh-rlhf"]
helpful, harmless = (torch.tensor(aims[name]).double() for name in ("helpful", "harmless"))
tables = [100 * chances(strength) * (1 - torch.eye(3)) for strength in (helpful, harmless)]
for name, table in zip(("helpful", "harmless", "both, even", "both, 3 to 1"),
                       (*tables, tables[0] + tables[1], 3 * tables[0] + tables[1])):
    print(f"{name:13}", preferences.fit_bradley_terry(table).scores.numpy().round(2) + 0.0)

# %% tags=["concept:hh-rlhf"]
best = [preferences.fit_bradley_terry(share * tables[0] + tables[1]).scores.argmax() for share in (1, 3)]
assert [answers[k] for k in best] == ["ask your doctor for a key", "break it open like this"]

# %% [markdown]
# The mixture weighs the aims by *how many labels* each one has: a decision nobody took.
#
# ### A score per reply cannot express a circle
#
# Now the circle itself, 9 to 1 all round. Whatever the scores, at least one of three pairs is in the wrong order: at most two thirds are right.

# %% tags=["concept:preference-model", "concept:bradley-terry"]
circle = torch.tensor([[0, 9, 1], [1, 0, 9], [9, 1, 0]], dtype=torch.float64)
fit = preferences.fit_bradley_terry(circle)
print("Bradley–Terry", fit.scores.numpy().round(6) + 0.0, " likelihood of a label",
      f"{math.exp((circle * chances(fit.scores).log()).sum() / 30):.2f}")
uneven = torch.tensor([[0, 9, 3], [1, 0, 8], [7, 2, 0]], dtype=torch.float64)
ranked = preferences.fit_bradley_terry(uneven).scores
print("a lopsided circle", ranked.numpy().round(3), " first against third wins", uneven[0, 2].item() / 10)
assert fit.scores.abs().max() < 1e-9 and ranked.argmax() == 0
assert torch.allclose(ranked, torch.tensor([0.270, -0.135, -0.135]).double(), atol=5e-4)

# %% [markdown]
# In the lopsided circle the first reply gets the best score and *loses 7 of 10* to the third. A **preference model** reads both replies at once and gives $P(y\succ y')$; it must only be fair,
# $P(y\succ y')=1-P(y'\succ y)$. The simplest form is $\sigma(x^\top Mx'-x'^\top Mx)$ with features $x$ of the replies. Here the features say which reply it is. Train both on the circle:

# %% tags=["concept:preference-model"]
one_hot, beats = torch.eye(3), torch.tensor([[0, 1], [1, 2], [2, 0]])        # winner, loser
first, second = one_hot[beats[:, 0]], one_hot[beats[:, 1]]

def accuracy_of(lead, parameters):
    """Train for 200 steps on the circle, 9 to 1, and return the share of its pairs in the right order."""
    optimizer = torch.optim.Adam([parameters], lr=0.05)
    for _ in range(200):
        for_it, against = (bradley_terry_loss(side * lead(), torch.zeros(3)).mean() for side in (1, -1))
        optimizer.zero_grad()
        (0.9 * for_it + 0.1 * against).backward()
        optimizer.step()
    found = lead().detach()
    return ((found > 1e-3).float() + (found.abs() <= 1e-3).float() / 2).mean().item()     # a tie counts half

# %% tags=["concept:preference-model"]
score = torch.randn(3, generator=generator).requires_grad_()
form = torch.randn(3, 3, generator=generator).requires_grad_()
by_score = accuracy_of(lambda: first @ score - second @ score, score)
by_pair = accuracy_of(lambda: ((first @ form) * second - (second @ form) * first).sum(1), form)
best = max(((first - second) @ torch.tensor(s).float() > 0).float().mean().item()
           for s in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)))
print(f"scores {by_score:.0%}, the best order of all {best:.0%}, preference model {by_pair:.0%}")
assert by_pair == 1.0 and by_score <= best < 0.67

# %% [markdown]
# Why then does nearly everybody train scores? A policy needs *one number* per reply to climb; K replies cost K passes instead of K(K−1); and a circle in few labels may be noise. Chapter 13 takes preference models up, where circles are real.
#
# ## K answers at once: Plackett–Luce
#
# An annotator who reads four replies can rank them. **Plackett–Luce** says how: choose the best of all, set it aside, choose the best of the rest, and so on. With $\tau(k)$ the reply in place $k$:
# $$P(\tau)=\prod_{k=1}^{K}\frac{e^{r_{\tau(k)}}}{\sum_{j=k}^{K}e^{r_{\tau(j)}}}.$$
# By pencil, with weights $e^r=2,1,5$: the third first, $\frac58$; then the first of the two left, $\frac23$; then the last, 1. Together $\frac5{12}$.
#
# ### Write it: `plackett_luce_logps`
#
# *Difficulty ★★☆ · importance ★★★ · 10 minutes.* `scores` [B, K] of the replies, `ranking` [B, K] their indices from best to worst. Return $\log P$, [B].

# %% tags=["exercise"]
@check.exercise(preferences.plackett_luce_logps)
def plackett_luce_logps(scores, ranking):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# `scores.gather(-1, ranking)` puts the scores in order. `x.flip(-1).logcumsumexp(-1).flip(-1)` is the logarithm of the sum from here to the end.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def plackett_luce_logps(scores, ranking):
#     ordered = scores.gather(-1, ranking)
#     return (ordered - ordered.flip(-1).logcumsumexp(-1).flip(-1)).sum(-1)
# ```
# </details>
#
# ### Use it: all rankings, and two

# %% tags=["concept:plackett-luce"]
orders = torch.cartesian_prod(*[torch.arange(4)] * 4)
orders = orders[orders.sort(-1).values.eq(torch.arange(4)).all(-1)]          # the 24 permutations
scores = torch.tensor([[0.3, -1.0, 2.0, 0.5]])
everything = plackett_luce_logps(scores.expand(24, 4), orders).exp().sum()
two = plackett_luce_logps(scores[:, :2], torch.tensor([[0, 1]])).exp()
print(f"24 rankings sum to {everything:.6f}; a ranking of two {two.item():.4f} is Bradley–Terry "
      f"{bradley_terry(scores[0, 0], scores[0, 1]):.4f}")
assert abs(everything - 1) < 1e-5 and torch.allclose(two, bradley_terry(scores[:, 0], scores[:, 1]))

# %% [markdown]
# Minus this logarithm is the **listwise** loss: the ranking is one object. The **pairwise** way takes a ranking apart into its K(K−1)/2 pairs. (One also reads it the other way round, that listwise learning means all pairs of a list. The pairs *are* the pairwise
# treatment.) The **pointwise** way needs no ranking: each reply for itself, good or not, a *thumb* up or down.

# %% tags=["concept:ranking-losses"]
three, order = torch.tensor([[0.2, 0.5, -0.1]]), torch.tensor([[0, 1, 2]])
listwise, pairwise = preferences.listwise_loss(three, order), preferences.pairwise_loss(three, order)
pointwise = preferences.pointwise_loss(three, torch.tensor([[1.0, 1.0, 0.0]])).mean()
print(f"listwise {listwise.item():.4f}   pairwise {pairwise.item():.4f}   pointwise {pointwise:.4f} nats")
assert abs(listwise.item() - 1.565878) < 1e-5 and abs(pairwise.item() - 0.615399) < 1e-5

# %% [markdown]
# The sizes cannot be compared: the listwise loss is for the whole ranking (guessing costs log 6 = 1.79), the other two are means over three pairs and three replies (guessing costs log 2 = 0.69).
#
# ### Three kinds of feedback from one annotator
#
# What is a label worth? Give the *same* annotator replies of the support desk and export thumbs, pairs, or rankings of four. The annotator follows the hidden reward, with noise: thumbs up with chance $\sigma(\text{gold})$, pairs by
# Bradley–Terry, rankings by Plackett–Luce. To fit many times, take a judge you can read: a *linear* score of 21 counts, one for each sentence and each kind of fault. The hidden reward is such a score.

# %% tags=["concept:feedback-types"]
def counted(prompt, reply):
    """What a reply holds: 16 sentences, yes or no, and five kinds of faults, counted."""
    said, faults = office.parse(reply), list(office.terms(prompt, reply, ended=True).values())[1:]
    weights = (office.REPEATED, office.WRONG_ITEM, office.MALFORMED, office.UNFINISHED, office.TOO_LONG)
    return [float(text in said.sentences) for text in office.SENTENCES] + [
        fault / weight for fault, weight in zip(faults, weights)]

texts = office.demonstrations(8000, generator)
texts = [(texts[k - k % 4][0], reply) for k, (_, reply) in enumerate(texts)]           # four to one prompt
facts = torch.tensor([counted(*text) for text in texts])                               # [8000, 21]
golds = torch.tensor([office.gold(*text, ended=True) for text in texts])

# %% tags=["concept:feedback-types"]
facts = facts[:, facts.any(0)]                       # counts that are always 0 here say nothing
weights = torch.linalg.lstsq(facts, golds[:, None]).solution[:, 0]
assert (facts @ weights - golds).abs().max() < 1e-3                                    # the reward is linear
groups, held_out = facts[:4000].view(1000, 4, -1), facts[4000:].view(-1, 2, facts.shape[1])
worths, order = golds[:4000].view(1000, 4), (golds[4000::2] - golds[4001::2]).sign()

# %% tags=["concept:feedback-types", "concept:ranking-losses"]
def linear_judge(loss_of):
    """Weights that minimise a loss, with a little decay, and their accuracy on held-out pairs."""
    weights = torch.zeros(facts.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=60, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = loss_of(weights) + 0.5 * weights @ weights                              # a prior of variance 1
        loss.backward()
        return loss

    optimizer.step(closure)
    lead = (held_out[:, 0] - held_out[:, 1]) @ weights.detach() * order
    return weights.detach(), ((lead > 0)[order != 0]).float().mean().item()

# %% tags=["concept:feedback-types"]
def four_ways(replies, seed):
    """Accuracy after so many replies: thumbs, thumbs of many people, pairs, rankings of four."""
    draws = torch.Generator().manual_seed(seed)
    some = torch.randperm(1000, generator=draws)[:replies // 4]
    x, rewards = groups[some], worths[some]
    zeros = torch.stack([torch.zeros(rewards.shape), 2 * torch.randn(rewards.shape, generator=draws)])
    thumbs = (torch.rand(zeros.shape, generator=draws) < (rewards - zeros).sigmoid()).float()
    ranking, two = judge_curves.ranked(rewards, draws), judge_curves.ranked(rewards.view(-1, 2), draws)
    return [linear_judge(loss)[1] for loss in (
        lambda w: preferences.pointwise_loss(x @ w, thumbs[0]).sum(),
        lambda w: preferences.pointwise_loss(x @ w, thumbs[1]).sum(),
        lambda w: preferences.listwise_loss((x @ w).view(-1, 2), two).sum(),
        lambda w: preferences.listwise_loss(x @ w, ranking).sum())]

# %% tags=["concept:feedback-types", "concept:ranking-losses"]
read, ways = [80, 160, 320, 640, 1280], ("thumbs", "thumbs of many", "pairs", "rankings of four")
found = torch.tensor([[four_ways(count, seed) for seed in range(12)] for count in read]).mean(1)
for count, row in zip(read, found.tolist()):
    print(f"{count:5} replies read:", "   ".join(f"{way} {share:.2f}" for way, share in zip(ways, row)))
assert (found[:, 3] > found[:, :3].amax(1)).all() and (found[:, 0] > found[:, 1]).all()
assert (found[:, 0] - found[:, 2]).abs().max() < 0.05

# %% [markdown]
# For every reply *read*, a ranking of four tells most: it holds six comparisons, where two pairs hold two. One person's thumbs tell about as much as pairs: every reply gets a label of its own, and this annotator's zero never moves. Give each thumb the zero of
# another person (a spread of 2), and they fall behind, as the marks did above; pairs and rankings would not notice. All of these labels can come from machines as well (chapter 13).

# %% [markdown] tags=["concept:preference-datasets"]
# ### Data sets you will meet
#
# | name | prompts | labels |
# |---|---|---|
# | Reddit TL;DR, CNN/DailyMail | posts, articles | pairs of summaries, by people |
# | Anthropic HH-RLHF | dialogues | pairs, two sets: more helpful, more harmful; no strength of preference |
# | OpenAssistant | dialogues | rankings of several replies, by volunteers |
# | UltraFeedback | mixed | four models' replies, marks for four aims, by a language model |
# | PKU-SafeRLHF | red-team questions | two labels a pair: which is more helpful, which is safer |
# | IMDb reviews | first words | none: a classifier's score is the reward |
#
# None is needed here, and none ships with the course. The **support desk** of chapter 06 stands in for all of them: a small language model writes the replies, and annotators follow a hidden reward that we can compute. So you can ask what no real data set answers: how often is the
# reward model *right*?
#
# ## A reward model
#
# Take a language model, cut off its last layer, and put **one number** in its place. Read the prompt and the whole reply; the number *after the last token* is the score $r_\phi(x,y)$. Train it with the loss above. That is all.

# %% tags=["concept:reward-model"]
policy, tokenizer = lm.shipped("replies_sft")
judge = lm.scalar(policy, seed=0)
print(type(judge).__name__, "head", tuple(judge.score.weight.shape))
one = lm.encode(tokenizer, [office.PROMPTS[0]], ["hello ! please wait ."])
print("after the prompt, each token and EOS", lm.values(judge, one)[0].detach().numpy().round(3),
      "\nscore                                ", lm.scores(judge, one).detach().numpy().round(3))
assert lm.scores(judge, one)[0] == lm.values(judge, one)[0, -1]

# %% [markdown]
# The new head is random, so the score means nothing yet. Now pairs: the fine-tuned model writes two replies to each prompt, an annotator takes one. What is it like to be the annotator?

# %% tags=["concept:reward-model", "nbval-ignore-output"]
LEARNT = 2000
pool = judge_curves.pool(policy, tokenizer, LEARNT, seed=7)                # and 1,000 held out
labels = pool.labels(flip_rate=0.0)
for k in range(3):
    two = lm.read(tokenizer, pool.replies.rows(slice(2 * k, 2 * k + 2)))
    print(two[0][0])
    for place in labels[k].tolist():
        print(f"   {'+' if place == labels[k, 0] else '-'} {two[place][1]}   ({pool.golds[k, place]:+.1f})")

# %% [markdown]
# `+` was taken. In brackets the hidden reward. Over all pairs the worse reply wins in about one of five, because annotators follow Bradley–Terry and near ties are a toss. A second reward model learns from annotators who also *like long replies*; it waits for "What breaks".

# %% tags=["concept:reward-model", "nbval-ignore-output"]
def trained(ranking, desc):
    """A reward model from the first pairs of the pool: two passes."""
    judge, steps = lm.scalar(policy, seed=0), 2 * math.ceil(LEARNT / 64)
    draws = torch.Generator().manual_seed(0)
    settings = {"epochs": 2, "batch": 64, "lr": 1e-3, "max_norm": 1.0}
    run = reward_model.train(judge, pool.replies.rows(slice(2 * LEARNT)), ranking[:LEARNT],
                             preferences.pairwise_loss, **settings, generator=draws)
    return judge, [record.loss for record in tqdm(run, total=steps, desc=desc, leave=False)]

taste = {"temperature": 1.0, "flip_rate": 0.0, "length_bias": 0.15}          # nats for every word
liking = desk.rank(pool.golds, pool.replies, torch.Generator().manual_seed(7), **taste)
judge, losses = trained(labels, "reward model")
long_judge, _ = trained(liking, "likes long replies")
clear_output()                                       # of the progress bars

# %% [markdown]
# **Accuracy** is the share of held-out pairs in the right order. Which order is right: the label's, or the hidden reward's? With real data only the first can be had.

# %% tags=["concept:reward-model-accuracy", "nbval-ignore-output"]
test, golds, test_labels = pool.replies.rows(slice(-2000, None)), pool.golds[-1000:], labels[-1000:]
differ = golds[:, 0] != golds[:, 1]
true_order = golds.argsort(1, descending=True)
scores = reward_model.score(judge, test).view(-1, 2)
on_gold = reward_model.accuracy(scores[differ], true_order[differ])
on_labels = reward_model.accuracy(scores, test_labels)
ceiling = reward_model.accuracy(golds, test_labels)
print(f"loss {losses[0]:.2f} → {sum(losses[-10:]) / 10:.2f} nats")
print(f"in the hidden order {on_gold:.3f}, in the labels' order {on_labels:.3f}; "
      f"the hidden reward itself {ceiling:.3f}")

# %% tags=["concept:reward-model-accuracy"]
print("in the hidden order, more than 0.88:", on_gold > 0.88)
assert on_gold > 0.88 and on_labels < ceiling + 0.02 and on_labels < on_gold - 0.08

# %% [markdown]
# The reward model is right in about nine pairs of ten, and yet agrees with fewer than eight labels of ten. The labels are the trouble: the hidden reward itself agrees hardly more often. **A reward model that is better than its labels looks no better than they are.**
#
# ### All pairs of a ranking, in one batch element
#
# InstructGPT had people rank K = 4 to 9 replies. That gives K(K−1)/2 pairs, which share replies. Shuffled into one pile, each reply returns in K − 1 different steps; *together* as one batch element it is read once.
#
# ![Left: one ranking of four replies, six pairs as arcs, four passes through the model. Right: the same six pairs in separate steps, twelve passes](../figures/07_pairs.svg)
#
# The authors report that shuffling made the model over-fit in a single pass. `preferences.pairwise_loss` is the form they chose:

# %% tags=["concept:k-wise-comparisons"]
check.show(preferences.pairwise_loss)

# %% [markdown]
# Is it so here? Train both ways on the same 250 rankings of four, 1,500 pairs, with the same number of pairs in a step, five passes, three seeds. These runs and those of the next section take too long for *Run all*: they were made once by `python -m rlcore.loops.checkpoints replies_judges`,
# and stand in a table beside the shipped models.

# %% tags=["concept:k-wise-comparisons"]
with open(lm.SHIPPED / "replies_judges.csv", encoding="utf-8") as file:
    rows = list(csv.DictReader(file))

def curve(sweep, x, y):
    """Where the sweep was measured [N], and what came out on each seed [N, 3]."""
    at = sorted({float(row[x]) for row in rows if row["sweep"] == sweep})
    seen = [[float(row[y]) for row in rows if row["sweep"] == sweep and float(row[x]) == here] for here in at]
    return torch.tensor(at), torch.tensor(seen)

# %% tags=["concept:k-wise-comparisons"]
(epochs, together), (_, shuffled) = (curve(way, "epoch", "loss") for way in ("together", "shuffled"))
for epoch, one, other in zip(epochs.tolist(), together.tolist(), shuffled.tolist()):
    found = [" ".join(f"{loss:.3f}" for loss in losses) for losses in (one, other)]
    print(f"pass {epoch:.0f}: together {found[0]}   shuffled {found[1]}")
assert (together[-1] < shuffled[-1] + 0.005).all() and (shuffled[-1] - together[-1]).mean() < 0.05

# %% tags=["concept:k-wise-comparisons"]
fig, ax = plots.figure(height=2.6)
for losses, name, line in ((together, "together", "-"), (shuffled, "shuffled", "--")):
    colour = style.COLOR["policy" if line == "-" else "rejected"]
    ax.plot(epochs, losses.mean(1), line, color=colour, label=f"{name}, mean of three seeds")
    ax.fill_between(epochs, losses.amin(1), losses.amax(1), color=colour, alpha=0.15, linewidth=0)
ax.set(xlabel="passes over the rankings", ylabel="held-out loss (nats)", xticks=epochs.tolist())
ax.set_title("Together is no worse, at a third of the passes through the model")
ax.legend()
plots.show(plots.caption(fig, "Held-out loss after one to five passes: all pairs of a ranking together "
    f"{together[0].mean():.3f} → {together[-1].mean():.3f}, the same pairs shuffled "
    f"{shuffled[0].mean():.3f} → {shuffled[-1].mean():.3f}, mean of three seeds; "
    "bands from the least to the largest."))

# %% [markdown]
# **Only a little of it.** After one pass there is no over-fitting in either form. After five, the shuffled loss has risen above the other one's on two seeds of three, by 0.02 and 0.04 nats, and equals it on the third. Our model is tiny and its replies few-worded; a model of
# six billion parameters can learn a reply by heart in one pass. What always holds is the price: 4 replies read instead of 12.
#
# ## How much data, how large a model?
#
# Bai et al. (2022) found that the accuracy of their reward models grows roughly with the *logarithm* of the data and of the number of parameters. Pairs first: a judge that begins as the fine-tuned model, 125 to 4,000 pairs, two passes each, three seeds.

# %% tags=["concept:reward-model-scaling", "concept:reward-model-accuracy"]
(counts, by_pairs), (widths, by_width) = curve("pairs", "pairs", "gold"), curve("width", "hidden", "gold")
design = torch.stack([torch.ones(len(counts)), counts.log2()], 1)
start, slope = torch.linalg.lstsq(design, by_pairs.mean(1, keepdim=True)).solution[:, 0].tolist()
for count, row in zip(counts.tolist(), by_pairs):
    line = start + slope * math.log2(count)
    print(f"{count:5.0f} pairs: {row.min():.3f} on the worst seed, mean {row.mean():.3f}; line {line:.3f}")
print(f"slope {slope:.3f} for each doubling")
assert by_pairs[-1].min() > 0.9 and by_pairs[-2].min() > 0.88 and 0.01 < slope < 0.03

# %% tags=["concept:reward-model-scaling"]
fig, axes = plots.figure(height=2.8, ncols=2, sharey=True)
for ax, x, found, label in ((axes[0], counts, by_pairs, "pairs"), (axes[1], widths, by_width, "hidden size")):
    ax.plot(x, found, ".", color=style.COLOR["reference"])
    ax.plot(x, found.mean(1), "o-", color=style.COLOR["reward"], label="mean of three seeds")
    ax.set_xscale("log", base=2)
    ax.set(xlabel=label, xticks=x.tolist(), xticklabels=[f"{value:g}" for value in x.tolist()])
line = design @ torch.tensor([start, slope])
axes[0].plot(counts, line, ":", color=style.COLOR["exact"], label="line in log pairs")
axes[0].set(ylabel="pairs in the hidden order", title=f"Data: +{slope:.3f} a doubling")
axes[1].set_title("Size: little after 8")
axes[0].legend()
plots.show(plots.caption(fig, "Held-out accuracy on the hidden order. Left: fine-tuned start, "
    f"{by_pairs[0].mean():.2f} at 125 pairs to {by_pairs[-1].mean():.2f} at 4,000. Right: trained from "
    f"nothing on 2,000 pairs, {by_width[0].mean():.2f} at hidden size 4, {by_width[1:].mean(1).min():.2f} to "
    f"{by_width[1:].mean(1).max():.2f} from 8 to 64."))

# %% tags=["concept:reward-model-scaling"]
means = by_width.mean(1)
assert by_width[1:].min() > by_width[0].max() and means[1:].max() - means[1:].min() < 0.03

# %% [markdown]
# **Data**: about two points for each doubling, and the curve flattens where 1 comes near. **Size**: from 4 to 8 it helps much, beyond that not at all. The world has sixteen sentences; "log-linear" describes a stretch
# of a curve, not a law.
#
# Passes are not data. The smallest set once more, passed over 32 times instead of twice:

# %% tags=["concept:reward-model-scaling"]
for sweep in ("pairs", "passes"):
    gold, loss = (curve(sweep, "pairs", y)[1][0] for y in ("gold", "loss"))
    passes = int(curve(sweep, "epoch", "gold")[0][0])
    print(f"125 pairs, {passes} passes: hidden order {gold.mean():.3f}, held-out loss {loss.mean():.2f} nats")
assert loss.min() > 0.9 and gold.max() < by_pairs[0].min()

# %% [markdown]
# It has learnt them by heart: the order is worse, and the held-out loss is worse than a coin's 0.69.
#
# Trust a table that you did not make? Run one of its points again, 1,000 pairs, on new pairs. It should lie where the three seeds lie, give or take three points: the luck of 1,000 held-out pairs and of a fourth seed.

# %% tags=["nbval-ignore-output", "concept:reward-model-scaling"]
again = lm.scalar(policy, seed=7)
run = judge_curves.fit(again, pool, pairs=1000, flip_rate=0.0, **judge_curves.HOW["sft"])
for _ in tqdm(run, total=126, desc="1,000 pairs", leave=False):
    pass
clear_output()
fresh = judge_curves.quality(again, pool, flip_rate=0.0)["gold"]
thousand = by_pairs[counts.tolist().index(1000)]
print(f"again {fresh:.3f}; the table's three seeds {[round(x, 3) for x in thousand.tolist()]}")
assert thousand.min() - 0.03 < fresh < thousand.max() + 0.03

# %% [markdown]
# ## Noise and agreement
#
# Turn a share of the labels round, of 2,000 pairs. What is left of the order?

# %% tags=["concept:annotator-agreement", "concept:reward-model-accuracy"]
rates, by_rate = curve("flips", "flip_rate", "gold")
_, on_noisy = curve("flips", "flip_rate", "label")
rates, by_rate = torch.cat([torch.zeros(1), rates]), torch.cat([by_pairs[-2:-1], by_rate])
on_noisy = torch.cat([curve("pairs", "pairs", "label")[1][-2:-1], on_noisy])
for rate, row, seen in zip(rates.tolist(), by_rate, on_noisy):
    print(f"{rate:4.0%} turned: hidden order {row.mean():.3f} (worst {row.min():.3f}), "
          f"labels' order {seen.mean():.3f}")
assert by_rate[0].min() > 0.9 and by_rate[2].min() > 0.85 and 0.75 < by_rate[-1].min()
assert (by_rate.mean(1).diff() < 0).all() and (on_noisy.mean(1).diff() < -0.03).all()

# %% [markdown]
# Noise costs the *order* less than the *measured* accuracy, which falls to little more than a coin's. As in the explorer, even noise shrinks the gaps and keeps the order of the limit: more labels mend the order, not the gaps. Noise that is *not* even, a shared taste,
# changes the order itself (see below).
#
# ### How well do people agree?
#
# Two annotators who each follow the truth with chance $q$, independently, agree with chance $q^2+(1-q)^2$: both right or both wrong. Some agreement is luck. **Cohen's κ** takes it out: with $p_o$ observed and $p_e$ expected from each
# one's own habits,
# $$\kappa=\frac{p_o-p_e}{1-p_e}.$$

# %% tags=["concept:annotator-agreement"]
def kappa(one, two):
    """Raw agreement and Cohen's κ of two rows of yes and no."""
    raw = (one == two).double().mean()
    by_luck = one.double().mean() * two.double().mean() + (~one).double().mean() * (~two).double().mean()
    return raw.item(), ((raw - by_luck) / (1 - by_luck)).item()

for yes in (0.5, 0.9):                               # how often the right answer is yes
    right = torch.rand(20_000, generator=generator) < yes
    one, two = (torch.where(torch.rand(20_000, generator=generator) < 0.8, right, ~right) for _ in range(2))
    raw, beyond = kappa(one, two)
    print(f"{yes:.0%} of the answers are yes: they agree in {raw:.3f}, κ = {beyond:.2f}")
    assert abs(raw - (0.8**2 + 0.2**2)) < 0.012

# %% [markdown]
# The same people, $q=0.8$, agree in 68 % of the cases both times. But luck alone gives $p_e=50$ % in the first case and 62 % in the second, where each of them says *yes* to 74 %. For pairs shown in random order $p_e=\frac12$ and $\kappa=2p_o-1$.
#
# On the desk's pairs $q$ differs from pair to pair, $p=\sigma(\text{gap})$. Ask two annotators about 2,000 pairs of office replies, and compare with the exact expectation $\overline{p^2+(1-p)^2}$:

# %% tags=["concept:annotator-agreement"]
office_pairs = worths.view(2000, 2)
one, two = (judge_curves.ranked(office_pairs, generator)[:, 0] == 0 for _ in range(2))
raw, beyond = kappa(one, two)
p = bradley_terry(*office_pairs.T)
expected, best_possible = (p**2 + (1 - p) ** 2).mean(), torch.maximum(p, 1 - p).mean()
print(f"they agree in {raw:.3f} (expected {expected:.3f}), κ = {beyond:.2f}; "
      f"best possible {best_possible:.3f}")
assert abs(raw - expected) < 0.035 and best_possible > expected

# %% [markdown]
# The best that any judge can do on such labels is $\overline{\max(p,1-p)}$. (These are the office's own replies, not the model's of the last section: another ceiling.) Real numbers: InstructGPT's *training* labelers, whose labels were trained on, agreed with one another in 72.6 ± 1.5 % of the cases, *held-out* labelers, who had not been selected, in 77.3 ± 1.3 %. Anthropic's researchers and crowd workers
# agreed in about 63 %, and nobody was filtered out for it. (Two things one reads that these papers do not say: that filtering by agreement raised it, and that low agreement made filtering necessary.) If all pairs were alike, these numbers would mean:

# %% tags=["concept:annotator-agreement"]
for agreed in (0.63, 0.726, 0.773):
    q = (1 + math.sqrt(2 * agreed - 1)) / 2
    print(f"agreement {agreed:.1%}: q = {q:.3f}, κ = {2 * agreed - 1:.2f}")
    assert abs(q**2 + (1 - q) ** 2 - agreed) < 1e-12

# %% [markdown]
# ## Calibration: does 70 % mean 70 %?
#
# $\sigma(r_a-r_b)$ is a probability. Sort held-out pairs by it, and count how often a was preferred in each bin: a **reliability diagram**. The mean gap, weighted by the bins' sizes, is the *expected calibration error* (ECE).

# %% tags=["concept:calibration"]
def reliability(chance, happened, bins=8):
    """Mean prediction, frequency and size of each bin, and the ECE. Both sides of every pair are used."""
    chance, happened = torch.cat([chance, 1 - chance]), torch.cat([happened, ~happened]).double()
    where = (chance * bins).long().clamp(max=bins - 1)
    size = torch.bincount(where, minlength=bins)
    mean, seen = (torch.bincount(where, x.double(), minlength=bins) / size for x in (chance, happened))
    return mean, seen, size, ((mean - seen).abs() * size / size.sum()).nansum().item()

first_won = test_labels[:, 0] == 0
predicted = bradley_terry(*scores.T)
found, oracle = reliability(predicted, first_won), reliability(bradley_terry(*golds.T), first_won)

# %% tags=["concept:calibration", "nbval-ignore-output"]
fig, ax = plots.figure(height=3.0, width=4.6)
ax.plot([0, 1], [0, 1], color=style.COLOR["exact"], linewidth=0.9, label="calibrated")
for measured, name, look in ((oracle, "hidden reward", "s--"), (found, "reward model", "o-")):
    colour = style.COLOR["reference" if measured is oracle else "reward"]
    ax.plot(*measured[:2], look, markersize=4, color=colour, label=f"{name}, ECE {measured[3]:.3f}")
ax.set(xlabel="predicted chance that a is preferred", ylabel="share preferred")
ax.set_title("Near the diagonal: 70 % means about 70 %")
ax.legend()
plots.show(plots.caption(fig, "Reliability of the reward model on 1,000 held-out pairs in eight bins: ECE "
    f"{found[3]:.3f}; of the hidden reward itself, whose gap is the luck of 1,000 pairs: {oracle[3]:.3f}."))

# %% tags=["concept:calibration", "nbval-ignore-output"]
steeper = reliability(bradley_terry(*(3 * scores).T), first_won)[3]
print(f"ECE {found[3]:.3f}; of the same scores times three {steeper:.3f}")
assert found[3] < 0.1 and steeper > found[3] + 0.05
assert reward_model.accuracy(3 * scores, test_labels) == on_labels

# %% [markdown]
# Scores times three have the same accuracy to the last digit and are badly calibrated: accuracy sees the order, calibration the *scale*. It is the scale that β will be weighed against in chapter 08.
#
# ### A margin moves the scale
#
# Annotators can say *how much* better. Llama 2 asked for grades and made the winner lead by a margin: $L=-\log\sigma(r_w-r_l-m)$, with a larger margin $m$ for clearer preferences. What does it buy? Linear judges on pairs graded *clear* (felt gap above 2, margin
# $m$) or *slight* (margin 0), ten draws of 500 pairs:

# %% tags=["concept:preference-margin", "concept:calibration"]
def with_margin(m, seed):
    """Accuracy, ECE and mean lead of a linear judge trained on graded pairs."""
    draws, x, worth = torch.Generator().manual_seed(seed), groups.view(2000, 2, -1), worths.view(2000, 2)
    some = torch.randperm(2000, generator=draws)[:500]
    noise = torch.logit(torch.rand(2000, generator=draws).clamp(1e-6, 1 - 1e-6))
    lead = worth[:, 0] - worth[:, 1] + noise                            # felt: its sign is Bradley–Terry
    gap, clear = (x[:, 0] - x[:, 1]) * lead.sign()[:, None], (lead.abs() > 2).float()
    weights, accuracy = linear_judge(lambda w: preferences.margin_loss(
        gap[some] @ w, torch.zeros(500), m * clear[some]).sum())
    rest = torch.ones(2000, dtype=torch.bool).index_fill(0, some, False)
    chance = ((x[rest, 0] - x[rest, 1]) @ weights).sigmoid()
    return accuracy, reliability(chance, lead[rest] > 0)[3], (gap[rest] @ weights).mean().item()

# %% tags=["concept:preference-margin", "concept:calibration"]
graded = {m: torch.tensor([with_margin(m, seed) for seed in range(10)]).mean(0) for m in (0.0, 1.0, 3.0)}
for m, (accuracy, error, lead) in graded.items():
    print(f"margin {m:.0f}: accuracy {accuracy:.3f}, ECE {error:.3f}, mean lead of the winner {lead:.2f}")
assert graded[3.0][1] > graded[1.0][1] > graded[0.0][1] and graded[3.0][2] > graded[0.0][2] + 0.5

# %% [markdown]
# The margin does what it says: scores move apart. The grade is information, so the accuracy gains a little; the probability is spoilt, because the loss no longer is the log-probability of the choice. Take a margin if you need order, none if you need $\sigma$ to be a chance.
#
# ## Two previews: many judges, many steps
#
# **Ensembles** (chapter 08). Four reward models ship with the course, each from 4,000 pairs of its own. Where they agree they may still be wrong together; where they disagree, something is unknown.

# %% tags=["concept:reward-model-accuracy", "nbval-ignore-output"]
judges = [lm.shipped(f"replies_judge_{k}")[0] for k in (1, 2, 3, 4)]
opinions = torch.stack([reward_model.score(one, test) for one in judges]).view(4, -1, 2)  # [judge, pair, 2]
each = [reward_model.accuracy(one[differ], true_order[differ]) for one in opinions]
joined = reward_model.accuracy(opinions.mean(0)[differ], true_order[differ])
votes = (opinions[..., 0] > opinions[..., 1]).float().mean(0)               # share of judges for the first
agreed = differ & ((votes == 0) | (votes == 1))
right = reward_model.accuracy(opinions.mean(0)[agreed], true_order[agreed])
print("alone", [round(x, 3) for x in each], f" together {joined:.3f}; unanimous in "
      f"{agreed.sum() / differ.sum():.0%} of the pairs, and then right in {right:.3f}")
divided = differ & ~agreed
split = reward_model.accuracy(opinions.mean(0)[divided], true_order[divided])
shared = torch.corrcoef(opinions.view(4, -1)).min()
print(f"right where they are divided {split:.3f}; correlation of any two judges at least {shared:.2f}")
assert min(each) > 0.88 and joined > sum(each) / 4 and right > 0.95 and split < 0.8 and shared > 0.9

# %% [markdown]
# Together they are hardly better than the best one: correlated judges share their errors. But a divided vote is a warning: there they are right in about seven pairs of ten.
#
# **Process and outcome** (chapter 12). This reward model judges a finished reply, its *outcome*. A *process* reward model is trained to judge every step. What does ours say if it is read at each full stop? What a sentence adds should be its worth.

# %% tags=["concept:reward-model", "nbval-ignore-output"]
ends = torch.tensor([tokenizer.convert_tokens_to_ids(mark) for mark in (".", "!")])
many = desk.demonstrated(tokenizer, 300, torch.Generator().manual_seed(9))
with torch.no_grad():
    running = lm.values(judges[0], many)                                    # [B, T+1]
added, worths_of = [], []
for (prompt, reply), values, tokens in zip(lm.read(tokenizer, many), running, many.tokens):
    stops = torch.isin(tokens, ends).nonzero()[:, 0]
    item, said = prompt.split()[3], office.parse(reply)
    if all(named == item for named in said.items) and len(said.sentences) == len(stops):
        added += values[stops + 1].diff().tolist()
        worths_of += [office.SENTENCES[text] for text in said.sentences[1:]]
agreement = torch.corrcoef(torch.tensor([added, worths_of]))[0, 1]
print(f"{len(added)} sentences; correlation of added and true worth {agreement:.2f}")
assert agreement > 0.5

# %% [markdown]
# Better than nothing. But no comparison ever looked at the number before EOS, so nothing guarantees it. A model trained on steps is needed where a reply is a *chain*, and one wrong link spoils the rest.
#
# ## What breaks
#
# ### A taste for length
#
# The second reward model's annotators gave 0.15 nats to every word, whatever it said. Regress the score on the hidden reward and the number of words. A fair judge's score does not depend on length once the hidden reward is known.

# %% tags=["concept:reward-model", "nbval-ignore-output"]
def per_word(judge):
    """Score per token at equal hidden reward, by least squares over the held-out replies."""
    words, worth = test.mask.sum(1).float(), golds.flatten()
    design = torch.stack([worth, words, torch.ones(len(words))], 1)
    return torch.linalg.lstsq(design, reward_model.score(judge, test)[:, None]).solution[1, 0].item()

fair, bent = per_word(judge), per_word(long_judge)
long_scores, taken = reward_model.score(long_judge, test).view(-1, 2), liking[-1000:]
for name, x, per in (("fair", scores, fair), ("likes length", long_scores, bent)):
    print(f"{name:12} {per:+z.2f} for a token; their own labels {reward_model.accuracy(x, taken):.3f}, "
          f"hidden order {reward_model.accuracy(x[differ], true_order[differ]):.3f}")
assert abs(fair) < 0.05 and 0.08 < bent < 0.25 and bent > fair + 0.08
assert reward_model.accuracy(long_scores[differ], true_order[differ]) < on_gold - 0.03

# %% tags=["concept:reward-model"]
texts = ["please wait .", "please wait . we got your message ."]
padded = lm.encode(tokenizer, [office.PROMPTS[0]] * 2, texts)
gains = [reward_model.score(one, padded).diff().item() for one in (judge, long_judge)]
print("an empty sentence of five tokens, worth 0, raises the score more:", gains[1] > gains[0] + 0.2)
assert gains[1] > gains[0] + 0.2

# %% [markdown]
# More labels mend what even noise does to the order, but not a shared taste: the reward model has learnt nearly all of it. A policy that climbs this score will write long replies. On *these* labels the biased judge is even the better one; in the hidden order it is clearly worse. Only a measure that
# knows of length shows it.
#
# ### Scores of different prompts
#
# Add a different constant to the scores of each prompt. No loss and no accuracy changes, since pairs share a prompt; but the order *across* prompts does. Whoever filters data by "score above 1", or normalises over a batch of prompts, uses a number that no comparison has ever fixed.

# %% tags=["concept:reward-model-loss"]
_, which = torch.unique(test.prompts, dim=0, return_inverse=True)
offset = 2 * torch.randn(len(office.PROMPTS), generator=torch.Generator().manual_seed(3))[which]
moved = (scores.flatten() + offset).view(-1, 2)
before, after = (preferences.pairwise_loss(x, test_labels) for x in (scores, moved))
same = (before - after).abs().max()
# One reply of each half: nearly always of different prompts.
at_first, strange, worth = (x.flatten().view(2, -1).T for x in (scores, moved, golds))
began, across = (reward_model.accuracy(x, worth.argsort(1, descending=True)) for x in (at_first, strange))
print(f"the loss of no pair moves by more than 0.0001: {bool(same < 1e-4)}; "
      f"order across prompts: {began:.2f} before, {across:.2f} after")
assert same < 1e-4 and across < 0.8 and reward_model.accuracy(moved, test_labels) == on_labels

# %% [markdown]
# ## Exercises
#
# **1 · By pencil.** *★☆☆ · 5 minutes.* Three replies with weights $e^r=4,2,2$. How likely is it that an annotator ranks them: first, second, third?

# %% tags=["exercise"]
ranking_chance = ...

# %%
check.answer(
    ranking_chance, 0.25, atol=1e-6, mistakes={
        "kept everybody in every draw": 4 / 8 * 2 / 8 * 2 / 8, "stopped after the first choice": 0.5,
        "took all rankings for equally likely": 1 / 6})
assert abs(plackett_luce_logps(torch.tensor([[4.0, 2.0, 2.0]]).log(), torch.tensor([[0, 1, 2]])).exp() - 0.25) < 1e-6

# %% [markdown]
# <details><summary>Hint</summary>
#
# The first choice is among all three, the second among the two that are left.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# ranking_chance = 4 / 8 * 2 / 4
# ```
# </details>
#
# **2 · Undo the noise.** *★★☆ · 10 minutes.* You know that 20 % of all labels were turned round, evenly. In the labels reply a beats b in 68 % of the cases. What is the true difference of their strengths?

# %% tags=["exercise"]
true_gap = ...

# %%
check.answer(
    true_gap, math.log(4), atol=1e-3, mistakes={
        "took the labels as they are": math.log(0.68 / 0.32), "divided by 0.8": math.log(0.85 / 0.15),
        "gave the chance, not the strength": 0.8})
assert abs(0.8 * 0.8 + 0.2 * 0.2 - 0.68) < 1e-12

# %% [markdown]
# <details><summary>Hint</summary>
#
# With $p$ the true chance, the labels show $0.8\,p+0.2\,(1-p)$. Solve for $p$, then take the log-odds.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# p = (0.68 - 0.2) / (1 - 2 * 0.2)
# true_gap = math.log(p / (1 - p))
# ```
# $p=0.8$ and the gap is $\log4=1.386$; the labels as they are give 0.754.
# </details>
#
# ## Clinic: two losses that circulate
#
# Find the flaw *before* you read the verdict.
#
# **1.** *"Train the reward model with* $\max\ \mathbb E[\log\sigma(r_w)-\log\sigma(r_l)]$*."* Three replies with the wins from above, scores moved along the gradient of each loss:

# %% tags=["concept:reward-model-loss"]
def outside(chosen, rejected):
    """The loss of the quotation."""
    return -(torch.nn.functional.logsigmoid(chosen) - torch.nn.functional.logsigmoid(rejected))

def climbed(loss_of, steps):
    """Scores of the three replies after so many steps of gradient descent, and the mean loss."""
    table = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    for _ in range(steps):
        loss = (wins * loss_of(table[:, None].expand(3, 3), table.expand(3, 3))).sum() / wins.sum()
        (slope,) = torch.autograd.grad(loss, table)
        table = (table - 0.5 * slope).detach().requires_grad_()
    return table.detach(), loss.item()

# %% tags=["concept:reward-model-loss"]
for name, loss_of in (("inside ", bradley_terry_loss), ("outside", outside)):
    for steps in (500, 2000):
        table, loss = climbed(loss_of, steps)
        print(f"{name} after {steps} steps: scores", table.numpy().round(2), f" loss {loss:.2f}")
near, far = climbed(outside, 500), climbed(outside, 2000)
assert far[1] < 3 * near[1] < -1 and far[0][2] < 3 * near[0][2]
assert torch.allclose(climbed(bradley_terry_loss, 500)[0], newton.scores, atol=1e-3)

# %% tags=["concept:reward-model-loss"]
for low in (0.0, 10.0):
    pair = torch.tensor([low + 2]), torch.tensor([low + 1])
    print(f"scores {low + 2:.0f} and {low + 1:.0f}: inside {bradley_terry_loss(*pair).item():.4f}, "
          f"outside {outside(*pair).item():.6f}")
assert abs(outside(torch.tensor([2.0]), torch.tensor([1.0])).item() + 0.186334) < 1e-5

# %% [markdown]
# **Verdict.** Summed over the data, the wrong loss is $-\sum_y(\text{wins}_y-\text{losses}_y)\log\sigma(r_y)$: each reply for itself, and *unbounded*. A reply that lost more often than it won sinks for ever, at full speed, since $-\log\sigma(r)\approx-r$ far below: two of the three sink without end. A reply with more wins only rises. And
# it is not shift-invariant: the same lead counts 0.19 between 1 and 2, next to nothing between 11 and 12. Inside the logarithm the scores stop at the fit. A language model runs away likewise under the wrong loss; train it on 500 pairs with each:

# %% tags=["concept:reward-model-loss", "nbval-ignore-output"]
def spread(loss, passes):
    """Loss of the last step, and standard deviation of the scores over the replies that were learnt."""
    draws = torch.Generator().manual_seed(0)
    judge, few = lm.scalar(policy, seed=0), pool.replies.rows(slice(1000))
    settings = {"epochs": passes, "batch": 64, "lr": 1e-3, "max_norm": 1.0}
    run = reward_model.train(judge, few, labels[:500], loss, **settings, generator=draws)
    last = list(run)[-1].loss
    return last, reward_model.score(judge, few).std().item()

def wrong(scores, ranking):
    return outside(*scores.gather(1, ranking).T)

right_loss, right_spread = spread(preferences.pairwise_loss, 3)
wrong_loss, wrong_spread = spread(wrong, 3)
print(f"inside:  loss {right_loss:+.2f}, spread of the scores {right_spread:.1f}")
print(f"outside: loss {wrong_loss:+.2f}, spread of the scores {wrong_spread:.1f}")
assert right_loss > 0 and wrong_spread > 1.5 * right_spread

# %% [markdown]
# Three passes, and the wrong loss is already far below 0, with scores much wider spread.
#
# **2.** *"For rankings use* $\prod_{k=1}^K\dfrac{e^{r(x,y)}}{\sum_{j=k}^Ke^{r(x,y)}}$*, the PT model."* Take it at its word, for four replies:

# %% tags=["concept:plackett-luce"]
def unindexed(scores):
    """Log of the product, as quoted."""
    count, y = len(scores), scores[0]
    return sum(y - torch.stack([y] * (count - k)).logsumexp(0) for k in range(count))

table = torch.randn(4, generator=generator).requires_grad_()
(slope,) = torch.autograd.grad(unindexed(table), table)
(sound,) = torch.autograd.grad(plackett_luce_logps(table[None], torch.tensor([[0, 1, 2, 3]])).sum(), table)
print(f"as printed: likelihood {unindexed(table).exp():.6f}, 1/4! = {1 / 24:.6f}, "
      f"gradient at most {slope.abs().max():.6f}")
print(f"Plackett–Luce: gradient up to {sound.abs().max():.2f}")

# %% tags=["concept:plackett-luce"]
for count in (2, 3, 4, 6):
    table = torch.randn(count, generator=generator, dtype=torch.float64)
    assert abs(unindexed(table).exp() - 1 / math.factorial(count)) < 1e-12
assert slope.abs().max() < 1e-6 and sound.abs().max() > 0.1

# %% [markdown]
# **Verdict.** Without $\tau(k)$ and $\tau(j)$ every factor is $1/(K-k+1)$: the "likelihood" is $1/K!$ whatever the scores, and its gradient is 0. Nothing can be learnt, and no error tells. (And the name is PL, for Plackett and Luce.)
#
# ## Summary
#
# | symbol | what it is | function | where |
# |---|---|---|---|
# | $\sigma(r_a-r_b)$ | chance that a is preferred | `preferences.bradley_terry` | [Bradley–Terry](#Bradley–Terry) |
# | $-\log\sigma(r_w-r_l)$ | a reward model's loss | `preferences.bradley_terry_loss` | [gradient](#Use-it:-the-gradient-is-how-wrong-the-model-is) |
# | fit ± standard error | strengths from a table of wins | `preferences.fit_bradley_terry` | [fit](#The-fit) |
# | $P(\tau)$ | chance of a whole ranking | `preferences.plackett_luce_logps` | [Plackett–Luce](#K-answers-at-once:-Plackett–Luce) |
# | all pairs together | K(K−1)/2 losses, K passes | `preferences.pairwise_loss` | [together](#All-pairs-of-a-ranking,-in-one-batch-element) |
# | $r_\phi(x,y)$ | language model, one number at the end | `lm.scalar`, `loops.reward_model` | [reward model](#A-reward-model) |
# | κ | agreement beyond luck | | [agreement](#How-well-do-people-agree?) |
# | ECE | is 70 % really 70 %? | | [calibration](#Calibration:-does-70-%-mean-70-%?) |
#
# ## Quiz

# %%
check.quiz(
    "A reward model agrees with 77 % of held-out labels. What do you know?",
    ["It is wrong about 23 % of the pairs", "It beats guessing; how often it is right depends on the labels' noise",
     "It needs more data"], answer=1,
    why="The hidden reward itself agreed with fewer than 80 % here, while the model was right in about 90 % of the pairs.")

# %%
check.quiz(
    "You add 5 to every score of one prompt. What changes in the loss?",
    ["It grows by 5", "Nothing", "It depends on which reply was preferred"], answer=1,
    why="Only differences within a prompt count. For the same reason scores of different prompts cannot be compared.")

# %%
check.quiz(
    "A fifth of the labels is turned round at random. What does a perfect fit to endless labels look like?",
    ["The true strengths", "The true order, with all gaps too small", "The reverse order"], answer=1,
    why="Turned labels bring every pair's share of wins nearer to one half, so the fitted gaps are too small. Labels "
        "without end do not mend it; knowing the share of turned labels does.")

# %% [markdown]
# ## Sources
#
# - Zermelo 1929; Bradley & Terry 1952, *Rank analysis of incomplete block designs*; Ford 1957 (when a fit exists); Hunter 2004, *MM algorithms for generalized Bradley–Terry models*, equation 3.
# - Luce 1959, *Individual choice behavior*; Plackett 1975, *The analysis of permutations*; Yellott 1977 (noise that yields rankings); Xia et al. 2008 (listwise likelihood); Burges et al. 2005 and Cao et al. 2007 (pairwise and listwise losses).
# - Christiano et al. 2017, arXiv:1706.03741, equation 1: rewards from comparisons. Ouyang et al. 2022 (InstructGPT), arXiv:2203.02155, equation 1, sections 3.4 (agreement) and 3.5 (all pairs together).
# - Askell et al. 2021, arXiv:2112.00861: helpful, honest, harmless. Bai et al. 2022, arXiv:2204.05862: HH-RLHF, agreement, growth with data and size.
# - Touvron et al. 2023 (Llama 2), arXiv:2307.09288, equation 2: the margin. Jiang et al. 2023, arXiv:2306.02561: a model that reads pairs. Lambert et al. 2024, arXiv:2403.13787: reward models compared by accuracy.
# - Cohen 1960, *A coefficient of agreement for nominal scales*; Guo et al. 2017, arXiv:1706.04599: calibration. Wang et al. 2024, arXiv:2407.16216: kinds of feedback.
#
# Next: chapter 08, how to climb a learned reward without ruining the model.
