"""The checker against planted anomalies: each must be named, and a sound history must pass."""

import copy
import unittest

from checker import Checker
from history import History, digest, read_history, record


def sound():
    """Two producers, two partitions, two readers, one kill, one record of unknown outcome that landed."""
    events = []
    log = {0: [], 1: []}
    for n in range(40):
        producer = f"py{n % 2}"
        partition = (n // 2) % 2
        identity = {"producer": producer, "n": n}
        events.append({"event": "invoke", "ms": n, **identity, "topic": "t", "partition": partition, "digest": f"d{n}"})
        offset = len(log[partition])
        log[partition].append((f"{producer}-{n}", f"d{n}"))
        events.append({"event": "ok", "ms": n, **identity, "topic": "t", "partition": partition, "offset": offset})
    unknown = {"producer": "hasty0", "n": 0}
    events.append({"event": "invoke", "ms": 41, **unknown, "topic": "t", "partition": 0, "digest": "u"})
    events.append({"event": "info", "ms": 42, **unknown, "error": "timed out"})
    log[0].append(("hasty0-0", "u"))
    failed = {"producer": "py0", "n": 99}
    events.append({"event": "invoke", "ms": 43, **failed, "topic": "t", "partition": 0, "digest": "f"})
    events.append({"event": "fail", "ms": 43, **failed, "error": "too large"})
    events += [{"event": "ready", "ms": 0}, {"event": "kill", "ms": 20}, {"event": "ready", "ms": 21}]
    for reader in ("tail", "final"):
        for partition, rows in log.items():
            for offset, (identity, seen) in enumerate(rows):
                place = {"topic": "t", "partition": partition, "offset": offset}
                events.append({"event": "read", "ms": 50, "reader": reader, **place, "id": identity, "digest": seen})
    for partition, rows in log.items():
        events.append({"event": "range", "ms": 60, "reader": "final", "topic": "t", "partition": partition, "start": 0, "end": len(rows)})
    return events


def named(events):
    checker = Checker()
    for event in events:
        checker.take(event)
    return set(checker.judge(kills=True))


def of(events, kind, **fields):
    """The events of a kind that have these fields: live, to be changed in place."""
    chosen = [e for e in events if e["event"] == kind and all(e[k] == v for k, v in fields.items())]
    assert chosen, f"the story has no {kind} with {fields}"
    return chosen


class PlantedAnomalies(unittest.TestCase):
    def setUp(self):
        self.events = copy.deepcopy(sound())

    def test_a_sound_history_has_none(self):
        self.assertEqual(named(self.events), set())

    def test_lost_at_the_end_of_the_log(self):
        last = max(e["offset"] for e in of(self.events, "read", partition=1))
        for read in of(self.events, "read", partition=1, offset=last):
            self.events.remove(read)
        of(self.events, "range", partition=1)[0]["end"] = last
        self.assertEqual(named(self.events), {"lost"})

    def test_lost_in_the_middle(self):
        for read in of(self.events, "read", partition=0, offset=5):
            self.events.remove(read)
        self.assertEqual(named(self.events), {"lost", "hole", "poll-order"})

    def test_lost_though_an_early_reader_saw_it(self):
        last = max(e["offset"] for e in of(self.events, "read", partition=1))
        self.events.remove(of(self.events, "read", partition=1, offset=last, reader="final")[0])
        of(self.events, "range", partition=1)[0]["end"] = last
        self.assertEqual(named(self.events), {"lost"})

    def test_duplicate_of_an_acknowledged_record(self):
        self.append_to_log(1, "py0-2", "d2")
        self.assertEqual(named(self.events), {"duplicate"})

    def test_duplicate_of_a_record_of_unknown_outcome(self):
        self.append_to_log(0, "hasty0-0", "u")
        self.assertEqual(named(self.events), {"duplicate"})

    def test_reorder(self):
        # Records 4 and 8 of py0 change places, in the log and in their acknowledgements alike.
        first, second = of(self.events, "ok", producer="py0", n=4)[0], of(self.events, "ok", producer="py0", n=8)[0]
        first["offset"], second["offset"] = second["offset"], first["offset"]
        at = {e["n"]: e["offset"] for e in (first, second)}
        for identity, seen, offset in (("py0-4", "d4", at[4]), ("py0-8", "d8", at[8])):
            for read in of(self.events, "read", partition=0, offset=offset):
                read["id"], read["digest"] = identity, seen
        self.assertEqual(named(self.events), {"reorder"})

    def test_changed(self):
        for read in of(self.events, "read", id="py1-7"):
            read["digest"] = "other"
        self.assertEqual(named(self.events), {"changed"})

    def test_phantom(self):
        self.append_to_log(0, "py7-1", "x")
        self.assertEqual(named(self.events), {"phantom"})

    def test_phantom_without_an_id(self):
        self.append_to_log(0, "garbage", "x")
        self.assertEqual(named(self.events), {"phantom"})

    def test_misplaced(self):
        sent = of(self.events, "invoke", producer="hasty0", n=0)[0]
        sent["topic"] = "other"
        self.assertEqual(named(self.events), {"misplaced"})

    def test_two_values_at_one_offset_over_time(self):
        read = of(self.events, "read", reader="tail", partition=0, offset=3)[0]
        read["id"], read["digest"] = "py1-21", "d21"
        self.assertIn("two-values", named(self.events))

    def test_two_acknowledgements_of_one_offset(self):
        first, second = of(self.events, "ok", partition=0)[:2]
        second["offset"] = first["offset"]
        self.assertIn("two-values", named(self.events))

    def test_an_acknowledged_offset_that_holds_another_record(self):
        acked = of(self.events, "ok", producer="py1", n=5)[0]
        for read in of(self.events, "read", partition=acked["partition"], offset=acked["offset"]):
            read["id"], read["digest"] = "hasty0-0", "u"
        self.assertLessEqual({"two-values", "lost"}, named(self.events))

    def test_resurrected(self):
        self.append_to_log(0, "py0-99", "f")
        self.assertEqual(named(self.events), {"resurrected"})

    def test_hole_in_a_final_range(self):
        of(self.events, "range", partition=0)[0]["end"] += 1
        self.assertEqual(named(self.events), {"hole"})

    def test_a_reader_that_goes_back(self):
        place = {"reader": "tail", "topic": "t", "partition": 0, "offset": 2}
        again = of(self.events, "read", **place)[0]
        self.events.append(dict(again))
        self.assertEqual(named(self.events), {"poll-order"})

    def test_unresolved(self):
        self.events.remove(of(self.events, "info", producer="hasty0")[0])
        self.assertEqual(named(self.events), {"unresolved"})

    def test_an_unknown_outcome_of_a_patient_producer(self):
        acked = of(self.events, "ok", producer="py0", n=4)[0]
        self.events[self.events.index(acked)] = {"event": "info", "ms": 4, "producer": "py0", "n": 4, "error": "x"}
        self.assertEqual(named(self.events), {"unresolved"})

    def test_idle_between_two_kills(self):
        self.events += [{"event": "kill", "ms": 70}, {"event": "ready", "ms": 71}, {"event": "kill", "ms": 80}]
        self.assertEqual(named(self.events), {"idle"})

    def append_to_log(self, partition, identity, seen):
        ends = of(self.events, "range", partition=partition)[0]
        for reader in ("tail", "final"):
            place = {"topic": "t", "partition": partition, "offset": ends["end"]}
            self.events.append({"event": "read", "ms": 50, "reader": reader, **place, "id": identity, "digest": seen})
        ends["end"] += 1


class Histories(unittest.TestCase):
    def test_what_is_written_is_read(self):
        import tempfile
        from pathlib import Path

        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "h.jsonl"
            history = History(path)
            history.write("ok", producer="py0", n=3, topic="t", partition=1, offset=9)
            history.close()
            (event,) = read_history(path)
        self.assertEqual({k: v for k, v in event.items() if k != "ms"}, {"event": "ok", "producer": "py0", "n": 3, "topic": "t", "partition": 1, "offset": 9})

    def test_a_digest_tells_every_field(self):
        base = (b"k", b"v", [("h", b"x")], 5)
        variants = [(b"K", b"v", [("h", b"x")], 5), (b"k", None, [("h", b"x")], 5), (b"k", b"", [("h", b"x")], 5),
                    (b"k", b"v", [("g", b"x")], 5), (b"k", b"v", [("h", None)], 5), (b"k", b"v", [], 5), (b"k", b"v", [("h", b"x")], 6),
                    (b"kv", b"", [("h", b"x")], 5)]
        self.assertEqual(len({digest(*fields) for fields in [base, *variants]}), len(variants) + 1)

    def test_a_record_is_the_same_on_every_call(self):
        self.assertEqual(record("py0", 7), record("py0", 7))
        self.assertNotEqual(record("py0", 7)[1], record("py1", 7)[1])


if __name__ == "__main__":
    unittest.main()
