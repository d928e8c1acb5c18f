"""The Dormand-Prince method with adaptive steps written as loops, an example at a time. How to run and what is written: ../recording.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from recording import Case

TABLE = [[1 / 5], [3 / 40, 9 / 40], [44 / 45, -56 / 15, 32 / 9], [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
         [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656], [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84]]
APART = [71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40]

case = Case(__file__, seed=44)
start, seen = 2 * case.normal(5, 3), case.normal(5, 3, 3)
one, two = case.dense("net.dormand_prince_1.field.dense_1", 3, 5), case.dense("net.dormand_prince_1.field.dense_2", 5, 3)
field = lambda y: two(torch.tanh(one(y)))
dt, tolerance, most = 0.6, 1e-7, 30
counts = []


def reach(y, h):
    """The state dt later, and the length of step to begin with then."""
    s, steps = 0.0, 0
    while s < dt * (1 - 1e-6) and steps < most:
        step, k = min(h, dt - s), [field(y)]
        for row in TABLE:
            z = y + step * sum(a * b for a, b in zip(row, k))
            k.append(field(z))
        apart = step * sum(a * b for a, b in zip(APART, k))
        error = (apart / (tolerance * (1 + y.abs()))).square().mean().sqrt().item()
        if error <= 1:
            y, s = z, s + step
        h = h if error <= 1 and step < h else step * min(5, max(0.2, 0.9 * (error + 1e-10) ** -0.2))
        steps += 1
    counts.append(steps)
    return y, h


courses = []
for y in start:
    course, h = [], dt
    for _ in range(3):
        y, h = reach(y, h)
        course.append(y)
    courses.append(torch.stack(course))
course = torch.stack(courses)
print("steps", counts)
case.finish({"start": start, "seen": seen}, F.mse_loss(course, seen), {"course": course})
