"""A client of a muxd that is told to stop.

    drain.py        finishes: settles, hears its outcome, leaves
    drain.py stay   does nothing, and is ended at the deadline
    drain.py reload the same, but asks for a reload
"""
import sys

from ipc import Client, Closed, Session, check, describe, finish, pb

with Session() as s:
    s.hello()
    s.open(1)
    name = s.ask(channel=1, queue_declare=pb.QueueDeclare(exclusive=True))[0].queue_declared.queue
    s.publish(1, name, b"before")
    s.wait(lambda f: f.HasField("outcome"))
    got, _ = s.ask(channel=1, get=pb.Get(queue=name))
    print("ready", flush=True)

    frame, _ = s.wait(lambda f: f.HasField("go_away"), 60)
    check("the session is asked to leave, within a time", frame.go_away.deadline_ms > 0, frame)
    if sys.argv[1:] == ["reload"]:
        answer = s.ask(reload=pb.Reload())[0]
        check("a reload is refused, and why is said",
              answer.HasField("error") and answer.error.code == 506 and b"muxd stops" in answer.error.text, answer)
    if sys.argv[1:] in (["stay"], ["reload"]):
        error = s.ends()
        check("who stays is ended at the deadline, retryable", error is not None and error.retryable, describe(error))
    else:
        s.send(Client(channel=1, settle=pb.Settle(kind=pb.ACK, tags=[pb.Range(first=got.got.tag, last=got.got.tag)])))
        s.publish(1, name, b"after")
        frame, _ = s.wait(lambda f: f.HasField("outcome"))
        check("meanwhile everything works on", frame.outcome.kind == pb.CONFIRMED, frame)
finish()
