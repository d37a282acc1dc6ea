"""The same step of the parameters, four policies: how much each one changes."""

import torch
from matplotlib.figure import Figure

from rlcore.view import plots, style


def draw() -> Figure:
    """Two normal policies moved by 0.1, and two softmax policies with one logit raised by 1, before and after."""
    fig, axes = plots.figure(height=2.4, ncols=4)
    for ax, std in zip(axes[:2], (1.0, 0.01), strict=True):
        reach = 3 * std + 0.1
        x = torch.linspace(-reach, reach + 0.1, 400, dtype=torch.float64)
        for mean, colour, line in ((0.0, "reference", "--"), (0.1, "policy", "-")):
            ax.plot(x, (-(((x - mean) / std) ** 2) / 2).exp(), line, color=style.COLOR[colour])
        ax.set(title=f"σ = {std:g}: KL {0.1**2 / (2 * std**2):g}", xlabel="action", yticks=[])
    for ax, logit in zip(axes[2:], (0.0, 4.0), strict=True):
        old, new = (torch.tensor([x, 0.0], dtype=torch.float64).log_softmax(-1) for x in (logit, logit + 1))
        kl = (old.exp() * (old - new)).sum().item()
        for shift, logps, colour, hatch in ((-0.2, old, "reference", "//"), (0.2, new, "policy", None)):
            ax.bar([shift, 1 + shift], logps.exp(), width=0.36, color=style.COLOR[colour], hatch=hatch)
        ax.set(title=f"logit {logit:g} → {logit + 1:g}: KL {kl:.3f}", xlabel="action", xticks=[0, 1], yticks=[])
    axes[0].set_ylabel("how likely")
    text = """The same parameter step on four policies, old in grey and dashed or hatched, new in blue. Mean moved by
    0.1: KL 0.005 at width 1, where both curves nearly coincide, and 50 at width 0.01, where they lie apart. Logit
    raised by 1: KL 0.120 from an even policy, 0.007 from one that was nearly certain."""
    return plots.caption(fig, text)
