"""The picture of compare.py: a row a workload, a dot a tool, its step time relative to the best other tool on a logarithmic axis."""
import math
from html import escape

COLOURS = {"bdl": "#0b6e4f", "eager": "#c1666b", "compile": "#d4a05a", "jax": "#4e6e9e"}
LEFT, RIGHT, TOP, ROW = 110, 700, 64, 34


def draw(results, tools):
    """SVG text. A workload that bdl could not run is a row that says so."""
    rows = []
    for workload, (found, _) in results.items():
        others = [run["step_ms"] for tool, run in found.items() if tool != "bdl"]
        scale = min(others) if others else found.get("bdl", {}).get("step_ms", 1.0)
        rows.append((workload, {tool: run["step_ms"] / scale for tool, run in found.items()}))
    every = [ratio for _, dots in rows for ratio in dots.values()] + [0.5, 2.0]
    low, high = math.floor(math.log2(min(every))), math.ceil(math.log2(max(every)))
    x = lambda ratio: LEFT + (RIGHT - LEFT) * (math.log2(ratio) - low) / (high - low)
    bottom = TOP + ROW * len(rows)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {RIGHT + 40} {bottom + 44}" font-family="sans-serif" font-size="13">',
        f'<rect width="{RIGHT + 40}" height="{bottom + 44}" fill="white"/>',
    ]
    at = LEFT
    for tool, name in tools.items():
        out.append(f'<circle cx="{at}" cy="22" r="6" fill="{COLOURS[tool]}"/><text x="{at + 12}" y="26">{escape(name)}</text>')
        at += 34 + 8 * len(name)
    for power in range(low, high + 1):
        place = x(2.0**power)
        strong = power == 0
        out.append(f'<line x1="{place:.1f}" y1="{TOP - 14}" x2="{place:.1f}" y2="{bottom}" stroke="{"#555" if strong else "#ddd"}"/>')
        label = f"{2**power}" if power >= 0 else f"1/{2**-power}"
        out.append(f'<text x="{place:.1f}" y="{bottom + 18}" text-anchor="middle" fill="#555">{label}</text>')
    out.append(f'<text x="{(LEFT + RIGHT) / 2}" y="{bottom + 38}" text-anchor="middle" fill="#555">time of a step, relative to the best of the others</text>')
    for row, (workload, dots) in enumerate(rows):
        y = TOP + ROW * row + ROW / 2 - 6
        out.append(f'<text x="{LEFT - 14}" y="{y + 4:.1f}" text-anchor="end">{escape(workload)}</text>')
        out.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{RIGHT}" y2="{y:.1f}" stroke="#eee"/>')
        for tool in reversed(list(tools)):
            if tool in dots:
                title = f"{tools[tool]}: {dots[tool]:.2f}"
                out.append(f'<circle cx="{x(dots[tool]):.1f}" cy="{y:.1f}" r="{7 if tool == "bdl" else 6}" fill="{COLOURS[tool]}"><title>{escape(title)}</title></circle>')
        if "bdl" not in dots:
            out.append(f'<text x="{LEFT + 6}" y="{y - 4:.1f}" fill="#999" font-size="11">bdl: not yet</text>')
    return "\n".join(out) + "\n</svg>\n"
