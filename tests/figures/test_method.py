"""The picture of the method shows the whole method, grows without changing, and can be read in light and dark."""

from collections.abc import Callable
from functools import partial
from itertools import combinations, pairwise
from typing import Any

import pytest
import torch
from matplotlib.artist import Artist
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from rdlib import models
from rdlib.figures.method import DPI, STEPS, TALL, WIDE, method, social_card
from rdlib.figures.style import PATH_COLOURS
from rdlib.methods import JointRD

both_inks = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
PICTURES = {step: partial(method, step) for step in STEPS} | {"dark": partial(method, dark=True), "card": social_card}
pictures = pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES)


def texts(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if text.get_text()]


def boxes(figure: Figure) -> list[tuple[Text, Bbox]]:
    """Each text and the pixels that it takes."""
    figure.draw_without_rendering()
    return [(text, text.get_window_extent()) for text in texts(figure)]


def drawn(figure: Figure) -> dict[str, list[Any]]:
    """What is drawn and where (pixels), in its order, without its colours."""
    (ax,) = figure.axes
    shapes = [
        (one.get_transform().transform_path(one.get_path()).vertices.round(3).tolist(), one.get_zorder())
        for one in (*ax.patches, *ax.lines)
    ]
    words = [
        (one.get_text(), *ax.transData.transform(one.get_position()).round(3), one.get_fontsize()) for one in ax.texts
    ]
    return {"shapes": shapes[: len(ax.patches)], "lines": shapes[len(ax.patches) :], "words": words}


def inked(figure: Figure) -> list[str]:
    return [to_hex(of.get_facecolor(), keep_alpha=True) for of in (figure, *figure.axes[0].patches)]


def test_every_term_of_the_loss_has_its_label() -> None:
    torch.manual_seed(0)
    joint = JointRD(models.plain(18, 10, 4), models.resnet(18, 10, "all", 4))
    terms = joint.losses(torch.randn(2, 3, 16, 16), torch.tensor([0, 1]), 0.0)
    labels = {text.get_gid(): text.get_text() for text in texts(method()) if text.get_gid()}
    assert labels == {term: "CE" if term.endswith("cross_entropy") else "d" for term in terms}
    assert not [text for text in texts(method("path 3")) if text.get_gid()]
    assert len(PATH_COLOURS) == joint.mixed


def test_a_step_only_adds() -> None:
    for before, after in pairwise(STEPS):
        already, grown = drawn(method(before)), drawn(method(after))
        assert all(grown[kind][: len(already[kind])] == already[kind] for kind in grown), after
        assert all(len(grown[kind]) > len(already[kind]) for kind in ("shapes", "words")), after


def test_the_frame_is_as_wide_as_a_page_shows_it() -> None:
    for step in STEPS:
        assert method(step).get_size_inches()[0] * DPI == WIDE <= 960
    assert social_card().get_size_inches() @ [1, 0] * social_card().dpi == pytest.approx(1280)
    assert social_card().get_size_inches() @ [0, 1] * social_card().dpi == pytest.approx(640)
    assert TALL < WIDE / 2


@pictures
def test_no_text_overlaps_another_or_leaves_the_frame(picture: Callable[[], Figure]) -> None:
    figure = picture()
    found = boxes(figure)
    for text, box in found:
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1, text
    for (one, box), (other, next_to) in combinations(found, 2):
        assert Bbox.intersection(box, next_to) is None, (one, other)


@pictures
def test_texts_can_be_read(picture: Callable[[], Figure]) -> None:
    """At least 11 points at 900 pixels, of which half are left at half size; contrast as WCAG's AA asks."""
    figure = picture()
    for text, box in boxes(figure):
        assert text.get_fontsize() >= 11
        middle = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
        behind = figure.get_facecolor()
        for patch in sorted((p for ax in figure.axes for p in ax.patches), key=Artist.get_zorder):
            filled = patch.get_facecolor()[3] == 1 and patch.get_zorder() < text.get_zorder()
            if filled and patch.get_window_extent().contains(*middle):
                behind = patch.get_facecolor()
        assert contrast(text.get_color(), behind) >= 4.5, text


def contrast(one: Any, other: Any) -> float:
    """WCAG 2.2's ratio of relative luminances."""
    low, high = sorted(luminance(*to_rgb(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def luminance(*rgb: float) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("black", "white") == pytest.approx(21)
    assert contrast("#767676", "white") == pytest.approx(4.54, abs=0.01)


def test_light_and_dark_differ_in_ink_only() -> None:
    light, dark = method(), method(dark=True)
    assert drawn(light) == drawn(dark)
    assert inked(light) != inked(dark)


@both_inks
@pytest.mark.parametrize("path", [0, 1, 2, 3])
def test_one_path_stands_out_and_nothing_moves(path: int, dark: bool) -> None:
    plain, chosen = method(dark=dark), method(dark=dark, path=path)
    lines = {one.get_gid(): one.get_alpha() for one in chosen.axes[0].patches if one.get_gid()}
    assert {name for name, alpha in lines.items() if alpha == 1} == {f"line of {path}"}
    assert len(lines) == 5
    assert drawn(plain) == drawn(chosen)
