#!/usr/bin/env python3
"""Compares the speed of `tandem bench` with that of llama-bench, on the same file.

Both run the same tests with the same number of threads, each in a process of its own and in turn
(A B A B ...), so that what slows the machine down for a while slows both. What is printed are the
medians over the runs of the tokens per second, of each run the median of its repetitions.

    compare_llama_bench.py model.gguf --llama-bench ~/llama.cpp/build/bin/llama-bench
    compare_llama_bench.py model.gguf --llama-bench llama-bench -d 0,4096 -- -fa 1 -ctk q8_0
    compare_llama_bench.py model.gguf --python         # the package llama-cpp-python

Flags after -- go to llama-bench. A build that cannot measure at a depth (-d) measures generation
with -gp, and its prompts at a depth are left out.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import random
import re
import shutil
import statistics
import subprocess
import sys
import time
from typing import NamedTuple


class Failure(Exception):
    """What a person should read instead of a traceback."""


class Test(NamedTuple):
    """Tokens of a prompt, or of a generation, after `depth` tokens."""

    prompt: int
    generated: int
    depth: int

    def name(self) -> str:
        kind = f"pp{self.prompt}" if self.prompt else f"tg{self.generated}"
        return kind + (f"@d{self.depth}" if self.depth else "")


class Settings(NamedTuple):
    model: str
    threads: int
    prompts: list
    generations: list
    depths: list
    repetitions: int

    def tests(self) -> list:
        """In the order of the table."""
        return [
            test
            for depth in self.depths
            for test in [Test(p, 0, depth) for p in self.prompts if p]
            + [Test(0, n, depth) for n in self.generations if n]
        ]


def joined(numbers: list) -> str:
    return ",".join(str(n) for n in numbers)


def run(command: list) -> str:
    """The standard output of a program that must end well."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace",
                              check=False)
    except OSError as error:
        raise Failure(f"cannot run {command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        last = "\n".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-5:])
        raise Failure(f"{' '.join(command)} failed (exit code {done.returncode}):\n{last}")
    return done.stdout


def check_threads(program: str, wanted: int, used: int) -> None:
    if used != wanted:
        raise Failure(f"{program} ran with {used} threads instead of {wanted}; see --threads")


class Tandem:
    """`tandem bench MODEL --json`: a JSON object on each line."""

    name = "tandem"

    def __init__(self, program: str):
        self.program = program

    def measure(self, s: Settings) -> dict:
        command = [self.program, "bench", s.model, "--json", "--threads", str(s.threads)]
        command += ["-p", joined(s.prompts), "-n", joined(s.generations), "-d", joined(s.depths)]
        return self.parse(run(command + ["-r", str(s.repetitions)]), s)

    def parse(self, output: str, s: Settings) -> dict:
        speeds = {}
        try:
            for line in filter(None, map(str.strip, output.splitlines())):
                row = json.loads(line)
                check_threads("tandem", s.threads, row["threads"])
                test = Test(row["n_prompt"], row["n_gen"], row["depth"])
                speeds[test] = float(row["tokens_per_second"])
        except (ValueError, KeyError, TypeError) as error:
            raise Failure(f"tandem bench printed what is not understood: {error!r}") from error
        return speeds


class LlamaBench:
    """Any build of llama-bench; what it can do is read from its help."""

    name = "llama-bench"

    def __init__(self, program: str, flags: list):
        self.program = program
        self.flags = flags
        # Old builds end with an error after printing their help.
        try:
            done = subprocess.run([program, "--help"], capture_output=True, text=True,
                                  errors="replace", check=False)
        except OSError as error:
            raise Failure(f"cannot run {program}: {error.strerror}") from error
        text = done.stdout + done.stderr
        if "--n-prompt" not in text:
            raise Failure(f"{program} does not look like llama-bench: no --n-prompt in its help")
        self.has_depth = "--n-depth" in text
        self.has_gp = re.search(r"^\s+-gp\b", text, re.MULTILINE) is not None

    def measure(self, s: Settings) -> dict:
        command = [self.program, "-m", s.model, "-t", str(s.threads), "-o", "json"]
        command += ["-r", str(s.repetitions)]
        if self.has_depth:
            tests = ["-d", joined(s.depths)] + self.plain(s)
        else:
            tests = self.plain(s) if 0 in s.depths else ["-p", "0", "-n", "0"]
            for depth in filter(None, s.depths):
                if not self.has_gp:
                    raise Failure(f"{self.program} cannot measure at a depth; use -d 0")
                for generated in filter(None, s.generations):
                    tests += ["-gp", f"{depth},{generated}"]
        return self.parse(run(command + tests + self.flags), s)

    @staticmethod
    def plain(s: Settings) -> list:
        return ["-p", joined(s.prompts), "-n", joined(s.generations)]

    def parse(self, output: str, s: Settings) -> dict:
        """An array of objects, with lines of other things before it in some builds."""
        begin = re.search(r"^\[\s*$", output, re.MULTILINE)
        try:
            rows = json.JSONDecoder().raw_decode(output[begin.start():] if begin else output)[0]
            speeds = {}
            for row in rows:
                check_threads(self.program, s.threads, row["n_threads"])
                samples = row.get("samples_ts") or [row["avg_ts"]]
                speeds[self.test_of(row)] = statistics.median(samples)
            return speeds
        except (ValueError, KeyError, TypeError) as error:
            raise Failure(f"{self.program} printed what is not understood: {error!r}") from error

    @staticmethod
    def test_of(row: dict) -> Test:
        after_prompt = re.fullmatch(r"tg(\d+)@pp(\d+)", row.get("test", ""))
        if after_prompt:
            return Test(0, int(after_prompt[1]), int(after_prompt[2]))
        return Test(row["n_prompt"], row["n_gen"], row.get("n_depth", 0))


class LlamaCppPython:
    """The package llama-cpp-python, in a process of its own: this script once more."""

    name = "llama-cpp-python"

    def __init__(self):
        if importlib.util.find_spec("llama_cpp") is None:
            raise Failure("llama-cpp-python is not installed (pip install llama-cpp-python)")

    def measure(self, s: Settings) -> dict:
        command = [sys.executable, os.path.abspath(__file__), "--measure-python",
                   json.dumps(s._asdict())]
        try:
            return {Test(*test): speed for test, speed in json.loads(run(command).splitlines()[-1])}
        except (ValueError, IndexError, TypeError) as error:
            raise Failure(f"llama-cpp-python printed what is not understood: {error!r}") from error


def measure_python(s: Settings) -> list:
    """[test, median tokens per second] of each test, measured in this process."""
    import llama_cpp  # pylint: disable=import-outside-toplevel

    tests = s.tests()
    context = max(t.depth + t.prompt + t.generated for t in tests)
    model = llama_cpp.Llama(model_path=s.model, n_ctx=context, n_batch=2048, n_threads=s.threads,
                            n_threads_batch=s.threads, verbose=False)
    # The same tokens in every run.
    draw = random.Random(1)
    tokens = [draw.randrange(model.n_vocab()) for _ in range(context)]

    def once(test: Test) -> float:
        model.reset()
        if test.depth:
            model.eval(tokens[:test.depth])
        begin = time.perf_counter()
        if test.prompt:
            model.eval(tokens[test.depth:test.depth + test.prompt])
        for i in range(test.generated):
            model.eval([tokens[test.depth + i]])
        return (test.prompt + test.generated) / (time.perf_counter() - begin)

    once(Test(min(context, 16), 0, 0))  # the first run reads the file
    return [[test, statistics.median(once(test) for _ in range(s.repetitions))] for test in tests]


def table(settings: Settings, peer: str, peer_runs: list, tandem_runs: list) -> str:
    """Medians over the runs and their ratio; raises if there is nothing to compare."""
    lines = [f"{'test':<16} {peer:>16} {'tandem':>10} {'tandem / ' + peer:>28}"]
    for test in settings.tests():
        speeds = [[r[test] for r in runs if test in r] for runs in (peer_runs, tandem_runs)]
        if not all(speeds):
            lines.append(f"{test.name():<16} not measured by {peer if not speeds[0] else 'tandem'}")
            continue
        theirs, ours = (statistics.median(s) for s in speeds)
        if theirs <= 0:
            raise Failure(f"{peer} measured {theirs} tokens per second for {test.name()}")
        lines.append(f"{test.name():<16} {theirs:16.2f} {ours:10.2f} {ours / theirs:28.3f}")
    if not any(test in run_ for run_ in peer_runs for test in tandem_runs[0]):
        raise Failure(f"{peer} and tandem have no test in common")
    return "\n".join(lines)


def numbers(text: str) -> list:
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        values = [-1]
    if min(values) < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers such as 512,2048")
    return values


def positive(text: str) -> int:
    values = numbers(text)
    if len(values) != 1 or values[0] < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return values[0]


def default_tandem() -> str:
    built = pathlib.Path(__file__).resolve().parent.parent / "build" / "bin" / "tandem"
    return str(built) if built.exists() else shutil.which("tandem") or "tandem"


def parse(arguments: list) -> argparse.Namespace:
    own, flags = arguments, []
    if "--" in arguments:
        at = arguments.index("--")
        own, flags = arguments[:at], arguments[at + 1:]
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a GGUF file")
    peer = parser.add_mutually_exclusive_group(required=True)
    peer.add_argument("--llama-bench", metavar="PROGRAM", help="the llama-bench to compare with")
    peer.add_argument("--python", action="store_true", help="compare with llama-cpp-python")
    parser.add_argument("--tandem", metavar="PROGRAM", default=default_tandem(),
                        help="default: the one that was built here, else the one in PATH")
    parser.add_argument("-t", "--threads", type=positive, default=len(os.sched_getaffinity(0)))
    parser.add_argument("-p", "--prompt", type=numbers, default=[512], help="tokens: 512,2048")
    parser.add_argument("-n", "--generate", type=numbers, default=[128], help="tokens")
    parser.add_argument("-d", "--depth", type=numbers, default=[0], help="tokens before: 0,4096")
    parser.add_argument("-r", "--repetitions", type=positive, default=3, help="in each run")
    parser.add_argument("--rounds", type=positive, default=2, help="runs of each program")
    result = parser.parse_args(own)
    if flags and result.python:
        parser.error("flags after -- are for llama-bench")
    result.flags = flags
    return result


def compare(options: argparse.Namespace) -> str:
    settings = Settings(options.model, options.threads, options.prompt, options.generate,
                        options.depth, options.repetitions)
    if not settings.tests():
        raise Failure("there is nothing to measure: -p and -n are 0")
    if not os.path.isfile(options.model):
        raise Failure(f"there is no file {options.model}")
    peer = LlamaCppPython() if options.python else LlamaBench(options.llama_bench, options.flags)
    tandem = Tandem(options.tandem)
    runs = {peer: [], tandem: []}
    for i in range(options.rounds):
        for program, results in runs.items():
            print(f"round {i + 1} of {options.rounds}: {program.name}", file=sys.stderr)
            results.append(program.measure(settings))
    head = f"{options.threads} threads, medians of {options.rounds} runs in turn, tokens/s"
    return f"{options.model}: {head}\n" + table(settings, peer.name, runs[peer], runs[tandem])


def main(arguments: list) -> int:
    try:
        if arguments[:1] == ["--measure-python"]:
            print(json.dumps(measure_python(Settings(**json.loads(arguments[1])))))
        else:
            print(compare(parse(arguments)))
    except Failure as failure:
        print(f"compare_llama_bench: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
