"""A client whose muxd loses its connection to the broker, and notices nothing but what it is told.

Says `ready`, reads a line when the connection is about to be gone, and then goes on in the same session.
"""
import sys

from ipc import Client, Session, check, finish, pb


def settle(session, channel, tag):
    session.send(Client(channel=channel, settle=pb.Settle(kind=pb.ACK, tags=[pb.Range(first=tag, last=tag)])))


with Session() as s:
    s.hello()
    s.open(1)
    s.ask(channel=1, exchange_declare=pb.ExchangeDeclare(exchange=b"muxd-reconnect", type=b"fanout", auto_delete=True))
    name = s.ask(channel=1, queue_declare=pb.QueueDeclare(exclusive=True))[0].queue_declared.queue
    s.ask(channel=1, queue_bind=pb.QueueBind(queue=name, exchange=b"muxd-reconnect"))
    consuming, _ = s.ask(
        channel=1, consume=pb.Consume(queue=name, consumer=1, credit_messages=10, credit_bytes=10000)
    )
    gone = s.ask(channel=1, queue_declare=pb.QueueDeclare(queue=b"muxd-reconnect-gone", exclusive=True))[0]
    s.ask(channel=1, queue_delete=pb.QueueDelete(queue=gone.queue_declared.queue))
    s.publish(1, name, b"unacknowledged")
    frame, _ = s.wait(lambda f: f.HasField("delivery"))
    old = frame.delivery.tag
    s.open(2)  # never used: it has nothing at the broker
    print("ready", flush=True)
    sys.stdin.readline()

    frame, _ = s.wait(lambda f: f.HasField("upstream_changed") and f.upstream_changed.state == pb.UP, 60)
    s.open(3)
    s.publish(3, b"", b"after", exchange=b"muxd-reconnect")
    frame, body = s.wait(lambda f: f.HasField("delivery"), 60)
    check("the consumer, its queue, the exchange and the binding are back", body == b"after", frame)
    check("it is the same consumer, with a new tag", frame.delivery.consumer == 1 and frame.delivery.tag > old, frame)
    settle(s, 1, old)  # of a connection that is gone
    settle(s, 1, frame.delivery.tag)
    frame, _ = s.ask(channel=1, queue_declare=pb.QueueDeclare(queue=name, passive=True))
    check("an old tag is no mistake, and the channel is open", frame.HasField("queue_declared"), frame)
    check("the name of the queue has stayed", frame.queue_declared.queue == name, frame)
    frame, _ = s.ask(channel=2, queue_declare=pb.QueueDeclare(queue=b"muxd-reconnect-gone", passive=True))
    check("what was deleted is not brought back", frame.HasField("error") and frame.error.code == 404, frame)
finish()
