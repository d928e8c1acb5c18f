"""How the time of a step grows: with threads, and with batch, length and width.

    cargo build --release
    python tests/speed/scaling.py --out scaling

Two threads against one on four workloads, turns taken alternately: the ratio is that of the medians. Then one size of a program from small to 16 times larger (the batch of
splice, the length of transformer, the width of mlp): the time of a step over its arithmetic, which is a flat line where cost grows as it should.

Writes scaling.md, scaling.svg and scaling.json into --out.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile
from html import escape

HERE = pathlib.Path(__file__).resolve().parent
THREADED = ("basset", "danq", "transformer", "splice")
# Program, what grows, its values, and the text that stands in the program for one of them.
SIZES = {
    "splice": ("batch", [1, 2, 4, 8, 16], lambda n: [("batch     6", f"batch     {n}"), ("rows: 24", f"rows: {max(24, 2 * n)}")]),
    "transformer": ("length", [64, 128, 256, 512, 1024], lambda n: [("[256]", f"[{n}]"), ("batch     16", "batch     4"), ("rows: 256", "rows: 16")]),
    "mlp": ("width", [128, 256, 512, 1024, 2048], lambda n: [("Dense(512)", f"Dense({n})")]),
}


def bench(binary, program, threads, seconds):
    command = [binary, "bench", str(program), "--json", "--threads", str(threads), "--seconds", str(seconds)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().splitlines()[-1])


def threads(binary, rounds, seconds):
    found = {}
    for workload in THREADED:
        times = {1: [], 2: []}
        for _ in range(rounds):
            for count, of in times.items():
                of.append(bench(binary, HERE / f"{workload}.bdl", count, seconds)["step_ms"])
        found[workload] = {count: statistics.median(of) for count, of in times.items()}
    return found


def sizes(binary, rounds, seconds):
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for workload, (_, values, edits) in SIZES.items():
            points = {value: [] for value in values}
            arithmetic = {}
            for value in values:
                text = (HERE / f"{workload}.bdl").read_text()
                for old, new in edits(value):
                    if old not in text:
                        raise SystemExit(f"{workload}.bdl has no `{old}`")
                    text = text.replace(old, new)
                (pathlib.Path(folder) / f"{workload}_{value}.bdl").write_text(text)
            for _ in range(rounds):
                for value in values:
                    one = bench(binary, pathlib.Path(folder) / f"{workload}_{value}.bdl", 2, seconds)
                    points[value].append(one["step_ms"])
                    arithmetic[value] = one["gflops"] * one["step_ms"] / 1e3
            found[workload] = {value: (statistics.median(times), arithmetic[value]) for value, times in points.items()}
    return found


def draw(grown):
    """One curve a workload: nanoseconds for a million operations against the size, both on logarithmic axes of base two."""
    import math

    width, height, left, top = 720, 300, 70, 30
    colours = {"splice": "#0b6e4f", "transformer": "#c1666b", "mlp": "#4e6e9e"}
    rates = [time * 1e6 / (gflop * 1e3) for points in grown.values() for time, gflop in points.values()]
    low, high = math.floor(math.log2(min(rates))), math.ceil(math.log2(max(rates)))
    y = lambda rate: top + (height - top - 50) * (high - math.log2(rate)) / max(high - low, 1)
    x = lambda at: left + (width - left - 150) * at / 4
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for power in range(low, high + 1):
        out.append(f'<line x1="{left}" y1="{y(2.0**power):.1f}" x2="{width - 150}" y2="{y(2.0**power):.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{left - 8}" y="{y(2.0**power) + 4:.1f}" text-anchor="end" fill="#555">{2.0**power:g}</text>')
    for at in range(5):
        out.append(f'<text x="{x(at):.1f}" y="{height - 30}" text-anchor="middle" fill="#555">× {2**at}</text>')
    out.append(f'<text x="{(left + width - 150) / 2}" y="{height - 8}" text-anchor="middle" fill="#555">size, relative to the smallest</text>')
    out.append(f'<text x="{left}" y="16" fill="#555">ns for a million operations of a step</text>')
    for workload, points in grown.items():
        places = [(x(at), y(time * 1e6 / (gflop * 1e3))) for at, (time, gflop) in enumerate(points.values())]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colours[workload]}" stroke-width="2"/>')
        out += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4" fill="{colours[workload]}"/>' for px, py in places]
        out.append(f'<text x="{places[-1][0] + 12:.1f}" y="{places[-1][1] + 4:.1f}" fill="{colours[workload]}">{escape(workload)}, {SIZES[workload][0]}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--bdl", default=str(HERE.parent.parent / "target/release/bdl"))
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=float, default=1.0)
    arguments.add_argument("--out", type=pathlib.Path, default=pathlib.Path("scaling"))
    options = arguments.parse_args()
    lines = ["| workload | 1 thread, ms | 2 threads, ms | faster |", "|---|---|---|---|"]
    by_threads = threads(options.bdl, options.rounds, options.seconds)
    for workload, times in by_threads.items():
        lines.append(f"| {workload} | {times[1]:.1f} | {times[2]:.1f} | {times[1] / times[2]:.2f} |")
    grown = sizes(options.bdl, options.rounds, options.seconds)
    for workload, points in grown.items():
        lines += ["", f"| {workload}, {SIZES[workload][0]} | ms | GFLOP | GFLOP/s |", "|---|---|---|---|"]
        lines += [f"| {value} | {time:.2f} | {gflop:.3f} | {gflop / time * 1e3:.0f} |" for value, (time, gflop) in points.items()]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "scaling.md").write_text("\n".join(lines) + "\n")
    (options.out / "scaling.svg").write_text(draw(grown))
    (options.out / "scaling.json").write_text(json.dumps({"threads": by_threads, "sizes": grown}, indent=1) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
