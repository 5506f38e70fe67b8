"""One member of a consumer group: joins, reads, commits what it has read, and prints each event as a line of JSON.

    member.py --library L --bootstrap B --group G --topics T,... [--strategy S] [--instance I] [--session-ms N] [--reset R]

Events: assigned and revoked (partitions, as topic:number), record (partition, offset), committed (offsets by partition),
error (words), closed. SIGTERM makes it leave the group in order; SIGKILL is a crash. A record is printed before its
offset is committed, and a commit after the broker has answered.
"""

import argparse
import asyncio
import json
import signal
import sys

POLL_SECONDS = 0.2


class Stop:
    asked = False

    def __init__(self):
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "asked", True))


def event(kind, **fields):
    print(json.dumps({"event": kind, **fields}), flush=True)


def named(partitions):
    return sorted(f"{p.topic}:{p.partition}" for p in partitions)


def read(partition, offset):
    event("record", partition=partition, offset=offset)


def run_rdkafka(given, stop):
    from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

    settings = {
        "bootstrap.servers": given.bootstrap,
        "group.id": given.group,
        "session.timeout.ms": given.session_ms,
        "heartbeat.interval.ms": 500,
        "auto.offset.reset": given.reset,
        "enable.auto.commit": False,
        "partition.assignment.strategy": given.strategy,
        "reconnect.backoff.max.ms": 500,
        "topic.metadata.refresh.interval.ms": 1000,
    }
    if given.instance:
        settings["group.instance.id"] = given.instance
    cooperative = given.strategy.startswith("cooperative")
    consumer = Consumer(settings)

    def assigned(client, partitions):
        (client.incremental_assign if cooperative else client.assign)(partitions)
        event("assigned", partitions=named(partitions))

    def revoked(client, partitions):
        (client.incremental_unassign if cooperative else lambda _: client.unassign())(partitions)
        event("revoked", partitions=named(partitions))

    consumer.subscribe(given.topics.split(","), on_assign=assigned, on_revoke=revoked, on_lost=revoked)
    while not stop.asked:
        ends = {}
        for message in consumer.consume(500, POLL_SECONDS):
            if error := message.error():
                # Without its connection a client goes on trying, and tells of it.
                if error.code() not in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._PARTITION_EOF):
                    event("error", name=error.name(), words=error.str())
                    if error.fatal():
                        return
                continue
            read(f"{message.topic()}:{message.partition()}", message.offset())
            ends[message.topic(), message.partition()] = message.offset() + 1
        if ends:
            try:
                done = consumer.commit(offsets=[TopicPartition(t, p, o) for (t, p), o in ends.items()], asynchronous=False)
                event("committed", offsets={f"{p.topic}:{p.partition}": p.offset for p in done if not p.error})
            except KafkaException as error:
                event("error", name=error.args[0].name(), words=error.args[0].str())
    consumer.close()


def run_kafka_python(given, stop):
    import kafka
    from kafka.coordinator.assignors.range import RangePartitionAssignor
    from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

    class Listener(kafka.ConsumerRebalanceListener):
        def on_partitions_assigned(self, assigned):
            event("assigned", partitions=named(assigned))

        def on_partitions_revoked(self, revoked):
            event("revoked", partitions=named(revoked))

    consumer = kafka.KafkaConsumer(
        bootstrap_servers=given.bootstrap,
        group_id=given.group,
        group_instance_id=given.instance or None,
        session_timeout_ms=given.session_ms,
        heartbeat_interval_ms=500,
        auto_offset_reset=given.reset,
        enable_auto_commit=False,
        partition_assignment_strategy=[{"range": RangePartitionAssignor, "roundrobin": RoundRobinPartitionAssignor}[given.strategy]],
        metadata_max_age_ms=1000,
    )
    consumer.subscribe(given.topics.split(","), listener=Listener())
    while not stop.asked:
        batches = consumer.poll(timeout_ms=int(POLL_SECONDS * 1000))
        ends = {}
        for partition, records in batches.items():
            for record in records:
                read(f"{partition.topic}:{partition.partition}", record.offset)
            ends[partition] = kafka.OffsetAndMetadata(records[-1].offset + 1, "", -1)
        if ends:
            try:
                consumer.commit(ends)
                event("committed", offsets={f"{p.topic}:{p.partition}": o.offset for p, o in ends.items()})
            except kafka.errors.KafkaError as error:
                event("error", name=type(error).__name__, words=str(error))
    consumer.close()


def run_aiokafka(given, stop):
    import aiokafka
    from aiokafka.abc import ConsumerRebalanceListener
    from aiokafka.coordinator.assignors.range import RangePartitionAssignor
    from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

    class Listener(ConsumerRebalanceListener):
        async def on_partitions_assigned(self, assigned):
            event("assigned", partitions=named(assigned))

        async def on_partitions_revoked(self, revoked):
            event("revoked", partitions=named(revoked))

    async def run():
        consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=given.bootstrap,
            group_id=given.group,
            group_instance_id=given.instance or None,
            session_timeout_ms=given.session_ms,
            heartbeat_interval_ms=500,
            auto_offset_reset=given.reset,
            enable_auto_commit=False,
            partition_assignment_strategy=[{"range": RangePartitionAssignor, "roundrobin": RoundRobinPartitionAssignor}[given.strategy]],
            metadata_max_age_ms=1000,
        )
        consumer.subscribe(given.topics.split(","), listener=Listener())
        await consumer.start()
        try:
            while not stop.asked:
                try:
                    batches = await consumer.getmany(timeout_ms=int(POLL_SECONDS * 1000))
                    ends = {}
                    for partition, records in batches.items():
                        for record in records:
                            read(f"{partition.topic}:{partition.partition}", record.offset)
                        ends[partition] = records[-1].offset + 1
                    if ends:
                        await consumer.commit(ends)
                        event("committed", offsets={f"{p.topic}:{p.partition}": o for p, o in ends.items()})
                except aiokafka.errors.KafkaError as error:
                    event("error", name=type(error).__name__, words=str(error))
        finally:
            await consumer.stop()

    asyncio.run(run())


LIBRARIES = {"rdkafka": run_rdkafka, "kafka-python": run_kafka_python, "aiokafka": run_aiokafka}


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--library", required=True, choices=LIBRARIES)
    arguments.add_argument("--bootstrap", required=True)
    arguments.add_argument("--group", required=True)
    arguments.add_argument("--topics", required=True)
    arguments.add_argument("--strategy", default="range")
    arguments.add_argument("--instance", default="")
    arguments.add_argument("--session-ms", type=int, default=6000)
    arguments.add_argument("--reset", default="earliest")
    given = arguments.parse_args()
    try:
        LIBRARIES[given.library](given, Stop())
    except Exception as error:
        event("error", name=type(error).__name__, words=str(error))
        sys.exit(1)
    event("closed")


if __name__ == "__main__":
    main()
