#include "daemon/conf/keys.h"

#define NAME_MAX_BYTES 64u

static const char *problem_of_socket(const char *text)
{
	if (text[0] != '/')
		return "must be an absolute path";
	/* sun_path has 108 bytes with the NUL. */
	return strlen(text) > 107 ? "is longer than a Unix socket's path can be (107 bytes)" : NULL;
}

static const char *problem_of_path(const char *text)
{
	return text[0] && text[0] != '/' ? "must be an absolute path" : NULL;
}

static const char *problem_of_prefix(const char *text)
{
	if (strlen(text) < 4 || strlen(text) > 100)
		return "must have 4 to 100 characters";
	for (const char *p = text; *p; p++)
		if (*p < ' ' || *p > '~')
			return "must be printable ASCII";
	return strncmp(text, "amq.", 4) == 0 ? "must not begin with \"amq.\", which brokers reserve" : NULL;
}

const char *keys_name_problem(const char *text)
{
	if (text[0] == 0 || strlen(text) > NAME_MAX_BYTES)
		return "a name must have 1 to 64 characters";
	for (const char *p = text; *p; p++)
		if (!(*p >= 'a' && *p <= 'z') && !(*p >= 'A' && *p <= 'Z') && !(*p >= '0' && *p <= '9') &&
		    !strchr("._-", *p))
			return "a name has letters, digits, \".\", \"_\" and \"-\" only";
	return NULL;
}

static const char *const sasl_choices[] = {"plain", "external", NULL};
static const char *const verify_choices[] = {"full", "ca", "none", NULL};

#define LONGEST "8760h"
#define SESSIONS_MOST "1000000"

/* STRUCT is what the table's offsets are in. */
#define STRING(key, field, check)                                                                     \
	{                                                                                             \
		.name = key, .kind = KIND_STRING, .offset = offsetof(STRUCT, field), .problem = check \
	}
#define ITS_FILE(key, field)                                                              \
	{                                                                                 \
		.name = key, .kind = KIND_STRING, .offset = offsetof(STRUCT, field),      \
		.problem = problem_of_path, .line_offset = offsetof(STRUCT, field##_line) \
	}
#define PLAIN(key, field, its_kind)                                                     \
	{                                                                               \
		.name = key, .kind = KIND_##its_kind, .offset = offsetof(STRUCT, field) \
	}
#define CHOICE(key, field, all)                                                                     \
	{                                                                                           \
		.name = key, .kind = KIND_CHOICE, .offset = offsetof(STRUCT, field), .choices = all \
	}
#define RANGE(key, field, its_kind, from, to)                                                           \
	{                                                                                               \
		.name = key, .kind = KIND_##its_kind, .offset = offsetof(STRUCT, field), .least = from, \
		.most = to                                                                              \
	}
#define END                  \
	{                    \
		.name = NULL \
	}

#define STRUCT struct conf
const struct key keys_global[] = {
    STRING("socket", socket, problem_of_socket),
    PLAIN("socket-group", socket_group, STRING),
    PLAIN("socket-mode", socket_mode, MODE),
    PLAIN("log-level", log_level, LEVEL),
    PLAIN("audit", audit, BOOL),
    RANGE("drain-timeout", drain_timeout_usec, USEC, "0", LONGEST),
    RANGE("request-timeout", request_timeout_usec, USEC, "1ms", LONGEST),
    RANGE("publish-timeout", publish_timeout_usec, USEC, "1ms", LONGEST),
    END,
};
#undef STRUCT

#define STRUCT struct conf_upstream
const struct key keys_upstream[] = {
    PLAIN("uri", endpoints, URIS),
    ITS_FILE("password-file", password_file),
    CHOICE("sasl", sasl, sasl_choices),
    PLAIN("plain-without-tls", plain_without_tls, BOOL),
    RANGE("heartbeat", heartbeat_usec, USEC, "1s", "65535s"),
    RANGE("connect-timeout", connect_timeout_usec, USEC, "1ms", LONGEST),
    RANGE("reconnect-min", reconnect_min_usec, USEC, "1ms", LONGEST),
    RANGE("reconnect-max", reconnect_max_usec, USEC, "1ms", LONGEST),
    RANGE("warm-lanes", warm_lanes, NUMBER, "0", "2047"),
    RANGE("unconfirmed-messages", unconfirmed_messages, NUMBER, "1", "1000000"),
    RANGE("unconfirmed-bytes", unconfirmed_bytes, BYTES, "64K", "1024G"),
    PLAIN("adaptive-window", adaptive_window, BOOL),
    STRING("generated-queue-prefix", generated_queue_prefix, problem_of_prefix),
    ITS_FILE("tls-ca", tls_ca),
    ITS_FILE("tls-cert", tls_cert),
    ITS_FILE("tls-key", tls_key),
    CHOICE("tls-verify", tls_verify, verify_choices),
    END,
};
#undef STRUCT

#define STRUCT struct conf_limits
const struct key keys_limits[] = {
    RANGE("total-memory", total_memory_bytes, BYTES, "1M", "1024G"),
    RANGE("session-memory", session_memory_bytes, BYTES, "128K", "1024G"),
    RANGE("message-max", message_max_bytes, BYTES, "1K", "512M"),
    RANGE("sessions", sessions, NUMBER, "1", SESSIONS_MOST),
    RANGE("sessions-per-uid", sessions_per_uid, NUMBER, "1", SESSIONS_MOST),
    RANGE("channels-per-session", channels_per_session, NUMBER, "1", "65535"),
    RANGE("prefetch", prefetch, NUMBER, "1", "65535"),
    END,
};
#undef STRUCT

#define STRUCT struct conf_access
const struct key keys_access[] = {
    PLAIN("user", users, IDS),
    PLAIN("group", groups, IDS),
    PLAIN("upstream", upstreams, NAMES),
    PLAIN("configure", configure, STRING),
    PLAIN("write", write, STRING),
    PLAIN("read", read, STRING),
    PLAIN("control", control, BOOL),
    RANGE("session-memory", limits.session_memory_bytes, BYTES, "128K", "1024G"),
    RANGE("message-max", limits.message_max_bytes, BYTES, "1K", "512M"),
    RANGE("sessions-per-uid", limits.sessions_per_uid, NUMBER, "1", SESSIONS_MOST),
    RANGE("channels-per-session", limits.channels_per_session, NUMBER, "1", "65535"),
    RANGE("prefetch", limits.prefetch, NUMBER, "1", "65535"),
    END,
};
#undef STRUCT

_Static_assert(sizeof(keys_upstream) / sizeof(keys_upstream[0]) <= KEYS_MAX, "the longest table fits");
