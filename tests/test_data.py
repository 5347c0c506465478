"""From folders to batches: scanning, holding out, caching, sampling, cropping."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree as shutil_rmtree
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from command import LONGEST
from conftest import SHARED
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diptych.data import cache_folder
from diptych.data.batches import Batches, crop, resized
from diptych.data.cache import PictureCache, read_cache
from diptych.data.cache_build import ALIGNED, FIRST
from diptych.data.cache_folder import open_cache, place_of
from diptych.data.check import check
from diptych.data.decode import DamagedPictureError, read_picture, reading_of
from diptych.data.domain import Folders, data_folders, open_domains, split
from diptych.data.folder import find_pictures
from diptych.data.geometry import crop_size, fit_for_looking, fit_for_training, stored_size
from diptych.data.looking import read_for_looking
from diptych.data.pixels import RGB, PixelFormat, Pixels, resize
from diptych.data.sampler import Draw, Sampler
from diptych.errors import DiptychError
from diptych.settings import build_config, merge
from diptych.training.remarks import remarks
from diptych.translation.other_size import with_size

CPU = torch.device("cpu")


def write_pictures(
    folder: Path, count: int, size: tuple[int, int] = (20, 24), first: int = 0
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + count):
        rng = np.random.default_rng(i)
        Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(folder / f"{i}.png")


def config(**data: Any) -> Any:
    return build_config(
        {"data": {"size": 16, **data}, "discriminator": {"layers": 1}, "training": {"steps": 1}}
    )


def test_folders_are_scanned_deep_and_in_one_order(tmp_path: Path) -> None:
    write_pictures(tmp_path / "b" / "deep", 1)
    write_pictures(tmp_path / "a", 2, first=5)
    (tmp_path / "a" / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden").mkdir()
    write_pictures(tmp_path / ".hidden", 1)
    (tmp_path / "loop").symlink_to(tmp_path)
    found = [str(p.relative_to(tmp_path)) for p in find_pictures(tmp_path)]
    assert found == ["a/5.png", "a/6.png", "b/deep/0.png"]


def test_linked_folders_are_entered_once_and_thumbnails_of_storage_are_not(tmp_path: Path) -> None:
    write_pictures(tmp_path / "real", 2)
    (tmp_path / "set").mkdir()
    for name in ("one", "two"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "real")
    (tmp_path / "real" / "back").symlink_to(tmp_path / "set")
    for name in ("@eaDir", "__MACOSX", "#recycle"):
        write_pictures(tmp_path / "real" / name, 1)
    write_pictures(tmp_path / "real" / "@alice", 1)  # somebody's, by their name
    found = [str(p.relative_to(tmp_path / "set")) for p in find_pictures(tmp_path / "set")]
    assert found == ["one/0.png", "one/1.png", "one/@alice/0.png"]


def test_pictures_on_both_sides_of_a_line_are_said(tmp_path: Path) -> None:
    write_pictures(tmp_path / "trainA", 6)
    write_pictures(tmp_path / "testA", 3, first=5)  # of which one is trained on
    write_pictures(tmp_path / "trainB", 6, first=4)  # of which two are in A
    settings = config()
    said = remarks(settings, *open_domains(data_folders(tmp_path), settings), CPU)
    assert any(line.startswith("trained on, although held out: 1 picture of") for line in said)
    assert any(line.startswith("in both A and B: 2 pictures") for line in said)


def test_what_is_left_out_and_what_is_without_effect_is_said(tmp_path: Path) -> None:
    for i, name in enumerate(("trainA", "trainB", "testA", "testB")):
        write_pictures(tmp_path / name, 40, first=100 * i)
    for name, count in (("trainA", 7), ("testA", 1)):
        for i in range(count):
            (tmp_path / name / f"broken-{i}.png").write_bytes(b"no picture")
    a, b = open_domains(data_folders(tmp_path), config())

    def said(**sections: Any) -> list[str]:
        return remarks(build_config(merge(config(size=64).model_dump(), sections)), a, b, CPU)

    assert any("fp16 is for GPUs" in line for line in said(training={"precision": "fp16"}))
    usual = said()
    assert [line.split("broken")[0] for line in usual] == [
        f"left out 7 pictures of {tmp_path / 'trainA'}: ",
        f"left out 1 picture of {tmp_path / 'testA'}: ",
    ]
    assert usual[0].count("broken-") == 5
    assert usual[0].endswith(" and 2 more")
    unet = {"architecture": "unet", "dropout": 0.5}
    assert not said(generator={**unet, "levels": 6})[2:]
    assert "has it from 6 generator.levels on" in said(generator={**unet, "levels": 5})[2]
    for judged, untouched, words in ((3, 2, ""), (3, 1, "adds no fakes"), (None, 2, "")):
        training = {"history": 0, "judged": judged, "untouched": untouched}
        assert words in "".join(said(training=training)[2:])
        assert not said(training={**training, "history": 9})[2:]
        assert bool(words) == bool(said(training=training)[2:])


def test_grey_pictures_learned_as_colours_are_said(tmp_path: Path) -> None:
    for i, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        for j in range(3):
            values = np.random.default_rng([i, j]).integers(0, 256, (40, 40), np.uint8)
            Image.fromarray(values).save(tmp_path / name / f"{j}.png")
    folders = Folders(tmp_path / "a", tmp_path / "b")
    for channels, said in ((None, True), (1, False)):
        reading = {"a": {"channels": channels}, "b": {"channels": channels}}
        settings = build_config(merge(config().model_dump(), reading))
        lines = remarks(settings, *open_domains(folders, settings), CPU)
        assert any("all pictures are grey" in line for line in lines) == said
    for j, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (40, 40), colour).save(tmp_path / "b" / f"{j}.png")
    lines = remarks(config(), *open_domains(folders, config()), CPU)
    assert not any("all pictures are grey" in line for line in lines)


@pytest.mark.parametrize(("share", "count", "held"), [
    (0.05, 2, 1), (0.05, 30, 2), (0.05, 38, 2), (0.05, 40, 2), (0.05, 5000, 200), (0.99, 40, 39),
    (0.99, 2, 1),
])  # fmt: skip
def test_a_share_is_held_out_at_least_1_at_most_200_and_not_all(
    share: float, count: int, held: int
) -> None:
    from types import SimpleNamespace

    cache: Any = SimpleNamespace(entries=[SimpleNamespace(content=f"{i:05}") for i in range(count)])
    train, heldout = split(cache, share)
    assert len(heldout) == held
    assert sorted(train + heldout) == list(range(count))


def test_held_out_pictures_do_not_depend_on_names_and_copies_go_with_them(tmp_path: Path) -> None:
    write_pictures(tmp_path / "a", 30)
    write_pictures(tmp_path / "b", 30, first=100)
    settings = config(holdout=0.2)
    domain, _ = open_domains(Folders(tmp_path / "a", tmp_path / "b"), settings)
    held = {path.read_bytes() for path in domain.heldout}
    assert len(held) == 6
    for number, path in enumerate(sorted((tmp_path / "a").iterdir())):
        shutil.copy(path, tmp_path / "a" / f"copy-{number}.png")
        path.rename(tmp_path / "a" / f"renamed-{99 - number}.png")
    again, _ = open_domains(Folders(tmp_path / "a", tmp_path / "b"), settings)
    assert {path.read_bytes() for path in again.heldout} == held
    trained = {(again.folder / again.cache.entries[i].name).read_bytes() for i in again.train}
    assert not trained & held
    assert len(again.train) == 48


def test_the_cache_is_built_once_and_anew_when_a_picture_changes(tmp_path: Path) -> None:
    write_pictures(tmp_path / "a", 3)
    files = find_pictures(tmp_path / "a")
    settings = config(preprocess="crop")
    built: list[int] = []

    def opened() -> Any:
        return open_cache(
            tmp_path / "a",
            files,
            settings.a,
            settings.data,
            4,
            lambda done, total: built.append(done),
        )

    first = opened()
    assert built == [1, 2, 3]
    for path, picture in zip(files, first, strict=False):
        np.testing.assert_array_equal(picture, np.asarray(Image.open(path)))
    opened()
    assert built == [1, 2, 3]
    write_pictures(tmp_path / "a", 1, size=(30, 30))
    assert opened()[0].shape == (30, 30, 3)
    assert built == [1, 2, 3, 1, 2, 3]
    made = place_of(tmp_path / "a", files, settings.a, settings.data, 4)
    alike = made.parent.glob(f"{made.name.partition('-')[0]}-*")
    assert list(alike) == [made]  # the one before is gone: a disk would fill up with them
    np.testing.assert_array_equal(first[2], np.asarray(Image.open(files[2])))  # but for its readers


def test_a_picture_is_decoded_once_whatever_happens_to_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    folder, settings = tmp_path / "a", config(preprocess="crop")
    write_pictures(folder, 6)
    decoded: list[str] = []

    def counting(path: Path, *how: Any) -> Pixels:
        decoded.append(path.name)
        return read_picture(path, *how)

    monkeypatch.setattr("diptych.data.cache_build.read_picture", counting)

    def opened() -> list[str]:
        """Which pictures this has decoded; all must be what their files are."""
        decoded.clear()
        cache = open_cache(folder, find_pictures(folder), settings.a, settings.data, 4)
        assert [one.name for one in cache.entries] == sorted(path.name for path in folder.iterdir())
        for entry, picture in zip(cache.entries, cache, strict=False):
            np.testing.assert_array_equal(picture, np.asarray(Image.open(folder / entry.name)))
            assert entry.content == hashlib.sha256((folder / entry.name).read_bytes()).hexdigest()
        return sorted(decoded)

    assert opened() == [f"{i}.png" for i in range(6)]
    (folder / "2.png").unlink()
    write_pictures(folder, 1, first=3, size=(31, 27))
    write_pictures(folder, 1, first=50)
    assert opened() == ["3.png", "50.png"]
    assert not opened()


def test_decoding_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    """With kill -9, in the middle; what the dead process had left is gone afterwards."""
    folder, cache = tmp_path / "a", tmp_path / "cache"
    write_pictures(folder, 9)
    code = f"""
import os, signal, sys
from pathlib import Path
from diptych.data import cache_build
from diptych.data.cache_folder import open_cache
from diptych.data.folder import find_pictures
from diptych.settings import build_config
decoded, read, cache_build.SECONDS = [], cache_build.read_picture, 0
def counting(path, *how):
    decoded.append(path.name)
    return read(path, *how)
cache_build.read_picture = counting
def progress(done, total):
    if done == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
folder, D = Path({str(folder)!r}), {{"layers": 1}}
data = {{"size": 16, "preprocess": "crop"}}
settings = build_config({{"data": data, "training": {{"steps": 1}}, "discriminator": D}})
open_cache(folder, find_pictures(folder), settings.a, settings.data, 4, progress)
print(*sorted(decoded))
"""

    def process(kill_at: int) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "DIPTYCH_CACHE": str(cache)}
        return subprocess.run(
            [sys.executable, "-c", code, str(kill_at)],
            env=environment, capture_output=True, text=True, timeout=LONGEST, check=False,
        )  # fmt: skip

    assert process(4).returncode == -signal.SIGKILL
    assert process(7).returncode == -signal.SIGKILL
    for left in cache.rglob("*"):
        os.utime(left, (time.time() - 3600,) * 2)
    assert process(0).stdout.split() == ["7.png", "8.png"]
    (made,) = cache.iterdir()
    found = read_cache(made)
    for entry, picture in zip(found.entries, found, strict=False):
        np.testing.assert_array_equal(picture, np.asarray(Image.open(folder / entry.name)))
    assert [entry.name for entry in found.entries] == [f"{i}.png" for i in range(9)]


def test_a_picture_that_can_be_read_again_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path / "a", 3)
    write_pictures(tmp_path / "b", 3, first=50)
    folders = Folders(tmp_path / "a", tmp_path / "b")

    def failing(path: Path, *how: Any) -> Pixels:
        if path == tmp_path / "a" / "1.png":
            raise DamagedPictureError("input/output error")
        return read_picture(path, *how)

    with monkeypatch.context() as disk:
        disk.setattr("diptych.data.cache_build.read_picture", failing)
        assert [one.name for one in open_domains(folders, config())[0].skipped] == ["1.png"]
    assert not open_domains(folders, config())[0].skipped


@pytest.mark.skipif(sys.platform == "win32", reason="no time of the last change there")
def test_another_picture_of_the_same_size_and_time_is_noticed(tmp_path: Path) -> None:
    """As where two were swapped that came out of an archive."""
    for name, first in (("a", 0), ("b", 100)):
        (tmp_path / name).mkdir()
        for value in range(3):
            array = np.full((16, 16, 3), first + value, np.uint8)
            Image.fromarray(array).save(tmp_path / name / f"{value}.bmp")
            os.utime(tmp_path / name / f"{value}.bmp", (10**9, 10**9))
    folders = Folders(tmp_path / "a", tmp_path / "b")

    def values() -> list[int]:
        return [int(picture.max()) for picture in open_domains(folders, config())[0].cache]

    assert values() == [0, 1, 2]
    (tmp_path / "a" / "0.bmp").rename(tmp_path / "a" / "aside")
    (tmp_path / "a" / "1.bmp").rename(tmp_path / "a" / "0.bmp")
    (tmp_path / "a" / "aside").rename(tmp_path / "a" / "1.bmp")
    assert values() == [1, 0, 2]


def test_two_processes_of_one_number_may_decode_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in two containers that share their cache: the second one begins while the first works."""
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "pictures"
    write_pictures(folder, 3)
    domain, data = config().a, config().data
    others: list[int] = []

    def meanwhile(done: int, total: int) -> None:
        if done == 2:
            others.append(len(open_cache(folder, find_pictures(folder), domain, data, 4)))

    ours = open_cache(folder, find_pictures(folder), domain, data, 4, meanwhile)
    assert (len(ours), others) == (3, [3])


def test_each_domain_may_have_test_pictures(tmp_path: Path) -> None:
    for i, name in enumerate(("trainA", "trainB", "testA")):
        write_pictures(tmp_path / name, 4, first=10 * i)
    a, b = open_domains(data_folders(tmp_path), config())
    assert (len(a.train), len(b.train)) == (4, 3)
    assert {path.parent.name for path in a.heldout} == {"testA"}
    assert {path.parent.name for path in b.heldout} == {"trainB"}
    plans = check(data_folders(tmp_path), config()).plans
    assert [(plan.train, plan.held_out) for plan in plans] == [(4, 4), (3, 1)]


@pytest.mark.parametrize("kind", ["damaged", "other", "none"])
def test_test_pictures_are_looked_at_before_the_training(tmp_path: Path, kind: str) -> None:
    for i, name in enumerate(("trainA", "trainB", "testA", "testB")):
        write_pictures(tmp_path / name, 2, first=10 * i)
    folders = data_folders(tmp_path)
    if kind == "damaged":
        (tmp_path / "testA" / "broken.png").write_bytes(b"no picture")
        a, b = open_domains(folders, config())
        assert [path.name for path in a.heldout] == ["20.png", "21.png"]
        assert [one.name for one in a.test_skipped] == ["broken.png"]
        assert not b.test_skipped
        refused = r"cannot use 1 picture in .*testA \(--strict\); .*broken"
        with pytest.raises(DiptychError, match=refused):
            open_domains(folders, config(strict=True))
        return
    for path in (tmp_path / "testA").iterdir():
        if kind == "other":
            np.save(path.with_suffix(".npy"), np.zeros((20, 20, 3), np.uint8))
            path.unlink()
        else:
            path.write_bytes(b"no picture")
    settings = config()
    if kind == "other":
        for name in ("trainA", "trainB", "testB"):
            for path in list((tmp_path / name).iterdir()):
                np.save(path.with_suffix(".npy"), np.random.rand(20, 20).astype(np.float32))
                path.unlink()
        settings = build_config(
            merge(settings.model_dump(), {"a": {"depth": "native"}, "b": {"depth": "native"}})
        )
    said = {"other": "testA are uint8 with 3 .*trainA float32 with 1", "none": "none of the 2 .*A"}
    with pytest.raises(DiptychError, match=said[kind]):
        open_domains(folders, settings)


def test_a_cache_that_another_process_has_made_meanwhile_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be reading the index that we would delete: two trainings started at once."""
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "pictures"
    write_pictures(folder, 3)
    other_process = f"""
from pathlib import Path
from diptych.data.cache_folder import open_cache
from diptych.data.folder import find_pictures
from diptych.settings import build_config
folder, D = Path({str(folder)!r}), {{"layers": 1}}
settings = build_config({{"data": {{"size": 16}}, "training": {{"steps": 1}}, "discriminator": D}})
open_cache(folder, find_pictures(folder), settings.a, settings.data, 4)
"""
    made: list[int] = []

    def meanwhile(done: int, total: int) -> None:
        if done == total and not made:
            subprocess.run([sys.executable, "-c", other_process], check=True, timeout=LONGEST)
            made.extend(path.stat().st_ino for path in (tmp_path / "cache").glob("*[!l]"))

    settings = config()
    cache = open_cache(
        folder, find_pictures(folder), settings.a, settings.data, 4, on_progress=meanwhile
    )
    assert len(cache) == 3
    assert [path.stat().st_ino for path in (tmp_path / "cache").iterdir()] == made


def test_a_cache_that_another_process_forgets_as_soon_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that opens the same folder with a picture more, while we forget older caches."""
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    write_pictures(tmp_path / "pictures", 3)
    settings, forget = config(), cache_folder._forget_others

    def opened() -> PictureCache:
        files = find_pictures(tmp_path / "pictures")
        return open_cache(tmp_path / "pictures", files, settings.a, settings.data, 4)

    def forget_and_be_forgotten(place: Path) -> None:
        monkeypatch.setattr(cache_folder, "_forget_others", forget)
        forget(place)
        Image.new("RGB", (40, 40)).save(tmp_path / "pictures" / "new.png")
        assert len(opened()) == 4

    monkeypatch.setattr(cache_folder, "_forget_others", forget_and_be_forgotten)
    cache = opened()
    assert len(cache) == 3
    assert cache[2].shape[2] == 3


@pytest.mark.parametrize("stale", [False, True])
def test_a_cache_of_another_user_that_cannot_be_used(
    stale: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written with a umask of 077, or without a picture that only we may read."""
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    write_pictures(tmp_path / "a", 4)
    settings = config()
    given = (tmp_path / "a", find_pictures(tmp_path / "a"), settings.a, settings.data)
    theirs = place_of(*given, 4)
    if stale:
        hidden = (tmp_path / "a" / "0.png").read_bytes()
        before = (tmp_path / "a" / "0.png").stat()
        (tmp_path / "a" / "0.png").write_bytes(bytes(len(hidden)))
        os.utime(tmp_path / "a" / "0.png", ns=(before.st_atime_ns, before.st_mtime_ns))
        monkeypatch.setattr("diptych.data.cache_folder.place_of", lambda *_: theirs)
        assert len(open_cache(*given, 4).skipped) == 1
        (tmp_path / "a" / "0.png").write_bytes(hidden)
    else:
        theirs.mkdir(parents=True)
        (theirs / "index.json").mkdir()  # (cannot be read, also by root)
    kept = sorted(theirs.iterdir())
    monkeypatch.setattr(
        "diptych.data.cache_folder.shutil.rmtree",
        lambda path, **more: None if path == theirs else shutil_rmtree(path, **more),
    )
    for _ in range(2):
        cache = open_cache(*given, 4)
        assert len(cache) == 4
        assert not cache.skipped
        assert sorted(theirs.iterdir()) == kept
        monkeypatch.setattr("diptych.data.cache_folder.build", None)  # (it is found again)


def test_folders_alike_in_all_but_content_have_their_own_caches(tmp_path: Path) -> None:
    for name, value in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        for i in range(3):
            np.save(tmp_path / name / f"{i}.npy", np.full((20, 20, 3), value + 10 * i, np.uint8))
            os.utime(tmp_path / name / f"{i}.npy", ns=(10**18, 10**18))
    a, b = open_domains(Folders(tmp_path / "a", tmp_path / "b"), config())
    assert (a.cache[0][0, 0, 0], b.cache[0][0, 0, 0]) == (1, 2)


def test_pictures_that_are_read_another_way_have_their_own_cache(tmp_path: Path) -> None:
    write_pictures(tmp_path / "a", 2)
    files = find_pictures(tmp_path / "a")

    def place(multiple: int = 4, reading: dict[str, Any] | None = None, **data: Any) -> Path:
        settings = config(**data)
        domain = settings.a.model_copy(update=reading)
        return place_of(tmp_path / "a", files, domain, settings.data, multiple)

    places = [
        place(), place(reading={"channels": 1}), place(reading={"depth": "native"}),
        place(size=32), place(background="black"), place(preprocess="resize"),
        place(load_size=40), place(zoom=2), place(preprocess="none"), place(8, preprocess="none"),
    ]  # fmt: skip
    assert len(set(places)) == len(places)
    assert place(reading={"range": (0, 9)}) == place()  # (it is looked at later)
    assert place(reading={"channels": 3}) == place(load_size=18) == place()  # what they are anyway
    assert place(reading={"channels": 3, "depth": "native"}) != place()
    assert place(preprocess="crop", zoom=2) == place(preprocess="crop")  # (which has no zoom)
    assert place(8) == place()  # (any network takes a crop)


def test_caches_of_other_folders_and_other_settings_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate("ab"):
        write_pictures(tmp_path / name, 2, first=10 * i)
    for size in (16, 32):
        open_domains(Folders(tmp_path / "a", tmp_path / "b"), config(size=size))
    made = {path: path.stat().st_ino for path in (tmp_path / "cache").iterdir()}
    assert len(made) == 4
    (tmp_path / "linked").symlink_to("a")
    for a in ("a", "linked"):  # they are the same, whatever leads there
        open_domains(Folders(Path(a), Path("b")), config())
    assert {path: path.stat().st_ino for path in (tmp_path / "cache").iterdir()} == made


def test_damaged_files_are_left_out_and_named(tmp_path: Path) -> None:
    write_pictures(tmp_path / "a", 5)
    write_pictures(tmp_path / "b", 5, first=50)
    (tmp_path / "a" / "broken.png").write_bytes(b"\x89PNG and no more")
    domain, _ = open_domains(Folders(tmp_path / "a", tmp_path / "b"), config())
    assert [one.name for one in domain.skipped] == ["broken.png"]
    assert domain.skipped[0].reason
    with pytest.raises(DiptychError, match=r"broken\.png"):
        open_domains(Folders(tmp_path / "a", tmp_path / "b"), config(strict=True))


def test_the_range_of_16_bit_pictures_is_measured_on_the_training_set(tmp_path: Path) -> None:
    for name, high in (("a", 4095), ("b", 900)):
        (tmp_path / name).mkdir()
        for i in range(8):
            values = np.random.default_rng(i).integers(10, high, (20, 20)).astype(np.uint16)
            values[0, :2] = (10, high)
            Image.fromarray(values).save(tmp_path / name / f"{i}.png")
    settings = build_config({**config().model_dump(), "a": {"depth": "native"},
                             "b": {"depth": "native", "range": (0, 1000)}})  # fmt: skip
    a, b = open_domains(Folders(tmp_path / "a", tmp_path / "b"), settings)
    assert a.pixel_format == PixelFormat(1, "uint16", 10, 4095)
    assert max(int(picture.max()) for picture in a.cache) <= 4095
    assert (b.pixel_format.low, b.pixel_format.high) == (0, 1000)


def test_a_given_range_counts_for_8_bit_pictures_too(tmp_path: Path) -> None:
    for name in "ab":
        write_pictures(tmp_path / name, 2, first=2 * (name == "b"))
    settings = build_config(merge(config().model_dump(), {"a": {"range": (16, 235)}}))
    a, b = open_domains(Folders(tmp_path / "a", tmp_path / "b"), settings)
    assert a.pixel_format == PixelFormat(3, "uint8", 16, 235)
    assert b.pixel_format == RGB


def test_what_is_held_out_does_not_count_for_the_range(tmp_path: Path) -> None:
    for name, most in (("a", 1000), ("b", 2000)):
        (tmp_path / name).mkdir()
        for i in range(8):
            values = np.full((20, 20, 1), most + i, np.uint16)
            values[0, 0] = 10 - i
            np.save(tmp_path / name / f"{i}.npy", values)
    native = {"a": {"depth": "native"}, "b": {"depth": "native"}}
    settings = build_config(merge(config(holdout=0.5, preprocess="crop").model_dump(), native))
    for domain in open_domains(Folders(tmp_path / "a", tmp_path / "b"), settings):
        trained = [domain.cache[i] for i in domain.train]
        assert len(trained) == 4
        low, high = min(x.min() for x in trained), max(x.max() for x in trained)
        assert (domain.pixel_format.low, domain.pixel_format.high) == (low, high)


def test_channels_that_measure_different_things_have_ranges_of_their_own(tmp_path: Path) -> None:
    """Blue light, infrared, and a channel that is empty."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(4):
            rng = np.random.default_rng([i, ord(name)])
            values = rng.integers([5, 200, 9], [900, 6000, 10], (30, 32, 3)).astype(np.uint16)
            values[0, :2] = [[5, 200, 9], [899, 5999, 9]]
            np.save(tmp_path / name / f"{i}.npy", values)
    folders = Folders(tmp_path / "a", tmp_path / "b")
    native = {"a": {"depth": "native"}, "b": {"depth": "native"}}
    a, b = open_domains(folders, build_config(merge(config().model_dump(), native)))
    assert a.pixel_format == PixelFormat(3, "uint16", (5, 200, 9), (899, 5999, 10))
    again = reading_of(a.pixel_format).model_dump(mode="json")  # as a model's training goes on
    tree = yaml.safe_load(yaml.safe_dump({"a": again, "b": again}))
    c, _ = open_domains(folders, build_config(merge(config().model_dump(), tree)))
    assert c.pixel_format == a.pixel_format == b.pixel_format
    for ranges, fits in (([[0, 1], [0, 2]], False), ([[0, 1], [0, 2], [0, 3]], True)):
        tree = {"a": {"depth": "native", "range": ranges}, "b": {"depth": "native"}}
        settings = build_config(merge(config().model_dump(), tree))
        if fits:
            assert open_domains(folders, settings)[0].pixel_format.high == (1, 2, 3)
            continue
        with pytest.raises(DiptychError, match=r"2 ranges .* 3 channels .* one for each channel$"):
            open_domains(folders, settings)


@pytest.mark.parametrize("value", [0.0, -7.5, 20_240_101.0, 3e8, -1e20])
def test_a_channel_of_one_value_can_be_learned(value: float, tmp_path: Path) -> None:
    """A date, or a number of a scene: float32 may not tell it from one more."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(3):
            band = np.random.default_rng([i, ord(name)]).random((20, 20, 2), np.float32)
            band[..., 1] = value
            np.save(tmp_path / name / f"{i}.npy", band)
    native = {"a": {"depth": "native"}, "b": {"depth": "native"}}
    settings = build_config(merge(config().model_dump(), native))
    a, _ = open_domains(Folders(tmp_path / "a", tmp_path / "b"), settings)
    stored = a.cache[a.train[0]][None]
    x = a.pixel_format.to_tensor(stored)
    assert torch.equal(x[:, 1], torch.full_like(x[:, 1], -1))
    assert x.isfinite().all()
    np.testing.assert_allclose(a.pixel_format.to_pixels(x), stored, rtol=1e-5, atol=1e-5)


def test_the_range_is_that_of_the_files_not_of_what_they_are_shrunk_to(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(4):
            values = np.full((90, 80, 1), 500 + i, np.uint16)
            values[i, 3], values[40, 40] = 7, 60_000  # (single pixels, of which little is left)
            np.save(tmp_path / name / f"{i}{name}.npy", values + (name == "b"))
    native = {"a": {"depth": "native"}, "b": {"depth": "native"}}
    settings = build_config(merge(config().model_dump(), native))
    a, b = open_domains(Folders(tmp_path / "a", tmp_path / "b"), settings)
    assert (a.pixel_format.low, a.pixel_format.high) == (7, 60_000)
    assert (b.pixel_format.low, b.pixel_format.high) == (8, 60_001)


@given(
    count=st.integers(1, 50), seed=st.integers(0, 2**63 - 1), epoch=st.integers(0, 10**6)
)  # fmt: skip
def test_every_epoch_shows_every_picture_once(count: int, seed: int, epoch: int) -> None:
    sampler = Sampler(count, seed, 0)
    draws = [sampler.draw(epoch * count + i) for i in range(count)]
    assert sorted(draw.index for draw in draws) == list(range(count))


def test_every_epoch_has_its_own_order() -> None:
    sampler = Sampler(20, 1, 0)
    shown = [sampler.draw(position).index for position in range(5 * 20)]
    assert len({tuple(shown[begin : begin + 20]) for begin in range(0, len(shown), 20)}) == 5


def test_the_sampler_is_a_function_of_seed_stream_and_position() -> None:
    positions = [3, 0, 10**12, 7, 3]
    first = [Sampler(100, 1, 0).draw(p) for p in positions]
    assert first == [Sampler(100, 1, 0).draw(p) for p in positions]
    assert first[0] == first[4]
    for other in (Sampler(100, 2, 0), Sampler(100, 1, 1)):
        assert [other.draw(p) for p in positions] != first
        assert [other.draw(p).index for p in range(9)] != [
            Sampler(100, 1, 0).draw(p).index for p in range(9)
        ]


def test_crops_and_flips_are_spread_evenly() -> None:
    draws = [Sampler(5, 0, 0).draw(p) for p in range(4000)]
    for values in ([d.x for d in draws], [d.y for d in draws]):
        assert abs(np.mean(values) - 0.5) < 0.02
        assert abs(np.std(values) - 12**-0.5) < 0.01
    assert abs(np.mean([d.flip for d in draws]) - 0.5) < 0.03
    choices = np.corrcoef([(d.x, d.y, d.flip, d.size) for d in draws], rowvar=False)
    assert np.abs(choices - np.eye(4)).max() < 0.06  # none goes with another
    lag = np.corrcoef([d.x for d in draws[1:]], [d.x for d in draws[:-1]])[0, 1]
    assert abs(lag) < 0.06


@given(x=st.floats(0, 1, exclude_max=True), y=st.floats(0, 1, exclude_max=True))
def test_crops_lie_inside(x: float, y: float) -> None:
    picture = np.arange(20 * 31).reshape(20, 31, 1)
    part = crop(picture, 16, Draw(0, x, y, False))
    assert part.shape == (16, 16, 1)


def test_crops_come_from_every_place() -> None:
    picture = torch.arange(20 * 31).reshape(20, 31, 1)
    draws = [Sampler(5, 0, 0).draw(p) for p in range(2000)]
    corners = {int(crop(picture, 16, draw)[0, 0, 0]) for draw in draws}
    assert corners == {31 * top + left for top in range(5) for left in range(16)}


@given(
    preprocess=st.sampled_from(["resize-crop", "resize", "crop", "scale-width-crop", "none"]),
    width=st.integers(1, 900), height=st.integers(1, 900), size=st.sampled_from([16, 64, 256]),
)  # fmt: skip
def test_every_preprocess_makes_pictures_the_networks_can_take(
    preprocess: str, width: int, height: int, size: int
) -> None:
    data = config(size=size, preprocess=preprocess).data
    w, h = stored_size(data, width, height, 4)
    if preprocess == "none":
        assert w % 4 == h % 4 == 0
        assert abs(w - width) <= 2 or width < 16
    else:
        assert min(w, h) >= size
    if preprocess == "resize":
        assert (w, h) == (size, size)
    if preprocess == "resize-crop":
        assert min(w, h) == round(size * 286 / 256)
    if preprocess == "scale-width-crop" and height >= width:
        assert w == round(size * 286 / 256)
    if preprocess == "crop" and min(width, height) >= size:
        assert (w, h) == (width, height)


def test_looking_shows_the_middle_without_stretching() -> None:
    picture = np.zeros((100, 50, 3), np.uint8)
    picture[40:60] = 255
    shown = fit_for_looking(picture, config(size=32).data, 4)
    assert shown.shape == (32, 32, 3)
    assert shown[16].min() > 250
    assert shown[0].max() < 5
    assert fit_for_training(picture, config(size=32).data, 4).shape == (72, 36, 3)


@pytest.mark.parametrize("preprocess", ["resize-crop", "scale-width-crop"])
def test_looking_is_as_close_as_a_given_load_size(preprocess: str) -> None:
    """Lines that are 32 pixels apart in the picture, in the training crops and when looked at."""
    picture = np.zeros((512, 512, 3), np.uint8)
    picture[:, ::32] = 255
    settings = config(size=64, preprocess=preprocess, load_size=256)
    for fit in (fit_for_training, fit_for_looking):
        lines = np.flatnonzero(fit(picture, settings.data, 4)[32, :, 0] > 60)
        assert set(np.diff(lines)) <= {1, 15, 16}
    twice = with_size(settings, 128)
    assert fit_for_looking(picture, twice.data, 4).shape == (128, 128, 3)
    assert twice.data.load_size == 512


def test_looking_is_no_closer_for_a_zoom() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8)
    near, far = (
        fit_for_looking(picture, config(size=64, load_size=100, zoom=zoom).data, 4)
        for zoom in (4, 1)
    )
    np.testing.assert_array_equal(near, far)


def test_pictures_of_another_kind_are_not_looked_at(tmp_path: Path) -> None:
    """Held-out files may have been exchanged since the training."""
    write_pictures(tmp_path, 2)
    np.save(tmp_path / "deep.npy", np.zeros((20, 24, 3), np.uint16))
    np.save(tmp_path / "grey.npy", np.zeros((20, 24, 1), np.uint8))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    paths = [tmp_path / name for name in ("deep.npy", "grey.npy", "broken.png", "0.png", "1.png")]
    reading = build_config({"a": {"depth": "native"}}).a
    for most, names in ((1, ["0.png"]), (9, ["0.png", "1.png"])):
        found = read_for_looking(paths, reading, RGB, config(), most)
        assert [path.name for path, _ in found] == names


def test_batches_are_flipped_crops_in_unit_range(tmp_path: Path) -> None:
    write_pictures(tmp_path / "a", 6, size=(20, 31))
    write_pictures(tmp_path / "b", 6, first=50)
    settings = config(preprocess="crop")
    a, _ = open_domains(Folders(tmp_path / "a", tmp_path / "b"), settings)
    batches = Batches(a, settings.data, seed=3, stream=0, device=CPU)
    batch = batches.at(40, 16)
    assert batch.shape == (16, 3, 16, 16)
    torch.testing.assert_close(batch[2:], batches.at(42, 14))
    draws = [batches.sampler.draw(40 + i) for i in range(16)]
    assert {draw.flip for draw in draws} == {True, False}
    for draw, found in zip(draws, batch.permute(0, 2, 3, 1), strict=True):
        picture = a.cache[a.train[draw.index]].astype(np.float32) / 127.5 - 1
        top, left = int(draw.y * (20 - 16 + 1)), int(draw.x * (31 - 16 + 1))
        window = picture[top : top + 16, left : left + 16]
        np.testing.assert_allclose(found, window[:, ::-1] if draw.flip else window, atol=1e-6)


@given(
    width=st.integers(1, 900), height=st.integers(1, 900), zoom=st.floats(1, 8),
    share=st.floats(0, 1, exclude_max=True),
)  # fmt: skip
def test_crops_look_closer_as_far_as_a_picture_has_pixels(
    width: int, height: int, zoom: float, share: float
) -> None:
    far, near = config(size=32).data, config(size=32, zoom=zoom).data
    w, h = stored_size(near, width, height, 4)
    usual = min(stored_size(far, width, height, 4))
    assert usual <= min(w, h) <= max(usual, min(width, height))  # nothing is enlarged for it
    assert min(w, h) <= round(zoom * 36)
    side = crop_size(near, h, w, share)
    assert 32 <= side <= min(w, h)
    assert side / min(w, h) <= 32 / 36 + 0.5 / min(w, h)  # never more than a crop without zoom
    assert crop_size(near, h, w, 0) == crop_size(far, h, w, share) == 32


def test_ratios_of_a_zoom_are_equally_likely() -> None:
    data = config(size=32, zoom=4).data
    assert crop_size(data, 144, 144, 0.5) == 64  # the middle of 32 and 128, as ratios


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_larger_crops_are_shrunk_as_pillow_does(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.random((9, 9, 3)).repeat(6, 0).repeat(6, 1)  # edges, at which bicubic overshoots
    most = 1.0 if dtype == np.float32 else float(np.iinfo(dtype).max)
    picture = (coarse * most).astype(dtype)
    small = resized(torch.from_numpy(picture), 32).numpy()
    assert small.dtype == dtype
    if dtype != np.uint8:  # (in 8 bits Pillow lets it overshoot to black and white too)
        assert picture.min() <= small.min()
        assert small.max() <= picture.max()
    expected = resize(picture, 32, 32)
    difference = small.astype(np.float64) - expected
    assert np.abs(difference).max() <= (1e-5 if dtype == np.float32 else 1)
    assert abs(difference.mean()) < 0.1  # (rounded, not cut)


def test_a_batch_holds_crops_of_many_sizes(tmp_path: Path) -> None:
    """Bars of 2 px, stored as 2 px: a closer look shows them as wide, a farther one finer."""
    folder = tmp_path / "a"
    folder.mkdir()
    bars = np.tile(np.repeat([[0, 255]], 2, axis=1), (72, 18)).astype(np.uint8)
    for i in range(3):
        Image.fromarray(np.roll(bars, i, axis=1)).convert("RGB").save(folder / f"{i}.png")
    write_pictures(tmp_path / "b", 3)
    settings = config(zoom=4)
    a, _ = open_domains(Folders(folder, tmp_path / "b"), settings)
    batches = Batches(a, settings.data, seed=0, stream=0, device=CPU)
    assert a.cache[0].shape == (72, 72, 3)
    seen = batches.at(0, 40)
    assert seen.shape == (40, 3, 16, 16)
    assert torch.equal(seen[3:5], batches.at(3, 2))
    sides = [crop_size(settings.data, 72, 72, batches.sampler.draw(i).size) for i in range(40)]
    assert min(sides) < 24
    assert max(sides) > 48
    contrast = seen.std(dim=(1, 2, 3))
    order = np.argsort(sides)
    assert contrast[order[:10]].min() > 2 * contrast[order[-10:]].max()


def test_pictures_of_another_depth_do_not_move_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    write_pictures(folder, 2, (17, 19))  # 8 bits, an odd number of bytes each: left out
    for i in range(4):
        values = np.random.default_rng(i).integers(0, 2**16, (18, 17), dtype=np.uint16)
        Image.fromarray(values).save(folder / f"0{i}.png")
    reading = build_config({"a": {"depth": "native", "channels": 1}}).a
    settings = config(preprocess="crop")
    cache = open_cache(folder, find_pictures(folder), reading, settings.data, 4)
    assert (len(cache), len(cache.skipped)) == (4, 2)
    for i in range(4):
        assert cache.tensor(i, CPU).numpy().tobytes() == cache[i].tobytes()


@pytest.mark.skipif(not SHARED.exists(), reason="horse2zebra is not here")
def test_all_of_horse2zebra_is_read() -> None:
    root = SHARED / "data" / "horse2zebra"
    folders = Folders(root / "trainA", root / "trainB", root / "testA", root / "testB")
    a, b = open_domains(folders, config(size=32))
    assert (len(a.train), len(b.train), len(a.heldout), len(b.heldout)) == (1067, 1334, 120, 140)
    assert not a.skipped
    assert not b.skipped


def test_a_damaged_cache_is_made_anew(towns: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path))
    folder, settings = towns / "trainA", config()

    def opened() -> np.ndarray[Any, Any]:
        files = find_pictures(folder)
        cache = open_cache(folder, files, settings.a, settings.data, 4)
        return np.stack([cache[i] for i in range(len(cache))])

    whole = opened()
    (place,) = tmp_path.iterdir()
    damages: list[Callable[[], Any]] = [
        lambda: (place / "index.json").write_text(""),
        lambda: (place / "index.json").write_text("{}"),
        lambda: os.truncate(place / "pixels.bin", 1000),
        lambda: os.truncate(place / "pixels.bin", 0),
        lambda: os.truncate(place / "pixels.bin", (place / "pixels.bin").stat().st_size - 1),
        (place / "pixels.bin").unlink,
    ]
    for damage in damages:
        damage()
        assert (opened() == whole).all()
    assert list(tmp_path.iterdir()) == [place]


def test_what_a_killed_process_was_caching_goes_after_a_day(
    towns: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path))
    made, other = f"{16 * 'a'}-{32 * 'b'}", "backup.partial"  # (somebody's own)
    old, new = (f"{made}.{32 * letter}.partial" for letter in "01")
    for name, age in ((old, 25 * 60 * 60), (new, 60), (other, 25 * 60 * 60)):
        left = tmp_path / name / "pixels.bin"
        left.parent.mkdir()
        left.write_bytes(b"0")
        os.utime(left, (time.time() - age,) * 2)
    folder, settings = towns / "trainA", config()
    open_cache(folder, find_pictures(folder), settings.a, settings.data, 4)
    assert {path.name for path in tmp_path.glob("*.partial")} == {new, other}


def test_a_and_b_are_cropped_and_mirrored_by_lots_of_their_own() -> None:
    a, b = ([Sampler(100, 1, stream).draw(i) for i in range(20)] for stream in (0, 1))
    for lot in ("x", "y", "flip"):
        assert [vars(one)[lot] for one in a] != [vars(one)[lot] for one in b]


def test_pictures_are_not_decoded_where_there_is_no_room_for_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    write_pictures(tmp_path / "a", 60)
    files, settings = find_pictures(tmp_path / "a"), config()

    def opened(free: float) -> PictureCache:
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr("diptych.data.cache_build.shutil.disk_usage", lambda _: usage)
        return open_cache(tmp_path / "a", files, settings.a, settings.data, 4)

    of_one = opened(1e9)[0].nbytes
    shutil.rmtree(tmp_path / "cache")
    rest = of_one * (60 - FIRST)
    with pytest.raises(DiptychError, match="take about"):
        opened(0.9 * rest)
    assert len(opened(1.1 * rest + 60 * ALIGNED)) == 60
