#include "config.h"

#include "tests/e2e/account.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

struct ledger *ledger_new(const struct settings *settings)
{
	size_t records = (size_t)settings->publishers * settings->capacity;
	struct ledger *ledger =
	    mmap(NULL, sizeof(*ledger) + records * sizeof(struct record), PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (ledger == MAP_FAILED) {
		perror("account: mmap");
		exit(2);
	}
	ledger->settings = *settings;
	return ledger;
}

struct record *ledger_find(struct ledger *ledger, uint64_t publisher, uint64_t number)
{
	if (publisher >= ledger->settings.publishers || number == 0 ||
	    number > atomic_load(&ledger->attempted[publisher]))
		return NULL;
	return &ledger->records[publisher * ledger->settings.capacity + number - 1];
}

void ledger_count(struct ledger *ledger, enum count what, uint64_t how_many)
{
	atomic_fetch_add(&ledger->counts[what], how_many);
}

uint64_t ledger_get(const struct ledger *ledger, enum count what)
{
	return atomic_load(&ledger->counts[what]);
}

void ledger_complain(struct ledger *ledger, enum count what, const char *format, ...)
{
	unsigned int at = atomic_fetch_add(&ledger->complaint_count, 1);
	va_list arguments;

	ledger_count(ledger, what, 1);
	if (at >= COMPLAINTS_MAX)
		return;
	va_start(arguments, format);
	vsnprintf(ledger->complaints[at], sizeof(ledger->complaints[at]), format, arguments);
	va_end(arguments);
}

void ledger_client_error(struct ledger *ledger, const char *who, const char *what, int r,
			 const struct muxc_error *error)
{
	const struct fault *fault = ledger_fault(ledger);

	ledger_complain(ledger, COUNT_CLIENT_ERRORS, "%s: %s: %s%s%s (%u, %s %u)", who, what,
			r < 0 ? strerror(-r) : "", error && error->text[0] ? ": " : "",
			error ? error->text : "", error ? error->code : 0, fault ? fault->kind : "no fault",
			atomic_load(&ledger->fault_count));
}

/* --------------------------------------------------------------------- records */

void ledger_outcome(struct ledger *ledger, unsigned int publisher, uint64_t number, int kind)
{
	static const enum count counts[] = {
	    [MUXC_CONFIRMED] = COUNT_CONFIRMED, [MUXC_RETURNED] = COUNT_RETURNED,
	    [MUXC_NACKED] = COUNT_NACKED,	[MUXC_FAILED] = COUNT_FAILED,
	    [MUXC_UNKNOWN] = COUNT_UNKNOWN,
	};
	struct record *record = ledger_find(ledger, publisher, number);

	if (!record || kind < MUXC_CONFIRMED || kind > MUXC_UNKNOWN) {
		ledger_complain(ledger, COUNT_UNEXPECTED, "publisher %u: outcome %d of message %llu",
				publisher, kind, (unsigned long long)number);
		return;
	}
	if (atomic_exchange(&record->outcome, (uint8_t)kind) != 0)
		ledger_complain(ledger, COUNT_TWO_OUTCOMES, "publisher %u: a second outcome of message %llu",
				publisher, (unsigned long long)number);
	else
		ledger_count(ledger, counts[kind], 1);
}

static void note_first(struct ledger *ledger, const struct delivery *delivery)
{
	struct fault *fault = ledger_fault(ledger);
	uint64_t now = now_usec(), none = 0, back;

	if (!fault)
		return;
	back = atomic_load(&fault->back_usec);
	/* else it may have come before the fault, and have waited here */
	if (back == 0 || now < back ||
	    !(delivery->marked || delivery->redelivered || delivery->sent_usec > fault->begin_usec))
		return;
	atomic_compare_exchange_strong(&fault->first_usec[delivery->consumer], &none, now);
}

static void judge_plain(struct ledger *ledger, const struct delivery *delivery, uint8_t seen)
{
	if (seen == 0)
		return;
	ledger_complain(ledger, COUNT_DUPLICATED_UNMARKED,
			"message %llu of publisher %u came again, with no mark (seen before as %u)",
			(unsigned long long)delivery->number, delivery->publisher, seen);
	if ((seen & (SEEN_PLAIN | SEEN_REDELIVERED)) == 0)
		ledger_count(ledger, COUNT_OVERTAKEN, 1);
}

/* Of each publisher the messages that a consumer sees first, marked or not, come in order. */
static void judge_order(struct ledger *ledger, const struct delivery *delivery, uint64_t *highest)
{
	if (delivery->number < *highest)
		ledger_complain(ledger, COUNT_OUT_OF_ORDER, "message %llu of publisher %u came after %llu%s",
				(unsigned long long)delivery->number, delivery->publisher,
				(unsigned long long)*highest, delivery->marked ? ", marked" : "");
	else
		*highest = delivery->number;
}

void ledger_delivery(struct ledger *ledger, const struct delivery *delivery, uint64_t *highest)
{
	struct record *record = ledger_find(ledger, delivery->publisher, delivery->number);
	uint8_t as = delivery->redelivered ? SEEN_REDELIVERED : delivery->marked ? SEEN_MARKED : SEEN_PLAIN;
	uint8_t seen;

	if (!record) {
		ledger_complain(ledger, COUNT_UNEXPECTED,
				"message %llu of publisher %u, which was not published",
				(unsigned long long)delivery->number, delivery->publisher);
		return;
	}
	seen = atomic_fetch_or(&record->seen, as);
	ledger_count(ledger, COUNT_DELIVERED, 1);
	ledger_count(ledger, COUNT_FIRST_SEEN, seen == 0);
	if (as == SEEN_REDELIVERED) {
		ledger_count(ledger, COUNT_REDELIVERED, 1);
	} else if (as == SEEN_MARKED) {
		struct fault *fault = ledger_fault(ledger);

		ledger_count(ledger, COUNT_MARKED, 1);
		ledger_count(ledger, COUNT_DUPLICATED_MARKED, seen != 0);
		if (fault)
			atomic_fetch_add(&fault->marked, 1);
	} else {
		judge_plain(ledger, delivery, seen);
	}
	if (as != SEEN_REDELIVERED && seen == 0)
		judge_order(ledger, delivery, highest);
	note_first(ledger, delivery);
}

/* ---------------------------------------------------------------------- faults */

struct fault *ledger_fault(struct ledger *ledger)
{
	unsigned int count = atomic_load(&ledger->fault_count);

	return count ? &ledger->faults[count - 1] : NULL;
}

struct fault *ledger_begin_fault(struct ledger *ledger, const char *kind)
{
	unsigned int at = atomic_load(&ledger->fault_count);

	if (at == FAULTS_MAX)
		return NULL;
	snprintf(ledger->faults[at].kind, sizeof(ledger->faults[at].kind), "%s", kind);
	ledger->faults[at].begin_usec = now_usec();
	atomic_store(&ledger->fault_count, at + 1);
	return &ledger->faults[at];
}

/* ---------------------------------------------------------------------- common */

uint64_t now_usec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

/* FNV-1a */
uint64_t checksum_of(const void *data, size_t len)
{
	const uint8_t *bytes = data;
	uint64_t sum = 0xcbf29ce484222325u;

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ bytes[i]) * 0x100000001b3u;
	return sum;
}

void queue_name(const struct settings *settings, unsigned int queue, char *name, size_t size)
{
	snprintf(name, size, "%s.%u", settings->prefix, queue);
}

struct muxc *connect_to_muxd(struct ledger *ledger, const char *program, const struct muxc_options *options)
{
	struct muxc_options ours = {.size = sizeof(ours)};
	struct muxc_error error = MUXC_ERROR_INIT;
	struct muxc *c;
	int r;

	if (options)
		ours = *options;
	ours.socket_path = ledger->settings.socket;
	ours.program = program;
	ours.request_timeout_usec = CALL_TIMEOUT_USEC;
	r = muxc_connect(&ours, &c, &error);
	if (r < 0) {
		ledger_client_error(ledger, program, "connect", r, &error);
		exit(1);
	}
	return c;
}
