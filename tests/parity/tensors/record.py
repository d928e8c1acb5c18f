"""A tensor train as a dense matrix, a matrix product state by einsum. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from recording import Case

case = Case(__file__, seed=29)
x, y = case.normal(4, 12), case.below(3, 4)
one, two, b = case.weight("net.tensor_train2_1.first", 4, 5, 3), case.weight("net.tensor_train2_1.second", 3, 3, 2), case.weight("net.tensor_train2_1.b", 10)
core, head = case.weight("net.matrix_product_1.core", 5, 2, 4, 4), case.weight("net.matrix_product_1.head", 4, 3, 4)
dense = torch.einsum("aur,rbv->abuv", one, two).reshape(12, 10)
h = torch.tanh(x @ dense + b).reshape(4, 5, 2)
sites = torch.einsum("nps,psij->npij", h, core) / 4
left, right = torch.ones(4, 4), torch.ones(4, 4)
for p in (0, 1):
    left = torch.einsum("ni,nij->nj", left, sites[:, p])
for p in (4, 3, 2):
    right = torch.einsum("nij,nj->ni", sites[:, p], right)
scores = torch.einsum("ni,icj,nj->nc", left, head, right)
case.finish({"x": x, "y": y}, F.cross_entropy(scores, y), {"scores": scores})
