"""Install wheel and sdist, each into an empty environment, and train a method there: python tools/try_release.py DIST FOLDER."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TRAIN = ["run", "--methods", "devnet", "--datasets", "textures", "--seeds", "1", "--set", "schedule.epochs=1"]


def main(dist: Path, folder: Path) -> None:
    """Fails with the command that failed."""
    built = sorted([*dist.glob("*.whl"), *dist.glob("*.tar.gz")])
    assert len(built) == 2, built
    for archive in built:
        empty = folder / archive.suffix.strip(".")
        subprocess.run([sys.executable, "-m", "virtualenv", "--clear", "--quiet", empty], check=True)
        subprocess.run([empty / "bin" / "pip", "install", "--quiet", archive], check=True)
        subprocess.run([empty / "bin" / "osad-bench", "--version"], check=True, cwd=folder)
        subprocess.run([empty / "bin" / "osad-bench", *TRAIN, "--out", empty / "store"], check=True, cwd=folder)
        print(f"{archive.name} installs and trains")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
