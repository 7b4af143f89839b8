/*
 * Questions about muxd itself wait here for their turn. An answer is a page of
 * a list that may be long, and whoever may connect can ask without end: so each
 * turn of the loop gives one answer, to the sessions that ask in turn.
 */
#include "daemon/front/ipc.h"

#include <stdlib.h>

#define SOON_USEC 1u /* the next turn */

static void answer(struct ipc *ipc, const struct question *question)
{
	switch (question->kind) {
	case QUESTION_STATUS:
		ipc_send_status(ipc, question->request);
		break;
	case QUESTION_SESSIONS:
		ipc_send_sessions(ipc, question->request, question->session);
		break;
	case QUESTION_CHANNELS:
		ipc_send_channels(ipc, question->request, question->session, question->channel);
		break;
	case QUESTION_RECORDER:
		ipc_send_recorder(ipc, question->request, question->session);
		break;
	}
}

static void arm(struct front *front, struct mono when)
{
	if (!timer_is_set(&front->answer_timer))
		loop_set_timer(front->options.loop, &front->answer_timer, when);
}

/* The first one of a session that may still be answered; freed by the caller. */
static struct question *take(struct ipc *ipc)
{
	struct question *question = list_first(&ipc->questions, struct question, node);

	list_unlink(&question->node);
	ipc->question_count--;
	list_unlink(&ipc->asker_node);
	if (ipc->question_count > 0)
		list_append(&ipc->front->askers, &ipc->asker_node);
	return question;
}

static void on_turn(struct timer *timer, struct mono now)
{
	struct front *front = container_of(timer, struct front, answer_timer);
	struct ipc *ipc = list_first(&front->askers, struct ipc, asker_node);
	struct question *question;

	if (!ipc)
		return;
	question = take(ipc);
	answer(ipc, question);
	free(question);
	if (!list_empty(&front->askers))
		arm(front, mono_add_usec(now, SOON_USEC));
}

void questions_init(struct front *front)
{
	list_init(&front->askers);
	timer_init(&front->answer_timer, on_turn);
}

void questions_deinit(struct front *front)
{
	loop_clear_timer(front->options.loop, &front->answer_timer);
}

void ipc_ask(struct ipc *ipc, const struct question *source)
{
	struct question *question = malloc(sizeof(*question));
	struct fault fault;

	if (!question) {
		fault = fault_make_retryable(506, "RESOURCE_ERROR - no memory for a question");
		ipc_send_error(ipc, source->request, (struct mux_channel_id){0, 0}, SCOPE_REQUEST, &fault);
		return;
	}
	*question = *source;
	list_init(&question->node);
	list_append(&ipc->questions, &question->node);
	ipc->question_count++;
	if (list_empty(&ipc->asker_node))
		list_append(&ipc->front->askers, &ipc->asker_node);
	arm(ipc->front, loop_now(ipc->front->options.loop));
}

void ipc_forget_questions(struct ipc *ipc)
{
	while (ipc->question_count > 0)
		free(take(ipc));
	list_unlink(&ipc->asker_node);
}
