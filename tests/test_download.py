"""``diptych data``: against a real server on the loopback address that can misbehave."""

from __future__ import annotations

import hashlib
import io
import resource
import socket
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import Command

from diptych.data.catalog import DATA_SETS, data_set_named
from diptych.data.download import fetch, unpack
from diptych.errors import DiptychError, UsageError
from diptych.host.lock import only_one

CONTENT = bytes(range(256)) * 4000


class Server:
    """Serves ``content`` at every path but /missing; ``cuts`` breaks the next transfers off."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.tag = '"one"'
        self.etag: str | None = None  # where it is not the tag
        self.ranges = True  # whether Range requests are understood
        self.cuts: list[int] = []  # after how many bytes each coming transfer breaks off
        self.asked: list[str | None] = []  # the Range header of each request
        self.paths: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.headers.get("Range"))
                server.paths.append(self.path)
                if self.path == "/missing":
                    self.send_error(404)
                    return
                first = 0
                if server.ranges and (asked := self.headers.get("Range")):
                    first = int(asked.removeprefix("bytes=").removesuffix("-"))
                    first = first if self.headers["If-Range"] == server.tag else 0
                body = server.content[first:]
                if first and not body:
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(server.content)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206 if first else 200)
                self.send_header("ETag", server.etag or server.tag)
                self.send_header("Last-Modified", server.tag)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, daemon=True)
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, data in files.items():
            bundle.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize("shouted", [False, True])
def test_a_download_is_whole_and_checked(server: Server, tmp_path: Path, shouted: bool) -> None:
    seen: list[tuple[int, int | None]] = []
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    if shouted:  # as PowerShell prints it
        sha256 = f" {sha256.upper()}\r\n"
    fetch(f"{server.address}/x", tmp_path / "x", sha256, lambda *both: seen.append(both))
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_cut_download_goes_on_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.cuts = [300_000, 200_000]
    fetch(f"{server.address}/x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-", "bytes=500000-"]


def test_a_download_goes_on_by_its_date_where_the_tag_says_little(
    server: Server, tmp_path: Path
) -> None:
    server.tag, server.etag = "Wed, 21 Oct 2015 07:28:00 GMT", 'W/"about the same"'
    server.cuts = [300_000]
    fetch(f"{server.address}/x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-"]


def test_a_later_call_goes_on_too(server: Server, tmp_path: Path) -> None:
    server.cuts = [300_000, 0, 0, 0, 0]
    with pytest.raises(DiptychError, match=r"broke off.*same command goes on"):
        fetch(f"{server.address}/x", tmp_path / "x")
    assert not (tmp_path / "x").exists()
    fetch(f"{server.address}/x", tmp_path / "x")
    assert server.asked[-1] == "bytes=300000-"
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_a_file_that_changed_in_between_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    server.cuts = [300_000, 0, 0, 0, 0]
    with pytest.raises(DiptychError):
        fetch(f"{server.address}/x", tmp_path / "x")
    server.content, server.tag = CONTENT[::-1], '"two"'
    fetch(f"{server.address}/x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT[::-1]


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.ranges, server.cuts = False, [300_000]
    fetch(f"{server.address}/x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_all_there_but_not_renamed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(CONTENT)
    (tmp_path / "x.part.version").write_text(server.tag)
    fetch(f"{server.address}/x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_what_cannot_be_had_is_said(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DiptychError, match="says 404"):
        fetch(f"{server.address}/missing", tmp_path / "x")
    with pytest.raises(DiptychError, match="not the file it should be"):
        fetch(f"{server.address}/x", tmp_path / "x", "0" * 64)
    assert not (tmp_path / "x.part").exists()
    for wrong in ("file:///etc/hostname", "http://[", "http://", "https://gö..öd/x.zip"):
        with pytest.raises(UsageError, match="is not an address"):
            fetch(wrong, tmp_path / "x")
    before = len(server.asked)
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        fetch(f"{server.address}/x", tmp_path / "x", "0" * 63)
    assert len(server.asked) == before
    server.http.server_close()
    with pytest.raises(DiptychError, match="refused"):
        fetch(f"{server.address}/x", tmp_path / "x")


def test_addresses_as_people_write_them(server: Server, tmp_path: Path) -> None:
    fetch(f"{server.address}/gööd one%20.zip?a=ü&b=%C3", tmp_path / "x")
    assert server.paths == ["/g%C3%B6%C3%B6d%20one%20.zip?a=%C3%BC&b=%C3"]


@pytest.mark.parametrize("top", ["", "horses/"])
def test_unpacking(tmp_path: Path, top: str) -> None:
    files = {f"{top}trainA/1.png": b"one", f"{top}trainB/2.png": b"two", "__MACOSX/x": b"no"}
    (tmp_path / "x.zip").write_bytes(zipped(files))
    assert unpack(tmp_path / "x.zip", tmp_path / "new" / "out") == 2
    assert (tmp_path / "new" / "out" / "trainB" / "2.png").read_bytes() == b"two"
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["out"]


PACKED = zipped({"x": CONTENT})


def link(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        info = zipfile.ZipInfo(name)
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        bundle.writestr(info, "/etc")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "archive",
    [
        zipped({"ok": b"", "../outside": b"x"}),
        zipped({"ok": b"", "/outside": b"x"}),
        zipped({"ok": b"", "a\\..\\..\\outside": b"x"}),
        zipped({"ok": b"", "C:\\outside": b"x"}),
        link("trainA"),
        b"PK\x03\x04 no zip at all",
        zipped({"x": CONTENT})[:-40],
        PACKED[:31] + b"\x07" + PACKED[32:],
    ],
)
def test_bad_archives_write_nothing(tmp_path: Path, archive: bytes) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.zip").write_bytes(archive)
    with pytest.raises(DiptychError, match=r"x\.zip"):
        unpack(tmp_path / "in" / "x.zip", tmp_path / "in" / "out")
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == ["in", "in/x.zip"]


def test_what_does_not_fit_is_kept(server: Server, tmp_path: Path, diptych: Command) -> None:
    """A download of hours is not removed because the disk is full: the same command unpacks it."""
    server.content = zipped({"trainA/1.png": bytes(500_000), "trainB/1.png": b"b"})
    checksum = hashlib.sha256(server.content).hexdigest()
    get = ["data", "get", "mine", "--url", f"{server.address}/any.zip", "--sha256", checksum]
    full = subprocess.run(
        [sys.executable, "-m", "diptych", *get], cwd=tmp_path, capture_output=True,
        text=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (99_999, 99_999)),
    )  # fmt: skip
    assert full.returncode == 1
    assert "File too large (it is kept: mend that, and try again)" in full.stderr
    assert [p.name for p in (tmp_path / "data").iterdir()] == [".mine.zip"]
    done = diptych(*get, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["mine"]
    assert server.paths == ["/any.zip"]


def test_what_nothing_tells_from_another_file_is_not_kept(server: Server, tmp_path: Path) -> None:
    server.content = zipped({"trainA/1.png": bytes(500_000)})
    full = subprocess.run(
        [sys.executable, "-m", "diptych", "data", "get", "mine", "--url",
         f"{server.address}/any.zip"], cwd=tmp_path, capture_output=True,
        text=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (99_999, 99_999)),
    )  # fmt: skip
    assert full.returncode == 1
    assert full.stderr.endswith("File too large\n")
    assert not list((tmp_path / "data").iterdir())


def test_one_at_a_time_gets_a_data_set(server: Server, tmp_path: Path, diptych: Command) -> None:
    server.content = zipped({"trainA/1.png": b"a", "trainB/1.png": b"b"})
    get = ["data", "get", "mine", "--url", f"{server.address}/any.zip"]
    (tmp_path / "data").mkdir()
    with only_one(tmp_path / "data", ".mine.lock"):
        second = diptych(*get, cwd=tmp_path)
        assert second.returncode == 1
        assert "data is in use by process" in second.stderr
        assert "another -o" in second.stderr
        assert diptych(*get, "-o", "data/other", cwd=tmp_path).returncode == 0
    assert diptych(*get, cwd=tmp_path).returncode == 0
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"mine", "other"}


def test_the_catalog_names_the_twelve_sets_of_the_paper(diptych: Command) -> None:
    shown = diptych("data", "list")
    assert shown.returncode == 0
    assert len(DATA_SETS) == 12
    for one in DATA_SETS:
        assert one.name in shown.stdout
        assert one.address().endswith(f"/cyclegan/datasets/{one.name}.zip")
        assert one.sha256 is None or len(one.sha256) == 64
    with pytest.raises(UsageError, match="did you mean 'horse2zebra'"):
        data_set_named("horses2zebra")


def test_get_from_the_command_line(server: Server, tmp_path: Path, diptych: Command) -> None:
    server.content = zipped({"horse2zebra/trainA/1.png": b"a", "horse2zebra/trainB/1.png": b"b"})
    wrong = diptych("data", "get", "horse2zebra", "--mirror", server.address, cwd=tmp_path)
    assert wrong.returncode == 1
    assert "not the file it should be" in wrong.stderr
    whole = server.content
    server.content = whole[:60] + bytes(20) + whole[80:]
    broken = diptych("data", "get", "mine", "--url", f"{server.address}/any.zip", cwd=tmp_path)
    assert broken.returncode == 1
    assert "(it was removed: this command brings it anew)" in broken.stderr
    assert not list((tmp_path / "data").iterdir())
    server.content = whole
    done = diptych("data", "get", "mine", "--url", f"{server.address}/any.zip", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "diptych train --data data/mine" in done.stdout
    assert (tmp_path / "data" / "mine" / "trainA" / "1.png").read_bytes() == b"a"
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["mine"]
    again = diptych("data", "get", "mine", "--url", f"{server.address}/any.zip", cwd=tmp_path)
    assert again.returncode == 2
    assert "exists already" in again.stderr


def test_a_transfer_that_advances_may_break_off_often(server: Server, tmp_path: Path) -> None:
    server.cuts = [100_000] * 6
    fetch(f"{server.address}/x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_of_a_server_that_is_not_there_nothing_stays(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/x"
    with pytest.raises(DiptychError, match="refused"):
        fetch(address, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_zip_of_one_file_becomes_a_folder_with_it(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(zipped({"one.png": b"content"}))
    assert unpack(tmp_path / "x.zip", tmp_path / "out") == 1
    assert (tmp_path / "out" / "one.png").read_bytes() == b"content"
