"""The network, split and training of splice.bdl in PyTorch, for comparison.

    python -m venv env && env/bin/pip install torch numpy
    env/bin/python examples/splice/peer_torch.py [--seeds 1 2 3 4 5] [--split runs/splice/latest/split.tsv] [--all-epochs]

Prints test accuracy, epochs and seconds for each seed, the seconds that importing takes, and the peak memory. --split takes the rows
of a run of bdl; without it the split has the same sizes and shares of classes, but other rows. --all-epochs leaves out `stop`.
"""
import argparse
import csv
import pathlib
import resource
import statistics
import sys
import time

begun = time.perf_counter()
import numpy
import torch
import torch.nn.functional as F
from torch import nn

imported = time.perf_counter() - begun

EPOCHS, BATCH, PATIENCE, RATE = 40, 64, 5, 1e-3
CLASSES = ["EI", "IE", "N"]


def read(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    letters = numpy.array(["ACGT".index(base) for row in rows for base in row["sequence"]]).reshape(len(rows), -1)
    dna = torch.from_numpy(numpy.eye(4, dtype=numpy.float32)[letters]).transpose(1, 2).contiguous()
    return dna, torch.tensor([CLASSES.index(row["class"]) for row in rows])


def split(site, seed=0):
    """70 / 15 / 15 % of the rows, the same share of each class in every part."""
    random = numpy.random.default_rng(seed)
    parts = [[], [], []]
    for kind in range(len(CLASSES)):
        rows = random.permutation(numpy.flatnonzero(site.numpy() == kind))
        ends = numpy.round(numpy.array([0.7, 0.85]) * len(rows)).astype(int)
        for part, piece in zip(parts, numpy.split(rows, ends)):
            part.extend(piece)
    return [torch.tensor(numpy.array(part)) for part in parts]


def read_split(path):
    """The parts of a bdl run."""
    with open(path, newline="") as file:
        rows = [(int(line["row"]) - 1, line["part"]) for line in csv.DictReader(file, delimiter="\t")]
    return [torch.tensor([row for row, part in rows if part == name]) for name in ("train", "valid", "test")]


def network():
    return nn.Sequential(
        nn.Conv1d(4, 32, 9), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(32, 64, 5), nn.ReLU(), nn.MaxPool1d(2),
        nn.Flatten(), nn.Linear(64 * 11, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 3))


def train(dna, site, parts, seed, stop):
    torch.manual_seed(seed)
    rows, valid, test = parts
    net = network()
    steps = EPOCHS * -(-len(rows) // BATCH)
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    best, best_epoch, kept = float("inf"), 0, None
    for epoch in range(1, EPOCHS + 1):
        net.train()
        for batch in rows[torch.randperm(len(rows))].split(BATCH):
            optimiser.zero_grad()
            F.cross_entropy(net(dna[batch]), site[batch]).backward()
            optimiser.step()
            schedule.step()
        net.eval()
        with torch.no_grad():
            loss = F.cross_entropy(net(dna[valid]), site[valid]).item()
        if loss < best:
            best, best_epoch, kept = loss, epoch, {name: value.clone() for name, value in net.state_dict().items()}
        elif stop and epoch - best_epoch >= PATIENCE:
            break
    net.load_state_dict(kept)
    with torch.no_grad():
        accuracy = (net(dna[test]).argmax(1) == site[test]).double().mean().item()
    return accuracy, epoch, best_epoch


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--split", type=pathlib.Path)
    options.add_argument("--all-epochs", action="store_true")
    options = options.parse_args()
    torch.set_num_threads(options.threads)
    dna, site = read(pathlib.Path(__file__).parent / "splice.csv")
    parts = read_split(options.split) if options.split else split(site)
    print(f"torch {torch.__version__}, {options.threads} threads, rows {[len(part) for part in parts]}, import {imported:.1f} s")
    accuracies = []
    for seed in options.seeds:
        begun = time.perf_counter()
        accuracy, epochs, best = train(dna, site, parts, seed, not options.all_epochs)
        accuracies.append(accuracy)
        print(f"seed {seed}  test accuracy {accuracy:.4f}  {epochs} epochs, best {best}  {time.perf_counter() - begun:.1f} s", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"mean test accuracy {statistics.fmean(accuracies):.4f}  peak {peak:.0f} MB")


if __name__ == "__main__":
    sys.exit(main())
