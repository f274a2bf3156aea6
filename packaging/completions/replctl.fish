# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_replctl_global_optspecs
    string join \n h/help V/version
end

function __fish_replctl_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_replctl_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_replctl_using_subcommand
    set -l cmd (__fish_replctl_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c replctl -n "__fish_replctl_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c replctl -n "__fish_replctl_needs_command" -s V -l version -d 'Print version'
complete -c replctl -n "__fish_replctl_needs_command" -f -a "inspect" -d 'Show what is in a log\'s directory'
complete -c replctl -n "__fish_replctl_needs_command" -f -a "verify" -d 'Read a whole log and check every checksum'
complete -c replctl -n "__fish_replctl_needs_command" -f -a "dump" -d 'Print entries of a log'
complete -c replctl -n "__fish_replctl_needs_command" -f -a "tail" -d 'Print entries as they come, from disk or from a writer'
complete -c replctl -n "__fish_replctl_needs_command" -f -a "slots" -d 'List the readers that a log is kept for'
complete -c replctl -n "__fish_replctl_needs_command" -f -a "token" -d 'Show what a position token says'
complete -c replctl -n "__fish_replctl_needs_command" -f -a "access" -d 'Say which access rule decides about a connection'
complete -c replctl -n "__fish_replctl_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c replctl -n "__fish_replctl_using_subcommand inspect" -l json -d 'Print one JSON object'
complete -c replctl -n "__fish_replctl_using_subcommand inspect" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c replctl -n "__fish_replctl_using_subcommand inspect" -s V -l version -d 'Print version'
complete -c replctl -n "__fish_replctl_using_subcommand verify" -l json -d 'Print the result as one JSON object'
complete -c replctl -n "__fish_replctl_using_subcommand verify" -l progress -d 'Report progress on standard error even if it is not a terminal'
complete -c replctl -n "__fish_replctl_using_subcommand verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c replctl -n "__fish_replctl_using_subcommand verify" -s V -l version -d 'Print version'
complete -c replctl -n "__fish_replctl_using_subcommand dump" -l from -d 'Begin at this sequence; without it, at the oldest entry' -r
complete -c replctl -n "__fish_replctl_using_subcommand dump" -l to -d 'End at this sequence; without it, at the last entry' -r
complete -c replctl -n "__fish_replctl_using_subcommand dump" -l since -d 'Begin at the first entry from this time or later' -r
complete -c replctl -n "__fish_replctl_using_subcommand dump" -l limit -d 'Print at most this many entries' -r
complete -c replctl -n "__fish_replctl_using_subcommand dump" -l payload -d 'How to print payloads; without it, as preview, and with --json as base64' -r -f -a "none\t'Not at all'
preview\t'As text, cut at 64 bytes'
text\t'As text, with escapes for what is not text'
hex\t'As hexadecimal digits'
base64\t'As base64'
records\t'As JSON if it is records in msgpack, else as base64'"
complete -c replctl -n "__fish_replctl_using_subcommand dump" -l json -d 'Print one JSON object a line'
complete -c replctl -n "__fish_replctl_using_subcommand dump" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c replctl -n "__fish_replctl_using_subcommand dump" -s V -l version -d 'Print version'
complete -c replctl -n "__fish_replctl_using_subcommand tail" -l from -d 'Begin at this sequence, or with `end` after the last entry; without it, at the oldest entry' -r
complete -c replctl -n "__fish_replctl_using_subcommand tail" -l limit -d 'Print at most this many entries' -r
complete -c replctl -n "__fish_replctl_using_subcommand tail" -l payload -d 'How to print payloads; without it, as preview, and with --json as base64' -r -f -a "none\t'Not at all'
preview\t'As text, cut at 64 bytes'
text\t'As text, with escapes for what is not text'
hex\t'As hexadecimal digits'
base64\t'As base64'
records\t'As JSON if it is records in msgpack, else as base64'"
complete -c replctl -n "__fish_replctl_using_subcommand tail" -l reader-id -d 'The name by which the writer knows this reader' -r
complete -c replctl -n "__fish_replctl_using_subcommand tail" -l protocol -d 'The version of the protocol' -r -f -a "auto\t'v2, or v1 if the writer knows no other'
v1\t'v1 alone'
v2\t'v2 alone'"
complete -c replctl -n "__fish_replctl_using_subcommand tail" -l tls-ca -d 'Use TLS, with the authorities in this PEM file for the writer\'s certificate' -r -F
complete -c replctl -n "__fish_replctl_using_subcommand tail" -l tls-name -d 'The name in the writer\'s certificate, if it is not the host of the address' -r
complete -c replctl -n "__fish_replctl_using_subcommand tail" -l tls-cert -d 'The certificate chain of this reader, a PEM file' -r -F
complete -c replctl -n "__fish_replctl_using_subcommand tail" -l tls-key -d 'The key of that certificate, a PEM file' -r -F
complete -c replctl -n "__fish_replctl_using_subcommand tail" -l secret-file -d 'Prove the secret in this file to the writer, and have the writer prove it' -r -F
complete -c replctl -n "__fish_replctl_using_subcommand tail" -l secret-name -d 'The name of that secret' -r
complete -c replctl -n "__fish_replctl_using_subcommand tail" -l cluster -d 'The cluster that the secret is for, if its nodes name one' -r
complete -c replctl -n "__fish_replctl_using_subcommand tail" -s f -l follow -d 'Wait for more entries at the end, until a signal comes'
complete -c replctl -n "__fish_replctl_using_subcommand tail" -l json -d 'Print one JSON object a line'
complete -c replctl -n "__fish_replctl_using_subcommand tail" -s v -l verbose -d 'Report when connections to the writer come and go'
complete -c replctl -n "__fish_replctl_using_subcommand tail" -l coordinator -d 'Use the handshake of a coordinator\'s port'
complete -c replctl -n "__fish_replctl_using_subcommand tail" -l passphrase -d 'The file has a passphrase in it'
complete -c replctl -n "__fish_replctl_using_subcommand tail" -l plain-secret -d 'Use the secret over TCP without TLS, too'
complete -c replctl -n "__fish_replctl_using_subcommand tail" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c replctl -n "__fish_replctl_using_subcommand tail" -s V -l version -d 'Print version'
complete -c replctl -n "__fish_replctl_using_subcommand slots" -l json -d 'Print one JSON object for each slot'
complete -c replctl -n "__fish_replctl_using_subcommand slots" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c replctl -n "__fish_replctl_using_subcommand slots" -s V -l version -d 'Print version'
complete -c replctl -n "__fish_replctl_using_subcommand token" -l dir -d 'Take the position in a reader\'s log, which is in its file `applied`' -r -f -a "(__fish_complete_directories)"
complete -c replctl -n "__fish_replctl_using_subcommand token" -l json -d 'Print one JSON object'
complete -c replctl -n "__fish_replctl_using_subcommand token" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c replctl -n "__fish_replctl_using_subcommand token" -s V -l version -d 'Print version'
complete -c replctl -n "__fish_replctl_using_subcommand access" -l rules -d 'The file with the rules; without it, those of a sender for which none are set' -r -F
complete -c replctl -n "__fish_replctl_using_subcommand access" -l reader-id -d 'The id that the reader claims' -r
complete -c replctl -n "__fish_replctl_using_subcommand access" -l address -d 'The IP address that it connects from, or `unix` for a Unix socket' -r
complete -c replctl -n "__fish_replctl_using_subcommand access" -l identity -d 'What is proven of the reader, such as `dns:r1.example.net` or `uid:1000 gid:1000`' -r
complete -c replctl -n "__fish_replctl_using_subcommand access" -l tls -d 'The connection is encrypted with TLS'
complete -c replctl -n "__fish_replctl_using_subcommand access" -l handed -d 'The host accepts the connection and hands it over'
complete -c replctl -n "__fish_replctl_using_subcommand access" -l json -d 'Print one JSON object'
complete -c replctl -n "__fish_replctl_using_subcommand access" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c replctl -n "__fish_replctl_using_subcommand access" -s V -l version -d 'Print version'
complete -c replctl -n "__fish_replctl_using_subcommand help; and not __fish_seen_subcommand_from inspect verify dump tail slots token access help" -f -a "inspect" -d 'Show what is in a log\'s directory'
complete -c replctl -n "__fish_replctl_using_subcommand help; and not __fish_seen_subcommand_from inspect verify dump tail slots token access help" -f -a "verify" -d 'Read a whole log and check every checksum'
complete -c replctl -n "__fish_replctl_using_subcommand help; and not __fish_seen_subcommand_from inspect verify dump tail slots token access help" -f -a "dump" -d 'Print entries of a log'
complete -c replctl -n "__fish_replctl_using_subcommand help; and not __fish_seen_subcommand_from inspect verify dump tail slots token access help" -f -a "tail" -d 'Print entries as they come, from disk or from a writer'
complete -c replctl -n "__fish_replctl_using_subcommand help; and not __fish_seen_subcommand_from inspect verify dump tail slots token access help" -f -a "slots" -d 'List the readers that a log is kept for'
complete -c replctl -n "__fish_replctl_using_subcommand help; and not __fish_seen_subcommand_from inspect verify dump tail slots token access help" -f -a "token" -d 'Show what a position token says'
complete -c replctl -n "__fish_replctl_using_subcommand help; and not __fish_seen_subcommand_from inspect verify dump tail slots token access help" -f -a "access" -d 'Say which access rule decides about a connection'
complete -c replctl -n "__fish_replctl_using_subcommand help; and not __fish_seen_subcommand_from inspect verify dump tail slots token access help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
