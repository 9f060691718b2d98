"""What engines request for feature maps, held against what the planner says they must."""

import platform
import sys
import tempfile
from dataclasses import replace

import pytest
import torch

from rdlib.convolutions import fold
from rdlib.deploy.export import export
from rdlib.deploy.graph import read_graph
from rdlib.deploy.planner import FUSED, OUT_OF_PLACE, plan
from rdlib.errors import DeployError
from rdlib.measure import arena
from rdlib.models import Architecture, StagedResNet

SIDE = 32
# 16 channels at least: ONNX Runtime's blocked layout works on 16 at a time and pads fewer.
ARCHITECTURE = Architecture("bottleneck", (1, 1, 1, 1), 100, "all", 16)


def network(**changes):
    torch.manual_seed(0)
    return fold(StagedResNet(replace(ARCHITECTURE, **changes)).eval())


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    return {kind: export(network(shortcuts=kind), folder / f"{kind}.onnx", SIDE) for kind in ("all", "none")}


@pytest.mark.parametrize("shortcuts", ["all", "none"])
def test_onnxruntime_unfused_requests_what_adding_out_of_place_needs(shortcuts, exported):
    path = exported[shortcuts]
    assert arena.onnxruntime_peak(path, SIDE, fused=False) == plan(read_graph(path), OUT_OF_PLACE).peak


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other processors have other fused kernels")
@pytest.mark.parametrize("shortcuts", ["all", "none"])
def test_onnxruntime_optimised_requests_what_fused_additions_need(shortcuts, exported):
    path = exported[shortcuts]
    assert arena.onnxruntime_peak(path, SIDE, fused=True) == plan(read_graph(path), FUSED).peak


def test_one_planned_block_is_no_smaller_than_single_requests(exported):
    for path in exported.values():
        single = arena.onnxruntime_peak(path, SIDE, fused=True)
        assert arena.onnxruntime_peak(path, SIDE, fused=True, pattern=True) >= single


def test_executorch_plans_what_adding_out_of_place_needs(exported):
    assert arena.executorch_peak(network(), SIDE) == plan(read_graph(exported["all"]), OUT_OF_PLACE).peak


def test_the_classifiers_weights_are_no_part_of_executorchs_arena():
    """Its default is to transpose them into it: 9.8 MB here, against 0.3 MiB of feature maps."""
    many = network(shortcuts="none", num_classes=4800)
    assert arena.executorch_peak(many, SIDE) == arena.executorch_peak(network(shortcuts="none"), SIDE) < 2**20


def test_profiles_leave_no_file_behind(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    arena.onnxruntime_peak(exported["none"], SIDE, fused=True)
    assert not list(tmp_path.iterdir())


def test_a_runtime_that_reports_no_memory_is_named(exported, monkeypatch):
    told = arena.profile(exported["none"], SIDE, True, False)
    silent = [{key: value for key, value in operator.items() if not key.startswith("mem_")} for operator in told]
    for events in (silent, [*told, silent[0]], []):
        monkeypatch.setattr(arena, "profile", lambda *_, events=events, **__: events)
        with pytest.raises(DeployError, match=r"install onnxruntime 1\.32"):
            arena.onnxruntime_peak(exported["none"], SIDE, fused=True)


def test_no_network_and_no_executorch_end_in_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(DeployError, match=r"text\.onnx is no network"):
        arena.onnxruntime_peak(tmp_path / "text.onnx", SIDE, fused=True)
    with pytest.raises(DeployError, match="fold"):
        arena.executorch_peak(StagedResNet(ARCHITECTURE).eval(), SIDE)
    monkeypatch.setitem(sys.modules, "executorch.exir", None)
    with pytest.raises(DeployError, match="executorch, which is not installed"):
        arena.executorch_peak(network(), SIDE)


def test_cuda_is_measured_where_there_is_one():
    peak = arena.cuda_peak(network(), SIDE)
    assert (peak is not None and peak > 0) if torch.cuda.is_available() else peak is None
