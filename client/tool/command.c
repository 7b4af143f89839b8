/*
 * The table of commands, and their help, which is made from it.
 */
#include "client/tool/ctl.h"

#include <stdio.h>
#include <string.h>

#define MESSAGE_OPTIONS                                                         \
	"  -e, --exchange EXCHANGE    default: the default exchange\n"          \
	"  -r, --routing-key KEY      with the default exchange: the queue\n"   \
	"  -p, --persistent           same as --property delivery-mode=2\n"     \
	"  -t, --content-type TYPE\n"                                           \
	"  -H, --header NAME=VALUE    text; NAME:TYPE=VALUE with TYPE one of\n" \
	"                             string, int, bool, double, time, void\n"  \
	"      --property NAME=VALUE  content-type, priority, message-id, ...\n"

#define ARGUMENT_OPTION                                                             \
	"  -a, --argument NAME=VALUE  whole numbers, true and false become such;\n" \
	"                             NAME:TYPE=VALUE as with headers\n"

#define SHOW_OPTIONS                                                                 \
	"  -0, --null                 a zero byte behind each body, not a newline\n" \
	"      --raw                  nothing behind a body\n"

static const struct command commands[] = {
    {"status", "", "muxd and its connections to brokers", "", cmd_status},
    {"sessions", "", "the processes that are connected", "", cmd_sessions},
    {"channels", "", "their channels", "", cmd_channels},
    {"recorder", "SESSION", "what a process asked for last",
     "SESSION: its id, as sessions shows it; another user's only for who may control muxd.\n", cmd_recorder},
    {"ping", "", "ask muxd for an answer", "", cmd_ping},
    {"publish",
     "[-e EXCHANGE] [-r KEY] [-p] [-m] [-t CONTENT-TYPE] [-H NAME=VALUE]... [--property NAME=VALUE]... "
     "[-l] [BODY]",
     "publish a message and wait for the broker's confirm",
     MESSAGE_OPTIONS "  -m, --mandatory            fail if it goes to no queue\n"
		     "  -l, --lines                a message for each line of stdin\n"
		     "  -0, --null                 with -l: zero bytes end lines, not newlines\n"
		     "BODY: else stdin.\n",
     cmd_publish},
    {"get", "QUEUE [-n COUNT] [--requeue]", "take messages from a queue",
     "  -n, --count COUNT          at most so many; default 1\n"
     "      --requeue              give them back after showing them\n" SHOW_OPTIONS,
     cmd_get},
    {"consume", "QUEUE [-n COUNT] [--prefetch N] [--exclusive] [-- COMMAND [ARG]...]",
     "take messages as they come",
     "  -n, --count COUNT          end after so many\n"
     "      --prefetch N           so many at a time; default 1 with a COMMAND, else 256\n"
     "      --exclusive            be the queue's only consumer\n" SHOW_OPTIONS
     "COMMAND is run for each message: body on stdin, the rest in MUXCTL_* variables;\n"
     "exit 0 acknowledges it, 75 gives it back to the queue, any other rejects it.\n",
     cmd_consume},
    {"call", "[-e EXCHANGE] -r KEY [OPTION]... [BODY]", "send a request and print the reply",
     MESSAGE_OPTIONS "BODY: else stdin. The reply comes by direct reply-to.\n", cmd_call},
    {"declare",
     "queue NAME | exchange NAME TYPE  [--durable] [--exclusive] [--auto-delete] [--internal] [--passive] "
     "[-a NAME=VALUE]...",
     "make a queue or an exchange, and print its name",
     "      --durable              survives a restart of the broker\n"
     "      --exclusive            queues: for this session only, and gone with it\n"
     "      --auto-delete          gone with its last user\n"
     "      --internal             exchanges: not to be published to\n"
     "      --passive              only look whether it is there\n" ARGUMENT_OPTION
     "NAME \"\" lets muxd make a name for a queue.\n",
     cmd_declare},
    {"bind", "queue|exchange DEST SOURCE [-r KEY] [-a NAME=VALUE]...",
     "let a queue or an exchange have what comes to an exchange",
     "  -r, --routing-key KEY      default: empty\n" ARGUMENT_OPTION, cmd_bind},
    {"unbind", "queue|exchange DEST SOURCE [-r KEY] [-a NAME=VALUE]...", "end a binding",
     "  -r, --routing-key KEY      as it was bound\n" ARGUMENT_OPTION, cmd_unbind},
    {"delete", "queue|exchange NAME [--if-unused] [--if-empty]", "delete a queue or an exchange",
     "      --if-unused            only if nobody uses it\n"
     "      --if-empty             queues: only if it is empty\n",
     cmd_delete},
    {"purge", "QUEUE", "empty a queue, and print how many messages it had", "", cmd_purge},
    {"reload", "", "let muxd read its configuration anew",
     "What is wrong with it goes to stderr, and everything stays as it was (exit 1);\n"
     "so does what has changed and needs a restart (exit 0). For who may control muxd.\n",
     cmd_reload},
    {"drain", "", "let muxd end when its sessions have left", "For who may control muxd.\n", cmd_drain},
};

#define COMMANDS_COUNT (sizeof(commands) / sizeof(commands[0]))

static const char common_options[] =
    "  -s, --socket PATH          muxd's socket; default: $MUXD_SOCKET, else\n"
    "                             $XDG_RUNTIME_DIR/muxd.sock, else /run/muxd/muxd.sock\n"
    "      --upstream NAME        which broker; default: the first one configured\n"
    "      --json                 print JSON\n"
    "      --timeout DURATION     for the whole command, as 200ms, 5s, 2m\n"
    "  -q, --quiet                say nothing of a muxd that is away for a while\n"
    "  -h, --help                 also of a command\n"
    "      --version\n";

const struct command *command_find(const char *name)
{
	size_t i;

	for (i = 0; i < COMMANDS_COUNT; i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}

void command_help_all(void)
{
	size_t i;

	puts("usage: muxctl [-s SOCKET] [--upstream NAME] [--json] [--timeout DURATION] COMMAND [ARGS]\n\n"
	     "Looks into muxd, and uses its connection to the broker.\n");
	for (i = 0; i < COMMANDS_COUNT; i++)
		printf("  %-9s %s\n", commands[i].name, commands[i].summary);
	printf("\n%s\n"
	       "Exit codes: 0 done, 1 refused or failed, 2 usage, 3 muxd cannot be reached,\n"
	       "4 deadline passed, 5 nothing there (get).\n",
	       common_options);
}

void command_help(const struct command *command)
{
	printf("usage: muxctl %s%s%s\n\n%c%s.\n\n%s%s", command->name, *command->synopsis ? " " : "",
	       command->synopsis, command->summary[0] - 'a' + 'A', command->summary + 1, command->options,
	       *command->options ? "\n" : "");
	printf("For all commands:\n%s", common_options);
}
