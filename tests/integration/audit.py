"""What processes declare, bind and delete is in the log. Needs $MUXD_LOG, and $MUXD_CONF, which is reloaded.

    audit.py        a line for each, and what it says
    audit.py flood  one process floods
"""
import os
import re
import subprocess
import sys
import time

from ipc import Client, Session, check, finish, pb

LOG, CONF = os.environ["MUXD_LOG"], os.environ["MUXD_CONF"]
MUXCTL = os.path.join(os.environ["builddir"], "client/muxctl")
WHO = f"uid {os.getuid()}, pid {os.getpid()}, session "


def lines():
    with open(LOG, "rb") as f:
        return [line for line in f.read().decode().splitlines() if "audit:" in line]


def new_lines(count, seconds=20):
    """At least so many more than there were."""
    global seen
    end = time.monotonic() + seconds
    while len(lines()) < seen + count and time.monotonic() < end:
        time.sleep(0.02)
    found = lines()[seen:]
    seen += len(found)
    return found


def reload(change):
    with open(CONF) as f:
        text = f.read()
    with open(CONF, "w") as f:
        f.write(change(text))
    return subprocess.run([MUXCTL, "reload"], stdin=subprocess.DEVNULL, timeout=60).returncode == 0


def audited(sentence, session, words, channel=1, **fields):
    session.ask(channel=channel, **fields)
    found = new_lines(1)
    check(sentence, len(found) == 1 and all(word in found[0] for word in (*words, WHO, 'upstream "default"')), found)


def operations():
    with Session() as s:
        s.hello()
        s.open(1)
        name = b"audit." + str(os.getpid()).encode()
        shown = name.decode()
        audited("a queue is declared", s, [f"queue.declare queue='{shown}'", ": ok"],
                queue_declare=pb.QueueDeclare(queue=name, exclusive=True))
        s.ask(channel=1, queue_declare=pb.QueueDeclare(queue=name, passive=True))
        audited("an exchange is declared", s, [f"exchange.declare exchange='{shown}' type='fanout'", ": ok"],
                exchange_declare=pb.ExchangeDeclare(exchange=name, type=b"fanout"))
        check("a look (passive) is not in it", "queue.declare" not in lines()[-1])
        audited("a queue is bound, by a key with a newline and a byte that is no UTF-8", s,
                [f"queue.bind queue='{shown}' source='{shown}' key='a\\x0aaudit: b\\xc3\\xa9'", ": ok"],
                queue_bind=pb.QueueBind(queue=name, exchange=name, routing_key="a\naudit: b\u00e9".encode()))
        audited("and unbound", s, ["queue.unbind", ": ok"],
                queue_unbind=pb.QueueBind(queue=name, exchange=name, routing_key="a\naudit: b\u00e9".encode()))
        audited("an exchange is bound", s, [f"exchange.bind exchange='{shown}' source='amq.fanout'", ": ok"],
                exchange_bind=pb.ExchangeBind(destination=name, source=b"amq.fanout"))
        audited("and unbound", s, ["exchange.unbind", ": ok"],
                exchange_unbind=pb.ExchangeBind(destination=name, source=b"amq.fanout"))
        audited("a queue is purged", s, ["queue.purge", ": ok"], queue_purge=pb.QueuePurge(queue=name))
        audited("and deleted", s, ["queue.delete", ": ok"], queue_delete=pb.QueueDelete(queue=name))
        audited("an exchange is deleted", s, ["exchange.delete", ": ok"],
                exchange_delete=pb.ExchangeDelete(exchange=name))
        audited("what the broker refuses", s, ["queue.bind", ": refused 404"],
                queue_bind=pb.QueueBind(queue=name, exchange=b"amq.fanout"))
        s.open(1, 2)
        audited("a queue that muxd names has its name in it", s, ["queue.declare queue='muxd.gen-", ": ok"],
                queue_declare=pb.QueueDeclare(exclusive=True))
        audited("what muxd refuses, with a NUL in its name", s, ["queue='muxd.gen-\\x00'", ": refused 403"],
                queue_declare=pb.QueueDeclare(queue=b"muxd.gen-\0"))
        s.open(1, 3)
        forged = b"a' of upstream \"default\" by uid 0, pid 1, session 1: ok"
        s.ask(channel=1, queue_delete=pb.QueueDelete(queue=forged))
        found = new_lines(1)
        check("a name with a quote does not end where it likes", len(found) == 1 and
              found[0].split("'")[1] == forged.decode().replace("'", "\\x27"), found)
        check("rules", reload(lambda text: text + 'access "few" { read = ".*" }\n'))
        audited("what an access section refuses, with its name", s, ["queue.delete", ": refused 403", "section 'few'"],
                queue_delete=pb.QueueDelete(queue=b"other"))
    check("and back, without an audit log", reload(
        lambda text: 'audit = false\n' + text.replace('access "few" { read = ".*" }\n', "")))
    with Session() as s:
        s.hello()
        s.open(1)
        s.ask(channel=1, queue_declare=pb.QueueDeclare(exclusive=True))
    with Session() as s:
        s.hello()
        check("then nothing is logged", not new_lines(1, 0), lines()[-3:])
    check("on again", reload(lambda text: text.replace("audit = false\n", "")))

    with Session() as s:
        s.hello()
        s.open(1)
        s.send(Client(request=1, channel=1, queue_declare=pb.QueueDeclare(exclusive=True)))
    found = new_lines(1)
    check("who leaves without waiting for the answer is in it as well", len(found) == 1 and
          "queue.declare" in found[0] and (": ok" in found[0] or "left before" in found[0]), found)


def flood():
    with Session() as s, Session() as other:
        s.hello()
        s.open(1)
        other.hello()  # who does not within 5 s has to leave
        began = time.monotonic()
        for _ in range(1500):
            s.ask(channel=1, queue_declare=pb.QueueDeclare(queue=b"flood.%d" % os.getpid(), exclusive=True))
        most = 200 + 10 * (time.monotonic() - began) + 1
        other.open(1)
        found = new_lines(0, 0)
        written = sum("queue.declare" in line for line in found)
        check("of 1500 lines 200 are written, and 10 a second", 200 <= written <= most, f"{written}, not {most}")
        queue = other.ask(channel=1, queue_declare=pb.QueueDeclare(exclusive=True))[0].queue_declared.queue.decode()
        while not any(queue in line for line in found) and (more := new_lines(1)):
            found += more
        check("another session has its lines", any(queue in line and ": ok" in line for line in found), found[-3:])
        said = [line for line in found if "left out" in line]
        while sum(map(left_out, said)) < 1500 - written and (more := new_lines(1, 30)):
            said += more
        check("how many were left out is said", sum(map(left_out, said)) == 1500 - written, said)


def left_out(line):
    return int(re.search(r": (\d+) more lines were left out", line)[1])


seen = len(lines())
flood() if sys.argv[1:] == ["flood"] else operations()
finish()
