#include "daemon/mux/user.h"

#include "daemon/amqp/reply.h"
#include "daemon/mux/state/mux.h"
#include "daemon/mux/state/session.h"
#include "daemon/mux/state/share.h"

#include <assert.h>
#include <stdlib.h>

#define SHARE 3u	  /* times what is left free */
#define SHARE_ORPHANED 1u /* the same of what sessions left behind */
#define SHORT_BYTES 4096u /* who has less than that left has used up its memory */

static struct span key_of(const uint32_t *uid)
{
	return span_make(uid, sizeof(*uid));
}

bool user_ref_take(struct user_ref *ref, struct mux *mux, uint32_t uid)
{
	struct map_node *node = map_find(&mux->users, key_of(&uid));
	struct user *user = node ? container_of(node, struct user, map_node) : NULL;

	assert(!ref->user);
	if (!user) {
		user = calloc(1, sizeof(*user));
		if (!user)
			return false;
		user->mux = mux;
		user->uid = uid;
		user->memory = ACCOUNT_INIT_SHARE(&mux->memory, SHARE);
		user->orphaned = ACCOUNT_INIT_SHARE(&mux->orphaned, SHARE_ORPHANED);
		if (map_add(&mux->users, &user->map_node, key_of(&user->uid)) < 0) {
			free(user);
			return false;
		}
		list_append(&mux->user_list, &user->node);
	}
	user->references++;
	ref->user = user;
	return true;
}

void user_ref_copy(struct user_ref *to, const struct user_ref *from)
{
	assert(!to->user);
	from->user->references++;
	to->user = from->user;
}

void user_ref_end(struct user_ref *ref)
{
	struct user *user = ref->user;

	ref->user = NULL;
	if (!user || --user->references > 0)
		return;
	assert(user->memory.used == 0 && user->orphaned.used == 0);
	map_remove(&user->mux->users, &user->map_node);
	list_unlink(&user->node);
	free(user);
}

static uint64_t used_by(const struct user *user)
{
	return user->memory.used + user->orphaned.used;
}

static const struct user *largest(const struct mux *mux)
{
	const struct user *user, *most = NULL;

	list_foreach (user, &mux->user_list, node)
		if (!most || used_by(user) > used_by(most))
			most = user;
	return most;
}

const struct user *mux_next_user(const struct mux *mux, const struct user *after, struct user_info *ret)
{
	struct list *next = after ? after->node.next : mux->user_list.next;
	const struct user *user;

	if (next == &mux->user_list)
		return NULL;
	user = container_of(next, struct user, node);
	*ret = (struct user_info){
	    .uid = user->uid,
	    .sessions = user->sessions,
	    .memory_used = used_by(user),
	    .memory_limit = user->memory.used + account_free(&user->memory),
	};
	return user;
}

struct fault user_no_memory(const struct session *session, const char *for_what)
{
	const struct mux *mux = session->mux;
	const struct user *user = session->user.user;
	const struct user *most;

	if (session->memory.used + SHORT_BYTES > session->memory.limit)
		return fault_make_retryable(
		    AMQC_RESOURCE_ERROR,
		    "RESOURCE_ERROR - no memory for %s: session-memory is %llu bytes, and "
		    "this session uses %llu",
		    for_what, (unsigned long long)session->memory.limit,
		    (unsigned long long)session->memory.used);
	if (account_free(&mux->memory) >= SHORT_BYTES && account_free(&user->memory) >= SHORT_BYTES)
		return fault_make_retryable(AMQC_RESOURCE_ERROR, "RESOURCE_ERROR - no memory for %s",
					    for_what);
	most = largest(mux);
	return fault_make_retryable(
	    AMQC_RESOURCE_ERROR,
	    "RESOURCE_ERROR - no memory for %s: total-memory is %llu bytes, %llu are used; "
	    "uid %u uses %llu, and most uses uid %u, %llu",
	    for_what, (unsigned long long)mux->memory.limit, (unsigned long long)mux->memory.used,
	    (unsigned int)user->uid, (unsigned long long)user->memory.used, (unsigned int)most->uid,
	    (unsigned long long)used_by(most));
}
