"""The concept index: the list is sound, every tag names a concept, and the page says where each one is shown."""

import doctest
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import mistune
import pytest
import yaml

from chapters import concepts

LIST = concepts.HERE / "concepts.yml"
SECTIONS = yaml.safe_load(LIST.read_text(encoding="utf-8"))["sections"]
ENTRIES = [entry for section in SECTIONS for entry in section["concepts"]]


def write_list(folder: Path, *entries: object) -> None:
    """A list of one section with these concepts."""
    document = {"sections": [{"letter": "A", "en": "Basics", "zh": "基础", "concepts": list(entries)}]}
    (folder / "concepts.yml").write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")


def entry(**changes: object) -> dict[str, object]:
    """A sound concept, with some fields changed; None takes a field away."""
    sound = {"slug": "td-0", "en": "TD(0)", "zh": "时序差分", "chapter": "02", "what": "Learn a guess from a guess."}
    return {field: value for field, value in (sound | changes).items() if value is not None}


def write_notebook(path: Path, *cells: tuple[str, str, list[str]]) -> None:
    """A notebook of (kind, source, tags)."""
    document = {
        "cells": [
            {"cell_type": kind, "id": f"cell-{index}", "source": source.splitlines(True), "metadata": {"tags": tags}}
            for index, (kind, source, tags) in enumerate(cells)
        ]
    }
    path.write_text(json.dumps(document), encoding="utf-8")


# The list ------------------------------------------------------------------------------------------------------------


def test_there_are_189_concepts_in_13_sections_lettered_a_to_m():
    assert "".join(section["letter"] for section in SECTIONS) == "ABCDEFGHIJKLM"
    assert len(ENTRIES) == 189
    assert [len(section["concepts"]) for section in SECTIONS] == [8, 11, 14, 16, 21, 21, 13, 11, 36, 12, 7, 4, 15]


def test_slugs_english_names_and_chinese_names_are_unique():
    for field in ("slug", "en", "zh"):
        repeated = [name for name, times in Counter(concept[field] for concept in ENTRIES).items() if times > 1]
        assert not repeated, f"{field}: {repeated}"


def test_every_concept_has_these_five_fields_and_no_other():
    for concept in ENTRIES:
        assert list(concept) == ["slug", "en", "zh", "chapter", "what"], concept["slug"]


def test_every_what_is_one_sentence_line_of_at_most_110_characters():
    for concept in ENTRIES:
        assert re.fullmatch(r"\S.{9,108}[.?]", concept["what"]), concept["slug"]


def test_every_chapter_from_01_to_15_has_concepts_to_show():
    assert {concept["chapter"] for concept in ENTRIES} == {f"{number:02}" for number in range(1, 16)} | {"qa"}


def test_the_module_reads_the_list_in_its_order():
    assert [concept.slug for concept in concepts.concepts()] == [concept["slug"] for concept in ENTRIES]


@pytest.mark.parametrize("field", ["slug", "en", "zh", "chapter", "what"])
def test_a_missing_field_is_named(tmp_path, field):
    write_list(tmp_path, entry(**{field: None}))
    with pytest.raises(ValueError, match=rf"section 1, .*: {field} is None, expected a text"):
        concepts.concepts(tmp_path)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"what": " "}, "what is ' ', expected a text"),
        ({"chapter": 2}, "chapter is 2, expected a text in quotes"),
        ({"chapter": "16"}, "chapter is '16', expected '00' to '15' or 'qa'"),
        ({"slug": "TD_0"}, "slug is 'TD_0', expected small letters"),
        ({"what": "x" * 111}, "what has 111 characters, expected at most 110"),
    ],
)
def test_an_odd_field_is_named(tmp_path, changes, complaint):
    write_list(tmp_path, entry(**changes))
    with pytest.raises(ValueError, match=complaint):
        concepts.concepts(tmp_path)


def test_a_slug_used_twice_is_named(tmp_path):
    write_list(tmp_path, entry(), entry(slug="sarsa"), entry(en="TD(0) again"))
    with pytest.raises(ValueError, match="slug 'td-0' is used more than once"):
        concepts.concepts(tmp_path)


@pytest.mark.parametrize("entries", [[], ["td-0"]], ids=["no concepts", "a bare slug"])
def test_a_section_holds_concepts(tmp_path, entries):
    write_list(tmp_path, *entries)
    with pytest.raises(ValueError, match=r"section 1, .*: slug is None, expected a text"):
        concepts.concepts(tmp_path)


# The tags ------------------------------------------------------------------------------------------------------------


def test_a_tagged_cell_stands_under_the_nearest_heading_above_it(tmp_path):
    write_notebook(
        tmp_path / "02_samples.ipynb",
        ("code", "# no heading yet", ["concept:sarsa"]),
        ("markdown", "# Learning from *samples*\n\nWords.\n\n## One `step`", []),
        ("code", "# not a heading", ["hide-input", "concept:td-0", "concept:q-learning"]),
        ("markdown", "```\n# not a heading either\n```", ["concept:dqn"]),
        ("markdown", "## Its own heading\n\n### A later one", ["concept:pomdp"]),
        ("raw", "# not Markdown", ["concept:mdp"]),
    )
    assert [(cell.slug, cell.heading, cell.cell) for cell in concepts.tagged_cells(tmp_path)] == [
        ("sarsa", "", "cell-0"),
        ("td-0", "One step", "cell-2"),
        ("q-learning", "One step", "cell-2"),
        ("dqn", "One step", "cell-3"),
        ("pomdp", "Its own heading", "cell-4"),
        ("mdp", "A later one", "cell-5"),
    ]


def test_chapters_come_in_order_then_questions_and_answers_and_nothing_else(tmp_path):
    for name in ("qa", "10_family", "02_samples", "scratch", "02_samples.backup/02_samples"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_notebook(tmp_path / f"{name}.ipynb", ("code", "1", ["concept:td-0"]))
    found = [cell.notebook for cell in concepts.tagged_cells(tmp_path)]
    assert found == ["02_samples.ipynb", "10_family.ipynb", "qa.ipynb"]


def test_a_notebook_without_cell_ids_cannot_be_linked_to(tmp_path):
    cell = {"cell_type": "code", "source": ["1"], "metadata": {}}
    (tmp_path / "02_samples.ipynb").write_text(json.dumps({"cells": [cell]}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"02_samples\.ipynb, cell 0: no id"):
        concepts.tagged_cells(tmp_path)


def test_the_example_of_headings_holds():
    assert doctest.testmod(concepts) == (0, 1)


@pytest.mark.parametrize(
    ("tag", "complaint"),
    [
        ("concept:td0", "02_samples.ipynb, cell cell-1: 'td0' is not a slug of concepts.yml; did you mean 'td-0'?"),
        ("concept:", "02_samples.ipynb, cell cell-1: '' is not a slug"),
        ("Concept:td-0", "02_samples.ipynb, cell cell-1: 'Concept:td-0' is not a slug"),
        ("concepts:td-0", "02_samples.ipynb, cell cell-1: 'concepts:td-0' is not a slug"),
    ],
)
def test_a_tag_without_a_concept_names_notebook_cell_and_slug(tmp_path, tag, complaint):
    write_list(tmp_path, entry())
    write_notebook(tmp_path / "02_samples.ipynb", ("markdown", "# Samples", []), ("code", "1", [tag]))
    with pytest.raises(ValueError, match=re.escape(complaint)):
        concepts.page(tmp_path)


# The page ------------------------------------------------------------------------------------------------------------


def rows(markdown: str) -> list[list[dict]]:
    """The body rows of all tables as mistune, another Markdown reader than the module's, sees them."""
    tree = mistune.create_markdown(renderer="ast", plugins=["table", "strikethrough"])(markdown)
    bodies = [part for node in tree if node["type"] == "table" for part in node["children"] if "body" in part["type"]]
    return [row["children"] for body in bodies for row in body["children"]]


def text(node: dict) -> str:
    """What a reader sees of a node; emphasis, code or HTML would show as a type of its own and fail here."""
    assert node["type"] in ("table_cell", "text", "link"), node
    return node.get("raw", "") + "".join(map(text, node.get("children", [])))


def test_a_reader_sees_every_name_and_formula_as_the_list_has_it(tmp_path):
    shutil.copy(LIST, tmp_path)
    seen = [[text(cell) for cell in row[:3]] for row in rows(concepts.page(tmp_path))]
    assert seen == [[concept["en"], concept["zh"], concept["what"]] for concept in ENTRIES]


def test_signs_of_markdown_in_a_name_are_shown_not_obeyed(tmp_path):
    name = r"*V* π* ~a~ ~~b~~ `c` $d$ <b>e</b> [f](g) h|i __j__ &lt; \* k\|l"
    write_list(tmp_path, entry(en=name))
    assert text(rows(concepts.page(tmp_path))[0][0]) == name


def test_without_notebooks_every_concept_is_planned(tmp_path):
    shutil.copy(LIST, tmp_path)
    page = concepts.page(tmp_path)
    assert "189 concepts in 13 sections: 0 shown, 189 planned." in page
    plans = {"qa": "planned for the questions and answers"}
    expected = [plans.get(concept["chapter"], f"planned for chapter {concept['chapter']}") for concept in ENTRIES]
    assert [text(row[3]) for row in rows(page)] == expected


def test_a_shown_concept_links_to_the_first_tagged_cell_under_each_heading(tmp_path):
    write_list(tmp_path, entry(), entry(slug="sarsa", en="SARSA", chapter="qa"))
    write_notebook(
        tmp_path / "02_samples.ipynb",
        ("code", "1", ["concept:td-0"]),
        ("markdown", "## Bellman's V*: one [small] step, 价值", []),
        ("code", "1", ["concept:td-0"]),
        ("code", "2", ["concept:td-0"]),
    )
    write_notebook(tmp_path / "qa.ipynb", ("markdown", "## Bellman's V*: one [small] step, 价值", ["concept:td-0"]))
    page = concepts.page(tmp_path)
    assert ": 1 shown, 1 planned." in page
    links = [node for node in rows(page)[0][3]["children"] if node["type"] == "link"]
    assert [(text(link), link["attrs"]["url"]) for link in links] == [
        ("02", "02_samples.ipynb#cell-id=cell-0"),
        ("02 Bellman's V*: one [small] step, 价值", "02_samples.ipynb#cell-id=cell-2"),
        ("qa Bellman's V*: one [small] step, 价值", "qa.ipynb#cell-id=cell-0"),
    ]
    assert text(rows(page)[1][3]) == "planned for the questions and answers"


def test_the_committed_page_is_the_generated_one():
    committed = (concepts.HERE / "concepts.md").read_text(encoding="utf-8")
    assert committed == concepts.page(), "concepts.md is out of date: run python chapters/concepts.py"
