"""plots and course: a picture carries its caption; a chapter's metadata are checked when they are read."""

import base64
import io
import json

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from rlcore.view import course, plots, style


def captioned():
    fig, ax = plots.figure(height=2)
    ax.plot([0, 1], [0, 1])
    return plots.caption(fig, "A line\n    from zero to one.")


def test_a_caption_is_one_line_and_travels_as_text_and_alt_text():
    data, metadata = plots.bundle(captioned())
    assert data["text/plain"] == metadata["image/png"]["alt"] == "A line from zero to one."


def test_a_figure_without_a_caption_is_not_shown():
    with pytest.raises(ValueError, match=r"fig has no caption, expected plots.caption"):
        plots.bundle(plots.figure()[0])


def test_the_stored_picture_is_the_drawn_one_in_fewer_colours():
    drawn = np.asarray(Image.open(io.BytesIO(plots.png(captioned()))).convert("RGB"), dtype=int)
    stored = Image.open(io.BytesIO(base64.b64decode(plots.bundle(captioned())[0]["image/png"])))
    assert stored.mode == "P"
    assert np.abs(np.asarray(stored.convert("RGB"), dtype=int) - drawn).mean() < 2


def test_show_displays_the_picture_and_its_caption_in_words(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **options: shown.append(data))
    plots.show(captioned())
    assert set(shown[0]) == {"image/png", "text/plain"}
    assert shown[1].data == "*A line from zero to one.*"


def test_an_svg_is_the_same_bytes_twice_and_says_what_it_shows(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        plots.save_svg(captioned(), tmp_path / name / "line.svg")
    one, other = ((tmp_path / name / "line.svg").read_bytes() for name in ("a", "b"))
    assert one == other
    assert b"A line from zero to one." in one


def test_a_heat_map_writes_every_finite_number_and_leaves_walls_empty():
    fig = plots.canvas()
    ax = fig.add_axes((0, 0, 1, 1))
    plots.heat(ax, np.array([[1.0, np.nan], [2.0, 3.0]]), limits=(0, 3))
    (numbers,) = ax.collections
    assert [tuple(place) for place in numbers.get_offsets()] == [(0, 0), (0, 1), (1, 1)]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("column", "row")


@pytest.mark.parametrize("dpi", [72, 100, 200])
def test_words_have_the_size_in_points_that_was_asked_for_at_any_resolution(dpi):
    fig = plots.canvas()
    fig.set_dpi(dpi)
    ax = fig.add_axes((0, 0, 1, 1))
    plots.words(ax, [(0.5, 0.5)], ["H"], size=20)
    (shapes,) = ax.collections
    high = shapes.get_transform().transform_path(shapes.get_paths()[0]).get_extents().height  # dots
    assert high / dpi * 72 == pytest.approx(0.73 * 20, rel=0.02)  # DejaVu's capitals are 0.73 of the size


def test_an_arrow_points_where_its_action_leads():
    """Rows grow downwards, so up is towards smaller rows."""
    fig = plots.canvas()
    ax = fig.add_axes((0, 0, 1, 1))
    plots.arrows(ax, np.eye(4, dtype=bool)[None])  # one row of four cells: up, right, down, left
    (quiver,) = ax.collections
    directions = np.sign(np.stack([quiver.U, quiver.V], 1)).astype(int).tolist()
    assert directions == [[0, -1], [1, 0], [0, 1], [-1, 0]]


def test_figures_do_not_touch_pyplot():
    import matplotlib.pyplot as plt

    assert isinstance(captioned(), Figure)
    assert plt.get_fignums() == []


def test_colour_is_never_far_too_light_for_a_white_page():
    for name, colour in style.COLOR.items():
        red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        assert 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.75, name


def write(folder, name, **changes):
    fields = {"number": 3, "slug": "x", "title": "T", "question": "Q?", "modules": ["m"], "explorer": "e", "read": 1}
    metadata = {"course": fields | {"run": 2} | changes}
    (folder / name).write_text(json.dumps({"metadata": metadata, "cells": []}))
    (folder / "planned.yml").write_text("[]")


def test_a_chapter_is_read_from_its_own_metadata(tmp_path):
    write(tmp_path, "03_x.ipynb")
    (chapter,) = course.read(tmp_path)
    assert (chapter.file, chapter.modules, chapter.planned) == ("03_x.ipynb", ("m",), False)
    assert "| [03 T](chapters/03_x.ipynb) | Q? | `m` | e | 1 min | 2 s |" in course.table([chapter], "chapters/")


def test_a_notebook_whose_name_and_metadata_disagree_is_refused(tmp_path):
    write(tmp_path, "03_x.ipynb", number=4)
    with pytest.raises(ValueError, match=r"03_x.ipynb says it is 04_x.ipynb"):
        course.read(tmp_path)


def test_the_map_shows_every_chapter_and_counts_the_written_ones(tmp_path):
    write(tmp_path, "03_x.ipynb")
    fig = course.draw_map(course.read(tmp_path))
    assert {"03", "T", "Q?"} <= {text.get_text() for text in fig.axes[0].texts}
    assert "filled circles are written (1)" in fig.get_label()
