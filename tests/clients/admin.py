"""Topics from the command line, without the second that a JVM takes to start.

    admin.py --bootstrap B create NAME:PARTITIONS[:KEY=VALUE,...]...
    admin.py --bootstrap B delete NAME...
    admin.py --bootstrap B delete-all     every topic that is not internal; returns once none is listed
"""

import argparse
import sys
import time

from confluent_kafka.admin import AdminClient, NewTopic

PATIENCE_SECONDS = 60


def create(admin, words):
    topics = []
    for word in words:
        name, partitions, settings = (word + "::").split(":")[:3]
        config = dict(pair.split("=", 1) for pair in settings.split(",") if pair)
        topics.append(NewTopic(name, num_partitions=int(partitions), replication_factor=1, config=config))
    settle(admin.create_topics(topics, operation_timeout=PATIENCE_SECONDS))
    wait_for(admin, lambda listed: all(word.split(":")[0] in listed for word in words), "created topics are listed")


def delete(admin, names):
    settle(admin.delete_topics(names, operation_timeout=PATIENCE_SECONDS))
    wait_for(admin, lambda listed: not listed.intersection(names), "deleted topics are no longer listed")


def names(admin):
    return {name for name in admin.list_topics(timeout=PATIENCE_SECONDS).topics if not name.startswith("__")}


def settle(futures):
    for name, future in futures.items():
        try:
            future.result(PATIENCE_SECONDS)
        except Exception as error:
            sys.exit(f"{name}: {error}")


def wait_for(admin, holds, what):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds(names(admin)):
        if time.monotonic() > deadline:
            sys.exit(f"not within {PATIENCE_SECONDS} s: {what}")
        time.sleep(0.05)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--bootstrap", required=True)
    arguments.add_argument("action", choices=["create", "delete", "delete-all"])
    arguments.add_argument("words", nargs="*")
    given = arguments.parse_args()
    admin = AdminClient({"bootstrap.servers": given.bootstrap})
    if given.action == "create":
        create(admin, given.words)
    else:
        chosen = given.words if given.action == "delete" else sorted(names(admin))
        if chosen:
            delete(admin, chosen)


if __name__ == "__main__":
    main()
