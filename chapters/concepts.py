"""Where is each concept shown? `python chapters/concepts.py` draws concepts.md from concepts.yml and the notebooks.

A cell that demonstrates a concept carries the tag `concept:<slug>`; the page links to it, and names the chapter where
a concept without a cell is planned. Left out: whether the cell shows the concept well.
"""

import difflib
import itertools
import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import yaml
from markdown_it import MarkdownIt

HERE = Path(__file__).parent
TAG = "concept:"
FIELDS = ("slug", "en", "zh", "chapter", "what")
CHAPTERS = (*(f"{number:02}" for number in range(16)), "qa")
LONGEST = 110  # characters of `what`: one line of the page
HEAD = """# Concepts

This page lists every concept of the course in English and in Chinese, says each in one line, and links to the cells
that show it. {counts}

Made by `python chapters/concepts.py` from `concepts.yml` and the tags `concept:<slug>` of the notebooks' cells.
"""


@dataclass(frozen=True)
class Concept:
    """One concept, and the title of its section: letter, English and Chinese."""

    slug: str
    en: str
    zh: str
    chapter: str
    what: str
    section: str


@dataclass(frozen=True)
class Cell:
    """One tagged cell: which concept, which notebook, which cell, and the heading above it ("" before the first)."""

    slug: str
    notebook: str
    cell: str
    heading: str


def concepts(folder: Path = HERE) -> list[Concept]:
    """Every concept of concepts.yml, in order. Raises ValueError for a missing or odd field and for a repeated slug."""
    try:
        sections = yaml.safe_load((folder / "concepts.yml").read_text(encoding="utf-8"))["sections"]
    except (yaml.YAMLError, TypeError, KeyError) as error:
        raise ValueError(f"concepts.yml is not a list of sections in YAML: {error!r}") from error
    listed = []
    for number, section in enumerate(sections, start=1):
        where = f"concepts.yml, section {number}"
        title = "{letter}. {en} · {zh}".format(**_texts(section, ("letter", "en", "zh"), where))
        listed += [_concept(entry, title, where) for entry in section.get("concepts") or []]
    if repeated := [slug for slug, times in Counter(concept.slug for concept in listed).items() if times > 1]:
        raise ValueError(f"concepts.yml: slug {repeated[0]!r} is used more than once, expected unique slugs")
    return listed


def _texts(entry: dict, fields: tuple[str, ...], where: str) -> dict[str, str]:
    for field in fields:
        if not isinstance(entry.get(field), str) or not entry[field].strip():
            raise ValueError(f"{where}: {field} is {entry.get(field)!r}, expected a text in quotes")
    return {field: entry[field] for field in fields}


def _concept(entry: dict, section: str, where: str) -> Concept:
    where = f"{where}, concept {entry.get('slug')!r}"
    texts = _texts(entry, FIELDS, where)
    if unknown := [field for field in entry if field not in FIELDS]:
        raise ValueError(f"{where}: unknown field {unknown[0]!r}, expected {', '.join(FIELDS)}")
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", texts["slug"]):
        raise ValueError(f"{where}: slug is {texts['slug']!r}, expected small letters and digits joined by hyphens")
    if texts["chapter"] not in CHAPTERS:
        raise ValueError(f"{where}: chapter is {texts['chapter']!r}, expected '00' to '15' or 'qa'")
    if len(texts["what"]) > LONGEST:
        raise ValueError(f"{where}: what has {len(texts['what'])} characters, expected at most {LONGEST}")
    return Concept(**texts, section=section)


def tagged_cells(folder: Path = HERE) -> list[Cell]:
    """Every tagged cell of the chapters and of qa.ipynb, in reading order; a cell with two tags appears twice."""
    found = []
    for path in [*sorted(folder.glob("[0-9][0-9]_*.ipynb")), *folder.glob("qa.ipynb")]:
        heading = ""
        for index, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
            own = headings("".join(cell["source"])) if cell["cell_type"] == "markdown" else []
            first, *_, heading = [*own, own[-1]] if own else (heading, heading)
            # A misspelt prefix must not pass unseen: whatever begins like the tag has to name a concept.
            tags = [tag for tag in cell["metadata"].get("tags", []) if tag.lower().startswith("concept")]
            found += [Cell(tag.removeprefix(TAG), path.name, str(cell.get("id", index)), first) for tag in tags]
    return found


def headings(markdown: str) -> list[str]:
    """The headings of a text as a reader sees them, without their markup.

    >>> headings("# The *value* of `s`\\n\\nText.\\n\\n## V* and π*")
    ['The value of s', 'V* and π*']
    """
    tokens = itertools.pairwise(MarkdownIt("commonmark").parse(markdown))
    titles = [after.children for before, after in tokens if before.type == "heading_open"]
    return ["".join(child.content for child in title if child.type != "html_inline") for title in titles]


def places(listed: list[Concept], cells: list[Cell]) -> dict[str, list[Cell]]:
    """The cells of each concept, by slug. Raises ValueError where a tag names no concept."""
    shown: dict[str, list[Cell]] = {concept.slug: [] for concept in listed}
    for cell in cells:
        if cell.slug not in shown:
            near = "".join(f"; did you mean {slug!r}?" for slug in difflib.get_close_matches(cell.slug, shown, n=1))
            raise ValueError(f"{cell.notebook}, cell {cell.cell}: {cell.slug!r} is not a slug of concepts.yml{near}")
        shown[cell.slug].append(cell)
    return shown


def page(folder: Path = HERE) -> str:
    """The text of concepts.md: for each section a table of concepts, what each says, and where it is shown."""
    listed = concepts(folder)
    shown = places(listed, tagged_cells(folder))
    done, sections = sum(map(bool, shown.values())), len({concept.section for concept in listed})
    counts = f"{len(listed)} concepts in {sections} sections: {done} shown, {len(listed) - done} planned."
    lines = [HEAD.format(counts=counts)]
    for title, group in itertools.groupby(listed, key=lambda concept: concept.section):
        lines += [f"## {_plain(title)}\n", "| Concept | 概念 | What it says | Where |", "|---|---|---|---|"]
        lines += [f"| {_plain(c.en)} | {_plain(c.zh)} | {_plain(c.what)} | {_where(c, shown[c.slug])} |" for c in group]
        lines.append("")
    return "\n".join(lines)


def _where(concept: Concept, cells: list[Cell]) -> str:
    """Links to the cells, one per heading; or the plan."""
    plan = "the questions and answers" if concept.chapter == "qa" else f"chapter {concept.chapter}"
    return "<br>".join(dict.fromkeys(map(_link, cells))) or f"planned for {plan}"


def _link(cell: Cell) -> str:
    # JupyterLab makes a heading's anchor by turning its spaces into dashes; everything else stays.
    anchor = f"#{quote(cell.heading.replace(' ', '-'))}" if cell.heading else ""
    label = f"{cell.notebook[:2]} {cell.heading}".strip()
    return f"[{_plain(label)}]({cell.notebook}{anchor})"


def _plain(text: str) -> str:
    """Escaped so that a Markdown table shows the text as it is: V* stays V*, a|s stays in its column."""
    return re.sub(r"([\\`*_\[\]<>|~$&])", r"\\\1", text)


if __name__ == "__main__":
    (HERE / "concepts.md").write_text(page(), encoding="utf-8")
