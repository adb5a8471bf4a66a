r"""What a quantised matmul of few rows costs on an NVIDIA GPU: ours by choice, and stock MLX's.

The kernels' own times, as NVIDIA's profiler reads them, each with a cold cache:

    MLX_USE_CUDA_GRAPHS=0 ncu --clock-control none --csv \
        --metrics gpu__time_duration.sum,dram__bytes_read.sum \
        -k regex:"custom_kernel|qmv|qmm" python -m benchmarks.few_rows --launch > profile.csv
    python -m benchmarks.few_rows --report profile.csv --device "NVIDIA H200" --mlx 0.32.4

The second writes results/few_rows.json and results/few_rows.svg. Shapes are those of a 27B model, and what
is wanted of each as the model has it: the gated MLP's joined product gated, those that a residual sum follows in
parts, which the sum's kernel adds up. Weights are random, 4 bits, group 64, activations bfloat16. The floor is the bytes of weights,
scales and biases at 4.3 TB/s, which a copy on the device reaches on an H200.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections import defaultdict
from dataclasses import astuple
from pathlib import Path
from typing import Any

SHAPES = {
    (5120, 34816): "gated",
    (17408, 5120): "in parts",
    (5120, 16480): "whole",
    (6144, 5120): "in parts",
    (5120, 14336): "whole",
    (5120, 248320): "whole",
}
"""Inputs and outputs, layers of one input joined as the engine joins them, and what is wanted of the product."""
ROWS = (1, 4)
GROUP = 64
BYTES_PER_WEIGHT = 0.5 + 4 / GROUP
COPY_BYTES_PER_S = 4.3e12
_READ = """
    const uint4* parts = reinterpret_cast<const uint4*>(bytes) + (size_t)blockIdx.x * 1024 + threadIdx.x;
    uint4 a = parts[0], b = parts[256], c = parts[512], d = parts[768];
    unsigned all = a.x ^ a.y ^ a.z ^ a.w ^ b.x ^ b.y ^ b.z ^ b.w ^ c.x ^ c.y ^ c.z ^ c.w ^ d.x ^ d.y ^ d.z ^ d.w;
    if (all == 0x9e3779b9u) seen[0] = all;
"""
"""Of 256 threads, 64 bytes each; the condition keeps the compiler from leaving the loads out."""
_READ_AT_ONCE = 256 * 64
RESULTS = Path(__file__).parent / "results"
Shape = tuple[int, int]


def main() -> None:
    """Launch the kernels for a profiler, or report what it saw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--launch", action="store_true")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--device", default="unknown")
    parser.add_argument("--mlx", default="unknown")
    parser.add_argument("--commit", default="")
    options = parser.parse_args()
    if options.launch:
        launch()
    elif options.report:
        document = {
            "device": options.device,
            "mlx": options.mlx,
            "commit": options.commit or commit(),
            "weights": "random, affine 4-bit, group 64; bfloat16 rows",
            "floor_bytes_per_s": COPY_BYTES_PER_S,
            "shapes": [reported(shape, times) for shape, times in read(options.report).items()],
        }
        (RESULTS / "few_rows.json").write_text(json.dumps(document, indent=2) + "\n", "utf-8")
        (RESULTS / "few_rows.svg").write_text(drawn(document), "utf-8")
    else:
        parser.print_usage(sys.stderr)
        sys.exit(2)


def commit() -> str:
    """Return the commit that is checked out."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def say(*label: object) -> None:
    """Name the kernel of ours that is launched next."""
    sys.stdout.write(" ".join(map(str, label)) + "\n")
    sys.stdout.flush()


def launch() -> None:
    """Run each kernel once; a line before each of ours names it."""
    import mlx.core as mx

    from kernels import quant_matvec as kernel
    from kernels.dispatch import Backend
    from kernels.quant_choices import CHOICES, Product

    reading: Any = mx.fast.cuda_kernel("read", ["bytes"], ["seen"], _READ)
    for (inputs, outputs), wanted in SHAPES.items():
        blocks = int(inputs * outputs * BYTES_PER_WEIGHT) // _READ_AT_ONCE
        bytes_ = mx.zeros((blocks * _READ_AT_ONCE,), mx.uint8)
        mx.eval(bytes_)
        say("READ", inputs, outputs)
        mx.eval(
            reading(
                inputs=[bytes_],
                output_shapes=[(1,)],
                output_dtypes=[mx.uint32],
                grid=(blocks * 256, 1, 1),
                threadgroup=(256, 1, 1),
                init_value=0,
            )
        )
        del bytes_
        keys = mx.random.split(mx.random.key(0), 4)
        words = mx.random.randint(
            -(2**31), 2**31 - 1, (outputs, inputs // 8), mx.int32, key=keys[0]
        )
        scales, biases = (
            (0.05 * mx.random.normal((outputs, inputs // GROUP), key=key)).astype(mx.bfloat16)
            for key in keys[1:3]
        )
        packed = kernel.Packed(words.view(mx.uint32), scales, biases, GROUP, 4)
        for rows in ROWS:
            x = mx.random.normal((rows, inputs), key=keys[3]).astype(mx.bfloat16)
            mx.eval(x, packed.weight, scales, biases)
            mx.eval(kernel.quant_matvec_plain(x, packed))
            product = Product(wanted)
            for choice in CHOICES:
                if not choice.gives(product):
                    continue
                say("RUN", inputs, outputs, rows, *astuple(choice)[:6])
                is_gated = product is Product.GATED
                mx.eval(kernel._run(Backend.CUDA, x, packed, choice, is_gated=is_gated))


def read(profile: Path) -> dict[Shape, dict[int, dict[str, float]]]:
    """Return microseconds by shape, rows and kernel, from the lines of a profile; 0 rows are bytes read only."""
    lines = profile.read_text("utf-8").splitlines()
    labels = [
        tuple(map(int, line.split()[1:])) for line in lines if line.startswith(("READ ", "RUN "))
    ]
    table = csv.DictReader(line for line in lines if line.startswith('"'))
    durations: dict[int, tuple[str, float]] = {}
    for row in table:
        if row["Metric Name"] == "gpu__time_duration.sum":
            nanoseconds = float(row["Metric Value"].replace(",", ""))
            durations[int(row["ID"])] = (row["Kernel Name"], nanoseconds / 1000)
    found: dict[Shape, dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    stock, left = 0.0, iter(labels)
    for _, (name, time) in sorted(durations.items()):
        if "custom_kernel" not in name:
            stock = time
            continue
        inputs, outputs, *of_product = next(left)
        if not of_product:
            found[(inputs, outputs)][0]["read"] = time
            continue
        rows, *choice = of_product
        times = found[(inputs, outputs)][rows]
        times["stock"] = stock
        times["x".join(map(str, choice))] = time
    return found


def reported(shape: Shape, times: dict[int, dict[str, float]]) -> dict[str, Any]:
    """Return a shape's times, and the ratios that matter, of the choice that is best at 4 rows."""
    inputs, outputs = shape
    floor = inputs * outputs * BYTES_PER_WEIGHT / COPY_BYTES_PER_S * 1e6
    read = times.pop(0)["read"]
    best = min((name for name in times[4] if name != "stock"), key=lambda name: times[4][name])
    return {
        "inputs": inputs,
        "outputs": outputs,
        "product": SHAPES[shape],
        "floor_us": round(floor, 1),
        "read_us": round(read, 1),
        "us": {
            str(rows): {k: round(v, 1) for k, v in each.items()} for rows, each in times.items()
        },
        "best_choice": best,
        "one_row_over_floor": round(times[1][best] / floor, 2),
        "one_row_over_read": round(times[1][best] / read, 2),
        "four_rows_over_one": round(times[4][best] / times[1][best], 3),
        "stock_over_ours": {r: round(times[r]["stock"] / times[r][best], 2) for r in times},
    }


def drawn(document: dict[str, Any]) -> str:
    """Return bars of each shape's floor, our one and four rows, and stock's; each shape on its own scale."""
    kinds = (
        ("floor", "#c4c8cc"), ("read only", "#9aa0a6"), ("ours, 1 row", "#1a9e77"), ("ours, 4 rows", "#66c2a5"), ("stock, 1 row", "#d95f02"), ("stock, 4 rows", "#fc8d62"),
    )  # fmt: skip
    shapes = document["shapes"]
    width, left, row, gap = 760, 130, 15, 18
    lines = []
    y = 58
    for each in shapes:
        ours = [each["us"][rows][each["best_choice"]] for rows in ("1", "4")]
        stock = [each["us"][rows]["stock"] for rows in ("1", "4")]
        most = max(stock)
        label = f"{each['inputs']} → {each['outputs']}"
        lines.append(f'<text x="{left - 8}" y="{y + 3 * row}" text-anchor="end">{label}</text>')
        for (_, colour), value in zip(
            kinds, (each["floor_us"], each["read_us"], *ours, *stock), strict=True
        ):
            long = max(1, value / most * (width - left - 70))
            lines.append(
                f'<rect x="{left}" y="{y}" width="{long:.1f}" height="{row - 3}" fill="{colour}"/>'
                f'<text x="{left + long + 5:.1f}" y="{y + 10}">{value:g} µs</text>'
            )
            y += row
        y += gap
    legend = "".join(
        f'<rect x="{left + 104 * i}" y="32" width="10" height="10" fill="{colour}"/>'
        f'<text x="{left + 104 * i + 14}" y="41">{name}</text>'
        for i, (name, colour) in enumerate(kinds)
    )
    title = f"4-bit matmul, {document['device']}, MLX {document['mlx']}, {document['commit']}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" '
        f'font-family="sans-serif" font-size="11" fill="#333">'
        f'<rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="{left}" y="20" font-size="13">{title}</text>{legend}{"".join(lines)}</svg>\n'
    )


if __name__ == "__main__":
    main()
