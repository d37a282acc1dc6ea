"""How k-step advantages are weighted into GAE: a staircase of surprises, and what each column adds up to."""

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from rlcore.view import plots, style

STEPS, LAM = 5, 0.6


def draw() -> Figure:
    """Five steps are left, λ = 0.6: rows are A⁽¹⁾ … A⁽⁵⁾, columns the surprises they sum."""
    fig, ax = plots.figure(height=3.3)
    purple, ink = style.COLOR["advantage"], "#333333"
    weights = [(1 - LAM) * LAM**k for k in range(STEPS - 1)] + [LAM ** (STEPS - 1)]
    for row, weight in enumerate(weights):
        y = STEPS - row
        ax.text(-0.25, y + 0.38, f"$A^{{({row + 1})}}$", ha="right", va="center", fontsize=11)
        for column in range(row + 1):
            box = Rectangle((column, y), 0.92, 0.78, facecolor=purple, alpha=0.15 + 1.7 * weight, edgecolor=purple)
            ax.add_patch(box)
            name = f"δ$_{{t+{column}}}$" if column else "δ$_t$"
            power = {0: "", 1: "γ"}.get(column, f"γ$^{column}$")
            ax.text(column + 0.46, y + 0.38, power + name, ha="center", va="center", color=ink)
        formula = "λ⁴, all that is left" if row == STEPS - 1 else "(1−λ)" + ["", " λ", " λ²", " λ³"][row]
        ax.text(STEPS + 0.25, y + 0.38, f"× {weight:.3f}  =  {formula}", va="center", color=ink)
    ax.plot([-0.05, STEPS], [0.87, 0.87], color=ink, linewidth=1)
    ax.text(-0.25, 0.4, "sum", ha="right", va="center")
    for column in range(STEPS):
        total = sum(weights[column:])
        ax.text(column + 0.46, 0.4, f"{total:.3f}", ha="center", va="center", weight="bold")
    ax.text(STEPS + 0.25, 0.4, "=  1, λ, λ², λ³, λ⁴", va="center", weight="bold")
    ax.set(xlim=(-0.9, 8.9), ylim=(-0.1, STEPS + 1))
    ax.axis("off")
    text = """Staircase of five rows for λ = 0.6. Row k holds the k surprises that the k-step advantage sums. At the
    right its weight: 0.400, 0.240, 0.144, 0.086, and 0.130 for the last row, which takes all that is left. Summed down
    the columns, the weights of the surprises are 1, 0.600, 0.360, 0.216 and 0.130: the powers of λ."""
    return plots.caption(fig, text)
