"""Which packages there are and where they lie; everything else is in pyproject.toml.

``src/osad_bench`` holds one link per top-level folder. Installed editable from there, the packages are on ``sys.path`` as
plain folders, which mypy, pyright and editors can follow. Where a checkout has no symbolic links (Windows without
developer mode), git leaves text files in their place. The folders themselves are then named: that runs as well, but
those tools cannot follow it.
"""

from pathlib import Path

from setuptools import find_packages, setup

LINKS = Path("src", "osad_bench")
names = [path.name for path in LINKS.iterdir()]

if all((LINKS / name).is_dir() for name in names):
    packages = ["osad_bench", *(f"osad_bench.{name}" for name in find_packages(str(LINKS)))]
    setup(package_dir={"": "src"}, packages=packages)
else:
    found = find_packages(include=[pattern for name in names for pattern in (name, f"{name}.*")])
    setup(package_dir={"osad_bench": "."}, packages=[f"osad_bench.{name}" for name in found])
