"""What is installed is what is in the tree, and CI runs what the README says."""

from __future__ import annotations

import importlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGES = ("benchmark", "core", "datasets", "methods", "results")


@pytest.fixture(scope="module")
def project(root: Path) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text("utf-8"))


def test_the_list_of_packages_is_the_folders_that_are_packages(root: Path, project: dict):
    found = {
        "osad_bench." + ".".join(path.parent.relative_to(root).parts)
        for top in PACKAGES
        for path in (root / top).rglob("__init__.py")
    }
    assert set(project["tool"]["setuptools"]["packages"]) == found


def test_the_wheel_holds_every_file_of_the_packages(root: Path, tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in tracked:
        if (root / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((root / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", tmp_path, source],
        check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {f"osad_bench/{name}" for name in tracked if name.split("/")[0] in PACKAGES}
    assert inside == expected


def test_the_bare_names_are_nobodys():
    for name in ("cli", "grid.plan", "cell.execute"):
        importlib.import_module(f"osad_bench.benchmark.{name}")
    for bare in PACKAGES:
        module = sys.modules.get(bare)
        assert module is None or "osad" not in str(getattr(module, "__file__", ""))


def test_ci_runs_the_test_command_of_the_readme(root: Path):
    command = (root / ".ci" / "run").read_text("utf-8").splitlines()[-1]
    assert command in (root / "README.md").read_text("utf-8").splitlines()


def test_nothing_in_the_repository_names_a_machine(root: Path):
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    homes = [b"/" + name + b"/" for name in (b"work", b"root", b"home")]
    for name in tracked:
        path = root / name
        if path.is_file() and path.suffix not in {".png", ".pdf", ".npz"}:
            assert not any(home in path.read_bytes() for home in homes), name
