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
    left.bar(between, worth, color=style.COLOR["reference"], width=0.5, label="a reward of 1")
    left.bar([1], [near], color=style.COLOR["rejected"], width=0.5, hatch="//", label="cookie now")
    left.bar([steps], [far], color=style.COLOR["reward"], width=0.5, hatch="..", label="cake then")
    left.set(xlabel="step at which a reward comes", ylabel="worth today", title=f"At γ = {gamma:.2f} take the {winner}")
    left.set_xticks(range(1, steps + 1))
    left.set_ylim(0, max(1.3, 1.4 * far))
    left.legend(loc="upper right", fontsize=9)
    right.plot(gammas, curves[:, NEAR], color=style.COLOR["rejected"], linestyle="--", label="cookie")
    right.plot(gammas, curves[:, FAR], color=style.COLOR["reward"], label="cake")
    right.axvline(threshold, color=style.COLOR["exact"], linewidth=0.9)
    right.plot([gamma, gamma], [near, far], "o", color=style.COLOR["policy"])
    right.set(xlabel="discount γ", ylabel="value today", title=f"They are equal at γ = {threshold:.3f}", xlim=(0, 1))
    right.legend(loc="upper left", fontsize=9)
    text = f"γ = {gamma:.2f}, cake {cake:g} in {steps} steps: worth {far:.2f} today against the cookie's {near:.2f}; "
    return plots.caption(fig, text + f"take the {winner}. Above γ = {threshold:.3f} the cake wins.")


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
