"""``diptych data check``: planted problems are named and nothing else; it agrees with training."""

from __future__ import annotations

import json
import shlex
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY_OPTIONS, Command
from PIL import Image

from diptych.data.alike import Look, alike_pairs, groups, look_of
from diptych.data.cache_folder import open_cache
from diptych.data.check import Check, check
from diptych.data.domain import Folders, data_folders, open_domains
from diptych.data.folder import find_pictures
from diptych.errors import DiptychError
from diptych.settings import build_config

SIZE = ["--size", "32"]


def picture(seed: int, size: int = 64) -> Image.Image:
    """Soft shapes with some grain, different for every seed."""
    rng = np.random.default_rng(seed)
    soft = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    grain = rng.integers(-9, 10, (size, size, 1))
    shapes = np.asarray(soft.resize((size, size), Image.Resampling.BICUBIC))
    return Image.fromarray((shapes + grain).clip(0, 255).astype(np.uint8))


def write(folder: Path, seeds: range) -> None:
    folder.mkdir(parents=True)
    for seed in seeds:
        picture(seed).save(folder / f"{seed}.png")


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """trainA, trainB with 24 pictures each, testA, testB with 8: nothing is wrong with them."""
    for part, seeds in (("trainA", range(24)), ("trainB", range(100, 124)),
                        ("testA", range(200, 208)), ("testB", range(300, 308))):  # fmt: skip
        write(tmp_path / "data" / part, seeds)
    return tmp_path / "data"


def settings(**data: Any) -> Any:
    return build_config({"data": {"size": 32, **data}})


def found_in(root: Path) -> dict[str, list[list[str]]]:
    """The findings by kind, files below ``root``."""
    return named(check(data_folders(root), settings()), root)


def named(found: Check, root: Path) -> dict[str, list[list[str]]]:
    return {
        finding.kind: [[str(Path(f).relative_to(root)) for f in case.files] for case in
                       finding.cases]
        for finding in found.findings
    }  # fmt: skip


def test_nothing_is_said_against_good_folders(clean: Path, diptych: Command) -> None:
    assert found_in(clean) == {}
    done = diptych("data", "check", "--data", clean, *SIZE)
    assert done.returncode == 0, done.stderr
    assert f"A: 24 pictures in {clean}/trainA: PNG; RGB; 64 x 64" in done.stdout
    assert f"test B: 8 pictures in {clean}/testB: PNG; RGB; 64 x 64" in done.stdout
    assert "A: 24 to learn from, 8 held out, 0 left out" in done.stdout
    assert f"usable; next: diptych train --data {clean} --size 32 --run" in done.stdout
    assert len(done.stdout.splitlines()) < 15


def test_the_training_it_suggests_is_the_one_it_checked(clean: Path, diptych: Command) -> None:
    (clean / "trainA").rename(clean / "my horses")
    (clean / "config.yaml").write_text("data: {strict: true}")
    given = ["my horses", "trainB", "--preset", "repaint", "--config", "config.yaml",
             "--method", "cut", "--size", "64", "--preprocess", "crop", "--batch", "2",
             "--channels", "1", "--depth", "native", "--range-a", "0,255", "--range-b", "-9,255",
             "--background", "#fff", "--strict", "--set", "data.flip=false"]  # fmt: skip
    done = diptych("data", "check", *given, cwd=clean)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "next: diptych train " in line]
    words = shlex.split(line.split("next: diptych train ")[1])
    assert words == [*given, "--run", "runs/NAME"]


@pytest.mark.parametrize("option", ["--size", "--channels"])
def test_nothing_is_no_size(clean: Path, diptych: Command, option: str) -> None:
    done = diptych("data", "check", "--data", clean, option, "0")
    assert done.returncode == 2
    assert "0" in done.stderr


def plant(root: Path) -> dict[str, list[list[str]]]:
    """Put every kind of problem into good folders; what must be found."""
    a, b = root / "trainA", root / "trainB"
    (a / "cut.png").write_bytes((a / "0.png").read_bytes()[:2000])
    (root / "testB" / "empty.png").write_bytes(b"")
    shutil.copy(a / "1.png", a / "twin.png")
    picture(102).save(b / "again.jpg", quality=70)
    picture(103).resize((48, 48)).save(b / "smaller.webp", quality=80)
    shutil.copy(a / "3.png", root / "testA" / "leak.png")
    picture(104).save(root / "testB" / "near-leak.jpg", quality=80)
    shutil.copy(a / "5.png", b / "lost.png")
    picture(106).save(root / "testA" / "lost-too.jpg", quality=85)
    Image.new("RGB", (64, 64), (90, 90, 90)).save(a / "flat.png")
    Image.new("RGB", (64, 64), (10, 200, 90)).save(a / "flat-2.png")  # not a copy of the other
    picture(400, 15).save(b / "tiny.png")
    picture(401, 200).crop((0, 0, 200, 4)).save(b / "thread.png")
    return {
        "damaged": [["trainA/cut.png"], ["testB/empty.png"]],
        "in both domains": [["trainA/5.png", "trainB/lost.png"],
                            ["trainB/106.png", "testA/lost-too.jpg"]],
        "trained and held out": [["trainA/3.png", "testA/leak.png"],
                                 ["trainB/104.png", "testB/near-leak.jpg"]],
        "duplicates": [["trainA/1.png", "trainA/twin.png"], ["trainB/102.png", "trainB/again.jpg"],
                       ["trainB/103.png", "trainB/smaller.webp"]],
        "nearly constant": [["trainA/flat-2.png"], ["trainA/flat.png"]],
        "tiny": [["trainB/tiny.png"]],
        "long and thin": [["trainB/thread.png"]],
    }  # fmt: skip


def test_planted_problems_are_named_and_nothing_else(clean: Path, diptych: Command) -> None:
    planted = plant(clean)
    done = diptych("data", "check", "--data", clean, "--json", *SIZE)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    report = json.loads(done.stdout)
    found = {
        finding["kind"]: [[str(Path(file).relative_to(clean)) for file in case["files"]]
                          for case in finding["cases"]]
        for finding in report["findings"]
    }  # fmt: skip
    assert found == planted
    about = {
        str(Path(case["files"][-1]).name): case["about"]
        for finding in report["findings"]
        for case in finding["cases"]
    }
    assert about["twin.png"] == about["leak.png"] == "the same file"
    assert about["again.jpg"] == about["near-leak.jpg"] == "nearly the same picture"
    assert about["empty.png"] == "it is empty"
    assert about["tiny.png"] == "15 x 15"
    a, b, test_a, _ = report["parts"]
    assert (a["files"], a["readable"]) == (28, 27)
    assert b["formats"] == {"PNG": 27, "JPEG": 1, "WEBP": 1}
    assert test_a["sizes"] == {"64 x 64": 10}
    assert b["sizes"] == {"64 x 64": 26, "48 x 48": 1, "15 x 15": 1, "200 x 4": 1}
    assert report["usable"] is True
    assert report["refused"] is None
    assert [(p["name"], p["train"], p["held_out"], p["left_out"]) for p in report["plans"]] == [
        ("A", 27, 10, 1), ("B", 29, 9, 1),
    ]  # fmt: skip

    shown = diptych("data", "check", "--data", clean, *SIZE)
    assert shown.returncode == 0
    for kind, cases in planted.items():
        assert f"{kind} ({len(cases)}): " in shown.stdout
        for case in cases:
            assert " = ".join(str(clean / name) for name in case) in shown.stdout


def test_imbalance(clean: Path) -> None:
    write(clean / "more", range(1000, 1076))
    for path in (clean / "more").iterdir():
        path.rename(clean / "trainA" / path.name)
    (imbalance,) = check(data_folders(clean), settings()).findings
    assert imbalance.kind == "imbalance"
    assert imbalance.cases[0].about == "24 and 100 pictures to learn from"


def test_what_is_passed_over_and_too_few_to_score_is_said(clean: Path, diptych: Command) -> None:
    for name in ("walk.mp4", "IM0001", "IM0002", ".hidden", "a.txt", "b.zip"):
        (clean / "trainA" / name).write_bytes(b"x")
    for name in ("204", "205", "206", "207", "200"):
        (clean / "testA" / f"{name}.png").unlink()
    done = diptych("data", "check", "--data", clean, *SIZE)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("A: 24 pictures")]
    assert line.endswith("(passed over: 2 without an ending, 1 .mp4, 1 .txt, 1 others)")
    assert "few held out (1): scores need at least 8" in done.stdout
    assert f"{clean / 'trainA'}  (3 pictures held out)" in done.stdout


def test_few_pictures_are_said_to_be_few(clean: Path) -> None:
    write(clean / "few", range(1000, 1013))
    _, few = check(Folders(clean / "trainA", clean / "few"), settings()).findings
    assert (few.kind, few.cases[0].files) == ("few", (str(clean / "few"),))
    assert few.cases[0].about == "12 pictures to learn from"


def test_sixteen_bits_that_would_become_black(
    clean: Path, tmp_path: Path, diptych: Command
) -> None:
    """12 bits, as cameras of microscopes have them: in 8 bits only 15 of 255."""
    (tmp_path / "deep").mkdir()
    for n in range(4):
        values = np.random.default_rng(n).integers(0, 4096, (64, 64)).astype(np.uint16)
        Image.fromarray(values).save(tmp_path / "deep" / f"{n}.png")
    folders = Folders(tmp_path / "deep", clean / "trainB")
    (black,) = (f for f in check(folders, settings()).findings if f.kind == "nearly black")
    assert black.cases[0].about == "values reach only 15 of 255"
    done = diptych("train", folders.a, folders.b, "--run", tmp_path / "run", *TINY_OPTIONS,
                   "--steps", "1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "only 15 of 255; pictures of 16 bits keep all" in done.stdout + done.stderr
    native = build_config({"data": {"size": 32}, "a": {"depth": "native"}})
    assert all(f.kind != "nearly black" for f in check(folders, native).findings)
    wide = build_config({"data": {"size": 32}, "a": {"depth": "native", "range": [0, 65535]}})
    (black,) = (f for f in check(folders, wide).findings if f.kind == "nearly black")
    assert black.cases[0].about == "values reach only 4095 of 65535"
    assert black.advice == "the range is 0,65535: give one that fits them"
    narrow = build_config({"data": {"size": 32}, "a": {"depth": "native", "range": [0, 300]}})
    (white,) = (f for f in check(folders, narrow).findings if f.kind == "beyond the range")
    assert white.cases[0].about == (
        "93% of the values lie beyond the range 0,300, and are cut off (they reach from 0 to 4095)"
    )
    for given, kinds in (
        ((-100_000, -5000), ["beyond the range"]), ((-1000, 3000), ["beyond the range"]),
        ((-1000, 3900), []), ((0, 4095), []),
    ):  # fmt: skip
        config = build_config({"data": {"size": 32}, "a": {"depth": "native", "range": given}})
        told = {f.kind for f in check(folders, config).findings}
        assert sorted(told & {"beyond the range", "wide range", "nearly black"}) == kinds


def test_sixteen_bits_of_which_half_is_read(clean: Path) -> None:
    for path in (clean / "trainA").iterdir():
        values = np.asarray(Image.open(path).convert("L")).astype(np.uint16) * 257
        Image.fromarray(values).save(path)
    folders = data_folders(clean)
    (deep,) = check(folders, settings()).findings
    assert (deep.kind, deep.cases[0].files) == ("deep", (str(clean / "trainA"),))
    assert deep.advice == "--depth native reads all"
    native = build_config({"data": {"size": 32}, "a": {"depth": "native"}})
    assert check(folders, native).findings == ()


def test_eight_bits_in_the_range_of_others(clean: Path) -> None:
    """As a run on other pictures hands it on: 0 to 255 are told apart by a few levels."""
    config = build_config({"data": {"size": 32}, "a": {"depth": "native", "range": [-1000, 3000]}})
    (wide,) = (f for f in check(data_folders(clean), config).findings if f.kind == "wide range")
    assert "of a range of -1000 to 3000" in wide.cases[0].about


def test_one_dark_picture_among_others_is_no_black_folder(clean: Path) -> None:
    picture(3000).point(lambda value: value // 8).save(clean / "trainA" / "night.png")
    found = check(Folders(clean / "trainA", clean / "trainB"), settings()).findings
    assert all(finding.kind != "nearly black" for finding in found)


def test_a_near_copy_of_a_picture_that_will_be_held_out(clean: Path) -> None:
    """Without test folders: held out is what training would hold out."""
    folders = Folders(clean / "trainA", clean / "trainB")
    a, _ = open_domains(folders, settings())
    (held,) = a.heldout
    picture(int(held.stem)).save(clean / "trainA" / "again.jpg", quality=95)
    again, _ = open_domains(folders, settings())
    found = named(check(folders, settings()), clean)
    assert found.pop("few held out") == [["trainA"], ["trainB"]]
    if again.heldout == (held,):
        assert found == {"trained and held out": [[f"trainA/{held.name}", "trainA/again.jpg"]]}
    else:  # (the copy's own hash is the smallest, and it takes the place)
        assert len(found) == 1


@pytest.mark.parametrize("problem", ["single", "damaged", "same", "strict", "shapes"])
def test_it_refuses_what_training_refuses_with_the_same_line(
    clean: Path, tmp_path: Path, diptych: Command, problem: str
) -> None:
    a, b = clean / "trainA", clean / "trainB"
    sets: dict[str, dict[str, Any]] = {"data": {"size": 32}}
    if problem == "single":
        shutil.rmtree(a)
        write(a, range(1))
    elif problem == "damaged":
        for path in b.iterdir():
            path.write_bytes(b"no picture")
    elif problem == "same":
        shutil.rmtree(b)
        shutil.copytree(a, b)
    elif problem == "strict":
        (a / "cut.png").write_bytes(b"\x89PNG")
        sets["data"]["strict"] = True
    else:
        picture(1, 80).save(a / "larger.png")
        sets["data"]["preprocess"] = "none"
        sets["training"] = {"batch": 2}
    options = [
        option
        for section, values in sets.items()
        for key, value in values.items()
        for option in ("--set", f"{section}.{key}={value}")
    ]
    trained = diptych("train", a, b, "--run", tmp_path / "run", *TINY_OPTIONS, *options,
                      "--steps", "1")  # fmt: skip
    assert trained.returncode != 0
    found = check(Folders(a, b), build_config(sets))
    assert trained.stderr == f"diptych: {found.refused}\n"
    if problem == "damaged":  # as a person meets it
        checked = diptych("data", "check", a, b, *options)
        assert checked.returncode == 1
        assert checked.stdout.endswith(f"\ntraining would refuse this: {found.refused}\n")
        assert "damaged (24): they are left out" in checked.stdout


def test_a_folder_that_is_not_there(clean: Path, diptych: Command) -> None:
    done = diptych("data", "check", clean / "trainA", clean / "nowhere")
    assert done.returncode == 1
    assert done.stderr.startswith(f"diptych: there is no folder {clean / 'nowhere'}")
    assert len(done.stderr.splitlines()) == 1


def test_it_plans_what_training_does(clean: Path) -> None:
    """Mixed depths: the same pictures are used, held out and left out."""
    a = clean / "trainA"
    np.save(a / "deep.npy", np.arange(64 * 64, dtype=np.uint16).reshape(64, 64))
    (a / "cut.png").write_bytes(b"\x89PNG")
    config = build_config({"data": {"size": 32}, "a": {"depth": "native"}})
    folders = Folders(a, clean / "trainB")
    domain, _ = open_domains(folders, config)
    plan = check(folders, config).plans[0]
    assert (plan.train, plan.held_out, plan.left_out) == (
        len(domain.train), len(domain.heldout), len(domain.skipped),
    )  # fmt: skip
    assert plan.values == domain.pixel_format.describe()
    kinds = named(check(folders, config), clean)
    assert kinds.pop("few held out") == [["trainA"], ["trainB"]]
    assert kinds == {"damaged": [["trainA/cut.png"]], "unlike": [["trainA/deep.npy"]]}
    cache = open_cache(a, find_pictures(a), config.a, config.data, 4)
    assert {one.name for one in cache.skipped} == {"cut.png", "deep.npy"}


def test_it_holds_out_what_training_does(clean: Path) -> None:
    tests = clean / "testA"
    np.save(tests / "deep.npy", np.arange(64 * 64, dtype=np.uint16).reshape(64, 64))
    (tests / "cut.png").write_bytes(b"\x89PNG")
    config = build_config({"data": {"size": 32}, "a": {"depth": "native"}})
    folders = data_folders(clean)
    domain, _ = open_domains(folders, config)
    found = check(folders, config)
    assert found.plans[0].held_out == len(domain.heldout) == 8
    assert {one.name for one in domain.test_skipped} == {"cut.png", "deep.npy"}
    assert named(found, clean) == {"damaged": [["testA/cut.png"]], "unlike": [["testA/deep.npy"]]}
    for path in find_pictures(tests):
        if path.suffix == ".png":
            path.unlink()
    with pytest.raises(DiptychError, match="testA are uint16 with 1 channels") as refusal:
        open_domains(folders, config)
    assert check(folders, config).refused == str(refusal.value)


def test_poor_pictures_are_so_in_the_range_that_was_given(clean: Path) -> None:
    """One pixel that is broken makes no picture of the others a constant one."""
    for name in ("trainA", "trainB"):
        for i, path in enumerate(find_pictures(clean / name)):
            values = np.asarray(Image.open(path).convert("L")).astype(np.uint16) * 8
            values[0, 0] = 65535 if i == 3 else values[0, 0]
            np.save(path.with_suffix(".npy"), values)
            path.unlink()
    folders = Folders(clean / "trainA", clean / "trainB")
    reading = {"depth": "native", "range": [0, 2040]}
    config = build_config({"data": {"size": 32}, "a": reading, "b": reading})
    assert named(check(folders, config), clean).keys() == {"few held out"}
    np.save(clean / "trainA" / "unlike.npy", np.full((40, 40), -1e6, np.float32))
    measured = build_config(
        {"data": {"size": 32}, "a": {"depth": "native"}, "b": {"depth": "native"}}
    )
    (poor,) = [one for one in check(folders, measured).findings if one.kind == "nearly constant"]
    assert "of a range of 65" in poor.cases[0].about
    assert not any("unlike" in path for case in poor.cases for path in case.files)


def test_looks_survive_saving_and_scaling_and_tell_others_apart() -> None:
    originals = [look_of(np.asarray(picture(seed))) for seed in range(150)]
    scaled = [look_of(np.asarray(picture(seed).resize((40, 40)))) for seed in range(150)]
    pairs = alike_pairs([*originals, *scaled])
    assert len(pairs) >= 145
    assert all(j == i + 150 for i, j in pairs)


def test_another_exposure_is_the_same_photograph() -> None:
    bright = np.asarray(picture(1))
    dark = (bright * 0.8).astype(np.uint8)
    assert alike_pairs([look_of(bright), look_of(dark), look_of(np.asarray(picture(2)))]) == [
        (0, 1)
    ]


def test_looks_of_deep_pictures_do_not_depend_on_their_scale() -> None:
    grey = np.asarray(picture(1).convert("L"), np.float32)[..., None]
    assert alike_pairs([look_of(grey * 700 - 90_000), look_of(grey)]) == [(0, 1)]
    five = np.repeat(grey, 5, axis=2).astype(np.uint16)
    assert alike_pairs([look_of(five), look_of(grey)]) == [(0, 1)]


def test_the_search_for_copies_does_not_grow_with_the_square() -> None:
    rng = np.random.default_rng(0)

    def looks(count: int) -> list[Look]:
        smalls = rng.integers(0, 256, (count, 256), dtype=np.uint8)
        return [
            Look(int(bits), small)
            for bits, small in zip(rng.integers(0, 2**63, count), smalls, strict=True)
        ]

    def seconds(many: list[Look]) -> float:
        start = time.process_time()
        alike_pairs(many)
        return time.process_time() - start

    many = looks(8_000)
    flipped = [Look(many[i].bits ^ 0b101 << i % 50, many[i].small) for i in range(0, 300, 3)]
    assert alike_pairs([*many, *flipped]) == [(3 * i, 8_000 + i) for i in range(100)]
    # All alike: still one group, in bounded time.
    same = [many[0]] * 1500
    assert groups(1500, alike_pairs(same)) == [list(range(1500))]
    assert seconds(many) < 20 * max(seconds(many[:800]), 0.05)  # squared it were 100 times
