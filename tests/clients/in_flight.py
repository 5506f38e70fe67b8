"""Sends SIGTERM to a broker that has requests in flight, and sees every one of them answered.

One connection waits in a long fetch of an empty partition; another has a burst of Produce requests under way. Both are
read until the broker closes them: each request has been answered, in order, if only with NOT_LEADER_OR_FOLLOWER (a
broker that ends may say so, and a client then looks for the next one).

    --topic      two partitions: 0 is written, 1 stays empty
    --terminate  the process id of the broker
    --acked      `offset key` of each acknowledged record is added to this file
"""

import argparse
import os
import signal
import socket
import struct
import sys
import time

from kafka.record.memory_records import MemoryRecordsBuilder

BURST = 32
NOT_LEADER_OR_FOLLOWER = 6
PATIENCE_SECONDS = 60
# Longer than the suite waits for the end: an answer in time is owed to SIGTERM alone.
FETCH_WAIT_MS = 300_000
PRODUCE, PRODUCE_VERSION = 0, 7
FETCH, FETCH_VERSION = 1, 4


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


class Connection:
    """Requests leave as they are made; answers are the bodies behind their correlation ids, which must come in order."""

    def __init__(self, bootstrap):
        host, port = bootstrap.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS)
        self.sent = 0
        self.received = b""
        self.answers = []

    def send(self, *requests):
        frames = b""
        for key, version, body in requests:
            frame = struct.pack(">hhi", key, version, self.sent) + text("in-flight") + body
            frames += struct.pack(">i", len(frame)) + frame
            self.sent += 1
        self.socket.sendall(frames)

    def read_once(self):
        """Takes what is there; False at the end of the connection."""
        data = self.socket.recv(1 << 16)
        self.received += data
        while len(self.received) >= 4:
            (length,) = struct.unpack_from(">i", self.received)
            if len(self.received) < 4 + length:
                break
            answer, self.received = self.received[4 : 4 + length], self.received[4 + length :]
            (correlation,) = struct.unpack_from(">i", answer)
            if correlation != len(self.answers):
                sys.exit(f"answer {len(self.answers)} is that of request {correlation}")
            self.answers.append(answer[4:])
        return bool(data)

    def read_until(self, count):
        while len(self.answers) < count:
            if not self.read_once():
                sys.exit(f"the connection ended after {len(self.answers)} answers")

    def read_to_end(self):
        while self.read_once():
            pass


def produce(topic, key):
    batch = MemoryRecordsBuilder(magic=2, compression_type=0, batch_size=1 << 16)
    batch.append(timestamp=time.time_ns() // 1_000_000, key=key.encode(), value=os.urandom(1000), headers=[])
    batch.close()
    records = bytes(batch.buffer())
    body = struct.pack(">hhii", -1, -1, 30_000, 1) + text(topic)
    return PRODUCE, PRODUCE_VERSION, body + struct.pack(">iii", 1, 0, len(records)) + records


def fetch(topic, partition):
    body = struct.pack(">iiiibi", -1, FETCH_WAIT_MS, 1, 1 << 20, 0, 1) + text(topic)
    return FETCH, FETCH_VERSION, body + struct.pack(">iiqi", 1, partition, 0, 1 << 20)


def partition_of(answer, at):
    """Where the one partition of the one topic begins in an answer whose topics begin at `at`."""
    topics, name = struct.unpack_from(">ih", answer, at)
    (partitions,) = struct.unpack_from(">i", answer, at + 6 + name)
    if (topics, partitions) != (1, 1):
        sys.exit(f"an answer of {topics} topics and {partitions} partitions")
    return at + 10 + name


def outcome(answer):
    """The offset of a Produce answer's one partition; None if the broker was no longer its leader."""
    _, error, offset = struct.unpack_from(">ihq", answer, partition_of(answer, 0))
    if error not in (0, NOT_LEADER_OR_FOLLOWER):
        sys.exit(f"produce was answered with error {error}")
    return offset if error == 0 else None


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--bootstrap", required=True)
    arguments.add_argument("--topic", required=True)
    arguments.add_argument("--terminate", type=int, required=True)
    arguments.add_argument("--acked", required=True)
    given = arguments.parse_args()

    waiting, writing = Connection(given.bootstrap), Connection(given.bootstrap)
    waiting.send(fetch(given.topic, 1))
    keys = [f"{os.getpid()}-{n}" for n in range(BURST + 1)]
    writing.send(produce(given.topic, keys[0]))
    writing.read_until(1)
    writing.send(*(produce(given.topic, key) for key in keys[1:]))
    # The first of the burst is answered, so the broker is at work on the rest.
    writing.read_until(2)
    if waiting.answers:
        sys.exit("the fetch of an empty partition was answered at once")
    os.kill(given.terminate, signal.SIGTERM)
    writing.read_to_end()
    waiting.read_to_end()

    with open(given.acked, "a", encoding="ascii") as acked:
        for key, answer in zip(keys, writing.answers):
            offset = outcome(answer)
            if offset is not None:
                acked.write(f"{offset} {key}\n")
    if len(writing.answers) != len(keys):
        sys.exit(f"{len(writing.answers)} of {len(keys)} Produce requests were answered")
    if len(waiting.answers) != 1:
        sys.exit("the waiting fetch was not answered")
    _, error = struct.unpack_from(">ih", waiting.answers[0], partition_of(waiting.answers[0], 4))
    if error not in (0, NOT_LEADER_OR_FOLLOWER):
        sys.exit(f"the waiting fetch was answered with error {error}")
    print(f"{len(writing.answers)} Produce requests and the waiting fetch were answered")


if __name__ == "__main__":
    main()
