"""Translating files and Python pictures with a real (tiny) trained model."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import unicodedata
from pathlib import Path, PurePath
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
import pytest
import torch
from command import LONGEST
from conftest import SHARED, TINY_OPTIONS, Command, start, whole_command
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import diptych as package
from diptych.config import DomainConfig
from diptych.data.decode import read_picture
from diptych.data.folder import find_pictures
from diptych.data.opening import TooLargeError
from diptych.data.pixels import RGB, PixelFormat
from diptych.errors import DiptychError, UsageError
from diptych.translation import files
from diptych.translation.files import translate_files
from diptych.translation.jobs import Job, left_to_do, plan_folder
from diptych.translation.reading import as_batch, read_file
from diptych.translation.translator import Translator, load
from diptych.translation.writing import (
    check_format,
    check_sides,
    default_format,
    encode_picture,
    write_picture,
)

REFERENCE = SHARED / "reference" / "gan_compression_horse2zebra"


@pytest.fixture(scope="session")
def translator(trained: Path) -> Translator:
    return load(trained, "cpu")


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def png_of(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Pictures of several kinds, sizes and shapes, some in folders below."""
    folder = tmp_path / "in"
    (folder / "deep" / "deeper").mkdir(parents=True)
    noise(50, 37).save(folder / "odd.png")
    noise(1, 1).save(folder / "dot.png")
    noise(200, 9).save(folder / "flat.webp", lossless=True)
    noise(64, 64).convert("L").save(folder / "deep" / "grey.jpg")
    noise(64, 64).convert("P").save(folder / "deep" / "palette.gif")
    noise(64, 64).convert("RGBA").save(folder / "deep" / "deeper" / "odd.png")
    return folder


def test_folders_keep_their_structure_and_pictures_their_size(
    trained: Path, pictures: Path, tmp_path: Path, diptych: Command
) -> None:
    (pictures / "deep" / "broken.jpg").write_bytes(b"\xff\xd8\xff no more")
    done = diptych("translate", trained, pictures, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    sizes = {
        str(path.relative_to(tmp_path / "out")): Image.open(path).size
        for path in (tmp_path / "out").rglob("*.*")
    }
    assert sizes == {
        "odd.png": (50, 37), "dot.png": (1, 1), "flat.png": (200, 9), "deep/grey.png": (64, 64),
        "deep/palette.png": (64, 64), "deep/deeper/odd.png": (64, 64),
    }  # fmt: skip
    assert "broken.jpg" in done.stdout
    assert "6 pictures written" in done.stdout
    assert "(1 skipped)" in done.stdout


def test_a_data_set_holds_both_domains(
    trained: Path, towns: Path, tmp_path: Path, diptych: Command
) -> None:
    done = diptych("translate", trained, towns, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert f"{towns} holds both domains, and all goes to b" in " ".join(done.stdout.split())


def test_pictures_of_other_kinds_are_said_to_be_passed_over(
    trained: Path, pictures: Path, tmp_path: Path, diptych: Command
) -> None:
    for name in ("a.tga", "deep/b.tga", "c.exr", "notes.txt"):
        (pictures / name).write_bytes(b"x")
    done = diptych("translate", trained, pictures, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert f"passed over in {pictures}: 2 .tga, 1 .exr: save" in " ".join(done.stdout.split())


def test_the_model_file_alone_is_enough(
    trained: Path, pictures: Path, tmp_path: Path, diptych: Command
) -> None:
    shutil.copy(trained / "model.safetensors", tmp_path / "mine.safetensors")
    one = pictures / "odd.png"
    by_run = diptych("translate", trained, one, "-o", tmp_path / "x")
    by_file = diptych("translate", tmp_path / "mine.safetensors", one, "-o", tmp_path / "y")
    assert by_run.returncode == by_file.returncode == 0, by_file.stderr
    assert (tmp_path / "x" / "odd.png").read_bytes() == (tmp_path / "y" / "odd.png").read_bytes()


def test_both_directions_sizes_and_formats(
    trained: Path, pictures: Path, tmp_path: Path, diptych: Command, translator: Translator
) -> None:
    source = pictures / "odd.png"
    options = ["--to", "a", "--size", "24", "--format", "npy"]
    assert diptych("translate", trained, source, "-o", tmp_path, *options).returncode == 0
    written = np.load(tmp_path / "odd.npy")
    expected = translator.to_a(source, size=24)
    assert expected.size == (32, 24)  # the shorter side becomes 24
    np.testing.assert_array_equal(written, np.asarray(expected))
    for name in ("jpg", "webp", "tif", "bmp", "png"):
        done = diptych("translate", trained, source, "-o", tmp_path / "f", "--format", name)
        assert done.returncode == 0, done.stderr
        with Image.open(tmp_path / "f" / f"odd.{name}") as picture:
            assert picture.size == (50, 37)


@pytest.mark.parametrize(("name", "most"), [("jpg", 3), ("webp", 4), ("bmp", 0), ("tif", 0)])
def test_a_translation_looks_the_same_in_every_format(name: str, most: float) -> None:
    y, x = np.mgrid[0:64, 0:64]
    picture = np.stack([4 * x, 4 * y, 128 + 60 * np.sin(x / 5)], -1).astype(np.uint8)
    file = io.BytesIO()
    encode_picture(file, name, picture)
    shown = np.asarray(Image.open(file).convert("RGB"))
    assert np.abs(shown.astype(int) - picture).mean() <= most


def test_lossy_formats_lose_little() -> None:
    """Grey noise, of which lossy formats take away the most."""
    noisy = np.random.default_rng(0).integers(96, 160, (64, 64, 1), np.uint8)
    picture = noisy.repeat(3, 2)
    for name, most in (("jpg", 2), ("webp", 1.4)):
        file = io.BytesIO()
        encode_picture(file, name, picture)
        shown = np.asarray(Image.open(file).convert("RGB"))
        assert np.abs(shown.astype(int) - picture).mean() <= most, name


@pytest.mark.parametrize(("name", "most"), [("jpg", 65_500), ("webp", 16_383)])
def test_the_longest_picture_that_a_format_holds(name: str, most: int) -> None:
    file = io.BytesIO()
    encode_picture(file, name, np.zeros((1, most, 3), np.uint8))
    assert Image.open(file).size == (most, 1)


def test_sizes_are_rounded(translator: Translator) -> None:
    assert translator.to_b(noise(100, 67), size=24).size == (36, 24)  # 35.8
    assert translator.to_b(noise(67, 100), size=24).size == (24, 36)


def test_inputs_are_never_overwritten(
    trained: Path, pictures: Path, tmp_path: Path, diptych: Command
) -> None:
    before = {path: path.read_bytes() for path in pictures.rglob("*.*")}
    done = diptych("translate", trained, pictures, "-o", pictures)
    assert done.returncode == 2
    assert "would lie among the pictures" in done.stderr
    (tmp_path / "link").symlink_to(pictures)
    done = diptych("translate", trained, pictures / "odd.png", "-o", tmp_path / "link")
    assert done.returncode == 2
    (tmp_path / "hard").mkdir()
    os.link(pictures / "odd.png", tmp_path / "hard" / "odd.png")
    done = diptych("translate", trained, pictures, "-o", tmp_path / "hard", "--overwrite")
    assert done.returncode == 2
    assert "is one of the inputs" in done.stderr
    assert {path: path.read_bytes() for path in pictures.rglob("*.*")} == before


def test_one_picture_may_become_a_file_of_any_name(
    trained: Path, pictures: Path, tmp_path: Path, diptych: Command
) -> None:
    for name, format_ in (("zebra.png", "PNG"), ("new/zebra.JPEG", "JPEG"), ("z.tif", "TIFF")):
        done = diptych("translate", trained, pictures / "odd.png", "-o", tmp_path / name)
        assert done.returncode == 0, done.stderr
        with Image.open(tmp_path / name) as picture:
            assert (picture.format, picture.size) == (format_, (50, 37))
    for name in ("zebra.gif", "zebra.heic"):  # and not a folder of that name
        done = diptych("translate", trained, pictures / "odd.png", "-o", tmp_path / name)
        assert done.returncode == 2
        assert f"cannot write {name.split('.')[1]!r}: choose from png, jpg" in done.stderr
        assert not (tmp_path / name).exists()
    (tmp_path / "folder.png").mkdir()
    done = diptych("translate", trained, pictures / "odd.png", "-o", tmp_path / "folder.png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "folder.png" / "odd.png").is_file()


def test_other_files_are_replaced_only_when_asked(
    trained: Path, tmp_path: Path, diptych: Command
) -> None:
    noise(20, 20, 1).save(tmp_path / "horse.bmp")
    (tmp_path / "horse.png").write_bytes(b"something else of mine")
    command = ["translate", trained, tmp_path / "horse.bmp", "-o", tmp_path]
    done = diptych(*command)
    assert done.returncode == 2
    assert "horse.png exists" in done.stderr
    assert (tmp_path / "horse.png").read_bytes() == b"something else of mine"
    kept = diptych(*command, "--skip-existing")
    assert (kept.returncode, kept.stdout.split(":")[0]) == (0, "nothing to do"), kept.stderr
    assert (tmp_path / "horse.png").read_bytes() == b"something else of mine"
    (tmp_path / "horse.png").write_bytes(b"")  # as a power cut leaves what was just written
    assert diptych(*command, "--skip-existing").returncode == 0
    assert Image.open(tmp_path / "horse.png").size == (20, 20)
    assert diptych(*command, "--skip-existing", "--overwrite").returncode == 2
    assert diptych(*command, "--overwrite").returncode == 0
    assert Image.open(tmp_path / "horse.png").size == (20, 20)


@pytest.mark.parametrize(
    ("number", "size", "count"),
    [(signal.SIGINT, 24, 1500), (signal.SIGTERM, 560, 40)],
    ids=["side by side", "one by one"],
)
def test_a_folder_that_was_stopped_goes_on(
    trained: Path, tmp_path: Path, diptych: Command, number: signal.Signals, size: int,
    count: int,
) -> None:  # fmt: skip
    (tmp_path / "in").mkdir()
    noise(size, size).save(tmp_path / "in" / "0000.png")
    for i in range(1, count):
        os.link(tmp_path / "in" / "0000.png", tmp_path / "in" / f"{i:04}.png")
    out = tmp_path / "out"
    process = start("translate", trained, tmp_path / "in", "-o", out)
    while not out.exists() or sum(1 for _ in out.iterdir()) < 5:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.001)
    process.send_signal(number)
    _, err = process.communicate(timeout=LONGEST)
    assert process.returncode == 128 + number, err
    made = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert not [name for name in made if "partial" in name]
    assert 5 <= len(made) < count
    assert err.splitlines()[-1].startswith(f"diptych: stopped: {len(made)} of {count} pictures are")
    done = diptych("translate", trained, tmp_path / "in", "-o", out, "--skip-existing")
    assert done.returncode == 0, done.stderr
    assert f"{count - len(made)} pictures written" in done.stdout
    assert {name: (out / name).stat().st_mtime_ns for name in made} == made
    assert len({path.read_bytes() for path in out.iterdir()}) == 1
    assert len(list(out.iterdir())) == count


def test_what_is_damaged_keeps_no_folder_from_being_finished(
    trained: Path, tmp_path: Path, diptych: Command
) -> None:
    """To skip what exists ends as the first time did."""
    (tmp_path / "in").mkdir()
    noise(20, 20).save(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "bad.png").write_bytes(b"no picture")
    command = ["translate", trained, tmp_path / "in", "-o", tmp_path / "out", "--skip-existing"]
    for said in ("1 picture written to {} (1 skipped)",
                 "0 pictures written to {} (1 skipped, 1 there before)"):  # fmt: skip
        done = diptych(*command)
        assert done.returncode == 0, done.stderr
        assert said.format(tmp_path / "out") in done.stdout
    (tmp_path / "out" / "good.png").unlink()
    (tmp_path / "in" / "good.png").unlink()
    done = diptych(*command)
    assert done.returncode == 1
    assert "1 picture could not be translated: " in done.stderr


def test_what_is_given_twice_is_translated_once(
    trained: Path, tmp_path: Path, diptych: Command
) -> None:
    (tmp_path / "in").mkdir()
    noise(20, 20).save(tmp_path / "in" / "a.png")
    (tmp_path / "link").symlink_to("in")
    twice = [tmp_path / "in" / "a.png", tmp_path / "in", tmp_path / "in" / "a.png"]
    twice += [tmp_path / "link" / "a.png", tmp_path / "link", tmp_path / "link" / ".." / "in"]
    done = diptych("translate", trained, *twice, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


@pytest.mark.parametrize("given", [("-", "-o", "out"), ("a.png", "-o", "-")])
def test_pipes_are_refused(
    trained: Path, tmp_path: Path, diptych: Command, given: tuple[str, ...]
) -> None:
    done = diptych("translate", trained, *given, cwd=tmp_path)
    assert done.returncode == 2
    assert "files, not pipes" in done.stderr
    assert not list(tmp_path.iterdir())


def test_values_beyond_those_of_the_training_are_remarked_on(
    tmp_path: Path, diptych: Command
) -> None:
    for name, most in (("a", 1000), ("b", 900), ("far", 40_000)):
        (tmp_path / name).mkdir()
        for i in range(4):
            values = np.random.default_rng(i).integers(0, most, (32, 32), np.uint16)
            Image.fromarray(values).save(tmp_path / name / f"{i}.png")
    folders, run = (tmp_path / "a", tmp_path / "b"), tmp_path / "run"
    done = diptych("train", *folders, "--run", run, "--depth", "native", *TINY_OPTIONS,
                   "--steps", "1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    usual = diptych("translate", run, tmp_path / "a" / "1.png", "-o", tmp_path / "usual")
    assert "beyond the model" not in usual.stdout
    far = diptych("translate", run, tmp_path / "far", "-o", tmp_path / "out", "--to", "B")
    assert far.returncode == 0, far.stderr
    assert far.stdout.count("beyond the model's 0 to 99") == 1
    assert "the same, about values, of 3 more pictures" in far.stdout
    inside = diptych("translate", run, tmp_path / "far", "-o", tmp_path / "a" / "new")
    assert inside.returncode == 2
    assert "whose pictures" in inside.stderr
    assert not (tmp_path / "a" / "new").exists()
    (run / "data.json").unlink()  # a folder that does not say what it learned from
    done = diptych("translate", run, tmp_path / "far" / "1.png", "-o", tmp_path / "a" / "new")
    assert done.returncode == 0, done.stderr


def test_nearly_black_pictures_are_remarked_on(
    trained: Path, tmp_path: Path, diptych: Command
) -> None:
    """12 bits in files of 16, read by a model of 8: of 255 they reach 15."""
    values = np.random.default_rng(0).integers(0, 4096, (32, 32), np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    noise(32, 32).save(tmp_path / "usual.png")
    Image.new("L", (32, 32), 15).save(tmp_path / "night.png")  # (no bits of it are lost)
    for name, said in (("deep", 1), ("usual", 0), ("night", 0)):
        done = diptych("translate", trained, tmp_path / f"{name}.png", "-o", tmp_path / "out")
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("its values reach only 15 of 255") == said


def test_letters_that_the_terminal_does_not_know(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows what goes to a file or another program is in an encoding of few letters."""
    (tmp_path / "in").mkdir()
    noise(20, 20).save(tmp_path / "in" / "사진.png")
    (tmp_path / "in" / "상한 사진.png").write_text("no picture")
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    done = whole_command("translate", trained, tmp_path / "in", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "\\uc0c1\\ud55c \\uc0ac\\uc9c4.png: not a picture" in done.stdout
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["사진.png"]


def test_of_several_pages_or_frames_the_first_is_translated(
    trained: Path, tmp_path: Path, diptych: Command
) -> None:
    (tmp_path / "in").mkdir()
    pages = [noise(24, 20, seed) for seed in range(3)]
    names = ("pages.tif", "moving.gif", "again.webp", "moving.webp", "one.tif", "one.png")
    for name in names:
        more = [] if name.startswith("one") else pages[1:]
        pages[0].save(tmp_path / "in" / name, save_all=True, append_images=more)
    done = diptych("translate", trained, tmp_path / "in", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    remarks = sorted(line for line in done.stdout.splitlines() if line.startswith("note:"))
    assert [line.removeprefix(f"note: {tmp_path / 'in'}/") for line in remarks] == [
        "again.webp: it moves, and its first picture was translated",
        "moving.gif: it moves, and its first picture was translated: for all of it give an -o that "
        "ends in .mp4",
        "pages.tif: it has several pages, and the first was translated",
        "note: the same, about frames that FFmpeg does not play, of 1 more picture",
    ]


@pytest.mark.parametrize(("name", "most"), [("jpg", 65_500), ("webp", 16_383)])
def test_a_picture_too_long_for_its_format_is_left_out(
    trained: Path, tmp_path: Path, diptych: Command, name: str, most: int
) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (most + 1, 1)).save(tmp_path / "in" / "long.png")
    for good in ("a.png", "z.png"):
        noise(20, 20).save(tmp_path / "in" / good)
    done = diptych(
        "translate", trained, tmp_path / "in", "-o", tmp_path / "out", "--format", name
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"long.png: {name} holds at most {most} pixels a side" in done.stdout
    assert "2 pictures written" in done.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"a.{name}", f"z.{name}"}
    # (It is not even translated: that may take minutes.)
    asked: list[object] = []
    translator = load(trained, "cpu")
    translator.arrays = lambda *given: asked.append(given)
    job = Job(tmp_path / "in" / "long.png", tmp_path / f"long.{name}")
    (outcome,) = translate_files(translator, [job], "b")
    assert outcome.problem is not None
    assert not asked


@pytest.mark.skipif(os.name == "nt", reason="Windows limits no files")
@pytest.mark.parametrize("name", ["png", "jpg", "bmp", "tif", "npy"])
def test_a_full_disk_leaves_what_was_there(trained: Path, tmp_path: Path, name: str) -> None:
    import resource

    noise(200, 200).save(tmp_path / "horse.gif")
    out = tmp_path / "out"
    out.mkdir()
    (out / f"horse.{name}").write_bytes(b"something else of mine")
    limit = 1_000  # bytes a file, as a disk that is full
    done = subprocess.run(
        [sys.executable, "-m", "diptych", "translate", trained, tmp_path / "horse.gif", "-o", out,
         "--format", name, "--overwrite"], capture_output=True, text=True, timeout=LONGEST,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    assert done.stderr.startswith(f"diptych: cannot write {out / f'horse.{name}'}: ")
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in out.iterdir()] == [f"horse.{name}"]
    assert (out / f"horse.{name}").read_bytes() == b"something else of mine"


def test_a_size_beyond_reason_is_refused(
    trained: Path, pictures: Path, tmp_path: Path, diptych: Command
) -> None:
    done = diptych(
        "translate", trained, pictures / "odd.png", "-o", tmp_path / "out", "--size", "14000"
    )  # fmt: skip
    assert done.returncode == 1
    assert "size 14000 makes it 18919 x 14000 pixels, too many" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_values_that_a_model_does_not_take(
    trained: Path, tmp_path: Path, diptych: Command
) -> None:  # fmt: skip
    np.save(tmp_path / "deep.npy", np.zeros((20, 20, 3), np.float32))
    done = diptych("translate", trained, tmp_path / "deep.npy", "-o", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.endswith("deep.npy: it holds float32 values, the model takes uint8\n")


def test_pil_images_are_read_as_files_are(translator: Translator, tmp_path: Path) -> None:
    turned = noise(20, 40).getexif()
    turned[0x0112] = 6
    noise(20, 40).save(tmp_path / "turned.png", exif=turned)
    sixteen = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
    Image.fromarray(sixteen).save(tmp_path / "sixteen.png")
    for name in ("turned.png", "sixteen.png"):
        with Image.open(tmp_path / name) as image:
            by_image = translator.to_b(image)
        assert by_image.tobytes() == translator.to_b(tmp_path / name).tobytes()
    assert translator.to_b(tmp_path / "turned.png").size == (40, 20)


def test_names_that_some_disks_take_for_one(tmp_path: Path) -> None:
    for name in ("Horse.jpg", "horse.png", "caf\u00e9.png", "cafe\u0301.jpg"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).touch()
    targets = [job.target.name for job in plan_folder([tmp_path / "in"], tmp_path / "out", "png")]
    assert len({unicodedata.normalize("NFC", name).lower() for name in targets}) == 4


def test_equal_names_do_not_overwrite_one_another(
    trained: Path, tmp_path: Path, diptych: Command
) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
    noise(20, 20, 1).save(tmp_path / "x" / "one.png")
    noise(20, 20, 2).save(tmp_path / "x" / "one.bmp")
    noise(20, 20, 3).save(tmp_path / "y" / "one.png")
    done = diptych("translate", trained, tmp_path / "x", tmp_path / "y", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")}
    assert written == {"x/one-png.png", "x/one-bmp.png", "y/one.png"}
    (tmp_path / "x" / "same").mkdir()
    (tmp_path / "y" / "same").mkdir()
    for folder in ("x", "y"):
        noise(20, 20, 4).save(tmp_path / folder / "same" / "two.png")
    alike = diptych("translate", trained, tmp_path / "x" / "same", tmp_path / "y" / "same", "-o",
                    tmp_path / "alike")  # fmt: skip
    assert alike.returncode == 0, alike.stderr
    named = {str(path.relative_to(tmp_path / "alike")) for path in tmp_path.glob("alike/**/*.png")}
    assert named == {"x/same/two.png", "y/same/two.png"}
    shutil.rmtree(tmp_path / "y" / "same")
    together = diptych(
        "translate", trained, tmp_path / "x" / "one.png", tmp_path / "y", "-o", tmp_path / "other"
    )
    assert together.returncode == 0, together.stderr
    assert {path.name for path in (tmp_path / "other").iterdir()} == {"one.png", "one-png.png"}


def test_no_picture_takes_the_name_that_another_had_alone(
    trained: Path, tmp_path: Path, diptych: Command
) -> None:
    """Else --skip-existing would take the translation of one for that of the other."""
    (tmp_path / "in").mkdir()
    noise(20, 20, 1).save(tmp_path / "in" / "b.png")
    command = ("translate", trained, tmp_path / "in", "-o", tmp_path / "out", "--skip-existing")
    assert diptych(*command).returncode == 0
    noise(20, 20, 2).save(tmp_path / "in" / "b.bmp")
    assert diptych(*command).returncode == 0
    made = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert set(made) == {"b.png", "b-png.png", "b-bmp.png"}
    assert made["b.png"] == made["b-png.png"] != made["b-bmp.png"]


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_transparency_may_be_the_last_channel(channels: int, dtype: Any, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (20, 30, channels)).astype(dtype)
    stored = PixelFormat(channels, dtype, 0, 255)
    check_format("png", stored)
    for ending in ("png", "tif"):
        path = tmp_path / f"made.{ending}"
        write_picture(path, values)
        read = read_picture(path, DomainConfig(depth="native", channels=channels))
        np.testing.assert_array_equal(read, values)
    if channels == 4 and dtype == "uint8":  # (what Pillow cannot open, few programs can)
        with Image.open(tmp_path / "made.tif") as image:
            np.testing.assert_array_equal(image.convert("RGB"), values[..., :3])


def test_a_gpu_is_given_two_batches_at_once(trained: Path, tmp_path: Path) -> None:
    """A core each, as on a CPU, its memory would have to hold as many times what is planned for."""
    inside, most, lock = 0, 0, threading.Lock()

    def arrays(pictures: Any, *_: Any) -> Any:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.02)
        with lock:
            inside -= 1
        return pictures

    for i in range(24):
        noise(32, 32, i).save(tmp_path / f"{i}.png")
    jobs = plan_folder([tmp_path], tmp_path.parent / f"{tmp_path.name}-out", "png")
    threads = torch.get_num_threads()
    torch.set_num_threads(8)
    try:
        translator = load(trained, "cpu")
        translator.device, translator.arrays = torch.device("cuda"), arrays
        assert all(done.problem is None for done in translate_files(translator, jobs, "b", batch=1))
    finally:
        torch.set_num_threads(threads)
    assert most == 2


def test_pictures_side_by_side_are_those_alone(translator: Translator, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    sizes = [(40, 40), (40, 40), (24, 60), (600, 500), (40, 40)]
    for i, (width, height) in enumerate(sizes):  # one is too large for a core of its own
        noise(width, height, i).save(tmp_path / "in" / f"{i}.png")
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        jobs = plan_folder([tmp_path / "in"], tmp_path / "out", "png")
        outcomes = translate_files(translator, jobs, "b")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert [outcome.job for outcome in outcomes] == jobs
    for job in jobs:
        alone = np.asarray(translator.to_b(job.source)).astype(int)
        assert np.abs(np.asarray(Image.open(job.target)) - alone).max() <= 1  # rounding


def test_a_folder_may_be_called_like_a_picture(translator: Translator, tmp_path: Path) -> None:
    (tmp_path / "in" / "x.png").mkdir(parents=True)
    noise(32, 32, 0).save(tmp_path / "in" / "x.jpg")
    noise(32, 32, 1).save(tmp_path / "in" / "x.png" / "y.jpg")
    outcomes = translate_files(
        translator, plan_folder([tmp_path / "in"], tmp_path / "out", "png"), "b"
    )
    assert all(outcome.problem is None for outcome in outcomes)
    made = {
        path.relative_to(tmp_path / "out").as_posix() for path in find_pictures(tmp_path / "out")
    }
    assert made == {"x-jpg.png", "x.png/y.png"}


def test_a_batch_gives_what_single_pictures_give(translator: Translator) -> None:
    batch = [np.asarray(noise(30, 26, seed)) for seed in range(3)]
    together = translator.arrays(batch, "b")
    for picture, translated in zip(batch, together, strict=True):
        alone = translator.arrays([picture], "b")[0]
        assert np.abs(alone.astype(int) - translated).max() <= 1  # rounding


def test_a_batch_that_is_none_is_refused(translator: Translator) -> None:
    good = np.asarray(noise(30, 26))
    assert translator.arrays([], "b") == []
    assert len(translator.arrays(np.stack([good, good]), "b")) == 2  # type: ignore[arg-type]
    for batch, said in (
        ([good, good[:8]], "2 shapes"),
        ([good / np.float32(255)], "the array is float32"),
        ([good[..., :1]], r"\(H, W, 3\) of uint8"),
        ([good[:0]], "without pixels"),
        ([noise(30, 26)], "an? Image is no NumPy array"),
    ):
        with pytest.raises(UsageError, match=said):
            translator.arrays(batch, "b")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="to 'c'"):
        translator.arrays([good], "c")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="to 'c'"):
        translator.decode(b"", "c")  # type: ignore[arg-type]
    for shape, said in (
        ((1, 4, 8, 8), r"is not \(N, 3, H, W\)"), ((3, 8, 8), "is not"), ((0, 3, 8, 8), "pixels"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=said):
            translator.tensor(torch.zeros(shape), "b")


def test_files_that_cannot_be_read_are_diptychs_errors(
    translator: Translator, tmp_path: Path
) -> None:
    (tmp_path / "x.png").write_bytes(b"no picture")
    for read in (
        lambda: translator.read(tmp_path / "x.png", "b"),
        lambda: translator.decode(b"no picture", "b"),
        lambda: translator.decode(png_of(noise(20, 20)), "b", most_pixels=10),
    ):
        with pytest.raises(DiptychError):
            read()
    (tmp_path / "good.png").write_bytes(png_of(noise(20, 20)))
    with (
        open(tmp_path / "good.png", encoding="latin-1") as text,
        pytest.raises(DiptychError, match="open as text: open it with 'rb'"),
    ):
        translator.to_b(text)
    with pytest.raises(DiptychError, match="closed file"):
        translator.to_b(text)


def test_a_picture_that_vanishes_is_reported(
    translator: Translator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks at it: the others are translated."""
    (tmp_path / "in").mkdir()
    for i in range(3):
        noise(20, 20, i).save(tmp_path / "in" / f"{i}.png")

    def read_and_lose(path: Path, *given: Any) -> Any:
        read = read_file(path, *given)
        if path.name == "1.png":
            path.unlink()
        return read

    monkeypatch.setattr(files, "read_file", read_and_lose)
    jobs = plan_folder([tmp_path / "in"], tmp_path / "out", "png")
    outcomes = translate_files(translator, jobs, "b")
    assert {one.job.source.name: one.problem for one in outcomes} == {
        "0.png": None, "1.png": "no such file", "2.png": None,
    }  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_in_the_place_of_a_translation_stays(
    trained: Path, pictures: Path, tmp_path: Path, diptych: Command
) -> None:
    pipe = tmp_path / "odd.png"
    os.mkfifo(pipe)
    done = diptych("translate", trained, pictures / "odd.png", "-o", pipe, "--overwrite")
    assert done.returncode == 2
    assert f"{pipe} is no file: choose another" in done.stderr
    assert pipe.is_fifo()


def test_a_folder_in_the_place_of_a_translation(
    trained: Path, pictures: Path, tmp_path: Path, diptych: Command
) -> None:
    (tmp_path / "out" / "odd.png").mkdir(parents=True)
    for option in ("--skip-existing", "--overwrite"):
        done = diptych("translate", trained, pictures / "odd.png", "-o", tmp_path / "out", option)
        assert done.returncode == 2
        assert f"{tmp_path / 'out' / 'odd.png'} is a folder: choose another" in done.stderr


def test_odd_sizes_are_padded_by_reflection_and_cropped_back(translator: Translator) -> None:
    x = translator.info.a.to_tensor(np.stack([np.asarray(noise(33, 32))]))
    reflected = torch.nn.functional.pad(x, (0, 3, 0, 0), mode="reflect")
    expected = translator.pair.G_ab(reflected)[..., :33]
    torch.testing.assert_close(translator.tensor(x, "b"), expected)


@settings(max_examples=25, deadline=None)
@given(width=st.integers(1, 70), height=st.integers(1, 70))
def test_every_size_comes_back(translator: Translator, width: int, height: int) -> None:
    assert translator.to_b(noise(width, height)).size == (width, height)


def test_python_gives_back_the_kind_it_was_given(translator: Translator, tmp_path: Path) -> None:
    image = noise(40, 28)
    image.save(tmp_path / "x.png")
    array = np.asarray(image)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1) / 127.5 - 1
    expected = np.asarray(translator.to_b(image))
    path = tmp_path / "x.png"
    content = path.read_bytes()
    for source in (path, str(path), PurePath(path), content, io.BytesIO(content)):
        made = translator.to_b(source)
        assert isinstance(made, Image.Image)
        np.testing.assert_array_equal(np.asarray(made), expected)
    with open(path, "rb") as file, NamedTemporaryFile() as temporary:
        temporary.write(content)
        temporary.seek(0)
        for opened in (file, temporary):
            np.testing.assert_array_equal(np.asarray(translator.to_b(opened)), expected)
    np.testing.assert_array_equal(translator.to_b(array), expected)
    one, many = translator.to_b(tensor), translator.to_b(torch.stack([tensor, tensor]))
    assert one.shape == (3, 28, 40)
    assert many.shape == (2, 3, 28, 40)
    as_pixels = ((one.permute(1, 2, 0) + 1) * 127.5).round().numpy()
    assert np.abs(as_pixels - expected).max() <= 1
    kinds = translator.to_b([image, array, tensor])
    assert [type(kind) for kind in kinds] == [Image.Image, np.ndarray, torch.Tensor]
    assert translator.to_b(array[..., :1].repeat(3, 2)).shape == (28, 40, 3)


def test_tensors_of_a_program_may_be_made_elsewhere(trained: Path) -> None:
    picture = np.asarray(noise(41, 29))
    for tile in ("off", 16):
        expected = load(trained, "cpu", tile=tile).to_b(picture)
        translator = load(trained, "cpu", tile=tile)
        with torch.device("meta"):  # (a GPU, mostly: torch.set_default_device)
            np.testing.assert_array_equal(translator.to_b(picture), expected)
            given = torch.rand(1, 3, 29, 41, device="cpu")
            assert translator.to_b(given).device.type == "cpu"


def test_a_tensor_is_scaled_as_an_array_is(translator: Translator) -> None:
    stripes = np.tile(np.array([[[0], [255]]], np.uint8), (96, 48, 3))
    by_array = translator.to_b(stripes, size=32)
    by_tensor = translator.to_b(RGB.to_tensor(stripes[None]), size=32)
    assert np.abs(RGB.to_pixels(by_tensor)[0].astype(int) - by_array).mean() < 2


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (np.zeros((8, 8), np.uint8), "takes (H, W, 3)"),
        (np.zeros((8, 8, 3)), "float64"),
        (torch.zeros(1, 8, 8), "not (N, 3, H, W)"),
        ("nowhere.png", "no such file"),
        (7, "cannot translate a int"),
        (np.zeros((0, 8, 3), np.uint8), "without pixels"),
        (Image.new("RGB", (8, 0)), "without pixels"),
        (torch.zeros(3, 8, 0), "without pixels"),
        (torch.zeros(0, 3, 8, 8), "without pixels"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "give one of floats in [-1, 1]"),
        (torch.full((3, 8, 8), torch.nan), "the tensor holds NaN or infinity"),
        (255 * torch.ones(3, 8, 8), "values reach from 255 to 255: give pictures in [-1, 1]"),
        (torch.zeros(3, 8, 8, device="meta"), "the tensor has no values, or is sparse"),
        (b"no picture", "cannot read the picture: not a picture"),
        ((n for n in range(3)), "cannot translate a generator"),
        (Image.new("La", (8, 8)), "conversion from La"),
        (Image.new("F", (8, 8)), "values of 32 bits, the model takes uint8"),
    ],
)
def test_python_says_what_it_cannot_take(translator: Translator, picture: Any, reason: str) -> None:
    with pytest.raises(DiptychError) as error:
        translator.to_b(picture)
    assert reason in str(error.value)


def test_of_a_list_it_is_said_which(translator: Translator) -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(UsageError, match=r"pictures\[2\] of the list: cannot translate a NoneType"):
        translator.to_b([picture, picture, None])
    with pytest.raises(DiptychError, match=r"pictures\[1\] of the list: cannot read missing\.png"):
        translator.to_b([picture, "missing.png"])


@pytest.mark.parametrize("picture", [np.zeros((8, 8, 3), np.uint8), torch.zeros(3, 8, 8)])
@pytest.mark.parametrize(("size", "reason"), [
    (0, "size 0: give a number of pixels"), (-3, "size -3: give"), (14_000, "pixels, too many"),
    ("32", "size '32': give a number of pixels"), (10**400, "size 1000"),
])  # fmt: skip
def test_python_refuses_sizes_beyond_reason(
    translator: Translator, picture: Any, size: Any, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        translator.to_b(picture, size=size)


def test_options_in_python_are_checked(trained: Path) -> None:
    assert load(trained, "cpu", tile="128").tile == 128  # type: ignore[arg-type]
    for wrong, reason in [({"tile": 0}, "tile '0': give auto, off"), ({"tile": "x"}, "tile 'x'"),
                          ({"tile": "9" * 5000}, "tile '9999"), ({"see": "9" * 5000}, "see '9999"),
                          ({"precision": "bfloat16"}, "did you mean 'bf16'")]:  # fmt: skip
        with pytest.raises(UsageError, match=reason):
            load(trained, "cpu", **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("tile", ["off", 16])
def test_tensors_may_be_learned_from(trained: Path, tile: Any) -> None:
    y = load(trained, "cpu", tile=tile).to_b(torch.zeros(3, 32, 32))
    torch.nn.Conv2d(3, 1, 3)(y.add_(0.1)).mean().backward()


def test_strips_are_exact_also_where_the_program_computes_in_bf16(trained: Path) -> None:
    one, x = load(trained, "cpu", tile=16), torch.rand(1, 3, 90, 70) * 2 - 1
    expected = one.to_b(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = one.to_b(x)
    assert torch.equal(found, expected)


def test_train_and_load_from_python(towns: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    run = package.train(
        towns / "trainA", towns / "trainB", run=tmp_path / "run", preset="laptop",
        settings={
            "data": {"size": 32}, "generator": {"width": 4, "blocks": 0},
            "discriminator": {"width": 4, "layers": 1},
            "training": {"steps": 3, "samples": 1, "device": "cpu"},
        },
        watch=lambda status: seen.append(status.step),
    )  # fmt: skip
    assert seen == [1, 2, 3]
    assert run.metrics()[-1]["step"] == 3
    picture = noise(48, 32)
    assert run.load("cpu").to_b(picture).tobytes() == (
        package.load(tmp_path / "run", "cpu").to_b(picture).tobytes()
    )
    with pytest.raises(UsageError, match="already holds a run"):
        package.train(towns / "trainA", towns / "trainB", run=tmp_path / "run")


@pytest.mark.skipif(not SHARED.exists(), reason="horse2zebra is not here")
def test_real_photographs_are_translated(trained: Path, tmp_path: Path, diptych: Command) -> None:
    horses = sorted((SHARED / "data" / "horse2zebra" / "testA").iterdir())[:5]
    done = diptych("translate", trained, *horses, "-o", tmp_path, "--size", "64")
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.iterdir())) == 5


def test_bf16_is_a_little_off_and_strips_are_not(trained: Path) -> None:
    exact, quick = load(trained, "cpu"), load(trained, "cpu", precision="bf16")
    strips = load(trained, "cpu", tile=16, precision="bf16")
    pixels = np.asarray(noise(120, 90))
    expected, found, cut = (one.to_b(pixels).astype(int) for one in (exact, quick, strips))
    assert 0 < np.abs(found - expected).mean() < 1  # levels of 255
    assert np.abs(cut - expected).max() <= 1


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="needs the shared reference generator")
def test_bf16_on_photographs(tmp_path: Path, diptych: Command) -> None:
    """A real generator: on the average less than a level of 255 away from float32."""
    weights, model = next(REFERENCE.glob("*.pth")), tmp_path / "h2z.safetensors"
    assert diptych("import", weights, "-o", model).returncode == 0
    photograph, out = REFERENCE / "horse.png", tmp_path / "out"
    done = diptych("translate", model, photograph, "-o", out, "--precision", "bf16")
    assert done.returncode == 0, done.stderr
    found = np.asarray(Image.open(out / "horse.png")).astype(int)
    expected = np.asarray(load(model, "cpu").to_b(photograph))
    assert 0 < np.abs(found - expected).mean() < 1


def test_an_empty_file_is_no_translation_to_skip(tmp_path: Path) -> None:
    """As power cuts leave them."""
    Image.new("RGB", (4, 4)).save(tmp_path / "in.png")
    job = Job(tmp_path / "in.png", tmp_path / "out.png")
    job.target.touch()
    assert left_to_do([job], "skip") == [job]
    job.target.write_bytes(b"something")
    assert left_to_do([job], "skip") == []


def test_tensors_of_another_normalisation_are_refused() -> None:
    for value, taken in ((1.4, True), (2.0, False)):
        x = torch.full((1, 3, 8, 8), value)
        if taken:
            as_batch(x, RGB)
        else:
            with pytest.raises(UsageError):
                as_batch(x, RGB)


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        (RGB, "png"), (PixelFormat(1, "uint8", 0, 255), "png"),
        (PixelFormat(1, "uint16", 0, 65535), "png"), (PixelFormat(3, "uint16", 0, 65535), "png"),
        (PixelFormat(2, "uint8", 0, 255), "tif"), (PixelFormat(5, "uint16", 0, 9), "tif"),
        (PixelFormat(1, "float32", 0, 1), "tif"), (PixelFormat(3, "float32", 0, 1), "tif"),
    ],
)  # fmt: skip
def test_the_usual_format_holds_every_value(stored: PixelFormat, name: str) -> None:
    assert default_format(stored) == name
    check_format(name, stored)


def test_sides_that_formats_hold_are_known_to_the_pixel() -> None:
    for name, most in (("webp", 16_383), ("jpg", 65_500)):
        check_sides(name, 1, most)
        check_sides(name, most, 1)
        for height, width in ((1, most + 1), (most + 1, 1)):
            with pytest.raises(TooLargeError, match=f"at most {most} pixels a side"):
                check_sides(name, height, width)
    check_sides("png", 1, 100_000)
