/*
 * fairbench: what a flood of publishes costs its neighbours, and how those
 * that flood share. Names each goal and says whether this run met it.
 */
#include "tests/bench/fair.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS_MAX 99u
#define FLOODS_MAX 32u
#define RPC_RATIO_MAX 1.5
#define RATE_RATIO_MIN 0.6
#define SHARE_MAX 1.1
#define LINK_P50_USEC_MAX 10000.0
#define LINK_P99_USEC_MAX 20000.0
#define WARM_SECONDS 0.5

struct fair {
	const char *url;
	const char *socket;	 /* of the muxd that is measured */
	const char *free_socket; /* of one whose window is unbounded */
	const char *only;	 /* part of the titles that run; NULL: all */
	unsigned int rounds;
	double seconds; /* of one measurement */
	bool link;
	unsigned int goals, met;
	struct direct_admin *admin; /* NULL: no direct way to the broker */
	char copied_url[64];	    /* of a relay to the broker */
	struct relay relay;
	struct worker relay_worker;
};

static void goal(struct fair *fair, const char *what, double value, const char *unit, double bound, bool most)
{
	bool met = most ? value <= bound : value >= bound;

	fair->goals++;
	fair->met += met;
	printf("  %-44s %8.2f%s  (goal: %s %.2f%s)  %s\n", what, value, unit, most ? "at most" : "at least",
	       bound, unit, met ? "met" : "NOT MET");
}

static bool is_wanted(const struct fair *fair, const char *title)
{
	if (fair->only && !strstr(title, fair->only))
		return false;
	printf("\n%s\n", title);
	(void)fflush(stdout);
	return true;
}

/* ------------------------------------------------------------------ stretches of time */

struct stretch {
	double p50, p99; /* of the caller, in us */
	double calls;
	double rate;		     /* messages of all floods a second */
	double bytes_of[FLOODS_MAX]; /* a second, of each */
};

/* What floods and caller do in so many seconds; caller may be NULL. */
static void measure(struct worker *floods, size_t count, struct worker *caller, double seconds,
		    struct stretch *ret)
{
	unsigned long long messages[FLOODS_MAX], bytes[FLOODS_MAX];
	double began, took;
	unsigned int samples;

	*ret = (struct stretch){0};
	if (caller) {
		atomic_store(&caller->slot->sample_count, 0);
		workers_go(caller, 1);
	}
	began = bench_usec();
	for (size_t i = 0; i < count; i++) {
		messages[i] = atomic_load(&floods[i].slot->messages);
		bytes[i] = atomic_load(&floods[i].slot->bytes);
	}
	fair_sleep(seconds);
	took = (bench_usec() - began) / 1e6;
	for (size_t i = 0; i < count; i++) {
		ret->rate += (double)(atomic_load(&floods[i].slot->messages) - messages[i]) / took;
		ret->bytes_of[i] = (double)(atomic_load(&floods[i].slot->bytes) - bytes[i]) / took;
	}
	if (!caller)
		return;
	workers_rest(caller, 1);
	samples = atomic_load(&caller->slot->sample_count);
	ret->calls = samples / took;
	ret->p50 = percentile(caller->slot->samples, samples, 0.50);
	ret->p99 = percentile(caller->slot->samples, samples, 0.99);
}

static void start_floods(struct worker *floods, size_t count, const struct flood *flood)
{
	for (size_t i = 0; i < count; i++)
		worker_start(&floods[i], mux_flood, flood);
}

/* ------------------------------------------------------------------ a flood beside an RPC */

/*
 * The same RPC in several ways. Through muxd every publish is confirmed; on a
 * connection of its own it is with confirms, and as it is mostly done: without;
 * and with confirms through a process that does nothing but copy.
 */
enum way {
	WAY_MUX,
	WAY_PLAIN,
	WAY_CONFIRMED,
	WAY_COPIED,
	WAYS
};

static const struct rpc rpc_ways[WAYS] = {
    [WAY_MUX] = {NULL, "fair.mux.requests", "fair.mux.replies", false},
    [WAY_PLAIN] = {NULL, "fair.plain.requests", "fair.plain.replies", false},
    [WAY_CONFIRMED] = {NULL, "fair.confirmed.requests", "fair.confirmed.replies", true},
    [WAY_COPIED] = {NULL, "fair.copied.requests", "fair.copied.replies", true},
};

struct pair {
	struct worker server;
	struct worker caller;
	struct rpc rpc;
};

static void start_relay(struct fair *fair)
{
	unsigned int port;

	fair->relay.broker_port = direct_port(fair->url);
	fair->relay.listen_fd = relay_listen(&port);
	(void)snprintf(fair->copied_url, sizeof(fair->copied_url), "amqp://guest:guest@127.0.0.1:%u", port);
	worker_start(&fair->relay_worker, relay_run, &fair->relay);
}

static void start_pair(struct fair *fair, struct pair *pair, enum way way)
{
	pair->rpc = rpc_ways[way];
	pair->rpc.address = way == WAY_MUX ? fair->socket : way == WAY_COPIED ? fair->copied_url : fair->url;
	direct_admin_declare(fair->admin, pair->rpc.requests, QUEUE_TRANSIENT, 0);
	direct_admin_declare(fair->admin, pair->rpc.replies, QUEUE_TRANSIENT, 0);
	worker_start(&pair->server, way == WAY_MUX ? mux_rpc_server : direct_rpc_server, &pair->rpc);
	worker_start(&pair->caller, way == WAY_MUX ? mux_rpc_caller : direct_rpc_caller, &pair->rpc);
}

static void stop_pair(struct fair *fair, struct pair *pair)
{
	workers_stop(&pair->server, 1);
	workers_stop(&pair->caller, 1);
	direct_admin_delete(fair->admin, pair->rpc.requests);
	direct_admin_delete(fair->admin, pair->rpc.replies);
}

/* All rounds of a scenario. */
struct beside {
	struct worker free_floods[FLOODS_MAX];
	struct worker floods[FLOODS_MAX];
	struct pair pairs[WAYS];
	double free_rate[ROUNDS_MAX], rate[ROUNDS_MAX], ratio_rate[ROUNDS_MAX];
	double idle[WAYS][ROUNDS_MAX], p50[WAYS][ROUNDS_MAX], p99[WAYS][ROUNDS_MAX];
	/* that through muxd / this one's */
	double ratio_p50[WAYS][ROUNDS_MAX], ratio_p99[WAYS][ROUNDS_MAX];
};

static void measure_idle(struct fair *fair, struct beside *b, unsigned int r)
{
	for (unsigned int way = 0; way < WAYS; way++) {
		struct stretch stretch;

		measure(NULL, 0, &b->pairs[way].caller, fair->seconds / 4, &stretch);
		b->idle[way][r] = stretch.p50;
	}
}

static void run_round(struct fair *fair, struct beside *b, size_t count, unsigned int r)
{
	struct stretch stretch;

	measure_idle(fair, b, r);
	workers_go(b->free_floods, count);
	fair_sleep(WARM_SECONDS);
	measure(b->free_floods, count, NULL, fair->seconds, &stretch);
	b->free_rate[r] = stretch.rate;
	workers_rest(b->free_floods, count);
	direct_admin_purge(fair->admin, "fair.flood");
	workers_go(b->floods, count);
	fair_sleep(WARM_SECONDS);
	/* They take turns in going first. */
	for (unsigned int i = 0; i < WAYS; i++) {
		unsigned int way = (r + i) % WAYS;

		measure(b->floods, count, &b->pairs[way].caller, fair->seconds, &stretch);
		b->p50[way][r] = stretch.p50;
		b->p99[way][r] = stretch.p99;
		if (way == WAY_MUX)
			b->rate[r] = stretch.rate;
	}
	workers_rest(b->floods, count);
	direct_admin_purge(fair->admin, "fair.flood");
	b->ratio_rate[r] = b->rate[r] / b->free_rate[r];
	for (unsigned int way = 0; way < WAYS; way++) {
		b->ratio_p50[way][r] = b->p50[WAY_MUX][r] / b->p50[way][r];
		b->ratio_p99[way][r] = b->p99[WAY_MUX][r] / b->p99[way][r];
	}
}

static void report_beside(struct fair *fair, struct beside *b)
{
	static const char *const names[WAYS] = {"through muxd", "direct, plain", "direct, confirmed",
						"through a relay"};
	unsigned int n = fair->rounds;

	for (unsigned int way = 0; way < WAYS; way++)
		printf("  RPC %-18s p50 %4.0f us, p99 %5.0f us; without the flood p50 %4.0f us\n", names[way],
		       median(b->p50[way], n), median(b->p99[way], n), median(b->idle[way], n));
	printf("  flood beside it %.0f/s, free %.0f/s\n", median(b->rate, n), median(b->free_rate, n));
	for (unsigned int way = WAY_PLAIN; way < WAYS; way++) {
		char what[64];

		(void)snprintf(what, sizeof(what), "RPC p50 / %s", names[way]);
		goal(fair, what, median(b->ratio_p50[way], n), "", RPC_RATIO_MAX, true);
		(void)snprintf(what, sizeof(what), "RPC p99 / %s", names[way]);
		goal(fair, what, median(b->ratio_p99[way], n), "", RPC_RATIO_MAX, true);
	}
	goal(fair, "flood's rate / unbounded and alone", median(b->ratio_rate, n), "", RATE_RATIO_MIN, false);
}

static void flood_beside_rpc(struct fair *fair, size_t count, bool persistent, enum queue_kind kind)
{
	struct flood flood = {fair->socket, "fair.flood", 100, persistent, 1};
	struct flood free_flood = flood;
	struct beside *b;
	char title[100];

	(void)snprintf(title, sizeof(title), "flood of %zu, %s, 100 B, into a %s queue, beside an RPC", count,
		       persistent ? "persistent" : "transient", kind == QUEUE_QUORUM ? "quorum" : "classic");
	if (!is_wanted(fair, title))
		return;
	b = calloc(1, sizeof(*b));
	if (!b)
		bench_die("no memory");
	free_flood.socket = fair->free_socket;
	direct_admin_declare(fair->admin, "fair.flood", kind, 0);
	start_floods(b->floods, count, &flood);
	start_floods(b->free_floods, count, &free_flood);
	start_relay(fair);
	for (unsigned int way = 0; way < WAYS; way++)
		start_pair(fair, &b->pairs[way], (enum way)way);
	for (unsigned int r = 0; r < fair->rounds; r++)
		run_round(fair, b, count, r);
	report_beside(fair, b);
	workers_stop(&fair->relay_worker, 1);
	(void)close(fair->relay.listen_fd);
	for (unsigned int way = 0; way < WAYS; way++)
		stop_pair(fair, &b->pairs[way]);
	workers_stop(b->floods, count);
	workers_stop(b->free_floods, count);
	direct_admin_delete(fair->admin, "fair.flood");
	free(b);
}

/* ------------------------------------------------------------------ two that flood */

static void share(struct fair *fair, const char *title, const struct flood *one, const struct flood *other)
{
	const struct flood *specs[2] = {one, other};
	double shares[ROUNDS_MAX], rates[2][ROUNDS_MAX];
	struct worker floods[2];

	if (!is_wanted(fair, title))
		return;
	for (unsigned int i = 0; i < 2; i++) {
		direct_admin_declare(fair->admin, specs[i]->queue, QUEUE_TRANSIENT, 1000);
		worker_start(&floods[i], mux_flood, specs[i]);
	}
	workers_go(floods, 2);
	fair_sleep(WARM_SECONDS);
	for (unsigned int r = 0; r < fair->rounds; r++) {
		struct stretch stretch;

		measure(floods, 2, NULL, fair->seconds, &stretch);
		rates[0][r] = stretch.bytes_of[0];
		rates[1][r] = stretch.bytes_of[1];
		shares[r] = stretch.bytes_of[0] / stretch.bytes_of[1];
		if (shares[r] < 1)
			shares[r] = 1 / shares[r];
	}
	workers_stop(floods, 2);
	for (unsigned int i = 0; i < 2; i++)
		direct_admin_delete(fair->admin, specs[i]->queue);
	printf("  %.3f and %.3f MB of bodies a second\n", median(rates[0], fair->rounds) / 1e6,
	       median(rates[1], fair->rounds) / 1e6);
	goal(fair, "the larger share / the smaller", median(shares, fair->rounds), "", SHARE_MAX, true);
}

static void share_all(struct fair *fair)
{
	struct flood small = {fair->socket, "fair.a", 100, false, 1};
	struct flood other = {fair->socket, "fair.b", 100, false, 1};
	struct flood many = {fair->socket, "fair.b", 100, false, 10};
	struct flood large = {fair->socket, "fair.b", 65536, false, 1};

	if (!fair->link) {
		share(fair, "two that flood with 100 B", &small, &other);
		share(fair, "1 channel against 10 of another process, 100 B", &small, &many);
	}
	/* Where bytes are what is short. */
	if (fair->link)
		share(fair, "100 B messages against 64 KiB ones", &small, &large);
}

/* ------------------------------------------------------------------ a slow link */

static void link_rpc(struct fair *fair)
{
	struct flood flood = {fair->socket, "fair.flood", 1000000, false, 1};
	double p50[ROUNDS_MAX], p99[ROUNDS_MAX], idle[ROUNDS_MAX], rate[ROUNDS_MAX];
	struct worker publisher;
	struct pair pair;

	if (!is_wanted(fair, "1 MB messages on the link, beside an RPC"))
		return;
	direct_admin_declare(fair->admin, flood.queue, QUEUE_TRANSIENT, 2);
	start_floods(&publisher, 1, &flood);
	start_pair(fair, &pair, WAY_MUX);
	for (unsigned int r = 0; r < fair->rounds; r++) {
		struct stretch stretch;

		measure(NULL, 0, &pair.caller, fair->seconds, &stretch);
		idle[r] = stretch.p50;
		workers_go(&publisher, 1);
		fair_sleep(WARM_SECONDS);
		measure(&publisher, 1, &pair.caller, fair->seconds, &stretch);
		p50[r] = stretch.p50;
		p99[r] = stretch.p99;
		rate[r] = stretch.bytes_of[0];
		workers_rest(&publisher, 1);
	}
	stop_pair(fair, &pair);
	workers_stop(&publisher, 1);
	direct_admin_delete(fair->admin, flood.queue);
	printf("  RPC idle p50 %.2f ms; bodies at %.1f Mbit/s beside it\n", median(idle, fair->rounds) / 1e3,
	       median(rate, fair->rounds) * 8 / 1e6);
	goal(fair, "RPC p50 beside them", median(p50, fair->rounds) / 1e3, " ms", LINK_P50_USEC_MAX / 1e3,
	     true);
	goal(fair, "RPC p99 beside them", median(p99, fair->rounds) / 1e3, " ms", LINK_P99_USEC_MAX / 1e3,
	     true);
}

/* ------------------------------------------------------------------ all of it */

static void run_all(struct fair *fair)
{
	static const size_t counts[] = {1, 8, 32};

	if (fair->link) {
		link_rpc(fair);
		share_all(fair);
		return;
	}
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		flood_beside_rpc(fair, counts[i], false, QUEUE_TRANSIENT);
		flood_beside_rpc(fair, counts[i], true, QUEUE_DURABLE);
	}
	flood_beside_rpc(fair, 1, true, QUEUE_QUORUM);
	flood_beside_rpc(fair, 8, true, QUEUE_QUORUM);
	share_all(fair);
}

static void usage(FILE *out)
{
	fputs("usage: fairbench --url URL --socket PATH --free-socket PATH [OPTION]...\n"
	      "  --url URL           of the broker\n"
	      "  --socket PATH       of the muxd that is measured\n"
	      "  --free-socket PATH  of one whose window of unconfirmed publishes is unbounded\n"
	      "  --link              the scenarios for a slow link to the broker; needs no --free-socket\n"
	      "  --only TEXT         scenarios with TEXT in their titles\n"
	      "  --rounds N          default 5\n"
	      "  --seconds S         of one measurement; default 1\n",
	      out);
}

static unsigned int rounds_of(const char *text)
{
	long n = strtol(text, NULL, 10);

	if (n < 1 || n > (long)ROUNDS_MAX)
		bench_die("--rounds takes 1 to %u", ROUNDS_MAX);
	return (unsigned int)n;
}

static void read_options(struct fair *fair, int argc, char **argv)
{
	static const struct option longs[] = {{"url", required_argument, NULL, 'u'},
					      {"socket", required_argument, NULL, 's'},
					      {"free-socket", required_argument, NULL, 'f'},
					      {"link", no_argument, NULL, 'l'},
					      {"only", required_argument, NULL, 'o'},
					      {"rounds", required_argument, NULL, 'r'},
					      {"seconds", required_argument, NULL, 't'},
					      {"help", no_argument, NULL, 'h'},
					      {0}};
	int letter;

	while ((letter = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (letter == 'u')
			fair->url = optarg;
		else if (letter == 's')
			fair->socket = optarg;
		else if (letter == 'f')
			fair->free_socket = optarg;
		else if (letter == 'l')
			fair->link = true;
		else if (letter == 'o')
			fair->only = optarg;
		else if (letter == 'r')
			fair->rounds = rounds_of(optarg);
		else if (letter == 't')
			fair->seconds = strtod(optarg, NULL);
		else {
			usage(letter == 'h' ? stdout : stderr);
			exit(letter == 'h' ? EXIT_SUCCESS : 2);
		}
	}
	if (optind < argc || !fair->url || !fair->socket || (!fair->free_socket && !fair->link) ||
	    !(fair->seconds > 0)) {
		usage(stderr);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct fair fair = {.rounds = 5, .seconds = 1};

	(void)signal(SIGPIPE, SIG_IGN);
	read_options(&fair, argc, argv);
	fair.admin = direct_admin_new(fair.url);
	run_all(&fair);
	direct_admin_free(fair.admin);
	printf("\n%u of %u goals met in this run (medians of %u rounds)\n", fair.met, fair.goals,
	       fair.rounds);
	return EXIT_SUCCESS;
}
