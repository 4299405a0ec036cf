#!/bin/sh
# Speed and reproducibility on a GPU, offline: tools/gpu_bench.sh [-p PYTHON] [-w WHEELS] [OUT] [-- OPTIONS OF gpu_bench.py]
#
#   PYTHON  an interpreter that has torch for this machine's CUDA, torchvision, timm, scikit-learn, pandas; default python3.
#           It is used unchanged: no environment is made, nothing is installed into it.
#   WHEELS  folder of wheels that it lacks (pydantic, pydantic-core, annotated-types, typing-inspection, platformdirs),
#           unpacked into a temporary folder
#   OUT     folder for figures.json; default gpu-bench
#
# This checkout is used in place, with entry points written from pyproject.toml. Takes three minutes.
set -eu
python=python3 wheels=
while getopts p:w: option; do
    case $option in
        p) python=$OPTARG ;;
        w) wheels=$OPTARG ;;
        *) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
done
shift $((OPTIND - 1))
out=gpu-bench
if [ $# -gt 0 ] && [ "$1" != -- ]; then out=$1; shift; fi
[ "${1:-}" != -- ] || shift
here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$out"
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
if [ -n "$wheels" ]; then
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$site" "$wheels"/*.whl
fi
mkdir "$site/osad_bench"
for part in benchmark core datasets methods results; do
    ln -s "$here/$part" "$site/osad_bench/$part"
done
PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONPATH PYTHONDONTWRITEBYTECODE=1
"$python" - "$here/pyproject.toml" "$site" <<'PYTHON'
import pathlib, sys, tomllib
project = tomllib.loads(pathlib.Path(sys.argv[1]).read_text("utf-8"))["project"]
info = pathlib.Path(sys.argv[2]) / f"osad_bench-{project['version']}.dist-info"
info.mkdir()
(info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: osad-bench\nVersion: {project['version']}\n")
groups = "".join(
    f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
    for group, points in project["entry-points"].items()
)
(info / "entry_points.txt").write_text(groups)
PYTHON
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader >&2 || true
"$python" "$here/tools/gpu_bench.py" --out "$out/figures.json" "$@"
