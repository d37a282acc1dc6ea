"""What is still to be shown: the concepts without a cell, printed at the end of a run that tested the concepts."""

import pytest

from chapters import concepts


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A list to work from, not a failure."""
    if not any("test_concepts" in report.nodeid for report in terminalreporter.stats.get("passed", [])):
        return
    listed = concepts.concepts()
    shown = concepts.places(listed, concepts.tagged_cells())
    missing = [concept for concept in listed if not shown[concept.slug]]
    terminalreporter.section(f"{len(missing)} of {len(listed)} concepts have no cell yet")
    for chapter in sorted({concept.chapter for concept in missing}):
        slugs = ", ".join(concept.slug for concept in missing if concept.chapter == chapter)
        terminalreporter.line(f"{chapter}: {slugs}")
