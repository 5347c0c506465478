"""A generator as a Keras file, a SavedModel, and a LiteRT (TensorFlow Lite) file."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Keras and TensorFlow read these when they are imported.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no greetings
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # nor that of oneDNN, which heeds no level

import keras
import tensorflow as tf

from diptych.errors import DiptychError
from diptych.interchange.keras_generator import keras_generator
from diptych.interchange.program import ExportedWay
from diptych.words import first_line


def write_tensorflow(way: ExportedWay, keras_file: Path, saved_model: Path) -> None:
    """Write the bare generator as ``keras_file``, and with signatures as ``saved_model``.

    The generator takes ``(N, H, W, C)`` float32 in [-1, 1], H and W multiples of ``way.multiple``
    and at least ``way.smallest``. The signatures take any H and W:

    * ``float``: ``x``, float32 in [-1, 1], to ``y``
    * ``serving_default``: ``pictures``, uint8, to ``translated``; for domains that are not stored
      in 8 bits the same as ``float``
    """
    model = _model(way)
    with _quietly():
        model.save(keras_file)
    _save_signatures(model, way, saved_model)


def write_tflite(way: ExportedWay, path: Path) -> None:
    """Write a LiteRT file with the same signatures. Raises DiptychError if it cannot be made."""
    with tempfile.TemporaryDirectory() as folder:
        _save_signatures(_model(way), way, Path(folder))
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=["serving_default", "float"]
        )
        try:
            with _quietly():
                content: bytes = converter.convert()
        except Exception as error:  # (of a type that TensorFlow does not export)
            raise DiptychError(
                f"TensorFlow cannot convert this network: {first_line(error)}"
            ) from error
    path.write_bytes(content)


def _model(way: ExportedWay) -> Any:
    if keras.backend.backend() != "tensorflow":
        raise DiptychError("Keras is in use with another backend: export in a new process")
    return keras_generator(way.generator, way.source.channels, f"G_to_{way.to}")


def _save_signatures(model: Any, way: ExportedWay, folder: Path) -> None:
    source, target = way.source, way.target
    source_span, target_span = (of.highest - of.lowest for of in (source, target))

    def translate(x: Any) -> Any:
        """``AnySize`` in TensorFlow's terms, channels last."""
        height, width = tf.shape(x)[1], tf.shape(x)[2]
        padded = tf.gather(x, _padded(height, way), axis=1)
        padded = tf.gather(padded, _padded(width, way), axis=2)
        return model(padded, training=False)[:, :height, :width]

    def floats(x: Any) -> dict[str, Any]:
        return {"y": translate(x)}

    def pictures(pictures: Any) -> dict[str, Any]:
        # (Of 8 bits there is one range for all channels.)
        x = (tf.cast(pictures, tf.float32) - source.lowest) * (2 / source_span) - 1
        x = tf.clip_by_value(x, -1.0, 1.0)
        stored = (translate(x) + 1) * (target_span / 2) + target.lowest
        stored = tf.clip_by_value(tf.round(stored), *map(float, target.bounds))
        return {"translated": tf.cast(stored, tf.uint8)}

    shape = (None, None, None, source.channels)
    x = [tf.TensorSpec(shape, tf.float32, name="x")]
    archive = keras.export.ExportArchive()
    archive.track(model)
    if way.eight_bit:
        bytes_ = [tf.TensorSpec(shape, tf.uint8, name="pictures")]
        archive.add_endpoint("serving_default", pictures, input_signature=bytes_)
    else:
        archive.add_endpoint("serving_default", floats, input_signature=x)
    archive.add_endpoint("float", floats, input_signature=x)
    with _quietly():
        archive.write_out(str(folder), verbose=False)


def _padded(length: Any, way: ExportedWay) -> Any:
    """As ``AnySize`` pads (program.py), in TensorFlow."""
    rounded = (length + way.multiple - 1) // way.multiple * way.multiple
    period = tf.maximum(2 * (length - 1), 1)
    places = tf.range(tf.maximum(rounded, way.smallest)) % period
    return tf.minimum(places, period - places)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what TensorFlow prints about its inner life; its errors in one line."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    except tf.errors.OpError as error:
        raise DiptychError(f"TensorFlow cannot write this model: {first_line(error)}") from error
