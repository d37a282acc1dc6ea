"""The map of the course, from the chapters' own metadata."""

from pathlib import Path

from matplotlib.figure import Figure

from rlcore.view import course


def draw() -> Figure:
    """All chapters with their questions."""
    return course.draw_map(course.read(Path(__file__).parents[2] / "chapters"))
