"""The border around method code: a cell fails alone, and the next one runs as if it had been the first."""

from __future__ import annotations

import builtins
import gc
import io
import locale
import logging
import multiprocessing
import os
import random
import resource
import signal
import sys
import threading
import time
import warnings
import weakref
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from osad_bench.benchmark.cell.execute import execute
from osad_bench.benchmark.cell.machine import Machine
from osad_bench.benchmark.cell.source import source_digest
from osad_bench.benchmark.cell.state import left_behind
from osad_bench.benchmark.grid.plan import plan, read_grid
from osad_bench.core.registry import load_file
from osad_bench.methods.base import Method
from osad_bench.results.record import Record

pytestmark = pytest.mark.usefixtures("own_methods")

TINY = {"image_size": [32], "schedule.epochs": [1], "schedule.steps": [1]}


class Own(Method):
    """A method whose `fit` does what a test tells it to do."""

    name, title, citation = "own", "Own", "none"

    def fit(self, train, context):
        self.does(context)

    def score(self, pyramid):
        return pyramid[0].mean((1, 2, 3))


def planned(tmp_path: Path, methods: list, **request):
    grid = read_grid(
        None, {"methods": methods, "datasets": ["textures"], "shots": [2], "seeds": 1, "floor": None, "set": TINY, **request}
    )  # fmt: skip
    return plan(grid, machine(tmp_path))


def machine(tmp_path: Path, **changes) -> Machine:
    return Machine(Path(os.environ["OSAD_BENCH_CACHE"]), **changes)


def carried_out(tmp_path: Path, does, **changes) -> Record:
    """The record of a cell whose method does this in `fit`."""
    cls = type("Made", (Own,), {"does": staticmethod(does), "__doc__": "Made by a test."})
    (cell,) = planned(tmp_path, [cls])
    return execute(cell, machine(tmp_path, **changes))[0]


class Stop(BaseException):
    """What a test framework, say, raises to end a run."""


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def raises(error: BaseException):
    def does(context):
        raise error

    return does


class Ends(Exception):
    def __str__(self) -> str:
        sys.exit(0)


class Words(str):
    """A text that is none."""

    def __len__(self) -> int:
        return 1 // 0

    __str__ = __len__


class Wordy(Exception):
    def __str__(self) -> str:
        return Words("many")


class Nothing(Exception):
    """No instance of anything."""

    @property
    def __class__(self):
        raise ValueError("no class")


class Interrupted(KeyboardInterrupt):
    """No Ctrl-C: the interpreter raises that itself."""


class Unshowable(SyntaxError):
    """Its parts are not what a traceback expects."""

    text = property(lambda self: 1 / 0)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (SystemExit(0), ("SystemExit", "0")),
        (Stop("now"), ("Stop", "now")),
        (GeneratorExit(), ("GeneratorExit", "")),
        (Mute(), ("Mute", "(no message: its __str__ fails)")),
        (ValueError("cannot read Gr\udcfc\udcdfe.png"), ("ValueError", "cannot read Gr\\udcfc\\udcdfe.png")),
        (ValueError("\x1b[2J\x07"), ("ValueError", "\\x1b[2J\\x07")),
        (MemoryError(), ("MemoryError", "")),
        (RecursionError("deep"), ("RecursionError", "deep")),
        (Unshowable("odd"), ("Unshowable", "odd")),
        (Ends(), ("Ends", "(no message: its __str__ fails)")),
        (Wordy(), ("Wordy", "many")),
        (Interrupted("not by Ctrl-C"), ("Interrupted", "not by Ctrl-C")),
        (type("\x1b[2J", (Exception,), {})("x"), ("\\x1b[2J", "x")),
    ],
)
def test_whatever_a_method_raises_is_a_failed_record_that_can_be_stored(tmp_path: Path, error, told):
    record = carried_out(tmp_path, raises(error))
    assert (record.status, record.error.type, record.error.message) == ("failed", *told)
    assert Record.model_validate_json(record.model_dump_json()) == record


def test_an_error_that_denies_its_class_is_a_failed_record(tmp_path: Path):
    def does(context):
        raise Nothing("no")

    assert carried_out(tmp_path, does).error.type == "Nothing"


def test_the_end_of_the_process_is_the_end_of_the_cell_alone(tmp_path: Path):
    def does(context):
        os._exit(0)

    record = carried_out(tmp_path, does)
    assert (record.status, record.error.type, record.error.message) == ("failed", "SystemExit", "0")


def test_an_error_message_of_megabytes_is_cut_and_can_be_stored(tmp_path: Path):
    record = carried_out(tmp_path, raises(ValueError("x" * 10**7 + "end")))
    assert len(record.error.message) < 30_000
    assert record.error.message.endswith("end")
    assert "characters left out" in record.error.message
    assert len(record.error.traceback) < 30_000


def test_a_process_that_a_method_leaves_behind_is_ended(tmp_path: Path):
    started = []

    def does(context):
        started.append(multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,)))
        started[0].start()

    assert carried_out(tmp_path, does).status == "ok"
    started[0].join(60)
    assert not started[0].is_alive()


def test_a_process_that_a_method_forks_ends_with_the_cell(tmp_path: Path):
    forked = []

    def does(context):
        forked.append(os.fork())

    assert carried_out(tmp_path, does).status == "ok"
    assert os.waitstatus_to_exitcode(os.waitpid(forked[0], 0)[1]) == 1


@pytest.mark.parametrize("value", [None, [0.5] * 32, np.zeros(32), torch.zeros(32, dtype=torch.complex64)])
def test_scores_that_are_no_tensor_of_real_numbers_are_refused_in_words(tmp_path: Path, value):
    cls = type(
        "Made", (Own,), {"does": lambda self, context: None, "score": lambda self, pyramid: value, "__doc__": "Made."}
    )
    (cell,) = planned(tmp_path, [cls])
    error = execute(cell, machine(tmp_path))[0].error
    assert "expected a tensor of real numbers, one per image" in error.message


def test_ctrl_c_is_no_failure_of_a_cell(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        carried_out(tmp_path, raises(KeyboardInterrupt()))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), torch.tensor(float("nan"))])
def test_a_loss_that_is_not_finite_fails_the_cell_and_says_where(tmp_path: Path, value):
    record = carried_out(tmp_path, lambda context: context.progress(3, 9, {"pull": value}))
    assert record.status == "failed"
    assert "pull is" in record.error.message
    assert "in epoch 3 of 9" in record.error.message


def disturb(context) -> None:
    """All that a method may do to its process."""
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(False)
    torch.manual_seed(12345)
    torch.set_num_threads(2)
    torch.autograd.set_detect_anomaly(True)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    warnings.simplefilter("error")
    os.chdir("/")
    print("hello")
    os.write(1, b"hello from below\n")
    os.environ["OMP_NUM_THREADS"] = "77"
    os.umask(0o777)
    sys.setrecursionlimit(500)
    gc.disable()
    np.seterr(all="raise")
    torch.set_flush_denormal(True)
    torch.set_float32_matmul_precision("medium")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    signal.set_wakeup_fd(-1)
    signal.setitimer(signal.ITIMER_REAL, 100)
    sys.stdout.close()
    sys.stdout.reconfigure(errors="strict")
    sys.stderr = io.StringIO()
    os.close(0), os.close(2)
    sys.path.clear()
    sys.modules["json"] = None
    sys.excepthook = builtins.print = builtins.open = os.getcwd = None
    locale.setlocale(locale.LC_ALL, "C")
    logging.basicConfig(level=0, force=True)
    logging.disable(50)
    np.set_printoptions(threshold=1)
    np.seterrcall(print)
    torch.set_printoptions(precision=1)
    torch.set_default_device("meta")
    torch.autocast("cpu", dtype=torch.bfloat16).__enter__()
    OPEN.append(torch.inference_mode())
    OPEN[-1].__enter__()
    OPEN.append(Mode())
    OPEN[-1].__enter__()
    torch._C._set_mkldnn_enabled(False)
    torch.backends.cudnn.enabled = False
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    resource.setrlimit(resource.RLIMIT_NOFILE, (5, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    sys.settrace(lambda *_: 1 / 0)


OPEN: list = []
"""Contexts of torch's that `disturb` has entered for good."""


class Mode(TorchFunctionMode):
    """Every function of torch fails."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        raise RuntimeError(function)


def test_what_a_method_does_to_its_process_reaches_nobody_else(tmp_path: Path, capfd):
    def state() -> tuple:
        mask = os.umask(0)
        os.umask(mask)
        tiny = torch.tensor([1e-40]) * 1  # a denormal number
        return (
            Path.cwd(), torch.get_rng_state().tolist(), random.getstate(), warnings.filters[:], torch.get_num_threads(),
            dict(os.environ), mask, sys.getrecursionlimit(), gc.isenabled(), np.geterr(), tiny.item(),
            torch.get_float32_matmul_precision(), signal.getsignal(signal.SIGTERM), os._exit, signal.getsignal(signal.SIGCHLD),
            signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.set_wakeup_fd(wakeup), sys.path[:], sys.modules["json"],
            sys.excepthook, builtins.print, builtins.open, os.getcwd, locale.setlocale(locale.LC_ALL),
            logging.root.handlers[:], logging.root.level, logging.root.manager.disable, np.get_printoptions(), np.geterrcall(),
            repr(torch.tensor(1 / 3)), torch.zeros(1).device, torch.zeros(1).is_inference(), torch.is_autocast_enabled("cpu"),
            (torch.ones(2, 2) @ torch.ones(2, 2)).dtype, torch.backends.mkldnn.is_available(), torch.backends.cudnn.enabled,
            os.sched_getaffinity(0), resource.getrlimit(resource.RLIMIT_NOFILE), sys.gettrace(),
            [os.fstat(number).st_ino for number in (0, 1, 2)],
        )  # fmt: skip

    reading, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    of_pytest = signal.set_wakeup_fd(wakeup), signal.getitimer(signal.ITIMER_REAL)
    signal.setitimer(signal.ITIMER_REAL, 0)
    before = state()

    carried_out(tmp_path, disturb)
    assert state() == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    signal.setitimer(signal.ITIMER_REAL, *of_pytest[1])
    signal.set_wakeup_fd(of_pytest[0])
    os.close(reading), os.close(wakeup)
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() is torch.float32
    assert not torch.is_anomaly_enabled()
    out, err = capfd.readouterr()
    assert (out, "hello\n" in err, "hello from below" in err) == ("", True, True), "stdout is for data"


def test_a_cell_has_the_same_scores_after_any_other(tmp_path: Path):
    (cell,) = planned(tmp_path, ["devnet"])
    first = execute(cell, machine(tmp_path))[1].scores
    carried_out(tmp_path, disturb)
    np.testing.assert_array_equal(execute(cell, machine(tmp_path))[1].scores, first)


def test_a_cell_over_its_time_limit_fails_even_where_the_method_swallows_errors(tmp_path: Path):
    def does(context):
        while True:
            with suppress(Exception):
                time.sleep(5)

    record = carried_out(tmp_path, does, time_limit=0.2)
    assert record.error.type == "TimeLimitError"
    assert "took longer than --time-limit 0.2 s" in record.error.message
    assert carried_out(tmp_path, lambda context: None, time_limit=60).status == "ok"


class Network:
    """What a cell holds of a GPU's memory."""


def test_a_cell_that_fills_a_gpu_says_what_to_do_and_holds_nothing(tmp_path: Path):
    held = []

    def does(context):
        network = Network()
        held.append(weakref.ref(network))
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the documentation.")

    record = carried_out(tmp_path, does)
    assert record.error.type == "OutOfMemoryError"
    first, *more = record.error.message.splitlines()
    assert "smaller image_size or schedule.batch" in first
    assert "2.00 GiB" in first
    assert not more
    assert "does" in record.error.traceback
    assert held[0]() is None, "what the failed cell held would be missing for the next"
    assert carried_out(tmp_path, lambda context: None).status == "ok"


END = threading.Event()


def wait_elsewhere() -> None:
    threading.Thread(target=END.wait).start()


def test_a_thread_that_a_method_leaves_behind_is_known(tmp_path: Path):
    carried_out(tmp_path, lambda context: wait_elsewhere())
    assert left_behind()
    END.set()


def test_a_record_names_its_method_its_data_set_and_the_source(tmp_path: Path):
    (cell,) = planned(tmp_path, ["devnet"])
    record = execute(cell, machine(tmp_path))[0]
    assert (record.method_title, record.method_kind) == ("DevNet", "published")
    assert "Pang" in record.citation
    assert record.dataset_title
    assert record.provenance.method_package == "osad-bench"
    assert record.provenance.method_package_version == record.provenance.project_version
    assert len(record.provenance.method_source) == 16


def test_a_source_digest_changes_with_what_the_code_does_and_with_nothing_else(tmp_path: Path):
    def alone(name: str, body: str) -> str:
        (tmp_path / name).mkdir()
        path = tmp_path / name / "m.py"
        path.write_text(body)
        module = load_file(path)
        module.__name__ = "m"  # as if one file had been edited
        sys.modules["m"] = module
        module.M.__module__ = "m"
        return source_digest(module.M)

    body = "class M:\n    '''A method.'''\n    def score(self, x):\n        return x + 1  # a remark\n"
    first = alone("a", body)
    assert len(first) == 16
    assert alone("b", body.replace("A method", "A word").replace("  # a remark", "").replace("    ", "  ")) == first
    assert alone("c", body.replace("+ 1", "+ 2")) != first


def test_a_source_digest_covers_what_a_method_of_ours_is_made_of():
    from osad_bench.benchmark.cell.source import _modules
    from osad_bench.methods.dra import DRA

    names = [module.__name__ for module in _modules(sys.modules[DRA.__module__])]
    assert {"osad_bench.methods.dra", "osad_bench.methods.gradient", "osad_bench.methods.parts.heads"} <= set(names)
    assert not [name for name in names if name.startswith(("torch", "osad_bench.core"))]
