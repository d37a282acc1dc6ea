"""A chapter is what its source says, ran from top to bottom, is short-celled, and shows what rlcore runs."""

import ast
import json
import re
import statistics
from pathlib import Path

import nbformat
import pytest

from chapters import build
from rlcore.view import course

ROOT = Path(__file__).parents[1]
CHAPTERS = ROOT / "chapters"
NOTEBOOKS = sorted(CHAPTERS.glob("[0-9][0-9]_*.ipynb"))
SOURCES = sorted((CHAPTERS / "source").glob("[0-9][0-9]_*.py"))
FRAME = [  # what every chapter has, in this order
    r"^# \d\d · ",
    r"\*\*Needs\*\*.*\*\*Minutes\*\*",
    r"[Bb]efore you run",
    r"### Write it",
    r"\*\*Verdict\.\*\*",
    r"^## Sources",
]
SECTIONS = ["## What breaks", "## Exercises", "## Clinic", "## Summary", "## Quiz"]

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def prose(path):
    return "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")


def test_every_source_has_a_notebook_and_every_notebook_a_source():
    assert [path.stem for path in NOTEBOOKS] == [path.stem for path in SOURCES]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_is_its_source_cell_by_cell(source):
    wanted, found = build.parse(source), read(CHAPTERS / f"{source.stem}.ipynb")

    def content(notebook):
        return [(c.id, c.cell_type, c.source, c.metadata.get("tags", [])) for c in notebook.cells]

    assert content(found) == content(wanted), f"run: python -m chapters.build {source.stem[:2]}"
    assert found.metadata.course == wanted.metadata.course


@each_notebook
def test_every_code_cell_ran_in_order_from_a_clean_start(path):
    assert [cell.execution_count for cell in code(path)] == list(range(1, len(code(path)) + 1))


@each_notebook
def test_no_output_is_an_error_a_warning_or_a_stale_widget(path):
    for cell in code(path):
        for output in cell.outputs:
            assert output.output_type != "error", cell.id
            assert output.get("name") != "stderr", f"{cell.id}: {output.get('text')}"
            assert build.WIDGET not in output.get("data", {}), cell.id


@each_notebook
def test_every_picture_has_a_caption_that_is_compared(path):
    for cell in code(path):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                assert len(output.data["text/plain"]) >= 40, cell.id
                assert not output.data["text/plain"].startswith("<"), cell.id


@each_notebook
def test_cells_are_short(path):
    lines = [sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in code(path)]
    assert statistics.median(lines) <= 6
    assert max(lines) <= 25
    shown = [cell.source for cell in code(path) if not cell.metadata.get("jupyter", {}).get("source_hidden")]
    widest = max((line for source in shown for line in source.splitlines()), key=len)
    assert len(widest) <= 110, widest


@each_notebook
def test_a_notebook_is_small(path):
    assert path.stat().st_size <= 400_000


@each_notebook
def test_numbers_are_checked(path):
    """Six of seven cells that print are compared by nbval, and two more may train; a chapter asserts as well."""
    printing = [cell for cell in code(path) if cell.outputs]
    ignored = [cell for cell in printing if "nbval-ignore-output" in cell.metadata.get("tags", [])]
    assert len(ignored) <= 2 + len(printing) / 7
    assert not any("nbval-skip" in cell.metadata.get("tags", []) for cell in code(path))
    assert any("raises-exception" in cell.metadata.get("tags", []) for cell in code(path)) is False
    assert sum("assert " in cell.source for cell in code(path)) >= 3


@each_notebook
def test_the_frame_is_there_in_order(path):
    text, at = prose(path), 0
    for pattern in FRAME:
        found = re.compile(pattern, re.MULTILINE | re.DOTALL).search(text, at)
        assert found, pattern
        at = found.start()
    if not path.name.startswith("00"):
        places = [text.find(section) for section in SECTIONS]
        assert -1 not in places, SECTIONS[places.index(-1)]
        assert places == sorted(places)
    assert sum("check.quiz(" in cell.source for cell in code(path)) >= 3
    assert any("explore(" in cell.source for cell in code(path))
    assert "**Try it.**" in text


@each_notebook
def test_metadata_and_prose_tell_the_same_minutes(path):
    metadata = json.loads(path.read_text(encoding="utf-8"))["metadata"]["course"]
    assert f"**Minutes** {metadata['read']} to read and do" in prose(path)
    assert metadata["question"] in prose(path)
    assert f"# {metadata['number']:02d} · {metadata['title']}" in prose(path)


def exercises(path):
    """{function name: the reference's dotted name} of the stubs in a notebook."""
    found = {}
    for cell in code(path):
        for node in ast.parse(cell.source).body:
            for decorator in getattr(node, "decorator_list", []):
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "check.exercise":
                    found[node.name] = ast.unparse(decorator.args[0])
    return found


def solutions(path):
    """The code of every solution that is folded away."""
    folded = re.findall(r"<details><summary>Solution</summary>(.*?)</details>", prose(path), re.DOTALL)
    return [block for text in folded for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]


@each_notebook
def test_a_collapsed_cell_does_not_show_its_answer_in_the_line_that_stays(path):
    for cell in code(path):
        for call in ("check.answer(", "check.quiz("):
            if call in cell.source:
                shown = cell.source.splitlines()[0]
                assert call not in shown or shown == call, shown
                assert cell.metadata.jupyter.source_hidden


@each_notebook
def test_every_exercise_has_its_stars_a_hint_and_a_solution(path):
    tagged = [cell for cell in code(path) if "exercise" in cell.metadata.get("tags", [])]
    assert len(tagged) >= len(exercises(path)) > 0
    assert prose(path).count("<summary>Hint</summary>") == len(tagged)
    assert prose(path).count("<summary>Solution</summary>") == len(tagged)
    assert len(re.findall(r"\*(?:Difficulty )?[★☆]{3}", prose(path))) >= len(tagged)


def solved(source):
    """A chapter as after its last exercise: every stub replaced by the solution that is folded away below it."""
    notebook, blocks = build.parse(source), solutions(CHAPTERS / f"{source.stem}.ipynb")
    for cell in notebook.cells:
        if "exercise" in cell.metadata.get("tags", []):
            head, _, name = cell.source.partition("def ")
            name = re.match(r"\w+", name or cell.source)[0]
            block = next(b for b in blocks if re.search(rf"^(def {name}\(|{name} = )", b, re.MULTILINE))
            cell.source = (head if "def " in cell.source else "") + block
    return notebook


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_chapter_runs_with_all_its_exercises_solved(source):
    done = build.execute(solved(source))
    said = "".join(o.get("text", "") for c in done.cells if c.cell_type == "code" for o in c.outputs)
    assert "hand-computed case" in said
    assert "not written yet" not in said
    assert "not answered yet" not in said


@each_notebook
def test_a_function_of_rlcore_that_a_chapter_defines_is_checked_there(path):
    """A name that is also a public function of the chapter's modules must not drift from it unseen."""
    public = {reference.rpartition(".")[2] for reference in exercises(path).values()}
    for cell in code(path):
        for node in ast.parse(cell.source).body:
            if isinstance(node, ast.FunctionDef) and node.name in public:
                assert node.decorator_list or f"check.same({node.name}" in cell.source, f"{cell.id}: {node.name}"


@each_notebook
def test_links_and_pictures_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", prose(path)):
        if not target.startswith("http"):
            assert (CHAPTERS / target).exists(), target
    assert "![](" not in prose(path), "a picture without alt text"


def test_chapters_00_to_15_are_written_or_planned_once_each():
    assert [chapter.number for chapter in course.read(CHAPTERS)] == list(range(16))


def test_two_chapters_of_one_number_are_refused(tmp_path):
    (tmp_path / "planned.yml").write_text(
        "".join(
            f"- {{number: 2, slug: {slug}, title: T, question: Q, modules: [], explorer: e, read: 1, run: 1}}\n"
            for slug in "ab"
        )
    )
    with pytest.raises(ValueError, match=r"chapter 2 is both 02_a.ipynb and 02_b.ipynb"):
        course.read(tmp_path)


def test_the_readme_shows_the_map_of_the_chapters_metadata():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert build.readme(text, course.table(course.read(CHAPTERS), "chapters/")) == text


def test_all_chapters_fit_into_half_an_hour():
    written = [chapter for chapter in course.read(CHAPTERS) if not chapter.planned]
    assert sum(chapter.run for chapter in written) <= 30 * 60
    assert all(chapter.run <= 150 for chapter in course.read(CHAPTERS))
