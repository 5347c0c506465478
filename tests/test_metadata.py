"""What files say of their pixels survives translating, and is heeded in training."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from conftest import TINY_OPTIONS, Command
from PIL import Image
from web import as_png, running

from diptych.config import DomainConfig
from diptych.data.decode import read_picture
from diptych.data.metadata import NOTHING, metadata_of
from diptych.data.pixels import RGB
from diptych.model_file import ModelInfo
from diptych.network_config import GeneratorConfig
from diptych.translation.extras import extras_of
from diptych.translation.files import translate_files
from diptych.translation.jobs import plan_folder
from diptych.translation.translator import load
from diptych.translation.writing import write_picture

UTM = (1, 1, 0, 3, 1024, 0, 1, 1, 1026, 34737, 22, 0, 3072, 0, 1, 32633)
LYING = (
    (33550, 12, 3, (10.0, 10.0, 0.0), True),
    (33922, 12, 6, (0.0, 0.0, 0.0, 389_000.0, 5_820_000.0, 0.0), True),
    (34735, 3, len(UTM), UTM, True),
    (34737, 2, 23, "WGS 84 / UTM zone 33N|", True),
)
TURNED = (274, 3, 1, 6, True)


def satellite(path: Path, tags: Any = LYING, **more: Any) -> Path:
    picture = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    tifffile.imwrite(path, picture, photometric="rgb", extratags=tags, **more)
    return path


def tags_of(path: Path) -> dict[int, Any]:
    with tifffile.TiffFile(path) as file:
        return {tag.code: tag.value for tag in file.pages[0].aspage().tags}


def test_a_satellite_picture_still_knows_where_it_lies(
    trained: Path, tmp_path: Path, diptych: Command
) -> None:
    (tmp_path / "in").mkdir()
    source = satellite(tmp_path / "in" / "one.tif", resolution=(40_000, 40_000),
                       resolutionunit="CENTIMETER")  # fmt: skip
    satellite(tmp_path / "in" / "two.tif")
    done = diptych("translate", trained, tmp_path / "in", "-o", tmp_path / "out", "--format", "tif")
    assert done.returncode == 0, done.stderr
    assert "georeference" not in done.stdout
    before, after = tags_of(source), tags_of(tmp_path / "out" / "one.tif")
    assert {code: after[code] for code, *_ in LYING} == {code: before[code] for code, *_ in LYING}
    with tifffile.TiffFile(tmp_path / "out" / "one.tif") as file:
        keys = file.pages[0].aspage().geotiff_tags
        assert int(keys["ProjectedCSTypeGeoKey"]) == 32633
        assert keys["GTCitationGeoKey"] == "WGS 84 / UTM zone 33N"
        assert file.pages[0].aspage().get_resolution("centimeter") == pytest.approx((40_000,) * 2)
    for options, said in (
        ((), "one.tif: png cannot hold its georeference"),
        (
            ("--format", "tif", "--size", "16"),
            "one.tif: scaled by --size it loses its georeference",
        ),
    ):
        out = tmp_path / "-".join(("other", *options))
        done = diptych("translate", trained, tmp_path / "in", "-o", out, *options)
        assert said in done.stdout
        assert "the same, about georeference, of 1 more picture" in " ".join(done.stdout.split())
    assert not {code for code, *_ in LYING} & set(tags_of(out / "one.tif"))


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "tif"])
def test_a_scan_is_printed_in_its_size(
    ending: str, trained: Path, tmp_path: Path, diptych: Command
) -> None:
    for kind in ("png", "jpg", "bmp", "tif"):
        Image.new("RGB", (16, 16), "red").save(tmp_path / f"{kind}.{kind}", dpi=(300, 300))
    done = diptych("translate", trained, *tmp_path.glob("*.*"), "-o", tmp_path / "out",
                   "--format", ending)  # fmt: skip
    assert done.returncode == 0, done.stderr
    for kind in ("png", "jpg", "bmp", "tif"):
        with Image.open(tmp_path / "out" / f"{kind}.{ending}") as made:
            assert made.info["dpi"] == pytest.approx((300, 300), rel=1e-4)


@pytest.mark.parametrize(
    ("tags", "more"),
    [
        ((*LYING, TURNED), {}),  # it is turned when it is read
        ((), {"resolution": ((0, 1), (0, 1)), "resolutionunit": "INCH"}),
        ((), {"resolution": (72, 72), "resolutionunit": "NONE"}),
        (((33550, 2, 4, "ten", True),), {}),
        (((34735, 12, 1, 0.5, True),), {}),
    ],
)
def test_what_makes_no_sense_is_not_passed_on(tags: Any, more: Any, tmp_path: Path) -> None:
    told = metadata_of(satellite(tmp_path / "odd.tif", tags, **more))
    assert replace(told, values="") == NOTHING


def test_a_resolution_that_a_format_cannot_hold_is_left_out(
    trained: Path, tmp_path: Path, diptych: Command
) -> None:
    source = satellite(tmp_path / "slide.tif", (), resolution=(2e6, 2e6), resolutionunit="INCH")
    done = diptych("translate", trained, source, "-o", tmp_path / "out", "--format", "jpg")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "out" / "slide.jpg") as made:
        assert "dpi" not in made.info


def test_what_is_no_picture_lies_nowhere(tmp_path: Path) -> None:
    (tmp_path / "no.tif").write_bytes(b"II*\0 no picture")
    np.save(tmp_path / "array.npy", np.zeros((4, 4), np.uint8))
    for name in ("no.tif", "array.npy", "missing.tif"):
        assert metadata_of(tmp_path / name) == NOTHING


def test_names_may_have_any_letters(trained: Path, tmp_path: Path, diptych: Command) -> None:
    name = "DHDN / Gau\xdf-Kr\xfcger (B\xfcro)|".encode("latin-1")
    tags = (*LYING[:3], (34737, 2, len(name) + 1, name + b"\0", True))
    source = satellite(tmp_path / "gk.tif", tags)
    done = diptych("translate", trained, source, "-o", tmp_path / "out", "--format", "tif")
    assert done.returncode == 0, done.stderr
    made = (tmp_path / "out" / "gk.tif").read_bytes()
    assert made.count(name) == 1
    assert [tag[2:4] for tag in metadata_of(tmp_path / "out" / "gk.tif").georeference] == [
        tag[2:4] for tag in metadata_of(source).georeference
    ]


@pytest.fixture(scope="module")
def four_bands(tmp_path_factory: pytest.TempPathFactory, diptych: Command) -> Path:
    """A run on 16-bit tiles of four bands, beside it; a third of each tile has no data."""
    place = tmp_path_factory.mktemp("bands")
    for name, most in (("a", 3000), ("b", 5000)):
        (place / name).mkdir()
        for i in range(4):
            values = np.random.default_rng(i).integers(1, most, (32, 36, 4), np.uint16)
            values[:, 24:] = 0
            tags = (*LYING, (42113, 2, 0, "0", True))
            tifffile.imwrite(place / name / f"{i}.tif", values, photometric="minisblack",
                             planarconfig="contig", extratags=tags)  # fmt: skip
    done = diptych("train", place / "a", place / "b", "--run", place / "run", "--depth", "native",
                   *TINY_OPTIONS, "--steps", "1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "tif has no data in 33% of its pixels" in " ".join(done.stdout.split())
    return place / "run"


def test_where_there_is_no_data_there_is_none_in_the_translation(
    four_bands: Path, tmp_path: Path, diptych: Command
) -> None:
    done = diptych("translate", four_bands, four_bands.parent / "a", "-o", tmp_path, "--format",
                   "tif")  # fmt: skip
    assert done.returncode == 0, done.stderr
    paths = list(tmp_path.glob("*.tif"))
    assert len(paths) == len(list((four_bands.parent / "a").iterdir()))
    for path in paths:
        made = tifffile.imread(path)
        assert (made[:, 24:] == 0).all()
        assert (made[:, :24] != 0).all()
        assert metadata_of(path).no_data == 0


def test_the_api_gives_back_what_lies_where_it_lay(four_bands: Path, tmp_path: Path) -> None:
    source = four_bands.parent / "a" / "1.tif"
    with running(tmp_path / "notes", [four_bands]) as server:
        answer = server.translate(source.read_bytes(), "image/tiff")
        scaled = server.translate(source.read_bytes(), "image/tiff", size=16)
    (tmp_path / "made.tif").write_bytes(answer.content)
    (tmp_path / "scaled.tif").write_bytes(scaled.content)
    before, after = metadata_of(source), metadata_of(tmp_path / "made.tif")
    assert (after.georeference, after.no_data) == (before.georeference, 0)
    assert (tifffile.imread(tmp_path / "made.tif")[:, 24:] == 0).all()
    assert not metadata_of(tmp_path / "scaled.tif").georeference


def test_a_fourth_band_is_no_transparency(
    four_bands: Path, tmp_path: Path, diptych: Command
) -> None:
    first = four_bands.parent / "a" / "1.tif"
    done = diptych("translate", four_bands, first, "-o", tmp_path / "made.tif")
    assert done.returncode == 0, done.stderr
    assert not metadata_of(tmp_path / "made.tif").transparent
    read = read_picture(tmp_path / "made.tif", DomainConfig(depth="native"))
    known = np.s_[:, :24]  # (the rest has no data, and is filled)
    np.testing.assert_array_equal(read[known], tifffile.imread(tmp_path / "made.tif")[known])
    assert read.shape[2] == 4
    clear = np.full((32, 36, 4), 900, np.uint16)
    tifffile.imwrite(tmp_path / "clear.tif", clear, photometric="rgb", extrasamples=["unassalpha"])
    done = diptych("translate", four_bands, tmp_path / "clear.tif", "-o", tmp_path / "seen.tif")
    assert done.returncode == 0, done.stderr
    assert metadata_of(tmp_path / "seen.tif").transparent


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({2: 65535, 3: 65535}, "values usually lie in 1 to 2990, of"),
        ({}, None),
    ],
)
def test_a_few_far_values_do_not_pass_for_the_range(
    values: dict[int, int], found: str | None, tmp_path: Path, diptych: Command
) -> None:
    for domain, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        for i in range(6):
            tile = np.random.default_rng([domain, i]).integers(0, 2990, (32, 32, 1), np.uint16)
            tile[0, 0] = values.get(i, 2990)
            tifffile.imwrite(tmp_path / name / f"{i}.tif", tile[..., 0])
    said = diptych("data", "check", tmp_path / "a", tmp_path / "b", "--depth", "native").stdout
    assert ("wide range" in said) == (found is not None)
    assert found is None or found in " ".join(said.split())


def test_a_channel_that_is_not_read_is_said(tmp_path: Path, diptych: Command) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(3):
            tile = np.random.default_rng(i).integers(0, 255, (32, 32, 4), np.uint8)
            tifffile.imwrite(tmp_path / name / f"{i}.tif", tile, photometric="rgb",
                             extrasamples=["unassalpha"])  # fmt: skip
    asked = ("data", "check", tmp_path / "a", tmp_path / "b")
    assert "--depth native --channels 4 reads all" in " ".join(diptych(*asked).stdout.split())
    all_read = diptych(*asked, "--depth", "native", "--channels", "4").stdout
    assert "other channels" not in all_read


MICRON = 25_400 / 0.25  # pixels per inch, where one is a quarter of a micrometre wide


@pytest.mark.parametrize(
    ("options", "per_inch"),
    [
        ({"resolution": (200, 100), "resolutionunit": "INCH"}, (200, 100)),  # a fax
        ({"imagej": True, "resolution": (4, 2), "metadata": {"unit": "um"}}, (MICRON, MICRON / 2)),
        ({"imagej": True, "resolution": (4, 4), "metadata": {"unit": "pixel"}}, None),
        ({"resolution": (4e9, 4e9), "resolutionunit": "INCH"}, None),  # more than PNG can hold
        ({"resolution": (5e7, 5e7), "resolutionunit": "INCH"}, (5e7, 5e7)),
        (
            {"ome": True, "metadata": {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}},
            (MICRON, MICRON / 2),
        ),
        (
            {
                "ome": True,
                "metadata": {
                    "PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm",
                    "PhysicalSizeY": 250, "PhysicalSizeYUnit": "nm",
                },
            },
            (MICRON, MICRON),
        ),
        (
            {
                "ome": True,
                "metadata": {
                    "PhysicalSizeX": 0.25, "PhysicalSizeY": 500, "PhysicalSizeYUnit": "nm",
                },
            },
            (MICRON, MICRON / 2),
        ),
        ({"ome": True, "metadata": {"PhysicalSizeX": 1, "PhysicalSizeXUnit": "pixel",
                                    "PhysicalSizeY": 1}}, None),
    ],
)  # fmt: skip
def test_how_large_pixels_are_is_read_and_written(
    options: dict[str, Any], per_inch: Any, tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((20, 24), np.uint8), **options)
    metadata = metadata_of(tmp_path / "x.tif")
    assert metadata.per_inch == (None if per_inch is None else pytest.approx(per_inch))
    for name in ("made.tif", "made.png", "made.bmp"):
        write_picture(tmp_path / name, np.zeros((20, 24, 1), np.uint8), metadata)
        made = metadata_of(tmp_path / name).per_inch
        assert made == (None if per_inch is None else pytest.approx(per_inch, rel=1e-3))


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 7, 8])
def test_resolution_is_turned_with_the_picture(
    kind: str, orientation: int, trained: Path, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (40, 24), "red").save(tmp_path / f"x.{kind}", dpi=(100, 200), exif=exif)
    (job,) = plan_folder([tmp_path / f"x.{kind}"], tmp_path / "out", "png")
    (outcome,) = translate_files(load(trained, "cpu"), [job], "b")
    assert outcome.problem is None
    with Image.open(job.target) as made:
        turned = orientation in (5, 6, 7, 8)
        assert made.size == ((24, 40) if turned else (40, 24))
        if kind != "webp":  # (it has none)
            across, down = (200, 100) if turned else (100, 200)
            assert made.info["dpi"] == pytest.approx((across, down), rel=1e-3)


@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
def test_resolution_is_what_a_file_says_and_none_is_invented(kind: str, tmp_path: Path) -> None:
    """Pillow takes a JPEG that says nothing for one of 72 dpi, and looks into no EXIF of others."""
    path, exif = tmp_path / f"x.{kind}", Image.Exif()
    exif[0x010F] = "Camera"
    Image.new("RGB", (40, 24)).save(path, exif=exif)
    assert metadata_of(path).per_inch is None
    exif[282], exif[283], exif[296] = 100.0, 200.0, 3  # a centimetre
    Image.new("RGB", (40, 24)).save(path, exif=exif)
    assert metadata_of(path).per_inch == pytest.approx((254, 508), rel=1e-3)


def test_exif_that_is_broken_costs_nothing_else(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (40, 24), (0, 0, 0, 0))
    clear.save(tmp_path / "x.png", dpi=(100, 200), exif=b"Exif\0\0no tags")
    with Image.open(tmp_path / "x.png") as image, pytest.raises(SyntaxError):
        image.getexif()
    found = metadata_of(tmp_path / "x.png")
    assert found.per_inch == pytest.approx((100, 200), rel=1e-3)
    assert found.transparent


def position(path: Path, value: int, files: list[str]) -> None:
    """One of several OME-TIFFs, whose metadata say that each holds one of the channels."""
    planes = "".join(
        f'<TiffData IFD="0" FirstC="{i}" PlaneCount="1"><UUID FileName="{name}">urn:uuid:'
        f"{i:08d}-0000-0000-0000-000000000000</UUID></TiffData>"
        for i, name in enumerate(files)
    )
    own = files.index(path.name)
    described = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:'
        f'{own:08d}-0000-0000-0000-000000000000"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        f'DimensionOrder="XYCZT" Type="uint16" SizeX="24" SizeY="20" SizeZ="1" SizeT="1" '
        f'SizeC="{len(files)}">'
        + "".join(f'<Channel ID="Channel:0:{i}" SamplesPerPixel="1"/>' for i in range(len(files)))
        + f"{planes}</Pixels></Image></OME>"
    )
    picture = np.full((20, 24), value, np.uint16)
    tifffile.imwrite(path, picture, description=described, metadata=None)


def test_no_file_is_read_but_the_one_that_was_given(tmp_path: Path) -> None:
    """(OME-TIFFs may say that their pixels lie in others, by any path.)"""
    names = ["first.ome.tif", "second.ome.tif"]
    for i, name in enumerate(names):
        position(tmp_path / name, 100 + i, names)
    for i, name in enumerate(names):
        read = read_picture(tmp_path / name, DomainConfig(depth="native"))
        assert read.shape == (20, 24, 1)
        assert (read == 100 + i).all()
        assert metadata_of(tmp_path / name).channels == 1
    (tmp_path / "second.ome.tif").unlink()
    assert (read_picture(tmp_path / "first.ome.tif", DomainConfig(depth="native")) == 100).all()


def test_stacks_and_channels_that_are_not_read_are_said(tmp_path: Path, diptych: Command) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).mkdir()
    for i in range(3):
        stack = rng.integers(0, 255, (5, 2, 32, 32), np.uint8)
        tifffile.imwrite(tmp_path / "a" / f"{i}.tif", stack, imagej=True, metadata={"axes": "ZCYX"})
        two = rng.integers(0, 255, (2, 32, 32), np.uint8)
        tifffile.imwrite(tmp_path / "b" / f"{i}.tif", two, imagej=True, metadata={"axes": "CYX"})
        np.save(tmp_path / "c" / f"{i}.npy", rng.integers(0, 255, (32, 40, 40), np.uint8))
        tifffile.imwrite(tmp_path / "d" / f"{i}.tif", rng.integers(0, 255, (32, 32), np.uint8))
    said = " ".join(diptych("data", "check", tmp_path / "a", tmp_path / "b").stdout.split())
    assert "0.tif has several pages, of which the first is read" in said
    assert "0.tif has 2 channels, and 3 are read" in said
    volumes = diptych("data", "check", tmp_path / "c", tmp_path / "d", "--depth", "native").stdout
    assert "cut volumes into slices" in volumes
    assert volumes.count("channels (") == 1  # (nothing is said of the grey ones)


def test_grey_is_no_picture_of_many_channels(
    four_bands: Path, tmp_path: Path, diptych: Command
) -> None:
    tifffile.imwrite(tmp_path / "one.tif", np.full((32, 36), 900, np.uint16))
    done = diptych("translate", four_bands, tmp_path / "one.tif", "-o", tmp_path / "made.tif")
    assert done.returncode == 1
    assert "it has 1 channel, not 4" in done.stdout + done.stderr


def cut_out(size: int = 40) -> Image.Image:
    """A picture whose left half cannot be seen."""
    rng = np.random.default_rng(5)
    picture = rng.integers(0, 256, (size - 8, size, 4), np.uint8)
    picture[..., 3] = 255
    picture[:, : size // 2, 3] = 0
    return Image.fromarray(picture)


def test_cut_outs_stay_cut_out(trained: Path, tmp_path: Path, diptych: Command) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    cut_out().save(folder / "cut.png")
    cut_out().convert("LA").save(folder / "grey.png")
    cut_out().save(folder / "web.webp", lossless=True)
    cut_out().save(folder / "tiff.tif")
    opaque = cut_out()
    opaque.putalpha(255)
    opaque.save(folder / "screenshot.png")
    for ending in ("png", "webp", "tif"):
        out = tmp_path / ending
        done = diptych("translate", trained, folder, "-o", out, "--format", ending)
        assert done.returncode == 0, done.stderr
        for name in ("cut", "grey", "web", "tiff"):
            with Image.open(out / f"{name}.{ending}") as made:
                assert made.mode == "RGBA"
                alpha = np.asarray(made)[..., 3]
                assert (alpha[:, :20] == 0).all()
                assert (alpha[:, 20:] == 255).all()
        with Image.open(out / f"screenshot.{ending}") as made:
            assert made.mode == "RGB"
    with Image.open(tmp_path / "png" / "cut.png") as made:
        flat = Image.new("RGBA", made.size, "white")
        flat.alpha_composite(cut_out())
        alone = np.asarray(load(trained, "cpu").to_b(flat.convert("RGB"))).astype(int)
        colours = np.asarray(made)[..., :3].astype(int)
    np.testing.assert_allclose(colours[:, 20:], alone[:, 20:], atol=1)
    np.testing.assert_array_equal(colours[:, :20], np.repeat(colours[:, 20:21], 20, axis=1))
    small = diptych("translate", trained, folder / "cut.png", "-o", tmp_path / "s.png",
                    "--size", "16")  # fmt: skip
    assert small.returncode == 0, small.stderr
    with Image.open(tmp_path / "s.png") as made:
        assert (made.mode, made.size) == ("RGBA", (20, 16))
    lost = diptych("translate", trained, folder, "-o", tmp_path / "jpg", "--format", "jpg")
    assert "cut.png: jpg cannot hold its transparency" in " ".join(lost.stdout.split())
    assert "about transparency, of 3 more pictures" in " ".join(lost.stdout.split())


@pytest.mark.parametrize("kind", ["straight", "premultiplied"])
def test_soft_edges_get_no_fringe(kind: str, tmp_path: Path) -> None:
    """What the background did to the colours is taken back, so that any other suits them."""
    colours = np.random.default_rng(1).integers(0, 256, (30, 32, 3)).astype(np.uint8)
    alpha = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (30, 1))[..., None]
    stored = colours if kind == "straight" else np.rint(colours * (alpha / 255)).astype(np.uint8)
    picture = np.concatenate([stored, alpha], axis=-1)
    extra = {"straight": "unassalpha", "premultiplied": "assocalpha"}[kind]
    tifffile.imwrite(tmp_path / "x.tif", picture, photometric="rgb", extrasamples=[extra])
    info = ModelInfo(GeneratorConfig(), RGB, RGB, 32, "crop", "#30c060", 0)
    mixed = read_picture(tmp_path / "x.tif", DomainConfig(), "#30c060")
    with open(tmp_path / "x.tif", "rb") as file:
        extras = extras_of(file, None, info, "b", None)
    made = extras.added_to(mixed, "tif").astype(float)  # (as of a network that changes nothing)
    np.testing.assert_array_equal(made[..., 3:], alpha)
    for behind in (0, 255):
        lies = made[..., :3] * (alpha / 255) + behind * (1 - alpha / 255)
        wanted = colours * (alpha / 255) + behind * (1 - alpha / 255)
        assert np.abs(lies - wanted)[alpha[..., 0] > 0].max() <= 1.5
    np.testing.assert_array_equal(made[:, 0, :3], made[:, 1, :3])  # hidden, as what is next to it


def test_the_api_keeps_cut_outs(trained: Path, tmp_path: Path) -> None:
    with running(tmp_path / "notes", [trained]) as server:
        body = as_png(cut_out())
        for options, mode in (({}, "RGBA"), ({"format": "jpg"}, "RGB")):
            answer = server.translate(body, **options)
            assert answer.status_code == 200, answer.text
            with Image.open(io.BytesIO(answer.content)) as made:
                assert made.mode == mode
