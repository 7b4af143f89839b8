/*
 * The life of a connection.
 *
 *	GREETING --Hello--> OPEN --error--> ENDING
 *	    `-------error, timeout-----------^
 *
 * ENDING lasts until the end task has run in the same turn: mux may end a
 * session in the middle of one of our calls, and we are on the stack then.
 * A peer that goes away is dropped where it is noticed, for the stream calls
 * on_closed from nobody's frame but its own.
 */
#include "daemon/front/ipc.h"

#include "daemon/base/log.h"
#include "daemon/front/unpack.h"
#include "proto/prescan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TABLES_KEPT_MAX (64u * 1024u) /* bytes of the block for tables that is kept from frame to frame */
#define NAME_SHOWN_MAX 80u
#define NAMES_SHOWN_MAX 160u
#define NUMBER_BYTES_MAX 24u
#define STOPS "muxd stops"

/* ------------------------------------------------------------------ the end */

bool ipc_may_say(struct ipc *ipc, char more[QUIET_MORE_BYTES])
{
	struct front *front = ipc->front;

	return quiet_may_say(&front->quiets[ipc->peer.uid % QUIETS], loop_now(front->options.loop), more);
}

static void log_end(struct ipc *ipc, const char *reason, bool is_error)
{
	uint64_t age_usec = mono_since_usec(loop_now(ipc->front->options.loop), ipc->accepted);
	unsigned long long id = ipc->session ? session_id(ipc->session) : 0;
	char session[NUMBER_BYTES_MAX], pid[NUMBER_BYTES_MAX], uid[NUMBER_BYTES_MAX];
	char more[QUIET_MORE_BYTES] = "";
	enum log_level level = is_error ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG;
	const struct log_field fields[] = {
	    {"MUXD_SESSION", session}, {"MUXD_CLIENT_PID", pid}, {"MUXD_CLIENT_UID", uid}};

	if (!log_enabled(level) || (is_error && !ipc_may_say(ipc, more)))
		return;
	(void)snprintf(session, sizeof(session), "%llu", id);
	(void)snprintf(pid, sizeof(pid), "%u", ipc->peer.pid);
	(void)snprintf(uid, sizeof(uid), "%u", ipc->peer.uid);
	log_write(level, fields, sizeof(fields) / sizeof(fields[0]),
		  "session %llu (pid %u, uid %u) ended after %llu.%03llu s: %s%s", id, ipc->peer.pid,
		  ipc->peer.uid, (unsigned long long)(age_usec / USEC_PER_SEC),
		  (unsigned long long)(age_usec % USEC_PER_SEC / USEC_PER_MSEC), reason, more);
}

static void drop(struct ipc *ipc)
{
	struct front *front = ipc->front;

	loop_clear_timer(front->options.loop, &ipc->hello_timer);
	loop_task_cancel(&ipc->end_task);
	ipc_forget_questions(ipc);
	loop_task_cancel(&ipc->unread_task);
	if (ipc->session)
		session_end(ipc->session);
	stream_close(ipc->stream, ipc->end_drain_usec);
	users_seat_end(&ipc->seat);
	peer_deinit(&ipc->peer);
	list_unlink(&ipc->node);
	front->count--;
	free(ipc);
}

static void run_end(struct loop_task *task)
{
	drop(container_of(task, struct ipc, end_task));
}

void ipc_end(struct ipc *ipc, const struct fault *fault)
{
	char reason[FAULT_TEXT_MAX + 1];

	if (ipc->state == IPC_ENDING)
		return;
	log_end(ipc, log_clean(reason, sizeof(reason), fault_text(fault)), true);
	ipc_send_error(ipc, 0, (struct mux_channel_id){0, 0}, SCOPE_SESSION, fault);
	ipc->state = IPC_ENDING;
	ipc->end_drain_usec = IPC_LAST_WORDS_USEC;
	loop_defer(ipc->front->options.loop, &ipc->end_task);
}

void ipc_fail(struct ipc *ipc, const struct fault *fault)
{
	if (ipc->session)
		session_fail(ipc->session, fault); /* comes back by ipc_session_ops.ended */
	else
		ipc_end(ipc, fault);
}

static void on_closed(void *context, const char *reason)
{
	struct ipc *ipc = context;

	if (ipc->state != IPC_ENDING)
		log_end(ipc, reason, false);
	ipc->end_drain_usec = 0;
	drop(ipc);
}

static void on_hello_timeout(struct timer *timer, struct mono now)
{
	struct ipc *ipc = container_of(timer, struct ipc, hello_timer);
	struct fault fault =
	    fault_make_retryable(IPC_TIMED_OUT, "no Hello within %llu ms",
				 (unsigned long long)(ipc->front->options.hello_usec / USEC_PER_MSEC));

	ipc_end(ipc, &fault);
}

/* ------------------------------------------------------------------ Hello */

static bool refuse_version(const Muxd__V1__Hello *hello, struct fault *ret_fault)
{
	if (hello->version_min <= IPC_VERSION && hello->version_max >= IPC_VERSION)
		return false;
	*ret_fault =
	    fault_make(530,
		       "NOT_ALLOWED - no protocol version in common: this muxd speaks %u to %u, the client "
		       "%u to %u",
		       IPC_VERSION, IPC_VERSION, hello->version_min, hello->version_max);
	return true;
}

static bool refuse_feature(const Muxd__V1__Hello *hello, struct fault *ret_fault)
{
	char name[NAME_SHOWN_MAX];

	if (hello->n_features == 0)
		return false;
	*ret_fault = fault_make(540, "NOT_IMPLEMENTED - this muxd has no feature '%s'",
				log_clean(name, sizeof(name), span_of(hello->features[0])));
	return true;
}

/* "a, b, c", as many as fit. */
static void list_upstreams(struct mux *mux, char *out, size_t size)
{
	size_t used = 0;

	*out = 0;
	for (struct upstream *u = mux_first_upstream(mux); u && used < size; u = mux_next_upstream(u)) {
		struct upstream_info info;
		int n;

		upstream_get_info(u, &info);
		if (info.retired)
			continue;
		n = snprintf(out + used, size - used, "%s%s", used ? ", " : "", info.name);
		if (n < 0)
			return;
		used += (size_t)n;
	}
}

static struct upstream *find_upstream(const struct ipc *ipc, const Muxd__V1__Hello *hello,
				      struct fault *ret_fault)
{
	struct mux *mux = ipc->front->options.mux;
	struct upstream *upstream = mux_find_upstream(mux, span_of(hello->upstream));
	char names[NAMES_SHOWN_MAX];
	char name[NAME_SHOWN_MAX];

	if (upstream)
		return upstream;
	list_upstreams(mux, names, sizeof(names));
	*ret_fault = fault_make(404, "NOT_FOUND - no upstream '%s'; there is: %s",
				log_clean(name, sizeof(name), span_of(hello->upstream)), names);
	return NULL;
}

/* count: those that it has besides this one. */
static struct fault too_many_of_user(const struct ipc *ipc, uint32_t count)
{
	return fault_make_retryable(
	    506,
	    "RESOURCE_ERROR - too many sessions of this user: sessions-per-uid is %u, and "
	    "uid %u has %u",
	    ipc->limits.sessions_per_uid, ipc->peer.uid, count);
}

static struct fault too_many(const struct front *front)
{
	struct users_entry most = users_most(&front->users);

	return fault_make_retryable(
	    506,
	    "RESOURCE_ERROR - too many sessions: the limit of sessions is %u, and uid %u has "
	    "%u of them",
	    front->options.sessions_max, most.uid, most.count);
}

static bool make_session(struct ipc *ipc, const Muxd__V1__Hello *hello, struct upstream *upstream,
			 struct fault *ret_fault)
{
	const struct front_options *options = &ipc->front->options;
	struct session_options session = {
	    .upstream = upstream,
	    .program = span_of(hello->program),
	    .get_bytes = hello->get_bytes,
	    .ops = &ipc_session_ops,
	    .context = ipc,
	};
	int r = peer_read_groups(&ipc->peer);

	if (r < 0) {
		*ret_fault =
		    fault_make_retryable(506, "RESOURCE_ERROR - the groups of uid %u are not to be had: %s",
					 ipc->peer.uid, strerror(-r));
		return false;
	}
	session.creds = (struct mux_creds){ipc->peer.uid, ipc->peer.gid, ipc->peer.pid, ipc->peer.groups,
					   ipc->peer.group_count};
	if (options->admit && !options->admit(options->context, &session.creds, ipc_upstream_name(upstream),
					      &ipc->limits, ret_fault))
		return false;
	session.limits = front_session_limits(&ipc->limits);
	if (users_count(&ipc->front->users, ipc->peer.uid) > ipc->limits.sessions_per_uid) {
		*ret_fault = too_many_of_user(ipc, users_count(&ipc->front->users, ipc->peer.uid) - 1);
		return false;
	}
	if (mux_is_quarantined(options->mux, &session.creds, ret_fault))
		return false;
	r = session_new(options->mux, &session, &ipc->session);
	if (r == -EUSERS)
		*ret_fault = too_many(ipc->front);
	else if (r == -ENOBUFS)
		*ret_fault = fault_make_retryable(506,
						  "RESOURCE_ERROR - what uid %u published in sessions that "
						  "have ended, and the broker has not "
						  "confirmed, fills this user's share of total-memory",
						  ipc->peer.uid);
	else if (r == -EDQUOT)
		*ret_fault =
		    fault_make_retryable(506,
					 "RESOURCE_ERROR - no room for the %zu groups of this process in "
					 "session-memory, or in the share of total-memory of uid %u",
					 ipc->peer.group_count, ipc->peer.uid);
	else if (r < 0)
		*ret_fault = fault_make_retryable(506, "RESOURCE_ERROR - no memory for a session");
	return r == 0;
}

static void greet(struct ipc *ipc, const Muxd__V1__Hello *hello)
{
	struct upstream *upstream;
	struct fault fault;
	bool refused = refuse_version(hello, &fault) || refuse_feature(hello, &fault);

	upstream = refused ? NULL : find_upstream(ipc, hello, &fault);
	if (!upstream || !make_session(ipc, hello, upstream, &fault)) {
		ipc_end(ipc, &fault);
		return;
	}
	loop_clear_timer(ipc->front->options.loop, &ipc->hello_timer);
	peer_deinit(&ipc->peer);
	ipc->state = IPC_OPEN;
	ipc_send_welcome(ipc);
	if (ipc->front->going_away)
		ipc_send_go_away(ipc, ipc->front->away_deadline, STOPS);
}

/* ------------------------------------------------------------------ reading */

static void fail_size(struct ipc *ipc, enum ipc_frame_result result, struct span front_of_frame)
{
	unsigned int header_len = load_be32(front_of_frame.data);
	struct fault fault;

	if (result == IPC_FRAME_HEADER_SIZE)
		fault = fault_make(501, "FRAME_ERROR - a header of %u bytes; 1 to %u are allowed", header_len,
				   IPC_HEADER_MAX);
	else
		fault = fault_make(311, "CONTENT_TOO_LARGE - a payload of %u bytes; message-max is %llu",
				   (unsigned int)load_be32(front_of_frame.data + 4),
				   (unsigned long long)ipc->limits.message_max);
	ipc_fail(ipc, &fault);
}

/*
 * A body on its way must fit into the credit before memory is spent on it:
 * the session of an honest client is never over it.
 */
static bool body_is_paid(struct ipc *ipc, struct span front_of_frame)
{
	uint64_t cost;
	uint64_t messages;
	uint64_t bytes;
	struct fault fault;

	if (front_of_frame.len < IPC_FRAME_PREFIX || load_be32(front_of_frame.data + 4) == 0)
		return true;
	cost = (uint64_t)load_be32(front_of_frame.data) + load_be32(front_of_frame.data + 4);
	if (ipc->state == IPC_OPEN) {
		session_credit_totals(ipc->session, &messages, &bytes);
		if (cost <= bytes && ipc->spent_bytes <= bytes - cost)
			return true;
		fault = fault_make(
		    506, "RESOURCE_ERROR - publish credit overrun: %llu bytes spent, %llu more, of %llu",
		    (unsigned long long)ipc->spent_bytes, (unsigned long long)cost,
		    (unsigned long long)bytes);
	} else {
		fault = fault_make(503, "COMMAND_INVALID - the first frame must be Hello");
	}
	ipc_fail(ipc, &fault);
	return false;
}

static void take_header(struct ipc *ipc, const Muxd__V1__ClientFrame *frame, const struct ipc_frame *bytes)
{
	struct fault fault;

	if (ipc->state == IPC_OPEN) {
		ipc_dispatch(ipc, frame, bytes);
		return;
	}
	if (frame->op_case == MUXD__V1__CLIENT_FRAME__OP_HELLO && bytes->payload.len == 0) {
		greet(ipc, frame->hello);
		return;
	}
	fault = fault_make(503, "COMMAND_INVALID - the first frame must be Hello");
	ipc_fail(ipc, &fault);
}

/* Any frame. */
static void unpack_frame(struct ipc *ipc, const struct ipc_frame *bytes)
{
	struct front *front = ipc->front;
	enum prescan_result scanned = prescan(PRESCAN_CLIENT_FRAME, bytes->header);
	Muxd__V1__ClientFrame *frame = NULL;
	struct fault fault;

	if (scanned == PRESCAN_OK)
		frame = muxd__v1__client_frame__unpack(&front->decode.allocator, bytes->header.len,
						       bytes->header.data);
	if (frame) {
		take_header(ipc, frame, bytes);
	} else {
		fault = fault_make(502, "SYNTAX_ERROR - malformed header: %s",
				   scanned == PRESCAN_OK ? "a field has another type than muxd.proto gives it"
							 : prescan_strerror(scanned));
		ipc_fail(ipc, &fault);
	}
	arena_reset(&front->decode);
}

static void take_frame(struct ipc *ipc, const struct ipc_frame *bytes)
{
	struct front *front = ipc->front;
	struct unpacked_publish publish;

	if (unpack_publish(bytes->header, &publish))
		take_header(ipc, &publish.frame, bytes);
	else
		unpack_frame(ipc, bytes);
	buf_truncate(&front->tables, 0);
	if (front->tables.capacity > TABLES_KEPT_MAX)
		buf_deinit(&front->tables);
}

/* True if the connection goes on reading. */
static bool is_reading(const struct ipc *ipc)
{
	return ipc->state != IPC_ENDING && !(ipc->session && session_is_ended(ipc->session));
}

static size_t on_bytes(void *context, struct span bytes, size_t *ret_need)
{
	struct ipc *ipc = context;
	struct span rest = bytes;
	struct ipc_frame frame;

	while (is_reading(ipc)) {
		size_t size = 0;
		enum ipc_frame_result result = ipc_frame_parse(rest, ipc->limits.message_max, &frame, &size);

		if (result == IPC_FRAME_INCOMPLETE) {
			*ret_need = size;
			if (body_is_paid(ipc, rest))
				return bytes.len - rest.len;
		} else if (result != IPC_FRAME_OK) {
			fail_size(ipc, result, rest);
		} else {
			take_frame(ipc, &frame);
			rest = span_skip(rest, size);
		}
	}
	return bytes.len;
}

static void on_written(void *context, uint64_t total)
{
	struct ipc *ipc = context;

	ipc->written = total;
	if (ipc->session && ipc->state != IPC_ENDING)
		session_written(ipc->session, total);
}

static const struct stream_ops stream_ops = {on_bytes, on_written, NULL, on_closed};

static void run_unread(struct loop_task *task)
{
	struct ipc *ipc = container_of(task, struct ipc, unread_task);
	const char *why;

	if (!ipc->session || ipc->state == IPC_ENDING)
		return;
	why = session_unread(ipc->session, stream_position(ipc->stream));
	if (why)
		ipc_cut_off(ipc, why);
}

/* ------------------------------------------------------------------ accepting */

/* The descriptor is closed if this fails. */
static struct ipc *make_ipc(struct front *front, int fd)
{
	struct ipc *ipc = calloc(1, sizeof(*ipc));
	struct stream_options options = {.fd = fd, .ops = &stream_ops, .context = ipc};
	int r = ipc ? peer_init(&ipc->peer, fd) : -ENOMEM;
	char more[QUIET_MORE_BYTES];

	if (r == 0)
		r = stream_new(front->options.loop, &options, &ipc->stream);
	if (r < 0) {
		if (quiet_may_say(&front->trouble, loop_now(front->options.loop), more))
			log_warning("cannot serve a new connection: %s%s", strerror(-r), more);
		if (ipc)
			peer_deinit(&ipc->peer);
		free(ipc);
		(void)close(fd);
		return NULL;
	}
	ipc->front = front;
	ipc->limits = front->options.limits;
	ipc->accepted = loop_now(front->options.loop);
	timer_init(&ipc->hello_timer, on_hello_timeout);
	loop_task_init(&ipc->end_task, run_end);
	list_init(&ipc->questions);
	list_init(&ipc->asker_node);
	loop_task_init(&ipc->unread_task, run_unread);
	return ipc;
}

/* One more than the limits allow: it is told, and leaves. */
static void turn_away(struct ipc *ipc, const struct fault *fault)
{
	char reason[FAULT_TEXT_MAX + 1];
	char more[QUIET_MORE_BYTES];

	if (ipc_may_say(ipc, more))
		log_info("refused a connection of pid %u, uid %u: %s%s", ipc->peer.pid, ipc->peer.uid,
			 log_clean(reason, sizeof(reason), fault_text(fault)), more);
	ipc_send_error(ipc, 0, (struct mux_channel_id){0, 0}, SCOPE_SESSION, fault);
	stream_close(ipc->stream, IPC_LAST_WORDS_USEC);
	peer_deinit(&ipc->peer);
	free(ipc);
}

void front_accept(struct front *front, int fd)
{
	struct ipc *ipc = make_ipc(front, fd);
	struct fault fault;

	if (!ipc)
		return;
	if (front->count >= front->options.sessions_max) {
		fault = too_many(front);
		turn_away(ipc, &fault);
		return;
	}
	if (!users_seat_take(&ipc->seat, &front->users, ipc->peer.uid,
			     front->options.limits.sessions_per_uid)) {
		fault = too_many_of_user(ipc, users_count(&front->users, ipc->peer.uid));
		turn_away(ipc, &fault);
		return;
	}
	list_append(&front->connections, &ipc->node);
	front->count++;
	loop_set_timer(front->options.loop, &ipc->hello_timer,
		       mono_add_usec(ipc->accepted, front->options.hello_usec));
}

/* ------------------------------------------------------------------ the front */

int front_new(const struct front_options *options, struct front **ret)
{
	struct front *front = calloc(1, sizeof(*front));

	if (!front)
		return -ENOMEM;
	front->options = *options;
	if (front->options.hello_usec == 0)
		front->options.hello_usec = FRONT_HELLO_USEC;
	front->started = loop_now(options->loop);
	front->tables = BUF_INIT;
	list_init(&front->connections);
	questions_init(front);
	arena_init(&front->decode, front->decode_block, sizeof(front->decode_block));
	arena_init(&front->encode, front->encode_block, sizeof(front->encode_block));
	*ret = front;
	return 0;
}

struct front *front_free(struct front *front)
{
	struct ipc *ipc;

	if (!front)
		return NULL;
	while ((ipc = list_first(&front->connections, struct ipc, node))) {
		ipc->end_drain_usec = 0;
		drop(ipc);
	}
	questions_deinit(front);
	users_deinit(&front->users);
	buf_deinit(&front->tables);
	arena_deinit(&front->decode);
	arena_deinit(&front->encode);
	free(front);
	return NULL;
}

void front_go_away(struct front *front, uint64_t deadline_usec)
{
	struct ipc *ipc;

	front->going_away = true;
	front->away_deadline = mono_add_usec(loop_now(front->options.loop), deadline_usec);
	list_foreach (ipc, &front->connections, node)
		if (ipc->state == IPC_OPEN)
			ipc_send_go_away(ipc, front->away_deadline, STOPS);
}

void front_end_all(struct front *front, const struct fault *fault)
{
	struct ipc *ipc;

	/* The drop comes with the end task, so the list does not change under us. */
	list_foreach (ipc, &front->connections, node)
		ipc_fail(ipc, fault);
}

size_t front_count(const struct front *front)
{
	return front->count;
}
