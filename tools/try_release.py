"""Install wheel and sdist, each into an empty environment, and train a method there.

python tools/try_release.py DIST FOLDER [--python PYTHON] [--constraint FILE]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

TRAIN = ["run", "--methods", "devnet", "--datasets", "textures", "--seeds", "1", "--set", "schedule.epochs=1"]


def main(dist: Path, folder: Path, python: str, constraint: Path | None) -> None:
    """Fails with the command that failed.

    Parameters
    ----------
    dist
        Folder that holds one wheel and one sdist.
    folder
        The environments and their records are made below it.
    python
        Interpreter of the environments, as virtualenv names it: a path, or a version such as ``3.10``.
    constraint
        File of versions to install, as pip takes it; None for the newest.
    """
    built = sorted([*dist.glob("*.whl"), *dist.glob("*.tar.gz")])
    assert len(built) == 2, built
    versions = [] if constraint is None else ["--constraint", constraint]
    for archive in built:
        empty = folder / archive.suffix.strip(".")
        subprocess.run(
            [sys.executable, "-m", "virtualenv", "--clear", "--quiet", "--python", python, empty], check=True
        )
        subprocess.run([empty / "bin" / "pip", "install", "--quiet", *versions, archive], check=True)
        subprocess.run([empty / "bin" / "osad-bench", "--version"], check=True, cwd=folder)
        subprocess.run([empty / "bin" / "osad-bench", *TRAIN, "--out", empty / "store"], check=True, cwd=folder)
        print(f"{archive.name} installs and trains with {python}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Install wheel and sdist into empty environments, and train there.")
    parser.add_argument("dist", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--constraint", type=Path)
    given = parser.parse_args()
    main(
        given.dist.resolve(), given.folder.resolve(), given.python, given.constraint and given.constraint.resolve()
    )  # fmt: skip
