"""Explorers draw at every end of their controls, say what they draw, and hide no error."""

import importlib
import inspect
import pkgutil
import re
from io import BytesIO
from itertools import pairwise

import ipywidgets as widgets
import numpy as np
import pytest
from matplotlib.image import imread
from matplotlib.text import Text

from rlcore.view import explore, plots
from rlcore.view.explore import gridworld
from rlcore.view.explore.parts import Cells, Playable

MODULES = [
    module
    for found in pkgutil.iter_modules(explore.__path__)
    if hasattr(module := importlib.import_module(f"{explore.__name__}.{found.name}"), "draw")
]
each = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])


def rest(module):
    return {name: control.value for name, control in module.controls().items()}


def other(control):
    """The end of a control that is not where it rests."""
    return next(value for value in explore.ends(control) if value != control.value)


@each
def test_every_argument_of_draw_has_a_control(module):
    assert list(inspect.signature(module.draw).parameters) == list(module.controls())


@each
def test_at_every_corner_the_figure_is_captioned_titled_and_labelled(module):
    for corner in explore.corners(module.controls()):
        figure = module.draw(**corner)
        assert figure.get_label(), corner
        assert not re.search(r"\b(nan|inf|None)\b", figure.get_label()), figure.get_label()
        for axes in figure.axes:
            assert axes.get_xlabel(), corner
            assert axes.get_ylabel(), corner
            assert axes.get_title(loc="left"), corner
        assert plots.png(figure).startswith(b"\x89PNG")


@each
def test_letters_are_large_enough(module):
    figure = module.draw(**rest(module))
    labels = [label for axes in figure.axes for label in (axes.xaxis.label, axes.yaxis.label)]
    assert min(label.get_fontsize() for label in labels) >= 10
    assert min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text()) >= 8


@each
def test_nothing_is_cut_off_at_the_edge_of_the_picture(module):
    for corner in explore.corners(module.controls()):
        picture = imread(BytesIO(plots.png(module.draw(**corner))))
        edge = [*picture[[0, -1]].reshape(-1, 4), *picture[:, [0, -1]].reshape(-1, 4)]
        assert np.min(edge) == 1.0, corner  # white


@each
def test_each_control_moved_from_rest_changes_picture_and_caption(module):
    explorer = explore.explore(module.draw, **module.controls())
    for name, control in explorer.controls.items():
        resting, picture, caption = control.value, explorer.image.value, explorer.caption.value
        control.value = other(control)
        assert explorer.image.value != picture, name
        assert explorer.caption.value != caption, name
        control.value = resting
        assert explorer.image.value == picture, name
        assert explorer.caption.value == caption, name


@each
def test_a_drawing_depends_on_its_arguments_alone(module):
    first = module.draw(**rest(module))
    bytes_before = plots.png(first)
    plots.png(module.draw(**{name: other(control) for name, control in module.controls().items()}))
    assert plots.png(first) == bytes_before
    assert plots.png(module.draw(**rest(module))) == bytes_before


@each
def test_where_widgets_do_not_run_there_are_the_resting_picture_and_its_caption(module):
    data, metadata = explore.explore(module.draw, **module.controls())._repr_mimebundle_()
    caption = module.draw(**rest(module)).get_label()
    assert {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"} <= data.keys()
    assert data["text/plain"] == caption
    assert metadata["image/png"]["alt"] == caption


def test_an_error_of_a_callback_is_raised_and_shown():
    def reciprocal(n):
        return plots.caption(plots.canvas(), f"1/n = {1 / n}")

    explorer = explore.explore(reciprocal, n=widgets.IntSlider(value=2, min=0, max=2))
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        explorer.controls["n"].value = 0
    assert 'class="explorer-error"' in explorer.caption.value
    assert "ZeroDivisionError: division by zero" in explorer.caption.value
    explorer.controls["n"].value = 1
    assert "explorer-error" not in explorer.caption.value


def test_a_figure_without_caption_is_refused():
    with pytest.raises(ValueError, match="fig has no caption"):
        explore.explore(lambda: plots.canvas())._repr_mimebundle_()


def test_cells_and_their_buttons_follow_each_other():
    cells = Cells([(0, 0)], height=2, width=2, fixed={(1, 1): "G"}, ends=[()], name="wall")
    seen = []
    cells.observe(lambda change: seen.append(change["new"]), "value")
    cells.buttons[1, 0].value = True
    cells.value = ((0, 1),)
    assert seen == [((0, 0), (1, 0)), ((0, 1),)]
    assert [cell for cell, button in cells.buttons.items() if button.value] == [(0, 1)]
    assert cells.buttons[0, 1].tooltip == "row 0, column 1: wall"
    assert cells.buttons[0, 0].tooltip == "row 0, column 0: no wall"
    assert cells.buttons[1, 1].disabled


def test_a_playable_slider_can_be_set_from_both_sides():
    playable = Playable(interval=100, value=2, min=0, max=5)
    playable.value = 4
    assert playable.slider.value == 4
    playable.slider.value = 1
    assert playable.value == 1


@pytest.mark.parametrize("align", [0, 0.5, 1])
def test_words_put_ink_where_matplotlib_writes_text(align):
    def ink(write):
        figure = plots.canvas(height=1.0, width=2.0)
        write(figure.add_axes((0, 0, 1, 1), frame_on=False, xticks=[], yticks=[]))
        dark = imread(BytesIO(plots.png(figure)))[..., 0] < 0.5
        return np.array([edge for axis in (0, 1) for edge in dark.any(axis).nonzero()[0][[0, -1]]])

    texts, places = ("−1.25", "0.07"), ((0.5, 0.3), (0.4, 0.7))
    anchor = {"ha": {0: "left", 0.5: "center", 1: "right"}[align], "va": "center", "fontsize": 12}
    wanted = ink(lambda axes: [axes.text(*place, text, **anchor) for text, place in zip(texts, places, strict=True)])
    got = ink(lambda axes: plots.words(axes, places, texts, size=12, align=align))
    np.testing.assert_allclose(got, wanted, atol=2)  # pixels


def plain_value_iteration(gamma, slip, step_cost, walls, sweeps):
    """Value iteration by the letter, with dictionaries: what follows from each action of each cell, and its best."""
    ends, sides = {(2, 6): 1.0, (3, 5): -1.0}, {"N": (-1, 0), "E": (0, 1), "S": (1, 0), "W": (0, -1)}
    slips = {"N": "EW", "S": "EW", "E": "NS", "W": "NS"}
    cells = [(y, x) for y in range(6) for x in range(7) if (y, x) not in walls and (y, x) not in ends]

    def step(cell, side, value):
        to = cell[0] + sides[side][0], cell[1] + sides[side][1]
        to = to if to in cells or to in ends else cell
        return -step_cost + (ends[to] if to in ends else gamma * value[to])

    def q(cell, aim, value):
        aside = sum(step(cell, side, value) for side in slips[aim])
        return (1 - slip) * step(cell, aim, value) + slip / 2 * aside

    value = dict.fromkeys(cells, 0.0)
    history = [value]
    for _ in range(sweeps):
        value = {cell: max(q(cell, aim, value) for aim in sides) for cell in cells}
        history.append(value)
    best = [
        {cell: {aim for aim in sides if q(cell, aim, before) > after[cell] - 1e-9} for cell in cells}
        for before, after in pairwise(history)
    ]
    return history, best


@pytest.mark.parametrize(
    ("gamma", "slip", "step_cost", "sweep", "walls"),
    [
        (0.97, 0.2, 0.02, 15, gridworld.WALLS),
        (0.9, 0.4, 0.1, 7, ()),
        (0.8, 0.0, 0.0, 3, gridworld.SHUT_IN),
        (0.9, 0.25, 0.2, 1, gridworld.SHUT_IN),
    ],
)
def test_the_caption_says_what_value_iteration_by_hand_gives(gamma, slip, step_cost, sweep, walls):
    history, best = plain_value_iteration(gamma, slip, step_cost, walls, sweeps=500)
    now, before, exact = history[sweep], history[sweep - 1], history[-1]
    right = [sum(best[k][cell] <= best[-1][cell] for cell in now) for k in range(61)]
    settled = next(k for k in range(61) if all(count == len(now) for count in right[k:]))
    caption = gridworld.draw(gamma, slip, step_cost, sweep, walls).get_label().replace("−", "-")
    said = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", caption)]
    error = max(abs(now[cell] - exact[cell]) for cell in now)
    change = max(abs(now[cell] - before[cell]) for cell in now)
    wanted = [gamma, slip, step_cost, len(walls), sweep, right[sweep], len(now), settled, now[5, 0], exact[5, 0]]
    assert said[:-2] == pytest.approx(wanted, abs=0.00051, rel=0)  # printed with three decimals
    assert said[-2:] == pytest.approx([error, change], rel=0.051)  # printed with two digits


def test_at_rest_the_policy_is_right_everywhere_and_the_start_is_worth_half():
    values = rest(gridworld)
    story = gridworld.run(*(values[name] for name in ("gamma", "slip", "step_cost", "walls")))
    start = story.world.index(story.world.start)
    assert story.right[values["sweep"]] == story.floor
    assert story.settled == values["sweep"]
    assert 0.4 < story.values[values["sweep"], start] / story.exact[start] < 0.6
