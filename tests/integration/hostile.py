"""Clients that harm, each kind while others are served.

    hostile.py hello                  a Hello in hexadecimal digits
    hostile.py KIND [ARGUMENT]        see the functions; prints what lib.sh counts

With $HOSTILE_UID they have that user.
"""
import os
import resource
import socket
import struct
import sys
import time

from ipc import Client, Closed, Session, check, describe, finish, pb

LONG = 25  # seconds until all that muxd has to end has ended


def hello_frame(program=b"hostile"):
    return Session.encode(Client(hello=pb.Hello(version_min=1, version_max=1, program=program)))


def silent(count):
    """Connections that say nothing, and some that say half a Hello, are ended in time, with a reason."""
    sessions = [Session() for _ in range(int(count))]
    for i, session in enumerate(sessions):
        session.raw(hello_frame()[:i % 12])
    began, reasons = time.monotonic(), {}
    for session in sessions:
        error = session.ends()
        reason = describe(error)
        reasons[reason] = reasons.get(reason, 0) + 1
    took = time.monotonic() - began
    check(f"{count} connections that never say Hello are ended and told so",
          list(reasons) == ["408 no Hello within 5000 ms"], reasons)
    check("after about 5 s", 3 < took < LONG, took)


def half_frames(count):
    """Frames that begin and never end: they cost nobody else anything, and their sessions nothing but their credit."""
    sessions = []
    for i in range(int(count)):
        session = Session()
        session.hello()
        session.open(1)
        session.raw(struct.pack(">II", 30, 8000)[:1 + i % 8])
        sessions.append(session)
    print("ready", flush=True)
    sys.stdin.readline()
    for session in sessions:  # and they are still there
        session.socket.close()
    check(f"{count} sessions with half a frame stay until they leave", True)


def bytewise(count):
    """One byte at a time, from many."""
    sessions = [Session() for _ in range(int(count))]
    data = hello_frame() + Session.encode(Client(request=1, ping=pb.Ping()))
    for i in range(len(data)):
        for session in sessions:
            session.raw(data[i:i + 1])
    good = 0
    for session in sessions:
        good += session.wait(lambda f: f.request == 1)[0].HasField("done")
    check(f"{count} sessions that send one byte at a time are answered", good == len(sessions), good)


def huge(count):
    """Lengths that no frame may have."""
    ends = []
    for i in range(int(count)):
        session = Session()
        if i % 2:
            session.hello()
        session.raw(struct.pack(">II", *((0xffffffff, 0), (10, 0xffffffff), (0xffffffff, 0xffffffff),
                                         (262145, 1))[i % 4]) + b"x" * 1000)
        error = session.ends()
        ends.append(error is not None and error.code in (311, 501, 503))
        session.socket.close()
    check(f"{count} frames of 4 GiB are refused before they come", all(ends), ends.count(False))


def deaf(count):
    """Sessions that ask and never read: what is answered at once, or refused, before the broker is asked."""
    questions = (Client(request=1, status=pb.StatusQuery()),
                 Client(request=1, channel=1, qos=pb.Qos(prefetch_count=70000)),
                 Client(request=1, channel=1, get=pb.Get(queue=b"x")))  # the channel is not open
    sessions = []
    for i in range(int(count)):
        session = Session()
        session.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        session.hello()
        session.socket.setblocking(False)
        session.asks = session.left = Session.encode(questions[i % len(questions)]) * 100
        session.asked = 0
        sessions.append(session)
    open_ones, end = list(sessions), time.monotonic() + LONG
    while open_ones and time.monotonic() < end:
        for session in list(open_ones):
            try:
                session.left = session.left[session.socket.send(session.left):] or session.asks
                session.asked += 100
            except BlockingIOError:
                pass
            except OSError:
                open_ones.remove(session)
    check("sessions that ask and never read are ended", not open_ones, [sessions.index(s) for s in open_ones])
    # What the sockets take, and one read of muxd's: not until all of session-memory is full of answers.
    check("before they have asked 50000 times", all(s.asked < 50000 for s in sessions), [s.asked for s in sessions])


def channels(count):
    """As many channels as there may be, and then nothing."""
    sessions = []
    for _ in range(int(count)):
        session = Session()
        session.hello()
        most = session.welcome.channels_max
        for number in range(1, most + 1):
            session.open(number)
        check_alive = session.ask(ping=pb.Ping())[0].HasField("done")
        sessions.append(session)
        if not check_alive:
            break
    print("ready", flush=True)
    sys.stdin.readline()
    check(f"{count} sessions open {most} channels each, and do nothing", check_alive)


def large(size):
    """Messages as large as they may be from many sessions at once: more than all the memory."""
    size = int(size)
    sessions = []
    for i in range(24):
        session = Session()
        session.hello()
        session.open(1)
        session.ask(channel=1, exchange_declare=pb.ExchangeDeclare(exchange=b"hostile", type=b"fanout"))
        session.send(Client(want=pb.Want(messages=1, bytes=size + 1000)))
        sessions.append(session)
    granted, began = 0, time.monotonic()
    body = b"x" * size
    waiting = list(sessions)
    while waiting and time.monotonic() < began + 60:
        for session in list(waiting):
            while session.buffer or session.is_readable(0.01):
                session.receive()
            if session.credit[1] >= size + 500:
                session.publish(1, b"k", body, exchange=b"hostile")
                session.wait(lambda f: f.HasField("outcome") or f.HasField("error"), 60)
                granted += 1
                waiting.remove(session)
    check(f"24 sessions publish {size >> 20} MiB each, in turn: more than there is memory", granted == 24, granted)


def hoard():
    """Asks for credit for the largest message in many sessions, and never sends it."""
    sessions = []
    for i in range(24):
        session = Session()
        session.hello()
        session.open(1)
        session.send(Client(want=pb.Want(messages=1, bytes=session.welcome.message_max)))
        sessions.append(session)
    print("ready", flush=True)
    sys.stdin.readline()
    check("24 sessions hoard credit that they do not use", True)


def greedy(size):
    """A consumer with a prefetch of 65535 that takes no message, of a queue of large ones."""
    size = int(size)
    with Session() as maker:
        maker.hello()
        maker.open(1)
        maker.ask(channel=1, queue_declare=pb.QueueDeclare(queue=b"hostile.large", auto_delete=True))
        for _ in range(100):
            maker.want(size + 1000)
            maker.publish(1, b"hostile.large", b"x" * size)
            maker.wait(lambda f: f.HasField("outcome"))
        taker = Session()
        taker.hello()
        taker.open(1)
        taker.ask(channel=1, qos=pb.Qos(prefetch_count=65535))
        taker.ask(channel=1, consume=pb.Consume(queue=b"hostile.large", consumer=1, credit_messages=1 << 40,
                                                credit_bytes=1 << 40))
        print("ready", flush=True)
        sys.stdin.readline()
        maker.ask(channel=1, queue_delete=pb.QueueDelete(queue=b"hostile.large"))
    check("a consumer of 65535 large messages that reads none", True)


def fill():
    """Connects until it is refused, or nobody answers any more; stays."""
    sessions, said = [], None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    while said is None and len(sessions) < 5000:
        session = Session()
        session.socket.settimeout(5)
        try:
            frame = session.hello()
            if frame.HasField("error"):
                said = describe(frame.error)
            else:
                sessions.append(session)
        except TimeoutError:
            said = "no answer"
        except Closed:
            said = "closed"
    print(f"ready {len(sessions)} {said}", flush=True)
    sys.stdin.readline()


if sys.argv[1] == "hello":
    print(hello_frame().hex())
    sys.exit(0)
if "HOSTILE_UID" in os.environ:
    os.setgroups([])
    os.setgid(int(os.environ["HOSTILE_UID"]))
    os.setuid(int(os.environ["HOSTILE_UID"]))
{"silent": silent, "half-frames": half_frames, "bytewise": bytewise, "huge": huge, "deaf": deaf, "channels": channels,
 "large": large, "hoard": hoard, "greedy": greedy, "fill": fill}[sys.argv[1]](*sys.argv[2:])
finish()
