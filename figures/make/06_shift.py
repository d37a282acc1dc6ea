"""Which logits belong to which token: those made at the token before it."""

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from rlcore.view import plots, style

PROMPT, REPLY = ("my", "bike", ":"), ("please", "wait", "EOS")


def draw() -> Figure:
    """Tokens in a row, the logits made at each above it, an arrow to the token that was drawn from them."""
    fig, ax = plots.figure(height=2.5)
    blue, grey = style.COLOR["policy"], style.COLOR["reference"]
    first = len(PROMPT)
    for t, word in enumerate(PROMPT + REPLY):
        said, used = t >= first, first - 1 <= t < first + len(REPLY) - 1
        ax.add_patch(Rectangle((t, 0), 0.82, 0.5, facecolor="white", edgecolor=blue if said else grey))
        ax.text(t + 0.41, 0.25, word, ha="center", va="center", color=blue if said else "#333333")
        look = {"facecolor": blue if used else "white", "edgecolor": blue if used else grey}
        ax.add_patch(Rectangle((t, 1.3), 0.82, 0.5, linestyle="-" if used else ":", **look))
        ax.text(t + 0.41, 1.55, "logits", ha="center", va="center", color="white" if used else grey)
        ax.plot([t + 0.41] * 2, [0.55, 1.25], ":", color=grey, linewidth=1.0)
        if used:
            arrow = {"arrowstyle": "-|>", "mutation_scale": 11, "color": blue, "linewidth": 1.4}
            ax.add_patch(FancyArrowPatch((t + 0.6, 1.27), (t + 1.3, 0.54), **arrow))
    ax.text(0, -0.12, "prompt: not chosen by the policy", va="top", color="#333333")
    ax.text(first, -0.12, "reply: the policy's tokens", va="top", color=blue)
    ax.text(len(PROMPT + REPLY) - 0.1, 1.55, "what follows EOS:\nof no use", va="center", color=grey)
    ax.set(xlim=(-0.1, 7.6), ylim=(-0.5, 1.95))
    ax.axis("off")
    text = """Six tokens: the prompt my bike and a colon, the reply please wait EOS. Above each stand the logits
    that the network makes after reading it. Arrows lead from the logits at the prompt's last token to please, from
    those at please to wait, from those at wait to EOS. The logits at the first two prompt tokens and at EOS are not
    used."""
    return plots.caption(fig, text)
