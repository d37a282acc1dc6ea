"""One style for every picture of the course: one colour per symbol, large enough to read, safe for colour-blind eyes.

Colours are those of Okabe and Ito. Never colour alone: give each curve a line style or a label as well.
"""

import matplotlib

COLOR = {
    "policy": "#0072B2",  # blue
    "reference": "#7F7F7F",  # grey
    "reward": "#009E73",  # bluish green
    "value": "#E69F00",  # orange
    "advantage": "#CC79A7",  # reddish purple
    "chosen": "#56B4E9",  # sky blue: the palette's teal-like colour that reward does not use
    "rejected": "#D55E00",  # vermilion
    "exact": "#000000",  # the thin black line under every estimate
}
"""The colour of each symbol, the same in equations, curves and sliders."""

WIDTH = 7.2
"""Width of a figure in inches: shown at full width, 10 pt text stays 10 pt."""

RC = {
    "axes.grid": True,
    "axes.prop_cycle": matplotlib.cycler(color=list(COLOR.values())),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "figure.dpi": 100,
    "font.size": 10,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "rlcore",
}


def use() -> None:
    """Make the course's style the default of this process."""
    matplotlib.rcParams.update(RC)
