"""Which rewards are counted for which action: all of them, or those that follow."""

from matplotlib.figure import Figure

from rlcore.view import plots, style

STEPS = 5


def draw() -> Figure:
    """Two tables of actions by rewards; a filled cell is a reward that is counted for the action."""
    fig, axes = plots.figure(height=2.7, ncols=2)
    titles = "Plain REINFORCE: all rewards", "Rewards-to-go: what follows"
    for ax, title, later in zip(axes, titles, (False, True), strict=True):
        cells = [(reward, action) for action in range(STEPS) for reward in range(STEPS)]
        kept = [(reward, action) for reward, action in cells if reward >= action or not later]
        ax.scatter(*zip(*cells, strict=True), s=420, marker="s", facecolor="white", edgecolor="#BBBBBB")
        ax.scatter(
            *zip(*kept, strict=True), s=420, marker="s", color=style.COLOR["reward"], hatch="//", edgecolor="white"
        )
        ax.set(title=title, xlabel="reward of step t′", ylabel="score of action t", aspect="equal")
        ax.set(xticks=range(STEPS), yticks=range(STEPS), xlim=(-0.6, STEPS - 0.4), ylim=(STEPS - 0.4, -0.6))
        ax.grid(False)
        ax.spines[:].set_visible(False)
    text = """Two squares of five actions by five rewards. Plain REINFORCE multiplies every action's score with every
    reward, 25 cells. Rewards-to-go keep the 15 cells where the reward does not come before the action."""
    return plots.caption(fig, text)
