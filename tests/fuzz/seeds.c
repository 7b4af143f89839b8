/*
 * Writes the seeds of the AMQP targets: seeds FOLDER makes FOLDER/amqp-frame
 * and so on, a few small files each, always the same ones. Built with the
 * tests, so that it stays right, and run by whoever changes the codec.
 */
#include "tests/unit/codec-gen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define SEED_MAX 600u /* bytes: long ones slow the fuzzer down */

static void seed_write(const char *folder, const char *target, const char *name, struct span bytes)
{
	char path[4096];
	FILE *file;

	if (bytes.len > SEED_MAX)
		return;
	snprintf(path, sizeof(path), "%s/%s/%s", folder, target, name);
	file = fopen(path, "wb");
	if (!file || (bytes.len > 0 && fwrite(bytes.data, 1, bytes.len, file) != bytes.len) || fclose(file)) {
		perror(path);
		exit(1);
	}
}

/* Methods: the payload alone, and a few whole ones as frames. */
static void seed_methods(const char *folder, struct gen *gen)
{
	for (size_t i = 0; i < GEN_METHOD_COUNT; i++) {
		uint32_t id = gen_method_id(i);
		struct amqc_method method;
		struct buf out = BUF_INIT;

		/* the first that is small enough */
		for (uint64_t seed = i; buf_len(&out) == 0 || buf_len(&out) > SEED_MAX; seed++) {
			buf_truncate(&out, 0);
			gen_init(gen, seed);
			gen_method(gen, id, &method);
			if (amqc_method_append(&out, (uint16_t)i, &method) != AMQC_OK)
				abort();
		}
		seed_write(folder, "amqp-method", amqc_method_name(id),
			   span_first(span_skip(buf_span(&out), 7), buf_len(&out) - 8));
		buf_deinit(&out);
	}
}

static void seed_tables(const char *folder, struct gen *gen)
{
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct buf out = BUF_INIT;
		char name[32];

		gen_init(gen, seed);
		buf_append_u8(&out, seed % 2);
		buf_append_span(&out, gen_table(gen, seed % 2, seed < 10 ? 1 : 3));
		snprintf(name, sizeof(name), "random-%02u", (unsigned int)seed);
		seed_write(folder, "amqp-table", name, buf_span(&out));
		buf_deinit(&out);
	}
}

static void seed_letters(const char *folder, struct gen *gen)
{
	for (const char *letter = GEN_LETTERS; *letter; letter++) {
		struct span key = SPAN_LITERAL("key");
		struct amqc_field field;
		struct buf out = BUF_INIT;
		char name[32];

		gen_init(gen, (uint64_t)*letter);
		gen_value(gen, *letter, 0, &field);
		buf_append_u8(&out, 0);
		if (amqc_field_append(&out, &key, &field) != AMQC_OK)
			abort();
		snprintf(name, sizeof(name), "letter-%02x", (unsigned int)*letter);
		seed_write(folder, "amqp-table", name, buf_span(&out));
		buf_deinit(&out);
	}
}

/* Arrays in arrays, and in the last some voids, room for more without a length to be changed. */
static void seed_nested(const char *folder, unsigned int levels, unsigned int voids, const char *name)
{
	size_t marks[AMQC_TABLE_DEPTH_MAX + 1];
	struct buf out = BUF_INIT;

	buf_append_u8(&out, 1);
	for (unsigned int i = 0; i < levels; i++)
		marks[i] = amqc_field_begin(&out, NULL, 'A');
	while (voids-- > 0)
		buf_append_u8(&out, 'V');
	for (unsigned int i = levels; i-- > 0;)
		amqc_table_end(&out, marks[i]);
	seed_write(folder, "amqp-table", name, buf_span(&out));
	buf_deinit(&out);
}

static void seed_properties(const char *folder, struct gen *gen)
{
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct amqc_content_header header = {.class_id = AMQC_CLASS_BASIC, .body_size = seed};
		struct buf out = BUF_INIT;
		char name[32];

		gen_init(gen, seed);
		gen_properties(gen, &header.properties);
		if (amqc_content_header_payload_append(&out, &header) != AMQC_OK)
			abort();
		snprintf(name, sizeof(name), "random-%02u", (unsigned int)seed);
		seed_write(folder, "amqp-properties", name, buf_span(&out));
		buf_deinit(&out);
	}
}

/* A publish as it goes over the wire, whole, cut, and wrong in each way. */
static void seed_frames(const char *folder)
{
	struct amqc_method publish = {
	    .id = AMQC_BASIC_PUBLISH,
	    .basic_publish = {.routing_key = SPAN_LITERAL("queue"), .mandatory = true}};
	struct amqc_content_header header = {.class_id = AMQC_CLASS_BASIC, .body_size = 40};
	struct buf out = BUF_INIT;
	static const uint8_t body[40] = "forty bytes, in frames of thirty or more";

	buf_append_u8(&out, 3);
	if (amqc_method_append(&out, 1, &publish) != AMQC_OK ||
	    amqc_content_header_append(&out, 1, &header) != AMQC_OK)
		abort();
	amqc_body_append(&out, 1, span_make(body, sizeof(body)), 30);
	amqc_heartbeat_append(&out);
	seed_write(folder, "amqp-frame", "publish", buf_span(&out));
	seed_write(folder, "amqp-frame", "publish-cut", span_first(buf_span(&out), 60));
	out.data[out.start] = 2;
	seed_write(folder, "amqp-frame", "publish-frame-max-30", buf_span(&out));
	out.data[out.start] = 0;
	seed_write(folder, "amqp-frame", "publish-too-large", buf_span(&out));
	out.data[out.start] = 5;
	out.data[out.start + buf_len(&out) - 1] = 0;
	seed_write(folder, "amqp-frame", "bad-end", buf_span(&out));
	buf_deinit(&out);
	seed_write(folder, "amqp-frame", "heartbeat", SPAN_LITERAL("\0\x08\0\0\0\0\0\0\xce"));
	seed_write(folder, "amqp-frame", "empty-body", SPAN_LITERAL("\x01\x03\0\x01\0\0\0\0\xce"));
	seed_write(folder, "amqp-frame", "protocol-header", SPAN_LITERAL("\x03" AMQC_PROTOCOL_HEADER));
	seed_write(folder, "amqp-frame", "size-all-ones", SPAN_LITERAL("\x05\x03\0\x01\xff\xff\xff\xff\xce"));
	seed_write(folder, "amqp-frame", "size-largest", SPAN_LITERAL("\x05\x03\0\x01\xff\xff\xff\xf7\xce"));
}

int main(int argc, char **argv)
{
	static const char *const targets[] = {"amqp-frame", "amqp-method", "amqp-table", "amqp-properties"};
	struct gen *gen = malloc(sizeof(*gen));
	char path[4096];

	if (argc != 2 || !gen) {
		fprintf(stderr, "usage: seeds FOLDER\n");
		return 64;
	}
	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", argv[1], targets[i]);
		if (mkdir(path, 0777) < 0 && errno != EEXIST) {
			perror(path);
			return 1;
		}
	}
	seed_frames(argv[1]);
	seed_methods(argv[1], gen);
	seed_tables(argv[1], gen);
	seed_letters(argv[1], gen);
	seed_nested(argv[1], AMQC_TABLE_DEPTH_MAX, 0, "deepest");
	seed_nested(argv[1], AMQC_TABLE_DEPTH_MAX, 20, "deepest-with-room");
	seed_nested(argv[1], 10, 40, "deep");
	seed_properties(argv[1], gen);
	free(gen);
	return 0;
}
