#include "daemon/base/list.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

struct item {
	char name;
	struct list link;
};

static struct item *item_new(struct list *head, char name)
{
	struct item *item = malloc(sizeof(*item));

	item->name = name;
	list_init(&item->link);
	list_append(head, &item->link);
	return item;
}

/* The names in order; checks the way back as well. */
static const char *names(struct list *head)
{
	static char text[32];
	struct item *item;
	size_t len = 0;

	list_foreach (item, head, link)
		text[len++] = item->name;
	text[len] = 0;
	for (struct list *node = head->prev; node != head; node = node->prev)
		ck_assert_int_eq(container_of(node, struct item, link)->name, text[--len]);
	ck_assert_uint_eq(len, 0);
	return text;
}

static void free_all(struct list *head)
{
	struct item *item, *tmp;

	list_foreach_safe (item, tmp, head, link) {
		list_unlink(&item->link);
		free(item);
	}
	ck_assert(list_empty(head));
}

START_TEST(list__keeps_the_order_of_appends_and_prepends)
{
	struct list head;
	struct item *c;

	list_init(&head);
	ck_assert(list_empty(&head));
	ck_assert_ptr_null(list_first(&head, struct item, link));
	ck_assert_ptr_null(list_last(&head, struct item, link));
	item_new(&head, 'a');
	item_new(&head, 'b');
	c = item_new(&head, 'c');
	list_unlink(&c->link);
	list_prepend(&head, &c->link);
	ck_assert_str_eq(names(&head), "cab");
	ck_assert_int_eq(list_first(&head, struct item, link)->name, 'c');
	ck_assert_int_eq(list_last(&head, struct item, link)->name, 'b');
	free_all(&head);
}
END_TEST

START_TEST(list__node_may_be_unlinked_again)
{
	struct list head;
	struct item *a;

	list_init(&head);
	a = item_new(&head, 'a');
	item_new(&head, 'b');
	list_unlink(&a->link);
	list_unlink(&a->link);
	ck_assert_str_eq(names(&head), "b");
	free(a);
	free_all(&head);
}
END_TEST

START_TEST(list__splice_moves_all_behind_the_last)
{
	struct list to, from;

	list_init(&to);
	list_init(&from);
	list_splice(&to, &from);
	ck_assert(list_empty(&to));
	item_new(&from, 'c');
	item_new(&from, 'd');
	list_splice(&to, &from);
	ck_assert_str_eq(names(&to), "cd");
	item_new(&from, 'e');
	list_splice(&to, &from);
	ck_assert_str_eq(names(&to), "cde");
	ck_assert(list_empty(&from));
	free_all(&to);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("base/list");
	TCase *tests = tcase_create("list");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, list__keeps_the_order_of_appends_and_prepends);
	tcase_add_test(tests, list__node_may_be_unlinked_again);
	tcase_add_test(tests, list__splice_moves_all_behind_the_last);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
