"""Controls that ipywidgets lacks: cells to press, and a slider that plays. Both work with the keyboard alone."""

from collections.abc import Collection, Sequence
from typing import Any

import ipywidgets as widgets
import traitlets

Cell = tuple[int, int]


class Cells(widgets.VBox):
    """A grid of buttons; `value` holds the cells (row, column) that are pressed. Tab walks, space presses.

    Args:
        value:  cells pressed at rest.
        height, width: of the grid.
        fixed:  {cell: letter} for cells that cannot be pressed.
        ends:   values to draw in tests, as extreme as they come.
        name:   what a pressed cell is, for the heading, tooltips and screen readers.

    >>> cells = Cells([(0, 1)], height=1, width=3, fixed={(0, 2): "G"}, ends=[()], name="wall")
    >>> cells.buttons[0, 0].value = True
    >>> cells.value
    ((0, 0), (0, 1))
    """

    value = traitlets.Tuple()

    def __init__(
        self, value: Collection[Cell], height: int, width: int, fixed: dict[Cell, str], ends: Sequence[Any], name: str
    ) -> None:
        self.ends, self.name, self._writing = ends, name, False
        size = widgets.Layout(width="30px", height="26px", margin="0", padding="0")  # one for all: fewer models
        places = [(row, column) for row in range(height) for column in range(width)]
        self.buttons = {
            cell: widgets.ToggleButton(description=fixed.get(cell, " "), disabled=cell in fixed, layout=size)
            for cell in places
        }
        columns = {"grid_template_columns": f"repeat({width}, 30px)", "grid_gap": "1px"}
        grid = widgets.GridBox([*self.buttons.values()], layout=columns)
        super().__init__([widgets.Label(f"{name}s: press cells"), grid])
        for button in self.buttons.values():
            button.observe(self._read, "value")
        self.observe(self._write, "value")
        self.value = tuple(sorted(value))
        self._describe()

    def _read(self, change: Any) -> None:
        if not self._writing:
            self.value = tuple(cell for cell, button in self.buttons.items() if button.value)

    def _write(self, change: Any) -> None:
        self._writing = True
        for cell, button in self.buttons.items():
            button.value = cell in self.value
        self._writing = False
        self._describe()

    def _describe(self) -> None:
        for (row, column), button in self.buttons.items():
            if not button.disabled:
                button.description = "■" if button.value else " "
                button.tooltip = f"row {row}, column {column}: {'' if button.value else 'no '}{self.name}"


class Playable(widgets.HBox):
    """An integer slider with a play button; `value`, `min` and `max` are the slider's.

    Args:
        interval: milliseconds per step.
        options:  what IntSlider takes.

    >>> playable = Playable(interval=300, value=3, min=0, max=9)
    >>> playable.slider.value = 5
    >>> playable.value, playable.max
    (5, 9)
    """

    value = traitlets.Int()

    def __init__(self, interval: int, **options: Any) -> None:
        self.slider = widgets.IntSlider(**options)
        self.min, self.max = self.slider.min, self.slider.max
        self.play = widgets.Play(
            value=self.slider.value, min=self.min, max=self.max, interval=interval, show_repeat=False
        )
        widgets.jslink((self.play, "value"), (self.slider, "value"))  # in the browser: no detour through the kernel
        super().__init__([self.slider, self.play])
        traitlets.link((self.slider, "value"), (self, "value"))
