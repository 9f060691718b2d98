"""The networks that come with rdlib answer as their page says, are found by name, and are published by one rule."""

import copy
import json
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rdlib.commands import networks as command
from rdlib.deploy import gallery, hub
from rdlib.deploy.gallery import chosen, fitting, publish, require_weights, right, wanted, write_index
from rdlib.deploy.hub import LOADED, OURS, SUMS, from_pretrained, names, rounded, sha256_of_weights
from rdlib.errors import ConfigError, DataError, DeployError
from rdlib.files import RESULTS, sha256_of
from rdlib.images import load
from rdlib.images.dataset import Dataset
from rdlib.models import resnet
from rdlib.runs.run import Record
from rdlib.train import evaluate

FEW = 500  # test images that are evaluated in a second; of more a sample is
SPREAD = 2  # test images: another processor may round so many of them elsewhere
TINY = ("tiny-resnet-18", "tiny-plain-18", "tiny-plain-18-jointrd")


# --- those that come with rdlib


def with_test(images: Dataset, index: torch.Tensor) -> Dataset:
    some = copy.copy(images)
    object.__setattr__(some, "test", images.test.take(index))
    return some


@pytest.mark.parametrize("name", names())
def test_a_published_network_answers_as_many_test_images_as_its_page_says(name: str) -> None:
    network = from_pretrained(name)
    assert not network.training
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32, torch.int64}
    try:
        images = load(network.about["dataset"])
    except DataError as error:
        pytest.skip(str(error))
    assert network.record["provenance"]["data_sha256"] == images.sha256
    page = (OURS / "README.md").read_text()
    told, of = map(int, re.search(rf"^\| \[{name}\].* \((\d+) of (\d+)\) \|", page, re.MULTILINE).groups())
    assert of == len(images.test)
    if of <= FEW:
        assert abs(right(network, images) - told) <= SPREAD
        return
    some = with_test(images, torch.arange(0, of, of // FEW))  # in order of class: some of each
    share, count = told / of, len(some.test)
    assert abs(right(network, some) - share * count) <= 4 * math.sqrt(count * share * (1 - share))


@pytest.mark.parametrize("name", names())
def test_a_published_network_is_that_of_its_run(name: str) -> None:
    network, run = from_pretrained(name), wanted()[name]
    assert network.trained.run == run
    assert network.architecture == run.student(len(network.about["classes"])).architecture
    assert network.about["dataset"] == run.dataset


def test_the_page_and_the_sums_are_what_the_networks_say(tmp_path: Path) -> None:
    folder = shutil.copytree(OURS, tmp_path / "published")
    write_index(folder)
    for name in (SUMS, "README.md"):
        assert (folder / name).read_text() == (OURS / name).read_text(), "run `python -m rdlib publish`"
    listed = {line.partition("  ")[2] for line in (OURS / SUMS).read_text().splitlines()}
    assert listed == {f"{path.name}/{file}" for path in OURS.iterdir() if path.is_dir() for file in LOADED}


def test_what_is_to_be_published_is_one_seed_of_resnet_plain_and_jointrd() -> None:
    assert list(wanted()) == [
        *("digits-resnet-50", "digits-plain-50", "digits-plain-50-jointrd"),
        *("cifar10-small-resnet-34", "cifar10-small-plain-34", "cifar10-small-plain-34-jointrd"),
    ]
    assert list(chosen(["digits"])) == list(wanted())[:3]
    assert list(chosen(["digits-plain-50", "cifar10-small-plain-34"])) == [list(wanted())[i] for i in (1, 4)]
    with pytest.raises(ConfigError, match="nothing to publish is called 'mnist': choose from cifar10-small, "):
        chosen(["mnist"])


# --- publishing, on networks of seconds


@pytest.fixture
def runs(tiny_runs, monkeypatch):
    """What is to be published: three tiny runs by name, none trained yet."""
    teacher = tiny_runs(shortcuts="all")
    made = dict(zip(TINY, (teacher, tiny_runs(), tiny_runs("JointRD", teacher=teacher.id)), strict=True))
    monkeypatch.setattr(gallery, "wanted", lambda: made)
    return made


@pytest.fixture
def place(tmp_path, monkeypatch) -> Iterator[Path]:
    """Where published networks lie instead of results/published/."""
    monkeypatch.setattr(hub, "OURS", tmp_path / "published")
    return tmp_path / "published"


@pytest.fixture
def put(store, dataset):
    """`put(run)` leaves a network that nobody trained in the store, with its record; `change` alters it before."""

    def save(run, change=lambda network: None):
        network = run.student(10).eval()
        change(network)
        origin = {"protocol": "reduced", "data_sha256": dataset.sha256, "commit": None, "dirty": False, "versions": {}}
        metrics = {"test_top1": evaluate(network, dataset, dataset.test).top1}
        return store.save(Record(run, metrics, [], origin), network)

    return save


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """What `published` makes once and copies afterwards."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def published(runs, put, store, place, kept):
    """Two of the three, published."""
    folders = {kept / "store": store.root, kept / "published": place}
    if not any(kept.iterdir()):
        for name in TINY[:2]:
            put(runs[name])
            publish(name, runs[name], store, place)
        for copied, folder in folders.items():
            shutil.copytree(folder, copied)
    else:
        for copied, folder in folders.items():
            shutil.copytree(copied, folder)
    return place


def test_a_network_is_published_in_half_and_loaded_by_name_as_it_was_checked(published, runs, store, dataset):
    assert names() == list(TINY[:2])
    for name in names():
        loaded, trained, record = from_pretrained(name), store.network(runs[name]), store.record(runs[name])
        assert (loaded.precision, loaded.checked["images"]) == ("float16", len(dataset.test))
        assert loaded.checked["right"] == right(loaded, dataset)
        assert sha256_of_weights(loaded) == sha256_of_weights(rounded(trained)) == loaded.weights_sha256
        assert loaded.trained.provenance["weights_sha256"] == record.provenance["weights_sha256"]
        file = published / name / "model.safetensors"
        assert {t.dtype for t in load_file(file).values()} == {torch.float16, torch.int64}
        assert file.stat().st_size < 0.6 * store.weights_path(runs[name]).stat().st_size
        row = next(line for line in (published / "README.md").read_text().splitlines() if f"[{name}]" in line)
        for told in (runs[name].id, f"{record.top1:.2f}", f"({loaded.checked['right']} of 30)", "float16"):
            assert told in row
        card = (published / name / "README.md").read_text()
        assert "| weights in the file | float16; loaded they are float32" in card
        assert f"| {loaded.checked['right']} of 30 test images right |" in card
    sums = dict(line.split("  ")[::-1] for line in (published / SUMS).read_text().splitlines())
    assert sums == {f"{name}/{file}": sha256_of(published / name / file) for name in names() for file in LOADED}


def test_pushing_a_loaded_network_sends_the_half_that_was_published(published, tmp_path):
    from_pretrained(TINY[0]).save_pretrained(tmp_path / "again")
    for file in LOADED:
        assert (tmp_path / "again" / file).read_bytes() == (published / TINY[0] / file).read_bytes()


@pytest.mark.parametrize(("difference", "precision"), [(0, "float16"), (-1, "float16"), (1, "float16"), (2, "float32")])
def test_float16_only_where_it_answers_as_float32_to_one_image(difference, precision, dataset, monkeypatch):
    network = resnet(18, 10, "none", width=4).eval()
    counts = iter((20, 20 + difference))
    monkeypatch.setattr(gallery, "right", lambda network, images: next(counts))
    assert fitting(network, dataset) == (precision, 20 + difference if precision == "float16" else 20)


def test_a_weight_too_large_for_float16_keeps_float32(runs, put, store, place, monkeypatch):
    record = put(runs[TINY[0]], lambda network: network.layer1[0].bn1.running_var.fill_(1e5))
    monkeypatch.setattr(gallery, "right", lambda network, images: 20)
    assert publish(TINY[0], record.run, store, place).precision == "float32"
    assert sha256_of_weights(from_pretrained(TINY[0])) == record.provenance["weights_sha256"]


def test_publishing_again_takes_the_place_of_what_was_there(published, runs, store):
    before = {path: path.read_bytes() for path in published.rglob("*") if path.is_file()}
    (published / TINY[1] / "model.safetensors").write_bytes(b"no tensors")
    publish(TINY[1], runs[TINY[1]], store, published)
    assert {path: path.read_bytes() for path in published.rglob("*") if path.is_file()} == before


def test_a_file_that_answers_otherwise_is_not_published(published, runs, store, monkeypatch):
    before = {path: path.read_bytes() for path in published.rglob("*") if path.is_file()}
    counts = iter((20, 20, 19))
    monkeypatch.setattr(gallery, "right", lambda network, images: next(counts))
    with pytest.raises(DeployError, match="was 20 times right and is 19 times loaded again: nothing is published"):
        publish(TINY[0], runs[TINY[0]], store, published)
    assert {path: path.read_bytes() for path in published.rglob("*") if path.is_file()} == before


def test_missing_weights_are_one_sentence_with_the_command_that_trains_them(runs, put, store):
    run = runs[TINY[1]]
    command = f"`python -m rdlib train --run {run.id} --store {store.root}` trains it"
    with pytest.raises(ConfigError, match=re.escape(f"{TINY[1]} is not published") + f".*{re.escape(command)}"):
        require_weights(TINY[1], run, store)
    put(run)
    require_weights(TINY[1], run, store)
    store.weights_path(run).unlink()
    with pytest.raises(ConfigError, match=f"rdlib train --again {run.id} "):
        require_weights(TINY[1], run, store)


def run_command(*arguments: str) -> int:
    import typer

    app = typer.Typer()
    app.command()(command.publish)
    with pytest.raises(SystemExit) as caught:
        app(arguments)
    return int(caught.value.code or 0)


def test_the_command_publishes_what_is_there_and_names_the_rest(published, store, capsys):
    places = ("--store", str(store.root), "--to", str(published))
    assert run_command(*places) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0].rstrip(":") for line in lines] == list(TINY)
    assert re.fullmatch(r"tiny-plain-18: float16, .*, \d+ of 30 test images right \(.* by its record\).*", lines[1])
    assert "`python -m rdlib train --run" in lines[2]
    assert run_command(*TINY[:2], *places) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


# --- by name


def test_an_unknown_name_is_one_sentence_that_lists_them(published, place):
    with pytest.raises(DeployError, match=r"no published network is called 'tiny': name one of tiny-resnet-18, tiny-p"):
        from_pretrained("tiny")
    shutil.rmtree(place)
    with pytest.raises(DeployError, match=r"name one of \(none is here\), a folder, or a repository OWNER/NAME"):
        from_pretrained("tiny")


def change_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["fc.bias"] += 1
    save_file(weights, folder / "model.safetensors")


def change_config(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["about"]["mean"][0] += 0.1
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors of tiny-resnet-18 is not here"),
        (shutil.rmtree, "config.json of tiny-resnet-18 is not here"),
        (change_weights, "model.safetensors of tiny-resnet-18 is damaged, its SHA-256 is another"),
        (change_config, "config.json of tiny-resnet-18 is damaged, its SHA-256 is another"),
    ],
)
def test_a_file_that_is_absent_or_damaged_is_one_sentence(damage, sentence, published):
    damage(published / TINY[0])
    with pytest.raises(DeployError, match=f"{sentence}.*: `git checkout -- results/published` restores it"):
        from_pretrained(TINY[0])
    assert from_pretrained(TINY[1]).record is not None


def test_a_folder_of_that_name_comes_first_and_is_not_held_against_the_sums(published, tmp_path, monkeypatch):
    shutil.copytree(published / TINY[1], tmp_path / TINY[0])
    monkeypatch.chdir(tmp_path)
    assert from_pretrained(TINY[0]).architecture.shortcuts == "none"


def test_they_lie_where_the_command_puts_them():
    assert OURS == RESULTS / "published"
