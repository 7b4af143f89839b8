"""What belongs to one process: nobody else may use it, and it goes with the process, however that dies.

    owners.py PORT VHOST

The broker itself is asked, over a connection of our own without muxd.
"""
import os
import random
import signal
import struct
import sys
import time

import amqp
from ipc import Client, Session, check, check_answer_error, describe, finish, pb

QUEUE_DECLARE, QUEUE_DECLARE_OK = (50, 10), (50, 11)
EXCHANGE_DECLARE, EXCHANGE_DECLARE_OK = (40, 10), (40, 11)
PATIENCE = 1.0  # seconds until what a dead process had is gone
seed = int(os.environ.get("SEED", "1"))
chance = random.Random(seed)
broker = amqp.Connection(int(sys.argv[1]), sys.argv[2])


def asks_broker(method, ok, arguments):
    """True if it is there: the broker says so, or that it is locked."""
    broker.open(1)
    broker.send(1, method, arguments)
    channel, answer, rest = broker.receive()
    if answer == ok:
        broker.close_channel(1)
        return True
    assert answer == amqp.CHANNEL_CLOSE, answer
    broker.send(1, amqp.CHANNEL_CLOSE_OK)
    code = struct.unpack(">H", rest[:2])[0]
    assert code in (404, 405), rest
    return code == 405


def has_queue(name):
    return asks_broker(QUEUE_DECLARE, QUEUE_DECLARE_OK, b"\0\0" + amqp.short(name) + b"\1" + amqp.long(b""))


def has_exchange(name):
    return asks_broker(EXCHANGE_DECLARE, EXCHANGE_DECLARE_OK,
                       b"\0\0" + amqp.short(name) + amqp.short(b"fanout") + b"\1" + amqp.long(b""))


def seconds_until(good, most=20):
    began = time.monotonic()
    while not good():
        if time.monotonic() - began > most:
            return most
        time.sleep(0.002)
    return time.monotonic() - began


def check_goes(what, has, name):
    took = seconds_until(lambda: not has(name))
    check(f"{what} is gone from the broker within a second ({took * 1000:.0f} ms)", took < PATIENCE)


def begin(channels=1):
    session = Session()
    session.hello()
    for channel in range(1, channels + 1):
        session.open(channel)
    return session


class Process:
    """Another process: runs work(session), tells what that returns, and lives until it is ended."""

    def __init__(self, work, end=None):
        answers, tell = os.pipe()
        orders, self.order = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.order)
            try:
                session = begin(3)
                os.write(tell, work(session) or b"done")
                os.read(orders, 1)
                if end:
                    end(session)
                signal.pause()
            finally:
                os._exit(1)
        os.close(tell)
        os.close(orders)
        self.answer = os.read(answers, 4096)
        os.close(answers)

    def kill(self, number=signal.SIGKILL):
        os.kill(self.pid, number)
        os.waitpid(self.pid, 0)
        os.close(self.order)

    def end(self):
        """As `end` says."""
        os.write(self.order, b"x")
        os.waitpid(self.pid, 0)
        os.close(self.order)


def declares(name=b"", **fields):
    def work(session):
        frame, _ = session.ask(channel=1, queue_declare=pb.QueueDeclare(queue=name, **fields))
        return frame.queue_declared.queue

    return work


def uses(name):
    """Each that a queue can be named in."""
    return (("a declaration", dict(queue_declare=pb.QueueDeclare(queue=name, exclusive=True))),
            ("a declaration as shared", dict(queue_declare=pb.QueueDeclare(queue=name))),
            ("a passive declaration", dict(queue_declare=pb.QueueDeclare(queue=name, passive=True))),
            ("a binding", dict(queue_bind=pb.QueueBind(queue=name, exchange=b"amq.fanout"))),
            ("an unbinding", dict(queue_unbind=pb.QueueBind(queue=name, exchange=b"amq.fanout"))),
            ("a purge", dict(queue_purge=pb.QueuePurge(queue=name))),
            ("a deletion", dict(queue_delete=pb.QueueDelete(queue=name))),
            ("a get", dict(get=pb.Get(queue=name))),
            ("a consumer", dict(consume=pb.Consume(queue=name, consumer=1))))


# ---------------------------------------------------------------- exclusive queues

def nobody_else_uses(what, name):
    for use, fields in uses(name):
        code = 403 if name.startswith(b"muxd.gen-") and use.endswith(("declaration", "shared")) and \
            not use.startswith("a passive") else 405
        with begin(2) as other:
            frame, _ = other.ask(channel=1, **fields)
            check_answer_error(f"{use} of another process's {what} queue is refused with {code}", frame, pb.CHANNEL, code)
            frame, _ = other.ask(channel=2, queue_declare=pb.QueueDeclare(exclusive=True))
            check(f"and ends its channel alone ({use})", frame.HasField("queue_declared"), frame)


def its_owner_goes_on(session, name):
    session.publish(2, name, b"mine")
    session.wait(lambda f: f.HasField("outcome"))
    frame, body = session.ask(channel=3, get=pb.Get(queue=name, no_ack=True))
    return b"ok" if frame.HasField("got") and body == b"mine" else describe(frame.error).encode()


def exclusive():
    name = b"owners-exclusive"
    with begin(3) as owner:
        owner.ask(channel=1, queue_declare=pb.QueueDeclare(queue=name, exclusive=True))
        nobody_else_uses("exclusive", name)
        check("its owner uses it all the while, from any channel", its_owner_goes_on(owner, name) == b"ok")
        with begin() as other:
            other.publish(1, name, b"a letter")
            other.wait(lambda f: f.HasField("outcome"))
        frame, body = owner.ask(channel=1, get=pb.Get(queue=name, no_ack=True))
        check("others may publish to it", body == b"a letter", frame)
    check_goes("an exclusive queue whose session was closed", has_queue, name)


def deaths():
    def last_words(session):
        os._exit(0)

    def half_closed(session):
        session.socket.shutdown(1)

    # Each has a name of its own: who looks from outside may see that one is gone before muxd is told, and
    # until then the name is refused.
    for how in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV):
        name = f"owners-{how.name}".encode()
        process = Process(declares(name, exclusive=True))
        check(f"the broker has an exclusive queue ({how.name})", has_queue(name))
        process.kill(how)
        check_goes(f"the exclusive queue of a process that died by {how.name}", has_queue, name)
    process = Process(declares(b"owners-leaves", exclusive=True), last_words)
    check("the broker has that of one that will leave", has_queue(b"owners-leaves"))
    process.end()
    check_goes("that of one that left without a word", has_queue, b"owners-leaves")
    process = Process(declares(b"owners-shuts", exclusive=True), half_closed)
    check("the broker has that of one that will shut down", has_queue(b"owners-shuts"))
    os.write(process.order, b"x")
    check_goes("that of one that lives on, and has shut down its sending side", has_queue, b"owners-shuts")
    process.kill()


def named_by_muxd():
    process = Process(declares(exclusive=True))
    name = process.answer
    check("a queue without a name gets one", name.startswith(b"muxd.gen-"), name)
    check("the broker has it", has_queue(name))
    nobody_else_uses("server-named", name)
    process.kill()
    check_goes("the server-named queue of a process that was killed", has_queue, name)


def race(rounds):
    """Two declare the same name at once, with what they do behind it; one gets it all, the other nothing."""
    won = [0, 0]
    wrong = []
    for number in range(rounds):
        name = b"owners-race-%d" % number
        sessions = [begin(), begin()]
        first = chance.randrange(2)
        for index in (first, 1 - first):
            session = sessions[index]
            session.send(Client(request=1, channel=1, queue_declare=pb.QueueDeclare(queue=name, exclusive=True)))
            session.send(Client(request=2, channel=1, queue_bind=pb.QueueBind(queue=name, exchange=b"amq.fanout")))
            session.publish(1, name, b"%d" % index)
            session.send(Client(request=3, channel=1, get=pb.Get(queue=name, no_ack=True)))
        answers = [[s.wait(lambda f, r=r: f.request == r)[0] for r in (1, 2, 3)] for s in sessions]
        got = [[a.HasField("queue_declared"), b.HasField("done"), c.HasField("got")] for a, b, c in answers]
        lost = [all(a.HasField("error") and a.error.code == 405 for a in three) for three in answers]
        if sorted(map(all, got)) == [False, True] and lost[got.index([True] * 3) ^ 1]:
            won[got.index([True] * 3)] += 1
        else:
            wrong.append(answers)
        for session in sessions:
            session.socket.close()
    check(f"of two that declare a queue at once, one gets it, {rounds} times (seed {seed})", not wrong, wrong[:1])
    left = [n for n in range(rounds) if seconds_until(lambda n=n: not has_queue(b"owners-race-%d" % n)) >= 20]
    check("and nothing is left of it", not left, left)


def hasty_deaths(rounds):
    """A process dies before it has an answer: whatever the broker made of it goes."""
    for number in range(rounds):
        session = begin()
        name = b"owners-hasty-%d" % number
        session.send(Client(request=1, channel=1, queue_declare=pb.QueueDeclare(queue=name, exclusive=True)))
        session.send(Client(request=2, channel=1, consume=pb.Consume(queue=name, consumer=1, exclusive=True)))
        if chance.randrange(2):
            time.sleep(chance.random() / 500)
        session.socket.close()
    time.sleep(PATIENCE)  # for one may come late
    left = [n for n in range(rounds) if seconds_until(lambda n=n: not has_queue(b"owners-hasty-%d" % n)) >= 20]
    check(f"{rounds} processes that died before the answer leave no queue (seed {seed})", not left, left)


# ---------------------------------------------------------------- auto-delete

def consumes(name, **fields):
    def work(session):
        session.ask(channel=1, queue_declare=pb.QueueDeclare(queue=name, auto_delete=fields.get("auto_delete", True)))
        frame, _ = session.ask(channel=1, consume=pb.Consume(queue=name, consumer=1, credit_messages=10,
                                                             credit_bytes=1 << 20,
                                                             exclusive=fields.get("exclusive", False)))
        return b"consuming" if frame.HasField("consuming") else describe(frame.error).encode()

    return work


def auto_delete():
    name = b"owners-auto"
    processes = [Process(consumes(name)) for _ in range(3)]
    check("three processes consume from an auto-delete queue", [p.answer for p in processes] == [b"consuming"] * 3,
          [p.answer for p in processes])
    processes[1].kill()
    processes[0].kill()
    time.sleep(0.3)
    check("it stays while one of them lives", has_queue(name))
    processes[2].kill()
    check_goes("the auto-delete queue whose last consumer was killed", has_queue, name)

    def binds(session):
        session.ask(channel=1, exchange_declare=pb.ExchangeDeclare(exchange=b"owners-fanout", type=b"fanout",
                                                                    auto_delete=True))
        session.ask(channel=1, queue_declare=pb.QueueDeclare(queue=b"owners-bound", exclusive=True))
        frame, _ = session.ask(channel=1, queue_bind=pb.QueueBind(queue=b"owners-bound", exchange=b"owners-fanout"))
        return b"bound" if frame.HasField("done") else b"not"

    process = Process(binds)
    check("the broker has an auto-delete exchange", process.answer == b"bound" and has_exchange(b"owners-fanout"))
    process.kill()
    check_goes("the auto-delete exchange whose only queue was a dead process's", has_exchange, b"owners-fanout")


# ---------------------------------------------------------------- exclusive consumers

def exclusive_consumer():
    name = b"owners-consumed"
    with begin(3) as keeper:
        keeper.ask(channel=1, queue_declare=pb.QueueDeclare(queue=name))

        def consume(channel, exclusive_too=False):
            frame, _ = keeper.ask(channel=channel, consume=pb.Consume(queue=name, consumer=1, exclusive=exclusive_too))
            return frame

        process = Process(consumes(name, auto_delete=False, exclusive=True))
        check("a process is a queue's only consumer", process.answer == b"consuming", process.answer)
        for channel, exclusive_too in ((1, False), (2, True)):
            check_answer_error("a second consumer is refused with 403" + (", an exclusive one too" if exclusive_too else ""),
                               consume(channel, exclusive_too), pb.CHANNEL, 403)
        generation = 1

        def free():
            nonlocal generation
            generation += 1
            keeper.open(1, generation)
            return consume(1).HasField("consuming")

        process.kill()
        took = seconds_until(free)
        check(f"the queue is free within a second of its death ({took * 1000:.0f} ms)", took < PATIENCE)
        late = Process(consumes(name, auto_delete=False, exclusive=True))
        check("who would be the only one beside another is refused", late.answer.startswith(b"403"), late.answer)
        late.kill()
        keeper.ask(channel=3, queue_delete=pb.QueueDelete(queue=name))


# ---------------------------------------------------------------- claims that fail

def mistaken_claims(rounds, known):
    """A process that would have a shared queue for itself does not get it, and disturbs nobody who uses it."""
    name = b"owners-shared"
    with begin() as user:
        if known:
            user.ask(channel=1, queue_declare=pb.QueueDeclare(queue=name))
        else:
            broker.open(1)
            broker.send(1, QUEUE_DECLARE, b"\0\0" + amqp.short(name) + b"\0" + amqp.long(b""))
            broker.expect(1, QUEUE_DECLARE_OK)
            broker.close_channel(1)
        refused = 0
        trouble = []
        for number in range(rounds):
            with begin() as claimer:
                claimer.send(Client(request=1, channel=1, queue_declare=pb.QueueDeclare(queue=name, exclusive=True)))
                frame, _ = user.ask(channel=1, get=pb.Get(queue=name, no_ack=True))
                if frame.HasField("error"):
                    trouble.append(describe(frame.error))
                    user.open(1, number + 2)
                if number % 2:  # the others die before they have an answer
                    answer = claimer.wait(lambda f: f.request == 1)[0]
                    refused += answer.HasField("error") and answer.error.code in (405, 406)
        check(f"who claims a shared queue that muxd {'knows' if known else 'does not know'} is refused, {rounds // 2} times",
              refused == rounds // 2, refused)
        check("and those who use it meanwhile are not", not trouble, (len(trouble), trouble[:1]))
        user.ask(channel=1, queue_delete=pb.QueueDelete(queue=name))


exclusive()
deaths()
named_by_muxd()
race(20)
hasty_deaths(50)
auto_delete()
exclusive_consumer()
mistaken_claims(50, True)
mistaken_claims(50, False)
finish()
