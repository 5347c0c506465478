"""The HTTP API of ``diptych ui``: right pictures, clear refusals."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tifffile
from command import LONGEST
from conftest import Command
from PIL import Image

pytest.importorskip("gradio", reason="the extra [web] is not installed")

from web import Server, as_png, one_way_model, served_file, wait_until

import diptych as package
from diptych.web.metrics import Metrics
from diptych.web.worker import GivenUpError, Order, Worker


@pytest.fixture(scope="module")
def town(towns: Path) -> Path:
    return sorted((towns / "testA").iterdir())[0]


def opened(answer: httpx.Response) -> Image.Image:
    assert answer.status_code == 200, answer.text
    image = Image.open(io.BytesIO(answer.content))
    image.load()
    return image


def assert_alike(one: Image.Image, other: Image.Image) -> None:
    assert one.size == other.size
    assert np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).max() <= 1


def test_translates_as_the_library_does(served: Server, trained: Path, town: Path) -> None:
    translator = package.load(trained, "cpu")
    body = town.read_bytes()
    to_b, to_a = translator.to_b(town), translator.to_a(town)
    assert_alike(opened(served.translate(body)), to_b)
    assert_alike(opened(served.translate(body, to="a")), to_a)
    assert_alike(opened(served.translate(body, kind="application/octet-stream", to="a")), to_a)
    form = {"files": {"picture": ("town.png", body)}, "timeout": LONGEST}
    address = f"{served.address}/v1/translate"
    assert_alike(opened(httpx.post(address, data={"to": "a"}, **form)), to_a)
    assert_alike(opened(httpx.post(address, params={"to": "a"}, **form)), to_a)

    large = translator.to_b(town, size=48)
    assert large.size == (48, 48)
    for name in ("jpg", "JPEG"):
        jpeg = opened(served.translate(body, size=48, format=name))
        assert jpeg.format == "JPEG"
    assert np.abs(np.asarray(jpeg, np.int16) - np.asarray(large, np.int16)).mean() < 10
    lossless = opened(served.translate(body, size=48, format="bmp"))
    assert lossless.format == "BMP"
    assert_alike(lossless, large)


def test_a_picture_lies_as_its_camera_says(served: Server, trained: Path, town: Path) -> None:
    with Image.open(town) as image:
        upright = image.convert("RGB").crop((0, 0, 32, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    file = io.BytesIO()
    upright.rotate(90, expand=True).save(file, "PNG", exif=exif)
    translated = opened(served.translate(file.getvalue()))
    assert_alike(translated, package.load(trained, "cpu").to_b(upright))


def test_all_models_are_told(served: Server, trained: Path) -> None:
    models = served.ask("/v1/models").json()
    assert [model["name"] for model in models] == ["tiny", "one-way", "deep", "many", "retouch"]
    assert [model["to"] for model in models] == [["b", "a"], ["b"], *[["b", "a"]] * 3]
    assert [model["retouches"] for model in models] == [False] * 4 + [True]
    assert {model["strength"] for model in models} == {1}
    assert models[0]["size"] == 32
    assert models[0]["steps"] == 12
    assert models[2]["a"] == {
        "name": "A", "channels": 1, "dtype": "uint16", "low": 0, "high": 4095
    }  # fmt: skip
    assert [models[0][side]["name"] for side in "ab"] == ["A", "B"]
    assert (models[3]["a"]["low"], models[3]["a"]["high"]) == ([0, 0, 0, 0, 0], [9, 9, 9, 9, 8])


def test_a_model_that_retouches_does_so_as_much_as_is_asked_for(served: Server, town: Path) -> None:
    for strength in (0, 1.5):
        asked = {"model": "retouch", "strength": strength}
        made = opened(served.translate(town.read_bytes(), **asked))  # type: ignore[arg-type]
        model = package.load(served_file(served, "retouch"), "cpu", strength=strength)
        assert_alike(made, model.to_b(town))
        assert (made.tobytes() == Image.open(town).tobytes()) == (strength == 0)


def test_other_depths_and_channels(served: Server, tmp_path: Path) -> None:
    deep = np.arange(24 * 20, dtype=np.uint16).reshape(24, 20, 1) * 8
    model = package.load(served_file(served, "deep"), "cpu")
    file = io.BytesIO()
    tifffile.imwrite(file, deep[..., 0])
    answer = served.translate(file.getvalue(), kind="image/tiff", model="deep")
    assert answer.headers["content-type"] == "image/tiff"
    made = tifffile.imread(io.BytesIO(answer.content))
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, model.to_b(deep)[..., 0], atol=1e-4)

    back = served.translate(answer.content, kind="image/tiff", model="deep", to="a")
    assert back.headers["content-type"] == "image/png"
    assert opened(back).mode == "I;16"

    many = np.arange(16 * 16 * 5, dtype=np.uint16).reshape(16, 16, 5) % 9
    file = io.BytesIO()
    np.save(file, many)
    answer = served.translate(file.getvalue(), model="many", format="npy")
    np.testing.assert_array_equal(
        np.load(io.BytesIO(answer.content)), package.load(served_file(served, "many")).to_b(many)
    )
    eight = as_png(Image.new("RGB", (20, 20)))
    refused = served.translate(eight, model="deep")
    assert refused.status_code == 422
    assert refused.json()["detail"].endswith("it is uint8, the model takes uint16")
    refused = served.translate(file.getvalue(), model="many", to="b", format="jpg")
    assert refused.json()["detail"] == "jpg cannot hold 1 channel, uint16, 0 to 4095: use png"


def bomb(width: int, height: int) -> bytes:
    """A small PNG of very many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(width // 8 + 1) * min(height, 4000), 9)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_what_is_refused(served: Server, town: Path) -> None:
    good = town.read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG")
    jpeg = file.getvalue()
    npy = io.BytesIO()
    np.save(npy, np.array([{}]), allow_pickle=True)
    wide = as_png(Image.new("L", (3000, 2000)))
    thin, thinnest = (as_png(Image.new("L", (130_000, height))) for height in (16, 1))
    long = as_png(Image.new("L", (65_501, 1)))
    for body, query, status, words in [
        (b"", {}, 422, "it is empty"),
        (b"hello", {}, 422, "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", {}, 422, "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", {}, 422, "not a picture"),
        (npy.getvalue(), {}, 422, "Python objects"),
        (good[: len(good) // 2], {}, 422, "cannot read the picture"),
        (jpeg[: len(jpeg) // 2], {}, 422, "cut short"),
        (bomb(100_000, 100_000), {}, 413, "pixels are too many"),
        (bomb(9_000, 9_000), {}, 413, "9000 x 9000 pixels are too many"),
        (wide, {}, 413, "3000 x 2000 pixels are too many for the network: give size=1152 or less"),
        (good, {"size": 5000}, 413, "give size=1412 or less"),
        (thin, {}, 413, "give size=15 or less"),  # (the network takes no fewer rows than 16)
        (thinnest, {}, 413, "130000 x 16 pixels are too many for the network: cut it into parts"),
        (long, {"format": "jpg"}, 422, "jpg holds at most 65500 pixels a side"),
        (bytes(20_000_001), {}, 413, "20000001 bytes are too many: a picture may have 20000000"),
        (bytes(21_000_000), {}, 413, "21000000 bytes are too many: at most 20000000 are taken"),
        (good, {"to": "c"}, 422, "to: input should be 'a' or 'b'"),
        (good, {"model": "tinny"}, 422, "did you mean 'tiny'?"),
        (good, {"model": "one-way", "to": "a"}, 422, "'one-way' translates from A to B only"),
        (good, {"size": 0}, 422, "size: input should be greater"),
        (good, {"model": "x" * 9999}, 422, f"there is no model {'x' * 100!r}: choose from"),
        (good, {"size": "big"}, 422, "size: input should be a valid integer"),
        (good, {"strength": 2}, 422, "strength 2: this model paints pictures anew"),
        (good, {"strength": -1, "model": "retouch"}, 422, "strength: input should be greater"),
        (good, {"strength": 10.5, "model": "retouch"}, 422, "less than or equal to 10"),
        (good, {"strength": "nan", "model": "retouch"}, 422, "should be a finite number"),
        (good, {"format": "gif"}, 422, "format: input should be"),
        (good, {"colour": "red"}, 422, "there is no option 'colour'"),
        (good, {"to": ["a", "b"]}, 422, "to is given twice"),
    ]:
        answer = served.translate(body, **query)  # type: ignore[arg-type]
        assert answer.status_code == status, (words, answer.text)
        detail = answer.json()["detail"]
        assert words in detail
        assert len(detail) < 250
        assert "\n" not in detail
    assert opened(served.translate(wide, size=1152)).size == (1728, 1152)


def test_broken_forms(served: Server, town: Path) -> None:
    form = httpx.Request("POST", "http://x", files={"picture": ("town.png", town.read_bytes())})
    whole, kind = form.read(), form.headers["content-type"]
    for body, content_type, status, words in [
        (whole[: len(whole) // 2], kind, 400, "the form is broken"),
        (whole, "multipart/form-data", 400, "the form is broken"),
        (whole.replace(b'"picture"', b'"pictures"'), kind, 422, "no file called picture"),
        (b"picture=1", "application/x-www-form-urlencoded", 415, "is no picture"),
        (b"{}", "application/json", 415, "is no picture"),
    ]:
        answer = served.translate(body, kind=content_type)
        assert answer.status_code == status, answer.text
        assert words in answer.json()["detail"]
    assert served.translate(whole, kind=kind).status_code == 200
    twice = httpx.post(
        f"{served.address}/v1/translate", files={"picture": ("town.png", town.read_bytes())},
        data={"to": ["a", "b"]}, timeout=LONGEST,
    )  # fmt: skip
    assert (twice.status_code, twice.json()["detail"]) == (422, "to is given twice")


def test_files_are_written_nowhere(served: Server) -> None:
    """(Starlette alone would put forms of more than a megabyte into files.)"""
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)
    picture = as_png(Image.fromarray(noise))
    assert len(picture) > 2_000_000
    before = len(served.noted("write"))
    answer = httpx.post(
        f"{served.address}/v1/translate", files={"picture": ("x.png", picture)}, timeout=LONGEST,
        data={"size": "64"},
    )  # fmt: skip
    assert opened(answer).size == (64, 64)
    assert served.translate(picture, size=64).status_code == 200
    assert served.noted("write")[before:] == []


def test_pictures_of_one_size_share_a_batch(trained: Path, tmp_path: Path) -> None:
    tiny = package.load(trained, "cpu")
    one_way = package.load(one_way_model(trained, tmp_path / "one-way.safetensors"), "cpu")
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (32, size, 3), np.uint8) for size in (32, 32, 48, 32, 32)]
    batches: list[int] = []
    worker = Worker(batch=3, on_batch=lambda count, seconds: batches.append(count))
    orders = [Order(tiny, "b", False, picture) for picture in pictures]
    orders += [Order(tiny, "a", False, pictures[0]), Order(tiny, "b", True, pictures[0])]
    orders += [Order(one_way, "b", True, pictures[0]), Order(tiny, "b", False, pictures[0])]
    orders[-1].done.cancel()
    with worker.changed:  # all are there before the first is taken
        futures = [worker.submit(order) for order in orders]
    made = [future.result(timeout=LONGEST) for future in futures[:-1]]
    worker.close()
    weaker = Order(tiny, "b", False, pictures[0], strength=0.5)
    assert not weaker.goes_with(orders[0])
    assert weaker.goes_with(Order(tiny, "b", False, pictures[1], strength=0.5))
    assert batches == [3, 1, 1, 1, 1, 1]  # 0, 1, 3 together; 2; 4; to A; and back; one-way
    for picture, one in zip(pictures, made, strict=False):
        alone = tiny.arrays([picture], "b")[0]
        assert np.abs(one.fake.astype(int) - alone).max() <= 1
        assert one.rec is None
    assert made[5].fake.tolist() == tiny.arrays([pictures[0]], "a")[0].tolist()
    rec = made[6].rec
    assert rec is not None
    assert rec.tolist() == tiny.arrays([made[6].fake], "a")[0].tolist()
    assert made[7].rec is None  # it has no way back


def test_a_large_photograph_is_given_up_when_nobody_waits(trained: Path) -> None:
    """One thread runs the networks: what nobody waits for would keep the others waiting."""
    far = package.load(trained, "cpu", see=32)
    worker = Worker(batch=1, on_batch=lambda *_: None)
    photograph = np.zeros((4000, 4000, 3), np.uint8)  # (many bands, whose end is looked for)
    order = Order(far, "b", False, photograph)
    order.given_up = True
    with pytest.raises(GivenUpError):
        worker.submit(order).result(timeout=LONGEST)
    usual = Order(far, "b", False, photograph[:100, :100])
    assert worker.submit(usual).result(timeout=LONGEST).fake.shape == (100, 100, 3)
    worker.close()


def test_one_who_gives_up_takes_nobody_with_them(trained: Path) -> None:
    """Nor do pictures of which the network sees little make a batch of any size."""
    far = package.load(trained, "cpu", see=32)
    batches: list[int] = []
    worker = Worker(batch=8, on_batch=lambda count, seconds: batches.append(count))
    picture = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    large = np.zeros((200, 200, 3), np.uint8)
    orders = [Order(far, "b", False, one) for one in (picture, picture, picture, large, large)]
    orders[0].given_up = True
    with worker.changed:
        futures = [worker.submit(order) for order in orders]
    made = [future.result(timeout=LONGEST) for future in futures]
    assert worker.close()
    assert batches == [3, 1, 1]
    np.testing.assert_array_equal(made[1].fake, made[2].fake)


def test_a_batch_without_room_goes_one_by_one(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = package.load(trained, "cpu")
    arrays, asked = tiny.arrays, []

    def with_little_memory(pictures: Any, *how: Any) -> Any:
        asked.append(len(pictures))
        if len(pictures) > 1 or pictures[0].max() == 255:
            raise RuntimeError("not enough memory")
        return arrays(pictures, *how)

    monkeypatch.setattr(tiny, "arrays", with_little_memory)
    worker = Worker(batch=3, on_batch=lambda *_: None)
    pictures = [np.full((32, 32, 3), value, np.uint8) for value in (0, 255, 90)]
    with worker.changed:
        futures = [worker.submit(Order(tiny, "b", False, picture)) for picture in pictures]
    fakes = [futures[i].result(timeout=LONGEST).fake for i in (0, 2)]
    with pytest.raises(RuntimeError, match="not enough memory"):
        futures[1].result(timeout=LONGEST)
    assert worker.close()
    assert asked == [3, 1, 1, 1]
    for picture, fake in zip((pictures[0], pictures[2]), fakes, strict=True):
        np.testing.assert_array_equal(fake, arrays([picture], "b")[0])


def test_what_is_in_line_at_the_end_is_told_so(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = package.load(trained, "cpu")
    begun, may_end = threading.Event(), threading.Event()
    arrays = tiny.arrays

    def slowly(*given: Any) -> Any:
        begun.set()
        may_end.wait(60)
        return arrays(*given)

    monkeypatch.setattr(tiny, "arrays", slowly)
    worker = Worker(batch=1, on_batch=lambda *_: None)
    picture = np.zeros((32, 32, 3), np.uint8)
    first, second = (worker.submit(Order(tiny, "b", False, picture)) for _ in range(2))
    assert begun.wait(60)
    threading.Thread(target=lambda: (wait_until(lambda: worker.closing), may_end.set())).start()
    assert worker.close()
    assert first.result(timeout=LONGEST).fake.shape == (32, 32, 3)
    assert second.cancelled()


def test_head_and_empty_options(served: Server, town: Path) -> None:
    for path in ("/healthz", "/v1/models", "/metrics", "/docs"):
        head = httpx.head(f"{served.address}{path}")
        assert (head.status_code, head.content) == (200, b""), path
        assert int(head.headers["content-length"]) > 0
    options = {"size": "", "model": "", "to": "a", "format": ""}
    body, address = town.read_bytes(), f"{served.address}/v1/translate"
    by_address = httpx.post(address, params=options, content=body, timeout=LONGEST)
    by_form = httpx.post(address, data=options, files={"picture": body}, timeout=LONGEST)
    assert by_address.status_code == by_form.status_code == 200
    assert by_address.content == by_form.content == served.translate(body, to="a").content
    both = httpx.post(
        address,
        params={"to": "a"},
        data={"to": "", "size": ""},
        files={"picture": body},
        timeout=LONGEST,
    )
    assert both.content == by_form.content  # what is empty in a form counts no more than before


def test_many_at_once_are_all_right(served: Server, trained: Path, towns: Path) -> None:
    paths = sorted((towns / "trainA").iterdir()) * 3
    translator = package.load(trained, "cpu")
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda path: served.translate(path.read_bytes()), paths))
    for path, answer in zip(paths, answers, strict=True):
        assert_alike(opened(answer), translator.to_b(path))


def test_metrics(served: Server, town: Path) -> None:
    def count(line: str) -> float:
        lines = served.ask("/metrics").text.splitlines()
        return sum(float(one.split()[-1]) for one in lines if one.startswith(line))

    done = 'diptych_requests_total{path="/v1/translate",status="200"}'
    refused = 'diptych_requests_total{path="/v1/translate",status="422"}'
    pictures = 'diptych_pictures_total{model="tiny",to="a"}'
    before = count(done), count(refused), count(pictures)
    served.translate(town.read_bytes(), to="a")
    served.translate(b"no picture")
    assert (count(done), count(refused), count(pictures)) == tuple(number + 1 for number in before)
    assert count("process_resident_memory_bytes") > 1e8
    assert count("diptych_waiting") == 0
    assert b"diptych_network_seconds" in Metrics().text()


def test_the_description_shows_itself_without_help(served: Server) -> None:
    page = served.ask("/docs")
    assert page.status_code == 200
    assert "<script" not in page.text
    assert "https://" not in page.text
    for word in ("POST /v1/translate", "GET /metrics", "Too many pictures in line", "size"):
        assert word in page.text
    assert f"{served.address}/v1/translate" in page.text


def test_a_missing_extra_is_named(diptych: Command, trained: Path) -> None:
    program = "import sys; sys.modules['gradio'] = None; from diptych.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "ui", str(trained)], capture_output=True, text=True,
        timeout=LONGEST,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        'diptych: gradio is not installed: in the checkout of diptych, pip install -e ".[web]"\n'
    )


def test_a_missing_model_is_named(diptych: Command, tmp_path: Path) -> None:
    done = diptych("ui", tmp_path)
    assert done.returncode == 1
    assert "there is no model in" in done.stderr
    assert len(done.stderr.splitlines()) == 1
