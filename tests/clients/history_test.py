"""What the histories' writers hold: a line says what happened, a digest tells every field, a record is always the same."""

import json
import tempfile
import unittest
from pathlib import Path

from history import History, digest, record


class Histories(unittest.TestCase):
    def test_each_line_is_json_with_what_was_given(self):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "h.jsonl"
            history = History(path)
            history.write("range", reader="r", topic="t", partition=1, start=0, end=9)
            history.invoke("py0", 3, "t", 1, "0123456789abcdef")
            history.ok("py0", 3, "t", 1, 9)
            history.read("r", 4, "t", 1, 9, 2, 1_000, b'k"\\\xff', b"v", [("h", None)])
            history.close()
            lines = [json.loads(line) for line in path.read_text().splitlines()]
        self.assertTrue(all(line.pop("us") > 0 for line in lines))
        place = {"topic": "t", "partition": 1}
        self.assertEqual(
            lines,
            [
                {"event": "range", "reader": "r", **place, "start": 0, "end": 9},
                {"event": "invoke", "producer": "py0", "n": 3, **place, "digest": "0123456789abcdef"},
                {"event": "ok", "producer": "py0", "n": 3, **place, "offset": 9},
                {"event": "read", "reader": "r", "poll": 4, **place, "offset": 9, "epoch": 2, "ts": 1_000, "id": "k???",
                 "digest": digest(b'k"\\\xff', b"v", [("h", None)], 1_000)},
            ],
        )

    def test_a_digest_tells_every_field(self):
        base = (b"k", b"v", [("h", b"x")], 5)
        variants = [(b"K", b"v", [("h", b"x")], 5), (b"k", None, [("h", b"x")], 5), (b"k", b"", [("h", b"x")], 5),
                    (b"k", b"v", [("g", b"x")], 5), (b"k", b"v", [("h", None)], 5), (b"k", b"v", [], 5), (b"k", b"v", [("h", b"x")], 6),
                    (b"kv", b"", [("h", b"x")], 5)]
        self.assertEqual(len({digest(*fields) for fields in [base, *variants]}), len(variants) + 1)

    def test_a_record_is_the_same_on_every_call(self):
        self.assertEqual(record("py0", 7), record("py0", 7))
        self.assertNotEqual(record("py0", 7)[1], record("py1", 7)[1])

    def test_records_have_the_sizes_that_were_asked_for(self):
        for sizes, least, most in (("small", 100, 1_024), ("mixed", 1, 300_000)):
            values = [record("py0", n, sizes)[1] for n in range(3_000)]
            lengths = [len(value) for value in values if value is not None]
            self.assertTrue(0 < len(values) - len(lengths) < 200)
            self.assertTrue(all(least <= length < most for length in lengths), sizes)


if __name__ == "__main__":
    unittest.main()
