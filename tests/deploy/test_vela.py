"""Targets that fit together, and what the compiler's estimate must say whatever the network is."""

from dataclasses import replace

import pytest
import torch

from rdlib.convolutions import fold
from rdlib.deploy import tosa
from rdlib.deploy.vela import ACCELERATORS, Target, compiled, program
from rdlib.errors import ConfigError, DeployError
from rdlib.models import Architecture, StagedResNet

pytest.importorskip("ethosu")
pytest.importorskip("tosa_serializer")


@pytest.fixture(scope="module")
def networks():
    """By shortcuts, an int8 network of a block a stage, and its lowered form."""
    found = {}
    for shortcuts in ("all", "none"):
        torch.manual_seed(0)
        network = fold(StagedResNet(Architecture("basic", (1, 1, 1, 1), 10, shortcuts, 4)).eval())
        quantised = tosa.quantised(network, [torch.randn(2, 3, 16, 16)])
        found[shortcuts] = quantised, tosa.lowered(quantised, 16)
    return found


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_every_accelerator_has_a_system_and_memories_of_its_own(accelerator):
    target = Target(accelerator)
    assert target.system.lower().startswith(f"ethos_{accelerator.split('-')[1]}")
    assert Target(accelerator, target.system, target.memory) == target
    assert target.name.lower().startswith(accelerator.removeprefix("ethos-"))
    assert replace(target, optimise="Size").name == f"{target.name}, Size"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("ethos-u55-512",), "unknown NPU 'ethos-u55-512': choose one of ethos-u55-32"),
        (("ethos-u55-256", "Ethos_U85_SYS_DRAM_Mid"), "unknown system of ethos-u55-256 .*Ethos_U55_Deep_Embedded"),
        (("ethos-u55-256", "", "Dedicated_Sram_512KB"), "unknown memory mode of Ethos_U55_High_End_Embedded"),
        (("ethos-u85-256", "Ethos_U85_SYS_Flash_High"), "unknown memory mode of Ethos_U85_SYS_Flash_High"),
        (("ethos-u65-256", "Ethos_U65_Embedded", "Dedicated_Sram"), "choose one of Sram_Only, Shared_Sram$"),
        (("ethos-u65-256", "", "", "Speed"), "unknown optimise 'Speed': choose one of Performance, Size"),
    ],
)
def test_what_does_not_belong_together_is_refused_with_what_does(words, sentence):
    """The compiler itself takes a system of another family without a word."""
    with pytest.raises(ConfigError, match=sentence):
        Target(*words)


@pytest.mark.parametrize("accelerator", ["ethos-u55-256", "ethos-u65-512", "ethos-u85-512"])
def test_an_estimate_adds_up_and_a_plain_network_has_no_addition(accelerator, networks):
    found = {kind: compiled(lowered.tosa, Target(accelerator)) for kind, (_, lowered) in networks.items()}
    for estimate in found.values():
        assert sum(of["cycles"] for of in estimate.operators.values()) == estimate.cycles >= estimate.busy
        assert estimate.on_cpu == 0
        assert estimate.used["sram"] > 0
        assert all(estimate.moved["sram"].values())
        assert estimate.milliseconds > 0
    assert found["all"].operators["Add"]["count"] == 4
    assert "Add" not in found["none"].operators
    assert found["none"].add_share == 0
    assert found["all"].operators["Conv2D"]["count"] - found["none"].operators["Conv2D"]["count"] == 3
    assert compiled(networks["all"][1].tosa, Target(accelerator)) == found["all"], "the same every time"


def test_what_is_no_network_is_one_sentence():
    with pytest.raises(DeployError, match=r"^Vela cannot compile this network for U55-256, .*: [^\n]+$"):
        compiled(b"rubbish", Target())


def test_a_program_holds_the_network_that_was_verified_and_no_place_of_this_machine(networks):
    quantised, lowered = networks["none"]
    content, estimate = program(quantised, lowered, 16, Target())
    assert estimate == compiled(lowered.tosa, Target())
    assert b"EthosUBackend" in content
    assert not any(place in content for place in (b"/tmp", b"/home", b"/work", b"rdlib"))
    with pytest.raises(DeployError, match="another network than the one that was verified"):
        program(quantised, networks["all"][1], 16, Target())
