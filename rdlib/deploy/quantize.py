"""Post-training int8 quantisation of an exported network, by ONNX Runtime's own tool."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from rdlib.deploy.export import INPUT, about_of, explained, quiet, session
from rdlib.deploy.graph import load_onnx
from rdlib.errors import DeployError
from rdlib.files import whole
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
    wanted = session(path).get_inputs()[0].shape[1:]
    if not sum(map(len, batches)):
        raise DeployError("the calibration set is empty: give some hundred training images")
    for images in batches:
        if list(images.shape[1:]) != wanted:
            raise DeployError(f"calibration images are {list(images.shape[1:])}, the network takes {wanted}")
        if not images.isfinite().all():
            raise DeployError("a calibration image holds a value that is not finite: normalise as in training")
    feeds = iter([{INPUT: images.cpu().float().contiguous().numpy()} for images in batches])

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
            return next(feeds, None)

    with tempfile.TemporaryDirectory() as folder, explained(to), whole(to) as temporary, quiet():
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(path, prepared)
        quantize_static(
            *(prepared, temporary, Reader()),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            reduce_range=saturates(),
        )
        model = onnx.load(temporary)
        onnx.helper.set_model_props(model, {entry.key: entry.value for entry in source.metadata_props})
        onnx.save(model, temporary)
    return to


def saturates() -> bool:
    """Whether this processor adds products of 8-bit numbers in 16 bits, as x86 without VNNI does: sums then overflow,
    so weights get 7 bits here (ONNX Runtime's `reduce_range`). Elsewhere such a file is right too."""
    flags = processor()[1]
    return bool(flags & {"avx2", "sse4_2"}) and not flags & {"avx512_vnni", "avx_vnni"}
