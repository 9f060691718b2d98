"""Fair rivals: the same small grid for every way on the tune split, and what it chose on the test split.

A published weight at a rate that was not made for it makes a strawman. So each way, the plain network alone and JointRD
among them, is tried at three rates and three values of its own main weight, and the best by a rule goes to the test.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rdlib.experiments.profiles import Profile
from rdlib.experiments.rows import CROSS_ENTROPY, Row, Teaching, make_row
from rdlib.recipe import PAPER_RECIPE
from rdlib.rivals.register import ALONE, DECAY, WAYS, Way
from rdlib.runs.run import defaults_of

RATES = (0.02, PAPER_RECIPE.learning_rate, 0.3)
TUNE_SEEDS, TEST_SEEDS = (0, 1), (0, 1, 2, 3, 4)
FAILING = 66  # layers, where plain networks of digits begin to fail


@dataclass(frozen=True)
class Setting:
    """One point of a way's grid: a peak learning rate and a value of its main weight."""

    rate: float
    value: float


# By way: the best of `paper.fair.choices` on the tune split of the quick profile; a test compares.
CHOSEN: dict[str, Setting] = {}


def published(way: Way) -> Setting:
    """What its authors, or later comparisons, use, at the paper's learning rate."""
    decay = PAPER_RECIPE.weight_decay if way.optimizer is None else way.tried[1]
    value = defaults_of(way.method).get(way.weight, decay)
    return Setting(PAPER_RECIPE.learning_rate, float(value))


def chosen(way: Way) -> Setting:
    """What its grid chose; before it is run, the published setting."""
    return CHOSEN.get(way.name, published(way))


def settings(way: Way) -> list[Setting]:
    """All points of a way's grid."""
    return [Setting(rate, value) for rate in RATES for value in way.tried]


def row(profile: Profile, way: Way, setting: Setting, teachers: Row, depth: int | None = None) -> Row:
    """The strictly plain network taught in that way with that setting; of JointRD all of m(t) is scaled alike."""
    at = profile.trained(learning_rate=setting.rate)
    if way.optimizer:
        at = at.trained(optimizer=way.optimizer)
    options: dict[str, float] = {}
    if way.weight == DECAY:
        at = at.trained(weight_decay=setting.value)
    else:
        options = {way.weight: setting.value} | ({"m_min": setting.value / 2} if way.weight == "m_start" else {})
    taught = Teaching(way.name, way.method, options, way.conv)
    conditions = f"learning rate {setting.rate:g}, {way.weight} {setting.value:g}"
    return make_row(at, depth or teachers.depth, taught, "none", teachers, conditions)


def grid(profile: Profile, ways: Sequence[Way] = WAYS) -> Iterator[tuple[Way, Setting, Row]]:
    """Every way with every setting, on the tune split; none but for the quick profile, whose runs are short.

    Rivals are tried at the profile's first depth, ways that need no teacher where the plain network begins to fail.
    """
    if profile.name == "quick":
        tune = profile.seeded(*TUNE_SEEDS).trained(holdout="tune")
        teachers = resnet(tune)
        for way in ways:
            for setting in settings(way):
                yield way, setting, row(tune, way, setting, teachers, FAILING if way in ALONE else None)


def tune_rows(profile: Profile) -> list[Row]:
    """The rows of the grid, and those that train their teachers."""
    tried = [one for *_, one in grid(profile)]
    return [resnet(profile.seeded(*TUNE_SEEDS).trained(holdout="tune")), *tried] if tried else []


def alone_rows(profile: Profile) -> list[Row]:
    """The grid of the ways that need no teacher."""
    return [one for *_, one in grid(profile, ALONE)]


def tuned_rows(profile: Profile) -> list[Row]:
    """Each way as it was chosen, on the test split, five seeds; and the ResNet, which is every way's teacher."""
    if profile.name != "quick":
        return []
    test = profile.seeded(*TEST_SEEDS)
    teachers = resnet(test)
    return [teachers, *(row(test, way, CHOSEN[way.name], teachers) for way in WAYS if way.name in CHOSEN)]


def resnet(profile: Profile) -> Row:
    """The teachers, at the profile's own rate."""
    return make_row(profile, profile.depths[0], CROSS_ENTROPY, "all")
