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

NR == 1 && $0 == "/**" { print "/** @file replication.h */ /** @mainpage The C interface"; next }
/^\/\* .* -+ \*\/$/ {
    title = substr($0, 4)
    sub(/ -+ \*\/$/, "", title)
    printf "%s/** @name %s */ /** @{ */\n", section++ ? "/** @} */ " : "", title
    next
}
/^ \* .*[ (]_[a-z]/ { print quoted_endings($0); next }
/^#define REPLICATION_VERSION_(MINOR|PATCH) / { print $0 " /**< See #REPLICATION_VERSION_MAJOR. */"; next }
/^typedef u?int32_t replication_/ { print "/** A number of the enumeration of this name. */ " $0; next }
{ print }
END { if (section) print "/** @} */" }
