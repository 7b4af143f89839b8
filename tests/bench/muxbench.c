/*
 * muxbench: options, rounds in turns, the table and the ratios.
 */
#include "tests/bench/bench.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS_MAX 99u
#define SIDES 2
#define PING_PONGS 5000u

static const struct side *const sides[SIDES] = {&side_direct, &side_mux};

static const struct {
	const char *name;
	const char *title;
} works[WORKS] = {
    [WORK_PUBLISH] = {"publish", "confirmed publish, window 1000"},
    [WORK_LATENCY] = {"latency", "publish and get it back, one at a time"},
    [WORK_CONSUME] = {"consume", "consume and acknowledge, prefetch 1000"},
    [WORK_ONE_SHOT] = {"oneshot", "process: connect, publish, await the confirm, close"},
};

/* All rounds of all works; a work that was left out has no rounds. */
struct results {
	struct round rounds[WORKS][SIDES][ROUNDS_MAX];
	struct round medians[WORKS][SIDES];
	double ping_pongs[ROUNDS_MAX];
	double ping_pong; /* median; 0: not measured */
	struct idle idle;
	int done[WORKS];
	int idle_done;
};

/* ------------------------------------------------------------------ rounds */

static void run_one(const struct bench *bench, enum bench_work work, const struct side *side,
		    struct round *ret)
{
	struct run run = {.bench = bench, .count = bench->counts[work]};

	run.samples = calloc(run.count, sizeof(*run.samples));
	if (!run.samples)
		bench_die("no memory");
	side->works[work](&run);
	*ret = run.round;
	free(run.samples);
}

static double median_of(const struct round *rounds, unsigned int count, size_t offset)
{
	double values[ROUNDS_MAX];
	unsigned int i;

	for (i = 0; i < count; i++)
		memcpy(&values[i], (const char *)&rounds[i] + offset, sizeof(values[i]));
	return median(values, count);
}

static void take_medians(struct results *results, enum bench_work work, unsigned int count)
{
	unsigned int s;

	for (s = 0; s < SIDES; s++) {
		const struct round *rounds = results->rounds[work][s];
		struct round *to = &results->medians[work][s];

		to->rate = median_of(rounds, count, offsetof(struct round, rate));
		to->p50 = median_of(rounds, count, offsetof(struct round, p50));
		to->p99 = median_of(rounds, count, offsetof(struct round, p99));
		to->client_cpu = median_of(rounds, count, offsetof(struct round, client_cpu));
		to->muxd_cpu = median_of(rounds, count, offsetof(struct round, muxd_cpu));
		to->broker_cpu = median_of(rounds, count, offsetof(struct round, broker_cpu));
	}
	results->done[work] = 1;
}

/* The sides take turns in going first. */
static void run_work(const struct bench *bench, enum bench_work work, struct results *results)
{
	unsigned int r, s, side;

	for (r = 0; r < bench->rounds; r++) {
		if (work == WORK_LATENCY)
			results->ping_pongs[r] = ping_pong(PING_PONGS);
		for (s = 0; s < SIDES; s++) {
			side = (s + r) % SIDES;
			run_one(bench, work, sides[side], &results->rounds[work][side][r]);
		}
	}
	if (work == WORK_LATENCY)
		results->ping_pong = median(results->ping_pongs, bench->rounds);
	take_medians(results, work, bench->rounds);
}

/* ------------------------------------------------------------------ report */

static void print_cell(double value, int shown, const char *format_wide)
{
	if (shown)
		printf("%11.*f", value < 10 ? 2 : value < 1000 ? 1 : 0, value);
	else
		printf("%11s", format_wide);
}

static void print_work(const struct bench *bench, const struct results *results, enum bench_work work)
{
	const struct round *round;
	unsigned int s;

	printf("\n%s (%llu a round)\n", works[work].title, (unsigned long long)bench->counts[work]);
	printf("  %-8s%11s%11s%11s%11s%11s%11s\n", "", "rate/s", "p50 us", "p99 us", "client us", "muxd us",
	       "broker us");
	for (s = 0; s < SIDES; s++) {
		round = &results->medians[work][s];
		printf("  %-8s%11.0f", sides[s]->name, round->rate);
		print_cell(round->p50, work != WORK_CONSUME, "-");
		print_cell(round->p99, work != WORK_CONSUME, "-");
		print_cell(round->client_cpu, 1, "");
		print_cell(round->muxd_cpu, sides[s] == &side_mux, "-");
		print_cell(round->broker_cpu, bench->broker_pid != 0, "-");
		putchar('\n');
	}
}

static void print_ratio(const char *what, double value, const char *unit, const char *goal)
{
	printf("  %-72s %7.2f%s  (to head for: %s)\n", what, value, unit, goal);
}

static void print_ratios(const struct results *results)
{
	const struct round *publish = results->medians[WORK_PUBLISH];
	const struct round *consume = results->medians[WORK_CONSUME];
	const struct round *latency = results->medians[WORK_LATENCY];

	puts("\nratios");
	if (results->done[WORK_PUBLISH])
		print_ratio("muxd's CPU per confirmed publish / librabbitmq's own, direct",
			    publish[1].muxd_cpu / publish[0].client_cpu, "", "0.4");
	if (results->done[WORK_CONSUME])
		print_ratio("muxd's CPU per message consumed and acked / librabbitmq's own, direct",
			    consume[1].muxd_cpu / consume[0].client_cpu, "", "0.5");
	if (results->done[WORK_LATENCY])
		print_ratio("publish-and-get-back p50 minus the direct one, in ping-pongs",
			    (latency[1].p50 - latency[0].p50) / results->ping_pong, "", "1.5");
	if (results->idle_done)
		print_ratio("muxd's resident memory per idle session with a channel",
			    results->idle.rss_bytes / 1024, " KiB", "8 KiB");
}

static void print_all(const struct bench *bench, const struct results *results)
{
	int work;

	printf("muxbench: %u-byte messages, medians of %u rounds; CPU in us for each message\n",
	       BENCH_BODY_BYTES, bench->rounds);
	for (work = 0; work < WORKS; work++) {
		if (results->done[work])
			print_work(bench, results, (enum bench_work)work);
	}
	if (results->ping_pong > 0)
		printf("\nsocketpair ping-pong, p50: %.2f us\n", results->ping_pong);
	if (results->idle_done)
		printf("\n%zu idle sessions with a channel: %.0f bytes each of muxd's resident memory "
		       "(%.0f by its own count); muxd then has %.1f MiB\n",
		       bench->sessions, results->idle.rss_bytes, results->idle.told_bytes,
		       results->idle.muxd_rss_kib / 1024);
	print_ratios(results);
}

/* ----------------------------------------------------------------- options */

static void usage(FILE *out)
{
	fputs("usage: muxbench [OPTION]...\n"
	      "  --url URL          of the broker; default amqp://127.0.0.1\n"
	      "  --socket PATH      of a muxd that is connected to it\n"
	      "  -n, --count N      messages a round; latency N/20, processes N/500; default 50000\n"
	      "  --rounds N         default 5\n"
	      "  --sessions N       idle ones; default 2000\n"
	      "  --only NAME        publish, latency, consume, oneshot or idle\n"
	      "  --broker-pid PID   shows the broker's CPU as well\n",
	      out);
}

static uint64_t number(const char *text, uint64_t min, uint64_t max)
{
	unsigned long long value;
	char *end;

	value = strtoull(text, &end, 10);
	if (!*text || *end || value < min || value > max)
		bench_die("'%s' is not a number from %llu to %llu", text, (unsigned long long)min,
			  (unsigned long long)max);
	return value;
}

static void set_counts(struct bench *bench, uint64_t n)
{
	bench->counts[WORK_PUBLISH] = n;
	bench->counts[WORK_CONSUME] = n;
	bench->counts[WORK_LATENCY] = n / 20 ? n / 20 : 1;
	bench->counts[WORK_ONE_SHOT] = n / 500 ? n / 500 : 1;
}

static void set_only(struct bench *bench, const char *name)
{
	int work, found = strcmp(name, "idle") == 0;

	if (!found)
		bench->sessions = 0;
	for (work = 0; work < WORKS; work++) {
		if (strcmp(works[work].name, name) == 0)
			found = 1;
		else
			bench->counts[work] = 0;
	}
	if (!found)
		bench_die("there is no bench '%s'; there are publish, latency, consume, oneshot, idle", name);
}

static void take_option(struct bench *bench, int letter, const char **only)
{
	switch (letter) {
	case 'u':
		bench->url = optarg;
		break;
	case 's':
		bench->socket = optarg;
		break;
	case 'n':
		set_counts(bench, number(optarg, 1, 100000000));
		break;
	case 'r':
		bench->rounds = (unsigned int)number(optarg, 1, ROUNDS_MAX);
		break;
	case 'i':
		bench->sessions = number(optarg, 0, 100000);
		break;
	case 'o':
		*only = optarg;
		break;
	case 'b':
		bench->broker_pid = (pid_t)number(optarg, 1, 1u << 30);
		break;
	case 'h':
		usage(stdout);
		exit(EXIT_SUCCESS);
	default:
		usage(stderr);
		exit(2);
	}
}

static void read_options(struct bench *bench, int argc, char **argv)
{
	static const struct option longs[] = {{"url", required_argument, NULL, 'u'},
					      {"socket", required_argument, NULL, 's'},
					      {"count", required_argument, NULL, 'n'},
					      {"rounds", required_argument, NULL, 'r'},
					      {"sessions", required_argument, NULL, 'i'},
					      {"only", required_argument, NULL, 'o'},
					      {"broker-pid", required_argument, NULL, 'b'},
					      {"help", no_argument, NULL, 'h'},
					      {0}};
	const char *only = NULL;
	int letter;

	while ((letter = getopt_long(argc, argv, "n:h", longs, NULL)) != -1)
		take_option(bench, letter, &only);
	if (optind < argc) {
		usage(stderr);
		exit(2);
	}
	if (only)
		set_only(bench, only);
}

/* muxbench --one-shot SIDE ADDRESS QUEUE: what one_shot_run() starts. */
static int one_shot(char **argv)
{
	int s;

	for (s = 0; s < SIDES; s++) {
		if (strcmp(sides[s]->name, argv[2]) == 0) {
			sides[s]->one_shot(argv[3], argv[4]);
			return EXIT_SUCCESS;
		}
	}
	return 2;
}

int main(int argc, char **argv)
{
	struct bench bench = {.url = "amqp://127.0.0.1", .rounds = 5, .sessions = 2000};
	struct results *results = calloc(1, sizeof(*results));
	int work;

	(void)signal(SIGPIPE, SIG_IGN);
	if (argc == 5 && strcmp(argv[1], "--one-shot") == 0) {
		free(results);
		return one_shot(argv);
	}
	if (!results)
		bench_die("no memory");
	set_counts(&bench, 50000);
	read_options(&bench, argc, argv);
	bench.muxd_pid = mux_daemon_pid(&bench);
	if (bench.sessions > 0) {
		idle_measure(&bench, &results->idle);
		results->idle_done = 1;
	}
	for (work = 0; work < WORKS; work++) {
		if (bench.counts[work] > 0)
			run_work(&bench, (enum bench_work)work, results);
	}
	print_all(&bench, results);
	free(results);
	return EXIT_SUCCESS;
}
