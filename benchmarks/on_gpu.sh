#!/usr/bin/env bash
# All that is measured and proved on a GPU, part by part, so that one machine's time is used well:
#
#   bash benchmarks/on_gpu.sh OUT shape shape27 few_rows      what kernels and the 27B shape cost
#   bash benchmarks/on_gpu.sh OUT settings                    and with other settings of MLX
#   bash benchmarks/on_gpu.sh OUT families demo certify law   whole texts, the law, each kernel alone switched off
#
# Wants `python3 -m mtplx_tui.cli` and the engine to run as they are (MLX with its CUDA or Metal backend,
# the demo's wheel, pytest), in the repository's root. Each part has a limit of its own, and what it has written by then stays in OUT.
set -u
out=$1; shift
mkdir -p "$out" "$out/home"
export PYTHONPATH=$PWD:${PYTHONPATH:-} PYTHONUNBUFFERED=1 MTPLX_TUI_HOME=$out/home
KERNELS=$(python3 -c "from kernels.dispatch import KERNELS; print(*KERNELS)")
mtplx() { timeout "${LIMIT:-150}" python3 -c "import sys; from mtplx_tui.cli import main; sys.exit(main())" "$@"; }
tell() { echo "== $1: $2 after $SECONDS s"; }

bench() { # NAME PLAN LIMIT, then settings
  local name=$1 plan=$2 limit=$3; shift 3
  plan=$(python3 -c "import json; from engine import wire; from engine.verdict.shape_costs import Plan; print(json.dumps(wire.plain_fields(Plan('qwen3.6-27b', $plan))))")
  env "$@" timeout "$limit" python3 -P -m engine.shape_bench --cache "$out/cache" --plan "$plan" \
    > "$out/$name.json" 2> "$out/$name.err"; tell "$name" $?
  grep -h "ms\|reason\|Error" "$out/$name.err" | tail -24
  grep -h "failure" "$out/$name.json"
}

shape() {
  local tables="acceptance=((.98, .96, .94), (.75, .65, .55))"
  bench shape "$tables, contexts=(1024, 65536), repeats=10, rows=(1, 2, 3, 4, 5), stock_rows=(1, 2, 4), budget_s=130" 280
}

settings() { # what MLX's own settings for CUDA graphs change; the first is as they come
  local each brief="acceptance=((.98, .96, .94),), repeats=6, rows=(1, 4), stock_rows=(1,), budget_s=80"
  for each in A=1 MLX_MAX_MB_PER_BUFFER=2000 "MLX_MAX_MB_PER_BUFFER=2000 MLX_MAX_OPS_PER_BUFFER=60" MLX_USE_CUDA_GRAPHS=0; do
    bench "settings.${each//[^A-Z0-9]/_}" "$brief" 130 $each
  done
}

shape27() {
  timeout 420 python3 -m benchmarks.shape_27b --made --cycles 500 --folder "$out/shape27" --out "$out/shape_27b.json" \
    > /dev/null 2> "$out/shape_27b.err"; tell shape27 $?
}

few_rows() {
  MLX_USE_CUDA_GRAPHS=0 timeout 100 ncu --clock-control none --csv --metrics gpu__time_duration.sum,dram__bytes_read.sum \
    -k regex:"custom_kernel|qmv|qmm" python3 -m benchmarks.few_rows --launch > "$out/few_rows.csv" 2> "$out/few_rows.err"
  tell few_rows $?
}

families() {
  python3 - "$out/families" <<'P'
import sys
from pathlib import Path
import mlx.core as mx
mx.set_default_device(mx.cpu)
from tests.fakes import checkpoints
for name in checkpoints.NAMES:
    checkpoints.write(Path(sys.argv[1]) / name, name)
P
  # Single precision whole: a tiny model's float32 meets ties where matmuls round to TF32.
  export MLX_ENABLE_TF32=0
  local count=0 name depth at_once=$(($(nproc) > 3 ? $(nproc) - 2 : 1))
  for name in $(ls "$out/families"); do
    for depth in 0 3; do
      mtplx generate --model "$out/families/$name" --prompt "hello there" --max-tokens 24 --depth $depth --mode seeded --seed 5 --json \
        > "$out/$name.$depth.json" 2> "$out/$name.$depth.err" &
      count=$((count + 1)); [ $((count % at_once)) = 0 ] && wait
    done
  done
  wait
  for name in $(ls "$out/families"); do
    python3 -c "import json, sys; a, b = (json.load(open(f))['token_ids'] for f in sys.argv[2:]); print(sys.argv[1], len(a), 'alike' if a == b else 'APART')" \
      "$name" "$out/$name.0.json" "$out/$name.3.json" 2> /dev/null || echo "$name FAILED: $(head -c 200 "$out/$name.3.err")"
  done
  unset MLX_ENABLE_TF32
  LIMIT=60 mtplx doctor > "$out/doctor.txt" 2>&1; tell families $?
}

demo() {
  local ask="generate --model demo --max-tokens 96 --seed 7 --json" depth kernel
  LIMIT=250 mtplx $ask --prompt "Why is the sky blue?" --depth 3 --mode seeded > "$out/seeded.3.json" 2> "$out/seeded.3.err"; tell "first load" $?
  for depth in 0 1 2 6; do
    mtplx $ask --prompt "Why is the sky blue?" --depth $depth --mode seeded > "$out/seeded.$depth.json" 2> "$out/seeded.$depth.err" &
  done; wait
  for kernel in off $KERNELS; do
    MTPLX_TUI_KERNELS=$kernel mtplx $ask --prompt "Why is the sky blue?" --depth 3 --mode seeded > "$out/off.$kernel.json" 2> "$out/off.$kernel.err" &
  done; wait
  python3 - "$out" <<'P'
import json, sys
from pathlib import Path
texts = {}
for file in sorted([*Path(sys.argv[1]).glob("seeded.*.json"), *Path(sys.argv[1]).glob("off.*.json")]):
    try:
        texts[file.name] = json.loads(file.read_text())["token_ids"]
    except (ValueError, KeyError) as error:
        print(file.name, "FAILED", error)
right = texts.get("seeded.0.json")
for name, text in texts.items():
    print(name, len(text), "alike" if text == right else "APART")
P
}

certify() {
  local kernel name
  LIMIT=220 mtplx certify demo --budget 100s --json > "$out/certify.demo.json" 2> "$out/certify.demo.err" &
  for name in qwen3_5 kimi_k3 nemotron_h bailing_hybrid bailing_moe_v3; do
    LIMIT=220 mtplx certify "$out/families/$name" --budget 60s --json > "$out/certify.$name.json" 2> "$out/certify.$name.err" &
  done; wait
  for kernel in $KERNELS; do
    MTPLX_TUI_KERNELS=$kernel mtplx certify "$out/families/qwen3_5" --budget 30s --json > "$out/certify.off.$kernel.json" 2> "$out/certify.off.$kernel.err" &
  done; wait
  for name in "$out"/certify.*.json; do
    python3 -c "import json, sys; print(sys.argv[1], json.load(open(sys.argv[1]))['verdict'])" "$name" || echo "$name FAILED"
  done
}

law() {
  local quiet="-p no:randomly -W default --import-mode=importlib -o addopts= -q"
  timeout 200 python3 -m pytest $quiet -m gpu -n 8 tests/kernels > "$out/gpu_tests.txt" 2>&1; tell gpu_tests $?; tail -6 "$out/gpu_tests.txt"
  timeout 240 python3 -m pytest $quiet -m "not slow" -n 14 --dist loadgroup tests/conformance > "$out/law.txt" 2>&1; tell law $?; tail -24 "$out/law.txt"
}

for part in "$@"; do "$part"; done
tell end 0
