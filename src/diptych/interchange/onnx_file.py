"""A generator as an ONNX file."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path

import onnx
import torch
from onnxruntime.transformers.float16 import convert_float_to_float16

from diptych.errors import DiptychError
from diptych.interchange.program import ExportedWay, trace

LARGEST = 2**31  # bytes: what protobuf, which ONNX files are written in, can hold


def write_onnx(
    way: ExportedWay, path: Path, facts: Mapping[str, str], uint8: bool, float16: bool
) -> None:
    """Write the program that ``trace`` describes; ``facts`` become the file's metadata.

    With ``float16`` it computes in half precision, but for a few operations that need more, and the
    file is half as large; what it takes and gives stays the same. Raises DiptychError for networks
    beyond the 2 GiB of an ONNX file.
    """
    program = trace(way, uint8)
    names = (["pictures"], ["translated"]) if uint8 else (["x"], ["y"])
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # (it misses torchvision)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.onnx.export(
            program, input_names=names[0], output_names=names[1], dynamo=True, verbose=False
        )
    assert exported is not None
    model = exported.model_proto
    if float16:
        model = convert_float_to_float16(model, keep_io_types=True)
    _name_sizes(model)
    for part in (model.graph, *model.graph.node):
        del part.metadata_props[:]  # where each operation stood in PyTorch: a fifth of the file
    onnx.helper.set_model_props(model, dict(facts))
    model.producer_name, model.producer_version = "diptych", facts["diptych"]
    if model.ByteSize() >= LARGEST:
        raise DiptychError("the network is larger than an ONNX file can be (2 GiB)")
    path.write_bytes(model.SerializeToString())


def _name_sizes(model: onnx.ModelProto) -> None:
    """Call the free sizes of what goes in and out batch, height and width (not s77, s53, s0)."""
    del model.graph.value_info[:]  # sizes inside, which have the old names
    for value in (*model.graph.input, *model.graph.output):
        free = [dim for dim in value.type.tensor_type.shape.dim if not dim.HasField("dim_value")]
        for dim, name in zip(free, ("batch", "height", "width"), strict=True):
            dim.dim_param = name
