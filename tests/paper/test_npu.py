"""Tables of the NPU's compiler: ratios the right way round, the better of two compilations, and who has no room."""

import pytest

from rdlib.figures import npu as figures
from rdlib.paper import npu

NAMES = {"all": "ResNet-50", "downsample": "plain-50, downsampling kept", "none": "plain-50, strictly plain"}
PLACE = "U55-256, High_End_Embedded, Shared_Sram"


def row(shortcuts, cycles, target=PLACE, variant="", **more):
    about = {"name": NAMES[shortcuts] + (f", {variant}" if variant else ""), "depth": 50, "shortcuts": shortcuts}
    about |= {"side": 224, "variant": variant, "weights": "untrained", "target": target, "outside": {}, "on_cpu": 0}
    counts = {"all": 16, "downsample": 3}
    operators = {"Conv2D": {"count": 50, "cycles": cycles - cycles // 4}}
    operators |= {"Add": {"count": counts[shortcuts], "cycles": cycles // 4}} if shortcuts in counts else {}
    moved = {"sram": {"feature_map_read": 10 * cycles, "feature_map_write": 5 * cycles, "weight_read": 7}}
    of = "--accelerator-config ethos-u55-256 --system-config Ethos_U55_High_End_Embedded --memory-mode Shared_Sram"
    about |= {"flags": f"{of} --optimise {'Size' if target.endswith('Size') else 'Performance'}"}
    about |= {"milliseconds": cycles / 10, "cycles": cycles, "used": {"sram": 2048 * cycles}, "moved": moved}
    return about | {"operators": operators, "encoded_weights": 100} | more


RECORD = {
    "rows": [
        *(row("all", 400), row("downsample", 400), row("none", 200), row("all", 100, variant="pruned to peak")),
        *(row("all", 300, f"{PLACE}, Size"), row("downsample", 500, f"{PLACE}, Size")),
        {**row("none", 1, f"{PLACE}, Size"), "refused": "no"},
    ]
}


def test_a_ratio_above_one_is_better_than_the_resnet():
    speed, size = npu.times(RECORD, 224, 50).to_dict("records")
    assert speed == {
        "target": "U55-256 High_End_Embedded shared SRAM",
        "compiled for": "speed",
        "ResNet-50 (ms)": "40",
        "downsampling kept": "1.00x",
        "strictly plain": "2.00x",
        "Add's cycles": "25.0%",
    }
    assert (size["compiled for"], size["downsampling kept"], size["strictly plain"]) == ("size", "0.60x", "no room")
    (variants, _) = npu.times(RECORD, 224, 50, variants=True).to_dict("records")
    assert variants["pruned to peak"] == "4.00x"
    (sram, _) = npu.compared(RECORD, 224, 50, npu.sram, npu.KIB, "KiB").to_dict("records")
    assert (sram["ResNet-50 (KiB)"], sram["strictly plain"]) == ("800", "2.00x")


@pytest.mark.parametrize(("cycles", "shown"), [(1.234, "1.23"), (99.96, "100"), (999.7, "1000"), (2479.9, "2480")])
def test_a_number_has_three_digits_or_all_of_its_whole_part(cycles, shown):
    assert npu.shown({"cycles": cycles}, npu.cycles, 1) == shown


def test_each_network_has_the_better_of_its_two_compilations():
    (line,) = npu.best_of_both(RECORD, 224, 50).to_dict("records")
    assert (line["downsampling kept"], line["strictly plain"]) == ("0.75x", "1.50x")


def test_where_the_resnet_has_no_room_the_others_fit():
    rows = [{**row("all", 1), "refused": "no"}, row("none", 5), row("downsample", 6)]
    (line,) = npu.times({"rows": rows}, 224, 50).to_dict("records")
    assert (line["ResNet-50 (ms)"], line["strictly plain"], line["Add's cycles"]) == ("no room", "fits", "no room")
    assert npu.best_of_both({"rows": rows}, 224, 50).to_dict("records") == [{"target": line["target"]}]


def test_pairs_on_which_planner_and_compiler_differ_are_counted():
    planned = {"all": 90, "downsample": 95, "none": 40}
    memory = {"rows": [{"name": NAMES[kind], "side": 224, "traffic": {"x": size}} for kind, size in planned.items()]}
    rows = [row("all", 400), row("downsample", 300), row("none", 200)]
    (line,) = npu.order({"rows": rows}, memory, "x").to_dict("records")
    assert (line["pairs"], line["same by writes"], line["by reads and writes"]) == (3, 2, 2)
    for one in rows:
        one["moved"]["sram"]["feature_map_write"] = planned[one["shortcuts"]]
    (line,) = npu.order({"rows": rows}, memory, "x").to_dict("records")
    assert (line["same by writes"], line["by reads and writes"]) == (3, 2)


def test_random_weights_are_held_against_trained_ones_of_the_same_network():
    bare, other = row("none", 200), row("none", 100, f"{PLACE}, Size")
    taught = [
        {**bare, "weights": "digits-plain-50", "encoded_weights": 90, "cycles": 150},
        {**other, "weights": "digits-plain-50", "encoded_weights": 101, "cycles": 100},
    ]
    (line,) = npu.trained({"rows": [bare, other, *taught, row("all", 400)]}).to_dict("records")
    assert (line["trained weights"], line["targets"]) == ("digits-plain-50", 2)
    assert (line["encoded size"], line["cycles"]) == ("-10.0% to +1.0%", "-25.0% to +0.0%")


def test_what_is_counted_over_the_whole_record():
    assert npu.additions(RECORD) == {"all": {16}, "downsample": {3}, "none": {0}}
    assert npu.on_cpu(RECORD) == 0
    assert npu.on_cpu({"rows": [row("all", 4, on_cpu=2, outside={"sort": 1})]}) == 3


@pytest.mark.parametrize(("kinds", "bytes_"), [(("sram",), 15), ((), 15), (("dram",), 0)])
def test_feature_maps_are_read_and_written(kinds, bytes_):
    assert npu.feature_maps(row("none", 1), *kinds) == bytes_


def test_a_record_without_the_networks_asked_for_makes_empty_tables_and_pictures():
    """As after `measure npu --depth 18` in a store of one's own."""
    assert npu.overview(RECORD, 224, 18).empty
    assert npu.times(RECORD, 32, 50).empty
    assert npu.best_of_both(RECORD, 224, 34).empty
    assert npu.order({"rows": []}, {"rows": []}, "x").empty
    figures.faster(RECORD, 224, 18, 1.4)
    figures.trade(RECORD, 224, 18)
    figures.cycles_by_operator(RECORD, 224, 18)


def test_pictures_leave_out_what_has_no_room():
    rows = [*RECORD["rows"], {**row("all", 1, "another"), "refused": "no"}, row("none", 5, "another")]
    panels = figures.trade({"rows": rows}, 224, 50).axes
    assert [ax.get_xlabel() for ax in panels if ax.axison] == ["SRAM used (KiB)"]
    (bars,) = figures.cycles_by_operator({"rows": rows[:-1]}, 224, 50).axes
    assert len(bars.get_yticks()) == 1
    (speeds,) = figures.faster({"rows": rows}, 224, 50, 1.4).axes
    drawn = {line.get_xdata()[0] for line in speeds.lines if line.get_marker() in "^s" and len(line.get_xdata())}
    assert drawn >= {1.0, 2.0, 0.6}, "each against the ResNet compiled alike"
