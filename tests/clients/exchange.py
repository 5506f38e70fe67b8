"""librdkafka and kafka-python read what the other wrote: every codec, keys, headers, tombstones, timestamps, offsets.

Two clients that share no code agree on the bytes only if the broker hands them on unchanged.
"""

import argparse
import random
import sys
import time

import kafka
from confluent_kafka import Consumer, Producer, TopicPartition

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
PATIENCE_SECONDS = 60


def records(seed, count):
    """(key, value, headers, timestamp) of each record."""
    seeded = random.Random(seed)
    now_ms = time.time_ns() // 1_000_000
    for n in range(count):
        key = None if n % 5 == 0 else f"key-{n}".encode()
        # kafka-python refuses a record without key and value.
        value = None if n % 11 == 1 and key else seeded.randbytes(seeded.choice([0, 1, 10, 500, 20_000]))
        headers = [("n", str(n).encode()), ("n", b"")] if n % 3 == 0 else []
        yield key, value, headers, now_ms + n


def write_librdkafka(bootstrap, topic, codec, rows):
    outcomes = []
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "compression.type": codec, "linger.ms": 20})
    for key, value, headers, timestamp_ms in rows:
        producer.produce(topic, value, key, 0, timestamp=timestamp_ms, headers=headers,
                         on_delivery=lambda error, message: outcomes.append(error or message.offset()))
    left = producer.flush(PATIENCE_SECONDS)
    return outcomes if not left else f"{left} records without an outcome"


def write_kafka_python(bootstrap, topic, codec, rows):
    producer = kafka.KafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, linger_ms=20, compression_type=None if codec == "none" else codec
    )
    futures = [
        producer.send(topic, value=value, key=key, partition=0, timestamp_ms=timestamp_ms, headers=headers)
        for key, value, headers, timestamp_ms in rows
    ]
    offsets = [future.get(timeout=PATIENCE_SECONDS).offset for future in futures]
    producer.close(timeout=PATIENCE_SECONDS)
    return offsets


def read_librdkafka(bootstrap, topic, count):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "not-used", "enable.auto.commit": False, "check.crcs": True})
    consumer.assign([TopicPartition(topic, 0, 0)])
    rows, deadline = [], time.monotonic() + PATIENCE_SECONDS
    while len(rows) < count and time.monotonic() < deadline:
        for message in consumer.consume(500, 0.2):
            if message.error():
                sys.exit(f"librdkafka reading {topic}: {message.error()}")
            rows.append((message.offset(), message.key(), message.value(), message.headers() or [], message.timestamp()[1]))
    consumer.close()
    return rows


def read_kafka_python(bootstrap, topic, count):
    consumer = kafka.KafkaConsumer(bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False, auto_offset_reset="none")
    partition = kafka.TopicPartition(topic, 0)
    consumer.assign([partition])
    consumer.seek(partition, 0)
    rows, deadline = [], time.monotonic() + PATIENCE_SECONDS
    while len(rows) < count and time.monotonic() < deadline:
        for row in consumer.poll(timeout_ms=200).get(partition, []):
            rows.append((row.offset, row.key, row.value, list(row.headers), row.timestamp))
    consumer.close()
    return rows


WRITERS = {"librdkafka": write_librdkafka, "kafka-python": write_kafka_python}
READERS = {"librdkafka": read_librdkafka, "kafka-python": read_kafka_python}


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--bootstrap", required=True)
    arguments.add_argument("--records", type=int, default=500)
    given = arguments.parse_args()
    for writer, write in WRITERS.items():
        for codec in CODECS:
            # The topics are there already, of one partition.
            topic = f"{writer}-{codec}"
            sent = list(records(topic, given.records))
            offsets = write(given.bootstrap, topic, codec, sent)
            if offsets != list(range(given.records)):
                sys.exit(f"{writer} writing {topic}: outcomes are not the offsets 0 to {given.records - 1}: {str(offsets)[:300]}")
            wanted = [(offset, *row) for offset, row in enumerate(sent)]
            for reader, read in READERS.items():
                got = read(given.bootstrap, topic, given.records)
                if got != wanted:
                    differ = next((pair for pair in zip(wanted, got) if pair[0] != pair[1]), "the number of records")
                    sys.exit(f"{reader} reading {topic}: {len(got)} of {len(wanted)} records; first difference: {str(differ)[:500]}")
            print(f"{topic}: {given.records} records, read equal by {' and '.join(READERS)}", flush=True)


if __name__ == "__main__":
    main()
