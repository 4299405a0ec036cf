"""Speed and reproducibility on a GPU, as JSON on stdout; tools/gpu_bench.sh calls it.

Sections are independent: where one fails, its error is in the output and the next one runs. ``--device cpu`` with a small ``--size`` tries the
script where there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import numpy as np
import perf_loops as loops
import torch
from torch import Tensor
from torchvision.models import resnet18
from torchvision.transforms.functional import rotate as rotate_one

from osad_bench.benchmark.cell.execute import execute
from osad_bench.benchmark.cell.machine import Machine
from osad_bench.benchmark.cell.state import as_cells_run
from osad_bench.benchmark.cell.training import FineTuned
from osad_bench.benchmark.features import batched, pseudo
from osad_bench.benchmark.features.augment import rotate
from osad_bench.benchmark.grid.plan import Grid, plan
from osad_bench.methods import gradient
from osad_bench.methods.base import Mix
from osad_bench.methods.devnet import DevNet
from osad_bench.methods.dpdl.model import DPDL
from osad_bench.methods.dra import DRA

TRAINED = ("devnet", "dra", "dpdl", "ahl", "flos", "saoe", "mlep")
SECTIONS = ("augment", "bridge", "loop", "published", "compute", "methods", "whole")
"""Short ones first: where time runs out, the long ones are left out."""
CLOSED = ("mahalanobis", "whitened", "patchcore", "evidence")


def spread(values: list[float]) -> dict[str, float]:
    """Median and range."""
    return {"median": median(values), "min": min(values), "max": max(values), "n": len(values)}


class Bench:
    """The sections; each returns what JSON can hold."""

    def __init__(self, given: argparse.Namespace, folder: Path) -> None:
        self.given, self.folder, self.device = given, folder, torch.device(given.device)
        self.cuda = self.device.type == "cuda"
        self.fast = torch.bfloat16 if self.cuda else torch.float32
        counts = (120, 40, 50) if self.cuda else (40, 6, 20)
        self.data = loops.photographs(folder / "photos", *counts)
        self.weights = folder / "resnet18.pth"
        torch.manual_seed(0)
        torch.save(resnet18(weights=None).state_dict(), self.weights)
        self.paper = loops.Paper.of(self.data, folder / "cache", given.device, given.size)
        self.count, self.steps = (4, 20) if self.cuda else (2, 1)
        self.batch = 48 if self.cuda else 12

    def sync(self) -> None:
        """Wait for the device."""
        if self.cuda:
            torch.cuda.synchronize()

    def timed(self, work: Callable[[], object], repeat: int = 5) -> dict[str, float]:
        """Seconds of each of `repeat` calls, after one that is not counted."""
        work()
        values = []
        for _ in range(repeat):
            self.sync()
            start = time.perf_counter()
            work()
            self.sync()
            values.append(time.perf_counter() - start)
        return spread(values)

    def machine(self) -> dict[str, Any]:
        """The machine that all figures are from."""
        card = torch.cuda.get_device_name() if self.cuda else ""
        return {
            "card": card, "cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__,
            "numpy": np.__version__, "size": self.given.size, "device": str(self.device),
        }  # fmt: skip

    def methods(self) -> dict[str, Any]:
        """Every method twice in both presets at a small size: does it run, and are the scores the same again?"""
        found: dict[str, Any] = {}
        quick = {"backbone": ["resnet18"], "image_size": [96], "schedule.epochs": [2], "schedule.steps": [2]}
        paper = {"image_size": [96], "schedule.epochs": [2], "schedule.steps": [3], "schedule.batch": [16]}
        few = {"ahl.outer_epochs": [7], "ahl.pool": [16], "ahl.batch": [12], "evidence.memory": [300]}
        few |= {"patchcore.memory": [300]}
        began = time.perf_counter()
        for preset, changes in (("paper", paper), ("quick", quick)):
            names = [*TRAINED, *CLOSED]
            grid = Grid(
                methods=names, datasets=[self.data], seeds=[0], floor=None, preset=preset, set=changes | few, shots=[10]
            )
            machine = Machine(self.folder / "cells", weights=self.weights, device=self.given.device)
            on_cpu = Machine(self.folder / "cells of the CPU", weights=self.weights)
            for cell in plan(grid, machine):
                if time.perf_counter() - began > 0.35 * self.given.limit:
                    found[f"{preset}/{cell.cell.method}"] = {"left out": "no time"}
                    continue
                start = time.perf_counter()
                runs = [execute(cell, machine) for _ in range(2)]
                line: dict[str, Any] = {"seconds": (time.perf_counter() - start) / 2}
                for record, _ in runs:
                    if record.error is not None:
                        line["failure"] = (
                            f"{record.error.type}: {record.error.message} {record.error.traceback[-1200:]}"
                        )
                first, second = (scores.scores if scores is not None else None for _, scores in runs)
                if first is not None and second is not None:
                    line["same again, to the last bit"] = bool((first == second).all())
                    line["largest difference, in spreads of the scores"] = float(
                        np.abs(first - second).max() / max(first.std(), 1e-12)
                    )
                    line["precision"] = runs[0][0].provenance.precision
                if preset == "quick" and first is not None and self.cuda:
                    _, scores = execute(cell, on_cpu)
                    if scores is not None:
                        line["rank correlation with the CPU"] = float(
                            np.corrcoef(*(np.argsort(np.argsort(x)) for x in (first, scores.scores)))[0, 1]
                        )
                found[f"{preset}/{cell.cell.method}"] = line
        return found

    def loop(self) -> dict[str, Any]:
        """Step rate of the `paper` loop against the same loop on tensors already on the device (goal: 0.95)."""
        found = {}
        self.paper.precision = self.fast
        for method in (DRA, DPDL, DevNet):
            times = {
                kind.__name__: loops.epochs(method(), self.paper, kind, self.count, self.steps, batch=self.batch)
                for kind in (loops.Ready, FineTuned)
            }
            ready, ours = (median(times[name]) for name in ("Ready", "FineTuned"))
            found[method.name] = {
                "share of the ready rate": ready / ours, "steps per second": 1 / ours,
                "seconds per step": spread(times["FineTuned"]), "ready, seconds per step": spread(times["Ready"]),
            }  # fmt: skip
        return found

    def compute(self) -> dict[str, Any]:
        """Seconds per step of DRA on ready tensors, with and without each measure that speeds it up."""

        def ready(kind: type[FineTuned], precision: torch.dtype) -> dict[str, float]:
            self.paper.precision = precision
            return spread(loops.epochs(DRA(), self.paper, kind, self.count, self.steps, batch=self.batch))

        class Both(loops.Ready, loops.Contiguous):
            pass

        found = {
            "float32, channels last, fused": ready(loops.Ready, torch.float32),
            "float32, contiguous, fused": ready(Both, torch.float32),
        }
        if self.cuda:
            found["bfloat16, channels last, fused"] = ready(loops.Ready, torch.bfloat16)
            torch.use_deterministic_algorithms(False)
            found["bfloat16, channels last, fused, not reproducible"] = ready(loops.Ready, torch.bfloat16)
            torch.backends.cudnn.benchmark = True
            found["bfloat16, channels last, fused, not reproducible, cuDNN's search"] = ready(
                loops.Ready, torch.bfloat16
            )
            torch.backends.cudnn.benchmark = False
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.utils.deterministic.fill_uninitialized_memory = True
            found["bfloat16, channels last, fused, new tensors filled"] = ready(loops.Ready, torch.bfloat16)
            torch.utils.deterministic.fill_uninitialized_memory = False
            found["bfloat16, contiguous, fused"] = ready(Both, torch.bfloat16)
            before = dict(gradient.OPTIMIZERS)
            gradient.OPTIMIZERS["adam"] = lambda *given, **more: before["adam"](*given, **more | {"fused": False})
            found["bfloat16, channels last, not fused"] = ready(loops.Ready, torch.bfloat16)
            gradient.OPTIMIZERS.update(before)
        return found

    def bridge(self) -> dict[str, Any]:
        """DPDL's bridge against the backbone's forward and backward pass, in time and memory (goal: 0.1)."""
        self.paper.precision = self.fast
        train = self.paper.train()
        train.train(True)
        images = train.draw(Mix(0.5, 0.25, 0.25).counts(self.batch), ("cutmix",), 0)
        bridges, leaves = loops.bridges(train.shapes, self.batch, self.device)

        def backbone() -> Tensor:
            return torch.stack([scale.square().mean() for scale in train._through(images)]).sum()

        def bridge() -> Tensor:
            return loops.bridged(bridges, leaves)

        found: dict[str, Any] = {"d": [b.centres.shape[1] for b in bridges], "batch": self.batch}
        for name, forward in (("backbone", backbone), ("bridge", bridge)):
            _, kept = loops.saved_bytes(forward)
            found[f"{name}, MiB kept for the backward pass"] = kept / 2**20
            if self.cuda:
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
                forward().backward()
                torch.cuda.synchronize()
                found[f"{name}, MiB at the peak"] = (torch.cuda.max_memory_allocated() - before) / 2**20
            found[name] = self.timed(lambda forward=forward: forward().backward(), 10 if self.cuda else 2)
        found["share of time"] = found["bridge"]["median"] / found["backbone"]["median"]
        kept_of = "MiB at the peak" if self.cuda else "MiB kept for the backward pass"
        found["share of memory"] = found[f"bridge, {kept_of}"] / found[f"backbone, {kept_of}"]
        return found

    def augment(self) -> dict[str, Any]:
        """Seconds of 16 pseudo-anomalies and 48 rotations: on the device, and image by image on the CPU."""
        side = self.given.size
        images = torch.randint(256, (48, side, side, 3), dtype=torch.uint8)
        there, found = images.permute(0, 3, 1, 2).to(self.device), {}
        for name, twin in (("cutmix", batched.cutmix), ("cutpaste", batched.cutpaste), ("texture", batched.texture)):
            one = getattr(pseudo, name)

            def together(twin: batched.Twin = twin) -> Tensor:
                return twin(there[:16], np.random.default_rng(0).spawn(16))

            def alone(one: batched.PerImage = one) -> list[object]:
                return [one(x, source) for x, source in zip(images[:16].numpy(), np.random.default_rng(0).spawn(16))]

            expected = np.stack([made[0] for made in alone()])  # type: ignore[index]
            differ = (together().permute(0, 2, 3, 1).cpu().numpy() != expected).mean()
            found[name] = {
                "batch": self.timed(together), "per image": self.timed(alone, 3), "pixels that differ": float(differ)
            }  # fmt: skip
        degrees = torch.rand(48) * 360 - 180
        turned = rotate(there, degrees).cpu()
        expected = torch.stack([rotate_one(x.permute(2, 0, 1), float(a)) for x, a in zip(images, degrees)])
        found["rotate"] = {
            "batch": self.timed(lambda: rotate(there, degrees)),
            "per image": self.timed(lambda: [rotate_one(x.permute(2, 0, 1), float(a)) for x, a in zip(images, degrees)], 2),
            "pixels that differ": float((turned != expected).float().mean()),
        }  # fmt: skip
        for line in found.values():
            line["times faster"] = line["per image"]["median"] / line["batch"]["median"]
        return found

    def published(self) -> dict[str, Any]:
        """One DRA cell as published code trains it beside ours, same data and steps."""
        steps = 40 if self.cuda else 1
        workers = min(8, (os.cpu_count() or 2) // 2) if self.cuda else 0
        self.paper.precision = self.fast
        cold = loops.Paper.of(self.data, self.folder / "cold cache", self.given.device, self.given.size)
        cold.precision = self.fast
        found: dict[str, Any] = {"steps": steps, "workers of the published loop": workers}
        runs: dict[str, Callable[[], tuple[Tensor, float, float]]] = {
            "ours, nothing cached": lambda: loops.as_ours(cold, steps),
            "ours": lambda: loops.as_ours(self.paper, steps),
            "as published": lambda: loops.as_published(self.paper, steps, workers),
        }
        for name, run in runs.items():
            scores, training, test = run()
            found[name] = {"training": training, "test": test, "images tested": len(scores)}
        for name in ("ours", "ours, nothing cached"):
            both = [sum(found[one][part] for part in ("training", "test")) for one in ("as published", name)]
            found[f"times faster, {name}"] = both[0] / both[1]
        return found

    def whole(self) -> dict[str, Any]:
        """Whole cells of the preset `paper` with each method's own schedule (goal: 22 s)."""
        if not self.cuda:
            return {"left out": "on a GPU only"}
        found = {}
        machine = Machine(self.folder / "cache", weights=self.weights, device=self.given.device)
        for method in ("dra", "dpdl"):
            (cell,) = plan(Grid(methods=[method], datasets=[self.data], seeds=[0], floor=None, preset="paper"), machine)
            torch.cuda.reset_peak_memory_stats()
            record, _ = execute(cell, machine)
            found[method] = {
                "status": record.status, "failure": str(record.error)[-800:],
                "timings": record.timings.model_dump() if record.timings else None,
                "GiB of the GPU at the peak": torch.cuda.max_memory_allocated() / 2**30,
            }  # fmt: skip
        return found


def main() -> None:
    """Run the sections and print what they found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", type=int, default=448, help="pixels per side (448)")
    parser.add_argument("--limit", type=float, default=170, help="seconds after which no further section starts (170)")
    parser.add_argument("--out", type=Path, help="also write the figures here after every section")
    parser.add_argument("sections", nargs="*", help=f"only these, in this order: {', '.join(SECTIONS)}")
    given = parser.parse_args()
    sections = given.sections or SECTIONS
    start, found = time.perf_counter(), {}
    warned: dict[str, int] = {}
    showwarning = warnings.showwarning

    def note(message: Warning | str, *more: Any, **named: Any) -> None:
        text = str(message).splitlines()[0][:160]
        warned[text] = warned.get(text, 0) + 1
        if warned[text] == 1:
            showwarning(message, *more, **named)  # type: ignore[arg-type]

    warnings.showwarning = note
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(given, Path(name))
        for section in ["machine", *sections]:
            began = time.perf_counter()
            if began - start > given.limit:
                found[section] = {"left out": f"{began - start:.0f} s had passed"}
                continue
            try:
                with as_cells_run(bench.paper.preset, Machine(Path(name), device=given.device)):
                    found[section] = getattr(bench, section)()
            except Exception:
                found[section] = {"error": traceback.format_exc()[-3000:]}
            finally:
                bench.paper.precision = bench.fast
                if bench.cuda:
                    torch.cuda.empty_cache()
            found[section]["seconds of this section"] = time.perf_counter() - began
            print(f"{section}: {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
            found["warnings"] = warned
            if given.out:
                given.out.write_text(json.dumps(found, indent=1))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
