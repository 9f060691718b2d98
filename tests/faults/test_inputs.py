"""Whatever is typed ends well, in one sentence, or in Typer's usage: no traceback, no hang, nothing silently absurd.

Every option and argument of every command is given values of every kind, the rest of its line being sound.
"""

import json
import math
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision  # noqa: F401  imported here rather than in every fork
import typer
from faults.forked import End, forked
from faults.scale import WHOLE
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import rdlib.commands.main as cli
from rdlib.__main__ import main
from rdlib.errors import ConfigError
from rdlib.models import resnet
from rdlib.runs import execute
from rdlib.runs.run import Run

SMALL = "--dataset digits --depth 18 --width 2 --epochs 1 --batch-size 20 --shots 4 --no-flip --crop-padding 0"
# Sound lines, cheap whatever one more option says: what would take long is refused for another reason.
LINES = {
    "train": f"{SMALL} --store STORE --device cpu",
    "adopt": "FILE --dataset digits --store STORE --device cpu",
    "sweep": "smoke --only plain --seeds 1 --jobs 1 --store STORE --device cpu",
    "export": "RUN --to STORE/net.onnx --store STORE",
    "publish": "nothing-of-that-name --to STORE/published --store STORE",
    "show": "RUN --store STORE",
    "tables": "--store STORE/runs",
    "notebooks": "no_such_notebook",
    "reproduce": "quick --store STORE/again",
    "data prepare": "mine --from STORE/runs",
    "measure memory": "--store STORE --to STORE",
    "measure latency": "--depth 18 --side 32 --repetitions 1 --warmup 0 --store STORE --to STORE",
    "measure npu": "--depth 18 --side 32 --npu ethos-u55-256 --store STORE --to STORE",
    "measure int8": "quick --store STORE --to STORE",
    "measure bits": "quick --store STORE --to STORE",
    "measure teaching": "quick --store STORE --to STORE",
    "measure paths": "quick --store STORE --to STORE",
    "measure rivals": "quick --store STORE --to STORE",
}
MINUTES = (  # work that a sound line would begin: not done here
    "rdlib.commands.reproduce.sweep",
    "rdlib.measure.memory.measured_row",
    "rdlib.measure.latency.interleave",
    "rdlib.measure.npu.Subject.lowered",
    "rdlib.measure.bits.kept",
    "rdlib.measure.int8.accuracies",
    "rdlib.measure.retrain.begin",
    "rdlib.measure.rival_costs.cost_of",
)
WORDS = ["", " ", "-1", "0", "1", "2", "0.5", "nan", "inf", "-inf", "1e999", "1e30", "1e-320", "99999999999999999999"]
WORDS += [
    "0x10",
    "½",
    "١",
    "true",
    "None",
    "null",
    "[]",
    "{}",
    "a,b",
    "*",
    "?",
    "[",
    "..",
    "../x",
    "/",
    "/dev/null",
    "~",
]
WORDS += ["/etc/passwd", "/proc/self/mem", "a" * 300, "a/b", "\x1b[31m", "\x7f", "a\nb", "\u202e", "--help", "-", "--"]
WORDS += ["digits", "JointRD", "quick", "cpu", "cuda:99", "000000000000", "x.onnx", "x.pt2", "m_min=nan", "=", "a=b=c"]
VALUES = st.one_of(
    st.sampled_from(WORDS),
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(str),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
)


def parameters() -> list[tuple[str, str]]:
    """Every command with each of its options, and "" for its arguments."""
    found = []

    def visit(command: Any, name: str) -> None:
        for inner, one in getattr(command, "commands", {}).items():
            visit(one, f"{name} {inner}".strip())
        if not getattr(command, "commands", None):
            options = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
            found.extend((name, option if option.startswith("-") else "") for option in sorted(options))

    visit(typer.main.get_command(cli.app), "")
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A store with one trained network, a ResNet's file beside it; and the id of the run."""
    place = tmp_path_factory.mktemp("attacked")
    end = forked(partial(rdlib, *f"train {SMALL} --store {place} --device cpu".split()))
    assert end.code == 0, end.said
    torch.save(resnet(18, 10, "all", 2).state_dict(), place / "resnet.pth")
    (record,) = place.glob("runs/*/*.json")
    return place, record.stem


def would_take_minutes(*_: object) -> None:
    raise ConfigError("not measured here")


def small_alone(build: Callable[..., object], run: Run, *more: object) -> object:
    """Whatever was typed has become a run by now; a large one would train soundly, and for long."""
    if run.width > 64 or run.recipe.epochs > 5:
        would_take_minutes()
    return build(run, *more)


def rdlib(*arguments: str) -> None:
    sys.argv = ["rdlib", *arguments]
    main()


def test_every_command_is_attacked() -> None:
    assert {command for command, _ in parameters()} == LINES.keys()


@pytest.mark.parametrize(("command", "option"), [one for one in parameters() if one[1] != "--help"])
def test_whatever_is_typed_ends_in_a_sentence(command, option, store, tally, monkeypatch, tmp_path_factory) -> None:
    place, run = store
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))
    for work in MINUTES:
        monkeypatch.setattr(work, would_take_minutes)
    monkeypatch.setattr(execute, "build", partial(small_alone, execute.build))
    line = LINES[command].replace("STORE", str(place)).replace("RUN", run).replace("FILE", str(place / "resnet.pth"))
    published = state_of(cli.RESULTS)

    def attack(value: str) -> None:
        words = line.split()
        words = [*words, option, value] if option else [value, *words[1:]]
        said = [*command.split(), *words]
        end = forked(partial(rdlib, *said), seconds=60)
        require_good(end, said)
        require_sound_records(place, said)
        tally("inputs")

    first = zlib.crc32(f"{command} {option}".encode())
    for next_one in range(9 if WHOLE else 1):
        attack(WORDS[(first + next_one) % len(WORDS)])
    if WHOLE:
        generated(attack)()
    assert state_of(cli.RESULTS) == published, "the published store was touched"


def generated(attack: Callable[[str], None]) -> Callable[[], None]:
    """The attack with values that nobody thought of."""
    usual = settings(max_examples=5, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
    return settings(usual, suppress_health_check=list(HealthCheck))(given(VALUES)(attack))


def require_good(end: End, said: list[str]) -> None:
    told = (said, end.code, end.said[-2000:])
    assert not end.traced, told
    assert end.code in (0, 1, 2), told
    if end.code:
        assert "error: " in end.said or "Usage: " in end.said or "diverged" in end.said, told
    assert "\x1b[31m" not in end.said or "Usage: " in end.said, told


def require_sound_records(store: Path, said: list[str]) -> None:
    """No record holds what is no number."""
    for path in store.glob("runs/*/*.json"):
        for value in numbers(json.loads(path.read_text())):
            assert math.isfinite(value), (said, path.name)


def numbers(value: object) -> Iterator[float]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from numbers(inner)
    elif isinstance(value, float | int):
        yield float(value)


def state_of(folder: Path) -> set[tuple[str, int]]:
    """Names and times of the committed files of the published store."""
    kinds = ("runs", "measured", "published", "tables")
    return {(str(path), path.stat().st_mtime_ns) for kind in kinds for path in (folder / kind).rglob("*")}
