"""Takes a message, sleeps ten heartbeat intervals of 1 s, in which it neither reads nor writes, then acknowledges."""
import time

from ipc import Client, Session, check, finish, pb

QUEUE = b"muxd-idle"

with Session() as s:
    s.hello()
    s.open(1)
    s.ask(channel=1, queue_declare=pb.QueueDeclare(queue=QUEUE))
    s.ask(channel=1, queue_purge=pb.QueuePurge(queue=QUEUE))
    s.publish(1, QUEUE, b"work")
    s.ask(channel=1, consume=pb.Consume(queue=QUEUE, consumer=1, credit_messages=10, credit_bytes=10000))
    frame, body = s.wait(lambda f: f.HasField("delivery"))
    tag = frame.delivery.tag
    check("the message came", body == b"work" and tag > 0, frame)

    time.sleep(10)  # the work: this is what the test is about

    s.send(Client(channel=1, settle=pb.Settle(kind=pb.ACK, tags=[pb.Range(first=tag, last=tag)])))
    answer, _ = s.ask(channel=1, cancel=pb.Cancel(consumer=1))
    check("after ten heartbeat intervals its channel is still open", answer.HasField("done"), answer)
    answer, _ = s.ask(channel=1, get=pb.Get(queue=QUEUE))
    check("the acknowledgement counted: the message does not come again", answer.HasField("got_nothing"), answer)
    s.ask(channel=1, queue_delete=pb.QueueDelete(queue=QUEUE))
finish()
