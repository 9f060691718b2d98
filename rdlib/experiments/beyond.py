"""What goes beyond the paper: rows that nobody has published, a function a question."""

from dataclasses import replace

from rdlib.experiments.controls import HEIR, INHERITED
from rdlib.experiments.profiles import Profile
from rdlib.experiments.rows import JOINTRD, Row, Teaching, make_row, three_rows

FIVE = range(5)
MANY = 12  # mixed paths of the primary reading
DEEP = (98, 66)  # where JointRD no longer carries, and where half of the seeds fail
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
