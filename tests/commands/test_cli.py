"""The command line: bad input ends in one sentence and exit code 2, a failed run in 1, an interrupt in 130."""

import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from rdlib.__main__ import main
from rdlib.commands import data as data_command
from rdlib.commands import known
from rdlib.commands import main as cli
from rdlib.commands import measure as measure_command
from rdlib.commands.options import console
from rdlib.commands.sweep import left_over
from rdlib.convolutions import CONVOLUTIONS
from rdlib.errors import DataError
from rdlib.experiments.profiles import PROFILES, SMOKE
from rdlib.experiments.rows import SETS
from rdlib.experiments.tables import rows_of
from rdlib.files import RESULTS
from rdlib.images.published import GET, IMAGENET
from rdlib.images.sources import KNOWN
from rdlib.measure.engines import ENGINES, TOLERANCES
from rdlib.measure.latency_record import Settings
from rdlib.recipe import Recipe
from rdlib.runs.run import Run
from rdlib.runs.store import Store
from rdlib.runs.sweep import Outcome

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Runs `rdlib ARGUMENTS` in this process; gives exit code, stdout and stderr. An exception comes through."""

    kept = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT)}

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rdlib", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    yield run
    for one, handler in kept.items():
        signal.signal(one, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def raising(error: BaseException) -> Callable[..., None]:
    def train(*arguments: Any, **named: Any) -> None:
        raise error

    return train


def small(store: Store, *more: str) -> Sequence[str]:
    """A training of seconds."""
    options = {"dataset": "tiny", "width": "4", "epochs": "2", "batch-size": "16", "crop-padding": "1", "device": "cpu"}
    flags = [word for name, value in options.items() for word in (f"--{name}", value)]
    return ["train", "--store", str(store.root), *flags, *more]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (
            ["sweep", "quick", "--table", "9"],
            "unknown table '9': choose one of 3, 4, depth, 3-high-rate",
        ),
        (["sweep", "quick", "--jobs", "-1"], "--jobs needs at least 1, not -1"),
        (["sweep", "quick", "--seeds", "9"], "seeds 1 to 3, not 9"),
        (["sweep", "quick", "--minutes", "0"], "--minutes needs a number above 0, not 0"),
        (["sweep", "quick", "--minutes", "nan"], "--minutes needs a number above 0, not nan"),
        (["sweep", "quick", "--minutes", "1", "--scheduler", "tcp://127.0.0.1:1"], "a Dask worker cannot be stopped"),
        (["sweep", "quick", "--only", "nonsense"], "'nonsense': choose one of resnet, plain, jointrd, three"),
        (["sweep", "quick", "--only", "plain,"], "unknown --only '': choose one of resnet"),
        (["sweep", "quick", "--table", "controls", "--only", "plain"], "no runs in table controls"),
        (["train", "--depth", "19"], "unknown depth 19: choose one of 18, 34, 50"),
        (["train", "--dataset", "mnist"], "unknown dataset 'mnist'"),
        (["train", "--method", "Magic"], "unknown method 'Magic': choose one of Supervised"),
        (["train", "--shortcuts", "few"], "unknown shortcuts 'few': choose one of all"),
        (["train", "--schedule", "linear"], "unknown schedule 'linear': choose one of step"),
        (["train", "--holdout", "train"], "unknown holdout 'train'"),
        (["train", "--epochs", "0"], "epochs above 0"),
        (["train", "--width", "0"], "width >= 1"),
        (["train", "--method", "JointRD"], "needs a trained teacher"),
        (["train", "--method", "JointRD", "--teacher", "0123456789ab"], "no run 0123456789ab"),
        (["train", "--method", "JointRD", "--option", "lambda=1"], "'lambda'"),
        (["train", "--method", "JointRD", "--option", "m_min=half"], "m_min of JointRD is a float"),
        (["train", "--option", "m_min"], "'m_min' is not NAME=VALUE"),
        (["train", "--device", "abacus"], "abacus"),
        (["publish", "mnist"], "nothing to publish is called 'mnist': choose from cifar10-small, "),
        (["data", "prepare", "mnist"], "add --from FOLDER for 'mnist'"),
        (["data", "prepare", "mine", "--from", "absent"], "there is no folder absent"),
        (["data", "prepare", "mine", "--from", "absent.npz"], "absent.npz cannot be read (No such file or directory)"),
        (["data", "prepare", "mine", "--from", "README.md"], "README.md is no whole .npz: write it with numpy.savez"),
        (["data", "prepare", "mine", "--in-place", "--from", "a.npz"], "leave out --in-place"),
        (["data", "prepare", "cifar10-small"], "cifar10 at half its side and needs no preparation of its own: prepare"),
        (["data", "prepare", "../mine"], "letters, digits"),
        (["measure", "latency", "--threads", "100000"], "100000 threads on "),
        (["reproduce", "quick", "--jobs", "0"], "--jobs needs at least 1, not 0"),
        (["train", "--width", "100000000"], "4096 >= width >= 1"),
        (
            ["train", "--crop-padding", "1000000000"],
            "crop_padding 1000000000 is more than the 16 pixels of digits's side",
        ),
        (["train", "--cutout", "17"], "cutout 17 is more than the 16 pixels of digits's side"),
        (["measure", "latency", "--threads", "0"], "must all be at least 1"),
        (["measure", "latency", "--batch", "10000000000"], "are at most 1024: choose less"),
        (["measure", "latency", "--repetitions", "10000000000"], "are at most 1024: choose less"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, named, command, store):
    (store.root / "measured").mkdir(parents=True)
    (store.root / "measured/any.json").touch()
    code, _, err = command(*arguments, *([] if arguments[0] == "data" else ["--store", str(store.root)]))
    assert code == 2
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert named in line
    assert store.records() == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["train", "--depth", "deep"], "Invalid value for '--depth'"),
        (["train", "--colour", "red"], "No such option"),
        (["sweep", "quick", "--jobs", "many"], "Invalid value for '--jobs'"),
        (["sweep", "quick", "--minutes", "soon"], "Invalid value for '--minutes'"),
        (["dance"], "No such command 'dance'"),
        (["sweep"], "Missing argument"),
    ],
)
def test_a_usage_error_is_explained_with_exit_code_2(arguments, named, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = command(*arguments)
    assert code == 2
    assert "Usage: " in err
    plain = re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─\s]+", " ", err)  # rich draws a box and wraps the text
    assert named in plain
    assert "Traceback" not in err


def test_data_list_tells_what_is_there_and_how_to_get_the_rest(command, monkeypatch, tmp_path):
    monkeypatch.setattr("rdlib.commands.data.DATA", tmp_path)
    code, out, _ = command("data", "list")
    assert code == 0
    line = "digits: 10 classes, 16x16, 1297 train (of them 129 tune), 500 test, sha256 92cb71c2c011"
    assert line in out.splitlines()
    assert "cifar10: not prepared; python -m rdlib data prepare cifar10" in out
    assert "cifar100: not prepared" in out
    assert "cifar10-small: not prepared; python -m rdlib data prepare cifar10 [--from FOLDER]" in out.splitlines()


def test_train_trains_once_shows_its_record_and_repeats_it_on_demand(command, store, tiny_runs):
    code, out, _ = command(*small(store))
    assert code == 0
    (record,) = store.records()
    assert out.splitlines()[-1].startswith(f"{record.run.id}  test top-1 {record.top1:.1f} %")
    before = store.record_path(record.run).read_bytes()
    code, out, _ = command(*small(store))
    assert code == 0
    assert f"{record.run.id} is trained already" in out
    assert store.record_path(record.run).read_bytes() == before
    code, out, _ = command("show", record.run.id, "--store", str(store.root))
    assert out.strip() == store.record_path(record.run).read_text().strip()

    store.weights_path(record.run).unlink()
    code, out, _ = command("train", "--again", record.run.id, "--store", str(store.root), "--device", "cpu")
    assert code == 0
    assert store.network(record.run) is not None
    assert store.records()[0].metrics == record.metrics


def test_weights_made_again_that_differ_show_both_accuracies(command, store, tiny_runs):
    command(*small(store))
    (record,) = store.records()
    stands = replace(record, metrics=record.metrics | {"test_top1": 77.7})
    stands.provenance["weights_sha256"] = "0" * 64
    store.record_path(record.run).write_text(stands.to_json())
    code, out, _ = command("train", "--again", record.run.id, "--store", str(store.root), "--device", "cpu")
    its, these = out.splitlines()[-2:]
    assert (code, f"test top-1 {record.top1:.1f} %" in these, "77.7" in these) == (0, True, False)
    assert "test top-1 77.7 %" in its


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--again ID --epochs 7", "--again names a whole run, so --epochs would be ignored"),
        ("--again ID --dataset digits", "--again names a whole run, so --dataset would be ignored"),
        ("--again ID --no-flip", "so --flip would be ignored"),
        ("--again ID --teacher 000000000000", "so --teacher would be ignored"),
        ("--run ID --option m_end=0.1", "--run names a whole run, so --option would be ignored"),
        ("--run ID --again ID", "--run and --again each name a run"),
        ("--method JointRD --teacher *", "twelve hex digits of its run's id, not '*'"),
        ("--method JointRD --teacher abc", "twelve hex digits of its run's id, not 'abc'"),
        ("--method JointRD --teacher=", "--teacher= is empty (an unset shell variable?)"),
    ],
)
def test_what_would_be_ignored_or_names_no_run_is_refused(words, said, command, store):
    code, _, err = command("train", *words.replace("ID", "0858ce997c21").split(), "--store", str(store.root))
    assert (code, err.count("\n"), said in err) == (2, 1, True), err
    assert not store.records()


def test_train_takes_every_option_into_the_run(command, store, tiny_runs):
    flags = "--method JointRD --depth 34 --shortcuts downsample --seed 3 --schedule cosine --holdout tune --no-flip"
    flags += " --learning-rate 0.02 --weight-decay 0.001 --option regime=beside --option quarter=true --option m_min=0"
    code, *_ = command(*small(store, *flags.split()))
    assert code == 0
    (record,) = store.records()
    expected = tiny_runs(
        "JointRD", "downsample", 3, depth=34, options={"regime": "beside", "quarter": True, "m_min": 0.0}
    )
    recipe = Recipe(2, 16, 0.02, "cosine", weight_decay=0.001, crop_padding=1, flip=False, holdout="tune")
    assert record.run == Run(**vars(expected) | {"recipe": recipe})


def test_a_sweep_with_failures_lists_them_and_exits_with_1(command, store, monkeypatch):
    monkeypatch.setattr("rdlib.runs.workers.train", raising(DataError("the dog ate the images")))
    code, out, _ = command(*f"sweep quick --table 3 --seeds 1 --jobs 1 --store {store.root}".split())
    assert code == 1
    failures = [line for line in out.splitlines() if line.startswith("FAILED")]
    assert len(failures) == 11
    assert sum("the dog ate the images" in line for line in failures) == 5
    assert sum(re.search("its teacher .* failed", line) is not None for line in failures) == 6


def test_a_sweep_says_what_diverged_and_is_done_with_it(command, store, monkeypatch):
    """Diverged runs are no failure; what they would have taught is."""
    absurd = replace(SMOKE.trained(learning_rate=10.0, weight_decay=100.0, schedule="step"), seeds=(0,))
    monkeypatch.setattr("rdlib.commands.sweep.profile", lambda name, seeds: absurd)
    words = f"sweep smoke --only plain --jobs 1 --store {store.root} --device cpu".split()
    code, out, _ = command(*words)
    (record,) = store.records()
    line = f"DIVERGED  {record.run.id}  {record.run.label}: diverged in epoch 1, as its record says"
    assert (code, out.splitlines()[-1], out.count("DIVERGED")) == (0, line, 1)
    code, out, _ = command(*words)
    assert (code, out) == (0, "1 of 1 runs of smoke are done (1 diverged), 0 to train\n")
    assert f"{record.run.id}  {record.run.label}: diverged in epoch 1, " in command(*words, "--list")[1]

    code, out, _ = command(*(word.replace("plain", "three") for word in words))
    assert code == 1
    assert out.splitlines()[0] == "1 of 3 runs of smoke are done (1 diverged), 2 to train"
    assert [line.split()[0] for line in out.splitlines()[-2:]] == ["DIVERGED", "FAILED"]
    assert re.search(r"FAILED .* JointRD.*: run \w+ diverged in epoch 1, so it has no weights to teach with", out)


def test_a_training_that_diverges_is_recorded_and_exits_with_1(command, store, tiny_runs):
    arguments = small(store, "--learning-rate", "1e20")
    code, out, err = command(*arguments)
    (record,) = store.records()
    name = record.run.id
    said = f"{name} has a record that says so, and no weights: another run, such as one of a lower rate, may finish"
    assert (code, out.splitlines()[-1]) == (1, said)
    assert "Error" not in err
    assert out.splitlines()[-2].startswith(f"{name}  diverged in epoch 1, ")
    code, out, _ = command(*arguments)
    assert (code, out.splitlines()[-1]) == (1, said)
    assert out.startswith(f"{name} is trained already: diverged in epoch 1, ")
    assert command("train", "--again", name, "--store", str(store.root), "--device", "cpu")[0] == 1
    assert '"diverged": {\n  "epoch": 1' in command("show", name, "--store", str(store.root))[1]
    assert ": diverged in epoch 1, " in command("show", "--store", str(store.root))[1]
    code, _, err = command("export", name, "--to", str(store.root / "net.onnx"), "--store", str(store.root))
    assert (code, err.count("\n")) == (2, 1)
    assert f"error: run {name} diverged in epoch 1, so it has no weights to teach with or to export" in err


def test_a_sweep_whose_time_is_up_says_what_is_left(command, store):
    """Too short for even one run: nothing starts, and nothing is wrong."""
    words = f"sweep smoke --only three --seeds 1 --minutes 0.0001 --store {store.root} --device cpu"
    code, out, err = command(*words.split())
    assert (code, err) == (0, "")
    said = "time is up after 0.0001 min: 0 of 3 runs done, 3 not started: run the same command again"
    assert out.splitlines()[-1] == said


def test_the_sentence_counts_what_is_done_stopped_failed_and_left(tiny_runs):
    runs = [tiny_runs(seed=seed) for seed in range(6)]
    cut = Outcome(failures={runs[0]: "a disk"}, stopped=runs[1:2], waiting=runs[2:5], needed=2400.0)
    assert left_over(cut, 6, 15) == (
        "time is up after 15 min: 1 of 6 runs done, 1 failed, 1 stopped (finished epochs are kept), 3 not started; "
        "what is left needs about 40 min: run the same command again"
    )
    early = Outcome(waiting=runs[2:], needed=2400.0)
    assert left_over(early, 6, 15) == (
        "no other run fits into 15 min: 2 of 6 runs done, 4 not started; "
        "what is left needs about 40 min: run the same command again"
    )


def test_only_is_listed_with_the_teachers_it_needs(command, store):
    code, out, _ = command(*f"sweep quick --table 3 --seeds 2 --only JointRD --list --store {store.root}".split())
    assert code == 0
    kinds = [
        re.sub(r".*  (\w+) .* shortcuts (\w+) .* seed (\d): missing", r"\1 \2 \3", line) for line in out.splitlines()
    ]
    assert kinds == ["Supervised all 0", "JointRD none 0", "Supervised all 1", "JointRD none 1"]


def test_an_interrupt_says_how_to_go_on_and_exits_with_130(command, store, tiny_runs, monkeypatch):
    monkeypatch.setattr("rdlib.runs.execute.train", raising(KeyboardInterrupt()))
    code, _, err = command(*small(store))
    assert (code, err.count("\n")) == (130, 1)
    assert "run the same command again" in err


INTERRUPTING = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            {how}

sys.meta_path.insert(0, Finder())
from rdlib.__main__ import main
main()
"""


@pytest.mark.parametrize("module", ["typer", "torch"])
@pytest.mark.parametrize(
    "how",
    [
        "raise KeyboardInterrupt",
        "os.kill(os.getpid(), signal.SIGTERM)",
        "exec('os.kill(os.getpid(), signal.SIGINT)')",  # after which Python would end by the signal
        # as numpy does where its import is cut short
        "try: os.kill(os.getpid(), signal.SIGINT)\n            except KeyboardInterrupt: raise ImportError('twice')",
    ],
)
def test_an_interrupt_during_imports_is_one_sentence_too(how, module, tmp_path):
    code = INTERRUPTING.format(module=module, how=how)
    (tmp_path / "interrupting.py").write_text(code)
    arguments = [sys.executable, "-m", "interrupting", "sweep", "quick", "--list", "--store", str(tmp_path)]
    there = os.environ | {"PYTHONPATH": str(RESULTS.parent)}
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path, env=there)
    assert (done.returncode, done.stderr.count("\n")) == (130, 1), done.stderr


def test_a_damaged_record_is_named(command, store, tiny_runs):
    command(*small(store))
    (path,) = store.root.glob("runs/*/*.json")
    path.write_text(path.read_text().replace('"depth": 18', '"depth": 34'))
    shown = ["show", "--store", str(store.root)]
    for arguments in (shown, [*shown, path.stem], small(store)):
        code, _, err = command(*arguments)
        assert code == 2
        assert err.startswith(f"error: record {path.name}")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_show_lists_what_can_be_read_and_names_what_cannot(content, command, store, tiny_runs):
    for seed in ("1", "2"):
        command(*small(store, "--seed", seed))
    bad = [store.root / f"runs/tiny/{name}.json" for name in ("0_bad", "z_bad")]
    for path in bad:
        path.write_bytes(content)
    code, out, err = command("show", "--store", str(store.root))
    assert (code, len(out.splitlines()), len(err.splitlines())) == (2, 2, 2)
    assert all(f"error: record {path.name} cannot be read" in err for path in bad)


def test_tables_writes_nothing_beside_a_bad_record(command, store, tiny_runs):
    bad = store.record_path(rows_of(PROFILES["quick"], "depth")[-1].runs[0])
    bad.parent.mkdir(parents=True)
    bad.write_text("{")
    code, _, err = command("tables", "--store", str(store.root))
    assert (code, err.count("\n"), f"record {bad.name}" in err) == (2, 1, True)
    assert [path.name for path in store.root.iterdir()] == ["runs"]


def test_weights_are_readable_for_whom_the_umask_lets_read(command, store, tiny_runs):
    before = os.umask(0o027)
    try:
        command(*small(store))
    finally:
        os.umask(before)
    (record,) = store.records()
    for path in (store.weights_path(record.run), store.record_path(record.run)):
        assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("number", "help"),
    [(errno.EACCES, "let yourself read and write it"), (errno.ENOSPC, "make room"), (errno.EROFS, "write elsewhere")],
)
def test_an_error_of_reading_or_writing_gets_help_that_fits(number, help, command, store, tiny_runs, monkeypatch):
    fault = OSError(number, os.strerror(number), "/a/b/images.npz")
    monkeypatch.setattr("rdlib.runs.execute.train", raising(fault))
    code, _, err = command(*small(store))
    said = f"error: {os.strerror(number)} (images.npz): {help}, then run the same command again"
    assert (code, err.splitlines()) == (2, [said])


def test_nothing_that_is_printed_steers_the_terminal(capsys):
    console.print("red \x1b[31m\x1b]0;title\x07 \x9b2J ü\nline")
    assert capsys.readouterr().out == "red \\x1b[31m\\x1b]0;title\\x07 \\x9b2J ü\nline\n"


def test_a_run_of_a_profile_is_trained_by_its_id(command, store, tiny_runs, monkeypatch):
    run = tiny_runs()
    monkeypatch.setattr("rdlib.experiments.tables.runs_of", lambda rows: [run])
    monkeypatch.setattr(known, "INDEX", store.root / "absent.json")
    assert command("train", "--run", run.id, "--store", str(store.root))[0] == 0
    assert [record.run for record in store.records()] == [run]
    code, out, _ = command("train", "--run", run.id, "--store", str(store.root))
    assert (code, "is trained already" in out) == (0, True)


def test_the_list_of_a_sweep_trains_nothing(command, store):
    code, out, _ = command("sweep", "quick", "--table", "3", "--list", "--store", str(store.root))
    assert code == 0
    assert len(out.splitlines()) == 33
    assert all(line.endswith(": missing") for line in out.splitlines())
    assert not Path(store.root).exists()


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = sys.modules["numpy"] = None
from rdlib.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--help"], 0, "Train deep networks without shortcuts"),
        (["train", "--help"], 0, "--learning-rate"),
        (["measure", "latency", "--help"], 0, "--engine"),
        ([], 2, "Train deep networks without shortcuts"),
        (["show", "000000000000"], 2, "the store has no run 000000000000"),
        (["train", "--run", ""], 2, "the word after --run is empty (an unset shell variable?)"),
        (["show", "--store="], 2, "--store= is empty (an unset shell variable?)"),
        (["tables", "--store", " "], 2, "the word after --store is empty (an unset shell variable?)"),
        (["show", ""], 2, "the word after show is empty (an unset shell variable?)"),
        (["show", "--store", "typo"], 2, "typo is no store (it has no records): correct --store"),
        (["tables", "--store", "rdlib"], 2, "rdlib is no store"),
        (["publish", "--store", "README.md"], 2, "README.md is no store"),
        (["export", "000000000000", "--to", "x.onnx", "--store", "typo"], 2, "typo is no store"),
        (["show", "\x1b[31mred\x07"], 2, "the store has no run \\x1b[31mred\\x07"),
        (["train", "--run", "000000000000"], 2, "neither the store nor a profile has run 000000000000"),
        (["train", "--again", "nonsense"], 2, "neither the store nor a profile has run nonsense"),
        (["export", "000000000000", "--to", "x.onnx"], 2, "neither the store nor a profile has run 000000000000"),
        (["sweep", "mnist"], 2, "unknown profile 'mnist': choose one of quick, cifar10-small, cifar100-small, "),
    ],
)
def test_help_and_mistyped_words_are_answered_without_torch(arguments, code, said):
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *arguments], capture_output=True, text=True)
    assert said in done.stdout + done.stderr
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_the_index_of_runs_is_what_the_profiles_give():
    assert known.INDEX.read_text() == known.index(), "after a change of what is trained: python -m rdlib tables"


def test_a_run_is_found_by_its_record_or_by_a_table(store, monkeypatch):
    _, runs = next(known.listed())
    run_id, run = next(iter(runs.items()))
    assert known.known_run(store.root, run_id) == run
    path = next(RESULTS.glob("runs/*/*.json"))
    assert known.known_run(RESULTS, path.stem).id == path.stem
    assert known.may_be_listed(run_id)
    monkeypatch.setattr(known, "sources", lambda: "other")  # a stale index says nothing
    assert known.may_be_listed("0" * 12)


def test_the_choices_that_help_names_are_those_there_are():
    """Written out in rdlib/commands, since the lists themselves need torch."""
    assert set(data_command.SMALL.split(", ")) == set(KNOWN)
    assert set(data_command.PHOTOGRAPHS.split(", ")) == set(GET)
    assert "; ".join(dict.fromkeys(engine.name for engine in ENGINES)) == measure_command.ENGINES
    assert measure_command.PRECISIONS.split(", ") == list(TOLERANCES)
    latency = typer.main.get_command(measure_command.measure_app).commands["latency"]
    usual = {parameter.name: parameter.default for parameter in latency.params}
    assert Settings(usual["threads"], usual["repetitions"], usual["warmup"]) == Settings()
    commands = typer.main.get_command(cli.app).commands
    conv = next(parameter for parameter in commands["train"].params if parameter.name == "conv")
    assert all(name in conv.help for name in CONVOLUTIONS)
    sets = next(parameter for parameter in commands["sweep"].params if parameter.name == "only")
    assert all(name in sets.help for name in SETS)
    assert next(p for p in commands["adopt"].params if p.name == "dataset").default == IMAGENET
