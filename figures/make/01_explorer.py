"""The explorer of chapter 01 at rest, for the README."""

from matplotlib.figure import Figure

from rlcore.view.explore import gridworld


def draw() -> Figure:
    """What the sliders show before anyone moves them."""
    return gridworld.draw(**{name: control.value for name, control in gridworld.controls().items()})
