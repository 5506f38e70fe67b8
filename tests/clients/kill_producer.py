"""The kill loop's librdkafka producers: idempotent, patient, at a steady rate, each record and its outcome in the history.

All outcomes are waited for after the last record, for as long as a message may take (message.timeout.ms).
"""

import argparse
import sys
import time

from confluent_kafka import KafkaError, Producer

from history import History, digest, record

# Refused as it is, by client or broker; every other error leaves the outcome open.
DEFINITE = {KafkaError.MSG_SIZE_TOO_LARGE}
PATIENCE_MS = 180_000


class KillProducer:
    def __init__(self, name, codec, bootstrap, history):
        self.name, self.history, self.n = name, history, 0
        self.fatal = None
        self.client = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "compression.type": codec,
                "linger.ms": 5,
                "message.timeout.ms": PATIENCE_MS,
                "socket.timeout.ms": 10_000,
                "reconnect.backoff.max.ms": 500,
                "error_cb": self.on_error,
                "log_level": 2,
            }
        )

    def on_error(self, error):
        if error.fatal():
            self.fatal = error

    def send(self):
        n, self.n = self.n, self.n + 1
        # The last of every four goes to a topic of its own.
        topic, partition = ("kill-b", 0) if n % 4 == 3 else ("kill-a", n % 4)
        key, value, headers = record(self.name, n)
        timestamp_ms = time.time_ns() // 1_000_000
        self.history.write(
            "invoke", producer=self.name, n=n, topic=topic, partition=partition, digest=digest(key, value, headers, timestamp_ms)
        )

        def outcome(error, message):
            if error is None:
                self.history.write("ok", producer=self.name, n=n, topic=topic, partition=partition, offset=message.offset())
            else:
                kind = "fail" if error.code() in DEFINITE else "info"
                self.history.write(kind, producer=self.name, n=n, error=str(error))

        while True:
            try:
                self.client.produce(topic, value, key, partition, on_delivery=outcome, timestamp=timestamp_ms, headers=headers)
                return
            except BufferError:
                # The local queue is full while the broker is down: nothing of this record has left.
                self.client.poll(0.1)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--bootstrap", required=True)
    arguments.add_argument("--history", required=True)
    arguments.add_argument("--seconds", type=int, required=True)
    arguments.add_argument("--rate", type=int, required=True, help="records a second, of each producer")
    given = arguments.parse_args()
    history = History(given.history)
    producers = [KillProducer(name, codec, given.bootstrap, history) for name, codec in (("py0", "lz4"), ("py1", "none"))]
    started = time.monotonic()
    for turn in range(given.seconds * given.rate):
        for producer in producers:
            producer.send()
            producer.client.poll(0)
        ahead = started + (turn + 1) / given.rate - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
        if time.monotonic() - started > given.seconds:
            break
    left = sum(producer.client.flush(PATIENCE_MS / 1000) for producer in producers)
    history.close()
    for producer in producers:
        if producer.fatal:
            print(f"{producer.name}: fatal error: {producer.fatal}", file=sys.stderr)
    print(f"{sum(producer.n for producer in producers)} records sent, {left} without an outcome")
    sys.exit(1 if left or any(producer.fatal for producer in producers) else 0)


if __name__ == "__main__":
    main()
