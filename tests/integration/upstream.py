"""What a client sees of an upstream that is in a bad state.

    upstream.py STATE   it is told the state; a request fails at once, or waits
    upstream.py wait    a declaration and a publish wait until the broker is there
"""
import sys

from ipc import Client, Closed, Session, check, describe, finish, pb

STATES = {"backoff": pb.BACKOFF, "failed": pb.FAILED}


def told(state):
    with Session() as session:
        session.hello()
        known = session.welcome.upstream
        if known.state != state:
            frame, _ = session.wait(lambda f: f.HasField("upstream_changed") and f.upstream_changed.state == state)
            known = frame.upstream_changed
        check("a client is told the state, with a reason", known.text != b"", known)
        session.open(1)
        frame, _ = session.ask(channel=1, deadline_ms=1000, queue_declare=pb.QueueDeclare(queue=b"q"))
        error = frame.error
        if state == pb.FAILED:
            good = error.code in (403, 530)
        else:
            good = error.code == 408
        check("its request fails, retryable, with the reason", good and error.retryable, describe(error))
        check("its session stays", session.is_alive())


def waits():
    with Session() as session:
        session.hello()
        session.open(1)
        session.send(Client(request=1000, channel=1, queue_declare=pb.QueueDeclare(queue=b"late", exclusive=True)))
        session.publish(1, b"late", b"hello")
        print("waiting", flush=True)
        frame, _ = session.wait(lambda f: f.request == 1000)
        check("the declaration that waited was done", frame.HasField("queue_declared"), frame)
        frame, _ = session.wait(lambda f: f.HasField("outcome"))
        check("the publish that waited was confirmed", frame.outcome.kind == pb.CONFIRMED, frame)


try:
    waits() if sys.argv[1] == "wait" else told(STATES[sys.argv[1]])
except (Closed, TimeoutError) as e:
    check("the session goes on", False, repr(e))
finish()
