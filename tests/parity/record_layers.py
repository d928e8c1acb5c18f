#!/usr/bin/env python3
"""Records PyTorch's values and gradients for every layer, loss and optimiser of stdlib/ in layers.json beside this file.

    python -m venv env && env/bin/pip install torch numpy && env/bin/python tests/parity/record_layers.py

Everything runs in f64 on the CPU with a fixed seed. A case of `layers` is a bdl program with a model `M`, the batch it is applied to,
its parameters, and what PyTorch gives: the outputs, and the gradients of sum(output * cotangent) by every parameter and every real
input. A case of `optimisers` is the parameters of a linear regression after each of six steps. Parameters are stored in bdl's
layout (Dense [in, out], Conv1d [tap, in, out]); the functions below move PyTorch's axes instead.
"""
import json
import math
import pathlib
import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
torch.manual_seed(20240229)
HERE = pathlib.Path(__file__).parent
layers, optimisers = [], []


def stored(t):
    t = t.detach()
    values = t.reshape(-1).tolist()
    return {"shape": list(t.shape), "values": [float(v) for v in values]}


def case(name, program, inputs, params, forward, states=None, training=True, after=None, fixed=()):
    """fixed: inputs without a gradient.  inputs: name -> (type in bdl, batch first). forward(inputs, params) -> output, batch first.  after: states after the step."""
    leaves = {k: t.clone().requires_grad_(t.dtype.is_floating_point and k not in fixed) for k, (_, t) in inputs.items()}
    weights = {k: t.clone().requires_grad_() for k, t in params.items()}
    y = forward(leaves, weights)
    cotangent = torch.randn_like(y)
    (y * cotangent).sum().backward()
    grads = {k: t.grad for k, t in {**leaves, **weights}.items() if t.requires_grad}
    layers.append({
        "name": name, "program": program, "training": training,
        "inputs": {k: {"type": ty, **stored(t)} for k, (ty, t) in inputs.items()},
        "params": {k: stored(t) for k, t in params.items()},
        "states": {k: stored(t) for k, t in (states or {}).items()},
        "cotangent": stored(cotangent), "output": stored(y),
        "gradients": {k: stored(torch.zeros_like(leaves[k]) if g is None and k in leaves else g) for k, g in grads.items() if g is not None},
        "after": {k: stored(t) for k, t in (after or {}).items()},
    })


def model(signature, body):
    return f"model M{signature} {{ {body} }}\n"


B = 3
r = torch.randn
# ------------------------------------------------------------------------------------------------ dense and embedding
case("dense", model("(x: f32[5]) -> f32[4]", "x |> Dense(4)"), {"x": ("f32", r(B, 5))}, {"m.dense_1.w": r(5, 4), "m.dense_1.b": r(4)},
     lambda i, p: i["x"] @ p["m.dense_1.w"] + p["m.dense_1.b"])
case("dense without bias, over positions", model("(x: f32[T, 3]) -> f32[T, 2]", "x |> Dense(2, bias: false)"), {"x": ("f32", r(B, 4, 3))},
     {"m.dense_1.w": r(3, 2)}, lambda i, p: i["x"] @ p["m.dense_1.w"])
case("neuron", model("(x: f32[5]) -> f32", "x |> Neuron()"), {"x": ("f32", r(B, 5))}, {"m.neuron_1.w": r(5), "m.neuron_1.b": r(())},
     lambda i, p: i["x"] @ p["m.neuron_1.w"] + p["m.neuron_1.b"])
case("embedding", model("(x: index(6)[T]) -> f32[T, 4]", "x |> Embedding(4, vocabulary: 6)"), {"x": ("i32", torch.tensor([[1, 5, 1, 0], [2, 2, 3, 1], [0, 0, 0, 4]]))},
     {"m.embedding_1.w": r(6, 4)}, lambda i, p: F.embedding(i["x"], p["m.embedding_1.w"]))


# ------------------------------------------------------------------------------------------------ convolution
def conv1d(x, w, b, **options):
    return F.conv1d(x.transpose(1, 2), w.permute(2, 1, 0), b, **options).transpose(1, 2)


def conv2d(x, w, b, **options):
    return F.conv2d(x.permute(0, 3, 1, 2), w.permute(3, 2, 0, 1), b, **options).permute(0, 2, 3, 1)


def conv1d_case(name, arguments, kernel, **options):
    x, w, b = r(B, 11, 3), r(kernel, 3, 2), r(2)
    before = options.pop("before", None)

    def forward(i, p):
        v = i["x"] if before is None else F.pad(i["x"], (0, 0, *before))
        return conv1d(v, p["m.conv1d_1.w"], p["m.conv1d_1.b"], **options)
    length = forward({"x": x}, {"m.conv1d_1.w": w, "m.conv1d_1.b": b}).shape[1]
    case(name, model(f"(x: f32[11, 3]) -> f32[{length}, 2]", f"x |> Conv1d(2, kernel: {kernel}{arguments})"), {"x": ("f32", x)},
         {"m.conv1d_1.w": w, "m.conv1d_1.b": b}, forward)


conv1d_case("conv1d, valid", "", 4)
conv1d_case("conv1d, stride 2", ", stride: 2", 3, stride=2)
conv1d_case("conv1d, stride 3 kernel 5", ", stride: 3", 5, stride=3)
conv1d_case("conv1d, dilation 2", ", dilation: 2", 3, dilation=2)
conv1d_case("conv1d, same, odd kernel", ", pad: same", 5, padding="same")
conv1d_case("conv1d, same, even kernel", ", pad: same", 4, padding="same")
conv1d_case("conv1d, same, dilation 3", ", pad: same, dilation: 3", 3, padding="same", dilation=3)
conv1d_case("conv1d, pad 2 stride 2", ", pad: 2, stride: 2", 5, padding=2, stride=2)
conv1d_case("conv1d, same, stride 2", ", pad: same, stride: 2", 3, before=(1, 1), stride=2)


def conv2d_case(name, arguments, kernel, **options):
    x, w, b = r(B, 6, 5, 2), r(kernel, kernel, 2, 3), r(3)
    forward = lambda i, p: conv2d(i["x"], p["m.conv2d_1.w"], p["m.conv2d_1.b"], **options)
    shape = forward({"x": x}, {"m.conv2d_1.w": w, "m.conv2d_1.b": b}).shape
    case(name, model(f"(x: f32[6, 5, 2]) -> f32[{shape[1]}, {shape[2]}, 3]", f"x |> Conv2d(3, kernel: {kernel}{arguments})"), {"x": ("f32", x)},
         {"m.conv2d_1.w": w, "m.conv2d_1.b": b}, forward)


conv2d_case("conv2d, valid", "", 3)
conv2d_case("conv2d, same", ", pad: same", 3, padding="same")
conv2d_case("conv2d, pad 1 stride 2", ", pad: 1, stride: 2", 3, padding=1, stride=2)
conv2d_case("conv2d, dilation 2", ", dilation: 2", 2, dilation=2)

# ------------------------------------------------------------------------------------------------ pooling
pool1 = lambda f, *a: (lambda i, p: f(i["x"].transpose(1, 2), *a).transpose(1, 2))
pool2 = lambda f, *a: (lambda i, p: f(i["x"].permute(0, 3, 1, 2), *a).permute(0, 2, 3, 1))
case("maxpool1d", model("(x: f32[7, 2]) -> f32[3, 2]", "x |> MaxPool1d(2)"), {"x": ("f32", r(B, 7, 2))}, {}, pool1(F.max_pool1d, 2))
case("maxpool1d, overlapping", model("(x: f32[7, 2]) -> f32[3, 2]", "x |> MaxPool1d(3, stride: 2)"), {"x": ("f32", r(B, 7, 2))}, {}, pool1(F.max_pool1d, 3, 2))
case("avgpool1d", model("(x: f32[7, 2]) -> f32[3, 2]", "x |> AvgPool1d(3, stride: 2)"), {"x": ("f32", r(B, 7, 2))}, {}, pool1(F.avg_pool1d, 3, 2))
case("maxpool2d", model("(x: f32[5, 4, 2]) -> f32[2, 2, 2]", "x |> MaxPool2d(2)"), {"x": ("f32", r(B, 5, 4, 2))}, {}, pool2(F.max_pool2d, 2))
case("avgpool2d", model("(x: f32[5, 4, 2]) -> f32[4, 3, 2]", "x |> AvgPool2d(2, stride: 1)"), {"x": ("f32", r(B, 5, 4, 2))}, {}, pool2(F.avg_pool2d, 2, 1))
case("global max pool", model("(x: f32[7, 2]) -> f32[2]", "x |> GlobalMaxPool()"), {"x": ("f32", r(B, 7, 2))}, {}, lambda i, p: i["x"].max(1).values)
case("global mean pool", model("(x: f32[7, 2]) -> f32[2]", "x |> GlobalAvgPool()"), {"x": ("f32", r(B, 7, 2))}, {}, lambda i, p: i["x"].mean(1))
case("global max pool 2d", model("(x: f32[3, 4, 2]) -> f32[2]", "x |> GlobalMaxPool2d()"), {"x": ("f32", r(B, 3, 4, 2))}, {}, lambda i, p: i["x"].amax((1, 2)))
case("global mean pool 2d", model("(x: f32[3, 4, 2]) -> f32[2]", "x |> GlobalAvgPool2d()"), {"x": ("f32", r(B, 3, 4, 2))}, {}, lambda i, p: i["x"].mean((1, 2)))

# ------------------------------------------------------------------------------------------------ normalisation
x = r(5, 4, 3) * 2 + 1
bn = {"m.batchnorm_1.gain": r(3), "m.batchnorm_1.bias": r(3)}
running = {"m.batchnorm_1.mu": r(3), "m.batchnorm_1.var": r(3).abs() + 0.5}
norm = lambda i, p, training: F.batch_norm(i["x"].transpose(1, 2), running["m.batchnorm_1.mu"].clone(), running["m.batchnorm_1.var"].clone(), p["m.batchnorm_1.gain"], p["m.batchnorm_1.bias"], training, 0.1, 1e-5).transpose(1, 2)
moved = {"m.batchnorm_1.mu": 0.9 * running["m.batchnorm_1.mu"] + 0.1 * x.mean((0, 1)),
         # the biased variance, unlike PyTorch's running variance
         "m.batchnorm_1.var": 0.9 * running["m.batchnorm_1.var"] + 0.1 * x.var((0, 1), unbiased=False)}
program = model("(x: f32[4, 3]) -> f32[4, 3]", "x |> BatchNorm()")
case("batch norm, training", program, {"x": ("f32", x)}, bn, lambda i, p: norm(i, p, True), states=running, after=moved)
case("batch norm, evaluation", program, {"x": ("f32", x)}, bn, lambda i, p: norm(i, p, False), states=running, training=False)
case("layer norm", model("(x: f32[4, 6]) -> f32[4, 6]", "x |> LayerNorm()"), {"x": ("f32", r(B, 4, 6) * 3 - 1)}, {"m.layernorm_1.gain": r(6), "m.layernorm_1.bias": r(6)},
     lambda i, p: F.layer_norm(i["x"], (6,), p["m.layernorm_1.gain"], p["m.layernorm_1.bias"], 1e-5))


# ------------------------------------------------------------------------------------------------ recurrence
def lstm(x, w, u, b, reverse=False):
    """bdl's gates are f, i, g, o; PyTorch's are i, f, g, o."""
    gates = lambda t: t[..., [1, 0, 2, 3], :]
    H = u.shape[0]
    weights = {"weight_ih_l0": gates(w).reshape(-1, 4 * H).T, "weight_hh_l0": gates(u).reshape(H, 4 * H).T,
               "bias_ih_l0": gates(b).reshape(-1), "bias_hh_l0": torch.zeros(4 * H)}
    turn = (lambda t: t.flip(1)) if reverse else (lambda t: t)
    y, _ = torch.func.functional_call(torch.nn.LSTM(x.shape[2], H, batch_first=True), weights, turn(x))
    return turn(y)


def gru(x, w, v, b, d):
    H = v.shape[0]
    weights = {"weight_ih_l0": w.reshape(-1, 3 * H).T, "weight_hh_l0": v.reshape(H, 3 * H).T, "bias_ih_l0": b.reshape(-1), "bias_hh_l0": d.reshape(-1)}
    return torch.func.functional_call(torch.nn.GRU(x.shape[2], H, batch_first=True), weights, x)[0]


recurrent = lambda layer, H=4, n=4: {f"m.{layer}.w": r(3, n, H), f"m.{layer}.u": r(H, n, H) / 2, f"m.{layer}.b": r(n, H)}
parts = lambda p, layer: [p[f"m.{layer}.{k}"] for k in ("w", "u", "b")]
case("lstm", model("(x: f32[5, 3]) -> f32[5, 4]", "x |> Lstm(4)"), {"x": ("f32", r(B, 5, 3))}, recurrent("lstm_1"), lambda i, p: lstm(i["x"], *parts(p, "lstm_1")))
case("lstm, reversed", model("(x: f32[5, 3]) -> f32[5, 4]", "x |> Lstm(4, reverse: true)"), {"x": ("f32", r(B, 5, 3))}, recurrent("lstm_1"), lambda i, p: lstm(i["x"], *parts(p, "lstm_1"), True))
case("lstm, both ways", model("(x: f32[5, 3]) -> f32[5, 6]", "let f = Lstm(4); let g = Lstm(2, reverse: true); x |> Bidirectional(f, backward: g)"),
     {"x": ("f32", r(B, 5, 3))}, {**recurrent("f"), **recurrent("g", 2)}, lambda i, p: torch.cat([lstm(i["x"], *parts(p, "f")), lstm(i["x"], *parts(p, "g"), True)], 2))
case("gru", model("(x: f32[5, 3]) -> f32[5, 4]", "x |> Gru(4)"), {"x": ("f32", r(B, 5, 3))},
     {"m.gru_1.w": r(3, 3, 4), "m.gru_1.v": r(4, 3, 4) / 2, "m.gru_1.b": r(3, 4), "m.gru_1.d": r(3, 4)}, lambda i, p: gru(i["x"], *(p[f"m.gru_1.{k}"] for k in "wvbd")))

# ------------------------------------------------------------------------------------------------ functions
def elementwise(name, call, f):
    case(name, model("(x: f32[2, 5]) -> f32[2, 5]", call), {"x": ("f32", 2 * r(B, 2, 5))}, {}, lambda i, p: f(i["x"]))


elementwise("relu", "x |> relu", F.relu)
elementwise("leaky relu", "x |> leaky_relu", F.leaky_relu)
elementwise("leaky relu, slope 0.2", "x |> leaky_relu(slope: 0.2)", lambda x: F.leaky_relu(x, 0.2))
elementwise("elu", "x |> elu", F.elu)
elementwise("elu, alpha 1.5", "x |> elu(alpha: 1.5)", lambda x: F.elu(x, 1.5))
elementwise("selu", "x |> selu", F.selu)
elementwise("gelu", "x |> gelu", F.gelu)
elementwise("silu", "x |> silu", F.silu)
elementwise("softplus", "x |> softplus", F.softplus)
elementwise("sigmoid", "x |> sigmoid", torch.sigmoid)
elementwise("tanh", "x |> tanh", torch.tanh)
elementwise("softmax", "x |> softmax", lambda x: F.softmax(x, -1))
elementwise("log softmax", "x |> log_softmax", lambda x: F.log_softmax(x, -1))
elementwise("square", "x |> square", torch.square)
case("norm", model("(x: f32[2, 5]) -> f32", "norm(x)"), {"x": ("f32", r(B, 2, 5))}, {}, lambda i, p: i["x"].flatten(1).norm(dim=1))
case("lerp", model("(a: f32[4], b: f32[4], t: f32) -> f32[4]", "lerp(a, b, t)"), {"a": ("f32", r(B, 4)), "b": ("f32", r(B, 4)), "t": ("f32", torch.rand(B))}, {},
     lambda i, p: torch.lerp(i["a"], i["b"], i["t"][:, None]))
elementwise("dropout, evaluation", "x |> dropout(0.4)", lambda x: x)
layers[-1]["training"] = False
case("flatten and dense", model("(x: f32[3, 2]) -> f32[4]", "x |> flatten |> Dense(4)"), {"x": ("f32", r(B, 3, 2))}, {"m.dense_1.w": r(6, 4), "m.dense_1.b": r(4)},
     lambda i, p: i["x"].flatten(1) @ p["m.dense_1.w"] + p["m.dense_1.b"])

# ------------------------------------------------------------------------------------------------ losses, one number an example
y = torch.tensor([2, 0, 3])
weights = torch.tensor([0.5, 2.0, 1.0, 3.0])
case("cross-entropy", model("(x: logit[4], y: category(4)) -> f32", "cross_entropy(x, y)"), {"x": ("f32", 5 * r(B, 4)), "y": ("i32", y)}, {},
     lambda i, p: F.cross_entropy(i["x"], y, reduction="none"))
case("cross-entropy, class weights", model("(x: logit[4], y: category(4), w: f32[4]) -> f32", "cross_entropy(x, y, class_weights: w)"),
     {"x": ("f32", r(B, 4)), "y": ("i32", y), "w": ("f32", weights.expand(B, 4).clone())}, {},
     lambda i, p: i["w"].gather(1, y[:, None])[:, 0] * F.cross_entropy(i["x"], y, reduction="none"))
case("cross-entropy, sample weight", model("(x: logit[4], y: category(4), w: f32) -> f32", "cross_entropy(x, y, weight: w)"), {"x": ("f32", r(B, 4)), "y": ("i32", y), "w": ("f32", torch.rand(B))}, {},
     lambda i, p: i["w"] * F.cross_entropy(i["x"], y, reduction="none"))
truth = torch.rand(B, 6) < 0.5
bce = lambda x, y, **o: F.binary_cross_entropy_with_logits(x, y.double(), reduction="none", **o)
case("binary cross-entropy", model("(x: logit, y: bool) -> f32", "binary_cross_entropy(x, y)"), {"x": ("f32", 3 * r(B)), "y": ("bool", truth[:, 0])}, {}, lambda i, p: bce(i["x"], truth[:, 0]))
case("binary cross-entropy, vector", model("(x: logit[6], y: bool[6]) -> f32", "binary_cross_entropy(x, y)"), {"x": ("f32", 30 * r(B, 6)), "y": ("bool", truth)}, {}, lambda i, p: bce(i["x"], truth).mean(1))
case("binary cross-entropy, pos_weight", model("(x: logit[6], y: bool[6], w: f32[6]) -> f32", "binary_cross_entropy(x, y, pos_weight: w)"),
     {"x": ("f32", r(B, 6)), "y": ("bool", truth), "w": ("f32", torch.rand(B, 6) * 3)}, {}, lambda i, p: bce(i["x"], truth, pos_weight=i["w"]).mean(1), fixed=("w",))
case("hinge", model("(x: logit[6], y: bool[6]) -> f32", "hinge(x, y)"), {"x": ("f32", r(B, 6)), "y": ("bool", truth)}, {}, lambda i, p: F.relu(1 - torch.where(truth, i["x"], -i["x"])).mean(1))


def pair(name, call, f, second=None):
    case(name, model("(x: f32[6], y: f32[6]) -> f32", call), {"x": ("f32", r(B, 6)), "y": ("f32", r(B, 6) if second is None else second)}, {},
         lambda i, p: f(i["x"], i["y"], reduction="none").mean(1))


pair("mse", "mse(x, y)", F.mse_loss)
pair("mae", "mae(x, y)", F.l1_loss)
pair("huber", "huber(x, y)", F.huber_loss)
pair("huber, delta 0.3", "huber(x, y, delta: 0.3)", lambda x, y, **o: F.huber_loss(x, y, delta=0.3, **o))
pair("poisson", "poisson(x, y)", lambda x, y, **o: F.poisson_nll_loss(x, y, log_input=True, full=False, **o), torch.randint(0, 9, (B, 6)).double())
case("l1", model("(x: f32[2, 5]) -> f32", "l1(x)"), {"x": ("f32", r(B, 2, 5))}, {}, lambda i, p: i["x"].abs().sum((1, 2)))
case("l2", model("(x: f32[2, 5]) -> f32", "l2(x)"), {"x": ("f32", r(B, 2, 5))}, {}, lambda i, p: i["x"].square().sum((1, 2)))

# ------------------------------------------------------------------------------------------------ optimisers
STEPS, EPOCHS = 6, 3
data = [(r(4, 3), r(4, 2)) for _ in range(STEPS)]
w0, b0 = r(3, 2), r(2)


def optimiser(name, text, make, rate=None, clip=None, entries="", penalty=None):
    """rate: step -> learning rate, for schedules.  clip: called before the step."""
    w, b = w0.clone().requires_grad_(), b0.clone().requires_grad_()
    opt = make([w, b])
    after = []
    for step, (x, y) in enumerate(data):
        if rate:
            for group in opt.param_groups:
                group["lr"] = rate(step)
        opt.zero_grad()
        loss = F.mse_loss(x @ w + b, y)
        if penalty:
            loss = loss + penalty(w)
        loss.backward()
        if clip:
            clip([w, b])
        opt.step()
        after.append({"net.dense_1.w": stored(w), "net.dense_1.b": stored(b)})
    program = ("model Linear(x: f32[3]) -> f32[2] { x |> Dense(2) }\ndata D = synthetic(rows: 24, seed: 1) { x = normal[3]; y = normal[2] }\n"
               f"train t {{\n  model net = Linear()\n  data D\n  loss mse(net(x), y)\n  optimizer {text}\n  batch 4\n  epochs {EPOCHS}\n{entries}}}\n")
    optimisers.append({"name": name, "program": program, "steps": STEPS, "epochs": EPOCHS, "after": after})


O = torch.optim
optimiser("sgd", "sgd(0.1)", lambda p: O.SGD(p, 0.1))
optimiser("sgd, momentum", "sgd(0.1, momentum: 0.9)", lambda p: O.SGD(p, 0.1, 0.9))
optimiser("sgd, nesterov, decay", "sgd(0.1, momentum: 0.9, nesterov: true, weight_decay: 0.01)", lambda p: O.SGD(p, 0.1, 0.9, nesterov=True, weight_decay=0.01))
optimiser("rmsprop", "rmsprop(0.01)", lambda p: O.RMSprop(p, 0.01))
optimiser("rmsprop, momentum, decay", "rmsprop(0.01, alpha: 0.9, eps: 1e-6, momentum: 0.5, weight_decay: 0.1)", lambda p: O.RMSprop(p, 0.01, 0.9, 1e-6, 0.1, 0.5))
optimiser("adagrad", "adagrad(0.1)", lambda p: O.Adagrad(p, 0.1))
optimiser("adagrad, decay", "adagrad(0.1, weight_decay: 0.1)", lambda p: O.Adagrad(p, 0.1, weight_decay=0.1))
optimiser("adam", "adam(0.05)", lambda p: O.Adam(p, 0.05))
optimiser("adam, decay", "adam(0.05, beta1: 0.8, beta2: 0.99, eps: 1e-6, weight_decay: 0.1)", lambda p: O.Adam(p, 0.05, (0.8, 0.99), 1e-6, 0.1))
optimiser("adamw", "adamw(0.05)", lambda p: O.AdamW(p, 0.05))
optimiser("adamw, decay 0.3", "adamw(0.05, weight_decay: 0.3)", lambda p: O.AdamW(p, 0.05, weight_decay=0.3))
optimiser("constant", "sgd(constant(0.1))", lambda p: O.SGD(p, 0.1))
optimiser("cosine", "sgd(cosine(0.1, least: 0.01))", lambda p: O.SGD(p, 0.1), lambda s: 0.01 + 0.5 * 0.09 * (1 + math.cos(math.pi * s / STEPS)))
optimiser("step decay", "sgd(step_decay(0.1, every: 1 epochs, factor: 0.5))", lambda p: O.SGD(p, 0.1), lambda s: 0.1 * 0.5 ** (s // 2))
optimiser("exponential", "sgd(exponential(0.1, factor: 0.7))", lambda p: O.SGD(p, 0.1), lambda s: 0.1 * 0.7 ** (s // 2))
optimiser("warm-up", "sgd(warmup(cosine(0.1), rise: 4 steps))", lambda p: O.SGD(p, 0.1), lambda s: min(1, (s + 1) / 4) * 0.5 * 0.1 * (1 + math.cos(math.pi * s / STEPS)))
optimiser("ramp", "sgd(ramp(0.2, 0.05, 2 epochs))", lambda p: O.SGD(p, 0.1), lambda s: 0.2 - 0.15 * s / 4 if s < 4 else 0.05)
optimiser("clip norm", "sgd(0.1)", lambda p: O.SGD(p, 0.1), clip=lambda p: torch.nn.utils.clip_grad_norm_(p, 0.7), entries="  clip norm 0.7\n")
optimiser("clip value", "sgd(0.1)", lambda p: O.SGD(p, 0.1), clip=lambda p: torch.nn.utils.clip_grad_value_(p, 0.2), entries="  clip value 0.2\n")
optimiser("penalty", "sgd(0.1)", lambda p: O.SGD(p, 0.1), penalty=lambda w: 0.01 * w.abs().sum() + 0.1 * w.square().sum(),
          entries="  penalty 0.01 * l1(net.dense_1.w) + 0.1 * l2(net.dense_1.w)\n")

# ------------------------------------------------------------------------------------------------ added later: at the end, so that values before stay
case("maxpool1d, padded", model("(x: f32[7, 2]) -> f32[4, 2]", "x |> MaxPool1d(3, stride: 2, pad: 1)"), {"x": ("f32", r(B, 7, 2) - 2)}, {}, pool1(F.max_pool1d, 3, 2, 1))
case("maxpool2d, padded", model("(x: f32[5, 4, 2]) -> f32[3, 2, 2]", "x |> MaxPool2d(3, stride: 2, pad: 1)"), {"x": ("f32", r(B, 5, 4, 2) - 2)}, {}, pool2(F.max_pool2d, 3, 2, 1))


def rnn(x, w, u, b, reverse=False):
    weights = {"weight_ih_l0": w.T, "weight_hh_l0": u.T, "bias_ih_l0": b, "bias_hh_l0": torch.zeros_like(b)}
    turn = (lambda t: t.flip(1)) if reverse else (lambda t: t)
    y, _ = torch.func.functional_call(torch.nn.RNN(x.shape[2], u.shape[0], batch_first=True), weights, turn(x))
    return turn(y)


for name, options, reverse in (("rnn", "", False), ("rnn, reversed", ", reverse: true", True)):
    case(name, model("(x: f32[5, 2]) -> f32[5, 3]", f"x |> Rnn(3{options})"), {"x": ("f32", r(B, 5, 2))},
         {"m.rnn_1.w": r(2, 3), "m.rnn_1.u": r(3, 3), "m.rnn_1.b": r(3)},
         lambda i, p, reverse=reverse: rnn(i["x"], p["m.rnn_1.w"], p["m.rnn_1.u"], p["m.rnn_1.b"], reverse))

# A letter is a choice among its alphabet.
case("cross-entropy of letters", model("(scores: logit[4], base: DNA) -> f32", "cross_entropy(scores, base)"),
     {"scores": ("f32", r(B, 4)), "base": ("i32", torch.tensor([3, 0, 2]))}, {}, lambda i, p: F.cross_entropy(i["scores"], i["base"], reduction="none"))

recorded = {
    "torch": torch.__version__, "layers": layers, "optimisers": optimisers,
    "start": {"net.dense_1.w": stored(w0), "net.dense_1.b": stored(b0)},
    "batches": [{"x": stored(x), "y": stored(y)} for x, y in data],
}
(HERE / "layers.json").write_text(json.dumps(recorded, separators=(",", ":")) + "\n")
print(f"{len(layers)} layers and losses, {len(optimisers)} optimisers, torch {torch.__version__}")
