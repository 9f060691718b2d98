"""The controls of a comparison: what else than the method could have made the difference."""

from dataclasses import replace

from rdlib.experiments.profiles import PROFILES, TWENTY_EPOCHS, Profile
from rdlib.experiments.rows import CROSS_ENTROPY, FEATURES, JOINTRD, Row, Teaching, make_row

# Epochs of the plain network alone that take as many operations as JointRD's, its teacher not counted; a test counts.
EQUAL_EPOCHS = {TWENTY_EPOCHS.name: 47, "cifar10-small": 24, "cifar100-small": 24}
INHERITED = Teaching("cross-entropy", "Inherited")
HEIR = Teaching("JointRD", "JointRD", {"init": "teacher"})


def controls(profile: Profile) -> list[Row]:
    """ResNet, plain, plain with JointRD's arithmetic, and JointRD; of the small profiles, which repeat it all on a CPU,
    also the ResNet that is taught alike, both networks from the teacher's weights, and JointRD's last term alone."""
    if profile.name not in EQUAL_EPOCHS:
        return []
    depth, epochs = profile.depths[0], EQUAL_EPOCHS[profile.name]
    resnet = make_row(profile, depth, CROSS_ENTROPY, "all")
    longer = f"{epochs} epochs, JointRD's arithmetic"
    rows = [
        resnet,
        make_row(profile, depth, CROSS_ENTROPY),
        make_row(profile.trained(epochs=epochs), depth, CROSS_ENTROPY, conditions=longer),
        make_row(profile, depth, JOINTRD, teachers=resnet),
    ]
    if profile.name in PROFILES:
        heirs = [make_row(profile, depth, how, teachers=resnet) for how in (INHERITED, HEIR)]
        rows += [
            make_row(profile, depth, JOINTRD, "all", resnet),
            *(replace(row, heir=True) for row in heirs),
            make_row(profile, depth, FEATURES, teachers=resnet),
        ]
    return rows
