"""killers.py PORT VHOST CANARY-IN CANARY-OUT [NAME...]: each case of killers_cases.py, beside a canary.

A case is tried on a bare connection to the broker first, which must end as the case says, and then by a session of
muxd's, which must be answered as the case says. Meanwhile and afterwards: the canary has no error, another session
works, and the connection to the broker is the same, unless the case may cost it: once, and the same again nothing.
"""
import os
import select
import struct
import sys
import time

import amqp
import ipc
from ipc import Client, Closed, Session, apart, check, finish, pb
from killers_cases import CASES
from wire import Op, queue_delete, queue_declare, publish

SECONDS = 20
BROKER = os.environ["BROKER"]
USER = os.environ["BARE_USER"].encode()
OUTCOMES = {pb.CONFIRMED: "confirmed", pb.RETURNED: "returned", pb.NACKED: "nacked", pb.NOT_SENT: "not sent",
            pb.UNKNOWN: "unknown"}
SCOPES = {pb.REQUEST: "request", pb.CHANNEL: "channel", pb.SESSION: "session"}


# ---------------------------------------------------------------- the bare connection

class Bare(amqp.Connection):
    delivered = False

    def __init__(self, user=USER, **options):
        super().__init__(int(sys.argv[1]), sys.argv[2], user, user, **options)
        self.open(1)

    def receive(self):
        got = super().receive()
        self.delivered = self.delivered or got[1] == (60, 60)
        return got

    def put(self, steps):
        """In one write, as far as they are no functions."""
        data = b""
        for step in steps:
            if callable(step):
                self.socket.sendall(data)
                step(self)
                data = b""
            elif isinstance(step, bytes):
                data += step
            else:
                data += b"".join(self.frame(kind, 1, payload) for kind, payload in step.amqp)
        self.socket.sendall(data)

    def fate(self, quiet_seconds=0):
        """"ok", "channel CODE", or, if the connection ends, "CODE" or "reset"."""
        look = b"\0\0" + amqp.short(b"amq.direct") + amqp.short(b"direct") + b"\1" + bytes(4)
        channel = None
        try:
            self.send(1, (40, 10), look)
            while True:
                number, method, arguments = self.receive()
                if method == amqp.CONNECTION_CLOSE:
                    return str(struct.unpack(">H", arguments[:2])[0])
                if method == amqp.CHANNEL_CLOSE:
                    channel = f"channel {struct.unpack('>H', arguments[:2])[0]}"
                    self.send(1, (20, 41))
                    self.send(99, amqp.CHANNEL_OPEN, b"\0")
                elif (number, method) == (99, amqp.CHANNEL_OPEN_OK):
                    return channel
                elif method == (40, 11) and quiet_seconds == 0:
                    return "ok"
                elif method == (40, 11):
                    select.select([], [], [], quiet_seconds)  # nothing tells when a queue has done its part
                    quiet_seconds = 0
                    self.send(1, (40, 10), look)
        except (amqp.Ended, ConnectionError):
            return "reset"


def outside(steps):
    """Done by somebody who does not come through muxd, and keeps no connection."""
    connection = Bare()
    connection.put(steps)
    if connection.fate() != "ok":
        raise AssertionError("what was to be prepared could not be")
    connection.socket.close()


def try_bare(case, name):
    connection = Bare(**case.login)
    try:
        connection.put(case.setup(name))
        if connection.fate() != "ok":
            return "not prepared"
        try:
            connection.put((case.amqp or case.steps)(name))
        except ConnectionError:
            pass  # it noticed before we had sent all
        return connection.fate(case.quiet)
    finally:
        connection.socket.close()


# ---------------------------------------------------------------- the session

class Culprit(Session):
    """Sends ops on its channel 1 and says how they were answered."""

    def __init__(self, case):
        super().__init__()
        self.hello()
        self.open(1)
        self.published = 0
        self.case = case
        self.ended = None  # an error of the channel that no request brought
        self.settled = {}
        self.seen = set()

    def note(self, frame):
        self.seen.add(frame.WhichOneof("event"))
        if frame.HasField("outcome"):
            for numbers in frame.outcome.numbers:
                for number in range(numbers.first, numbers.last + 1):
                    self.settled[number] = OUTCOMES[frame.outcome.kind] + \
                        (f" {frame.outcome.error.code}" if frame.outcome.HasField("error") else "")
        elif frame.HasField("error") and frame.request == 0:
            self.ended = f"{frame.error.code} {SCOPES[frame.error.scope]}"

    def put(self, op):
        """Gives what put() of a later answer needs: (is it there?, what it says)."""
        if callable(op):
            return op(self)
        fields = dict(op.ipc)
        deadline = {"deadline_ms": 1500} if self.case.epoch else {}
        if "publish" in fields:
            self.published += 1
            number = self.published
            self.want(fields["publish"].ByteSize() + len(op.body) + 64)
            self.send(Client(channel=1, **deadline, **fields), op.body)
            return lambda frame: self.settled.get(number)
        if "settle" in fields:
            self.send(Client(channel=1, **fields))
            fields = {"ping": pb.Ping()}
        self.request += 1
        number = self.request
        on = {} if "ping" in fields else {"channel": 1}
        self.send(Client(request=number, **on, **deadline, **fields))
        return lambda frame: self.answer(frame) if frame is not None and frame.request == number else None

    def answer(self, frame):
        if frame.HasField("error"):
            return f"{frame.error.code} {SCOPES[frame.error.scope]}"
        return self.ended if frame.HasField("done") and self.ended else "ok"

    def run(self, steps):
        """Sends all, then waits for the last one's answer."""
        answers = [self.put(step) for step in steps]
        if not answers or isinstance(answers[-1], str):
            return answers[-1] if answers else "ok"
        waited = answers[-1]
        says = waited(None)
        try:
            while says is None:
                if not self.buffer and not self.is_readable(SECONDS):
                    return "no answer"
                frame, _ = self.receive()
                if frame.HasField("error") and frame.error.scope == pb.SESSION:
                    return f"{frame.error.code} session"
                self.note(frame)
                says = waited(frame)
        except Closed:
            return "closed"
        return says


def try_muxd(case, name):
    with Culprit(case) as session:
        prepared = [session.run([step]) for step in case.setup(name)]
        if any(says not in ("ok", "confirmed", "returned") for says in prepared):
            return f"not prepared: {prepared}"
        if case.wait and case.wait not in session.seen:
            session.wait(lambda frame: frame.HasField(case.wait))
        answer = session.run((case.ipc or case.steps)(name))
        select.select([], [], [], case.quiet)
        return answer


# ---------------------------------------------------------------- who is beside it

class Canary:
    def __init__(self, write_to, read_from):
        self.input, self.output = open(write_to, "w", buffering=1), open(read_from)
        self.line = ""

    def phase(self, name):
        """Begins one; gives what the last one came to, when its last round is over."""
        self.input.write(name + "\n")
        end = time.monotonic() + 2 * SECONDS
        while time.monotonic() < end:
            self.line += self.output.readline()
            if not self.line.endswith("\n"):
                select.select([], [], [], 0.002)  # a file cannot be waited for
                continue
            line, self.line = self.line, ""
            if line.startswith("phase "):
                return dict(pair.split("=") for pair in line.split(": ", 1)[1].split())
        return {"errors": "it does not sing any more", "epoch": "?", "gap_ms": "0", "rounds": "0"}


class Other(Session):
    """A session that has been there before."""

    def __init__(self):
        super().__init__()
        self.hello()
        self.open(1)
        self.queue = self.ask(channel=1, **queue_declare("", exclusive=1).ipc)[0].queue_declared.queue
        self.number = 0

    def works(self):
        self.number += 1
        self.want(100)
        self.publish(1, self.queue, b"x")
        frame, _ = self.wait(lambda f: f.HasField("outcome") or f.HasField("error"))
        if not frame.HasField("outcome") or frame.outcome.kind != pb.CONFIRMED:
            return False
        frame, _ = self.ask(channel=1, get=pb.Get(queue=self.queue, no_ack=True))
        return frame.HasField("got")

    def epoch(self):
        """Once it is up."""
        end = time.monotonic() + SECONDS
        while True:
            upstream = self.ask(status=pb.StatusQuery())[0].status.upstreams[0]
            if upstream.state == pb.UP or time.monotonic() > end:
                return upstream.epoch


# ---------------------------------------------------------------- the report

class Totals:
    tried = killed = refused = 0
    epochs = 0
    gap_ms = 0.0


def kills(fate):
    return fate != "ok" and not fate.startswith("channel") and fate != "not prepared"


def report(case, bare, answer, sung, epochs, again, works):
    """One line; what is wrong with it."""
    wrong = []
    if case.bare is not None and bare not in case.bare.split("|"):
        wrong.append(f"the bare connection: {bare}, not {case.bare}")
    if case.answer is not None and answer not in case.answer.split("|"):
        wrong.append(f"muxd: {answer}, not {case.answer}")
    if sung["errors"] != "0":
        wrong.append(f"the canary: {sung['errors']} errors")
    if epochs > (1 if case.epoch else 0):
        wrong.append(f"it cost {epochs} connections")
    if again > 0:
        wrong.append(f"the same again cost {again}")
    if not works:
        wrong.append("the other session does not work")
    killed = "" if case.bare is None else f"yes {bare}" if kills(bare) else f"no ({bare})"
    line = f"[{case.row}] {case.name}"
    line += f"; kills the bare connection: {killed}" if killed else "; no bare form"
    line += f"; through muxd: {answer}; canary: no error in {sung['rounds']} rounds, gap {sung['gap_ms']} ms"
    line += f"; epochs: {epochs}" + (f", again: {again} (may be: {case.epoch})" if case.epoch else "")
    check(line + (f"; {case.why}" if case.why else ""), not wrong, "; ".join(wrong))


def clean(names):
    """Where the case left a queue."""
    connection = Bare()
    connection.put([queue_delete(name) for name in names])
    connection.fate()
    connection.socket.close()


def try_case(case, number, canary, other, totals):
    names = [f"muxd-killers-{number}-{way}" for way in ("bare", "mux")]
    before = other.epoch()
    canary.phase(f".{number}")
    if case.outside:
        for name in names:
            outside(case.outside(name))
    bare = try_bare(case, names[0]) if case.bare is not None else "ok"
    answer = apart(lambda: try_muxd(case, names[1]))
    works = other.works()
    once = again = other.epoch()
    if case.epoch:
        apart(lambda: try_muxd(case, names[1]))
        works = works and other.works()
        again = other.epoch()
    sung = canary.phase(".between")
    report(case, bare, answer, sung, once - before, again - once, works)
    clean(names)
    totals.tried += 1
    totals.killed += kills(bare)
    totals.epochs += again - before
    totals.gap_ms = max(totals.gap_ms, float(sung["gap_ms"]))


def main():
    canary, other, totals = Canary(*sys.argv[3:5]), Other(), Totals()
    wanted = sys.argv[5:]
    for number, case in enumerate(CASES):
        if wanted and not any(word in case.name for word in wanted):
            continue
        if case.only and case.only != BROKER:
            print(f"skipped: [{case.row}] {case.name}: not run on {BROKER}: {case.only_why}")
            continue
        try:
            try_case(case, number, canary, other, totals)
        except Exception as e:  # the others still count
            check(f"[{case.row}] {case.name}: runs to its end", False, repr(e))
    print(f"{totals.tried} cases; {totals.killed} kill a bare connection to the broker; they cost muxd's connection to "
          f"it {totals.epochs} times; the canary's largest gap: {totals.gap_ms} ms")


main()
finish()
