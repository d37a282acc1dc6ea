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

import yaml
from markdown_it import MarkdownIt

HERE = Path(__file__).parent
FIELDS = ("slug", "en", "zh", "chapter", "what")
LONGEST = 110  # characters of `what`: one line of the page
HEAD = """\
# Concepts

This page lists every concept of the course in English and in Chinese, says each in one line, and links to the cells
that show it. {counts}

Made by `python chapters/concepts.py` from `concepts.yml` and the tags `concept:<slug>` of the notebooks' cells."""


@dataclass(frozen=True)
class Concept:
    slug: str
    en: str
    zh: str
    chapter: str
    what: str
    section: str  # its title: letter, English, Chinese


@dataclass(frozen=True)
class Cell:
    slug: str
    notebook: str
    cell: str  # its id
    heading: str  # the one it stands under; "" before the first


def concepts(folder: Path = HERE) -> list[Concept]:
    """Every concept of concepts.yml, in order. Raises ValueError for a missing or odd field and for a repeated slug."""
    sections = yaml.safe_load((folder / "concepts.yml").read_text(encoding="utf-8"))["sections"]
    listed = []
    for number, section in enumerate(sections, start=1):
        where = f"concepts.yml, section {number}"
        title = "{letter}. {en} · {zh}".format(**_texts(section, ("letter", "en", "zh"), where))
        listed += [_concept(entry, title, where) for entry in section.get("concepts") or [None]]
    if repeated := [slug for slug, times in Counter(concept.slug for concept in listed).items() if times > 1]:
        raise ValueError(f"concepts.yml: slug {repeated[0]!r} is used more than once, expected unique slugs")
    return listed


def _texts(entry: object, fields: tuple[str, ...], where: str) -> dict[str, str]:
    texts = {field: entry.get(field) if isinstance(entry, dict) else None for field in fields}
    for field, text in texts.items():
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{where}: {field} is {text!r}, expected a text in quotes")
    return texts


def _concept(entry: object, section: str, where: str) -> Concept:
    where = f"{where}, {entry!r:.50}"
    texts = _texts(entry, FIELDS, where)
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", texts["slug"]):
        raise ValueError(f"{where}: slug is {texts['slug']!r}, expected small letters and digits joined by hyphens")
    if not re.fullmatch(r"0\d|1[0-5]|qa", texts["chapter"]):
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
            if "id" not in cell:
                raise ValueError(f"{path.name}, cell {index}: no id, expected a notebook of format 4.5 or later")
            own = headings("".join(cell["source"])) if cell["cell_type"] == "markdown" else []
            above, heading = (own[0], own[-1]) if own else (heading, heading)
            # A misspelt prefix must not pass unseen: whatever begins like the tag has to name a concept.
            tags = [tag for tag in cell["metadata"].get("tags", []) if tag.lower().startswith("concept")]
            found += [Cell(tag.removeprefix("concept:"), path.name, cell["id"], above) for tag in tags]
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
        lines += [f"\n## {_plain(title)}\n", "| Concept | 概念 | What it says | Where |", "|---|---|---|---|"]
        lines += [f"| {_plain(c.en)} | {_plain(c.zh)} | {_plain(c.what)} | {_where(c, shown[c.slug])} |" for c in group]
    return "\n".join(lines) + "\n"


def _where(concept: Concept, cells: list[Cell]) -> str:
    """For each heading that shows the concept, a link to its first such cell; without any, the plan."""
    links: dict[tuple[str, str], str] = {}
    for cell in cells:
        label = _plain(f"{cell.notebook[:2]} {cell.heading}".strip())
        # By cell id: JupyterLab does not find a heading that holds γ, π or an en dash, nor the second of two alike.
        links.setdefault((cell.notebook, cell.heading), f"[{label}]({cell.notebook}#cell-id={cell.cell})")
    plan = "the questions and answers" if concept.chapter == "qa" else f"chapter {concept.chapter}"
    return "<br>".join(links.values()) or f"planned for {plan}"


def _plain(text: str) -> str:
    """Escaped so that a Markdown table shows the text as it is: V* stays V*, a|s stays in its column."""
    return re.sub(r"([\\`*_\[\]<>|~$&])", r"\\\1", text)


if __name__ == "__main__":
    (HERE / "concepts.md").write_text(page(), encoding="utf-8")
