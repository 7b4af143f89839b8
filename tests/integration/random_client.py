"""random_client.py SEED SECONDS: sends frames at random, as a client gone mad would.

Most are valid requests with fields at random: names from a small pool, so that they collide, types of queues, arguments,
properties, headers, tags. Some are such frames with bytes changed, lost or added. Each session is a process of its own:
muxd puts those in quarantine that cost it the connection. Prints what was sent, and how much of it the broker answered:

    sent FRAMES answered FRAMES sessions N channels-failed N quarantined N

    random_client.py prepare

declares the queues. Quorum queues and streams stay: RabbitMQ itself closes connections, and stalls them for half a minute,
when such come and go under the hands of those who use them (KILLERS.md). WILD=1 in the environment does that, too, and
whatever else is known to cost connections.
"""
import os
import random
import socket
import struct
import sys
import time

import muxd_pb2 as pb
from ipc import Client, Closed, Session, apart
from wire import (cancel, consume, exchange_bind, exchange_declare, exchange_delete, get, publish, qos, queue_bind,
                  queue_declare, queue_delete, queue_purge, queue_unbind, settle)

PREPARE = sys.argv[1] == "prepare"
WILD = "WILD" in os.environ
chance = random.Random(0 if PREPARE else int(sys.argv[1]))
DEADLINE_MS = 1000
PENDING_MAX, BUSY = 48, 6
CHANNELS = 4
REPLY_TO = "amq.rabbitmq.reply-to"
CLASSIC, LASTING = [f"r{i}" for i in range(6)], {"q0": "quorum", "q1": "quorum", "s0": "stream"}
QUEUES = CLASSIC + list(LASTING)
MORTAL = QUEUES if WILD else CLASSIC
KINDS = "tbBsuIilLfdSSSxATFV" + "D" * WILD  # RabbitMQ falls over a decimal that comes to a stream
EXCHANGES = [f"x{i}" for i in range(4)] + ["amq.direct", "amq.fanout", "amq.topic", "amq.headers"]
ODD_NAMES = ["", "\0", "n" * 255, b"\xff\xfe", "amq.mine", REPLY_TO, REPLY_TO + ".Zm9v.k", REPLY_TO + ".x", "nowhere", b"m" * 200]
QUEUE_ARGUMENTS = ["x-message-ttl", "x-expires", "x-max-length", "x-max-length-bytes", "x-overflow",
                   "x-dead-letter-exchange", "x-dead-letter-routing-key", "x-max-priority", "x-queue-mode",
                   "x-queue-master-locator", "x-max-age", "x-delivery-limit", "x-single-active-consumer", "x-odd", ""]
CONSUMER_ARGUMENTS = ["x-priority", "x-stream-offset", "x-credit", "x-cancel-on-ha-failover", "x-odd"]
HEADERS = ["CC", "BCC", "x-basic-type", "x-death", "x-match", "x-delay", "x-stream-offset", "h", ""]
TEXTS = ["", "x", "0", "1", "-1", "1D", "first", "next", "fanout", "all", "any", "r0", b"\xff\xfe", "y" * 300]


def value(depth=2):
    kind = chance.choice(KINDS)
    if kind == "t":
        return kind, chance.randrange(2)
    if kind in "bsIl":
        width = {"b": 7, "s": 15, "I": 31, "l": 63}[kind]
        return kind, chance.choice((0, 1, -1, 2**width - 1, -2**width))
    if kind in "BuiLT":
        return kind, chance.choice((0, 1, 2**{"B": 8, "u": 16, "i": 32, "L": 64, "T": 64}[kind] - 1))
    if kind in "fd":
        return kind, chance.choice((0.0, -0.0, 1.5, float("nan"), float("inf")) if chance.random() < .2 else (1.5, -0.0))
    if kind == "D":
        return kind, (chance.choice((0, 255)), chance.choice((0, 2**32 - 1)))
    if kind == "A":
        return kind, [value(depth - 1) for _ in range(chance.randrange(3))] if depth else []
    if kind == "F":
        return kind, table(HEADERS, depth - 1) if depth else {}
    return kind, chance.choice(TEXTS) if kind in "Sx" else None


def table(names, depth=2):
    return {chance.choice(names): value(depth) for _ in range(chance.randrange(3))}


def flag(probability=.2):
    return chance.random() < probability


def odd():
    """Whether something is to be wrong: an error costs the channel, and what was sent behind."""
    return flag(.01)


def name(pool):
    return chance.choice(ODD_NAMES if odd() else pool)


def gettable():
    return name(QUEUES if odd() else CLASSIC + list(LASTING)[:2])


def declare_some():
    queue = name(QUEUES)
    args = table(QUEUE_ARGUMENTS) if odd() else {}
    if queue in LASTING and not WILD:
        args["x-queue-type"] = ("S", LASTING[queue])
    elif odd() or WILD:
        args["x-queue-type"] = ("S", chance.choice(("classic", "quorum", "stream") if WILD else ("classic", "odd")))
    return queue_declare(queue, flag(), not odd(), odd(), odd(), args)


def exchange_some():
    exchange = chance.choice(EXCHANGES[:4])
    kind = ("direct", "fanout", "topic", "headers")[int(exchange[1])]
    return exchange_declare(exchange, chance.choice(("", "odd", b"\xff", "topic")) if odd() else kind, flag(), False, odd(), odd(),
                            table(("alternate-exchange", "x-odd")) if odd() else {})


def properties():
    fields = {}
    for field, values in (("expiration", ("0", "1000", "x", "-1")), ("delivery_mode", (0, 1, 2, 255)),
                          ("priority", (0, 9, 255)), ("reply_to", (REPLY_TO, REPLY_TO + ".Zm9v.k", "r0")),
                          ("user_id", ("guest", "nobody")), ("timestamp", (0, 2**64 - 1)), ("message_id", TEXTS[:-1]),
                          ("content_type", TEXTS[:-1])):
        if flag(.003):
            fields[field] = chance.choice(values)
    if flag():
        fields["headers"] = table(HEADERS if odd() else HEADERS[3:])
    return fields


def publish_some():
    exchange = name(EXCHANGES[4:] if flag(.9) else EXCHANGES) if flag(.4) else ""
    size = chance.randrange(30000 if flag(.01) else 100)
    return publish(exchange, name(QUEUES), bytes(size), mandatory=flag(.3), **properties())


def settle_some():
    tag = chance.choice((1, 2, 3, chance.randrange(100), 2**64 - 1)) if odd() else 0
    return settle(chance.choice(("ack", "nack", "reject")), tag, multiple=tag == 0 or flag(), requeue=chance.randrange(2))


def consume_some():
    number = chance.randrange(1, 40)
    return consume(name(QUEUES), f"t{number}" if flag() else "", odd(), flag(), odd(),
                   table(CONSUMER_ARGUMENTS) if odd() else {}, number, chance.choice((0, 1, 1000)))


MAKERS = (
    (40, publish_some),
    (8, lambda: get(gettable(), flag())),
    (6, settle_some),
    (4, declare_some),
    (.1, lambda: queue_delete(chance.choice(MORTAL), flag(), flag())),
    (1, lambda: queue_purge(gettable())),
    (4, lambda: queue_bind(name(QUEUES), name(EXCHANGES[4:]), chance.choice(("", "#", "*.a", "r0")), table(HEADERS) if odd() else {})),
    (2, lambda: queue_unbind(name(QUEUES), name(EXCHANGES[4:]), chance.choice(("", "#", "*.a", "r0")))),
    (3, exchange_some),
    (.1, lambda: exchange_delete(chance.choice(EXCHANGES[:4]), flag())),
    (2, lambda: exchange_bind(name(EXCHANGES), name(EXCHANGES[4:]), "", {}, flag())),
    (2, lambda: qos(70000 if odd() else chance.choice((0, 1, 10, 65535)), 0, odd())),
    (5, consume_some),
    (4, lambda: cancel("", chance.randrange(1, 40))),
)
WEIGHTS = [weight for weight, _ in MAKERS]


class Mad(Session):
    def __init__(self):
        super().__init__()
        self.generations, self.consumers = {}, {}
        self.pending = {}
        self.unsettled = 0
        self.answered = self.failed = 0
        self.quarantined = False
        self.hello(program=b"random", get_bytes=1 << 30)
        for number in range(1, CHANNELS + 1):
            self.open_next(number)

    def open_next(self, number):
        self.consumers[number] = set()
        self.generations[number] = self.generations.get(number, 0) + 1
        self.open(number, self.generations[number])

    def fits(self, size):
        return self.spent_messages < self.credit[0] and self.spent_bytes + size <= self.credit[1]

    def frame(self):
        """A valid one, as bytes; None: there is no room for it now."""
        op = chance.choices(MAKERS, WEIGHTS)[0][1]()
        channel = chance.randrange(1, CHANNELS + 1)
        fields = dict(op.ipc, channel=channel, deadline_ms=DEADLINE_MS)
        if "publish" in fields:
            header = Client(**fields).SerializeToString()
            if not self.fits(len(header) + len(op.body)):
                if len(op.body) > 1000:
                    self.send(Client(want=pb.Want(messages=self.spent_messages + 1, bytes=self.spent_bytes + len(header) + len(op.body))))
                return None
            self.spent_messages += 1
            self.spent_bytes += len(header) + len(op.body)
            self.unsettled += 1
            return self.encode(header, op.body)
        if "settle" in fields:
            return self.encode(Client(**fields))
        if "consume" in fields and fields["consume"].consumer in self.consumers[channel] and not odd():
            return b""
        if "consume" in fields:
            self.consumers[channel].add(fields["consume"].consumer)
        if len(self.pending) >= PENDING_MAX:
            return None
        self.request += 1
        self.pending[self.request] = None if "qos" in fields else True
        return self.encode(Client(request=self.request, **fields))

    def take(self, frame):
        event = frame.WhichOneof("event")
        if frame.request:
            self.answered += bool(self.pending.pop(frame.request, None)) and event != "error"
        elif event == "outcome":
            count = sum(r.last - r.first + 1 for r in frame.outcome.numbers)
            self.unsettled -= count
            if frame.outcome.kind in (pb.CONFIRMED, pb.RETURNED, pb.NACKED):
                self.answered += count
        elif event == "error" and frame.error.scope == pb.SESSION:
            self.quarantined = frame.error.code == 530 and b"quarantine" in frame.error.text
            raise Closed
        elif event == "error" and frame.generation == self.generations.get(frame.channel):
            self.failed += 1
            self.answered += frame.error.origin == pb.BROKER
            self.open_next(frame.channel)

    def is_busy(self):
        """A channel that has failed answers the rest at once: better not to be far ahead of it."""
        return len(self.pending) + self.unsettled > BUSY

    def read(self, seconds):
        """What is there, and waits so long if nothing is."""
        while self.buffer or self.is_readable(seconds):
            frame, _ = self.receive()
            self.take(frame)
            seconds = 0


def spoil(data):
    """A valid frame with something wrong."""
    data = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        at = chance.randrange(8, len(data)) if flag(.8) and len(data) > 8 else chance.randrange(len(data))
        how = chance.randrange(4)
        if how == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif how == 1:
            data[at] = chance.randrange(256)
        elif how == 2:
            del data[at:at + chance.randrange(1, 4)]
        else:
            data[at:at] = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 4)))
        if not data:
            return b"\0"
    if flag(.7) and len(data) > 8:  # the lengths add up again: it is the header that is wrong
        data[:8] = struct.pack(">II", len(data) - 8, 0)
    return bytes(data)


def prepare():
    with Session() as session:
        session.hello()
        session.open(1)
        for queue, kind in [*LASTING.items(), *((queue, "classic") for queue in CLASSIC)]:
            session.ask(channel=1, **queue_declare(queue, durable=1, args={"x-queue-type": ("S", kind)}).ipc)


def live(seed, until):
    """One session, to its end or until then: what was sent, answered, how many channels failed."""
    chance.seed(seed)
    session, sent = Mad(), 0
    last = chance.randrange(20, 6000)
    try:
        while sent < last and time.monotonic() < until:
            burst = []
            for _ in range(chance.choice((1, 2, 4, 4, 8, 8, 40))):
                data = session.frame()
                if data is None:
                    break
                if data:
                    burst.append(data)
            if burst and flag(.02):
                # one bit makes a delete of a consume: what is to last must not be in it
                lasts = any(queue.encode() in burst[-1] for queue in LASTING)
                burst.append(spoil(session.encode(Client(channel=1, publish=pb.Publish(routing_key=b"r0")))
                                   if lasts or flag() else burst[-1]))
            session.raw(b"".join(burst))
            sent += len(burst)
            session.read(.01 if session.is_busy() or not burst else 0)
        if flag(.5):
            session.read(.05)
    except (Closed, socket.timeout):
        pass
    session.socket.close()
    return f"{sent} {session.answered} {session.failed} {session.quarantined:d}"


def main():
    totals, sessions, until = [0, 0, 0, 0], 0, time.monotonic() + float(sys.argv[2])
    while time.monotonic() < until:
        seed = chance.getrandbits(64)
        said = apart(lambda: live(seed, until))
        if not said.replace(" ", "").isdigit():
            print(f"FAILED: a session with seed {seed}: {said}")
            sys.exit(1)
        totals = [a + int(b) for a, b in zip(totals, said.split())]
        sessions += 1
    print(f"sent {totals[0]} answered {totals[1]} sessions {sessions} channels-failed {totals[2]} quarantined {totals[3]}")


if PREPARE:
    prepare()
else:
    main()
