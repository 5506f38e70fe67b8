"""Holds docs/compat.md to what it says: a row for every box, a test or a reason in every row, tests that exist and ran.

    compat.py ROOT SUITE...                the page, and that each test it names exists
    compat.py ROOT --ran DIR SUITE...      also that each of them ran and passed in the run that wrote DIR

SUITE... are all suites that there are. DIR holds one file for each suite that passed: a name a line.
"""

import pathlib
import re
import sys

HEAD = ["box", "rule", "here", "shown by"]
STATES = ("served", "different", "does not arise", "not yet")
# What is open must be open because of one of these, not because it was forgotten.
LATER = ("transactions", "compaction", "security", "quotas", "several brokers", "new group protocol")
# A reason in fewer letters says nothing.
REASON_MIN = 20
BOX = re.compile(r"\d+\.\d+\.\d+")
RUST_TEST = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)+")
CHECK = re.compile(r"([a-z]+):([a-z0-9_-]+)")
SUITE = re.compile(r"tests/run( [a-z-]+)+")
# With its attribute: a function that a test calls has no line of its own in what cargo prints.
DEFINED = re.compile(r"#\[(?:\w+::)*test\b[^\]]*\](?:\s*#\[[^\]]*\]|\s*//[^\n]*)*\s*(?:async\s+)?fn ([a-z0-9_]+)\s*\(")


class Row:
    def __init__(self, line_number, cells):
        self.line_number = line_number
        self.boxes, self.rule, self.here, self.shown_by = cells

    def numbers(self):
        return [] if self.boxes == "-" else [box.strip() for box in self.boxes.split(",")]

    def state(self):
        return next((state for state in STATES if self.here.startswith(state)), None)

    def named(self):
        """What stands in backticks in the last column."""
        return re.findall(r"`([^`]+)`", self.shown_by)


def cells_of(line):
    # A bar in backticks is none of the table's.
    bare = re.sub(r"`[^`]*`", lambda quoted: quoted[0].replace("|", "\0"), line.strip())
    return [cell.strip().replace("\0", "|") for cell in bare.strip("|").split("|")]


def rows_of(text):
    """The rows of every table with the four columns, and what is wrong with the tables themselves."""
    rows, faults, inside = [], [], False
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith("|"):
            inside = False
            continue
        cells = cells_of(line)
        if cells[:2] == HEAD[:2] or cells[0] == "rule":
            inside = True
            if cells != HEAD:
                faults.append(f"line {number}: the columns are {cells}, not {HEAD}")
        elif inside and not set(line) <= set("|-: "):
            if len(cells) == len(HEAD):
                rows.append(Row(number, cells))
            else:
                faults.append(f"line {number}: {len(cells)} cells instead of {len(HEAD)}")
    return rows, faults


def boxes_of(text):
    return {line.split(" ", 1)[0]: line.split(" ", 1)[1] for line in text.splitlines() if line and not line.startswith("#")}


def tests_of(row):
    """(suite, name) of each test that the row names; the suite of Rust's tests is unit, the name of a whole suite None."""
    tests, strange = [], []
    for word in row.named():
        if SUITE.fullmatch(word):
            tests += [(suite, None) for suite in word.split()[1:]]
        elif found := CHECK.fullmatch(word):
            tests.append((found[1], found[2]))
        elif RUST_TEST.fullmatch(word):
            tests.append(("unit", word))
        else:
            strange.append(word)
    return tests, strange


def judge_row(row, boxes):
    faults, state = [], row.state()
    for box in row.numbers():
        if not BOX.fullmatch(box) or box not in boxes:
            faults.append(f"there is no box {box}")
    if state is None:
        faults.append(f"'{row.here[:30]}' begins with none of {STATES}")
        return faults
    said = row.here[len(state):].strip(" :,;")
    if state == "served" and not tests_of(row)[0]:
        faults.append("served, and no test is named")
    if state in ("different", "does not arise") and len(said) < REASON_MIN:
        faults.append(f"{state}, and no reason is given")
    if state == "not yet" and not any(word in said for word in LATER):
        faults.append(f"not yet, and with none of: {', '.join(LATER)}")
    return faults


def judge(page, boxes, exists, ran=None):
    """Every fault of the page. exists(suite, name) and ran(suite, name) answer for one test."""
    rows, faults = rows_of(page)
    if not rows:
        faults.append("there is no table of rules")
    for row in rows:
        wrong = judge_row(row, boxes)
        tests, strange = tests_of(row)
        for word in strange:
            if not exists(None, word):
                wrong.append(f"`{word}` is neither a test nor a file of the repository")
        for suite, name in tests:
            shown = f"{suite}:{name}" if name else f"tests/run {suite}"
            if not exists(suite, name):
                wrong.append(f"{shown} does not exist")
            elif ran and not ran(suite, name):
                wrong.append(f"{shown} did not run and pass")
        faults += [f"line {row.line_number}, '{row.rule[:50]}': {fault}" for fault in wrong]
    covered = {box for row in rows for box in row.numbers()}
    faults += [f"box {box} ({title}) has no row" for box, title in boxes.items() if box not in covered]
    return faults


class Repository:
    """Answers from the files of the checkout."""

    def __init__(self, root, suites):
        self.root, self.suites = root, suites
        sources = [path for top in ("broker", "metadata", "s3stream", "wal", "tests", "benches") for path in sorted((root / top).rglob("*.rs"))]
        self.functions = {name for path in sources for name in DEFINED.findall(path.read_text())}
        self.texts = {suite: (root / "tests/suites" / f"{suite}.sh").read_text() for suite in suites}

    def exists(self, suite, name):
        if suite is None:
            return any((self.root / base / name).exists() for base in ("", "broker/src/api", "broker"))
        if suite == "unit" and name:
            return name in self.functions
        if name is None or suite not in self.suites:
            return suite in self.suites
        # A suite names its checks in its own script, or in a program that it calls.
        return re.search(rf"(^|[^\w-]){re.escape(name)}($|[^\w-])", self.texts[suite] + self.helpers(suite)) is not None

    def helpers(self, suite):
        called = re.findall(r"[\w/-]+\.(?:py|js|java|allow)\b|java_client \w+", self.texts[suite])
        wanted = {word.split("/")[-1].replace("java_client ", "") for word in called}
        paths = [path for path in (self.root / "tests").rglob("*") if path.is_file() and (path.name in wanted or path.stem in wanted)]
        return "\n".join(path.read_text() for path in paths)


def ran_in(directory):
    names = {path.name: set(path.read_text().split()) for path in pathlib.Path(directory).iterdir()}
    return lambda suite, name: suite in names and (name is None or name in names[suite])


def main():
    arguments = sys.argv[1:]
    root, ran = pathlib.Path(arguments.pop(0)), None
    if arguments and arguments[0] == "--ran":
        ran = ran_in(arguments[1])
        arguments = arguments[2:]
    repository = Repository(root, arguments)
    page = (root / "docs/compat.md").read_text()
    boxes = boxes_of((root / "tests/compat/boxes").read_text())
    faults = judge(page, boxes, repository.exists, ran)
    for fault in faults:
        print(f"docs/compat.md: {fault}")
    print(f"{len(rows_of(page)[0])} rows for {len(boxes)} boxes, {len(faults)} faults" + ("" if ran else "; whether the tests ran was not asked"))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
