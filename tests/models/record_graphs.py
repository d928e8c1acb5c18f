"""Graph networks, one graph at a time except where the batch is normalised. How to run and what is written: rule.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from rule import Model


def graphs(case, sizes, edges):
    """Both ends of each graph's edges, and the lengths that go with them."""
    ends = [[case.below(v, e) for v, e in zip(sizes, edges)] for _ in range(2)]
    lengths = torch.tensor(edges)
    return ends, {"src": torch.cat(ends[0]), "src.len": lengths, "dst": torch.cat(ends[1]), "dst.len": lengths}


def into(values, dst, atoms):
    """The sum over the edges into each atom."""
    return torch.zeros(atoms, *values.shape[1:]).index_add(0, dst, values)


def gcn():
    case = Model("gcn", 21, settings=["net.drop=0"])
    sizes, edges = [9, 5], [14, 6]
    ends, inputs = graphs(case, sizes, edges)
    words, subject, lengths = (case.below(60, sum(sizes), 1433) == 0).double(), case.below(7, sum(sizes)), torch.tensor(sizes)
    layers = [(case.weight(f"net.gcn_layer_{n}.w", i, u, fan_in=i), case.weight(f"net.gcn_layer_{n}.b", u)) for n, (i, u) in ((1, (1433, 16)), (2, (16, 7)))]
    scores = []
    for x, src, dst in zip(words.split(sizes), *ends):
        adjacent = torch.eye(len(x)).index_put((dst, src), torch.ones(len(src)), accumulate=True)
        root = adjacent.sum(1) ** -0.5
        mix = root[:, None] * adjacent * root
        (w1, b1), (w2, b2) = layers
        scores.append(mix @ F.relu(mix @ x @ w1 + b1) @ w2 + b2)
    scores = torch.cat(scores)
    loss = F.cross_entropy(scores, subject) + 5e-4 * (layers[0][0] ** 2).sum()
    case.finish({"words": words, "words.len": lengths, "subject": subject, "subject.len": lengths} | inputs, loss, {"scores": scores.flatten()})


def gin():
    case = Model("gin", 22)
    sizes, edges = [6, 11, 8], [10, 20, 15]
    ends, inputs = graphs(case, sizes, edges)
    atoms, mutagen = case.below(7, sum(sizes)), case.below(2, 3)
    starts = [sum(sizes[:n]) for n in range(3)]
    src, dst = (torch.cat([e + s for e, s in zip(side, starts)]) for side in ends)
    belongs = torch.arange(3).repeat_interleave(torch.tensor(sizes))
    rounds, readings = [], []
    for n in range(6):
        if n > 0:
            path, i = f"net.round_{n}", 7 if n == 1 else 64
            rounds.append((case.dense(f"{path}.dense_1", i, 64), case.batch_norm(f"{path}.batch_norm_1", 64),
                           case.dense(f"{path}.dense_2", 64, 64), case.batch_norm(f"{path}.batch_norm_2", 64)))
        readings.append(case.neuron(f"net.reading_{n + 1}.neuron_1", 64 if n else 7))

    def net(training):
        norm = lambda layer, h: layer(h[None], training)[0]
        h = F.one_hot(atoms, 7).double()
        read = lambda n: readings[n](torch.zeros(3, h.shape[1]).index_add(0, belongs, h))
        score = read(0)
        for n, (one, norm1, two, norm2) in enumerate(rounds, 1):
            h = h + into(h[src], dst, sum(sizes))
            h = F.relu(norm(norm2, two(F.relu(norm(norm1, one(h))))))
            score = score + read(n)
        return score
    loss = F.binary_cross_entropy_with_logits(net(True), mutagen.double())
    case.finish({"atoms": atoms, "atoms.len": torch.tensor(sizes), "mutagen": mutagen > 0} | inputs, loss, {"score": net(False)})


def mpnn():
    case = Model("mpnn", 23)
    sizes, edges, C = [5, 3, 9], [8, 4, 18], 32
    ends, inputs = graphs(case, sizes, edges)
    atoms, bonds, y = case.normal(sum(sizes), 9), case.normal(sum(edges), 4), case.normal(3)
    first, path = case.dense("net.dense_1", 9, C), "net.rounds_1"
    one, two = case.dense(f"{path}.dense_1", 4, 64), case.dense(f"{path}.dense_2", 64, C * C)
    w, u = (case.weight(f"{path}.{name}", C, 3, C, fan_in=C) for name in "wu")
    b, d = (case.weight(f"{path}.{name}", 3, C) for name in "bd")
    gate, dense, last = case.neuron("net.attention_readout_1.neuron_1", C), case.dense("net.dense_2", C, 64), case.neuron("net.neuron_1", 64)
    del case.weights["net.attention_readout_1.neuron_1.b"], case.rules["net.attention_readout_1.neuron_1.b"]
    score = case.weights["net.attention_readout_1.neuron_1.w"]
    rows = lambda m: m.permute(1, 2, 0).reshape(3 * C, C)
    guess = []
    for x, e, src, dst in zip(atoms.split(sizes), bonds.split(edges), *ends):
        h, a = F.relu(first(x)), two(F.relu(one(e))).reshape(-1, C, C)
        for _ in range(3):
            m = into(torch.einsum("eic,ec->ei", a, h[src]), dst, len(h))
            h = torch.gru_cell(m, h, rows(w), rows(u), b.flatten(), d.flatten())
        guess.append(last(F.relu(dense((h @ score).softmax(0) @ h))))
    guess = torch.stack(guess)
    lengths = {"atoms.len": torch.tensor(sizes), "bonds.len": torch.tensor(edges)}
    case.finish({"atoms": atoms, "bonds": bonds, "solubility": y} | lengths | inputs, F.mse_loss(guess, y), {"guess": guess})


gcn()
gin()
mpnn()
