"""The explorer in a browser: every control answers with another picture and text; a live training can be stopped."""

import csv
import io
import json
import re
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from playwright.sync_api import Locator

from browser.controls import Control, PanelOnPage, epochs_in, plain
from browser.lab import NOTEBOOKS, Lab
from browser.sheet import Sheet

NAME = "12_explorer.ipynb"
FITS = 780  # pixels that JupyterLab leaves a notebook in a window of 1440x900
PANELS = ("network", "training", "paths", "results")
FIRST_PICTURE, COLD_START_BOUND = "img.rdlib-picture", 30  # seconds; 15 are aimed at
LATENCY_BOUND, ROUND_TRIPS = 2.0, 3  # seconds, for the median; 0.3 are aimed at
TEACHER_WITHIN = (
    400  # seconds in which a ResNet of 18 layers is trained live, where its weights are not; 20 on two cores
)
RUN_WITHIN = 180  # seconds for all cells
TRIES = 6  # positions of a control that are tried for another picture


@pytest.fixture(scope="module")
def measured(artefacts: Path) -> Iterator[dict]:
    """What was timed; written into the artefacts and printed at the end."""
    found: dict = {"cold start (s)": {}, "latency (s)": {}}
    yield found
    (artefacts / "explorer.json").write_text(json.dumps(found, indent=1) + "\n")
    print("\n" + json.dumps(found, indent=1))


@pytest.fixture(scope="module")
def explorer(browser, artefacts: Path, measured: dict, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sheet]:
    """Notebook 12 on a server and a kernel that have just started, all of its cells run; timed."""
    notebooks = [path for path in NOTEBOOKS if path.name == NAME]
    assert notebooks, f"notebooks/{NAME} is missing"
    with Lab(tmp_path_factory.mktemp("explorer") / "server", notebooks) as lab:
        context = browser.new_context(viewport={"width": 1280, "height": 1400}, accept_downloads=True)
        start = time.monotonic()
        sheet = Sheet(context.new_page(), lab, NAME, artefacts).open()
        opened = time.monotonic() - start
        sheet.clear()
        again = time.monotonic()
        sheet.start()
        sheet.wait_for_picture(FIRST_PICTURE, 120)
        drawn = time.monotonic() - again
        measured["cold start (s)"] = {
            "page and kernel ready": round(opened, 2),
            "run all to first picture": round(drawn, 2),
            "page opened to first picture": round(opened + drawn, 2),
        }
        sheet.wait_until_done(RUN_WITHIN)
        sheet.shoot_all()
        yield sheet
        sheet.shoot_all()
        context.close()


def begin_anew(explorer: Sheet) -> None:
    """A new kernel, the notebook as committed, and all of its cells run."""
    explorer.leave()
    explorer.lab.stop_kernels()
    explorer.lab.lay(NAME)
    explorer.open()
    explorer.clear()
    explorer.start()
    explorer.wait_until_done(RUN_WITHIN)


@pytest.fixture
def panel(explorer: Sheet, request: pytest.FixtureRequest) -> Iterator[PanelOnPage]:
    """The panel that the test is about; nothing may have gone wrong behind it, on the page or in the kernel."""
    if getattr(request.node, "execution_count", 1) > 1:  # tried again: the first try may have left anything behind
        begin_anew(explorer)
    found = PanelOnPage(explorer, request.param)
    found.root.scroll_into_view_if_needed()
    yield found
    explorer.refuse_errors()
    explorer.refuse_complaints()


about = SimpleNamespace(
    every=pytest.mark.parametrize("panel", PANELS, indirect=True),
    **{name: pytest.mark.parametrize("panel", [name], indirect=True) for name in PANELS},
)


def test_the_first_picture_comes_soon(explorer: Sheet, measured: dict) -> None:
    assert measured["cold start (s)"]["page opened to first picture"] < COLD_START_BOUND


@about.every
def test_shows_a_picture_with_a_text(panel: PanelOnPage) -> None:
    assert panel.root.count() == 1
    source, text = panel.picture
    assert source.startswith("data:image/png;base64,"), f"{panel.name} shows no picture but {panel.message!r}"
    assert len(text) > 20
    assert panel.root.locator("img.rdlib-picture").first.evaluate("img => img.naturalWidth") > 0


def exercise(control: Control) -> str:
    """Move a control to a position with another picture and another text, there and back; returns what is wrong."""
    start, picture = control.at, control.panel.picture
    if not control.label:
        return f"{control.name} has no label"
    if start == -1:
        return f"{control.name} ({control.label!r}): the list is blank"
    if control.is_cut_off:
        return f"{control.name} ({control.label!r}): the label or a choice is cut off"
    if control.count == 1:
        return ""
    tried = []
    for position in list(control.others())[:TRIES]:
        if control.answered(position, wait=3_000 if tried else 6_000) and control.panel.picture[1] != picture[1]:
            break
        tried.append(position)
        control.go(start)
    else:
        return f"{control.name} ({control.label!r}): no new picture and text at {len(tried)} other positions"
    for _ in range(ROUND_TRIPS - 1):
        for there in (start, position):
            if not control.answered(there):
                return f"{control.name} ({control.label!r}): no new picture on the way to position {there}"
    if not control.answered(start):
        return f"{control.name} ({control.label!r}): no new picture on the way back"
    if control.panel.picture[1] != picture[1]:
        return f"{control.name} ({control.label!r}): back where it was, the picture's text is another"
    return ""


@about.every
def test_every_control_is_labelled_and_answers_quickly_with_another_picture(panel: PanelOnPage, measured: dict) -> None:
    controls = panel.controls()
    assert len(controls) >= 2, f"found only {[control.name for control in controls]}"
    wrong = []
    for control in controls:
        wrong.append(exercise(control))
        if control.seconds:
            middle, worst = statistics.median(control.seconds), max(control.seconds)
            measured["latency (s)"][control.name] = {
                "median": round(middle, 3),
                "worst": round(worst, 3),
                "n": len(control.seconds),
            }
    assert not [line for line in wrong if line]
    slow = [control.name for control in controls if statistics.median(control.seconds or [0]) > LATENCY_BOUND]
    assert not slow, f"answers slower than {LATENCY_BOUND} s: {slow}"


@about.every
def test_it_fits_its_cell_with_the_controls_beside_the_picture_or_above_it(panel: PanelOnPage) -> None:
    """In a window of 1440 by 900 pixels all of it is seen at once; in a narrow one nothing is cut or too wide."""
    page, before = panel.sheet.page, panel.sheet.page.viewport_size
    try:
        for width, beside in ((1440, True), (1000, False)):
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(1000)
            whole, controls, picture = (
                one.bounding_box()
                for one in (panel.root, panel.root.locator(".rdlib-controls").first, panel.root.locator(".rdlib-shown"))
            )
            panel.root.evaluate("node => node.scrollIntoView({block: 'start'})")
            panel.sheet.shoot(f"{panel.name}-{width}")
            assert (controls["x"] + controls["width"] <= picture["x"]) == beside
            assert not beside or whole["height"] <= FITS
            needs, has = panel.root.evaluate(WIDTHS)
            assert needs <= has
            assert not [control.name for control in panel.controls() if control.is_cut_off]
    finally:
        page.set_viewport_size(before)


@about.network
def test_shortcuts_appear_and_vanish(panel: PanelOnPage) -> None:
    shortcuts = panel.control("shortcuts")
    start, texts = shortcuts.at, []
    for position in range(shortcuts.count):
        if position != shortcuts.at:
            assert shortcuts.answered(position)
        texts.append(panel.picture[1])
    assert len(set(texts)) == 3
    assert ["no shortcuts" in text for text in texts] == [False, False, True]
    assert shortcuts.at == start


@about.paths
def test_the_last_stage_has_more_channels_than_are_shown(panel: PanelOnPage) -> None:
    stage, first = panel.control("stage"), panel.control("first")
    start, last = stage.at, stage.count - 1
    if start != last:
        stage.go(last)
        panel.wait(TELLS, f"stage {last + 1}\\b", 60, "does not show the last stage")
    panel.sheet.idle(30_000)
    assert first.count > 1, "no other channels can be chosen"
    assert not exercise(first)
    stage.go(start)
    panel.wait(TELLS, f"stage {start + 1}\\b", 60, "does not show the stage of before")


def bar_width(panel: PanelOnPage) -> float:
    """How much of the progress bar is full, in percent."""
    style = panel.part("progress").locator(".progress-bar").first.get_attribute("style") or ""
    found = re.search(r"width: ([\d.]+)%", style)
    return float(found.group(1)) if found else 0.0


WIDTHS = """root => {
    const cell = root.closest(".jp-OutputArea-output");
    return [Math.max(root.scrollWidth, cell.scrollWidth), cell.clientWidth];
}"""
HEADED = "(root, wanted) => wanted.every(name => [...root.querySelectorAll('th')].some(th => th.textContent === name))"
ENABLED = "(root, name) => !root.querySelector(name).disabled"
SAYS = "(root, wanted) => root.querySelector('.rdlib-message').textContent.includes(wanted)"
TELLS = (
    "(root, wanted) => new RegExp(wanted).test([...root.querySelectorAll('img.rdlib-picture')].map(i => i.alt).join())"
)


def ready_to_train(training: PanelOnPage) -> None:
    """Live training of the shallowest networks; one that an earlier try left running is stopped."""
    training.control("source").go(1)
    training.part("train").wait_for()
    if training.part("stop").is_enabled():
        training.part("stop").click()
        training.wait(ENABLED, ".rdlib-training-train", 120, "Train was not enabled after Stop")
    training.control("depth").go(0)


@about.training
def test_a_live_training_is_seen_stopped_and_keeps_its_curve(panel: PanelOnPage) -> None:
    ready_to_train(panel)
    epochs = panel.control("epochs")
    epochs.go(epochs.count - 1)
    total = epochs.bounds[1]
    before = panel.picture
    assert panel.part("train").is_enabled()
    assert panel.part("stop").is_disabled()
    panel.part("train").click()
    panel.wait(ENABLED, ".rdlib-training-stop", 60, "Stop was not enabled after Train")
    assert panel.part("train").is_disabled()
    panel.wait(TELLS, f"epoch [1-9][0-9]* of {total}", 180, "no epoch was seen in the picture")
    assert panel.picture[0] != before[0]
    assert bar_width(panel) > 0
    assert panel.part("status").text_content()
    panel.sheet.shoot("training")
    panel.part("stop").click()
    panel.wait(ENABLED, ".rdlib-training-train", 120, "Train was not enabled after Stop")
    assert panel.part("stop").is_disabled()
    done = epochs_in(panel.picture[1])
    assert done, f"the curve is gone: {panel.picture[1]}"
    assert max(done) < total
    assert bar_width(panel) < 100
    assert "Stopped after epoch" in panel.message
    panel.sheet.shoot("stopped")


@about.paths
def test_the_paths_of_a_live_student_can_be_followed(panel: PanelOnPage) -> None:
    training = PanelOnPage(panel.sheet, "training")
    ready_to_train(training)
    epochs = training.control("epochs")
    epochs.go(2 - epochs.bounds[0])
    source, recorded = panel.control("source"), panel.picture
    assert source.count == 2, "a live training can be followed before there is one"
    assert "can be followed" not in panel.message
    training.part("train").click()
    panel.wait(SAYS, "can be followed", TEACHER_WITHIN, "does not offer to follow the live training")
    assert source.count == 3
    assert source.answered(1)
    assert panel.picture[1] != recorded[1]
    panel.sheet.shoot("followed")
    panel.wait(TELLS, "after epoch 2", 120, "does not reach epoch 2 by itself")
    assert source.answered(0)
    assert panel.picture[1] == recorded[1]
    training.wait(ENABLED, ".rdlib-training-train", 120, "Train was not enabled at the end")
    training.control("source").go(0)


@about.training
def test_a_short_training_goes_to_its_end(panel: PanelOnPage) -> None:
    ready_to_train(panel)
    epochs = panel.control("epochs")
    epochs.go(1 - epochs.bounds[0])
    panel.part("train").click()
    panel.wait(ENABLED, ".rdlib-training-stop", 60, "Stop was not enabled after Train")
    panel.wait(
        TELLS, r"test top-1 [\d.]+ %.*test top-1 [\d.]+ %", TEACHER_WITHIN, "two networks were not trained to their end"
    )
    panel.wait(ENABLED, ".rdlib-training-train", 60, "Train was not enabled at the end")
    assert bar_width(panel) == 100
    assert "Trained in" in panel.message
    panel.control("source").go(0)
    panel.wait(TELLS, "n = 3", 60, "the recorded curves did not come back")


def table_shown(panel: PanelOnPage, name: str = "table") -> list[list[str]]:
    return cells_of(panel.part(name).locator("table"))


def cells_of(table: Locator) -> list[list[str]]:
    rows = table.evaluate("table => [...table.rows].map(row => [...row.cells].map(cell => cell.textContent))")
    return [list(map(plain, row)) for row in rows]


def downloaded(panel: PanelOnPage, number: int) -> list[list[str]]:
    with panel.sheet.page.expect_download() as caught:
        panel.part("download").locator("a").nth(number).click()
    text = Path(caught.value.path()).read_text()
    assert caught.value.suggested_filename.endswith(".csv")
    return list(csv.reader(io.StringIO(text)))


def agrees(shown: dict[str, str], written: dict[str, str]) -> bool:
    """A line of the table and of the CSV: the table has two digits, and the deviation beside the mean."""
    mean, _, deviation = shown["top-1 (%)"].partition(" ± ")
    told = {"mean": mean, "std": deviation or "nan", "n": shown["n"]}
    near = all(abs(float(told[key]) - float(written[key] or "nan")) < 0.0051 for key in told if told[key] != "nan")
    return near and all(shown[key] == written[key] for key in shown if key in written and key not in told)


@about.results
def test_the_downloaded_csv_is_what_is_shown_also_after_filtering(panel: PanelOnPage) -> None:
    counts = []
    shortcuts = panel.control("shortcuts")
    start = shortcuts.at
    for position in (start, shortcuts.count - 1):
        if position != shortcuts.at:
            assert shortcuts.answered(position)
        runs, groups, shown = downloaded(panel, 0), downloaded(panel, 1), table_shown(panel)
        assert len(groups) == len(shown) > 1
        for of_table, of_csv in zip(shown[1:], groups[1:], strict=True):
            line, written = dict(zip(shown[0], of_table, strict=True)), dict(zip(groups[0], of_csv, strict=True))
            assert agrees(line, written), (line, written)
        told = re.search(r"(\d+) runs? of (\d+) in (\d+) groups?", panel.message)
        assert told is not None, panel.message
        assert (len(runs) - 1, len(groups) - 1) == (int(told[1]), int(told[3]))
        n = groups[0].index("n")
        assert sum(int(line[n]) for line in groups[1:]) == len(runs) - 1
        if position != start:
            wanted = plain(shortcuts.root.locator("option").nth(position).text_content() or "")
            column = runs[0].index("shortcuts")
            assert {line[column] for line in runs[1:]} == {wanted}
        counts.append(len(runs))
    assert counts[1] < counts[0], "the filter left every run"
    assert shortcuts.answered(start)


def answer(explorer: Sheet, number: int) -> tuple[list[list[str]], str]:
    """The table and the text of the answer to a task, which is folded until the reader asks."""
    found = explorer.page.locator(".jp-OutputArea details", has_text=f"Answer to task {number}:")
    assert found.evaluate("node => node.open") is False
    found.locator("summary").click()
    assert found.locator("table").is_visible()
    explorer.shoot(f"answer-{number}")
    return cells_of(found.locator("table")), plain(found.text_content() or "")


@about.network
def test_task_1_what_remains_when_the_executor_fuses(panel: PanelOnPage) -> None:
    executor = panel.control("executor")
    lines, text = answer(panel.sheet, 1)
    times, npu = {}, set()
    for i, line in enumerate(lines[1:]):
        if executor.at != i:
            assert executor.answered(i)
        shown = {row[0]: row for row in table_shown(panel, "numbers")}
        assert line[1:] == [shown["planned peak"][3], shown["feature maps written"][3]]
        times[line[0]] = [float(less.removesuffix("x")) for less in line[1:]]
        npu.add(tuple(map(tuple, table_shown(panel, "numbers")[5:])))
    first, *_, last = times.values()
    assert list(times)[-1] == "conv and add fused"
    assert all(1 < after < before for before, after in zip(first, last, strict=True))
    assert f"Of {first[0]:.2f}x in the peak {last[0]:.2f}x remains" in text
    assert len(npu) == 1, "the NPU's rows change with the executor"
    assert executor.answered(0)


@about.paths
def test_task_2_which_path_is_right_first(panel: PanelOnPage) -> None:
    epoch = panel.control("epoch")
    (names, *lines), text = answer(panel.sheet, 2)
    start, since = epoch.at, {}
    for position in range(epoch.count):
        number = lines[position][0]
        wanted = "before training" if number == "0" else f"after epoch {number}:"
        for attempt in range(100):  # a step straight after another may be lost, and its picture comes later
            if wanted in panel.picture[1]:
                break
            if attempt % 30 == 0:
                epoch.go(start)
                epoch.go(position)
            panel.sheet.page.wait_for_timeout(50)
        assert wanted in panel.picture[1], "the slider's picture did not come"
        now, label, said = re.search(
            r"(?:after epoch (\d+)|before training): test image \d+, a (\w+)\. Answers: (.*?)\. Above", panel.picture[1]
        ).groups()
        for path, told in re.findall(r"(own|mixed \d|teacher) (\w+) \(", said):
            if told != label:
                since.pop(path, None)
            else:
                since.setdefault(path, now or "0")
    assert f"right from this epoch on: {', '.join(f'{path} {since[path]}' for path in names[1:])}." in text
    assert len(lines) == epoch.count
    assert min(("own", "mixed 1", "mixed 2", "mixed 3"), key=lambda path: int(since[path])) == "mixed 1"
    assert epoch.answered(start)


@about.results
def test_task_3_from_which_depth_on_plain_networks_fail(panel: PanelOnPage) -> None:
    (_, *lines), text = answer(panel.sheet, 3)
    choices = {"depth": ["any"], "shortcuts": ["strictly plain"], "method": ["cross-entropy", "JointRD"]}
    choices |= {"rows": ["depth"], "colour": ["method"]}
    before = {name: panel.control(name).at for name in choices}
    for name, texts in choices.items():
        panel.control(name).choose(*texts)
        panel.sheet.idle(30_000)
    panel.wait(HEADED, ["depth", "method"], 60, "shows no table of depths and methods")
    head, *shown = table_shown(panel)
    panel.sheet.shoot("task-3")
    at = {name: head.index(name) for name in ("depth", "method", "top-1 (%)")}
    found = {(line[at["depth"]], line[at["method"]]): line[at["top-1 (%)"]] for line in shown}
    assert found == {(line[0], how): line[i] for line in lines for i, how in ((1, "cross-entropy"), (2, "JointRD"))}
    deepest = lines[-1]
    assert float(deepest[1].split()[0]) < float(deepest[3].split()[0]) - 10
    assert "points below the ResNet from" in text
    for name, position in before.items():
        panel.control(name).go(position)
        panel.sheet.idle(30_000)


def test_the_saved_notebook_opens_again_on_its_kernel(explorer: Sheet, browser, artefacts: Path) -> None:
    """With the controls where they were left, and still alive."""
    explorer.save()
    left = {name: PanelOnPage(explorer, name).picture[1] for name in PANELS}
    context = browser.new_context(viewport={"width": 1280, "height": 1400})
    try:
        again = Sheet(context.new_page(), explorer.lab, NAME, artefacts).open()
        again.settle()
        again.refuse_errors()
        for _ in range(60):  # a picture comes some time after its page
            shown = {name: PanelOnPage(again, name).picture[1] for name in PANELS}
            if shown == left:
                break
            again.page.wait_for_timeout(500)
        assert shown == left
        network = PanelOnPage(again, "network")
        network.root.scroll_into_view_if_needed()
        assert network.control("shortcuts").answered(0)
        again.refuse_complaints()
    finally:
        context.close()
