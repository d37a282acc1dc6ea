"""The backup of the Bellman expectation equation, its four parts marked."""

from matplotlib.figure import Figure

from rlcore.view import plots, style


def draw() -> Figure:
    """A state, the policy's actions, and next states, from top to bottom; each part of the equation beside its edge."""
    fig, ax = plots.figure(height=3.2)
    blue, green, orange, ink = (*(style.COLOR[name] for name in ("policy", "reward", "value")), "#333333")
    actions, after = [(-2.0, 1.0), (2.0, 1.0)], [(-3.0, 0.0), (-1.0, 0.0), (1.0, 0.0), (3.0, 0.0)]
    for x, y in actions:
        ax.plot([0, x], [2, y], color=blue, linestyle="--", zorder=1)
    for (x, y), (u, w) in zip([actions[0], actions[0], actions[1], actions[1]], after, strict=True):
        ax.plot([x, u], [y, w], color=green, zorder=1)
    ax.scatter(0, 2, s=600, facecolor="white", edgecolor=ink, zorder=2)
    ax.scatter(*zip(*actions, strict=True), s=120, color=ink, zorder=2)
    ax.scatter(*zip(*after, strict=True), s=600, facecolor="white", edgecolor=orange, zorder=2)
    ax.text(0, 2, "s", ha="center", va="center")
    for x, y in actions:
        ax.text(x + 0.28, y - 0.02, "a", va="center")
    for x, y in after:
        ax.text(x, y, "s′", ha="center", va="center")
    notes = [
        (1.65, "1  the policy's average  Σₐ π(a|s)", blue),
        (0.98, "2  the reward now  R(s, a)", green),
        (0.5, "3  the discount  γ", ink),
        (0.0, "4  what follows  Σ P(s′|s, a) V(s′)", orange),
    ]
    for y, text, color in notes:
        ax.text(3.6, y, text, color="#8A5A00" if color == orange else color, va="center")
    ax.set(xlim=(-3.6, 9.2), ylim=(-0.5, 2.5))
    ax.axis("off")
    text = """Backup diagram in three rows. On top the state s; from it dashed edges for the policy's choice lead to
    actions a; from each action solid edges lead to next states s prime. Beside it the four parts:
    the policy's
    average, the reward now, the discount, and the expected value of what follows."""
    return plots.caption(fig, text)
