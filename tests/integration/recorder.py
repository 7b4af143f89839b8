"""A session that asks for this and that, says its id, and stays until its stdin ends."""
import sys

from ipc import Client, Session, pb


def table(**fields):
    made = pb.Table()
    for name, value in fields.items():
        made.fields.add(name=name.encode(), string=value)
    return made


with Session() as session:
    session.hello(program=b"recorded")
    for channel in (1, 2, 3):
        session.open(channel)
    queue = b"recorded\x01" + sys.argv[1].encode()
    session.ask(channel=1, queue_declare=pb.QueueDeclare(queue=queue, exclusive=True))
    session.ask(channel=1, exchange_declare=pb.ExchangeDeclare(
        exchange=b"recorded", type=b"fanout", auto_delete=True, arguments=table(password=b"hunter2", other=b"seen")))
    session.ask(channel=1, queue_bind=pb.QueueBind(queue=queue, exchange=b"recorded", routing_key=b"key"))
    properties = pb.Properties(delivery_mode=2, headers=table(long=b"v" * 500))
    for _ in range(50):
        session.want(2000)
        session.publish(1, b"key", b"the body", exchange=b"recorded", properties=properties)
        session.wait(lambda f: f.HasField("outcome"))
    for _ in range(3):
        frame, _ = session.ask(channel=1, get=pb.Get(queue=queue))
        session.send(Client(channel=1, settle=pb.Settle(tags=[pb.Range(first=frame.got.tag, last=frame.got.tag)])))
    session.ask(channel=2, get=pb.Get(queue=b"nowhere"))
    # Nobody takes it: the answer does not come.
    session.send(Client(request=1000, channel=3, deadline_ms=600000,
                        get=pb.Get(queue=queue, no_ack=True)))
    print("ready", session.welcome.session, flush=True)
    sys.stdin.readline()
