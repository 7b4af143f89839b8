"""Publishers and consumers through an alarm of the broker's.

    blocked.py PUBLISHERS CONSUMERS TIMEOUT_MS

Says `running`; reads lines: `alarm` (it is about to be raised), `over` (it was cleared), `end`. Every publish has
a deadline of TIMEOUT_MS; each must have its outcome by then, and what was confirmed must be delivered.
"""
import select
import struct
import sys
import threading
import time

from ipc import Client, Closed, Session, check, finish, pb

QUEUE = b"muxd-blocked"
GRACE_SECONDS = 2.0  # of this process and its machine, not of muxd
ENDLESS = 1 << 50


class Lag(threading.Thread):
    """How long this process and its machine keep a thread waiting that has nothing to do but to wake up."""

    def __init__(self):
        super().__init__(daemon=True)
        self.most = 0
        self.start()

    def run(self):
        while True:
            due = time.monotonic() + 0.02
            time.sleep(0.02)
            self.most = max(self.most, time.monotonic() - due)


class Publisher(threading.Thread):
    def __init__(self, number, timeout_ms):
        super().__init__(daemon=True)
        self.number, self.timeout_ms = number, timeout_ms
        self.session = Session()
        self.session.hello()
        self.session.open(1)
        self.sent = {}      # number: when
        self.outcomes = {}  # number: kind
        self.latest = self.most_waiting = 0
        self.order = []     # numbers confirmed in the order of their being told
        self.states = []    # (state, text)
        self.stopping = False
        self.wrong = None

    def hear(self, frame):
        if frame.HasField("upstream_changed"):
            self.states.append((frame.upstream_changed.state, frame.upstream_changed.text))
        if not frame.HasField("outcome"):
            return
        now = time.monotonic()
        for numbers in frame.outcome.numbers:
            for number in range(numbers.first, numbers.last + 1):
                self.wrong = self.wrong or (number in self.outcomes and f"two outcomes of {number}")
                self.outcomes[number] = frame.outcome.kind
                self.latest = max(self.latest, now - self.sent[number] - self.timeout_ms / 1000)
                if frame.outcome.kind == pb.CONFIRMED:
                    self.order.append(number)

    def run(self):
        session, count = self.session, 0
        try:
            while not self.stopping or len(self.outcomes) < count:
                room = session.credit[1] - session.spent_bytes > 600 and session.credit[0] > session.spent_messages
                if room and not self.stopping:
                    count += 1
                    self.sent[count] = time.monotonic()
                    session.send(Client(channel=1, deadline_ms=self.timeout_ms, publish=pb.Publish(
                        routing_key=QUEUE, properties=pb.Properties(delivery_mode=2))),
                                 struct.pack(">II", self.number, count) + bytes(400))
                    self.most_waiting = max(self.most_waiting, count - len(self.outcomes))
                busy = session.buffer or select.select([session.socket], [], [], 0.001 if room else 0.05)[0]
                while busy:
                    self.hear(session.receive()[0])
                    busy = session.buffer
        except (Closed, TimeoutError, OSError, ValueError) as error:
            self.wrong = repr(error)


class Consumer(threading.Thread):
    def __init__(self):
        super().__init__(daemon=True)
        self.session = Session()
        self.session.hello()
        self.session.open(1)
        self.session.ask(channel=1, consume=pb.Consume(queue=QUEUE, consumer=1, credit_messages=ENDLESS,
                                                       credit_bytes=ENDLESS))
        self.seen = []
        self.wrong = None

    def run(self):
        try:
            while True:
                self.session.socket.settimeout(600)
                frame, body = self.session.receive()
                if frame.HasField("delivery"):
                    self.seen.append(struct.unpack(">II", body[:8]))
                    tag = frame.delivery.tag
                    self.session.send(Client(channel=1, settle=pb.Settle(kind=pb.ACK,
                                                                         tags=[pb.Range(first=tag, last=tag)])))
                elif not frame.HasField("upstream_changed"):
                    self.wrong = str(frame)
        except (Closed, TimeoutError, OSError) as error:
            self.wrong = repr(error)


def wait_until(true, seconds):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


def requests_end(session, deadline_ms, lag):
    """A request during the alarm: done if the broker reads, ended by its deadline if it does not."""
    began = time.monotonic()
    frame, _ = session.ask(channel=1, deadline_ms=deadline_ms,
                           queue_declare=pb.QueueDeclare(queue=QUEUE, passive=True), seconds=deadline_ms / 1000 + 20)
    took = time.monotonic() - began
    ended = frame.HasField("queue_declared") or (frame.HasField("error") and frame.error.code == 408)
    check("a request is done while blocked, or ends by its deadline",
          ended and took < deadline_ms / 1000 + GRACE_SECONDS + lag.most, f"{took:.1f} s, {frame}")


def main(publisher_count, consumer_count, timeout_ms):
    lag = Lag()
    control = Session()
    control.hello()
    control.open(1)
    control.ask(channel=1, queue_declare=pb.QueueDeclare(queue=QUEUE, durable=True))
    consumers = [Consumer() for _ in range(consumer_count)]
    publishers = [Publisher(number, timeout_ms) for number in range(publisher_count)]
    for thread in consumers + publishers:
        thread.start()
    check("publishes are confirmed", wait_until(lambda: all(len(p.order) > 50 for p in publishers), 60))
    print("running", flush=True)
    sys.stdin.readline()
    told = wait_until(lambda: all(any(state == pb.BLOCKED for state, _ in p.states) for p in publishers), 20)
    check("each publisher is told that the broker is blocked, and why",
          told and all(text for p in publishers for state, text in p.states if state == pb.BLOCKED))
    held = [len(p.order) for p in publishers]
    print("blocked", flush=True)
    requests_end(control, 1000, lag)
    sys.stdin.readline()
    print(f"   confirmed during the alarm: {sum(len(p.order) for p in publishers) - sum(held)}; "
          f"at most {max(p.most_waiting for p in publishers)} of a publisher under way")
    back = wait_until(lambda: all(p.states and p.states[-1][0] == pb.UP for p in publishers), 20)
    check("and told when it is over", back)
    marks = [len(p.order) for p in publishers]
    check("publishes are confirmed again",
          wait_until(lambda: all(len(p.order) > mark + 50 for p, mark in zip(publishers, marks)), 60))
    sys.stdin.readline()
    for p in publishers:
        p.stopping = True
    for p in publishers:
        p.join(timeout_ms / 1000 + 30)
    check("every publish has one outcome", not any(p.is_alive() or p.wrong for p in publishers) and
          all(len(p.sent) == len(p.outcomes) for p in publishers), [p.wrong for p in publishers])
    latest = max(p.latest for p in publishers)
    print(f"   {latest:.1f} s behind its deadline at the latest; a thread of ours was late by {lag.most:.1f} s")
    check("each by its deadline", latest < GRACE_SECONDS + lag.most, latest)
    bad = sum(kind not in (pb.CONFIRMED, pb.NOT_SENT, pb.UNKNOWN) for p in publishers for kind in p.outcomes.values())
    check("they are confirmed, not sent, or unknown", bad == 0, bad)
    check("what is confirmed is told in order", all(p.order == sorted(p.order) for p in publishers))
    confirmed = {(p.number, number) for p in publishers for number in p.order}
    not_sent = {(p.number, n) for p in publishers for n, kind in p.outcomes.items() if kind == pb.NOT_SENT}

    def seen():
        return {key for c in consumers for key in list(c.seen)}
    wait_until(lambda: confirmed <= seen(), 30)
    check(f"nothing of {len(confirmed)} confirmed is missing", confirmed <= seen(), len(confirmed - seen()))
    check(f"nothing of {len(not_sent)} not sent was delivered", not not_sent & seen(), len(not_sent & seen()))
    check("nothing came twice", sum(len(c.seen) for c in consumers) == len(seen()))
    check("consumers saw nothing but messages", not any(c.wrong for c in consumers), [c.wrong for c in consumers])
    control.ask(channel=1, queue_delete=pb.QueueDelete(queue=QUEUE))


main(*map(int, sys.argv[1:]))
finish()
