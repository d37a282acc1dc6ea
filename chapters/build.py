"""From text to notebooks: `python -m chapters.build` makes every chapter, `python -m chapters.build 01` one.

Authors edit `chapters/source/NN_slug.py` (jupytext's percent format); readers open `chapters/NN_slug.ipynb`, executed,
with outputs. The course map in README.md and the concept index are made anew as well.
"""

import sys
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from chapters import concepts
from rlcore.view import course

HERE = Path(__file__).parent
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
WIDGET = "application/vnd.jupyter.widget-view+json"
MARKS = ("<!-- course map: made by `make chapters` -->", "<!-- end of course map -->")


def parse(source: Path) -> NotebookNode:
    """A chapter's source as a notebook without outputs, with the same cell ids every time."""
    notebook = jupytext.read(source, fmt="py:percent")
    for index, cell in enumerate(notebook.cells):
        cell["id"] = f"{source.stem[:2]}-{index:03d}"
        cell.metadata.pop("lines_to_next_cell", None)
        if "check.quiz(" in cell.source or "check.answer(" in cell.source:  # the source would give the answer away
            cell.metadata["jupyter"] = {"source_hidden": True}
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "course": dict(notebook.metadata["course"])})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def execute(notebook: NotebookNode) -> NotebookNode:
    """Run a notebook from clean, in the folder of the chapters. A cell that raises ends the build."""
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(HERE)}}).execute()
    return notebook


def strip(notebook: NotebookNode) -> NotebookNode:
    """Keep outputs and counts; drop what changes from run to run: execution times, widget state and widget views."""
    for key in ("widgets", "language_info"):
        notebook.metadata.pop(key, None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
    return notebook


def build(source: Path) -> float:
    """Make one notebook from its source; returns the seconds it took to run."""
    start, target = time.perf_counter(), HERE / f"{source.stem}.ipynb"
    notebook = parse(source)
    nbformat.write(notebook, target)  # before it runs: chapter 00 reads the metadata of all, its own included
    nbformat.write(strip(execute(notebook)), target)
    return time.perf_counter() - start


def readme(text: str, table: str) -> str:
    """README.md with the course map between its marks."""
    head, rest = text.split(MARKS[0])
    _, tail = rest.split(MARKS[1])
    return f"{head}{MARKS[0]}\n\n{table}\n\n{MARKS[1]}{tail}"


def main(wanted: list[str]) -> None:
    """Build the chapters whose numbers are given, or all; 00 comes last, because it draws the map of the others."""
    sources = sorted((HERE / "source").glob("[0-9][0-9]_*.py"), key=lambda path: (path.stem[:2] == "00", path.stem))
    for source in sources:
        if not wanted or source.stem[:2] in wanted:
            print(f"{source.stem}: {build(source):.0f} s", flush=True)
    (HERE / "concepts.md").write_text(concepts.page(), encoding="utf-8")
    page = HERE.parent / "README.md"
    page.write_text(readme(page.read_text(encoding="utf-8"), course.table(course.read(HERE), "chapters/")), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
