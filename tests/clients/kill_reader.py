"""The kill loop's librdkafka reader, without a group's help: at the tail all along, or everything once at the end.

    --tail FILE   from the start until FILE is there, through every kill: it must never go back, skip, or see what later is not there
    --final       from log start to the end that the broker names now; the range is noted in the history
"""

import argparse
import os
import sys
import time

from confluent_kafka import Consumer, TopicPartition

from history import History, digest

PATIENCE_SECONDS = 60


class Reader:
    def __init__(self, name, bootstrap, history):
        self.name, self.history = name, history
        self.consumer = Consumer(
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
        known = {topic: self.consumer.list_topics(topic, timeout=PATIENCE_SECONDS).topics[topic] for topic in topics}
        return [(topic, partition) for topic in topics for partition in sorted(known[topic].partitions)]

    def take(self, batch):
        """Notes the records of a poll; returns how many there were."""
        count = 0
        for message in batch:
            error = message.error()
            if error is not None:
                if error.retriable() or error.code() < 0:
                    continue  # connections that break are the point of the exercise
                sys.exit(f"{self.name}: {message.topic()}-{message.partition()}: {error}")
            _, timestamp_ms = message.timestamp()
            self.history.write(
                "read",
                reader=self.name,
                topic=message.topic(),
                partition=message.partition(),
                offset=message.offset(),
                id=(message.key() or b"null").decode("ascii", "replace"),
                digest=digest(message.key(), message.value(), message.headers() or [], timestamp_ms),
            )
            count += 1
        return count

    def tail(self, topics, stop_file):
        self.consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in self.partitions(topics)])
        while not os.path.exists(stop_file):
            self.take(self.consumer.consume(500, 0.2))

    def final(self, topics):
        ends = {}
        starts = {}
        for place in self.partitions(topics):
            starts[place], ends[place] = self.consumer.get_watermark_offsets(TopicPartition(*place), PATIENCE_SECONDS)
        self.consumer.assign([TopicPartition(topic, partition, starts[topic, partition]) for topic, partition in ends])
        wanted = sum(ends[place] - starts[place] for place in ends)
        seen, deadline = 0, time.monotonic() + PATIENCE_SECONDS
        while seen < wanted:
            count = self.take(self.consumer.consume(500, 0.2))
            seen += count
            if count:
                deadline = time.monotonic() + PATIENCE_SECONDS
            elif time.monotonic() > deadline:
                # What is missing then shows as holes in the range.
                print(f"{self.name}: {seen} of {wanted} records came, then nothing for {PATIENCE_SECONDS} s", file=sys.stderr)
                break
        for (topic, partition), end in ends.items():
            self.history.write("range", reader=self.name, topic=topic, partition=partition, start=starts[topic, partition], end=end)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--bootstrap", required=True)
    arguments.add_argument("--history", required=True)
    arguments.add_argument("--reader", required=True)
    arguments.add_argument("--topics", required=True, help="separated by commas")
    how = arguments.add_mutually_exclusive_group(required=True)
    how.add_argument("--tail", metavar="STOP_FILE")
    how.add_argument("--final", action="store_true")
    given = arguments.parse_args()
    history = History(given.history)
    reader = Reader(given.reader, given.bootstrap, history)
    try:
        if given.tail:
            reader.tail(given.topics.split(","), given.tail)
        else:
            reader.final(given.topics.split(","))
    finally:
        history.close()
    reader.consumer.close()


if __name__ == "__main__":
    main()
