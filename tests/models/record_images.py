"""Networks over images, and an Evoformer block. How to run and what is written: rule.py."""
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "parity/evoformer"))
from block import block
from rule import Model


def resnet18():
    case = Model("resnet18", 31)
    image, label = case.normal(2, 64, 64, 3), case.below(1000, 2)

    def conv(path, kernel, inputs, units, **options):
        w = case.weight(f"{path}.w", kernel, kernel, inputs, units, fan_in=kernel * kernel * inputs)
        return lambda x: F.conv2d(x.permute(0, 3, 1, 2), w.permute(3, 2, 0, 1), **options).permute(0, 2, 3, 1)

    def inner(path, inputs, units, stride, number):
        one, norm1 = conv(f"{path}.conv2d_{number}", 3, inputs, units, padding=1, stride=stride), case.batch_norm(f"{path}.batch_norm_{number}", units)
        two, norm2 = conv(f"{path}.conv2d_{number + 1}", 3, units, units, padding=1), case.batch_norm(f"{path}.batch_norm_{number + 1}", units)
        return lambda x, training: norm2(two(F.relu(norm1(one(x), training))), training)

    def residual(path, units):
        change = inner(path, units, units, 1, 1)
        return lambda x, training: F.relu(x + change(x, training))

    def projected(path, inputs, units):
        carry, norm = conv(f"{path}.conv2d_1", 1, inputs, units, stride=2), case.batch_norm(f"{path}.batch_norm_1", units)
        change = inner(path, inputs, units, 2, 2)
        return lambda x, training: F.relu(norm(carry(x), training) + change(x, training))

    stem, norm = conv("net.conv2d_1", 7, 3, 64, padding=3, stride=2), case.batch_norm("net.batch_norm_1", 64)
    blocks = [residual("net.residual2d_1", 64), residual("net.residual2d_2", 64)]
    for n, (inputs, units) in enumerate([(64, 128), (128, 256), (256, 512)], 1):
        blocks += [projected(f"net.projected2d_{n}", inputs, units), residual(f"net.residual2d_{n + 2}", units)]
    last = case.dense("net.dense_1", 512, 1000)

    def net(training):
        x = F.relu(norm(stem(image), training))
        x = F.max_pool2d(x.permute(0, 3, 1, 2), 3, 2, 1).permute(0, 2, 3, 1)
        for block in blocks:
            x = block(x, training)
        return last(x.mean((1, 2)))
    case.finish({"image": image, "class": label}, F.cross_entropy(net(True), label), {"scores": net(False)})


def unet():
    case = Model("unet", 32, replace=[("normal[32, 32, 1]", "normal[16, 16, 1]"), ("bernoulli(0.5)[32, 32]", "bernoulli(0.5)[16, 16]")])
    image, cell = case.normal(2, 16, 16, 1), case.below(2, 2, 16, 16)

    def twice(path, inputs, units):
        one, two = case.conv2d(f"{path}.conv2d_1", 3, inputs, units, padding=1), case.conv2d(f"{path}.conv2d_2", 3, units, units, padding=1)
        return lambda x: F.relu(two(F.relu(one(x))))

    def level(path, inputs, units):
        if units == 1024:
            return twice(path, inputs, units)
        before, deeper = twice(f"{path}.twice2d_1", inputs, units), level(f"{path}.inner", units, 2 * units)
        w, b = case.weight(f"{path}.up_conv2d_1.w", 2, 2, 2 * units, units, fan_in=2 * units), case.weight(f"{path}.up_conv2d_1.b", units)
        after = twice(f"{path}.twice2d_2", 2 * units, units)

        def forward(x):
            a = before(x)
            h = deeper(F.max_pool2d(a.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1))
            up = F.conv_transpose2d(h.permute(0, 3, 1, 2), w.permute(2, 3, 0, 1).contiguous(), b, stride=2).permute(0, 2, 3, 1)
            return after(torch.cat([a, up], -1))
        return forward
    net, last = level("net.unet2d_1", 1, 64), case.neuron("net.neuron_1", 64)
    score = last(net(image))
    case.finish({"image": image, "cell": cell > 0}, F.binary_cross_entropy_with_logits(score, cell.double()), {"score": score})


def evoformer():
    case = Model("evoformer", 33, replace=[("normal[4, 8, 256]", "normal[3, 6, 256]"), ("normal[8, 8, 128]", "normal[6, 6, 128]"), ("category(64)[8, 8]", "category(64)[6, 6]")])
    C, K, T = 256, 128, 6
    alignment, pairs = case.normal(2, 3, T, C), case.normal(2, T, T, K)
    target, distance = case.normal(2, 3, T, C), case.below(64, 2, T, T)

    evolve = block(case, "net.evoformer_block_1", C, K, heads=8, pair_heads=4, hidden=32, triangle=128, outer_fan_in=32 * 32)
    bins = case.dense("net.distogram_1.dense_1", K, 64)
    m, z = evolve(alignment, pairs)
    l = bins(z) + bins(z.transpose(1, 2))
    loss = F.mse_loss(m, target) + F.cross_entropy(l.reshape(-1, 64), distance.reshape(-1))
    case.finish({"alignment": alignment, "pairs": pairs, "target": target, "distance": distance}, loss, {"bins": l})


resnet18()
unet()
evoformer()
