"""Writes wdbc.csv (diagnosis and 30 named measurements) from the table in the scikit-learn wheel.

    pip install scikit-learn
    python make.py wdbc.csv
"""

import csv
import sys

from sklearn.datasets import load_breast_cancer


def main(target: str) -> None:
    table = load_breast_cancer()
    assert table.data.shape == (569, 30), table.data.shape

    def column(name: str) -> str:
        # "mean radius", "radius error", "worst radius" -> radius_mean, radius_se, radius_worst
        words = name.split()
        if words[-1] == "error":
            words = words[:-1] + ["se"]
        else:
            words = words[1:] + [words[0]]
        return "_".join(words)

    with open(target, "w", newline="", encoding="ascii") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["diagnosis"] + [column(name) for name in table.feature_names])
        for kind, values in zip(table.target, table.data):
            rows.writerow([table.target_names[kind]] + [repr(float(value)) for value in values])


if __name__ == "__main__":
    main(*sys.argv[1:])
