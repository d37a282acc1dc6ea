"""Tables of runs: digits, order, and what is on disk while a run goes on."""

import csv

from rlcore import lm
from rlcore.loops import grpo_curves, grpo_desk, rpt_curves, tables


def test_rows_are_written_as_they_come_and_what_is_left_out_stays_empty(tmp_path, monkeypatch):
    monkeypatch.setattr(lm, "SHIPPED", tmp_path)
    seen = []

    def rows():
        yield {"run": "a, b", "seed": 0, "reward": 0.123456}
        seen.append((tmp_path / "made.csv").read_text(encoding="utf-8").split())
        yield {"run": "c", "seed": 1}

    tables.write("made", ("run", "seed", "reward"), rows())
    assert seen == [["run,seed,reward", '"a,', 'b",0,0.1235']]
    with open(tmp_path / "made.csv", encoding="utf-8", newline="") as file:
        assert [*csv.DictReader(file)][1] == {"run": "c", "seed": "1", "reward": ""}


def test_a_table_has_every_run_with_every_seed(monkeypatch):
    for module in (grpo_curves, grpo_desk, rpt_curves):
        written = []
        with monkeypatch.context() as patch:
            patch.setattr(module, "run", lambda one, seed, *_: iter([({"run": one, "seed": seed}, None)]))
            patch.setattr(tables, "write", lambda name, columns, rows, to=written: to.extend((columns, [*rows])))
            module.make_table("made")
        columns, rows = written
        assert columns == module.COLUMNS
        assert [(row["run"], row["seed"]) for row in rows] == [(one, s) for one in module.RUNS for s in module.SEEDS]
