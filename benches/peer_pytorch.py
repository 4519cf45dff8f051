#!/usr/bin/env python3
"""What one would write in PyTorch instead of running the server: images per second of short-run
Langevin inference on a model of the same shape as in benches/score.rs. Needs torch.

    benches/peer_pytorch.py mlp --rows 64
    cargo bench --bench score -- mlp/f32       # in turns with it
    benches/peer_pytorch.py mlp --rows 64 --bfloat16
    cargo bench --bench score -- mlp/bf16
    benches/peer_pytorch.py mlp --rows 1,64,1024 --device cuda --variants eager,cuda-graph --json
"""

import torch
from torch import nn

from pytorch_timing import arguments, captured, measure, prepare

PIXELS, LATENT, WIDTH, STEPS, HIDDEN = 784, 16, 16, 5, 64
SIGMA, STEP_SIZE = 0.3, 0.1


def make_generator(name):
    slope = 0.2
    if name == "mlp":
        sizes = [LATENT, 256, 512, PIXELS]
        layers = [nn.Linear(a, b) for a, b in zip(sizes, sizes[1:])]
        head = []
    else:
        n = WIDTH
        shapes = [(LATENT, 8 * n, 7, 1, 0), (8 * n, 4 * n, 4, 2, 1), (4 * n, 2 * n, 4, 2, 1), (2 * n, 1, 3, 1, 1)]
        layers = [nn.ConvTranspose2d(i, o, k, s, p) for i, o, k, s, p in shapes]
        head = [nn.Unflatten(1, (LATENT, 1, 1))]
    body = [part for layer in layers[:-1] for part in (layer, nn.LeakyReLU(slope))]
    return nn.Sequential(*head, *body, layers[-1], nn.Tanh(), nn.Flatten())


class Flow(nn.Module):
    """Glow steps on vectors: actnorm, a linear map, an affine coupling."""

    def __init__(self):
        super().__init__()
        half = LATENT // 2
        self.shift = nn.Parameter(torch.zeros(STEPS, LATENT))
        self.log_scale = nn.Parameter(torch.zeros(STEPS, LATENT))
        self.rotation = nn.Parameter(
            torch.stack([torch.linalg.qr(torch.randn(LATENT, LATENT)).Q for _ in range(STEPS)])
        )
        self.coupling = nn.ModuleList(
            nn.Sequential(
                nn.Linear(half, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, LATENT)
            )
            for _ in range(STEPS)
        )

    def forward(self, z):
        log_det = self.log_scale.sum()
        for step, network in enumerate(self.coupling):
            z = (z + self.shift[step]) * self.log_scale[step].exp() @ self.rotation[step]
            fixed, moved = z.chunk(2, 1)
            shift, log_scale = network(fixed).chunk(2, 1)
            log_scale = log_scale.tanh()
            z = torch.cat([fixed, (moved + shift) * log_scale.exp()], 1)
            log_det = log_det + log_scale.sum(1)
        return -0.5 * z.square().sum(1) + log_det


def main():
    parser = arguments(__doc__, ["eager", "compile"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--bfloat16", action="store_true", help="the generator's products in bfloat16")
    args = parser.parse_args()
    prepare(args)
    generator, flow = make_generator(args.generator).to(args.device), Flow().to(args.device)
    for parameter in [*generator.parameters(), *flow.parameters()]:
        parameter.requires_grad_(False)

    def generate(z):
        with torch.autocast(args.device.type, torch.bfloat16, enabled=args.bfloat16):
            return generator(z)

    def inference(variant, rows):
        x = torch.rand(rows, PIXELS, device=args.device) * 2 - 1
        z = torch.empty(rows, LATENT, device=args.device)
        score = torch.empty(rows, device=args.device)

        def log_joint(z):
            return flow(z) - (x - generate(z)).square().sum(1) / (2 * SIGMA**2)

        if variant == "compile":
            log_joint = torch.compile(log_joint)

        def step():
            before = z.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(log_joint(before).sum(), before)
            z.add_(STEP_SIZE**2 / 2 * gradient + STEP_SIZE * torch.randn_like(z))

        def end():
            score.copy_(log_joint(z))

        if variant == "cuda-graph":
            z.normal_()
            step, end = captured(step), captured(end)

        def infer():
            z.normal_()
            for _ in range(args.steps):
                step()
            end()

        return infer

    measure(
        args,
        inference,
        lambda rows, seconds: {"steps": args.steps, "images_per_s": rows / seconds, "step_s": seconds / args.steps},
    )


if __name__ == "__main__":
    main()
