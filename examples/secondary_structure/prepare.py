#!/usr/bin/env python3
"""One row a chain from the files of the UCI data set, which hold one residue and its state a line:

    python3 prepare.py protein-secondary-structure.train protein-secondary-structure.test

writes chains.csv: the residues, their states (h, e and c for what is neither), and the part. Every sixth chain of the training file validates.
"""
import csv
import sys


def chains(path):
    """Each chain as a list of (residue, state). A chain begins at `<>` and ends at `<end>`, `end` or the next `<>`."""
    chain = []
    for line in open(path):
        word = line.split()
        if len(word) == 2 and len(word[0]) == 1:
            chain.append((word[0], word[1].replace("_", "c")))
        elif word and chain and not word[0].startswith("#"):
            yield chain
            chain = []
    if chain:
        yield chain


with open("chains.csv", "w", newline="") as out:
    table = csv.writer(out)
    table.writerow(["residues", "states", "part"])
    for path, test in zip(sys.argv[1:], (False, True)):
        for number, chain in enumerate(chains(path)):
            part = "test" if test else "valid" if number % 6 == 5 else "train"
            table.writerow(["".join(column) for column in zip(*chain)] + [part])
