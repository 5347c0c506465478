"""Models that change pictures a little, for tests of what is made of a change."""

from __future__ import annotations

from pathlib import Path

import torch

from diptych.data.pixels import RGB
from diptych.model_file import GeneratorPair, ModelInfo, save_model
from diptych.network_config import GeneratorConfig
from diptych.networks import ResnetGenerator, make_generator

RETOUCH = GeneratorConfig(
    width=4, blocks=1, halvings=1, norm="pixel", upsample="resize", output="retouch"
)


def saved(path: Path, config: GeneratorConfig) -> Path:
    """A model with random weights that changes little, of a training on 16 px."""
    torch.manual_seed(1)
    networks = [make_generator(config, 3, 3) for _ in range(2)]
    for G in networks:
        assert isinstance(G, ResnetGenerator)
        for weight in G.decode[-1].parameters():
            weight.data *= 0.3
    save_model(path, GeneratorPair(*networks, ModelInfo(config, RGB, RGB, 16, "crop", "white", 0)))
    return path
