"""Values that depend on the training normals alone, computed once for all seeds, shots and methods that ask for them.

The key is a digest of everything such a value depends on: the data set's fingerprint, the training normals' ids, the
preset as the method uses it, the backbone's weights, the method's version and source, the packages that compute it, the
kind of device, the name and the settings. Methods ask for values by `Context.shared` and for measures of images by
`Method.measure`; the training set keeps its normalisers the same way. Below the cache folder lie::

    shared/KEY/value.safetensors   a value, or
    shared/KEY/part0.float32 …     measures, one row per image (see `features.rows`)
    shared/KEY/meta.json           everything that the key is a digest of
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from osad_bench.benchmark.cell.provenance import version_of
from osad_bench.benchmark.cell.source import source_digest
from osad_bench.benchmark.features.holdings import META, used
from osad_bench.benchmark.features.rows import Computed, Layout, Rows, kept_rows
from osad_bench.benchmark.features.views import CPU
from osad_bench.benchmark.preset import Preset
from osad_bench.core.files import clear_forgotten, write_whole
from osad_bench.core.locks import locked
from osad_bench.methods.base import Method, Pyramid
from osad_bench.methods.saving import State

FORMAT = 1
PACKAGES = ("numpy", "scikit-learn", "scipy", "torch")
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
VALUE = "value.safetensors"


def digest(value: object) -> str:
    """Twenty-four hexadecimal digits of the sha256 of a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Shelf:
    """Kept values that depend on one set of training normals and one preset.

    Attributes
    ----------
    root
        The cache folder; None to keep nothing.
    identity
        Everything that its values depend on, as JSON can hold it.
    device
        Device of the tensors that are returned.
    """

    root: Path | None
    identity: Mapping[str, object]
    device: torch.device = CPU

    @classmethod
    def of_normals(
        cls, root: Path, fingerprint: str, normals: tuple[str, ...], preset: Preset, weights: str, device: torch.device
    ) -> Shelf:
        """The shelf of these training normals; it keeps nothing if the features themselves are trained."""
        read = preset.model_dump(
            mode="json", include={"backbone", "image_size", "tiles", "scales", "stages", "normalise"}
        )
        identity = {
            "format": FORMAT,
            "fingerprint": fingerprint,
            "normals": digest(normals),
            "preset": read | {"weights": weights},
            "packages": {name: version_of(name) for name in PACKAGES},
            "device": device.type,
        }
        return cls(root if preset.frozen and preset.adapter == "none" else None, identity, device)

    def of_method(self, method: type[Method]) -> Shelf:
        """The part of one method; it keeps nothing if the method's source cannot be read (a notebook)."""
        source = source_digest(method)
        identity = {**self.identity, "method": method.name, "version": method.version, "source": source}
        return replace(self, root=self.root if source else None, identity=identity)

    def _place(self, name: str, settings: Mapping[str, object]) -> tuple[Path | None, dict[str, Any]]:
        identity = {**self.identity, "name": name, "settings": dict(settings)}
        identity = json.loads(json.dumps(identity))  # as it is when read from a file
        return None if self.root is None else self.root / "shared" / digest(identity), identity

    def keep(self, name: str, settings: Mapping[str, object], compute: Callable[[], State]) -> State:
        """Return the value of this name and these settings; compute it if it is not kept yet (`methods.base.Keep`).

        All its tensors are on the shelf's device.

        Raises
        ------
        OSError
            The disk is full. A cache without write permission is only read.
        """
        found = self._kept(name, settings, compute)
        return {key: tensor.to(self.device) for key, tensor in found.items()}

    def _kept(self, name: str, settings: Mapping[str, object], compute: Callable[[], State]) -> State:
        folder, identity = self._place(name, settings)
        if folder is None:
            return compute()
        if (found := _read(folder / VALUE)) is not None:
            used(folder)
            return found
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "lock").touch()
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
            return compute()
        with locked(folder / "lock"):
            clear_forgotten(folder)
            if (found := _read(folder / VALUE)) is None:
                found = {key: tensor.contiguous().clone() for key, tensor in compute().items()}
                write_whole(folder / META, json.dumps({"identity": identity}, indent=1).encode())
                write_whole(folder / VALUE, save({key: tensor.cpu() for key, tensor in found.items()}))
        return found

    def measures(
        self,
        method: Method,
        total: int,
        rows: Rows,
        read: Callable[[Rows], Pyramid],
        batch: int,
    ) -> list[npt.NDArray[Any]]:
        """What `Method.measure` returns for images, kept once computed.

        Parameters
        ----------
        total, rows
            Number of images of the data set, and row numbers of those to measure.
        read
            Function that returns the features of rows.
        batch
            Images per call, always: the last batch is padded, so that no image's measures depend on the others.

        Returns
        -------
        list of arrays, each with one row per row of `rows`
        """

        def measured(some: Rows) -> list[npt.NDArray[Any]]:
            padded = np.concatenate([some, np.repeat(some[-1:], batch - len(some))])
            with torch.no_grad():
                return [tensor[: len(some)].cpu().numpy() for tensor in method.measure(read(padded))]

        def compute(missing: Rows) -> Computed:
            for start in range(0, len(missing), batch):
                some = missing[start : start + batch]
                yield some, measured(some)

        def layout() -> Layout:
            return [(one.dtype.name, one.shape[1:]) for one in measured(rows[:1])]

        folder, identity = self._place("measures", method.config.model_dump(mode="json"))
        if folder is not None:
            try:
                return [kept[rows] for kept in kept_rows(folder, identity, total, rows, layout, compute)]
            except OSError as error:
                if error.errno not in READ_ONLY:
                    raise
        return [np.concatenate(part) for part in zip(*(values for _, values in compute(rows)))]


def _read(path: Path) -> State | None:
    """The tensors of a file; None if it is missing or damaged."""
    try:
        state: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError):
        return None
    return state
