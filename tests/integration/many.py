"""That many sessions, each publishes, stays, and is told the outcome.

    many.py SESSIONS CHANNEL-MAX
"""
import sys
import time

from ipc import Client, Session, check, finish, pb

EACH = 3
count, channel_max = int(sys.argv[1]), sys.argv[2]
what = f"channel_max {channel_max}"
with Session() as owner:
    owner.hello()
    owner.open(1)
    name = owner.ask(channel=1, queue_declare=pb.QueueDeclare(exclusive=True))[0].queue_declared.queue
    began = time.monotonic()
    sessions = [Session() for _ in range(count)]
    for session in sessions:
        # as a client does it that waits for nothing
        data = session.encode(Client(hello=pb.Hello(version_min=1, version_max=1, program=b"many.py")))
        data += session.encode(Client(channel=1, channel_open=pb.ChannelOpen(generation=1)))
        for _ in range(EACH):
            data += session.encode(Client(channel=1, publish=pb.Publish(routing_key=name)), b"x")
        session.raw(data)
    attached = time.monotonic() - began
    confirmed = 0
    for session in sessions:
        mine = 0
        while mine < EACH:
            outcome = session.wait(lambda f: f.HasField("outcome") or f.HasField("error"), 120)[0].outcome
            if outcome.kind != pb.CONFIRMED or not outcome.numbers:
                break
            mine += sum(numbers.last - numbers.first + 1 for numbers in outcome.numbers)
        confirmed += mine
    took = time.monotonic() - began
    print(f"{what}: {count} sessions attached and published in {attached:.1f} s, "
          f"all were confirmed after {took:.1f} s")
    check(f"{what}: of {count * EACH} publishes of {count} sessions each is confirmed", confirmed == count * EACH, confirmed)
    frame, _ = owner.ask(channel=1, queue_declare=pb.QueueDeclare(queue=name, passive=True))
    check(f"{what}: and the queue has them", frame.queue_declared.message_count == count * EACH, frame)
    # It was waited for in turn; the same sessions go on, on lanes that others had meanwhile.
    for session in sessions:
        session.publish(1, name, b"y")
    kinds = [session.wait(lambda f: f.HasField("outcome") or f.HasField("error"), 120)[0].outcome.kind
             for session in sessions]
    check(f"{what}: and once more", kinds == [pb.CONFIRMED] * count)
    for session in sessions:
        session.socket.close()
finish()
