/*
 * Who is to blame when the broker closes the whole connection.
 *
 * Most losses are the network's, and everything is sent again. But when the
 * broker says that it was a mistake (a close with a code that is the client's
 * doing), or drops the connection twice in a row for no reason it says, then
 * the channels that had something under way are suspects. They are held back
 * on the next connection, where everybody else goes on, while the scout tries
 * what they had under way, half by half: publishes in a transaction that is
 * rolled back, so that nothing of them is felt. If that finds nobody, and the
 * broker said that it was a mistake, it sends publishes for good (suspect.h).
 *
 * When no method is named, consumers of streams are suspects, too: by what is
 * delivered to them. They are tried before they are subscribed again.
 *
 * The scout cannot know everything: an exclusive queue, for one, is not its
 * own. If the broker says that it was a mistake, and the scout finds nobody, the
 * suspects go on one after the other, with one operation at a time. Which one
 * the connection is lost by then was it, if the scout finds nobody else again,
 * and nobody who went on beside it may have been it.
 *
 * Of a transaction nothing is kept that could be tried. It was the one if it was
 * the only one, and all others are cleared.
 *
 * What the scout's connection is closed for is answered with the broker's own
 * error, and its channel ends; the same again is refused beforehand. A process
 * of which so much is found is quarantined: its session ends, and it gets no
 * other one for a while.
 *
 * What cannot be tried without doing it (purge, delete) is never sent again:
 * its outcome is unknown.
 */
#pragma once

#include "daemon/mux/state.h"

void blame_init(struct upstream *upstream);
void blame_deinit(struct upstream *upstream);

/* The connection was lost, by that fault; its lanes, if it had come so far, are still as they were. */
void blame_connection_lost(struct upstream *upstream, const struct fault *fault);

/* The lanes are gone, and what was under way is back in its channels' queues: the guilty one ends, trials
 * begin. */
void blame_begin(struct upstream *upstream);

/* On an open connection: the next of those that go on one after the other. */
void blame_turn(struct upstream *upstream);

/* The channel ends: there is nothing to try any more. */
void blame_forget(struct channel *channel);
