"""What goes beyond the paper: rows that the paper does not have, a function a question."""

from dataclasses import replace

from rdlib.experiments import fair
from rdlib.experiments.controls import HEIR, INHERITED
from rdlib.experiments.profiles import Profile
from rdlib.experiments.rows import FEATURES, JOINTRD, Row, Teaching, make_row, three_rows
from rdlib.rivals.register import ALONE, WAYS

FIVE = range(5)
MANY = 12  # mixed paths of the primary reading
DEEP = (98, 66)  # where JointRD no longer carries, and where half of the seeds fail
DEPTHS = (34, 50, 66, 98)
SAMPLED = Teaching("JointRD, a third of each path", "JointRD", {"paths": "sampled"})
REDISTILL = Teaching("ReDistill", "ReDistill")
BITS_OF = {"digits": "quick", "cifar10-small": "cifar10-small"}  # profiles, by data set, measured with fewer bits
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


def quantised(profile: Profile) -> list[Row]:
    """What is compared with fewer bits: ResNet, plain, JointRD, and the plain network of Dirac and RepVGG convolutions,
    five seeds. Of the small profiles; nothing new of ResNet, plain and JointRD is trained for it."""
    if profile.name not in BITS_OF.values():
        return []
    five, depth = profile.seeded(*FIVE), profile.depths[0]
    ways = [
        Teaching(way.name, way.method, conv=way.conv)
        for way in WAYS
        if way.conv != "plain" and way.method == "Supervised"
    ]
    return [*three_rows(five, depth), *(make_row(five, depth, how) for how in ways)]


def sampled(profile: Profile) -> list[Row]:
    """Each mixed path on a third of the batch, between JointRD and no mixed path. Of the small photographs."""
    if profile.name != "cifar10-small":
        return []
    depth = profile.depths[0]
    resnet, plain, jointrd = three_rows(profile, depth)
    return [resnet, plain, jointrd, *(make_row(profile, depth, how, teachers=resnet) for how in (SAMPLED, FEATURES))]


def redistilled(profile: Profile) -> list[Row]:
    """The rival for peak memory: a ResNet that halves early, taught by the ResNet. Of the small photographs."""
    if profile.name != "cifar10-small":
        return []
    resnet, plain, jointrd = three_rows(profile, profile.depths[0])
    return [resnet, plain, jointrd, make_row(profile, profile.depths[0], REDISTILL, "all", teachers=resnet)]
