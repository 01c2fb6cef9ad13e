"""The estimate counts what the engine then does."""

import pytest

from clora_ext.engine.estimate import estimate
from clora_ext.settings import settings

WORN = {0: (), 1: ("a",), 2: ("b",)}


@pytest.mark.parametrize(
    ("method", "rows"), [("clora", 6), ("masks", 6), ("composite", 4), ("switch", 2), ("merge", 2)]
)
def test_rows_of_a_step(method: str, rows: int):
    found = estimate(settings("authors", method), WORN, 20)
    assert found.plain_rows == 40
    assert found.rows == 20 * rows
    assert found.gradient_rows == (20 * 6 if method == "clora" else 0)
    assert (found.ratio == 1.0) == (rows == 2)


def test_the_papers_rounds_are_counted():
    paper = estimate(settings("paper"), WORN, 50)
    assert paper.gradient_rows == (25 + 3 * 20) * 3
