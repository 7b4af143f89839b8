# shellcheck shell=bash
# Part of tests/package/run: the packages under a systemd. There is no network
# in there: what is installed has been downloaded before.

boot() {
  # shellcheck disable=SC2034 # lib.sh's
  SYSTEMD_IN_PLACE=yes
  systemd_start "$work/systemd" "$work/target" || { echo "package: systemd does not start" && exit 1; }
}
inside() { systemd_run "${clean_environment[@]}" "$@"; }
# USER COMMAND: as one who has just logged in
as_user() { inside su - "$1" -c "$2"; }
waits_for() { # SECONDS COMMAND...
  local end=$((SECONDS + $1))
  shift
  until "$@" >"$work/waited" 2>&1; do
    [ "$SECONDS" -lt "$end" ] || { cat "$work/waited" && return 1; }
    sleep 0.2
  done
}
is() { [ "$("${@:2}")" = "$1" ]; } # EXPECTED COMMAND...
active() { inside systemctl is-active "$@"; }
apt_install() { inside sh -euc "cd /root && apt-get -qy $1"; }
muxd_pid() { inside systemctl show -P MainPID muxd.service; }
# All that there is but what others write to.
everything() {
  inside find / -xdev \( -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/cache -o -path /var/log -o -path /root \
    -o -path /var/lib/rabbitmq -o -path /build \) -prune -o -print | sort
}
ours() { everything | grep -E 'mux(d|ctl|client|c_)'; }

prepare_target() {
  step "a system with systemd, and what is to be installed"
  tree_copy "$work/base" "$work/target"
  cp "$packages"/now/muxd_*.deb "$packages"/now/muxctl_*.deb "$packages"/now/libmuxclient0_*.deb "$work/target/root"
  mkdir "$work/target/root/next"
  cp "$packages"/programs/* "$work/target/usr/local/bin"
  cp "$packages"/next/muxd_*.deb "$packages"/next/muxctl_*.deb "$packages"/next/libmuxclient0_*.deb "$work/target/root/next"
  must "$work/log" in_tree "$work/target" apt-get -qy install systemd-sysv dbus adduser
  must "$work/log" in_tree "$work/target" sh -euc 'cd /root && apt-get -qy --download-only install ./*.deb rabbitmq-server
    for user in alice bob; do adduser --quiet --disabled-password --gecos "" $user; done'
  boot
  ours >"$work/ours-before"
}

# README.md's steps, word by word.
test_first_publish() {
  step "README.md, from the package to the first confirmed publish"
  block "$srcdir/README.md" sh 'tests/package/run: as root' >"$work/target/root/steps"
  block "$srcdir/README.md" sh 'tests/package/run: as alice' >"$work/target/home/alice/steps"
  check "it has the steps" grep -q 'muxctl publish' "$work/target/home/alice/steps"
  sed -n "/<<'END'/,/^END/p" "$work/target/root/steps" | sed '1d;$d' >"$work/five"
  check "with at most five lines of configuration" test "$(wc -l <"$work/five")" -ge 1 -a "$(wc -l <"$work/five")" -le 5
  must "$work/log" inside sh -euxc 'cd /root && . ./steps'
  ok
  check "as alice they end with a confirm" as_user alice 'sh -eux ./steps'
  check "her message is there" is 'resize cat.jpg' as_user alice 'muxctl get jobs'
  check_not "bob is not let in" as_user bob 'muxctl ping'
  check "muxd is active" active muxd.service muxd.socket
  check "and will be at the next boot" inside systemctl is-enabled muxd.service muxd.socket
  check "it runs as muxd" is muxd inside stat -c %U "/proc/$(muxd_pid)"
  check "the socket is root's and of the group muxd" is 'root muxd 660' inside stat -c '%U %G %a' /run/muxd/muxd.sock
  check "nobody but root can read the password" is 'root 600' inside stat -c '%U %a' /etc/credstore/muxd.broker-password
  check_not "it is not in the log" inside sh -c 'journalctl -u muxd --no-pager | grep -Ff /etc/credstore/muxd.broker-password'
}

test_boot() {
  step "the machine is started anew"
  inside systemctl stop muxd.service muxd.socket rabbitmq-server.service
  systemd_stop
  rm -rf "$work/systemd"
  boot
  check "RabbitMQ is back" waits_for 120 inside rabbitmqctl await_startup
  check "muxd is back" waits_for 60 active muxd.service
  check "and publishes" as_user alice 'muxctl --timeout 60s publish -m -r jobs again'
  check "what was published" is again as_user alice 'muxctl get jobs'
}

# Programs that use libmuxclient and know nothing of upgrades: one that publishes,
# one that consumes, and one after the other that connects, publishes and ends.
start_clients() {
  check "a queue is declared" as_user alice 'muxctl declare queue numbers --durable'
  as_user alice 'exec worker numbers 0' >"$work/consumed" 2>&1 </dev/null &
  as_user alice 'exec goes-on numbers /tmp/enough' >"$work/published" 2>"$work/publish.log" </dev/null &
  publisher=$!
  as_user alice 'while [ ! -e /tmp/enough ]; do publish jobs once || exit 1; done' >"$work/visits" 2>&1 </dev/null &
  visitors=$!
}
lines_are_more() { [ "$(wc -l <"$2")" -gt "$1" ]; } # NUMBER FILE
# FILE: the clients do so much more than now
go_on() { waits_for 120 lines_are_more "$(($(wc -l <"$1") + 20))" "$1"; }
has_consumed_all() { sed -n 's/^done: //p' "$work/consumed" | sort -nu | cmp - "$work/published"; }

test_upgrade() {
  local before inode now
  step "an upgrade under clients"
  before=$(muxd_pid)
  inode=$(inside stat -c %i /run/muxd/muxd.sock)
  start_clients
  check "clients are at work" go_on "$work/published"
  check "the upgrade succeeds" apt_install 'install ./next/*.deb'
  now=$(muxd_pid)
  check "muxd runs" active muxd.service
  check "it is another one" test "$now" -gt 1 -a "$now" != "$before"
  # shellcheck disable=SC2016
  check "of the next version" is 3 inside sh -c 'dpkg-query -W -f "\${Version}\n" muxd muxctl libmuxclient0 | grep -c next'
  check "the socket is the same" is "$inode" inside stat -c %i /run/muxd/muxd.sock
  check "the one that publishes goes on" go_on "$work/published"
  check "and others come" go_on "$work/visits"
  inside touch /tmp/enough
  check "all that was published was confirmed" wait "$publisher"
  check "nobody was refused" wait "$visitors"
  cat "$work/publish.log"
  grep -v '^confirmed$' "$work/visits"
  check "all that was confirmed was consumed" waits_for 60 has_consumed_all
}

test_broken() {
  step "a configuration that is broken"
  inside cp /etc/muxd/muxd.conf /root/good.conf
  inside sh -c 'echo "upstream \"default\" {" >/etc/muxd/muxd.conf'
  check "does not make apt fail" apt_install '--reinstall install ./next/*.deb'
  check "the packages are installed" is 'install ok installed' inside dpkg-query -W -f '${Status}' muxd
  check_not "muxd does not run" active muxd.service
  # The one that consumes has systemd try again, a few times.
  check "systemctl status tells why" waits_for 60 inside sh -c 'text=$(systemctl status muxd.service)
    case $text in *muxd.conf:*) ;; *) echo "$text" && false ;; esac'
  check "the broken file has been left alone" is 'upstream "default" {' inside cat /etc/muxd/muxd.conf
  inside cp /root/good.conf /etc/muxd/muxd.conf
  check "mended, it runs again" inside sh -c 'systemctl reset-failed muxd.socket muxd.service
    systemctl restart muxd.socket muxd.service ||
    { systemctl status muxd.socket muxd.service; journalctl -u muxd.service -u muxd.socket --no-pager -n 30; false; }'
  check "and publishes" as_user alice 'muxctl --timeout 60s publish -m -r jobs mended'
}

test_removal() {
  step "removed, purged, installed again"
  check "remove" apt_install 'remove muxd'
  check_not "nothing runs" active muxd.service muxd.socket
  check_not "the socket is gone" inside test -e /run/muxd
  check "the configuration has been kept" inside cmp /root/good.conf /etc/muxd/muxd.conf
  check "installed again it is as before" apt_install 'install ./next/muxd_*.deb'
  check "with what it had" as_user alice 'muxctl --timeout 60s publish -m -r jobs kept'
  check "purge" apt_install 'purge muxd muxctl libmuxclient0'
  ours >"$work/ours-after"
  check "nothing is left" diff "$work/ours-before" "$work/ours-after"
  check "but user and group, as README.Debian says" inside getent passwd muxd
  everything >"$work/everything-before"
  check "installed once more it comes with its defaults" apt_install 'install ./*.deb'
  check "muxd runs" active muxd.service muxd.socket
  check "and serves the broker on this host" as_user alice 'muxctl --timeout 60s publish -m -r jobs anew'
  check "debian/tests/first-publish" inside sh -c "$(cat "$srcdir/debian/tests/first-publish")"
  check "purge" apt_install 'purge muxd muxctl libmuxclient0'
  everything >"$work/everything-after"
  check "nothing at all has been left" diff "$work/everything-before" "$work/everything-after"
}

test_service() {
  prepare_target
  test_first_publish
  test_boot
  test_upgrade
  test_broken
  test_removal
  systemd_stop
}
