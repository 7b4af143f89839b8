# The simulation: some seeds in make check; more by hand, tests/sim/sim -n RUNS -s FIRST_SEED.
check_PROGRAMS += tests/sim/sim
TESTS += tests/sim/sim
EXTRA_DIST += tests/unit/random.h
tests_sim_sim_SOURCES = \
	tests/sim/sim.c tests/sim/sim.h tests/sim/world.c tests/sim/client.c tests/sim/ops.c \
	tests/sim/events.c tests/sim/handover.c tests/sim/link.c tests/sim/wire.c tests/sim/wire_up.c \
	tests/sim/wire_down.c tests/sim/check.c tests/sim/look.c tests/sim/topology.c tests/sim/faults.c tests/sim/expiry.c tests/sim/doubt.c tests/sim/replies.c tests/sim/overtake.c tests/sim/shares.c tests/sim/traps.c \
	tests/sim/cover.c tests/sim/cover.h
tests_sim_sim_LDADD = \
	daemon/mux/libmux.a tests/broker/libbroker.a daemon/amqp/libamqp.a daemon/base/libbase.a proto/libproto.la

# Transactions, apart from it.
check_PROGRAMS += tests/sim/tx
TESTS += tests/sim/tx
tests_sim_tx_SOURCES = tests/sim/tx.c
tests_sim_tx_LDADD = tests/rig/librig.a $(tests_sim_sim_LDADD)

# The same with $(MUTANT)/mutant.c instead of the file that has its functions, for tests/sim/mutants.
sim-mutant: tests/sim/sim
	$(COMPILE) -Wno-error -c -o $(MUTANT)/mutant.o $(MUTANT)/mutant.c
	$(LIBTOOL) --tag=CC --mode=link $(CCLD) $(AM_CFLAGS) $(CFLAGS) $(LDFLAGS) -o $(MUTANT)/sim \
		$(tests_sim_sim_OBJECTS) $(MUTANT)/mutant.o $(tests_sim_sim_LDADD) $(LIBS)
.PHONY: sim-mutant

dist_noinst_SCRIPTS += tests/sim/mutants
dist_check_SCRIPTS += tests/sim/planted
TESTS += tests/sim/planted
EXTRA_DIST += tests/sim/mutations
