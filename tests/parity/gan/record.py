"""WGAN with gradient penalty: the critic's loss by `torch.autograd.grad(create_graph=True)`, and the generator's. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from recording import Case

case = Case(__file__, seed=31)
expr, z, t = case.normal(9, 5), case.normal(9, 3), torch.rand(9, generator=case.random)
first, last = case.dense("make.dense_1", 3, 6), case.dense("make.dense_2", 6, 5)
one, two, three = case.dense("judge.dense_1", 5, 7), case.dense("judge.dense_2", 7, 7), case.neuron("judge.neuron_1", 7)
make = lambda z: last(first(z).tanh())
judge = lambda x: three(two(one(x).tanh()).tanh())

fake = make(z).detach()
mix = torch.lerp(fake, expr, t[:, None]).requires_grad_()
(slope,) = torch.autograd.grad(judge(mix).sum(), mix, create_graph=True)
critic = (judge(fake) - judge(expr) + 10 * (slope.norm(dim=1) - 1) ** 2).mean()
generator = -judge(make(z)).mean()
under = lambda path: [name for name in case.weights if name.startswith(path)]
case.finish_steps(
    {"expr": expr, "z": z, "t": t},
    {"critic": (critic, under("judge.")), "generator": (generator, under("make."))},
    {"profile": make(z)},
)
