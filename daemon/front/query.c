/*
 * What muxd says about itself: status, sessions, channels, recorders. Lists go page by
 * page, so that no answer is larger than a header may be.
 */
#include "daemon/front/ipc.h"

#include <unistd.h>

#define PAGE_ENTRIES_MAX 500u
#define UPSTREAMS_MAX 256u /* in one status */
#define USERS_MAX 500u	   /* the same */
#define RECORDER_ENTRIES_MAX 256u

static void refuse_no_memory(struct ipc *ipc, uint32_t request)
{
	struct fault fault = session_no_memory(ipc->session, "the answer");

	arena_reset(&ipc->front->encode);
	ipc_send_error(ipc, request, (struct mux_channel_id){0, 0}, SCOPE_REQUEST, &fault);
}

/* What the socket does not take is in the output, and the session's to pay. */
static void send_answer(struct ipc *ipc, Muxd__V1__ServerFrame *frame, uint32_t request)
{
	struct fault fault = fault_make(541, "INTERNAL_ERROR - the answer does not fit into a frame");
	struct mux_handed handed;

	frame->has_request = true;
	frame->request = request;
	if (!session_has_room(ipc->session, muxd__v1__server_frame__get_packed_size(frame))) {
		refuse_no_memory(ipc, request);
		return;
	}
	handed = ipc_send(ipc, frame, SPAN_NULL);
	if (handed.position == 0)
		ipc_send_error(ipc, request, (struct mux_channel_id){0, 0}, SCOPE_REQUEST, &fault);
	else
		session_was_handed(ipc->session, &handed);
	arena_reset(&ipc->front->encode);
}

/* An array of pointers to count entries of this size, all in the arena; NULL: no memory. */
static void **alloc_entries(struct front *front, size_t count, size_t entry_size)
{
	void **entries = arena_alloc(&front->encode, count * sizeof(*entries));
	uint8_t *block = arena_alloc(&front->encode, count * entry_size);

	if (!entries || !block)
		return NULL;
	for (size_t i = 0; i < count; i++)
		entries[i] = block + i * entry_size;
	return entries;
}

#define SET(message, member, value)             \
	do {                                    \
		(message)->has_##member = true; \
		(message)->member = (value);    \
	} while (0)

/* ------------------------------------------------------------------ status */

struct upstream_room {
	Muxd__V1__UpstreamStatus status;
	Muxd__V1__Lanes lanes;
};

static void fill_upstream(struct upstream_room *room, const struct upstream *upstream)
{
	Muxd__V1__UpstreamStatus *status = &room->status;
	Muxd__V1__Lanes *lanes = &room->lanes;
	struct upstream_info info;

	upstream_get_info(upstream, &info);
	muxd__v1__lanes__init(lanes);
	SET(lanes, max, info.lanes_max);
	SET(lanes, open, info.lanes_open);
	SET(lanes, leased, info.lanes_leased);
	SET(lanes, warm, info.lanes_warm);
	muxd__v1__upstream_status__init(status);
	SET(status, name, bytes_of(span_str(info.name)));
	SET(status, state, ipc_upstream_state(info.state));
	SET(status, endpoint, bytes_of(span_str(info.endpoint)));
	SET(status, epoch, info.epoch);
	SET(status, reconnects, info.reconnects);
	SET(status, last_error, bytes_of(span_str(info.last_error)));
	SET(status, unconfirmed, info.unconfirmed);
	SET(status, broker, bytes_of(span_str(info.broker)));
	status->lanes = lanes;
}

static size_t count_upstreams(struct mux *mux)
{
	size_t count = 0;

	for (struct upstream *u = mux_first_upstream(mux); u && count < UPSTREAMS_MAX;
	     u = mux_next_upstream(u))
		count++;
	return count;
}

/* NULL: no memory. */
static Muxd__V1__UserStatus **list_users(struct front *front, size_t *ret_count)
{
	const struct mux *mux = front->options.mux;
	const struct user *user = NULL;
	struct user_info info;
	size_t most = 0, count = 0;
	void **entries;

	while (most < USERS_MAX && (user = mux_next_user(mux, user, &info)))
		most++;
	entries = alloc_entries(front, most, sizeof(Muxd__V1__UserStatus));
	for (user = NULL; entries && count < most && (user = mux_next_user(mux, user, &info));) {
		Muxd__V1__UserStatus *entry = entries[count++];

		muxd__v1__user_status__init(entry);
		SET(entry, uid, info.uid);
		SET(entry, sessions, info.sessions);
		SET(entry, sessions_limit, front->options.limits.sessions_per_uid);
		SET(entry, memory_used, info.memory_used);
		SET(entry, memory_limit, info.memory_limit);
	}
	*ret_count = count;
	return (Muxd__V1__UserStatus **)entries;
}

void ipc_send_status(struct ipc *ipc, uint32_t request)
{
	struct front *front = ipc->front;
	struct mux *mux = front->options.mux;
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__Status status = MUXD__V1__STATUS__INIT;
	struct upstream *upstream = mux_first_upstream(mux);
	size_t count = count_upstreams(mux);
	void **rooms = alloc_entries(front, count, sizeof(struct upstream_room));

	status.users = list_users(front, &status.n_users);
	if (!rooms || !status.users) {
		refuse_no_memory(ipc, request);
		return;
	}
	for (size_t i = 0; i < count; i++, upstream = mux_next_upstream(upstream))
		fill_upstream(rooms[i], upstream);
	status.n_upstreams = count;
	status.upstreams = (Muxd__V1__UpstreamStatus **)rooms; /* the status is each room's first member */
	SET(&status, version, bytes_of(span_str(front->options.version)));
	SET(&status, pid, (uint32_t)getpid());
	SET(&status, uptime_seconds,
	    mono_since_usec(loop_now(front->options.loop), front->started) / USEC_PER_SEC);
	SET(&status, sessions, mux_session_count(mux));
	SET(&status, sessions_limit, front->options.sessions_max);
	SET(&status, memory_used, mux_memory_used(mux));
	SET(&status, memory_limit, mux_memory_limit(mux));
	SET(&status, draining, front->going_away);
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_STATUS;
	frame.status = &status;
	send_answer(ipc, &frame, request);
}

/* ------------------------------------------------------------------ sessions */

static void fill_session(Muxd__V1__SessionInfo *entry, const struct session_info *info)
{
	muxd__v1__session_info__init(entry);
	SET(entry, id, info->id);
	SET(entry, pid, info->pid);
	SET(entry, uid, info->uid);
	SET(entry, gid, info->gid);
	SET(entry, program, bytes_of(info->program));
	SET(entry, upstream, bytes_of(span_str(info->upstream)));
	SET(entry, age_seconds, info->age_usec / USEC_PER_SEC);
	SET(entry, channels, info->channels);
	SET(entry, consumers, info->consumers);
	SET(entry, unconfirmed, info->unconfirmed);
	SET(entry, unacked, info->unacked);
	SET(entry, published, info->published);
	SET(entry, delivered, info->delivered);
	SET(entry, memory_used, info->memory_used);
	SET(entry, memory_limit, info->memory_limit);
}

void ipc_send_sessions(struct ipc *ipc, uint32_t request, uint64_t after)
{
	const struct mux *mux = ipc->front->options.mux;
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__Sessions sessions = MUXD__V1__SESSIONS__INIT;
	void **entries = alloc_entries(ipc->front, PAGE_ENTRIES_MAX, sizeof(Muxd__V1__SessionInfo));
	struct session_info info;

	if (!entries) {
		refuse_no_memory(ipc, request);
		return;
	}
	for (bool any = mux_next_session(mux, after, &info); any; any = mux_look_on(mux, &info)) {
		if (sessions.n_sessions == PAGE_ENTRIES_MAX) {
			SET(&sessions, more, true);
			break;
		}
		fill_session(entries[sessions.n_sessions++], &info);
	}
	sessions.sessions = (Muxd__V1__SessionInfo **)entries;
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_SESSIONS;
	frame.sessions = &sessions;
	send_answer(ipc, &frame, request);
}

/* ------------------------------------------------------------------ channels */

static void fill_channel(Muxd__V1__ChannelInfo *entry, const struct channel_info *info)
{
	muxd__v1__channel_info__init(entry);
	SET(entry, session, info->session);
	SET(entry, channel, info->id.number);
	SET(entry, generation, info->id.generation);
	SET(entry, lane, info->lane);
	SET(entry, consumers, info->consumers);
	SET(entry, prefetch, info->prefetch);
	SET(entry, unconfirmed, info->unconfirmed);
	SET(entry, unacked, info->unacked);
}

void ipc_send_channels(struct ipc *ipc, uint32_t request, uint64_t after_session, uint32_t after_channel)
{
	const struct mux *mux = ipc->front->options.mux;
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__Channels channels = MUXD__V1__CHANNELS__INIT;
	void **entries = alloc_entries(ipc->front, PAGE_ENTRIES_MAX, sizeof(Muxd__V1__ChannelInfo));
	struct channel_info info;

	if (!entries) {
		refuse_no_memory(ipc, request);
		return;
	}
	for (bool any = mux_next_channel(mux, after_session, after_channel, &info); any;
	     any = mux_look_on_channels(mux, &info)) {
		if (channels.n_channels == PAGE_ENTRIES_MAX) {
			SET(&channels, more, true);
			break;
		}
		fill_channel(entries[channels.n_channels++], &info);
	}
	channels.channels = (Muxd__V1__ChannelInfo **)entries;
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_CHANNELS;
	frame.channels = &channels;
	send_answer(ipc, &frame, request);
}

/* ------------------------------------------------------------------ recorder */

struct record_room {
	Muxd__V1__RecorderEntry entry;
	struct record_info info;
};

static void fill_record(struct record_room *room)
{
	static const Muxd__V1__RecordEnd ends[] = {
	    [RECORD_UNANSWERED] = MUXD__V1__RECORD_END__UNANSWERED,
	    [RECORD_ANSWERED] = MUXD__V1__RECORD_END__ANSWERED,
	    [RECORD_REFUSED] = MUXD__V1__RECORD_END__REFUSED,
	};
	const struct record_info *info = &room->info;
	Muxd__V1__RecorderEntry *entry = &room->entry;

	muxd__v1__recorder_entry__init(entry);
	SET(entry, age_ms, info->age_usec / USEC_PER_MSEC);
	SET(entry, channel, info->channel.number);
	SET(entry, generation, info->channel.generation);
	SET(entry, operation, bytes_of(span_str(info->operation)));
	SET(entry, count, info->count);
	SET(entry, end, ends[info->end]);
	if (info->code != 0)
		SET(entry, code, info->code);
	SET(entry, unanswered, info->unanswered);
}

/* One's own uid's sessions, or those that one may control. */
static struct session *find_recorded(struct ipc *ipc, uint64_t id, struct fault *ret_fault)
{
	const struct front_options *options = &ipc->front->options;
	struct session *session = mux_find_session(options->mux, id);
	const struct mux_creds *own = session_creds(ipc->session);

	if (!session) {
		*ret_fault = fault_make(404, "NOT_FOUND - there is no session %llu", (unsigned long long)id);
		return NULL;
	}
	if (own->uid == session_creds(session)->uid || !options->control)
		return session;
	return options->control(options->context, own, ipc_upstream_name(session_upstream(session)),
				ret_fault)
		   ? session
		   : NULL;
}

void ipc_send_recorder(struct ipc *ipc, uint32_t request, uint64_t id)
{
	Muxd__V1__ServerFrame frame = MUXD__V1__SERVER_FRAME__INIT;
	Muxd__V1__Recorder recorder = MUXD__V1__RECORDER__INIT;
	struct fault fault;
	struct session *session = find_recorded(ipc, id, &fault);
	struct record_room *room;
	void **rooms;
	uint32_t after = 0;

	if (!session) {
		ipc_send_error(ipc, request, (struct mux_channel_id){0, 0}, SCOPE_REQUEST, &fault);
		return;
	}
	rooms = alloc_entries(ipc->front, RECORDER_ENTRIES_MAX, sizeof(*room));
	if (!rooms) {
		refuse_no_memory(ipc, request);
		return;
	}
	while (recorder.n_entries < RECORDER_ENTRIES_MAX) {
		room = rooms[recorder.n_entries];
		if (!session_next_record(session, after, &room->info))
			break;
		fill_record(room);
		after = room->info.serial;
		recorder.n_entries++;
	}
	recorder.entries = (Muxd__V1__RecorderEntry **)rooms; /* the entry is each room's first member */
	frame.event_case = MUXD__V1__SERVER_FRAME__EVENT_RECORDER;
	frame.recorder = &recorder;
	send_answer(ipc, &frame, request);
}
