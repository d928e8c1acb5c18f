"""Writes splice.csv (class, sequence) from the data set DNA of the R package mlbench.

The package is in Debian: `apt-get download r-cran-mlbench && dpkg -x r-cran-mlbench_*.deb x`, and `pip install rdata`
reads R's file format. Then:

    python make.py x/usr/lib/R/site-library/mlbench/data/DNA.rda splice.csv

DNA.rda spells each of the 60 bases with three columns of 0 and 1: 100 is A, 010 is C, 001 is G and 000 is T.
"""

import csv
import sys
import warnings

import rdata

BASES = {"100": "A", "010": "C", "001": "G", "000": "T"}


def main(source: str, target: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rdata announces conversions that do not concern this table
        table = rdata.read_rda(source)["DNA"]
    bits = table.drop(columns="Class").astype(str)
    assert bits.shape == (3186, 180), bits.shape
    with open(target, "w", newline="", encoding="ascii") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["class", "sequence"])
        for kind, row in zip(table["Class"].astype(str), bits.itertuples(index=False)):
            text = "".join(row)
            sequence = "".join(BASES[text[at : at + 3]] for at in range(0, 180, 3))
            rows.writerow([kind.upper(), sequence])


if __name__ == "__main__":
    main(*sys.argv[1:])
