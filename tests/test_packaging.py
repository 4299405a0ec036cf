"""What is installed is what is in the tree, and CI runs what the README says."""

from __future__ import annotations

import configparser
import importlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGES = ("benchmark", "core", "datasets", "methods", "results")


@pytest.fixture(scope="module")
def project(root: Path) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text("utf-8"))


def test_every_package_of_the_checkout_has_its_link(root: Path):
    links = {path.name: path for path in (root / "src" / "osad_bench").iterdir() if path.name != "__pycache__"}
    assert set(links) == {path.parent.name for path in root.glob("*/__init__.py")} == set(PACKAGES)
    for name, link in links.items():
        assert link.readlink() == Path("..", "..", name)


@pytest.mark.parametrize("links", [True, False], ids=["with links", "where git leaves text files for links"])
def test_the_wheel_holds_every_file_of_the_packages(root: Path, tmp_path: Path, links: bool):
    source = tmp_path / "source"
    source.mkdir()
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in tracked:
        original, copy = root / name, source / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if original.is_file():
            copy.write_bytes(original.read_bytes())
        elif original.is_symlink() and links:
            copy.symlink_to(original.readlink())
        elif original.is_symlink():
            copy.write_text(str(original.readlink()))
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", tmp_path, source],
        check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {f"osad_bench/{name}" for name in tracked if name.split("/")[0] in PACKAGES} - {
        f"osad_bench/{name}" for name in tracked if name.startswith("results/reference/")
    }
    assert inside == expected


def test_static_tools_find_the_packages_from_any_folder(tmp_path: Path):
    """mypy stands for all that read the environment's path without running it: pyright, jedi, editors."""
    (tmp_path / "plugin.py").write_text("from osad_bench.core.errors import InputError\nreveal_type(InputError)\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--python-executable", sys.executable, "--cache-dir", tmp_path / "cache", "plugin.py"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "osad_bench.core.errors.InputError" in done.stdout


def test_the_version_stands_in_pyproject_and_is_told_and_cited(root: Path, project: dict, cli):
    version = project["project"]["version"]
    assert cli("--version") == (0, f"osad-bench {version}\n", "")
    assert yaml.safe_load((root / "CITATION.cff").read_text("utf-8"))["version"] == version


def test_the_lowest_versions_tested_are_those_claimed(root: Path, project: dict):
    extras = project["project"]["optional-dependencies"]
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(root / "tox.ini")
    named = [name.strip() for name in tox["testenv:lowest"]["extras"].split(",") if name.strip() != "test"]
    claimed = map(Requirement, [*project["project"]["dependencies"], *(one for name in named for one in extras[name])])
    lines = (root / ".ci" / "lowest.txt").read_text("utf-8").splitlines()
    tested = [Requirement(line) for line in lines if not line.startswith("#")]
    assert sorted((one.name, str(one.specifier).replace("==", ">="), str(one.marker)) for one in tested) == sorted(
        (one.name, str(one.specifier), str(one.marker)) for one in claimed
    )


def test_importing_the_packages_takes_no_bare_name():
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
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                content = b"".join(archive.read(member) for member in archive.namelist() if member.endswith(".json"))
            assert not any(home in content for home in homes), name
        elif path.is_file() and path.suffix not in {".png", ".pdf", ".npz"}:
            assert not any(home in path.read_bytes() for home in homes), name
