"""Producers of a fault run, on librdkafka or kafka-python: at a steady rate, each record and its outcome in the history.

    --producer NAME:CLIENT:MODE:CODEC   CLIENT is librdkafka or kafka-python; MODE is idempotent or plain; may be given again
    --topics   NAME:PARTITIONS,...      each producer writes to all of the partitions in turn

All wait for acks=all and are patient: a record may take three minutes. `plain` is without idempotence and with one request
in flight, so that its records may be doubled but not reordered. All outcomes are waited for after the last record.
"""

import argparse
import sys
import threading
import time

from confluent_kafka import KafkaError, Producer
from kafka import KafkaProducer
from kafka.errors import MessageSizeTooLargeError

from history import History, digest, record

PATIENCE_MS = 180_000
REQUEST_MS = 10_000


class Librdkafka:
    # Refused as it is, by client or broker; every other error leaves the outcome open.
    DEFINITE = {KafkaError.MSG_SIZE_TOO_LARGE}

    def __init__(self, bootstrap, idempotent, codec, failed):
        self.client = Producer(
            {
                "bootstrap.servers": bootstrap,
                "acks": "all",
                "enable.idempotence": idempotent,
                "max.in.flight.requests.per.connection": 5 if idempotent else 1,
                "message.send.max.retries": 2**31 - 1,
                "compression.type": codec,
                "linger.ms": 5,
                "message.timeout.ms": PATIENCE_MS,
                "socket.timeout.ms": REQUEST_MS,
                "request.timeout.ms": REQUEST_MS,
                "reconnect.backoff.max.ms": 500,
                "error_cb": lambda error: failed(error) if error.fatal() else None,
                "log_level": 2,
            }
        )

    def send(self, topic, partition, key, value, headers, timestamp_ms, ok, error):
        def outcome(failure, message):
            if failure is None:
                ok(message.offset())
            else:
                error("fail" if failure.code() in self.DEFINITE else "info", failure)

        while True:
            try:
                self.client.produce(topic, value, key, partition, on_delivery=outcome, timestamp=timestamp_ms, headers=headers)
                return
            except BufferError:
                # The local queue is full while the broker is down: nothing of this record has left.
                self.client.poll(0.1)

    def poll(self):
        self.client.poll(0)

    def finish(self):
        return self.client.flush(PATIENCE_MS / 1000)


class KafkaPython:
    def __init__(self, bootstrap, idempotent, codec, _failed):
        self.open = 0
        self.lock = threading.Lock()
        self.client = KafkaProducer(
            bootstrap_servers=bootstrap,
            acks="all",
            enable_idempotence=idempotent,
            # More than one is refused by this client where there is idempotence, and reorders where there is none.
            max_in_flight_requests_per_connection=1,
            compression_type=None if codec == "none" else codec,
            linger_ms=5,
            delivery_timeout_ms=PATIENCE_MS,
            max_block_ms=PATIENCE_MS,
            request_timeout_ms=REQUEST_MS,
            reconnect_backoff_max_ms=500,
        )

    def send(self, topic, partition, key, value, headers, timestamp_ms, ok, error):
        def done(call, *args):
            call(*args)
            with self.lock:
                self.open -= 1

        with self.lock:
            self.open += 1
        future = self.client.send(topic, value, key, headers, partition, timestamp_ms)
        future.add_callback(lambda sent: done(ok, sent.offset))
        future.add_errback(lambda failure: done(error, "fail" if isinstance(failure, MessageSizeTooLargeError) else "info", failure))

    def poll(self):
        pass

    def finish(self):
        self.client.flush(PATIENCE_MS / 1000)
        with self.lock:
            return self.open


class Writer:
    def __init__(self, words, bootstrap, history, places, sizes):
        self.name, client, mode, self.codec = words.split(":")
        if mode not in ("idempotent", "plain"):
            raise argparse.ArgumentTypeError(f"no such mode: {mode}")
        self.history, self.places, self.sizes, self.n, self.fatal = history, places, sizes, 0, None
        self.history.write("producer", producer=self.name, idempotent=mode == "idempotent", patient=True)
        clients = {"librdkafka": Librdkafka, "kafka-python": KafkaPython}
        self.client = clients[client](bootstrap, mode == "idempotent", self.codec, self.failed)

    def failed(self, error):
        self.fatal = error

    def send(self):
        n, self.n = self.n, self.n + 1
        topic, partition = self.places[n % len(self.places)]
        key, value, headers = record(self.name, n, self.sizes)
        timestamp_ms = time.time_ns() // 1_000_000
        self.history.invoke(self.name, n, topic, partition, digest(key, value, headers, timestamp_ms))
        self.client.send(
            topic,
            partition,
            key,
            value,
            headers,
            timestamp_ms,
            lambda offset: self.history.ok(self.name, n, topic, partition, offset),
            lambda outcome, error: self.history.write(outcome, producer=self.name, n=n, error=str(error)),
        )


def places(text):
    return [(name, partition) for name, count in (word.split(":") for word in text.split(",")) for partition in range(int(count))]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--bootstrap", required=True)
    arguments.add_argument("--history", required=True)
    arguments.add_argument("--topics", required=True, type=places)
    arguments.add_argument("--seconds", type=int, required=True)
    arguments.add_argument("--rate", type=int, required=True, help="records a second, of each producer")
    arguments.add_argument("--sizes", choices=["small", "mixed"], default="mixed")
    arguments.add_argument("--producer", action="append", required=True)
    given = arguments.parse_args()
    history = History(given.history)
    writers = [Writer(words, given.bootstrap, history, given.topics, given.sizes) for words in given.producer]
    started = time.monotonic()
    for turn in range(given.seconds * given.rate):
        for writer in writers:
            writer.send()
        ahead = started + (turn + 1) / given.rate - time.monotonic()
        if turn % 10 == 0 or ahead > 0.01:
            for writer in writers:
                writer.client.poll()
        if ahead > 0:
            time.sleep(ahead)
        if time.monotonic() - started > given.seconds:
            break
    left = sum(writer.client.finish() for writer in writers)
    history.close()
    for writer in writers:
        if writer.fatal:
            print(f"{writer.name}: fatal error: {writer.fatal}", file=sys.stderr)
    print(f"{sum(writer.n for writer in writers)} records sent, {left} without an outcome")
    sys.exit(1 if left or any(writer.fatal for writer in writers) else 0)


if __name__ == "__main__":
    main()
