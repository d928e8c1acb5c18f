#!/usr/bin/env python3
"""One row a molecule from the text format of the TU graph collection, and the ten folds that published figures use:

    python3 prepare.py MUTAG.txt 10fold_idx

writes mutagens.csv: the kinds of the atoms, both ends of every bond in both directions, the class, and the fold in which the molecule is tested. The folds
test 180 of the 188 molecules; the other eight go to the first eight folds.
"""
import csv
import pathlib
import sys

numbers = iter(open(sys.argv[1]).read().split())
take = lambda: int(next(numbers))
folds = {}
for path in pathlib.Path(sys.argv[2]).glob("test_idx-*.txt"):
    folds |= {int(line): path.stem.split("-")[1] for line in open(path) if line.strip()}

with open("mutagens.csv", "w", newline="") as out:
    table = csv.writer(out)
    table.writerow(["atoms", "src", "dst", "mutagen", "fold"])
    spare = 0
    for graph in range(take()):
        if graph not in folds:
            spare += 1
            folds[graph] = str(spare)
        size, label, atoms, src, dst = take(), take(), [], [], []
        for v in range(size):
            atoms.append(take())
            for _ in range(take()):
                src.append(take())
                dst.append(v)
        text = lambda values: " ".join(map(str, values))
        table.writerow([text(atoms), text(src), text(dst), "yes" if label == 2 else "no", folds[graph]])
