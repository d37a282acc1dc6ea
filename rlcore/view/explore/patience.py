"""Near and small, or far and large? The discount decides. The first explorer of the course."""

from functools import lru_cache

import ipywidgets as widgets
import torch
from matplotlib.figure import Figure
from torch import Tensor

from rlcore import mdp
from rlcore.view import plots, style
from rlcore.worlds.gridworld import ACTIONS, Gridworld

NEAR, FAR = ACTIONS.index("left"), ACTIONS.index("right")


def draw(gamma: float, steps: int, cake: float) -> Figure:
    """A cookie worth 1 one step to the left, a cake some steps to the right: what each direction is worth.

    Args:
        gamma: discount, in [0, 1).
        steps: steps to the cake, at least 2.
        cake:  reward of the cake, above 0; the cookie pays 1.
    Returns: captioned figure: discounted rewards by distance, and both values against the discount.
    """
    gammas, curves = values(steps, cake)
    today = action_values(torch.tensor([gamma]), steps, cake)[0]
    near, far = today[NEAR].item(), today[FAR].item()
    threshold = (1 / cake) ** (1 / (steps - 1))  # γ^(steps − 1) · cake = 1
    winner = "cake" if far > near else "cookie"
    fig = plots.canvas(height=3.0)
    left, right = fig.add_axes((0.08, 0.17, 0.38, 0.7)), fig.add_axes((0.57, 0.17, 0.41, 0.7))
    between = range(2, steps)
    worth = [gamma ** (step - 1) for step in between]
    left.bar(between, worth, color=style.COLOR["reference"], width=0.5)
    left.bar([1], [near], color=style.COLOR["rejected"], width=0.5, hatch="//")
    left.bar([steps], [far], color=style.COLOR["reward"], width=0.5, hatch="..")
    top = 1.2 * max(near, far)
    labels = [(1.0, near + 0.05 * top), ((1 + steps) / 2, 0.8 * top), (steps, far + 0.05 * top)]
    plots.words(left, labels, ["cookie", "grey: a reward of 1 then", "cake"], size=9, clip_on=False)
    left.set(ylabel="worth today", xlabel="step at which a reward comes", title=f"At γ = {gamma:.2f} take the {winner}")
    left.set(xlim=(0, steps + 1), ylim=(0, top))
    plots.ticks(left, {step: str(step) for step in range(1, steps + 1)}, _levels(top))
    high = 1.05 * curves[-1].max().item()
    right.plot(gammas, curves[:, NEAR], color=style.COLOR["rejected"], linestyle="--", label="cookie")
    right.plot(gammas, curves[:, FAR], color=style.COLOR["reward"], label="cake")
    right.axvline(threshold, color=style.COLOR["exact"], linewidth=0.9, label="equal")
    right.plot([gamma, gamma], [near, far], "o", color=style.COLOR["policy"], label="_γ now")
    right.set(ylabel="value today", xlabel="discount γ", title=f"They are equal at γ = {threshold:.3f}")
    right.set(xlim=(0, 1), ylim=(0, high))
    plots.ticks(right, {place / 5: f"{place / 5:.1f}" for place in range(6)}, _levels(high))
    plots.key(right, x=0.03, y=0.98)
    text = f"γ = {gamma:.2f}, cake {cake:g} in {steps} steps: worth {far:.2f} today against the cookie's {near:.2f}; "
    return plots.caption(fig, text + f"take the {winner}. Above γ = {threshold:.3f} the cake wins.")


def _levels(top: float) -> dict[float, str]:
    """Four heights below the top, rounded to a tenth, with their labels."""
    step = max(round(top / 4, 1), 0.1)
    return {step * k: plots.number(step * k, digits=1) for k in range(int(top / step) + 1)}


def controls() -> dict[str, widgets.Widget]:
    """Sliders for γ, the distance and the size of the cake; at rest γ is just too small for the cake."""
    wide = {"style": {"description_width": "130px"}, "layout": {"width": "420px"}}
    return {
        "gamma": widgets.FloatSlider(value=0.7, min=0.0, max=0.99, step=0.01, description="discount γ", **wide),
        "steps": widgets.IntSlider(value=6, min=2, max=12, description="steps to the cake", **wide),
        "cake": widgets.FloatSlider(value=5.0, min=1.0, max=10.0, step=0.5, description="reward of the cake", **wide),
    }


def action_values(gammas: Tensor, steps: int, cake: float) -> Tensor:
    """Q of the four directions at the place between cookie and cake, for every discount: [G, A]."""
    width = steps + 2
    corridor = Gridworld(1, width, terminals={(0, 0): 1.0, (0, width - 1): cake}).to_mdp(gamma=0.0)
    world = mdp.MDP(corridor.transitions, corridor.rewards, gamma=gammas.double())
    walk = torch.zeros(width, 4, dtype=torch.float64)
    walk[:, FAR] = 1.0  # once set off, walk on
    return mdp.q_from_v(world, mdp.solve(world, walk))[:, 1]


@lru_cache(maxsize=64)
def values(steps: int, cake: float) -> tuple[Tensor, Tensor]:
    """A grid of discounts [G] and the action values on it [G, A]."""
    gammas = torch.linspace(0.0, 0.99, 67)
    return gammas, action_values(gammas, steps, cake)
