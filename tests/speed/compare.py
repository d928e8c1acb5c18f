"""bdl beside PyTorch and JAX on the nine programs of this folder: one optimiser step (forward, backward, Adam, f32).

    cargo build --release
    python -m venv peers-env && peers-env/bin/pip install torch jax optax numpy
    python tests/speed/compare.py --torch peers-env/bin/python --jax peers-env/bin/python

Shared machines change their speed from minute to minute, hence only ratios from one run count: the tools take turns of a second
on the same workload, round after round, and the ratio is that of the medians over all rounds. A peer stays alive between its turns and
sleeps (peers/session.py); bdl starts anew for each turn. `start` is from the start of the process to the end of the first step.
A peer that is not installed is said to be missing; a workload that bdl cannot run yet stands in the table with its message.

With --isa avx2 all of them use vectors of 256 bits only, as on a processor that has no wider ones.

With --device cuda bdl and PyTorch compute on the first GPU, both with products of tf32, JAX is left out, and memory is not compared (a process cannot be told
apart from others on one GPU). A step ends when its loss is on the host; for bdl it begins with the batch on the host, for PyTorch with the batch on the GPU.

With --within SECONDS it begins no workload when less is left than the longest so far took, and waits no longer for a peer's first step.

Writes speed.md, speed.svg and speed.json into --out, after each workload.
"""
import argparse
import json
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import threading
import time

import picture

HERE = pathlib.Path(__file__).resolve().parent
WORKLOADS = {
    "mlp": "2000-512-256-10, batch 64",
    "basset": "3 conv1d on 600 bases, 164 tasks, batch 64",
    "danq": "conv1d + BiLSTM 320 + dense 48000-925, 1000 bases, batch 32",
    "transformer": "4 layers, d 256, length 256, batch 16",
    "vae": "2000-128-10-128-2000, batch 128",
    "splice": "8 dilated residual conv1d blocks, 32 channels, 5000 bases, batch 6",
    "lstm": "100 steps, 32→128, batch 64",
    "gin": "4 GIN layers of 128, 3072 nodes, 6656 edges",
    "resnet2d": "4 residual 3×3 blocks, 32 channels, 128×128, batch 2",
}
TOOLS = {"bdl": "bdl", "eager": "PyTorch eager", "compile": "torch.compile", "jax": "JAX jit"}
PEERS = ("eager", "compile", "jax")


class Failed(Exception):
    """A tool that could not run a workload; the message is one line."""


# What tells each library of PyTorch and JAX to leave wider instructions alone.
NARROW = {"avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "XLA_FLAGS": "--xla_cpu_max_isa=AVX2"}}


class Bdl:
    """One process a turn."""

    def __init__(self, binary, workload, threads, device, isa=None):
        self.command = [binary, "bench", str(HERE / f"{workload}.bdl"), "--json", "--threads", str(threads), "--device", device, "--precision", "tf32" if device == "cuda" else "f32", *(["--isa", isa] if isa else []), "--seconds"]
        self.steps, self.starts, self.peaks, self.last = [], [], [], {}

    def turn(self, seconds):
        done = subprocess.run([*self.command, str(seconds)], capture_output=True, text=True)
        if done.returncode != 0:
            # With --json messages are lines of stdout.
            said = [json.loads(line)["message"] for line in done.stdout.splitlines() if '"severity":"error"' in line]
            said += [line for line in done.stderr.splitlines() if line.strip()]
            raise Failed(said[0] if said else f"exit code {done.returncode}")
        self.last = json.loads(done.stdout.strip().splitlines()[-1])
        self.steps.append(self.last["step_ms"])
        self.starts.append(self.last["first_step_ms"] / 1e3)
        self.peaks.append(self.last.get("peak_mb") or self.last["device_mb"])

    def close(self):
        pass

    def result(self):
        rest = {name: self.last.get(name) for name in ("compile_ms", "gflops", "machine_gflops", "predicted_peak_mb")}
        return {"step_ms": statistics.median(self.steps), "start_s": statistics.median(self.starts), "peak_mb": max(self.peaks), **rest}


class Peer:
    """One process for all turns."""

    def __init__(self, command, limit, isa=None):
        environment = os.environ | {"STARTED": repr(time.time())} | NARROW.get(isa, {})
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        env=environment, cwd=HERE / "peers")
        self.complaint = []
        threading.Thread(target=lambda: self.complaint.extend(self.process.stderr), daemon=True).start()
        self.timer = threading.Timer(limit, self.process.kill)
        self.timer.start()
        try:
            self.ready = self.answer()["ready"]
        except Failed:
            self.close()
            raise
        self.timer.cancel()
        self.steps, self.peak = [], 0.0

    def answer(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        self.process.wait()
        time.sleep(0.1)
        said = [line.strip() for line in self.complaint if line.strip()]
        raise Failed(said[-1] if said else f"ended with {self.process.returncode} (too slow or out of memory)")

    def turn(self, seconds):
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        answer = self.answer()
        self.steps.append(statistics.median(answer["step_ms"]))
        self.peak = max(self.peak, answer["peak_mb"])

    def close(self):
        self.timer.cancel()
        self.process.stdin.close()
        self.process.wait()

    def result(self):
        return {"step_ms": statistics.median(self.steps), "start_s": self.ready["start_s"], "import_s": self.ready["import_s"],
                "first_s": self.ready["first_s"], "peak_mb": self.peak, "version": self.ready["tool"]}


def start(tool, workload, options):
    if tool == "bdl":
        return Bdl(options.bdl, workload, options.threads, options.device, options.isa)
    if tool == "jax":
        return Peer([options.jax, "jax_peer.py", workload, str(options.threads)], options.limit, options.isa)
    return Peer([options.torch, "torch_peer.py", workload, tool, str(options.threads), options.device], options.limit, options.isa)


def measure(workload, tools, options):
    """Results and failures of each tool on one workload, taking turns."""
    running, failed = {}, {}
    for tool in tools:
        try:
            running[tool] = start(tool, workload, options)
        except Failed as why:
            failed[tool] = str(why)
    for _ in range(options.rounds):
        for tool in list(running):
            time.sleep(0.3)  # the threads of the tool before go to sleep
            try:
                running[tool].turn(options.seconds)
            except Failed as why:
                failed[tool] = str(why)
                running.pop(tool).close()
    for tool in running.values():
        tool.close()
    return {tool: run.result() for tool, run in running.items()}, failed


def summary(results):
    """Ratios to the best peer of a workload, where both ran."""
    rows = {}
    for workload, (found, _) in results.items():
        peers = {tool: found[tool] for tool in PEERS if tool in found}
        if "bdl" in found and peers:
            rows[workload] = {
                "time": found["bdl"]["step_ms"] / min(p["step_ms"] for p in peers.values()),
                "memory": found["bdl"]["peak_mb"] / min(p["peak_mb"] for p in peers.values()),
                "start": found["bdl"]["start_s"] / min(p["start_s"] for p in peers.values()),
            }
    return rows


def number(x, digits=3):
    if x >= 10 ** (digits - 1):
        return f"{x:,.0f}"
    return f"{x:.{max(0, digits - 1 - math.floor(math.log10(max(x, 1e-9))))}f}"


def table(results, missing, machine, options):
    ratios = summary(results)
    cell = lambda found, tool, what: number(found[tool][what]) if tool in found else "-"
    lines = [
        f"{machine}; {'products of tf32' if options.device == 'cuda' else f'{options.threads} threads, f32' + (f', {options.isa} only' if options.isa else '')}, {options.rounds} turns of {number(options.seconds, 2)} s each, taken alternately; {time.strftime('%Y-%m-%d')}.",
        "Step: median ms. Start: s from the start of the process to the end of the first step. Peak: MB of resident memory.",
        "Ratios are those of bdl to the best of the others.",
        "",
        "| workload | what | " + " | ".join(f"{name}" for name in TOOLS.values()) + " | ratio | start: bdl | best other | peak: bdl | best other | ratio |",
        "|---|---|" + "---:|" * (len(TOOLS) + 6),
    ]
    for workload, (found, failed) in results.items():
        others = [found[t] for t in PEERS if t in found]
        ratio = ratios.get(workload)
        best = lambda what: number(min(o[what] for o in others)) if others else "-"
        steps = " | ".join(cell(found, tool, "step_ms") for tool in TOOLS)
        lines.append(
            f"| {workload} | {WORKLOADS[workload]} | {steps} | {'**' + number(ratio['time'], 2) + '**' if ratio else '-'} "
            f"| {cell(found, 'bdl', 'start_s')} | {best('start_s')} | " + ("- | - | - |" if options.device == "cuda" else
            f"{cell(found, 'bdl', 'peak_mb')} | {best('peak_mb')} | {number(ratio['memory'], 2) if ratio else '-'} |"))
    if ratios:
        mean = math.exp(statistics.fmean(math.log(r["time"]) for r in ratios.values()))
        lines += ["", f"Geometric mean of the step ratios over {len(ratios)} of {len(results)} workloads: **{number(mean, 2)}**."]
    for workload, (_, failed) in results.items():
        lines += [f"- {TOOLS[tool]} did not run {workload}: {why}" for tool, why in failed.items()]
    lines += [f"- {TOOLS[tool]} is missing: {why}" for tool, why in missing.items()]
    rest = [workload for workload in options.workload or WORKLOADS if workload not in results]
    if rest:
        lines += ["", f"Not measured for want of time: {', '.join(rest)}."]
    return "\n".join(lines) + "\n"


def missing_tools(options):
    """Tools that cannot be asked at all, with the reason."""
    missing = {}
    if not pathlib.Path(options.bdl).exists():
        missing["bdl"] = f"there is no {options.bdl}; cargo build --release, or --bdl"
    for tools, python, modules in ((("eager", "compile"), options.torch, "torch"), (("jax",), options.jax, "jax, optax")):
        try:
            asked = subprocess.run([python, "-c", f"import {modules}"], capture_output=True, text=True)
            why = asked.stderr.strip().splitlines()[-1] if asked.returncode else None
        except OSError as error:
            why = str(error)
        missing |= {tool: why for tool in tools if why}
    return missing


def machine_name(device):
    if device == "cuda":
        try:
            asked = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"], capture_output=True, text=True)
        except OSError:
            return "a machine without nvidia-smi"
        return asked.stdout.splitlines()[0] if asked.returncode == 0 and asked.stdout else "a GPU"
    try:
        models = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
        return f"{models[0]}, {len(os.sched_getaffinity(0))} processors"
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("workload", nargs="*", help="only these [default: all nine]")
    options.add_argument("--bdl", default=str(HERE.parents[1] / "target" / "release" / "bdl"), help="the binary")
    options.add_argument("--torch", default=sys.executable, help="a python with torch")
    options.add_argument("--jax", default=sys.executable, help="a python with jax and optax")
    options.add_argument("--tools", default=",".join(TOOLS), help="which, separated by commas [default: %(default)s]")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options.add_argument("--isa", choices=sorted(NARROW), help="no wider instructions than these [default: what the processor has]")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=1.0, help="of a turn")
    options.add_argument("--limit", type=float, default=300.0, help="seconds until a peer must have done its first step")
    options.add_argument("--within", type=float, default=math.inf, metavar="SECONDS", help="leave out the workloads that would not be done by then")
    options.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/speed"))
    options = options.parse_args()
    if options.device == "cuda":
        options.tools = ",".join(tool for tool in options.tools.split(",") if tool != "jax")
    unknown = set(options.workload) - set(WORKLOADS)
    if unknown:
        sys.exit(f"no workload {', '.join(sorted(unknown))}; there are {', '.join(WORKLOADS)}")

    missing = {tool: why for tool, why in missing_tools(options).items() if tool in options.tools.split(",")}
    for tool, why in missing.items():
        print(f"{TOOLS[tool]} is missing: {why}", file=sys.stderr)
    tools = [tool for tool in TOOLS if tool in options.tools.split(",") and tool not in missing]
    machine = machine_name(options.device)
    results, longest, until = {}, 0.0, time.time() + options.within
    write(results, missing, machine, options)
    for workload in options.workload or WORKLOADS:
        begin = time.time()
        # At least a second is needed, and as much as the longest so far.
        if until - begin < max(longest, 1.0):
            break
        options.limit = min(options.limit, until - begin)
        found, failed = results[workload] = measure(workload, tools, options)
        longest = max(longest, time.time() - begin)
        shown = "  ".join(f"{tool} {number(found[tool]['step_ms'])} ms" if tool in found else f"{tool} -" for tool in tools)
        ratio = summary({workload: results[workload]}).get(workload)
        print(f"{workload:12s} {shown}" + (f"  ratio {ratio['time']:.2f}" if ratio else ""), flush=True)
        for tool, why in failed.items():
            print(f"             {TOOLS[tool]}: {why}", flush=True)
        # After each, so that a run that is cut off has what it measured.
        write(results, missing, machine, options)
    print(f"\n{table(results, missing, machine, options)}\nwritten to {options.out}")


def write(results, missing, machine, options):
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "speed.md").write_text(table(results, missing, machine, options))
    (options.out / "speed.svg").write_text(picture.draw(results, TOOLS))
    raw = {workload: {"found": found, "failed": failed} for workload, (found, failed) in results.items()}
    (options.out / "speed.json").write_text(json.dumps({"machine": machine, "threads": options.threads, "missing": missing, "workloads": raw}, indent=1) + "\n")


if __name__ == "__main__":
    main()
