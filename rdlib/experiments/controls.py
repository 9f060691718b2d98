"""The controls of a comparison: what else than the method could have made the difference."""

from dataclasses import replace

from rdlib.experiments.profiles import SHORT, Profile
from rdlib.experiments.rows import Row, make_row

EQUAL_EPOCHS = 47  # of the plain network alone take as many operations as SHORT's 20 epochs of JointRD; a test counts


def controls(profile: Profile) -> list[Row]:
    """ResNet, plain, plain with JointRD's training arithmetic (its teacher's training not counted), and JointRD."""
    if profile.name != SHORT.name:
        return []
    longer = replace(profile, recipe=replace(profile.recipe, epochs=EQUAL_EPOCHS))
    rows = []
    for depth in profile.depths:
        teachers = make_row(profile, depth, "cross-entropy", "all")
        rows += [
            teachers,
            make_row(profile, depth, "cross-entropy", "none"),
            make_row(longer, depth, "cross-entropy", "none", setting=f"{EQUAL_EPOCHS} epochs, JointRD's arithmetic"),
            make_row(profile, depth, "JointRD", "none", teachers),
        ]
    return rows
