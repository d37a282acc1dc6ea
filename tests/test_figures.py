"""Every figure is made by its script: the same bytes every time, captioned, with text large enough to read."""

from pathlib import Path

import matplotlib.text
import pytest

from figures import build
from rlcore.view import plots, style

ROOT = Path(__file__).parents[1]
SCRIPTS = build.scripts()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_figure_is_what_its_script_draws_byte_for_byte(script, tmp_path):
    again = tmp_path / f"{script.stem}.svg"
    plots.save_svg(build.draw(script), again)
    assert again.read_bytes() == (ROOT / "figures" / again.name).read_bytes()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_figure_says_what_it_shows(script):
    fig = build.draw(script)
    assert len(fig.get_label()) >= 40
    assert "<dc:description>" in (ROOT / "figures" / f"{script.stem}.svg").read_text(encoding="utf-8")
    assert fig.get_figwidth() <= style.WIDTH


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_labels_and_titles_are_at_least_ten_points(script):
    for ax in build.draw(script).axes:
        for label in (ax.title, ax.xaxis.label, ax.yaxis.label):
            assert not label.get_text() or label.get_fontsize() >= 10
    assert all(t.get_fontsize() >= 8 for t in build.draw(script).findobj(matplotlib.text.Text) if t.get_text())


def test_every_figure_has_a_script_and_every_script_a_figure():
    pictures = {path.stem for path in (ROOT / "figures").glob("*.svg")}
    assert pictures == {script.stem for script in SCRIPTS}


def test_no_two_symbols_share_a_colour():
    assert len(set(style.COLOR.values())) == len(style.COLOR)
