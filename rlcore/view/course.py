"""What is in this course? The chapters' own metadata, as a table and as a map.

A written chapter carries its metadata in its notebook (`metadata.course`); one that is planned stands in
`chapters/planned.yml` with the same fields.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from textwrap import fill

import yaml
from matplotlib.figure import Figure

from rlcore.view import plots, style


@dataclass(frozen=True)
class Chapter:
    """One chapter: read in minutes, run in seconds on two cores; planned chapters have no notebook yet."""

    number: int
    slug: str
    title: str
    question: str
    modules: tuple[str, ...]
    explorer: str
    read: int
    run: int
    planned: bool = False

    @property
    def file(self) -> str:
        """The notebook's file name."""
        return f"{self.number:02d}_{self.slug}.ipynb"


def read(folder: Path) -> list[Chapter]:
    """All chapters by number, from the notebooks in a folder and its `planned.yml`.

    Raises: ValueError when two chapters have the same number, or a notebook's name and metadata disagree.
    """
    found = [_written(path) for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))]
    planned = yaml.safe_load((folder / "planned.yml").read_text(encoding="utf-8"))
    found += [Chapter(**_fields(entry), planned=True) for entry in planned]
    found.sort(key=lambda chapter: chapter.number)
    for one, other in pairwise(found):
        if one.number == other.number:
            raise ValueError(f"chapter {one.number} is both {one.file} and {other.file}, expected one of them")
    return found


def _written(path: Path) -> Chapter:
    metadata = json.loads(path.read_text(encoding="utf-8"))["metadata"]
    chapter = Chapter(**_fields(metadata["course"]))
    if chapter.file != path.name:
        raise ValueError(f"{path.name} says it is {chapter.file}, expected the same name in metadata.course")
    return chapter


def _fields(entry: dict) -> dict:
    return entry | {"modules": tuple(entry["modules"])}


def table(chapters: Sequence[Chapter], prefix: str = "") -> str:
    """The course map as a Markdown table: chapter, question, modules, explorer, minutes to read, seconds to run.

    Args:
        prefix: put before each link, for instance "chapters/".
    """
    lines = ["| chapter | question | module | explorer | read | run |", "|---|---|---|---|---|---|"]
    for chapter in chapters:
        name = f"{chapter.number:02d} {chapter.title}"
        name = f"{name} (planned)" if chapter.planned else f"[{name}]({prefix}{chapter.file})"
        modules = ", ".join(f"`{module}`" for module in chapter.modules)
        cells = [name, chapter.question, modules, chapter.explorer, f"{chapter.read} min", f"{chapter.run} s"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw_map(chapters: Sequence[Chapter]) -> Figure:
    """The course from top to bottom: what each chapter asks, and whether it is written."""
    style.use()
    fig = Figure(figsize=(style.WIDTH, 0.42 * len(chapters) + 0.6))
    ax = fig.add_axes((0.02, 0.02, 0.96, 0.92))
    ax.plot([0.5] * len(chapters), range(len(chapters)), color=style.COLOR["reference"], zorder=1)
    for row, chapter in enumerate(chapters):
        face = "white" if chapter.planned else style.COLOR["policy"]
        ink = style.COLOR["reference"] if chapter.planned else "white"
        ax.scatter(0.5, row, s=330, color=face, edgecolor=style.COLOR["reference"], zorder=2)
        ax.text(0.5, row, f"{chapter.number:02d}", color=ink, ha="center", va="center", weight="bold")
        ax.text(1.1, row, chapter.title, va="center", weight="normal" if chapter.planned else "bold")
        ax.text(6.2, row, fill(chapter.question, 48), va="center", color="#444444")
    ax.set(xlim=(0, 13), ylim=(len(chapters) - 0.5, -0.5))
    ax.axis("off")
    written = sum(not chapter.planned for chapter in chapters)
    fig.suptitle("Sixteen questions, each answered by a chapter", x=0.02, ha="left", fontsize=11)
    text = f"The course map: {len(chapters)} chapters from {chapters[0].title} to {chapters[-1].title}; "
    return plots.caption(fig, text + f"filled circles are written ({written}), empty ones planned.")
