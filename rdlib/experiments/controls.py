"""The controls of a comparison: what else than the method could have made the difference."""

from rdlib.experiments.profiles import TWENTY_EPOCHS, Profile
from rdlib.experiments.rows import CROSS_ENTROPY, Row, make_row, three_rows

EQUAL_EPOCHS = 47  # of the plain network alone take as many operations as 20 epochs of JointRD; a test counts


def controls(profile: Profile) -> list[Row]:
    """ResNet, plain, plain with JointRD's training arithmetic (its teacher's training not counted), and JointRD."""
    if profile.name != TWENTY_EPOCHS.name:
        return []
    longer, rows = profile.trained(epochs=EQUAL_EPOCHS), []
    for depth in profile.depths:
        resnet, plain, jointrd = three_rows(profile, depth)
        conditions = f"{EQUAL_EPOCHS} epochs, JointRD's arithmetic"
        rows += [resnet, plain, make_row(longer, depth, CROSS_ENTROPY, conditions=conditions), jointrd]
    return rows
