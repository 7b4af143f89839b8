# shellcheck shell=bash
# Read after tests/integration/lib.sh, and need_systemd, by what tests the
# service: muxd installed in the systemd that we are in, as `make install` does
# it, and its units.
#
# A system call that the unit forbids ends muxd here, with SIGSYS: its answer
# when installed, EPERM, could go unnoticed.

units=/run/muxd-units
program=$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$builddir/systemd/muxd.service")

install_service() {
  install -D -m 0755 "$builddir/daemon/muxd" "$program" &&
    install -m 0644 "$builddir/systemd/muxd.service" "$srcdir/systemd/muxd.socket" "$units" &&
    systemd-sysusers "$srcdir/systemd/muxd.sysusers.conf" 2>"$scratch/sysusers.log" &&
    install -d -m 0755 /etc/muxd || exit 1
  # the service sees nothing of the test's folder
  [ -z "$OVER_TLS" ] || { tls_ca=/etc/muxd/ca.pem && install -m 0644 "$scratch/ca.pem" "$tls_ca" || exit 1; }
  drop_in muxd.service 00-test < <(test_drop_in)
}

test_drop_in() {
  say '[Service]'
  say 'SystemCallErrorNumber=kill'
  "$srcdir/tests/systemd/sanitized" "$builddir"
}

# UNIT NAME <TEXT
drop_in() {
  mkdir -p "$units/$1.d" && cat >"$units/$1.d/$2.conf" && systemctl daemon-reload
}

drop_out() { # UNIT NAME
  rm -f "$units/$1.d/$2.conf" && systemctl daemon-reload
}

property() { systemctl show -P "$1" "${2-muxd.service}"; } # NAME [UNIT]
property_is() { equal "$2" "$(property "$1" "${3-muxd.service}")"; } # NAME VALUE [UNIT]
property_has() { [[ $(property "$1" "${3-muxd.service}") == *$2* ]] || { property "$1" && return 1; }; }
main_pid() { property MainPID; }

journal() { journalctl -q --no-pager -o cat -u muxd.service "$@"; }
journal_has() { journal | grep -qF -- "$1" || { journal -n 10 && return 1; }; }
