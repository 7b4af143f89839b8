/*
 * Building the message that publish and call send.
 */
#include "client/tool/post.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BODY_MAX ((size_t)128 * 1024 * 1024) /* no muxd takes more; its limit is told by muxd */

bool post_init(struct ctl *ctl, struct post *post)
{
	memset(post, 0, sizeof(*post));
	if (muxc_message_new(&post->message) == 0 && muxc_table_new(&post->headers) == 0)
		return true;
	(void)ctl_fail_errno(ctl, "cannot make a message", ENOMEM);
	return false;
}

void post_deinit(struct post *post)
{
	post->message = muxc_message_unref(post->message);
	post->headers = muxc_table_free(post->headers);
	if (post->body_owned)
		free(post->body);
	post->body = NULL;
}

bool post_option(struct ctl *ctl, struct post *post, int letter)
{
	switch (letter) {
	case 'e':
		post->exchange = optarg;
		return option_name(ctl, "exchange", optarg);
	case 'r':
		post->routing_key = optarg;
		return option_name(ctl, "routing key", optarg);
	case 'p':
		return muxc_message_set_number(post->message, MUXC_DELIVERY_MODE, 2) == 0;
	case 't':
		return option_name(ctl, "content type", optarg) &&
		       muxc_message_set_text(post->message, MUXC_CONTENT_TYPE, optarg, MUXC_STRLEN) == 0;
	case 'H':
		return option_field(ctl, post->headers, optarg, false);
	default:
		return option_property(ctl, post->message, optarg);
	}
}

bool post_finish(struct ctl *ctl, struct post *post)
{
	struct muxc_iter iter;

	muxc_table_iter(post->headers, &iter);
	if (iter.at == iter.end || muxc_message_set_headers(post->message, post->headers) == 0)
		return true;
	(void)ctl_fail_errno(ctl, "cannot make a message", ENOMEM);
	return false;
}

/* Reads to the end; a regular file or a pipe. */
static bool read_all(struct ctl *ctl, struct post *post)
{
	size_t capacity = 0;
	char *grown;
	ssize_t n;

	post->body_owned = true;
	for (;;) {
		if (post->body_len == capacity) {
			capacity = capacity ? capacity * 2 : 65536;
			grown = capacity <= BODY_MAX * 2 ? realloc(post->body, capacity) : NULL;
			if (!grown) {
				(void)ctl_fail_errno(ctl, "stdin", capacity > BODY_MAX * 2 ? EFBIG : ENOMEM);
				return false;
			}
			post->body = grown;
		}
		n = read(STDIN_FILENO, post->body + post->body_len, capacity - post->body_len);
		if (n == 0)
			return true;
		if (n > 0)
			post->body_len += (size_t)n;
		else if (errno != EINTR) {
			(void)ctl_fail_errno(ctl, "cannot read stdin", errno);
			return false;
		}
	}
}

bool post_read_body(struct ctl *ctl, struct post *post, int argc, char **argv)
{
	if (optind >= argc)
		return read_all(ctl, post);
	post->body = argv[optind];
	post->body_len = strlen(argv[optind]);
	return true;
}

int post_publish(struct ctl *ctl, const struct post *post, const char *body, size_t len, unsigned int flags,
		 uint64_t *ret_number, struct muxc_error *error)
{
	struct muxc_publication publication = {
	    .size = sizeof(publication),
	    .exchange = post->exchange,
	    .routing_key = post->routing_key,
	    .message = post->message,
	    .body = len ? body : "",
	    .body_len = len,
	    .flags = flags,
	    .outcome_timeout_usec = ctl_timeout(ctl),
	};

	return muxc_publish_full(ctl->channel, &publication, ctl_timeout(ctl), ret_number, error);
}

const char *post_outcome_words(int kind)
{
	switch (kind) {
	case MUXC_RETURNED:
		return "it went to no queue";
	case MUXC_NACKED:
		return "the broker has refused it";
	case MUXC_FAILED:
		return "not published";
	default:
		return "outcome unknown, it may be at the broker or not";
	}
}
