"""More channels than the broker allows, in one session.

    limits.py pinned      ten consumers hold all lanes of ten: who comes later waits, or is told
    limits.py crowd       forty channels publish at once
    limits.py consumers   five at a time, again and again
"""
import sys

from ipc import Client, Session, check, describe, finish, pb


def consume(session, channel, queue):
    session.send(Client(channel=channel, channel_open=pb.ChannelOpen(generation=1)))
    return session.ask(channel=channel, consume=pb.Consume(queue=queue, consumer=1, credit_messages=10,
                                                           credit_bytes=10000))[0]


def declare(session):
    session.open(1)
    return session.ask(channel=1, queue_declare=pb.QueueDeclare(exclusive=True))[0].queue_declared.queue


def pinned():
    with Session() as session:
        session.hello()
        queue = declare(session)
        good = [consume(session, 10 + i, queue).HasField("consuming") for i in range(10)]
        check("ten consumers begin", all(good), good)
        frame, _ = session.ask(channel=1, deadline_ms=500, queue_declare=pb.QueueDeclare(queue=queue, passive=True))
        check("a request that waits for a lane is told so at its deadline",
              frame.error.code == 408 and b"all 10 channels" in frame.error.text, describe(frame.error))
        session.publish(1, queue, b"waits")
        session.open(2)
        session.publish(2, queue, b"waits too")
        session.ask(channel=10, channel_close=pb.ChannelClose())
        outcomes = [session.wait(lambda f: f.HasField("outcome"))[0] for _ in range(2)]
        check("what waits is done in turn when a lane is free",
              [(f.channel, f.outcome.kind) for f in outcomes] == [(1, pb.CONFIRMED), (2, pb.CONFIRMED)], outcomes)


def crowd():
    with Session() as session:
        session.hello()
        session.open(100)
        queue = session.ask(channel=100, queue_declare=pb.QueueDeclare(exclusive=True))[0].queue_declared.queue
        for channel in range(1, 41):
            session.open(channel)
            session.publish(channel, queue, b"x")
        confirmed = set()
        while len(confirmed) < 40:
            frame, _ = session.wait(lambda f: f.HasField("outcome"), 60)
            if frame.outcome.kind != pb.CONFIRMED:
                break
            confirmed.add(frame.channel)
        check("forty channels publish, and each is confirmed", len(confirmed) == 40, len(confirmed))


def consumers():
    with Session() as session:
        session.hello()
        queue = declare(session)
        started = 0
        for turn in range(4):
            for i in range(5):
                started += consume(session, 10 + 5 * turn + i, queue).HasField("consuming")
            for i in range(5):
                session.ask(channel=10 + 5 * turn + i, channel_close=pb.ChannelClose())
        check("twenty consumers come and go, five at a time", started == 20, started)


{"pinned": pinned, "crowd": crowd, "consumers": consumers}[sys.argv[1]]()
finish()
