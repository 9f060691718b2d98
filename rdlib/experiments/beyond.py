"""What goes beyond the paper: rows that nobody has published, a function a question."""

from dataclasses import replace

from rdlib.experiments import fair
from rdlib.experiments.controls import HEIR, INHERITED
from rdlib.experiments.profiles import Profile
from rdlib.experiments.rows import FEATURES, JOINTRD, Row, Teaching, make_row, three_rows
from rdlib.rivals.register import ALONE

FIVE = range(5)
MANY = 12  # mixed paths of the primary reading
DEEP = (98, 66)  # where JointRD no longer carries, and where half of the seeds fail
DEPTHS = (34, 50, 66, 98)
SAMPLED = Teaching("JointRD, a third of each path", "JointRD", {"paths": "sampled"})
EQUAL_EPOCHS = 68  # of JointRD at 98 layers: the operations of MANY paths in 30; a test counts


def at_blocks(cuts: int, **options: object) -> Teaching:
    return Teaching(f"JointRD, {cuts} paths at blocks", "JointRDAtBlocks", {"cuts": cuts, **options})


def deeper(profile: Profile) -> list[Row]:
    """How deep can it go? JointRD with 3, 6 and 12 evenly spaced mixed paths, at 98 layers and 66, five seeds; its own
    three paths with as much arithmetic, and both from the teacher's weights. Of the quick profile."""
    if profile.name != "quick":
        return []
    five, rows = profile.seeded(*FIVE), list[Row]()
    for depth in DEEP:
        resnet, plain, jointrd = three_rows(five, depth)
        rows += [resnet, plain, jointrd, make_row(five, depth, at_blocks(MANY), teachers=resnet)]
    resnet = rows[0]
    longer = five.trained(epochs=EQUAL_EPOCHS)
    rows += [make_row(five, DEEP[0], at_blocks(cuts), teachers=resnet) for cuts in (6, 3)]
    rows.append(
        make_row(
            longer, DEEP[0], JOINTRD, teachers=resnet, conditions=f"{EQUAL_EPOCHS} epochs, arithmetic of {MANY} paths"
        )
    )
    heirs = (INHERITED, HEIR, at_blocks(MANY, init="teacher"))
    return rows + [replace(make_row(five, DEEP[0], how, teachers=resnet), heir=True) for how in heirs]


def alone(profile: Profile) -> list[Row]:
    """Without a teacher: another optimiser, other starts, shortcuts that fade, each as its grid chose; beside ResNet,
    plain and JointRD, 34 to 98 layers, five seeds. Of the quick profile."""
    if profile.name != "quick":
        return []
    five, rows = profile.seeded(*FIVE), list[Row]()
    for depth in DEPTHS:
        resnet, *others = three_rows(five, depth)
        rows += [resnet, *others, *(fair.row(five, way, fair.chosen(way), resnet, depth) for way in ALONE)]
    return rows


def sampled(profile: Profile) -> list[Row]:
    """Each mixed path on a third of the batch, between JointRD and no mixed path. Of the small photographs."""
    if profile.name != "cifar10-small":
        return []
    depth = profile.depths[0]
    resnet, plain, jointrd = three_rows(profile, depth)
    return [resnet, plain, jointrd, *(make_row(profile, depth, how, teachers=resnet) for how in (SAMPLED, FEATURES))]
