"""Readers of a fault run, without a group's help: each record that they are given is in the history.

    --tail FILE   from the start, through every fault, until FILE is there and the end is reached; the range is noted
    --final       everything once, from log start to the end that the broker names now; then asks for offsets by time
    --ends FILE   until FILE is there, asks for the start and the end of each log four times a second
"""

import argparse
import os
import random
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from kafka import KafkaConsumer, TopicPartition as PythonPartition
from kafka.errors import CorruptRecordError, KafkaError as PythonError, OffsetOutOfRangeError

from history import History, clock_us

PATIENCE_SECONDS = 60
TIMES_ASKED = 10


class Librdkafka:
    def __init__(self, bootstrap):
        self.client = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "not-used",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "check.crcs": True,
                "reconnect.backoff.max.ms": 500,
                "fetch.error.backoff.ms": 50,
                "allow.auto.create.topics": False,
                "log_level": 2,
            }
        )

    def partitions(self, topics):
        known = {topic: self.client.list_topics(topic, timeout=PATIENCE_SECONDS).topics[topic] for topic in topics}
        return [(topic, partition) for topic in topics for partition in sorted(known[topic].partitions)]

    def assign(self, starts):
        self.client.assign([TopicPartition(*place, start) for place, start in starts.items()])

    def poll(self, reader):
        count = 0
        batch = self.client.consume(1_000, 0.2)
        for message in batch:
            error = message.error()
            if error is None:
                key, value, headers = message.key(), message.value(), message.headers() or []
                epoch, (_, ts) = message.leader_epoch(), message.timestamp()
                reader.take(message.topic(), message.partition(), message.offset(), epoch, ts, key, value, headers)
                count += 1
            elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
                reader.out_of_range(message.topic(), message.partition(), message.offset())
            elif error.code() in (KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION):
                reader.bad_crc(message.topic(), message.partition())
            elif not error.retriable() and error.code() > 0:
                sys.exit(f"{reader.name}: {message.topic()}-{message.partition()}: {error}")
            # Others are connections that break: they are the point of the exercise.
        return count

    def ends(self, place):
        return self.client.get_watermark_offsets(TopicPartition(*place), 5, cached=False)

    def by_time(self, asked):
        """The first offset at or after a time in each partition; -1 if there is none."""
        found = self.client.offsets_for_times([TopicPartition(*place, ts) for place, ts in asked.items()], PATIENCE_SECONDS)
        return {(at.topic, at.partition): at.offset if at.offset >= 0 else -1 for at in found}


class KafkaPython:
    def __init__(self, bootstrap):
        self.client = KafkaConsumer(
            bootstrap_servers=bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="none",
            check_crcs=True,
            request_timeout_ms=10_000,
            reconnect_backoff_max_ms=500,
        )

    def partitions(self, topics):
        return [(topic, partition) for topic in topics for partition in sorted(self.client.partitions_for_topic(topic))]

    def assign(self, starts):
        self.client.assign([PythonPartition(*place) for place in starts])
        for place, start in starts.items():
            self.client.seek(PythonPartition(*place), start)

    def poll(self, reader):
        count = 0
        try:
            batches = self.client.poll(timeout_ms=200)
        except OffsetOutOfRangeError as error:
            for place, offset in error.args[0].items():
                reader.out_of_range(place.topic, place.partition, offset)
            sys.exit(f"{reader.name}: {error}")
        except CorruptRecordError as error:
            sys.exit(f"{reader.name}: a checksum fails: {error}")
        for place, records in batches.items():
            for r in records:
                epoch = -1 if r.leader_epoch is None else r.leader_epoch
                reader.take(place.topic, place.partition, r.offset, epoch, r.timestamp, r.key, r.value, r.headers)
            count += len(records)
        return count

    def ends(self, place):
        partition = PythonPartition(*place)
        return self.client.beginning_offsets([partition])[partition], self.client.end_offsets([partition])[partition]


class Reader:
    def __init__(self, name, client, history, topics):
        self.name, self.client, self.history, self.number, self.times = name, client, history, 0, {}
        self.positions = {place: 0 for place in client.partitions(topics)}

    def take(self, topic, partition, offset, epoch, ts, key, value, headers):
        self.history.read(self.name, self.number, topic, partition, offset, epoch, ts, key, value, headers)
        self.positions[topic, partition] = offset + 1
        first, last = self.times.get((topic, partition), (ts, ts))
        self.times[topic, partition] = min(first, ts), max(last, ts)

    def out_of_range(self, topic, partition, offset):
        self.history.write("out-of-range", reader=self.name, topic=topic, partition=partition, offset=max(offset, 0))

    def bad_crc(self, topic, partition):
        self.history.write("bad-crc", reader=self.name, topic=topic, partition=partition)

    def poll(self):
        self.number += 1
        return self.client.poll(self)

    def tail(self, stop_file):
        self.client.assign(self.positions)
        while not os.path.exists(stop_file):
            self.poll()
        self.to_the_end({place: 0 for place in self.positions})

    def final(self):
        starts = {place: self.ends(place)[0] for place in self.positions}
        self.positions = dict(starts)
        self.client.assign(starts)
        self.to_the_end(starts)
        for _ in range(TIMES_ASKED if self.times else 0):
            asked = {place: random.randint(first - 10, last + 1) for place, (first, last) in self.times.items()}
            for (topic, partition), offset in self.client.by_time(asked).items():
                self.history.write("time", topic=topic, partition=partition, ts=asked[topic, partition], offset=offset)

    def to_the_end(self, starts):
        """Reads to the ends that the broker names now, and notes the ranges: what is missing shows as a hole in them."""
        ends = {place: self.ends(place)[1] for place in self.positions}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(self.positions[place] < end for place, end in ends.items()):
            if self.poll():
                deadline = time.monotonic() + PATIENCE_SECONDS
            elif time.monotonic() > deadline:
                print(f"{self.name}: at {self.positions}, not at {ends}; nothing came for {PATIENCE_SECONDS} s", file=sys.stderr)
                break
        for (topic, partition), end in ends.items():
            start = starts[topic, partition]
            self.history.write("range", reader=self.name, topic=topic, partition=partition, start=start, end=end)

    def ends(self, place):
        """Start and end, asked for until there is an answer."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self.client.ends(place)
            except (KafkaException, PythonError) as error:
                if time.monotonic() > deadline:
                    sys.exit(f"{self.name}: no end of {place}: {error}")

    def ask_ends(self, stop_file):
        stop = threading.Event()
        while not os.path.exists(stop_file):
            for place in self.positions:
                asked = clock_us()
                try:
                    start, end = self.client.ends(place)
                except (KafkaException, PythonError):
                    continue  # no answer says nothing
                self.history.write("ends", asked=asked, topic=place[0], partition=place[1], start=start, end=end)
            stop.wait(0.25)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--bootstrap", required=True)
    arguments.add_argument("--history", required=True)
    arguments.add_argument("--reader", required=True)
    # Only librdkafka's reader asks for offsets by time.
    arguments.add_argument("--client", choices=["librdkafka", "kafka-python"], default="librdkafka")
    arguments.add_argument("--topics", required=True, help="separated by commas")
    how = arguments.add_mutually_exclusive_group(required=True)
    how.add_argument("--tail", metavar="STOP_FILE")
    how.add_argument("--final", action="store_true")
    how.add_argument("--ends", metavar="STOP_FILE")
    given = arguments.parse_args()
    history = History(given.history)
    client = {"librdkafka": Librdkafka, "kafka-python": KafkaPython}[given.client](given.bootstrap)
    reader = Reader(given.reader, client, history, given.topics.split(","))
    try:
        if given.tail:
            reader.tail(given.tail)
        elif given.ends:
            reader.ask_ends(given.ends)
        else:
            reader.final()
    finally:
        history.close()
    client.client.close()


if __name__ == "__main__":
    main()
