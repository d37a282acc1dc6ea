"""Every figure is made by its script: the same picture every time, captioned, with text large enough to read."""

import re
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import matplotlib.text
import numpy as np
import pytest

from figures import build
from rlcore.view import plots, style

ROOT = Path(__file__).parents[1]
SCRIPTS = build.scripts()
SVG = "{http://www.w3.org/2000/svg}"
DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_figure_is_what_its_script_draws(script, tmp_path):
    plots.save_svg(build.draw(script), tmp_path / f"{script.stem}.svg")
    made, kept = (_shown(folder / f"{script.stem}.svg") for folder in (tmp_path, ROOT / "figures"))
    assert made.words == kept.words
    assert made.styles == kept.styles
    np.testing.assert_allclose(made.boxes, kept.boxes, rtol=0, atol=1.0)  # points: a font's build moves words so far


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_figure_drawn_twice_is_the_same_bytes(script, tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        plots.save_svg(build.draw(script), tmp_path / name / "same.svg")
    assert (tmp_path / "first/same.svg").read_bytes() == (tmp_path / "second/same.svg").read_bytes()


class Shown(NamedTuple):
    """What an SVG shows, apart from how its letters are drawn: the same whatever the fonts and the processor."""

    words: list[str]
    styles: list[str | None]
    boxes: np.ndarray  # [things, 4], points: the corners around each stroke, area, marker and picture


def _shown(path: Path) -> Shown:
    """Title, caption and every piece of text; the style of everything drawn, and where it is."""
    keep_comments = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    root = ElementTree.parse(path, keep_comments).getroot()
    hidden = {id(part) for defs in root.iter(f"{SVG}defs") for part in defs.iter()}
    drawn = [part for part in root.iter() if (part.get("style") or _move(part)) and id(part) not in hidden]
    words = [part.text.strip() for part in root.iter() if part.tag is ElementTree.Comment or "}title" in str(part.tag)]
    words += [part.text for part in root.iter(f"{DUBLIN_CORE}description")]
    return Shown(words, [part.get("style") for part in drawn], np.array([_box(part) for part in drawn]))


def _box(part: ElementTree.Element) -> list[float]:
    numbers = part.get("d") or _move(part) or f"{part.get('x')} {part.get('y')}"
    points = np.array(re.findall(r"-?[0-9.]+", numbers), float).reshape(-1, 2)
    return [*points.min(axis=0), *points.max(axis=0)]


def _move(part: ElementTree.Element) -> str | None:
    """Where a piece of text begins; none of anything else, and none of a letter within it."""
    is_text = part.tag == f"{SVG}g" and part.get("transform")
    return is_text and part.get("transform").split(")")[0]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_figure_says_what_it_shows(script):
    fig = build.draw(script)
    assert len(fig.get_label()) >= 40
    assert "<dc:description>" in (ROOT / "figures" / f"{script.stem}.svg").read_text(encoding="utf-8")
    assert fig.get_figwidth() <= style.WIDTH


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_labels_and_titles_are_at_least_ten_points(script):
    for ax in build.draw(script).axes:
        for label in (ax.title, ax.xaxis.label, ax.yaxis.label):
            assert not label.get_text() or label.get_fontsize() >= 10
    assert all(t.get_fontsize() >= 8 for t in build.draw(script).findobj(matplotlib.text.Text) if t.get_text())


def test_every_figure_has_a_script_and_every_script_a_figure():
    pictures = {path.stem for path in (ROOT / "figures").glob("*.svg")}
    assert pictures == {script.stem for script in SCRIPTS}


def test_no_two_symbols_share_a_colour():
    assert len(set(style.COLOR.values())) == len(style.COLOR)
