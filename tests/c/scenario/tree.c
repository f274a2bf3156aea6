#include "tree.h"

#include <errno.h>
#include <stdlib.h>

#include "../harness.h"
#include "../json.h"

/* The text was found valid before, so that the reader below need not doubt it. */
struct reader {
    const char *at;
    int line;
};

static void skip_space(struct reader *reader)
{
    for (; *reader->at != '\0' && strchr(" \t\r\n", *reader->at) != NULL; reader->at++)
        reader->line += *reader->at == '\n';
}

static char *append_utf8(char *to, unsigned long code)
{
    if (code < 0x80) {
        *to++ = (char)code;
        return to;
    }
    int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned char leads[] = {0, 0xC0, 0xE0, 0xF0};
    *to++ = (char)(leads[more] | (code >> (6 * more)));
    while (more-- > 0)
        *to++ = (char)(0x80 | ((code >> (6 * more)) & 0x3F));
    return to;
}

static unsigned long four_digits(const char *at)
{
    char digits[5] = {at[0], at[1], at[2], at[3], '\0'};
    return strtoul(digits, NULL, 16);
}

/* The code point of an escape whose `u` is at `reader->at`; goes on after it. */
static unsigned long unicode_escape(struct reader *reader)
{
    unsigned long code = four_digits(reader->at + 1);
    reader->at += 5;
    if (code >= 0xD800 && code < 0xDC00 && strncmp(reader->at, "\\u", 2) == 0) {
        code = 0x10000 + ((code - 0xD800) << 10) + (four_digits(reader->at + 2) - 0xDC00);
        reader->at += 6;
    }
    return code;
}

static char *read_string(struct reader *reader)
{
    const char *end = ++reader->at;
    while (*end != '"')
        end += *end == '\\' ? 2 : 1;
    char *text = must_alloc((size_t)(end - reader->at) + 1), *to = text;
    while (*reader->at != '"') {
        if (*reader->at != '\\') {
            *to++ = *reader->at++;
        } else if (*++reader->at == 'u') {
            to = append_utf8(to, unicode_escape(reader));
        } else {
            static const char names[] = "bfnrt", bytes[] = "\b\f\n\r\t";
            const char *named = strchr(names, *reader->at);
            *to++ = named != NULL ? bytes[named - names] : *reader->at;
            reader->at++;
        }
    }
    *to = '\0';
    reader->at++;
    return text;
}

static struct tree *read_value(struct reader *reader);

static void read_members(struct reader *reader, struct tree *tree, char end)
{
    struct tree **last = &tree->first;
    reader->at++;
    for (skip_space(reader); *reader->at != end; skip_space(reader)) {
        char *key = NULL;
        if (*reader->at == ',') {
            reader->at++;
            continue;
        }
        if (tree->kind == TREE_OBJECT) {
            key = read_string(reader);
            skip_space(reader);
            reader->at++; /* the colon */
        }
        *last = read_value(reader);
        (*last)->key = key;
        last = &(*last)->next;
        tree->count++;
    }
    reader->at++;
}

static char *read_number(struct reader *reader)
{
    size_t length = strspn(reader->at, "+-.0123456789eE");
    char *text = must_alloc(length + 1);
    memcpy(text, reader->at, length);
    text[length] = '\0';
    reader->at += length;
    return text;
}

static struct tree *read_value(struct reader *reader)
{
    skip_space(reader);
    struct tree *tree = must_alloc(sizeof *tree);
    *tree = (struct tree){.line = reader->line};
    switch (*reader->at) {
    case '{':
        tree->kind = TREE_OBJECT;
        read_members(reader, tree, '}');
        break;
    case '[':
        tree->kind = TREE_ARRAY;
        read_members(reader, tree, ']');
        break;
    case '"':
        tree->kind = TREE_STRING;
        tree->text = read_string(reader);
        break;
    case 'n':
        reader->at += strlen("null");
        break;
    case 't':
        tree->kind = TREE_TRUE;
        reader->at += strlen("true");
        break;
    case 'f':
        tree->kind = TREE_FALSE;
        reader->at += strlen("false");
        break;
    default:
        tree->kind = TREE_NUMBER;
        tree->text = read_number(reader);
        break;
    }
    return tree;
}

struct tree *tree_parse(const char *text)
{
    if (!json_valid(text))
        FAIL("not JSON: %.1500s", text);
    struct reader reader = {.at = text, .line = 1};
    return read_value(&reader);
}

void tree_free(struct tree *tree)
{
    while (tree != NULL) {
        struct tree *next = tree->next;
        tree_free(tree->first);
        free(tree->key);
        free(tree->text);
        free(tree);
        tree = next;
    }
}

const struct tree *tree_get(const struct tree *object, const char *key)
{
    if (object == NULL || object->kind != TREE_OBJECT)
        return NULL;
    const struct tree *member = object->first;
    while (member != NULL && strcmp(member->key, key) != 0)
        member = member->next;
    return member;
}

const struct tree *tree_at(const struct tree *array, size_t index)
{
    if (array == NULL || array->kind != TREE_ARRAY)
        return NULL;
    const struct tree *element = array->first;
    while (element != NULL && index-- > 0)
        element = element->next;
    return element;
}

const struct tree *tree_path(const struct tree *tree, const char *path)
{
    char step[128];
    while (tree != NULL && *path != '\0') {
        size_t length = strcspn(path, ".");
        CHECK(length < sizeof step);
        memcpy(step, path, length);
        step[length] = '\0';
        tree = tree->kind == TREE_ARRAY ? tree_at(tree, strtoul(step, NULL, 10)) : tree_get(tree, step);
        path += length + (path[length] == '.');
    }
    return tree;
}

bool tree_is_u64(const struct tree *tree, uint64_t *out)
{
    if (tree == NULL || tree->kind != TREE_NUMBER || tree->text[strspn(tree->text, "0123456789")] != '\0')
        return false;
    errno = 0;
    *out = strtoull(tree->text, NULL, 10);
    return errno == 0;
}

bool tree_equal(const struct tree *one, const struct tree *other)
{
    if (one->kind != other->kind || one->count != other->count)
        return false;
    if (one->kind == TREE_STRING)
        return strcmp(one->text, other->text) == 0;
    if (one->kind == TREE_NUMBER) {
        uint64_t number = 0, same = 0;
        if (tree_is_u64(one, &number) && tree_is_u64(other, &same))
            return number == same;
        return strtod(one->text, NULL) == strtod(other->text, NULL);
    }
    const struct tree *twin = other->first;
    for (const struct tree *each = one->first; each != NULL; each = each->next) {
        if (one->kind == TREE_OBJECT)
            twin = tree_get(other, each->key);
        if (twin == NULL || !tree_equal(each, twin))
            return false;
        twin = twin->next;
    }
    return true;
}
