"""Message passing in PyTorch, one graph at a time. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from recording import Case

case = Case(__file__, seed=23)
V, E = 6, 9
atoms, bonds, src, dst, y = case.normal(3, V, 4), case.normal(3, E, 3), case.below(V, 3, E), case.below(V, 3, E), case.normal(3)


def into(values, dst):
    """The sum over the edges into each atom."""
    return torch.zeros(V, *values.shape[1:]).index_add(0, dst, values)


def gcn(path, inputs, units):
    w, b = case.weight(f"{path}.w", inputs, units, fan_in=inputs), case.weight(f"{path}.b", units)

    def forward(h, bonds, src, dst):
        adjacent = torch.eye(V).index_put((dst, src), torch.ones(E), accumulate=True)
        root = adjacent.sum(1) ** -0.5
        return (root[:, None] * adjacent * root) @ h @ w + b
    return forward


def sage(path, inputs, units):
    own, near, b = case.weight(f"{path}.own", inputs, units, fan_in=inputs), case.weight(f"{path}.near", inputs, units, fan_in=inputs), case.weight(f"{path}.b", units)
    return lambda h, bonds, src, dst: h @ own + (into(h[src], dst) / into(torch.ones(E, 1), dst).clamp(min=1)) @ near + b


def gin(path, inputs, hidden, units):
    eps, one, two = case.weight(f"{path}.eps"), case.dense(f"{path}.dense_1", inputs, hidden), case.dense(f"{path}.dense_2", hidden, units)
    return lambda h, bonds, src, dst: two(F.relu(one((1 + eps) * h + into(h[src], dst))))


def gat(path, inputs, heads, units):
    w, b = case.weight(f"{path}.w", inputs, heads, units, fan_in=inputs), case.weight(f"{path}.b", heads, units)
    to, fro = case.weight(f"{path}.to", heads, units), case.weight(f"{path}.from", heads, units)

    def forward(h, bonds, src, dst):
        z = torch.einsum("vc,cku->vku", h, w)
        s, d = torch.cat([src, torch.arange(V)]), torch.cat([dst, torch.arange(V)])
        score = F.leaky_relu((z * to).sum(-1)[s] + (z * fro).sum(-1)[d], 0.2)
        rows = [torch.einsum("ek,eku->ku", score[d == v].softmax(0), z[s[d == v]]) + b for v in range(V)]
        return torch.stack(rows).reshape(V, heads * units)
    return forward


def message(path, inputs, hidden, units):
    a, b = case.dense(f"{path}.dense_1", inputs, hidden), case.weight(f"{path}.dense_2.w", inputs, hidden, fan_in=inputs)
    c, own = case.weight(f"{path}.dense_3.w", 3, hidden, fan_in=3), case.dense(f"{path}.dense_4", inputs, units)
    near = case.weight(f"{path}.dense_5.w", hidden, units, fan_in=hidden)
    return lambda h, bonds, src, dst: F.relu(own(h) + into(F.relu(a(h[src]) + h[dst] @ b + bonds @ c), dst) @ near)


def edge_matrix(path, inputs, units):
    w, plain = case.weight(f"{path}.w", inputs, units, fan_in=inputs), case.weight(f"{path}.plain", inputs, units, fan_in=inputs)
    a, b = case.weight(f"{path}.a", 3, inputs, units, fan_in=inputs), case.weight(f"{path}.b", units)

    def forward(h, bonds, src, dst):
        matrices = plain + torch.einsum("ek,kcu->ecu", bonds, a)
        return h @ w + into(torch.einsum("ec,ecu->eu", h[src], matrices), dst) + b
    return forward


layers = [gcn("net.gcn_layer_1", 4, 5), sage("net.sage_layer_1", 5, 6), gin("net.gin_layer_1", 6, 7, 6), gat("net.gat_layer_1", 6, 2, 3),
          gat("net.gat_layer_2", 6, 1, 4), message("net.message_layer_1", 4, 4, 5), edge_matrix("net.edge_matrix_layer_1", 5, 4)]
gate, last = case.weight("net.attention_readout_1.neuron_1.w", 4, fan_in=4), case.neuron("net.neuron_1", 16)


def net(h, *graph):
    for number, layer in enumerate(layers):
        h = layer(h, *graph)
        h = torch.tanh(h) if number < 4 else h
    return last(torch.cat([h.sum(0), h.mean(0), h.max(0).values, (h @ gate).softmax(0) @ h]))


guess = torch.stack([net(*graph) for graph in zip(atoms, bonds, src, dst)])
case.finish({"atoms": atoms, "bonds": bonds, "src": src, "dst": dst, "y": y}, F.mse_loss(guess, y), {"guess": guess})
