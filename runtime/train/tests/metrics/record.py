"""Records what scikit-learn and SciPy say about the cases of metrics.rs, in cases.json beside this file.

    pip install scikit-learn scipy numpy
    python record.py

Cases hold ties, classes that do not occur, questions with one answer only, probabilities of 0 and 1. A metric that the peer
leaves undefined is recorded as null.
"""

import json
import math
import pathlib
import warnings

import numpy as np
import scipy.stats
import sklearn
import sklearn.metrics as m

warnings.simplefilter("ignore")
random = np.random.default_rng(7)


def number(value):
    value = float(value)
    return value if math.isfinite(value) else None


def classes_case(name, p, y):
    k = p.shape[1]
    decided = p.argmax(axis=1)
    labels = list(range(k))
    one_hot = np.eye(k)[y]
    present = [c for c in labels if 0 < (y == c).sum() < len(y)]
    scores = {
        "accuracy": m.accuracy_score(y, decided),
        "balanced_accuracy": m.balanced_accuracy_score(y, decided),
        "precision": m.precision_score(y, decided, average="macro", zero_division=0),
        "recall": m.recall_score(y, decided, average="macro", zero_division=0),
        "f1": m.f1_score(y, decided, average="macro", zero_division=0),
        "mcc": m.matthews_corrcoef(y, decided),
        "log_loss": m.log_loss(y, p, labels=labels),
        "brier": np.mean(np.sum((p - one_hot) ** 2, axis=1))
        if k == 2
        else m.brier_score_loss(y, p, labels=labels),
        "auroc": np.mean([m.roc_auc_score(y == c, p[:, c]) for c in present]) if present else math.nan,
        "auprc": np.mean([m.average_precision_score(y == c, p[:, c]) for c in labels if (y == c).any()]),
    }
    if present == labels and k > 2:
        assert abs(scores["auroc"] - m.roc_auc_score(y, p, multi_class="ovr", average="macro", labels=labels)) < 1e-12
    return {
        "name": name,
        "width": k,
        "guess": p.ravel().tolist(),
        "classes": y.tolist(),
        "confusion": m.confusion_matrix(y, decided, labels=labels).tolist(),
        "scores": {key: number(value) for key, value in scores.items()},
        "baselines": {
            "accuracy": number(np.bincount(y, minlength=k).max() / len(y)),
            "log_loss": number(m.log_loss(y, np.tile(np.bincount(y, minlength=k) / len(y), (len(y), 1)), labels=labels)),
            "brier": number(np.mean(np.sum((np.bincount(y, minlength=k) / len(y) - one_hot) ** 2, axis=1))),
        },
    }


def yes_case(name, p, y, threshold=0.5):
    decided = p >= threshold
    flat_y, flat_p, flat_d = y.ravel(), p.ravel(), decided.ravel()
    defined = [c for c in range(y.shape[1]) if 0 < y[:, c].sum() < len(y)]
    some = [c for c in range(y.shape[1]) if y[:, c].any()]
    scores = {
        "accuracy": m.accuracy_score(flat_y, flat_d),
        "balanced_accuracy": m.balanced_accuracy_score(flat_y, flat_d),
        "precision": m.precision_score(flat_y, flat_d, zero_division=0),
        "recall": m.recall_score(flat_y, flat_d, zero_division=0),
        "f1": m.f1_score(flat_y, flat_d, zero_division=0),
        "mcc": m.matthews_corrcoef(flat_y, flat_d),
        "log_loss": m.log_loss(flat_y, flat_p, labels=[False, True]),
        "brier": m.brier_score_loss(flat_y, flat_p) if flat_y.any() and not flat_y.all() else np.mean((flat_p - flat_y) ** 2),
        "auroc": np.mean([m.roc_auc_score(y[:, c], p[:, c]) for c in defined]) if defined else math.nan,
        "auprc": np.mean([m.average_precision_score(y[:, c], p[:, c]) for c in some]) if some else math.nan,
    }
    share = flat_y.mean()
    return {
        "name": name,
        "width": y.shape[1],
        "threshold": threshold,
        "guess": flat_p.tolist(),
        "yes": flat_y.tolist(),
        "confusion": m.confusion_matrix(flat_y, flat_d, labels=[False, True]).tolist(),
        "scores": {key: number(value) for key, value in scores.items()},
        "baselines": {
            "accuracy": number(max(share, 1 - share)),
            "f1": number(m.f1_score(flat_y, np.ones_like(flat_y), zero_division=0)),
            "brier": number(share * (1 - share)),
        },
    }


def numbers_case(name, g, t):
    def over(measure):
        return np.mean([measure(t[:, c], g[:, c]) for c in range(t.shape[1])])

    constant = [c for c in range(t.shape[1]) if np.ptp(t[:, c]) == 0]
    scores = {
        "mse": m.mean_squared_error(t, g),
        "rmse": m.root_mean_squared_error(t, g),
        "mae": m.mean_absolute_error(t, g),
        # scikit-learn makes R² of a constant truth 0 or 1; here it is undefined.
        "r2": math.nan if constant else m.r2_score(t, g),
        "pearson": over(lambda a, b: scipy.stats.pearsonr(a, b)[0]),
        "spearman": over(lambda a, b: scipy.stats.spearmanr(a, b)[0]),
    }
    return {
        "name": name,
        "width": t.shape[1],
        "guess": g.ravel().tolist(),
        "numbers": t.ravel().tolist(),
        "scores": {key: number(value) for key, value in scores.items()},
        "baselines": {
            "mse": number(m.mean_squared_error(t, np.tile(t.mean(axis=0), (len(t), 1)))),
            "rmse": number(m.root_mean_squared_error(t, np.tile(t.mean(axis=0), (len(t), 1)))),
            "mae": number(m.mean_absolute_error(t, np.tile(np.median(t, axis=0), (len(t), 1)))),
            "r2": 0.0,
        },
    }


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def main():
    y3 = random.integers(0, 3, 60)
    p3 = softmax(2 * np.eye(3)[y3] + 1.5 * random.normal(size=(60, 3)))
    y10 = np.concatenate([np.arange(10), random.choice(10, 90, p=np.r_[0.4, np.full(9, 0.6 / 9)])])
    ties = np.array([[0.5, 0.5, 0.0], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5], [0.0, 0.5, 0.5], [1.0, 0.0, 0.0], [0.5, 0.25, 0.25]])
    classes = [
        classes_case("three classes", p3, y3),
        classes_case("ten uneven classes", softmax(3 * np.eye(10)[y10] + 2 * random.normal(size=(100, 10))), y10),
        classes_case("ties and certain probabilities", ties, np.array([0, 1, 0, 2, 0, 1])),
        classes_case("certain and wrong", np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), np.array([1, 1, 2])),
        classes_case("a class that does not occur", p3[:30], np.minimum(y3[:30], 1)),
        classes_case("a class never called", np.c_[p3[:, :2], np.zeros(60)] / p3[:, :2].sum(axis=1, keepdims=True), y3),
        classes_case("two classes as a choice", softmax(random.normal(size=(40, 2))), random.integers(0, 2, 40)),
        classes_case("one class only", p3[:5], np.full(5, 2)),
    ]
    y = random.random(80) < 0.3
    p = 1 / (1 + np.exp(-(2 * y - 1 + 1.5 * random.normal(size=80))))
    many = random.random((50, 4)) < np.array([0.5, 0.1, 0.9, 0.3])
    many_p = np.clip(0.3 * many + 0.7 * random.random((50, 4)), 0, 1)
    lonely = many.copy()
    lonely[:, 1] = False
    yes = [
        yes_case("uneven", p[:, None], y[:, None]),
        yes_case("another threshold", p[:, None], y[:, None], threshold=0.3),
        yes_case("coarse scores with many ties", np.round(p, 1)[:, None], y[:, None]),
        yes_case("all scores equal", np.full((10, 1), 0.5), (np.arange(10) < 3)[:, None]),
        yes_case("perfect", np.array([[0.1], [0.9], [0.2], [1.0], [0.0]]), np.array([[False], [True], [False], [True], [False]])),
        yes_case("reversed", np.array([[0.9], [0.1], [0.8], [0.0]]), np.array([[False], [True], [False], [True]])),
        yes_case("never called yes", np.full((6, 1), 0.1), (np.arange(6) < 2)[:, None]),
        yes_case("only no", p[:7, None], np.zeros((7, 1), bool)),
        yes_case("only yes", p[:7, None], np.ones((7, 1), bool)),
        yes_case("four questions", many_p, many),
        yes_case("four questions, one without a yes", many_p, lonely),
    ]
    t = random.normal(size=(50, 1)) * 3 + 100
    g = t + random.normal(size=(50, 1))
    wide = random.normal(size=(30, 3)) * np.array([1, 10, 0.1])
    numbers = [
        numbers_case("a good guess", g, t),
        numbers_case("worse than the mean", random.normal(size=(20, 1)) * 5, random.normal(size=(20, 1))),
        numbers_case("ties", np.round(g / 3), np.round(t / 3)),
        numbers_case("an offset that eats digits", 1e9 + t + 0.1, 1e9 + t),
        numbers_case("a monotone curve", np.exp(t / 10), t),
        numbers_case("three quantities", wide + random.normal(size=(30, 3)), wide),
        numbers_case("constant truth", g[:5], np.full((5, 1), 2.0)),
        numbers_case("constant guess", np.full((5, 1), 100.0), t[:5]),
        numbers_case("two examples", np.array([[1.0], [2.0]]), np.array([[3.0], [1.0]])),
    ]
    cases = {"scikit-learn": sklearn.__version__, "scipy": scipy.__version__, "classes": classes, "yes": yes, "numbers": numbers}
    path = pathlib.Path(__file__).with_name("cases.json")
    path.write_text(json.dumps(cases, separators=(",", ":")).replace('{"name"', '\n{"name"') + "\n")


if __name__ == "__main__":
    main()
