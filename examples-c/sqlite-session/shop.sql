-- A small shop: each kind of table that changesets know.
CREATE TABLE customer (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    credit REAL,
    picture BLOB
);
CREATE TABLE product (
    code TEXT NOT NULL PRIMARY KEY,
    price_cents INTEGER NOT NULL,
    stock INTEGER NOT NULL CHECK (stock >= 0)
) WITHOUT ROWID;
CREATE TABLE purchase (
    customer INTEGER NOT NULL REFERENCES customer (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    product TEXT NOT NULL,
    count INTEGER NOT NULL,
    note,
    PRIMARY KEY (customer, number)
);
CREATE INDEX purchase_of_product ON purchase (product);

-- What a trigger does is part of the changeset. Readers do not run triggers.
CREATE TABLE sold (
    product TEXT NOT NULL PRIMARY KEY,
    count INTEGER NOT NULL
);
CREATE TRIGGER purchase_is_sold AFTER INSERT ON purchase BEGIN
    INSERT INTO sold VALUES (new.product, new.count) ON CONFLICT DO UPDATE SET count = count + new.count;
END;
