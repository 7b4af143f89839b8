"""blame.py STEP [QUEUE]: requests that cost the connection to the broker, and what becomes of who sent them.

    publish KEY      a publish with this key, between two that are right
    request KEY      a queue.bind with this key, to a queue of one's own
    get QUEUE        a get from it, while others get from queues of theirs
    make STREAM VHOST makes a stream, by a connection of one's own
    stream NAME      consuming from a stream, in which somebody puts what RabbitMQ falls over when it delivers it
    offend KEY...    a publish with each key; then it must be quarantined
"""
import os
import sys

import amqp
import wire
from ipc import Client, Session, check, check_session_error, finish, pb


def outcomes(session, count):
    """Number -> kind, of so many publishes, and the end of the channel if it ended."""
    kinds, error = {}, None
    while len(kinds) < count or (error is None and kinds != {1: pb.CONFIRMED}):
        frame, _ = session.receive()
        if frame.HasField("outcome"):
            for numbers in frame.outcome.numbers:
                for number in range(numbers.first, numbers.last + 1):
                    kinds[number] = frame.outcome.kind
        elif frame.HasField("error"):
            error = frame.error
    return kinds, error


def is_brokers(error, code):
    """A dropped connection says nothing: muxd does."""
    origin = pb.MUXD if b"drops the connection" in error.text else pb.BROKER
    return error.code == code and error.origin == origin and not error.retryable


def publish(key, code):
    with Session() as session:
        session.hello()
        session.open(1)
        session.ask(channel=1, queue_declare=pb.QueueDeclare(queue=b"muxd-blame", exclusive=True))
        session.publish(1, b"muxd-blame", b"first")
        first, _ = outcomes(session, 1)
        session.publish(1, key, b"the one")
        session.publish(1, b"muxd-blame", b"behind it")
        second, error = outcomes(session, 2)
        check(f"{key.decode()}: what was published before is confirmed", first == {1: pb.CONFIRMED}, first)
        check(f"{key.decode()}: its own outcome is unknown or not sent", second[2] in (pb.UNKNOWN, pb.NOT_SENT), second)
        check(f"{key.decode()}: its channel ends with the broker's own {code}", is_brokers(error, code), error)
        session.open(1, 2)
        frame, _ = session.ask(channel=1, queue_declare=pb.QueueDeclare(queue=b"muxd-blame", passive=True))
        check(f"{key.decode()}: the session and its queue are there", frame.HasField("queue_declared"), frame)


def request(key, code):
    with Session() as session:
        session.hello()
        session.open(1)
        session.ask(channel=1, queue_declare=pb.QueueDeclare(queue=b"muxd-blame", exclusive=True))
        frame, _ = session.ask(channel=1, queue_bind=pb.QueueBind(queue=b"muxd-blame", exchange=b"amq.direct",
                                                                  routing_key=key))
        check(f"bind {key.decode()}: refused with the broker's own {code}", is_brokers(frame.error, code), frame)


def get(queue, code):
    """The broker says that it was a get; but others have some under way, too."""
    others = []
    for number in range(5):
        session = Session()
        session.hello()
        session.open(1)
        session.ask(channel=1, queue_declare=pb.QueueDeclare(exclusive=True))
        others.append(session)
    with Session() as session:
        session.hello()
        session.open(1)
        for other in others:
            other.send(Client(request=10, channel=1, get=pb.Get()))
        session.send(Client(request=10, channel=1, get=pb.Get(queue=queue)))
        for other in others:
            other.send(Client(request=11, channel=1, get=pb.Get()))
        frame, _ = session.wait(lambda frame: frame.request == 10)
        check(f"get {queue.decode()}: refused with the broker's own {code}", is_brokers(frame.error, code), frame)
    answers = []
    for other in others:
        for number in (10, 11):
            frame, _ = other.wait(lambda frame: frame.request == number)
            answers.append(frame.WhichOneof("event"))
        other.socket.close()
    check(f"get {queue.decode()}: the gets of the others are answered", answers == ["got_nothing"] * 10, answers)


def offend(keys, code):
    for key in keys:
        session = Session()
        session.hello()
        session.open(1)
        session.publish(1, key, b"x")
        kinds, error = outcomes(session, 1)
        check(f"{key.decode()}: the broker's own {code}", is_brokers(error, code), error)
    check_session_error("the third of them ends the session", session, 530, "quarantine")
    session = Session()
    session.send(Client(hello=pb.Hello(version_min=1, version_max=1)))
    check_session_error("and the process gets no other one", session, 530, "quarantine")


def make(queue, vhost):
    broker = amqp.Connection(int(os.environ["RABBITMQ_PORT"]), vhost)
    broker.open(1)
    arguments = amqp.short(b"x-queue-type") + b"S" + amqp.long(b"stream")
    broker.send(1, (50, 10), b"\0\0" + amqp.short(queue) + b"\2" + amqp.long(arguments))
    broker.expect(1, (50, 11))
    return broker


def put(broker, queue, **properties):
    for kind, payload in wire.publish("", queue, **properties).amqp:
        broker.socket.sendall(broker.frame(kind, 1, payload))


def consume(queue):
    """A session that does, and the answer."""
    session = Session()
    session.hello()
    session.open(1)
    op = wire.consume(queue, args={"x-stream-offset": ("S", "first")})
    return session, session.ask(channel=1, **op.ipc)[0]


def take(session, count):
    """The offsets of so many messages, which are acknowledged."""
    offsets = []
    for _ in range(count):
        frame, _ = session.wait(lambda frame: frame.HasField("delivery"))
        offsets += [entry.int64 for entry in frame.delivery.properties.headers.fields
                    if entry.name == b"x-stream-offset"]
        session.send(Client(channel=1, settle=pb.Settle(kind=pb.ACK, tags=[pb.Range(first=frame.delivery.tag, last=frame.delivery.tag)])))
    return offsets


def stream(queue, code):
    fine = queue + b".fine"
    brokers = [make(name, os.environ["VHOST"]) for name in (queue, fine)]
    session, answer = consume(queue)
    if answer.HasField("error"):
        check(f"{queue.decode()}: refused with the broker's own {code}", is_brokers(answer.error, code), answer)
        return
    other, _ = consume(fine)
    for broker, name in zip(brokers, (queue, fine)):
        for _ in range(3):
            put(broker, name)
    check(f"{queue.decode()}: what was there is delivered", take(session, 3) == [0, 1, 2])
    check(f"{fine.decode()}: so it is to the other one", take(other, 3) == [0, 1, 2])
    put(brokers[0], queue, headers={"x-basic-type": ("I", 3)})
    frame, _ = session.wait(lambda frame: frame.HasField("error"))
    check(f"{queue.decode()}: its channel ends with the broker's own {code}", is_brokers(frame.error, code), frame)
    put(brokers[1], fine)
    offsets = take(other, 1)
    check(f"{fine.decode()}: the other one goes on where it was", offsets == [3], offsets)


step, names = sys.argv[1], [name.encode() for name in sys.argv[2:]]
codes = {b"trap.crash": 541, b"trap.refus": 540, b"trap.drop.": 541, b"trap.route": 541, b"stream.poi": 541}
if step == "offend":
    offend(names, 541)
elif step == "make":
    make(names[0], sys.argv[3])
else:
    {"publish": publish, "request": request, "get": get, "stream": stream}[step](names[0], codes.get(names[0][:10], 540))
finish()
