/*
 * Commands to muxd itself, and what a reload changes for those who are
 * connected. A command needs the right to control every upstream, for it is
 * felt by the sessions of all.
 */
#include "daemon/front/ipc.h"

#include "daemon/base/log.h"

#define LINES_BYTES_MAX (32u * 1024u) /* of texts in one answer: a header has room for it */

/* ------------------------------------------------------------------ commands */

static bool may_control(const struct ipc *ipc, struct fault *ret_fault)
{
	const struct front_options *options = &ipc->front->options;
	const struct mux_creds *creds = session_creds(ipc->session);
	struct upstream_info info;

	for (struct upstream *u = mux_first_upstream(options->mux); u && options->control;
	     u = mux_next_upstream(u)) {
		upstream_get_info(u, &info);
		if (!info.retired && !options->control(options->context, creds, info.name, ret_fault))
			return false;
	}
	return true;
}

void ipc_command(struct ipc *ipc, uint32_t request, enum front_command command)
{
	const struct front_options *options = &ipc->front->options;
	const struct mux_creds *creds = session_creds(ipc->session);
	struct front_ticket ticket = {session_id(ipc->session), request};
	struct fault fault;

	if (!may_control(ipc, &fault)) {
		log_notice("command %s of session %llu (pid %u, uid %u) was refused",
			   front_command_name(command), (unsigned long long)ticket.session, creds->pid,
			   creds->uid);
	} else if (!options->command) {
		fault = fault_make(540, "NOT_IMPLEMENTED - this muxd takes no commands");
	} else if (options->command(options->context, creds, command, &ticket, &fault)) {
		return; /* it is answered, or will be */
	}
	ipc_send_error(ipc, request, (struct mux_channel_id){0, 0}, SCOPE_REQUEST, &fault);
}

const char *front_command_name(enum front_command command)
{
	switch (command) {
	case FRONT_RELOAD:
		return "reload";
	case FRONT_DRAIN:
		return "drain";
	}
	return "unknown";
}

/* Who asked; NULL: it has left. */
static struct ipc *find_asker(const struct front *front, const struct front_ticket *ticket)
{
	struct ipc *ipc;

	list_foreach (ipc, &front->connections, node)
		if (ipc->state == IPC_OPEN && session_id(ipc->session) == ticket->session)
			return ipc;
	return NULL;
}

void front_done(struct front *front, const struct front_ticket *ticket)
{
	struct ipc *ipc = find_asker(front, ticket);

	if (ipc)
		ipc_send_done(ipc, ticket->request);
}

/* As many of the lines as have room; false: no memory. */
static bool pack_lines(struct front *front, const struct front_lines *lines, size_t *ret_count,
		       ProtobufCBinaryData **ret)
{
	size_t room = LINES_BYTES_MAX;
	ProtobufCBinaryData *packed;

	*ret_count = 0;
	*ret = NULL;
	if (lines->count == 0)
		return true;
	packed = arena_alloc(&front->encode, lines->count * sizeof(*packed));
	if (!packed)
		return false;
	*ret = packed;
	for (; *ret_count < lines->count; (*ret_count)++) {
		struct span line = span_str(lines->texts[*ret_count]);

		if (line.len > room)
			break;
		room -= line.len;
		packed[*ret_count] = bytes_of(line);
	}
	return true;
}

void front_reloaded(struct front *front, const struct front_ticket *ticket,
		    const struct front_reload_result *result)
{
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__Reloaded reloaded = MUXD__V1__RELOADED__INIT;
	struct ipc *ipc = find_asker(front, ticket);
	struct fault fault = fault_make_retryable(506, "RESOURCE_ERROR - no memory for the answer");

	if (!ipc)
		return;
	if (!pack_lines(front, &result->errors, &reloaded.n_errors, &reloaded.errors) ||
	    !pack_lines(front, &result->notes, &reloaded.n_notes, &reloaded.notes)) {
		ipc_send_error(ipc, ticket->request, (struct mux_channel_id){0, 0}, SCOPE_REQUEST, &fault);
	} else {
		reloaded.has_done = true;
		reloaded.done = result->done;
		frame.has_request = true;
		frame.request = ticket->request;
		frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_RELOADED;
		frame.reloaded = &reloaded;
		(void)ipc_send(ipc, &frame, SPAN_NULL);
	}
	arena_reset(&front->encode);
}

/* ------------------------------------------------------------------ other limits */

/* What it may have from now on; false: it may not be here any more. */
static bool limit(struct ipc *ipc, struct fault *ret_fault)
{
	const struct front_options *options = &ipc->front->options;
	const struct mux_creds *creds = session_creds(ipc->session);
	struct front_limits limits = options->limits;
	struct session_limits session;

	if (options->admit &&
	    !options->admit(options->context, creds, ipc_upstream_name(session_upstream(ipc->session)),
			    &limits, ret_fault))
		return false;
	session = front_session_limits(&limits);
	session_set_limits(ipc->session, &session);
	/* Frames are cut by what the client was told: what is above a lower limit ends its channel alone. */
	if (limits.message_max < ipc->limits.message_max)
		limits.message_max = ipc->limits.message_max;
	ipc->limits = limits;
	return true;
}

struct session_limits front_session_limits(const struct front_limits *limits)
{
	return (struct session_limits){
	    .memory = limits->session_memory,
	    .message_max = limits->message_max,
	    .channels = limits->channels_max,
	    .prefetch = limits->prefetch,
	};
}

void front_set_limits(struct front *front, const struct front_limits *limits, uint32_t sessions_max)
{
	struct ipc *ipc;
	struct fault fault;

	front->options.limits = *limits;
	front->options.sessions_max = sessions_max;
	/* Those who end are dropped by their end tasks, so the list does not change under us. */
	list_foreach (ipc, &front->connections, node) {
		if (ipc->state == IPC_GREETING)
			ipc->limits = *limits;
		else if (ipc->state == IPC_OPEN && !limit(ipc, &fault))
			ipc_fail(ipc, &fault);
	}
}

/* ------------------------------------------------------------------ an upstream that goes */

void front_leave_upstream(struct front *front, const struct upstream *upstream, uint64_t deadline_usec)
{
	struct mono deadline = mono_add_usec(loop_now(front->options.loop), deadline_usec);
	struct ipc *ipc;

	list_foreach (ipc, &front->connections, node)
		if (ipc->state == IPC_OPEN && session_upstream(ipc->session) == upstream)
			ipc_send_go_away(ipc, deadline, "the configuration has this upstream no more");
}

void front_end_upstream(struct front *front, const struct upstream *upstream, const struct fault *fault)
{
	struct ipc *ipc;

	list_foreach (ipc, &front->connections, node)
		if (ipc->state == IPC_OPEN && session_upstream(ipc->session) == upstream)
			ipc_fail(ipc, fault);
}
