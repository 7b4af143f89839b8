"""Each limit, met by a process: what the error says, and that it is nobody else's.

    quota.py                 as root, by users 50001 to 50003; see quota.sh for the limits
"""
import json
import os
import subprocess
import sys
import time

from ipc import Client, Closed, Session, check, describe, finish, pb


class Child:
    """A process of that user, which does what it is told, one thing after the other."""

    def __init__(self, uid):
        self.to_child, self.from_child = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            os.close(self.to_child[1])
            self.serve(os.fdopen(self.to_child[0]), os.fdopen(self.from_child[1], "w"))
            os._exit(0)
        os.close(self.to_child[0])
        os.close(self.from_child[1])
        self.out, self.input = os.fdopen(self.to_child[1], "w"), os.fdopen(self.from_child[0])

    def serve(self, orders, answers):
        sessions = []
        for order in orders:
            name, *arguments = order.split()
            if name == "end":  # later children hold the pipe as well: it has no end by itself
                return
            try:
                said = getattr(self, "do_" + name)(sessions, *map(int, arguments))
            except Exception as e:  # the parent tells
                said = repr(e)
            print(said, file=answers, flush=True)

    def tell(self, order):
        print(order, file=self.out, flush=True)
        return self.input.readline().strip()

    def end(self):
        print("end", file=self.out, flush=True)
        os.waitpid(self.pid, 0)

    def do_attach(self, sessions, count):
        """How many it got, and the first refusal."""
        got = 0
        for _ in range(count):
            session = Session()
            frame = session.hello()
            if frame.HasField("error"):
                return f"{got} {describe(frame.error)}"
            sessions.append(session)
            got += 1
        return got

    def do_leave(self, sessions):
        while sessions:
            sessions.pop().socket.close()
        return "left"

    def do_channels(self, sessions, count):
        session = sessions[0]
        for number in range(1, count + 1):
            session.open(number)
        if session.ask(ping=pb.Ping())[0].HasField("done"):
            session.open(count + 1)
            return describe(session.ends())
        return "no answer"

    def do_message(self, sessions, size):
        session = sessions[0]
        session.open(1)
        session.want(size + 100)
        session.publish(1, b"nobody", b"x" * size, exchange=b"amq.fanout")
        frame = session.wait(lambda f: f.HasField("outcome"))[0]
        session.raw(Session.encode(Client(channel=1, publish=pb.Publish(routing_key=b"k")), payload_len=size + 1))
        return f"{frame.outcome.kind == pb.CONFIRMED} {describe(session.ends())}"

    def do_hoard(self, sessions):
        """Asks for the largest message's credit in each session, and never uses it."""
        for session in sessions:
            session.open(1)
            session.send(Client(want=pb.Want(messages=1, bytes=session.welcome.message_max)))
        time.sleep(0.2)  # they are asked for before anybody else is
        return sum(session.ask(ping=pb.Ping())[0].HasField("done") and session.credit[1] > 1 << 20
                   for session in sessions)

    def do_large(self, sessions, size):
        session = sessions[0]
        session.open(1)
        session.want(size + 100)
        session.publish(1, b"nobody", b"x" * size, exchange=b"amq.fanout")
        return session.wait(lambda f: f.HasField("outcome"))[0].outcome.kind == pb.CONFIRMED


def says(sentence, said, *words):
    check(sentence, all(word in said for word in words), said)


def users():
    status = json.loads(subprocess.check_output([os.environ["builddir"] + "/client/muxctl", "--json", "status"]))
    return status, {user["uid"]: user for user in status["users"]}


def gone(uid):
    end = time.monotonic() + 20
    while uid in users()[1] and time.monotonic() < end:
        time.sleep(0.05)
    return uid not in users()[1]


def session_limits(one, small, other):
    says("as many sessions as a user may have, and not one more", one.tell("attach 30"), "20 506", "sessions-per-uid is 20",
         "uid 50001 has 20")
    status, by_uid = users()
    check("muxctl status has its sessions and the limit", by_uid[50001]["sessions"] == {"used": 20, "limit": 20}, by_uid)
    check("and the limit of all", status["sessions_limit"] == 40, status)
    says("fewer, where a section says so", small.tell("attach 5"), "3 506", "sessions-per-uid is 3", "uid 50002 has 3")
    # muxctl's own is one of them while it asks
    says("as many as there may be of all", other.tell("attach 30"), "17 506", "the limit of sessions is 40",
         "uid 50001 has 20")
    for child in (one, small, other):
        child.tell("leave")
    check("who has left has nothing", gone(50001) and gone(50002) and gone(50003))


def other_limits(one, small):
    for child, channels, size in ((one, 30, 1 << 20), (small, 5, 1 << 16)):
        child.tell("attach 1")
        says(f"{channels} channels, and not one more", child.tell(f"channels {channels}"), "504",
             f"channel {channels + 1} cannot", f"from 1 to {channels}, which is channels-per-session")
        child.tell("leave")
        child.tell("attach 1")
        says(f"messages of {size} bytes, and not one more", child.tell(f"message {size}"), "True 311", str(size),
             str(size + 1))
        child.tell("leave")
    gone(50001)
    gone(50002)


def prefetch():
    with Session() as s:
        s.hello()
        s.open(1)
        queue = s.ask(channel=1, queue_declare=pb.QueueDeclare(exclusive=True))[0].queue_declared.queue
        for _ in range(20):
            s.publish(1, queue, b"m")
        s.ask(channel=1, consume=pb.Consume(queue=queue, consumer=1, credit_messages=100, credit_bytes=100000))
        got, end = 0, time.monotonic() + 20
        while time.monotonic() < end and got < 7:
            frame, _ = s.wait(lambda f: f.HasField("delivery"))
            got += 1
        left = s.ask(channel=1, queue_declare=pb.QueueDeclare(queue=queue, passive=True))[0].queue_declared.message_count
        check("a consumer that sets no prefetch has the limit's", (got, left) == (7, 13), (got, left))


def memory(one, other):
    one.tell("attach 20")
    granted = int(one.tell("hoard"))
    _, by_uid = users()
    used = by_uid[50001]["memory"]["used"]
    check("a user that hoards memory gets most of it, and not all", 5 << 20 < used <= 12 << 20, (granted, by_uid))
    other.tell("attach 1")
    says("another one publishes as large a message as there may be", other.tell("large 1000000"), "True")
    one.tell("leave")
    other.tell("leave")
    check("nothing is left of either", gone(50001) and gone(50003))


children = [Child(uid) for uid in (50001, 50002, 50003)]
session_limits(*children)
other_limits(*children[:2])
prefetch()
memory(children[0], children[2])
for child in children:
    child.end()
finish()
