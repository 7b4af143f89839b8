"""kill.py TIMES: kills so many clients with SIGKILL, each in the middle of a body of 10 MiB.

Each has taken three messages from a queue that it has not settled; they must be back afterwards.
"""
import os
import random
import signal
import struct
import sys
import time

from ipc import Client, Session, check, finish, pb

QUEUE, INTO = b"muxd-kill", b"muxd-kill-into"
BODY, UNSETTLED = 10 << 20, 3
seed = int(os.environ.get("SEED", "1"))
chance = random.Random(seed)


def victim(cut, tell):
    """Takes messages, writes the first `cut` bytes of a body, says so, and waits to be killed."""
    session = Session()
    session.hello()
    session.open(1)
    for _ in range(UNSETTLED):
        frame, _ = session.ask(channel=1, get=pb.Get(queue=QUEUE))
        if not frame.HasField("got"):
            os._exit(1)
    session.want(BODY + 1000)
    header = Client(channel=1, publish=pb.Publish(routing_key=INTO)).SerializeToString()
    session.raw(struct.pack(">II", len(header), BODY) + header + bytes(cut))
    os.write(tell, b"x")
    signal.pause()


def kill_one():
    """True: the client got as far as the middle of its body, and was killed there."""
    read_end, write_end = os.pipe()
    cut = chance.randrange(1, BODY)
    pid = os.fork()
    if pid == 0:
        try:
            victim(cut, write_end)
        finally:
            os._exit(1)
    os.close(write_end)
    told = os.read(read_end, 1)
    os.close(read_end)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return told == b"x" and os.WIFSIGNALED(status)


def ready_messages(session, queue):
    frame, _ = session.ask(channel=1, queue_declare=pb.QueueDeclare(queue=queue, passive=True))
    return frame.queue_declared.message_count


def become(count, session, queue, seconds=20):
    end = time.monotonic() + seconds
    while ready_messages(session, queue) != count and time.monotonic() < end:
        time.sleep(0.01)
    return ready_messages(session, queue) == count


def main(times):
    with Session() as session:
        session.hello()
        session.open(1)
        for queue in (QUEUE, INTO):
            session.ask(channel=1, queue_declare=pb.QueueDeclare(queue=queue))
        for number in range(UNSETTLED):
            session.publish(1, QUEUE, b"%d" % number)
        check("the queue has its messages", become(UNSETTLED, session, QUEUE))
        killed = back = 0
        for _ in range(times):
            killed += kill_one()
            back += become(UNSETTLED, session, QUEUE)
        check(f"{killed} of {times} clients were killed in the middle of a body of 10 MiB (seed {seed})", killed == times)
        check(f"after {back} of {times} all unsettled messages were back in their queue", back == times)
        check("nothing of the half messages came to the broker", ready_messages(session, INTO) == 0)
        for queue in (QUEUE, INTO):
            session.ask(channel=1, queue_delete=pb.QueueDelete(queue=queue))


main(int(sys.argv[1]))
finish()
