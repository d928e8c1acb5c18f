"""How a peer is measured: it stays alive, and computes only when compare.py asks.

    standard output   {"ready": {"tool": .., "import_s": .., "first_s": .., "start_s": ..}}   after the first step
    standard input    a line with a number of seconds: steps are timed for so long
    standard output   {"step_ms": [..], "peak_mb": ..}

`first_s` is from the end of the imports to the end of the first step, `start_s` from the start of the process (the environment
variable STARTED, seconds since 1970).
"""
import json
import os
import resource
import sys
import time

state = {"import_s": 0.0, "tool": ""}


def importing():
    state["clock"] = time.perf_counter()


def imported(tool):
    state["tool"], state["import_s"] = tool, time.perf_counter() - state.pop("clock")
    state["first"] = time.perf_counter()


def say(what):
    print(json.dumps(what), flush=True)


def resident():
    """The largest resident set so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def serve(step, peak=resident):
    """`step` computes one optimiser step and returns when it is done; `peak` gives the most memory so far, in MB."""
    step()
    ready = {"tool": state["tool"], "import_s": state["import_s"], "first_s": time.perf_counter() - state["first"]}
    if "STARTED" in os.environ:
        ready["start_s"] = time.time() - float(os.environ["STARTED"])
    for _ in range(2):
        step()
    say({"ready": ready})
    for line in sys.stdin:
        times, end = [], time.perf_counter() + float(line)
        step()  # caches are warm again, and threads awake
        while time.perf_counter() < end or len(times) < 3:
            begun = time.perf_counter()
            step()
            times.append(1e3 * (time.perf_counter() - begun))
        say({"step_ms": times, "peak_mb": peak()})
