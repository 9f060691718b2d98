"""The command line: bad input ends in one sentence and exit code 2, a failed run in 1, an interrupt in 130."""

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rdlib import __main__ as cli
from rdlib.errors import DataError
from rdlib.runs.store import Store

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `rdlib ARGUMENTS` in this process; gives exit code, stdout and stderr. An exception comes through."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rdlib", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return run


def small(store: Store, *more: str) -> Sequence[str]:
    """A training of seconds."""
    options = {"dataset": "tiny", "width": "4", "epochs": "2", "batch-size": "16", "crop-padding": "1", "device": "cpu"}
    flags = [word for name, value in options.items() for word in (f"--{name}", value)]
    return ["train", "--store", str(store.root), *flags, *more]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (
            ["sweep", "mnist"],
            "unknown profile 'mnist': choose one of quick, cifar100-small, cifar100, cifar10, imagenet",
        ),
        (["sweep", "quick", "--table", "9"], "unknown table '9': choose one of 3, 3-low-rate, 4, learning-rate"),
        (["sweep", "quick", "--jobs", "-1"], "--jobs needs at least 1, not -1"),
        (["sweep", "quick", "--seeds", "9"], "seeds 1 to 3, not 9"),
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
        (["train", "--again", "0123456789ab"], "neither the store nor a profile has run 0123456789ab"),
        (["show", "0123456789ab"], "the store has no run 0123456789ab"),
        (["train", "--device", "abacus"], "abacus"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, named, command, store):
    code, _, err = command(*arguments, "--store", str(store.root))
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


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["data", "prepare", "mnist"], "add --from FOLDER for 'mnist'"),
        (["data", "prepare", "mine", "--from", "absent"], "no train/"),
        (["data", "prepare", "../mine"], "letters, digits"),
    ],
)
def test_bad_data_commands_are_one_sentence(arguments, named, command):
    code, _, err = command(*arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("error: ")
    assert named in err


def test_data_list_tells_what_is_there_and_how_to_get_the_rest(command, monkeypatch, tmp_path):
    monkeypatch.setattr("rdlib.commands.data.ROOT", tmp_path)
    code, out, _ = command("data", "list")
    assert code == 0
    assert re.search(
        r"^digits: 10 classes, 16x16, 1297 train \(of them 129 tune\), 500 test, sha256 92cb71c2c011$", out, re.M
    )
    assert "cifar10: not prepared; python -m rdlib data prepare cifar10" in out
    assert "cifar100: not prepared" in out


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


def test_train_takes_every_option_into_the_run(command, store, tiny_runs):
    flags = [
        "--method",
        "JointRD",
        "--depth",
        "34",
        "--shortcuts",
        "downsample",
        "--seed",
        "3",
        "--schedule",
        "cosine",
        "--holdout",
        "tune",
    ]
    flags += ["--learning-rate", "0.02", "--weight-decay", "0.001", "--no-flip"]
    options = ["--option", "regime=joint", "--option", "quarter=true", "--option", "m_min=0"]
    code, *_ = command(*small(store, *flags, *options))
    assert code == 0
    (record,) = store.records()
    expected = tiny_runs(
        "JointRD", "downsample", 3, depth=34, options={"regime": "joint", "quarter": True, "m_min": 0.0}
    )
    recipe = cli.Recipe(2, 16, 0.02, "cosine", weight_decay=0.001, crop_padding=1, flip=False, holdout="tune")
    assert record.run == cli.Run(**vars(expected) | {"recipe": recipe})


def test_a_sweep_with_failures_lists_them_and_exits_with_1(command, store, monkeypatch):
    def train(*arguments: Any, **named: Any) -> None:
        raise DataError("the dog ate the images")

    monkeypatch.setattr("rdlib.runs.workers.train", train)
    code, out, _ = command(*f"sweep quick --table 3 --seeds 1 --jobs 1 --store {store.root}".split())
    assert code == 1
    failures = [line for line in out.splitlines() if line.startswith("FAILED")]
    assert len(failures) == 11
    assert sum("the dog ate the images" in line for line in failures) == 5
    assert sum(re.search("its teacher .* failed", line) is not None for line in failures) == 6


def test_an_interrupt_exits_with_130(command, store, tiny_runs, monkeypatch):
    def train(*arguments: Any, **named: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "train_run", train)
    code, _, err = command(*small(store))
    assert code == 130
    assert "Traceback" not in err


def test_an_interrupt_says_how_to_go_on(command, store, tiny_runs, monkeypatch):
    def train(*arguments: Any, **named: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "train_run", train)
    assert "run the same command again" in command(*small(store))[2]


def test_a_damaged_record_is_named(command, store, tiny_runs):
    command(*small(store))
    (path,) = store.root.glob("runs/*/*.json")
    path.write_text(path.read_text().replace('"depth": 18', '"depth": 34'))
    for arguments in (["show", "--store", str(store.root)], small(store)):
        code, _, err = command(*arguments)
        assert code == 2
        assert err.startswith(f"error: record {path.name}")


def test_a_run_of_a_profile_is_trained_by_its_id(command, store, tiny_runs, monkeypatch):
    run = tiny_runs()
    monkeypatch.setattr("rdlib.__main__.runs_of", lambda rows: [run])
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
