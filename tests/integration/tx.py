"""Transactions, basic.recover and a global qos, in muxd's protocol.

    tx.py alone        all that needs nobody else
    tx.py cut          says `ready`, reads a line when the connection is about to be gone; then once more,
                       with a commit that will have no answer
"""
import os
import signal
import sys
import time

from ipc import Client, Session, check, check_answer_error, finish, pb

SELECT, COMMIT, ROLLBACK = ({f"tx_{name}": message()} for name, message in
                            (("select", pb.TxSelect), ("commit", pb.TxCommit), ("rollback", pb.TxRollback)))
outside = Session()
outside.hello()
outside.open(1)


def count(queue):
    """As another session sees it."""
    return outside.ask(channel=1, queue_declare=pb.QueueDeclare(queue=queue, passive=True))[0].queue_declared.message_count


def becomes(queue, number):
    """What a channel had goes back some time after it was closed."""
    deadline = time.monotonic() + 10
    while count(queue) != number and time.monotonic() < deadline:
        pass
    return count(queue) == number


def fresh(name):
    outside.ask(channel=1, queue_declare=pb.QueueDeclare(queue=name))
    outside.ask(channel=1, queue_purge=pb.QueuePurge(queue=name))
    return name


def gone(queue):
    outside.ask(channel=1, queue_delete=pb.QueueDelete(queue=queue))


class Notes(Session):
    """Notes outcomes down, whatever is waited for."""

    def __init__(self):
        super().__init__()
        self.outcomes = {}
        self.reasons = {}
        self.order = []
        self.deliveries = []
        self.taken = 0
        self.hello()

    def receive(self):
        frame, payload = super().receive()
        for numbers in frame.outcome.numbers:
            for number in range(numbers.first, numbers.last + 1):
                self.outcomes[frame.channel, number] = frame.outcome.kind
                self.reasons[frame.channel, number] = frame.outcome.error.text
        self.order.append(frame)
        if frame.HasField("delivery"):
            self.deliveries.append((frame, payload))
        return frame, payload

    def ends_of(self, channel, first, last):
        return [self.outcomes.get((channel, number)) for number in range(first, last + 1)]

    def select(self, channel=1):
        self.open(channel)
        return self.ask(channel=channel, **SELECT)[0]

    def get(self, queue, channel=1, **fields):
        return self.ask(channel=channel, get=pb.Get(queue=queue, **fields))

    def delivery(self, seconds=20):
        """The next one, also if it came while something else was waited for."""
        if self.taken == len(self.deliveries):
            self.wait(lambda f: f.HasField("delivery"), seconds)
        self.taken += 1
        return self.deliveries[self.taken - 1]

    def settle(self, tag, kind=pb.ACK, channel=1, first=None):
        self.send(Client(channel=channel, settle=pb.Settle(
            kind=kind, tags=[pb.Range(first=tag if first is None else first, last=tag)])))


def publishes():
    queue = fresh(b"muxd-tx")
    with Notes() as s:
        check("tx.select is answered", s.select().HasField("done"))
        for body in (b"1", b"2", b"3"):
            s.publish(1, queue, body)
        # answered in order behind the publishes
        s.ask(channel=1, queue_declare=pb.QueueDeclare(queue=queue, passive=True))
        check("nothing is there before the commit, and no outcome is told",
              count(queue) == 0 and not s.outcomes, (count(queue), s.outcomes))
        s.ask(channel=1, **COMMIT)
        check("the commit brings all, and outcomes come before its answer",
              count(queue) == 3 and s.ends_of(1, 1, 3) == [pb.CONFIRMED] * 3, s.outcomes)
        s.publish(1, queue, b"4")
        s.publish(1, queue, b"5")
        s.ask(channel=1, **ROLLBACK)
        check("a rollback leaves nothing", count(queue) == 3 and s.ends_of(1, 4, 5) == [pb.NOT_SENT] * 2, s.outcomes)
        check("and says so", b"rolled back" in s.reasons[1, 4], s.reasons)
        s.publish(1, queue, b"6")
        s.ask(channel=1, **COMMIT)
        check("a transaction after that is a new one", count(queue) == 4 and s.ends_of(1, 6, 6) == [pb.CONFIRMED])
        check("a second tx.select changes nothing", s.ask(channel=1, **SELECT)[0].HasField("done"))
        s.publish(1, queue, b"7")
        s.ask(channel=1, channel_close=pb.ChannelClose())
        if (1, 7) not in s.outcomes:
            s.wait(lambda f: f.HasField("outcome"))
        check("closing the channel rolls back", count(queue) == 4 and s.ends_of(1, 7, 7) == [pb.NOT_SENT], s.outcomes)
    gone(queue)


def returns():
    queue = fresh(b"muxd-tx-returns")
    with Notes() as s:
        s.select()
        s.publish(1, b"muxd-tx-nowhere", b"a", mandatory=True)
        s.publish(1, queue, b"b", mandatory=True)
        s.publish(1, b"muxd-tx-nowhere", b"a", mandatory=True)
        s.publish(1, b"muxd-tx-nowhere", b"c", mandatory=True)
        s.ask(channel=1, **COMMIT)
        check("what went nowhere is returned before the commit's answer",
              [f.returned.number for f in s.order if f.HasField("returned")] == [1, 3, 4],
              [f.returned.number for f in s.order if f.HasField("returned")])
        check("and has that outcome", s.ends_of(1, 1, 4) == [pb.RETURNED, pb.CONFIRMED, pb.RETURNED, pb.RETURNED],
              s.outcomes)
    gone(queue)


def pipelined():
    queue = fresh(b"muxd-tx-pipe")
    with Notes() as s:
        data = b"".join(Session.encode(frame, body) for frame, body in (
            (Client(channel=1, channel_open=pb.ChannelOpen(generation=1)), b""),
            (Client(channel=1, publish=pb.Publish(routing_key=queue)), b"before"),
            (Client(request=1, channel=1, queue_declare=pb.QueueDeclare(queue=queue)), b""),
            (Client(request=2, channel=1, **SELECT), b""),
            (Client(channel=1, publish=pb.Publish(routing_key=queue)), b"1"),
            (Client(request=3, channel=1, **COMMIT), b""),
            (Client(channel=1, publish=pb.Publish(routing_key=queue)), b"2"),
            (Client(request=4, channel=1, **COMMIT), b""),
            (Client(channel=1, publish=pb.Publish(routing_key=queue)), b"3"),
            (Client(request=5, channel=1, **ROLLBACK), b""),
        ))
        s.raw(data)
        s.wait(lambda f: f.request == 5)
        answers = [f.request for f in s.order if f.request]
        check("everything in one write is done in its order", answers == list(range(1, 6)), answers)
        check("each with its outcome", s.ends_of(1, 1, 4) == [
            pb.CONFIRMED, pb.CONFIRMED, pb.CONFIRMED, pb.NOT_SENT], s.outcomes)
        s.request = 5
        tags = [s.get(queue)[0].got.tag for _ in range(2)]
        ack = [Client(channel=1, settle=pb.Settle(kind=pb.ACK, tags=[pb.Range(first=tag, last=tag)])) for tag in tags]
        s.raw(b"".join(Session.encode(frame) for frame in (
            ack[0], Client(request=8, channel=1, **COMMIT),
            ack[1], Client(request=9, channel=1, **ROLLBACK),
            ack[1], Client(request=10, channel=1, get=pb.Get(queue=queue, no_ack=True)),
            Client(request=11, channel=1, **ROLLBACK))))
        s.wait(lambda f: f.request == 11)
        s.request = 11
        check("one got without acknowledgement is gone", s.get(queue)[0].HasField("got_nothing"))
        s.ask(channel=1, channel_close=pb.ChannelClose())
        check("what was acked behind a commit is of the next transaction", becomes(queue, 1), count(queue))
    gone(queue)


def settling():
    queue = fresh(b"muxd-tx-acks")
    for body in (b"1", b"2", b"3"):
        outside.publish(1, queue, body)
    outside.wait(lambda f: f.HasField("outcome"))
    with Notes() as s:
        s.select()
        tags = [s.get(queue)[0].got.tag for _ in range(3)]
        s.settle(tags[1], first=0)
        s.settle(tags[2], pb.REQUEUE)
        s.ask(channel=1, **ROLLBACK)
        check("after a rollback nothing was settled", count(queue) == 0, count(queue))
        s.settle(tags[0])
        s.settle(tags[1])
        s.settle(tags[2], pb.REQUEUE)
        s.ask(channel=1, queue_declare=pb.QueueDeclare(queue=queue, passive=True))
        check("nor after settling again, before the commit", count(queue) == 0, count(queue))
        s.ask(channel=1, **COMMIT)
        check("the commit gives back what was to go back", count(queue) == 1, count(queue))
        s.ask(channel=1, channel_close=pb.ChannelClose())
        check("and the acked ones are gone", count(queue) == 1, count(queue))
    with Notes() as s:
        s.select()
        tag = s.get(queue)[0].got.tag
        s.settle(tag)
        s.settle(tag)
        frame, _ = s.wait(lambda f: f.HasField("error"))
        check("settling twice in a transaction ends the channel", frame.error.code == 406, frame)
    with Notes() as s:
        s.open(1)
        answer, body = s.get(queue)
        while not answer.HasField("got"):  # the broker takes it back when it gets to it; the test has a time limit
            answer, body = s.get(queue)
        check("what it acked before was not acked", answer.HasField("got") and body == b"3", answer)
    gone(queue)


def consumers():
    queue = fresh(b"muxd-tx-consume")
    with Notes() as s:
        s.select()
        frame, _ = s.ask(channel=1, consume=pb.Consume(queue=queue, consumer=9, no_ack=True))
        check_answer_error("a consumer with no_ack is refused", frame, pb.REQUEST, 540, "no_ack", "transactional")
        s.ask(channel=1, qos=pb.Qos(prefetch_count=2))
        s.ask(channel=1, consume=pb.Consume(queue=queue, consumer=1, credit_messages=100, credit_bytes=100000))
        for body in range(5):
            outside.publish(1, queue, b"%d" % body)
        tags = []
        bodies = []
        for _ in range(2):
            for _ in range(2):
                frame, body = s.delivery()
                tags.append(frame.delivery.tag)
                bodies.append(body)
            s.publish(1, b"muxd-tx-out", b"done")
            s.settle(tags[-1], first=0)
            s.ask(channel=1, **COMMIT)
        check("a consumer goes on with each commit", bodies == [b"0", b"1", b"2", b"3"], bodies)
        frame, _ = s.delivery()
        s.settle(frame.delivery.tag)
        s.ask(channel=1, cancel=pb.Cancel(consumer=1))
        s.ask(channel=1, **ROLLBACK)
        s.settle(frame.delivery.tag, pb.REQUEUE)
        s.ask(channel=1, **COMMIT)
        check("what was rolled back can be given back", count(queue) == 1, count(queue))
    gone(queue)


def mistakes():
    queue = fresh(b"muxd-tx-wrong")
    with Notes() as s:
        s.open(1)
        check_answer_error("a commit without select", s.ask(channel=1, **COMMIT)[0], pb.CHANNEL, 406, "not transactional")
        s.open(2)
        check_answer_error("a rollback without select", s.ask(channel=2, **ROLLBACK)[0], pb.CHANNEL, 406,
                           "not transactional")
        s.open(3)
        s.ask(channel=3, consume=pb.Consume(queue=queue, consumer=1, credit_messages=1, credit_bytes=1))
        check_answer_error("select beside a consumer", s.ask(channel=3, **SELECT)[0], pb.CHANNEL, 406, "before anything")
        s.open(4)
        s.publish(4, queue, b"x")
        s.wait(lambda f: f.HasField("outcome"))
        s.get(queue, channel=4)
        check_answer_error("select with a message in hand", s.ask(channel=4, **SELECT)[0], pb.CHANNEL, 406,
                           "before anything")
        s.select(5)
        s.publish(5, queue, b"never")
        s.publish(5, queue, b"x", exchange=b"muxd-tx-no-such")
        frame, _ = s.wait(lambda f: f.channel == 5 and f.HasField("error"))
        check("a mistake of a publish ends the channel and its transaction",
              frame.error.code == 404 and s.ends_of(5, 1, 2) == [pb.NOT_SENT] * 2, (frame, s.outcomes))
        s.open(6)
        check_answer_error("recover without requeue", s.ask(channel=6, recover=pb.Recover())[0], pb.CHANNEL, 540,
                           "requeue=false")
        check("the session goes on", s.is_alive())
    gone(queue)


def large():
    queue = fresh(b"muxd-tx-large")
    amount = 3000
    with Notes() as s:
        s.select()
        for number in range(amount):
            s.want(2000)
            s.publish(1, queue, b"x" * 1000)
        check("a transaction larger than all credit goes out", s.spent_messages == amount)
        outside.ask(channel=1, queue_declare=pb.QueueDeclare(queue=b"muxd-tx-other", exclusive=True))
        outside.publish(1, b"muxd-tx-other", b"x")
        outside.wait(lambda f: f.HasField("outcome"))
        check("while it is open, others publish", True)
        s.ask(channel=1, seconds=60, **COMMIT)
        check("and it is committed as a whole", count(queue) == amount and
              s.ends_of(1, 1, amount) == [pb.CONFIRMED] * amount, count(queue))
    gone(queue)


def killed():
    queue = fresh(b"muxd-tx-killed")
    outside.publish(1, queue, b"in hand")
    outside.wait(lambda f: f.HasField("outcome"))
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        s = Notes()
        s.select()
        s.settle(s.get(queue)[0].got.tag)
        for _ in range(10):
            s.publish(1, queue, b"never")
        s.ask(channel=1, queue_declare=pb.QueueDeclare(queue=queue, passive=True))
        os.write(theirs, b"x")
        signal.pause()
    os.read(ours, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with Notes() as s:
        s.open(1)
        s.ask(channel=1, consume=pb.Consume(queue=queue, consumer=1, credit_messages=100, credit_bytes=100000))
        frame, body = s.delivery()
        check("what a killed client had in hand is back", body == b"in hand" and frame.delivery.redelivered, body)
        s.settle(frame.delivery.tag)
        s.ask(channel=1, cancel=pb.Cancel(consumer=1))
        check("and nothing of its transaction came", count(queue) == 0 and not s.is_readable(0.2), count(queue))
    gone(queue)


def recovers():
    for transactional in (False, True):
        what = "in a transaction" if transactional else "without one"
        queue = fresh(b"muxd-tx-recover")
        with Notes() as s:
            if transactional:
                s.select()
            else:
                s.open(1)
            s.ask(channel=1, consume=pb.Consume(queue=queue, consumer=1, credit_messages=3, credit_bytes=100000))
            for body in (b"1", b"2", b"3", b"4"):
                outside.publish(1, queue, body)
            tags = [s.delivery()[0].delivery.tag for _ in range(3)]
            s.settle(tags[0])
            answer, _ = s.ask(channel=1, recover=pb.Recover(requeue=True))
            check(f"recover is answered, {what}", answer.HasField("done"), answer)
            s.send(Client(channel=1, consumer_credit=pb.ConsumerCredit(consumer=1, messages=100, bytes=100000)))
            got = {}
            while len(got) < 3:
                frame, body = s.delivery()
                got[body] = frame.delivery
            check(f"what was not settled comes again, {what}", sorted(got) == [b"2", b"3", b"4"] and
                  got[b"2"].redelivered and got[b"3"].redelivered and min(d.tag for d in got.values()) > tags[2], got)
            if transactional:
                s.ask(channel=1, **COMMIT)
            s.settle(max(d.tag for d in got.values()), first=0)
            if transactional:
                s.ask(channel=1, **COMMIT)
            s.ask(channel=1, channel_close=pb.ChannelClose())
            check(f"and is settled as ever, {what}", count(queue) == 0, count(queue))
        gone(queue)


def global_qos():
    queues = [fresh(b"muxd-qos-1"), fresh(b"muxd-qos-2")]
    with Notes() as s:
        s.open(1)
        check("a global qos is taken", s.ask(channel=1, qos=pb.Qos(prefetch_count=3, **{"global": True}))[0].HasField("done"))
        for number, queue in enumerate(queues, 1):
            s.ask(channel=1, consume=pb.Consume(queue=queue, consumer=number, credit_messages=100, credit_bytes=100000))
        for number in range(10):
            outside.publish(1, queues[number % 2], b"%d" % number)
        tags = [s.delivery()[0].delivery.tag for _ in range(3)]
        s.ask(ping=pb.Ping())
        check("two consumers have three messages together", not s.is_readable(0.3) and
              sum(f.HasField("delivery") for f in s.order) == 3)
        s.settle(tags[0])
        tags.append(s.delivery()[0].delivery.tag)
        check("for one that is settled one comes", not s.is_readable(0.3))
        s.ask(channel=1, qos=pb.Qos(prefetch_count=5, **{"global": True}))
        tags += [s.delivery()[0].delivery.tag for _ in range(2)]
        check("a higher limit holds at once", not s.is_readable(0.3))
        s.ask(channel=1, qos=pb.Qos(prefetch_count=1, **{"global": True}))
        s.settle(tags[1])
        check("a lower one too", not s.is_readable(0.3))
        s.ask(channel=1, qos=pb.Qos(prefetch_count=0, **{"global": True}))
        while len(tags) < 10:
            s.settle(0)  # all
            tags.append(s.delivery()[0].delivery.tag)
        check("without one all come", len(tags) == 10)
    for queue in queues:
        gone(queue)


def widened():
    """A consumer that runs gets more when its channel may have more, up to its own prefetch."""
    for kind in b"classic", b"quorum":
        queue = b"muxd-widen-" + kind
        arguments = pb.Table(fields=[pb.Field(name=b"x-queue-type", string=kind)])
        declare = pb.QueueDeclare(queue=queue, durable=kind == b"quorum", auto_delete=kind == b"classic",
                                  arguments=arguments)
        with Notes() as s:
            s.open(1)
            if not s.ask(channel=1, queue_declare=declare)[0].HasField("queue_declared"):
                print(f"skipped: a larger limit on a {kind.decode()} queue: the broker has none")
                continue
            s.open(2)
            for number in range(40):
                s.publish(2, queue, b"%d" % number)
            s.ask(channel=1, qos=pb.Qos(prefetch_count=6))
            s.ask(channel=1, qos=pb.Qos(prefetch_count=2, **{"global": True}))
            s.ask(channel=1, consume=pb.Consume(queue=queue, consumer=1, credit_messages=100, credit_bytes=100000))

            def come(expected, what):
                for _ in range(expected):
                    frame, body = s.delivery(5)
                    come.last = frame.delivery.tag
                    come.all.append((int(body), frame.delivery.redelivered))
                while s.is_readable(0.3):
                    s.receive()
                more = s.deliveries[s.taken:]
                check(f"{what}, {kind.decode()}", not more, more)

            come.all = []
            come(2, "with a limit of 2 two messages come")
            s.ask(channel=1, qos=pb.Qos(prefetch_count=5, **{"global": True}))
            come(3, "with one of 5 three more")
            s.settle(come.last, first=0)
            come(5, "and five when they are settled")
            s.settle(come.last, first=0)
            come(5, "and five again")
            s.ask(channel=1, qos=pb.Qos(prefetch_count=0, **{"global": True}))
            come(6, "without a limit as many more as the consumer may have")
            s.settle(come.last, first=0)
            come(6, "and that is what it has from then on")
            check(f"each came once, in order, {kind.decode()}",
                  come.all == [(number, False) for number in range(len(come.all))], come.all)
            check("the consumer is cancelled", s.ask(channel=1, cancel=pb.Cancel(consumer=1))[0].HasField("done"))
            if kind == b"quorum":
                s.settle(come.last, first=0)
                gone(queue)
            else:
                answer, _ = s.ask(channel=1, queue_declare=pb.QueueDeclare(queue=queue, passive=True))
                check_answer_error("and the queue had consumers until then", answer, pb.CHANNEL, 404, "no queue")


def kinds():
    """Queues that a broker cannot treat alike."""
    for kind, queue in (b"quorum", b"muxd-tx-quorum"), (b"stream", b"muxd-tx-stream"):
        arguments = pb.Table(fields=[pb.Field(name=b"x-queue-type", string=kind)])
        with Notes() as s:
            s.select()
            declared, _ = s.ask(channel=1, queue_declare=pb.QueueDeclare(queue=queue, durable=True, arguments=arguments))
            if not declared.HasField("queue_declared"):
                print(f"skipped: transactions on a {kind.decode()} queue: the broker has none")
                continue
            for body in (b"1", b"2"):
                s.publish(1, queue, body)
            s.ask(channel=1, **COMMIT)
            s.ask(channel=1, qos=pb.Qos(prefetch_count=1, **{"global": True}))
            s.ask(channel=1, qos=pb.Qos(prefetch_count=5))
            first = pb.Table(fields=[pb.Field(name=b"x-stream-offset", string=b"first")] if kind == b"stream" else [])
            s.ask(channel=1, consume=pb.Consume(queue=queue, consumer=1, credit_messages=9, credit_bytes=9999,
                                                arguments=first))
            frame, body = s.delivery()
            check(f"a {kind.decode()} queue has a committed message", body == b"1", body)
            s.settle(frame.delivery.tag)
            s.ask(channel=1, **ROLLBACK)
            s.settle(frame.delivery.tag)
            s.ask(channel=1, **COMMIT)
            frame, body = s.delivery()
            check("and the next one behind the commit, by a global qos of 1", body == b"2", body)
            answer, _ = s.ask(channel=1, recover=pb.Recover(requeue=True))
            if kind == b"stream":
                check_answer_error("recover of a stream is refused", answer, pb.CHANNEL, 540, "stream")
            else:
                check("recover is answered", answer.HasField("done"), answer)
                frame, body = s.delivery()
                check("and what was not settled comes again", body == b"2" and frame.delivery.redelivered, frame)
                s.settle(frame.delivery.tag)
                s.ask(channel=1, **COMMIT)
        gone(queue)


def cut():
    queue = fresh(b"muxd-tx-cut")
    with Notes() as s:
        s.select(1)
        s.select(2)
        s.select(3)
        s.publish(2, queue, b"first")
        s.ask(channel=2, **COMMIT)
        s.ask(channel=3, consume=pb.Consume(queue=queue, consumer=1, credit_messages=10, credit_bytes=10000))
        frame, _ = s.delivery()
        s.settle(frame.delivery.tag, channel=3)
        s.ask(channel=3, **COMMIT)
        s.publish(1, queue, b"lost")
        s.ask(channel=1, queue_declare=pb.QueueDeclare(queue=queue, passive=True))
        print("ready", flush=True)
        sys.stdin.readline()
        frame, _ = s.wait(lambda f: f.channel == 1 and f.HasField("error"), 60)
        check("an open transaction ends with its connection", frame.error.code == 320 and frame.error.retryable and
              b"rolled back" in frame.error.text, frame)
        check("and its publishes are told not to be there", s.ends_of(1, 1, 1) == [pb.NOT_SENT], s.outcomes)
        s.wait(lambda f: f.HasField("upstream_changed") and f.upstream_changed.state == pb.UP, 60)
        s.publish(2, queue, b"second")
        answer, _ = s.ask(channel=2, seconds=60, **COMMIT)
        check("a channel with an empty one goes on", answer.HasField("done"), answer)
        frame, body = s.delivery(60)
        check("a consumer, too, and nothing else has come", body == b"second" and frame.channel == 3, (body, frame))
        s.settle(frame.delivery.tag, channel=3)
        s.ask(channel=3, **COMMIT)
        s.ask(channel=3, cancel=pb.Cancel(consumer=1))
        check("nothing came twice", count(queue) == 0, count(queue))
    gone(queue)


def unanswered():
    """The relay before the broker stands still when the commit is sent, and is gone then."""
    queue = fresh(b"muxd-tx-unanswered")
    with Notes() as s:
        s.select()
        for _ in range(5):
            s.publish(1, queue, b"once")
        s.ask(channel=1, queue_declare=pb.QueueDeclare(queue=queue, passive=True))
        print("ready", flush=True)
        sys.stdin.readline()
        s.request += 1
        s.send(Client(request=s.request, channel=1, **COMMIT))
        s.is_alive()
        print("sent", flush=True)
        frame, _ = s.wait(lambda f: f.request == s.request - 1 or f.HasField("error"), 60)
        check_answer_error("a commit that was under way is in doubt", frame, pb.CHANNEL, 320, "or not")
        s.wait(lambda f: f.HasField("error") and f.channel == 1 and not f.request)
        check("and so are its publishes", s.ends_of(1, 1, 5) == [pb.UNKNOWN] * 5, s.outcomes)
        s.wait(lambda f: f.HasField("upstream_changed") and f.upstream_changed.state == pb.UP, 60)
        there = count(queue)
        check("all of it came, or nothing, and nothing twice", there in (0, 5), there)
    gone(queue)


if sys.argv[1] == "alone":
    for test in (publishes, returns, pipelined, settling, consumers, mistakes, large, killed, recovers, global_qos, widened, kinds):
        test()
elif sys.argv[1] == "cut":
    cut()
else:
    unanswered()
finish()
