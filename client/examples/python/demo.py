"""What a program does with muxd.py.

    demo.py count NUMBER    publishes so many messages, consumes as many
    demo.py call TEXT       asks another process, by direct reply-to
    demo.py steady SECONDS  does the first for so long, or until SIGTERM, whatever becomes of muxd;
                            what is lost or comes twice without the mark of PROTOCOL.md is told
"""
import os
import signal
import sys
import time

import muxd
from muxd import pb

QUEUE = b"python-demo"


def fresh_queue(channel, **fields):
    channel.ask(again=False, queue_delete=pb.QueueDelete(queue=QUEUE))
    return channel.declare(QUEUE, **fields)


def is_marked(message):
    return any(field.name == b"x-muxd-resent" and field.boolean for field in message.properties.headers.fields)


def outcomes(publications):
    kinds = [p.outcome for p in publications]
    return ", ".join(f"{kinds.count(kind)} {pb.OutcomeKind.Name(kind)}" for kind in sorted(set(kinds)))


def count(number):
    client = muxd.Client(program=b"demo count")
    channel = client.channel()
    queue = channel.declare(exclusive=True)
    publications = [channel.publish(b"message %d" % index, queue) for index in range(number)]
    client.wait(*publications)
    print(outcomes(publications))
    channel.ask(keep=True, qos=pb.Qos(prefetch_count=50))
    consumer = channel.consume(queue)
    for index in range(number):
        message = consumer.get(30)
        assert message.body == b"message %d" % index, message.body
        message.settle()
    channel.cancel(consumer)
    print(f"{number} consumed; then there is {channel.get(queue)}")
    lost = channel.publish(b"x", b"python-no-such-queue", mandatory=True)
    client.wait(lost)
    print(f"a mandatory one to nowhere: {outcomes([lost])}, {lost.returned.text.decode()}")
    try:
        channel.consume(b"python-no-such-queue")
    except muxd.Error as error:
        print(f"an error: {error.code}")
    client.close()


def answer_calls():
    """Another process; each makes its own Client."""
    client = muxd.Client(program=b"demo server")
    channel = client.channel()
    consumer = channel.consume(fresh_queue(channel, auto_delete=True))
    while True:
        call = consumer.get(60)
        if call is None:
            return
        channel.publish(call.body.upper(), call.properties.reply_to, correlation_id=call.properties.correlation_id)
        call.settle()


def call(text):
    server = os.fork()
    if server == 0:
        answer_calls()
        os._exit(0)
    client = muxd.Client(program=b"demo caller")
    channel = client.channel()
    replies = channel.consume(b"amq.rabbitmq.reply-to", no_ack=True)
    try:
        for number in range(100):  # until the server is there
            question = channel.publish(text.encode(), QUEUE, mandatory=True, correlation_id=b"%d" % number,
                                       reply_to=b"amq.rabbitmq.reply-to")
            client.wait(question)
            reply = replies.get(10) if question.outcome == pb.CONFIRMED else time.sleep(0.1)
            if reply:
                print(f"{reply.properties.correlation_id == b'%d' % number}: {reply.body.decode()}")
                break
    finally:
        os.kill(server, 15)
        os.waitpid(server, 0)
    client.close()


def steady(seconds):
    told = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(True))
    client = muxd.Client(program=b"demo steady")
    channel, other = client.channel(), client.channel()
    own = channel.declare(exclusive=True)
    consumer = other.consume(fresh_queue(channel, durable=True))
    publications, seen, unmarked, end = [], set(), [], time.monotonic() + seconds
    print("ready", flush=True)
    while True:
        more = not told and time.monotonic() < end
        if more and len(publications) < len(seen) + 500:
            publications.append(channel.publish(b"%d" % len(publications), QUEUE, delivery_mode=2))
        elif not more and len(seen) == len(publications):
            break
        message = consumer.get(0 if more else 20)
        if message is None:
            if more:
                continue
            break
        seen.add(int(message.body))
        if not message.redelivered and not is_marked(message):
            unmarked.append(int(message.body))
        message.settle()
    client.wait(*publications)
    print(f"{len(publications)} published: {outcomes(publications)}; in {client.session} sessions")
    print(f"lost: {len(publications) - len(seen)}, twice without a mark: {len(unmarked) - len(set(unmarked))}, "
          f"first seen with one: {len(seen) - len(set(unmarked))}")
    client.wait(channel.publish(b"still", own))
    print(f"the exclusive queue has its name: {channel.get(own, no_ack=True).body == b'still'}")
    channel.ask(again=False, queue_delete=pb.QueueDelete(queue=QUEUE))
    client.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["count"]:
        count(int(sys.argv[2]))
    elif sys.argv[1:2] == ["call"]:
        call(sys.argv[2])
    elif sys.argv[1:2] == ["steady"]:
        steady(float(sys.argv[2]))
    else:
        sys.exit(__doc__)
