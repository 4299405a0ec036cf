#!/bin/sh
# Speed on a GPU, offline: tools/gpu_bench.sh WHEELS DATA [OUT]
#
#   WHEELS  folder of wheels: osad-bench, its dependencies, torch for this machine's CUDA
#           (made where there is a network: pip download -d WHEELS '.[elpv,test]')
#   DATA    data root (OSAD_BENCH_DATA); the ELPV data come with the wheel elpv-dataset. For the preset `paper`, ResNet-18's
#           weights lie in it as resnet18-f37072fd.pth
#   OUT     folder for the figures; default gpu-bench
#
# It prints the card, then: the ratio of the batched rotation (tests/perf.py), seconds of three methods in `quick` for a first
# and a second seed, and, where the weights are there, of two epochs of DRA in `paper`. Only OUT is written to.
set -eu
[ $# -ge 2 ] || { sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 2; }
wheels=$1 data=$2 out=${3:-gpu-bench}
here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$out"
python3 -m venv "$out/env"
"$out/env/bin/pip" install --quiet --no-index --find-links "$wheels" 'osad-bench[elpv]'
export OSAD_BENCH_DATA="$data" OSAD_BENCH_CACHE="$out/cache"
{
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
    "$out/env/bin/osad-bench" doctor || true
    echo "== ratios"
    "$out/env/bin/python" "$here/tests/perf.py" rotate
    echo "== quick, closed form, first and second seed"
    for seed in 0, 1,; do
        date +%s
        "$out/env/bin/osad-bench" run --methods evidence,whitened,patchcore --seeds "$seed" --device cuda --out "$out/quick"
        date +%s
    done
    weights="$data/resnet18-f37072fd.pth"
    if [ -f "$weights" ]; then
        echo "== paper, two epochs of DRA"
        date +%s
        "$out/env/bin/osad-bench" run --methods dra --floor none --seeds 1 --preset paper --set schedule.epochs=2 \
            --weights "$weights" --device cuda --out "$out/paper"
        date +%s
    else
        echo "paper left out: no $weights"
    fi
} 2>&1 | tee "$out/figures.txt"
