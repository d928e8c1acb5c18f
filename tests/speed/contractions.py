"""Contractions of the nine programs of this folder on a GPU, beside cuBLAS on the same shapes.

    python tests/speed/contractions.py --bdl target/release/bdl --out runs/gpu/contractions.md        with a python that has torch

For each contraction of a training step: its time in `bdl bench --profile --device cuda`, and that of torch.matmul on dense matrices with as many elements of the
batch, rows, columns and terms of the sum. Both with products of tf32 (or --precision bf16: torch has factors and results of bf16 then), each call between two
events. cuBLAS has it easier: a convolution's rows overlap and bdl's contractions have epilogues (bias, ReLU, sums of channels) where the program has them. Those below
--least GFLOP are left out, for their time is that of a launch, and those whose time has that of a kernel behind them, too. Contractions of one shape stand in
one line with their median.
"""
import argparse
import json
import pathlib
import statistics
import subprocess

import torch

HERE = pathlib.Path(__file__).resolve().parent
WORKLOADS = ("mlp", "basset", "danq", "transformer", "vae", "splice", "lstm", "gin", "resnet2d")


def cublas(batch, rows, columns, terms, precision):
    """Seconds of one product, the median of many calls; the better of two layouts of the right factor."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    best = float("inf")
    for turned in (False, True):
        a = torch.randn(batch, rows, terms, device="cuda").to(kind)
        b = torch.randn(batch, columns, terms, device="cuda").to(kind).transpose(1, 2) if turned else torch.randn(batch, terms, columns, device="cuda").to(kind)
        out = torch.empty(batch, rows, columns, device="cuda", dtype=kind)
        if batch == 1:
            a, b, out = a[0], b[0], out[0]
        for _ in range(5):
            torch.matmul(a, b, out=out)
        times = []
        # The queue is full before the first one is timed, so that no time is the host's.
        torch.cuda._sleep(10_000_000)
        for _ in range(30):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            torch.matmul(a, b, out=out)
            end.record()
            times.append((begin, end))
        torch.cuda.synchronize()
        best = min(best, statistics.median(begin.elapsed_time(end) for begin, end in times) / 1e3)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bdl", default="target/release/bdl")
    parser.add_argument("--precision", default="tf32", choices=("tf32", "bf16"))
    parser.add_argument("--seconds", default="0.2")
    parser.add_argument("--least", type=float, default=0.5, help="GFLOP")
    parser.add_argument("--out")
    parser.add_argument("workloads", nargs="*", default=WORKLOADS)
    chosen = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = True
    lines = ["| workload | line | contraction | batch | rows | columns | terms | how many | bdl: µs | TFLOP/s | cuBLAS: µs | TFLOP/s | bdl's rate to cuBLAS's |", "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"]
    known, all_ours, all_theirs = {}, 0.0, 0.0
    for workload in chosen.workloads:
        command = [chosen.bdl, "bench", str(HERE / f"{workload}.bdl"), "--device", "cuda", "--precision", chosen.precision, "--profile", "--json", "--seconds", chosen.seconds]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            lines.append(f"| {workload} | {(done.stderr.strip().splitlines() or ['?'])[0]} |")
            continue
        alike = {}
        for row in json.loads(done.stdout.strip().splitlines()[-1])["profile"]:
            if "shape" not in row or row["flop"] < chosen.least * 1e9 or row["depth"] > 0 or row["behind"] == "kernel":
                continue
            shape = tuple(int(row["shape"][name]) for name in ("batch", "rows", "columns", "terms"))
            what = "gradient" if "gradient" in row["origin"] else "sum"
            alike.setdefault((row["line"], what, row["behind"] == "epilogue", shape), []).append(row["ms"] / 1e3)
        for (line, what, has_epilogue, shape), times in alike.items():
            if shape not in known:
                known[shape] = cublas(*shape, chosen.precision)
            ours, theirs = statistics.median(times), known[shape]
            if not has_epilogue:
                all_ours, all_theirs = all_ours + sum(times), all_theirs + theirs * len(times)
            batch, rows, columns, terms = shape
            # Clipped places of a convolution count for neither.
            flop = 2.0 * batch * rows * columns * terms
            lines.append(f"| {workload} | {line} | {what}{', epilogue' if has_epilogue else ''} | {batch} | {rows} | {columns} | {terms} | {len(times)} | {ours * 1e6:.1f} | {flop / ours / 1e12:.0f} | "
                         f"{theirs * 1e6:.1f} | {flop / theirs / 1e12:.0f} | **{theirs / ours:.2f}** |")
    lines.append("")
    if all_ours > 0:
        lines.append(f"Those without an epilogue together: {all_theirs / all_ours:.2f} of cuBLAS's rate.")
    text = "\n".join(lines) + "\n"
    print(text)
    if chosen.out:
        path = pathlib.Path(chosen.out)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{torch.cuda.get_device_name()}, products of {chosen.precision}, PyTorch {torch.__version__}\n\n{text}")


if __name__ == "__main__":
    main()
