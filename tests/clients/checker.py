"""Judges a history (see history.py) and names every anomaly that it finds.

    lost          acknowledged, but not at its offset when everything was read at the end
    duplicate     one record at two offsets, whatever its outcome was (the producers are idempotent)
    reorder       two records of one producer in one partition, in the other order than they were sent
    changed       a record whose bytes are not those that were sent
    phantom       a record that nobody sent
    misplaced     a record in another topic or partition than it was sent to
    two-values    one offset that showed two records, to any reader or in any acknowledgement
    resurrected   a record that definitely failed, and is there
    hole          an offset within a final range that no reader was given
    poll-order    a reader of fixed partitions was given offsets that do not go up one by one
    unresolved    a record without an outcome, or with an unknown one though its producer had time until the heal
    idle          a time between two kills in which no record was acknowledged: that kill proved nothing

`unresolved` and `idle` say that a run shows less than it claims; all others, that the broker is wrong.
Judges only what clients see; holds one entry per record in memory.
"""

import argparse
import bisect
import collections
import sys
from pathlib import Path

from history import HASTY, read_history

SHOWN_MAX = 5


class Checker:
    def __init__(self):
        self.sent = {}  # id -> (topic, partition, digest)
        self.outcome = {}  # id -> "ok", "fail" or "info"
        self.acked = {}  # id -> (topic, partition, offset)
        self.content = {}  # (topic, partition, offset) -> (id, digest), as first read
        self.place = {}  # id -> (topic, partition, offset), as first read
        self.ranges = []  # (reader, topic, partition, start, end)
        self.read_by = collections.defaultdict(list)  # (reader, topic, partition) -> offsets in order of arrival
        self.faults = []  # (ms, "kill" or "ready")
        self.ack_ms = []
        self.anomalies = collections.defaultdict(list)

    def found(self, name, text):
        self.anomalies[name].append(text)

    def take(self, event):
        kind = event["event"]
        if kind in ("kill", "ready"):
            self.faults.append((event["ms"], kind))
        elif kind == "range":
            self.ranges.append(tuple(event[k] for k in ("reader", "topic", "partition", "start", "end")))
        elif kind == "read":
            self.take_read(event)
        else:
            identity = (event["producer"], event["n"])
            if kind == "invoke":
                self.sent[identity] = (event["topic"], event["partition"], event["digest"])
            elif kind in ("ok", "fail", "info"):
                self.outcome[identity] = kind
                if kind == "ok":
                    self.acked[identity] = (event["topic"], event["partition"], event["offset"])
                    self.ack_ms.append(event["ms"])
            else:
                raise SystemExit(f"unknown event in the history: {event}")

    def take_read(self, event):
        topic, partition, offset = event["topic"], event["partition"], event["offset"]
        place = (topic, partition, offset)
        producer, dash, n = event["id"].rpartition("-")
        identity = (producer, int(n)) if dash and n.isdigit() else (event["id"], -1)
        self.read_by[(event["reader"], topic, partition)].append(offset)
        content = (identity, event["digest"])
        known = self.content.setdefault(place, content)
        if known != content:
            self.found("two-values", f"{show(place)} was read as {known[0]} {known[1]} and as {identity} {content[1]}")
        first = self.place.setdefault(identity, place)
        if first != place:
            self.found("duplicate", f"{identity} is at {show(first)} and at {show(place)}")

    def judge(self, kills=False):
        self.judge_contents()
        self.judge_acks()
        self.judge_order()
        self.judge_readers()
        for identity in self.sent:
            outcome = self.outcome.get(identity)
            if outcome is None or (outcome == "info" and not identity[0].startswith(HASTY)):
                self.found("unresolved", f"{identity} ended as {outcome}")
        if kills:
            self.judge_kills()
        return self.anomalies

    def judge_contents(self):
        """Every record that was read is one that was sent, as it was sent, where it was sent to."""
        for place, (identity, seen) in self.content.items():
            sent = self.sent.get(identity)
            if sent is None:
                self.found("phantom", f"{show(place)} holds {identity}, which nobody sent")
                continue
            if sent[:2] != place[:2]:
                self.found("misplaced", f"{identity} was sent to {sent[0]}-{sent[1]} and is at {show(place)}")
            if sent[2] != seen:
                self.found("changed", f"{identity} at {show(place)} has digest {seen}, was sent with {sent[2]}")
            if self.outcome.get(identity) == "fail":
                self.found("resurrected", f"{identity} failed and is at {show(place)}")

    def judge_acks(self):
        by_place = {}
        finals = collections.defaultdict(list)
        for reader, topic, partition, start, end in self.ranges:
            offsets = set(self.read_by[(reader, topic, partition)])
            holes = [offset for offset in range(start, end) if offset not in offsets]
            if holes:
                self.found("hole", f"{reader} read {topic}-{partition} {start}..{end} without {holes[:3]} ({len(holes)} in all)")
            finals[(topic, partition)].append(offsets)
        for identity, place in self.acked.items():
            other = by_place.setdefault(place, identity)
            if other != identity:
                self.found("two-values", f"{show(place)} was acknowledged for {other} and for {identity}")
            there = self.content.get(place)
            if there is not None and there[0] != identity:
                self.found("two-values", f"{show(place)} was acknowledged for {identity}, and read as {there[0]}")
            read_at_the_end = finals[place[:2]]
            everywhere = bool(read_at_the_end) and all(place[2] in offsets for offsets in read_at_the_end)
            if there is None or there[0] != identity or not everywhere:
                self.found("lost", f"{identity} was acknowledged at {show(place)} and is not there at the end")
            read_at = self.place.get(identity)
            if read_at is not None and read_at != place:
                self.found("duplicate", f"{identity} was acknowledged at {show(place)} and is at {show(read_at)}")

    def judge_order(self):
        """All records known to be in the log count, acknowledged or not: a late write must not overtake."""
        lines = collections.defaultdict(list)
        places = dict(self.acked)
        places.update(self.place)
        for (producer, n), (topic, partition, offset) in places.items():
            lines[(producer, topic, partition)].append((n, offset))
        for (producer, topic, partition), line in lines.items():
            line.sort()
            for (n1, o1), (n2, o2) in zip(line, line[1:]):
                if o2 <= o1:
                    self.found("reorder", f"{producer} in {topic}-{partition}: record {n1} is at {o1}, record {n2} at {o2}")

    def judge_readers(self):
        for (reader, topic, partition), offsets in self.read_by.items():
            for before, after in zip(offsets, offsets[1:]):
                if after != before + 1:
                    self.found("poll-order", f"{reader} in {topic}-{partition} was given {after} after {before}")

    def judge_kills(self):
        self.faults.sort()
        self.ack_ms.sort()
        served = None
        for ms, kind in self.faults:
            if kind == "ready":
                served = ms
            elif served is not None:
                if bisect.bisect_left(self.ack_ms, served) == bisect.bisect_right(self.ack_ms, ms):
                    self.found("idle", f"no acknowledgement between the start at {served} ms and the kill at {ms} ms")
                served = None

    def summary(self):
        outcomes = collections.Counter(self.outcome.values())
        kills = sum(1 for _, kind in self.faults if kind == "kill")
        return (
            f"{len(self.sent)} sent, {outcomes['ok']} acknowledged, {outcomes['info']} unknown, {outcomes['fail']} failed, "
            f"{len(self.content)} offsets read by {len({reader for reader, _, _ in self.read_by})} readers, {kills} kills"
        )


def show(place):
    return f"{place[0]}-{place[1]}@{place[2]}"


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("directory", type=Path, help="where the *.jsonl files of the history are")
    arguments.add_argument("--kills-min", type=int, default=0, help="fewer kills make the run void")
    given = arguments.parse_args()
    checker = Checker()
    files = sorted(given.directory.glob("*.jsonl"))
    for path in files:
        for event in read_history(path):
            checker.take(event)
    anomalies = checker.judge(kills=given.kills_min > 0)
    print(f"history of {len(files)} files: {checker.summary()}")
    for name, texts in sorted(anomalies.items()):
        for text in texts[:SHOWN_MAX]:
            print(f"{name}: {text}")
        if len(texts) > SHOWN_MAX:
            print(f"{name}: {len(texts)} in all")
    kills = sum(1 for _, kind in checker.faults if kind == "kill")
    void = kills < given.kills_min or not checker.acked or not checker.ranges
    if void:
        print(f"void: {kills} kills (wanted {given.kills_min}), {len(checker.acked)} acks, {len(checker.ranges)} final ranges")
    sys.exit(1 if anomalies or void else 0)


if __name__ == "__main__":
    main()
