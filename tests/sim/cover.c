#include "tests/sim/cover.h"

#include <stdio.h>

#define TEXT(name, text) text,
/* The ends of groups have no text. */
static const char *const event_texts[COVER_EVENTS] = {
    COVER_FAULT_EVENTS(TEXT) NULL, COVER_OUTCOME_EVENTS(TEXT) NULL, COVER_WIRE_EVENTS(TEXT) NULL,
    COVER_CLIENT_EVENTS(TEXT)};
#undef TEXT

struct move {
	uint8_t from, to;
};

#define MOVES_MAX 28u

/* The states have the numbers that look.c gives them; moves end with one from a state to itself. */
static const struct {
	const char *name;
	const char *states[COVER_STATES];
	struct move moves[MOVES_MAX];
} machines[MACHINES] = {
    [MACHINE_UPSTREAM] = {"upstream",
			  {"connecting", "up", "backoff", "blocked", "failed"},
			  {{0, 1}, {0, 2}, {0, 4}, {1, 2}, {1, 3}, {2, 0}, {3, 1}, {3, 2}, {4, 1}, {4, 2}}},
    [MACHINE_RECOVERY] = {"recovery",
			  {"none", "topology", "consumers"},
			  {{0, 1}, {0, 2}, {1, 0}, {1, 2}, {2, 0}}},
    [MACHINE_LANE] = {"lane",
		      {"free", "warm", "leased", "sending", "idle", "closing", "close-ok due", "fenced"},
		      {{0, 1}, {0, 2}, {1, 0}, {1, 2}, {1, 5}, {2, 0}, {2, 3}, {2, 4},
		       {2, 5}, {2, 7}, {3, 0}, {3, 2}, {3, 5}, {4, 0}, {4, 2}, {4, 5},
		       {4, 7}, {5, 0}, {6, 0}, {7, 0}, {7, 1}, {7, 2}}},
    [MACHINE_CHANNEL] = {"channel",
			 {"none", "open", "waiting", "leased", "idle", "leaving", "failed"},
			 {{0, 1},
			  {0, 2},
			  {0, 3},
			  {1, 2},
			  {1, 3},
			  {2, 1},
			  {2, 3},
			  {2, 5},
			  {3, 1},
			  {3, 2},
			  {3, 4},
			  {3, 5},
			  {3, 6},
			  {4, 1},
			  {4, 3},
			  {4, 6},
			  {5, 0},
			  {6, 0}}},
    [MACHINE_CONSUMER] = {"consumer",
			  {"none", "asked", "started", "shrinking", "draining", "cancel asked", "gone",
			   "restoring", "widening"},
			  {{0, 1}, {0, 2}, {1, 0}, {1, 2}, {2, 0}, {2, 3}, {2, 5}, {2, 6}, {3, 0},
			   {3, 4}, {4, 2}, {4, 5}, {5, 0}, {5, 2}, {6, 0}, {2, 7}, {3, 7}, {2, 8},
			   {8, 2}, {8, 0}, {8, 5}, {8, 6}, {8, 7}, {7, 0}, {7, 2}}},
};

static void count(uint32_t *slots, uint32_t slot_count, uint32_t value)
{
	slots[value < slot_count ? value : slot_count - 1]++;
}

void cover_run(struct cover *cover, uint32_t sessions, uint32_t operations, uint32_t faults,
	       uint64_t cpu_usec)
{
	cover->runs++;
	cover->cpu_usec += cpu_usec;
	count(cover->sessions, COVER_SESSIONS, sessions);
	count(cover->operations, COVER_OPERATIONS, operations);
	count(cover->faults, COVER_FAULTS, faults);
}

static void add_slots(uint32_t *to, const uint32_t *from, size_t slot_count)
{
	for (size_t i = 0; i < slot_count; i++)
		to[i] += from[i];
}

void cover_add(struct cover *to, const struct cover *from)
{
	to->runs += from->runs;
	to->cpu_usec += from->cpu_usec;
	for (size_t i = 0; i < COVER_EVENTS; i++)
		to->events[i] += from->events[i];
	for (size_t m = 0; m < MACHINES; m++) {
		for (size_t i = 0; i < COVER_STATES; i++) {
			to->states[m][i] += from->states[m][i];
			for (size_t j = 0; j < COVER_STATES; j++)
				to->moves[m][i][j] += from->moves[m][i][j];
		}
	}
	add_slots(to->sessions, from->sessions, COVER_SESSIONS);
	add_slots(to->operations, from->operations, COVER_OPERATIONS);
	add_slots(to->faults, from->faults, COVER_FAULTS);
}

/* ------------------------------------------------------------------ printing */

static uint32_t median(const uint32_t *slots, uint64_t runs)
{
	uint64_t seen = 0;
	uint32_t value = 0;

	while ((seen += slots[value]) * 2 < runs)
		value++;
	return value;
}

static void print_events(const char *group, const struct cover *cover, size_t first, size_t end)
{
	printf("%s:", group);
	for (size_t i = first; i < end; i++) {
		if (cover->events[i] > 0)
			printf("%s %s %llu", i == first ? "" : ",", event_texts[i],
			       (unsigned long long)cover->events[i]);
	}
	putchar('\n');
	for (size_t i = first; i < end; i++) {
		if (cover->events[i] == 0)
			printf("  never: %s\n", event_texts[i]);
	}
}

static bool is_expected(size_t machine, size_t from, size_t to)
{
	const struct move *move = machines[machine].moves;

	for (; move->from != move->to; move++) {
		if (move->from == from && move->to == to)
			return true;
	}
	return false;
}

static void print_moves(size_t machine, const struct cover *cover)
{
	const char *const *states = machines[machine].states;

	for (size_t from = 0; from < COVER_STATES; from++) {
		for (size_t to = 0; to < COVER_STATES; to++) {
			if (cover->moves[machine][from][to] > 0)
				printf("  %s > %s %llu\n", states[from], states[to],
				       (unsigned long long)cover->moves[machine][from][to]);
			else if (is_expected(machine, from, to))
				printf("  never: %s > %s\n", states[from], states[to]);
		}
	}
}

static void print_machine(size_t machine, const struct cover *cover)
{
	printf("%s:", machines[machine].name);
	for (size_t i = 0; i < COVER_STATES && machines[machine].states[i]; i++) {
		if (cover->states[machine][i] > 0)
			printf("%s %s %llu", i == 0 ? "" : ",", machines[machine].states[i],
			       (unsigned long long)cover->states[machine][i]);
	}
	putchar('\n');
	for (size_t i = 0; i < COVER_STATES && machines[machine].states[i]; i++) {
		if (cover->states[machine][i] == 0)
			printf("  never: %s\n", machines[machine].states[i]);
	}
	print_moves(machine, cover);
}

void cover_print(const struct cover *cover)
{
	if (cover->runs == 0)
		return;
	print_events("faults", cover, 0, FAULT_LAST);
	print_events("outcomes", cover, FAULT_LAST + 1, OUTCOME_SEEN_LAST);
	print_events("wire", cover, OUTCOME_SEEN_LAST + 1, WIRE_LAST);
	print_events("clients", cover, WIRE_LAST + 1, COVER_EVENTS);
	for (size_t machine = 0; machine < MACHINES; machine++)
		print_machine(machine, cover);
	printf("%llu runs, medians: %u sessions, %u operations, %u faults; %.2f ms of CPU each\n",
	       (unsigned long long)cover->runs, median(cover->sessions, cover->runs),
	       median(cover->operations, cover->runs), median(cover->faults, cover->runs),
	       (double)cover->cpu_usec / (double)cover->runs / 1000);
}
