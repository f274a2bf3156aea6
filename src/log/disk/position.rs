//! A reader's position, kept in a small file that is written in place.
