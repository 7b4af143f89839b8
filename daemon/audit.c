#include "daemon/audit.h"

#include "daemon/base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define MESSAGE_ID "ffccf326a8e34f7c81d096d52587f335"

/* Lines at once, and how fast they come back: of a session, and of all. */
#define SESSION_BURST 200u
#define SESSION_PER_SEC 10u
#define ALL_BURST 2000u
#define ALL_PER_SEC 100u

#define SESSIONS_MAX 256u /* that are told apart; who asked for nothing for longest gives up its place */
#define SUMMARY_USEC (10 * USEC_PER_SEC)

#define NAME_SHOWN_MAX 520u /* bytes: a name of 255, some of them escaped */
#define REASON_SHOWN_MAX 300u
#define LINE_MAX 1900u
#define NUMBER_MAX 24u

/* A budget of lines. */
struct budget {
	uint32_t lines;
	struct mono since; /* when it last grew */
};

/* What is known of a session that asked for something. */
struct asker {
	uint64_t session; /* 0: an empty place */
	uint32_t uid, pid;
	struct budget budget;
	struct mono last;
	uint64_t left_out;
};

struct audit {
	struct loop *loop;
	struct budget all;
	struct asker askers[SESSIONS_MAX];
	struct timer summary_timer;
};

/* ------------------------------------------------------------------ budgets */

static bool spend(struct budget *budget, struct mono now, uint32_t burst, uint32_t per_sec)
{
	uint64_t grown = mono_since_usec(now, budget->since) * per_sec / USEC_PER_SEC;

	if (grown > 0) {
		budget->lines = grown < burst - budget->lines ? budget->lines + (uint32_t)grown : burst;
		budget->since = now;
	}
	if (budget->lines == 0)
		return false;
	budget->lines--;
	return true;
}

static void tell_left_out(struct asker *asker)
{
	if (asker->left_out > 0)
		log_warning("audit: session %llu (pid %u, uid %u): %llu more lines were left out",
			    (unsigned long long)asker->session, asker->pid, asker->uid,
			    (unsigned long long)asker->left_out);
	asker->left_out = 0;
}

static void on_summary(struct timer *timer, struct mono now)
{
	struct audit *audit = container_of(timer, struct audit, summary_timer);

	for (size_t i = 0; i < SESSIONS_MAX; i++)
		tell_left_out(&audit->askers[i]);
}

static struct asker *find_asker(struct audit *audit, const struct mux_audit *what)
{
	struct mono now = loop_now(audit->loop);
	struct asker *oldest = &audit->askers[0];

	for (size_t i = 0; i < SESSIONS_MAX; i++) {
		if (audit->askers[i].session == what->session)
			return &audit->askers[i];
		if (mono_before(audit->askers[i].last, oldest->last))
			oldest = &audit->askers[i];
	}
	tell_left_out(oldest);
	*oldest = (struct asker){
	    .session = what->session,
	    .uid = what->creds->uid,
	    .pid = what->creds->pid,
	    .budget = {SESSION_BURST, now},
	};
	return oldest;
}

static bool has_budget(struct audit *audit, const struct mux_audit *what)
{
	struct mono now = loop_now(audit->loop);
	struct asker *asker = find_asker(audit, what);

	asker->last = now;
	if (spend(&asker->budget, now, SESSION_BURST, SESSION_PER_SEC) &&
	    spend(&audit->all, now, ALL_BURST, ALL_PER_SEC))
		return true;
	asker->left_out++;
	if (!timer_is_set(&audit->summary_timer))
		loop_set_timer(audit->loop, &audit->summary_timer, mono_add_usec(now, SUMMARY_USEC));
	return false;
}

/* ------------------------------------------------------------------ lines */

struct operation {
	const char *name;
	const char *first_key; /* of what it is done to */
	struct span first;
	const char *second_key; /* NULL: there is no second name */
	struct span second;
	struct span key;
};

static void describe_exchange(const struct amqc_method *method, struct operation *ret)
{
	switch (method->id) {
	case AMQC_EXCHANGE_DECLARE:
		*ret = (struct operation){.name = "exchange.declare",
					  .first_key = "exchange",
					  .first = method->exchange_declare.exchange,
					  .second_key = "type",
					  .second = method->exchange_declare.type};
		break;
	case AMQC_EXCHANGE_BIND:
		*ret = (struct operation){"exchange.bind",
					  "exchange",
					  method->exchange_bind.destination,
					  "source",
					  method->exchange_bind.source,
					  method->exchange_bind.routing_key};
		break;
	case AMQC_EXCHANGE_UNBIND:
		*ret = (struct operation){"exchange.unbind",
					  "exchange",
					  method->exchange_unbind.destination,
					  "source",
					  method->exchange_unbind.source,
					  method->exchange_unbind.routing_key};
		break;
	default:
		*ret = (struct operation){.name = "exchange.delete",
					  .first_key = "exchange",
					  .first = method->exchange_delete.exchange};
		break;
	}
}

static void describe(const struct amqc_method *method, struct operation *ret)
{
	switch (method->id) {
	case AMQC_QUEUE_DECLARE:
		*ret = (struct operation){
		    .name = "queue.declare", .first_key = "queue", .first = method->queue_declare.queue};
		break;
	case AMQC_QUEUE_DELETE:
		*ret = (struct operation){
		    .name = "queue.delete", .first_key = "queue", .first = method->queue_delete.queue};
		break;
	case AMQC_QUEUE_PURGE:
		*ret = (struct operation){
		    .name = "queue.purge", .first_key = "queue", .first = method->queue_purge.queue};
		break;
	case AMQC_QUEUE_BIND:
		*ret = (struct operation){"queue.bind",
					  "queue",
					  method->queue_bind.queue,
					  "source",
					  method->queue_bind.exchange,
					  method->queue_bind.routing_key};
		break;
	case AMQC_QUEUE_UNBIND:
		*ret = (struct operation){"queue.unbind",
					  "queue",
					  method->queue_unbind.queue,
					  "source",
					  method->queue_unbind.exchange,
					  method->queue_unbind.routing_key};
		break;
	default:
		describe_exchange(method, ret);
		break;
	}
}

/* As log_clean(), and without what would end the name's quotes: the rest of it could pose as the line's. */
static char *clean_name(char out[NAME_SHOWN_MAX], struct span name)
{
	static const char cut[] = "...", quote[] = "\\x27";
	char clean[NAME_SHOWN_MAX];
	size_t used = 0;

	for (const char *c = log_clean(clean, sizeof(clean), name); *c; c++) {
		struct span piece = *c == '\'' ? span_str(quote) : span_make(c, 1);
		bool fits = used + piece.len + sizeof(cut) <= NAME_SHOWN_MAX;

		if (!fits)
			piece = span_str(cut);
		memcpy(out + used, piece.data, piece.len);
		used += piece.len;
		if (!fits)
			break;
	}
	out[used] = 0;
	return out;
}

static size_t append_name(char *out, size_t size, size_t used, const char *key, struct span name)
{
	char clean[NAME_SHOWN_MAX];
	int n = snprintf(out + used, size - used, " %s='%s'", key, clean_name(clean, name));

	return n < 0 || (size_t)n >= size - used ? size - 1 : used + (size_t)n;
}

static void write_line(const struct mux_audit *what, const struct operation *operation, const char *names)
{
	char session[NUMBER_MAX], uid[NUMBER_MAX], pid[NUMBER_MAX], code[NUMBER_MAX] = "0";
	char reason[REASON_SHOWN_MAX] = "";
	const char *result = what->fault ? "refused" : "ok";
	const struct log_field fields[] = {{"MESSAGE_ID", MESSAGE_ID}, {"MUXD_AUDIT", operation->name},
					   {"MUXD_RESULT", result},    {"MUXD_CODE", code},
					   {"MUXD_SESSION", session},  {"MUXD_CLIENT_UID", uid},
					   {"MUXD_CLIENT_PID", pid},   {"MUXD_UPSTREAM", what->upstream}};

	(void)snprintf(session, sizeof(session), "%llu", (unsigned long long)what->session);
	(void)snprintf(uid, sizeof(uid), "%u", what->creds->uid);
	(void)snprintf(pid, sizeof(pid), "%u", what->creds->pid);
	if (what->fault)
		(void)snprintf(code, sizeof(code), "%u", what->fault->code);
	log_write(LOG_LEVEL_NOTICE, fields, sizeof(fields) / sizeof(fields[0]),
		  "audit: %s%s of upstream \"%s\" by uid %s, pid %s, session %s: %s%s%s%s%s", operation->name,
		  names, what->upstream, uid, pid, session, result, what->fault ? " " : "",
		  what->fault ? code : "", what->fault ? ": " : "",
		  what->fault ? log_clean(reason, sizeof(reason), fault_text(what->fault)) : "");
}

void audit_note(struct audit *audit, const struct mux_audit *what)
{
	struct operation operation;
	char names[LINE_MAX];
	size_t used;

	if (!log_enabled(LOG_LEVEL_NOTICE) || !has_budget(audit, what))
		return;
	describe(what->method, &operation);
	used = append_name(names, sizeof(names), 0, operation.first_key, operation.first);
	if (operation.second_key)
		used = append_name(names, sizeof(names), used, operation.second_key, operation.second);
	if (operation.key.len > 0)
		(void)append_name(names, sizeof(names), used, "key", operation.key);
	write_line(what, &operation, names);
}

/* ------------------------------------------------------------------ the object */

int audit_new(struct loop *loop, struct audit **ret)
{
	struct audit *audit = calloc(1, sizeof(*audit));

	if (!audit)
		return -ENOMEM;
	audit->loop = loop;
	audit->all = (struct budget){ALL_BURST, loop_now(loop)};
	timer_init(&audit->summary_timer, on_summary);
	*ret = audit;
	return 0;
}

struct audit *audit_free(struct audit *audit)
{
	if (!audit)
		return NULL;
	for (size_t i = 0; i < SESSIONS_MAX; i++)
		tell_left_out(&audit->askers[i]);
	loop_clear_timer(audit->loop, &audit->summary_timer);
	free(audit);
	return NULL;
}
