"""What went wrong in the recovery of RabbitMQ's Java client in its time, one test for each.

    recovery.py [TEST...]

The way to the broker goes through the relay, whose commands are relay.c's. Other clients of the broker are
sessions of the upstream `outside`, which has a connection of its own.
"""
import contextlib
import os
import sys
import time

from ipc import Client, Closed, Session, check, describe, finish, pb

HEARTBEAT = float(os.environ["HEARTBEAT"])
PATIENCE = max(3 * HEARTBEAT, 10)  # what muxd has with what stays locked
scratch = os.environ["scratch"]
link_in = open(f"{scratch}/link.in", "r+b", buffering=0)
link_out = open(f"{scratch}/link.out", "r+b", buffering=0)


def link(command):
    link_in.write(command.encode() + b"\n")
    answer = b""
    while not answer.endswith(b"\n"):
        answer += link_out.read(1)
    if not answer.startswith(b"ok"):
        raise RuntimeError(f"{command}: {answer}")


class Watcher(Session):
    """A session that forgets nothing it has read."""

    def __init__(self, upstream=b"default"):
        super().__init__()
        self.outcomes, self.deliveries, self.returns, self.ends = {}, [], {}, {}
        self.upstream = None
        self.published, self.generation = {}, {}
        self.hello(upstream=upstream)
        self.upstream = self.welcome.upstream
        if self.upstream.state != pb.UP:
            self.wait_up(self.upstream.epoch - 1)

    def receive(self):
        frame, payload = super().receive()
        if frame.HasField("outcome"):
            for numbers in frame.outcome.numbers:
                for number in range(numbers.first, numbers.last + 1):
                    self.outcomes.setdefault((frame.channel, number), []).append(frame.outcome.kind)
        elif frame.HasField("returned"):
            self.returns[frame.channel, frame.returned.number] = payload
        elif frame.HasField("delivery"):
            self.deliveries.append((frame.channel, frame.delivery, payload))
            self.send(Client(channel=frame.channel, settle=pb.Settle(tags=[pb.Range(
                first=frame.delivery.tag, last=frame.delivery.tag)])))
        elif frame.HasField("upstream_changed"):
            self.upstream = frame.upstream_changed
        elif frame.HasField("error") and frame.request == 0 and frame.channel:
            self.ends[frame.channel] = frame.error
        return frame, payload

    def until(self, true, seconds=20):
        """Reads until true() is; gives whether it became so."""
        end = time.monotonic() + seconds
        try:
            while not true() and time.monotonic() < end:
                self.wait(lambda _: True, end - time.monotonic())
        except TimeoutError:
            pass
        return bool(true())

    def wait_up(self, epoch, seconds=20):
        """Until the upstream is up in a later epoch than that."""
        return self.until(lambda: self.upstream.state == pb.UP and self.upstream.epoch > epoch, seconds)

    def wait_away(self, epoch, seconds=20):
        return self.until(lambda: self.upstream.state != pb.UP or self.upstream.epoch > epoch, seconds)

    def declare(self, channel, queue, seconds=20, **fields):
        return self.ask(channel=channel, queue_declare=pb.QueueDeclare(queue=queue, **fields), seconds=seconds)[0]

    def delete(self, channel, queue):
        return self.ask(channel=channel, queue_delete=pb.QueueDelete(queue=queue))[0]

    def consume(self, channel, queue, consumer=1):
        return self.ask(channel=channel, consume=pb.Consume(queue=queue, consumer=consumer, credit_messages=10000,
                                                            credit_bytes=1 << 24))[0]

    def say(self, channel, key, body, exchange=b"", **fields):
        """Publishes; gives its number."""
        self.want(len(body) + 200)
        deadline = fields.pop("deadline_ms", 0)
        self.published[channel] = self.published.get(channel, 0) + 1
        self.send(Client(channel=channel, deadline_ms=deadline, publish=pb.Publish(
            exchange=exchange, routing_key=key, **fields)), body)
        return self.published[channel]

    def has_outcomes(self, channel, numbers, seconds=20):
        return self.until(lambda: all((channel, n) in self.outcomes for n in numbers), seconds)

    def is_confirmed(self, channel, number, seconds=20):
        self.has_outcomes(channel, [number], seconds)
        return self.outcomes.get((channel, number)) == [pb.CONFIRMED]

    def gets(self, channel, body, seconds=20):
        return self.until(lambda: any(c == channel and payload == body for c, _, payload in self.deliveries), seconds)

    def lose(self, command="cut"):
        """Loses the connection, and waits for the next one."""
        before = self.upstream.epoch
        link(command)
        return self.wait_up(before)


def queue_exists(queue):
    with Watcher(b"outside") as other:
        other.open(1)
        frame = other.declare(1, queue, passive=True)
        return frame.HasField("queue_declared")


def name(what):
    return f"recovery.{os.getpid()}.{what}".encode()


# ------------------------------------------------------------------------ tests

def fill(session, queue, body):
    """Publishes as long as there is credit at once; gives the numbers."""
    sent = []
    cost = len(body) + 200
    while True:
        session.send(Client(want=pb.Want(messages=session.spent_messages + 1, bytes=session.spent_bytes + cost)))
        if not session.until(lambda: session.credit[1] - session.spent_bytes >= cost, 0.1):
            return sent
        sent.append(session.say(1, queue, body))


def window_full():
    """TCP window full and peer gone."""
    for number in range(3):
        if fill_window(name(f"full.{number}"), number == 2):
            break


def fill_window(queue, last):
    """False if the machine took so long that the window was not full, or not before the peer was missed."""
    body = bytes(100000)
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(Watcher()) for _ in range(10)]
        sessions[0].open(2)
        sessions[0].declare(2, queue)
        for s in sessions:  # credit grows with use
            s.open(1)
            s.has_outcomes(1, [s.say(1, queue, body) for _ in range(20)])
        before = s.upstream.epoch
        link("stall")
        stalled = time.monotonic()
        # more than two socket buffers hold: the window is full
        sent = [fill(s, queue, body) for s in sessions]
        held = sum(map(len, sent)) * len(body)
        full = s.upstream.epoch == before and held > 6 << 20
        noticed = s.wait_away(before)
        took = time.monotonic() - stalled
        told = full or last
        if told:
            check(f"a peer that is gone behind a full window is noticed in two heartbeat intervals ({took:.1f} s, "
                  f"{held >> 20} MiB are on their way)", full and noticed and took < 2 * HEARTBEAT + 1.5)
        s.wait_up(before)
        kinds = set()
        for s, numbers in zip(sessions, sent):
            s.has_outcomes(1, numbers, 60)
            kinds |= {kind for n in numbers for kind in s.outcomes.get((1, n), ["none"])}
        check("and what was on its way is confirmed on the next connection", kinds == {pb.CONFIRMED}, kinds)
        sessions[0].delete(2, queue)
    return told


def confirm_timeout():
    """Channel never recovered after a confirm time-out."""
    with Watcher() as s:
        s.open(1)
        s.declare(1, name("timeout"))
        s.consume(1, name("timeout"))
        s.is_confirmed(1, s.say(1, name("timeout"), b"before"))
        before = s.upstream.epoch
        link("freeze")
        late = s.say(1, name("timeout"), b"late", deadline_ms=300)
        s.has_outcomes(1, [late])
        check("a publish that the broker does not answer ends by its deadline, as unknown",
              s.outcomes.get((1, late)) == [pb.UNKNOWN], s.outcomes)
        check("the connection is given up", s.wait_away(before))
        link("thaw")
        s.wait_up(before)
        after = s.say(1, name("timeout"), b"after")
        check("after a confirm time-out and a new connection the channel publishes", s.is_confirmed(1, after), s.ends)
        check("and consumes", s.gets(1, b"after"), s.ends)
        check("a second outcome for what had timed out does not come", s.outcomes.get((1, late)) == [pb.UNKNOWN])
        s.delete(1, name("timeout"))


def delete_while_away():
    """Deadlock between queue recovery and delete."""
    queues = [name(f"delete.{i}") for i in range(20)]
    with Watcher() as s, Watcher() as other:
        s.open(1)
        s.open(2)
        other.open(1)
        for queue in queues:
            s.declare(1, queue)
        before = s.upstream.epoch
        link("refuse 0")
        link("cut")
        s.wait_away(before)
        # on the channel that declared them, on another one, and in another session
        for i, queue in enumerate(queues[:15]):
            session = other if i % 3 == 2 else s
            session.send(Client(request=1000 + i, channel=2 if i % 3 == 1 else 1,
                                queue_delete=pb.QueueDelete(queue=queue)))
        link("accept 0")
        answers = {}
        for session in (s, other):
            due = {1000 + i for i in range(15) if (i % 3 == 2) == (session is other)}
            while due:
                frame, _ = session.wait(lambda f: f.request in due)
                due.discard(frame.request)
                answers[frame.request] = frame
        check("queues that are deleted while they are to be recovered: each request is answered, none stalls",
              all(frame.HasField("counted") for frame in answers.values()),
              [describe(f.error) for f in answers.values() if f.HasField("error")])
        check("they are gone", not any(queue_exists(queue) for queue in queues[:15:5]))
        check("the others are there", queue_exists(queues[15]) and queue_exists(queues[19]))
        # one that is on its way when the connection ends
        link("freeze")
        before = s.upstream.epoch
        s.send(Client(request=2000, channel=1, queue_delete=pb.QueueDelete(queue=queues[15])))
        s.until(lambda: False, 0.2)
        link("cut")
        link("thaw")
        frame, _ = s.wait(lambda f: f.request == 2000)
        check("a delete that was unanswered when the connection was lost ends, retryable, and its channel goes on",
              frame.HasField("counted") or frame.error.retryable and frame.error.scope == pb.REQUEST, frame)
        s.wait_up(before)
        frame = s.delete(1, queues[15])
        check("and can be said again", frame.HasField("counted"), frame)
        for queue in queues[16:]:
            s.delete(1, queue)


def auto_delete_exchange():
    """Auto-delete exchange that vanished with its queue not re-created."""
    exchange, queue = name("exchange"), name("private")
    with Watcher() as s:
        s.open(1)
        s.ask(channel=1, exchange_declare=pb.ExchangeDeclare(exchange=exchange, type=b"topic", auto_delete=True))
        s.declare(1, queue, exclusive=True)
        s.ask(channel=1, queue_bind=pb.QueueBind(queue=queue, exchange=exchange, routing_key=b"a.*"))
        s.consume(1, queue)
        s.lose("reset")
        number = s.say(1, b"a.b", b"hello", exchange, mandatory=True)
        check("an auto-delete exchange that vanished with its exclusive queue is there again, and routes",
              s.is_confirmed(1, number), (s.outcomes, s.ends))
        check("through its binding to the consumer", s.gets(1, b"hello"), s.ends)
        with Watcher(b"outside") as other:
            other.open(1)
            frame, _ = other.ask(channel=1, exchange_declare=pb.ExchangeDeclare(exchange=exchange, passive=True))
            check("the broker has it, as others see", frame.HasField("done"), frame)


def is_got(session, channel, queue, body):
    frame, payload = session.ask(channel=channel, get=pb.Get(queue=queue, no_ack=True))
    return frame.HasField("got") and payload == body


def exclusive_locked():
    """Exclusive queue still locked."""
    queue, plain = name("locked"), name("plain")
    with Watcher() as s, Watcher() as other:
        s.open(1)
        s.declare(1, queue, exclusive=True)
        s.consume(1, queue)
        other.open(1)
        other.declare(1, plain)
        before = s.upstream.epoch
        # the broker goes on seeing the old connection, until its heartbeats are missed
        link("orphan")
        lost = time.monotonic()
        s.wait_up(before)
        number = other.say(1, plain, b"at once")
        # it is not consumed: the broker would give the message to the dead connection's consumer
        check("a queue that is locked by the dead connection delays nobody else",
              other.is_confirmed(1, number) and is_got(other, 1, plain, b"at once") and
              time.monotonic() < lost + HEARTBEAT, f"{time.monotonic() - lost:.1f} s")
        number = s.say(1, queue, b"to the locked one")
        check("it is there again when the broker lets it go", s.gets(1, b"to the locked one", 20), s.ends)
        check("and the publish to it is confirmed", s.is_confirmed(1, number), s.outcomes)
        check("its channel has not ended", not s.ends, s.ends)
        other.open(2)
        frame = other.declare(2, queue, passive=True)
        check("it is still exclusive", frame.HasField("error") and frame.error.code == 405, frame)
        other.delete(1, plain)


def exclusive_locked_for_good():
    """Exclusive queue still locked, and the broker never lets it go."""
    if os.environ["OVER_TLS"]:
        print("skipped: a queue that stays locked ends its channel: the relay cannot send a dead connection's heartbeats by TLS")
        return
    queue, plain = name("held"), name("free")
    with Watcher() as s:
        s.open(1)
        s.declare(1, queue, exclusive=True)
        s.open(2)
        s.declare(2, plain)
        before = s.upstream.epoch
        link("hold")
        lost = time.monotonic()
        s.wait_up(before)
        ended = s.until(lambda: 1 in s.ends, PATIENCE + 5)
        took = time.monotonic() - lost
        check("a queue that stays locked ends its channel with the broker's 405",
              ended and s.ends[1].code == 405 and s.ends[1].origin == pb.BROKER, s.ends)
        check(f"after at least three heartbeat intervals ({took:.1f} s)", 3 * HEARTBEAT <= took < PATIENCE + 2)
        check("the session's other channel goes on", s.is_confirmed(2, s.say(2, plain, b"free")) and
              is_got(s, 2, plain, b"free"), s.ends)
        link("drop-held")
        s.delete(2, plain)


def failed_declare():
    """One failed declare stalls all recovery."""
    changed = name("changed")
    with Watcher() as s, Watcher() as other, Watcher(b"outside") as outside:
        s.open(1)
        s.declare(1, changed)
        s.consume(1, changed)
        for session, channel in ((s, 2), (other, 1)):
            session.open(channel)
            session.declare(channel, name(f"good.{channel}"))
            session.consume(channel, name(f"good.{channel}"))
        outside.open(1)
        before = s.upstream.epoch
        link("refuse 0")
        link("cut")
        s.wait_away(before)
        outside.delete(1, changed)
        table = pb.Table(fields=[pb.Field(name=b"x-max-length", int32=5)])
        outside.declare(1, changed, arguments=table)
        link("accept 0")
        s.wait_up(before)
        back = time.monotonic()
        check("a declaration that fails in recovery ends its channel with the broker's error",
              s.until(lambda: 1 in s.ends) and s.ends[1].code == 406, s.ends)
        for session, channel, whose in ((s, 2, "its session's other channel"), (other, 1, "another session")):
            queue = name(f"good.{channel}")
            number = session.say(channel, queue, b"good")
            check(f"and {whose} is recovered at once", session.is_confirmed(channel, number) and
                  session.gets(channel, b"good") and time.monotonic() < back + HEARTBEAT, session.ends)
            session.delete(channel, queue)
        outside.delete(1, changed)


def resurrected():
    """Queue deleted on one channel resurrected by another."""
    here, there = name("gone.here"), name("gone.there")
    with Watcher() as s, Watcher() as other:
        s.open(1)
        s.open(2)
        s.declare(1, here)
        s.declare(1, there)
        other.open(1)
        other.declare(1, there)  # both have declared it
        s.delete(2, here)
        other.delete(1, there)
        s.lose()
        # something that comes behind all of recovery
        s.declare(1, name("behind"), exclusive=True)
        check("a queue that another channel deleted is not declared again", not queue_exists(here))
        check("nor one that another session deleted, though both had declared it", not queue_exists(there))


def confirms_in_step():
    """Confirm tags out of step after recovery."""
    queue, total = name("step"), 600
    with Watcher() as s:
        s.open(1)
        s.declare(1, queue)
        s.consume(1, queue)
        nowhere, numbers = set(), []
        for i in range(total):
            lost = i % 10 == 3
            number = s.say(1, name("nowhere") if lost else queue, b"%d" % i, mandatory=True)
            numbers.append(number)
            if lost:
                nowhere.add(number)
            if i % 150 == 75:
                s.lose(("cut", "reset", "half up", "half down")[i // 150])
        s.has_outcomes(1, numbers, 60)
        right = {n: [pb.RETURNED if n in nowhere else pb.CONFIRMED] for n in numbers}
        wrong = {n: s.outcomes.get((1, n)) for n in numbers if s.outcomes.get((1, n)) != right[n]}
        check(f"through four lost connections each of {total} publishes has one outcome, and its own", not wrong, wrong)
        check("what came back is what was published under its number",
              all(s.returns.get((1, n)) == b"%d" % (n - 1) for n in nowhere), s.returns)
        check("the rest came", s.gets(1, b"%d" % (total - 1)) and
              {payload for _, _, payload in s.deliveries} == {b"%d" % (n - 1) for n in numbers if n not in nowhere})
        s.delete(1, queue)


def second_broker():
    """No bug of theirs: fail-over to a broker that knows nothing of us."""
    queue, exchange = name("moves"), name("moves.exchange")
    with Watcher() as s, Watcher(b"second") as second:
        s.open(1)
        s.declare(1, queue, durable=True)
        s.ask(channel=1, exchange_declare=pb.ExchangeDeclare(exchange=exchange, type=b"fanout"))
        s.ask(channel=1, queue_bind=pb.QueueBind(queue=queue, exchange=exchange))
        s.is_confirmed(1, s.say(1, queue, b"stays", properties=pb.Properties(delivery_mode=2)))
        link("accept 1")
        link("refuse 0")
        s.lose()
        number = s.say(1, b"", b"moved", exchange, mandatory=True)
        check("what was declared is declared at the broker that is failed over to, and routes",
              s.is_confirmed(1, number), s.outcomes)
        second.open(1)
        check("it is the other broker", is_got(second, 1, queue, b"moved"))
        link("accept 0")
        link("refuse 1")
        s.lose()
        check("what was confirmed before is at the first broker", is_got(s, 1, queue, b"stays"))
        s.delete(1, queue)
        second.delete(1, queue)


def stream_goes_on():
    """No bug of theirs: a consumer of a stream neither begins anew nor leaves out what came meanwhile."""
    if os.environ["BROKER"] != "rabbitmq":
        print("skipped: a consumer of a stream goes on where it was: the test broker has no streams")
        return
    queue = name("stream")
    table = pb.Table(fields=[pb.Field(name=b"x-queue-type", string=b"stream")])
    first = pb.Table(fields=[pb.Field(name=b"x-stream-offset", string=b"first")])
    with Watcher() as s, Watcher(b"outside") as outside:
        s.open(1)
        s.declare(1, queue, durable=True, arguments=table)
        s.ask(channel=1, consume=pb.Consume(queue=queue, consumer=1, credit_messages=1000, credit_bytes=1 << 20,
                                            arguments=first))
        s.is_confirmed(1, s.say(1, queue, b"before 1"))
        s.is_confirmed(1, s.say(1, queue, b"before 2"))
        s.gets(1, b"before 2")
        before = s.upstream.epoch
        link("refuse 0")
        link("cut")
        s.wait_away(before)
        outside.open(1)
        outside.is_confirmed(1, outside.say(1, queue, b"meanwhile"))
        link("accept 0")
        s.wait_up(before)
        s.say(1, queue, b"after")
        s.gets(1, b"after")
        bodies = [payload for _, _, payload in s.deliveries]
        check("a consumer of a stream goes on where it was", bodies == [b"before 1", b"before 2", b"meanwhile", b"after"],
              bodies)
        s.delete(1, queue)


TESTS = (window_full, confirm_timeout, delete_while_away, auto_delete_exchange, exclusive_locked,
         exclusive_locked_for_good, failed_declare, resurrected, confirms_in_step, second_broker,
         stream_goes_on)


def main(names):
    for test in TESTS:
        if names and test.__name__ not in names:
            continue
        began = time.monotonic()
        print(f"-- {test.__name__}: {test.__doc__}", flush=True)
        try:
            test()
        except (AssertionError, Closed, RuntimeError, TimeoutError, OSError) as e:
            check(f"{test.__name__} goes on to its end", False, repr(e))
        for command in ("thaw", "accept 0", "refuse 1", "drop-held"):
            link(command)
        print(f"   {time.monotonic() - began:.1f} s", flush=True)


main(sys.argv[1:])
finish()
