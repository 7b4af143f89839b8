"""What ends a consumer, or a channel, and nothing beside it.

    ended.py ends MEMORY      of a small session, twice that of ours: the queue is deleted; a message is too large; replies and streams overflow
    ended.py timeout SECONDS  the broker's consumer_timeout
    ended.py crowd COUNT      so many sessions that read nothing; then all of it is there
"""
import os
import struct
import sys
import time

from ipc import Client, Session, check, describe, finish, pb

ENDLESS = 1 << 50
rabbitmq = os.environ["BROKER"] == "rabbitmq"


def begin(channels=1, path=None):
    session = Session(path)
    session.hello()
    for channel in range(1, channels + 1):
        session.open(channel)
    return session


def kind_of(name):
    table = pb.Table()
    table.fields.add(name=b"x-queue-type", string=name)
    return table


def put(session, queue, body, count=1, **fields):
    """Publishes on channel 1, and waits until all are confirmed."""
    confirmed = 0
    for _ in range(count):
        session.want(len(body) + 300)
        session.publish(1, queue, body, **fields)
        while session.wait(lambda f: f.HasField("outcome"), 30)[0].outcome.kind == pb.CONFIRMED:
            confirmed += 1
            break
    return confirmed == count


def consume(session, channel, queue, messages, size=ENDLESS, **fields):
    return session.ask(channel=channel, consume=pb.Consume(queue=queue, consumer=1, credit_messages=messages,
                                                           credit_bytes=size, **fields))[0]


def ready(session, queue):
    frame, _ = session.ask(channel=1, queue_declare=pb.QueueDeclare(queue=queue, passive=True))
    return frame.queue_declared.message_count


def waits(session, queue, count, seconds=10):
    end = time.monotonic() + seconds
    while ready(session, queue) != count and time.monotonic() < end:
        time.sleep(0.02)
    return ready(session, queue) == count


def is_cancelled(session, channel, *words, seconds=20):
    frame, _ = session.wait(lambda f: f.HasField("consumer_cancelled") or f.HasField("error"), seconds)
    text = frame.consumer_cancelled.text.decode() if frame.HasField("consumer_cancelled") else describe(frame.error)
    return frame.HasField("consumer_cancelled") and frame.channel == channel and \
        all(word in text for word in words), text


def works(session, channel):
    return session.ask(channel=channel, queue_declare=pb.QueueDeclare(exclusive=True))[0].HasField("queue_declared")


def queue_deleted(name, **fields):
    queue = b"ended-" + name
    with begin(2) as session, begin() as other:
        other.ask(channel=1, queue_declare=pb.QueueDeclare(queue=queue, **fields))
        put(other, queue, b"x")
        consume(session, 1, queue, 10)
        session.wait(lambda f: f.HasField("delivery"))
        other.ask(channel=1, queue_delete=pb.QueueDelete(queue=queue))
        good, text = is_cancelled(session, 1, "queue was deleted")
        check(f"a {name.decode()} queue that is deleted ends its consumer, and says so", good, text)
        check("its channel goes on, and the session's other one", works(session, 1) and works(session, 2))


def too_large(memory):
    queue, body = b"ended-large", bytes(memory * 5 // 8)
    with begin(2) as session, begin() as other:
        other.ask(channel=1, queue_declare=pb.QueueDeclare(queue=queue))
        check("a message larger than a session may be sent is published by one that may", put(other, queue, body))
        small = begin(1, os.environ["SMALL_SOCKET"])
        check("the queue has it", ready(small, queue) == 1)
        consume(small, 1, queue, 10)
        good, text = is_cancelled(small, 1, "session's memory")
        check("it ends the consumer of a session that cannot have it, and says so", good, text)
        check("and goes back to its queue", waits(other, queue, 1))
        time.sleep(0.5)
        check("once: nothing comes and goes", ready(other, queue) == 1)
        frame, _ = small.ask(channel=1, get=pb.Get(queue=queue))
        check("a get of it is refused", frame.HasField("error") and frame.error.code == 311, frame)
        check("and it is back", waits(other, queue, 1))
        check("the session goes on", small.is_alive() and works(small, 1))
        other.ask(channel=1, queue_delete=pb.QueueDelete(queue=queue))


def replies(memory):
    with begin(2) as asker, begin() as answerer:
        consume(asker, 1, b"amq.rabbitmq.reply-to", 0, 0, no_ack=True)
        answerer.ask(channel=1, queue_declare=pb.QueueDeclare(queue=b"ended-ask", exclusive=True))
        asker.publish(1, b"x", b"", properties=pb.Properties(reply_to=b"amq.rabbitmq.reply-to"))
        # What the request's address is, its receiver sees.
        asker.publish(1, b"ended-ask", b"?", properties=pb.Properties(reply_to=b"amq.rabbitmq.reply-to"))
        address = None
        end = time.monotonic() + 10
        while address is None and time.monotonic() < end:
            frame, _ = answerer.ask(channel=1, get=pb.Get(queue=b"ended-ask", no_ack=True))
            address = frame.got.properties.reply_to if frame.HasField("got") else None
        body = bytes(128 << 10)
        put(answerer, address, body, memory // len(body) + 4)
        good, text = is_cancelled(asker, 1, "replies")
        check("replies that are not taken end their consumer, and say so", good, text)
        check("its channel goes on", works(asker, 1))


def streams(memory):
    if not rabbitmq:
        print("skipped: streams: the test broker has none")
        return
    queue = b"ended-stream"
    with begin() as other:
        other.ask(channel=1, queue_declare=pb.QueueDeclare(queue=queue, durable=True, arguments=kind_of(b"stream")))
        body = bytes(256 << 10)
        put(other, queue, body, memory // len(body) + 8)
        first = pb.Table()
        first.fields.add(name=b"x-stream-offset", string=b"first")
        # A muxd that did not see its declare knows it by the consumer's offset.
        for what, path in (("declared here", None), ("declared elsewhere", os.environ["SMALL_SOCKET"])):
            with begin(2, path) as session:
                session.ask(channel=1, qos=pb.Qos(prefetch_count=1000))
                check(f"a stream ({what}) is consumed",
                      consume(session, 1, queue, 0, 0, arguments=first).HasField("consuming"))
                good, text = is_cancelled(session, 1, "memory")
                check("what is not taken of it ends its consumer, and says so", good, text)
                check("its channel goes on", works(session, 1))
                consume(session, 2, queue, 1, arguments=first)
                frame, _ = session.wait(lambda f: f.HasField("delivery"))
                tag = frame.delivery.tag
                session.send(Client(channel=2, settle=pb.Settle(kind=pb.REQUEUE, tags=[pb.Range(first=tag, last=tag)])))
                frame, _ = session.wait(lambda f: f.HasField("error") and f.channel == 2)
                check("giving one of its messages back ends the channel alone", frame.error.code == 540 and
                      frame.error.scope == pb.CHANNEL, describe(frame.error))
                session.open(2, 2)
                if path:
                    continue
                frame, _ = session.ask(channel=2, get=pb.Get(queue=queue))
                check("so does getting one", frame.HasField("error") and frame.error.code == 540, frame)
        other.ask(channel=1, queue_delete=pb.QueueDelete(queue=queue))


def timeout(seconds):
    queue = b"ended-timeout"
    with begin(3) as session, begin() as other:
        other.ask(channel=1, queue_declare=pb.QueueDeclare(queue=queue, durable=True, arguments=kind_of(b"quorum")))
        put(other, queue, b"x")
        session.ask(channel=2, queue_declare=pb.QueueDeclare(queue=b"ended-quiet", exclusive=True))
        consume(session, 2, b"ended-quiet", 10)
        consume(session, 1, queue, 10)
        session.wait(lambda f: f.HasField("delivery"))
        frame, _ = session.wait(lambda f: f.HasField("error"), seconds * 6 + 30)
        check("consumer_timeout ends the channel, in the broker's words", frame.channel == 1 and
              frame.error.scope == pb.CHANNEL and frame.error.code == 406 and b"timed out" in frame.error.text and
              frame.error.origin == pb.BROKER, describe(frame.error))
        check("the message is back in its queue", waits(other, queue, 1))
        check("a consumer beside it goes on", works(session, 3))
        session.publish(3, b"ended-quiet", b"y")
        frame, body = session.wait(lambda f: f.HasField("delivery"))
        check("and is delivered to", body == b"y" and frame.channel == 2, frame)
        session.open(1, 2)
        check("a new generation of the channel works", works(session, 1))
        other.ask(channel=1, queue_delete=pb.QueueDelete(queue=queue))


def crowd(count):
    body, each = bytes(64 << 10), 48
    sleepers = []
    with begin() as session:
        names = [b"ended-crowd-%d" % number for number in range(count)]
        for name in names:
            session.ask(channel=1, queue_declare=pb.QueueDeclare(queue=name, durable=True, arguments=kind_of(b"quorum")))
            put(session, name, body, each)
        for name in names:
            sleeper = begin()
            sleeper.ask(channel=1, qos=pb.Qos(prefetch_count=1000))
            sleeper.send(Client(request=9, channel=1, consume=pb.Consume(queue=name, consumer=1, credit_messages=ENDLESS,
                                                                         credit_bytes=ENDLESS)))
            sleepers.append(sleeper)
        end = time.monotonic() + 5
        most = 0
        while time.monotonic() < end:
            status = session.ask(status=pb.StatusQuery())[0].status
            most = max(most, status.memory_used)
            slack = 2 * len(body) * count
            if most > status.memory_limit + slack:
                break
        check(f"with {count} sessions that read nothing muxd's memory stays within total-memory",
              most <= status.memory_limit + slack, f"{most} of {status.memory_limit}")
        check("and somebody else is served", works(session, 1))
        told = 0
        for sleeper in sleepers:
            while True:
                try:
                    frame, _ = sleeper.wait(lambda f: f.HasField("consumer_cancelled") or f.HasField("delivery"), 0.2)
                except TimeoutError:
                    break
                if frame.HasField("consumer_cancelled"):
                    told += b"memory" in frame.consumer_cancelled.text
                    break
        check("consumers that held most of it were ended, and told why", told > 0, told)
        for sleeper in sleepers:
            sleeper.socket.close()
        check("every message is back in its queue", all(waits(session, name, each, 20) for name in names))
        for name in names:
            session.ask(channel=1, queue_delete=pb.QueueDelete(queue=name))


mode, value = sys.argv[1], int(sys.argv[2])
if mode == "ends":
    queue_deleted(b"classic")
    queue_deleted(b"quorum", durable=True, arguments=kind_of(b"quorum"))
    too_large(value)
    replies(2 * value)
    streams(2 * value)
elif mode == "timeout":
    timeout(value)
else:
    crowd(value)
finish()
