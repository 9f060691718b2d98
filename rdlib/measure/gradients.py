"""What a stage of the student is told, and by whom: its gradients, path by path, and its likeness to the teacher.

Taken between two epochs of `fit`, on a probe of training images that never changes, and without a trace in what is
trained. Feature maps and BatchNorm statistics are those of training: one half of the probe is one batch.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rdlib.errors import ConfigError
from rdlib.images.dataset import Dataset
from rdlib.methods import Method
from rdlib.models import STAGES, StagedResNet

PARTS = ("stem", *(f"stage {k}" for k in range(1, STAGES + 1)))
LEAST_FOR_CKA = 4  # images of a batch; the unbiased estimate divides by n - 3

Batch = tuple[Tensor, Tensor]  # training images [N, 3, H, W], not augmented, with labels [N]
Probe = tuple[Batch, Batch]  # two halves; no image is in both
Parts = list[list[nn.Parameter]]


def probe_of(images: Dataset, half: int) -> Probe:
    """2 `half` training images at even distances in the data set's order (by class), every other one in each half.

    Raises ConfigError where the training images are fewer or a half is too small for CKA.
    """
    total = len(images.train)
    if not LEAST_FOR_CKA <= half <= total // 2:
        raise ConfigError(f"half a probe is {LEAST_FOR_CKA} to {total // 2} of the training images, not {half}")
    chosen = images.train.take(torch.arange(2 * half, device=images.device) * total // (2 * half))
    pixels, labels = images.normalise(chosen.images), chosen.labels
    first, second = ((pixels[i::2].contiguous(memory_format=torch.channels_last), labels[i::2]) for i in (0, 1))
    return first, second


def parts_of(student: StagedResNet) -> Parts:
    """The parameters of the stem and of each stage; the classifier, which no mixed path reaches, is left out."""
    stem = [*student.conv1.parameters(), *student.bn1.parameters()]
    return [stem, *(list(stage.parameters()) for stage in student.stages)]


def by_path(terms: Mapping[str, Tensor], each: bool = False) -> dict[str, Tensor]:
    """The loss as a sum for each path: "own" through the student alone and, where there are such terms, "mixed".

    each: the mixed paths one by one instead, "mixed_1" for the one that leaves the student after stage 1, and so on.
    """
    sums: dict[str, Tensor] = {}
    for name, term in terms.items():
        mixed = name[: len("mixed_1")] if each else "mixed"
        path = mixed if name.startswith("mixed_") else "own"
        sums[path] = sums[path] + term if path in sums else term
    return sums


def gradients(terms: Mapping[str, Tensor], parts: Parts, each: bool = False) -> dict[str, list[Tensor]]:
    """One vector a part for each path of `by_path`, from one forward pass; with mixed paths also "all".

    "mixed" is there with `each` too; "all" is the sum of own and mixed, the gradient that training uses. One backward
    pass a path; no parameter gets a `.grad`.
    """
    flat = [p for part in parts for p in part]
    sums, found = by_path(terms, each), {}
    for left, (path, loss) in zip(reversed(range(len(sums))), sums.items(), strict=True):
        got = torch.autograd.grad(loss, flat, retain_graph=left > 0, allow_unused=True)
        vectors = iter([(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(flat, got, strict=True)])
        found[path] = [torch.cat([next(vectors) for _ in part]) for part in parts]
    mixed = [vectors for path, vectors in found.items() if path != "own"]
    if mixed:
        found["mixed"] = [torch.stack(same).sum(0) for same in zip(*mixed, strict=True)]
        found["all"] = [a + b for a, b in zip(found["own"], found["mixed"], strict=True)]
    return found


def cosine(a: Tensor, b: Tensor) -> float | None:
    """Cosine of the angle between two vectors; None where one of them is zero."""
    length = float(a.norm()) * float(b.norm())
    return float(a @ b) / length if 0 < length < math.inf else None


def gram(features: Tensor) -> Tensor:
    """Inner products [N, N] of the feature maps [N, ...] of N images, in float64, the diagonal zeroed."""
    flat = features.flatten(1).double()
    return (flat @ flat.T).fill_diagonal_(0)


def hsic(a: Tensor, b: Tensor) -> float:
    """Unbiased estimate of the Hilbert-Schmidt independence criterion from `gram` matrices of n >= 4 images.

    HSIC_1 of Song et al., JMLR 2012, as used by Nguyen et al., ICLR 2021, eq. 3. Without it, n images of far more
    than n features would look alike by their number alone.
    """
    n = len(a)
    trace, rows = (a * b).sum(), a.sum(0) @ b.sum(0)
    total = trace + a.sum() * b.sum() / ((n - 1) * (n - 2)) - 2 * rows / (n - 2)
    return float(total) / (n * (n - 3))


def linear_cka(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float | None:
    """Linear centred kernel alignment of two networks' features of the same images; 1 is alike, about 0 unrelated.

    Kornblith et al., ICML 2019, in the minibatch form of Nguyen et al., ICLR 2021, eq. 2: `ours` and `theirs` hold the
    `gram` matrices of one batch each; HSIC_1 is averaged over them before the ratio. None where a network gives all
    images the same features.
    """
    both = sum(hsic(a, b) for a, b in zip(ours, theirs, strict=True))
    scale = sum(hsic(a, a) for a in ours) * sum(hsic(b, b) for b in theirs)
    return both / math.sqrt(scale) if scale > 0 else None


@contextmanager
def stage_outputs(network: StagedResNet) -> Iterator[list[Tensor]]:
    """Within the block: a list that gets the pre-ReLU map after each stage, in order, of every forward pass."""
    seen: list[Tensor] = []
    hooks = [stage.register_forward_hook(lambda _m, _in, out: seen.append(out.detach())) for stage in network.stages]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def undisturbed(method: Method) -> Iterator[None]:
    """Within the block the method is in train mode; after it, modes and buffers are bit for bit what they were."""
    modes = [(module, module.training) for module in method.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in method.buffers()]
    logits = {name: value for name, value in vars(method).items() if name == "student_logits"}
    method.train()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        vars(method).pop("student_logits", None)
        vars(method).update(logits)


def teacher_grams(teacher: StagedResNet, probe: Probe) -> list[list[Tensor]]:
    """For each stage the `gram` matrices of the two halves; for a teacher that is frozen, in eval mode."""
    with torch.no_grad(), stage_outputs(teacher) as maps:
        for images, _ in probe:
            teacher(images)
    return by_stage(maps)


def by_stage(maps: Sequence[Tensor]) -> list[list[Tensor]]:
    """Stage outputs in the order of `stage_outputs` -> for each stage the `gram` matrix of every pass."""
    return [[gram(one) for one in maps[k::STAGES]] for k in range(STAGES)]


def evidence(
    method: Method,
    probe: Probe,
    progress: float,
    teacher: Sequence[Sequence[Tensor]] = (),
    each: bool = False,
) -> dict[str, Any]:
    """What a method's student is told at this moment of training, per part in the order of `PARTS`:

    norm: {path: length of the probe's gradient, which is the mean of its halves'}; agreement: {path: cosine of the two
    halves' gradients}; cosine: between own and mixed path, None for a method without; cka: for each stage, with
    `teacher_grams`. `each` adds every mixed path by itself. A cosine with a zero vector is None, e.g. that of stage 4,
    which no mixed path reaches. The method is left as it was, and so is every random generator.
    """
    parts = parts_of(method.student)
    with undisturbed(method), stage_outputs(method.student) as maps, torch.enable_grad():
        halves = [gradients(method.losses(*half, progress), parts, each) for half in probe]
    first, second = halves
    whole = {path: [(a + b) / 2 for a, b in zip(first[path], second[path], strict=True)] for path in first}
    mixed = whole.get("mixed")
    return {
        "norm": {path: [float(g.norm()) for g in vectors] for path, vectors in whole.items()},
        "agreement": {path: list(map(cosine, first[path], second[path])) for path in first},
        "cosine": None if mixed is None else list(map(cosine, whole["own"], mixed)),
        "cka": list(map(linear_cka, by_stage(maps), teacher)) if teacher else None,
    }
