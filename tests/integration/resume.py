"""A client before and after its muxd was killed.

    resume.py before FILE     declares queues without names, writes names and tokens
    resume.py after FILE      declares them again, and sends again
"""
import sys
import time

from ipc import Client, Session, check, check_answer_error, finish, pb

KINDS = (dict(exclusive=True), dict(auto_delete=True), dict(durable=True))
PATIENCE = 20  # seconds until the broker has noticed that the connection is gone


def begin(channels=4):
    session = Session()
    session.hello()
    for channel in range(1, channels + 1):
        session.open(channel)
    return session


def declare(session, channel=1, **fields):
    frame, _ = session.ask(channel=channel, queue_declare=pb.QueueDeclare(**fields))
    return frame


def before(file):
    with begin() as session:
        for fields in KINDS:
            declared = declare(session, **fields).queue_declared
            check(f"muxd makes a name and a token ({fields})",
                  declared.queue.startswith(b"muxd.gen-") and len(declared.resume) == 32, declared)
            print(declared.queue.decode(), declared.resume.decode(), file=file)
        frame = declare(session, queue=b"resume-plain", exclusive=True)
        check("a queue with a name of its own has no token", not frame.queue_declared.HasField("resume"), frame)


def refused(names):
    (name, resume), (_, other) = names[0], names[1]
    for what, fields in (("without a token", {}), ("with another one", dict(resume=other)),
                         ("with a part of it", dict(resume=resume[:-1])), ("with nonsense", dict(resume=bytes(1000)))):
        with begin() as session:
            frame = declare(session, queue=name, exclusive=True, **fields)
            check_answer_error(f"a name of muxd's is refused {what}", frame, pb.CHANNEL, 403, "resume token")


def declared_again(name, resume, fields):
    """The broker may not have noticed yet that the connection is gone."""
    end = time.monotonic() + PATIENCE
    while True:
        session = begin()
        frame = declare(session, queue=name, resume=resume, **fields)
        if not frame.HasField("error") or frame.error.code != 405 or time.monotonic() > end:
            check(f"a name is there again with its token ({fields})",
                  (frame.queue_declared.queue, frame.queue_declared.resume) == (name, resume), frame)
            return session
        session.__exit__(None, None, None)


def get(session, queue):
    frame, body = session.ask(channel=2, get=pb.Get(queue=queue, no_ack=True))
    return frame.got, body


def headers(message):
    return {field.name: field.boolean for field in message.properties.headers.fields}


def sent_again(session, queue):
    for body, fields in ((b"new", {}), (b"again", dict(resent=True))):
        session.send(Client(channel=3, publish=pb.Publish(routing_key=queue, **fields)), body)
        session.wait(lambda f: f.HasField("outcome") and f.outcome.kind == pb.CONFIRMED)
        message, got = get(session, queue)
        check(f"what is {body.decode()} is {'' if fields else 'not '}marked as sent before",
              (got, headers(message)) == (body, {b"x-muxd-resent": True} if fields else {}), message)
    fields = dict(resent=True, age_ms=40000, properties=pb.Properties(expiration=b"100000"))
    session.send(Client(channel=3, publish=pb.Publish(routing_key=queue, **fields)), b"old")
    session.wait(lambda f: f.HasField("outcome") and f.outcome.kind == pb.CONFIRMED)
    message, _ = get(session, queue)
    check("what is left of its expiration is sent", 50000 < int(message.properties.expiration) <= 60000, message)
    fields["age_ms"] = 100000
    session.send(Client(channel=3, publish=pb.Publish(routing_key=queue, **fields)), b"too old")
    frame, _ = session.wait(lambda f: f.HasField("outcome"))
    check("what has expired is not sent, and may be there", frame.outcome.kind == pb.UNKNOWN, frame)


def after(file):
    names = [tuple(line.encode().split()) for line in file]
    refused(names)
    sessions = [declared_again(*name, fields) for name, fields in zip(names, KINDS)]
    with begin() as other:
        frame = declare(other, queue=names[0][0], resume=names[0][1], exclusive=True)
        check_answer_error("what is another session's stays so, token or not", frame, pb.CHANNEL, 405)
    sent_again(sessions[0], names[0][0])
    sessions[2].ask(channel=1, queue_delete=pb.QueueDelete(queue=names[2][0]))
    for session in sessions:
        session.__exit__(None, None, None)


with open(sys.argv[2], "w" if sys.argv[1] == "before" else "r", encoding="ascii") as names_file:
    {"before": before, "after": after}[sys.argv[1]](names_file)
finish()
