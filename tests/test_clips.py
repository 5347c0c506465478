"""Videos: made with PyAV, translated by the real command, and played back."""

from __future__ import annotations

import io
import shutil
import signal
import subprocess
import sys
import time
import wave
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from command import LONGEST
from conftest import SHARED, Command, needs_vnni, start
from measured import run_measured
from PIL import Image, ImageCms

from diptych.data.pixels import RGB
from diptych.errors import DiptychError, UsageError
from diptych.host.device import TranslatingPrecision
from diptych.interchange.model import import_model
from diptych.model_file import GeneratorPair, ModelInfo, save_model
from diptych.network_config import GeneratorConfig, Norm
from diptych.networks import make_generator
from diptych.translation.jobs import Job, left_to_do, plan_file
from diptych.translation.translator import Translator, load

av = pytest.importorskip("av")

from make_clip import Picture, read_clip, write_clip  # noqa: E402 (needs av)

from diptych.translation.clip_times import Times  # noqa: E402
from diptych.translation.clips import SOUND_AT_ONCE, Steady, in_batches, translate_clip  # noqa: E402


def moving(count: int, height: int = 48, width: int = 64) -> list[Picture]:
    """Four quarters of different colours; the grey one becomes brighter."""
    pictures = []
    for n in range(count):
        picture = np.zeros((height, width, 3), np.uint8)
        picture[: height // 2, : width // 2] = (200, 30, 30)
        picture[: height // 2, width // 2 :] = (30, 200, 30)
        picture[height // 2 :, : width // 2] = (30, 30, 200)
        picture[height // 2 :, width // 2 :] = 60 + n * 100 // count
        pictures.append(picture)
    return pictures


def bluer(pictures: list[Picture]) -> list[Picture]:
    """What ``translator`` makes of them."""
    return [np.add(p, (0, 0, 51), dtype=int).clip(0, 255).astype(np.uint8) for p in pictures]


def difference(ones: list[Picture], others: list[Picture]) -> float:
    """The mean difference, of 255; videos are compressed."""
    return float(np.mean([np.abs(a.astype(int) - b).mean()
                          for a, b in zip(ones, others, strict=True)]))  # fmt: skip


@pytest.fixture(scope="module")
def translator() -> Translator:
    """One whose result is known: more blue."""
    config = GeneratorConfig(width=2, blocks=1, output="retouch")
    G = make_generator(config, 3, 3).eval()
    for parameter in G.parameters():
        torch.nn.init.zeros_(parameter)
    last = [layer for layer in G.modules() if isinstance(layer, torch.nn.Conv2d)][-1]
    assert last.bias is not None
    last.bias.data[2] = 0.4
    info = ModelInfo(config, RGB, RGB, 32, "crop", "white", 0)
    return Translator(GeneratorPair(G, None, info), torch.device("cpu"))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mov", "clip.mkv", "clip.webm"])
@pytest.mark.parametrize("rotation", [0, 90])
def test_pictures_times_turns_and_sound(
    translator: Translator, tmp_path: Path, name: str, rotation: int
) -> None:
    source, target = tmp_path / name, tmp_path / "out" / name
    webm = name.endswith("webm")
    if rotation and webm:
        pytest.skip("WebM files are not turned")
    write_clip(
        source, moving(14), sound="libopus" if webm else "aac", rotation=rotation,
        codec="libvpx-vp9" if webm else "libx264",
    )  # fmt: skip
    told: list[tuple[int, int | None]] = []
    outcome = translate_clip(
        translator, Job(source, target), "b", batch=4, on_frames=lambda *now: told.append(now)
    )
    assert (outcome.frames, outcome.remark, outcome.stopped) == (14, None, False)
    assert [done for done, _ in told] == [4, 8, 12, 14]
    expected = told[-1][1] or 0
    assert expected == 14 if name in ("clip.mp4", "clip.mov") else 14 <= expected < 18
    times, pictures, sound = read_clip(source)
    assert pictures[0].shape == ((64, 48, 3) if rotation else (48, 64, 3))
    new_times, new_pictures, new_sound = read_clip(target)
    assert new_times == pytest.approx(times, abs=1e-3)
    assert new_sound == sound
    assert len(sound) > 3
    assert difference(new_pictures, bluer(pictures)) < 3
    with av.open(str(target)) as clip:  # nothing is left to turn
        assert next(clip.decode(video=0)).rotation == 0
    assert [path.name for path in target.parent.iterdir()] == [name]


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_every_turn_shows_the_right_corner(
    translator: Translator, tmp_path: Path, rotation: int
) -> None:
    from diptych.translation.clip_reader import Clip, Frame

    write_clip(tmp_path / "in.mp4", moving(3), rotation=rotation)
    clip = Clip(tmp_path / "in.mp4")
    frame = next(part for part in clip.parts() if isinstance(part, Frame))
    clip.close()
    expected = np.rot90(moving(3)[0], rotation // 90)
    assert frame.picture.shape == expected.shape
    assert difference([frame.picture], [expected]) < 6


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "webm"])
@pytest.mark.parametrize("last", [[240, 280], [20_000], [10_000, 10_040, 30_000]])
def test_a_video_that_pauses_near_its_end_is_as_long_as_its_source(
    translator: Translator, tmp_path: Path, ending: str, last: list[int]
) -> None:
    """As recordings of screens do: players stop where a file says that it ends."""
    times = [0, 40, 80, 120, 160, 200, *last]
    source, target = tmp_path / "in.mkv", tmp_path / f"out.{ending}"
    write_clip(source, moving(len(times)), times, Fraction(1, 1000), sound=None)
    translate_clip(translator, Job(source, target), "b")
    with av.open(str(target)) as made:
        assert made.duration / 1e6 == pytest.approx(times[-1] / 1000 + 0.04, abs=0.05)
    shown, _, _ = read_clip(target)
    assert shown == pytest.approx([time / 1000 for time in times], abs=0.01)


def test_frames_of_uneven_length_keep_their_times(translator: Translator, tmp_path: Path) -> None:
    shown = [0, 1, 2, 7, 9, 10, 30, 31]
    write_clip(tmp_path / "in.mp4", moving(8), times=shown, time_base=Fraction(1, 30))
    translate_clip(translator, Job(tmp_path / "in.mp4", tmp_path / "out.mp4"), "b")
    times, _, _ = read_clip(tmp_path / "out.mp4")
    assert times == pytest.approx([n / 30 for n in shown], abs=1e-4)


def test_broadcasts_begin_at_zero(translator: Translator, tmp_path: Path) -> None:
    """Their clocks start anywhere; sound and pictures stay together."""
    write_clip(tmp_path / "in.mpg", moving(12), codec="mpeg2video", sound="mp2")
    with av.open(str(tmp_path / "in.mpg")) as clip:
        start = clip.start_time / 1e6
    assert start > 0.2
    translate_clip(translator, Job(tmp_path / "in.mpg", tmp_path / "out.mkv"), "b")
    times, _, sound = read_clip(tmp_path / "in.mpg")
    new_times, _, new_sound = read_clip(tmp_path / "out.mkv")
    assert new_times == pytest.approx([time - start for time in times], abs=1e-3)
    assert new_sound == sound
    with av.open(str(tmp_path / "out.mkv")) as clip:
        assert abs(clip.start_time) < 5e4


@pytest.mark.parametrize("sound", ["mp2", None])
@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
def test_joined_recordings_go_on(
    translator: Translator, tmp_path: Path, sound: str | None, name: str
) -> None:
    """Clips put together byte by byte: the clock starts anew in the middle."""
    write_clip(tmp_path / "one.ts", moving(25), sound=sound)
    (tmp_path / "in.ts").write_bytes(2 * (tmp_path / "one.ts").read_bytes())
    outcome = translate_clip(translator, Job(tmp_path / "in.ts", tmp_path / name), "b")
    assert (outcome.frames, outcome.remark) == (50, None)
    _, _, one = read_clip(tmp_path / "one.ts")
    times, pictures, packets = read_clip(tmp_path / name)
    steps = np.diff(times)
    assert np.delete(steps, 24) == pytest.approx(1 / 25, abs=2e-3)
    assert 1 / 25 - 2e-3 < steps[24] < 0.2  # (the sound of the first is a little longer)
    assert packets == 2 * one
    assert difference(pictures[25:], pictures[:25]) < 3


def test_a_clock_that_leaps_ahead(translator: Translator, tmp_path: Path) -> None:
    """As where a recording is joined with one of an hour later; elsewhere a pause is a pause."""
    now, later = range(10), range(90_000, 90_010)
    for name, times in (("now.ts", now), ("later.ts", later), ("pause.mkv", [*now, *later])):
        write_clip(tmp_path / name, moving(len(times)), times=times, sound=None)
    joined = [(tmp_path / name).read_bytes() for name in ("now.ts", "later.ts")]
    (tmp_path / "joined.ts").write_bytes(b"".join(joined))
    for name, last in (("joined.ts", 19), ("pause.mkv", 90_009)):
        translate_clip(translator, Job(tmp_path / name, tmp_path / "out" / f"{name}.mkv"), "b")
        times, _, _ = read_clip(tmp_path / "out" / f"{name}.mkv")
        assert len(times) == 20
        assert times[-1] == pytest.approx(last / 25, abs=0.1)


def packet_at(clock: float) -> Any:
    """A second of a stream, decoded at ``clock``."""
    packet = av.Packet(1)
    packet.stream = av.open(io.BytesIO(), "w", "null").add_stream("rawvideo", rate=1)
    packet.time_base = Fraction(1, 1000)
    packet.dts = packet.pts = round(1000 * clock)
    packet.duration = 1000
    return packet


def test_times_that_stumble_are_told_from_those_that_start_anew() -> None:
    """By packets of one stream: (when it is decoded, where it is moved, whether it goes on)."""
    times = Times(Fraction(5), leaps=True)
    for clock, moved, later in [
        (5, 0, True), (6, 1, True), (5.75, 0.75, False), (5.875, 0.875, False), (7, 2, True),
        (0.25, 3, True), (1.25, 4, True), (100, 5, True),
    ]:  # fmt: skip
        packet = packet_at(clock)
        assert times.move(packet) == later
        assert packet.dts == packet.pts == round(1000 * moved)


def test_how_far_a_clock_may_stray() -> None:
    """Half a second back, and ten ahead, where it may leap; else it has started anew."""
    times = Times(Fraction(0), leaps=True)
    for clock, moved in [
        (0, 0), (1, 1), (2, 2), (1.25, 3), (2.25, 4), (13, 14.75), (24.5, 15.75)
    ]:  # fmt: skip
        packet = packet_at(clock)
        times.move(packet)
        assert packet.dts == round(1000 * moved), clock


def test_frames_of_another_size_have_a_batch_of_their_own() -> None:
    from diptych.translation.clip_reader import Frame

    pictures = [*moving(3), *moving(2, height=24), *moving(1)]
    frames = [Frame(picture, n, 1, n / 25) for n, picture in enumerate(pictures)]
    assert [len(some) for some, _ in in_batches(frames, lambda shape: 8)] == [3, 2, 1]
    by_rows = in_batches(frames, lambda shape: 2 if shape[0] == 24 else 1)
    assert [len(some) for some, _ in by_rows] == [1, 1, 1, 2, 1]
    narrower = [Frame(picture[:, :40], 9, 1, 0.4) for picture in moving(1)]
    in_widths = in_batches([*frames[:2], *narrower], lambda shape: 8)
    assert [len(some) for some, _ in in_widths] == [2, 1]


def test_sound_before_the_first_frame_waits_for_it() -> None:
    from diptych.translation.clip_reader import Frame

    frames = [Frame(picture, n, 1, n / 25) for n, picture in enumerate(moving(2))]
    packets: Any = [SimpleNamespace() for _ in range(3 * SOUND_AT_ONCE)]
    batches = list(in_batches([*packets, *frames], lambda shape: 8))
    assert [(len(some), len(sound)) for some, sound in batches] == [(2, len(packets))]


def test_films_lose_little(translator: Translator, tmp_path: Path) -> None:
    """Of noise, which compression takes away first."""
    rng = np.random.default_rng(0)
    noisy = [rng.integers(90, 130, (48, 64, 1)).astype(np.uint8).repeat(3, 2) for _ in range(8)]
    write_clip(tmp_path / "in.mkv", noisy, codec="ffv1", pix_fmt="bgr0", sound=None)
    translate_clip(translator, Job(tmp_path / "in.mkv", tmp_path / "out.mp4"), "b")
    _, pictures, _ = read_clip(tmp_path / "out.mp4")
    assert difference(pictures, bluer(noisy)) < 4


def test_sound_of_an_unknown_kind_is_left_out(translator: Translator, tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mp4", moving(4))
    content = (tmp_path / "in.mp4").read_bytes()
    entry = content.index(b"mp4a", content.index(b"stsd", content.index(b"soun")))
    content = content[:entry] + b"apac" + content[entry + 4 :]
    settings = content.index(b"esds", entry)
    (tmp_path / "in.mp4").write_bytes(content[:settings] + b"free" + content[settings + 4 :])
    outcome = translate_clip(translator, Job(tmp_path / "in.mp4", tmp_path / "out.mp4"), "b")
    assert outcome.frames == 4
    assert "sound of a kind that is not known" in (outcome.remark or "")
    assert read_clip(tmp_path / "out.mp4")[2] == []


@pytest.mark.parametrize("rotation", [0, 90])
def test_pixels_that_are_not_square_stay_so(
    translator: Translator, tmp_path: Path, rotation: int
) -> None:
    wide = Fraction(64, 45)
    write_clip(tmp_path / "in.mp4", moving(3), rotation=rotation, pixel_aspect=wide)
    translate_clip(translator, Job(tmp_path / "in.mp4", tmp_path / "out.mp4"), "b")
    with av.open(str(tmp_path / "out.mp4")) as clip:
        assert clip.streams.video[0].sample_aspect_ratio == (1 / wide if rotation else wide)


def test_the_background_shows_through(translator: Translator, tmp_path: Path) -> None:
    alpha = np.full((48, 64, 1), 255, np.uint8)
    alpha[:24] = 0
    frames = [Image.fromarray(np.concatenate([picture, alpha], 2)) for picture in moving(4)]
    frames[0].save(tmp_path / "in.png", save_all=True, append_images=frames[1:], duration=100)
    translate_clip(translator, Job(tmp_path / "in.png", tmp_path / "out.mp4"), "b")
    _, pictures, _ = read_clip(tmp_path / "out.mp4")
    assert np.stack(pictures)[:, :20].mean() > 250
    assert difference([p[28:] for p in pictures], [p[28:] for p in bluer(moving(4))]) < 6


def test_odd_sizes_get_one_more_row_and_column(translator: Translator, tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mkv", moving(5, 37, 51), codec="ffv1", pix_fmt="bgr0", sound=None)
    translate_clip(translator, Job(tmp_path / "in.mkv", tmp_path / "out.mp4"), "b")
    _, pictures, _ = read_clip(tmp_path / "out.mp4")
    assert pictures[0].shape == (38, 52, 3)
    expected = [np.pad(p, ((0, 1), (0, 1), (0, 0)), "edge") for p in bluer(moving(5, 37, 51))]
    assert difference(pictures, expected) < 5


def test_colours_do_not_drift(translator: Translator, tmp_path: Path) -> None:
    """A video that was translated says how its colours are coded, and is read by that."""
    picture = np.full((48, 64, 3), (180, 60, 40), np.uint8)
    write_clip(tmp_path / "in.mkv", [picture] * 3, codec="ffv1", pix_fmt="bgr0", sound=None)
    for source, target in (("in.mkv", "one.mp4"), ("one.mp4", "two.mp4")):
        translate_clip(translator, Job(tmp_path / source, tmp_path / target), "b")
    _, pictures, _ = read_clip(tmp_path / "two.mp4")
    (expected,) = bluer(bluer([picture]))
    assert np.abs(pictures[1].astype(int) - expected).max() <= 3


@pytest.mark.parametrize(("height", "coded"), [(720, "ITU709"), (480, "ITU601")])
def test_colours_that_a_file_says_nothing_about_are_those_of_its_size(
    height: int, coded: str
) -> None:
    from diptych.translation.clip_reader import UNKNOWN_COLOURS, upright

    picture = np.full((height, 64, 3), (180, 60, 40), np.uint8)
    frame = av.VideoFrame.from_ndarray(picture, "rgb24")
    frame = frame.reformat(format="yuv420p", dst_colorspace=coded)
    frame.colorspace = UNKNOWN_COLOURS
    assert np.abs(upright(frame, "white").astype(int) - picture).max() <= 3


def test_folders_hold_pictures_and_videos(trained: Path, tmp_path: Path, diptych: Command) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "deep").mkdir(parents=True)
    write_clip(folder / "one.mp4", moving(4))
    write_clip(folder / "deep" / "two.avi", moving(4), sound="pcm_s16le", codec="mpeg4")
    (folder / "broken.mov").write_bytes(b"no video at all")
    Image.fromarray(moving(1)[0]).save(folder / "three.png")
    done = diptych("translate", trained, folder, "-o", out, "--size", "32")
    assert done.returncode == 0, done.stderr
    assert "broken.mov: invalid data" in done.stdout
    assert "1 picture and 2 videos written" in done.stdout
    assert "(1 skipped)" in done.stdout
    written = {str(path.relative_to(out)) for path in out.rglob("*.*")}
    assert written == {"one.mp4", "deep/two.mkv", "three.png"}
    _, pictures, sound = read_clip(out / "deep" / "two.mkv")
    assert pictures[0].shape == (32, 44, 3)  # 42.7 pixels, and even
    assert sound == read_clip(folder / "deep" / "two.avi")[2]
    (folder / "one.mp4").unlink()
    shutil.rmtree(folder / "deep")
    fewer = diptych("translate", trained, folder, "-o", tmp_path / "fewer")
    assert fewer.returncode == 0, fewer.stderr  # the only video is bad, but the picture is there
    assert "1 picture and 0 videos written" in fewer.stdout
    again = diptych("translate", trained, folder, "-o", out)
    assert again.returncode == 2
    assert "exists: choose another output folder, --overwrite or --skip-ex" in again.stderr


def test_names_that_look_like_protocols(
    translator: Translator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg would take what is before a colon for one."""
    write_clip(tmp_path / "12-30.mp4", moving(3))
    (tmp_path / "12-30.mp4").rename(tmp_path / "12:30.mp4")
    monkeypatch.chdir(tmp_path)
    translate_clip(translator, Job(Path("12:30.mp4"), Path("take:2/a.mp4")), "b")
    assert len(read_clip(tmp_path / "take:2" / "a.mp4")[1]) == 3


def test_animated_gifs_can_become_videos(trained: Path, tmp_path: Path, diptych: Command) -> None:
    frames = [Image.fromarray(picture) for picture in moving(6)]
    frames[0].save(
        tmp_path / "in.gif", save_all=True, append_images=frames[1:],
        duration=[100, 50, 200, 100, 50, 1000],
    )  # fmt: skip
    done = diptych("translate", trained, tmp_path / "in.gif", "-o", tmp_path / "out.mp4")
    assert done.returncode == 0, done.stderr
    times, pictures, _ = read_clip(tmp_path / "out.mp4")
    assert times == pytest.approx([0, 0.1, 0.15, 0.35, 0.45, 0.5])
    assert pictures[0].shape == (48, 64, 3)
    done = diptych("translate", trained, tmp_path / "in.gif", "-o", tmp_path / "out")
    assert f"{tmp_path / 'in.gif'}: it moves, and its first picture was translated" in done.stdout
    with Image.open(tmp_path / "out" / "in.png") as first:
        assert first.size == (64, 48)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "webm"])
def test_the_last_picture_stays_as_long_as_it_did(
    translator: Translator, tmp_path: Path, ending: str
) -> None:
    frames = [Image.fromarray(picture) for picture in moving(4)]
    frames[0].save(
        tmp_path / "in.gif", save_all=True, append_images=frames[1:], duration=[500] * 3 + [3000]
    )
    translate_clip(translator, Job(tmp_path / "in.gif", tmp_path / f"out.{ending}"), "b")
    with av.open(str(tmp_path / f"out.{ending}")) as made:
        assert (made.duration or 0) / 1e6 == pytest.approx(4.5, abs=0.01)


def test_ctrl_c_leaves_a_film_that_plays(trained: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 50, (160, 160, 3), dtype=np.uint8)
    pictures = [picture + np.roll(noise, n) for n, picture in enumerate(moving(400, 160, 160))]
    write_clip(tmp_path / "in.mp4", pictures)
    out = tmp_path / "out"
    process = start(
        "translate", trained, tmp_path / "in.mp4", "-o", out / "film.mp4", "--batch", "2"
    )
    while not any(path.stat().st_size > 5_000 for path in out.glob(".*")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=LONGEST)
    assert process.returncode == 130
    assert "stopped after" in err
    assert f"are in {out / 'film-begun.mp4'}" in err
    assert len(err.splitlines()) == 1
    assert [path.name for path in out.iterdir()] == ["film-begun.mp4"]
    times, played, sound = read_clip(out / "film-begun.mp4")
    count = int(err.split("stopped after ")[1].split()[0])
    assert 2 <= count < 400
    assert len(played) == len(times) == count
    assert sound


def test_the_first_part_takes_nobodys_place(translator: Translator, tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mp4", moving(6))
    long = tmp_path / f"{'é' * 125}.mp4"  # as long as disks allow
    for target, expected in ((tmp_path / "film.mp4", "film-begun-2.mp4"), (long, None)):
        (tmp_path / "film-begun.mp4").write_bytes(b"another translation")
        job = Job(tmp_path / "in.mp4", target)
        outcome = translate_clip(translator, job, "b", batch=1, stop=lambda: True)
        assert outcome.stopped
        assert len(read_clip(outcome.target)[0]) == outcome.frames
        assert not target.exists()
        assert expected in (outcome.target.name, None)
        assert (tmp_path / "film-begun.mp4").read_bytes() == b"another translation"


def test_damaged_videos(translator: Translator, tmp_path: Path) -> None:
    """What can be decoded is translated, and what was wrong is said."""
    write_clip(tmp_path / "whole.mkv", moving(60, 96, 96))
    whole = (tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) * 2 // 3])
    outcome = translate_clip(translator, Job(tmp_path / "cut.mkv", tmp_path / "x.mkv"), "b")
    assert 1 <= outcome.frames < 60
    assert len(read_clip(tmp_path / "x.mkv")[0]) == outcome.frames
    assert outcome.remark is not None
    assert "cut short" in outcome.remark or "damaged" in outcome.remark
    write_clip(tmp_path / "whole.mp4", moving(60, 96, 96))
    whole = (tmp_path / "whole.mp4").read_bytes()
    # (An MP4 file has its table of contents at the end.)
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(DiptychError, match=r"cannot read .*cut\.mp4: invalid data"):
        translate_clip(translator, Job(tmp_path / "cut.mp4", tmp_path / "y.mp4"), "b")
    hole = bytearray(whole)
    begin = whole.index(b"mdat") + 2000
    hole[begin : begin + 800] = bytes(800)
    (tmp_path / "hole.mp4").write_bytes(hole)
    translate_clip(translator, Job(tmp_path / "hole.mp4", tmp_path / "z.mp4"), "b")
    assert len(read_clip(tmp_path / "z.mp4")[0]) > 10
    assert not list(tmp_path.glob(".*"))


def test_what_cannot_be_done_is_said_in_one_line(
    translator: Translator, trained: Path, tmp_path: Path, diptych: Command
) -> None:
    write_clip(tmp_path / "in.avi", moving(3), sound="pcm_s16le", codec="mpeg4")
    write_clip(tmp_path / "in.mp4", moving(3))
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "there.mp4").write_bytes(b"mine")
    with wave.open(str(tmp_path / "sound.mp4"), "w") as only_sound:  # (a wrong ending, too)
        only_sound.setparams((1, 2, 16000, 0, "NONE", ""))
        only_sound.writeframes(bytes(16000))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    cases = [
        ("in.avi", "out.webm", 1, "webm cannot hold the sound of"),
        ("in.mp4", "out.avi", 2, "choose from .mp4, .m4v, .mov, .mkv, .webm"),
        ("in.mp4", "out.png", 2, "cannot write a video as"),
        ("in.mp4", "there.mp4", 2, "exists: choose"),
        ("in.mp4", "in.mp4", 2, "is one of the inputs"),
        ("in.mp4", "text.mp4/out.mp4", 1, "cannot make the folder"),
        ("in.mp4", f"{'n' * 300}.mp4", 1, "n.mp4: File name too long"),
        ("text.mp4", "out.mp4", 1, "cannot read"),
        ("nowhere.mp4", "out.mp4", 1, "there is no file"),
        ("sound.mp4", "out.mp4", 1, "holds no video"),
    ]

    def translate(source: Path, target: Path) -> None:
        translate_clip(translator, *left_to_do(plan_file([source], target, RGB), "refuse"), to="b")

    for source, target, code, words in cases:
        with pytest.raises(DiptychError) as error:
            translate(tmp_path / source, tmp_path / target)
        assert error.value.exit_code == code
        assert words in str(error.value)
    done = diptych("translate", trained, tmp_path / "text.mp4", "-o", tmp_path / "out.mp4")
    assert done.returncode == 1
    assert done.stderr.startswith(f"diptych: cannot read {tmp_path / 'text.mp4'}: invalid data")
    assert len(done.stderr.splitlines()) == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_the_sound_is_not_blamed_for_the_disk(translator: Translator, tmp_path: Path) -> None:
    from diptych.translation.clip_reader import Clip
    from diptych.translation.clip_writer import ClipFile

    write_clip(tmp_path / "in.mp4", moving(2))
    (tmp_path / "full.mp4").symlink_to("/dev/full")
    clip = Clip(tmp_path / "in.mp4")
    with pytest.raises(DiptychError, match=r"cannot write out\.mp4: no space left on device"):
        ClipFile(tmp_path / "full.mp4", Path("out.mp4"), clip, 64, 48)
    clip.close()
    with pytest.raises(DiptychError, match=r"cannot write /proc/out\.mp4: No such file"):
        translate_clip(translator, Job(tmp_path / "in.mp4", Path("/proc/out.mp4")), "b")


@pytest.mark.parametrize(("options", "words"), [
    (["--size", "14000"], "size 14000 makes it 18667 x 14000 pixels, too many"),
    (["--smooth", "1", "--tile", "16"], "--smooth takes frames whole: go without --tile"),
])  # fmt: skip
def test_options_that_frames_do_not_bear(
    trained: Path, tmp_path: Path, diptych: Command, options: list[str], words: str
) -> None:
    write_clip(tmp_path / "in.mp4", moving(2))
    done = diptych("translate", trained, tmp_path / "in.mp4", "-o", tmp_path / "x.mp4", *options)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_models_for_other_than_8_bits(tmp_path: Path) -> None:
    config = GeneratorConfig(width=2, blocks=0)
    deep = RGB.__class__(1, "uint16", 0, 65535)
    info = ModelInfo(config, deep, deep, 32, "crop", "white", 0)
    translator = Translator(
        GeneratorPair(make_generator(config, 1, 1), None, info), torch.device("cpu")
    )
    with pytest.raises(UsageError, match="videos have 3 channels of 8 bits"):
        translate_clip(translator, Job(tmp_path / "in.mp4", tmp_path / "out.mp4"), "b")


def test_without_pyav_one_line_says_what_to_install(trained: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "in.mp4", moving(2))
    without = "import sys; sys.modules['av'] = None; from diptych.cli.main import main; main()"

    def translate(*inputs: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", without, "translate", trained, *inputs, "-o", tmp_path / "out"],
            capture_output=True, text=True, timeout=LONGEST,
        )  # fmt: skip

    done = translate(tmp_path / "in.mp4")
    assert done.returncode == 1
    assert done.stderr == (
        'diptych: videos need PyAV: in the checkout of diptych, pip install -e ".[video]"\n'
    )
    Image.fromarray(moving(1)[0]).save(tmp_path / "still.png")  # as phones lay them side by side
    done = translate(tmp_path / "in.mp4", tmp_path / "still.png")
    assert done.returncode == 0, done.stderr
    assert "skipped 1 video: videos need PyAV" in done.stdout
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["still.png"]


def test_smoothing_with_no_past_is_no_smoothing(trained: Path) -> None:
    from diptych.translation.clip_reader import Frame

    translator = load(trained, "cpu")
    pictures = moving(6)
    frames = [Frame(picture, n, 1, n / 25) for n, picture in enumerate(pictures)]
    nearly_none = Steady(translator, "b", 1e-6)
    smoothed = nearly_none.arrays(pictures[:4], frames[:4])
    smoothed += nearly_none.arrays(pictures[4:], frames[4:])
    alone = [translator.arrays([picture], "b")[0] for picture in pictures]
    for one, other in zip(smoothed, alone, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1


@pytest.mark.parametrize("precision", ["bf16", pytest.param("int8", marks=needs_vnni)])
def test_smoothed_frames_are_computed_as_precisely_as_asked(
    trained: Path, precision: TranslatingPrecision
) -> None:
    from diptych.translation.clip_reader import Frame

    pictures = moving(4)
    frames = [Frame(picture, n, 1, n / 25) for n, picture in enumerate(pictures)]
    exact, quick = (
        np.stack(Steady(load(trained, "cpu", precision=one), "b", 0.1).arrays(pictures, frames))
        for one in ("float32", precision)
    )
    assert 0 < np.abs(exact.astype(int) - quick).mean() < 1  # levels of 255


@pytest.mark.parametrize("norm", ["instance", "pixel"])
def test_smoothing_says_where_it_does_nothing(tmp_path: Path, diptych: Command, norm: Norm) -> None:
    config = GeneratorConfig(width=2, blocks=1, norm=norm)
    G = make_generator(config, 3, 3)
    info = ModelInfo(config, RGB, RGB, 32, "crop", "white", 0)
    save_model(tmp_path / "model.safetensors", GeneratorPair(G, None, info))
    write_clip(tmp_path / "in.mp4", moving(2), sound=None)
    done = diptych("translate", tmp_path / "model.safetensors", tmp_path / "in.mp4",
                   "-o", tmp_path / "out.mp4", "--smooth", "1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert ("--smooth changes nothing" in done.stdout + done.stderr) == (norm == "pixel")


def test_smoothing_follows_the_formula() -> None:
    """m(t) = s m(t-1) + (1 - s) m, s = 2 ** (-dt / half life), over batches and uneven times."""
    from diptych.translation.smooth import Past, SmoothedNorm

    past = Past()
    torch.manual_seed(0)
    for plain in (torch.nn.InstanceNorm2d(4), torch.nn.GroupNorm(2, 4)):
        layer = SmoothedNorm(plain, past)
        x = torch.randn(3, 4, 6, 5) * torch.tensor([1.0, 2.0, 3.0])[:, None, None, None] + 1
        past.shares = [0.9]
        first = layer(x[:1])
        torch.testing.assert_close(first, plain(x[:1]))  # nothing before it
        past.shares = [0.5, 0.25]
        rest = layer(x[1:])
        groups = x.view(3, 2 if isinstance(plain, torch.nn.GroupNorm) else 4, -1)
        mean, variance = groups[0].mean(1), groups[0].var(1, correction=0)
        for n, share in ((1, 0.5), (2, 0.25)):
            mean = share * mean + (1 - share) * groups[n].mean(1)
            variance = share * variance + (1 - share) * groups[n].var(1, correction=0)
            expected = (groups[n] - mean[:, None]) / (variance[:, None] + 1e-5).sqrt()
            torch.testing.assert_close(rest[n - 1], expected.view(4, 6, 5))


def test_smoothing_keeps_the_scale_and_shift_of_group_norm() -> None:
    from diptych.translation.smooth import Past, SmoothedNorm

    torch.manual_seed(0)
    plain = torch.nn.GroupNorm(2, 4)
    torch.nn.init.uniform_(plain.weight, 0.5, 1.5)
    torch.nn.init.normal_(plain.bias)
    x = torch.randn(2, 4, 6, 5)
    torch.testing.assert_close(SmoothedNorm(plain, Past([0.0, 0.0]))(x), plain(x))


def flicker(pictures: list[Picture]) -> float:
    """Mean change of the whole picture's colour from one frame to the next."""
    means = np.array([picture.mean((0, 1)) for picture in pictures])
    return float(np.abs(np.diff(means, axis=0)).mean())


@pytest.mark.skipif(not SHARED.exists(), reason="horse2zebra is not here")
def test_smoothing_takes_flicker_out_and_ends_at_cuts(tmp_path: Path) -> None:
    """A trained model, horses to zebras, and a camera that comes closer."""
    horses = sorted((SHARED / "data" / "horse2zebra" / "testA").iterdir())[3:5]
    noise = np.random.default_rng(0)
    scenes = []
    for horse in horses:
        with Image.open(horse) as picture:
            still = picture.convert("RGB").resize((256, 256))
        for n in range(20):  # slowly closer, with noise
            box = (n / 2, n / 2, 224 - n, 224 - n)
            view = still.transform(
                (128, 128), Image.Transform.EXTENT, box, Image.Resampling.BICUBIC
            )
            noisy = np.asarray(view, np.float32) + noise.normal(0, 6, (128, 128, 3))
            scenes.append(noisy.round().clip(0, 255).astype(np.uint8))
    write_clip(tmp_path / "in.mp4", scenes, sound=None)
    weights = SHARED / "reference" / "gan_compression_horse2zebra" / "latest_net_G.pth"
    translator = Translator(import_model([weights]), torch.device("cpu"))
    films = {}
    for half_life in (0.0, 1.0):
        target = tmp_path / f"{half_life}.mp4"
        translate_clip(translator, Job(tmp_path / "in.mp4", target), "b", half_life=half_life)
        films[half_life] = read_clip(target)[1]
    plain, smooth = films[0.0], films[1.0]
    changes = [flicker(film[:20]) + flicker(film[20:]) for film in (plain, smooth)]
    assert changes[1] < 0.6 * changes[0]
    # The first frame behind a cut has no past: it is translated as a picture is.
    assert difference(smooth[20:21], plain[20:21]) < 3


@pytest.mark.slow
def test_memory_does_not_grow_with_length(trained: Path, tmp_path: Path) -> None:
    peaks = []
    for count in (100, 1500):
        write_clip(tmp_path / f"{count}.mp4", moving(count, 160, 160))
        code, _, err, peak = run_measured(
            "translate", trained, tmp_path / f"{count}.mp4",
            "-o", tmp_path / f"out-{count}.mp4", "--smooth", "0.5",
        )  # fmt: skip
        assert code == 0, err
        peaks.append(peak)
    # (The 1,400 frames more are 107 MB, a third of what the process takes.)
    assert peaks[1] < 1.15 * peaks[0]


@pytest.mark.parametrize("kind", ["profile", "exif"])
def test_what_else_a_frame_carries_does_no_harm(
    translator: Translator, tmp_path: Path, kind: str
) -> None:
    """PyAV 18 raises at EXIF blocks of frames, and colour profiles of PNG end it later on."""
    first, *others = (Image.fromarray(picture) for picture in moving(3))
    source = tmp_path / ("in.png" if kind == "profile" else "in.jpg")
    if kind == "profile":
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        first.save(source, save_all=True, append_images=others, icc_profile=profile)
    else:
        exif = Image.Exif()
        exif[0x010F] = "maker"
        first.save(source, exif=exif)
    ask = (
        "import gc, sys; from pathlib import Path\n"
        "from diptych.translation.clip_reader import Clip\n"
        "clip = Clip(Path(sys.argv[1]))\n"
        "print(*(part.picture.shape for part in clip.parts())); clip.close(); gc.collect()"
    )
    done = subprocess.run(
        [sys.executable, "-c", ask, source], capture_output=True, text=True, timeout=LONGEST
    )
    assert done.returncode == 0, done.stderr
    assert "(48, 64, 3)" in done.stdout
