"""The public data sets of the CycleGAN paper: what they hold, where they are, who owns them.

Sizes and checksums are those of the authors' archives. Each holds trainA, trainB, testA, testB.
"""

from __future__ import annotations

from dataclasses import dataclass

from diptych.errors import UsageError
from diptych.words import nearest

AUTHORS = "http://efrosgans.eecs.berkeley.edu/cyclegan/datasets"


@dataclass(frozen=True)
class DataSet:
    """One archive. ``size`` is in bytes; size and sha256 are None where nobody published them."""

    name: str
    a: str
    b: str
    licence: str
    size: int | None
    sha256: str | None

    def address(self, mirror: str = AUTHORS) -> str:
        """Where the archive is, at the authors' or at a mirror that keeps the file names."""
        return f"{mirror.rstrip('/')}/{self.name}.zip"


IMAGENET = "ImageNet photographs: research only, rights stay with the photographers"
FLICKR = "Flickr photographs: rights stay with the photographers"
PAINTINGS = "paintings from WikiArt, Flickr photographs: rights stay with their owners"
CITYSCAPES = "Cityscapes: non-commercial, asks for registration; the authors may have removed it"
FACADES = "CMP Facades: research only"
MAPS = "Google Maps: no licence given, see Google's terms"
UNKNOWN = "not documented by the authors"

DATA_SETS = (
    DataSet(
        "ae_photos", "photographs", "photographs", UNKNOWN, None, None,
    ),
    DataSet(
        "apple2orange", "apples", "oranges", IMAGENET,
        78456409, "845a191e9af8926408ea597001cd03a452e3300a1f44a79fe329b3d59f6e3eb8",
    ),
    DataSet(
        "cezanne2photo", "Cezanne", "photographs", PAINTINGS,
        279885071, "3a6c10ca21f9485862f1cbd707744b9dc258954a04631271d23a3605eeb63cff",
    ),
    DataSet(
        "cityscapes", "street scenes", "label maps", CITYSCAPES,
        279601602, "d2f6910fd056c1ee9873777ae838e7ac4a2c833598ae62a04188e5ab2f4ea036",
    ),
    DataSet(
        "facades", "house fronts", "label maps", FACADES,
        35135868, "9a31ebf3a31b9b5cd195dd5bf62e9308e00cb94604d1019e3889ac84248695c0",
    ),
    DataSet(
        "horse2zebra", "horses", "zebras", IMAGENET,
        116867962, "a74d9d392eecca9966b51287a76ca126af473d9de4f3e8fc0e9cda08fa1730a1",
    ),
    DataSet(
        "iphone2dslr_flower", "phone photographs", "camera photographs", FLICKR,
        339964458, "8fcb5e374d631b107e1d961b8c4cd0a186aa2a4ff3e279923f4c426128de7113",
    ),
    DataSet(
        "maps", "aerial pictures", "street maps", MAPS,
        1476754427, "639534f69dbf9f36bef8d6292a7698006361221f83f0285d7c9ca78afe6e8a9e",
    ),
    DataSet(
        "monet2photo", "Monet", "photographs", PAINTINGS,
        305231073, "88f91b00fc228f97c9411fbf1880ec1d119c98f1722e4cfcfaa2fb35fac05b04",
    ),
    DataSet(
        "summer2winter_yosemite", "Yosemite in summer", "Yosemite in winter", FLICKR,
        132640856, "167fe1726807a9d22bd106b4a6c0bd7953b688af924ac1bf967439c4961e49f9",
    ),
    DataSet(
        "ukiyoe2photo", "Ukiyo-e prints", "photographs", PAINTINGS,
        292946532, "02a2a2fb5ecf425ca1bf86aca7304377da64a2a1d3b86df54eb65e4068bf3b08",
    ),
    DataSet(
        "vangogh2photo", "Van Gogh", "photographs", PAINTINGS,
        306590349, "362c3473e70be0944bda08d49d660eafdc2854df55d697835b8186d1d79caaff",
    ),
)  # fmt: skip


def data_set_named(name: str) -> DataSet:
    """The data set of that name. Raises UsageError, naming the nearest one."""
    for data_set in DATA_SETS:
        if data_set.name == name:
            return data_set
    raise UsageError(f"there is no data set {name!r}: {nearest(name, [d.name for d in DATA_SETS])}")
