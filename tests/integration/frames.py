"""Each mistake a session can make, one after the other; frames.sh keeps a canary singing beside it."""
import os
import struct
import time

from ipc import (Client, Session, check, check_answer_error, check_session_error, describe, finish, pb)

MESSAGE_MAX = 1 << 20


def nested_table(depth):
    """The bytes of a Table nested so deep, one field each; protobuf's own encoder would recurse."""
    inner = b""
    for _ in range(depth):
        field = b"\x92\x01" + varint(len(inner)) + inner  # Field.table = 18
        inner = b"\x0a" + varint(len(field)) + field      # Table.fields = 1
    return inner


def varint(number):
    out = b""
    while number > 0x7f:
        out += bytes([number & 0x7f | 0x80])
        number >>= 7
    return out + bytes([number])


def message(tag, data):
    return varint(tag << 3 | 2) + varint(len(data)) + data


def broken_streams():
    with Session() as s:
        s.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        check_session_error("garbage: HTTP on the socket is a frame error", s, 501)
    with Session() as s:
        s.raw(b"AMQP\x00\x00\x09\x01")
        check_session_error("garbage: an AMQP client is told so", s, 501)
    with Session() as s:
        s.raw(os.urandom(4096))
        check_session_error("garbage: random bytes are a frame error", s, 501)
    with Session() as s:
        s.raw(struct.pack(">II", 20, 0) + b"\xff" * 20)
        check_session_error("garbage: a header that is no protobuf is a syntax error", s, 502)
    with Session() as s:
        s.hello()
        s.raw(struct.pack(">II", 262145, 0))
        check_session_error("an oversized header is refused before it comes", s, 501, "262145")
    with Session() as s:
        s.hello()
        s.raw(struct.pack(">II", 0, 0))
        check_session_error("an empty header is refused", s, 501)
    with Session() as s:
        s.hello()
        s.raw(struct.pack(">II", 10, 128 * 1024 * 1024 + 1))
        check_session_error("an oversized payload is refused before it comes", s, 311)
    with Session() as s:
        s.hello()
        s.open(1)
        s.raw(s.encode(Client(request=1, ping=pb.Ping()), b"body"))
        check_session_error("a payload where none belongs is refused", s, 501)


def deep_and_many():
    for name, depth in (("deeply", 65), ("very deeply", 8000)):
        properties = message(3, nested_table(depth))
        header = varint(2 << 3) + b"\x01" + message(4, message(4, properties))
        with Session() as s:
            s.hello()
            s.open(1)
            s.raw(s.encode(header))
            check_session_error(f"a {name} nested header is refused", s, 502, "nest")
    table = b"".join(message(1, message(1, b"a")) for _ in range(9000))
    with Session() as s:
        s.hello()
        s.open(1)
        s.raw(s.encode(varint(2 << 3) + b"\x01" + message(4, message(4, message(3, table)))))
        check_session_error("a header with too many fields is refused", s, 502, "8192")


def wrong_greetings():
    with Session() as s:
        s.send(Client(hello=pb.Hello(version_min=2, version_max=7)))
        check_session_error("a version that muxd does not speak: both ranges are named", s, 530, "2", "7", "1")
    with Session() as s:
        s.send(Client(hello=pb.Hello(version_min=1, version_max=1, features=[b"time-travel"])))
        check_session_error("a feature that muxd has not is named", s, 540, "time-travel")
    with Session() as s:
        s.send(Client(hello=pb.Hello(version_min=1, version_max=1, upstream=b"nowhere")))
        check_session_error("an upstream that is not there is named", s, 404, "nowhere")
    with Session() as s:
        s.send(Client(request=1, ping=pb.Ping()))
        check_session_error("the first frame must be Hello", s, 503, "hello")
    with Session() as s:
        s.hello()
        s.send(Client(hello=pb.Hello(version_min=1, version_max=1)))
        check_session_error("a second Hello is an error", s, 503, "hello")
    with Session() as s:
        began = time.monotonic()
        check_session_error("a session that never says Hello ends", s, 408, "hello")
        check("after about 5 s", 3 < time.monotonic() - began < 15, time.monotonic() - began)


def wrong_order():
    with Session() as s:
        s.hello()
        s.raw(s.encode(varint(1 << 3) + b"\x01" + message(500, b"")))
        check_session_error("an unknown operation is an error", s, 540)
    with Session() as s:
        s.hello()
        s.raw(s.encode(Client(request=1, ping=pb.Ping()).SerializeToString() + message(500, b"future")))
        frame, _ = s.wait(lambda f: f.request == 1)
        check("an unknown field is ignored", frame.HasField("done"), frame)
    with Session() as s:
        s.hello()
        frame, _ = s.ask(channel=3, queue_declare=pb.QueueDeclare(queue=b"q"))
        check_answer_error("a request on a channel never opened gets 504", frame, pb.CHANNEL, 504)
        check("and its session stays", s.is_alive())
        s.publish(3, b"q", b"body")
        check_session_error("a publish on a channel never opened ends the session with 504", s, 504)
    with Session() as s:
        s.hello()
        s.open(2**31)
        check_session_error("a channel number above the limit is an error", s, 504)
    with Session() as s:
        s.hello()
        s.open(1)
        s.open(1)
        check_session_error("opening an open channel is an error", s, 504)
    with Session() as s:
        s.hello()
        s.send(Client(ping=pb.Ping()))
        check_session_error("a request without a number is an error", s, 503)
    with Session() as s:
        s.hello()
        s.open(1)
        s.ask(channel=1, queue_declare=pb.QueueDeclare(exclusive=True))
        s.send(Client(channel=1, settle=pb.Settle(kind=pb.ACK, tags=[pb.Range(first=9, last=9)])))
        frame, _ = s.wait(lambda f: f.HasField("error"))
        check_answer_error("settling what was never delivered closes the channel with 406", frame, pb.CHANNEL, 406)
        check("and its session stays", s.is_alive())


def overruns():
    with Session() as s:
        s.hello()
        s.open(1)
        for _ in range(20):
            s.publish(1, b"nowhere", b"x" * 16384)
        check_session_error("publishing beyond the credit is an error", s, 506, "credit")
    with Session() as s:
        s.hello(get_bytes=0)
        s.open(1)
        s.ask(channel=1, queue_declare=pb.QueueDeclare(exclusive=True))
        most = s.welcome.requests_max
        for number in range(most + 1):  # without credit for its message each waits
            s.send(Client(request=1000 + number, channel=1, get=pb.Get()))
        check_session_error("more requests than may be unanswered are an error", s, 506, str(most))
    with Session() as s:
        s.hello()
        s.open(1)
        s.raw(struct.pack(">II", 30, MESSAGE_MAX + 1))
        check_session_error("a body above message-max is refused before it comes, and the limit is named",
                            s, 311, str(MESSAGE_MAX), str(MESSAGE_MAX + 1))
    with Session() as s:
        s.hello()
        s.open(1)
        s.ask(channel=1, queue_declare=pb.QueueDeclare(queue=b"muxd-large", exclusive=True))
        s.want(MESSAGE_MAX + 1000)
        s.publish(1, b"muxd-large", b"x" * MESSAGE_MAX)
        frame, _ = s.wait(lambda f: f.HasField("outcome"))
        check("one of just that size is taken", frame.outcome.kind == pb.CONFIRMED, frame)


def broker_errors():
    with Session() as s:
        s.hello()
        s.open(1)
        s.publish(1, b"key", b"body", exchange=b"muxd-no-such-exchange")
        frame, _ = s.wait(lambda f: f.HasField("error") and not f.request)
        check_answer_error("a publish to a missing exchange closes its channel with the broker's 404", frame,
                           pb.CHANNEL, 404, "muxd-no-such-exchange")
        check("the error says that it is the broker's", frame.error.origin == pb.BROKER, frame)
        frame, _ = s.ask(channel=1, queue_declare=pb.QueueDeclare(exclusive=True))
        check_answer_error("what comes behind it gets the same error", frame, pb.CHANNEL, 404)
        s.open(1, 2)
        frame, _ = s.ask(channel=1, queue_declare=pb.QueueDeclare(exclusive=True))
        check("the next generation of the channel works", frame.HasField("queue_declared"), frame)
        s.open(2)
        frame, _ = s.ask(channel=2, get=pb.Get(queue=b"muxd-no-such-queue"))
        check_answer_error("a get from a missing queue gets the broker's 404", frame, pb.CHANNEL, 404,
                           "muxd-no-such-queue")
        frame, _ = s.ask(channel=1, queue_declare=pb.QueueDeclare(exclusive=True))
        check("the other channel of the session works on", frame.HasField("queue_declared"), frame)


def cut_in_a_message():
    for what, cut in (("between header and body", 0), ("in the middle of its body", 200000)):
        with Session() as s:
            s.hello()
            s.open(1)
            queue = s.ask(channel=1, queue_declare=pb.QueueDeclare(queue=b"muxd-cut"))[0].queue_declared.queue
            s.want(500000)
            s.publish(1, queue, b"whole")
            frame = Client(channel=1, publish=pb.Publish(routing_key=queue)).SerializeToString()
            s.raw(struct.pack(">II", len(frame), 400000) + frame + b"x" * cut)
        with Session() as s:
            s.hello()
            s.open(1)
            got, bodies = True, []
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline and b"whole" not in bodies:
                got, body = s.ask(channel=1, get=pb.Get(queue=queue, no_ack=True))
                if got.HasField("got"):
                    bodies.append(body)
            got, _ = s.ask(channel=1, get=pb.Get(queue=queue))
            check(f"a client that ends {what}: its whole message is there, the half one is not",
                  bodies == [b"whole"] and got.HasField("got_nothing"), bodies)
            s.ask(channel=1, queue_delete=pb.QueueDelete(queue=queue))


for part in (broken_streams, deep_and_many, wrong_greetings, wrong_order, overruns, broker_errors, cut_in_a_message):
    try:
        part()
    except Exception as e:  # the other parts still count
        check(f"{part.__name__} runs to its end", False, repr(e))
finish()
