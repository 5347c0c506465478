"""What the tests of ``diptych ui`` share: the real command in a process that tells on itself."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import torch
from command import LONGEST
from PIL import Image

from diptych.data.pixels import PixelFormat
from diptych.model_file import GeneratorPair, load_model, save_model
from diptych.network_config import GeneratorConfig
from diptych.networks import make_generator

# Notes every file that Python opens for writing, and every address that it looks up or connects to.
WATCHED = """
import json, os, sys
from pathlib import Path
notes = open(sys.argv.pop(1), "a", buffering=1)
def watch(event, arguments):
    if event == "open" and isinstance(arguments[2], int):
        if arguments[2] & (os.O_WRONLY | os.O_RDWR) and isinstance(arguments[0], (str, bytes)):
            notes.write(json.dumps(["write", os.fsdecode(arguments[0])]) + "\\n")
    elif event in ("socket.connect", "socket.getaddrinfo"):
        address = arguments[1] if event == "socket.connect" else arguments[0]
        notes.write(json.dumps(["connect", str(address)]) + "\\n")
sys.addaudithook(watch)
from diptych.cli.main import main
sys.argv[0] = "diptych"
main()
"""


@dataclass
class Server:
    """A running ``diptych ui``."""

    process: subprocess.Popen[str]
    address: str
    notes: Path

    @property
    def port(self) -> int:
        return int(self.address.rsplit(":", 1)[1])

    def noted(self, what: str) -> list[str]:
        """What it wrote to, or connected to."""
        lines = [json.loads(line) for line in self.notes.read_text().splitlines()]
        return [value for kind, value in lines if kind == what]

    def ask(self, path: str, **options: object) -> httpx.Response:
        """GET a path."""
        return httpx.get(self.address + path, timeout=LONGEST, **options)  # type: ignore[arg-type]

    def translate(self, body: bytes, kind: str = "image/png", **query: object) -> httpx.Response:
        """POST a picture as the body."""
        return httpx.post(
            f"{self.address}/v1/translate", params=query, content=body, timeout=LONGEST,
            headers={"content-type": kind},
        )  # fmt: skip

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=LONGEST)


@contextmanager
def running(
    notes: Path, runs: Sequence[Path], *options: str, environment: dict[str, str] | None = None
) -> Iterator[Server]:
    """A server within the block; on a port of its own choosing."""
    command = [sys.executable, "-c", WATCHED, str(notes), "ui", *map(str, runs), *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith("ready on "):
                assert process.stderr is not None
                raise AssertionError(line + process.stderr.read())
            yield Server(process, line.removeprefix("ready on ").strip(), notes)
        finally:
            process.terminate()  # it removes its folder


def one_way_model(trained: Path, target: Path) -> Path:
    """The trained model without its way back, as CUT makes them."""
    pair = load_model(trained / "model.safetensors", torch.device("cpu"))
    save_model(target, GeneratorPair(pair.G_ab, None, pair.info))
    return target


def deep_model(trained: Path, target: Path, a: PixelFormat, b: PixelFormat) -> Path:
    """An untrained model for other kinds of pictures."""
    torch.manual_seed(0)
    info = load_model(trained / "model.safetensors", torch.device("cpu")).info
    generator = GeneratorConfig(width=4, blocks=1)
    G_ab = make_generator(generator, a.channels, b.channels)
    G_ba = make_generator(generator, b.channels, a.channels)
    save_model(target, GeneratorPair(G_ab, G_ba, replace(info, generator=generator, a=a, b=b)))
    return target


def served_file(served: Server, name: str) -> Path:
    """A model of the server that the tests share."""
    return served.notes.parent / f"{name}.safetensors"


def as_png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def wait_until(true: object, seconds: float = LONGEST) -> None:
    """Wait for a function to return something true."""
    ends = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < ends, "it never came true"
        time.sleep(0.05)
