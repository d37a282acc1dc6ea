"""The explorer of useful groups against all groups, written out one by one, and against sums in plain Python."""

import itertools
import math
import re

import pytest

from rlcore.view import plots
from rlcore.view.explore import useful


def rest():
    return {name: control.value for name, control in useful.controls().items()}


def enumerated(p, group_size):
    """Chance of each number of right replies: all groups of right (1) and wrong (0), one by one."""
    chances = [0.0] * (group_size + 1)
    for group in itertools.product((0, 1), repeat=group_size):
        chances[sum(group)] += math.prod(p if right else 1 - p for right in group)
    return chances


def written_out(p, group_size):
    return [math.comb(group_size, k) * p**k * (1 - p) ** (group_size - k) for k in range(group_size + 1)]


@pytest.mark.parametrize("p", [0.0, 0.05, 0.5, 0.93, 1.0])
@pytest.mark.parametrize("group_size", useful.SIZES)
def test_counts_are_those_of_all_groups(p, group_size):
    wanted = enumerated(p, group_size) if group_size <= 8 else written_out(p, group_size)
    assert useful.counts(p, group_size).tolist() == pytest.approx(wanted, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("p", [0.0, 0.01, 0.05, 0.3, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("group_size", useful.SIZES)
def test_the_caption_says_what_the_sum_over_mixed_groups_gives(p, group_size):
    chances = written_out(p, group_size)
    share = sum(chances[1:-1])
    said = useful.draw(p, group_size).get_label()
    shape = r"p = ([\d.]+), G = (\d+): ([\d.]+)% of the groups are useful; ([\d.]+)% are all wrong, ([\d.]+)% all right"
    told = [float(x) for x in re.search(shape, said).groups()]
    assert told[:2] == [p, group_size]
    assert told[2:] == pytest.approx([100 * share, 100 * chances[0], 100 * chances[-1]], abs=0.051)
    if share:
        price = float(re.search(r"So ([\d.]+) replies", said)[1])
        assert price == pytest.approx(group_size / share, abs=0.051)
    else:
        assert "So no draw will ever help." in said


def test_bars_and_point_stand_where_the_chances_are():
    figure = useful.draw(0.2, 16)
    (bars,) = [one for one in figure.axes[1].collections if type(one).__name__ == "LineCollection"]
    assert [tuple(s[1]) for s in bars.get_segments()] == [
        (k, pytest.approx(chance)) for k, chance in enumerate(written_out(0.2, 16))
    ]
    point = figure.axes[0].lines[-1].get_xydata().tolist()
    assert point == [pytest.approx([0.2, sum(written_out(0.2, 16)[1:-1])])]
    for line, size in zip(figure.axes[0].lines, useful.SIZES, strict=False):
        for x, y in line.get_xydata()[::20].tolist():
            assert y == pytest.approx(sum(written_out(x, size)[1:-1]), abs=1e-12)
    thick = [line.get_linewidth() > 2 for line in figure.axes[0].lines[:-1]]
    assert thick == [size == 16 for size in useful.SIZES]


def test_at_rest_two_groups_in_three_are_all_wrong():
    assert rest() == {"p": 0.05, "group_size": 8}
    assert 0.65 < enumerated(0.05, 8)[0] < 0.68
    figure = useful.draw(**rest())
    assert "33.7% of the groups are useful; 66.3% are all wrong" in figure.get_label()
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["G = 8, p = 0.05: 33.7% are useful", "23.8 replies for a useful group"]


def test_for_a_rare_success_a_useful_group_costs_about_one_over_p_replies_whatever_its_size():
    prices = [size / sum(written_out(0.01, size)[1:-1]) for size in (2, 4, 8, 16)]
    assert all(100 < price < 110 for price in prices)
    for size, price in zip((2, 4, 8, 16), prices, strict=True):
        assert f"So {price:.1f} replies" in useful.draw(0.01, size).get_label()


def test_every_value_of_every_control_has_a_picture_and_a_caption_of_its_own():
    for here in (rest(), {"p": 0.0, "group_size": 64}, {"p": 1.0, "group_size": 2}, {"p": 0.5, "group_size": 64}):
        for name, values in (("p", (0.0, 0.01, 0.02, 0.5, 0.51, 0.98, 0.99, 1.0)), ("group_size", useful.SIZES)):
            drawn = [useful.draw(**here | {name: value}) for value in values]
            assert len({figure.get_label() for figure in drawn}) == len(drawn)
            assert len({plots.png(figure) for figure in drawn}) == len(drawn)
