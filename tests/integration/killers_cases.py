"""The table of killers.py: one line each.

    Case(row, name, setup, steps, bare, answer, ...)

row     of killers.md's table, or a hazard, or what was found since
setup   done before, on the bare connection and by the session; each must succeed
steps   what kills; all is sent at once, and the last one's answer counts
bare    what becomes of a bare connection: "540" or whatever code it is closed with, "reset", "ok", "channel 404";
        several with | between; None: it is not tried
answer  muxd's: "ok", "540 channel", "502 session", "not sent 541", "confirmed"; several with |; None: any
amqp    other steps for the bare connection: ops, bytes, or functions of it
ipc     other steps for the session: ops, or functions of it that return the answer
why     the steps cannot be expressed in muxd's protocol; what is sent is the nearest
epoch   why it may cost the connection, once: what no vetting can know
outside done before by somebody who does not come through muxd
wait    an event that the session waits for before its steps
quiet   seconds that the broker may take to fall over
login   how the bare connection logs in, if not as the others
only    a broker; only_why

setup, steps, amqp, ipc, outside are functions of the name of the case's own queue.
"""
import os
import socket
import struct
import time

from amqp import short
from ipc import Client, Closed, Session, pb
from wire import (Op, amqp_table, cancel, consume, exchange_bind, exchange_declare, exchange_delete, get, method, publish,
                  qos, queue_bind, queue_declare, queue_delete, queue_purge, queue_unbind, settle)

NAN, INF = float("nan"), float("inf")
USER_CHANNELS = int(os.environ["USER_CHANNELS"])
NOT_RABBITMQ = "the fault is RabbitMQ's own"
NO_SUCH_TYPE = "it has no such queues"


class Case:
    def __init__(self, row, name, setup, steps, bare, answer, amqp=None, ipc=None, why="", epoch="", outside=None,
                 wait="", quiet=0.0, login=(), only="", only_why=NOT_RABBITMQ):
        self.row, self.name, self.setup, self.steps, self.bare, self.answer = row, name, setup, steps, bare, answer
        self.amqp, self.ipc, self.why, self.epoch, self.outside = amqp, ipc, why, epoch, outside
        self.wait, self.quiet, self.login = wait, quiet, dict(login)
        self.only, self.only_why = only, only_why


def nothing(_):
    return []


def own(queue):
    """An exclusive queue."""
    return [queue_declare(queue, exclusive=1)]


def kind(name, more=()):
    args = [("x-queue-type", ("S", name)), *more]
    return lambda queue: [queue_declare(queue, durable=1, args=args)]


def filled(name):
    return lambda queue: kind(name)(queue) + [publish("", queue)]


STREAM, QUORUM = kind("stream"), kind("quorum")
FIRST = {"x-stream-offset": ("S", "first")}
CONFIRM, TX, COMMIT = method(85, 10, b"\0"), method(90, 10), method(90, 20)

# ---------------------------------------------------------------- frames by hand


def frame(kind_, channel, payload, end=b"\xce"):
    return lambda _: [struct.pack(">BHI", kind_, channel, len(payload)) + payload + end]


def raw(class_id, method_id, arguments=b""):
    return lambda _: [method(class_id, method_id, arguments)]


HEADER = struct.pack(">HHQH", 60, 0, 2, 0)
BEGIN = struct.pack(">HHH", 60, 40, 0) + b"\0" + short(b"q") + b"\0"


def contents(*frames):
    return lambda _: [Op(list(frames))]


# ---------------------------------------------------------------- IPC by hand


def says(session):
    error = session.ends()
    return "closed" if error is None else f"{error.code} session"


def bytes_of(data):
    """The session sends them, and hears how it ends."""
    return lambda _: [lambda session: (session.raw(data), says(session))[1]]


def one(frame_fields, payload=b""):
    """A frame by itself; the answer is how the session ends, or `ok` if it is alive."""
    def send(session):
        session.raw(session.encode(Client(**frame_fields), payload))
        session.raw(session.encode(Client(request=9999, ping=pb.Ping())))
        try:
            while True:
                got, _ = session.receive()
                if got.HasField("error") and got.error.scope == pb.SESSION:
                    return f"{got.error.code} session"
                if got.HasField("error"):
                    return f"{got.error.code} {'channel' if got.error.scope == pb.CHANNEL else 'request'}"
                if got.request == 9999:
                    return "ok"
        except Closed:
            return "closed"
    return lambda _: [send]


def publish_odd(number):
    op = publish("", "q")
    op.ipc["publish"].properties.priority = op.ipc["publish"].properties.delivery_mode = number
    return op


def unknown_operation(_):
    return [lambda session: (session.raw(session.encode(b"\x08\x01\xa2\x1f\x00")), says(session))[1]]


NO_FIELD = "muxd's protocol has no such field"
NO_OPERATION = "muxd's protocol has no such operation"
OWN_FRAMES = "muxd makes the frames itself"


def half_a_message(cut):
    """Another session dies in the middle of a publish; this one must not notice."""
    def run(session):
        with Session() as victim:
            victim.hello()
            victim.open(1)
            victim.want(200000)
            header = Client(channel=1, publish=pb.Publish(routing_key=b"q")).SerializeToString()
            victim.raw(struct.pack(">II", len(header), 150000) + header + bytes(cut))
        return "ok" if session.is_alive() else "closed"
    return lambda _: [run]


def open_channels(count):
    return lambda _: [lambda c: [c.send(number, (20, 10), b"\0") for number in range(2, count + 1)]]


def consume_on_channels(count):
    """More consumers, each on a channel of its own, than the broker allows channels."""
    def run(session):
        queue = session.ask(channel=1, **queue_declare("", exclusive=1).ipc)[0].queue_declared.queue
        for number in range(2, count + 2):
            session.open(number)
            session.send(Client(request=number + 10000, channel=number, deadline_ms=1000, **consume(queue).ipc))
        left, refused = set(range(10002, count + 10002)), set()
        while left:
            got, _ = session.receive()
            if got.request in left:
                left.remove(got.request)
                refused |= {f"{got.error.code} request"} if got.HasField("error") else set()
        return " and ".join(sorted(refused)) or "ok"
    return lambda _: [run]


def half_a_frame_and_silence(_):
    def run(session):
        with Session() as silent:
            silent.hello()
            silent.raw(b"\0\0\0")
            return "ok" if session.is_alive() else "closed"
    return [run]


def long_name(queue):
    return (queue + "%s~p\0" + "x" * 255)[:255]


def pieces(*parts):
    """A table of one array of these, for CC."""
    return {"CC": ("A", [("S", part) for part in parts])}


REPLY_TO = "amq.rabbitmq.reply-to"
CRAFTED = REPLY_TO + ".g1h2AAN.rabbit"
UNKNOWN_NODE = REPLY_TO + ".g1h3B3JlcGx5QDEAAD7jAAAACWsIdDY=.k"

# RabbitMQ takes the second and third; muxd goes by RFC 3629.
ODD_TEXT = (("not UTF-8", b"\xff\xfe", "501"), ("a surrogate", b"\xed\xa0\x80", "ok|501"),
            ("above U+10FFFF", b"\xf4\x90\x80\x80", "ok|501"), ("overlong", b"\xc0\x80", "501"), ("cut off", b"a\xc3", "501"))
ODD_FLOATS = (("NaN, 32 bits", ("f", NAN)), ("infinite, 32 bits", ("f", INF)), ("NaN, 64 bits", ("d", NAN)),
              ("infinite, 64 bits", ("d", -INF)))
BAD_TABLES = (("an unknown type", b"\1k?"), ("a string cut short", b"\1kS\0\0\0\x09ab"), ("a nested table cut short", b"\1kF\0\0\0\x09\1"),
              ("a name cut short", b"\x09k"))

# ---------------------------------------------------------------- the table

CASES = []
add = CASES.append


def both(queue, count):
    """Consumes and cancels, all at once."""
    return [qos(1)] + [consume(queue, f"tag-{i}", number=i + 1) for i in range(count)] + \
        [cancel(f"tag-{i}", number=i + 1) for i in range(count)]


def until(*wanted):
    def wait(connection):
        while connection.receive()[1] != wanted:
            pass
    return wait


def asked(op):
    """Of a session: what follows is sent when it is answered."""
    return lambda session: (session.ask(channel=1, **op.ipc), "")[1]


def ends(session):
    """How the channel does."""
    frame, _ = session.wait(lambda frame: frame.HasField("error") and frame.error.scope == pb.CHANNEL)
    return f"{frame.error.code} channel"


def delivered(connection):
    while not connection.delivered:
        connection.receive()


# exchange types
for type_ in ("topics", "", "x-delayed-message", "x-consistent-hash", "x-random", "Direct", "direct ", "node", "x" * 255):
    add(Case("exchange types", f"exchange.declare of type '{type_[:20]}'", nothing, lambda q, t=type_: [exchange_declare(q, t)], "503", "503 request|503 channel"))
add(Case("exchange types", "an existing exchange, declared of an unknown type", nothing, lambda q: [exchange_declare("amq.direct", "topics")], "503", "503 request|503 channel"))
add(Case("exchange types", "passive, of an unknown type: no killer", nothing, lambda q: [exchange_declare("amq.direct", "topics", passive=1)], "ok", "ok"))

# features
add(Case("features", "basic.publish immediate", nothing, lambda q: [publish("", q, immediate=1)], "540", "confirmed", why=NO_FIELD))
add(Case("features", "basic.qos prefetch_size", nothing, lambda q: [qos(1, size=1)], "540", "ok", why=NO_FIELD))
add(Case("features", "basic.qos prefetch_size, the largest", nothing, lambda q: [qos(1, size=2**32 - 1)], "540", "ok", why=NO_FIELD))
add(Case("features", "basic.recover without requeue", nothing, raw(60, 110, b"\0"), "540", "540 session", ipc=unknown_operation, why=NO_OPERATION))
add(Case("features", "basic.recover-async without requeue", nothing, raw(60, 100, b"\0"), "540", "540 session", ipc=unknown_operation, why=NO_OPERATION))
add(Case("features", "channel.flow active=0", nothing, raw(20, 20, b"\0"), "540", "540 session", ipc=unknown_operation, why=NO_OPERATION))

# names in use
add(Case("names in use", "a consumer tag that is used already", own, lambda q: [consume(q, "tag"), consume(q, "tag", number=2)], "530", "530 request|530 channel"))
add(Case("names in use", "that of a direct reply-to consumer, then a queue's", own, lambda q: [consume(REPLY_TO, "tag", no_ack=1), consume(q, "tag", number=2)], "ok", "530 request|530 channel"))
add(Case("names in use", "that of a queue's consumer, then direct reply-to", own, lambda q: [consume(q, "tag"), consume(REPLY_TO, "tag", no_ack=1, number=2)], "530", "530 request|530 channel"))

# pipelining
# A broker may be done with the first before it reads the next.
add(Case("pipelining", "a publish behind tx.commit", lambda q: [queue_declare(q, durable=1)], lambda q: [TX] + [publish("", q, delivery_mode=2)] * 9 + [COMMIT, publish("", q)], "504|ok", "540 session", ipc=unknown_operation, why=NO_OPERATION))
add(Case("pipelining", "a consume and its cancel at once", own, lambda q: both(q, 5), "541|ok", "ok", only="rabbitmq"))
add(Case("pipelining", "the same on a quorum queue", QUORUM, lambda q: both(q, 5), "541|ok", "ok", only="rabbitmq"))
add(Case("pipelining", "two consumes, two cancels, a third consume", own, lambda q: [qos(1), consume(q, "a"), consume(q, "b", number=2), cancel("a"), cancel("b", number=2), consume(q, "c", number=3)], "541|ok", "ok", only="rabbitmq"))

# queue types
for flags in ({"if_unused": 1}, {"if_empty": 1}, {"if_unused": 1, "if_empty": 1}):
    add(Case("queue types", f"queue.delete of a quorum queue with {' and '.join(flags)}", QUORUM, lambda q, f=flags: [queue_delete(q, **f)], "540", "540 channel"))
    add(Case("queue types", f"the same, declared by somebody else, with {' and '.join(flags)}", nothing, lambda q, f=flags: [queue_delete(q, **f)], "540", None, outside=QUORUM, epoch="queue of unknown type"))
add(Case("queue types", "basic.consume from a quorum queue after a global basic.qos", QUORUM, lambda q: [qos(1, global_=1), consume(q)], "540", "540 request|540 channel|ok", ipc=lambda q: [qos(1, global_=1)]))
add(Case("queue types", "basic.get from a stream", STREAM, lambda q: [get(q)], "540", "540 channel", only="rabbitmq", only_why=NO_SUCH_TYPE))
add(Case("queue types", "queue.purge of a stream", STREAM, lambda q: [queue_purge(q)], "540", "540 channel", only="rabbitmq", only_why=NO_SUCH_TYPE))
add(Case("queue types", "basic.get from somebody else's stream", nothing, lambda q: [get(q)], "540", None, outside=STREAM, epoch="queue of unknown type", only="rabbitmq", only_why=NO_SUCH_TYPE))
add(Case("queue types", "queue.purge of somebody else's stream", nothing, lambda q: [queue_purge(q)], "540", None, outside=STREAM, epoch="queue of unknown type", only="rabbitmq", only_why=NO_SUCH_TYPE))
add(Case("queue types", "basic.consume from a stream without acknowledgements", STREAM, lambda q: [qos(1), consume(q, no_ack=1)], "540", "ok", only="rabbitmq", only_why=NO_SUCH_TYPE))
for how, flags in (("nack", {}), ("nack", {"requeue": 1}), ("reject", {}), ("reject", {"requeue": 1})):
    add(Case("queue types", f"basic.{how}{' with requeue' if flags else ''} of a stream's message", lambda q: filled("stream")(q) + [qos(1), consume(q, args=FIRST)], lambda q, h=how, f=flags: [settle(h, **f)], "540", "540 channel", wait="delivery", amqp=lambda q, h=how, f=flags: [delivered, settle(h, **f)], only="rabbitmq", only_why=NO_SUCH_TYPE))
    add(Case("queue types", f"basic.{how}{' with requeue' if flags else ''} of somebody else's stream's message", lambda q: [qos(1), consume(q), publish("", q)], lambda q, h=how, f=flags: [settle(h, **f)], "540", "540 channel", wait="delivery", amqp=lambda q, h=how, f=flags: [delivered, settle(h, **f)], outside=STREAM, only="rabbitmq", only_why=NO_SUCH_TYPE))

add(Case("queue types", "basic.recover of a stream's message", lambda q: filled("stream")(q) + [qos(1), consume(q, args=FIRST)], raw(60, 110, b"\1"), "541", "540 session", amqp=lambda q: [delivered, method(60, 110, b"\1")], ipc=unknown_operation, why=NO_OPERATION, only="rabbitmq", only_why=NO_SUCH_TYPE))
add(Case("queue types", "the same tag with a larger prefetch on a quorum queue, while messages are unsettled", lambda q: filled("quorum")(q) + [publish("", q)] * 2 + [qos(1), consume(q, "tag")], nothing, "541", "541 channel", wait="delivery", quiet=0.1,
         amqp=lambda q: [delivered, cancel("tag"), until(60, 31), qos(5), consume(q, "tag"), until(60, 21), settle("ack")], ipc=lambda q: [asked(cancel("tag")), qos(5), consume(q, "tag")], only="rabbitmq", only_why=NO_SUCH_TYPE))

# text
for what, text, bare in ODD_TEXT:
    add(Case("text", f"queue.declare, a name that is {what}", nothing, lambda q, t=text: [queue_declare(t, auto_delete=1)], bare, "501 request|501 channel"))
    add(Case("text", f"queue.bind, a key that is {what}", own, lambda q, t=text: [queue_bind(q, "amq.topic", t)], bare, "501 request|501 channel"))
    add(Case("text", f"basic.publish, a key that is {what}: no killer", nothing, lambda q, t=text: [publish("amq.topic", t)], "ok", "confirmed"))
BAD = b"\xff\xfe"
for what, op in (("queue.delete", queue_delete(BAD)), ("queue.purge", queue_purge(BAD)), ("queue.bind, its queue", queue_bind(BAD, "amq.topic")), ("queue.bind, its exchange", queue_bind("q", BAD)), ("queue.unbind", queue_unbind(BAD, "amq.topic")), ("queue.unbind, its key", queue_unbind("q", "amq.topic", BAD)),
                 ("exchange.declare", exchange_declare(BAD, "direct")), ("exchange.declare, its type", exchange_declare("e", BAD)), ("exchange.declare, passive, its type", exchange_declare("amq.direct", BAD, passive=1)), ("exchange.delete", exchange_delete(BAD)), ("exchange.bind, its source", exchange_bind("amq.topic", BAD)), ("exchange.bind, its destination", exchange_bind(BAD, "amq.topic")), ("exchange.bind, its key", exchange_bind("amq.fanout", "amq.topic", BAD)), ("exchange.unbind, its key", exchange_bind("amq.fanout", "amq.topic", BAD, unbind=True)),
                 ("basic.consume", consume(BAD)), ("basic.consume, its tag", consume("q", BAD)), ("basic.get", get(BAD))):
    add(Case("text", f"{what}: not UTF-8", nothing, lambda q, o=op: [o], "501", "501 request|501 channel"))
add(Case("text", "basic.cancel, a tag that is not UTF-8", nothing, lambda q: [cancel(BAD)], "501", "ok", why="a consumer is cancelled by its number"))
add(Case("text", "names with NUL, of 255 bytes, with format directives: no killers", nothing, lambda q: [queue_declare(long_name(q), exclusive=1), exchange_declare("\0%n~p" + q, "direct", auto_delete=1), queue_bind(long_name(q), "\0%n~p" + q, "\0"), exchange_delete("\0%n~p" + q)], "ok", "ok"))

# tables
for what, value in ODD_FLOATS:
    add(Case("tables", f"a header: {what}", nothing, lambda q, v=value: [publish("", q, headers={"h": v})], "541", "not sent 502"))
    add(Case("tables", f"a header in an array in a table: {what}", nothing, lambda q, v=value: [publish("", q, headers={"h": ("F", {"a": ("A", [v])})})], "541", "not sent 502"))
    add(Case("tables", f"an argument of queue.declare: {what}", nothing, lambda q, v=value: [queue_declare(q, args={"x": v})], "reset", "502 request|502 channel"))
    add(Case("tables", f"an argument of basic.consume: {what}", own, lambda q, v=value: [consume(q, args={"x": v})], "reset", "502 request|502 channel"))
add(Case("tables", "an argument of queue.bind that is not finite", own, lambda q: [queue_bind(q, "amq.direct", args={"x": ("d", NAN)})], "reset", "502 request|502 channel"))
add(Case("tables", "an argument of exchange.declare that is not finite", nothing, lambda q: [exchange_declare("e", "direct", args={"x": ("d", NAN)})], "reset", "502 request|502 channel"))
add(Case("tables", "an argument of exchange.bind that is not finite", nothing, lambda q: [exchange_bind("amq.fanout", "amq.topic", args={"x": ("d", NAN)})], "reset", "502 request|502 channel"))
for what, table in BAD_TABLES:
    bad = struct.pack(">I", len(table)) + table
    add(Case("tables", f"headers with {what}", nothing, lambda q, b=bad: [publish("", q, raw_properties=b"\x20\0" + b)], "541", "502 session", ipc=bytes_of(struct.pack(">II", 12, 0) + b"\x10\x01\x22\x20" + b"\xff" * 8), why=OWN_FRAMES))
    add(Case("tables", f"arguments with {what}", nothing, lambda q, b=bad: [method(50, 10, b"\0\0" + short(b"q") + b"\0" + b)], "reset|501", "502 session", ipc=bytes_of(struct.pack(">II", 12, 0) + b"\x10\x01\xa2\x01\x20" + b"\xff" * 7), why=OWN_FRAMES))
add(Case("tables", "a field of a type that IPC does not have: it is void", nothing, lambda q: [publish("", q, headers={"h": ("?", None)})], None, "confirmed", why="an unknown field of protobuf is no field"))

# properties
for what, data in (("a flag without its value", b"\x80\0"), ("bytes behind the last one", b"\0\0xyz"), ("a continuation flag", b"\0\1\0\0"), ("headers cut short", b"\x20\0\0\0\0\x09\1"), ("a text longer than the frame", b"\x80\0\xffab")):
    add(Case("properties", what, nothing, lambda q, d=data: [publish("", q, raw_properties=d)], "541", "502 session", ipc=bytes_of(struct.pack(">II", 8, 0) + b"\x10\x01\x22\x7f" + b"\x22\x7f\0\0"), why=OWN_FRAMES))
for name, value in (("expiration", "-1"), ("expiration", "x"), ("expiration", ""), ("expiration", "9" * 200), ("user_id", "nobody")):
    add(Case("properties", f"{name} '{value[:9]}': the channel's error", nothing, lambda q, n=name, v=value: [publish("", q, **{n: v})], "channel 406", "unknown 406|not sent 406"))
add(Case("properties", "a priority and a delivery mode of 256", nothing, nothing, None, "not sent 502", ipc=lambda q: [publish_odd(256)]))

# methods
for what, class_id, method_id, args, bare in (("an unknown class", 77, 10, b"", "reset"), ("an unknown method", 60, 77, b"", "reset"), ("class and method 65535", 65535, 65535, b"", "reset"),
                                              ("basic.qos cut short", 60, 10, b"\0", "501"), ("basic.qos too long", 60, 10, bytes(20), "501"), ("queue.declare without arguments", 50, 10, b"", "501"), ("a text longer than the frame", 50, 10, b"\0\0\xffab", "501"),
                                              ("basic.cancel-ok", 60, 31, b"\1a", "503"), ("basic.deliver", 60, 60, b"\1a" + bytes(9) + b"\0\0", "503|505"), ("basic.return", 60, 50, b"\0\0\0\0\0", "503|505"), ("basic.get-empty", 60, 72, b"\0", "503"), ("queue.declare-ok", 50, 11, b"\1q" + bytes(8), "503"), ("channel.open-ok", 20, 11, bytes(4), "503"), ("channel.flow-ok", 20, 21, b"\1", "503"), ("confirm.select-ok", 85, 11, b"", "503"), ("connection.tune-ok on a channel", 10, 31, bytes(8), "503"), ("access.request", 30, 10, b"\0\0", None)):
    add(Case("methods", what, nothing, raw(class_id, method_id, args), bare, "540 session", ipc=unknown_operation, why=NO_OPERATION))
add(Case("methods", "connection.open again, on channel 0", nothing, frame(1, 0, struct.pack(">HH", 10, 40) + b"\1/\0\0"), "504", "503 session", ipc=lambda q: one({"hello": pb.Hello(version_min=1, version_max=1)})(q), why="its like: a second Hello"))
add(Case("methods", "a frame of garbage", nothing, lambda q: [b"\x01\x00\x01\x00\x00\x00\x02\x00\x3c\xce"], "501", "501 session|502 session", ipc=bytes_of(b"\xff" * 64), why=OWN_FRAMES))
add(Case("methods", "a frame's header that is no protobuf", nothing, nothing, None, "502 session", ipc=bytes_of(struct.pack(">II", 20, 0) + b"\xff" * 20)))

# content
add(Case("content", "a publish without its header", nothing, contents((1, BEGIN), (1, BEGIN)), "505", "confirmed", ipc=lambda q: [publish("", q)], why=OWN_FRAMES))
add(Case("content", "a body without a header", nothing, contents((1, BEGIN), (3, b"hi")), "505", "confirmed", ipc=lambda q: [publish("", q)], why=OWN_FRAMES))
add(Case("content", "a header of another class", nothing, contents((1, BEGIN), (2, struct.pack(">HHQH", 50, 0, 2, 0))), "505", "confirmed", ipc=lambda q: [publish("", q)], why=OWN_FRAMES))
add(Case("content", "a header alone", nothing, contents((2, HEADER)), "505", "504 session", ipc=lambda q: one({"channel": 9, "publish": pb.Publish(routing_key=b"q")}, b"hi")(q), why="its like: a publish on a channel that is not open"))
add(Case("content", "a body alone", nothing, contents((3, b"hi")), "505", "501 session", ipc=lambda q: one({"request": 1, "ping": pb.Ping()}, b"hi")(q), why="its like: a payload where there is none"))
add(Case("content", "a method in the middle of a body", nothing, contents((1, BEGIN), (2, HEADER), (3, b"h"), (1, BEGIN)), "505", "confirmed", ipc=lambda q: [publish("", q)], why=OWN_FRAMES))
add(Case("content", "two publishes interleaved", nothing, contents((1, BEGIN), (1, BEGIN), (2, HEADER), (2, HEADER)), "505", "confirmed", ipc=lambda q: [publish("", q)], why=OWN_FRAMES))
add(Case("content", "a body longer than announced", nothing, contents((1, BEGIN), (2, HEADER), (3, b"hi there"), (3, b"more")), None, "501 session|502 session", ipc=bytes_of(struct.pack(">II", 6, 2) + Client(channel=1, publish=pb.Publish(routing_key=b"q")).SerializeToString()[:6] + b"hi there, and more"), why=OWN_FRAMES))
add(Case("content", "a client dies between header and body", nothing, contents((1, BEGIN), (2, HEADER)), None, "ok", ipc=half_a_message(0)))
add(Case("content", "a client dies in the middle of a body", nothing, contents((1, BEGIN), (2, HEADER)), None, "ok", ipc=half_a_message(100000)))

# channels
add(Case("channels", "a frame on a number that was never opened", nothing, lambda q: [lambda c: c.send(7, (50, 30), b"\0\0\1q\0")], "504", "504 channel", ipc=lambda q: one({"request": 1, "channel": 7, "queue_purge": pb.QueuePurge(queue=b"q")})(q), quiet=0.05))
add(Case("channels", "a publish on a number that was never opened", nothing, lambda q: [lambda c: c.publish(7, b"", b"q", b"hi")], "504", "504 session", ipc=lambda q: one({"channel": 7, "publish": pb.Publish(routing_key=b"q")}, b"hi")(q), quiet=0.05))
add(Case("channels", "a frame on a channel that was closed", nothing, lambda q: [lambda c: c.open(8), lambda c: c.close_channel(8), lambda c: c.send(8, (50, 30), b"\0\0\1q\0")], "504", "504 channel", ipc=lambda q: [lambda s: (s.open(8), s.ask(channel=8, channel_close=pb.ChannelClose()), "")[2]] + one({"request": 8888, "channel": 8, "queue_purge": pb.QueuePurge(queue=b"q")})(q), quiet=0.05))
add(Case("channels", "a second channel.open", nothing, raw(20, 10, b"\0"), "504", "504 session", ipc=lambda q: one({"channel": 1, "channel_open": pb.ChannelOpen(generation=1)})(q)))
add(Case("channels", "a channel opened again before close-ok", nothing, lambda q: [queue_purge("muxd-killers-nowhere"), method(20, 10, b"\0")], "504|channel 404", "504 session|404 channel", ipc=lambda q: [queue_purge("muxd-killers-nowhere")] + one({"channel": 1, "channel_open": pb.ChannelOpen(generation=1)})(q)))
add(Case("channels", "the highest number there is", nothing, lambda q: [lambda c: c.send(65535, (20, 10), b"\0")], "ok", "504 session", ipc=lambda q: one({"channel": 65535, "channel_open": pb.ChannelOpen(generation=1)})(q)))
add(Case("channels", "confirm.select behind tx.select: the channel's error", nothing, lambda q: [TX, CONFIRM], "channel 406", "540 session", ipc=unknown_operation, why=NO_OPERATION))

# frames
add(Case("frames", "larger than frame_max", nothing, frame(3, 1, bytes(200000)), "501", "501 request|501 channel|502 session", ipc=lambda q: [queue_declare(q, args={"x": ("S", b"x" * 150000)})]))
add(Case("frames", "a content header larger than frame_max", nothing, lambda q: [publish("", q, headers={"h": ("S", b"x" * 150000)})], "501", "not sent 501"))
add(Case("frames", "wrong end octet", nothing, frame(1, 1, struct.pack(">HH", 85, 10) + b"\0", b"\xcd"), "501", "501 session", ipc=lambda q: one({"request": 1, "ping": pb.Ping()}, b"body")(q), why=OWN_FRAMES))
add(Case("frames", "unknown type", nothing, frame(9, 1, b"abc"), "501", "540 session", ipc=unknown_operation, why=OWN_FRAMES))
add(Case("frames", "a heartbeat on a channel", nothing, frame(8, 1, b""), "505", "ok", ipc=lambda q: one({"request": 1, "channel": 1, "ping": pb.Ping()})(q), why=OWN_FRAMES))
add(Case("frames", "a heartbeat that holds something", nothing, frame(8, 0, b"x"), "501", "501 session", ipc=lambda q: one({"request": 1, "ping": pb.Ping()}, b"x")(q), why=OWN_FRAMES))
add(Case("frames", "content on channel 0", nothing, frame(2, 0, HEADER), "505", "504 session", ipc=lambda q: one({"publish": pb.Publish(routing_key=b"q")})(q), why=OWN_FRAMES))
add(Case("frames", "half a frame, and then silence", nothing, nothing, None, "ok", ipc=half_a_frame_and_silence))
add(Case("frames", "an IPC header that is too large", nothing, nothing, None, "501 session", ipc=bytes_of(struct.pack(">II", 1 << 24, 0))))
add(Case("frames", "an IPC payload that is too large", nothing, nothing, None, "311 session", ipc=bytes_of(struct.pack(">II", 6, 1 << 30))))

# direct reply-to
for where, steps in (("a routing key", lambda q: [publish("", CRAFTED)]), ("one of CC", lambda q: [publish("", q, headers=pieces(b"x", CRAFTED.encode()))]), ("one of BCC", lambda q: [publish("", q, headers={"BCC": ("A", [("S", CRAFTED.encode())])})])):
    add(Case("reply addresses", f"one that no broker made, as {where}", nothing, steps, "541", "not sent 541", only="rabbitmq"))
for what, address in (("a number", REPLY_TO + ".g2EF.k"), ("no term", REPLY_TO + ".Zm9v.k"), ("no base64", REPLY_TO + ".!!!!.k"), ("dots around it", REPLY_TO + "..Zm9v..k..")):
    add(Case("reply addresses", f"one that no broker made, {what}", nothing, lambda q, a=address: [publish("", a)], "541", "not sent 541", only="rabbitmq"))
add(Case("reply addresses", "one that no broker made, declared", nothing, lambda q: [queue_declare(CRAFTED)], "541", "541 channel", only="rabbitmq"))
add(Case("reply addresses", "one that no broker made, declared passively", nothing, lambda q: [queue_declare(CRAFTED, passive=1)], "541", "541 channel", only="rabbitmq"))
add(Case("reply addresses", "one that no broker made, for dead letters", nothing, lambda q: [queue_declare(q, exclusive=1, args={"x-message-ttl": ("I", 0), "x-dead-letter-exchange": ("S", ""), "x-dead-letter-routing-key": ("S", CRAFTED)}), publish("", q), queue_declare(q, passive=1)], None, "541 channel", only="rabbitmq"))
add(Case("reply addresses", "one of a node that is none", nothing, lambda q: [publish("", UNKNOWN_NODE)], "541", None, epoch="which nodes the broker has", only="rabbitmq"))
add(Case("reply addresses", "one of a node that is none, declared passively", nothing, lambda q: [queue_declare(UNKNOWN_NODE, passive=1)], "541", None, epoch="which nodes the broker has", only="rabbitmq"))
add(Case("reply addresses", "harmless ones: of one piece, of three", nothing, lambda q: [publish("", REPLY_TO + ".x"), publish("", REPLY_TO + ".a.b.c")], "ok", "confirmed"))
for what, steps, answer in (("consumed twice", lambda q: [consume(REPLY_TO, no_ack=1), consume(REPLY_TO, no_ack=1, number=2)], "406 channel"), ("consumed with acknowledgements", lambda q: [consume(REPLY_TO)], "406 request|406 channel"), ("got from", lambda q: [get(REPLY_TO)], None), ("purged", lambda q: [queue_purge(REPLY_TO)], None), ("deleted", lambda q: [queue_delete(REPLY_TO)], None), ("published for without a consumer", lambda q: [publish("", q, reply_to=REPLY_TO)], "unknown 406|not sent 406")):
    add(Case("reply addresses", f"the pseudo queue, {what}: no killer", nothing, steps, None, answer))

# arguments
for what, value in (("a number", ("I", 7)), ("a boolean", ("t", 1)), ("void", ("V", 0)), ("an array", ("A", []))):
    add(Case("arguments", f"basic.consume with x-credit, {what}", own, lambda q, v=value: [consume(q, args={"x-credit": v})], "541", "541 channel", only="rabbitmq"))
add(Case("arguments", "basic.consume from a quorum queue with x-credit as AMQP 1.0 has it", QUORUM, lambda q: [qos(1), consume(q, args={"x-credit": ("F", {"credit": ("l", 1), "drain": ("t", 0)})})], "541", "541 channel", quiet=0.05, only="rabbitmq"))
for what, value in (("a boolean", ("t", 1)), ("a float", ("f", 1.5)), ("a double", ("d", -0.0)), ("a decimal", ("D", (255, 2**32 - 1))), ("bytes", ("x", b"x")), ("an array", ("A", [("I", 1)])), ("a table", ("F", {})), ("void", ("V", 0)), ("'x'", ("S", "x")), ("'-1'", ("S", "-1")), ("nothing", ("S", ""))):
    add(Case("arguments", f"x-stream-offset, {what}", STREAM, lambda q, v=value: [qos(1), consume(q, args={"x-stream-offset": v})], "541", "541 channel", only="rabbitmq"))
    add(Case("arguments", f"x-stream-offset, {what}, of somebody else's stream", nothing, lambda q, v=value: [qos(1), consume(q, args={"x-stream-offset": v})], None, "541 channel", outside=STREAM, only="rabbitmq"))
for what, value in (("'1'", ("S", "1")),):
    add(Case("arguments", f"x-stream-offset, {what}: the channel's error", STREAM, lambda q, v=value: [qos(1), consume(q, args={"x-stream-offset": v})], "channel 406", "406 channel", only="rabbitmq"))
for value in ("", "x", "-1", " 1D", "D", "+1D", "\u0661D"):
    add(Case("arguments", f"a stream's x-max-age '{value}'", nothing, lambda q, v=value: [queue_declare(q, durable=1, args={"x-queue-type": ("S", "stream"), "x-max-age": ("S", v)})], "541", "541 channel", only="rabbitmq"))
for what, value in (("unknown", ("S", "nowhere")), ("empty", ("S", "")), ("a number", ("I", 1)), ("void", ("V", 0)), ("a table", ("F", {}))):
    add(Case("arguments", f"x-queue-master-locator, {what}", nothing, lambda q, v=value: [queue_declare(q, args={"x-queue-master-locator": v})], "541", "541 channel", only="rabbitmq"))
add(Case("arguments", "x-queue-master-locator, a double: the broker never answers", nothing, lambda q: [queue_declare(q, args={"x-queue-master-locator": ("d", 1.5)})], None, "541 channel", only="rabbitmq"))
for name in ("x-message-ttl", "x-expires", "x-max-length", "x-max-priority", "x-overflow", "x-dead-letter-exchange", "x-dead-letter-routing-key", "x-queue-mode", "x-queue-version", "x-single-active-consumer", "x-queue-type"):
    add(Case("arguments", f"{name}, odd values: the channel's error", nothing, lambda q, n=name: [queue_declare(q, exclusive=1, args={n: ("D", (255, 2**32 - 1))})], "channel 406", "406 channel", only="rabbitmq", only_why="it is laxer"))
add(Case("arguments", "x-priority, odd: the channel's error", own, lambda q: [consume(q, args={"x-priority": ("S", "x")})], "channel 406", "406 channel"))
add(Case("arguments", "x-match, odd: the channel's error", own, lambda q: [queue_bind(q, "amq.headers", args={"x-match": ("I", 1)})], "channel 406", "406 channel", only="rabbitmq", only_why="it is laxer"))
add(Case("arguments", "alternate-exchange, odd: the channel's error", nothing, lambda q: [exchange_declare(q, "fanout", auto_delete=1, args={"alternate-exchange": ("I", 1)})], "channel 406", "406 channel", only="rabbitmq", only_why="it is laxer"))

# binding keys
for hashes, answer in ((9, "541 channel"), (8, "ok")):
    KEY = ".".join(["#"] * hashes)
    add(Case("binding keys", f"{hashes} words # next to each other", own, lambda q, k=KEY: [queue_bind(q, "amq.topic", k)], "ok", answer, only="rabbitmq"))
    add(Case("binding keys", f"{hashes} words # between exchanges", nothing, lambda q, k=KEY: [exchange_declare(q, "topic", auto_delete=1), exchange_bind(q, "amq.topic", k)], "ok", answer, only="rabbitmq"))
add(Case("binding keys", "9 words # with others between them", own, lambda q: [queue_bind(q, "amq.topic", ".a.".join(["#"] * 9))], "ok", "541 channel", only="rabbitmq"))

# streams
for what, value in (("scale 0", ("D", (0, 0))), ("scale 255", ("D", (255, 2**32 - 1)))):
    add(Case("streams", f"a decimal in the headers, {what}", STREAM, lambda q, v=value: [publish("", q, headers={"h": v})], "541", "not sent 541", only="rabbitmq", only_why=NO_SUCH_TYPE))
add(Case("streams", "a decimal in the headers, by an exchange", lambda q: STREAM(q) + [queue_bind(q, "amq.fanout")], lambda q: [publish("amq.fanout", "", headers={"h": ("D", (0, 0))})], "541", None, epoch="where an exchange leads", only="rabbitmq", only_why=NO_SUCH_TYPE))
for name, value in (("x-basic-type", ("I", 3)), ("x-basic-type", ("S", "x" * 256)), ("x-basic-app-id", ("I", 0))):
    add(Case("streams", f"the header {name}, {value[0]}, for its consumers", STREAM, lambda q, n=name, v=value: [publish("", q, headers={n: v}), qos(1), consume(q, args=FIRST)], "541", "not sent 541", quiet=0.1, ipc=lambda q, n=name, v=value: [publish("", q, headers={n: v})], only="rabbitmq", only_why=NO_SUCH_TYPE))
add(Case("streams", "consuming from a stream that holds such a message", nothing, lambda q: [qos(1), consume(q, args=FIRST), queue_declare("", exclusive=1)], "541", "541 channel", quiet=0.1, ipc=lambda q: [qos(1), consume(q, args=FIRST), ends], outside=lambda q: STREAM(q) + [publish("", q, headers={"x-basic-type": ("I", 3)})], epoch="what a stream holds", only="rabbitmq", only_why=NO_SUCH_TYPE))

# what must reach one channel only
for what, op, code in (("404, no queue", queue_purge("muxd-killers-nowhere"), 404), ("404, no exchange", queue_bind("q", "muxd-killers-nowhere"), 404), ("403, a reserved name", queue_declare("amq.mine"), 403), ("403, the default exchange", exchange_declare("", "direct"), 403), ("403, a binding of the default exchange", exchange_bind("amq.fanout", ""), 403), ("406, inequivalent arguments", exchange_declare("amq.direct", "fanout"), 406)):
    add(Case("channel errors", what, nothing, lambda q, o=op: [o], f"channel {code}", f"{code} channel"))
add(Case("channel errors", "404, a publish", nothing, lambda q: [publish("muxd-killers-nowhere", "")], "channel 404", "unknown 404|not sent 404"))
add(Case("channel errors", "406, an unknown delivery tag", nothing, lambda q: [settle("ack", 7)], "channel 406", "406 channel"))
add(Case("channel errors", "bindings in a circle, an alternate exchange that is itself", nothing, lambda q: [exchange_declare(q, "fanout", auto_delete=1, args={"alternate-exchange": ("S", q)}), exchange_declare(q + "2", "fanout"), exchange_bind(q, q + "2"), exchange_bind(q + "2", q), exchange_bind(q, q), publish(q, "", mandatory=1), exchange_delete(q), exchange_delete(q + "2")], "ok", "ok"))

# numbers
add(Case("numbers", "one channel more than channel_max", nothing, open_channels(4), "530", "ok", login={"channel_max": 3}, ipc=consume_on_channels(20)))
add(Case("numbers", "more channels than the user may have", nothing, open_channels(USER_CHANNELS + 20), "530", "408 request", login={"user": os.environ["LIMITED_USER"].encode()}, quiet=0.1, ipc=consume_on_channels(USER_CHANNELS + 20), epoch="user's max-channels"))
