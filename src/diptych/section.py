"""What every section of the settings is made of: its rules, and the kinds of number in it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1, le=10**12)]
CountOrZero = Annotated[int, Field(ge=0, le=10**12)]
Several = Annotated[int, Field(ge=1, le=2**20)]  # at once
Width = Annotated[int, Field(ge=1, le=4096)]  # channels
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A group of settings: unknown keys are refused, values never change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)
