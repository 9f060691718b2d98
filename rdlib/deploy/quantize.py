"""Post-training int8 quantisation of an exported network, by ONNX Runtime's own tool."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from rdlib.deploy.export import explained, in_batches, quiet
from rdlib.deploy.graph import load_onnx
from rdlib.deploy.kinds import INPUT, about_of, finished, fixed, session
from rdlib.errors import DeployError
from rdlib.files import write
from rdlib.runs.provenance import processor


def quantize(path: Path, to: Path, calibration: Iterable[Tensor]) -> Path:
    """Write the int8 form of an exported network; returns its path.

    calibration: batches [N, 3, side, side] of normalised training images; the range of each feature map is the least
    and greatest value seen. Weights are symmetric int8 per output channel, feature maps uint8 per tensor (after ReLU
    nothing is negative; with signed maps, the tool's default, ONNX Runtime and OpenVINO ran a third of ResNet-50's
    convolutions in float32), in quantise-dequantise form (QDQ), which ONNX Runtime, OpenVINO and TensorRT read. On
    a processor that would overflow (`saturates`) weights have 7 bits. All else is the tool's default; nothing is tuned.

    Raises DeployError for a file that `export` did not write, a calibration set that is empty, of another shape or not
    finite, and where the file cannot be written.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    about_of(path)
    source, batches = load_onnx(path), list(calibration)
    size, *wanted = session(path).get_inputs()[0].shape
    if not sum(map(len, batches)):
        raise DeployError("the calibration set is empty: give some hundred training images")
    for images in batches:
        if list(images.shape[1:]) != wanted:
            raise DeployError(f"calibration images are {list(images.shape[1:])}, the network takes {wanted}")
        if not images.isfinite().all():
            raise DeployError("a calibration image holds a value that is not finite: normalise as in training")
    parts = [part for images in batches for part in in_batches(images, fixed(size))]
    feeds = iter([{INPUT: images.cpu().float().contiguous().numpy()} for images in parts])

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
            return next(feeds, None)

    with tempfile.TemporaryDirectory() as folder, explained(to), quiet():
        prepared, quantized = (Path(folder) / f"{name}.onnx" for name in ("prepared", "quantized"))
        try:
            quant_pre_process(path, prepared)
            quantize_static(
                *(prepared, quantized, Reader()),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                reduce_range=saturates(),
            )
            model = onnx.load(quantized)
        except OSError:
            raise
        except Exception as error:  # each part of the tool has its own for a file that another left incomplete
            why = f"{type(error).__name__}): is there room for temporary files (TMPDIR)?"
            raise DeployError(f"{path.name} cannot be quantised ({why}") from error
        write(to, finished(model, {entry.key: entry.value for entry in source.metadata_props}))
    return to


def saturates() -> bool:
    """Whether this processor adds products of 8-bit numbers in 16 bits, as x86 without VNNI does: sums then overflow,
    so weights get 7 bits here (ONNX Runtime's `reduce_range`). Elsewhere such a file is right too."""
    flags = processor()[1]
    return bool(flags & {"avx2", "sse4_2"}) and not flags & {"avx512_vnni", "avx_vnni"}
