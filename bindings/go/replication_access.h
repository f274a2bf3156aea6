/**
 * Access: a part of replication.h, which includes it.
 */
#ifndef REPLICATION_ACCESS_H
#define REPLICATION_ACCESS_H

/* Generated from src/ffi. Change the text there, then run `make header`. */

#include "replication.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * A secret that nodes share under a name. Created by replication_secret_from_bytes(),
 * replication_secret_from_passphrase() and replication_secret_from_file(). Any thread may use it;
 * it does not change.
 */
typedef struct replication_secret replication_secret;

/* Access --------------------------------------------------------------------------------------- */

/**
 * A connection that asks to follow, about which the host decides. New fields are only added at the
 * end. Strings are never NULL.
 */
typedef struct replication_access_request {
    /** sizeof(replication_access_request) in the library; read no field beyond it. */
    size_t struct_size;
    /** What sender_authorize() names it by. */
    uint64_t ticket;
    /** The id that the reader claims. */
    const char *reader_id;
    /** The peer's address. */
    const char *address;
    /** Who the peer is, as far as the connection proves it, or "none". See docs/events.md. */
    const char *identity;
    /** The 16 bytes of the stream that the reader's position belongs to; NULL if it names none. */
    const uint8_t *stream_id;
    /** The latest epoch that the reader has seen; 0 if it names none. */
    uint64_t epoch;
    /** The last entry that the reader has. */
    uint64_t sequence;
    /**
     * What it may have at most, a sum of replication_right numbers: what the access rules give it,
     * or all rights without rules.
     */
    uint32_t rights;
    /** Whether the connection is encrypted. */
    bool tls;
    /** Whether the host handed it over. */
    bool handed;
} replication_access_request;

/**
 * Decides about a connection: calls sender_authorize() with the request's ticket, before it returns
 * or later. The request lives as long as the call.
 */
typedef void (*replication_authorize_fn)(
    void *user_data, const replication_access_request *request);

/** What a connection may do. Rights are a sum of these numbers. */
REPLICATION_ENUM(replication_right, uint32_t) {
    REPLICATION_RIGHT_READ = 1, /**< It receives entries. */
    /** What it acknowledges counts for waits, quorums and the write gate. */
    REPLICATION_RIGHT_ACK = 2,
    /** It has a slot, which keeps entries in the log on disk for it. */
    REPLICATION_RIGHT_SLOT = 4,
    /** It may slow the writer down, where the full policy is to refuse or to wait. */
    REPLICATION_RIGHT_HOLD = 8,
    REPLICATION_RIGHT_PROMOTE = 16, /**< It is believed that another node was promoted. */
    /** It learns where the writer is, even if it may not follow. */
    REPLICATION_RIGHT_MONITOR = 32,
};

/**
 * Lets everyone follow who reaches a listener, as without access rules no one may from another
 * machine who has no certificate. One with a certificate needs one that names its reader id
 * nevertheless. With access rules it is an error (sender_new()). Returns `OK`. Default: false.
 */
replication_status sender_config_set_trusted_network(
    replication_sender_config *config, bool trusted);

/**
 * Sets who may follow and what readers may do, as docs/access.md describes: a rule a line, the
 * first one about a connection decides, and one that no rule is about is refused (NOT_AUTHORIZED).
 * The rules are checked now. Of several calls of this and sender_config_set_access_file() the last
 * one counts. Returns `OK`; `INVALID_ARGUMENT` for NULL, text that is not UTF-8 or a mistake in it,
 * whose line and column the text names. A failure changes nothing. Default: readers may follow from
 * this machine, as the same user over a Unix socket, with a certificate that names their id, and
 * over connections that the host hands over; each may read, acknowledge, have a slot and hold.
 */
replication_status sender_config_set_access_rules(
    replication_sender_config *config, const char *rules);

/**
 * The same from a file, which is read now, and again by sender_reload_access_file(). Other users
 * must not be able to change it, see sender_config_set_insecure_permissions_allowed(). Returns
 * `OK`; `IO` for an unreadable file; `INVALID_ARGUMENT` as sender_config_set_access_rules(), and
 * for unprotected permissions. Default: none.
 */
replication_status sender_config_set_access_file(
    replication_sender_config *config, const char *file);

/**
 * Sets the function that decides about each connection after the access rules, on the callback
 * thread; NULL for none. Where no rules are set it decides alone. A connection waits for
 * sender_authorize() within the time for handshakes, without holding up others, and is refused if
 * that passes. One handed over with rights is not asked about. `pending_authorizations` in the
 * statistics counts those that wait. Returns `OK`. Default: none.
 */
replication_status sender_config_set_authorize_handler(
    replication_sender_config *config, replication_authorize_fn handler, void *user_data,
    replication_free_fn user_data_free);

/**
 * Answers a request of the authorize handler, from any thread, in the handler too. Returns `OK`;
 * `NOT_FOUND` if no connection waits with that ticket any more; `INVALID_ARGUMENT` for rights that
 * do not exist, or that mean nothing without `REPLICATION_RIGHT_READ`; `INVALID_STATE` without a
 * handler and before sender_start(); `CLOSED` after sender_stop().
 * - `rights`: a sum of replication_right numbers, of which the connection gets those that the
 *   request had; without `REPLICATION_RIGHT_READ` it is refused.
 * - `reason`: why it is refused, for the REFUSED event and not for the peer; NULL for none.
 */
replication_status sender_authorize(
    replication_sender *sender, uint64_t ticket, uint32_t rights, const char *reason);

/**
 * Replaces the access rules. Connected readers that do not keep every right they have are
 * disconnected with NOT_AUTHORIZED, and may come back with those that they have now; those that get
 * more have them once they reconnect. Rights that the host gave with a connection stay. Returns
 * `OK`; `INVALID_ARGUMENT` as sender_config_set_access_rules(), which changes nothing; `CLOSED`
 * after sender_stop().
 */
replication_status sender_set_access_rules(replication_sender *sender, const char *rules);

/**
 * Replaces the access rules with what their file has now, as sender_set_access_rules(). Returns
 * `OK`; `INVALID_STATE` if the rules in force are not from a file; `INVALID_ARGUMENT` for a mistake
 * in it or unprotected permissions, and `IO` if it cannot be read, which change nothing; `CLOSED`
 * after sender_stop().
 */
replication_status sender_reload_access_file(replication_sender *sender);

/**
 * Sets whom the receiver takes for its writer, besides what TLS checks: identities with blanks
 * between them, in the form of docs/access.md, of which the peer must be one, such as
 * "dns:db1.example.net" or "uid:0 uid:1000". Anyone else is told nothing, not even the reader id,
 * and reported as disconnected (NOT_AUTHORIZED). Returns `OK`; `INVALID_ARGUMENT` for NULL, text
 * that is not UTF-8 or a mistake in it, whose column the text names. Default: none, which takes
 * whoever answers, under TLS with a certificate for the host of the address.
 */
replication_status receiver_config_set_writer_identity(
    replication_receiver_config *config, const char *identity);

/**
 * Serves a reader as sender_accept_reader(), with these rights, whatever the access rules say.
 * Returns `OK` and otherwise the same; `INVALID_ARGUMENT` also for rights that do not exist, or
 * that mean nothing without `REPLICATION_RIGHT_READ`.
 * - `rights`: a sum of replication_right numbers.
 */
replication_status sender_accept_reader_with_rights(
    replication_sender *sender, int fd, const char *reader_id, uint64_t last_known_sequence,
    uint32_t rights);

/**
 * Serves a connection as sender_accept_connection(), with these rights, whatever the access rules
 * say. Returns `OK` and otherwise the same; `INVALID_ARGUMENT` also as
 * sender_accept_reader_with_rights().
 */
replication_status sender_accept_connection_with_rights(
    replication_sender *sender, int fd, uint32_t rights);

/* Secrets -------------------------------------------------------------------------------------- */

/**
 * Makes a secret from bytes that nobody can guess, as random ones are. Returns `OK`;
 * `INVALID_ARGUMENT` for NULL, text that is not UTF-8, a name or a length outside the range;
 * `OUT_OF_MEMORY`.
 * - `cluster`: what tells the secrets of this cluster from those of another, the same at all nodes;
 *   may be "".
 * - `name`: the same at both ends, 1 to 64 bytes without control characters. Access rules call it
 *   `secret:NAME`.
 * - `secret`, `len`: 32 to 4096 bytes.
 * - `out`: the secret, to be freed with replication_secret_free().
 */
replication_status replication_secret_from_bytes(
    const char *cluster, const char *name, const uint8_t *secret, size_t len,
    replication_secret **out);

/**
 * Makes a secret from what people can remember or have written down. Its key is derived here, by
 * Argon2id with 64 MiB of memory, salted with the cluster and the name, which takes some tenths of
 * a second. Returns `OK`, or what replication_secret_from_bytes() does.
 * - `passphrase`, `len`: 12 to 4096 bytes.
 */
replication_status replication_secret_from_passphrase(
    const char *cluster, const char *name, const uint8_t *passphrase, size_t len,
    replication_secret **out);

/**
 * Makes a secret from a file, which is read now. A line end at its end is not part of the secret.
 * As with private keys, other users must not be able to read or change it. Returns `OK`, or what
 * replication_secret_from_bytes() does; `IO` for an unreadable file; `INVALID_ARGUMENT` also for
 * unprotected permissions.
 * - `is_passphrase`: the file has a passphrase in it, as for replication_secret_from_passphrase();
 *   otherwise bytes that nobody can guess, such as `openssl rand -base64 32` prints.
 * - `insecure_permissions_allowed`: takes a file that others may read or change.
 */
replication_status replication_secret_from_file(
    const char *cluster, const char *name, const char *file, bool is_passphrase,
    bool insecure_permissions_allowed, replication_secret **out);

/**
 * Frees a secret. NULL is ignored. Configurations, senders and receivers that it was given to keep
 * their copy.
 */
void replication_secret_free(replication_secret *secret);

/**
 * Adds a secret by which readers may prove who they are. A name may have two, so that one can take
 * the other's place. A reader without a secret is what it was before; access rules say whether it
 * may follow. Returns `OK`; `INVALID_ARGUMENT` for NULL; `INVALID_STATE` for a third secret with
 * one name, and for more than 2048. Default: none.
 * - `secret`: copied.
 */
replication_status sender_config_add_secret(
    replication_sender_config *config, const replication_secret *secret);

/**
 * Also takes proofs of secrets on TCP connections without TLS. There a secret proves who connected,
 * and nothing of what follows: whoever is between the two can read the stream, change it, and try
 * out passphrases against what he read. Returns `OK`. Default: false.
 */
replication_status sender_config_set_plain_secrets_allowed(
    replication_sender_config *config, bool allowed);

/**
 * Adds a secret to those of a sender. To replace one, add the new one, give it to the readers, and
 * remove the old one. Returns `OK`, or what sender_config_add_secret() does; `CLOSED` after
 * sender_stop().
 */
replication_status sender_add_secret(replication_sender *sender, const replication_secret *secret);

/**
 * Removes the older secret with a name, or the only one. Readers that proved who they are by it are
 * disconnected (NOT_AUTHORIZED). Returns `OK`; `NOT_FOUND` if there is none with that name;
 * `INVALID_ARGUMENT` for NULL and text that is not UTF-8; `CLOSED` after sender_stop().
 */
replication_status sender_remove_secret(replication_sender *sender, const char *name);

/**
 * Has this receiver prove to its writer that it has a secret, and the writer prove the same. A
 * writer that does not is not followed (NOT_AUTHORIZED), and is not told the reader's id. Returns
 * `OK`. Default: none.
 * - `secret`: copied; NULL for none.
 */
replication_status receiver_config_set_secret(
    replication_receiver_config *config, const replication_secret *secret);

/**
 * Also uses the secret on TCP connections without TLS; see
 * sender_config_set_plain_secrets_allowed(). Returns `OK`. Default: false.
 */
replication_status receiver_config_set_plain_secrets_allowed(
    replication_receiver_config *config, bool allowed);

/**
 * Replaces the secret of a receiver, for its next connection; NULL for none. Returns `OK`; `CLOSED`
 * after receiver_stop().
 */
replication_status receiver_set_secret(
    replication_receiver *receiver, const replication_secret *secret);

/* Certificates --------------------------------------------------------------------------------- */

/**
 * Refuses readers whose certificate is in a revocation list. Call it after sender_config_set_tls()
 * with a `client_ca_file`. Each authority of a reader's certificate must have a list in the file.
 * Returns `OK`; `INVALID_STATE` before that; `INVALID_ARGUMENT` for NULL, "", text that is not
 * UTF-8 or an unusable file; `IO` for an unreadable file. A failure changes nothing. Default: none.
 * - `crl_file`: lists in PEM (X509 CRL).
 */
replication_status sender_config_set_tls_crl_file(
    replication_sender_config *config, const char *crl_file);

/**
 * Replaces the certificates of a sender that has TLS. The files are read now; in the place of a
 * path the PEM itself may stand, a text with a line "-----BEGIN", as in sender_config_set_tls() and
 * receiver_config_set_tls(). Connections that come use the new ones; connected readers stay.
 * Returns `OK`; `INVALID_STATE` for a sender that was made without TLS; `INVALID_ARGUMENT` and `IO`
 * as sender_config_set_tls(), which change nothing; `CLOSED` after sender_stop().
 * - `certificate_chain_file`, `private_key_file`, `client_ca_file`: as for sender_config_set_tls().
 * - `crl_file`: as for sender_config_set_tls_crl_file(), or NULL.
 * - `recheck`: disconnects readers whose certificate would not be accepted any more
 *   (NOT_AUTHORIZED).
 */
replication_status sender_set_tls(
    replication_sender *sender, const char *certificate_chain_file, const char *private_key_file,
    const char *client_ca_file, const char *crl_file, bool recheck);

/**
 * Reads the files of a sender's certificates, key and revocation lists again, when the host knows
 * or suspects that they changed. Returns `OK`, or what sender_set_tls() does.
 * - `recheck`: as for sender_set_tls(); it also finds certificates that have expired meanwhile.
 */
replication_status sender_reload_tls(replication_sender *sender, bool recheck);

/**
 * Replaces the certificates of a receiver that has TLS, for its next connection. The files are read
 * now. Returns `OK`; `INVALID_STATE` for a receiver that was made without TLS; `INVALID_ARGUMENT`
 * and `IO` as receiver_config_set_tls(), which change nothing; `CLOSED` after receiver_stop().
 * - `ca_file`, `server_name`, `certificate_chain_file`, `private_key_file`: as for
 *   receiver_config_set_tls().
 */
replication_status receiver_set_tls(
    replication_receiver *receiver, const char *ca_file, const char *server_name,
    const char *certificate_chain_file, const char *private_key_file);

/**
 * Reads the files of a receiver's authorities, certificate and key again, for its next connection.
 * Returns `OK`, or what receiver_set_tls() does.
 */
replication_status receiver_reload_tls(replication_receiver *receiver);

/* Strangers at the door ------------------------------------------------------------------------ */

/**
 * Sets how many connections may be in their handshake at once. Where this limit or one of the two
 * below is reached, the connection that has waited longest there is closed for the one that comes
 * (BUFFER_FULL); only while all have come within a quarter of a second, the one that comes is
 * closed. The more there are, the less time each has. Returns `OK`; `INVALID_ARGUMENT` outside the
 * range. Default: 256. At least: 1. At most: 65536.
 */
replication_status sender_config_set_max_handshakes(
    replication_sender_config *config, size_t handshakes);

/**
 * Sets how many of them may come from one address; of IPv6, from one network of 64 bits. Returns
 * `OK`; `INVALID_ARGUMENT` outside the range. Default: 128. At least: 1. At most: 65536.
 */
replication_status sender_config_set_max_handshakes_per_address(
    replication_sender_config *config, size_t handshakes);

/**
 * Sets how many of them may come from one network: 24 bits of an IPv4 address, 48 of an IPv6
 * address. Returns `OK`; `INVALID_ARGUMENT` outside the range. Default: 192. At least: 1. At most:
 * 65536.
 */
replication_status sender_config_set_max_handshakes_per_network(
    replication_sender_config *config, size_t handshakes);

/**
 * Sets how many times in a second one address may connect, on average; as many may come at once.
 * Further connections are closed and reported. Returns `OK`. Default: 0, any number.
 */
replication_status sender_config_set_max_connection_rate_per_address(
    replication_sender_config *config, uint32_t connections_per_second);

#ifdef __cplusplus
}
#endif

#endif
