"""The nine workloads in PyTorch: `torch_peer.py WORKLOAD eager|compile THREADS cpu|cuda`. Speaks the protocol of session.py."""
import sys

import session

session.importing()
import torch
import torch.nn.functional as F
from torch import nn

session.imported(f"torch {torch.__version__}")
torch.manual_seed(1)


class Flow(nn.Sequential):
    """Modules one after another, with a plain function allowed between them."""

    def __init__(self, *steps):
        super().__init__(*(step if isinstance(step, nn.Module) else Call(step) for step in steps))


class Call(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Plus(nn.Module):
    """x + inner(x), then a function."""

    def __init__(self, inner, after=None):
        super().__init__()
        self.inner, self.after = inner, after

    def forward(self, x):
        y = x + self.inner(x)
        return self.after(y) if self.after else y


class Recurrent(nn.Module):
    """What an LSTM emits; PyTorch's also gives its last state."""

    def __init__(self, inputs, units, both_ways=False):
        super().__init__()
        self.lstm = nn.LSTM(inputs, units, batch_first=True, bidirectional=both_ways)

    def forward(self, x):
        return self.lstm(x)[0]


class Vae(nn.Module):
    def __init__(self, genes=2000, hidden=128, latent=10):
        super().__init__()
        self.encode = Flow(nn.Linear(genes, hidden), F.relu)
        self.centre, self.log_var = nn.Linear(hidden, latent), nn.Linear(hidden, latent)
        self.decode = Flow(nn.Linear(latent, hidden), F.relu, nn.Linear(hidden, genes))

    def forward(self, x):
        h = self.encode(x)
        centre, log_var = self.centre(h), self.log_var(h)
        return self.decode(centre + torch.exp(0.5 * log_var) * torch.randn_like(centre)), centre, log_var


class Gin(nn.Module):
    def __init__(self, width=128, layers=4):
        super().__init__()
        self.first, self.last = nn.Linear(40, width), nn.Linear(width, 1)
        self.layers = nn.ModuleList(Flow(nn.Linear(width, width), F.relu, nn.Linear(width, width), F.relu) for _ in range(layers))

    def forward(self, atoms, src, dst, owner, graphs):
        h = self.first(atoms)
        for layer in self.layers:
            h = layer(h + torch.zeros_like(h).index_add(0, dst, h[src]))
        return self.last(h.new_zeros(graphs, h.shape[1]).index_add(0, owner, h)).squeeze(1)


def channels_first(x):
    return x.transpose(1, 2)


def dna(batch, length):
    return F.one_hot(torch.randint(4, (batch, length)), 4).float()


def yes_or_no(*shape):
    return torch.randint(2, shape).float()


def mlp():
    net = Flow(nn.Linear(2000, 512), F.relu, nn.Linear(512, 256), F.relu, nn.Linear(256, 10))
    x, y = torch.randn(64, 2000), torch.randint(10, (64,))
    return net, lambda net: F.cross_entropy(net(x), y)


def basset():
    conv = lambda inputs, units, kernel, window: (nn.Conv1d(inputs, units, kernel, padding=kernel // 2), F.relu, nn.MaxPool1d(window))
    net = Flow(channels_first, *conv(4, 300, 19, 3), *conv(300, 200, 11, 4), *conv(200, 200, 7, 4),
               nn.Flatten(), nn.Linear(200 * 12, 1000), F.relu, nn.Linear(1000, 164))
    x, y = dna(64, 600), yes_or_no(64, 164)
    return net, lambda net: F.binary_cross_entropy_with_logits(net(x), y)


def danq():
    net = Flow(channels_first, nn.Conv1d(4, 320, 26), F.relu, nn.MaxPool1d(13), channels_first, Recurrent(320, 320, both_ways=True),
               nn.Flatten(), nn.Linear(75 * 640, 925), F.relu, nn.Linear(925, 919))
    x, y = dna(32, 1000), yes_or_no(32, 919)
    return net, lambda net: F.binary_cross_entropy_with_logits(net(x), y)


def transformer():
    block = nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
    net = Flow(nn.Embedding(26, 256), nn.TransformerEncoder(block, 4, enable_nested_tensor=False), nn.Linear(256, 26))
    x, y = torch.randint(26, (16, 256)), torch.randint(26, (16, 256))
    return net, lambda net: F.cross_entropy(net(x).reshape(-1, 26), y.reshape(-1))


def vae():
    x = torch.rand(128, 2000)

    def loss(net):
        rebuilt, centre, log_var = net(x)
        kl = -0.5 * (1 + log_var - centre.square() - log_var.exp()).sum(1).mean()
        return F.mse_loss(rebuilt, x) + 1e-3 * kl

    return Vae(), loss


def splice():
    def unit(dilation):
        half = lambda: (nn.BatchNorm1d(32), F.relu, nn.Conv1d(32, 32, 11, dilation=dilation, padding=5 * dilation))
        return Plus(Flow(*half(), *half()))

    net = Flow(channels_first, nn.Conv1d(4, 32, 1), *(unit(d) for d in (1, 1, 1, 1, 4, 4, 4, 4)), nn.Conv1d(32, 3, 1))
    x, y = dna(6, 5000), torch.randint(3, (6, 5000))
    return net, lambda net: F.cross_entropy(net(x), y)


def lstm():
    net = Flow(Recurrent(32, 128), lambda h: h[:, -1], nn.Linear(128, 5))
    x, y = torch.randn(64, 100, 32), torch.randint(5, (64,))
    return net, lambda net: F.cross_entropy(net(x), y)


def gin():
    graphs, atoms, bonds = 128, 24, 52
    first = torch.arange(graphs).repeat_interleave(bonds) * atoms
    src, dst = (torch.randint(atoms, (graphs * bonds,)) + first for _ in range(2))
    owner = torch.arange(graphs).repeat_interleave(atoms)
    x, y = torch.randn(graphs * atoms, 40), torch.randn(graphs)
    return Gin(), lambda net: F.mse_loss(net(x, src, dst, owner, graphs), y)


def resnet2d():
    conv = lambda: nn.Conv2d(32, 32, 3, padding=1)
    net = Flow(nn.Conv2d(64, 32, 1), *(Plus(Flow(conv(), F.relu, conv()), F.relu) for _ in range(4)), nn.Conv2d(32, 1, 1))
    x, y = torch.randn(2, 64, 128, 128), yes_or_no(2, 1, 128, 128)
    return net, lambda net: F.binary_cross_entropy_with_logits(net(x), y)


WORKLOADS = {f.__name__: f for f in (mlp, basset, danq, transformer, vae, splice, lstm, gin, resnet2d)}


def main(name, mode, threads, device):
    torch.set_num_threads(threads)
    torch.set_default_device(device)
    on_gpu = device == "cuda"
    if on_gpu:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    net, loss = WORKLOADS[name]()
    optimiser = torch.optim.Adam(net.parameters(), 1e-3, foreach=True)
    called = torch.compile(net) if mode == "compile" else net

    def step():
        optimiser.zero_grad(set_to_none=True)
        value = loss(called)
        value.backward()
        optimiser.step()
        if on_gpu:
            value.item()
            torch.cuda.synchronize()

    session.serve(step, (lambda: torch.cuda.max_memory_reserved() / 2**20) if on_gpu else session.resident)


main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
