"""The code stays as easy to read as it is: bounds for the figures of ``tests.house``."""

from statistics import median

import pytest

from tests.house import ROOT, House, defined_twice, measure, p90, sources


@pytest.fixture(scope="module")
def house() -> House:
    return measure(sources(ROOT / "clora_ext"))


def test_functions_are_short(house: House):
    assert median(house.functions) <= 8
    assert p90(house.functions) <= 20
    assert max(house.functions) <= 50


def test_files_hold_one_idea(house: House):
    assert max(house.files) <= 250


def test_statements_are_plain(house: House):
    assert median(house.nodes) <= 13
    assert len(house.double_comprehensions) * 1000 < house.lines, house.double_comprehensions


def test_everything_public_is_explained(house: House):
    assert house.public > 300
    assert house.undocumented == []


def test_a_public_name_means_one_thing():
    assert defined_twice(sources(ROOT / "clora_ext")) == {}
