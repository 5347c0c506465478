"""The fast forms of layers compute what their plain formulas compute, forwards and backwards."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from diptych.network_config import GeneratorConfig, Norm
from diptych.networks import make_generator
from diptych.networks.fast import resize, winograd
from diptych.networks.fast.norms import (
    GroupNorm,
    InstanceNorm,
    NormaliseGroups,
    NormalisePictures,
    PixelNorm,
)
from diptych.networks.fast.pairing import Pair
from diptych.networks.fast.resize import ResizeConv
from diptych.networks.fast.translating import for_translating
from diptych.networks.fast.transposed import TransposedConv
from diptych.networks.fast.wide import WideConv
from diptych.networks.fast.winograd import Conv3x3, TransformKernels, Winograd


def pictures(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    made = torch.randn(shape, dtype=dtype).contiguous(memory_format=torch.channels_last)
    return made.requires_grad_()


def in_groups(groups: int, make: Callable[[], nn.Module]) -> Any:
    """A layer of ``make``; for two groups that and another as one."""
    layer = make()
    return Pair(layer, make()).both if groups == 2 else layer


def gradients(y: Tensor, *of: Tensor) -> tuple[Tensor, ...]:
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(0)).to(y.dtype)
    return torch.autograd.grad((y * weights).sum(), of)


def assert_close(found: Tensor, expected: Tensor, relative: float = 1e-5) -> None:
    assert (found - expected).norm() <= relative * expected.norm()


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.integers(1, 2),
    st.integers(1, 4), st.integers(1, 4),
)  # fmt: skip
def test_winograd_is_the_convolution(n: int, c: int, o: int, groups: int, h: int, w: int) -> None:
    """In float64, where nothing but the order of summation can differ."""
    layer = in_groups(groups, lambda: Conv3x3(c, o)).double()
    x = pictures(n, groups * c, 4 * h + 2, 4 * w + 2, dtype=torch.float64)
    fast = Winograd.apply(x, TransformKernels.apply(layer.weight, layer), layer.bias)
    assert_same_layer(fast, layer, x)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    ("dtype", "rounding"), [(torch.float32, 2e-6), (torch.bfloat16, 2e-2)], ids=["float32", "bf16"]
)
@pytest.mark.parametrize(("height", "width"), [(34, 34), (31, 38), (65, 25)])
def test_a_3x3_convolution_goes_the_fast_way(
    height: int,
    width: int,
    dtype: torch.dtype,
    rounding: float,
    groups: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(winograd, "has_quick_bf16_vectors", lambda: True)
    layer = in_groups(groups, lambda: Conv3x3(128, 160)).to(dtype)
    with torch.no_grad():
        x = pictures(2, 128 * groups, height, width).to(dtype)
    x.requires_grad_()
    fast = layer(x)
    assert fast.dtype == dtype
    assert fast.is_contiguous(memory_format=torch.channels_last)
    of = (x, layer.weight, layer.bias)
    found = gradients(fast, *of)
    monkeypatch.setattr(winograd, "FEWEST_TILES", 1000)
    assert not torch.equal(fast, layer(x)), "the fast way was not taken"
    exact = F.conv2d(x.double(), layer.weight.double(), layer.bias.double(), groups=groups)
    assert_close(fast, exact, rounding)
    for ours, expected in zip(found, gradients(exact, *of), strict=True):
        assert_close(ours, expected, rounding)


def test_the_fast_way_is_not_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bf16 it is for vectors, not for matrix units; and tiles have to be worth it."""
    layer, x = Conv3x3(128, 128).bfloat16(), pictures(1, 128, 34, 34).bfloat16()

    def is_plain(x: Tensor) -> bool:
        return torch.equal(layer(x), nn.Conv2d.forward(layer, x))

    monkeypatch.setattr(winograd, "has_quick_bf16_vectors", lambda: False)
    assert is_plain(x)
    monkeypatch.setattr(winograd, "has_quick_bf16_vectors", lambda: True)
    assert not is_plain(x)
    assert is_plain(x[..., :30])
    with torch.autocast("cpu", torch.bfloat16):
        assert is_plain(x)


def test_kernels_follow_the_weights() -> None:
    """They are kept from one pass to the next, and never longer than the weights stay as they are:
    through two backward passes (accumulated), steps of Adam, loading and copying."""
    layer, plain = Conv3x3(64, 64), nn.Conv2d(64, 64, 3)
    plain.load_state_dict(layer.state_dict())
    x = pictures(4, 64, 18, 18)
    # (With its usual eps Adam steps either way where a gradient is nearly zero.)
    steps = [
        torch.optim.Adam(net.parameters(), lr=0.01, eps=1e-3, fused=True) for net in (layer, plain)
    ]
    for _ in range(3):
        for net, step in zip((layer, plain), steps, strict=True):
            step.zero_grad()
            for _ in range(2):
                (net(x) + net(2 * x)).square().mean().backward()
            step.step()
        assert_close(layer(x), plain(x), 1e-3)  # (a step that was missed: 0.7)
    plain.reset_parameters()
    layer.load_state_dict(plain.state_dict())
    assert_close(layer(x), plain(x), 5e-6)
    layer.weight.requires_grad_(False)
    layer(x)
    layer.weight.requires_grad_(True)
    layer(x).sum().backward()
    assert layer.weight.grad is not None
    layer(x)
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        twin.weight.mul_(2)
    assert_close(twin(x), 2 * plain(x) - plain.bias[:, None, None], 5e-6)
    assert_close(layer(x), plain(x), 5e-6)


@pytest.mark.parametrize(("height", "width"), [(38, 30), (71, 90), (200, 7)])
def test_without_gradients_it_goes_strip_by_strip(
    height: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd, "has_quick_bf16_vectors", lambda: True)
    for dtype, rounding in ((torch.float32, 2e-6), (torch.bfloat16, 2e-2)):
        layer = in_groups(2, lambda: Conv3x3(128, 128)).to(dtype)
        with torch.no_grad():
            x = pictures(2, 256, height, width).to(dtype)
            exact = F.conv2d(x.double(), layer.weight.double(), layer.bias.double(), groups=2)
            fast = layer(x)
        assert not torch.equal(fast, nn.Conv2d.forward(layer, x))
        assert_close(fast, exact, rounding)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_pixel_norm_computes_in_its_weights_precision(dtype: torch.dtype) -> None:
    layer = PixelNorm(24)
    nn.init.normal_(layer.weight)
    x = pictures(2, 24, 8, 8)
    expected = F.layer_norm(x.permute(0, 2, 3, 1), [24], layer.weight, layer.bias)
    found = layer(x.to(torch.bfloat16))
    assert found.dtype == torch.bfloat16
    assert_close(found.permute(0, 2, 3, 1).float(), expected, 5e-3)
    assert layer.to(dtype)(x.to(dtype)).dtype == dtype


@pytest.mark.parametrize("norm", ["instance", "group"])
def test_what_only_translates_does_no_work_twice(
    norm: Norm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels are transformed for the first picture; biases matter where the norm keeps them."""
    monkeypatch.setattr(winograd, "has_quick_bf16_vectors", lambda: True)
    torch.manual_seed(0)
    G = make_generator(GeneratorConfig(width=32, blocks=2, norm=norm), 3, 3).eval()
    for name, weight in G.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(weight)
    transformed = []
    transform = winograd.transform_kernels

    def counted(weight: Tensor, groups: int) -> Tensor:
        transformed.append(weight.shape)
        return transform(weight, groups)

    monkeypatch.setattr(winograd, "transform_kernels", counted)
    quick = for_translating(G)
    with torch.inference_mode():
        first, other = torch.rand(2, 1, 3, 128, 128)
        found = [quick(first), quick(other), quick(first)]
        assert transformed == [(128, 128, 3, 3)] * 4
        expected = G(first)
    assert torch.equal(found[0], found[2])
    assert_close(found[0], expected, 3e-2)
    assert not any(layer.fixed for layer in G.modules() if isinstance(layer, Conv3x3))
    if norm == "instance":  # (the first network is as it was)
        assert_close(G(first), expected, 1e-5)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("kind", ["instance", "group"])
def test_norms_of_channels_last_features(
    kind: str, n: int, dtype: torch.dtype, tolerance: float, layout: torch.memory_format
) -> None:
    """Whatever the layout of the gradient: PyTorch's own instance norm gives a wrong one for a
    single picture if it comes channels last (seen in 2.13)."""
    with torch.no_grad():
        x = pictures(n, 12, 9, 14).mul_(3).add_(5).to(dtype)
    x.requires_grad_()
    if kind == "instance":
        ours, plain = InstanceNorm(12), nn.InstanceNorm2d(12)
    else:
        ours, plain = GroupNorm(4, 12), nn.GroupNorm(4, 12)
        nn.init.normal_(ours.weight)
        nn.init.normal_(ours.bias)
        plain.load_state_dict(ours.state_dict())
    plain.double()
    exact_x = x.detach().double().contiguous().requires_grad_()
    y, exact = ours(x), plain(exact_x)
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert_close(y, exact, tolerance)
    dy = torch.randn(y.shape).to(dtype)
    of = tuple(ours.parameters())
    found = torch.autograd.grad(y, (x, *of), dy.contiguous(memory_format=layout))
    expected = torch.autograd.grad(exact, (exact_x, *plain.parameters()), dy.double())
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, tolerance)


def test_norms_of_nearly_flat_features() -> None:
    x = pictures(2, 12, 9, 14).detach() * 1e-3  # (of a variance below eps)
    exact = x.double().contiguous()
    assert_close(InstanceNorm(12)(x), nn.InstanceNorm2d(12)(exact), 1e-5)
    assert_close(GroupNorm(4, 12)(x), nn.GroupNorm(4, 12).double()(exact), 1e-5)


def test_norms_can_be_differentiated_twice() -> None:
    """As the penalties on the slope of D do."""
    x = pictures(2, 4, 3, 3, dtype=torch.float64)
    weight, bias = torch.randn(2, 4, dtype=torch.float64).requires_grad_().unbind()
    for normalise, its in (
        (lambda x: NormalisePictures.apply(x, 1e-5), (x,)),
        (lambda *of: NormaliseGroups.apply(*of, 2, 1e-5), (x, weight, bias)),
        (lambda *of: NormaliseGroups.apply(*of, 4, 1e-5), (x, weight, bias)),
    ):
        assert torch.autograd.gradcheck(normalise, its)
        assert torch.autograd.gradgradcheck(normalise, its)


def test_from_where_on_the_fast_ways_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for quick, fewest in ((True, resize.FEWEST), (False, resize.FEWEST_FOR_MATRIX_UNITS)):
        monkeypatch.setattr(resize, "has_quick_bf16_vectors", lambda quick=quick: quick)
        assert resize._fewest(torch.bfloat16) == fewest
        assert resize._fewest(torch.float32) == resize.FEWEST
    up = in_groups(2, lambda: ResizeConv(16, 8))  # (what counts is a group's numbers)
    assert type(up(pictures(1, 32, 63, 64)).grad_fn).__name__ != "InterleaveBackward"
    assert type(up(pictures(1, 32, 64, 64)).grad_fn).__name__ == "InterleaveBackward"
    monkeypatch.setattr(winograd, "has_quick_bf16_vectors", lambda: True)
    narrow, x = in_groups(2, lambda: Conv3x3(32, 32)), pictures(1, 64, 34, 34)
    assert torch.equal(narrow(x), nn.Conv2d.forward(narrow, x))
    few, x = Conv3x3(64, 128).bfloat16(), pictures(1, 64, 34, 34).bfloat16()
    assert torch.equal(few(x), nn.Conv2d.forward(few, x))


@pytest.mark.parametrize("kernel", [3, 4])
@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolutions(groups: int, kernel: int) -> None:
    """Also where a ReLU works in place on what they return."""
    layer = in_groups(groups, lambda: TransposedConv(5, 3, kernel)).double()
    x = pictures(2, 5 * groups, 6, 7, dtype=torch.float64)
    fast, plain = F.relu_(layer(x)), nn.ConvTranspose2d.forward(layer, x).relu()
    assert fast.shape == (2, 3 * groups, 12, 14)
    assert torch.equal(fast, plain)
    of = (x, *layer.parameters())
    for found, expected in zip(gradients(fast, *of), gradients(plain, *of), strict=True):
        assert_close(found, expected, 1e-12)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 2), st.integers(1, 4), st.integers(1, 4), st.integers(1, 2),
    st.integers(1, 6), st.integers(1, 6),
)  # fmt: skip
def test_resize_and_convolution_in_one(n: int, c: int, o: int, groups: int, h: int, w: int) -> None:
    layer = in_groups(groups, lambda: ResizeConv(c, o)).double()
    x = pictures(n, groups * c, h, w, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resize, "FEWEST", 1)
        fast = layer(x)
    plain = layer(x)
    assert type(fast.grad_fn).__name__ == "InterleaveBackward"
    assert type(plain.grad_fn).__name__ != "InterleaveBackward"
    assert fast.shape == (n, groups * o, 2 * h, 2 * w)
    assert_close(fast, plain, 1e-12)
    of = (x, *layer.parameters())
    for found, expected in zip(gradients(fast, *of), gradients(plain, *of), strict=True):
        assert_close(found, expected, 1e-12)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 2), st.integers(1, 7), st.integers(8, 12),
    st.integers(8, 12), st.integers(8, 12), st.sampled_from([3, 5, 7]),
)  # fmt: skip
def test_wide_convolutions_in_columns(
    n: int, few: int, many: int, h: int, w: int, kernel: int
) -> None:
    """Values and gradients are those of the plain formula, in float64."""
    for ins, outs in ((few, many), (many, few)):
        torch.manual_seed(0)
        layer = WideConv(ins, outs, kernel).double()
        in_columns = layer._with_columns_in if ins == few else layer._with_columns_out
        x = torch.randn(n, ins, h, w, dtype=torch.float64, requires_grad=True)
        assert_same_layer(in_columns(x), layer, x)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 2), st.integers(1, 9), st.integers(1, 9), st.integers(1, 2),
    st.integers(7, 12), st.integers(7, 12), st.sampled_from([3, 5, 7]),
)  # fmt: skip
def test_wide_convolutions_in_squares(
    n: int, ins: int, outs: int, groups: int, h: int, w: int, kernel: int
) -> None:
    """What the layer does on the CPU is the plain formula, whichever way it goes."""
    torch.manual_seed(0)
    layer = in_groups(groups, lambda: WideConv(ins, outs, kernel)).double()
    x = pictures(n, groups * ins, h, w, dtype=torch.float64)
    even = (h - kernel) % 2 == 1 and (w - kernel) % 2 == 1
    assert layer._makes_squares(x) == (even and outs < 8)
    assert_same_layer(layer(x), layer, x)


def assert_same_layer(found: Tensor, layer: nn.Conv2d, x: Tensor) -> None:
    """``found`` is ``layer(x)``, and so are its gradients."""
    wanted, inputs = nn.Conv2d.forward(layer, x), (x, *layer.parameters())
    assert_close(found, wanted, 1e-12)
    pairs = zip(gradients(found, *inputs), gradients(wanted, *inputs), strict=True)
    for one, other in pairs:
        assert_close(one, other, 1e-12)
