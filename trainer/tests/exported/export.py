#!/usr/bin/env python3
"""Writes the models of trainer/tests/import.rs: exported by both of PyTorch's exporters, and what
PyTorch itself computes with them.

    export.py FOLDER

Needs torch 2.11.0, onnx and onnxscript. The files beside this one were written by it.
"""
import json
import math
import pathlib
import sys

import onnx
import torch
from torch import nn

D, ROWS, SIGMA = 8, 3, 0.5
folder = pathlib.Path(sys.argv[1])
torch.manual_seed(0)


def shaken(model):
    """Statistics of batch normalisation as after training, and no parameter at its default."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
        if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.3)
    return model.eval()


class Dcgan(nn.Module):
    """28 x 28 grey images in [0, 1], from latents that become images of one position."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.ConvTranspose2d(D, 8, 7, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.ConvTranspose2d(8, 4, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(4, 1, 4, 2, 1), nn.Sigmoid())

    def forward(self, z):
        return self.net(z.view(z.size(0), z.size(1), 1, 1))


class Upsampling(nn.Module):
    """16 x 16 colour images, without transposed convolutions."""

    def __init__(self):
        super().__init__()
        self.project = nn.Linear(D, 6 * 2 * 2)
        self.net = nn.Sequential(
            nn.BatchNorm2d(6), nn.ELU(), nn.Upsample(scale_factor=2),
            nn.Conv2d(6, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.SiLU(), nn.PixelShuffle(2),
            nn.Conv2d(2, 4, 3, padding=1), nn.InstanceNorm2d(4, affine=True), nn.GELU(),
            nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(4, 3, 3, padding=1), nn.Tanh())

    def forward(self, z):
        return self.net(self.project(z).reshape(-1, 6, 2, 2))


class Activations(nn.Module):
    """2 x 11 grey images: every row of a layer goes through an activation of its own."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(D, 22)
        self.functions = nn.ModuleList([
            nn.CELU(0.7), nn.ELU(1.3), nn.GELU("tanh"), nn.Hardsigmoid(), nn.Hardswish(), nn.Mish(),
            nn.PReLU(), nn.ReLU6(), nn.SELU(), nn.Softplus(), nn.Softsign()])
        self.norm = nn.LayerNorm(2)

    def forward(self, z):
        parts = self.layer(z).split(2, dim=-1)
        parts = [f(part) for f, part in zip(self.functions, parts)]
        return self.norm(torch.stack(parts, 1)).transpose(1, 2).unsqueeze(1).contiguous()


class Attending(nn.Module):
    """16 x 16 grey images: patches that look at each other, on top of a constant that is learned."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(D, 16 * 8)
        self.positions = nn.Parameter(torch.randn(1, 16, 8))
        self.constant = nn.Parameter(torch.randn(1, 4, 4, 4))
        self.before, self.after = nn.LayerNorm(8), nn.LayerNorm(8, bias=False)
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
        self.mix = nn.Sequential(
            nn.Conv2d(12, 8, 3, padding="same", padding_mode="reflect"), nn.GroupNorm(4, 8), nn.GELU(),
            nn.Upsample(scale_factor=2, mode="bicubic"), nn.ReflectionPad2d(1), nn.Conv2d(8, 4, 3),
            nn.PixelShuffle(2), nn.AvgPool2d(3, 1, 1), nn.Softsign())

    def forward(self, z):
        rows = z.shape[0]
        tokens = self.embed(z).view(rows, 16, 8) + torch.sin(self.positions)
        q, k, v = self.qkv(self.before(tokens)).view(rows, 16, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        seen = nn.functional.scaled_dot_product_attention(q, k, v)
        tokens = tokens + self.out(seen.transpose(1, 2).reshape(rows, 16, 8))
        shares = torch.log_softmax(self.after(tokens), dim=-1)
        maps = shares.transpose(1, 2).reshape(rows, 8, 4, 4)
        return self.mix(torch.cat([maps, self.constant.expand(rows, -1, -1, -1)], dim=1))


class Step(nn.Module):
    """Actnorm, an invertible matrix and an affine coupling, as in Glow."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(0.3 * torch.randn(D))
        self.log_scale = nn.Parameter(0.2 * torch.randn(D))
        matrix = torch.linalg.qr(torch.randn(D, D))[0] * 1.1
        self.register_buffer("matrix", matrix)
        self.register_buffer("inverse", matrix.inverse())
        # Determinants are no ONNX operators: what does not depend on z is computed before.
        self.register_buffer("log_det", torch.linalg.slogdet(matrix)[1])
        self.net = nn.Sequential(nn.Linear(D // 2, 12), nn.ReLU(), nn.Linear(12, D))

    def coupling(self, kept):
        shift, raw = self.net(kept).chunk(2, dim=1)
        return shift, torch.tanh(raw)

    def forward(self, z):
        y = (z + self.bias) * self.log_scale.exp() @ self.matrix
        kept, changed = y.chunk(2, dim=1)
        shift, log_s = self.coupling(kept)
        out = torch.cat([kept, (changed + shift) * torch.exp(log_s)], dim=1)
        return out, log_s.sum(dim=-1) + self.log_scale.sum() + self.log_det

    def invert(self, out):
        kept, changed = out[:, : D // 2], out[:, D // 2 :]
        shift, log_s = self.coupling(kept)
        y = torch.cat([kept, changed / torch.exp(log_s) - shift], dim=1)
        return y @ self.inverse * torch.exp(-self.log_scale) - self.bias


class Glow(nn.Module):
    """Steps with permutations between them, one of them a reversal."""

    def __init__(self):
        super().__init__()
        self.steps = nn.ModuleList([Step() for _ in range(3)])
        self.register_buffer("order", torch.randperm(D))

    def forward(self, z):
        total = torch.zeros(z.shape[0])
        for index, step in enumerate(self.steps):
            z, log_det = step(z)
            total = total + log_det
            z = z.flip(1) if index == 1 else z[:, self.order]
        log_normal = -0.5 * (z**2).sum(1) - 0.5 * z.shape[1] * math.log(2 * math.pi)
        return z, log_normal + total


class GlowInverse(nn.Module):
    def __init__(self, glow):
        super().__init__()
        self.glow = glow
        self.register_buffer("back", glow.order.argsort())

    def forward(self, z):
        for index, step in reversed(list(enumerate(self.glow.steps))):
            z = step.invert(z.flip(1) if index == 1 else z[:, self.back])
        return z


class LogDetAlone(nn.Module):
    """A mistake: the log-determinant in place of the log-density."""

    def __init__(self, glow):
        super().__init__()
        self.glow = glow

    def forward(self, z):
        z0, log_prob = self.glow(z)
        return z0, log_prob + 0.5 * (z0**2).sum(1) + 0.5 * D * math.log(2 * math.pi)


class Cumulative(nn.Module):
    """An operator that nobody has a rule for."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(D, 9)

    def forward(self, z):
        return self.layer(z).cumsum(1).view(-1, 1, 3, 3)


def export(name, model, exporters=("torchscript", "dynamo"), opset=None):
    z = torch.randn(ROWS, D)
    for exporter in exporters:
        path = folder / f"{name}.{exporter}.onnx"
        if exporter == "dynamo":
            options = {"dynamic_shapes": ({0: torch.export.Dim("batch")},), "verbose": False}
        else:
            options = {"dynamic_axes": {"latent": {0: "batch"}}}
        torch.onnx.export(
            model, (z,), path, input_names=["latent"], dynamo=exporter == "dynamo", opset_version=opset,
            **options)
        strip(path)


def strip(path):
    """Leaves out where in which file a node came from: most of a small model's size."""
    model = onnx.load(path, load_external_data=False)
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for value in [*model.graph.value_info, *model.graph.input, *model.graph.output]:
        value.ClearField("metadata_props")
    onnx.save(model, path)


glow = shaken(Glow())
generators = {
    "dcgan": shaken(Dcgan()),
    "upsampling": shaken(Upsampling()),
    "activations": shaken(Activations()),
}
for name, model in {**generators, "glow": glow, "inverse": GlowInverse(glow)}.items():
    export(name, model)
export("log_det_alone", LogDetAlone(glow), ["torchscript"])
export("cumulative", Cumulative(), ["torchscript"])

expected = {"sigma": SIGMA, "latent_dim": D}


def record(name, generator):
    """What PyTorch makes of the generator with the flow."""
    z = torch.randn(ROWS, D, requires_grad=True)
    with torch.no_grad():
        made = generator(z)
    x = made + 0.3 * torch.randn_like(made)
    mask = torch.randint(0, 2, (ROWS, 1, *made.shape[2:])).float()
    log_prior = glow(z)[1]
    image = generator(z)
    visible = mask.sum((1, 2, 3)) * image.shape[1]
    error = (mask * (x - image)).square().sum((1, 2, 3))
    log_likelihood = -error / (2 * SIGMA**2) - visible * math.log(SIGMA * math.sqrt(2 * math.pi))
    slope = torch.autograd.grad((log_prior + log_likelihood).sum(), z)[0]
    values = {
        "z": z, "x": x, "mask": mask, "slope": slope, "log_prior": log_prior,
        "log_likelihood": log_likelihood, "image": image,
    }
    expected[name] = {
        "shape": list(image.shape),
        **{key: [float(f"{v:.6g}") for v in value.flatten().tolist()] for key, value in values.items()},
    }


for name, generator in generators.items():
    record(name, generator)
# After the others, whose random numbers it leaves as they are.
attending = shaken(Attending())
export("attending", attending, ["torchscript"], 20)
export("attending", attending, ["dynamo"], 23)
record("attending", attending)
(folder / "expected.json").write_text(json.dumps(expected))
