"""How does a temperature choose words? The next token's probabilities in a small language model, and what it says."""

from dataclasses import dataclass
from functools import lru_cache
from textwrap import wrap

import ipywidgets as widgets
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from rlcore import lm, logprobs
from rlcore.view import plots, style
from rlcore.worlds import replies

PROMPTS = tuple(f"user : my {thing} . agent :" for thing in ("phone is late", "bike is broken", "lamp is lost"))
NOTHING = "(nothing yet)"
BEGUN = (NOTHING, "hello !", "please", "i am so sorry about your")
TOKENS = len(replies.WORDS) + 3  # with <pad>, <eos>, <unk>
SAMPLES, LONGEST, BARS, LINE = 5, 16, 10, 46


@lru_cache(maxsize=1)
def policy():
    """The model that ships with the course, fine-tuned on the support desk's demonstrations; and its tokenizer."""
    return lm.shipped("replies_sft")


@lru_cache(maxsize=64)
def next_logits(prompt: str, begun: str) -> Tensor:
    """What the model says about the next token, [V]."""
    model, tokenizer = policy()
    with torch.no_grad():
        return lm.logits(model, lm.encode(tokenizer, [_text(prompt, begun)], [""]))[0, 0].double()


@dataclass(frozen=True)
class Spoken:
    """One way to draw tokens, at one place.

    Args:
        chances: [V] of the next token, after temperature and top-k.
        plain:   [V] of the model itself.
        said:    SAMPLES continuations, drawn with the same numbers for every temperature; "…" where one was cut off.
    """

    chances: Tensor
    plain: Tensor
    said: tuple[str, ...]

    @property
    def entropy(self) -> float:
        """Of the next token, nats."""
        return logprobs.entropy(self.chances.log()).item()


@lru_cache(maxsize=512)
def speak(prompt: str, begun: str, temperature: float, top_k: int) -> Spoken:
    """Probabilities of the next token, and sampled continuations."""
    logits, (model, tokenizer) = next_logits(prompt, begun), policy()
    chances = logprobs.narrowed(logits, temperature, top_k).softmax(-1)
    drawn = lm.sample(
        model,
        lm.encode_prompts(tokenizer, [_text(prompt, begun)] * SAMPLES),
        longest=LONGEST,
        temperature=temperature,
        top_k=top_k,
        generator=torch.Generator().manual_seed(0),
    )
    ends = ("" if ended else " …" for ended in drawn.ended.tolist())
    said = tuple(reply + end for (_, reply), end in zip(lm.read(tokenizer, drawn), ends, strict=True))
    return Spoken(chances, logits.softmax(-1), said)


def draw(temperature: float, top_k: int, begun: str, prompt: str) -> Figure:
    """Bars of the ten likeliest next tokens, and five sampled continuations.

    Args:
        temperature: above 0; 1 is the model as it was trained.
        top_k:       how many of the likeliest tokens can come.
        begun:       words of the reply so far, or NOTHING.
        prompt:      what the customer says.
    Returns: captioned figure.
    """
    spoken, (_, tokenizer) = speak(prompt, begun, temperature, top_k), policy()
    ranked = spoken.plain.argsort(descending=True, stable=True)[:BARS].tolist()
    names = [tokenizer.convert_ids_to_tokens(token) for token in ranked]
    fig = plots.canvas(height=3.5)
    left, right = fig.add_axes((0.15, 0.14, 0.26, 0.76)), fig.add_axes((0.485, 0.14, 0.505, 0.76))
    _bars(left, names, spoken.chances[ranked].tolist(), spoken.plain[ranked].tolist())
    _sentences(right, spoken.said)
    possible = int((spoken.chances > 0).sum())
    left.set_title(f"“{names[0]}”: {spoken.plain[ranked[0]]:.2f} → {spoken.chances[ranked[0]]:.2f}", y=1.0)
    right.set_title(f"{len(set(spoken.said))} different among {SAMPLES} samples", y=1.0)
    said = f"τ = {temperature:.1f}, top-k {top_k}"
    return plots.caption(fig, f"{said}, after “{_text(prompt, begun)}”: {_caption(spoken, names, ranked, possible)}")


def _text(prompt: str, begun: str) -> str:
    return prompt if begun == NOTHING else f"{prompt} {begun}"


def _bars(ax: Axes, names: list[str], chances: list[float], plain: list[float]) -> None:
    places = [BARS - 1 - n for n in range(BARS)]
    ax.barh(places, chances, 0.66, color=style.COLOR["policy"])
    ax.plot(plain, places, "|", color=style.COLOR["exact"], markersize=13, markeredgewidth=1.6, clip_on=False)
    ax.set(xlim=(0, 1.06), ylim=(-0.6, BARS - 0.4), xlabel="probability", ylabel="next token")
    ax.yaxis.labelpad += 5
    plots.words(ax, [(1.0, 0.9)], ["| the model itself"], size=9, align=1)
    plots.words(ax, [(1.0, 0.1)], ["■ after τ and top-k"], size=9, align=1, color=style.COLOR["policy"])
    plots.ticks(ax, {0: "0", 0.5: "½", 1: "1"}, dict(zip(places, names, strict=True)))


def _sentences(ax: Axes, said: tuple[str, ...]) -> None:
    lines, places, numbers = [], [], {}
    for number, text in enumerate(said):
        top = 2 * (SAMPLES - number)
        rows = wrap(text or "(ends here)", LINE)[:2]
        lines += rows
        places += [(0.01, top - 0.4 - 0.75 * row) for row in range(len(rows))]
        numbers[top - 0.4] = str(number + 1)
    ax.set(xlim=(0, 1), ylim=(0, 2 * SAMPLES + 0.3), xlabel="how the reply goes on", ylabel="sample")
    ax.grid(False)
    plots.words(ax, places, lines, size=10, align=0)
    plots.ticks(ax, {}, numbers)


def _caption(spoken: Spoken, names: list[str], ranked: list[int], possible: int) -> str:
    pairs = list(zip(names, spoken.chances[ranked].tolist(), spoken.plain[ranked].tolist(), strict=True))[:3]
    told = ", ".join(f"“{name}” {chance:.3f} (model {plain:.3f})" for name, chance, plain in pairs)
    return f"""{told}. {possible} of {TOKENS} tokens can come; entropy {abs(spoken.entropy):.2f} nats.
        {len(set(spoken.said))} different among {SAMPLES} samples; the first goes on
        “{spoken.said[0] or "(ends here)"}”."""


def controls() -> dict[str, widgets.Widget]:
    """At rest a low temperature has made likely words likelier than the model means them to be."""
    wide = {"style": {"description_width": "110px"}, "layout": {"width": "420px"}}
    return {
        "temperature": widgets.FloatSlider(value=0.5, min=0.2, max=3.0, step=0.1, description="temperature", **wide),
        "top_k": widgets.IntSlider(value=TOKENS, min=1, max=TOKENS, description="top-k", **wide),
        "begun": widgets.Dropdown(options=BEGUN, description="reply so far", **wide),
        "prompt": widgets.Dropdown(options=PROMPTS, description="prompt", **wide),
    }
