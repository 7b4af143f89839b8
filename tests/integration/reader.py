"""A reader that never reads, and what it may cost.

    reader.py fill QUEUE KIND COUNT SIZE    declares the queue, and fills it with numbered, persistent messages
    reader.py sleep QUEUE                   consumes with endless credit and reads nothing, until its stdin ends
    reader.py drain QUEUE COUNT SIZE        a good reader: every message is there, whole
"""
import struct
import sys

from ipc import Client, Session, check, finish, pb

KINDS = {"classic": ("classic", None), "quorum": ("quorum", None), "limited": ("quorum", 20)}
ENDLESS = 1 << 50
WINDOW = 32


def arguments(kind):
    kind, limit = KINDS[kind]
    table = pb.Table()
    field = table.fields.add(name=b"x-queue-type")
    field.string = kind.encode()
    if limit is not None:
        field = table.fields.add(name=b"x-delivery-limit")
        field.int64 = limit
    return table


def body_of(number, size):
    return struct.pack(">Q", number) + bytes([number % 251]) * (size - 8)


def settled(session, frame):
    if not frame.HasField("outcome"):
        return 0
    if frame.outcome.kind != pb.CONFIRMED:
        raise SystemExit(f"a publish was not confirmed: {frame}")
    return sum(numbers.last - numbers.first + 1 for numbers in frame.outcome.numbers)


def fill(queue, kind, count, size):
    with Session() as session:
        session.hello()
        session.open(1)
        frame, _ = session.ask(channel=1, queue_declare=pb.QueueDeclare(queue=queue, durable=True,
                                                                         arguments=arguments(kind)))
        if not frame.HasField("queue_declared"):
            raise SystemExit(f"{queue} cannot be declared: {frame}")
        confirmed = 0
        cost = size + 200
        for number in range(count):
            body = body_of(number, size)
            while session.credit[1] - session.spent_bytes < cost or session.credit[0] <= session.spent_messages:
                session.send(Client(want=pb.Want(messages=session.spent_messages + 1,
                                                 bytes=session.spent_bytes + cost)))
                frame, _ = session.wait(lambda f: f.HasField("credit") or f.HasField("outcome"), 120)
                confirmed += settled(session, frame)
            session.publish(1, queue, body, properties=pb.Properties(delivery_mode=2))
        while confirmed < count:
            frame, _ = session.wait(lambda f: f.HasField("outcome"), 120)
            confirmed += settled(session, frame)
    print(f"filled {count}")


def sleep(queue):
    with Session() as session:
        session.hello()
        session.open(1)
        session.send(Client(request=1, channel=1, consume=pb.Consume(
            queue=queue, consumer=1, credit_messages=ENDLESS, credit_bytes=ENDLESS)))
        frame, _ = session.receive()
        print("asleep" if frame.HasField("consuming") else f"refused {frame}", flush=True)
        sys.stdin.readline()


def drain(queue, count, size):
    seen = set()
    strange = again = 0
    with Session() as session:
        session.hello()
        session.open(1)
        session.ask(channel=1, qos=pb.Qos(prefetch_count=WINDOW))
        taken = 0
        session.ask(channel=1, consume=pb.Consume(queue=queue, consumer=1, credit_messages=2 * WINDOW,
                                                  credit_bytes=ENDLESS))
        while len(seen) < count:
            frame, body = session.wait(lambda f: f.HasField("delivery") or f.HasField("consumer_cancelled") or
                                       f.HasField("error"), 60)
            if not frame.HasField("delivery"):
                raise SystemExit(f"the good reader was stopped: {frame}")
            number = struct.unpack(">Q", body[:8])[0]
            strange += number >= count or body != body_of(number, size)
            again += number in seen
            seen.add(number)
            taken += 1
            session.send(Client(channel=1, settle=pb.Settle(kind=pb.ACK, tags=[
                pb.Range(first=frame.delivery.tag, last=frame.delivery.tag)])))
            if taken % (WINDOW // 2) == 0:
                session.send(Client(channel=1, consumer_credit=pb.ConsumerCredit(
                    consumer=1, messages=taken + 2 * WINDOW, bytes=ENDLESS)))
        left = session.ask(channel=1, queue_declare=pb.QueueDeclare(queue=queue, passive=True))[0]
        check(f"{queue.decode()}: all {count} messages are there afterwards, once and whole",
              strange == 0 and again == 0 and left.queue_declared.message_count == 0,
              f"{strange} strange, {again} twice, {left.queue_declared.message_count} more")
        session.ask(channel=1, queue_delete=pb.QueueDelete(queue=queue))


mode, name = sys.argv[1], sys.argv[2].encode()
if mode == "fill":
    fill(name, sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
elif mode == "sleep":
    sleep(name)
else:
    drain(name, int(sys.argv[3]), int(sys.argv[4]))
    finish()
