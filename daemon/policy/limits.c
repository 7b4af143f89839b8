#include "daemon/policy/limits.h"

static uint64_t lower(uint64_t whole, uint64_t override)
{
	return override > 0 && override < whole ? override : whole;
}

struct limits limits_lower(const struct limits *whole, const struct limits *override)
{
	return (struct limits){
	    .session_memory_bytes = lower(whole->session_memory_bytes, override->session_memory_bytes),
	    .message_max_bytes = lower(whole->message_max_bytes, override->message_max_bytes),
	    .sessions_per_uid = lower(whole->sessions_per_uid, override->sessions_per_uid),
	    .channels_per_session = lower(whole->channels_per_session, override->channels_per_session),
	    .prefetch = lower(whole->prefetch, override->prefetch),
	};
}
