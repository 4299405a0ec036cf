"""A model as an ONNX graph, run by onnxruntime: the same scores, within 1e-4 of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from osad_bench.benchmark.decide.export import EXPORTED, check_export, export
from osad_bench.benchmark.decide.score import read_image
from osad_bench.core.errors import InputError
from osad_bench.datasets.reading.tiles import squared

runtime = pytest.importorskip("onnxruntime", reason="pip install 'osad-bench[onnx]'")


OFTEN = ("devnet", "whitened")
"""Exported in every run of the tests; the others nightly, as one export takes seconds."""


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=[] if name in OFTEN else [pytest.mark.nightly]) for name in EXPORTED]
)
def test_the_graph_gives_the_models_scores(method, fitted, part, tmp_path):
    model = fitted(method)
    export(model, tmp_path / "model.onnx")
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["osad_bench"])
    files = [tmp_path / f"{number}.png" for number in range(7)]
    for number, file in enumerate(
        files
    ):  # new ones: the distance of a photograph to itself in a memory is but rounding
        part(900 + number, spot=number > 3).save(file)
    wanted = model.score(files, None)["score"].to_numpy()
    images = [squared(read_image(path, True), about["image_size"], about["tiles"]) for path in files]
    found = [session.run(None, {"image": one.transpose(2, 0, 1)[None]})[0][0] for one in images]
    # The logarithm of a small distance carries a backbone's rounding on: what counts is the scores' spread.
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.ptp(wanted))
    assert about["held_out_scores"] == sorted(model.calibration.tolist())


def test_a_method_that_cannot_be_exported_is_refused_before_the_fit(cli, parts):
    done = cli("fit", "dpdl", f"folder:{parts}", "--out", "model", "--onnx", "model.onnx")
    assert done.returncode == 2
    assert "--onnx: dpdl cannot be exported; these can: devnet, evidence" in done.stderr
    with pytest.raises(InputError):
        check_export("saoe")


def test_a_torch_that_cannot_export_costs_one_sentence_and_no_model(cli, parts, tmp_path, monkeypatch):
    def unsupported(*_, **__):
        raise RuntimeError("call_method eval")

    monkeypatch.setattr(torch.onnx, "export", unsupported)  # as torch 2.4 does
    done = cli("fit", "whitened", f"folder:{parts}", "--out", "model", "--onnx", "model.onnx", "--set", "image_size=64")
    assert done.returncode == 2
    assert f"--onnx: torch {torch.__version__} cannot export whitened (RuntimeError: call_method eval)" in done.stderr
    assert (tmp_path / "model" / "model.json").is_file()
