# The simulation: 1,000 seeds in make check; more by hand, tests/sim/sim -n RUNS -s FIRST_SEED.
check_PROGRAMS += tests/sim/sim
TESTS += tests/sim/sim
EXTRA_DIST += tests/unit/random.h
tests_sim_sim_SOURCES = \
	tests/sim/sim.c tests/sim/sim.h tests/sim/world.c tests/sim/client.c tests/sim/ops.c \
	tests/sim/events.c tests/sim/handover.c tests/sim/link.c tests/sim/wire.c tests/sim/wire_up.c \
	tests/sim/wire_down.c tests/sim/check.c tests/sim/look.c tests/sim/topology.c tests/sim/faults.c tests/sim/cover.c tests/sim/cover.h
tests_sim_sim_LDADD = \
	daemon/mux/libmux.a tests/broker/libbroker.a daemon/amqp/libamqp.a daemon/base/libbase.a proto/libproto.la
