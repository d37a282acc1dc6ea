"""Tables of runs beside the shipped models, written row by row. Left out: what the rows say."""

import csv
from collections.abc import Iterable, Sequence
from typing import Any

from rlcore import lm


def write(name: str, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write `name`.csv; each row is on disk before the next one is made. What a row leaves out stays empty."""
    with open(lm.SHIPPED / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for row in rows:
            writer.writerow(told(row))
            file.flush()


def told(row: dict[str, Any]) -> dict[str, Any]:
    """A row as it is written: what is no whole number, with four decimals.

    >>> told({"run": "GRPO", "seed": 0, "reward": 0.123456})
    {'run': 'GRPO', 'seed': 0, 'reward': '0.1235'}
    """
    return {key: f"{value:.4f}" if isinstance(value, float) else value for key, value in row.items()}
