"""Which precision ``auto`` stands for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diptych.host import device, processor

ZEN_4 = "vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx2 avx512f avx512_bf16 gfni\n"
ZEN_3 = "vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx2\n"
INTEL = "vendor_id\t: GenuineIntel\nflags\t\t: fpu avx2 avx512f avx512_bf16\n"


@pytest.mark.parametrize(("cpuinfo", "quick"), [(ZEN_4, True), (ZEN_3, False), (INTEL, False)])
def test_processors_that_multiply_bf16_twice_as_fast(
    cpuinfo: str, quick: bool, tmp_path: Path
) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert processor.has_quick_bf16_vectors(tmp_path / "cpuinfo") == quick
    assert not processor.has_quick_bf16_vectors(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("flags", "there"), [("avx2 avx_vnni", True), ("avx512_vnni", True), ("avx2 avx512f", False)]
)
def test_processors_that_multiply_bytes(flags: str, there: bool, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(f"vendor_id\t: GenuineIntel\nflags\t\t: fpu {flags} gfni\n")
    assert processor.multiplies_bytes(tmp_path / "cpuinfo") == there
    assert not processor.multiplies_bytes(tmp_path / "nowhere")


@pytest.mark.parametrize("quick", [True, False])
def test_auto_is_bf16_where_that_is_quick(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "has_quick_bf16_vectors", lambda: quick)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    cpu = torch.device("cpu")
    assert device.choose_precision("auto", cpu) == (torch.bfloat16 if quick else torch.float32)
    assert device.choose_precision("float32", cpu) == torch.float32
