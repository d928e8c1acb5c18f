"""Models of expression profiles, tables and time. How to run and what is written: rule.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from rule import Model


def stack(case, path, sizes, first=1):
    """Dense layers by their sizes, numbered from `first`."""
    return [case.dense(f"{path}.dense_{first + n}", i, u) for n, (i, u) in enumerate(zip(sizes, sizes[1:]))]


def through(layers, x, between):
    """With an activation between, not after, the layers."""
    for layer in layers[:-1]:
        x = between(layer(x))
    return layers[-1](x)


def actinn():
    case = Model("actinn", 11)
    expression, cell_type = case.normal(3, 1865), case.below(12, 3)
    layers = stack(case, "net", [1865, 100, 50, 25, 12])
    scores = through(layers, expression, F.relu)
    loss = F.cross_entropy(scores, cell_type) + 0.005 * (case.weights["net.dense_1.w"] ** 2).sum()
    case.finish({"expression": expression, "cell_type": cell_type}, loss, {"scores": scores})


def autoencoder():
    case = Model("autoencoder", 12)
    expression = case.normal(3, 2000)
    there, back = stack(case, "net.encoder_1", [2000, 512, 128, 32]), stack(case, "net.decoder_1", [32, 128, 512, 2000])
    rebuilt = through(back, through(there, expression, F.elu), F.elu)
    case.finish({"expression": expression}, F.mse_loss(rebuilt, expression), {"rebuilt": rebuilt})


def scvi():
    case = Model("scvi", 13, settings=["net.drop=0"])
    G, B = 2000, 4
    counts, noise = (case.below(9, B, G) * (case.below(4, B, G) == 0)).double(), case.normal(B, 10)

    def hidden(path, inputs):
        dense, gain, bias = case.dense(f"{path}.dense_1", inputs, 128), case.weight(f"{path}.batch_norm_1.gain", 128), case.weight(f"{path}.batch_norm_1.bias", 128)
        mu, var = (case.state(f"{path}.batch_norm_1.{name}", torch.zeros(128)) for name in ("mu", "var"))
        return lambda x, training: F.relu(F.batch_norm(dense(x), mu.clone(), var.clone(), gain, bias, training, 0.01, 1e-3))
    encode, decode = hidden("net.hidden_1", G), hidden("net.hidden_2", 10)
    centre, spread = case.dense("net.gaussian_head_1.dense_1", 128, 10), case.dense("net.gaussian_head_1.dense_2", 128, 10)
    share, gate, size = case.dense("net.dense_1", 128, G), case.dense("net.dense_2", 128, G), case.weight("net.size", G)

    def net(training):
        h = encode(counts.log1p(), training)
        mean, log_var = centre(h), spread(h)
        h = decode(mean + (log_var / 2).exp() * noise, training)
        return mean, log_var, counts.sum(1, keepdim=True).log() + share(h).log_softmax(1), gate(h)
    mean, log_var, log_mean, lost = net(True)
    D = torch.distributions
    plain = D.NegativeBinomial(total_count=size.exp(), logits=log_mean - size).log_prob(counts)
    likelihood = torch.where(counts > 0, F.logsigmoid(-lost) + plain, torch.logaddexp(F.logsigmoid(lost), F.logsigmoid(-lost) + plain))
    kl = D.kl_divergence(D.Normal(mean, (log_var / 2).exp()), D.Normal(torch.zeros(B, 10), torch.ones(B, 10))).sum(1)
    shown = net(False)
    case.finish({"counts": counts, "noise": noise}, (kl - likelihood.sum(1)).mean(), {"code": shown[0], "log_mean": shown[2]})


def wgan_gp():
    case = Model("wgan_gp", 14)
    B = 3
    expression, z, t = case.normal(B, 2000), case.normal(B, 128), torch.rand(B, generator=case.random).float().double()
    maker, body, head = stack(case, "make", [128, 256, 512, 1024, 2000]), stack(case, "judge", [2000, 1024, 512, 256]), case.neuron("judge.neuron_1", 256)
    make, judge = lambda z: through(maker, z, F.relu), lambda x: head(F.relu(through(body, x, F.relu)))
    fake = make(z).detach()
    mix = torch.lerp(fake, expression, t[:, None]).requires_grad_()
    (slope,) = torch.autograd.grad(judge(mix).sum(), mix, create_graph=True)
    critic = (judge(fake) - judge(expression) + 10 * (slope.norm(dim=1) - 1) ** 2).mean()
    under = lambda path: [name for name in case.weights if name.startswith(path)]
    generator = -judge(make(z)).mean()
    case.finish_steps({"expression": expression, "z": z, "t": t},
                      {"critic": (critic, under("judge.")), "generator": (generator, under("make."))}, {"profile": make(z)})


def neural_ode():
    case = Model("neural_ode", 15)
    course = case.normal(3, 18)
    read, start = case.gru("net.gru_1", 1, 25), case.dense("net.dense_1", 25, 8)
    one, two, last = case.dense("net.rk4_1.field.dense_1", 8, 32), case.dense("net.rk4_1.field.dense_2", 32, 8), case.neuron("net.neuron_1", 8)
    field = lambda y: two(torch.tanh(one(y)))
    y = torch.stack([start(read(x[:9, None].flip(0))[-1]) for x in course])
    path, dt = [y], 0.1
    for _ in range(17):
        k1 = field(y)
        k2 = field(y + dt / 2 * k1)
        k3 = field(y + dt / 2 * k2)
        y = y + dt / 6 * (k1 + 2 * k2 + 2 * k3 + field(y + dt * k3))
        path.append(y)
    guess = last(torch.stack(path, 1))
    case.finish({"course": course}, F.mse_loss(guess, course), {"guess": guess})


def mps():
    case = Model("mps", 16)
    dna, site = F.one_hot(case.below(4, 3, 60), 4).double(), case.below(3, 3)
    # Within 5.5 of 0, so that the product of sixty matrices, each divided by the bond dimension, stays near 1.
    core, head = case.weight("net.matrix_product_1.core", 60, 4, 10, 10, scale=5.5), case.weight("net.matrix_product_1.head", 10, 3, 10, fan_in=10)
    sites = torch.einsum("nps,psij->npij", dna, core) / 10
    left, right = torch.ones(3, 10), torch.ones(3, 10)
    for p in range(30):
        left = torch.einsum("ni,nij->nj", left, sites[:, p])
    for p in range(59, 29, -1):
        right = torch.einsum("nij,nj->ni", sites[:, p], right)
    scores = torch.einsum("ni,icj,nj->nc", left, head, right)
    case.finish({"dna": dna, "site": site}, F.cross_entropy(scores, site), {"scores": scores})


def multimodal():
    case = Model("multimodal", 17)
    B = 4
    dna, scores, there, y = F.one_hot(case.below(4, B, 24), 4).double(), case.normal(B, 12), torch.tensor([True, False, True, False]), case.below(2, B)
    none = case.weight("net.none", 64)
    one, two = case.dense("net.table_1.dense_1", 12, 64), case.dense("net.table_1.dense_2", 64, 64)
    first, second = case.conv1d("net.sequence_1.conv1d_1", 9, 4, 64), case.conv1d("net.sequence_1.conv1d_2", 5, 64, 64)
    last, join, neuron = case.dense("net.sequence_1.dense_1", 64, 64), case.dense("net.dense_1", 128, 64), case.neuron("net.neuron_1", 64)
    zero = torch.where(there[:, None], scores, 0.0)
    seen = torch.where(there[:, None], two(F.relu(one(zero))), none)
    h = F.max_pool1d(F.relu(first(dna)).transpose(1, 2), 2).transpose(1, 2)
    read = last(F.relu(second(h)).max(1).values)
    score = neuron(F.relu(join(torch.cat([read, seen], 1))))
    known = there[:, None].expand(B, 12)
    case.finish({"dna": dna, "scores": zero, "scores.known": known, "pathogenic": y > 0}, F.binary_cross_entropy_with_logits(score, y.double()), {"score": score})


def infonce():
    case = Model("infonce", 18)
    B = 4
    expression, first, second = case.normal(B, 2000), case.below(2, B, 2000) > 0, case.below(2, B, 2000) > 0
    layers = stack(case, "net", [2000, 512, 128, 128])
    net = lambda x: through(layers, x, F.relu)
    a, b = net(expression * first), net(expression * second)
    cosines, own = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / 0.1, torch.arange(B)
    loss = (F.cross_entropy(cosines, own) + F.cross_entropy(cosines.T, own)) / 2
    case.finish({"expression": expression, "first": first, "second": second}, loss, {"code": F.normalize(net(expression), dim=1)})


def deepsurv():
    case = Model("deepsurv", 19, settings=["net.drop=0"])
    x, time, event = case.normal(12, 9), case.below(8, 12).double(), case.below(3, 12) > 0
    layers, last = stack(case, "net", [9, 42, 42, 42]), case.weight("net.neuron_1.w", 42, fan_in=42)
    risk = F.selu(through(layers, x, F.selu)) @ last
    at_risk = torch.where(time[None, :] >= time[:, None], risk[None, :], -torch.inf)
    loss = torch.where(event, at_risk.logsumexp(1) - risk, 0.0).sum() / event.sum()
    case.finish({"x": x, "time": time, "event": event}, loss, {"risk": risk})


actinn()
autoencoder()
scvi()
wgan_gp()
neural_ode()
mps()
multimodal()
infonce()
deepsurv()
