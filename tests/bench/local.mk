# Compares libmuxclient through muxd with librabbitmq direct; run by tests/bench/run.
if HAVE_RABBITMQ
noinst_PROGRAMS += tests/bench/muxbench
endif
tests_bench_muxbench_SOURCES = \
	tests/bench/muxbench.c tests/bench/bench.h tests/bench/measure.c tests/bench/direct.c \
	tests/bench/rabbit.c tests/bench/rabbit.h \
	tests/bench/mux.c tests/bench/oneshot.c tests/bench/idle.c
tests_bench_muxbench_CPPFLAGS = $(AM_CPPFLAGS) $(RABBITMQ_CFLAGS)
tests_bench_muxbench_LDADD = client/libmuxclient.la $(RABBITMQ_LIBS)
dist_noinst_SCRIPTS += tests/bench/run

# What a flood costs its neighbours; run by tests/bench/fairness.
if HAVE_RABBITMQ
noinst_PROGRAMS += tests/bench/fairbench
endif
tests_bench_fairbench_SOURCES = \
	tests/bench/fairbench.c tests/bench/fair.h tests/bench/bench.h tests/bench/measure.c \
	tests/bench/fairwork.c tests/bench/fairrelay.c tests/bench/fairmux.c tests/bench/fairdirect.c \
	tests/bench/rabbit.c tests/bench/rabbit.h
tests_bench_fairbench_CPPFLAGS = $(AM_CPPFLAGS) $(RABBITMQ_CFLAGS)
tests_bench_fairbench_LDADD = client/libmuxclient.la $(RABBITMQ_LIBS)
dist_noinst_SCRIPTS += tests/bench/fairness

# What one publish costs a process from its start to its end; run by tests/bench/run --once. Without libtool's
# script around it, which costs more than what is measured.
noinst_PROGRAMS += tests/bench/oncebench tests/bench/oncebare tests/bench/oncemux
tests_bench_oncebench_SOURCES = tests/bench/oncebench.c
tests_bench_oncebare_SOURCES = tests/bench/oncebare.c
tests_bench_oncemux_SOURCES = tests/bench/oncemux.c
tests_bench_oncemux_CPPFLAGS = -I$(top_srcdir)/client
tests_bench_oncemux_LDFLAGS = $(AM_LDFLAGS) -no-install
tests_bench_oncemux_LDADD = client/libmuxclient.la
