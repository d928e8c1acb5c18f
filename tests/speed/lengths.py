"""Training steps on proteins of different length: bdl, which pads nothing, beside PyTorch with the shorter ones padded to the longest of the batch.

    cargo build --release
    python -m venv peers-env && peers-env/bin/pip install torch --index-url https://download.pytorch.org/whl/cpu
    python tests/speed/lengths.py --torch peers-env/bin/python

Three models that give each residue one of three states: a Transformer of two layers, three convolutions, and two residual blocks over the map of
pairs. Every batch has the same lengths, so that all steps are alike. Tools take turns, round after round; ratios are to the faster peer. Writes
lengths.json and lengths.md into --out.
"""
import argparse
import json
import pathlib
import random
import tempfile

import compare

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
# What it is, the lengths of a batch, and the model.
MODELS = {
    "transformer": ("2 layers, d 128, 4 heads, 150 to 700 residues, batch 8", [150, 220, 300, 380, 460, 540, 620, 700], """
model Labeller(residues: Protein[T]) -> logit[T, 3] {
  residues |> Embedding(128, vocabulary: 20) |> chain(_ in 2: TransformerBlock(4, hidden: 256)) |> Dense(3)
}
"""),
    "convolution": ("3 × Conv1d(64, kernel 9), 150 to 700 residues, batch 8", [150, 220, 300, 380, 460, 540, 620, 700], """
layer Step(x: f32[T, D]) -> f32[T, D] { x |> Conv1d(D, kernel: 9, pad: same) |> relu }

model Labeller(residues: Protein[T]) -> logit[T, 3] { residues |> Embedding(64, vocabulary: 20) |> chain(_ in 3: Step()) |> Dense(3) }
"""),
    "maps": ("2 residual blocks of Conv2d(32, kernel 3) over pairs, 40 to 120 residues, batch 4", [40, 65, 90, 120], """
layer Block(x: f32[H, W, C]) -> f32[H, W, C] {
  x + (x |> Conv2d(C, kernel: 3, pad: same) |> relu |> Conv2d(C, kernel: 3, pad: same) |> relu)
}

model Labeller(residues: Protein[T]) -> logit[T, 3] {
  let x = residues |> Embedding(32, vocabulary: 20)
  let y = (for i, j, c: x[i, c] * x[j, c]) |> Block() |> Block()
  (for t, c: mean[j] y[t, j, c]) |> Dense(3)
}
"""),
}


def write(folder, name):
    """The program and its data: 4 batches to train on, and one that is held out."""
    _, lengths, model = MODELS[name]
    draw = random.Random(1)
    with open(folder / f"{name}.csv", "w") as file:
        file.write("residues,states,part\n")
        for part in ["train"] * 4 + ["test"]:
            for length in lengths:
                text, states = ("".join(draw.choices(letters, k=length)) for letters in (LETTERS, "hec"))
                file.write(f"{text},{states},{part}\n")
    (folder / f"{name}.bdl").write_text(f"""alphabet Structure = "h" "e" "c"

data Chains = csv("{name}.csv") {{
  residues: Protein[T] = letters(column("residues"), Protein)
  states: Structure[T] = letters(column("states"), Structure)
  part = category(column("part"))
}}
{model}
train labels {{
  model     net = Labeller()
  data      Chains
  split     given(part)
  loss {{
    let y = net(residues)
    sum[t] cross_entropy(y[t], states[t])
  }} per T
  optimizer adam(1e-3)
  epochs    1
  batch     {len(lengths)}
}}
""")


def measure(name, folder, options):
    bdl = compare.Bdl(options.bdl, name, options.threads, "cpu")
    bdl.command[2] = str(folder / f"{name}.bdl")
    lengths = ",".join(str(n) for n in MODELS[name][1])
    tools = {"bdl": bdl}
    for manner in options.peers.split(","):
        tools[manner] = compare.Peer([options.torch, "lengths_peer.py", name, manner, str(options.threads), lengths], options.limit)
    for _ in range(options.rounds):
        for tool in tools.values():
            tool.turn(options.seconds)
    for tool in tools.values():
        tool.close()
    return {tool: of.result() for tool, of in tools.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=list(MODELS), help="only these")
    parser.add_argument("--bdl", default=str(compare.HERE / "../../target/release/bdl"))
    parser.add_argument("--torch", required=True, help="a python with torch")
    parser.add_argument("--peers", default="eager,compile")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn")
    parser.add_argument("--limit", type=float, default=600, help="seconds until a peer must have done its first step")
    parser.add_argument("--out", default="runs/lengths")
    options = parser.parse_args()
    options.bdl = str(pathlib.Path(options.bdl).resolve())
    found, lines = {}, ["| model | bdl ms | PyTorch eager | torch.compile | ratio | bdl MB | best other | ratio |", "|---|---:|---:|---:|---:|---:|---:|---:|"]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name in options.models:
            write(folder, name)
            result = found[name] = measure(name, folder, options)
            others = [of for tool, of in result.items() if tool != "bdl"]
            best, least = min(of["step_ms"] for of in others), min(of["peak_mb"] for of in others)
            own = result["bdl"]
            of = [f"{result[tool]['step_ms']:.1f}" if tool in result else "" for tool in ("eager", "compile")]
            lines.append(f"| {name}: {MODELS[name][0]} | {own['step_ms']:.1f} | {of[0]} | {of[1]} | **{own['step_ms'] / best:.2f}** "
                         f"| {own['peak_mb']:.0f} | {least:.0f} | {own['peak_mb'] / least:.2f} |")
            print(lines[-1], flush=True)
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "lengths.json").write_text(json.dumps(found, indent=1))
    (out / "lengths.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
