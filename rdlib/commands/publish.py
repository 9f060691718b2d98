"""Render the published records: results/tables/*.csv, the tables in the READMEs, and the pictures. Trains nothing."""

import io
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from rdlib.commands.contents import contents
from rdlib.deploy import planner
from rdlib.errors import RecordError
from rdlib.experiments.profiles import PROFILES, TWENTY_EPOCHS, Profile, profile
from rdlib.experiments.rows import CROSS_ENTROPY, Row
from rdlib.experiments.tables import NAMED, TABLES, as_markdown, cell, ended, frame, in_store, rows_of
from rdlib.figures import accuracy as figures
from rdlib.figures import method
from rdlib.files import RESULTS, ROOT, write
from rdlib.measure import int8, latency_record, memory, npu, speedup
from rdlib.measure import record as measured
from rdlib.paper import npu as npu_tables
from rdlib.paper import questions, reported
from rdlib.paper.rendering import Shown
from rdlib.paper.statistics import LEAST, percent_bounds
from rdlib.paper.summary import summary
from rdlib.runs.store import Store

TABLE = re.compile(r"(<!-- table (?P<table>\S+) (?P<profile>\S+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)
MEASURED = re.compile(r"(<!-- measured (?P<what>[^>]+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)
DEPTHS = re.compile(r"(<!-- depths (?P<profile>\S+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)
ASKED = re.compile(
    r"(<!-- (?P<what>questions|questions main|reported|findings|short) -->\n).*?(?P<end><!-- end -->)", re.DOTALL
)
CONTENTS = re.compile(r"(<!-- notebooks -->\n).*?(?P<end><!-- end -->)", re.DOTALL)
PAGES = {"README.md": "notebooks/", "results/README.md": "../notebooks/", "notebooks/README.md": ""}
MEASURED_TABLES = {
    "memory": "table_1_memory",
    "latency": "table_2_latency",
    "npu": "tables_1_and_2_npu",
    "int8 quick": "int8_quick",
    "int8 cifar100-2-epochs": "int8_cifar100-2-epochs",
}


def filled(text: str, store: Store, notebooks: str = "notebooks/") -> str:
    """A page, each of its `<!-- table NAME PROFILE -->` blocks and the like filled from the records; `notebooks` is
    the way from the page to them."""

    def table(match: re.Match[str]) -> str:
        of, name = profile(match["profile"]), match["table"]
        return f"{match[1]}{recorded(frame(of, name, store), of, name, store)}\n{match['end']}"

    def depths(match: re.Match[str]) -> str:
        of = profile(match["profile"])
        return f"{match[1]}{recorded(by_depth(of, store), of, 'depth', store)}\n{match['end']}"

    def asked(match: re.Match[str]) -> str:
        if match["what"] == "findings":
            text = "\n".join(questions.findings(store, notebooks))
        elif match["what"] == "short":
            text = summary(store)
        else:
            text = answered(match["what"], store).markdown(notebooks)
        return f"{match[1]}{text}\n{match['end']}"

    def measurement(match: re.Match[str]) -> str:
        return f"{match[1]}{as_markdown(measured_table(match['what'], store))}\n{match['end']}"

    def listed(match: re.Match[str]) -> str:
        return f"{match[1]}{as_markdown(contents(notebooks))}\n{match['end']}"

    blocks = ((TABLE, table), (DEPTHS, depths), (ASKED, asked), (MEASURED, measurement), (CONTENTS, listed))
    for block, fill in blocks:
        text = block.sub(fill, text)
    return text


def recorded(shown: pd.DataFrame, of: Profile, table: str, store: Store) -> str:
    """A table of runs as Markdown; a line beneath it says where they come from several processors."""
    said = of_processors(rows_of(of, table), store)
    return as_markdown(shown) + f"\n\n{said}" * bool(said)


def processors(rows: Iterable[Row], store: Store) -> Counter[str]:
    """How many records of these rows each processor made: the GPU, else the CPU's model.

    The oldest records do not name the model; they give the kind of CPU, such as "cpu (x86_64, AVX512)".
    """
    unique = {record.run.id: record.provenance for row in rows for record in ended(row, store)}
    named = [(str(origin.get("device", "unknown")), origin.get("processor")) for origin in unique.values()]
    return Counter(model if model and device.startswith("cpu") else device for device, model in named)


def of_processors(rows: Iterable[Row], store: Store) -> str:
    """A sentence for under a table whose runs several processors made, since they round differently; else empty."""
    found = sorted(processors(rows, store).items())
    counted = ", ".join(f"{name} ({count})" for name, count in found)
    return f"Runs of several processors: {counted}." if len(found) > 1 else ""


def by_depth(profile: Profile, store: Store) -> pd.DataFrame:
    """The table of depths, a line a depth and a column a network: the mean and its 95 % interval, or how
    many diverged."""
    lines: dict[int, dict[str, str]] = {}
    for row in rows_of(profile, "depth"):
        kind = "ResNet" if row.shortcuts == "all" else "plain, alone" if row.teaching == CROSS_ENTROPY else "JointRD"
        ours = cell(row, store)
        ends = " [{:.1f}, {:.1f}]".format(*percent_bounds(ours)) if len(ours.values) >= LEAST else ""
        shown = str(ours) if ours.diverged else f"{ours.mean:.1f}{ends}" if ours.values else ""
        lines.setdefault(row.depth, {"layers": str(row.depth)})[kind] = shown
    return pd.DataFrame(lines.values())


def answered(what: str, store: Store) -> Shown:
    """The questions, all or without the family of parts; or the reported accuracies beside ours."""
    if what == "reported":
        return Shown(reported.table(store), reported.commands(store))
    return questions.table(store, *(("main", questions.DEPLOYED) if what == "questions main" else ()))


def measured_table(what: str, store: Store) -> pd.DataFrame:
    """What the README shows of table 1 ("memory"), of table 2 ("latency"), of both on an NPU ("npu") and of
    "int8 PROFILE"; without a record one line that names the command."""
    folder = measured.folder(store)
    if what == "memory":
        path = folder / memory.RECORD.name
        return memory_summary(memory.read(path)["rows"]) if path.exists() else to_fill(in_store(memory.COMMAND, store))
    if what == "latency":
        machines = speedup.by_machine(latency_record.records(folder))
        shown = [
            (machine, speedup.table(speedup.over_sessions(of.values()), 224, 1, 50)) for machine, of in machines.items()
        ]
        lines = [table.assign(machine=machine) for machine, table in shown if not table.empty]
        return pd.concat(lines) if lines else to_fill(in_store(latency_record.COMMAND, store))
    if what == "npu":
        path = folder / npu.RECORD.name
        return npu_tables.overview(npu.read(path), 224, 50) if path.exists() else to_fill(in_store(npu.COMMAND, store))
    return int8.table(PROFILES[what.removeprefix("int8 ")], store)


def memory_summary(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """At 224x224: written where sums get buffers of their own, and the planned peak of each executor."""
    chosen = [row for row in rows if row["side"] == 224 and not row["variant"]]
    written, peaks = (memory.table(chosen, what) for what in ("traffic", "peak"))
    peaks = peaks.rename(columns={name: f"peak, {name}" for name in planner.EXECUTORS})
    peaks.insert(1, "written", written[planner.OUT_OF_PLACE])
    return peaks.drop(columns="side")


def to_fill(command: str) -> pd.DataFrame:
    return pd.DataFrame([{"to fill": command}])


def png(figure: Figure, dpi: float | None = None) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, metadata={"Software": None}, dpi=dpi)
    return picture.getvalue()


def of_the_method() -> dict[str, bytes]:
    """By the name of the file: the method, light and dark, for dense screens; and what a link is shown with."""
    drawn = {f"method-{ink}": png(method.method(dark=ink == "dark"), 2 * method.DPI) for ink in ("light", "dark")}
    return drawn | {"social-card": png(card := method.social_card(), card.dpi)}


def publish(store: Store) -> list[Path]:
    """Write every table and the figure of depths, and for the published store the READMEs and the method's pictures.

    All is rendered before anything is written; returns what was. Raises RecordError where a record cannot be read or a
    file not written.
    """
    folder = store.root / "tables"
    tables = [(of, name) for of in PROFILES.values() for name in TABLES | NAMED]
    shown = [(of, name) for of, name in [*tables, (TWENTY_EPOCHS, "controls")] if rows_of(of, name)]
    content: dict[Path, str | bytes] = {
        folder / f"table_{name}_{of.name}.csv": frame(of, name, store).to_csv(index=False) for of, name in shown
    }
    for what, name in MEASURED_TABLES.items():
        content[folder / f"{name}.csv"] = measured_table(what, store).to_csv(index=False)
    content[folder / "depth.png"] = png(figures.against_depth(rows_of(PROFILES["quick"], "depth"), store))
    ours = store.root.resolve() == RESULTS.resolve()
    for name, picture in of_the_method().items() if ours else ():
        content[folder / f"{name}.png"] = picture
    pages = PAGES if ours else {}  # they tell of the published store alone
    try:
        for name, notebooks in pages.items():
            content[ROOT / name] = filled((ROOT / name).read_text(), store, notebooks)
        for path, one in content.items():
            write(path, one)
    except OSError as error:
        raise RecordError(
            f"cannot write the tables ({error.strerror}): make results/ and the READMEs writable"
        ) from error
    return list(content)
