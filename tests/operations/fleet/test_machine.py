"""What tells a machine from its clones is not the number that others must not see, and is nothing where there is none."""

import re

import pytest

from model_provisioner.operations.fleet.machine import machine_id


@pytest.fixture
def place(tmp_path):
    return tmp_path / "machine-id"


def test_two_machines_differ_and_none_shows_its_number(place):
    found = set()
    for number in ("0123456789abcdef" * 2, "f" * 32):
        place.write_text(f"{number}\n")
        found.add(machine_id((str(place),)))
        assert number not in found
    assert len(found) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in found)


def test_the_second_place_is_asked_where_the_first_has_none(place):
    place.write_text("f" * 32)
    assert machine_id(("/nowhere", str(place))) == machine_id((str(place),)) != ""


@pytest.mark.parametrize("text", ["", "uninitialized\n", "f" * 31, "F" * 32, "f" * 10_000, "\xff" * 32])
def test_an_image_without_a_number_tells_nothing(place, text):
    place.write_text(text)
    assert machine_id((str(place),)) == ""


def test_what_is_no_file_tells_nothing(tmp_path):
    assert machine_id((str(tmp_path), "/nowhere")) == ""
