"""Every setting of a training, as one typed tree; ``settings.py`` reads it from YAML.

The defaults are the ``paper`` preset. Settings are validated where they are read, so the rest of
the code can trust them: each section checks itself, and ``conflicts.py`` whether they go together.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from diptych.conflicts import conflicts
from diptych.network_config import SMALLEST, DiscriminatorConfig, GeneratorConfig
from diptych.section import BelowOne, Count, CountOrZero, Positive, Section, Several, Share, Weight
from diptych.sides import Side

Method = Literal["cyclegan", "cut", "fastcut"]
Adversarial = Literal["lsgan", "bce", "hinge", "wgangp"]
Preprocess = Literal["resize-crop", "resize", "crop", "scale-width-crop", "none"]
Schedule = Literal["constant", "linear", "cosine", "step", "plateau"]
Precision = Literal["auto", "float32", "bf16", "fp16"]
Depth = Literal["8bit", "native"]
FeatureName = Literal["inception", "efficientnet-lite0"]

LENGTHS = ("steps", "epochs", "minutes")  # of a training, one of them


class LossConfig(Section):
    """What the networks minimise; weights are per side (A and B)."""

    adversarial: Adversarial = "lsgan"  # what D and G play for
    cycle: Weight = 10.0  # there and back again, a picture should be as it was
    cycle_end: Weight | None = None  # the weight moves linearly to this; None: it stays
    cycle_every: Count = 1  # steps: cycle and identity only in each such step, as much heavier
    cycle_features: Share = 0.0  # share of the cycle loss that compares D's features, not pixels
    identity: Weight = 5.0  # what is in the target domain already should stay as it is
    identity_end: Weight | None = None  # the weight moves linearly to this; None: it stays
    plain: Weight = 0.0  # what has no texture, like a clear sky, is to stay as it is
    r1: Weight = 0.0  # gamma: weight of half the squared slope of D, all verdicts, at real pictures
    noise: Weight = 0.0  # standard deviation of the noise on what D judges; pictures are [-1, 1]
    noise_end: Weight | None = None  # it moves linearly to this; None: it stays
    discriminator: Weight = 0.5  # the paper halves D's loss, so that D learns more slowly than G

    @property
    def has_gradient_penalty(self) -> bool:
        """Whether D's loss has a penalty on its slope."""
        return self.r1 > 0 or self.adversarial == "wgangp"

    def of_discriminators(self) -> LossConfig:
        """The same without what the generators alone minimise, which may move with the steps."""
        return self.model_copy(update={"cycle": 0.0, "identity": 0.0, "plain": 0.0})


class ContrastConfig(Section):
    """The comparison of patches in cut.py; the defaults are CUT's (Park et al., 2020)."""

    source: Weight = 1.0  # weight of comparing a translation with its source
    target: Weight = 1.0  # weight of comparing a translated picture of B with itself
    flip: bool = False  # translate the mirrored source half of the time
    patches: Count = 256  # of each layer and picture
    width: Count = 256  # of the space they are compared in
    temperature: Positive = 0.07


FASTCUT: dict[str, Any] = {"source": 10.0, "target": 0.0, "flip": True}  # (section 3)


class OptimizerConfig(Section):
    """Adam and its learning rate, which follows the progress of the run from 0 to 1."""

    rate: Positive = 2e-4  # of the generators
    discriminator_rate: Positive | None = None  # None: rate
    beta1: BelowOne = 0.5  # how long Adam's mean of the slopes looks back
    beta2: BelowOne = 0.999  # and that of their squares
    schedule: Schedule = "linear"  # how the rates fall
    decay_from: BelowOne = 0.5  # linear, cosine: the share of the run at constant rate
    decay_steps: Count = 3  # step: how many times the rate falls during the run
    decay_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1  # step, plateau: what it falls to
    patience: Count = 10  # plateau: log steps without improvement before the rate falls


Range = tuple[float, float]  # low, high


class DomainConfig(Section):
    """How the pictures of one domain are read."""

    channels: Count | None = None  # None: 3 for 8-bit pictures, the files' own when native
    depth: Depth = "8bit"  # native keeps 16-bit and float values
    # Mapped to [-1, 1], one for each channel or one for all; None: of 8 bits all, else measured.
    range: Range | Annotated[tuple[Range, ...], Field(min_length=1)] | None = None

    @property
    def ranges(self) -> tuple[Range, ...]:
        """One for each channel, one for all, or none."""
        if self.range is None:
            return ()
        each: tuple[Any, ...] = self.range
        return each if isinstance(each[0], tuple) else (each,)

    @model_validator(mode="after")
    def _check(self) -> DomainConfig:
        if not all(-math.inf < low < high < math.inf for low, high in self.ranges):
            raise ValueError("range must be low,high: two finite numbers, low below high")
        if self.depth == "8bit" and len(self.ranges) > 1:
            raise ValueError("8-bit pictures have one range; for others use --depth native")
        if self.depth == "8bit" and any(low < 0 or high > 255 for low, high in self.ranges):
            raise ValueError("8-bit pictures have values 0 to 255; for others use --depth native")
        if self.depth == "8bit" and self.channels not in (None, 1, 3):
            raise ValueError("8-bit pictures have 1 or 3 channels; for others use --depth native")
        return self


class DataConfig(Section):
    """From pictures on the disk to what the networks see."""

    size: Annotated[int, Field(ge=1, le=8192)] = 256  # pixels a side of what is trained on
    preprocess: Preprocess = "resize-crop"  # how squares of that size come about
    load_size: Count | None = None  # shorter side (or width) before the crop; None: size * 286/256
    zoom: Annotated[float, Field(ge=1, le=8)] = 1.0  # how much closer crops look, at most
    flip: bool = True  # mirror left-right half of the time
    background: str = "white"  # shows through where a picture is transparent
    strict: bool = False  # refuse damaged pictures instead of leaving them out
    holdout: BelowOne = 0.05  # share kept out when there is no test set

    @property
    def one_size(self) -> bool:
        """Whether all pictures of a batch, and of all batches, are squares of ``size``."""
        return self.preprocess != "none"

    @property
    def zooms(self) -> bool:
        """Whether crops differ in how close they look."""
        return self.zoom > 1 and self.preprocess == "resize-crop"


class TrainingConfig(Section):
    """The loop. Give one of steps, epochs, minutes; the schedules follow it."""

    steps: Count | None = None  # the length of the whole training
    epochs: Count | None = None  # the same, in rounds through the larger domain
    minutes: Positive | None = None  # the same
    batch: Several = 1  # pictures of each domain
    accumulate: Several = 1  # batches per step
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0  # of all random numbers
    start_from: str | None = None  # a model file or run, whose weights are the first
    device: str = "auto"  # cpu, cuda, cuda:1, mps; auto: a GPU if there is one
    precision: Precision = "auto"  # of convolutions; auto: 16 bits where those are quicker
    compile: bool | None = None  # networks, by PyTorch; None: for long trainings on a GPU
    tune_threads: bool | None = None  # of the CPU; None: see training/threads.py
    record: bool = True  # on a GPU passes are recorded once and played back (CUDA graphs)
    judged: Count | None = None  # real pictures, and fakes, that D sees in a step; at least batch
    untouched: CountOrZero = 0  # source pictures among the fakes of a step, as they are
    history: CountOrZero = 50  # past fakes shown to D; 0: only the newest
    ema_half_life: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0  # in steps; 0: no average
    log_every: Count = 50  # steps, as all that ends in _every
    sample_every: Count = 1000
    samples: Count = 6  # held-out pictures of each domain on a sample sheet
    checkpoint_every: Count = 1000  # the last three are kept
    evaluate_every: CountOrZero = 0  # score held-out pictures; 0: never
    features: FeatureName | None = None  # that score; None: Inception if at hand, or lite0
    keep_every: CountOrZero = 0  # keep these checkpoints for ever; 0: none

    @property
    def more_judged(self) -> int:
        """How many more pictures D sees in a step than G translates."""
        return max(self.untouched, (self.judged or 0) - self.batch)

    @property
    def length(self) -> dict[str, float]:
        """The length that is given, if one is: ``{"steps": 1000}``."""
        each = {"steps": self.steps, "epochs": self.epochs, "minutes": self.minutes}
        return {name: given for name, given in each.items() if given is not None}

    @model_validator(mode="after")
    def _one_length(self) -> TrainingConfig:
        given = self.length
        if len(given) > 1:
            raise ValueError(f"give one of {', '.join(LENGTHS)} (got {' and '.join(given)})")
        return self


class Config(Section):
    """Everything a training needs to know."""

    preset: str = "paper"
    method: Method = "cyclegan"  # cut, fastcut: one way only, from A to B
    a: DomainConfig = DomainConfig()
    b: DomainConfig = DomainConfig()
    data: DataConfig = DataConfig()
    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    loss: LossConfig = LossConfig()
    contrast: ContrastConfig = ContrastConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    training: TrainingConfig = TrainingConfig()

    def reading(self, domain: Side) -> DomainConfig:
        """How the pictures of a domain are read."""
        return self.a if domain == "a" else self.b

    @model_validator(mode="before")
    @classmethod
    def _usual_for_cut(cls, tree: Any) -> Any:
        """CUT shows D the newest fakes only, and FastCUT weighs its terms in its own way."""
        if not isinstance(tree, dict) or tree.get("method") not in ("cut", "fastcut"):
            return tree
        usual = {"training": {"history": 0}}
        if tree["method"] == "fastcut":
            usual["contrast"] = FASTCUT
        for section, values in usual.items():
            given = tree.get(section) or {}
            if isinstance(given, dict):
                tree = {**tree, section: {**values, **given}}
        return tree

    @model_validator(mode="after")
    def _go_together(self) -> Config:
        if (problem := next(conflicts(self), None)) is not None:
            raise ValueError(problem)
        return self

    @property
    def identity_weight(self) -> float:
        """The weight of the term that leaves pictures of B alone, in the method in use."""
        return self.loss.identity if self.method == "cyclegan" else self.contrast.target

    def smallest_size(self) -> int:
        """The smallest training picture, in pixels a side, that both networks can take."""
        D = self.discriminator
        if D.architecture == "pixel":
            return SMALLEST
        return max(SMALLEST, self.shrink * (3 * D.stride if D.padding else D.patch))

    @property
    def shrink(self) -> int:
        """How many times smaller, a side, D sees a training picture than G."""
        sees = self.discriminator.sees
        return max(1, self.data.size // sees) if sees is not None else 1
