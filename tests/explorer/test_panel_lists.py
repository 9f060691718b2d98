"""A closed list shows each of its choices in full, and so does its label."""

import re

import pytest

from rdlib.explorer.explorer import Explorer
from rdlib.explorer.panel import choice


def room(control):
    """Characters that the label and the choice have, and what is left for the arrow and the edges, in em."""
    label, chosen, beside = re.fullmatch(r"calc\((\d+)ch \+ (\d+)ch \+ (\d+)em\)", control.layout.width).groups()
    return int(label), int(chosen), int(beside)


def test_a_list_is_as_wide_as_its_longest_choice_whatever_is_chosen_and_follows_its_choices():
    made = choice("label", [("a", 1), ("longest", 2), ("abc", 3)], 1)
    assert room(made) == (5, 7, 4)
    made.value = 2
    assert room(made) == (5, 7, 4)
    made.options = [("a longer one", 1), ("b", 2)]
    assert room(made) == (5, 12, 4)
    assert (made.layout.max_width, made.value, made.description) == ("100%", 1, "label")


def test_a_label_among_aligned_labels_has_their_width():
    made = choice("label", ("a", "bc"), label_width="15em")
    assert (made.layout.width, made.value) == ("calc(15em + 2ch + 4em)", "a")


@pytest.mark.parametrize("panel", ["network", "training", "paths", "results"])
def test_every_list_of_the_explorer_is_so(panel):
    pending, lists = [getattr(Explorer(), panel).view], []
    while pending:
        one = pending.pop()
        pending += getattr(one, "children", ())
        lists += [one] if type(one).__name__ in ("Dropdown", "SelectMultiple") else []
    assert lists
    for control in lists:
        longest = max(len(label) for label in control._options_labels)
        assert f"+ {longest}ch + 4em)" in control.layout.width
