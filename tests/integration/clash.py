"""Processes that make, use and delete one queue at the same moment (KILLERS.md, "At the same time").

    clash.py ROUNDS KIND...        classic, quorum, stream

Each round has a queue of its own; what is done with it comes from sessions of their own, all of it at once. Whether
each request is answered well is a matter of who comes first; that it is answered, and on the first connection still, is
checked here and by clash.sh.
"""
import itertools
import os
import sys

from ipc import Client, Session, check, finish, pb
from wire import consume, get, publish, queue_bind, queue_declare, queue_delete

ROUNDS = int(sys.argv[1])
USERS = 3  # of each operation
LAST = 16  # publishes of a channel that leaves


def declare(queue, kind):
    return queue_declare(queue, durable=1, args={"x-queue-type": ("S", kind)} if kind != "classic" else {})


OPERATIONS = {
    "declare": declare,
    "delete": lambda queue, kind: queue_delete(queue),
    "consume": lambda queue, kind: consume(queue, ""),
    "get": lambda queue, kind: get(queue),
    "publish": lambda queue, kind: publish("", queue),
    "publish by an exchange": lambda queue, kind: publish("amq.fanout", ""),
}
IDLE = "idle"  # a classic queue
PAIRS = [("declare",), ("delete",), ("declare", "delete"), ("consume", "delete"), ("get", "delete"), ("publish", "delete"),
         ("publish by an exchange", "delete"), ("delete", "leave"), ("consume", "declare"), ("get", "declare"),
         ("publish", "declare"), ("consume", "publish", "delete", "declare")]


class Process:
    """A session with one channel, that is opened anew when it was closed."""

    def __init__(self):
        self.session = Session()
        self.session.hello()
        self.generation = 0
        self.published = 0
        self.awaited = None
        self.reopen()

    def reopen(self):
        self.generation += 1
        self.published = 0
        self.session.open(1, self.generation)

    def begin(self, operation):
        session = self.session
        if "publish" in operation.ipc:
            self.published += 1
            session.send(Client(channel=1, **operation.ipc), b"x")
            self.awaited = None
        else:
            session.request += 1
            self.awaited = session.request
            session.send(Client(request=self.awaited, channel=1, **operation.ipc))

    def accepts(self, frame):
        if self.awaited is not None:
            return frame.request == self.awaited
        if frame.HasField("error") and frame.generation == self.generation:
            return True
        return frame.HasField("outcome") and frame.generation == self.generation and \
            frame.outcome.numbers[-1].last >= self.published

    def end(self):
        """True if it was answered, well or not."""
        try:
            frame, _ = self.session.wait(self.accepts, 40)
        except TimeoutError:
            return False
        self.reopen_if_closed(frame)
        return not (frame.HasField("error") and frame.error.code in (320, 408))

    def reopen_if_closed(self, frame):
        if frame.HasField("error") and frame.error.scope == pb.CHANNEL:
            self.reopen()

    def do(self, operation):
        self.begin(operation)
        return self.end()

    def begin_leaving(self):
        """The channel goes; what it publishes last keeps the broker's channel, so that muxd cancels what it consumes."""
        for _ in range(LAST):
            self.session.send(Client(channel=1, **publish("", IDLE).ipc), b"x")
        self.session.request += 1
        self.awaited = self.session.request
        self.session.send(Client(request=self.awaited, channel=1, channel_close=pb.ChannelClose()))

    def leave_consumers(self):
        """The channel goes, with what it consumes."""
        self.session.ask(channel=1, channel_close=pb.ChannelClose())
        self.reopen()


def run(kind, pair, exists):
    owner = Process()
    processes = [Process() for _ in range(USERS * len(pair))]
    answered = True
    for number in range(ROUNDS):
        queue = f"{kind}.{'.'.join(pair)}.{exists}.{number}".replace(" ", "-")
        if exists:
            answered &= owner.do(declare(queue, kind))
        if exists and "publish by an exchange" in pair:
            answered &= owner.do(queue_bind(queue, "amq.fanout"))
        leavers = processes[pair.index("leave")::len(pair)] if "leave" in pair else []
        for process in leavers:
            answered &= process.do(consume(queue, ""))
        for process, what in zip(processes, itertools.cycle(pair)):
            if process in leavers:
                process.begin_leaving()
            else:
                process.begin(OPERATIONS[what](queue, kind))
        for process in processes:
            answered &= process.end()
        for process in leavers:
            process.reopen()
        if "consume" in pair:
            for process in processes:
                process.leave_consumers()
        answered &= owner.do(queue_delete(queue))
    for process in [owner] + processes:
        process.session.socket.close()
    return answered


owner = Process()
owner.do(declare(IDLE, "classic"))
owner.session.socket.close()
for kind in sys.argv[2:]:
    for pair in PAIRS:
        for exists in (True, False):
            if not exists and "declare" not in pair:
                continue
            if kind == "stream" and "get" in pair:
                continue  # refused in any case
            check(f"{kind}, {'there' if exists else 'not there yet'}: {' beside '.join(pair)}: each is answered",
                  run(kind, pair, exists))
finish()
