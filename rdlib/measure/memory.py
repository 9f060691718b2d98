"""Table 1: what each candidate takes for its feature maps, planned and measured, kept in one record."""

import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from rdlib.deploy.export import OPSET, export
from rdlib.deploy.graph import Graph, read_graph
from rdlib.deploy.planner import EXECUTORS, plan, traffic
from rdlib.errors import RecordError
from rdlib.measure import record as measured
from rdlib.measure.arena import PEAKS
from rdlib.measure.candidates import Candidate
from rdlib.measure.record import Tell

RECORD = measured.FOLDER / "memory.json"
COMMAND = "python -m rdlib measure memory"
MIB = 2**20
MEASURED_WITH = ("torch", "onnx", "onnxruntime", "executorch", "torch-pruning")


def measured_row(candidate: Candidate) -> dict[str, Any]:
    """`row`, and what each engine takes (None: no such device here), in bytes at batch 1 in float32.

    Raises DeployError where an engine is missing.
    """
    network = candidate.network()
    with tempfile.TemporaryDirectory() as folder:
        path = export(network, Path(folder) / "network.onnx", candidate.side)
        arena = {engine: peak(path, network, candidate.side) for engine, peak in PEAKS.items()}
        return row(candidate, read_graph(path)) | {"arena": arena}


def row(candidate: Candidate, graph: Graph) -> dict[str, Any]:
    """What follows from the exported graph alone."""
    at_peak = {}
    for executor in EXECUTORS:
        found = plan(graph, executor)
        at_peak[executor] = {
            "operator": found.at + 1,
            "of": len(found.steps),
            "op": found.steps[found.at].node.op,
            "alive": [{"shape": [*held.shape], "shortcut": held.shortcut} for held in found.at_peak],
        }
    return {"name": candidate.name, **asdict(candidate), **counted(graph), "at_peak": at_peak}


def counted(graph: Graph) -> dict[str, Any]:
    """Of an exported network: parameters, multiply-additions; feature maps in bytes by executor."""
    return {
        "parameters": graph.parameters,
        "macs": graph.macs,
        "traffic": {executor: traffic(graph, executor) for executor in EXECUTORS},
        "peak": {executor: plan(graph, executor).peak for executor in EXECUTORS},
    }


def measure_all(candidates: Iterable[Candidate], path: Path, tell: Tell = lambda line: None) -> dict[str, Any]:
    """Measure each candidate, whose name `tell` hears first; write the record, whole or not at all, and return it.

    Raises RecordError where the record cannot be written, before anything is measured.
    """
    measured.require_writable(path)
    rows = []
    for candidate in candidates:
        tell(f"{candidate.name} at {candidate.side}")
        rows.append(measured_row(candidate))
    measured.write(path, {"provenance": measured.origin(*MEASURED_WITH) | {"opset": OPSET}, "rows": rows})
    return read(path)


def read(path: Path = RECORD) -> dict[str, Any]:
    """The record. Raises RecordError where it is missing, damaged or was edited."""
    return measured.read(path, COMMAND)


def find(record: dict[str, Any], name: str, side: int) -> dict[str, Any]:
    """The row of a candidate by its name. Raises RecordError where the record has none."""
    for found in record["rows"]:
        if (found["name"], found["side"]) == (name, side):
            return dict(found)
    raise RecordError(f"the memory record has no {name} at {side}: measure again with `{COMMAND}`")


def table(rows: Iterable[dict[str, Any]], what: str) -> pd.DataFrame:
    """Of traffic, peak or arena, one column an executor or engine: MiB and, in brackets, how many times less than the
    ResNet of that depth and side takes. The ResNets must be among the rows; a device that was not there has no column.
    """
    rows = list(rows)
    resnets = {(r["depth"], r["side"]): r[what] for r in rows if r["shortcuts"] == "all" and not r["variant"]}
    lines = []
    for found in rows:
        line = {"network": found["name"], "side": str(found["side"])}
        whole = resnets[found["depth"], found["side"]]
        for column, taken in found[what].items():
            if taken is not None:
                less = "" if found[what] is whole else f" ({whole[column] / taken:.2f}x)"
                line[column] = f"{taken / MIB:.2f}{less}"
        lines.append(line)
    return pd.DataFrame(lines)
