"""The history of a run: what clients asked for, what they were told, what they read. One JSON object a line.

`tests/src/history/event.rs` lists the lines and their fields; Java's `History` writes the same lines and digests. Each
has `us`, a monotonic clock that all processes of the machine share.

A record's key is its id, `producer-n`. Its digest covers key, value, headers and timestamp, so that a change to any of
them shows.
"""

import hashlib
import json
import random
import re
import struct
import threading
import time

HEADER = "sent-by"
NOISE = random.Random(11).randbytes(1 << 20)


def clock_us():
    return time.monotonic_ns() // 1_000


def digest(key, value, headers, timestamp_ms):
    sha = hashlib.sha1(struct.pack(">q", timestamp_ms))
    for field in (key, value, *(part for name, content in headers for part in (name.encode(), content))):
        if field is None:
            sha.update(b"\xff\xff\xff\xff")
        else:
            sha.update(struct.pack(">i", len(field)))
            sha.update(field)
    return sha.hexdigest()[:16]


def record(producer, n, sizes="mixed"):
    """Key, value and headers of the n-th record of a producer: the same on every call.

    Sizes are `mixed` (some of 300 kB) or `small` (100 B to 1 KiB); a few values are null. Half of each is compressible.
    The timestamp is not here: it is the time of sending. An older one would void the test: by a record's timestamp Kafka
    decides after a restart whether its producer has expired, and an expired producer's duplicates are taken.
    """
    (seed,) = struct.unpack(">Q", hashlib.sha1(f"{producer}-{n}".encode()).digest()[:8])
    kind, spread = seed % 1_000, seed >> 20
    if kind < 20:
        value = None
    else:
        if sizes == "small":
            size = 100 + spread % 924
        elif kind < 920:
            size = 1 + spread % 2_000
        elif kind < 995:
            size = 2_000 + spread % 18_000
        else:
            size = 100_000 + spread % 200_000
        start = spread % (len(NOISE) - size)
        noise = NOISE[start : start + size // 2 + 1]
        value = (noise + noise)[:size]
    headers = [(HEADER, producer.encode())]
    return f"{producer}-{n}".encode(), value, headers


class History:
    """A file that one process appends to, from any of its threads. Its buffer is small, for others look at its end."""

    def __init__(self, path):
        self.file = open(path, "a", buffering=1 << 13, encoding="utf-8")
        self.lock = threading.Lock()

    def write(self, event, **fields):
        self.line(json.dumps({"event": event, "us": clock_us(), **fields}, separators=(",", ":")))

    # The frequent ones, without the cost of a general encoder.

    def invoke(self, producer, n, topic, partition, seen):
        self.line(
            f'{{"event":"invoke","us":{clock_us()},"producer":"{producer}","n":{n},"topic":"{topic}","partition":{partition},"digest":"{seen}"}}'
        )

    def ok(self, producer, n, topic, partition, offset):
        self.line(
            f'{{"event":"ok","us":{clock_us()},"producer":"{producer}","n":{n},"topic":"{topic}","partition":{partition},"offset":{offset}}}'
        )

    def read(self, reader, poll, topic, partition, offset, epoch, ts, key, value, headers):
        identity = plain((key or b"null").decode("ascii", "replace"))
        self.line(
            f'{{"event":"read","us":{clock_us()},"reader":"{reader}","poll":{poll},"topic":"{topic}","partition":{partition},'
            f'"offset":{offset},"epoch":{epoch},"ts":{ts},"id":"{identity}","digest":"{digest(key, value, headers, ts)}"}}'
        )

    def line(self, text):
        with self.lock:
            self.file.write(text + "\n")

    def close(self):
        with self.lock:
            self.file.close()


def plain(text):
    """Text that needs no escapes in a line."""
    return re.sub(r'[^ -~]|["\\]', "?", text)
