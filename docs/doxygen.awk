# Tells doxygen what a reader of include/replication.h sees by himself: the first comment is of the whole file, a line of
# hyphens begins a section, and one comment may stand before more than one line. Lines keep their numbers, for warnings.

# Words like _stop and _wait_ are endings of names, not emphasis.
function quoted_endings(text,    head) {
    while (match(text, /[ (]_[a-z_]+/)) {
        head = head substr(text, 1, RSTART) "`" substr(text, RSTART + 1, RLENGTH - 1) "`"
        text = substr(text, RSTART + RLENGTH)
    }
    return head text
}

NR == 1 && $0 == "/**" {
    name = FILENAME
    sub(/.*\//, "", name)
    print "/** @file " name " */ /**" (name == "replication.h" ? " @mainpage The C interface" : " @file")
    next
}
/^\/\* .* -+ \*\/$/ {
    title = substr($0, 4)
    sub(/ -+ \*\/$/, "", title)
    printf "%s/** @name %s */ /** @{ */\n", section++ ? "/** @} */ " : "", title
    next
}
/^ \* .*[ (]_[a-z]/ { print quoted_endings($0); next }
/^#define REPLICATION_VERSION_(MINOR|PATCH|NUMBER) / { print $0 " /**< See #REPLICATION_VERSION_MAJOR. */"; next }
{ print }
END { if (section) print "/** @} */" }
