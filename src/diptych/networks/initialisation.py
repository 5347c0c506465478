"""Starting weights."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized

STD = 0.02  # Zhu et al., 2017, section 7.1
POWER_STEPS = 15  # with which PyTorch begins, too: each brings the slope nearer that is divided by


def initialise(network: nn.Module) -> None:
    """Draw weights from N(0, ``STD``) and set biases to 0.

    Norm layers that have a scale keep it near 1: N(1, ``STD``), shift 0.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            if not is_parametrized(module):
                nn.init.normal_(module.weight, 0.0, STD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm):
            nn.init.normal_(module.weight, 1.0, STD)
            nn.init.zeros_(module.bias)
        elif isinstance(module, ParametrizationList):  # what spectral norm makes a weight of
            nn.init.normal_(module.original, 0.0, STD)
            for _ in range(POWER_STEPS):
                module()
