"""Freezes a relay, and sees how long it takes muxd to say that the broker is gone.

    dial.py idle|full PID PORT      full: while a session publishes, so that the window fills
"""
import os
import select
import signal
import sys
import time

from ipc import Session, check, finish, pb

BODY = b"x" * 50000
INTERVALS_SECONDS = 2.0
SLACK_SECONDS = 0.3  # of this process and muxd to be run


def unsent(port):
    """Bytes in the socket to that port that the peer has not acknowledged."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    return sum(int(row[4].split(":")[0], 16) for row in rows if row[2].endswith(f":{port:04X}"))


def publish_what_may(session):
    """Publishes as credit allows; gives the next frame, or None."""
    size = len(BODY) + 100
    if session.credit[1] - session.spent_bytes >= size and session.credit[0] > session.spent_messages:
        session.publish(1, b"dial", BODY)
    else:
        session.send(pb.ClientFrame(want=pb.Want(messages=session.spent_messages + 1,
                                                 bytes=session.spent_bytes + size)))
        if not session.buffer and not select.select([session.socket], [], [], 0.02)[0]:
            return None
    if session.buffer or select.select([session.socket], [], [], 0)[0]:
        return session.receive()[0]
    return None


def is_change(frame):
    return frame is not None and frame.HasField("upstream_changed")


def ended(frame):
    """How many publishes have had their outcome by that frame."""
    if frame is None or not frame.HasField("outcome"):
        return 0
    return sum(numbers.last - numbers.first + 1 for numbers in frame.outcome.numbers)


def publish_for(session, seconds):
    """And waits for all outcomes: then nothing but the way to the broker bounds what comes next."""
    end, settled = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        settled += ended(publish_what_may(session))
    while settled < session.spent_messages:
        settled += ended(session.wait(ended)[0])


what, pid, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with Session() as session:
    session.hello()
    session.open(1)
    session.ask(channel=1, queue_declare=pb.QueueDeclare(queue=b"dial"))
    if what == "full":  # long enough for heartbeats to flow
        publish_for(session, 1.5)
    else:
        time.sleep(1.5)
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    frame, stuck = None, 0
    while not is_change(frame) and time.monotonic() < began + 20:
        if what == "full":
            frame = publish_what_may(session)
            if time.monotonic() < began + 1.5:
                stuck = max(stuck, unsent(port))
        else:
            frame, _ = session.wait(is_change, 20)
    took = time.monotonic() - began
    print(f"{what}: muxd noticed after {took:.2f} s")
    check(f"a frozen broker is found in two heartbeat intervals ({what})",
          is_change(frame) and took <= INTERVALS_SECONDS + SLACK_SECONDS, took)
    if what == "full":
        print(f"full: {stuck} bytes were in the socket to it")
        # muxd leaves no more than that in a socket whose bytes are not acknowledged: see daemon/net/ahead.h
        check("while what was published waited for it", stuck > 16384, stuck)
finish()
