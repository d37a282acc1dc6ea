"""Explorers: sliders that call a pure drawing function, and a picture that follows.

Each module here has `draw(**values) -> Figure`, pure and captioned, and `controls()`, a widget for every argument of
`draw`. The resting state of the controls already makes the point. An error in `draw` is shown and raised.
"""

import itertools
import traceback
from collections.abc import Callable, Iterator
from html import escape
from typing import Any

import ipywidgets as widgets
from matplotlib.figure import Figure

from rlcore.view import plots


class Explorer(widgets.VBox):
    """Controls above a picture above its caption. `image`, `caption` and `controls` are there for tests."""

    def __init__(self, draw: Callable[..., Figure], controls: dict[str, widgets.Widget]) -> None:
        self.draw, self.controls = draw, controls
        self.image = widgets.Image(format="png", layout={"width": "720px", "max_width": "100%"})
        self.caption = widgets.HTML()
        for control in controls.values():
            control.observe(self.redraw, "value")
        rows = [control for control in controls.values() if not isinstance(control, widgets.VBox)]
        beside = [control for control in controls.values() if isinstance(control, widgets.VBox)]
        above = widgets.Box([widgets.VBox(rows), *beside], layout={"flex_flow": "row wrap", "align_items": "center"})
        super().__init__([above, self.image, self.caption])
        self.add_class("explorer")
        self.add_class(f"explorer-{draw.__module__.rpartition('.')[2]}")
        self.redraw()

    def redraw(self, change: Any = None) -> None:
        """Draw for the controls' present values. An error is shown in place of the caption, and raised."""
        try:
            fig = self.draw(**{name: control.value for name, control in self.controls.items()})
            self.image.value = plots.png(fig)
            self.caption.value = f'<div role="status" class="explorer-caption">{escape(fig.get_label())}</div>'
        except Exception:
            self.caption.value = f'<pre class="explorer-error">{escape(traceback.format_exc())}</pre>'
            raise

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        data = super()._repr_mimebundle_(**kwargs)
        resting, metadata = plots.bundle(self.draw(**{name: c.value for name, c in self.controls.items()}))
        return data | resting, metadata


def explore(draw: Callable[..., Figure], **controls: widgets.Widget) -> Explorer:
    """Sliders → `draw` → picture and caption. Where widgets do not run, the resting picture and caption.

    Args:
        draw:     pure; keyword arguments in, captioned Figure out.
        controls: a widget with a `value` for every argument of draw.
    """
    return Explorer(draw, controls)


def ends(control: widgets.Widget) -> list[Any]:
    """The extreme values of a control: both ends of a slider, every option of a choice.

    >>> ends(widgets.FloatSlider(min=0.5, max=0.99))
    [0.5, 0.99]
    """
    if hasattr(control, "ends"):
        return list(control.ends)
    if hasattr(control, "options"):
        return [option[1] if isinstance(option, tuple) else option for option in control.options]
    if isinstance(control.value, bool):
        return [False, True]
    return [control.min, control.max]


def corners(controls: dict[str, widgets.Widget]) -> Iterator[dict[str, Any]]:
    """Every combination of the controls' extreme values.

    >>> list(corners({"gamma": widgets.FloatSlider(min=0.5, max=0.9), "greedy": widgets.Checkbox()}))[1]
    {'gamma': 0.5, 'greedy': True}
    """
    for values in itertools.product(*(ends(control) for control in controls.values())):
        yield dict(zip(controls, values, strict=True))
