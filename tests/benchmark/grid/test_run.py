"""Runs: identical, resumable, and a cell that fails harms no other."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from osad_bench.benchmark import run
from osad_bench.benchmark.cell.machine import Machine
from osad_bench.benchmark.grid import workers as grid_workers
from osad_bench.benchmark.grid.plan import plan, read_grid
from osad_bench.benchmark.grid.run import carry_out, summarise_failures
from osad_bench.benchmark.grid.todo import Timings, compare
from osad_bench.benchmark.grid.workers import Reporter
from osad_bench.results.store import Store, StoreError

SMALL = {"image_size": [64], "schedule.epochs": [2], "schedule.steps": [3]}
TEXTURES = ["--datasets", "textures", "--set", "image_size=64", "--set", "schedule.steps=3"]

PLUGIN = '''
"""Methods that go wrong."""
import os, signal
import torch
from osad_bench.methods.base import Method

class _Bad(Method):
    title = "Bad"
    def fit(self, train, context): ...
    def score(self, pyramid): return pyramid[0].mean((1, 2, 3))

class Raises(_Bad):
    name = "raises"
    def fit(self, train, context): raise RuntimeError("no luck today")

class NotANumber(_Bad):
    name = "nan"
    def score(self, pyramid): return pyramid[0].mean((1, 2, 3)) * float("nan")

class Short(_Bad):
    name = "short"
    def score(self, pyramid): return torch.zeros(1)

class Dies(_Bad):
    name = "dies"
    def fit(self, train, context): os.kill(os.getpid(), signal.SIGKILL)
'''


@pytest.fixture
def bad_methods(tmp_path: Path, plug_in) -> None:
    """An installed plug-in whose methods go wrong, each in its own way."""
    (tmp_path / "plugin_bad.py").write_text(PLUGIN)
    info = tmp_path / "bad-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1.0\n")
    names = {"raises": "Raises", "nan": "NotANumber", "short": "Short", "dies": "Dies"}
    lines = [f"{name} = plugin_bad:{cls}" for name, cls in names.items()]
    (info / "entry_points.txt").write_text("\n".join(["[osad_bench.methods]", *lines, ""]))
    plug_in(tmp_path)


def scores_of(out: Path) -> dict[str, np.ndarray]:
    store = Store(out)
    return {record.key: store.scores(record.key).scores for record in store}


def test_the_same_run_twice_gives_identical_scores(tmp_path: Path):
    request = {"methods": ["devnet", "dra"], "datasets": ["textures"], "seeds": 1, "set": SMALL}
    run(**request, out=tmp_path / "a")
    run(**request, out=tmp_path / "b", cache=tmp_path / "another-cache")
    a, b = scores_of(tmp_path / "a"), scores_of(tmp_path / "b")
    assert len(a) == 3
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])


def test_a_finished_cell_is_not_computed_again(tmp_path: Path):
    request = {"methods": ["mahalanobis"], "datasets": ["textures"], "seeds": 2, "set": {"image_size": [64]}}
    first = run(**request, out=tmp_path)
    again = run(**request | {"seeds": 3}, out=tmp_path)
    assert len(again) == 3
    kept = again[again["key"].isin(first["key"])]
    assert list(kept["created"]) == list(first["created"])


def test_a_cell_that_fails_is_a_record_and_the_others_have_results(tmp_path: Path, bad_methods):
    request = {"methods": ["raises", "nan", "short"], "datasets": ["textures"], "seeds": 1, "set": {"image_size": [64]}}
    frame = run(**request, out=tmp_path / "out").set_index("method")
    assert frame.loc["mahalanobis", "status"] == "ok"
    assert frame.loc["raises", "error"] == "RuntimeError: no luck today"
    assert "NaN" in frame.loc["nan", "error"] or "finite" in frame.loc["nan", "error"]
    assert "shape" in frame.loc["short", "error"]
    store = Store(tmp_path / "out")
    failed = [record for record in store if record.status == "failed"]
    assert "no luck today" in str([record.error.traceback for record in failed])
    assert len(summarise_failures(failed)) == 3


def test_a_worker_that_dies_fails_its_own_cell_alone(tmp_path: Path, bad_methods):
    cells = plan(
        read_grid(None, {"methods": ["dies"], "datasets": ["textures"], "seeds": 1, "set": {"image_size": [64]}}),
        Machine(tmp_path / "cache"),
    )
    store = Store(tmp_path / "out")
    carry_out(cells, store, Machine(tmp_path / "cache"), jobs=2)
    frame = store.frame()
    assert set(frame.loc[frame["method"] == "dies", "error"].str.split(":").str[0]) == {"WorkerDied"}
    assert (frame.loc[frame["method"] == "mahalanobis", "status"] == "ok").all()
    assert len(frame) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")
def test_workers_have_the_environment_of_now_and_no_module_of_a_run(monkeypatch: pytest.MonkeyPatch):
    """The process that forks them was started before."""
    with grid_workers._pool(1, None) as pool:
        first = pool.submit(os.getppid).result()
    monkeypatch.setenv("SET_LATER", "yes")
    with grid_workers._pool(1, None) as pool:
        assert pool.submit(os.getenv, "SET_LATER").result() == "yes"
        assert pool.submit(os.getppid).result() == first != os.getpid(), "one process imports torch for all of them"
        assert pool.submit(eval, "'torch' in __import__('sys').modules").result()


def test_a_worker_does_not_wait_at_its_end_for_the_lock_of_one_that_was_killed():
    """A process that is killed while it sends an epoch keeps the lock of the queue for good."""
    events = grid_workers._start().Queue()
    with events._wlock, grid_workers._pool(1, events) as pool:  # left only when its process has ended
        told = "from osad_bench.benchmark.grid import guard; guard.events.put(('key', 1, 1, {}))"
        pool.submit(exec, told).result()


def test_failed_cells_are_left_alone_until_they_are_asked_for(tmp_path: Path, bad_methods):
    machine = Machine(tmp_path / "cache")
    cells = plan(
        read_grid(None, {"methods": ["raises"], "datasets": ["textures"], "seeds": 1, "set": {"image_size": [64]}}),
        machine,
    )
    store = Store(tmp_path / "out")
    carry_out(cells, store, machine)
    todo = compare(cells, store)
    assert [len(part) for part in (todo.done, todo.failed, todo.open, todo.damaged)] == [1, 1, 0, 0]
    assert len(compare(cells, store, retry_failed=True).open) == 1


def test_a_damaged_record_is_named_and_computed_anew(tmp_path: Path):
    machine, store = Machine(tmp_path / "cache"), Store(tmp_path / "out")
    cells = plan(
        read_grid(
            None, {"methods": ["mahalanobis"], "datasets": ["textures"], "seeds": 2, "set": {"image_size": [64]}}
        ),
        machine,
    )
    carry_out(cells, store, machine)
    path = next((tmp_path / "out" / "records").glob("*/*.json"))
    path.write_text(path.read_text()[:100])
    todo = compare(cells, store)
    assert len(todo.open) == len(todo.done) == 1
    assert str(path) in todo.damaged[0]
    assert "is computed again" in todo.damaged[0]


def test_a_cell_whose_scores_are_gone_is_computed_anew(tmp_path: Path):
    machine, store = Machine(tmp_path / "cache"), Store(tmp_path / "out")
    request = {"methods": ["mahalanobis"], "datasets": ["textures"], "seeds": 2, "set": {"image_size": [64]}}
    cells = plan(read_grid(None, request), machine)
    carry_out(cells, store, machine)
    path = next((tmp_path / "out" / "scores").glob("*/*.npz"))
    path.write_bytes(b"x")
    with pytest.raises(StoreError, match="Delete the file and run the same command again"):
        store.scores(path.stem)
    path.unlink()
    todo = compare(cells, store)
    assert [cell.key for cell in todo.open] == [path.stem]
    carry_out(todo.open, store, machine)
    assert np.isfinite(store.scores(path.stem).scores).all()


@pytest.mark.parametrize("text", ["[]", "{", '{"a": "x"}', '{"a": null}'])
def test_damaged_timings_cost_the_estimate_and_nothing_else(tmp_path: Path, text):
    machine = Machine(tmp_path)
    (tmp_path / "timings.json").write_text(text)
    request = {"methods": ["mahalanobis"], "datasets": ["textures"], "seeds": 1, "set": {"image_size": [64]}}
    (cell,) = plan(read_grid(None, request), machine)
    assert Timings(machine).estimate([cell]) is None
    timings = Timings(machine)
    timings.add(cell, 2.0)
    timings.save()
    assert Timings(machine).estimate([cell, cell]) == 4.0


def test_dask_computes_the_same_scores(tmp_path: Path):
    pytest.importorskip("distributed")
    machine = Machine(tmp_path / "cache")
    cells = plan(read_grid(None, {"methods": ["devnet"], "datasets": ["textures"], "seeds": 1, "set": SMALL}), machine)
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    carry_out(cells, here, machine)
    carry_out(cells, there, machine, jobs=1, backend="dask")
    (one, *_), (other, *_) = scores_of(here.root).values(), scores_of(there.root).values()
    np.testing.assert_array_equal(one, other)
    assert here.keys() == there.keys()


def test_the_oracle_is_a_diagnostic_and_changes_no_score(tmp_path: Path):
    machine = Machine(tmp_path / "cache")
    cells = plan(
        read_grid(None, {"methods": ["devnet"], "datasets": ["textures"], "seeds": 1, "floor": None, "set": SMALL}),
        machine,
    )
    plain, watched = Store(tmp_path / "plain"), Store(tmp_path / "watched")
    carry_out(cells, plain, machine)
    carry_out(cells, watched, Machine(tmp_path / "cache", oracle=True))
    (key,) = plain.keys()
    np.testing.assert_array_equal(plain.scores(key).scores, watched.scores(key).scores)
    oracle = watched.get(key).diagnostics["oracle"]
    assert oracle["last_auroc"] == pytest.approx(watched.get(key).metrics.auroc)
    assert oracle["best_auroc"] == max(oracle["auroc"])
    assert len(oracle["auroc"]) == 2


def test_progress_is_told_of_every_image_epoch_and_cell(tmp_path: Path):
    class Ears(Reporter):
        def __init__(self) -> None:
            self.heard: list[tuple] = []

        def features(self, what, done, total):
            self.heard.append(("features", done, total))

        def start(self, total):
            self.heard.append(("start", total))

        def epoch(self, cell, epoch, epochs, values):
            self.heard.append(("epoch", epoch, epochs))

        def finish(self, cell, record):
            self.heard.append(("finish", record.status))

    ears, machine = Ears(), Machine(tmp_path / "cache")
    cells = plan(
        read_grid(None, {"methods": ["devnet"], "datasets": ["textures"], "seeds": 1, "floor": None, "set": SMALL}),
        machine,
    )
    carry_out(cells, Store(tmp_path / "out"), machine, ears)
    assert ("features", 168, 168) in ears.heard
    assert ears.heard[-4:] == [("start", 1), ("epoch", 1, 2), ("epoch", 2, 2), ("finish", "ok")]


def test_a_record_tells_where_its_number_came_from(tmp_path: Path):
    run(["devnet"], ["textures"], seeds=1, set=SMALL, out=tmp_path)
    record = next(record for record in Store(tmp_path) if record.cell.method == "devnet")
    provenance = json.loads(record.provenance.model_dump_json())
    assert {"torch", "timm", "numpy", "scikit-learn"} <= set(provenance["packages"])
    assert len(provenance["weights"]["efficientnet_lite0"]) == 64
    assert provenance["project_version"]
    assert provenance["device"]
    assert record.cell.preset["image_size"] == 64
    assert len(record.curve["deviation" if "deviation" in record.curve else next(iter(record.curve))]) == 2
    assert record.timings.fit > 0
    assert record.peak_memory_mb > 0


REPEL = '''
"""A method of one's own, in one file."""
import torch
from osad_bench.methods.base import Method

class Repel(Method):
    """Distance to the mean of the normals."""
    name, title, citation, version = "repel", "Repel", "me", 1
    sign = 1.0

    def fit(self, train, context):
        self.mean = train.normals()[0].mean((0, 2, 3))

    def score(self, pyramid):
        return self.sign * (pyramid[0].mean((2, 3)) - self.mean).norm(dim=1)
'''


def test_two_workers_score_as_one_process_does_a_file_and_a_class_of_ones_own_too(tmp_path: Path, own_methods):
    (tmp_path / "repel.py").write_text(REPEL)
    scope: dict = {"__name__": "__main__"}  # as in a notebook: no other process can import it
    exec(REPEL.replace('"repel", "Repel"', '"shun", "Shun"'), scope)
    request = {"methods": ["devnet", str(tmp_path / "repel.py"), scope["Repel"], "dra"], "datasets": ["textures"]}
    frames = [
        run(**request, seeds=1, floor=None, set=SMALL, out=tmp_path / str(jobs), jobs=jobs).set_index("method")
        for jobs in (1, 2)
    ]
    for frame in frames:
        assert (frame["status"] == "ok").all(), list(frame["error"])
        assert frame.loc[["repel", "shun"], "method_title"].tolist() == ["Repel", "Shun"]
    here, there = scores_of(tmp_path / "1"), scores_of(tmp_path / "2")
    assert len(here) == 4
    assert here.keys() == there.keys()
    for key in here:
        np.testing.assert_array_equal(here[key], there[key])


def test_a_method_that_was_edited_is_told_about_and_computed_again_when_asked(tmp_path: Path, own_methods, cli):
    command = ["run", "--methods", tmp_path / "repel.py", "--datasets", "textures", "--seeds", 2, "--floor", "none",
               "--set", "image_size=64", "--jobs", 1]  # fmt: skip

    def rewritten(text: str) -> None:
        from osad_bench.benchmark.cell.source import source_digest
        from osad_bench.core.registry import methods

        (tmp_path / "repel.py").write_text(text)
        methods._added.clear()  # as in a new process
        source_digest.cache_clear()
        for name in [name for name in sys.modules if name.startswith("osad_bench_file_repel")]:
            del sys.modules[name]

    rewritten(REPEL)
    assert cli(*command).returncode == 0
    rewritten(REPEL.replace("one file", "a single file").replace("    sign", "    # which way\n    sign"))
    assert "changed since" not in cli(*command).stderr, "comments and docstrings change no score"
    before = scores_of(tmp_path / "osad-results")
    rewritten(REPEL.replace("sign = 1.0", "sign = -1.0"))
    told = cli(*command).stderr
    assert (
        "repel.py, or what it imports, changed since 2 stored cells of repel: raise its version, or compute them"
        in told
    )
    assert "2 done, 0 to do" in told
    again = cli(*command, "--recompute", "repel")
    assert "0 done, 2 to do" in again.stderr
    for key, scores in scores_of(tmp_path / "osad-results").items():
        np.testing.assert_array_equal(scores, -before[key])
    assert "changed since" not in cli(*command).stderr
    refused = cli(*command, "--recompute", "dra")
    assert (refused.returncode, "the methods of this run are repel" in refused.stderr) == (2, True)


def test_variants_of_a_method_are_paired(tmp_path: Path):
    """What a setting does not touch is bit for bit the same, and what two methods draw alike is drawn alike."""
    tiny = {"image_size": [64], "schedule.epochs": [2], "schedule.steps": [3]}
    frame = run(
        ["dra"], ["textures"], seeds=1, floor=None, out=tmp_path / "a",
        set=tiny | {"dra.residual": [False], "dra.references": [5, 6]},
    )  # fmt: skip
    one, other = scores_of(tmp_path / "a").values()
    np.testing.assert_array_equal(one, other)
    assert len(frame) == 2
    # Taking one head away leaves the others' weights at the start and all batches as they were: so do their losses.
    run(["dra"], ["textures"], seeds=1, floor=None, out=tmp_path / "b", set=tiny | {"dra.residual": [False, True]})
    curves = {record.cell.config["residual"]: record.curve for record in Store(tmp_path / "b")}
    assert curves[True]["seen"][0] == pytest.approx(curves[False]["seen"][0], rel=1e-2)


def test_two_methods_that_draw_alike_see_the_same_batches(tmp_path: Path, cache: Path):
    """DevNet and FLOS draw half normals, half known anomalies, and start from one adapter."""
    from osad_bench.benchmark.cell.execute import _open_training, dataset_of, method_class
    from osad_bench.benchmark.cell.shared import Shelf

    seen, machine = [], Machine(cache)
    for name in ("devnet", "flos"):
        grid = read_grid(None, {"methods": [name], "floor": None, "datasets": ["textures"], "seeds": 1, "set": SMALL})
        (cell,) = plan(grid, machine)
        method = method_class(cell)()
        train = _open_training(cell, method, dataset_of(cell.source, None), machine, Shelf(None, {}))
        seen.append([train.batch(12, method.mix, ()) for _ in range(3)])
    for one, other in zip(*seen):
        assert all(torch.equal(a, b) for a, b in zip(one.pyramid, other.pyramid))
