"""Time budgets: how long each notebook ran under nbval, beside the seconds its metadata promises.

More than three times the promise turns the run red: these seconds are what the reader is told to wait.
"""

from pathlib import Path

import pytest

from rlcore.view import course

HERE = Path(__file__).parent
TOLERANCE = 3
collect_ignore_glob = ["source/*"]  # a source is text for the build, not a module
seconds: dict[str, float] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up what every cell took, its kernel's start included."""
    name = Path(report.nodeid.partition("::")[0]).name
    if name.endswith(".ipynb"):
        seconds[name] = seconds.get(name, 0.0) + report.duration


def overdue() -> list[str]:
    """One sentence for every notebook that took more than its promise allows."""
    return [
        f"{chapter.file} took {seconds[chapter.file]:.0f} s, its budget is {chapter.run} s: more than {TOLERANCE}-fold"
        for chapter in course.read(HERE)
        if seconds.get(chapter.file, 0.0) > TOLERANCE * chapter.run
    ]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A notebook over three times its budget fails the run."""
    if not hasattr(session.config, "workerinput") and overdue():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print seconds and budget of every notebook that ran."""
    if not seconds:
        return
    terminalreporter.section("seconds per notebook")
    for chapter in course.read(HERE):
        if chapter.file in seconds:
            terminalreporter.line(f"{chapter.file:28} {seconds[chapter.file]:6.1f} s of {chapter.run} s")
    for sentence in overdue():
        terminalreporter.line(f"FAILED {sentence}", red=True)
