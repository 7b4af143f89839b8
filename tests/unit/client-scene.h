/*
 * A connection of libmuxclient to the fake muxd, and all that either was told,
 * as text: what the fake read ("open 1|publish 1 a|") and what handlers were
 * called for ("lost|back|1-2 confirmed|"). So a test compares sequences.
 */
#pragma once

#include "tests/unit/client-fake.h"

struct trace {
	pthread_mutex_t lock;
	char text[16384];
	char told[4096];
	bool ages;   /* told of publishes that are sent later */
	int link[4]; /* how often, by enum muxc_link_state */
	int messages;
	int refused;
	int outcomes;
	int channel_closed;
	int closed;
	struct muxc_error error;
	uint64_t resent;
	uint32_t attempts;
	uint64_t tag;
};

struct scene {
	struct fake fake;
	struct trace trace;
	struct muxc *c;
	struct muxc_channel *channel;
	int mode; /* 0 threaded, 1 loop */
};

/* Appends to trace->text or trace->told. */
void note(struct trace *trace, char *text, size_t size, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#define NOTE(trace, ...) note(trace, (trace)->text, sizeof((trace)->text), __VA_ARGS__)
#define TELL(trace, ...) note(trace, (trace)->told, sizeof((trace)->told), __VA_ARGS__)

/* As on_frame of the fake: note_frame(), and then answers as it would. */
bool trace_all(struct fake *fake, const Muxd__V1__ClientFrame *frame, struct span payload);
void note_frame(struct trace *trace, const Muxd__V1__ClientFrame *frame, struct span payload);

void scene_init(struct scene *scene, int mode);
/* With the scene's handlers, and a first channel. */
void scene_connect(struct scene *scene, struct muxc_options *options);
/* All three, with options that are empty. */
void scene_begin(struct scene *scene, int mode);
struct muxc_channel *scene_channel(struct scene *scene);
void scene_end(struct scene *scene);

/* muxd is gone, and nobody listens until scene_revive(). */
void scene_lose(struct scene *scene);
void scene_revive(struct scene *scene);
/* It is gone and another is there at once; until that has greeted. */
void scene_replace(struct scene *scene);

/* muxd asks to leave. */
void go_away(struct scene *scene, uint32_t deadline_ms);

/* Lets the library work a little. */
void step(struct scene *scene);
/* Until the fake was told this. */
void until_text(struct scene *scene, const char *what);
void until_told(struct scene *scene, const char *what);
void until_link(struct scene *scene, int state, int count);
/* muxd has answered, and knows the channel. */
void ready(struct scene *scene);
/* What comes from now on. */
void forget(struct scene *scene);
void expect_text(struct scene *scene, const char *text);
/* The same, while that time has not come, from which on there may be more. */
void expect_text_before(struct scene *scene, const char *text, uint64_t usec);
void expect_told(struct scene *scene, const char *text);
/* To queue q, on the first channel; its number. */
uint64_t publish(struct scene *scene, const char *body);
