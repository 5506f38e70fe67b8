"""The history of a run: what clients asked for, what they were told, what they read. One JSON object a line.

    invoke  producer n topic partition digest   a record is handed to the client
    ok      producer n topic partition offset   acknowledged at an offset
    fail    producer n error                    definitely not written
    info    producer n error                    outcome unknown
    read    reader topic partition offset id digest
    range   reader topic partition start end    this reader read all of [start, end), after the faults were over
    kill, ready                                 the broker was killed; it served again

Every event has `ms`, a monotonic clock that all processes of the machine share.

A record's key is its id, `producer-n`. Its digest covers key, value, headers and timestamp, so that a change to
any of them shows. Java's `History` writes the same lines and the same digest.
"""

import hashlib
import json
import random
import struct
import time

HEADER = "sent-by"
# Producers whose names begin so give up soon: their records may end with an unknown outcome.
HASTY = "hasty"


def clock_ms():
    return time.monotonic_ns() // 1_000_000


def digest(key, value, headers, timestamp_ms):
    sha = hashlib.sha1(struct.pack(">q", timestamp_ms))
    for field in (key, value, *(part for name, content in headers for part in (name.encode(), content))):
        if field is None:
            sha.update(b"\xff\xff\xff\xff")
        else:
            sha.update(struct.pack(">i", len(field)))
            sha.update(field)
    return sha.hexdigest()[:16]


def record(producer, n):
    """Key, value and headers of the n-th record of a producer: the same on every call.

    Its timestamp is the time of sending. An older one would void the test: by a record's timestamp Kafka decides
    after a restart whether its producer has expired, and an expired producer's duplicates are taken.
    """
    seeded = random.Random(f"{producer}-{n}")
    kind = seeded.random()
    if kind < 0.02:
        value = None
    else:
        size = seeded.randrange(1, 2_000) if kind < 0.92 else seeded.randrange(2_000, 20_000)
        if kind > 0.995:
            size = seeded.randrange(100_000, 300_000)
        noise = seeded.randbytes(size // 2 + 1)
        value = (noise + noise)[:size]
    headers = [(HEADER, producer.encode())]
    return f"{producer}-{n}".encode(), value, headers


class History:
    """A file that one process appends to. Its buffer is small, for others look into the file while it grows."""

    def __init__(self, path):
        self.file = open(path, "a", buffering=1 << 13, encoding="utf-8")

    def write(self, event, **fields):
        fields = {"event": event, "ms": clock_ms(), **fields}
        self.file.write(json.dumps(fields, separators=(",", ":")) + "\n")

    def close(self):
        self.file.close()


def read_history(path):
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise SystemExit(f"{path}:{number}: not a history line: {error}") from error
