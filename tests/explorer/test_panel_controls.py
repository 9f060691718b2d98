"""Every control has a label and can be found; a closed list shows each of its choices in full."""

import re

import pytest
from ipywidgets import HTML, Dropdown, SelectMultiple

from rdlib.explorer.explorer import Explorer
from rdlib.explorer.panel import choice


def room(control):
    """Characters that the label and the choice have, and what is left for the arrow and the edges, in em."""
    label, chosen, beside = re.fullmatch(r"calc\((\d+)(?:ch|em) \+ (\d+)ch \+ (\d+)em\)", control.layout.width).groups()
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


@pytest.fixture(scope="module")
def explorer():
    return Explorer()


def below(widget):
    for child in getattr(widget, "children", ()):
        yield child
        yield from below(child)


@pytest.mark.parametrize(
    ("panel", "units"),
    [
        ("network", ("layers", "channels", "pixels", "images")),
        ("training", ("layers", "peak")),
        ("paths", ()),
        ("results", ("layers", "channels", "peak")),
    ],
)
def test_every_control_has_a_label_and_a_class_to_be_found_by_and_every_list_is_so(explorer, panel, units):
    view = getattr(explorer, panel).view
    assert f"rdlib-{panel}" in view._dom_classes
    controls = [one for one in below(view) if hasattr(one, "description") and not isinstance(one, HTML)]
    assert len(controls) >= 5
    for control in controls:
        assert control.description
        assert any(name.startswith(f"rdlib-{panel}-") for name in control._dom_classes)
        if isinstance(control, Dropdown | SelectMultiple):
            assert room(control)[1] == max(len(label) for label in control._options_labels)
    for unit in units:
        assert any(f"({unit})" in control.description for control in controls)
