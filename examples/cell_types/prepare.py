#!/usr/bin/env python3
"""The tables of cells with the genes that ACTINN keeps (Ma and Pellegrini 2020):

    python3 prepare.py train.csv.gz test.csv.gz

writes cells.csv.gz: per 10,000 counts of a cell, log2(x + 1), four digits; genes whose sum over the training file's cells, and whose coefficient of variation, lie between
the 1st and the 99th percentile; the cell type; and the part. Every tenth training cell validates.
"""
import csv
import gzip
import math
import sys

header, rows = None, []
for path, test in zip(sys.argv[1:], (False, True)):
    with gzip.open(path, "rt") as file:
        table = csv.reader(file)
        header = next(table)[2:]
        for number, row in enumerate(table):
            part = "test" if test else "valid" if number % 10 == 9 else "train"
            counts = [int(x) for x in row[2:]]
            share = 1e4 / sum(counts)
            rows.append((row[1], part, [math.log2(share * x + 1) if x else 0.0 for x in counts]))
columns = list(zip(*(expression for _, part, expression in rows if part != "test")))


def percentile(values, share):
    """With linear interpolation between the two nearest."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def between(kept, measure):
    """Of the genes in `kept`, those whose measure lies between the 1st and the 99th percentile."""
    values = {g: measure(columns[g]) for g in kept}
    low, high = percentile(values.values(), 0.01), percentile(values.values(), 0.99)
    return [g for g in kept if low <= values[g] <= high]


def variation(values):
    mean = sum(values) / len(values)
    return math.sqrt(sum((x - mean) ** 2 for x in values) / len(values)) / mean


genes = [g for g, column in enumerate(columns) if any(column)]
genes = between(between(genes, sum), variation)
with gzip.open("cells.csv.gz", "wt", newline="") as file:
    table = csv.writer(file)
    table.writerow(["cell_type", "part"] + [header[g] for g in genes])
    for kind, part, expression in rows:
        table.writerow([kind, part] + [f"{expression[g]:.4g}" for g in genes])
print(f"{len(rows)} cells, {len(genes)} genes")
