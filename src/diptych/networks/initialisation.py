"""Starting weights."""

from __future__ import annotations

from torch import nn


def initialise(network: nn.Module, std: float = 0.02) -> None:
    """Draw weights from N(0, ``std``) and set biases to 0 (Zhu et al., 2017, 7.1).

    Norm layers that have a scale keep it near 1: N(1, ``std``), shift 0.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm):
            nn.init.normal_(module.weight, 1.0, std)
            nn.init.zeros_(module.bias)
