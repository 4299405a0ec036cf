"""Files of strangers: whatever is in them, they are read or refused in one sentence.

Each reader gets valid files that were damaged at random: bytes changed, cut out, doubled; in JSON, values that no writer
writes. 28 per reader in every run of the tests, 460 nightly (docs/reliability.md).
"""

from __future__ import annotations

import copy
import io
import itertools
import json
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from osad_bench.benchmark.cell.split import read_split, split, write_split
from osad_bench.benchmark.decide.model import load_model
from osad_bench.benchmark.grid.plan import read_grid
from osad_bench.benchmark.preset import load_preset
from osad_bench.core.errors import InputError
from osad_bench.core.registry import UnknownNameError
from osad_bench.core.text import printable
from osad_bench.datasets import DatasetError
from osad_bench.datasets.catalogue import open_dataset
from osad_bench.datasets.reading.images import read_bands, read_mask, read_rgb
from osad_bench.results.baseline import make_baseline, read_baseline
from osad_bench.results.gate import check
from osad_bench.results.index import Index, Stamp
from osad_bench.results.metrics import compute
from osad_bench.results.record import Cell, Protocol, Provenance, Record, SplitSummary, TestScores
from osad_bench.results.registered import FrozenCell, FrozenPlan, read_plan, registered_in_words
from osad_bench.results.report import write_report
from osad_bench.results.store import Store, StoreError, load
from osad_bench.results.submission import check_numbers, opened, submit

resource = pytest.importorskip("resource")

SENTENCES = (InputError, UnknownNameError, DatasetError, StoreError)
"""What may be raised: each is one line on the command line, with exit code 2."""

ODD = [
    None, True, -1, 0, 1.5, 2**63, 10**400, 1e308, float("nan"), float("inf"), "", "x" * 10_000, "\x1b[2J", "\n::error::x", "\ud800",
    "\0", "\u202e", "=1+1", "$x$", "[/red]", "../../../etc/passwd", "9999-12-31T23:59:59+14:00", "1e999", [], {}, [[]] * 50,
    json.loads("[" * 100 + "]" * 100), {"a": {"b": float("-inf")}},
]  # fmt: skip


def bytes_damaged(draw: Callable, content: bytes) -> bytes:
    """Some bytes of `content` changed, cut out, doubled or put in."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        length = draw(st.sampled_from([1, 1, 4, 50, 10_000]))
        piece = draw(
            st.one_of(st.binary(max_size=8), st.sampled_from([content[at : at + length] * 2, b"", b"[" * 5000]))
        )
        content = content[:at] + piece + content[at + draw(st.sampled_from([0, length])) :]
    return content


def odd(draw: Callable) -> object:
    return copy.deepcopy(draw(st.sampled_from(ODD)))


def values_damaged(draw: Callable, value: object) -> object:
    """A JSON value with some of its parts replaced, taken away or added."""
    for _ in range(draw(st.integers(1, 3))):
        here, path = value, []
        while isinstance(here, (dict, list)) and here:
            path.append((here, draw(st.sampled_from(sorted(here) if isinstance(here, dict) else range(len(here))))))
            here = path[-1][0][path[-1][1]]
            if draw(st.integers(0, 3)) == 0:
                break
        if not path:
            return odd(draw)
        parent, name = path[-1]
        if draw(st.integers(0, 5)) == 0:
            del parent[name]
        else:
            place = draw(st.sampled_from([name, name, name, "new", "\x1b"])) if isinstance(parent, dict) else name
            parent[place] = odd(draw)
    return value


def json_damaged(draw: Callable, content: bytes) -> bytes:
    if draw(st.integers(0, 2)) == 0:
        return bytes_damaged(draw, content)
    return json.dumps(values_damaged(draw, json.loads(content))).encode()


Target = tuple[bytes, Callable[[Callable, bytes], bytes], Callable[[bytes], object]]
"""A valid file, what damages it, and what reads it."""


def scores(seed: int) -> TestScores:
    random = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [12, 8])
    return TestScores(
        [f"i/{i}.png" for i in range(20)], labels, np.where(labels, "bad", ""), random.normal(size=20) + labels
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = Store(tmp_path_factory.mktemp("fuzz") / "store")
    for method, seed in itertools.product(("dra", "dpdl"), range(2)):
        cell = Cell(
            dataset="parts", fingerprint="f" * 64, protocol=Protocol(shots=2, seed=seed), method=method, version=1,
            config={"prototypes": 16, "deep": {"rates": [0.1, 0.2]}}, preset={"image_size": 64},
        )  # fmt: skip
        division = SplitSummary(
            digest="d" * 64, train_normal=9, train_anomaly=2, test_normal=12, test_anomaly=8, known=("k/1", "k/2")
        )
        record = Record(
            key=cell.key, cell=cell, preset="quick", status="ok", metrics=compute(scores(seed)), split=division,
            curve={"loss": [1.0, 0.5]}, diagnostics={"oracle": {"best_auroc": 1.0}}, method_title=method.upper(),
            provenance=Provenance(packages={"numpy": "2"}, command="osad-bench run"),
        )  # fmt: skip
        made.put(record, scores(seed))
    return made


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz") / "photos"
    random = np.random.default_rng(0)
    for part, count in (("train/good", 6), ("test/good", 3), ("test/bad", 4)):
        (folder / part).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 256, (16, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / part / f"{number}.png")
    return folder


def record(store: Store, folder: Path, photos: Path) -> Target:
    key = store.keys()[0]

    def read(content: bytes) -> None:
        other = Store(folder / "other")
        name = key
        try:  # a stranger's record whose key was made right again
            value = json.loads(content)
            value["key"] = name = Cell.model_validate(value["cell"]).key
            content = json.dumps(value).encode()
        except Exception:
            pass
        for place, end, data in (("records", "json", content), ("scores", "npz", store._scores_path(key).read_bytes())):
            path = other.root / place / name[:2] / f"{name}.{end}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        try:
            assert not [text for text in load(other.root)["method"] if text != printable(text)]
            write_report(
                other.root, out=folder / "out", formats=["md", "tex", "csv", "html"], figures=False, statistics=False
            )
        finally:
            (other.root / "records" / name[:2] / f"{name}.json").unlink()

    return store._record_path(key).read_bytes(), json_damaged, read


def scores_file(store: Store, folder: Path, photos: Path) -> Target:
    arrays = {name: getattr(scores(0), name) for name in ("ids", "labels", "kinds", "scores")}
    odd = [
        np.array([]), np.array(1.0), np.zeros((20, 2)), np.full(20, np.nan), np.full(20, 2), np.full(20, 256), np.full(20, 0.5),
        np.full(20, 1j), np.full(20, "x"), np.full(20, "\x1b[2J"), np.full(20, "\ud800"), np.full(20, b"x"), np.arange(21.0),
        np.full(20, np.datetime64("2026-01-01")), np.full(20, -np.inf), np.arange(20, dtype=">f8"), np.zeros(20, dtype="f2,i4"),
    ]  # fmt: skip

    def damaged(draw: Callable, content: bytes) -> bytes:
        if draw(st.booleans()):
            return bytes_damaged(draw, content)
        changed = arrays | {draw(st.sampled_from(sorted(arrays))): draw(st.sampled_from(odd))}
        stream = io.BytesIO()
        np.savez_compressed(stream, **changed)
        return stream.getvalue()

    def read(content: bytes) -> None:
        path = store._scores_path("0" * 64)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        found = store.scores("0" * 64)
        assert set(found.labels.tolist()) <= {0, 1}
        assert np.isfinite(found.scores).all()

    return store._scores_path(store.keys()[0]).read_bytes(), damaged, read


def baseline(store: Store, folder: Path, photos: Path) -> Target:
    frame = load(store.root)

    def read(content: bytes) -> None:
        (folder / "b.json").write_bytes(content)
        for finding in check(store.root, frame, read_baseline(folder / "b.json")):
            text = f"{finding.title}: {finding.message}"
            assert text == printable(text)

    return make_baseline(store.root, frame).dump().encode(), json_damaged, read


def plan(store: Store, folder: Path, photos: Path) -> Target:
    cells = {key: FrozenCell(title=f"cell {key[:4]}", method_source="ab") for key in store.keys()}  # noqa: SIM118
    frame = load(store.root)

    def read(content: bytes) -> None:
        (folder / "p.json").write_bytes(content)
        for sentence in registered_in_words(frame, read_plan(folder / "p.json")):
            assert sentence == printable(sentence)

    return FrozenPlan(grid={"methods": ["dra"]}, cells=cells).dump().encode(), json_damaged, read


GRID = b"""methods = ["dra", "devnet"]
datasets = ["elpv", "mvtec/carpet"]
setting = ["general", "hard"]
shots = [10, 1]
seeds = 3
floor = "mahalanobis"
contamination = [0.0, 0.05]
[set]
image_size = 64
dra.topk = [0.1, 0.2]
"""
ODD_TOML = [
    b"nan",
    b"inf",
    b"-1",
    b"1e999",
    b"99999999999999999999",
    b"2026-01-01",
    b"[[]]",
    b'""',
    b"{}",
    b'"\\u0000"',
    b"true",
]


def grid(store: Store, folder: Path, photos: Path) -> Target:
    def damaged(draw: Callable, content: bytes) -> bytes:
        if draw(st.booleans()):
            return bytes_damaged(draw, content)
        lines = content.splitlines()
        at = draw(st.sampled_from([i for i, line in enumerate(lines) if b"=" in line]))
        lines[at] = lines[at].partition(b"=")[0] + b"= " + draw(st.sampled_from(ODD_TOML))
        return b"\n".join(lines)

    def read(content: bytes) -> None:
        (folder / "grid.toml").write_bytes(content)
        read_grid(folder / "grid.toml", {})

    return GRID, damaged, read


def preset(store: Store, folder: Path, photos: Path) -> Target:
    from osad_bench.benchmark import preset as module

    _, damaged, _ = grid(store, folder, photos)

    def read(content: bytes) -> None:
        (folder / "own.toml").write_bytes(content)
        load_preset(str(folder / "own.toml"))

    return Path(module.__file__).with_name("presets").joinpath("quick.toml").read_bytes(), damaged, read


def listed(store: Store, folder: Path, photos: Path) -> Target:
    names = [path.relative_to(photos).as_posix() for path in sorted(photos.rglob("*.png"))]
    lines = [
        "path,label,kind,partition",
        *(f"{name},{int('bad' in name)},{'bad' * ('bad' in name)}," for name in names),
    ]

    def read(content: bytes) -> None:
        (photos / "list.csv").write_bytes(content)
        assert open_dataset(f"csv:{photos / 'list.csv'}", None).samples

    return "\n".join(lines).encode(), bytes_damaged, read


def exported_split(store: Store, folder: Path, photos: Path) -> Target:
    dataset = open_dataset(f"folder:{photos}", None)
    protocol = Protocol(shots=2)
    write_split(folder / "s.tsv", dataset, protocol, split(dataset, protocol))

    def read(content: bytes) -> None:
        (folder / "t.tsv").write_bytes(content)
        read_split(folder / "t.tsv")

    return (folder / "s.tsv").read_bytes(), bytes_damaged, read


def image(store: Store, folder: Path, photos: Path) -> Target:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 16, 3), dtype=np.uint8)
    files = []
    for form in ("png", "jpeg", "tiff", "bmp", "gif", "webp"):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, form)
        files.append((form, stream.getvalue()))
    stream = io.BytesIO()
    np.save(stream, pixels.astype(np.float64))
    files.append(("npy", stream.getvalue()))

    def damaged(draw: Callable, content: bytes) -> bytes:
        form, content = draw(st.sampled_from(files))
        return form.encode().ljust(4) + bytes_damaged(draw, content)

    def read(content: bytes) -> None:
        path = folder / f"x.{content[:4].decode().strip()}"
        path.write_bytes(content[4:])
        if path.suffix == ".npy":
            assert read_bands(path).shape[2] == 3
            return
        assert read_rgb(path, upright=True).shape[2] == 3
        assert read_mask(path).ndim == 2

    return b"", damaged, read


def submission(store: Store, folder: Path, photos: Path) -> Target:
    submit(store.root, folder / "s.osad.zip", "Mine")
    key = store.keys()[0]

    def damaged(draw: Callable, content: bytes) -> bytes:
        if draw(st.booleans()):
            return bytes_damaged(draw, content)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        name = draw(st.sampled_from(["submission.json", f"records/{key[:2]}/{key}.json"]))
        files[name] = json_damaged(draw, files[name])
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for one, data in files.items():
                archive.writestr(one, data)
        return stream.getvalue()

    def read(content: bytes) -> None:
        (folder / "t.osad.zip").write_bytes(content)
        with opened(folder / "t.osad.zip") as found:
            assert found.title == printable(found.title)
            check_numbers(found.store)

    return (folder / "s.osad.zip").read_bytes(), damaged, read


def model(store: Store, folder: Path, photos: Path) -> Target:
    from osad_bench.benchmark import fit

    fit("mahalanobis", f"folder:{photos}", calibrate=2, set={"image_size": [32]}).save(folder / "model")
    files = {path.name: path.read_bytes() for path in (folder / "model").iterdir()}

    def damaged(draw: Callable, content: bytes) -> bytes:
        name = draw(st.sampled_from(sorted(files)))
        change = json_damaged if name.endswith("json") else bytes_damaged
        return name.encode().ljust(40) + change(draw, files[name])

    def read(content: bytes) -> None:
        path = folder / "model" / content[:40].decode().strip()
        path.write_bytes(content[40:])
        try:
            load_model(folder / "model")
        finally:
            path.write_bytes(files[path.name])

    return b"", damaged, read


def index(store: Store, folder: Path, photos: Path) -> Target:
    """Damaged, it is passed over: what the records say is what is read."""
    pytest.importorskip("pyarrow")
    from osad_bench.results import index as module

    shutil.copytree(store.root, folder / "indexed")
    with patch.object(module, "SETTLED", -3600.0):  # the records are as new as the index
        path, count = Store(folder / "indexed").compact()
    wanted = load(store.root).astype(str)
    assert count == len(wanted)
    assert all(map(Index.read(folder / "indexed").fresh, wanted["key"], stamps(folder / "indexed", wanted["key"])))

    def read(content: bytes) -> None:
        path.write_bytes(content)
        assert load(folder / "indexed").astype(str).equals(wanted)
        if Index.read(folder / "indexed") is None:
            raise StoreError("it was passed over")

    return path.read_bytes(), bytes_damaged, read


def stamps(root: Path, keys: Iterable[str]) -> list[Stamp]:
    return [Stamp.of((root / "records" / key[:2] / f"{key}.json").stat()) for key in keys]


TARGETS = [index, record, scores_file, baseline, plan, grid, preset, listed, exported_split, image, submission, model]
MOST_MEMORY = 2**30
"""Bytes by which all examples of one reader together may raise the memory that this process has held."""


@pytest.mark.parametrize("count", [pytest.param(28, id="few"), pytest.param(460, id="many", marks=pytest.mark.nightly)])
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__)
def test_damaged_files_are_read_or_refused_in_one_sentence(store, photos, tmp_path, target, count):
    content, damaged, read = target(store, tmp_path, photos)
    refused = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @settings(
        max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.data())
    def examples(data: st.DataObject) -> None:
        nonlocal refused
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what NumPy and Pillow say of odd values
            try:
                read(damaged(data.draw, content))
            except SENTENCES:
                refused += 1

    examples()
    assert refused > count / 10, "the damage did no harm: nothing was tested"
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MOST_MEMORY
