/*
 * The end of an account: what is left in the queues, the counts, and which
 * guarantee is broken. Prints `ok: ...` or `FAILED: ...` for each guarantee.
 */
#include "config.h"

#include "tests/e2e/account.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------------- queues */

struct visitor {
	struct ledger *ledger;
	struct muxc *c;
	struct muxc_channel *channel;
	uint64_t count;
};

/* Calls it for the name of each queue, the victim's too. */
static uint64_t visit_queues(struct ledger *ledger, void (*visit)(struct visitor *visitor, const char *queue))
{
	struct visitor visitor = {.ledger = ledger, .c = connect_to_muxd(ledger, "account", NULL)};
	char name[128];

	if (muxc_channel_open(visitor.c, NULL, &visitor.channel) < 0)
		exit(2);
	for (unsigned int i = 0; i <= ledger->settings.consumers; i++) {
		queue_name(&ledger->settings, i, name, sizeof(name));
		visit(&visitor, name);
	}
	muxc_channel_free(visitor.channel);
	muxc_free(visitor.c);
	return visitor.count;
}

static void trouble(struct visitor *visitor, const char *what, int r, const struct muxc_error *error)
{
	ledger_client_error(visitor->ledger, "account", what, r, error);
}

static void count_waiting(struct visitor *visitor, const char *name)
{
	struct muxc_queue queue = {.size = sizeof(queue), .name = name, .flags = MUXC_PASSIVE};
	struct muxc_queue_info info = {.size = sizeof(info)};
	struct muxc_error error = MUXC_ERROR_INIT;
	int r = muxc_queue_declare(visitor->channel, &queue, &info, 0, &error);

	if (r < 0)
		trouble(visitor, "look at a queue", r, &error);
	else
		visitor->count += info.messages;
}

static void delete_queue(struct visitor *visitor, const char *name)
{
	struct muxc_error error = MUXC_ERROR_INIT;
	uint32_t messages = 0;
	int r = muxc_queue_delete(visitor->channel, name, 0, &messages, 0, &error);

	if (r < 0)
		trouble(visitor, "delete a queue", r, &error);
	else if (messages)
		ledger_complain(visitor->ledger, COUNT_UNEXPECTED, "%u messages were left over in queue %s",
				messages, name);
}

uint64_t waiting_in_queues(struct ledger *ledger)
{
	return visit_queues(ledger, count_waiting);
}

void empty_queues(struct ledger *ledger)
{
	visit_queues(ledger, delete_queue);
}

/* --------------------------------------------------------------------- records */

/* Calls it for each message that was published; returns how often it was true. */
static uint64_t count_records(struct ledger *ledger, bool (*is)(uint8_t outcome, uint8_t seen))
{
	uint64_t count = 0;

	for (unsigned int p = 0; p < ledger->settings.publishers; p++) {
		uint64_t attempted = atomic_load(&ledger->attempted[p]);

		for (uint64_t n = 1; n <= attempted; n++) {
			struct record *record = ledger_find(ledger, p, n);

			count += record && is(atomic_load(&record->outcome), atomic_load(&record->seen));
		}
	}
	return count;
}

static bool is_lost(uint8_t outcome, uint8_t seen)
{
	return outcome == MUXC_CONFIRMED && seen == 0;
}

static bool has_no_outcome(uint8_t outcome, uint8_t seen)
{
	return outcome == 0;
}

static bool failed_but_came(uint8_t outcome, uint8_t seen)
{
	return outcome == MUXC_FAILED && seen != 0;
}

uint64_t count_unseen(struct ledger *ledger)
{
	return count_records(ledger, is_lost);
}

/* ---------------------------------------------------------------------- faults */

struct times {
	uint64_t first[FAULTS_MAX], all[FAULTS_MAX]; /* to the first delivery, until each consumer had one */
	unsigned int count, unsettled;
	uint64_t marked_max;
};

static int compare_times(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return a < b ? -1 : a > b;
}

static void add_fault(const struct settings *settings, struct fault *fault, struct times *times)
{
	uint64_t back = atomic_load(&fault->back_usec), first = UINT64_MAX, last = 0;
	uint64_t marked = atomic_load(&fault->marked);

	if (marked > times->marked_max)
		times->marked_max = marked;
	for (unsigned int i = 0; i < settings->consumers; i++) {
		uint64_t at = atomic_load(&fault->first_usec[i]);

		if (at == 0 || back == 0) {
			times->unsettled++;
			return;
		}
		if (at < first)
			first = at;
		if (at > last)
			last = at;
	}
	times->first[times->count] = first - back;
	times->all[times->count++] = last - back;
}

static double median_ms(uint64_t *times, unsigned int count)
{
	qsort(times, count, sizeof(*times), compare_times);
	return count ? (double)times[count / 2] / 1e3 : 0;
}

static double max_ms(const uint64_t *sorted, unsigned int count)
{
	return count ? (double)sorted[count - 1] / 1e3 : 0;
}

/* One line for all faults of that kind; returns how many had no delivery afterwards. */
static unsigned int print_kind(struct ledger *ledger, const char *kind, uint64_t *marked_max)
{
	struct times *times = calloc(1, sizeof(*times));
	unsigned int unsettled;
	double median, median_all;

	if (!times)
		exit(2);
	for (unsigned int i = 0; i < atomic_load(&ledger->fault_count); i++)
		if (strcmp(ledger->faults[i].kind, kind) == 0)
			add_fault(&ledger->settings, &ledger->faults[i], times);
	median = median_ms(times->first, times->count);
	median_all = median_ms(times->all, times->count);
	printf("fault: %-16s %4u times; from the broker's return to the first delivery median %.1f ms, "
	       "max %.1f ms; until each consumer had one median %.1f ms, max %.1f ms; marked at most %llu\n",
	       kind, times->count + times->unsettled, median, max_ms(times->first, times->count), median_all,
	       max_ms(times->all, times->count), (unsigned long long)times->marked_max);
	if (times->marked_max > *marked_max)
		*marked_max = times->marked_max;
	unsettled = times->unsettled;
	free(times);
	return unsettled;
}

static unsigned int print_faults(struct ledger *ledger, uint64_t *marked_max)
{
	unsigned int unsettled = 0;

	for (unsigned int i = 0; i < atomic_load(&ledger->fault_count); i++) {
		bool is_first = true;

		for (unsigned int j = 0; j < i && is_first; j++)
			is_first = strcmp(ledger->faults[i].kind, ledger->faults[j].kind) != 0;
		if (is_first)
			unsettled += print_kind(ledger, ledger->faults[i].kind, marked_max);
	}
	return unsettled;
}

/* ---------------------------------------------------------------------- report */

static bool say(bool good, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool say(bool good, const char *format, ...)
{
	va_list arguments;

	fputs(good ? "ok: " : "FAILED: ", stdout);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
	return good;
}

static void print_counts(struct ledger *ledger, uint64_t lost, uint64_t without_outcome)
{
	static const struct {
		enum count what;
		const char *name;
	} lines[] = {
	    {COUNT_ATTEMPTED, "attempted"},
	    {COUNT_CONFIRMED, "confirmed"},
	    {COUNT_RETURNED, "returned"},
	    {COUNT_NACKED, "nacked"},
	    {COUNT_FAILED, "failed"},
	    {COUNT_UNKNOWN, "unknown"},
	    {COUNT_DELIVERED, "delivered"},
	    {COUNT_ACKED, "acknowledged"},
	    {COUNT_REDELIVERED, "redelivered"},
	    {COUNT_MARKED, "marked"},
	    {COUNT_DUPLICATED_MARKED, "duplicated marked"},
	    {COUNT_DUPLICATED_UNMARKED, "duplicated unmarked"},
	    {COUNT_OVERTAKEN, "  of these overtaken by their replay"},
	    {COUNT_OUT_OF_ORDER, "out of order"},
	    {COUNT_CLIENT_ERRORS, "client errors"},
	    {COUNT_UNEXPECTED, "unexpected"},
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		printf("count: %-38s %llu\n", lines[i].name,
		       (unsigned long long)ledger_get(ledger, lines[i].what));
	printf("count: %-38s %llu\n", "without outcome", (unsigned long long)without_outcome);
	printf("count: %-38s %llu\n", "lost", (unsigned long long)lost);
}

static bool judge(struct ledger *ledger, uint64_t lost, uint64_t without_outcome)
{
	uint64_t attempted = ledger_get(ledger, COUNT_ATTEMPTED);
	uint64_t confirmed = ledger_get(ledger, COUNT_CONFIRMED);
	uint64_t came_all_the_same = count_records(ledger, failed_but_came);
	bool good = true;

	good &= say(attempted > 0 && without_outcome == 0 && ledger_get(ledger, COUNT_TWO_OUTCOMES) == 0,
		    "each of %llu publishes has one outcome", (unsigned long long)attempted);
	good &=
	    say(confirmed == attempted, "all of them are confirmed (%llu)", (unsigned long long)confirmed);
	good &= say(lost == 0, "nothing that was confirmed is lost (%llu)", (unsigned long long)lost);
	good &=
	    say(came_all_the_same == 0, "nothing came that was said to be certainly not at the broker (%llu)",
		(unsigned long long)came_all_the_same);
	good &= say(ledger_get(ledger, COUNT_DUPLICATED_UNMARKED) == 0,
		    "nothing came twice without a mark (%llu)",
		    (unsigned long long)ledger_get(ledger, COUNT_DUPLICATED_UNMARKED));
	good &= say(ledger_get(ledger, COUNT_OUT_OF_ORDER) == 0,
		    "messages of a publisher came in order, but for redeliveries (%llu)",
		    (unsigned long long)ledger_get(ledger, COUNT_OUT_OF_ORDER));
	good &= say(ledger_get(ledger, COUNT_CLIENT_ERRORS) == 0, "no client saw an error (%llu)",
		    (unsigned long long)ledger_get(ledger, COUNT_CLIENT_ERRORS));
	good &= say(ledger_get(ledger, COUNT_UNEXPECTED) == 0, "nothing came that should not (%llu)",
		    (unsigned long long)ledger_get(ledger, COUNT_UNEXPECTED));
	return good;
}

bool report(struct ledger *ledger)
{
	uint64_t lost = count_unseen(ledger), without_outcome = count_records(ledger, has_no_outcome);
	unsigned int complaints = atomic_load(&ledger->complaint_count), faults, unsettled;
	uint64_t marked_max = 0;
	bool good;

	for (unsigned int i = 0; i < complaints && i < COMPLAINTS_MAX; i++)
		printf("    %s\n", ledger->complaints[i]);
	if (complaints > COMPLAINTS_MAX)
		printf("    and %u more\n", complaints - COMPLAINTS_MAX);
	print_counts(ledger, lost, without_outcome);
	unsettled = print_faults(ledger, &marked_max);
	faults = atomic_load(&ledger->fault_count);
	good = judge(ledger, lost, without_outcome);
	good &= say(unsettled == 0, "after each of %u faults each consumer was delivered to again (%u not)",
		    faults, unsettled);
	good &= say(marked_max <= ledger->settings.window,
		    "after each fault at most the window of %lu came again marked (%llu)",
		    ledger->settings.window, (unsigned long long)marked_max);
	return good;
}
