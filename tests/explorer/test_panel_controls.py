"""Every control has a label and can be found; a list shows each of its choices in full."""

import pytest
from ipywidgets import HTML, Dropdown, Select, SelectMultiple

from rdlib.explorer.explorer import Explorer
from rdlib.explorer.panel import BREAK

LONGEST = 31  # characters of a choice beside the arrow; what is longer belongs into a list whose choices take two lines


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
        if isinstance(control, Dropdown):
            assert max(map(len, control._options_labels)) <= LONGEST
        elif isinstance(control, Select | SelectMultiple):
            assert all(" " not in label.replace(f"{BREAK} ", "") for label in control._options_labels)
    for unit in units:
        assert any(f"({unit})" in control.description for control in controls)
