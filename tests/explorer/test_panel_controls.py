"""Every control has a label and can be found; a closed list shows each of its choices in full."""

import re

import pytest
from ipywidgets import HTML, Dropdown, SelectMultiple

from rdlib.explorer.explorer import Explorer


def room(control):
    """Characters that the label and the choice have, and what is left for the arrow and the edges, in em."""
    label, chosen, beside = re.fullmatch(r"calc\((\d+)(?:ch|em) \+ (\d+)ch \+ (\d+)em\)", control.layout.width).groups()
    return int(label), int(chosen), int(beside)


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
