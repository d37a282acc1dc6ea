"""The explorer of the league against the table, read row by row."""

import csv
import re
from collections import defaultdict

import pytest

from rlcore import lm
from rlcore.loops import entrants
from rlcore.view.explore import corners, league


def table(name):
    with open(lm.SHIPPED / f"{name}.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def mean(rows, column):
    return sum(float(row[column]) for row in rows) / len(rows)


def by_method():
    rows = defaultdict(list)
    for row in table("replies_league"):
        rows[row["method"]].append(row)
    return rows


ROWS = by_method()


def rest():
    return {name: control.value for name, control in league.controls().items()}


def numbers(text):
    return [float(x) for x in re.findall(r"-?\d+\.\d+", text.replace("−", "-"))]


@pytest.mark.parametrize("method", ROWS)
def test_the_caption_says_the_means_of_the_marked_method(method):
    said = league.draw(**rest() | {"method": method}).get_label()
    head, told = said.split("): ", 1)
    assert head.startswith(method + " (")
    rows, golds = ROWS[method], [float(row["gold"]) for row in ROWS[method]]
    wanted = [mean(rows, "gold"), max(golds) - min(golds)]
    wanted += [mean(rows, name) for name in ("kl", "length", "echo", "label", "chosen", "rejected")]
    assert numbers(told)[:8] == pytest.approx(wanted, abs=0.0051)


def test_the_most_gold_is_found_among_the_chosen_alone():
    for values in corners(league.controls()):
        said, chosen = league.draw(**values).get_label(), []
        for method, rows in ROWS.items():
            asked = {"True": league.WITH, "False": league.WITHOUT}[rows[0]["reference"]]
            of_kind = rows[0]["kind"] in values["kinds"] and values["reference"] in (league.SHARED, asked)
            if of_kind and method in values["methods"]:
                chosen.append((mean(rows, "gold"), method))
        assert (
            f"{len(chosen)} of {len(ROWS)} methods are drawn, gold over {league.ACROSS[values['across']][0]};" in said
        )
        if chosen:
            gold, method = max(chosen)
            found = re.search(r"among the chosen: (.+?), (−?\d\.\d\d)\.", said)
            assert found[1] == method
            assert numbers(found[2]) == pytest.approx([gold], abs=0.0051)
        else:
            assert "among the chosen" not in said


def test_a_method_that_is_taken_out_is_not_drawn():
    without = tuple(name for name in ROWS if name != "RSO")
    assert "39 of 39 methods are drawn" in league.draw(**rest()).get_label()
    fig = league.draw(**rest() | {"methods": without})
    assert "38 of 39 methods are drawn" in fig.get_label()
    places = {tuple(point) for line in fig.axes[0].lines for point in line.get_xydata().round(3).tolist()}
    taken_out, kept = ((round(mean(ROWS[m], "kl"), 3), round(mean(ROWS[m], "gold"), 3)) for m in ("RSO", "SimPO"))
    assert taken_out not in places
    assert kept in places


def test_the_star_is_the_end_of_ppo_in_the_record_of_chapter_08():
    rows = [row for row in table("replies_rlhf") if row["run"] == "beta 0.2"]
    assert {row["seed"] for row in rows} == {"0", "1", "2"}
    last = [row for row in rows if int(row["update"]) > 50]
    end, start = league.ppo()
    assert end["gold"] == pytest.approx(mean(last, "gold"))
    assert end["kl"] == pytest.approx(mean(last, "kl"))
    assert start["gold"] == pytest.approx(mean([row for row in rows if row["update"] == "1"], "gold"))
    assert f"PPO at β = 0.2: gold {end['gold']:.2f}, KL {end['kl']:.2f}." in league.draw(**rest()).get_label()


def test_every_entrant_is_there_on_three_seeds_with_what_it_learns_from():
    assert list(league.entries()) == list(entrants.METHODS)
    for name, method in entrants.METHODS.items():
        entry = league.entries()[name]
        assert (entry.kind, entry.reference) == (method.kind, method.reference)
        assert {row["seed"] for row in ROWS[name]} == {"0", "1", "2"}
        assert all(len(values) == 3 for values in entry.numbers.values())


def test_points_and_marks_stand_at_the_means_or_at_the_edge():
    for across in league.ACROSS:
        ax = league.draw(**rest() | {"across": across}).axes[0]
        (low, high), drawn = ax.get_xlim(), set()
        for line in ax.lines:
            drawn |= {(round(float(x), 3), round(float(y), 3)) for x, y in line.get_xydata()}
        for rows in ROWS.values():
            x, y = mean(rows, across), mean(rows, "gold")
            if low + 0.1 < x < high - 0.2 and league.GOLD[0] + 0.1 < y < league.GOLD[1] - 0.1:
                assert (round(x, 3), round(y, 3)) in drawn
        assert all(low <= x <= high and league.GOLD[0] <= y <= league.GOLD[1] for x, y in drawn)
