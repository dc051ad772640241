/*
 * Data structures: the time to build, use and drop them. Where an allocator
 * puts the nodes counts here as much as how long its own calls take.
 */
#include <stdlib.h>
#include <string.h>

#include "row.h"

/* Every row here needs only its parameters and a place for its root. */
struct data {
	struct rng rng;
	uint32_t count;
	volatile uint64_t sum; /* keeps the walks from being removed */
	void **table;
};

static void *data_setup(const struct row *row)
{
	struct data *d = bench_map(sizeof(*d));
	d->rng.s = 1234567;
	d->count = row->count;
	d->table = bench_map(row->count * sizeof(void *));
	return d;
}

static void data_teardown(void *ctx)
{
	struct data *d = ctx;

	bench_unmap(d->table, d->count * sizeof(void *));
	bench_unmap(d, sizeof(*d));
}

/* A search tree of random keys; about 2 log2(n) deep, so recursion is safe. */
struct tree_node {
	struct tree_node *left, *right;
	uint64_t key;
	char *value;
};

static void tree_insert(struct tree_node **at, uint64_t key)
{
	while (*at)
		at = key < (*at)->key ? &(*at)->left : &(*at)->right;
	*at = malloc(sizeof(**at));
	**at = (struct tree_node){ .key = key, .value = malloc(16 + key % 48) };
	touch((*at)->value);
}

static uint64_t tree_sum(const struct tree_node *n)
{
	if (!n)
		return 0;
	return tree_sum(n->left) + tree_sum(n->right) + n->key +
	       (unsigned char)n->value[0];
}

static void tree_drop(struct tree_node *n)
{
	if (!n)
		return;
	tree_drop(n->left);
	tree_drop(n->right);
	free(n->value);
	free(n);
}

static void tree_pass(void *ctx)
{
	struct data *d = ctx;
	struct tree_node *root = NULL;

	for (uint32_t i = 0; i < d->count; i++)
		tree_insert(&root, rng_next(&d->rng));
	for (int walk = 0; walk < 5; walk++)
		d->sum += tree_sum(root);
	tree_drop(root);
}

/* Full binary trees, built and dropped one after another while one stays. */
struct binary_node {
	struct binary_node *left, *right;
};

static struct binary_node *binary_build(int depth)
{
	struct binary_node *n = malloc(sizeof(*n));

	n->left = depth > 0 ? binary_build(depth - 1) : NULL;
	n->right = depth > 0 ? binary_build(depth - 1) : NULL;
	return n;
}

static uint64_t binary_count(const struct binary_node *n)
{
	return n ? 1 + binary_count(n->left) + binary_count(n->right) : 0;
}

static void binary_drop(struct binary_node *n)
{
	if (!n)
		return;
	binary_drop(n->left);
	binary_drop(n->right);
	free(n);
}

#define BINARY_LONG 16
#define BINARY_SHORT 10
#define BINARY_TIMES 64
#define BINARY_NODES(depth) ((2LL << (depth)) - 1)

static void binary_pass(void *ctx)
{
	struct data *d = ctx;
	struct binary_node *stays = binary_build(BINARY_LONG);

	for (int i = 0; i < BINARY_TIMES; i++) {
		struct binary_node *n = binary_build(BINARY_SHORT);
		d->sum += binary_count(n);
		binary_drop(n);
	}
	d->sum += binary_count(stays);
	binary_drop(stays);
}

/* A chained hash table with string keys: insert all, look all up, remove all. */
struct hash_entry {
	struct hash_entry *next;
	char *key;
	uint64_t value;
};

static uint32_t hash_of(const char *key)
{
	uint32_t h = 2166136261u;

	while (*key)
		h = (h ^ (unsigned char)*key++) * 16777619u;
	return h;
}

/* 8 to 40 letters that only `n` determines. */
static void hash_key(char *key, uint32_t n)
{
	struct rng rng = { n * 2654435761ULL + 1 };
	int len = 8 + (int)rng_below(&rng, 33);

	for (int i = 0; i < len; i++)
		key[i] = (char)('a' + (rng_next(&rng) >> 40) % 26);
	key[len] = '\0';
}

static struct hash_entry **hash_find(struct data *d, const char *key)
{
	struct hash_entry **at =
		(struct hash_entry **)&d->table[hash_of(key) % d->count];

	while (*at && strcmp((*at)->key, key))
		at = &(*at)->next;
	return at;
}

static void hash_pass(void *ctx)
{
	struct data *d = ctx;
	char key[64];

	for (uint32_t i = 0; i < d->count; i++) {
		struct hash_entry *e, **at;
		hash_key(key, i);
		at = hash_find(d, key);
		if (*at)
			continue;
		e = malloc(sizeof(*e));
		e->next = NULL;
		e->key = malloc(strlen(key) + 1);
		strcpy(e->key, key);
		e->value = i;
		*at = e;
	}
	for (uint32_t i = 0; i < d->count; i++) {
		hash_key(key, i * 7919u % d->count);
		d->sum += (*hash_find(d, key))->value;
	}
	for (uint32_t i = 0; i < d->count; i++) {
		struct hash_entry **at, *e;
		hash_key(key, i);
		at = hash_find(d, key);
		e = *at;
		if (!e)
			continue;
		*at = e->next;
		free(e->key);
		free(e);
	}
}

/*
 * A list built in an aged heap, then walked: three objects in four of an
 * earlier population were freed at random, and the list fills the gaps.
 */
struct list_node {
	struct list_node *next;
	uint64_t value[3];
};

static void *list_setup(const struct row *row)
{
	struct data *d = data_setup(row);

	for (uint32_t i = 0; i < d->count; i++) {
		d->table[i] = malloc(sizeof(struct list_node));
		touch(d->table[i]);
	}
	for (uint32_t i = 0; i < d->count; i++)
		if (rng_next(&d->rng) >> 62) {
			free(d->table[i]);
			d->table[i] = NULL;
		}
	return d;
}

static void list_pass(void *ctx)
{
	struct data *d = ctx;
	struct list_node *head = NULL;

	for (uint32_t i = 0; i < d->count / 2; i++) {
		struct list_node *n = malloc(sizeof(*n));
		n->next = head;
		n->value[0] = i;
		head = n;
	}
	for (int walk = 0; walk < 10; walk++)
		for (struct list_node *n = head; n; n = n->next)
			d->sum += n->value[0];
	while (head) {
		struct list_node *n = head;
		head = n->next;
		free(n);
	}
}

static void list_teardown(void *ctx)
{
	struct data *d = ctx;

	for (uint32_t i = 0; i < d->count; i++)
		free(d->table[i]);
	data_teardown(d);
}

const struct row rows_data[] = {
	{ .name = "data/search-tree",
	  .about = "tree of 100 000 random keys and values: build, 5 walks, drop",
	  .passes = 3, .ops = 200000, .count = 100000, .setup = data_setup,
	  .pass = tree_pass, .teardown = data_teardown },
	{ .name = "data/binary-trees",
	  .about = "full binary trees, many short-lived beside one long-lived",
	  .passes = 30, .count = 1,
	  .ops = BINARY_NODES(BINARY_LONG) +
		 BINARY_TIMES * BINARY_NODES(BINARY_SHORT),
	  .setup = data_setup, .pass = binary_pass, .teardown = data_teardown },
	{ .name = "data/hash-table",
	  .about = "200 000 string keys in chains: insert, look up, remove",
	  .passes = 2, .ops = 400000, .count = 200000, .setup = data_setup,
	  .pass = hash_pass, .teardown = data_teardown },
	{ .name = "data/aged-list",
	  .about = "list of 250 000 in the gaps of an aged heap: build, 10 walks, drop",
	  .passes = 10, .ops = 250000, .count = 500000, .setup = list_setup,
	  .pass = list_pass, .teardown = list_teardown },
	{ .name = NULL },
};
