"""The nine workloads in JAX, the whole step compiled: `jax_peer.py WORKLOAD THREADS`. Speaks the protocol of session.py.

XLA takes as many threads as the process may use processors; compare.py allows it as many as it gives the others.
"""
import os
import sys

import session

os.environ["JAX_PLATFORMS"] = "cpu"
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[2])])
session.importing()
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

session.imported(f"jax {jax.__version__}")
random = np.random.default_rng(1)
relu, sigmoid = jax.nn.relu, jax.nn.sigmoid


def weights(*shape):
    """Normal with variance 1 / (all axes but the last)."""
    return jnp.asarray(random.standard_normal(shape) * np.prod(shape[:-1]) ** -0.5, jnp.float32)


def affine(*shape):
    return {"w": weights(*shape), "b": jnp.zeros(shape[-1])}


def normal(*shape):
    return jnp.asarray(random.standard_normal(shape), jnp.float32)


def below(n, *shape):
    return jnp.asarray(random.integers(n, size=shape), jnp.int32)


def yes_or_no(*shape):
    return below(2, *shape).astype(jnp.float32)


def dna(batch, length):
    return jax.nn.one_hot(below(4, batch, length), 4)


def dense(p, x):
    return x @ p["w"] + p["b"]


def conv(p, x, padding="SAME", dilation=1):
    """Channels last, over one or two axes."""
    axes = x.ndim - 2
    letters = ("NWC", "WIO", "NWC") if axes == 1 else ("NHWC", "HWIO", "NHWC")
    y = lax.conv_general_dilated(x, p["w"], (1,) * axes, padding, rhs_dilation=(dilation,) * axes, dimension_numbers=letters)
    return y + p["b"]


def max_pool(x, window):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, window, 1), (1, window, 1), "VALID")


def flat(x):
    return x.reshape(x.shape[0], -1)


def choice(scores, truth):
    return optax.softmax_cross_entropy_with_integer_labels(scores, truth).mean()


def questions(scores, truth):
    return optax.sigmoid_binary_cross_entropy(scores, truth).mean()


def squares(guess, truth):
    return jnp.square(guess - truth).mean()


def lstm_weights(inputs, units):
    return {"w": weights(inputs, 4 * units), "u": weights(units, 4 * units), "b": jnp.zeros(4 * units)}


def lstm_states(p, x, reverse=False):
    units = p["u"].shape[0]
    start = (jnp.zeros((x.shape[0], units)),) * 2

    def move(carried, z):
        h, c = carried
        keep, take, offer, show = jnp.split(z + h @ p["u"], 4, axis=-1)
        c = sigmoid(keep) * c + sigmoid(take) * jnp.tanh(offer)
        h = sigmoid(show) * jnp.tanh(c)
        return (h, c), h

    _, states = lax.scan(move, start, jnp.swapaxes(x @ p["w"] + p["b"], 0, 1), reverse=reverse)
    return jnp.swapaxes(states, 0, 1)


def mlp():
    p = [affine(2000, 512), affine(512, 256), affine(256, 10)]
    x, y = normal(64, 2000), below(10, 64)
    return p, (x, y), lambda p, d, key: choice(dense(p[2], relu(dense(p[1], relu(dense(p[0], d[0]))))), d[1])


def basset():
    p = {"convs": [affine(19, 4, 300), affine(11, 300, 200), affine(7, 200, 200)], "hidden": affine(2400, 1000), "last": affine(1000, 164)}

    def loss(p, d, key):
        h = d[0]
        for q, window in zip(p["convs"], (3, 4, 4)):
            h = max_pool(relu(conv(q, h)), window)
        return questions(dense(p["last"], relu(dense(p["hidden"], flat(h)))), d[1])

    return p, (dna(64, 600), yes_or_no(64, 164)), loss


def danq():
    p = {"motifs": affine(26, 4, 320), "on": lstm_weights(320, 320), "back": lstm_weights(320, 320), "hidden": affine(75 * 640, 925), "last": affine(925, 919)}

    def loss(p, d, key):
        h = max_pool(relu(conv(p["motifs"], d[0], "VALID")), 13)
        h = jnp.concatenate([lstm_states(p["on"], h), lstm_states(p["back"], h, reverse=True)], axis=-1)
        return questions(dense(p["last"], relu(dense(p["hidden"], flat(h)))), d[1])

    return p, (dna(32, 1000), yes_or_no(32, 919)), loss


def transformer(width=256, heads=4):
    scale = lambda: {"gain": jnp.ones(width), "bias": jnp.zeros(width)}
    block = lambda: {"n1": scale(), "qkv": affine(width, 3 * width), "out": affine(width, width), "n2": scale(), "up": affine(width, 1024), "down": affine(1024, width)}
    p = {"table": weights(26, width), "blocks": [block() for _ in range(4)], "last": affine(width, 26)}

    def norm(q, x):
        centred = x - x.mean(-1, keepdims=True)
        return centred * lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5) * q["gain"] + q["bias"]

    def attend(q, x):
        q3 = dense(q["qkv"], x).reshape(*x.shape[:2], 3, heads, width // heads)
        scores = jnp.einsum("bihe,bjhe->bhij", q3[:, :, 0], q3[:, :, 1]) * (width // heads) ** -0.5
        mixed = jnp.einsum("bhij,bjhe->bihe", jax.nn.softmax(scores, -1), q3[:, :, 2])
        return dense(q["out"], mixed.reshape(x.shape))

    def loss(p, d, key):
        h = p["table"][d[0]]
        for q in p["blocks"]:
            h = h + attend(q, norm(q["n1"], h))
            h = h + dense(q["down"], jax.nn.gelu(dense(q["up"], norm(q["n2"], h)), approximate=False))
        return choice(dense(p["last"], h), d[1])

    return p, (below(26, 16, 256), below(26, 16, 256)), loss


def vae():
    p = {"in": affine(2000, 128), "centre": affine(128, 10), "log_var": affine(128, 10), "out": affine(10, 128), "last": affine(128, 2000)}

    def loss(p, d, key):
        h = relu(dense(p["in"], d[0]))
        centre, log_var = dense(p["centre"], h), dense(p["log_var"], h)
        z = centre + jnp.exp(0.5 * log_var) * jax.random.normal(key, centre.shape)
        kl = -0.5 * (1 + log_var - jnp.square(centre) - jnp.exp(log_var)).sum(1).mean()
        return squares(dense(p["last"], relu(dense(p["out"], z))), d[0]) + 1e-3 * kl

    return p, (jnp.asarray(random.random((128, 2000)), jnp.float32),), loss


def splice():
    scale = lambda: {"gain": jnp.ones(32), "bias": jnp.zeros(32)}
    block = lambda: {"n1": scale(), "c1": affine(11, 32, 32), "n2": scale(), "c2": affine(11, 32, 32)}
    p = {"first": affine(1, 4, 32), "blocks": [block() for _ in range(8)], "last": affine(1, 32, 3)}

    def norm(q, x):
        mean, var = x.mean((0, 1)), x.var((0, 1))
        return (x - mean) * lax.rsqrt(var + 1e-5) * q["gain"] + q["bias"]

    def loss(p, d, key):
        h = conv(p["first"], d[0])
        for q, dilation in zip(p["blocks"], (1, 1, 1, 1, 4, 4, 4, 4)):
            inner = conv(q["c1"], relu(norm(q["n1"], h)), dilation=dilation)
            h = h + conv(q["c2"], relu(norm(q["n2"], inner)), dilation=dilation)
        return choice(conv(p["last"], h), d[1])

    return p, (dna(6, 5000), below(3, 6, 5000)), loss


def lstm():
    p = {"lstm": lstm_weights(32, 128), "last": affine(128, 5)}
    return p, (normal(64, 100, 32), below(5, 64)), lambda p, d, key: choice(dense(p["last"], lstm_states(p["lstm"], d[0])[:, -1]), d[1])


def gin(graphs=128, atoms=24, bonds=52):
    p = {"first": affine(40, 128), "layers": [(affine(128, 128), affine(128, 128)) for _ in range(4)], "last": affine(128, 1)}
    offset = jnp.repeat(jnp.arange(graphs, dtype=jnp.int32), bonds) * atoms
    owner = jnp.repeat(jnp.arange(graphs, dtype=jnp.int32), atoms)
    data = (normal(graphs * atoms, 40), below(atoms, graphs * bonds) + offset, below(atoms, graphs * bonds) + offset, owner, normal(graphs))

    def loss(p, d, key):
        x, src, dst, owner, y = d
        h = dense(p["first"], x)
        for one, two in p["layers"]:
            h = relu(dense(two, relu(dense(one, h + jnp.zeros_like(h).at[dst].add(h[src])))))
        return squares(dense(p["last"], jnp.zeros((graphs, 128)).at[owner].add(h))[:, 0], y)

    return p, data, loss


def resnet2d():
    p = {"first": affine(1, 1, 64, 32), "blocks": [(affine(3, 3, 32, 32), affine(3, 3, 32, 32)) for _ in range(4)], "last": affine(1, 1, 32, 1)}

    def loss(p, d, key):
        h = conv(p["first"], d[0])
        for one, two in p["blocks"]:
            h = relu(h + conv(two, relu(conv(one, h))))
        return questions(conv(p["last"], h), d[1])

    return p, (normal(2, 128, 128, 64), yes_or_no(2, 128, 128, 1)), loss


WORKLOADS = {f.__name__: f for f in (mlp, basset, danq, transformer, vae, splice, lstm, gin, resnet2d)}


def main(name):
    params, data, loss = WORKLOADS[name]()
    optimiser = optax.adam(1e-3)
    carried = [params, optimiser.init(params), jax.random.PRNGKey(1)]

    def whole(params, moments, key, data):
        key, now = jax.random.split(key)
        value, gradient = jax.value_and_grad(loss)(params, data, now)
        change, moments = optimiser.update(gradient, moments, params)
        return optax.apply_updates(params, change), moments, key, value

    compiled = jax.jit(whole, donate_argnums=(0, 1))

    def step():
        *carried[:], value = compiled(*carried, data)
        jax.block_until_ready((carried, value))

    session.serve(step)


main(sys.argv[1])
