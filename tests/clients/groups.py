"""Consumer groups with members of real clients, each a process of its own: rebalances, crashes, resets, refusals.

    groups.py --bootstrap B --java CLASSPATH --broker KILL_AND_START [--only CHECK]

Prints the name of each check that holds, alone on a line. BROKER is a command that kills the broker with SIGKILL and
returns once a new one is ready.
"""

import argparse
import collections
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

HERE = os.path.dirname(os.path.abspath(__file__))
PATIENCE_SECONDS = 45
SESSION_MS = 6000


class Failed(Exception):
    pass


class Member:
    """A process that is a member of a group, and what it has said so far."""

    def __init__(self, bench, library, group, topics, **settings):
        self.events, self.records, self.owned = [], collections.defaultdict(list), set()
        self.name = f"{library}-{len(bench.members)}"
        self.process = subprocess.Popen(bench.command(library, group, topics, settings), stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT if library == "kcat" else None, text=True)
        self.read = self.read_kcat if library == "kcat" else self.read_json
        threading.Thread(target=self.listen, daemon=True).start()
        bench.members.append(self)

    def listen(self):
        for line in self.process.stdout:
            print(f"{self.name} {line}", end="", flush=True)
            self.read(line)

    def read_json(self, line):
        if not line.startswith("{"):
            return
        event = json.loads(line)
        kind = event["event"]
        if kind == "record":
            self.records[event["partition"]].append(event["offset"])
            return
        if kind == "assigned":
            self.owned |= set(event["partitions"])
        if kind == "revoked":
            self.owned -= set(event["partitions"])
        self.events.append(event)

    def read_kcat(self, line):
        if found := re.search(r"rebalanced .*: (assigned|revoked): (.*)", line):
            partitions = [f"{topic}:{number}" for topic, number in re.findall(r"(\S+) \[(\d+)\]", found[2])]
            self.read_json(json.dumps({"event": found[1], "partitions": partitions}))
        elif found := re.fullmatch(r"(\S+:\d+)@(\d+)\n", line):
            self.read_json(json.dumps({"event": "record", "partition": found[1], "offset": int(found[2])}))

    def count(self, *kinds):
        return sum(1 for event in self.events if event["event"] in kinds and event.get("partitions") != [])

    def errors(self):
        return [event for event in self.events if event["event"] == "error"]

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE_SECONDS)

    def crash(self):
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)
        self.owned = set()


class Bench:
    def __init__(self, given):
        self.given, self.members = given, []
        self.admin = AdminClient({"bootstrap.servers": given.bootstrap})
        self.producer = Producer({"bootstrap.servers": given.bootstrap, "enable.idempotence": True, "linger.ms": 5, "reconnect.backoff.max.ms": 500})

    def command(self, library, group, topics, settings):
        words = ["--bootstrap", self.given.bootstrap, "--group", group, "--topics", ",".join(topics)]
        for key, value in settings.items():
            words += ["--" + key.replace("_", "-"), str(value)]
        if library == "java":
            return ["java", "-Xmx96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", self.given.java, "GroupMember", *words]
        if library == "kcat":
            return ["kcat", "-b", self.given.bootstrap, "-u", "-f", "%t:%p@%o\\n", "-X", "auto.offset.reset=earliest",
                    "-X", f"session.timeout.ms={settings.get('session_ms', SESSION_MS)}", "-X", "heartbeat.interval.ms=500",
                    "-X", "partition.assignment.strategy=" + settings.get("strategy", "range"), "-G", group, *topics]
        return [sys.executable, os.path.join(HERE, "member.py"), "--library", library, *words]

    def topic(self, name, partitions):
        for future in self.admin.create_topics([NewTopic(name, partitions, 1)]).values():
            future.result(PATIENCE_SECONDS)
        self.until(f"topic {name} is there", lambda: name in self.admin.list_topics(timeout=10).topics)
        return [f"{name}:{partition}" for partition in range(partitions)]

    def write(self, partitions, count):
        """COUNT records to each partition, acknowledged."""
        failed = []
        for partition in partitions:
            topic, number = partition.rsplit(":", 1)
            for n in range(count):
                self.producer.produce(topic, f"{partition}-{n}", partition=int(number), on_delivery=lambda error, _: error and failed.append(error))
        left = self.producer.flush(PATIENCE_SECONDS)
        self.expect("records that were not written", [], failed + ["no outcome"] * left)

    def committed(self, group, partitions):
        asked = [TopicPartition(*split(partition)) for partition in partitions]
        answer = self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, asked)])[group].result(PATIENCE_SECONDS)
        return {f"{p.topic}:{p.partition}": p.offset for p in answer.topic_partitions}

    def describe(self, group):
        return self.admin.describe_consumer_groups([group])[group].result(PATIENCE_SECONDS)

    def until(self, what, holds, seconds=PATIENCE_SECONDS):
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                raise Failed(f"not within {seconds} s: {what}; the members own " + str({m.name: sorted(m.owned) for m in self.members}))
            time.sleep(0.1)

    def shared(self, members, partitions):
        """Waits until the members own all of the partitions, each of them once, and each member one at least."""
        def holds():
            owned = [partition for member in members for partition in member.owned]
            return sorted(owned) == sorted(partitions) and all(member.owned for member in members)
        self.until(f"{[member.name for member in members]} share {len(partitions)} partitions", holds)

    def has_read(self, members, partitions, end, start=0):
        """Waits until the members together have read every offset from start to end of each partition."""
        def holds():
            return all(set(range(start, end)) <= {offset for member in members for offset in member.records[partition]} for partition in partitions)
        self.until(f"{[member.name for member in members]} read offsets {start} to {end - 1} of {partitions}", holds)

    def has_committed(self, group, partitions, end):
        self.until(f"group {group} has committed {end} for {partitions}", lambda: self.committed(group, partitions) == dict.fromkeys(partitions, end))

    @staticmethod
    def expect(what, wanted, got):
        if wanted != got:
            raise Failed(f"{what}: expected {wanted}, got {got}")

    def refused(self, what, name, words, action):
        """The action must fail with this error of librdkafka's and these words."""
        try:
            action()
        except KafkaException as error:
            self.expect(what, name, error.args[0].name())
            if words not in error.args[0].str():
                raise Failed(f"{what}: the words are '{error.args[0].str()}', not '{words}'")
            return
        raise Failed(f"{what} was not refused")

    def end(self):
        for member in self.members:
            member.process.send_signal(signal.SIGTERM)
        for member in self.members:
            try:
                member.process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                raise Failed(f"{member.name} did not end within {PATIENCE_SECONDS} s of SIGTERM") from None
        self.members.clear()


def split(partition):
    topic, number = partition.rsplit(":", 1)
    return topic, int(number)


def committed_offsets_are_where_the_next_member_begins(bench):
    """resume-from-commits: what one client has committed, another goes on from; no record is lost or read twice."""
    partitions = bench.topic("resume", 3)
    total = 0
    for library in ("rdkafka", "kafka-python", "aiokafka", "java", "kcat"):
        bench.write(partitions, 50)
        member = Member(bench, library, "resume", ["resume"])
        bench.has_read([member], partitions, total + 50, total)
        if library != "kcat":
            # kcat commits every five seconds, and when it leaves.
            bench.has_committed("resume", partitions, total + 50)
        member.stop()
        bench.has_committed("resume", partitions, total + 50)
        total += 50
        for partition in partitions:
            bench.expect(f"first offset that {member.name} read of {partition}", total - 50, min(member.records[partition]))
            bench.expect(f"records that {member.name} read of {partition}", list(range(total - 50, total)), member.records[partition])


def members_of_five_clients_share_one_group(bench):
    """mixed-clients: librdkafka old and new, Java, kafka-python and aiokafka agree on one assignment and read everything."""
    partitions = bench.topic("mixed", 10)
    bench.write(partitions, 20)
    members = [Member(bench, library, "mixed", ["mixed"]) for library in ("rdkafka", "kafka-python", "aiokafka", "java", "kcat")]
    bench.shared(members, partitions)
    bench.has_read(members, partitions, 20)
    bench.write(partitions, 20)
    bench.has_read(members, partitions, 40)
    described = bench.describe("mixed")
    bench.expect("state of the group", "STABLE", described.state.name)
    bench.expect("members of the group", 5, len(described.members))
    bench.expect("partitions that the members are described with", sorted(partitions), sorted(
        f"{p.topic}:{p.partition}" for member in described.members for p in member.assignment.topic_partitions))
    for member in members[:3]:
        member.stop()
    bench.shared(members[3:], partitions)
    bench.write(partitions, 20)
    bench.has_read(members[3:], partitions, 60, 40)


def a_member_that_is_killed_loses_its_partitions_after_its_session(bench):
    """killed-member: its partitions go to the others once its session has timed out, and not before; nothing is skipped."""
    partitions = bench.topic("killed", 4)
    members = [Member(bench, library, "killed", ["killed"]) for library in ("rdkafka", "kafka-python")]
    bench.shared(members, partitions)
    bench.write(partitions, 100)
    bench.has_read(members, partitions, 100)
    started = time.monotonic()
    members[0].crash()
    bench.write(partitions, 100)
    bench.shared(members[1:], partitions)
    waited = time.monotonic() - started
    # The last heartbeat may have been as old as the interval between two.
    if waited < SESSION_MS / 1000 - 1.5:
        raise Failed(f"the killed member was given up after {waited:.1f} s, before its session of {SESSION_MS} ms was over")
    bench.has_read(members[1:], partitions, 200, 100)
    bench.has_committed("killed", partitions, 200)


def a_cooperative_rebalance_moves_only_what_must_move(bench):
    """cooperative: members keep the partitions that do not move, and go on reading them."""
    partitions = bench.topic("cooperative", 6)
    members = [Member(bench, "rdkafka", "cooperative", ["cooperative"], strategy="cooperative-sticky")]
    bench.shared(members, partitions)
    for library in ("java", "rdkafka"):
        before = {member.name: set(member.owned) for member in members}
        members.append(Member(bench, library, "cooperative", ["cooperative"], strategy="cooperative-sticky"))
        bench.shared(members, partitions)
        for member in members[:-1]:
            revoked = {p for event in member.events if event["event"] == "revoked" for p in event["partitions"]}
            kept = before[member.name] & member.owned
            bench.expect(f"partitions of {member.name} that were taken away though they stayed", set(), kept & revoked)
            if not kept:
                raise Failed(f"{member.name} kept none of its partitions")
    bench.write(partitions, 50)
    bench.has_read(members, partitions, 50)
    members[1].stop()
    bench.shared([members[0], members[2]], partitions)
    bench.write(partitions, 50)
    bench.has_read([members[0], members[2]], partitions, 100, 50)


def a_static_member_comes_back_without_a_rebalance(bench):
    """static-member: killed and started again within its session it has its partitions, and nobody else noticed."""
    partitions = bench.topic("static", 4)
    session = 30_000
    members = [Member(bench, "rdkafka", "static", ["static"], instance="one", session_ms=session),
               Member(bench, "kafka-python", "static", ["static"], instance="two", session_ms=session)]
    bench.shared(members, partitions)
    bench.write(partitions, 20)
    bench.has_read(members, partitions, 20)
    owned, seen = set(members[0].owned), members[1].count("assigned", "revoked")
    members[0].crash()
    again = Member(bench, "rdkafka", "static", ["static"], instance="one", session_ms=session)
    bench.until("the static member has its partitions again", lambda: again.owned == owned)
    bench.write(partitions, 20)
    bench.has_read([again, members[1]], partitions, 40, 20)
    bench.expect("rebalances that the other member saw", seen, members[1].count("assigned", "revoked"))
    bench.expect("instance ids of the group", ["one", "two"], sorted(member.group_instance_id for member in bench.describe("static").members))
    for member in (again, members[1]):
        member.stop()
    # Members that are static do not leave with their process.
    bench.expect("members after both have stopped", 2, len(bench.describe("static").members))


def a_second_static_member_fences_the_first(bench):
    """fenced-instance: of two with the same instance id the older one is told, with the words of its client."""
    partitions = bench.topic("fenced", 2)
    for n, (library, words) in enumerate((("rdkafka", "Static consumer fenced by other consumer with same group.instance.id"),
                           ("java", "The broker rejected this static consumer since another consumer with the same group.instance.id has registered with a different member.id."))):
        group = "fenced-" + library
        first = Member(bench, library, group, ["fenced"], instance="only", session_ms=30_000)
        bench.shared([first], partitions)
        second = Member(bench, library, group, ["fenced"], instance="only", session_ms=30_000)
        bench.shared([second], partitions)
        # The older one learns of it by its next heartbeat or commit.
        bench.until(f"{first.name} is fenced", lambda: any(words in event["words"] for event in first.errors()))
        bench.write(partitions, 5)
        bench.has_read([second], partitions, 5 * (n + 1), 5 * n)


def a_killed_broker_leaves_the_group_as_it_was(bench):
    """broker-killed: with a new broker within the session, members go on without a rebalance, and commits are all there.

    kcat ends by itself when it has lost every broker, so it is none of them.
    """
    partitions = bench.topic("survive", 6)
    members = [Member(bench, library, "survive", ["survive"], session_ms=45_000) for library in ("rdkafka", "kafka-python", "aiokafka", "java")]
    bench.shared(members, partitions)
    bench.write(partitions, 100)
    bench.has_read(members, partitions, 100)
    bench.has_committed("survive", partitions, 100)
    before = bench.describe("survive")
    seen = {member.name: member.count("assigned", "revoked") for member in members}
    idle = Consumer({"bootstrap.servers": bench.given.bootstrap, "group.id": "survive-alone", "enable.auto.commit": False})
    idle.commit(offsets=[TopicPartition("survive", 0, 42)], asynchronous=False)
    idle.close()
    for _ in range(2):
        subprocess.run(bench.given.broker, shell=True, check=True)
        # An admin client of librdkafka that has lost a coordinator may wait for it until its call times out, with Kafka too.
        bench.admin = AdminClient({"bootstrap.servers": bench.given.bootstrap})
        bench.expect("offsets after the kill", dict.fromkeys(partitions, 100), bench.committed("survive", partitions))
        bench.expect("the offset of a group without members", {"survive:0": 42}, bench.committed("survive-alone", ["survive:0"]))
    bench.write(partitions, 100)
    bench.has_read(members, partitions, 200)
    bench.has_committed("survive", partitions, 200)
    after = bench.describe("survive")
    bench.expect("member ids", sorted(member.member_id for member in before.members), sorted(member.member_id for member in after.members))
    bench.expect("rebalances of each member", seen, {member.name: member.count("assigned", "revoked") for member in members})
    bench.expect("errors of the members", [], [event for member in members for event in member.errors()])


def a_group_without_offsets_begins_where_it_is_told(bench):
    """reset: earliest, latest and an error, with no offset committed and with one that the log has left behind."""
    partitions = bench.topic("reset", 1)
    bench.write(partitions, 10)
    member = Member(bench, "rdkafka", "reset-earliest", ["reset"], reset="earliest")
    bench.has_read([member], partitions, 10)
    late = Member(bench, "kafka-python", "reset-latest", ["reset"], reset="latest")
    bench.shared([late], partitions)
    # It has looked up the end before the next record comes, once it has an offset to commit for it.
    def seen():
        bench.write(partitions, 1)
        return late.records["reset:0"]
    bench.until("the late member reads something", seen)
    if min(late.records["reset:0"]) < 10:
        raise Failed(f"with latest the member began at {min(late.records['reset:0'])}")
    none = Member(bench, "rdkafka", "reset-none", ["reset"], reset="error")
    bench.until("the member without an offset is told", lambda: any(event["name"] == "_AUTO_OFFSET_RESET" for event in none.errors()))
    # What was committed is cut away: the member begins at the new start.
    consumer = Consumer({"bootstrap.servers": bench.given.bootstrap, "group.id": "reset-cut", "enable.auto.commit": False})
    consumer.commit(offsets=[TopicPartition("reset", 0, 2)], asynchronous=False)
    consumer.close()
    for future in bench.admin.delete_records([TopicPartition("reset", 0, 5)]).values():
        future.result(PATIENCE_SECONDS)
    cut = Member(bench, "aiokafka", "reset-cut", ["reset"], reset="earliest")
    bench.has_read([cut], partitions, 10, 5)
    bench.expect("first offset after the cut", 5, cut.records["reset:0"][0])


def refusals_have_the_words_of_kafka(bench):
    """refusals: what a user does wrong with groups is answered with Kafka's codes, which clients show in their words."""
    partitions = bench.topic("refused", 2)
    bench.write(partitions, 5)
    base = {"bootstrap.servers": bench.given.bootstrap, "enable.auto.commit": False}

    def committer(group, offset=1, topic="refused", metadata=None):
        def act():
            consumer = Consumer({**base, "group.id": group})
            try:
                where = TopicPartition(topic, 0, offset)
                if metadata is not None:
                    where = TopicPartition(topic, 0, offset, metadata)
                done = consumer.commit(offsets=[where], asynchronous=False)
                if done[0].error:
                    raise KafkaException(done[0].error)
            finally:
                consumer.close()
        return act

    def settle(futures):
        return lambda: [future.result(PATIENCE_SECONDS) for future in futures().values()]

    member = Member(bench, "rdkafka", "refused", ["refused"])
    bench.shared([member], partitions)
    bench.has_committed("refused", partitions, 5)
    bench.refused("a commit by a stranger to a group with members", "UNKNOWN_MEMBER_ID", "Unknown member", committer("refused"))
    bench.refused("deleting a group with members", "NON_EMPTY_GROUP", "group is not empty", settle(lambda: bench.admin.delete_consumer_groups(["refused"])))
    bench.refused("deleting a group that is not there", "GROUP_ID_NOT_FOUND", "group id does not exist", settle(lambda: bench.admin.delete_consumer_groups(["refused-none"])))
    bench.refused("metadata of 5,000 bytes", "OFFSET_METADATA_TOO_LARGE", "Offset metadata string too large", committer("refused-large", metadata="m" * 5000))
    bench.refused("a commit for a topic that is not there", "UNKNOWN_TOPIC_OR_PART", "Unknown topic or partition", committer("refused-topic", topic="refused-none"))
    bench.refused("resetting the offsets of a group with members", "UNKNOWN_MEMBER_ID", "Unknown member", lambda: alter(bench, "refused", "refused", 0, 0))
    short = Member(bench, "rdkafka", "refused-session", ["refused"], session_ms=2000)
    # A session outside of the broker's bounds is final for the join, so librdkafka tells of it.
    bench.until("a session of 2 s is refused", lambda: any("Invalid session timeout" in event["words"] for event in short.errors()) or short.process.poll() is not None)
    if not any("Invalid session timeout" in event["words"] for event in short.errors()):
        raise Failed(f"a session of 2 s was answered with {short.errors()}")
    other = Member(bench, "kafka-python", "refused", ["refused"], strategy="roundrobin")
    bench.until("a member without a common protocol is refused", lambda: any("InconsistentGroupProtocol" in event["name"] for event in other.errors()))
    described = bench.describe("refused")
    bench.expect("state", "STABLE", described.state.name)
    bench.expect("assignor", "range", described.partition_assignor)
    bench.expect("state of a group that is not there", "DEAD", bench.describe("refused-none").state.name)


def alter(bench, group, topic, partition, offset):
    for future in bench.admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [TopicPartition(topic, partition, offset)])]).values():
        for done in future.result(PATIENCE_SECONDS).topic_partitions:
            if done.error:
                raise KafkaException(done.error)


def offsets_are_set_listed_and_deleted_by_an_admin(bench):
    """admin-offsets: an empty group's offsets are altered, its members begin there; the group is listed and deleted."""
    partitions = bench.topic("moved", 2)
    bench.write(partitions, 30)
    member = Member(bench, "rdkafka", "moved", ["moved"])
    bench.has_committed("moved", partitions, 30)
    member.stop()
    bench.until("the group is empty", lambda: bench.describe("moved").state.name == "EMPTY")
    alter(bench, "moved", "moved", 0, 10)
    alter(bench, "moved", "moved", 1, 20)
    bench.expect("offsets after the change", {"moved:0": 10, "moved:1": 20}, bench.committed("moved", partitions))
    member = Member(bench, "rdkafka", "moved", ["moved"])
    bench.has_read([member], ["moved:0"], 30, 10)
    bench.has_read([member], ["moved:1"], 30, 20)
    bench.expect("first offsets", {"moved:0": 10, "moved:1": 20}, {partition: offsets[0] for partition, offsets in member.records.items()})
    listed = bench.admin.list_consumer_groups().result(PATIENCE_SECONDS)
    bench.expect("errors of the listing", [], listed.errors)
    bench.expect("state in the listing", "STABLE", next(group.state.name for group in listed.valid if group.group_id == "moved"))
    member.stop()
    bench.until("the group is empty", lambda: bench.describe("moved").state.name == "EMPTY")
    for future in bench.admin.delete_consumer_groups(["moved"]).values():
        future.result(PATIENCE_SECONDS)
    bench.expect("offsets after the group was deleted", dict.fromkeys(partitions, -1001), bench.committed("moved", partitions))
    names = [group.group_id for group in bench.admin.list_consumer_groups().result(PATIENCE_SECONDS).valid]
    if "moved" in names:
        raise Failed("a deleted group is still listed")


def a_pattern_takes_in_topics_that_come_later(bench):
    """pattern: a subscription by pattern is given the partitions of a topic that is made after it."""
    partitions = bench.topic("pattern-a", 2)
    member = Member(bench, "rdkafka", "pattern", ["^pattern-.*"])
    bench.shared([member], partitions)
    partitions += bench.topic("pattern-b", 2)
    bench.write(partitions, 5)
    bench.shared([member], partitions)
    bench.has_read([member], partitions, 5)


CHECKS = [
    committed_offsets_are_where_the_next_member_begins,
    members_of_five_clients_share_one_group,
    a_member_that_is_killed_loses_its_partitions_after_its_session,
    a_cooperative_rebalance_moves_only_what_must_move,
    a_static_member_comes_back_without_a_rebalance,
    a_second_static_member_fences_the_first,
    a_group_without_offsets_begins_where_it_is_told,
    refusals_have_the_words_of_kafka,
    offsets_are_set_listed_and_deleted_by_an_admin,
    a_pattern_takes_in_topics_that_come_later,
    a_killed_broker_leaves_the_group_as_it_was,
]


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--bootstrap", required=True)
    arguments.add_argument("--java", required=True)
    arguments.add_argument("--broker", required=True)
    arguments.add_argument("--ran", required=True)
    arguments.add_argument("--only", default="")
    given = arguments.parse_args()
    failed = []
    for check in CHECKS:
        name = check.__doc__.split(":")[0]
        if given.only and name not in given.only.split(","):
            continue
        bench, started = Bench(given), time.monotonic()
        print(f"-- {check.__doc__.splitlines()[0]}", flush=True)
        try:
            check(bench)
            bench.end()
        except (Failed, KafkaException, TimeoutError, subprocess.SubprocessError) as error:
            failed.append(name)
            print(f"FAILED {name}: {error!r}", flush=True)
            for member in bench.members:
                member.process.kill()
            continue
        print(f"-- {name} holds after {time.monotonic() - started:.1f} s", flush=True)
        with open(given.ran, "a") as ran:
            ran.write(name + "\n")
    if failed:
        sys.exit(f"FAILED: {', '.join(failed)}")


if __name__ == "__main__":
    main()
