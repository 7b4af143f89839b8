"""muxd's configuration changes while it runs.

    reload.py conf        prints the configuration to begin with
    reload.py scenes      what changes, and what does not, for sessions that are there
    reload.py upstreams   upstreams come, change and go
    reload.py often       many reloads, good and bad, beside a load

Needs $MUXD_CONF, which it writes anew, $MUXD_LOG, $MUXD_PID and $BROKER_URI; and $TLS_CA, if that is amqps.
"""
import json
import os
import signal
import socket
import subprocess
import sys
import time

CONF, LOG, URI = (os.environ[name] for name in ("MUXD_CONF", "MUXD_LOG", "BROKER_URI"))
MUXCTL = os.path.join(os.environ["builddir"], "client/muxctl")
OTHER_UID = 12345

UPSTREAM = {"uri": f'{{ "{URI}" }}', "reconnect-min": '"50ms"', "reconnect-max": '"500ms"'}
if "TLS_CA" in os.environ:
    UPSTREAM["tls-ca"] = f'"{os.environ["TLS_CA"]}"'
WHOLE = {"socket": f'"{os.environ["MUXD_SOCKET"]}"', "log-level": '"debug"', "socket-mode": '"0666"',
         "drain-timeout": '"20s"'}


def section(head, keys):
    return head + " {\n" + "".join(f"  {key} = {value}\n" for key, value in keys.items()) + "}\n"


def conf(whole=None, upstream=None, others=(), limits=None, access=()):
    """The text of a configuration: what is given beside, or instead of, what it begins with."""
    text = "".join(f"{key} = {value}\n" for key, value in {**WHOLE, **(whole or {})}.items())
    text += section('upstream "default"', {**UPSTREAM, **(upstream or {})})
    for name, keys in others:
        text += section(f'upstream "{name}"', {**UPSTREAM, **keys})
    text += section("limits", limits or {})
    for name, keys in access:
        text += section(f'access "{name}"', keys)
    return text


if sys.argv[1] == "conf":
    print(conf(), end="")
    sys.exit(0)

from ipc import Client, Closed, Session, apart, check, check_answer_error, check_session_error, describe, finish, pb

EVERYTHING = {"configure": '".*"', "write": '".*"', "read": '".*"'}


def write(text):
    with open(CONF + ".new", "w") as f:
        f.write(text)
    os.rename(CONF + ".new", CONF)


def muxctl(*args):
    return subprocess.run([MUXCTL, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def reload(*args, **changes):
    write(args[0] if args else conf(**changes))
    return muxctl("reload")


def reloaded(sentence, **changes):
    done = reload(**changes)
    check(sentence, done.returncode == 0, done.stderr)
    return done


def wait_for(accept, seconds=20):
    end = time.monotonic() + seconds
    while not accept():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def log():
    with open(LOG) as f:
        return f.read()


def status():
    return json.loads(muxctl("--json", "status").stdout)


def upstream_of(name):
    return next((u for u in status()["upstreams"] if u["name"] == name), None)


def start(upstream=b""):
    s = Session()
    frame = s.hello(upstream=upstream)
    assert frame.HasField("welcome"), frame
    s.open(1)
    s.queue = s.ask(channel=1, queue_declare=pb.QueueDeclare(exclusive=True))[0].queue_declared.queue
    return s


def confirmed(s, body=b"x", channel=1, key=None):
    s.want(len(body) + 200)
    s.publish(channel, s.queue if key is None else key, body)
    frame, _ = s.wait(lambda f: f.HasField("outcome"))
    return frame.outcome.kind == pb.CONFIRMED


# ------------------------------------------------------------------ scenes


def scene_broken():
    """A file with errors changes nothing, and whoever asked for it is told."""
    before = status()
    broken = conf(limits={"sessions": "0"}, access=[("x", {"user": '"nobody-here"', "write": '"("'})])
    done = reload(broken)
    check("a broken file: muxctl reload fails", done.returncode == 1, done.returncode)
    check("and says which line is wrong, and how", f"{CONF}:" in done.stderr and "sessions" in done.stderr, done.stderr)
    check("so does the log", f"{CONF}:" in log() and "the configuration stays as it was" in log())
    done = reload(conf(access=[("x", {"user": '"nobody-here"', "write": '"("'})]))
    check("what the file asks of the host is looked at as well", "nobody-here" in done.stderr, done.stderr)
    done = reload(conf(access=[("x", {"write": '"("'})]))
    check("and its patterns", 'access "x"' in done.stderr and done.returncode == 1, done.stderr)
    done = reload(conf() + "upstream \"y\" {\n")
    check("and where it ends", "ends inside" in done.stderr and done.returncode == 1, done.stderr)
    os.rename(CONF, CONF + ".away")
    done = muxctl("reload")
    check("a file that is gone is an error too", done.returncode == 1 and CONF in done.stderr, done.stderr)
    as_json = json.loads(muxctl("--json", "reload").stdout)
    check("in JSON as well", as_json["done"] is False and CONF in as_json["errors"][0], as_json)
    after = status()
    check("muxd is as it was", before["memory"]["limit"] == after["memory"]["limit"] and
          after["upstreams"][0]["state"] == "up")
    os.rename(CONF + ".away", CONF)
    reloaded("a good one is taken")


def scene_signal():
    """SIGHUP does the same."""
    write(conf(limits={"total-memory": '"100M"'}))
    os.kill(int(os.environ["MUXD_PID"]), signal.SIGHUP)
    check("SIGHUP: the new limit holds", wait_for(lambda: status()["memory"]["limit"] == 100 << 20), status())
    write(conf(whole={"drain-timeout": '"long"'}))
    count = log().count("stays as it was")
    os.kill(int(os.environ["MUXD_PID"]), signal.SIGHUP)
    check("SIGHUP: an error is logged", wait_for(lambda: log().count("stays as it was") > count))
    reloaded("back")


def scene_restart():
    """What needs a restart is named, also the second time."""
    for _ in range(2):
        done = reload(whole={"socket": '"/tmp/elsewhere.sock"', "socket-mode": '"0600"'},
                      upstream={"generated-queue-prefix": '"other-"'})
        check("what needs a restart is no error", done.returncode == 0, done.stderr)
        check("socket, socket-mode and generated-queue-prefix are named", all(
            word in done.stderr for word in ("socket has", "socket-mode", "generated-queue-prefix", "restart")),
            done.stderr)
    check("and nothing else", "socket-group" not in done.stderr, done.stderr)
    done = reloaded("back to what it runs with")
    check("then there is nothing to say", done.stderr == "", done.stderr)


def scene_log_level():
    reloaded("log-level changes", whole={"log-level": '"error"'})
    size = len(log())
    with start() as s:
        confirmed(s)
    check("to less", "connect" not in log()[size:], log()[size:])
    reloaded("and back")


def scene_message_max():
    with start() as s:
        check("a message within the limit goes through", confirmed(s, b"x" * 300000))
        reloaded("message-max and session-memory are lowered",
                 limits={"message-max": '"100K"', "session-memory": '"256K"'})
        s.open(2)
        s.want(300200)
        s.publish(2, s.queue, b"y" * 300000)
        frame, _ = s.wait(lambda f: f.HasField("outcome"))
        check("a larger one than now allowed ends its channel", frame.outcome.kind == pb.NOT_SENT and
              frame.outcome.error.code == 311, frame)
        check("its session goes on", confirmed(s))
        check("and what it has already is there", s.ask(
            channel=1, get=pb.Get(queue=s.queue))[1] == b"x" * 300000)
        with start() as fresh:
            check("a new session is told of the new limit", fresh.welcome.message_max == 100 << 10, fresh.welcome)
        reloaded("and raised again")
        check("which helps at once", confirmed(s, b"z" * 300000))


def scene_channels():
    with start() as s:
        for number in range(2, 8):
            s.open(number)
        reloaded("channels-per-session is lowered", limits={"channels-per-session": "4"})
        s.open(9)
        frame, _ = s.wait(lambda f: f.HasField("error"))
        check_answer_error("one more channel is refused, and only it", frame, pb.CHANNEL, 506, "channels-per-session")
        check("those that were open work", confirmed(s, channel=7))
        reloaded("and raised")
        s.open(9, 2)
        check("then there is one more", confirmed(s, channel=9))


def scene_sessions():
    sessions = [start() for _ in range(3)]
    reloaded("sessions-per-uid is lowered", limits={"sessions-per-uid": "3"})
    check("those that are there go on", all(confirmed(s) for s in sessions))
    with Session() as late:
        check_session_error("one more is refused", late, 506, "too many sessions")
    # muxctl is one more as well: SIGHUP
    write(conf())
    os.kill(int(os.environ["MUXD_PID"]), signal.SIGHUP)

    def is_let_in():
        with Session() as late:
            return late.hello().HasField("welcome")
    check("raised: it is let in", wait_for(is_let_in))
    for s in sessions:
        s.__exit__()


def scene_prefetch():
    with start() as s:
        reloaded("prefetch changes", limits={"prefetch": "7"})
        s.open(2)
        s.ask(channel=2, consume=pb.Consume(queue=s.queue, consumer=1, credit_messages=100, credit_bytes=1 << 20))
        info = json.loads(muxctl("--json", "channels").stdout)
        channels = info["channels"] if isinstance(info, dict) else info
        mine = [c for c in channels if c["session"] == s.welcome.session]
        check("a consumer that sets none has the new one", all(c["prefetch"] == 7 for c in mine) and mine, channels)
    reloaded("back")


def scene_timeouts():
    with start() as s:
        reloaded("request-timeout changes", whole={"request-timeout": '"300ms"', "publish-timeout": '"400ms"'},
                 upstream={"unconfirmed-messages": "2", "warm-lanes": "1"})
        check("what is quick is not touched", confirmed(s))
    reloaded("back")


def scene_access():
    # Sections without user or group hold for root too; only control is root's in any case.
    with start() as s, start() as reader:
        reader.ask(channel=1, consume=pb.Consume(queue=reader.queue, consumer=1, credit_messages=100,
                                                 credit_bytes=1 << 20))
        reloaded("access sections appear", access=[("few", {"read": '".*"', "write": '"^(?!secret)"'})])
        s.open(2)
        frame, _ = s.ask(channel=2, queue_declare=pb.QueueDeclare(queue=b"new"))
        check_answer_error("a session that is there is refused what is no longer allowed", frame, pb.CHANNEL, 403,
                           "configure", "few")
        check("and may do what is", confirmed(s))
        check("a consumer's queue is published to", confirmed(s, b"still", key=reader.queue))
        frame, payload = reader.wait(lambda f: f.HasField("delivery"))
        check("a consumer that runs goes on", payload == b"still", frame)
        reloaded("its patterns change", access=[("few", EVERYTHING)])
        s.open(2, 2)
        frame, _ = s.ask(channel=2, queue_declare=pb.QueueDeclare(queue=b"new", exclusive=True))
        check("and it is allowed", frame.HasField("queue_declared"), frame)
    reloaded("and go again")


def scene_publish_again():
    """What was allowed is remembered for a stream of publishes; but not beyond a reload."""
    with start() as s:
        check("a publish is allowed", confirmed(s) and confirmed(s))
        reloaded("it is not any more", access=[("no", {"configure": '".*"', "read": '".*"'})])
        s.publish(1, s.queue, b"x")
        frame, _ = s.wait(lambda f: f.HasField("outcome"))
        check("the same publish again is refused", frame.outcome.kind == pb.NOT_SENT and
              frame.outcome.error.code == 403, frame)
    reloaded("back")


def other_user(function):
    """As apart(), from a process of another user."""
    def inside():
        os.setgroups([])
        os.setgid(OTHER_UID)
        os.setuid(OTHER_UID)
        return function()
    return apart(inside)


def scene_no_access():
    if os.geteuid() != 0:
        print("skipped: access that is taken away altogether: needs root, to be another user")
        return
    ready, told = os.pipe()

    def stays():
        s = start()
        s.publish(1, s.queue, b"before")
        s.wait(lambda f: f.HasField("outcome"))
        os.write(told, b"x")
        return describe(s.ends())

    pid = os.fork()
    if pid == 0:
        os.close(ready)
        said = other_user(stays)
        ok = said.startswith("403") and "no access section" in said
        if not ok:
            print(said, file=sys.stderr)
        os._exit(0 if ok else 1)
    os.close(told)
    check("another user has a session", os.read(ready, 1) == b"x")
    with start() as s:
        reloaded("nobody but root has access any more", access=[("root", {"user": '"root"', **EVERYTHING})])
        check("its session is ended with 403, and the reason", os.waitpid(pid, 0)[1] == 0)
        check("others are not disturbed", confirmed(s))
    said = other_user(lambda: describe(Session().hello().error))
    check("a new one is refused", said.startswith("403"), said)
    reloaded("back")


def scene_control():
    """Each command asks for the right to control, and for every upstream."""
    if os.geteuid() != 0:
        print("skipped: commands of other users: needs root, to be another user")
        return
    sections = [("boss", {"user": f'"{OTHER_UID}"', "control": "true", **EVERYTHING}),
                ("all", {"user": f'"{OTHER_UID + 1}"', **EVERYTHING})]
    reloaded("one user may control", access=sections)

    def command(uid, *args):
        done = subprocess.run([MUXCTL, *args], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                              user=uid, group=uid, extra_groups=[])
        return done.returncode, done.stderr
    for name in ("reload", "drain"):
        code, said = command(OTHER_UID + 1, name)
        check(f"{name} by a user who may not control is refused with 403", code == 1 and "403" in said and
              "control" in said, said)
    check("muxd goes on", status()["upstreams"][0]["state"] == "up")
    check("who may control may reload", command(OTHER_UID, "reload")[0] == 0, command(OTHER_UID, "reload"))
    reload(others=[("two", {})], access=[
        ("boss", {"user": f'"{OTHER_UID}"', "upstream": '"default"', "control": "true", **EVERYTHING}),
        ("rest", {"user": f'"{OTHER_UID}"', **EVERYTHING})])
    for name in ("reload", "drain"):
        code, said = command(OTHER_UID, name)
        check(f"{name} needs it for every upstream", code == 1 and "403" in said and "rest" in said, said)
    reloaded("back")
    check("the second upstream leaves", wait_for(lambda: upstream_of("two") is None))


def scenes():
    for name, scene in list(globals().items()):
        if name.startswith("scene_"):
            scene()


# --------------------------------------------------------------- upstreams


def leaves_with_its_rules():
    """An upstream goes, and so must the access section that names it: what its sessions may do stays until they leave."""
    if os.geteuid() != 0:
        print("skipped: access to an upstream that goes: needs root, to be another user")
        return
    rest = [("rest", {"upstream": '"default"', "control": "true", **EVERYTHING})]
    reloaded("an upstream appears with an access section", others=[("two", {})],
             access=rest + [("two", {"upstream": '"two"', **EVERYTHING, "write": '"^(?!no)"'})])
    check("it connects", wait_for(lambda: upstream_of("two")["state"] == "up"), status())
    ready, told = os.pipe()

    def stays():
        s = start(b"two")
        os.write(told, b"x")
        frame = s.wait(lambda f: f.HasField("go_away") or f.HasField("error"))[0]
        if not frame.HasField("go_away"):
            return describe(frame.error)
        s.open(2)
        if not s.ask(channel=2, queue_declare=pb.QueueDeclare(exclusive=True))[0].HasField("queue_declared"):
            return "no queue"
        s.publish(2, b"k", b"x", exchange=b"no")
        frame = s.wait(lambda f: f.HasField("outcome"))[0]
        if "section 'two'" not in describe(frame.outcome.error):
            return "what was refused is not: " + describe(frame.outcome.error)
        return "fine" if confirmed(s) else "not confirmed"

    pid = os.fork()
    if pid == 0:
        os.close(ready)
        said = other_user(stays)
        if said != "fine":
            print(said, file=sys.stderr)
        os._exit(0 if said == "fine" else 1)
    os.close(told)
    check("another user has a session of it", os.read(ready, 1) == b"x")
    reloaded("both go again", access=rest)
    check("it may finish", os.waitpid(pid, 0)[1] == 0)
    check("and the upstream is gone", wait_for(lambda: upstream_of("two") is None))
    reloaded("back")



def refused_uri():
    """An address where nothing listens."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f'{{ "{URI.partition(":")[0]}://127.0.0.1:{s.getsockname()[1]}" }}'


def upstreams():
    first = status()["upstreams"][0]
    with start() as s:
        done = reloaded("the address in use is removed", upstream={"uri": refused_uri()})
        check("which is said", "no longer listed" in done.stderr and first["endpoint"] in done.stderr, done.stderr)
        now = status()["upstreams"][0]
        check("the connection goes on", now["state"] == "up" and now["endpoint"] == first["endpoint"], now)
        check("and works", confirmed(s))
        reloaded("another password, for the next connection",
                 upstream={"uri": f'{{ "{URI.replace("//", "//guest:wrong@")}" }}'})
        check("the session does not notice", confirmed(s))
        reloaded("the address is back")
        check("the session did not notice", confirmed(s))

        reloaded("an upstream appears", others=[("two", {})])
        check("and connects", wait_for(lambda: upstream_of("two")["state"] == "up"), status())
        with start(b"two") as other:
            check("and takes sessions", confirmed(other))
            reloaded("it goes again")
            frame, _ = other.wait(lambda f: f.HasField("go_away"))
            check("its session is asked to leave, within drain-timeout", 0 < frame.go_away.deadline_ms <= 20000, frame)
            check("and may finish", confirmed(other))
            check("the upstream waits for it", upstream_of("two") is not None)
            with Session() as late:
                check_answer_error("a new session is refused", late.hello(upstream=b"two"), pb.SESSION, 404, "two")
        check("when it has left, the upstream is gone", wait_for(lambda: upstream_of("two") is None))

        leaves_with_its_rules()
        reloaded("again, with no time to leave", whole={"drain-timeout": '"100ms"'}, others=[("two", {})])
        check("it connects", wait_for(lambda: upstream_of("two")["state"] == "up"), status())
        with start(b"two") as other:
            reloaded("it goes", whole={"drain-timeout": '"100ms"'})
            check_session_error("who stays is ended with the reason", other, 320, "no longer")
        check("the upstream is gone", wait_for(lambda: upstream_of("two") is None))

        reloaded("the default one becomes the second", others=[])
        text = conf(others=[("two", {})])
        head, default, two = text.partition('upstream "default"')[0], 'upstream "default"', ""
        body = text[len(head):]
        two = body[body.index('upstream "two"'):body.index("limits")]
        default = body[:body.index('upstream "two"')]
        done = reload(head + two + default)
        check("order", done.returncode == 0, done.stderr)
        with Session() as fresh:
            check("the first of the file is the default", fresh.hello().welcome.upstream.name == b"two", fresh.welcome)
        check("and who is there stays where it was", confirmed(s))
    reloaded("back")

    reloaded("an upstream that cannot connect", others=[("far", {"uri": refused_uri(), "reconnect-min": '"1h"',
                                                                 "reconnect-max": '"1h"'})])
    check("is in back-off", wait_for(lambda: upstream_of("far")["state"] in ("backoff", "failed")), status())
    reloaded("gets an address that works", others=[("far", {"reconnect-min": '"1h"', "reconnect-max": '"1h"'})])
    check("and connects at once, not after its pause", wait_for(lambda: upstream_of("far")["state"] == "up"), status())
    reloaded("back")
    check("it leaves", wait_for(lambda: upstream_of("far") is None))


# ------------------------------------------------------------------- often


def often():
    swaps = []
    good = bad = 0
    for turn in range(40):
        size = len(log())
        if turn % 5 == 4:
            bad += reload(conf(limits={"sessions": "none"})).returncode == 1
            continue
        done = reload(limits={"prefetch": str(100 + turn), "total-memory": f'"{300 + turn}M"'},
                      upstream={"unconfirmed-messages": str(500 + turn), "warm-lanes": str(turn % 7)},
                      others=[("two", {})] if turn % 2 else [],
                      access=[("all", EVERYTHING)] if turn % 3 else [])
        good += done.returncode == 0
        swaps += [int(line.split("took ")[1].split()[0]) for line in log()[size:].splitlines() if "the swap took" in line]
    check("32 reloads were done, 8 refused", (good, bad) == (32, 8), (good, bad))
    print(f"the swap: {max(swaps)} us at most")
    reload(conf())
    check("the second upstream has left", wait_for(lambda: upstream_of("two") is None))


{"scenes": scenes, "upstreams": upstreams, "often": often}[sys.argv[1]]()
finish()
