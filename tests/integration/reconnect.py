"""A client whose muxd loses its connection to the broker.

Says `ready`, reads a line when the connection is about to be gone, and then goes on in the same session.
"""
import sys

from ipc import Session, check, finish, pb

RETRIES = 3

with Session() as s:
    s.hello()
    s.open(1)
    name = s.ask(channel=1, queue_declare=pb.QueueDeclare(exclusive=True))[0].queue_declared.queue
    s.ask(channel=1, consume=pb.Consume(queue=name, consumer=1, credit_messages=10, credit_bytes=10000))
    s.open(2)  # never used: it has nothing at the broker
    print("ready", flush=True)
    sys.stdin.readline()

    frame, _ = s.wait(lambda f: f.HasField("error") and f.channel == 1, 60)
    check("a channel with a consumer ends, retryable", frame.error.scope == pb.CHANNEL and frame.error.retryable, frame)
    frame, _ = s.ask(channel=1, queue_declare=pb.QueueDeclare(exclusive=True))
    check("what comes behind it gets the same error", frame.HasField("error") and frame.error.retryable, frame)

    generation = 1
    for _ in range(RETRIES):  # the broker may close the next connection too while it restarts
        generation += 1
        s.open(1, generation)
        frame, _ = s.ask(channel=1, queue_declare=pb.QueueDeclare(exclusive=True), seconds=60)
        if frame.HasField("queue_declared"):
            break
    check("a new generation of the channel works", frame.HasField("queue_declared"), frame)
    name = frame.queue_declared.queue
    s.publish(1, name, b"after")
    frame, _ = s.wait(lambda f: f.HasField("outcome"))
    check("a publish on it is confirmed", frame.outcome.kind == pb.CONFIRMED, frame)
    frame, body = s.ask(channel=1, get=pb.Get(queue=name, no_ack=True))
    check("and can be got", body == b"after", frame)
    frame, _ = s.ask(channel=2, queue_declare=pb.QueueDeclare(exclusive=True))
    check("the channel that had nothing at the broker is still open", frame.HasField("queue_declared"), frame)
finish()
