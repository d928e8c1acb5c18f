"""Answers of bdl beside ONNX Runtime's: basset and transformer of this folder, the same weights, the same inputs.

    cargo build --release
    python -m venv peers-env && peers-env/bin/pip install numpy onnx onnxruntime
    python tests/speed/inference.py --onnx peers-env/bin/python

bdl trains a program for an instant, so that there is a run with weights on the disk; the peer's model is built from these weights
(peers/onnx_build.py). Both predict the same sequences, and the largest difference is shown. Then, alternately, round after round:

- latency: a process that stays (`bdl bench FILE --predict ROWS`, peers/onnx_peer.py) computes for a second at batch 1 and at batch 64;
- first answer: a new process predicts one sequence (`bdl predict RUN one.csv`, peers/onnx_peer.py .. once), from its start to its end,
  with the weights in the system's page cache, and its largest resident set.

Ratios are those of medians over all rounds. What is missing is said. Writes inference.md and inference.json into --out.
"""
import argparse
import csv
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

import compare

HERE = compare.HERE
ROWS = 128
# How the sequences of each program are read, what it is trained on for an instant, and what it predicts.
PROGRAMS = {
    "basset": ("ACGT", 600, "dna = onehot(column(\"sequence\"), DNA)",
               "loss square((sum[i] net(dna)[i]) - y)", "predict out = for i: 1 * net(dna)[i]"),
    "transformer": ("ACDEFGHIKLMNPQRSTVWY", 256, "residues = letters(column(\"sequence\"), Protein)",
                    "loss square((sum[t, i] net(residues)[t, i]) - y)", "predict out = for t, i: 1 * net(residues)[t, i]"),
}


def program(workload):
    """The model of the folder's program with data from a file and a prediction."""
    _, _, field, loss, predict = PROGRAMS[workload]
    kept, inside = [], False
    for line in (HERE / f"{workload}.bdl").read_text().splitlines():
        inside = inside or line.startswith(("data ", "train "))
        if not inside:
            kept.append(line)
        inside = inside and line != "}"
    model = next(line.split()[1].split("(")[0] for line in kept if line.startswith("model "))
    block = f"""
data Sequences = csv("sequences.csv") {{
  {field}
  y = number(column("y"))
}}

train {workload} {{
  model     net = {model}()
  data      Sequences
  {loss}
  optimizer adam(1e-5)
  batch     8
  epochs    1
  {predict}
}}
"""
    return "\n".join(kept) + block


def make(workload, folder, options):
    """A run of bdl in the folder, with sequences to predict."""
    letters, length = PROGRAMS[workload][:2]
    draw = random.Random(1)
    sequences = ["".join(draw.choices(letters, k=length)) for _ in range(ROWS)]
    for name, rows in (("sequences", sequences), ("one", sequences[:1]), ("few", sequences[:8])):
        with open(folder / f"{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows([("sequence", "y"), *((sequence, i % 2) for i, sequence in enumerate(rows))])
    (folder / "sequences.txt").write_text("\n".join(sequences))
    (folder / f"{workload}.bdl").write_text(program(workload))
    asked = [options.bdl, "train", f"{workload}.bdl", "--out", "run", "--threads", str(options.threads), "--quiet"]
    done = subprocess.run(asked, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise compare.Failed((done.stderr or done.stdout).strip())


def once(command, folder):
    """Seconds from the start of a process to its end, and its largest resident set in MB."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    out = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise compare.Failed(f"{' '.join(command[:3])} ended with {process.returncode}")
    return seconds, used.ru_maxrss / 1024, out


class Bdl:
    def __init__(self, workload, folder, options):
        self.folder, self.answers = folder, {}
        threads = ["--threads", str(options.threads)]
        self.bench = lambda rows, seconds: [options.bdl, "bench", f"{workload}.bdl", "--predict", str(rows), "--json", *threads,
                                            "--seconds", str(seconds)]
        self.first = [options.bdl, "predict", "run", "one.csv", *threads]
        self.few = [options.bdl, "predict", "run", "few.csv", "--json", *threads]

    def turn(self, rows, seconds):
        done = subprocess.run(self.bench(rows, seconds), cwd=self.folder, capture_output=True, text=True)
        if done.returncode:
            raise compare.Failed(done.stderr.strip())
        return json.loads(done.stdout)["answer_ms"]

    def predictions(self):
        return [json.loads(line)["out"] for line in once(self.few, self.folder)[2].splitlines()]

    def close(self):
        pass


class Onnx:
    def __init__(self, workload, folder, options):
        build = [options.onnx, str(HERE / "peers" / "onnx_build.py"), workload, "run/best.safetensors", "model.onnx", "input.npy", "sequences.txt"]
        if not (folder / "run" / "best.safetensors").exists():
            build[3] = "run/last.safetensors"
        done = subprocess.run(build, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise compare.Failed(done.stderr.strip().splitlines()[-1])
        self.folder, self.python = folder, options.onnx
        at = lambda name: str(folder / name)
        self.command = [options.onnx, "onnx_peer.py", at("model.onnx"), at("input.npy"), str(options.threads)]
        self.first = [options.onnx, str(HERE / "peers" / "onnx_peer.py"), *self.command[2:], "1", "once", at("out.npy")]
        self.few = [*self.first[:-3], "8", *self.first[-2:]]
        self.running = {}

    def turn(self, rows, seconds):
        if rows not in self.running:
            self.running[rows] = compare.Peer([*self.command, str(rows)], 300.0)
        peer = self.running[rows]
        peer.turn(seconds)
        return peer.steps[-1]

    def predictions(self):
        once(self.few, self.folder)
        show = "import json, sys, numpy as np; x = np.load(sys.argv[1]); print(json.dumps(x.reshape(len(x), -1).tolist()))"
        return json.loads(subprocess.run([self.python, "-c", show, self.folder / "out.npy"], capture_output=True, text=True, check=True).stdout)

    def close(self):
        for peer in self.running.values():
            peer.close()


def difference(ours, theirs):
    """The largest difference over the largest number."""
    pairs = [(a, b) for x, y in zip(ours, theirs, strict=True) for a, b in zip(x, y, strict=True)]
    return max(abs(a - b) for a, b in pairs) / max(abs(b) for _, b in pairs)


def measure(workload, with_peer, options):
    found = {"batches": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make(workload, folder, options)
        tools = {"bdl": Bdl(workload, folder, options)}
        if with_peer:
            tools["onnx"] = Onnx(workload, folder, options)
            found["difference"] = difference(tools["bdl"].predictions(), tools["onnx"].predictions())
        starts = {tool: [] for tool in tools}
        for rows in options.batch:
            times = {tool: [] for tool in tools}
            for _ in range(options.rounds):
                for tool, run in tools.items():
                    time.sleep(0.2)
                    times[tool].append(run.turn(rows, options.seconds))
            found["batches"][rows] = {tool: statistics.median(of) for tool, of in times.items()}
        for _ in range(max(options.rounds, 5)):
            for tool, run in tools.items():
                starts[tool].append(once(run.first, folder)[:2])
        for tool, run in tools.items():
            found[tool] = {"first_s": statistics.median(s for s, _ in starts[tool]), "peak_mb": max(mb for _, mb in starts[tool])}
            run.close()
    return found


def table(results, options):
    number = compare.number
    lines = [
        f"{compare.machine_name('cpu')}; {options.threads} threads, f32, {options.rounds} turns of {number(options.seconds, 2)} s each, "
        f"taken alternately; {time.strftime('%Y-%m-%d')}.",
        "Latency: median ms of an answer. First answer: ms from the start of a process to its end. Peak: MB of resident memory of that process.",
        "",
        "| model | what | bdl | ONNX Runtime | ratio |",
        "|---|---|---:|---:|---:|",
    ]
    for workload, found in results.items():
        rows = [(f"latency, batch {rows}", by.get("bdl"), by.get("onnx")) for rows, by in found["batches"].items()]
        of = lambda what, scale: tuple(found[tool][what] * scale if tool in found else None for tool in ("bdl", "onnx"))
        rows += [("first answer", *of("first_s", 1e3)), ("peak", *of("peak_mb", 1))]
        for what, ours, theirs in rows:
            other, ratio = (number(theirs), f"**{number(ours / theirs, 2)}**") if theirs else ("-", "-")
            lines.append(f"| {workload} | {what} | {number(ours)} | {other} | {ratio} |")
        if "difference" in found:
            lines.append(f"| {workload} | largest difference over largest value | {found['difference']:.1e} | | |")
    return "\n".join(lines) + "\n"


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("workload", nargs="*", help="only these [default: both]")
    options.add_argument("--bdl", default=str(HERE.parents[1] / "target" / "release" / "bdl"), help="the binary")
    options.add_argument("--onnx", default=sys.executable, help="a python with numpy, onnx and onnxruntime")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--batch", type=int, nargs="*", default=[1, 64])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=1.0, help="of a turn")
    options.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/speed"))
    options = options.parse_args()
    unknown = set(options.workload) - set(PROGRAMS)
    if unknown:
        sys.exit(f"no model {', '.join(sorted(unknown))}; there are {', '.join(PROGRAMS)}")
    options.bdl = str(pathlib.Path(options.bdl).resolve())
    try:
        asked = subprocess.run([options.onnx, "-c", "import numpy, onnx, onnxruntime"], capture_output=True, text=True)
        missing = asked.stderr.strip().splitlines()[-1] if asked.returncode else None
    except OSError as error:
        missing = str(error)
    if missing:
        print(f"ONNX Runtime is missing: {missing}", file=sys.stderr)
    results = {}
    for workload in options.workload or PROGRAMS:
        try:
            results[workload] = measure(workload, not missing, options)
        except compare.Failed as why:
            print(f"{workload}: {why}", file=sys.stderr)
    options.out.mkdir(parents=True, exist_ok=True)
    text = table(results, options)
    (options.out / "inference.md").write_text(text)
    (options.out / "inference.json").write_text(json.dumps({"machine": compare.machine_name("cpu"), "threads": options.threads, "models": results}, indent=1) + "\n")
    print(f"\n{text}\nwritten to {options.out}")


if __name__ == "__main__":
    main()
