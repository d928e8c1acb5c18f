"""Values that are not there are NaN here and never reach a sum. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from recording import Case

case = Case(__file__, seed=31)
B = 7
there = {name: case.below(3, B, *shape) > 0 for name, shape in {"age": (), "genes": (4,), "y": (), "site": (), "ill": (2,)}.items()}
there["ill"][2] = False
age, genes, dose, y = case.normal(B), case.normal(B, 4), case.normal(B), case.normal(B)
site, ill = case.below(3, B), case.below(2, B, 2) > 0
hidden, neuron = case.dense("net.dense_1", 11, 5), case.neuron("net.neuron_1", 5)
sites, ills = case.dense("net.dense_2", 5, 3), case.dense("net.dense_3", 5, 2)
zero = lambda x, known: torch.where(known, x, torch.zeros_like(x))
x = torch.cat([torch.stack([zero(age, there["age"]), there["age"].double(), dose], 1), zero(genes, there["genes"]), there["genes"].double()], 1)
h = torch.tanh(hidden(x))
guess, kind, sick = neuron(h), sites(h), ills(h)
nan = lambda x, known: torch.where(known, x.double(), torch.nan)
squared = ((guess - nan(y, there["y"])) ** 2).nan_to_num(0.0)
questions = F.binary_cross_entropy_with_logits(sick, ill.double(), reduction="none")
answered = torch.where(there["ill"], questions, torch.nan).nanmean(1).nan_to_num(0.0)
counted = there["site"]
loss = (F.cross_entropy(kind, site, reduction="none") + squared + answered)[counted].sum() / counted.sum()
values = {"age": age, "genes": genes, "y": y, "site": site, "ill": ill}
inputs = {"dose": dose} | {name: torch.where(there[name], value, torch.zeros_like(value)) for name, value in values.items()}
inputs |= {f"{name}.known": known for name, known in there.items()}
case.finish(inputs, loss, {"y": guess, "kind": kind.softmax(1)})
