# Floor 2: the multiplexer, pure.
noinst_LIBRARIES += daemon/mux/libmux.a
daemon_mux_libmux_a_SOURCES = \
	daemon/mux/mux.c daemon/mux/mux.h daemon/mux/state.h \
	daemon/mux/state/blame.h daemon/mux/state/channel.h daemon/mux/state/consumer.h daemon/mux/state/delivery.h \
	daemon/mux/state/lane.h daemon/mux/state/mux.h daemon/mux/state/op.h daemon/mux/state/queues.h \
	daemon/mux/state/session.h daemon/mux/state/share.h daemon/mux/state/topology.h daemon/mux/state/touch.h \
	daemon/mux/state/upstream.h \
	daemon/mux/alter.c daemon/mux/alter.h \
	daemon/mux/assemble.c daemon/mux/assemble.h \
	daemon/mux/audited.c daemon/mux/audited.h \
	daemon/mux/backlog.c daemon/mux/backlog.h \
	daemon/mux/blame.c daemon/mux/blame.h \
	daemon/mux/channel.c daemon/mux/channel.h \
	daemon/mux/clash.c daemon/mux/clash.h \
	daemon/mux/conn.c daemon/mux/conn.h \
	daemon/mux/consumer.c daemon/mux/consumer.h \
	daemon/mux/credit.c daemon/mux/credit.h \
	daemon/mux/culprit.c daemon/mux/culprit.h \
	daemon/mux/delivery.c daemon/mux/delivery.h \
	daemon/mux/dispatch.c daemon/mux/dispatch.h \
	daemon/mux/ending.c \
	daemon/mux/flow.c daemon/mux/flow.h \
	daemon/mux/handout.c daemon/mux/handout.h \
	daemon/mux/handshake.c daemon/mux/handshake.h \
	daemon/mux/hold.c daemon/mux/hold.h \
	daemon/mux/kinds.c daemon/mux/kinds.h \
	daemon/mux/lane.c daemon/mux/lane.h \
	daemon/mux/limit.c daemon/mux/limit.h \
	daemon/mux/meant.c daemon/mux/meant.h \
	daemon/mux/party.c daemon/mux/party.h \
	daemon/mux/window.c daemon/mux/window.h \
	daemon/mux/operations.c \
	daemon/mux/pace.c daemon/mux/pace.h \
	daemon/mux/probe.c daemon/mux/probe.h \
	daemon/mux/publish.c daemon/mux/publish.h \
	daemon/mux/queues.c daemon/mux/queues.h \
	daemon/mux/quirks.c daemon/mux/quirks.h \
	daemon/mux/recorder.c daemon/mux/recorder.h \
	daemon/mux/recovery.c daemon/mux/recovery.h \
	daemon/mux/redial.c daemon/mux/redial.h \
	daemon/mux/replay.c daemon/mux/replay.h \
	daemon/mux/request.c daemon/mux/request.h \
	daemon/mux/scout.c daemon/mux/scout.h \
	daemon/mux/session.c daemon/mux/session.h \
	daemon/mux/subscribe.c daemon/mux/subscribe.h \
	daemon/mux/suspect.c daemon/mux/suspect.h \
	daemon/mux/taken.c daemon/mux/taken.h \
	daemon/mux/topology.c daemon/mux/topology.h \
	daemon/mux/tx.c daemon/mux/tx.h \
	daemon/mux/uncommitted.c daemon/mux/uncommitted.h \
	daemon/mux/upstream.c daemon/mux/upstream.h \
	daemon/mux/user.c daemon/mux/user.h \
	daemon/mux/vet.c daemon/mux/vet.h
