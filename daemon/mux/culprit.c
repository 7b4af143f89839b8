#include "daemon/mux/culprit.h"

#include "daemon/amqp/reply.h"
#include "daemon/base/hash.h"
#include "daemon/base/log.h"
#include "daemon/mux/recorder.h"
#include "daemon/mux/replay.h"
#include "daemon/mux/request.h"
#include "daemon/mux/session.h"
#include "daemon/mux/state/blame.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/op.h"
#include "daemon/mux/state/session.h"
#include "daemon/mux/state/upstream.h"

#define OFFENCES_MAX 3u /* of one process within the time below */
#define OFFENCE_KEPT_USEC (600 * USEC_PER_SEC)
#define QUARANTINE_USEC (60 * USEC_PER_SEC)

/* ------------------------------------------------------------------ fingerprints */

/* Its names and properties, but for what is not the same when it is sent again: see replay.h. */
static uint64_t publish_fingerprint(const struct publish *publish)
{
	struct amqc_content_header header;
	struct buf table = BUF_INIT, frame = BUF_INIT;
	uint64_t value = hash_more(HASH_BEGIN, span_make(publish->data, publish->method_len));

	if (!replay_original_header(publish, &table, &header))
		return value;
	header.body_size = 0;
	if (amqc_content_header_append(&frame, 0, &header) == AMQC_OK)
		value = hash_more(value, buf_span(&frame));
	buf_deinit(&frame);
	buf_deinit(&table);
	return value;
}

/* A consumer's tag is often drawn by lot, and no reason to fall over. */
static uint64_t request_fingerprint(struct span frame)
{
	struct amqc_method method;
	struct buf other = BUF_INIT;
	uint64_t value;

	if (!request_decode_frame(frame, &method) || method.id != AMQC_BASIC_CONSUME)
		return hash_more(HASH_BEGIN, frame);
	method.basic_consume.consumer_tag = SPAN_NULL;
	(void)amqc_method_append(&other, 0, &method);
	value = hash_more(HASH_BEGIN, buf_span(&other));
	buf_deinit(&other);
	return value;
}

/* Of its names alone: a publish that differs in these needs no closer look. */
static uint64_t names_of(struct op *op)
{
	const struct publish *publish;
	const struct request *request;

	if (op->kind == OP_PUBLISH) {
		publish = op_publish(op);
		return hash_more(HASH_BEGIN, span_make(publish->data, publish->method_len));
	}
	request = op_request(op);
	return request_fingerprint(span_make(request->frame, request->frame_len));
}

static uint64_t fingerprint(struct op *op)
{
	return op->kind == OP_PUBLISH ? publish_fingerprint(op_publish(op)) : names_of(op);
}

static void remember(struct blame *blame, const struct culprit *culprit)
{
	blame->culprits[blame->culprit_next] = *culprit;
	blame->culprit_next = (blame->culprit_next + 1) % BLAME_CULPRITS_MAX;
	if (blame->culprit_count < BLAME_CULPRITS_MAX)
		blame->culprit_count++;
}

void culprit_remember(struct upstream *upstream, struct op *op, const struct fault *fault)
{
	struct culprit culprit = {names_of(op), fingerprint(op), *fault};

	remember(&upstream->blame, &culprit);
}

void culprit_remember_frame(struct upstream *upstream, struct span frame, const struct fault *fault)
{
	struct culprit culprit = {request_fingerprint(frame), request_fingerprint(frame), *fault};

	remember(&upstream->blame, &culprit);
}

bool culprit_is_known(const struct upstream *upstream, struct op *op, struct fault *ret_fault)
{
	const struct blame *blame = &upstream->blame;
	uint64_t names;

	if (blame->culprit_count == 0)
		return false;
	names = names_of(op);
	for (size_t i = 0; i < blame->culprit_count; i++) {
		const struct culprit *culprit = &blame->culprits[i];

		if (culprit->names == names && culprit->fingerprint == fingerprint(op)) {
			*ret_fault = culprit->fault;
			return true;
		}
	}
	return false;
}

/* ------------------------------------------------------------------ quarantine */

static struct offender *find_offender(struct mux *mux, uint32_t uid, uint32_t pid)
{
	for (size_t i = 0; i < BLAME_OFFENDERS_MAX; i++) {
		struct offender *offender = &mux->offenders[i];

		if (offender->count > 0 && offender->uid == uid && offender->pid == pid &&
		    mono_since_usec(mux->now, offender->last) < OFFENCE_KEPT_USEC)
			return offender;
	}
	return NULL;
}

/* Another offence of the process; the place of the one that was quiet longest is taken if need be. */
static struct offender *note_offence(struct mux *mux, const struct mux_creds *creds)
{
	struct offender *offender = find_offender(mux, creds->uid, creds->pid);

	if (!offender) {
		offender = &mux->offenders[0];
		for (size_t i = 1; i < BLAME_OFFENDERS_MAX; i++) {
			if (mono_before(mux->offenders[i].last, offender->last))
				offender = &mux->offenders[i];
		}
		*offender = (struct offender){.uid = creds->uid, .pid = creds->pid};
	}
	offender->count++;
	offender->last = mux->now;
	return offender;
}

static bool is_quarantined(struct mux *mux, const struct mux_creds *creds, struct fault *ret_fault)
{
	const struct offender *offender = find_offender(mux, creds->uid, creds->pid);
	uint64_t since;

	if (!offender || offender->count < OFFENCES_MAX)
		return false;
	since = mono_since_usec(mux->now, offender->last);
	if (since >= QUARANTINE_USEC)
		return false;
	*ret_fault = fault_make_retryable(
	    AMQC_NOT_ALLOWED,
	    "NOT_ALLOWED - quarantine: requests of this process have cost the connection to the broker %u "
	    "times; it may come again in %llu s",
	    offender->count, (unsigned long long)((QUARANTINE_USEC - since) / USEC_PER_SEC + 1));
	return true;
}

/* Of a process in another pid namespace the kernel tells no number: it cannot be told from others. */
bool mux_is_quarantined(struct mux *mux, const struct mux_creds *creds, struct fault *ret_fault)
{
	return creds->pid != 0 && is_quarantined(mux, creds, ret_fault);
}

void culprit_punish(struct session *session, const struct fault *given)
{
	struct fault fault;

	note_offence(session->mux, &session->creds);
	log_upstream(LOG_LEVEL_WARNING, session->upstream,
		     "session %llu (pid %u, uid %u, \"%.*s\") cost the connection: %s",
		     (unsigned long long)session->id, session->creds.pid, session->creds.uid,
		     (int)session->program_len, session->program, given->text);
	recorder_log(session);
	if (is_quarantined(session->mux, &session->creds, &fault) && !session->ended)
		session_fail(session, &fault);
}
