"""A browser and a JupyterLab for the tests here. Without a browser they are skipped aloud, and fail in CI."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from . import driver

CHAPTERS = Path(__file__).parents[2] / "chapters"
lines = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[lines] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What the browser tests have to say, however pytest was called."""
    if config.stash.get(lines, []):
        terminalreporter.section("browser")
        terminalreporter.write_line("\n".join(config.stash[lines]))


@pytest.fixture(scope="package")
def report(request: pytest.FixtureRequest) -> list[str]:
    """Lines to print at the end."""
    return request.config.stash[lines]


@pytest.fixture(scope="package")
def browser(report: list[str]) -> Iterator[driver.Browser]:
    """A headless Chromium. This scope ends it before other folders' tests: its event loop would disturb theirs."""
    from playwright.sync_api import sync_playwright

    try:
        path = driver.chromium()
    except driver.NoBrowser as reason:
        if os.environ.get("CI"):
            pytest.fail(f"no browser: {reason}")
        report.append(f"NOT TESTED IN A BROWSER: {reason}")
        pytest.skip(f"no browser: {reason}")
    with sync_playwright() as playwright:
        window = playwright.chromium.launch(executable_path=path, headless=True, args=driver.FLAGS)
        yield window
        window.close()


@pytest.fixture(scope="package")
def chapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the chapters, their outputs removed, so that nothing old is mistaken for something new."""
    folder = tmp_path_factory.mktemp("lab") / "chapters"
    shutil.copytree(CHAPTERS, folder, ignore=shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__"))
    for path in folder.glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, path)
    return folder


@pytest.fixture(scope="package")
def lab(browser: driver.Browser, chapters: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[driver.Lab]:
    """JupyterLab on the copied chapters, in the browser."""
    with driver.serve(chapters, tmp_path_factory.mktemp("jupyter")) as address:
        window = driver.Lab(browser, address)
        yield window
        window.close()
