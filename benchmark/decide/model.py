"""A fitted model as a folder: tensors in safetensors files, everything else in one JSON file; no pickle, no image.

    model.json               method, settings, data, machine and command of the fit; digests of the other files
    method.safetensors       what the method learned (`Method.state`)
    below.safetensors        what lies between the backbone and the method: normalisers and adapter, or the fine-tuned trunk
    calibration.safetensors  scores of the held-out normals

Nothing in a folder is executed. The method's code is not in it: it is looked up among the installed methods. Where it
comes from a plug-in or a file, model.json names that.
"""

from __future__ import annotations

import copy
import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save
from torch import nn

from osad_bench.benchmark.cell.below import Adapter, Normaliser, through
from osad_bench.benchmark.cell.machine import Machine, pick_device
from osad_bench.benchmark.cell.state import as_cells_run
from osad_bench.benchmark.cell.training import score_rows
from osad_bench.benchmark.decide.about import (
    ABOUT,
    BELOW,
    CALIBRATION,
    METHOD,
    About,
    digest_of,
    method_of,
    read_about,
    read_state,
)  # fmt: skip
from osad_bench.benchmark.decide.score import COLUMNS, Rows, find, verdicts
from osad_bench.benchmark.features.backbones import load_backbone
from osad_bench.benchmark.features.cache import features_of
from osad_bench.benchmark.features.extractor import PyramidExtractor, as_tensor, for_inference, pyramid_shapes
from osad_bench.benchmark.preset import Preset
from osad_bench.core.border import foreign, said
from osad_bench.core.errors import InputError
from osad_bench.core.files import check_writable
from osad_bench.methods.base import Method, Pyramid
from osad_bench.methods.saving import State, part_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Fitted:
    """A fitted model: it reads photographs and scores them, exactly as the benchmark scores a test part.

    Attributes
    ----------
    about
        Method, settings, data and provenance of the fit.
    method
        The fitted method.
    below
        Normalisers and adapters over a frozen backbone, or the fine-tuned extractor.
    calibration
        Scores of the held-out normals, (n,).
    machine
        Device and weights file that it computes with.
    """

    about: About
    method: Method
    below: nn.Module
    calibration: npt.NDArray[np.float64]
    machine: Machine = field(repr=False)

    def __post_init__(self) -> None:
        self._extractor: PyramidExtractor | None = None

    @property
    def extractor(self) -> PyramidExtractor:
        """The backbone, from image to pyramid: the frozen one, optimised for inference, or the fine-tuned one.

        Raises
        ------
        InputError
            The backbone's weights here are not those that the model was fitted on, or it has no such stages.
        """
        if isinstance(self.below, PyramidExtractor):
            return self.below
        if self._extractor is None:
            backbone = load_backbone(self.about.backbone, self.machine.weights)
            if backbone.weights != self.about.weights:
                raise InputError(
                    f"the model was fitted on weights of {self.about.backbone} with sha256 {self.about.weights[:12]}…, but "
                    f"those here have {backbone.weights[:12]}…: give the file it was fitted on with --weights"
                )
            pyramid_shapes(self.about.preset, backbone)
            module = for_inference(backbone.module)
            extractor = PyramidExtractor(module, backbone.mean, backbone.std, self.about.preset)
            self._extractor = extractor.eval().to(self.machine.device)
        return self._extractor

    def rows(self, images: npt.NDArray[np.uint8]) -> Rows:
        """Turn at most `features.cache.BATCH` images (n, tiles * size, size, 3) into what `pyramid` and `score_rows` take."""
        if isinstance(self.below, PyramidExtractor):
            return [images]
        return list(features_of(images, self.extractor, torch.device(self.machine.device)))

    def pyramid(self, rows: Rows) -> Pyramid:
        """Return the pyramid that the method gets for these rows, maps (n, C, H, W)."""
        device = torch.device(self.machine.device)
        if isinstance(self.below, PyramidExtractor):
            pyramid: Pyramid = self.below(as_tensor(rows[0]).to(device))
            return pyramid
        assert isinstance(self.below, Below)
        return through(rows, self.below.normalisers, self.below.adapters, device)

    def score_rows(self, rows: Rows) -> npt.NDArray[np.float64]:
        """Scores (n,) of rows; an image's score does not depend on the others.

        Raises
        ------
        InputError
            The method fails on them.
        """
        index = np.arange(len(rows[0]))
        with foreign() as outcome, as_cells_run(self.about.preset, self.machine):
            # The fit has shown that the method reads nothing that was never written; filling it takes time.
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
            scores = score_rows(self.method, lambda part: self.pyramid([one[part] for one in rows]), index)
        if outcome.error is not None:
            problem = " ".join(said(outcome.error).split())
            raise InputError(f"{self.about.method} fails on these photographs: {problem}") from outcome.error
        found: npt.NDArray[np.float64] = scores.numpy()
        return found

    def maps(self, rows: Rows) -> npt.NDArray[np.float64] | None:
        """Heat maps (n, H, W), higher = more anomalous; None for a method without maps."""
        with as_cells_run(self.about.preset, self.machine), torch.no_grad():
            found = self.method.score_map(self.pyramid(rows))
        return None if found is None else found.detach().double().cpu().numpy()

    @classmethod
    def load(
        cls, folder: Path | str, *, device: str = "auto", weights: Path | None = None, method_file: Path | None = None
    ) -> Fitted:
        """Read a model that `save` wrote; see `load_model`."""
        return load_model(folder, device=device, weights=weights, method_file=method_file)

    def score(self, photos: Path | str | Sequence[Path | str], false_alarms: float | None = 0.01) -> pd.DataFrame:
        """Score photographs.

        Parameters
        ----------
        photos
            Files, or folders whose images are scored, sub-folders included.
        false_alarms
            Largest share of normals that may be called anomalies, in (0, 1); None for scores without decisions.

        Returns
        -------
        DataFrame
            One row per file, with the columns ``file, score`` (higher = more anomalous, NaN for a file that cannot be
            read), ``p_value, decision`` (``anomaly``, ``normal``, ``broken``) and ``problem``.

        Raises
        ------
        InputError
            A place does not exist, or the model has too few held-out normals for this promise.
        """
        import pandas as pd

        places = [photos] if isinstance(photos, (str, Path)) else list(photos)
        found = verdicts(self, find(places).files.items(), false_alarms)
        rows = [[getattr(verdict, name) for name in COLUMNS] for verdict in found]
        return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"score": float, "p_value": float})

    def save(self, folder: Path | str, replace: bool = False) -> Path:
        """Write the model as a new folder; returns its path.

        Parameters
        ----------
        replace
            Replace a model that is there already. Anything else is never replaced.

        Raises
        ------
        InputError
            Something else is there, or the method cannot be saved without pickle.
        OSError
            The folder cannot be written.
        """
        folder = Path(folder)
        check_place(folder, replace)
        contents = {
            METHOD: _bytes(self.method.state()),
            BELOW: _bytes(self.below.state_dict()),
            CALIBRATION: _bytes({"scores": torch.from_numpy(self.calibration)}),
        }
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
        about = self.about.model_copy(update={"files": digests})
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
            made = Path(temporary) / "model"
            made.mkdir()
            for name, data in contents.items():
                (made / name).write_bytes(data)
            value = about.model_dump(mode="json")
            text = json.dumps(value | {"digest": digest_of(value)}, indent=1, ensure_ascii=False)
            (made / ABOUT).write_bytes(text.encode("utf-8", "backslashreplace") + b"\n")
            if folder.exists():
                folder.replace(Path(temporary) / "before")
            made.replace(folder)
        return folder


def check_place(folder: Path, replace: bool) -> None:
    """Check that writing a model here overwrites nothing that must not be lost.

    Raises
    ------
    InputError
        There is a file, a folder that is no model, or (without `replace`) a model; or nothing can be written there.
    """
    check_writable(folder, "--out")
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / ABOUT).is_file():
        raise InputError(f"--out {folder} exists and is no model: give the name of a new folder")
    if not replace:
        raise InputError(f"--out {folder} holds a model already: give another name, or add --replace")
    strangers = sorted(path.name for path in folder.iterdir() if path.name not in (ABOUT, METHOD, BELOW, CALIBRATION))
    if strangers:
        raise InputError(
            f"--out {folder} holds more than a model ({strangers[0]}): it is not replaced, give another name"
        )


def _bytes(state: State) -> bytes:
    return save({name: value.detach().cpu().contiguous().clone() for name, value in state.items()})


class Below(nn.Module):
    """Normalisers (one per map, or none) and adapters (one per number of channels, or none) over a frozen backbone."""

    def __init__(self, normalisers: nn.ModuleList, adapters: nn.ModuleDict) -> None:
        super().__init__()
        self.normalisers, self.adapters = normalisers, adapters

    @classmethod
    def restored(cls, state: State, preset: Preset) -> Below:
        """Build it from its `state_dict`.

        Raises
        ------
        InputError
            There are not the normalisers and adapters that the preset asks for.
        """
        normalisers = nn.ModuleList(
            Normaliser(preset.normalise, part["mean"], part["matrix"])
            for _, part in sorted(_parts(state, "normalisers"), key=lambda one: int(one[0]))
        )
        adapters = nn.ModuleDict()
        for channels, part in _parts(state, "adapters"):
            adapters[channels] = Adapter(int(channels), preset.adapter, preset.adapter_width)
            adapters[channels].load_state_dict(part)
        maps = len(preset.scales) * len(preset.stages) if preset.normalise != "none" else 0
        if len(normalisers) != maps or bool(len(adapters)) != (preset.adapter != "none"):
            raise InputError(
                f"the model is damaged: {BELOW} holds {len(normalisers)} normalisers and {len(adapters)} adapters, which are not "
                "those of its preset. Fit it anew"
            )
        return cls(normalisers, adapters)


def _parts(state: State, name: str) -> Iterator[tuple[str, State]]:
    """The numbered parts of a list or mapping of modules, with their tensors."""
    below = part_of(state, name)
    for one in dict.fromkeys(key.partition(".")[0] for key in below):
        yield one, part_of(below, one)


def load_model(
    folder: Path | str, *, device: str = "auto", weights: Path | None = None, method_file: Path | None = None
) -> Fitted:
    """Read a model that `Fitted.save` wrote.

    Parameters
    ----------
    device
        ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
    weights
        File with the backbone's weights; None for those the backbone gets itself (a package, or torch's cache).
    method_file
        Python file of the method, for a model whose method is not installed. The file is executed; nothing else is.

    Raises
    ------
    InputError
        It is no model, is damaged, or needs something that is not here; the message says what.
    """
    folder = Path(folder).expanduser()
    about = read_about(folder)
    method = method_of(about, method_file)
    preset = about.preset
    states = {name: read_state(folder, name, about) for name in (METHOD, BELOW, CALIBRATION)}
    machine = Machine(cache=Path(), weights=weights, device=pick_device(device))
    with foreign() as outcome:
        below: nn.Module
        if preset.frozen:
            below = Below.restored(states[BELOW], preset)
        else:
            backbone = load_backbone(about.backbone, weights)
            below = PyramidExtractor(copy.deepcopy(backbone.module), backbone.mean, backbone.std, preset)
            below.load_state_dict(states[BELOW])
            below = below.to(memory_format=torch.channels_last)  # as in training: otherwise the last digit differs
        below = below.eval().to(machine.device)
        state = {name: value.to(machine.device) for name, value in states[METHOD].items()}
        method.restore(state, list(about.shapes))
        scores = states[CALIBRATION]["scores"].numpy().astype(np.float64)
    if isinstance(outcome.error, InputError):
        raise outcome.error
    if outcome.error is not None:
        raise InputError(
            f"{folder} cannot be restored ({' '.join(said(outcome.error).split())}): fit it anew"
        ) from outcome.error
    if scores.shape != (about.fitted_to.calibration,) or not np.isfinite(scores).all():
        raise InputError(
            f"{folder} is damaged: {CALIBRATION} holds {scores.size} scores, expected {about.fitted_to.calibration} finite "
            "ones. Fit it anew"
        )
    return Fitted(about, method, below, scores, machine)
