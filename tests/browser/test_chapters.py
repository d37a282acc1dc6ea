"""Chapters in a real browser: they run, their explorers follow the keyboard, their quizzes answer, errors are seen."""

from pathlib import Path
from statistics import median

import nbformat
import pytest

from .conftest import CHAPTERS
from .driver import Explorer, Lab

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

EXPLORING = [path.name for path in sorted(CHAPTERS.glob("[0-9][0-9]_*.ipynb")) if "explore(" in path.read_text()]
KEYS = ("End", "Home", "ArrowRight")

PROBE = """
from ipywidgets import IntSlider
from rlcore import check
from rlcore.view import explore, plots

def draw(height):
    fig, ax = plots.figure()
    ax.bar([0], [1 / (height - 3)])
    return plots.caption(fig, f"height = {height}")

explore.explore(draw, height=IntSlider(min=0, max=5, description="height"))
"""


@pytest.fixture
def probe(chapters: Path) -> str:
    """A notebook whose explorer fails at height 3, and whose last cell fails."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}  # else Lab asks which to start
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    quiz = 'check.quiz("One?", ["one", "two"], 0, "Count.")'
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in (PROBE.strip(), quiz, "height")]
    nbformat.write(notebook, chapters / "probe.ipynb")
    return "probe.ipynb"


def press_every_slider(explorer: Explorer) -> list[float]:
    """Both ends and one step, by keyboard. Milliseconds of each press that moved the slider."""
    times = []
    for slider, label in enumerate(explorer.labels):
        for key in KEYS:
            before = explorer.reading(slider), explorer.caption
            try:
                times.append(explorer.press(slider, key))
            except Exception as error:
                if explorer.reading(slider) == before[0]:
                    continue  # it was at this end already
                error.add_note(f"after {key} on slider {label}")
                raise
            assert explorer.reading(slider) != before[0], f"{key} changed the picture but not slider {label}"
            assert explorer.caption != before[1]
    return times


def test_errors_of_cells_and_of_callbacks_are_seen(lab: Lab, probe: str):
    lab.open(probe)
    lab.run_all()
    assert [text for text in lab.outputs_with_errors() if "NameError" in text]
    explorer = lab.explorer(0)
    for _ in range(2):
        explorer.press(0, "ArrowRight")
    assert explorer.caption == "height = 2"
    with pytest.raises(Exception, match="ZeroDivisionError"):
        explorer.press(0, "ArrowRight")
    assert [text for text in lab.outputs_with_errors() if "ZeroDivisionError" in text]


def test_restart_clears_outputs_and_run_all_brings_them_back(lab: Lab, probe: str):
    lab.open(probe)
    lab.run_all()
    lab.restart()
    assert not lab.explorers()
    assert not lab.outputs_with_errors()
    lab.run_all()
    assert len(lab.explorers()) == 1


@pytest.mark.parametrize("notebook", EXPLORING)
def test_chapter_runs_and_its_explorers_follow_the_keyboard(lab: Lab, report: list[str], notebook: str):
    lab.open(notebook)
    lab.run_all()
    assert not lab.outputs_with_errors()
    assert lab.explorers()
    for number in range(len(lab.explorers())):
        explorer = lab.explorer(number)
        times = press_every_slider(explorer) + explorer.choose_and_tick()
        report.append(
            f"{Path(notebook).stem} {explorer.name}: key press → changed picture, "
            f"median {median(times):.0f} ms, worst {max(times):.0f} ms ({len(times)} presses)"
        )
        if explorer.root.locator(".widget-toggle-button").count():
            explorer.toggle(0)
    for quiz in lab.quizzes():
        quiz.locator("input[type=radio]").first.check()
        quiz.locator('[role="status"]').wait_for(timeout=10_000)
    assert not lab.outputs_with_errors()
