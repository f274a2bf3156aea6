// Prints everything that a database holds, a line for each key, in their order. Whether anybody has it open does not matter.
//
//     rocksdb-dump DATABASE
#include "database.hpp"

#include <cstdio>

int main(int argc, char **argv)
{
    if (argc != 2) {
        std::fprintf(stderr, "usage: %s DATABASE\n", argv[0]);
        return 64;
    }
    try {
        const database db(argv[1], true);
        const std::unique_ptr<rocksdb::Iterator> row(db.data().NewIterator(rocksdb::ReadOptions()));
        for (row->SeekToFirst(); row->Valid(); row->Next())
            std::printf("%s\t%s\n", row->key().ToString().c_str(), row->value().ToString().c_str());
        check(row->status(), "scanning");
        return 0;
    } catch (const std::exception &caught) {
        std::fprintf(stderr, "%s: %s\n", argv[0], caught.what());
        return 1;
    }
}
