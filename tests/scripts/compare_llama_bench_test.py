"""Tests of scripts/compare_llama_bench.py with programs that only pretend to measure."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import textwrap
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "compare_llama_bench.py"

# Notes each call in a file, and answers with speeds that depend on the test and the run.
PRELUDE = """
import json, pathlib, sys
log = pathlib.Path(__file__).parent / "log"
args = sys.argv[1:]
def value(flag): return args[args.index(flag) + 1] if flag in args else "0"
def ints(flag): return [int(n) for n in value(flag).split(",")]
def call(name):
    with log.open("a") as file: file.write(json.dumps([name] + args) + "\\n")
    return sum(line.startswith('["' + name) for line in log.read_text().splitlines())
"""
TANDEM = PRELUDE + """
if value("--threads") == "3": sys.exit("no threads today")
run = call("tandem")
for depth in ints("-d"):
    for p, n in [(p, 0) for p in ints("-p")] + [(0, n) for n in ints("-n")]:
        print(json.dumps({"test": "x", "n_prompt": p, "n_gen": n, "depth": depth, "threads":
            int(value("--threads")), "tokens_per_second": 200.0 if p else 20.0 * run}))
"""
NEW_PEER = PRELUDE + """
if "--help" in args:
    print("  -p, --n-prompt <n>\\n  -d, --n-depth <n>")
    sys.exit()
run = call("peer")
rows = []
for depth in ints("-d"):
    for p, n in [(p, 0) for p in ints("-p")] + [(0, n) for n in ints("-n")]:
        speed = (100.0 if p else 10.0 * run) / (1 + depth / 1000)
        rows.append({"n_prompt": p, "n_gen": n, "n_depth": depth, "n_threads": int(value("-t")),
                     "avg_ts": 1e9, "samples_ts": [speed, 1e6, speed - 1, speed + 1, speed]})
print(json.dumps(rows, indent=2))
"""
# An older kind: help with exit code 1, noise before the JSON, generation after a prompt.
OLD_PEER = PRELUDE + """
if "--help" in args:
    print("  -p, --n-prompt <n>\\n  -gp <pp,tg>", file=sys.stderr)
    sys.exit(1)
call("peer")
rows = [{"n_prompt": p, "n_gen": 0, "test": f"pp{p}"} for p in ints("-p") if p]
rows += [{"n_prompt": 0, "n_gen": n, "test": f"tg{n}"} for n in ints("-n") if n]
for i, flag in enumerate(args):
    if flag == "-gp":
        p, n = args[i + 1].split(",")
        rows.append({"n_prompt": int(p), "n_gen": int(n), "test": f"tg{n}@pp{p}"})
for row in rows: row.update(n_threads=int(value("-t")), avg_ts=50.0)
print("=== loaded [1 of 1]\\n" + json.dumps(rows, indent=2))
"""
PACKAGE = """
import time
class Llama:
    def __init__(self, model_path, n_ctx, n_threads, **_):
        self.tokens, self.most = 0, n_ctx
    def n_vocab(self): return 100
    def reset(self): self.tokens = 0
    def eval(self, tokens):
        self.tokens += len(tokens)
        assert self.tokens <= self.most
        time.sleep(0.001)
"""


class CompareTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.model = self.folder / "model.gguf"
        self.model.write_bytes(b"GGUF")
        self.tandem = self.program("tandem", TANDEM)

    def program(self, name: str, code: str) -> str:
        path = self.folder / name
        path.write_text(f"#!{sys.executable}\n{textwrap.dedent(code)}")
        path.chmod(0o755)
        return str(path)

    def compare(self, *flags, code=0, environment=None) -> str:
        command = [sys.executable, str(SCRIPT), str(self.model), "--tandem", self.tandem, *flags]
        done = subprocess.run(command, capture_output=True, text=True, check=False,
                              env={**os.environ, **(environment or {})})
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        return done.stdout if code == 0 else done.stderr

    def rows(self, output: str) -> dict:
        """The numbers of each line of the table by the name of the test."""
        return {line.split()[0]: line.split()[1:] for line in output.splitlines()[2:]}

    def calls(self) -> list:
        return [json.loads(line) for line in (self.folder / "log").read_text().splitlines()]

    def test_compares_medians_of_runs_in_turn(self):
        peer = self.program("peer", NEW_PEER)
        output = self.compare("--llama-bench", peer, "-t", "2", "-p", "64", "-n", "8",
                              "--rounds", "3")
        # Generations were 10, 20, 30 and 20, 40, 60 in the three runs.
        self.assertEqual(self.rows(output), {"pp64": ["100.00", "200.00", "2.000"],
                                             "tg8": ["20.00", "40.00", "2.000"]})
        self.assertEqual([call[0] for call in self.calls()], ["peer", "tandem"] * 3)

    def test_passes_flags_and_depths(self):
        peer = self.program("peer", NEW_PEER)
        output = self.compare("--llama-bench", peer, "-t", "2", "-p", "64", "-n", "8", "-d",
                              "0,1000", "--rounds", "1", "-r", "4", "--", "-fa", "1")
        self.assertEqual(self.rows(output)["pp64@d1000"], ["50.00", "200.00", "4.000"])
        self.assertEqual(self.rows(output)["tg8@d1000"], ["5.00", "20.00", "4.000"])
        theirs, ours = self.calls()
        self.assertEqual(theirs[-2:], ["-fa", "1"])
        self.assertNotIn("-fa", ours)
        for call, threads in ((theirs, "-t"), (ours, "--threads")):
            self.assertEqual(call[call.index(threads) + 1], "2")
            self.assertEqual(call[call.index("-r") + 1], "4")
            self.assertIn(str(self.model), call)

    def test_old_builds_measure_generation_after_a_prompt(self):
        peer = self.program("peer", OLD_PEER)
        output = self.compare("--llama-bench", peer, "-t", "2", "-p", "64", "-n", "8", "-d",
                              "0,1000", "--rounds", "1")
        rows = self.rows(output)
        self.assertEqual(rows["tg8@d1000"], ["50.00", "20.00", "0.400"])
        self.assertEqual(rows["pp64@d1000"], ["not", "measured", "by", "llama-bench"])

    def test_measures_the_python_package(self):
        (self.folder / "llama_cpp.py").write_text(PACKAGE)
        output = self.compare("--python", "-t", "2", "-p", "64", "-n", "8", "-d", "0,16",
                              "--rounds", "1", environment={"PYTHONPATH": str(self.folder)})
        rows = self.rows(output)
        self.assertEqual(set(rows), {"pp64", "tg8", "pp64@d16", "tg8@d16"})
        # A call takes a little more than 1 ms: 64 tokens in one, or one token in each.
        self.assertTrue(3000 < float(rows["pp64"][0]) <= 64000, rows)
        self.assertTrue(50 < float(rows["tg8"][0]) <= 1000, rows)

    def test_explains_failures(self):
        peer = self.program("peer", NEW_PEER)
        missing = str(self.folder / "missing")
        bench = ("--llama-bench", peer)
        self.assertIn("missing", self.compare("--llama-bench", missing, code=1))
        self.assertIn("no threads today", self.compare(*bench, "-t", "3", code=1))
        self.assertIn("nothing to measure", self.compare(*bench, "-p", "0", "-n", "0", code=1))
        self.assertIn("no list of numbers", self.compare(*bench, "-p", "many", code=2))
        self.assertIn("required", self.compare(code=2))
        self.assertIn("are for llama-bench", self.compare("--python", "--", "-fa", "1", code=2))
        if importlib.util.find_spec("llama_cpp") is None:
            self.assertIn("not installed", self.compare("--python", code=1))
        echo = self.program("echo", "print('hello')")
        self.assertIn("does not look like", self.compare("--llama-bench", echo, code=1))
        self.model.unlink()
        self.assertIn("no file", self.compare(*bench, code=1))

    def test_refuses_output_that_it_does_not_understand(self):
        garbled = self.program("garbled", NEW_PEER.replace("print(json.dumps(rows, indent=2))",
                                                           "print('a table')"))
        self.assertIn("not understood", self.compare("--llama-bench", garbled, code=1))
        threads = self.program("threads", NEW_PEER.replace('int(value("-t"))', "7"))
        self.assertIn("7 threads instead of 2",
                      self.compare("--llama-bench", threads, "-t", "2", code=1))
        self.tandem = self.program("tandem", "print('a table')")
        peer = self.program("peer", NEW_PEER)
        self.assertIn("not understood", self.compare("--llama-bench", peer, code=1))

    def test_refuses_depths_that_a_build_cannot_measure(self):
        oldest = self.program("oldest", OLD_PEER.replace("-gp <pp,tg>", ""))
        self.assertIn("use -d 0", self.compare("--llama-bench", oldest, "-d", "1000", code=1))


if __name__ == "__main__":
    unittest.main()
