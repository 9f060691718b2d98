"""The rows that compare JointRD with what else could be done, and with itself: rivals, ablations, depths, tuned."""

from dataclasses import dataclass, field, replace
from typing import Any

from rdlib.experiments.profiles import Profile
from rdlib.experiments.rows import CROSS_ENTROPY, HEIR, LOGITS, Row, Teaching, make_row, three_rows
from rdlib.models import Shortcuts
from rdlib.rivals.register import WAYS

# A rate at which the ResNet of the quick profile loses nothing and the plain network breaks; chosen after looking at
# all three networks on the tune split. How far plain breaks there is a lottery, and another processor draws anew.
HIGH_RATE = 0.9
AT_HIGH_RATE = f"learning rate {HIGH_RATE}"
FINE_TUNED = "fine-tuned"


@dataclass(frozen=True)
class Matched:
    """A ResNet made as cheap as the strictly plain network of its depth and width, in `what`.

    ratio and stages: of the channels a pruned one loses and where (`rivals.pruning.pruned`). width: of a narrowed one.
    Found by bisection over exported graphs (`rivals.pruning.ratio_within`, `width_within`), which a test repeats.
    """

    what: str
    ratio: float
    stages: int
    width: int
    round_to: int = 8


MATCHED: dict[tuple[int, int], tuple[Matched, ...]] = {  # by depth and width, CIFAR stem
    (18, 64): (
        Matched("traffic", 0.328125, 4, 40),
        Matched("peak", 0.265625, 1, 40),
        Matched("MACs", 0.015625, 4, 60),
    ),
    (18, 16): (
        Matched("traffic", 0.3203125, 4, 10, 1),
        Matched("peak", 0.3203125, 1, 10, 1),
        Matched("MACs", 0.0078125, 4, 15, 1),
    ),
    (34, 16): (
        Matched("traffic", 0.3203125, 4, 10, 1),
        Matched("peak", 0.3203125, 1, 10, 1),
        Matched("MACs", 0.0078125, 4, 15, 1),
    ),
    (34, 8): (
        Matched("traffic", 0.328125, 4, 5, 1),
        Matched("peak", 0.265625, 1, 5, 1),
        Matched("MACs", 0.015625, 4, 7, 1),
    ),
}


def at_high_rate(profile: Profile) -> Profile:
    """The quick profile at HIGH_RATE, where plain networks break; any other as it is."""
    return profile.trained(learning_rate=HIGH_RATE) if profile.name == "quick" else profile


def rivals(profile: Profile) -> list[Row]:
    """Every way of `WAYS` with the weights of its paper, from scratch and from the teacher's weights, and ResNets made
    as cheap."""
    if profile.dataset == "imagenet":
        return []
    depth = profile.depths[0]
    teachers = make_row(profile, depth, CROSS_ENTROPY, "all")
    rows = [teachers]
    for way in WAYS:
        taught = Teaching(way.name, way.method, conv=way.conv)
        rows.append(make_row(profile, depth, taught, "none", teachers))
        if way.both:
            method, options = way.started_from_the_teacher()
            heir = replace(taught, method=method, options=options)
            row = make_row(profile, depth, heir, "none", teachers)
            rows.append(replace(row, teaching=taught, heir=True))
    narrowed: set[int] = set()
    for match in MATCHED.get((depth, profile.width), ()):
        tuned = Teaching(
            FINE_TUNED, "FineTuned", {"ratio": match.ratio, "stages": match.stages, "round_to": match.round_to}
        )
        rows.append(make_row(profile, depth, tuned, "all", teachers, cut=f"pruned to {match.what}"))
        if match.width not in narrowed:
            narrowed.add(match.width)
            same = " and ".join(m.what for m in MATCHED[depth, profile.width] if m.width == match.width)
            rows += [
                make_row(profile, depth, how, "all", teachers, "", match.width, f"narrowed to {same}")
                for how in (CROSS_ENTROPY, LOGITS)
            ]
    return rows


def narrowed_to_traffic(profile: Profile) -> Row:
    """Of `rivals` the ResNet of so few channels, by cross-entropy, that it writes no more than the plain network."""
    width = next(match.width for match in MATCHED[profile.depths[0], profile.width] if match.what == "traffic")
    of = (row for row in rivals(profile) if row.teaching == CROSS_ENTROPY and row.shortcuts == "all")
    return next(row for row in of if row.runs[0].width == width)


@dataclass(frozen=True)
class Ablation:
    """One change of JointRD, under the question it answers; released: where the authors' code makes it."""

    question: str
    name: str
    method: str = "JointRD"
    options: dict[str, Any] = field(default_factory=dict)
    shortcuts: Shortcuts = "none"
    conv: str = "plain"
    released: str = ""

    @property
    def teaching(self) -> Teaching:
        return Teaching(self.name, self.method, self.options, self.conv)


DEEPER_TEACHER = Ablation("the teacher", "a deeper teacher")
WIDER_TEACHER = Ablation("the teacher", "a teacher twice as wide", "Widened")
KEPT = Ablation("the student", "downsampling shortcuts kept", shortcuts="downsample")
SCRIPTS = "CIFAR scripts: --dis_weight 0"
DEEPER = {18: 34, 34: 66}  # by the student's depth, a teacher of the same widths
ABLATIONS = (
    Ablation("the loss", "without the mixed cross-entropy", "WithoutMixedCrossEntropy"),
    Ablation("the loss", "without the mixed feature distance", "WithoutMixedDistance"),
    Ablation("the loss", "without any feature distance", options={"distance_weight": 0.0}, released=SCRIPTS),
    Ablation("the loss", "without mixed paths (m = 0)", "FeatureDistillation"),
    Ablation("which path", "only the path after stage 1", "PathAfter1"),
    Ablation("which path", "only the path after stage 2", "PathAfter2"),
    Ablation("which path", "only the path after stage 3", "PathAfter3"),
    Ablation("m(t)", "m = 1 throughout", options={"m_min": 1.0}),
    Ablation("m(t)", "m = 0.5 throughout", options={"m_start": 0.5}),
    Ablation("m(t)", "m linear, 1 to 0.5", "LinearFall"),
    Ablation("m(t)", "m cosine, 1 to 0.005 (ImageNet command)", options={"m_min": 0.005}),
    Ablation("m(t)", "m cosine, 1 to 0 over 90 % of training", options={"m_min": 0.0, "m_end": 0.9}),
    Ablation("lambda", "lambda 1e-2", options={"distance_weight": 1e-2}),
    Ablation("lambda", "lambda 1e-4", options={"distance_weight": 1e-4}),
    Ablation("the distance", "mean squared distance", "MeanSquared"),
    Ablation("the distance", "without connectors", "WithoutConnectors"),
    Ablation("the teacher", "joint teacher", options={"regime": "beside"}),
    Ablation("the teacher", "all terms times 1/4", options={"quarter": True}, released="JOINT: all terms times 1/4"),
    Ablation("the teacher", "joint teacher, all terms times 1/4", options={"regime": "beside", "quarter": True}),
    KEPT,
    Ablation("the student", HEIR, options={"init": "teacher"}),
    Ablation("the student", "own path taught by logits too", "JointRDWithLogits"),
    Ablation("combined", f"{HEIR}, lambda 1e-2", options={"init": "teacher", "distance_weight": 1e-2}),
    Ablation("combined", f"{HEIR}, all terms times 1/4", options={"init": "teacher", "quarter": True}),
    Ablation("combined", "all terms times 1/4, lambda 1e-2", options={"quarter": True, "distance_weight": 1e-2}),
    Ablation(
        "combined",
        f"{HEIR}, all terms times 1/4, lambda 1e-2",
        options={"init": "teacher", "quarter": True, "distance_weight": 1e-2},
    ),
    Ablation(
        "combined",
        f"{HEIR}, all terms times 1/4, without connectors",
        "WithoutConnectors",
        {"init": "teacher", "quarter": True},
    ),
    Ablation(
        *("released commands", "CIFAR: cross-entropy alone", "Supervised"),
        shortcuts="downsample",
        released="README's CIFAR command: plain baseline",
    ),
    Ablation(
        *("released commands", "ImageNet: own path alone, Dirac", "FeatureDistillation"),
        shortcuts="downsample",
        conv="dirac",
        released="README's ImageNet command: TA, Dirac",
    ),
)


def ablations(profile: Profile) -> list[Row]:
    """JointRD with one thing changed, on the tune split; of the quick profile at the high rate, where more is lost."""
    if profile.dataset == "imagenet":
        return []
    tune, depth = at_high_rate(profile).trained(holdout="tune"), profile.depths[0]
    rows = three_rows(tune, depth)
    rows += [make_row(tune, depth, one.teaching, one.shortcuts, rows[0]) for one in ABLATIONS]
    if depth in DEEPER:
        deeper = make_row(tune, DEEPER[depth], CROSS_ENTROPY, "all")
        rows += [deeper, make_row(tune, depth, DEEPER_TEACHER.teaching, "none", deeper)]
    twice = Teaching("cross-entropy, twice as wide", "Supervised")
    wider = make_row(tune, depth, twice, "all", width=2 * tune.width)
    return [*rows, wider, make_row(tune, depth, WIDER_TEACHER.teaching, "none", wider)]


def by_question(profile: Profile) -> dict[str, list[Row]]:
    """The rows of `ablations` that change JointRD, under the question they answer."""
    rows, groups = ablations(profile), dict[str, list[Row]]()
    for one in (*ABLATIONS, DEEPER_TEACHER, WIDER_TEACHER):
        groups.setdefault(one.question, []).extend(row for row in rows if row.teaching == one.teaching)
    return groups


def tuned(profile: Profile, conditions: str = "") -> list[Row]:
    """What the ablations chose on the tune split, beside the paper's JointRD, on the test split."""
    if profile.dataset == "imagenet":
        return []
    rows = three_rows(profile, profile.depths[0], conditions)
    return [*rows, make_row(profile, profile.depths[0], TUNED, "none", rows[0], conditions)]


# What `03_parts_of_jointrd` found best on the tune split of the quick profile; no paper's.
TUNED = Teaching("JointRD, tuned", "JointRD", {"init": "teacher", "quarter": True, "distance_weight": 1e-2})


def tuned_high_rate(profile: Profile) -> list[Row]:
    """`tuned` for the quick profile at the rate at which it was tuned."""
    return tuned(at_high_rate(profile), AT_HIGH_RATE) if profile.name == "quick" else []


DEPTHS = (18, 34, 50, 66, 98)
TEN = range(10)


def depths(profile: Profile) -> list[Row]:
    """ResNet, plain and JointRD of the quick profile at growing depth, ten seeds: where does plain break?"""
    many = profile.seeded(*TEN)
    return [row for depth in DEPTHS for row in three_rows(many, depth)] if profile.name == "quick" else []
