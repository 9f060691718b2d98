"""An exported file computes what its network computes on 500 real images, for every kind of network."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import KINDS, randomise

from rdlib.convolutions import fold
from rdlib.deploy.export import export, verify
from rdlib.models import Architecture, StagedResNet, resnet

ADDITIONS = {("all", 18): 8, ("all", 34): 16, ("all", 50): 16, "downsample": 3, "none": 0}


@pytest.mark.parametrize(("depth", "shortcuts", "conv"), KINDS)
def test_the_exported_file_computes_the_same_on_500_real_images(depth, shortcuts, conv, test_images, tmp_path):
    network = randomise(resnet(depth, 10, shortcuts, 8, conv=conv), test_images)
    path = export(fold(network), tmp_path / "net.onnx", 16)
    found = verify(network, path, test_images.split(100))
    assert (found.images, found.equal_top1) == (500, 500)
    assert found.difference < 1e-4
    wanted = ADDITIONS.get(shortcuts, ADDITIONS.get((shortcuts, depth)))
    for graph in (found.graph, found.runtime_graph):  # the second as ONNX Runtime rewrites it for itself
        assert len(graph.joins) == wanted
    assert "Add" not in found.runtime_graph.operators  # it hides them inside convolutions, and they count
    assert found.adds_nothing == (shortcuts == "none")


architectures = st.builds(
    Architecture,
    block=st.sampled_from(["basic", "bottleneck"]),
    counts=st.tuples(*[st.integers(1, 2)] * 4),
    num_classes=st.integers(2, 5),
    shortcuts=st.sampled_from(["all", "downsample", "none"]),
    width=st.sampled_from([4, 8]),
    stem=st.sampled_from(["cifar", "imagenet"]),
    conv=st.sampled_from(["plain", "dirac"]),
    groups=st.sampled_from([1, 2]),
    width_per_group=st.sampled_from([32, 64, 128]),
)


@given(architecture=architectures, side=st.integers(9, 24), batch=st.integers(1, 3), seed=st.integers(0, 99))
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_staged_network_folds_exports_and_reloads(architecture, side, batch, seed, tmp_path):
    torch.manual_seed(seed)
    images = torch.randn(8, 3, side, side)
    network = randomise(StagedResNet(architecture), images, seed)
    path = export(fold(network), tmp_path / "net.onnx", side)
    found = verify(network, path, images.split(batch))
    assert found.images == 8
    joins = len(found.graph.joins)
    wanted = {"all": sum(architecture.counts), "downsample": 3, "none": 0}[architecture.shortcuts]
    assert joins == len(found.runtime_graph.joins) == wanted
