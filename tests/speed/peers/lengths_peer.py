"""Three models of proteins of different length in PyTorch, padded to the longest: `lengths_peer.py MODEL eager|compile THREADS LENGTHS`, lengths with
commas. Padding takes no part in attention, in convolutions (zeros, as at the ends) or in the loss. Speaks the protocol of session.py."""
import sys

import session

session.importing()
import torch
import torch.nn.functional as F
from torch import nn

session.imported(f"torch {torch.__version__}")
torch.manual_seed(1)


class Attention(nn.Module):
    """A pre-norm block: 4 heads, 256 hidden units."""

    def __init__(self, width=128, heads=4, hidden=256):
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v = nn.Linear(width, width), nn.Linear(width, width, bias=False), nn.Linear(width, width)
        self.out, self.up, self.down = nn.Linear(width, width), nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x, there):
        y = self.first(x)
        q, k, v = (of(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for of in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=there[:, None, None, :])
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.second(x))))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.blocks, self.out = nn.Embedding(20, 128), nn.ModuleList([Attention(), Attention()]), nn.Linear(128, 3)

    def forward(self, residues, there):
        x = self.embed(residues)
        for block in self.blocks:
            x = block(x, there)
        return self.out(x)


class Convolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Embedding(20, 64), nn.Linear(64, 3)
        self.steps = nn.ModuleList([nn.Conv1d(64, 64, 9, padding="same") for _ in range(3)])

    def forward(self, residues, there):
        x, there = self.embed(residues).transpose(1, 2), there[:, None, :].float()
        for step in self.steps:
            x = F.relu(step(x * there))
        return self.out(x.transpose(1, 2))


class Maps(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Embedding(20, 32), nn.Linear(32, 3)
        self.steps = nn.ModuleList([nn.Conv2d(32, 32, 3, padding="same") for _ in range(4)])

    def forward(self, residues, there):
        x = self.embed(residues)
        z = (x[:, :, None, :] * x[:, None, :, :]).permute(0, 3, 1, 2)
        mask = (there[:, None, :, None] & there[:, None, None, :]).float()
        z = z * mask
        for first, second in (self.steps[:2], self.steps[2:]):
            z = z + F.relu(second(F.relu(first(z)) * mask)) * mask
        mean = z.sum(3) / there.sum(1)[:, None, None]
        return self.out(mean.transpose(1, 2))


name, manner, threads, lengths = sys.argv[1], sys.argv[2], int(sys.argv[3]), [int(n) for n in sys.argv[4].split(",")]
torch.set_num_threads(threads)
model = {"transformer": Transformer, "convolution": Convolution, "maps": Maps}[name]()
residues = torch.randint(0, 20, (len(lengths), max(lengths)))
states = torch.randint(0, 3, (len(lengths), max(lengths)))
there = torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)


def loss_of(residues, states, there):
    each = F.cross_entropy(model(residues, there).flatten(0, 1), states.flatten(), reduction="none")
    return (each * there.flatten()).sum() / there.sum()


run = torch.compile(loss_of) if manner == "compile" else loss_of


def step():
    optimizer.zero_grad()
    run(residues, states, there).backward()
    optimizer.step()


session.serve(step)
