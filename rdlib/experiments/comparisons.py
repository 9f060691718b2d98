"""The rows that compare JointRD with what else could be done, and with itself: rivals, ablations, depths, tuned."""

from dataclasses import dataclass, field, replace
from typing import Any

from rdlib.experiments.profiles import Profile
from rdlib.experiments.rows import TAUGHT, Row, make_row, taught_row
from rdlib.models import Shortcuts
from rdlib.recipe import PAPER_RECIPE
from rdlib.rivals.register import WAYS

HEIR = "from the teacher's weights"


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
    (34, 8): (
        Matched("traffic", 0.328125, 4, 5, 1),
        Matched("peak", 0.265625, 1, 5, 1),
        Matched("MACs", 0.015625, 4, 7, 1),
    ),
}


def at_rate(profile: Profile, rate: float) -> Profile:
    return replace(profile, recipe=replace(profile.recipe, learning_rate=rate))


def on_tune(profile: Profile) -> Profile:
    return replace(profile, recipe=replace(profile.recipe, holdout="tune"))


def rivals(profile: Profile) -> list[Row]:
    """`compared` at the paper's learning rate: the quick profile's own, chosen to break plain networks, is unfair."""
    rate = PAPER_RECIPE.learning_rate
    return compared(at_rate(profile, rate), f"learning rate {rate}" if profile.name == "quick" else "")


def rivals_high_rate(profile: Profile) -> list[Row]:
    """`compared` at the quick profile's own learning rate, at which some ways diverge and so have no record."""
    return compared(profile) if profile.name == "quick" else []


def compared(profile: Profile, setting: str = "") -> list[Row]:
    """Every way of `ways.WAYS`, from scratch and from the teacher's weights, and ResNets made as cheap."""
    if profile.dataset == "imagenet":
        return []
    depth = profile.depths[0]
    teachers = make_row(profile, depth, "cross-entropy", "all", None, setting)
    rows = [teachers]
    for way in WAYS:
        starts = [(way.method, way.options, setting)]
        if way.both:
            starts.append((*way.started_from_the_teacher(), ", ".join(part for part in (HEIR, setting) if part)))
        for method, options, start in starts:
            how = (way.name, method.__name__, options)
            rows.append(taught_row(profile, depth, *how, "none", teachers, start, way.conv))
    narrowed: set[int] = set()
    for match in MATCHED.get((depth, profile.width), ()):
        options = {"ratio": match.ratio, "stages": match.stages, "round_to": match.round_to}
        label = f"pruned to {match.what}, fine-tuned"
        rows.append(taught_row(profile, depth, label, "FineTuned", options, "all", teachers, setting))
        if match.width not in narrowed:
            narrowed.add(match.width)
            same = " and ".join(m.what for m in MATCHED[depth, profile.width] if m.width == match.width)
            for taught_by in ("cross-entropy", "logit distillation"):
                narrow = (f"narrowed to {same}, {taught_by}", *TAUGHT[taught_by])
                rows.append(taught_row(profile, depth, *narrow, "all", teachers, setting, width=match.width))
    return rows


@dataclass(frozen=True)
class Ablation:
    """One change of JointRD, under the question it answers."""

    question: str
    name: str
    method: str = "JointRD"
    options: dict[str, Any] = field(default_factory=dict)
    shortcuts: Shortcuts = "none"
    conv: str = "plain"


DEEPER_TEACHER, WIDER_TEACHER = "a deeper teacher", "a teacher twice as wide"
DEEPER = {18: 34, 34: 66}  # by the student's depth, a teacher of the same widths
ABLATIONS = (
    Ablation("the loss", "without the mixed cross-entropy", "WithoutMixedCrossEntropy"),
    Ablation("the loss", "without the mixed feature distance", "WithoutMixedDistance"),
    Ablation("the loss", "without any feature distance", options={"distance_weight": 0.0}),
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
    Ablation("the teacher", "joint teacher", options={"regime": "joint"}),
    Ablation("the teacher", "all terms times 1/4", options={"quarter": True}),
    Ablation("the teacher", "joint teacher, all terms times 1/4", options={"regime": "joint", "quarter": True}),
    Ablation("the student", "downsampling shortcuts kept", shortcuts="downsample"),
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
    Ablation("released commands", "CIFAR: cross-entropy alone", "Supervised", {}, "downsample"),
    Ablation("released commands", "ImageNet: own path alone, Dirac", "FeatureDistillation", {}, "downsample", "dirac"),
)


def ablations(profile: Profile) -> list[Row]:
    """JointRD with one thing changed, at the profile's recipe, on the tune split."""
    if profile.dataset == "imagenet":
        return []
    tune, depth = on_tune(profile), profile.depths[0]
    teachers = make_row(tune, depth, "cross-entropy", "all", None, "tune split")
    rows = [
        teachers,
        make_row(tune, depth, "cross-entropy", "none", None, "tune split"),
        make_row(tune, depth, "JointRD", "none", teachers, "tune split"),
    ]
    for one in ABLATIONS:
        how = (one.name, one.method, one.options, one.shortcuts)
        rows.append(taught_row(tune, depth, *how, teachers, "tune split", one.conv))
    if depth in DEEPER:
        deeper = make_row(tune, DEEPER[depth], "cross-entropy", "all", None, "tune split")
        rows += [deeper, taught_row(tune, depth, DEEPER_TEACHER, "JointRD", {}, "none", deeper, "tune split")]
    wider = taught_row(
        tune, depth, "cross-entropy, twice as wide", "Supervised", {}, "all", None, "tune split", width=2 * tune.width
    )
    return [*rows, wider, taught_row(tune, depth, WIDER_TEACHER, "Widened", {}, "none", wider, "tune split")]


def by_question(profile: Profile) -> dict[str, list[Row]]:
    """The rows of `ablations` that change JointRD, under the question they answer."""
    questions = {one.name: one.question for one in ABLATIONS}
    questions |= dict.fromkeys((DEEPER_TEACHER, WIDER_TEACHER), "the teacher")
    groups: dict[str, list[Row]] = {question: [] for question in questions.values()}
    for row in ablations(profile):
        if row.method in questions:
            groups[questions[row.method]].append(row)
    return groups


# Of JointRD: what `07_what_is_jointrd` found best on the tune split of the quick profile; no paper's.
TUNED: dict[str, Any] = {"init": "teacher", "quarter": True, "distance_weight": 1e-2}


def tuned(profile: Profile, setting: str = "") -> list[Row]:
    """What the ablations chose on the tune split, beside the paper's JointRD, on the test split."""
    if profile.dataset == "imagenet":
        return []
    depth = profile.depths[0]
    teachers = make_row(profile, depth, "cross-entropy", "all", None, setting)
    return [
        teachers,
        make_row(profile, depth, "cross-entropy", "none", None, setting),
        make_row(profile, depth, "JointRD", "none", teachers, setting),
        taught_row(profile, depth, "JointRD, tuned", "JointRD", TUNED, "none", teachers, setting),
    ]


def tuned_low_rate(profile: Profile) -> list[Row]:
    """`tuned` for the quick profile at the paper's learning rate."""
    if profile.name != "quick":
        return []
    rate = PAPER_RECIPE.learning_rate
    return tuned(at_rate(profile, rate), f"learning rate {rate}")


DEPTHS = (18, 34, 50, 66, 98)


def depths(profile: Profile) -> list[Row]:
    """ResNet, plain and JointRD at growing depth, quick networks at the paper's rate: where does plain break?"""
    if profile.name != "quick":
        return []
    rate = PAPER_RECIPE.learning_rate
    gentle, setting, rows = at_rate(profile, rate), f"learning rate {rate}", list[Row]()
    for depth in DEPTHS:
        teachers = make_row(gentle, depth, "cross-entropy", "all", None, setting)
        students = (make_row(gentle, depth, how, "none", teachers, setting) for how in ("cross-entropy", "JointRD"))
        rows += [teachers, *students]
    return rows
