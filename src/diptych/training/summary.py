"""TensorBoard's writer, without TensorFlow.

TensorBoard imports all of TensorFlow where it is installed, which takes seconds and several hundred
megabytes, to write files for which it has code of its own. A module of this name is the switch
that it looks for.
"""

import sys
from types import ModuleType

sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))

from torch.utils.tensorboard import SummaryWriter as SummaryWriter  # noqa: E402
