"""The sample application: emits known metrics through the real DogStatsD client, and tells what it emitted.

Once per interval it emits one batch, paced, from one second after the interval's beginning to its middle at most, so
that the whole batch falls into that interval on every tier:

    sample.fleet.latency  timer    TIMERS values, lognormal(3, 1.5) milliseconds
    sample.page.latency   timer    TIMERS values of the same kind
    sample.requests       counter  REQUESTS increments by 1 to 5
    sample.queue.depth    gauge    one value
    sample.users          set      USERS members out of a fleet of twice as many, the same ones in every batch
    sample.visits         set      one member, the same in every pod, for each of the tags shelf:0 to shelf:15: series
                                   enough that every global owns some of them

Then it prints the batch as JSON lines, each below the 16 KiB at which container logs are split. Those of one batch have
`boundary` (Unix seconds of the interval's end), `pod`, `part` and `parts` in common; the lists `fleet_latency` and
`users` are spread over them, and the last also has

    page_latency  [count, min, max]
    requests      sum of the increments
    queue_depth   the gauge's value
    dropped       messages that the client could not hand to the kernel; the batch is what was sent only if this is 0

A batch that did not end in time (a machine too busy) is not printed, and the next one is skipped: its interval holds
samples of this one.

Where metrics go is the client's business: it reads DD_DOGSTATSD_URL, or DD_AGENT_HOST and DD_DOGSTATSD_PORT. Own
variables: INTERVAL (seconds, 10), TIMERS (1000), REQUESTS (100), USERS (500), SEED (the pod's name).
"""

import json
import math
import os
import random
import signal
import sys
import time

from datadog.dogstatsd import DogStatsd

POD = os.environ.get("HOSTNAME", "sample")
INTERVAL = int(os.environ.get("INTERVAL", "10"))
TIMERS = int(os.environ.get("TIMERS", "1000"))
REQUESTS = int(os.environ.get("REQUESTS", "100"))
USERS = int(os.environ.get("USERS", "500"))
SEED = os.environ.get("SEED", POD)

# A batch begins this long after its interval does and is spread over this part of the interval.
HEAD_START = 1.0
SPREAD = 0.4 * INTERVAL
# List items in one printed line: 500 timings and 500 members take about 10 KiB.
PART = 500

SHELVES = 16


def main():
    # As the first process of a container it would not be ended by SIGTERM otherwise.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # A full socket is waited for, not skipped. The client counts what it drops, but must not send, and so reset, that.
    client = DogStatsd(constant_tags=["service:checkout"], socket_timeout=1, telemetry_min_flush_interval=10**9)
    dice = random.Random(SEED)
    users = dice.sample([f"user-{number:05}" for number in range(2 * USERS)], USERS)
    begin = next_begin()
    while True:
        time.sleep(max(0.0, begin + HEAD_START - time.time()))
        batch = Batch(dice, users)
        dropped = emit(client, batch.messages(dice))
        boundary = begin + INTERVAL
        in_time = time.time() < boundary
        if in_time:
            batch.print(boundary, dropped)
        else:
            print(f"the batch of the interval that ended at {boundary} was not emitted in time", file=sys.stderr)
        begin = next_begin() if in_time else next_begin() + INTERVAL


def next_begin():
    """The beginning, in Unix seconds, of the first interval whose batch can still begin on time."""
    return math.ceil((time.time() - HEAD_START) / INTERVAL) * INTERVAL


class Batch:
    """What is emitted within one interval."""

    def __init__(self, dice, users):
        self.fleet_latency = [timing(dice) for _ in range(TIMERS)]
        self.page_latency = [timing(dice) for _ in range(TIMERS)]
        self.requests = [dice.randint(1, 5) for _ in range(REQUESTS)]
        self.queue_depth = dice.randint(0, 100)
        self.users = users

    def messages(self, dice):
        """Calls of the client, as (method, name, value, tags), in no order."""
        messages = [("timing", "sample.fleet.latency", value, None) for value in self.fleet_latency]
        messages += [("timing", "sample.page.latency", value, None) for value in self.page_latency]
        messages += [("increment", "sample.requests", value, None) for value in self.requests]
        messages += [("gauge", "sample.queue.depth", self.queue_depth, None)]
        messages += [("set", "sample.users", user, None) for user in self.users]
        messages += [("set", "sample.visits", "visitor", [f"shelf:{shelf}"]) for shelf in range(SHELVES)]
        dice.shuffle(messages)
        return messages

    def print(self, boundary, dropped):
        parts = max(1, math.ceil(max(len(self.fleet_latency), len(self.users)) / PART))
        for part in range(parts):
            items = slice(part * PART, (part + 1) * PART)
            line = {"boundary": boundary, "pod": POD, "part": part + 1, "parts": parts}
            line |= {"fleet_latency": self.fleet_latency[items], "users": self.users[items]}
            if part + 1 == parts:
                line["page_latency"] = [len(self.page_latency), min(self.page_latency), max(self.page_latency)]
                line |= {"requests": sum(self.requests), "queue_depth": self.queue_depth, "dropped": dropped}
            print(json.dumps(line, separators=(",", ":")), flush=True)


def timing(dice):
    """Milliseconds, with as many digits as are sent."""
    return round(dice.lognormvariate(3, 1.5), 3)


def emit(client, messages):
    """Sends the messages at an even pace; returns how many of them the client dropped."""
    begun = time.monotonic()
    dropped_before = client.packets_dropped
    for index, (method, name, value, tags) in enumerate(messages):
        ahead = begun + SPREAD * index / len(messages) - time.monotonic()
        # Shorter pauses cost more than they even out.
        if ahead > 0.005:
            time.sleep(ahead)
        getattr(client, method)(name, value, tags=tags)
    return client.packets_dropped - dropped_before


if __name__ == "__main__":
    main()
