#!/usr/bin/env python3
"""What scripts/gpu_check/ makes of programs that end in any way, and its page. `make gpu-check` runs the whole."""

import contextlib
import importlib
import io
import json
import os
import pathlib
import sys
import tempfile
import time
import unittest
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).parent / "gpu_check"))

import fit
import machine
import server
from page import page
from processes import Outcome, json_rows, stream


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


class Programs(unittest.TestCase):
    def outcome(self, program: str, limit_s: float = 60) -> Outcome:
        outcome = Outcome()
        with contextlib.redirect_stdout(io.StringIO()):
            json_rows("it", python(program), dict(os.environ), time.monotonic() + limit_s, outcome, lambda row: row)
        return outcome

    def test_rows_that_passed_pass(self):
        outcome = self.outcome("""print('{"passed": true}')""")
        self.assertTrue(outcome.passed())
        self.assertEqual(outcome.rows, [{"passed": True}])

    def test_no_rows_do_not_pass(self):
        self.assertFalse(self.outcome("").passed())

    def test_a_row_that_has_not_passed_speaks_for_itself(self):
        outcome = self.outcome("""print('{"passed": false}'); raise SystemExit(1)""")
        self.assertFalse(outcome.passed())
        self.assertIsNone(outcome.error)

    def test_code_1_without_such_a_row_is_an_error(self):
        outcome = self.outcome("""print('{"passed": true}'); raise SystemExit("no such device")""")
        self.assertFalse(outcome.passed())
        self.assertIn("ended with code 1: no such device", outcome.error)

    def test_what_a_program_said_before_it_crashed_is_kept(self):
        outcome = self.outcome("""import os, sys
print('{"passed": true, "rows": 1}', flush=True)
print("about to", file=sys.stderr, flush=True)
os.abort()""")
        self.assertEqual(outcome.rows, [{"passed": True, "rows": 1}])
        self.assertFalse(outcome.passed())
        self.assertIn("ended by SIGABRT: about to", outcome.error)

    def test_a_program_that_does_not_end_is_ended_with_what_it_started(self):
        started = time.monotonic()
        outcome = self.outcome(
            """import subprocess, sys, time
print('{"passed": true}', flush=True)
subprocess.run([sys.executable, "-c", "import time; time.sleep(600)"])""",
            limit_s=2,
        )
        self.assertLess(time.monotonic() - started, 60)
        self.assertEqual(outcome.rows, [{"passed": True}])
        self.assertIn("did not end in time", outcome.error)

    def test_what_is_no_json_and_what_is_missing_are_errors(self):
        self.assertIn("no JSON: hello", self.outcome("print('hello')").error)
        ended = stream(["/no/such/program"], {}, time.monotonic() + 60, print)
        self.assertIn("No such file", ended.problem())


class Libraries(unittest.TestCase):
    def test_they_are_found_in_the_packages_of_this_python(self):
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(sys, "path", [folder]):
            root = pathlib.Path(folder)
            importlib.invalidate_caches()
            self.assertEqual((machine.cuda_libraries(), machine.torch_libraries()), ([], []))
            self.assertFalse(machine.has_torch())
            for name in (
                "nvidia/cu13/lib/libcudart.so.13",
                "nvidia/cudnn/lib/libcudnn.so.9",
                "nvidia/cu13/include/cuda.h",
                "torch/__init__.py",
                "torch/lib/libtorch_cpu.so",
            ):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).touch()
            importlib.invalidate_caches()
            self.assertTrue(machine.has_torch())
            cuda, torch = machine.cuda_libraries(), machine.torch_libraries()
            self.assertEqual(cuda, [root / "nvidia/cu13/lib", root / "nvidia/cudnn/lib"])
            self.assertEqual(torch, [root / "torch/lib"])
            with mock.patch.dict(os.environ, {"LD_LIBRARY_PATH": "/before"}):
                path = machine.environment([*cuda, *torch])["LD_LIBRARY_PATH"]
            self.assertEqual(path, f"{root}/nvidia/cu13/lib:{root}/nvidia/cudnn/lib:{root}/torch/lib:/before")

    def test_without_any_the_path_stays(self):
        with mock.patch.dict(os.environ):
            os.environ.pop("LD_LIBRARY_PATH", None)
            self.assertNotIn("LD_LIBRARY_PATH", machine.environment([]))


LINES = """fitting 480 images of 0, 1, 2 on the CPU; 20 kept out for calibration, 100 for evaluation
iteration 1/4  error 400.00 (gradient 12.50)  flow 20.00 (gradient 1.25)  123 images/s  5 s left
iteration 2/4  error 300.00 (gradient 12.50)  flow -19.00 (gradient 1.25)  130 images/s  3 s left
iteration 3/4  error 200.00 (gradient 12.50)  flow 18.00 (gradient 1.25)  131 images/s  1 s left
iteration 4/4  error 100.00 (gradient 12.50)  flow 17.00 (gradient 1.25)  132 images/s  0 s left
""".splitlines()


class Fits(unittest.TestCase):
    def fitted(self, lines=LINES) -> fit.Fit:
        fitted = fit.Fit()
        for line in lines:
            fitted.line(line)
        return fitted

    def test_losses_are_read_from_the_log(self):
        fitted = self.fitted()
        self.assertEqual(fitted.losses[1], {"error": 300.0, "flow": -19.0})
        self.assertEqual(fitted.late_error(), 150.0)
        fitted.times = [0.0, 10.0, 11.0, 13.0]
        self.assertEqual(fitted.images_per_s(), fit.BATCH_SIZE / 2)

    def test_late_errors_that_differ_do_not_pass(self):
        expected = self.fitted()
        self.assertTrue(fit.beside("mlp", self.fitted(), expected)["passed"])
        for line in (LINES[4].replace("100.00", "900.00"), LINES[4].replace("17.00", "NaN")):
            self.assertFalse(fit.beside("mlp", self.fitted([*LINES[:4], line]), expected)["passed"], line)
        self.assertFalse(fit.beside("mlp", self.fitted(LINES[:4]), expected)["passed"])


class Scores(unittest.TestCase):
    EXPECTED = {name: {"log_joint": -100.0, "verdict": "normal"} for name in "abc"}

    def test_the_median_and_the_verdicts_decide(self):
        # A chain that ends elsewhere.
        got = {**self.EXPECTED, "a": {"log_joint": -90.0, "verdict": "normal"}}
        row = server.comparison(got, self.EXPECTED)
        self.assertTrue(row["passed"])
        self.assertEqual((row["median_difference_nats"], row["largest_difference_nats"]), (0.0, 10.0))
        for got in (
            {**self.EXPECTED, "a": {"log_joint": -100.0, "verdict": "anomalous"}},
            {name: {"log_joint": -99.0, "verdict": "normal"} for name in "abc"},
            {name: self.EXPECTED[name] for name in "ab"},
            {},
        ):
            self.assertFalse(server.comparison(got, self.EXPECTED)["passed"], got)
        self.assertFalse(server.comparison({}, {})["passed"])


def part(name: str, rows: list[dict], **fields) -> dict:
    """A part of a document that passed."""
    return {
        "name": name,
        "title": f"The part {name}",
        "passed": True,
        "skipped": None,
        "error": None,
        "seconds": 1.5,
        "limit_s": 60.0,
        "rows": rows,
    } | fields


DIFFERENCES = {"z": 1e-6, "log_prior_nats": 2e-6, "log_likelihood_nats": 3e-5, "score_nats": None}


class Page(unittest.TestCase):
    def page(self, *parts: dict) -> str:
        document = {
            "schema_version": 1,
            "device": "cuda",
            "quick": False,
            "passed": all(part["passed"] for part in parts),
            "seconds": 300.0,
            "parts": list(parts),
            "machine": {"gpu": "A GPU", "package_versions": {"torch": "2.11.0", "triton": None}},
        }
        return page(json.loads(json.dumps(document)))

    def test_the_machine_and_every_part_are_named(self):
        text = self.page(
            part(
                "session",
                [
                    {
                        "device": "cuda:0",
                        "onnxruntime_version": "1.30.0",
                        "open_s": 0.5,
                        "first_step_s": 0.25,
                        "passed": True,
                    }
                ],
            ),
            part("peer", [], skipped="PyTorch is not here: no peer"),
        )
        self.assertIn("| gpu | A GPU |", text)
        self.assertIn("| package versions | torch 2.11.0 |", text)
        self.assertIn("All parts passed, in 300 s.", text)
        self.assertIn("| cuda:0 | 1.30.0 | 0.5 | 0.25 | yes |", text)
        self.assertIn("| The part peer | skipped | 1.5 | 60 | PyTorch is not here: no peer |", text)

    def test_what_failed_is_shown_with_its_error(self):
        compared = {
            "model": "mlp",
            "rows": 64,
            "preprocess": 0.0,
            "generator": 1e-6,
            "start": 0.0,
            "bound_nats": 0.01,
            "one_step": DIFFERENCES,
            "all_steps": DIFFERENCES,
            "passed": False,
        }
        failed = {"model": "cloth", "error": "posterior failed:\nno | kernel", "passed": False}
        text = self.page(part("compare", [compared, failed], passed=False, error="it ended by SIGSEGV"))
        self.assertIn("**Not all parts passed**", text)
        self.assertIn("| mlp | 64 | 0 | 1e-06 | 0 | 1e-06 | 2e-06 | 3e-05 | not finite |", text)
        self.assertIn("* cloth: posterior failed: no \\| kernel", text)
        self.assertIn("Error: it ended by SIGSEGV", text)

    def test_times_stand_beside_products_and_pytorch(self):
        def timed(graphs: bool, step_s: float) -> dict:
            return {
                "model": "mlp",
                "rows": 64,
                "cuda_graphs": graphs,
                "step_s": step_s,
                "gflop_per_s": 0.1 / step_s,
                "passed": True,
            }

        peer = {"model": "mlp", "rows": 64, "passed": True}
        text = self.page(
            part("times", [timed(False, 2e-3), timed(True, 1e-3)]),
            part(
                "roof",
                [{**peer, "variant": "eager", "gflop_per_s": 80.0}, {**peer, "variant": "graph", "gflop_per_s": 200.0}],
            ),
            part(
                "peer",
                [{**peer, "variant": "eager", "step_s": 4e-3}, {**peer, "variant": "compile", "error": "no compiler"}],
            ),
        )
        self.assertIn("| mlp | 64 | 2 | 1 | 100 | 200 | 50 % | 4 | 4 |", text)
        self.assertIn("* mlp, compile, 64: no compiler", text)
        # Without PyTorch, and where a measurement is missing.
        text = self.page(part("times", [timed(True, 1e-3)]))
        self.assertIn("| mlp | 64 | - | 1 | 100 | - | - | - |", text)

    def test_other_tables(self):
        text = self.page(
            part(
                "graphs",
                [
                    {
                        "model": "mlp",
                        "rows": 1,
                        "one_step": DIFFERENCES,
                        "bound_nats": 0.0,
                        "equal_bits": True,
                        "passed": True,
                    }
                ],
            ),
            part(
                "server",
                [
                    {
                        "model": "mnist-not4",
                        "flags": "",
                        "load": "64 connections",
                        "scores_per_s": 1234.5,
                        "p50_s": 0.05,
                        "p99_s": 0.1,
                        "passed": True,
                    }
                ],
            ),
            part("fit", [fit.beside("mlp", Fits().fitted(), Fits().fitted())]),
            part(
                "precisions",
                [
                    {
                        "model": "mlp",
                        "rows": 8,
                        "precision": "tensorrt",
                        "not_available": "no such library",
                        "one_step": None,
                        "step_s": None,
                        "exact_step_s": None,
                        "passed": True,
                    }
                ],
            ),
        )
        self.assertIn("| mlp | 1 | 1e-06 | 2e-06 | 3e-05 | not finite | 0 | yes | yes |", text)
        self.assertIn("| mnist-not4 | as it is | 64 connections | 1,234 | 50 | 100 | - |", text)
        self.assertIn("| 2 | 300.0 | 300.0 | -19.0 | -19.0 |", text)
        self.assertIn("| mlp | tensorrt | 8 | - | - | - | - | no such library | yes |", text)


if __name__ == "__main__":
    unittest.main()
