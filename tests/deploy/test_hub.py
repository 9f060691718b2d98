"""A published network computes bit for bit what was saved, its card says what its record says, damage is noticed."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from rdlib.convolutions import fold
from rdlib.deploy.hub import FILES, Published, from_pretrained, save_pretrained
from rdlib.errors import DeployError
from rdlib.models import Architecture, StagedResNet, resnet
from rdlib.rivals.pruning import pruned
from rdlib.runs.execute import train

ABOUT = {"dataset": "shapes", "classes": ["round", "square", "other"], "side": 16}
ABOUT |= {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
ARCHITECTURES = {
    "18": Architecture("basic", (2, 2, 2, 2), 3, "none", 4),
    "50": Architecture("bottleneck", (3, 4, 6, 3), 3, "all", 4, "imagenet"),
    "wide": Architecture("bottleneck", (1, 2, 1, 1), 3, "downsample", 8, width_per_group=128),
    "ResNeXt": Architecture("bottleneck", (1, 1, 1, 1), 3, "all", 16, groups=4, width_per_group=16),
    "dirac": Architecture("basic", (1, 1, 1, 1), 3, "none", 4, conv="dirac"),
}


def network_of(architecture: Architecture) -> StagedResNet:
    """With weights and statistics that no initialisation gives."""
    network = StagedResNet(architecture)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                tensor.uniform_(*((0.5, 2) if name.endswith("running_var") else (-0.5, 0.5)))
    return network.eval()


@pytest.fixture
def images():
    return torch.randint(256, (4, 3, 16, 16), dtype=torch.uint8)


@pytest.fixture
def folder(tmp_path):
    return save_pretrained(network_of(ARCHITECTURES["18"]), tmp_path / "published", ABOUT)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_loaded_network_gives_the_saved_networks_logits_bit_for_bit(name, images, tmp_path):
    network = network_of(ARCHITECTURES[name])
    random_state = torch.random.get_rng_state()
    loaded = from_pretrained(save_pretrained(network, tmp_path / name, ABOUT))
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert isinstance(loaded, StagedResNet)
    assert not loaded.training
    assert (loaded.architecture, loaded.about, loaded.record) == (network.architecture, ABOUT, None)
    x = loaded.normalise(images)
    with torch.no_grad():
        expected = network(x)
        assert expected.std() > 0
        assert torch.equal(loaded(x), expected)
        torch.testing.assert_close(fold(loaded.double())(x.double()), network.double()(x.double()))


def test_the_weights_file_has_torchvisions_names_and_saving_again_gives_the_same_folder(folder, tmp_path):
    assert {path.name for path in folder.iterdir()} == set(FILES)
    loaded = from_pretrained(str(folder))
    assert set(load_file(folder / "model.safetensors")) == set(loaded.state_dict())
    assert "layer1.0.conv1.weight" in loaded.state_dict()
    again = save_pretrained(loaded, tmp_path / "again", loaded.about)
    assert [(again / name).read_bytes() for name in FILES] == [(folder / name).read_bytes() for name in FILES]


def test_normalise_is_the_data_sets_own(dataset, images, tmp_path):
    about = ABOUT | {"mean": dataset.mean.tolist(), "std": dataset.std.tolist()}
    loaded = from_pretrained(save_pretrained(network_of(ARCHITECTURES["18"]), tmp_path / "published", about))
    assert torch.equal(loaded.normalise(images), dataset.normalise(images))


@pytest.fixture
def taught(tiny_runs, store):
    """Record and network of a student, and the record of its teacher."""
    teacher = train(tiny_runs(shortcuts="all"), store, "cpu", progress=False)
    student = train(tiny_runs("JointRD", teacher=teacher.run.id), store, "cpu", progress=False)
    return student, store.network(student.run), teacher


def test_the_card_says_what_the_record_says_in_the_hubs_metadata_too(taught, dataset, tmp_path):
    record, network, teacher = taught
    about = ABOUT | {"dataset": dataset.name, "classes": dataset.classes}
    folder = save_pretrained(network, tmp_path / "published", about, record)
    card = (folder / "README.md").read_text()
    rows = dict(re.findall(r"^\| ([^|]+?) \| (.+) \|$", card, re.MULTILINE))
    assert rows["run"] == record.run.id
    assert rows["data set"] == f"tiny, SHA-256 {dataset.sha256}"
    assert rows["method"].startswith("JointRD; ")
    assert rows["teacher"] == f"run {teacher.run.id}, weights' SHA-256 {teacher.provenance['weights_sha256']}"
    assert rows["seed"] == str(record.run.seed)
    assert rows["accuracy"].startswith(f"{record.metrics['test_top1']:.2f} % top-1 on the test split")
    assert "n = 1" in rows["accuracy"]
    assert f"epochs {record.run.recipe.epochs}, batch_size {record.run.recipe.batch_size}" in rows["recipe"]
    assert rows["commit"].startswith(record.provenance["commit"])
    assert rows["SHA-256 of the weights"] == record.provenance["weights_sha256"]
    assert "research code" in rows["purpose"]
    assert f"# plain-{record.run.depth}, strictly plain, on tiny" in card
    data = ModelCard.load(folder / "README.md").data
    (result,) = data.eval_results
    assert (data.license, data.library_name, data.pipeline_tag) == ("apache-2.0", "rdlib", "image-classification")
    assert (result.metric_value, result.dataset_split) == (record.metrics["test_top1"], "test")


def test_the_accuracy_of_a_tune_run_is_said_to_be_of_that_split(tiny_runs, store, recipe, tmp_path):
    record = train(tiny_runs(recipe=replace(recipe, holdout="tune")), store, "cpu", progress=False)
    card = save_pretrained(store.network(record.run), tmp_path / "published", ABOUT, record) / "README.md"
    assert f"{record.metrics['tune_top1']:.2f} % top-1 on the tune split" in card.read_text()


def test_without_a_record_no_accuracy_is_claimed(folder):
    card = (folder / "README.md").read_text()
    assert "not recorded: none is claimed" in card
    assert "model-index" not in card
    assert "%" not in card


def test_a_loaded_network_can_be_pushed_as_it_is_and_holds_no_path_of_the_machine(taught, tmp_path, monkeypatch):
    record, network, _ = taught
    folder, sent = save_pretrained(network, tmp_path / "published", ABOUT, record), {}

    class Api:
        def __init__(self, token=None):
            pass

        def create_repo(self, repo_id, **options):
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, folder_path, **options):
            sent.update({path.name: path.read_bytes() for path in Path(folder_path).iterdir()})

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    from_pretrained(folder).push_to_hub("someone/something")
    assert sent == {name: (folder / name).read_bytes() for name in FILES}
    for path in (tmp_path, Path.home(), Path(__file__).parents[2]):
        assert str(path).encode() not in b"".join(sent.values())


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (lambda: fold(network_of(ARCHITECTURES["18"])), "neither folded nor pruned"),
        (lambda: pruned(resnet(18, 3, width=16), 0.5), "neither folded nor pruned"),
        (lambda: network_of(ARCHITECTURES["18"]).double(), "in float32"),
        (lambda: torch.nn.Linear(2, 2), "not a Linear"),
    ],
)
def test_what_cannot_be_published_is_named_and_nothing_is_written(network, sentence, tmp_path):
    with pytest.raises(DeployError, match=sentence):
        save_pretrained(network(), tmp_path / "published", ABOUT)
    assert list(tmp_path.iterdir()) == []


def test_a_record_of_other_weights_or_of_weights_trained_elsewhere_is_refused(taught, tmp_path):
    record, network, teacher = taught
    with pytest.raises(DeployError, match=f"not those of run {teacher.run.id}"):
        save_pretrained(network, tmp_path / "published", ABOUT, teacher)
    adopted = replace(record, provenance=record.provenance | {"protocol": "adopted"})
    with pytest.raises(DeployError, match="trained elsewhere"):
        save_pretrained(network, tmp_path / "published", ABOUT, adopted)
    assert not (tmp_path / "published").exists()


def test_missing_facts_an_unwritable_place_and_a_folder_in_use_are_one_sentence(folder, tmp_path):
    network, before = network_of(ARCHITECTURES["18"]), (folder / "README.md").read_bytes()
    with pytest.raises(DeployError, match="published is there and not empty"):
        save_pretrained(network, folder, ABOUT)
    assert (folder / "README.md").read_bytes() == before
    with pytest.raises(DeployError, match=r"cannot write x \(No such file"):
        save_pretrained(network, tmp_path / "nowhere" / "x", ABOUT)
    with pytest.raises(DeployError, match="needs classes, std of its images"):
        save_pretrained(network, tmp_path / "x", {"dataset": "shapes", "side": 16, "mean": [0, 0, 0]})
    empty = tmp_path / "empty"
    empty.mkdir()
    assert from_pretrained(save_pretrained(network, empty, ABOUT)).about == ABOUT
    assert {path.name for path in tmp_path.iterdir()} == {"published", "empty"}


def change_config(folder: Path, **values) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def change_weights(folder: Path, change) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: (folder / "config.json").unlink(), "published has no config.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "published has no model.safetensors"),
        (lambda folder: (folder / "config.json").write_text("{"), "published is damaged"),
        (lambda folder: (folder / "config.json").write_text("{}"), "published is damaged"),
        (lambda folder: change_config(folder, architecture={"block": "ring"}), "published is damaged"),
        (lambda folder: change_config(folder, weights_sha256="0"), "published are not those that it names"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no tensors"), "published is damaged"),
        (lambda folder: change_weights(folder, lambda w: w.pop("fc.bias")), "published is damaged"),
        (
            lambda folder: change_weights(folder, lambda weights: weights["fc.bias"].add_(1)),
            "published are not those that it names",
        ),
    ],
)
def test_a_damaged_folder_is_one_sentence(damage, sentence, folder):
    assert isinstance(from_pretrained(folder), Published)
    damage(folder)
    with pytest.raises(DeployError, match=sentence):
        from_pretrained(folder)


def test_a_missing_folder_or_repository_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DeployError, match="there is no folder nowhere"):
        from_pretrained(tmp_path / "nowhere")
    for name in ("someone/something", "no / name"):
        with pytest.raises(DeployError, match="no folder here, and as a repository it cannot be fetched") as error:
            from_pretrained(name)
        assert str(tmp_path) not in str(error.value)
