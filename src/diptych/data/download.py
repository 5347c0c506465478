"""An archive from the network to a folder: resumed where it broke off, checked, safely unpacked."""

from __future__ import annotations

import errno
import http.client
import os
import re
import shutil
import stat
import string
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import quote, urlsplit

from diptych.errors import DiptychError, UsageError, unheard
from diptych.host.files import explain_os_errors, file_sha256, replace

CHUNK = 1 << 18  # bytes
TIMEOUT = 30.0  # seconds without a byte
TRIES = 4  # in a row that bring nothing
OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
OnBytes = Callable[[int, "int | None"], None]  # bytes here, bytes in all if the server says


def fetch(address: str, path: Path, sha256: str | None = None, on_bytes: OnBytes = unheard) -> None:
    """Download ``address`` to ``path``.

    What has arrived is kept in ``path.part``: a broken transfer goes on from there, at once or when
    called again, if the server offers that and the file there is still the same. A ``path`` that is
    there with this checksum is not downloaded again. Raises DiptychError when the server cannot be
    reached or refuses, the transfer keeps breaking, the disk is full, or the checksum differs;
    UsageError for what is no address or no checksum.
    """
    address = _quoted(address)
    if sha256 is not None:
        sha256 = sha256.strip().lower()
        if not re.fullmatch("[0-9a-f]{64}", sha256):
            raise UsageError(f"{sha256!r} is no sha256: it must be 64 hexadecimal digits")
        if path.is_file() and file_sha256(path) == sha256:
            return
    part = path.with_name(f"{path.name}.part")
    with explain_os_errors(f"write {part}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
    vain = 0
    while True:
        before = part.stat().st_size
        try:
            if _transfer(address, part, on_bytes):
                break
            problem = "the connection broke off"
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise DiptychError(
                    f"{address}: the server says {error.code} {error.reason}"
                ) from None
            problem = f"the server says {error.code} {error.reason}"
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            problem = str(getattr(reason, "strerror", None) or reason)
        vain = 0 if part.stat().st_size > before else vain + 1
        if vain == TRIES:
            if part.stat().st_size == 0:
                part.unlink()
                raise DiptychError(f"{address}: {problem}")
            raise DiptychError(
                f"{address}: {problem}; the same command goes on where this one stopped"
            )
        time.sleep(0.25 * 2**vain)
    if sha256 is not None and (found := file_sha256(part)) != sha256:
        part.unlink()
        raise DiptychError(
            f"{address} is not the file it should be (sha256 {found[:12]}..., expected "
            f"{sha256[:12]}...): it was removed; try again, or get it from elsewhere"
        )
    with explain_os_errors(f"write {path}"):
        part.replace(path)


def _quoted(address: str) -> str:
    """The address as it goes over the network. Raises UsageError if it is none."""
    try:
        parts = urlsplit(address)
        host, colon, port = parts.netloc.partition(":")
        if not parts.netloc.isascii():
            host = host.encode("idna").decode()
        known = parts.scheme in ("http", "https") and (parts.hostname or "").encode("idna")
    except ValueError:  # a bracket that is not closed, a name that no host can have
        known = False
    if not known:
        raise UsageError(f"{address!r} is not an address: give one as http://... or https://...")
    parts = parts._replace(netloc=host + colon + port, fragment="")
    return quote(parts.geturl(), safe=string.punctuation)


def _transfer(address: str, part: Path, on_bytes: OnBytes) -> bool:
    """One connection; append what comes. True if the file is whole now."""
    version = part.with_name(f"{part.name}.version")  # what the server called the file we have
    have = part.stat().st_size
    request = urllib.request.Request(address, headers={"User-Agent": "diptych"})
    if have and version.exists():
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", version.read_text())
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # nothing beyond what we have
            raise
        version.unlink()
        whole = error.headers.get("Content-Range", "").rpartition("/")[2] == str(have)
        if not whole:
            part.write_bytes(b"")
        return whole
    with answer:
        goes_on = answer.status == 206
        have = have if goes_on else 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length is not None and length.isdecimal() else None
        tag = answer.headers.get("ETag")
        if tag is None or tag.startswith("W/"):  # (of a file that is only about the same)
            tag = answer.headers.get("Last-Modified")
        with explain_os_errors(f"write {part}"):
            if tag is not None:
                version.write_text(tag)
            out = open(part, "ab" if goes_on else "wb")  # noqa: SIM115
        with out:
            while chunk := answer.read(CHUNK):
                with explain_os_errors(f"write {part}"):
                    out.write(chunk)
                have += len(chunk)
                on_bytes(have, total)
    if total is not None and have < total:
        return False
    version.unlink(missing_ok=True)
    return True


class BrokenArchiveError(DiptychError):
    """What was downloaded is no archive to unpack, now or ever."""


def unpack(archive: Path, folder: Path) -> int:
    """Unpack a zip file as ``folder``; returns how many files it held.

    A single folder at the top of the archive is left away. It is unpacked under another name and
    renamed, so ``folder`` is whole or absent. Raises BrokenArchiveError for a broken archive or one
    with names that lead outside, DiptychError where it does not fit; nothing is written then.
    """
    aside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(archive) as bundle:
            members = [
                m for m in bundle.infolist()
                if not m.is_dir() and not m.filename.startswith("__MACOSX/")
            ]  # fmt: skip
            for member in members:
                _check_name(archive, member)
            need, free = sum(m.file_size for m in members), shutil.disk_usage(folder.parent).free
            if need > free:
                raise DiptychError(
                    f"unpacking {archive} needs {need / 1e6:.0f} MB, and {folder.parent} has "
                    f"{free / 1e6:.0f} MB free"
                )
            for member in members:
                bundle.extract(member, aside)
            if hasattr(os, "sync"):  # (a power cut is not to leave empty files under whole names)
                os.sync()
            tops = list(aside.iterdir()) if members else []
            replace(tops[0] if len(tops) == 1 and tops[0].is_dir() else aside, folder)
    except DiptychError:
        raise
    except Exception as error:  # of a broken file nearly every one there is
        if isinstance(error, OSError) and error.errno in OF_THE_DISK:
            raise DiptychError(f"cannot unpack {archive}: {error.strerror}") from error
        raise BrokenArchiveError(
            f"{archive} is not a zip file that can be unpacked: {error}"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return len(members)


def _check_name(archive: Path, member: zipfile.ZipInfo) -> None:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    is_link = stat.S_ISLNK(member.external_attr >> 16)
    if path.is_absolute() or ".." in path.parts or ":" in str(path) or is_link:
        raise BrokenArchiveError(
            f"{archive} holds {member.filename!r}, which leads outside: not unpacked"
        )
