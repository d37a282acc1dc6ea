# ---
# jupyter:
#   course:
#     number: 6
#     slug: language_models
#     title: Language models as policies
#     question: "What does a language model look like as a policy?"
#     modules: [logprobs, lm]
#     explorer: temperature and top-k
#     read: 60
#     run: 100
# ---

# %% [markdown]
# # 06 · Language models as policies
#
# **What does a language model look like as a policy?**
#
# After this chapter you can
#
# - say what state, action, transition and reward are when a model writes a reply, word by word or as a whole;
# - compute the log-probability of a reply, with the shift, the mask and the denominator right;
# - draw replies with a temperature, top-k and top-p, and know which distribution they came from;
# - train a small language model on demonstrations down to a loss you know beforehand, and say what that cannot teach it.
#
# **Needs** [chapter 01](01_mdp.ipynb): the phrase world, values; [chapter 03](03_policy_gradient.ipynb): the policy gradient; a glance at [chapter 04](04_gae.ipynb). **Minutes** 60 to read and do, under 2 to run.

# %%
import math
import tempfile
import time

import torch
from IPython.display import clear_output
from torch.nn.functional import scaled_dot_product_attention
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerFast

from rlcore import check, kernels, lm, logprobs, masked, mdp
from rlcore.loops import desk, sft
from rlcore.view import plots, style
from rlcore.view.explore import explore, sampling
from rlcore.worlds import arithmetic, phrases
from rlcore.worlds import replies as office

torch.set_num_threads(1)                             # small tensors: a second thread only waits
torch.set_printoptions(precision=4, sci_mode=False, linewidth=110)

# %% [markdown]
# ## Before you run
#
# The letters of an untidy office are the training data: of the sentences in them 31 in 100 are rude. A model learns to copy them as well as it can be done. **What share of its own
# sentences is rude: fewer, because most sentences are not; about 31 in 100; or more?** And: can its loss fall to zero? Write both guesses down.

# %% [markdown]
# ## The smallest example, by hand
#
# A language model gives every *next word* a probability. Two words, *please* and *wait*, and EOS, which ends the reply; at most two words. After *please* the model says *wait*
# with 0.8. The reply *please wait* then has probability $0.5\cdot0.8=0.4$: a product over its words. There are seven replies in all.

# %% tags=["concept:autoregressive-language-model"]
chances = {"": {"please": 0.5, "wait": 0.25, "EOS": 0.25}, "please": {"please": 0.1, "wait": 0.8, "EOS": 0.1},
           "wait": {"please": 0.6, "wait": 0.0, "EOS": 0.4}}          # after two words the end is sure
seven = {"": chances[""]["EOS"]}
for first in ("please", "wait"):
    seven[first] = chances[""][first] * chances[first]["EOS"]
    for second in ("please", "wait"):
        seven[f"{first} {second}"] = chances[""][first] * chances[first][second]
print({reply: round(chance, 3) for reply, chance in seven.items()})
assert abs(seven["please wait"] - 0.4) < 1e-12 and abs(sum(seven.values()) - 1) < 1e-12

# %% [markdown]
# They sum to 1. A model that only ever answers "which word next?" is a distribution over *whole replies*, and nobody had to list them:
# $$\pi(y\mid x)=\prod_{t=1}^{T}\pi(y_t\mid x,y_{<t}),\qquad \log\pi(y\mid x)=\sum_{t=1}^{T}\log\pi(y_t\mid x,y_{<t}).$$
# That is what *autoregressive* means. $x$ is the prompt, $y_{<t}$ the reply so far, $T$ the number of tokens, EOS included where the model has to say it.
#
# ## Prompt → response: one format
#
# To a policy over text every task looks alike: a text comes in, a text goes out, somebody judges it. Three tasks of this course (in *make a number* the reply tries sums of two listed numbers and says of each whether it is low, high or right, *yes*):

# %% tags=["concept:prompt-response-format"]
problem = arithmetic.prompt(arithmetic.Problem(14, (13, 11, 2, 12)))
tasks = {
    "support desk": ("user : my bike is late . agent :", "i am so sorry about your bike .", office.gold),
    "make a number": (problem, "13 + 2 = 15 high 2 + 12 = 14 yes", arithmetic.reward)}
for name, (prompt, reply, judge) in tasks.items():
    print(f"{name}: {prompt} | {reply} | reward {judge(prompt, reply, ended=True)}")
world = phrases.Phrases()
earned = world.reward[2, world.index("sorry friend")].item()
print("phrase world: you are late | sorry friend | reward", earned)

# %% [markdown]
# Translation, summary, arithmetic, talk: one network, one loss, one sampler for all of them. First, words become numbers.

# %% tags=["concept:prompt-response-format"]
tokenizer = lm.tokenizer([*office.WORDS, *(word for word in arithmetic.WORDS if word not in office.WORDS)])
asked, replied = [prompt for prompt, _, _ in tasks.values()], [reply for _, reply, _ in tasks.values()]
both = lm.encode(tokenizer, asked, replied)
print(len(tokenizer), "tokens;", tokenizer.convert_ids_to_tokens(range(6)))
print("prompts\n", both.prompts.numpy(), "\nreplies\n", both.tokens.numpy())

# %% [markdown]
# Prompts are padded at the *left* (0 is `<pad>`), so that all replies begin in the same column; replies get EOS (1) and are padded at the right. Two masks say what is real. The tokenizer is a real one,
# `PreTrainedTokenizerFast` of the *transformers* library, only small: a word is a token. Large models cut rare words into pieces; the formulas below stay the same.

# %% tags=["concept:prompt-response-format"]
print("prompt mask\n", both.prompt_mask.int().numpy(), "\nreply mask\n", both.mask.int().numpy())
assert isinstance(tokenizer, PreTrainedTokenizerFast)
assert both.mask.sum(1).tolist() == [len(reply.split()) + 1 for _, reply, _ in tasks.values()]  # with EOS
assert lm.read(tokenizer, both) == [(prompt, reply) for prompt, reply, _ in tasks.values()]

# %% [markdown]
# ## Attention: a weighted look-up
#
# How does the network use the prefix? Every token number picks a learnt vector; three learnt matrices turn that vector into a query, a key and a value. Each position asks a *query* $q$; each position offers a *key* $k$ and a *value* $v$. Compare the query with all keys, turn the scores into
# weights, take the mean of the values: $\;\mathrm{softmax}(qk^\top/\sqrt d)\,v$. By hand, three tokens, $d=1$: keys $0,\ \log2,\ \log4$, values $10, 20, 40$, a query of 1. The scores become
# weights $\tfrac17,\tfrac27,\tfrac47$, and the answer is $(10+40+160)/7=30$.

# %% tags=["concept:autoregressive-language-model"]
keys, content = torch.tensor([1.0, 2.0, 4.0]).log(), torch.tensor([10.0, 20.0, 40.0])
weights = (1.0 * keys).softmax(-1)
print(weights.numpy().round(4), (weights @ content).item())
assert torch.allclose(weights * 7, torch.tensor([1.0, 2.0, 4.0])) and abs(weights @ content - 30) < 1e-5

# %% [markdown]
# A model that writes must not read what is not written yet. The **causal mask** sets the score of every later position to $-\infty$, so its weight is 0. All positions at once, with heads and
# batch in the axes before, and checked against PyTorch's own:

# %% tags=["concept:autoregressive-language-model"]
def attention(q, k, v):
    """Causal attention: [..., T, d] each → values [..., T, d] and weights [..., T, T]."""
    scores = q @ k.mT / q.shape[-1] ** 0.5
    later = torch.ones_like(scores, dtype=torch.bool).triu(1)
    weights = scores.masked_fill(later, -torch.inf).softmax(-1)
    return weights @ v, weights

q, k, v = torch.randn(3, 2, 4, 6, 16, generator=torch.Generator().manual_seed(0))   # [2, 4 heads, 6, 16]
answer, weights = attention(q, k, v)
print(weights[0, 0].numpy().round(2))
assert torch.allclose(answer, scaled_dot_product_attention(q, k, v, is_causal=True), atol=1e-6)

# %% [markdown]
# Row *t* is a distribution over tokens 0 … t; the first token can only look at itself. A **decoder-only transformer** stacks such layers with small feed-forward networks between them, each *added* to what came in, and ends in one
# logit per token of the vocabulary. Attention alone hardly knows the order of words: queries and keys are turned by an angle that grows with the position (`rope` below). Not written by us: *transformers* has the classes, and `lm.build` calls its Llama with a tiny configuration.

# %% tags=["concept:autoregressive-language-model"]
tokenizer = lm.tokenizer(office.WORDS)
SIZE = {"hidden": 64, "layers": 2, "heads": 4, "context": 64}
fresh = lm.build(tokenizer, **SIZE, seed=0)
V = len(tokenizer)
print(type(fresh).__name__, f"{sum(p.numel() for p in fresh.parameters()):,} parameters, {V} tokens")
check.show(lm.build)

# %% [markdown]
# Two facts that every formula below leans on. Change the last word of a reply: the logits before it do not move, not by one bit. And padding at the left does not matter.

# %% tags=["concept:autoregressive-language-model"]
prompt = "user : my bike is late . agent :"
one, other = (lm.encode(tokenizer, [prompt], [f"we will send a new {thing}"]) for thing in ("bike", "lamp"))
with torch.no_grad():
    moved = (lm.logits(fresh, one) - lm.logits(fresh, other)).abs().amax(-1)[0]      # [T]
    alone = lm.logits(fresh, one)
    padded = lm.encode(tokenizer, [prompt, "please " * 20 + ":"], ["we will send a new bike"] * 2)
    beside = lm.logits(fresh, padded)
print("change at each token:", moved.numpy().round(3))
assert (moved[:6] == 0).all() and moved[6] > 0.1
assert torch.allclose(alone[0], beside[0], atol=1e-5) and not torch.allclose(alone[0], beside[1], atol=1e-2)

# %% [markdown]
# Only the logits at EOS, which were made *after* reading the changed word, move. A model and its tokenizer live in a folder, in the format everybody reads. `lm.save` writes two bytes per parameter, *half precision*, so the logits change a little:

# %%
with tempfile.TemporaryDirectory() as folder:
    lm.save(fresh, tokenizer, folder)
    again, _ = lm.load(folder)
with torch.no_grad():
    worst = (lm.logits(again, one) - alone).abs().max()
print(f"largest change of a logit after saving and loading: below 0.02: {bool(worst < 0.02)}")
assert worst < 0.02

# %% [markdown]
# ## The token MDP
#
# ![The reply "please wait" twice: as three actions in a chain of states with one reward at the end, and as one action with one reward](../figures/06_two_views.svg)
#
# Reading the model as a policy takes no new idea:
#
# | | token by token | the reply as a whole |
# |---|---|---|
# | state | prompt and reply so far, $s_t=(x,y_{<t})$ | the prompt $x$ |
# | action | the next token, $a_t=y_t$ | the reply $y$ |
# | transition | append: $s_{t+1}=(x,y_{\le t})$, for sure | none |
# | reward | 0, and $r(x,y)$ with the last token | $r(x,y)$ |
# | policy | $\pi(y_t\mid x,y_{<t})$ | $\pi(y\mid x)$, their product |
# | discount | γ = 1 | none |
# | name | **token MDP** | **contextual bandit** |
#
# The transition adds no luck and no parameters; all that is random is the policy. (That it is *certain* is not why it drops out of the policy gradient: it does so because it does not depend on $\theta$.) On
# the phrase world both are small enough to solve. (The reward here is *sparse*. In chapter 08 every token also pays for leaving the SFT model, and the reward is dense; say which one you mean.)

# %% tags=["concept:token-level-mdp", "concept:contextual-bandit"]
tree = world.to_mdp()
best_value = mdp.value_iteration(tree, tol=1e-9).v[world.roots]
best_reply = world.reward.max(-1)
print(f"MDP: {tree.rewards.shape[0]} states, {phrases.V} actions; "
      f"bandit: {phrases.P} contexts, {phrases.N} actions")
print("best value ", best_value.numpy().round(3), "\nbest reward", best_reply.values.numpy().round(3))
assert torch.equal(tree.transitions, tree.transitions.round()) and tree.gamma == 1    # append, for sure
assert torch.allclose(best_value, best_reply.values, atol=1e-8)

# %% [markdown]
# The same optimum: a best reply is a best path. The two views differ in what an *estimate* may use.
#
# ### One optimum, different noise
#
# One reply is drawn, and the gradient of $\log\pi$ of each of its tokens is weighted. The bandit knows one number per prompt: it may subtract $V(x)$. The MDP knows a value at every prefix: it may
# subtract $V(s_t)$, or use the advantage. All have the same mean. You met these variances in chapter 03; now by
# view. The gradient is in the table of logits, the prompt is fixed, and the variance is exact, over all 781 replies, then averaged over the three prompts:

# %% tags=["concept:contextual-bandit"]
logits = world.reference_logits()            # [P, S, V]: 3 prompts, 156 prefixes, here V = 6 tokens; float64
pi, states, tokens, mask = logits.softmax(-1), world.states, world.tokens, world.mask
prob, q = world.logps(logits).exp(), world.q_values(logits)            # [P, N]: 781 replies; [P, S, V]
v = (pi * q).sum(-1)                                                   # [P, S]; v[:, 0] is V(x)

def mean_and_variance(weight):
    """Of the gradient from one reply, whose tokens have weights [P, N, 4]: mean, total variance."""
    score = torch.eye(phrases.V, dtype=pi.dtype)[tokens] - pi[:, states]                 # [P, N, 4, V]
    each = torch.where(mask, weight, 0.0)[..., None] * score
    mean = torch.zeros_like(pi)                                                          # [P, S, V]
    mean.index_add_(1, states.flatten(), (prob[..., None, None] * each).flatten(1, 2))
    squared = (prob * each.square().sum((-1, -2))).sum(1)       # no reply meets a prefix twice
    return mean, (squared - mean.square().sum((-1, -2))).mean()

# %% tags=["concept:contextual-bandit"]
reward = world.reward[..., None].expand(-1, -1, 4)
weights = {"bandit: r": reward, "bandit: r − V(x)": reward - v[:, :1, None],
           "MDP: r − V(s)": reward - v[:, states], "MDP: A(s, a)": (q - v[..., None])[:, states, tokens]}
found = {name: mean_and_variance(weight) for name, weight in weights.items()}
for name, (mean, variance) in found.items():
    print(f"{name:17} length of the mean {mean.norm():.4f}   variance {variance:.3f}")
assert all(torch.allclose(mean, found["bandit: r"][0], atol=1e-12) for mean, _ in found.values())
spread = [variance.item() for _, variance in found.values()]
assert spread == sorted(spread, reverse=True) and spread[-1] < 0.35 * spread[1]

# %% [markdown]
# Same mean; the advantage has a third of the variance of the best bandit estimate. That is what an *exact* critic buys; a learned one is noisier and may be biased (chapters 04 and 08). A method without one pays with more replies per
# prompt (chapter 11).
#
# ### Who earned it? Credit assignment
#
# The reward comes with the last token, but it is decided before. Take *hello whatever*, when someone arrives:

# %% tags=["concept:sparse-reward-credit-assignment"]
n = world.index("hello whatever")
steps = mask[n].sum()
advantages = (q - v[..., None])[0, states[n], tokens[n]][:steps]
for token, paid, better in zip(["hello", "whatever", "EOS"], [0, 0, world.reward[0, n].item()], advantages):
    print(f"{token:9} reward {paid:+.2f}   advantage {better:+.2f}")
assert advantages[0] > 0 > advantages[1] and abs(advantages.sum() - (world.reward[0, n] - v[0, 0])) < 1e-12

# %% [markdown]
# The reward, +0.10, stands beside EOS. The advantages tell the story: *hello* was good, *whatever* spoiled it, and stopping then was right. They sum to $r-V(x)$: a way of dividing up what the bandit
# sees as one number. [Chapter 04](04_gae.ipynb) estimates them from samples.
#
# ## The log-probability of a reply
#
# ![Six boxes of tokens; the logits made at each box are those of the next token, so the logits from the prompt's last token belong to the reply's first](../figures/06_shift.svg)
#
# The network gives logits *after* each token. They belong to the *next* one: the logits made at the prompt's last token are what the reply's first token was drawn from, and those made at the
# reply's last token are of no use. `lm.logits` shifts once and for all: what it returns at t is what $y_t$ was drawn from. Then there is nothing left but a normalised logit.
#
# ### Write it: `token_logps`
#
# *Difficulty ★☆☆ · importance ★★★ · 5 minutes.* `logits` [B, T, V] are already shifted, `tokens` [B, T]. Return [B, T].

# %% tags=["exercise"]
@check.exercise(logprobs.token_logps)
def token_logps(logits, tokens):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# `log_softmax` over the last axis, then `gather` there; `tokens[..., None]` has the axis that `gather` wants.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def token_logps(logits, tokens):
#     return logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
# ```
# </details>
#
# ### Use it: tokens, replies, batches

# %% tags=["concept:autoregressive-language-model"]
texts = ["please wait .", "i am so sorry about your bike . we will send a new bike today .", "go away !"]
some = lm.encode(tokenizer, [prompt] * 3, texts)
with torch.no_grad():
    logps = token_logps(lm.logits(fresh, some), some.tokens)           # [B, T]
whole = logprobs.sequence_logps(logps, some.mask)                      # [B]
for (_, reply), row, real, total in zip(lm.read(tokenizer, some), logps, some.mask, whole):
    print(f"{int(real.sum()):2} tokens, log π = {total:7.2f}   {reply}")
    assert abs(sum(row[real].tolist()) - total) < 1e-3

# %% [markdown]
# The log-probability of a reply is the *sum* over its tokens, and every further token can only lower it: a long reply usually has a lower one than a short one. (Not always: *please wait* had 0.4 above,
# *please* alone 0.05, because there EOS is unlikely.) A network that knows nothing spends a little more than $\log V=4.3$ nats on each token.
#
# A *mean* needs a denominator. Behind a row's end stands padding, for which the network also says something. It must not count, neither in the sum nor in the number you divide by:

# %% tags=["concept:supervised-fine-tuning"]
right = masked.mean_over_tokens(-logps, some.mask)
print(f"mean over real tokens {right:.3f}; over all columns {-logps.mean():.3f}; "
      f"zeroed, but divided by all {(-logps * some.mask).mean():.3f}")
assert abs(right + whole.sum() / some.mask.sum()) < 1e-5 and (-logps * some.mask).mean() < 0.9 * right

# %% [markdown]
# (Over all columns looks harmless only because an untrained network is as lost about padding as about words.) The three denominators of `rlcore.masked` (all tokens, each reply by its own length, a constant) matter again in chapter 11. For likelihood it is the first.
#
# ## Sampling: temperature, top-k, top-p
#
# $$\pi_\tau(a)\propto e^{z_a/\tau},\qquad z_a\text{ the logit of token }a,\quad\tau\text{ the temperature.}$$
# Three tokens with probabilities 0.5, 0.3, 0.2. At $\tau=½$ every probability is squared and then normalised: 0.25, 0.09, 0.04 over 0.38. At τ → 0 only the likeliest is left, at τ → ∞ all are equal. **Top-k** keeps the
# k likeliest. **Top-p** keeps the likeliest that *together reach* p: here, for p = 0.6, the first two, because one alone has not reached it.
#
# ### Write it: `narrowed`
#
# *Difficulty ★★☆ · importance ★★☆ · 12 minutes.* Return logits, $-\infty$ for what cannot come: first divide by the temperature, then top-k, then top-p of what top-k left. `top_k` may be None. The
# token that crosses p stays in. Of equal tokens the first ones count as likelier.

# %% tags=["exercise"]
@check.exercise(logprobs.narrowed)
def narrowed(logits, temperature, top_k=None, top_p=1.0):
    ...

# %% [markdown]
# <details><summary>Hint</summary>
#
# Sort once: `ranked, order = logits.sort(dim=-1, descending=True, stable=True)`. A token is out if the probabilities of the tokens *ahead* of it reach p: `chances.cumsum(-1) - chances >= top_p`.
# Back into place: `torch.empty_like(logits).scatter(-1, order, ranked)`.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def narrowed(logits, temperature, top_k=None, top_p=1.0):
#     ranked, order = (logits / temperature).sort(dim=-1, descending=True, stable=True)
#     if top_k is not None:
#         ranked[..., top_k:] = -torch.inf
#     chances = ranked.softmax(-1)
#     if top_p < 1:
#         ranked = ranked.masked_fill(chances.cumsum(-1) - chances >= top_p, -torch.inf)
#     return torch.empty_like(logits).scatter(-1, order, ranked)
# ```
# </details>
#
# ### Use it: what was drawn, and how likely it was

# %%
three = torch.tensor([0.5, 0.3, 0.2]).log()
ways = {"τ = 1": {}, "τ = ½": {"temperature": 0.5}, "top-k 2": {"top_k": 2}, "top-p 0.6": {"top_p": 0.6}}
for name, way in ways.items():
    print(f"{name:9}", narrowed(three, **{"temperature": 1.0} | way).softmax(-1).numpy().round(3))
squared = narrowed(three, 0.5).softmax(-1)
assert torch.allclose(squared, torch.tensor([0.25, 0.09, 0.04]) / 0.38)

# %% [markdown]
# Top-k and top-p drop tokens *and raise the others*: 0.5 became 0.625. Now draw replies from the untrained network. `lm.sample` hands back the log-probability each token had when it was drawn; a fresh
# pass over the finished text must find the same numbers.

# %% tags=["concept:autoregressive-language-model"]
asked = lm.encode_prompts(tokenizer, [prompt, office.PROMPTS[0]])
settings = {"temperature": 0.7, "top_k": 20, "top_p": 0.9}
drawn = lm.sample(fresh, asked, longest=12, generator=torch.Generator().manual_seed(0), **settings)
for _, reply in lm.read(tokenizer, drawn):
    print(reply)
with torch.no_grad():
    again = token_logps(narrowed(lm.logits(fresh, drawn), **settings), drawn.tokens)
    plain = lm.logps(fresh, drawn)
print(f"as drawn {drawn.logps.sum():.2f}, fresh pass {again[drawn.mask].sum():.2f}, "
      f"fresh pass without the settings {plain[drawn.mask].sum():.2f}")
assert torch.allclose(again[drawn.mask], drawn.logps[drawn.mask], atol=1e-5)

# %% [markdown]
# Word salad, as it should be. And a trap: the same tokens have two log-probabilities. Whoever draws with a temperature and trains as if they had not compares two different policies. In this course
# replies that are learnt from are drawn at τ = 1.

# %% [markdown]
# ## Explorer: temperature and top-k
#
# A model that has been trained as you will train one in a minute. Left: the ten likeliest next tokens; the black strokes are the model, the bars what is drawn from. Right: five samples.

# %%
explore(sampling.draw, **sampling.controls())

# %% [markdown]
# **Try it.** Set the temperature to 0.2, then to 3: what becomes of the samples? Set it to 1 and top-k to 1: how many different samples are left? With the reply so far *i am so sorry about your*, τ = 1 and
# all tokens: how often is the *wrong* thing named, and which temperatures make that rarer, or more frequent?
#
# <details><summary>What you should see</summary>
#
# Cold samples are short, safe and alike; at 3 they are word salad, because every token of the vocabulary gets a share of what the model had kept for a few. With top-k 1 all five are the same reply. At τ = 1 the right thing comes
# in about 85 of 100 replies, because the office named the wrong one in 15; at 0.2 it comes practically always, at 3 in one of five. A temperature below 1 hides what the data did wrong. It does not know that it was wrong.
# </details>

# %%
def chance_of(thing, temperature):
    _, words = sampling.policy()
    spoken = sampling.speak(sampling.PROMPTS[0], "i am so sorry about your", temperature, sampling.TOKENS)
    return spoken.chances[words.convert_tokens_to_ids(thing)].item()

named = {temperature: chance_of("phone", temperature) for temperature in (0.2, 1.0, 3.0)}
print({temperature: round(chance, 2) for temperature, chance in named.items()})
assert abs(named[1.0] - office.RIGHT_ITEM) < 0.06 and named[0.2] > 0.999 and named[3.0] < 0.3
assert len(set(sampling.speak(sampling.PROMPTS[0], sampling.NOTHING, 1.0, 1).said)) == 1

# %% [markdown]
# ## Supervised fine-tuning
#
# Demonstrations are prompts with replies that somebody wrote. **SFT** raises their log-probability, token by token:
# $$\mathcal L(\theta)=-\frac{\sum_{b,t}m_{bt}\,\log\pi_\theta(y_{bt}\mid x_b,y_{b,<t})}{\sum_{b,t}m_{bt}} .$$
# ($m_{bt}$ is the reply mask: 1 for a real token, 0 for padding.) It is maximum likelihood, also called cross-entropy. In the mean over the data, per reply, it is
# $$\mathbb E[-\log\pi_\theta(y\mid x)]=H(\text{data})+\mathrm{KL}(\text{data}\Vert\pi_\theta)\;\ge\;H(\text{data}),$$
# so the loss has a floor, the **entropy** $H$ of the replies given their prompt, and reaches it only when the model *is* the data's distribution. For real text nobody knows the floor. Here the office follows rules, so every letter's
# probability is known:

# %% tags=["concept:supervised-fine-tuning"]
floor = office.demonstration_entropy()
held_out = desk.demonstrated(tokenizer, 2000, torch.Generator().manual_seed(99))
true_logps = torch.tensor([office.demonstration_logp(*pair) for pair in lm.read(tokenizer, held_out)])
print(f"entropy {floor:.3f} nats a reply; mean of −log on 2,000 letters {-true_logps.mean():.3f} "
      f"± {true_logps.std() / 2000**0.5:.3f}")
for asked_for, reply in lm.read(tokenizer, held_out)[:4]:
    print(f"   {asked_for.removeprefix('user : my ').removesuffix(' . agent :')} → {reply}")
assert abs(-true_logps.mean() - floor) < 3 * true_logps.std() / 2000**0.5

# %% [markdown]
# ### Train it: three seeds
#
# 300 steps, each with 64 new letters, about 18 seconds a seed. What one step is:

# %%
check.show(sft.train)

# %%
STEPS, SEEDS = 300, 3

def trained(seed):
    """A model, and its loss per reply at every step."""
    generator, model = torch.Generator().manual_seed(seed), lm.build(tokenizer, **SIZE, seed=seed)
    letters = (desk.demonstrated(tokenizer, 64, generator) for _ in range(STEPS))
    run = sft.train(model, letters, steps=STEPS, lr=5e-3, weight_decay=0.01, max_norm=1.0)
    return model, [record.reply_loss for record in tqdm(run, total=STEPS, desc=f"seed {seed}", leave=False)]

# %% tags=["concept:supervised-fine-tuning", "nbval-ignore-output"]
runs = [trained(seed=0)]
clear_output()                                       # of the progress bar

# %% [markdown]
# And twice more from other first parameters, with other letters:

# %% tags=["concept:supervised-fine-tuning", "nbval-ignore-output"]
runs += [trained(seed) for seed in range(1, SEEDS)]
clear_output()
policies, curves = zip(*runs)

# %% [markdown]
# How far above the floor? The luck of the 2,000 held-out letters cancels if each letter's true log-probability is subtracted: what is left estimates $\mathrm{KL}(\text{data}\Vert\pi_\theta)$.

# %% tags=["concept:supervised-fine-tuning", "nbval-ignore-output"]
excess = []
for seed, model in enumerate(policies):
    with torch.no_grad():
        own = logprobs.sequence_logps(lm.logps(model, held_out), held_out.mask)
    gap = true_logps - own                                             # [2000] nats
    excess.append((gap.mean().item(), (gap.std() / 2000**0.5).item()))
    print(f"seed {seed}: loss {-own.mean():.3f} on the letters, "
          f"{excess[-1][0]:.3f} ± {excess[-1][1]:.3f} above the floor")

# %% tags=["concept:supervised-fine-tuning"]
assert all(gap > -error for gap, error in excess)                      # below the floor there is nothing
assert max(gap for gap, _ in excess) < 0.035 * floor                   # the worst of three
print(f"all {SEEDS} seeds: within 3.5 % above the entropy of {floor:.2f} nats")

# %% tags=["nbval-ignore-output"]
fig, ax = plots.figure(height=2.7)
for seed, (curve, dash) in enumerate(zip(curves, ("-", "--", ":"))):
    look = {"color": style.COLOR["policy"], "linewidth": 1.1, "label": f"seed {seed}"}
    ax.plot(range(1, STEPS + 1), curve, dash, **look)
plots.exact(ax, floor, "entropy of the data")
ax.set(xlabel="step", ylabel="loss (nats per reply)", ylim=(0, 30))
ax.set_title("The loss falls to the entropy of the data, and stays above zero")
ax.legend()
plots.show(plots.caption(fig, f"Loss per reply on fresh letters, three seeds: from {curves[0][0]:.0f} nats "
    f"it falls towards {floor:.2f}, the exact entropy of the letters; in the end the worst seed is "
    f"{max(gap for gap, _ in excess):.2f} nats above it."))

# %% [markdown]
# Single batches lie below the line: 64 letters can be easier than the average. The mean does not. So the loss does *not* go to zero: seven nats a reply is what the office's own whims are worth. The same prompts, before and after:

# %% tags=["concept:supervised-fine-tuning", "nbval-ignore-output"]
asked = lm.encode_prompts(tokenizer, office.PROMPTS[1:24:5])
for name, model in (("before", fresh), ("after", policies[0])):
    said = lm.sample(model, asked, longest=18, temperature=1.0, generator=torch.Generator().manual_seed(1))
    print(name)
    for asked_for, reply in lm.read(tokenizer, said):
        print("  ", asked_for.removeprefix("user : my ").removesuffix(" . agent :"), "→", reply)

# %% [markdown]
# ## What SFT cannot do
#
# The model writes like the office. *All* of the office: back to the first question. A count over the rules gives the share of rude sentences in the letters; sampling gives the model's.

# %% tags=["concept:limits-of-sft"]
sentences = sum(share * number for number, share in office.COUNTS.items())          # in a letter, on average
rude = {mood: sum(kind == "rude" for kind in mood for _ in office.WORTH[kind])
        / sum(len(office.WORTH[kind]) for kind in mood) for mood in office.MOODS}
in_data = sum(share * rude[mood] for mood, share in office.MOODS.items())
print(f"{sentences:.1f} sentences a letter, {in_data:.4f} of them rude")
assert abs(in_data - 0.3125) < 1e-12

# %% tags=["concept:limits-of-sft"]
def rude_share(replies):
    said = [text for _, reply in lm.read(tokenizer, replies) for text in office.parse(reply).sentences]
    return sum(text in office.WORTH["rude"] for text in said) / len(said)

everybody = lm.encode_prompts(tokenizer, office.PROMPTS * 100)                        # 2,400 prompts
written = [lm.sample(model, everybody, longest=desk.LONGEST, temperature=1.0,
                     generator=torch.Generator().manual_seed(seed)) for seed, model in enumerate(policies)]
shares = [rude_share(replies) for replies in written]
print(f"rude in the data {in_data:.0%}; within 3 points of it in all three models: "
      f"{all(abs(share - in_data) < 0.03 for share in shares)}")
assert all(abs(share - in_data) < 0.03 for share in shares)

# %% [markdown]
# **31 % in, 32 or 33 % out:** within 3 points on every seed, and by no means fewer. The loss asks for the same distribution and is content with nothing else; that most sentences are not rude does not make the rest a mistake. Now somebody *judges* the replies. The
# office has a hidden, exact taste: `office.gold`.

# %% tags=["concept:limits-of-sft", "nbval-ignore-output"]
print("rude in the models:", ", ".join(f"{share:.1%}" for share in shares))
gold = torch.stack([desk.gold(tokenizer, replies) for replies in written])            # [3, 2400]
of_data = desk.gold(tokenizer, held_out)
best_of = gold.view(SEEDS, 100, 24)[:, :96].view(SEEDS, 6, 16, 24).amax(2).mean((1, 2))
print(f"mean reward: data {of_data.mean():.2f}, models", gold.mean(1).numpy().round(2),
      "| best of 16 of the model's own replies", best_of.numpy().round(2))
for rank in gold[0].sort().indices[[0, 1200, -1]]:
    print(f"{gold[0, rank]:+.1f}  {lm.read(tokenizer, written[0].rows(rank[None]))[0][1]}")

# %% tags=["concept:limits-of-sft"]
assert (gold.mean(1) - of_data.mean()).abs().max() < 0.25                             # as good as its data
assert best_of.min() > gold.mean(1).max() + 1.5                                     # and far better at times

# %% [markdown]
# On average the model is as good as its data. But it *can* write far better replies: the best of sixteen of its own is worth 1.8 on average. It has no reason to prefer them. Demonstrations say "this is
# what one says"; a **reward** says "this is better than that", also about replies that nobody has demonstrated.
#
# | stage | learns from | loss or objective | adds | cannot |
# |---|---|---|---|---|
# | pretraining | any text | −log π of *every* token | words, grammar, facts | do a task: answers a question with a question |
# | SFT | prompts with replies | −log π of the *reply's* tokens | the format, the manner | tell good demonstrations from bad ones |
# | RL | prompts with a judge | expected reward, near the SFT model | prefers what is judged better, tries what was not shown | be better than its judge (chapter 08) |
#
# ### The same with a larger model
#
# `lm.load` takes any folder with a causal language model of *transformers*, and, only if you say so, a name on the Hugging Face hub. No chapter downloads anything. With internet and 0.3 GB you would write
#
# ```python
# model, tokenizer = lm.load("HuggingFaceTB/SmolLM2-135M", hub=True)
# ```
#
# and everything above that begins with `lm.`, `logprobs.` or `sft.` works on it, slowly. One thing to mind: its tokens carry their blank in front, so give replies as `" please wait"`. Without `hub=True` a name is refused:

# %%
try:
    lm.load("HuggingFaceTB/SmolLM2-135M")
except ValueError as refusal:
    print(refusal)
else:
    raise AssertionError("a name was taken for a folder")

# %% [markdown]
# ## Fast: reading once, and not writing down
#
# ### The KV cache
#
# To draw token t the model needs keys and values of all tokens before. They do not change (you saw it: later words leave earlier numbers alone). So keep them, and feed *one* token per step. Without:

# %%
@torch.no_grad()
def sample_slowly(model, prompts, longest, generator):
    """As lm.sample at temperature 1 for prompts of equal length, but reading the whole text at every step."""
    text, alive, drawn = prompts.tokens, torch.ones(len(prompts.tokens), dtype=torch.bool), []
    while len(drawn) < longest and alive.any():
        chances = model(input_ids=text, use_cache=False).logits[:, -1].softmax(-1)
        token = torch.multinomial(chances, 1, generator=generator)[:, 0]
        drawn.append(torch.where(alive, token, tokenizer.pad_token_id))
        alive = alive & (token != tokenizer.eos_token_id)
        text = torch.cat([text, drawn[-1][:, None]], 1)
    return torch.stack(drawn, 1)

# %%
crowd, times = lm.encode_prompts(tokenizer, office.PROMPTS * 8), {}
for name, draw in (
        ("with cache", lambda g: lm.sample(
            policies[0], crowd, longest=40, temperature=1.0, generator=g).tokens),
        ("without", lambda g: sample_slowly(policies[0], crowd, 40, g))):
    started = time.perf_counter()
    times[name] = draw(torch.Generator().manual_seed(0)), time.perf_counter() - started
cached, uncached = times["with cache"][0], times["without"][0]
print("the same tokens:", torch.equal(cached, uncached), list(cached.shape))
assert torch.equal(cached, uncached)

# %% tags=["nbval-ignore-output"]
for name, (found_tokens, seconds) in times.items():
    print(f"{name:10} {len(found_tokens) / seconds:7.0f} replies a second")

# %% [markdown]
# The same tokens, several times as fast. Without the cache a reply of $T$ tokens makes the network read about $T^2/2$ tokens beyond the prompt, with it $T$: so the gap should grow with the length.
#
# ### Log-probabilities that never hold all logits
#
# In training the largest tensor is often no weight but the logits, [B, T, V]. With 128,000 tokens in the vocabulary and 8 replies of 1,000 tokens they take 4 GB in float32, and several copies of them are alive in
# the backward pass. But only *one number per token* is wanted. So go through the tokens in portions, and make the portion's logits again when the gradient needs them. To count bytes, watch every
# tensor from birth to death:

# %%
import weakref
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

class Bytes(TorchDispatchMode):
    """Bytes of the tensors made inside that are alive, and the most there were at a time."""
    now = most = 0
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for x in tree_leaves(made):
            if isinstance(x, torch.Tensor) and not hasattr(store := x.untyped_storage(), "counted"):
                store.counted = True
                self.now += store.nbytes()
                weakref.finalize(store, self.free, store.nbytes())
        self.most = max(self.most, self.now)
        return made
    def free(self, size):
        self.now -= size

# %%
generator = torch.Generator().manual_seed(0)
hidden, matrix = (torch.randn(*shape, generator=generator) for shape in ((16, 256, 64), (8000, 64)))
wanted = torch.randint(8000, (16, 256), generator=generator)
def plainly(hidden, matrix, tokens):
    return logprobs.token_logps(hidden @ matrix.T, tokens)

fused = kernels.best(logprobs.linear_token_logps, like=hidden)
results = {}
for name, form in (("plain", plainly), ("fused", fused)):
    leaves = [x.clone().requires_grad_() for x in (hidden, matrix / 8)]
    with Bytes() as memory:
        logps = form(*leaves, wanted)
        gradients = torch.autograd.grad(logps.mean(), leaves)
    results[name] = [logps.detach(), *gradients], memory.most / 1e6

# %%
for name, (_, megabytes) in results.items():
    print(f"{name} {megabytes:6.0f} MB at most, forward and backward")
print(f"all logits alone {16 * 256 * 8000 * 4 / 1e6:.0f} MB; fused is {fused.__module__}")
for one_form, other_form in zip(results["plain"][0], results["fused"][0]):
    assert torch.allclose(one_form, other_form, atol=1e-5)
assert results["fused"][1] < results["plain"][1] / 4

# %% [markdown]
# The numbers agree, with a fraction of the memory; the price is one more multiplication by the matrix. On large vocabularies this decides how long a batch may be.
#
# ## What breaks
#
# ### Padding on the wrong side
#
# A tokenizer that pads at the right, as most do by default, puts padding where generation begins. The last column of the shorter row is then no word at all:

# %%
pair = [prompt, prompt + " hello ! i am"]
short = lm.encode(tokenizer, pair[:1], [""])
wrong_side = tokenizer(pair, padding=True, padding_side="right", return_tensors="pt")
with torch.no_grad():
    said = policies[0](**wrong_side).logits[0, -1].softmax(-1)
    meant = lm.logits(policies[0], short)[0, 0].softmax(-1)
off = (said - meant).abs().sum() / 2
print("the shorter row ends in", tokenizer.convert_ids_to_tokens(wrong_side["input_ids"][0, -2:].tolist()))
print(f"more than a fifth of the next token's probability is in the wrong place: {bool(off > 0.2)}")
assert off > 0.2                                     # total variation distance

# %% [markdown]
# No error, and called like this no warning (`generate` of *transformers* gives one): every prompt but the longest is answered as if padding were its last word.
#
# ### Cut off is not ended
#
# At five tokens the sampler stops. What it has is no reply: there is no EOS, its log-probability is that of a *beginning*, and the office pays an unfinished letter 1 less.

# %% tags=["concept:token-level-mdp"]
stopped = lm.sample(policies[0], lm.encode_prompts(tokenizer, [prompt] * 200), longest=5, temperature=1.0,
                    generator=torch.Generator().manual_seed(0))
cut = ~stopped.ended
print("some of both kinds:", bool(cut.any() and stopped.ended.any()))
assert not (stopped.tokens[cut] == tokenizer.eos_token_id).any()
for (asked_for, reply), ended in zip(lm.read(tokenizer, stopped), stopped.ended.tolist()):
    assert office.terms(asked_for, reply, ended)["unfinished"] == (0 if ended else -1)

# %% [markdown]
# Whether it is a state from which to *bootstrap* (chapter 04) or a failure to be paid for is your decision; but the row has to say which it was.
#
# ## Exercises
#
# **1 · Perplexity.** *★☆☆ · 5 minutes.* The perplexity of a model is $e^{\text{loss per token}}$: among how many equally likely words it hesitates, on average. What is the perplexity of a *perfect* model of
# the letters in `held_out`? Use `floor` and the mask.

# %% tags=["exercise"]
perplexity = ...

# %%
check.answer(
    perplexity, math.exp(floor * 2000 / held_out.mask.sum().item()), atol=1e-3, mistakes={
    "forgot to divide by the tokens": math.exp(floor),
    "divided by all columns, padding included": math.exp(floor / held_out.mask.shape[1]),
    "took 2 to the power of nats": 2 ** (floor * 2000 / held_out.mask.sum().item())})
assert 1.7 < math.exp(floor * 2000 / held_out.mask.sum().item()) < 1.9

# %% [markdown]
# <details><summary>Hint</summary>
#
# `floor` is per reply. How many tokens does a reply have, on average, EOS included?
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# perplexity = math.exp(floor / (held_out.mask.sum().item() / 2000))
# ```
# About 1.8: most words of a sentence are sure once it has begun.
# </details>
#
# **2 · By pencil.** *★☆☆ · 3 minutes.* Four tokens have probabilities 0.5, 0.3, 0.15, 0.05. You draw with top-p 0.9. How likely is the second token?

# %% tags=["exercise"]
second_token = ...

# %%
check.answer(
    second_token, 0.3 / 0.95, atol=1e-4, mistakes={
    "did not renormalise": 0.3, "left out the token that crosses 0.9": 0.375, "divided by p": 0.3 / 0.9})
four = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
assert abs(narrowed(four, 1.0, top_p=0.9).softmax(-1)[1] - 0.3 / 0.95) < 1e-6

# %% [markdown]
# <details><summary>Hint</summary>
#
# 0.5 + 0.3 has not reached 0.9; with the third it has. What do the three sum to?
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# second_token = 0.3 / (0.5 + 0.3 + 0.15)
# ```
# </details>

# %% [markdown]
# ## Clinic: find the bug
#
# Four lines from code and texts that circulate. Find the flaw *before* you read the verdict.
#
# **1.** *`loss = cross_entropy(model(text).logits, text)`: "the model's logits against the tokens".* Train a fresh model so, for 60 steps:

# %% tags=["concept:supervised-fine-tuning"]
def tuned(loss_of, steps=60, seed=0):
    """A fresh model after some steps down a loss of model and letters, and the last loss."""
    model, generator = lm.build(tokenizer, **SIZE, seed=seed), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        loss = loss_of(model, desk.demonstrated(tokenizer, 64, generator))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model, loss.item()

def whole_text(model, letters):
    """Logits as the network gives them, tokens, where the reply begins. Prompts here are equally long."""
    text = torch.cat([letters.prompts, letters.tokens], 1)
    return model(input_ids=text, use_cache=False).logits, text, letters.prompts.shape[1]

# %% tags=["concept:supervised-fine-tuning"]
def unshifted(model, letters):
    logits, text, start = whole_text(model, letters)
    return masked.mean_over_tokens(-token_logps(logits[:, start:], text[:, start:]), letters.mask)

parrot, low = tuned(unshifted)
per_token = floor * 2000 / held_out.mask.sum().item()
with torch.no_grad():
    honest = sft.evaluate(parrot, held_out.rows(slice(200)))[0]
babble = lm.sample(parrot, asked, longest=8, temperature=1.0, generator=torch.Generator().manual_seed(0))
print(f"loss {low:.1f} nats a token; the least possible is {per_token:.2f}; "
      f"with the shift it is {honest:.0f}")
assert low < 0.3 * per_token and honest > 4

# %% tags=["nbval-ignore-output"]
for _, reply in lm.read(tokenizer, babble)[:3]:
    print(reply)

# %% [markdown]
# **Verdict.** The logits *at* a word were made after reading it. Without the shift the model learns to say the word it has just seen, which is easy. **A loss on fresh data that lies below their entropy by more than
# the noise is no triumph: it is a bug.** (On texts seen before it can also be memory.) With real text you do not know the floor, so look at samples: a parrot repeats itself.
#
# **2.** *"Take the loss over the whole text; the prompt's tokens do no harm."* Train twice, once with the prompt's tokens in the mean:

# %% tags=["concept:supervised-fine-tuning"]
def text_loss(model, letters):
    logits, text, _ = whole_text(model, letters)
    real = torch.cat([letters.prompt_mask, letters.mask], 1)
    return masked.mean_over_tokens(-token_logps(logits[:, :-1], text[:, 1:]), real[:, 1:])

def reply_only(model, letters):
    return masked.mean_over_tokens(-lm.logps(model, letters), letters.mask)

# %% tags=["concept:supervised-fine-tuning", "nbval-ignore-output"]
rows = {}
for name, loss_of in (("reply only", reply_only), ("whole text", text_loss)):
    model, last = tuned(loss_of)
    with torch.no_grad():
        raw, text, start = whole_text(model, held_out.rows(slice(500)))
        asking = -token_logps(raw[:, :start - 1], text[:, 1:start]).sum(1).mean().item()
        rows[name] = last, sft.evaluate(model, held_out.rows(slice(500)))[1], asking
    of_reply = rows[name][1]
    print(f"{name}: reported {last:.1f} a token; prompt {asking:.0f} nats, reply {of_reply:.1f} nats")
print(f"entropy of the prompts: log 24 = {math.log(24):.1f} nats")

# %% tags=["concept:supervised-fine-tuning"]
prompt_gap = rows["whole text"][2] - math.log(24)
assert 0 < prompt_gap < 1 and rows["reply only"][2] > 20                              # the prompt was learnt
assert rows["whole text"][0] < rows["reply only"][0]                                  # looks better
assert rows["whole text"][1] > rows["reply only"][1] - 0.1                            # is not

# %% [markdown]
# **Verdict.** Counted in, the prompt is learnt *as well*: the model can now write customers' complaints, which nobody asked for. The reported loss is lower, because prompts are easy; the replies are no better, rather
# a little worse. Compare losses only over the same tokens. (Pretraining counts everything, on purpose: there is no prompt.)
#
# **3.** *`loss = (losses * mask).mean()`: "padding is zeroed, so it does not count".* The same 64 letters, padded to 30, 60, 120 columns:

# %% tags=["concept:supervised-fine-tuning"]
batch = held_out.rows(slice(64))
with torch.no_grad():
    losses = -lm.logps(policies[0], batch)
for width in (30, 60, 120):
    wide = torch.nn.functional.pad(losses, (0, width - losses.shape[1]))
    real = torch.nn.functional.pad(batch.mask, (0, width - losses.shape[1]))
    zeroed, right = (wide * real).mean().item(), masked.mean_over_tokens(wide, real).item()
    print(f"{width:3} columns: the zeroed mean is {zeroed / right:.2f} of the mean over real tokens")
    assert abs(right - masked.mean_over_tokens(losses, batch.mask)) < 1e-5
    assert abs(zeroed - right * real.sum().item() / real.numel()) < 1e-5

# %% [markdown]
# **Verdict.** Twice the columns, half the loss, half the gradient, for the same letters. `mean` divides by all entries, so the loss depends on how long the *longest* reply of the batch is. Divide by the
# mask's sum. (And a NaN behind the mask survives `* mask`.)
#
# **4.** *"State: the dialogue. Action: all the answers the model can give. With each next token … γ = 0.9 keeps the return finite."* Which reply is best when someone arrives?

# %% tags=["concept:contextual-bandit"]
token_count = world.mask.sum(1)                                                       # EOS included
for gamma in (1.0, 0.9, 0.7):
    discounted = gamma ** (token_count - 1.0) * world.reward[0]
    best = discounted.argmax()
    value = mdp.value_iteration(mdp.MDP(tree.transitions, tree.rewards, gamma), tol=1e-9).v[world.roots[0]]
    print(f"γ = {gamma}: best reply “{world.responses[best]}”, worth {discounted[best]:.3f} as MDP; "
          f"as bandit “{world.responses[world.reward[0].argmax()]}”, {world.reward[0].max():.3f}")
    assert abs(value - discounted[best]) < 1e-6
assert world.responses[best] == "hello"

# %% [markdown]
# **Verdict.** Two models in one sentence. If the action is the whole answer, there is no next token and no discount. If it is a token, γ < 1 pays *less for longer* good replies (and makes bad ones cheaper the longer they are): at 0.7 the best one is *hello*, because *hello
# friend* comes a token later. Replies end anyhow, so returns are finite without it. Choose one view and say which; with tokens, γ = 1.
#
# ## Summary
#
# | symbol | what it is | function | where |
# |---|---|---|---|
# | $x,\ y$ | prompt, reply; one format | `lm.encode`, `lm.read` | [format](#Prompt-→-response:-one-format) |
# | $\mathrm{softmax}(qk^\top/\sqrt d)\,v$ | a look-up with weights, causal | `lm.build` | [attention](#Attention:-a-weighted-look-up) |
# | $s_t=(x,y_{<t})$ | state of the token MDP | `worlds.phrases` | [token MDP](#The-token-MDP) |
# | $\log\pi(y_t\mid x,y_{<t})$ | of a token | `logprobs.token_logps` | [log-probability](#The-log-probability-of-a-reply) |
# | $\log\pi(y\mid x)$ | of a reply: their sum | `logprobs.sequence_logps` | [log-probability](#The-log-probability-of-a-reply) |
# | $\tau$, k, p | what is really drawn from | `logprobs.narrowed`, `lm.sample` | [sampling](#Sampling:-temperature,-top-k,-top-p) |
# | $H+\mathrm{KL}$ | the SFT loss, and its floor | `loops.sft` | [SFT](#Supervised-fine-tuning) |
# | same name, less memory | never all logits | `logprobs.linear_token_logps` | [fast](#Fast:-reading-once,-and-not-writing-down) |
#
# ## Quiz

# %%
check.quiz(
    "The SFT loss of a model on fresh data is below the entropy of that data, by far. What do you conclude?",
    ["It has learnt very well", "The loss is computed wrongly", "The learning rate was too small"], answer=1,
    why="Loss = entropy + KL, and a KL is never below 0. The usual culprit is a missing shift.")

# %%
check.quiz(
    "30 % of your demonstrations are bad, the others good. What does a perfectly trained SFT model write?",
    ["Good replies: the majority wins", "30 % bad ones", "Replies of average quality, all alike"], answer=1,
    why="Maximum likelihood copies the distribution. Only a judgement, a reward or a comparison, says which are bad.")

# %%
check.quiz(
    "You see the reply as one action of a contextual bandit. What changes against the token MDP?",
    ["The best policy", "What an estimate of the gradient can subtract", "The probability of the reply"], answer=1,
    why="The optimum and the probabilities are the same. Values of prefixes exist only in the token MDP, "
        "and they take away variance.")

# %%
check.quiz(
    "Replies were drawn at temperature 0.7. Which log-probabilities belong to them?",
    ["Those of the logits divided by 0.7", "Those of the plain logits", "Either: the tokens are the same"], answer=0,
    why="The distribution that was drawn from is softmax(logits / 0.7). The plain one is another policy.")

# %% [markdown]
# ## Sources
#
# - Raffel et al. 2019 (T5, [1910.10683](https://arxiv.org/abs/1910.10683)) and Brown et al. 2020 (GPT-3, 2005.14165): every task as text in, text out.
# - Vaswani et al. 2017, *Attention is all you need* ([1706.03762](https://arxiv.org/abs/1706.03762)), section 3.2.
# - Ramamurthy et al. 2022 (2210.01241) and Rafailov et al. 2024 (2404.12358): the token MDP. Ouyang et al. 2022 (2203.02155), section 3.5: the bandit; Ziegler et al. 2019 (1909.08593): a reward per reply. Arjona-Medina et al. 2018 (1806.07857): late rewards.
# - Ouyang et al. 2022, *InstructGPT* ([2203.02155](https://arxiv.org/abs/2203.02155)): SFT, and what comes after it.
# - Fan et al. 2018 (1805.04833): top-k; Holtzman et al. 2020 (1904.09751): top-p.
# - Hsu et al. 2024, *Liger kernel* (2410.10989): log-probabilities without all logits.
#
# Next: chapter 07, how comparisons become a reward.
