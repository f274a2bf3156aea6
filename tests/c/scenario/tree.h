/* JSON as a tree, for data that a test walks through. */
#ifndef REPLICATION_TESTS_TREE_H
#define REPLICATION_TESTS_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tree_kind { TREE_NULL, TREE_FALSE, TREE_TRUE, TREE_NUMBER, TREE_STRING, TREE_ARRAY, TREE_OBJECT };

struct tree {
    enum tree_kind kind;
    int line;           /* where it begins in the text, from 1 on */
    char *key;          /* of a member of an object, or NULL */
    char *text;         /* of a string, without quotes and escapes; of a number, as it stands; or NULL */
    size_t count;       /* elements or members */
    struct tree *first; /* the first of them */
    struct tree *next;  /* the next one of the same array or object */
};

/* The test fails when the text is not JSON. */
struct tree *tree_parse(const char *text);
void tree_free(struct tree *tree);

/* The member of an object, the element of an array; NULL when there is none, also because the tree is something else. */
const struct tree *tree_get(const struct tree *object, const char *key);
const struct tree *tree_at(const struct tree *array, size_t index);
/* The value at a path such as "readers.0.lag", or NULL. */
const struct tree *tree_path(const struct tree *tree, const char *path);

/* The same value: members in any order, numbers by value. */
bool tree_equal(const struct tree *one, const struct tree *other);
bool tree_is_u64(const struct tree *tree, uint64_t *out);

#endif
