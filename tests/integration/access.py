"""Who may do what, with processes of real users and groups: uid x upstream x operation x name.

    access.py PORT VHOST

What is expected is written down here, name by name, as an administrator would read access.sh's rules; nothing of it
comes from muxd. Each process of PEOPLE is forked, takes its ids, connects, and goes through all of it.
"""
import json
import os
import sys
import time

import wire
from ipc import Client, Session, apart, check, finish, pb

LONG = b"web." + b"n" * 251
NAMES = (b"web.q", b"web.\0q", b"web.\nq", b"web.q\n", b"xweb.q", b"job", b"job\0", b"job\n", b"\0job", b"jobs", b"",
         b"amq.default", b"secret", b"sec\nret", LONG)
BYTES = (b"web.\xff\xfe", b"\xffweb.", b"job\xff", b"\xff")  # RabbitMQ knows such names of exchanges in publishes only
ALL, NONE = set(NAMES + BYTES), set()

# Of each section of access.sh: the names that its patterns have in them.
WEB = {b"web.q", b"web.\0q", b"web.\nq", b"web.q\n", LONG, b"web.\xff\xfe"}
SECTIONS = {
    "web": {"configure": WEB, "write": WEB | {b"", b"amq.default"}, "read": WEB},
    "jobs": {"configure": {b"job"}, "write": {b"job", b"jobs", b"job\0", b"job\n", b"job\xff"}, "read": {b"job"}},
    "games": {"configure": {b"job"}, "write": {b"job", b"jobs", b"job\0", b"job\n", b"job\xff"}, "read": {b"job"}},
    "range": {"configure": NONE, "write": ALL - {b"secret"}, "read": ALL - {b"secret"}},
    "staff": {"configure": ALL, "write": ALL, "read": ALL},
    "second": {"configure": NONE, "write": NONE, "read": {b"job"}},
    "unmapped": {"configure": {b"xweb.q"}, "write": {b"xweb.q"}, "read": {b"xweb.q"}},
}
# the process: its ids, and the section that is its for upstream `default` and for `second`; None: refused, "": all
PEOPLE = {
    "www-data": ((33, 33, ()), "web", None),
    "www-data in adm": ((33, 33, (4,)), "web", "staff"),
    "daemon": ((1, 1, ()), "jobs", None),
    "games, by its group": ((5, 60, ()), "games", None),
    "a number of a short range": ((50004, 50004, ()), "jobs", None),
    "a number whose group is games": ((50005, 60, ()), "games", None),
    "a number that has games beside others": ((50006, 50006, (7, 60, 9)), "games", None),
    "the first of a range": ((100000, 100000, ()), "range", "second"),
    "the last of a range": ((165535, 165535, ()), "range", "second"),
    "one below a range": ((99999, 100000, ()), None, None),
    "one above a range": ((165536, 165536, ()), None, None),
    "a number of the range, in adm": ((100001, 100001, (4,)), "range", "second"),
    "somebody with no section": ((4242, 4242, ()), None, None),
    "somebody with no section, in adm": ((4242, 4242, (4,)), "staff", "staff"),
    "nobody, whose name is in a section": ((65534, 65534, ()), "unmapped", None),
    "nobody's group alone": ((4243, 65534, ()), None, None),
    "root": ((0, 0, ()), "", ""),
    "root, in adm": ((0, 0, (4,)), "staff", "staff"),
}
# As muxd.conf(5) has it.
OPERATIONS = {
    "queue.declare": ("configure", lambda n: wire.queue_declare(n)),
    "queue.declare passive": (None, lambda n: wire.queue_declare(n, passive=1)),
    "queue.delete": ("configure", wire.queue_delete),
    "queue.purge": ("read", wire.queue_purge),
    "queue.bind": ("write", lambda n: wire.queue_bind(n, n, "k")),
    "exchange.declare": ("configure", lambda n: wire.exchange_declare(n, "fanout")),
    "exchange.delete": ("configure", wire.exchange_delete),
    "exchange.bind": ("write", lambda n: wire.exchange_bind(n, n, "k")),
    "publish": ("write", lambda n: wire.publish(n, "k")),
    "get": ("read", lambda n: wire.get(n, no_ack=1)),
    "consume": ("read", lambda n: wire.consume(n, no_ack=1)),
}
KEEP_LINE_ENDS = ("queue.purge", "publish", "get", "consume")


def shown(name):
    return "".join(chr(c) if 32 <= c < 127 else f"\\x{c:02x}" for c in name)


def seen(operation, name):
    """The name that the broker would see."""
    return name if operation in KEEP_LINE_ENDS else name.replace(b"\n", b"")


def is_asked(operation, name):
    """Whether it comes as far as permissions."""
    if name in BYTES:
        return operation == "publish"
    if name == b"" and operation.startswith("queue.declare"):
        return False  # muxd makes a name; see the cases of their own
    return name != b"" or operation in ("publish", "exchange.bind", "exchange.declare", "exchange.delete")


def lacks(section, operation, name):
    """The permission that is refused first, or None."""
    rules = SECTIONS[section]
    name = seen(operation, name)
    needed = [OPERATIONS[operation][0]]
    if operation.endswith(".bind"):
        needed.append("read")
    for i, permission in enumerate(needed):
        is_exchange = operation.startswith("exchange") or operation == "publish" or i == 1
        judged = b"amq.default" if name == b"" and is_exchange else name
        if permission and judged not in rules[permission]:
            return permission
    return None


def ask(session, generation, op):
    """The error's code and text, or 0."""
    session.open(1, generation)
    if "publish" in op.ipc:
        session.send(Client(channel=1, **op.ipc), op.body)
        # what was not sent has such an outcome, and then its channel ends
        frame = session.wait(lambda f: f.generation == generation and (
            f.HasField("error") or f.HasField("outcome") and f.outcome.kind != pb.NOT_SENT))[0]
    else:
        frame = session.ask(channel=1, **op.ipc)[0]
    if not frame.HasField("error") or frame.error.scope == pb.REQUEST:
        session.ask(channel=1, channel_close=pb.ChannelClose())
    return [frame.error.code, frame.error.text.decode()]


def attach(upstream):
    session = Session()
    session.hello_frame = session.hello(upstream=upstream.encode())
    return session


def all_answers(person):
    """In a child: {upstream: {"operation|index": [code, text]}} or {upstream: text of the refusal}."""
    (uid, gid, groups), _, _ = PEOPLE[person]
    os.setgroups(groups)
    os.setgid(gid)
    os.setuid(uid)
    out = {}
    for upstream in ("default", "second"):
        session = attach(upstream)
        if session.hello_frame.HasField("error"):
            out[upstream] = [session.hello_frame.error.code, session.hello_frame.error.text.decode()]
            continue
        out[upstream] = {}
        generation = 0
        for operation, (_, make) in OPERATIONS.items():
            for i, name in enumerate(NAMES + BYTES):
                if is_asked(operation, name):
                    generation += 1
                    out[upstream][f"{operation}|{i}"] = ask(session, generation, make(name))
    return json.dumps(out)


def judge(person, upstream, section, answers):
    """Counts cases, and lists what is wrong."""
    uid = PEOPLE[person][0][0]
    if section is None:
        good = isinstance(answers, list) and answers[0] == 403 and f"uid {uid} " in answers[1] and \
            f"'{upstream}'" in answers[1]
        return 1, [] if good else [f"it is not refused at Hello: {str(answers)[:200]}"]
    if isinstance(answers, list):
        return 1, [f"it is refused: {answers}"]
    faults = []
    for key, (code, text) in answers.items():
        operation, index = key.split("|")
        name = (NAMES + BYTES)[int(index)]
        refused = code == 403 and "access section" in text
        permission = lacks(section, operation, name) if section else None
        if refused != (permission is not None):
            faults.append(f"{operation} '{shown(name)}': {'not ' if permission else ''}refused: {code} {text}")
        elif refused:
            judged = shown(seen(operation, name)) or "amq.default"
            for word in (f"section '{section}'", f"{permission} access", f"'{judged[:70]}"):
                if word not in text:
                    faults.append(f"{operation} '{shown(name)}': the text lacks <{word}>: {text}")
    return len(answers), faults


def table():
    cases = 0
    for person, (_, *sections) in PEOPLE.items():
        said = apart(lambda: all_answers(person))
        try:
            answers = json.loads(said)
        except ValueError:
            check(f"{person} gets answers", False, said)
            continue
        for upstream, section in zip(("default", "second"), sections):
            count, faults = judge(person, upstream, section, answers[upstream])
            cases += count
            what = "is refused" if section is None else f"may do what \"{section}\" says" if section else "may do all"
            check(f"{person}, upstream {upstream}: {what}, {count} cases", not faults, "; ".join(faults[:4]))
    check(f"the table has 200 cases or more, names with NUL, newline and other bytes among them", cases >= 200, cases)
    print(f"{cases} cases")


def become(uid, groups=()):
    os.setgroups(groups)
    os.setgid(uid)
    os.setuid(uid)


def at_connect():
    """What counts is who connected, and when."""
    def passed_on():
        session = Session()  # as root, in adm
        become(4242)
        return session.hello().WhichOneof("event")
    check("a process that changes its user after it connected stays who it was", apart(passed_on) == "welcome")

    def as_another():
        become(4242)
        frame = Session().hello()
        return frame.error.text.decode()
    check("the same user, connected anew, is refused by its number", "uid 4242" in apart(as_another))

    def group_dropped():
        os.setgroups([4])
        session = Session()
        os.setgroups([])
        os.setgid(4242)
        os.setuid(4242)
        session.hello()
        return str(ask(session, 1, wire.queue_declare("any", passive=0))[0])
    check("groups count as they were then", apart(group_dropped) == "0")

    def many_groups():
        become(4242, groups=list(range(70000, 70400)) + [4])
        return Session().hello().WhichOneof("event")
    check("the last of 401 groups counts", apart(many_groups) == "welcome", apart(many_groups))


def other_things():
    def generated():
        become(33)
        session = attach("default")
        first = ask(session, 1, wire.queue_declare("", exclusive=1))
        return json.dumps(first)
    code, text = json.loads(apart(generated))
    check("a queue without a name is judged by the name that muxd gives it", code == 403 and "'muxd.gen-" in text, text)

    owner = attach("default")
    ask(owner, 1, wire.queue_declare("job-locked", exclusive=1))
    check("who may not read a queue does not learn that another has it",
          apart(lambda: (become(33), str(ask(attach("default"), 1, wire.get("job-locked"))[0]))[1]) == "403")
    check("who may, does",
          apart(lambda: (become(4242, groups=[4]), str(ask(attach("default"), 1, wire.get("job-locked"))[0]))[1]) ==
          "405")
    owner.socket.close()

    def recorder(uid):
        become(uid)
        session = attach("default")
        listed = session.ask(sessions=pb.SessionsQuery())[0].sessions.sessions
        other = next(entry.id for entry in listed if entry.uid == 0)
        return session.ask(recorder=pb.RecorderQuery(session=other))[0].error.text.decode()
    text = apart(lambda: recorder(33))
    check("control is refused by its section", "control refused" in text and "'web'" in text, text)
    check("and granted by another", apart(lambda: recorder(1)) == "", apart(lambda: recorder(1)))


def costly():
    """A pattern that explodes on the name it is given: others go on meanwhile."""
    def shout():
        become(50100)
        session = attach("default")
        name, end, count, later = b"a" * 254 + b"!", time.monotonic() + 2, 0, 0
        while time.monotonic() < end:
            data = b""
            for _ in range(50):
                count += 1
                data += session.encode(Client(channel=1, channel_open=pb.ChannelOpen(generation=count)))
                data += session.encode(Client(channel=1, request=count, get=pb.Get(queue=name)))
            session.raw(data)
            for i in range(count - 49, count + 1):
                error = session.wait(lambda f: f.request == i)[0].error
                later += error.code == 506 and error.retryable and b"uid 50100 asks for at once" in error.text
                if error.code != 506 and (error.code != 403 or b"takes too long" not in error.text):
                    return error.text.decode()
        return f"refused {count}, {later} for now"
    said = apart(shout)
    check("a name that a pattern takes too long for is refused", said.startswith("refused"), said)
    check("of many such at once most are not even looked at", "refused" in said and
          int(said.split()[2]) > int(said.split()[1].rstrip(",")) / 2, said)
    print(said)


table()
at_connect()
other_things()
costly()
finish()
