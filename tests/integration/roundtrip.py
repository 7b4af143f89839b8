"""Times attach, open, publish, confirm of one-shot sessions over a slow link.

    roundtrip.py PORT VHOST IN-A-ROW BURST last|not-last [strict]

Each is a process of its own, which times itself from before its connect() on. What a round trip takes is measured
at the same moment, by a process that has an AMQP connection and channel of its own open already, over the same link,
and publishes and waits for the confirm there: so that what else the machine does is in both.
Where that is too much the exit code is 75, if these are not the last ones: to be measured again with a new muxd.
"""
import statistics
import struct
import subprocess
import sys
import time

import amqp
from ipc import Client, Session, check, finish, pb

ROUND_TRIP_MS = 500
MORE_MS = 20
BUSY = 1.2  # round trips that the bare one takes then
AGAIN = 75


def ready():
    print("ready", flush=True)
    sys.stdin.readline()
    return time.monotonic()


def one_shot():
    data = Session.encode(Client(hello=pb.Hello(version_min=1, version_max=1, program=b"roundtrip.py")))
    data += Session.encode(Client(channel=1, channel_open=pb.ChannelOpen(generation=1)))
    data += Session.encode(Client(channel=1, publish=pb.Publish(routing_key=b"nowhere")), b"x")
    # what protobuf does at its first frame is not what is measured
    pb.ServerFrame.FromString(pb.ServerFrame(outcome=pb.Outcome(kind=pb.CONFIRMED)).SerializeToString())
    began = ready()
    with Session() as session:
        session.raw(data)
        outcome = session.wait(lambda f: f.HasField("outcome"))[0].outcome
        took = time.monotonic() - began
    print(took * 1000 if outcome.kind == pb.CONFIRMED else "not confirmed")


def bare(port, vhost):
    broker = amqp.Connection(int(port), vhost)
    broker.open(1)
    broker.send(1, amqp.CONFIRM_SELECT, struct.pack(">B", 0))
    broker.expect(1, amqp.CONFIRM_SELECT_OK)
    began = ready()
    broker.publish(1, b"", b"nowhere", b"x")
    broker.expect(1, amqp.BASIC_ACK)
    print((time.monotonic() - began) * 1000)


def begin(count, *arguments):
    processes = [subprocess.Popen([sys.executable, __file__, *arguments], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True) for _ in range(count)]
    for process in processes:
        process.stdout.readline()
    return processes


def go(processes):
    """All at once; gives their times."""
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    return [float(process.communicate(timeout=60)[0]) for process in processes]


def judge(what, times, trips, last, strict):
    more = statistics.median(times) - statistics.median(trips)
    print(f"{what}: " + ", ".join(f"{ms:.1f}" for ms in times) + " ms; a round trip: " +
          ", ".join(f"{ms:.1f}" for ms in trips) + f" ms; more: {more:.1f} ms")
    good = all(ROUND_TRIP_MS <= ms < 2 * ROUND_TRIP_MS for ms in times)
    if not good and not last and max(trips) > BUSY * ROUND_TRIP_MS:
        sys.exit(AGAIN)
    check(f"{what}: no second round trip", good, times)
    if strict:  # says something on a quiet machine alone
        check(f"{what}: at most {MORE_MS} ms more than one, in the median", more <= MORE_MS, more)


if sys.argv[1] == "one-shot":
    one_shot()
elif sys.argv[1] == "bare":
    bare(*sys.argv[2:])
else:
    link, row, burst = sys.argv[1:3], int(sys.argv[3]), int(sys.argv[4])
    last, strict = sys.argv[5] == "last", sys.argv[6:] == ["strict"]
    shots, trips = begin(row, "one-shot"), begin(row, "bare", *link)
    pairs = [go([shot, trip]) for shot, trip in zip(shots, trips)]
    judge("processes in a row", [pair[0] for pair in pairs], [pair[1] for pair in pairs], last, strict)
    for sentence in "as many at once as lanes are warm", "and as many once more":
        times = go(begin(burst, "one-shot") + begin(burst, "bare", *link))
        judge(sentence, times[:burst], times[burst:], last, strict)
    finish()
