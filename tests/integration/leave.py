"""Clients of a muxd that is told to stop.

    leave.py crowd NUMBER PID       that many, some with unfinished business; they finish and leave
    leave.py waiting PID            some that muxd has not accepted yet
    leave.py stays                  leaves at SIGUSR1
    leave.py held MUXD CONF         this program holds the socket for one muxd after the other
"""
import os
import select
import signal
import socket
import subprocess
import sys
import time

from ipc import Client, Session, check, finish, pb

PROMPT = 2.0  # seconds


def begin():
    session = Session()
    session.hello()
    session.open(1)
    return session


def is_over(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # before it is opened, or read
        return True


def seconds_until_over(pid):
    began = time.monotonic()
    while not is_over(pid) and time.monotonic() - began < 25:
        time.sleep(0.005)
    return time.monotonic() - began


def take_a_message(session, queue):
    session.publish(1, queue, b"x")
    session.wait(lambda f: f.HasField("outcome"))
    frame, _ = session.ask(channel=1, get=pb.Get(queue=queue))
    return frame.got.tag


def finish_and_leave(session, number, queue, tag):
    """Every other one has a message to settle, and one more to publish."""
    frame, _ = session.wait(lambda f: f.HasField("go_away"))
    told = time.monotonic()
    good = frame.go_away.deadline_ms > 0
    if number % 2:
        session.send(Client(channel=1, settle=pb.Settle(kind=pb.ACK, tags=[pb.Range(first=tag, last=tag)])))
        session.publish(1, queue, b"last")
        frame, _ = session.wait(lambda f: f.HasField("outcome"))
        good = good and frame.outcome.kind == pb.CONFIRMED
    session.socket.close()
    return told, good


def crowd(number, pid):
    queue = b"leave-crowd"
    sessions = [begin() for _ in range(number)]
    sessions[0].ask(channel=1, queue_declare=pb.QueueDeclare(queue=queue))
    tags = [take_a_message(session, queue) if index % 2 else 0 for index, session in enumerate(sessions)]
    asked = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    poll = select.poll()
    for session in sessions:
        poll.register(session.socket, select.POLLIN)
    while len(poll.poll(20)) < number and time.monotonic() - asked < 5:
        pass
    heard = time.monotonic() - asked
    results = [finish_and_leave(session, index, queue, tags[index]) for index, session in enumerate(sessions)]
    left = time.monotonic()
    over = seconds_until_over(pid)
    check(f"all {number} are asked to leave within {PROMPT:.0f} s ({heard * 1000:.0f} ms)", heard < PROMPT)
    check("everything works until they leave", all(good for _, good in results))
    check(f"muxd ends within {PROMPT:.0f} s ({over * 1000:.0f} ms after the last has left, "
          f"{(left + over - asked) * 1000:.0f} ms in all)", over < PROMPT)


def waiting(pid):
    os.kill(pid, signal.SIGSTOP)
    sessions = [Session() for _ in range(20)]
    for session in sessions:
        session.send(Client(hello=pb.Hello(version_min=1, version_max=1)))
        session.open(1)
        session.send(Client(request=1, ping=pb.Ping()))
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGCONT)
    heard = 0
    for session in sessions:
        seen = set()
        session.wait(lambda f: seen.add(f.WhichOneof("event")) or {"welcome", "go_away", "done"} <= seen)
        heard += 1
        session.socket.close()
    check("who had connected, and was not accepted when muxd was told to stop, is served", heard == 20, heard)
    over = seconds_until_over(pid)
    check(f"muxd ends within {PROMPT:.0f} s", over < PROMPT, over)


def stays():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    with begin() as session:
        queue = session.ask(channel=1, queue_declare=pb.QueueDeclare(exclusive=True))[0].queue_declared.queue
        print("ready", flush=True)
        session.wait(lambda f: f.HasField("go_away"))
        signal.sigwait([signal.SIGUSR1])
        session.publish(1, queue, b"x")
        frame, _ = session.wait(lambda f: f.HasField("outcome"))
        check("who stays for a while is served by the old one", frame.outcome.kind == pb.CONFIRMED, frame)


def activate(listener, muxd, conf):
    """What systemd does: descriptor 3, and its variables."""
    script = f'exec 3<&{listener.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" -c "$1"'
    return subprocess.Popen(["/bin/sh", "-c", script, muxd, conf], pass_fds=[listener.fileno()],
                            stderr=subprocess.DEVNULL)


def pid_of(session):
    return session.ask(status=pb.StatusQuery())[0].status.pid


def held(muxd, conf):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.environ["MUXD_SOCKET"])
    listener.listen(100)
    old = activate(listener, muxd, conf)
    first = begin()
    check("the first muxd serves", pid_of(first) == old.pid)
    old.send_signal(signal.SIGTERM)
    first.wait(lambda f: f.HasField("go_away"))
    second = Session()  # it waits in the socket's queue
    check("who comes then is not accepted by the old one", not second.is_readable(0.2))
    new = activate(listener, muxd, conf)
    second.hello()
    check("but by the new one, when that has started", pid_of(second) == new.pid)
    check("while the old one is still there", pid_of(first) == old.pid)
    first.socket.close()
    check("which ends when its last session has left", old.wait(20) == 0)
    second.socket.close()
    new.send_signal(signal.SIGTERM)
    check("and so does the new one", new.wait(20) == 0)


command, arguments = sys.argv[1], sys.argv[2:]
if command == "crowd":
    crowd(int(arguments[0]), int(arguments[1]))
elif command == "waiting":
    waiting(int(arguments[0]))
elif command == "stays":
    stays()
else:
    held(*arguments)
finish()
