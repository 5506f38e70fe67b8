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
import sys
import time

from kafka.protocol.fetch import FetchRequest
from kafka.protocol.parser import KafkaProtocol
from kafka.protocol.produce import ProduceRequest
from kafka.record.memory_records import MemoryRecordsBuilder

BURST = 32
NOT_LEADER_OR_FOLLOWER = 6
PATIENCE_SECONDS = 60
# Longer than the suite waits for the end: an answer in time is owed to SIGTERM alone.
FETCH_WAIT_MS = 300_000


class Connection:
    def __init__(self, bootstrap):
        host, port = bootstrap.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS)
        self.protocol = KafkaProtocol(client_id="in-flight")
        self.answers = []

    def send(self, *requests):
        for request in requests:
            self.protocol.send_request(request)
        self.socket.sendall(self.protocol.send_bytes())

    def read_once(self):
        """Takes what is there; False at the end of the connection. Answers out of order raise in the parser."""
        data = self.socket.recv(1 << 16)
        self.answers += [answer for _, answer in self.protocol.receive_bytes(data)]
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
    return ProduceRequest[7](None, -1, 30_000, [(topic, [(0, batch.buffer())])])


def outcome(answer):
    """The offset of a Produce answer's one partition; None if the broker was no longer its leader."""
    ((_, ((_, error, offset, *_),)),) = answer.topics
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
    waiting.send(FetchRequest[4](-1, FETCH_WAIT_MS, 1, 1 << 20, 0, [(given.topic, [(1, 0, 1 << 20)])]))
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
    ((_, ((_, error, *_),)),) = waiting.answers[0].topics
    if error not in (0, NOT_LEADER_OR_FOLLOWER):
        sys.exit(f"the waiting fetch was answered with error {error}")
    print(f"{len(writing.answers)} Produce requests and the waiting fetch were answered")


if __name__ == "__main__":
    main()
