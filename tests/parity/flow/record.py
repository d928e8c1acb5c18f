"""Fixed-step solvers written as loops. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from recording import Case

case = Case(__file__, seed=28)
start, seen = case.normal(4, 3), case.normal(4, 4, 3)


def flow(path, hidden):
    one, two = case.dense(f"{path}.field.dense_1", 3, hidden), case.dense(f"{path}.field.dense_2", hidden, 3)
    return lambda y: two(torch.tanh(one(y)))


def rk4(f, y, dt):
    k1 = f(y)
    k2 = f(y + dt / 2 * k1)
    k3 = f(y + dt / 2 * k2)
    return y + dt / 6 * (k1 + 2 * k2 + 2 * k3 + f(y + dt * k3))


solvers = [(flow("net.euler_1", 4), 3, lambda f, y: y + 0.2 * f(y)),
           (flow("net.midpoint_1", 5), 2, lambda f, y: y + 0.3 * f(y + 0.15 * f(y))),
           (flow("net.rk4_1", 6), 4, lambda f, y: rk4(f, y, 0.25))]
y = start
for field, steps, step in solvers:
    course = []
    for _ in range(steps):
        y = step(field, y)
        course.append(y)
course = torch.stack(course, 1)
case.finish({"start": start, "seen": seen}, F.mse_loss(course, seen), {"course": course})
