"""Runs librdkafka's own tests against a broker and judges the outcome by two lists.

    rdkafka.py --runner DIR --bootstrap B --scenario S --kafka DIR --lists DIR --work DIR --ran FILE [--full] [--only NUMBER,...]

DIR/rdkafka.allow: tests that must pass; DIR/rdkafka.findings: why each of the others is left out. Together they name every
test of the runner once. A test that is allowed passes only if the runner says so and it did something: the quick mode
of the runner leaves out parts, and of some tests everything.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys

# Below this a test has asked no broker anything: one that leaves itself out takes some 0.03 ms, the shortest that asks 3 ms.
SECONDS_MIN = 0.001
# Several at once: most of their time they wait.
AT_ONCE = 3


def allow_list(path):
    """When and in which scenario each test is run; the head of the file says what the words mean."""
    return {name: (when, scenario) for name, when, scenario in (line.split() for line in lines_of(path))}


def findings(path):
    return dict(line.split(None, 1) for line in lines_of(path))


def lines_of(path):
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def run(given, names, quick, scenario, label, at_once):
    """Runs the tests; the state and the seconds of every test that the runner knows."""
    report = given.work / f"report-{label}.json"
    log = given.work / f"rdkafka-{label}.log"
    conf = given.work / f"test-{label}.conf"
    conf.write_text(f"bootstrap.servers={given.bootstrap}\nbroker.address.family=v4\n")
    numbers = sorted({name.split("_")[0] for name in names})
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": "../src:../src-cpp",
        "RDKAFKA_TEST_CONF": str(conf),
        "KAFKA_PATH": str(given.kafka),
        "BROKERS": given.bootstrap,
        "TEST_KAFKA_VERSION": "4.1.2",
        "TEST_REPORT": str(report),
        "TESTS": ",".join(numbers),
    }
    command = ["./test-runner", "-L", "-K", f"-p{at_once}", "-r", "-s", scenario] + (["-Q"] if quick else [])
    with log.open("w") as out:
        # Its status is not asked for: it also fails for threads that are slow to end after tests that passed.
        status = subprocess.run(command, cwd=given.runner, env=environment, stdout=out, stderr=subprocess.STDOUT).returncode
    if not report.exists():
        # It has crashed, in a test that failed as a rule. What had passed until then has passed.
        print(f"FAILED: the runner ended with {status} and wrote no report", flush=True)
        text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(errors="replace"))
        return {name: ("PASSED", float(seconds)) for name, seconds in re.findall(r"\[(\w+) */ *([0-9.]+)s\] =+ Test \w+ PASSED", text)}
    return {name: (test["state"], test.get("duration") or 0) for name, test in json.loads(report.read_text())["tests"].items()}


def mode_of(when, full):
    """quick or whole: how a test is run; None: not in this run."""
    if when == "part":
        return "quick"
    if when == "alone":
        return "alone"
    return "whole" if full else {"quick": "quick", "whole": "whole", "full": None}[when]


def failures(log, name):
    text = log.read_text(errors="replace")
    at = text.find(f'### Test "{name}')
    return text[at:at + 400].replace("\x1b", "") if at >= 0 else "the log says nothing"


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("runner", "kafka", "lists", "work"):
        arguments.add_argument(f"--{name}", type=pathlib.Path, required=True)
    arguments.add_argument("--bootstrap", required=True)
    arguments.add_argument("--scenario", default="default", help="noautocreate: the broker makes no topic of itself")
    arguments.add_argument("--ran", required=True)
    arguments.add_argument("--full", action="store_true")
    arguments.add_argument("--only", default="")
    given = arguments.parse_args()
    allowed = allow_list(given.lists / "rdkafka.allow")
    left_out = findings(given.lists / "rdkafka.findings")
    faults, held, known = [], [], set()
    for mode in ("whole", "quick", "alone"):
        names = [name for name, (when, scenario) in allowed.items() if scenario == given.scenario and mode == mode_of(when, given.full)
                 and (not given.only or name.split("_")[0] in given.only.split(","))]
        if not names:
            continue
        label = f"{given.scenario}-{mode}"
        outcome = run(given, names, mode == "quick", given.scenario, label, 1 if mode == "alone" else AT_ONCE)
        known |= set(outcome) - {"<MAIN>"}
        for name in names:
            state, seconds = outcome.get(name, ("NOT THERE", 0))
            print(f"{name}: {state} {seconds:.1f} s ({label})", flush=True)
            if state != "PASSED":
                faults.append(f"{name} is {state}: {failures(given.work / f'rdkafka-{label}.log', name)}")
            elif seconds < SECONDS_MIN:
                faults.append(f"{name} passed without doing anything")
            else:
                held.append(name)
    faults += [f"{name} is both allowed and left out" for name in allowed if name in left_out]
    faults += [f"{name} is neither in rdkafka.allow nor in rdkafka.findings" for name in sorted(known - set(allowed) - set(left_out))]
    faults += [f"{name} is in a list and not among the tests" for name in sorted((set(allowed) | set(left_out)) - known)] if len(known) > len(allowed) else []
    with open(given.ran, "a") as ran:
        ran.writelines(f"{name}\n" for name in held)
    for fault in faults:
        print(f"FAILED: {fault}", flush=True)
    print(f"{given.scenario}: {len(held)} of {len(allowed)} allowed tests ran and passed; {len(left_out)} are left out", flush=True)
    # A selection may have nothing in this scenario.
    sys.exit(1 if faults or not (held or given.only) else 0)


if __name__ == "__main__":
    main()
