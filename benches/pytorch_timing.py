"""What peer_pytorch.py and roof_pytorch.py share: flags, timing, and how results are printed. Needs torch."""

import argparse
import json
import statistics
import sys
import time

import torch

WARM_UPS = 2
VARIANTS = ["eager", "compile", "cuda-graph"]


def arguments(description: str, variants: list[str]) -> argparse.ArgumentParser:
    """The flags of both; `variants` are those that run unless others are named."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generator", choices=["mlp", "mnist"])
    parser.add_argument("--rows", type=row_counts, default=[64], help="images at a time; several with commas")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"), help="cpu or cuda[:N]")
    parser.add_argument("--threads", type=int, default=2, help="of the CPU")
    parser.add_argument("--tf32", action="store_true", help="let a GPU round factors to TF32")
    parser.add_argument(
        "--variants",
        type=named_variants,
        default=variants,
        help=f"of {', '.join(VARIANTS)}, with commas; otherwise {', '.join(variants)}",
    )
    parser.add_argument("--rounds", type=int, default=15, help="measurements, of which the median is told")
    parser.add_argument("--json", action="store_true", help="a JSON object a line")
    return parser


def row_counts(text: str) -> list[int]:
    counts = [int(count) for count in text.split(",")]
    if min(counts) < 1:
        raise argparse.ArgumentTypeError("expected numbers of at least 1")
    return counts


def named_variants(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(VARIANTS):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: expected {', '.join(VARIANTS)}")
    return names


def prepare(args: argparse.Namespace):
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    # Convolutions would use TF32 unasked, and products would not.
    torch.backends.cuda.matmul.allow_tf32 = args.tf32
    torch.backends.cudnn.allow_tf32 = args.tf32
    if args.device.type == "cuda":
        try:
            torch.cuda.set_device(args.device.index or 0)
        except RuntimeError as error:
            sys.exit(f"the device {args.device} cannot be had: {error}")


def captured(function):
    """A replay of `function`, which reads and writes tensors that stay where they are, from a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay


def seconds(function, args: argparse.Namespace) -> float:
    """The median time of `function`, with what it started on a GPU."""

    def run():
        function()
        if args.device.type == "cuda":
            torch.cuda.synchronize()

    for _ in range(WARM_UPS):
        run()
    times = []
    for _ in range(args.rounds):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def measure(args: argparse.Namespace, of_variant, describe):
    """Prints a result for each variant and number of rows.

    `of_variant(variant, rows)` returns what is timed, `describe(rows, seconds)` the result's fields. A variant
    that this machine does not have is a result, too.
    """
    for variant in args.variants:
        for rows in args.rows:
            result = {"model": args.generator, "rows": rows, "variant": variant}
            try:
                if variant == "cuda-graph" and args.device.type != "cuda":
                    raise RuntimeError(f"{args.device} has no CUDA graphs")
                result |= describe(rows, seconds(of_variant(variant, rows), args))
            except Exception as error:  # Of a compiler or of a driver: any kind.
                result["error"] = " ".join(str(error).split())[:500] or type(error).__name__
            if args.json:
                print(json.dumps(result), flush=True)
            else:
                values = [
                    f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
                    for name, value in result.items()
                ]
                print(", ".join(values), flush=True)
