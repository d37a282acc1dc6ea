"""A control that ipywidgets lacks: buttons of which any number may be pressed. It works with the keyboard alone."""

from collections.abc import Collection, Sequence
from typing import Any

import ipywidgets as widgets
import traitlets


class Choices(widgets.VBox):
    """A button for each option; `value` holds those that are pressed, in the order of the options.

    Args:
        value:   options pressed at rest.
        options: all of them.
        name:    what they are, for the heading and screen readers.
        width:   of a button, in pixels.
        columns: buttons in a row.

    >>> choices = Choices(["b"], options=("a", "b", "c"), name="letters", width=60)
    >>> choices.buttons["a"].value = True
    >>> choices.value, choices.ends
    (('a', 'b'), [(), ('a', 'b', 'c')])
    """

    value = traitlets.Tuple()

    def __init__(self, value: Collection[str], options: Sequence[str], name: str, width: int, columns: int = 3) -> None:
        self.ends, self._writing = [(), tuple(options)], False
        size = widgets.Layout(width=f"{width}px", height="26px", margin="0", padding="0")  # one for all: fewer models
        self.buttons = {
            option: widgets.ToggleButton(description=option, tooltip=f"{name}: {option}", layout=size)
            for option in options
        }
        rows = {"flex_flow": "row wrap", "width": f"{columns * (width + 2)}px", "grid_gap": "1px"}
        super().__init__(
            [widgets.Label(f"{name}: press any number"), widgets.Box([*self.buttons.values()], layout=rows)]
        )
        for button in self.buttons.values():
            button.observe(self._read, "value")
        self.observe(self._write, "value")
        self.value = tuple(option for option in options if option in value)

    def _read(self, change: Any) -> None:
        if not self._writing:
            self.value = tuple(option for option, button in self.buttons.items() if button.value)

    def _write(self, change: Any) -> None:
        self._writing = True
        for option, button in self.buttons.items():
            button.value = option in self.value
        self._writing = False
