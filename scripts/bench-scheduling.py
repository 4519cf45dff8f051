#!/usr/bin/env python3
"""What the scheduler does under load: goodput and latency from half to three times the capacity,
and step-level against request-level batching in turns. Prints Markdown tables; takes minutes.

    make server
    scripts/bench-scheduling.py            # some ten minutes, on a machine with nothing else to do

Loads are open loops (Poisson arrivals, latency from the intended send time). A load is compared with
the capacity right before and after it, in several rounds, since speeds drift.
"""
import argparse
import contextlib
import json
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = ROOT / "target" / "release"
MODES = {"step": ["--batching=step"], "request": ["--batching=request"]}


@contextlib.contextmanager
def server(bundle, flags):
    with tempfile.TemporaryDirectory() as scratch:
        ready = pathlib.Path(scratch) / "ready"
        free = "127.0.0.1:0"
        command = [BIN / "lfbm-server", "--bundle", bundle, "--grpc-address", free,
                   "--http-address", free, "--ready-file", ready, "--log", "warn", *flags]
        process = subprocess.Popen(command)
        try:
            while not ready.exists():
                if process.poll() is not None:
                    raise SystemExit("the server did not start")
                time.sleep(0.05)
            lines = dict(line.split("=") for line in ready.read_text().split())
            yield "http://" + lines["grpc"]
        finally:
            process.terminate()
            process.wait()


def bench(url, *flags):
    command = [BIN / "lfbm", "--server", url, "bench", "--json", *map(str, flags)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def capacity(url, args):
    """Of a server that refuses nothing; as many requests wait as run, so that no row is idle."""
    flags = ["--concurrency", 2 * args.batch, "--warmup-s", 1, "--duration-s", args.capacity_s]
    return bench(url, *flags)["goodput_per_s"]


def load(url, rate, args, *flags):
    return bench(url, "--rate", f"{rate:.3f}", "--warmup-s", args.warmup_s,
                 "--duration-s", args.duration_s, *flags)


def ms(answers, quantile):
    """The median over rounds of a quantile within a round."""
    seconds = [a["latency_s"][quantile] for a in answers if a is not None]
    return f"{1e3 * statistics.median(seconds):.0f}" if seconds else "-"


def answered(results, code, priority="interactive"):
    """What got that code, round by round."""
    return [next((a for a in result["answers"] if (a["priority"], a["code"]) == (priority, code)),
                 None) for result in results]


def per_s(answers):
    return statistics.mean(0.0 if a is None else a["per_s"] for a in answers)


def print_row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def overload(bundle, args, title, server_flags, load_flags):
    print(f"\n{title}\n")
    print_row("load", "capacity/s", "goodput/s", "of capacity", "refused/s", "late/s", "p50 ms",
              "p99 ms", "refusal p99 ms")
    print_row(*["---"] * 9)
    step = [*MODES["step"], f"--max-batch-chains={args.batch}"]
    with server(bundle, [*step, "--max-queue-ms=600000"]) as patient, \
            server(bundle, [*step, *server_flags]) as url:
        for share in (0.5, 0.9, 1.5, 3.0):
            capacities, results = [capacity(patient, args)], []
            for _ in range(args.rounds):
                results.append(load(url, share * capacities[-1], args, *load_flags))
                capacities.append(capacity(patient, args))
            most = statistics.mean(capacities)
            goodput = statistics.mean(result["goodput_per_s"] for result in results)
            ok, refused = answered(results, "OK"), answered(results, "RESOURCE_EXHAUSTED")
            print_row(share, f"{most:.0f}", f"{goodput:.0f}", f"{100 * goodput / most:.0f} %",
                      f"{per_s(refused):.0f}",
                      f"{per_s(answered(results, 'DEADLINE_EXCEEDED')):.1f}",
                      ms(ok, "p50"), ms(ok, "p99"), ms(refused, "p99"))


def batchers(bundle, args):
    print("\nStep-level and request-level batching, in turns:\n")
    print_row("load", "batching", "capacity/s", "goodput/s", "p50 ms", "p99 ms", "p50 by round")
    print_row(*["---"] * 7)
    with contextlib.ExitStack() as stack:
        urls = {mode: stack.enter_context(
                    server(bundle, [*flags, f"--max-batch-chains={args.batch}"]))
                for mode, flags in MODES.items()}
        for share in (0.5, 0.9):
            capacities, results = [], {mode: [] for mode in urls}
            for turn in range(args.rounds):
                # The same load for both: a share of what step-level batching can do.
                capacities.append(capacity(urls["step"], args))
                for mode in sorted(urls, reverse=turn % 2 == 0):
                    rate = share * capacities[-1]
                    results[mode].append(load(urls[mode], rate, args, "--load-seed", turn))
            for mode, rounds in results.items():
                ok = answered(rounds, "OK")
                goodput = statistics.mean(result["goodput_per_s"] for result in rounds)
                print_row(share, mode, f"{statistics.mean(capacities):.0f}", f"{goodput:.0f}",
                          ms(ok, "p50"), ms(ok, "p99"), ", ".join(ms([a], "p50") for a in ok))


def classes(bundle, args):
    print("\nInteractive requests at 0.3 of the capacity, bulk beside them at 2 times:\n")
    print_row("bulk", "interactive/s", "p50 ms", "p99 ms", "bulk/s")
    print_row(*["---"] * 5)
    with server(bundle, [*MODES["step"], f"--max-batch-chains={args.batch}"]) as url:
        most = capacity(url, args)
        for bulk in (0.0, 2.0):
            share = bulk / (bulk + 0.3)
            results = [load(url, (bulk + 0.3) * most, args, "--bulk-share", share)]
            ok = answered(results, "OK")
            print_row(bulk, f"{per_s(ok):.0f}", ms(ok, "p50"), ms(ok, "p99"),
                      f"{per_s(answered(results, 'OK', 'bulk')):.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--bundle", type=pathlib.Path, default=ROOT / "models" / "mnist-not4")
    parser.add_argument("--steps", type=int, default=400,
                        help="the model's default K, so that requests weigh more than transport")
    parser.add_argument("--batch", type=int, default=64, help="--max-batch-chains of the server")
    parser.add_argument("--duration-s", type=float, default=10.0)
    parser.add_argument("--warmup-s", type=float, default=5.0)
    parser.add_argument("--capacity-s", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bundle = pathlib.Path(scratch) / "bundle"
        shutil.copytree(args.bundle, bundle)
        manifest = json.loads((bundle / "manifest.json").read_text())
        manifest["langevin"]["steps"] = args.steps
        (bundle / "manifest.json").write_text(json.dumps(manifest))
        overload(bundle, args, "Interactive requests that may wait for a second:",
                 ["--max-queue-ms=1000"], ["--timeout-s", 30])
        overload(bundle, args, "Interactive requests with a deadline of two seconds:",
                 [], ["--timeout-s", 2])
        batchers(bundle, args)
        classes(bundle, args)


main()
