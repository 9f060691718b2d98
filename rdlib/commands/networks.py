"""The commands by which trained networks leave a store: `export` to a file that runs elsewhere, `publish` to where
`from_pretrained` finds them by name."""

from pathlib import Path
from typing import Annotated

import typer

from rdlib.commands.known import known_run
from rdlib.commands.options import ExistingStoreOption, console
from rdlib.errors import ConfigError
from rdlib.files import RESULTS


def export(
    run_id: Annotated[str, typer.Argument(help="A run id; `show` lists them.")],
    to: Annotated[Path, typer.Option("--to", help="FILE.onnx, FILE.pt2 (torch.export) or FILE.pte (ExecuTorch).")],
    int8: Annotated[bool, typer.Option("--int8", help="Quantise it, with training images as calibration.")] = False,
    opset: Annotated[int | None, typer.Option(help="ONNX opset, 18 (the exporter's floor) to 26; default: 20.")] = None,
    batch: Annotated[
        int | None,
        typer.Option(help="A fixed batch, 1 to 256, for compilers of static shapes; default: any (.pte: 1)."),
    ] = None,
    npu: Annotated[
        str | None, typer.Option(help="Compile FILE.pte, in int8, for a neural processor, e.g. ethos-u55-256.")
    ] = None,
    system: Annotated[str, typer.Option("--system-config", help="The NPU's system, of Vela's Arm/vela.ini.")] = "",
    memory: Annotated[str, typer.Option("--memory-mode", help="The NPU's memory mode, of the same file.")] = "",
    optimise: Annotated[str, typer.Option(help="What the NPU's compiler saves: Performance or Size.")] = "Performance",
    store: ExistingStoreOption = RESULTS,
) -> None:
    """Fold a trained network, write it to a file, prove that the file computes the same, and report on it."""
    run = known_run(store, run_id)
    if npu is None and (system or memory or optimise != "Performance"):
        raise ConfigError("a system, a memory mode and what to optimise belong to an NPU: name it with --npu")
    if npu is not None and (int8 or opset is not None or batch is not None):
        raise ConfigError("what is compiled for an NPU is int8 and takes one image: leave out --int8, --opset, --batch")
    from rdlib.deploy.delivery import deliver
    from rdlib.deploy.export import require_target
    from rdlib.deploy.microcontroller import compile_to, require_program
    from rdlib.deploy.vela import Target
    from rdlib.runs.execute import images_of, require_same_images, with_weights
    from rdlib.runs.store import Store

    place, target = Store(store), None
    if npu is not None:
        require_program(to)
        target = Target(npu, system, memory, optimise)  # type: ignore[arg-type]  # which it checks
    require_target(to, opset, batch, int8)
    images = images_of(run, place)
    require_same_images(run, place, images)
    console.print(f"{run.id}  {run.label}")
    network = with_weights(run, place, console.print)
    if target:
        lines = compile_to(network, images, to, target).lines()
    else:
        lines = deliver(network, images, to, int8, {"run": run.id}, opset, batch).lines()
    for line in lines:
        console.print(line)


def publish(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Which, e.g. digits-plain-50-jointrd, or all of a data set, e.g. digits; default: all."),
    ] = None,
    to: Annotated[Path, typer.Option("--to", help="Folder of the published networks.")] = RESULTS / "published",
    store: ExistingStoreOption = RESULTS,
) -> None:
    """Publish trained networks of a store, in half precision where their accuracy stays; trains nothing.

    Those whose weights are not in the store are named with the command that trains them; the exit code is then 1.
    """
    from rdlib.deploy.gallery import chosen, require_weights, told
    from rdlib.deploy.gallery import publish as publish_network
    from rdlib.runs.store import Store

    place, missing = Store(store), 0
    for name, run in chosen(names or []).items():
        try:
            require_weights(name, run, place)
        except ConfigError as error:
            console.print(str(error))
            missing += 1
        else:
            console.print(told(name, publish_network(name, run, place, to), to))
    if missing:
        raise typer.Exit(1)
